/*
 * What a commit does to the filesystem's objects: each changed inode with its tree gets a new
 * place, then the indexes and PFS roots, then the super-root. MF 12, BS 7.1.
 *
 * All of this runs in the committing thread with the gate closed, so without locks, but for
 * h2_fs_drop() and reaping, which come afterwards.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "commit.h"

/* Room for what every commit writes: super-root, PFS roots, the upper levels of the indexes. */
#define BASE_BYTES (UINT64_C(256) << 10)
/*
 * For each changed inode: itself, and what the index grows by where it is new. New numbers follow
 * each other; the blocks on the way to an old one are branches already (h2_inode_prepare()).
 */
#define INODE_BYTES (H2_INODE_SIZE + 2 * H2_BLOCKREF_SIZE)

/* How many bytes of buffers a closed gate is worth, and how often we try to get there. */
#define LITTLE (UINT64_C(4) << 20)
#define ROUNDS_MAX 4u

struct h2_txn_need h2_fs_needs(struct h2_fs *fs)
{
	uint64_t inode_bytes = atomic_load(&fs->scarce) ? INODE_BYTES + H2_NEIGHBOURS_BYTES : INODE_BYTES;

	return (struct h2_txn_need){
		.quads = atomic_load(&fs->buffer_quads),
		.bytes = atomic_load(&fs->buffer_small) + atomic_load(&fs->branch_bytes) +
			 atomic_load(&fs->dirty_inodes) * inode_bytes + BASE_BYTES +
			 atomic_load(&fs->pfs_change_bytes),
	};
}

bool h2_fs_count_again(struct h2_fs *fs)
{
	return !fs->hold_commits && h2_txn_sync(fs->txn) == 0;
}

static struct h2_txn_need needs(void *user)
{
	return h2_fs_needs(user);
}

void h2_fs_judge_room(struct h2_fs *fs)
{
	uint64_t size = h2_volumes_header(fs->volumes)->allocator_size;
	uint64_t granules = 2 * h2_volumes_reserve(size) / H2_GRANULE;

	atomic_store(&fs->scarce, !h2_space_has(fs->space, 0, granules));
}

static int write_data(void *user)
{
	struct h2_fs *fs = user;
	int err = h2_buffers_drain(fs, false);

	/* What came meanwhile, so that little is left for the closed gate. */
	for (unsigned i = 0; i < ROUNDS_MAX && !err && atomic_load(&fs->buffer_bytes) > LITTLE; i++)
		err = h2_buffers_drain(fs, false);
	return err;
}

/* ---- encoding ---- */

static int alloc_indirect(void *user, unsigned radix, uint64_t *data_off)
{
	struct h2_encoding *e = user;

	return h2_space_alloc(e->fs->space, H2_BLOCKREF_INDIRECT, radix, data_off);
}

static int write_block(void *user, uint64_t offset, const void *buf, size_t len)
{
	struct h2_encoding *e = user;

	return h2_commit_write(&e->commit->writer, offset, buf, len);
}

void h2_encoding_drop(struct h2_encoding *e, const struct h2_blockref *ref)
{
	h2_space_drop(e->fs->space, ref->data_off, ref->mirror_tid, e->commit->tid);
}

static void drop_block(void *user, const struct h2_blockref *ref)
{
	h2_encoding_drop(user, ref);
}

struct h2_tree_flush h2_encoding_flush(struct h2_encoding *e, uint64_t modify_tid, unsigned methods)
{
	return (struct h2_tree_flush){
		.blocks = &e->fs->blocks,
		.mirror_tid = e->commit->tid,
		.modify_tid = modify_tid,
		.check_algo = h2_metadata_check(methods),
		.alloc = alloc_indirect,
		.write = write_block,
		.drop = drop_block,
		.user = e,
	};
}

