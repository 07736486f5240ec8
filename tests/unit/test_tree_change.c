/*
 * Changing trees and writing them, tree/change.h: random changes against sorted keys in memory,
 * every block that was written against the rules of MF 5.3, 5.6, 3.6 and 12.2, and what happens
 * where something is damaged or fails.
 */
#include "unit.h"

#include "change.h"
#include "check.h"
#include "cursor.h"
#include "fresh.h"
#include "image.h"

#define VOLUME_SIZE (64 * GIB)
#define LEAVES_AT (32 * GIB) /* made-up blocks of leaves lie from here on */
#define UNITS_IN_ZONE ((H2_ZONE - H2_SEGMENT) / H2_BLOCK_MAX)
#define FIRST_TID 17u
#define DEPTH_SANE 20u /* MF 5.7 */

static struct fresh disk;
static struct h2_volumes *volumes;
static struct h2_blocks blocks;
static struct h2_root root;
static enum h2_tree_kind kind;
static _Atomic uint64_t branch_bytes;
static unsigned reports;
static char last_code[32];
static uint64_t tid, modify_tid; /* of the open group */

/* Every block that a flush has asked room for, in ascending order. */
static struct made {
	uint64_t data_off;
	uint64_t mirror_tid, modify_tid;
	bool dropped, seen;
} * made;
static size_t made_count, made_room;
static uint64_t next_block;
static int fail_alloc_in, fail_write_in; /* how many calls go well; -1: all */

static uint64_t *dropped_leaves;
static size_t dropped_count, dropped_room;

/* ---- the model: leaves by key ---- */

struct leaf {
	uint64_t key;
	uint64_t id; /* decides about all the rest */
	uint64_t tid, modify_tid;
};

static struct leaf *leaves;
static size_t leaf_count, leaf_room;
static uint64_t next_id;

static uint64_t leaf_span(void)
{
	return kind == H2_TREE_FILE ? UINT64_C(65536) : 1;
}

static struct h2_blockref leaf_ref(const struct leaf *l)
{
	uint64_t place = LEAVES_AT + l->id / UNITS_IN_ZONE * H2_ZONE + H2_SEGMENT +
			 l->id % UNITS_IN_ZONE * H2_BLOCK_MAX;
	struct h2_blockref ref = {
		.methods = H2_CHECK_XXHASH64 << 4,
		.key = l->key,
		.mirror_tid = l->tid,
		.modify_tid = l->modify_tid,
	};

	memcpy(ref.check, &l->id, sizeof(l->id));
	if (kind == H2_TREE_FILE) {
		ref.type = H2_BLOCKREF_DATA;
		ref.keybits = 16;
		ref.data_off = place | (10 + l->id % 7);
	} else if (l->key & H2_KEY_VISIBLE) {
		ref.type = H2_BLOCKREF_DIRENT;
		ref.dirent_inum = l->id + 1;
		ref.dirent_type = H2_OBJECT_FILE;
		ref.dirent_namlen = l->id % 3 ? 8 : 100;
		ref.data_off = l->id % 3 ? 0 : place | 10;
	} else {
		ref.type = H2_BLOCKREF_INODE;
		ref.data_off = place | 10;
		ref.data_count = l->id % 5 * 1024;
		ref.inode_count = l->id % 2;
		ref.leaf_count = (uint16_t)(l->id % 1000); /* not to be added up */
	}
	return ref;
}

/* Where the first leaf is whose key is at least key. */
static size_t leaf_at(uint64_t key)
{
	size_t low = 0, high = leaf_count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (leaves[mid].key < key)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool leaf_exists(uint64_t key)
{
	size_t at = leaf_at(key);

	return at < leaf_count && leaves[at].key == key;
}

static struct leaf leaf_new(uint64_t key)
{
	struct leaf l = {.key = key, .id = next_id++, .tid = tid, .modify_tid = modify_tid};

	if (l.id % 16 == 0)
		l.modify_tid += 7;
	return l;
}

static void leaf_insert(const struct leaf *l)
{
	size_t at = leaf_at(l->key);

	if (leaf_count == leaf_room) {
		leaf_room = leaf_room ? 2 * leaf_room : 1024;
		leaves = realloc(leaves, leaf_room * sizeof(*leaves));
		assert_non_null(leaves);
	}
	memmove(leaves + at + 1, leaves + at, (leaf_count - at) * sizeof(*leaves));
	leaves[at] = *l;
	leaf_count++;
}

/* ---- what the tree asks for ---- */

static void take_report(void *user, const struct h2_report *report)
{
	(void)user;
	reports++;
	snprintf(last_code, sizeof(last_code), "%s", report->code);
}

static struct made *find_made(uint64_t data_off)
{
	size_t low = 0, high = made_count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (made[mid].data_off < data_off)
			low = mid + 1;
		else
			high = mid;
	}
	return low < made_count && made[low].data_off == data_off ? &made[low] : NULL;
}

static void drop(void *user, const struct h2_blockref *ref)
{
	struct made *m;

	(void)user;
	if (ref->type != H2_BLOCKREF_INDIRECT) {
		if (dropped_count == dropped_room) {
			dropped_room = dropped_room ? 2 * dropped_room : 1024;
			dropped_leaves = realloc(dropped_leaves,
						 dropped_room * sizeof(*dropped_leaves));
			assert_non_null(dropped_leaves);
		}
		dropped_leaves[dropped_count++] = ref->data_off;
		return;
	}
	m = find_made(ref->data_off);
	assert_non_null(m);
	assert_false(m->dropped);
	m->dropped = true;
}

static int alloc(void *user, unsigned radix, uint64_t *data_off)
{
	uint64_t size = UINT64_C(1) << radix;

	(void)user;
	if (fail_alloc_in == 0)
		return -ENOSPC;
	if (fail_alloc_in > 0)
		fail_alloc_in--;
	next_block = (next_block + size - 1) / size * size;
	if (next_block % H2_ZONE < H2_SEGMENT)
		next_block += H2_SEGMENT - next_block % H2_ZONE;
	*data_off = next_block | radix;
	next_block += size;
	assert_true(next_block <= LEAVES_AT);
	if (made_count == made_room) {
		made_room = made_room ? 2 * made_room : 1024;
		made = realloc(made, made_room * sizeof(*made));
		assert_non_null(made);
	}
	made[made_count++] = (struct made){
		.data_off = *data_off,
		.mirror_tid = tid,
		.modify_tid = modify_tid,
	};
	return 0;
}

