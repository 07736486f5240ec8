/*
 * Transaction groups: which changes belong together, and when they become durable.
 *
 * The gate: an operation is inside it, shared with others, from h2_txn_begin() to h2_txn_end();
 * a reader from h2_txn_enter() to h2_txn_leave(). A commit closes it for the time it takes to give
 * every changed object a place. So each operation belongs to one group as a whole. A thread must
 * not enter twice.
 *
 * A commit (MF 12.5): buffered data is written; the gate closes; the owner's encode() gives all
 * that has changed a place and hands the blocks over; the freemap follows; the blocks are written;
 * the gate opens for the next group. Then all volumes are flushed, the header goes into the next
 * copy of the rotation, and the root volume is flushed again. Only then is the group durable, and
 * only one commit runs at a time.
 *
 * When anything of that fails, no header is written: from then on changes are refused for good
 * and the state of the last commit is what the media have.
 */
#ifndef H2_TXN_TXN_H
#define H2_TXN_TXN_H

#include <hammer2/report.h>

#include "commit_writer.h"
#include "space.h"

struct h2_txn;

struct h2_commit {
	uint64_t tid;                    /* mirror_tid of every block of this group */
	struct h2_volume_header *header; /* the next one; the owner sets its sroot_blockset */
	struct h2_commit_writer writer;  /* takes the blocks */
};

/* Room in the freemap: aligned runs of 64 KiB, and bytes in smaller blocks. */
struct h2_txn_need {
	uint64_t quads;
	uint64_t bytes;
};

struct h2_txn_owner {
	/* The gate is open: write what is buffered, so that less is left for encode(). */
	int (*write_data)(void *user);
	/* The gate is closed: give all that has changed a place. */
	int (*encode)(void *user, struct h2_commit *commit);
	/* The gate is closed and encode()'s blocks are written: what has changed is clean. */
	void (*encoded)(void *user);
	/* The gate is closed; after encode() something has failed, and no group will be written. */
	void (*failed)(void *user);
	/* The gate is open and the group is durable. */
	void (*durable)(void *user, uint64_t tid);
	/* What a commit of the present state would need. Called with locks held: takes none. */
	struct h2_txn_need (*needs)(void *user);
	/*
	 * There is no room left: look for storage that nothing uses any more. Returns whether some
	 * comes back with the next commits. May be NULL. Called without locks, outside the gate.
	 */
	bool (*reclaim)(void *user);
	void *user;
};

struct h2_txn_options {
	unsigned commit_seconds; /* 0: no commits by the clock, no timer */
	bool hold;               /* no commits for want of room either */
	h2_report_fn *report;    /* may be NULL */
	void *report_user;
};

/* Begin with the header that the volumes were opened with. Returns 0, -ENOMEM, -EAGAIN. */
int h2_txn_open(struct h2_volumes *volumes, struct h2_space *space,
		const struct h2_txn_owner *owner, const struct h2_txn_options *options,
		struct h2_txn **txnp);

/*
 * End, after a commit of what has changed, and of what must be for dropped storage to come back;
 * unless abandon says to forget it all. Returns 0 or the error that made a commit fail. NULL is
 * allowed.
 */
int h2_txn_close(struct h2_txn *txn, bool abandon);

void h2_txn_enter(struct h2_txn *txn);
bool h2_txn_try_enter(struct h2_txn *txn);
void h2_txn_leave(struct h2_txn *txn);

/*
 * Begin an operation that may need room besides what is already needed. Enters the gate. When
 * there is no room, commits until there is, or until that brings nothing more, and has the owner
 * reclaim what nothing uses. removes: the
 * operation gives room back sooner or later, so it may use what is kept in reserve.
 *
 * Returns 0; -ENOSPC; -EROFS after a failed commit. To be called without locks.
 */
int h2_txn_begin(struct h2_txn *txn, const struct h2_txn_need *need, bool removes);
void h2_txn_end(struct h2_txn *txn, const struct h2_txn_need *need);

/* Something has changed that a commit must write. Inside the gate. */
void h2_txn_changed(struct h2_txn *txn);

/* The open group's tid. Inside the gate. */
uint64_t h2_txn_tid(const struct h2_txn *txn);

/* The tid of the first group since opening. Constant. */
uint64_t h2_txn_first_tid(const struct h2_txn *txn);

/*
 * Make durable what was done before the call; shared with others who ask at the same time. Returns
 * 0 or the error that made a commit fail. To be called without locks, outside the gate.
 */
int h2_txn_sync(struct h2_txn *txn);

/* The same, by a commit also of nothing, unless there is no room for one. */
int h2_txn_commit(struct h2_txn *txn);

/* The same; and no operation that began before the call is still running when it returns. */
int h2_txn_settle(struct h2_txn *txn);

/* Have the timer, if there is one, commit now rather than when its time has come. */
void h2_txn_hurry(struct h2_txn *txn);

/*
 * Commit until what has been dropped has come back and the media say so, if it is worth it: once
 * more than there are header copies. Returns as h2_txn_sync().
 */
int h2_txn_rotate(struct h2_txn *txn);

/*
 * Call fn with the gate closed and no commit under way. It may change the header that the next
 * commit starts from; if it returns 0, there will be one. Returns what fn returned, or -EROFS after
 * a failed commit.
 */
int h2_txn_alone(struct h2_txn *txn, int (*fn)(void *user, struct h2_volume_header *header),
		 void *user);

/* The header of the last group that was encoded. Takes the gate itself. */
void h2_txn_get_header(struct h2_txn *txn, struct h2_volume_header *header);

/* 0, or the error that made a commit fail. */
int h2_txn_error(struct h2_txn *txn);

/* Something that must be committed could not even be prepared: as if a commit had failed. */
void h2_txn_fail(struct h2_txn *txn, int err);

#endif
