/*
 * The walk of <hammer2/dump.h>: blockrefs in the order of the media, each judged and, where that
 * went well, followed. Nothing is cached and nothing repaired: what is printed is what lies there.
 *
 * A walk always ends. Within one tree an entry is followed only where its key lies in the range
 * that is left of the entries above it and no earlier entry of its array covers it, so that each
 * key is reached on one path; no block is entered twice on a path, and paths are bounded.
 */
#include <hammer2/dump.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "format.h"
#include "freemap.h"
#include "set.h"

#define PATH_MAX_LEVELS (3u * H2_DEPTH_MAX) /* super-root, PFS and file, each with a tree */

struct dump {
	/* constant during the walk */
	struct h2_volumes *volumes;
	uint64_t total_size;
	struct h2_dump_options options;
	const struct h2_dump_visitor *visitor;

	struct h2_set legacy;           /* data_off of the inodes found in directories */
	uint64_t path[PATH_MAX_LEVELS]; /* data_off of the blocks that the walk is in */
};

/* An array of blockrefs and where it stands. */
struct level {
	const struct h2d_blockref *refs;
	unsigned count;
	unsigned depth;
	enum h2_tree_kind kind;
	uint64_t lo, hi;    /* the keys that are this array's */
	uint64_t seen_last; /* the highest key that the entries so far cover; 0 at first */
};

/* What the block of an item holds, decoded; which member is valid depends on the blockref. */
struct content {
	struct h2_inode_meta meta;
	struct h2_freemap_record records[H2_FREEMAP_RECORDS];
};

static int walk_level(struct dump *dump, struct level *level);

static void set_problem(struct h2_dump_item *item, int error, const char *problem)
{
	item->error = error;
	item->problem = problem;
}

/* Names of what h2_blockref_verify() and h2_inode_verify() complain about. */
static const char *member_problem(const struct h2_problem *problem)
{
	static const struct {
		const char *member, *text;
	} texts[] = {
		{"type", "its type cannot stand here"},
		{"keybits", "its keybits are impossible"},
		{"key", "its key is impossible"},
		{"data_off", "its block cannot lie there"},
		{"data_off size code", "its block cannot have this size"},
		{"methods", "its methods are unknown"},
		{"namlen", "the length of its name is impossible"},
		{"inum", "its inode number is impossible"},
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (strcmp(problem->member, texts[i].member) == 0)
			return texts[i].text;
	}
	return "a member has an impossible value";
}

/* Read the block of a sound blockref and compare its check code. */
static bool read_block(struct dump *dump, struct h2_dump_item *item, void *buf)
{
	const struct h2_blockref *ref = item->ref;
	size_t size = (size_t)1 << h2_blockref_radix(ref);
	int err = h2_volumes_read(dump->volumes, h2_blockref_offset(ref), buf, size);

	if (err) {
		set_problem(item, err, "its block cannot be read");
		return false;
	}
	switch (h2_check_verify(ref, buf, size)) {
	case H2_CHECK_MATCH:
	case H2_CHECK_ABSENT:
		return true;
	case H2_CHECK_MISMATCH:
		item->check_computed = h2_check_computed(ref, buf, size);
		set_problem(item, -H2_ECHECK, "its block does not match its check code");
		return false;
	case H2_CHECK_UNKNOWN:
		break;
	}
	set_problem(item, -H2_ECORRUPT, "its check algorithm is unknown");
	return false;
}

/* The inode place that belongs to a tree, MF 13.4. */
static enum h2_inode_place place_of(const struct level *level, const struct h2_blockref *ref)
{
	switch (level->kind) {
	case H2_TREE_SUPER_ROOT_SET:
		return H2_PLACE_SUPER_ROOT;
	case H2_TREE_SUPER_ROOT:
		return H2_PLACE_PFS_ROOT;
	default:
		return ref->key & H2_KEY_VISIBLE ? H2_PLACE_LEGACY : H2_PLACE_INDEX;
	}
}

static enum h2_tree_kind kind_below(const struct level *level, const struct h2_inode_meta *meta)
{
	switch (level->kind) {
	case H2_TREE_SUPER_ROOT_SET:
		return H2_TREE_SUPER_ROOT;
	case H2_TREE_SUPER_ROOT:
		return H2_TREE_PFS_ROOT;
	default:
		return meta->type == H2_OBJECT_DIRECTORY ? H2_TREE_DIRECTORY : H2_TREE_FILE;
	}
}

