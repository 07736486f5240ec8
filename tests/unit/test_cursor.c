/* Walking trees of any shape, tree/cursor.h. */
#include "unit.h"

#include "cursor.h"
#include "image.h"

#define KEY(n) ((uint64_t)(n) << 16)
#define LEAVES_MAX 20000u

static struct image *image;
static struct image_block *file; /* whose tree is built and walked */
static struct h2_volumes *volumes;
static struct h2_blocks blocks;
static struct h2_root root;
static unsigned reports;
static struct h2_report last;

static struct {
	uint64_t keys[LEAVES_MAX];
	uint64_t offsets[LEAVES_MAX];
	unsigned count;
	int errors[64];
	unsigned error_count;
} walked;

static void take_report(void *user, const struct h2_report *report)
{
	(void)user;
	reports++;
	last = *report;
}

static int setup(void **state)
{
	(void)state;
	image = image_new(NULL);
	file = image_add_inode(image, image_add_pfs(image, image->super_root, "DATA"), 1024,
			       H2_OBJECT_FILE);
	volumes = NULL;
	reports = 0;
	return 0;
}

static void close_tree(void)
{
	if (volumes)
		h2_blocks_fini(&blocks);
	h2_volumes_close(volumes);
	volumes = NULL;
}

static int teardown(void **state)
{
	(void)state;
	close_tree();
	image_free(image);
	return 0;
}

static void open_tree(void)
{
	close_tree();
	image_seal(image);
	assert_int_equal(image_open(image, NULL, &volumes), 0);
	assert_int_equal(h2_blocks_init(&blocks, volumes, 1 << 20, take_report, NULL), 0);
	h2_root_init(&root, image_inode(file)->u.blockset);
	reports = 0;
}

static const struct h2_where where = {.pfs = "DATA", .inum = 1024, .has_inum = true};

static void walk_kind(enum h2_tree_kind kind, uint64_t lo, uint64_t hi)
{
	struct h2_cursor cursor;
	struct h2_blockref ref;
	int err;

	walked.count = walked.error_count = 0;
	h2_cursor_init(&cursor, &blocks, &where, kind, &root, lo, hi);
	while ((err = h2_cursor_next(&cursor, &ref)) != 1) {
		if (err) {
			assert_true(walked.error_count < LENGTH_OF(walked.errors));
			walked.errors[walked.error_count++] = err;
			continue;
		}
		assert_true(walked.count < LEAVES_MAX);
		walked.offsets[walked.count] = h2_blockref_offset(&ref);
		walked.keys[walked.count++] = ref.key;
	}
	assert_int_equal(h2_cursor_next(&cursor, &ref), 1); /* the end stays the end */
	h2_cursor_fini(&cursor);
}

static void walk(uint64_t lo, uint64_t hi)
{
	walk_kind(H2_TREE_FILE, lo, hi);
}

/* What a walk over everything must give: these keys, in this order, and no error. */
static void expect_keys(const uint64_t *keys, size_t count)
{
	walk(0, UINT64_MAX);
	assert_int_equal(walked.error_count, 0);
	assert_int_equal(walked.count, count);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(walked.keys[i], keys[i]);
}

static struct image_block *add_leaf(struct image_block *parent, uint64_t key)
{
	return image_add(image, parent, H2_BLOCKREF_DATA, key, 16, 10);
}

/* ---- legal shapes ---- */

static void walk__of_an_empty_root_ends_at_once(void **state)
{
	(void)state;
	open_tree();
	expect_keys(NULL, 0);
}

static void walk__gives_leaves_in_key_order_from_an_unsorted_array(void **state)
{
	static const uint64_t sorted[] = {KEY(1), KEY(2), KEY(5), KEY(9)};
	static const unsigned slots[] = {3, 0, 2, 1};

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		add_leaf(file, sorted[i])->slot = (int)slots[i];
	open_tree();
	expect_keys(sorted, 4);
}

