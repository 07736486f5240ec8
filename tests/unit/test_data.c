/* Contents of files and symlinks, MF 8, 9 and 13.6. */
#include "fixture.h"

#include <sys/types.h>

#define BLOCK 65536u
#define INUM 1024u

static uint8_t data[16 * BLOCK], got[17 * BLOCK];

static void set_size(struct image_block *inode, uint64_t size)
{
	image_inode(inode)->size = le64_make(size);
}

static struct image_block *empty_file(struct fixture *f, uint64_t inum, uint64_t size)
{
	struct image_block *inode = image_add_inode(f->image, f->root, inum, H2_OBJECT_FILE);

	set_size(inode, size);
	return inode;
}

static ssize_t read_at(struct fixture *f, uint64_t inum, uint64_t offset, size_t len)
{
	struct h2_inode *inode = fixture_inode(f, inum);
	ssize_t n;

	memset(got, 0xee, len < sizeof(got) ? len + 1 : sizeof(got));
	n = h2_file_read(inode, offset, got, len);
	h2_inode_put(inode);
	if (len < sizeof(got))
		assert_int_equal(got[len], 0xee); /* never more than asked for */
	return n;
}

/* Bytes that compress, but not to nothing. */
static void fill_text(uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)("The quick brown fox jumps over the lazy dog. "[i % 45] +
				     (i / 4096));
}

/* ---- sizes and places ---- */

static void read__of_all_sizes_and_algorithms(void **state)
{
	static const size_t sizes[] = {0,    1,    511,   512,   513,   1023,  1024,      1025,
				       2048, 2049, 16384, 65535, 65536, 65537, 3 * 65536, 200000};
	static const unsigned comps[] = {H2_COMP_NONE, H2_COMP_LZ4, H2_COMP_ZLIB, 0x93};
	struct fixture *f = *state;
	uint64_t inum = INUM;

	fill_text(data, sizeof(data));
	for (size_t c = 0; c < LENGTH_OF(comps); c++) {
		for (size_t s = 0; s < LENGTH_OF(sizes); s++)
			image_add_file(f->image, f->root, inum++, H2_OBJECT_FILE, comps[c], data,
				       sizes[s]);
	}
	fixture_open(f);
	inum = INUM;
	for (size_t c = 0; c < LENGTH_OF(comps); c++) {
		for (size_t s = 0; s < LENGTH_OF(sizes); s++, inum++) {
			assert_int_equal(read_at(f, inum, 0, sizeof(got) - 1), sizes[s]);
			assert_memory_equal(got, data, sizes[s]);
			assert_int_equal(read_at(f, inum, sizes[s], 100), 0);
			assert_int_equal(read_at(f, inum, UINT64_MAX, 100), 0);
			assert_int_equal(read_at(f, inum, 0, 0), 0);
		}
	}
	assert_int_equal(atomic_load(&f->reports), 0);
}

static void read__of_any_range_equals_the_model(void **state)
{
	struct fixture *f = *state;
	uint64_t seed = 5;

	/* Blocks 3, 7 and 8 are holes; some of the rest does not compress. */
	fill_text(data, sizeof(data));
	unit_noise(data + 4 * BLOCK, 2 * BLOCK, 1);
	memset(data + 3 * BLOCK, 0, BLOCK);
	memset(data + 7 * BLOCK, 0, 2 * BLOCK);
	image_add_file(f->image, f->root, INUM, H2_OBJECT_FILE, H2_COMP_LZ4, data,
		       sizeof(data) - 12345);
	fixture_open(f);
	for (unsigned i = 0; i < 1500; i++) {
		uint64_t r[2];
		size_t offset, len, expected;

		unit_noise((uint8_t *)r, sizeof(r), seed++);
		offset = r[0] % sizeof(data);
		len = r[1] % (i % 4 ? 3 * BLOCK : 3000);
		if (i % 5 == 0)
			offset = offset / BLOCK * BLOCK;
		expected = offset >= sizeof(data) - 12345        ? 0
			   : offset + len > sizeof(data) - 12345 ? sizeof(data) - 12345 - offset
								 : len;
		assert_int_equal(read_at(f, INUM, offset, len), expected);
		assert_memory_equal(got, data + offset, expected);
	}
}

