/*
 * The check finds each fault that it has a name for, names its place, and finds nothing else: a
 * row is a sound volume with one thing made wrong and its check codes made right again. Then what
 * must not change the findings: threads, memory, volumes, header copies.
 */
#include <hammer2/check.h>
#include <inttypes.h>

#include "image.h"
#include "unit.h"

#define VOLUME_SIZE (2 * GIB + 64 * MIB) /* two header copies */
#define DISK_SIZE (4 * GIB + 64 * MIB)   /* and room for the remnant of a third */
#define BLOCKS 5u                        /* of the file "big" */
#define BIG_SIZE (BLOCKS * H2_LOGICAL_BLOCK - 1000)
#define FOUND_MAX 512u
#define ALSO_MAX 4u

enum { DIR = 1024, SUB, BIG, PACKED, SMALL, LINK, FIFO, LONG, NEW = 1100 };

static const char long_name[] =
	"a name of more than sixty-four bytes, which therefore lies in a block of its own";

/* ---- the sound volume ---- */

struct found {
	enum h2_severity severity;
	char code[32], pfs[16], path[128], member[32];
	unsigned flags;
	uint64_t inum, key, media;
};

struct volume {
	struct image *image;
	struct h2_volumes *volumes;
	struct image_block *root, *index, *names; /* PFS DATA; its inodes; its entries */
	struct image_block *other, *other_file;   /* PFS OTHER */
	struct image_block *dir, *dir_names, *sub;
	struct image_block *big, *indirect, *data[BLOCKS];
	struct image_block *packed, *small, *link, *fifo;
	struct image_block *name_dir, *name_sub, *name_small, *name_long;
	uint64_t media; /* where the finding must be; 0: not compared */

	struct found found[FOUND_MAX];
	unsigned found_count;
	struct h2_check_summary summary;
};

static void set_parent(struct image_block *inode, uint64_t inum)
{
	image_inode(inode)->iparent = le64_make(inum);
}

static void set_nlinks(struct image_block *inode, uint64_t count)
{
	image_inode(inode)->nlinks = le64_make(count);
}

static struct image_block *add_named(struct volume *v, const char *name, uint64_t inum,
				     unsigned type)
{
	struct image_block *inode = image_add_inode(v->image, v->index, inum, type);

	image_add_dirent(v->image, v->dir_names, name, inum, type);
	set_parent(inode, DIR);
	return inode;
}

static struct image_block *add_inline(struct volume *v, uint64_t inum, unsigned type)
{
	struct image_block *inode = image_add_file(v->image, v->index, inum, type, 0, "text", 4);

	set_parent(inode, DIR);
	return inode;
}

static void build_big(struct volume *v)
{
	uint8_t *bytes = unit_alloc(H2_LOGICAL_BLOCK);

	v->big = add_named(v, "big", BIG, H2_OBJECT_FILE);
	image_inode(v->big)->size = le64_make(BIG_SIZE);
	v->indirect = image_add_indirect(v->image, v->big, 0, 24, 12);
	for (unsigned i = 0; i < BLOCKS; i++) {
		unit_noise(bytes, H2_LOGICAL_BLOCK, i + 1);
		v->data[i] = image_add_data(v->image, v->indirect, i * H2_LOGICAL_BLOCK,
					    H2_COMP_NONE, bytes,
					    H2_LOGICAL_BLOCK - (i + 1 == BLOCKS ? 1000 : 0));
	}
	memset(bytes, 'z', H2_LOGICAL_BLOCK);
	v->packed = add_named(v, "packed", PACKED, H2_OBJECT_FILE);
	image_inode(v->packed)->size = le64_make(H2_LOGICAL_BLOCK);
	image_add_data(v->image, v->packed, 0, H2_COMP_LZ4, bytes, H2_LOGICAL_BLOCK);
	free(bytes);
}

static void build_content(struct volume *v)
{
	struct image *image = v->image;

	v->dir = image_add_inode(image, v->index, DIR, H2_OBJECT_DIRECTORY);
	v->name_dir = image_add_dirent(image, v->names, "dir", DIR, H2_OBJECT_DIRECTORY);
	v->dir_names = image_add_indirect(image, v->dir, H2_KEY_VISIBLE, 63, 14);
	v->sub = image_add_inode(image, v->index, SUB, H2_OBJECT_DIRECTORY);
	v->name_sub = image_add_dirent(image, v->dir_names, "sub", SUB, H2_OBJECT_DIRECTORY);
	set_parent(v->sub, DIR);
	build_big(v);
	v->small = add_inline(v, SMALL, H2_OBJECT_FILE);
	v->name_small = image_add_dirent(image, v->dir_names, "small", SMALL, H2_OBJECT_FILE);
	image_add_dirent(image, v->names, "hard", SMALL, H2_OBJECT_FILE);
	set_nlinks(v->small, 2);
	v->link = add_inline(v, LINK, H2_OBJECT_SYMLINK);
	image_add_dirent(image, v->dir_names, "link", LINK, H2_OBJECT_SYMLINK);
	v->fifo = add_named(v, "fifo", FIFO, H2_OBJECT_FIFO);
	add_inline(v, LONG, H2_OBJECT_FILE);
	v->name_long = image_add_dirent(image, v->dir_names, long_name, LONG, H2_OBJECT_FILE);
}

static struct volume *volume_new(const struct image_options *options)
{
	struct volume *v = unit_alloc(sizeof(*v));

	v->image = image_new(options);
	v->image->super_root->ref.modify_tid = 1;
	v->root = image_add_pfs(v->image, v->image->super_root, "DATA");
	v->index = image_add_indirect(v->image, v->root, 0, 24, 14);
	v->names = image_add_indirect(v->image, v->root, H2_KEY_VISIBLE, 63, 14);
	return v;
}

/* With a disk that is larger than the volume. */
static struct volume *volume_build(void)
{
	uint64_t size = VOLUME_SIZE;
	struct volume *v = volume_new(&(struct image_options){.sizes = &size});
	struct image_volume *disk = &v->image->volumes[0];

	h2_sim_free(disk->sim);
	disk->sim = h2_sim_new(DISK_SIZE);
	assert_non_null(disk->sim);
	build_content(v);
	v->other = image_add_pfs(v->image, v->image->super_root, "OTHER");
	v->other_file = image_add_file(v->image, v->other, DIR, H2_OBJECT_FILE, 0, "x", 1);
	image_add_dirent(v->image, v->other, "file", DIR, H2_OBJECT_FILE);
	return v;
}

static void volume_close(struct volume *v)
{
	h2_volumes_close(v->volumes);
	v->volumes = NULL;
}

static void volume_free(struct volume *v)
{
	volume_close(v);
	image_free(v->image);
	free(v);
}

static void volume_open(struct volume *v)
{
	volume_close(v);
	assert_int_equal(image_open(v->image, NULL, &v->volumes), 0);
}

/* ---- running a check ---- */

static void copy_text(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from ? from : "");
}

static void collect(void *user, const struct h2_report *report)
{
	struct volume *v = user;
	struct found *f = &v->found[v->found_count];

	/* What every finding has. */
	if (!report->code || !report->message || !report->object || report->error > 0)
		abort();
	if (v->found_count == FOUND_MAX)
		abort();
	v->found_count++;
	f->severity = report->severity;
	f->flags = report->flags;
	f->inum = report->inum;
	f->key = report->key;
	f->media = report->media;
	copy_text(f->code, sizeof(f->code), report->code);
	copy_text(f->pfs, sizeof(f->pfs), report->pfs);
	copy_text(f->path, sizeof(f->path), report->path);
	copy_text(f->member, sizeof(f->member), report->member);
}

static int run(struct volume *v, const struct h2_check_options *wanted)
{
	struct h2_check_options options = wanted ? *wanted
						 : (struct h2_check_options){.threads = 1};

	options.report = collect;
	options.report_user = v;
	memset(v->found, 0, sizeof(v->found));
	v->found_count = 0;
	return h2_check_run(v->volumes, &options, &v->summary);
}

static void check(struct volume *v, const struct h2_check_options *options)
{
	unsigned faults = 0, warnings = 0;

	assert_int_equal(run(v, options), 0);
	for (unsigned i = 0; i < v->found_count; i++) {
		faults += v->found[i].severity == H2_FAULT;
		warnings += v->found[i].severity == H2_WARNING;
	}
	assert_int_equal(v->summary.faults, faults);
	assert_int_equal(v->summary.warnings, warnings);
	assert_int_equal(v->summary.notes, v->found_count - faults - warnings);
}

static void print_found(const struct volume *v)
{
	for (unsigned i = 0; i < v->found_count; i++) {
		const struct found *f = &v->found[i];

		print_error("  %s (%d) member \"%s\" pfs \"%s\" inum %" PRIu64
			    " path \"%s\" key %#" PRIx64 " media %#" PRIx64 "\n",
			    f->code, (int)f->severity, f->member, f->pfs, f->inum, f->path, f->key,
			    f->media);
	}
}

static unsigned count_code(const struct volume *v, const char *code)
{
	unsigned count = 0;

	for (unsigned i = 0; i < v->found_count; i++)
		count += strcmp(v->found[i].code, code) == 0;
	return count;
}

static void expect_nothing(struct volume *v, const struct h2_check_options *options)
{
	check(v, options);
	if (v->found_count > 0)
		print_found(v);
	assert_int_equal(v->found_count, 0);
}

/* ---- tools to break things ---- */

static void about(struct volume *v, const struct image_block *block)
{
	v->media = h2_blockref_offset(&block->ref);
}

static struct h2_volume_header *header(struct volume *v)
{
	return &v->image->volumes[0].header;
}

static struct image_block *leaf_of(struct volume *v, uint64_t offset)
{
	return v->image->freemap_leaves[offset / H2_ZONE];
}

static struct h2d_freemap_record *record_of(struct volume *v, uint64_t offset)
{
	return (struct h2d_freemap_record *)leaf_of(v, offset)->bytes +
	       offset % H2_ZONE / H2_SEGMENT;
}

/* Change the state of an allocated granule, and all sums with it. */
static void set_granule(struct volume *v, uint64_t offset, enum h2_granule_state state)
{
	struct h2d_freemap_record *d = record_of(v, offset);
	struct h2_freemap_record r;
	uint64_t *word;

	h2_freemap_record_decode(d, &r);
	word = &r.bitmap[offset >> 19 & 7];
	*word &= ~(UINT64_C(3) << 2 * (offset >> 14 & 31));
	*word |= (uint64_t)state << 2 * (offset >> 14 & 31);
	if (state == H2_GRANULE_FREE) {
		r.avail += H2_GRANULE;
		header(v)->allocator_free += H2_GRANULE;
	}
	h2_freemap_record_encode(&r, d);
}

static struct image_block *add_new_inode(struct volume *v, unsigned type)
{
	return image_add_inode(v->image, v->index, NEW, type);
}

/* A reference to storage that nobody looks at: file data without check code. */
static struct image_block *add_unchecked_data(struct volume *v, unsigned radix)
{
	struct image_block *block = image_add(v->image, v->indirect, H2_BLOCKREF_DATA,
					      BLOCKS * H2_LOGICAL_BLOCK, 16, radix);

	image_inode(v->big)->size = le64_make((BLOCKS + 1) * H2_LOGICAL_BLOCK);
	block->ref.methods = 0;
	block->flags = IMAGE_NO_WRITE;
	return block;
}

/* Change a sealed block behind the back of its check code. */
static void spoil(struct volume *v, const struct image_block *block, size_t at)
{
	uint8_t byte = block->bytes[at] ^ 1;
	unsigned i = 0;
	uint64_t start = 0;

	about(v, block);
	while (v->media - start >= v->image->volumes[i].size)
		start += v->image->volumes[i++].size;
	assert_int_equal(h2_sim_poke(v->image->volumes[i].sim, v->media - start + at, &byte, 1), 0);
}

/* ---- headers ---- */

