/* Blockrefs, format/blockref.c: media order, and the bounds of MF 13.2 and 13.5. */
#include "unit.h"

#include "format.h"

#define TOTAL (UINT64_C(3) * GIB + 8 * MIB)
#define PLACE (UINT64_C(0x1400000)) /* a good offset for a block */

/* ---- media order ---- */

static void decode_vector(const char *hex, struct h2_blockref *ref)
{
	uint8_t bytes[H2_BLOCKREF_SIZE] = {0};
	struct h2d_blockref d, back;

	unit_hex(hex, bytes);
	memcpy(&d, bytes, sizeof(d));
	h2_blockref_decode(&d, ref);
	memset(&back, 0xee, sizeof(back));
	h2_blockref_encode(ref, &back);
	assert_memory_equal(&back, bytes, sizeof(back));
}

/* MF A.5. */
static void blockref__matches_the_dirent_test_vector(void **state)
{
	struct h2_problem problem;
	struct h2_blockref ref;

	(void)state;
	decode_vector("04 30 00 00 00 00 00 00  00 80 58 c9 c5 b8 96 e5"
		      "11 00 00 00 00 00 00 00  06 00 00 00 00 00 00 00"
		      "00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00"
		      "01 04 00 00 00 00 00 00  0f 00 02 00 00 00 00 00"
		      "61 2e 63 2e 62 2e 68 2e  66 2e 65 2e 64 2e 67 00",
		      &ref);
	assert_int_equal(ref.type, H2_BLOCKREF_DIRENT);
	assert_int_equal(ref.methods, 0x30);
	assert_int_equal(ref.keybits, 0);
	assert_int_equal(ref.key, UINT64_C(0xe596b8c5c9588000));
	assert_int_equal(ref.mirror_tid, 0x11);
	assert_int_equal(ref.modify_tid, 6);
	assert_int_equal(ref.data_off, 0);
	assert_int_equal(ref.dirent_inum, 0x401);
	assert_int_equal(ref.dirent_namlen, 15);
	assert_int_equal(ref.dirent_type, H2_OBJECT_FILE);
	assert_memory_equal(ref.check, "a.c.b.h.f.e.d.g\0", 16);
	assert_true(h2_blockref_verify(&ref, H2_TREE_DIRECTORY, TOTAL, &problem));
}

static void blockref__matches_the_freemap_leaf_test_vector(void **state)
{
	struct h2_freemap_hints hints;
	struct h2_problem problem;
	struct h2_blockref ref;

	(void)state;
	decode_vector("06 50 00 1e 00 00 00 00  00 00 00 00 00 00 00 00"
		      "11 00 00 00 00 00 00 00  0d 00 00 00 00 00 00 00"
		      "0f 00 01 00 00 00 00 00  00 00 00 00 00 00 00 00"
		      "00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00"
		      "5a 98 96 96 ff ff ff ff  00 00 80 37 00 00 00 00",
		      &ref);
	assert_int_equal(ref.type, H2_BLOCKREF_FREEMAP_LEAF);
	assert_int_equal(ref.methods, 0x50);
	assert_int_equal(ref.keybits, 30);
	assert_int_equal(ref.key, 0);
	assert_int_equal(h2_blockref_offset(&ref), 0x10000);
	assert_int_equal(h2_blockref_radix(&ref), 15);
	h2_freemap_hints_decode(&ref, &hints);
	assert_int_equal(hints.icrc32, 0x9696985a);
	assert_int_equal(hints.bigmask, UINT32_MAX);
	assert_int_equal(hints.avail, 0x37800000);
	assert_true(h2_blockref_verify(&ref, H2_TREE_FREEMAP, TOTAL, &problem));
}

static void blockref__super_root_matches_the_newfs_test_vector(void **state)
{
	struct h2_problem problem;
	struct h2_blockref ref;

	(void)state;
	decode_vector("01 31 ff 00 0a 00 00 00  00 00 00 00 00 00 00 00"
		      "10 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00"
		      "0a 00 40 01 00 00 00 00  00 00 00 00 00 00 00 00"
		      "00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00"
		      "64 2c dc 8c 83 72 2e cc  00 00 00 00 00 00 00 00",
		      &ref);
	assert_int_equal(ref.type, H2_BLOCKREF_INODE);
	assert_int_equal(ref.copyid, 0xff);
	assert_int_equal(ref.vradix, 10);
	assert_int_equal(h2_blockref_offset(&ref), 0x1400000);
	assert_true(h2_blockref_verify(&ref, H2_TREE_SUPER_ROOT_SET, 64 * MIB, &problem));
}

