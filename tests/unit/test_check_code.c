/* Check codes, format/check.h. */
#include "unit.h"

#include "check.h"

enum kind { FILL, RAMP, TEXT };

struct row {
	enum kind kind;
	uint8_t fill;
	const char *text;
	size_t len;
	uint32_t crc;
	uint64_t xxh;
	const char *sha192;
};

/* MF A.2. */
static const struct row rows[] = {
	{FILL, 0, NULL, 0, 0x00000000, UINT64_C(0x84566ac0f5a0cb84),
	 "e3b0c44298fc1c149afbf4c8996fb924833bd8ff1cc92b19"},
	{TEXT, 0, "a", 1, 0xc1d04330, UINT64_C(0xd2a6081c8157197e),
	 "ca978112ca1bbdcafac231b39a23dc4d1e06987dbb9206c9"},
	{TEXT, 0, "123456789", 9, 0xe3069283, UINT64_C(0x3b4eb9ba9b947403),
	 "15e2b0d3c33891ebb0f1ef609ec41942b0acd0328a1a747a"},
	{TEXT, 0, "hammer2", 7, 0x9f2f13b5, UINT64_C(0xa041be268b5674e5),
	 "8a6606c9532c846c617512bce93e4c546a14f36bad175dc1"},
	{FILL, 0x00, NULL, 32, 0x8a9136aa, UINT64_C(0x51ba1990e3bb8953),
	 "66687aadf862bd776c8fc18b8e9f8e2098bd4d9863bd1a96"},
	{FILL, 0xff, NULL, 32, 0x62a8ab43, UINT64_C(0xc98586906729ab2a),
	 "af9613760f72635fbdb44a5a0a63c39f85b4d171b83aae0d"},
	{RAMP, 0, NULL, 32, 0x46dd794e, UINT64_C(0x256dca19278192cd),
	 "630dcd2966c4336691125448bbb25b4f5fd31cc468faa215"},
	{RAMP, 0, NULL, 508, 0x52ffdae7, UINT64_C(0x03963e752882cffc),
	 "8a56067141993c45ba13278b05016ad258f9e1d393fa63b5"},
	{FILL, 0x00, NULL, 512, 0x30fcedc0, UINT64_C(0xd46cfdc3a3a9750e),
	 "076a27c79e5ace2a3d47f9dd2e83e4ff023a3fb069d17d96"},
	{RAMP, 0, NULL, 1024, 0x2cdf6e8f, UINT64_C(0x28c8208995b38bec),
	 "785b0751fc2c53dc14a4ce3d800e69efc44ee002970bea3d"},
	{FILL, 0x00, NULL, 1024, 0xeeaede7c, UINT64_C(0xa85f7f8931b8cf1e),
	 "5f70bf18a086007016e948b04aed3b82dde599ae08f49359"},
	{RAMP, 0, NULL, 4096, 0x9c71fe32, UINT64_C(0xcb2ffccd4a819320),
	 "c8f5d0341d54d951a71b136e6e2afcb1279e03897f4b5f81"},
	{RAMP, 0, NULL, 16384, 0xe92c0dae, UINT64_C(0xbc7adb1ae3fed964),
	 "a1f259d4365ed4320c377ce26f5c8c56043625320d7e27eb"},
	{FILL, 0x00, NULL, 32768, 0xbc43baad, UINT64_C(0x855ad4d543c866d4),
	 "c35020473aed1b4642cd726cad727b630045be366b05e9ae"},
	{RAMP, 0, NULL, 65536, 0xa224af3d, UINT64_C(0x3a43103d3aaab2bd),
	 "7daca2095d0438260fa849183dfc67fabab596dc8849ff0b"},
	{FILL, 0x00, NULL, 65536, 0x72c0c4a4, UINT64_C(0x7d8cdd3d4cc973a6),
	 "de2f256064a0af797747c2b97505dc0bec21d370d3e1529d"},
	{FILL, 0x00, NULL, 65532, 0x175a96a9, UINT64_C(0x53c2a157ff2f3284),
	 "68dece1005f31bc996ee21811c9befdf0a8cbd0ece6814c9"},
};

