/* The hash of names, and which names there can be: format/name.c. */
#include "unit.h"

#include <hammer2/types.h>

#include "format.h"

struct vector {
	const char *name;
	size_t len;
	uint64_t hash;
};

#define NAME(text) text, sizeof(text) - 1

/* MF A.1, the rows that are texts. */
static const struct vector vectors[] = {
	{NAME(""), UINT64_C(0x8000000000008000)},
	{NAME("a"), UINT64_C(0xc1d0433082e08000)},
	{NAME("A"), UINT64_C(0xe16dcdee2c838000)},
	{NAME("0"), UINT64_C(0xe29e1ae0787e8000)},
	{NAME("."), UINT64_C(0x80000000bc108000)},
	{NAME("-"), UINT64_C(0x800000005cb48000)},
	{NAME("_"), UINT64_C(0x80000000e8ed8000)},
	{NAME("~"), UINT64_C(0x8000000037e68000)},
	{NAME(".."), UINT64_C(0x80000000c1578000)},
	{NAME("hammer2"), UINT64_C(0x9f2f13b58c9a8000)},
	{NAME("HAMMER2"), UINT64_C(0xf5c23f4f4a8d8000)},
	{NAME("BOOT"), UINT64_C(0xd9b36ce135528000)},
	{NAME("ROOT"), UINT64_C(0xb0d7dddc6d0b8000)},
	{NAME("DATA"), UINT64_C(0xc78fff92381d8000)},
	{NAME("LOCAL"), UINT64_C(0xde25e1c43fe18000)},
	{NAME("SUPROOT"), UINT64_C(0xb6d948347eed8000)},
	{NAME("a.b"), UINT64_C(0x9450f3f4307d8000)},
	{NAME("b.a"), UINT64_C(0x9450f3f4fa848000)},
	{NAME("a-b"), UINT64_C(0x9450f3f4ac038000)},
	{NAME(".a.b."), UINT64_C(0x9450f3f4d6bc8000)},
	{NAME("README.md"), UINT64_C(0xe0ef94bfd0c58000)},
	{NAME("lost+found"), UINT64_C(0x9651d00a465b8000)},
	{NAME("archive.tar.gz"), UINT64_C(0x90cc0e130fcf8000)},
	{NAME("file-name_with~all.seps"), UINT64_C(0xdf45ff07a7388000)},
	{NAME("0x0000000000000400"), UINT64_C(0xb1ba773cc6868000)},
	{NAME("a name with spaces"), UINT64_C(0xeb1956d13dc88000)},
	{NAME("\x63\x61\x66\xc3\xa9"), UINT64_C(0x9d248f38121c8000)},
	{NAME("\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e"), UINT64_C(0xfda0ed7010d08000)},
	{NAME("\xff\xfe\x80"), UINT64_C(0xc3d60f5ecc888000)},
	{NAME("a.c.b.h.f.e.d.g"), UINT64_C(0xe596b8c5c9588000)},
	{NAME("e.b.c.g.d.h.a.f"), UINT64_C(0xe596b8c5c9588000)},
	{NAME("f.c.b.g.e.d.a.h"), UINT64_C(0xe596b8c5c9588000)},
	{NAME("c.b.f.h.e.a.g.d"), UINT64_C(0xe596b8c5c9588000)},
	{NAME("a.g.c.d.h.f.b.e"), UINT64_C(0xe596b8c5c9588000)},
	{NAME("a.g.f.h.b.c.e.d"), UINT64_C(0xe596b8c5c9588000)},
	{NAME("b.e.h.g.d.c.f.a"), UINT64_C(0xe596b8c5c9588000)},
};

static void name_hash__matches_the_test_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < LENGTH_OF(vectors); i++)
		assert_int_equal(h2_name_hash(vectors[i].name, vectors[i].len), vectors[i].hash);
}

static void name_hash__matches_the_vectors_of_long_names(void **state)
{
	static const struct {
		size_t len;
		uint64_t hash;
	} rows[] = {
		{15, UINT64_C(0xfac5c23b38fe8000)},  {16, UINT64_C(0x80ac78db78778000)},
		{64, UINT64_C(0xdbc7ef6334a48000)},  {65, UINT64_C(0xdb71f8ea239b8000)},
		{255, UINT64_C(0xd3996824bbbd8000)},
	};
	uint8_t name[255];

	(void)state;
	memset(name, 'x', sizeof(name));
	for (size_t i = 0; i < LENGTH_OF(rows); i++)
		assert_int_equal(h2_name_hash(name, rows[i].len), rows[i].hash);
	for (unsigned i = 0; i < sizeof(name); i++)
		name[i] = (uint8_t)(i + 1);
	assert_int_equal(h2_name_hash(name, sizeof(name)), UINT64_C(0xb4ca97a282b18000));
}

