/*
 * Volume sets: reading and choosing headers (MF 2.1 to 2.6), checking the volumes against each
 * other (MF 2.7), and translating storage offsets.
 *
 * Header values are used only after all checks have passed; until then the device's own size is
 * the only bound that is trusted.
 */
#include "volumes.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"
#include "partition.h"

#define RESERVE_DIVISOR 64u
#define RESERVE_MIN (UINT64_C(1) << 20)
#define RESERVE_MAX (UINT64_C(64) << 20)

#define SECTOR_MIN 512u /* what no device writes in part */

struct volume {
	struct h2_device *dev;
	struct h2_volume_header header;
	unsigned slot;  /* of the chosen copy; H2_HEADER_COPIES_MAX: none; 0 for the backup */
	bool is_backup; /* every copy is damaged, and the backup was taken */
	unsigned unsound; /* copies that were found and are not good: a bit for each slot */
	uint64_t start; /* storage offset */
};

struct h2_volumes { /* constant after opening, but for the writer's members */
	unsigned count;
	struct volume volumes[H2_VOLUMES_MAX]; /* by id once sorted */
	_Atomic uint64_t total_size; /* may grow */
	h2_report_fn *report;
	void *report_user;

	struct h2d_volume_header
		*written; /* the root volume's newest header; NULL: not yet needed */
	unsigned written_slot;
	bool mended; /* a header was written since opening */
};

/* Report a fault of one volume in words and return err. */
__attribute__((format(printf, 4, 5))) static int
fault(struct h2_volumes *set, const struct volume *v, int err, const char *format, ...)
{
	char text[512], message[768];
	va_list ap;

	if (!set->report)
		return err;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	snprintf(message, sizeof(message), "%s%s%s", v ? v->dev->name : "", v ? ": " : "", text);
	set->report(set->report_user, &(struct h2_report){
					      .severity = H2_FAULT,
					      .error = err,
					      .code = "volume-set",
					      .object = "volume header",
					      .message = message,
				      });
	return err;
}

static int read_copy(struct volume *v, unsigned slot, void *buf)
{
	uint64_t offset = slot * H2_HEADER_SPACING;

	if (offset + H2_HEADER_SIZE > v->dev->size)
		return -ENOENT;
	return h2_device_read(v->dev, offset, buf, H2_HEADER_SIZE);
}

/*
 * The same, and what it is worth. What is not right is read once more: an older copy is used only
 * where it is the media that are damaged.
 */
static int judge_copy(struct volume *v, unsigned slot, struct h2d_volume_header *d,
		      enum h2_header_state *state)
{
	int err = 0;

	for (unsigned i = 0; i < 2; i++) {
		err = read_copy(v, slot, d);
		if (err == -ENOENT)
			return err;
		if (err)
			continue;
		*state = h2_volume_header_check(d, NULL);
		if (*state == H2_HEADER_GOOD)
			return 0;
	}
	return err;
}

/* The newest copy may be the damaged one: its user should know that an older state is shown. */
static void warn_damaged_copy(struct h2_volumes *set, const struct volume *v, unsigned slot)
{
	char message[512];

	if (!set->report)
		return;
	snprintf(message, sizeof(message),
		 "%s: header copy %u is damaged; copy %u is used, which may be older", v->dev->name,
		 slot + 1, v->slot + 1);
	set->report(set->report_user, &(struct h2_report){
					      .severity = H2_WARNING,
					      .code = "header-copy",
					      .object = "volume header",
					      .message = message,
				      });
}

/* Whether a header leaves its volume with a single copy, which a torn write can destroy. */
static bool has_single_copy(const struct h2_volume_header *h)
{
	return h->volu_size <= H2_HEADER_SPACING;
}

static int read_backup(const struct volume *v, void *buf)
{
	if (H2_HEADER_BACKUP_OFFSET + H2_HEADER_SIZE > v->dev->size)
		return -ENOENT;
	return h2_device_read(v->dev, H2_HEADER_BACKUP_OFFSET, buf, H2_HEADER_SIZE);
}

