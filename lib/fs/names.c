/*
 * Changing names: creating, linking, removing, renaming. BS 3.
 *
 * pfs->names_lock is held throughout, so that what was found stays true while further inodes are
 * locked; only its holder ever locks more than one. What can fail is done first: once the first
 * entry has changed, nothing fails any more.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "check.h"
#include "fs_impl.h"

#define UFLAGS_FIXED 0x00060006u /* immutable, append-only */
#define UFLAGS_IMMUTABLE 0x00020002u
#define UFLAGS_NOUNLINK 0x00100010u
#define PARENTS_MAX 1000000u /* how far up we look; iparent is not to be trusted */
#define OVERHEAD_BYTES (UINT64_C(128) << 10)

static const struct h2_txn_need names_need = {.bytes = OVERHEAD_BYTES};

/* ---- beginning and ending ---- */

static int begin(struct h2_pfs *pfs, bool removes)
{
	int err = pfs->fs->txn ? h2_txn_begin(pfs->fs->txn, &names_need, removes) : -EROFS;

	if (!err)
		h2_mutex_lock(&pfs->names_lock);
	return err;
}

static void end(struct h2_pfs *pfs)
{
	h2_mutex_unlock(&pfs->names_lock);
	h2_txn_end(pfs->fs->txn, &names_need);
	h2_buffers_throttle(pfs->fs);
}

static void lock(struct h2_inode *inode)
{
	h2_rwlock_write(&inode->lock);
}

static void unlock(struct h2_inode *inode)
{
	h2_rwlock_unlock(&inode->lock);
}

/* Whether names can be added to the directory; its lock is held. */
static int check_dir(struct h2_inode *dir)
{
	if (dir->meta.type != H2_OBJECT_DIRECTORY)
		return -ENOTDIR;
	if (dir->gone)
		return -ENOENT;
	if (dir->meta.uflags & UFLAGS_IMMUTABLE)
		return -EPERM;
	return h2_inode_prepare(dir);
}

/* Whether names can be taken away from it. */
static int check_dir_removal(struct h2_inode *dir)
{
	int err = check_dir(dir);

	return !err && dir->meta.uflags & UFLAGS_FIXED ? -EPERM : err;
}

static int check_new_name(const char *name, size_t len)
{
	if (len > H2_NAME_MAX)
		return -ENAMETOOLONG;
	return h2_name_valid((const uint8_t *)name, len) ? 0 : -EINVAL;
}

static bool is_dir(const struct h2_inode *inode)
{
	return inode->meta.type == H2_OBJECT_DIRECTORY;
}

static void touch_dir(struct h2_inode *dir)
{
	dir->meta.mtime = dir->meta.ctime = h2_now_us(h2_inode_fs(dir));
	h2_inode_dirty(dir);
}

/* ---- entries ---- */

/* An unused key for a name, MF 7.4. */
static int choose_key(struct h2_inode *dir, const char *name, size_t len, uint64_t *keyp)
{
	struct h2_where where = h2_where_inode(dir->pfs, dir->meta.inum);
	uint64_t hash = h2_name_hash(name, len), last = hash | H2_KEY_COLLISION;
	struct h2_cursor cursor;
	struct h2_blockref ref;
	int err;

	*keyp = hash;
	h2_tree_lock_read(dir);
	h2_cursor_init(&cursor, h2_inode_blocks(dir), &where, h2_inode_tree_kind(dir), &dir->u.root,
		       hash, last);
	while ((err = h2_cursor_next(&cursor, &ref)) == 0 && ref.key == *keyp)
		++*keyp;
	h2_cursor_fini(&cursor);
	h2_tree_unlock(dir);
	if (err < 0)
		return err;
	/* Behind the last key of all comes 0. */
	return *keyp > last || *keyp < hash ? -ENOSPC : 0;
}

