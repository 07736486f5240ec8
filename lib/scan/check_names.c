/*
 * Names against inodes, for each PFS (BS 16.4 point 6): every entry leads to an inode of its type,
 * stands at the hash of its name and has a name of its own; every file has as many names as its
 * link count says; every directory has one name, in the directory that iparent tells, and can be
 * reached from the root.
 *
 * The inodes of a PFS are taken in windows of ascending numbers that fit the memory: a table of
 * the window is filled from the inode index, then all directories of the PFS are scanned and the
 * names that lead into the window counted. Ordinary volumes need one window.
 *
 * Inodes directly in directories (MF 7.6) are in no index: each is its own and only name. Those
 * that are directories are queued when a scan meets them, and scanned in their turn.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "check_impl.h"
#include "fs_impl.h"

#define TASKS_MAX 256u
#define DIRS_IN_TASK 16u
#define CLIMB_MAX 100000u
#define STEPS_PER_PROGRESS 16u

enum way { WAY_UNKNOWN, WAY_ROOTED, WAY_DETACHED }; /* where the parents lead */

struct entry { /* an inode of the window */
	uint64_t inum;
	uint64_t iparent;
	uint32_t nlinks; /* saturated */
	atomic_uint_least32_t names;
	uint8_t type;
	uint8_t way; /* of a directory: enum way */
};

struct names {
	/* constant while threads run */
	struct h2_check *c;
	struct h2_pfs *pfs;
	struct entry *table; /* by inum */
	size_t count, max;
	uint64_t lo, hi; /* the window: inode numbers */
	bool first_window;
	struct h2_pool *pool;
	uint64_t top_inum; /* the highest inode number; its reference: */
	struct h2_blockref top_ref;

	/* under check->lock */
	struct h2_set legacy_seen; /* directories directly in directories: their numbers */
	uint64_t *legacy;          /* the same ones, in the order they were met */
	size_t legacy_count, legacy_room;

	/* atomic */
	atomic_bool damaged; /* a part of the names or inodes could not be read */
	atomic_uint_least64_t name_count;
};

static struct entry *find_entry(const struct names *n, uint64_t inum)
{
	size_t low = 0, high = n->count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (n->table[mid].inum < inum)
			low = mid + 1;
		else
			high = mid;
	}
	return low < n->count && n->table[low].inum == inum ? &n->table[low] : NULL;
}

/* A finding about a name: the path of its directory plus the name, and the inode it is about. */
static void find_name(struct names *n, enum h2_finding finding, uint64_t dir_inum,
		      const struct h2_dirent *ent, uint64_t found, uint64_t expected,
		      const char *member)
{
	struct h2_where where = h2_where_inode(n->pfs, ent->inum);
	char path[2048] = "", *p = path;
	size_t len;

	if (h2_check_may_look_up(n->c) &&
	    h2_inode_path(n->pfs, dir_inum, path, sizeof(path) - 300) == 0) {
		len = strlen(path);
		p = path + len;
		if (len == 0 || path[len - 1] != '/')
			*p++ = '/';
	}
	memcpy(p, ent->name, ent->name_len + 1u);
	h2_check_find(n->c, finding,
		      &(struct h2_about){
			      .where = &where,
			      .object = "directory entry",
			      .path = path,
			      .member = member,
			      .has_values = member != NULL,
			      .found = found,
			      .expected = expected,
		      });
}

static void find_inode(struct names *n, enum h2_finding finding, const struct entry *e,
		       const char *member, uint64_t found, uint64_t expected)
{
	struct h2_where where = h2_where_inode(n->pfs, e->inum);

	h2_check_find(n->c, finding,
		      &(struct h2_about){
			      .where = &where,
			      .object = "inode",
			      .member = member,
			      .has_values = member != NULL,
			      .found = found,
			      .expected = expected,
		      });
}

/* Names of one hash in one directory: hashes of another kind, to find equal ones. */
struct bucket {
	uint64_t hash; /* of the names: upper bits of their keys */
	uint64_t *seen;
	size_t count, room;
};

