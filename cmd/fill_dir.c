/*
 * Filling from a directory: its tree depth first, the names of each directory in the order of
 * their bytes. Other filesystems that are mounted in it belong to it, as for tar.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fill.h"

#define SPARSE_MIN ((uint64_t)H2_LOGICAL_BLOCK) /* smaller files have no holes that matter */
#define FADVISE_MIN ((uint64_t)1 << 20)

struct names {
	char **items;
	size_t count, room;
};

struct walk {
	struct fill *fill;
	uint8_t *buf; /* FILL_PIECE bytes */
};

/* ---- names ---- */

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void free_names(struct names *names)
{
	while (names->count > 0)
		free(names->items[--names->count]);
	free(names->items);
}

/* Takes fd over. Returns 0 or an error, with what was read until then. */
static int read_names(int fd, struct names *names)
{
	DIR *dir = fdopendir(fd);
	struct dirent *d;
	int err;

	*names = (struct names){0};
	if (!dir) {
		err = -errno;
		close(fd);
		return err;
	}
	while (errno = 0, (d = readdir(dir))) {
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		if (names->count == names->room) {
			names->room = names->room ? 2 * names->room : 64;
			names->items = fill_alloc(
				reallocarray(names->items, names->room, sizeof(char *)));
		}
		names->items[names->count++] = fill_alloc(strdup(d->d_name));
	}
	err = -errno;
	closedir(dir);
	if (names->count > 0)
		qsort(names->items, names->count, sizeof(char *), by_bytes);
	return err;
}

/* Read without leaving a trace, where we may. */
static int open_source(int dir, const char *name, int flags)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOATIME | flags);

	if (fd < 0 && errno == EPERM)
		fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | flags);
	return fd;
}

/* ---- attributes ---- */

static uint8_t type_of(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return H2_OBJECT_DIRECTORY;
	case S_IFREG:
		return H2_OBJECT_FILE;
	case S_IFLNK:
		return H2_OBJECT_SYMLINK;
	case S_IFCHR:
		return H2_OBJECT_CHAR_DEVICE;
	case S_IFBLK:
		return H2_OBJECT_BLOCK_DEVICE;
	case S_IFIFO:
		return H2_OBJECT_FIFO;
	case S_IFSOCK:
		return H2_OBJECT_SOCKET;
	default:
		return H2_OBJECT_UNKNOWN;
	}
}

/* What chattr(1) sets, as the flags that the mount shows as the same. */
static uint32_t uflags_of(uint64_t attributes)
{
	uint32_t uflags = 0;

	if (attributes & STATX_ATTR_IMMUTABLE)
		uflags |= 0x20000;
	if (attributes & STATX_ATTR_APPEND)
		uflags |= 0x40000;
	if (attributes & STATX_ATTR_NODUMP)
		uflags |= 0x1;
	return uflags;
}

static uint64_t time_of(const struct statx_timestamp *t, bool *early)
{
	if (t->tv_sec < 0) {
		*early = true;
		return 0;
	}
	return (uint64_t)t->tv_sec * 1000000 + t->tv_nsec / 1000;
}

static struct fill_object object_of(struct fill *f, const struct statx *st)
{
	bool early = false;
	struct fill_object o = {
		.type = type_of(st->stx_mode),
		.mode = st->stx_mode & 07777,
		.uid = st->stx_uid,
		.gid = st->stx_gid,
		.size = S_ISREG(st->stx_mode) ? st->stx_size : 0,
		.uflags = uflags_of(st->stx_attributes),
		.times = FILL_ATIME | FILL_MTIME | FILL_CTIME,
		.atime_us = time_of(&st->stx_atime, &early),
		.mtime_us = time_of(&st->stx_mtime, &early),
		.ctime_us = time_of(&st->stx_ctime, &early),
	};

	if (S_ISCHR(st->stx_mode) || S_ISBLK(st->stx_mode)) {
		o.rmajor = st->stx_rdev_major;
		o.rminor = st->stx_rdev_minor;
	}
	if (st->stx_mask & STATX_BTIME) {
		o.times |= FILL_BTIME;
		o.btime_us = time_of(&st->stx_btime, &early);
	}
	f->early += early;
	return o;
}

static int stat_source(int dir, const char *name, struct statx *st)
{
	int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH);

	return statx(dir, name, flags, STATX_BASIC_STATS | STATX_BTIME, st) == 0 ? 0 : -errno;
}

static struct fill_file file_of(const struct statx *st)
{
	return (struct fill_file){
		.dev = makedev(st->stx_dev_major, st->stx_dev_minor),
		.ino = st->stx_ino,
	};
}

static void count_xattrs(struct fill *f, ssize_t bytes)
{
	f->xattrs += bytes > 0;
}

