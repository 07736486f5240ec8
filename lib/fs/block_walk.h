/*
 * A walk over the blockrefs of all trees of a committed group, from the header's sroot_blockset
 * down. It takes no locks: nobody changes committed blocks as long as dropped storage is held back
 * (h2_space_scan_begin()).
 *
 * It is complete or fails: a block that cannot be read or trusted ends it with an error, since what
 * lies below would be missing (BS 9.5 rule 7).
 */
#ifndef H2_FS_BLOCK_WALK_H
#define H2_FS_BLOCK_WALK_H

#include "fs_impl.h"

struct h2_met { /* a block */
	uint64_t data_off;
	bool leads; /* to others */
	/* where its blockref stands; of blocks that changed ones stand for it is not there */
	enum h2_tree_kind kind;
	const struct h2_blockref *ref; /* or NULL */
};

struct h2_block_walk {
	struct h2_blocks *blocks;
	uint64_t above_tid; /* not 0: leave out what has no higher mirror_tid, with all below */
	/*
	 * A block was met. What it leads to is walked next, unless this returns 1. Returns
	 * otherwise 0, or an error, which ends the walk.
	 */
	int (*block)(void *user, const struct h2_met *met);
	/* An inode was read, and what it leads to is walked next. As block(). May be NULL. */
	int (*inode)(void *user, const struct h2_met *met, const struct h2_inode_meta *meta);
	void *user;
	struct h2_walk_team *team; /* of h2_block_walk_set_threaded() */
};

/* Returns 0; what block() returned; -ENOMEM; a damage error. */
int h2_block_walk_set(const struct h2_block_walk *walk,
		      const struct h2_blockref set[H2_BLOCKSET_COUNT]);

/*
 * The same by several threads, which yield to others where there is not enough for all; block() and
 * inode() are called by any of them. Some times a second the caller's thread is in goes_on(), which
 * returns whether to go on: else the walk ends with -EINTR. Without threads it is h2_block_walk_set().
 */
int h2_block_walk_set_threaded(const struct h2_block_walk *walk,
			       const struct h2_blockref set[H2_BLOCKSET_COUNT],
			       bool (*goes_on)(void *user));

/*
 * The same for the tree of one inode as it is in memory, with the blocks that changed ones stand
 * for. The inode's lock is held.
 */
int h2_block_walk_inode(const struct h2_block_walk *walk, struct h2_inode *inode);

#endif
