/* Contents of DATA blocks, format/compress.h. */
#include "unit.h"

#include <libdeflate.h>
#include <lz4.h>

#include "check.h"
#include "compress.h"
#include "le.h"

#define PLAIN_TEXT "abcd\n"
#define PLAIN_REPEATS 180u
#define PLAIN_LEN (PLAIN_REPEATS * 5u)

#define LZ4_PAYLOAD "17000000 5f616263640a0500ffffff6f1f00010063500000000000"
#define ZLIB_PAYLOAD "789c4b4c4a4ee14a1c2546895162a008860104001c3a1c20"

static uint8_t out[H2_BLOCK_MAX], block[H2_BLOCK_MAX], plain[H2_BLOCK_MAX];

static int setup(void **state)
{
	(void)state;
	memset(out, 0xee, sizeof(out));
	memset(block, 0, sizeof(block));
	memset(plain, 0, sizeof(plain));
	return 0;
}

/* The plain block of MF A.4: 900 bytes and zeros up to 1024. */
static void fill_plain(void)
{
	for (unsigned i = 0; i < PLAIN_REPEATS; i++)
		memcpy(plain + i * 5, PLAIN_TEXT, 5);
}

static int decode(unsigned comp, size_t block_len, size_t *len)
{
	return h2_data_decode(comp, block, block_len, out, sizeof(out), len);
}

/* A block_len long LZ4 block that has the n bytes as its stream. */
static void make_lz4(const void *stream, size_t n)
{
	le32 prefix = le32_make((uint32_t)n);

	memcpy(block, prefix.b, 4);
	memcpy(block + 4, stream, n);
}

static void decode__matches_the_lz4_test_vector(void **state)
{
	size_t len;

	(void)state;
	fill_plain();
	assert_int_equal(h2_crc32c(plain, 1024), 0xa498e800);
	assert_int_equal(h2_xxh64(plain, 1024), UINT64_C(0xfe56bff9d8e36ec7));
	assert_int_equal(unit_hex(LZ4_PAYLOAD, block), 27);
	assert_int_equal(h2_xxh64(block, 1024), UINT64_C(0xeb3b3d3bd73ab615));
	assert_int_equal(decode(H2_COMP_LZ4, 1024, &len), 0);
	assert_int_equal(len, 1024);
	assert_memory_equal(out, plain, 1024);
}

static void decode__matches_the_zlib_test_vector(void **state)
{
	size_t len;

	(void)state;
	fill_plain();
	assert_int_equal(unit_hex(ZLIB_PAYLOAD, block), 24);
	assert_int_equal(h2_xxh64(block, 1024), UINT64_C(0xdd9d6efb18ab6cce));
	assert_int_equal(decode(H2_COMP_ZLIB, 1024, &len), 0);
	assert_int_equal(len, 1024);
	assert_memory_equal(out, plain, 1024);
}

static void decode__copies_none_and_autozero(void **state)
{
	(void)state;
	unit_noise(block, sizeof(block), 3);
	for (unsigned comp = H2_COMP_NONE; comp <= H2_COMP_AUTOZERO; comp++) {
		for (size_t size = 1024; size <= H2_BLOCK_MAX; size *= 2) {
			size_t len = 0;

			assert_int_equal(decode(comp, size, &len), 0);
			assert_int_equal(len, size);
			assert_memory_equal(out, block, size);
		}
	}
}

static void decode__rejects_unknown_algorithms(void **state)
{
	size_t len;

	(void)state;
	for (unsigned comp = 4; comp < 16; comp++)
		assert_int_equal(decode(comp, 1024, &len), -EUCLEAN);
}

