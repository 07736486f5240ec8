/*
 * A snapshot of a directory: a PFS of its own whose root that directory becomes.
 *
 * What the origin has at one commit is shared from then on (h2_pfs_share()), so its committed tree can
 * be walked without locks. First all names below the directory are gathered, then the inodes that
 * they lead to are taken over in the order of their numbers, which they keep: nearly always just
 * the blockref. An inode is written anew where its parent or its link count differs in the new
 * PFS: what was directly in the directory, and files with hard links that lead elsewhere. File
 * contents and the entries of the directories below are shared.
 *
 * All of this is on the media before the commit that enters the PFS into the super-root. When it
 * comes to nothing, or the machine crashes before, bulk free finds what was written.
 */
#include <stdlib.h>
#include <string.h>

#include "commit.h"
#include "held.h"
#include "pfs_change.h"
#include "set.h"

#define BATCH 256u                        /* inodes that are taken over inside the gate at once */
#define TREE_BYTES (UINT64_C(4) << 20)    /* changed blocks of the new tree that memory keeps */
#define MARGIN_BYTES (UINT64_C(256) << 10) /* for blocks that a batch may add to the tree */
#define NAME_WEIGHT (H2_INODE_SIZE / 2)   /* for progress: a name counts half, its inode the rest */

struct name {
	uint64_t inum, parent; /* as in the new PFS */
};

struct taken { /* an inode on its way */
	struct h2_blockref ref;
	struct h2d_inode d;
	bool rewrite;
};

struct copy {
	struct h2_held held;
	struct h2_pfs *pfs;
	uint64_t top;              /* the directory */
	struct h2_pfs_state state; /* of the origin; then of the new PFS */
	struct h2_root origin;

	struct name *names;
	size_t name_count, name_room;
	uint64_t *todo; /* directories to be listed */
	size_t todo_count, todo_room;
	struct h2_set dirs; /* that were met */

	struct h2_root root; /* of the new tree */
	_Atomic uint64_t branch_bytes;
	uint64_t written; /* bytes of all new blocks */
	uint64_t tid;     /* of the open group, inside the gate */
	struct taken *batch;
};

/* ---- reading the origin ---- */

static int damaged(struct copy *c, const struct h2_blockref *ref, uint64_t dir, const char *code,
		   const char *expected, uint64_t found)
{
	struct h2_where where = h2_where_inode(c->pfs, dir);

	return h2_block_report(&c->held.fs->blocks, &where, ref, code,
			       &(struct h2_problem){"inum", expected, found});
}

/* Returns 0; 1: there is no such inode; a damage error. */
static int load(struct copy *c, uint64_t inum, struct h2_blockref *ref, struct h2d_inode *d,
		struct h2_inode_meta *meta)
{
	struct h2_where where = h2_where_inode(c->pfs, inum);
	struct h2_blocks *blocks = &c->held.fs->blocks;
	int err = h2_tree_first(blocks, &where, H2_TREE_PFS_ROOT, &c->origin, inum, inum, ref, NULL);

	return err ? err : h2_inode_load(blocks, &where, ref, H2_PLACE_INDEX, d, meta);
}

static int grow_array(void *arrayp, size_t count, size_t *room, size_t size)
{
	void **array = arrayp;
	size_t more = *room ? 2 * *room : 256;
	void *bytes;

	if (count < *room)
		return 0;
	bytes = realloc(*array, more * size);
	if (!bytes)
		return -ENOMEM;
	*array = bytes;
	*room = more;
	return 0;
}

static int add_directory(struct copy *c, const struct h2_blockref *ref, uint64_t dir)
{
	uint64_t inum = ref->dirent_inum;
	int added = h2_set_add(&c->dirs, inum);

	if (added < 0)
		return added;
	if (added == 0)
		return damaged(c, ref, dir, "dir-names", "a directory with one name", inum);
	if (grow_array(&c->todo, c->todo_count, &c->todo_room, sizeof(*c->todo)) != 0)
		return -ENOMEM;
	c->todo[c->todo_count++] = inum;
	return 0;
}

