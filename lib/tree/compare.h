/*
 * Two trees side by side: the leaves of both in the order of their keys, but for what both share. An
 * indirect block that both have in the same place is not read, so that the cost is that of the
 * differences. The trees may have any two legal shapes.
 *
 * That equal blockrefs lead to equal blocks holds for trees of one state of one filesystem.
 */
#ifndef H2_TREE_COMPARE_H
#define H2_TREE_COMPARE_H

#include "cursor.h"

struct h2_compare_side {
	struct h2_cursor cursor;
	/* The entry that comes next. */
	bool has_entry, at_end;
	struct h2_blockref ref;
	uint64_t lo, hi; /* what counts of its range */
};

struct h2_compare {
	struct h2_compare_side sides[2];
	struct h2_blockref found[2];
	/*
	 * Called before an indirect block is read; a negative error ends the walk and is returned.
	 * May be NULL.
	 */
	int (*enter)(void *user, const struct h2_blockref *ref);
	void *user;
};

/* Whether two blockrefs of one state lead to the same. */
bool h2_blockref_same(const struct h2_blockref *a, const struct h2_blockref *b);

/* Begin, over the keys [lo, hi], lo <= hi. The roots must stay until h2_compare_fini(). */
void h2_compare_init(struct h2_compare *compare, struct h2_blocks *blocks,
		     const struct h2_where *const wheres[2], enum h2_tree_kind kind,
		     const struct h2_root *const roots[2], uint64_t lo, uint64_t hi);
void h2_compare_fini(struct h2_compare *compare);

/*
 * The next leaves: one that has its key in one tree only, and NULL, or those of both with the same
 * key, which may be equal where what they stand in is not. Borrowed until the next call.
 *
 * Returns 0; 1 at the end; what enter() returned; or a damage error, which was reported, or -ENOMEM,
 * after which nothing more can be had.
 */
int h2_compare_next(struct h2_compare *compare, const struct h2_blockref *leaves[2]);

#endif
