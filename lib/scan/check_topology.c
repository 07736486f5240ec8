/*
 * The topology: every block that the super-root leads to, read once, compared with its check code
 * and with the rules of BS 16.4 points 3 to 5, 7 to 9, 11 and 12.
 *
 * Subtrees are tasks of the thread pool; where its stack is full, the walk goes on in the same
 * thread. A block that another reference led to before (a snapshot's, or after deduplication) is
 * compared with this reference's check code too, but what is below it is not walked again.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "check_impl.h"
#include "compress.h"
#include "fs_impl.h"

#define TASKS_MAX 512u
#define DEPTH_OF_REFERENCE 60u /* DragonFly's kernel gives up there, MF 5.7 */
#define PATH_DEPTH_MAX (3 * H2_DEPTH_MAX)

/* A part of a tree: everything that a task needs to know of the way to it. */
struct part {
	struct h2_blockref ref;        /* INODE or INDIRECT, checked and entered in the map */
	enum h2_tree_kind kind;        /* of the tree that ref stands in */
	size_t pfs;                    /* index in check->pfs; SIZE_MAX: in the super-root */
	uint64_t inum;                 /* of the inode whose tree it is */
	uint64_t size;                 /* of that inode, bytes */
	uint64_t lo, hi;               /* the key range that is left at ref */
	unsigned depth;                /* levels of indirect blocks above ref in this tree */
	unsigned path_depth;           /* levels of the whole path */
	uint64_t path[PATH_DEPTH_MAX]; /* data_off of the path_depth blocks above */
};

static struct h2_where where_of(const struct h2_check *c, const struct part *p)
{
	return (struct h2_where){
		.pfs = p->pfs == SIZE_MAX ? NULL : c->pfs[p->pfs].label,
		.inum = p->inum,
		.has_inum = true,
	};
}

static void find(struct h2_check *c, enum h2_finding finding, const struct part *p,
		 const struct h2_blockref *ref)
{
	struct h2_where where = where_of(c, p);

	h2_check_find(c, finding, &(struct h2_about){.where = &where, .ref = ref});
}

static void find_values(struct h2_check *c, enum h2_finding finding, const struct part *p,
			const struct h2_blockref *ref, const char *member, uint64_t found,
			uint64_t expected)
{
	struct h2_where where = where_of(c, p);

	h2_check_find(c, finding,
		      &(struct h2_about){
			      .where = &where,
			      .ref = ref,
			      .member = member,
			      .has_values = true,
			      .found = found,
			      .expected = expected,
		      });
}

/*
 * The first byte that can be allocated: what is left of the segment in which newfs ended is never
 * used (BS 8.1, 8.6).
 */
static uint64_t usable_from(const struct h2_volume_header *h)
{
	return (h->allocator_beg + H2_SEGMENT - 1) / H2_SEGMENT * H2_SEGMENT;
}

/* Point 8: where the block lies. Returns what the map says. */
static enum h2_reach_result place(struct h2_check *c, const struct part *p,
				  const struct h2_blockref *ref)
{
	const struct h2_volume_header *h = c->header;
	uint64_t offset = h2_blockref_offset(ref);
	uint64_t end = offset + h2_block_size(ref);
	unsigned flags = 0;
	enum h2_reach_result result;

	/* newfs lays out the first inodes between the aux area and allocator_beg. */
	if (offset < usable_from(h) &&
	    (ref->type != H2_BLOCKREF_INODE || offset < h->aux_end || end > h->allocator_beg))
		find_values(c, FIND_BLOCK_BELOW_ALLOCATOR, p, ref, "data_off", offset,
			    usable_from(h));
	if (ref->mirror_tid > h->freemap_tid)
		flags |= H2_REACH_YOUNG;
	if (h2_check_is_own(c, p->pfs, ref))
		flags |= H2_REACH_OWN;
	result = h2_reach_mark(&c->reach, offset, h2_block_size(ref), flags);
	if (result == H2_REACH_OVERLAP)
		find(c, FIND_BLOCK_OVERLAP, p, ref);
	if (result == H2_REACH_SEEN &&
	    (flags & H2_REACH_OWN || h2_reach_is_own(&c->reach, offset))) {
		struct h2_where where = where_of(c, p);

		h2_check_shared_add(c, p->pfs, &where, p->kind, ref);
	}
	return result;
}

