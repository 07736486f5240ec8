/* Inodes: finding them by number, and their attributes. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "fs_impl.h"

struct h2_where h2_where_inode(const struct h2_pfs *pfs, uint64_t inum)
{
	return (struct h2_where){.pfs = pfs->info.label, .inum = inum, .has_inum = true};
}

enum h2_tree_kind h2_inode_tree_kind(const struct h2_inode *inode)
{
	if (inode->meta.type != H2_OBJECT_DIRECTORY)
		return H2_TREE_FILE;
	return inode->meta.inum == H2_INUM_ROOT ? H2_TREE_PFS_ROOT : H2_TREE_DIRECTORY;
}

int h2_inode_load(struct h2_blocks *blocks, const struct h2_where *where,
		  const struct h2_blockref *ref, enum h2_inode_place place, struct h2d_inode *d,
		  struct h2_inode_meta *m)
{
	struct h2_problem problem;
	int err = h2_block_read(blocks, where, ref, d);

	if (err)
		return err;
	h2_inode_decode(d, m);
	if (!h2_inode_verify(m, place, ref->key, &problem))
		return h2_block_report(blocks, where, ref, "bad-inode", &problem);
	return 0;
}

static void free_inode(struct h2_cached *cached)
{
	struct h2_inode *inode = (struct h2_inode *)cached;

	assert(!inode->dirty && inode->buffer_count == 0);
	/* An operation that failed may have left branches that change nothing. */
	for (unsigned i = 0; !h2_inode_is_inline(inode) && i < H2_BLOCKSET_COUNT; i++) {
		if (inode->u.root.children[i])
			h2_tree_clean(&inode->u.root, NULL, &h2_inode_fs(inode)->branch_bytes);
	}
	free(inode->buffers);
	h2_rwlock_fini(&inode->lock);
	free(inode);
}

static struct h2_inode *alloc_inode(struct h2_pfs *pfs, uint64_t inum,
				    const struct h2_blockref *ref)
{
	struct h2_inode *inode = calloc(1, sizeof(*inode));

	if (!inode)
		return NULL;
	inode->cached.key = (struct h2_cache_key){.a = pfs->id, .b = inum, .kind = H2_CACHE_INODE};
	inode->cached.size_bytes = sizeof(*inode);
	inode->cached.free = free_inode;
	inode->pfs = pfs;
	inode->ref = *ref;
	h2_rwlock_init(&inode->lock);
	return inode;
}

static void fill_content(struct h2_inode *inode, const struct h2d_inode *d)
{
	if (h2_inode_is_inline(inode))
		/* What others left behind the end must not show when the file grows. */
		memcpy(inode->u.data, d->u.data, (size_t)inode->meta.size);
	else
		h2_root_init(&inode->u.root, d->u.blockset);
	inode->stored_bytes = inode->ref.data_count;
}

static struct h2_inode *enter_cache(struct h2_inode *inode, bool replace)
{
	return (struct h2_inode *)h2_cache_insert(h2_inode_blocks(inode)->cache, &inode->cached,
						  replace);
}

struct h2_inode *h2_inode_make_root(struct h2_pfs *pfs, const struct h2d_inode *d)
{
	struct h2_inode *inode = alloc_inode(pfs, H2_INUM_ROOT, &pfs->info.ref);

	if (!inode)
		return NULL;
	inode->meta = pfs->info.meta;
	inode->indexed = true;
	fill_content(inode, d);
	h2_root_limit_tids(&inode->u.root, inode->ref.mirror_tid);
	return enter_cache(inode, false);
}

struct h2_inode *h2_inode_make(struct h2_pfs *pfs, const struct h2_inode_meta *meta,
			       unsigned methods)
{
	struct h2_blockref ref = {
		.type = H2_BLOCKREF_INODE,
		.methods = (uint8_t)methods,
		.key = meta->inum,
	};
	static const struct h2d_blockref empty[H2_BLOCKSET_COUNT];
	struct h2_inode *inode = alloc_inode(pfs, meta->inum, &ref);

	if (!inode)
		return NULL;
	inode->meta = *meta;
	if (!h2_inode_is_inline(inode))
		h2_root_init(&inode->u.root, empty);
	/* A number is new, whatever was removed under it. */
	return enter_cache(inode, true);
}

static int load(struct h2_pfs *pfs, uint64_t inum, const struct h2_blockref *ref,
		enum h2_inode_place place, struct h2_inode **inodep)
{
	struct h2_where where = h2_where_inode(pfs, inum);
	struct h2_inode *inode = alloc_inode(pfs, inum, ref);
	struct h2d_inode d;
	int err;

