/*
 * Making a filesystem, MF 11.6 and BS 1: super-root and PFS root inodes behind the aux area, all
 * header copies; no freemap, which the first writer makes as it goes.
 *
 * Order of writing: every place where a header could be found is cleared first, the backup of a
 * single one before all others, the headers come last, with a flush before and after each step. So
 * a crash never leaves half a filesystem.
 */
#include "mkfs.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "check.h"
#include "compress.h"
#include "format.h"

#define MIB (UINT64_C(1) << 20)
#define AREA_ALIGN (8 * MIB)
#define BOOT_NOMINAL (64 * MIB)
#define BOOT_MAX (256 * MIB)
#define AUX_NOMINAL (256 * MIB)
#define AUX_MAX (1024 * MIB)
#define FIRST_TID 16u
#define PFS_INUM_FIRST 16u
#define WIPE_STEP (1u << 20)
#define PEER_TYPE 3u
#define COPYID_NEWFS 0xffu

__attribute__((format(printf, 3, 4))) static int refuse(const struct h2_mkfs_options *options,
							int err, const char *format, ...)
{
	char message[512];
	va_list ap;

	if (!options->report)
		return err;
	va_start(ap, format);
	vsnprintf(message, sizeof(message), format, ap);
	va_end(ap);
	options->report(options->report_user, &(struct h2_report){
						      .severity = H2_FAULT,
						      .error = err,
						      .code = "mkfs",
						      .object = "volume",
						      .message = message,
					      });
	return err;
}

/* ---- the plan ---- */

static int plan_sizes(const uint64_t *sizes, unsigned count, const struct h2_mkfs_options *options,
		      struct h2_mkfs_plan *plan)
{
	if (count < 1 || count > H2_VOLUMES_MAX)
		return refuse(options, -EINVAL, "a filesystem has 1 to 64 volumes");
	if (plan->version == 1 && count > 1)
		return refuse(options, -EINVAL, "format version 1 has one volume");
	plan->volume_count = count;
	for (unsigned i = 0; i < count; i++) {
		uint64_t align = i + 1 < count ? H2_ZONE : H2_VOLUME_ALIGN;

		plan->volume_sizes[i] = sizes[i] / align * align;
		if (plan->volume_sizes[i] == 0)
			return refuse(options, -ENOSPC,
				      "volume %u has %" PRIu64 " bytes; it needs %" PRIu64
				      " MiB at "
				      "least",
				      i, sizes[i], align / MIB);
		if (plan->volume_sizes[i] > INT64_MAX - plan->total_bytes)
			return refuse(options, -EINVAL, "the volumes are larger than 2^63 bytes");
		plan->total_bytes += plan->volume_sizes[i];
	}
	return 0;
}

/* The default size of an area, MF 11.6. */
static uint64_t area_size(uint64_t nominal, uint64_t total)
{
	while (nominal > total / 20)
		nominal /= 2;
	if (nominal < AREA_ALIGN)
		nominal = AREA_ALIGN;
	return (nominal + AREA_ALIGN - 1) / AREA_ALIGN * AREA_ALIGN;
}

static int plan_area(const struct h2_mkfs_options *options, const char *name, uint64_t wanted,
		     uint64_t max, uint64_t nominal, uint64_t total, uint64_t *bytes)
{
	*bytes = wanted ? wanted : area_size(nominal, total);
	if (*bytes < AREA_ALIGN || *bytes > max || *bytes % AREA_ALIGN)
		return refuse(options, -EINVAL,
			      "a %s area of %" PRIu64 " bytes; expected a multiple of 8 MiB up to "
			      "%" PRIu64 " MiB",
			      name, *bytes, max / MIB);
	return 0;
}