/* MF 7.2, "properties worth knowing". */
static void name_hash__sets_bits_63_and_15_and_clears_the_collision_field(void **state)
{
	uint8_t name[255];

	(void)state;
	for (unsigned i = 0; i < 2000; i++) {
		size_t len = i % (sizeof(name) + 1);
		uint64_t hash;

		unit_noise(name, len, i);
		hash = h2_name_hash(name, len);
		assert_int_equal(hash >> 63, 1);
		assert_int_equal(hash & 0xffff, 0x8000);
	}
}

static void name_hash__of_separators_alone_has_an_empty_upper_half(void **state)
{
	(void)state;
	assert_int_equal(h2_name_hash("...---___~~~", 12) >> 32, 0x80000000);
	assert_int_equal(h2_name_hash(NULL, 0), UINT64_C(0x8000000000008000));
}

static void name_block_hash__covers_the_zero_padding(void **state)
{
	uint8_t name[1024] = {0};

	(void)state;
	/* MF A.2, "00 x 1024" and "ramp 1024". */
	assert_int_equal(h2_name_block_hash(name, 0), UINT64_C(0xa85f7f8931b8cf1e));
	assert_int_equal(h2_name_block_hash(name, 100), UINT64_C(0xa85f7f8931b8cf1e));
	unit_ramp(name, sizeof(name));
	assert_int_equal(h2_name_block_hash(name, 1024), UINT64_C(0x28c8208995b38bec));
}

static void name_valid__accepts_any_bytes_but_nul_and_slash(void **state)
{
	uint8_t name[255];

	(void)state;
	for (unsigned c = 1; c < 256; c++) {
		name[0] = (uint8_t)c;
		assert_int_equal(h2_name_valid(name, 1), c != '/' && c != '.');
	}
	memset(name, 0xff, sizeof(name));
	assert_true(h2_name_valid(name, 255));
	assert_true(h2_name_valid((const uint8_t *)"...", 3));
	assert_true(h2_name_valid((const uint8_t *)".a", 2));
	assert_true(h2_name_valid((const uint8_t *)"a.", 2));
}

static void name_valid__rejects_what_no_path_can_hold(void **state)
{
	static const struct {
		const char *name;
		size_t len;
	} bad[] = {
		{NAME("")},   {NAME(".")},   {NAME("..")},  {NAME("/")},   {NAME("a/b")},
		{NAME("\0")}, {NAME("a\0")}, {NAME("\0a")}, {NAME("ab/")}, {NAME("/ab")},
	};
	uint8_t longer[256];

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(bad); i++)
		assert_false(h2_name_valid((const uint8_t *)bad[i].name, bad[i].len));
	memset(longer, 'x', sizeof(longer));
	assert_false(h2_name_valid(longer, 256));
}

static void names_of_numbers__are_never_null(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 300; n++) {
		assert_non_null(h2_blockref_type_name(n));
		assert_non_null(h2_check_algo_name(n));
		assert_non_null(h2_comp_algo_name(n));
		assert_non_null(h2_object_type_name(n));
		assert_non_null(h2_pfs_type_name(n));
		assert_non_null(h2_pfs_subtype_name(n));
	}
	assert_string_equal(h2_blockref_type_name(H2_BLOCKREF_DIRENT), "dirent");
	assert_string_equal(h2_blockref_type_name(8), "?");
	assert_string_equal(h2_check_algo_name(6), "?");
	assert_string_equal(h2_comp_algo_name(4), "?");
	assert_string_equal(h2_object_type_name(3), "?");
	assert_string_equal(h2_pfs_type_name(2), "?");
	assert_string_equal(h2_pfs_subtype_name(3), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(name_hash__matches_the_test_vectors),
		cmocka_unit_test(name_hash__matches_the_vectors_of_long_names),
		cmocka_unit_test(name_hash__sets_bits_63_and_15_and_clears_the_collision_field),
		cmocka_unit_test(name_hash__of_separators_alone_has_an_empty_upper_half),
		cmocka_unit_test(name_block_hash__covers_the_zero_padding),
		cmocka_unit_test(name_valid__accepts_any_bytes_but_nul_and_slash),
		cmocka_unit_test(name_valid__rejects_what_no_path_can_hold),
		cmocka_unit_test(names_of_numbers__are_never_null),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
