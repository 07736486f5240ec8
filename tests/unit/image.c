/* Building volumes in memory; see image.h. */
#include "image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "compress.h"

#define MIB (UINT64_C(1) << 20)
#define BOOT_SIZE (8 * MIB)
#define AUX_SIZE (8 * MIB)
#define BASE (H2_SEGMENT + BOOT_SIZE + AUX_SIZE) /* where newfs puts the inodes, MF 11.6 */
#define ALLOCATOR_BEG (BASE + H2_INODE_SIZE)
#define FIRST_FREE (BASE + H2_SEGMENT) /* the first byte that the freemap describes */
#define TYPE_SET 255u                  /* stands for the volume header, never on media */
#define TIME_US UINT64_C(1700000000000000)

static void die(const char *what)
{
	fprintf(stderr, "image: %s\n", what);
	abort();
}

static void *must(void *memory)
{
	if (!memory)
		die("out of memory");
	return memory;
}

/* ---- blocks ---- */

static void push_child(struct image_block *parent, struct image_block *child)
{
	if (parent->child_count == parent->child_room) {
		parent->child_room = parent->child_room ? parent->child_room * 2 : 8;
		parent->children = must(realloc(parent->children,
						parent->child_room * sizeof(struct image_block *)));
	}
	parent->children[parent->child_count++] = child;
}

/* The entries of a block's array, and how many there are. */
static struct h2d_blockref *array_of(struct image_block *block, unsigned *count)
{
	switch (block->ref.type) {
	case H2_BLOCKREF_INODE:
		*count = H2_BLOCKSET_COUNT;
		return image_inode(block)->u.blockset;
	case TYPE_SET:
	case H2_BLOCKREF_INDIRECT:
	case H2_BLOCKREF_FREEMAP_NODE:
		*count = (unsigned)(block->size / H2_BLOCKREF_SIZE);
		return (struct h2d_blockref *)block->bytes;
	default:
		*count = 0;
		return NULL;
	}
}

static struct image_block *block_new(struct image *image, unsigned type, size_t size)
{
	struct image_block *block = must(calloc(1, sizeof(*block)));

	block->ref.type = (uint8_t)type;
	block->slot = -1;
	block->size = size;
	block->bytes = size ? must(calloc(1, size)) : NULL;
	push_child(image->stock, block);
	return block;
}

struct image_block *image_add(struct image *image, struct image_block *parent, unsigned type,
			      uint64_t key, unsigned keybits, unsigned radix)
{
	struct image_block *block = block_new(image, type, radix ? (size_t)1 << radix : 0);

	block->ref.methods = (uint8_t)(image->check_algo << 4);
	block->ref.keybits = (uint8_t)keybits;
	block->ref.key = key;
	block->ref.mirror_tid = image->tid;
	block->ref.modify_tid = 1;
	if (radix)
		block->ref.data_off = image_alloc(image, radix);
	block->media = h2_blockref_offset(&block->ref);
	push_child(parent, block);
	return block;
}

struct h2d_inode *image_inode(struct image_block *block)
{
	if (block->ref.type != H2_BLOCKREF_INODE || block->size != H2_INODE_SIZE)
		die("not an inode");
	return (struct h2d_inode *)block->bytes;
}

/* ---- the freemap ---- */

static void set_hints(struct image_block *leaf, uint64_t avail)
{
	struct h2d_blockref d;

	memset(&d, 0, sizeof(d));
	d.check.freemap.bigmask = le32_make(UINT32_MAX);
	d.check.freemap.avail = le64_make(avail);
	memcpy(leaf->ref.check, d.check.bytes, sizeof(leaf->ref.check));
}

static struct image_block *freemap_leaf(struct image *image, uint64_t zone)
{
	struct image_block *leaf;

	if (zone >= IMAGE_ZONES)
		die("a block behind the zones that have freemap leaves");
	if (image->freemap_leaves[zone])
		return image->freemap_leaves[zone];
	leaf = block_new(image, H2_BLOCKREF_FREEMAP_LEAF, H2_FREEMAP_BLOCK_SIZE);
	leaf->ref.methods = H2_CHECK_FREEMAP << 4;
	leaf->ref.keybits = 30;
	leaf->ref.key = zone * H2_ZONE;
	leaf->ref.mirror_tid = image->tid;
	leaf->ref.modify_tid = 1;
	leaf->ref.data_off = h2_freemap_data_off(1, leaf->ref.key, 0);
	leaf->media = h2_blockref_offset(&leaf->ref);
	set_hints(leaf,
		  h2_freemap_leaf_init((struct h2d_freemap_record *)leaf->bytes, leaf->ref.key,
				       image->volumes[0].header.allocator_beg, image->total_size));
	push_child(&image->freemap_set, leaf);
	image->freemap_leaves[zone] = leaf;
	return leaf;
}

