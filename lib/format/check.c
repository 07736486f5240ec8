/* Check codes, MF 4, over the libraries that compute them. */
#include "check.h"

#include <errno.h>
#include <isa-l/crc.h>
#include <nettle/sha2.h>
#include <string.h>
#include <xxhash.h>

#include "format.h"

uint32_t h2_crc32c(const void *data, size_t len)
{
	uint32_t crc = UINT32_MAX;
	const uint8_t *bytes = data;

	/* The library takes an int, and does not write through its non-const pointer. */
	while (len > 0) {
		size_t part = len < (1u << 30) ? len : 1u << 30;

		crc = crc32_iscsi((unsigned char *)bytes, (int)part, crc);
		bytes += part;
		len -= part;
	}
	return ~crc;
}

uint64_t h2_xxh64(const void *data, size_t len)
{
	return XXH64(data, len, H2_XXH64_SEED);
}

void h2_sha192(const void *data, size_t len, uint8_t digest[H2_SHA192_SIZE])
{
	struct sha256_ctx ctx;
	uint8_t full[SHA256_DIGEST_SIZE];

	sha256_init(&ctx);
	sha256_update(&ctx, len, data);
	sha256_digest(&ctx, sizeof(full), full);
	memcpy(digest, full, 16);
	for (unsigned i = 0; i < 8; i++)
		digest[16 + i] = full[16 + i] ^ full[24 + i];
}

/* The stored form of the block's code: its bytes in code, their number as the result; 0: none. */
static size_t compute(unsigned algo, const void *block, size_t len, uint8_t code[H2_SHA192_SIZE])
{
	le32 crc;
	le64 hash;

	switch (algo) {
	case H2_CHECK_ISCSI32:
	case H2_CHECK_FREEMAP:
		crc = le32_make(h2_crc32c(block, len));
		memcpy(code, crc.b, sizeof(crc.b));
		return sizeof(crc.b);
	case H2_CHECK_XXHASH64:
		hash = le64_make(h2_xxh64(block, len));
		memcpy(code, hash.b, sizeof(hash.b));
		return sizeof(hash.b);
	case H2_CHECK_SHA192:
		h2_sha192(block, len, code);
		return H2_SHA192_SIZE;
	default:
		return 0;
	}
}

enum h2_check_result h2_check_verify(const struct h2_blockref *ref, const void *block, size_t len)
{
	uint8_t code[H2_SHA192_SIZE];
	unsigned algo = h2_blockref_check_algo(ref);
	size_t code_len = compute(algo, block, len, code);

	if (code_len == 0)
		return algo <= H2_CHECK_DISABLED ? H2_CHECK_ABSENT : H2_CHECK_UNKNOWN;
	return memcmp(code, ref->check, code_len) == 0 ? H2_CHECK_MATCH : H2_CHECK_MISMATCH;
}

int h2_check_set(struct h2_blockref *ref, const void *block, size_t len)
{
	unsigned algo = h2_blockref_check_algo(ref);
	size_t code_len, keep = algo == H2_CHECK_FREEMAP ? 16 : 0;
	uint8_t code[H2_SHA192_SIZE];

	if (algo > H2_CHECK_FREEMAP)
		return -EINVAL;
	code_len = compute(algo, block, len, code);
	memset(ref->check + keep, 0, sizeof(ref->check) - keep);
	memcpy(ref->check, code, code_len);
	return 0;
}

static uint64_t number_of(unsigned algo, const uint8_t *code)
{
	le64 v;

	memcpy(v.b, code, sizeof(v.b));
	if (algo == H2_CHECK_ISCSI32 || algo == H2_CHECK_FREEMAP)
		return le64_get(v) & UINT32_MAX;
	return le64_get(v);
}

uint64_t h2_check_stored(const struct h2_blockref *ref)
{
	return number_of(h2_blockref_check_algo(ref), ref->check);
}

uint64_t h2_check_computed(const struct h2_blockref *ref, const void *block, size_t len)
{
	uint8_t code[H2_SHA192_SIZE] = {0};

	compute(h2_blockref_check_algo(ref), block, len, code);
	return number_of(h2_blockref_check_algo(ref), code);
}