/* Point 11 and the tids of the header. */
static void check_tids(struct h2_check *c, const struct part *p, const struct h2_blockref *above,
		       const struct h2_blockref *ref)
{
	if (ref->mirror_tid > c->header->mirror_tid)
		find_values(c, FIND_MIRROR_TID_HEADER, p, ref, "mirror_tid", ref->mirror_tid,
			    c->header->mirror_tid);
	else if (!above && ref->mirror_tid > c->header->freemap_tid)
		/* MF 12.4. What is below is not newer, or that is found. */
		find_values(c, FIND_HEADER_FREEMAP_BEHIND, p, ref, "freemap_tid",
			    c->header->freemap_tid, ref->mirror_tid);
	if (!above)
		return;
	if (ref->mirror_tid > above->mirror_tid)
		find_values(c, FIND_MIRROR_TID_ORDER, p, ref, "mirror_tid", ref->mirror_tid,
			    above->mirror_tid);
	if (ref->modify_tid > above->modify_tid)
		find_values(c, FIND_MODIFY_TID_ORDER, p, ref, "modify_tid", ref->modify_tid,
			    above->modify_tid);
}

/* The sums of MF 3.6 over an array. */
struct sums {
	uint64_t data_count, inode_count, leaf_count;
};

static void add_to_sums(struct sums *sums, const struct h2_blockref *ref)
{
	bool inode = ref->type == H2_BLOCKREF_INODE;
	bool indirect = ref->type == H2_BLOCKREF_INDIRECT;

	if (h2_blockref_radix(ref) != 0)
		sums->data_count += h2_block_size(ref);
	sums->data_count += ref->data_count;
	sums->inode_count += ref->inode_count + (inode ? 1 : 0);
	sums->leaf_count += indirect ? ref->leaf_count : 1;
}

static void check_sums(struct h2_check *c, const struct part *p, const struct sums *sums)
{
	const struct h2_blockref *ref = &p->ref;
	uint64_t leaf_count = sums->leaf_count < UINT16_MAX ? sums->leaf_count : UINT16_MAX;

	if (ref->data_count != sums->data_count)
		find_values(c, FIND_STATISTICS, p, ref, "data_count", ref->data_count,
			    sums->data_count);
	if (ref->inode_count != sums->inode_count)
		find_values(c, FIND_STATISTICS, p, ref, "inode_count", ref->inode_count,
			    sums->inode_count);
	if (ref->leaf_count != leaf_count)
		find_values(c, FIND_STATISTICS, p, ref, "leaf_count", ref->leaf_count, leaf_count);
}

static void count_block(struct h2_check *c, enum h2_reach_result reached,
			const struct h2_blockref *ref)
{
	uint64_t offset = h2_blockref_offset(ref);

	if (reached != H2_REACH_NEW)
		return;
	if (ref->type == H2_BLOCKREF_INDIRECT)
		h2_reach_count(&c->reach, offset, COUNT_INDIRECT);
	else if (ref->type == H2_BLOCKREF_DATA)
		h2_reach_count(&c->reach, offset, COUNT_DATA);
	else if (ref->type == H2_BLOCKREF_DIRENT)
		h2_reach_count(&c->reach, offset, COUNT_NAMES);
}

/* Point 7: the decoded block, and its bytes behind the end of the file. */
static void check_content(struct h2_check *c, const struct part *p, const struct h2_blockref *ref,
			  const void *stored, uint8_t *plain)
{
	size_t len = 0, stream = 0, used;
	uint64_t left = p->size - ref->key;
	int err = h2_data_decode_used(h2_blockref_comp_algo(ref), stored, h2_block_size(ref), plain,
				      H2_LOGICAL_BLOCK, &len, &stream);

	if (err == -ENOMEM) {
		h2_check_fail(c, err);
		return;
	}
	if (err) {
		find(c, FIND_DATA_DECODE, p, ref);
		return;
	}
	used = left < len ? (size_t)left : len;
	if (!h2_is_zero(plain + used, len - used))
		find_values(c, FIND_DATA_TAIL, p, ref, "bytes in use", len, used);
	if (!h2_is_zero((const uint8_t *)stored + stream, h2_block_size(ref) - stream))
		find_values(c, FIND_PADDING, p, ref, "bytes of the stream", stream,
			    h2_block_size(ref));
}