/* The only copy was damaged: the backup of it, where there is one. */
static bool choose_backup(struct h2_volumes *set, struct volume *v, struct h2d_volume_header *d)
{
	char message[512];

	if (read_backup(v, d) != 0 || h2_volume_header_check(d, NULL) != H2_HEADER_GOOD)
		return false;
	h2_volume_header_decode(d, &v->header);
	if (!has_single_copy(&v->header) || v->header.volu_id != 0)
		return false;
	v->slot = 0;
	v->is_backup = true;
	if (!set->report)
		return true;
	snprintf(
		message, sizeof(message),
		"%s: the volume header is damaged; its backup is used, which is of the last commit "
		"that was made on Linux",
		v->dev->name);
	set->report(set->report_user, &(struct h2_report){
					      .severity = H2_WARNING,
					      .code = "header-backup",
					      .object = "volume header",
					      .message = message,
				      });
	return true;
}

/* MF 2.6, or the one copy that the user asked for. */
static int choose_header(struct h2_volumes *set, struct volume *v, int wanted)
{
	static const int state_error[] = {
		[H2_HEADER_NO_MAGIC] = -EINVAL,     [H2_HEADER_SWAPPED] = -EINVAL,
		[H2_HEADER_BAD_SECT0] = -H2_ECHECK, [H2_HEADER_BAD_SECT1] = -H2_ECHECK,
		[H2_HEADER_BAD_WHOLE] = -H2_ECHECK,
	};
	struct h2d_volume_header *d = malloc(sizeof(*d));
	bool found = false;
	int err = 0, first_error = 0, damaged = -1;
	unsigned unreadable = 0;
	enum h2_header_state worst = H2_HEADER_NO_MAGIC;

	if (!d)
		return -ENOMEM;
	for (unsigned slot = 0; slot < H2_HEADER_COPIES_MAX; slot++) {
		struct h2_volume_header h;
		enum h2_header_state state;

		if (wanted > 0 && slot != (unsigned)wanted - 1)
			continue;
		err = judge_copy(v, slot, d, &state);
		if (err == -ENOENT)
			continue;
		if (err) {
			first_error = first_error ? first_error : err;
			unreadable = slot;
			fault(set, v, err, "header copy %u cannot be read: %s", slot + 1,
			      strerror(-err));
			continue;
		}
		if (state > worst)
			worst = state;
		if (state != H2_HEADER_GOOD)
			v->unsound |= 1u << slot;
		if (state >= H2_HEADER_BAD_SECT0)
			damaged = (int)slot;
		if (state != H2_HEADER_GOOD)
			continue;
		h2_volume_header_decode(d, &h);
		if (!found || h.mirror_tid > v->header.mirror_tid) {
			v->header = h;
			v->slot = slot;
			found = true;
		}
	}
	if (found && damaged >= 0)
		warn_damaged_copy(set, v, (unsigned)damaged);
	if (!found && damaged >= 0 && wanted == 0)
		found = choose_backup(set, v, d);
	free(d);
	if (first_error && found && v->dev->writable && v->header.volu_id == 0)
		return fault(set, v, first_error,
			     "header copy %u, which cannot be read, may be the newest one, so nothing "
			     "is changed; open the volume for reading only, or overwrite the 64 KiB "
			     "at offset %#" PRIx64 " to give that copy up",
			     unreadable + 1, unreadable * H2_HEADER_SPACING);
	if (found)
		return 0;
	if (first_error)
		return first_error;
	if (worst == H2_HEADER_SWAPPED)
		return fault(set, v, -EINVAL,
			     "the volume was written on a machine of the other byte order, which "
			     "cannot be read here");
	if (worst == H2_HEADER_NO_MAGIC && wanted > 0)
		return fault(set, v, -EINVAL, "there is no header copy %d", wanted);
	if (worst == H2_HEADER_NO_MAGIC)
		return fault(set, v, -EINVAL, "not a HAMMER2 volume: no header copy found");
	return fault(set, v, state_error[worst], "no usable header copy: %s",
		     h2_header_state_name(worst));
}

