/*
 * The golden filesystem of MF A.7, made with the encode functions alone: every byte of a fresh
 * 64 MiB volume is known.
 */
#include "unit.h"

#include <nettle/sha2.h>

#include "check.h"
#include "format.h"

#define SIZE (64 * MIB)
#define BASE 0x1400000u
#define NOW UINT64_C(1700000000000000)

static struct h2d_volume_header header;
static struct h2d_inode inodes[3]; /* super-root, LOCAL, DATA */

static struct h2_uuid counter_uuid(uint8_t first)
{
	struct h2_uuid uuid;

	for (unsigned i = 0; i < sizeof(uuid.bytes); i++)
		uuid.bytes[i] = (uint8_t)(first + i);
	return uuid;
}

static struct h2_blockref inode_ref(unsigned i, uint8_t methods, uint8_t flags, uint64_t key)
{
	struct h2_blockref ref = {
		.type = H2_BLOCKREF_INODE,
		.methods = methods,
		.copyid = 0xff,
		.vradix = 10,
		.flags = flags,
		.key = key,
		.mirror_tid = 16,
		.data_off = (BASE + i * H2_INODE_SIZE) | 10,
	};

	assert_int_equal(h2_check_set(&ref, &inodes[i], sizeof(inodes[i])), 0);
	return ref;
}

/* MF 11.6: a PFS root; returns its reference. */
static struct h2_blockref make_pfs(unsigned i, const char *label, uint8_t first_uuid)
{
	uint64_t key = h2_name_hash(label, strlen(label));
	struct h2_inode_meta m = {
		.version = 1,
		.type = H2_OBJECT_DIRECTORY,
		.op_flags = H2_INODE_PFSROOT,
		.mode = 0755,
		.inum = 1,
		.nlinks = 1,
		.ctime = NOW,
		.mtime = NOW,
		.btime = NOW,
		.name_key = key,
		.name_len = (uint16_t)strlen(label),
		.comp_algo = H2_COMP_LZ4,
		.check_algo = H2_CHECK_XXHASH64,
		.pfs_type = H2_PFS_MASTER,
		.pfs_inum = 16,
		.pfs_clid = counter_uuid(first_uuid),
		.pfs_fsid = counter_uuid((uint8_t)(first_uuid + 0x10)),
	};

	memcpy(m.filename, label, strlen(label));
	h2_inode_encode(&m, &inodes[i]);
	return inode_ref(i, 0x30, H2_BLOCKREF_PFSROOT, key);
}

static struct h2_blockref make_super_root(void)
{
	struct h2_inode_meta m = {
		.version = 1,
		.type = H2_OBJECT_DIRECTORY,
		.mode = 0700,
		.nlinks = 2,
		.ctime = NOW,
		.mtime = NOW,
		.btime = NOW,
		.name_len = 7,
		.comp_algo = H2_COMP_AUTOZERO,
		.check_algo = H2_CHECK_XXHASH64,
		.pfs_type = H2_PFS_SUPER_ROOT,
		.pfs_clid = counter_uuid(0x10),
		.pfs_fsid = counter_uuid(0x20),
		.filename = "SUPROOT",
	};
	struct h2_blockref local = make_pfs(1, "LOCAL", 0x30);
	struct h2_blockref data = make_pfs(2, "DATA", 0x50);

	h2_inode_encode(&m, &inodes[0]);
	assert_true(data.key < local.key); /* the order in the blockset is that of the keys */
	h2_blockref_encode(&data, &inodes[0].u.blockset[0]);
	h2_blockref_encode(&local, &inodes[0].u.blockset[1]);
	return inode_ref(0, 0x31, 0, 0);
}

static int setup(void **state)
{
	struct h2_volume_header h = {
		.boot_beg = 0x400000,
		.boot_end = 0xc00000,
		.aux_beg = 0xc00000,
		.aux_end = BASE,
		.volu_size = SIZE,
		.version = 2,
		.peer_type = 3,
		.nvolumes = 1,
		.fsid = counter_uuid(0),
		.fstype = h2_fstype_uuid,
		.allocator_size = 0x2c00000,
		.allocator_free = 0x2c00000,
		.allocator_beg = 0x1400c00,
		.mirror_tid = 16,
		.freemap_tid = 16,
		.total_size = SIZE,
	};

	(void)state;
	memset(&header, 0, sizeof(header));
	memset(inodes, 0, sizeof(inodes));
	h.sroot_blockset[0] = make_super_root();
	for (unsigned i = 1; i < H2_VOLUMES_MAX; i++)
		h.volu_loff[i] = UINT64_MAX;
	h2_volume_header_encode(&h, &header);
	h2_volume_header_seal(&header);
	return 0;
}

