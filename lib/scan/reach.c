/* The map of reached storage; see reach.h. */
#include "reach.h"

#include <assert.h>
#include <errno.h>
#include <hammer2/types.h>
#include <stdlib.h>

#define GRANULES 256u /* in a segment */
#define UNITS 16u     /* of 1 KiB in a granule */
#define CHUNK 16384u  /* segments in a chunk */

struct h2_reach_segment {
	uint16_t used[GRANULES];   /* units that belong to a block */
	uint16_t starts[GRANULES]; /* units in which a block begins */
	uint16_t old[GRANULES];    /* units that a reference which is not young leads to */
	uint16_t own[GRANULES];    /* units in which a block begins that is someone's own */
	uint16_t counts[H2_REACH_COUNTERS]; /* at most one for each unit */
};

int h2_reach_init(struct h2_reach *reach, uint64_t begin, uint64_t total_size, size_t memory_bytes)
{
	assert(begin % H2_SEGMENT == 0);
	assert(begin < total_size);
	reach->begin = begin;
	reach->end = total_size;
	reach->chunk_count = (size_t)((total_size - begin) / H2_SEGMENT / CHUNK + 1);
	reach->segments_used = 0;
	reach->segments_max = memory_bytes / sizeof(struct h2_reach_segment);
	if (reach->segments_max < 16)
		reach->segments_max = 16;
	reach->chunks = calloc(reach->chunk_count, sizeof(struct h2_reach_segment **));
	if (!reach->chunks)
		return -ENOMEM;
	h2_mutex_init(&reach->lock, H2_RANK_REACH);
	return 0;
}

void h2_reach_fini(struct h2_reach *reach)
{
	for (size_t i = 0; i < reach->chunk_count; i++) {
		for (size_t k = 0; reach->chunks[i] && k < CHUNK; k++)
			free(reach->chunks[i][k]);
		free(reach->chunks[i]);
	}
	free(reach->chunks);
	h2_mutex_fini(&reach->lock);
}

static size_t segment_index(const struct h2_reach *reach, uint64_t offset)
{
	return (size_t)((offset - reach->begin) / H2_SEGMENT);
}

/* Where the pointer to segment i stands; NULL where its chunk is not in memory. */
static struct h2_reach_segment **slot_of(const struct h2_reach *reach, size_t i)
{
	struct h2_reach_segment **chunk = reach->chunks[i / CHUNK];

	return chunk ? &chunk[i % CHUNK] : NULL;
}

static struct h2_reach_segment *segment_at(const struct h2_reach *reach, size_t i)
{
	struct h2_reach_segment **slot = slot_of(reach, i);

	return slot ? *slot : NULL;
}

/* Give up the highest segment that is in memory; everything from it on is no longer mapped. */
static void drop_highest_locked(struct h2_reach *reach)
{
	size_t i = segment_index(reach, reach->end - 1);

	assert(h2_mutex_held(&reach->lock));
	while (!segment_at(reach, i))
		i -= reach->chunks[i / CHUNK] ? 1 : i % CHUNK + 1;
	free(*slot_of(reach, i));
	*slot_of(reach, i) = NULL;
	reach->segments_used--;
	reach->end = reach->begin + i * H2_SEGMENT;
}

/* Memory for segment i, and for the pointer to it. */
static struct h2_reach_segment *make_segment(struct h2_reach *reach, size_t i)
{
	struct h2_reach_segment ***chunk = &reach->chunks[i / CHUNK];

	if (!*chunk)
		*chunk = calloc(CHUNK, sizeof(struct h2_reach_segment *));
	return *chunk ? (*chunk)[i % CHUNK] = calloc(1, sizeof(struct h2_reach_segment)) : NULL;
}

/* The segment of an offset, made when it is missing; NULL where the map ends in front of it. */
static struct h2_reach_segment *segment_locked(struct h2_reach *reach, uint64_t offset)
{
	size_t i = segment_index(reach, offset);
	struct h2_reach_segment *s = segment_at(reach, i);

	if (s)
		return s;
	while (reach->segments_used > 0 &&
	       (reach->segments_used >= reach->segments_max || !(s = make_segment(reach, i)))) {
		drop_highest_locked(reach);
		if (offset >= reach->end)
			return NULL;
	}
	if (!s)
		s = make_segment(reach, i);
	if (!s) {
		reach->end = reach->begin + i * H2_SEGMENT;
		return NULL;
	}
	reach->segments_used++;
	return s;
}

static bool bit(const uint16_t *words, size_t unit)
{
	return words[unit / UNITS] >> (unit % UNITS) & 1;
}

static void set_bit(uint16_t *words, size_t unit)
{
	words[unit / UNITS] = (uint16_t)(words[unit / UNITS] | 1u << (unit % UNITS));
}

