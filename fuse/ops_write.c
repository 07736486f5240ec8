/*
 * The FUSE operations that change something.
 *
 * The kernel has checked the caller's permissions. Each request is one operation of the library,
 * which is in memory when it is answered and durable after the next commit, or at once where the
 * mount has option sync.
 *
 * What the kernel writes from its cache cannot be refused in part: it would not notice. So such a
 * write succeeds as a whole or fails, and the kernel reports the failure to fsync and close.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <syslog.h>
#include <time.h>

#include <hammer2/change.h>

#include "log.h"
#include "ops_impl.h"

#define COPY_MAX ((size_t)64 << 20) /* bytes that one request copies; callers go on behind it */

/* ---- the outcome ---- */

/* Say once that the filesystem has stopped accepting changes. */
static void tell_refusal(const struct ops_view *view)
{
	static atomic_bool told; /* a process has one filesystem open */
	int err = view->nodes ? h2_fs_write_state(h2_pfs_fs(view_pfs(view))) : 0;

	if (!err || atomic_exchange(&told, true))
		return;
	log_line(LOG_CRIT,
		 "PFS %s: changes could not be written and are refused from now on: %s; what fsync "
		 "has not confirmed may be lost; unmount the filesystem and check its volumes",
		 h2_pfs_get_info(view_pfs(view))->label, log_error_text(-err));
}

int ops_sync(const struct ops_view *view)
{
	int err;

	if (!view->nodes)
		return 0;
	err = h2_fs_sync(h2_pfs_fs(view_pfs(view)));
	if (!err)
		return 0;
	tell_refusal(view);
	return -errno_for_user(err);
}

int ops_finish(const struct ops_view *view, int err)
{
	if (err == -EROFS || err == -EIO)
		tell_refusal(view);
	if (!err && view->sync)
		err = ops_sync(view);
	return err;
}

/* The same for a change of names. */
static int finish_names(const struct ops_view *view, int err)
{
	err = ops_finish(view, err);
	if (!err && view->dirsync)
		err = ops_sync(view);
	return err;
}

static void reply_done(fuse_req_t req, int err)
{
	fuse_reply_err(req, err ? errno_for_user(err) : 0);
}

int get_for_change(fuse_req_t req, fuse_ino_t ino, struct h2_inode **inodep)
{
	/* The kernel asks nothing of the kind unless somebody changed the flags of its mount. */
	if (!view_of(req)->nodes || in_snapshot(view_of(req), ino) ||
	    is_snapdir(view_of(req), ino))
		return -EROFS;
	return get_node(req, ino, inodep);
}

int get_dir_for_change(fuse_req_t req, fuse_ino_t ino, const char *name, struct h2_inode **dirp)
{
	if (is_snapdir_name(view_of(req), ino, name))
		return -EBUSY;
	return get_for_change(req, ino, dirp);
}

/* ---- names ---- */

static uint8_t type_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return H2_OBJECT_DIRECTORY;
	case S_IFIFO:
		return H2_OBJECT_FIFO;
	case S_IFCHR:
		return H2_OBJECT_CHAR_DEVICE;
	case S_IFBLK:
		return H2_OBJECT_BLOCK_DEVICE;
	case S_IFLNK:
		return H2_OBJECT_SYMLINK;
	case S_IFSOCK:
		return H2_OBJECT_SOCKET;
	default:
		return H2_OBJECT_FILE; /* mknod(2): also where no type is given */
	}
}

