/*
 * The freemap and the allocator, space/space.h. What is on the media is read here by a reader of
 * its own, which knows MF 10 and nothing of the allocator's memory; what may be handed out is
 * compared with a model of the rules MF 10.8, 12.6 and BS 8.
 */
#include "disks.h"
#include "scarce.h"

#include <malloc.h>
#include <pthread.h>

#include "check.h"
#include "format.h"
#include "space.h"

#define KIB UINT64_C(1024)
#define TIB (UINT64_C(1) << 40)
#define QUAD (64 * KIB)
#define WRITES_MAX 64u

struct test {
	struct disks disks;
	struct h2_space *space;
	struct h2_volume_header header; /* of the last commit */
	unsigned reports;
	int last_error;      /* of them */
	unsigned writes;     /* of the last flush */
	unsigned tries;      /* the same, with those that failed */
	unsigned fail_write; /* that one of a flush fails, from 1 on; 0: none */
	uint64_t written[WRITES_MAX];
};

static int setup(void **state)
{
	*state = calloc(1, sizeof(struct test));
	return *state ? 0 : -1;
}

static void close_space(struct test *t)
{
	h2_space_close(t->space);
	t->space = NULL;
	disks_close(&t->disks);
}

static int teardown(void **state)
{
	struct test *t = *state;

	close_space(t);
	disks_free(&t->disks);
	free(t);
	return 0;
}

static void on_report(void *user, const struct h2_report *report)
{
	struct test *t = user;

	assert_non_null(report->code);
	assert_non_null(report->message);
	t->reports++;
	t->last_error = report->error;
}

static int try_open(struct test *t)
{
	close_space(t);
	disks_open(&t->disks);
	t->header = *h2_volumes_header(t->disks.volumes);
	t->reports = 0;
	return h2_space_open(t->disks.volumes, on_report, t, &t->space);
}

static void reopen(struct test *t)
{
	assert_int_equal(try_open(t), 0);
}

static void make_set(struct test *t, const uint64_t *sizes, unsigned count)
{
	disks_make(&t->disks, sizes, count);
	reopen(t);
}

static void make(struct test *t, uint64_t size)
{
	make_set(t, &size, 1);
}

/* ---- commits ---- */

static int take_write(void *user, uint64_t offset, const void *buf, size_t len)
{
	struct test *t = user;

	assert_int_equal(len, H2_FREEMAP_BLOCK_SIZE);
	assert_true(t->writes < WRITES_MAX);
	if (++t->tries == t->fail_write)
		return -EIO;
	t->written[t->writes++] = offset;
	return h2_volumes_write(t->disks.volumes, offset, buf, len);
}

static int flush(struct test *t)
{
	t->writes = t->tries = 0;
	return h2_space_flush(t->space, t->header.mirror_tid + 1, &t->header, take_write, t);
}

/* Make the open group durable and begin the next. Returns whether storage waits for later ones. */
static bool commit(struct test *t)
{
	assert_int_equal(flush(t), 0);
	t->header.mirror_tid++;
	t->header.freemap_tid = t->header.mirror_tid;
	h2_space_begin_group(t->space);
	assert_int_equal(h2_volumes_flush(t->disks.volumes), 0);
	assert_int_equal(h2_volumes_write_header(t->disks.volumes, &t->header), 0);
	assert_int_equal(h2_volumes_flush(t->disks.volumes), 0);
	return h2_space_committed(t->space, t->header.mirror_tid);
}

static uint64_t open_tid(const struct test *t)
{
	return t->header.mirror_tid + 1;
}

static uint64_t alloc(struct test *t, unsigned type, unsigned radix)
{
	uint64_t data_off = 0;

	assert_int_equal(h2_space_alloc(t->space, type, radix, &data_off), 0);
	assert_int_equal(data_off & 63, radix);
	return data_off;
}

static uint64_t offset_of(uint64_t data_off)
{
	return data_off & ~UINT64_C(63);
}

/* Drop a block of the open group or one since opening. */
static void drop(struct test *t, uint64_t data_off)
{
	h2_space_drop(t->space, data_off, open_tid(t), open_tid(t));
}

static void cancel(struct test *t, uint64_t data_off)
{
	h2_space_cancel(t->space, data_off, open_tid(t));
}

static struct h2_space_stats stats_of(struct test *t)
{
	struct h2_space_stats stats;

	h2_space_get_stats(t->space, &stats);
	return stats;
}

/* ---- a reader of the freemap ---- */

struct leaf {
	struct h2_blockref ref;
	struct h2d_freemap_record records[H2_FREEMAP_RECORDS];
};

static unsigned set_of(const struct h2_blockref *ref)
{
	return ((unsigned)(ref->data_off >> 16 & 63) - 1) / 5; /* MF 10.4 */
}

static unsigned level_of(const struct h2_blockref *ref)
{
	assert_true(ref->keybits >= 30 && (ref->keybits - 30) % 8 == 0);
	return (ref->keybits - 30) / 8 + 1u;
}

/* Read a freemap block of MF 10.3, 10.4, 10.6. */
static void read_block(struct test *t, const struct h2_blockref *ref, void *block)
{
	struct h2_freemap_hints hints;
	unsigned level = level_of(ref);

	assert_int_equal(ref->type,
			 level == 1 ? H2_BLOCKREF_FREEMAP_LEAF : H2_BLOCKREF_FREEMAP_NODE);
	assert_int_equal(ref->methods, H2_CHECK_FREEMAP << 4);
	assert_int_equal(ref->key & ((UINT64_C(1) << ref->keybits) - 1), 0);
	assert_true(set_of(ref) < 8);
	assert_int_equal(ref->data_off,
			 (ref->key + 65536 * (1 + 5 * set_of(ref) + (level - 1))) | 15);
	assert_int_equal(h2_volumes_read(t->disks.volumes, h2_blockref_offset(ref), block,
					 H2_FREEMAP_BLOCK_SIZE),
			 0);
	h2_freemap_hints_decode(ref, &hints);
	assert_int_equal(hints.icrc32, h2_crc32c(block, H2_FREEMAP_BLOCK_SIZE));
	if (level == 1)
		assert_int_equal(hints.bigmask, UINT32_MAX);
}

/* The entry of an array that covers key; its ranges are sorted and disjoint, MF 5.3. */
static bool find_entry(const struct h2_blockref *refs, unsigned count, uint64_t key,
		       struct h2_blockref *found)
{
	uint64_t end = 0;
	bool is_there = false;

	for (unsigned i = 0; i < count; i++) {
		if (refs[i].type == H2_BLOCKREF_EMPTY)
			continue;
		assert_true(refs[i].key >= end);
		end = refs[i].key + (UINT64_C(1) << refs[i].keybits);
		if (key >= refs[i].key && key < end) {
			*found = refs[i];
			is_there = true;
		}
	}
	return is_there;
}

/* Find a zone's leaf in the freemap that a header names. Returns the nodes on the way, or -1. */
static int find_leaf(struct test *t, const struct h2_volume_header *header, uint64_t zone,
		     struct leaf *leaf)
{
	static struct h2d_blockref block[H2_FREEMAP_BLOCK_SIZE / H2_BLOCKREF_SIZE];
	static struct h2_blockref refs[LENGTH_OF(block)];
	struct h2_blockref ref, above;
	int nodes = 0;

	if (!find_entry(header->freemap_blockset, H2_BLOCKSET_COUNT, zone * GIB, &ref))
		return -1;
	while (ref.type == H2_BLOCKREF_FREEMAP_NODE) {
		read_block(t, &ref, block);
		for (unsigned i = 0; i < LENGTH_OF(block); i++)
			h2_blockref_decode(&block[i], &refs[i]);
		above = ref;
		if (!find_entry(refs, LENGTH_OF(refs), zone * GIB, &ref))
			return -1;
		/* MF 12.2 rule 2, and MF 5.3 rule 2. */
		assert_true(ref.mirror_tid <= above.mirror_tid);
		assert_true(ref.keybits < above.keybits);
		nodes++;
	}
	read_block(t, &ref, leaf->records);
	leaf->ref = ref;
	return nodes;
}

static void get_leaf(struct test *t, uint64_t zone, struct leaf *leaf)
{
	assert_true(find_leaf(t, &t->header, zone, leaf) >= 0);
}

static enum h2_granule_state state_on_media(struct test *t, uint64_t offset)
{
	static struct leaf leaf;

	get_leaf(t, offset / GIB, &leaf);
	return h2_freemap_state(leaf.records, offset % GIB);
}

static unsigned granules_free(const struct h2d_freemap_record *record)
{
	unsigned n = 0;

	for (unsigned g = 0; g < 256; g++)
		n += (le64_get(record->bitmap[g / 32]) >> 2 * (g % 32) & 3) == H2_GRANULE_FREE;
	return n;
}

static void expect_avail_right(const struct leaf *leaf)
{
	for (unsigned s = 0; s < H2_FREEMAP_RECORDS; s++)
		assert_int_equal(le32_get(leaf->records[s].avail),
				 granules_free(&leaf->records[s]) * H2_GRANULE);
}

/* ---- freemaps of the test's own ---- */

/* A leaf in which only the segments [lo, hi) are free, at set 0. */
static struct h2_blockref put_leaf(struct test *t, uint64_t zone, unsigned lo, unsigned hi,
				   struct leaf *leaf)
{
	static struct leaf own;
	struct h2d_blockref d = {
		.type = H2_BLOCKREF_FREEMAP_LEAF,
		.methods = H2_CHECK_FREEMAP << 4,
		.keybits = 30,
		.key = le64_make(zone * GIB),
		.mirror_tid = le64_make(16),
		.data_off = le64_make((zone * GIB + 65536) | 15),
		.check.freemap = {.bigmask = le32_make(UINT32_MAX)},
	};

	if (!leaf) {
		leaf = &own;
		memset(leaf, 0, sizeof(*leaf));
		for (unsigned s = 0; s < H2_FREEMAP_RECORDS; s++) {
			bool is_free = s >= lo && s < hi;

			memset(leaf->records[s].bitmap, is_free ? 0 : 0xff, 64);
			leaf->records[s].avail = le32_make(is_free ? (uint32_t)H2_SEGMENT : 0);
		}
	}
	d.check.freemap.icrc32 = le32_make(h2_crc32c(leaf->records, sizeof(leaf->records)));
	h2_blockref_decode(&d, &leaf->ref);
	assert_int_equal(h2_volumes_write(t->disks.volumes, h2_blockref_offset(&leaf->ref),
					  leaf->records, sizeof(leaf->records)),
			 0);
	return leaf->ref;
}