static void load_inode(struct h2_dump_item *item, const struct level *level,
		       const struct h2d_inode *inode, struct content *content)
{
	struct h2_problem problem;

	h2_inode_decode(inode, &content->meta);
	item->inode = &content->meta;
	if (!h2_inode_verify(&content->meta, place_of(level, item->ref), item->ref->key, &problem))
		set_problem(item, -H2_ECORRUPT, "the inode contradicts the format");
	else if (content->meta.op_flags & H2_INODE_DIRECTDATA)
		item->inline_data = inode->u.data;
}

static void load_name(struct h2_dump_item *item, const uint8_t *name)
{
	item->name = (const char *)name;
	item->name_len = item->ref->dirent_namlen;
	if (!h2_name_valid(name, item->name_len))
		set_problem(item, -H2_ECORRUPT, "its name is impossible");
}

static void load_records(struct h2_dump_item *item, const struct h2d_freemap_record *d,
			 struct content *content)
{
	for (unsigned i = 0; i < H2_FREEMAP_RECORDS; i++)
		h2_freemap_record_decode(&d[i], &content->records[i]);
	item->records = content->records;
}

/* Read what the item's blockref leads to, as far as the walk or the visitor needs it. */
static void load(struct dump *dump, struct h2_dump_item *item, const struct level *level,
		 void *block, struct content *content)
{
	const struct h2_blockref *ref = item->ref;

	if (h2_blockref_radix(ref) == 0) {
		if (ref->type == H2_BLOCKREF_DIRENT)
			load_name(item, ref->check);
		return;
	}
	if (ref->type == H2_BLOCKREF_DATA && !dump->options.verify_data)
		return;
	if (!read_block(dump, item, block))
		return;
	if (ref->type == H2_BLOCKREF_INODE)
		load_inode(item, level, block, content);
	else if (ref->type == H2_BLOCKREF_DIRENT)
		load_name(item, block);
	else if (ref->type == H2_BLOCKREF_FREEMAP_LEAF)
		load_records(item, block, content);
}

/* Whether an earlier entry of the array covers any of ref's keys. */
static bool overlaps(const struct level *level, unsigned slot, const struct h2_blockref *ref)
{
	uint64_t last = h2_blockref_key_last(ref);

	/* As long as the array ascends, as it should, there is nothing to compare. */
	if (slot == 0 || ref->key > level->seen_last)
		return false;
	for (unsigned i = 0; i < slot; i++) {
		struct h2_blockref other;

		h2_blockref_decode(&level->refs[i], &other);
		if (other.type != H2_BLOCKREF_EMPTY && other.keybits < 64 &&
		    h2_blockref_key_last(&other) >= ref->key && other.key <= last)
			return true;
	}
	return false;
}

/* Whether the walk may follow the entry; what is wrong with it goes to the item. */
static void judge(const struct dump *dump, const struct level *level, unsigned slot,
		  struct h2_dump_item *item)
{
	const struct h2_blockref *ref = item->ref;
	struct h2_problem problem;

	if (!h2_blockref_verify(ref, level->kind, dump->total_size, &problem)) {
		set_problem(item, -H2_ECORRUPT, member_problem(&problem));
		return;
	}
	/* An indirect block may claim more than the one above it, MF 5.4. */
	if (h2_blockref_key_last(ref) < level->lo || ref->key > level->hi) {
		set_problem(item, -H2_ECORRUPT, "its key is outside the range of the block above");
		return;
	}
	if (overlaps(level, slot, ref)) {
		set_problem(item, -H2_ECORRUPT, "its keys overlap those of another entry");
		return;
	}
	for (unsigned i = 0; i < level->depth && h2_blockref_radix(ref) != 0; i++) {
		if (dump->path[i] == ref->data_off) {
			set_problem(item, -H2_ECORRUPT, "the block is its own ancestor");
			return;
		}
	}
	if (level->depth + 1 >= PATH_MAX_LEVELS)
		set_problem(item, -H2_ECORRUPT, "the tree is too deep");
}

static bool left_out(const struct dump *dump, const struct level *level,
		     const struct h2_dump_item *item)
{
	const struct h2_dump_options *o = &dump->options;

	if (item->ref->mirror_tid < o->min_mirror_tid || item->ref->modify_tid < o->min_modify_tid)
		return true;
	if (!o->label || level->kind != H2_TREE_SUPER_ROOT || !item->inode)
		return false;
	return item->inode->name_len != strlen(o->label) ||
	       memcmp(item->inode->filename, o->label, item->inode->name_len) != 0;
}