/* Fill the entry's name in; a long one goes to a block of its own (MF 7.1). */
static int set_name(struct h2_inode *dir, struct h2_blockref *ref, const char *name, size_t len)
{
	struct h2_fs *fs = h2_inode_fs(dir);
	uint8_t block[H2_BLOCK_MIN] = {0};
	int err;

	ref->dirent_namlen = (uint16_t)len;
	ref->data_off = 0;
	memset(ref->check, 0, sizeof(ref->check));
	if (len <= H2_NAME_INLINE_MAX) {
		memcpy(ref->check, name, len);
		return 0;
	}
	memcpy(block, name, len);
	err = h2_space_alloc(fs->space, H2_BLOCKREF_DIRENT, 10, &ref->data_off);
	if (err)
		return err;
	err = h2_check_set(ref, block, sizeof(block));
	if (!err)
		err = h2_volumes_write(fs->volumes, h2_blockref_offset(ref), block, sizeof(block));
	if (err)
		h2_fs_drop(fs, ref);
	return err;
}

static struct h2_blockref new_entry(const struct h2_inode *dir, uint64_t key, uint64_t inum,
				    unsigned type)
{
	unsigned check = h2_metadata_check((unsigned)dir->meta.check_algo << 4);

	return (struct h2_blockref){
		.type = H2_BLOCKREF_DIRENT,
		.methods = (uint8_t)(check << 4 | (dir->meta.comp_algo & 15)),
		.key = key,
		.mirror_tid = h2_txn_tid(h2_inode_fs(dir)->txn),
		.modify_tid = dir->pfs->modify_tid,
		.dirent_inum = inum,
		.dirent_type = (uint8_t)type,
	};
}

static int add_name(struct h2_inode *dir, const char *name, size_t len, uint64_t inum,
		    unsigned type)
{
	struct h2_tree_change change = h2_inode_change(dir);
	struct h2_blockref ref;
	uint64_t key;
	int err = choose_key(dir, name, len, &key);

	if (err)
		return err;
	ref = new_entry(dir, key, inum, type);
	err = set_name(dir, &ref, name, len);
	if (err)
		return err;
	h2_tree_lock_write(dir);
	err = h2_tree_insert(&change, &dir->u.root, &ref);
	h2_tree_unlock(dir);
	if (err)
		h2_fs_drop(h2_inode_fs(dir), &ref);
	return err;
}

/* Make sure that remove_name() and redirect_name() cannot fail. */
static int prepare_name(struct h2_inode *dir, uint64_t key)
{
	struct h2_tree_change change = h2_inode_change(dir);
	int err;

	h2_tree_lock_write(dir);
	err = h2_tree_touch(&change, &dir->u.root, key);
	h2_tree_unlock(dir);
	return err;
}

static int remove_name(struct h2_inode *dir, uint64_t key)
{
	struct h2_tree_change change = h2_inode_change(dir);
	struct h2_blockref old;
	int err;

	h2_tree_lock_write(dir);
	err = h2_tree_remove(&change, &dir->u.root, key, &old);
	h2_tree_unlock(dir);
	if (!err)
		h2_fs_drop(h2_inode_fs(dir), &old);
	return err;
}

/* Let an existing name lead to another inode. */
static int redirect_name(struct h2_inode *dir, uint64_t key, uint64_t inum, unsigned type)
{
	struct h2_where where = h2_where_inode(dir->pfs, dir->meta.inum);
	struct h2_tree_change change = h2_inode_change(dir);
	struct h2_blockref ref, old;
	int err;

	h2_tree_lock_write(dir);
	err = h2_tree_first(h2_inode_blocks(dir), &where, h2_inode_tree_kind(dir), &dir->u.root,
			    key, key, &ref, NULL);
	if (!err) {
		ref.dirent_inum = inum;
		ref.dirent_type = (uint8_t)type;
		ref.mirror_tid = h2_txn_tid(h2_inode_fs(dir)->txn);
		ref.modify_tid = dir->pfs->modify_tid;
		err = h2_tree_set(&change, &dir->u.root, &ref, &old);
	}
	h2_tree_unlock(dir);
	return err == 1 ? -ENOENT : err;
}

