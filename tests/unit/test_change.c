/*
 * Changing trees, tree/change.h. A model, the sorted array of all leaves, says what a tree has to
 * hold; a reader of its own goes through the blocks that were written and judges them by MF 5.3 and
 * 3.6; and each block's fate is booked: allocated once, written once, dropped once when it has left
 * the tree, and no other.
 */
#include "disks.h"

#include "blocks.h"
#include "change.h"
#include "check.h"
#include "cursor.h"
#include "scarce.h"

#define DISK (UINT64_C(1) << 40)
#define SLOT UINT64_C(65536) /* every block gets one of its own */
#define SLOTS (1u << 20)
#define FIRST_SLOT (GIB / SLOT)
#define DEPTH_SANE 20u /* MF 5.7 */

enum fate {
	NEVER,
	ALLOCATED, /* an indirect block without contents */
	WRITTEN,   /* an indirect block of the tree */
	LEAF,      /* what a leaf leads to */
	DROPPED,
};

struct leaf {
	uint64_t key;
	struct h2_blockref *ref;
};

struct test {
	struct disks disks;
	struct h2_blocks blocks;
	unsigned reports;
	uint64_t tid; /* of the last group */

	/* by slot */
	uint8_t *fates;
	uint8_t *radixes;
	uint64_t *tids;
	uint64_t next_slot;
	uint64_t written;    /* indirect blocks that are of the tree */
	uint64_t writes;     /* ever */
	uint64_t leaf_drops; /* ever, but of leaves from before born_tid */
	long allocs_left;    /* before alloc() of a flush fails; negative: it does not */
	long writes_left;

	enum h2_tree_kind kind;
	struct h2_root root;
	struct h2d_blockref media[H2_BLOCKSET_COUNT]; /* the root as it was flushed */
	_Atomic uint64_t branch_bytes;
	uint64_t born_tid;

	/* the model: by key */
	struct leaf *leaves;
	unsigned count, room;

	/* what the last check of the flushed tree found */
	unsigned depth, indirects, empty, next_leaf;
	bool may_be_wide; /* blocks of another writer: MF 5.4 */
};

static void on_report(void *user, const struct h2_report *report)
{
	assert_non_null(report->code);
	((struct test *)user)->reports++;
}

static int setup(void **state)
{
	struct test *t = calloc(1, sizeof(*t));
	uint64_t size = DISK;

	if (!t)
		return -1;
	disks_make(&t->disks, &size, 1);
	disks_open(&t->disks);
	assert_int_equal(h2_blocks_init(&t->blocks, t->disks.volumes, 1 << 20, on_report, t), 0);
	t->fates = unit_alloc(SLOTS);
	t->radixes = unit_alloc(SLOTS);
	t->tids = unit_alloc(SLOTS * sizeof(*t->tids));
	t->tid = 100;
	t->allocs_left = t->writes_left = -1;
	*state = t;
	return 0;
}

/* Forget the tree, whatever it is. */
static void forget(struct test *t)
{
	h2_tree_clean(&t->root, &t->blocks, &t->branch_bytes);
	assert_int_equal(atomic_load(&t->branch_bytes), 0);
	memset(&t->root, 0, sizeof(t->root));
	for (unsigned i = 0; i < t->count; i++)
		free(t->leaves[i].ref);
	t->count = 0;
	t->written = 0;
	memset(t->media, 0, sizeof(t->media));
	memset(t->fates, NEVER, SLOTS);
	t->next_slot = 0;
	t->may_be_wide = false;
	t->born_tid = 0;
	/* The same places hold other blocks from now on. */
	h2_cache_shrink(t->blocks.cache);
}

static int teardown(void **state)
{
	struct test *t = *state;

	scarce_left = -1;
	forget(t);
	h2_blocks_fini(&t->blocks);
	disks_free(&t->disks);
	free(t->leaves);
	free(t->fates);
	free(t->radixes);
	free(t->tids);
	free(t);
	return 0;
}

static void begin(struct test *t, enum h2_tree_kind kind)
{
	forget(t);
	t->kind = kind;
	h2_root_init(&t->root, t->media);
}

/* ---- the places of blocks ---- */

static uint64_t take_slot(struct test *t, unsigned radix, enum fate fate)
{
	uint64_t slot = t->next_slot++;

	if ((FIRST_SLOT + slot) * SLOT % GIB < H2_SEGMENT) {
		t->next_slot += H2_SEGMENT / SLOT;
		slot = t->next_slot++;
	}
	assert_true(slot < SLOTS);
	assert_int_equal(t->fates[slot], NEVER);
	t->fates[slot] = (uint8_t)fate;
	t->radixes[slot] = (uint8_t)radix;
	t->tids[slot] = t->tid + 1;
	return (FIRST_SLOT + slot) * SLOT | radix;
}

static uint64_t slot_of(uint64_t data_off)
{
	uint64_t slot = data_off / SLOT - FIRST_SLOT;

	assert_true(slot < SLOTS);
	return slot;
}

static int take_place(void *user, unsigned radix, uint64_t *data_off)
{
	struct test *t = user;

	if (t->allocs_left == 0)
		return -ENOSPC;
	t->allocs_left -= t->allocs_left > 0;
	/* MF 5.6: "only in the sizes 4096, 16384 and 65536". */
	assert_true(radix == 12 || radix == 14 || radix == 16);
	*data_off = take_slot(t, radix, ALLOCATED);
	return 0;
}

static int take_block(void *user, uint64_t offset, const void *buf, size_t len)
{
	struct test *t = user;
	uint64_t slot = slot_of(offset);
	int err;

	if (t->writes_left == 0)
		return -EIO;
	t->writes_left -= t->writes_left > 0;
	assert_int_equal(t->fates[slot], ALLOCATED);
	assert_int_equal(len, (size_t)1 << t->radixes[slot]);
	err = h2_volumes_write(t->disks.volumes, offset, buf, len);
	if (err)
		return err; /* the disk's memory */
	t->fates[slot] = WRITTEN;
	t->written++;
	t->writes++;
	return 0;
}

static void take_drop(void *user, const struct h2_blockref *ref)
{
	struct test *t = user;
	uint64_t slot = slot_of(ref->data_off);

	assert_int_equal(ref->data_off & 63, t->radixes[slot]);
	assert_int_equal(ref->mirror_tid, t->tids[slot]);
	if (ref->type == H2_BLOCKREF_INDIRECT) {
		assert_int_equal(t->fates[slot], WRITTEN);
		t->written--;
	} else {
		assert_int_equal(t->fates[slot], LEAF);
		t->leaf_drops += ref->mirror_tid >= t->born_tid;
	}
	t->fates[slot] = DROPPED;
}

/* ---- the model ---- */