/* MF 2.7 rule 9 and 13.1: what is judged of each header alone. */
static int check_one(struct h2_volumes *set, const struct volume *v)
{
	const struct h2_volume_header *h = &v->header;

	if (h->version < 1 || h->version > 2)
		return fault(set, v, -EINVAL,
			     "format version %" PRIu32 "; versions 1 and 2 are known", h->version);
	if (memcmp(&h->fstype, &h2_fstype_uuid, sizeof(h->fstype)) != 0)
		return fault(set, v, -EINVAL, "the header's fstype is not that of HAMMER2");
	if (h->volu_id >= H2_VOLUMES_MAX)
		return fault(set, v, -H2_ECORRUPT, "volume id %u; expected 0 to 63", h->volu_id);
	if (h->volu_size == 0)
		return fault(set, v, -H2_ECORRUPT, "volume size 0");
	if (h->volu_size > v->dev->size)
		return fault(set, v, -EINVAL,
			     "the volume has %" PRIu64 " bytes but the file or device only %" PRIu64
			     "; it was truncated, or copied in part",
			     h->volu_size, v->dev->size);
	return 0;
}

static int check_version1(struct h2_volumes *set)
{
	const struct volume *v = &set->volumes[0];
	const struct h2_volume_header *h = &v->header;

	if (set->count != 1)
		return fault(set, NULL, -ENXIO, "format version 1 has one volume; %u were given",
			     set->count);
	if (h->volu_id || h->nvolumes || h->total_size)
		return fault(set, v, -H2_ECORRUPT,
			     "volume id, number and total size must be 0 in format version 1");
	for (unsigned i = 0; i < H2_VOLUMES_MAX; i++) {
		if (h->volu_loff[i])
			return fault(set, v, -H2_ECORRUPT,
				     "volume offsets must be 0 in format version 1");
	}
	if (h->volu_size % H2_VOLUME_ALIGN)
		return fault(set, v, -H2_ECORRUPT,
			     "volume size %" PRIu64 " is no multiple of 8 MiB", h->volu_size);
	if (h->volu_size > INT64_MAX)
		return fault(set, v, -H2_ECORRUPT, "volume size %" PRIu64 " is too large",
			     h->volu_size);
	set->total_size = h->volu_size;
	return 0;
}

static int by_id(const void *a, const void *b)
{
	const struct volume *x = a, *y = b;

	return (int)x->header.volu_id - (int)y->header.volu_id;
}

/* Rules 1, 3 and 4: the volumes are those of one filesystem, each once. */
static int check_members(struct h2_volumes *set)
{
	const struct volume *root = &set->volumes[0];

	for (unsigned i = 0; i < set->count; i++) {
		const struct volume *v = &set->volumes[i];
		const struct h2_volume_header *h = &v->header;

		if (memcmp(&h->fsid, &root->header.fsid, sizeof(h->fsid)) != 0)
			return fault(set, v, -ENXIO,
				     "belongs to another filesystem than %s (the fsids differ)",
				     root->dev->name);
		if (h->version != root->header.version || h->nvolumes != root->header.nvolumes)
			return fault(set, v, -ENXIO,
				     "its header does not go with that of %s (version or number of "
				     "volumes differ)",
				     root->dev->name);
		if (i > 0 && h->volu_id == set->volumes[i - 1].header.volu_id)
			return fault(set, v, -EINVAL, "is volume %u, and so is %s; give each once",
				     h->volu_id, set->volumes[i - 1].dev->name);
	}
	if (root->header.nvolumes < 1 || root->header.nvolumes > H2_VOLUMES_MAX)
		return fault(set, root, -H2_ECORRUPT, "number of volumes %u; expected 1 to 64",
			     root->header.nvolumes);
	if (root->header.nvolumes != set->count)
		return fault(set, root, -ENXIO,
			     "the filesystem has %u volumes; %u were given: name all of them, "
			     "divided by ':'",
			     root->header.nvolumes, set->count);
	for (unsigned i = 0; i < set->count; i++) {
		if (set->volumes[i].header.volu_id != i)
			return fault(set, &set->volumes[i], -ENXIO,
				     "is volume %u; volume %u is missing",
				     set->volumes[i].header.volu_id, i);
	}
	return 0;
}

