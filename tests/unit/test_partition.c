/* Partition tables, device/partition.h, on disks that are built here. */
#include "unit.h"

#include <hammer2/report.h>
#include <libdeflate.h>

#include "partition.h"
#include "sim.h"

#define DISK (64 * MIB)

static struct h2_sim *sim;
static struct h2_device *dev;

static int setup(void **state)
{
	(void)state;
	sim = h2_sim_new(DISK);
	return !sim || h2_sim_open(sim, false, &dev);
}

static int teardown(void **state)
{
	(void)state;
	h2_device_close(dev);
	h2_sim_free(sim);
	return 0;
}

static void put(uint64_t offset, const void *bytes, size_t len)
{
	assert_int_equal(h2_sim_poke(sim, offset, bytes, len), 0);
}

static void set_le(uint8_t *at, uint64_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

static void expect(const char *name, int err, uint64_t offset, uint64_t size)
{
	uint64_t got_offset = 0, got_size = 0;
	int got = h2_partition_find(dev, name, &got_offset, &got_size);

	if (got != err || got_offset != offset || got_size != size)
		print_error("%s: %d, %llu bytes at %llu\n", name, got, (unsigned long long)got_size,
			    (unsigned long long)got_offset);
	assert_int_equal(got, err);
	assert_int_equal(got_offset, offset);
	assert_int_equal(got_size, size);
}

/* ---- names ---- */

static void name__forms(void **state)
{
	static const char *const good[] = {"p1",  "p9",  "p128", "p9999", "s0", "s1", "s4",
					   "s1d", "s0a", "p2p",  "a",     "d",  "p"};
	static const char *const bad[] = {
		"",
		"p0",
		"p01",
		"s00",
		"s01",
		"q",
		"z",
		"s",
		"x1",
		"1",
		"p1q",
		"s1dd",
		"s1d1",
		"ab",
		"p-1",
		"p 1",
		"P1",
		"S1",
		"A",
		"p1A",
		"aa",
		"p10000",
		"s99999999999999999999",
		"data.img",
		"/a",
		"p1/",
		"s1:d",
		"pp",
		"pa",
		"sd",
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(good); i++)
		assert_true(h2_partition_name_valid(good[i]));
	for (size_t i = 0; i < LENGTH_OF(bad); i++) {
		if (h2_partition_name_valid(bad[i]))
			print_error("\"%s\" was accepted\n", bad[i]);
		assert_false(h2_partition_name_valid(bad[i]));
		expect(bad[i], -ENOENT, 0, 0);
	}
}

static void find__on_an_empty_disk_finds_nothing(void **state)
{
	static const char *const names[] = {"p1", "p128", "s0", "s1", "s1d", "a", "p"};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(names); i++)
		expect(names[i], -ENOENT, 0, 0);
}

static void find__on_tiny_disks_finds_nothing(void **state)
{
	static const uint64_t sizes[] = {0, 1, 511, 512, 1023, 1024, 1536, 4096, 8192, 12288};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(sizes); i++) {
		struct h2_sim *tiny = h2_sim_new(sizes[i]);
		struct h2_device *d;
		uint64_t offset, size;

		assert_non_null(tiny);
		assert_int_equal(h2_sim_open(tiny, false, &d), 0);
		assert_int_equal(h2_partition_find(d, "p1", &offset, &size), -ENOENT);
		assert_int_equal(h2_partition_find(d, "s1a", &offset, &size), -ENOENT);
		assert_int_equal(h2_partition_find(d, "a", &offset, &size), -ENOENT);
		h2_device_close(d);
		h2_sim_free(tiny);
	}
}

static void find__read_errors_are_passed_on(void **state)
{
	(void)state;
	h2_sim_set_fault(sim, H2_SIM_READ, H2_SIM_FAIL, 0, UINT64_MAX, -EIO);
	expect("p1", -EIO, 0, 0);
	expect("a", -EIO, 0, 0);
}

/* ---- MBR ---- */

static uint8_t mbr[512];