static void read__small_file_without_directdata(void **state)
{
	struct fixture *f = *state;
	struct image_block *inode = empty_file(f, INUM, 5);

	image_add_data(f->image, inode, 0, H2_COMP_NONE, "hello", 5);
	empty_file(f, INUM + 1, 0);
	fixture_open(f);
	assert_int_equal(read_at(f, INUM, 0, 100), 5);
	assert_memory_equal(got, "hello", 5);
	assert_int_equal(read_at(f, INUM + 1, 0, 100), 0);
}

static void read__holes_are_zeros(void **state)
{
	struct fixture *f = *state;
	struct image_block *inode;

	empty_file(f, INUM, 10 * BLOCK + 7); /* nothing but a hole */
	inode = empty_file(f, INUM + 1, 4 * BLOCK);
	memset(data, 'd', BLOCK);
	image_add_data(f->image, inode, 2 * BLOCK, H2_COMP_NONE, data, BLOCK);
	fixture_open(f);
	assert_int_equal(read_at(f, INUM, 0, 11 * BLOCK), 10 * BLOCK + 7);
	for (size_t i = 0; i < 10 * BLOCK + 7; i++)
		assert_int_equal(got[i], 0);
	assert_int_equal(read_at(f, INUM + 1, 0, 11 * BLOCK), 4 * BLOCK);
	for (size_t i = 0; i < 4 * BLOCK; i += 100)
		assert_int_equal(got[i], i / BLOCK == 2 ? 'd' : 0);
}

/* MF 8.3: readers accept any size code on any DATA blockref. */
static void read__short_blocks_in_the_middle_end_in_zeros(void **state)
{
	static const unsigned comps[] = {H2_COMP_NONE, H2_COMP_AUTOZERO, H2_COMP_LZ4, H2_COMP_ZLIB};
	struct fixture *f = *state;

	memset(data, 's', sizeof(data));
	for (size_t c = 0; c < LENGTH_OF(comps); c++) {
		struct image_block *inode = empty_file(f, INUM + c, 3 * BLOCK);

		image_add_data(f->image, inode, 0, comps[c], data, BLOCK);
		image_add_data(f->image, inode, BLOCK, comps[c], data, 2048);
		image_add_data(f->image, inode, 2 * BLOCK, comps[c], data, BLOCK);
	}
	fixture_open(f);
	for (size_t c = 0; c < LENGTH_OF(comps); c++) {
		assert_int_equal(read_at(f, INUM + c, 0, 3 * BLOCK), 3 * BLOCK);
		for (size_t i = 0; i < 3 * BLOCK; i++)
			assert_int_equal(got[i], i / BLOCK == 1 && i % BLOCK >= 2048 ? 0 : 's');
		assert_int_equal(read_at(f, INUM + c, BLOCK + 2000, 1000), 1000);
		assert_int_equal(got[47], 's');
		assert_int_equal(got[48] | got[999], 0);
		assert_int_equal(read_at(f, INUM + c, BLOCK + 5000, 10), 10);
		assert_int_equal(got[0] | got[9], 0);
	}
}

static void read__bytes_behind_the_end_are_not_given(void **state)
{
	struct fixture *f = *state;
	struct image_block *inode = empty_file(f, INUM, BLOCK + 100);

	memset(data, 'z', sizeof(data));
	image_add_data(f->image, inode, 0, H2_COMP_NONE, data, BLOCK);
	image_add_data(f->image, inode, BLOCK, H2_COMP_NONE, data, BLOCK); /* larger than needed */
	image_add_data(f->image, inode, 2 * BLOCK, H2_COMP_NONE, data, BLOCK); /* behind the end */
	image_add_data(f->image, inode, UINT64_C(0x7fffffffffff0000), H2_COMP_NONE, data, BLOCK);
	fixture_open(f);
	assert_int_equal(read_at(f, INUM, 0, 4 * BLOCK), BLOCK + 100);
	assert_int_equal(read_at(f, INUM, BLOCK + 99, 100), 1);
	assert_int_equal(read_at(f, INUM, BLOCK + 100, 100), 0);
	assert_int_equal(read_at(f, INUM, 2 * BLOCK, 100), 0);
}

