/* DATA block contents over liblz4 and libdeflate, MF 8.5 to 8.8. */
#include "compress.h"

#include <assert.h>
#include <errno.h>
#include <libdeflate.h>
#include <lz4.h>
#include <string.h>

#include "format.h"

/* The length of a literal run or match that goes on in further bytes; false beyond the end. */
static bool lz4_length(const uint8_t **at, const uint8_t *end, size_t *len)
{
	uint8_t byte;

	if (*len < 15)
		return true;
	do {
		if (*at == end)
			return false;
		byte = *(*at)++;
		*len += byte;
	} while (byte == 255);
	return true;
}

/*
 * The library takes a match offset of 0, which the LZ4 format forbids, for zeros: made-up data.
 * Look for one in a stream that it has accepted.
 */
static bool lz4_offsets_valid(const uint8_t *at, size_t size)
{
	const uint8_t *end = at + size;

	while (at < end) {
		uint8_t token = *at++;
		size_t literals = token >> 4, match = token & 15;

		if (!lz4_length(&at, end, &literals) || literals > (size_t)(end - at))
			return false;
		at += literals;
		if (at == end) /* the last sequence has no match */
			return true;
		if (end - at < 2 || (at[0] == 0 && at[1] == 0))
			return false;
		at += 2;
		if (!lz4_length(&at, end, &match))
			return false;
	}
	return true;
}

static int decode_lz4(const uint8_t *block, size_t block_len, void *out, size_t out_max,
		      size_t *out_len, size_t *used)
{
	le32 prefix;
	uint32_t n;
	int got;

	if (block_len < sizeof(prefix))
		return -EUCLEAN;
	memcpy(prefix.b, block, sizeof(prefix.b));
	n = le32_get(prefix);
	if (n < 1 || n > block_len - sizeof(prefix))
		return -EUCLEAN;
	got = LZ4_decompress_safe((const char *)block + sizeof(prefix), out, (int)n, (int)out_max);
	if (got < 0 || !lz4_offsets_valid(block + sizeof(prefix), n))
		return -EUCLEAN;
	*out_len = (size_t)got;
	*used = sizeof(prefix) + n;
	return 0;
}

static int decode_zlib(const uint8_t *block, size_t block_len, void *out, size_t out_max,
		       size_t *out_len, size_t *used)
{
	/*
	 * The decompressor's tables are some 11 KB: cheap to make next to inflating a block, and a
	 * state of our own would have to be kept for each thread.
	 */
	struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
	enum libdeflate_result result;

	if (!d)
		return -ENOMEM;
	/* The stream ends itself; padding behind it is ignored, hence the _ex form. */
	result = libdeflate_zlib_decompress_ex(d, block, block_len, out, out_max, used, out_len);
	libdeflate_free_decompressor(d);
	return result == LIBDEFLATE_SUCCESS ? 0 : -EUCLEAN;
}

int h2_data_decode_used(unsigned comp, const void *block, size_t block_len, void *out,
			size_t out_max, size_t *out_len, size_t *used)
{
	if (out_max > H2_BLOCK_MAX)
		out_max = H2_BLOCK_MAX;
	switch (comp) {
	case H2_COMP_NONE:
	case H2_COMP_AUTOZERO:
		if (block_len > out_max)
			return -EUCLEAN;
		memcpy(out, block, block_len);
		*out_len = *used = block_len;
		return 0;
	case H2_COMP_LZ4:
		return decode_lz4(block, block_len, out, out_max, out_len, used);
	case H2_COMP_ZLIB:
		return decode_zlib(block, block_len, out, out_max, out_len, used);
	default:
		return -EUCLEAN;
	}
}

int h2_data_decode(unsigned comp, const void *block, size_t block_len, void *out, size_t out_max,
		   size_t *out_len)
{
	size_t used;

	return h2_data_decode_used(comp, block, block_len, out, out_max, out_len, &used);
}

static size_t physical_size(size_t len)
{
	size_t size = H2_BLOCK_MIN;

	while (size < len)
		size *= 2;
	return size;
}

static int encode_lz4(const void *data, size_t len, uint8_t *out)
{
	le32 prefix;
	int n = LZ4_compress_default(data, (char *)out + sizeof(prefix), (int)len,
				     (int)(len / 2 - 8));

	if (n <= 0)
		return 0;
	prefix = le32_make((uint32_t)n);
	memcpy(out, prefix.b, sizeof(prefix.b));
	return n + (int)sizeof(prefix);
}

static int encode_zlib(unsigned level, const void *data, size_t len, uint8_t *out)
{
	struct libdeflate_compressor *c;
	size_t n;

	level = level == 0 ? 6 : level < 6 ? 6 : level > 9 ? 9 : level;
	c = libdeflate_alloc_compressor((int)level);
	if (!c)
		return -ENOMEM;
	n = libdeflate_zlib_compress(c, data, len, out, len / 2);
	libdeflate_free_compressor(c);
	return (int)n;
}

int h2_data_encode(unsigned comp_algo, const void *data, size_t len, void *out, unsigned *comp)
{
	size_t size;
	int n = 0;

	assert(len >= H2_BLOCK_MIN && len <= H2_BLOCK_MAX);
	if ((comp_algo & 15) == H2_COMP_LZ4)
		n = encode_lz4(data, len, out);
	else if ((comp_algo & 15) == H2_COMP_ZLIB)
		n = encode_zlib(comp_algo >> 4, data, len, out);
	if (n <= 0)
		return n;
	size = physical_size((size_t)n);
	memset((uint8_t *)out + n, 0, size - (size_t)n);
	*comp = comp_algo & 15;
	return (int)size;
}

bool h2_is_zero(const void *data, size_t len)
{
	const uint8_t *bytes = data;

	/* Equal to itself shifted by one, and beginning with zero: all zero. */
	return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

#define SAMPLE 4096u

bool h2_data_may_compress(const void *data, size_t len)
{
	const char *bytes = data;
	char out[SAMPLE];

	/* Small blocks cost less to try than to look at. */
	if (len < 8 * SAMPLE)
		return true;
	/* Compressed files mostly have a header and tables that do compress: so not only in front. */
	for (size_t at = SAMPLE; at + SAMPLE <= len; at += len / 4) {
		if (LZ4_compress_default(bytes + at, out, SAMPLE, SAMPLE * 7 / 8) > 0)
			return true;
	}
	return false;
}
