/* Comparing what a backend shows with the model; see run.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"

#define MIB (UINT64_C(1) << 20)
#define READ_WHOLE (8 * MIB) /* larger files are read where something is, or may be */
#define ULL(x) ((unsigned long long)(x))

/* ---- attributes ---- */

static void same(struct worker *w, const struct model_inode *inode, const char *what,
		 uint64_t found, uint64_t expected)
{
	if (found != expected)
		fail(w, "#%llu (inode %llu): %s is %llu (%#llx), expected %llu (%#llx)",
		     ULL(inode->id), ULL(inode->inum), what, ULL(found), ULL(found), ULL(expected),
		     ULL(expected));
}

/* A time that was seen must never change by itself. */
static void verify_time(struct worker *w, const struct model_inode *inode, const char *what,
			uint64_t found, struct model_time *t)
{
	if (found < t->lo || found > t->hi)
		fail(w, "#%llu (inode %llu): %s is %llu, expected %llu to %llu", ULL(inode->id),
		     ULL(inode->inum), what, ULL(found), ULL(t->lo), ULL(t->hi));
	t->lo = t->hi = found;
}

void verify_attr(struct worker *w, struct model_inode *inode, void *node)
{
	const struct run *run = w->run;
	unsigned can = run->ops->can;
	struct backend_attr a;
	int err = run->ops->attr(run->backend, node, &a);

	if (err)
		fail(w, "#%llu: attributes cannot be had: %s", ULL(inode->id), strerror(-err));
	same(w, inode, "the inode number", a.inum, inode->inum);
	same(w, inode, "the type", a.type, inode->type);
	same(w, inode, "the mode", a.mode, inode->mode);
	same(w, inode, "the owner", a.uid, inode->uid);
	same(w, inode, "the group", a.gid, inode->gid);
	same(w, inode, "the flags", a.uflags, inode->uflags);
	if (inode->type != H2_OBJECT_DIRECTORY) {
		same(w, inode, "the size", a.size, inode->size);
		if (inode->link_count > 0)
			same(w, inode, "the link count", a.nlink, inode->link_count);
	}
	if (inode->type == H2_OBJECT_CHAR_DEVICE || inode->type == H2_OBJECT_BLOCK_DEVICE) {
		same(w, inode, "the major number", a.rmajor, inode->rmajor);
		same(w, inode, "the minor number", a.rminor, inode->rminor);
	}
	if (can & CAN_ALGORITHMS) {
		if (inode->type == H2_OBJECT_DIRECTORY && !inode->removed)
			same(w, inode, "the link count", a.nlink, inode->dir_links);
		same(w, inode, "the compression algorithm", a.comp_algo, inode->comp_algo);
		same(w, inode, "the check algorithm", a.check_algo, inode->check_algo);
	}
	verify_time(w, inode, "mtime", a.mtime, &inode->mtime);
	verify_time(w, inode, "ctime", a.ctime, &inode->ctime);
	if (can & CAN_BTIME && !(inode->btime_unset && a.btime == a.ctime))
		verify_time(w, inode, "btime", a.btime, &inode->btime);
	if (can & CAN_ATIME && !(inode->atime_unset && a.atime == a.mtime)) {
		verify_time(w, inode, "atime", a.atime, &inode->atime);
		inode->atime_unset = false;
	}
}

/* ---- contents ---- */

static void different(struct worker *w, const struct model_inode *inode, uint64_t offset,
		      size_t len)
{
	size_t i = 0, end;

	while (w->buf[i] == w->buf2[i])
		i++;
	for (end = i; end < len && w->buf[end] != w->buf2[end]; end++)
		;
	fail(w,
	     "#%llu (inode %llu, %llu bytes): byte %llu (block %llu + %llu) is %#x, expected %#x; "
	     "%zu bytes from there on differ",
	     ULL(inode->id), ULL(inode->inum), ULL(inode->size), ULL(offset + i),
	     ULL((offset + i) / H2_LOGICAL_BLOCK), ULL((offset + i) % H2_LOGICAL_BLOCK), w->buf[i],
	     w->buf2[i], end - i);
}

void verify_range(struct worker *w, const struct model_inode *inode, void *node, uint64_t offset,
		  uint64_t len)
{
	const struct run *run = w->run;

	do {
		size_t part = len < MIB ? (size_t)len : MIB;
		size_t there = 0;
		ssize_t n;

		if (offset < inode->size)
			there = part < inode->size - offset ? part : inode->size - offset;
		memset(w->buf, 0xa5, there);
		n = run->ops->read(run->backend, node, offset, w->buf, part);
		if (n < 0)
			fail(w, "#%llu (inode %llu): reading %zu bytes at %llu: %s", ULL(inode->id),
			     ULL(inode->inum), part, ULL(offset), strerror((int)-n));
		if ((size_t)n != there)
			fail(w,
			     "#%llu (inode %llu, %llu bytes): reading %zu bytes at %llu gave %zd "
			     "bytes, expected %zu",
			     ULL(inode->id), ULL(inode->inum), ULL(inode->size), part, ULL(offset),
			     n, there);
		if (there == 0)
			return;
		model_read(inode, offset, w->buf2, there);
		if (memcmp(w->buf, w->buf2, there))
			different(w, inode, offset, there);
		offset += part;
		len -= part;
	} while (len > 0);
}