static void walk__skips_empty_entries_anywhere(void **state)
{
	static const uint64_t keys[] = {KEY(3), KEY(4)};
	struct image_block *node;

	(void)state;
	add_leaf(file, KEY(3))->slot = 1; /* as observed: slot 0 empty */
	node = image_add_indirect(image, file, 1 << 18, 18, 12);
	node->slot = 3;
	add_leaf(node, KEY(4))->slot = 31;
	open_tree();
	expect_keys(keys, 2);
}

static void walk__reads_indirect_blocks_of_all_sizes(void **state)
{
	(void)state;
	for (unsigned radix = 10; radix <= 16; radix++) {
		unsigned room = 1u << (radix - 7);
		uint64_t *keys = unit_alloc(room * sizeof(*keys));
		struct image_block *node;

		teardown(state);
		setup(state);
		node = image_add_indirect(image, file, 0, 16 + radix - 7, radix);
		for (unsigned i = 0; i < room; i++) {
			keys[i] = KEY(i);
			add_leaf(node, keys[i]);
		}
		open_tree();
		expect_keys(keys, room);
		free(keys);
	}
}

static void walk__mixes_leaves_and_nodes_at_any_depth(void **state)
{
	static const uint64_t keys[] = {KEY(0),   KEY(100), KEY(128), KEY(130),
					KEY(131), KEY(256), KEY(600), KEY(1u << 20)};
	struct image_block *a, *b, *c;

	(void)state;
	add_leaf(file, KEY(1u << 20));
	a = image_add_indirect(image, file, 0, 26, 14); /* KEY(0) to KEY(1023) */
	add_leaf(a, KEY(600));
	add_leaf(a, KEY(0));
	add_leaf(a, KEY(100));
	b = image_add_indirect(image, a, KEY(128), 23, 12); /* KEY(128) to KEY(255) */
	add_leaf(a, KEY(256));
	add_leaf(b, KEY(128));
	c = image_add_indirect(image, b, KEY(130), 17, 10);
	add_leaf(c, KEY(131));
	add_leaf(c, KEY(130));
	open_tree();
	expect_keys(keys, LENGTH_OF(keys));
}

static void walk__passes_over_empty_indirect_blocks(void **state)
{
	static const uint64_t keys[] = {KEY(0), KEY(999)};
	struct image_block *node;

	(void)state;
	add_leaf(file, KEY(0));
	image_add_indirect(image, file, KEY(16), 20, 12);
	node = image_add_indirect(image, file, KEY(512), 25, 14);
	image_add_indirect(image, node, KEY(512), 20, 16);
	add_leaf(node, KEY(999));
	open_tree();
	expect_keys(keys, 2);
}

/* MF 5.4: only the intersection with the ancestors counts. */
static void walk__cuts_nested_ranges_that_are_wider_than_their_parent(void **state)
{
	static const uint64_t keys[] = {KEY(0), KEY(5), KEY(16), KEY(20), KEY(52)};
	struct image_block *outer, *inner;

	(void)state;
	outer = image_add_indirect(image, file, 0, 20, 12);  /* KEY(0) to KEY(15) */
	inner = image_add_indirect(image, outer, 0, 30, 12); /* claims far more */
	add_leaf(inner, KEY(0));
	add_leaf(inner, KEY(5));
	add_leaf(inner, KEY(17)); /* outside the parent's range: does not exist */
	outer = image_add_indirect(image, file, KEY(16), 20, 12);
	add_leaf(outer, KEY(16));
	add_leaf(outer, KEY(20));
	add_leaf(file, KEY(52));
	open_tree();
	expect_keys(keys, LENGTH_OF(keys));
	/* The wide child does not make the walk miss its parent's siblings. */
	walk(KEY(52), KEY(52));
	assert_int_equal(walked.count, 1);
	walk(KEY(17), KEY(17));
	assert_int_equal(walked.count, 0);
}

