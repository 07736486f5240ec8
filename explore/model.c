/* The model; see model.h. */
#include "model.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <hammer2/types.h>

#include "must.h"

struct entry {
	char *token; /* as operations write it */
	struct inode *inode;
};

struct chunk { /* TREE_CHUNK bytes; what a file has none of is zero */
	uint64_t index;
	uint8_t *bytes;
};

struct inode {
	uint64_t id;
	unsigned pfs;
	struct tree_attr attr;
	bool hashed;   /* attr.content is right */
	unsigned refs; /* names, and being held */

	/* directories */
	struct inode *parent;
	struct entry *entries;
	size_t entry_count, entry_room;

	/* files and symlinks */
	struct chunk *chunks; /* by index */
	size_t chunk_count, chunk_room;
};

struct model {
	struct inode *roots[OP_PFS_MAX]; /* NULL: there is no such PFS */
	struct inode *held;
	uint64_t last_id;
	uint64_t chunk_count;
	uint64_t now; /* of the operation */
};

/* ---- inodes ---- */

static struct inode *inode_new(struct model *m, unsigned pfs, unsigned type, uint32_t mode)
{
	struct inode *inode = must_calloc(1, sizeof(*inode));

	inode->id = ++m->last_id;
	inode->pfs = pfs;
	inode->attr = (struct tree_attr){
		.type = type,
		.mode = mode,
		.atime = m->now,
		.mtime = m->now,
		.ctime = m->now,
		.btime = m->now,
	};
	return inode;
}

static void free_chunks(struct model *m, struct inode *inode, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		free(inode->chunks[i].bytes);
	if (from < to)
		memmove(&inode->chunks[from], &inode->chunks[to],
			(inode->chunk_count - to) * sizeof(*inode->chunks));
	inode->chunk_count -= to - from;
	m->chunk_count -= to - from;
}

static void inode_put(struct model *m, struct inode *inode)
{
	if (!inode || --inode->refs > 0)
		return;
	assert(inode->entry_count == 0);
	free_chunks(m, inode, 0, inode->chunk_count);
	free(inode->chunks);
	free(inode->entries);
	free(inode);
}

static void set_changed(struct model *m, struct inode *inode)
{
	inode->attr.mtime = inode->attr.ctime = m->now;
}

static bool is_dir(const struct inode *inode)
{
	return inode->attr.type == H2_OBJECT_DIRECTORY;
}

static bool is_file(const struct inode *inode)
{
	return inode->attr.type == H2_OBJECT_FILE;
}

/* ---- names ---- */

struct place {             /* where a path leads */
	struct inode *dir; /* NULL: to a root, or to what is held */
	char token[OP_PATH_MAX];
	struct inode *inode; /* NULL: there is none */
};

static struct entry *find_entry(const struct inode *dir, const char *token)
{
	for (size_t i = 0; i < dir->entry_count; i++) {
		if (strcmp(dir->entries[i].token, token) == 0)
			return &dir->entries[i];
	}
	return NULL;
}

/* Follow a path up to its last component. Returns 0, -ENOENT or -ENOTDIR. */
static int find_place(const struct model *m, const char *path, struct place *place)
{
	const char *rest;
	unsigned pfs;

	*place = (struct place){.inode = m->held};
	if (strcmp(path, OP_HELD) == 0)
		return m->held ? 0 : -ENOENT;
	pfs = op_path_pfs(path, &rest);
	if (!m->roots[pfs])
		return -ENOENT;
	place->inode = m->roots[pfs];
	while (*rest) {
		size_t len = strcspn(rest, "/");
		const struct entry *ent;

		if (!place->inode)
			return -ENOENT;
		if (!is_dir(place->inode))
			return -ENOTDIR;
		place->dir = place->inode;
		memcpy(place->token, rest, len);
		place->token[len] = '\0';
		rest += len + (rest[len] == '/');
		ent = find_entry(place->dir, place->token);
		place->inode = ent ? ent->inode : NULL;
	}
	return 0;
}