/* ---- creating ---- */

static bool type_known(unsigned type)
{
	switch (type) {
	case H2_OBJECT_DIRECTORY:
	case H2_OBJECT_FILE:
	case H2_OBJECT_FIFO:
	case H2_OBJECT_CHAR_DEVICE:
	case H2_OBJECT_BLOCK_DEVICE:
	case H2_OBJECT_SYMLINK:
	case H2_OBJECT_SOCKET:
		return true;
	default:
		return false;
	}
}

static int check_new(const struct h2_new *n)
{
	if (!type_known(n->type))
		return -EINVAL;
	if (n->type != H2_OBJECT_SYMLINK)
		return 0;
	if (n->target_len == 0 || memchr(n->target, '\0', n->target_len))
		return -EINVAL;
	return n->target_len < H2_SYMLINK_MAX ? 0 : -ENAMETOOLONG;
}

/* The next number that no inode has, MF 11.5. */
static int next_inum(struct h2_pfs *pfs, uint64_t *inum)
{
	for (;;) {
		struct h2_where where = h2_where_inode(pfs, pfs->next_inum);
		struct h2_blockref ref;
		int err;

		if (pfs->next_inum & H2_KEY_VISIBLE)
			return -ENOSPC;
		h2_tree_lock_read(pfs->root);
		err = h2_tree_first(&pfs->fs->blocks, &where, H2_TREE_PFS_ROOT, &pfs->root->u.root,
				    pfs->next_inum, pfs->next_inum, &ref, NULL);
		h2_tree_unlock(pfs->root);
		if (err < 0)
			return err;
		*inum = pfs->next_inum++;
		if (err == 1)
			return 0;
	}
}

static int check_inode_quota(const struct h2_pfs *pfs)
{
	const struct h2_inode *root = pfs->root;
	uint64_t used = root->ref.inode_count + atomic_load(&pfs->fs->dirty_inodes);

	return root->meta.inode_quota && used >= root->meta.inode_quota ? -EDQUOT : 0;
}

/* MF 6, BS 3.4. The new inode is locked and has a reference. */
static int make_inode(struct h2_inode *dir, const struct h2_new *n, struct h2_inode **inodep)
{
	unsigned check = h2_metadata_check((unsigned)dir->meta.check_algo << 4);
	uint64_t now = h2_now_us(h2_inode_fs(dir));
	struct h2_inode_meta m = {
		.version = 1,
		.rmajor = n->rmajor,
		.rminor = n->rminor,
		.ctime = now,
		.mtime = now,
		.atime = now,
		.btime = now,
		.uid = n->uid,
		.gid = n->gid,
		.type = n->type,
		.mode = n->mode & 07777,
		.nlinks = 1,
		.iparent = dir->meta.inum,
		.comp_algo = n->comp_algo == H2_INHERIT ? dir->meta.comp_algo
							: (uint8_t)n->comp_algo,
		.check_algo = n->check_algo == H2_INHERIT ? dir->meta.check_algo
							  : (uint8_t)n->check_algo,
	};
	int err = check_inode_quota(dir->pfs);

	if (err)
		return err;
	err = next_inum(dir->pfs, &m.inum);
	if (err)
		return err;
	m.name_key = m.inum;
	m.name_len = (uint16_t)snprintf((char *)m.filename, sizeof(m.filename), "0x%016" PRIx64,
					m.inum);
	if (n->type == H2_OBJECT_FILE || n->type == H2_OBJECT_SYMLINK)
		m.op_flags = H2_INODE_DIRECTDATA;
	if (dir->meta.mode & S_ISGID) {
		m.gid = dir->meta.gid;
		if (n->type == H2_OBJECT_DIRECTORY)
			m.mode |= S_ISGID;
	}
	*inodep = h2_inode_make(dir->pfs, &m, check << 4 | (dir->meta.comp_algo & 15));
	if (!*inodep)
		return -ENOMEM;
	lock(*inodep);
	err = h2_inode_prepare(*inodep);
	if (err)
		return err;
	if (n->type == H2_OBJECT_SYMLINK) {
		ssize_t len = h2_file_write_locked(*inodep, 0, n->target, n->target_len);

		if (len >= 0 && (size_t)len < n->target_len)
			len = -ENOMEM;
		err = len < 0 ? (int)len : 0;
	}
	return err;
}

