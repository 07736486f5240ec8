/* Removing inodes by their numbers: only those that have no name. */
#include <stdlib.h>
#include <string.h>

#include "filesystem.h"

static struct h2_inode *make(struct h2_inode *dir, const char *name, uint8_t type)
{
	const struct h2_new new_ = {
		.type = type,
		.mode = 0755,
		.comp_algo = H2_INHERIT,
		.check_algo = H2_INHERIT,
	};
	struct h2_inode *inode;

	assert_int_equal(h2_create(dir, name, strlen(name), &new_, &inode), 0);
	return inode;
}

/* Change all copies of a name that has a block of its own; undone by the same call. */
static void damage_name(struct volume *v, const char *name, uint64_t size)
{
	size_t len = strlen(name);
	uint8_t *block = malloc(H2_GRANULE);
	unsigned found = 0;

	assert_non_null(block);
	for (uint64_t at = 0; at < size; at += H2_GRANULE) {
		h2_sim_peek(v->disks.sims[0], at, block, H2_GRANULE);
		for (size_t i = 0; i < H2_GRANULE; i += 1024) {
			if (memcmp(block + i + 1, name + 1, len - 1) != 0)
				continue;
			block[i] ^= 1;
			assert_int_equal(h2_sim_poke(v->disks.sims[0], at + i, block + i, 1), 0);
			found++;
		}
	}
	assert_true(found > 0);
	free(block);
}

static void what_has_a_name_is_refused_whatever_is_wrong_above(void **state)
{
	struct volume *v = *state;
	struct h2_inode *root, *dir, *file;
	struct h2_pfs *pfs;
	char name[101];
	uint64_t inum;

	memset(name, 'n', 100);
	name[100] = '\0';
	make_volume(v, 64 * MIB);
	pfs = open_pfs(v, "DATA");
	assert_int_equal(h2_inode_get(pfs, H2_INUM_ROOT, &root), 0);
	dir = make(root, name, H2_OBJECT_DIRECTORY);
	file = make(dir, "file", H2_OBJECT_FILE);
	inum = h2_inode_meta(file)->inum;
	assert_int_equal(h2_file_write(file, 0, "text", 4, 0), 4);
	h2_inode_put(file);
	h2_inode_put(dir);
	h2_inode_put(root);
	assert_int_equal(h2_destroy_inode(pfs, inum), -EEXIST);
	h2_pfs_put(pfs);
	close_fs(v);
	damage_name(v, name, 64 * MIB);
	open_fs(v);
	pfs = open_pfs(v, "DATA");
	assert_int_equal(h2_destroy_inode(pfs, inum), -EEXIST);
	h2_pfs_put(pfs);
	close_fs(v);
	damage_name(v, name, 64 * MIB);
	open_fs(v);
	pfs = open_pfs(v, "DATA");
	assert_int_equal(h2_inode_get(pfs, inum, &file), 0);
	assert_int_equal(h2_inode_meta(file)->nlinks, 1);
	h2_inode_put(file);
	h2_pfs_put(pfs);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_has_a_name_is_refused_whatever_is_wrong_above),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
