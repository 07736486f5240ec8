/*
 * Filling a new filesystem, for mkfs.hammer2 -d. The sources (fill_dir.c: a directory, tar_read.c:
 * an archive) walk through their objects and call the functions here, which make them in the PFS,
 * in the order of the calls: the same calls make the same filesystem. One thread.
 */
#ifndef CMD_FILL_H
#define CMD_FILL_H

#include <hammer2/change.h>
#include <signal.h>
#include <stdbool.h>

#include "progress.h"

/*
 * How the filesystem is to be opened (h2_fs_options.store_bytes): threads compress from the
 * beginning, beside the reading.
 */
#define FILL_STORE_BYTES ((size_t)8 << 20)

#define FILL_PIECE ((size_t)1 << 20) /* file contents are written in pieces of this, aligned */

struct fill_options {
	const char *program; /* for messages */
	const char *source;  /* a directory, an archive, or "-": an archive on standard input */
	uint64_t now_us;     /* when the filesystem is made, since 1970 */
	bool quiet;          /* no progress line */
	bool fixed_time;     /* now_us is SOURCE_DATE_EPOCH: no time may be later or differ */
	const volatile sig_atomic_t *interrupted; /* set when it is to stop */

	/* Files of the source that the filesystem is being made in: they are left out. */
	unsigned output_count;
	struct fill_file {
		uint64_t dev, ino;
	} outputs[H2_VOLUMES_MAX];
};

/* What was stored. */
struct fill_counts {
	uint64_t directories; /* without the root */
	uint64_t files;
	uint64_t symlinks;
	uint64_t others; /* device nodes, fifos, sockets */
	uint64_t links;  /* further names of files */
	uint64_t bytes;  /* of the files' contents, holes left out */
};

#define FILL_ATIME 0x1u
#define FILL_MTIME 0x2u
#define FILL_CTIME 0x4u
#define FILL_BTIME 0x8u

struct fill_object {
	uint8_t type;  /* enum h2_object_type */
	uint32_t mode; /* 07777 */
	uint32_t uid, gid;
	uint32_t rmajor, rminor;                         /* device nodes */
	const char *target;                              /* symlinks */
	uint64_t size;                                   /* regular files: bytes */
	uint32_t uflags;                                 /* MF 6.6 */
	unsigned times;                                  /* FILL_...: which are known */
	uint64_t atime_us, mtime_us, ctime_us, btime_us; /* since 1970 */
};

struct fill_level { /* a directory on the way to where objects are being made */
	struct h2_inode *inode;
	char *name;
	struct fill_object object; /* what it gets when it is left */
};

struct fill_link { /* a file that has further names in the source */
	struct fill_file file;
	uint64_t inum; /* 0: an empty slot */
};

struct fill {
	const struct fill_options *options;
	struct h2_fs *fs;
	struct h2_pfs *pfs;
	struct fill_counts counts;
	struct progress *progress;
	uint64_t total_bytes; /* what counts.bytes will be; 0: unknown */

	struct fill_level *levels; /* the root first */
	unsigned level_count, level_room;
	struct fill_link *links; /* a hash table */
	size_t link_count, link_room;

	uint64_t problems; /* objects that could not be stored */
	bool fatal;        /* nothing can be stored any more */
	uint64_t xattrs;   /* objects with what cannot be stored */
	uint64_t times;    /* objects with times that cannot be stored */

	/* what was done since the last commit, at most */
	uint64_t done_memory, done_space; /* bytes */
	uint64_t free_space;              /* bytes, at the last commit */
};

/*
 * Fill the PFS with this label, which must be empty. What is wrong is told on standard error.
 * Returns whether everything was stored; it must be committed by closing the filesystem then.
 */
bool fill_pfs(struct h2_fs *fs, const char *label, const struct fill_options *options,
	      struct fill_counts *counts);

/* The sources. They return when all is done, or fill_goes_on() says no. */
void fill_from_directory(struct fill *f);
void fill_from_archive(struct fill *f);

/* Whether objects can be made; false also for the rest once something could not be stored. */
bool fill_goes_on(const struct fill *f);

/*
 * Tell that an object cannot be read or stored. name: in the present directory; NULL: the present
 * directory itself.
 */
__attribute__((format(printf, 3, 4))) void fill_problem(struct fill *f, const char *name,
							const char *format, ...);

/* Tell something about an object that is stored nevertheless. */
void fill_warn(struct fill *f, const char *name, const char *what);

/* Tell something about the source as a whole. */
__attribute__((format(printf, 2, 3))) void fill_note(struct fill *f, const char *format, ...);

/* Tell an error of an operation on the filesystem; the object's source is not to blame. */
void fill_error(struct fill *f, const char *name, int err);

void *fill_alloc(void *memory); /* exits if it is NULL */

/* A time as it is stored, in microseconds since 1970; *outside is set where it must be another. */
uint64_t fill_time(int64_t seconds, uint32_t ns, bool *outside);

/* ---- objects, in the present directory: at first the root ---- */

static inline struct fill_level *fill_present(struct fill *f)
{
	return &f->levels[f->level_count - 1];
}

/*
 * Go into a directory, which is made if it is missing. object NULL: what it is made with is
 * unknown, and an existing one keeps its attributes. Returns false where that is impossible.
 */
bool fill_enter(struct fill *f, const char *name, const struct fill_object *object);

/* Leave it; its attributes are set now, after everything that was made in it. */
void fill_leave(struct fill *f);

/* What the present directory's attributes will be. */
void fill_set_present(struct fill *f, const struct fill_object *object);

/*
 * Make anything but a directory. *inodep receives a reference, to be given to fill_close(). Returns
 * false where that is impossible; it was told.
 */
bool fill_create(struct fill *f, const char *name, const struct fill_object *object,
		 struct h2_inode **inodep);

/* The next contents of a regular file; false where it makes no sense to go on. */
bool fill_write(struct fill *f, const char *name, struct h2_inode *inode, uint64_t offset,
		const void *buf, size_t len);

/* The object is complete: it gets its attributes. */
void fill_close(struct fill *f, const char *name, struct h2_inode *inode,
		const struct fill_object *object);

/* Give the object another name; ctime_us: as the source has it, 0: unknown. */
void fill_add_link(struct fill *f, const char *name, uint64_t inum, uint64_t ctime_us);

/* The inode that was made for a file of the source, or 0; and to remember it. */
uint64_t fill_find_file(const struct fill *f, struct fill_file file);
void fill_remember_file(struct fill *f, struct fill_file file, uint64_t inum);

/* Show how far it is. */
void fill_progress(struct fill *f);

#endif