static void read__damage_behind_the_end_does_not_matter(void **state)
{
	struct fixture *f = *state;
	struct image_block *inode = empty_file(f, INUM, 100), *leaf;

	image_add_data(f->image, inode, 0, H2_COMP_NONE, "x", 1);
	leaf = image_add_data(f->image, inode, BLOCK, H2_COMP_NONE, "x", 1);
	leaf->ref.type = 9;
	fixture_open(f);
	assert_int_equal(read_at(f, INUM, 0, 1000), 100);
	assert_int_equal(atomic_load(&f->reports), 0);
}

static void read__at_the_largest_offset(void **state)
{
	static const uint64_t end = INT64_MAX;
	struct fixture *f = *state;
	struct image_block *inode = empty_file(f, INUM, end);

	memset(data, 'e', BLOCK);
	image_add_data(f->image, inode, end / BLOCK * BLOCK, H2_COMP_LZ4, data, BLOCK);
	fixture_open(f);
	assert_int_equal(read_at(f, INUM, end - 10, 100), 10);
	assert_int_equal(got[0], 'e');
	assert_int_equal(read_at(f, INUM, end / BLOCK * BLOCK - 5, 10), 10);
	assert_memory_equal(got, "\0\0\0\0\0eeeee", 10);
	assert_int_equal(read_at(f, INUM, 0, BLOCK), BLOCK);
}

static void read__shared_blocks(void **state)
{
	struct fixture *f = *state;
	struct image_block *inode = empty_file(f, INUM, 3 * BLOCK), *first;

	unit_noise(data, BLOCK, 4);
	first = image_add_data(f->image, inode, 0, H2_COMP_NONE, data, BLOCK);
	for (unsigned i = 1; i < 3; i++)
		image_add(f->image, inode, H2_BLOCKREF_DATA, i * BLOCK, 16, 0)->same_as = first;
	fixture_open(f);
	assert_int_equal(read_at(f, INUM, 0, 3 * BLOCK), 3 * BLOCK);
	for (unsigned i = 0; i < 3; i++)
		assert_memory_equal(got + i * BLOCK, data, BLOCK);
}

static void read__blocks_of_all_check_algorithms(void **state)
{
	struct fixture *f = *state;

	unit_noise(data, 6 * BLOCK, 8);
	for (unsigned algo = 0; algo <= 5; algo++) {
		struct image_block *inode = empty_file(f, INUM + algo, 6 * BLOCK);

		for (unsigned i = 0; i < 6; i++)
			image_add_data(f->image, inode, i * BLOCK, 0, data + i * BLOCK, BLOCK)
				->ref.methods = (uint8_t)((algo + i) % 6 << 4);
	}
	fixture_open(f);
	for (unsigned algo = 0; algo <= 5; algo++) {
		assert_int_equal(read_at(f, INUM + algo, 0, 6 * BLOCK), 6 * BLOCK);
		assert_memory_equal(got, data, 6 * BLOCK);
	}
}

static void read__of_others_than_files_is_refused(void **state)
{
	static const struct {
		unsigned type;
		int err;
	} rows[] = {
		{H2_OBJECT_DIRECTORY, -EISDIR},   {H2_OBJECT_FIFO, -EINVAL},
		{H2_OBJECT_CHAR_DEVICE, -EINVAL}, {H2_OBJECT_BLOCK_DEVICE, -EINVAL},
		{H2_OBJECT_SOCKET, -EINVAL},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < LENGTH_OF(rows); i++)
		image_add_inode(f->image, f->root, INUM + i, rows[i].type);
	fixture_open(f);
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		struct h2_inode *inode = fixture_inode(f, INUM + i);
		struct h2_file_block block;
		uint64_t start, end;
		char target[10];

		assert_int_equal(h2_file_read(inode, 0, got, 10), rows[i].err);
		assert_int_equal(h2_file_next_data(inode, 0, 0, &start, &end), rows[i].err);
		assert_int_equal(h2_file_next_block(inode, 0, &block), rows[i].err);
		assert_int_equal(h2_symlink_read(inode, target, sizeof(target)), -EINVAL);
		h2_inode_put(inode);
	}
}

