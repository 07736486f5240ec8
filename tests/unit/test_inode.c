/* Inodes, format/inode.c: media order, and the bounds of MF 13.4. */
#include "unit.h"

#include "format.h"

static struct h2_inode_meta sound(void)
{
	return (struct h2_inode_meta){
		.version = 1,
		.type = H2_OBJECT_FILE,
		.mode = 0644,
		.inum = 1024,
		.nlinks = 1,
		.iparent = 1,
		.name_key = 1024,
		.name_len = 18,
	};
}

static struct h2_inode_meta sound_root(uint64_t inum)
{
	struct h2_inode_meta m = sound();

	m.type = H2_OBJECT_DIRECTORY;
	m.inum = inum;
	if (inum == H2_INUM_ROOT)
		m.op_flags = H2_INODE_PFSROOT;
	return m;
}

static void expect_at(const struct h2_inode_meta *m, enum h2_inode_place place, uint64_t key,
		      bool good)
{
	struct h2_problem problem = {0};
	bool verdict = h2_inode_verify(m, place, key, &problem);

	if (verdict != good)
		print_error("type %u op_flags %#x inum %#llx size %#llx in place %d: %s (%s)\n",
			    m->type, m->op_flags, (unsigned long long)m->inum,
			    (unsigned long long)m->size, (int)place,
			    verdict ? "accepted" : "rejected", verdict ? "" : problem.member);
	assert_int_equal(verdict, good);
	if (!verdict) {
		assert_non_null(problem.member);
		assert_non_null(problem.expected);
	}
}

static void expect(const struct h2_inode_meta *m, bool good)
{
	expect_at(m, H2_PLACE_INDEX, m->inum, good);
}

static void inode__all_members_survive_encoding(void **state)
{
	struct h2d_inode d, again;
	struct h2_inode_meta m;

	(void)state;
	/* Each byte differs: a member in the wrong place cannot hide. */
	unit_noise((uint8_t *)&d, sizeof(d), 42);
	h2_inode_decode(&d, &m);
	memset(&again, 0, sizeof(again));
	h2_inode_encode(&m, &again);
	assert_int_equal(le64_get(again.ctime), le64_get(d.ctime));
	assert_int_equal(le64_get(again.mtime), le64_get(d.mtime));
	assert_int_equal(le64_get(again.atime), le64_get(d.atime));
	assert_int_equal(le64_get(again.btime), le64_get(d.btime));
	assert_memory_equal(again.uid.bytes + 12, d.uid.bytes + 12, 4);
	assert_memory_equal(again.gid.bytes + 12, d.gid.bytes + 12, 4);
	assert_memory_equal(&again.type, &d.type, 0x84 - 0x50);
	assert_int_equal(again.check_algo, d.check_algo);
	assert_memory_equal(&again.pfs_nmasters, &d.pfs_nmasters, 0xb8 - 0x86);
	assert_int_equal(le64_get(again.inode_quota), le64_get(d.inode_quota));
	assert_int_equal(le64_get(again.pfs_lsnap_tid), le64_get(d.pfs_lsnap_tid));
	assert_memory_equal(again.filename, d.filename, 256);
}

static void inode__members_are_where_the_format_puts_them(void **state)
{
	struct h2_inode_meta m;
	struct h2d_inode d;
	uint8_t *bytes = (uint8_t *)&d;

	(void)state;
	memset(&d, 0, sizeof(d));
	bytes[0x000] = 1;
	bytes[0x03c] = 0xe8; /* MF 6.3 */
	bytes[0x03d] = 0x03;
	bytes[0x04c] = 20;
	bytes[0x050] = 2;
	bytes[0x051] = 1;
	bytes[0x054] = 0xa4;
	bytes[0x055] = 0x01;
	bytes[0x058] = 9;
	bytes[0x060] = 77;
	bytes[0x080] = 18;
	bytes[0x083] = 0x63;
	bytes[0x0d0] = 5;
	bytes[0x100] = 'x';
	h2_inode_decode(&d, &m);
	assert_int_equal(m.version, 1);
	assert_int_equal(m.uid, 1000);
	assert_int_equal(m.gid, 20);
	assert_int_equal(m.type, H2_OBJECT_FILE);
	assert_int_equal(m.op_flags, H2_INODE_DIRECTDATA);
	assert_int_equal(m.mode, 0644);
	assert_int_equal(m.inum, 9);
	assert_int_equal(m.size, 77);
	assert_int_equal(m.name_len, 18);
	assert_int_equal(m.comp_algo, 0x63);
	assert_int_equal(m.pfs_lsnap_tid, 5);
	assert_int_equal(m.filename[0], 'x');
}

static void inode__what_is_decoded_is_encoded_again_and_the_union_stays(void **state)
{
	struct h2_inode_meta m;
	struct h2d_inode d, again;

	(void)state;
	unit_noise((uint8_t *)&d, sizeof(d), 7);
	/* Ids fill four bytes of sixteen. */
	memset(&d.uid, 0, sizeof(d.uid) - 4);
	memset(&d.gid, 0, sizeof(d.gid) - 4);
	unit_noise((uint8_t *)&again, sizeof(again), 8);
	h2_inode_decode(&d, &m);
	h2_inode_encode(&m, &again);
	assert_memory_equal(&d, &again, offsetof(struct h2d_inode, u));
	assert_memory_not_equal(&d.u, &again.u, sizeof(d.u));
}

