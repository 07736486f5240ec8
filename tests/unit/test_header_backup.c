/*
 * Volumes with a single header copy outlive a torn write of it: doc/FORMAT.md. Each case fails one
 * flush of a commit, so that the write before it is pending, and cuts the power with it torn.
 */
#include <hammer2/check.h>

#include "changing.h"

struct tear {
	uint64_t offset; /* of the write that is torn */
	unsigned sector;
	unsigned pattern; /* 0: the first half is kept, 1: the second, others: drawn from it */
	bool met;
};

static enum h2_sim_fate tear(void *user, size_t i, uint64_t offset, size_t len,
			     unsigned *sector_size, bool *keep)
{
	struct tear *t = user;
	size_t sectors = len / t->sector;
	uint64_t state = t->pattern * UINT64_C(0x9e3779b97f4a7c15);

	(void)i;
	if (offset != t->offset || len != H2_HEADER_SIZE)
		return H2_SIM_KEPT;
	t->met = true;
	*sector_size = t->sector;
	for (size_t s = 0; s < sectors; s++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		keep[s] = t->pattern == 0   ? s < sectors / 2
			  : t->pattern == 1 ? s >= sectors / 2
					    : state >> 63;
	}
	return H2_SIM_TORN;
}

static bool has_name(struct fixture *f, const char *name)
{
	struct h2_inode *root = fixture_inode(f, H2_INUM_ROOT);
	struct h2_dirent ent;
	int err = h2_dir_lookup(root, name, strlen(name), &ent);

	assert_true(err == 0 || err == -ENOENT);
	h2_inode_put(root);
	return err == 0;
}

/* Commit with the power cut at the flush number flush, the write at offset torn. */
static void commit_torn(struct fixture *f, const char *name, unsigned flush, struct tear *t)
{
	struct h2_sim *sim = f->image->volumes[0].sim;

	h2_inode_put(create(f, name));
	h2_sim_set_fault(sim, H2_SIM_FLUSH, H2_SIM_FAIL, flush, UINT64_MAX, -EIO);
	assert_int_equal(h2_fs_sync(f->fs), -EIO);
	h2_sim_cut(sim, tear, t);
	assert_true(t->met);
	h2_pfs_put(f->pfs);
	h2_fs_abandon(f->fs);
	h2_volumes_close(f->volumes);
	f->pfs = NULL;
	f->fs = NULL;
	f->volumes = NULL;
	h2_sim_set_fault(sim, H2_SIM_FLUSH, H2_SIM_FAIL, 0, 0, 0);
}

static void count_finding(void *user, const struct h2_report *report)
{
	unsigned *count = user;

	if (report->severity != H2_NOTE)
		++*count;
}

static void expect_sound(struct fixture *f)
{
	unsigned findings = 0;
	struct h2_check_options options = {.report = count_finding, .report_user = &findings};
	struct h2_check_summary summary;

	fixture_close(f);
	assert_int_equal(image_open(f->image, NULL, &f->volumes), 0);
	assert_int_equal(h2_check_run(f->volumes, &options, &summary), 0);
	assert_int_equal(findings, 0);
	fixture_close(f);
}

static void torn_at(struct fixture *f, uint64_t offset, unsigned flush, bool may_be_new)
{
	open_for_writing(f);
	h2_inode_put(create(f, "before"));
	for (unsigned pattern = 0; pattern < 40; pattern++) {
		struct tear t = {
			.offset = offset,
			.sector = pattern % 2 ? 512 : 4096,
			.pattern = pattern / 2,
		};
		char name[32];

		assert_int_equal(h2_fs_sync(f->fs), 0);
		snprintf(name, sizeof(name), "torn %u", pattern);
		commit_torn(f, name, flush, &t);
		fixture_reopen(f);
		assert_true(has_name(f, "before"));
		/* A tear may also leave the old header as it was, or be none. */
		if (t.pattern == 0 || !may_be_new)
			assert_int_equal(has_name(f, name), may_be_new);
		if (has_name(f, name))
			unlink_name(f, name);
		/* Written on, it is as good as ever. */
		snprintf(name, sizeof(name), "after %u", pattern);
		h2_inode_put(create(f, name));
		expect_sound(f);
		fixture_reopen(f);
		assert_true(has_name(f, name));
		unlink_name(f, name);
	}
}

static void torn_header_leaves_the_backup(void **state)
{
	torn_at(*state, 0, 2, true);
}

static void torn_backup_leaves_the_header(void **state)
{
	torn_at(*state, H2_HEADER_BACKUP_OFFSET, 1, false);
}

static void backup_is_not_taken_beside_a_good_header(void **state)
{
	struct fixture *f = *state;
	uint8_t *header = malloc(H2_HEADER_SIZE);

	assert_non_null(header);
	open_for_writing(f);
	h2_inode_put(create(f, "old"));
	assert_int_equal(h2_fs_sync(f->fs), 0);
	h2_sim_peek(f->image->volumes[0].sim, H2_HEADER_BACKUP_OFFSET, header, H2_HEADER_SIZE);
	unlink_name(f, "old");
	fixture_close(f);
	/* An older backup, as after another implementation has written. */
	assert_int_equal(h2_sim_poke(f->image->volumes[0].sim, H2_HEADER_BACKUP_OFFSET, header,
				     H2_HEADER_SIZE),
			 0);
	fixture_reopen(f);
	assert_false(has_name(f, "old"));
	free(header);
}

static void backup_of_a_larger_volume_is_not_taken(void **state)
{
	struct fixture *f = *state;
	struct h2d_volume_header *header = malloc(sizeof(*header));
	struct h2_sim *sim = f->image->volumes[0].sim;
	uint8_t byte = 0x55;

	assert_non_null(header);
	open_for_writing(f);
	h2_inode_put(create(f, "file"));
	fixture_close(f);
	h2_sim_peek(sim, H2_HEADER_BACKUP_OFFSET, header, sizeof(*header));
	header->volu_size = le64_make(UINT64_C(4) << 30);
	h2_volume_header_seal(header);
	assert_int_equal(h2_sim_poke(sim, H2_HEADER_BACKUP_OFFSET, header, sizeof(*header)), 0);
	assert_int_equal(h2_sim_poke(sim, 0x100, &byte, 1), 0);
	assert_int_equal(image_open(f->image, NULL, &f->volumes), -H2_ECHECK);
	free(header);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(torn_header_leaves_the_backup),
		FIXTURE_TEST(torn_backup_leaves_the_header),
		FIXTURE_TEST(backup_is_not_taken_beside_a_good_header),
		FIXTURE_TEST(backup_of_a_larger_volume_is_not_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
