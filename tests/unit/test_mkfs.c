/* Making filesystems: the golden image of MF A.7, the geometries of A.8, refusals, crashes. */
#include "unit.h"

#include <hammer2/check.h>
#include <nettle/sha2.h>

#include "check.h"
#include "format.h"
#include "mkfs.h"
#include "sim.h"
#include "volumes.h"

#define NOW UINT64_C(1700000000000000)

static uint8_t next_uuid_byte;
static unsigned refusals;

/* The UUID bytes of MF A.7 come from a counter. */
static void count_uuid(void *user, struct h2_uuid *uuid)
{
	(void)user;
	for (unsigned i = 0; i < sizeof(uuid->bytes); i++)
		uuid->bytes[i] = next_uuid_byte++;
}

static void on_report(void *user, const struct h2_report *report)
{
	(void)user;
	assert_non_null(report->message);
	refusals++;
}

static struct h2_mkfs_options options_of(const char *const *labels, unsigned count)
{
	next_uuid_byte = 0;
	refusals = 0;
	return (struct h2_mkfs_options){
		.label_count = count,
		.labels = labels,
		.comp_algo = -1,
		.check_algo = -1,
		.time_us = NOW,
		.uuid = count_uuid,
		.report = on_report,
	};
}

static const char *const data_label[] = {"DATA"};

/* Make a filesystem on fresh disks; they are filled with remnants first when dirty is set. */
static void make(const uint64_t *sizes, unsigned count, const struct h2_mkfs_options *options,
		 bool dirty, struct h2_sim **sims, struct h2_mkfs_plan *plan)
{
	struct h2_device *devices[8];
	uint8_t noise[4096];

	memset(noise, 0x5a, sizeof(noise));
	assert_int_equal(h2_mkfs_plan(sizes, count, options, plan), 0);
	for (unsigned i = 0; i < count; i++) {
		sims[i] = h2_sim_new(sizes[i]);
		assert_non_null(sims[i]);
		if (dirty) {
			for (uint64_t at = 0; at + sizeof(noise) <= sizes[i] && at < 24 * MIB;
			     at += MIB / 2)
				assert_int_equal(h2_sim_poke(sims[i], at, noise, sizeof(noise)), 0);
		}
		assert_int_equal(h2_sim_open(sims[i], true, &devices[i]), 0);
	}
	assert_int_equal(h2_mkfs_devices(plan, options, devices), 0);
	for (unsigned i = 0; i < count; i++)
		h2_device_close(devices[i]);
}

static int open_set(struct h2_sim **sims, unsigned count, struct h2_volumes **set)
{
	struct h2_device *devices[8];

	for (unsigned i = 0; i < count; i++)
		assert_int_equal(h2_sim_open(sims[i], false, &devices[i]), 0);
	return h2_volumes_assemble(devices, count, NULL, set);
}

static void expect_sound(struct h2_sim **sims, unsigned count)
{
	struct h2_check_summary summary;
	struct h2_volumes *set;

	assert_int_equal(open_set(sims, count, &set), 0);
	assert_int_equal(h2_check_run(set, NULL, &summary), 0);
	assert_int_equal(summary.faults, 0);
	assert_int_equal(summary.warnings, 0);
	h2_volumes_close(set);
}

static void free_sims(struct h2_sim **sims, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		h2_sim_free(sims[i]);
}

static void golden__every_byte_is_known(void **state)
{
	const uint64_t size = 64 * MIB;
	struct h2_mkfs_options options = options_of(data_label, 1);
	uint8_t digest[SHA256_DIGEST_SIZE], expected[SHA256_DIGEST_SIZE];
	static uint8_t buf[65536];
	struct h2_mkfs_plan plan;
	struct sha256_ctx ctx;
	struct h2_sim *sim;

	(void)state;
	make(&size, 1, &options, false, &sim, &plan);
	sha256_init(&ctx);
	for (uint64_t at = 0; at < size; at += sizeof(buf)) {
		h2_sim_peek(sim, at, buf, sizeof(buf));
		sha256_update(&ctx, sizeof(buf), buf);
	}
	sha256_digest(&ctx, sizeof(digest), digest);
	unit_hex("63cd7b3bc5428151a91dca52710effe61ba7b0dea6d3b7ca1d0ee4a0a959ab6e", expected);
	assert_memory_equal(digest, expected, sizeof(digest));
	expect_sound(&sim, 1);
	free_sims(&sim, 1);
}

