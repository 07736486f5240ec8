/*
 * The HAMMER2 library as a backend, on simulated disks in memory or on image files.
 */
#include "backend.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hammer2/change.h>
#include <hammer2/check.h>

#include "mkfs.h"
#include "op.h"
#include "random.h"
#include "sim.h"
#include "volumes.h"

#define MIB (UINT64_C(1) << 20)
#define VOLUME_UNIT (UINT64_C(1) << 30) /* size of all volumes but the last, MF 2.7 */
#define PAGE 4096u
#define SMALL_VOLUME (UINT64_C(512) * MIB)
#define LABEL "DATA" /* of the PFS, unless an option says another */

/* What these are in op.h and model.h is what they are here. */
static_assert(OP_WRITE_APPEND == H2_WRITE_APPEND, "");
static_assert(OP_WRITE_KEEP_TIMES == H2_WRITE_KEEP_TIMES, "");
static_assert(MODEL_KEEP_SIZE == H2_FALLOC_KEEP_SIZE, "");
static_assert(MODEL_PUNCH_HOLE == H2_FALLOC_PUNCH_HOLE, "");
static_assert(MODEL_ZERO_RANGE == H2_FALLOC_ZERO_RANGE, "");
static_assert(MODEL_NOREPLACE == H2_RENAME_NOREPLACE, "");
static_assert(MODEL_EXCHANGE == H2_RENAME_EXCHANGE, "");
static_assert(MODEL_SET_MODE == H2_SET_MODE, "");
static_assert(MODEL_SET_UID == H2_SET_UID, "");
static_assert(MODEL_SET_GID == H2_SET_GID, "");
static_assert(MODEL_SET_SIZE == H2_SET_SIZE, "");
static_assert(MODEL_SET_ATIME == H2_SET_ATIME, "");
static_assert(MODEL_SET_MTIME == H2_SET_MTIME, "");
static_assert(MODEL_SET_CTIME == H2_SET_CTIME, "");
static_assert(MODEL_SET_UFLAGS == H2_SET_UFLAGS, "");
static_assert(MODEL_SET_COMP == H2_SET_COMP, "");
static_assert(MODEL_SET_CHECK == H2_SET_CHECK, "");
static_assert(MODEL_SET_BTIME == H2_SET_BTIME, "");

struct backend {
	struct backend_options options;
	unsigned count;
	uint64_t sizes[H2_VOLUMES_MAX];
	char *paths[H2_VOLUMES_MAX]; /* image files */
	struct h2_sim *sims[H2_VOLUMES_MAX];
	struct h2_volumes *volumes;
	struct h2_fs *fs; /* NULL: closed */
	struct h2_pfs *pfs;
	unsigned findings; /* printed */
	bool fresh;        /* an image was loaded, and not looked at yet */
	uint64_t warnings; /* that it had then */
};

/* ---- the whole ---- */

static void h2b_report(void *user, const struct h2_report *r)
{
	struct backend *b = user;

	if (r->severity == H2_NOTE && !b->options.verbose)
		return;
	if (__atomic_add_fetch(&b->findings, 1, __ATOMIC_RELAXED) > 20)
		return;
	fprintf(stderr, "%s: %s: %s",
		r->severity == H2_FAULT     ? "fault"
		: r->severity == H2_WARNING ? "warning"
					    : "note",
		r->code ? r->code : "", r->object ? r->object : "volume");
	if (r->path)
		fprintf(stderr, ", %s", r->path);
	if (r->flags & H2_REPORT_HAS_INUM)
		fprintf(stderr, ", inode %" PRIu64, r->inum);
	if (r->flags & H2_REPORT_HAS_KEY)
		fprintf(stderr, ", key %#" PRIx64, r->key);
	if (r->flags & H2_REPORT_HAS_MEDIA)
		fprintf(stderr, ", at %#" PRIx64, r->media);
	fprintf(stderr, ": %s", r->message ? r->message : "");
	if (r->flags & H2_REPORT_HAS_VALUES)
		fprintf(stderr, "; %s found %#" PRIx64 ", expected %#" PRIx64,
			r->member ? r->member : "", r->found, r->expected);
	fputc('\n', stderr);
}

static void h2b_free(struct backend *b)
{
	for (unsigned i = 0; i < b->count; i++) {
		h2_sim_free(b->sims[i]);
		free(b->paths[i]);
	}
	free(b);
}