static void poke_header(struct volume *v, unsigned slot, uint64_t at, const void *bytes, size_t len)
{
	assert_int_equal(
		h2_sim_poke(v->image->volumes[0].sim, slot * H2_HEADER_SPACING + at, bytes, len),
		0);
	v->media = slot * H2_HEADER_SPACING;
}

static void damage_header(struct volume *v)
{
	poke_header(v, 1, 5000, "x", 1);
}

static void damage_magic(struct volume *v)
{
	poke_header(v, 1, 0, "x", 1);
}

static void remove_header(struct volume *v)
{
	uint8_t *zeros = unit_alloc(H2_HEADER_SIZE);

	poke_header(v, 1, 0, zeros, H2_HEADER_SIZE);
	free(zeros);
}

static void leave_header(struct volume *v)
{
	image_write_header(v->image, 0, 2);
	v->media = 2 * H2_HEADER_SPACING;
}

static void change_header_copy(struct volume *v)
{
	header(v)->allocator_free -= H2_GRANULE;
	image_write_header(v->image, 0, 1);
	v->media = H2_HEADER_SPACING;
}

static void fail_header(struct volume *v)
{
	h2_sim_set_fault(v->image->volumes[0].sim, H2_SIM_READ, H2_SIM_FAIL, 1, 1, -EIO);
	v->media = H2_HEADER_SPACING;
}

static void raise_freemap_tid(struct volume *v)
{
	header(v)->freemap_tid = v->image->tid + 1;
}

static void swap_boot_area(struct volume *v)
{
	header(v)->boot_beg = header(v)->boot_end + H2_GRANULE;
}

static void move_allocator(struct volume *v)
{
	header(v)->allocator_beg = header(v)->aux_beg;
}

static void grow_free(struct volume *v)
{
	header(v)->allocator_free = header(v)->allocator_size + H2_GRANULE;
}

static void set_header_flag(struct volume *v)
{
	header(v)->flags = 1;
	v->media = 0;
}

static void lower_boot_area(struct volume *v)
{
	header(v)->boot_beg = H2_SEGMENT - H2_GRANULE;
}

static void shift_aux_area(struct volume *v)
{
	header(v)->aux_end -= H2_GRANULE;
}

static void count_reserved_as_free(struct volume *v)
{
	header(v)->allocator_size += H2_GRANULE;
}

/* Copy 1 becomes that of a newer commit without changes; copy 2 stays, but for one member. */
static void write_older_copy(struct volume *v, void (*change)(struct h2_volume_header *h))
{
	struct h2_volume_header sound = *header(v);

	change(header(v));
	image_write_header(v->image, 0, 1);
	*header(v) = sound;
	header(v)->mirror_tid++;
	header(v)->freemap_tid++;
	image_write_header(v->image, 0, 0);
	v->media = H2_HEADER_SPACING;
}

static void change_fsid(struct h2_volume_header *h)
{
	h->fsid.bytes[3] ^= 1;
}

static void change_id(struct h2_volume_header *h)
{
	h->volu_id = 1;
}

static void change_total(struct h2_volume_header *h)
{
	h->total_size -= H2_VOLUME_ALIGN;
}

static void raise_sizes(struct h2_volume_header *h)
{
	h->volu_size += H2_VOLUME_ALIGN;
	h->total_size += H2_VOLUME_ALIGN;
}

static void change_flags(struct h2_volume_header *h)
{
	h->flags = 1;
}

static void change_last_offset(struct h2_volume_header *h)
{
	h->volu_loff[63] = 0;
}

static void foreign_header(struct volume *v)
{
	write_older_copy(v, change_fsid);
}

static void header_of_other_volume(struct volume *v)
{
	write_older_copy(v, change_id);
}

static void header_of_other_total(struct volume *v)
{
	write_older_copy(v, change_total);
}

static void header_of_larger_volume(struct volume *v)
{
	write_older_copy(v, raise_sizes);
}

static void header_with_flags(struct volume *v)
{
	write_older_copy(v, change_flags);
}

static void header_with_offset(struct volume *v)
{
	write_older_copy(v, change_last_offset);
}

/* ---- arrays ---- */

static void fill_empty(struct volume *v)
{
	about(v, image_add(v->image, v->indirect, H2_BLOCKREF_EMPTY, 0, 0, 10));
}

static void fill_empty_elsewhere(struct volume *v)
{
	struct image_block *empty = image_add(v->image, v->indirect, H2_BLOCKREF_EMPTY, 0, 0, 0);

	empty->ref = (struct h2_blockref){.copyid = 0xff};
	about(v, empty);
}

static void swap_entries(struct volume *v)
{
	v->data[0]->slot = 1;
	v->data[1]->slot = 0;
	about(v, v->data[0]);
}

static void double_entry(struct volume *v)
{
	about(v, image_add_data(v->image, v->indirect, 4 * H2_LOGICAL_BLOCK, H2_COMP_NONE, "", 1));
	v->media = 0; /* which of the two is the second one is not said */
}

/* One range over several others, which do not overlap each other. */
static void cover_entries(struct volume *v)
{
	struct image_block *wide = image_add_indirect(v->image, v->big, 0, 26, 12);
	struct image_block *second = image_add_indirect(v->image, v->big, 1 << 25, 24, 12);

	wide->slot = 0;
	v->indirect->slot = 1;
	second->slot = 2;
}

static void move_outside(struct volume *v)
{
	image_inode(v->big)->size = le64_make(1 << 26);
	v->data[4]->ref.key = 1 << 25;
	about(v, v->data[4]);
}

/* A node that claims more than the one it is in. */
static void widen_inner(struct volume *v)
{
	struct image_block *outer = image_add_indirect(v->image, v->big, 1 << 26, 20, 12);
	struct image_block *inner = image_add_indirect(v->image, outer, 1 << 26, 24, 12);

	image_inode(v->big)->size = le64_make(1 << 27);
	image_add_data(v->image, inner, 1 << 26, H2_COMP_NONE, "x", 1);
	about(v, inner);
}

static void loop_tree(struct volume *v)
{
	struct image_block *loop = image_add_indirect(v->image, v->indirect, 1 << 20, 20, 0);

	loop->same_as = v->indirect;
	about(v, v->indirect);
}

/* The super-root and the PFS are two levels; this makes 61. */
static void nest_deep(struct volume *v)
{
	struct image_block *at = v->other;

	for (unsigned i = 0; i < 59; i++)
		at = image_add_indirect(v->image, at, UINT64_C(1) << 62, 62 - i, 12);
	about(v, at);
}

static void odd_indirect(struct volume *v)
{
	struct image_block *odd = image_add_indirect(v->image, v->big, 1 << 26, 24, 13);

	image_inode(v->big)->size = le64_make(1 << 27);
	image_add_data(v->image, odd, 1 << 26, H2_COMP_NONE, "x", 1);
	about(v, odd);
}

static void empty_indirect(struct volume *v)
{
	about(v, image_add_indirect(v->image, v->big, 1 << 26, 24, 12));
}

static void drop_check_indirect(struct volume *v)
{
	v->indirect->ref.methods = 0;
	about(v, v->indirect);
}

static void drop_check_inode(struct volume *v)
{
	v->small->ref.methods = 0;
	about(v, v->small);
}

static void drop_check_name(struct volume *v)
{
	v->name_long->ref.methods = 0;
	about(v, v->name_long);
}

static void drop_check_short_name(struct volume *v)
{
	v->name_small->ref.methods &= 15;
}

static void unknown_check_short_name(struct volume *v)
{
	v->name_small->ref.methods = 6 << 4;
}

static void flag_as_pfs(struct volume *v)
{
	v->small->ref.flags = H2_BLOCKREF_PFSROOT;
	about(v, v->small);
}

static void set_unknown_flag(struct volume *v)
{
	v->small->ref.flags = 2;
	about(v, v->small);
}

/* BS 12.1: must be tolerated. */
static void set_update_tid(struct volume *v)
{
	v->small->ref.flags = H2_BLOCKREF_EMERG_MIP;
	v->small->ref.update_tid = 1;
	about(v, v->small);
}

static void fill_check_union(struct volume *v)
{
	image_seal(v->image);
	v->small->flags |= IMAGE_KEEP_CHECK;
	v->small->ref.check[63] = 1;
	about(v, v->small);
}

/* ---- transaction ids, statistics ---- */

static void raise_tid_of_data(struct volume *v)
{
	header(v)->mirror_tid = v->image->tid + 3;
	v->data[2]->ref.mirror_tid = v->image->tid + 2;
	about(v, v->data[2]);
}

/* Of a commit that the freemap knows: wrong all the same. */
static void raise_old_tid_of_data(struct volume *v)
{
	header(v)->mirror_tid = header(v)->freemap_tid = v->image->tid + 3;
	v->data[2]->ref.mirror_tid = v->image->tid + 2;
	about(v, v->data[2]);
}

static void lower_freemap_tid(struct volume *v)
{
	header(v)->freemap_tid--;
	about(v, v->image->super_root);
}

static void raise_tid_over_header(struct volume *v)
{
	v->image->super_root->ref.mirror_tid = v->image->tid + 1;
	about(v, v->image->super_root);
}

static void raise_modify_tid(struct volume *v)
{
	v->data[2]->ref.modify_tid = 2;
	about(v, v->data[2]);
}

static void miscount_bytes(struct volume *v)
{
	image_seal(v->image);
	v->indirect->flags |= IMAGE_KEEP_STATS;
	v->indirect->ref.data_count += H2_BLOCK_MIN;
	about(v, v->indirect);
}

static void miscount_inodes(struct volume *v)
{
	image_seal(v->image);
	v->index->flags |= IMAGE_KEEP_STATS;
	v->index->ref.inode_count++;
	about(v, v->index);
}

static void miscount_leaves(struct volume *v)
{
	image_seal(v->image);
	v->index->flags |= IMAGE_KEEP_STATS;
	v->index->ref.leaf_count++;
	about(v, v->index);
}

/* ---- placement ---- */

static void overlap_part(struct volume *v)
{
	struct image_block *part = add_unchecked_data(v, 14);

	part->ref.data_off = (h2_blockref_offset(&v->data[1]->ref) + H2_GRANULE) | 14;
	about(v, part);
}

static void overlap_start(struct volume *v)
{
	struct image_block *part = add_unchecked_data(v, 10);

	part->ref.data_off = h2_blockref_offset(&v->data[1]->ref) | 10;
	about(v, part);
}

static void place_in_boot_area(struct volume *v)
{
	struct image_block *block = add_unchecked_data(v, 10);

	block->ref.data_off = header(v)->boot_beg | 10;
	about(v, block);
}

static void place_in_lost_segment(struct volume *v)
{
	struct image_block *block = add_unchecked_data(v, 14);

	block->ref.data_off = (header(v)->allocator_beg / H2_SEGMENT * H2_SEGMENT + H2_SEGMENT -
			       H2_GRANULE) |
			      14;
	about(v, block);
}

static void place_inode_in_aux_area(struct volume *v)
{
	v->small->media = header(v)->aux_beg;
	v->small->ref.data_off = v->small->media | 10;
	about(v, v->small);
}

/* ---- PFSs ---- */

static void drop_pfs_flag(struct volume *v)
{
	image_inode(v->other)->op_flags = 0;
	about(v, v->other);
}

static void drop_pfs_ref_flag(struct volume *v)
{
	v->other->ref.flags = 0;
	about(v, v->other);
}

static void move_pfs(struct volume *v)
{
	v->other->ref.key ^= 1 << 16;
	image_inode(v->other)->name_key = le64_make(v->other->ref.key);
	about(v, v->other);
}

static void change_name_key(struct volume *v)
{
	image_inode(v->other)->name_key = le64_make(v->other->ref.key + 1);
	about(v, v->other);
}

static void nil_clid(struct volume *v)
{
	memset(&image_inode(v->other)->pfs_clid, 0, sizeof(struct h2_uuid));
	about(v, v->other);
}