static int find_inode(const struct model *m, const char *path, struct inode **inode)
{
	struct place place;
	int err = find_place(m, path, &place);

	if (!err && !place.inode)
		err = -ENOENT;
	*inode = place.inode;
	return err;
}

/* A place for a new name. */
static int find_new_place(const struct model *m, const char *path, struct place *place)
{
	int err = find_place(m, path, place);

	if (!err && place->inode)
		err = -EEXIST;
	return err;
}

/* A name that exists, and can be taken away. */
static int find_name(const struct model *m, const char *path, struct place *place)
{
	int err = find_place(m, path, place);

	if (!err && !place->dir)
		err = -EINVAL;
	if (!err && !place->inode)
		err = -ENOENT;
	return err;
}

static void set_parent(struct inode *inode, struct inode *dir)
{
	if (is_dir(inode))
		inode->parent = dir;
}

static void add_name(struct model *m, struct inode *dir, const char *token, struct inode *inode)
{
	dir->entries = must_grow(dir->entries, dir->entry_count, &dir->entry_room,
				 sizeof(*dir->entries));
	dir->entries[dir->entry_count++] = (struct entry){must_print("%s", token), inode};
	inode->attr.nlink++;
	inode->refs++;
	set_parent(inode, dir);
	set_changed(m, dir);
}

static void remove_name(struct model *m, struct inode *dir, const char *token)
{
	struct entry *ent = find_entry(dir, token);
	struct inode *inode = ent->inode;

	free(ent->token);
	*ent = dir->entries[--dir->entry_count];
	inode->attr.nlink--;
	inode->attr.ctime = m->now;
	set_changed(m, dir);
	inode_put(m, inode);
}

/* Whether above is dir or a directory that it is in. */
static bool is_above(const struct inode *above, const struct inode *dir)
{
	while (dir && dir != above)
		dir = dir->parent;
	return dir == above;
}

/* What removing or replacing a name asks of what it leads to. */
static int check_victim(const struct inode *inode, bool directory)
{
	if (directory != is_dir(inode))
		return directory ? -ENOTDIR : -EISDIR;
	return inode->entry_count > 0 ? -ENOTEMPTY : 0;
}

static int do_remove(struct model *m, const struct op *op)
{
	struct place at;
	int err = find_name(m, op->path, &at);

	if (!err)
		err = check_victim(at.inode, op->kind == OP_RMDIR);
	if (!err)
		remove_name(m, at.dir, at.token);
	return err;
}

static int do_link(struct model *m, const struct op *op)
{
	struct inode *inode;
	struct place to;
	int err = find_inode(m, op->path, &inode);

	if (!err)
		err = find_new_place(m, op->path2, &to);
	if (err)
		return err;
	if (to.dir->pfs != inode->pfs)
		return -EXDEV;
	if (is_dir(inode))
		return -EPERM;
	if (inode->attr.nlink == 0)
		return -ENOENT;
	add_name(m, to.dir, to.token, inode);
	inode->attr.ctime = m->now;
	return 0;
}

static int check_rename(const struct place *from, const struct place *to, bool exchange)
{
	if (exchange && !to->inode)
		return -ENOENT;
	if (is_dir(from->inode) && is_above(from->inode, to->dir))
		return -EINVAL;
	if (!to->inode)
		return 0;
	if (exchange)
		return is_dir(to->inode) && is_above(to->inode, from->dir) ? -EINVAL : 0;
	return check_victim(to->inode, is_dir(from->inode));
}

static void exchange(struct model *m, struct place *from, struct place *to)
{
	find_entry(from->dir, from->token)->inode = to->inode;
	find_entry(to->dir, to->token)->inode = from->inode;
	set_parent(from->inode, to->dir);
	set_parent(to->inode, from->dir);
	from->inode->attr.ctime = to->inode->attr.ctime = m->now;
	set_changed(m, from->dir);
	set_changed(m, to->dir);
}