	if (!inode)
		return -ENOMEM;
	err = h2_inode_load(&pfs->fs->blocks, &where, ref, place, &d, &inode->meta);
	if (err) {
		free_inode(&inode->cached);
		return err;
	}
	inode->legacy = place == H2_PLACE_LEGACY;
	inode->indexed = !inode->legacy;
	fill_content(inode, &d);
	*inodep = enter_cache(inode, false);
	return 0;
}

static struct h2_legacy **legacy_bucket(struct h2_pfs *pfs, uint64_t inum)
{
	return &pfs->legacy[inum % H2_LEGACY_BUCKETS];
}

static struct h2_legacy *legacy_find_locked(struct h2_pfs *pfs, uint64_t inum)
{
	struct h2_legacy *entry = *legacy_bucket(pfs, inum);

	assert(h2_mutex_held(&pfs->legacy_lock));
	while (entry && entry->inum != inum)
		entry = entry->next;
	return entry;
}

int h2_legacy_add(struct h2_pfs *pfs, uint64_t inum, const struct h2_blockref *ref)
{
	struct h2_legacy *entry = malloc(sizeof(*entry));

	if (!entry)
		return -ENOMEM;
	h2_mutex_lock(&pfs->legacy_lock);
	if (!legacy_find_locked(pfs, inum)) {
		*entry = (struct h2_legacy){
			.next = *legacy_bucket(pfs, inum),
			.ref = *ref,
			.inum = inum,
		};
		*legacy_bucket(pfs, inum) = entry;
		entry = NULL;
	}
	h2_mutex_unlock(&pfs->legacy_lock);
	free(entry);
	return 0;
}

static int load_legacy(struct h2_pfs *pfs, uint64_t inum, struct h2_inode **inodep)
{
	struct h2_blockref ref;
	bool found;

	h2_mutex_lock(&pfs->legacy_lock);
	found = legacy_find_locked(pfs, inum);
	if (found)
		ref = legacy_find_locked(pfs, inum)->ref;
	h2_mutex_unlock(&pfs->legacy_lock);
	return found ? load(pfs, inum, &ref, H2_PLACE_LEGACY, inodep) : -ENOENT;
}

/* Find an inode in memory. Returns 0; 1 if it is not there; -ENOENT. */
static int find_in_memory(struct h2_pfs *pfs, uint64_t inum, struct h2_inode **inodep)
{
	struct h2_cache_key key = {.a = pfs->id, .b = inum, .kind = H2_CACHE_INODE};
	struct h2_cached *cached;
	int err;

	if (inum == 0 || inum & H2_KEY_VISIBLE)
		return -ENOENT;
	cached = h2_cache_get(pfs->fs->blocks.cache, &key);
	if (!cached)
		return 1;
	*inodep = (struct h2_inode *)cached;
	if (!(*inodep)->gone)
		return 0;
	/* Open files go on with it until its blocks are dropped. */
	h2_inode_lock_read(*inodep);
	err = (*inodep)->reaped ? -ENOENT : 0;
	h2_inode_unlock_read(*inodep);
	if (err)
		h2_inode_put(*inodep);
	return err;
}

int h2_inode_find(struct h2_pfs *pfs, uint64_t inum, struct h2_inode **inodep)
{
	struct h2_where where = h2_where_inode(pfs, inum);
	struct h2_blockref ref;
	int err = find_in_memory(pfs, inum, inodep);

	if (err != 1)
		return err;
	h2_tree_lock_read(pfs->root);
	err = h2_tree_first(&pfs->fs->blocks, &where, H2_TREE_PFS_ROOT, &pfs->root->u.root, inum,
			    inum, &ref, NULL);
	h2_tree_unlock(pfs->root);
	if (err == 1)
		return load_legacy(pfs, inum, inodep);
	return err ? err : load(pfs, inum, &ref, H2_PLACE_INDEX, inodep);
}

int h2_inode_get(struct h2_pfs *pfs, uint64_t inum, struct h2_inode **inodep)
{
	int err;

	h2_fs_enter(pfs->fs);
	err = h2_inode_find(pfs, inum, inodep);
	h2_fs_leave(pfs->fs);
	return err;
}

int h2_dirent_get_listed(struct h2_inode *dir, const struct h2_dirent *ent,
			 struct h2_inode **inodep)
{
	struct h2_fs *fs = h2_inode_fs(dir);
	int err;

	h2_fs_enter(fs);
	err = find_in_memory(dir->pfs, ent->inum, inodep);
	if (err == 1 && atomic_load(&dir->listed) >= fs->listed_max) {
		err = -EAGAIN;
	} else if (err == 1) {
		atomic_fetch_add(&dir->listed, 1);
		err = h2_inode_find(dir->pfs, ent->inum, inodep);
	}
	h2_fs_leave(fs);
	return err;
}

