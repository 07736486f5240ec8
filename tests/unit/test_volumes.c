/* Volume sets: choosing headers (MF 2.6) and the rules of MF 2.7 and 13.1, each broken once. */
#include "unit.h"

#include <hammer2/fs.h>

#include "image.h"

#define SLOT_SIZE (8 * GIB) /* of a volume with all four header copies */

static struct image *image;
static unsigned reports;
static char last_message[512];

static void take_report(void *user, const struct h2_report *report)
{
	(void)user;
	reports++;
	assert_non_null(report->message);
	snprintf(last_message, sizeof(last_message), "%s", report->message);
}

static int setup(void **state)
{
	(void)state;
	image = NULL;
	reports = 0;
	last_message[0] = '\0';
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	image_free(image);
	return 0;
}

static void make(uint32_t version, unsigned count, const uint64_t *sizes)
{
	image_free(image);
	image = image_new(&(struct image_options){
		.version = version,
		.volume_count = count,
		.sizes = sizes,
	});
}

static void make_one(uint64_t size)
{
	make(2, 1, &size);
}

static struct h2_volume_header *header(unsigned i)
{
	return &image->volumes[i].header;
}

static int open_set(struct h2_volumes **set, int copy)
{
	struct h2_volumes_options options = {.header_copy = copy, .report = take_report};

	return image_open(image, &options, set);
}

/* Write the headers as they are now and open. Every refusal must say why. */
static void expect_open(int expected)
{
	struct h2_volumes *set = NULL;
	int err;

	reports = 0;
	image_seal(image);
	err = open_set(&set, 0);
	if (err != expected)
		print_error("expected %d, got %d: %s\n", expected, err, last_message);
	assert_int_equal(err, expected);
	if (err)
		assert_true(reports > 0);
	else
		assert_int_equal(reports, 0);
	h2_volumes_close(set);
}

static const uint64_t two[] = {GIB, 64 * MIB};
static const uint64_t three[] = {GIB, 2 * GIB, 512 * MIB};

/* ---- good sets ---- */

static void set__of_one_volume(void **state)
{
	struct h2_volume_info info;
	struct h2_volumes *set;

	(void)state;
	make_one(64 * MIB);
	image_seal(image);
	assert_int_equal(open_set(&set, 0), 0);
	assert_int_equal(h2_volumes_count(set), 1);
	assert_int_equal(h2_volumes_total_size(set), 64 * MIB);
	assert_int_equal(h2_volumes_header(set)->mirror_tid, 17);
	h2_volumes_info(set, 0, &info);
	assert_int_equal(info.id, 0);
	assert_int_equal(info.offset, 0);
	assert_int_equal(info.size, 64 * MIB);
	assert_int_equal(info.device_size, 64 * MIB);
	assert_int_equal(info.header_slot, 0);
	h2_volumes_close(set);
}

/* The devices of three volumes, in the order of the permutation. */
static int open_permuted(const unsigned order[3], struct h2_volumes **set)
{
	struct h2_device *devices[3];

	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(h2_sim_open(image->volumes[order[i]].sim, false, &devices[i]), 0);
	return h2_volumes_assemble(devices, 3, NULL, set);
}

static void set__volumes_may_come_in_any_order(void **state)
{
	static const unsigned orders[6][3] = {
		{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0},
	};

	(void)state;
	make(2, 3, three);
	image_seal(image);
	for (unsigned o = 0; o < 6; o++) {
		struct h2_volumes *set;

		assert_int_equal(open_permuted(orders[o], &set), 0);
		assert_int_equal(h2_volumes_total_size(set), 3 * GIB + 512 * MIB);
		for (unsigned i = 0; i < 3; i++) {
			struct h2_volume_info info;

			h2_volumes_info(set, i, &info);
			assert_int_equal(info.id, i);
			assert_int_equal(info.size, three[i]);
			assert_int_equal(info.offset, i == 0 ? 0 : i == 1 ? GIB : 3 * GIB);
		}
		h2_volumes_close(set);
	}
}

static void set__of_64_volumes(void **state)
{
	struct h2_volumes *set;

	(void)state;
	make(2, 64, NULL);
	image_seal(image);
	assert_int_equal(open_set(&set, 0), 0);
	assert_int_equal(h2_volumes_count(set), 64);
	assert_int_equal(h2_volumes_total_size(set), 63 * GIB + 64 * MIB);
	h2_volumes_close(set);
}