static bool is_double(struct names *n, struct bucket *b, const struct h2_dirent *ent)
{
	uint64_t hash = ent->key & ~H2_KEY_COLLISION;
	uint64_t name = h2_xxh64(ent->name, ent->name_len);

	if (hash != b->hash) {
		b->hash = hash;
		b->count = 0;
	}
	for (size_t i = 0; i < b->count; i++) {
		if (b->seen[i] == name)
			return true;
	}
	if (b->count == b->room) {
		size_t room = b->room ? b->room * 2 : 8;
		uint64_t *seen = realloc(b->seen, room * sizeof(*seen));

		if (!seen) {
			h2_check_fail(n->c, -ENOMEM);
			return false;
		}
		b->seen = seen;
		b->room = room;
	}
	b->seen[b->count++] = name;
	return false;
}

/* What is judged once, whatever the window. */
static void check_entry(struct names *n, uint64_t dir_inum, struct bucket *bucket,
			const struct h2_dirent *ent)
{
	uint64_t hash = h2_name_hash(ent->name, ent->name_len);

	atomic_fetch_add(&n->name_count, 1);
	if ((ent->key & ~H2_KEY_COLLISION) != hash)
		find_name(n, FIND_NAME_HASH, dir_inum, ent, ent->key, hash, "key");
	if (is_double(n, bucket, ent))
		find_name(n, FIND_NAME_TWICE, dir_inum, ent, 0, 0, NULL);
}

/* What reading directories has found of inodes in them, by number. */
static bool find_legacy(struct names *n, uint64_t inum, struct h2_blockref *ref)
{
	const struct h2_legacy *l;

	h2_mutex_lock(&n->pfs->legacy_lock);
	l = n->pfs->legacy[inum % H2_LEGACY_BUCKETS];
	while (l && l->inum != inum)
		l = l->next;
	if (l)
		*ref = l->ref;
	h2_mutex_unlock(&n->pfs->legacy_lock);
	return l != NULL;
}

/* Whether the entry is an inode itself: its own blockref, and the one found by its number. */
static bool is_legacy(struct names *n, struct h2_inode *dir, const struct h2_dirent *ent,
		      struct h2_blockref *own, struct h2_blockref *by_number)
{
	struct h2_where where = h2_where_inode(n->pfs, dir->meta.inum);

	return find_legacy(n, ent->inum, by_number) &&
	       h2_tree_first(&n->c->blocks, &where, h2_inode_tree_kind(dir), &dir->u.root, ent->key,
			     ent->key, own, NULL) == 0 &&
	       own->type == H2_BLOCKREF_INODE;
}

/* Have a directory scanned that is in no index. Returns whether it was met for the first time. */
static bool queue_legacy(struct names *n, uint64_t inum)
{
	int fresh;

	h2_mutex_lock(&n->c->lock);
	fresh = h2_set_add(&n->legacy_seen, inum);
	if (fresh > 0 && n->legacy_count == n->legacy_room) {
		size_t room = n->legacy_room ? 2 * n->legacy_room : 64;
		uint64_t *list = realloc(n->legacy, room * sizeof(*list));

		fresh = list ? fresh : -ENOMEM;
		n->legacy = list ? list : n->legacy;
		n->legacy_room = list ? room : n->legacy_room;
	}
	if (fresh > 0)
		n->legacy[n->legacy_count++] = inum;
	h2_mutex_unlock(&n->c->lock);
	if (fresh < 0)
		h2_check_fail(n->c, fresh);
	return fresh != 0;
}

static void judge_legacy(struct names *n, uint64_t dir_inum, const struct h2_dirent *ent,
			 const struct h2_inode_meta *m)
{
	uint64_t counter = h2_pfs_get_info(n->pfs)->meta.pfs_inum;

	if (m->name_key != ent->key)
		find_name(n, FIND_NAME_HASH, dir_inum, ent, m->name_key, ent->key, "name_key");
	if (m->type == H2_OBJECT_DIRECTORY && m->iparent != dir_inum)
		find_name(n, FIND_DIR_PARENT, dir_inum, ent, m->iparent, dir_inum, "iparent");
	if (m->inum > counter)
		find_name(n, FIND_INUM_COUNTER, dir_inum, ent, m->inum, counter, "inum");
}