/* ---- inline data ---- */

static void inline__size_above_512_is_rejected(void **state)
{
	struct fixture *f = *state;
	struct h2_inode *inode;

	for (unsigned i = 0; i < 3; i++) {
		static const uint64_t sizes[] = {512, 513, UINT64_MAX};
		struct image_block *b = empty_file(f, INUM + i, sizes[i]);

		image_inode(b)->op_flags = H2_INODE_DIRECTDATA;
		memset(image_inode(b)->u.data, 'i', 512);
	}
	fixture_open(f);
	assert_int_equal(read_at(f, INUM, 500, 100), 12);
	assert_int_equal(h2_inode_get(f->pfs, INUM + 1, &inode), -H2_ECORRUPT);
	assert_int_equal(h2_inode_get(f->pfs, INUM + 2, &inode), -H2_ECORRUPT);
}

static void inline__content_is_never_walked_as_blockrefs(void **state)
{
	struct fixture *f = *state;
	struct h2_file_block block;
	struct h2_inode *inode;
	uint64_t start, end;

	memset(data, 0xff, 512);
	image_add_file(f->image, f->root, INUM, H2_OBJECT_FILE, 0, data, 512);
	fixture_open(f);
	assert_int_equal(read_at(f, INUM, 0, 1000), 512);
	assert_memory_equal(got, data, 512);
	inode = fixture_inode(f, INUM);
	assert_int_equal(h2_file_next_block(inode, 0, &block), 1);
	assert_int_equal(h2_file_next_data(inode, 100, 0, &start, &end), 0);
	assert_int_equal(start, 100);
	assert_int_equal(end, 512);
	assert_int_equal(h2_file_next_data(inode, 512, 0, &start, &end), 1);
	h2_inode_put(inode);
	assert_int_equal(atomic_load(&f->reports), 0);
}

/* ---- damage ---- */

/* A file of five blocks, the third of them damaged in the given way. */
enum damage { FLIP, FLIP_UNCHECKED, BAD_LZ4, BAD_LZ4_SIZE, BAD_ZLIB, OUTSIDE, BAD_COMP, BAD_TYPE };

static void make_damaged(struct fixture *f, enum damage damage)
{
	struct image_block *inode = empty_file(f, INUM, 5 * BLOCK), *third = NULL;

	unit_noise(data, 5 * BLOCK, 77);
	for (unsigned i = 0; i < 5; i++) {
		struct image_block *b = image_add_data(f->image, inode, i * BLOCK, 0,
						       data + i * BLOCK, BLOCK);

		if (i == 2)
			third = b;
	}
	switch (damage) {
	case FLIP:
		image_seal(f->image);
		third->flags = IMAGE_KEEP_CHECK;
		third->bytes[1000] ^= 4;
		break;
	case FLIP_UNCHECKED:
		third->ref.methods = 0;
		third->bytes[1000] ^= 4;
		break;
	case BAD_LZ4:
		third->ref.methods = H2_CHECK_XXHASH64 << 4 | H2_COMP_LZ4;
		memcpy(third->bytes, "\x10\0\0\0\xff\xff\xff\xff\xff\xff", 10);
		break;
	case BAD_LZ4_SIZE:
		third->ref.methods = H2_CHECK_XXHASH64 << 4 | H2_COMP_LZ4;
		memcpy(third->bytes, "\xff\xff\xff\x7f", 4);
		break;
	case BAD_ZLIB:
		third->ref.methods = H2_CHECK_XXHASH64 << 4 | H2_COMP_ZLIB;
		break;
	case OUTSIDE:
		third->ref.data_off = UINT64_C(1) << 45 | 16;
		break;
	case BAD_COMP:
		third->ref.methods = H2_CHECK_XXHASH64 << 4 | 4;
		break;
	case BAD_TYPE:
		third->ref.type = 9;
		break;
	}
}

