/* Volume headers, format/header.c. */
#include "unit.h"

#include "check.h"
#include "format.h"

static struct h2d_volume_header d;

static int setup(void **state)
{
	struct h2_volume_header h = {
		.volu_size = 64 * MIB,
		.version = 2,
		.nvolumes = 1,
		.fstype = h2_fstype_uuid,
		.mirror_tid = 16,
		.total_size = 64 * MIB,
	};

	(void)state;
	memset(&d, 0, sizeof(d));
	h2_volume_header_encode(&h, &d);
	h2_volume_header_seal(&d);
	return 0;
}

static void header__sealed_header_is_good(void **state)
{
	struct h2_header_crcs crcs;

	(void)state;
	assert_int_equal(h2_volume_header_check(&d, &crcs), H2_HEADER_GOOD);
	assert_int_equal(h2_volume_header_check(&d, NULL), H2_HEADER_GOOD);
	assert_int_equal(crcs.sect1, le32_get(d.icrc_sects[6]));
	assert_int_equal(crcs.sect0, le32_get(d.icrc_sects[7]));
	assert_int_equal(crcs.whole, le32_get(d.icrc_volheader));
}

/* MF 2.3: which bytes each CRC covers. */
static void header__each_crc_covers_its_bytes(void **state)
{
	const uint8_t *bytes = (const uint8_t *)&d;

	(void)state;
	unit_noise((uint8_t *)&d + 8, sizeof(d) - 8, 1);
	h2_volume_header_seal(&d);
	assert_int_equal(le32_get(d.icrc_sects[6]), h2_crc32c(bytes + 0x200, 512));
	assert_int_equal(le32_get(d.icrc_sects[7]), h2_crc32c(bytes, 508));
	assert_int_equal(le32_get(d.icrc_volheader), h2_crc32c(bytes, 65532));
	assert_int_equal(h2_volume_header_check(&d, NULL), H2_HEADER_GOOD);
}

static void header__one_flipped_bit_is_found_and_placed(void **state)
{
	static const struct {
		unsigned offset;
		enum h2_header_state expected;
	} rows[] = {
		{0x008, H2_HEADER_BAD_SECT0},  {0x028, H2_HEADER_BAD_SECT0},
		{0x0e8, H2_HEADER_BAD_SECT0},  {0x1e0, H2_HEADER_BAD_SECT0},
		{0x1f8, H2_HEADER_BAD_SECT0}, /* icrc_sects[6] lies in the range of [7] */
		{0x1fc, H2_HEADER_BAD_SECT0},  {0x200, H2_HEADER_BAD_SECT1},
		{0x3ff, H2_HEADER_BAD_SECT1},  {0x400, H2_HEADER_BAD_WHOLE},
		{0x800, H2_HEADER_BAD_WHOLE},  {0xe00, H2_HEADER_BAD_WHOLE},
		{0x9000, H2_HEADER_BAD_WHOLE}, {0xfffb, H2_HEADER_BAD_WHOLE},
		{0xfffc, H2_HEADER_BAD_WHOLE}, {0xffff, H2_HEADER_BAD_WHOLE},
	};

	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		setup(state);
		((uint8_t *)&d)[rows[i].offset] ^= 0x10;
		assert_int_equal(h2_volume_header_check(&d, NULL), rows[i].expected);
	}
}

/*
 * A property of the format that writers must know: the CRC of sector 0 stands right behind the
 * bytes it covers, so that the state of the whole CRC after sector 0 is the same for all sectors
 * 0 whose own CRC is right. A header of a new sector 0 and old other sectors therefore passes,
 * unless sector 1 changed as well: each commit must change the super-root's blockref.
 */
static void header__whole_crc_does_not_see_a_sealed_sector_0(void **state)
{
	struct h2d_volume_header torn = d;

	(void)state;
	d.mirror_tid = le64_make(17);
	h2_volume_header_seal(&d);
	memcpy(&torn, &d, 512);
	assert_int_equal(h2_volume_header_check(&torn, NULL), H2_HEADER_GOOD);
	torn = d;
	d.mirror_tid = le64_make(18);
	d.sroot_blockset[0].mirror_tid = le64_make(18);
	h2_volume_header_seal(&d);
	memcpy(&torn, &d, 512);
	assert_int_equal(h2_volume_header_check(&torn, NULL), H2_HEADER_BAD_SECT1);
	memcpy(&torn, &d, 1024);
	assert_int_equal(h2_volume_header_check(&torn, NULL), H2_HEADER_BAD_WHOLE);
}

static void header__any_flipped_bit_is_found(void **state)
{
	(void)state;
	for (unsigned offset = 0; offset < sizeof(d); offset += 97) {
		((uint8_t *)&d)[offset] ^= 1;
		assert_int_not_equal(h2_volume_header_check(&d, NULL), H2_HEADER_GOOD);
		((uint8_t *)&d)[offset] ^= 1;
	}
	assert_int_equal(h2_volume_header_check(&d, NULL), H2_HEADER_GOOD);
}