static void mark_granule(struct image *image, uint64_t offset)
{
	struct image_block *leaf = freemap_leaf(image, offset / H2_ZONE);
	struct h2d_freemap_record *d = (struct h2d_freemap_record *)leaf->bytes +
				       (offset >> 22 & (H2_FREEMAP_RECORDS - 1));
	struct h2_freemap_record r;
	uint64_t bits = UINT64_C(3) << 2 * (offset >> 14 & 31);
	uint64_t *word;

	h2_freemap_record_decode(d, &r);
	word = &r.bitmap[offset >> 19 & 7];
	if ((*word & bits) == bits)
		return;
	*word |= bits;
	r.avail -= H2_GRANULE;
	h2_freemap_record_encode(&r, d);
	image->volumes[0].header.allocator_free -= H2_GRANULE;
}

uint64_t image_alloc(struct image *image, unsigned radix)
{
	uint64_t size = UINT64_C(1) << radix;
	uint64_t offset = image->next_free;

	if (radix < 10 || radix > 16)
		die("a block of a size that does not exist");
	if (size >= H2_GRANULE)
		offset = (offset + size - 1) / size * size;
	else if (offset % H2_GRANULE + size > H2_GRANULE)
		offset = (offset + H2_GRANULE - 1) / H2_GRANULE * H2_GRANULE;
	if (offset % H2_ZONE < H2_SEGMENT)
		offset += H2_SEGMENT - offset % H2_ZONE;
	if (offset + size > image->total_size)
		die("the image is full");
	image->next_free = offset + size;
	mark_granule(image, offset);
	for (uint64_t o = H2_GRANULE; o < size; o += H2_GRANULE)
		mark_granule(image, offset + o);
	return offset | radix;
}

/* ---- the volumes ---- */

static uint64_t volume_size(const struct image_options *options, unsigned i, unsigned count)
{
	if (options && options->sizes)
		return options->sizes[i];
	return i + 1 < count ? H2_ZONE : 64 * MIB;
}

static void make_header(struct image *image, unsigned i, uint32_t version)
{
	struct h2_volume_header *h = &image->volumes[i].header;
	uint64_t zones = (image->total_size + H2_ZONE - 1) / H2_ZONE;

	h->magic = H2_MAGIC;
	h->version = version;
	h->peer_type = 3;
	h->fstype = h2_fstype_uuid;
	for (unsigned b = 0; b < sizeof(h->fsid.bytes); b++)
		h->fsid.bytes[b] = (uint8_t)(b + 1);
	h->allocator_size = image->total_size - H2_SEGMENT * zones - BOOT_SIZE - AUX_SIZE;
	h->mirror_tid = image->tid;
	h->freemap_tid = image->tid;
	if (version >= 2) {
		h->volu_id = (uint8_t)i;
		h->nvolumes = (uint8_t)image->volume_count;
		h->total_size = image->total_size;
	}
	if (i > 0) {
		for (unsigned s = 0; s < H2_BLOCKSET_COUNT; s++)
			h->sroot_blockset[s].type = H2_BLOCKREF_INVALID;
		return;
	}
	h->boot_beg = H2_SEGMENT;
	h->boot_end = h->aux_beg = H2_SEGMENT + BOOT_SIZE;
	h->aux_end = BASE;
	h->allocator_free = h->allocator_size;
	h->allocator_beg = ALLOCATOR_BEG;
}