static void expect_damage(struct fixture *f, int err)
{
	fixture_open(f);
	/* In front of it, up to it, at it, over it, behind it. */
	assert_int_equal(read_at(f, INUM, 0, 2 * BLOCK), 2 * BLOCK);
	assert_memory_equal(got, data, 2 * BLOCK);
	assert_int_equal(atomic_load(&f->reports), 0);
	assert_int_equal(read_at(f, INUM, 100, 5 * BLOCK), 2 * BLOCK - 100);
	assert_memory_equal(got, data + 100, 2 * BLOCK - 100);
	assert_int_equal(read_at(f, INUM, 2 * BLOCK, 10), err);
	assert_int_equal(read_at(f, INUM, 2 * BLOCK, BLOCK), err);
	assert_int_equal(read_at(f, INUM, 2 * BLOCK + 5000, 3 * BLOCK), err);
	assert_int_equal(read_at(f, INUM, 3 * BLOCK - 1, 1), err);
	assert_true(atomic_load(&f->reports) > 0);
	assert_int_equal(read_at(f, INUM, 3 * BLOCK, 3 * BLOCK), 2 * BLOCK);
	assert_memory_equal(got, data + 3 * BLOCK, 2 * BLOCK);
}

static void damage__wrong_check_code(void **state)
{
	make_damaged(*state, FLIP);
	expect_damage(*state, -H2_ECHECK);
}

static void damage__without_a_check_code_is_delivered(void **state)
{
	struct fixture *f = *state;

	make_damaged(f, FLIP_UNCHECKED);
	fixture_open(f);
	assert_int_equal(read_at(f, INUM, 0, 5 * BLOCK), 5 * BLOCK);
	data[2 * BLOCK + 1000] ^= 4;
	assert_memory_equal(got, data, 5 * BLOCK);
	assert_int_equal(atomic_load(&f->reports), 0);
}

static void damage__lz4_stream(void **state)
{
	make_damaged(*state, BAD_LZ4);
	expect_damage(*state, -H2_ECORRUPT);
}

static void damage__lz4_size(void **state)
{
	make_damaged(*state, BAD_LZ4_SIZE);
	expect_damage(*state, -H2_ECORRUPT);
}

static void damage__zlib_stream(void **state)
{
	make_damaged(*state, BAD_ZLIB);
	expect_damage(*state, -H2_ECORRUPT);
}

static void damage__block_outside_the_volume(void **state)
{
	make_damaged(*state, OUTSIDE);
	expect_damage(*state, -H2_ECORRUPT);
}

static void damage__unknown_compression(void **state)
{
	make_damaged(*state, BAD_COMP);
	expect_damage(*state, -H2_ECORRUPT);
}

static void damage__unknown_type(void **state)
{
	make_damaged(*state, BAD_TYPE);
	expect_damage(*state, -H2_ECORRUPT);
}

static void damage__of_the_device_is_not_remembered(void **state)
{
	struct fixture *f = *state;

	image_add_file(f->image, f->root, INUM, H2_OBJECT_FILE, H2_COMP_LZ4,
		       memset(data, 'x', 3 * BLOCK), 3 * BLOCK);
	fixture_open(f);
	h2_inode_put(fixture_inode(f, INUM));
	h2_sim_set_fault(f->image->volumes[0].sim, H2_SIM_READ, H2_SIM_FAIL, 0, 1, -EIO);
	assert_int_equal(read_at(f, INUM, 0, 3 * BLOCK), -EIO);
	assert_int_equal(read_at(f, INUM, 0, 3 * BLOCK), 3 * BLOCK);
	/* A bit that flips on its way is noticed, and gone with the next try. */
	fixture_open(f);
	h2_inode_put(fixture_inode(f, INUM));
	h2_sim_set_fault(f->image->volumes[0].sim, H2_SIM_READ, H2_SIM_CORRUPT, 1, 1, 0);
	assert_int_equal(read_at(f, INUM, 0, 3 * BLOCK), BLOCK);
	assert_int_equal(read_at(f, INUM, 0, 3 * BLOCK), 3 * BLOCK);
}

