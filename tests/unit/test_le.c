/* Little-endian integers, base/le.h. */
#include "unit.h"

#include "le.h"

static void le__stores_the_low_byte_first(void **state)
{
	static const uint8_t bytes[] = {0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11};

	(void)state;
	assert_memory_equal(le16_make(0x7788).b, bytes, 2);
	assert_memory_equal(le32_make(0x55667788).b, bytes, 4);
	assert_memory_equal(le64_make(UINT64_C(0x1122334455667788)).b, bytes, 8);
}

static void le__gives_back_what_was_stored(void **state)
{
	static const uint64_t values[] = {
		0,
		1,
		0x80,
		0xff,
		0x8000,
		0xffff,
		0x80000000,
		UINT32_MAX,
		UINT64_C(1) << 63,
		UINT64_C(0x0123456789abcdef),
		UINT64_MAX,
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(values); i++) {
		assert_int_equal(le16_get(le16_make((uint16_t)values[i])), (uint16_t)values[i]);
		assert_int_equal(le32_get(le32_make((uint32_t)values[i])), (uint32_t)values[i]);
		assert_int_equal(le64_get(le64_make(values[i])), values[i]);
	}
}

static void le__high_bytes_do_not_become_a_sign(void **state)
{
	(void)state;
	assert_int_equal((uint64_t)le16_get((le16){{0xff, 0xff}}), 0xffff);
	assert_int_equal((uint64_t)le32_get((le32){{0, 0, 0, 0x80}}), UINT64_C(0x80000000));
	assert_int_equal(le64_get((le64){{0, 0, 0, 0x80, 0, 0, 0, 0}}), UINT64_C(0x80000000));
}

static void le__overlays_any_address(void **state)
{
	uint8_t buf[16] = {0};
	le64 *at = (le64 *)(buf + 3);

	(void)state;
	assert_int_equal(_Alignof(le64), 1);
	assert_int_equal(sizeof(le16) + sizeof(le32) + sizeof(le64), 14);
	*at = le64_make(0x0102030405060708);
	assert_int_equal(buf[3], 8);
	assert_int_equal(buf[10], 1);
	assert_int_equal(buf[2] | buf[11], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(le__stores_the_low_byte_first),
		cmocka_unit_test(le__gives_back_what_was_stored),
		cmocka_unit_test(le__high_bytes_do_not_become_a_sign),
		cmocka_unit_test(le__overlays_any_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