static void set__of_version_1(void **state)
{
	uint64_t size = 64 * MIB;
	struct h2_volumes *set;

	(void)state;
	make(1, 1, &size);
	image_seal(image);
	assert_int_equal(open_set(&set, 0), 0);
	assert_int_equal(h2_volumes_total_size(set), size);
	assert_int_equal(h2_volumes_header(set)->version, 1);
	h2_volumes_close(set);
}

static void set__device_may_be_larger_than_its_volume(void **state)
{
	(void)state;
	make_one(128 * MIB);
	header(0)->volu_size = header(0)->total_size = 64 * MIB;
	expect_open(0);
}

/* ---- reading through the set ---- */

static void read__translates_to_the_volume(void **state)
{
	struct h2_volumes *set;
	uint8_t buf[4];

	(void)state;
	make(2, 3, three);
	image_seal(image);
	assert_int_equal(h2_sim_poke(image->volumes[0].sim, GIB - 4, "zero", 4), 0);
	assert_int_equal(h2_sim_poke(image->volumes[1].sim, 5 * MIB, "one!", 4), 0);
	assert_int_equal(h2_sim_poke(image->volumes[2].sim, 512 * MIB - 4, "two!", 4), 0);
	assert_int_equal(open_set(&set, 0), 0);
	assert_int_equal(h2_volumes_read(set, GIB - 4, buf, 4), 0);
	assert_memory_equal(buf, "zero", 4);
	assert_int_equal(h2_volumes_read(set, GIB + 5 * MIB, buf, 4), 0);
	assert_memory_equal(buf, "one!", 4);
	assert_int_equal(h2_volumes_read(set, 3 * GIB + 512 * MIB - 4, buf, 4), 0);
	assert_memory_equal(buf, "two!", 4);
	h2_volumes_close(set);
}

static void read__stays_within_one_volume(void **state)
{
	static const struct {
		uint64_t offset;
		size_t len;
	} rows[] = {
		{GIB - 2, 4},
		{3 * GIB - 1, 2},
		{3 * GIB + 512 * MIB, 1},
		{3 * GIB + 512 * MIB - 1, 2},
		{UINT64_MAX, 1},
		{UINT64_MAX - 1, 4},
		{UINT64_C(1) << 45, 4},
	};
	struct h2_volumes *set;
	uint8_t buf[4];

	(void)state;
	make(2, 3, three);
	image_seal(image);
	assert_int_equal(open_set(&set, 0), 0);
	for (size_t i = 0; i < LENGTH_OF(rows); i++)
		assert_int_equal(h2_volumes_read(set, rows[i].offset, buf, rows[i].len), -ERANGE);
	h2_volumes_close(set);
}

static void read__device_errors_are_passed_on(void **state)
{
	struct h2_volumes *set;
	uint8_t buf[4];

	(void)state;
	make(2, 2, two);
	image_seal(image);
	assert_int_equal(open_set(&set, 0), 0);
	h2_sim_set_fault(image->volumes[1].sim, H2_SIM_READ, H2_SIM_FAIL, 0, 1, -EIO);
	assert_int_equal(h2_volumes_read(set, 0, buf, 4), 0);
	assert_int_equal(h2_volumes_read(set, GIB, buf, 4), -EIO);
	assert_int_equal(h2_volumes_read(set, GIB, buf, 4), 0);
	h2_volumes_close(set);
}

static void read_header__knows_which_copies_fit(void **state)
{
	struct h2_volumes *set;
	uint8_t *buf = unit_alloc(H2_HEADER_SIZE);

	(void)state;
	make_one(3 * GIB);
	image_seal(image);
	assert_int_equal(open_set(&set, 0), 0);
	assert_int_equal(h2_volumes_read_header(set, 0, 0, buf), 0);
	assert_int_equal(h2_volumes_read_header(set, 0, 1, buf), 0);
	assert_int_equal(h2_volumes_read_header(set, 0, 2, buf), -ENOENT);
	assert_int_equal(h2_volumes_read_header(set, 0, 3, buf), -ENOENT);
	h2_volumes_close(set);
	free(buf);
}

/* ---- the choice of a copy, MF 2.6 ---- */