static void mbr_entry(unsigned n, uint8_t type, uint32_t first, uint32_t count)
{
	uint8_t *e = mbr + 446 + 16 * (n - 1);

	e[4] = type;
	set_le(e + 8, first, 4);
	set_le(e + 12, count, 4);
}

static int setup_mbr(void **state)
{
	memset(mbr, 0, sizeof(mbr));
	set_le(mbr + 510, 0xaa55, 2);
	return setup(state);
}

static void write_mbr(void)
{
	put(0, mbr, sizeof(mbr));
}

static void mbr__entries_are_found_under_both_names(void **state)
{
	(void)state;
	mbr_entry(1, 0x83, 2048, 4096);
	mbr_entry(2, 0x6c, 8192, 1);
	mbr_entry(4, 0xa5, 131071, 1);
	write_mbr();
	expect("p1", 0, 2048 * 512, 4096 * 512);
	expect("s1", 0, 2048 * 512, 4096 * 512);
	expect("p2", 0, 8192 * 512, 512);
	expect("s4", 0, 131071 * 512, 512);
	expect("p3", -ENOENT, 0, 0);
	expect("p5", -ENOENT, 0, 0);
	expect("s0", -ENOENT, 0, 0);
	expect("s5", -ENOENT, 0, 0);
	expect("s1a", -ENOENT, 0, 0); /* no label inside */
}

static void mbr__empty_entries_are_not_there(void **state)
{
	(void)state;
	mbr_entry(1, 0, 2048, 4096);
	mbr_entry(2, 0x83, 2048, 0);
	mbr_entry(3, 0x83, 2048, 1);
	write_mbr();
	expect("p1", -ENOENT, 0, 0);
	expect("p2", -ENOENT, 0, 0);
	expect("p3", 0, 2048 * 512, 512);
}

static void mbr__entries_outside_the_disk_are_damage(void **state)
{
	(void)state;
	mbr_entry(1, 0x83, 0, 131072); /* all of it */
	mbr_entry(2, 0x83, 1, 131072); /* one sector too many */
	mbr_entry(3, 0x83, UINT32_MAX, 1);
	mbr_entry(4, 0x83, 1, UINT32_MAX);
	write_mbr();
	expect("p1", 0, 0, DISK);
	expect("p2", -H2_ECORRUPT, 0, 0);
	expect("p3", -H2_ECORRUPT, 0, 0);
	expect("p4", -H2_ECORRUPT, 0, 0);
}

static void mbr__needs_its_signature(void **state)
{
	(void)state;
	mbr_entry(1, 0x83, 2048, 4096);
	mbr[511] = 0;
	write_mbr();
	expect("p1", -ENOENT, 0, 0);
}

/* ---- GPT ---- */

struct gpt {
	uint32_t sector_size, entry_size, entry_count;
	uint8_t entries[128 * 512];
	uint8_t primary[4096], backup[4096];
};

static struct gpt gpt;

static uint8_t *gpt_entry(unsigned index, uint64_t first, uint64_t last)
{
	uint8_t *e = gpt.entries + (size_t)index * gpt.entry_size;

	memset(e, 0x61, 16);
	set_le(e + 32, first, 8);
	set_le(e + 40, last, 8);
	return e;
}

static size_t entries_bytes(void)
{
	return (size_t)gpt.entry_size * gpt.entry_count;
}

static void seal_header(uint8_t *header)
{
	set_le(header + 16, 0, 4);
	set_le(header + 16, libdeflate_crc32(0, header, 92), 4);
}

static void fill_header(uint8_t *header, uint64_t lba, uint64_t other, uint64_t entries_lba)
{
	memset(header, 0, 4096);
	memcpy(header, "EFI PART", 8);
	set_le(header + 8, 0x10000, 4);
	set_le(header + 12, 92, 4);
	set_le(header + 24, lba, 8);
	set_le(header + 32, other, 8);
	set_le(header + 40, 34, 8);
	set_le(header + 48, DISK / gpt.sector_size - 34, 8);
	set_le(header + 72, entries_lba, 8);
	set_le(header + 80, gpt.entry_count, 4);
	set_le(header + 84, gpt.entry_size, 4);
	set_le(header + 88, libdeflate_crc32(0, gpt.entries, entries_bytes()), 4);
	seal_header(header);
}