static int write_block(void *user, uint64_t offset, const void *buf, size_t len)
{
	(void)user;
	if (fail_write_in == 0)
		return -EIO;
	if (fail_write_in > 0)
		fail_write_in--;
	return h2_volumes_write(volumes, offset, buf, len);
}

static struct h2_tree_change change_of(void)
{
	return (struct h2_tree_change){
		.blocks = &blocks,
		.where = {.pfs = "DATA", .inum = 1024, .has_inum = true},
		.kind = kind,
		.drop = drop,
		.branch_bytes = &branch_bytes,
	};
}

static int flush_tree(struct h2_tree_sums *sums)
{
	struct h2_tree_flush flush = {
		.mirror_tid = tid,
		.modify_tid = modify_tid,
		.check_algo = H2_CHECK_XXHASH64,
		.alloc = alloc,
		.write = write_block,
		.drop = drop,
	};

	return h2_tree_flush(&flush, &root, sums);
}

/* ---- checking ---- */

/* A walk with the library's cursor gives the model's leaves, branches or not. */
static void expect_leaves(void)
{
	struct h2_tree_change change = change_of();
	struct h2_cursor cursor;
	struct h2_blockref ref;
	size_t n = 0;
	int err;

	h2_cursor_init(&cursor, &blocks, &change.where, kind, &root, 0, UINT64_MAX);
	while ((err = h2_cursor_next(&cursor, &ref)) == 0) {
		struct h2d_blockref found, expected;
		struct h2_blockref model;

		assert_true(n < leaf_count);
		model = leaf_ref(&leaves[n++]);
		h2_blockref_encode(&ref, &found);
		h2_blockref_encode(&model, &expected);
		assert_memory_equal(&found, &expected, sizeof(found));
	}
	h2_cursor_fini(&cursor);
	assert_int_equal(err, 1);
	assert_int_equal(n, leaf_count);
}

struct seen { /* of a subtree, recounted */
	uint64_t leaves;
	unsigned depth;
	struct h2_tree_sums sums;
};

static uint64_t range_last(const struct h2_blockref *ref)
{
	return ref->key + ((UINT64_C(1) << ref->keybits) - 1);
}

static void check_array(const struct h2d_blockref *refs, unsigned count, uint64_t lo, uint64_t hi,
			uint64_t mirror_max, struct seen *seen);

/* An indirect block as it lies on the disk. */
static void check_indirect(const struct h2_blockref *ref, struct seen *above)
{
	unsigned radix = h2_blockref_radix(ref);
	struct seen seen = {.depth = above->depth + 1};
	struct made *m = find_made(ref->data_off);
	struct h2d_blockref *block;

	assert_true(radix == 12 || radix == 14 || radix == 16); /* MF 5.6 */
	assert_int_equal(ref->methods, H2_CHECK_XXHASH64 << 4); /* no compression, MF 3.5 */
	assert_true(ref->keybits >= 1 && ref->keybits <= 63);
	assert_int_equal(ref->key & ((UINT64_C(1) << ref->keybits) - 1), 0);
	assert_int_equal(ref->update_tid, 0);
	assert_non_null(m);
	assert_false(m->dropped);
	assert_false(m->seen);
	m->seen = true;
	assert_int_equal(ref->mirror_tid, m->mirror_tid); /* MF 12.2 rules 1 and 3 */
	block = unit_alloc((size_t)1 << radix);
	assert_int_equal(
		h2_volumes_read(volumes, h2_blockref_offset(ref), block, (size_t)1 << radix), 0);
	assert_int_equal(h2_check_verify(ref, block, (size_t)1 << radix), H2_CHECK_MATCH);
	seen.sums.modify_tid = m->modify_tid;
	check_array(block, (1u << radix) / H2_BLOCKREF_SIZE, ref->key, range_last(ref),
		    ref->mirror_tid, &seen);
	free(block);
	assert_true(seen.leaves > 0);                            /* no empty blocks */
	assert_int_equal(ref->modify_tid, seen.sums.modify_tid); /* MF 12.3 */
	assert_int_equal(ref->data_count, seen.sums.data_count); /* MF 3.6 */
	assert_int_equal(ref->inode_count, seen.sums.inode_count);
	assert_int_equal(ref->leaf_count,
			 seen.sums.leaf_count < 65535 ? seen.sums.leaf_count : 65535);
	above->leaves += seen.leaves;
	above->sums.data_count += (UINT64_C(1) << radix) + seen.sums.data_count;
	above->sums.inode_count += seen.sums.inode_count;
	above->sums.leaf_count += ref->leaf_count;
	if (ref->modify_tid > above->sums.modify_tid)
		above->sums.modify_tid = ref->modify_tid;
	above->depth = seen.depth > above->depth ? seen.depth : above->depth;
}

static void count_leaf(const struct h2_blockref *ref, struct seen *seen)
{
	unsigned radix = h2_blockref_radix(ref);

	seen->leaves++;
	seen->sums.leaf_count++;
	seen->sums.data_count += radix ? UINT64_C(1) << radix : 0;
	if (ref->type == H2_BLOCKREF_INODE) {
		seen->sums.inode_count += 1 + ref->inode_count;
		seen->sums.data_count += ref->data_count;
	}
	if (ref->modify_tid > seen->sums.modify_tid)
		seen->sums.modify_tid = ref->modify_tid;
}

