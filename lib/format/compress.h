/*
 * The contents of DATA blocks, MF 8.5 to 8.8: decoding and encoding.
 */
#ifndef H2_FORMAT_COMPRESS_H
#define H2_FORMAT_COMPRESS_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Decode the block of block_len physical bytes, stored by the algorithm comp (enum h2_comp_algo),
 * into out, which has room for out_max bytes (at most 65536 are ever written). *out_len receives
 * the number of bytes that the block holds; the rest of the logical block reads as zeros and is
 * not written.
 *
 * Returns 0; -EUCLEAN where the block is no such stream, or holds more than out_max bytes;
 * -ENOMEM.
 */
int h2_data_decode(unsigned comp, const void *block, size_t block_len, void *out, size_t out_max,
		   size_t *out_len);

/*
 * The same; *used receives how many bytes of the block the stream has. What follows is padding,
 * which readers ignore and writers make zero (BS 5.6).
 */
int h2_data_decode_used(unsigned comp, const void *block, size_t block_len, void *out,
			size_t out_max, size_t *out_len, size_t *used);

/*
 * Encode len plain bytes (a power of two, 1024 to 65536) by the algorithm and level of comp_algo
 * as an inode has it (level << 4 | algorithm) into out, which has room for len bytes. Returns the
 * physical size (a power of two, zero-padded) and sets *comp to the algorithm used; 0 when it does
 * not pay and the caller stores the plain bytes (MF 8.7); -ENOMEM.
 */
int h2_data_encode(unsigned comp_algo, const void *data, size_t len, void *out, unsigned *comp);

/*
 * Whether it is worth trying: a look at samples of the block. What it says depends on the bytes
 * alone, so that the same data are always stored in the same way.
 */
bool h2_data_may_compress(const void *data, size_t len);

/* Whether all bytes are zero. */
bool h2_is_zero(const void *data, size_t len);

#endif
