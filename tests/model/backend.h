/*
 * A filesystem that the model is compared with: the HAMMER2 library on simulated disks or image
 * files, or a directory of the machine's own filesystem. The latter proves that the model expects
 * what Linux's filesystems do.
 *
 * A node is a reference to an inode, given back with put(). Functions return 0, or a count, or a
 * negative errno. Those on nodes may be called from several threads at once.
 */
#ifndef TESTS_MODEL_BACKEND_H
#define TESTS_MODEL_BACKEND_H

#include <sys/types.h>

#include "model.h"

/* What a backend can do, or shows as HAMMER2 does. */
#define CAN_OWNER 0x0001u      /* new objects with any owner, mode and group */
#define CAN_BY_NUMBER 0x0002u  /* get() */
#define CAN_BY_PATH 0x0004u    /* path() */
#define CAN_ALGORITHMS 0x0008u /* compression and check algorithms */
#define CAN_UFLAGS 0x0010u     /* all bits of uflags, on all objects, with other attributes */
#define CAN_FORBID 0x0020u     /* the flags immutable and append-only on files and directories */
#define CAN_ALL_TIMES 0x0040u  /* set ctime and btime, write without changing times */
#define CAN_ATIME 0x0080u      /* reading does not change atime */
#define CAN_BTIME 0x0100u      /* shows btime */
#define CAN_BAD_NAMES 0x0200u  /* names with '/' and the like are refused with -EINVAL */
#define CAN_ANY_TYPE 0x0400u   /* file operations on devices and symlinks are safe to try */
#define CAN_HUGE 0x0800u       /* files of 2^63 - 1 bytes */
#define CAN_EXCHANGE 0x1000u   /* rename flags */
#define CAN_ORPHANS 0x2000u    /* says when a name was an inode's last one */
#define CAN_COUNT 0x4000u      /* check() counts the inodes */
#define CAN_NOT_REUSE 0x8000u  /* inode numbers rise and are never used again */
#define CAN_JOIN 0x10000u      /* next_data() joins what touches */

struct backend_options {
	const char *path;  /* posix: the directory; hammer2: an image file, or NULL */
	uint64_t size;     /* bytes of all volumes */
	unsigned volumes;  /* how many volumes */
	const char *from;  /* hammer2: an image that is loaded in place of an empty filesystem */
	const char *label; /* hammer2: of the PFS; NULL: DATA */
	uint64_t dirty;    /* bytes, 0: default */
	uint64_t cache;    /* bytes, 0: default */
	unsigned commit;   /* seconds, 0: only when told */
	bool no_dedup;
	bool verbose;
};

struct backend_attr {
	uint64_t inum, size;
	uint8_t type;
	uint32_t mode; /* 07777 */
	uint64_t nlink;
	uint32_t uid, gid, rmajor, rminor;
	uint64_t atime, mtime, ctime, btime; /* microseconds */
	uint32_t uflags;
	uint8_t comp_algo, check_algo;
};

struct backend_entry {
	uint64_t inum;
	uint8_t type; /* enum h2_object_type */
	uint16_t name_len;
	char name[256];
	uint64_t
		cookie; /* a scan that begins here goes on behind this entry; 0: there is no more */
};

struct backend_counts { /* of inodes */
	bool exact;     /* no snapshot shares inodes, which counts them once only */
	uint64_t directories, files, symlinks, others;
};

struct backend; /* each implementation's own */

struct backend_ops {
	const char *name;
	unsigned can;

	int (*new)(const struct backend_options *options, struct backend **bp);
	void (*free)(struct backend *b);

	/* Make it empty. It is closed, and stays closed. */
	int (*format)(struct backend *b, uint64_t seed);
	int (*open)(struct backend *b);
	int (*close)(struct backend *b);

	/*
	 * Verify what is on the media of a closed filesystem. Returns 0 where nothing is wrong,
	 * -EBADMSG where something is and was printed, or the error that kept it from looking.
	 */
	int (*check)(struct backend *b, struct backend_counts *counts);
	/*
	 * What would be there after a power failure now, as a closed filesystem of its own: with
	 * nothing of what was not flushed, or (seed not 0) with parts of it. -EOPNOTSUPP where
	 * that cannot be told.
	 */
	int (*crash_copy)(struct backend *b, uint64_t seed, struct backend **copyp);
	int (*sync)(struct backend *b);
	/* Free space in parts of a thousand. */
	unsigned (*room)(struct backend *b);

	int (*root)(struct backend *b, void **node);
	int (*get)(struct backend *b, uint64_t inum, void **node);
	int (*path)(struct backend *b, const char *path, void **node);
	void (*put)(struct backend *b, void *node);

	/* node may be NULL. */
	int (*lookup)(struct backend *b, void *dir, const char *name, size_t len,
		      struct backend_entry *ent, void **node);
	int (*attr)(struct backend *b, void *node, struct backend_attr *attr);
	int (*parent)(struct backend *b, void *dir, uint64_t *inum);

	/* node may be NULL; target is that of a symlink, terminated too. */
	int (*create)(struct backend *b, void *dir, const char *name, size_t len,
		      const struct model_new *new_, void **node);
	int (*create_unnamed)(struct backend *b, void *dir, const struct model_new *new_,
			      void **node);
	int (*link)(struct backend *b, void *dir, const char *name, size_t len, void *node);
	/* gone may be NULL; else *gone receives the inode that lost its last name, or NULL. */
	int (*unlink)(struct backend *b, void *dir, const char *name, size_t len, void **gone);
	int (*rmdir)(struct backend *b, void *dir, const char *name, size_t len, void **gone);
	int (*rename)(struct backend *b, void *from_dir, const char *from, size_t from_len,
		      void *to_dir, const char *to, size_t to_len, unsigned flags, void **gone);

	int (*set)(struct backend *b, void *node, const struct model_set *set);

	ssize_t (*read)(struct backend *b, void *node, uint64_t offset, void *buf, size_t len);
	/* flags as OP_WRITE_... */
	ssize_t (*write)(struct backend *b, void *node, uint64_t offset, const void *buf,
			 size_t len, unsigned flags);
	int (*allocate)(struct backend *b, void *node, unsigned mode, uint64_t offset,
			uint64_t len);
	ssize_t (*copy)(struct backend *b, void *from, uint64_t from_offset, void *to,
			uint64_t to_offset, size_t len);
	/* The first stretch of data at or behind offset; 1 where there is none. */
	int (*next_data)(struct backend *b, void *node, uint64_t offset, uint64_t *start,
			 uint64_t *end);
	ssize_t (*readlink)(struct backend *b, void *node, char *buf, size_t size);

	/* A scan of a directory from a cookie (0: the beginning) on, "." and ".." left out. */
	int (*scan_new)(struct backend *b, void *dir, uint64_t cookie, void **scan);
	int (*scan_next)(struct backend *b, void *scan, struct backend_entry *ent); /* 1: end */
	void (*scan_free)(struct backend *b, void *scan);
};

extern const struct backend_ops backend_posix, backend_hammer2;

#endif
