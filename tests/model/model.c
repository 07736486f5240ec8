/* The model; see model.h. */
#include "model.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOT_LISTED UINT32_MAX
#define HASH_MIN 1024u

static void *must(void *memory)
{
	if (!memory) {
		fprintf(stderr, "model: out of memory\n");
		abort();
	}
	return memory;
}

/* ---- errors ---- */

static void may_fail(struct model_errors *e, int err)
{
	if (model_allows(e, err))
		return;
	assert(e->count < sizeof(e->errs) / sizeof(e->errs[0]));
	e->errs[e->count++] = err;
}

bool model_allows(const struct model_errors *e, int err)
{
	for (unsigned i = 0; i < e->count; i++) {
		if (e->errs[i] == err)
			return true;
	}
	return err == 0 && (e->count == 0 || e->or_success || e->or_done);
}

/* ---- times ---- */

static void set_now(const struct model *m, struct model_time *t)
{
	t->lo = m->now_lo;
	t->hi = m->now_hi;
}

/* The time may have been set to now, or not. */
static void set_maybe_now(const struct model *m, struct model_time *t)
{
	if (m->now_lo < t->lo)
		t->lo = m->now_lo;
	if (m->now_hi > t->hi)
		t->hi = m->now_hi;
}

static void set_changed(const struct model *m, struct model_inode *inode)
{
	set_now(m, &inode->mtime);
	set_now(m, &inode->ctime);
}

/* ---- lists ---- */

static void list_add(struct model *m, enum model_list which, struct model_inode *inode)
{
	if (inode->slots[which] != NOT_LISTED)
		return;
	if (m->counts[which] == m->rooms[which]) {
		m->rooms[which] = m->rooms[which] ? m->rooms[which] * 2 : 64;
		m->lists[which] = must(
			realloc(m->lists[which], m->rooms[which] * sizeof(struct model_inode *)));
	}
	inode->slots[which] = m->counts[which];
	m->lists[which][m->counts[which]++] = inode;
}

static void list_remove(struct model *m, enum model_list which, struct model_inode *inode)
{
	uint32_t slot = inode->slots[which];

	if (slot == NOT_LISTED)
		return;
	m->lists[which][slot] = m->lists[which][--m->counts[which]];
	m->lists[which][slot]->slots[which] = slot;
	inode->slots[which] = NOT_LISTED;
}

/* ---- the tables of inodes and names ---- */

static uint32_t hash_id(const struct model *m, uint64_t id)
{
	return (uint32_t)(id * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (m->hash_size - 1);
}

static uint32_t hash_name(const struct model *m, const struct model_inode *dir, const char *name,
			  size_t len)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325) ^ dir->id;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (uint8_t)name[i]) * UINT64_C(0x100000001b3);
	return (uint32_t)(h >> 32 ^ h) & (m->hash_size - 1);
}

static void hash_grow(struct model *m)
{
	struct model_inode **inodes = m->inode_hash;
	struct model_entry **entries = m->entry_hash;
	uint32_t old_size = m->hash_size;

	m->hash_size *= 4;
	m->inode_hash = must(calloc(m->hash_size, sizeof(struct model_inode *)));
	m->entry_hash = must(calloc(m->hash_size, sizeof(struct model_entry *)));
	for (uint32_t i = 0; i < old_size; i++) {
		while (inodes[i]) {
			struct model_inode *inode = inodes[i];
			uint32_t at = hash_id(m, inode->id);

			inodes[i] = inode->hash_next;
			inode->hash_next = m->inode_hash[at];
			m->inode_hash[at] = inode;
		}
		while (entries[i]) {
			struct model_entry *ent = entries[i];
			uint32_t at = hash_name(m, ent->dir, ent->name, ent->name_len);

			entries[i] = ent->hash_next;
			ent->hash_next = m->entry_hash[at];
			m->entry_hash[at] = ent;
		}
	}
	free(inodes);
	free(entries);
}

struct model_inode *model_find(const struct model *m, uint64_t id)
{
	struct model_inode *inode = m->inode_hash[hash_id(m, id)];

	while (inode && inode->id != id)
		inode = inode->hash_next;
	return inode;
}

struct model_entry *model_lookup(const struct model_inode *dir, const struct model *m,
				 const char *name, size_t len)
{
	struct model_entry *ent = m->entry_hash[hash_name(m, dir, name, len)];

	while (ent && (ent->dir != dir || ent->name_len != len || memcmp(ent->name, name, len)))
		ent = ent->hash_next;
	return ent;
}

