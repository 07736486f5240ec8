/* Making a filesystem larger (BS 11). */
#include "filesystem.h"

#include "format.h"

static void grow(struct volume *v, uint64_t size)
{
	uint64_t now = 0;

	assert_int_equal(h2_fs_grow(v->fs, size, NULL, &now), 0);
	assert_int_equal(now, size);
}

static void read_header(struct volume *v, unsigned slot, struct h2d_volume_header *d)
{
	h2_sim_peek(v->disks.sims[0], slot * 2 * GIB, d, sizeof(*d));
}

/* What newfs would count in a volume of that size with the same areas, MF 2.8. */
static uint64_t allocatable(const struct h2_volume_header *h, uint64_t size)
{
	uint64_t zones = (size + GIB - 1) / GIB;

	return size - zones * 4 * MIB - (h->boot_end - h->boot_beg) - (h->aux_end - h->aux_beg);
}

static void expect_header(struct volume *v, unsigned slot, uint64_t size)
{
	struct h2d_volume_header d;
	struct h2_volume_header h;

	read_header(v, slot, &d);
	assert_int_equal(h2_volume_header_check(&d, NULL), H2_HEADER_GOOD);
	h2_volume_header_decode(&d, &h);
	assert_int_equal(h.volu_size, size);
	assert_int_equal(h.total_size, h.version == 1 ? 0 : size);
	assert_int_equal(h.allocator_size, allocatable(&h, size));
}

static void grown_volumes_take_more(void **state)
{
	/* Within a zone, up to its end, across it, to more header copies, to all of them. */
	static const uint64_t steps[] = {72 * MIB, GIB, GIB + 8 * MIB, 2 * GIB + 8 * MIB, 9 * GIB};
	struct volume *v = *state;
	uint64_t before, size;

	make_volume(v, 64 * MIB);
	put(v, "DATA", "first", 1, 50);
	for (unsigned i = 0; i < LENGTH_OF(steps); i++) {
		struct h2_fs_stats stats;
		char name[16];

		assert_int_equal(h2_fs_sync(v->fs), 0);
		h2_fs_get_stats(v->fs, &stats);
		before = stats.free_bytes;
		size = stats.total_bytes;
		grow(v, steps[i]);
		h2_fs_get_stats(v->fs, &stats);
		assert_in_range(stats.free_bytes - before, stats.total_bytes - size - MIB,
				stats.total_bytes - size);
		snprintf(name, sizeof(name), "file-%u", i);
		put(v, "DATA", name, i * 1000, 100);
		if (i % 2) {
			close_fs(v);
			open_fs(v);
		}
		for (unsigned slot = 0; slot < 4 && slot * 2 * GIB < steps[i]; slot++)
			expect_header(v, slot, steps[i]);
	}
	crash(v);
	expect(v, "DATA", "first", 1, 50);
	for (unsigned i = 0; i + 1 < LENGTH_OF(steps); i++) {
		char name[16];

		snprintf(name, sizeof(name), "file-%u", i);
		expect(v, "DATA", name, i * 1000, 100);
	}
}

/* What a copy leads to that there was not before stays, too, while it is the oldest. */
static void all_copies_lead_to_sound_states(void **state)
{
	struct volume *v = *state;

	v->pack = true;
	make_volume(v, 64 * MIB);
	put(v, "DATA", "file", 1, 10);
	grow(v, 9 * GIB);
	for (unsigned i = 0; i < 9; i++) {
		put(v, "DATA", "file", i * 100, 10);
		assert_int_equal(h2_fs_sync(v->fs), 0);
		/* Closing would go on until all has come back. */
		if (i > 5) {
			crash(v);
			expect_sound(v);
			open_fs(v);
		}
	}
}

static void a_full_volume_has_room_again(void **state)
{
	struct volume *v = *state;
	struct h2_pfs *pfs;
	unsigned first;

	make_volume(v, 64 * MIB);
	pfs = open_pfs(v, "DATA");
	first = fill_up(pfs, 1000);
	grow(v, 128 * MIB);
	put_file(pfs, "more", 5000, 64 * MIB / CHUNK - 32);
	expect_file(pfs, "fills", 1000, first);
	expect_file(pfs, "more", 5000, 64 * MIB / CHUNK - 32);
	h2_pfs_put(pfs);
}

static void sizes_that_cannot_be(void **state)
{
	struct volume *v = *state;
	uint64_t now = 0, before;

	make_volume(v, 64 * MIB);
	before = free_bytes(v);
	assert_int_equal(h2_fs_grow(v->fs, 56 * MIB, NULL, &now), -EINVAL);
	assert_int_equal(h2_fs_grow(v->fs, UINT64_MAX, NULL, &now), -EINVAL);
	/* What it has already: nothing happens. Sizes are rounded down. */
	assert_int_equal(h2_fs_grow(v->fs, 64 * MIB, NULL, &now), 0);
	assert_int_equal(now, 64 * MIB);
	assert_int_equal(h2_fs_grow(v->fs, 64 * MIB + 7 * MIB, NULL, &now), 0);
	assert_int_equal(now, 64 * MIB);
	assert_int_equal(h2_fs_grow(v->fs, 0, NULL, &now), 0);
	assert_int_equal(now, 64 * MIB);
	assert_int_equal(free_bytes(v), before);
}