int h2_place_inode(struct h2_encoding *e, struct h2_blockref *ref, const struct h2d_inode *d,
		   const struct h2_tree_sums *sums)
{
	struct h2_blockref new_ref = *ref;
	bool is_root = le64_get(d->inum) <= H2_INUM_ROOT;
	/*
	 * Roots are written by every commit. On a full filesystem they stay out of the granules of
	 * other inodes, which would not come back as a whole for them.
	 */
	unsigned type = is_root && atomic_load(&e->fs->scarce) ? H2_BLOCKREF_INDIRECT
							       : H2_BLOCKREF_INODE;
	int err = h2_space_alloc(e->fs->space, type, 10, &new_ref.data_off);

	if (err)
		return err;
	new_ref.methods = (uint8_t)(h2_metadata_check(ref->methods) << 4 | (ref->methods & 15));
	new_ref.mirror_tid = e->commit->tid;
	new_ref.modify_tid = sums->modify_tid;
	new_ref.data_count = sums->data_count;
	new_ref.inode_count = sums->inode_count;
	new_ref.leaf_count = (uint16_t)sums->leaf_count;
	err = h2_check_set(&new_ref, d, sizeof(*d));
	if (!err)
		err = write_block(e, h2_blockref_offset(&new_ref), d, sizeof(*d));
	if (err)
		return err;
	if (h2_blockref_radix(ref) != 0)
		drop_block(e, ref);
	*ref = new_ref;
	return 0;
}

static int encode_inode(struct h2_encoding *e, struct h2_inode *inode)
{
	struct h2_tree_flush flush = h2_encoding_flush(e, inode->pfs->modify_tid, inode->ref.methods);
	struct h2_tree_sums sums = {.modify_tid = inode->pfs->modify_tid};
	struct h2d_inode d = {0};
	int err = 0;

	assert(inode->buffer_count == 0); /* they belong to this group, and are drained */
	h2_inode_encode(&inode->meta, &d);
	if (h2_inode_is_inline(inode)) {
		memcpy(d.u.data, inode->u.data, sizeof(d.u.data));
	} else {
		err = h2_tree_flush(&flush, &inode->u.root, &sums);
		h2_root_encode(&inode->u.root, d.u.blockset);
	}
	if (!err)
		err = h2_place_inode(e, &inode->ref, &d, &sums);
	inode->stored_bytes = sums.data_count;
	return err;
}

/* Put the inode's new blockref into the index, or take it out. */
static int index_inode(struct h2_encoding *e, struct h2_inode *inode)
{
	struct h2_pfs *pfs = inode->pfs;
	struct h2_tree_change change = h2_inode_change(pfs->root);
	struct h2_blockref old;
	int err;

	if (!inode->gone) {
		err = h2_tree_set(&change, &pfs->root->u.root, &inode->ref, &old);
		inode->indexed = inode->indexed || err == 0;
		return err;
	}
	if (!inode->indexed)
		return 0;
	err = h2_tree_remove(&change, &pfs->root->u.root, inode->meta.inum, &old);
	if (err)
		return err;
	inode->indexed = false;
	drop_block(e, &inode->ref);
	inode->ref.data_off = 0;
	return 0;
}

static int encode_pfs(struct h2_encoding *e, struct h2_pfs *pfs)
{
	struct h2_fs *fs = e->fs;
	struct h2_inode *root = pfs->root;
	struct h2_tree_change change = h2_inode_change(root);
	struct h2_blockref old;
	int err;

	/* No number in use may be above it, MF 11.5. */
	if (pfs->next_inum > H2_INUM_FIRST && root->meta.pfs_inum < pfs->next_inum - 1)
		root->meta.pfs_inum = pfs->next_inum - 1;
	err = encode_inode(e, root);
	if (err)
		return err;
	root->ref.flags |= H2_BLOCKREF_PFSROOT;
	change.kind = H2_TREE_SUPER_ROOT;
	return h2_tree_set(&change, &fs->super_root, &root->ref, &old);
}