static void blockref__all_members_survive_encoding(void **state)
{
	/* Without what pads the structure behind its last member. */
	const size_t members = offsetof(struct h2_blockref, check) +
			       sizeof(((struct h2_blockref *)0)->check);

	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		struct h2_blockref ref = {
			.type = (uint8_t)type,
			.methods = 0x32,
			.copyid = 3,
			.keybits = 4,
			.vradix = 5,
			.flags = 6,
			.leaf_count = 0x0708,
			.key = UINT64_C(0x1112131415161718),
			.mirror_tid = UINT64_C(0x2122232425262728),
			.modify_tid = UINT64_C(0x3132333435363738),
			.data_off = UINT64_C(0x4142434445464748),
			.update_tid = UINT64_C(0x5152535455565758),
		};
		struct h2d_blockref d;
		struct h2_blockref back;

		unit_ramp(ref.check, sizeof(ref.check));
		if (type == H2_BLOCKREF_INODE || type == H2_BLOCKREF_INDIRECT) {
			ref.data_count = UINT64_C(0x6162636465666768);
			ref.inode_count = UINT64_C(0x7172737475767778);
		} else if (type == H2_BLOCKREF_DIRENT) {
			ref.dirent_inum = UINT64_C(0x6162636465666768);
			ref.dirent_namlen = 0x7172;
			ref.dirent_type = 0x73;
		}
		h2_blockref_encode(&ref, &d);
		h2_blockref_decode(&d, &back);
		assert_memory_equal(&back, &ref, members);
	}
}

static void blockref__unused_embed_bytes_are_written_as_zero_and_ignored(void **state)
{
	static const uint8_t zeros[16];
	struct h2d_blockref d;
	struct h2_blockref ref;

	(void)state;
	memset(&d, 0xff, sizeof(d));
	d.type = H2_BLOCKREF_DATA;
	h2_blockref_decode(&d, &ref);
	assert_int_equal(ref.data_count | ref.inode_count | ref.dirent_inum, 0);
	h2_blockref_encode(&ref, &d);
	assert_memory_equal(&d.embed, zeros, sizeof(zeros));
	/* A DIRENT's five bytes behind the type. */
	memset(&d, 0xff, sizeof(d));
	d.type = H2_BLOCKREF_DIRENT;
	h2_blockref_decode(&d, &ref);
	h2_blockref_encode(&ref, &d);
	assert_memory_equal(d.embed.dirent.reserved, zeros, 5);
}

/* ---- MF 13.2 ---- */

static struct h2_blockref sound(unsigned type)
{
	struct h2_blockref ref = {.type = (uint8_t)type, .methods = 0x30};

	switch (type) {
	case H2_BLOCKREF_INODE:
		ref.data_off = PLACE | 10;
		break;
	case H2_BLOCKREF_INDIRECT:
		ref.data_off = PLACE | 14;
		ref.keybits = 20;
		break;
	case H2_BLOCKREF_DATA:
		ref.data_off = PLACE | 16;
		ref.keybits = 16;
		break;
	case H2_BLOCKREF_DIRENT:
		ref.key = UINT64_C(0x8000000000008001);
		ref.dirent_inum = 1024;
		ref.dirent_namlen = 1;
		ref.check[0] = 'x';
		break;
	case H2_BLOCKREF_FREEMAP_LEAF:
		ref.methods = 0x50;
		ref.keybits = 30;
		ref.data_off = h2_freemap_data_off(1, 0, 0);
		break;
	case H2_BLOCKREF_FREEMAP_NODE:
		ref.methods = 0x50;
		ref.keybits = 38;
		ref.data_off = h2_freemap_data_off(2, 0, 0);
		break;
	default:
		ref.data_off = PLACE | 10;
		break;
	}
	return ref;
}

/* A tree that the type may be in. */
static enum h2_tree_kind home(unsigned type)
{
	switch (type) {
	case H2_BLOCKREF_INODE:
		return H2_TREE_PFS_ROOT;
	case H2_BLOCKREF_DATA:
	case H2_BLOCKREF_INDIRECT:
		return H2_TREE_FILE;
	case H2_BLOCKREF_DIRENT:
		return H2_TREE_DIRECTORY;
	default:
		return H2_TREE_FREEMAP;
	}
}