/* Write four copies with these tids. */
static void write_copies(const uint64_t tids[4])
{
	image_seal(image);
	for (unsigned slot = 0; slot < 4; slot++) {
		header(0)->mirror_tid = tids[slot];
		image_write_header(image, 0, slot);
	}
}

static void damage_copy(unsigned slot, uint64_t offset)
{
	uint8_t byte;

	h2_sim_peek(image->volumes[0].sim, slot * H2_HEADER_SPACING + offset, &byte, 1);
	byte ^= 0x20;
	assert_int_equal(
		h2_sim_poke(image->volumes[0].sim, slot * H2_HEADER_SPACING + offset, &byte, 1), 0);
}

static void expect_slot(unsigned slot)
{
	struct h2_volume_info info;
	struct h2_volumes *set;

	assert_int_equal(open_set(&set, 0), 0);
	h2_volumes_info(set, 0, &info);
	h2_volumes_close(set);
	assert_int_equal(info.header_slot, slot);
}

static void choice__is_the_copy_of_the_largest_tid(void **state)
{
	static const uint64_t tids[4] = {20, 21, 22, 23};

	(void)state;
	make_one(SLOT_SIZE);
	for (unsigned newest = 0; newest < 4; newest++) {
		uint64_t turned[4];

		for (unsigned i = 0; i < 4; i++)
			turned[(newest + 1 + i) % 4] = tids[i];
		write_copies(turned);
		expect_slot(newest);
	}
	assert_int_equal(reports, 0);
}

static void choice__is_the_lowest_slot_on_a_tie(void **state)
{
	static const struct {
		uint64_t tids[4];
		unsigned slot;
	} rows[] = {
		{{16, 16, 16, 16}, 0},
		{{16, 17, 17, 17}, 1},
		{{16, 18, 17, 18}, 1},
		{{16, 16, 16, 17}, 3},
		{{16, 0, 17, 17}, 2},
		{{UINT64_MAX, 0, UINT64_MAX, 1}, 0}, /* compared as unsigned numbers */
		{{1, UINT64_MAX, 2, 3}, 1},
	};

	(void)state;
	make_one(SLOT_SIZE);
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		write_copies(rows[i].tids);
		expect_slot(rows[i].slot);
	}
}

static void choice__passes_over_torn_copies_and_tells(void **state)
{
	static const uint64_t tids[4] = {20, 23, 22, 21};
	static const uint64_t places[] = {0x60, 0x200, 0x9000, 0xffff, 0x1fc};

	(void)state;
	make_one(SLOT_SIZE);
	for (size_t i = 0; i < LENGTH_OF(places); i++) {
		write_copies(tids);
		reports = 0;
		damage_copy(1, places[i]);
		expect_slot(2);
		assert_true(reports > 0);
		damage_copy(2, places[i]);
		expect_slot(3);
		damage_copy(3, places[i]);
		expect_slot(0);
	}
}

static void choice__a_copy_that_was_cut_off_in_the_middle(void **state)
{
	static const uint64_t tids[4] = {20, 21, 22, 23};
	uint8_t *old = unit_alloc(H2_HEADER_SIZE);

	(void)state;
	make_one(SLOT_SIZE);
	write_copies(tids);
	h2_sim_peek(image->volumes[0].sim, 0, old, H2_HEADER_SIZE);
	header(0)->mirror_tid = 24;
	header(0)->sroot_blockset[0].mirror_tid = 24; /* as each commit does */
	image_write_header(image, 0, 0);
	/* All but the first sector is the old one. */
	assert_int_equal(h2_sim_poke(image->volumes[0].sim, 512, old + 512, H2_HEADER_SIZE - 512),
			 0);
	expect_slot(3);
	free(old);
}

static void choice__copies_without_magic_are_passed_over_silently(void **state)
{
	static const uint64_t tids[4] = {20, 21, 22, 23};
	static const uint8_t zeros[8];

	(void)state;
	make_one(SLOT_SIZE);
	write_copies(tids);
	assert_int_equal(h2_sim_poke(image->volumes[0].sim, 3 * H2_HEADER_SPACING, zeros, 8), 0);
	expect_slot(2);
	assert_int_equal(reports, 0);
}