static int do_rename(struct model *m, const struct op *op)
{
	struct place from, to;
	struct inode *moved;
	int err = find_name(m, op->path, &from);

	if (!err)
		err = find_place(m, op->path2, &to);
	if (!err && !to.dir)
		err = -EINVAL;
	if (!err && to.dir->pfs != from.dir->pfs)
		err = -EXDEV;
	/* Two names of one file: nothing happens. */
	if (!err && from.inode == to.inode)
		return 0;
	if (!err)
		err = check_rename(&from, &to, op->kind == OP_EXCHANGE);
	if (err)
		return err;
	if (op->kind == OP_EXCHANGE) {
		exchange(m, &from, &to);
		return 0;
	}
	moved = from.inode;
	moved->refs++;
	if (to.inode)
		remove_name(m, to.dir, to.token);
	remove_name(m, from.dir, from.token);
	add_name(m, to.dir, to.token, moved);
	moved->attr.ctime = m->now;
	inode_put(m, moved);
	return 0;
}

/* ---- contents ---- */

/* The first chunk whose index is at least index. */
static size_t chunk_at(const struct inode *inode, uint64_t index)
{
	size_t lo = 0, hi = inode->chunk_count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (inode->chunks[mid].index < index)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static uint8_t *find_chunk(const struct inode *inode, uint64_t index)
{
	size_t at = chunk_at(inode, index);

	return at < inode->chunk_count && inode->chunks[at].index == index ? inode->chunks[at].bytes
									   : NULL;
}

static uint8_t *make_chunk(struct model *m, struct inode *inode, uint64_t index)
{
	size_t at = chunk_at(inode, index);
	uint8_t *bytes = find_chunk(inode, index);

	if (bytes)
		return bytes;
	inode->chunks = must_grow(inode->chunks, inode->chunk_count, &inode->chunk_room,
				  sizeof(*inode->chunks));
	memmove(&inode->chunks[at + 1], &inode->chunks[at],
		(inode->chunk_count - at) * sizeof(*inode->chunks));
	bytes = must_calloc(1, TREE_CHUNK);
	inode->chunks[at] = (struct chunk){index, bytes};
	inode->chunk_count++;
	m->chunk_count++;
	return bytes;
}

static void put_bytes(struct model *m, struct inode *inode, uint64_t offset, const uint8_t *bytes,
		      uint64_t len)
{
	inode->hashed = false;
	if (offset + len > inode->attr.size)
		inode->attr.size = offset + len;
	while (len > 0) {
		size_t at = (size_t)(offset % TREE_CHUNK);
		size_t part = TREE_CHUNK - at < len ? TREE_CHUNK - at : (size_t)len;

		memcpy(make_chunk(m, inode, offset / TREE_CHUNK) + at, bytes, part);
		offset += part;
		bytes += part;
		len -= part;
	}
}

/* Make [offset, end) zero. */
static void put_zeros(struct model *m, struct inode *inode, uint64_t offset, uint64_t end)
{
	inode->hashed = false;
	while (offset < end) {
		uint64_t index = offset / TREE_CHUNK;
		uint64_t stop = (index + 1) * TREE_CHUNK < end ? (index + 1) * TREE_CHUNK : end;
		size_t at = chunk_at(inode, index);

		if (at == inode->chunk_count)
			return;
		if (inode->chunks[at].index != index) {
			offset = inode->chunks[at].index * TREE_CHUNK;
			continue;
		}
		if (stop - offset == TREE_CHUNK)
			free_chunks(m, inode, at, at + 1);
		else
			memset(inode->chunks[at].bytes + offset % TREE_CHUNK, 0, stop - offset);
		offset = stop;
	}
}

static void set_size(struct model *m, struct inode *inode, uint64_t size)
{
	if (size < inode->attr.size)
		put_zeros(m, inode, size, inode->attr.size);
	inode->attr.size = size;
}

static void get_bytes(const struct inode *inode, uint64_t offset, uint8_t *bytes, uint64_t len)
{
	while (len > 0) {
		const uint8_t *chunk = find_chunk(inode, offset / TREE_CHUNK);
		size_t at = (size_t)(offset % TREE_CHUNK);
		size_t part = TREE_CHUNK - at < len ? TREE_CHUNK - at : (size_t)len;

		if (chunk)
			memcpy(bytes, chunk + at, part);
		else
			memset(bytes, 0, part);
		offset += part;
		bytes += part;
		len -= part;
	}
}

static uint64_t content_hash(const struct inode *inode)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < inode->chunk_count; i++)
		sum = tree_content_add(sum, inode->chunks[i].index, inode->chunks[i].bytes);
	return sum;
}

