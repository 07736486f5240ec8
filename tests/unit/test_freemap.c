/* The freemap's geometry and records, format/freemap.c. */
#include "unit.h"

#include "check.h"
#include "format.h"

static struct h2d_freemap_record records[H2_FREEMAP_RECORDS];

static void set_record(unsigned i, uint32_t linear, uint16_t class_, uint32_t avail, uint64_t word)
{
	struct h2_freemap_record r = {
		.linear = linear,
		.class_ = class_,
		.avail = avail,
		.bitmap = {word},
	};

	h2_freemap_record_encode(&r, &records[i]);
}

static uint32_t leaf_crc(void)
{
	assert_int_equal(sizeof(records), H2_FREEMAP_BLOCK_SIZE);
	return h2_crc32c(records, sizeof(records));
}

/* MF A.5: the leaf behind the example blockref. */
static void leaf__of_2_gib_matches_the_test_vector(void **state)
{
	(void)state;
	assert_int_equal(h2_freemap_leaf_init(records, 0, 0x8400c00, 2 * GIB), 931135488);
	set_record(34, 10240, 0x0110, 4177920, 3);
	set_record(35, 8192, 0x0210, 4177920, 3);
	assert_int_equal(leaf_crc(), 0x9696985a);
}

/* MF A.6. */
static void leaf__of_64_mib_matches_the_test_vectors(void **state)
{
	(void)state;
	assert_int_equal(h2_freemap_leaf_init(records, 0, 0x1400c00, 64 * MIB), 41943040);
	assert_int_equal(leaf_crc(), 0x3dd62e95);
	for (unsigned i = 0; i < H2_FREEMAP_RECORDS; i++) {
		assert_int_equal(h2_freemap_state(records, i * H2_SEGMENT),
				 i >= 6 && i <= 15 ? H2_GRANULE_FREE : H2_GRANULE_ALLOCATED);
		assert_int_equal(le32_get(records[i].avail), i >= 6 && i <= 15 ? 4194304 : 0);
	}
	set_record(6, 1024, 0x0110, 4177920, 3);
	assert_int_equal(leaf_crc(), 0x60fbc712);
}

static void leaf__of_the_second_zone_matches_the_test_vector(void **state)
{
	(void)state;
	assert_int_equal(h2_freemap_leaf_init(records, GIB, 0x8400c00, 3 * GIB), 1069547520);
	assert_int_equal(leaf_crc(), 0x6c7ae4d5);
	assert_int_equal(h2_freemap_state(records, 0), H2_GRANULE_ALLOCATED);
	assert_int_equal(h2_freemap_state(records, H2_SEGMENT - 1), H2_GRANULE_ALLOCATED);
	assert_int_equal(h2_freemap_state(records, H2_SEGMENT), H2_GRANULE_FREE);
	assert_int_equal(h2_freemap_state(records, GIB - 1), H2_GRANULE_FREE);
}

/* MF 10.7: "hi can be below lo". */
static void leaf__may_have_nothing_free(void **state)
{
	(void)state;
	assert_int_equal(h2_freemap_leaf_init(records, 0, 0x1400c00, 24 * MIB), 0);
	assert_int_equal(h2_freemap_leaf_init(records, 2 * GIB, 0x1400c00, 2 * GIB + 4 * MIB), 0);
	for (unsigned i = 0; i < H2_FREEMAP_RECORDS; i++)
		assert_int_equal(h2_freemap_state(records, i * H2_SEGMENT), H2_GRANULE_ALLOCATED);
}

static void leaf__cuts_a_part_of_a_segment_at_the_end(void **state)
{
	(void)state;
	assert_int_equal(h2_freemap_leaf_init(records, 0, 0x1400c00, 32 * MIB + 3 * MIB), 8 * MIB);
	assert_int_equal(h2_freemap_state(records, 31 * MIB), H2_GRANULE_FREE);
	assert_int_equal(h2_freemap_state(records, 32 * MIB), H2_GRANULE_ALLOCATED);
}