static uint64_t last_lba(void)
{
	return DISK / gpt.sector_size - 1;
}

static uint64_t backup_entries_lba(void)
{
	return last_lba() - (entries_bytes() + gpt.sector_size - 1) / gpt.sector_size;
}

/* Make both headers for the entries; write_gpt() writes what then is there. */
static void fill_gpt(void)
{
	fill_header(gpt.primary, 1, last_lba(), 2);
	fill_header(gpt.backup, last_lba(), 1, backup_entries_lba());
}

static void write_gpt(void)
{
	uint8_t protective[512] = {0};

	protective[446 + 4] = 0xee;
	set_le(protective + 446 + 8, 1, 4);
	set_le(protective + 446 + 12, UINT32_MAX, 4);
	set_le(protective + 510, 0xaa55, 2);
	put(0, protective, sizeof(protective));
	put(gpt.sector_size, gpt.primary, gpt.sector_size);
	put(2 * gpt.sector_size, gpt.entries, entries_bytes());
	put(last_lba() * gpt.sector_size, gpt.backup, gpt.sector_size);
	put(backup_entries_lba() * gpt.sector_size, gpt.entries, entries_bytes());
}

static int setup_gpt(void **state)
{
	memset(&gpt, 0, sizeof(gpt));
	gpt.sector_size = 512;
	gpt.entry_size = 128;
	gpt.entry_count = 128;
	return setup(state);
}

static void gpt__entries_count_from_1_for_p_and_from_0_for_s(void **state)
{
	static const uint32_t sector_sizes[] = {512, 4096};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(sector_sizes); i++) {
		uint32_t s = gpt.sector_size = sector_sizes[i];

		teardown(state);
		setup(state);
		memset(gpt.entries, 0, sizeof(gpt.entries));
		gpt_entry(0, 100, 199);
		gpt_entry(1, 200, 200);
		gpt_entry(127, 300, 399);
		fill_gpt();
		write_gpt();
		expect("p1", 0, 100 * s, 100 * s);
		expect("s0", 0, 100 * s, 100 * s);
		expect("p2", 0, 200 * s, s);
		expect("s1", 0, 200 * s, s);
		expect("p3", -ENOENT, 0, 0);
		expect("p128", 0, 300 * s, 100 * s);
		expect("s127", 0, 300 * s, 100 * s);
		expect("p129", -ENOENT, 0, 0);
		expect("s128", -ENOENT, 0, 0);
	}
}

static void gpt__larger_entries_are_read(void **state)
{
	(void)state;
	gpt.entry_size = 512;
	gpt_entry(1, 5000, 5999);
	fill_gpt();
	write_gpt();
	expect("p2", 0, 5000 * 512, 1000 * 512);
	expect("p1", -ENOENT, 0, 0);
}

static void gpt__is_found_without_an_mbr(void **state)
{
	static const uint8_t zeros[512];

	(void)state;
	gpt_entry(0, 100, 199);
	fill_gpt();
	write_gpt();
	put(0, zeros, sizeof(zeros));
	expect("p1", 0, 51200, 51200);
}

static void gpt__a_real_mbr_wins_over_a_stale_one(void **state)
{
	(void)state;
	gpt_entry(0, 100, 199);
	fill_gpt();
	write_gpt();
	memset(mbr, 0, sizeof(mbr));
	set_le(mbr + 510, 0xaa55, 2);
	mbr_entry(1, 0x83, 2048, 1);
	write_mbr();
	expect("p1", 0, 2048 * 512, 512);
}

