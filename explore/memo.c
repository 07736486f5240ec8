/* The tree of what was read; see memo.h. */
#include "memo.h"

#include <stdlib.h>

#include "must.h"

/* Either the end of a way, with its outcome, or the page that is read next. */
struct memo_node {
	page_key page;
	size_t outcome;     /* MEMO_NONE: a page is read next */
	uint64_t hash;      /* of the page above, where it leads to this node */
	size_t first_child; /* 0: none; the root is nobody's child */
	size_t next;        /* child of the same node; 0: none */
};

void memo_fini(struct memo *memo)
{
	free(memo->nodes);
	*memo = (struct memo){0};
}

static size_t find_child(const struct memo *memo, size_t node, uint64_t hash)
{
	size_t child = memo->nodes[node].first_child;

	while (child != 0 && memo->nodes[child].hash != hash)
		child = memo->nodes[child].next;
	return child;
}

size_t memo_find(const struct memo *memo, const struct layer *state)
{
	size_t node = 0;

	if (memo->count == 0)
		return MEMO_NONE;
	while (memo->nodes[node].outcome == MEMO_NONE) {
		node = find_child(memo, node, layer_hash(state, memo->nodes[node].page));
		if (node == 0)
			return MEMO_NONE;
	}
	return memo->nodes[node].outcome;
}

static size_t add_node(struct memo *memo, uint64_t hash)
{
	memo->nodes = must_grow(memo->nodes, memo->count, &memo->room, sizeof(*memo->nodes));
	memo->nodes[memo->count] = (struct memo_node){.outcome = MEMO_NONE, .hash = hash};
	return memo->count++;
}

bool memo_add(struct memo *memo, const struct layer *state, const struct page_list *reads,
	      size_t outcome)
{
	bool fresh = memo->count == 0;
	size_t node = 0;

	if (fresh)
		add_node(memo, 0);
	for (size_t i = 0; i < reads->count; i++) {
		uint64_t hash = layer_hash(state, reads->keys[i]);
		size_t child;

		if (fresh)
			memo->nodes[node].page = reads->keys[i];
		else if (memo->nodes[node].outcome != MEMO_NONE ||
			 memo->nodes[node].page != reads->keys[i])
			return false;
		child = find_child(memo, node, hash);
		fresh = child == 0;
		if (fresh) {
			child = add_node(memo, hash);
			memo->nodes[child].next = memo->nodes[node].first_child;
			memo->nodes[node].first_child = child;
		}
		node = child;
	}
	if (!fresh)
		return memo->nodes[node].outcome == outcome;
	memo->nodes[node].outcome = outcome;
	return true;
}
