/* Listings with attributes: of a huge directory, only a part of the inodes is read for them. */
#include "filesystem.h"

#define NAMES 1000u

static void make_names(struct volume *v)
{
	const struct h2_new new_ = {
		.type = H2_OBJECT_FILE,
		.mode = 0644,
		.comp_algo = H2_INHERIT,
		.check_algo = H2_INHERIT,
	};
	struct h2_pfs *pfs;
	struct h2_inode *root, *inode;

	make_volume(v, 1 * GIB);
	assert_int_equal(h2_pfs_open(v->fs, "DATA", &pfs), 0);
	assert_int_equal(h2_inode_get(pfs, H2_INUM_ROOT, &root), 0);
	for (unsigned i = 0; i < NAMES; i++) {
		char name[16];
		int len = snprintf(name, sizeof(name), "%u", i);

		assert_int_equal(h2_create(root, name, (size_t)len, &new_, &inode), 0);
		h2_inode_put(inode);
	}
	h2_inode_put(root);
	h2_pfs_put(pfs);
	close_fs(v);
}

/* How many of the names came with their inode; inum is set to that of one that did not. */
static unsigned list(struct h2_pfs *pfs, uint64_t *inum)
{
	struct h2_dir_scan *scan;
	struct h2_dirent ent;
	struct h2_inode *root, *inode;
	unsigned names = 0, got = 0;
	int err;

	assert_int_equal(h2_inode_get(pfs, H2_INUM_ROOT, &root), 0);
	assert_int_equal(h2_dir_scan_new(root, 0, &scan), 0);
	for (; (err = h2_dir_scan_next(scan, &ent)) == 0; names++) {
		err = h2_dirent_get_listed(root, &ent, &inode);
		if (err == 0) {
			assert_int_equal(h2_inode_meta(inode)->inum, ent.inum);
			got++;
			h2_inode_put(inode);
		} else {
			assert_int_equal(err, -EAGAIN);
			*inum = ent.inum;
		}
	}
	assert_int_equal(err, 1);
	assert_int_equal(names, NAMES);
	h2_dir_scan_free(scan);
	h2_inode_put(root);
	return got;
}

static void reads_no_more_than_its_share(void **state)
{
	struct volume *v = *state;
	struct h2_pfs *pfs;
	struct h2_inode *inode;
	uint64_t inum;
	unsigned first, second;

	v->cache_bytes = 1 << 20;
	make_names(v);
	open_fs(v);
	assert_int_equal(h2_pfs_open(v->fs, "DATA", &pfs), 0);
	first = list(pfs, &inum);
	assert_in_range(first, 1, (1 << 20) / 8 / H2_INODE_BYTES);
	/* What is in memory is told in any case, and a new listing has a share of its own. */
	assert_int_equal(h2_inode_get(pfs, inum, &inode), 0);
	second = list(pfs, &inum);
	assert_in_range(second, first + 1, 2 * first + 1);
	h2_inode_put(inode);
	h2_pfs_put(pfs);
	close_fs(v);
	expect_sound(v);
}

static void reads_all_of_a_common_directory(void **state)
{
	struct volume *v = *state;
	struct h2_pfs *pfs;
	uint64_t inum;

	make_names(v);
	open_fs(v);
	assert_int_equal(h2_pfs_open(v->fs, "DATA", &pfs), 0);
	assert_int_equal(list(pfs, &inum), NAMES);
	h2_pfs_put(pfs);
	close_fs(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(reads_no_more_than_its_share, setup, teardown),
		cmocka_unit_test_setup_teardown(reads_all_of_a_common_directory, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