/* MF A.8; the sizes of the areas in MiB. */
static void geometry__is_that_of_newfs(void **state)
{
	static const struct {
		uint64_t sizes[2];
		unsigned count, version;
		uint64_t boot, aux, allocator_beg, free_bytes;
	} rows[] = {
		{{64 * MIB}, 1, 2, 8, 8, 0x1400c00, 0x2c00000},
		{{96 * MIB}, 1, 1, 8, 8, 0x1400c00, 0x4c00000},
		{{2048 * MIB}, 1, 2, 64, 64, 0x8400c00, 0x77800000},
		{{4096 * MIB}, 1, 2, 64, 128, 0xc400c00, 0xf3000000},
		{{8192 * MIB}, 1, 2, 64, 256, 0x14400c00, 0x1ea000000},
		{{3072 * MIB, 96 * MIB}, 2, 2, 64, 128, 0xc400c00, 0xb9000000},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		struct h2_mkfs_options options = options_of(data_label, 1);
		struct h2_mkfs_plan plan;

		options.version = rows[i].version;
		assert_int_equal(h2_mkfs_plan(rows[i].sizes, rows[i].count, &options, &plan), 0);
		assert_int_equal(plan.boot_bytes, rows[i].boot * MIB);
		assert_int_equal(plan.aux_bytes, rows[i].aux * MIB);
		assert_int_equal(plan.allocator_beg, rows[i].allocator_beg);
		assert_int_equal(plan.free_bytes, rows[i].free_bytes);
	}
}

/* MF A.8, the last row: what the headers of two volumes say. */
static void volumes__have_headers_of_their_own(void **state)
{
	const uint64_t sizes[2] = {3072 * MIB, 96 * MIB + 12345};
	struct h2_mkfs_options options = options_of(data_label, 1);
	static struct h2d_volume_header d;
	struct h2_volume_header h;
	struct h2_mkfs_plan plan;
	struct h2_sim *sims[2];

	(void)state;
	make(sizes, 2, &options, true, sims, &plan);
	h2_sim_peek(sims[0], H2_HEADER_SPACING, &d, sizeof(d));
	assert_int_equal(h2_volume_header_check(&d, NULL), H2_HEADER_GOOD);
	h2_volume_header_decode(&d, &h);
	assert_int_equal(h.total_size, 0xc6000000);
	assert_int_equal(h.volu_loff[1], 0xc0000000);
	assert_int_equal(h.volu_loff[2], UINT64_MAX);
	h2_sim_peek(sims[1], 0, &d, sizeof(d));
	assert_int_equal(h2_volume_header_check(&d, NULL), H2_HEADER_GOOD);
	h2_volume_header_decode(&d, &h);
	assert_int_equal(h.volu_id, 1);
	assert_int_equal(h.volu_size, 96 * MIB);
	assert_int_equal(h.aux_end, 0);
	assert_int_equal(h.allocator_beg, 0);
	assert_int_equal(h.allocator_free, 0);
	assert_int_equal(h.mirror_tid, 16);
	assert_int_equal(h.sroot_blockset[3].type, H2_BLOCKREF_INVALID);
	expect_sound(sims, 2);
	free_sims(sims, 2);
}

static void version_1__has_the_new_fields_zero(void **state)
{
	const uint64_t size = 96 * MIB;
	struct h2_mkfs_options options = options_of(NULL, 0);
	struct h2_mkfs_plan plan;
	struct h2_sim *sim;

	(void)state;
	options.version = 1;
	make(&size, 1, &options, true, &sim, &plan);
	expect_sound(&sim, 1);
	free_sims(&sim, 1);
}

