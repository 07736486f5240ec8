/*
 * See owner_map.h.
 *
 * Blocks that were met are marked where they begin. There are two sets of marks, since only the
 * blocks below 16 KiB need one for each KiB: a block is always looked for in the set of its size.
 */
#include "owner_map.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"

#define CHUNK_SEGMENTS 16384u /* 64 GiB */
#define GRANULES ((unsigned)(H2_SEGMENT / H2_GRANULE))
#define GRANULE_BYTES (GRANULES / 8)
#define START_BYTES (H2_SEGMENT / H2_BLOCK_MIN / 8)

/* The latest owner's marks go when the next one enters something in the segment. */
struct small_marks {
	uint8_t met[START_BYTES];
	uint8_t twice[START_BYTES];  /* of those that lead to others: by two owners */
	uint8_t latest[START_BYTES]; /* by the latest owner; of the others: by him first */
};

struct segment {
	uint32_t owner; /* of all granules that are in use, where owners is NULL */
	uint32_t latest_owner;
	uint32_t *owners; /* of each granule */
	uint8_t used[GRANULE_BYTES];
	uint8_t shared[GRANULE_BYTES]; /* has no owner any more */
	/* the marks for blocks of 16 KiB and more */
	uint8_t met[GRANULE_BYTES], twice[GRANULE_BYTES], latest[GRANULE_BYTES];
	struct small_marks *small;
};

struct h2_owner_map {
	uint64_t total_size;
	size_t chunk_count;
	struct segment ***chunks;
	uint64_t *granules; /* of each owner */
	uint32_t owner_count;
	size_t owner_room;
	uint64_t shared_granules;
};

struct h2_owner_map *h2_owner_map_new(uint64_t total_size)
{
	struct h2_owner_map *map = calloc(1, sizeof(*map));
	uint32_t owner;

	if (!map)
		return NULL;
	map->total_size = total_size;
	map->chunk_count = (size_t)(total_size / H2_SEGMENT / CHUNK_SEGMENTS + 1);
	map->chunks = calloc(map->chunk_count, sizeof(*map->chunks));
	if (!map->chunks || h2_owner_map_add_owner(map, &owner) != 0) {
		h2_owner_map_free(map);
		return NULL;
	}
	assert(owner == H2_OWNER_SUPER_ROOT);
	return map;
}

static void free_segment(struct segment *s)
{
	if (!s)
		return;
	free(s->owners);
	free(s->small);
	free(s);
}

void h2_owner_map_free(struct h2_owner_map *map)
{
	if (!map)
		return;
	for (size_t i = 0; map->chunks && i < map->chunk_count; i++) {
		for (unsigned j = 0; map->chunks[i] && j < CHUNK_SEGMENTS; j++)
			free_segment(map->chunks[i][j]);
		free(map->chunks[i]);
	}
	free(map->chunks);
	free(map->granules);
	free(map);
}

int h2_owner_map_add_owner(struct h2_owner_map *map, uint32_t *owner)
{
	if (map->owner_count == map->owner_room) {
		size_t room = map->owner_room ? 2 * map->owner_room : 16;
		uint64_t *granules = realloc(map->granules, room * sizeof(*granules));

		if (!granules || map->owner_count > UINT32_MAX / 2)
			return -ENOMEM;
		map->granules = granules;
		map->owner_room = room;
	}
	*owner = map->owner_count;
	map->granules[map->owner_count++] = 0;
	return 0;
}

static struct segment *get_segment(struct h2_owner_map *map, uint64_t offset)
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

static bool get_bit(const uint8_t *bits, uint64_t i)
{
	return bits[i / 8] >> i % 8 & 1;
}

static void set_bit(uint8_t *bits, uint64_t i)
{
	bits[i / 8] |= (uint8_t)(1u << i % 8);
}

/* ---- granules ---- */

static uint32_t owner_of(const struct segment *s, unsigned granule)
{
	return s->owners ? s->owners[granule] : s->owner;
}

/* A granule of a segment gets an owner, from whom it had before. Returns 0 or -ENOMEM. */
static int set_owner(struct segment *s, unsigned granule, uint32_t owner)
{
	if (!s->owners && owner == s->owner)
		return 0;
	if (!s->owners) {
		s->owners = malloc(GRANULES * sizeof(*s->owners));
		if (!s->owners)
			return -ENOMEM;
		for (unsigned i = 0; i < GRANULES; i++)
			s->owners[i] = s->owner;
	}
	s->owners[granule] = owner;
	return 0;
}