/* Rules 5 to 8: the layout of the address space. */
static int check_layout(struct h2_volumes *set)
{
	const struct volume *root = &set->volumes[0];
	uint64_t end = 0;

	for (unsigned i = 0; i < H2_VOLUMES_MAX; i++) {
		bool used = root->header.volu_loff[i] != UINT64_MAX;

		if (used != (i < set->count))
			return fault(set, root, -H2_ECORRUPT,
				     "the offset of volume %u is %s but there are %u volumes", i,
				     used ? "set" : "missing", set->count);
	}
	for (unsigned i = 0; i < set->count; i++) {
		struct volume *v = &set->volumes[i];
		uint64_t size = v->header.volu_size;
		uint64_t align = i + 1 < set->count ? H2_ZONE : H2_VOLUME_ALIGN;

		v->start = v->header.volu_loff[i];
		if (v->start != end || v->start % H2_ZONE)
			return fault(set, v, -H2_ECORRUPT,
				     "begins at storage offset %#" PRIx64 "; expected %#" PRIx64
				     ", a multiple of 1 GiB",
				     v->start, end);
		if (size % align)
			return fault(set, v, -H2_ECORRUPT,
				     "volume size %" PRIu64 " is no multiple of %" PRIu64, size,
				     align);
		if (size > INT64_MAX - end)
			return fault(set, v, -H2_ECORRUPT, "volume size %" PRIu64 " is too large",
				     size);
		end += size;
	}
	if (root->header.total_size != end)
		return fault(set, root, -H2_ECORRUPT,
			     "total size %" PRIu64 "; the volumes sum up to %" PRIu64,
			     root->header.total_size, end);
	set->total_size = end;
	return 0;
}

static int check_set(struct h2_volumes *set)
{
	int err = 0;

	for (unsigned i = 0; i < set->count && !err; i++)
		err = check_one(set, &set->volumes[i]);
	if (err)
		return err;
	qsort(set->volumes, set->count, sizeof(set->volumes[0]), by_id);
	if (set->volumes[0].header.version == 1)
		return check_version1(set);
	err = check_members(set);
	return err ? err : check_layout(set);
}

/*
 * A header for each volume. The copies of other volumes than the root are all alike, so the user's
 * choice is about the root's only; which volume that is, its best copy tells, even if that copy is
 * of no use otherwise.
 */
static int choose_headers(struct h2_volumes *set, int wanted)
{
	int err = 0;

	for (unsigned i = 0; i < set->count && !err; i++)
		err = choose_header(set, &set->volumes[i], 0);
	for (unsigned i = 0; i < set->count && !err && wanted > 0; i++) {
		if (set->volumes[i].header.volu_id == 0)
			err = choose_header(set, &set->volumes[i], wanted);
	}
	return err;
}

int h2_volumes_assemble(struct h2_device *const *devices, unsigned count,
			const struct h2_volumes_options *options, struct h2_volumes **volumesp)
{
	struct h2_volumes *set = calloc(1, sizeof(*set));
	int err = 0;

	if (!set) {
		for (unsigned i = 0; i < count; i++)
			h2_device_close(devices[i]);
		return -ENOMEM;
	}
	assert(count >= 1);
	assert(count <= H2_VOLUMES_MAX);
	set->report = options ? options->report : NULL;
	set->report_user = options ? options->report_user : NULL;
	set->count = count;
	for (unsigned i = 0; i < count; i++) {
		set->volumes[i].dev = devices[i];
		set->volumes[i].slot = H2_HEADER_COPIES_MAX;
	}
	if (options && options->headers_only) {
		for (unsigned i = 0; i < count && err != -ENOMEM; i++)
			err = choose_header(set, &set->volumes[i], 0);
		if (err != -ENOMEM) {
			*volumesp = set;
			return 0;
		}
	}
	if (!err)
		err = choose_headers(set, options ? options->header_copy : 0);
	if (!err)
		err = check_set(set);
	/* Going on from an older state would destroy the newer ones. */
	if (!err && options && options->header_copy && h2_volumes_writable(set))
		err = fault(set, NULL, -EINVAL,
			    "a header copy can be asked for only when the volume is opened for "
			    "reading");
	if (err) {
		h2_volumes_close(set);
		return err;
	}
	*volumesp = set;
	return 0;
}