/* ---- inodes and entries ---- */

static void list_by_type(struct model *m, struct model_inode *inode)
{
	list_add(m, MODEL_ALL, inode);
	if (inode->type == H2_OBJECT_DIRECTORY)
		list_add(m, MODEL_DIRS, inode);
	else if (inode->type == H2_OBJECT_FILE)
		list_add(m, MODEL_FILES, inode);
	else
		list_add(m, MODEL_OTHERS, inode);
}

static struct model_inode *inode_new(struct model *m, uint64_t id, uint8_t type)
{
	struct model_inode *inode = must(calloc(1, sizeof(*inode)));
	uint32_t at;

	if (m->counts[MODEL_ALL] >= m->hash_size || m->entry_count >= m->hash_size)
		hash_grow(m);
	at = hash_id(m, id);
	for (unsigned i = 0; i < MODEL_LISTS; i++)
		inode->slots[i] = NOT_LISTED;
	inode->id = id;
	inode->type = type;
	inode->hash_next = m->inode_hash[at];
	m->inode_hash[at] = inode;
	list_by_type(m, inode);
	set_now(m, &inode->atime);
	set_now(m, &inode->mtime);
	set_now(m, &inode->ctime);
	set_now(m, &inode->btime);
	inode->atime_unset = true;
	inode->dir_links = 1;
	return inode;
}

static void chunks_free(struct model *m, struct model_inode *inode, uint32_t from, uint32_t to)
{
	if (from == to)
		return;
	for (uint32_t i = from; i < to; i++)
		free(inode->chunks[i].bytes);
	memmove(&inode->chunks[from], &inode->chunks[to],
		(inode->chunk_count - to) * sizeof(struct model_chunk));
	inode->chunk_count -= to - from;
	m->chunk_count -= to - from;
}

static void inode_free(struct model *m, struct model_inode *inode)
{
	struct model_inode **link = &m->inode_hash[hash_id(m, inode->id)];

	while (*link != inode)
		link = &(*link)->hash_next;
	*link = inode->hash_next;
	for (unsigned i = 0; i < MODEL_LISTS; i++)
		list_remove(m, (enum model_list)i, inode);
	chunks_free(m, inode, 0, inode->chunk_count);
	free(inode->chunks);
	free(inode->links);
	free(inode->entries);
	free(inode->target);
	free(inode);
}

static void tell_watches(struct model *m, const struct model_entry *ent)
{
	for (struct model_watch *w = m->watches; w; w = w->next) {
		if (w->dir == ent->dir)
			w->added(w, ent);
	}
}

static void link_entry(struct model *m, struct model_entry *ent, struct model_inode *inode)
{
	if (inode->link_count == inode->link_room) {
		inode->link_room = inode->link_room ? inode->link_room * 2 : 1;
		inode->links = must(
			realloc(inode->links, inode->link_room * sizeof(struct model_entry *)));
	}
	if (inode->link_count == 0)
		m->type_counts[inode->type & 15]++;
	ent->inode = inode;
	ent->link_slot = inode->link_count;
	inode->links[inode->link_count++] = ent;
	inode->nameless_yet = false;
	if (inode->type == H2_OBJECT_DIRECTORY)
		inode->parent = ent->dir;
}

static void unlink_entry(struct model *m, struct model_entry *ent)
{
	struct model_inode *inode = ent->inode;

	inode->links[ent->link_slot] = inode->links[--inode->link_count];
	inode->links[ent->link_slot]->link_slot = ent->link_slot;
	if (inode->link_count == 0)
		m->type_counts[inode->type & 15]--;
	ent->inode = NULL;
}

static void entry_add(struct model *m, struct model_inode *dir, const char *name, size_t len,
		      struct model_inode *inode)
{
	struct model_entry *ent = must(malloc(sizeof(*ent) + len));
	uint32_t at = hash_name(m, dir, name, len);

	memset(ent, 0, sizeof(*ent));
	memcpy(ent->name, name, len);
	ent->name_len = (uint16_t)len;
	ent->dir = dir;
	ent->born = m->number;
	ent->tag = m->tag;
	ent->hash_next = m->entry_hash[at];
	m->entry_hash[at] = ent;
	if (dir->entry_count == dir->entry_room) {
		dir->entry_room = dir->entry_room ? dir->entry_room * 2 : 8;
		dir->entries = must(
			realloc(dir->entries, dir->entry_room * sizeof(struct model_entry *)));
	}
	ent->dir_slot = dir->entry_count;
	dir->entries[dir->entry_count++] = ent;
	m->entry_count++;
	link_entry(m, ent, inode);
	tell_watches(m, ent);
}

