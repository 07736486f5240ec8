/* Verifying what is left; see verify.h. */
#include "verify.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <hammer2/check.h>

#include "must.h"
#include "volumes.h"

#define CHECK_MEMORY_BYTES ((size_t)16 << 20)
#define CACHE_BYTES ((size_t)4 << 20)

static void fail(struct outcome *o, char *problem)
{
	if (o->problem)
		free(problem);
	else
		o->problem = problem;
}

/* Findings that are worth a warning are too much, but for copies of the header. */
static void report(void *user, const struct h2_report *r)
{
	struct outcome *o = user;
	uint64_t slot = r->media / H2_HEADER_SPACING;

	if (r->severity == H2_NOTE || strcmp(r->code, "header-copy") == 0 ||
	    strcmp(r->code, "header-backup") == 0)
		return;
	if ((strcmp(r->code, "header-damaged") == 0 || strcmp(r->code, "header-missing") == 0) &&
	    r->media % H2_HEADER_SPACING == 0 && slot < H2_HEADER_COPIES_MAX)
		o->damaged |= 1u << slot;
	else
		fail(o, report_text(r));
}

static void check(struct h2_volumes *volumes, struct outcome *o)
{
	struct h2_check_options options = {
		.threads = 1,
		.memory_bytes = CHECK_MEMORY_BYTES,
		.report = report,
		.report_user = o,
	};
	struct h2_check_summary summary;
	int err = h2_check_run(volumes, &options, &summary);

	if (err)
		fail(o, must_print("checking fails: %s", strerror(-err)));
}

static void read_tree(struct h2_volumes *volumes, const struct setup *setup, struct tree *tree,
		      struct outcome *o)
{
	struct h2_fs_options options = {
		.cache_bytes = CACHE_BYTES,
		.report = report,
		.report_user = o,
		.write = true,
		.no_dedup = true,
		.no_threads = true,
	};
	struct h2_fs *fs;
	char *problem;
	int err = h2_fs_open(volumes, &options, &fs);

	if (err) {
		fail(o, must_print("opening fails: %s", strerror(-err)));
		return;
	}
	problem = session_read_tree(fs, setup, tree);
	if (problem)
		fail(o, problem);
	o->hash = tree->hash;
	err = h2_fs_close(fs);
	if (err)
		fail(o, must_print("closing fails: %s", strerror(-err)));
}

/* MF 12.4: nobody may have to mend the freemap. */
static void check_header(const struct h2_volume_header *header, struct outcome *o)
{
	if (header->freemap_tid != header->mirror_tid)
		fail(o, must_print("freemap_tid %" PRIu64 ", mirror_tid %" PRIu64,
				   header->freemap_tid, header->mirror_tid));
}

void verify(const struct setup *setup, struct layer *scratch, struct page_list *reads, bool *wrote,
	    struct tree *tree, struct outcome *outcome)
{
	struct h2_volumes_options options = {
		.write = true,
		.report = report,
		.report_user = outcome,
	};
	struct h2_device *devices[DISK_VOLUMES_MAX];
	struct h2_volumes *volumes;
	struct tree own = {0};
	struct disk disk;
	int err;

	*outcome = (struct outcome){0};
	disk_init(&disk, setup->sizes, setup->volume_count, scratch);
	disk.reads = reads;
	disk_open(&disk, devices);
	err = h2_volumes_assemble(devices, disk.count, &options, &volumes);
	outcome->opened = err == 0;
	if (!err) {
		check_header(h2_volumes_header(volumes), outcome);
		check(volumes, outcome);
		if (!outcome->problem)
			read_tree(volumes, setup, tree ? tree : &own, outcome);
		h2_volumes_close(volumes);
	} else {
		fail(outcome, must_print("opening the volumes fails: %s", strerror(-err)));
	}
	*wrote = disk.writes > 0;
	tree_fini(&own);
	disk_fini(&disk);
}

void outcome_fini(struct outcome *outcome)
{
	free(outcome->problem);
	*outcome = (struct outcome){0};
}