static void expect_in(const struct h2_blockref *ref, enum h2_tree_kind kind, bool good)
{
	struct h2_problem problem = {0};
	bool verdict = h2_blockref_verify(ref, kind, TOTAL, &problem);

	if (verdict != good)
		print_error("type %u methods %#x keybits %u key %#llx data_off %#llx in tree %d: "
			    "%s (%s)\n",
			    ref->type, ref->methods, ref->keybits, (unsigned long long)ref->key,
			    (unsigned long long)ref->data_off, (int)kind,
			    verdict ? "accepted" : "rejected", verdict ? "" : problem.member);
	assert_int_equal(verdict, good);
	if (!verdict) {
		assert_non_null(problem.member);
		assert_non_null(problem.expected);
	}
}

static void expect(const struct h2_blockref *ref, bool good)
{
	expect_in(ref, home(ref->type), good);
}

static const unsigned real_types[] = {
	H2_BLOCKREF_INODE,  H2_BLOCKREF_INDIRECT,     H2_BLOCKREF_DATA,
	H2_BLOCKREF_DIRENT, H2_BLOCKREF_FREEMAP_NODE, H2_BLOCKREF_FREEMAP_LEAF,
};

static void verify__accepts_sound_blockrefs(void **state)
{
	(void)state;
	for (size_t i = 0; i < LENGTH_OF(real_types); i++) {
		struct h2_blockref ref = sound(real_types[i]);

		expect(&ref, true);
	}
}

static void verify__types_are_bound_to_their_trees(void **state)
{
	/* Bit t: type t may be there (MF 3.2, BS 6.2). */
	static const unsigned allowed[] = {
		[H2_TREE_SUPER_ROOT_SET] = 1u << 1 | 1u << 2,
		[H2_TREE_SUPER_ROOT] = 1u << 1 | 1u << 2,
		[H2_TREE_PFS_ROOT] = 1u << 1 | 1u << 2 | 1u << 4,
		[H2_TREE_DIRECTORY] = 1u << 1 | 1u << 2 | 1u << 4,
		[H2_TREE_FILE] = 1u << 2 | 1u << 3,
		[H2_TREE_FREEMAP] = 1u << 5 | 1u << 6,
	};

	(void)state;
	for (unsigned kind = 0; kind < LENGTH_OF(allowed); kind++) {
		for (unsigned type = 1; type < 256; type++) {
			struct h2_blockref ref = sound(type);

			if (type == H2_BLOCKREF_INODE && kind == H2_TREE_DIRECTORY)
				ref.key = H2_KEY_VISIBLE; /* a legacy inode */
			expect_in(&ref, (enum h2_tree_kind)kind,
				  type < 32 && allowed[kind] >> type & 1);
		}
	}
}

/* MF 13.3, "mixed halves in a PFS root", and 13.5, "bit 63 set". */
static void verify__dirents_need_the_visible_bit(void **state)
{
	struct h2_blockref ref = sound(H2_BLOCKREF_DIRENT);
	struct h2_blockref inode = sound(H2_BLOCKREF_INODE);

	(void)state;
	expect_in(&ref, H2_TREE_PFS_ROOT, true);
	ref.key &= ~H2_KEY_VISIBLE;
	expect_in(&ref, H2_TREE_PFS_ROOT, false);
	expect_in(&ref, H2_TREE_DIRECTORY, false);
	inode.key = 1024;
	expect_in(&inode, H2_TREE_PFS_ROOT, true);
	expect_in(&inode, H2_TREE_DIRECTORY, false);
}

/* MF 3.4 and 13.2, all 64 codes for each type. */
static void verify__size_codes_per_type(void **state)
{
	static const struct {
		unsigned type, min, max;
	} rows[] = {
		{H2_BLOCKREF_INODE, 10, 10},
		{H2_BLOCKREF_INDIRECT, 10, 16},
		{H2_BLOCKREF_DATA, 10, 16},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		for (unsigned radix = 0; radix < 64; radix++) {
			struct h2_blockref ref = sound(rows[i].type);

			ref.data_off = radix ? PLACE | radix : 0;
			expect(&ref, radix >= rows[i].min && radix <= rows[i].max);
		}
	}
}