static int h2b_new(const struct backend_options *options, struct backend **bp)
{
	struct backend *b = calloc(1, sizeof(*b));
	uint64_t left = options->size;

	if (!b)
		return -ENOMEM;
	b->options = *options;
	b->count = options->volumes ? options->volumes : 1;
	for (unsigned i = 0; i + 1 < b->count; i++) {
		if (left < 2 * VOLUME_UNIT) {
			fprintf(stderr, "%u volumes want at least %u GiB\n", b->count, b->count);
			free(b);
			return -EINVAL;
		}
		b->sizes[i] = VOLUME_UNIT;
		left -= VOLUME_UNIT;
	}
	b->sizes[b->count - 1] = left;
	for (unsigned i = 0; options->path && i < b->count; i++) {
		int n = i ? asprintf(&b->paths[i], "%s.%u", options->path, i)
			  : asprintf(&b->paths[i], "%s", options->path);

		if (n < 0)
			abort();
	}
	*bp = b;
	return 0;
}

static void make_uuid(void *user, struct h2_uuid *uuid)
{
	for (unsigned i = 0; i < sizeof(uuid->bytes); i++)
		uuid->bytes[i] = (uint8_t)random_next(user);
}

static int format_files(struct backend *b, const struct h2_mkfs_plan *plan,
			const struct h2_mkfs_options *options)
{
	struct h2_mkfs_target targets[H2_VOLUMES_MAX] = {0};

	for (unsigned i = 0; i < b->count; i++) {
		targets[i].path = b->paths[i];
		targets[i].create = true;
		targets[i].size = b->sizes[i];
	}
	return h2_mkfs_write(plan, options, targets);
}

/* Open the simulated disks. */
static int open_sims(struct backend *b, struct h2_sim *const *sims, bool writable,
		     struct h2_device **devices)
{
	for (unsigned i = 0; i < b->count; i++) {
		int err = h2_sim_open(sims[i], writable, &devices[i]);

		if (err) {
			while (i-- > 0)
				h2_device_close(devices[i]);
			return err;
		}
	}
	return 0;
}

static int format_sims(struct backend *b, const struct h2_mkfs_plan *plan,
		       const struct h2_mkfs_options *options)
{
	struct h2_device *devices[H2_VOLUMES_MAX];
	int err;

	for (unsigned i = 0; i < b->count; i++) {
		h2_sim_free(b->sims[i]);
		b->sims[i] = h2_sim_new(b->sizes[i]);
		if (!b->sims[i])
			return -ENOMEM;
	}
	err = open_sims(b, b->sims, true, devices);
	if (err)
		return err;
	err = h2_mkfs_devices(plan, options, devices);
	for (unsigned i = 0; i < b->count; i++)
		h2_device_close(devices[i]);
	return err;
}

/* Let the disk hold what an image file holds. */
static int load_image(struct backend *b)
{
	int fd = open(b->options.from, O_RDONLY);
	uint8_t *bytes = malloc(MIB);
	off_t at = 0;
	ssize_t n;
	int err = 0;

	if (fd < 0 || !bytes) {
		err = fd < 0 ? -errno : -ENOMEM;
		goto out;
	}
	h2_sim_free(b->sims[0]);
	b->sims[0] = h2_sim_new(b->sizes[0]);
	if (!b->sims[0])
		err = -ENOMEM;
	while (!err && (at = lseek(fd, at, SEEK_DATA)) >= 0) {
		n = pread(fd, bytes, MIB, at);
		if (n <= 0)
			err = n < 0 ? -errno : -EIO;
		/* Only what is not zero, so that a large image takes little memory. */
		for (ssize_t from = 0; from < n && !err; from += PAGE) {
			size_t len = (size_t)(n - from < PAGE ? n - from : PAGE);

			if (bytes[from] || memcmp(bytes + from, bytes + from + 1, len - 1))
				err = h2_sim_poke(b->sims[0], (uint64_t)(at + from), bytes + from,
						  len);
		}
		at += n;
	}
	if (!err && errno != ENXIO) /* behind the last data */
		err = -errno;
out:
	if (fd >= 0)
		close(fd);
	free(bytes);
	return err;
}