/* Of something that is not open. */
static void count_xattrs_at(struct fill *f, int dir, const char *name)
{
	char path[32 + NAME_MAX + 1];

	if ((size_t)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, name) < sizeof(path))
		count_xattrs(f, llistxattr(path, NULL, 0));
}

/* ---- regular files ---- */

static ssize_t read_fully(int fd, uint64_t offset, uint8_t *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, buf + done, len - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* Copy [from, to). Returns 1; 0 at the end of the file; -1 where it cannot go on. */
static int copy_stretch(struct walk *w, int fd, const char *name, struct h2_inode *inode,
			uint64_t from, uint64_t to)
{
	while (from < to) {
		uint64_t piece_end = (from / FILL_PIECE + 1) * FILL_PIECE;
		size_t want = (size_t)((piece_end < to ? piece_end : to) - from);
		ssize_t n = read_fully(fd, from, w->buf, want);

		if (n < 0) {
			fill_problem(w->fill, name, "cannot be read: %s", strerror((int)-n));
			return -1;
		}
		if (n > 0 && !fill_write(w->fill, name, inode, from, w->buf, (size_t)n))
			return -1;
		if ((size_t)n < want)
			return 0;
		if (!fill_goes_on(w->fill))
			return -1;
		from += want;
	}
	return 1;
}

/* The next stretch of data at or behind *from, in whole blocks; false: none. */
static bool next_stretch(int fd, uint64_t size, uint64_t *from, uint64_t *to)
{
	off_t data = lseek(fd, (off_t)*from, SEEK_DATA), hole;

	if (data < 0 && errno == ENXIO)
		return false;
	hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
	*to = size;
	if (hole >= 0) {
		*from = (uint64_t)data / H2_LOGICAL_BLOCK * H2_LOGICAL_BLOCK;
		*to = ((uint64_t)hole + H2_LOGICAL_BLOCK - 1) / H2_LOGICAL_BLOCK * H2_LOGICAL_BLOCK;
	}
	if (*to > size)
		*to = size;
	return *from < *to;
}

static void copy_contents(struct walk *w, int fd, const char *name, struct h2_inode *inode,
			  const struct statx *st)
{
	bool sparse = st->stx_size >= SPARSE_MIN && st->stx_blocks * 512 < st->stx_size;
	uint64_t from = 0, to = st->stx_size, next;
	int more = 1;

	if (st->stx_size >= FADVISE_MIN)
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	while (more == 1 && from < st->stx_size) {
		next = from;
		if (sparse && !next_stretch(fd, st->stx_size, &next, &to))
			return;
		/* Whole blocks overlap where two stretches share one. */
		from = next > from ? next : from;
		more = from < to ? copy_stretch(w, fd, name, inode, from, to) : 1;
		from = to > from ? to : st->stx_size;
	}
}

/* It is stored with the size that it had at first. */
static void check_unchanged(struct walk *w, int fd, const char *name, const struct statx *before)
{
	struct statx now;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &now) == 0 &&
	    (now.stx_size != before->stx_size || now.stx_mtime.tv_sec != before->stx_mtime.tv_sec ||
	     now.stx_mtime.tv_nsec != before->stx_mtime.tv_nsec))
		fill_warn(w->fill, name, "has changed while it was read");
}

static void take_file(struct walk *w, int dir, const char *name, const struct statx *st)
{
	struct fill_object o = object_of(w->fill, st);
	/* A fifo that has taken its place must not block us. */
	int fd = open_source(dir, name, O_NONBLOCK);
	struct h2_inode *inode;

	if (fd < 0) {
		fill_problem(w->fill, name, "cannot be opened: %s", strerror(errno));
		return;
	}
	count_xattrs(w->fill, flistxattr(fd, NULL, 0));
	if (fill_create(w->fill, name, &o, &inode)) {
		struct h2_attr attr;

		h2_inode_attr(inode, &attr);
		if (st->stx_nlink > 1)
			fill_remember_file(w->fill, file_of(st), attr.inum);
		copy_contents(w, fd, name, inode, st);
		check_unchanged(w, fd, name, st);
		fill_close(w->fill, name, inode, &o);
	}
	close(fd);
}

/* ---- the other kinds ---- */

static void take_other(struct walk *w, int dir, const char *name, const struct statx *st)
{
	struct fill_object o = object_of(w->fill, st);
	char target[PATH_MAX + 1];
	struct h2_inode *inode;
	struct h2_attr attr;

	if (o.type == H2_OBJECT_UNKNOWN) {
		fill_problem(w->fill, name, "is of a kind that has no place in the filesystem");
		return;
	}
	if (o.type == H2_OBJECT_SYMLINK) {
		ssize_t n = readlinkat(dir, name, target, PATH_MAX);

		if (n < 0) {
			fill_problem(w->fill, name, "cannot be read: %s", strerror(errno));
			return;
		}
		target[n] = '\0';
		o.target = target;
	}
	count_xattrs_at(w->fill, dir, name);
	if (!fill_create(w->fill, name, &o, &inode))
		return;
	h2_inode_attr(inode, &attr);
	if (st->stx_nlink > 1)
		fill_remember_file(w->fill, file_of(st), attr.inum);
	fill_close(w->fill, name, inode, &o);
}