static void decode__never_writes_behind_the_room(void **state)
{
	size_t len;

	(void)state;
	fill_plain();
	unit_hex(LZ4_PAYLOAD, block);
	assert_int_equal(h2_data_decode(H2_COMP_LZ4, block, 1024, out, 1023, &len), -EUCLEAN);
	assert_int_equal(out[1023], 0xee);
	assert_int_equal(h2_data_decode(H2_COMP_LZ4, block, 1024, out, 1024, &len), 0);
	setup(state);
	unit_hex(ZLIB_PAYLOAD, block);
	assert_int_equal(h2_data_decode(H2_COMP_ZLIB, block, 1024, out, 1023, &len), -EUCLEAN);
	assert_int_equal(out[1023], 0xee);
	assert_int_equal(h2_data_decode(H2_COMP_ZLIB, block, 1024, out, 1024, &len), 0);
	setup(state);
	assert_int_equal(h2_data_decode(H2_COMP_NONE, block, 1024, out, 1023, &len), -EUCLEAN);
	assert_int_equal(out[0], 0xee);
}

/* MF 13.6: 1 <= n <= physical size - 4, read as unsigned. */
static void decode_lz4__bounds_its_length_prefix(void **state)
{
	static const uint32_t bad[] = {0,          1021,       1024,       65536,
				       0x7fffffff, 0x80000000, 0xfffffffc, 0xffffffff};
	size_t len;
	int size;

	(void)state;
	/* One token of n - 2 literals: a stream that fills the block to its last byte. */
	unit_noise(plain, 1024, 5);
	size = LZ4_compress_default((const char *)plain, (char *)block + 4, 1015, 1020);
	assert_int_equal(size, 1020);
	memcpy(block, le32_make(1020).b, 4);
	assert_int_equal(decode(H2_COMP_LZ4, 1024, &len), 0);
	assert_int_equal(len, 1015);
	assert_memory_equal(out, plain, 1015);
	for (size_t i = 0; i < LENGTH_OF(bad); i++) {
		memcpy(block, le32_make(bad[i]).b, 4);
		assert_int_equal(decode(H2_COMP_LZ4, 1024, &len), -EUCLEAN);
	}
}

static void decode_lz4__accepts_64_kib_and_not_a_byte_more(void **state)
{
	uint8_t *big = unit_alloc(H2_BLOCK_MAX + 1);
	uint8_t stream[1024];
	size_t len;
	int n;

	(void)state;
	n = LZ4_compress_default((const char *)big, (char *)stream, H2_BLOCK_MAX, sizeof(stream));
	assert_true(n > 0);
	make_lz4(stream, (size_t)n);
	assert_int_equal(decode(H2_COMP_LZ4, 1024, &len), 0);
	assert_int_equal(len, H2_BLOCK_MAX);
	n = LZ4_compress_default((const char *)big, (char *)stream, H2_BLOCK_MAX + 1,
				 sizeof(stream));
	assert_true(n > 0);
	make_lz4(stream, (size_t)n);
	assert_int_equal(decode(H2_COMP_LZ4, 1024, &len), -EUCLEAN);
	free(big);
}

static void decode_lz4__rejects_hostile_streams(void **state)
{
	static const struct {
		const char *stream;
	} bad[] = {
		{"04 ff ff ff ff"},                /* a match before any output, far back */
		{"10 61 00 00"},                   /* a match where the last literals should be */
		{"14 61 02 00 50 00 00 00 00 00"}, /* offset behind the output's begin */
		{"f0 ff ff ff ff ff ff"},          /* a literal length that does not end */
		{"1f 61 01 00 ff ff ff"},          /* a match length that does not end */
		{"f0 00 61"},                      /* literals that are not there */
		{"20 61"},                         /* one literal of two */
		{"11 61 01"},                      /* half an offset */
		{"14 61 00 00 50 61 62 63 64 65"}, /* offset 0, which the format forbids */
	};
	size_t len;

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(bad); i++) {
		uint8_t stream[64];
		size_t n = unit_hex(bad[i].stream, stream);

		memset(block, 0, 1024);
		make_lz4(stream, n);
		assert_int_equal(decode(H2_COMP_LZ4, 1024, &len), -EUCLEAN);
	}
	assert_int_equal(h2_data_decode(H2_COMP_LZ4, block, 3, out, sizeof(out), &len), -EUCLEAN);
	assert_int_equal(h2_data_decode(H2_COMP_LZ4, block, 0, out, sizeof(out), &len), -EUCLEAN);
}