/* An entry that is an inode itself: it has this name and no other. */
static void check_legacy(struct names *n, uint64_t dir_inum, const struct h2_dirent *ent,
			 const struct h2_blockref *own, const struct h2_blockref *by_number)
{
	struct h2_inode *inode;
	bool same = own->data_off == by_number->data_off &&
		    h2_inode_get(n->pfs, ent->inum, &inode) == 0;
	bool indexed = same && !(h2_inode_ref(inode)->key & H2_KEY_VISIBLE);
	bool twice = false;

	if (same && !indexed && h2_inode_meta(inode)->type == H2_OBJECT_DIRECTORY)
		twice = !queue_legacy(n, ent->inum);
	if (n->first_window) {
		if (!same || indexed)
			find_name(n, FIND_INUM_TWICE, dir_inum, ent, 0, 0, NULL);
		else if (twice)
			find_name(n, FIND_DIR_NAMES, dir_inum, ent, 0, 0, NULL);
		else
			judge_legacy(n, dir_inum, ent, h2_inode_meta(inode));
	}
	if (same)
		h2_inode_put(inode);
}

static void count_entry(struct names *n, uint64_t dir_inum, const struct h2_dirent *ent)
{
	struct entry *e;

	if (ent->inum < n->lo || ent->inum > n->hi)
		return;
	if (ent->inum == H2_INUM_ROOT) { /* has its one name from the super-root */
		find_name(n, FIND_DIR_NAMES, dir_inum, ent, 0, 0, NULL);
		return;
	}
	e = find_entry(n, ent->inum);
	if (!e) {
		find_name(n, FIND_NAME_DANGLING, dir_inum, ent, ent->inum, 0, NULL);
		return;
	}
	if (ent->type != e->type)
		find_name(n, FIND_NAME_TYPE, dir_inum, ent, ent->type, e->type, "type");
	if (e->type == H2_OBJECT_DIRECTORY && e->iparent != dir_inum)
		find_name(n, FIND_DIR_PARENT, dir_inum, ent, e->iparent, dir_inum, "iparent");
	atomic_fetch_add(&e->names, 1);
}

static void scan_directory(struct names *n, uint64_t inum)
{
	struct bucket bucket = {0};
	struct h2_dir_scan *scan;
	struct h2_inode *dir;
	struct h2_dirent ent;
	struct h2_blockref own, by_number;
	unsigned steps = 0;
	int err = h2_inode_get(n->pfs, inum, &dir);

	if (!err) {
		err = h2_dir_scan_new(dir, 0, &scan);
		if (err)
			h2_inode_put(dir);
	}
	if (err) {
		atomic_store(&n->damaged, true);
		return;
	}
	while (!h2_check_stopped(n->c) && (err = h2_dir_scan_next(scan, &ent)) != 1) {
		if (++steps % STEPS_PER_PROGRESS == 0)
			h2_check_advance(n->c, 0);
		if (err) {
			atomic_store(&n->damaged, true);
			continue;
		}
		if (n->first_window)
			check_entry(n, inum, &bucket, &ent);
		if (is_legacy(n, dir, &ent, &own, &by_number))
			check_legacy(n, inum, &ent, &own, &by_number);
		else
			count_entry(n, inum, &ent);
	}
	h2_dir_scan_free(scan);
	h2_inode_put(dir);
	free(bucket.seen);
	h2_check_advance(n->c, 0);
}

struct dirs_task {
	uint64_t inums[DIRS_IN_TASK];
	unsigned count;
};

static void run_dirs(void *context, void *arg)
{
	const struct dirs_task *t = arg;

	for (unsigned i = 0; i < t->count; i++)
		scan_directory(context, t->inums[i]);
}

static void add_dir(struct names *n, struct dirs_task *t, uint64_t inum)
{
	t->inums[t->count++] = inum;
	if (t->count < DIRS_IN_TASK)
		return;
	if (!h2_pool_push(n->pool, t))
		run_dirs(n, t);
	t->count = 0;
}

/*
 * Walk the inode index over [lo, ...): fill the table up to its end, and hand every directory to
 * the pool when dirs is given. Sets n->hi to the last number that the table covers.
 */
