/*
 * Verifying a whole filesystem: all that BS 16.4 asks of an image.
 */
#ifndef HAMMER2_CHECK_H
#define HAMMER2_CHECK_H

#include <hammer2/report.h>
#include <hammer2/volume.h>

#ifdef __cplusplus
extern "C" {
#endif

#define H2_CHECK_MEMORY_DEFAULT ((size_t)256 << 20)

struct h2_check_progress {
	const char *phase;    /* static string */
	uint64_t done_bytes;  /* of blocks read in this phase */
	uint64_t total_bytes; /* about; 0: unknown */
	uint64_t faults;
};

struct h2_check_options {
	unsigned threads;      /* 0: one for each CPU */
	size_t memory_bytes;   /* for tables; 0: H2_CHECK_MEMORY_DEFAULT. More passes with less */
	bool skip_data;        /* do not read file data */
	bool best_header_only; /* do not check the trees of older header copies */
	h2_report_fn *report;  /* receives findings; may be NULL */
	void *report_user;
	/* Called from time to time, in one thread at a time; not 0: stop with -EINTR. May be NULL. */
	int (*progress)(void *user, const struct h2_check_progress *progress);
	void *progress_user;
};

struct h2_check_summary {
	uint64_t faults, warnings, notes;
	uint64_t pfs_count;
	uint64_t header_copies;
	uint64_t inodes, directories, files, symlinks, others; /* in all PFSs */
	uint64_t names;
	uint64_t indirect_blocks, data_blocks, name_blocks, freemap_blocks; /* each counted once */
	uint64_t read_bytes;        /* of blocks whose check codes were compared */
	uint64_t reachable_bytes;   /* in granules of 16 KiB */
	uint64_t unreachable_bytes; /* allocated or staged in the freemap, but not reachable */
	uint64_t free_bytes;
};

/*
 * Check the filesystem on the volumes, opened for reading. Faults are findings, not errors.
 * options may be NULL.
 *
 * Returns 0 when the check ran to its end, whatever it found; -EINTR when progress asked to stop;
 * -ENOMEM; or the error of starting threads. *summary is filled in either way.
 */
int h2_check_run(struct h2_volumes *volumes, const struct h2_check_options *options,
		 struct h2_check_summary *summary);

#ifdef __cplusplus
}
#endif
#endif
