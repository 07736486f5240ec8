/*
 * What verifying has shown, by what it has read: opening and checking do the same for the same
 * bytes, so a state that has the same in every page that was read before need not be verified once
 * more. Most combinations of lost and kept writes differ only in what no header leads to.
 *
 * The pages are kept as a tree in the order in which they were read, because what is read next
 * depends on what was read before.
 */
#ifndef EXPLORE_MEMO_H
#define EXPLORE_MEMO_H

#include "disk.h"

#define MEMO_NONE SIZE_MAX

struct memo {
	struct memo_node *nodes;
	size_t count, room;
};

void memo_fini(struct memo *memo);

/* The outcome of an equal state; MEMO_NONE: there was none. */
size_t memo_find(const struct memo *memo, const struct layer *state);

/*
 * Remember that reading these pages led to the outcome. Returns false where the same bytes have led
 * to reading another page before: verifying is not as deterministic as it must be.
 */
bool memo_add(struct memo *memo, const struct layer *state, const struct page_list *reads,
	      size_t outcome);

#endif
