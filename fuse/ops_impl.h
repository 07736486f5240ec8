/*
 * What the files with the FUSE operations share: ops.c has names, attributes and the table,
 * ops_read.c what is read, ops_write.c what is changed, ops_ioctl.c the ioctls, ops_usage.c and
 * ops_diff.c two of them.
 */
#ifndef FUSE_OPS_IMPL_H
#define FUSE_OPS_IMPL_H

#include <hammer2/ioctl.h>

#include "ops.h"

#define FOREVER_SECONDS (365.0 * 86400) /* how long names and attributes stay true */

static inline struct ops_view *view_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* Answer with the errno that users are to see. */
void reply_error(fuse_req_t req, int err);
int errno_for_user(int err); /* negative in, positive out */

/* Get the inode of a node; a node that does not exist is -ESTALE, the virtual directory -EINVAL. */
int get_node(fuse_req_t req, fuse_ino_t ino, struct h2_inode **inodep);

/* Get a node to change something of it. Also -EROFS. */
int get_for_change(fuse_req_t req, fuse_ino_t ino, struct h2_inode **inodep);

/* Get a directory to change a name in it. Also -EBUSY: the name of the virtual directory. */
int get_dir_for_change(fuse_req_t req, fuse_ino_t ino, const char *name, struct h2_inode **dirp);

/* What the nodes have that are where this one is: in the mounted PFS, or in a snapshot. */
static inline uint64_t base_of(const struct ops_view *view, fuse_ino_t ino)
{
	uint64_t base = atomic_load(&view->state)->base;

	if (ino == FUSE_ROOT_ID)
		return base;
	return view->snapdir || base ? snapdir_base(ino) : 0;
}

static inline bool in_snapshot(const struct ops_view *view, fuse_ino_t ino)
{
	return view->snapdir && snapdir_is_snapshot(snapdir_base(ino));
}

/* The node of an inode. The root of the mounted PFS always has the same one. */
static inline fuse_ino_t node_of(uint64_t base, uint64_t inum)
{
	return inum == H2_INUM_ROOT && !snapdir_is_snapshot(base) ? FUSE_ROOT_ID : base | inum;
}

static inline double seconds_of(uint64_t base)
{
	return snapdir_is_snapshot(base) ? SNAPDIR_SECONDS : FOREVER_SECONDS;
}

static inline bool is_snapdir(const struct ops_view *view, fuse_ino_t ino)
{
	return view->snapdir && ino == SNAPDIR_NODE;
}

/* Whether this is the name of the virtual directory, which no listing tells. */
bool is_snapdir_name(const struct ops_view *view, fuse_ino_t parent, const char *name);
void stat_snapdir(const struct ops_view *view, struct stat *st);

/* After an operation that gave err. Returns the error to be answered. */
int ops_finish(const struct ops_view *view, int err);

#define UFLAGS_IMMUTABLE (0x2u | 0x20000u) /* MF 6.6: the user's and the system's */
#define UFLAGS_APPEND (0x4u | 0x40000u)
#define UFLAGS_NODUMP 0x1u
#define UFLAGS_SYSTEM_IMMUTABLE 0x20000u
#define UFLAGS_SYSTEM_APPEND 0x40000u

/* What the kernel is told of an inode; base: see base_of(). */
void fill_stat(const struct ops_view *view, struct h2_inode *inode, uint64_t base, struct stat *st);

/*
 * The same with its node, which the kernel then knows once more. Returns 0; -ENOMEM; -EOVERFLOW: there
 * is no node for it.
 */
int fill_entry(const struct ops_view *view, struct h2_inode *inode, uint64_t base,
	       struct fuse_entry_param *entry);

/* Answer with the node of an inode. */
void reply_inode(fuse_req_t req, struct h2_inode *inode, uint64_t base);

/* ops_read.c */
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);
void op_readlink(fuse_req_t req, fuse_ino_t ino);
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi);

/* ops_write.c */
void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int valid,
		struct fuse_file_info *fi);
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
	       const char *new_name, unsigned flags);
void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	      struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
		  struct fuse_file_info *fi);
void op_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_off,
			struct fuse_file_info *from_fi, fuse_ino_t to, off_t to_off,
			struct fuse_file_info *to_fi, size_t len, int flags);
void op_destroy(void *userdata);

/* ops_ioctl.c */
void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg, struct fuse_file_info *fi,
	      unsigned flags, const void *in, size_t in_size, size_t out_size);

/* The progress of a pass for a request (its user): it ends when the caller is interrupted or dies. */
bool ops_goes_on(void *user, uint64_t bytes, uint64_t expected);

/* ops_usage.c: HAMMER2IOC_USAGE */
int ops_usage(fuse_req_t req, struct hammer2_ioc_usage *usage);

/*
 * ops_diff.c: compare two PFSs and keep the result, whose number *result receives. Returns 0; -EIO
 * where there are no random numbers; -EFBIG; the errors of h2_diff().
 */
int ops_diff(fuse_req_t req, const char *from, const char *to, uint64_t *result);

#endif
