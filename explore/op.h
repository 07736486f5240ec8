/*
 * Operations, as text: what a sequence consists of, what a message shows, and what repeats it.
 *
 * A sequence is a list of operations with a ';' behind each but the last, such as
 *
 *   create /A/foo; write /A/foo 100 70000 noise; rename /A/foo /B/bar; sync
 *
 * Paths begin with "/" in the first PFS, with "@/" in the second one, and with "#/" and "%/" in
 * those that "snapshot" and "snapshot-dir" make; "*" is what was held last, whether it has a name or
 * not. A component that begins with 'L' stands for a name of 100 bytes, which takes a block of its
 * own (MF 7.1), and one with 'X' for one of 255 bytes.
 */
#ifndef EXPLORE_OP_H
#define EXPLORE_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum op_kind {
	OP_CREATE,
	OP_MKDIR,
	OP_SYMLINK, /* of n[0] bytes */
	OP_FIFO,
	OP_LINK,
	OP_UNLINK,
	OP_RMDIR,
	OP_RENAME,
	OP_EXCHANGE,
	OP_WRITE, /* at n[0], n[1] bytes of data */
	OP_APPEND,
	OP_COPY, /* from n[0] of path to n[1] of path2, n[2] bytes */
	OP_TRUNCATE,
	OP_PUNCH, /* from n[0], n[1] bytes */
	OP_ZERO,
	OP_ALLOCATE,
	OP_RESERVE, /* as OP_ALLOCATE, but the size stays */
	OP_CHMOD,
	OP_CHOWN,
	OP_TIMES,   /* atime and mtime, microseconds */
	OP_FLAGS,   /* uflags; such as forbid nothing */
	OP_METHODS, /* compression and check algorithm, as MF 6.8 has them */
	OP_HOLD,    /* keep a reference, also when the name goes */
	OP_RELEASE, /* give all of them back */
	OP_SNAPSHOT, /* of path's PFS, as path2's */
	OP_SNAPSHOT_DIR, /* of what is below the directory at path, as path2's PFS */
	OP_DELETE,   /* path's PFS */
	OP_ROLLBACK, /* path's PFS to what path2's has */
	OP_SYNC,
	OP_REMOUNT, /* close the filesystem, and open it */
	OP_KINDS,
};

enum op_data {
	DATA_NOISE,
	DATA_TEXT, /* compresses well */
	DATA_SAME, /* the same few blocks again and again, for deduplication */
	DATA_ZEROS,
	DATA_KINDS,
};

#define OP_PATH_MAX 48u

struct op {
	uint8_t kind; /* enum op_kind */
	uint8_t data; /* enum op_data */
	char path[OP_PATH_MAX];
	char path2[OP_PATH_MAX];
	uint64_t n[3];
};

struct op_list {
	struct op *ops;
	size_t count, room;
};

void op_list_add(struct op_list *list, const struct op *op);
void op_list_fini(struct op_list *list);

#define OP_TEXT_MAX 192u

/* The operation as text. */
void op_format(const struct op *op, char text[OP_TEXT_MAX]);

/* The same of a whole list; to be freed. */
char *op_list_format(const struct op_list *list);

/* Add the operations of a text. Returns NULL, or what is wrong; to be freed. */
char *op_list_parse(const char *text, struct op_list *list);

/* ---- what operations stand for ---- */

#define OP_NAME_MAX 256u

#define OP_HELD "*"

#define OP_PFS_MAX 4u
#define OP_PFS_SNAPSHOT 2u /* from this number on: those that there are only for a time */

/* What paths in the PFS of that number begin with, in front of the '/'. */
extern const char *const op_pfs_prefixes[OP_PFS_MAX];

/* The number of a path's PFS; *rest is the path in it, without the '/' that it begins with. */
unsigned op_path_pfs(const char *path, const char **rest);

/*
 * The name that the first component of *rest stands for, and *rest behind it. Returns its length;
 * 0 at the end.
 */
size_t op_path_next(const char **rest, char name[OP_NAME_MAX]);

/* Fill buf with data of the kind, of its own for each seed. */
void op_data_make(uint8_t *buf, size_t len, enum op_data kind, uint64_t seed);

/* A symlink's target. */
void op_target_make(char *buf, size_t len, uint64_t seed);

#endif