/* Open "PATH" or "PATH:PARTITION"; messages go through a set that has no volumes yet. */
static int open_named(struct h2_volumes *set, const char *name,
		      const struct h2_volumes_options *options, struct h2_device **devp)
{
	enum h2_device_mode mode = !options || (!options->write && !options->no_lock)
					   ? H2_DEVICE_READ
				   : options->write && options->mounted ? H2_DEVICE_MOUNTED
				   : options->write                     ? H2_DEVICE_WRITE
									: H2_DEVICE_UNLOCKED;
	const char *colon = strrchr(name, ':');
	bool partition = colon && h2_partition_name_valid(colon + 1);
	char *path = strdup(name);
	struct h2_device *dev;
	uint64_t offset = 0, size;
	int err;

	if (!path)
		return -ENOMEM;
	err = h2_device_open(path, mode, &dev);
	if (err == -ENOENT && partition) {
		path[colon - name] = '\0';
		err = h2_device_open(path, mode, &dev);
	} else {
		partition = false;
	}
	if (err) {
		fault(set, NULL, err, "%s: %s", path,
		      err == -EBUSY    ? "in use by another mount, check or format"
		      : err == -EINVAL ? "neither a regular file nor a block device"
				       : strerror(-err));
		goto out;
	}
	size = dev->size;
	if (partition) {
		err = h2_partition_find(dev, colon + 1, &offset, &size);
		if (err) {
			fault(set, NULL, err, "%s: partition %s: %s", path, colon + 1,
			      err == -ENOENT ? "no such partition, or no partition table"
					     : strerror(-err));
			h2_device_close(dev);
			goto out;
		}
	}
	if (options && (options->offset || options->size)) {
		if (options->offset > size ||
		    (options->size && options->size > size - options->offset)) {
			err = fault(set, NULL, -ERANGE,
				    "%s: offset or size lies behind its end (%" PRIu64 " bytes)",
				    name, size);
			h2_device_close(dev);
			goto out;
		}
		offset += options->offset;
		size = options->size ? options->size : size - options->offset;
	}
	if (offset != 0 || size != dev->size)
		err = h2_device_window(dev, offset, size, name, &dev);
	if (!err)
		*devp = dev;
out:
	free(path);
	return err;
}

int h2_volumes_open(const char *const *paths, unsigned count,
		    const struct h2_volumes_options *options, struct h2_volumes **volumesp)
{
	struct h2_volumes messages = {
		.report = options ? options->report : NULL,
		.report_user = options ? options->report_user : NULL,
	};
	struct h2_device *devices[H2_VOLUMES_MAX];

	if (count < 1 || count > H2_VOLUMES_MAX)
		return fault(&messages, NULL, -EINVAL, "a filesystem has 1 to 64 volumes");
	if (options && (options->offset || options->size) && count > 1)
		return fault(&messages, NULL, -EINVAL, "an offset goes with a single volume");
	for (unsigned i = 0; i < count; i++) {
		int err = open_named(&messages, paths[i], options, &devices[i]);

		if (err) {
			while (i-- > 0)
				h2_device_close(devices[i]);
			return err;
		}
	}
	return h2_volumes_assemble(devices, count, options, volumesp);
}

void h2_volumes_close(struct h2_volumes *set)
{
	if (!set)
		return;
	for (unsigned i = 0; i < set->count; i++)
		h2_device_close(set->volumes[i].dev);
	free(set->written);
	free(set);
}

const struct h2_volume_header *h2_volumes_header(const struct h2_volumes *set)
{
	return &set->volumes[0].header;
}

uint64_t h2_volumes_total_size(const struct h2_volumes *set)
{
	return set->total_size;
}

unsigned h2_volumes_count(const struct h2_volumes *set)
{
	return set->count;
}

/* That of a single volume may have grown since its header was read. */
static uint64_t size_of(const struct h2_volumes *set, const struct volume *v)
{
	return set->count == 1 ? set->total_size : v->header.volu_size;
}