static void nil_fsid(struct volume *v)
{
	memset(&image_inode(v->other)->pfs_fsid, 0, sizeof(struct h2_uuid));
	about(v, v->other);
}

static void count_pfs_root(struct volume *v)
{
	set_nlinks(v->other, 2);
	about(v, v->other);
}

static void number_super_root(struct volume *v)
{
	v->image->super_root->ref.key = 1;
	about(v, v->image->super_root);
}

static void double_label(struct volume *v)
{
	struct image_block *third = image_add_pfs(v->image, v->image->super_root, "OTHER");

	third->ref.key++;
	image_inode(third)->name_key = le64_make(third->ref.key);
	image_inode(third)->pfs_clid.bytes[0] ^= 1;
	image_inode(third)->pfs_fsid.bytes[0] ^= 1;
}

static void double_clid(struct volume *v)
{
	image_inode(v->other)->pfs_clid = image_inode(v->root)->pfs_clid;
}

static void double_fsid(struct volume *v)
{
	image_inode(v->other)->pfs_fsid = image_inode(v->root)->pfs_fsid;
}

/* ---- inodes and files ---- */

static void fill_uid(struct volume *v)
{
	image_inode(v->small)->uid.bytes[11] = 1;
	about(v, v->small);
}

static void fill_gid(struct volume *v)
{
	image_inode(v->small)->gid.bytes[0] = 1;
	about(v, v->small);
}

static void fill_filename(struct volume *v)
{
	image_inode(v->small)->filename[255] = 1;
	about(v, v->small);
}

static void fill_reserved(struct volume *v)
{
	image_inode(v->small)->reserved0e8[2] = le64_make(1);
	about(v, v->small);
}

static void set_op_flag(struct volume *v)
{
	image_inode(v->small)->op_flags |= 0x80;
	about(v, v->small);
}

static void fill_inline_tail(struct volume *v)
{
	image_inode(v->small)->u.data[511] = 1;
	about(v, v->small);
}

static void fill_name_tail(struct volume *v)
{
	v->name_small->ref.check[63] = 1;
}

static void fill_long_name_tail(struct volume *v)
{
	v->name_long->bytes[1023] = 1;
	about(v, v->name_long);
}

static void fill_lz4_padding(struct volume *v)
{
	struct image_block *block = v->packed->children[0];

	block->bytes[block->size - 1] = 1;
	about(v, block);
}

static void fill_zlib_padding(struct volume *v)
{
	uint8_t *bytes = unit_alloc(H2_LOGICAL_BLOCK);
	struct image_block *block;

	memset(bytes, 'z', H2_LOGICAL_BLOCK);
	image_inode(v->packed)->size = le64_make(2 * H2_LOGICAL_BLOCK);
	block = image_add_data(v->image, v->packed, H2_LOGICAL_BLOCK, H2_COMP_ZLIB, bytes,
			       H2_LOGICAL_BLOCK);
	free(bytes);
	assert_int_equal(h2_blockref_comp_algo(&block->ref), H2_COMP_ZLIB);
	block->bytes[block->size - 1] = 1;
	about(v, block);
}

static void pack_by_autozero(struct volume *v)
{
	v->data[0]->ref.methods |= H2_COMP_AUTOZERO;
	about(v, v->data[0]);
}

static void lower_counter(struct volume *v)
{
	image_inode(v->other)->pfs_inum = le64_make(DIR - 1);
	about(v, v->other_file);
}

static void fill_fifo(struct volume *v)
{
	image_inode(v->fifo)->size = le64_make(1);
	image_add_data(v->image, v->fifo, 0, H2_COMP_NONE, "x", 1);
	about(v, v->fifo);
}

static void cut_file(struct volume *v)
{
	image_inode(v->big)->size = le64_make((BLOCKS - 1) * H2_LOGICAL_BLOCK);
	about(v, v->data[BLOCKS - 1]);
}

static void cut_file_in_block(struct volume *v)
{
	image_inode(v->big)->size = le64_make(BIG_SIZE - 1);
	about(v, v->data[BLOCKS - 1]);
}

static void cut_packed_file(struct volume *v)
{
	image_inode(v->packed)->size = le64_make(H2_LOGICAL_BLOCK - 1);
	about(v, v->packed->children[0]);
}

static void spoil_lz4(struct volume *v)
{
	v->data[0]->ref.methods |= H2_COMP_LZ4;
	memset(v->data[0]->bytes, 0xff, 4);
	about(v, v->data[0]);
}

static void spoil_zlib(struct volume *v)
{
	v->data[0]->ref.methods |= H2_COMP_ZLIB;
	about(v, v->data[0]);
}

static void leave_unlinked(struct volume *v)
{
	struct image_block *inode = add_new_inode(v, H2_OBJECT_FILE);

	set_nlinks(inode, 0);
	about(v, inode);
}

/* ---- names ---- */

static void move_name(struct volume *v)
{
	v->name_small->ref.key ^= 1 << 16;
}

static void double_name(struct volume *v)
{
	image_add_dirent(v->image, v->dir_names, "small", SMALL, H2_OBJECT_FILE);
	set_nlinks(v->small, 3);
}

static void double_long_name(struct volume *v)
{
	image_add_dirent(v->image, v->dir_names, long_name, SMALL, H2_OBJECT_FILE);
	set_nlinks(v->small, 3);
}

static void slash_name(struct volume *v)
{
	v->name_small->ref.check[2] = '/';
	v->name_small->ref.key = h2_name_hash("sm/ll", 5);
}

static void nul_long_name(struct volume *v)
{
	v->name_long->bytes[70] = 0;
	v->name_long->ref.key = h2_name_hash(v->name_long->bytes, sizeof(long_name) - 1);
	about(v, v->name_long);
}

static void dot_name(struct volume *v)
{
	image_add_dirent(v->image, v->dir_names, "..", DIR, H2_OBJECT_DIRECTORY);
}

static void dangle(struct volume *v)
{
	image_add_dirent(v->image, v->dir_names, "ghost", NEW, H2_OBJECT_FILE);
}

static void change_name_type(struct volume *v)
{
	v->name_small->ref.dirent_type = H2_OBJECT_SYMLINK;
}

static void raise_nlinks(struct volume *v)
{
	set_nlinks(v->small, 3);
}

static void lower_nlinks(struct volume *v)
{
	set_nlinks(v->small, 1);
}

static void zero_nlinks(struct volume *v)
{
	set_nlinks(v->small, 0);
}

static void zero_directory_nlinks(struct volume *v)
{
	set_nlinks(v->sub, 0);
}

static void leave_orphan(struct volume *v)
{
	add_new_inode(v, H2_OBJECT_FILE);
}

static void leave_orphan_directory(struct volume *v)
{
	add_new_inode(v, H2_OBJECT_DIRECTORY);
}

static void double_directory(struct volume *v)
{
	image_add_dirent(v->image, v->dir_names, "again", SUB, H2_OBJECT_DIRECTORY);
}

/* A name for the root, which then contains itself. */
static void name_root(struct volume *v)
{
	image_add_dirent(v->image, v->dir_names, "root", H2_INUM_ROOT, H2_OBJECT_DIRECTORY);
}

static void change_parent(struct volume *v)
{
	set_parent(v->sub, H2_INUM_ROOT);
}

static void detach_pair(struct volume *v)
{
	struct image_block *a = add_new_inode(v, H2_OBJECT_DIRECTORY);
	struct image_block *b = image_add_inode(v->image, v->index, NEW + 1, H2_OBJECT_DIRECTORY);

	image_add_dirent(v->image, a, "b", NEW + 1, H2_OBJECT_DIRECTORY);
	image_add_dirent(v->image, b, "a", NEW, H2_OBJECT_DIRECTORY);
	set_parent(a, NEW + 1);
	set_parent(b, NEW);
}

static void raise_directory_nlinks(struct volume *v)
{
	set_nlinks(v->sub, 2);
	about(v, v->sub);
}

static void lose_directory_names(struct volume *v)
{
	spoil(v, v->dir_names, 127);
	v->media = 0;
}

/* ---- the freemap ---- */

static void spoil_leaf(struct volume *v)
{
	spoil(v, leaf_of(v, 0), 0x20); /* reserved, but under the code */
}

static void move_leaf(struct volume *v)
{
	leaf_of(v, 0)->ref.data_off += H2_HEADER_SIZE;
	leaf_of(v, 0)->media += H2_HEADER_SIZE;
	about(v, leaf_of(v, 0));
}

static void raise_tid_of_leaf(struct volume *v)
{
	leaf_of(v, 0)->ref.mirror_tid = v->image->tid + 1;
	about(v, leaf_of(v, 0));
}

static void unmark(struct volume *v, enum h2_granule_state state)
{
	about(v, v->data[1]);
	v->media += H2_GRANULE;
	set_granule(v, v->media, state);
}

static void unmark_free(struct volume *v)
{
	unmark(v, H2_GRANULE_FREE);
}

static void unmark_reserved(struct volume *v)
{
	unmark(v, H2_GRANULE_RESERVED);
}

static void unmark_staged(struct volume *v)
{
	unmark(v, H2_GRANULE_STAGED);
}

/* A commit after the freemap was written: all of the path is young. */
static void lag(struct volume *v)
{
	struct image_block *path[] = {v->image->super_root, v->root,   v->index, v->big,
				      v->indirect,          v->data[1]};

	header(v)->mirror_tid = v->image->tid + 1;
	for (unsigned i = 0; i < LENGTH_OF(path); i++)
		path[i]->ref.mirror_tid = v->image->tid + 1;
	unmark_free(v);
}

/* A young reference to a granule does not excuse that its old block is not marked. */
static void lag_beside_old(struct volume *v)
{
	struct image_block *path[] = {v->image->super_root, v->root, v->index, v->small};

	header(v)->mirror_tid = v->image->tid + 1;
	for (unsigned i = 0; i < LENGTH_OF(path); i++)
		path[i]->ref.mirror_tid = v->image->tid + 1;
	/* Of one granule: the inode of "small", and that of "packed". */
	assert_int_equal(v->small->media / H2_GRANULE, v->packed->media / H2_GRANULE);
	v->media = v->small->media / H2_GRANULE * H2_GRANULE;
	set_granule(v, v->media, H2_GRANULE_FREE);
}

/* A block in the second zone, whose leaf is then lost. */
static struct image_block *leave_leafless(struct volume *v)
{
	struct image_block *block;

	v->image->next_free = H2_ZONE + H2_SEGMENT;
	block = image_add_data(v->image, v->indirect, BLOCKS * H2_LOGICAL_BLOCK, 0, "x", 1);
	image_inode(v->big)->size = le64_make(BLOCKS * H2_LOGICAL_BLOCK + 1);
	assert_int_equal(v->image->freemap_set.child_count, 2);
	v->image->freemap_set.child_count = 1;
	about(v, block);
	return block;
}

static void lose_leaf(struct volume *v)
{
	leave_leafless(v);
}

static void lag_leaf(struct volume *v)
{
	struct image_block *path[] = {v->image->super_root, v->root,          v->index, v->big,
				      v->indirect,          leave_leafless(v)};

	header(v)->mirror_tid = v->image->tid + 1;
	for (unsigned i = 0; i < LENGTH_OF(path); i++)
		path[i]->ref.mirror_tid = v->image->tid + 1;
}

static void unmark_unusable(struct volume *v)
{
	record_of(v, 0)->bitmap[3] = le64_make(0);
	about(v, leaf_of(v, 0));
}

static void change_avail(struct volume *v)
{
	uint64_t offset = h2_blockref_offset(&v->data[1]->ref);
	struct h2d_freemap_record *d = record_of(v, offset);

	d->avail = le32_make(le32_get(d->avail) - H2_GRANULE);
	v->media = offset / H2_SEGMENT * H2_SEGMENT;
}

