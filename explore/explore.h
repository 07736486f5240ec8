/*
 * The crash explorer: do operations on a filesystem, look at what a power failure at every moment
 * could leave on its disks, and see that it is what the library promises: opening needs no repair
 * and shows the filesystem as it was at one moment, with every operation there as a whole or not at
 * all, in order, and with all that was done before the last sync that has returned.
 *
 * Everything follows from the seed. Enough violations end it early. Without memory the program
 * ends.
 */
#ifndef EXPLORE_EXPLORE_H
#define EXPLORE_EXPLORE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* States that were looked at, by what became of the writes that were not durable. */
enum explore_kind {
	EXPLORE_KEPT,     /* all are there: only the program has ended */
	EXPLORE_LOST,     /* none is */
	EXPLORE_SUBSET,   /* some are */
	EXPLORE_TORN_512, /* one is there in part */
	EXPLORE_TORN_4096,
	EXPLORE_SHREDDED,
	EXPLORE_MIXED, /* each its own */
	EXPLORE_KINDS,
};

extern const char *const explore_kind_names[EXPLORE_KINDS];

#define EXPLORE_LENGTH_MAX 3u /* of sequences */

struct explore_stats {
	uint64_t sequences[EXPLORE_LENGTH_MAX + 1]; /* by their length */
	uint64_t random;                            /* long runs */
	uint64_t formats;                           /* filesystems that were made */
	uint64_t operations;
	uint64_t refused; /* of these, for want of room */
	uint64_t calls;   /* writes and flushes */
	uint64_t points;  /* moments at which the power failed */
	uint64_t states[EXPLORE_KINDS];
	uint64_t second;   /* of these, after a second failure */
	uint64_t several;  /* of these, on two or more volumes */
	uint64_t distinct; /* that differ in something that was read: opened, checked, read */
	uint64_t repeated; /* of the others, verified all the same and found equal */
	uint64_t violations;
};

uint64_t explore_states(const struct explore_stats *stats); /* of all kinds */

struct explore_options {
	uint64_t seed;
	uint64_t number; /* of the first sequence and the first long run; several explorers at the
			    same time take different ones */
	uint64_t step;   /* from one to the next; 0: 1 */
	double seconds;  /* 0: until nothing is left to do */

	/* A violation in words, several lines. NULL: it is only counted. */
	void (*violation)(void *user, const char *text);
	/* From time to time; false: stop. May be NULL. */
	bool (*progress)(void *user, const char *what, const struct explore_stats *stats);
	void *user;

	bool ignore_flushes;   /* disks that lie; to see that the explorer notices */
	bool promise_too_much; /* ask for one operation more than was promised; likewise */
};

/*
 * All sequences of up to length_max operations on small filesystems. Returns whether that was done
 * before the time was over.
 */
bool explore_sequences(const struct explore_options *options, unsigned length_max,
		       struct explore_stats *stats);

/* How many sequences of a length there are. */
uint64_t explore_sequence_count(unsigned length);

/* Long runs of random operations on filesystems of many kinds: count of them. */
bool explore_random(const struct explore_options *options, uint64_t count,
		    struct explore_stats *stats);

/* Making filesystems of all kinds, on blank disks and on others. */
bool explore_formats(const struct explore_options *options, struct explore_stats *stats);

/*
 * All of it, in turn: making filesystems, sequences from the shortest on, long runs. Ends when there
 * are no more sequences, or when the time is over.
 */
void explore_all(const struct explore_options *options, struct explore_stats *stats);

/*
 * One list of operations (op.h says how they are written) on one kind of filesystem, such as
 * "32M prelude". Returns NULL; or what is wrong with the texts, to be freed.
 */
char *explore_operations(const struct explore_options *options, const char *setup, const char *ops,
			 struct explore_stats *stats);

#endif