/* A new inode that came to nothing. */
static void abandon(struct h2_inode *inode)
{
	h2_buffer_discard_range(inode, 0, UINT64_MAX);
	inode->gone = true;
	inode->reaped = true;
	unlock(inode);
	h2_inode_put(inode);
}

static int create_locked(struct h2_inode *dir, const char *name, size_t len, const struct h2_new *n,
			 struct h2_inode **inodep)
{
	struct h2_inode *inode = NULL;
	int err = check_dir(dir);

	if (!err)
		err = h2_dir_find(dir, name, len, NULL);
	if (err != -ENOENT || dir->gone)
		return err ? err : -EEXIST;
	err = make_inode(dir, n, &inode);
	if (!err)
		err = add_name(dir, name, len, inode->meta.inum, n->type);
	if (err) {
		if (inode)
			abandon(inode);
		return err;
	}
	h2_inode_dirty(inode);
	unlock(inode);
	touch_dir(dir);
	if (inodep)
		*inodep = inode;
	else
		h2_inode_put(inode);
	return 0;
}

static int try_create(struct h2_inode *dir, const char *name, size_t len, const struct h2_new *new_,
		      struct h2_inode **inodep)
{
	int err = check_new_name(name, len);

	if (!err)
		err = check_new(new_);
	if (!err)
		err = begin(dir->pfs, false);
	if (err)
		return err;
	lock(dir);
	err = create_locked(dir, name, len, new_, inodep);
	unlock(dir);
	end(dir->pfs);
	return err;
}

int h2_create(struct h2_inode *dir, const char *name, size_t len, const struct h2_new *new_,
	      struct h2_inode **inodep)
{
	int err = try_create(dir, name, len, new_, inodep);

	if (err == -EDQUOT && h2_fs_count_again(h2_inode_fs(dir)))
		err = try_create(dir, name, len, new_, inodep);
	return err;
}

int h2_create_unnamed(struct h2_inode *dir, const struct h2_new *new_, struct h2_inode **inodep)
{
	struct h2_inode *inode = NULL;
	int err = check_new(new_);

	if (!err)
		err = begin(dir->pfs, false);
	if (err)
		return err;
	lock(dir);
	err = check_dir(dir);
	if (!err)
		err = make_inode(dir, new_, &inode);
	if (err && inode) {
		abandon(inode);
	} else if (!err) {
		inode->meta.nlinks = 0;
		inode->gone = true;
		inode->unnamed = true;
		h2_inode_dirty(inode);
		unlock(inode);
		*inodep = inode;
	}
	unlock(dir);
	end(dir->pfs);
	return err;
}

/* ---- linking ---- */

static int link_locked(struct h2_inode *dir, const char *name, size_t len, struct h2_inode *inode)
{
	int err = check_dir(dir);

	if (err)
		return err;
	err = h2_inode_prepare(inode);
	if (err)
		return err;
	err = h2_dir_find(dir, name, len, NULL);
	if (err != -ENOENT)
		return err ? err : -EEXIST;
	if (inode->gone && !inode->unnamed)
		return -ENOENT;
	if (inode->meta.uflags & UFLAGS_FIXED)
		return -EPERM;
	if (inode->meta.nlinks >= H2_LINKS_MAX)
		return -EMLINK;
	err = add_name(dir, name, len, inode->meta.inum, inode->meta.type);
	if (err)
		return err;
	/* A count that is too low on the media is one at least: it has a name. */
	if (!inode->gone && inode->meta.nlinks == 0)
		inode->meta.nlinks = 1;
	inode->gone = false;
	inode->unnamed = false;
	inode->meta.nlinks++;
	inode->meta.ctime = h2_now_us(h2_inode_fs(inode));
	h2_inode_dirty(inode);
	touch_dir(dir);
	return 0;
}