static int h2b_format(struct backend *b, uint64_t seed)
{
	const char *labels[] = {b->options.label ? b->options.label : LABEL};
	struct random r = {seed};
	struct h2_mkfs_options options = {
		.label_count = 1,
		.labels = labels,
		.comp_algo = -1,
		.check_algo = -1,
		.time_us = UINT64_C(1700000000000000),
		.uuid = make_uuid,
		.uuid_user = &r,
		.report = h2b_report,
		.report_user = b,
	};
	struct h2_mkfs_plan plan;
	int err;

	if (b->options.from) {
		b->fresh = true;
		return load_image(b);
	}
	if (b->options.size < SMALL_VOLUME)
		options.boot_bytes = options.aux_bytes = 8 * MIB;
	err = h2_mkfs_plan(b->sizes, b->count, &options, &plan);
	if (err)
		return err;
	return b->paths[0] ? format_files(b, &plan, &options) : format_sims(b, &plan, &options);
}

static int open_volumes(struct backend *b, struct h2_sim *const *sims, bool write,
			struct h2_volumes **volumes)
{
	struct h2_volumes_options options = {
		.write = write,
		.report = h2b_report,
		.report_user = b,
	};
	struct h2_device *devices[H2_VOLUMES_MAX];
	int err;

	if (!sims[0])
		return h2_volumes_open((const char *const *)b->paths, b->count, &options, volumes);
	err = open_sims(b, sims, write, devices);
	return err ? err : h2_volumes_assemble(devices, b->count, &options, volumes);
}

static int h2b_open(struct backend *b)
{
	struct h2_fs_options options = {
		.cache_bytes = b->options.cache,
		.report = h2b_report,
		.report_user = b,
		.write = true,
		.dirty_bytes = b->options.dirty,
		.commit_seconds = b->options.commit,
		.no_dedup = b->options.no_dedup,
	};
	int err = open_volumes(b, b->sims, true, &b->volumes);

	if (err)
		return err;
	err = h2_fs_open(b->volumes, &options, &b->fs);
	if (!err) {
		err = h2_pfs_open(b->fs, b->options.label ? b->options.label : LABEL, &b->pfs);
		if (err)
			(void)h2_fs_close(b->fs); /* the first error is told */
	}
	if (err) {
		h2_volumes_close(b->volumes);
		b->fs = NULL;
	}
	return err;
}

static int h2b_close(struct backend *b)
{
	int err;

	h2_pfs_put(b->pfs);
	err = h2_fs_close(b->fs);
	h2_volumes_close(b->volumes);
	b->fs = NULL;
	return err;
}

/* Check the disks as they are. */
static int check_volumes(struct backend *b, struct h2_sim *const *sims,
			 struct backend_counts *counts)
{
	struct h2_check_options options = {
		.threads = 1,
		.report = h2b_report,
		.report_user = b,
	};
	struct h2_check_summary s;
	struct h2_volumes *volumes;
	int err = open_volumes(b, sims, false, &volumes);

	if (err)
		return err;
	err = h2_check_run(volumes, &options, &s);
	h2_volumes_close(volumes);
	if (err)
		return err;
	counts->exact = s.pfs_count <= 2; /* LOCAL is empty */
	counts->directories = s.directories;
	counts->files = s.files;
	counts->symlinks = s.symlinks;
	counts->others = s.others;
	if (b->fresh) /* what an image had before we came is not our doing */
		b->warnings = s.warnings;
	b->fresh = false;
	return s.faults || s.warnings > b->warnings ? -EBADMSG : 0;
}

static enum h2_sim_fate all_lost(void *user, size_t i, uint64_t offset, size_t len,
				 unsigned *sector_size, bool *keep)
{
	(void)user, (void)i, (void)offset, (void)len, (void)sector_size, (void)keep;
	return H2_SIM_LOST;
}

static int h2b_check(struct backend *b, struct backend_counts *counts)
{
	b->findings = 0;
	return check_volumes(b, b->sims, counts);
}