static void set_linear(struct volume *v, uint64_t offset)
{
	v->media = offset / H2_SEGMENT * H2_SEGMENT;
	record_of(v, offset)->linear = le32_make((uint32_t)(offset - v->media));
}

static void linear_in_use(struct volume *v)
{
	set_linear(v, h2_blockref_offset(&v->data[1]->ref) + H2_BLOCK_MIN);
}

static void linear_in_free(struct volume *v)
{
	set_linear(v, h2_blockref_offset(&v->data[1]->ref) + H2_SEGMENT / 2 + H2_BLOCK_MIN);
}

static void linear_odd(struct volume *v)
{
	set_linear(v, h2_blockref_offset(&v->data[1]->ref) + 512);
}

static void linear_behind(struct volume *v)
{
	set_linear(v, h2_blockref_offset(&v->data[1]->ref));
	record_of(v, v->media)->linear = le32_make(H2_SEGMENT + H2_GRANULE);
}

static void lower_free(struct volume *v)
{
	header(v)->allocator_free -= H2_GRANULE;
}

static void raise_free(struct volume *v)
{
	header(v)->allocator_free += H2_GRANULE;
}

static void change_check_of_leaf(struct volume *v)
{
	leaf_of(v, 0)->ref.methods = H2_CHECK_ISCSI32 << 4;
	about(v, leaf_of(v, 0));
}

static void drop_check_of_leaf(struct volume *v)
{
	leaf_of(v, 0)->ref.methods = H2_CHECK_DISABLED << 4;
	about(v, leaf_of(v, 0));
}

static void set_flag_of_leaf(struct volume *v)
{
	leaf_of(v, 0)->ref.flags = 4;
	about(v, leaf_of(v, 0));
}

static void fill_record(struct volume *v)
{
	record_of(v, 5 * H2_SEGMENT)->reserved20[7] = le32_make(1);
	about(v, leaf_of(v, 0));
}

static void mask(struct volume *v, uint32_t bits)
{
	struct h2d_blockref d;

	h2_blockref_encode(&leaf_of(v, 0)->ref, &d);
	d.check.freemap.bigmask = le32_make(~bits);
	h2_blockref_decode(&d, &leaf_of(v, 0)->ref);
	about(v, leaf_of(v, 0));
}

static void mask_large(struct volume *v)
{
	mask(v, 1 << 16);
}

static void mask_small(struct volume *v)
{
	mask(v, 1 << 10);
}

/* A granule that nothing is in, out of those that are free. */
static void reserve_granule(struct volume *v)
{
	uint64_t offset = h2_blockref_offset(&v->data[0]->ref) + H2_SEGMENT - H2_GRANULE;
	struct h2d_freemap_record *d = record_of(v, offset);

	set_granule(v, offset, H2_GRANULE_RESERVED);
	d->avail = le32_make(le32_get(d->avail) - H2_GRANULE);
	header(v)->allocator_free -= H2_GRANULE;
	about(v, leaf_of(v, 0));
}

static void offer_unusable(struct volume *v)
{
	record_of(v, 0)->avail = le32_make(H2_GRANULE);
}

static void point_into_unusable(struct volume *v)
{
	record_of(v, 0)->linear = le32_make(H2_BLOCK_MIN);
}

static void fill_freemap_set(struct volume *v)
{
	image_add(v->image, &v->image->freemap_set, H2_BLOCKREF_EMPTY, 0, 0, 0)->ref.data_off = 10;
}

/* Put the leaf under a node, as where there are more than four of them. */
static struct image_block *insert_node(struct volume *v)
{
	struct image_block *leaf = leaf_of(v, 0);
	struct image_block *node;

	v->image->freemap_set.child_count = 0;
	node = image_add(v->image, &v->image->freemap_set, H2_BLOCKREF_FREEMAP_NODE, 0, 38, 0);
	node->ref.methods = H2_CHECK_FREEMAP << 4;
	node->ref.data_off = h2_freemap_data_off(2, 0, 0);
	node->media = h2_blockref_offset(&node->ref);
	node->size = H2_FREEMAP_BLOCK_SIZE;
	node->bytes = unit_alloc(node->size);
	memset(node->bytes, 0, node->size);
	node->children = unit_alloc(4 * sizeof(*node->children));
	node->children[node->child_count++] = leaf;
	node->child_room = 4;
	return node;
}

static void age_node(struct volume *v)
{
	insert_node(v)->ref.mirror_tid--;
	about(v, leaf_of(v, 0));
}

static void fill_node(struct volume *v)
{
	struct image_block *node = insert_node(v);

	image_add(v->image, node, H2_BLOCKREF_EMPTY, 0, 0, 0)->ref.leaf_count = 1;
}

/* ---- what the layers below report ---- */

static void spoil_data(struct volume *v)
{
	spoil(v, v->data[3], 77);
}

static void spoil_indirect(struct volume *v)
{
	spoil(v, v->indirect, 4095);
}

static void spoil_name_block(struct volume *v)
{
	spoil(v, v->name_long, 1000);
}

static void spoil_inode(struct volume *v)
{
	spoil(v, v->small, 600);
}

static void spoil_pfs(struct volume *v)
{
	spoil(v, v->other, 900);
}

static void spoil_super_root(struct volume *v)
{
	spoil(v, v->image->super_root, 900);
}

static void lose_super_root(struct volume *v)
{
	v->image->set.child_count = 0;
	memset(v->image->set.bytes, 0, v->image->set.size);
}

static void bad_type(struct volume *v)
{
	v->data[1]->ref.type = 9;
	about(v, v->data[1]);
}

static void bad_type_invalid(struct volume *v)
{
	v->data[1]->ref.type = H2_BLOCKREF_INVALID;
	about(v, v->data[1]);
}

static void bad_type_for_tree(struct volume *v)
{
	image_add_dirent(v->image, v->indirect, "name", NEW, H2_OBJECT_FILE);
}

static void bad_type_in_super_root(struct volume *v)
{
	image_add_dirent(v->image, v->image->super_root, "name", NEW, H2_OBJECT_FILE);
}

static void bad_keybits(struct volume *v)
{
	v->data[1]->ref.keybits = 15;
	about(v, v->data[1]);
}

static void bad_keybits_huge(struct volume *v)
{
	v->indirect->ref.keybits = 64;
	about(v, v->indirect);
}

static void bad_key(struct volume *v)
{
	v->data[4]->ref.key += 4096;
	about(v, v->data[4]);
}

static void bad_index_key(struct volume *v)
{
	struct image_block *name = image_add_dirent(v->image, v->sub, "x", SMALL, H2_OBJECT_FILE);

	name->ref.key &= ~H2_KEY_VISIBLE;
}

static void bad_radix(struct volume *v)
{
	v->data[1]->ref.data_off = h2_blockref_offset(&v->data[1]->ref) | 17;
	v->data[1]->flags = IMAGE_NO_WRITE | IMAGE_KEEP_CHECK;
	about(v, v->data[1]);
}

static void bad_radix_zero(struct volume *v)
{
	v->data[1]->ref.data_off = 0;
}

static void put_data_at(struct volume *v, uint64_t data_off)
{
	v->data[1]->ref.data_off = data_off;
	v->data[1]->flags = IMAGE_NO_WRITE;
	about(v, v->data[1]);
}

static void bad_offset_behind(struct volume *v)
{
	put_data_at(v, VOLUME_SIZE | 16);
}

static void bad_offset_reserved(struct volume *v)
{
	put_data_at(v, H2_ZONE | 16);
}

static void bad_offset_crossing(struct volume *v)
{
	put_data_at(v, (h2_blockref_offset(&v->data[1]->ref) + H2_GRANULE) | 16);
}

static void bad_check_algo(struct volume *v)
{
	v->data[1]->ref.methods = 6 << 4;
	about(v, v->data[1]);
}

static void bad_comp_algo(struct volume *v)
{
	v->data[1]->ref.methods |= 4;
	about(v, v->data[1]);
}

static void bad_name_len(struct volume *v)
{
	v->name_small->ref.dirent_namlen = 0;
}

static void bad_name_inum(struct volume *v)
{
	v->name_small->ref.dirent_inum = 0;
}

static void bad_version(struct volume *v)
{
	image_inode(v->small)->version = le16_make(2);
	about(v, v->small);
}

static void bad_inum(struct volume *v)
{
	image_inode(v->small)->inum = le64_make(SMALL + 100);
	about(v, v->small);
}

static void bad_object_type(struct volume *v)
{
	image_inode(v->small)->type = 3;
	about(v, v->small);
}

static void bad_inline_size(struct volume *v)
{
	image_inode(v->small)->size = le64_make(513);
	about(v, v->small);
}

static void bad_inline_directory(struct volume *v)
{
	image_inode(v->sub)->op_flags = H2_INODE_DIRECTDATA;
	about(v, v->sub);
}

static void bad_pfs_inum(struct volume *v)
{
	image_inode(v->other)->inum = le64_make(2);
	about(v, v->other);
}

static void bad_pfs_type(struct volume *v)
{
	image_inode(v->other)->type = H2_OBJECT_FILE;
	about(v, v->other);
}

static void bad_pfs_flag(struct volume *v)
{
	image_inode(v->small)->op_flags |= H2_INODE_PFSROOT;
	about(v, v->small);
}

/* ---- the table ---- */

struct row {
	const char *name;
	const char *code;
	void (*unsealed)(struct volume *v); /* breaks it before sealing, */
	void (*sealed)(struct volume *v);   /* after it, */
	void (*opened)(struct volume *v);   /* or when the check is about to begin */
	enum h2_severity severity;
	unsigned count; /* how often it is found; 0: once */
	bool has_inum;
	uint64_t inum;
	const char *pfs, *path, *member; /* NULL: not compared */
	const char *also[ALSO_MAX];      /* what follows from it */
};

#define FAULT .severity = H2_FAULT
#define WARNING .severity = H2_WARNING
#define NOTE .severity = H2_NOTE
#define INUM(number) .has_inum = true, .inum = (number)
#define IN_BIG .pfs = "DATA", INUM(BIG), .path = "/dir/big"
#define IN_SMALL .pfs = "DATA", INUM(SMALL), .path = "/dir/small"
#define LOST_SMALL .pfs = "DATA", INUM(SMALL), .also = {"name-dangling", "names-unchecked"}