static int find_file(const struct model *m, const char *path, struct inode **inode)
{
	int err = find_inode(m, path, inode);

	return !err && !is_file(*inode) ? -EINVAL : err;
}

static int do_write(struct model *m, const struct op *op, uint64_t number, uint64_t done)
{
	bool append = op->kind == OP_APPEND;
	uint64_t len = append ? op->n[0] : op->n[1];
	struct inode *inode;
	uint8_t *bytes;
	int err = find_file(m, op->path, &inode);

	if (err || len == 0)
		return err;
	bytes = must_calloc(1, len);
	op_data_make(bytes, len, op->data, number);
	put_bytes(m, inode, append ? inode->attr.size : op->n[0], bytes, done < len ? done : len);
	free(bytes);
	set_changed(m, inode);
	return 0;
}

static int do_copy(struct model *m, const struct op *op, uint64_t done)
{
	uint64_t from = op->n[0], to = op->n[1], len = op->n[2];
	struct inode *source, *target;
	uint8_t *bytes;
	int err = find_file(m, op->path, &source);

	if (!err)
		err = find_file(m, op->path2, &target);
	if (err || from >= source->attr.size)
		return err;
	len = source->attr.size - from < len ? source->attr.size - from : len;
	if (source == target && from < to + len && to < from + len)
		return -EINVAL;
	len = done < len ? done : len;
	if (len == 0)
		return 0;
	bytes = must_calloc(1, len);
	get_bytes(source, from, bytes, len);
	put_bytes(m, target, to, bytes, len);
	free(bytes);
	set_changed(m, target);
	return 0;
}

static int do_allocate(struct model *m, const struct op *op)
{
	uint64_t offset = op->n[0], len = op->n[1];
	struct inode *inode;
	int err = find_file(m, op->path, &inode);

	if (!err && len == 0)
		err = -EINVAL;
	if (err)
		return err;
	if (op->kind == OP_PUNCH || op->kind == OP_ZERO)
		put_zeros(m, inode, offset, offset + len);
	if ((op->kind == OP_ALLOCATE || op->kind == OP_ZERO) && offset + len > inode->attr.size)
		inode->attr.size = offset + len;
	set_changed(m, inode);
	return 0;
}

/* ---- attributes ---- */

static int do_set(struct model *m, const struct op *op)
{
	struct inode *inode;
	int err = find_inode(m, op->path, &inode);
	struct tree_attr *a;

	if (err)
		return err;
	a = &inode->attr;
	switch (op->kind) {
	case OP_TRUNCATE:
		if (!is_file(inode))
			return -EINVAL;
		set_size(m, inode, op->n[0]);
		a->mtime = m->now;
		break;
	case OP_CHMOD:
		a->mode = (uint32_t)op->n[0] & 07777;
		break;
	case OP_CHOWN:
		a->uid = (uint32_t)op->n[0];
		a->gid = (uint32_t)op->n[1];
		/* chown(2): setgid without x for the group means something else. */
		if (!is_dir(inode))
			a->mode &= a->mode & 00010 ? ~06000u : ~04000u;
		break;
	case OP_TIMES:
		a->atime = op->n[0];
		a->mtime = op->n[1];
		break;
	case OP_FLAGS:
		a->uflags = (uint32_t)op->n[0];
		break;
	default:
		a->comp_algo = (uint32_t)op->n[0];
		a->check_algo = (uint32_t)op->n[1];
		break;
	}
	a->ctime = m->now;
	return 0;
}

