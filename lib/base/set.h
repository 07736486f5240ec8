/*
 * A set of numbers other than 0, for remembering what was visited. No locks.
 */
#ifndef H2_BASE_SET_H
#define H2_BASE_SET_H

#include <stddef.h>
#include <stdint.h>

struct h2_set { /* all zero: empty */
	uint64_t *slots;
	size_t count;
	size_t room; /* a power of two, or 0; 8 bytes each, at most half of them used */
};

/* Enter a number: 1 if it is new, 0 if it was there, or -ENOMEM. */
int h2_set_add(struct h2_set *set, uint64_t number);

/* Make it empty and give its memory back. */
void h2_set_clear(struct h2_set *set);

#endif
