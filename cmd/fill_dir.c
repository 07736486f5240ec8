/* Filling from a directory: the objects that fill_ahead.h finds, in their order. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fill.h"
#include "fill_ahead.h"

#define SPARSE_MIN ((uint64_t)H2_LOGICAL_BLOCK) /* smaller files have no holes that matter */

struct source {
	struct fill *fill;
	uint8_t *buf;     /* FILL_PIECE bytes */
	uint64_t skipped; /* directories on the way down that could not be made */
};

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

static uint64_t time_of(const struct statx_timestamp *t, bool *outside)
{
	return fill_time(t->tv_sec, t->tv_nsec, outside);
}

static struct fill_object object_of(struct fill *f, const struct statx *st)
{
	bool outside = false;
	struct fill_object o = {
		.type = type_of(st->stx_mode),
		.mode = st->stx_mode & 07777,
		.uid = st->stx_uid,
		.gid = st->stx_gid,
		.size = S_ISREG(st->stx_mode) ? st->stx_size : 0,
		.uflags = uflags_of(st->stx_attributes),
		.times = FILL_ATIME | FILL_MTIME | FILL_CTIME,
		.atime_us = time_of(&st->stx_atime, &outside),
		.mtime_us = time_of(&st->stx_mtime, &outside),
		.ctime_us = time_of(&st->stx_ctime, &outside),
	};

	if (S_ISCHR(st->stx_mode) || S_ISBLK(st->stx_mode)) {
		o.rmajor = st->stx_rdev_major;
		o.rminor = st->stx_rdev_minor;
	}
	if (st->stx_mask & STATX_BTIME) {
		o.times |= FILL_BTIME;
		o.btime_us = time_of(&st->stx_btime, &outside);
	}
	f->times += outside;
	return o;
}