static void make_volumes(struct image *image, const struct image_options *options)
{
	uint32_t version = options && options->version ? options->version : 2;
	uint64_t offsets[H2_VOLUMES_MAX];

	image->volume_count = options && options->volume_count ? options->volume_count : 1;
	for (unsigned i = 0; i < image->volume_count; i++) {
		uint64_t size = volume_size(options, i, image->volume_count);

		image->volumes[i].header.volu_size = image->volumes[i].size = size;
		image->volumes[i].sim = must(h2_sim_new(size));
		offsets[i] = image->total_size;
		image->total_size += size;
	}
	for (unsigned i = 0; i < image->volume_count; i++) {
		make_header(image, i, version);
		for (unsigned j = 0; j < H2_VOLUMES_MAX && version >= 2; j++)
			image->volumes[i].header.volu_loff[j] = j < image->volume_count
									? offsets[j]
									: UINT64_MAX;
	}
}

static void make_super_root(struct image *image)
{
	struct h2_inode_meta meta = {
		.version = 1,
		.type = H2_OBJECT_DIRECTORY,
		.mode = 0700,
		.inum = H2_INUM_SUPER_ROOT,
		.nlinks = 2,
		.ctime = TIME_US,
		.mtime = TIME_US,
		.btime = TIME_US,
		.name_len = 7,
		.comp_algo = H2_COMP_AUTOZERO,
		.check_algo = H2_CHECK_XXHASH64,
		.pfs_type = H2_PFS_SUPER_ROOT,
		.filename = "SUPROOT",
	};
	struct image_block *root = block_new(image, H2_BLOCKREF_INODE, H2_INODE_SIZE);

	h2_inode_encode(&meta, image_inode(root));
	root->ref.methods = H2_CHECK_XXHASH64 << 4 | H2_COMP_AUTOZERO;
	root->ref.mirror_tid = image->tid;
	root->ref.data_off = BASE | 10;
	root->media = BASE;
	push_child(&image->set, root);
	image->super_root = root;
}

struct image *image_new(const struct image_options *options)
{
	struct image *image = must(calloc(1, sizeof(*image)));
	struct image_block *sets[] = {&image->set, &image->freemap_set};

	image->tid = 17;
	image->check_algo = H2_CHECK_XXHASH64;
	image->next_free = FIRST_FREE;
	image->stock = must(calloc(1, sizeof(struct image_block)));
	for (unsigned i = 0; i < 2; i++) {
		sets[i]->ref.type = TYPE_SET;
		sets[i]->size = H2_BLOCKSET_COUNT * H2_BLOCKREF_SIZE;
		sets[i]->bytes = must(calloc(1, sets[i]->size));
	}
	make_volumes(image, options);
	make_super_root(image);
	return image;
}

void image_free(struct image *image)
{
	if (!image)
		return;
	for (unsigned i = 0; i < image->stock->child_count; i++) {
		free(image->stock->children[i]->bytes);
		free(image->stock->children[i]->children);
		free(image->stock->children[i]);
	}
	free(image->stock->children);
	free(image->stock);
	free(image->set.bytes);
	free(image->set.children);
	free(image->freemap_set.bytes);
	free(image->freemap_set.children);
	for (unsigned i = 0; i < image->volume_count; i++)
		h2_sim_free(image->volumes[i].sim);
	free(image);
}

static void poke(struct image *image, uint64_t offset, const void *bytes, size_t len)
{
	uint64_t start = 0;

	for (unsigned i = 0; i < image->volume_count; i++) {
		uint64_t size = image->volumes[i].size;

		if (offset >= start && offset - start < size) {
			if (h2_sim_poke(image->volumes[i].sim, offset - start, bytes, len))
				die("out of memory");
			return;
		}
		start += size;
	}
	die("a block outside the volumes");
}

/* ---- sealing ---- */

static int by_key(const void *a, const void *b)
{
	const struct image_block *x = *(struct image_block *const *)a;
	const struct image_block *y = *(struct image_block *const *)b;

	return x->ref.key < y->ref.key ? -1 : x->ref.key > y->ref.key;
}

static unsigned log2_of(unsigned n)
{
	unsigned bits = 0;

	while (n > 1) {
		n /= 2;
		bits++;
	}
	return bits;
}

/* Bits of the smallest aligned range that has both keys. */
static unsigned common_bits(uint64_t first, uint64_t last)
{
	unsigned bits = 0;

	while (bits < 64 && (bits == 0 ? first != last : (first ^ last) >> bits != 0))
		bits++;
	return bits;
}

/*
 * Put the children of an array with too little room into indirect blocks below it: each of its
 * entries gets an equal part of the smallest range that covers them all.
 */