static const struct row rows[] = {
	{"header damaged", "header-damaged", .sealed = damage_header, FAULT},
	{"header without magic", "header-damaged", .sealed = damage_magic, FAULT},
	{"header never written", "header-missing", .sealed = remove_header, WARNING},
	{"header behind the end", "header-stale", .sealed = leave_header, WARNING},
	{"header of same tid", "header-same-tid", .sealed = change_header_copy, FAULT,
	 .member = "mirror_tid"},
	{"header unreadable", "header-unreadable", .opened = fail_header, FAULT},
	{"freemap_tid", "header-freemap-tid", raise_freemap_tid, FAULT, .count = 2},
	{"fsid of a copy", "header-foreign", .sealed = foreign_header, FAULT},
	{"volu_id of a copy", "header-foreign", .sealed = header_of_other_volume, FAULT},
	{"total_size of a copy", "header-size", .sealed = header_of_other_total, FAULT,
	 .member = "total_size", .also = {"header-allocator-size"}},
	{"volu_size of a copy", "header-size", .sealed = header_of_larger_volume, FAULT,
	 .member = "total_size", .also = {"header-allocator-size"}},
	{"flags of a copy", "header-constants", .sealed = header_with_flags, FAULT},
	{"volu_loff of a copy", "header-constants", .sealed = header_with_offset, FAULT},
	{"flags of the header", "reserved-not-zero", set_header_flag, NOTE},
	{"boot area below 4 MiB", "header-geometry", lower_boot_area, FAULT, .count = 2},
	{"aux area not aligned", "header-geometry", shift_aux_area, FAULT, .count = 2,
	 .member = "aux_end"},
	{"allocator_size", "header-allocator-size", count_reserved_as_free, WARNING, .count = 2,
	 .member = "allocator_size"},
	{"boot area", "header-geometry", swap_boot_area, FAULT, .count = 2},
	{"allocator_beg", "header-geometry", move_allocator, FAULT, .count = 2,
	 .also = {"freemap-free-sum"}},
	{"allocator_free too large", "header-geometry", grow_free, FAULT, .count = 2,
	 .also = {"freemap-free-sum"}},

	{"empty entry", "empty-not-zero", fill_empty, FAULT, IN_BIG},
	{"empty entry of another copy", "empty-not-zero", fill_empty_elsewhere, FAULT, IN_BIG},
	{"order", "array-order", swap_entries, FAULT, IN_BIG},
	{"key twice", "array-overlap", double_entry, FAULT, IN_BIG},
	{"range over others", "array-overlap", cover_entries, FAULT, .count = 2, IN_BIG},
	{"key outside", "key-outside", move_outside, FAULT, IN_BIG},
	/* MF 5.4: DragonFly makes such ones; only what their ranges have in common counts. */
	{"range beyond the node's", "range-wider", widen_inner, NOTE, IN_BIG},
	{"loop", "tree-loop", loop_tree, FAULT, IN_BIG},
	{"deep tree", "tree-deep", nest_deep, FAULT, .pfs = "OTHER"},
	{"indirect of 8 KiB", "indirect-size", odd_indirect, FAULT, IN_BIG},
	{"empty indirect", "indirect-empty", empty_indirect, NOTE, IN_BIG},
	{"indirect without check", "check-none", drop_check_indirect, FAULT, IN_BIG},
	{"inode without check", "check-none", drop_check_inode, FAULT, .pfs = "DATA"},
	{"name without check", "check-none", drop_check_name, FAULT, .pfs = "DATA", INUM(DIR)},

	{"short name without check", "check-none", drop_check_short_name, FAULT, .pfs = "DATA",
	 INUM(DIR)},
	{"short name of unknown check", "check-unknown", unknown_check_short_name, FAULT,
	 .pfs = "DATA", INUM(DIR), .member = "methods"},
	{"PFSROOT flag of a file", "blockref-pfsroot", flag_as_pfs, FAULT, .pfs = "DATA"},
	{"unknown flag", "reserved-not-zero", set_unknown_flag, NOTE, .member = "flags"},
	{"update_tid", "reserved-not-zero", set_update_tid, NOTE, .member = "update_tid"},
	{"behind the check code", "reserved-not-zero", fill_check_union, NOTE},

	{"mirror_tid of a known commit", "mirror-tid-order", raise_old_tid_of_data, FAULT, IN_BIG},
	{"freemap_tid too low", "header-freemap-behind", lower_freemap_tid, FAULT,
	 .member = "freemap_tid"},
	{"mirror_tid", "mirror-tid-order", raise_tid_of_data, FAULT, IN_BIG},
	{"mirror_tid of all", "mirror-tid-header", raise_tid_over_header, FAULT},
	{"modify_tid", "modify-tid-order", raise_modify_tid, NOTE, IN_BIG},
	{"data_count", "statistics", miscount_bytes, NOTE, IN_BIG, .member = "data_count"},
	{"inode_count", "statistics", miscount_inodes, NOTE, .pfs = "DATA",
	 .member = "inode_count"},
	{"leaf_count", "statistics", miscount_leaves, NOTE, .pfs = "DATA", .member = "leaf_count"},

	{"overlap inside", "block-overlap", overlap_part, FAULT, IN_BIG},
	{"overlap at start", "block-overlap", overlap_start, FAULT, IN_BIG},
	{"data in boot area", "block-below-allocator", place_in_boot_area, FAULT, IN_BIG},
	{"data behind newfs", "block-below-allocator", place_in_lost_segment, FAULT, IN_BIG},
	{"inode in aux area", "block-below-allocator", place_inode_in_aux_area, FAULT},

	{"PFS flag", "pfs-flag", drop_pfs_flag, FAULT, .pfs = "OTHER", INUM(1), .path = "/"},
	{"PFS blockref flag", "pfs-blockref-flag", drop_pfs_ref_flag, FAULT, .pfs = "OTHER"},
	{"PFS key", "pfs-key", move_pfs, FAULT, .pfs = "OTHER", .also = {"names-unchecked"}},
	{"PFS name_key", "pfs-name-key", change_name_key, FAULT, .pfs = "OTHER"},
	{"clid nil", "pfs-id-nil", nil_clid, FAULT, .pfs = "OTHER", .member = "pfs_clid"},
	{"fsid nil", "pfs-id-nil", nil_fsid, FAULT, .pfs = "OTHER", .member = "pfs_fsid"},
	{"link count of PFS root", "dir-link-count", count_pfs_root, WARNING, .pfs = "OTHER"},
	{"key of super-root", "super-root-key", number_super_root, FAULT,
	 .also = {"names-unchecked"}},
	{"label twice", "pfs-label-twice", double_label, FAULT, .pfs = "OTHER"},
	{"clid twice", "pfs-clid-twice", double_clid, FAULT},
	{"fsid twice", "pfs-fsid-twice", double_fsid, FAULT},

	{"inode counter", "inum-counter", lower_counter, FAULT, .pfs = "OTHER", INUM(DIR),
	 .path = "/file"},
	{"uid", "inode-owner", fill_uid, FAULT, IN_SMALL, .member = "uid"},
	{"gid", "inode-owner", fill_gid, FAULT, IN_SMALL, .member = "gid"},
	{"behind the filename", "padding", fill_filename, WARNING, IN_SMALL},
	{"reserved bytes", "reserved-not-zero", fill_reserved, NOTE, IN_SMALL},
	{"op_flags", "reserved-not-zero", set_op_flag, NOTE, IN_SMALL, .member = "op_flags"},
	{"tail of inline data", "data-tail", fill_inline_tail, FAULT, IN_SMALL},
	{"behind a name", "padding", fill_name_tail, WARNING, INUM(DIR)},
	{"behind a long name", "padding", fill_long_name_tail, WARNING, INUM(DIR)},
	{"behind LZ4", "padding", fill_lz4_padding, WARNING, .path = "/dir/packed"},
	{"behind zlib", "padding", fill_zlib_padding, WARNING, .path = "/dir/packed"},
	{"packed by autozero", "data-autozero", pack_by_autozero, FAULT, IN_BIG},
	{"FIFO with data", "special-content", fill_fifo, FAULT, .pfs = "DATA", INUM(FIFO),
	 .path = "/dir/fifo"},
	{"data behind the end", "data-beyond-eof", cut_file, FAULT, IN_BIG},
	{"tail of stored data", "data-tail", cut_file_in_block, FAULT, IN_BIG},
	{"tail of packed data", "data-tail", cut_packed_file, FAULT, .path = "/dir/packed"},
	{"bad LZ4", "data-decode", spoil_lz4, FAULT, IN_BIG},
	{"bad zlib", "data-decode", spoil_zlib, FAULT, IN_BIG},
	{"unlinked inode", "nlinks-zero", leave_unlinked, WARNING, .pfs = "DATA", INUM(NEW)},

	{"name at wrong hash", "name-hash", move_name, FAULT, IN_SMALL},
	{"name twice", "name-twice", double_name, FAULT, IN_SMALL},
	{"long name twice", "name-twice", double_long_name, FAULT, .pfs = "DATA"},
	{"name with slash", "name-invalid", slash_name, FAULT, .pfs = "DATA",
	 .also = {"names-unchecked"}},
	{"long name with NUL", "name-invalid", nul_long_name, FAULT, .pfs = "DATA",
	 .also = {"names-unchecked"}},
	{"name of dots", "name-invalid", dot_name, FAULT, .pfs = "DATA",
	 .also = {"names-unchecked"}},
	{"name of nothing", "name-dangling", dangle, FAULT, .pfs = "DATA", INUM(NEW),
	 .path = "/dir/ghost"},
	{"name of wrong type", "name-type", change_name_type, FAULT, IN_SMALL},
	{"link count too high", "link-count", raise_nlinks, FAULT, IN_SMALL},
	{"link count too low", "link-count", lower_nlinks, FAULT, IN_SMALL},
	{"link count 0", "link-count", zero_nlinks, FAULT, IN_SMALL, .also = {"nlinks-zero"}},
	{"link count 0 of directory", "link-count", zero_directory_nlinks, FAULT, INUM(SUB),
	 .also = {"nlinks-zero"}},
	{"orphan file", "orphan", leave_orphan, WARNING, .pfs = "DATA", INUM(NEW)},
	{"orphan directory", "orphan", leave_orphan_directory, WARNING, .pfs = "DATA", INUM(NEW)},
	{"directory twice", "dir-names", double_directory, FAULT, .pfs = "DATA", INUM(SUB)},
	{"name of the root", "dir-names", name_root, FAULT, .pfs = "DATA", INUM(H2_INUM_ROOT),
	 .path = "/dir/root"},
	{"iparent", "dir-parent", change_parent, FAULT, .pfs = "DATA", INUM(SUB),
	 .path = "/dir/sub", .member = "iparent"},
	{"circle of directories", "dir-detached", detach_pair, FAULT, .count = 2, .pfs = "DATA"},
	{"link count of directory", "dir-link-count", raise_directory_nlinks, WARNING,
	 .pfs = "DATA", INUM(SUB), .path = "/dir/sub"},
	{"lost names", "names-unchecked", .sealed = lose_directory_names, WARNING, .pfs = "DATA",
	 .also = {"check-mismatch"}},

	{"freemap leaf", "freemap-block", .sealed = spoil_leaf, FAULT},
	{"freemap slot", "freemap-block", move_leaf, FAULT},
	{"freemap check algorithm", "freemap-check", change_check_of_leaf, FAULT,
	 .member = "methods"},
	{"freemap without check", "check-none", drop_check_of_leaf, FAULT},
	{"flags of a leaf", "reserved-not-zero", set_flag_of_leaf, NOTE, .member = "flags"},
	{"reserved bytes of a record", "reserved-not-zero", fill_record, NOTE},
	{"bigmask without large blocks", "freemap-bigmask", mask_large, FAULT, .member = "bigmask"},
	{"bigmask without small blocks", "freemap-bigmask", mask_small, FAULT},
	{"free granule reserved", "freemap-reserved", reserve_granule, WARNING,
	 .member = "granules"},
	{"avail of reserved space", "freemap-avail", offer_unusable, FAULT, .member = "avail"},
	{"linear into reserved space", "freemap-linear", point_into_unusable, FAULT,
	 .member = "linear"},
	{"empty entry of the freemap", "empty-not-zero", fill_freemap_set, FAULT},
	{"freemap node older than its leaf", "mirror-tid-order", age_node, FAULT,
	 .member = "mirror_tid"},
	{"empty entry of a freemap node", "empty-not-zero", fill_node, FAULT},
	{"freemap tid", "freemap-tid", raise_tid_of_leaf, FAULT},
	{"block marked free", "freemap-state", unmark_free, FAULT},
	{"block marked reserved", "freemap-state", unmark_reserved, FAULT},
	{"block marked staged", "freemap-state", unmark_staged, FAULT},
	{"freemap behind", "freemap-lag", lag, WARNING, .also = {"header-freemap-behind"}},
	{"freemap behind beside old", "freemap-state", lag_beside_old, FAULT,
	 .also = {"header-freemap-behind"}},
	{"no freemap leaf", "freemap-no-leaf", lose_leaf, FAULT},
	{"no freemap leaf yet", "freemap-lag", lag_leaf, WARNING,
	 .also = {"header-freemap-behind"}},
	{"reserved space marked free", "freemap-unusable", unmark_unusable, FAULT},
	{"avail", "freemap-avail", change_avail, FAULT},
	{"linear in use", "freemap-linear", linear_in_use, FAULT},
	{"linear in free granule", "freemap-linear", linear_in_free, FAULT},
	{"linear unaligned", "freemap-linear", linear_odd, FAULT},
	{"linear behind the segment", "freemap-linear", linear_behind, FAULT},
	{"allocator_free too low", "freemap-free-sum", lower_free, WARNING,
	 .member = "allocator_free"},
	{"allocator_free too high", "freemap-free-sum", raise_free, WARNING,
	 .member = "allocator_free"},

	{"data", "check-mismatch", .sealed = spoil_data, FAULT, IN_BIG, .member = "check"},
	{"indirect", "check-mismatch", .sealed = spoil_indirect, FAULT, IN_BIG},
	{"name block", "check-mismatch", .sealed = spoil_name_block, FAULT, .pfs = "DATA",
	 INUM(DIR), .path = "/dir", .also = {"names-unchecked"}},
	{"inode", "check-mismatch", .sealed = spoil_inode, FAULT, LOST_SMALL},
	{"PFS root", "check-mismatch", .sealed = spoil_pfs, FAULT, .also = {"names-unchecked"}},
	{"super-root", "check-mismatch", .sealed = spoil_super_root, FAULT,
	 .also = {"no-super-root", "names-unchecked"}},
	{"no super-root", "no-super-root", lose_super_root, FAULT, .also = {"names-unchecked"}},
	{"type", "bad-blockref", bad_type, FAULT, IN_BIG, .member = "type"},
	{"type 7", "bad-blockref", bad_type_invalid, FAULT, IN_BIG, .member = "type"},
	{"type for tree", "bad-blockref", bad_type_for_tree, FAULT, IN_BIG, .member = "type"},
	{"type in super-root", "bad-blockref", bad_type_in_super_root, FAULT, .member = "type",
	 .also = {"names-unchecked"}},
	{"keybits", "bad-blockref", bad_keybits, FAULT, IN_BIG, .member = "keybits"},
	{"keybits 64", "bad-blockref", bad_keybits_huge, FAULT, IN_BIG, .member = "keybits"},
	{"key", "bad-blockref", bad_key, FAULT, IN_BIG, .member = "key"},
	{"key of name", "bad-blockref", bad_index_key, FAULT, INUM(SUB), .path = "/dir/sub",
	 .member = "key"},
	{"size code 17", "bad-blockref", bad_radix, FAULT, IN_BIG, .member = "data_off size code"},
	{"size code 0", "bad-blockref", bad_radix_zero, FAULT, IN_BIG,
	 .member = "data_off size code"},
	{"behind the volume", "bad-blockref", bad_offset_behind, FAULT, IN_BIG,
	 .member = "data_off"},
	{"in a reserved segment", "bad-blockref", bad_offset_reserved, FAULT, IN_BIG,
	 .member = "data_off"},
	{"across 64 KiB", "bad-blockref", bad_offset_crossing, FAULT, IN_BIG, .member = "data_off"},
	{"check algorithm", "bad-blockref", bad_check_algo, FAULT, IN_BIG, .member = "methods"},
	{"compression", "bad-blockref", bad_comp_algo, FAULT, IN_BIG, .member = "methods"},
	{"namlen", "bad-blockref", bad_name_len, FAULT, INUM(DIR), .member = "namlen",
	 .also = {"names-unchecked"}},
	{"inum of name", "bad-blockref", bad_name_inum, FAULT, INUM(DIR), .member = "inum",
	 .also = {"names-unchecked"}},
	{"version", "bad-inode", bad_version, FAULT, LOST_SMALL, .member = "version"},
	{"inum", "bad-inode", bad_inum, FAULT, LOST_SMALL, .member = "inum"},
	{"object type", "bad-inode", bad_object_type, FAULT, LOST_SMALL, .member = "type"},
	{"inline size", "bad-inode", bad_inline_size, FAULT, LOST_SMALL, .member = "size"},
	{"PFSROOT on a file", "bad-inode", bad_pfs_flag, FAULT, LOST_SMALL, .member = "op_flags"},
	{"inline directory", "bad-inode", bad_inline_directory, FAULT, INUM(SUB),
	 .member = "op_flags", .also = {"name-dangling", "names-unchecked"}},
	{"inum of PFS", "bad-inode", bad_pfs_inum, FAULT, .member = "inum",
	 .also = {"names-unchecked"}},
	{"type of PFS", "bad-inode", bad_pfs_type, FAULT, .member = "type",
	 .also = {"names-unchecked"}},
};