void h2_volumes_info(const struct h2_volumes *set, unsigned i, struct h2_volume_info *info)
{
	const struct volume *v = &set->volumes[i];

	assert(i < set->count);
	*info = (struct h2_volume_info){
		.path = v->dev->name,
		.id = v->header.volu_id,
		.offset = v->start,
		.size = size_of(set, v),
		.device_size = v->dev->size,
		.header_slot = v->slot,
	};
}

int h2_volumes_read_header(struct h2_volumes *set, unsigned i, unsigned slot, void *buf)
{
	assert(i < set->count);
	assert(slot < H2_HEADER_COPIES_MAX);
	return read_copy(&set->volumes[i], slot, buf);
}

/* The volume that all of [offset, offset + len) is on, or NULL. */
static const struct volume *locate(const struct h2_volumes *set, uint64_t offset, uint64_t len)
{
	for (unsigned i = 0; i < set->count; i++) {
		const struct volume *v = &set->volumes[i];
		uint64_t size = size_of(set, v);

		if (offset >= v->start && offset - v->start < size)
			return len <= size - (offset - v->start) ? v : NULL;
	}
	return NULL;
}

int h2_volumes_read(struct h2_volumes *set, uint64_t offset, void *buf, size_t len)
{
	const struct volume *v = locate(set, offset, len);

	return v ? h2_device_read(v->dev, offset - v->start, buf, len) : -ERANGE;
}

bool h2_volumes_writable(const struct h2_volumes *set)
{
	for (unsigned i = 0; i < set->count; i++) {
		if (!set->volumes[i].dev->writable)
			return false;
	}
	return true;
}

int h2_volumes_write(struct h2_volumes *set, uint64_t offset, const void *buf, size_t len)
{
	const struct volume *v = locate(set, offset, len);

	return v ? h2_device_write(v->dev, offset - v->start, buf, len) : -ERANGE;
}

int h2_volumes_discard(struct h2_volumes *set, uint64_t offset, uint64_t len)
{
	const struct volume *v = locate(set, offset, len);

	return v ? h2_device_discard(v->dev, offset - v->start, len) : -ERANGE;
}

int h2_volumes_flush(struct h2_volumes *set)
{
	int err = 0;

	for (unsigned i = 0; i < set->count; i++) {
		int e = h2_device_flush(set->volumes[i].dev);

		if (e && !err)
			err = fault(set, &set->volumes[i], e, "cannot be flushed: %s",
				    strerror(-e));
	}
	return err;
}

bool h2_volumes_header_is_backup(const struct h2_volumes *set)
{
	return set->volumes[0].is_backup;
}

uint64_t h2_volumes_reserve(uint64_t allocator_size)
{
	uint64_t reserve = allocator_size / RESERVE_DIVISOR;

	if (reserve < RESERVE_MIN)
		return RESERVE_MIN;
	return reserve < RESERVE_MAX ? reserve : RESERVE_MAX;
}

unsigned h2_header_copies(uint64_t size)
{
	uint64_t copies = (size - 1) / H2_HEADER_SPACING + 1;

	return copies < H2_HEADER_COPIES_MAX ? (unsigned)copies : H2_HEADER_COPIES_MAX;
}

unsigned h2_volumes_header_copies(const struct h2_volumes *set)
{
	return h2_header_copies(size_of(set, &set->volumes[0]));
}

/* The bytes of the chosen copy: its reserved parts go into every later header. */
static int load_written(struct h2_volumes *set)
{
	struct volume *root = &set->volumes[0];
	int err;

	set->written = malloc(sizeof(*set->written));
	if (!set->written)
		return -ENOMEM;
	err = root->is_backup ? read_backup(root, set->written)
			      : read_copy(root, root->slot, set->written);
	if (err) {
		free(set->written);
		set->written = NULL;
		return err;
	}
	set->written_slot = root->slot;
	return 0;
}

/*
 * Before a header takes the place of the only one, it is durable elsewhere: whichever of the two
 * writes is torn, the other one's header is whole.
 */