void h2_inode_put(struct h2_inode *inode)
{
	if (!inode)
		return;
	/* It may have been the last one who keeps the blocks of a removed file. */
	if (inode->gone && h2_inode_fs(inode)->txn)
		h2_txn_changed(h2_inode_fs(inode)->txn);
	h2_cache_put(h2_inode_blocks(inode)->cache, &inode->cached);
}

const struct h2_inode_meta *h2_inode_meta(const struct h2_inode *inode)
{
	return &inode->meta;
}

const struct h2_blockref *h2_inode_ref(const struct h2_inode *inode)
{
	return &inode->ref;
}

struct h2_pfs *h2_inode_pfs(const struct h2_inode *inode)
{
	return inode->pfs;
}

void h2_inode_get_meta(struct h2_inode *inode, struct h2_inode_meta *meta)
{
	h2_fs_enter(h2_inode_fs(inode));
	h2_inode_lock_read(inode);
	*meta = inode->meta;
	h2_inode_unlock_read(inode);
	h2_fs_leave(h2_inode_fs(inode));
}

void h2_inode_get_block(struct h2_inode *inode, uint8_t block[H2_INODE_BYTES],
			uint64_t *data_count, uint64_t *inode_count)
{
	struct h2d_inode d = {0};

	static_assert(sizeof(d) == H2_INODE_BYTES, "MF 6.1");
	h2_fs_enter(h2_inode_fs(inode));
	h2_inode_lock_read(inode);
	h2_inode_encode(&inode->meta, &d);
	*data_count = inode->ref.data_count;
	*inode_count = inode->ref.inode_count;
	h2_inode_unlock_read(inode);
	h2_fs_leave(h2_inode_fs(inode));
	memcpy(block, &d, sizeof(d));
}

static uint32_t type_bits(unsigned type)
{
	static const uint32_t bits[] = {
		[H2_OBJECT_DIRECTORY] = S_IFDIR,    [H2_OBJECT_FILE] = S_IFREG,
		[H2_OBJECT_FIFO] = S_IFIFO,         [H2_OBJECT_CHAR_DEVICE] = S_IFCHR,
		[H2_OBJECT_BLOCK_DEVICE] = S_IFBLK, [H2_OBJECT_SYMLINK] = S_IFLNK,
		[H2_OBJECT_SOCKET] = S_IFSOCK,
	};

	return type < sizeof(bits) / sizeof(bits[0]) ? bits[type] : 0;
}

static uint64_t blocks_of(const struct h2_inode *inode)
{
	uint64_t bytes = inode->stored_bytes;

	if (inode->meta.type == H2_OBJECT_DIRECTORY)
		return H2_INODE_SIZE / 512;
	if (h2_inode_is_inline(inode))
		return 0;
	/* Buffers count as they lie in memory until they are stored. */
	for (unsigned i = 0; inode->buffer_count > 0 && i < inode->buffer_buckets; i++) {
		for (const struct h2_buffer *b = inode->buffers[i]; b; b = b->next)
			bytes += b->room;
	}
	return bytes / 512;
}

void h2_inode_attr(struct h2_inode *inode, struct h2_attr *attr)
{
	const struct h2_inode_meta *m = &inode->meta;
	bool has_content;
	uint64_t nlinks;

	h2_fs_enter(h2_inode_fs(inode));
	h2_inode_lock_read(inode);
	has_content = m->type == H2_OBJECT_FILE || m->type == H2_OBJECT_SYMLINK;
	nlinks = m->nlinks > 0 || inode->gone ? m->nlinks : 1;
	*attr = (struct h2_attr){
		.inum = m->inum,
		.size = has_content ? m->size : 0,
		.blocks = blocks_of(inode),
		.mode = (m->mode & 07777) | type_bits(m->type),
		.nlink = nlinks < UINT32_MAX ? (uint32_t)nlinks : UINT32_MAX,
		.uid = m->uid,
		.gid = m->gid,
		.rmajor = m->rmajor,
		.rminor = m->rminor,
		.atime_us = m->atime ? m->atime : m->mtime,
		.mtime_us = m->mtime,
		.ctime_us = m->ctime,
		.btime_us = m->btime ? m->btime : m->ctime,
		.uflags = m->uflags,
	};
	h2_inode_unlock_read(inode);
	h2_fs_leave(h2_inode_fs(inode));
}

/* ---- changing ---- */

void h2_inode_dirty(struct h2_inode *inode)
{
	struct h2_fs *fs = h2_inode_fs(inode);
	bool added = false;

	h2_mutex_lock(&fs->dirty_lock);
	if (!inode->dirty) {
		added = inode->dirty = true;
		inode->settled = false;
		inode->dirty_prev = fs->dirty_last;
		inode->dirty_next = NULL;
		if (fs->dirty_last)
			fs->dirty_last->dirty_next = inode;
		else
			fs->dirty_first = inode;
		fs->dirty_last = inode;
		h2_cache_ref(fs->blocks.cache, &inode->cached);
	} else if (inode->settled && !inode->gone) {
		/* It has got a name after all. */
		inode->settled = false;
		added = true;
	}
	h2_mutex_unlock(&fs->dirty_lock);
	if (added)
		atomic_fetch_add(&fs->dirty_inodes, 1);
	h2_txn_changed(fs->txn);
}

