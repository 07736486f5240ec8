/*
 * Making, removing, renaming, snapshotting and rolling back PFSs, BS 10: see <hammer2/pfs.h>.
 *
 * The super-root changes in commits only. Who wants a change hands it over and waits for the
 * commit, where it is made in two parts. Before the first PFS root is encoded, what the super-root
 * leads to is on the media: there all is looked up, and what is not possible is refused. When all
 * PFS roots have their places, their blocksets are what a snapshot copies.
 */
#include <hammer2/pfs.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "commit.h"
#include "pfs_change.h"

/* Three inodes, and the indirect blocks of the super-root on the way to them. */
#define CHANGE_BYTES (UINT64_C(256) << 10)

static const struct h2_where in_super_root = {.pfs = NULL, .has_inum = true};

struct root { /* of a PFS */
	struct h2_pfs *pfs; /* in memory, or NULL */
	struct h2_blockref ref;
	struct h2_inode_meta meta;
	struct h2d_inode d; /* for its blockset */
};

struct h2_pfs_change {
	enum { CREATE, DELETE, RENAME, SNAPSHOT, ROLLBACK, SHARE, ENTER } kind;
	const char *target_label; /* of the PFS that is changed, or NULL */
	const char *source_label; /* of the one that is copied, or NULL */
	const char *new_label;    /* of one that there will be, or NULL */
	struct h2_pfs_ids new_ids;
	bool may_be_open; /* the target */
	bool ids_given; /* by the caller; else they are random ones, of no other PFS */
	int err;        /* it was refused */

	struct root target, source;
	uint64_t new_key;
	uint64_t snapshot_tid; /* for pfs_lsnap_tid */
	struct h2_pfs_state *state; /* SHARE: receives it; ENTER: what the new PFS has */
};

/* ---- looking up ---- */

static struct h2_tree_change tree_change(struct h2_encoding *e);

/* The PFS with this key, if it was opened since the filesystem was. */
static struct h2_pfs *in_memory(struct h2_fs *fs, uint64_t key)
{
	struct h2_pfs *pfs = fs->pfs_list;

	while (pfs && pfs->info.key != key)
		pfs = pfs->next;
	return pfs;
}

static int load(struct h2_fs *fs, const struct h2_blockref *ref, struct root *root)
{
	root->ref = *ref;
	root->pfs = in_memory(fs, ref->key);
	return h2_inode_load(&fs->blocks, &in_super_root, ref, H2_PLACE_PFS_ROOT, &root->d,
			     &root->meta);
}

/*
 * Look for a label. Returns 0; -ENOENT, and then *free_key is one for it, unless NULL, or
 * -ENOSPC where there is none; a damage error, also where damage may hide it.
 */
static int find(struct h2_fs *fs, const char *label, struct root *root, uint64_t *free_key)
{
	size_t len = strlen(label);
	uint64_t hash = h2_name_hash(label, len), last = hash | H2_KEY_COLLISION;
	uint64_t unused = hash;
	struct h2_cursor cursor;
	struct h2_blockref ref;
	int err, damage = 0;

	h2_cursor_init(&cursor, &fs->blocks, &in_super_root, H2_TREE_SUPER_ROOT, &fs->super_root,
		       hash, last);
	while ((err = h2_cursor_next(&cursor, &ref)) != 1) {
		if (!err)
			err = load(fs, &ref, root);
		if (!err && root->meta.name_len == len &&
		    memcmp(root->meta.filename, label, len) == 0)
			break;
		if (err && !damage)
			damage = err;
		if (ref.key == unused)
			unused++;
	}
	h2_cursor_fini(&cursor);
	if (err == 0)
		return 0;
	if (damage)
		return damage;
	if (!free_key)
		return -ENOENT;
	*free_key = unused;
	return unused >= hash && unused <= last ? -ENOENT : -ENOSPC;
}

