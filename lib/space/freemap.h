/*
 * Reading the freemap, MF 10: its leaves by zone. The freemap's shape is fixed by the format, so
 * this layer walks it by itself, without the trees above it.
 */
#ifndef H2_SPACE_FREEMAP_H
#define H2_SPACE_FREEMAP_H

#include <hammer2/report.h>
#include <hammer2/volume.h>

#include "format.h"

/* What is wrong with a freemap block; borrowed during the callback. */
struct h2_freemap_fault {
	const struct h2_blockref *ref;
	int error; /* negative errno */
	struct h2_problem problem;
};
typedef void h2_freemap_fault_fn(void *user, const struct h2_freemap_fault *fault);

/*
 * Receives each leaf in ascending order of zones, with its blockref. Not 0 stops the walk with
 * that value. The records are the callback's to read only.
 */
typedef int h2_freemap_leaf_fn(void *user, const struct h2_blockref *ref,
			       const struct h2d_freemap_record records[H2_FREEMAP_RECORDS]);

/* Receives each FREEMAP_NODE and FREEMAP_LEAF blockref before its block is read. */
typedef void h2_freemap_ref_fn(void *user, const struct h2_blockref *ref);

struct h2_freemap_walk {
	struct h2_volumes *volumes;
	const struct h2_blockref *blockset; /* four: the freemap's root */
	h2_freemap_leaf_fn *leaf;
	h2_freemap_ref_fn *ref;     /* may be NULL */
	h2_freemap_fault_fn *fault; /* may be NULL */
	void *user;
};

/*
 * Walk a freemap. Blocks that cannot be used are passed to fault and left out. Returns 0, what
 * leaf returned, or -ENOMEM.
 */
int h2_freemap_walk(const struct h2_freemap_walk *walk);

#endif
