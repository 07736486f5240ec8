/*
 * Make a large volume for measurements: DIRS directories of FILES empty files each, written in one
 * go to a sparse image. Sound but for the freemap, which is left empty: reading does not need it.
 *
 *   make_volume IMAGE DIRS FILES
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "format.h"

#define FANOUT 128u /* references in an indirect block of 16 KiB */
#define TID 17u
#define VOLUME_SIZE (UINT64_C(64) << 30)
#define BASE (UINT64_C(256) << 20)
#define TIME_US UINT64_C(1700000000000000)

static int fd;
static uint64_t next_free = BASE + H2_SEGMENT;

struct refs { /* a growing, sorted list of references of one level */
	struct h2_blockref *list;
	size_t count, room;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void add(struct refs *refs, const struct h2_blockref *ref)
{
	if (refs->count == refs->room) {
		refs->room = refs->room ? refs->room * 2 : 256;
		refs->list = realloc(refs->list, refs->room * sizeof(*refs->list));
		if (!refs->list)
			die("realloc");
	}
	refs->list[refs->count++] = *ref;
}

/* Room for a block, outside the reserved segments and within its granule (MF 3.4). */
static uint64_t allocate(size_t size)
{
	if (size >= H2_GRANULE)
		next_free = (next_free + size - 1) / size * size;
	if (next_free % H2_ZONE < H2_SEGMENT)
		next_free += H2_SEGMENT - next_free % H2_ZONE;
	next_free += size;
	return next_free - size;
}

/* Write a block and complete its reference. */
static void write_block(struct h2_blockref *ref, const void *block, size_t size, unsigned radix)
{
	uint64_t offset = allocate(size);

	ref->data_off = offset | radix;
	ref->mirror_tid = ref->modify_tid = TID;
	ref->methods = H2_CHECK_XXHASH64 << 4;
	h2_check_set(ref, block, size);
	if (pwrite(fd, block, size, (off_t)offset) != (ssize_t)size)
		die("pwrite");
}

/* log2 of the smallest aligned range that holds both keys. */
static unsigned span(uint64_t lo, uint64_t hi)
{
	unsigned bits = 1;

	while (bits < 63 && lo >> bits != hi >> bits)
		bits++;
	return bits;
}

/* Put count references into one indirect block. */
static void make_indirect(const struct h2_blockref *refs, size_t count, unsigned bits,
			  struct h2_blockref *ref)
{
	static struct h2d_blockref block[FANOUT];

	memset(block, 0, sizeof(block));
	for (size_t i = 0; i < count; i++)
		h2_blockref_encode(&refs[i], &block[i]);
	*ref = (struct h2_blockref){
		.type = H2_BLOCKREF_INDIRECT,
		.keybits = (uint8_t)bits,
		.key = refs[0].key >> bits << bits,
	};
	write_block(ref, block, sizeof(block), 14);
}

/*
 * Build a tree over sorted references: ranges that are aligned and disjoint, by halving the key
 * range until its references fit one block.
 */
static void build(const struct h2_blockref *refs, size_t count, unsigned bits, uint64_t base,
		  struct refs *out)
{
	uint64_t middle;
	size_t low = 0;