static void check_data(struct h2_check *c, const struct part *p, const struct h2_blockref *ref)
{
	uint64_t end = p->size;
	struct h2_where where = where_of(c, p);
	uint8_t *buf;

	if (ref->key >= end) {
		find_values(c, FIND_DATA_BEYOND_EOF, p, ref, "key", ref->key, end);
		end = UINT64_MAX;
	}
	if (h2_blockref_comp_algo(ref) == H2_COMP_AUTOZERO)
		find_values(c, FIND_DATA_AUTOZERO, p, ref, "methods", ref->methods,
			    ref->methods & ~15u);
	if (c->options.skip_data || c->repeated)
		return;
	buf = aligned_alloc(4096, 2 * H2_LOGICAL_BLOCK);
	if (!buf) {
		h2_check_fail(c, -ENOMEM);
		return;
	}
	if (h2_block_read(&c->blocks, &where, ref, buf) == 0 && end != UINT64_MAX)
		check_content(c, p, ref, buf, buf + H2_LOGICAL_BLOCK);
	h2_check_advance(c, h2_block_size(ref));
	free(buf);
}

static void check_name(struct h2_check *c, const struct part *p, const struct h2_blockref *ref)
{
	struct h2_where where = where_of(c, p);
	const uint8_t *name = ref->check;
	uint8_t block[H2_BLOCK_MIN];
	size_t size = sizeof(ref->check);

	if (c->repeated)
		return;
	if (h2_blockref_radix(ref) != 0) {
		int err = h2_block_read(&c->blocks, &where, ref, block);

		h2_check_advance(c, sizeof(block));
		if (err)
			return;
		name = block;
		size = sizeof(block);
	}
	if (!h2_name_valid(name, ref->dirent_namlen))
		find(c, FIND_NAME_INVALID, p, ref);
	if (!h2_is_zero(name + ref->dirent_namlen, size - ref->dirent_namlen))
		find_values(c, FIND_PADDING, p, ref, "namlen", ref->dirent_namlen, size);
}

/* How many bytes of the check union a check code takes. */
static size_t check_bytes(const struct h2_blockref *ref)
{
	switch (h2_blockref_check_algo(ref)) {
	case H2_CHECK_ISCSI32:
	case H2_CHECK_FREEMAP:
		return 4;
	case H2_CHECK_XXHASH64:
		return 8;
	case H2_CHECK_SHA192:
		return 24;
	default: /* stale bytes are allowed, MF 3.7 */
		return sizeof(ref->check);
	}
}

/* What can be judged of a blockref alone, besides what h2_blockref_verify() does. */
static void check_ref(struct h2_check *c, const struct part *p, const struct h2d_blockref *d,
		      const struct h2_blockref *ref)
{
	unsigned algo = h2_blockref_check_algo(ref);
	bool pfs_root = p->kind == H2_TREE_SUPER_ROOT && ref->type == H2_BLOCKREF_INODE;
	bool has_block = h2_blockref_radix(ref) != 0;
	size_t used = has_block ? check_bytes(ref) : sizeof(ref->check);

	if (ref->type != H2_BLOCKREF_DATA && algo == H2_CHECK_NONE)
		find(c, FIND_CHECK_NONE, p, ref);
	if (!has_block && algo > H2_CHECK_FREEMAP)
		find_values(c, FIND_CHECK_UNKNOWN, p, ref, "methods", ref->methods,
			    H2_CHECK_XXHASH64 << 4);
	if (ref->flags & H2_BLOCKREF_PFSROOT && !pfs_root)
		find(c, FIND_REF_PFSROOT, p, ref);
	if (ref->flags & ~(H2_BLOCKREF_PFSROOT | H2_BLOCKREF_EMERG_MIP))
		find_values(c, FIND_RESERVED, p, ref, "flags", ref->flags,
			    ref->flags & (H2_BLOCKREF_PFSROOT | H2_BLOCKREF_EMERG_MIP));
	if (ref->update_tid != 0)
		find_values(c, FIND_RESERVED, p, ref, "update_tid", ref->update_tid, 0);
	if (ref->type == H2_BLOCKREF_DIRENT &&
	    !h2_is_zero(d->embed.dirent.reserved, sizeof(d->embed.dirent.reserved)))
		find_values(c, FIND_RESERVED, p, ref, "embed", d->embed.dirent.reserved[0], 0);
	if (!h2_is_zero(ref->check + used, sizeof(ref->check) - used))
		find_values(c, FIND_RESERVED, p, ref, "bytes of the check code", sizeof(ref->check),
			    used);
}

