/*
 * Changes of the super-root for those who make the tree of a new PFS themselves. They are made in one
 * commit each, as those of <hammer2/pfs.h>, whose errors they return.
 */
#ifndef H2_FS_PFS_CHANGE_H
#define H2_FS_PFS_CHANGE_H

#include <hammer2/pfs.h>

#include "fs_impl.h"

/* A PFS as a commit has it. */
struct h2_pfs_state {
	struct h2_blockref ref; /* of its root inode */
	struct h2_inode_meta meta;
	struct h2d_inode d; /* for its blockset */
	uint64_t snapshot_tid; /* nothing in its tree is newer: for pfs_lsnap_tid and modify_tid */
};

/*
 * From the commit on that *state describes, nothing of what a PFS has comes back when the PFS drops
 * it, but by bulk free only: another one may get it. Returns also -EEXIST: new_label is in use.
 */
int h2_pfs_share(struct h2_fs *fs, const char *label, const char *new_label,
		 struct h2_pfs_state *state);

/*
 * Make a PFS, a snapshot, of a tree that was written: ref, meta and d of its root are complete but for
 * its place, its label, and what makes it a PFS.
 */
int h2_pfs_enter(struct h2_fs *fs, const char *label, const struct h2_pfs_ids *ids,
		 struct h2_pfs_state *state);

#endif
