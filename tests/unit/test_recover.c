/*
 * Opening what crashed elsewhere: a freemap that is behind the topology (BS 2.6), header copies that
 * are damaged or old, volumes whose headers are not of the same age.
 */
#include "filesystem.h"

#include "format.h"

#define SLOTS 4u

static void peek_header(struct volume *v, unsigned slot, struct h2_volume_header *h)
{
	struct h2d_volume_header d;

	h2_sim_peek(v->disks.sims[0], slot * H2_HEADER_SPACING, &d, sizeof(d));
	assert_int_equal(h2_volume_header_check(&d, NULL), H2_HEADER_GOOD);
	h2_volume_header_decode(&d, h);
}

static void poke_header(struct volume *v, unsigned slot, const struct h2_volume_header *h)
{
	struct h2d_volume_header d;

	h2_sim_peek(v->disks.sims[0], slot * H2_HEADER_SPACING, &d, sizeof(d));
	h2_volume_header_encode(h, &d);
	h2_volume_header_seal(&d);
	assert_int_equal(h2_sim_poke(v->disks.sims[0], slot * H2_HEADER_SPACING, &d, sizeof(d)), 0);
}

static void damage_header(struct volume *v, unsigned slot, uint64_t at)
{
	uint8_t byte;

	h2_sim_peek(v->disks.sims[0], slot * H2_HEADER_SPACING + at, &byte, 1);
	byte ^= 0x10;
	v->altered = true;
	assert_int_equal(
		h2_sim_poke(v->disks.sims[0], slot * H2_HEADER_SPACING + at, &byte, 1), 0);
}

/* The slots by age: 0 is the newest. */
static void slots_by_age(struct volume *v, unsigned by_age[SLOTS])
{
	struct h2_volume_header h[SLOTS];

	for (unsigned i = 0; i < SLOTS; i++) {
		unsigned at = i;

		peek_header(v, i, &h[i]);
		while (at > 0 && h[by_age[at - 1]].mirror_tid < h[i].mirror_tid) {
			by_age[at] = by_age[at - 1];
			at--;
		}
		by_age[at] = i;
	}
}

/* Leave the program as a crash does, without opening again. */
static void crash_down(struct volume *v)
{
	h2_fs_abandon(v->fs);
	v->fs = NULL;
	disks_close(&v->disks);
}

/* Commits of which each adds a file, "file-0" and so on; then the program ends. */
static void make_history(struct volume *v, uint64_t size, unsigned commits)
{
	make_volume(v, size);
	for (unsigned i = 0; i < commits; i++) {
		char name[16];

		snprintf(name, sizeof(name), "file-%u", i);
		put(v, "DATA", name, i * 1000, 10);
		assert_int_equal(h2_fs_sync(v->fs), 0);
	}
	crash_down(v);
}

static void expect_history(struct volume *v, unsigned commits, unsigned all)
{
	for (unsigned i = 0; i < all; i++) {
		char name[16];

		snprintf(name, sizeof(name), "file-%u", i);
		if (i < commits)
			expect(v, "DATA", name, i * 1000, 10);
		else
			expect_no(v, "DATA", name);
	}
}

/* Write on, crash, and look at everything. */
static void go_on(struct volume *v, unsigned commits, unsigned all)
{
	put(v, "DATA", "more", 50000, 100);
	assert_int_equal(h2_fs_sync(v->fs), 0);
	put(v, "DATA", "lost", 60000, 100);
	crash(v);
	expect_history(v, commits, all);
	expect(v, "DATA", "more", 50000, 100);
	expect_no(v, "DATA", "lost");
	expect_sound(v);
	open_fs(v);
	expect_history(v, commits, all);
	/* Until all copies are of our making. */
	for (unsigned i = 0; i < SLOTS; i++) {
		put(v, "DATA", "again", i, 1);
		assert_int_equal(h2_fs_sync(v->fs), 0);
	}
	v->altered = false;
	expect_sound(v);
	open_fs(v);
	expect_history(v, commits, all);
}