/* ---- creating ---- */

static int do_create(struct model *m, const struct op *op, uint64_t number)
{
	static const struct {
		uint8_t type;
		uint32_t mode;
	} made[] = {
		[OP_CREATE] = {H2_OBJECT_FILE, 0644},
		[OP_MKDIR] = {H2_OBJECT_DIRECTORY, 0755},
		[OP_SYMLINK] = {H2_OBJECT_SYMLINK, 0777},
		[OP_FIFO] = {H2_OBJECT_FIFO, 0600},
	};
	struct inode *inode;
	struct place at;
	int err = find_new_place(m, op->path, &at);

	if (err)
		return err;
	inode = inode_new(m, at.dir->pfs, made[op->kind].type, made[op->kind].mode);
	inode->attr.comp_algo = at.dir->attr.comp_algo;
	inode->attr.check_algo = at.dir->attr.check_algo;
	if (at.dir->attr.mode & 02000) {
		inode->attr.gid = at.dir->attr.gid;
		inode->attr.mode |= op->kind == OP_MKDIR ? 02000 : 0;
	}
	if (op->kind == OP_SYMLINK) {
		char *target = must_calloc(1, op->n[0]);

		op_target_make(target, op->n[0], number);
		put_bytes(m, inode, 0, (uint8_t *)target, op->n[0]);
		free(target);
	}
	add_name(m, at.dir, at.token, inode);
	return 0;
}

static void let_go(struct model *m)
{
	inode_put(m, m->held);
	m->held = NULL;
}

static int do_hold(struct model *m, const struct op *op)
{
	struct inode *inode;
	int err = find_inode(m, op->path, &inode);

	if (err)
		return err;
	inode->refs++;
	let_go(m);
	m->held = inode;
	return 0;
}

/* ---- PFSs ---- */

static void free_below(struct model *m, struct inode *dir)
{
	while (dir->entry_count > 0) {
		struct entry *ent = &dir->entries[--dir->entry_count];

		free(ent->token);
		if (is_dir(ent->inode))
			free_below(m, ent->inode);
		inode_put(m, ent->inode);
	}
}

static void free_root(struct model *m, unsigned pfs)
{
	if (!m->roots[pfs])
		return;
	free_below(m, m->roots[pfs]);
	inode_put(m, m->roots[pfs]);
	m->roots[pfs] = NULL;
}

struct copies { /* of files with several names */
	struct inode *(*pairs)[2];
	size_t count, room;
};

static struct inode *copy_inode(struct model *m, const struct inode *from, unsigned pfs)
{
	struct inode *to = must_calloc(1, sizeof(*to));

	*to = (struct inode){
		.id = ++m->last_id,
		.pfs = pfs,
		.attr = from->attr,
		.hashed = from->hashed,
	};
	for (size_t i = 0; i < from->chunk_count; i++)
		memcpy(make_chunk(m, to, from->chunks[i].index), from->chunks[i].bytes, TREE_CHUNK);
	return to;
}

static struct inode *copy_file(struct model *m, struct inode *from, unsigned pfs,
			       struct copies *copies)
{
	struct inode *to;

	for (size_t i = 0; i < copies->count; i++) {
		if (copies->pairs[i][0] == from)
			return copies->pairs[i][1];
	}
	to = copy_inode(m, from, pfs);
	copies->pairs = must_grow(copies->pairs, copies->count, &copies->room,
				  sizeof(*copies->pairs));
	copies->pairs[copies->count][0] = from;
	copies->pairs[copies->count++][1] = to;
	return to;
}

