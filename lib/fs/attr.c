/* Changing attributes. */
#include <sys/stat.h>

#include "fs_impl.h"

#define UFLAGS_FIXED 0x00060006u /* immutable and append-only, the user's and the system's */
#define OVERHEAD_BYTES (UINT64_C(128) << 10)

static bool algorithms_known(const struct h2_set_attr *set)
{
	if (set->valid & H2_SET_COMP &&
	    ((set->comp_algo & 15) > H2_COMP_ZLIB ||
	     (set->comp_algo >> 4 && (set->comp_algo & 15) != H2_COMP_ZLIB) ||
	     set->comp_algo >> 4 > 9))
		return false;
	return !(set->valid & H2_SET_CHECK) || set->check_algo <= H2_CHECK_SHA192;
}

/* What chown(2) takes away: setuid, and setgid where it does not mean mandatory locking. */
static void clear_privileges(struct h2_inode_meta *m)
{
	if (m->type == H2_OBJECT_DIRECTORY)
		return;
	m->mode &= ~(uint32_t)S_ISUID;
	if (m->mode & S_IXGRP)
		m->mode &= ~(uint32_t)S_ISGID;
}

static int apply(struct h2_inode *inode, const struct h2_set_attr *set)
{
	struct h2_inode_meta *m = &inode->meta;
	uint64_t now = h2_now_us(h2_inode_fs(inode));

	if (m->uflags & UFLAGS_FIXED && !(set->valid & H2_SET_UFLAGS))
		return -EPERM;
	if (set->valid & H2_SET_SIZE) {
		uint64_t before = m->size;
		int err;

		if (m->type == H2_OBJECT_DIRECTORY)
			return -EISDIR;
		if (m->type != H2_OBJECT_FILE)
			return -EINVAL;
		if (set->size > H2_FILE_SIZE_MAX)
			return -EFBIG;
		err = h2_file_truncate_locked(inode, set->size);
		if (err)
			return err;
		if (set->size != before || !(set->valid & H2_SET_MTIME))
			m->mtime = now;
	}
	if (set->valid & (H2_SET_UID | H2_SET_GID))
		clear_privileges(m);
	if (set->valid & H2_SET_MODE)
		m->mode = set->mode & 07777;
	if (set->valid & H2_SET_UID)
		m->uid = set->uid;
	if (set->valid & H2_SET_GID)
		m->gid = set->gid;
	if (set->valid & H2_SET_ATIME)
		m->atime = set->atime_us;
	if (set->valid & H2_SET_MTIME)
		m->mtime = set->mtime_us;
	if (set->valid & H2_SET_BTIME)
		m->btime = set->btime_us;
	if (set->valid & H2_SET_UFLAGS)
		m->uflags = set->uflags;
	if (set->valid & H2_SET_COMP)
		m->comp_algo = set->comp_algo;
	if (set->valid & H2_SET_CHECK)
		m->check_algo = set->check_algo;
	if (set->valid & H2_SET_QUOTA) {
		m->data_quota = set->data_quota;
		m->inode_quota = set->inode_quota;
	}
	m->ctime = set->valid & H2_SET_CTIME ? set->ctime_us : now;
	return 0;
}

/* Whether a block of the file may have to be written anew. The inode is locked. */
static bool may_change_block(const struct h2_inode *inode, const struct h2_set_attr *set)
{
	return set->valid & H2_SET_SIZE && set->size > 0 &&
	       !(h2_inode_is_inline(inode) && set->size <= H2_INLINE_DATA_MAX);
}

int h2_inode_set_attr(struct h2_inode *inode, const struct h2_set_attr *set)
{
	struct h2_fs *fs = h2_inode_fs(inode);
	struct h2_txn_need need = {.bytes = OVERHEAD_BYTES};
	int err = h2_inode_check_change(inode);

	if (err)
		return err;
	if (!algorithms_known(set))
		return -EINVAL;
	if (set->valid & H2_SET_QUOTA && inode->meta.inum != H2_INUM_ROOT)
		return -EINVAL;
	/*
	 * Cutting a file gives room; every other change of attributes needs next to none. On a full
	 * filesystem a whole block may be too much to ask for: only where the file has blocks.
	 */
	for (;;) {
		err = h2_txn_begin(fs->txn, &need, true);
		if (err)
			return err;
		h2_rwlock_write(&inode->lock);
		if (need.quads > 0 || !may_change_block(inode, set))
			break;
		h2_rwlock_unlock(&inode->lock);
		h2_txn_end(fs->txn, &need);
		need.quads = 1;
	}
	err = h2_inode_prepare(inode);
	if (!err) {
		err = apply(inode, set);
		/* Cutting may have failed part of the way, with blocks in buffers. */
		if (!err || set->valid & H2_SET_SIZE)
			h2_inode_dirty(inode);
	}
	h2_rwlock_unlock(&inode->lock);
	h2_txn_end(fs->txn, &need);
	return err;
}