static void walk__of_a_range_gives_what_meets_it(void **state)
{
	static const struct {
		uint64_t lo, hi;
		unsigned first, count; /* of the keys KEY(0), KEY(10), ... KEY(990) */
	} rows[] = {
		{0, 0, 0, 1},
		{65535, 65535, 0, 1}, /* a DATA entry covers its 64 KiB */
		{65536, 65536, 1, 0},
		{65536, KEY(10), 1, 1},
		{KEY(10), KEY(20), 1, 2},
		{KEY(10) + 1, KEY(20) - 1, 1, 1},
		{KEY(500), KEY(500), 50, 1},
		{KEY(985), UINT64_MAX, 99, 1},
		{KEY(991), UINT64_MAX, 0, 0},
		{UINT64_MAX, UINT64_MAX, 0, 0},
		{0, UINT64_MAX, 0, 100},
	};

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		add_leaf(file, KEY(10 * i));
	open_tree();
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		walk(rows[i].lo, rows[i].hi);
		assert_int_equal(walked.error_count, 0);
		assert_int_equal(walked.count, rows[i].count);
		for (unsigned j = 0; j < walked.count; j++)
			assert_int_equal(walked.keys[j], KEY(10 * (rows[i].first + j)));
	}
}

/* MF 5.2: key + 2^keybits may wrap. */
static void walk__reaches_the_end_of_the_key_space(void **state)
{
	struct image_block *node, *leaf;

	(void)state;
	node = image_add_indirect(image, file, H2_KEY_VISIBLE, 63, 12);
	leaf = image_add(image, node, H2_BLOCKREF_DIRENT, UINT64_MAX, 0, 0);
	leaf->ref.dirent_inum = 1024;
	leaf->ref.dirent_namlen = 1;
	leaf = image_add(image, node, H2_BLOCKREF_DIRENT, UINT64_MAX - 1, 0, 0);
	leaf->ref.dirent_inum = 1024;
	leaf->ref.dirent_namlen = 1;
	open_tree();
	walk_kind(H2_TREE_DIRECTORY, 0, UINT64_MAX);
	assert_int_equal(walked.count, 2);
	assert_int_equal(walked.keys[1], UINT64_MAX);
	walk_kind(H2_TREE_DIRECTORY, UINT64_MAX, UINT64_MAX);
	assert_int_equal(walked.count, 1);
	/* A DATA entry whose range ends with the key space. */
	teardown(state);
	setup(state);
	add_leaf(file, UINT64_MAX - 65535);
	open_tree();
	walk(UINT64_MAX, UINT64_MAX);
	assert_int_equal(walked.count, 1);
}

static void walk__goes_forty_levels_deep(void **state)
{
	struct image_block *node = file;

	(void)state;
	for (unsigned bits = 63; bits >= 24; bits--) {
		node = image_add_indirect(image, node, 0, bits, 10);
		if (bits > 24)
			add_leaf(node, UINT64_C(1) << (bits - 1));
	}
	add_leaf(node, KEY(3));
	open_tree();
	walk(0, UINT64_MAX);
	assert_int_equal(walked.error_count, 0);
	assert_int_equal(walked.count, 40);
	assert_int_equal(walked.keys[0], KEY(3));
}

/* ---- hostile and damaged shapes ---- */

static void expect_error(uint64_t lo, uint64_t hi, int err)
{
	walk(lo, hi);
	assert_true(walked.error_count >= 1);
	assert_int_equal(walked.errors[0], err);
	assert_true(reports >= 1);
	assert_int_equal(last.error, err);
	assert_string_equal(last.pfs, "DATA");
	assert_int_equal(last.inum, 1024);
}

static void walk__of_too_many_levels_ends_with_an_error(void **state)
{
	struct image_block *node = file;

	(void)state;
	for (unsigned i = 0; i < 70; i++)
		node = image_add_indirect(image, node, 0, 63, 10);
	add_leaf(node, 0);
	open_tree();
	expect_error(0, UINT64_MAX, -H2_ECORRUPT);
	assert_int_equal(walked.count, 0);
	assert_int_equal(walked.error_count, 1);
}