int h2_link(struct h2_inode *dir, const char *name, size_t len, struct h2_inode *inode)
{
	int err = check_new_name(name, len);

	if (err)
		return err;
	if (dir->pfs != inode->pfs)
		return -EXDEV;
	if (is_dir(inode))
		return -EPERM;
	if (!is_dir(dir))
		return -ENOTDIR;
	err = begin(dir->pfs, false);
	if (err)
		return err;
	lock(dir);
	lock(inode);
	err = link_locked(dir, name, len, inode);
	unlock(inode);
	unlock(dir);
	end(dir->pfs);
	return err;
}

/* ---- removing ---- */

/* The inode loses a name; its lock is held. Directories have one only (BS 3.6). */
static void lose_name(struct h2_inode *inode)
{
	if (is_dir(inode) || inode->meta.nlinks <= 1) {
		inode->meta.nlinks = 0;
		inode->gone = true;
	} else {
		inode->meta.nlinks--;
	}
	inode->meta.ctime = h2_now_us(h2_inode_fs(inode));
	h2_inode_dirty(inode);
}

/* Give the caller of an operation its reference to an inode that is gone, or give it back. */
static void hand_over(struct h2_inode *inode, struct h2_inode **gone)
{
	if (gone && inode && inode->gone)
		*gone = inode;
	else
		h2_inode_put(inode);
}

static int check_removal(struct h2_inode *inode, bool directory)
{
	int err = h2_inode_prepare(inode);

	if (err)
		return err;
	if (directory && !is_dir(inode))
		return -ENOTDIR;
	if (!directory && is_dir(inode))
		return -EISDIR;
	if (inode->meta.uflags & (UFLAGS_FIXED | UFLAGS_NOUNLINK))
		return -EPERM;
	if (!directory)
		return 0;
	err = h2_dir_is_empty(inode);
	return err < 0 ? err : err ? 0 : -ENOTEMPTY;
}

/* A directory that has itself as an entry is damage; to lock it once more would be the end. */
static int report_self(struct h2_inode *dir, const struct h2_dirent *ent)
{
	struct h2_where where = h2_where_inode(dir->pfs, dir->meta.inum);
	struct h2_blockref ref = {.type = H2_BLOCKREF_DIRENT, .key = ent->key};

	return h2_block_report(h2_inode_blocks(dir), &where, &ref, "dir-loop",
			       &(struct h2_problem){
				       .member = "inum",
				       .expected = "another inode than the directory itself",
				       .found = ent->inum,
			       });
}

static int remove_locked(struct h2_inode *dir, const char *name, size_t len, bool directory,
			 struct h2_inode **inodep)
{
	struct h2_inode *inode;
	struct h2_dirent ent;
	int err = check_dir_removal(dir);

	if (!err)
		err = h2_dir_find(dir, name, len, &ent);
	if (err)
		return err;
	err = h2_dirent_find(dir, &ent, &inode);
	if (err == -H2_ECORRUPT && !directory) {
		/* A name that leads nowhere can at least be taken away. */
		err = remove_name(dir, ent.key);
		if (!err)
			touch_dir(dir);
		return err;
	}
	if (!err && inode == dir) {
		h2_inode_put(inode);
		err = report_self(dir, &ent);
	}
	if (err)
		return err;
	lock(inode);
	err = check_removal(inode, directory);
	if (!err)
		err = remove_name(dir, ent.key);
	if (!err) {
		lose_name(inode);
		touch_dir(dir);
	}
	unlock(inode);
	if (err)
		h2_inode_put(inode);
	else
		*inodep = inode;
	return err;
}

