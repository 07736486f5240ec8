/*
 * A HAMMER2 filesystem: its PFSs, their inodes, names and file contents. This header has what
 * readers need; <hammer2/change.h> has what changes a filesystem.
 *
 * All functions may be called from any number of threads at once. What they return was verified
 * against its check code and against the bounds of MF 13. Damage shows as -H2_ECHECK (a block does
 * not match its check code), -H2_ECORRUPT (a structure contradicts the format) or -EIO and the
 * like (the device), and a finding that names the place; it is confined to what the damaged block
 * holds. Programs for users turn the first two into EIO.
 */
#ifndef HAMMER2_FS_H
#define HAMMER2_FS_H

#include <hammer2/report.h>
#include <hammer2/types.h>
#include <hammer2/volume.h>
#include <stdbool.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct h2_fs;
struct h2_pfs;
struct h2_inode;

#define H2_CACHE_DEFAULT ((size_t)64 << 20)

#define H2_DIRTY_DEFAULT ((size_t)128 << 20)

#define H2_STORE_DEFAULT ((size_t)64 << 20)

struct h2_fs_options {
	size_t cache_bytes;   /* memory for blocks that may be needed again; 0: H2_CACHE_DEFAULT */
	h2_report_fn *report; /* receives findings; may be NULL */
	void *report_user;

	/* The rest is for filesystems that are changed. */
	bool write;         /* allow changes; the volumes must be open for writing */
	/* Bound on changes in memory; on written contents not above H2_DIRTY_DEFAULT, which 0 stands for. */
	size_t dirty_bytes;
	/* Written contents from which on threads store some; 0: H2_STORE_DEFAULT or half of dirty_bytes. */
	size_t store_bytes;
	bool pack;          /* the lowest places on the media first; else like goes with like */
	unsigned
		commit_seconds; /* commit changes not older than this by itself; 0: only when told */
	bool hold_commits;      /* commit in h2_fs_sync() and h2_fs_close() only: else -ENOSPC */
	bool discard;           /* tell the devices what becomes free: image files get holes */
	bool no_dedup;          /* do not look for blocks that are stored already */
	bool no_threads;        /* store file contents in the callers' threads only */
	/*
	 * The time for the inodes that change, microseconds since 1970; NULL: the system's. With
	 * this and no_threads, the same calls give the same writes in the same order.
	 */
	uint64_t (*now_us)(void *user);
	void *now_user;
};

/*
 * Open the filesystem on the volumes, which must stay open until it is closed. Reads the
 * super-root only. options may be NULL. Returns 0, -ENOMEM, or what reading the super-root gave.
 */
int h2_fs_open(struct h2_volumes *volumes, const struct h2_fs_options *options, struct h2_fs **fsp);

/*
 * Close it, after a commit of what was changed. All PFSs and inodes must have been given back. NULL
 * is allowed. Returns 0, or the error of that commit, or of an earlier one that failed: changes
 * since the last good commit are lost then.
 */
int h2_fs_close(struct h2_fs *fs);

/* Close it as if it had crashed: what was not committed is lost. */
void h2_fs_abandon(struct h2_fs *fs);

struct h2_fs_stats {
	uint64_t total_bytes; /* what can ever be allocated: allocator_size */
	uint64_t free_bytes;  /* never more than total_bytes */
	uint64_t waiting_bytes; /* of free_bytes: dropped, and free after some more commits */
	uint64_t lost_bytes;    /* about so much would bulk free find */
	uint64_t scan_bytes, scan_expected_bytes; /* of the running pass; both 0: none runs */
	uint64_t inodes; /* in all PFSs, as counted by the super-root's blockref */
	size_t cache_bytes;   /* now in memory */
	uint64_t cache_hits, cache_misses;
};
void h2_fs_get_stats(struct h2_fs *fs, struct h2_fs_stats *stats);

/* Forget what was read and is not in use: it is read, and checked, again when it is needed. */
void h2_fs_forget_cached(struct h2_fs *fs);

/* The volumes that it was opened with. */
struct h2_volumes *h2_fs_volumes(struct h2_fs *fs);

/*
 * For passes over all of a filesystem, or much of it. They see the state of one commit; others go on
 * reading and writing meanwhile, but what they drop comes back only afterwards. One runs at a time;
 * others wait.
 */
struct h2_pass_options {
	/*
	 * Called now and then with how many bytes of blocks were met, and about how many there are
	 * (both 0 while it waits); returns whether to go on: else the pass ends with -EINTR. May be
	 * NULL.
	 */
	bool (*progress)(void *user, uint64_t bytes, uint64_t bytes_expected);
	void *user;
};

