/*
 * Changing filesystems on damaged and hostile media: what is wrong must meet the operation that
 * comes across it, and nothing that others have written.
 */
#include <unistd.h>

#include "changing.h"

/* BS 15, D1: after that recovery a block in use can be free in the freemap. */
static void dropping_an_old_block_spares_a_newer_one_in_its_place(void **state)
{
	struct fixture *f = *state;
	uint8_t old[H2_GRANULE], buf[H2_GRANULE];
	struct image_block *file;
	struct h2_inode *inode;
	unsigned count;

	fill_random(old, sizeof(old), 1);
	file = image_add_file(f->image, f->root, 1024, H2_OBJECT_FILE, H2_COMP_NONE, old,
			      sizeof(old));
	image_add_dirent(f->image, f->root, "old", 1024, H2_OBJECT_FILE);
	mark_free(f->image, h2_blockref_offset(&file->children[0]->ref));
	open_for_writing(f);
	inode = create(f, "new");
	count = fill(inode, 100);
	assert_true(count > 10);
	h2_inode_put(inode);
	assert_int_equal(h2_fs_sync(f->fs), 0);
	/* Its place was taken, as the freemap allows. */
	inode = find(f, "old");
	assert_int_equal(h2_file_read(inode, 0, buf, sizeof(buf)), -H2_ECHECK);
	assert_int_equal(h2_file_write(inode, 0, old, sizeof(old), 0), sizeof(old));
	h2_inode_put(inode);
	commit_often(f);
	/* What came back, if anything, is used again. */
	inode = create(f, "newest");
	for (uint64_t i = 0; i < 64; i++) {
		fill_random(buf, sizeof(buf), 1000 + i);
		(void)h2_file_write(inode, i * H2_LOGICAL_BLOCK, buf, sizeof(buf), 0);
	}
	h2_inode_put(inode);
	fixture_reopen(f);
	inode = find(f, "new");
	expect_chunks(inode, 100, count);
	h2_inode_put(inode);
}

/*
 * Blocks that lead eightfold to the same block, many levels deep, and claim to be of a group that
 * is still to come.
 */
static void removing_a_tree_that_shares_blocks_ends(void **state)
{
	struct fixture *f = *state;
	struct image_block *inode = image_add_inode(f->image, f->root, 1024, H2_OBJECT_FILE);
	struct image_block *above = inode;

	f->root->ref.mirror_tid = inode->ref.mirror_tid = f->image->tid + 1;
	for (unsigned keybits = 60; keybits >= 18; keybits -= 3) {
		struct image_block *first = NULL;

		for (uint64_t i = 0; i < (above == inode ? 4 : 8); i++) {
			struct image_block *b = image_add_indirect(f->image, above, i << keybits,
								   keybits, 10);

			b->ref.mirror_tid = f->image->tid + 1;
			b->same_as = first;
			first = first ? first : b;
		}
		above = first;
	}
	image_add_dirent(f->image, f->root, "shared", 1024, H2_OBJECT_FILE);
	open_for_writing(f);
	alarm(30);
	unlink_name(f, "shared");
	commit_often(f);
	alarm(0);
}

static int set_mode(struct h2_inode *inode)
{
	struct h2_set_attr set = {.valid = H2_SET_MODE, .mode = 0600};
	int err = h2_inode_set_attr(inode, &set);

	h2_inode_put(inode);
	return err;
}

static void overlapping_index_refuses_the_change_not_the_commit(void **state)
{
	struct fixture *f = *state;
	struct image_block *bad = image_add_indirect(f->image, f->root, 0, 12, 12);
	struct image_block *good = image_add_indirect(f->image, f->root, 8192, 12, 12);
	struct image_block *within = image_add_indirect(f->image, bad, 2048, 4, 12);

	image_add_inode(f->image, bad, 2049, H2_OBJECT_FILE);
	image_add_inode(f->image, within, 2050, H2_OBJECT_FILE);
	image_add_inode(f->image, bad, 3000, H2_OBJECT_FILE);
	image_add_inode(f->image, good, 8200, H2_OBJECT_FILE);
	image_inode(f->root)->pfs_inum = le64_make(9000);
	open_for_writing(f);
	assert_int_equal(set_mode(fixture_inode(f, 3000)), -H2_ECORRUPT);
	assert_int_equal(set_mode(fixture_inode(f, 8200)), 0);
	commit_often(f);
	assert_int_equal(h2_fs_write_state(f->fs), 0);
}

/* The block of the index is damaged after the inode was read. */
static void damaged_index_refuses_the_change_not_the_commit(void **state)
{
	struct fixture *f = *state;
	struct image_block *bad = image_add_indirect(f->image, f->root, 0, 12, 12);
	struct h2_inode *inode;
	uint8_t byte = 0x55;

	image_add_inode(f->image, bad, 1030, H2_OBJECT_FILE);
	image_inode(f->root)->pfs_inum = le64_make(9000);
	f->cache_bytes = 1; /* what is not referenced goes at once */
	open_for_writing(f);
	inode = fixture_inode(f, 1030);
	assert_int_equal(h2_sim_poke(f->image->volumes[0].sim, bad->media + 100, &byte, 1), 0);
	assert_int_equal(set_mode(inode), -H2_ECHECK);
	commit_often(f);
	assert_int_equal(h2_fs_write_state(f->fs), 0);
}

static void older_header_copy_cannot_be_written_on(void **state)
{
	struct fixture *f = *state;
	struct h2_volumes_options options = {.write = true, .header_copy = 1};

	image_seal(f->image);
	assert_int_equal(image_open(f->image, &options, &f->volumes), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(dropping_an_old_block_spares_a_newer_one_in_its_place),
		FIXTURE_TEST(removing_a_tree_that_shares_blocks_ends),
		FIXTURE_TEST(overlapping_index_refuses_the_change_not_the_commit),
		FIXTURE_TEST(damaged_index_refuses_the_change_not_the_commit),
		FIXTURE_TEST(older_header_copy_cannot_be_written_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
