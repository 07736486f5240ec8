/* The simulated disk, device/sim.h. */
#include "unit.h"

#include <pthread.h>

#include "sim.h"

#define SIZE (UINT64_C(8) << 30)

static struct h2_sim *sim;
static struct h2_device *dev;

static void reopen(void)
{
	h2_device_close(dev);
	dev = NULL;
	assert_int_equal(h2_sim_open(sim, true, &dev), 0);
}

static int setup(void **state)
{
	(void)state;
	sim = h2_sim_new(SIZE);
	return !sim || h2_sim_open(sim, true, &dev);
}

static int teardown(void **state)
{
	(void)state;
	h2_device_close(dev);
	h2_sim_free(sim);
	return 0;
}

static void put(uint64_t offset, uint8_t value, size_t len)
{
	uint8_t *buf = unit_alloc(len);

	memset(buf, value, len);
	assert_int_equal(h2_device_write(dev, offset, buf, len), 0);
	free(buf);
}

/* Whether all len bytes have the value, as the device shows them or as they are durable. */
static bool shows(uint64_t offset, uint8_t value, size_t len)
{
	uint8_t *buf = unit_alloc(len);
	bool same = true;

	assert_int_equal(h2_device_read(dev, offset, buf, len), 0);
	for (size_t i = 0; i < len; i++)
		same = same && buf[i] == value;
	free(buf);
	return same;
}

static bool holds(uint64_t offset, uint8_t value, size_t len)
{
	uint8_t *buf = unit_alloc(len);
	bool same = true;

	h2_sim_peek(sim, offset, buf, len);
	for (size_t i = 0; i < len; i++)
		same = same && buf[i] == value;
	free(buf);
	return same;
}

static size_t pending(void)
{
	struct h2_sim_stats stats;

	h2_sim_get_stats(sim, &stats);
	return stats.pending;
}

/* ---- contents ---- */

static void sim__is_zero_at_first_and_shows_what_was_written(void **state)
{
	(void)state;
	assert_int_equal(dev->size, SIZE);
	assert_true(shows(0, 0, 100000));
	put(4000, 7, 200); /* over a page's end */
	assert_true(shows(4000, 7, 200));
	assert_true(shows(0, 0, 4000));
	assert_true(shows(4200, 0, 10000));
	put(SIZE - 1, 9, 1);
	assert_true(shows(SIZE - 1, 9, 1));
	assert_int_equal(h2_device_write(dev, SIZE, "x", 1), -ERANGE);
}

static void sim__writes_are_durable_after_a_flush_only(void **state)
{
	(void)state;
	put(100, 1, 5000);
	assert_true(holds(100, 0, 5000));
	assert_int_equal(pending(), 1);
	assert_int_equal(h2_device_flush(dev), 0);
	assert_true(holds(100, 1, 5000));
	assert_int_equal(pending(), 0);
	put(200, 2, 10);
	assert_true(shows(200, 2, 10));
	assert_true(holds(200, 1, 10));
	assert_true(shows(210, 1, 4890));
}

static void sim__later_writes_cover_earlier_ones(void **state)
{
	(void)state;
	put(0, 1, 1000);
	put(500, 2, 1000);
	put(600, 3, 10);
	assert_true(shows(0, 1, 500) && shows(500, 2, 100) && shows(600, 3, 10));
	assert_true(shows(610, 2, 890));
	assert_int_equal(h2_device_flush(dev), 0);
	assert_true(holds(0, 1, 500) && holds(500, 2, 100) && holds(600, 3, 10));
	assert_true(holds(610, 2, 890));
}

static void sim__read_only_device_is_not_written(void **state)
{
	struct h2_device *reader;

	(void)state;
	assert_int_equal(h2_sim_open(sim, false, &reader), 0);
	assert_int_equal(h2_device_write(reader, 0, "x", 1), -EROFS);
	put(0, 5, 10);
	assert_int_equal(h2_device_flush(reader), 0); /* not its cache to flush */
	assert_int_equal(pending(), 1);
	h2_device_close(reader);
}

static void sim__many_scattered_pages(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 3000; i++)
		put(i * 2654435761u % SIZE, (uint8_t)(i % 255 + 1), 1);
	assert_int_equal(h2_device_flush(dev), 0);
	for (uint64_t i = 0; i < 3000; i++)
		assert_true(holds(i * 2654435761u % SIZE, (uint8_t)(i % 255 + 1), 1));
}