static int plan_areas(const struct h2_mkfs_options *options, struct h2_mkfs_plan *plan)
{
	uint64_t zones = (plan->total_bytes + H2_ZONE - 1) / H2_ZONE;
	uint64_t used, base;
	int err = plan_area(options, "boot", options->boot_bytes, BOOT_MAX, BOOT_NOMINAL,
			    plan->total_bytes, &plan->boot_bytes);

	if (!err)
		err = plan_area(options, "aux", options->aux_bytes, AUX_MAX, AUX_NOMINAL,
				plan->total_bytes, &plan->aux_bytes);
	if (err)
		return err;
	base = H2_SEGMENT + plan->boot_bytes + plan->aux_bytes;
	if (base >= H2_ZONE)
		return refuse(options, -EINVAL,
			      "boot and aux area together must stay below 1 GiB - 4 MiB");
	plan->reserved_bytes = zones * H2_SEGMENT;
	used = plan->reserved_bytes + plan->boot_bytes + plan->aux_bytes;
	plan->allocator_beg = base + H2_INODE_SIZE * (1 + (uint64_t)plan->label_count);
	if (plan->total_bytes < used || plan->volume_sizes[0] < base + H2_BLOCK_MAX)
		return refuse(options, -ENOSPC,
			      "%" PRIu64 " MiB are too few: the reserved, boot and aux areas take "
			      "%" PRIu64 " MiB",
			      plan->total_bytes / MIB, used / MIB);
	plan->free_bytes = plan->total_bytes - used;
	return 0;
}

static int plan_labels(const struct h2_mkfs_options *options, struct h2_mkfs_plan *plan)
{
	plan->labels[plan->label_count++] = "LOCAL";
	for (unsigned i = 0; i < options->label_count; i++) {
		const char *label = options->labels[i];
		size_t len = strlen(label);

		if (plan->label_count == H2_MKFS_LABELS_MAX)
			return refuse(options, -EINVAL,
				      "too many labels; LOCAL and 3 more are possible");
		if (len < 1 || len > H2_NAME_MAX || strpbrk(label, "@:/"))
			return refuse(
				options, -EINVAL,
				"label \"%s\": expected 1 to 255 bytes without '@', ':' and '/'",
				label);
		for (unsigned k = 0; k < plan->label_count; k++) {
			if (strcmp(label, plan->labels[k]) == 0)
				return refuse(options, -EINVAL,
					      "label \"%s\" is given twice (LOCAL "
					      "is always there)",
					      label);
		}
		plan->labels[plan->label_count++] = label;
	}
	return 0;
}

static int check_algos(const struct h2_mkfs_options *options)
{
	int comp = options->comp_algo, check = options->check_algo;

	if (comp != -1 && (comp < 0 || comp > 0xff || (comp & 15) > H2_COMP_ZLIB))
		return refuse(options, -EINVAL, "compression %#x is unknown", (unsigned)comp);
	if (check != -1 && (check < 0 || check > H2_CHECK_SHA192))
		return refuse(options, -EINVAL, "check algorithm %#x is unknown", (unsigned)check);
	return 0;
}

int h2_mkfs_plan(const uint64_t *sizes, unsigned count, const struct h2_mkfs_options *options,
		 struct h2_mkfs_plan *plan)
{
	int err;

	*plan = (struct h2_mkfs_plan){.version = options->version ? options->version : 2};
	if (plan->version > 2)
		return refuse(options, -EINVAL, "format version %u; 1 and 2 are known",
			      plan->version);
	err = check_algos(options);
	if (!err)
		err = plan_sizes(sizes, count, options, plan);
	if (!err)
		err = plan_labels(options, plan);
	if (!err)
		err = plan_areas(options, plan);
	if (err)
		return err;
	options->uuid(options->uuid_user, &plan->fsid);
	options->uuid(options->uuid_user, &plan->super_clid);
	options->uuid(options->uuid_user, &plan->super_fsid);
	for (unsigned i = 0; i < plan->label_count; i++) {
		options->uuid(options->uuid_user, &plan->clids[i]);
		options->uuid(options->uuid_user, &plan->fsids[i]);
	}
	return 0;
}

/* ---- the first block of inodes ---- */

#define INODES_MAX (1 + H2_MKFS_LABELS_MAX)

static uint64_t inode_offset(const struct h2_mkfs_plan *plan, unsigned i)
{
	return H2_SEGMENT + plan->boot_bytes + plan->aux_bytes + i * (uint64_t)H2_INODE_SIZE;
}