/* The newest topology with the freemap of an older header: as DragonFly leaves it, BS 2.6. */
static void let_freemap_lag(struct volume *v, unsigned commits)
{
	struct h2_volume_header newest, older;
	unsigned by_age[SLOTS];

	slots_by_age(v, by_age);
	peek_header(v, by_age[0], &newest);
	peek_header(v, by_age[commits], &older);
	assert_int_equal(newest.mirror_tid, older.mirror_tid + commits);
	memcpy(newest.freemap_blockset, older.freemap_blockset, sizeof(older.freemap_blockset));
	newest.freemap_tid = older.freemap_tid;
	newest.allocator_free = older.allocator_free;
	v->altered = true;
	poke_header(v, by_age[0], &newest);
}

static void freemap_of_older_commits_is_caught_up_with(void **state)
{
	struct volume *v = *state;

	for (unsigned lag = 1; lag < SLOTS; lag++) {
		v->pack = true; /* what the freemap does not know would be taken at once */
		make_history(v, 8 * GIB, 9);
		let_freemap_lag(v, lag);
		open_fs(v);
		go_on(v, 9, 9);
		close_fs(v);
		disks_free(&v->disks);
	}
	make_volume(v, 64 * MIB);
}

static void newest_header_torn(void **state)
{
	struct volume *v = *state;
	unsigned by_age[SLOTS];

	for (unsigned damaged = 1; damaged < SLOTS; damaged++) {
		v->pack = true;
		make_history(v, 8 * GIB, 9);
		slots_by_age(v, by_age);
		/* In the first sector, in the second, behind both. */
		for (unsigned i = 0; i < damaged; i++)
			damage_header(v, by_age[i], i == 0 ? 0x90 : i == 1 ? 0x210 : 0x8000);
		open_fs(v);
		expect_history(v, 9 - damaged, 9);
		go_on(v, 9 - damaged, 9);
		close_fs(v);
		disks_free(&v->disks);
	}
	make_volume(v, 64 * MIB);
}

/* Both: an older copy is all that is left, and its freemap is behind, too. */
static void old_header_with_an_older_freemap(void **state)
{
	struct volume *v = *state;
	struct h2_volume_header second, third;
	unsigned by_age[SLOTS];

	v->pack = true;
	make_history(v, 8 * GIB, 9);
	slots_by_age(v, by_age);
	peek_header(v, by_age[1], &second);
	peek_header(v, by_age[3], &third);
	memcpy(second.freemap_blockset, third.freemap_blockset, sizeof(third.freemap_blockset));
	second.freemap_tid = third.freemap_tid;
	second.allocator_free = third.allocator_free;
	poke_header(v, by_age[1], &second);
	damage_header(v, by_age[0], 0x210);
	open_fs(v);
	expect_history(v, 8, 9);
	go_on(v, 8, 9);
}

/* Of a header, all but its first and last 4 KiB reach the media. */
static enum h2_sim_fate keep_middle(void *user, size_t i, uint64_t offset, size_t len,
				    unsigned *sector_size, bool *keep)
{
	const uint64_t *slot_offset = user;

	(void)i;
	if (offset != *slot_offset || len != H2_HEADER_SIZE)
		return H2_SIM_KEPT;
	*sector_size = 4096;
	for (size_t s = 0; s < len / 4096; s++)
		keep[s] = s > 0 && s + 1 < len / 4096;
	return H2_SIM_TORN;
}

/*
 * A header that was not written as a whole is made whole by the next one, which is torn: what it
 * leads to is not what it was any more.
 */
static void half_written_header_does_not_come_back(void **state)
{
	struct volume *v = *state;
	struct h2_volume_header newest, older, half;
	unsigned by_age[SLOTS], slot;
	uint64_t slot_offset;

	for (unsigned flush = 0; flush < 4; flush++) {
		make_history(v, 8 * GIB, 9);
		slots_by_age(v, by_age);
		peek_header(v, by_age[0], &newest);
		peek_header(v, by_age[3], &older);
		slot = (by_age[0] + 1) % SLOTS;
		slot_offset = slot * H2_HEADER_SPACING;
		half = newest;
		half.mirror_tid = half.freemap_tid = newest.mirror_tid + 1;
		memcpy(half.sroot_blockset, older.sroot_blockset, sizeof(half.sroot_blockset));
		poke_header(v, slot, &half);
		damage_header(v, slot, 0x8000);
		open_fs(v);
		expect_history(v, 9, 9);
		put(v, "DATA", "more", 50000, 10);
		h2_sim_set_fault(v->disks.sims[0], H2_SIM_FLUSH, H2_SIM_FAIL, flush, UINT64_MAX,
				 -EIO);
		(void)h2_fs_sync(v->fs);
		h2_sim_cut(v->disks.sims[0], keep_middle, &slot_offset);
		h2_sim_set_fault(v->disks.sims[0], H2_SIM_FLUSH, H2_SIM_FAIL, 0, 0, 0);
		crash_down(v);
		open_fs(v);
		expect_history(v, 9, 9);
		expect_sound(v);
		disks_free(&v->disks);
	}
	make_volume(v, 64 * MIB);
}