static bool is_expected_also(const struct row *row, const struct found *f)
{
	for (unsigned i = 0; i < ALSO_MAX && row->also[i]; i++) {
		if (strcmp(row->also[i], f->code) == 0)
			return true;
	}
	return f->severity == H2_NOTE; /* statistics and the like follow from many changes */
}

static bool text_fits(const char *expected, const char *found)
{
	return !expected || strcmp(expected, found) == 0;
}

/* Whether a finding of the right code is the right one in every other respect. */
static bool fits(const struct volume *v, const struct row *row, const struct found *f)
{
	if (f->severity != row->severity || !text_fits(row->pfs, f->pfs) ||
	    !text_fits(row->path, f->path) || !text_fits(row->member, f->member))
		return false;
	if (row->has_inum && (!(f->flags & H2_REPORT_HAS_INUM) || f->inum != row->inum))
		return false;
	return v->media == 0 || row->count > 1 ||
	       (f->flags & H2_REPORT_HAS_MEDIA && f->media == v->media);
}

static bool judge(const struct volume *v, const struct row *row)
{
	unsigned hits = 0;

	for (unsigned i = 0; i < v->found_count; i++) {
		const struct found *f = &v->found[i];

		if (strcmp(f->code, row->code) == 0) {
			if (!fits(v, row, f))
				return false;
			hits++;
		} else if (!is_expected_also(row, f)) {
			return false;
		}
	}
	for (unsigned i = 0; i < ALSO_MAX && row->also[i]; i++) {
		if (count_code(v, row->also[i]) == 0)
			return false;
	}
	return hits == (row->count ? row->count : 1);
}

static void check__finds_the_fault_and_nothing_else(void **state)
{
	const struct row *row = *state;
	struct volume *v = volume_build();

	image_seal(v->image);
	volume_open(v);
	expect_nothing(v, NULL);
	if (row->unsealed)
		row->unsealed(v);
	image_seal(v->image);
	if (row->sealed)
		row->sealed(v);
	volume_open(v);
	if (row->opened)
		row->opened(v);
	check(v, NULL);
	if (!judge(v, row)) {
		print_error("expected: %s at %#" PRIx64 "; found:\n", row->code, v->media);
		print_found(v);
		fail();
	}
	volume_free(v);
}

/* ---- what must not change the findings ---- */

static int compare_found(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct found));
}

/* The findings in an order that does not depend on who found them when. */
static void sort_found(struct volume *v)
{
	qsort(v->found, v->found_count, sizeof(v->found[0]), compare_found);
}

/* Run with both options and compare all that is found and counted. */
static void expect_same(struct volume *v, const struct h2_check_options *a,
			const struct h2_check_options *b)
{
	struct found *found = unit_alloc(sizeof(v->found));
	struct h2_check_summary summary;
	unsigned count;

	check(v, a);
	sort_found(v);
	memcpy(found, v->found, sizeof(v->found));
	count = v->found_count;
	summary = v->summary;
	check(v, b);
	sort_found(v);
	summary.read_bytes = v->summary.read_bytes; /* more passes read more */
	if (count != v->found_count || memcmp(found, v->found, sizeof(v->found)) != 0) {
		print_found(v);
		fail();
	}
	assert_memory_equal(&summary, &v->summary, sizeof(summary));
	free(found);
}

#define FILES 3000u
#define FIRST_FILE 2000u

/* Blocks in every second segment of 600 MiB, and more inodes than a small table holds. */
static struct volume *build_wide(void)
{
	uint64_t size = GIB;
	struct volume *v = volume_new(&(struct image_options){.sizes = &size});
	struct image_block *index;

	build_content(v);
	index = image_add_indirect(v->image, v->root, 1 << 24, 24, 16);
	for (unsigned i = 0; i < 70; i++) {
		uint64_t inum = (1 << 24) + i;
		struct image_block *inode;
		char name[32];

		v->image->next_free = (i + 8) * 2 * H2_SEGMENT;
		inode = image_add_inode(v->image, index, inum, H2_OBJECT_FILE);
		image_inode(inode)->size = le64_make(100);
		image_add_data(v->image, inode, 0, 0, "x", 1);
		if (i % 16 == 5)
			inode->children[0]->bytes[100] = 1;
		snprintf(name, sizeof(name), "wide%u", i);
		image_add_dirent(v->image, v->dir_names, name, inum, H2_OBJECT_FILE);
	}
	for (unsigned i = 0; i < FILES; i++) {
		char name[32];

		image_add_file(v->image, v->index, FIRST_FILE + i, H2_OBJECT_FILE, 0, "x", 1);
		snprintf(name, sizeof(name), "file%u", i);
		image_add_dirent(v->image, v->names, name, FIRST_FILE + i, H2_OBJECT_FILE);
	}
	return v;
}

/* Faults of all phases, in both ends of the tables. */
static void break_wide(struct volume *v)
{
	struct image_block *a, *b;

	for (unsigned i = 0; i < 3; i++) {
		uint64_t inum = FIRST_FILE + FILES + i;

		image_add_inode(v->image, v->index, inum, H2_OBJECT_FILE); /* orphan */
		image_add_dirent(v->image, v->names, i == 1 ? "x" : "ghost", 9000 + i,
				 H2_OBJECT_FILE);
	}
	/* A circle of directories that no small window holds. */
	a = image_add_inode(v->image, v->index, 1200, H2_OBJECT_DIRECTORY);
	b = image_add_inode(v->image, v->index, 8000, H2_OBJECT_DIRECTORY);
	image_add_dirent(v->image, a, "b", 8000, H2_OBJECT_DIRECTORY);
	image_add_dirent(v->image, b, "a", 1200, H2_OBJECT_DIRECTORY);
	set_parent(a, 8000);
	set_parent(b, 1200);
	set_granule(v, 100 * H2_SEGMENT, H2_GRANULE_FREE);
	set_granule(v, 120 * H2_SEGMENT, H2_GRANULE_STAGED);
	image_seal(v->image);
	spoil(v, v->data[3], 5);
}

static void check__finds_the_same_in_several_passes(void **state)
{
	static const struct h2_check_options much = {.threads = 1};
	static const struct h2_check_options little = {.threads = 1, .memory_bytes = 1};
	struct volume *v = build_wide();

	(void)state;
	image_seal(v->image);
	volume_open(v);
	expect_same(v, &much, &little);
	assert_int_equal(v->summary.faults, 5); /* data-tail */
	assert_int_equal(v->summary.inodes, 8 + 70 + FILES + 2);
	assert_int_equal(v->summary.data_blocks, BLOCKS + 1 + 70);
	volume_free(v);

	v = build_wide();
	break_wide(v);
	volume_open(v);
	expect_same(v, &much, &little);
	assert_int_equal(count_code(v, "freemap-state"), 2);
	assert_int_equal(count_code(v, "dir-detached"), 2);
	assert_int_equal(count_code(v, "orphan"), 3);
	assert_int_equal(count_code(v, "name-dangling"), 3);
	assert_int_equal(count_code(v, "check-mismatch"), 1);
	volume_free(v);
}

/* One finding for a zone, however many passes look at it. */
static void check__of_a_zone_without_leaf_in_several_passes(void **state)
{
	static const struct h2_check_options much = {.threads = 1};
	static const struct h2_check_options little = {.threads = 1, .memory_bytes = 1};
	struct volume *v = build_wide();

	(void)state;
	image_seal(v->image);
	v->image->freemap_set.child_count = 0;
	memset(v->image->freemap_set.bytes, 0, v->image->freemap_set.size);
	image_seal(v->image);
	volume_open(v);
	expect_same(v, &much, &little);
	assert_int_equal(count_code(v, "freemap-no-leaf"), 1);
	volume_free(v);
}