/* MF 2.1: volu_size is not to be trusted in the search. */
static void choice__looks_at_all_offsets_that_the_device_has(void **state)
{
	static const uint64_t tids[4] = {20, 21, 22, 23};

	(void)state;
	make_one(SLOT_SIZE);
	header(0)->volu_size = header(0)->total_size = 2 * GIB;
	write_copies(tids);
	expect_slot(3);
}

static void choice__unreadable_copy_leaves_the_others(void **state)
{
	static const uint64_t tids[4] = {20, 21, 22, 23};
	struct h2_volume_info info;
	struct h2_volumes *set;

	(void)state;
	make_one(SLOT_SIZE);
	write_copies(tids);
	h2_sim_set_fault(image->volumes[0].sim, H2_SIM_READ, H2_SIM_FAIL, 3, 2, -EIO);
	assert_int_equal(open_set(&set, 0), 0);
	h2_volumes_info(set, 0, &info);
	assert_int_equal(info.header_slot, 2);
	assert_true(reports > 0);
	h2_volumes_close(set);
	/* But not for writing, behind what was acknowledged. */
	h2_sim_set_fault(image->volumes[0].sim, H2_SIM_READ, H2_SIM_FAIL, 3, 2, -EIO);
	assert_int_equal(image_open(image, &(struct h2_volumes_options){.write = true}, &set),
			 -EIO);
	h2_sim_set_fault(image->volumes[0].sim, H2_SIM_READ, H2_SIM_FAIL, 0, UINT64_MAX, -EIO);
	assert_int_equal(open_set(&set, 0), -EIO);
}

static void choice__what_was_read_wrong_once_is_read_again(void **state)
{
	static const uint64_t tids[4] = {20, 21, 22, 23};
	static const enum h2_sim_fault_kind kinds[] = {H2_SIM_FAIL, H2_SIM_CORRUPT, H2_SIM_SHORT};
	struct h2_volume_info info;
	struct h2_volumes *set;

	(void)state;
	make_one(SLOT_SIZE);
	write_copies(tids);
	for (unsigned i = 0; i < LENGTH_OF(kinds); i++) {
		h2_sim_set_fault(image->volumes[0].sim, H2_SIM_READ, kinds[i], 3, 1, -EIO);
		assert_int_equal(open_set(&set, 0), 0);
		h2_volumes_info(set, 0, &info);
		assert_int_equal(info.header_slot, 3);
		h2_volumes_close(set);
	}
}

/* MF 13.1: "CRC-valid but inconsistent newest copy: do not silently use an older copy". */
static void choice__impossible_newest_copy_is_refused(void **state)
{
	static const uint64_t tids[4] = {20, 21, 22, 23};
	struct h2_volumes *set;

	(void)state;
	make_one(SLOT_SIZE);
	write_copies(tids);
	header(0)->total_size += 8 * MIB;
	header(0)->mirror_tid = 24;
	image_write_header(image, 0, 0);
	assert_int_equal(open_set(&set, 0), -H2_ECORRUPT);
	/* The user can have an older one by asking. */
	assert_int_equal(open_set(&set, 1), -H2_ECORRUPT);
	assert_int_equal(open_set(&set, 3), 0);
	assert_int_equal(h2_volumes_header(set)->mirror_tid, 22);
	h2_volumes_close(set);
}

static void choice__may_be_asked_for(void **state)
{
	static const uint64_t tids[4] = {20, 21, 22, 23};
	struct h2_volumes *set;

	(void)state;
	make_one(SLOT_SIZE);
	write_copies(tids);
	for (int copy = 1; copy <= 4; copy++) {
		struct h2_volume_info info;

		assert_int_equal(open_set(&set, copy), 0);
		h2_volumes_info(set, 0, &info);
		assert_int_equal(info.header_slot, copy - 1);
		assert_int_equal(h2_volumes_header(set)->mirror_tid, 19 + copy);
		h2_volumes_close(set);
	}
	damage_copy(1, 0x60);
	assert_int_equal(open_set(&set, 2), -H2_ECHECK);
	make_one(64 * MIB);
	image_seal(image);
	assert_int_equal(open_set(&set, 1), 0);
	h2_volumes_close(set);
	assert_int_equal(open_set(&set, 2), -EINVAL);
}

/* ---- no header at all ---- */

static void header__none_is_no_volume(void **state)
{
	struct h2_volumes *set;

	(void)state;
	make_one(64 * MIB);
	assert_int_equal(open_set(&set, 0), -EINVAL);
	assert_true(reports > 0);
}