static void walk_inode(struct h2_check *c, const struct part *p, bool count, bool go_on);
static void walk_indirect(struct h2_check *c, const struct part *p, bool go_on);

/* What the walk of a task begins with; the block was entered in the map by who made the task. */
struct task {
	struct part part;
	bool count; /* it was reached for the first time */
	bool go_on; /* what is below it is to be walked */
};

static void run_task(void *context, void *arg)
{
	struct h2_check *c = context;
	const struct task *t = arg;

	if (h2_check_stopped(c))
		return;
	if (t->part.ref.type == H2_BLOCKREF_INODE)
		walk_inode(c, &t->part, t->count, t->go_on);
	else
		walk_indirect(c, &t->part, t->go_on);
}

static void descend(struct h2_check *c, const struct task *t)
{
	if (!h2_pool_push(c->pool, t))
		run_task(c, (void *)t);
}

/* Which PFS an entry of the super-root is; SIZE_MAX where it could not be listed. */
static size_t pfs_of(const struct h2_check *c, const struct part *p, const struct h2_blockref *ref)
{
	size_t low = 0, high = c->pfs_count;

	if (p->kind != H2_TREE_SUPER_ROOT)
		return p->pfs;
	while (low < high) {
		size_t mid = (low + high) / 2;

		if (c->pfs[mid].key < ref->key)
			low = mid + 1;
		else
			high = mid;
	}
	return low < c->pfs_count && c->pfs[low].key == ref->key ? low : SIZE_MAX;
}

/*
 * Whether to walk what is below a block. The map tells for what it covers; for blocks outside of
 * it, or that overlap others, a set does, as long as there is memory for it. Otherwise subtrees that
 * refer to each other many times would be walked on every way that leads to them.
 */
static bool go_on_below(struct h2_check *c, enum h2_reach_result reached,
			const struct h2_blockref *ref)
{
	bool fresh = true;

	if (reached == H2_REACH_NEW || reached == H2_REACH_SEEN)
		return reached == H2_REACH_NEW;
	h2_mutex_lock(&c->lock);
	if (c->visited.count < c->visited_max)
		fresh = h2_set_add(&c->visited, ref->data_off) != 0;
	h2_mutex_unlock(&c->lock);
	return fresh;
}

/* One non-empty entry of the array that p->ref leads to; above is NULL in the header. */
static void walk_entry(struct h2_check *c, const struct part *p, const struct h2_blockref *above,
		       const struct h2_array_entry *e, const struct h2_blockref *ref)
{
	enum h2_reach_result reached = H2_REACH_OUTSIDE;
	struct task t;

	check_tids(c, p, above, ref);
	if (h2_blockref_radix(ref) != 0)
		reached = place(c, p, ref);
	count_block(c, reached, ref);
	switch (ref->type) {
	case H2_BLOCKREF_DATA:
		check_data(c, p, ref);
		return;
	case H2_BLOCKREF_DIRENT:
		check_name(c, p, ref);
		return;
	default:
		break;
	}
	for (unsigned i = 0; i < p->path_depth; i++) {
		if (p->path[i] == ref->data_off) {
			find(c, FIND_TREE_LOOP, p, ref);
			return;
		}
	}
	if (p->depth == H2_DEPTH_MAX || p->path_depth == PATH_DEPTH_MAX) {
		find(c, FIND_TREE_DEEP, p, ref);
		return;
	}
	t.part = *p;
	t.part.path[t.part.path_depth++] = ref->data_off;
	t.count = reached == H2_REACH_NEW;
	t.go_on = go_on_below(c, reached, ref);
	t.part.ref = *ref;
	t.part.lo = e->lo > p->lo ? e->lo : p->lo;
	t.part.hi = e->hi < p->hi ? e->hi : p->hi;
	if (ref->type == H2_BLOCKREF_INODE) {
		t.part.pfs = pfs_of(c, p, ref);
		descend(c, &t);
		return;
	}
	if (p->path_depth >= DEPTH_OF_REFERENCE)
		find(c, FIND_TREE_DEEP, p, ref);
	t.part.depth++;
	descend(c, &t);
}