static void make_ref(const struct h2_mkfs_plan *plan, unsigned i, const struct h2d_inode *inode,
		     uint8_t methods, uint8_t flags, uint64_t key, struct h2_blockref *ref)
{
	int err;

	*ref = (struct h2_blockref){
		.type = H2_BLOCKREF_INODE,
		.methods = methods,
		.copyid = COPYID_NEWFS,
		.vradix = 10,
		.flags = flags,
		.key = key,
		.mirror_tid = FIRST_TID,
		.data_off = inode_offset(plan, i) | 10,
	};
	err = h2_check_set(ref, inode, sizeof(*inode));
	assert(err == 0);
	(void)err;
}

static void make_pfs(const struct h2_mkfs_plan *plan, const struct h2_mkfs_options *options,
		     unsigned label, struct h2d_inode *inode, struct h2_blockref *ref)
{
	const char *name = plan->labels[label];
	size_t len = strlen(name);
	/* The boot loader cannot decompress. */
	int comp = strcasecmp(name, "BOOT") == 0 ? H2_COMP_AUTOZERO
		   : options->comp_algo < 0      ? H2_COMP_LZ4
						 : options->comp_algo;
	int check = options->check_algo < 0 ? H2_CHECK_XXHASH64 : options->check_algo;
	struct h2_inode_meta m = {
		.version = 1,
		.ctime = options->time_us,
		.mtime = options->time_us,
		.btime = options->time_us,
		.type = H2_OBJECT_DIRECTORY,
		.op_flags = H2_INODE_PFSROOT,
		.mode = 0755,
		.inum = H2_INUM_ROOT,
		.nlinks = 1,
		.name_key = h2_name_hash(name, len),
		.name_len = (uint16_t)len,
		.comp_algo = (uint8_t)comp,
		.check_algo = (uint8_t)check,
		.pfs_type = H2_PFS_MASTER,
		.pfs_inum = PFS_INUM_FIRST,
		.pfs_clid = plan->clids[label],
		.pfs_fsid = plan->fsids[label],
	};

	memcpy(m.filename, name, len);
	h2_inode_encode(&m, inode);
	make_ref(plan, 1 + label, inode, H2_CHECK_XXHASH64 << 4, H2_BLOCKREF_PFSROOT, m.name_key,
		 ref);
}

static void make_super_root(const struct h2_mkfs_plan *plan, const struct h2_mkfs_options *options,
			    const struct h2_blockref *pfs, struct h2d_inode *inode,
			    struct h2_blockref *ref)
{
	struct h2_inode_meta m = {
		.version = 1,
		.ctime = options->time_us,
		.mtime = options->time_us,
		.btime = options->time_us,
		.type = H2_OBJECT_DIRECTORY,
		.mode = 0700,
		.inum = H2_INUM_SUPER_ROOT,
		.nlinks = 2,
		.name_len = 7,
		.filename = "SUPROOT",
		.comp_algo = H2_COMP_AUTOZERO,
		.check_algo = H2_CHECK_XXHASH64,
		.pfs_type = H2_PFS_SUPER_ROOT,
		.pfs_clid = plan->super_clid,
		.pfs_fsid = plan->super_fsid,
	};

	h2_inode_encode(&m, inode);
	for (unsigned i = 0; i < plan->label_count; i++)
		h2_blockref_encode(&pfs[i], &inode->u.blockset[i]);
	make_ref(plan, 0, inode, H2_CHECK_XXHASH64 << 4 | H2_COMP_AUTOZERO, 0, 0, ref);
}

static int by_key(const void *a, const void *b)
{
	const struct h2_blockref *x = a, *y = b;

	return x->key < y->key ? -1 : x->key > y->key;
}

/* Labels may share a hash: give the later ones the next keys (MF 7.4). */
static void make_inodes(const struct h2_mkfs_plan *plan, const struct h2_mkfs_options *options,
			struct h2d_inode inodes[INODES_MAX], struct h2_blockref *super)
{
	struct h2_blockref pfs[H2_MKFS_LABELS_MAX];