/* Go on with what is below the item's block. */
static int descend(struct dump *dump, const struct h2_dump_item *item, const struct level *level,
		   const void *block)
{
	const struct h2_blockref *ref = item->ref;
	const struct h2d_inode *inode = block;
	struct level below = {.depth = level->depth + 1, .kind = level->kind, .hi = UINT64_MAX};

	if (item->error || (dump->options.depth_max && below.depth >= dump->options.depth_max))
		return 0;
	switch (ref->type) {
	case H2_BLOCKREF_INODE:
		if (item->inode->op_flags & H2_INODE_DIRECTDATA)
			return 0;
		/* Inodes in directories (MF 7.6) could lead to each other on ever more ways. */
		if (place_of(level, ref) == H2_PLACE_LEGACY) {
			int fresh = h2_set_add(&dump->legacy, ref->data_off);

			if (fresh <= 0)
				return fresh;
		}
		below.refs = inode->u.blockset;
		below.count = H2_BLOCKSET_COUNT;
		below.kind = kind_below(level, item->inode);
		break;
	case H2_BLOCKREF_INDIRECT:
	case H2_BLOCKREF_FREEMAP_NODE:
		below.refs = block;
		below.count = (unsigned)(((size_t)1 << h2_blockref_radix(ref)) / H2_BLOCKREF_SIZE);
		below.lo = ref->key > level->lo ? ref->key : level->lo;
		below.hi = h2_blockref_key_last(ref) < level->hi ? h2_blockref_key_last(ref)
								 : level->hi;
		break;
	default:
		return 0;
	}
	dump->path[level->depth] = ref->data_off;
	return walk_level(dump, &below);
}

static int visit(struct dump *dump, const struct level *level, struct h2_dump_item *item,
		 void *block, struct content *content)
{
	int err;

	judge(dump, level, item->slot, item);
	if (!item->error)
		load(dump, item, level, block, content);
	if (left_out(dump, level, item))
		return 0;
	err = dump->visitor->enter(dump->visitor->user, item);
	if (!err)
		err = descend(dump, item, level, block);
	if (!err && dump->visitor->leave)
		err = dump->visitor->leave(dump->visitor->user, item);
	return err;
}

static int visit_empty(struct dump *dump, const struct h2_dump_item *item)
{
	int err = dump->options.empty ? dump->visitor->enter(dump->visitor->user, item) : 0;

	if (!err && dump->options.empty && dump->visitor->leave)
		err = dump->visitor->leave(dump->visitor->user, item);
	return err;
}

static int walk_level(struct dump *dump, struct level *level)
{
	void *block = malloc(H2_BLOCK_MAX);
	struct content *content = malloc(sizeof(*content));
	int err = block && content ? 0 : -ENOMEM;

	for (unsigned i = 0; i < level->count && !err; i++) {
		struct h2_blockref ref;
		struct h2_dump_item item = {.depth = level->depth, .slot = i, .ref = &ref};

		h2_blockref_decode(&level->refs[i], &ref);
		if (ref.type == H2_BLOCKREF_EMPTY) {
			err = visit_empty(dump, &item);
			continue;
		}
		err = visit(dump, level, &item, block, content);
		if (ref.keybits < 64 && h2_blockref_key_last(&ref) > level->seen_last)
			level->seen_last = h2_blockref_key_last(&ref);
	}
	free(content);
	free(block);
	return err;
}

static int walk(struct h2_volumes *volumes, const struct h2_dump_options *options,
		const struct h2_dump_visitor *visitor, const struct h2_blockref *blockset,
		enum h2_tree_kind kind)
{
	struct h2d_blockref refs[H2_BLOCKSET_COUNT];
	struct level top = {
		.refs = refs,
		.count = H2_BLOCKSET_COUNT,
		.kind = kind,
		.hi = UINT64_MAX,
	};
	struct dump dump = {
		.volumes = volumes,
		.total_size = h2_volumes_total_size(volumes),
		.visitor = visitor,
	};

	int err;

	if (options)
		dump.options = *options;
	for (unsigned i = 0; i < H2_BLOCKSET_COUNT; i++)
		h2_blockref_encode(&blockset[i], &refs[i]);
	err = walk_level(&dump, &top);
	h2_set_clear(&dump.legacy);
	return err;
}

int h2_dump_topology(struct h2_volumes *volumes, const struct h2_dump_options *options,
		     const struct h2_dump_visitor *visitor)
{
	return walk(volumes, options, visitor, h2_volumes_header(volumes)->sroot_blockset,
		    H2_TREE_SUPER_ROOT_SET);
}