/* Rules of the array itself: order, overlap, empty entries, ranges (points 1 and 3). */
static void check_order(struct h2_check *c, const struct part *p, const struct h2_array *array,
			const struct h2d_blockref *refs, unsigned count)
{
	struct h2_blockref ref;
	uint64_t last_key = 0, last_hi = 0;
	bool first = true;

	for (unsigned i = 0; i < count; i++) {
		if (refs[i].type == H2_BLOCKREF_EMPTY && h2_is_zero(&refs[i], sizeof(refs[i])))
			continue;
		h2_blockref_decode(&refs[i], &ref);
		if (ref.type == H2_BLOCKREF_EMPTY) {
			find_values(c, FIND_EMPTY_NOT_ZERO, p, &ref, "data_off", ref.data_off, 0);
			continue;
		}
		if (!first && ref.key < last_key)
			find_values(c, FIND_ARRAY_ORDER, p, &ref, "key", ref.key, last_key);
		last_key = ref.key;
		first = false;
	}
	for (unsigned i = 0; !array->disjoint && i < array->count; i++) {
		const struct h2_array_entry *e = &array->entries[i];

		if (i > 0 && e->lo <= last_hi) {
			h2_blockref_decode(&refs[e->slot], &ref);
			find(c, FIND_ARRAY_OVERLAP, p, &ref);
		}
		last_hi = e->hi > last_hi ? e->hi : last_hi;
	}
}

static void walk_array(struct h2_check *c, const struct part *p, const struct h2_array *array,
		       unsigned count, const struct h2_blockref *above)
{
	struct h2_where where = where_of(c, p);
	struct sums sums = {0};

	check_order(c, p, array, array->refs, count);
	for (unsigned i = 0; i < array->count && !h2_check_stopped(c); i++) {
		const struct h2_array_entry *e = &array->entries[i];
		struct h2_blockref ref;

		h2_blockref_decode(&array->refs[e->slot], &ref);
		if (h2_block_check_ref(&c->blocks, &where, &ref, p->kind) != 0)
			continue;
		add_to_sums(&sums, &ref);
		if (e->hi < p->lo || e->lo > p->hi ||
		    (ref.type != H2_BLOCKREF_INDIRECT && e->lo < p->lo)) {
			find_values(c, FIND_KEY_OUTSIDE, p, &ref, "key", ref.key, p->lo);
			continue;
		}
		if (e->lo < p->lo || e->hi > p->hi)
			find_values(c, FIND_RANGE_WIDER, p, &ref, "key", ref.key, p->lo);
		check_ref(c, p, &array->refs[e->slot], &ref);
		walk_entry(c, p, above, e, &ref);
	}
	if (above)
		check_sums(c, p, &sums);
}

static void walk_indirect(struct h2_check *c, const struct part *p, bool go_on)
{
	struct h2_where where = where_of(c, p);
	unsigned radix = h2_blockref_radix(&p->ref);
	struct h2_node *node;
	int err;

	if (radix != 12 && radix != 14 && radix != 16)
		find_values(c, FIND_INDIRECT_SIZE, p, &p->ref, "data_off size code", radix, 14);
	err = h2_node_get(&c->blocks, &where, &p->ref, &node);
	if (err == -ENOMEM)
		h2_check_fail(c, err);
	if (err)
		return;
	h2_check_advance(c, h2_block_size(&p->ref));
	if (node->array.count == 0)
		find(c, FIND_INDIRECT_EMPTY, p, &p->ref);
	if (go_on)
		walk_array(c, p, &node->array,
			   (unsigned)(h2_block_size(&p->ref) / H2_BLOCKREF_SIZE), &p->ref);
	h2_node_put(&c->blocks, node);
}

static void count_inode(struct h2_check *c, const struct part *p, unsigned type)
{
	uint64_t offset = h2_blockref_offset(&p->ref);

	h2_reach_count(&c->reach, offset, COUNT_INODES);
	h2_reach_count(&c->reach, offset,
		       type == H2_OBJECT_DIRECTORY ? COUNT_DIRECTORIES
		       : type == H2_OBJECT_FILE    ? COUNT_FILES
		       : type == H2_OBJECT_SYMLINK ? COUNT_SYMLINKS
						   : COUNT_OTHERS);
}

