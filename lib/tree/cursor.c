/* Walking the leaves of a tree; see cursor.h. */
#include "cursor.h"

#include "change.h"

void h2_cursor_init(struct h2_cursor *cursor, struct h2_blocks *blocks,
		    const struct h2_where *where, enum h2_tree_kind kind,
		    const struct h2_root *root, uint64_t lo, uint64_t hi)
{
	assert(lo <= hi);
	cursor->blocks = blocks;
	cursor->where = *where;
	cursor->kind = kind;
	cursor->depth = 1;
	cursor->last = hi;
	cursor->stack[0] = (struct h2_cursor_level){
		.array = &root->array,
		.lo = lo,
		.hi = hi,
		.index = h2_array_find(&root->array, lo),
	};
}

static void pop(struct h2_cursor *cursor)
{
	assert(cursor->depth > 0);
	cursor->depth--;
	h2_node_put(cursor->blocks, cursor->stack[cursor->depth].node);
}

void h2_cursor_fini(struct h2_cursor *cursor)
{
	while (cursor->depth > 0)
		pop(cursor);
}

/*
 * Take the next entry that meets what is left of the level; its part of the range is then no
 * longer left. Returns false where there is none.
 */
static bool take_entry(struct h2_cursor_level *level, uint64_t *lo, uint64_t *hi, unsigned *slot)
{
	while (level->index < level->array->count) {
		const struct h2_array_entry *e = &level->array->entries[level->index];

		if (e->lo > level->hi)
			return false;
		level->index++;
		if (e->hi < level->lo)
			continue;
		*lo = e->lo > level->lo ? e->lo : level->lo;
		*hi = e->hi < level->hi ? e->hi : level->hi;
		*slot = e->slot;
		if (*hi == level->hi)
			level->index = level->array->count;
		else
			level->lo = *hi + 1;
		return true;
	}
	return false;
}

static int report_loop(const struct h2_cursor *cursor, const struct h2_blockref *ref)
{
	return h2_block_report(
		cursor->blocks, &cursor->where, ref, "tree-loop",
		&(struct h2_problem){
			.member = "data_off",
			.expected = "a block that is not its own ancestor, on a path "
				    "of at most 64 levels",
			.found = ref->data_off,
		});
}

int h2_cursor_enter(struct h2_cursor *cursor, const struct h2_blockref *ref, uint64_t lo,
		    uint64_t hi)
{
	struct h2_node *node;
	int err;

	for (unsigned i = 1; i < cursor->depth; i++) {
		if (cursor->stack[i].node && cursor->stack[i].data_off == ref->data_off)
			return report_loop(cursor, ref);
	}
	if (cursor->depth == H2_DEPTH_MAX)
		return report_loop(cursor, ref);
	err = h2_node_get(cursor->blocks, &cursor->where, ref, &node);
	if (err)
		return err;
	cursor->stack[cursor->depth++] = (struct h2_cursor_level){
		.array = &node->array,
		.node = node,
		.data_off = ref->data_off,
		.lo = lo,
		.hi = hi,
		.index = h2_array_find(&node->array, lo),
	};
	return 0;
}

/* Go on in a changed block, which is in memory and needs no verification. */
static int push_branch(struct h2_cursor *cursor, const struct h2_branch *branch, uint64_t lo,
		       uint64_t hi)
{
	const struct h2_array *array = &branch->node->array;

	if (cursor->depth == H2_DEPTH_MAX)
		return -H2_ECORRUPT;
	cursor->stack[cursor->depth++] = (struct h2_cursor_level){
		.array = array,
		.lo = lo,
		.hi = hi,
		.index = h2_array_find(array, lo),
	};
	return 0;
}

int h2_cursor_step(struct h2_cursor *cursor, struct h2_blockref *ref, uint64_t *lo, uint64_t *hi)
{
	while (cursor->depth > 0) {
		struct h2_cursor_level *level = &cursor->stack[cursor->depth - 1];
		unsigned slot;
		int err;

		if (!take_entry(level, lo, hi, &slot)) {
			pop(cursor);
			continue;
		}
		cursor->last = *hi;
		if (level->array->children && level->array->children[slot]) {
			err = push_branch(cursor, level->array->children[slot], *lo, *hi);
			if (err)
				return err;
			continue;
		}
		h2_blockref_decode(&level->array->refs[slot], ref);
		return h2_block_check_ref(cursor->blocks, &cursor->where, ref, cursor->kind);
	}
	return 1;
}

int h2_cursor_next(struct h2_cursor *cursor, struct h2_blockref *ref)
{
	uint64_t lo, hi;
	int err;

	do {
		err = h2_cursor_step(cursor, ref, &lo, &hi);
		if (err || !h2_is_interior(ref))
			return err;
		err = h2_cursor_enter(cursor, ref, lo, hi);
	} while (!err);
	return err;
}

int h2_tree_first(struct h2_blocks *blocks, const struct h2_where *where, enum h2_tree_kind kind,
		  const struct h2_root *root, uint64_t lo, uint64_t hi, struct h2_blockref *ref,
		  uint64_t *last)
{
	struct h2_cursor cursor;
	int err;

	h2_cursor_init(&cursor, blocks, where, kind, root, lo, hi);
	err = h2_cursor_next(&cursor, ref);
	if (last)
		*last = cursor.last;
	h2_cursor_fini(&cursor);
	return err;
}