static void check__finds_the_same_with_any_number_of_threads(void **state)
{
	static const struct h2_check_options one = {.threads = 1};
	static const struct h2_check_options four = {.threads = 4};
	static const struct h2_check_options four_little = {.threads = 4, .memory_bytes = 1};
	struct volume *v = build_wide();
	uint64_t read_bytes;

	(void)state;
	break_wide(v);
	volume_open(v);
	expect_same(v, &four, &one);
	read_bytes = v->summary.read_bytes;
	for (unsigned i = 0; i < 3; i++) {
		expect_same(v, &one, &four);
		assert_int_equal(v->summary.read_bytes, read_bytes);
	}
	expect_same(v, &one, &four_little);
	volume_free(v);
}

static void check__without_data_finds_all_but_its_faults(void **state)
{
	static const struct h2_check_options options = {.threads = 1, .skip_data = true};
	struct volume *v = volume_build();

	(void)state;
	image_seal(v->image);
	spoil_data(v);
	volume_open(v);
	expect_nothing(v, &options);
	assert_int_equal(v->summary.data_blocks, BLOCKS + 1);
	unmark_free(v);
	image_seal(v->image);
	volume_open(v);
	check(v, &options);
	assert_int_equal(v->found_count, 1);
	assert_string_equal(v->found[0].code, "freemap-state");
	volume_free(v);
}

/* The counts are those of what was built. */
static void check__counts_what_there_is(void **state)
{
	struct volume *v = volume_build();

	(void)state;
	image_seal(v->image);
	volume_open(v);
	expect_nothing(v, NULL);
	assert_int_equal(v->summary.pfs_count, 2);
	assert_int_equal(v->summary.header_copies, 2);
	assert_int_equal(v->summary.inodes, 12); /* with three roots */
	assert_int_equal(v->summary.directories, 5);
	assert_int_equal(v->summary.files, 5);
	assert_int_equal(v->summary.symlinks, 1);
	assert_int_equal(v->summary.others, 1);
	assert_int_equal(v->summary.names, 10);
	assert_int_equal(v->summary.indirect_blocks, 4);
	assert_int_equal(v->summary.data_blocks, BLOCKS + 1);
	assert_int_equal(v->summary.name_blocks, 1);
	assert_int_equal(v->summary.freemap_blocks, 1);
	/* The rest of the segment in which the allocator begins is lost, BS 8.7. */
	assert_int_equal(header(v)->allocator_free - v->summary.free_bytes, H2_SEGMENT);
	volume_free(v);
}

/* ---- snapshots ---- */

/* The file "big" has no check codes, and the snapshot SNAP has all that DATA has. */
static struct image_block *build_snapshot(struct volume *v, uint64_t lsnap)
{
	struct image_block *snap = image_add_pfs(v->image, v->image->super_root, "SNAP");
	struct image_block *shared;

	for (unsigned i = 0; i < BLOCKS; i++) {
		v->data[i]->ref.methods &= 15;
		v->data[i]->ref.modify_tid = 20;
	}
	shared = image_add(v->image, snap, H2_BLOCKREF_INDIRECT, 0, 24, 0);
	shared->same_as = v->index;
	shared->ref.modify_tid = v->index->ref.modify_tid = 20;
	v->big->ref.modify_tid = v->indirect->ref.modify_tid = 20;
	shared = image_add(v->image, snap, H2_BLOCKREF_INDIRECT, H2_KEY_VISIBLE, 63, 0);
	shared->same_as = v->names;
	image_inode(snap)->pfs_subtype = 1;
	image_inode(snap)->pfs_lsnap_tid = le64_make(lsnap);
	image_inode(v->root)->pfs_lsnap_tid = le64_make(lsnap);
	return snap;
}

/* Whatever else, statistics and modify_tid of what was patched together are wrong. */
static void expect_snapshot_faults(struct volume *v, unsigned count)
{
	volume_open(v);
	check(v, NULL);
	if (v->summary.faults != count || count_code(v, "snapshot-tid") != count) {
		print_found(v);
		fail();
	}
}

static void check__finds_what_a_snapshot_would_lose(void **state)
{
	struct volume *v = volume_build();
	struct image_block *snap = build_snapshot(v, 20);

	(void)state;
	image_seal(v->image);
	expect_snapshot_faults(v, 0);
	/* Of each of the two PFSs it is asked. */
	image_inode(snap)->pfs_lsnap_tid = le64_make(19);
	image_seal(v->image);
	expect_snapshot_faults(v, BLOCKS);
	image_inode(snap)->pfs_lsnap_tid = le64_make(20);
	image_inode(v->root)->pfs_lsnap_tid = le64_make(19);
	image_seal(v->image);
	expect_snapshot_faults(v, BLOCKS);
	/* Data with check codes are never written in place: DragonFly leaves lower tids there. */
	for (unsigned i = 0; i < BLOCKS; i++)
		v->data[i]->ref.methods |= H2_CHECK_XXHASH64 << 4;
	image_seal(v->image);
	expect_snapshot_faults(v, 0);
	volume_free(v);
}

/* The index of a snapshot is its origin's, but its counter is its own. */
static void check__compares_each_counter(void **state)
{
	struct volume *v = volume_build();
	struct image_block *snap = build_snapshot(v, 20);

	(void)state;
	image_inode(snap)->pfs_inum = le64_make(LONG - 1);
	image_seal(v->image);
	volume_open(v);
	check(v, NULL);
	assert_int_equal(v->summary.faults, 1);
	assert_int_equal(count_code(v, "inum-counter"), 1);
	for (unsigned i = 0; i < v->found_count; i++) {
		if (strcmp(v->found[i].code, "inum-counter") != 0)
			continue;
		assert_string_equal(v->found[i].pfs, "SNAP");
		assert_int_equal(v->found[i].inum, LONG);
	}
	volume_free(v);
}

/* ---- inodes in directories ---- */

static unsigned count_serious(const struct volume *v)
{
	return (unsigned)(v->summary.faults + v->summary.warnings);
}

static void expect_one(struct volume *v, const char *code)
{
	image_seal(v->image);
	volume_open(v);
	check(v, NULL);
	if (count_serious(v) != 1 || count_code(v, code) != 1) {
		print_error("expected %s; found:\n", code);
		print_found(v);
		fail();
	}
}

/* Old media have inodes in directories (MF 7.6): what is named in them has a name. */
static void check__counts_names_in_directories_without_number(void **state)
{
	struct volume *v = volume_build();
	struct image_block *outer, *inner, *name, *twin;

	(void)state;
	outer = image_add_legacy(v->image, v->sub, "outer", NEW, H2_OBJECT_DIRECTORY);
	set_parent(outer, SUB);
	inner = image_add_legacy(v->image, outer, "inner", NEW + 1, H2_OBJECT_DIRECTORY);
	set_parent(inner, NEW);
	image_add_inode(v->image, v->index, NEW + 2, H2_OBJECT_FILE);
	name = image_add_dirent(v->image, inner, "named", NEW + 2, H2_OBJECT_FILE);
	image_add_legacy(v->image, inner, "file", NEW + 3, H2_OBJECT_FILE);
	image_seal(v->image);
	volume_open(v);
	check(v, NULL);
	if (count_serious(v) > 0)
		print_found(v);
	assert_int_equal(count_serious(v), 0);
	assert_int_equal(v->summary.names, 10 + 4);

	name->ref.dirent_inum = NEW + 9;
	image_seal(v->image);
	volume_open(v);
	check(v, NULL);
	assert_int_equal(count_code(v, "name-dangling"), 1);
	assert_int_equal(count_code(v, "orphan"), 1);
	assert_int_equal(count_serious(v), 2);
	name->ref.dirent_inum = NEW + 2;

	set_parent(inner, SUB);
	expect_one(v, "dir-parent");
	set_parent(inner, NEW);
	image_inode(inner)->name_key = le64_make(inner->ref.key + 1);
	expect_one(v, "name-hash");
	image_inode(inner)->name_key = le64_make(inner->ref.key);

	/* A number that another one has, in a directory or in the index. */
	twin = image_add_legacy(v->image, v->sub, "twin", NEW + 3, H2_OBJECT_FILE);
	expect_one(v, "inum-twice");
	image_inode(twin)->inum = le64_make(SMALL);
	expect_one(v, "inum-twice");
	image_inode(twin)->inum = le64_make(5000);
	image_inode(v->root)->pfs_inum = le64_make(4999);
	expect_one(v, "inum-counter");
	volume_free(v);
}

/* ---- progress ---- */

struct stopper {
	unsigned calls, stop_at; /* 0: never */
};

static int stop(void *user, const struct h2_check_progress *progress)
{
	struct stopper *s = user;

	if (!progress->phase)
		abort();
	return ++s->calls == s->stop_at;
}

static void check__ends_when_progress_says_so(void **state)
{
	struct volume *v = build_wide();
	struct stopper s = {0};
	struct h2_check_options options = {.threads = 2, .progress = stop, .progress_user = &s};
	unsigned calls;

	(void)state;
	image_seal(v->image);
	volume_open(v);
	assert_int_equal(run(v, &options), 0);
	calls = s.calls;
	assert_true(calls >= 4); /* one for each phase at least */
	for (unsigned i = 1; i <= calls; i++) {
		int err;

		s = (struct stopper){.stop_at = i};
		err = run(v, &options);
		/* Which thread does what decides when progress is told: a call more or less. */
		assert_int_equal(err, s.calls < i ? 0 : -EINTR);
		assert_true(s.calls == i || (s.calls < i && i + 2 > calls));
	}
	volume_free(v);
}

/* ---- header copies and volumes ---- */

/* Write a block elsewhere from now on, as a commit does. */
static void move_block(struct volume *v, struct image_block *block)
{
	block->ref.data_off = image_alloc(v->image, h2_blockref_radix(&block->ref));
	block->media = h2_blockref_offset(&block->ref);
	block->ref.mirror_tid = v->image->tid;
}

/* The blocks that a commit writes when data[1] has changed, by level. */
enum { SUPER_ROOT, ROOT, INDEX, INODE, INDIRECT, DATA, LEVELS };

struct commits {
	struct volume *v;
	struct h2_volume_header older; /* in header copy 2 */
	uint64_t old_media[LEVELS];
};

static void write_older(struct commits *c)
{
	struct h2_volume_header newer = *header(c->v);

	*header(c->v) = c->older;
	image_write_header(c->v->image, 0, 1);
	*header(c->v) = newer;
}

/* Two commits; the state of the first one is still there, and in header copy 2. */
static void commit_twice(struct commits *c)
{
	struct volume *v = c->v = volume_build();
	struct image_block *path[LEVELS] = {v->image->super_root, v->root,   v->index, v->big,
					    v->indirect,          v->data[1]};

	image_seal(v->image);
	c->older = *header(v);
	v->image->tid++;
	header(v)->mirror_tid = header(v)->freemap_tid = v->image->tid;
	for (unsigned i = 0; i < LEVELS; i++) {
		c->old_media[i] = path[i]->media;
		move_block(v, path[i]);
	}
	/* The freemap's blocks rotate, MF 10.4. */
	for (unsigned zone = 0; zone < IMAGE_ZONES; zone++) {
		struct image_block *leaf = v->image->freemap_leaves[zone];

		if (!leaf)
			continue;
		leaf->ref.data_off = h2_freemap_data_off(1, leaf->ref.key, 1);
		leaf->media = h2_blockref_offset(&leaf->ref);
		leaf->ref.mirror_tid = v->image->tid;
	}
	image_seal(v->image);
	write_older(c);
	volume_open(v);
}

static void check__of_a_sound_older_header_finds_nothing(void **state)
{
	struct commits c;

	(void)state;
	commit_twice(&c);
	expect_nothing(c.v, NULL);
	volume_free(c.v);
}

