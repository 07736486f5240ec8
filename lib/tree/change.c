/* Changing trees; see change.h. */
#include "change.h"

#include <stdlib.h>
#include <string.h>

/*
 * The smallest new blocks. Only those of a directory that has few names are below 16 KiB, the unit of
 * the freemap: a smaller block that is replaced leaves a part of that unused, and on a full
 * filesystem there is no room for many such parts.
 */
#define DIRECTORY_BLOCK 4096u
#define WIDE_BLOCK 16384u

/* An array that can be changed: a root's or a branch's. Its entries fill slots 0 .. count - 1. */
struct level {
	struct h2_array *array;
	struct h2d_blockref *refs;
	struct h2_branch *branch; /* NULL: the root */
	unsigned capacity;
	unsigned index;  /* in the level above: which entry leads here */
	uint64_t lo, hi; /* the range that all levels above leave */
};

struct path {
	unsigned depth;
	struct level levels[H2_DEPTH_MAX + 1];
};

/* ---- branches ---- */

/* The branch takes the node; without memory (NULL) the node is freed. NULL: there was none for it. */
static struct h2_branch *branch_of(const struct h2_tree_change *change, struct h2_node *node)
{
	struct h2_branch *branch;

	if (!node)
		return NULL;
	branch = calloc(1, sizeof(*branch) + node->capacity * sizeof(struct h2_branch *));
	if (!branch) {
		h2_node_free(node);
		return NULL;
	}
	branch->node = node;
	node->array.children = branch->children;
	atomic_fetch_add(change->branch_bytes, node->capacity * H2_BLOCKREF_SIZE);
	return branch;
}

static struct h2_branch *new_branch(const struct h2_tree_change *change, unsigned capacity)
{
	return branch_of(change, h2_node_new(capacity));
}

/* Free a branch but for its node, which is the caller's then. */
static struct h2_node *release(struct h2_branch *branch, _Atomic uint64_t *branch_bytes)
{
	struct h2_node *node = branch->node;

	atomic_fetch_sub(branch_bytes, node->capacity * H2_BLOCKREF_SIZE);
	node->array.children = NULL;
	free(branch);
	return node;
}

static void free_branch(struct h2_branch *branch, _Atomic uint64_t *branch_bytes)
{
	h2_node_free(release(branch, branch_bytes));
}

/* Entries of a root that came from the media can have gaps between them: slots 0 .. count - 1. */
static void compact_root(struct h2_root *root)
{
	struct h2d_blockref refs[H2_BLOCKSET_COUNT];
	struct h2_branch *children[H2_BLOCKSET_COUNT] = {NULL};

	for (unsigned i = 0; i < root->array.count; i++) {
		unsigned slot = root->array.entries[i].slot;

		refs[i] = root->refs[slot];
		children[i] = root->children[slot];
		root->array.entries[i].slot = (uint16_t)i;
	}
	memcpy(root->refs, refs, root->array.count * sizeof(refs[0]));
	memcpy(root->children, children, sizeof(children));
}

static struct level root_level(struct h2_root *root)
{
	return (struct level){
		.array = &root->array,
		.refs = root->refs,
		.capacity = H2_BLOCKSET_COUNT,
		.hi = UINT64_MAX,
	};
}

/* A branch that is about to be changed. */
static struct level branch_level(struct h2_branch *branch)
{
	branch->written = false;
	return (struct level){
		.array = &branch->node->array,
		.refs = branch->node->block,
		.branch = branch,
		.capacity = branch->node->capacity,
		.hi = UINT64_MAX,
	};
}

static int refuse(const struct h2_tree_change *change, const struct h2d_blockref *d)
{
	struct h2_blockref ref;

	h2_blockref_decode(d, &ref);
	return h2_block_report(change->blocks, &change->where, &ref, "unsafe-to-change",
			       &(struct h2_problem){
				       .member = "key",
				       .expected = "ascending ranges that do not overlap",
				       .found = ref.key,
			       });
}

/* MF 13.3: others must not be changed. */
static bool is_sound(const struct h2_array *array)
{
	return array->disjoint && array->ascending;
}