static struct h2_blockref put_node(struct test *t, unsigned level, uint64_t key,
				   const struct h2_blockref *refs, unsigned count)
{
	static struct h2d_blockref block[H2_FREEMAP_BLOCK_SIZE / H2_BLOCKREF_SIZE];
	struct h2d_blockref d = {
		.type = H2_BLOCKREF_FREEMAP_NODE,
		.methods = H2_CHECK_FREEMAP << 4,
		.keybits = (uint8_t)(22 + 8 * level),
		.key = le64_make(key),
		.mirror_tid = le64_make(16),
		.data_off = le64_make((key + 65536 * level) | 15),
	};
	struct h2_blockref ref;

	assert_true(count <= LENGTH_OF(block));
	memset(block, 0, sizeof(block));
	for (unsigned i = 0; i < count; i++)
		h2_blockref_encode(&refs[i], &block[i]);
	d.check.freemap.icrc32 = le32_make(h2_crc32c(block, sizeof(block)));
	h2_blockref_decode(&d, &ref);
	assert_int_equal(
		h2_volumes_write(t->disks.volumes, h2_blockref_offset(&ref), block, sizeof(block)),
		0);
	return ref;
}

/* Write the header into all its copies, and close. */
static void put_header(struct test *t)
{
	for (unsigned i = 0; i < h2_volumes_header_copies(t->disks.volumes); i++)
		assert_int_equal(h2_volumes_write_header(t->disks.volumes, &t->header), 0);
	assert_int_equal(h2_volumes_flush(t->disks.volumes), 0);
	close_space(t);
}

/* The same, with that freemap. */
static void put_freemap(struct test *t, const struct h2_blockref *refs, unsigned count)
{
	memset(t->header.freemap_blockset, 0, sizeof(t->header.freemap_blockset));
	memcpy(t->header.freemap_blockset, refs, count * sizeof(*refs));
	put_header(t);
}

/* Zone 0 of the volume gets this leaf. */
static void put_only_leaf(struct test *t, struct leaf *leaf)
{
	struct h2_blockref ref = put_leaf(t, 0, 0, 0, leaf);

	put_freemap(t, &ref, 1);
}

/* A filesystem of zones GiB in which only the segments [lo, hi) of zone 0 are free. */
static void make_nearly_full(struct test *t, unsigned zones, unsigned lo, unsigned hi)
{
	struct h2_blockref refs[16];

	assert_true(zones <= LENGTH_OF(refs));
	make(t, zones * GIB);
	for (unsigned z = 0; z < zones; z++)
		refs[z] = put_leaf(t, z, z == 0 ? lo : 0, z == 0 ? hi : 0, NULL);
	if (zones > H2_BLOCKSET_COUNT) {
		refs[0] = put_node(t, 2, 0, refs, zones);
		zones = 1;
	}
	t->header.allocator_free = (hi - lo) * H2_SEGMENT;
	put_freemap(t, refs, zones);
	reopen(t);
}

/* ---- new leaves ---- */

static void leaf__first_allocation_gives_the_vector_of_the_spec(void **state)
{
	struct test *t = *state;
	struct h2_freemap_hints hints;
	struct leaf leaf;
	uint64_t before;

	make(t, 64 * MIB);
	before = t->header.allocator_free;
	assert_int_equal(before, 0x2c00000); /* MF A.7 */
	/* MF A.6: "after one 1 KiB inode allocation at 0x1800000". */
	assert_int_equal(alloc(t, H2_BLOCKREF_INODE, 10), 0x1800000 | 10);
	assert_false(commit(t));
	get_leaf(t, 0, &leaf);
	/* A writer need not use linear, if it is a multiple of 16 KiB (MF 10.8). */
	assert_int_equal(le32_get(leaf.records[6].linear) % H2_GRANULE, 0);
	leaf.records[6].linear = le32_make(1024);
	assert_int_equal(h2_crc32c(leaf.records, sizeof(leaf.records)), 0x60fbc712);
	h2_freemap_hints_decode(&leaf.ref, &hints);
	assert_int_equal(hints.avail, 41943040);
	assert_int_equal(leaf.ref.key, 0);
	assert_int_equal(leaf.ref.data_off, 0x1000f);
	assert_int_equal(leaf.ref.mirror_tid, 17);
	assert_int_equal(t->header.allocator_free, before - H2_GRANULE);
}

static void leaf__of_the_second_zone_is_the_vector_of_the_spec(void **state)
{
	struct test *t = *state;
	struct h2_blockref full;
	struct h2_freemap_hints hints;
	struct leaf leaf;
	uint64_t first;

	make(t, 3 * GIB);
	full = put_leaf(t, 0, 0, 0, NULL);
	put_freemap(t, &full, 1);
	reopen(t);
	first = alloc(t, H2_BLOCKREF_DATA, 16);
	assert_int_equal(offset_of(first), GIB + H2_SEGMENT);
	cancel(t, first);
	assert_false(commit(t));
	get_leaf(t, 1, &leaf);
	/* The segment is all free again, so it is as it was made: MF A.6, 10.9. */
	assert_int_equal(h2_crc32c(leaf.records, sizeof(leaf.records)), 0x6c7ae4d5);
	h2_freemap_hints_decode(&leaf.ref, &hints);
	assert_int_equal(hints.avail, 1069547520);
	assert_int_equal(leaf.ref.data_off, 0x4001000f);
}

static void leaf__untouched_is_the_vector_of_the_spec(void **state)
{
	struct test *t = *state;
	struct leaf leaf;

	make(t, 64 * MIB);
	cancel(t, alloc(t, H2_BLOCKREF_DATA, 15));
	assert_false(commit(t));
	get_leaf(t, 0, &leaf);
	assert_int_equal(h2_crc32c(leaf.records, sizeof(leaf.records)), 0x3dd62e95);
	assert_int_equal(t->header.allocator_free, 0x2c00000);
}

/* MF 10.10: a filesystem without a freemap is normal; what allocates nothing writes none. */
static void leaf__is_made_by_the_first_allocation_only(void **state)
{
	struct test *t = *state;
	struct leaf leaf;

	make(t, 3 * GIB);
	assert_true(h2_space_has(t->space, 1000, 1000));
	assert_false(commit(t));
	assert_int_equal(t->writes, 0);
	for (unsigned zone = 0; zone < 3; zone++)
		assert_int_equal(find_leaf(t, &t->header, zone, &leaf), -1);
	(void)alloc(t, H2_BLOCKREF_DATA, 16);
	assert_false(commit(t));
	assert_int_equal(t->writes, 1);
	assert_int_equal(find_leaf(t, &t->header, 0, &leaf), 0);
	assert_int_equal(find_leaf(t, &t->header, 1, &leaf), -1);
}

/* ---- the rules of allocating ---- */

/* Radixes that a type of block has, MF 3.4. */
static unsigned random_radix(uint64_t *random, unsigned type)
{
	static const unsigned indirect[] = {12, 14, 16};

	switch (type) {
	case H2_BLOCKREF_INDIRECT:
		return indirect[unit_below(random, 3)];
	case H2_BLOCKREF_DATA:
		return 10 + (unsigned)unit_below(random, 7);
	default:
		return 10;
	}
}

/* MF 3.4 and BS 8.1: where a block may lie. */
static void expect_legal_place(const struct test *t, uint64_t data_off)
{
	uint64_t offset = offset_of(data_off), size = UINT64_C(1) << (data_off & 63);
	uint64_t first = (t->header.allocator_beg + H2_SEGMENT - 1) / H2_SEGMENT * H2_SEGMENT;

	assert_true(offset >= first);
	assert_true(offset + size <= t->header.total_size / H2_SEGMENT * H2_SEGMENT);
	assert_true(offset % GIB >= H2_SEGMENT);
	if (size >= H2_GRANULE) {
		assert_int_equal(offset % size, 0);
	} else {
		assert_int_equal(offset % KIB, 0);
		assert_true(offset % H2_GRANULE + size <= H2_GRANULE);
	}
}

/* Everything of a set of two volumes is given out once, and nothing else. */
static void alloc__gives_each_granule_of_all_volumes_once(void **state)
{
	static const uint64_t sizes[] = {GIB, 96 * MIB};
	struct test *t = *state;
	uint8_t *taken = unit_alloc((GIB + 96 * MIB) / H2_GRANULE);
	/* Zone 0 behind allocator_beg, and 92 MiB of the last one (MF 10.7). */
	uint64_t begin, granules = 0, expected;
	struct leaf leaf;
	uint64_t data_off;
	int err;

	make_set(t, sizes, 2);
	begin = (t->header.allocator_beg + H2_SEGMENT - 1) / H2_SEGMENT * H2_SEGMENT;
	expected = (GIB - begin + 92 * MIB) / H2_GRANULE;
	/* One block of 32 KiB less than all of it, so that no 64 KiB and 16 KiB are left over. */
	for (unsigned radix = 15; radix <= 16; radix++) {
		while ((err = h2_space_alloc(t->space, H2_BLOCKREF_DATA, radix, &data_off)) == 0) {
			expect_legal_place(t, data_off);
			for (unsigned g = 0; g < 1u << (radix - 14); g++, granules++) {
				uint8_t *mark = &taken[offset_of(data_off) / H2_GRANULE + g];

				assert_int_equal(*mark, 0);
				*mark = 1;
			}
			if (radix == 15 && granules == 2)
				break;
		}
		assert_true(err == 0 || err == -ENOSPC);
	}
	assert_int_equal(expected - granules, 2); /* beside the 32 KiB */
	for (unsigned i = 0; i < 2; i++) {
		data_off = alloc(t, H2_BLOCKREF_DATA, 14);
		expect_legal_place(t, data_off);
		assert_int_equal(taken[offset_of(data_off) / H2_GRANULE]++, 0);
	}
	assert_int_equal(h2_space_alloc(t->space, H2_BLOCKREF_INODE, 10, &data_off), -ENOSPC);
	assert_false(h2_space_has(t->space, 0, 1));
	assert_false(commit(t));
	for (unsigned zone = 0; zone < 2; zone++) {
		get_leaf(t, zone, &leaf);
		expect_avail_right(&leaf);
		for (unsigned s = 0; s < H2_FREEMAP_RECORDS; s++)
			assert_int_equal(granules_free(&leaf.records[s]), 0);
		/* Each leaf lies on the volume that has its zone. */
		assert_int_equal(leaf.ref.data_off, (zone * GIB + 65536) | 15);
	}
	/* allocator_free is optimistic by the rest of the segment of allocator_beg (BS 8.7). */
	assert_int_equal(t->header.allocator_free,
			 t->header.allocator_size - expected * H2_GRANULE);
	free(taken);
}