int h2_dump_freemap(struct h2_volumes *volumes, const struct h2_dump_options *options,
		    const struct h2_dump_visitor *visitor)
{
	return walk(volumes, options, visitor, h2_volumes_header(volumes)->freemap_blockset,
		    H2_TREE_FREEMAP);
}

int h2_dump_read_header(struct h2_volumes *volumes, unsigned i, unsigned slot,
			struct h2_dump_header *header)
{
	struct h2d_volume_header *d = malloc(sizeof(*d));
	struct h2_header_crcs crcs = {0};
	enum h2_header_state state;
	int err;

	if (!d)
		return -ENOMEM;
	memset(header, 0, sizeof(*header));
	header->state = "the device ends before it";
	err = h2_volumes_read_header(volumes, i, slot, d);
	if (!err) {
		state = h2_volume_header_check(d, &crcs);
		h2_volume_header_decode(d, &header->header);
		header->exists = true;
		header->good = state == H2_HEADER_GOOD;
		header->state = h2_header_state_name(state);
		header->crc_sect0 = crcs.sect0;
		header->crc_sect1 = crcs.sect1;
		header->crc_whole = crcs.whole;
	}
	free(d);
	return err == -ENOENT ? 0 : err;
}

/* ---- totals ---- */

struct totals {
	struct h2_freemap_totals *sum;
	uint64_t usable_lo, usable_hi; /* segments in between can be allocated from, MF 10.7 */
	uint64_t total_size;
	uint64_t next_zone; /* zones below it were counted */
	int error;
};

static bool usable(const struct totals *t, uint64_t segment)
{
	return segment >= t->usable_lo && segment < t->usable_hi && segment % H2_ZONE >= H2_SEGMENT;
}

/* Zones without a leaf are as good as free. */
static void add_leafless(struct totals *t, uint64_t end)
{
	uint64_t bytes;

	if (end > t->total_size)
		end = t->total_size;
	if (t->next_zone >= end)
		return;
	/* Zones count as whole ones, also the last. */
	end = (end + H2_ZONE - 1) / H2_ZONE * H2_ZONE;
	bytes = h2_freemap_usable_bytes(t->usable_lo, t->usable_hi, t->next_zone, end);
	t->sum->leafless += bytes;
	t->sum->unavailable += end - t->next_zone - bytes;
	t->next_zone = end;
}

static void add_record(struct totals *t, const struct h2_freemap_record *r)
{
	uint64_t *const sums[4] = {&t->sum->free, &t->sum->reserved_state, &t->sum->staged,
				   &t->sum->allocated};

	for (unsigned g = 0; g < H2_SEGMENT / H2_GRANULE; g++)
		*sums[r->bitmap[g / 32] >> (2 * (g % 32)) & 3] += H2_GRANULE;
}

static int add_leaf(void *user, const struct h2_blockref *ref,
		    const struct h2d_freemap_record records[H2_FREEMAP_RECORDS])
{
	struct totals *t = user;

	add_leafless(t, ref->key);
	for (unsigned i = 0; i < H2_FREEMAP_RECORDS; i++) {
		struct h2_freemap_record r;

		if (!usable(t, ref->key + i * H2_SEGMENT)) {
			t->sum->unavailable += H2_SEGMENT;
			continue;
		}
		h2_freemap_record_decode(&records[i], &r);
		add_record(t, &r);
	}
	t->next_zone = ref->key + H2_ZONE;
	return 0;
}

static void note_fault(void *user, const struct h2_freemap_fault *fault)
{
	struct totals *t = user;

	if (!t->error)
		t->error = fault->error;
}

int h2_dump_freemap_totals(struct h2_volumes *volumes, struct h2_freemap_totals *totals)
{
	const struct h2_volume_header *header = h2_volumes_header(volumes);
	uint64_t total = h2_volumes_total_size(volumes);
	struct totals t = {
		.sum = totals,
		.total_size = total,
		.usable_lo = (header->allocator_beg + H2_SEGMENT - 1) / H2_SEGMENT * H2_SEGMENT,
		.usable_hi = total / H2_SEGMENT * H2_SEGMENT,
	};
	struct h2_freemap_walk freemap = {
		.volumes = volumes,
		.blockset = header->freemap_blockset,
		.leaf = add_leaf,
		.fault = note_fault,
		.user = &t,
	};
	int err;

	memset(totals, 0, sizeof(*totals));
	err = h2_freemap_walk(&freemap);
	if (err)
		return err;
	add_leafless(&t, total);
	return t.error;
}
