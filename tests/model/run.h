/*
 * Carrying out operations on a backend and on the model, and comparing what they say.
 *
 * A worker is one thread with a subtree and a model of its own; a run is the filesystem that all
 * its workers share. A difference ends the program with a message and the command that repeats it.
 */
#ifndef TESTS_MODEL_RUN_H
#define TESTS_MODEL_RUN_H

#include <stdio.h>

#include "backend.h"
#include "generate.h"
#include "op.h"

#define THREADS_MAX 64u
#define SCANS_MAX 2u
#define ENDED_MAX 256u
#define WORK_BUFFER (4u << 20) /* bytes */

struct names {            /* a set of names, by their hashes */
	uint64_t *hashes; /* 0: free */
	uint32_t count, room;
};

struct scan {                     /* a directory that is being read beside other operations */
	struct model_watch watch; /* the first member */
	struct model_inode *dir;  /* NULL: none */
	void *scan;
	uint64_t begun;     /* operation */
	struct names there; /* from the beginning on */
	struct names added; /* since then */
	struct names seen;
};

struct run;

struct worker {
	struct run *run;
	unsigned index;
	struct model *model;
	struct generator generator;
	struct scan scans[SCANS_MAX];
	uint64_t inum_last;                        /* the highest that a new inode ever had */
	uint8_t *buf, *buf2;                       /* WORK_BUFFER bytes each */
	const struct op *op;                       /* being carried out */
	char text[512];                            /* it, in words */
	uint64_t done[OP_KINDS], failed[OP_KINDS]; /* operations, by their results */
	uint64_t full;                             /* -ENOSPC since the last success */

	/*
	 * The last inodes that ended since opening. They must be gone when it is closed; before,
	 * asking for them may still be answered.
	 */
	uint64_t ended[ENDED_MAX];
	unsigned ended_count;
};

struct run_options {
	struct backend_options backend;
	uint64_t seed;
	uint64_t ops;     /* 0: no bound */
	uint64_t seconds; /* 0: no bound */
	unsigned threads;
	bool full; /* -ENOSPC is to be met */
	bool verbose;
	bool shrink;
	const char *command; /* that repeats the run, but for the number of operations */
};

struct run {
	const struct run_options *options;
	const struct backend_ops *ops;
	struct backend *backend;
	unsigned worker_count;
	struct worker workers[THREADS_MAX];
	struct backend_counts base; /* of the empty filesystem */
	uint64_t formats;           /* how often it was made */
	uint64_t checks;
	uint64_t rounds;
	bool replayed;
	bool out_of_room; /* the filesystem is to be made anew */

	/* What is done goes here for shrink.c, if it is not NULL. */
	struct recording *recording;
};

#define RECORDING_MAX 4000000u
struct recording {
	uint64_t count;
	struct op ops[RECORDING_MAX];
};

int run_init(struct run *run, const struct run_options *options, const struct backend_ops *ops);
void run_fini(struct run *run);

/* Generate and carry out operations as the options say. */
void run_random(struct run *run);

/* Carry out these operations, but for those whose skip[] is true; skip may be NULL. */
void run_replay(struct run *run, const struct op *ops, uint64_t count, const bool *skip);

/* One operation, on the model too. */
void execute(struct worker *w, const struct op *op);

/* ---- between the files ---- */

__attribute__((noreturn, format(printf, 2, 3))) void fail(struct worker *w, const char *format,
							  ...);
void install_crash_report(struct run *run);

/* Get a reference to an inode of the model: its held one, or a new one by a way that r chooses. */
void *acquire(struct worker *w, struct model_inode *inode, struct random *r, bool *temporary);
void release(struct worker *w, void *node, bool temporary);
void drop_held(struct worker *w);
void end_scans(struct worker *w);

/* Compare one thing with the model. */
void verify_attr(struct worker *w, struct model_inode *inode, void *node);
void verify_range(struct worker *w, const struct model_inode *inode, void *node, uint64_t offset,
		  uint64_t len);
void verify_stretches(struct worker *w, const struct model_inode *inode, void *node,
		      uint64_t offset);
void verify_symlink(struct worker *w, const struct model_inode *inode, void *node);
void verify_directory(struct worker *w, const struct model_inode *dir, void *node, bool resume,
		      struct random *r);

/* Take over into the empty model what the filesystem has. */
void learn_tree(struct worker *w);

/* Compare everything of a worker. */
void verify_all(struct worker *w, uint64_t seed);

void run_check(struct run *run);
void run_remount(struct run *run);
void run_reset(struct run *run);

#endif