static void walk__of_a_block_that_contains_itself_ends_with_an_error(void **state)
{
	struct image_block *node, *again;

	(void)state;
	node = image_add_indirect(image, file, 0, 40, 12);
	node->ref.methods = H2_CHECK_NONE << 4;
	again = image_add(image, node, H2_BLOCKREF_INDIRECT, 0, 40, 0);
	again->ref.methods = H2_CHECK_NONE << 4;
	again->ref.data_off = node->ref.data_off;
	add_leaf(file, KEY(1u << 30));
	open_tree();
	expect_error(0, UINT64_MAX, -H2_ECORRUPT);
	assert_int_equal(walked.error_count, 1);
	assert_int_equal(walked.count, 1); /* what lies behind is still found */
}

static void walk__of_two_blocks_that_contain_each_other_ends_with_an_error(void **state)
{
	struct image_block *a, *b, *again;

	(void)state;
	a = image_add_indirect(image, file, 0, 40, 12);
	b = image_add_indirect(image, a, 0, 39, 12);
	a->ref.methods = b->ref.methods = H2_CHECK_DISABLED << 4;
	add_leaf(b, KEY(2));
	again = image_add(image, b, H2_BLOCKREF_INDIRECT, 0, 17, 0);
	again->ref.methods = a->ref.methods;
	again->ref.data_off = a->ref.data_off;
	open_tree();
	expect_error(0, UINT64_MAX, -H2_ECORRUPT);
	assert_int_equal(walked.count, 1);
}

/* MF 13.3: a DAG in which the number of paths doubles with each level. */
static void walk__of_shared_blocks_does_not_multiply(void **state)
{
	struct image_block *nodes[50], *parent = file;

	(void)state;
	for (unsigned i = 0; i < 50; i++) {
		struct image_block *twin;

		nodes[i] = image_add_indirect(image, parent, 0, 63, 10);
		twin = image_add(image, parent, H2_BLOCKREF_INDIRECT, H2_KEY_VISIBLE, 63, 0);
		twin->same_as = nodes[i];
		parent = nodes[i];
	}
	add_leaf(parent, KEY(7));
	open_tree();
	walk(0, UINT64_MAX);
	assert_int_equal(walked.error_count, 0);
	assert_int_equal(walked.count, 1);
}

static void walk__of_overlapping_entries_takes_the_lowest_key(void **state)
{
	struct image_block *node, *own;

	(void)state;
	node = image_add_indirect(image, file, 0, 20, 12);
	own = add_leaf(node, KEY(1));
	add_leaf(file, KEY(1)); /* inside the node's range: never seen */
	add_leaf(file, KEY(16));
	open_tree();
	walk(0, UINT64_MAX);
	assert_int_equal(walked.count, 2);
	assert_int_equal(walked.keys[0], KEY(1));
	assert_int_equal(walked.offsets[0], own->media);
	assert_int_equal(walked.keys[1], KEY(16));
}

static void walk__of_duplicate_keys_gives_one(void **state)
{
	struct image_block *first = add_leaf(file, KEY(1));

	(void)state;
	first->slot = 0;
	add_leaf(file, KEY(1))->slot = 1;
	add_leaf(file, KEY(1))->slot = 2;
	open_tree();
	walk(0, UINT64_MAX);
	assert_int_equal(walked.count, 1);
	assert_int_equal(walked.offsets[0], first->media);
}

