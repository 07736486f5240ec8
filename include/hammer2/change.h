/*
 * Changing a HAMMER2 filesystem that was opened with h2_fs_options.write.
 *
 * Every function here is one operation: it happens as a whole or, when it returns an error, not at
 * all, and after a crash the media have all of it or nothing of it (doc/ARCHITECTURE.md, "A change
 * and a commit"). It is in memory when the function returns; h2_fs_sync() makes it durable.
 *
 * All functions may be called from any number of threads at once. They check what concerns the
 * filesystem (names, types, emptiness, space, flags of MF 6.6), not the caller's permissions.
 *
 * Besides the errors that each one lists, all return -EROFS (not open for writing, or changes are
 * refused since a commit failed), -ENOSPC, -EDQUOT (a quota of the PFS's root is reached), -ENOMEM,
 * and damage errors where something on the media is needed and cannot be read.
 */
#ifndef HAMMER2_CHANGE_H
#define HAMMER2_CHANGE_H

#include <hammer2/fs.h>

#ifdef __cplusplus
extern "C" {
#endif

#define H2_LINKS_MAX UINT32_MAX    /* names of one file, BS 3.5 */
#define H2_FILE_SIZE_MAX INT64_MAX /* bytes, MF 1.3 */
#define H2_INHERIT (-1)            /* take the directory's setting */

/* ---- durability ---- */

/*
 * Commit all changes of all PFSs: when it returns 0, everything that was done before the call is on
 * the media for good. Concurrent calls share commits. Costs nothing when nothing has changed.
 *
 * Returns 0, or the error that made a commit fail, from then on for ever: the filesystem then
 * refuses changes, and a report has told which volume failed.
 */
int h2_fs_sync(struct h2_fs *fs);

/* Whether changes are accepted: 0, or why not (-EROFS: not open for writing). */
int h2_fs_write_state(struct h2_fs *fs);

/* ---- space ---- */

struct h2_bulkfree_result {
	uint64_t blocks;      /* blockrefs met */
	uint64_t used_bytes;  /* of their blocks; file data counts for each blockref */
	uint64_t freed_bytes; /* of storage that nothing refers to */
};

/*
 * Find storage that nothing refers to any more, and make it free: walks all trees (BS 9). Others go
 * on reading and writing meanwhile. Filesystems that commit by the clock do this by themselves, and
 * all do where there is no room left.
 *
 * Returns 0; -EINTR (progress said so); or a damage error: then nothing was freed, since damage may
 * hide what is in use. result may be NULL.
 */
int h2_fs_bulkfree(struct h2_fs *fs, const struct h2_pass_options *options,
		   struct h2_bulkfree_result *result);

/*
 * Make the filesystem larger: to size bytes (rounded down to 8 MiB), or to what its device has (0). An
 * image file grows with it if it must. *new_size receives what it has then, durably; that it has it
 * already is no error. Others go on reading and writing meanwhile. It waits for passes that run; the
 * options' progress, unless NULL, can end this waiting, but not the growing.
 *
 * Returns 0; -EINTR (nothing has changed); -EINVAL (smaller than it is, or larger than the device);
 * -EOPNOTSUPP (several volumes: BS 11).
 */
int h2_fs_grow(struct h2_fs *fs, uint64_t size, const struct h2_pass_options *options,
	       uint64_t *new_size);

/* ---- names ---- */

struct h2_new {        /* a new object */
	uint8_t type;  /* enum h2_object_type; not UNKNOWN, not WHITEOUT */
	uint32_t mode; /* permission bits, 07777; the caller's umask is the caller's affair */
	uint32_t uid;
	uint32_t gid;            /* in a directory with the setgid bit, that one's is taken */
	uint32_t rmajor, rminor; /* device nodes */
	const char *target;      /* symlinks: 1..4095 bytes, without '\0' */
	size_t target_len;
	int comp_algo;  /* as MF 6.8 has it, or H2_INHERIT */
	int check_algo; /* likewise */
};

/*
 * Make a new object under a name in dir; a directory in one with the setgid bit gets that bit too.
 * *inodep receives a reference unless inodep is NULL. Returns 0; -EEXIST; -ENOTDIR; -ENOENT (dir
 * was removed); -ENAMETOOLONG; -EINVAL (name or type).
 */
int h2_create(struct h2_inode *dir, const char *name, size_t name_len, const struct h2_new *new_,
	      struct h2_inode **inodep);

/*
 * Make a file without a name, as open(2) with O_TMPFILE does; h2_link() can give it one. It is gone
 * when the last reference is given back, or after a crash.
 */
int h2_create_unnamed(struct h2_inode *dir, const struct h2_new *new_, struct h2_inode **inodep);

/*
 * Give inode, no directory, another name. Returns 0; -EEXIST; -EPERM (a directory); -EMLINK;
 * -ENOENT (dir was removed, or inode has no name left); -EXDEV (of another PFS); -ENOTDIR;
 * -ENAMETOOLONG; -EINVAL.
 */
int h2_link(struct h2_inode *dir, const char *name, size_t name_len, struct h2_inode *inode);

/*
 * Remove a name that is no directory's. An inode that loses its last name lives on until the last
 * reference to it is given back; if gone is not NULL, *gone receives a reference to such an inode,
 * else NULL. Returns 0; -ENOENT; -EISDIR; -ENOTDIR; -EPERM (flags); -ENAMETOOLONG.
 */
int h2_unlink(struct h2_inode *dir, const char *name, size_t name_len, struct h2_inode **gone);

/* Remove an empty directory; otherwise as h2_unlink(). Returns also -ENOTEMPTY; -ENOTDIR. */
int h2_rmdir(struct h2_inode *dir, const char *name, size_t name_len, struct h2_inode **gone);

/*
 * Remove a name whose inode is missing or cannot be read, and which h2_unlink() therefore refuses. The
 * inode is not touched. Returns 0; -EEXIST (the inode can be read: h2_unlink() is for that); -ENOENT;
 * -ENOTDIR; -EPERM (flags of dir); -ENAMETOOLONG.
 */
int h2_destroy_name(struct h2_inode *dir, const char *name, size_t name_len);

/*
 * Remove an inode that no name leads to, or that cannot be read: then what it had comes back by bulk free.
 * Returns 0; -ENOENT (there is none of that number, or it is on its way); -EEXIST (the directory that it
 * says it is in has a name for it); -ENOTEMPTY (a directory with names in it); -EPERM (a PFS's root);
 * -EOPNOTSUPP (MF 7.6).
 */
int h2_destroy_inode(struct h2_pfs *pfs, uint64_t inum);

#define H2_RENAME_NOREPLACE 0x1u /* -EEXIST where the new name exists */
#define H2_RENAME_EXCHANGE 0x2u  /* exchange two existing names */

/*
 * Rename, as renameat2(2) does. What the new name meant before is replaced in the same operation;
 * *gone is as in h2_unlink(). Returns 0; -ENOENT; -EEXIST; -ENOTEMPTY; -EISDIR; -ENOTDIR; -EINVAL
 * (a directory into itself or below, or bad flags); -EXDEV; -EPERM (flags); -ENAMETOOLONG.
 */
int h2_rename(struct h2_inode *from_dir, const char *from, size_t from_len, struct h2_inode *to_dir,
	      const char *to, size_t to_len, unsigned flags, struct h2_inode **gone);

/* ---- attributes ---- */

#define H2_SET_MODE 0x001u
#define H2_SET_UID 0x002u /* setting an owner clears setuid and setgid as chown(2) does */
#define H2_SET_GID 0x004u
#define H2_SET_SIZE 0x008u /* regular files only */
#define H2_SET_ATIME 0x010u
#define H2_SET_MTIME 0x020u
#define H2_SET_CTIME 0x040u /* otherwise it becomes now */
#define H2_SET_UFLAGS 0x080u
#define H2_SET_COMP 0x100u  /* for blocks written from now on, and for new entries of a directory */
#define H2_SET_CHECK 0x200u /* likewise */
#define H2_SET_QUOTA 0x400u /* PFS roots: both quotas, bytes and inodes; 0: none */
#define H2_SET_BTIME 0x800u

struct h2_set_attr {
	unsigned valid; /* H2_SET_... */
	uint32_t mode, uid, gid;
	uint64_t size;                                   /* bytes */
	uint64_t atime_us, mtime_us, ctime_us, btime_us; /* since 1970 */
	uint32_t uflags;                                 /* MF 6.6 */
	uint8_t comp_algo, check_algo;                   /* MF 6.8 */
	uint64_t data_quota, inode_quota;
};

/*
 * Set all valid members in one operation. Returns 0; -EISDIR, -EINVAL (size of something else than
 * a regular file; unknown algorithm); -EFBIG; -EPERM (immutable or append-only, and the flags are
 * not what is being set).
 */
int h2_inode_set_attr(struct h2_inode *inode, const struct h2_set_attr *set);

/* ---- file contents ---- */

#define H2_WRITE_APPEND 0x1u     /* at the end of the file, whatever offset says */
#define H2_WRITE_KEEP_TIMES 0x2u /* leave mtime and ctime alone: the caller sets them */
#define H2_WRITE_ALLOWED 0x4u    /* the caller has checked the flags of MF 6.6 */

/*
 * Write len bytes at offset of a regular file. Returns len, or less where space ran out part of the
 * way or a part is damaged (then the next call returns the error); -EISDIR, -EINVAL; -EFBIG; -EPERM
 * (flags). What was accepted has its space reserved.
 */
ssize_t h2_file_write(struct h2_inode *inode, uint64_t offset, const void *buf, size_t len,
		      unsigned flags);

#define H2_FALLOC_KEEP_SIZE 0x01u /* as Linux's FALLOC_FL_... have it */
#define H2_FALLOC_PUNCH_HOLE 0x02u
#define H2_FALLOC_ZERO_RANGE 0x10u

/*
 * As fallocate(2). Nothing is preallocated, since every write goes to new space (BS 5.5): without
 * PUNCH_HOLE and ZERO_RANGE it only checks that there is room, and sets the size. Returns 0;
 * -EOPNOTSUPP (other modes); -EINVAL; -EFBIG; -EISDIR; -ENODEV (not a regular file); -EPERM.
 */
int h2_file_allocate(struct h2_inode *inode, unsigned mode, uint64_t offset, uint64_t len);

/*
 * Copy up to len bytes from one file to another, or within one. Returns the bytes copied, less than
 * len only at the end of the source (or after an error part of the way); -EINVAL for overlapping
 * ranges of one file; otherwise the errors of reading and writing.
 */
ssize_t h2_file_copy(struct h2_inode *from, uint64_t from_offset, struct h2_inode *to,
		     uint64_t to_offset, size_t len);

#ifdef __cplusplus
}
#endif
#endif
