/* What the files that take part in a commit share. All of it runs with the gate closed. */
#ifndef H2_FS_COMMIT_H
#define H2_FS_COMMIT_H

#include "fs_impl.h"

struct h2_encoding {
	struct h2_fs *fs;
	struct h2_commit *commit;
};

/*
 * What a changed inode counts for besides itself while there is little room: the others of its granule,
 * and blocks of the index on the way to them, which after a while do not lie together there.
 */
#define H2_NEIGHBOURS_BYTES (UINT64_C(9) * H2_GRANULE)

/* What the next commit may need at most. */
struct h2_txn_need h2_fs_needs(struct h2_fs *fs);

/* Let the inodes that lie beside changed ones be part of the group, as far as there is room. */
void h2_fs_move_neighbours(struct h2_fs *fs);

/*
 * Write an inode's block; ref, with its place given up, becomes that of the new one, with these
 * sums. Returns 0 or an error, after which no header may be written.
 */
int h2_place_inode(struct h2_encoding *e, struct h2_blockref *ref, const struct h2d_inode *d,
		   const struct h2_tree_sums *sums);

/* How a tree is written whose new blocks get this modify_tid, and a check code by methods. */
struct h2_tree_flush h2_encoding_flush(struct h2_encoding *e, uint64_t modify_tid, unsigned methods);

/* A block is not part of the group any more. */
void h2_encoding_drop(struct h2_encoding *e, const struct h2_blockref *ref);

/*
 * The change of the super-root that waits, if one does (pfs_change.c). Begin before any PFS root is
 * encoded: what is not possible is refused there. Finish when all are; as h2_place_inode().
 */
void h2_pfs_change_begin(struct h2_encoding *e);
int h2_pfs_change_finish(struct h2_encoding *e);

#endif