static void inode__ids_are_written_with_zeros_before_them(void **state)
{
	static const uint8_t expected[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xe8, 3, 0, 0};
	struct h2_inode_meta m = sound();
	struct h2d_inode d;

	(void)state;
	memset(&d, 0xff, sizeof(d));
	m.uid = m.gid = 1000;
	h2_inode_encode(&m, &d);
	assert_memory_equal(&d.uid, expected, 16);
	assert_memory_equal(&d.gid, expected, 16);
}

/* ---- MF 13.4 ---- */

static void verify__accepts_sound_inodes(void **state)
{
	struct h2_inode_meta m = sound();

	(void)state;
	expect(&m, true);
	expect_at(&m, H2_PLACE_LEGACY, H2_KEY_VISIBLE, true);
	m = sound_root(H2_INUM_ROOT);
	expect_at(&m, H2_PLACE_PFS_ROOT, H2_KEY_VISIBLE, true);
	m = sound_root(H2_INUM_SUPER_ROOT);
	expect_at(&m, H2_PLACE_SUPER_ROOT, 0, true);
}

static void verify__version_is_1(void **state)
{
	static const uint16_t bad[] = {0, 2, 0x0100, 0xffff};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(bad); i++) {
		struct h2_inode_meta m = sound();

		m.version = bad[i];
		expect(&m, false);
	}
}

static void verify__type_is_usable(void **state)
{
	static const unsigned good = 1u << 1 | 1u << 2 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 7 |
				     1u << 9;

	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		struct h2_inode_meta m = sound();

		m.type = (uint8_t)type;
		expect(&m, type < 32 && good >> type & 1);
	}
}

static void verify__roots_are_directories(void **state)
{
	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		struct h2_inode_meta pfs = sound_root(H2_INUM_ROOT);
		struct h2_inode_meta super = sound_root(H2_INUM_SUPER_ROOT);

		pfs.type = super.type = (uint8_t)type;
		expect_at(&pfs, H2_PLACE_PFS_ROOT, 0, type == H2_OBJECT_DIRECTORY);
		expect_at(&super, H2_PLACE_SUPER_ROOT, 0, type == H2_OBJECT_DIRECTORY);
	}
}

static void verify__inum_is_the_key_in_the_index(void **state)
{
	struct h2_inode_meta m = sound();

	(void)state;
	expect_at(&m, H2_PLACE_INDEX, 1024, true);
	expect_at(&m, H2_PLACE_INDEX, 1025, false);
	expect_at(&m, H2_PLACE_INDEX, 0, false);
	/* A legacy inode's key is the hash of its name. */
	expect_at(&m, H2_PLACE_LEGACY, UINT64_C(0x8000000000008001), true);
}

static void verify__inum_has_bit_63_clear(void **state)
{
	static const struct {
		uint64_t inum;
		bool good;
	} rows[] = {
		{INT64_MAX, true},
		{H2_KEY_VISIBLE, false},
		{H2_KEY_VISIBLE | 1024, false},
		{UINT64_MAX, false},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		struct h2_inode_meta m = sound();

		m.inum = rows[i].inum;
		expect(&m, rows[i].good);
		expect_at(&m, H2_PLACE_LEGACY, H2_KEY_VISIBLE, rows[i].good);
	}
}

static void verify__inum_of_roots(void **state)
{
	static const uint64_t others[] = {2, 1024, H2_KEY_VISIBLE, UINT64_MAX};
	struct h2_inode_meta m;

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(others); i++) {
		m = sound_root(others[i]);
		m.op_flags = 0;
		expect_at(&m, H2_PLACE_PFS_ROOT, 0, false);
		expect_at(&m, H2_PLACE_SUPER_ROOT, 0, false);
	}
	m = sound_root(H2_INUM_SUPER_ROOT);
	expect_at(&m, H2_PLACE_PFS_ROOT, 0, false);
	m = sound_root(H2_INUM_ROOT);
	m.op_flags = 0;
	expect_at(&m, H2_PLACE_SUPER_ROOT, 0, false);
}

/* MF 1.5, 7.5: number 1 always means the PFS root, 0 the super-root; neither is in an index. */
static void verify__inum_0_and_1_are_in_no_index(void **state)
{
	(void)state;
	for (uint64_t inum = 0; inum <= 1; inum++) {
		struct h2_inode_meta m = sound();

		m.inum = inum;
		expect(&m, false);
		expect_at(&m, H2_PLACE_LEGACY, H2_KEY_VISIBLE, false);
	}
}

static void verify__directdata_on_files_and_symlinks_only(void **state)
{
	(void)state;
	for (unsigned type = 1; type <= 9; type++) {
		struct h2_inode_meta m = sound();

		if (type == 3 || type == 8)
			continue;
		m.type = (uint8_t)type;
		m.op_flags = H2_INODE_DIRECTDATA;
		expect(&m, type == H2_OBJECT_FILE || type == H2_OBJECT_SYMLINK);
	}
}

