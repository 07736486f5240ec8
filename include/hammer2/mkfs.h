/*
 * Making a HAMMER2 filesystem: the layout of MF 11.6 and BS 1.
 */
#ifndef HAMMER2_MKFS_H
#define HAMMER2_MKFS_H

#include <hammer2/report.h>
#include <hammer2/types.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

#define H2_MKFS_LABELS_MAX 4u /* with LOCAL: their blockrefs stand in the super-root itself */

/* Fills in a UUID; called for the filesystem first, then two by two for super-root and labels. */
typedef void h2_uuid_fn(void *user, struct h2_uuid *uuid);

struct h2_mkfs_options {
	unsigned version;          /* 1 or 2; 0: 2 */
	unsigned label_count;      /* besides LOCAL, which every filesystem has: 0 to 3 */
	const char *const *labels; /* each 1 to 255 bytes, without '@', ':' and '/' */
	uint64_t boot_bytes;       /* 8 to 256 MiB, a multiple of 8 MiB; 0: by the size, MF 11.6 */
	uint64_t aux_bytes;        /* 8 MiB to 1 GiB, a multiple of 8 MiB; 0: by the size */
	int comp_algo;    /* of new PFSs: level << 4 | algorithm; -1: LZ4, for BOOT AUTOZERO */
	int check_algo;   /* of new PFSs: enum h2_check_algo; -1: XXHASH64 */
	uint64_t time_us; /* of creation, since 1970 */
	h2_uuid_fn *uuid; /* must not give the same value twice */
	void *uuid_user;
	h2_report_fn *report; /* says why something is refused; may be NULL */
	void *report_user;
};

/* Where everything goes. */
struct h2_mkfs_plan {
	unsigned version;
	unsigned volume_count;
	uint64_t volume_sizes[H2_VOLUMES_MAX]; /* bytes, rounded as MF 2.7 asks */
	uint64_t total_bytes;
	uint64_t reserved_bytes;
	uint64_t boot_bytes, aux_bytes;
	uint64_t free_bytes;                    /* allocator_size */
	uint64_t allocator_beg;                 /* storage offset */
	unsigned label_count;                   /* with LOCAL, which is the first */
	const char *labels[H2_MKFS_LABELS_MAX]; /* borrowed from the options */
	struct h2_uuid fsid;
	struct h2_uuid super_clid, super_fsid;
	struct h2_uuid clids[H2_MKFS_LABELS_MAX], fsids[H2_MKFS_LABELS_MAX];
};

/*
 * Plan a filesystem on count devices of these sizes (bytes). Nothing is opened or written.
 *
 * Returns 0; -EINVAL where an option is out of its bounds; -ENOSPC where the devices are too small.
 */
int h2_mkfs_plan(const uint64_t *sizes, unsigned count, const struct h2_mkfs_options *options,
		 struct h2_mkfs_plan *plan);

struct h2_mkfs_target {
	const char *path; /* a regular file or block device; its first volume is the root volume */
	bool create;      /* make the file, or cut it or let it grow, to exactly size bytes */
	uint64_t size;    /* with create: bytes */
};

/*
 * Make the planned filesystem on the devices, as many as the plan has, in its order; what they
 * hold is lost. All of them are opened exclusively before anything is written. A crash leaves
 * either no filesystem or a whole one.
 *
 * Returns 0; -EBUSY where a device is in use; or what opening, reading, writing or flushing gave.
 * A finding says which device.
 */
int h2_mkfs_write(const struct h2_mkfs_plan *plan, const struct h2_mkfs_options *options,
		  const struct h2_mkfs_target *targets);

#ifdef __cplusplus
}
#endif
#endif