static void limit_tid(struct h2d_blockref *d, uint64_t mirror_tid)
{
	if (le64_get(d->mirror_tid) > mirror_tid)
		d->mirror_tid = le64_make(mirror_tid);
}

void h2_root_limit_tids(struct h2_root *root, uint64_t mirror_tid)
{
	for (unsigned i = 0; i < root->array.count; i++)
		limit_tid(&root->refs[root->array.entries[i].slot], mirror_tid);
}

/* Entries of a block that may be written: 4, 16 or 64 KiB (MF 5.6). Readers accept all from 1 on. */
static unsigned legal_capacity(unsigned count)
{
	unsigned capacity = DIRECTORY_BLOCK / H2_BLOCKREF_SIZE;

	while (capacity < count)
		capacity *= 4;
	return capacity;
}

/* Make a branch of the interior entry at slot, unless it is one. */
static int make_branch(const struct h2_tree_change *change, struct level *level, unsigned slot)
{
	struct h2_branch *branch;
	struct h2_blockref ref;
	struct h2_node *node;
	int err;

	if (level->array->children[slot])
		return 0;
	h2_blockref_decode(&level->refs[slot], &ref);
	err = h2_block_check_ref(change->blocks, &change->where, &ref, change->kind);
	if (err)
		return err;
	err = h2_node_get(change->blocks, &change->where, &ref, &node);
	if (err)
		return err;
	if (!is_sound(&node->array)) {
		h2_node_put(change->blocks, node);
		return refuse(change, &level->refs[slot]);
	}
	node = h2_node_take(change->blocks, node, legal_capacity(node->capacity));
	branch = branch_of(change, node);
	if (!branch)
		return -ENOMEM;
	branch->old_data_off = ref.data_off;
	branch->old_mirror_tid = ref.mirror_tid;
	for (unsigned i = 0; i < node->array.count; i++)
		limit_tid(&node->block[i], ref.mirror_tid);
	level->array->children[slot] = branch;
	return 0;
}

static bool is_interior(const struct h2d_blockref *d)
{
	return d->type == H2_BLOCKREF_INDIRECT;
}

/*
 * Go down to the array in which key belongs, making branches on the way. *index receives the leaf
 * that covers key there, or -1.
 */
static int descend(const struct h2_tree_change *change, struct h2_root *root, uint64_t key,
		   struct path *path, int *index)
{
	path->depth = 0;
	if (!is_sound(&root->array))
		return refuse(change, &root->refs[0]);
	compact_root(root);
	path->levels[path->depth++] = root_level(root);
	for (;;) {
		struct level *level = &path->levels[path->depth - 1], *below;
		unsigned i = h2_array_find(level->array, key);
		const struct h2_array_entry *e = &level->array->entries[i];
		struct h2_branch *child;
		int err;

		*index = -1;
		if (i == level->array->count || e->lo > key)
			return 0;
		if (!is_interior(&level->refs[e->slot])) {
			*index = (int)i;
			return 0;
		}
		if (path->depth > H2_DEPTH_MAX)
			return refuse(change, &level->refs[e->slot]);
		err = make_branch(change, level, e->slot);
		if (err)
			return err;
		child = level->array->children[e->slot];
		below = &path->levels[path->depth++];
		*below = branch_level(child);
		below->index = i;
		below->lo = e->lo > level->lo ? e->lo : level->lo;
		below->hi = e->hi < level->hi ? e->hi : level->hi;
	}
}

/* ---- entries ---- */

/* Move the entries from index from on, with their slots, to index to on. */
static void shift_entries(struct level *level, unsigned from, unsigned to)
{
	struct h2_array *array = level->array;
	unsigned n = array->count - from;

	memmove(array->entries + to, array->entries + from, n * sizeof(*array->entries));
	memmove(level->refs + to, level->refs + from, n * sizeof(*level->refs));
	memmove(array->children + to, array->children + from, n * sizeof(*array->children));
	for (unsigned i = to; i < to + n; i++)
		array->entries[i].slot = (uint16_t)i;
}

/* Make room for n entries at the index, which the caller sets. */
static void open_gap(struct level *level, unsigned at, unsigned n)
{
	assert(level->array->count + n <= level->capacity);
	shift_entries(level, at, at + n);
	level->array->count += n;
}