static void damage__in_an_indirect_block_is_confined_to_its_range(void **state)
{
	struct fixture *f = *state;
	struct image_block *inode = empty_file(f, INUM, 12 * BLOCK), *node;

	memset(data, 'n', BLOCK);
	image_add_data(f->image, inode, 0, 0, data, BLOCK);
	node = image_add_indirect(f->image, inode, 4 * BLOCK, 18, 12); /* blocks 4 to 7 */
	image_add_data(f->image, node, 5 * BLOCK, 0, data, BLOCK);
	image_add_data(f->image, inode, 8 * BLOCK, 0, data, BLOCK);
	image_seal(f->image);
	node->flags = IMAGE_KEEP_CHECK;
	node->child_count = 0;
	node->bytes[4095] ^= 1;
	fixture_open(f);
	assert_int_equal(read_at(f, INUM, 0, 12 * BLOCK), 4 * BLOCK);
	for (unsigned i = 4; i < 8; i++)
		assert_int_equal(read_at(f, INUM, i * BLOCK, 10), -H2_ECHECK);
	assert_int_equal(read_at(f, INUM, 8 * BLOCK, 12 * BLOCK), 4 * BLOCK);
	assert_int_equal(got[0], 'n');
}

static void damage__loop_in_a_file_ends_with_an_error(void **state)
{
	struct fixture *f = *state;
	struct image_block *inode = empty_file(f, INUM, 100 * BLOCK), *node, *again;
	struct h2_file_block block;
	struct h2_inode *open_inode;
	uint64_t start, end;

	node = image_add_indirect(f->image, inode, 0, 40, 12);
	again = image_add(f->image, node, H2_BLOCKREF_INDIRECT, 0, 40, 0);
	node->ref.methods = again->ref.methods = H2_CHECK_NONE << 4;
	again->ref.data_off = node->ref.data_off;
	fixture_open(f);
	assert_int_equal(read_at(f, INUM, 0, 5 * BLOCK), -H2_ECORRUPT);
	open_inode = fixture_inode(f, INUM);
	assert_int_equal(h2_file_next_data(open_inode, 0, 0, &start, &end), -H2_ECORRUPT);
	assert_int_equal(h2_file_next_block(open_inode, 0, &block), -H2_ECORRUPT);
	assert_true(block.offset > 0);
	h2_inode_put(open_inode);
}

/* ---- the map of data and holes ---- */

struct stretch {
	uint64_t start, end;
};

static void expect_map(struct fixture *f, uint64_t max_bytes, const struct stretch *map,
		       size_t count)
{
	struct h2_inode *inode = fixture_inode(f, INUM);
	uint64_t offset = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t start = 99, end = 99;

		assert_int_equal(h2_file_next_data(inode, offset, max_bytes, &start, &end), 0);
		assert_int_equal(start, map[i].start);
		assert_int_equal(end, map[i].end);
		offset = end;
	}
	assert_int_equal(
		h2_file_next_data(inode, offset, max_bytes, &(uint64_t){0}, &(uint64_t){0}), 1);
	h2_inode_put(inode);
}