static void walk__goes_on_behind_a_bad_blockref(void **state)
{
	static const struct {
		uint8_t type, methods;
		uint64_t data_off;
	} bad[] = {
		{9, 0x30, 0},                  /* unknown type */
		{H2_BLOCKREF_DIRENT, 0x30, 0}, /* not in a file */
		{H2_BLOCKREF_INODE, 0x30, 0},
		{H2_BLOCKREF_INVALID, 0x30, 0},
		{H2_BLOCKREF_FREEMAP_LEAF, 0x30, 0},
		{H2_BLOCKREF_DATA, 0xf0, 0}, /* unknown check code */
		{H2_BLOCKREF_DATA, 0x30, UINT64_C(1) << 45 | 10},
		{H2_BLOCKREF_DATA, 0x30, 10}, /* in the volume header */
		{H2_BLOCKREF_INDIRECT, 0x30, 63},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(bad); i++) {
		struct image_block *leaf;

		teardown(state);
		setup(state);
		add_leaf(file, KEY(1));
		leaf = add_leaf(file, KEY(2));
		add_leaf(file, KEY(3));
		leaf->flags = IMAGE_KEEP_CHECK;
		leaf->ref.type = bad[i].type;
		leaf->ref.methods = bad[i].methods;
		if (bad[i].data_off)
			leaf->ref.data_off = bad[i].data_off;
		open_tree();
		expect_error(0, UINT64_MAX, -H2_ECORRUPT);
		assert_int_equal(walked.error_count, 1);
		assert_int_equal(walked.count, 2);
		assert_int_equal(walked.keys[0], KEY(1));
		assert_int_equal(walked.keys[1], KEY(3));
	}
}

static void walk__survives_all_keybits(void **state)
{
	(void)state;
	for (unsigned bits = 0; bits < 256; bits++) {
		struct image_block *leaf;

		teardown(state);
		setup(state);
		add_leaf(file, 0);
		leaf = add_leaf(file, KEY(2));
		leaf->ref.keybits = (uint8_t)bits;
		leaf = image_add_indirect(image, file, KEY(5), 16, 10);
		leaf->ref.keybits = (uint8_t)bits;
		open_tree();
		walk(0, UINT64_MAX);
		assert_true(walked.count >= 1);
		assert_true(bits == 16 || walked.error_count >= 1);
	}
}

static void walk__goes_on_behind_a_damaged_node(void **state)
{
	struct image_block *node;

	(void)state;
	add_leaf(file, KEY(1));
	node = image_add_indirect(image, file, KEY(16), 20, 12);
	add_leaf(node, KEY(17));
	add_leaf(file, KEY(32));
	image_seal(image);
	node->flags = IMAGE_KEEP_CHECK;
	add_leaf(node, KEY(18));
	open_tree();
	expect_error(0, UINT64_MAX, -H2_ECHECK);
	assert_int_equal(last.media, node->media);
	assert_true(last.flags & H2_REPORT_HAS_VALUES);
	assert_int_not_equal(last.found, last.expected);
	assert_int_equal(walked.error_count, 1);
	assert_int_equal(walked.count, 2);
	/* Not asked for: not found. */
	reports = 0;
	walk(KEY(32), UINT64_MAX);
	assert_int_equal(walked.error_count + reports, 0);
	/* A damaged block is not kept: it is found damaged each time. */
	expect_error(KEY(20), KEY(20), -H2_ECHECK);
	expect_error(KEY(20), KEY(20), -H2_ECHECK);
}

static void walk__passes_on_read_errors(void **state)
{
	struct image_block *node;

	(void)state;
	node = image_add_indirect(image, file, 0, 20, 12);
	add_leaf(node, KEY(1));
	open_tree();
	h2_sim_set_fault(image->volumes[0].sim, H2_SIM_READ, H2_SIM_FAIL, 0, 1, -EIO);
	expect_error(0, UINT64_MAX, -EIO);
	walk(0, UINT64_MAX); /* read again, not remembered as bad */
	assert_int_equal(walked.error_count, 0);
	assert_int_equal(walked.count, 1);
}

static void walk__may_stop_anywhere(void **state)
{
	struct h2_cursor cursor;
	struct h2_blockref ref;

	(void)state;
	for (unsigned i = 0; i < 300; i++)
		add_leaf(file, KEY(i));
	open_tree();
	for (unsigned stop = 0; stop < 300; stop += 17) {
		h2_cursor_init(&cursor, &blocks, &where, H2_TREE_FILE, &root, 0, UINT64_MAX);
		for (unsigned i = 0; i < stop; i++)
			assert_int_equal(h2_cursor_next(&cursor, &ref), 0);
		h2_cursor_fini(&cursor);
	}
}