static void sim__counts_calls_failed_ones_included(void **state)
{
	struct h2_sim_stats stats;
	uint8_t c;

	(void)state;
	put(0, 1, 1);
	h2_sim_set_fault(sim, H2_SIM_WRITE, H2_SIM_FAIL, 0, 1, -EIO);
	assert_int_equal(h2_device_write(dev, 0, "x", 1), -EIO);
	assert_int_equal(h2_device_read(dev, 0, &c, 1), 0);
	assert_int_equal(h2_device_flush(dev), 0);
	h2_sim_get_stats(sim, &stats);
	assert_int_equal(stats.reads, 1);
	assert_int_equal(stats.writes, 2);
	assert_int_equal(stats.flushes, 1);
	assert_int_equal(stats.pending, 0);
}

/* ---- cuts ---- */

struct plan {
	enum h2_sim_fate fates[8];
	unsigned sector_size;
	uint64_t keep; /* bit s: sector s of a torn write is kept */
	uint64_t offsets[8];
	size_t lens[8];
	size_t calls;
};

static enum h2_sim_fate follow(void *user, size_t i, uint64_t offset, size_t len,
			       unsigned *sector_size, bool *keep)
{
	struct plan *plan = user;
	uint64_t sectors;

	assert_int_equal(i, plan->calls);
	plan->offsets[i] = offset;
	plan->lens[i] = len;
	plan->calls++;
	if (plan->fates[i] != H2_SIM_TORN)
		return plan->fates[i];
	*sector_size = plan->sector_size;
	sectors = (offset + len - 1) / plan->sector_size - offset / plan->sector_size + 1;
	for (uint64_t s = 0; s < sectors; s++)
		keep[s] = plan->keep >> s & 1;
	return H2_SIM_TORN;
}

static void cut__keeps_and_loses_as_told_in_order(void **state)
{
	struct plan plan = {.fates = {H2_SIM_KEPT, H2_SIM_LOST, H2_SIM_KEPT, H2_SIM_LOST}};

	(void)state;
	put(0, 1, 8192);
	put(0, 2, 100);
	put(50, 3, 100);
	put(70000, 4, 10);
	h2_sim_cut(sim, follow, &plan);
	assert_int_equal(plan.calls, 4);
	assert_int_equal(plan.offsets[3], 70000);
	assert_int_equal(plan.lens[3], 10);
	assert_true(holds(0, 1, 50) && holds(50, 3, 100) && holds(150, 1, 8042));
	assert_true(holds(70000, 0, 10));
	reopen();
	assert_true(shows(0, 1, 50) && shows(50, 3, 100) && shows(70000, 0, 10));
	assert_int_equal(pending(), 0);
}

static void cut__spares_what_was_flushed(void **state)
{
	struct plan plan = {.fates = {H2_SIM_LOST}};

	(void)state;
	put(0, 1, 100);
	assert_int_equal(h2_device_flush(dev), 0);
	put(0, 2, 100);
	h2_sim_cut(sim, follow, &plan);
	assert_int_equal(plan.calls, 1);
	assert_true(holds(0, 1, 100));
}

static void cut__tears_at_512_bytes(void **state)
{
	struct plan plan = {.fates = {H2_SIM_TORN}, .sector_size = 512, .keep = 5};

	(void)state;
	put(300, 7, 1500); /* sectors 0 to 3: 300..512, 512..1024, 1024..1536, 1536..1800 */
	h2_sim_cut(sim, follow, &plan);
	assert_true(holds(0, 0, 300) && holds(300, 7, 212));
	assert_true(holds(512, 0, 512) && holds(1024, 7, 512));
	assert_true(holds(1536, 0, 1000));
}

static void cut__tears_at_4096_bytes(void **state)
{
	struct plan plan = {.fates = {H2_SIM_TORN}, .sector_size = 4096, .keep = 2};

	(void)state;
	put(4096 * 5 + 100, 7, 8192); /* three sectors, the middle one kept */
	h2_sim_cut(sim, follow, &plan);
	assert_true(holds(0, 0, 4096 * 6));
	assert_true(holds(4096 * 6, 7, 4096));
	assert_true(holds(4096 * 7, 0, 4096));
}

