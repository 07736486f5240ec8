/* See used_map.h. */
#include "used_map.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_SEGMENTS 16384u /* 64 GiB */
#define GRANULE_BYTES (H2_SEGMENT / H2_GRANULE / 8)
#define START_BYTES (H2_SEGMENT / H2_BLOCK_MIN / 8)

typedef _Atomic uint8_t byte; /* of bits */

struct segment {
	byte granules[GRANULE_BYTES];
	_Atomic(byte *) starts; /* a bit for each KiB where a block begins that leads to others */
};

typedef _Atomic(struct segment *) segment_slot;

struct h2_used_map {
	uint64_t total_size;
	size_t chunk_count;
	_Atomic(segment_slot *) *chunks;
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
		segment_slot *chunk = atomic_load(&map->chunks[i]);

		for (unsigned j = 0; chunk && j < CHUNK_SEGMENTS; j++) {
			struct segment *s = atomic_load(&chunk[j]);

			if (s)
				free(atomic_load(&s->starts));
			free(s);
		}
		free(chunk);
	}
	free(map->chunks);
	free(map);
}

/* Where two threads make the same piece of memory, the first one's counts. */

static segment_slot *get_chunk(_Atomic(segment_slot *) *slot)
{
	segment_slot *chunk = atomic_load(slot), *made;

	if (chunk)
		return chunk;
	made = calloc(CHUNK_SEGMENTS, sizeof(*made));
	if (!made || atomic_compare_exchange_strong(slot, &chunk, made))
		return made;
	free(made);
	return chunk;
}

static struct segment *get_segment(struct h2_used_map *map, uint64_t offset)
{
	uint64_t index = offset / H2_SEGMENT;
	struct segment *segment = NULL, *made;
	segment_slot *chunk, *slot;

	assert(offset < map->total_size);
	chunk = get_chunk(&map->chunks[index / CHUNK_SEGMENTS]);
	if (!chunk)
		return NULL;
	slot = &chunk[index % CHUNK_SEGMENTS];
	segment = atomic_load(slot);
	if (segment)
		return segment;
	made = calloc(1, sizeof(*made));
	if (!made || atomic_compare_exchange_strong(slot, &segment, made))
		return made;
	free(made);
	return segment;
}

static byte *get_starts(struct segment *s)
{
	byte *starts = atomic_load(&s->starts), *made;

	if (starts)
		return starts;
	made = calloc(START_BYTES, sizeof(*made));
	if (!made || atomic_compare_exchange_strong(&s->starts, &starts, made))
		return made;
	free(made);
	return starts;
}

/* Set a bit; whether it was set. */
static bool set_bit(byte *bits, uint64_t i)
{
	uint8_t mask = (uint8_t)(1u << i % 8);

	/* Most are set already: several blocks lie in one granule. */
	if (atomic_load_explicit(&bits[i / 8], memory_order_relaxed) & mask)
		return true;
	return atomic_fetch_or(&bits[i / 8], mask) & mask;
}

int h2_used_map_add(struct h2_used_map *map, uint64_t data_off, bool leads)
{
	uint64_t offset = data_off & ~UINT64_C(63);
	uint64_t first = offset % H2_SEGMENT / H2_GRANULE;
	uint64_t last = (offset % H2_SEGMENT + (UINT64_C(1) << (data_off & 63)) - 1) / H2_GRANULE;
	struct segment *s = get_segment(map, offset);
	byte *starts;

	if (!s)
		return -ENOMEM;
	assert(last < H2_SEGMENT / H2_GRANULE);
	for (uint64_t i = first; i <= last; i++)
		set_bit(s->granules, i);
	if (!leads)
		return 0;
	starts = get_starts(s);
	if (!starts)
		return -ENOMEM;
	return set_bit(starts, offset % H2_SEGMENT / H2_BLOCK_MIN);
}

void h2_used_map_get(void *user, uint64_t offset, uint8_t granules[GRANULE_BYTES])
{
	struct h2_used_map *map = user;
	uint64_t index = offset / H2_SEGMENT;
	segment_slot *chunk = atomic_load(&map->chunks[index / CHUNK_SEGMENTS]);
	struct segment *s = chunk ? atomic_load(&chunk[index % CHUNK_SEGMENTS]) : NULL;

	for (unsigned i = 0; i < GRANULE_BYTES; i++)
		granules[i] = s ? atomic_load_explicit(&s->granules[i], memory_order_relaxed) : 0;
}