/* What lies between two stretches of data. */
static void verify_hole(struct worker *w, const struct model_inode *inode, uint64_t start,
			uint64_t end)
{
	if (!model_is_zero(inode, start, end - start))
		fail(w,
		     "#%llu (inode %llu, %llu bytes): [%llu, %llu) is said to be a hole, but has "
		     "data",
		     ULL(inode->id), ULL(inode->inum), ULL(inode->size), ULL(start), ULL(end));
}

void verify_stretches(struct worker *w, const struct model_inode *inode, void *node,
		      uint64_t offset)
{
	const struct run *run = w->run;
	bool first = true;

	while (offset < inode->size) {
		uint64_t start = 0, end = 0;
		int err = run->ops->next_data(run->backend, node, offset, &start, &end);

		if (err < 0)
			fail(w, "#%llu (inode %llu): data at or behind %llu: %s", ULL(inode->id),
			     ULL(inode->inum), ULL(offset), strerror(-err));
		if (err == 1) {
			verify_hole(w, inode, offset, inode->size);
			return;
		}
		if (start < offset || end <= start || end > inode->size)
			fail(w,
			     "#%llu (inode %llu, %llu bytes): the data at or behind %llu is said "
			     "to "
			     "be [%llu, %llu)",
			     ULL(inode->id), ULL(inode->inum), ULL(inode->size), ULL(offset),
			     ULL(start), ULL(end));
		if (!first && start == offset && run->ops->can & CAN_JOIN)
			fail(w, "#%llu (inode %llu): two stretches of data touch at %llu",
			     ULL(inode->id), ULL(inode->inum), ULL(start));
		verify_hole(w, inode, offset, start);
		if (end - start <= READ_WHOLE)
			verify_range(w, inode, node, start, end - start);
		offset = end;
		first = false;
	}
}

void verify_symlink(struct worker *w, const struct model_inode *inode, void *node)
{
	const struct run *run = w->run;
	ssize_t n = run->ops->readlink(run->backend, node, (char *)w->buf, WORK_BUFFER);

	if (n < 0)
		fail(w, "#%llu (inode %llu): reading the symlink: %s", ULL(inode->id),
		     ULL(inode->inum), strerror((int)-n));
	if ((size_t)n != inode->size || memcmp(w->buf, inode->target, inode->size))
		fail(w,
		     "#%llu (inode %llu): the symlink's target is wrong (%zd bytes, expected %llu)",
		     ULL(inode->id), ULL(inode->inum), n, ULL(inode->size));
}

static void verify_contents(struct worker *w, const struct model_inode *inode, void *node)
{
	if (inode->type == H2_OBJECT_SYMLINK) {
		verify_symlink(w, inode, node);
		return;
	}
	if (inode->type != H2_OBJECT_FILE)
		return;
	if (inode->size <= READ_WHOLE) {
		verify_range(w, inode, node, 0, inode->size + 1);
	} else {
		for (uint32_t i = 0; i < inode->chunk_count; i++) {
			uint64_t at = inode->chunks[i].index * MODEL_CHUNK;

			verify_range(w, inode, node, at > MODEL_CHUNK ? at - MODEL_CHUNK : 0,
				     3 * MODEL_CHUNK);
		}
		verify_range(w, inode, node, inode->size - MODEL_CHUNK, 2 * MODEL_CHUNK);
	}
	verify_stretches(w, inode, node, 0);
}

/* ---- directories ---- */

struct seen { /* one entry of a directory that was read */
	uint64_t cookie;
	uint64_t inum;
};

static void verify_entry(struct worker *w, const struct model_inode *dir,
			 const struct backend_entry *ent, const struct model_entry *expected)
{
	if (!expected)
		fail(w, "directory #%llu (inode %llu): has a name \"%.*s\" that it should not have",
		     ULL(dir->id), ULL(dir->inum), ent->name_len, ent->name);
	if (ent->inum != expected->inode->inum || ent->type != expected->inode->type)
		fail(w,
		     "directory #%llu (inode %llu): \"%.*s\" is inode %llu of type %u, expected "
		     "inode %llu of type %u",
		     ULL(dir->id), ULL(dir->inum), ent->name_len, ent->name, ULL(ent->inum),
		     ent->type, ULL(expected->inode->inum), expected->inode->type);
}