static uint8_t *input(const struct row *row)
{
	uint8_t *bytes = unit_alloc(row->len);

	if (row->kind == RAMP)
		unit_ramp(bytes, row->len);
	else if (row->kind == TEXT)
		memcpy(bytes, row->text, row->len);
	else
		memset(bytes, row->fill, row->len);
	return bytes;
}

static void check_codes__match_the_test_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		uint8_t *bytes = input(&rows[i]), digest[H2_SHA192_SIZE], expected[64];

		assert_int_equal(h2_crc32c(bytes, rows[i].len), rows[i].crc);
		assert_int_equal(h2_xxh64(bytes, rows[i].len), rows[i].xxh);
		h2_sha192(bytes, rows[i].len, digest);
		assert_int_equal(unit_hex(rows[i].sha192, expected), H2_SHA192_SIZE);
		assert_memory_equal(digest, expected, H2_SHA192_SIZE);
		free(bytes);
	}
}

static void crc32c__of_nothing_is_zero(void **state)
{
	(void)state;
	assert_int_equal(h2_crc32c(NULL, 0), 0);
}

static const struct row *nine(void)
{
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		if (rows[i].text && strcmp(rows[i].text, "123456789") == 0)
			return &rows[i];
	}
	return NULL;
}

/* MF A.2: how the codes of "123456789" are stored in a blockref. */
static void check_set__stores_little_endian_and_zeros_the_rest(void **state)
{
	static const struct {
		enum h2_check_algo algo;
		const char *stored;
	} cases[] = {
		{H2_CHECK_NONE, ""},
		{H2_CHECK_DISABLED, ""},
		{H2_CHECK_ISCSI32, "83 92 06 e3"},
		{H2_CHECK_XXHASH64, "03 74 94 9b ba b9 4e 3b"},
		{H2_CHECK_SHA192, "15e2b0d3c33891ebb0f1ef609ec41942b0acd0328a1a747a"},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(cases); i++) {
		struct h2_blockref ref = {.methods = (uint8_t)(cases[i].algo << 4)};
		uint8_t expected[64] = {0};

		memset(ref.check, 0xee, sizeof(ref.check));
		unit_hex(cases[i].stored, expected);
		assert_int_equal(h2_check_set(&ref, "123456789", 9), 0);
		assert_memory_equal(ref.check, expected, sizeof(ref.check));
	}
}

static void check_set__keeps_the_hints_of_the_freemap(void **state)
{
	struct h2_blockref ref = {.methods = H2_CHECK_FREEMAP << 4};
	uint8_t expected[64] = {0};

	(void)state;
	memset(ref.check, 0xee, sizeof(ref.check));
	memset(expected, 0xee, 16);
	unit_hex("83 92 06 e3", expected);
	assert_int_equal(h2_check_set(&ref, "123456789", 9), 0);
	assert_memory_equal(ref.check, expected, sizeof(ref.check));
}

static void check_set__refuses_unknown_algorithms(void **state)
{
	(void)state;
	for (unsigned algo = 6; algo < 16; algo++) {
		struct h2_blockref ref = {.methods = (uint8_t)(algo << 4)};

		assert_int_equal(h2_check_set(&ref, "x", 1), -EINVAL);
	}
}

