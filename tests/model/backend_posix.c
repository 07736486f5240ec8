/*
 * A directory of the machine's own filesystem as a backend. A node is a descriptor opened with
 * O_PATH, so that it can name anything and outlives the names; files are opened anew for each
 * operation through /proc. Wants to be root, for devices and owners.
 */
#include "backend.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "op.h"

struct backend {
	char *path;
	int root; /* -1: closed */
};

static void *to_node(int fd)
{
	return (void *)((intptr_t)fd + 1);
}

static int to_fd(const void *node)
{
	return (int)((intptr_t)node - 1);
}

static int result(int value)
{
	return value < 0 ? -errno : value;
}

/* The kernel wants strings; a name that is none cannot be given to it. */
static int to_name(const char *name, size_t len, char buf[NAME_BUFFER])
{
	if (len >= NAME_BUFFER || memchr(name, '\0', len))
		return -EINVAL;
	memcpy(buf, name, len);
	buf[len] = '\0';
	return 0;
}

/* The file behind a node, opened. */
static int reopen(const void *node, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", to_fd(node));
	return result(open(path, flags | O_CLOEXEC));
}

static uint8_t to_type(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return H2_OBJECT_DIRECTORY;
	case S_IFREG:
		return H2_OBJECT_FILE;
	case S_IFLNK:
		return H2_OBJECT_SYMLINK;
	case S_IFIFO:
		return H2_OBJECT_FIFO;
	case S_IFCHR:
		return H2_OBJECT_CHAR_DEVICE;
	case S_IFBLK:
		return H2_OBJECT_BLOCK_DEVICE;
	case S_IFSOCK:
		return H2_OBJECT_SOCKET;
	default:
		return H2_OBJECT_UNKNOWN;
	}
}

/* ---- the whole ---- */

static int posix_new(const struct backend_options *options, struct backend **bp)
{
	struct backend *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->root = -1;
	if (asprintf(&b->path, "%s/model.%d", options->path, (int)getpid()) < 0) {
		free(b);
		return -ENOMEM;
	}
	umask(0);
	*bp = b;
	return 0;
}

static void clear_flags(int fd)
{
	int flags;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 &&
	    flags & (FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL)) {
		flags &= ~(FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL);
		(void)ioctl(fd, FS_IOC_SETFLAGS, &flags); /* the removal tells */
	}
}