static void header__other_byte_order_is_refused(void **state)
{
	uint8_t *bytes = unit_alloc(H2_HEADER_SIZE);
	struct h2_volumes *set;

	(void)state;
	make_one(64 * MIB);
	image_seal(image);
	h2_sim_peek(image->volumes[0].sim, 0, bytes, H2_HEADER_SIZE);
	((struct h2d_volume_header *)bytes)->magic = le64_make(H2_MAGIC_SWAPPED);
	h2_volume_header_seal((struct h2d_volume_header *)bytes);
	assert_int_equal(h2_sim_poke(image->volumes[0].sim, 0, bytes, H2_HEADER_SIZE), 0);
	assert_int_equal(open_set(&set, 0), -EINVAL);
	assert_non_null(strstr(last_message, "byte order"));
	free(bytes);
}

static void header__only_damaged_copies_are_a_check_error(void **state)
{
	static const uint64_t places[] = {0x60, 0x200, 0x9000};
	struct h2_volumes *set;

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(places); i++) {
		make_one(64 * MIB);
		image_seal(image);
		damage_copy(0, places[i]);
		assert_int_equal(open_set(&set, 0), -H2_ECHECK);
	}
}

static void header__device_shorter_than_a_header(void **state)
{
	struct h2_sim *sim = h2_sim_new(H2_HEADER_SIZE - 1);
	struct h2_device *dev;
	struct h2_volumes *set;

	(void)state;
	assert_non_null(sim);
	assert_int_equal(h2_sim_open(sim, false, &dev), 0);
	assert_int_equal(h2_volumes_assemble(&dev, 1, NULL, &set), -EINVAL);
	h2_sim_free(sim);
}

/* ---- MF 2.7 and 13.1, one rule at a time ---- */

static void version__is_1_or_2(void **state)
{
	static const uint32_t bad[] = {0, 3, 99, UINT32_MAX};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(bad); i++) {
		make_one(64 * MIB);
		header(0)->version = bad[i];
		expect_open(-EINVAL);
	}
}

static void rule1__volumes_agree_on_version_count_fsid_and_fstype(void **state)
{
	(void)state;
	make(2, 2, two);
	expect_open(0);
	header(1)->fsid.bytes[15] ^= 1;
	expect_open(-ENXIO);
	make(2, 2, two);
	header(1)->nvolumes = 3;
	expect_open(-ENXIO);
	make(2, 2, two);
	header(1)->version = 1;
	expect_open(-ENXIO);
}

static void rule2__fstype_is_that_of_hammer2(void **state)
{
	(void)state;
	make_one(64 * MIB);
	header(0)->fstype.bytes[0] ^= 1;
	expect_open(-EINVAL);
	make(2, 2, two);
	header(1)->fstype.bytes[15] ^= 1;
	expect_open(-EINVAL);
	make(2, 2, two);
	header(0)->fstype.bytes[15] ^= 1;
	header(1)->fstype.bytes[15] ^= 1;
	expect_open(-EINVAL);
}

static void rule3__ids_are_below_64(void **state)
{
	static const uint8_t bad[] = {64, 65, 255};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(bad); i++) {
		make(2, 2, two);
		header(1)->volu_id = bad[i];
		expect_open(-H2_ECORRUPT);
	}
}

static void rule3__no_id_comes_twice(void **state)
{
	struct h2_device *devices[2];
	struct h2_volumes *set;

	(void)state;
	make(2, 3, three);
	header(2)->volu_id = 1;
	expect_open(-EINVAL);
	make(2, 2, two);
	header(1)->volu_id = 0;
	expect_open(-EINVAL);
	/* The same volume given twice. */
	make(2, 2, two);
	image_seal(image);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(h2_sim_open(image->volumes[0].sim, false, &devices[i]), 0);
	assert_int_equal(h2_volumes_assemble(devices, 2, NULL, &set), -EINVAL);
}

static void rule3__ids_begin_with_0_and_have_no_gap(void **state)
{
	(void)state;
	make(2, 2, two);
	header(0)->volu_id = 2;
	expect_open(-ENXIO);
	make(2, 3, three);
	header(2)->volu_id = 3;
	expect_open(-ENXIO);
	make_one(64 * MIB);
	header(0)->volu_id = 1;
	expect_open(-ENXIO);
}