static size_t make_zlib(const void *data, size_t n, int level)
{
	struct libdeflate_compressor *c = libdeflate_alloc_compressor(level);
	size_t len;

	assert_non_null(c);
	memset(block, 0, sizeof(block));
	len = libdeflate_zlib_compress(c, data, n, block, sizeof(block));
	libdeflate_free_compressor(c);
	assert_true(len > 0);
	return len;
}

static void decode_zlib__reads_every_level_and_ignores_what_follows(void **state)
{
	size_t len;

	(void)state;
	fill_plain();
	for (int level = 0; level <= 12; level++) {
		size_t n = make_zlib(plain, 1000, level);

		memset(block + n, 0xa5, sizeof(block) - n);
		assert_int_equal(decode(H2_COMP_ZLIB, 2048, &len), 0);
		assert_int_equal(len, 1000);
		assert_memory_equal(out, plain, 1000);
	}
}

static void decode_zlib__may_end_with_the_block_but_not_behind_it(void **state)
{
	size_t len, n;

	(void)state;
	unit_noise(plain, 1013, 9);
	n = make_zlib(plain, 1013, 0); /* stored: 1013 bytes and 11 around them */
	assert_int_equal(n, 1024);
	assert_int_equal(decode(H2_COMP_ZLIB, 1024, &len), 0);
	assert_int_equal(len, 1013);
	for (size_t cut = 0; cut < n; cut++)
		assert_int_equal(decode(H2_COMP_ZLIB, cut, &len), -EUCLEAN);
}

static void decode_zlib__accepts_64_kib_and_not_a_byte_more(void **state)
{
	uint8_t *big = unit_alloc(H2_BLOCK_MAX + 1);
	size_t len;

	(void)state;
	make_zlib(big, H2_BLOCK_MAX, 6);
	assert_int_equal(decode(H2_COMP_ZLIB, 1024, &len), 0);
	assert_int_equal(len, H2_BLOCK_MAX);
	make_zlib(big, H2_BLOCK_MAX + 1, 6);
	assert_int_equal(decode(H2_COMP_ZLIB, 1024, &len), -EUCLEAN);
	free(big);
}

static void decode_zlib__rejects_wrong_trailers_and_headers(void **state)
{
	static const struct {
		unsigned at;
		uint8_t flip;
	} bad[] = {
		{20, 0x01}, {21, 0x80}, {22, 0x10}, {23, 0x01}, /* Adler-32 */
		{0, 0x01},                                      /* method 9 */
		{1, 0x01},                                      /* header check */
		{2, 0x06},                                      /* block type */
	};
	size_t len;

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(bad); i++) {
		memset(block, 0, 1024);
		unit_hex(ZLIB_PAYLOAD, block);
		block[bad[i].at] ^= bad[i].flip;
		assert_int_equal(decode(H2_COMP_ZLIB, 1024, &len), -EUCLEAN);
	}
	/* A preset dictionary: FDICT set and the header's check made right. */
	memset(block, 0, 1024);
	unit_hex("78 20", block);
	block[1] = (uint8_t)(0x20 | (31 - (0x7800 | 0x20) % 31));
	assert_int_equal(((unsigned)block[0] << 8 | block[1]) % 31, 0);
	assert_int_equal(decode(H2_COMP_ZLIB, 1024, &len), -EUCLEAN);
	memset(block, 0, 1024);
	assert_int_equal(decode(H2_COMP_ZLIB, 1024, &len), -EUCLEAN);
}