static void alloc__in_one_go_lies_in_one_go(void **state)
{
	struct test *t = *state;
	uint64_t last = 0;

	make(t, 2 * GIB);
	for (unsigned i = 0; i < 16384; i++) {
		uint64_t offset = offset_of(alloc(t, H2_BLOCKREF_DATA, 16));

		if (i > 0 && last + QUAD == GIB)
			assert_int_equal(offset, GIB + H2_SEGMENT);
		else if (i > 0)
			assert_int_equal(offset, last + QUAD);
		last = offset;
	}
	assert_true(last > GIB);
}

/* Metadata that is asked for in between does not divide a file within its segment. */
static void alloc__of_other_types_does_not_divide_a_file(void **state)
{
	struct test *t = *state;
	uint64_t last;
	unsigned jumps = 0;

	make(t, GIB);
	last = offset_of(alloc(t, H2_BLOCKREF_DATA, 16));
	for (unsigned i = 1; i < 640; i++) {
		uint64_t offset;

		(void)alloc(t, H2_BLOCKREF_INODE, 10);
		(void)alloc(t, H2_BLOCKREF_INDIRECT, 14);
		(void)alloc(t, H2_BLOCKREF_DIRENT, 10);
		offset = offset_of(alloc(t, H2_BLOCKREF_DATA, 16));
		if (offset != last + QUAD) {
			assert_int_equal((last + QUAD) % H2_SEGMENT, 0);
			jumps++;
		}
		last = offset;
	}
	assert_true(jumps <= 640 / 64);
}

/* Blocks of one size that were asked for one after the other fill their granules. */
static void alloc__packs_small_blocks(void **state)
{
	struct test *t = *state;
	uint64_t first;

	make(t, 64 * MIB);
	first = offset_of(alloc(t, H2_BLOCKREF_INODE, 10));
	for (unsigned i = 1; i < 64; i++)
		assert_int_equal(offset_of(alloc(t, H2_BLOCKREF_INODE, 10)), first + i * KIB);
	assert_int_equal(stats_of(t).free_bytes, 0x2c00000 - 4 * H2_GRANULE);
}

/* BS 8.5: no sector of 4 KiB that holds committed bytes is written again. */
static void alloc__goes_to_a_fresh_4_kib_in_each_group(void **state)
{
	static const unsigned counts[] = {1, 3, 4, 5, 8, 15, 16, 17};
	struct test *t = *state;
	uint64_t last = 0;

	make(t, 64 * MIB);
	for (size_t i = 0; i < LENGTH_OF(counts); i++) {
		for (unsigned n = 0; n < counts[i]; n++) {
			uint64_t offset = offset_of(alloc(t, H2_BLOCKREF_INODE, 10));

			assert_true(n > 0 || offset / 4096 != last / 4096);
			last = offset;
		}
		assert_false(commit(t));
	}
	/* In units of 4 KiB 1 + 1 + 1 + 2 + 2 + 4 + 4 + 5: a fresh unit is not a fresh granule. */
	assert_int_equal(stats_of(t).free_bytes,
			 t->header.allocator_size - 5 * (uint64_t)H2_GRANULE);
}

static void class__divides_segments_among_types(void **state)
{
	static const unsigned types[] = {H2_BLOCKREF_INODE, H2_BLOCKREF_INDIRECT, H2_BLOCKREF_DATA,
					 H2_BLOCKREF_DIRENT};
	struct test *t = *state;
	struct leaf leaf;
	uint64_t offsets[4];

	make(t, 64 * MIB);
	for (unsigned round = 0; round < 20; round++) {
		for (size_t i = 0; i < LENGTH_OF(types); i++) {
			unsigned radix = types[i] == H2_BLOCKREF_DATA       ? 16
					 : types[i] == H2_BLOCKREF_INDIRECT ? 14
									    : 10;
			uint64_t offset = offset_of(alloc(t, types[i], radix));

			if (round > 0)
				assert_int_equal(offset / H2_SEGMENT, offsets[i] / H2_SEGMENT);
			offsets[i] = offset;
		}
	}
	assert_false(commit(t));
	get_leaf(t, 0, &leaf);
	for (size_t i = 0; i < LENGTH_OF(types); i++) {
		const struct h2d_freemap_record *r = &leaf.records[offsets[i] / H2_SEGMENT];

		assert_int_equal(le16_get(r->class_), types[i] << 8 | 16); /* MF 10.5 */
		for (size_t j = 0; j < i; j++)
			assert_true(offsets[i] / H2_SEGMENT != offsets[j] / H2_SEGMENT);
	}
}

/* BS 8.5, relaxed: the class must not be a reason for ENOSPC. */
static void class__does_not_matter_where_space_is_tight(void **state)
{
	struct test *t = *state;
	struct leaf leaf;
	uint64_t data_off;
	uint64_t *blocks = unit_alloc(640 * sizeof(*blocks));
	unsigned count = 0;

	make(t, 64 * MIB);
	while (h2_space_alloc(t->space, H2_BLOCKREF_DATA, 16, &data_off) == 0)
		blocks[count++] = data_off;
	assert_int_equal(count, 640); /* 40 MiB */
	cancel(t, blocks[100]);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t offset = offset_of(alloc(t, H2_BLOCKREF_INDIRECT, 14));

		assert_int_equal(offset / QUAD, offset_of(blocks[100]) / QUAD);
	}
	assert_int_equal(h2_space_alloc(t->space, H2_BLOCKREF_INDIRECT, 14, &data_off), -ENOSPC);
	assert_false(commit(t));
	get_leaf(t, 0, &leaf);
	assert_int_equal(le16_get(leaf.records[offset_of(blocks[100]) / H2_SEGMENT].class_),
			 0x0310);
	free(blocks);
}

/* MF 10.5: "It returns to 0 only when the whole segment is free." */
static void class__returns_to_0_with_the_last_block(void **state)
{
	struct test *t = *state;
	struct leaf leaf;
	uint64_t a, b;
	unsigned segment;

	make(t, 64 * MIB);
	a = alloc(t, H2_BLOCKREF_DATA, 16);
	b = alloc(t, H2_BLOCKREF_DATA, 14);
	segment = (unsigned)(offset_of(a) / H2_SEGMENT);
	assert_int_equal(offset_of(b) / H2_SEGMENT, segment);
	cancel(t, a);
	assert_false(commit(t));
	get_leaf(t, 0, &leaf);
	assert_int_equal(le16_get(leaf.records[segment].class_), 0x0310);
	drop(t, b);
	assert_false(commit(t)); /* one header copy: it is free now */
	assert_false(commit(t)); /* and the media say so */
	get_leaf(t, 0, &leaf);
	assert_int_equal(le16_get(leaf.records[segment].class_), 0);
	assert_int_equal(le32_get(leaf.records[segment].linear), 0);
	assert_int_equal(le32_get(leaf.records[segment].avail), H2_SEGMENT);
}

/* ---- rotation and nodes ---- */

static void rotation__goes_through_eight_sets(void **state)
{
	struct test *t = *state;
	struct leaf leaf;

	make(t, GIB);
	for (unsigned i = 0; i < 20; i++) {
		(void)alloc(t, H2_BLOCKREF_DATA, 16);
		(void)alloc(t, H2_BLOCKREF_INDIRECT, 14);
		assert_false(commit(t));
		assert_int_equal(t->writes, 1);
		get_leaf(t, 0, &leaf);
		assert_int_equal(set_of(&leaf.ref), i % 8);
		assert_int_equal(leaf.ref.mirror_tid, t->header.mirror_tid);
	}
	/* What has not changed stays where it is. */
	assert_false(commit(t));
	assert_int_equal(t->writes, 0);
	get_leaf(t, 0, &leaf);
	assert_int_equal(set_of(&leaf.ref), 19 % 8);
	/* And goes on from there after opening. */
	reopen(t);
	(void)alloc(t, H2_BLOCKREF_DATA, 16);
	assert_false(commit(t));
	get_leaf(t, 0, &leaf);
	assert_int_equal(set_of(&leaf.ref), 20 % 8);
}

/* MF 10.4: "the freemaps of all committed headers stay intact". */
static void rotation__keeps_the_freemaps_of_all_header_copies(void **state)
{
	struct test *t = *state;
	struct h2d_volume_header *d = unit_alloc(sizeof(*d));
	struct h2_volume_header header;
	struct leaf leaf;
	uint64_t blocks[20];

	make_nearly_full(t, 8, 100, 112);
	assert_int_equal(h2_volumes_header_copies(t->disks.volumes), 4);
	for (unsigned i = 0; i < LENGTH_OF(blocks); i++) {
		blocks[i] = offset_of(alloc(t, H2_BLOCKREF_DATA, 16));
		(void)commit(t);
		for (unsigned slot = 0; slot < 4; slot++) {
			assert_int_equal(h2_volumes_read_header(t->disks.volumes, 0, slot, d), 0);
			assert_int_equal(h2_volume_header_check(d, NULL), H2_HEADER_GOOD);
			h2_volume_header_decode(d, &header);
			assert_int_equal(find_leaf(t, &header, 0, &leaf), 1);
			/* Each copy has the blocks up to its commit, and no others. */
			for (unsigned j = 0; j <= i; j++)
				assert_int_equal(h2_freemap_state(leaf.records, blocks[j]),
						 17 + j <= header.mirror_tid ? H2_GRANULE_ALLOCATED
									     : H2_GRANULE_FREE);
		}
	}
	free(d);
}

static void node__comes_with_the_leaf_of_a_fifth_zone(void **state)
{
	struct test *t = *state;
	struct h2_blockref refs[4];
	struct leaf leaf;

	make(t, 8 * GIB);
	for (unsigned z = 0; z < 4; z++)
		refs[z] = put_leaf(t, z, 0, 0, NULL);
	put_freemap(t, refs, 4);
	reopen(t);
	assert_int_equal(offset_of(alloc(t, H2_BLOCKREF_DATA, 16)), 4 * GIB + H2_SEGMENT);
	assert_false(commit(t));
	assert_int_equal(t->writes, 2);
	/* MF 10.3: "a level 2 node with key rounded down, taking in all leaves of that range". */
	assert_int_equal(t->header.freemap_blockset[0].data_off, 0x2000f);
	assert_int_equal(t->header.freemap_blockset[0].keybits, 38);
	assert_int_equal(t->header.freemap_blockset[0].mirror_tid, 17);
	for (unsigned i = 1; i < 4; i++)
		assert_int_equal(t->header.freemap_blockset[i].type, H2_BLOCKREF_EMPTY);
	for (unsigned z = 0; z < 5; z++) {
		assert_int_equal(find_leaf(t, &t->header, z, &leaf), 1);
		/* What only moves keeps its tid and its place (MF 12.2 rule 3). */
		assert_int_equal(leaf.ref.mirror_tid, z < 4 ? 16 : 17);
		assert_int_equal(set_of(&leaf.ref), 0);
	}
	assert_int_equal(find_leaf(t, &t->header, 5, &leaf), -1);
	/* The node takes its turns as leaves do. */
	for (unsigned i = 1; i < 10; i++) {
		(void)alloc(t, H2_BLOCKREF_DATA, 16);
		assert_false(commit(t));
		assert_int_equal(t->writes, 2);
		assert_int_equal(t->header.freemap_blockset[0].data_off,
				 h2_freemap_data_off(2, 0, i % 8));
	}
}

