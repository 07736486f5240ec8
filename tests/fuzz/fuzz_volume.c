/*
 * Fuzzing of everything that reads a volume: a small sound volume is changed at the places that
 * the input tells, the check codes on the way up to the header are made right again, and then it
 * is opened, walked, read and checked. Nothing may crash, hang, leak, or return a length beyond
 * what was asked for.
 *
 * An input is a list of records of 12 bytes: which block, where in it, how it is changed, value;
 * the last byte of the first one chooses what is done with the volume.
 */
#include <hammer2/check.h>
#include <hammer2/dump.h>
#include <hammer2/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "flat.h"
#include "fuzz.h"
#include "image.h"

#define VOLUME_SIZE (UINT64_C(64) << 20)
#define BLOCKS_MAX 512u
#define LINKS_MAX 1024u
#define RECORD_SIZE 12u
#define RECORDS_MAX 24u
#define STEPS_MAX 400u

struct block {
	uint64_t media;
	size_t size;
	uint8_t *pristine;
	bool dirty;
};

/* A reference: the bytes at offset of block from point to block to. */
struct link {
	unsigned from, to;
	size_t offset;
};

/* Freed memory is remembered for a while, but not for as many megabytes as usual: for speed. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "quarantine_size_mb=8:malloc_context_size=5";
}

static uint8_t *disk;                   /* VOLUME_SIZE bytes */
static struct block blocks[BLOCKS_MAX]; /* 0: the header; parents come before their children */
static unsigned block_count;
static struct link links[LINKS_MAX];
static unsigned link_count;

static int find_block(uint64_t media)
{
	for (unsigned i = 0; i < block_count; i++) {
		if (blocks[i].media == media)
			return (int)i;
	}
	return -1;
}

static unsigned add_block(uint64_t media, size_t size)
{
	struct block *b = &blocks[block_count];

	REQUIRE(block_count < BLOCKS_MAX);
	*b = (struct block){.media = media, .size = size, .pristine = malloc(size)};
	REQUIRE(b->pristine);
	memcpy(b->pristine, disk + media, size);
	return block_count++;
}

static void index_array(unsigned from, size_t offset, unsigned count);

static void index_ref(unsigned from, size_t offset)
{
	struct h2_blockref ref;
	unsigned to;
	int known;

	h2_blockref_decode((const struct h2d_blockref *)(disk + blocks[from].media + offset), &ref);
	if (ref.type == H2_BLOCKREF_EMPTY || h2_blockref_radix(&ref) == 0)
		return;
	known = find_block(h2_blockref_offset(&ref));
	to = known >= 0 ? (unsigned)known
			: add_block(h2_blockref_offset(&ref), (size_t)1 << h2_blockref_radix(&ref));
	REQUIRE(link_count < LINKS_MAX);
	links[link_count++] = (struct link){.from = from, .to = to, .offset = offset};
	if (known >= 0)
		return;
	if (ref.type == H2_BLOCKREF_INDIRECT || ref.type == H2_BLOCKREF_FREEMAP_NODE)
		index_array(to, 0, (unsigned)(blocks[to].size / H2_BLOCKREF_SIZE));
	else if (ref.type == H2_BLOCKREF_INODE &&
		 !(disk[blocks[to].media + offsetof(struct h2d_inode, op_flags)] &
		   H2_INODE_DIRECTDATA))
		index_array(to, offsetof(struct h2d_inode, u), H2_BLOCKSET_COUNT);
}

static void index_array(unsigned from, size_t offset, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		index_ref(from, offset + i * H2_BLOCKREF_SIZE);
}

/* A volume with one of everything, small enough to be walked in well under a millisecond. */
static struct image *build(void)
{
	static uint8_t text[70000];
	struct image *image = image_new(NULL);
	struct image_block *pfs = image_add_pfs(image, image->super_root, "DATA");
	struct image_block *other = image_add_pfs(image, image->super_root, "OTHER");
	struct image_block *dir, *sub;
	char name[100];

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)("hammer"[i % 6] + i / 4096);
	image_inode(pfs)->pfs_inum = le64_make(2000);
	dir = image_add_inode(image, pfs, 1024, H2_OBJECT_DIRECTORY);
	image_add_dirent(image, pfs, "dir", 1024, H2_OBJECT_DIRECTORY);
	sub = image_add_indirect(image, dir, UINT64_C(1) << 63, 63, 12);
	for (unsigned i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "a.b%u", i);
		image_add_dirent(image, sub, name, 1030 + i % 3, H2_OBJECT_FILE);
	}
	memset(name, 'n', 80);
	name[80] = '\0';
	image_add_dirent(image, sub, name, 1030, H2_OBJECT_FILE);
	image_add_file(image, pfs, 1030, H2_OBJECT_FILE, H2_COMP_NONE, text, 300);
	image_add_file(image, pfs, 1031, H2_OBJECT_FILE, H2_COMP_LZ4, text, sizeof(text));
	image_add_file(image, pfs, 1032, H2_OBJECT_FILE, H2_COMP_ZLIB, text, 66000);
	image_add_file(image, pfs, 1033, H2_OBJECT_SYMLINK, H2_COMP_NONE, "a.b1", 4);
	image_add_dirent(image, pfs, "link", 1033, H2_OBJECT_SYMLINK);
	image_add_file(image, pfs, 1034, H2_OBJECT_SYMLINK, H2_COMP_NONE, text, 600);
	image_add_dirent(image, pfs, "longlink", 1034, H2_OBJECT_SYMLINK);
	image_add_inode(image, pfs, 1035, H2_OBJECT_CHAR_DEVICE);
	image_add_dirent(image, pfs, "dev", 1035, H2_OBJECT_CHAR_DEVICE);
	image_add_legacy(image, other, "legacy", 1040, H2_OBJECT_FILE);
	image_seal(image);
	return image;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct image *image = build();

	(void)argc;
	(void)argv;
	disk = calloc(1, VOLUME_SIZE);
	REQUIRE(disk);
	for (uint64_t at = 0; at < VOLUME_SIZE; at += 65536)
		h2_sim_peek(image->volumes[0].sim, at, disk + at, 65536);
	image_free(image);
	add_block(0, H2_HEADER_SIZE);
	index_array(0, offsetof(struct h2d_volume_header, sroot_blockset), H2_BLOCKSET_COUNT);
	index_array(0, offsetof(struct h2d_volume_header, freemap_blockset), H2_BLOCKSET_COUNT);
	return 0;
}

