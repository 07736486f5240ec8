/* PFSs: listing the super-root and opening by label, MF 11. */
#include <stdlib.h>
#include <string.h>

#include "fs_impl.h"

static const struct h2_where in_super_root = {.pfs = NULL, .has_inum = true};

static void fill_info(struct h2_pfs_info *info, const struct h2_blockref *ref,
		      const struct h2_inode_meta *meta)
{
	info->key = ref->key;
	info->ref = *ref;
	info->meta = *meta;
	/* The length was checked to be 1..255. */
	memcpy(info->label, meta->filename, meta->name_len);
	info->label[meta->name_len] = '\0';
}

static struct h2_pfs *find_open_locked(struct h2_fs *fs, uint64_t key)
{
	struct h2_pfs *pfs = fs->pfs_list;

	assert(h2_mutex_held(&fs->pfs_lock));
	while (pfs && pfs->info.key != key)
		pfs = pfs->next;
	return pfs;
}

/* A reference to the PFS that was opened, by its key; NULL: it was not. */
static struct h2_pfs *get_open(struct h2_fs *fs, uint64_t key)
{
	struct h2_pfs *pfs;

	h2_mutex_lock(&fs->pfs_lock);
	pfs = find_open_locked(fs, key);
	if (pfs)
		pfs->refs++;
	h2_mutex_unlock(&fs->pfs_lock);
	return pfs;
}

/*
 * What memory has of a PFS's root is what counts: where a commit has failed, what the super-root
 * leads to was never written.
 */
static bool info_of_open(struct h2_fs *fs, uint64_t key, struct h2_pfs_info *info)
{
	struct h2_pfs *pfs = fs->txn ? get_open(fs, key) : NULL;

	if (!pfs)
		return false;
	h2_inode_lock_read(pfs->root);
	fill_info(info, &pfs->root->ref, &pfs->root->meta);
	h2_inode_unlock_read(pfs->root);
	h2_pfs_put(pfs);
	return true;
}

/* Load the PFS root that a cursor found. */
static int load_root(struct h2_fs *fs, const struct h2_blockref *ref, struct h2_pfs_info *info,
		     struct h2d_inode *inode)
{
	struct h2_inode_meta meta;
	int err = h2_inode_load(&fs->blocks, &in_super_root, ref, H2_PLACE_PFS_ROOT, inode, &meta);

	if (!err)
		fill_info(info, ref, &meta);
	return err;
}

int h2_pfs_next(struct h2_fs *fs, uint64_t key, struct h2_pfs_info *info)
{
	struct h2_blockref ref;
	struct h2d_inode inode;
	uint64_t last;
	int err;

	h2_fs_enter(fs);
	err = h2_tree_first(&fs->blocks, &in_super_root, H2_TREE_SUPER_ROOT, &fs->super_root, key,
			    UINT64_MAX, &ref, &last);
	if (!err && !info_of_open(fs, ref.key, info))
		err = load_root(fs, &ref, info, &inode);
	h2_fs_leave(fs);
	if (err && err != 1)
		info->key = last;
	return err;
}

/* Find the label among the entries that share its hash. */
static int find_label(struct h2_fs *fs, const char *label, struct h2_pfs_info *info,
		      struct h2d_inode *inode)
{
	size_t len = strlen(label);
	uint64_t hash = h2_name_hash(label, len);
	struct h2_cursor cursor;
	struct h2_blockref ref;
	int err, damage = 0;

	h2_cursor_init(&cursor, &fs->blocks, &in_super_root, H2_TREE_SUPER_ROOT, &fs->super_root,
		       hash, hash | H2_KEY_COLLISION);
	while ((err = h2_cursor_next(&cursor, &ref)) != 1) {
		if (!err)
			err = load_root(fs, &ref, info, inode);
		if (!err && info->meta.name_len == len && memcmp(info->label, label, len) == 0)
			break;
		if (err && !damage)
			damage = err;
	}
	h2_cursor_fini(&cursor);
	if (err == 1)
		return damage ? damage : -ENOENT;
	return 0;
}

static void free_pfs(struct h2_pfs *pfs)
{
	h2_inode_put(pfs->root);
	for (unsigned i = 0; i < H2_LEGACY_BUCKETS; i++) {
		while (pfs->legacy[i]) {
			struct h2_legacy *entry = pfs->legacy[i];

			pfs->legacy[i] = entry->next;
			free(entry);
		}
	}
	h2_mutex_fini(&pfs->names_lock);
	h2_rwlock_fini(&pfs->tree_lock);
	h2_mutex_fini(&pfs->legacy_lock);
	free(pfs);
}