static int walk_index(struct names *n, uint64_t lo, struct dirs_task *dirs, bool fill)
{
	struct h2_where where = h2_where_inode(n->pfs, H2_INUM_ROOT);
	struct h2_cursor cursor;
	struct h2_blockref ref;
	unsigned steps = 0;
	int err;

	h2_cursor_init(&cursor, &n->c->blocks, &where, H2_TREE_PFS_ROOT, &n->pfs->root->u.root, lo,
		       H2_KEY_VISIBLE - 1);
	while (!h2_check_stopped(n->c) && (err = h2_cursor_next(&cursor, &ref)) != 1) {
		const struct h2_inode_meta *m;
		struct h2_inode *inode;

		if (++steps % STEPS_PER_PROGRESS == 0)
			h2_check_advance(n->c, 0);
		if (fill && n->count == n->max) {
			n->hi = n->table[n->count - 1].inum;
			break;
		}
		if (!err)
			err = h2_inode_get(n->pfs, ref.key, &inode);
		if (err) {
			atomic_store(&n->damaged, true);
			continue;
		}
		m = h2_inode_meta(inode);
		if (m->inum > n->top_inum) {
			n->top_inum = m->inum;
			n->top_ref = ref;
		}
		if (dirs && m->type == H2_OBJECT_DIRECTORY)
			add_dir(n, dirs, m->inum);
		if (fill) {
			struct entry *e = &n->table[n->count++];

			memset(e, 0, sizeof(*e));
			e->inum = m->inum;
			e->iparent = m->iparent;
			e->nlinks = m->nlinks < UINT32_MAX ? (uint32_t)m->nlinks : UINT32_MAX;
			e->type = m->type;
		}
		h2_inode_put(inode);
	}
	h2_cursor_fini(&cursor);
	return atomic_load(&n->c->error);
}

/* Scan all directories of the PFS: the root, those of the table, and those beyond the window. */
static int scan_directories(struct names *n)
{
	struct dirs_task dirs = {0};
	int err = 0;

	add_dir(n, &dirs, H2_INUM_ROOT);
	if (n->lo == 0 && n->hi == UINT64_MAX) {
		for (size_t i = 0; i < n->count; i++) {
			if (n->table[i].type == H2_OBJECT_DIRECTORY)
				add_dir(n, &dirs, n->table[i].inum);
		}
	} else {
		err = walk_index(n, H2_INUM_ROOT + 1, &dirs, false);
	}
	run_dirs(n, &dirs);
	h2_pool_wait(n->pool);
	/* What is scanned may find more of them; no thread runs where the list is looked at. */
	for (size_t done = 0; !err && done < n->legacy_count && !h2_check_stopped(n->c);) {
		dirs.count = 0;
		while (done < n->legacy_count)
			add_dir(n, &dirs, n->legacy[done++]);
		run_dirs(n, &dirs);
		h2_pool_wait(n->pool);
	}
	h2_set_clear(&n->legacy_seen);
	n->legacy_count = 0;
	return err;
}

/*
 * The parent of an inode of another window: false if that is no directory. One that does not exist
 * or is damaged is not for us to judge: it counts as leading to the root.
 */
static bool distant_parent(struct names *n, uint64_t inum, uint64_t *parent)
{
	const struct h2_inode_meta *m;
	struct h2_inode *inode;
	bool directory;

	*parent = H2_INUM_ROOT;
	if ((inum >= n->lo && inum <= n->hi) || h2_inode_get(n->pfs, inum, &inode) != 0)
		return true;
	m = h2_inode_meta(inode);
	directory = m->type == H2_OBJECT_DIRECTORY;
	*parent = m->iparent;
	h2_inode_put(inode);
	return directory;
}

/* Climb from a directory as far as that is of use; the answer. */
static bool climb(struct names *n, uint64_t inum)
{
	for (unsigned steps = 0; inum != H2_INUM_ROOT; steps++) {
		struct entry *e = find_entry(n, inum);

		if (e && e->way != WAY_UNKNOWN)
			return e->way == WAY_ROOTED;
		if (steps > CLIMB_MAX || (e && e->type != H2_OBJECT_DIRECTORY))
			return false;
		if (e)
			inum = e->iparent;
		else if (!distant_parent(n, inum, &inum))
			return false;
	}
	return true;
}

/* Whether the parents of a directory lead to the root. Marks the way with the answer. */
static bool leads_to_root(struct names *n, struct entry *start)
{
	bool rooted = climb(n, start->inum);
	struct entry *e = start;

	while (e && e->type == H2_OBJECT_DIRECTORY && e->way == WAY_UNKNOWN) {
		e->way = rooted ? WAY_ROOTED : WAY_DETACHED;
		e = find_entry(n, e->iparent);
	}
	return rooted;
}