static void decode__of_noise_gives_an_error_or_a_bounded_length(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 3000; seed++) {
		size_t len = 0;
		unsigned comp = seed % 2 ? H2_COMP_LZ4 : H2_COMP_ZLIB;
		int err;

		unit_noise(block, 1024, seed);
		if (comp == H2_COMP_LZ4)
			memcpy(block, le32_make((uint32_t)(seed % 1020 + 1)).b, 4);
		else
			memcpy(block, "\x78\x9c", 2);
		err = decode(comp, 1024, &len);
		assert_true(err == -EUCLEAN || (err == 0 && len <= H2_BLOCK_MAX));
	}
}

/* ---- encoding, MF 8.7 ---- */

/* n bytes of which about one in step is noise. */
static void fill_mixed(size_t n, unsigned step)
{
	memset(plain, 'x', sizeof(plain));
	for (size_t i = 0; i < n; i += step)
		plain[i] = (uint8_t)(i * i >> 3 ^ i * 7);
}

static void encode__output_decodes_to_the_input(void **state)
{
	static const unsigned algos[] = {0x02, 0x03, 0x13, 0x63, 0x73, 0x83, 0x93, 0xf3};

	(void)state;
	for (size_t a = 0; a < LENGTH_OF(algos); a++) {
		for (size_t len = 1024; len <= H2_BLOCK_MAX; len *= 2) {
			for (unsigned step = 4; step < 2000; step *= 3) {
				unsigned comp = 99;
				size_t got;
				int size;

				fill_mixed(len, step);
				memset(block, 0xcc, sizeof(block));
				size = h2_data_encode(algos[a], plain, len, block, &comp);
				assert_true(size >= 0);
				if (size == 0)
					continue;
				assert_int_equal(comp, algos[a] & 15);
				assert_true(size >= 1024 && (size & (size - 1)) == 0);
				assert_true((size_t)size <= len);
				assert_true(len == 1024 || (size_t)size <= len / 2);
				assert_int_equal(decode(comp, (size_t)size, &got), 0);
				assert_int_equal(got, len);
				assert_memory_equal(out, plain, len);
			}
		}
	}
}

static void encode__takes_the_smallest_size_and_pads_with_zeros(void **state)
{
	static const unsigned algos[] = {H2_COMP_LZ4, H2_COMP_ZLIB};

	(void)state;
	for (size_t a = 0; a < LENGTH_OF(algos); a++) {
		for (unsigned step = 3; step < 300; step += 7) {
			size_t used;
			unsigned comp;
			int size;

			fill_mixed(H2_BLOCK_MAX, step);
			memset(block, 0xcc, sizeof(block));
			size = h2_data_encode(algos[a], plain, H2_BLOCK_MAX, block, &comp);
			if (size == 0)
				continue;
			if (algos[a] == H2_COMP_LZ4) {
				le32 prefix;

				memcpy(prefix.b, block, 4);
				used = le32_get(prefix) + 4;
				assert_true(used - 4 <= H2_BLOCK_MAX / 2 - 8);
			} else {
				struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
				size_t got;

				assert_non_null(d);
				assert_int_equal(
					libdeflate_zlib_decompress_ex(d, block, (size_t)size, out,
								      sizeof(out), &used, &got),
					LIBDEFLATE_SUCCESS);
				libdeflate_free_decompressor(d);
			}
			assert_true(used <= (size_t)size);
			assert_true(size == 1024 || used > (size_t)size / 2);
			assert_true(h2_is_zero(block + used, (size_t)size - used));
		}
	}
}

static void encode__gives_up_on_what_does_not_halve(void **state)
{
	static const unsigned algos[] = {H2_COMP_LZ4, H2_COMP_ZLIB, 0x93};
	unsigned comp;

	(void)state;
	unit_noise(plain, sizeof(plain), 11);
	for (size_t a = 0; a < LENGTH_OF(algos); a++) {
		for (size_t len = 1024; len <= H2_BLOCK_MAX; len *= 2)
			assert_int_equal(h2_data_encode(algos[a], plain, len, block, &comp), 0);
	}
	/* Half noise, half zeros: misses the limit by the stream's own bytes. */
	memset(plain + H2_BLOCK_MAX / 2, 0, H2_BLOCK_MAX / 2);
	for (size_t a = 0; a < LENGTH_OF(algos); a++)
		assert_int_equal(h2_data_encode(algos[a], plain, H2_BLOCK_MAX, block, &comp), 0);
}

