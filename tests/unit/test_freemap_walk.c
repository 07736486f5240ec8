/* Reading the freemap of a volume, space/freemap.h. */
#include "fixture.h"

#include "freemap.h"

struct seen {
	unsigned leaves, refs, faults;
	uint64_t keys[8];
	int first_error;
	int stop; /* what the leaf callback returns */
};

static int take_leaf(void *user, const struct h2_blockref *ref,
		     const struct h2d_freemap_record records[H2_FREEMAP_RECORDS])
{
	struct seen *s = user;

	assert_int_equal(h2_freemap_state(records, 0), H2_GRANULE_ALLOCATED);
	assert_true(s->leaves < LENGTH_OF(s->keys));
	s->keys[s->leaves++] = ref->key;
	return s->stop;
}

static void take_ref(void *user, const struct h2_blockref *ref)
{
	(void)ref;
	((struct seen *)user)->refs++;
}

static void take_fault(void *user, const struct h2_freemap_fault *fault)
{
	struct seen *s = user;

	assert_non_null(fault->ref);
	assert_non_null(fault->problem.member);
	if (s->faults++ == 0)
		s->first_error = fault->error;
}

static int walk(struct fixture *f, struct seen *seen)
{
	struct h2_freemap_walk w = {
		.volumes = f->volumes,
		.leaf = take_leaf,
		.ref = take_ref,
		.fault = take_fault,
		.user = seen,
	};

	w.blockset = h2_volumes_header(f->volumes)->freemap_blockset;
	return h2_freemap_walk(&w);
}

/* A filesystem of two zones with a leaf for each. */
static void make_two_zones(struct fixture *f)
{
	static const uint64_t size = 2 * GIB;

	image_free(f->image);
	f->image = image_new(&(struct image_options){.sizes = &size});
	f->root = image_add_pfs(f->image, f->image->super_root, "DATA");
	f->image->next_free = GIB;
	image_add_inode(f->image, f->root, 1024, H2_OBJECT_FILE);
}

static void walk__of_an_empty_freemap_is_normal(void **state)
{
	struct fixture *f = *state;
	struct seen seen = {0};

	f->image->freemap_set.child_count = 0;
	memset(f->image->freemap_set.bytes, 0, f->image->freemap_set.size);
	fixture_open(f);
	assert_int_equal(walk(f, &seen), 0);
	assert_int_equal(seen.leaves + seen.refs + seen.faults, 0);
}

static void walk__gives_leaves_in_the_order_of_zones(void **state)
{
	struct fixture *f = *state;
	struct seen seen = {0};

	make_two_zones(f);
	fixture_open(f);
	assert_int_equal(walk(f, &seen), 0);
	assert_int_equal(seen.leaves, 2);
	assert_int_equal(seen.refs, 2);
	assert_int_equal(seen.keys[0], 0);
	assert_int_equal(seen.keys[1], GIB);
	assert_int_equal(seen.faults, 0);
}

/* MF 10.3: a node of level 2 takes in the leaves of 256 GiB. */
static void walk__goes_through_nodes(void **state)
{
	struct fixture *f = *state;
	struct seen seen = {0};
	struct image_block *node, *set;

	make_two_zones(f);
	set = &f->image->freemap_set;
	set->child_count = 0;
	node = image_add(f->image, set, H2_BLOCKREF_FREEMAP_NODE, 0, 38, 15);
	node->ref.methods = H2_CHECK_FREEMAP << 4;
	node->ref.data_off = h2_freemap_data_off(2, 0, 3);
	node->media = h2_blockref_offset(&node->ref);
	node->children = calloc(2, sizeof(struct image_block *));
	assert_non_null(node->children);
	node->children[0] = f->image->freemap_leaves[1];
	node->children[1] = f->image->freemap_leaves[0];
	node->child_count = node->child_room = 2;
	fixture_open(f);
	assert_int_equal(walk(f, &seen), 0);
	assert_int_equal(seen.leaves, 2);
	assert_int_equal(seen.refs, 3);
	assert_int_equal(seen.keys[1], GIB);
	assert_int_equal(seen.faults, 0);
}

static void walk__leaves_out_a_damaged_leaf(void **state)
{
	struct fixture *f = *state;
	struct seen seen = {0};

	make_two_zones(f);
	image_seal(f->image);
	f->image->freemap_leaves[0]->flags = IMAGE_KEEP_CHECK;
	f->image->freemap_leaves[0]->bytes[32767] ^= 1;
	fixture_open(f);
	assert_int_equal(walk(f, &seen), 0);
	assert_int_equal(seen.leaves, 1);
	assert_int_equal(seen.keys[0], GIB);
	assert_int_equal(seen.faults, 1);
	assert_int_equal(seen.first_error, -H2_ECHECK);
}

static void walk__leaves_out_impossible_references(void **state)
{
	static const struct {
		uint8_t type, keybits;
		uint64_t key, data_off;
	} bad[] = {
		{H2_BLOCKREF_FREEMAP_LEAF, 22, 0, 0x1000f},
		{H2_BLOCKREF_FREEMAP_LEAF, 64, 0, 0x1000f},
		{H2_BLOCKREF_FREEMAP_LEAF, 255, 0, 0x1000f},
		{H2_BLOCKREF_FREEMAP_LEAF, 30, 4096, 0x1000f},
		{H2_BLOCKREF_FREEMAP_LEAF, 30, 0, 0x1400000 | 15}, /* not in its slot */
		{H2_BLOCKREF_FREEMAP_LEAF, 30, 0, 0x2000f},        /* the slot of level 2 */
		{H2_BLOCKREF_FREEMAP_LEAF, 30, 0, 0x1000e},
		{H2_BLOCKREF_DATA, 16, 0, 0x1400000 | 15},
		{H2_BLOCKREF_INDIRECT, 30, 0, 0x1400000 | 15},
		{H2_BLOCKREF_INVALID, 30, 0, 0x1000f},
	};
	struct fixture *f = *state;

	make_two_zones(f);
	for (size_t i = 0; i < LENGTH_OF(bad); i++) {
		struct h2_blockref *ref = &f->image->freemap_leaves[0]->ref;
		struct h2_blockref good = *ref;
		struct seen seen = {0};

		ref->type = bad[i].type;
		ref->keybits = bad[i].keybits;
		ref->key = bad[i].key;
		ref->data_off = bad[i].data_off;
		fixture_open(f);
		assert_int_equal(walk(f, &seen), 0);
		assert_int_equal(seen.leaves, 1);
		assert_int_equal(seen.keys[0], GIB);
		assert_int_equal(seen.faults, 1);
		assert_int_equal(seen.first_error, -H2_ECORRUPT);
		*ref = good;
	}
}

static void walk__stops_when_told_to(void **state)
{
	struct fixture *f = *state;
	struct seen seen = {.stop = 77};

	make_two_zones(f);
	fixture_open(f);
	assert_int_equal(walk(f, &seen), 77);
	assert_int_equal(seen.leaves, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(walk__of_an_empty_freemap_is_normal),
		FIXTURE_TEST(walk__gives_leaves_in_the_order_of_zones),
		FIXTURE_TEST(walk__goes_through_nodes),
		FIXTURE_TEST(walk__leaves_out_a_damaged_leaf),
		FIXTURE_TEST(walk__leaves_out_impossible_references),
		FIXTURE_TEST(walk__stops_when_told_to),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