static int h2b_crash_copy(struct backend *b, uint64_t seed, struct backend **copyp)
{
	struct backend *copy;

	if (b->paths[0])
		return -EOPNOTSUPP;
	copy = malloc(sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	*copy = *b;
	copy->fs = NULL;
	for (unsigned i = 0; i < b->count; i++) {
		copy->sims[i] = h2_sim_clone(b->sims[i]);
		if (!copy->sims[i]) {
			copy->count = i;
			h2b_free(copy);
			return -ENOMEM;
		}
		if (seed)
			h2_sim_cut_random(copy->sims[i], seed + i);
		else
			h2_sim_cut(copy->sims[i], all_lost, NULL);
	}
	*copyp = copy;
	return 0;
}

static int h2b_sync(struct backend *b)
{
	return h2_fs_sync(b->fs);
}

static unsigned h2b_room(struct backend *b)
{
	struct h2_fs_stats stats;

	h2_fs_get_stats(b->fs, &stats);
	return stats.total_bytes ? (unsigned)(stats.free_bytes * 1000 / stats.total_bytes) : 0;
}

/* ---- names and attributes ---- */

static int h2b_root(struct backend *b, void **node)
{
	return h2_inode_get(b->pfs, H2_INUM_ROOT, (struct h2_inode **)node);
}

static int h2b_get(struct backend *b, uint64_t inum, void **node)
{
	return h2_inode_get(b->pfs, inum, (struct h2_inode **)node);
}

static int h2b_path(struct backend *b, const char *path, void **node)
{
	return h2_path_lookup(b->pfs, path, (struct h2_inode **)node);
}

static void h2b_put(struct backend *b, void *node)
{
	(void)b;
	h2_inode_put(node);
}

static void entry_from(const struct h2_dirent *from, struct backend_entry *ent)
{
	ent->inum = from->inum;
	ent->type = from->type;
	ent->name_len = from->name_len;
	memcpy(ent->name, from->name, from->name_len);
	ent->cookie = from->key == UINT64_MAX ? 0 : from->key + 1;
}

static int h2b_lookup(struct backend *b, void *dir, const char *name, size_t len,
		      struct backend_entry *ent, void **node)
{
	struct h2_dirent found;
	int err = h2_dir_lookup(dir, name, len, &found);

	(void)b;
	if (err)
		return err;
	entry_from(&found, ent);
	return node ? h2_dirent_get(dir, &found, (struct h2_inode **)node) : 0;
}

static int h2b_attr(struct backend *b, void *node, struct backend_attr *attr)
{
	struct h2_inode_meta meta;
	struct h2_attr a;

	(void)b;
	h2_inode_attr(node, &a);
	h2_inode_get_meta(node, &meta);
	*attr = (struct backend_attr){
		.inum = a.inum,
		.size = a.size,
		.type = meta.type,
		.mode = a.mode & 07777,
		.nlink = a.nlink,
		.uid = a.uid,
		.gid = a.gid,
		.rmajor = a.rmajor,
		.rminor = a.rminor,
		.atime = a.atime_us,
		.mtime = a.mtime_us,
		.ctime = a.ctime_us,
		.btime = a.btime_us,
		.uflags = a.uflags,
		.comp_algo = meta.comp_algo,
		.check_algo = meta.check_algo,
	};
	return 0;
}

static int h2b_parent(struct backend *b, void *dir, uint64_t *inum)
{
	(void)b;
	*inum = h2_dir_parent(dir);
	return 0;
}

static struct h2_new to_new(const struct model_new *n)
{
	return (struct h2_new){
		.type = n->type,
		.mode = n->mode,
		.uid = n->uid,
		.gid = n->gid,
		.rmajor = n->rmajor,
		.rminor = n->rminor,
		.target = n->target,
		.target_len = n->target_len,
		.comp_algo = n->comp_algo < 0 ? H2_INHERIT : n->comp_algo,
		.check_algo = n->check_algo < 0 ? H2_INHERIT : n->check_algo,
	};
}

static int h2b_create(struct backend *b, void *dir, const char *name, size_t len,
		      const struct model_new *new_, void **node)
{
	struct h2_new n = to_new(new_);

	(void)b;
	return h2_create(dir, name, len, &n, (struct h2_inode **)node);
}

static int h2b_create_unnamed(struct backend *b, void *dir, const struct model_new *new_,
			      void **node)
{
	struct h2_new n = to_new(new_);

	(void)b;
	return h2_create_unnamed(dir, &n, (struct h2_inode **)node);
}

static int h2b_link(struct backend *b, void *dir, const char *name, size_t len, void *node)
{
	(void)b;
	return h2_link(dir, name, len, node);
}

static int h2b_unlink(struct backend *b, void *dir, const char *name, size_t len, void **gone)
{
	(void)b;
	return h2_unlink(dir, name, len, (struct h2_inode **)gone);
}

static int h2b_rmdir(struct backend *b, void *dir, const char *name, size_t len, void **gone)
{
	(void)b;
	return h2_rmdir(dir, name, len, (struct h2_inode **)gone);
}

static int h2b_rename(struct backend *b, void *from_dir, const char *from, size_t from_len,
		      void *to_dir, const char *to, size_t to_len, unsigned flags, void **gone)
{
	(void)b;
	return h2_rename(from_dir, from, from_len, to_dir, to, to_len, flags,
			 (struct h2_inode **)gone);
}

static int h2b_set(struct backend *b, void *node, const struct model_set *set)
{
	struct h2_set_attr s = {
		.valid = set->valid,
		.mode = set->mode,
		.uid = set->uid,
		.gid = set->gid,
		.size = set->size,
		.atime_us = set->atime,
		.mtime_us = set->mtime,
		.ctime_us = set->ctime,
		.btime_us = set->btime,
		.uflags = set->uflags,
		.comp_algo = set->comp_algo,
		.check_algo = set->check_algo,
	};

	(void)b;
	return h2_inode_set_attr(node, &s);
}

/* ---- file contents ---- */

static ssize_t h2b_read(struct backend *b, void *node, uint64_t offset, void *buf, size_t len)
{
	(void)b;
	return h2_file_read(node, offset, buf, len);
}

static ssize_t h2b_write(struct backend *b, void *node, uint64_t offset, const void *buf,
			 size_t len, unsigned flags)
{
	(void)b;
	return h2_file_write(node, offset, buf, len, flags);
}

static int h2b_allocate(struct backend *b, void *node, unsigned mode, uint64_t offset, uint64_t len)
{
	(void)b;
	return h2_file_allocate(node, mode, offset, len);
}

static ssize_t h2b_copy(struct backend *b, void *from, uint64_t from_offset, void *to,
			uint64_t to_offset, size_t len)
{
	(void)b;
	return h2_file_copy(from, from_offset, to, to_offset, len);
}

static int h2b_next_data(struct backend *b, void *node, uint64_t offset, uint64_t *start,
			 uint64_t *end)
{
	(void)b;
	return h2_file_next_data(node, offset, 0, start, end);
}

static ssize_t h2b_readlink(struct backend *b, void *node, char *buf, size_t size)
{
	(void)b;
	return h2_symlink_read(node, buf, size);
}

/* ---- scans ---- */

static int h2b_scan_new(struct backend *b, void *dir, uint64_t cookie, void **scan)
{
	(void)b;
	return h2_dir_scan_new(dir, cookie, (struct h2_dir_scan **)scan);
}

static int h2b_scan_next(struct backend *b, void *scan, struct backend_entry *ent)
{
	struct h2_dirent found;
	int err = h2_dir_scan_next(scan, &found);

	(void)b;
	if (err == 0)
		entry_from(&found, ent);
	return err;
}

static void h2b_scan_free(struct backend *b, void *scan)
{
	(void)b;
	h2_dir_scan_free(scan);
}

const struct backend_ops backend_hammer2 = {
	.name = "hammer2",
	.can = CAN_OWNER | CAN_BY_NUMBER | CAN_BY_PATH | CAN_ALGORITHMS | CAN_UFLAGS | CAN_FORBID |
	       CAN_ALL_TIMES | CAN_ATIME | CAN_BTIME | CAN_BAD_NAMES | CAN_ANY_TYPE | CAN_HUGE |
	       CAN_EXCHANGE | CAN_ORPHANS | CAN_COUNT | CAN_NOT_REUSE | CAN_JOIN,
	.new = h2b_new,
	.free = h2b_free,
	.format = h2b_format,
	.open = h2b_open,
	.close = h2b_close,
	.check = h2b_check,
	.crash_copy = h2b_crash_copy,
	.sync = h2b_sync,
	.room = h2b_room,
	.root = h2b_root,
	.get = h2b_get,
	.path = h2b_path,
	.put = h2b_put,
	.lookup = h2b_lookup,
	.attr = h2b_attr,
	.parent = h2b_parent,
	.create = h2b_create,
	.create_unnamed = h2b_create_unnamed,
	.link = h2b_link,
	.unlink = h2b_unlink,
	.rmdir = h2b_rmdir,
	.rename = h2b_rename,
	.set = h2b_set,
	.read = h2b_read,
	.write = h2b_write,
	.allocate = h2b_allocate,
	.copy = h2b_copy,
	.next_data = h2b_next_data,
	.readlink = h2b_readlink,
	.scan_new = h2b_scan_new,
	.scan_next = h2b_scan_next,
	.scan_free = h2b_scan_free,
};