static void map__joins_neighbours_and_stops_at_the_end(void **state)
{
	static const struct stretch map[] = {
		{1 * BLOCK, 4 * BLOCK},
		{6 * BLOCK, 7 * BLOCK},
		{9 * BLOCK, 9 * BLOCK + 500},
	};
	static const unsigned blocks[] = {1, 2, 3, 6, 9, 10};
	struct fixture *f = *state;
	struct image_block *inode = empty_file(f, INUM, 9 * BLOCK + 500);
	struct h2_inode *open_inode;
	uint64_t start, end;

	for (size_t i = 0; i < LENGTH_OF(blocks); i++)
		image_add_data(f->image, inode, blocks[i] * BLOCK, 0, "d", 1);
	fixture_open(f);
	expect_map(f, 0, map, LENGTH_OF(map));
	open_inode = fixture_inode(f, INUM);
	/* From inside of data, inside of a hole, from the end. */
	assert_int_equal(h2_file_next_data(open_inode, 2 * BLOCK + 7, 0, &start, &end), 0);
	assert_int_equal(start, 2 * BLOCK + 7);
	assert_int_equal(end, 4 * BLOCK);
	assert_int_equal(h2_file_next_data(open_inode, 4 * BLOCK, 0, &start, &end), 0);
	assert_int_equal(start, 6 * BLOCK);
	assert_int_equal(h2_file_next_data(open_inode, 9 * BLOCK + 500, 0, &start, &end), 1);
	assert_int_equal(h2_file_next_data(open_inode, UINT64_MAX, 0, &start, &end), 1);
	/* No further than asked for. */
	assert_int_equal(h2_file_next_data(open_inode, 0, 1, &start, &end), 0);
	assert_int_equal(start, BLOCK);
	assert_true(end > start && end <= 4 * BLOCK);
	h2_inode_put(open_inode);
}

static void map__of_a_hole_is_empty(void **state)
{
	struct fixture *f = *state;

	empty_file(f, INUM, 100 * BLOCK);
	fixture_open(f);
	expect_map(f, 0, NULL, 0);
}

static void blocks__are_listed_also_behind_the_end(void **state)
{
	static const unsigned blocks[] = {0, 5, 9};
	struct fixture *f = *state;
	struct image_block *inode = empty_file(f, INUM, 6 * BLOCK);
	struct h2_file_block block;
	struct h2_inode *open_inode;
	uint64_t offset = 0;

	for (size_t i = 0; i < LENGTH_OF(blocks); i++)
		image_add_data(f->image, inode, blocks[i] * BLOCK, 0, "d", 1);
	fixture_open(f);
	open_inode = fixture_inode(f, INUM);
	for (size_t i = 0; i < LENGTH_OF(blocks); i++) {
		assert_int_equal(h2_file_next_block(open_inode, offset, &block), 0);
		assert_int_equal(block.offset, blocks[i] * BLOCK);
		assert_int_equal(block.ref.key, block.offset);
		offset = block.offset + 1;
	}
	assert_int_equal(h2_file_next_block(open_inode, offset, &block), 1);
	assert_int_equal(h2_file_next_block(open_inode, UINT64_MAX, &block), 1);
	h2_inode_put(open_inode);
}

/* ---- symlinks, MF 9 ---- */

static ssize_t read_link(struct fixture *f, uint64_t inum, char *buf, size_t size)
{
	struct h2_inode *inode = fixture_inode(f, inum);
	ssize_t n = h2_symlink_read(inode, buf, size);

	h2_inode_put(inode);
	return n;
}

static void symlink__targets_inline_and_in_blocks(void **state)
{
	static const size_t lengths[] = {1, 511, 512, 513, 1023, 4095, 4096};
	struct fixture *f = *state;
	char target[H2_SYMLINK_MAX + 1];

	memset(data, 't', sizeof(data));
	for (size_t i = 0; i < LENGTH_OF(lengths); i++)
		image_add_file(f->image, f->root, INUM + i, H2_OBJECT_SYMLINK, H2_COMP_LZ4, data,
			       lengths[i]);
	fixture_open(f);
	for (size_t i = 0; i < LENGTH_OF(lengths); i++) {
		assert_int_equal(read_link(f, INUM + i, target, sizeof(target)), lengths[i]);
		assert_memory_equal(target, data, lengths[i]);
		assert_int_equal(target[lengths[i]], '\0');
		assert_int_equal(read_link(f, INUM + i, target, lengths[i]), -ENAMETOOLONG);
		assert_int_equal(read_link(f, INUM + i, target, lengths[i] + 1), lengths[i]);
	}
}

static void symlink__trailing_nul_is_dropped(void **state)
{
	struct fixture *f = *state;
	char target[100];

	image_add_file(f->image, f->root, INUM, H2_OBJECT_SYMLINK, 0, "over/there\0", 11);
	fixture_open(f);
	assert_int_equal(read_link(f, INUM, target, sizeof(target)), 10);
	assert_string_equal(target, "over/there");
}

