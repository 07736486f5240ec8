/* A small volume that is changed at the places that an input tells; see hostile.h. */
#include "hostile.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "flat.h"
#include "fuzz.h"
#include "image.h"

#define BLOCKS_MAX 512u
#define LINKS_MAX 1024u

struct block {
	uint64_t media;
	size_t size;
	bool dirty;
};

/* A reference: the bytes at offset of block from point to block to. */
struct link {
	unsigned from, to;
	size_t offset;
};

static uint8_t *disk, *pristine; /* HOSTILE_SIZE bytes */
static bool written[HOSTILE_SIZE / FLAT_PAGE];

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
	*b = (struct block){.media = media, .size = size};
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

static uint8_t text[70000];

static void add_file(struct image *image, struct image_block *pfs, uint64_t inum, unsigned comp,
		     size_t size, uint64_t names)
{
	struct image_block *file = image_add_file(image, pfs, inum, H2_OBJECT_FILE, comp, text,
						  size);

	image_inode(file)->nlinks = le64_make(names);
}

/* A volume with one of everything, small enough to be walked in well under a millisecond. */
static struct image *build(void)
{
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
	add_file(image, pfs, 1030, H2_COMP_NONE, 300, 3);
	add_file(image, pfs, 1031, H2_COMP_LZ4, sizeof(text), 2);
	add_file(image, pfs, 1032, H2_COMP_ZLIB, 66000, 2);
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

void hostile_init(void)
{
	struct image *image = build();

	disk = calloc(1, HOSTILE_SIZE);
	pristine = calloc(1, HOSTILE_SIZE);
	REQUIRE(disk && pristine);
	for (uint64_t at = 0; at < HOSTILE_SIZE; at += 65536)
		h2_sim_peek(image->volumes[0].sim, at, disk + at, 65536);
	memcpy(pristine, disk, HOSTILE_SIZE);
	image_free(image);
	add_block(0, H2_HEADER_SIZE);
	index_array(0, offsetof(struct h2d_volume_header, sroot_blockset), H2_BLOCKSET_COUNT);
	index_array(0, offsetof(struct h2d_volume_header, freemap_blockset), H2_BLOCKSET_COUNT);
}

static void put64(uint8_t *at, uint64_t value)
{
	le64 v = le64_make(value);

	memcpy(at, v.b, sizeof(v.b));
}

void hostile_change(const uint8_t r[HOSTILE_RECORD])
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

/* ---- changes of what matters to who writes ---- */

static const size_t ref_numbers[] = {
	offsetof(struct h2d_blockref, key),
	offsetof(struct h2d_blockref, mirror_tid),
	offsetof(struct h2d_blockref, modify_tid),
	offsetof(struct h2d_blockref, data_off),
	offsetof(struct h2d_blockref, update_tid),
	offsetof(struct h2d_blockref, embed.stats.data_count),
	offsetof(struct h2d_blockref, embed.stats.inode_count),
	offsetof(struct h2d_blockref, check.freemap.avail),
};

static const size_t inode_numbers[] = {
	offsetof(struct h2d_inode, version),     offsetof(struct h2d_inode, uflags),
	offsetof(struct h2d_inode, type),        offsetof(struct h2d_inode, inum),
	offsetof(struct h2d_inode, size),        offsetof(struct h2d_inode, nlinks),
	offsetof(struct h2d_inode, iparent),     offsetof(struct h2d_inode, name_key),
	offsetof(struct h2d_inode, name_len),    offsetof(struct h2d_inode, pfs_inum),
	offsetof(struct h2d_inode, data_quota),  offsetof(struct h2d_inode, inode_quota),
	offsetof(struct h2d_inode, ctime),       offsetof(struct h2d_inode, mtime),
	offsetof(struct h2d_inode, pfs_clid),    offsetof(struct h2d_inode, pfs_fsid),
	offsetof(struct h2d_inode, filename[0]), offsetof(struct h2d_inode, pfs_lsnap_tid),
};

static const size_t header_numbers[] = {
	offsetof(struct h2d_volume_header, volu_size),
	offsetof(struct h2d_volume_header, version),
	offsetof(struct h2d_volume_header, allocator_size),
	offsetof(struct h2d_volume_header, allocator_free),
	offsetof(struct h2d_volume_header, allocator_beg),
	offsetof(struct h2d_volume_header, mirror_tid),
	offsetof(struct h2d_volume_header, freemap_tid),
	offsetof(struct h2d_volume_header, bulkfree_tid),
	offsetof(struct h2d_volume_header, total_size),
	offsetof(struct h2d_volume_header, boot_end),
	offsetof(struct h2d_volume_header, aux_beg),
	offsetof(struct h2d_volume_header, aux_end),
};

/* A number that is near a limit of something, or little above or below what is there. */
static uint64_t near(uint64_t old, uint8_t which, uint8_t distance)
{
	static const uint64_t limits[] = {
		0,       H2_INUM_ROOT, 1024,       UINT32_MAX,        HOSTILE_SIZE,   H2_SEGMENT,
		H2_ZONE, INT64_MAX,    UINT64_MAX, UINT64_C(1) << 40, H2_KEY_VISIBLE,
	};
	size_t count = sizeof(limits) / sizeof(limits[0]);
	uint64_t base = which % (count + 1) < count ? limits[which % (count + 1)] : old;

	return base + (uint64_t)(int8_t)distance;
}

static uint64_t get64(const uint8_t *at)
{
	le64 v;

	memcpy(v.b, at, sizeof(v.b));
	return le64_get(v);
}

/* Places that are nobody's to refer to: reserved areas, the ends of the volume. */
static uint64_t reserved_place(const uint8_t r[HOSTILE_RECORD])
{
	static const uint64_t places[] = {
		0,
		H2_HEADER_SIZE,
		H2_HEADER_BACKUP_OFFSET,
		H2_SEGMENT - H2_BLOCK_MAX,
		H2_SEGMENT,
		HOSTILE_SIZE - H2_GRANULE,
		HOSTILE_SIZE,
		H2_ZONE,
	};

	/* Each set of the freemap's blocks has four slots of 64 KiB, MF 10.2. */
	return r[7] & 0x80 ? (1 + (uint64_t)r[7] % 0x40) * H2_HEADER_SIZE : places[r[7] % 8];
}

static void aim_at_ref(struct link *link, const uint8_t r[HOSTILE_RECORD])
{
	uint8_t *ref = disk + blocks[link->from].media + link->offset;
	uint8_t *at = ref + ref_numbers[r[5] % (sizeof(ref_numbers) / sizeof(ref_numbers[0]))];
	const struct link *other = &links[(r[8] | r[9] << 8) % link_count];
	const uint8_t *other_ref = disk + blocks[other->from].media + other->offset;

	switch (r[6] % 5) {
	case 0:
		put64(at, near(get64(at), r[7], r[8]));
		break;
	case 1: /* the same as in another reference: equal keys, shared blocks */
		memcpy(at, other_ref + (at - ref), 8);
		break;
	case 2: /* a range that overlaps others */
		ref[offsetof(struct h2d_blockref, keybits)] = r[7] % 66;
		break;
	case 3:
		put64(ref + offsetof(struct h2d_blockref, data_off), reserved_place(r) | r[8] % 20);
		break;
	default: /* overlaps another block by a part */
		at = ref + offsetof(struct h2d_blockref, data_off);
		put64(at, get64(other_ref + offsetof(struct h2d_blockref, data_off)) +
				  (uint64_t)(int8_t)r[7] * H2_BLOCK_MIN);
		break;
	}
	blocks[link->from].dirty = true;
}

static void aim_at_record(struct block *leaf, const uint8_t r[HOSTILE_RECORD])
{
	struct h2d_freemap_record *record = (struct h2d_freemap_record *)(disk + leaf->media) +
					    (r[7] & 0x80 ? r[6]
							 : r[6] % (HOSTILE_SIZE / H2_SEGMENT));
	uint64_t value = UINT64_C(0x0101010101010101) * r[8];

	switch (r[5] % 5) {
	case 0: /* free, staged, in use, whatever: the granules of a word */
		record->bitmap[r[7] % 8] = le64_make(value);
		break;
	case 1:
		for (unsigned i = 0; i < 8; i++)
			record->bitmap[i] = le64_make(value);
		break;
	case 2:
		record->class_ = le16_make((uint16_t)(r[7] | r[8] << 8));
		break;
	case 3:
		record->linear = le32_make((uint32_t)near(0, r[7], r[8]));
		break;
	default:
		record->avail = le32_make((uint32_t)near(0, r[7], r[8]));
		break;
	}
	leaf->dirty = true;
}

static void aim_at_numbers(struct block *b, const size_t *numbers, size_t count,
			   const uint8_t r[HOSTILE_RECORD])
{
	uint8_t *at = disk + b->media + numbers[r[5] % count];

	put64(at, near(get64(at), r[6], r[7]));
	b->dirty = true;
}

void hostile_aim(const uint8_t r[HOSTILE_RECORD])
{
	unsigned first = (unsigned)(r[0] | r[1] << 8);

	if (r[4] % 4 == 0) {
		aim_at_ref(&links[first % link_count], r);
		return;
	}
	if (r[4] % 4 == 1) {
		aim_at_numbers(&blocks[0], header_numbers,
			       sizeof(header_numbers) / sizeof(header_numbers[0]), r);
		return;
	}
	/* The first inode, or the first leaf of the freemap, from a block on. */
	for (unsigned i = 0; i < link_count; i++) {
		struct link *link = &links[(first + i) % link_count];
		struct block *b = &blocks[link->to];
		unsigned type = disk[blocks[link->from].media + link->offset];

		if (r[4] % 4 == 2 && type == H2_BLOCKREF_INODE && b->size == H2_INODE_SIZE) {
			aim_at_numbers(b, inode_numbers,
				       sizeof(inode_numbers) / sizeof(inode_numbers[0]), r);
			return;
		}
		if (r[4] % 4 == 3 && type == H2_BLOCKREF_FREEMAP_LEAF &&
		    b->size == H2_FREEMAP_BLOCK_SIZE) {
			aim_at_record(b, r);
			return;
		}
	}
}

/* From the changed blocks up to the header. */
void hostile_seal(void)
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

int hostile_open(const struct h2_volumes_options *options, struct h2_volumes **volumesp)
{
	struct h2_device *dev = flat_device(disk, HOSTILE_SIZE, written);

	return h2_volumes_assemble(&dev, 1, options, volumesp);
}

static void restore_bytes(uint64_t offset, size_t len)
{
	memcpy(disk + offset, pristine + offset, len);
}

void hostile_restore(void)
{
	for (unsigned i = 0; i < block_count; i++) {
		if (blocks[i].dirty || i == 0)
			restore_bytes(blocks[i].media, blocks[i].size);
		blocks[i].dirty = false;
	}
	for (size_t i = 0; i < HOSTILE_SIZE / FLAT_PAGE; i++) {
		if (written[i])
			restore_bytes(i * FLAT_PAGE, FLAT_PAGE);
		written[i] = false;
	}
}
