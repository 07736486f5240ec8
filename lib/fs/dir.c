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
static int take_name(struct h2_inode *dir, const struct h2_blockref *ref, const uint8_t *name,
		     size_t len, struct h2_dirent *ent)
{
	struct h2_where where = h2_where_inode(dir->pfs, dir->meta.inum);

	if (!h2_name_valid(name, len))
		return h2_block_report(h2_inode_blocks(dir), &where, ref, "bad-name",
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

static int read_dirent(struct h2_inode *dir, const struct h2_blockref *ref, struct h2_dirent *ent)
{
	struct h2_where where = h2_where_inode(dir->pfs, dir->meta.inum);
	uint8_t block[H2_BLOCK_MIN];
	const uint8_t *name = ref->check;
	int err;

	if (h2_blockref_radix(ref) != 0) {
		err = h2_block_read(h2_inode_blocks(dir), &where, ref, block);
		if (err)
			return err;
		name = block;
	}
	ent->inum = ref->dirent_inum;
	ent->type = ref->dirent_type;
	return take_name(dir, ref, name, ref->dirent_namlen, ent);
}

static int read_legacy(struct h2_inode *dir, const struct h2_blockref *ref, struct h2_dirent *ent)
{
	struct h2_where where = h2_where_inode(dir->pfs, dir->meta.inum);
	struct h2_inode_meta meta;
	struct h2d_inode d;
	int err = h2_inode_load(h2_inode_blocks(dir), &where, ref, H2_PLACE_LEGACY, &d, &meta);

	if (err)
		return err;
	ent->inum = meta.inum;
	ent->type = meta.type;
	err = take_name(dir, ref, meta.filename, meta.name_len, ent);
	return err ? err : h2_legacy_add(dir->pfs, meta.inum, ref);
}

static int read_entry(struct h2_inode *dir, const struct h2_blockref *ref, struct h2_dirent *ent)
{
	return ref->type == H2_BLOCKREF_INODE ? read_legacy(dir, ref, ent)
					      : read_dirent(dir, ref, ent);
}

/* Without reading a name block: whether the entry cannot be the name looked for. */
static bool surely_differs(const struct h2_blockref *ref, const char *name, size_t len)
{
	if (ref->type != H2_BLOCKREF_DIRENT)
		return false;
	return ref->dirent_namlen != len ||
	       (h2_blockref_radix(ref) == 0 && memcmp(ref->check, name, len) != 0);
}

int h2_dir_lookup(struct h2_inode *dir, const char *name, size_t len, struct h2_dirent *ent)
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
	if (err == 1)
		return damage ? damage : -ENOENT;
	if (ent)
		*ent = found;
	return 0;
}

int h2_dirent_get(struct h2_inode *dir, const struct h2_dirent *ent, struct h2_inode **inodep)
{
	struct h2_where where = h2_where_inode(dir->pfs, dir->meta.inum);
	struct h2_blockref ref = {.type = H2_BLOCKREF_DIRENT, .key = ent->key};
	int err = h2_inode_get(dir->pfs, ent->inum, inodep);

	if (err != -ENOENT)
		return err;
	return h2_block_report(h2_inode_blocks(dir), &where, &ref, "name-dangling",
			       &(struct h2_problem){
				       .member = "inum",
				       .expected = "the number of an inode that exists",
				       .found = ent->inum,
			       });
}

struct h2_dir_scan {
	struct h2_inode *dir;
	struct h2_cursor cursor;
};

int h2_dir_scan_new(struct h2_inode *dir, uint64_t from, struct h2_dir_scan **scanp)
{
	struct h2_where where = h2_where_inode(dir->pfs, dir->meta.inum);
	struct h2_dir_scan *scan;

	if (dir->meta.type != H2_OBJECT_DIRECTORY)
		return -ENOTDIR;
	scan = malloc(sizeof(*scan));
	if (!scan)
		return -ENOMEM;
	scan->dir = dir;
	h2_cache_ref(dir->pfs->fs->blocks.cache, &dir->cached);
	h2_cursor_init(&scan->cursor, h2_inode_blocks(dir), &where, h2_inode_tree_kind(dir),
		       &dir->u.root, from | H2_KEY_VISIBLE, UINT64_MAX);
	*scanp = scan;
	return 0;
}

void h2_dir_scan_free(struct h2_dir_scan *scan)
{
	if (!scan)
		return;
	h2_cursor_fini(&scan->cursor);
	h2_inode_put(scan->dir);
	free(scan);
}

int h2_dir_scan_next(struct h2_dir_scan *scan, struct h2_dirent *ent)
{
	struct h2_blockref ref;
	int err = h2_cursor_next(&scan->cursor, &ref);

	return err ? err : read_entry(scan->dir, &ref, ent);
}

uint64_t h2_dir_parent(const struct h2_inode *dir)
{
	return dir->meta.inum == H2_INUM_ROOT ? H2_INUM_ROOT : dir->meta.iparent;
}