static struct inode *copy_dir(struct model *m, const struct inode *from, unsigned pfs,
			      struct copies *copies)
{
	struct inode *dir = copy_inode(m, from, pfs);

	for (size_t i = 0; i < from->entry_count; i++) {
		struct inode *below = from->entries[i].inode;
		struct inode *copy = is_dir(below) ? copy_dir(m, below, pfs, copies)
						   : copy_file(m, below, pfs, copies);

		dir->entries = must_grow(dir->entries, dir->entry_count, &dir->entry_room,
					 sizeof(*dir->entries));
		dir->entries[dir->entry_count++] =
			(struct entry){must_print("%s", from->entries[i].token), copy};
		copy->refs++;
		/* Names elsewhere do not count. */
		copy->attr.nlink = copy->refs;
		set_parent(copy, dir);
	}
	return dir;
}

/* What is below a directory becomes a PFS. */
static void copy_root(struct model *m, const struct inode *from, unsigned to)
{
	struct copies copies = {0};

	m->roots[to] = copy_dir(m, from, to, &copies);
	m->roots[to]->refs = 1;
	free(copies.pairs);
}

static int do_pfs(struct model *m, const struct op *op)
{
	const char *rest;
	unsigned pfs = op_path_pfs(op->path, &rest), other = op_path_pfs(op->path2, &rest);
	struct inode *dir;
	int err;

	let_go(m);
	if (!m->roots[pfs])
		return -ENOENT;
	switch (op->kind) {
	case OP_SNAPSHOT:
		if (m->roots[other])
			return -EEXIST;
		copy_root(m, m->roots[pfs], other);
		return 0;
	case OP_SNAPSHOT_DIR:
		err = find_inode(m, op->path, &dir);
		if (!err && !is_dir(dir))
			err = -ENOTDIR;
		if (!err && m->roots[other])
			err = -EEXIST;
		if (!err)
			copy_root(m, dir, other);
		return err;
	case OP_ROLLBACK:
		if (!m->roots[other])
			return -ENOENT;
		if (other == pfs)
			return -EINVAL;
		free_root(m, pfs);
		copy_root(m, m->roots[other], pfs);
		return 0;
	default:
		free_root(m, pfs);
		return 0;
	}
}

/* ---- the whole ---- */

int model_do(struct model *m, const struct op *op, uint64_t number, uint64_t done)
{
	m->now = TREE_TIME_OP | number;
	switch ((enum op_kind)op->kind) {
	case OP_CREATE:
	case OP_MKDIR:
	case OP_SYMLINK:
	case OP_FIFO:
		return do_create(m, op, number);
	case OP_LINK:
		return do_link(m, op);
	case OP_UNLINK:
	case OP_RMDIR:
		return do_remove(m, op);
	case OP_RENAME:
	case OP_EXCHANGE:
		return do_rename(m, op);
	case OP_WRITE:
	case OP_APPEND:
		return do_write(m, op, number, done);
	case OP_COPY:
		return do_copy(m, op, done);
	case OP_PUNCH:
	case OP_ZERO:
	case OP_ALLOCATE:
	case OP_RESERVE:
		return do_allocate(m, op);
	case OP_TRUNCATE:
	case OP_CHMOD:
	case OP_CHOWN:
	case OP_TIMES:
	case OP_FLAGS:
	case OP_METHODS:
		return do_set(m, op);
	case OP_HOLD:
		return do_hold(m, op);
	case OP_SNAPSHOT:
	case OP_SNAPSHOT_DIR:
	case OP_DELETE:
	case OP_ROLLBACK:
		return do_pfs(m, op);
	case OP_RELEASE:
	case OP_REMOUNT:
		let_go(m);
		return 0;
	default:
		return 0;
	}
}

struct model *model_new(unsigned pfs_count, uint64_t time_us)
{
	struct model *m = must_calloc(1, sizeof(*m));