static void put64(uint8_t *at, uint64_t value)
{
	le64 v = le64_make(value);

	memcpy(at, v.b, sizeof(v.b));
}

/* One change, within the block. */
static void apply(const uint8_t r[RECORD_SIZE])
{
	unsigned index = (unsigned)(r[0] | r[1] << 8) % block_count;
	struct block *b = &blocks[index];
	uint8_t *bytes = disk + b->media;
	size_t where = (size_t)(r[2] | r[3] << 8) % b->size;
	uint64_t value = 0;

	/* Most of the header is reserved space: stay where something is. */
	if (index == 0)
		where = (size_t)(r[2] | r[3] << 8) % 0x1000;
	for (unsigned i = 0; i < 6; i++)
		value |= (uint64_t)r[5 + i] << (8 * i);
	switch (r[4] % 8) {
	case 0:
		bytes[where] = r[5];
		break;
	case 1:
		bytes[where] ^= (uint8_t)(1u << (r[5] & 7));
		break;
	case 2: /* a whole number */
		put64(bytes + where / 8 * 8, value);
		break;
	case 3:
		put64(bytes + where / 8 * 8, value << 16);
		break;
	case 4: /* extremes */
		put64(bytes + where / 8 * 8,
		      r[5] & 1 ? UINT64_MAX << (r[6] & 63) : UINT64_MAX >> (r[6] & 63));
		break;
	case 5: /* a reference becomes a copy of another one */
		if (where / 128 * 128 + 128 <= b->size) {
			const struct link *l = &links[value % link_count];

			memmove(bytes + where / 128 * 128, disk + blocks[l->from].media + l->offset,
				128);
		}
		break;
	case 6: /* a reference points somewhere else */
		if (where / 128 * 128 + 128 <= b->size) {
			const struct block *target = &blocks[value % block_count];
			unsigned radix = 10;

			while ((size_t)1 << radix < target->size)
				radix++;
			put64(bytes + where / 128 * 128 + 0x20, target->media | radix);
		}
		break;
	default: /* type, methods, keybits, flags of a reference */
		bytes[where / 128 * 128 + (r[5] & 7) % 6] = r[6];
		break;
	}
	b->dirty = true;
}

/* Make the check codes right from the changed blocks up to the header. */
static void reseal(void)
{
	for (unsigned i = block_count; i-- > 1;) {
		if (!blocks[i].dirty)
			continue;
		for (unsigned k = 0; k < link_count; k++) {
			struct h2d_blockref *d;
			struct h2_blockref ref;

			if (links[k].to != i)
				continue;
			d = (struct h2d_blockref *)(disk + blocks[links[k].from].media +
						    links[k].offset);
			h2_blockref_decode(d, &ref);
			if (h2_check_set(&ref, disk + blocks[i].media, blocks[i].size) != 0)
				continue;
			memcpy(d->check.bytes, ref.check, sizeof(ref.check));
			blocks[links[k].from].dirty = true;
		}
	}
	h2_volume_header_seal((struct h2d_volume_header *)disk);
}

static void restore(void)
{
	for (unsigned i = 0; i < block_count; i++) {
		if (blocks[i].dirty || i == 0)
			memcpy(disk + blocks[i].media, blocks[i].pristine, blocks[i].size);
		blocks[i].dirty = false;
	}
}

static unsigned steps;

static void on_report(void *user, const struct h2_report *r)
{
	(void)user;
	REQUIRE(r->code && r->message);
	REQUIRE(strlen(r->code) > 0);
	REQUIRE(!r->pfs || strlen(r->pfs) <= H2_NAME_MAX);
}