static void cut__torn_write_without_kept_sectors_is_lost(void **state)
{
	struct plan plan = {.fates = {H2_SIM_TORN, H2_SIM_TORN}, .sector_size = 512, .keep = 0};

	(void)state;
	put(0, 1, 10);
	put(511, 1, 2);
	h2_sim_cut(sim, follow, &plan);
	assert_true(holds(0, 0, 4096));
}

static void cut__open_devices_are_dead_until_opened_again(void **state)
{
	struct plan plan = {.fates = {H2_SIM_KEPT}};
	uint8_t c;

	(void)state;
	put(0, 1, 1);
	h2_sim_cut(sim, follow, &plan);
	assert_int_equal(h2_device_read(dev, 0, &c, 1), -ENXIO);
	assert_int_equal(h2_device_write(dev, 0, "x", 1), -ENXIO);
	assert_int_equal(h2_device_flush(dev), -ENXIO);
	assert_int_equal(pending(), 0);
	reopen();
	assert_true(shows(0, 1, 1));
}

/* A disk with some flushed and some pending writes. */
static struct h2_sim *busy_disk(void)
{
	struct h2_sim *s = h2_sim_new(1 << 20);
	struct h2_device *d;
	uint8_t buf[8192];

	assert_non_null(s);
	assert_int_equal(h2_sim_open(s, true, &d), 0);
	for (uint64_t i = 0; i < 60; i++) {
		unit_noise(buf, sizeof(buf), i);
		assert_int_equal(h2_device_write(d, i * 7919 % 900000, buf, 100 + i * 130), 0);
		if (i == 20)
			assert_int_equal(h2_device_flush(d), 0);
	}
	h2_device_close(d);
	return s;
}

static uint8_t *contents(struct h2_sim *s)
{
	uint8_t *bytes = unit_alloc(1 << 20);

	h2_sim_peek(s, 0, bytes, 1 << 20);
	return bytes;
}

static void cut_random__same_seed_gives_the_same_disk(void **state)
{
	unsigned different = 0;
	uint8_t *first = NULL;

	(void)state;
	for (uint64_t seed = 0; seed < 10; seed++) {
		struct h2_sim *a = busy_disk(), *b = busy_disk();
		uint8_t *x, *y;

		h2_sim_cut_random(a, seed);
		h2_sim_cut_random(b, seed);
		x = contents(a);
		y = contents(b);
		assert_memory_equal(x, y, 1 << 20);
		if (first && memcmp(first, x, 1 << 20) != 0)
			different++;
		free(first);
		first = x;
		free(y);
		h2_sim_free(a);
		h2_sim_free(b);
	}
	assert_true(different >= 8);
	free(first);
}

/* Each 512 bytes of a page that one write touched are of before or of after it. */
static void cut_random__leaves_sectors_whole(void **state)
{
	unsigned kept = 0, lost = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 60; seed++) {
		put(0, 1, 16384);
		assert_int_equal(h2_device_flush(dev), 0);
		put(0, 2, 16384);
		h2_sim_cut_random(sim, seed);
		for (uint64_t s = 0; s < 16384; s += 512) {
			bool old = holds(s, 1, 512), fresh = holds(s, 2, 512);

			assert_true(old || fresh);
			lost += old;
			kept += fresh;
		}
		reopen();
	}
	assert_true(kept > 200);
	assert_true(lost > 200);
}

/* ---- faults ---- */

static void fault__strikes_the_calls_it_was_set_for(void **state)
{
	uint8_t c;

	(void)state;
	h2_sim_set_fault(sim, H2_SIM_READ, H2_SIM_FAIL, 2, 3, -EIO);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(h2_device_read(dev, 0, &c, 1), i >= 2 && i < 5 ? -EIO : 0);
	put(0, 1, 1); /* other calls are not struck */
	assert_int_equal(h2_device_flush(dev), 0);
}

static void fault__for_good_until_removed(void **state)
{
	(void)state;
	h2_sim_set_fault(sim, H2_SIM_WRITE, H2_SIM_FAIL, 0, UINT64_MAX, -ENOSPC);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(h2_device_write(dev, 0, "x", 1), -ENOSPC);
	assert_int_equal(pending(), 0);
	assert_true(shows(0, 0, 1));
	h2_sim_set_fault(sim, H2_SIM_WRITE, H2_SIM_FAIL, 0, 0, 0);
	put(0, 1, 1);
}