static void gpt__bad_primary_falls_back_to_the_backup(void **state)
{
	static const struct {
		unsigned offset;
		uint8_t flip;
	} damages[] = {
		{0, 0x01},  /* signature */
		{16, 0x01}, /* CRC of the header */
		{12, 0x80}, /* header size */
		{24, 0x01}, /* LBA of itself */
		{88, 0x01}, /* CRC of the entries */
		{80, 0x01}, /* number of entries */
	};

	(void)state;
	gpt_entry(0, 100, 199);
	for (size_t i = 0; i < LENGTH_OF(damages); i++) {
		fill_gpt();
		gpt.primary[damages[i].offset] ^= damages[i].flip;
		write_gpt();
		expect("p1", 0, 51200, 51200);
	}
}

static void gpt__damaged_primary_entries_fall_back_to_the_backup(void **state)
{
	(void)state;
	gpt_entry(0, 100, 199);
	fill_gpt();
	write_gpt();
	put(1024 + 60, "x", 1);
	expect("p1", 0, 51200, 51200);
}

static void gpt__both_copies_bad_is_an_error(void **state)
{
	(void)state;
	gpt_entry(0, 100, 199);
	fill_gpt();
	gpt.primary[60] ^= 1;
	gpt.backup[60] ^= 1;
	write_gpt();
	expect("p1", -H2_ECHECK, 0, 0);
	expect("p9", -H2_ECHECK, 0, 0);
	fill_gpt();
	write_gpt();
	put(1024 + 60, "x", 1);
	put(backup_entries_lba() * 512 + 60, "x", 1);
	expect("p1", -H2_ECHECK, 0, 0);
}

/* Hostile headers with right CRCs, in both copies. */
static void gpt__impossible_headers_are_damage(void **state)
{
	static const struct {
		unsigned offset, size;
		uint64_t value;
	} damages[] = {
		{84, 4, 0},          {84, 4, 1},
		{84, 4, 127},        {84, 4, 129},
		{84, 4, 192},        {84, 4, UINT32_MAX},
		{84, 4, 0x80000000}, {80, 4, 0},
		{80, 4, UINT32_MAX}, {80, 4, 0x02000000}, /* times 128: 0 */
		{72, 8, UINT64_MAX}, {72, 8, 131072},
		{72, 8, 131071},     {72, 8, UINT64_C(0x0080000000000002)}, /* times 512: 1024 */
		{24, 8, 2},          {24, 8, UINT64_MAX},
	};

	(void)state;
	gpt_entry(0, 100, 199);
	for (size_t i = 0; i < LENGTH_OF(damages); i++) {
		fill_gpt();
		set_le(gpt.primary + damages[i].offset, damages[i].value, damages[i].size);
		set_le(gpt.backup + damages[i].offset, damages[i].value, damages[i].size);
		seal_header(gpt.primary);
		seal_header(gpt.backup);
		write_gpt();
		expect("p1", -H2_ECORRUPT, 0, 0);
	}
}

static void gpt__header_size_is_bounded(void **state)
{
	static const uint32_t sizes[] = {0, 91, 513, 4096, UINT32_MAX};

	(void)state;
	gpt_entry(0, 100, 199);
	for (size_t i = 0; i < LENGTH_OF(sizes); i++) {
		fill_gpt();
		set_le(gpt.primary + 12, sizes[i], 4);
		set_le(gpt.backup + 12, sizes[i], 4);
		seal_header(gpt.primary);
		seal_header(gpt.backup);
		write_gpt();
		expect("p1", -H2_ECORRUPT, 0, 0);
	}
	/* The whole sector is a legal size. */
	fill_gpt();
	set_le(gpt.primary + 12, 512, 4);
	set_le(gpt.primary + 16, 0, 4);
	set_le(gpt.primary + 16, libdeflate_crc32(0, gpt.primary, 512), 4);
	write_gpt();
	expect("p1", 0, 51200, 51200);
}