static void verify__super_root_has_no_directdata(void **state)
{
	struct h2_inode_meta m = sound_root(H2_INUM_SUPER_ROOT);

	(void)state;
	m.op_flags = H2_INODE_DIRECTDATA;
	expect_at(&m, H2_PLACE_SUPER_ROOT, 0, false);
	m = sound_root(H2_INUM_ROOT);
	m.op_flags |= H2_INODE_DIRECTDATA;
	expect_at(&m, H2_PLACE_PFS_ROOT, 0, false);
}

static void verify__directdata_holds_up_to_512_bytes(void **state)
{
	static const struct {
		uint64_t size;
		bool good;
	} rows[] = {
		{0, true},      {1, true},          {512, true},         {513, false},
		{65536, false}, {INT64_MAX, false}, {UINT64_MAX, false},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		struct h2_inode_meta m = sound();

		m.op_flags = H2_INODE_DIRECTDATA;
		m.size = rows[i].size;
		expect(&m, rows[i].good);
		m.type = H2_OBJECT_SYMLINK;
		expect(&m, rows[i].good);
		/* Without the flag a small file is normal too (MF 6.2). */
		m = sound();
		m.size = rows[i].size;
		expect(&m, rows[i].size <= INT64_MAX);
	}
}

static void verify__size_of_directories_and_special_files_is_ignored(void **state)
{
	struct h2_inode_meta m = sound();

	(void)state;
	m.type = H2_OBJECT_DIRECTORY;
	m.size = UINT64_MAX;
	expect(&m, true);
	m.type = H2_OBJECT_FIFO;
	expect(&m, true);
}

static void verify__pfsroot_flag_below_the_super_root_only(void **state)
{
	struct h2_inode_meta m = sound();

	(void)state;
	m.type = H2_OBJECT_DIRECTORY;
	m.op_flags = H2_INODE_PFSROOT;
	expect(&m, false);
	expect_at(&m, H2_PLACE_LEGACY, H2_KEY_VISIBLE, false);
	m = sound_root(H2_INUM_SUPER_ROOT);
	m.op_flags = H2_INODE_PFSROOT;
	expect_at(&m, H2_PLACE_SUPER_ROOT, 0, false);
	/* A PFS root is one by its place, with or without the flag (MF 3.3). */
	m = sound_root(H2_INUM_ROOT);
	expect_at(&m, H2_PLACE_PFS_ROOT, 0, true);
	m.op_flags = 0;
	expect_at(&m, H2_PLACE_PFS_ROOT, 0, true);
}

static void verify__labels_have_1_to_255_bytes(void **state)
{
	static const struct {
		uint16_t len;
		bool good;
	} rows[] = {{0, false}, {1, true}, {255, true}, {256, false}, {257, false}, {65535, false}};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		struct h2_inode_meta m = sound_root(H2_INUM_ROOT);

		m.name_len = rows[i].len;
		expect_at(&m, H2_PLACE_PFS_ROOT, 0, rows[i].good);
		m = sound();
		m.name_len = rows[i].len;
		expect_at(&m, H2_PLACE_LEGACY, H2_KEY_VISIBLE, rows[i].good);
	}
}

static void verify__advisory_members_are_not_judged(void **state)
{
	struct h2_inode_meta m = sound();

	(void)state;
	m.mode = UINT32_MAX;
	m.nlinks = UINT64_MAX;
	m.iparent = UINT64_MAX;
	m.comp_algo = 0xff;
	m.check_algo = 0xff;
	m.uflags = UINT32_MAX;
	m.mtime = UINT64_MAX;
	expect(&m, true);
	m.nlinks = 0;
	expect(&m, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inode__all_members_survive_encoding),
		cmocka_unit_test(inode__members_are_where_the_format_puts_them),
		cmocka_unit_test(inode__what_is_decoded_is_encoded_again_and_the_union_stays),
		cmocka_unit_test(inode__ids_are_written_with_zeros_before_them),
		cmocka_unit_test(verify__accepts_sound_inodes),
		cmocka_unit_test(verify__version_is_1),
		cmocka_unit_test(verify__type_is_usable),
		cmocka_unit_test(verify__roots_are_directories),
		cmocka_unit_test(verify__inum_is_the_key_in_the_index),
		cmocka_unit_test(verify__inum_has_bit_63_clear),
		cmocka_unit_test(verify__inum_of_roots),
		cmocka_unit_test(verify__inum_0_and_1_are_in_no_index),
		cmocka_unit_test(verify__directdata_on_files_and_symlinks_only),
		cmocka_unit_test(verify__super_root_has_no_directdata),
		cmocka_unit_test(verify__directdata_holds_up_to_512_bytes),
		cmocka_unit_test(verify__size_of_directories_and_special_files_is_ignored),
		cmocka_unit_test(verify__pfsroot_flag_below_the_super_root_only),
		cmocka_unit_test(verify__labels_have_1_to_255_bytes),
		cmocka_unit_test(verify__advisory_members_are_not_judged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