/* Only the leaves of the node's own 256 GiB move into it. */
static void node__takes_in_its_own_range_only(void **state)
{
	static const uint64_t zones[] = {0, 1, 2, 256};
	struct test *t = *state;
	struct h2_blockref refs[4];
	struct leaf leaf;

	make(t, 300 * GIB);
	for (unsigned i = 0; i < 4; i++)
		refs[i] = put_leaf(t, zones[i], 0, 0, NULL);
	put_freemap(t, refs, 4);
	reopen(t);
	assert_int_equal(offset_of(alloc(t, H2_BLOCKREF_DATA, 16)), 3 * GIB + H2_SEGMENT);
	assert_false(commit(t));
	assert_int_equal(t->header.freemap_blockset[0].data_off, 0x2000f);
	assert_int_equal(t->header.freemap_blockset[1].key, 256 * GIB);
	assert_int_equal(t->header.freemap_blockset[1].type, H2_BLOCKREF_FREEMAP_LEAF);
	assert_int_equal(t->header.freemap_blockset[2].type, H2_BLOCKREF_EMPTY);
	for (unsigned z = 0; z < 4; z++)
		assert_int_equal(find_leaf(t, &t->header, z, &leaf), 1);
	assert_int_equal(find_leaf(t, &t->header, 256, &leaf), 0);
}

/* Where the lowest entry is a node already, the next level goes over it. */
static void node__of_the_third_level_goes_over_one_of_the_second(void **state)
{
	struct test *t = *state;
	struct h2_blockref refs[256], set[4];
	struct leaf leaf;

	make(t, 300 * GIB);
	for (unsigned z = 0; z < 256; z++)
		refs[z] = put_leaf(t, z, 0, 0, NULL);
	set[0] = put_node(t, 2, 0, refs, 256);
	for (unsigned i = 1; i < 4; i++)
		set[i] = put_leaf(t, 255 + i, 0, 0, NULL);
	put_freemap(t, set, 4);
	reopen(t);
	assert_int_equal(offset_of(alloc(t, H2_BLOCKREF_DATA, 16)), 259 * GIB + H2_SEGMENT);
	assert_false(commit(t));
	/* The leaf and the node over it; the other node has not changed. */
	assert_int_equal(t->writes, 2);
	assert_int_equal(t->header.freemap_blockset[0].data_off, 0x3000f);
	assert_int_equal(t->header.freemap_blockset[0].keybits, 46);
	assert_int_equal(t->header.freemap_blockset[1].type, H2_BLOCKREF_EMPTY);
	for (unsigned z = 0; z < 260; z++)
		assert_int_equal(find_leaf(t, &t->header, z, &leaf), z < 256 ? 2 : 1);
	/* And it can be read again. */
	reopen(t);
	assert_int_equal(offset_of(alloc(t, H2_BLOCKREF_DATA, 16)) / GIB, 259);
	assert_int_equal(t->reports, 0);
}

/* A full node of the third level with leaves right below it. */
static void node__makes_room_within_a_node(void **state)
{
	struct test *t = *state;
	struct h2_blockref refs[256], set;
	struct leaf leaf;

	make(t, 600 * GIB);
	refs[0] = put_leaf(t, 0, 0, 0, NULL);
	for (unsigned i = 1; i < 256; i++)
		refs[i] = put_leaf(t, 255 + i, 0, 0, NULL);
	set = put_node(t, 3, 0, refs, 256);
	put_freemap(t, &set, 1);
	reopen(t);
	assert_int_equal(offset_of(alloc(t, H2_BLOCKREF_DATA, 16)), GIB + H2_SEGMENT);
	assert_false(commit(t));
	for (unsigned z = 0; z < 2; z++)
		assert_int_equal(find_leaf(t, &t->header, z, &leaf), 2);
	for (unsigned z = 256; z < 511; z++)
		assert_int_equal(find_leaf(t, &t->header, z, &leaf), 1);
}

static void node__lies_on_the_volume_of_its_range(void **state)
{
	static const uint64_t sizes[] = {256 * GIB, GIB, 4 * GIB, 64 * MIB};
	struct test *t = *state;
	struct h2_blockref refs[256], set[4];
	struct h2d_freemap_record records[H2_FREEMAP_RECORDS];
	struct leaf leaf;
	uint64_t data_off;

	make_set(t, sizes, 4);
	for (unsigned z = 0; z < 256; z++)
		refs[z] = put_leaf(t, z, 0, 0, NULL);
	set[0] = put_node(t, 2, 0, refs, 256);
	put_freemap(t, set, 1);
	reopen(t);
	/* All zones of the further volumes, up to the part of one at the end. */
	for (unsigned z = 256; z < 262; z++) {
		uint64_t bytes = z < 261 ? GIB - H2_SEGMENT : 60 * MIB;

		for (uint64_t done = 0; done < bytes; done += QUAD)
			assert_int_equal(offset_of(alloc(t, H2_BLOCKREF_DATA, 16)),
					 z * GIB + H2_SEGMENT + done);
	}
	assert_int_equal(h2_space_alloc(t->space, H2_BLOCKREF_DATA, 16, &data_off), -ENOSPC);
	assert_false(commit(t));
	for (unsigned z = 256; z < 262; z++)
		assert_true(find_leaf(t, &t->header, z, &leaf) >= 0);
	/* By the devices themselves: zone 256 is the second volume, 261 the fourth. */
	h2_sim_peek(t->disks.sims[1], 65536, records, sizeof(records));
	assert_int_equal(h2_freemap_state(records, H2_SEGMENT), H2_GRANULE_ALLOCATED);
	get_leaf(t, 256, &leaf);
	assert_memory_equal(records, leaf.records, sizeof(records));
	h2_sim_peek(t->disks.sims[3], 65536, records, sizeof(records));
	get_leaf(t, 261, &leaf);
	assert_memory_equal(records, leaf.records, sizeof(records));
}

/* ---- when storage comes back ---- */

#define MODEL_LO 100u /* segments of zone 0 that the model has free to begin with */
#define MODEL_HI 106u
#define MODEL_KIBS ((MODEL_HI - MODEL_LO) * 4096u)
#define MODEL_GRANULES (MODEL_KIBS / 16)
#define MODEL_BLOCKS 8192u

struct model_block {
	uint64_t data_off;
	unsigned type;
	uint64_t born; /* group */
	bool shared;
};

struct model {
	unsigned copies;
	struct model_block blocks[MODEL_BLOCKS];
	unsigned count;
	bool used[MODEL_KIBS];                            /* by blocks of the open group */
	bool committed[H2_HEADER_COPIES_MAX][MODEL_KIBS]; /* by those of each header copy */
	bool busy[MODEL_GRANULES];                        /* not to be had */
	bool shared[MODEL_GRANULES];                      /* and never again */
	uint64_t waits[MODEL_GRANULES];                   /* 0, or the group that dropped it */
	uint64_t lost;
};

static unsigned kib_of(uint64_t data_off)
{
	return (unsigned)((offset_of(data_off) - MODEL_LO * H2_SEGMENT) / KIB);
}

static unsigned kibs_of(uint64_t data_off)
{
	return 1u << ((data_off & 63) - 10);
}

/* Of each 4 KiB that a small block touches, MF 12.6, BS 8.5. */
static void expect_sectors_not_committed(const struct model *m, uint64_t data_off)
{
	unsigned first = kib_of(data_off) / 4 * 4;
	unsigned end = (kib_of(data_off) + kibs_of(data_off) + 3) / 4 * 4;

	for (unsigned copy = 0; copy < m->copies; copy++) {
		for (unsigned k = first; k < end; k++)
			assert_false(m->committed[copy][k]);
	}
}

static bool model_has_run(const struct model *m, unsigned granules)
{
	for (unsigned g = 0; g < MODEL_GRANULES; g += granules) {
		bool is_free = true;

		for (unsigned i = 0; i < granules; i++)
			is_free = is_free && !m->busy[g + i];
		if (is_free)
			return true;
	}
	return false;
}

static unsigned model_busy(const struct model *m)
{
	unsigned n = 0;

	for (unsigned g = 0; g < MODEL_GRANULES; g++)
		n += m->busy[g];
	return n;
}

static void model_alloc(struct model *m, struct test *t, uint64_t *random)
{
	struct model_block b = {.type = 1 + (unsigned)unit_below(random, 4), .born = open_tid(t)};
	unsigned radix = random_radix(random, b.type);
	int err;

	if (m->count == MODEL_BLOCKS)
		return;
	err = h2_space_alloc(t->space, b.type, radix, &b.data_off);
	if (err) {
		assert_int_equal(err, -ENOSPC);
		assert_false(model_has_run(m, radix > 14 ? 1u << (radix - 14) : 1));
		return;
	}
	expect_legal_place(t, b.data_off);
	assert_in_range(offset_of(b.data_off) / H2_SEGMENT, MODEL_LO, MODEL_HI - 1);
	assert_int_equal(b.data_off & 63, radix);
	for (unsigned i = 0; i < kibs_of(b.data_off); i++) {
		unsigned k = kib_of(b.data_off) + i;

		assert_false(m->used[k]);
		m->used[k] = true;
		if (radix >= 14 && i % 16 == 0)
			assert_false(m->busy[k / 16]);
		m->busy[k / 16] = true;
	}
	expect_sectors_not_committed(m, b.data_off);
	m->blocks[m->count++] = b;
}

/* The block is not used any more; its granules without any other one become of the state given. */
static void model_leave(struct model *m, const struct model_block *b, uint64_t waits)
{
	unsigned first = kib_of(b->data_off), count = kibs_of(b->data_off);

	for (unsigned k = first; k < first + count; k++)
		m->used[k] = false;
	for (unsigned g = first / 16; g <= (first + count - 1) / 16; g++) {
		bool empty = true;

		for (unsigned k = g * 16; k < g * 16 + 16; k++)
			empty = empty && !m->used[k];
		if (m->shared[g]) {
			m->lost += count < 16 ? count * KIB : H2_GRANULE;
		} else if (empty) {
			m->waits[g] = waits;
			m->busy[g] = waits != 0;
		}
	}
}