static void fault__a_new_one_replaces_the_old(void **state)
{
	(void)state;
	h2_sim_set_fault(sim, H2_SIM_WRITE, H2_SIM_FAIL, 0, UINT64_MAX, -EIO);
	h2_sim_set_fault(sim, H2_SIM_WRITE, H2_SIM_FAIL, 1, 1, -ENOSPC);
	put(0, 1, 1);
	assert_int_equal(h2_device_write(dev, 0, "x", 1), -ENOSPC);
	put(0, 1, 1);
}

static void fault__short_write_stores_half(void **state)
{
	uint8_t buf[1001];

	(void)state;
	memset(buf, 9, sizeof(buf));
	h2_sim_set_fault(sim, H2_SIM_WRITE, H2_SIM_SHORT, 0, 1, -EIO);
	assert_int_equal(h2_device_write(dev, 0, buf, sizeof(buf)), -EIO);
	assert_true(shows(0, 9, 500) && shows(500, 0, 501));
	assert_int_equal(pending(), 1);
}

static void fault__short_read_fills_half(void **state)
{
	uint8_t buf[100];

	(void)state;
	put(0, 9, 100);
	memset(buf, 5, sizeof(buf));
	h2_sim_set_fault(sim, H2_SIM_READ, H2_SIM_SHORT, 0, 1, -EIO);
	assert_int_equal(h2_device_read(dev, 0, buf, sizeof(buf)), -EIO);
	assert_int_equal(buf[49], 9);
	assert_int_equal(buf[50], 5);
}

static void fault__corrupt_read_flips_one_bit_and_leaves_the_disk(void **state)
{
	uint8_t buf[512];
	unsigned flipped;

	(void)state;
	for (unsigned n = 0; n < 20; n++) {
		h2_sim_set_fault(sim, H2_SIM_READ, H2_SIM_CORRUPT, 0, 1, 0);
		assert_int_equal(h2_device_read(dev, 0, buf, sizeof(buf)), 0);
		flipped = 0;
		for (unsigned i = 0; i < sizeof(buf); i++)
			flipped += (unsigned)__builtin_popcount(buf[i]);
		assert_int_equal(flipped, 1);
	}
	assert_true(shows(0, 0, sizeof(buf)));
	h2_sim_set_fault(sim, H2_SIM_READ, H2_SIM_CORRUPT, 0, 1, 0);
	assert_int_equal(h2_device_read(dev, 0, buf, 0), 0);
}

static void fault__failed_flush_leaves_the_cache_volatile(void **state)
{
	struct plan plan = {.fates = {H2_SIM_LOST}};

	(void)state;
	put(0, 1, 10);
	h2_sim_set_fault(sim, H2_SIM_FLUSH, H2_SIM_FAIL, 0, 1, -EIO);
	assert_int_equal(h2_device_flush(dev), -EIO);
	assert_int_equal(pending(), 1);
	assert_true(holds(0, 0, 10));
	h2_sim_cut(sim, follow, &plan);
	assert_int_equal(plan.calls, 1);
	assert_true(holds(0, 0, 10));
}

static void gone__fails_everything_until_it_is_back(void **state)
{
	uint8_t c;

	(void)state;
	put(0, 1, 1);
	h2_sim_set_gone(sim, true);
	assert_int_equal(h2_device_read(dev, 0, &c, 1), -ENXIO);
	assert_int_equal(h2_device_write(dev, 0, "x", 1), -ENXIO);
	assert_int_equal(h2_device_flush(dev), -ENXIO);
	h2_sim_set_gone(sim, false);
	assert_true(shows(0, 1, 1));
	assert_int_equal(h2_device_flush(dev), 0);
}

/* ---- clones, peek and poke ---- */

static void clone__has_both_contents_and_goes_its_own_way(void **state)
{
	struct plan plan = {.fates = {H2_SIM_KEPT, H2_SIM_LOST}};
	struct h2_sim *clone, *original = sim;

	(void)state;
	put(0, 1, 100);
	assert_int_equal(h2_device_flush(dev), 0);
	put(10, 2, 10);
	put(30, 3, 10);
	h2_sim_set_fault(sim, H2_SIM_READ, H2_SIM_FAIL, 0, UINT64_MAX, -EIO);
	h2_sim_set_gone(sim, true);
	clone = h2_sim_clone(sim);
	assert_non_null(clone);
	h2_device_close(dev);
	sim = clone;
	assert_int_equal(h2_sim_open(sim, true, &dev), 0);
	assert_int_equal(pending(), 2);
	assert_true(shows(0, 1, 10) && shows(10, 2, 10) && shows(30, 3, 10));
	h2_sim_cut(sim, follow, &plan);
	assert_true(holds(10, 2, 10) && holds(30, 1, 10));
	/* The original knows nothing of it. */
	h2_device_close(dev);
	h2_sim_free(clone);
	sim = original;
	assert_true(holds(10, 1, 10));
	assert_int_equal(h2_sim_open(sim, true, &dev), 0);
	h2_sim_set_gone(sim, false);
	h2_sim_set_fault(sim, H2_SIM_READ, H2_SIM_FAIL, 0, 0, 0);
	assert_true(shows(10, 2, 10));
	assert_int_equal(pending(), 2);
}