static void walk__works_without_a_cache(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2000; i++)
		add_leaf(file, KEY(i * 3));
	image_seal(image);
	open_tree();
	h2_blocks_fini(&blocks);
	assert_int_equal(h2_blocks_init(&blocks, volumes, 0, take_report, NULL), 0);
	walk(0, UINT64_MAX);
	assert_int_equal(walked.count, 2000);
	assert_int_equal(walked.error_count, 0);
}

static void first__is_the_lowest_leaf_of_the_range(void **state)
{
	struct h2_blockref ref;

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		add_leaf(file, KEY(10 * i + 5));
	open_tree();
	assert_int_equal(
		h2_tree_first(&blocks, &where, H2_TREE_FILE, &root, 0, UINT64_MAX, &ref, NULL), 0);
	assert_int_equal(ref.key, KEY(5));
	assert_int_equal(
		h2_tree_first(&blocks, &where, H2_TREE_FILE, &root, KEY(6), UINT64_MAX, &ref, NULL),
		0);
	assert_int_equal(ref.key, KEY(15));
	assert_int_equal(
		h2_tree_first(&blocks, &where, H2_TREE_FILE, &root, KEY(6), KEY(14), &ref, NULL),
		1);
}

/* Random keys: a walk over a random range equals a filter over the sorted keys. */
static void walk__equals_a_model(void **state)
{
	enum { N = 1500 };
	static uint64_t keys[N];
	uint64_t seed = 99;

	(void)state;
	for (unsigned i = 0; i < N; i++) {
		uint64_t step;

		unit_noise((uint8_t *)&step, sizeof(step), seed++);
		keys[i] = (i ? keys[i - 1] : 0) + KEY(1 + (step & (i % 3 ? 3 : 0xfffff)));
		add_leaf(file, keys[i]);
	}
	open_tree();
	for (unsigned round = 0; round < 300; round++) {
		uint64_t a, b, lo, hi;
		unsigned expected = 0;

		unit_noise((uint8_t *)&a, sizeof(a), seed++);
		unit_noise((uint8_t *)&b, sizeof(b), seed++);
		a = keys[a % N] + (a >> 40);
		b = keys[b % N] + (b >> 40);
		lo = a < b ? a : b;
		hi = a < b ? b : a;
		walk(lo, hi);
		assert_int_equal(walked.error_count, 0);
		for (unsigned i = 0; i < N; i++) {
			if (keys[i] + 65535 < lo || keys[i] > hi)
				continue;
			assert_true(expected < walked.count);
			assert_int_equal(walked.keys[expected], keys[i]);
			expected++;
		}
		assert_int_equal(walked.count, expected);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(walk__of_an_empty_root_ends_at_once),
		TEST(walk__gives_leaves_in_key_order_from_an_unsorted_array),
		TEST(walk__skips_empty_entries_anywhere),
		TEST(walk__reads_indirect_blocks_of_all_sizes),
		TEST(walk__mixes_leaves_and_nodes_at_any_depth),
		TEST(walk__passes_over_empty_indirect_blocks),
		TEST(walk__cuts_nested_ranges_that_are_wider_than_their_parent),
		TEST(walk__of_a_range_gives_what_meets_it),
		TEST(walk__reaches_the_end_of_the_key_space),
		TEST(walk__goes_forty_levels_deep),
		TEST(walk__of_too_many_levels_ends_with_an_error),
		TEST(walk__of_a_block_that_contains_itself_ends_with_an_error),
		TEST(walk__of_two_blocks_that_contain_each_other_ends_with_an_error),
		TEST(walk__of_shared_blocks_does_not_multiply),
		TEST(walk__of_overlapping_entries_takes_the_lowest_key),
		TEST(walk__of_duplicate_keys_gives_one),
		TEST(walk__goes_on_behind_a_bad_blockref),
		TEST(walk__survives_all_keybits),
		TEST(walk__goes_on_behind_a_damaged_node),
		TEST(walk__passes_on_read_errors),
		TEST(walk__may_stop_anywhere),
		TEST(walk__works_without_a_cache),
		TEST(first__is_the_lowest_leaf_of_the_range),
		TEST(walk__equals_a_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