static void make(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev,
		 const char *target)
{
	const struct ops_view *view = view_of(req);
	const struct fuse_ctx *caller = fuse_req_ctx(req);
	struct h2_inode *dir, *inode = NULL;
	const struct h2_new new_ = {
		.type = type_of(mode),
		.mode = mode & 07777,
		.uid = caller->uid,
		.gid = caller->gid,
		.rmajor = major(rdev),
		.rminor = minor(rdev),
		.target = target,
		.target_len = target ? strlen(target) : 0,
		.comp_algo = view->comp_algo,
		.check_algo = view->check_algo,
	};
	int err = get_dir_for_change(req, parent, name, &dir);

	if (!err) {
		err = h2_create(dir, name, strlen(name), &new_, &inode);
		h2_inode_put(dir);
	}
	err = finish_names(view, err);
	if (err)
		reply_error(req, err);
	else
		reply_inode(req, inode, base_of(view, parent));
	h2_inode_put(inode);
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	bool device = S_ISCHR(mode) || S_ISBLK(mode);

	make(req, parent, name, mode, device ? rdev : 0, NULL);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	make(req, parent, name, (mode & 07777) | S_IFDIR, 0, NULL);
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	make(req, parent, name, S_IFLNK | 0777, 0, target);
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	struct h2_inode *dir, *inode = NULL;
	int err = get_dir_for_change(req, parent, name, &dir);

	if (!err) {
		err = in_snapshot(view_of(req), ino) ? -EXDEV : get_node(req, ino, &inode);
		if (!err)
			err = h2_link(dir, name, strlen(name), inode);
		h2_inode_put(dir);
	}
	err = finish_names(view_of(req), err);
	if (err)
		reply_error(req, err);
	else
		reply_inode(req, inode, base_of(view_of(req), parent));
	h2_inode_put(inode);
}

static void remove_name(fuse_req_t req, fuse_ino_t parent, const char *name,
			int (*remove)(struct h2_inode *dir, const char *name, size_t name_len,
				      struct h2_inode **gone))
{
	struct h2_inode *dir, *gone = NULL;
	int err = get_dir_for_change(req, parent, name, &dir);

	if (!err) {
		err = remove(dir, name, strlen(name), &gone);
		if (!err)
			nodes_keep(view_of(req)->nodes, base_of(view_of(req), parent), gone);
		h2_inode_put(dir);
	}
	reply_done(req, finish_names(view_of(req), err));
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, h2_unlink);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, h2_rmdir);
}

/* The flags of renameat2(2) as the library has them; others are not known to it either. */
static unsigned rename_flags(unsigned flags)
{
	unsigned known = (flags & RENAME_NOREPLACE ? H2_RENAME_NOREPLACE : 0) |
			 (flags & RENAME_EXCHANGE ? H2_RENAME_EXCHANGE : 0);

	return flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE) ? ~0u : known;
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
	       const char *new_name, unsigned flags)
{
	struct h2_inode *from = NULL, *to = NULL, *gone = NULL;
	int err = get_dir_for_change(req, parent, name, &from);

	if (!err)
		err = get_dir_for_change(req, new_parent, new_name, &to);
	if (!err)
		err = h2_rename(from, name, strlen(name), to, new_name, strlen(new_name),
				rename_flags(flags), &gone);
	if (!err)
		nodes_keep(view_of(req)->nodes, base_of(view_of(req), parent), gone);
	h2_inode_put(to);
	h2_inode_put(from);
	reply_done(req, finish_names(view_of(req), err));
}

/* ---- attributes ---- */