static int remove_entry(struct h2_inode *dir, const char *name, size_t len, bool directory,
			struct h2_inode **gone)
{
	struct h2_inode *inode = NULL;
	int err;

	if (gone)
		*gone = NULL;
	if (!is_dir(dir))
		return -ENOTDIR;
	err = begin(dir->pfs, true);
	if (err)
		return err;
	lock(dir);
	err = remove_locked(dir, name, len, directory, &inode);
	unlock(dir);
	if (inode)
		hand_over(inode, gone);
	end(dir->pfs);
	return err;
}

int h2_unlink(struct h2_inode *dir, const char *name, size_t len, struct h2_inode **gone)
{
	return remove_entry(dir, name, len, false, gone);
}

int h2_rmdir(struct h2_inode *dir, const char *name, size_t len, struct h2_inode **gone)
{
	return remove_entry(dir, name, len, true, gone);
}

/* ---- what cannot be removed otherwise, BS 12.3 ---- */

static int destroy_name_locked(struct h2_inode *dir, const char *name, size_t len)
{
	struct h2_inode *inode;
	struct h2_dirent ent;
	int err = check_dir_removal(dir);

	if (!err)
		err = h2_dir_find(dir, name, len, &ent);
	if (err)
		return err;
	err = h2_dirent_find(dir, &ent, &inode);
	if (!err) {
		h2_inode_put(inode);
		return -EEXIST;
	}
	if (err == -ENOMEM)
		return err;
	err = remove_name(dir, ent.key);
	if (!err)
		touch_dir(dir);
	return err;
}

int h2_destroy_name(struct h2_inode *dir, const char *name, size_t len)
{
	int err;

	if (!is_dir(dir))
		return -ENOTDIR;
	err = begin(dir->pfs, true);
	if (err)
		return err;
	lock(dir);
	err = destroy_name_locked(dir, name, len);
	unlock(dir);
	end(dir->pfs);
	return err;
}

/* Take an inode that cannot be read out of the index. */
static int unindex(struct h2_pfs *pfs, uint64_t inum)
{
	struct h2_inode *root = pfs->root;
	struct h2_tree_change change = h2_inode_change(root);
	struct h2_blockref old;
	int err;

	lock(root);
	h2_tree_lock_write(root);
	err = h2_tree_remove(&change, &root->u.root, inum, &old);
	h2_tree_unlock(root);
	if (!err) {
		h2_fs_drop(pfs->fs, &old);
		h2_space_lose(pfs->fs->space, old.data_count);
		h2_inode_dirty(root);
	}
	unlock(root);
	return err;
}

static int destroy_nameless(struct h2_inode *inode)
{
	int err = h2_inode_prepare(inode);

	if (err)
		return err;
	if (inode->gone)
		return -ENOENT;
	err = is_dir(inode) ? h2_dir_is_empty(inode) : 1;
	if (err <= 0)
		return err < 0 ? err : -ENOTEMPTY;
	inode->meta.nlinks = 0;
	lose_name(inode);
	return 0;
}

/*
 * Returns 0; -EEXIST: the directory that it says it is in has a name for it; or that cannot be told for
 * now. What damage hides in that directory is no name.
 */
static int check_nameless(struct h2_inode *inode)
{
	struct h2_inode *dir;
	int err = h2_inode_find(inode->pfs, inode->meta.iparent, &dir);

	if (!err) {
		lock(dir);
		err = is_dir(dir) ? h2_dir_leads_to(dir, inode->meta.inum) : 0;
		unlock(dir);
		h2_inode_put(dir);
	}
	return err > 0 ? -EEXIST : err == -ENOMEM || err == -EIO ? err : 0;
}