static void balance(struct image *image, struct image_block *block)
{
	struct image_block **all = block->children;
	unsigned count = block->child_count, room, bits, part_bits;

	array_of(block, &room);
	if (count <= room)
		return;
	qsort(all, count, sizeof(struct image_block *), by_key);
	bits = common_bits(all[0]->ref.key, h2_blockref_key_last(&all[count - 1]->ref));
	if (bits <= log2_of(room))
		die("more keys than there can be");
	part_bits = bits - log2_of(room);
	block->children = NULL;
	block->child_count = block->child_room = 0;
	for (unsigned i = 0; i < count;) {
		uint64_t part = all[i]->ref.key >> part_bits;
		unsigned end = i + 1;
		struct image_block *indirect;

		while (end < count && all[end]->ref.key >> part_bits == part)
			end++;
		if (end == i + 1) {
			push_child(block, all[i++]);
			continue;
		}
		indirect = image_add_indirect(image, block, part << part_bits, part_bits, 14);
		while (i < end)
			push_child(indirect, all[i++]);
	}
	free(all);
}

static void place(struct image_block *block, struct h2d_blockref *array, unsigned room)
{
	struct image_block *at[H2_NODE_ENTRIES_MAX] = {NULL};
	unsigned next = 0;

	for (unsigned i = 0; i < block->child_count; i++) {
		struct image_block *child = block->children[i];

		if (child->slot < 0)
			continue;
		if ((unsigned)child->slot >= room || at[child->slot])
			die("an entry that has no room in its array");
		at[child->slot] = child;
	}
	qsort(block->children, block->child_count, sizeof(struct image_block *), by_key);
	for (unsigned i = 0; i < block->child_count; i++) {
		if (block->children[i]->slot >= 0)
			continue;
		while (at[next])
			next++;
		at[next] = block->children[i];
	}
	for (unsigned i = 0; i < room; i++) {
		if (at[i])
			h2_blockref_encode(&at[i]->ref, &array[i]);
		else
			memset(&array[i], 0, sizeof(array[i]));
	}
}

/* MF 3.6. */
static void count_children(struct image_block *block)
{
	struct h2_blockref *ref = &block->ref;
	unsigned leaves = 0;

	if (block->flags & IMAGE_KEEP_STATS)
		return;
	ref->data_count = ref->inode_count = 0;
	for (unsigned i = 0; i < block->child_count; i++) {
		const struct h2_blockref *c = &block->children[i]->ref;
		unsigned radix = h2_blockref_radix(c);

		ref->data_count += c->data_count + (radix ? UINT64_C(1) << radix : 0);
		ref->inode_count += c->inode_count + (c->type == H2_BLOCKREF_INODE);
		leaves += c->type == H2_BLOCKREF_INDIRECT ? c->leaf_count : 1u;
	}
	ref->leaf_count = (uint16_t)(leaves < UINT16_MAX ? leaves : UINT16_MAX);
}

static bool has_stats(const struct image_block *block)
{
	return block->ref.type == H2_BLOCKREF_INODE || block->ref.type == H2_BLOCKREF_INDIRECT;
}

static void seal_block(struct image *image, struct image_block *block)
{
	struct h2d_blockref *array;
	unsigned room;

	if (block->sealed)
		return;
	block->sealed = true;
	if (block->same_as) {
		const struct image_block *other = block->same_as;

		/* An ancestor is not ready yet: its check code cannot be had, which is as it is. */
		seal_block(image, (struct image_block *)other);
		block->ref.data_off = other->ref.data_off;
		block->ref.methods = other->ref.methods;
		memcpy(block->ref.check, other->ref.check, sizeof(block->ref.check));
		return;
	}
	if (!block->bytes)
		return;
	balance(image, block);
	for (unsigned i = 0; i < block->child_count; i++)
		seal_block(image, block->children[i]);
	if (block->child_count > 0) {
		array = array_of(block, &room);
		place(block, array, room);
		if (has_stats(block))
			count_children(block);
	}
	if (block->ref.type == TYPE_SET)
		return;
	if (!(block->flags & IMAGE_KEEP_CHECK))
		(void)h2_check_set(&block->ref, block->bytes, block->size); /* unknown: as it is */
	if (!(block->flags & IMAGE_NO_WRITE))
		poke(image, block->media, block->bytes, block->size);
}

