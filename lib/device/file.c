/*
 * Devices that are regular files or block devices.
 *
 * Locks are those of flock(2): they belong to the open file, go away with the process however it
 * ends, and are what udev looks at before it probes a block device. udev itself holds such a lock
 * for moments, so a refusal is retried for a while.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "device.h"

#define LOCK_TRIES 10
#define LOCK_WAIT_NS 50000000L

struct file {
	struct h2_device dev;
	int fd;
	int backing_fd; /* of a loop device: the locked file that has its contents; -1: none */
	bool is_block;
};

static int file_read(struct h2_device *dev, uint64_t offset, void *buf, size_t len)
{
	int fd = ((struct file *)dev)->fd;
	char *to = buf;

	while (len > 0) {
		ssize_t n = pread(fd, to, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0) /* the file was cut since it was opened */
			return -EIO;
		to += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int file_write(struct h2_device *dev, uint64_t offset, const void *buf, size_t len)
{
	int fd = ((struct file *)dev)->fd;
	const char *from = buf;

	while (len > 0) {
		ssize_t n = pwrite(fd, from, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		from += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int file_flush(struct h2_device *dev)
{
	return fdatasync(((struct file *)dev)->fd) == 0 ? 0 : -errno;
}

static int size_of(int fd, const struct stat *st, uint64_t *size)
{
	if (S_ISREG(st->st_mode)) {
		*size = (uint64_t)st->st_size;
		return 0;
	}
	return ioctl(fd, BLKGETSIZE64, size) == 0 ? 0 : -errno;
}

static int file_grow(struct h2_device *dev, uint64_t size)
{
	int fd = ((struct file *)dev)->fd, err;
	uint64_t now;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISREG(st.st_mode) && (uint64_t)st.st_size < size) {
		if (ftruncate(fd, (off_t)size) < 0 || fstat(fd, &st) < 0)
			return -errno;
	}
	err = size_of(fd, &st, &now);
	if (!err && now > dev->size)
		dev->size = now;
	return err;
}

static int file_discard(struct h2_device *dev, uint64_t offset, uint64_t len)
{
	struct file *f = (struct file *)dev;
	uint64_t range[2] = {offset, len};
	int result;

	if (f->is_block)
		result = ioctl(f->fd, BLKDISCARD, range);
	else
		result = fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
				   (off_t)len);
	return result == 0 ? 0 : errno == ENOTTY ? -EOPNOTSUPP : -errno;
}

static void file_close(struct h2_device *dev)
{
	struct file *f = (struct file *)dev;

	close(f->fd);
	if (f->backing_fd >= 0)
		close(f->backing_fd);
	free((char *)dev->name);
	free(f);
}

static int lock_file(int fd, enum h2_device_mode mode)
{
	bool write = mode == H2_DEVICE_WRITE || mode == H2_DEVICE_MOUNTED;
	int how = (write ? LOCK_EX : LOCK_SH) | LOCK_NB;

	for (int i = 0; i < LOCK_TRIES; i++) {
		const struct timespec pause = {.tv_nsec = LOCK_WAIT_NS};

		if (flock(fd, how) == 0)
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		nanosleep(&pause, NULL);
	}
	return -EBUSY;
}

/*
 * Open the file whose contents a whole loop device shows: who opens it by its own name shall meet the
 * same lock. -1: there is none, or it is out of reach, as a removed one is.
 */
static int open_backing(int fd, const struct stat *device)
{
	char place[64], path[PATH_MAX];
	struct loop_info64 info;
	struct stat st;
	int backing;
	size_t len;
	FILE *f;

	if (ioctl(fd, LOOP_GET_STATUS64, &info) != 0 || info.lo_offset != 0 || info.lo_sizelimit != 0)
		return -1;
	/* A partition has none of its own. */
	snprintf(place, sizeof(place), "/sys/dev/block/%u:%u/loop/backing_file",
		 major(device->st_rdev), minor(device->st_rdev));
	f = fopen(place, "re");
	if (!f)
		return -1;
	len = fread(path, 1, sizeof(path) - 1, f);
	fclose(f);
	if (len == 0 || path[len - 1] != '\n')
		return -1;
	path[len - 1] = '\0';
	backing = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (backing >= 0 && (fstat(backing, &st) != 0 || !S_ISREG(st.st_mode) ||
			     st.st_dev != info.lo_device || st.st_ino != info.lo_inode)) {
		close(backing);
		return -1;
	}
	return backing;
}

int h2_device_open(const char *path, enum h2_device_mode mode, struct h2_device **devp)
{
	static const struct h2_device_ops ops = {
		.read = file_read,
		.write = file_write,
		.flush = file_flush,
		.close = file_close,
		.grow = file_grow,
		.discard = file_discard,
	};
	bool write = mode == H2_DEVICE_WRITE || mode == H2_DEVICE_MOUNTED;
	int flags = O_CLOEXEC | O_NONBLOCK | (write ? O_RDWR : O_RDONLY);
	struct stat st;
	struct file *f;
	uint64_t size;
	int err = -ENOMEM;

	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->dev.ops = &ops;
	f->dev.writable = write;
	f->backing_fd = -1;
	f->dev.name = strdup(path);
	if (!f->dev.name)
		goto out_free;
	/* Only a block device has a meaning of O_EXCL without O_CREAT: not mounted, no other owner. */
	if (mode == H2_DEVICE_WRITE && stat(path, &st) == 0 && S_ISBLK(st.st_mode))
		flags |= O_EXCL;
	f->fd = open(path, flags);
	if (f->fd < 0) {
		err = -errno;
		goto out_free;
	}
	if (fstat(f->fd, &st) < 0) {
		err = -errno;
		goto out_close;
	}
	err = -EINVAL;
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		goto out_close;
	err = size_of(f->fd, &st, &size);
	if (err)
		goto out_close;
	f->dev.size = size;
	f->is_block = S_ISBLK(st.st_mode);
	if (mode != H2_DEVICE_UNLOCKED) {
		err = lock_file(f->fd, mode);
		if (err)
			goto out_close;
		if (f->is_block)
			f->backing_fd = open_backing(f->fd, &st);
		if (f->backing_fd >= 0)
			err = lock_file(f->backing_fd, mode);
		if (err)
			goto out_close;
	}
	*devp = &f->dev;
	return 0;

out_close:
	close(f->fd);
	if (f->backing_fd >= 0)
		close(f->backing_fd);
out_free:
	free((char *)f->dev.name);
	free(f);
	return err;
}

int h2_device_create(const char *path, uint64_t size, struct h2_device **devp)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	struct h2_device *dev;
	int err;

	if (fd < 0)
		return -errno;
	close(fd);
	/* Not before the lock is held: somebody else may be using the file. */
	err = h2_device_open(path, H2_DEVICE_WRITE, &dev);
	if (err)
		return err;
	if (size > INT64_MAX)
		err = -EFBIG;
	else if (ftruncate(((struct file *)dev)->fd, (off_t)size) < 0)
		err = -errno;
	if (err) {
		h2_device_close(dev);
		return err;
	}
	dev->size = size;
	*devp = dev;
	return 0;
}
