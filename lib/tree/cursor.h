/*
 * Lookup and ordered iteration over a tree of blockrefs of any legal shape, MF 5.5.
 *
 * A cursor walks the leaves of a tree (everything but indirect blocks and freemap nodes) whose key
 * ranges meet [lo, hi], in ascending key order, in memory that does not depend on the size of the
 * tree. Of damaged arrays with overlapping ranges each key belongs to the entry of the lowest key.
 *
 * Damage does not end a walk: h2_cursor_next() returns an error for the part that cannot be read
 * and goes on behind it when it is called again. A walk always ends: ranges shrink to disjoint
 * parts on the way down, no block is entered twice on one path, and paths have at most
 * H2_DEPTH_MAX levels.
 *
 * Invariant of a cursor: stack[depth - 1] is the array being walked; its [lo, hi] is what is left
 * of the walk there, within the ranges of all entries on the way to it.
 */
#ifndef H2_TREE_CURSOR_H
#define H2_TREE_CURSOR_H

#include "node.h"

struct h2_cursor_level {
	const struct h2_array *array;
	struct h2_node *node; /* reference that keeps the array; NULL for the root */
	uint64_t data_off;    /* of the node */
	uint64_t lo, hi;
	unsigned index; /* next entry to look at */
};

struct h2_cursor {
	struct h2_blocks *blocks;
	struct h2_where where;
	enum h2_tree_kind kind;
	unsigned depth; /* levels in use; 0: at the end */
	uint64_t last;  /* last key of what h2_cursor_next() returned or could not read */
	struct h2_cursor_level stack[H2_DEPTH_MAX];
};

/* Begin a walk over [lo, hi], lo <= hi. The root must stay until h2_cursor_fini(). */
void h2_cursor_init(struct h2_cursor *cursor, struct h2_blocks *blocks,
		    const struct h2_where *where, enum h2_tree_kind kind,
		    const struct h2_root *root, uint64_t lo, uint64_t hi);
void h2_cursor_fini(struct h2_cursor *cursor);

/*
 * The next leaf. Returns 0 and the checked blockref in *ref; 1 at the end; or a damage error,
 * which was reported, or -ENOMEM. After an error *ref is the blockref that it is about.
 */
int h2_cursor_next(struct h2_cursor *cursor, struct h2_blockref *ref);

/*
 * The same a step at a time, for walks that choose where to go: the next entry, be it a leaf or an
 * indirect block, and the part [*lo, *hi] of its key range that counts. What is below an indirect block
 * is left out, unless h2_cursor_enter() is called next, with what this one gave.
 */
int h2_cursor_step(struct h2_cursor *cursor, struct h2_blockref *ref, uint64_t *lo, uint64_t *hi);
int h2_cursor_enter(struct h2_cursor *cursor, const struct h2_blockref *ref, uint64_t lo,
		    uint64_t hi);

/*
 * The first leaf that meets [lo, hi]: h2_cursor_init(), _next() and _fini() in one. *last, unless
 * NULL, receives the last key of it, or of what cannot be read: behind it a listing goes on.
 */
int h2_tree_first(struct h2_blocks *blocks, const struct h2_where *where, enum h2_tree_kind kind,
		  const struct h2_root *root, uint64_t lo, uint64_t hi, struct h2_blockref *ref,
		  uint64_t *last);

#endif