static void use_file(struct h2_inode *inode)
{
	static uint8_t buf[140000];
	uint64_t size = h2_inode_meta(inode)->size, at = 0, start, end;
	struct h2_file_block block;
	char target[H2_SYMLINK_MAX + 1];
	static const uint64_t offsets[] = {0, 65535};

	for (unsigned i = 0; i < 2; i++) {
		ssize_t n = h2_file_read(inode, offsets[i], buf, sizeof(buf) - i);

		REQUIRE(n <= (ssize_t)(sizeof(buf) - i));
		REQUIRE(n <= 0 || offsets[i] + (uint64_t)n <= size);
	}
	h2_file_read(inode, size - 1, buf, 70000);
	for (unsigned i = 0; i < 4 && h2_file_next_data(inode, at, 0, &start, &end) == 0; i++) {
		REQUIRE(at <= start && start < end && end <= size);
		at = end;
	}
	at = 0;
	for (unsigned i = 0; i < 8; i++) {
		int err = h2_file_next_block(inode, at, &block);

		if (err == 1 || block.offset + 1 <= at)
			break;
		at = block.offset + 1;
	}
	if (h2_inode_meta(inode)->type == H2_OBJECT_SYMLINK) {
		ssize_t n = h2_symlink_read(inode, target, sizeof(target));

		REQUIRE(n < (ssize_t)sizeof(target));
	}
}

static void use_inode(struct h2_pfs *pfs, uint64_t inum, unsigned depth)
{
	struct h2_dir_scan *scan;
	struct h2_inode *inode;
	struct h2_dirent ent, again;
	struct h2_attr attr;
	char path[512];
	int err;

	if (++steps > STEPS_MAX || h2_inode_get(pfs, inum, &inode) != 0)
		return;
	h2_inode_attr(inode, &attr);
	if (h2_inode_meta(inode)->type != H2_OBJECT_DIRECTORY) {
		use_file(inode);
	} else if (depth < 8 && h2_dir_scan_new(inode, 0, &scan) == 0) {
		uint64_t last = 0;

		while (steps < STEPS_MAX && (err = h2_dir_scan_next(scan, &ent)) != 1) {
			steps++;
			if (err)
				continue;
			REQUIRE(ent.key > last); /* cookies rise */
			last = ent.key;
			h2_dir_lookup(inode, ent.name, ent.name_len, &again);
			use_inode(pfs, ent.inum, depth + 1);
		}
		h2_dir_scan_free(scan);
	}
	if (depth < 2)
		h2_inode_path(pfs, inum, path, sizeof(path));
	h2_inode_put(inode);
}

static int on_item(void *user, const struct h2_dump_item *item)
{
	(void)user;
	REQUIRE(!item->error || item->problem);
	return ++steps > STEPS_MAX;
}

static void use_fs(struct h2_volumes *volumes)
{
	struct h2_fs_options options = {.cache_bytes = 1 << 20, .report = on_report};
	struct h2_pfs_info info;
	struct h2_fs *fs;
	uint64_t key = 0;
	unsigned tries = 0;

	if (h2_fs_open(volumes, &options, &fs) == 0) {
		int err;

		while (tries++ < 8 && (err = h2_pfs_next(fs, key, &info)) != 1) {
			struct h2_pfs *pfs;

			steps = 0;
			REQUIRE(info.key >= key);
			if (!err && h2_pfs_open(fs, info.label, &pfs) == 0) {
				use_inode(pfs, H2_INUM_ROOT, 0);
				h2_pfs_put(pfs);
			}
			key = info.key + 1;
			if (key == 0)
				break;
		}
		h2_fs_close(fs);
	}
}

static void use_check(struct h2_volumes *volumes)
{
	struct h2_check_options options = {
		.threads = 1,
		.memory_bytes = 1 << 20,
		.report = on_report,
	};
	struct h2_check_summary summary;

	REQUIRE(h2_check_run(volumes, &options, &summary) == 0);
}

static void use_dump(struct h2_volumes *volumes)
{
	struct h2_dump_options options = {.verify_data = true};
	struct h2_dump_visitor visitor = {.enter = on_item};
	struct h2_freemap_totals totals;

	steps = 0;
	h2_dump_topology(volumes, &options, &visitor);
	h2_dump_freemap(volumes, &options, &visitor);
	h2_dump_freemap_totals(volumes, &totals);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct h2_volumes_options options = {.report = on_report};
	struct h2_device *dev;
	struct h2_volumes *volumes;
	unsigned what = size >= RECORD_SIZE ? data[RECORD_SIZE - 1] % 4 : 3;

	for (unsigned i = 0; i < RECORDS_MAX && size >= RECORD_SIZE; i++) {
		apply(data);
		data += RECORD_SIZE;
		size -= RECORD_SIZE;
	}
	reseal();
	dev = flat_device(disk, VOLUME_SIZE);
	if (h2_volumes_assemble(&dev, 1, &options, &volumes) == 0) {
		if (what == 0)
			use_check(volumes);
		else if (what == 1)
			use_dump(volumes);
		else
			use_fs(volumes);
		h2_volumes_close(volumes);
	}
	restore();
	return 0;
}
