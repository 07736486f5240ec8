/*
 * On a full filesystem every small file can be truncated, in any order: an inode that moves leaves a
 * part of a granule behind, which can be used again only when the inodes beside it move too.
 */
#include "filesystem.h"

#include <hammer2/change.h>

#define NAMES_MAX 200000u

static unsigned fill_with_small_files(struct volume *v, struct h2_pfs *pfs)
{
	const struct h2_new new_ = {
		.type = H2_OBJECT_FILE,
		.mode = 0644,
		.comp_algo = H2_INHERIT,
		.check_algo = H2_INHERIT,
	};
	struct h2_inode *root, *inode;
	unsigned count = 0;
	int err = 0;

	assert_int_equal(h2_inode_get(pfs, H2_INUM_ROOT, &root), 0);
	for (; count < NAMES_MAX; count++) {
		char name[16];
		int len = snprintf(name, sizeof(name), "%u", count);

		err = h2_create(root, name, (size_t)len, &new_, &inode);
		if (err)
			break;
		err = h2_file_write(inode, 0, name, (size_t)len, 0) < 0 ? -ENOSPC : 0;
		h2_inode_put(inode);
		if (err)
			break;
	}
	assert_int_equal(err, -ENOSPC);
	h2_inode_put(root);
	assert_int_equal(h2_fs_sync(v->fs), 0);
	return count;
}

/* The power fails; every header copy still leads to a sound filesystem. */
static void cut_power(struct volume *v, struct h2_pfs **pfs)
{
	h2_pfs_put(*pfs);
	h2_fs_abandon(v->fs);
	v->fs = NULL;
	disks_close(&v->disks);
	expect_sound(v);
	open_fs(v);
	assert_int_equal(h2_pfs_open(v->fs, "DATA", pfs), 0);
}

static void expect_size(struct h2_pfs *pfs, unsigned number, uint64_t size)
{
	struct h2_inode *inode;
	char name[16];

	snprintf(name, sizeof(name), "%u", number);
	assert_int_equal(h2_path_lookup(pfs, name, &inode), 0);
	assert_int_equal(h2_inode_meta(inode)->size, size);
	h2_inode_put(inode);
}

static void truncate_all(struct volume *v, unsigned power_cuts)
{
	struct h2_pfs *pfs;
	unsigned count;
	const struct h2_set_attr empty = {.valid = H2_SET_SIZE, .size = 0};
	uint64_t step = 7919;

	make_volume(v, (uint64_t)48 * MIB);
	assert_int_equal(h2_pfs_open(v->fs, "DATA", &pfs), 0);
	count = fill_with_small_files(v, pfs);
	h2_pfs_put(pfs);
	close_fs(v);
	open_fs(v);
	assert_int_equal(h2_pfs_open(v->fs, "DATA", &pfs), 0);
	while (count % step == 0)
		step += 2;
	for (unsigned i = 0; i < count; i++) {
		struct h2_inode *inode;
		char name[16];
		int err;

		snprintf(name, sizeof(name), "%u", (unsigned)(i * step % count));
		assert_int_equal(h2_path_lookup(pfs, name, &inode), 0);
		err = h2_inode_set_attr(inode, &empty);
		if (err)
			print_message("truncating %u of %u\n", i, count);
		assert_int_equal(err, 0);
		h2_inode_put(inode);
		if (power_cuts > 0 && i % (count / power_cuts) == 1000) {
			assert_int_equal(h2_fs_sync(v->fs), 0);
			cut_power(v, &pfs);
			for (unsigned j = 0; j <= i; j++)
				expect_size(pfs, (unsigned)(j * step % count), 0);
		}
	}
	h2_pfs_put(pfs);
	close_fs(v);
	expect_sound(v);
}

static void every_small_file_can_be_truncated(void **state)
{
	truncate_all(*state, 0);
}

static void nothing_is_lost_when_the_power_fails(void **state)
{
	truncate_all(*state, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_small_file_can_be_truncated, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_is_lost_when_the_power_fails, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