/* Take n entries out. What is behind the last one is zero, as on the media. */
static void close_gap(struct level *level, unsigned at, unsigned n)
{
	struct h2_array *array = level->array;

	shift_entries(level, at + n, at);
	array->count -= n;
	memset(level->refs + array->count, 0, n * sizeof(*level->refs));
	memset(array->children + array->count, 0, n * sizeof(*array->children));
}

static void add_entry(struct level *level, const struct h2d_blockref *d, struct h2_branch *child,
		      uint64_t lo, uint64_t hi)
{
	struct h2_array *array = level->array;
	unsigned at = h2_array_find(array, lo);

	open_gap(level, at, 1);
	array->entries[at] = (struct h2_array_entry){.lo = lo, .hi = hi, .slot = (uint16_t)at};
	level->refs[at] = *d;
	array->children[at] = child;
}

static void remove_entry(struct level *level, unsigned index)
{
	close_gap(level, index, 1);
}

static struct h2d_blockref indirect_ref(uint64_t key, unsigned keybits)
{
	return (struct h2d_blockref){
		.type = H2_BLOCKREF_INDIRECT,
		.methods = H2_CHECK_XXHASH64 << 4,
		.keybits = (uint8_t)keybits,
		.key = le64_make(key),
	};
}

static uint64_t window_last(uint64_t key, unsigned keybits)
{
	return keybits == 64 ? UINT64_MAX : key + ((UINT64_C(1) << keybits) - 1);
}

static uint64_t window_key(uint64_t key, unsigned keybits)
{
	return keybits == 64 ? 0 : key >> keybits << keybits;
}

/* log2 of the smallest aligned window that covers lo and hi. */
static unsigned covering_keybits(uint64_t lo, uint64_t hi)
{
	uint64_t differ = lo ^ hi;
	unsigned keybits = 0;

	while (differ) {
		differ >>= 1;
		keybits++;
	}
	return keybits;
}

/* How many entries lie in the window; -1 where one lies across its border. */
static int count_in_window(const struct h2_array *array, uint64_t lo, uint64_t hi)
{
	int n = 0;

	for (unsigned i = 0; i < array->count; i++) {
		const struct h2_array_entry *e = &array->entries[i];

		if (e->lo >= lo && e->hi <= hi)
			n++;
		else if (e->hi >= lo && e->lo <= hi)
			return -1;
	}
	return n;
}

/* Move the entries of the window, which has all of each, from one array to another. */
static void move_window(struct level *from, struct level *to, uint64_t lo, uint64_t hi)
{
	unsigned first = h2_array_find(from->array, lo), n = 0, at;

	assert(first == from->array->count || from->array->entries[first].lo >= lo);
	while (first + n < from->array->count && from->array->entries[first + n].hi <= hi)
		n++;
	if (n == 0)
		return;
	/* Nothing else lies between them. */
	at = h2_array_find(to->array, from->array->entries[first].lo);
	open_gap(to, at, n);
	memcpy(to->refs + at, from->refs + first, n * sizeof(*to->refs));
	memcpy(to->array->children + at, from->array->children + first,
	       n * sizeof(*to->array->children));
	for (unsigned i = 0; i < n; i++) {
		to->array->entries[at + i] = from->array->entries[first + i];
		to->array->entries[at + i].slot = (uint16_t)(at + i);
	}
	close_gap(from, first, n);
}

/* ---- making room ---- */

/* Whether keys are numbers that follow each other: block offsets, inode numbers. */
static bool is_numbered(const struct h2_tree_change *change, uint64_t key)
{
	return change->kind == H2_TREE_FILE ||
	       (change->kind == H2_TREE_PFS_ROOT && !(key & H2_KEY_VISIBLE));
}

static unsigned new_capacity(const struct h2_tree_change *change, const struct level *level)
{
	unsigned least = (change->kind == H2_TREE_DIRECTORY ? DIRECTORY_BLOCK : WIDE_BLOCK) /
			 H2_BLOCKREF_SIZE;

	return level->capacity > least ? level->capacity : least;
}

