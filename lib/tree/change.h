/*
 * Changing a tree of blockrefs, and writing what has changed.
 *
 * A tree is changed in memory only: each indirect block on the way to a change becomes a branch,
 * which hangs off its blockref's slot in the array above (h2_array.children) and stands for
 * the block until the next commit. Cursors see branches in place of the blocks. h2_tree_flush()
 * gives every branch a place, bottom-up; h2_tree_clean() makes blocks of the branches again once they
 * are written.
 *
 * The shape (MF 5.3, 5.6; BS 6.3 leaves it to the writer): where keys are numbers that follow each
 * other (file blocks, inode numbers), an overfull array moves a window of its entries down into a
 * new block, with the ranges that MF 5.6 has for files: a radix tree with full blocks. Where keys
 * are hashes, an overfull block is divided in two under its parent, as in a B-tree, each half with
 * its own aligned range; an overfull root moves what it has down; and keys in the gaps between
 * blocks get a block there before they are many. So all paths stay short, also where hashes come
 * in ascending order, as they do when a directory is copied. A block is narrower than the one it
 * is in: whatever the keys are, no path is longer than they have bits.
 *
 * Nothing here locks: the caller excludes readers and other writers of the same tree.
 */
#ifndef H2_TREE_CHANGE_H
#define H2_TREE_CHANGE_H

#include <stdatomic.h>

#include "node.h"

struct h2_branch {
	struct h2_node *node;  /* its own */
	uint64_t old_data_off; /* the block it stands for; 0: a new one */
	uint64_t old_mirror_tid;
	bool written; /* since it was last changed: old_data_off is where its contents are */
	struct h2_branch *children[]; /* node->array.children: node->capacity of them */
};

/* What a change needs; borrowed during each call. */
struct h2_tree_change {
	struct h2_blocks *blocks;
	struct h2_where where;
	enum h2_tree_kind kind;
	/*
	 * A block is not part of the tree any more. Of INDIRECT blocks ref has type, data_off and
	 * mirror_tid. No mirror_tid is above that of a block on the way (MF 12.2), whatever the
	 * media say: one below born_tid is told for sure from one that was written since opening.
	 * Such an INDIRECT block stands for all that is below it, about data_count bytes.
	 */
	void (*drop)(void *user, const struct h2_blockref *ref);
	void *user;
	_Atomic uint64_t *branch_bytes; /* sum of the sizes of all branches' blocks */
	uint64_t born_tid;              /* of the first group since opening */
};

/*
 * Enter a leaf. Its key range must not meet that of another leaf. Returns 0; -EEXIST; -ENOMEM; a
 * damage error, also for arrays that a writer must not change (MF 13.3). After an error the tree
 * holds what it did before.
 */
int h2_tree_insert(const struct h2_tree_change *change, struct h2_root *root,
		   const struct h2_blockref *ref);

/*
 * Enter a leaf, or put it in place of the one with the same key, which *old receives (type EMPTY:
 * there was none); its block is not dropped. Errors are those of h2_tree_insert().
 */
int h2_tree_set(const struct h2_tree_change *change, struct h2_root *root,
		const struct h2_blockref *ref, struct h2_blockref *old);

/* Remove the leaf with this key into *old. Returns 0; -ENOENT; the errors of h2_tree_insert(). */
int h2_tree_remove(const struct h2_tree_change *change, struct h2_root *root, uint64_t key,
		   struct h2_blockref *old);

/*
 * Make branches of all blocks on the way to key: a removal of that key cannot fail then. Returns 0
 * or an error of h2_tree_insert().
 */
int h2_tree_touch(const struct h2_tree_change *change, struct h2_root *root, uint64_t key);

/*
 * Remove all leaves with keys in [lo, hi], and drop their blocks; the boundaries must not lie
 * within a leaf's range. Blocks below indirect blocks that cannot be read are not dropped. Returns
 * 0, or an error of h2_tree_touch() for the boundaries, before anything is removed.
 */
int h2_tree_remove_range(const struct h2_tree_change *change, struct h2_root *root, uint64_t lo,
			 uint64_t hi);

/* Sums over an array for the blockref that leads to it, MF 3.6. */
struct h2_tree_sums {
	uint64_t data_count, inode_count, leaf_count;
	uint64_t modify_tid; /* the highest */
};

struct h2_tree_flush {
	struct h2_blocks *blocks; /* whose cache need not keep what is replaced; NULL: none */
	uint64_t mirror_tid, modify_tid;
	unsigned check_algo;                                          /* of new blocks */
	int (*alloc)(void *user, unsigned radix, uint64_t *data_off); /* an INDIRECT block */
	int (*write)(void *user, uint64_t offset, const void *buf, size_t len);
	void (*drop)(void *user, const struct h2_blockref *ref);
	void *user;
};

/*
 * Give every branch a place and write it. *sums receives those of the root. Branches stay, so that
 * the tree can still be read after an error. Returns 0, or what alloc or write returned.
 */
int h2_tree_flush(const struct h2_tree_flush *flush, struct h2_root *root,
		  struct h2_tree_sums *sums);

/*
 * Give up all branches: what they changed is written, or not needed any more. The cache of blocks, NULL:
 * none, keeps those that are written, so that they are not read back.
 */
void h2_tree_clean(struct h2_root *root, struct h2_blocks *blocks, _Atomic uint64_t *branch_bytes);

/*
 * Before the first change of a root from the media: no entry is newer than the block that the
 * root is in, MF 12.2. The blocks below are treated likewise when they become branches.
 */
void h2_root_limit_tids(struct h2_root *root, uint64_t mirror_tid);

/* The root's blockrefs for the media: by key, without gaps; as they were if they must not change. */
void h2_root_encode(const struct h2_root *root, struct h2d_blockref refs[H2_BLOCKSET_COUNT]);

#endif