static int add_name(struct copy *c, const struct h2_blockref *ref, uint64_t dir)
{
	uint64_t inum = ref->dirent_inum;
	int err = 0;

	/* Inodes within directories, MF 7.6: who may have such names cannot be told. */
	if (ref->type != H2_BLOCKREF_DIRENT)
		return -EOPNOTSUPP;
	if (inum <= H2_INUM_ROOT || inum == c->top)
		return damaged(c, ref, dir, "dirent-inum", "an inode below the directory", inum);
	/* More than the volume has room for: directories that share what is in them. */
	if (c->name_count >= c->held.fs->blocks.total_size / H2_BLOCKREF_SIZE)
		return damaged(c, ref, dir, "dir-names", "as many names as there is room for", inum);
	if (grow_array(&c->names, c->name_count, &c->name_room, sizeof(*c->names)) != 0)
		return -ENOMEM;
	c->names[c->name_count++] = (struct name){
		.inum = inum,
		.parent = dir == c->top ? H2_INUM_ROOT : dir,
	};
	if (ref->dirent_type == H2_OBJECT_DIRECTORY)
		err = add_directory(c, ref, dir);
	return err ? err : h2_held_step(&c->held, NAME_WEIGHT);
}

/* ---- the new tree ---- */

/* Inside the gate. */
static void drop(void *user, const struct h2_blockref *ref)
{
	struct copy *c = user;
	struct h2_space *space = c->held.fs->space;

	if (ref->mirror_tid == c->tid)
		h2_space_cancel(space, ref->data_off, c->tid);
	else
		h2_space_drop(space, ref->data_off, ref->mirror_tid, c->tid);
}

static struct h2_tree_change tree_change(struct copy *c)
{
	return (struct h2_tree_change){
		.blocks = &c->held.fs->blocks,
		.where = h2_where_inode(c->pfs, c->top),
		.kind = H2_TREE_PFS_ROOT,
		.drop = drop,
		.user = c,
		.branch_bytes = &c->branch_bytes,
		.born_tid = h2_txn_first_tid(c->held.fs->txn),
	};
}

/* No block is newer than what leads to it, MF 12.2, whatever the media say. */
static int insert(struct copy *c, struct h2_blockref *ref)
{
	struct h2_tree_change change = tree_change(c);

	if (ref->mirror_tid > c->tid)
		ref->mirror_tid = c->tid;
	return h2_tree_insert(&change, &c->root, ref);
}

static int flush_tree(struct copy *c, struct h2_encoding *e, struct h2_tree_sums *sums)
{
	struct h2_tree_flush flush =
		h2_encoding_flush(e, c->state.snapshot_tid, c->state.ref.methods);
	int err;

	c->written += atomic_load(&c->branch_bytes);
	err = h2_tree_flush(&flush, &c->root, sums);
	if (!err)
		h2_tree_clean(&c->root, &e->fs->blocks, &c->branch_bytes);
	return err;
}

static int rewrite(struct copy *c, struct h2_encoding *e, struct taken *t)
{
	struct h2_tree_sums sums = {
		.data_count = t->ref.data_count,
		.inode_count = t->ref.inode_count,
		.leaf_count = t->ref.leaf_count,
		.modify_tid = c->state.snapshot_tid,
	};

	t->ref.data_off = 0; /* the block stays the origin's */
	c->written += H2_INODE_SIZE;
	return h2_place_inode(e, &t->ref, &t->d, &sums);
}

/*
 * Take a batch over; last: and write the whole tree. All blocks reach the device inside the gate:
 * the padding of one would otherwise fall on what a commit puts behind it.
 */
static int take_over(struct copy *c, size_t count, bool last, struct h2_tree_sums *sums)
{
	struct h2_fs *fs = c->held.fs;
	struct h2_txn_need need = {
		.bytes = count * H2_INODE_SIZE + atomic_load(&c->branch_bytes) + MARGIN_BYTES,
	};
	struct h2_commit commit = {.header = NULL};
	struct h2_encoding e = {.fs = fs, .commit = &commit};
	int flush_err, err = h2_txn_begin(fs->txn, &need, false);

	if (err)
		return err;
	commit.tid = c->tid = h2_txn_tid(fs->txn);
	h2_commit_writer_init(&commit.writer, fs->volumes);
	for (size_t i = 0; i < count && !err; i++) {
		if (c->batch[i].rewrite)
			err = rewrite(c, &e, &c->batch[i]);
		if (!err)
			err = insert(c, &c->batch[i].ref);
	}
	if (!err && (last || atomic_load(&c->branch_bytes) > TREE_BYTES))
		err = flush_tree(c, &e, sums);
	flush_err = h2_commit_writer_flush(&commit.writer);
	h2_commit_writer_fini(&commit.writer);
	h2_txn_end(fs->txn, &need);
	return err ? err : flush_err;
}