/* MF 10.5: record, word and pair of a byte. */
static void state__picks_the_pair_of_its_granule(void **state)
{
	static const uint64_t granules[] = {0, 1, 31, 32, 33, 255, 256, 257, 40000, 65535};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(granules); i++) {
		for (unsigned s = 0; s <= 3; s++) {
			uint64_t g = granules[i];
			uint8_t *byte = (uint8_t *)&records[g / 256] + 0x40 + g % 256 / 4;

			memset(records, 0, sizeof(records));
			*byte = (uint8_t)(s << 2 * (g % 4));
			assert_int_equal(h2_freemap_state(records, g * 16384), s);
			assert_int_equal(h2_freemap_state(records, g * 16384 + 16383), s);
			assert_int_equal(h2_freemap_state(records, (g * 16384 + 16384) % GIB), 0);
		}
	}
}

static void record__survives_encoding_and_reserved_bytes_stay(void **state)
{
	struct h2d_freemap_record d, before;
	struct h2_freemap_record r;

	(void)state;
	unit_noise((uint8_t *)&d, sizeof(d), 12);
	before = d;
	h2_freemap_record_decode(&d, &r);
	h2_freemap_record_encode(&r, &d);
	assert_memory_equal(&d, &before, sizeof(d));
	assert_int_equal(r.linear, le32_get(before.linear));
	assert_int_equal(r.class_, le16_get(before.class_));
	assert_int_equal(r.avail, le32_get(before.avail));
	assert_int_equal(r.bitmap[7], le64_get(before.bitmap[7]));
}

/* MF A.6, block positions. */
static void data_off__matches_the_test_vectors(void **state)
{
	(void)state;
	assert_int_equal(h2_freemap_data_off(1, 0, 0), 0x1000f);
	assert_int_equal(h2_freemap_data_off(1, 0, 1), 0x6000f);
	assert_int_equal(h2_freemap_data_off(1, 0, 3), 0x10000f);
	assert_int_equal(h2_freemap_data_off(1, 0, 7), 0x24000f);
	assert_int_equal(h2_freemap_data_off(1, GIB, 0), 0x4001000f);
	assert_int_equal(h2_freemap_data_off(2, 0, 0), 0x2000f);
	assert_int_equal(h2_freemap_data_off(2, 256 * GIB, 2), UINT64_C(0x40000c000f));
	assert_int_equal(h2_freemap_data_off(5, 0, 7), 0x28000f);
}

static void data_off__all_slots_differ_and_lie_in_1_to_40(void **state)
{
	uint64_t seen = 0;

	(void)state;
	for (unsigned set = 0; set < H2_FREEMAP_SETS; set++) {
		for (unsigned level = 1; level <= 5; level++) {
			uint64_t off = h2_freemap_data_off(level, 0, set);
			unsigned slot = (unsigned)(off >> 16);

			assert_int_equal(off & 0xffff, 15);
			assert_true(slot >= 1 && slot <= 40);
			assert_int_equal(seen >> slot & 1, 0);
			seen |= UINT64_C(1) << slot;
			assert_int_equal((((off >> 16) & 63) - 1) / 5, set); /* MF 10.4 */
		}
	}
}

/* MF 10.3. */
static void level__is_that_of_the_five_widths(void **state)
{
	(void)state;
	for (unsigned bits = 0; bits < 256; bits++) {
		unsigned expected = bits == 30   ? 1
				    : bits == 38 ? 2
				    : bits == 46 ? 3
				    : bits == 54 ? 4
				    : bits == 62 ? 5
						 : 0;

		assert_int_equal(h2_freemap_level(bits), expected);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leaf__of_2_gib_matches_the_test_vector),
		cmocka_unit_test(leaf__of_64_mib_matches_the_test_vectors),
		cmocka_unit_test(leaf__of_the_second_zone_matches_the_test_vector),
		cmocka_unit_test(leaf__may_have_nothing_free),
		cmocka_unit_test(leaf__cuts_a_part_of_a_segment_at_the_end),
		cmocka_unit_test(state__picks_the_pair_of_its_granule),
		cmocka_unit_test(record__survives_encoding_and_reserved_bytes_stay),
		cmocka_unit_test(data_off__matches_the_test_vectors),
		cmocka_unit_test(data_off__all_slots_differ_and_lie_in_1_to_40),
		cmocka_unit_test(level__is_that_of_the_five_widths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
