/* Random numbers that depend on a seed alone (splitmix64). */
#ifndef TESTS_MODEL_RANDOM_H
#define TESTS_MODEL_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct random {
	uint64_t state;
};

static inline uint64_t random_next(struct random *r)
{
	uint64_t x = r->state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* 0 to n - 1; n must not be 0. */
static inline uint64_t random_below(struct random *r, uint64_t n)
{
	return random_next(r) % n;
}

/* True once in n times. */
static inline bool random_one_in(struct random *r, uint64_t n)
{
	return random_below(r, n) == 0;
}

/* 0 to n - 1 where every power of two is as likely as the others: many small numbers. */
static inline uint64_t random_skewed(struct random *r, uint64_t n)
{
	unsigned bits = 64 - (unsigned)__builtin_clzll(n | 1);
	uint64_t mask = (UINT64_C(1) << random_below(r, bits)) * 2 - 1;

	return (random_next(r) & mask) % n;
}

#endif