static void header__magic_tells_order_and_absence(void **state)
{
	static const uint8_t native[] = {0x11, 0x20, 0x17, 0x05, 0x32, 0x4d, 0x41, 0x48};

	(void)state;
	assert_memory_equal(&d.magic, native, 8);
	d.magic = le64_make(H2_MAGIC_SWAPPED);
	h2_volume_header_seal(&d);
	assert_int_equal(h2_volume_header_check(&d, NULL), H2_HEADER_SWAPPED);
	d.magic = le64_make(H2_MAGIC + 1);
	h2_volume_header_seal(&d);
	assert_int_equal(h2_volume_header_check(&d, NULL), H2_HEADER_NO_MAGIC);
	memset(&d, 0, sizeof(d));
	assert_int_equal(h2_volume_header_check(&d, NULL), H2_HEADER_NO_MAGIC);
}

/* MF 2.3: slots 3, 4 and 5 are ignored. */
static void header__unused_crc_slots_are_ignored(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 6; i++)
		d.icrc_sects[i] = le32_make(0xdeadbeef);
	h2_volume_header_seal(&d);
	assert_int_equal(h2_volume_header_check(&d, NULL), H2_HEADER_GOOD);
	assert_int_equal(le32_get(d.icrc_sects[3]), 0xdeadbeef);
}

static void header__reserved_bytes_survive_encoding(void **state)
{
	struct h2_volume_header h;
	struct h2d_volume_header before;

	(void)state;
	unit_noise((uint8_t *)&d, sizeof(d), 3);
	d.magic = le64_make(H2_MAGIC);
	/* Blockrefs have no reserved bytes that must stay: their unused ones become zero. */
	memset(d.sroot_blockset, 0, sizeof(d.sroot_blockset));
	memset(d.freemap_blockset, 0, sizeof(d.freemap_blockset));
	before = d;
	h2_volume_header_decode(&d, &h);
	h2_volume_header_encode(&h, &d);
	assert_memory_equal(&d, &before, sizeof(d));
}

static void header__members_are_where_the_format_puts_them(void **state)
{
	static const struct {
		unsigned offset;
		size_t member;
		unsigned size;
	} rows[] = {
#define ROW(offset, name)                                                                          \
	{offset, offsetof(struct h2_volume_header, name),                                          \
	 sizeof(((struct h2_volume_header *)0)->name)}
		ROW(0x08, boot_beg),       ROW(0x10, boot_end),       ROW(0x18, aux_beg),
		ROW(0x20, aux_end),        ROW(0x28, volu_size),      ROW(0x30, version),
		ROW(0x34, flags),          ROW(0x38, copyid),         ROW(0x39, freemap_version),
		ROW(0x3a, peer_type),      ROW(0x3b, volu_id),        ROW(0x3c, nvolumes),
		ROW(0x40, fsid),           ROW(0x50, fstype),         ROW(0x60, allocator_size),
		ROW(0x68, allocator_free), ROW(0x70, allocator_beg),  ROW(0x78, mirror_tid),
		ROW(0x90, freemap_tid),    ROW(0x98, bulkfree_tid),   ROW(0xc0, total_size),
		ROW(0xe00, volu_loff[0]),  ROW(0xff8, volu_loff[63]), ROW(0xfffc, icrc_volheader),
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		struct h2_volume_header h;
		uint8_t *host = (uint8_t *)&h + rows[i].member;
		uint64_t value = 0;

		memset(&d, 0, sizeof(d));
		((uint8_t *)&d)[rows[i].offset] = 0x5a;
		h2_volume_header_decode(&d, &h);
		/* As a number in the host's order, or as the first byte of a UUID. */
		if (rows[i].size == 8)
			memcpy(&value, host, 8);
		else if (rows[i].size == 4)
			value = *(uint32_t *)host;
		else
			value = host[0];
		assert_int_equal(value, 0x5a);
	}
}

static void header__states_have_names(void **state)
{
	(void)state;
	for (unsigned s = H2_HEADER_GOOD; s <= H2_HEADER_BAD_WHOLE; s++)
		assert_true(strlen(h2_header_state_name((enum h2_header_state)s)) > 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(header__sealed_header_is_good, setup),
		cmocka_unit_test_setup(header__each_crc_covers_its_bytes, setup),
		cmocka_unit_test_setup(header__one_flipped_bit_is_found_and_placed, setup),
		cmocka_unit_test_setup(header__whole_crc_does_not_see_a_sealed_sector_0, setup),
		cmocka_unit_test_setup(header__any_flipped_bit_is_found, setup),
		cmocka_unit_test_setup(header__magic_tells_order_and_absence, setup),
		cmocka_unit_test_setup(header__unused_crc_slots_are_ignored, setup),
		cmocka_unit_test_setup(header__reserved_bytes_survive_encoding, setup),
		cmocka_unit_test_setup(header__members_are_where_the_format_puts_them, setup),
		cmocka_unit_test_setup(header__states_have_names, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
