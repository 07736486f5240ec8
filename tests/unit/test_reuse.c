/*
 * Storage is not used again while a header copy leads to it: with four copies, and with the lowest
 * free place taken always, so that what is free is used at once. That older copies lead to what they
 * did is checked by h2_check_run(), data and all.
 */
#include "filesystem.h"

static void start(struct volume *v)
{
	v->pack = true;
	v->dirty_bytes = 256 << 10; /* contents go to the media long before their commit */
	make_volume(v, 8 * GIB);
}

static void dropped_by_changes(void **state)
{
	struct volume *v = *state;

	start(v);
	for (unsigned i = 0; i < 12; i++) {
		put(v, "DATA", "file", i * 100, 20);
		assert_int_equal(h2_fs_sync(v->fs), 0);
		crash(v);
		/* As it is, without the commits of closing. */
		h2_fs_abandon(v->fs);
		v->fs = NULL;
		disks_close(&v->disks);
		expect_sound(v);
		open_fs(v);
	}
}

static void dropped_within_one_mount(void **state)
{
	struct volume *v = *state;

	for (unsigned commits = 1; commits < 10; commits++) {
		start(v);
		for (unsigned i = 0; i < commits; i++) {
			put(v, "DATA", "file", i * 100, 20);
			assert_int_equal(h2_fs_sync(v->fs), 0);
		}
		put(v, "DATA", "lost", 9000, 60);
		h2_fs_abandon(v->fs);
		v->fs = NULL;
		disks_close(&v->disks);
		expect_sound(v);
		disks_free(&v->disks);
	}
	start(v);
}

/* What only older copies still lead to is free after a scan, but not yet. */
static void freed_by_a_scan(void **state)
{
	struct volume *v = *state;

	for (unsigned commits = 0; commits < 8; commits++) {
		struct h2_pfs *pfs;
		struct h2_inode *root;

		start(v);
		put(v, "DATA", "file", 1, 50);
		put(v, "DATA", "other", 100, 50);
		close_fs(v);
		open_fs(v);
		/* From here on only a scan can tell. */
		pfs = open_pfs(v, "DATA");
		assert_int_equal(h2_inode_get(pfs, H2_INUM_ROOT, &root), 0);
		assert_int_equal(h2_unlink(root, "file", 4, NULL), 0);
		h2_inode_put(root);
		h2_pfs_put(pfs);
		assert_int_equal(h2_fs_bulkfree(v->fs, NULL, NULL), 0);
		for (unsigned i = 0; i < commits; i++) {
			put(v, "DATA", "new", 1000 + i * 100, 60);
			assert_int_equal(h2_fs_sync(v->fs), 0);
		}
		put(v, "DATA", "lost", 9000, 60);
		h2_fs_abandon(v->fs);
		v->fs = NULL;
		disks_close(&v->disks);
		expect_sound(v);
		disks_free(&v->disks);
	}
	start(v);
}

#define REUSE_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		REUSE_TEST(dropped_by_changes),
		REUSE_TEST(dropped_within_one_mount),
		REUSE_TEST(freed_by_a_scan),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