static void verify__size_codes_of_freemap_blocks_are_15(void **state)
{
	(void)state;
	for (unsigned type = H2_BLOCKREF_FREEMAP_NODE; type <= H2_BLOCKREF_FREEMAP_LEAF; type++) {
		for (unsigned radix = 0; radix < 64; radix++) {
			struct h2_blockref ref = sound(type);

			ref.data_off = (ref.data_off & ~UINT64_C(63)) | radix;
			expect(&ref, radix == 15);
		}
	}
}

static void verify__size_codes_of_dirents_go_with_the_name(void **state)
{
	(void)state;
	for (unsigned radix = 0; radix < 64; radix++) {
		struct h2_blockref ref = sound(H2_BLOCKREF_DIRENT);

		ref.data_off = radix ? PLACE | radix : 0;
		ref.dirent_namlen = radix ? 65 : 64;
		expect(&ref, radix == 0 || radix == 10);
	}
}

static void verify__size_code_0_with_an_offset_is_rejected(void **state)
{
	struct h2_blockref ref = sound(H2_BLOCKREF_DIRENT);

	(void)state;
	ref.data_off = PLACE;
	expect(&ref, false);
	ref.data_off = 64;
	expect(&ref, false);
	for (size_t i = 0; i < LENGTH_OF(real_types); i++) {
		ref = sound(real_types[i]);
		if (ref.type == H2_BLOCKREF_DIRENT)
			continue;
		ref.data_off &= ~UINT64_C(63);
		expect(&ref, false);
	}
}

static void verify__offsets_lie_in_the_filesystem_and_outside_reserved_segments(void **state)
{
	static const struct {
		uint64_t data_off;
		bool good;
	} rows[] = {
		{0 | 10, false},
		{(65536 - 1024) | 10, false},
		{65536 | 10, false}, /* reserved for others than freemap blocks */
		{(4 * MIB - 1024) | 10, false},
		{(4 * MIB) | 10, true},
		{(GIB - 1024) | 10, true},
		{GIB | 10, false},
		{(GIB + 4 * MIB - 1024) | 10, false},
		{(GIB + 4 * MIB) | 10, true},
		{(GIB + 4 * MIB - 65536) | 16, false},
		{(GIB - 65536) | 16, true},
		{(2 * GIB + 2 * MIB) | 14, false},
		{(TOTAL - 1024) | 10, true},
		{TOTAL | 10, false},
		{(TOTAL + 8 * MIB) | 10, false},
		{(TOTAL - 65536) | 16, true},
		{(TOTAL - 32768) | 16, false},
		{(UINT64_C(1) << 45) | 10, false},
		{(UINT64_C(1) << 63) | 10, false},
		{(UINT64_MAX - 65535) | 16, false},
		{(UINT64_MAX - 1023) | 10, false},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		struct h2_blockref ref = sound(H2_BLOCKREF_DATA);

		ref.data_off = rows[i].data_off;
		expect(&ref, rows[i].good);
	}
}

static void verify__sum_of_offset_and_size_does_not_overflow(void **state)
{
	struct h2_blockref ref = sound(H2_BLOCKREF_DATA);
	struct h2_problem problem;

	(void)state;
	ref.data_off = (UINT64_MAX - 65535) | 16;
	assert_false(h2_blockref_verify(&ref, H2_TREE_FILE, UINT64_MAX, &problem));
	ref.data_off = (UINT64_MAX - 1023) | 10;
	assert_false(h2_blockref_verify(&ref, H2_TREE_FILE, UINT64_MAX, &problem));
	ref.data_off = PLACE | 10;
	assert_false(h2_blockref_verify(&ref, H2_TREE_FILE, 0, &problem));
}