static bool is_only_one(struct h2_fs *fs)
{
	struct h2_blockref ref;
	uint64_t last;

	if (h2_tree_first(&fs->blocks, &in_super_root, H2_TREE_SUPER_ROOT, &fs->super_root, 0,
			  UINT64_MAX, &ref, &last) != 0 ||
	    last == UINT64_MAX)
		return true;
	return h2_tree_first(&fs->blocks, &in_super_root, H2_TREE_SUPER_ROOT, &fs->super_root,
			     last + 1, UINT64_MAX, &ref, NULL) != 0;
}

static int find_target(struct h2_fs *fs, struct h2_pfs_change *c)
{
	int err = find(fs, c->target_label, &c->target, NULL);

	h2_mutex_lock(&fs->pfs_lock);
	if (!err && !c->may_be_open && c->target.pfs && c->target.pfs->refs > 0)
		err = -EBUSY;
	h2_mutex_unlock(&fs->pfs_lock);
	if (!err && c->kind == DELETE && is_only_one(fs))
		err = -EPERM;
	return err;
}

static int find_new(struct h2_fs *fs, struct h2_pfs_change *c)
{
	struct root existing;
	int err = find(fs, c->new_label, &existing, &c->new_key);

	return err == -ENOENT ? 0 : err == 0 ? -EEXIST : err;
}