static void rule4__count_is_that_of_the_root_header(void **state)
{
	struct h2_device *dev;
	struct h2_volumes *set;

	(void)state;
	make(2, 2, two);
	image_seal(image);
	assert_int_equal(h2_sim_open(image->volumes[0].sim, false, &dev), 0);
	assert_int_equal(h2_volumes_assemble(&dev, 1, NULL, &set), -ENXIO);
	assert_int_equal(h2_sim_open(image->volumes[1].sim, false, &dev), 0);
	assert_int_equal(h2_volumes_assemble(&dev, 1, NULL, &set), -ENXIO);
	header(0)->nvolumes = header(1)->nvolumes = 3;
	expect_open(-ENXIO);
	header(0)->nvolumes = header(1)->nvolumes = 1;
	expect_open(-ENXIO);
}

static void rule4__count_is_1_to_64(void **state)
{
	static const uint8_t bad[] = {0, 65, 255};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(bad); i++) {
		make_one(64 * MIB);
		header(0)->nvolumes = bad[i];
		expect_open(-H2_ECORRUPT);
	}
}

static void rule5__total_size_is_the_sum(void **state)
{
	static const int64_t off_by[] = {8 << 20, -(8 << 20), 1, -1, -(64 << 20)};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(off_by); i++) {
		make(2, 2, two);
		header(0)->total_size += (uint64_t)off_by[i];
		expect_open(-H2_ECORRUPT);
	}
	/* Only the root's counts. */
	make(2, 2, two);
	header(1)->total_size = 0;
	expect_open(0);
}

static void rule6__offsets_are_set_for_the_volumes_that_exist_and_no_others(void **state)
{
	(void)state;
	make(2, 2, two);
	header(0)->volu_loff[1] = UINT64_MAX;
	expect_open(-H2_ECORRUPT);
	make(2, 2, two);
	header(0)->volu_loff[2] = 2 * GIB;
	expect_open(-H2_ECORRUPT);
	make(2, 2, two);
	header(0)->volu_loff[63] = 0;
	expect_open(-H2_ECORRUPT);
	make_one(64 * MIB);
	header(0)->volu_loff[0] = UINT64_MAX;
	expect_open(-H2_ECORRUPT);
}

static void rule7__volumes_begin_where_the_one_before_ends(void **state)
{
	static const uint64_t bad[] = {0,       GIB - 8 * MIB,  GIB + 8 * MIB,
				       2 * GIB, UINT64_MAX - 1, UINT64_C(1) << 63};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(bad); i++) {
		make(2, 2, two);
		header(1)->volu_loff[1] = bad[i];
		expect_open(-H2_ECORRUPT);
	}
	make_one(64 * MIB);
	header(0)->volu_loff[0] = GIB;
	expect_open(-H2_ECORRUPT);
}

static void rule8__sizes_are_multiples(void **state)
{
	static const uint64_t bad_first[] = {GIB - 8 * MIB, GIB / 2, 1};
	static const uint64_t bad_last[] = {64 * MIB - 1, 60 * MIB, 1};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(bad_first); i++) {
		make(2, 2, two);
		header(0)->volu_size = bad_first[i];
		header(0)->total_size = bad_first[i] + two[1];
		header(1)->volu_loff[1] = bad_first[i];
		expect_open(-H2_ECORRUPT);
	}
	for (size_t i = 0; i < LENGTH_OF(bad_last); i++) {
		make(2, 2, two);
		header(1)->volu_size = bad_last[i];
		header(0)->total_size = GIB + bad_last[i];
		expect_open(-H2_ECORRUPT);
	}
}

static void rule9__size_is_not_zero_and_fits_the_device(void **state)
{
	static const uint64_t too_large[] = {72 * MIB, GIB, UINT64_C(1) << 62, UINT64_C(1) << 63,
					     UINT64_MAX - 8 * MIB + 1};

	(void)state;
	make_one(64 * MIB);
	header(0)->volu_size = header(0)->total_size = 0;
	expect_open(-H2_ECORRUPT);
	for (size_t i = 0; i < LENGTH_OF(too_large); i++) {
		make_one(64 * MIB);
		header(0)->volu_size = header(0)->total_size = too_large[i];
		expect_open(-EINVAL);
	}
}