	memset(inodes, 0, INODES_MAX * sizeof(*inodes));
	for (unsigned i = 0; i < plan->label_count; i++) {
		make_pfs(plan, options, i, &inodes[1 + i], &pfs[i]);
		for (unsigned k = 0; k < i; k++) {
			if (pfs[k].key != pfs[i].key)
				continue;
			pfs[i].key++;
			inodes[1 + i].name_key = le64_make(pfs[i].key);
			h2_check_set(&pfs[i], &inodes[1 + i], sizeof(inodes[0]));
			k = UINT32_MAX; /* compare with all again */
		}
	}
	qsort(pfs, plan->label_count, sizeof(pfs[0]), by_key);
	make_super_root(plan, options, pfs, &inodes[0], super);
}

/* ---- headers ---- */

static void make_header(const struct h2_mkfs_plan *plan, unsigned volume,
			const struct h2_blockref *super, struct h2d_volume_header *d)
{
	struct h2_volume_header h = {
		.volu_size = plan->volume_sizes[volume],
		.version = plan->version,
		.peer_type = PEER_TYPE,
		.fsid = plan->fsid,
		.fstype = h2_fstype_uuid,
		.allocator_size = plan->free_bytes,
		.mirror_tid = FIRST_TID,
		.freemap_tid = FIRST_TID,
	};
	uint64_t start = 0;

	if (volume == 0) {
		h.boot_beg = H2_SEGMENT;
		h.boot_end = h.aux_beg = h.boot_beg + plan->boot_bytes;
		h.aux_end = h.aux_beg + plan->aux_bytes;
		h.allocator_free = plan->free_bytes;
		h.allocator_beg = plan->allocator_beg;
		h.sroot_blockset[0] = *super;
	} else {
		for (unsigned i = 0; i < H2_BLOCKSET_COUNT; i++)
			h.sroot_blockset[i].type = H2_BLOCKREF_INVALID;
	}
	if (plan->version > 1) {
		h.volu_id = (uint8_t)volume;
		h.nvolumes = (uint8_t)plan->volume_count;
		h.total_size = plan->total_bytes;
		for (unsigned i = 0; i < H2_VOLUMES_MAX; i++) {
			h.volu_loff[i] = i < plan->volume_count ? start : UINT64_MAX;
			start += i < plan->volume_count ? plan->volume_sizes[i] : 0;
		}
	}
	memset(d, 0, sizeof(*d));
	h2_volume_header_encode(&h, d);
	h2_volume_header_seal(d);
}

/* ---- writing ---- */

static int fail(const struct h2_mkfs_options *options, const struct h2_device *dev, int err)
{
	return refuse(options, err, "%s: cannot write: %s", dev->name, strerror(-err));
}

/* Make [begin, end) zero; what is zero already is left alone, so that holes in files stay. */
static int wipe(struct h2_device *dev, uint64_t begin, uint64_t end)
{
	static const uint8_t zeros[H2_BLOCK_MAX];
	uint8_t *buf = malloc(WIPE_STEP);
	int err = 0;

	if (!buf)
		return -ENOMEM;
	if (end > dev->size)
		end = dev->size;
	while (!err && begin < end) {
		size_t len = end - begin < WIPE_STEP ? (size_t)(end - begin) : WIPE_STEP;

		err = h2_device_read(dev, begin, buf, len);
		for (size_t at = 0; !err && at < len; at += sizeof(zeros)) {
			size_t part = len - at < sizeof(zeros) ? len - at : sizeof(zeros);

			if (!h2_is_zero(buf + at, part))
				err = h2_device_write(dev, begin + at, zeros, part);
		}
		begin += len;
	}
	free(buf);
	return err;
}

/* At the end: ZFS has two labels there, and is told by them. */
#define TAIL_BYTES (UINT64_C(512) << 10)