static void check_verify__accepts_right_codes_and_finds_each_flipped_bit(void **state)
{
	static const size_t code_size[] = {0, 0, 4, 8, 24, 4};
	uint8_t block[1024];

	(void)state;
	unit_noise(block, sizeof(block), 1);
	for (unsigned algo = 2; algo <= 5; algo++) {
		struct h2_blockref ref = {.methods = (uint8_t)(algo << 4 | 2)};

		assert_int_equal(h2_check_set(&ref, block, sizeof(block)), 0);
		assert_int_equal(h2_check_verify(&ref, block, sizeof(block)), H2_CHECK_MATCH);
		for (size_t bit = 0; bit < code_size[algo] * 8; bit++) {
			ref.check[bit / 8] ^= (uint8_t)(1u << bit % 8);
			assert_int_equal(h2_check_verify(&ref, block, sizeof(block)),
					 H2_CHECK_MISMATCH);
			ref.check[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		for (size_t bit = 0; bit < sizeof(block) * 8; bit += 37) {
			block[bit / 8] ^= (uint8_t)(1u << bit % 8);
			assert_int_equal(h2_check_verify(&ref, block, sizeof(block)),
					 H2_CHECK_MISMATCH);
			block[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
}

static void check_verify__ignores_bytes_behind_the_code(void **state)
{
	static const size_t code_size[] = {0, 0, 4, 8, 24, 4};

	(void)state;
	for (unsigned algo = 2; algo <= 5; algo++) {
		struct h2_blockref ref = {.methods = (uint8_t)(algo << 4)};

		assert_int_equal(h2_check_set(&ref, "abc", 3), 0);
		memset(ref.check + code_size[algo], 0x5a, sizeof(ref.check) - code_size[algo]);
		assert_int_equal(h2_check_verify(&ref, "abc", 3), H2_CHECK_MATCH);
	}
}

static void check_verify__does_not_take_an_unfolded_sha256(void **state)
{
	/* The unfolded SHA-256, which one other reader compares, is not what media hold (MF 4.4).
	 */
	struct h2_blockref ref = {.methods = H2_CHECK_SHA192 << 4};

	(void)state;
	unit_hex("15e2b0d3c33891ebb0f1ef609ec41942 0c20e320ce94c65f bc8c3312448eb225", ref.check);
	assert_int_equal(h2_check_verify(&ref, "123456789", 9), H2_CHECK_MISMATCH);
}

static void check_verify__tells_absent_from_unknown(void **state)
{
	(void)state;
	for (unsigned algo = 0; algo < 16; algo++) {
		struct h2_blockref ref = {.methods = (uint8_t)(algo << 4)};

		if (algo <= 1)
			assert_int_equal(h2_check_verify(&ref, "abc", 3), H2_CHECK_ABSENT);
		else if (algo >= 6)
			assert_int_equal(h2_check_verify(&ref, "abc", 3), H2_CHECK_UNKNOWN);
		else
			assert_int_equal(h2_check_verify(&ref, "abc", 3), H2_CHECK_MISMATCH);
	}
}

static void check_numbers__are_those_of_the_codes(void **state)
{
	struct h2_blockref ref = {.methods = H2_CHECK_ISCSI32 << 4};

	(void)state;
	assert_non_null(nine());
	memset(ref.check, 0xff, sizeof(ref.check));
	assert_int_equal(h2_check_stored(&ref), UINT32_MAX);
	assert_int_equal(h2_check_computed(&ref, "123456789", 9), nine()->crc);
	ref.methods = H2_CHECK_XXHASH64 << 4;
	assert_int_equal(h2_check_stored(&ref), UINT64_MAX);
	assert_int_equal(h2_check_computed(&ref, "123456789", 9), nine()->xxh);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(check_codes__match_the_test_vectors),
		cmocka_unit_test(crc32c__of_nothing_is_zero),
		cmocka_unit_test(check_set__stores_little_endian_and_zeros_the_rest),
		cmocka_unit_test(check_set__keeps_the_hints_of_the_freemap),
		cmocka_unit_test(check_set__refuses_unknown_algorithms),
		cmocka_unit_test(check_verify__accepts_right_codes_and_finds_each_flipped_bit),
		cmocka_unit_test(check_verify__ignores_bytes_behind_the_code),
		cmocka_unit_test(check_verify__does_not_take_an_unfolded_sha256),
		cmocka_unit_test(check_verify__tells_absent_from_unknown),
		cmocka_unit_test(check_numbers__are_those_of_the_codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