/* MF 3.4: 1 KiB alignment within one 16 KiB unit below 16 KiB, natural alignment from there on. */
static void verify__alignment(void **state)
{
	static const struct {
		uint64_t add;
		unsigned radix;
		bool good;
	} rows[] = {
		{64, 10, false},    {512, 10, false},   {1024, 10, true},
		{15360, 10, true},  {1024, 11, true},   {14336, 11, true},
		{15360, 11, false}, {0x1400, 12, true}, /* MF 3.4's example */
		{12288, 12, true},  {13312, 12, false}, {1024, 13, true},
		{8192, 13, true},   {9216, 13, false},  {1024, 14, false},
		{8192, 14, false},  {16384, 14, true},  {49152, 14, true},
		{16384, 15, false}, {32768, 15, true},  {16384, 16, false},
		{32768, 16, false}, {65536, 16, true},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		struct h2_blockref ref = sound(H2_BLOCKREF_DATA);

		ref.data_off = (PLACE + rows[i].add) | rows[i].radix;
		expect(&ref, rows[i].good);
	}
}

static void verify__keybits_per_type(void **state)
{
	(void)state;
	for (size_t i = 0; i < LENGTH_OF(real_types); i++) {
		for (unsigned bits = 0; bits < 256; bits++) {
			struct h2_blockref ref = sound(real_types[i]);
			bool good;

			ref.keybits = (uint8_t)bits;
			switch (ref.type) {
			case H2_BLOCKREF_INDIRECT:
				good = bits >= 1 && bits <= 63;
				break;
			case H2_BLOCKREF_DATA:
				good = bits == 16;
				break;
			case H2_BLOCKREF_FREEMAP_LEAF:
				good = bits == 30;
				break;
			case H2_BLOCKREF_FREEMAP_NODE:
				good = bits == 38 || bits == 46 || bits == 54 || bits == 62;
				if (good)
					ref.data_off = h2_freemap_data_off(h2_freemap_level(bits),
									   0, 0);
				break;
			default:
				good = bits == 0;
				break;
			}
			expect(&ref, good);
		}
	}
}

static void verify__keys_are_multiples_of_their_range(void **state)
{
	struct h2_blockref ref = sound(H2_BLOCKREF_DATA);

	(void)state;
	ref.key = 3 * 65536;
	expect(&ref, true);
	ref.key = UINT64_C(0x7fffffffffff0000);
	expect(&ref, true);
	for (unsigned bit = 0; bit < 16; bit++) {
		ref.key = 3 * 65536 | 1u << bit;
		expect(&ref, false);
	}
	ref = sound(H2_BLOCKREF_INDIRECT);
	for (unsigned bits = 1; bits <= 63; bits++) {
		ref.keybits = (uint8_t)bits;
		ref.key = UINT64_C(1) << 63;
		expect(&ref, true);
		ref.key = UINT64_C(1) << (bits - 1);
		expect(&ref, false);
		ref.key = 1;
		expect(&ref, false);
	}
}

static void verify__freemap_blocks_lie_in_the_slots_of_their_level_and_key(void **state)
{
	(void)state;
	for (unsigned slot = 0; slot < 64; slot++) {
		struct h2_blockref ref = sound(H2_BLOCKREF_FREEMAP_LEAF);

		/* MF 10.2: level 1 of set s has slot 1 + 5s, level 2 has the next. */
		ref.data_off = slot * 65536u | 15;
		expect(&ref, slot >= 1 && slot <= 36 && slot % 5 == 1);
		ref = sound(H2_BLOCKREF_FREEMAP_NODE);
		ref.data_off = slot * 65536u | 15;
		expect(&ref, slot >= 2 && slot <= 37 && slot % 5 == 2);
	}
}

static void verify__freemap_blocks_of_other_zones_are_rejected(void **state)
{
	struct h2_blockref ref = sound(H2_BLOCKREF_FREEMAP_LEAF);

	(void)state;
	ref.key = GIB;
	expect(&ref, false); /* still in zone 0 */
	ref.data_off = h2_freemap_data_off(1, GIB, 7);
	expect(&ref, true);
	ref.key = 4 * GIB; /* behind the end */
	ref.data_off = h2_freemap_data_off(1, 4 * GIB, 0);
	expect(&ref, false);
	ref = sound(H2_BLOCKREF_FREEMAP_LEAF);
	ref.key = GIB / 2;
	expect(&ref, false);
}

static void verify__check_algorithms_are_known(void **state)
{
	(void)state;
	for (size_t i = 0; i < LENGTH_OF(real_types); i++) {
		for (unsigned algo = 0; algo < 16; algo++) {
			struct h2_blockref ref = sound(real_types[i]);

			ref.methods = (uint8_t)(algo << 4);
			/* A name in the blockref has no check code (MF 15, 2). */
			expect(&ref, algo <= 5 || ref.type == H2_BLOCKREF_DIRENT);
		}
	}
}