int h2_inode_check_change(const struct h2_inode *inode)
{
	if (!h2_inode_fs(inode)->txn)
		return -EROFS;
	if (inode->pfs->retired)
		return -ESTALE;
	return inode->legacy ? -EOPNOTSUPP : 0;
}

/* Its blockref as the index has it, now that it is a branch: see h2_tree_change.drop. */
static int limit_tids(struct h2_inode *inode)
{
	struct h2_where where = h2_where_inode(inode->pfs, inode->meta.inum);
	struct h2_blockref ref;
	int err = h2_tree_first(h2_inode_blocks(inode), &where, H2_TREE_PFS_ROOT,
				&inode->pfs->root->u.root, inode->meta.inum, inode->meta.inum, &ref,
				NULL);

	if (err)
		return err < 0 ? err : -H2_ECORRUPT;
	if (ref.mirror_tid < inode->ref.mirror_tid)
		inode->ref.mirror_tid = ref.mirror_tid;
	if (!h2_inode_is_inline(inode))
		h2_root_limit_tids(&inode->u.root, inode->ref.mirror_tid);
	return 0;
}

int h2_inode_prepare(struct h2_inode *inode)
{
	struct h2_inode *root = inode->pfs->root;
	struct h2_tree_change change;
	int err = h2_inode_check_change(inode);
	uint64_t tid;

	if (err)
		return err;
	tid = h2_txn_tid(h2_inode_fs(inode)->txn);
	if (inode->prepared_tid == tid || inode == root)
		return 0;
	change = h2_inode_change(root);
	h2_rwlock_write(&inode->pfs->tree_lock);
	err = h2_tree_touch(&change, &root->u.root, inode->meta.inum);
	if (!err && inode->indexed && inode->prepared_tid == 0)
		err = limit_tids(inode);
	h2_rwlock_unlock(&inode->pfs->tree_lock);
	if (!err)
		inode->prepared_tid = tid;
	return err;
}

uint64_t h2_now_us(const struct h2_fs *fs)
{
	struct timespec ts;

	if (fs->now_us)
		return fs->now_us(fs->now_user);
	/* The clock by which the kernel stamps files: times of both kinds then never go back. */
	clock_gettime(CLOCK_REALTIME_COARSE, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

void h2_fs_drop(struct h2_fs *fs, const struct h2_blockref *ref)
{
	uint64_t tid = h2_txn_tid(fs->txn);

	if (h2_blockref_radix(ref) == 0)
		return;
	if (fs->dedup && ref->type == H2_BLOCKREF_DATA)
		h2_dedup_forget(fs->dedup, ref);
	/*
	 * What only the open group knows can be used again at once. Not where no check code tells
	 * old bytes from new ones: the cache may hold the old ones.
	 */
	if (ref->type == H2_BLOCKREF_DATA && ref->mirror_tid == tid &&
	    h2_blockref_check_algo(ref) > H2_CHECK_DISABLED)
		h2_space_cancel(fs->space, ref->data_off, tid);
	else
		h2_space_drop(fs->space, ref->data_off, ref->mirror_tid, tid);
	/* What was there before opening goes with all that is below it. */
	if (ref->type == H2_BLOCKREF_INDIRECT && ref->mirror_tid < h2_txn_first_tid(fs->txn))
		h2_space_lose(fs->space, ref->data_count);
}

static void drop_from_inode(void *user, const struct h2_blockref *ref)
{
	struct h2_inode *inode = user;
	uint64_t size = (UINT64_C(1) << h2_blockref_radix(ref)) + ref->data_count;

	inode->stored_bytes -= size < inode->stored_bytes ? size : inode->stored_bytes;
	h2_fs_drop(h2_inode_fs(inode), ref);
}

struct h2_tree_change h2_inode_change(struct h2_inode *inode)
{
	struct h2_fs *fs = h2_inode_fs(inode);

	return (struct h2_tree_change){
		.blocks = &fs->blocks,
		.where = h2_where_inode(inode->pfs, inode->meta.inum),
		.kind = h2_inode_tree_kind(inode),
		.drop = drop_from_inode,
		.user = inode,
		.branch_bytes = &fs->branch_bytes,
		.born_tid = h2_txn_first_tid(fs->txn),
	};
}

unsigned h2_metadata_check(unsigned methods)
{
	unsigned algo = methods >> 4;

	return algo == H2_CHECK_ISCSI32 || algo == H2_CHECK_SHA192 ? algo : H2_CHECK_XXHASH64;
}