/* ---- PFSs, MF 11 ---- */

struct h2_pfs_info {
	char label[H2_NAME_MAX + 1];
	uint64_t key;              /* of its entry in the super-root */
	struct h2_blockref ref;    /* of its root inode */
	struct h2_inode_meta meta; /* of its root inode */
};

/*
 * List the PFSs in the order of their keys: *info receives the first one whose key is at least
 * key. To go on, ask again with info->key + 1, until the end or a key that wrapped to 0.
 *
 * Returns 0; 1 at the end; or a damage error, with info->key set to the last key of what cannot
 * be read, so that the listing can go on behind it.
 */
int h2_pfs_next(struct h2_fs *fs, uint64_t key, struct h2_pfs_info *info);

/*
 * Find a PFS by its label, which is compared byte for byte. Returns 0 and a reference, to be given
 * back with h2_pfs_put(); -ENOENT; a damage error; -ENOMEM. The same PFS gives the same pointer
 * while anyone refers to it.
 */
int h2_pfs_open(struct h2_fs *fs, const char *label, struct h2_pfs **pfsp);
void h2_pfs_put(struct h2_pfs *pfs); /* NULL is allowed */

/* The PFS's own facts, as of opening. Borrowed until the reference is given back. */
const struct h2_pfs_info *h2_pfs_get_info(const struct h2_pfs *pfs);
/* What the PFS uses, as of the last commit and with what waits for the next, and may use. */
struct h2_pfs_usage {
	uint64_t data_bytes; /* of all blocks */
	uint64_t inodes;
	uint64_t data_quota, inode_quota; /* 0: none */
};
void h2_pfs_get_usage(struct h2_pfs *pfs, struct h2_pfs_usage *usage);

struct h2_fs *h2_pfs_fs(const struct h2_pfs *pfs);

/* ---- inodes, MF 6 ---- */

/*
 * Get an inode by its number; H2_INUM_ROOT is the root directory. Returns 0 and a reference, to
 * be given back with h2_inode_put(); -ENOENT; a damage error; -ENOMEM. A removed inode can be got
 * as long as anyone refers to it, and for some time longer.
 */
int h2_inode_get(struct h2_pfs *pfs, uint64_t inum, struct h2_inode **inodep);
void h2_inode_put(struct h2_inode *inode); /* NULL is allowed */

/*
 * Borrowed until the reference is given back. Constant in a filesystem that is not open for
 * writing; in one that is, h2_inode_attr() and h2_inode_get_meta() give a consistent picture.
 */
const struct h2_inode_meta *h2_inode_meta(const struct h2_inode *inode);
const struct h2_blockref *h2_inode_ref(const struct h2_inode *inode);
struct h2_pfs *h2_inode_pfs(const struct h2_inode *inode);

/* The attributes as they are now. */
void h2_inode_get_meta(struct h2_inode *inode, struct h2_inode_meta *meta);

#define H2_INODE_BYTES 1024u

/*
 * The inode as it would be on the media (MF 6.1), with zeros in place of its contents; and what its
 * blockref says of all below it, as of the last commit: bytes and inodes.
 */
void h2_inode_get_block(struct h2_inode *inode, uint8_t block[H2_INODE_BYTES],
			uint64_t *data_count, uint64_t *inode_count);

/* What stat(2) tells, BS 3.8; a zero atime or btime is replaced as MF 6.5 advises. */
struct h2_attr {
	uint64_t inum;
	uint64_t size;   /* bytes; 0 for directories and special files */
	uint64_t blocks; /* units of 512 bytes */
	uint32_t mode;   /* with the file type's bits, as in st_mode */
	uint32_t nlink;  /* as stored, at least 1 */
	uint32_t uid, gid;
	uint32_t rmajor, rminor;
	uint64_t atime_us, mtime_us, ctime_us, btime_us; /* since 1970; unsigned, MF 6.5 */
	uint32_t uflags;                                 /* MF 6.6 */
};
void h2_inode_attr(struct h2_inode *inode, struct h2_attr *attr);

/*
 * The path of an inode from its PFS's root, built by following iparent and finding the names, for
 * messages. Writes at most size bytes with a terminator. Returns 0; -ENOENT where no name leads to
 * it; -ERANGE; a damage error. Costs a scan of each directory on the way.
 */
int h2_inode_path(struct h2_pfs *pfs, uint64_t inum, char *buf, size_t size);

/*
 * Follow a path (components divided by '/', "." and ".." understood, symlinks not followed) from
 * the root. Returns 0 and a reference; -ENOENT, -ENOTDIR, -ENAMETOOLONG; a damage error.
 */