static void entry_remove(struct model *m, struct model_entry *ent)
{
	struct model_inode *dir = ent->dir;
	struct model_entry **link = &m->entry_hash[hash_name(m, dir, ent->name, ent->name_len)];

	while (*link != ent)
		link = &(*link)->hash_next;
	*link = ent->hash_next;
	dir->entries[ent->dir_slot] = dir->entries[--dir->entry_count];
	dir->entries[ent->dir_slot]->dir_slot = ent->dir_slot;
	m->entry_count--;
	unlink_entry(m, ent);
	free(ent);
}

/* What follows when an inode has one name less. Returns it if that was the last one. */
static struct model_inode *lost_name(struct model *m, struct model_inode *inode)
{
	if (inode->link_count > 0) {
		set_now(m, &inode->ctime);
		return NULL;
	}
	set_maybe_now(m, &inode->ctime);
	if (inode->type == H2_OBJECT_DIRECTORY) {
		set_maybe_now(m, &inode->mtime);
		inode->removed = true;
		inode->parent = NULL;
	}
	return inode;
}

struct model *model_new(void)
{
	struct model *m = must(calloc(1, sizeof(*m)));

	m->hash_size = HASH_MIN;
	m->inode_hash = must(calloc(m->hash_size, sizeof(struct model_inode *)));
	m->entry_hash = must(calloc(m->hash_size, sizeof(struct model_entry *)));
	m->root = inode_new(m, MODEL_ROOT_ID, H2_OBJECT_DIRECTORY);
	m->root->mode = 0755;
	m->root->parent = m->root;
	return m;
}

void model_free(struct model *m)
{
	if (!m)
		return;
	for (uint32_t i = 0; i < m->hash_size; i++) {
		while (m->entry_hash[i]) {
			struct model_entry *ent = m->entry_hash[i];

			m->entry_hash[i] = ent->hash_next;
			free(ent);
		}
	}
	while (m->counts[MODEL_ALL] > 0)
		inode_free(m, m->lists[MODEL_ALL][0]);
	for (unsigned i = 0; i < MODEL_LISTS; i++)
		free(m->lists[i]);
	free(m->inode_hash);
	free(m->entry_hash);
	free(m);
}

void model_hold(struct model *m, struct model_inode *inode, bool held)
{
	inode->held = held;
	if (held)
		list_add(m, MODEL_HELD, inode);
	else
		list_remove(m, MODEL_HELD, inode);
}

void model_drop(struct model *m, struct model_inode *inode)
{
	assert(model_is_orphan(m, inode));
	assert(!inode->held);
	assert(inode->entry_count == 0);
	inode_free(m, inode);
}

/* ---- names ---- */