void image_write_header(struct image *image, unsigned volume, unsigned slot)
{
	struct image_volume *v = &image->volumes[volume];
	struct h2d_volume_header *d = must(calloc(1, sizeof(*d)));

	h2_volume_header_encode(&v->header, d);
	h2_volume_header_seal(d);
	if (h2_sim_poke(v->sim, slot * H2_HEADER_SPACING, d, sizeof(*d)))
		die("out of memory");
	free(d);
}

static void decode_set(const struct image_block *set, struct h2_blockref refs[H2_BLOCKSET_COUNT])
{
	for (unsigned i = 0; i < H2_BLOCKSET_COUNT; i++)
		h2_blockref_decode((struct h2d_blockref *)set->bytes + i, &refs[i]);
}

void image_seal(struct image *image)
{
	struct h2_volume_header *root = &image->volumes[0].header;

	image->set.sealed = image->freemap_set.sealed = false;
	for (unsigned i = 0; i < image->stock->child_count; i++)
		image->stock->children[i]->sealed = false;
	/* The topology first: it may still take indirect blocks from the freemap. */
	seal_block(image, &image->set);
	seal_block(image, &image->freemap_set);
	decode_set(&image->set, root->sroot_blockset);
	decode_set(&image->freemap_set, root->freemap_blockset);
	for (unsigned i = 0; i < image->volume_count; i++) {
		uint64_t size = image->volumes[i].size;

		for (unsigned slot = 0; slot < H2_HEADER_COPIES_MAX; slot++) {
			if (slot * H2_HEADER_SPACING < size)
				image_write_header(image, i, slot);
		}
	}
}

int image_open(struct image *image, const struct h2_volumes_options *options,
	       struct h2_volumes **volumesp)
{
	struct h2_device *devices[H2_VOLUMES_MAX];

	for (unsigned i = 0; i < image->volume_count; i++) {
		if (h2_sim_open(image->volumes[i].sim, options && options->write, &devices[i]))
			die("out of memory");
	}
	return h2_volumes_assemble(devices, image->volume_count, options, volumesp);
}

/* ---- what filesystems are made of ---- */

struct image_block *image_add_indirect(struct image *image, struct image_block *parent,
				       uint64_t key, unsigned keybits, unsigned radix)
{
	return image_add(image, parent, H2_BLOCKREF_INDIRECT, key, keybits, radix);
}

static void make_inode(struct image_block *block, struct h2_inode_meta *meta)
{
	meta->version = 1;
	meta->nlinks = 1;
	meta->ctime = meta->mtime = TIME_US;
	meta->comp_algo = H2_COMP_LZ4;
	meta->check_algo = H2_CHECK_XXHASH64;
	h2_inode_encode(meta, image_inode(block));
}

struct image_block *image_add_pfs(struct image *image, struct image_block *parent,
				  const char *label)
{
	size_t len = strlen(label);
	uint64_t key = h2_name_hash(label, len);
	struct image_block *block = image_add(image, parent, H2_BLOCKREF_INODE, key, 0, 10);
	struct h2_inode_meta meta = {
		.type = H2_OBJECT_DIRECTORY,
		.op_flags = H2_INODE_PFSROOT,
		.mode = 0755,
		.inum = H2_INUM_ROOT,
		.name_key = key,
		.name_len = (uint16_t)len,
		.pfs_type = H2_PFS_MASTER,
		.pfs_inum = UINT64_C(1) << 32,
	};

	if (len > H2_NAME_MAX)
		die("a label that is too long");
	memcpy(meta.filename, label, len);
	memcpy(meta.pfs_clid.bytes, &key, sizeof(key));
	memcpy(meta.pfs_fsid.bytes + 8, &key, sizeof(key));
	make_inode(block, &meta);
	block->ref.flags = H2_BLOCKREF_PFSROOT;
	return block;
}

static void add_inode(struct image_block *block, uint64_t inum, unsigned type, const char *name)
{
	size_t len = strlen(name);
	struct h2_inode_meta meta = {
		.type = (uint8_t)type,
		.mode = type == H2_OBJECT_DIRECTORY ? 0755
			: type == H2_OBJECT_SYMLINK ? 0777
						    : 0644,
		.inum = inum,
		.iparent = H2_INUM_ROOT,
		.name_key = block->ref.key,
		.name_len = (uint16_t)len,
	};

	if (len > sizeof(meta.filename))
		die("a name that is too long");
	memcpy(meta.filename, name, len);
	make_inode(block, &meta);
}