/* BS 1.2: the header of an earlier, larger filesystem must not come back. */
static void remnants__of_larger_filesystems_are_wiped(void **state)
{
	const uint64_t size = 3072 * MIB;
	struct h2_mkfs_options options = options_of(data_label, 1);
	static struct h2d_volume_header d;
	struct h2_volume_header h;
	uint64_t smaller = 1024 * MIB;
	struct h2_mkfs_plan plan;
	struct h2_device *dev;
	struct h2_sim *sim;

	(void)state;
	make(&size, 1, &options, false, &sim, &plan);
	h2_sim_peek(sim, H2_HEADER_SPACING, &d, sizeof(d));
	h2_volume_header_decode(&d, &h);
	h.mirror_tid = 1000;
	h2_volume_header_encode(&h, &d);
	h2_volume_header_seal(&d);
	h2_sim_poke(sim, H2_HEADER_SPACING, &d, sizeof(d));
	assert_int_equal(h2_mkfs_plan(&smaller, 1, &options, &plan), 0);
	assert_int_equal(h2_sim_open(sim, true, &dev), 0);
	assert_int_equal(h2_mkfs_devices(&plan, &options, &dev), 0);
	h2_device_close(dev);
	h2_sim_peek(sim, H2_HEADER_SPACING, &d, sizeof(d));
	assert_int_equal(h2_volume_header_check(&d, NULL), H2_HEADER_NO_MAGIC);
	expect_sound(&sim, 1);
	free_sims(&sim, 1);
}

/* ZFS has labels in the last 512 KiB, of the device and of what is used of it. */
static void remnants__at_the_end_are_wiped(void **state)
{
	const uint64_t device_size = 64 * MIB + 3 * 512 * 1024, ends[] = {64 * MIB, device_size};
	static const uint8_t zeros[512 * 1024];
	static uint8_t bytes[512 * 1024];
	struct h2_mkfs_options options = options_of(data_label, 1);
	uint64_t size = 64 * MIB;
	struct h2_mkfs_plan plan;
	struct h2_device *dev;
	struct h2_sim *sim = h2_sim_new(device_size);

	(void)state;
	assert_non_null(sim);
	memset(bytes, 0xa5, sizeof(bytes));
	for (unsigned i = 0; i < LENGTH_OF(ends); i++)
		h2_sim_poke(sim, ends[i] - sizeof(bytes), bytes, sizeof(bytes));
	assert_int_equal(h2_mkfs_plan(&size, 1, &options, &plan), 0);
	assert_int_equal(h2_sim_open(sim, true, &dev), 0);
	assert_int_equal(h2_mkfs_devices(&plan, &options, &dev), 0);
	h2_device_close(dev);
	for (unsigned i = 0; i < LENGTH_OF(ends); i++) {
		h2_sim_peek(sim, ends[i] - sizeof(bytes), bytes, sizeof(bytes));
		assert_memory_equal(bytes, zeros, sizeof(bytes));
	}
	expect_sound(&sim, 1);
	free_sims(&sim, 1);
}

static void boot_label__is_not_compressed(void **state)
{
	static const char *const labels[] = {"boot", "x"};
	const uint64_t size = 64 * MIB;
	struct h2_mkfs_options options = options_of(labels, 2);
	struct h2d_inode inode;
	struct h2_mkfs_plan plan;
	struct h2_sim *sim;

	(void)state;
	options.comp_algo = H2_COMP_ZLIB | 9 << 4;
	options.check_algo = H2_CHECK_SHA192;
	make(&size, 1, &options, false, &sim, &plan);
	h2_sim_peek(sim, 0x1400800, &inode, sizeof(inode));
	assert_int_equal(inode.comp_algo, H2_COMP_AUTOZERO);
	h2_sim_peek(sim, 0x1400c00, &inode, sizeof(inode));
	assert_int_equal(inode.comp_algo, 0x93);
	assert_int_equal(inode.check_algo, H2_CHECK_SHA192);
	expect_sound(&sim, 1);
	free_sims(&sim, 1);
}

