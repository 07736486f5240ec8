/*
 * Directories: looking names up and listing them, MF 7.
 *
 * An entry is either a DIRENT or, on old media, the inode itself (MF 7.6). Names that no path
 * could hold (MF 13.5) are reported and left out.
 */
#include <stdlib.h>
#include <string.h>

#include "fs_impl.h"

/* Copy a name that must be valid; err of a report where it is not. */
static int take_name(const struct h2_blocks *blocks, const struct h2_where *where,
		     const struct h2_blockref *ref, const uint8_t *name, size_t len,
		     struct h2_dirent *ent)
{
	if (!h2_name_valid(name, len))
		return h2_block_report(blocks, where, ref, "bad-name",
				       &(struct h2_problem){
					       .member = "name",
					       .expected = "1 to 255 bytes without NUL and '/', "
							   "not \".\" or \"..\"",
					       .found = len,
				       });
	memcpy(ent->name, name, len);
	ent->name[len] = '\0';
	ent->name_len = (uint8_t)len;
	ent->key = ref->key;
	return 0;
}

static int load_legacy(struct h2_blocks *blocks, const struct h2_where *where,
		       const struct h2_blockref *ref, struct h2_dirent *ent,
		       struct h2_inode_meta *meta)
{
	struct h2d_inode d;
	int err = h2_inode_load(blocks, where, ref, H2_PLACE_LEGACY, &d, meta);

	if (err)
		return err;
	ent->inum = meta->inum;
	ent->type = meta->type;
	return take_name(blocks, where, ref, meta->filename, meta->name_len, ent);
}

int h2_dirent_load(struct h2_blocks *blocks, const struct h2_where *where,
		   const struct h2_blockref *ref, struct h2_dirent *ent,
		   struct h2_inode_meta *legacy)
{
	struct h2_inode_meta meta;
	uint8_t block[H2_BLOCK_MIN];
	const uint8_t *name = ref->check;
	int err;

	if (ref->type == H2_BLOCKREF_INODE)
		return load_legacy(blocks, where, ref, ent, legacy ? legacy : &meta);
	if (h2_blockref_radix(ref) != 0) {
		err = h2_block_read(blocks, where, ref, block);
		if (err)
			return err;
		name = block;
	}
	ent->inum = ref->dirent_inum;
	ent->type = ref->dirent_type;
	return take_name(blocks, where, ref, name, ref->dirent_namlen, ent);
}

static int read_entry(struct h2_inode *dir, const struct h2_blockref *ref, struct h2_dirent *ent)
{
	struct h2_where where = h2_where_inode(dir->pfs, dir->meta.inum);
	int err = h2_dirent_load(h2_inode_blocks(dir), &where, ref, ent, NULL);

	if (!err && ref->type == H2_BLOCKREF_INODE)
		err = h2_legacy_add(dir->pfs, ent->inum, ref);
	return err;
}

/* Without reading a name block: whether the entry cannot be the name looked for. */
static bool surely_differs(const struct h2_blockref *ref, const char *name, size_t len)
{
	if (ref->type != H2_BLOCKREF_DIRENT)
		return false;
	return ref->dirent_namlen != len ||
	       (h2_blockref_radix(ref) == 0 && memcmp(ref->check, name, len) != 0);
}

int h2_dir_find(struct h2_inode *dir, const char *name, size_t len, struct h2_dirent *ent)
{
	struct h2_where where = h2_where_inode(dir->pfs, dir->meta.inum);
	uint64_t hash;
	struct h2_cursor cursor;
	struct h2_dirent found;
	struct h2_blockref ref;
	int err, damage = 0;

	if (dir->meta.type != H2_OBJECT_DIRECTORY)
		return -ENOTDIR;
	if (len > H2_NAME_MAX)
		return -ENAMETOOLONG;
	if (!h2_name_valid((const uint8_t *)name, len))
		return -ENOENT;
	hash = h2_name_hash(name, len);
	h2_tree_lock_read(dir);
	h2_cursor_init(&cursor, h2_inode_blocks(dir), &where, h2_inode_tree_kind(dir), &dir->u.root,
		       hash, hash | H2_KEY_COLLISION);
	while ((err = h2_cursor_next(&cursor, &ref)) != 1) {
		if (!err && surely_differs(&ref, name, len))
			continue;
		if (!err)
			err = read_entry(dir, &ref, &found);
		if (!err && found.name_len == len && memcmp(found.name, name, len) == 0)
			break;
		if (err && !damage)
			damage = err;
	}
	h2_cursor_fini(&cursor);
	h2_tree_unlock(dir);
	if (err == 1)
		return damage ? damage : -ENOENT;
	if (ent)
		*ent = found;
	return 0;
}