/* MF 5.3, of an array with what is below it. Levels below are counted on top of seen->depth. */
static void check_array(const struct h2d_blockref *refs, unsigned count, uint64_t lo, uint64_t hi,
			uint64_t mirror_max, struct seen *seen)
{
	static const struct h2d_blockref empty;
	unsigned depth = seen->depth, deepest = depth;
	bool any = false;
	uint64_t last = 0;

	for (unsigned i = 0; i < count; i++) {
		struct h2_problem problem;
		struct h2_blockref ref;

		if (refs[i].type == H2_BLOCKREF_EMPTY) {
			assert_memory_equal(&refs[i], &empty, sizeof(empty)); /* BS 6.1 */
			continue;
		}
		h2_blockref_decode(&refs[i], &ref);
		assert_true(h2_blockref_verify(&ref, kind, VOLUME_SIZE, &problem));
		assert_true(!any || ref.key > last); /* ascending, disjoint */
		assert_true(ref.key >= lo);
		assert_true(range_last(&ref) <= hi);
		any = true;
		last = range_last(&ref);
		assert_true(ref.mirror_tid <= mirror_max); /* MF 12.2 rule 2 */
		if (ref.type == H2_BLOCKREF_INDIRECT) {
			seen->depth = depth;
			check_indirect(&ref, seen);
			deepest = seen->depth > deepest ? seen->depth : deepest;
		} else {
			count_leaf(&ref, seen);
		}
	}
	seen->depth = deepest;
}

/* Flush, check what lies on the disk, forget the branches; begin the next group. */
static unsigned commit(void)
{
	struct h2d_blockref refs[H2_BLOCKSET_COUNT];
	struct h2_tree_sums sums;
	struct seen seen = {.sums.modify_tid = modify_tid};

	assert_int_equal(flush_tree(&sums), 0);
	h2_root_encode(&root, refs);
	for (size_t i = 0; i < made_count; i++)
		made[i].seen = false;
	check_array(refs, H2_BLOCKSET_COUNT, 0, UINT64_MAX, tid, &seen);
	assert_int_equal(seen.leaves, leaf_count);
	assert_int_equal(sums.data_count, seen.sums.data_count);
	assert_int_equal(sums.inode_count, seen.sums.inode_count);
	assert_int_equal(sums.modify_tid, seen.sums.modify_tid);
	assert_int_equal(sums.leaf_count,
			 seen.sums.leaf_count < 65535 ? seen.sums.leaf_count : 65535);
	/* What the tree does not have any more was dropped, and only that. */
	for (size_t i = 0; i < made_count; i++)
		assert_true(made[i].seen != made[i].dropped);
	h2_tree_clean(&root, &branch_bytes);
	assert_int_equal(branch_bytes, 0);
	expect_leaves();
	tid++;
	modify_tid += 3;
	return seen.depth;
}

/* ---- setting up ---- */

static void begin(enum h2_tree_kind k)
{
	static const struct h2d_blockref empty[H2_BLOCKSET_COUNT];

	kind = k;
	h2_root_init(&root, empty);
	leaf_count = made_count = dropped_count = 0;
	next_id = 0;
	next_block = 32 * MIB;
	tid = FIRST_TID;
	modify_tid = 100;
	reports = 0;
	fail_alloc_in = fail_write_in = -1;
	branch_bytes = 0;
}

static int setup(void **state)
{
	static const uint64_t size = VOLUME_SIZE;

	(void)state;
	fresh_new(&disk, &size, 1, -1);
	volumes = fresh_open(&disk, true);
	assert_int_equal(h2_blocks_init(&blocks, volumes, 1 << 20, take_report, NULL), 0);
	begin(H2_TREE_FILE);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	h2_tree_clean(&root, &branch_bytes);
	h2_blocks_fini(&blocks);
	h2_volumes_close(volumes);
	fresh_free(&disk);
	free(made);
	free(leaves);
	free(dropped_leaves);
	made = NULL;
	leaves = NULL;
	dropped_leaves = NULL;
	made_room = leaf_room = dropped_room = made_count = leaf_count = dropped_count = 0;
	return 0;
}

static int insert(uint64_t key)
{
	struct h2_tree_change change = change_of();
	struct leaf l = leaf_new(key);
	struct h2_blockref ref = leaf_ref(&l);
	int err = h2_tree_insert(&change, &root, &ref);

	if (err == 0)
		leaf_insert(&l);
	return err;
}

static int remove_key(uint64_t key)
{
	struct h2_tree_change change = change_of();
	struct h2d_blockref found, expected;
	struct h2_blockref old, model;
	size_t at = leaf_at(key);
	int err = h2_tree_remove(&change, &root, key, &old);

	if (err)
		return err;
	assert_true(at < leaf_count && leaves[at].key == key);
	model = leaf_ref(&leaves[at]);
	h2_blockref_encode(&old, &found);
	h2_blockref_encode(&model, &expected);
	assert_memory_equal(&found, &expected, sizeof(found));
	memmove(leaves + at, leaves + at + 1, (leaf_count - at - 1) * sizeof(*leaves));
	leaf_count--;
	return 0;
}