static int encode_super_root(struct h2_encoding *e)
{
	struct h2_fs *fs = e->fs;
	struct h2_tree_flush flush = h2_encoding_flush(e, fs->super_modify_tid, fs->super_ref.methods);
	struct h2_tree_change change = {
		.blocks = &fs->blocks,
		.kind = H2_TREE_SUPER_ROOT_SET,
		.drop = NULL,
		.branch_bytes = &fs->branch_bytes,
	};
	struct h2d_blockref set[H2_BLOCKSET_COUNT];
	struct h2_tree_sums sums;
	struct h2_blockref old;
	int err = h2_tree_flush(&flush, &fs->super_root, &sums);

	if (err)
		return err;
	h2_root_encode(&fs->super_root, fs->super_inode.u.blockset);
	err = h2_place_inode(e, &fs->super_ref, &fs->super_inode, &sums);
	if (!err)
		err = h2_tree_set(&change, &fs->super_set, &fs->super_ref, &old);
	if (!err)
		err = h2_tree_flush(&flush, &fs->super_set, &sums);
	if (err)
		return err;
	h2_root_encode(&fs->super_set, set);
	for (unsigned i = 0; i < H2_BLOCKSET_COUNT; i++)
		h2_blockref_decode(&set[i], &e->commit->header->sroot_blockset[i]);
	return 0;
}

/* In order of their numbers, so that they lie together as they are numbered. */
static int by_number(const void *a, const void *b)
{
	const struct h2_inode *x = *(struct h2_inode *const *)a;
	const struct h2_inode *y = *(struct h2_inode *const *)b;

	if (x->pfs != y->pfs)
		return x->pfs->id < y->pfs->id ? -1 : 1;
	return x->meta.inum < y->meta.inum ? -1 : x->meta.inum > y->meta.inum;
}

static int gather(struct h2_fs *fs)
{
	fs->group_count = 0;
	for (struct h2_inode *inode = fs->dirty_first; inode; inode = inode->dirty_next) {
		if (fs->group_count == fs->group_room) {
			size_t room = fs->group_room ? 2 * fs->group_room : 64;
			struct h2_inode **group = realloc(fs->group, room * sizeof(*group));

			if (!group)
				return -ENOMEM;
			fs->group = group;
			fs->group_room = room;
		}
		fs->group[fs->group_count++] = inode;
		inode->pfs->in_group = true;
	}
	if (fs->group_count > 0)
		qsort(fs->group, fs->group_count, sizeof(struct h2_inode *), by_number);
	return 0;
}

static int encode(void *user, struct h2_commit *commit)
{
	struct h2_encoding e = {.fs = user, .commit = commit};
	struct h2_fs *fs = user;
	int err = h2_buffers_drain(fs, true);

	memcpy(fs->super_committed, fs->super_inode.u.blockset, sizeof(fs->super_committed));
	if (!err && atomic_load(&fs->scarce))
		h2_fs_move_neighbours(fs);
	if (!err)
		err = gather(fs);
	for (size_t i = 0; i < fs->group_count && !err; i++) {
		struct h2_inode *inode = fs->group[i];

		if (inode->meta.inum == H2_INUM_ROOT)
			continue;
		if (!inode->gone)
			err = encode_inode(&e, inode);
		if (!err)
			err = index_inode(&e, inode);
	}
	if (!err)
		h2_pfs_change_begin(&e);
	for (struct h2_pfs *pfs = fs->pfs_list; pfs && !err; pfs = pfs->next) {
		if (pfs->in_group)
			err = encode_pfs(&e, pfs);
	}
	if (!err)
		err = h2_pfs_change_finish(&e);
	return err ? err : encode_super_root(&e);
}

/* ---- afterwards ---- */

/* The inode's part of what commits need, needs(), is no more. */
static void discount(struct h2_fs *fs, struct h2_inode *inode)
{
	if (inode->settled)
		return;
	inode->settled = true;
	atomic_fetch_sub(&fs->dirty_inodes, 1);
}

static void unlist(struct h2_fs *fs, struct h2_inode *inode)
{
	h2_mutex_lock(&fs->dirty_lock);
	*(inode->dirty_prev ? &inode->dirty_prev->dirty_next
			    : &fs->dirty_first) = inode->dirty_next;
	*(inode->dirty_next ? &inode->dirty_next->dirty_prev : &fs->dirty_last) = inode->dirty_prev;
	inode->dirty = false;
	discount(fs, inode);
	h2_mutex_unlock(&fs->dirty_lock);
}

/* Give up an inode's branches; what was written stays in the cache if it is to be kept. */
static void clean_tree(struct h2_inode *inode, bool keep)
{
	struct h2_fs *fs = h2_inode_fs(inode);

	if (!h2_inode_is_inline(inode))
		h2_tree_clean(&inode->u.root, keep ? &fs->blocks : NULL, &fs->branch_bytes);
}

