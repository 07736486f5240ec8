/*
 * One case: a list of operations on one kind of filesystem, and all that crashes could leave of it.
 */
#ifndef EXPLORE_CRASH_H
#define EXPLORE_CRASH_H

#include "explore.h"
#include "memo.h"
#include "session.h"
#include "verify.h"

struct crash_levels;

struct crasher {
	const struct explore_options *options;
	struct explore_stats *stats;
	struct crash_levels *levels;

	/* the filesystems that cases begin with, made once for each setup */
	struct image **images;
	size_t image_count, image_room;
	double end; /* CLOCK_MONOTONIC; 0: none */
};

struct crash_case {
	const struct setup *setup;
	const struct op_list *ops;
	uint64_t seed;
};

void crasher_init(struct crasher *c, const struct explore_options *options,
		  struct explore_stats *stats);
void crasher_fini(struct crasher *c);

/* Run a case. Returns NULL or the first violation in words; to be freed. */
char *crash_run(struct crasher *c, const struct crash_case *case_);

/*
 * Make a filesystem where another one is, or none: a crash leaves one of the two as a whole, or
 * none. Returns NULL or the first violation in words; to be freed.
 */
char *crash_format(struct crasher *c, const struct setup *setup, uint64_t seed, bool on_another);

/* As crash_run(); a violation is made as small as can be, counted, and told. */
void crash_explore(struct crasher *c, const struct crash_case *case_);

/* Whether the time is over. */
bool crash_time_is_over(const struct crasher *c);

#endif
