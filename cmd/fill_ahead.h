/*
 * Reading a directory tree ahead, for filling: a thread finds the objects of the tree, depth first
 * and the names of each directory in the order of their bytes, asks for their attributes, opens the
 * files and tells the kernel that their contents are wanted. Whoever takes the objects, in that
 * order, finds most of it done; and the disk always has something to do.
 *
 * Other filesystems that are mounted in the tree belong to it, as for tar.
 */
#ifndef CMD_FILL_AHEAD_H
#define CMD_FILL_AHEAD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "fill.h"

/* How far the kernel is told to read a file ahead. */
#define AHEAD_CONTENTS ((uint64_t)4 << 20)

enum ahead_kind {
	AHEAD_OBJECT, /* anything but a directory */
	AHEAD_ENTER,  /* a directory; then comes what it holds, and AHEAD_LEAVE */
	AHEAD_LEAVE,
	AHEAD_FAILED, /* it cannot be read; of a directory what was read follows */
};

struct ahead_object {
	enum ahead_kind kind;
	char *name;          /* in the directory entered last; NULL: that directory itself */
	struct statx st;     /* of AHEAD_OBJECT and AHEAD_ENTER */
	int fd;              /* a regular file, open; else -1 */
	char *target;        /* of a symlink */
	bool xattrs;         /* it has extended attributes */
	bool output;         /* it is one of the files that are being made; not open */
	const char *problem; /* of AHEAD_FAILED: what went wrong */
	int err;             /* and why, a negative errno */
};

struct ahead;

/*
 * Begin with an open directory, which is taken over, also on failure. Returns 0, -ENOMEM, or the
 * error of starting a thread.
 */
int ahead_start(int fd, const struct fill_options *options, struct ahead **aheadp);

/*
 * The next object, to be given back with ahead_release(). Returns false when there is no more; the
 * given directory itself is neither entered nor left.
 */
bool ahead_next(struct ahead *ahead, struct ahead_object *object);
void ahead_release(struct ahead_object *object);

/* End, wherever it is. NULL is allowed. */
void ahead_free(struct ahead *ahead);

/* The bytes of all files in a directory, which is taken over; as far as it can be read. */
uint64_t ahead_count_bytes(int fd, const struct fill_options *options);

/* What statx(2) tells about a name, or about the directory itself (""). Returns 0 or an error. */
int ahead_stat(int dir, const char *name, struct statx *st);

#endif