static void version1__has_one_volume(void **state)
{
	(void)state;
	make(2, 2, two);
	header(0)->version = header(1)->version = 1;
	expect_open(-ENXIO);
}

static void version1__has_zeros_where_version_2_counts(void **state)
{
	uint64_t size = 64 * MIB;

	(void)state;
	make(1, 1, &size);
	header(0)->nvolumes = 1;
	expect_open(-H2_ECORRUPT);
	make(1, 1, &size);
	header(0)->total_size = size;
	expect_open(-H2_ECORRUPT);
	make(1, 1, &size);
	header(0)->volu_id = 1;
	expect_open(-H2_ECORRUPT);
	for (unsigned i = 0; i < 64; i += 21) {
		make(1, 1, &size);
		header(0)->volu_loff[i] = UINT64_MAX;
		expect_open(-H2_ECORRUPT);
	}
}

static void version1__size_is_a_multiple_of_8_mib(void **state)
{
	uint64_t size = 64 * MIB;

	(void)state;
	make(1, 1, &size);
	header(0)->volu_size = 60 * MIB;
	expect_open(-H2_ECORRUPT);
	header(0)->volu_size = 56 * MIB;
	expect_open(0);
}

/* ---- statistics that a header may get wrong ---- */

static void fs__free_space_is_never_more_than_there_is(void **state)
{
	struct h2_fs_stats stats;
	struct h2_volumes *set;
	struct h2_fs *fs;

	(void)state;
	make_one(64 * MIB);
	header(0)->allocator_free = UINT64_MAX;
	image_seal(image);
	assert_int_equal(open_set(&set, 0), 0);
	assert_int_equal(h2_fs_open(set, NULL, &fs), 0);
	h2_fs_get_stats(fs, &stats);
	assert_int_equal(stats.total_bytes, header(0)->allocator_size);
	assert_int_equal(stats.free_bytes, stats.total_bytes);
	h2_fs_close(fs);
	h2_volumes_close(set);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(set__of_one_volume),
		TEST(set__volumes_may_come_in_any_order),
		TEST(set__of_64_volumes),
		TEST(set__of_version_1),
		TEST(set__device_may_be_larger_than_its_volume),
		TEST(read__translates_to_the_volume),
		TEST(read__stays_within_one_volume),
		TEST(read__device_errors_are_passed_on),
		TEST(read_header__knows_which_copies_fit),
		TEST(choice__is_the_copy_of_the_largest_tid),
		TEST(choice__is_the_lowest_slot_on_a_tie),
		TEST(choice__passes_over_torn_copies_and_tells),
		TEST(choice__a_copy_that_was_cut_off_in_the_middle),
		TEST(choice__copies_without_magic_are_passed_over_silently),
		TEST(choice__looks_at_all_offsets_that_the_device_has),
		TEST(choice__unreadable_copy_leaves_the_others),
		TEST(choice__what_was_read_wrong_once_is_read_again),
		TEST(choice__impossible_newest_copy_is_refused),
		TEST(choice__may_be_asked_for),
		TEST(header__none_is_no_volume),
		TEST(header__other_byte_order_is_refused),
		TEST(header__only_damaged_copies_are_a_check_error),
		TEST(header__device_shorter_than_a_header),
		TEST(version__is_1_or_2),
		TEST(rule1__volumes_agree_on_version_count_fsid_and_fstype),
		TEST(rule2__fstype_is_that_of_hammer2),
		TEST(rule3__ids_are_below_64),
		TEST(rule3__no_id_comes_twice),
		TEST(rule3__ids_begin_with_0_and_have_no_gap),
		TEST(rule4__count_is_that_of_the_root_header),
		TEST(rule4__count_is_1_to_64),
		TEST(rule5__total_size_is_the_sum),
		TEST(rule6__offsets_are_set_for_the_volumes_that_exist_and_no_others),
		TEST(rule7__volumes_begin_where_the_one_before_ends),
		TEST(rule8__sizes_are_multiples),
		TEST(rule9__size_is_not_zero_and_fits_the_device),
		TEST(version1__has_one_volume),
		TEST(version1__has_zeros_where_version_2_counts),
		TEST(version1__size_is_a_multiple_of_8_mib),
		TEST(fs__free_space_is_never_more_than_there_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