int h2_dir_lookup(struct h2_inode *dir, const char *name, size_t len, struct h2_dirent *ent)
{
	int err;

	h2_fs_enter(h2_inode_fs(dir));
	h2_inode_lock_read(dir);
	err = h2_dir_find(dir, name, len, ent);
	h2_inode_unlock_read(dir);
	h2_fs_leave(h2_inode_fs(dir));
	return err;
}

int h2_dir_is_empty(struct h2_inode *dir)
{
	struct h2_where where = h2_where_inode(dir->pfs, dir->meta.inum);
	struct h2_blockref ref;
	int err;

	h2_tree_lock_read(dir);
	err = h2_tree_first(h2_inode_blocks(dir), &where, h2_inode_tree_kind(dir), &dir->u.root,
			    H2_KEY_VISIBLE, UINT64_MAX, &ref, NULL);
	h2_tree_unlock(dir);
	return err == 1 ? 1 : err < 0 ? err : 0;
}

static bool leads_to(struct h2_inode *dir, const struct h2_blockref *ref, uint64_t inum, int *err)
{
	struct h2_dirent ent;

	if (ref->type == H2_BLOCKREF_DIRENT)
		return ref->dirent_inum == inum;
	*err = read_entry(dir, ref, &ent);
	return !*err && ent.inum == inum;
}

int h2_dir_leads_to(struct h2_inode *dir, uint64_t inum)
{
	struct h2_where where = h2_where_inode(dir->pfs, dir->meta.inum);
	struct h2_cursor cursor;
	struct h2_blockref ref;
	bool found = false;
	int err, damage = 0;

	h2_tree_lock_read(dir);
	h2_cursor_init(&cursor, h2_inode_blocks(dir), &where, h2_inode_tree_kind(dir), &dir->u.root,
		       H2_KEY_VISIBLE, UINT64_MAX);
	while (!found && (err = h2_cursor_next(&cursor, &ref)) != 1) {
		if (!err)
			found = leads_to(dir, &ref, inum, &err);
		if (err && !damage)
			damage = err;
	}
	h2_cursor_fini(&cursor);
	h2_tree_unlock(dir);
	return found ? 1 : damage;
}

int h2_dirent_find(struct h2_inode *dir, const struct h2_dirent *ent, struct h2_inode **inodep)
{
	struct h2_where where = h2_where_inode(dir->pfs, dir->meta.inum);
	struct h2_blockref ref = {.type = H2_BLOCKREF_DIRENT, .key = ent->key};
	int err = h2_inode_find(dir->pfs, ent->inum, inodep);

	if (err != -ENOENT)
		return err;
	return h2_block_report(h2_inode_blocks(dir), &where, &ref, "name-dangling",
			       &(struct h2_problem){
				       .member = "inum",
				       .expected = "the number of an inode that exists",
				       .found = ent->inum,
			       });
}

/* Whether the name still leads to where the entry says. */
static bool is_current(struct h2_inode *dir, const struct h2_dirent *ent)
{
	struct h2_dirent now;

	return h2_dir_find(dir, ent->name, ent->name_len, &now) == 0 && now.inum == ent->inum;
}