/*
 * The window of a full array of numbered entries that moves down (MF 5.6): as wide as a block of the
 * smallest entries, where that gathers at least two of them and the new one; else wider. There
 * always is one that is narrower than the array's own range: the entries and the new key are more
 * than a block holds.
 */
static bool choose_numbered(const struct h2_array *array, unsigned capacity, uint64_t new_key,
			    uint64_t *key, unsigned *keybits)
{
	unsigned smallest = 64, step = 0;

	while (1u << step < capacity)
		step++;
	for (unsigned i = 0; i < array->count; i++) {
		unsigned bits = covering_keybits(array->entries[i].lo, array->entries[i].hi);

		if (bits < smallest)
			smallest = bits;
	}
	for (unsigned bits = smallest + step; bits < 63 + step; bits += step) {
		unsigned b = bits < 63 ? bits : 63;
		int best = 1;

		for (unsigned i = 0; i < array->count; i++) {
			uint64_t lo = window_key(array->entries[i].lo, b);
			int n = count_in_window(array, lo, window_last(lo, b));

			if (n > 0 && window_key(new_key, b) == lo)
				n++;
			if (n > best) {
				best = n;
				*key = lo;
				*keybits = b;
			}
		}
		if (best >= 2)
			return true;
	}
	return false;
}

/* For directories: the half that holds more of the smallest window that covers everything. */
static bool choose_half(const struct h2_array *array, uint64_t new_key, uint64_t *key,
			unsigned *keybits)
{
	uint64_t lo = array->entries[0].lo, hi = array->entries[array->count - 1].hi;
	unsigned bits;
	int left, right;

	lo = new_key < lo ? new_key : lo;
	hi = new_key > hi ? new_key : hi;
	bits = covering_keybits(lo, hi) - 1;
	lo = window_key(lo, bits + 1);
	left = count_in_window(array, lo, window_last(lo, bits));
	right = count_in_window(array, window_last(lo, bits) + 1, window_last(lo, bits + 1));
	*keybits = bits;
	*key = left >= right ? lo : window_last(lo, bits) + 1;
	return left >= 0 && right >= 0 && (left >= 2 || right >= 2);
}

/* Move the entries of a window down into a new block. */
static int move_down(const struct h2_tree_change *change, struct level *level, uint64_t key,
		     unsigned keybits)
{
	struct h2_branch *child = new_branch(change, new_capacity(change, level));
	struct h2d_blockref d = indirect_ref(key, keybits);
	struct level to;

	if (!child)
		return -ENOMEM;
	to = branch_level(child);
	move_window(level, &to, key, window_last(key, keybits));
	add_entry(level, &d, child, key, window_last(key, keybits));
	return 0;
}

/* Make room in an array by moving a part of its entries down. */
static int push_down(const struct h2_tree_change *change, struct level *level, uint64_t new_key)
{
	const struct h2_array *array = level->array;
	uint64_t first = array->entries[0].lo, last = array->entries[array->count - 1].lo;
	bool two_halves = ((first ^ last) | (first ^ new_key)) & H2_KEY_VISIBLE;
	/* A PFS's index and its root directory's names part first. */
	bool mixed = change->kind == H2_TREE_PFS_ROOT && two_halves;
	unsigned keybits = 63;
	uint64_t key = window_key(new_key, keybits);
	bool chosen = true;

	if (is_numbered(change, new_key) && !mixed)
		chosen = choose_numbered(array, new_capacity(change, level), new_key, &key,
					 &keybits);
	else if (level->branch || two_halves)
		chosen = choose_half(array, new_key, &key, &keybits);
	/* else all of a root of hashes goes into one block, which has room for more */
	if (!chosen)
		return refuse(change, &level->refs[0]);
	return move_down(change, level, key, keybits);
}

/*
 * Names that lie beside key in a gap between the blocks of an array move to a block of their own,
 * as wide as the gap, if there are at least so many of them: so they have as many levels above them
 * as the others, and the array keeps room for blocks. Returns 1; 0 where there are fewer; -ENOMEM.
 */