int h2_path_lookup(struct h2_pfs *pfs, const char *path, struct h2_inode **inodep);

/* ---- directories, MF 7 ---- */

struct h2_dirent {
	uint64_t inum;
	uint64_t key;               /* bit 63 set; the cookie of BS 4.1 is key without it */
	uint8_t type;               /* enum h2_object_type, as the entry says */
	uint8_t name_len;           /* bytes, 1..255 */
	char name[H2_NAME_MAX + 1]; /* terminated */
};

/*
 * Find a name. Returns 0; -ENOENT; -ENOTDIR; -ENAMETOOLONG; a damage error (also where a damaged
 * block may hide the name). "." and ".." are no names here. ent may be NULL.
 */
int h2_dir_lookup(struct h2_inode *dir, const char *name, size_t name_len, struct h2_dirent *ent);

/*
 * Get the inode that an entry of dir leads to. As h2_inode_get(), but a missing inode is damage: it
 * is reported and -H2_ECORRUPT.
 */
int h2_dirent_get(struct h2_inode *dir, const struct h2_dirent *ent, struct h2_inode **inodep);

/*
 * Get the inode of an entry for a listing with attributes. As h2_inode_get(), but -EAGAIN for one
 * that is not in memory when listings of dir have read as many as take an eighth of the cache
 * since a scan last began at 0: the inodes of a huge directory would push out everything else.
 */
int h2_dirent_get_listed(struct h2_inode *dir, const struct h2_dirent *ent,
			 struct h2_inode **inodep);

/*
 * A scan of a directory in key order, "." and ".." not included. Not to be shared by threads. Names
 * that exist during the whole scan are returned once, whatever is created and removed beside them
 * (BS 4.2).
 */
struct h2_dir_scan;

/*
 * Begin a scan at the first entry whose key is at least from (bit 63 does not matter; 0: the
 * first one). Takes a reference to dir. Returns 0, -ENOTDIR, -ENOMEM.
 */
int h2_dir_scan_new(struct h2_inode *dir, uint64_t from, struct h2_dir_scan **scanp);
void h2_dir_scan_free(struct h2_dir_scan *scan); /* NULL is allowed */

/*
 * The next entry. Returns 0; 1 at the end; or a damage error, once for each damaged part, after
 * which the scan goes on behind it: a caller that gives up there has not seen the whole directory.
 */
int h2_dir_scan_next(struct h2_dir_scan *scan, struct h2_dirent *ent);

/* The number of the parent directory: iparent, or its own for a PFS root. */
uint64_t h2_dir_parent(struct h2_inode *dir);

/* ---- file contents, MF 8 ---- */

/*
 * Read up to len bytes at offset of a regular file or symlink into buf. Holes read as zeros.
 *
 * Returns the bytes read: len, or less at the end of the file (0 behind it), or less in front of a
 * damaged block; what buf has behind them is undefined. Where the very first byte is damaged the error is returned. -EISDIR and -EINVAL
 * for directories and special files.
 */
ssize_t h2_file_read(struct h2_inode *inode, uint64_t offset, void *buf, size_t len);

/*
 * The first stretch of data at or behind offset: [*start, *end), both cut to the file's size;
 * everything before it is a hole. Neighbouring blocks are joined as far as max_bytes (0: no
 * bound). Returns 0; 1 where only holes follow; a damage error. What lies in front of a damaged
 * block is returned first, and the error by the next call.
 */
int h2_file_next_data(struct h2_inode *inode, uint64_t offset, uint64_t max_bytes, uint64_t *start,
		      uint64_t *end);

/* One DATA block of a file: for reports about how it is stored. */
struct h2_file_block {
	uint64_t offset;        /* in the file, bytes */
	struct h2_blockref ref; /* of the block */
};

/*
 * The first DATA block whose offset is at least offset, also behind the end of the file. Returns
 * 0; 1 where there is none (also for inline data); a damage error with block->offset set to where
 * to go on (0 when the end was reached) and block->ref to the blockref that is at fault.
 */
int h2_file_next_block(struct h2_inode *inode, uint64_t offset, struct h2_file_block *block);

#define H2_SYMLINK_MAX 4096u /* longest target that is read, bytes */

/*
 * Read a symlink's target into buf (size bytes, terminated; a stored trailing NUL is dropped).
 * Returns its length; -EINVAL for other objects; -ENAMETOOLONG where it does not fit, or is longer
 * than H2_SYMLINK_MAX; a damage error.
 */
ssize_t h2_symlink_read(struct h2_inode *inode, char *buf, size_t size);

#ifdef __cplusplus
}
#endif
#endif
