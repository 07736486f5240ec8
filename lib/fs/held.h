/*
 * The state of the last commit, held as it is, for passes over whole trees: they need no locks, since
 * no block that it leads to is used again until it is let go.
 *
 * In a filesystem that is open for reading only everything is held as it is. In one that is open for
 * writing one pass at a time holds a state; the others, bulk free among them, wait.
 */
#ifndef H2_FS_HELD_H
#define H2_FS_HELD_H

#include "fs_impl.h"

struct h2_held {
	struct h2_fs *fs;
	struct h2_volume_header header; /* of the commit: its sroot_blockset leads to all */
	/* the pass's own */
	const struct h2_pass_options *options; /* may be NULL */
	uint64_t bytes, expected;
	unsigned steps;
};

/*
 * Commit what has changed, and hold that. expected, for progress: all that the super-root leads to,
 * until the pass knows better. Returns 0; or -EINTR, where the pass is to end while others have their
 * turn, or the commit's error: then nothing is held. No locks, outside the gate.
 */
int h2_held_begin(struct h2_held *held, struct h2_fs *fs, const struct h2_pass_options *options);
void h2_held_end(struct h2_held *held);

/* A block was met. Returns 0, or -EINTR where the pass is to end. */
int h2_held_step(struct h2_held *held, uint64_t bytes);

/*
 * The root inode of a PFS in that state: its blockref, the block and its attributes. Returns 0;
 * -ENOENT; a damage error. ref and meta may be NULL.
 */
int h2_held_find_pfs(struct h2_held *held, const char *label, struct h2_blockref *ref,
		     struct h2d_inode *d, struct h2_inode_meta *meta);

#endif
