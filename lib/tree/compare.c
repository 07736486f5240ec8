/* See compare.h. */
#include "compare.h"

#include <string.h>

bool h2_blockref_same(const struct h2_blockref *a, const struct h2_blockref *b)
{
	if (a->type != b->type || a->key != b->key || a->keybits != b->keybits ||
	    a->methods != b->methods || a->data_off != b->data_off)
		return false;
	if (a->type == H2_BLOCKREF_DIRENT &&
	    (a->dirent_inum != b->dirent_inum || a->dirent_namlen != b->dirent_namlen ||
	     a->dirent_type != b->dirent_type))
		return false;
	/* The same address with another code is damage on one side, which reading it tells. */
	return memcmp(a->check, b->check, sizeof(a->check)) == 0;
}

void h2_compare_init(struct h2_compare *compare, struct h2_blocks *blocks,
		     const struct h2_where *const wheres[2], enum h2_tree_kind kind,
		     const struct h2_root *const roots[2], uint64_t lo, uint64_t hi)
{
	for (unsigned i = 0; i < 2; i++) {
		struct h2_compare_side *side = &compare->sides[i];

		side->has_entry = side->at_end = false;
		h2_cursor_init(&side->cursor, blocks, wheres[i], kind, roots[i], lo, hi);
	}
	compare->enter = NULL;
}

void h2_compare_fini(struct h2_compare *compare)
{
	for (unsigned i = 0; i < 2; i++)
		h2_cursor_fini(&compare->sides[i].cursor);
}

static int look(struct h2_compare_side *side)
{
	int err;

	if (side->has_entry || side->at_end)
		return 0;
	err = h2_cursor_step(&side->cursor, &side->ref, &side->lo, &side->hi);
	side->at_end = err == 1;
	side->has_entry = err == 0;
	return side->at_end ? 0 : err;
}

/* Go on in the indirect block that comes next on one side. */
static int enter(struct h2_compare *compare, struct h2_compare_side *side)
{
	int err = compare->enter ? compare->enter(compare->user, &side->ref) : 0;

	if (err)
		return err;
	side->has_entry = false;
	return h2_cursor_enter(&side->cursor, &side->ref, side->lo, side->hi);
}

static void take(struct h2_compare *compare, unsigned i, const struct h2_blockref *leaves[2])
{
	compare->found[i] = compare->sides[i].ref;
	leaves[i] = &compare->found[i];
	compare->sides[i].has_entry = false;
}

/* What one side has alone. Returns 0 with a leaf; 1: not yet; or an error. */
static int take_alone(struct h2_compare *compare, unsigned i, const struct h2_blockref *leaves[2])
{
	struct h2_compare_side *side = &compare->sides[i];
	int err;

	if (h2_is_interior(&side->ref)) {
		err = enter(compare, side);
		return err ? err : 1;
	}
	take(compare, i, leaves);
	return 0;
}

/* Entries that meet. Returns as take_alone() does. */
static int take_both(struct h2_compare *compare, const struct h2_blockref *leaves[2])
{
	struct h2_compare_side *a = &compare->sides[0], *b = &compare->sides[1];
	bool a_leads = h2_is_interior(&a->ref), b_leads = h2_is_interior(&b->ref);
	int err;

	if (a_leads && b_leads && a->lo == b->lo && a->hi == b->hi &&
	    h2_blockref_same(&a->ref, &b->ref)) {
		a->has_entry = b->has_entry = false;
		return 1;
	}
	if (a_leads || b_leads) {
		/* The larger one: what is equal to the other may be in it. */
		bool into_a = a_leads && (!b_leads || a->hi - a->lo >= b->hi - b->lo);

		err = enter(compare, into_a ? a : b);
		return err ? err : 1;
	}
	/* Only in damaged arrays do leaves meet that do not have the same key. */
	if (a->ref.key <= b->ref.key)
		take(compare, 0, leaves);
	if (!leaves[0] || compare->found[0].key == b->ref.key)
		take(compare, 1, leaves);
	return 0;
}

int h2_compare_next(struct h2_compare *compare, const struct h2_blockref *leaves[2])
{
	struct h2_compare_side *a = &compare->sides[0], *b = &compare->sides[1];
	int err;

	leaves[0] = leaves[1] = NULL;
	do {
		err = look(a);
		if (!err)
			err = look(b);
		if (err)
			return err;
		if (!a->has_entry && !b->has_entry)
			return 1;
		if (!b->has_entry || (a->has_entry && a->hi < b->lo))
			err = take_alone(compare, 0, leaves);
		else if (!a->has_entry || b->hi < a->lo)
			err = take_alone(compare, 1, leaves);
		else
			err = take_both(compare, leaves);
	} while (err == 1);
	return err;
}