/* That many warnings, one of them of that code. */
static void expect_older_warnings(struct commits *c, const char *code, unsigned count)
{
	volume_open(c->v);
	check(c->v, NULL);
	if (c->v->summary.faults > 0 || count_code(c->v, code) != 1 ||
	    c->v->summary.warnings != count) {
		print_found(c->v);
		fail();
	}
	assert_int_equal(c->v->summary.inodes, 12); /* those of the current state */
}

static void check__finds_only_warnings_in_an_older_header(void **state)
{
	static const struct h2_check_options best = {.threads = 1, .best_header_only = true};
	struct commits c;

	(void)state;
	for (unsigned i = 0; i < LEVELS; i++) {
		commit_twice(&c);
		assert_int_equal(
			h2_sim_poke(c.v->image->volumes[0].sim, c.old_media[i] + 900, "\1", 1), 0);
		expect_older_warnings(&c, "check-mismatch", i == SUPER_ROOT ? 2 : 1);
		assert_int_equal(count_code(c.v, "header-older-useless"), i == SUPER_ROOT);
		expect_nothing(c.v, &best);
		volume_free(c.v);
	}
}

/* MF 10.4: one step of eight for each commit that changes the block. */
static void check__finds_freemap_blocks_that_stayed_or_jumped(void **state)
{
	static const struct {
		unsigned set;   /* of the leaf in the newer header; in the older one it is 0 */
		bool rewritten; /* has a newer mirror_tid */
		unsigned found;
	} cases[] = {{1, true, 0}, {2, true, 0}, {3, true, 1}, {7, true, 1}, {1, false, 1}};

	(void)state;
	for (unsigned i = 0; i < LENGTH_OF(cases); i++) {
		struct image_block *leaf;
		struct commits c;

		commit_twice(&c);
		leaf = c.v->image->freemap_leaves[0];
		leaf->ref.data_off = h2_freemap_data_off(1, 0, cases[i].set);
		leaf->media = h2_blockref_offset(&leaf->ref);
		leaf->ref.mirror_tid -= cases[i].rewritten ? 0 : 1;
		image_seal(c.v->image);
		write_older(&c);
		volume_open(c.v);
		check(c.v, NULL);
		assert_int_equal(count_code(c.v, "freemap-rotation"), cases[i].found);
		assert_int_equal(c.v->summary.faults, cases[i].found);
		volume_free(c.v);
	}
}

static void check__finds_that_an_older_header_leads_nowhere(void **state)
{
	struct commits c;

	(void)state;
	commit_twice(&c);
	memset(c.older.sroot_blockset, 0, sizeof(c.older.sroot_blockset));
	write_older(&c);
	expect_older_warnings(&c, "header-older-useless", 1);
	volume_free(c.v);
}

/* MF 12.5: each commit takes the next slot. */
static void check__finds_copies_out_of_turn(void **state)
{
	static const struct {
		int tids[H2_HEADER_COPIES_MAX]; /* of the copies, added to that of the newest */
		int found;                      /* slot of the finding; -1: none */
	} cases[] = {
		{{0, 0, 0, 0}, -1},    /* as newfs leaves them */
		{{-1, 0, -1, -1}, -1}, /* the first commit */
		{{0, -3, -2, -1}, -1}, {{-2, -1, 0, -3}, -1},
		{{-1, 0, -7, -7}, -1}, {{0, -1, -2, -3}, 2}, /* backwards */
		{{0, -3, -1, -2}, 2},
	};
	uint64_t size = 6 * GIB + 64 * MIB;
	struct volume *v = volume_new(&(struct image_options){.sizes = &size});

	(void)state;
	v->image->tid += 10;
	header(v)->mirror_tid = header(v)->freemap_tid = v->image->tid;
	for (unsigned i = 0; i < LENGTH_OF(cases); i++) {
		unsigned expected = 0;

		image_seal(v->image);
		for (unsigned slot = 0; slot < H2_HEADER_COPIES_MAX; slot++) {
			struct h2_volume_header newest = *header(v);

			header(v)->mirror_tid += (uint64_t)cases[i].tids[slot];
			header(v)->freemap_tid = header(v)->mirror_tid;
			image_write_header(v->image, 0, slot);
			*header(v) = newest;
		}
		volume_open(v);
		check(v, &(struct h2_check_options){.threads = 1, .best_header_only = true});
		for (unsigned k = 0; k < v->found_count; k++) {
			if (strcmp(v->found[k].code, "header-rotation") != 0)
				continue;
			if (v->found[k].media == (uint64_t)cases[i].found * H2_HEADER_SPACING)
				expected++;
		}
		if ((expected > 0) != (cases[i].found >= 0)) {
			print_error("case %u\n", i);
			print_found(v);
			fail();
		}
	}
	volume_free(v);
}

/* The header of another volume is never written again: its copies are alike. */
static void check__compares_copies_of_all_volumes(void **state)
{
	static const uint64_t sizes[] = {3 * GIB, 3 * GIB};
	struct volume *v = volume_new(&(struct image_options){.volume_count = 2, .sizes = sizes});
	struct h2_volume_header *second = &v->image->volumes[1].header;

	(void)state;
	build_content(v);
	image_seal(v->image);
	volume_open(v);
	expect_nothing(v, NULL);
	assert_int_equal(v->summary.header_copies, 4);
	second->allocator_size++;
	image_write_header(v->image, 1, 1);
	volume_open(v);
	check(v, NULL);
	assert_int_equal(v->found_count, 1);
	assert_string_equal(v->found[0].code, "header-same-tid");
	assert_int_equal(v->found[0].media, 5 * GIB);
	second->allocator_size--;
	second->fsid.bytes[0] ^= 1;
	image_write_header(v->image, 1, 1);
	volume_open(v);
	check(v, NULL);
	assert_int_equal(count_code(v, "header-foreign"), 1);
	volume_free(v);
}

static void check__of_two_volumes(void **state)
{
	static const uint64_t sizes[] = {GIB, 64 * MIB};
	struct volume *v = volume_new(&(struct image_options){.volume_count = 2, .sizes = sizes});

	(void)state;
	build_content(v);
	v->image->next_free = GIB + H2_SEGMENT + 3 * H2_GRANULE;
	image_inode(v->big)->size = le64_make((BLOCKS + 1) * H2_LOGICAL_BLOCK);
	v->data[0] = image_add_data(v->image, v->indirect, BLOCKS * H2_LOGICAL_BLOCK, H2_COMP_NONE,
				    "text", 4);
	image_seal(v->image);
	volume_open(v);
	expect_nothing(v, NULL);
	assert_int_equal(v->summary.header_copies, 2);
	assert_int_equal(v->summary.freemap_blocks, 2);

	spoil(v, v->data[0], 99);
	volume_open(v);
	check(v, NULL);
	assert_int_equal(v->found_count, 1);
	assert_string_equal(v->found[0].code, "check-mismatch");
	assert_string_equal(v->found[0].path, "/dir/big");
	assert_int_equal(v->found[0].media, v->media);
	assert_true(v->media > GIB);

	set_granule(v, v->media, H2_GRANULE_FREE);
	image_seal(v->image);
	volume_open(v);
	h2_sim_set_fault(v->image->volumes[1].sim, H2_SIM_READ, H2_SIM_FAIL, 0, 1, -EIO);
	check(v, NULL);
	assert_int_equal(v->found_count, 2);
	assert_string_equal(v->found[0].code, "header-unreadable");
	assert_int_equal(v->found[0].media, GIB);
	assert_string_equal(v->found[1].code, "freemap-state");
	assert_int_equal(v->found[1].media, v->media);
	volume_free(v);
}

/* ---- devices that fail, and hostile volumes ---- */

/* Each read that can fail, fails: the check ends well and says something. */
static void check__survives_read_errors(void **state)
{
	struct volume *v = volume_build();
	struct h2_sim *sim = v->image->volumes[0].sim;
	struct h2_sim_stats stats;
	uint64_t reads;
	unsigned errors = 0, silent = 0;

	(void)state;
	image_seal(v->image);
	volume_open(v);
	h2_sim_get_stats(sim, &stats);
	reads = stats.reads;
	expect_nothing(v, NULL);
	h2_sim_get_stats(sim, &stats);
	reads = stats.reads - reads;
	for (uint64_t i = 0; i < reads; i++) {
		h2_sim_set_fault(sim, H2_SIM_READ, H2_SIM_FAIL, i, 1, -EIO);
		check(v, NULL);
		errors += count_code(v, "read-error");
		silent += v->found_count == 0;
		if (v->found_count == 0)
			print_error("read %u of %u\n", (unsigned)i, (unsigned)reads);
	}
	assert_true(errors > 10);
	assert_int_equal(silent, 0);
	h2_sim_set_fault(sim, H2_SIM_READ, H2_SIM_FAIL, 0, UINT64_MAX, -EIO);
	check(v, NULL);
	assert_true(v->summary.faults > 0);
	volume_free(v);
}

/*
 * Directories that contain themselves as legacy inodes (MF 7.6), twice each, in storage that a
 * small map does not hold: without the map's help, too, the check ends.
 */
static void check__of_an_inode_within_itself_ends(void **state)
{
	static const struct h2_check_options much = {.threads = 1};
	static const struct h2_check_options little = {.threads = 2, .memory_bytes = 1};
	struct volume *v = build_wide();
	struct image_block *dir, *again;

	(void)state;
	image_seal(v->image);
	v->image->next_free = 200 * H2_SEGMENT;
	dir = image_add_legacy(v->image, v->sub, "self", 5000, H2_OBJECT_DIRECTORY);
	dir->ref.methods = 0;
	for (unsigned i = 0; i < 2; i++) {
		again = image_add(v->image, dir, H2_BLOCKREF_INODE, dir->ref.key + i, 0, 0);
		again->same_as = dir;
	}
	image_seal(v->image);
	volume_open(v);
	check(v, &much);
	assert_int_equal(count_code(v, "tree-loop"), 2);
	check(v, &little);
	assert_int_equal(count_code(v, "tree-loop"), 2);
	volume_free(v);
}

int main(void)
{
	static const struct CMUnitTest others[] = {
		cmocka_unit_test(check__counts_what_there_is),
		cmocka_unit_test(check__without_data_finds_all_but_its_faults),
		cmocka_unit_test(check__finds_the_same_in_several_passes),
		cmocka_unit_test(check__of_a_zone_without_leaf_in_several_passes),
		cmocka_unit_test(check__finds_the_same_with_any_number_of_threads),
		cmocka_unit_test(check__finds_what_a_snapshot_would_lose),
		cmocka_unit_test(check__compares_each_counter),
		cmocka_unit_test(check__counts_names_in_directories_without_number),
		cmocka_unit_test(check__ends_when_progress_says_so),
		cmocka_unit_test(check__of_a_sound_older_header_finds_nothing),
		cmocka_unit_test(check__finds_only_warnings_in_an_older_header),
		cmocka_unit_test(check__finds_that_an_older_header_leads_nowhere),
		cmocka_unit_test(check__finds_freemap_blocks_that_stayed_or_jumped),
		cmocka_unit_test(check__finds_copies_out_of_turn),
		cmocka_unit_test(check__compares_copies_of_all_volumes),
		cmocka_unit_test(check__of_two_volumes),
		cmocka_unit_test(check__survives_read_errors),
		cmocka_unit_test(check__of_an_inode_within_itself_ends),
	};
	static struct CMUnitTest tests[LENGTH_OF(rows) + LENGTH_OF(others)];

	for (unsigned i = 0; i < LENGTH_OF(rows); i++)
		tests[i] = (struct CMUnitTest){
			.name = rows[i].name,
			.test_func = check__finds_the_fault_and_nothing_else,
			.initial_state = (void *)(uintptr_t)&rows[i],
		};
	memcpy(tests + LENGTH_OF(rows), others, sizeof(others));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