static int write_backup(struct h2_volumes *set)
{
	struct volume *root = &set->volumes[0];
	int err = h2_device_write(root->dev, H2_HEADER_BACKUP_OFFSET, set->written,
				  sizeof(*set->written));

	if (!err)
		err = h2_device_flush(root->dev);
	if (err)
		return fault(set, root, err, "the backup of the header cannot be written: %s",
			     strerror(-err));
	return 0;
}

/*
 * What is left of a header that was never whole must not become whole again where a part of the next
 * one comes to lie over what was wrong with it: the blocks that it leads to may have been written
 * over since. So its first sector goes before, and nothing but that, which no device tears. It keeps its magic
 * number, lest the volume look like one that was wiped.
 */
static int spoil_copy(struct h2_volumes *set, unsigned slot)
{
	struct volume *root = &set->volumes[0];
	uint8_t sector[SECTOR_MIN] = {0};
	int err;

	if (!(root->unsound & 1u << slot))
		return 0;
	memcpy(sector, &set->written->magic, sizeof(set->written->magic));
	err = h2_device_write(root->dev, slot * H2_HEADER_SPACING, sector, sizeof(sector));
	if (!err)
		err = h2_device_flush(root->dev);
	if (err)
		return fault(set, root, err, "header copy %u cannot be written: %s", slot + 1,
			     strerror(-err));
	return 0;
}

int h2_volumes_write_header(struct h2_volumes *set, const struct h2_volume_header *header)
{
	struct volume *root = &set->volumes[0];
	unsigned slot;
	int err = set->written ? 0 : load_written(set);

	if (err)
		return err;
	slot = (set->written_slot + 1) % h2_volumes_header_copies(set);
	h2_volume_header_encode(header, set->written);
	h2_volume_header_seal(set->written);
	/* While the backup is all there is, it stays: the header's place has nothing to lose. */
	if (h2_volumes_header_copies(set) == 1 && (!root->is_backup || set->mended)) {
		err = write_backup(set);
		if (err)
			return err;
	}
	err = spoil_copy(set, slot);
	if (err)
		return err;
	err = h2_device_write(root->dev, slot * H2_HEADER_SPACING, set->written,
			      sizeof(*set->written));
	if (err)
		return fault(set, root, err, "header copy %u cannot be written: %s", slot + 1,
			     strerror(-err));
	root->unsound &= ~(1u << slot);
	set->written_slot = slot;
	set->mended = true;
	return 0;
}

/* ---- growing ---- */

/* What lies where header copies will be must not be taken for one. */
static int wipe_new_copies(struct h2_volumes *set, uint64_t from, uint64_t to)
{
	static const uint8_t zeros[H2_HEADER_SIZE];
	struct volume *root = &set->volumes[0];

	for (unsigned slot = 1; slot < H2_HEADER_COPIES_MAX; slot++) {
		uint64_t offset = slot * H2_HEADER_SPACING;
		int err;

		if (offset < from || offset >= to)
			continue;
		err = h2_device_write(root->dev, offset, zeros, sizeof(zeros));
		if (err)
			return err;
	}
	return h2_device_flush(root->dev);
}

int h2_volumes_prepare_growth(struct h2_volumes *set, uint64_t size, uint64_t *new_size)
{
	struct h2_device *dev = set->volumes[0].dev;
	int err;

	if (set->count > 1)
		return -EOPNOTSUPP;
	if (size > INT64_MAX)
		return -EINVAL;
	size = size / H2_VOLUME_ALIGN * H2_VOLUME_ALIGN;
	if (size != 0 && size < set->total_size)
		return -EINVAL;
	err = h2_device_grow(dev, size);
	if (err)
		return err;
	if (size == 0)
		size = dev->size / H2_VOLUME_ALIGN * H2_VOLUME_ALIGN;
	if (size > dev->size || size < set->total_size)
		return -EINVAL;
	*new_size = size;
	return size == set->total_size ? 0 : wipe_new_copies(set, set->total_size, size);
}

void h2_volumes_set_size(struct h2_volumes *set, uint64_t size)
{
	assert(set->count == 1 && size >= set->total_size);
	set->total_size = size;
}