static void add_zeros(struct sha256_ctx *ctx, uint64_t count)
{
	static const uint8_t zeros[65536];

	while (count > 0) {
		size_t part = count < sizeof(zeros) ? (size_t)count : sizeof(zeros);

		sha256_update(ctx, part, zeros);
		count -= part;
	}
}

static void expect_sha256(struct sha256_ctx *ctx, const char *hex)
{
	uint8_t digest[SHA256_DIGEST_SIZE], expected[SHA256_DIGEST_SIZE];

	assert_int_equal(unit_hex(hex, expected), sizeof(expected));
	sha256_digest(ctx, sizeof(digest), digest);
	assert_memory_equal(digest, expected, sizeof(digest));
}

static void newfs__inodes_have_the_golden_hashes(void **state)
{
	(void)state;
	assert_int_equal(h2_xxh64(&inodes[0], 1024), UINT64_C(0xcc2e72838cdc2c64));
	assert_int_equal(h2_xxh64(&inodes[1], 1024), UINT64_C(0x8960f72786a54b3e));
	assert_int_equal(h2_xxh64(&inodes[2], 1024), UINT64_C(0xd0e95b221766f06f));
}

static void newfs__inodes_have_the_golden_sha256(void **state)
{
	struct sha256_ctx ctx;

	(void)state;
	sha256_init(&ctx);
	sha256_update(&ctx, sizeof(inodes), (const uint8_t *)inodes);
	expect_sha256(&ctx, "26cc8cf951faf3f8ded5c06f3a2225c5d2ee818490b66e59f507cf90474d922b");
}

static void newfs__super_root_blockref_has_the_golden_bytes(void **state)
{
	uint8_t expected[H2_BLOCKREF_SIZE] = {0};

	(void)state;
	unit_hex("01 31 ff 00 0a 00 00 00  00 00 00 00 00 00 00 00"
		 "10 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00"
		 "0a 00 40 01 00 00 00 00  00 00 00 00 00 00 00 00"
		 "00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00"
		 "64 2c dc 8c 83 72 2e cc  00 00 00 00 00 00 00 00",
		 expected);
	assert_memory_equal((const uint8_t *)&header + 0x200, expected, sizeof(expected));
}

static void newfs__header_has_the_golden_crcs(void **state)
{
	(void)state;
	assert_int_equal(le32_get(header.icrc_sects[6]), 0x46dfb824);
	assert_int_equal(le32_get(header.icrc_sects[7]), 0x9bba542a);
	assert_int_equal(le32_get(header.icrc_volheader), 0x46d671d2);
	assert_int_equal(h2_volume_header_check(&header, NULL), H2_HEADER_GOOD);
}

static void newfs__header_has_the_golden_sha256(void **state)
{
	struct sha256_ctx ctx;

	(void)state;
	sha256_init(&ctx);
	sha256_update(&ctx, sizeof(header), (const uint8_t *)&header);
	expect_sha256(&ctx, "e35b1c3cae09fdec9e1e666af95cb052d8bcfe661ac99abee846e2e40fd57bda");
}

static void newfs__image_has_the_golden_sha256(void **state)
{
	struct sha256_ctx ctx;

	(void)state;
	sha256_init(&ctx);
	sha256_update(&ctx, sizeof(header), (const uint8_t *)&header);
	add_zeros(&ctx, BASE - sizeof(header));
	sha256_update(&ctx, sizeof(inodes), (const uint8_t *)inodes);
	add_zeros(&ctx, SIZE - BASE - sizeof(inodes));
	expect_sha256(&ctx, "63cd7b3bc5428151a91dca52710effe61ba7b0dea6d3b7ca1d0ee4a0a959ab6e");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(newfs__inodes_have_the_golden_hashes, setup),
		cmocka_unit_test_setup(newfs__inodes_have_the_golden_sha256, setup),
		cmocka_unit_test_setup(newfs__super_root_blockref_has_the_golden_bytes, setup),
		cmocka_unit_test_setup(newfs__header_has_the_golden_crcs, setup),
		cmocka_unit_test_setup(newfs__header_has_the_golden_sha256, setup),
		cmocka_unit_test_setup(newfs__image_has_the_golden_sha256, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