/* Times are stored in microseconds since 1970, and there are none before. */
static uint64_t us_of(struct timespec ts)
{
	return ts.tv_sec < 0 ? 0 : (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return us_of(ts);
}

static void translate_attr(const struct stat *attr, int valid, struct h2_set_attr *set)
{
	static const struct {
		int fuse;
		unsigned h2;
	} bits[] = {
		{FUSE_SET_ATTR_MODE, H2_SET_MODE},   {FUSE_SET_ATTR_UID, H2_SET_UID},
		{FUSE_SET_ATTR_GID, H2_SET_GID},     {FUSE_SET_ATTR_SIZE, H2_SET_SIZE},
		{FUSE_SET_ATTR_ATIME, H2_SET_ATIME}, {FUSE_SET_ATTR_ATIME_NOW, H2_SET_ATIME},
		{FUSE_SET_ATTR_MTIME, H2_SET_MTIME}, {FUSE_SET_ATTR_MTIME_NOW, H2_SET_MTIME},
		{FUSE_SET_ATTR_CTIME, H2_SET_CTIME},
	};

	*set = (struct h2_set_attr){
		.mode = attr->st_mode & 07777,
		.uid = attr->st_uid,
		.gid = attr->st_gid,
		.size = (uint64_t)attr->st_size,
		.atime_us = valid & FUSE_SET_ATTR_ATIME_NOW ? now_us() : us_of(attr->st_atim),
		.mtime_us = valid & FUSE_SET_ATTR_MTIME_NOW ? now_us() : us_of(attr->st_mtim),
		.ctime_us = us_of(attr->st_ctim),
	};
	if (set->atime_us == 0)
		set->atime_us = 1; /* 0 stands for none, MF 6.5 */
	for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
		if (valid & bits[i].fuse)
			set->valid |= bits[i].h2;
}

/*
 * Whether times may be set though the file is immutable or append-only. The kernel sends the times
 * that it keeps for a file some time after they changed, by themselves: those of writes that it
 * allowed. And who may append may set them to now.
 */
static bool may_set_times(const struct ops_view *view, const struct h2_attr *attr, int valid,
			  unsigned set)
{
	bool now = valid & FUSE_SET_ATTR_ATIME_NOW && !(attr->uflags & UFLAGS_IMMUTABLE);

	if (set & ~(H2_SET_ATIME | H2_SET_MTIME | H2_SET_CTIME))
		return false;
	return now || (view->writeback && set == (H2_SET_MTIME | H2_SET_CTIME));
}

static int set_attr(const struct ops_view *view, struct h2_inode *inode, int valid,
		    struct h2_set_attr *set)
{
	struct h2_attr attr;
	int err = h2_inode_set_attr(inode, set);

	if (err != -EPERM)
		return err;
	h2_inode_attr(inode, &attr);
	if (!may_set_times(view, &attr, valid, set->valid))
		return err;
	/* Whoever sets the flags may set the times: so they are set to what they are. */
	set->valid |= H2_SET_UFLAGS;
	set->uflags = attr.uflags;
	return h2_inode_set_attr(inode, set);
}

void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int valid,
		struct fuse_file_info *fi)
{
	struct ops_view *view = view_of(req);
	struct h2_inode *inode = NULL;
	struct h2_set_attr set;
	struct stat st;
	int err = get_for_change(req, ino, &inode);

	(void)fi;
	translate_attr(attr, valid, &set);
	if (!err && valid & FUSE_SET_ATTR_SIZE && attr->st_size < 0)
		err = -EINVAL;
	if (!err && set.valid)
		err = set_attr(view, inode, valid, &set);
	err = ops_finish(view, err);
	if (err) {
		reply_error(req, err);
	} else {
		fill_stat(view, inode, base_of(view, ino), &st);
		fuse_reply_attr(req, &st, FOREVER_SECONDS);
	}
	h2_inode_put(inode);
}

/* ---- file contents ---- */

/* Write all of buf. Returns the bytes written, less than len only where an error follows them. */
static ssize_t write_all(struct h2_inode *inode, uint64_t offset, const char *buf, size_t len,
			 unsigned flags, int *err)
{
	size_t done = 0;

	*err = 0;
	while (done < len && !*err) {
		ssize_t n = h2_file_write(inode, offset + done, buf + done, len - done, flags);

		if (n > 0)
			done += (size_t)n;
		else
			*err = n < 0 ? (int)n : -EIO;
	}
	return (ssize_t)done;
}

/*
 * Write a piece of the kernel's cache to an append-only file: whole pages, of which the part within
 * the file may only say what is there already. Returns 0 or an error.
 */