struct image_block *image_add_inode(struct image *image, struct image_block *parent, uint64_t inum,
				    unsigned type)
{
	struct image_block *block = image_add(image, parent, H2_BLOCKREF_INODE, inum, 0, 10);
	char name[32];

	snprintf(name, sizeof(name), "0x%016llx", (unsigned long long)inum);
	add_inode(block, inum, type, name);
	return block;
}

/* A key for a name: its hash plus 1, or the next one that parent does not have. */
static uint64_t free_key(const struct image_block *parent, const char *name)
{
	uint64_t key = h2_name_hash(name, strlen(name)) + 1;

	for (unsigned i = 0; i < parent->child_count; i++) {
		if (parent->children[i]->ref.key == key) {
			key++;
			i = UINT32_MAX; /* begin again */
		}
	}
	return key;
}

struct image_block *image_add_legacy(struct image *image, struct image_block *parent,
				     const char *name, uint64_t inum, unsigned type)
{
	struct image_block *block = image_add(image, parent, H2_BLOCKREF_INODE,
					      free_key(parent, name), 0, 10);

	add_inode(block, inum, type, name);
	return block;
}

struct image_block *image_add_dirent(struct image *image, struct image_block *parent,
				     const char *name, uint64_t inum, unsigned type)
{
	size_t len = strlen(name);
	bool long_name = len > H2_NAME_INLINE_MAX;
	struct image_block *block = image_add(image, parent, H2_BLOCKREF_DIRENT,
					      free_key(parent, name), 0, long_name ? 10 : 0);

	if (len > H2_BLOCK_MIN)
		die("a name that is too long");
	block->ref.dirent_inum = inum;
	block->ref.dirent_namlen = (uint16_t)len;
	block->ref.dirent_type = (uint8_t)type;
	memcpy(long_name ? block->bytes : block->ref.check, name, len);
	return block;
}

static unsigned radix_for(size_t len)
{
	unsigned radix = 10;

	while ((size_t)1 << radix < len)
		radix++;
	return radix;
}

struct image_block *image_add_stored(struct image *image, struct image_block *parent, uint64_t key,
				     unsigned comp, const void *stored, unsigned radix)
{
	struct image_block *block = image_add(image, parent, H2_BLOCKREF_DATA, key, 16, radix);

	block->ref.methods = (uint8_t)(block->ref.methods | comp);
	memcpy(block->bytes, stored, block->size);
	return block;
}

struct image_block *image_add_data(struct image *image, struct image_block *parent, uint64_t key,
				   unsigned comp, const void *data, size_t len)
{
	uint8_t *plain = must(calloc(1, H2_BLOCK_MAX)), *packed = must(calloc(1, H2_BLOCK_MAX));
	unsigned radix = radix_for(len), used = H2_COMP_NONE;
	struct image_block *block;
	int size;

	if (len > H2_BLOCK_MAX)
		die("more data than a block holds");
	memcpy(plain, data, len);
	size = h2_data_encode(comp, plain, (size_t)1 << radix, packed, &used);
	if (size > 0)
		block = image_add_stored(image, parent, key, used, packed, radix_for((size_t)size));
	else
		block = image_add_stored(image, parent, key, H2_COMP_NONE, plain, radix);
	free(plain);
	free(packed);
	return block;
}

struct image_block *image_add_file(struct image *image, struct image_block *pfs, uint64_t inum,
				   unsigned type, unsigned comp, const void *data, size_t len)
{
	struct image_block *block = image_add_inode(image, pfs, inum, type);
	struct h2d_inode *inode = image_inode(block);
	const uint8_t *bytes = data;

	inode->size = le64_make(len);
	inode->comp_algo = (uint8_t)comp;
	if (len <= H2_INLINE_DATA_MAX) {
		inode->op_flags = H2_INODE_DIRECTDATA;
		if (len > 0)
			memcpy(inode->u.data, data, len);
		return block;
	}
	for (size_t at = 0; at < len; at += H2_LOGICAL_BLOCK) {
		size_t part = len - at < H2_LOGICAL_BLOCK ? len - at : H2_LOGICAL_BLOCK;

		if (!h2_is_zero(bytes + at, part))
			image_add_data(image, block, at, comp, bytes + at, part);
	}
	return block;
}