	if (count == 0)
		return;
	if (count <= FANOUT) {
		struct h2_blockref ref;
		unsigned tight = span(refs[0].key, refs[count - 1].key);

		make_indirect(refs, count, tight < bits ? tight : bits, &ref);
		add(out, &ref);
		return;
	}
	middle = base + (UINT64_C(1) << (bits - 1));
	while (low < count && refs[low].key < middle)
		low++;
	build(refs, low, bits - 1, base, out);
	build(refs + low, count - low, bits - 1, middle, out);
}

/* Reduce the references within a half of the key space to at most two. */
static void build_tree(struct refs *refs, uint64_t base)
{
	while (refs->count > 2) {
		struct refs above = {0};

		build(refs->list, refs->count, 63, base, &above);
		free(refs->list);
		*refs = above;
	}
}

static int by_key(const void *a, const void *b)
{
	const struct h2_blockref *x = a, *y = b;

	return x->key < y->key ? -1 : x->key > y->key;
}

static void write_inode(uint64_t inum, uint64_t parent, unsigned type, const struct refs *tree,
			struct h2_blockref *ref)
{
	struct h2_inode_meta m = {
		.version = 1,
		.ctime = TIME_US,
		.mtime = TIME_US,
		.type = (uint8_t)type,
		.op_flags = type == H2_OBJECT_FILE ? H2_INODE_DIRECTDATA : 0,
		.mode = type == H2_OBJECT_FILE ? 0644 : 0755,
		.inum = inum,
		.nlinks = 1,
		.iparent = parent,
		.name_key = inum,
		.comp_algo = H2_COMP_LZ4,
		.check_algo = H2_CHECK_XXHASH64,
	};
	struct h2d_inode d;

	memset(&d, 0, sizeof(d));
	m.name_len = (uint16_t)snprintf((char *)m.filename, sizeof(m.filename), "0x%016" PRIx64,
					inum);
	h2_inode_encode(&m, &d);
	for (size_t i = 0; tree && i < tree->count; i++)
		h2_blockref_encode(&tree->list[i], &d.u.blockset[i]);
	*ref = (struct h2_blockref){.type = H2_BLOCKREF_INODE, .key = inum};
	write_block(ref, &d, sizeof(d), 10);
}

static void add_name(struct refs *refs, const char *name, uint64_t inum, unsigned type)
{
	size_t len = strlen(name);
	struct h2_blockref ref = {
		.type = H2_BLOCKREF_DIRENT,
		.methods = H2_CHECK_XXHASH64 << 4,
		.mirror_tid = TID,
		.modify_tid = TID,
		.key = h2_name_hash(name, len) + 1,
		.dirent_inum = inum,
		.dirent_namlen = (uint16_t)len,
		.dirent_type = (uint8_t)type,
	};

	memcpy(ref.check, name, len);
	add(refs, &ref);
}

static void sort_names(struct refs *names)
{
	qsort(names->list, names->count, sizeof(*names->list), by_key);
	for (size_t i = 1; i < names->count; i++) {
		if (names->list[i].key <= names->list[i - 1].key)
			names->list[i].key = names->list[i - 1].key + 1;
	}
}

/* The root of something that is not in an index: PFS or super-root. */
static void write_root(const char *name, bool pfs, uint64_t counter, const struct refs *tree,
		       struct h2_blockref *ref)
{
	struct h2_inode_meta m = {
		.version = 1,
		.ctime = TIME_US,
		.mtime = TIME_US,
		.btime = TIME_US,
		.type = H2_OBJECT_DIRECTORY,
		.op_flags = pfs ? H2_INODE_PFSROOT : 0,
		.mode = 0755,
		.inum = pfs ? H2_INUM_ROOT : H2_INUM_SUPER_ROOT,
		.nlinks = pfs ? 1 : 2,
		.name_key = pfs ? h2_name_hash(name, strlen(name)) : 0,
		.name_len = (uint16_t)strlen(name),
		.comp_algo = H2_COMP_LZ4,
		.check_algo = H2_CHECK_XXHASH64,
		.pfs_type = pfs ? H2_PFS_MASTER : H2_PFS_SUPER_ROOT,
		.pfs_inum = counter,
		.pfs_clid = {{pfs ? 1 : 2}},
		.pfs_fsid = {{pfs ? 3 : 4}},
	};
	struct h2d_inode d;