	assert(pfs_count >= 1 && pfs_count <= OP_PFS_SNAPSHOT);
	m->now = time_us;
	for (unsigned i = 0; i < pfs_count; i++) {
		struct inode *root = inode_new(m, i, H2_OBJECT_DIRECTORY, 0755);

		/* newfs: BS 1.3. What atime it leaves at 0 a reader shows as mtime (MF 6.5). */
		root->attr.comp_algo = H2_COMP_LZ4;
		root->attr.check_algo = H2_CHECK_XXHASH64;
		root->attr.atime = 0;
		root->attr.nlink = 1;
		root->refs = 1;
		m->roots[i] = root;
	}
	return m;
}

void model_free(struct model *m)
{
	if (!m)
		return;
	let_go(m);
	for (unsigned i = 0; i < OP_PFS_MAX; i++)
		free_root(m, i);
	free(m);
}

static void add_below(struct inode *dir, const char *path, struct tree *tree)
{
	for (size_t i = 0; i < dir->entry_count; i++) {
		struct inode *inode = dir->entries[i].inode;
		const char *rest = dir->entries[i].token;
		char name[OP_NAME_MAX];
		char *below;

		op_path_next(&rest, name);
		below = must_print("%s/%s", path, name);
		if (!inode->hashed)
			inode->attr.content = content_hash(inode);
		inode->hashed = true;
		if (is_dir(inode))
			add_below(inode, below, tree);
		tree_add(tree, below, inode->id, &inode->attr);
	}
}

void model_tree(struct model *m, struct tree *tree)
{
	*tree = (struct tree){0};
	for (unsigned i = 0; i < OP_PFS_MAX; i++) {
		const char *prefix = op_pfs_prefixes[i];

		if (!m->roots[i])
			continue;
		tree_add(tree, must_print("%s/", prefix), m->roots[i]->id, &m->roots[i]->attr);
		add_below(m->roots[i], prefix, tree);
	}
	tree_finish(tree);
}

/* ---- choosing ---- */

static void add_path(struct model_paths *p, bool dir, const char *path)
{
	if (dir) {
		p->dirs = must_grow(p->dirs, p->dir_count, &p->dir_room, sizeof(*p->dirs));
		strcpy(p->dirs[p->dir_count++], path);
	} else {
		p->others = must_grow(p->others, p->other_count, &p->other_room,
				      sizeof(*p->others));
		strcpy(p->others[p->other_count++], path);
	}
}

static void add_paths(const struct inode *dir, const char *path, struct model_paths *p)
{
	for (size_t i = 0; i < dir->entry_count; i++) {
		const struct entry *ent = &dir->entries[i];
		char *below = must_print("%s/%s", path, ent->token);

		if (strlen(below) < OP_PATH_MAX) {
			add_path(p, is_dir(ent->inode), below);
			if (is_dir(ent->inode))
				add_paths(ent->inode, below, p);
		}
		free(below);
	}
}

void model_paths(struct model *m, struct model_paths *paths)
{
	*paths = (struct model_paths){0};
	for (unsigned i = 0; i < OP_PFS_MAX; i++) {
		char root[OP_PATH_MAX];

		if (!m->roots[i])
			continue;
		snprintf(root, sizeof(root), "%s/", op_pfs_prefixes[i]);
		add_path(paths, true, root);
		add_paths(m->roots[i], op_pfs_prefixes[i], paths);
	}
}

void model_paths_fini(struct model_paths *paths)
{
	free(paths->dirs);
	free(paths->others);
}

bool model_has_pfs(const struct model *m, unsigned pfs)
{
	return m->roots[pfs];
}

bool model_file_size(struct model *m, const char *path, uint64_t *size)
{
	struct inode *inode;

	if (find_file(m, path, &inode) != 0)
		return false;
	*size = inode->attr.size;
	return true;
}

uint64_t model_bytes(const struct model *m)
{
	return m->chunk_count * TREE_CHUNK;
}