static void verify__compression_counts_on_data_only(void **state)
{
	(void)state;
	for (size_t i = 0; i < LENGTH_OF(real_types); i++) {
		for (unsigned comp = 0; comp < 16; comp++) {
			struct h2_blockref ref = sound(real_types[i]);

			ref.methods = (uint8_t)((ref.methods & 0xf0) | comp);
			expect(&ref, comp <= 3 || ref.type != H2_BLOCKREF_DATA);
		}
	}
}

/* ---- MF 13.5 ---- */

static void verify__name_lengths_of_dirents(void **state)
{
	static const struct {
		uint16_t len;
		bool block, good;
	} rows[] = {
		{0, false, false},    {1, false, true},    {64, false, true},
		{65, false, false},   {0, true, false},    {1, true, false},
		{64, true, false},    {65, true, true},    {255, true, true},
		{256, true, false},   {1024, true, false}, {1025, true, false},
		{65535, true, false}, {255, false, false}, {65535, false, false},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		struct h2_blockref ref = sound(H2_BLOCKREF_DIRENT);

		ref.dirent_namlen = rows[i].len;
		ref.data_off = rows[i].block ? PLACE | 10 : 0;
		expect(&ref, rows[i].good);
	}
}

static void verify__inode_numbers_of_dirents(void **state)
{
	static const struct {
		uint64_t inum;
		bool good;
	} rows[] = {
		{0, false},          {1024, true}, {INT64_MAX, true}, {H2_KEY_VISIBLE, false},
		{UINT64_MAX, false},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		struct h2_blockref ref = sound(H2_BLOCKREF_DIRENT);

		ref.dirent_inum = rows[i].inum;
		expect(&ref, rows[i].good);
	}
}

static void verify__of_noise_never_crashes(void **state)
{
	struct h2_problem problem;
	struct h2d_blockref d;
	struct h2_blockref ref;

	(void)state;
	for (uint64_t seed = 0; seed < 20000; seed++) {
		unit_noise((uint8_t *)&d, sizeof(d), seed);
		d.type = (uint8_t)(seed % 9);
		h2_blockref_decode(&d, &ref);
		for (unsigned kind = 0; kind <= H2_TREE_FREEMAP; kind++)
			(void)h2_blockref_verify(&ref, (enum h2_tree_kind)kind, TOTAL, &problem);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blockref__matches_the_dirent_test_vector),
		cmocka_unit_test(blockref__matches_the_freemap_leaf_test_vector),
		cmocka_unit_test(blockref__super_root_matches_the_newfs_test_vector),
		cmocka_unit_test(blockref__all_members_survive_encoding),
		cmocka_unit_test(blockref__unused_embed_bytes_are_written_as_zero_and_ignored),
		cmocka_unit_test(verify__accepts_sound_blockrefs),
		cmocka_unit_test(verify__types_are_bound_to_their_trees),
		cmocka_unit_test(verify__dirents_need_the_visible_bit),
		cmocka_unit_test(verify__size_codes_per_type),
		cmocka_unit_test(verify__size_codes_of_freemap_blocks_are_15),
		cmocka_unit_test(verify__size_codes_of_dirents_go_with_the_name),
		cmocka_unit_test(verify__size_code_0_with_an_offset_is_rejected),
		cmocka_unit_test(
			verify__offsets_lie_in_the_filesystem_and_outside_reserved_segments),
		cmocka_unit_test(verify__sum_of_offset_and_size_does_not_overflow),
		cmocka_unit_test(verify__alignment),
		cmocka_unit_test(verify__keybits_per_type),
		cmocka_unit_test(verify__keys_are_multiples_of_their_range),
		cmocka_unit_test(verify__freemap_blocks_lie_in_the_slots_of_their_level_and_key),
		cmocka_unit_test(verify__freemap_blocks_of_other_zones_are_rejected),
		cmocka_unit_test(verify__check_algorithms_are_known),
		cmocka_unit_test(verify__compression_counts_on_data_only),
		cmocka_unit_test(verify__name_lengths_of_dirents),
		cmocka_unit_test(verify__inode_numbers_of_dirents),
		cmocka_unit_test(verify__of_noise_never_crashes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