static void encode__of_none_and_unknown_algorithms_stores_plain(void **state)
{
	static const unsigned algos[] = {0x00, 0x01, 0x04, 0x0f, 0x90};
	unsigned comp;

	(void)state;
	for (size_t a = 0; a < LENGTH_OF(algos); a++)
		assert_int_equal(h2_data_encode(algos[a], plain, H2_BLOCK_MAX, block, &comp), 0);
}

static void encode__a_1_kib_block_stays_1_kib(void **state)
{
	static const unsigned algos[] = {H2_COMP_LZ4, H2_COMP_ZLIB};
	unsigned comp;
	size_t len;

	(void)state;
	fill_plain();
	for (size_t a = 0; a < LENGTH_OF(algos); a++) {
		assert_int_equal(h2_data_encode(algos[a], plain, 1024, block, &comp), 1024);
		assert_int_equal(comp, algos[a]);
		assert_int_equal(decode(comp, 1024, &len), 0);
		assert_int_equal(len, 1024);
		assert_memory_equal(out, plain, 1024);
	}
}

static void is_zero__sees_every_byte(void **state)
{
	(void)state;
	assert_true(h2_is_zero(block, 0));
	assert_true(h2_is_zero(block, 1));
	assert_true(h2_is_zero(block, sizeof(block)));
	for (size_t len = 1; len <= 65; len++) {
		for (size_t at = 0; at < len; at++) {
			block[at] = 0x80;
			assert_false(h2_is_zero(block, len));
			block[at] = 0;
		}
		block[len] = 1; /* what follows does not count */
		assert_true(h2_is_zero(block, len));
		block[len] = 0;
	}
	memset(block, 7, 100);
	assert_false(h2_is_zero(block, 100));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(decode__matches_the_lz4_test_vector, setup),
		cmocka_unit_test_setup(decode__matches_the_zlib_test_vector, setup),
		cmocka_unit_test_setup(decode__copies_none_and_autozero, setup),
		cmocka_unit_test_setup(decode__rejects_unknown_algorithms, setup),
		cmocka_unit_test_setup(decode__never_writes_behind_the_room, setup),
		cmocka_unit_test_setup(decode_lz4__bounds_its_length_prefix, setup),
		cmocka_unit_test_setup(decode_lz4__accepts_64_kib_and_not_a_byte_more, setup),
		cmocka_unit_test_setup(decode_lz4__rejects_hostile_streams, setup),
		cmocka_unit_test_setup(decode_zlib__reads_every_level_and_ignores_what_follows,
				       setup),
		cmocka_unit_test_setup(decode_zlib__may_end_with_the_block_but_not_behind_it,
				       setup),
		cmocka_unit_test_setup(decode_zlib__accepts_64_kib_and_not_a_byte_more, setup),
		cmocka_unit_test_setup(decode_zlib__rejects_wrong_trailers_and_headers, setup),
		cmocka_unit_test_setup(decode__of_noise_gives_an_error_or_a_bounded_length, setup),
		cmocka_unit_test_setup(encode__output_decodes_to_the_input, setup),
		cmocka_unit_test_setup(encode__takes_the_smallest_size_and_pads_with_zeros, setup),
		cmocka_unit_test_setup(encode__gives_up_on_what_does_not_halve, setup),
		cmocka_unit_test_setup(encode__of_none_and_unknown_algorithms_stores_plain, setup),
		cmocka_unit_test_setup(encode__a_1_kib_block_stays_1_kib, setup),
		cmocka_unit_test_setup(is_zero__sees_every_byte, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
