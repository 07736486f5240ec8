/* A hash table with open addressing; see map.h. */
#include "map.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define ROOM_MIN 64u

/* The slot of a number, or the free one where it would be. */
static struct h2_map_slot *find(const struct h2_map *map, uint64_t number)
{
	size_t i = (size_t)(number * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (map->room - 1);

	while (map->slots[i].number && map->slots[i].number != number)
		i = (i + 1) & (map->room - 1);
	return &map->slots[i];
}

void *h2_map_get(const struct h2_map *map, uint64_t number)
{
	return map->room && number ? find(map, number)->value : NULL;
}

static int grow(struct h2_map *map)
{
	size_t room = map->room ? map->room * 2 : ROOM_MIN;
	struct h2_map grown = {
		.slots = calloc(room, sizeof(*map->slots)),
		.count = map->count,
		.room = room,
	};

	if (!grown.slots)
		return -ENOMEM;
	for (size_t i = 0; i < map->room; i++)
		if (map->slots[i].number)
			*find(&grown, map->slots[i].number) = map->slots[i];
	free(map->slots);
	*map = grown;
	return 0;
}

int h2_map_put(struct h2_map *map, uint64_t number, void *value)
{
	struct h2_map_slot *slot;

	assert(number != 0);
	assert(value);
	if (map->count * 2 >= map->room && grow(map) != 0)
		return -ENOMEM;
	slot = find(map, number);
	assert(!slot->number);
	*slot = (struct h2_map_slot){.number = number, .value = value};
	map->count++;
	return 0;
}

void h2_map_clear(struct h2_map *map)
{
	free(map->slots);
	*map = (struct h2_map){0};
}