static void gpt__entries_outside_the_disk_are_damage(void **state)
{
	static const struct {
		uint64_t first, last;
		int err;
	} rows[] = {
		{100, 99, -H2_ECORRUPT},
		{131071, 131071, 0},
		{131071, 131072, -H2_ECORRUPT},
		{131072, 131072, -H2_ECORRUPT},
		{0, UINT64_MAX, -H2_ECORRUPT},
		{1, UINT64_MAX, -H2_ECORRUPT},
		{UINT64_MAX, 0, -H2_ECORRUPT},
		{UINT64_MAX, UINT64_MAX, -H2_ECORRUPT},
		{UINT64_C(1) << 55, UINT64_C(1) << 55, -H2_ECORRUPT},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		gpt_entry(0, rows[i].first, rows[i].last);
		fill_gpt();
		write_gpt();
		if (rows[i].err)
			expect("p1", rows[i].err, 0, 0);
		else
			expect("p1", 0, rows[i].first * 512,
			       (rows[i].last - rows[i].first + 1) * 512);
	}
}

/* ---- disklabel64 ---- */

static uint8_t label[1736];

static void label_partition(unsigned index, uint64_t offset, uint64_t size)
{
	set_le(label + 712 + 64 * index, offset, 8);
	set_le(label + 712 + 64 * index + 8, size, 8);
}

static void seal_label(unsigned count)
{
	set_le(label + 512, 0xc4464c59, 4);
	set_le(label + 516, 0, 4);
	set_le(label + 524, count, 4);
	set_le(label + 516, libdeflate_crc32(0, label + 512, 200 + 64 * count), 4);
}

static int setup_label(void **state)
{
	memset(label, 0, sizeof(label));
	unit_noise(label, 512, 1); /* boot code: not covered */
	label_partition(0, 1 * MIB, 2 * MIB);
	label_partition(3, 3 * MIB, 5 * MIB);
	label_partition(15, 62 * MIB, 2 * MIB);
	return setup(state);
}

static void label__covers_a_whole_device(void **state)
{
	(void)state;
	seal_label(16);
	put(0, label, sizeof(label));
	expect("a", 0, 1 * MIB, 2 * MIB);
	expect("d", 0, 3 * MIB, 5 * MIB);
	expect("p", 0, 62 * MIB, 2 * MIB);
	expect("b", -ENOENT, 0, 0);
	expect("s1a", -ENOENT, 0, 0);
}

static void label__is_relative_to_its_slice(void **state)
{
	(void)state;
	memset(mbr, 0, sizeof(mbr));
	set_le(mbr + 510, 0xaa55, 2);
	mbr_entry(1, 0x6c, 2048, 20480); /* 10 MiB at 1 MiB */
	write_mbr();
	seal_label(16);
	put(1 * MIB, label, sizeof(label));
	expect("s1a", 0, 2 * MIB, 2 * MIB);
	expect("s1d", 0, 4 * MIB, 5 * MIB);
	expect("p1d", 0, 4 * MIB, 5 * MIB);
	expect("s1p", -H2_ECORRUPT, 0, 0); /* inside the disk, outside the slice */
	expect("s2d", -ENOENT, 0, 0);
	expect("d", -ENOENT, 0, 0);
}

static void label__in_a_gpt_slice(void **state)
{
	teardown(state);
	setup_gpt(state);
	gpt_entry(1, 4096, 4096 + 20479);
	fill_gpt();
	write_gpt();
	seal_label(16);
	put(2 * MIB, label, sizeof(label));
	expect("s1d", 0, 5 * MIB, 5 * MIB);
	expect("p2d", 0, 5 * MIB, 5 * MIB);
	expect("s0d", -ENOENT, 0, 0);
}

static void label__has_as_many_partitions_as_it_says(void **state)
{
	(void)state;
	label_partition(3, 3 * MIB, 5 * MIB);
	seal_label(4);
	label[712 + 64 * 4] ^= 0xff; /* behind the last one: neither covered nor read */
	put(0, label, sizeof(label));
	expect("d", 0, 3 * MIB, 5 * MIB);
	expect("e", -ENOENT, 0, 0);
	expect("p", -ENOENT, 0, 0);
	seal_label(0);
	put(0, label, sizeof(label));
	expect("a", -ENOENT, 0, 0);
}