static int write_behind_end(struct h2_inode *inode, uint64_t offset, const char *buf, size_t len)
{
	struct h2_attr attr;
	char old[4096];
	int err;

	h2_inode_attr(inode, &attr);
	if (!(attr.uflags & UFLAGS_APPEND) || attr.uflags & UFLAGS_IMMUTABLE)
		return -EPERM;
	while (len > 0 && offset < attr.size) {
		size_t part = len < sizeof(old) ? len : sizeof(old);
		ssize_t n;

		if (part > attr.size - offset)
			part = (size_t)(attr.size - offset);
		n = h2_file_read(inode, offset, old, part);
		if (n < 0)
			return (int)n;
		if ((size_t)n != part || memcmp(old, buf, part) != 0)
			return -EPERM;
		offset += part;
		buf += part;
		len -= part;
	}
	write_all(inode, offset, buf, len, H2_WRITE_APPEND, &err);
	return err;
}

void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	      struct fuse_file_info *fi)
{
	const struct ops_view *view = view_of(req);
	bool cached = view->writeback && fi->writepage;
	struct h2_inode *inode;
	ssize_t n = 0;
	int err = get_for_change(req, ino, &inode);

	if (!err) {
		n = write_all(inode, (uint64_t)off, buf, size, cached ? H2_WRITE_KEEP_TIMES : 0,
			      &err);
		if (err == -EPERM && cached) {
			err = write_behind_end(inode, (uint64_t)off, buf, size);
			n = (ssize_t)size;
		}
		h2_inode_put(inode);
	}
	if (err == -EROFS || err == -EIO)
		tell_refusal(view);
	/* What is written in part is no error but a smaller count, for who takes counts. */
	if (err && (n == 0 || fi->writepage))
		reply_error(req, err);
	else
		fuse_reply_write(req, (size_t)n);
}

/* With option sync the kernel asks for this after every write. */
void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)ino;
	(void)datasync;
	(void)fi;
	reply_done(req, ops_sync(view_of(req)));
}

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
		  struct fuse_file_info *fi)
{
	static const int known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
	unsigned flags = (mode & FALLOC_FL_KEEP_SIZE ? H2_FALLOC_KEEP_SIZE : 0) |
			 (mode & FALLOC_FL_PUNCH_HOLE ? H2_FALLOC_PUNCH_HOLE : 0) |
			 (mode & FALLOC_FL_ZERO_RANGE ? H2_FALLOC_ZERO_RANGE : 0);
	struct h2_inode *inode;
	int err = get_for_change(req, ino, &inode);

	(void)fi;
	if (!err) {
		err = mode & ~known ? -EOPNOTSUPP
				    : h2_file_allocate(inode, flags, (uint64_t)off, (uint64_t)len);
		h2_inode_put(inode);
	}
	reply_done(req, ops_finish(view_of(req), err));
}

void op_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_off,
			struct fuse_file_info *from_fi, fuse_ino_t to, off_t to_off,
			struct fuse_file_info *to_fi, size_t len, int flags)
{
	struct h2_inode *source = NULL, *target = NULL;
	ssize_t n = flags ? -EINVAL : get_for_change(req, to, &target);

	(void)from_fi;
	(void)to_fi;
	if (!n) /* the kernel then reads and writes it itself */
		n = in_snapshot(view_of(req), from) ? -EXDEV : get_node(req, from, &source);
	if (!n)
		n = h2_file_copy(source, (uint64_t)from_off, target, (uint64_t)to_off,
				 len < COPY_MAX ? len : COPY_MAX);
	h2_inode_put(source);
	h2_inode_put(target);
	if (n >= 0) {
		int err = ops_finish(view_of(req), 0);

		if (err)
			n = err;
	}
	if (n < 0)
		reply_error(req, ops_finish(view_of(req), (int)n));
	else
		fuse_reply_write(req, (size_t)n);
}

/* ---- the end ---- */

/*
 * Where the kernel waits for the answer (a block device's mount) unmounting ends with everything on
 * the media. It has sent what it had to write before.
 */
void op_destroy(void *userdata)
{
	const struct ops_view *view = userdata;

	if (view->destroy_syncs)
		(void)ops_sync(view); /* an error was logged, and the server will end with it */
}
