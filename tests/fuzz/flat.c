/* A device over a piece of memory; see flat.h. */
#include "flat.h"

#include <stdlib.h>
#include <string.h>

struct flat {
	struct h2_device dev;
	uint8_t *bytes;
	bool *written;
};

static int flat_read(struct h2_device *dev, uint64_t offset, void *buf, size_t len)
{
	memcpy(buf, ((struct flat *)dev)->bytes + offset, len);
	return 0;
}

static int flat_write(struct h2_device *dev, uint64_t offset, const void *buf, size_t len)
{
	struct flat *flat = (struct flat *)dev;

	memcpy(flat->bytes + offset, buf, len);
	for (uint64_t page = offset / FLAT_PAGE; page * FLAT_PAGE < offset + len; page++)
		flat->written[page] = true;
	return 0;
}

static int flat_flush(struct h2_device *dev)
{
	(void)dev;
	return 0;
}

static void flat_close(struct h2_device *dev)
{
	free(dev);
}

struct h2_device *flat_device(uint8_t *bytes, uint64_t size, bool *written)
{
	static const struct h2_device_ops ops = {
		.read = flat_read,
		.write = flat_write,
		.flush = flat_flush,
		.close = flat_close,
	};
	struct flat *flat = calloc(1, sizeof(*flat));

	if (!flat)
		abort();
	flat->dev.ops = &ops;
	flat->dev.size = size;
	flat->dev.name = "memory";
	flat->dev.writable = written;
	flat->bytes = bytes;
	flat->written = written;
	return &flat->dev;
}
