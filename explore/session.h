/*
 * Operations on a filesystem of the library, and what is known of them: when each was done, what
 * came of it, and what the model shows behind it.
 */
#ifndef EXPLORE_SESSION_H
#define EXPLORE_SESSION_H

#include <hammer2/fs.h>

#include "disk.h"
#include "model.h"
#include "op.h"

/* ---- what filesystem it is ---- */

#define SETUP_TEXT_MAX 128u

struct setup {
	char text[SETUP_TEXT_MAX]; /* what it was made from */
	unsigned volume_count;
	uint64_t sizes[DISK_VOLUMES_MAX];
	unsigned pfs_count;              /* 1 or 2 */
	size_t dirty_bytes, cache_bytes; /* 0: the library's default */
	bool no_dedup;
	bool discard;
	bool prelude; /* with some files and directories to begin with: generate.h */
	/*
	 * Not 0: so many bytes at the end of the first volume's first GiB are free and all in front
	 * of them is taken, by nothing, as when a scan has yet to find out.
	 */
	uint64_t left_bytes;
	/* The operation behind a sync goes on while it runs. No commits for want of room then. */
	bool overlap;
};

/*
 * Take a text such as "24M" or "1G,1G,32M pfs=2 left=4M dirty=256K cache=1M nodedup discard overlap
 * prelude" apart. Returns false
 * where it is none.
 */
bool setup_parse(const char *text, struct setup *setup);

/* How many copies its header has, MF 2.1. */
unsigned setup_header_copies(const struct setup *setup);

/* Make the empty filesystem. Returns 0 or an error of mkfs. */
int setup_format(const struct setup *setup, struct disk *disk, uint64_t seed);

#define SETUP_TIME_US UINT64_C(1000000) /* when that was, as inodes have it */
#define OP_TIME_US(number) (UINT64_C(1700000000000000) + (number)) /* of operations */

/* ---- what was done ---- */

/*
 * Operations are numbered from 0; state k is what there is after the first k. The clock says the
 * operation's number (OP_TIME_US), so that a time in an inode tells which one has set it.
 */
struct history {
	struct op_list ops;
	int64_t *results; /* bytes, or 0; or negative errno */
	size_t results_room;
	uint64_t *hashes; /* of the trees of the states 0 to ops.count */
	size_t hashes_room;
};

/* The state in which newfs leaves it. */
void history_init(struct history *h, const struct setup *setup);

/* The first count operations of another one. */
void history_copy(struct history *h, const struct history *from, size_t count);
void history_fini(struct history *h);

/* The model in state k; to be freed. */
struct model *history_model(const struct history *h, const struct setup *setup, size_t k);

/* ---- doing it ---- */

struct session {
	const struct setup *setup;
	struct disk *disk;
	struct history *history;
	struct model *model;       /* of the last state */
	char *problem;             /* what should not have happened, in words; NULL: nothing */
	bool faults;  /* calls fail: what fails has not happened, and is no problem */
	bool stopped; /* with faults: a commit has failed, and nothing more can be done */
	const struct op_list *ops; /* being done */
	size_t next;               /* of these */

	struct h2_volumes *volumes;
	struct h2_fs *fs;
	struct h2_pfs *pfs[OP_PFS_MAX]; /* NULL: there is none, or it is not open */
	struct h2_inode *held;
};

/*
 * Open the filesystem on the disk, which is in the last state of the history. So is the model, which
 * is taken over; NULL: it is made.
 */
void session_open(struct session *s, const struct setup *setup, struct disk *disk,
		  struct history *history, struct model *model);

/* The same where calls fail: fs is NULL if it could not be opened. */
void session_open_faulty(struct session *s, const struct setup *setup, struct disk *disk,
			 struct history *history);

/* Do operations on it and on the model, and mark them in the disk's log. */
void session_do(struct session *s, const struct op_list *ops);

/* Close it; abandon: as if the program had ended without doing so. */
void session_close(struct session *s, bool abandon);

/* ---- reading it ---- */

/* What the filesystem shows. Returns NULL, or what is wrong, in words; to be freed. */
char *session_read_tree(struct h2_fs *fs, const struct setup *setup, struct tree *tree);

/* A finding in words; to be freed. */
char *report_text(const struct h2_report *report);

#endif