static struct fill_file file_of(const struct statx *st)
{
	return (struct fill_file){
		.dev = makedev(st->stx_dev_major, st->stx_dev_minor),
		.ino = st->stx_ino,
	};
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
static int copy_stretch(struct source *s, int fd, const char *name, struct h2_inode *inode,
			uint64_t from, uint64_t to)
{
	while (from < to) {
		uint64_t piece_end = (from / FILL_PIECE + 1) * FILL_PIECE;
		size_t want = (size_t)((piece_end < to ? piece_end : to) - from);
		ssize_t n;

		/* So far the kernel was told already, or reads ahead by itself. */
		if (from + AHEAD_CONTENTS < to)
			(void)posix_fadvise(fd, (off_t)(from + AHEAD_CONTENTS), FILL_PIECE,
					    POSIX_FADV_WILLNEED);
		n = read_fully(fd, from, s->buf, want);

		if (n < 0) {
			fill_problem(s->fill, name, "cannot be read: %s", strerror((int)-n));
			return -1;
		}
		if (n > 0 && !fill_write(s->fill, name, inode, from, s->buf, (size_t)n))
			return -1;
		if ((size_t)n < want)
			return 0;
		if (!fill_goes_on(s->fill))
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

static void copy_contents(struct source *s, int fd, const char *name, struct h2_inode *inode,
			  const struct statx *st)
{
	bool sparse = st->stx_size >= SPARSE_MIN && st->stx_blocks * 512 < st->stx_size;
	uint64_t from = 0, to = st->stx_size, next;
	int more = 1;

	while (more == 1 && from < st->stx_size) {
		next = from;
		if (sparse && !next_stretch(fd, st->stx_size, &next, &to))
			return;
		/* Whole blocks overlap where two stretches share one. */
		from = next > from ? next : from;
		more = from < to ? copy_stretch(s, fd, name, inode, from, to) : 1;
		from = to > from ? to : st->stx_size;
	}
}

/* It is stored with the size that it had at first. */
static void check_unchanged(struct source *s, int fd, const char *name, const struct statx *before)
{
	struct statx now;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &now) == 0 &&
	    (now.stx_size != before->stx_size || now.stx_mtime.tv_sec != before->stx_mtime.tv_sec ||
	     now.stx_mtime.tv_nsec != before->stx_mtime.tv_nsec))
		fill_warn(s->fill, name, "has changed while it was read");
}

/* ---- objects ---- */

static void make_object(struct source *s, const struct ahead_object *ahead)
{
	struct fill_object o = object_of(s->fill, &ahead->st);
	struct h2_inode *inode;

	if (o.type == H2_OBJECT_UNKNOWN) {
		fill_problem(s->fill, ahead->name,
			     "is of a kind that has no place in the filesystem");
		return;
	}
	o.target = ahead->target;
	s->fill->xattrs += ahead->xattrs;
	if (!fill_create(s->fill, ahead->name, &o, &inode))
		return;
	if (ahead->st.stx_nlink > 1) {
		struct h2_attr attr;

		h2_inode_attr(inode, &attr);
		fill_remember_file(s->fill, file_of(&ahead->st), attr.inum);
	}
	if (o.type == H2_OBJECT_FILE) {
		copy_contents(s, ahead->fd, ahead->name, inode, &ahead->st);
		check_unchanged(s, ahead->fd, ahead->name, &ahead->st);
	}
	fill_close(s->fill, ahead->name, inode, &o);
}

static void take_object(struct source *s, const struct ahead_object *ahead)
{
	struct fill *f = s->fill;
	uint64_t inum;

	if (ahead->output) {
		fill_warn(f, ahead->name, "is the new filesystem itself, and left out");
		return;
	}
	inum = ahead->st.stx_nlink > 1 ? fill_find_file(f, file_of(&ahead->st)) : 0;
	if (inum != 0 && f->problems == 0) {
		bool outside = false; /* of the times that can be stored: told at its first name */

		fill_add_link(f, ahead->name, inum, time_of(&ahead->st.stx_ctime, &outside));
	} else {
		make_object(s, ahead);
	}
	fill_progress(f);
}

static void enter(struct source *s, const struct ahead_object *ahead)
{
	struct fill_object o;

	if (s->skipped == 0) {
		o = object_of(s->fill, &ahead->st);
		s->fill->xattrs += ahead->xattrs;
		if (fill_enter(s->fill, ahead->name, &o))
			return;
	}
	s->skipped++;
}

static void leave(struct source *s)
{
	if (s->skipped > 0)
		s->skipped--;
	else
		fill_leave(s->fill);
}

static void take(struct source *s, const struct ahead_object *ahead)
{
	switch (ahead->kind) {
	case AHEAD_ENTER:
		enter(s, ahead);
		return;
	case AHEAD_LEAVE:
		leave(s);
		return;
	case AHEAD_FAILED:
		if (s->skipped == 0)
			fill_problem(s->fill, ahead->name, "%s: %s", ahead->problem,
				     strerror(-ahead->err));
		return;
	case AHEAD_OBJECT:
		if (s->skipped == 0)
			take_object(s, ahead);
		return;
	}
}

static void take_all(struct source *s, struct ahead *ahead)
{
	struct ahead_object object;

	while (fill_goes_on(s->fill) && ahead_next(ahead, &object)) {
		take(s, &object);
		ahead_release(&object);
	}
}

/* ---- the whole ---- */

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
	struct source s = {.fill = f};
	struct ahead *ahead = NULL;
	struct fill_object root;
	struct statx st;
	int fd = open(f->options->source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int copy, err = fd < 0 ? -errno : ahead_stat(fd, "", &st);

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
		f->total_bytes = ahead_count_bytes(copy, f->options);
	}
	f->xattrs += flistxattr(fd, NULL, 0) > 0;
	root = object_of(f, &st);
	fill_set_present(f, &root);
	err = ahead_start(fd, f->options, &ahead);
	if (err) {
		fill_problem(f, NULL, "cannot be read: %s", strerror(-err));
		return;
	}
	s.buf = fill_alloc(aligned_alloc(4096, FILL_PIECE));
	take_all(&s, ahead);
	ahead_free(ahead);
	free(s.buf);
}
