/* Paths: following one to an inode, and finding the one that leads to it. */
#include <string.h>

#include "fs_impl.h"

#define PATH_STEPS_MAX 4096u /* how deep a path we follow upward; iparent is not to be trusted */

/* The name in dir that leads to inum. */
static int find_name(struct h2_pfs *pfs, uint64_t dir_inum, uint64_t inum, struct h2_dirent *ent)
{
	struct h2_dir_scan *scan;
	struct h2_inode *dir;
	int err, damage = 0;

	err = h2_inode_get(pfs, dir_inum, &dir);
	if (err)
		return err;
	err = h2_dir_scan_new(dir, 0, &scan);
	h2_inode_put(dir);
	if (err)
		return err;
	while ((err = h2_dir_scan_next(scan, ent)) != 1) {
		if (!err && ent->inum == inum)
			break;
		if (err && !damage)
			damage = err;
	}
	h2_dir_scan_free(scan);
	if (err == 1)
		return damage ? damage : -ENOENT;
	return 0;
}

int h2_inode_path(struct h2_pfs *pfs, uint64_t inum, char *buf, size_t size)
{
	size_t start = size;
	struct h2_inode *inode;
	struct h2_dirent ent;
	unsigned steps = 0;
	uint64_t mark = 0; /* a number on the way: to meet it again is to go in a circle */
	int err;

	if (size < 2)
		return -ERANGE;
	buf[--start] = '\0';
	/* Built from its end: each step puts "/name" in front. */
	while (inum != H2_INUM_ROOT) {
		uint64_t parent;

		if (++steps > PATH_STEPS_MAX || inum == mark)
			return -ENOENT;
		if ((steps & (steps - 1)) == 0)
			mark = inum;
		err = h2_inode_get(pfs, inum, &inode);
		if (err)
			return err;
		parent = h2_dir_parent(inode);
		h2_inode_put(inode);
		err = find_name(pfs, parent, inum, &ent);
		if (err)
			return err == -ENOTDIR ? -ENOENT : err;
		if (ent.name_len + 1u > start)
			return -ERANGE;
		start -= ent.name_len;
		memcpy(buf + start, ent.name, ent.name_len);
		buf[--start] = '/';
		inum = parent;
	}
	if (buf[start] == '\0')
		buf[--start] = '/';
	memmove(buf, buf + start, size - start);
	return 0;
}

/* One step of a path, from *inodep, which is replaced. */
static int step(struct h2_pfs *pfs, struct h2_inode **inodep, const char *name, size_t len)
{
	struct h2_inode *dir = *inodep, *next;
	struct h2_dirent ent;
	int err;

	if (dir->meta.type != H2_OBJECT_DIRECTORY)
		return -ENOTDIR;
	if (len == 1 && name[0] == '.')
		return 0;
	if (len == 2 && name[0] == '.' && name[1] == '.') {
		err = h2_inode_get(pfs, h2_dir_parent(dir), &next);
	} else {
		err = h2_dir_lookup(dir, name, len, &ent);
		if (!err)
			err = h2_dirent_get(dir, &ent, &next);
	}
	if (err)
		return err;
	h2_inode_put(dir);
	*inodep = next;
	return 0;
}

int h2_path_lookup(struct h2_pfs *pfs, const char *path, struct h2_inode **inodep)
{
	struct h2_inode *inode;
	int err = h2_inode_get(pfs, H2_INUM_ROOT, &inode);

	if (err)
		return err;
	while (*path) {
		size_t len = strcspn(path, "/");

		if (len > 0)
			err = step(pfs, &inode, path, len);
		path += len;
		/* "file/" is as wrong as "file/name". */
		if (!err && *path == '/' && inode->meta.type != H2_OBJECT_DIRECTORY)
			err = -ENOTDIR;
		if (err) {
			h2_inode_put(inode);
			return err;
		}
		path += *path == '/';
	}
	*inodep = inode;
	return 0;
}