static void model_remove(struct model *m, struct test *t, uint64_t *random)
{
	unsigned i = (unsigned)unit_below(random, m->count);
	struct model_block b = m->blocks[i];
	bool shared = false;

	m->blocks[i] = m->blocks[--m->count];
	for (unsigned k = 0; k < kibs_of(b.data_off); k += 16)
		shared = shared || m->shared[(kib_of(b.data_off) + k) / 16];
	if (b.born == open_tid(t) && unit_below(random, 2)) {
		/* A whole granule comes back at once, a part of one as if it had been dropped. */
		cancel(t, b.data_off);
		model_leave(m, &b, kibs_of(b.data_off) < 16 ? open_tid(t) : 0);
	} else {
		h2_space_drop(t->space, b.data_off, b.born, open_tid(t));
		model_leave(m, &b, open_tid(t));
	}
}

/* Another blockref leads to the block: to the model it stays in use for ever. */
static void model_share(struct model *m, struct test *t, uint64_t *random)
{
	struct model_block b = m->blocks[unit_below(random, m->count)];

	h2_space_share(t->space, b.data_off);
	for (unsigned k = 0; k < kibs_of(b.data_off); k++)
		m->shared[(kib_of(b.data_off) + k) / 16] = true;
}

static void model_compare(const struct model *m, struct test *t)
{
	struct h2_space_stats stats = stats_of(t);
	uint64_t waiting = 0;

	for (unsigned g = 0; g < MODEL_GRANULES; g++)
		waiting += m->waits[g] ? H2_GRANULE : 0;
	assert_int_equal(stats.free_bytes, (uint64_t)(MODEL_GRANULES - model_busy(m)) * H2_GRANULE);
	assert_int_equal(stats.waiting_bytes, waiting);
	assert_int_equal(stats.lost_bytes, m->lost);
}

static void model_commit(struct model *m, struct test *t)
{
	static struct leaf leaf;
	uint64_t tid = open_tid(t), waiting = 0;
	bool more = commit(t);

	get_leaf(t, 0, &leaf);
	expect_avail_right(&leaf);
	assert_int_equal(t->header.allocator_free,
			 (uint64_t)(MODEL_GRANULES - model_busy(m)) * H2_GRANULE);
	memcpy(m->committed[tid % m->copies], m->used, sizeof(m->used));
	for (unsigned g = 0; g < MODEL_GRANULES; g++) {
		assert_int_equal(h2_freemap_state(leaf.records,
						  MODEL_LO * H2_SEGMENT + g * (uint64_t)H2_GRANULE),
				 m->busy[g] ? H2_GRANULE_ALLOCATED : H2_GRANULE_FREE);
		/* MF 12.6: all copies have been written since it was dropped. */
		if (m->waits[g] && tid - m->waits[g] + 1 >= m->copies) {
			m->waits[g] = 0;
			m->busy[g] = false;
		}
		waiting += m->waits[g] != 0;
	}
	assert_int_equal(more, waiting > 0);
	model_compare(m, t);
}

static void run_model(struct test *t, unsigned zones, uint64_t seed)
{
	struct model *m = unit_alloc(sizeof(*m));
	uint64_t random = unit_seed(seed);

	make_nearly_full(t, zones, MODEL_LO, MODEL_HI);
	m->copies = h2_volumes_header_copies(t->disks.volumes);
	for (unsigned group = 0; group < 60; group++) {
		unsigned ops = 1 + (unsigned)unit_below(&random, 300);
		/* Groups that fill it up and groups that empty it. */
		uint64_t bias = unit_below(&random, 5);

		for (unsigned i = 0; i < ops; i++) {
			if (m->count == 0 || unit_below(&random, 6) > bias)
				model_alloc(m, t, &random);
			else if (unit_below(&random, 100) == 0)
				model_share(m, t, &random);
			else
				model_remove(m, t, &random);
			model_compare(m, t);
		}
		model_commit(m, t);
	}
	/* What is not shared comes back to the last granule. */
	while (m->count > 0)
		model_remove(m, t, &random);
	for (unsigned i = 0; i < m->copies; i++)
		model_commit(m, t);
	for (unsigned g = 0; g < MODEL_GRANULES; g++)
		assert_int_equal(m->busy[g], m->shared[g]);
	free(m);
}

static void storage__comes_back_by_the_model_with_1_copy(void **state)
{
	run_model(*state, 1, 101);
}

static void storage__comes_back_by_the_model_with_2_copies(void **state)
{
	run_model(*state, 3, 102);
}

static void storage__comes_back_by_the_model_with_3_copies(void **state)
{
	run_model(*state, 5, 103);
}

static void storage__comes_back_by_the_model_with_4_copies(void **state)
{
	run_model(*state, 8, 104);
}

/* MF 12.6, the strict rule: group T drops it, T + copies - 1 is the first to overwrite the last. */
static void storage__waits_for_each_header_copy(void **state)
{
	static const unsigned zones[] = {2, 3, 5, 7};

	(void)state;
	for (unsigned copies = 1; copies <= 4; copies++) {
		struct test t = {0};
		uint64_t block, data_off;

		/* One segment, and it is full. */
		make_nearly_full(&t, zones[copies - 1], 100, 101);
		assert_int_equal(h2_volumes_header_copies(t.disks.volumes), copies);
		block = alloc(&t, H2_BLOCKREF_DATA, 16);
		for (unsigned i = 1; i < 64; i++)
			(void)alloc(&t, H2_BLOCKREF_DATA, 16);
		assert_false(commit(&t));
		drop(&t, block);
		for (unsigned i = 1; i <= copies; i++) {
			assert_int_equal(h2_space_alloc(t.space, H2_BLOCKREF_DATA, 14, &data_off),
					 -ENOSPC);
			assert_false(h2_space_has(t.space, 0, 1));
			assert_int_equal(stats_of(&t).waiting_bytes, QUAD);
			assert_int_equal(commit(&t), i < copies);
			assert_int_equal(state_on_media(&t, offset_of(block)),
					 H2_GRANULE_ALLOCATED);
		}
		assert_int_equal(stats_of(&t).waiting_bytes, 0);
		assert_int_equal(alloc(&t, H2_BLOCKREF_DATA, 16), block);
		close_space(&t);
		disks_free(&t.disks);
	}
}

/* What was there at opening may be reached by anything: only a scan finds it again. */
static void storage__of_before_opening_does_not_come_back(void **state)
{
	struct test *t = *state;
	uint64_t block, small;

	make(t, GIB);
	block = alloc(t, H2_BLOCKREF_DATA, 16);
	small = alloc(t, H2_BLOCKREF_INODE, 10);
	assert_false(commit(t));
	reopen(t);
	h2_space_drop(t->space, block, 17, 18);
	h2_space_drop(t->space, small, 17, 18);
	assert_int_equal(stats_of(t).waiting_bytes, 0);
	assert_int_equal(stats_of(t).lost_bytes, QUAD + KIB);
	for (unsigned i = 0; i < 3; i++)
		assert_false(commit(t));
	assert_int_equal(state_on_media(t, offset_of(block)), H2_GRANULE_ALLOCATED);
	assert_int_equal(state_on_media(t, offset_of(small)), H2_GRANULE_ALLOCATED);
}

/* BS 15, D1: a block from before, which the freemap does not have, in the place of a newer one. */
static void storage__of_a_newer_block_does_not_come_back_with_an_older_one(void **state)
{
	struct test *t = *state;
	uint64_t block, small;

	make(t, GIB);
	block = alloc(t, H2_BLOCKREF_DATA, 16);
	small = alloc(t, H2_BLOCKREF_INODE, 10);
	h2_space_drop(t->space, block, 16, open_tid(t));
	h2_space_drop(t->space, small, 16, open_tid(t));
	assert_int_equal(stats_of(t).waiting_bytes, 0);
	assert_int_equal(stats_of(t).lost_bytes, QUAD + KIB);
	/* They are what they were, and can be dropped as themselves. */
	h2_space_drop(t->space, block, 17, open_tid(t));
	h2_space_drop(t->space, small, 17, open_tid(t));
	assert_int_equal(stats_of(t).waiting_bytes, QUAD + H2_GRANULE);
}

static void storage__that_is_shared_does_not_come_back(void **state)
{
	struct test *t = *state;
	uint64_t before[5], after, small;
	static const unsigned radixes[] = {10, 13, 14, 15, 16};

	make(t, 64 * MIB);
	for (size_t i = 0; i < LENGTH_OF(before); i++)
		before[i] = alloc(t, H2_BLOCKREF_DATA, radixes[i]);
	h2_space_share_all(t->space);
	after = alloc(t, H2_BLOCKREF_DATA, 16);
	/* Not into a granule that is shared as a whole. */
	small = alloc(t, H2_BLOCKREF_DATA, 10);
	assert_false(commit(t));
	for (size_t i = 0; i < LENGTH_OF(before); i++)
		drop(t, before[i]);
	drop(t, after);
	drop(t, small);
	assert_int_equal(stats_of(t).lost_bytes, 1024 + 8192 + 16384 + 32768 + 65536);
	assert_int_equal(stats_of(t).waiting_bytes, QUAD + H2_GRANULE);
	assert_false(commit(t));
	assert_false(commit(t));
	for (size_t i = 0; i < LENGTH_OF(before); i++)
		assert_int_equal(state_on_media(t, offset_of(before[i])), H2_GRANULE_ALLOCATED);
	assert_int_equal(state_on_media(t, offset_of(after)), H2_GRANULE_FREE);
	assert_int_equal(state_on_media(t, offset_of(small)), H2_GRANULE_FREE);
}

/* One shared part of a granule keeps all of it, and one shared block only itself. */
static void storage__that_is_shared_by_one_block_does_not_come_back(void **state)
{
	struct test *t = *state;
	uint64_t a, b, c, d;

	make(t, 64 * MIB);
	a = alloc(t, H2_BLOCKREF_INODE, 10);
	b = alloc(t, H2_BLOCKREF_INODE, 10);
	c = alloc(t, H2_BLOCKREF_DATA, 15);
	d = alloc(t, H2_BLOCKREF_DATA, 15);
	assert_int_equal(offset_of(a) / H2_GRANULE, offset_of(b) / H2_GRANULE);
	h2_space_share(t->space, a);
	h2_space_share(t->space, c);
	drop(t, b);
	drop(t, a);
	cancel(t, c);
	drop(t, d);
	assert_int_equal(stats_of(t).lost_bytes, 2 * KIB + 32 * KIB);
	assert_false(commit(t));
	assert_false(commit(t));
	assert_int_equal(state_on_media(t, offset_of(a)), H2_GRANULE_ALLOCATED);
	assert_int_equal(state_on_media(t, offset_of(c)), H2_GRANULE_ALLOCATED);
	assert_int_equal(state_on_media(t, offset_of(c) + H2_GRANULE), H2_GRANULE_ALLOCATED);
	assert_int_equal(state_on_media(t, offset_of(d)), H2_GRANULE_FREE);
	assert_int_equal(state_on_media(t, offset_of(d) + H2_GRANULE), H2_GRANULE_FREE);
}

