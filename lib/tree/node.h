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

/* An indirect block or freemap node. Constant while the cache has it. */
struct h2_node {
	struct h2_cached cached;
	struct h2_array array;
	unsigned capacity;           /* entries of the block */
	struct h2d_blockref *block; /* where array.refs points */
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
 * A node of the caller's own, which it may change and gives to h2_node_enter() or h2_node_free() in the
 * end. Its entries fill slots 0 .. count - 1; the rest of the block is zero. NULL: no memory.
 */
struct h2_node *h2_node_new(unsigned capacity);

/*
 * The same with the entries of a node whose reference is given back in any case; they are ascending, and
 * no more than capacity. It is the node itself, without a copy, where nobody else refers to it.
 */
struct h2_node *h2_node_take(struct h2_blocks *blocks, struct h2_node *node, unsigned capacity);

void h2_node_free(struct h2_node *node);

/* Have the cache keep an own node under ref, which leads to where it was written. */
void h2_node_enter(struct h2_blocks *blocks, const struct h2_blockref *ref, struct h2_node *node);

/* The block has been replaced, and will hardly be looked for any more. */
void h2_node_drop(struct h2_blocks *blocks, const struct h2_blockref *ref);

#endif