static bool is_empty(const struct segment *s)
{
	static const uint8_t none[GRANULE_BYTES];

	return memcmp(s->used, none, sizeof(none)) == 0;
}

/* The first use of a granule. */
static int take(struct h2_owner_map *map, struct segment *s, unsigned granule, uint32_t owner)
{
	int err;

	if (is_empty(s))
		s->owner = owner;
	err = set_owner(s, granule, owner);
	if (err)
		return err;
	set_bit(s->used, granule);
	map->granules[owner]++;
	return 0;
}

/* The super-root takes a granule from others. */
static int take_over(struct h2_owner_map *map, struct segment *s, unsigned granule)
{
	uint32_t before = owner_of(s, granule);
	int err = set_owner(s, granule, H2_OWNER_SUPER_ROOT);

	if (err)
		return err;
	if (get_bit(s->shared, granule)) {
		s->shared[granule / 8] &= (uint8_t)~(1u << granule % 8);
		map->shared_granules--;
	} else {
		map->granules[before]--;
	}
	map->granules[H2_OWNER_SUPER_ROOT]++;
	return 0;
}

static int use_granule(struct h2_owner_map *map, struct segment *s, unsigned granule,
		       uint32_t owner)
{
	bool shared = get_bit(s->shared, granule);
	uint32_t before = owner_of(s, granule);

	if (!get_bit(s->used, granule))
		return take(map, s, granule, owner);
	if (owner == H2_OWNER_SUPER_ROOT)
		return before == owner && !shared ? 0 : take_over(map, s, granule);
	if (shared || before == owner || before == H2_OWNER_SUPER_ROOT)
		return 0;
	set_bit(s->shared, granule);
	map->granules[before]--;
	map->shared_granules++;
	return 0;
}

/* ---- blocks ---- */

static enum h2_owner_met meet(uint8_t *met, uint8_t *twice, uint8_t *latest, uint64_t i, bool leads)
{
	if (!get_bit(met, i)) {
		set_bit(met, i);
		set_bit(latest, i);
		return H2_MET_FIRST;
	}
	if (get_bit(latest, i))
		return H2_MET_AGAIN;
	if (!leads)
		return H2_MET_OTHERS;
	set_bit(latest, i);
	if (get_bit(twice, i))
		return H2_MET_SHARED;
	set_bit(twice, i);
	return H2_MET_OTHERS;
}

static void turn_to(struct segment *s, uint32_t owner)
{
	if (s->latest_owner == owner)
		return;
	s->latest_owner = owner;
	memset(s->latest, 0, sizeof(s->latest));
	if (s->small)
		memset(s->small->latest, 0, sizeof(s->small->latest));
}

int h2_owner_map_add(struct h2_owner_map *map, uint32_t owner, uint64_t data_off, bool leads)
{
	uint64_t offset = data_off & ~UINT64_C(63), size = UINT64_C(1) << (data_off & 63);
	unsigned first = (unsigned)(offset % H2_SEGMENT / H2_GRANULE);
	unsigned last = (unsigned)((offset % H2_SEGMENT + size - 1) / H2_GRANULE);
	struct segment *s = get_segment(map, offset);
	int err = s ? 0 : -ENOMEM;

	assert(owner < map->owner_count);
	assert(last < GRANULES);
	for (unsigned i = first; i <= last && !err; i++)
		err = use_granule(map, s, i, owner);
	if (err)
		return err;
	turn_to(s, owner);
	if (size >= H2_GRANULE)
		return meet(s->met, s->twice, s->latest, first, leads);
	if (!s->small)
		s->small = calloc(1, sizeof(*s->small));
	if (!s->small)
		return -ENOMEM;
	return meet(s->small->met, s->small->twice, s->small->latest,
		    offset % H2_SEGMENT / H2_BLOCK_MIN, leads);
}

/* ---- what came of it ---- */

uint64_t h2_owner_map_exclusive(const struct h2_owner_map *map, uint32_t owner)
{
	assert(owner < map->owner_count);
	return map->granules[owner] * H2_GRANULE;
}

uint64_t h2_owner_map_shared(const struct h2_owner_map *map)
{
	return map->shared_granules * H2_GRANULE;
}