static void storage__that_is_cancelled_is_free_at_once(void **state)
{
	struct test *t = *state;
	uint64_t block, data_off;

	make_nearly_full(t, 8, 100, 101);
	for (unsigned radix = 14; radix <= 16; radix++) {
		uint64_t blocks[256];
		unsigned count = 0;

		while (h2_space_alloc(t->space, H2_BLOCKREF_DATA, radix, &data_off) == 0)
			blocks[count++] = data_off;
		assert_int_equal(count, H2_SEGMENT >> radix);
		block = blocks[count / 2];
		cancel(t, block);
		assert_int_equal(stats_of(t).free_bytes, UINT64_C(1) << radix);
		assert_int_equal(stats_of(t).waiting_bytes, 0);
		assert_int_equal(alloc(t, H2_BLOCKREF_DATA, radix), block);
		for (unsigned i = 0; i < count; i++)
			cancel(t, blocks[i]);
		assert_int_equal(stats_of(t).free_bytes, H2_SEGMENT);
	}
	assert_false(commit(t));
	assert_int_equal(t->header.allocator_free, H2_SEGMENT);
}

/* Blocks that share a granule with others do not take it with them. */
static void storage__of_a_small_block_comes_back_with_its_granule(void **state)
{
	struct test *t = *state;
	uint64_t blocks[16], next;

	make(t, 64 * MIB);
	for (unsigned i = 0; i < 16; i++)
		blocks[i] = alloc(t, H2_BLOCKREF_INODE, 10);
	for (unsigned i = 0; i < 15; i++) {
		if (i % 2)
			drop(t, blocks[i]);
		else
			cancel(t, blocks[i]);
	}
	assert_int_equal(stats_of(t).waiting_bytes, 0);
	assert_int_equal(stats_of(t).lost_bytes, 0);
	drop(t, blocks[15]);
	assert_int_equal(stats_of(t).waiting_bytes, H2_GRANULE);
	/* The granule is not begun again, although it is free in part of it. */
	next = alloc(t, H2_BLOCKREF_INODE, 10);
	assert_true(offset_of(next) / H2_GRANULE != offset_of(blocks[0]) / H2_GRANULE);
	assert_false(commit(t));
	assert_int_equal(stats_of(t).waiting_bytes, 0);
	assert_false(commit(t));
	assert_int_equal(state_on_media(t, offset_of(blocks[0])), H2_GRANULE_FREE);
	assert_int_equal(state_on_media(t, offset_of(next)), H2_GRANULE_ALLOCATED);
}

/* A granule that is not full yet must not be filled after its last block was dropped. */
static void storage__of_a_begun_granule_is_not_begun_again(void **state)
{
	struct test *t = *state;
	uint64_t first, second;

	make(t, 64 * MIB);
	first = alloc(t, H2_BLOCKREF_INODE, 10);
	drop(t, first);
	second = alloc(t, H2_BLOCKREF_INODE, 10);
	assert_true(offset_of(first) / H2_GRANULE != offset_of(second) / H2_GRANULE);
	assert_false(commit(t));
	assert_false(commit(t));
	assert_int_equal(state_on_media(t, offset_of(first)), H2_GRANULE_FREE);
	assert_int_equal(state_on_media(t, offset_of(second)), H2_GRANULE_ALLOCATED);
}

/* What a blockref from the media says may be anything. */
static void storage__that_cannot_be_is_not_dropped(void **state)
{
	static const uint64_t wrong[] = {0,
					 9,
					 17,
					 63,
					 UINT64_MAX,
					 UINT64_MAX - 63 + 10,
					 64 * MIB | 10,
					 (64 * MIB - 16384) | 16,
					 (UINT64_C(1) << 62) | 14};
	struct test *t = *state;

	make(t, 64 * MIB);
	(void)alloc(t, H2_BLOCKREF_DATA, 16);
	for (size_t i = 0; i < LENGTH_OF(wrong); i++) {
		drop(t, wrong[i]);
		cancel(t, wrong[i]);
	}
	assert_int_equal(stats_of(t).waiting_bytes, 0);
	assert_int_equal(stats_of(t).free_bytes, t->header.allocator_size - QUAD);
}

/* ---- freemaps that are not sound ---- */

/* Everything of the volume is allocated, with blocks of 16 KiB; how many there were. */
static unsigned take_all(struct test *t, uint8_t *taken, size_t granules)
{
	unsigned count = 0;
	uint64_t data_off;
	int err;

	memset(taken, 0, granules);
	while ((err = h2_space_alloc(t->space, H2_BLOCKREF_DATA, 14, &data_off)) == 0) {
		expect_legal_place(t, data_off);
		assert_true(offset_of(data_off) / H2_GRANULE < granules);
		assert_int_equal(taken[offset_of(data_off) / H2_GRANULE]++, 0);
		count++;
	}
	assert_int_equal(err, -ENOSPC);
	return count;
}

#define SMALL (64 * MIB) /* MF A.6: the segments 6 to 15 can be had */
#define SMALL_GRANULES (SMALL / H2_GRANULE)

static void make_leaf(struct leaf *leaf)
{
	memset(leaf, 0, sizeof(*leaf));
	(void)h2_freemap_leaf_init(leaf->records, 0, 0x1400c00, SMALL);
}

static void hostile__only_state_0_is_free(void **state)
{
	struct test *t = *state;
	uint8_t taken[SMALL_GRANULES];
	struct leaf leaf;

	make(t, SMALL);
	make_leaf(&leaf);
	/* The four states in turn, in granules and in quads. */
	for (unsigned s = 6; s < 16; s++) {
		for (unsigned w = 0; w < 8; w++)
			leaf.records[s].bitmap[w] = le64_make(w % 2 ? UINT64_C(0xe4e4e4e4e4e4e4e4)
								    : UINT64_C(0xffaa5500ffaa5500));
		leaf.records[s].avail = le32_make(64 * H2_GRANULE);
	}
	put_only_leaf(t, &leaf);
	reopen(t);
	assert_int_equal(take_all(t, taken, SMALL_GRANULES), 10 * 64);
	for (unsigned g = 0; g < SMALL_GRANULES; g++)
		assert_int_equal(taken[g],
				 h2_freemap_state(leaf.records, g * (uint64_t)H2_GRANULE) ==
					 H2_GRANULE_FREE);
	/* What was not given out is as it was. */
	assert_false(commit(t));
	for (unsigned g = 0; g < SMALL_GRANULES; g++) {
		enum h2_granule_state was = h2_freemap_state(leaf.records,
							     g * (uint64_t)H2_GRANULE);

		assert_int_equal(state_on_media(t, g * (uint64_t)H2_GRANULE),
				 was == H2_GRANULE_FREE ? H2_GRANULE_ALLOCATED : was);
	}
}

/* BS 8.3, D16: the bitmap counts. */
static void hostile__avail_is_not_believed(void **state)
{
	static const uint32_t wrong[] = {0, 1, 16384, 4177920, 4194304, UINT32_MAX};
	struct test *t = *state;
	uint8_t taken[SMALL_GRANULES];
	struct leaf leaf;

	make(t, SMALL);
	make_leaf(&leaf);
	for (unsigned s = 0; s < H2_FREEMAP_RECORDS; s++)
		leaf.records[s].avail = le32_make(wrong[s % LENGTH_OF(wrong)]);
	memset(leaf.records[7].bitmap, 0xff, 64); /* all allocated, whatever avail is */
	put_only_leaf(t, &leaf);
	reopen(t);
	assert_true(h2_space_has(t->space, 0, 9 * 256));
	assert_false(h2_space_has(t->space, 0, 9 * 256 + 1));
	assert_int_equal(take_all(t, taken, SMALL_GRANULES), 9 * 256);
	assert_false(commit(t));
	get_leaf(t, 0, &leaf);
	expect_avail_right(&leaf);
	assert_int_equal(t->reports, 0);
}

/* MF 13.7: "reserved and out-of-range segments: treat as allocated whatever the bitmap says". */
static void hostile__what_cannot_be_had_is_not_given(void **state)
{
	struct test *t = *state;
	uint8_t taken[SMALL_GRANULES];
	struct leaf leaf;

	make(t, SMALL);
	memset(&leaf, 0, sizeof(leaf));
	for (unsigned s = 0; s < H2_FREEMAP_RECORDS; s++)
		leaf.records[s].avail = le32_make((uint32_t)H2_SEGMENT);
	put_only_leaf(t, &leaf);
	reopen(t);
	assert_int_equal(take_all(t, taken, SMALL_GRANULES), 10 * 256);
}

static void hostile__class_keeps_nothing_from_being_given(void **state)
{
	struct test *t = *state;
	uint8_t taken[SMALL_GRANULES];
	struct leaf leaf;

	make(t, SMALL);
	make_leaf(&leaf);
	for (unsigned s = 0; s < H2_FREEMAP_RECORDS; s++)
		leaf.records[s].class_ = le16_make((uint16_t)(0x1234 + s));
	put_only_leaf(t, &leaf);
	reopen(t);
	assert_int_equal(take_all(t, taken, SMALL_GRANULES), 10 * 256);
}

/* MF 10.8: linear must not be left "pointing into space that it has allocated by other means". */
static void hostile__linear_does_not_lead_into_what_was_given(void **state)
{
	struct test *t = *state;
	struct leaf leaf;
	uint64_t offset;

	make(t, SMALL);
	make_leaf(&leaf);
	leaf.records[6].linear = le32_make(1024); /* into a granule that is free */
	leaf.records[6].class_ = le16_make(0x0310);
	/* Of another writer: its granule is allocated in part. */
	leaf.records[7].linear = le32_make(5 * H2_GRANULE + 3072);
	leaf.records[7].class_ = le16_make(0x0110);
	leaf.records[7].bitmap[0] = le64_make(UINT64_C(3) << 10);
	leaf.records[7].avail = le32_make((uint32_t)H2_SEGMENT - H2_GRANULE);
	put_only_leaf(t, &leaf);
	reopen(t);
	offset = offset_of(alloc(t, H2_BLOCKREF_DATA, 16));
	assert_int_equal(offset, 6 * H2_SEGMENT);
	offset = offset_of(alloc(t, H2_BLOCKREF_INODE, 10));
	assert_int_equal(offset / H2_SEGMENT, 7);
	assert_true(offset / H2_GRANULE != 7 * H2_SEGMENT / H2_GRANULE + 5);
	assert_false(commit(t));
	get_leaf(t, 0, &leaf);
	assert_int_equal(le32_get(leaf.records[6].linear) % H2_GRANULE, 0);
	/* Nothing of ours is in that one: it may stay. */
	assert_true(le32_get(leaf.records[7].linear) == 5 * H2_GRANULE + 3072 ||
		    le32_get(leaf.records[7].linear) % H2_GRANULE == 0);
}

