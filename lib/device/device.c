/* The device interface: range checks, and the window onto another device. */
#include "device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool in_range(const struct h2_device *dev, uint64_t offset, uint64_t len)
{
	return offset <= dev->size && len <= dev->size - offset;
}

int h2_device_read(struct h2_device *dev, uint64_t offset, void *buf, size_t len)
{
	if (!in_range(dev, offset, len))
		return -ERANGE;
	return dev->ops->read(dev, offset, buf, len);
}

int h2_device_write(struct h2_device *dev, uint64_t offset, const void *buf, size_t len)
{
	if (!dev->writable)
		return -EROFS;
	if (!in_range(dev, offset, len))
		return -ERANGE;
	return dev->ops->write(dev, offset, buf, len);
}

int h2_device_flush(struct h2_device *dev)
{
	return dev->writable ? dev->ops->flush(dev) : 0;
}

int h2_device_grow(struct h2_device *dev, uint64_t size)
{
	return dev->ops->grow ? dev->ops->grow(dev, size) : 0;
}

int h2_device_discard(struct h2_device *dev, uint64_t offset, uint64_t len)
{
	if (!dev->writable)
		return -EROFS;
	if (!in_range(dev, offset, len))
		return -ERANGE;
	return dev->ops->discard ? dev->ops->discard(dev, offset, len) : -EOPNOTSUPP;
}

void h2_device_close(struct h2_device *dev)
{
	if (dev)
		dev->ops->close(dev);
}

struct window {
	struct h2_device dev;
	struct h2_device *under;
	uint64_t offset;
};

static int window_read(struct h2_device *dev, uint64_t offset, void *buf, size_t len)
{
	struct window *w = (struct window *)dev;

	return h2_device_read(w->under, w->offset + offset, buf, len);
}

static int window_write(struct h2_device *dev, uint64_t offset, const void *buf, size_t len)
{
	struct window *w = (struct window *)dev;

	return h2_device_write(w->under, w->offset + offset, buf, len);
}

static int window_flush(struct h2_device *dev)
{
	return h2_device_flush(((struct window *)dev)->under);
}

static int window_discard(struct h2_device *dev, uint64_t offset, uint64_t len)
{
	struct window *w = (struct window *)dev;

	return h2_device_discard(w->under, w->offset + offset, len);
}

static void window_close(struct h2_device *dev)
{
	struct window *w = (struct window *)dev;

	h2_device_close(w->under);
	free((char *)dev->name);
	free(w);
}

int h2_device_window(struct h2_device *under, uint64_t offset, uint64_t size, const char *name,
		     struct h2_device **devp)
{
	static const struct h2_device_ops ops = {
		.read = window_read,
		.write = window_write,
		.flush = window_flush,
		.close = window_close,
		.discard = window_discard,
	};
	struct window *w;
	int err = -ERANGE;

	if (offset > under->size || size > under->size - offset)
		goto out_close;
	err = -ENOMEM;
	w = calloc(1, sizeof(*w));
	if (!w)
		goto out_close;
	w->dev.name = strdup(name);
	if (!w->dev.name)
		goto out_free;
	w->dev.ops = &ops;
	w->dev.size = size;
	w->dev.writable = under->writable;
	w->under = under;
	w->offset = offset;
	*devp = &w->dev;
	return 0;

out_free:
	free(w);
out_close:
	h2_device_close(under);
	return err;
}