/* Nothing that anyone could take for a header or another filesystem may stay (BS 1.2). */
static int clear_device(const struct h2_mkfs_plan *plan, unsigned volume, struct h2_device *dev)
{
	uint64_t size = plan->volume_sizes[volume];
	uint64_t front = volume == 0 ? H2_SEGMENT + plan->boot_bytes + plan->aux_bytes : H2_SEGMENT;
	int err = wipe(dev, H2_HEADER_BACKUP_OFFSET, H2_HEADER_BACKUP_OFFSET + H2_HEADER_SIZE);

	if (!err)
		err = h2_device_flush(dev);
	for (unsigned slot = 0; slot < H2_HEADER_COPIES_MAX && !err; slot++) {
		uint64_t offset = slot * H2_HEADER_SPACING;

		err = wipe(dev, offset, offset + H2_HEADER_SIZE);
	}
	if (!err)
		err = h2_device_flush(dev);
	if (!err)
		err = wipe(dev, 0, front);
	if (!err)
		err = wipe(dev, size - TAIL_BYTES, size);
	if (!err && dev->size > size)
		err = wipe(dev, dev->size - size > TAIL_BYTES ? dev->size - TAIL_BYTES : size,
			   dev->size);
	return err ? err : h2_device_flush(dev);
}

static int write_headers(const struct h2_mkfs_plan *plan, unsigned volume,
			 const struct h2_blockref *super, struct h2_device *dev)
{
	struct h2d_volume_header *d = malloc(sizeof(*d));
	int err = 0;

	if (!d)
		return -ENOMEM;
	make_header(plan, volume, super, d);
	for (unsigned slot = 0; slot < H2_HEADER_COPIES_MAX && !err; slot++) {
		uint64_t offset = slot * H2_HEADER_SPACING;

		if (offset < plan->volume_sizes[volume])
			err = h2_device_write(dev, offset, d, sizeof(*d));
	}
	free(d);
	return err ? err : h2_device_flush(dev);
}

int h2_mkfs_devices(const struct h2_mkfs_plan *plan, const struct h2_mkfs_options *options,
		    struct h2_device *const *devices)
{
	struct h2d_inode block[H2_BLOCK_MAX / H2_INODE_SIZE];
	struct h2_blockref super;
	int err;

	memset(block, 0, sizeof(block));
	make_inodes(plan, options, block, &super);
	for (unsigned i = 0; i < plan->volume_count; i++) {
		err = clear_device(plan, i, devices[i]);
		if (err)
			return fail(options, devices[i], err);
	}
	err = h2_device_write(devices[0], inode_offset(plan, 0), block, sizeof(block));
	if (!err)
		err = h2_device_flush(devices[0]);
	if (err)
		return fail(options, devices[0], err);
	/* The root volume's headers last: without them there is no filesystem. */
	for (unsigned i = plan->volume_count; i-- > 0;) {
		err = write_headers(plan, i, &super, devices[i]);
		if (err)
			return fail(options, devices[i], err);
	}
	return 0;
}

int h2_mkfs_open_targets(const struct h2_mkfs_plan *plan, const struct h2_mkfs_options *options,
			 const struct h2_mkfs_target *targets, struct h2_device **devices)
{
	unsigned opened = 0;
	int err = 0;

	while (!err && opened < plan->volume_count) {
		const struct h2_mkfs_target *t = &targets[opened];

		err = t->create ? h2_device_create(t->path, t->size, &devices[opened])
				: h2_device_open(t->path, H2_DEVICE_WRITE, &devices[opened]);
		if (err) {
			refuse(options, err, "%s: %s", t->path,
			       err == -EBUSY    ? "in use by a mount, check or format"
			       : err == -EINVAL ? "neither a regular file nor a block device"
						: strerror(-err));
			break;
		}
		opened++;
		if (devices[opened - 1]->size < plan->volume_sizes[opened - 1])
			err = refuse(options, -ENOSPC, "%s: it has become smaller", t->path);
	}
	while (err && opened > 0)
		h2_device_close(devices[--opened]);
	return err;
}

int h2_mkfs_write(const struct h2_mkfs_plan *plan, const struct h2_mkfs_options *options,
		  const struct h2_mkfs_target *targets)
{
	struct h2_device *devices[H2_VOLUMES_MAX];
	int err = h2_mkfs_open_targets(plan, options, targets, devices);

	if (err)
		return err;
	err = h2_mkfs_devices(plan, options, devices);
	for (unsigned i = 0; i < plan->volume_count; i++)
		h2_device_close(devices[i]);
	return err;
}