static int gather(const struct h2_tree_change *change, struct level *level, uint64_t key,
		  unsigned least)
{
	const struct h2_array *array = level->array;
	unsigned keybits = 64; /* of the smallest window that has key and a block */
	uint64_t lo, hi;
	int n, err;

	for (unsigned i = 0; i < array->count; i++) {
		const struct h2_array_entry *e = &array->entries[i];
		unsigned bits = covering_keybits(key, e->lo);

		if (is_interior(&level->refs[e->slot]) && bits < keybits)
			keybits = bits;
	}
	if (keybits == 64)
		return 0;
	keybits--;
	lo = window_key(key, keybits);
	hi = window_last(lo, keybits);
	n = count_in_window(array, lo, hi);
	if (lo < level->lo || hi > level->hi || n < (int)least)
		return 0;
	err = move_down(change, level, lo, keybits);
	return err ? err : 1;
}

/*
 * Divide a full block of a directory in two under its parent, which has room. A half with one entry
 * is no block but the entry itself, one without entries is nothing: so each block is narrower than
 * its parent, and no path is longer than a key has bits. Returns 0; 1 where the halves would not
 * stay within the block's range (MF 5.4); -ENOMEM.
 */
static int divide(const struct h2_tree_change *change, struct level *parent, struct level *level,
		  uint64_t new_key)
{
	const struct h2_array *array = level->array;
	struct h2_branch *branch = level->branch, *twin = NULL;
	uint64_t lo = array->entries[0].lo, hi = array->entries[array->count - 1].hi, middle;
	unsigned bits;
	int left, right;
	struct h2d_blockref d;
	struct level to;

	lo = new_key < lo ? new_key : lo;
	hi = new_key > hi ? new_key : hi;
	bits = covering_keybits(lo, hi) - 1;
	lo = window_key(lo, bits + 1);
	hi = window_last(lo, bits + 1);
	middle = window_last(lo, bits) + 1;
	left = count_in_window(array, lo, middle - 1);
	right = count_in_window(array, middle, hi);
	if (lo < level->lo || hi > level->hi || left < 0 || right < 0)
		return 1;
	if (left > 1 && right > 1) {
		twin = new_branch(change, level->capacity);
		if (!twin)
			return -ENOMEM;
	}
	remove_entry(parent, level->index);
	if (twin) {
		to = branch_level(twin);
		move_window(level, &to, middle, hi);
		d = indirect_ref(middle, bits);
		add_entry(parent, &d, twin, middle, hi);
	} else if (left > 1) {
		move_window(level, parent, middle, hi);
	} else {
		move_window(level, parent, lo, middle - 1);
		lo = middle;
	}
	d = indirect_ref(lo, bits);
	add_entry(parent, &d, branch, lo, window_last(lo, bits));
	return 0;
}

/* Put a wider block in the place of a small one. */
static int widen(const struct h2_tree_change *change, struct level *parent, struct level *level)
{
	struct h2_branch *branch = level->branch, *wide;
	struct level to;

	wide = new_branch(change, WIDE_BLOCK / H2_BLOCKREF_SIZE);
	if (!wide)
		return -ENOMEM;
	to = branch_level(wide);
	move_window(level, &to, 0, UINT64_MAX);
	wide->old_data_off = branch->old_data_off;
	wide->old_mirror_tid = branch->old_mirror_tid;
	parent->array->children[parent->array->entries[level->index].slot] = wide;
	free_branch(branch, change->branch_bytes);
	return 0;
}

/* Make room for key in the deepest array of the path, which is full. The path is stale then. */
static int make_room(const struct h2_tree_change *change, struct path *path, uint64_t key)
{
	unsigned at = path->depth - 1;
	int err;

	if (at > 0 && path->levels[at].capacity < WIDE_BLOCK / H2_BLOCKREF_SIZE)
		return widen(change, &path->levels[at - 1], &path->levels[at]);
	if (is_numbered(change, key))
		return push_down(change, &path->levels[at], key);
	while (at > 0 && path->levels[at - 1].array->count == path->levels[at - 1].capacity)
		at--;
	if (at == 0) {
		err = path->depth == 1 ? gather(change, &path->levels[0], key, 1) : 0;
		if (err)
			return err < 0 ? err : 0;
		return push_down(change, &path->levels[0], key);
	}
	err = divide(change, &path->levels[at - 1], &path->levels[at], key);
	return err == 1 ? push_down(change, &path->levels[at], key) : err;
}

