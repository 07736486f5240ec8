/* UUIDs, format/uuid.c. */
#include "unit.h"

#include "format.h"

/* MF A.3. */
static void uuid__ids_match_the_test_vectors(void **state)
{
	static const struct {
		uint32_t id;
		const char *stored;
	} rows[] = {
		{0, "00000000000000000000000000000000"},
		{1, "00000000000000000000000001000000"},
		{1000, "000000000000000000000000e8030000"},
		{65534, "000000000000000000000000feff0000"},
		{0x12345678, "00000000000000000000000078563412"},
		{0xffffffff, "000000000000000000000000ffffffff"},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		struct h2_uuid uuid, expected;

		unit_hex(rows[i].stored, expected.bytes);
		memset(&uuid, 0xee, sizeof(uuid));
		h2_uuid_from_id(rows[i].id, &uuid);
		assert_memory_equal(&uuid, &expected, sizeof(uuid));
		assert_int_equal(h2_uuid_to_id(&uuid), rows[i].id);
	}
}

static void uuid__other_bytes_of_an_id_are_ignored(void **state)
{
	/* The last row of MF A.3: a UUID that no id made. */
	(void)state;
	assert_int_equal(h2_uuid_to_id(&h2_fstype_uuid), 0xf5a9b81b);
}

static void uuid__text_and_bytes_match_the_test_vector(void **state)
{
	static const char text[] = "5cbb9ad1-862d-11dc-a94d-01301bb8a9f5";
	char out[H2_UUID_TEXT_SIZE];
	uint8_t expected[16];
	struct h2_uuid uuid;

	(void)state;
	unit_hex("d19abb5c2d86dc11a94d01301bb8a9f5", expected);
	assert_int_equal(h2_uuid_parse(text, &uuid), 0);
	assert_memory_equal(uuid.bytes, expected, 16);
	assert_memory_equal(h2_fstype_uuid.bytes, expected, 16);
	h2_uuid_format(&uuid, out);
	assert_string_equal(out, text);
}

static void uuid__upper_case_text_is_read(void **state)
{
	struct h2_uuid uuid;

	(void)state;
	assert_int_equal(h2_uuid_parse("5CBB9AD1-862D-11DC-A94D-01301BB8A9F5", &uuid), 0);
	assert_memory_equal(&uuid, &h2_fstype_uuid, sizeof(uuid));
}

static void uuid__every_byte_survives_text(void **state)
{
	struct h2_uuid uuid, back;
	char text[H2_UUID_TEXT_SIZE];

	(void)state;
	for (uint64_t seed = 0; seed < 100; seed++) {
		unit_noise(uuid.bytes, sizeof(uuid.bytes), seed);
		h2_uuid_format(&uuid, text);
		assert_int_equal(strlen(text), 36);
		assert_int_equal(h2_uuid_parse(text, &back), 0);
		assert_memory_equal(&uuid, &back, sizeof(uuid));
	}
}

static void uuid__rejects_other_texts_and_writes_nothing(void **state)
{
	static const char *const bad[] = {
		"",
		"5",
		"5cbb9ad1",
		"5cbb9ad1-862d-11dc-a94d-01301bb8a9f",
		"5cbb9ad1-862d-11dc-a94d-01301bb8a9f55",
		"5cbb9ad1-862d-11dc-a94d-01301bb8a9f5 ",
		" 5cbb9ad1-862d-11dc-a94d-01301bb8a9f5",
		"5cbb9ad1862d11dca94d01301bb8a9f5",
		"5cbb9ad1-862d-11dc-a94d_01301bb8a9f5",
		"5cbb9ad-1862d-11dc-a94d-01301bb8a9f5",
		"5cbb9adg-862d-11dc-a94d-01301bb8a9f5",
		"5cbb9ad1-862d-11dc-a94d-01301bb8a9f/",
		"{5cbb9ad1-862d-11dc-a94d-01301bb8a9f5}",
	};
	struct h2_uuid uuid, before;

	(void)state;
	memset(&uuid, 0x77, sizeof(uuid));
	before = uuid;
	for (size_t i = 0; i < LENGTH_OF(bad); i++) {
		assert_int_equal(h2_uuid_parse(bad[i], &uuid), -EINVAL);
		assert_memory_equal(&uuid, &before, sizeof(uuid));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(uuid__ids_match_the_test_vectors),
		cmocka_unit_test(uuid__other_bytes_of_an_id_are_ignored),
		cmocka_unit_test(uuid__text_and_bytes_match_the_test_vector),
		cmocka_unit_test(uuid__upper_case_text_is_read),
		cmocka_unit_test(uuid__every_byte_survives_text),
		cmocka_unit_test(uuid__rejects_other_texts_and_writes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