static void bad_requests__are_refused_with_a_reason(void **state)
{
	static const char *const twice[] = {"A", "A"}, *const local[] = {"LOCAL"};
	static const char *const at[] = {"a@b"}, *const empty[] = {""};
	static const struct {
		uint64_t size;
		unsigned volumes, version, label_count;
		const char *const *labels;
		uint64_t boot, aux;
		int comp, check, error;
	} rows[] = {
		{4 * MIB, 1, 2, 0, NULL, 0, 0, -1, -1, -ENOSPC},
		{16 * MIB, 1, 2, 0, NULL, 0, 0, -1, -1, -ENOSPC},
		{64 * MIB, 0, 2, 0, NULL, 0, 0, -1, -1, -EINVAL},
		{1024 * MIB, 2, 1, 0, NULL, 0, 0, -1, -1, -EINVAL},
		{64 * MIB, 2, 2, 0, NULL, 0, 0, -1, -1, -ENOSPC},
		{64 * MIB, 1, 3, 0, NULL, 0, 0, -1, -1, -EINVAL},
		{64 * MIB, 1, 2, 2, twice, 0, 0, -1, -1, -EINVAL},
		{64 * MIB, 1, 2, 1, local, 0, 0, -1, -1, -EINVAL},
		{64 * MIB, 1, 2, 1, at, 0, 0, -1, -1, -EINVAL},
		{64 * MIB, 1, 2, 1, empty, 0, 0, -1, -1, -EINVAL},
		{64 * MIB, 1, 2, 0, NULL, 4 * MIB, 0, -1, -1, -EINVAL},
		{64 * MIB, 1, 2, 0, NULL, 9 * MIB, 0, -1, -1, -EINVAL},
		{8192 * MIB, 1, 2, 0, NULL, 264 * MIB, 0, -1, -1, -EINVAL},
		{8192 * MIB, 1, 2, 0, NULL, 0, 1032 * MIB, -1, -1, -EINVAL},
		{8192 * MIB, 1, 2, 0, NULL, 8 * MIB, 1016 * MIB, -1, -1, -EINVAL},
		{64 * MIB, 1, 2, 0, NULL, 0, 0, 4, -1, -EINVAL},
		{64 * MIB, 1, 2, 0, NULL, 0, 0, -1, 5, -EINVAL},
		{UINT64_MAX, 1, 2, 0, NULL, 0, 0, -1, -1, -EINVAL},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		struct h2_mkfs_options options = options_of(rows[i].labels, rows[i].label_count);
		uint64_t sizes[2] = {rows[i].size, rows[i].size};
		struct h2_mkfs_plan plan;

		options.version = rows[i].version;
		options.boot_bytes = rows[i].boot;
		options.aux_bytes = rows[i].aux;
		options.comp_algo = rows[i].comp;
		options.check_algo = rows[i].check;
		assert_int_equal(h2_mkfs_plan(sizes, rows[i].volumes, &options, &plan),
				 rows[i].error);
		assert_int_equal(refusals, 1);
	}
}

/* Whatever reached the media when the power went: no filesystem, or a whole one. */
static void crash__leaves_nothing_or_a_filesystem(void **state)
{
	const uint64_t size = 64 * MIB;
	unsigned nothing = 0, whole = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 300; seed++) {
		struct h2_mkfs_options options = options_of(data_label, 1);
		struct h2_mkfs_plan plan;
		struct h2_volumes *set;
		struct h2_device *dev;
		struct h2_sim *sim;
		int err;

		/* An earlier filesystem is on the disk; writing the new one stops somewhere. */
		make(&size, 1, &options, false, &sim, &plan);
		next_uuid_byte = 7;
		assert_int_equal(h2_mkfs_plan(&size, 1, &options, &plan), 0);
		assert_int_equal(h2_sim_open(sim, true, &dev), 0);
		h2_sim_set_fault(sim, seed & 1 ? H2_SIM_FLUSH : H2_SIM_WRITE, H2_SIM_FAIL,
				 seed / 2 % 6, UINT64_MAX, -EIO);
		err = h2_mkfs_devices(&plan, &options, &dev);
		h2_sim_cut_random(sim, seed);
		h2_device_close(dev);
		h2_sim_set_fault(sim, H2_SIM_FLUSH, H2_SIM_FAIL, 0, 0, 0);
		h2_sim_set_fault(sim, H2_SIM_WRITE, H2_SIM_FAIL, 0, 0, 0);
		if (open_set(&sim, 1, &set) == 0) {
			h2_volumes_close(set);
			expect_sound(&sim, 1);
			whole++;
		} else {
			assert_int_not_equal(err, 0);
			nothing++;
		}
		free_sims(&sim, 1);
	}
	assert_true(nothing > 20);
	assert_true(whole > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden__every_byte_is_known),
		cmocka_unit_test(geometry__is_that_of_newfs),
		cmocka_unit_test(volumes__have_headers_of_their_own),
		cmocka_unit_test(version_1__has_the_new_fields_zero),
		cmocka_unit_test(remnants__of_larger_filesystems_are_wiped),
		cmocka_unit_test(remnants__at_the_end_are_wiped),
		cmocka_unit_test(boot_label__is_not_compressed),
		cmocka_unit_test(bad_requests__are_refused_with_a_reason),
		cmocka_unit_test(crash__leaves_nothing_or_a_filesystem),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
