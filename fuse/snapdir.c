/*
 * See snapdir.h. A snapshot is opened for each request, and not kept open: it could not be removed
 * otherwise while the kernel remembers anything of it. In a filesystem that is open for reading only
 * nothing can be removed, and an inode needs its PFS: there it is kept.
 */
#include "snapdir.h"

#include <errno.h>
#include <hammer2/change.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

struct slot { /* a snapshot in one state */
	struct h2_uuid fsid;
	uint64_t modify_tid; /* of its root's blockref */
	char *label;         /* by which it was found last */
	struct h2_pfs *pfs;  /* NULL: not kept open */
};

struct snapdir {
	/* constant */
	struct h2_fs *fs;
	char *name;
	int64_t time;
	uint32_t generation;
	bool keep_open;

	pthread_mutex_t lock; /* nothing is called under it */
	/* under lock */
	struct slot *slots; /* number n is slots[n - 1] */
	unsigned count, room;
};

struct snapdir *snapdir_new(struct h2_fs *fs, const char *name)
{
	struct snapdir *dir = calloc(1, sizeof(*dir));

	if (!dir)
		return NULL;
	pthread_mutex_init(&dir->lock, NULL);
	dir->fs = fs;
	dir->time = (int64_t)time(NULL);
	if (getrandom(&dir->generation, sizeof(dir->generation), 0) != sizeof(dir->generation))
		dir->generation = (uint32_t)dir->time;
	dir->generation |= 1;
	dir->keep_open = h2_fs_write_state(fs) == -EROFS;
	dir->name = strdup(name);
	if (!dir->name) {
		snapdir_free(dir);
		return NULL;
	}
	return dir;
}

void snapdir_free(struct snapdir *dir)
{
	if (!dir)
		return;
	for (unsigned i = 0; i < dir->count; i++) {
		h2_pfs_put(dir->slots[i].pfs);
		free(dir->slots[i].label);
	}
	free(dir->slots);
	pthread_mutex_destroy(&dir->lock);
	free(dir->name);
	free(dir);
}

const char *snapdir_name(const struct snapdir *dir)
{
	return dir->name;
}

int64_t snapdir_time(const struct snapdir *dir)
{
	return dir->time;
}

uint32_t snapdir_generation(const struct snapdir *dir)
{
	return dir->generation;
}

static bool is_snapshot(const struct h2_pfs_info *info)
{
	return info->meta.pfs_subtype == H2_PFS_SUBTYPE_SNAPSHOT && !strchr(info->label, '/') &&
	       strcmp(info->label, ".") != 0 && strcmp(info->label, "..") != 0;
}

/* Under the lock. */
static struct slot *find_slot(struct snapdir *dir, const struct h2_pfs_info *info)
{
	for (unsigned i = dir->count; i-- > 0;) {
		struct slot *slot = &dir->slots[i];

		if (slot->modify_tid == info->ref.modify_tid &&
		    memcmp(&slot->fsid, &info->meta.pfs_fsid, sizeof(slot->fsid)) == 0)
			return slot;
	}
	return NULL;
}

/* Under the lock. */
static int add_slot(struct snapdir *dir, const struct h2_pfs_info *info, struct slot **slotp)
{
	if (dir->count == SNAPDIR_SLOTS_MAX)
		return -EMFILE;
	if (dir->count == dir->room) {
		unsigned room = dir->room ? 2 * dir->room : 16;
		struct slot *slots = realloc(dir->slots, room * sizeof(*slots));

		if (!slots)
			return -ENOMEM;
		dir->slots = slots;
		dir->room = room;
	}
	*slotp = &dir->slots[dir->count++];
	**slotp = (struct slot){.fsid = info->meta.pfs_fsid, .modify_tid = info->ref.modify_tid};
	return 0;
}

