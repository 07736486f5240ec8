/*
 * Little-endian integers as they lie on the media (MF 0.4): arrays of bytes, so that the compiler
 * refuses arithmetic on them and they can overlay any buffer whatever its alignment. gcc and clang
 * turn each function into one load or store on a little-endian host.
 */
#ifndef H2_BASE_LE_H
#define H2_BASE_LE_H

#include <stdint.h>

typedef struct {
	uint8_t b[2];
} le16;

typedef struct {
	uint8_t b[4];
} le32;

typedef struct {
	uint8_t b[8];
} le64;

static inline uint16_t le16_get(le16 v)
{
	return (uint16_t)(v.b[0] | v.b[1] << 8);
}

static inline uint32_t le32_get(le32 v)
{
	return (uint32_t)v.b[0] | (uint32_t)v.b[1] << 8 | (uint32_t)v.b[2] << 16 |
	       (uint32_t)v.b[3] << 24;
}

static inline uint64_t le64_get(le64 v)
{
	return (uint64_t)v.b[0] | (uint64_t)v.b[1] << 8 | (uint64_t)v.b[2] << 16 |
	       (uint64_t)v.b[3] << 24 | (uint64_t)v.b[4] << 32 | (uint64_t)v.b[5] << 40 |
	       (uint64_t)v.b[6] << 48 | (uint64_t)v.b[7] << 56;
}

static inline le16 le16_make(uint16_t n)
{
	return (le16){{(uint8_t)n, (uint8_t)(n >> 8)}};
}

static inline le32 le32_make(uint32_t n)
{
	return (le32){{(uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16), (uint8_t)(n >> 24)}};
}

static inline le64 le64_make(uint64_t n)
{
	return (le64){{(uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16), (uint8_t)(n >> 24),
		       (uint8_t)(n >> 32), (uint8_t)(n >> 40), (uint8_t)(n >> 48),
		       (uint8_t)(n >> 56)}};
}

#endif