/* ---- the tree ---- */

static void take_contents(struct walk *w, int fd);

static void take_directory(struct walk *w, int dir, const char *name, const struct statx *st)
{
	struct fill_object o = object_of(w->fill, st);
	int fd = open_source(dir, name, O_DIRECTORY);

	if (fd < 0) {
		fill_problem(w->fill, name, "cannot be opened: %s", strerror(errno));
		return;
	}
	count_xattrs(w->fill, flistxattr(fd, NULL, 0));
	if (fill_enter(w->fill, name, &o)) {
		take_contents(w, fd);
		fill_leave(w->fill);
	}
	close(fd);
}

static bool is_output(const struct fill *f, const struct statx *st)
{
	const struct fill_options *options = f->options;
	struct fill_file file = file_of(st);

	for (unsigned i = 0; i < options->output_count; i++) {
		if (options->outputs[i].dev == file.dev && options->outputs[i].ino == file.ino)
			return true;
	}
	return false;
}

static void take(struct walk *w, int dir, const char *name)
{
	struct fill *f = w->fill;
	struct statx st;
	uint64_t inum;
	int err = stat_source(dir, name, &st);

	if (err) {
		fill_problem(f, name, "cannot be read: %s", strerror(-err));
		return;
	}
	if (S_ISDIR(st.stx_mode)) {
		take_directory(w, dir, name, &st);
		return;
	}
	if (is_output(f, &st)) {
		fill_note(f, "%s is the new filesystem itself, and left out", name);
		return;
	}
	inum = st.stx_nlink > 1 ? fill_find_file(f, file_of(&st)) : 0;
	if (inum != 0 && f->problems == 0) {
		bool early;

		fill_add_link(f, name, inum, time_of(&st.stx_ctime, &early));
	} else if (S_ISREG(st.stx_mode)) {
		take_file(w, dir, name, &st);
	} else {
		take_other(w, dir, name, &st);
	}
	fill_progress(f);
}

/* The open directory fd is the source of the present one. */
static void take_contents(struct walk *w, int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	struct names names = {0};
	int err = copy < 0 ? -errno : read_names(copy, &names);

	if (err)
		fill_problem(w->fill, NULL, "cannot be read: %s", strerror(-err));
	for (size_t i = 0; i < names.count && fill_goes_on(w->fill); i++)
		take(w, fd, names.items[i]);
	free_names(&names);
}

/* ---- how much there is ---- */

/* The bytes of all files below the directory, for the progress line; takes fd over. */
static uint64_t count_bytes(const struct fill *f, int fd)
{
	struct names names;
	uint64_t bytes = 0;
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (copy < 0 || read_names(copy, &names) != 0) {
		close(fd);
		return 0;
	}
	for (size_t i = 0; i < names.count && fill_goes_on(f); i++) {
		struct statx st;

		if (stat_source(fd, names.items[i], &st) != 0)
			continue;
		if (S_ISREG(st.stx_mode) && !is_output(f, &st)) {
			uint64_t stored = st.stx_blocks * 512;

			bytes += stored < st.stx_size ? stored : st.stx_size;
		} else if (S_ISDIR(st.stx_mode)) {
			int sub = open_source(fd, names.items[i], O_DIRECTORY);

			bytes += sub < 0 ? 0 : count_bytes(f, sub);
		}
	}
	free_names(&names);
	close(fd);
	return bytes;
}

/* Deep trees need a file descriptor for each level. */
static void allow_many_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

void fill_from_directory(struct fill *f)
{
	struct walk w = {.fill = f};
	struct fill_object root;
	struct statx st;
	int fd = open(f->options->source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int copy, err = fd < 0 ? -errno : stat_source(fd, "", &st);

	if (err) {
		fill_problem(f, NULL, "cannot be opened: %s", strerror(-err));
		if (fd >= 0)
			close(fd);
		return;
	}
	allow_many_files();
	copy = f->progress ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
	if (copy >= 0) {
		progress_update(f->progress, "counting", 0, 0);
		f->total_bytes = count_bytes(f, copy);
	}
	w.buf = fill_alloc(aligned_alloc(4096, FILL_PIECE));
	count_xattrs(f, flistxattr(fd, NULL, 0));
	root = object_of(f, &st);
	fill_set_present(f, &root);
	take_contents(&w, fd);
	free(w.buf);
	close(fd);
}
