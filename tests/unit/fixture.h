/*
 * A filesystem with one PFS, DATA, for the tests of what stands on the public API: the test builds
 * into f->root, then opens.
 */
#ifndef TESTS_UNIT_FIXTURE_H
#define TESTS_UNIT_FIXTURE_H

#include <hammer2/fs.h>
#include <stdatomic.h>

#include "image.h"
#include "unit.h"

struct fixture {
	struct image *image;
	struct image_block *root; /* of the PFS */
	struct h2_volumes *volumes;
	struct h2_fs *fs;
	struct h2_pfs *pfs;
	atomic_uint reports;
	size_t cache_bytes; /* 0: 1 MiB */
	bool write;         /* open for writing, without deduplication */
	unsigned commit_seconds;
};

static inline void fixture_report(void *user, const struct h2_report *report)
{
	struct fixture *f = user;

	/* What every finding has. */
	if (!report->code || !report->message || report->error > 0)
		abort();
	atomic_fetch_add(&f->reports, 1);
}

static inline int fixture_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	f->image = image_new(NULL);
	f->root = image_add_pfs(f->image, f->image->super_root, "DATA");
	*state = f;
	return 0;
}

/* Close what is open; the image stays and may be altered and opened again. */
static inline void fixture_close(struct fixture *f)
{
	h2_pfs_put(f->pfs);
	h2_fs_close(f->fs);
	h2_volumes_close(f->volumes);
	f->pfs = NULL;
	f->fs = NULL;
	f->volumes = NULL;
}

/* Open what the disk holds up to the filesystem; its error. */
static inline int fixture_reopen_fs(struct fixture *f)
{
	struct h2_fs_options options = {
		.cache_bytes = f->cache_bytes ? f->cache_bytes : 1 << 20,
		.report = fixture_report,
		.report_user = f,
		.write = f->write,
		.no_dedup = true,
		.commit_seconds = f->commit_seconds,
	};
	struct h2_volumes_options volumes_options = {.write = f->write};

	fixture_close(f);
	atomic_store(&f->reports, 0);
	assert_int_equal(image_open(f->image, &volumes_options, &f->volumes), 0);
	return h2_fs_open(f->volumes, &options, &f->fs);
}

/* Seal, and open up to the filesystem; its error. */
static inline int fixture_open_fs(struct fixture *f)
{
	fixture_close(f);
	image_seal(f->image);
	return fixture_reopen_fs(f);
}

static inline void fixture_open(struct fixture *f)
{
	assert_int_equal(fixture_open_fs(f), 0);
	assert_int_equal(h2_pfs_open(f->fs, "DATA", &f->pfs), 0);
}

/* Open what was written since the image was sealed. */
static inline void fixture_reopen(struct fixture *f)
{
	assert_int_equal(fixture_reopen_fs(f), 0);
	assert_int_equal(h2_pfs_open(f->fs, "DATA", &f->pfs), 0);
}

static inline int fixture_teardown(void **state)
{
	struct fixture *f = *state;

	fixture_close(f);
	image_free(f->image);
	free(f);
	return 0;
}

static inline struct h2_inode *fixture_inode(struct fixture *f, uint64_t inum)
{
	struct h2_inode *inode = NULL;

	assert_int_equal(h2_inode_get(f->pfs, inum, &inode), 0);
	return inode;
}

#define FIXTURE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

#endif