static void poke__changes_what_is_durable_below_pending_writes(void **state)
{
	uint8_t buf[200];

	(void)state;
	put(50, 1, 50);
	memset(buf, 7, sizeof(buf));
	assert_int_equal(h2_sim_poke(sim, 0, buf, sizeof(buf)), 0);
	assert_true(holds(0, 7, 200));
	assert_true(shows(0, 7, 50) && shows(50, 1, 50) && shows(100, 7, 100));
	assert_int_equal(h2_device_flush(dev), 0);
	assert_true(holds(0, 7, 50) && holds(50, 1, 50) && holds(100, 7, 100));
}

static void poke__works_where_faults_strike(void **state)
{
	uint8_t c = 0;

	(void)state;
	h2_sim_set_gone(sim, true);
	assert_int_equal(h2_sim_poke(sim, 5000, "x", 1), 0);
	h2_sim_peek(sim, 5000, &c, 1);
	assert_int_equal(c, 'x');
	h2_sim_set_gone(sim, false);
}

/* ---- threads ---- */

static void *write_stripes(void *arg)
{
	uint64_t t = *(uint64_t *)arg;
	uint8_t value = (uint8_t)(t + 1);

	for (uint64_t i = 0; i < 2000; i++) {
		if (h2_device_write(dev, (i * 4 + t) * 600, &value, 1))
			return arg;
		if (i % 100 == 0 && h2_device_flush(dev))
			return arg;
	}
	return NULL;
}

static void sim__serves_threads_at_once(void **state)
{
	uint64_t numbers[] = {0, 1, 2, 3};
	pthread_t threads[4];

	(void)state;
	for (unsigned t = 0; t < 4; t++)
		assert_int_equal(pthread_create(&threads[t], NULL, write_stripes, &numbers[t]), 0);
	for (unsigned t = 0; t < 4; t++) {
		void *failed;

		pthread_join(threads[t], &failed);
		assert_null(failed);
	}
	for (uint64_t i = 0; i < 8000; i++)
		assert_true(shows(i * 600, (uint8_t)(i % 4 + 1), 1));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(sim__is_zero_at_first_and_shows_what_was_written),
		TEST(sim__writes_are_durable_after_a_flush_only),
		TEST(sim__later_writes_cover_earlier_ones),
		TEST(sim__read_only_device_is_not_written),
		TEST(sim__many_scattered_pages),
		TEST(sim__counts_calls_failed_ones_included),
		TEST(cut__keeps_and_loses_as_told_in_order),
		TEST(cut__spares_what_was_flushed),
		TEST(cut__tears_at_512_bytes),
		TEST(cut__tears_at_4096_bytes),
		TEST(cut__torn_write_without_kept_sectors_is_lost),
		TEST(cut__open_devices_are_dead_until_opened_again),
		TEST(cut_random__same_seed_gives_the_same_disk),
		TEST(cut_random__leaves_sectors_whole),
		TEST(fault__strikes_the_calls_it_was_set_for),
		TEST(fault__for_good_until_removed),
		TEST(fault__a_new_one_replaces_the_old),
		TEST(fault__short_write_stores_half),
		TEST(fault__short_read_fills_half),
		TEST(fault__corrupt_read_flips_one_bit_and_leaves_the_disk),
		TEST(fault__failed_flush_leaves_the_cache_volatile),
		TEST(gone__fails_everything_until_it_is_back),
		TEST(clone__has_both_contents_and_goes_its_own_way),
		TEST(poke__changes_what_is_durable_below_pending_writes),
		TEST(poke__works_where_faults_strike),
		TEST(sim__serves_threads_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