static void encoded(void *user)
{
	struct h2_fs *fs = user;

	for (size_t i = 0; i < fs->group_count; i++) {
		struct h2_inode *inode = fs->group[i];

		if (!inode->gone) {
			clean_tree(inode, true);
			unlist(fs, inode);
			h2_inode_put(inode);
		} else if (h2_cache_refs(fs->blocks.cache, &inode->cached) == 1) {
			/* Nobody uses it any more but us. */
			unlist(fs, inode);
			inode->reaped = true;
			inode->reap_next = fs->reap;
			fs->reap = inode;
		} else {
			discount(fs, inode);
		}
	}
	for (struct h2_pfs *pfs = fs->pfs_list; pfs; pfs = pfs->next) {
		if (!pfs->in_group)
			continue;
		clean_tree(pfs->root, true);
		pfs->in_group = false;
		pfs->modify_tid++;
	}
	for (struct h2_pfs *pfs = fs->pfs_retired; pfs; pfs = pfs->next)
		clean_tree(pfs->root, true);
	h2_tree_clean(&fs->super_root, &fs->blocks, &fs->branch_bytes);
	h2_tree_clean(&fs->super_set, &fs->blocks, &fs->branch_bytes);
	atomic_store(&fs->held_over, atomic_load(&fs->branch_bytes));
	fs->super_modify_tid = fs->super_ref.modify_tid + 1;
	h2_fs_judge_room(fs);
}

/*
 * Reading goes on: of the PFSs that memory does not have, what the media have. Everything else is
 * found in memory, whether it was given a place or not.
 */
static void failed(void *user)
{
	struct h2_fs *fs = user;

	h2_tree_clean(&fs->super_root, NULL, &fs->branch_bytes);
	memcpy(fs->super_inode.u.blockset, fs->super_committed, sizeof(fs->super_committed));
	h2_root_init(&fs->super_root, fs->super_inode.u.blockset);
}

/* Drop all blocks of a removed inode. */
static void reap_inode(struct h2_inode *inode)
{
	h2_rwlock_write(&inode->lock);
	h2_buffer_discard_range(inode, 0, UINT64_MAX);
	if (!h2_inode_is_inline(inode)) {
		struct h2_tree_change change = h2_inode_change(inode);

		(void)h2_tree_remove_range(&change, &inode->u.root, 0, UINT64_MAX);
		clean_tree(inode, false);
	}
	h2_rwlock_unlock(&inode->lock);
}

/* The group without the removed inodes is durable. */
static void durable(void *user, uint64_t tid)
{
	struct h2_fs *fs = user;

	(void)tid;
	while (fs->reap) {
		struct h2_inode *inode = fs->reap;

		fs->reap = inode->reap_next;
		h2_txn_enter(fs->txn);
		reap_inode(inode);
		h2_txn_leave(fs->txn);
		h2_cache_put(fs->blocks.cache, &inode->cached);
	}
}

void h2_fs_forget_changes(struct h2_fs *fs)
{
	while (fs->reap) {
		struct h2_inode *inode = fs->reap;

		fs->reap = inode->reap_next;
		h2_buffer_discard_range(inode, 0, UINT64_MAX);
		clean_tree(inode, false);
		h2_inode_put(inode);
	}
	while (fs->dirty_first) {
		struct h2_inode *inode = fs->dirty_first;

		h2_buffer_discard_range(inode, 0, UINT64_MAX);
		clean_tree(inode, false);
		unlist(fs, inode);
		h2_inode_put(inode);
	}
	for (struct h2_pfs *pfs = fs->pfs_list; pfs; pfs = pfs->next)
		clean_tree(pfs->root, false);
	h2_tree_clean(&fs->super_root, NULL, &fs->branch_bytes);
	h2_tree_clean(&fs->super_set, NULL, &fs->branch_bytes);
	free(fs->group);
	fs->group = NULL;
}

const struct h2_txn_owner h2_fs_txn_owner = {
	.write_data = write_data,
	.encode = encode,
	.encoded = encoded,
	.failed = failed,
	.durable = durable,
	.needs = needs,
	.reclaim = h2_fs_reclaim,
};