/* Remove all that is in a directory. */
static int empty(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *ent;
	DIR *stream;
	int err = 0;

	if (fd < 0)
		return -errno;
	clear_flags(fd);
	stream = fdopendir(fd);
	while (!err && (ent = readdir(stream))) {
		if (!strcmp(ent->d_name, ".") || !strcmp(ent->d_name, ".."))
			continue;
		if (ent->d_type == DT_DIR) {
			int sub = openat(fd, ent->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

			err = sub < 0 ? -errno : empty(sub);
			close(sub);
			if (!err && unlinkat(fd, ent->d_name, AT_REMOVEDIR) != 0)
				err = -errno;
			continue;
		}
		if (ent->d_type == DT_REG) {
			int sub = openat(fd, ent->d_name, O_RDONLY | O_CLOEXEC);

			clear_flags(sub);
			close(sub);
		}
		if (unlinkat(fd, ent->d_name, 0) != 0)
			err = -errno;
	}
	closedir(stream);
	return err;
}

static void posix_free(struct backend *b)
{
	int fd = open(b->path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	/* What cannot be removed is left behind: that is no finding. */
	if (fd >= 0 && empty(fd) == 0)
		(void)rmdir(b->path);
	close(fd);
	free(b->path);
	free(b);
}

static int posix_close(struct backend *b)
{
	close(b->root);
	b->root = -1;
	return 0;
}

static int posix_open(struct backend *b)
{
	b->root = open(b->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return b->root < 0 ? -errno : 0;
}

static int posix_format(struct backend *b, uint64_t seed)
{
	int fd = open(b->path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	(void)seed;
	if (fd >= 0) {
		int err = empty(fd);

		close(fd);
		if (err)
			return err;
		if (rmdir(b->path) != 0)
			return -errno;
	}
	return result(mkdir(b->path, 0755));
}

static int posix_check(struct backend *b, struct backend_counts *counts)
{
	(void)b;
	memset(counts, 0, sizeof(*counts));
	return 0;
}

static int posix_crash_copy(struct backend *b, uint64_t seed, struct backend **copyp)
{
	(void)b, (void)seed, (void)copyp;
	return -EOPNOTSUPP;
}

static int posix_sync(struct backend *b)
{
	(void)b;
	return 0;
}

/* How full the machine's filesystem is has other reasons. */
static unsigned posix_room(struct backend *b)
{
	(void)b;
	return 1000;
}

static int posix_root(struct backend *b, void **node)
{
	int fd = openat(b->root, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	*node = to_node(fd);
	return 0;
}

static void posix_put(struct backend *b, void *node)
{
	(void)b;
	close(to_fd(node));
}

/* ---- names and attributes ---- */

static int posix_attr(struct backend *b, void *node, struct backend_attr *attr)
{
	struct statx st;

	(void)b;
	if (statx(to_fd(node), "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW,
		  STATX_BASIC_STATS | STATX_BTIME, &st) != 0)
		return -errno;
	*attr = (struct backend_attr){
		.inum = st.stx_ino,
		.size = st.stx_size,
		.type = to_type(st.stx_mode),
		.mode = st.stx_mode & 07777,
		.nlink = st.stx_nlink,
		.uid = st.stx_uid,
		.gid = st.stx_gid,
		.rmajor = st.stx_rdev_major,
		.rminor = st.stx_rdev_minor,
		.atime = (uint64_t)st.stx_atime.tv_sec * 1000000 + st.stx_atime.tv_nsec / 1000,
		.mtime = (uint64_t)st.stx_mtime.tv_sec * 1000000 + st.stx_mtime.tv_nsec / 1000,
		.ctime = (uint64_t)st.stx_ctime.tv_sec * 1000000 + st.stx_ctime.tv_nsec / 1000,
		.btime = (uint64_t)st.stx_btime.tv_sec * 1000000 + st.stx_btime.tv_nsec / 1000,
	};
	if (st.stx_attributes & STATX_ATTR_IMMUTABLE)
		attr->uflags |= 2;
	if (st.stx_attributes & STATX_ATTR_APPEND)
		attr->uflags |= 4;
	if (st.stx_attributes & STATX_ATTR_NODUMP)
		attr->uflags |= 1;
	return 0;
}

static int posix_lookup(struct backend *b, void *dir, const char *name, size_t len,
			struct backend_entry *ent, void **node)
{
	char text[NAME_BUFFER];
	struct backend_attr attr;
	int fd, err;

	err = to_name(name, len, text);
	if (err)
		return err;
	fd = openat(to_fd(dir), text, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = posix_attr(b, to_node(fd), &attr);
	if (err || !node)
		close(fd);
	if (err)
		return err;
	if (node)
		*node = to_node(fd);
	ent->inum = attr.inum;
	ent->type = attr.type;
	ent->name_len = (uint16_t)len;
	memcpy(ent->name, name, len);
	return 0;
}

static int posix_parent(struct backend *b, void *dir, uint64_t *inum)
{
	struct stat st;

	/* The root's parent is its own in the model. */
	if (fstat(to_fd(dir), &st) != 0)
		return -errno;
	*inum = st.st_ino;
	if (fstat(b->root, &st) != 0)
		return -errno;
	if (st.st_ino == *inum)
		return 0;
	if (fstatat(to_fd(dir), "..", &st, 0) != 0)
		return -errno;
	*inum = st.st_ino;
	return 0;
}

static int make(void *dir, const char *name, const struct model_new *new_)
{
	static const mode_t formats[16] = {
		[H2_OBJECT_FIFO] = S_IFIFO,
		[H2_OBJECT_CHAR_DEVICE] = S_IFCHR,
		[H2_OBJECT_BLOCK_DEVICE] = S_IFBLK,
		[H2_OBJECT_SOCKET] = S_IFSOCK,
	};
	int fd;

	switch (new_->type) {
	case H2_OBJECT_DIRECTORY:
		return result(mkdirat(to_fd(dir), name, new_->mode));
	case H2_OBJECT_SYMLINK:
		return result(symlinkat(new_->target, to_fd(dir), name));
	case H2_OBJECT_FILE:
		fd = openat(to_fd(dir), name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, new_->mode);
		if (fd < 0)
			return -errno;
		close(fd);
		return 0;
	default:
		return result(mknodat(to_fd(dir), name, formats[new_->type & 15] | new_->mode,
				      makedev(new_->rmajor, new_->rminor)));
	}
}

static int posix_create(struct backend *b, void *dir, const char *name, size_t len,
			const struct model_new *new_, void **node)
{
	char text[NAME_BUFFER];
	struct backend_entry ent;
	int err = to_name(name, len, text);

	if (!err)
		err = make(dir, text, new_);
	if (!err && node)
		err = posix_lookup(b, dir, name, len, &ent, node);
	return err;
}

static int posix_create_unnamed(struct backend *b, void *dir, const struct model_new *new_,
				void **node)
{
	int fd = openat(to_fd(dir), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, new_->mode);

	(void)b;
	if (fd < 0)
		return -errno;
	*node = to_node(fd);
	return 0;
}

static int posix_link(struct backend *b, void *dir, const char *name, size_t len, void *node)
{
	char text[NAME_BUFFER];
	int err = to_name(name, len, text);

	(void)b;
	if (err)
		return err;
	return result(linkat(to_fd(node), "", to_fd(dir), text, AT_EMPTY_PATH));
}

/* The inode of a name, before the name goes. */
static int look_at(struct backend *b, void *dir, const char *name, size_t len, void **gone)
{
	struct backend_entry ent;

	if (!gone)
		return 0;
	*gone = NULL;
	/* What keeps it from being found keeps it from being removed too. */
	if (posix_lookup(b, dir, name, len, &ent, gone) != 0)
		*gone = NULL;
	return 0;
}

/* What is left of it. */
static void keep_orphan(struct backend *b, int err, void **gone)
{
	struct stat st;

	if (!gone || !*gone)
		return;
	if (!err && fstat(to_fd(*gone), &st) == 0 && st.st_nlink == 0)
		return;
	posix_put(b, *gone);
	*gone = NULL;
}

static int remove_name(struct backend *b, void *dir, const char *name, size_t len, int flags,
		       void **gone)
{
	char text[NAME_BUFFER];
	int err = to_name(name, len, text);

	if (err)
		return err;
	look_at(b, dir, name, len, gone);
	err = result(unlinkat(to_fd(dir), text, flags));
	keep_orphan(b, err, gone);
	return err;
}

static int posix_unlink(struct backend *b, void *dir, const char *name, size_t len, void **gone)
{
	return remove_name(b, dir, name, len, 0, gone);
}

static int posix_rmdir(struct backend *b, void *dir, const char *name, size_t len, void **gone)
{
	return remove_name(b, dir, name, len, AT_REMOVEDIR, gone);
}

static int posix_rename(struct backend *b, void *from_dir, const char *from, size_t from_len,
			void *to_dir, const char *to, size_t to_len, unsigned flags, void **gone)
{
	char from_text[NAME_BUFFER], to_text[NAME_BUFFER];
	int err = to_name(from, from_len, from_text);

	if (!err)
		err = to_name(to, to_len, to_text);
	if (err)
		return err;
	look_at(b, to_dir, to, to_len, gone);
	err = result(renameat2(to_fd(from_dir), from_text, to_fd(to_dir), to_text, flags));
	keep_orphan(b, err, gone);
	return err;
}

static int set_flags(void *node, uint32_t uflags)
{
	int flags = 0, fd = reopen(node, O_RDONLY | O_NONBLOCK), err;

	if (fd < 0)
		return fd;
	err = result(ioctl(fd, FS_IOC_GETFLAGS, &flags));
	if (!err && flags & FS_IMMUTABLE_FL) { /* ext4 changes nothing else beside this flag */
		flags &= ~FS_IMMUTABLE_FL;
		err = result(ioctl(fd, FS_IOC_SETFLAGS, &flags));
	}
	flags &= ~(FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL);
	if (uflags & 2)
		flags |= FS_IMMUTABLE_FL;
	if (uflags & 4)
		flags |= FS_APPEND_FL;
	if (uflags & 1)
		flags |= FS_NODUMP_FL;
	if (!err)
		err = result(ioctl(fd, FS_IOC_SETFLAGS, &flags));
	close(fd);
	return err;
}

static struct timespec to_timespec(bool set, uint64_t us)
{
	struct timespec ts = {0, UTIME_OMIT};

	if (set) {
		ts.tv_sec = (time_t)(us / 1000000);
		ts.tv_nsec = (long)(us % 1000000) * 1000;
	}
	return ts;
}

/* Not one operation, but any of these fails before the others have done something. */
static int posix_set(struct backend *b, void *node, const struct model_set *set)
{
	char path[64];
	int err = 0;

	(void)b;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", to_fd(node));
	if (set->valid & MODEL_SET_SIZE)
		err = result(truncate(path, (off_t)set->size));
	if (!err && set->valid & (MODEL_SET_UID | MODEL_SET_GID))
		err = result(fchownat(to_fd(node), "",
				      set->valid & MODEL_SET_UID ? set->uid : (uid_t)-1,
				      set->valid & MODEL_SET_GID ? set->gid : (gid_t)-1,
				      AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW));
	if (!err && set->valid & MODEL_SET_MODE)
		err = result(chmod(path, set->mode));
	if (!err && set->valid & (MODEL_SET_ATIME | MODEL_SET_MTIME)) {
		struct timespec times[2] = {
			to_timespec(set->valid & MODEL_SET_ATIME, set->atime),
			to_timespec(set->valid & MODEL_SET_MTIME, set->mtime),
		};

		err = result(utimensat(to_fd(node), "", times, AT_EMPTY_PATH));
	}
	if (!err && set->valid & MODEL_SET_UFLAGS)
		err = set_flags(node, set->uflags);
	return err;
}

/* ---- file contents ---- */

static ssize_t posix_read(struct backend *b, void *node, uint64_t offset, void *buf, size_t len)
{
	int fd = reopen(node, O_RDONLY);
	ssize_t n;

	(void)b;
	if (fd < 0)
		return fd;
	n = pread(fd, buf, len, (off_t)offset);
	if (n < 0)
		n = -errno;
	close(fd);
	return n;
}

static ssize_t posix_write(struct backend *b, void *node, uint64_t offset, const void *buf,
			   size_t len, unsigned flags)
{
	int fd = reopen(node, flags & OP_WRITE_APPEND ? O_WRONLY | O_APPEND : O_WRONLY);
	ssize_t n;

	(void)b;
	if (fd < 0)
		return fd;
	n = flags & OP_WRITE_APPEND ? write(fd, buf, len) : pwrite(fd, buf, len, (off_t)offset);
	if (n < 0)
		n = -errno;
	close(fd);
	return n;
}

static int posix_allocate(struct backend *b, void *node, unsigned mode, uint64_t offset,
			  uint64_t len)
{
	struct backend_attr attr;
	bool append = posix_attr(b, node, &attr) == 0 && attr.uflags & 4;
	int fd = reopen(node, append ? O_WRONLY | O_APPEND : O_WRONLY);
	int err;

	if (fd < 0)
		return fd;
	err = result(fallocate(fd, (int)mode, (off_t)offset, (off_t)len));
	close(fd);
	return err;
}

static ssize_t posix_copy(struct backend *b, void *from, uint64_t from_offset, void *to,
			  uint64_t to_offset, size_t len)
{
	int in = reopen(from, O_RDONLY), out;
	size_t done = 0;
	ssize_t n = 0;
	struct stat st;

	(void)b;
	if (in < 0)
		return in;
	/* Within one file its end moves on while parts are copied, but the first end counts. */
	if (fstat(in, &st) == 0 && S_ISREG(st.st_mode) && from_offset < (uint64_t)st.st_size &&
	    len > (uint64_t)st.st_size - from_offset)
		len = (size_t)st.st_size - from_offset;
	out = reopen(to, O_WRONLY);
	if (out < 0) {
		close(in);
		return out;
	}
	do {
		loff_t at = (loff_t)(from_offset + done), to_at = (loff_t)(to_offset + done);

		n = copy_file_range(in, &at, out, &to_at, len - done, 0);
		if (n < 0)
			n = -errno;
		else
			done += (size_t)n;
	} while (n > 0 && done < len);
	close(in);
	close(out);
	return done ? (ssize_t)done : n;
}

static int posix_next_data(struct backend *b, void *node, uint64_t offset, uint64_t *start,
			   uint64_t *end)
{
	int fd = reopen(node, O_RDONLY), err = 0;
	off_t at;

	(void)b;
	if (fd < 0)
		return fd;
	at = lseek(fd, (off_t)offset, SEEK_DATA);
	if (at < 0) {
		err = errno == ENXIO ? 1 : -errno;
	} else {
		*start = (uint64_t)at;
		at = lseek(fd, at, SEEK_HOLE);
		if (at < 0)
			err = -errno;
		else
			*end = (uint64_t)at;
	}
	close(fd);
	return err;
}

static ssize_t posix_readlink(struct backend *b, void *node, char *buf, size_t size)
{
	ssize_t n = readlinkat(to_fd(node), "", buf, size);

	(void)b;
	/* The kernel says ENOENT for an empty name on anything but a symlink. */
	if (n < 0)
		return errno == ENOENT ? -EINVAL : -errno;
	return n;
}

/* ---- scans ---- */

static int posix_scan_new(struct backend *b, void *dir, uint64_t cookie, void **scan)
{
	int fd = openat(to_fd(dir), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream;

	(void)b;
	/* A directory that was removed has nothing in it, but cannot be opened by a name. */
	if (fd < 0 && errno == ENOENT)
		fd = reopen(dir, O_RDONLY | O_DIRECTORY);
	else if (fd < 0)
		fd = -errno;
	if (fd < 0)
		return fd;
	stream = fdopendir(fd);
	if (!stream)
		return -ENOMEM;
	if (cookie)
		seekdir(stream, (long)(cookie - 1));
	*scan = stream;
	return 0;
}

static uint8_t from_dirent_type(unsigned char type)
{
	return to_type(DTTOIF(type));
}

static int posix_scan_next(struct backend *b, void *scan, struct backend_entry *ent)
{
	struct dirent *d;

	(void)b;
	do {
		errno = 0;
		d = readdir(scan);
		if (!d)
			return errno ? -errno : 1;
	} while (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."));
	ent->inum = d->d_ino;
	ent->type = from_dirent_type(d->d_type);
	ent->name_len = (uint16_t)strlen(d->d_name);
	memcpy(ent->name, d->d_name, ent->name_len);
	ent->cookie = (uint64_t)telldir(scan) + 1;
	return 0;
}

static void posix_scan_free(struct backend *b, void *scan)
{
	(void)b;
	closedir(scan);
}

const struct backend_ops backend_posix = {
	.name = "posix",
	.can = CAN_FORBID | CAN_EXCHANGE,
	.new = posix_new,
	.free = posix_free,
	.format = posix_format,
	.open = posix_open,
	.close = posix_close,
	.check = posix_check,
	.crash_copy = posix_crash_copy,
	.sync = posix_sync,
	.room = posix_room,
	.root = posix_root,
	.put = posix_put,
	.lookup = posix_lookup,
	.attr = posix_attr,
	.parent = posix_parent,
	.create = posix_create,
	.create_unnamed = posix_create_unnamed,
	.link = posix_link,
	.unlink = posix_unlink,
	.rmdir = posix_rmdir,
	.rename = posix_rename,
	.set = posix_set,
	.read = posix_read,
	.write = posix_write,
	.allocate = posix_allocate,
	.copy = posix_copy,
	.next_data = posix_next_data,
	.readlink = posix_readlink,
	.scan_new = posix_scan_new,
	.scan_next = posix_scan_next,
	.scan_free = posix_scan_free,
};
