/*
 * A device: numbered bytes that can be read, written and flushed. Everything above works on this
 * interface alone, so that it runs the same on files, block devices, partitions and the simulated
 * disk of the tests (sim.h).
 *
 * Calls are synchronous and may come from several threads at once. A write is durable once a flush
 * that began after it has returned 0; before, a crash may keep any part of it.
 */
#ifndef H2_DEVICE_H
#define H2_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct h2_device;

struct h2_device_ops {
	/* All len bytes or a negative errno. The range was checked to lie within the size. */
	int (*read)(struct h2_device *dev, uint64_t offset, void *buf, size_t len);
	int (*write)(struct h2_device *dev, uint64_t offset, const void *buf, size_t len);
	int (*flush)(struct h2_device *dev);
	void (*close)(struct h2_device *dev); /* frees dev */
	/*
	 * Make it at least size bytes large, or find out whether it has become so, and set dev->size.
	 * NULL: its size is what it is.
	 */
	int (*grow)(struct h2_device *dev, uint64_t size);
	/* What the bytes are afterwards is not known. NULL: -EOPNOTSUPP. */
	int (*discard)(struct h2_device *dev, uint64_t offset, uint64_t len);
};

struct h2_device { /* embedded in each implementation's own structure; constant once open */
	const struct h2_device_ops *ops;
	_Atomic uint64_t size; /* bytes; h2_device_grow() may make it more */
	bool writable;
	const char *name; /* for messages; owned by the implementation */
};

/* Returns 0; -ERANGE outside the device; -EIO or what the system says. */
int h2_device_read(struct h2_device *dev, uint64_t offset, void *buf, size_t len);
int h2_device_write(struct h2_device *dev, uint64_t offset, const void *buf, size_t len);
int h2_device_flush(struct h2_device *dev);
void h2_device_close(struct h2_device *dev); /* NULL is allowed */

/*
 * Make a regular file size bytes large if it is smaller; find out whether a block device has grown.
 * Returns 0, also where the device stays smaller than that; or the system's error. Not by two
 * threads at once.
 */
int h2_device_grow(struct h2_device *dev, uint64_t size);

/*
 * Nobody needs these bytes any more: a file gets a hole there, a block device is told. Returns 0;
 * -EOPNOTSUPP; -ERANGE; or what the system says.
 */
int h2_device_discard(struct h2_device *dev, uint64_t offset, uint64_t len);

enum h2_device_mode {
	H2_DEVICE_READ,    /* shared with other readers */
	H2_DEVICE_WRITE,   /* alone */
	H2_DEVICE_MOUNTED, /* as WRITE, but the kernel may hold the block device for a mount */
	H2_DEVICE_UNLOCKED /* for reading, without regard to others */
};

/*
 * Open a regular file or block device. Readers hold a shared and writers an exclusive lock on it
 * (flock; block devices are also opened with O_EXCL for writing), so that mounts, checks and
 * formats of one volume exclude each other; a whole loop device and the file behind it are one.
 *
 * Returns 0; -EBUSY where another process holds it; -EINVAL where it is neither kind of file; or
 * the error of open(2).
 */
int h2_device_open(const char *path, enum h2_device_mode mode, struct h2_device **devp);

/*
 * Open a regular file for writing, alone, that is made if it is missing, and cut or grown (with a
 * hole) to size bytes. Errors are those of h2_device_open(), and of making the file so large.
 */
int h2_device_create(const char *path, uint64_t size, struct h2_device **devp);

/*
 * The bytes [offset, offset + size) of another device, which the new one owns from then on (also
 * when this fails). name is copied. Returns 0, -ERANGE, -ENOMEM.
 */
int h2_device_window(struct h2_device *under, uint64_t offset, uint64_t size, const char *name,
		     struct h2_device **devp);

#endif