int h2_destroy_inode(struct h2_pfs *pfs, uint64_t inum)
{
	struct h2_inode *inode = NULL;
	int err;

	if (inum <= H2_INUM_ROOT)
		return -EPERM;
	err = begin(pfs, true);
	if (err)
		return err;
	err = h2_inode_check_change(pfs->root);
	if (err) {
		end(pfs);
		return err;
	}
	err = h2_inode_find(pfs, inum, &inode);
	if (!err)
		err = check_nameless(inode);
	if (inode && err) {
		h2_inode_put(inode);
	} else if (!err) {
		lock(inode);
		err = destroy_nameless(inode);
		unlock(inode);
		h2_inode_put(inode);
	} else if (err != -ENOENT && err != -ENOMEM) {
		err = unindex(pfs, inum);
	}
	end(pfs);
	return err;
}

/* ---- renaming ---- */

struct rename { /* what is known of it; both directories are locked */
	struct h2_inode *from_dir, *to_dir;
	struct h2_dirent from, to;
	struct h2_inode *inode;  /* what is renamed */
	struct h2_inode *target; /* what had the new name; NULL: nothing */
	bool exchange;
};

/* Whether dir is inode or lies below it: 1, 0 or an error. */
static int is_below(struct h2_inode *dir, const struct h2_inode *inode)
{
	uint64_t inum = dir->meta.inum, parent = dir->meta.iparent;

	for (unsigned i = 0; i < PARENTS_MAX; i++) {
		struct h2_inode *up;
		int err;

		if (inum == inode->meta.inum)
			return 1;
		if (inum == H2_INUM_ROOT)
			return 0;
		inum = parent;
		err = h2_inode_find(dir->pfs, inum, &up);
		if (err)
			return err;
		/* Parents change under names_lock only, which we hold. */
		parent = up->meta.iparent;
		h2_inode_put(up);
	}
	return -H2_ECORRUPT;
}

static int check_move(const struct rename *r, struct h2_inode *inode, struct h2_inode *to_dir)
{
	int err;

	if (inode->meta.uflags & (UFLAGS_FIXED | UFLAGS_NOUNLINK))
		return -EPERM;
	if (!is_dir(inode) || r->from_dir == r->to_dir)
		return 0;
	err = is_below(to_dir, inode);
	return err > 0 ? -EINVAL : err;
}

static int check_rename(struct rename *r)
{
	int err = check_move(r, r->inode, r->to_dir);

	if (err || !r->target)
		return err;
	if (r->exchange)
		return check_move(r, r->target, r->from_dir);
	if (is_dir(r->inode) && !is_dir(r->target))
		return -ENOTDIR;
	/* Also of a directory that the old name is in: that one is not empty. */
	if (r->target == r->from_dir)
		return -ENOTEMPTY;
	lock(r->target);
	err = check_removal(r->target, is_dir(r->inode));
	unlock(r->target);
	return err;
}

static void set_parent(struct h2_inode *inode, const struct h2_inode *dir)
{
	lock(inode);
	inode->meta.iparent = dir->meta.inum;
	inode->meta.ctime = h2_now_us(h2_inode_fs(inode));
	h2_inode_dirty(inode);
	unlock(inode);
}

/* Change the entries. */
static int move_names(struct rename *r)
{
	int err = prepare_name(r->from_dir, r->from.key);

	if (!err && r->target)
		err = prepare_name(r->to_dir, r->to.key);
	if (err)
		return err;
	if (r->target)
		err = redirect_name(r->to_dir, r->to.key, r->inode->meta.inum, r->inode->meta.type);
	else
		err = add_name(r->to_dir, r->to.name, r->to.name_len, r->inode->meta.inum,
			       r->inode->meta.type);
	if (err)
		return err;
	if (r->exchange)
		return redirect_name(r->from_dir, r->from.key, r->target->meta.inum,
				     r->target->meta.type);
	return remove_name(r->from_dir, r->from.key);
}