int h2_dirent_get(struct h2_inode *dir, const struct h2_dirent *ent, struct h2_inode **inodep)
{
	int err;

	h2_fs_enter(h2_inode_fs(dir));
	err = h2_inode_find(dir->pfs, ent->inum, inodep);
	if (err == -ENOENT) {
		/* Removed since the entry was read, or damage? */
		h2_inode_lock_read(dir);
		if (is_current(dir, ent))
			err = h2_dirent_find(dir, ent, inodep);
		h2_inode_unlock_read(dir);
	}
	h2_fs_leave(h2_inode_fs(dir));
	return err;
}

/* ---- scans ---- */

/*
 * Entries are fetched in batches: between two of them a directory may change, so each one seeks
 * its key anew. A batch is a snapshot; names of it that are removed meanwhile may still be
 * returned, as POSIX allows.
 */
#define BATCH 32u

struct h2_dir_scan {
	struct h2_inode *dir;
	uint64_t next; /* key to go on with */
	bool end;      /* nothing follows the batch */
	unsigned count, index;
	struct {
		int err;
		struct h2_dirent ent;
	} batch[BATCH];
};

int h2_dir_scan_new(struct h2_inode *dir, uint64_t from, struct h2_dir_scan **scanp)
{
	struct h2_dir_scan *scan;

	if (dir->meta.type != H2_OBJECT_DIRECTORY)
		return -ENOTDIR;
	scan = malloc(sizeof(*scan));
	if (!scan)
		return -ENOMEM;
	if ((from & ~H2_KEY_VISIBLE) == 0)
		atomic_store(&dir->listed, 0);
	scan->dir = dir;
	scan->next = from | H2_KEY_VISIBLE;
	scan->end = false;
	scan->count = scan->index = 0;
	h2_cache_ref(h2_inode_blocks(dir)->cache, &dir->cached);
	*scanp = scan;
	return 0;
}

void h2_dir_scan_free(struct h2_dir_scan *scan)
{
	if (!scan)
		return;
	h2_inode_put(scan->dir);
	free(scan);
}

static void fill_batch(struct h2_dir_scan *scan)
{
	struct h2_inode *dir = scan->dir;
	struct h2_where where = h2_where_inode(dir->pfs, dir->meta.inum);
	struct h2_cursor cursor;

	scan->count = scan->index = 0;
	h2_fs_enter(h2_inode_fs(dir));
	h2_inode_lock_read(dir);
	h2_tree_lock_read(dir);
	h2_cursor_init(&cursor, h2_inode_blocks(dir), &where, h2_inode_tree_kind(dir), &dir->u.root,
		       scan->next, UINT64_MAX);
	while (scan->count < BATCH) {
		struct h2_blockref ref;
		int err = h2_cursor_next(&cursor, &ref);

		if (err == 1) {
			scan->end = true;
			break;
		}
		scan->next = cursor.last + 1;
		if (!err)
			err = read_entry(dir, &ref, &scan->batch[scan->count].ent);
		scan->batch[scan->count++].err = err;
		if (cursor.last == UINT64_MAX) {
			scan->end = true;
			break;
		}
	}
	h2_cursor_fini(&cursor);
	h2_tree_unlock(dir);
	h2_inode_unlock_read(dir);
	h2_fs_leave(h2_inode_fs(dir));
}

int h2_dir_scan_next(struct h2_dir_scan *scan, struct h2_dirent *ent)
{
	if (scan->index == scan->count) {
		if (scan->end)
			return 1;
		fill_batch(scan);
		if (scan->count == 0)
			return 1;
	}
	*ent = scan->batch[scan->index].ent;
	return scan->batch[scan->index++].err;
}

uint64_t h2_dir_parent(struct h2_inode *dir)
{
	uint64_t parent;

	if (dir->meta.inum == H2_INUM_ROOT)
		return H2_INUM_ROOT;
	h2_fs_enter(h2_inode_fs(dir));
	h2_inode_lock_read(dir);
	parent = dir->meta.iparent;
	h2_inode_unlock_read(dir);
	h2_fs_leave(h2_inode_fs(dir));
	return parent;
}
