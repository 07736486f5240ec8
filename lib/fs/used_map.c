/* See used_map.h. */
#include "used_map.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_SEGMENTS 16384u /* 64 GiB */
#define GRANULE_BYTES (H2_SEGMENT / H2_GRANULE / 8)
#define START_BYTES (H2_SEGMENT / H2_BLOCK_MIN / 8)

struct segment {
	uint8_t granules[GRANULE_BYTES];
	uint8_t *starts; /* a bit for each KiB where a block begins that leads to others */
};

struct h2_used_map {
	uint64_t total_size;
	size_t chunk_count;
	struct segment ***chunks;
};

struct h2_used_map *h2_used_map_new(uint64_t total_size)
{
	struct h2_used_map *map = calloc(1, sizeof(*map));

	if (!map)
		return NULL;
	map->total_size = total_size;
	map->chunk_count = (size_t)(total_size / H2_SEGMENT / CHUNK_SEGMENTS + 1);
	map->chunks = calloc(map->chunk_count, sizeof(*map->chunks));
	if (!map->chunks) {
		free(map);
		return NULL;
	}
	return map;
}

void h2_used_map_free(struct h2_used_map *map)
{
	if (!map)
		return;
	for (size_t i = 0; i < map->chunk_count; i++) {
		for (unsigned j = 0; map->chunks[i] && j < CHUNK_SEGMENTS; j++) {
			if (map->chunks[i][j])
				free(map->chunks[i][j]->starts);
			free(map->chunks[i][j]);
		}
		free(map->chunks[i]);
	}
	free(map->chunks);
	free(map);
}

static struct segment *get_segment(struct h2_used_map *map, uint64_t offset)
{
	uint64_t index = offset / H2_SEGMENT;
	struct segment ***chunk = &map->chunks[index / CHUNK_SEGMENTS];
	struct segment **segment;

	assert(offset < map->total_size);
	if (!*chunk)
		*chunk = calloc(CHUNK_SEGMENTS, sizeof(**chunk));
	if (!*chunk)
		return NULL;
	segment = &(*chunk)[index % CHUNK_SEGMENTS];
	if (!*segment)
		*segment = calloc(1, sizeof(**segment));
	return *segment;
}

/* Set a bit; whether it was set. */
static bool set_bit(uint8_t *bits, uint64_t i)
{
	uint8_t mask = (uint8_t)(1u << i % 8);
	bool was = bits[i / 8] & mask;

	bits[i / 8] |= mask;
	return was;
}

int h2_used_map_add(struct h2_used_map *map, uint64_t data_off, bool leads)
{
	uint64_t offset = data_off & ~UINT64_C(63);
	uint64_t first = offset % H2_SEGMENT / H2_GRANULE;
	uint64_t last = (offset % H2_SEGMENT + (UINT64_C(1) << (data_off & 63)) - 1) / H2_GRANULE;
	struct segment *s = get_segment(map, offset);

	if (!s)
		return -ENOMEM;
	assert(last < H2_SEGMENT / H2_GRANULE);
	for (uint64_t i = first; i <= last; i++)
		set_bit(s->granules, i);
	if (!leads)
		return 0;
	if (!s->starts)
		s->starts = calloc(1, START_BYTES);
	if (!s->starts)
		return -ENOMEM;
	return set_bit(s->starts, offset % H2_SEGMENT / H2_BLOCK_MIN);
}

void h2_used_map_get(void *user, uint64_t offset, uint8_t granules[GRANULE_BYTES])
{
	struct h2_used_map *map = user;
	uint64_t index = offset / H2_SEGMENT;
	struct segment **chunk = map->chunks[index / CHUNK_SEGMENTS];
	struct segment *s = chunk ? chunk[index % CHUNK_SEGMENTS] : NULL;

	if (s)
		memcpy(granules, s->granules, GRANULE_BYTES);
	else
		memset(granules, 0, GRANULE_BYTES);
}