static void judge(struct names *n, struct entry *e)
{
	uint32_t names = atomic_load(&e->names);

	if (names == 0) {
		if (e->nlinks > 0) /* 0 was reported with the inode */
			find_inode(n, FIND_ORPHAN, e, "nlinks", e->nlinks, 0);
		return;
	}
	if (e->type != H2_OBJECT_DIRECTORY) {
		if (names != e->nlinks)
			find_inode(n, FIND_LINK_COUNT, e, "nlinks", e->nlinks, names);
		return;
	}
	/* Others than DragonFly count subdirectories, too, so that any number but 0 may be right. */
	if (e->nlinks == 0)
		find_inode(n, FIND_LINK_COUNT, e, "nlinks", 0, 1);
	if (names > 1)
		find_inode(n, FIND_DIR_NAMES, e, "names", names, 1);
	if (!leads_to_root(n, e))
		find_inode(n, FIND_DIR_DETACHED, e, NULL, 0, 0);
}

static int check_window(struct names *n)
{
	int err;

	n->count = 0;
	n->hi = UINT64_MAX;
	err = walk_index(n, n->lo > H2_INUM_ROOT ? n->lo : H2_INUM_ROOT + 1, NULL, true);
	if (!err)
		err = scan_directories(n);
	if (err || h2_check_stopped(n->c))
		return err;
	for (size_t i = 0; i < n->count && !atomic_load(&n->damaged); i++)
		judge(n, &n->table[i]);
	return 0;
}

/* A mount hands out numbers from pfs_inum + 1 on, MF 11.5. The highest one stands for all. */
static void check_counter(struct names *n)
{
	struct h2_where where = h2_where_inode(n->pfs, n->top_inum);
	uint64_t counter = h2_pfs_get_info(n->pfs)->meta.pfs_inum;

	if (n->top_inum > counter)
		h2_check_find(n->c, FIND_INUM_COUNTER,
			      &(struct h2_about){
				      .where = &where,
				      .ref = &n->top_ref,
				      .member = "inum",
				      .has_values = true,
				      .found = n->top_inum,
				      .expected = counter,
			      });
}

static void check_pfs(struct names *n)
{
	struct h2_where where = h2_where_inode(n->pfs, H2_INUM_ROOT);

	n->lo = 0;
	n->top_inum = 0;
	n->first_window = true;
	do {
		int err = check_window(n);

		if (err)
			h2_check_fail(n->c, err);
		n->first_window = false;
		n->lo = n->hi + 1;
	} while (n->lo != 0 && !h2_check_stopped(n->c) && !atomic_load(&n->damaged));
	check_counter(n);
	if (atomic_load(&n->damaged))
		h2_check_find(n->c, FIND_NAMES_UNCHECKED,
			      &(struct h2_about){.where = &where, .object = "PFS"});
}

int h2_check_names(struct h2_check *c, struct h2_fs *fs)
{
	struct names n = {.c = c};
	int err;

	/* A fifth of the memory: the map of reached storage has the rest. */
	n.max = c->options.memory_bytes / 5 / sizeof(struct entry);
	if (n.max < 1024)
		n.max = 1024;
	n.table = malloc(n.max * sizeof(struct entry));
	if (!n.table)
		return -ENOMEM;
	err = h2_pool_new(c->options.threads, sizeof(struct dirs_task), TASKS_MAX, run_dirs, &n,
			  &n.pool);
	for (size_t i = 0; !err && i < c->pfs_count && !h2_check_stopped(c); i++) {
		if (h2_pfs_open(fs, c->pfs[i].label, &n.pfs) != 0) {
			/* Why was reported by the topology phase, unless that could read it. */
			struct h2_where where = {.pfs = c->pfs[i].label};

			h2_check_find(c, FIND_NAMES_UNCHECKED,
				      &(struct h2_about){.where = &where, .object = "PFS"});
			continue;
		}
		/* Of two with one label the first is found, and that was checked already. */
		atomic_store(&n.damaged, false);
		if (h2_pfs_get_info(n.pfs)->key == c->pfs[i].key)
			check_pfs(&n);
		h2_pfs_put(n.pfs);
	}
	h2_pool_free(n.pool);
	c->summary->names = atomic_load(&n.name_count);
	h2_set_clear(&n.legacy_seen);
	free(n.legacy);
	free(n.table);
	return err ? err : atomic_load(&c->error);
}