/* h2_inode_prepare() for an inode that may be one of the directories, which are prepared. */
static int prepare_moved(const struct rename *r, struct h2_inode *inode)
{
	int err;

	if (inode == r->from_dir || inode == r->to_dir)
		return 0;
	lock(inode);
	err = h2_inode_prepare(inode);
	unlock(inode);
	return err;
}

static int rename_found(struct rename *r)
{
	int err;

	if (r->target == r->inode)
		return 0;
	err = prepare_moved(r, r->inode);
	if (!err && r->target)
		err = prepare_moved(r, r->target);
	if (!err)
		err = check_rename(r);
	if (!err)
		err = move_names(r);
	if (err)
		return err;
	set_parent(r->inode, r->to_dir);
	if (r->exchange) {
		set_parent(r->target, r->from_dir);
	} else if (r->target) {
		lock(r->target);
		lose_name(r->target);
		unlock(r->target);
	}
	touch_dir(r->from_dir);
	touch_dir(r->to_dir);
	return 0;
}

static int find_both(struct rename *r, const char *from, size_t from_len, const char *to,
		     size_t to_len, unsigned flags)
{
	int err = check_dir_removal(r->from_dir);

	if (!err)
		err = flags & H2_RENAME_EXCHANGE ? check_dir_removal(r->to_dir)
						 : check_dir(r->to_dir);
	if (!err)
		err = h2_dir_find(r->from_dir, from, from_len, &r->from);
	if (!err)
		err = h2_dirent_find(r->from_dir, &r->from, &r->inode);
	if (!err && r->inode == r->from_dir)
		err = report_self(r->from_dir, &r->from);
	if (err)
		return err;
	err = h2_dir_find(r->to_dir, to, to_len, &r->to);
	if (err == -ENOENT && !(flags & H2_RENAME_EXCHANGE)) {
		memcpy(r->to.name, to, to_len);
		r->to.name_len = (uint8_t)to_len;
		return 0;
	}
	if (!err && flags & H2_RENAME_NOREPLACE)
		err = -EEXIST;
	if (!err && !(flags & H2_RENAME_EXCHANGE))
		err = check_dir_removal(r->to_dir);
	if (!err)
		err = h2_dirent_find(r->to_dir, &r->to, &r->target);
	return !err && r->target == r->to_dir ? report_self(r->to_dir, &r->to) : err;
}

int h2_rename(struct h2_inode *from_dir, const char *from, size_t from_len, struct h2_inode *to_dir,
	      const char *to, size_t to_len, unsigned flags, struct h2_inode **gone)
{
	struct rename r = {
		.from_dir = from_dir,
		.to_dir = to_dir,
		.exchange = flags & H2_RENAME_EXCHANGE,
	};
	int err = check_new_name(to, to_len);

	if (gone)
		*gone = NULL;
	if (flags & ~(H2_RENAME_NOREPLACE | H2_RENAME_EXCHANGE) ||
	    flags == (H2_RENAME_NOREPLACE | H2_RENAME_EXCHANGE))
		return -EINVAL;
	if (from_dir->pfs != to_dir->pfs)
		return -EXDEV;
	if (!is_dir(from_dir) || !is_dir(to_dir))
		return -ENOTDIR;
	if (!err)
		err = begin(from_dir->pfs, false);
	if (err)
		return err;
	lock(from_dir);
	if (to_dir != from_dir)
		lock(to_dir);
	err = find_both(&r, from, from_len, to, to_len, flags);
	/*
	 * The inodes themselves are locked one by one where they change: a directory that is being
	 * renamed may be one of the two parents.
	 */
	if (!err)
		err = rename_found(&r);
	if (to_dir != from_dir)
		unlock(to_dir);
	unlock(from_dir);
	h2_inode_put(r.inode);
	if (r.target)
		hand_over(r.target, gone);
	end(from_dir->pfs);
	return err;
}
