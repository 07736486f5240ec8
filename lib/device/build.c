/*
 * Filesystems that are filled while they are made; see <hammer2/build.h>.
 *
 * The root volume's device is wrapped: a header that is written to one of the places of its copies
 * stays in memory, and is what reading there gives. Anything else goes to the device, so also the
 * zeros by which older headers are cleared.
 */
#include <hammer2/build.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"
#include "mkfs.h"
#include "shrink.h"
#include "volumes.h"

struct keeper { /* the root volume's device */
	struct h2_device dev;
	struct h2_device *under;
	struct h2d_volume_header *copies[H2_HEADER_COPIES_MAX]; /* NULL: not written */
};

struct h2_build {
	struct keeper *keeper; /* owned by the volumes */
	struct h2_volumes *volumes;
	h2_report_fn *report;
	void *report_user;
};

/* ---- the device ---- */

static int keeper_read(struct h2_device *dev, uint64_t offset, void *buf, size_t len)
{
	struct keeper *k = (struct keeper *)dev;
	int err = h2_device_read(k->under, offset, buf, len);

	for (unsigned i = 0; i < H2_HEADER_COPIES_MAX && !err; i++) {
		uint64_t begin = i * H2_HEADER_SPACING, end = begin + H2_HEADER_SIZE;
		uint64_t from = begin > offset ? begin : offset;
		uint64_t to = end < offset + len ? end : offset + len;

		if (k->copies[i] && from < to)
			memcpy((uint8_t *)buf + (from - offset),
			       (const uint8_t *)k->copies[i] + (from - begin), to - from);
	}
	return err;
}

static int keep_header(struct keeper *k, unsigned slot, const void *buf)
{
	if (!k->copies[slot])
		k->copies[slot] = malloc(H2_HEADER_SIZE);
	if (!k->copies[slot])
		return -ENOMEM;
	memcpy(k->copies[slot], buf, H2_HEADER_SIZE);
	return 0;
}

static int keeper_write(struct h2_device *dev, uint64_t offset, const void *buf, size_t len)
{
	struct keeper *k = (struct keeper *)dev;
	const struct h2d_volume_header *d = buf;

	if (len == H2_HEADER_SIZE && offset % H2_HEADER_SPACING == 0 &&
	    offset / H2_HEADER_SPACING < H2_HEADER_COPIES_MAX && le64_get(d->magic) == H2_MAGIC)
		return keep_header(k, (unsigned)(offset / H2_HEADER_SPACING), buf);
	return h2_device_write(k->under, offset, buf, len);
}

static int keeper_flush(struct h2_device *dev)
{
	return h2_device_flush(((struct keeper *)dev)->under);
}

static void keeper_close(struct h2_device *dev)
{
	struct keeper *k = (struct keeper *)dev;

	h2_device_close(k->under);
	for (unsigned i = 0; i < H2_HEADER_COPIES_MAX; i++)
		free(k->copies[i]);
	free(k);
}

/* Takes under over, also when it fails. */
static struct keeper *keeper_new(struct h2_device *under)
{
	static const struct h2_device_ops ops = {
		.read = keeper_read,
		.write = keeper_write,
		.flush = keeper_flush,
		.close = keeper_close,
	};
	struct keeper *k = calloc(1, sizeof(*k));

	if (!k) {
		h2_device_close(under);
		return NULL;
	}
	k->dev = (struct h2_device){
		.ops = &ops,
		.size = under->size,
		.writable = under->writable,
		.name = under->name,
	};
	k->under = under;
	return k;
}

/* ---- begin ---- */

static int open_volumes(struct h2_build *b, const struct h2_mkfs_plan *plan,
			const struct h2_mkfs_options *options, struct h2_device **devices)
{
	struct h2_volumes_options to = {
		.write = true,
		.report = options->report,
		.report_user = options->report_user,
	};
	int err = -ENOMEM;

	b->keeper = keeper_new(devices[0]);
	devices[0] = b->keeper ? &b->keeper->dev : NULL;
	if (b->keeper)
		err = h2_mkfs_devices(plan, options, devices);
	if (!err)
		return h2_volumes_assemble(devices, plan->volume_count, &to, &b->volumes);
	for (unsigned i = 0; i < plan->volume_count; i++)
		h2_device_close(devices[i]);
	return err;
}

int h2_build_begin(const struct h2_mkfs_plan *plan, const struct h2_mkfs_options *options,
		   const struct h2_mkfs_target *targets, struct h2_build **buildp)
{
	struct h2_device *devices[H2_VOLUMES_MAX];
	struct h2_build *b = calloc(1, sizeof(*b));
	int err = b ? h2_mkfs_open_targets(plan, options, targets, devices) : -ENOMEM;

	if (!err) {
		b->report = options->report;
		b->report_user = options->report_user;
		err = open_volumes(b, plan, options, devices);
	}
	if (err) {
		free(b);
		return err;
	}
	*buildp = b;
	return 0;
}

struct h2_volumes *h2_build_volumes(struct h2_build *build)
{
	return build->volumes;
}

/* ---- finish ---- */

static struct h2d_volume_header *newest(const struct keeper *k)
{
	struct h2d_volume_header *best = k->copies[0];

	for (unsigned i = 1; i < H2_HEADER_COPIES_MAX; i++) {
		struct h2d_volume_header *d = k->copies[i];

		if (d && (!best || le64_get(d->mirror_tid) > le64_get(best->mirror_tid)))
			best = d;
	}
	return best;
}

/* As after making an empty filesystem, all copies are alike: none shows a part of the contents. */
static int write_copies(const struct keeper *k, const struct h2d_volume_header *d)
{
	int err = h2_device_flush(k->under);

	for (unsigned i = 0; i < H2_HEADER_COPIES_MAX && !err; i++) {
		if (i * H2_HEADER_SPACING < le64_get(d->volu_size))
			err = h2_device_write(k->under, i * H2_HEADER_SPACING, d, sizeof(*d));
	}
	return err ? err : h2_device_flush(k->under);
}

int h2_build_finish(struct h2_build *build, bool shrink, struct h2_volume_header *header)
{
	struct h2d_volume_header *d = newest(build->keeper);
	struct h2_volume_header h;
	int err = h2_volumes_flush(build->volumes);

	assert(d);
	h2_volume_header_decode(d, &h);
	if (!err && shrink)
		err = h2_shrink(build->keeper->under, &h, build->report, build->report_user);
	if (err)
		return err;
	h2_volume_header_encode(&h, d);
	h2_volume_header_seal(d);
	err = write_copies(build->keeper, d);
	if (!err && header)
		*header = h;
	return err;
}

void h2_build_close(struct h2_build *build)
{
	if (!build)
		return;
	h2_volumes_close(build->volumes);
	free(build);
}
