/*
 * What every unit test includes: cmocka with the headers that it wants before it, and a few
 * helpers.
 */
#ifndef TESTS_UNIT_UNIT_H
#define TESTS_UNIT_UNIT_H

/* cmocka needs these before it. */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH_OF(array) (sizeof(array) / sizeof((array)[0]))
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* Memory that a test cannot do without; zeroed. */
static inline void *unit_alloc(size_t size)
{
	void *memory = calloc(1, size ? size : 1);

	assert_non_null(memory);
	return memory;
}

/* n bytes with the values i mod 256: "ramp n" of MF A.2. */
static inline void unit_ramp(uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)i;
}

/* Bytes that do not compress, the same ones for the same seed. */
static inline void unit_noise(uint8_t *bytes, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n; i++) {
		seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		bytes[i] = (uint8_t)(seed >> 56);
	}
}

/* The bytes of a text of hex digits; blanks are skipped. Returns how many. */
static inline size_t unit_hex(const char *text, uint8_t *bytes)
{
	size_t n = 0;
	unsigned value;

	while (*text) {
		if (*text == ' ') {
			text++;
			continue;
		}
		assert_int_equal(sscanf(text, "%2x", &value), 1);
		bytes[n++] = (uint8_t)value;
		text += 2;
	}
	return n;
}

#endif