/* How many of the bytes are in use, up to the last one that is not zero. */
static size_t used_bytes(const uint8_t *bytes, size_t size)
{
	while (size > 0 && bytes[size - 1] == 0)
		size--;
	return size;
}

/* Only the last four bytes of the field are the number, MF 6.3. */
static void check_owner(struct h2_check *c, const struct part *p, const struct h2_uuid *id,
			const char *member)
{
	size_t used = used_bytes(id->bytes, 12);

	if (used > 0)
		find_values(c, FIND_INODE_OWNER, p, &p->ref, member, id->bytes[used - 1], 0);
}

/* What can be judged of an inode's bytes besides what h2_inode_verify() does. */
static void check_bytes_of_inode(struct h2_check *c, const struct part *p,
				 const struct h2d_inode *d, const struct h2_inode_meta *m)
{
	bool inline_data = m->op_flags & H2_INODE_DIRECTDATA;
	size_t used;

	check_owner(c, p, &d->uid, "uid");
	check_owner(c, p, &d->gid, "gid");
	used = used_bytes(d->filename, sizeof(d->filename));
	if (used > m->name_len)
		find_values(c, FIND_PADDING, p, &p->ref, "name_len", m->name_len, used);
	used = inline_data ? used_bytes(d->u.data, sizeof(d->u.data)) : 0;
	if (used > m->size)
		find_values(c, FIND_DATA_TAIL, p, &p->ref, "bytes in use", used, m->size);
	if (m->cap_flags || m->ncopies || d->reserved002 || d->reserved084 || m->pfs_nmasters ||
	    le64_get(d->reserved0b8) || le64_get(d->reserved0c8) || le64_get(d->reserved0d8) ||
	    le64_get(d->decrypt_check) || !h2_is_zero(d->reserved0e8, sizeof(d->reserved0e8)))
		find(c, FIND_RESERVED, p, &p->ref);
	if (m->op_flags & ~(H2_INODE_DIRECTDATA | H2_INODE_PFSROOT))
		find_values(c, FIND_RESERVED, p, &p->ref, "op_flags", m->op_flags,
			    m->op_flags & (H2_INODE_DIRECTDATA | H2_INODE_PFSROOT));
}

/* Point 4: the root inode of a PFS. */
static void check_pfs_root(struct h2_check *c, const struct part *p, const struct h2_inode_meta *m)
{
	uint64_t hash = h2_name_hash(m->filename, m->name_len);

	if (strnlen((const char *)m->filename, sizeof(m->filename)) != m->name_len)
		find_values(c, FIND_PFS_LABEL, p, &p->ref, "name_len", m->name_len,
			    strnlen((const char *)m->filename, sizeof(m->filename)));
	if (!(p->ref.flags & H2_BLOCKREF_PFSROOT))
		find(c, FIND_PFS_BLOCKREF_FLAG, p, &p->ref);
	if (!(m->op_flags & H2_INODE_PFSROOT))
		find(c, FIND_PFS_FLAG, p, &p->ref);
	if ((p->ref.key & ~H2_KEY_COLLISION) != hash)
		find_values(c, FIND_PFS_KEY, p, &p->ref, "key", p->ref.key, hash);
	if (m->name_key != p->ref.key)
		find_values(c, FIND_PFS_NAME_KEY, p, &p->ref, "name_key", m->name_key, p->ref.key);
	if (h2_is_zero(&m->pfs_clid, sizeof(m->pfs_clid)))
		find_values(c, FIND_PFS_ID_NIL, p, &p->ref, "pfs_clid", 0, 1);
	if (h2_is_zero(&m->pfs_fsid, sizeof(m->pfs_fsid)))
		find_values(c, FIND_PFS_ID_NIL, p, &p->ref, "pfs_fsid", 0, 1);
	if (m->nlinks != 1)
		find_values(c, FIND_DIR_LINK_COUNT, p, &p->ref, "nlinks", m->nlinks, 1);
}

static enum h2_inode_place place_of(const struct part *p)
{
	switch (p->kind) {
	case H2_TREE_SUPER_ROOT_SET:
		return H2_PLACE_SUPER_ROOT;
	case H2_TREE_SUPER_ROOT:
		return H2_PLACE_PFS_ROOT;
	default:
		return p->ref.key & H2_KEY_VISIBLE ? H2_PLACE_LEGACY : H2_PLACE_INDEX;
	}
}

