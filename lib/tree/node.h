/*
 * Arrays of blockrefs as readers see them: in ascending key order and with checked ranges, whatever
 * their order on the media (MF 5.3 rule 4), and the nodes of a tree: indirect blocks and freemap
 * nodes, which the cache keeps.
 */
#ifndef H2_TREE_NODE_H
#define H2_TREE_NODE_H

#include "blocks.h"

struct h2_array_entry {
	uint64_t lo, hi; /* the key range that the entry claims; hi >= lo */
	uint16_t slot;   /* its index on the media */
};

struct h2_branch; /* an indirect block that has changed since the last commit: change.h */

/* The non-empty entries of an array, by lo; entries of equal lo in the order of the media. */
struct h2_array {
	const struct h2d_blockref *refs;
	struct h2_array_entry *entries;
	/*
	 * By slot: what stands in memory for the block that the entry leads to, or NULL; NULL as a
	 * whole where no entry can have that.
	 */
	struct h2_branch **children;
	unsigned count;
	bool disjoint;  /* no two ranges overlap, as MF 5.3 rule 1 demands */
	bool ascending; /* the media have them in the order of their keys, rule 4 */
};

/* Fill entries, which has room for count elements, from the count refs. */
void h2_array_init(struct h2_array *array, const struct h2d_blockref *refs, unsigned count,
		   struct h2_array_entry *entries);

/* The index of the first entry whose range ends at or behind key; count where there is none. */
unsigned h2_array_find(const struct h2_array *array, uint64_t key);

/* The four entries of an inode or a volume header: the root of a tree. */
struct h2_root {
	struct h2_array array;
	struct h2d_blockref refs[H2_BLOCKSET_COUNT];
	struct h2_array_entry entries[H2_BLOCKSET_COUNT];
	struct h2_branch *children[H2_BLOCKSET_COUNT];
};
void h2_root_init(struct h2_root *root, const struct h2d_blockref refs[H2_BLOCKSET_COUNT]);

/* An indirect block or freemap node. Constant while referenced. */
struct h2_node {
	struct h2_cached cached;
	struct h2_array array;
};

static inline bool h2_is_interior(const struct h2_blockref *ref)
{
	return ref->type == H2_BLOCKREF_INDIRECT || ref->type == H2_BLOCKREF_FREEMAP_NODE;
}

/*
 * Get the node of a checked INDIRECT or FREEMAP_NODE blockref. Returns 0 and a reference, to be
 * given back with h2_node_put(); -ENOMEM; or what h2_block_read() gives.
 */
int h2_node_get(struct h2_blocks *blocks, const struct h2_where *where,
		const struct h2_blockref *ref, struct h2_node **nodep);
void h2_node_put(struct h2_blocks *blocks, struct h2_node *node); /* NULL is allowed */

/*
 * Enter the node of a block that has just been made, so that it is not read back: ref is complete, and
 * block has h2_block_size() bytes. Without memory it is read when it is needed.
 */
void h2_node_enter(struct h2_blocks *blocks, const struct h2_blockref *ref, const void *block);

/* The block has been replaced, and will hardly be looked for any more. */
void h2_node_drop(struct h2_blocks *blocks, const struct h2_blockref *ref);

#endif