static void label__wrong_crc_is_an_error(void **state)
{
	static const unsigned covered[] = {516, 520, 524, 528, 544, 600, 700, 712, 712 + 1023};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(covered); i++) {
		seal_label(16);
		label[covered[i]] ^= 0x04; /* of the count: 16 becomes 20 */
		put(0, label, sizeof(label));
		expect("d", covered[i] == 524 ? -H2_ECORRUPT : -H2_ECHECK, 0, 0);
		label[covered[i]] ^= 0x04;
	}
}

static void label__too_many_partitions_are_damage(void **state)
{
	static const uint32_t counts[] = {17, 18, 0x10000, 0x80000000, UINT32_MAX};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(counts); i++) {
		seal_label(16);
		set_le(label + 524, counts[i], 4);
		put(0, label, sizeof(label));
		expect("a", -H2_ECORRUPT, 0, 0);
	}
}

static void label__partitions_outside_are_damage(void **state)
{
	static const struct {
		uint64_t offset, size;
		int err;
	} rows[] = {
		{0, DISK, 0},
		{1, DISK, -H2_ECORRUPT},
		{DISK - 1, 1, 0},
		{DISK, 1, -H2_ECORRUPT},
		{DISK + 1, 1, -H2_ECORRUPT},
		{UINT64_MAX, 1, -H2_ECORRUPT},
		{1, UINT64_MAX, -H2_ECORRUPT},
		{UINT64_MAX, UINT64_MAX, -H2_ECORRUPT},
		{MIB, 0, -ENOENT},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		label_partition(1, rows[i].offset, rows[i].size);
		seal_label(16);
		put(0, label, sizeof(label));
		if (rows[i].err)
			expect("b", rows[i].err, 0, 0);
		else
			expect("b", 0, rows[i].offset, rows[i].size);
	}
}

static void label__slice_too_short_for_one_has_none(void **state)
{
	(void)state;
	memset(mbr, 0, sizeof(mbr));
	set_le(mbr + 510, 0xaa55, 2);
	mbr_entry(1, 0x6c, 131072 - 3, 3);
	write_mbr();
	expect("s1", 0, DISK - 1536, 1536);
	expect("s1a", -ENOENT, 0, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_MBR(name) cmocka_unit_test_setup_teardown(name, setup_mbr, teardown)
#define TEST_GPT(name) cmocka_unit_test_setup_teardown(name, setup_gpt, teardown)
#define TEST_LABEL(name) cmocka_unit_test_setup_teardown(name, setup_label, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(name__forms),
		TEST(find__on_an_empty_disk_finds_nothing),
		TEST(find__on_tiny_disks_finds_nothing),
		TEST(find__read_errors_are_passed_on),
		TEST_MBR(mbr__entries_are_found_under_both_names),
		TEST_MBR(mbr__empty_entries_are_not_there),
		TEST_MBR(mbr__entries_outside_the_disk_are_damage),
		TEST_MBR(mbr__needs_its_signature),
		TEST_GPT(gpt__entries_count_from_1_for_p_and_from_0_for_s),
		TEST_GPT(gpt__larger_entries_are_read),
		TEST_GPT(gpt__is_found_without_an_mbr),
		TEST_GPT(gpt__a_real_mbr_wins_over_a_stale_one),
		TEST_GPT(gpt__bad_primary_falls_back_to_the_backup),
		TEST_GPT(gpt__damaged_primary_entries_fall_back_to_the_backup),
		TEST_GPT(gpt__both_copies_bad_is_an_error),
		TEST_GPT(gpt__impossible_headers_are_damage),
		TEST_GPT(gpt__header_size_is_bounded),
		TEST_GPT(gpt__entries_outside_the_disk_are_damage),
		TEST_LABEL(label__covers_a_whole_device),
		TEST_LABEL(label__is_relative_to_its_slice),
		TEST_LABEL(label__in_a_gpt_slice),
		TEST_LABEL(label__has_as_many_partitions_as_it_says),
		TEST_LABEL(label__wrong_crc_is_an_error),
		TEST_LABEL(label__too_many_partitions_are_damage),
		TEST_LABEL(label__partitions_outside_are_damage),
		TEST_LABEL(label__slice_too_short_for_one_has_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