/* A leaf that cannot be told for sure: its zone is left alone, the others serve. */
static void hostile__damaged_leaf_closes_its_zone(void **state)
{
	struct test *t = *state;
	struct h2_blockref refs[2];
	uint64_t data_off;

	make(t, 2 * GIB);
	for (unsigned z = 0; z < 2; z++)
		refs[z] = put_leaf(t, z, 100, 200, NULL);
	refs[0].check[0] ^= 1;
	put_freemap(t, refs, 2);
	reopen(t);
	for (unsigned i = 0; i < 100 * 64; i++)
		assert_int_equal(offset_of(alloc(t, H2_BLOCKREF_DATA, 16)) / GIB, 1);
	assert_int_equal(h2_space_alloc(t->space, H2_BLOCKREF_INODE, 10, &data_off), -ENOSPC);
	assert_false(h2_space_has(t->space, 0, 1));
	assert_int_equal(t->reports, 1);
	assert_int_equal(t->last_error, -H2_ECHECK);
	/* It is not written, and its blockref stays for whoever mends it. */
	assert_false(commit(t));
	assert_int_equal(t->writes, 1);
	assert_memory_equal(&t->header.freemap_blockset[0], &refs[0], sizeof(refs[0]));
}

static void hostile__unreadable_leaf_closes_its_zone(void **state)
{
	struct test *t = *state;
	struct h2_blockref refs[2];

	make(t, 2 * GIB);
	for (unsigned z = 0; z < 2; z++)
		refs[z] = put_leaf(t, z, 100, 200, NULL);
	put_freemap(t, refs, 2);
	reopen(t);
	h2_sim_set_fault(t->disks.sims[0], H2_SIM_READ, H2_SIM_FAIL, 0, 1, -EIO);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(offset_of(alloc(t, H2_BLOCKREF_DATA, 16)) / GIB, 1);
	assert_int_equal(t->reports, 1);
	assert_int_equal(t->last_error, -EIO);
}

/* A leaf that was read before, and had to leave the memory, may be unreadable when it is needed. */
static void hostile__leaf_that_gets_unreadable_does_not_count_any_more(void **state)
{
	enum { ZONES = 280 }; /* more than are kept */
	struct test *t = *state;
	struct h2_blockref refs[256], set[2], more[ZONES - 256];

	make(t, ZONES * GIB);
	for (unsigned z = 0; z < ZONES; z++)
		*(z < 256 ? &refs[z] : &more[z - 256]) = put_leaf(t, z, 200, 201, NULL);
	set[0] = put_node(t, 2, 0, refs, 256);
	set[1] = put_node(t, 2, 256 * GIB, more, ZONES - 256);
	put_freemap(t, set, 2);
	reopen(t);
	assert_false(h2_space_has(t->space, 0, ZONES * 256 + 1)); /* looks at all of them */
	assert_true(h2_space_has(t->space, 0, ZONES * 256));
	h2_sim_set_fault(t->disks.sims[0], H2_SIM_READ, H2_SIM_FAIL, 0, 1, -EIO);
	assert_int_equal(offset_of(alloc(t, H2_BLOCKREF_DATA, 14)) / GIB, 1);
	assert_int_equal(t->last_error, -EIO);
	assert_true(h2_space_has(t->space, 0, (ZONES - 1) * 256 - 1));
	assert_false(h2_space_has(t->space, 0, (ZONES - 1) * 256));
}

static void hostile__damaged_node_closes_its_range(void **state)
{
	struct test *t = *state;
	struct h2_blockref refs[256], set[2];

	make(t, 258 * GIB);
	for (unsigned z = 0; z < 4; z++)
		refs[z] = put_leaf(t, z, 100, 200, NULL);
	set[0] = put_node(t, 2, 0, refs, 4);
	set[0].check[3] ^= 0x80;
	set[1] = put_leaf(t, 257, 100, 101, NULL);
	put_freemap(t, set, 2);
	reopen(t);
	/* Zone 256 has no leaf and can get one; below the node nothing can be told. */
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(offset_of(alloc(t, H2_BLOCKREF_DATA, 16)) / GIB, 256);
	assert_int_equal(t->last_error, -H2_ECHECK);
	assert_false(commit(t));
	assert_memory_equal(&t->header.freemap_blockset[0], &set[0], sizeof(set[0]));
}

/* A freemap whose root is damaged is not allocated from at all. */
static void hostile__root_is_refused(void **state)
{
	struct test *t = *state;
	struct h2_blockref refs[4], bad[4];

	make(t, 4 * GIB);
	for (unsigned z = 0; z < 4; z++)
		refs[z] = put_leaf(t, z, 100, 200, NULL);
	for (unsigned kind = 0; kind < 7; kind++) {
		memcpy(bad, refs, sizeof(bad));
		switch (kind) {
		case 0: /* two for one zone */
			bad[1] = bad[0];
			break;
		case 1: /* not in order */
			bad[1] = refs[2];
			bad[2] = refs[1];
			break;
		case 2: /* of the topology */
			bad[2].type = H2_BLOCKREF_INDIRECT;
			break;
		case 3: /* another place than that of MF 10.4 */
			bad[3].data_off += 65536;
			break;
		case 4: /* the check code of something else */
			bad[0].keybits = 31;
			break;
		case 5: /* within a block of the allocator */
			bad[1].data_off = (UINT64_C(1) << 30 | H2_SEGMENT) | 15;
			break;
		case 6: /* keys that are not a multiple */
			bad[1].key += 4096;
			break;
		}
		if (!t->disks.volumes)
			disks_open(&t->disks);
		put_freemap(t, bad, 4);
		assert_int_equal(try_open(t), -H2_ECORRUPT);
		assert_int_equal(t->reports, 1);
	}
	put_freemap(t, refs, 4);
	reopen(t);
}

/* Gaps between the root's entries are legal, MF 5.3 rule 4. */
static void hostile__root_with_gaps_is_sound(void **state)
{
	struct test *t = *state;
	struct h2_blockref set[4] = {{.type = H2_BLOCKREF_EMPTY}};
	struct leaf leaf;

	make(t, 4 * GIB);
	set[1] = put_leaf(t, 0, 0, 0, NULL);
	set[3] = put_leaf(t, 2, 0, 0, NULL);
	put_freemap(t, set, 4);
	reopen(t);
	assert_int_equal(offset_of(alloc(t, H2_BLOCKREF_DATA, 16)) / GIB, 1);
	assert_false(commit(t));
	for (unsigned z = 0; z < 3; z++)
		assert_int_equal(find_leaf(t, &t->header, z, &leaf), 0);
}

/* BS 8.7: it must not wrap, however low it is on the media. */
static void allocator_free__does_not_wrap(void **state)
{
	static const uint64_t lows[] = {0, 1, 16384, 49151, 65535};
	struct test *t = *state;
	uint64_t block;

	make(t, SMALL);
	for (size_t i = 0; i < LENGTH_OF(lows); i++) {
		t->header.allocator_free = lows[i];
		put_header(t);
		reopen(t);
		block = alloc(t, H2_BLOCKREF_DATA, 16);
		assert_int_equal(stats_of(t).free_bytes, 0);
		(void)alloc(t, H2_BLOCKREF_INODE, 10);
		assert_int_equal(stats_of(t).free_bytes, 0);
		drop(t, block);
		assert_false(commit(t));
		assert_int_equal(t->header.allocator_free, 0);
		assert_int_equal(stats_of(t).free_bytes, QUAD);
		assert_false(commit(t));
		assert_int_equal(t->header.allocator_free, QUAD);
	}
}

/* ---- h2_space_has() ---- */

/* A volume whose free granules lie in every possible way in their quads, or in whole ones only. */
static void make_fragmented(struct test *t, uint64_t *random, bool whole, unsigned *quads,
			    unsigned *granules)
{
	struct leaf leaf;

	make(t, SMALL);
	make_leaf(&leaf);
	*quads = *granules = 0;
	for (unsigned s = 6; s < 16; s++) {
		uint8_t *bytes = (uint8_t *)leaf.records[s].bitmap;

		for (unsigned i = 0; i < 64; i++) {
			/* Half of the quads are full, a quarter is free. */
			uint64_t kind = unit_below(random, 4);

			bytes[i] = kind < 2 ? 0xff : 0;
			for (unsigned g = 0; g < 4 && kind == 2 && !whole; g++)
				bytes[i] = (uint8_t)(bytes[i] | (unit_below(random, 2) ? 3u : 0u)
									<< 2 * g);
			*quads += bytes[i] == 0;
		}
		*granules += granules_free(&leaf.records[s]);
		leaf.records[s].avail = le32_make(granules_free(&leaf.records[s]) * H2_GRANULE);
		leaf.records[s].class_ = le16_make((uint16_t)(unit_below(random, 5) << 8 | 16));
	}
	put_only_leaf(t, &leaf);
	reopen(t);
}

static void has__is_exact_for_one_kind_of_need(void **state)
{
	struct test *t = *state;
	uint64_t random = unit_seed(7);
	unsigned quads, granules;

	make_fragmented(t, &random, false, &quads, &granules);
	assert_true(quads > 100);
	assert_true(granules > 4 * quads);
	assert_true(h2_space_has(t->space, 0, granules));
	assert_false(h2_space_has(t->space, 0, granules + 1));
	assert_false(h2_space_has(t->space, quads + 1, 0));
	assert_true(h2_space_has(t->space, 0, 0));
	/* Each of the four types may have begun a quad: that much less can be promised. */
	assert_true(h2_space_has(t->space, quads - 5, 0));
	assert_true(h2_space_has(t->space, quads - 10, 20));
	assert_false(h2_space_has(t->space, quads, granules - 4 * quads + 1));
}