/* Only the root volume's header follows the commits: those of the others may be of any age. */
static void volumes_with_headers_of_different_age(void **state)
{
	const uint64_t sizes[] = {4 * GIB, GIB, 64 * MIB};
	struct volume *v = *state;
	struct h2d_volume_header d;
	struct h2_volume_header h;

	disks_make(&v->disks, sizes, 3);
	open_fs(v);
	put(v, "DATA", "file", 1, 50);
	assert_int_equal(h2_fs_sync(v->fs), 0);
	crash_down(v);
	/* One as if a kernel that writes to all volumes had been here later, one from before. */
	for (unsigned i = 1; i < 3; i++) {
		h2_sim_peek(v->disks.sims[i], 0, &d, sizeof(d));
		h2_volume_header_decode(&d, &h);
		h.mirror_tid = i == 1 ? 1000000 : 1;
		h.freemap_tid = h.mirror_tid;
		h2_volume_header_encode(&h, &d);
		h2_volume_header_seal(&d);
		assert_int_equal(h2_sim_poke(v->disks.sims[i], 0, &d, sizeof(d)), 0);
	}
	open_fs(v);
	expect(v, "DATA", "file", 1, 50);
	put(v, "DATA", "file", 1000, 60);
	assert_int_equal(h2_fs_sync(v->fs), 0);
	crash(v);
	expect(v, "DATA", "file", 1000, 60);
	close_fs(v);
	open_fs(v);
	expect(v, "DATA", "file", 1000, 60);
	/* fsck tells what it thinks of them. */
	close_fs(v);
	disks_free(&v->disks);
	make_volume(v, 64 * MIB);
}

static uint64_t reads_of_opening(struct volume *v)
{
	struct h2_sim_stats before, after;

	h2_sim_get_stats(v->disks.sims[0], &before);
	open_fs(v);
	h2_sim_get_stats(v->disks.sims[0], &after);
	crash_down(v);
	return after.reads - before.reads;
}

/* What has not changed is not looked at, however much there is. */
static void recovery_costs_what_has_changed(void **state)
{
	struct volume *v = *state;
	uint64_t usual, recovering;

	make_volume(v, 8 * GIB);
	for (unsigned i = 0; i < 4000; i++) {
		char name[16];

		snprintf(name, sizeof(name), "many-%u", i);
		put(v, "DATA", name, i, i % 100 == 0);
	}
	for (unsigned i = 0; i < 6; i++) {
		put(v, "DATA", "changes", i, 1);
		assert_int_equal(h2_fs_sync(v->fs), 0);
	}
	crash_down(v);
	usual = reads_of_opening(v);
	let_freemap_lag(v, 2);
	recovering = reads_of_opening(v);
	print_message("reads of opening: %u, with recovery %u\n", (unsigned)usual,
		      (unsigned)recovering);
	/* 4000 inodes and 60 blocks of them were written before. */
	assert_true(recovering > usual);
	assert_in_range(recovering, usual, usual + 60);
	open_fs(v);
	expect(v, "DATA", "changes", 5, 1);
	put(v, "DATA", "changes", 7, 1);
}

#define RECOVER_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RECOVER_TEST(freemap_of_older_commits_is_caught_up_with),
		RECOVER_TEST(newest_header_torn),
		RECOVER_TEST(old_header_with_an_older_freemap),
		RECOVER_TEST(half_written_header_does_not_come_back),
		RECOVER_TEST(volumes_with_headers_of_different_age),
		RECOVER_TEST(recovery_costs_what_has_changed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