/* ---- the directories ---- */

/* The names in a directory; of the one that becomes the root, the entries become those of the root. */
static int list(struct copy *c, uint64_t dir, const struct h2d_inode *d)
{
	struct h2_where where = h2_where_inode(c->pfs, dir);
	struct h2_tree_sums sums;
	struct h2_cursor cursor;
	struct h2_blockref ref;
	struct h2_root root;
	size_t count = 0;
	int err;

	h2_root_init(&root, d->u.blockset);
	h2_cursor_init(&cursor, &c->held.fs->blocks, &where, H2_TREE_DIRECTORY, &root,
		       H2_KEY_VISIBLE, UINT64_MAX);
	while ((err = h2_cursor_next(&cursor, &ref)) == 0) {
		err = add_name(c, &ref, dir);
		if (!err && dir == c->top)
			c->batch[count++] = (struct taken){.ref = ref};
		if (!err && count == BATCH) {
			err = take_over(c, count, false, &sums);
			count = 0;
		}
		if (err)
			break;
	}
	h2_cursor_fini(&cursor);
	err = err == 1 ? 0 : err;
	return err || count == 0 ? err : take_over(c, count, false, &sums);
}

static int gather(struct copy *c)
{
	int err = 0;

	while (c->todo_count > 0 && !err) {
		uint64_t dir = c->todo[--c->todo_count];
		struct h2_inode_meta meta;
		struct h2_blockref ref;
		struct h2d_inode d;

		err = load(c, dir, &ref, &d, &meta);
		if (err == 1)
			err = damaged(c, &c->state.ref, dir, "missing-inode", "a directory", dir);
		else if (!err && meta.type != H2_OBJECT_DIRECTORY)
			err = damaged(c, &ref, dir, "dirent-type", "a directory", dir);
		if (!err)
			err = list(c, dir, &d);
	}
	return err;
}

/* ---- the inodes ---- */

static int by_inum(const void *a, const void *b)
{
	const struct name *x = a, *y = b;

	if (x->inum != y->inum)
		return x->inum < y->inum ? -1 : 1;
	return x->parent < y->parent ? -1 : x->parent > y->parent;
}

static bool is_among(const struct name *names, size_t count, uint64_t parent)
{
	for (size_t i = 0; i < count; i++)
		if (names[i].parent == parent)
			return true;
	return false;
}

/* The inode that all of these names lead to. */
static int take(struct copy *c, const struct name *names, size_t count, struct taken *t)
{
	struct h2_inode_meta meta;
	int err = load(c, names[0].inum, &t->ref, &t->d, &meta);

	t->rewrite = false;
	if (err == 1)
		return damaged(c, &c->state.ref, names[0].parent, "missing-inode", "an inode",
			       names[0].inum);
	if (err)
		return err;
	if (meta.type == H2_OBJECT_DIRECTORY) {
		int added = h2_set_add(&c->dirs, meta.inum);

		if (added < 0)
			return added;
		if (added > 0)
			return damaged(c, &t->ref, meta.inum, "dirent-type", "no directory",
				       meta.inum);
	} else if (meta.nlinks != count) {
		meta.nlinks = count;
		t->rewrite = true;
	}
	if (!is_among(names, count, meta.iparent)) {
		meta.iparent = names[0].parent;
		t->rewrite = true;
	}
	if (t->rewrite)
		h2_inode_encode(&meta, &t->d);
	return h2_held_step(&c->held, NAME_WEIGHT);
}