/* Whether exactly the units [first, first + count) are one block; and whether all are unused. */
static void compare(const struct h2_reach_segment *s, size_t first, size_t count, bool *same,
		    bool *unused)
{
	size_t behind = first + count;

	*same = bit(s->starts, first);
	*unused = true;
	for (size_t u = first; u < behind; u++) {
		*same = *same && bit(s->used, u) && (u == first || !bit(s->starts, u));
		*unused = *unused && !bit(s->used, u);
	}
	/* A longer block would go on behind. */
	if (behind < GRANULES * UNITS && bit(s->used, behind) && !bit(s->starts, behind))
		*same = false;
}

enum h2_reach_result h2_reach_mark(struct h2_reach *reach, uint64_t offset, size_t size,
				   unsigned flags)
{
	size_t first = (size_t)(offset % H2_SEGMENT / H2_BLOCK_MIN);
	size_t count = size / H2_BLOCK_MIN;
	struct h2_reach_segment *s = NULL;
	bool same, unused;

	assert(count >= 1);
	assert(first + count <= GRANULES * UNITS);
	if (offset < reach->begin)
		return H2_REACH_OUTSIDE;
	h2_mutex_lock(&reach->lock);
	if (offset < reach->end)
		s = segment_locked(reach, offset);
	if (!s) {
		h2_mutex_unlock(&reach->lock);
		return H2_REACH_OUTSIDE;
	}
	compare(s, first, count, &same, &unused);
	if (!same) {
		set_bit(s->starts, first);
		for (size_t u = first; u < first + count; u++)
			set_bit(s->used, u);
	}
	for (size_t u = first; !(flags & H2_REACH_YOUNG) && u < first + count; u++)
		set_bit(s->old, u);
	if (flags & H2_REACH_OWN)
		set_bit(s->own, first);
	h2_mutex_unlock(&reach->lock);
	return same ? H2_REACH_SEEN : unused ? H2_REACH_NEW : H2_REACH_OVERLAP;
}

bool h2_reach_is_own(struct h2_reach *reach, uint64_t offset)
{
	const struct h2_reach_segment *s = NULL;
	bool own;

	if (offset < reach->begin)
		return false;
	h2_mutex_lock(&reach->lock);
	if (offset < reach->end)
		s = segment_at(reach, segment_index(reach, offset));
	own = s && bit(s->own, (size_t)(offset % H2_SEGMENT / H2_BLOCK_MIN));
	h2_mutex_unlock(&reach->lock);
	return own;
}

void h2_reach_count(struct h2_reach *reach, uint64_t offset, unsigned counter)
{
	struct h2_reach_segment *s = NULL;

	assert(counter < H2_REACH_COUNTERS);
	assert(offset >= reach->begin);
	h2_mutex_lock(&reach->lock);
	if (offset < reach->end)
		s = segment_at(reach, segment_index(reach, offset));
	if (s)
		s->counts[counter]++;
	h2_mutex_unlock(&reach->lock);
}

void h2_reach_add_counts(const struct h2_reach *reach, uint64_t counts[H2_REACH_COUNTERS])
{
	for (size_t i = 0; i < reach->chunk_count; i++) {
		for (size_t k = 0; reach->chunks[i] && k < CHUNK; k++) {
			const struct h2_reach_segment *s = reach->chunks[i][k];

			for (unsigned n = 0; s && n < H2_REACH_COUNTERS; n++)
				counts[n] += s->counts[n];
		}
	}
}

uint64_t h2_reach_end(struct h2_reach *reach)
{
	uint64_t end;

	h2_mutex_lock(&reach->lock);
	end = reach->end;
	h2_mutex_unlock(&reach->lock);
	return end;
}

static const struct h2_reach_segment *peek(struct h2_reach *reach, uint64_t offset)
{
	const struct h2_reach_segment *s;

	assert(offset >= reach->begin);
	h2_mutex_lock(&reach->lock);
	assert(offset < reach->end);
	s = segment_at(reach, segment_index(reach, offset));
	h2_mutex_unlock(&reach->lock);
	return s;
}

struct h2_reach_granule h2_reach_get(struct h2_reach *reach, uint64_t offset)
{
	const struct h2_reach_segment *s = peek(reach, offset);
	size_t g = (size_t)(offset % H2_SEGMENT / H2_GRANULE);

	if (!s)
		return (struct h2_reach_granule){0};
	return (struct h2_reach_granule){
		.used = s->used[g],
		.old = s->old[g],
	};
}

bool h2_reach_segment_used(struct h2_reach *reach, uint64_t offset)
{
	return peek(reach, offset) != NULL;
}

uint64_t h2_reach_next_used(struct h2_reach *reach, uint64_t offset)
{
	uint64_t end;
	size_t i;

	h2_mutex_lock(&reach->lock);
	end = reach->end;
	i = offset < reach->begin ? 0 : segment_index(reach, offset);
	while (reach->begin + i * H2_SEGMENT < end && !segment_at(reach, i))
		i += reach->chunks[i / CHUNK] ? 1 : CHUNK - i % CHUNK;
	h2_mutex_unlock(&reach->lock);
	return reach->begin + i * H2_SEGMENT < end ? reach->begin + i * H2_SEGMENT : end;
}
