/*
 * The map of storage that a pass over the trees has reached: which 1 KiB units are in use, and
 * where blocks begin, so that two references to one block are told from blocks that overlap.
 *
 * Memory is taken for each 4 MiB segment that is reached, about 2 KiB, up to a limit. When the
 * limit is met, the map gives up its highest segments and ends below them: the pass must then be
 * repeated for the rest, beginning at h2_reach_end().
 */
#ifndef H2_SCAN_REACH_H
#define H2_SCAN_REACH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lock.h"

struct h2_reach_segment;

struct h2_reach {
	uint64_t begin; /* set at init, then constant: lower storage offsets are not mapped */
	struct h2_mutex lock;
	/* under lock */
	struct h2_reach_segment **
		*chunks; /* of 64 GiB, counted from begin; NULL: nothing reached */
	size_t chunk_count;
	size_t segments_used, segments_max;
	uint64_t end; /* storage offset: from here on nothing is mapped */
};

#define H2_REACH_COUNTERS 8u /* for each segment, to the user's taste */

enum h2_reach_result {
	H2_REACH_NEW,
	H2_REACH_SEEN,    /* the very same block was reached before */
	H2_REACH_OVERLAP, /* it shares bytes with another block, or lies on it differently */
	H2_REACH_OUTSIDE, /* not in the part that is mapped in this pass */
};

/* Map [begin, total_size) within about memory_bytes. Returns 0 or -ENOMEM. */
int h2_reach_init(struct h2_reach *reach, uint64_t begin, uint64_t total_size, size_t memory_bytes);
void h2_reach_fini(struct h2_reach *reach);

#define H2_REACH_YOUNG 0x01u /* the freemap need not know this reference yet */
#define H2_REACH_OWN 0x02u   /* who refers to it takes it for his own (BS 5.8) */

/*
 * Enter the block of size bytes (1 KiB to 64 KiB, not crossing a segment) at offset. Any thread may
 * call this.
 */
enum h2_reach_result h2_reach_mark(struct h2_reach *reach, uint64_t offset, size_t size,
				   unsigned flags);

/* Whether the block at offset was ever entered with H2_REACH_OWN; false where it is not mapped. */
bool h2_reach_is_own(struct h2_reach *reach, uint64_t offset);

/*
 * Count something about the block at offset. The counts belong to the map: a segment that it gives
 * up takes its own along, so that a repeated pass counts nothing twice.
 */
void h2_reach_count(struct h2_reach *reach, uint64_t offset, unsigned counter);

/* Add the counts of all that is mapped. No thread may enter blocks any more. */
void h2_reach_add_counts(const struct h2_reach *reach, uint64_t counts[H2_REACH_COUNTERS]);

/* Where the mapped part ends; total_size when everything was mapped. */
uint64_t h2_reach_end(struct h2_reach *reach);

struct h2_reach_granule {
	uint16_t used; /* a bit for each 1 KiB unit; 0: not reached */
	uint16_t old;  /* of these: the freemap must know them */
};

/* The granule of 16 KiB that contains offset, which must be mapped. */
struct h2_reach_granule h2_reach_get(struct h2_reach *reach, uint64_t offset);

/* Whether anything in the 4 MiB segment that contains offset was reached. */
bool h2_reach_segment_used(struct h2_reach *reach, uint64_t offset);

/* The first offset of a reached segment at or behind offset; the mapped end where there is none. */
uint64_t h2_reach_next_used(struct h2_reach *reach, uint64_t offset);

#endif