/* What it promises can be had, of whatever types in whatever order. */
static void has__keeps_its_promise(void **state)
{
	struct test *t = *state;
	uint64_t random = unit_seed(8);

	for (unsigned round = 0; round < 60; round++) {
		uint64_t need[2], data_off;
		unsigned quads, granules, begun = 0;

		make_fragmented(t, &random, round % 3 == 0, &quads, &granules);
		need[0] = unit_below(&random, 4) ? unit_below(&random, quads) : 0;
		need[1] = 0;
		/* The most of one that is still promised beside some of the other. */
		if (round % 2) {
			need[1] = 4;
			need[0] = quads;
			while (!h2_space_has(t->space, need[0], need[1]))
				need[0]--;
		} else {
			while (h2_space_has(t->space, need[0], need[1] + 1))
				need[1]++;
		}
		/* At worst each type begins a quad before the others are taken. */
		for (; begun < 4 && need[1] > 0; need[1]--, begun++)
			assert_int_equal(h2_space_alloc(t->space, 1 + begun, 14, &data_off), 0);
		while (need[0] + need[1] > 0) {
			unsigned what = (unsigned)unit_below(&random, 2);
			unsigned type = 1 + (unsigned)unit_below(&random, 4);

			if (need[what] == 0)
				what = 1 - what;
			need[what]--;
			assert_int_equal(
				h2_space_alloc(t->space, type, what == 0 ? 16 : 14, &data_off), 0);
		}
		close_space(t);
		disks_free(&t->disks);
	}
}

static void has__counts_zones_that_were_not_read_yet(void **state)
{
	struct test *t = *state;
	struct h2_blockref refs[4];

	make(t, 4 * GIB);
	for (unsigned z = 0; z < 4; z++)
		refs[z] = put_leaf(t, z, 250, 251 + z, NULL);
	put_freemap(t, refs, 4);
	reopen(t);
	/* 1 + 2 + 3 + 4 segments of 64 quads. */
	assert_true(h2_space_has(t->space, 640 - 5, 0));
	assert_true(h2_space_has(t->space, 0, 2560));
	assert_false(h2_space_has(t->space, 641, 0));
	assert_false(h2_space_has(t->space, 0, 2561));
	assert_false(h2_space_has(t->space, UINT64_MAX / 2, 0));
	assert_false(h2_space_has(t->space, 0, UINT64_MAX / 2));
}

/* ---- limits and failures ---- */

static size_t bytes_in_use(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

/* However large the volume is, what is known of it takes little memory. */
static void memory__is_bounded_on_a_large_volume(void **state)
{
	struct test *t = *state;
	size_t before, used;

	make(t, 8 * TIB);
	before = bytes_in_use();
	/* Nothing has so much: every zone is looked at. */
	assert_false(h2_space_has(t->space, UINT64_C(1) << 40, 0));
	used = bytes_in_use() - before;
	print_message("memory for 8192 zones: %zu KiB\n", used / 1024);
	/* 256 leaves are kept: 8 MiB; each zone may take a few words. */
	assert_true(used < (8 << 20) + 8192 * 256 + (1 << 20));
	assert_int_equal(offset_of(alloc(t, H2_BLOCKREF_DATA, 16)) / GIB, 0);
}

/*
 * Whichever allocation of memory it is that fails: it is said, what is known stays right, and later
 * the same succeeds. Returns how often it failed.
 */
static unsigned alloc_with_scarce_memory(struct test *t, uint64_t *data_off)
{
	uint64_t before = stats_of(t).free_bytes;
	unsigned failures = 0;
	int err = -ENOMEM;

	for (long n = 0; err; n++) {
		scarce_left = n;
		err = h2_space_alloc(t->space, H2_BLOCKREF_DATA, 16, data_off);
		scarce_left = -1;
		assert_true(err == 0 || err == -ENOMEM);
		assert_int_equal(stats_of(t).free_bytes, err ? before : before - QUAD);
		failures += err != 0;
	}
	return failures;
}

static unsigned has_with_scarce_memory(struct test *t, uint64_t quads)
{
	unsigned failures = 0;
	bool has = false;

	for (long n = 0; !has; n++) {
		assert_in_range(n, 0, 1000);
		scarce_left = n;
		has = h2_space_has(t->space, quads, 0);
		scarce_left = -1;
		failures += !has;
	}
	return failures;
}

static void memory__that_runs_out_closes_no_zone(void **state)
{
	struct test *t = *state;
	uint64_t data_off = 0;

	make_nearly_full(t, 1, 100, 101);
	assert_true(alloc_with_scarce_memory(t, &data_off) >= 3);
	assert_int_equal(offset_of(data_off), 100 * H2_SEGMENT);
	reopen(t);
	assert_true(has_with_scarce_memory(t, 50) >= 2);
}

static void memory__that_runs_out_makes_no_half_of_a_leaf(void **state)
{
	struct test *t = *state;
	struct h2_blockref refs[4];
	struct leaf leaf;
	uint64_t data_off = 0;
	int err = -ENOMEM;

	/* A leaf for a fifth zone, and the node above it. */
	make(t, 8 * GIB);
	for (unsigned z = 0; z < 4; z++)
		refs[z] = put_leaf(t, z, 0, 0, NULL);
	put_freemap(t, refs, 4);
	for (long n = 0; err; n++) {
		reopen(t);
		(void)alloc_with_scarce_memory(t, &data_off);
		assert_int_equal(offset_of(data_off), 4 * GIB + H2_SEGMENT);
		scarce_left = n;
		err = flush(t);
		scarce_left = -1;
		assert_true(err == 0 || err == -ENOMEM);
	}
	get_leaf(t, 4, &leaf);
	assert_int_equal(h2_freemap_state(leaf.records, H2_SEGMENT), H2_GRANULE_ALLOCATED);
	assert_int_equal(t->reports, 0);
}

static void flush__passes_errors_on(void **state)
{
	struct test *t = *state;
	struct h2_blockref refs[4];

	make(t, 8 * GIB);
	for (unsigned z = 0; z < 4; z++)
		refs[z] = put_leaf(t, z, 0, 0, NULL);
	put_freemap(t, refs, 4);
	for (unsigned n = 1; n <= 2; n++) { /* the leaf, the node */
		reopen(t);
		(void)alloc(t, H2_BLOCKREF_DATA, 16);
		t->fail_write = n;
		assert_int_equal(flush(t), -EIO);
		t->fail_write = 0;
	}
	reopen(t);
	(void)alloc(t, H2_BLOCKREF_DATA, 16);
	assert_int_equal(flush(t), 0);
}

struct worker {
	pthread_t thread;
	struct h2_space *space;
	unsigned type;
	uint64_t blocks[500];
	int errors;
};

static void *allocate(void *user)
{
	struct worker *w = user;

	for (size_t i = 0; i < LENGTH_OF(w->blocks); i++) {
		unsigned radix = w->type == H2_BLOCKREF_DATA ? 10 + (unsigned)i % 7 : 10;

		w->errors += h2_space_alloc(w->space, w->type, radix, &w->blocks[i]) != 0;
		if (i % 50 == 49)
			h2_space_begin_group(w->space);
		if (i % 7 == 3)
			w->errors += !h2_space_has(w->space, 1, 1);
	}
	return NULL;
}

static void threads__get_different_blocks(void **state)
{
	struct test *t = *state;
	struct worker workers[4];
	uint8_t *used = unit_alloc(256 * MIB / KIB);

	make(t, 256 * MIB);
	for (unsigned i = 0; i < LENGTH_OF(workers); i++) {
		workers[i] = (struct worker){.space = t->space, .type = 1 + (i + 2) % 4};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, allocate, &workers[i]),
				 0);
	}
	for (unsigned i = 0; i < LENGTH_OF(workers); i++) {
		assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
		assert_int_equal(workers[i].errors, 0);
		for (size_t b = 0; b < LENGTH_OF(workers[i].blocks); b++) {
			uint64_t data_off = workers[i].blocks[b];

			expect_legal_place(t, data_off);
			for (unsigned k = 0; k < kibs_of(data_off); k++)
				assert_int_equal(used[offset_of(data_off) / KIB + k]++, 0);
		}
	}
	free(used);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(leaf__first_allocation_gives_the_vector_of_the_spec),
		TEST(leaf__of_the_second_zone_is_the_vector_of_the_spec),
		TEST(leaf__untouched_is_the_vector_of_the_spec),
		TEST(leaf__is_made_by_the_first_allocation_only),
		TEST(alloc__gives_each_granule_of_all_volumes_once),
		TEST(alloc__in_one_go_lies_in_one_go),
		TEST(alloc__of_other_types_does_not_divide_a_file),
		TEST(alloc__packs_small_blocks),
		TEST(alloc__goes_to_a_fresh_4_kib_in_each_group),
		TEST(class__divides_segments_among_types),
		TEST(class__does_not_matter_where_space_is_tight),
		TEST(class__returns_to_0_with_the_last_block),
		TEST(rotation__goes_through_eight_sets),
		TEST(rotation__keeps_the_freemaps_of_all_header_copies),
		TEST(node__comes_with_the_leaf_of_a_fifth_zone),
		TEST(node__takes_in_its_own_range_only),
		TEST(node__of_the_third_level_goes_over_one_of_the_second),
		TEST(node__makes_room_within_a_node),
		TEST(node__lies_on_the_volume_of_its_range),
		TEST(storage__comes_back_by_the_model_with_1_copy),
		TEST(storage__comes_back_by_the_model_with_2_copies),
		TEST(storage__comes_back_by_the_model_with_3_copies),
		TEST(storage__comes_back_by_the_model_with_4_copies),
		TEST(storage__waits_for_each_header_copy),
		TEST(storage__of_before_opening_does_not_come_back),
		TEST(storage__of_a_newer_block_does_not_come_back_with_an_older_one),
		TEST(storage__that_is_shared_does_not_come_back),
		TEST(storage__that_is_shared_by_one_block_does_not_come_back),
		TEST(storage__that_is_cancelled_is_free_at_once),
		TEST(storage__of_a_small_block_comes_back_with_its_granule),
		TEST(storage__of_a_begun_granule_is_not_begun_again),
		TEST(storage__that_cannot_be_is_not_dropped),
		TEST(hostile__only_state_0_is_free),
		TEST(hostile__avail_is_not_believed),
		TEST(hostile__what_cannot_be_had_is_not_given),
		TEST(hostile__class_keeps_nothing_from_being_given),
		TEST(hostile__linear_does_not_lead_into_what_was_given),
		TEST(hostile__damaged_leaf_closes_its_zone),
		TEST(hostile__unreadable_leaf_closes_its_zone),
		TEST(hostile__leaf_that_gets_unreadable_does_not_count_any_more),
		TEST(hostile__damaged_node_closes_its_range),
		TEST(hostile__root_is_refused),
		TEST(hostile__root_with_gaps_is_sound),
		TEST(allocator_free__does_not_wrap),
		TEST(has__is_exact_for_one_kind_of_need),
		TEST(has__keeps_its_promise),
		TEST(has__counts_zones_that_were_not_read_yet),
		TEST(memory__is_bounded_on_a_large_volume),
		TEST(memory__that_runs_out_closes_no_zone),
		TEST(memory__that_runs_out_makes_no_half_of_a_leaf),
		TEST(flush__passes_errors_on),
		TEST(threads__get_different_blocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
