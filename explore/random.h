/* The random numbers of a seed (splitmix64): the same everywhere. */
#ifndef EXPLORE_RANDOM_H
#define EXPLORE_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct random {
	uint64_t state;
};

static inline uint64_t random_next(struct random *r)
{
	uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* 0 to n - 1. */
static inline uint64_t random_below(struct random *r, uint64_t n)
{
	return random_next(r) % n;
}

static inline bool random_one_in(struct random *r, uint64_t n)
{
	return random_below(r, n) == 0;
}

/* Another seed, of its own for each number. */
static inline uint64_t random_derive(uint64_t seed, uint64_t number)
{
	struct random r = {.state = seed ^ number * UINT64_C(0xd6e8feb86659fd93)};

	return random_next(&r);
}

#endif
