/* Inodes: finding them by number, and their attributes. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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
	free(cached);
}

static struct h2_inode *alloc_inode(struct h2_pfs *pfs, uint64_t inum,
				    const struct h2_blockref *ref)
{
	struct h2_inode *inode = malloc(sizeof(*inode));

	if (!inode)
		return NULL;
	memset(&inode->cached, 0, sizeof(inode->cached));
	inode->cached.key = (struct h2_cache_key){.a = pfs->id, .b = inum, .kind = H2_CACHE_INODE};
	inode->cached.size_bytes = sizeof(*inode);
	inode->cached.free = free_inode;
	inode->pfs = pfs;
	inode->ref = *ref;
	return inode;
}

static void fill_content(struct h2_inode *inode, const struct h2d_inode *d)
{
	if (h2_inode_is_inline(inode))
		memcpy(inode->u.data, d->u.data, sizeof(inode->u.data));
	else
		h2_root_init(&inode->u.root, d->u.blockset);
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
		free(inode);
		return err;
	}
	fill_content(inode, &d);
	*inodep = (struct h2_inode *)h2_cache_insert(pfs->fs->blocks.cache, &inode->cached, false);
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

int h2_inode_get(struct h2_pfs *pfs, uint64_t inum, struct h2_inode **inodep)
{
	struct h2_cache_key key = {.a = pfs->id, .b = inum, .kind = H2_CACHE_INODE};
	struct h2_where where = h2_where_inode(pfs, inum);
	struct h2_cached *cached;
	struct h2_blockref ref;
	int err;

	if (inum == 0 || inum & H2_KEY_VISIBLE)
		return -ENOENT;
	cached = h2_cache_get(pfs->fs->blocks.cache, &key);
	if (cached) {
		*inodep = (struct h2_inode *)cached;
		return 0;
	}
	if (inum == H2_INUM_ROOT)
		return load(pfs, inum, &pfs->info.ref, H2_PLACE_PFS_ROOT, inodep);
	err = h2_tree_first(&pfs->fs->blocks, &where, H2_TREE_PFS_ROOT, &pfs->root, inum, inum,
			    &ref, NULL);
	if (err == 1)
		return load_legacy(pfs, inum, inodep);
	return err ? err : load(pfs, inum, &ref, H2_PLACE_INDEX, inodep);
}

void h2_inode_put(struct h2_inode *inode)
{
	if (inode)
		h2_cache_put(inode->pfs->fs->blocks.cache, &inode->cached);
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
	if (inode->meta.type == H2_OBJECT_DIRECTORY)
		return H2_INODE_SIZE / 512;
	return h2_inode_is_inline(inode) ? 0 : inode->ref.data_count / 512;
}

void h2_inode_attr(const struct h2_inode *inode, struct h2_attr *attr)
{
	const struct h2_inode_meta *m = &inode->meta;
	bool has_content = m->type == H2_OBJECT_FILE || m->type == H2_OBJECT_SYMLINK;
	uint64_t nlinks = m->nlinks > 0 ? m->nlinks : 1;

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
}