	memset(&d, 0, sizeof(d));
	memcpy(m.filename, name, strlen(name));
	h2_inode_encode(&m, &d);
	for (size_t i = 0; i < tree->count; i++)
		h2_blockref_encode(&tree->list[i], &d.u.blockset[i]);
	*ref = (struct h2_blockref){
		.type = H2_BLOCKREF_INODE,
		.flags = pfs ? H2_BLOCKREF_PFSROOT : 0,
		.key = m.name_key,
	};
	write_block(ref, &d, sizeof(d), 10);
}

static void write_header(const struct h2_blockref *super_root)
{
	static struct h2d_volume_header d;
	struct h2_volume_header h = {
		.boot_beg = H2_SEGMENT,
		.boot_end = H2_SEGMENT + (UINT64_C(64) << 20),
		.aux_beg = H2_SEGMENT + (UINT64_C(64) << 20),
		.aux_end = BASE,
		.volu_size = VOLUME_SIZE,
		.version = 2,
		.peer_type = 3,
		.nvolumes = 1,
		.fsid = {{5}},
		.fstype = h2_fstype_uuid,
		.allocator_size = VOLUME_SIZE - 64 * H2_SEGMENT - BASE,
		.allocator_free = VOLUME_SIZE - 64 * H2_SEGMENT - next_free,
		.allocator_beg = BASE,
		.mirror_tid = TID,
		.freemap_tid = TID - 1,
		.total_size = VOLUME_SIZE,
	};

	h.sroot_blockset[0] = *super_root;
	for (unsigned i = 1; i < H2_VOLUMES_MAX; i++)
		h.volu_loff[i] = UINT64_MAX;
	h2_volume_header_encode(&h, &d);
	h2_volume_header_seal(&d);
	for (unsigned i = 0; i < H2_HEADER_COPIES_MAX; i++) {
		if (pwrite(fd, &d, sizeof(d), (off_t)(i * H2_HEADER_SPACING)) != sizeof(d))
			die("pwrite");
	}
}

int main(int argc, char **argv)
{
	uint64_t inum = 1024;
	struct refs index = {0}, root_names = {0}, tree = {0}, super = {0};
	struct h2_blockref ref;
	unsigned dirs, files;
	char name[32];

	if (argc != 4) {
		fprintf(stderr, "usage: make_volume IMAGE DIRS FILES\n");
		return 2;
	}
	dirs = (unsigned)atoi(argv[2]);
	files = (unsigned)atoi(argv[3]);
	fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0644);
	if (fd < 0 || ftruncate(fd, (off_t)VOLUME_SIZE) < 0)
		die(argv[1]);
	for (unsigned i = 0; i < dirs; i++) {
		struct refs names = {0};
		uint64_t dir = inum++;
		size_t at = index.count;

		snprintf(name, sizeof(name), "dir%05u", i);
		add_name(&root_names, name, dir, H2_OBJECT_DIRECTORY);
		add(&index, &(struct h2_blockref){0}); /* the directory's, once its tree is built */
		for (unsigned k = 0; k < files; k++) {
			snprintf(name, sizeof(name), "file%05u.txt", k);
			add_name(&names, name, inum, H2_OBJECT_FILE);
			write_inode(inum, dir, H2_OBJECT_FILE, NULL, &ref);
			add(&index, &ref);
			inum++;
		}
		sort_names(&names);
		build_tree(&names, H2_KEY_VISIBLE);
		write_inode(dir, H2_INUM_ROOT, H2_OBJECT_DIRECTORY, &names, &index.list[at]);
		free(names.list);
	}
	sort_names(&root_names);
	build_tree(&index, 0);
	build_tree(&root_names, H2_KEY_VISIBLE);
	for (size_t i = 0; i < index.count; i++)
		add(&tree, &index.list[i]);
	for (size_t i = 0; i < root_names.count; i++)
		add(&tree, &root_names.list[i]);
	write_root("DATA", true, inum, &tree, &ref);
	add(&super, &ref);
	write_root("SUPROOT", false, 0, &super, &ref);
	write_header(&ref);
	printf("%u directories, %u files, %" PRIu64 " MiB used\n", dirs, dirs * files,
	       next_free >> 20);
	return close(fd) == 0 ? 0 : 1;
}
