/*
 * Moving the inodes that lie beside changed ones, while there is little room.
 *
 * An inode takes a sixteenth of a granule, and granules are what the freemap knows (MF 10.3). One
 * that moves leaves a place that is of use only when the rest of its granule is free as well. With
 * room enough that comes by itself; on a full filesystem changing the inodes of small files one by
 * one, in any order, would use up the reserve. There the others of the granule move too, and all of
 * it comes back.
 */
#include <string.h>

#include "commit.h"

#define PER_GRANULE (H2_GRANULE / H2_INODE_SIZE)

/* Blocks of the index on the way to one inode. */
#define WAY_BYTES (UINT64_C(4) * H2_GRANULE)

/* Whether there is room for what the group has now and so much more. */
static bool has_room(struct h2_fs *fs, uint64_t more)
{
	struct h2_txn_need need = h2_fs_needs(fs);
	uint64_t bytes = need.bytes - atomic_load(&fs->dirty_inodes) * H2_NEIGHBOURS_BYTES +
			 more;

	return h2_space_has(fs->space, need.quads, (bytes + H2_GRANULE - 1) / H2_GRANULE);
}

/* Let the inode move if the index says that it lies at offset. */
static void move(struct h2_pfs *pfs, uint64_t inum, uint64_t offset)
{
	struct h2_inode *inode;

	if (inum <= H2_INUM_ROOT || h2_inode_find(pfs, inum, &inode) != 0)
		return;
	if (!inode->dirty && !inode->gone && h2_blockref_radix(&inode->ref) != 0 &&
	    h2_blockref_offset(&inode->ref) == offset && has_room(pfs->fs, WAY_BYTES) &&
	    h2_inode_prepare(inode) == 0)
		h2_inode_dirty(inode);
	h2_inode_put(inode);
}

/* Whether what the inode leaves comes back: no snapshot has it. */
static bool is_worth_it(const struct h2_inode *inode)
{
	return !inode->gone && inode->meta.inum != H2_INUM_ROOT &&
	       h2_blockref_radix(&inode->ref) != 0 &&
	       inode->ref.mirror_tid > inode->pfs->root->meta.pfs_lsnap_tid;
}

void h2_fs_move_neighbours(struct h2_fs *fs)
{
	struct h2_inode *last = fs->dirty_last;
	uint8_t granule[H2_GRANULE];

	for (struct h2_inode *inode = fs->dirty_first; inode; inode = inode->dirty_next) {
		uint64_t at = h2_blockref_offset(&inode->ref) / H2_GRANULE * H2_GRANULE;

		/* What cannot be read or is not an inode stays where it is. */
		if (is_worth_it(inode) && has_room(fs, H2_NEIGHBOURS_BYTES) &&
		    h2_volumes_read(fs->volumes, at, granule, sizeof(granule)) == 0) {
			for (unsigned i = 0; i < PER_GRANULE; i++) {
				struct h2d_inode d;

				memcpy(&d, granule + i * H2_INODE_SIZE, sizeof(d));
				move(inode->pfs, le64_get(d.inum), at + i * H2_INODE_SIZE);
			}
		}
		if (inode == last)
			break;
	}
}
