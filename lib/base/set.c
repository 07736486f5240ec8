/* A set of numbers: a hash table with open addressing; see set.h. */
#include "set.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#define ROOM_MIN 64u

static bool put(struct h2_set *set, uint64_t number)
{
	size_t i = (size_t)(number * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (set->room - 1);

	while (set->slots[i] && set->slots[i] != number)
		i = (i + 1) & (set->room - 1);
	if (set->slots[i])
		return false;
	set->slots[i] = number;
	set->count++;
	return true;
}

static int grow(struct h2_set *set)
{
	size_t room = set->room ? set->room * 2 : ROOM_MIN;
	struct h2_set grown = {.slots = calloc(room, sizeof(uint64_t)), .room = room};

	if (!grown.slots)
		return -ENOMEM;
	for (size_t i = 0; i < set->room; i++) {
		if (set->slots[i])
			put(&grown, set->slots[i]);
	}
	free(set->slots);
	*set = grown;
	return 0;
}

int h2_set_add(struct h2_set *set, uint64_t number)
{
	assert(number != 0);
	if (set->count * 2 >= set->room) {
		int err = grow(set);

		if (err)
			return err;
	}
	return put(set, number);
}

void h2_set_clear(struct h2_set *set)
{
	free(set->slots);
	*set = (struct h2_set){0};
}