/* Read the rest of a directory from a cookie on: it must be what was seen before. */
static void verify_resumed(struct worker *w, const struct model_inode *dir, void *node,
			   const struct seen *seen, uint32_t count)
{
	const struct run *run = w->run;
	struct backend_entry ent;
	void *scan;
	int err = run->ops->scan_new(run->backend, node, seen[0].cookie, &scan);

	if (err)
		fail(w, "directory #%llu: %s", ULL(dir->id), strerror(-err));
	for (uint32_t i = 1; i <= count; i++) {
		err = run->ops->scan_next(run->backend, scan, &ent);
		if (err < 0)
			fail(w, "directory #%llu: %s", ULL(dir->id), strerror(-err));
		if ((err == 1) != (i == count))
			fail(w, "directory #%llu (inode %llu): resumed at cookie %#llx it %s",
			     ULL(dir->id), ULL(dir->inum), ULL(seen[0].cookie),
			     err ? "ends too early" : "has too much");
		if (err == 0 && ent.inum != seen[i].inum)
			fail(w,
			     "directory #%llu (inode %llu): resumed at cookie %#llx there is "
			     "\"%.*s\" (inode %llu), expected inode %llu",
			     ULL(dir->id), ULL(dir->inum), ULL(seen[0].cookie), ent.name_len,
			     ent.name, ULL(ent.inum), ULL(seen[i].inum));
	}
	run->ops->scan_free(run->backend, scan);
}

void verify_directory(struct worker *w, const struct model_inode *dir, void *node, bool resume,
		      struct random *r)
{
	const struct run *run = w->run;
	struct seen *seen = calloc(dir->entry_count + 1u, sizeof(*seen));
	bool *had = calloc(dir->entry_count + 1u, sizeof(*had));
	struct backend_entry ent;
	uint32_t count = 0;
	void *scan;
	int err = run->ops->scan_new(run->backend, node, 0, &scan);

	if (err || !seen || !had)
		fail(w, "directory #%llu (inode %llu) cannot be read: %s", ULL(dir->id),
		     ULL(dir->inum), strerror(-err));
	while ((err = run->ops->scan_next(run->backend, scan, &ent)) == 0) {
		const struct model_entry *expected = model_lookup(dir, w->model, ent.name,
								  ent.name_len);

		verify_entry(w, dir, &ent, expected);
		if (had[expected->dir_slot])
			fail(w, "directory #%llu (inode %llu): \"%.*s\" comes twice", ULL(dir->id),
			     ULL(dir->inum), ent.name_len, ent.name);
		had[expected->dir_slot] = true;
		seen[count++] = (struct seen){ent.cookie, ent.inum};
	}
	run->ops->scan_free(run->backend, scan);
	if (err < 0)
		fail(w, "directory #%llu (inode %llu): %s", ULL(dir->id), ULL(dir->inum),
		     strerror(-err));
	for (uint32_t i = 0; i < dir->entry_count; i++) {
		if (!had[i])
			fail(w, "directory #%llu (inode %llu): \"%.*s\" is missing", ULL(dir->id),
			     ULL(dir->inum), dir->entries[i]->name_len, dir->entries[i]->name);
	}
	if (resume && count > 0) {
		uint32_t from = (uint32_t)random_below(r, count);

		if (seen[from].cookie)
			verify_resumed(w, dir, node, seen + from, count - from);
	}
	free(seen);
	free(had);
}

/* ---- everything ---- */

static void verify_inode(struct worker *w, struct model_inode *inode, void *node, struct random *r)
{
	verify_attr(w, inode, node);
	verify_contents(w, inode, node);
	if (inode->type == H2_OBJECT_DIRECTORY)
		verify_directory(w, inode, node, random_one_in(r, 4), r);
	if (inode->type == H2_OBJECT_DIRECTORY && inode->parent && inode != w->model->root) {
		uint64_t parent = 0;
		int err = w->run->ops->parent(w->run->backend, node, &parent);

		if (err || parent != inode->parent->inum)
			fail(w, "directory #%llu (inode %llu): its parent is %llu, expected %llu",
			     ULL(inode->id), ULL(inode->inum), ULL(parent),
			     ULL(inode->parent->inum));
	}
}

static void verify_name(struct worker *w, const struct model_entry *ent, void *dir_node)
{
	const struct run *run = w->run;
	struct backend_entry found;
	int err = run->ops->lookup(run->backend, dir_node, ent->name, ent->name_len, &found, NULL);

	if (err)
		fail(w, "directory #%llu (inode %llu): \"%.*s\" cannot be found: %s",
		     ULL(ent->dir->id), ULL(ent->dir->inum), ent->name_len, ent->name,
		     strerror(-err));
	verify_entry(w, ent->dir, &found, ent);
}

/*
 * Every inode of the model is compared, and every name looked up: in the order of the list. Those
 * without a name are left out where they cannot be had.
 */
void verify_all(struct worker *w, uint64_t seed)
{
	struct model *m = w->model;
	struct random r = {seed};

	for (uint32_t i = 0; i < m->counts[MODEL_ALL]; i++) {
		struct model_inode *inode = m->lists[MODEL_ALL][i];
		bool temporary;
		void *node;

		if (model_is_orphan(m, inode) && !inode->ref)
			continue;
		node = acquire(w, inode, &r, &temporary);
		verify_inode(w, inode, node, &r);
		for (uint32_t j = 0; j < inode->entry_count; j++)
			verify_name(w, inode->entries[j], node);
		release(w, node, temporary);
	}
}