static int compare_numbers(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* What is dropped by the removal of a range are the blocks of its leaves, each once. */
static void remove_range(uint64_t lo, uint64_t hi)
{
	struct h2_tree_change change = change_of();
	size_t from = leaf_at(lo), to = hi == UINT64_MAX ? leaf_count : leaf_at(hi + 1), n = 0;
	uint64_t *expected = unit_alloc((to - from) * sizeof(*expected));

	for (size_t i = from; i < to; i++) {
		struct h2_blockref ref = leaf_ref(&leaves[i]);

		if (ref.data_off)
			expected[n++] = ref.data_off;
	}
	dropped_count = 0;
	assert_int_equal(h2_tree_remove_range(&change, &root, lo, hi), 0);
	assert_int_equal(dropped_count, n);
	if (n > 0) {
		qsort(expected, n, sizeof(*expected), compare_numbers);
		qsort(dropped_leaves, n, sizeof(*expected), compare_numbers);
		assert_memory_equal(dropped_leaves, expected, n * sizeof(*expected));
	}
	free(expected);
	memmove(leaves + from, leaves + to, (leaf_count - to) * sizeof(*leaves));
	leaf_count -= to - from;
}

/* ---- random changes ---- */

enum pattern {
	DENSE_UP,
	DENSE_DOWN,
	RANDOM,
	CLUSTERED,
	POWERS,
	COLLISIONS,
	STRIDES,
	MIXED,
	PATTERNS,
};

#define ALL_PATTERNS ((1u << PATTERNS) - 1)
#define ONE_BY_ONE (1u << DENSE_UP | 1u << DENSE_DOWN | 1u << CLUSTERED)

static uint64_t raw_key(enum pattern pattern, uint64_t *seed, uint64_t *counter)
{
	uint64_t r = fresh_random(seed), bits = fresh_below(seed, 64), scratch;

	switch (pattern) {
	case DENSE_UP:
		return ++*counter;
	case DENSE_DOWN:
		return (UINT64_C(1) << 44) - ++*counter;
	case RANDOM:
		return r;
	case CLUSTERED:
		scratch = r % 40;
		return (fresh_random(&scratch) & ~UINT64_C(0xfff)) + fresh_below(seed, 300);
	case POWERS: /* halving as unevenly as can be */
		switch (r % 4) {
		case 0:
			return UINT64_C(1) << bits;
		case 1:
			return (UINT64_C(1) << bits) - 1;
		case 2:
			return UINT64_MAX >> bits;
		default:
			return (UINT64_C(1) << bits) ^ UINT64_C(1) << fresh_below(seed, 64);
		}
	case COLLISIONS:
		scratch = r % 5;
		return (fresh_random(&scratch) & ~UINT64_C(0xffff)) | 0x8000 |
		       fresh_below(seed, 500);
	case STRIDES:
		return (r % 64) << (bits & ~UINT64_C(7));
	default:
		return raw_key((enum pattern)(r % MIXED), seed, counter);
	}
}

static uint64_t shape_key(uint64_t raw, enum pattern pattern)
{
	switch (kind) {
	case H2_TREE_FILE: /* keys of a file end where its size must, at 2^63 */
		return (pattern == POWERS || pattern == STRIDES ? raw : raw << 16) &
		       0x7fffffffffff0000;
	case H2_TREE_DIRECTORY:
		return raw | H2_KEY_VISIBLE;
	default:
		return raw;
	}
}

static uint64_t existing_key(uint64_t *seed)
{
	return leaf_count ? leaves[fresh_below(seed, leaf_count)].key : 0;
}

static void random_set(uint64_t key)
{
	struct h2_tree_change change = change_of();
	struct leaf l = leaf_new(key);
	struct h2_blockref ref = leaf_ref(&l), old;
	size_t at = leaf_at(key);

	assert_int_equal(h2_tree_set(&change, &root, &ref, &old), 0);
	if (leaf_exists(key)) {
		struct h2_blockref model = leaf_ref(&leaves[at]);

		assert_int_equal(old.type, model.type);
		assert_int_equal(old.data_off, model.data_off);
		leaves[at] = l;
	} else {
		assert_int_equal(old.type, H2_BLOCKREF_EMPTY);
		leaf_insert(&l);
	}
}

static void random_range(uint64_t *seed)
{
	uint64_t a = existing_key(seed), b = existing_key(seed);

	if (fresh_below(seed, 8) == 0)
		b = UINT64_MAX;
	else if (fresh_below(seed, 4) != 0) /* a short one */
		b = leaves[leaf_at(a) + fresh_below(seed, 40) < leaf_count
				   ? leaf_at(a) + fresh_below(seed, 10)
				   : leaf_at(a)]
			    .key;
	if (b != UINT64_MAX)
		b += leaf_span() - 1;
	if (a <= b)
		remove_range(a, b);
}

static void random_change(enum pattern pattern, uint64_t *seed, uint64_t *counter, unsigned grow)
{
	struct h2_tree_change change = change_of();
	uint64_t key = shape_key(raw_key(pattern, seed, counter), pattern);
	uint64_t dice = fresh_below(seed, 100);

	if (dice < grow) {
		assert_int_equal(insert(key), leaf_exists(key) ? -EEXIST : 0);
	} else if (dice < grow + 5) {
		random_set(fresh_below(seed, 2) ? key : existing_key(seed));
	} else if (dice < grow + 8) {
		assert_int_equal(h2_tree_touch(&change, &root, key), 0);
	} else if (dice == 99 && leaf_count > 0 && fresh_below(seed, 6) == 0) {
		random_range(seed);
	} else if (dice < grow + 12) {
		assert_int_equal(remove_key(key), leaf_exists(key) ? 0 : -ENOENT);
	} else if (leaf_count > 0) {
		assert_int_equal(remove_key(existing_key(seed)), 0);
	}
}

/* Rounds of growing and shrinking, with commits at random. */
static unsigned random_run(enum h2_tree_kind k, enum pattern pattern, uint64_t seed,
			   unsigned changes)
{
	uint64_t counter = 0;
	unsigned deepest = 0;

	h2_tree_clean(&root, &branch_bytes);
	begin(k);
	for (unsigned i = 0; i < changes; i++) {
		unsigned grow = i / (changes / 4) % 2 ? 20 : 75;

		random_change(pattern, &seed, &counter, grow);
		if (fresh_below(&seed, 64) == 0)
			expect_leaves();
		if (fresh_below(&seed, 150) == 0) {
			unsigned depth = commit();

			deepest = depth > deepest ? depth : deepest;
		}
	}
	(void)commit();
	if (leaf_count > 0)
		remove_range(0, UINT64_MAX);
	assert_int_equal(commit(), 0); /* nothing is left but an empty root */
	assert_int_equal(root.array.count, 0);
	return deepest;
}

static void change__equals_a_model(enum h2_tree_kind k, unsigned patterns)
{
	for (unsigned pattern = 0; pattern < PATTERNS; pattern++) {
		if (!(patterns >> pattern & 1))
			continue;
		for (uint64_t seed = 1; seed <= 3; seed++) {
			unsigned depth;

			depth = random_run(k, (enum pattern)pattern, seed, 4000);
			print_message("kind %u, pattern %u, seed %" PRIu64 ": %u levels\n", k,
				      pattern, seed, depth);
			assert_true(depth <= DEPTH_SANE);
		}
	}
	assert_int_equal(reports, 0);
}

static void change__of_a_file_equals_a_model(void **state)
{
	(void)state;
	change__equals_a_model(H2_TREE_FILE, ALL_PATTERNS);
}

static void change__of_a_directory_equals_a_model(void **state)
{
	(void)state;
	change__equals_a_model(H2_TREE_DIRECTORY, ALL_PATTERNS & ~ONE_BY_ONE);
}

/* Keys that follow each other: names of equal hash. */
static void change__of_a_directory_of_colliding_names_equals_a_model(void **state)
{
	(void)state;
	change__equals_a_model(H2_TREE_DIRECTORY, ONE_BY_ONE);
}

static void change__of_a_pfs_root_equals_a_model(void **state)
{
	(void)state;
	change__equals_a_model(H2_TREE_PFS_ROOT, ALL_PATTERNS);
}

/* ---- shape ---- */

/* count keys, made by a function; commits on the way. */
static unsigned fill(uint64_t (*key)(uint64_t i), unsigned count, unsigned commits)
{
	struct h2_tree_change change = change_of();
	unsigned depth = 0;

	leaves = realloc(leaves, (leaf_room = count) * sizeof(*leaves));
	assert_non_null(leaves);
	for (unsigned i = 0; i < count; i++) {
		struct leaf l = leaf_new(key(i));
		struct h2_blockref ref = leaf_ref(&l);

		assert_int_equal(h2_tree_insert(&change, &root, &ref), 0);
		leaves[leaf_count++] = l;
		if (i % (count / commits) == count / commits - 1) {
			qsort(leaves, leaf_count, sizeof(*leaves), compare_numbers);
			depth = commit();
		}
	}
	qsort(leaves, leaf_count, sizeof(*leaves), compare_numbers);
	return leaf_count ? commit() : depth;
}

static uint64_t number(uint64_t i)
{
	return 1024 + i;
}

static uint64_t block_number(uint64_t i)
{
	return i << 16;
}

static uint64_t block_backwards(uint64_t i)
{
	return (100000 - i) << 16;
}

static uint64_t hash(uint64_t i)
{
	return fresh_random(&i) | H2_KEY_VISIBLE;
}

/* All keys of one collision range in order, as names of equal hash get them. */
static uint64_t colliding(uint64_t i)
{
	return UINT64_C(0x8123456789ab8000) + i;
}

static uint64_t number_and_hash(uint64_t i)
{
	return i % 2 ? hash(i) : number(i);
}

/* How many blocks there are now, against how many there must be at least. */
static void expect_blocks(size_t at_most)
{
	size_t n = 0;

	for (size_t i = 0; i < made_count; i++)
		n += !made[i].dropped;
	if (n > at_most)
		print_error("%zu indirect blocks, expected %zu at most\n", n, at_most);
	assert_true(n <= at_most);
}

static void shape__of_sequential_numbers_is_flat_and_full(void **state)
{
	(void)state;
	begin(H2_TREE_PFS_ROOT);
	assert_true(fill(number, 100000, 7) <= 8);
	expect_blocks(100000 / 16); /* half of the slots of 4 KiB blocks */
	begin(H2_TREE_FILE);
	assert_true(fill(block_number, 100000, 7) <= 8);
	expect_blocks(100000 / 64 + 64); /* half of the slots of 16 KiB blocks */
	begin(H2_TREE_FILE);
	assert_true(fill(block_backwards, 100000, 7) <= 8);
	expect_blocks(100000 / 64 + 64);
}

static void shape__of_hashes_is_flat(void **state)
{
	(void)state;
	begin(H2_TREE_DIRECTORY);
	assert_true(fill(hash, 100000, 7) <= 8);
	expect_blocks(100000 / 8); /* a quarter of the slots */
	begin(H2_TREE_PFS_ROOT);
	assert_true(fill(hash, 100000, 7) <= 8);
	begin(H2_TREE_PFS_ROOT);
	assert_true(fill(number_and_hash, 100000, 7) <= 8);
	expect_blocks(100000 / 8);
}

static void shape__of_colliding_names_is_flat(void **state)
{
	(void)state;
	begin(H2_TREE_DIRECTORY);
	assert_true(fill(colliding, 1000, 1) <= DEPTH_SANE);
	begin(H2_TREE_DIRECTORY);
	assert_true(fill(colliding, 3000, 1) <= DEPTH_SANE);
	begin(H2_TREE_DIRECTORY);
	assert_true(fill(colliding, 32768, 1) <= DEPTH_SANE);
}

/* A commit for each few entries, as a mounted filesystem has them, must not make chains. */
static void shape__stays_flat_over_many_commits(void **state)
{
	(void)state;
	begin(H2_TREE_PFS_ROOT);
	assert_true(fill(number_and_hash, 6000, 300) <= 6);
	begin(H2_TREE_FILE);
	assert_true(fill(block_number, 6000, 300) <= 6);
	begin(H2_TREE_DIRECTORY);
	assert_true(fill(hash, 6000, 300) <= 6);
}

/* What stays of a large tree that shrinks: not its blocks. */
static void shape__shrinks(void **state)
{
	static const enum h2_tree_kind kinds[] = {H2_TREE_FILE, H2_TREE_DIRECTORY,
						  H2_TREE_PFS_ROOT};

	(void)state;
	for (unsigned k = 0; k < LENGTH_OF(kinds); k++) {
		uint64_t seed = 5 + k;

		begin(kinds[k]);
		(void)fill(kinds[k] == H2_TREE_FILE ? block_number : hash, 5000, 2);
		while (leaf_count > 4) {
			assert_int_equal(remove_key(existing_key(&seed)), 0);
			if (leaf_count % 1000 == 0)
				(void)commit();
		}
		(void)commit();
		expect_blocks(8);
		while (leaf_count > 0)
			assert_int_equal(remove_key(existing_key(&seed)), 0);
		(void)commit();
		expect_blocks(0);
	}
}

/* The memory of branches is counted by the sizes of their blocks, and all given back. */
static void branches__are_accounted_for(void **state)
{
	struct h2_tree_change change = change_of();

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(insert(block_number(i)), 0);
	assert_int_equal(branch_bytes, 16384); /* MF 5.6: a file's first block */
	(void)commit();
	assert_int_equal(h2_tree_touch(&change, &root, 0), 0);
	assert_int_equal(branch_bytes, 16384);
	assert_int_equal(h2_tree_touch(&change, &root, 0), 0);
	assert_int_equal(branch_bytes, 16384);
	h2_tree_clean(&root, &branch_bytes);
	assert_int_equal(branch_bytes, 0);
	begin(H2_TREE_DIRECTORY);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(insert(hash(i)), 0);
	assert_int_equal(branch_bytes, 4096);
	remove_range(0, UINT64_MAX);
	assert_int_equal(branch_bytes, 0);
}

/* A block is written anew only on the way to what has changed. */
static void flush__writes_what_has_changed_only(void **state)
{
	size_t before;

	(void)state;
	begin(H2_TREE_DIRECTORY);
	(void)fill(hash, 20000, 1);
	before = made_count;
	assert_int_equal(insert(hash(20001)), 0);
	assert_true(commit() >= (unsigned)(made_count - before));
	assert_true(made_count - before <= 8);
	before = made_count;
	(void)commit();
	assert_int_equal(made_count, before); /* nothing at all */
}

/* ---- errors ---- */

static void set__refuses_what_meets_another_leaf(void **state)
{
	struct h2_tree_change change = change_of();
	struct h2_blockref ref, old;
	struct leaf l;

	(void)state;
	assert_int_equal(insert(0x10000), 0);
	assert_int_equal(insert(0x10000), -EEXIST);
	l = leaf_new(0x10000);
	ref = leaf_ref(&l);
	ref.keybits = 15; /* the same key, another range */
	assert_int_equal(h2_tree_set(&change, &root, &ref, &old), -EEXIST);
	ref.key = 0x18000; /* within the other's range */
	assert_int_equal(h2_tree_set(&change, &root, &ref, &old), -EEXIST);
	assert_int_equal(h2_tree_insert(&change, &root, &ref), -EEXIST);
	assert_int_equal(h2_tree_remove(&change, &root, 0x18000, &old), -ENOENT);
	assert_int_equal(h2_tree_remove(&change, &root, 0x20000, &old), -ENOENT);
	expect_leaves();
	(void)commit();
}

/* The root as media may have it: entries with gaps between them. */
static void insert__fills_gaps_of_a_root(void **state)
{
	struct h2d_blockref refs[H2_BLOCKSET_COUNT] = {0};

	(void)state;
	begin(H2_TREE_DIRECTORY);
	for (unsigned i = 1; i <= 3; i += 2) {
		struct leaf l = leaf_new(H2_KEY_VISIBLE | i * UINT64_C(0x10000000));
		struct h2_blockref ref = leaf_ref(&l);

		h2_blockref_encode(&ref, &refs[i]);
		leaf_insert(&l);
	}
	h2_root_init(&root, refs);
	assert_int_equal(insert(H2_KEY_VISIBLE), 0);
	assert_int_equal(insert(H2_KEY_VISIBLE | 0x20000000), 0);
	assert_int_equal(branch_bytes, 0); /* four fit without a block */
	(void)commit();
	assert_int_equal(insert(H2_KEY_VISIBLE | 0x50000000), 0);
	(void)commit();
}

/* Take the block at data_off away from the disk's cache of ours: it is read again. */
static void forget_cached(void)
{
	h2_blocks_fini(&blocks);
	assert_int_equal(h2_blocks_init(&blocks, volumes, 1 << 20, take_report, NULL), 0);
}

static void flip_byte(uint64_t data_off)
{
	uint64_t at = data_off & ~UINT64_C(63);
	uint8_t byte;

	assert_int_equal(h2_volumes_read(volumes, at, &byte, 1), 0);
	byte ^= 1;
	assert_int_equal(h2_volumes_write(volumes, at, &byte, 1), 0);
}

/* The interior entry of the root that covers key. */
static struct h2_blockref root_entry(uint64_t key)
{
	struct h2_blockref ref;

	for (unsigned i = 0; i < root.array.count; i++) {
		h2_blockref_decode(&root.refs[root.array.entries[i].slot], &ref);
		if (key >= ref.key && key <= range_last(&ref) && ref.type == H2_BLOCKREF_INDIRECT)
			return ref;
	}
	fail_msg("no indirect block covers key %#" PRIx64, key);
	return ref;
}

static void change__of_a_damaged_part_fails_and_changes_nothing(void **state)
{
	struct h2_tree_change change = change_of();
	struct h2d_blockref before[H2_BLOCKSET_COUNT], after[H2_BLOCKSET_COUNT];
	struct h2_blockref damaged, ref, old;
	struct leaf l;

	(void)state;
	/* Two parts far from each other. */
	for (unsigned i = 0; i < 40; i++) {
		assert_int_equal(insert(block_number(i)), 0);
		assert_int_equal(insert(UINT64_C(1) << 50 | block_number(i)), 0);
	}
	(void)commit();
	damaged = root_entry(0);
	assert_true(range_last(&damaged) < UINT64_C(1) << 50);
	flip_byte(damaged.data_off);
	forget_cached();
	h2_root_encode(&root, before);
	l = leaf_new(block_number(41));
	ref = leaf_ref(&l);
	assert_int_equal(h2_tree_insert(&change, &root, &ref), -H2_ECHECK);
	assert_int_equal(h2_tree_set(&change, &root, &ref, &old), -H2_ECHECK);
	assert_int_equal(h2_tree_remove(&change, &root, block_number(1), &old), -H2_ECHECK);
	assert_int_equal(h2_tree_touch(&change, &root, block_number(1)), -H2_ECHECK);
	dropped_count = 0;
	assert_int_equal(h2_tree_remove_range(&change, &root, block_number(2), UINT64_MAX),
			 -H2_ECHECK);
	assert_int_equal(dropped_count, 0);
	assert_true(reports >= 5);
	h2_root_encode(&root, after);
	assert_memory_equal(before, after, sizeof(before));
	/* The other part can be changed. */
	assert_int_equal(insert(UINT64_C(1) << 50 | block_number(40)), 0);
	assert_int_equal(remove_key(UINT64_C(1) << 50 | block_number(7)), 0);
	/* And the damaged one repaired from outside. */
	flip_byte(damaged.data_off);
	expect_leaves();
	(void)commit();
}

static void change__passes_on_read_errors(void **state)
{
	struct h2_tree_change change = change_of();
	struct h2_blockref old;

	(void)state;
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(insert(block_number(i)), 0);
	(void)commit();
	forget_cached();
	h2_sim_set_fault(disk.sims[0], H2_SIM_READ, H2_SIM_FAIL, 0, 1, -EIO);
	assert_int_equal(h2_tree_remove(&change, &root, block_number(1), &old), -EIO);
	assert_int_equal(remove_key(block_number(1)), 0); /* later it can be read */
	(void)commit();
}

/* A range with damage inside, not at its borders, goes away with all that can be reached. */
static void remove_range__passes_damage_inside(void **state)
{
	struct h2_tree_change change = change_of();
	struct h2_blockref damaged;
	size_t below = 0;

	(void)state;
	for (unsigned part = 0; part < 3; part++) {
		for (unsigned i = 0; i < 40; i++)
			assert_int_equal(insert((uint64_t)part << 40 | block_number(i)), 0);
	}
	(void)commit();
	/* The inner part's own block, wherever it hangs. */
	damaged = root_entry(UINT64_C(1) << 40);
	for (size_t i = 0; i < leaf_count; i++)
		below += leaves[i].key >= damaged.key && leaves[i].key <= range_last(&damaged);
	if (below != 40)
		skip(); /* the parts share a block: another shape than this test is about */
	flip_byte(damaged.data_off);
	forget_cached();
	dropped_count = 0;
	assert_int_equal(
		h2_tree_remove_range(&change, &root, block_number(39), UINT64_C(2) << 40 | 0xffff),
		0);
	assert_int_equal(dropped_count, 2); /* of the leaves at both ends; none of the 40 */
	assert_true(find_made(damaged.data_off)->dropped);
	memmove(leaves + 39, leaves + 39 + 42, (leaf_count - 81) * sizeof(*leaves));
	leaf_count -= 42;
	expect_leaves();
	(void)commit();
}

/* Blocks that a caller says it need not know of. */
static void remove_range__passes_over_what_was_born_earlier(void **state)
{
	struct h2_tree_change change = change_of();

	(void)state;
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(insert(block_number(i)), 0);
	(void)commit();
	change.born_tid = tid;
	for (unsigned i = 40; i < 50; i++)
		assert_int_equal(insert(block_number(i)), 0);
	(void)commit();
	dropped_count = 0;
	assert_int_equal(h2_tree_remove_range(&change, &root, 0, UINT64_MAX), 0);
	assert_true(dropped_count >= 10);
	for (size_t i = 0, young = 0; i < leaf_count; i++) {
		struct h2_blockref ref = leaf_ref(&leaves[i]);
		bool dropped = false;

		for (size_t j = 0; j < dropped_count; j++)
			dropped = dropped || dropped_leaves[j] == ref.data_off;
		if (leaves[i].tid >= change.born_tid) {
			assert_true(dropped);
			young++;
		}
		assert_true(i + 1 < leaf_count || young == 10);
	}
	leaf_count = 0;
	expect_leaves();
}

static void write_array(const struct h2d_blockref *refs, size_t count, uint64_t key,
			unsigned keybits, struct h2_blockref *ref)
{
	uint8_t block[4096] = {0};

	memcpy(block, refs, count * sizeof(*refs));
	*ref = (struct h2_blockref){
		.type = H2_BLOCKREF_INDIRECT,
		.methods = H2_CHECK_XXHASH64 << 4,
		.key = key,
		.keybits = (uint8_t)keybits,
		.mirror_tid = tid,
	};
	assert_int_equal(alloc(NULL, 12, &ref->data_off), 0);
	assert_int_equal(h2_check_set(ref, block, sizeof(block)), 0);
	assert_int_equal(h2_volumes_write(volumes, h2_blockref_offset(ref), block, sizeof(block)),
			 0);
}

static void encode_leaf(uint64_t key, struct h2d_blockref *d)
{
	struct leaf l = leaf_new(key);
	struct h2_blockref ref = leaf_ref(&l);

	h2_blockref_encode(&ref, d);
}

/* MF 13.3: such an array can be read; a writer must refuse it. */
static void change__refuses_overlapping_arrays(void **state)
{
	struct h2_tree_change change = change_of();
	struct h2d_blockref set[H2_BLOCKSET_COUNT] = {0}, refs[3];
	struct h2_blockref ref, old;
	struct leaf l = leaf_new(block_number(9));

	(void)state;
	ref = leaf_ref(&l);
	/* In the root: twice the same key. */
	encode_leaf(block_number(1), &set[0]);
	encode_leaf(block_number(1), &set[1]);
	h2_root_init(&root, set);
	assert_int_equal(h2_tree_insert(&change, &root, &ref), -H2_ECORRUPT);
	assert_string_equal(last_code, "unsafe-to-change");
	assert_int_equal(h2_tree_remove(&change, &root, block_number(1), &old), -H2_ECORRUPT);
	assert_int_equal(h2_tree_remove_range(&change, &root, 0, UINT64_MAX), -H2_ECORRUPT);
	/* In a block. */
	memset(set, 0, sizeof(set));
	encode_leaf(block_number(1), &refs[0]);
	encode_leaf(block_number(2), &refs[1]);
	encode_leaf(block_number(2), &refs[2]);
	write_array(refs, 3, 0, 23, &ref);
	h2_blockref_encode(&ref, &set[0]);
	h2_root_init(&root, set);
	ref = leaf_ref(&l);
	reports = 0;
	assert_int_equal(h2_tree_insert(&change, &root, &ref), -H2_ECORRUPT);
	assert_int_equal(reports, 1);
	assert_string_equal(last_code, "unsafe-to-change");
	assert_int_equal(h2_tree_touch(&change, &root, block_number(1)), -H2_ECORRUPT);
	assert_int_equal(branch_bytes, 0);
	/* Outside of it the tree can be changed. */
	l = leaf_new(UINT64_C(1) << 40);
	ref = leaf_ref(&l);
	assert_int_equal(h2_tree_insert(&change, &root, &ref), 0);
}

/* Unsorted is not overlapping: readers accept it (MF 5.3 rule 4), and writing puts it right. */
static void change__sorts_what_is_out_of_order(void **state)
{
	static const unsigned order[] = {5, 2, 7};
	struct h2d_blockref set[H2_BLOCKSET_COUNT] = {0}, refs[3];
	struct h2_blockref ref;

	(void)state;
	for (unsigned i = 0; i < LENGTH_OF(order); i++) {
		struct leaf l = leaf_new(block_number(order[i]));

		ref = leaf_ref(&l);
		h2_blockref_encode(&ref, &refs[i]);
		leaf_insert(&l);
	}
	write_array(refs, 3, 0, 23, &ref);
	h2_blockref_encode(&ref, &set[2]);
	h2_root_init(&root, set);
	assert_int_equal(insert(block_number(3)), 0);
	assert_int_equal(insert(UINT64_C(1) << 40), 0);
	expect_leaves();
	kind = H2_TREE_FILE;
	(void)commit();
}

/* MF 5.3 rule 6: readers accept empty blocks; a change there goes into them. */
static void change__fills_an_empty_block(void **state)
{
	struct h2d_blockref set[H2_BLOCKSET_COUNT] = {0};
	struct h2_blockref ref;

	(void)state;
	write_array(NULL, 0, 0, 23, &ref);
	h2_blockref_encode(&ref, &set[0]);
	h2_root_init(&root, set);
	expect_leaves();
	assert_int_equal(insert(block_number(3)), 0);
	(void)commit();
}

/*
 * MF 5.4: a nested block may declare a range that is wider than its parent's. What is entered must
 * lie in both, whatever the block is divided into.
 */
static void change__of_a_widened_block_stays_in_its_parent(void **state)
{
	struct h2d_blockref set[H2_BLOCKSET_COUNT] = {0}, d;
	struct h2_blockref inner, outer;
	uint64_t base = H2_KEY_VISIBLE | UINT64_C(0x40000000);

	(void)state;
	begin(H2_TREE_DIRECTORY);
	for (unsigned i = 0; i < 2; i++) {
		struct leaf l = leaf_new(base + i);

		inner = leaf_ref(&l);
		h2_blockref_encode(&inner, i ? &d : &set[1]);
		leaf_insert(&l);
	}
	{
		struct h2d_blockref both[2] = {set[1], d};

		memset(set, 0, sizeof(set));
		write_array(both, 2, base, 5, &inner); /* 32 keys */
	}
	h2_blockref_encode(&inner, &d);
	write_array(&d, 1, base, 3, &outer); /* of which 8 can be meant */
	h2_blockref_encode(&outer, &set[0]);
	h2_root_init(&root, set);
	expect_leaves();
	for (unsigned i = 2; i < 200; i++)
		assert_int_equal(insert(base + i), 0);
	expect_leaves();
	/* The ranges of the blocks that were there may stay as they are; the keys must not stray. */
	for (unsigned i = 0; i < 200; i++) {
		struct h2_tree_change change = change_of();
		struct h2_blockref ref;

		assert_int_equal(h2_tree_first(&blocks, &change.where, kind, &root, base + i,
					       base + i, &ref, NULL),
				 0);
		assert_int_equal(ref.key, base + i);
	}
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(remove_key(base + i), 0);
	expect_leaves();
}

/* A chain of more levels than we follow (MF 5.7) is no place for changes. */
static void change__refuses_endless_depth(void **state)
{
	struct h2_tree_change change = change_of();
	struct h2d_blockref set[H2_BLOCKSET_COUNT] = {0}, d;
	struct h2_blockref ref;
	int err = 0;

	(void)state;
	encode_leaf(0, &d);
	for (unsigned i = 0; i < 70; i++) {
		write_array(&d, 1, 0, 63, &ref); /* all of the same range: hostile */
		h2_blockref_encode(&ref, &d);
	}
	set[0] = d;
	h2_root_init(&root, set);
	err = h2_tree_touch(&change, &root, 0);
	assert_int_equal(err, -H2_ECORRUPT);
}

/*
 * Each allocation and each write of a flush fails once: the tree reads as before, and nothing that
 * the last commit has was written over.
 */
static void flush__that_fails_leaves_the_tree_readable(void **state)
{
	struct h2_tree_sums sums;
	unsigned failures = 0;

	(void)state;
	for (unsigned what = 0; what < 2; what++) {
		for (int n = 0;; n++) {
			uint64_t seed = 3;
			int err;

			h2_tree_clean(&root, &branch_bytes);
			begin(H2_TREE_DIRECTORY);
			(void)fill(hash, 600, 1);
			for (unsigned i = 0; i < 200; i++)
				assert_int_equal(remove_key(existing_key(&seed)), 0);
			for (unsigned i = 0; i < 100; i++)
				assert_int_equal(insert(hash(1000 + i)), 0);
			*(what ? &fail_alloc_in : &fail_write_in) = n;
			err = flush_tree(&sums);
			fail_alloc_in = fail_write_in = -1;
			expect_leaves();
			if (err == 0)
				break;
			assert_int_equal(err, what ? -ENOSPC : -EIO);
			failures++;
			/* It can even be changed further. */
			assert_int_equal(insert(hash(5000)), 0);
			expect_leaves();
		}
	}
	assert_true(failures > 20);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(change__of_a_file_equals_a_model),
		TEST(change__of_a_directory_equals_a_model),
		TEST(change__of_a_directory_of_colliding_names_equals_a_model),
		TEST(change__of_a_pfs_root_equals_a_model),
		TEST(shape__of_sequential_numbers_is_flat_and_full),
		TEST(shape__of_hashes_is_flat),
		TEST(shape__of_colliding_names_is_flat),
		TEST(shape__stays_flat_over_many_commits),
		TEST(shape__shrinks),
		TEST(branches__are_accounted_for),
		TEST(flush__writes_what_has_changed_only),
		TEST(set__refuses_what_meets_another_leaf),
		TEST(insert__fills_gaps_of_a_root),
		TEST(change__of_a_damaged_part_fails_and_changes_nothing),
		TEST(change__passes_on_read_errors),
		TEST(remove_range__passes_damage_inside),
		TEST(remove_range__passes_over_what_was_born_earlier),
		TEST(change__refuses_overlapping_arrays),
		TEST(change__sorts_what_is_out_of_order),
		TEST(change__fills_an_empty_block),
		TEST(change__of_a_widened_block_stays_in_its_parent),
		TEST(change__refuses_endless_depth),
		TEST(flush__that_fails_leaves_the_tree_readable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
