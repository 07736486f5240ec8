/*
 * What belongs to a number other than 0: a table of pointers, which stay their owner's. No locks.
 */
#ifndef H2_BASE_MAP_H
#define H2_BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

struct h2_map { /* all zero: empty */
	struct h2_map_slot {
		uint64_t number; /* 0: free */
		void *value;
	} *slots;
	size_t count;
	size_t room; /* a power of two, or 0; at most half of them used */
};

/* NULL: nothing does. */
void *h2_map_get(const struct h2_map *map, uint64_t number);

/* Enter a number that is not there. Returns 0 or -ENOMEM. */
int h2_map_put(struct h2_map *map, uint64_t number, void *value);

/* Make it empty and give its memory back. */
void h2_map_clear(struct h2_map *map);

#endif