/* What the nodes of this snapshot have. */
static int base_of(struct snapdir *dir, const struct h2_pfs_info *info, uint64_t *base)
{
	struct slot *slot;
	char *label = NULL;
	int err = 0;

	pthread_mutex_lock(&dir->lock);
	slot = find_slot(dir, info);
	if (!slot)
		err = add_slot(dir, info, &slot);
	if (!err && (!slot->label || strcmp(slot->label, info->label) != 0)) {
		label = strdup(info->label);
		if (label) {
			free(slot->label);
			slot->label = label;
		} else {
			err = -ENOMEM;
		}
	}
	if (!err)
		*base = (uint64_t)(slot - dir->slots + 1) << SNAPDIR_INUM_BITS;
	pthread_mutex_unlock(&dir->lock);
	return err;
}

int snapdir_next(struct snapdir *dir, uint64_t key, struct h2_pfs_info *info, uint64_t *node)
{
	int err;

	while ((err = h2_pfs_next(dir->fs, key, info)) != 1) {
		if (err == 0 && is_snapshot(info)) {
			err = base_of(dir, info, node);
			*node |= H2_INUM_ROOT;
			return err;
		}
		if (err == -ENOMEM)
			return err;
		key = info->key + 1;
		if (key == 0)
			return 1;
	}
	return 1;
}

int snapdir_find(struct snapdir *dir, const char *label, uint64_t *base, struct h2_inode **root)
{
	struct h2_pfs_info info;
	struct h2_pfs *pfs;
	int err = h2_pfs_open(dir->fs, label, &pfs);

	if (err)
		return err;
	/* As it is now; the PFS's own facts are those of opening. */
	err = h2_pfs_next(dir->fs, h2_pfs_get_info(pfs)->key, &info);
	if (!err && (strcmp(info.label, label) != 0 || !is_snapshot(&info)))
		err = 1;
	if (!err)
		err = base_of(dir, &info, base);
	if (!err)
		err = snapdir_get(dir, *base | H2_INUM_ROOT, root);
	h2_pfs_put(pfs);
	return err == 1 || err == -ESTALE ? -ENOENT : err;
}

/* Open the snapshot of a slot, if it is still the same. */
static int open_slot(struct snapdir *dir, unsigned number, struct h2_pfs **pfsp)
{
	struct h2_uuid fsid = {{0}};
	char label[H2_NAME_MAX + 1] = "";
	bool known;
	int err;

	pthread_mutex_lock(&dir->lock);
	known = number > 0 && number <= dir->count;
	if (known) {
		fsid = dir->slots[number - 1].fsid;
		strcpy(label, dir->slots[number - 1].label);
	}
	pthread_mutex_unlock(&dir->lock);
	err = known ? h2_pfs_open(dir->fs, label, pfsp) : -ENOENT;
	if (err)
		return err == -ENOENT ? -ESTALE : err;
	if (memcmp(&h2_pfs_get_info(*pfsp)->meta.pfs_fsid, &fsid, sizeof(fsid)) != 0) {
		h2_pfs_put(*pfsp);
		return -ESTALE;
	}
	return 0;
}

/* Give a PFS back, or keep it open by its slot. */
static void put_slot(struct snapdir *dir, unsigned number, struct h2_pfs *pfs)
{
	if (dir->keep_open) {
		pthread_mutex_lock(&dir->lock);
		if (!dir->slots[number - 1].pfs) {
			dir->slots[number - 1].pfs = pfs;
			pfs = NULL;
		}
		pthread_mutex_unlock(&dir->lock);
	}
	h2_pfs_put(pfs);
}

int snapdir_get(struct snapdir *dir, uint64_t node, struct h2_inode **inodep)
{
	unsigned number = (unsigned)(node >> SNAPDIR_INUM_BITS);
	struct h2_pfs *pfs;
	int err = open_slot(dir, number, &pfs);

	if (err)
		return err;
	err = h2_inode_get(pfs, node & SNAPDIR_INUM_MAX, inodep);
	put_slot(dir, number, pfs);
	return err == -ENOENT ? -ESTALE : err;
}