static bool bad_name(const char *name, size_t len)
{
	return len == 0 || memchr(name, '/', len) || memchr(name, '\0', len) ||
	       (len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.');
}

/* What a directory and a name say about a change of the directory. Returns whether it is one. */
static bool check_dir(const struct model_inode *dir, const char *name, size_t len,
		      struct model_errors *e)
{
	if (len > MODEL_NAME_MAX)
		may_fail(e, ENAMETOOLONG);
	else if (bad_name(name, len))
		may_fail(e, EINVAL);
	if (dir->type != H2_OBJECT_DIRECTORY) {
		may_fail(e, ENOTDIR);
		return false;
	}
	if (dir->removed)
		may_fail(e, ENOENT);
	if (dir->uflags & MODEL_IMMUTABLE)
		may_fail(e, EPERM);
	return true;
}

void model_can_create(const struct model *m, const struct model_inode *dir, const char *name,
		      size_t len, struct model_errors *e)
{
	if (check_dir(dir, name, len, e) && model_lookup(dir, m, name, len))
		may_fail(e, EEXIST);
}

void model_can_create_unnamed(const struct model_inode *dir, struct model_errors *e)
{
	if (dir->type != H2_OBJECT_DIRECTORY)
		may_fail(e, ENOTDIR);
	/* Nothing is put into the directory, so these may well not matter. */
	if (dir->removed) {
		may_fail(e, ENOENT);
		e->or_success = true;
	}
	if (dir->uflags & MODEL_IMMUTABLE) {
		may_fail(e, EPERM);
		e->or_success = true;
	}
}

static struct model_inode *make_inode(struct model *m, const struct model_inode *dir,
				      const struct model_new *new_)
{
	struct model_inode *inode = inode_new(m, new_->id, new_->type);

	inode->mode = new_->mode;
	inode->uid = new_->uid;
	inode->gid = new_->gid;
	if (dir->mode & 02000) {
		inode->gid = dir->gid;
		if (new_->type == H2_OBJECT_DIRECTORY)
			inode->mode |= 02000;
	}
	if (new_->type == H2_OBJECT_CHAR_DEVICE || new_->type == H2_OBJECT_BLOCK_DEVICE) {
		inode->rmajor = new_->rmajor;
		inode->rminor = new_->rminor;
	}
	inode->comp_algo = new_->comp_algo < 0 ? dir->comp_algo : (uint8_t)new_->comp_algo;
	inode->check_algo = new_->check_algo < 0 ? dir->check_algo : (uint8_t)new_->check_algo;
	if (new_->type == H2_OBJECT_SYMLINK) {
		inode->target = must(malloc(new_->target_len));
		memcpy(inode->target, new_->target, new_->target_len);
		inode->size = new_->target_len;
	}
	return inode;
}

struct model_inode *model_create(struct model *m, struct model_inode *dir, const char *name,
				 size_t len, const struct model_new *new_)
{
	struct model_inode *inode = make_inode(m, dir, new_);

	entry_add(m, dir, name, len, inode);
	set_changed(m, dir);
	return inode;
}

struct model_inode *model_create_unnamed(struct model *m, struct model_inode *dir,
					 const struct model_new *new_)
{
	struct model_inode *inode = make_inode(m, dir, new_);

	inode->nameless_yet = true;
	model_hold(m, inode, true);
	return inode;
}

void model_can_link(const struct model *m, const struct model_inode *dir, const char *name,
		    size_t len, const struct model_inode *inode, struct model_errors *e)
{
	if (check_dir(dir, name, len, e) && model_lookup(dir, m, name, len))
		may_fail(e, EEXIST);
	if (inode->type == H2_OBJECT_DIRECTORY)
		may_fail(e, EPERM);
	if (inode->uflags & (MODEL_IMMUTABLE | MODEL_APPEND))
		may_fail(e, EPERM);
	if (model_is_orphan(m, inode) && !inode->nameless_yet)
		may_fail(e, ENOENT);
}

void model_link(struct model *m, struct model_inode *dir, const char *name, size_t len,
		struct model_inode *inode)
{
	entry_add(m, dir, name, len, inode);
	set_now(m, &inode->ctime);
	set_changed(m, dir);
}

/* What forbids to take a name away. */
static void check_victim(const struct model_entry *ent, struct model_errors *e)
{
	if (ent->dir->uflags & MODEL_APPEND)
		may_fail(e, EPERM);
	if (ent->inode->uflags & (MODEL_IMMUTABLE | MODEL_APPEND | MODEL_NO_UNLINK))
		may_fail(e, EPERM);
}

void model_can_remove(const struct model *m, const struct model_inode *dir, const char *name,
		      size_t len, bool directory, struct model_errors *e)
{
	const struct model_entry *ent;

	if (!check_dir(dir, name, len, e))
		return;
	ent = model_lookup(dir, m, name, len);
	if (!ent) {
		may_fail(e, ENOENT);
		if (dir->uflags & MODEL_APPEND)
			may_fail(e, EPERM);
		return;
	}
	check_victim(ent, e);
	if (directory && ent->inode->type != H2_OBJECT_DIRECTORY)
		may_fail(e, ENOTDIR);
	if (!directory && ent->inode->type == H2_OBJECT_DIRECTORY)
		may_fail(e, EISDIR);
	if (directory && ent->inode->entry_count > 0)
		may_fail(e, ENOTEMPTY);
}

struct model_inode *model_remove(struct model *m, struct model_inode *dir, const char *name,
				 size_t len)
{
	struct model_entry *ent = model_lookup(dir, m, name, len);
	struct model_inode *inode = ent->inode;

	entry_remove(m, ent);
	set_changed(m, dir);
	return lost_name(m, inode);
}

/* Whether above is dir or one of the directories that it is in. */
static bool is_above(const struct model_inode *above, const struct model_inode *dir)
{
	while (dir && dir != above && dir->parent != dir)
		dir = dir->parent;
	return dir == above;
}

void model_can_rename(const struct model *m, const struct model_inode *from_dir, const char *from,
		      size_t from_len, const struct model_inode *to_dir, const char *to,
		      size_t to_len, unsigned flags, struct model_errors *e)
{
	const struct model_entry *source = NULL, *target = NULL;
	bool exchange = flags & MODEL_EXCHANGE;
	bool source_is_dir, target_is_dir;

	if (flags & ~(MODEL_NOREPLACE | MODEL_EXCHANGE) ||
	    flags == (MODEL_NOREPLACE | MODEL_EXCHANGE))
		may_fail(e, EINVAL);
	if (check_dir(from_dir, from, from_len, e))
		source = model_lookup(from_dir, m, from, from_len);
	if (check_dir(to_dir, to, to_len, e))
		target = model_lookup(to_dir, m, to, to_len);
	if (target && flags & MODEL_NOREPLACE)
		may_fail(e, EEXIST);
	if (!target && exchange && !model_allows(e, ENOTDIR))
		may_fail(e, ENOENT);
	if (!source || (exchange && !target)) {
		if (from_dir->uflags & MODEL_APPEND || (exchange && to_dir->uflags & MODEL_APPEND))
			may_fail(e, EPERM);
	}
	if (!source) {
		if (!model_allows(e, ENOTDIR))
			may_fail(e, ENOENT);
		return;
	}
	check_victim(source, e);
	source_is_dir = source->inode->type == H2_OBJECT_DIRECTORY;
	if (source_is_dir && is_above(source->inode, to_dir))
		may_fail(e, EINVAL);
	if (!target)
		return;
	check_victim(target, e);
	if (target->inode == source->inode) { /* nothing to do, whatever else there is */
		e->or_success = !(flags & MODEL_NOREPLACE);
		return;
	}
	target_is_dir = target->inode->type == H2_OBJECT_DIRECTORY;
	if (exchange) {
		if (target_is_dir && is_above(target->inode, from_dir))
			may_fail(e, EINVAL);
		return;
	}
	if (source_is_dir && !target_is_dir)
		may_fail(e, ENOTDIR);
	if (!source_is_dir && target_is_dir)
		may_fail(e, EISDIR);
	if (target_is_dir && (target->inode->entry_count > 0))
		may_fail(e, ENOTEMPTY);
}

static void exchange_entries(struct model *m, struct model_entry *a, struct model_entry *b)
{
	struct model_inode *was_a = a->inode, *was_b = b->inode;

	unlink_entry(m, a);
	unlink_entry(m, b);
	link_entry(m, a, was_b);
	link_entry(m, b, was_a);
	set_maybe_now(m, &was_a->ctime);
	set_maybe_now(m, &was_b->ctime);
}

struct model_inode *model_rename(struct model *m, struct model_inode *from_dir, const char *from,
				 size_t from_len, struct model_inode *to_dir, const char *to,
				 size_t to_len, unsigned flags)
{
	struct model_entry *source = model_lookup(from_dir, m, from, from_len);
	struct model_entry *target = model_lookup(to_dir, m, to, to_len);
	struct model_inode *moved = source->inode, *replaced = NULL;

	if (target && target->inode == moved)
		return NULL;
	set_changed(m, from_dir);
	set_changed(m, to_dir);
	if (flags & MODEL_EXCHANGE) {
		exchange_entries(m, source, target);
		return NULL;
	}
	set_maybe_now(m, &moved->ctime);
	entry_remove(m, source);
	if (!target) {
		entry_add(m, to_dir, to, to_len, moved);
		return NULL;
	}
	/* The name was there all the time: it stays the same entry. */
	replaced = target->inode;
	unlink_entry(m, target);
	link_entry(m, target, moved);
	set_maybe_now(m, &replaced->ctime);
	return replaced->link_count ? NULL : lost_name(m, replaced);
}

/* ---- file contents ---- */

/* The first chunk whose index is at least index. */
static uint32_t chunk_at(const struct model_inode *inode, uint64_t index)
{
	uint32_t lo = 0, hi = inode->chunk_count;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (inode->chunks[mid].index < index)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
	return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

static uint8_t *chunk_make(struct model *m, struct model_inode *inode, uint64_t index)
{
	uint32_t at = chunk_at(inode, index);

	if (at < inode->chunk_count && inode->chunks[at].index == index)
		return inode->chunks[at].bytes;
	if (inode->chunk_count == inode->chunk_room) {
		inode->chunk_room = inode->chunk_room ? inode->chunk_room * 2 : 1;
		inode->chunks = must(
			realloc(inode->chunks, inode->chunk_room * sizeof(struct model_chunk)));
	}
	memmove(&inode->chunks[at + 1], &inode->chunks[at],
		(inode->chunk_count - at) * sizeof(struct model_chunk));
	inode->chunks[at].index = index;
	inode->chunks[at].bytes = must(calloc(1, MODEL_CHUNK));
	inode->chunk_count++;
	m->chunk_count++;
	return inode->chunks[at].bytes;
}

/* Put bytes into the file; size and times are not touched. */
static void put_bytes(struct model *m, struct model_inode *inode, uint64_t offset,
		      const uint8_t *buf, uint64_t len)
{
	while (len > 0) {
		uint64_t index = offset / MODEL_CHUNK;
		uint32_t skip = (uint32_t)(offset % MODEL_CHUNK);
		size_t part = MODEL_CHUNK - skip < len ? MODEL_CHUNK - skip : (size_t)len;
		uint32_t at = chunk_at(inode, index);
		bool have = at < inode->chunk_count && inode->chunks[at].index == index;

		if (have)
			memcpy(inode->chunks[at].bytes + skip, buf, part);
		else if (!is_zero(buf, part))
			memcpy(chunk_make(m, inode, index) + skip, buf, part);
		offset += part;
		buf += part;
		len -= part;
	}
}

/* Make [offset, end) zero. */
static void put_zeros(struct model *m, struct model_inode *inode, uint64_t offset, uint64_t end)
{
	uint64_t first = offset / MODEL_CHUNK + (offset % MODEL_CHUNK != 0); /* whole chunks */
	uint64_t last = end / MODEL_CHUNK;
	uint32_t at;

	if (offset >= end)
		return;
	at = chunk_at(inode, offset / MODEL_CHUNK);
	if (offset % MODEL_CHUNK && at < inode->chunk_count &&
	    inode->chunks[at].index == offset / MODEL_CHUNK) {
		uint64_t stop = (inode->chunks[at].index + 1) * MODEL_CHUNK;

		if (stop > end)
			stop = end;
		memset(inode->chunks[at].bytes + offset % MODEL_CHUNK, 0, stop - offset);
	}
	if (first < last)
		chunks_free(m, inode, chunk_at(inode, first), chunk_at(inode, last));
	if (last < offset / MODEL_CHUNK || (last == offset / MODEL_CHUNK && offset % MODEL_CHUNK))
		return; /* all in one chunk: done above */
	at = chunk_at(inode, last);
	if (end % MODEL_CHUNK && at < inode->chunk_count && inode->chunks[at].index == last)
		memset(inode->chunks[at].bytes, 0, end % MODEL_CHUNK);
}

static void set_size(struct model *m, struct model_inode *inode, uint64_t size)
{
	if (size < inode->size)
		put_zeros(m, inode, size, inode->size);
	inode->size = size;
}

void model_read(const struct model_inode *inode, uint64_t offset, void *buf, uint64_t len)
{
	uint8_t *to = buf;

	assert(offset + len <= inode->size);
	if (inode->type == H2_OBJECT_SYMLINK) {
		memcpy(buf, inode->target + offset, len);
		return;
	}
	while (len > 0) {
		uint32_t skip = (uint32_t)(offset % MODEL_CHUNK);
		size_t part = MODEL_CHUNK - skip < len ? MODEL_CHUNK - skip : (size_t)len;
		uint32_t at = chunk_at(inode, offset / MODEL_CHUNK);

		if (at < inode->chunk_count && inode->chunks[at].index == offset / MODEL_CHUNK)
			memcpy(to, inode->chunks[at].bytes + skip, part);
		else
			memset(to, 0, part);
		offset += part;
		to += part;
		len -= part;
	}
}

bool model_is_zero(const struct model_inode *inode, uint64_t offset, uint64_t len)
{
	uint64_t end = offset + len;

	for (uint32_t at = chunk_at(inode, offset / MODEL_CHUNK); at < inode->chunk_count; at++) {
		uint64_t begin = inode->chunks[at].index * MODEL_CHUNK;
		uint64_t lo = begin < offset ? offset : begin;
		uint64_t hi = begin + MODEL_CHUNK > end ? end : begin + MODEL_CHUNK;

		if (lo >= end)
			break;
		if (!is_zero(inode->chunks[at].bytes + (lo - begin), hi - lo))
			return false;
	}
	return true;
}

static void check_file(const struct model_inode *inode, struct model_errors *e)
{
	if (inode->type == H2_OBJECT_DIRECTORY)
		may_fail(e, EISDIR);
	else if (inode->type != H2_OBJECT_FILE)
		may_fail(e, EINVAL);
	if (inode->uflags & MODEL_IMMUTABLE)
		may_fail(e, EPERM);
}

void model_can_write(const struct model_inode *inode, uint64_t offset, uint64_t len, bool append,
		     struct model_errors *e)
{
	uint64_t at = append ? inode->size : offset;

	check_file(inode, e);
	if (!append && inode->uflags & MODEL_APPEND)
		may_fail(e, EPERM);
	if (len > 0 && (at > MODEL_SIZE_MAX || len > MODEL_SIZE_MAX - at))
		may_fail(e, EFBIG);
	if (len == 0)
		e->or_success = true;
	/* BSD asks where it is written, Linux how the file was opened. */
	else if (!append && inode->uflags & MODEL_APPEND && offset >= inode->size &&
		 e->count == 1 && e->errs[0] == EPERM && !(inode->uflags & MODEL_IMMUTABLE))
		e->or_done = true;
}

void model_write(struct model *m, struct model_inode *inode, uint64_t offset, const void *buf,
		 uint64_t len, bool keep_times)
{
	if (len == 0)
		return;
	put_bytes(m, inode, offset, buf, len);
	if (offset + len > inode->size)
		inode->size = offset + len;
	if (!keep_times)
		set_changed(m, inode);
}

void model_can_allocate(const struct model_inode *inode, unsigned mode, uint64_t offset,
			uint64_t len, struct model_errors *e)
{
	if (mode & ~(MODEL_KEEP_SIZE | MODEL_PUNCH_HOLE | MODEL_ZERO_RANGE) ||
	    (mode & MODEL_PUNCH_HOLE && !(mode & MODEL_KEEP_SIZE)) ||
	    (mode & MODEL_PUNCH_HOLE && mode & MODEL_ZERO_RANGE))
		may_fail(e, EOPNOTSUPP);
	if (len == 0)
		may_fail(e, EINVAL);
	if (offset > MODEL_SIZE_MAX || len > MODEL_SIZE_MAX - offset)
		may_fail(e, EFBIG);
	if (inode->type == H2_OBJECT_DIRECTORY)
		may_fail(e, EISDIR);
	else if (inode->type != H2_OBJECT_FILE)
		may_fail(e, ENODEV);
	if (inode->uflags & MODEL_IMMUTABLE)
		may_fail(e, EPERM);
	if (inode->uflags & MODEL_APPEND && mode & ~MODEL_KEEP_SIZE)
		may_fail(e, EPERM);
}

void model_allocate(struct model *m, struct model_inode *inode, unsigned mode, uint64_t offset,
		    uint64_t len)
{
	uint64_t end = offset + len;
	bool changed = false;

	if (mode & (MODEL_PUNCH_HOLE | MODEL_ZERO_RANGE)) {
		uint64_t stop = end < inode->size ? end : inode->size;

		changed = offset < stop && !model_is_zero(inode, offset, stop - offset);
		put_zeros(m, inode, offset, stop);
	}
	if (!(mode & MODEL_KEEP_SIZE) && end > inode->size) {
		inode->size = end;
		changed = true;
	}
	if (changed) {
		set_changed(m, inode);
	} else {
		set_maybe_now(m, &inode->mtime);
		set_maybe_now(m, &inode->ctime);
	}
}

void model_can_copy(const struct model_inode *from, uint64_t from_offset,
		    const struct model_inode *to, uint64_t to_offset, uint64_t len, uint64_t *count,
		    struct model_errors *e)
{
	*count = 0;
	if (from->type == H2_OBJECT_FILE && from_offset < from->size)
		*count = len < from->size - from_offset ? len : from->size - from_offset;
	if (from->type == H2_OBJECT_DIRECTORY)
		may_fail(e, EISDIR);
	else if (from->type != H2_OBJECT_FILE)
		may_fail(e, EINVAL);
	check_file(to, e);
	if (to->uflags & MODEL_APPEND)
		may_fail(e, EPERM);
	if (*count > 0 && (to_offset > MODEL_SIZE_MAX || *count > MODEL_SIZE_MAX - to_offset))
		may_fail(e, EFBIG);
	if (from == to && from_offset < to_offset + len && to_offset < from_offset + len)
		may_fail(e, EINVAL);
	if (*count == 0)
		e->or_success = true;
	else if (to->uflags & MODEL_APPEND && to_offset >= to->size && e->count == 1 &&
		 !(to->uflags & MODEL_IMMUTABLE))
		e->or_done = true;
}

void model_copy(struct model *m, struct model_inode *from, uint64_t from_offset,
		struct model_inode *to, uint64_t to_offset, uint64_t count)
{
	uint8_t buf[MODEL_CHUNK];

	if (count == 0)
		return;
	for (uint64_t done = 0; done < count;) {
		uint64_t part = count - done < sizeof(buf) ? count - done : sizeof(buf);

		model_read(from, from_offset + done, buf, part);
		put_bytes(m, to, to_offset + done, buf, part);
		done += part;
	}
	if (to_offset + count > to->size)
		to->size = to_offset + count;
	set_changed(m, to);
}

/* ---- attributes ---- */

void model_can_set(const struct model_inode *inode, const struct model_set *set,
		   struct model_errors *e)
{
	if (inode->uflags & (MODEL_IMMUTABLE | MODEL_APPEND) && set->valid & ~MODEL_SET_UFLAGS)
		may_fail(e, EPERM);
	if (set->valid & MODEL_SET_SIZE) {
		if (inode->type == H2_OBJECT_DIRECTORY)
			may_fail(e, EISDIR);
		else if (inode->type != H2_OBJECT_FILE)
			may_fail(e, EINVAL);
		if (set->size > MODEL_SIZE_MAX)
			may_fail(e, EFBIG);
	}
	if (set->valid & MODEL_SET_COMP && (set->comp_algo & 15) > H2_COMP_ZLIB)
		may_fail(e, EINVAL);
	if (set->valid & MODEL_SET_CHECK && set->check_algo >= H2_CHECK_FREEMAP)
		may_fail(e, EINVAL);
}

static void update_flagged(struct model *m, struct model_inode *inode)
{
	if (inode->uflags & (MODEL_IMMUTABLE | MODEL_APPEND | MODEL_NO_UNLINK))
		list_add(m, MODEL_FLAGGED, inode);
	else
		list_remove(m, MODEL_FLAGGED, inode);
}

static void set_time(struct model_time *t, uint64_t value)
{
	t->lo = t->hi = value;
}

void model_set(struct model *m, struct model_inode *inode, const struct model_set *set)
{
	if (set->valid & MODEL_SET_SIZE) {
		if (set->size != inode->size)
			set_now(m, &inode->mtime);
		else
			set_maybe_now(m, &inode->mtime);
		set_size(m, inode, set->size);
	}
	if (set->valid & MODEL_SET_MODE)
		inode->mode = set->mode;
	if (set->valid & MODEL_SET_UID)
		inode->uid = set->uid;
	if (set->valid & MODEL_SET_GID)
		inode->gid = set->gid;
	if (set->valid & (MODEL_SET_UID | MODEL_SET_GID) && !(set->valid & MODEL_SET_MODE) &&
	    inode->type != H2_OBJECT_DIRECTORY) {
		/* chown(2): also for root; setgid without x for the group means something else. */
		inode->mode &= ~04000u;
		if (inode->mode & 00010)
			inode->mode &= ~02000u;
	}
	if (set->valid & MODEL_SET_ATIME) {
		set_time(&inode->atime, set->atime);
		inode->atime_unset = set->atime == 0;
	}
	if (set->valid & MODEL_SET_MTIME)
		set_time(&inode->mtime, set->mtime);
	if (set->valid & MODEL_SET_BTIME) {
		set_time(&inode->btime, set->btime);
		inode->btime_unset = false;
	}
	if (set->valid & MODEL_SET_UFLAGS) {
		inode->uflags = set->uflags;
		update_flagged(m, inode);
	}
	if (set->valid & MODEL_SET_COMP)
		inode->comp_algo = set->comp_algo;
	if (set->valid & MODEL_SET_CHECK)
		inode->check_algo = set->check_algo;
	if (set->valid & MODEL_SET_CTIME)
		set_time(&inode->ctime, set->ctime);
	else
		set_now(m, &inode->ctime);
}