/* ---- the changes ---- */

static int set(const struct h2_tree_change *change, struct h2_root *root,
	       const struct h2_blockref *ref, bool replace, struct h2_blockref *old)
{
	struct h2d_blockref d;
	struct path path;
	int err, index;

	h2_blockref_encode(ref, &d);
	for (;;) {
		struct level *level;

		err = descend(change, root, ref->key, &path, &index);
		if (err)
			return err;
		level = &path.levels[path.depth - 1];
		if (index >= 0) {
			const struct h2_array_entry *e = &level->array->entries[index];

			if (!replace || e->lo != ref->key || e->hi != h2_blockref_key_last(ref))
				return -EEXIST;
			h2_blockref_decode(&level->refs[e->slot], old);
			level->refs[e->slot] = d;
			return 0;
		}
		if (level->branch && !is_numbered(change, ref->key)) {
			err = gather(change, level, ref->key, level->capacity / 4);
			if (err < 0)
				return err;
			if (err)
				continue;
		}
		if (level->array->count < level->capacity) {
			add_entry(level, &d, NULL, ref->key, h2_blockref_key_last(ref));
			if (old)
				*old = (struct h2_blockref){.type = H2_BLOCKREF_EMPTY};
			return 0;
		}
		err = make_room(change, &path, ref->key);
		if (err)
			return err;
	}
}

int h2_tree_insert(const struct h2_tree_change *change, struct h2_root *root,
		   const struct h2_blockref *ref)
{
	return set(change, root, ref, false, NULL);
}

int h2_tree_set(const struct h2_tree_change *change, struct h2_root *root,
		const struct h2_blockref *ref, struct h2_blockref *old)
{
	return set(change, root, ref, true, old);
}

static void drop_indirect(const struct h2_tree_change *change, const struct h2_branch *branch)
{
	if (branch->old_data_off)
		change->drop(change->user, &(struct h2_blockref){
						   .type = H2_BLOCKREF_INDIRECT,
						   .data_off = branch->old_data_off,
						   .mirror_tid = branch->old_mirror_tid,
					   });
}

/* Hostile media: cursors pass over what a block has beyond its range; above, others have that. */
static bool is_within_range(const struct level *level)
{
	const struct h2_array *array = level->array;

	return array->entries[0].lo >= level->lo && array->entries[array->count - 1].hi <= level->hi;
}

/*
 * After a removal: take empty blocks out, and move the rest of a nearly empty one up where it fits
 * with room to spare.
 */
static void collapse(const struct h2_tree_change *change, struct path *path)
{
	for (unsigned at = path->depth - 1; at > 0; at--) {
		struct level *level = &path->levels[at], *parent = &path->levels[at - 1];
		unsigned count = level->array->count;
		unsigned room = parent->branch ? parent->capacity * 3 / 4 : parent->capacity;
		struct h2_branch *branch = level->branch;

		if (count > 0 &&
		    (count > level->capacity / 8 || parent->array->count - 1 + count > room ||
		     !is_within_range(level)))
			return;
		remove_entry(parent, level->index);
		move_window(level, parent, 0, UINT64_MAX);
		drop_indirect(change, branch);
		free_branch(branch, change->branch_bytes);
	}
}

int h2_tree_remove(const struct h2_tree_change *change, struct h2_root *root, uint64_t key,
		   struct h2_blockref *old)
{
	struct path path;
	struct level *level;
	int index, err = descend(change, root, key, &path, &index);

	if (err)
		return err;
	level = &path.levels[path.depth - 1];
	if (index < 0 || level->array->entries[index].lo != key)
		return -ENOENT;
	h2_blockref_decode(&level->refs[level->array->entries[index].slot], old);
	remove_entry(level, (unsigned)index);
	collapse(change, &path);
	return 0;
}

int h2_tree_touch(const struct h2_tree_change *change, struct h2_root *root, uint64_t key)
{
	struct path path;
	int index;

	return descend(change, root, key, &path, &index);
}

/* ---- ranges ---- */

/*
 * Drop all blocks below a clean blockref, and its own; mirror_tid: of the block that it is in. Only
 * what was written since opening is walked, and that is a tree: hostile media cannot share a block
 * among many entries to make this endless.
 */