static unsigned lower_bound(const struct test *t, uint64_t key)
{
	unsigned low = 0, high = t->count;

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (t->leaves[mid].key < key)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct leaf *find(const struct test *t, uint64_t key)
{
	unsigned i = lower_bound(t, key);

	return i < t->count && t->leaves[i].key == key ? &t->leaves[i] : NULL;
}

static void model_put(struct test *t, const struct h2_blockref *ref)
{
	unsigned at = lower_bound(t, ref->key);

	if (t->count == t->room) {
		t->room = t->room ? 2 * t->room : 256;
		t->leaves = realloc(t->leaves, t->room * sizeof(*t->leaves));
		assert_non_null(t->leaves);
	}
	memmove(t->leaves + at + 1, t->leaves + at, (t->count - at) * sizeof(*t->leaves));
	t->leaves[at] = (struct leaf){ref->key, unit_alloc(sizeof(*ref))};
	*t->leaves[at].ref = *ref;
	t->count++;
}

static void model_take(struct test *t, unsigned first, unsigned count)
{
	for (unsigned i = first; i < first + count; i++)
		free(t->leaves[i].ref);
	memmove(t->leaves + first, t->leaves + first + count,
		(t->count - first - count) * sizeof(*t->leaves));
	t->count -= count;
}

static void expect_same_ref(const struct h2_blockref *a, const struct h2_blockref *b)
{
	struct h2d_blockref da, db;

	h2_blockref_encode(a, &da);
	h2_blockref_encode(b, &db);
	assert_memory_equal(&da, &db, sizeof(da));
}

/* Readers see the tree with all its changes. */
static void expect_contents(struct test *t)
{
	struct h2_where where = {0};
	struct h2_cursor cursor;
	struct h2_blockref ref;

	h2_cursor_init(&cursor, &t->blocks, &where, t->kind, &t->root, 0, UINT64_MAX);
	for (unsigned i = 0; i < t->count; i++) {
		assert_int_equal(h2_cursor_next(&cursor, &ref), 0);
		expect_same_ref(&ref, t->leaves[i].ref);
	}
	assert_int_equal(h2_cursor_next(&cursor, &ref), 1);
	h2_cursor_fini(&cursor);
}

/* ---- leaves ---- */

static bool is_numbered(enum h2_tree_kind kind, uint64_t key)
{
	return kind == H2_TREE_FILE || (kind == H2_TREE_PFS_ROOT && !(key & H2_KEY_VISIBLE));
}

/* A leaf as the kind of tree may have it at the key, MF 3.2, 3.4. */
static struct h2_blockref make_leaf(struct test *t, uint64_t key, uint64_t *random)
{
	struct h2_blockref ref = {
		.methods = H2_CHECK_XXHASH64 << 4,
		.key = key,
		.mirror_tid = t->tid + 1,
		.modify_tid = 1 + unit_below(random, 3000), /* flush_of() has one in between */
	};
	unsigned radix = 0;

	if (t->kind == H2_TREE_FILE) {
		ref.type = H2_BLOCKREF_DATA;
		ref.keybits = 16;
		radix = 10 + (unsigned)unit_below(random, 7);
	} else if (is_numbered(t->kind, key) || t->kind == H2_TREE_SUPER_ROOT ||
		   unit_below(random, 16) == 0) {
		ref.type = H2_BLOCKREF_INODE; /* in a directory: MF 7.6 */
		ref.data_count = unit_below(random, UINT64_C(1) << 40);
		ref.inode_count = unit_below(random, 1000);
		ref.leaf_count = (uint16_t)unit_below(random, 65536);
		radix = 10;
	} else {
		ref.type = H2_BLOCKREF_DIRENT;
		ref.dirent_inum = 1 + unit_below(random, 1 << 20);
		ref.dirent_type = H2_OBJECT_FILE;
		ref.dirent_namlen = (uint16_t)(1 + unit_below(random, 255));
		radix = ref.dirent_namlen > H2_NAME_INLINE_MAX ? 10 : 0;
	}
	if (radix)
		ref.data_off = take_slot(t, radix, LEAF);
	for (unsigned i = 0; i < 8; i++)
		ref.check[i] = (uint8_t)unit_random(random);
	return ref;
}

/* ---- changes, of the tree and of the model ---- */

static struct h2_tree_change change_of(struct test *t)
{
	return (struct h2_tree_change){
		.blocks = &t->blocks,
		.kind = t->kind,
		.drop = take_drop,
		.user = t,
		.branch_bytes = &t->branch_bytes,
		.born_tid = t->born_tid,
	};
}

static int insert(struct test *t, const struct h2_blockref *ref)
{
	struct h2_tree_change change = change_of(t);
	int err = h2_tree_insert(&change, &t->root, ref);

	scarce_left = -1;
	if (!err)
		model_put(t, ref);
	return err;
}

/* Give up what a leaf leads to, as the owner of the tree does. */
static void give_up(struct test *t, const struct h2_blockref *ref)
{
	if (ref->data_off & 63)
		t->fates[slot_of(ref->data_off)] = DROPPED;
}

static int set_leaf(struct test *t, const struct h2_blockref *ref)
{
	struct h2_tree_change change = change_of(t);
	struct leaf *leaf = find(t, ref->key);
	struct h2_blockref old;
	int err = h2_tree_set(&change, &t->root, ref, &old);

	scarce_left = -1;
	if (err)
		return err;
	if (leaf) {
		expect_same_ref(&old, leaf->ref);
		give_up(t, &old);
		*leaf->ref = *ref;
	} else {
		assert_int_equal(old.type, H2_BLOCKREF_EMPTY);
		model_put(t, ref);
	}
	return 0;
}

static int remove_key(struct test *t, uint64_t key)
{
	struct h2_tree_change change = change_of(t);
	struct leaf *leaf = find(t, key);
	struct h2_blockref old;
	int err = h2_tree_remove(&change, &t->root, key, &old);

	scarce_left = -1;
	if (err)
		return err;
	assert_non_null(leaf);
	expect_same_ref(&old, leaf->ref);
	give_up(t, &old);
	model_take(t, (unsigned)(leaf - t->leaves), 1);
	return 0;
}

static int touch(struct test *t, uint64_t key)
{
	struct h2_tree_change change = change_of(t);
	int err = h2_tree_touch(&change, &t->root, key);

	scarce_left = -1;
	return err;
}

static int remove_range(struct test *t, uint64_t lo, uint64_t hi)
{
	struct h2_tree_change change = change_of(t);
	unsigned first = lower_bound(t, lo);
	unsigned end = hi == UINT64_MAX ? t->count : lower_bound(t, hi + 1);
	uint64_t drops = t->leaf_drops, blocks = 0;
	bool scarce = scarce_left >= 0; /* then what is below cannot always be read */
	int err = h2_tree_remove_range(&change, &t->root, lo, hi);

	scarce_left = -1;
	if (err) {
		assert_int_equal(t->leaf_drops, drops);
		return err;
	}
	for (unsigned i = first; i < end; i++) {
		if (t->leaves[i].ref->mirror_tid < t->born_tid || scarce)
			continue;
		blocks += (t->leaves[i].ref->data_off & 63) != 0;
		if (t->leaves[i].ref->data_off & 63)
			assert_int_equal(t->fates[slot_of(t->leaves[i].ref->data_off)], DROPPED);
	}
	if (!scarce)
		assert_int_equal(t->leaf_drops - drops, blocks);
	model_take(t, first, end - first);
	return 0;
}

/* ---- flushing, and judging what was written ---- */

static void add_sums(struct h2_tree_sums *sums, const struct h2_blockref *ref)
{
	unsigned radix = h2_blockref_radix(ref);
	bool has_stats = ref->type == H2_BLOCKREF_INODE || ref->type == H2_BLOCKREF_INDIRECT;

	/* MF 3.6 */
	sums->data_count += (radix ? UINT64_C(1) << radix : 0) + (has_stats ? ref->data_count : 0);
	sums->inode_count += (ref->type == H2_BLOCKREF_INODE) + (has_stats ? ref->inode_count : 0);
	sums->leaf_count += ref->type == H2_BLOCKREF_INDIRECT ? ref->leaf_count : 1;
	if (sums->leaf_count > 65535)
		sums->leaf_count = 65535;
	if (ref->modify_tid > sums->modify_tid)
		sums->modify_tid = ref->modify_tid;
}

static struct h2_tree_sums check_array(struct test *t, const struct h2d_blockref *array,
				       unsigned size, uint64_t lo, uint64_t hi, unsigned depth,
				       uint64_t mirror_tid);

/* An indirect block of the media and all below it. */
static void check_indirect(struct test *t, const struct h2_blockref *ref, uint64_t lo, uint64_t hi,
			   unsigned depth)
{
	uint64_t last = h2_blockref_key_last(ref);
	size_t size = (size_t)1 << h2_blockref_radix(ref);
	struct h2d_blockref *block = unit_alloc(size);
	struct h2_tree_sums sums;

	assert_in_range(ref->keybits, 1, 63);
	assert_int_equal(ref->key & ((UINT64_C(1) << ref->keybits) - 1), 0);
	assert_true(size == 4096 || size == 16384 || size == 65536);
	assert_int_equal((ref->key ^ last) >> 63, 0); /* MF 5.3 rule 5 */
	if (!t->may_be_wide) {
		assert_true(ref->key >= lo && last <= hi);
		/* Narrower, so that no path is longer than a key has bits (BS 6.3). */
		assert_true(last - ref->key < hi - lo);
	}
	assert_int_equal(t->fates[slot_of(ref->data_off)], WRITTEN);
	t->indirects++;
	if (depth + 1 > t->depth)
		t->depth = depth + 1;
	assert_int_equal(h2_volumes_read(t->disks.volumes, h2_blockref_offset(ref), block, size),
			 0);
	assert_int_equal(h2_check_verify(ref, block, size), H2_CHECK_MATCH);
	sums = check_array(t, block, (unsigned)(size / H2_BLOCKREF_SIZE),
			   ref->key > lo ? ref->key : lo, last < hi ? last : hi, depth + 1,
			   ref->mirror_tid);
	assert_int_equal(ref->data_count, sums.data_count);
	assert_int_equal(ref->inode_count, sums.inode_count);
	assert_int_equal(ref->leaf_count, sums.leaf_count);
	assert_true(ref->modify_tid >= sums.modify_tid); /* MF 12.3 */
	free(block);
}

/*
 * An array by MF 5.3 within the range that all above it leave; its leaves are the next ones of the
 * model. Returns its sums.
 */
static struct h2_tree_sums check_array(struct test *t, const struct h2d_blockref *array,
				       unsigned size, uint64_t lo, uint64_t hi, unsigned depth,
				       uint64_t mirror_tid)
{
	static const struct h2d_blockref zeros;
	struct h2_tree_sums sums = {0};
	struct h2_problem problem;
	bool any = false;
	uint64_t end = 0; /* last key so far */

	for (unsigned i = 0; i < size; i++) {
		struct h2_blockref ref;

		if (array[i].type == H2_BLOCKREF_EMPTY) {
			assert_memory_equal(&array[i], &zeros, sizeof(zeros)); /* BS 6.1 */
			continue;
		}
		h2_blockref_decode(&array[i], &ref);
		assert_true(h2_blockref_verify(&ref, t->kind, DISK, &problem));
		assert_true(!any || ref.key > end);
		any = true;
		end = h2_blockref_key_last(&ref);
		assert_true(ref.mirror_tid <= mirror_tid); /* MF 12.2 rule 2 */
		if (ref.type == H2_BLOCKREF_INDIRECT) {
			check_indirect(t, &ref, lo, hi, depth);
		} else {
			assert_true(ref.key >= lo && end <= hi); /* MF 5.3 rule 2 */
			assert_true(t->next_leaf < t->count);
			expect_same_ref(&ref, t->leaves[t->next_leaf++].ref);
		}
		add_sums(&sums, &ref);
	}
	t->empty += !any && depth > 0;
	return sums;
}

static struct h2_tree_flush flush_of(struct test *t)
{
	return (struct h2_tree_flush){
		.mirror_tid = t->tid + 1,
		.modify_tid = 1000 + t->tid,
		.check_algo = t->tid % 2 ? H2_CHECK_XXHASH64 : H2_CHECK_SHA192,
		.alloc = take_place,
		.write = take_block,
		.drop = take_drop,
		.user = t,
	};
}

static struct h2_tree_sums check_media(struct test *t)
{
	struct h2_tree_sums sums;

	t->depth = t->indirects = t->empty = t->next_leaf = 0;
	sums = check_array(t, t->media, H2_BLOCKSET_COUNT, 0, UINT64_MAX, 0, UINT64_MAX);
	assert_int_equal(t->next_leaf, t->count);
	/* What is not reached any more was dropped, and nothing else. */
	assert_int_equal(t->indirects, t->written);
	assert_true(t->depth < DEPTH_SANE);
	return sums;
}

/* Write all that has changed and judge the whole tree on the media. */
static void flush(struct test *t)
{
	struct h2_tree_flush f = flush_of(t);
	struct h2_tree_sums sums, found;
	uint64_t bytes = atomic_load(&t->branch_bytes), before = t->writes, written = 0;
	uint64_t first = t->next_slot;

	assert_int_equal(h2_tree_flush(&f, &t->root, &sums), 0);
	h2_root_encode(&t->root, t->media);
	/* All branches and nothing else. */
	for (uint64_t s = first; s < t->next_slot; s++) {
		if (t->fates[s] != NEVER)
			written += UINT64_C(1) << t->radixes[s];
	}
	assert_int_equal(written, bytes);
	assert_true(t->writes - before <= bytes / 4096);
	found = check_media(t);
	assert_int_equal(t->empty, 0); /* BS 6.3 */
	assert_int_equal(sums.data_count, found.data_count);
	assert_int_equal(sums.inode_count, found.inode_count);
	assert_int_equal(sums.leaf_count, found.leaf_count);
	assert_int_equal(sums.modify_tid,
			 found.modify_tid > f.modify_tid ? found.modify_tid : f.modify_tid);
	t->tid++;
	h2_tree_clean(&t->root, &t->blocks, &t->branch_bytes);
	assert_int_equal(atomic_load(&t->branch_bytes), 0);
}

/* Begin again with what is on the media. */
static void reload(struct test *t)
{
	h2_cache_shrink(t->blocks.cache);
	h2_root_init(&t->root, t->media);
}

/* ---- random changes ---- */

/* Keys of a shape that the mode chooses; modes 0 to 3. */
static uint64_t random_key(const struct test *t, unsigned mode, uint64_t *random)
{
	uint64_t r = unit_random(random);

	switch (t->kind) {
	case H2_TREE_FILE:
		/* Dense, sparse, in clusters, up to the end of the largest file. */
		return (mode == 0   ? r % 4096
			: mode == 1 ? r % (UINT64_C(1) << 47)
			: mode == 2 ? (r % 16) * (UINT64_C(1) << 40) + (r >> 40) % 256
				    : (UINT64_C(1) << 47) - 1 - r % 2048)
		       << 16;
	case H2_TREE_PFS_ROOT:
		/* Inode numbers beside names. */
		if (r & 1)
			return mode == 3 ? r >> 1 & (H2_KEY_VISIBLE - 1) : 1024 + (r >> 1) % 5000;
		break;
	default:
		break;
	}
	/* Hashes; hashes with many names of each; neighbours; the two ends. */
	r >>= 1;
	return H2_KEY_VISIBLE | (mode == 0   ? r & ~H2_KEY_COLLISION
				 : mode == 1 ? (r % 5) << 40 | (r >> 32) % 2000
				 : mode == 2 ? (r % 3000) << 15
				 : r & 1     ? H2_KEY_VISIBLE - 1 - (r >> 1) % 1500
					     : (r >> 1) % 1500);
}

static void random_range(struct test *t, unsigned mode, uint64_t *random)
{
	uint64_t lo = random_key(t, mode, random), hi = random_key(t, mode, random);

	if (lo > hi) {
		uint64_t swap = lo;

		lo = hi;
		hi = swap;
	}
	/* Mostly a small one, so that there is something left. */
	if (unit_below(random, 8) && t->count > 0) {
		unsigned first = (unsigned)unit_below(random, t->count);
		unsigned last = first + (unsigned)unit_below(random, 40);

		lo = t->leaves[first].key;
		hi = t->leaves[last < t->count ? last : t->count - 1].key;
	}
	if (t->kind == H2_TREE_FILE)
		hi |= 0xffff;
	assert_int_equal(remove_range(t, lo, hi), 0);
}

static void random_change(struct test *t, unsigned mode, unsigned growth, uint64_t *random)
{
	uint64_t key = random_key(t, mode, random), r = unit_below(random, 100);
	bool is_new = !find(t, key);
	struct h2_blockref ref;

	if (r < growth) {
		ref = make_leaf(t, key, random);
		if (unit_below(random, 2)) {
			assert_int_equal(insert(t, &ref), is_new ? 0 : -EEXIST);
			if (!is_new)
				give_up(t, &ref);
		} else {
			assert_int_equal(set_leaf(t, &ref), 0);
		}
	} else if (r < 90 && t->count > 0) {
		key = t->leaves[unit_below(random, t->count)].key;
		assert_int_equal(remove_key(t, key), 0);
	} else if (r < 93) {
		assert_int_equal(remove_key(t, key), is_new ? -ENOENT : 0);
	} else if (r < 98) {
		assert_int_equal(touch(t, key), 0);
	} else if (unit_below(random, 4) == 0) {
		random_range(t, mode, random);
	}
}

static void run_random(struct test *t, enum h2_tree_kind kind, uint64_t seed)
{
	uint64_t random = unit_seed(seed);

	for (unsigned mode = 0; mode < 4; mode++) {
		begin(t, kind);
		for (unsigned round = 0; round < 24; round++) {
			/* It grows, changes, and shrinks. */
			unsigned growth = round < 10 ? 85 : round < 14 ? 45 : 10;
			unsigned ops = (unsigned)unit_below(&random, 400);

			for (unsigned i = 0; i < ops; i++)
				random_change(t, mode, growth, &random);
			expect_contents(t);
			flush(t);
			if (unit_below(&random, 2))
				reload(t);
			expect_contents(t);
		}
		assert_int_equal(remove_range(t, 0, UINT64_MAX), 0);
		flush(t);
		assert_int_equal(t->indirects, 0);
	}
	assert_int_equal(t->reports, 0);
}

static void random__changes_of_a_file(void **state)
{
	run_random(*state, H2_TREE_FILE, 201);
}

static void random__changes_of_a_directory(void **state)
{
	run_random(*state, H2_TREE_DIRECTORY, 202);
}

static void random__changes_of_a_pfs_root(void **state)
{
	run_random(*state, H2_TREE_PFS_ROOT, 203);
}

static void random__changes_of_the_super_root(void **state)
{
	run_random(*state, H2_TREE_SUPER_ROOT, 204);
}

/* ---- sequences made to hurt ---- */

static uint64_t reverse_bits(uint64_t n, unsigned bits)
{
	uint64_t r = 0;

	for (unsigned i = 0; i < bits; i++)
		r |= (n >> i & 1) << (bits - 1 - i);
	return r;
}

#define SEQUENCES 9u

/* The i-th of n numbers below 2^bits, all different. */
static uint64_t sequence(unsigned which, uint64_t i, uint64_t n, unsigned bits)
{
	uint64_t top = bits < 64 ? UINT64_C(1) << bits : 0;

	switch (which) {
	case 0: /* ascending */
		return i;
	case 1: /* descending */
		return n - 1 - i;
	case 2: /* from both ends */
		return i % 2 ? top - 1 - i / 2 : i / 2;
	case 3: /* from the middle to both sides */
		return i % 2 ? top / 2 - 1 - i / 2 : top / 2 + i / 2;
	case 4: /* every bit of a counter reversed: always the other half */
		return reverse_bits(i, bits);
	case 5: /* one at each bit, then two, then three */
		return i < bits        ? UINT64_C(1) << i
		       : i < bits * 64 ? (UINT64_C(1) << i % bits) ^ (top - 1) >> (i / bits)
				       : top / 4 + i;
	case 6: /* far apart */
		return i * (top / n);
	case 7: /* two that differ in the last bit, far apart from the next two */
		return i / 2 * (top / n * 2) + i % 2;
	default: /* each half of what is left, and one beside it */
		return i < 2 * (uint64_t)bits - 2 ? (top - 1) >> (1 + i / 2) ^ (i % 2 << (bits - 1))
						  : top / 2 + top / 4 + i;
	}
}

static void run_sequence(struct test *t, enum h2_tree_kind kind, unsigned which, unsigned n)
{
	uint64_t random = 5, base = kind == H2_TREE_FILE ? 0 : H2_KEY_VISIBLE;
	unsigned shift = kind == H2_TREE_FILE ? 16 : 0;
	unsigned bits = kind == H2_TREE_FILE ? 47 : 63;
	unsigned count;

	begin(t, kind);
	for (unsigned i = 0; i < n; i++) {
		uint64_t key = base | sequence(which, i, n, bits) << shift;
		struct h2_blockref ref;

		if (find(t, key))
			continue;
		ref = make_leaf(t, key, &random);
		assert_int_equal(insert(t, &ref), 0);
		if (i == n / 2)
			flush(t);
	}
	flush(t);
	reload(t);
	expect_contents(t);
	assert_true(t->count > n / 2);
	/*
	 * Windows of a file are 7 bits apart, and take two blocks at least; those of a directory are
	 * as full as in a B-tree.
	 */
	assert_true(t->depth <= (kind == H2_TREE_FILE ? 7 : 5));
	assert_true(t->indirects <= t->count / (kind == H2_TREE_FILE ? 2 : 20));
	/* And away again: every other one, then from one end. */
	count = t->count;
	for (unsigned i = 0; i < count / 2; i++)
		assert_int_equal(remove_key(t, t->leaves[i].key), 0);
	flush(t);
	while (t->count > 0)
		assert_int_equal(remove_key(t, t->leaves[which % 2 ? t->count - 1 : 0].key), 0);
	/* Nothing is left but what waits for the flush. */
	assert_int_equal(t->root.array.count, 0);
	flush(t);
	assert_int_equal(t->written, 0);
}

static void sequence__of_a_file_makes_a_sane_tree(void **state)
{
	for (unsigned which = 0; which < SEQUENCES; which++)
		run_sequence(*state, H2_TREE_FILE, which, 2000);
}

static void sequence__of_a_directory_makes_a_sane_tree(void **state)
{
	for (unsigned which = 0; which < SEQUENCES; which++)
		run_sequence(*state, H2_TREE_DIRECTORY, which, 2000);
}

/* MF 5.3 rule 5: names and numbers grow side by side, and never meet in a block. */
static void sequence__of_halves_in_turn_keeps_them_apart(void **state)
{
	struct test *t = *state;
	uint64_t random = 6;

	begin(t, H2_TREE_PFS_ROOT);
	for (uint64_t i = 0; i < 3000; i++) {
		uint64_t key = i % 2 ? H2_KEY_VISIBLE | reverse_bits(i, 63) : 1024 + i / 2;
		struct h2_blockref ref = make_leaf(t, key, &random);

		assert_int_equal(insert(t, &ref), 0);
		if (i % 500 == 3)
			flush(t);
	}
	flush(t);
	assert_true(t->depth <= 4);
}

/* The first thing that happens to a full root is that all names go into one block. */
static void shape__of_a_pfs_root_parts_names_and_numbers_first(void **state)
{
	struct test *t = *state;
	uint64_t random = unit_seed(28);

	for (unsigned names = 1; names < 5; names++) {
		begin(t, H2_TREE_PFS_ROOT);
		for (unsigned i = 0; i < 5; i++) {
			uint64_t key = i < names ? H2_KEY_VISIBLE | unit_random(&random) : 1024 + i;
			struct h2_blockref ref = make_leaf(t, key, &random);

			assert_int_equal(insert(t, &ref), 0);
		}
		flush(t);
		/* The larger half has moved down. */
		assert_int_equal(t->root.array.count, names >= 3 ? 1 + 5 - names : 1 + names);
	}
}

/* Written from its beginning to its end: the blocks are full, and there are no more than needed. */
static void shape__of_a_file_is_full(void **state)
{
	struct test *t = *state;
	uint64_t random = 7;

	begin(t, H2_TREE_FILE);
	for (uint64_t i = 0; i < 128 * 128; i++) {
		struct h2_blockref ref = make_leaf(t, i << 16, &random);

		assert_int_equal(insert(t, &ref), 0);
	}
	flush(t);
	assert_int_equal(t->depth, 2);
	assert_in_range(t->indirects, 128, 128 + 4);
}

/* The same for the numbers of inodes, which have smaller blocks. */
static void shape__of_an_index_is_full(void **state)
{
	struct test *t = *state;
	uint64_t random = 8;

	begin(t, H2_TREE_PFS_ROOT);
	for (uint64_t i = 0; i < 8192; i++) {
		struct h2_blockref ref = make_leaf(t, 1024 + i, &random);

		assert_int_equal(insert(t, &ref), 0);
	}
	flush(t);
	assert_true(t->depth <= 4);
	assert_true(t->indirects <= 8192 / 32 + 8192 / 32 / 16);
}

/* Hashes: a B-tree of blocks that are half full or better on average. */
static void shape__of_a_directory_is_flat(void **state)
{
	struct test *t = *state;
	uint64_t random = unit_seed(9);

	begin(t, H2_TREE_DIRECTORY);
	while (t->count < 10000) {
		uint64_t key = H2_KEY_VISIBLE | (unit_random(&random) & ~H2_KEY_COLLISION);
		struct h2_blockref ref = make_leaf(t, key, &random);

		assert_int_equal(insert(t, &ref), 0);
	}
	flush(t);
	/* 10000 / 16 blocks, / 16 above, / 16, and the root. */
	assert_true(t->depth <= 4);
	assert_true(t->indirects <= 10000 / 14);
}

/*
 * Names come in the order of their hashes when a directory is copied, and names of one hash get one
 * key after the other (MF 7.4): the tree must not get the deeper for it.
 */
static void shape__of_ascending_hashes_is_flat(void **state)
{
	struct test *t = *state;
	uint64_t random = 25;

	for (unsigned which = 0; which < 4; which++) {
		begin(t, H2_TREE_DIRECTORY);
		for (uint64_t n = 0; n < 32768; n++) {
			uint64_t i = which % 2 ? 32767 - n : n;
			uint64_t key = which < 2 ? UINT64_C(0xabcdef0123458000) + i
						 : H2_KEY_VISIBLE | i * 0xfffe << 32 | 0x8001;
			struct h2_blockref ref = make_leaf(t, key, &random);

			assert_int_equal(insert(t, &ref), 0);
		}
		flush(t);
		assert_true(t->depth <= 9);
		assert_true(t->indirects <= 32768 / 26);
	}
}

/* MF 7.4: as many names as one hash can have, with others around them. */
static void shape__of_a_cluster_of_one_hash(void **state)
{
	struct test *t = *state;
	uint64_t random = unit_seed(10);

	begin(t, H2_TREE_DIRECTORY);
	for (uint64_t i = 0; i < 32768 + 1000; i++) {
		uint64_t key = i % 34 == 33
				       ? unit_random(&random) | H2_KEY_VISIBLE
				       : UINT64_C(0xabcdef0123458000) | reverse_bits(i % 32768, 15);
		struct h2_blockref ref;

		if (find(t, key))
			continue;
		ref = make_leaf(t, key, &random);
		assert_int_equal(insert(t, &ref), 0);
	}
	flush(t);
	assert_true(t->depth <= 6);
	for (uint64_t i = 0; i < 32768; i++) {
		uint64_t key = UINT64_C(0xabcdef0123458000) | i;
		int expected = find(t, key) ? 0 : -ENOENT;

		assert_int_equal(remove_key(t, key), expected);
	}
	flush(t);
	/* What was left over from the cluster has gone with it. */
	assert_true(t->indirects <= t->count / 5);
}

/* MF 3.6: "saturating at 65535". */
static void sums__of_leaves_stick_at_65535(void **state)
{
	struct test *t = *state;
	uint64_t random = 11;
	struct h2_blockref ref, top;

	begin(t, H2_TREE_FILE);
	for (uint64_t i = 0; i < 70000; i++) {
		ref = make_leaf(t, i << 16, &random);
		assert_int_equal(insert(t, &ref), 0);
	}
	flush(t); /* compares all sums */
	h2_blockref_decode(&t->media[0], &top);
	assert_int_equal(top.leaf_count, 65535);
	for (uint64_t i = 0; i < 69000; i++)
		assert_int_equal(remove_key(t, i << 16), 0);
	flush(t);
	h2_blockref_decode(&t->media[0], &top);
	assert_in_range(top.leaf_count, 1, 1000);
}

/* One change writes the blocks on its way and no others. */
static void flush__writes_what_has_changed_only(void **state)
{
	static const enum h2_tree_kind kinds[] = {H2_TREE_FILE, H2_TREE_DIRECTORY};
	struct test *t = *state;
	uint64_t random = 12;

	for (size_t k = 0; k < LENGTH_OF(kinds); k++) {
		begin(t, kinds[k]);
		for (uint64_t i = 0; i < 3000; i++) {
			uint64_t key = k == 0 ? i << 16 : H2_KEY_VISIBLE | reverse_bits(i, 63);
			struct h2_blockref ref = make_leaf(t, key, &random);

			assert_int_equal(insert(t, &ref), 0);
		}
		flush(t);
		reload(t);
		for (unsigned i = 0; i < 50; i++) {
			uint64_t key = t->leaves[unit_below(&random, t->count)].key;
			struct h2_blockref ref = make_leaf(t, key, &random);
			uint64_t writes = t->writes;

			assert_int_equal(set_leaf(t, &ref), 0);
			flush(t);
			assert_in_range(t->writes - writes, 1, t->depth);
			writes = t->writes;
			flush(t);
			assert_int_equal(t->writes, writes);
		}
	}
}

static uint64_t count_misses(struct test *t)
{
	struct h2_cache_stats stats;

	h2_cache_get_stats(t->blocks.cache, &stats);
	return stats.misses;
}

static void add_names(struct test *t, uint64_t first, uint64_t count, uint64_t *random)
{
	for (uint64_t i = first; i < first + count; i++) {
		struct h2_blockref ref =
			make_leaf(t, H2_KEY_VISIBLE | reverse_bits(i, 63), random);

		assert_int_equal(insert(t, &ref), 0);
	}
}

/* Blocks that have just been written, or are changed once more, need no reading. */
static void clean__leaves_what_was_written_in_memory(void **state)
{
	struct test *t = *state;
	uint64_t random = 14, misses;

	begin(t, H2_TREE_DIRECTORY);
	add_names(t, 0, 400, &random);
	flush(t);
	misses = count_misses(t);
	h2_root_init(&t->root, t->media);
	expect_contents(t);
	add_names(t, 400, 50, &random);
	assert_int_equal(count_misses(t), misses);
	flush(t);
	expect_contents(t);
}

/* A change that came after the flush is in no block that the media have. */
static void clean__forgets_what_is_not_written(void **state)
{
	struct test *t = *state;
	struct h2_tree_change change;
	struct h2_tree_flush f;
	struct h2_tree_sums sums;
	struct h2_blockref ref;
	uint64_t random = 15;

	begin(t, H2_TREE_DIRECTORY);
	add_names(t, 0, 400, &random);
	change = change_of(t);
	f = flush_of(t);
	assert_int_equal(h2_tree_flush(&f, &t->root, &sums), 0);
	h2_root_encode(&t->root, t->media);
	for (uint64_t i = 400; i < 450; i++) {
		ref = make_leaf(t, H2_KEY_VISIBLE | reverse_bits(i, 63), &random);
		assert_int_equal(h2_tree_insert(&change, &t->root, &ref), 0);
	}
	h2_tree_clean(&t->root, &t->blocks, &t->branch_bytes);
	assert_int_equal(atomic_load(&t->branch_bytes), 0);
	h2_root_init(&t->root, t->media);
	expect_contents(t);
}

/* A block that a reader has at hand stays as it is. */
static void change__spares_what_others_read(void **state)
{
	struct test *t = *state;
	struct h2_where where = {0};
	struct h2d_blockref before[32];
	uint64_t random = 16;
	struct h2_blockref ref;
	struct h2_node *node;

	begin(t, H2_TREE_DIRECTORY);
	add_names(t, 0, 20, &random);
	flush(t);
	h2_root_init(&t->root, t->media);
	h2_blockref_decode(&t->media[0], &ref);
	assert_int_equal(ref.type, H2_BLOCKREF_INDIRECT);
	assert_int_equal(h2_node_get(&t->blocks, &where, &ref, &node), 0);
	assert_int_equal(node->array.count, 20);
	memcpy(before, node->block, sizeof(before));
	add_names(t, 20, 5, &random);
	assert_int_equal(remove_key(t, t->leaves[0].key), 0);
	assert_int_equal(node->array.count, 20);
	assert_memory_equal(node->block, before, sizeof(before));
	h2_node_put(&t->blocks, node);
	flush(t);
	expect_contents(t);
}

/* The order of a root's slots on the media does not matter to what is written: MF 5.3 rule 4. */
static void root__may_have_gaps(void **state)
{
	struct test *t = *state;
	struct h2d_blockref media[H2_BLOCKSET_COUNT];
	uint64_t random = 13;

	for (unsigned gaps = 1; gaps < 15; gaps++) {
		begin(t, H2_TREE_DIRECTORY);
		memset(media, 0, sizeof(media));
		for (unsigned i = 0; i < 4; i++) {
			struct h2_blockref ref = make_leaf(t, H2_KEY_VISIBLE | (i + 1) << 20,
							   &random);

			if (!(gaps >> i & 1)) {
				model_put(t, &ref);
				h2_blockref_encode(&ref, &media[i]);
			}
		}
		h2_root_init(&t->root, media);
		expect_contents(t);
		for (unsigned i = 0; i < 100; i++) {
			struct h2_blockref ref = make_leaf(t, H2_KEY_VISIBLE | unit_random(&random),
							   &random);

			assert_int_equal(insert(t, &ref), 0);
			if (i % 20 == 0)
				expect_contents(t);
		}
		flush(t);
	}
}

/* ---- blocks of other writers ---- */

/* Put an array as it is into an indirect block; the sums are right. */
static struct h2_blockref put_indirect(struct test *t, uint64_t key, unsigned keybits,
				       unsigned radix, const struct h2_blockref *refs,
				       unsigned count)
{
	struct h2d_blockref *block = unit_alloc((size_t)1 << radix);
	struct h2_tree_sums sums = {0};
	struct h2_blockref ref = {
		.type = H2_BLOCKREF_INDIRECT,
		.methods = H2_CHECK_XXHASH64 << 4,
		.keybits = (uint8_t)keybits,
		.key = key,
		.mirror_tid = t->tid + 1,
		.data_off = take_slot(t, radix, WRITTEN),
	};

	for (unsigned i = 0; i < count; i++) {
		if (refs[i].type == H2_BLOCKREF_EMPTY)
			continue;
		h2_blockref_encode(&refs[i], &block[i]);
		add_sums(&sums, &refs[i]);
	}
	ref.data_count = sums.data_count;
	ref.inode_count = sums.inode_count;
	ref.leaf_count = (uint16_t)sums.leaf_count;
	ref.modify_tid = sums.modify_tid;
	assert_int_equal(h2_check_set(&ref, block, (size_t)1 << radix), 0);
	assert_int_equal(h2_volumes_write(t->disks.volumes, h2_blockref_offset(&ref), block,
					  (size_t)1 << radix),
			 0);
	t->written++;
	free(block);
	return ref;
}

static void put_root(struct test *t, const struct h2_blockref *refs, unsigned count)
{
	memset(t->media, 0, sizeof(t->media));
	for (unsigned i = 0; i < count; i++)
		h2_blockref_encode(&refs[i], &t->media[i]);
	t->tid++;
	reload(t);
}

/* Empty entries everywhere, blocks that are not full or empty: MF 5.3 rules 4 and 6. */
static void block__may_have_gaps_or_nothing(void **state)
{
	struct test *t = *state;
	struct h2_blockref refs[128], set[2];
	uint64_t random = 14;

	begin(t, H2_TREE_FILE);
	memset(refs, 0, sizeof(refs));
	for (unsigned i = 5; i < 128; i += 3) {
		refs[i] = make_leaf(t, (uint64_t)i << 16, &random);
		model_put(t, &refs[i]);
	}
	set[0] = put_indirect(t, 0, 23, 14, refs, 128);
	set[1] = put_indirect(t, UINT64_C(1) << 23, 23, 14, refs, 0);
	put_root(t, set, 2);
	expect_contents(t);
	for (uint64_t i = 0; i < 256; i += 7) {
		struct h2_blockref ref = make_leaf(t, i << 16, &random);

		assert_int_equal(set_leaf(t, &ref), 0);
	}
	flush(t);
	assert_int_equal(t->indirects, 2);
	assert_int_equal(t->reports, 0);
}

/* MF 5.4: a block may claim more than the one that it is in. */
static void block__may_be_wider_than_its_parent(void **state)
{
	struct test *t = *state;
	struct h2_blockref refs[32], inner, outer[2];
	uint64_t random = 15;

	begin(t, H2_TREE_DIRECTORY);
	for (unsigned i = 0; i < 32; i++) {
		refs[i] = make_leaf(t, H2_KEY_VISIBLE + i, &random);
		model_put(t, &refs[i]);
	}
	inner = put_indirect(t, H2_KEY_VISIBLE, 40, 12, refs, 32);
	outer[0] = put_indirect(t, H2_KEY_VISIBLE, 8, 12, &inner, 1);
	for (unsigned i = 0; i < 32; i++) {
		refs[i] = make_leaf(t, H2_KEY_VISIBLE + 256 + i, &random);
		model_put(t, &refs[i]);
	}
	outer[1] = put_indirect(t, H2_KEY_VISIBLE + 256, 8, 12, refs, 32);
	put_root(t, outer, 2);
	t->may_be_wide = true;
	for (unsigned i = 32; i < 256; i++) {
		struct h2_blockref ref = make_leaf(t, H2_KEY_VISIBLE + i, &random);

		assert_int_equal(insert(t, &ref), 0);
		ref = make_leaf(t, H2_KEY_VISIBLE + 256 + i, &random);
		assert_int_equal(insert(t, &ref), 0);
	}
	expect_contents(t);
	flush(t);
	reload(t);
	while (t->count > 0) {
		uint64_t key = t->leaves[unit_below(&random, t->count)].key;

		assert_int_equal(remove_key(t, key), 0);
		if (t->count % 64 == 0)
			flush(t);
	}
	assert_int_equal(t->root.array.count, 0);
}

/* Readers accept blocks of any size; writers make three sizes only (MF 3.4, 5.6). */
static void block__of_another_size_is_written_in_a_legal_one(void **state)
{
	static const unsigned radixes[] = {10, 11, 13, 15};
	static const enum h2_tree_kind kinds[] = {H2_TREE_FILE, H2_TREE_DIRECTORY};
	struct test *t = *state;
	struct h2_blockref refs[256], block;
	uint64_t random = 26;

	for (size_t i = 0; i < 2 * LENGTH_OF(radixes); i++) {
		unsigned radix = radixes[i / 2], count = (1u << radix) / H2_BLOCKREF_SIZE;
		uint64_t base = i % 2 ? H2_KEY_VISIBLE : 0, step = i % 2 ? 1 : 65536;

		begin(t, kinds[i % 2]);
		for (unsigned j = 0; j < count; j++) {
			refs[j] = make_leaf(t, base + 2 * j * step, &random);
			model_put(t, &refs[j]);
		}
		block = put_indirect(t, base, 40, radix, refs, count);
		put_root(t, &block, 1);
		for (unsigned j = 0; j < count; j++) {
			struct h2_blockref ref = make_leaf(t, base + (2 * j + 1) * step, &random);

			assert_int_equal(insert(t, &ref), 0);
			if (j == count / 2)
				flush(t); /* looks at the sizes */
		}
		flush(t);
	}
}

static int take_any_block(void *user, uint64_t offset, const void *buf, size_t len)
{
	return h2_volumes_write(((struct test *)user)->disks.volumes, offset, buf, len);
}

static void take_any_drop(void *user, const struct h2_blockref *ref)
{
	(void)user;
	(void)ref;
}

/* Entries that are right by themselves, in any order, at any place, with any width. */
static struct h2_blockref hostile_entry(struct test *t, uint64_t *random)
{
	struct h2_blockref ref = make_leaf(t, random_key(t, 0, random), random);

	if (unit_below(random, 3) == 0) {
		ref.type = H2_BLOCKREF_INDIRECT;
		ref.keybits = (uint8_t)(1 + unit_below(random, 63));
		ref.key = unit_random(random) >> ref.keybits << ref.keybits;
		ref.data_off = (FIRST_SLOT + unit_below(random, t->next_slot + 1)) * SLOT | 12;
		ref.methods = H2_CHECK_NONE << 4; /* leads to any block or to none */
	}
	return ref;
}

static int by_key(const void *a, const void *b)
{
	const struct h2_blockref *x = a, *y = b;

	return x->key < y->key ? -1 : x->key > y->key;
}

/* Blocks that contradict their parents: changes are made or refused, and come to an end. */
static void hostile__blocks_do_no_harm(void **state)
{
	static const enum h2_tree_kind kinds[] = {H2_TREE_FILE, H2_TREE_DIRECTORY,
						  H2_TREE_PFS_ROOT};
	struct test *t = *state;
	uint64_t random = unit_seed(27);
	unsigned done = 0;

	for (unsigned round = 0; round < 150; round++) {
		struct h2_tree_change change;
		struct h2_tree_flush f;
		struct h2_tree_sums sums;
		struct h2_blockref refs[32], old;

		begin(t, kinds[round % 3]);
		for (unsigned b = 0; b < 12; b++) {
			unsigned count = (unsigned)unit_below(&random, 33);

			for (unsigned i = 0; i < count; i++)
				refs[i] = hostile_entry(t, &random);
			/* Mostly in order, so that more of them is accepted. */
			if (unit_below(&random, 4))
				qsort(refs, count, sizeof(refs[0]), by_key);
			(void)put_indirect(t, 0, 1, 12, refs, count);
		}
		for (unsigned i = 0; i < 4; i++)
			refs[i] = hostile_entry(t, &random);
		qsort(refs, 4, sizeof(refs[0]), by_key);
		put_root(t, refs, 4);
		change = change_of(t);
		change.drop = take_any_drop;
		f = flush_of(t);
		f.write = take_any_block;
		f.drop = take_any_drop;
		for (unsigned i = 0; i < 100; i++) {
			uint64_t key = random_key(t, 0, &random);
			struct h2_blockref ref = make_leaf(t, key, &random);
			int err;

			switch (unit_below(&random, 4)) {
			case 0:
				err = h2_tree_insert(&change, &t->root, &ref);
				break;
			case 1:
				err = h2_tree_set(&change, &t->root, &ref, &old);
				break;
			case 2:
				err = h2_tree_remove(&change, &t->root, key, &old);
				break;
			default:
				err = h2_tree_remove_range(&change, &t->root, key, key | 0xffffff);
				break;
			}
			assert_true(err == 0 || err == -EEXIST || err == -ENOENT ||
				    err == -H2_ECORRUPT);
			done += err == 0;
		}
		assert_int_equal(h2_tree_flush(&f, &t->root, &sums), 0);
		h2_tree_clean(&t->root, &t->blocks, &t->branch_bytes);
	}
	assert_true(done > 1000);
}

/* Every change meets the error, and the tree is as it was, in memory and when it is flushed. */
static void expect_refused(struct test *t, uint64_t key, int err)
{
	struct h2d_blockref media[H2_BLOCKSET_COUNT];
	struct h2_tree_change change = change_of(t);
	struct h2_tree_flush f = flush_of(t);
	uint64_t random = key, drops = t->leaf_drops, written = t->written;
	struct h2_blockref ref = make_leaf(t, key, &random), old;
	struct h2_tree_sums sums;

	t->reports = 0;
	assert_int_equal(h2_tree_insert(&change, &t->root, &ref), err);
	assert_int_equal(h2_tree_set(&change, &t->root, &ref, &old), err);
	assert_int_equal(h2_tree_remove(&change, &t->root, key, &old), err);
	assert_int_equal(h2_tree_touch(&change, &t->root, key), err);
	assert_int_equal(h2_tree_remove_range(&change, &t->root, 0, key | 0xffff), err);
	assert_int_equal(h2_tree_remove_range(&change, &t->root, key, UINT64_MAX), err);
	assert_true(t->reports >= 6);
	assert_int_equal(t->leaf_drops, drops);
	assert_int_equal(t->written, written);
	assert_int_equal(h2_tree_flush(&f, &t->root, &sums), 0);
	h2_root_encode(&t->root, media);
	h2_tree_clean(&t->root, &t->blocks, &t->branch_bytes);
	/* No block of the root was changed. */
	assert_memory_equal(media, t->media, sizeof(media));
}

/* MF 13.3: "writers must refuse to modify such an array". */
static void refused__are_arrays_that_are_not_in_order(void **state)
{
	struct test *t = *state;
	struct h2_blockref good[4], bad[4], set[4], other;
	uint64_t random = 16;

	begin(t, H2_TREE_FILE);
	for (unsigned i = 0; i < 4; i++)
		good[i] = make_leaf(t, (uint64_t)(2 * i) << 16, &random);
	other = make_leaf(t, UINT64_C(1) << 30, &random);
	for (unsigned kind = 0; kind < 4; kind++) {
		memcpy(bad, good, sizeof(bad));
		switch (kind) {
		case 0: /* one key twice */
			bad[1].key = bad[2].key;
			break;
		case 1: /* a block within the range of a leaf's neighbours */
			bad[1] = put_indirect(t, 0, 18, 12, good, 2);
			break;
		case 2: /* descending */
			bad[0] = good[1];
			bad[1] = good[0];
			break;
		case 3: /* the last one is the first */
			bad[3] = make_leaf(t, UINT64_C(1) << 16, &random);
			break;
		}
		/* In a block, and beside it all is well. */
		set[0] = put_indirect(t, 0, 23, 14, bad, 4);
		set[1] = other;
		put_root(t, set, 2);
		expect_refused(t, UINT64_C(9) << 16, -H2_ECORRUPT);
		assert_int_equal(touch(t, UINT64_C(1) << 23), 0);
		assert_int_equal(touch(t, UINT64_C(1) << 30), 0);
		/* In the root. */
		put_root(t, bad, 4);
		expect_refused(t, UINT64_C(9) << 16, -H2_ECORRUPT);
		expect_refused(t, UINT64_C(1) << 40, -H2_ECORRUPT);
	}
}

static void refused__are_blocks_that_cannot_be_read(void **state)
{
	struct test *t = *state;
	struct h2_blockref leaves[4], good, bad;
	uint64_t random = 17;

	begin(t, H2_TREE_FILE);
	for (unsigned i = 0; i < 4; i++)
		leaves[i] = make_leaf(t, (uint64_t)i << 16, &random);
	good = put_indirect(t, 0, 23, 14, leaves, 4);
	for (unsigned kind = 0; kind < 6; kind++) {
		bad = good;
		switch (kind) {
		case 0:
			bad.check[5] ^= 1;
			break;
		case 1:
			bad.data_off = DISK | 14;
			break;
		case 2:
			bad.data_off = good.data_off + 3; /* a block of 128 KiB */
			break;
		case 3:
			bad.keybits = 64;
			break;
		case 4:
			bad.key = 4096;
			break;
		case 5:
			bad.methods = 0xf0;
			break;
		}
		put_root(t, &bad, 1);
		expect_refused(t, UINT64_C(5) << 16, kind == 0 ? -H2_ECHECK : -H2_ECORRUPT);
	}
	put_root(t, &good, 1);
	h2_sim_set_fault(t->disks.sims[0], H2_SIM_READ, H2_SIM_FAIL, 0, UINT64_MAX, -EIO);
	expect_refused(t, UINT64_C(5) << 16, -EIO);
	h2_sim_set_fault(t->disks.sims[0], H2_SIM_READ, H2_SIM_FAIL, 0, 0, 0);
	assert_int_equal(touch(t, UINT64_C(5) << 16), 0);
}

/* A block that leads to itself: its check code is none, so that it can. */
static void refused__are_cycles(void **state)
{
	struct test *t = *state;
	struct h2_tree_change change = change_of(t);
	struct h2_blockref ref = {
		.type = H2_BLOCKREF_INDIRECT,
		.methods = H2_CHECK_NONE << 4,
		.keybits = 40,
	};
	struct h2d_blockref block[32] = {0};
	struct h2_blockref old;

	begin(t, H2_TREE_FILE);
	change = change_of(t);
	ref.data_off = take_slot(t, 12, WRITTEN);
	h2_blockref_encode(&ref, &block[0]);
	assert_int_equal(
		h2_volumes_write(t->disks.volumes, h2_blockref_offset(&ref), block, sizeof(block)),
		0);
	put_root(t, &ref, 1);
	assert_int_equal(touch(t, 0), -H2_ECORRUPT);
	assert_int_equal(h2_tree_remove(&change, &t->root, 0, &old), -H2_ECORRUPT);
	assert_true(atomic_load(&t->branch_bytes) <= (H2_DEPTH_MAX + 1) * 4096);
	h2_tree_clean(&t->root, &t->blocks, &t->branch_bytes);
	assert_int_equal(touch(t, UINT64_C(1) << 41), 0);
}

/* What cannot be read within a range is removed as well; what is below it is for a scan to find. */
static void remove_range__goes_on_over_damage(void **state)
{
	struct test *t = *state;
	struct h2_blockref leaves[4], set[3];
	uint64_t random = 18, drops;

	begin(t, H2_TREE_FILE);
	for (unsigned b = 0; b < 3; b++) {
		for (unsigned i = 0; i < 4; i++)
			leaves[i] = make_leaf(t, (uint64_t)b << 23 | (uint64_t)i << 16, &random);
		set[b] = put_indirect(t, (uint64_t)b << 23, 23, 14, leaves, 4);
	}
	set[1].check[0] ^= 4;
	put_root(t, set, 3);
	drops = t->leaf_drops;
	{
		struct h2_tree_change change = change_of(t);

		assert_int_equal(
			h2_tree_remove_range(&change, &t->root, 0, (UINT64_C(3) << 23) - 1), 0);
	}
	assert_int_equal(t->leaf_drops - drops, 8);
	assert_int_equal(t->root.array.count, 0);
	assert_int_equal(t->written, 0);
	assert_true(t->reports > 0);
}

/* What is below blocks of before born_tid is not dropped one by one, nor read for it. */
static void remove_range__spares_what_is_older(void **state)
{
	struct test *t = *state;
	uint64_t random = 19;
	struct h2_sim_stats before, after;
	struct h2_blockref ref;

	begin(t, H2_TREE_FILE);
	for (uint64_t i = 0; i < 4096; i++) {
		ref = make_leaf(t, i << 16, &random);
		assert_int_equal(insert(t, &ref), 0);
	}
	flush(t);
	t->born_tid = t->tid + 1;
	for (uint64_t i = 1000; i < 1010; i++) {
		ref = make_leaf(t, i << 16, &random);
		assert_int_equal(set_leaf(t, &ref), 0);
	}
	flush(t);
	reload(t);
	h2_sim_get_stats(t->disks.sims[0], &before);
	assert_int_equal(remove_range(t, 0, UINT64_MAX), 0); /* compares the leaves */
	h2_sim_get_stats(t->disks.sims[0], &after);
	/* The way to what is new: 10 leaves of one or two blocks, and the boundaries. */
	assert_true(after.reads - before.reads <= 8);
	for (uint64_t s = 0; s < t->next_slot; s++) {
		if (t->fates[s] == WRITTEN || t->fates[s] == LEAF)
			assert_true(t->tids[s] < t->born_tid);
	}
}

/* ---- errors ---- */

static void grow_to(struct test *t, unsigned count, uint64_t *random)
{
	while (t->count < count) {
		uint64_t key = random_key(t, 0, random);
		struct h2_blockref ref;

		if (find(t, key))
			continue;
		ref = make_leaf(t, key, random);
		assert_int_equal(insert(t, &ref), 0);
	}
}

static int change_once(struct test *t, unsigned what, uint64_t key, const struct h2_blockref *ref)
{
	switch (what) {
	case 0:
		return insert(t, ref);
	case 1:
		return set_leaf(t, ref);
	case 2:
		return touch(t, key);
	case 3:
		return remove_key(t, key);
	default:
		return remove_range(t, key, key + (UINT64_C(40) << 16) - 1);
	}
}

/* "After an error the tree holds what it did before", whichever allocation it is that fails. */
static void error__of_memory_changes_nothing(void **state)
{
	static const enum h2_tree_kind kinds[] = {H2_TREE_FILE, H2_TREE_DIRECTORY,
						  H2_TREE_PFS_ROOT};
	struct test *t = *state;
	uint64_t random = unit_seed(20);
	unsigned failures = 0;

	for (unsigned round = 0; round < 120; round++) {
		unsigned what = round % 5;
		struct h2_blockref ref;
		uint64_t key;
		int err = -ENOMEM;

		begin(t, kinds[round % 3]);
		grow_to(t, 20 + (unsigned)unit_below(&random, 250), &random);
		if (round % 2) {
			flush(t);
			reload(t);
		}
		do {
			key = random_key(t, 0, &random);
		} while (what == 0 && find(t, key));
		if (what == 3)
			key = t->leaves[unit_below(&random, t->count)].key;
		ref = make_leaf(t, key, &random);
		for (long n = 0; err; n++) {
			scarce_left = n;
			err = change_once(t, what, key, &ref);
			scarce_left = -1;
			assert_true(err == 0 || err == -ENOMEM);
			failures += err != 0;
			expect_contents(t);
			h2_cache_shrink(t->blocks.cache);
		}
		if (what != 4)
			flush(t);
	}
	assert_true(failures > 50);
}

/* A full block in front of every kind of making room: each failure of it, then its success. */
static void error__of_memory_while_making_room_changes_nothing(void **state)
{
	struct test *t = *state;
	uint64_t random = 21;

	for (unsigned kind = 0; kind < 2; kind++) {
		begin(t, kind ? H2_TREE_DIRECTORY : H2_TREE_FILE);
		for (unsigned i = 0; i < 1500; i++) {
			uint64_t key = kind ? H2_KEY_VISIBLE | reverse_bits(i, 20) << 40
					    : (uint64_t)i << 16;
			struct h2_blockref ref = make_leaf(t, key, &random);
			long n = 0;
			int err;

			do {
				uint64_t bytes = atomic_load(&t->branch_bytes);

				scarce_left = n++;
				err = insert(t, &ref);
				scarce_left = -1;
				if (err) {
					assert_int_equal(err, -ENOMEM);
					if (i % 8 == 0)
						expect_contents(t);
					/* What was made and not used is given back. */
					assert_true(atomic_load(&t->branch_bytes) <=
						    bytes + (uint64_t)(n - 1) * 16384);
				}
			} while (err);
		}
		flush(t);
	}
}

/* After a touch the removal needs neither the media nor memory. */
static void touch__makes_a_removal_sure(void **state)
{
	static const enum h2_tree_kind kinds[] = {H2_TREE_FILE, H2_TREE_DIRECTORY,
						  H2_TREE_PFS_ROOT};
	struct test *t = *state;
	uint64_t random = unit_seed(22);

	for (size_t k = 0; k < LENGTH_OF(kinds); k++) {
		begin(t, kinds[k]);
		grow_to(t, 2000, &random);
		flush(t);
		for (unsigned i = 0; i < 60; i++) {
			uint64_t key = t->leaves[unit_below(&random, t->count)].key;
			int err;

			reload(t);
			assert_int_equal(touch(t, key), 0);
			expect_contents(t);
			h2_cache_shrink(t->blocks.cache);
			scarce_left = 0;
			h2_sim_set_fault(t->disks.sims[0], H2_SIM_READ, H2_SIM_FAIL, 0, UINT64_MAX,
					 -EIO);
			err = remove_key(t, key);
			h2_sim_set_fault(t->disks.sims[0], H2_SIM_READ, H2_SIM_FAIL, 0, 0, 0);
			scarce_left = -1;
			assert_int_equal(err, 0);
			flush(t);
		}
	}
}

/* "Branches stay, so that the tree can still be read after an error." */
static void error__of_a_flush_leaves_a_tree_to_be_read(void **state)
{
	struct test *t = *state;
	uint64_t random = unit_seed(23);

	begin(t, H2_TREE_DIRECTORY);
	grow_to(t, 500, &random);
	flush(t);
	for (unsigned i = 0; i < 200; i++)
		random_change(t, 0, 50, &random);
	for (long n = 0;; n++) {
		struct h2_tree_flush f = flush_of(t);
		struct h2_tree_sums sums;
		int err;

		if (n % 3 == 0)
			t->allocs_left = n;
		else if (n % 3 == 1)
			t->writes_left = n;
		else
			scarce_left = n;
		err = h2_tree_flush(&f, &t->root, &sums);
		t->allocs_left = t->writes_left = -1;
		scarce_left = -1;
		if (!err)
			break;
		assert_int_equal(err, n % 3 == 0 ? -ENOSPC : n % 3 == 1 ? -EIO : -ENOMEM);
		expect_contents(t);
	}
	h2_root_encode(&t->root, t->media);
	(void)check_media(t);
	t->tid++;
}

static void exists__is_said_of_any_key_of_a_leaf(void **state)
{
	struct test *t = *state;
	uint64_t random = 24;
	struct h2_blockref ref, old;
	struct h2_tree_change change;

	begin(t, H2_TREE_FILE);
	change = change_of(t);
	ref = make_leaf(t, UINT64_C(7) << 16, &random);
	assert_int_equal(insert(t, &ref), 0);
	assert_int_equal(h2_tree_insert(&change, &t->root, &ref), -EEXIST);
	/* Within its range is not its key. */
	assert_int_equal(h2_tree_remove(&change, &t->root, (UINT64_C(7) << 16) + 1024, &old),
			 -ENOENT);
	assert_int_equal(h2_tree_remove(&change, &t->root, UINT64_C(6) << 16, &old), -ENOENT);
	expect_contents(t);
	/* A range of another width is not the same leaf. */
	ref.keybits = 10;
	assert_int_equal(h2_tree_set(&change, &t->root, &ref, &old), -EEXIST);
	expect_contents(t);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/*
 * A block that has an entry outside of its range, where its neighbour is: two names near its beginning
 * and one beyond the neighbour, which has twenty.
 */
static struct h2_tree_change put_stray(struct test *t, uint64_t *random)
{
	struct h2_blockref refs[32], set[2];
	struct h2_tree_change change;

	begin(t, H2_TREE_DIRECTORY);
	refs[0] = make_leaf(t, H2_KEY_VISIBLE + 1, random);
	refs[1] = make_leaf(t, H2_KEY_VISIBLE + 2, random);
	refs[2] = make_leaf(t, H2_KEY_VISIBLE + 0x500000, random);
	set[0] = put_indirect(t, H2_KEY_VISIBLE, 20, 12, refs, 3);
	for (unsigned i = 0; i < 20; i++)
		refs[i] = make_leaf(t, H2_KEY_VISIBLE + 0x200000 + i, random);
	set[1] = put_indirect(t, H2_KEY_VISIBLE + 0x200000, 20, 12, refs, 20);
	put_root(t, set, 2);
	change = change_of(t);
	change.drop = take_any_drop;
	return change;
}

/* When the block is nearly empty its entries do not move up among those of others. */
static void hostile__stray_entries_hide_no_others(void **state)
{
	struct h2_where where = {0};
	struct test *t = *state;
	uint64_t random = 99;
	struct h2_tree_change change = put_stray(t, &random);
	struct h2_blockref old, ref;

	assert_int_equal(h2_tree_remove(&change, &t->root, H2_KEY_VISIBLE + 1, &old), 0);
	for (uint64_t key = H2_KEY_VISIBLE + 0x200000; key < H2_KEY_VISIBLE + 0x200014; key++)
		assert_int_equal(h2_tree_first(&t->blocks, &where, t->kind, &t->root, key, key, &ref,
					       NULL),
				 0);
	t->count = 0;
}

static void hostile__stray_entries_end_no_program(void **state)
{
	struct test *t = *state;
	uint64_t random = 99;
	struct h2_tree_change change = put_stray(t, &random);
	struct h2_blockref old, ref;

	assert_int_equal(h2_tree_remove(&change, &t->root, H2_KEY_VISIBLE + 1, &old), 0);
	for (uint64_t key = H2_KEY_VISIBLE + 0x900000; key > H2_KEY_VISIBLE + 0x480000; key -= 0x80000) {
		ref = make_leaf(t, key, &random);
		(void)h2_tree_insert(&change, &t->root, &ref);
	}
	t->count = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(random__changes_of_a_file),
		TEST(random__changes_of_a_directory),
		TEST(random__changes_of_a_pfs_root),
		TEST(random__changes_of_the_super_root),
		TEST(sequence__of_a_file_makes_a_sane_tree),
		TEST(sequence__of_a_directory_makes_a_sane_tree),
		TEST(sequence__of_halves_in_turn_keeps_them_apart),
		TEST(shape__of_a_pfs_root_parts_names_and_numbers_first),
		TEST(shape__of_a_file_is_full),
		TEST(shape__of_an_index_is_full),
		TEST(shape__of_a_directory_is_flat),
		TEST(shape__of_ascending_hashes_is_flat),
		TEST(shape__of_a_cluster_of_one_hash),
		TEST(sums__of_leaves_stick_at_65535),
		TEST(flush__writes_what_has_changed_only),
		TEST(clean__leaves_what_was_written_in_memory),
		TEST(clean__forgets_what_is_not_written),
		TEST(change__spares_what_others_read),
		TEST(root__may_have_gaps),
		TEST(block__may_have_gaps_or_nothing),
		TEST(block__may_be_wider_than_its_parent),
		TEST(block__of_another_size_is_written_in_a_legal_one),
		TEST(hostile__blocks_do_no_harm),
		TEST(hostile__stray_entries_hide_no_others),
		TEST(hostile__stray_entries_end_no_program),
		TEST(refused__are_arrays_that_are_not_in_order),
		TEST(refused__are_blocks_that_cannot_be_read),
		TEST(refused__are_cycles),
		TEST(remove_range__goes_on_over_damage),
		TEST(remove_range__spares_what_is_older),
		TEST(error__of_memory_changes_nothing),
		TEST(error__of_memory_while_making_room_changes_nothing),
		TEST(touch__makes_a_removal_sure),
		TEST(error__of_a_flush_leaves_a_tree_to_be_read),
		TEST(exists__is_said_of_any_key_of_a_leaf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