static int take_all(struct copy *c, struct h2_tree_sums *sums)
{
	size_t filled = 0;
	int err = 0;

	if (c->name_count > 0)
		qsort(c->names, c->name_count, sizeof(*c->names), by_inum);
	for (size_t i = 0, next; i < c->name_count && !err; i = next) {
		for (next = i + 1; next < c->name_count && c->names[next].inum == c->names[i].inum;)
			next++;
		err = take(c, &c->names[i], next - i, &c->batch[filled++]);
		if (!err && filled == BATCH) {
			err = take_over(c, filled, false, sums);
			filled = 0;
		}
	}
	return err ? err : take_over(c, filled, true, sums);
}

/* ---- the whole ---- */

/* state becomes that of the new PFS. */
static void make_root(struct copy *c, const struct h2_blockref *ref, const struct h2d_inode *d,
		      const struct h2_inode_meta *meta, const struct h2_tree_sums *sums)
{
	uint64_t pfs_inum = c->state.meta.pfs_inum;

	c->state.ref = *ref;
	c->state.ref.data_count = sums->data_count;
	c->state.ref.inode_count = sums->inode_count;
	c->state.ref.leaf_count = (uint16_t)sums->leaf_count;
	c->state.d = *d;
	h2_root_encode(&c->root, c->state.d.u.blockset);
	c->state.meta = *meta;
	c->state.meta.inum = c->state.meta.iparent = H2_INUM_ROOT;
	c->state.meta.op_flags |= H2_INODE_PFSROOT;
	c->state.meta.pfs_inum = pfs_inum; /* numbers stay as they are */
}

static int copy_directory(struct copy *c)
{
	struct h2_inode_meta meta;
	struct h2_tree_sums sums;
	struct h2_blockref ref;
	struct h2d_inode d;
	int err;

	h2_root_init(&c->origin, c->state.d.u.blockset);
	c->held.expected = c->state.ref.inode_count * H2_INODE_SIZE;
	err = load(c, c->top, &ref, &d, &meta);
	if (err)
		return err == 1 ? -ENOENT : err;
	if (h2_set_add(&c->dirs, c->top) < 0)
		return -ENOMEM;
	err = list(c, c->top, &d);
	if (!err)
		err = gather(c);
	if (!err)
		err = take_all(c, &sums);
	if (!err)
		make_root(c, &ref, &d, &meta, &sums);
	return err;
}

static int run(struct copy *c, const char *label, const struct h2_pfs_ids *ids)
{
	const struct h2d_blockref empty[H2_BLOCKSET_COUNT] = {{0}};
	struct h2_fs *fs = c->held.fs;
	int err = h2_pfs_share(fs, c->pfs->info.label, label, &c->state);

	h2_root_init(&c->root, empty);
	c->batch = err ? NULL : calloc(BATCH, sizeof(*c->batch));
	if (!err && !c->batch)
		err = -ENOMEM;
	if (!err)
		err = copy_directory(c);
	if (!err)
		err = h2_pfs_enter(fs, label, ids, &c->state);
	if (err && c->written > 0) {
		h2_space_lose(fs->space, c->written);
		/* Nobody drops it block by block: a scan spares what is counted as in use. */
		h2_space_share_all(fs->space);
	}
	h2_tree_clean(&c->root, NULL, &c->branch_bytes);
	h2_set_clear(&c->dirs);
	free(c->names);
	free(c->todo);
	free(c->batch);
	return err;
}

int h2_pfs_snapshot_directory(struct h2_inode *dir, const char *label,
			      const struct h2_pfs_ids *ids, const struct h2_pass_options *options)
{
	struct h2_pfs *pfs = h2_inode_pfs(dir);
	struct copy c = {.pfs = pfs, .top = dir->meta.inum};
	int err;

	if (dir->meta.type != H2_OBJECT_DIRECTORY)
		return -ENOTDIR;
	if (dir->legacy)
		return -EOPNOTSUPP;
	if (c.top == H2_INUM_ROOT)
		return h2_pfs_snapshot(pfs->fs, pfs->info.label, label, ids);
	if (!pfs->fs->txn)
		return -EROFS;
	err = h2_held_begin(&c.held, pfs->fs, options);
	if (err)
		return err;
	err = run(&c, label, ids);
	h2_held_end(&c.held);
	return err;
}