static void symlink__too_long_is_refused_before_anything_is_read(void **state)
{
	struct fixture *f = *state;
	char target[H2_SYMLINK_MAX + 100];

	set_size(image_add_inode(f->image, f->root, INUM, H2_OBJECT_SYMLINK), H2_SYMLINK_MAX + 1);
	set_size(image_add_inode(f->image, f->root, INUM + 1, H2_OBJECT_SYMLINK), INT64_MAX);
	fixture_open(f);
	assert_int_equal(read_link(f, INUM, target, sizeof(target)), -ENAMETOOLONG);
	assert_int_equal(read_link(f, INUM + 1, target, sizeof(target)), -ENAMETOOLONG);
}

static void symlink__damage_is_an_error_and_no_short_target(void **state)
{
	struct fixture *f = *state;
	struct image_block *inode;
	char target[H2_SYMLINK_MAX + 1];

	memset(data, 't', 1000);
	inode = image_add_file(f->image, f->root, INUM, H2_OBJECT_SYMLINK, 0, data, 1000);
	image_seal(f->image);
	inode->children[0]->flags = IMAGE_KEEP_CHECK;
	inode->children[0]->bytes[999] ^= 1;
	fixture_open(f);
	assert_int_equal(read_link(f, INUM, target, sizeof(target)), -H2_ECHECK);
}

static void symlink__of_a_file_is_refused(void **state)
{
	struct fixture *f = *state;
	char target[10];

	image_add_file(f->image, f->root, INUM, H2_OBJECT_FILE, 0, "x", 1);
	fixture_open(f);
	assert_int_equal(read_link(f, INUM, target, sizeof(target)), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(read__of_all_sizes_and_algorithms),
		FIXTURE_TEST(read__of_any_range_equals_the_model),
		FIXTURE_TEST(read__small_file_without_directdata),
		FIXTURE_TEST(read__holes_are_zeros),
		FIXTURE_TEST(read__short_blocks_in_the_middle_end_in_zeros),
		FIXTURE_TEST(read__bytes_behind_the_end_are_not_given),
		FIXTURE_TEST(read__damage_behind_the_end_does_not_matter),
		FIXTURE_TEST(read__at_the_largest_offset),
		FIXTURE_TEST(read__shared_blocks),
		FIXTURE_TEST(read__blocks_of_all_check_algorithms),
		FIXTURE_TEST(read__of_others_than_files_is_refused),
		FIXTURE_TEST(inline__size_above_512_is_rejected),
		FIXTURE_TEST(inline__content_is_never_walked_as_blockrefs),
		FIXTURE_TEST(damage__wrong_check_code),
		FIXTURE_TEST(damage__without_a_check_code_is_delivered),
		FIXTURE_TEST(damage__lz4_stream),
		FIXTURE_TEST(damage__lz4_size),
		FIXTURE_TEST(damage__zlib_stream),
		FIXTURE_TEST(damage__block_outside_the_volume),
		FIXTURE_TEST(damage__unknown_compression),
		FIXTURE_TEST(damage__unknown_type),
		FIXTURE_TEST(damage__of_the_device_is_not_remembered),
		FIXTURE_TEST(damage__in_an_indirect_block_is_confined_to_its_range),
		FIXTURE_TEST(damage__loop_in_a_file_ends_with_an_error),
		FIXTURE_TEST(map__joins_neighbours_and_stops_at_the_end),
		FIXTURE_TEST(map__of_a_hole_is_empty),
		FIXTURE_TEST(blocks__are_listed_also_behind_the_end),
		FIXTURE_TEST(symlink__targets_inline_and_in_blocks),
		FIXTURE_TEST(symlink__trailing_nul_is_dropped),
		FIXTURE_TEST(symlink__too_long_is_refused_before_anything_is_read),
		FIXTURE_TEST(symlink__damage_is_an_error_and_no_short_target),
		FIXTURE_TEST(symlink__of_a_file_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