static enum h2_tree_kind kind_below(const struct part *p, const struct h2_inode_meta *m)
{
	switch (p->kind) {
	case H2_TREE_SUPER_ROOT_SET:
		return H2_TREE_SUPER_ROOT;
	case H2_TREE_SUPER_ROOT:
		return H2_TREE_PFS_ROOT;
	default:
		return m->type == H2_OBJECT_DIRECTORY ? H2_TREE_DIRECTORY : H2_TREE_FILE;
	}
}

static void check_index_inode(struct h2_check *c, const struct part *p,
			      const struct h2_inode_meta *m)
{
	if (m->nlinks == 0)
		find(c, FIND_INODE_NLINKS_ZERO, p, &p->ref);
	if (m->type == H2_OBJECT_DIRECTORY && m->nlinks > 1)
		find_values(c, FIND_DIR_LINK_COUNT, p, &p->ref, "nlinks", m->nlinks, 1);
}

static void walk_inode(struct h2_check *c, const struct part *p, bool count, bool go_on)
{
	enum h2_inode_place inode_place = place_of(p);
	struct part below = *p;
	struct h2_inode_meta m;
	struct h2d_inode d;
	struct h2_root root;
	struct h2_where where;

	below.inum = inode_place == H2_PLACE_PFS_ROOT ? H2_INUM_ROOT : p->ref.key;
	where = where_of(c, &below);
	if (h2_inode_load(&c->blocks, &where, &p->ref, inode_place, &d, &m) != 0)
		return;
	h2_check_advance(c, sizeof(d));
	if (inode_place == H2_PLACE_SUPER_ROOT)
		atomic_store(&c->super_root, true);
	if (count)
		count_inode(c, p, m.type);
	if (!go_on)
		return;
	below.inum = m.inum;
	below.kind = kind_below(p, &m);
	below.size = m.size;
	below.lo = 0;
	below.hi = UINT64_MAX;
	below.depth = 0;
	check_bytes_of_inode(c, &below, &d, &m);
	if (inode_place == H2_PLACE_SUPER_ROOT && p->ref.key != 0)
		find_values(c, FIND_SUPER_ROOT_KEY, &below, &p->ref, "key", p->ref.key, 0);
	else if (inode_place == H2_PLACE_PFS_ROOT)
		check_pfs_root(c, &below, &m);
	else if (inode_place == H2_PLACE_INDEX)
		check_index_inode(c, &below, &m);
	else if (inode_place == H2_PLACE_LEGACY && !h2_name_valid(m.filename, m.name_len))
		find(c, FIND_NAME_INVALID, p, &p->ref);
	if (m.op_flags & H2_INODE_DIRECTDATA)
		return;
	h2_root_init(&root, d.u.blockset);
	if (below.kind == H2_TREE_FILE && m.type != H2_OBJECT_FILE && m.type != H2_OBJECT_SYMLINK &&
	    root.array.count > 0)
		find(c, FIND_SPECIAL_CONTENT, &below, &p->ref);
	walk_array(c, &below, &root.array, H2_BLOCKSET_COUNT, &p->ref);
}

int h2_check_topology(struct h2_check *c)
{
	struct h2_root root;
	struct part top = {
		.kind = H2_TREE_SUPER_ROOT_SET,
		.pfs = SIZE_MAX,
		.hi = UINT64_MAX,
	};
	int err;

	h2_root_init(&root, c->sroot_set);
	err = h2_pool_new(c->options.threads, sizeof(struct task), TASKS_MAX, run_task, c,
			  &c->pool);
	if (err)
		return err;
	atomic_store(&c->super_root, false);
	walk_array(c, &top, &root.array, H2_BLOCKSET_COUNT, NULL);
	h2_pool_wait(c->pool);
	h2_check_shared(c);
	if (!atomic_load(&c->super_root) && !h2_check_stopped(c))
		h2_check_find(
			c, c->older_copy ? FIND_HEADER_OLDER_USELESS : FIND_NO_SUPER_ROOT,
			&(struct h2_about){.object = "volume header", .member = "sroot_blockset"});
	h2_pool_free(c->pool);
	c->pool = NULL;
	h2_set_clear(&c->visited);
	return atomic_load(&c->error);
}
