/*
 * Check codes, MF 4: computing and comparing them.
 */
#ifndef H2_FORMAT_CHECK_H
#define H2_FORMAT_CHECK_H

#include <hammer2/types.h>
#include <stdbool.h>

#define H2_XXH64_SEED UINT64_C(0x4d617474446c6c6e)
#define H2_SHA192_SIZE 24u

/* CRC-32C as ISCSI32 and FREEMAP have it; crc of the empty string is 0. */
uint32_t h2_crc32c(const void *data, size_t len);
uint64_t h2_xxh64(const void *data, size_t len);
void h2_sha192(const void *data, size_t len, uint8_t digest[H2_SHA192_SIZE]);

enum h2_check_result {
	H2_CHECK_MATCH,
	H2_CHECK_ABSENT, /* the algorithm stores nothing: NONE, DISABLED */
	H2_CHECK_MISMATCH,
	H2_CHECK_UNKNOWN, /* no such algorithm */
};

/* Compare the block with the check code in ref, by the algorithm that ref->methods names. */
enum h2_check_result h2_check_verify(const struct h2_blockref *ref, const void *block, size_t len);

/*
 * Compute the block's check code into ref->check by the algorithm of ref->methods. The hints of a
 * freemap blockref stay; unused bytes become zero. Returns 0, or -EINVAL for an unknown algorithm.
 */
int h2_check_set(struct h2_blockref *ref, const void *block, size_t len);

/* The first 8 bytes of the stored code as a number for messages. */
uint64_t h2_check_stored(const struct h2_blockref *ref);

/* The same of what the block's bytes give. */
uint64_t h2_check_computed(const struct h2_blockref *ref, const void *block, size_t len);

#endif
