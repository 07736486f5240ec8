/*
 * What a power failure does to writes that no flush has made durable yet: each one may be there as
 * a whole, not at all, or in parts. The disk may have done them in any order, so any combination is
 * possible.
 */
#ifndef EXPLORE_FATE_H
#define EXPLORE_FATE_H

#include "disk.h"
#include "random.h"

enum fate_kind {
	FATE_LOST,
	FATE_KEPT,
	FATE_TORN_512,  /* some of its sectors of 512 bytes are there */
	FATE_TORN_4096, /* some of its sectors of 4096 bytes are there */
	/*
	 * The disk has sectors of 4096 bytes and was writing them when the power failed: each one
	 * that the write touches is as it was, as it should be, or noise as a whole.
	 */
	FATE_SHREDDED,
	FATE_KINDS,
};

struct fate {
	enum fate_kind kind;
	uint64_t seed; /* which sectors: see fate.c */
};

extern const char *const fate_names[FATE_KINDS];

/* Do to the layer what is left of a write. */
void fate_apply(struct layer *layer, const struct log_event *write, const struct fate *fate);

#endif
