/* Walking the freemap; see freemap.h. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "freemap.h"

#define NODE_ENTRIES (H2_FREEMAP_BLOCK_SIZE / H2_BLOCKREF_SIZE)

static void report(const struct h2_freemap_walk *walk, const struct h2_blockref *ref, int error,
		   const struct h2_problem *problem)
{
	struct h2_freemap_fault fault = {.ref = ref, .error = error, .problem = *problem};

	if (walk->fault)
		walk->fault(walk->user, &fault);
}

/* Read the block of ref; what is wrong is reported. Returns false if it cannot be used. */
static bool read_block(const struct h2_freemap_walk *walk, const struct h2_blockref *ref, void *buf)
{
	enum h2_check_result result;
	int err = h2_volumes_read(walk->volumes, h2_blockref_offset(ref), buf,
				  H2_FREEMAP_BLOCK_SIZE);

	if (err) {
		report(walk, ref, err, &(struct h2_problem){"block", "readable", ref->data_off});
		return false;
	}
	result = h2_check_verify(ref, buf, H2_FREEMAP_BLOCK_SIZE);
	if (result == H2_CHECK_MISMATCH)
		report(walk, ref, -H2_ECHECK,
		       &(struct h2_problem){"check", "the block's check code",
					    h2_check_stored(ref)});
	return result == H2_CHECK_MATCH || result == H2_CHECK_ABSENT;
}

static int walk_array(const struct h2_freemap_walk *walk, const struct h2d_blockref *refs,
		      unsigned count, uint64_t lo, uint64_t hi, unsigned level);

static int walk_ref(const struct h2_freemap_walk *walk, const struct h2_blockref *ref)
{
	unsigned level = h2_freemap_level(ref->keybits);
	void *block = malloc(H2_FREEMAP_BLOCK_SIZE);
	int err = 0;

	if (!block)
		return -ENOMEM;
	if (walk->ref)
		walk->ref(walk->user, ref);
	if (read_block(walk, ref, block)) {
		if (ref->type == H2_BLOCKREF_FREEMAP_LEAF)
			err = walk->leaf(walk->user, ref, block);
		else
			err = walk_array(walk, block, NODE_ENTRIES, ref->key,
					 h2_blockref_key_last(ref), level);
	}
	free(block);
	return err;
}

/* Entries must lie in [lo, hi] and be of a lower level: so the walk is at most five deep. */
static int walk_array(const struct h2_freemap_walk *walk, const struct h2d_blockref *refs,
		      unsigned count, uint64_t lo, uint64_t hi, unsigned level)
{
	uint64_t total = h2_volumes_total_size(walk->volumes);
	uint64_t next = lo; /* entries in front of it would overlap one that was walked */

	for (unsigned i = 0; i < count; i++) {
		struct h2_blockref ref;
		struct h2_problem problem;
		int err;

		if (refs[i].type == H2_BLOCKREF_EMPTY)
			continue;
		h2_blockref_decode(&refs[i], &ref);
		if (!h2_blockref_verify(&ref, H2_TREE_FREEMAP, total, &problem)) {
			report(walk, &ref, -H2_ECORRUPT, &problem);
			continue;
		}
		if (h2_freemap_level(ref.keybits) >= level || ref.key < next ||
		    h2_blockref_key_last(&ref) > hi) {
			report(walk, &ref, -H2_ECORRUPT,
			       &(struct h2_problem){"key", "ascending, within the node above it",
						    ref.key});
			continue;
		}
		err = walk_ref(walk, &ref);
		if (err)
			return err;
		next = h2_blockref_key_last(&ref) + 1;
		if (next == 0)
			break;
	}
	return 0;
}

int h2_freemap_walk(const struct h2_freemap_walk *walk)
{
	struct h2d_blockref refs[H2_BLOCKSET_COUNT];

	for (unsigned i = 0; i < H2_BLOCKSET_COUNT; i++)
		h2_blockref_encode(&walk->blockset[i], &refs[i]);
	return walk_array(walk, refs, H2_BLOCKSET_COUNT, 0, UINT64_MAX, 6);
}