/* A PFS that was read but is not in the list. */
static int load_pfs(struct h2_fs *fs, const char *label, struct h2_pfs **pfsp)
{
	struct h2_pfs *pfs = calloc(1, sizeof(*pfs));
	struct h2d_inode inode;
	int err;

	if (!pfs)
		return -ENOMEM;
	err = find_label(fs, label, &pfs->info, &inode);
	if (err) {
		free(pfs);
		return err;
	}
	pfs->fs = fs;
	pfs->refs = 1;
	/* BS 2.5 */
	pfs->next_inum = pfs->info.meta.pfs_inum + 1 > H2_INUM_FIRST ? pfs->info.meta.pfs_inum + 1
								     : H2_INUM_FIRST;
	pfs->modify_tid = pfs->info.ref.modify_tid + 1;
	h2_mutex_init(&pfs->names_lock, H2_RANK_NAMES);
	h2_rwlock_init(&pfs->tree_lock);
	h2_mutex_init(&pfs->legacy_lock, H2_RANK_LEGACY);
	h2_mutex_lock(&fs->pfs_lock);
	pfs->id = fs->pfs_next_id++;
	h2_mutex_unlock(&fs->pfs_lock);
	pfs->root = h2_inode_make_root(pfs, &inode);
	if (!pfs->root) {
		free_pfs(pfs);
		return -ENOMEM;
	}
	*pfsp = pfs;
	return 0;
}

static struct h2_pfs *get_open_labelled(struct h2_fs *fs, const char *label)
{
	struct h2_pfs *pfs;

	h2_mutex_lock(&fs->pfs_lock);
	pfs = fs->pfs_list;
	while (pfs && strcmp(pfs->info.label, label) != 0)
		pfs = pfs->next;
	if (pfs)
		pfs->refs++;
	h2_mutex_unlock(&fs->pfs_lock);
	return pfs;
}

int h2_pfs_open(struct h2_fs *fs, const char *label, struct h2_pfs **pfsp)
{
	struct h2_pfs *pfs, *other;
	int err;

	h2_fs_enter(fs);
	*pfsp = get_open_labelled(fs, label);
	if (*pfsp) {
		h2_fs_leave(fs);
		return 0;
	}
	err = load_pfs(fs, label, &pfs);
	if (err) {
		h2_fs_leave(fs);
		return err;
	}
	h2_mutex_lock(&fs->pfs_lock);
	other = find_open_locked(fs, pfs->info.key);
	if (other) {
		other->refs++;
	} else {
		pfs->next = fs->pfs_list;
		fs->pfs_list = pfs;
	}
	h2_mutex_unlock(&fs->pfs_lock);
	h2_fs_leave(fs);
	if (other)
		free_pfs(pfs);
	*pfsp = other ? other : pfs;
	return 0;
}

static void unlist_pfs(struct h2_pfs *pfs)
{
	struct h2_pfs **link = &pfs->fs->pfs_list;

	while (*link != pfs)
		link = &(*link)->next;
	*link = pfs->next;
}

void h2_pfs_put(struct h2_pfs *pfs)
{
	bool last;

	if (!pfs)
		return;
	h2_mutex_lock(&pfs->fs->pfs_lock);
	assert(pfs->refs > 0);
	/* With changes to come a PFS stays: commits still need it. */
	last = --pfs->refs == 0 && !pfs->fs->txn;
	if (last)
		unlist_pfs(pfs);
	h2_mutex_unlock(&pfs->fs->pfs_lock);
	if (last)
		free_pfs(pfs);
}

void h2_pfs_free_all(struct h2_fs *fs)
{
	struct h2_pfs **lists[] = {&fs->pfs_list, &fs->pfs_retired};

	for (unsigned i = 0; i < 2; i++) {
		while (*lists[i]) {
			struct h2_pfs *pfs = *lists[i];

			assert(pfs->refs == 0);
			*lists[i] = pfs->next;
			free_pfs(pfs);
		}
	}
}

void h2_pfs_get_usage(struct h2_pfs *pfs, struct h2_pfs_usage *usage)
{
	struct h2_inode *root = pfs->root;
	struct h2_fs *fs = pfs->fs;

	h2_fs_enter(fs);
	h2_inode_lock_read(root);
	*usage = (struct h2_pfs_usage){
		.data_bytes = root->ref.data_count + atomic_load(&fs->buffer_bytes),
		.inodes = root->ref.inode_count + 1,
		.data_quota = root->meta.data_quota,
		.inode_quota = root->meta.inode_quota,
	};
	h2_inode_unlock_read(root);
	h2_fs_leave(fs);
}

const struct h2_pfs_info *h2_pfs_get_info(const struct h2_pfs *pfs)
{
	return &pfs->info;
}

struct h2_fs *h2_pfs_fs(const struct h2_pfs *pfs)
{
	return pfs->fs;
}