static void drop_subtree(const struct h2_tree_change *change, const struct h2d_blockref *d,
			 uint64_t mirror_tid, unsigned depth)
{
	struct h2_blockref ref;
	struct h2_node *node;

	h2_blockref_decode(d, &ref);
	if (ref.mirror_tid > mirror_tid)
		ref.mirror_tid = mirror_tid;
	if (depth > H2_DEPTH_MAX)
		return;
	if (is_interior(d) && ref.mirror_tid >= change->born_tid &&
	    h2_block_check_ref(change->blocks, &change->where, &ref, change->kind) == 0 &&
	    h2_node_get(change->blocks, &change->where, &ref, &node) == 0) {
		for (unsigned i = 0; i < node->array.count; i++)
			drop_subtree(change, &node->array.refs[node->array.entries[i].slot],
				     ref.mirror_tid, depth + 1);
		h2_node_put(change->blocks, node);
		ref.data_count = 0;
	}
	if (h2_blockref_radix(&ref) != 0)
		change->drop(change->user, &ref);
}

static void drop_branch(const struct h2_tree_change *change, struct h2_branch *branch)
{
	for (unsigned i = 0; i < branch->node->array.count; i++) {
		if (branch->children[i])
			drop_branch(change, branch->children[i]);
		else
			drop_subtree(change, &branch->node->block[i], UINT64_MAX, 0);
	}
	drop_indirect(change, branch);
	free_branch(branch, change->branch_bytes);
}

static void remove_from(const struct h2_tree_change *change, struct level *level, uint64_t lo,
			uint64_t hi)
{
	for (unsigned i = level->array->count; i-- > 0;) {
		struct h2_array_entry e = level->array->entries[i];
		struct h2_branch *child = level->array->children[e.slot];

		if (e.hi < lo || e.lo > hi)
			continue;
		if (e.lo >= lo && e.hi <= hi) {
			if (child)
				drop_branch(change, child);
			else
				drop_subtree(change, &level->refs[e.slot], UINT64_MAX, 0);
			remove_entry(level, i);
			continue;
		}
		/* Across a boundary: a branch, since the boundaries were touched. */
		if (child) {
			struct level below = branch_level(child);

			remove_from(change, &below, lo, hi);
			if (child->node->array.count == 0) {
				remove_entry(level, i);
				drop_indirect(change, child);
				free_branch(child, change->branch_bytes);
			}
		}
	}
}

int h2_tree_remove_range(const struct h2_tree_change *change, struct h2_root *root, uint64_t lo,
			 uint64_t hi)
{
	struct level level = root_level(root);
	int err = h2_tree_touch(change, root, lo);

	if (!err)
		err = h2_tree_touch(change, root, hi);
	if (!err)
		remove_from(change, &level, lo, hi);
	return err;
}

static void clean(struct h2_array *array, struct h2_blocks *blocks, _Atomic uint64_t *branch_bytes)
{
	for (unsigned i = 0; i < array->count; i++) {
		struct h2_branch *branch = array->children[i];
		struct h2_blockref ref;

		if (!branch)
			continue;
		array->children[i] = NULL;
		clean(&branch->node->array, blocks, branch_bytes);
		if (!blocks || !branch->written) {
			free_branch(branch, branch_bytes);
			continue;
		}
		h2_blockref_decode(&array->refs[i], &ref);
		h2_node_enter(blocks, &ref, release(branch, branch_bytes));
	}
}

void h2_tree_clean(struct h2_root *root, struct h2_blocks *blocks, _Atomic uint64_t *branch_bytes)
{
	clean(&root->array, blocks, branch_bytes);
}

void h2_root_encode(const struct h2_root *root, struct h2d_blockref refs[H2_BLOCKSET_COUNT])
{
	if (!is_sound(&root->array)) {
		memcpy(refs, root->refs, sizeof(root->refs));
		return;
	}
	memset(refs, 0, H2_BLOCKSET_COUNT * sizeof(*refs));
	for (unsigned i = 0; i < root->array.count; i++)
		refs[i] = root->refs[root->array.entries[i].slot];
}