static void several_volumes_do_not_grow(void **state)
{
	const uint64_t sizes[] = {GIB, GIB};
	struct volume *v = *state;
	uint64_t now;

	disks_make(&v->disks, sizes, 2);
	open_fs(v);
	assert_int_equal(h2_fs_grow(v->fs, 4 * GIB, NULL, &now), -EOPNOTSUPP);
}

/* As if an older state lay in the places of all copies to come, newer than all by its tid. */
static void put_old_headers(struct volume *v, uint64_t size)
{
	struct h2d_volume_header d;
	struct h2_volume_header h;
	struct h2_device *dev;

	read_header(v, 0, &d);
	h2_volume_header_decode(&d, &h);
	h.mirror_tid += 100000;
	h2_volume_header_encode(&h, &d);
	h2_volume_header_seal(&d);
	/* The file is that large already; the filesystem is not. */
	assert_int_equal(h2_sim_open(v->disks.sims[0], true, &dev), 0);
	assert_int_equal(h2_device_grow(dev, size), 0);
	for (uint64_t at = 2 * GIB; at < size && at < 8 * GIB; at += 2 * GIB)
		assert_int_equal(h2_device_write(dev, at, &d, sizeof(d)), 0);
	assert_int_equal(h2_device_flush(dev), 0);
	h2_device_close(dev);
}

static void what_lay_there_is_not_taken_for_a_header(void **state)
{
	struct volume *v = *state;

	for (unsigned flush = 0; flush < 8; flush++) {
		make_volume(v, 64 * MIB);
		put(v, "DATA", "file", 1, 50);
		assert_int_equal(h2_fs_sync(v->fs), 0);
		put_old_headers(v, 7 * GIB);
		v->altered = true; /* copies may be missing */
		/* The opened filesystem does not know of them. */
		put(v, "DATA", "file", 1000, 50);
		assert_int_equal(h2_fs_sync(v->fs), 0);
		h2_sim_set_fault(v->disks.sims[0], H2_SIM_FLUSH, H2_SIM_FAIL, flush, UINT64_MAX,
				 -EIO);
		(void)h2_fs_grow(v->fs, 7 * GIB, NULL, &(uint64_t){0});
		h2_sim_set_fault(v->disks.sims[0], H2_SIM_FLUSH, H2_SIM_FAIL, 0, 0, 0);
		/* Before the first flush of zeros there is nothing that could be done about them. */
		if (flush > 0) {
			crash(v);
			expect(v, "DATA", "file", 1000, 50);
			expect_sound(v);
		} else {
			h2_fs_abandon(v->fs);
			v->fs = NULL;
		}
		disks_free(&v->disks);
	}
	make_volume(v, 64 * MIB);
}

/* Fail at each flush of growing, with the power cut then. */
static void power_failures_leave_the_old_size_or_the_new_one(void **state)
{
	const uint64_t seed = unit_seed(1);
	struct volume *v = *state;
	unsigned old = 0, new_ = 0;

	for (unsigned i = 0; i < 60; i++) {
		uint64_t now, from = (i % 3 ? 64 : 1024) * MIB, to = i % 2 ? 200 * MIB + GIB : 3 * GIB;
		struct h2_fs_stats stats;

		make_volume(v, from);
		put(v, "DATA", "file", 1, 20);
		assert_int_equal(h2_fs_sync(v->fs), 0);
		h2_sim_set_fault(v->disks.sims[0], H2_SIM_FLUSH, H2_SIM_FAIL, i / 6, UINT64_MAX,
				 -EIO);
		(void)h2_fs_grow(v->fs, to, NULL, &now);
		h2_sim_cut_random(v->disks.sims[0], seed + i);
		h2_sim_set_fault(v->disks.sims[0], H2_SIM_FLUSH, H2_SIM_FAIL, 0, 0, 0);
		crash(v);
		h2_fs_get_stats(v->fs, &stats);
		now = h2_volumes_total_size(v->disks.volumes);
		assert_true(now == from || now == to);
		old += now == from;
		new_ += now == to;
		expect(v, "DATA", "file", 1, 20);
		put(v, "DATA", "more", 100, 20);
		expect_sound(v);
		disks_free(&v->disks);
	}
	assert_true(old > 5);
	assert_true(new_ > 5);
	make_volume(v, 64 * MIB);
}

#define GROW_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		GROW_TEST(grown_volumes_take_more),
		GROW_TEST(all_copies_lead_to_sound_states),
		GROW_TEST(a_full_volume_has_room_again),
		GROW_TEST(sizes_that_cannot_be),
		GROW_TEST(several_volumes_do_not_grow),
		GROW_TEST(what_lay_there_is_not_taken_for_a_header),
		GROW_TEST(power_failures_leave_the_old_size_or_the_new_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
