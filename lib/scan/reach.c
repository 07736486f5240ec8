/* The map of reached storage; see reach.h. */
#include "reach.h"

#include <assert.h>
#include <errno.h>
#include <hammer2/types.h>
#include <stdlib.h>

#define GRANULES 256u /* in a segment */
#define UNITS 16u     /* of 1 KiB in a granule */

struct h2_reach_segment {
	uint16_t used[GRANULES];   /* units that belong to a block */
	uint16_t starts[GRANULES]; /* units in which a block begins */
	uint8_t young[GRANULES / 8];
	uint16_t counts[H2_REACH_COUNTERS]; /* at most one for each unit */
};

int h2_reach_init(struct h2_reach *reach, uint64_t begin, uint64_t total_size,
		  size_t memory_bytes)
{
	assert(begin % H2_SEGMENT == 0);
	assert(begin < total_size);
	reach->begin = begin;
	reach->end = total_size;
	reach->segment_count = (size_t)((total_size - begin + H2_SEGMENT - 1) / H2_SEGMENT);
	reach->segments_used = 0;
	reach->segments_max = memory_bytes / sizeof(struct h2_reach_segment);
	if (reach->segments_max < 16)
		reach->segments_max = 16;
	reach->segments = calloc(reach->segment_count, sizeof(struct h2_reach_segment *));
	if (!reach->segments)
		return -ENOMEM;
	h2_mutex_init(&reach->lock, H2_RANK_REACH);
	return 0;
}

void h2_reach_fini(struct h2_reach *reach)
{
	for (size_t i = 0; i < reach->segment_count; i++)
		free(reach->segments[i]);
	free(reach->segments);
	h2_mutex_fini(&reach->lock);
}

static size_t segment_index(const struct h2_reach *reach, uint64_t offset)
{
	return (size_t)((offset - reach->begin) / H2_SEGMENT);
}

/* Give up the highest segment that is in memory; everything from it on is no longer mapped. */
static void drop_highest_locked(struct h2_reach *reach)
{
	size_t i = segment_index(reach, reach->end - 1);

	assert(h2_mutex_held(&reach->lock));
	while (!reach->segments[i])
		i--;
	free(reach->segments[i]);
	reach->segments[i] = NULL;
	reach->segments_used--;
	reach->end = reach->begin + i * H2_SEGMENT;
}

/* The segment of an offset, made when it is missing; NULL where the map ends in front of it. */
static struct h2_reach_segment *segment_locked(struct h2_reach *reach, uint64_t offset)
{
	size_t i = segment_index(reach, offset);

	if (reach->segments[i])
		return reach->segments[i];
	while (reach->segments_used > 0 &&
	       (reach->segments_used >= reach->segments_max ||
		!(reach->segments[i] = calloc(1, sizeof(struct h2_reach_segment))))) {
		drop_highest_locked(reach);
		if (offset >= reach->end)
			return NULL;
	}
	if (!reach->segments[i])
		reach->segments[i] = calloc(1, sizeof(struct h2_reach_segment));
	if (!reach->segments[i]) {
		reach->end = reach->begin + i * H2_SEGMENT;
		return NULL;
	}
	reach->segments_used++;
	return reach->segments[i];
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
				   bool young)
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
	for (size_t g = first / UNITS; young && g <= (first + count - 1) / UNITS; g++)
		s->young[g / 8] = (uint8_t)(s->young[g / 8] | 1u << (g % 8));
	h2_mutex_unlock(&reach->lock);
	return same ? H2_REACH_SEEN : unused ? H2_REACH_NEW : H2_REACH_OVERLAP;
}

void h2_reach_count(struct h2_reach *reach, uint64_t offset, unsigned counter)
{
	struct h2_reach_segment *s = NULL;

	assert(counter < H2_REACH_COUNTERS);
	assert(offset >= reach->begin);
	h2_mutex_lock(&reach->lock);
	if (offset < reach->end)
		s = reach->segments[segment_index(reach, offset)];
	if (s)
		s->counts[counter]++;
	h2_mutex_unlock(&reach->lock);
}

void h2_reach_add_counts(const struct h2_reach *reach, uint64_t counts[H2_REACH_COUNTERS])
{
	for (size_t i = 0; i < reach->segment_count; i++) {
		for (unsigned n = 0; reach->segments[i] && n < H2_REACH_COUNTERS; n++)
			counts[n] += reach->segments[i]->counts[n];
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
	s = reach->segments[segment_index(reach, offset)];
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
		.young = s->young[g / 8] >> (g % 8) & 1,
	};
}

bool h2_reach_segment_used(struct h2_reach *reach, uint64_t offset)
{
	return peek(reach, offset) != NULL;
}
