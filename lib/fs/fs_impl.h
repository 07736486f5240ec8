/*
 * The members of the filesystem's objects, for the files of this layer.
 *
 * Locks: fs->pfs_lock covers the list of PFSs and their reference counts; pfs->legacy_lock covers
 * that PFS's table of legacy inodes. Neither is held while blocks are read. Everything else is
 * constant once the object can be seen by others.
 */
#ifndef H2_FS_IMPL_H
#define H2_FS_IMPL_H

#include <hammer2/fs.h>

#include "cursor.h"
#include "lock.h"

struct h2_fs {
	/* constant once open */
	struct h2_volumes *volumes;
	struct h2_blocks blocks;
	struct h2_blockref super_ref; /* of the super-root inode */
	struct h2_root super_root;    /* its blockset */

	struct h2_mutex pfs_lock;
	/* under pfs_lock */
	struct h2_pfs *pfs_list;
	uint64_t pfs_next_id;
};

/* A legacy inode that a directory entry led to: it is in no index by number (MF 7.6). */
struct h2_legacy {
	struct h2_legacy *next;
	struct h2_blockref ref;
	uint64_t inum;
};

#define H2_LEGACY_BUCKETS 256u

struct h2_pfs {
	/* constant once open */
	struct h2_fs *fs;
	uint64_t id; /* in keys of the cache; never used again for another PFS */
	struct h2_pfs_info info;
	struct h2_root root;

	struct h2_mutex legacy_lock;
	/* under legacy_lock */
	struct h2_legacy *legacy[H2_LEGACY_BUCKETS];

	/* under fs->pfs_lock */
	struct h2_pfs *next;
	unsigned refs;
};

struct h2_inode { /* constant once in the cache */
	struct h2_cached cached;
	struct h2_pfs *pfs;
	struct h2_blockref ref;
	struct h2_inode_meta meta;
	union {
		struct h2_root root;              /* without DIRECTDATA */
		uint8_t data[H2_INLINE_DATA_MAX]; /* with it */
	} u;
};

/* Whose blocks are read, for reports about an inode of the PFS. */
struct h2_where h2_where_inode(const struct h2_pfs *pfs, uint64_t inum);

/* What an inode's tree may hold. */
enum h2_tree_kind h2_inode_tree_kind(const struct h2_inode *inode);

static inline bool h2_inode_is_inline(const struct h2_inode *inode)
{
	return inode->meta.op_flags & H2_INODE_DIRECTDATA;
}

static inline struct h2_blocks *h2_inode_blocks(const struct h2_inode *inode)
{
	return &inode->pfs->fs->blocks;
}

/*
 * Read and check the inode of a checked INODE blockref: *d receives the block, *m the attributes.
 */
int h2_inode_load(struct h2_blocks *blocks, const struct h2_where *where,
		  const struct h2_blockref *ref, enum h2_inode_place place, struct h2d_inode *d,
		  struct h2_inode_meta *m);

/* Remember a legacy inode so that h2_inode_get() finds it. Returns 0 or -ENOMEM. */
int h2_legacy_add(struct h2_pfs *pfs, uint64_t inum, const struct h2_blockref *ref);

#endif
