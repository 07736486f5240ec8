/*
 * Looking at the disks that a crash has left: open the filesystem for writing, check all of it, read
 * all of it.
 */
#ifndef EXPLORE_VERIFY_H
#define EXPLORE_VERIFY_H

#include "session.h"

struct outcome {
	char *problem;    /* why that is no sound filesystem, in words; NULL: it is one */
	bool opened;      /* there is one at all */
	unsigned damaged; /* header copies that are damaged or missing, a bit for each */
	uint64_t hash;    /* of its tree */
};

/*
 * Verify what top has. scratch is empty, on top of it, and takes what is written. reads, unless
 * NULL, receives the pages that were read; *wrote: whether any was written. tree may be NULL.
 */
void verify(const struct setup *setup, struct layer *scratch, struct page_list *reads, bool *wrote,
	    struct tree *tree, struct outcome *outcome);

void outcome_fini(struct outcome *outcome);

#endif
