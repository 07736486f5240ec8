/*
 * Discards: devices are told of what becomes free, and only of that. The simulated disk writes noise
 * over what it is told of.
 */
#include "filesystem.h"

/* Whether the bytes are anywhere on the first volume. */
static bool is_on_disk(struct volume *v, const uint8_t *chunk)
{
	uint64_t size = h2_volumes_total_size(v->disks.volumes);
	uint8_t *buf = unit_alloc(CHUNK);
	bool found = false;

	for (uint64_t at = 0; at + CHUNK <= size && !found; at += CHUNK) {
		assert_int_equal(h2_volumes_read(v->disks.volumes, at, buf, CHUNK), 0);
		found = memcmp(buf, chunk, CHUNK) == 0;
	}
	free(buf);
	return found;
}

static void remove_file(struct volume *v, const char *label, const char *name)
{
	struct h2_pfs *pfs = open_pfs(v, label);
	struct h2_inode *root;

	assert_int_equal(h2_inode_get(pfs, H2_INUM_ROOT, &root), 0);
	assert_int_equal(h2_unlink(root, name, strlen(name), NULL), 0);
	h2_inode_put(root);
	h2_pfs_put(pfs);
}

/* Commits of something each, as many as there are header copies and more. */
static void commit_on(struct volume *v)
{
	for (unsigned i = 0; i < 6; i++) {
		put(v, "DATA", "changes", i, 1);
		assert_int_equal(h2_fs_sync(v->fs), 0);
	}
}

static void run(struct volume *v, bool discard)
{
	uint8_t *chunk = unit_alloc(CHUNK);

	v->discard = discard;
	make_volume(v, 64 * MIB);
	put(v, "DATA", "stays", 1, 10);
	put(v, "DATA", "goes", 100, 10);
	fill_chunk(chunk, 105);
	assert_int_equal(h2_fs_sync(v->fs), 0);
	assert_true(is_on_disk(v, chunk));
	remove_file(v, "DATA", "goes");
	assert_int_equal(h2_fs_sync(v->fs), 0);
	/* An older header copy leads there. */
	assert_true(is_on_disk(v, chunk));
	commit_on(v);
	assert_int_equal(is_on_disk(v, chunk), !discard);
	/* From before opening: by bulk free. */
	put(v, "DATA", "goes", 200, 10);
	fill_chunk(chunk, 205);
	close_fs(v);
	open_fs(v);
	remove_file(v, "DATA", "goes");
	commit_on(v);
	assert_true(is_on_disk(v, chunk));
	assert_int_equal(h2_fs_bulkfree(v->fs, NULL, NULL), 0);
	commit_on(v);
	assert_int_equal(is_on_disk(v, chunk), !discard);
	crash(v);
	expect(v, "DATA", "stays", 1, 10);
	free(chunk);
}

static void what_becomes_free_is_discarded_when_no_header_leads_there(void **state)
{
	run(*state, true);
}

static void without_the_option_nothing_is(void **state)
{
	run(*state, false);
}

static void what_a_snapshot_has_is_not(void **state)
{
	struct volume *v = *state;

	v->discard = true;
	make_volume(v, 64 * MIB);
	put(v, "DATA", "file", 1, 10);
	assert_int_equal(h2_pfs_snapshot(v->fs, "DATA", "snap", NULL), 0);
	remove_file(v, "DATA", "file");
	commit_on(v);
	assert_int_equal(h2_fs_bulkfree(v->fs, NULL, NULL), 0);
	commit_on(v);
	crash(v);
	expect(v, "snap", "file", 1, 10);
}

/* Files come and go, with bulk free now and then: whatever is there can be read, always. */
static void what_is_in_use_never_is(void **state)
{
	struct volume *v = *state;
	uint64_t seed = 20261130;
	unsigned version[12] = {0};
	char name[16];

	v->discard = v->pack = true;
	make_volume(v, 48 * MIB);
	for (unsigned i = 0; i < 400; i++) {
		unsigned n = (unsigned)(unit_random(&seed) % LENGTH_OF(version));

		snprintf(name, sizeof(name), "file-%u", n);
		if (version[n] && unit_random(&seed) % 3 == 0) {
			remove_file(v, "DATA", name);
			version[n] = 0;
		} else {
			version[n] = i + 1;
			put(v, "DATA", name, version[n] * 100, 8);
		}
		if (i % 50 == 49)
			assert_int_equal(h2_fs_bulkfree(v->fs, NULL, NULL), 0);
		if (i % 70 == 69) {
			close_fs(v);
			open_fs(v);
		}
		assert_int_equal(h2_fs_sync(v->fs), 0);
		h2_fs_forget_cached(v->fs);
		for (unsigned m = 0; m < LENGTH_OF(version); m++) {
			snprintf(name, sizeof(name), "file-%u", m);
			if (version[m])
				expect(v, "DATA", name, version[m] * 100, 8);
		}
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_becomes_free_is_discarded_when_no_header_leads_there),
		TEST(without_the_option_nothing_is),
		TEST(what_a_snapshot_has_is_not),
		TEST(what_is_in_use_never_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