static bool same_id(const struct h2_uuid *a, const struct h2_uuid *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* Two PFSs with one id would be one to DragonFly (BS 2.4). Damage may hide who has it. */
static int check_ids(struct h2_fs *fs, const struct h2_pfs_ids *ids)
{
	struct h2_cursor cursor;
	struct h2_blockref ref;
	struct root root;
	int err;

	h2_cursor_init(&cursor, &fs->blocks, &in_super_root, H2_TREE_SUPER_ROOT, &fs->super_root, 0,
		       UINT64_MAX);
	while ((err = h2_cursor_next(&cursor, &ref)) == 0) {
		err = load(fs, &ref, &root);
		if (!err && (same_id(&root.meta.pfs_clid, &ids->clid) ||
			     same_id(&root.meta.pfs_fsid, &ids->fsid)))
			err = -ENOTUNIQ;
		if (err)
			break;
	}
	h2_cursor_fini(&cursor);
	return err == 1 ? 0 : err;
}

/* See to it that the entry can be changed. */
static int touch(struct h2_encoding *e, uint64_t key)
{
	struct h2_tree_change change = tree_change(e);

	return h2_tree_touch(&change, &e->fs->super_root, key);
}

static int look_up(struct h2_encoding *e, struct h2_pfs_change *c)
{
	int err = 0;

	if (c->target_label)
		err = find_target(e->fs, c);
	if (!err && c->source_label)
		err = find(e->fs, c->source_label, &c->source, NULL);
	if (!err && c->new_label)
		err = find_new(e->fs, c);
	if (!err && c->ids_given)
		err = check_ids(e->fs, &c->new_ids);
	if (!err && c->target_label)
		err = touch(e, c->target.ref.key);
	if (!err && c->source_label)
		err = touch(e, c->source.ref.key);
	if (!err && c->new_label)
		err = touch(e, c->new_key);
	return err;
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* No block that the PFS has now is newer than what this returns. */
static uint64_t newest_tid(const struct root *root)
{
	uint64_t tid = root->pfs ? later(root->pfs->modify_tid, root->pfs->root->ref.modify_tid)
				 : root->ref.modify_tid + 1;

	/* DragonFly gives the root of a snapshot a lower one than what it shares with its origin. */
	return later(tid, root->pfs ? root->pfs->root->meta.pfs_lsnap_tid
				    : root->meta.pfs_lsnap_tid);
}

void h2_pfs_change_begin(struct h2_encoding *e)
{
	struct h2_pfs_change *c = e->fs->pfs_change;

	if (!c)
		return;
	c->err = look_up(e, c);
	if (c->err || !c->source_label)
		return;
	c->snapshot_tid = newest_tid(&c->source);
	if (c->target_label)
		c->snapshot_tid = later(c->snapshot_tid, newest_tid(&c->target));
	if (c->source.pfs) {
		c->source.pfs->in_group = true;
		c->source.pfs->modify_tid = c->snapshot_tid;
		c->source.pfs->root->meta.pfs_lsnap_tid = c->snapshot_tid;
	}
}

/* ---- changing the super-root ---- */

static void drop(void *user, const struct h2_blockref *ref)
{
	h2_encoding_drop(user, ref);
}

static struct h2_tree_change tree_change(struct h2_encoding *e)
{
	return (struct h2_tree_change){
		.blocks = &e->fs->blocks,
		.where = in_super_root,
		.kind = H2_TREE_SUPER_ROOT,
		.drop = drop,
		.user = e,
		.branch_bytes = &e->fs->branch_bytes,
		.born_tid = h2_txn_first_tid(e->fs->txn),
	};
}

/* What memory has of the root is newer than what was looked up. */
static void refresh(struct root *root)
{
	const struct h2_inode *inode = root->pfs ? root->pfs->root : NULL;

	if (!inode)
		return;
	root->ref = inode->ref;
	root->meta = inode->meta;
	h2_root_encode(&inode->u.root, root->d.u.blockset);
}

/* Write the root inode, and put it into the super-root. */
static int write_root(struct h2_encoding *e, struct root *root, uint64_t modify_tid)
{
	struct h2_tree_change change = tree_change(e);
	struct h2_tree_sums sums = {
		.data_count = root->ref.data_count,
		.inode_count = root->ref.inode_count,
		.leaf_count = root->ref.leaf_count,
		.modify_tid = modify_tid,
	};
	struct h2_blockref old;
	int err;

	h2_inode_encode(&root->meta, &root->d);
	err = h2_place_inode(e, &root->ref, &root->d, &sums);
	return err ? err : h2_tree_set(&change, &e->fs->super_root, &root->ref, &old);
}

static int remove_entry(struct h2_encoding *e, uint64_t key)
{
	struct h2_tree_change change = tree_change(e);
	struct h2_blockref old;

	return h2_tree_remove(&change, &e->fs->super_root, key, &old);
}

static void set_label(struct root *root, const char *label, uint64_t key)
{
	size_t len = strlen(label);

	root->ref.key = root->meta.name_key = key;
	root->meta.name_len = (uint16_t)len;
	memset(root->meta.filename, 0, sizeof(root->meta.filename));
	memcpy(root->meta.filename, label, len);
}

/* Its object in memory is not what the media have any more. */
static void retire(struct h2_fs *fs, struct h2_pfs *pfs)
{
	struct h2_pfs **link = &fs->pfs_list;

	if (!pfs)
		return;
	while (*link != pfs)
		link = &(*link)->next;
	*link = pfs->next;
	pfs->next = fs->pfs_retired;
	fs->pfs_retired = pfs;
	pfs->in_group = false;
	pfs->retired = true;
}

static int create(struct h2_encoding *e, struct h2_pfs_change *c)
{
	uint64_t now = h2_now_us(e->fs);
	/* The boot loader cannot decompress. */
	bool boot = strcasecmp(c->new_label, "BOOT") == 0;
	struct root root = {
		.ref = {
			.type = H2_BLOCKREF_INODE,
			.methods = H2_CHECK_XXHASH64 << 4,
			.flags = H2_BLOCKREF_PFSROOT,
		},
		.meta = {
			.version = 1,
			.ctime = now,
			.mtime = now,
			.atime = now,
			.btime = now,
			.type = H2_OBJECT_DIRECTORY,
			.op_flags = H2_INODE_PFSROOT,
			.mode = 0755,
			.inum = H2_INUM_ROOT,
			.nlinks = 1,
			.iparent = H2_INUM_ROOT,
			.comp_algo = boot ? H2_COMP_AUTOZERO : H2_COMP_LZ4,
			.check_algo = H2_CHECK_XXHASH64,
			.pfs_type = H2_PFS_MASTER,
			.pfs_clid = c->new_ids.clid,
			.pfs_fsid = c->new_ids.fsid,
		},
	};

	set_label(&root, c->new_label, c->new_key);
	return write_root(e, &root, e->fs->super_modify_tid);
}

static int delete(struct h2_encoding *e, struct h2_pfs_change *c)
{
	int err;

	refresh(&c->target);
	err = remove_entry(e, c->target.ref.key);
	if (err)
		return err;
	h2_encoding_drop(e, &c->target.ref);
	h2_space_lose(e->fs->space, c->target.ref.data_count);
	/* Nobody drops the blocks below it one by one: a scan spares what is counted as in use. */
	h2_space_share_all(e->fs->space);
	retire(e->fs, c->target.pfs);
	return 0;
}

static int rename_pfs(struct h2_encoding *e, struct h2_pfs_change *c)
{
	uint64_t key;
	int err;

	refresh(&c->target);
	key = c->target.ref.key;
	set_label(&c->target, c->new_label, c->new_key);
	err = write_root(e, &c->target, c->target.ref.modify_tid + 1);
	if (!err)
		err = remove_entry(e, key);
	if (!err)
		retire(e->fs, c->target.pfs);
	return err;
}

/* A snapshot of the root, with the label that is to be new. */
static int write_snapshot(struct h2_encoding *e, struct h2_pfs_change *c, const struct root *root)
{
	struct root copy = *root;

	set_label(&copy, c->new_label, c->new_key);
	copy.ref.data_off = 0;
	copy.ref.flags |= H2_BLOCKREF_PFSROOT;
	copy.meta.pfs_type = H2_PFS_MASTER;
	copy.meta.pfs_subtype = H2_PFS_SUBTYPE_SNAPSHOT;
	copy.meta.pfs_clid = c->new_ids.clid;
	copy.meta.pfs_fsid = c->new_ids.fsid;
	copy.meta.pfs_lsnap_tid = c->snapshot_tid;
	return write_root(e, &copy, c->snapshot_tid);
}

/* The source's root says which of its blocks others share. In memory it did so before. */
static int mark_source(struct h2_encoding *e, struct h2_pfs_change *c)
{
	if (c->source.pfs)
		return 0;
	c->source.meta.pfs_lsnap_tid = c->snapshot_tid;
	return write_root(e, &c->source, c->snapshot_tid);
}

static int snapshot(struct h2_encoding *e, struct h2_pfs_change *c)
{
	int err;

	refresh(&c->source);
	err = write_snapshot(e, c, &c->source);
	if (!err)
		err = mark_source(e, c);
	h2_space_share_all(e->fs->space);
	return err;
}

/* The target gets what the source has, and keeps what it is known by. */
static int write_rolled_back(struct h2_encoding *e, struct h2_pfs_change *c)
{
	struct root root = c->source;
	const struct root *target = &c->target;

	root.ref.data_off = target->ref.data_off;
	root.ref.mirror_tid = target->ref.mirror_tid;
	root.ref.key = target->ref.key;
	root.ref.flags = target->ref.flags;
	root.meta.name_key = target->meta.name_key;
	root.meta.name_len = target->meta.name_len;
	memcpy(root.meta.filename, target->meta.filename, sizeof(root.meta.filename));
	root.meta.iparent = target->meta.iparent;
	root.meta.pfs_type = target->meta.pfs_type;
	root.meta.pfs_subtype = target->meta.pfs_subtype;
	root.meta.pfs_clid = target->meta.pfs_clid;
	root.meta.pfs_fsid = target->meta.pfs_fsid;
	root.meta.pfs_inum = later(root.meta.pfs_inum, target->meta.pfs_inum);
	root.meta.pfs_lsnap_tid = c->snapshot_tid;
	return write_root(e, &root, c->snapshot_tid);
}

static int roll_back(struct h2_encoding *e, struct h2_pfs_change *c)
{
	int err = 0;

	refresh(&c->source);
	refresh(&c->target);
	if (c->new_label)
		err = write_snapshot(e, c, &c->target);
	else
		h2_space_lose(e->fs->space, c->target.ref.data_count);
	if (!err)
		err = write_rolled_back(e, c);
	if (!err)
		err = mark_source(e, c);
	if (!err)
		retire(e->fs, c->target.pfs);
	h2_space_share_all(e->fs->space);
	return err;
}

/* What the source has now will be in a tree of another PFS, too. */
static int share(struct h2_encoding *e, struct h2_pfs_change *c)
{
	int err;

	refresh(&c->source);
	err = mark_source(e, c);
	*c->state = (struct h2_pfs_state){
		.ref = c->source.ref,
		.meta = c->source.meta,
		.d = c->source.d,
		.snapshot_tid = c->snapshot_tid,
	};
	h2_space_share_all(e->fs->space);
	return err;
}

/* A PFS whose tree is on the media already. */
static int enter(struct h2_encoding *e, struct h2_pfs_change *c)
{
	struct root root = {.ref = c->state->ref, .meta = c->state->meta, .d = c->state->d};

	c->snapshot_tid = c->state->snapshot_tid;
	return write_snapshot(e, c, &root);
}

int h2_pfs_change_finish(struct h2_encoding *e)
{
	struct h2_pfs_change *c = e->fs->pfs_change;
	int err = 0;

	e->fs->pfs_change = NULL;
	if (!c)
		return 0;
	atomic_fetch_sub(&e->fs->pfs_change_bytes, CHANGE_BYTES);
	if (c->err)
		return 0;
	switch (c->kind) {
	case CREATE:
		err = create(e, c);
		break;
	case DELETE:
		err = delete(e, c);
		break;
	case RENAME:
		err = rename_pfs(e, c);
		break;
	case SNAPSHOT:
		err = snapshot(e, c);
		break;
	case ROLLBACK:
		err = roll_back(e, c);
		break;
	case SHARE:
		err = share(e, c);
		break;
	case ENTER:
		err = enter(e, c);
		break;
	}
	return err;
}

/* ---- asking for it ---- */

static int check_label(const char *label)
{
	size_t len = strlen(label);

	return len == 0 ? -EINVAL : len > H2_NAME_MAX ? -ENAMETOOLONG : 0;
}

static int check_new_label(const char *label)
{
	return strpbrk(label, "/@:") ? -EINVAL : check_label(label);
}

static int random_uuid(struct h2_uuid *uuid)
{
	if (getrandom(uuid->bytes, sizeof(uuid->bytes), 0) != (ssize_t)sizeof(uuid->bytes))
		return -EIO;
	/* Version 4, variant 1; the third field is little-endian. */
	uuid->bytes[7] = (uint8_t)((uuid->bytes[7] & 0x0f) | 0x40);
	uuid->bytes[8] = (uint8_t)((uuid->bytes[8] & 0x3f) | 0x80);
	return 0;
}

static int set_ids(struct h2_pfs_change *c, const struct h2_pfs_ids *ids)
{
	static const struct h2_uuid nil;
	int err;

	if (ids) {
		c->new_ids = *ids;
		c->ids_given = true;
		/* MF 11.4: DragonFly merges PFSs that have the same. */
		return memcmp(&ids->clid, &nil, sizeof(nil)) == 0 ||
				       memcmp(&ids->fsid, &nil, sizeof(nil)) == 0
			       ? -EINVAL
			       : 0;
	}
	err = random_uuid(&c->new_ids.clid);
	return err ? err : random_uuid(&c->new_ids.fsid);
}

/*
 * Enter the gate and lock pfs_change_lock. Room is found without the lock: that may take a scan, and
 * who makes scans wait may want the lock.
 */
static int begin_change(struct h2_fs *fs, const struct h2_txn_need *need, bool removes)
{
	for (;;) {
		int err = h2_txn_begin(fs->txn, need, removes);

		if (err || h2_mutex_try_lock(&fs->pfs_change_lock))
			return err;
		h2_txn_end(fs->txn, need);
		h2_mutex_lock(&fs->pfs_change_lock);
		h2_mutex_unlock(&fs->pfs_change_lock);
	}
}

static int commit_change(struct h2_fs *fs, struct h2_pfs_change *c)
{
	const struct h2_txn_need need = {.bytes = CHANGE_BYTES};
	int err = begin_change(fs, &need, c->kind == DELETE);

	if (err)
		return err;
	atomic_fetch_add(&fs->pfs_change_bytes, CHANGE_BYTES);
	fs->pfs_change = c;
	h2_txn_changed(fs->txn);
	h2_txn_end(fs->txn, &need);
	err = h2_txn_sync(fs->txn);
	if (err) {
		/* A commit that failed early has not taken it. */
		h2_txn_enter(fs->txn);
		fs->pfs_change = NULL;
		h2_txn_leave(fs->txn);
	}
	h2_mutex_unlock(&fs->pfs_change_lock);
	return err ? err : c->err;
}

static int change(struct h2_fs *fs, struct h2_pfs_change *c, const struct h2_pfs_ids *ids)
{
	int err = fs->txn ? 0 : -EROFS;

	if (!err && c->target_label)
		err = check_label(c->target_label);
	if (!err && c->source_label)
		err = check_label(c->source_label);
	if (!err && c->new_label)
		err = check_new_label(c->new_label);
	if (!err && c->new_label)
		err = set_ids(c, ids);
	return err ? err : commit_change(fs, c);
}

int h2_pfs_create(struct h2_fs *fs, const char *label, const struct h2_pfs_ids *ids)
{
	struct h2_pfs_change c = {.kind = CREATE, .new_label = label};

	return change(fs, &c, ids);
}

int h2_pfs_delete(struct h2_fs *fs, const char *label)
{
	struct h2_pfs_change c = {.kind = DELETE, .target_label = label};

	return change(fs, &c, NULL);
}

int h2_pfs_rename(struct h2_fs *fs, const char *label, const char *new_label)
{
	struct h2_pfs_change c = {.kind = RENAME, .target_label = label, .new_label = new_label};

	return change(fs, &c, NULL);
}

int h2_pfs_snapshot(struct h2_fs *fs, const char *origin, const char *label,
		    const struct h2_pfs_ids *ids)
{
	struct h2_pfs_change c = {.kind = SNAPSHOT, .source_label = origin, .new_label = label};

	return change(fs, &c, ids);
}

int h2_pfs_rollback(struct h2_fs *fs, const char *label, const char *snapshot, const char *keep,
		    const struct h2_pfs_ids *keep_ids)
{
	struct h2_pfs_change c = {
		.kind = ROLLBACK,
		.target_label = label,
		.source_label = snapshot,
		.new_label = keep,
	};

	return strcmp(label, snapshot) == 0 ? -EINVAL : change(fs, &c, keep_ids);
}

int h2_pfs_rollback_open(struct h2_fs *fs, const char *label, const char *snapshot,
			 const char *keep, const struct h2_pfs_ids *keep_ids)
{
	struct h2_pfs_change c = {
		.kind = ROLLBACK,
		.target_label = label,
		.source_label = snapshot,
		.new_label = keep,
		.may_be_open = true,
	};

	return strcmp(label, snapshot) == 0 ? -EINVAL : change(fs, &c, keep_ids);
}

int h2_pfs_share(struct h2_fs *fs, const char *label, const char *new_label,
		 struct h2_pfs_state *state)
{
	struct h2_pfs_change c = {
		.kind = SHARE,
		.source_label = label,
		.new_label = new_label,
		.state = state,
	};

	return change(fs, &c, NULL);
}

int h2_pfs_enter(struct h2_fs *fs, const char *label, const struct h2_pfs_ids *ids,
		 struct h2_pfs_state *state)
{
	struct h2_pfs_change c = {.kind = ENTER, .new_label = label, .state = state};

	return change(fs, &c, ids);
}
