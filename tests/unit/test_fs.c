/* Opening a filesystem, its PFSs, inodes and paths: MF 6, 7.5 and 11. */
#include "fixture.h"

#include <sys/stat.h>

/* ---- the super-root ---- */

static void expect_fs(struct fixture *f, int expected)
{
	assert_int_equal(fixture_open_fs(f), expected);
	if (expected)
		assert_true(atomic_load(&f->reports) > 0);
}

static void open__needs_a_super_root(void **state)
{
	struct fixture *f = *state;

	f->image->set.child_count = 0;
	memset(f->image->set.bytes, 0, f->image->set.size);
	expect_fs(f, -H2_ECORRUPT);
}

static void open__super_root_must_match_its_check_code(void **state)
{
	struct fixture *f = *state;

	image_seal(f->image);
	f->image->super_root->flags = IMAGE_KEEP_CHECK;
	f->image->super_root->bytes[0x150] ^= 1;
	expect_fs(f, -H2_ECHECK);
}

static void open__super_root_must_be_one(void **state)
{
	struct fixture *f = *state;
	struct h2d_inode *inode = image_inode(f->image->super_root), good = *inode;

	inode->inum = le64_make(1);
	expect_fs(f, -H2_ECORRUPT);
	*inode = good;
	inode->type = H2_OBJECT_FILE;
	expect_fs(f, -H2_ECORRUPT);
	*inode = good;
	inode->op_flags = H2_INODE_DIRECTDATA;
	expect_fs(f, -H2_ECORRUPT);
	*inode = good;
	inode->version = le16_make(9);
	expect_fs(f, -H2_ECORRUPT);
	*inode = good;
	expect_fs(f, 0);
}

static void open__super_root_reference_must_be_sound(void **state)
{
	static const struct {
		uint8_t type;
		uint64_t data_off;
	} bad[] = {
		{H2_BLOCKREF_INVALID, 0x1400000 | 10}, {H2_BLOCKREF_DIRENT, 0x1400000 | 10},
		{H2_BLOCKREF_INODE, 0x1400000 | 11},   {H2_BLOCKREF_INODE, 10},
		{H2_BLOCKREF_INODE, (64 * MIB) | 10},  {H2_BLOCKREF_INODE, 0},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < LENGTH_OF(bad); i++) {
		struct h2_blockref refs[4] = {f->image->super_root->ref};
		struct h2_volume_header *h = &f->image->volumes[0].header;

		image_seal(f->image);
		refs[0] = f->image->super_root->ref;
		refs[0].type = bad[i].type;
		refs[0].data_off = bad[i].data_off;
		memcpy(h->sroot_blockset, refs, sizeof(refs));
		image_write_header(f->image, 0, 0);
		assert_int_equal(image_open(f->image, NULL, &f->volumes), 0);
		assert_int_equal(h2_fs_open(f->volumes, NULL, &f->fs), -H2_ECORRUPT);
		fixture_close(f);
	}
}

static void open__super_root_may_lie_in_any_slot(void **state)
{
	struct fixture *f = *state;

	f->image->super_root->slot = 3;
	fixture_open(f);
	assert_int_equal(atomic_load(&f->reports), 0);
}

/* BS 6.2: "super-root INODE (key 0); possibly INDIRECT". */
static void open__super_root_may_lie_in_an_indirect_block(void **state)
{
	struct fixture *f = *state;
	struct image_block *node;

	f->image->set.child_count = 0;
	node = image_add_indirect(f->image, &f->image->set, 0, 60, 12);
	node->children = malloc(sizeof(struct image_block *));
	assert_non_null(node->children);
	node->children[0] = f->image->super_root;
	node->child_count = node->child_room = 1;
	fixture_open(f);
}

static void open__reads_version_1(void **state)
{
	struct fixture *f = *state;

	image_free(f->image);
	f->image = image_new(&(struct image_options){.version = 1});
	f->root = image_add_pfs(f->image, f->image->super_root, "DATA");
	fixture_open(f);
	h2_inode_put(fixture_inode(f, 1));
}

static void open__reads_blocks_on_all_volumes(void **state)
{
	struct fixture *f = *state;
	struct h2_inode *inode;
	uint8_t out[3000], in[3000];

	image_free(f->image);
	f->image = image_new(&(struct image_options){.volume_count = 2});
	f->root = image_add_pfs(f->image, f->image->super_root, "DATA");
	unit_noise(out, sizeof(out), 3);
	f->image->next_free = GIB;
	image_add_file(f->image, f->root, 1024, H2_OBJECT_FILE, 0, out, sizeof(out));
	fixture_open(f);
	inode = fixture_inode(f, 1024);
	assert_true(h2_blockref_offset(h2_inode_ref(inode)) >= GIB);
	assert_int_equal(h2_file_read(inode, 0, in, sizeof(in)), sizeof(in));
	assert_memory_equal(in, out, sizeof(in));
	h2_inode_put(inode);
}

/* ---- PFSs ---- */

struct pfs_list {
	unsigned count, errors;
	char labels[200][256];
	uint64_t keys[200];
};

static struct pfs_list pfss;

static void list_pfss(struct fixture *f)
{
	struct h2_pfs_info info;
	uint64_t key = 0;
	int err;

	pfss.count = pfss.errors = 0;
	do {
		err = h2_pfs_next(f->fs, key, &info);
		if (err == 1)
			break;
		assert_true(info.key >= key);
		if (err) {
			pfss.errors++;
		} else {
			strcpy(pfss.labels[pfss.count], info.label);
			pfss.keys[pfss.count++] = info.key;
		}
		key = info.key + 1;
	} while (key != 0);
}

static bool has_pfs(const char *label)
{
	for (unsigned i = 0; i < pfss.count; i++) {
		if (strcmp(pfss.labels[i], label) == 0)
			return true;
	}
	return false;
}

static void pfs__list_of_none(void **state)
{
	struct fixture *f = *state;

	f->image->super_root->child_count = 0;
	assert_int_equal(fixture_open_fs(f), 0);
	list_pfss(f);
	assert_int_equal(pfss.count + pfss.errors, 0);
	assert_int_equal(h2_pfs_open(f->fs, "DATA", &f->pfs), -ENOENT);
}

static void pfs__list_is_complete_and_in_key_order(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 100; i++) {
		char label[32];

		snprintf(label, sizeof(label), "PFS %u", i);
		image_add_pfs(f->image, f->image->super_root, label);
	}
	fixture_open(f);
	list_pfss(f);
	assert_int_equal(pfss.count, 101);
	assert_int_equal(pfss.errors, 0);
	assert_true(has_pfs("DATA") && has_pfs("PFS 0") && has_pfs("PFS 99"));
	for (unsigned i = 1; i < pfss.count; i++)
		assert_true(pfss.keys[i] > pfss.keys[i - 1]);
}

static void pfs__entry_at_the_last_key_ends_the_list(void **state)
{
	struct fixture *f = *state;

	image_add_pfs(f->image, f->image->super_root, "LAST")->ref.key = UINT64_MAX;
	fixture_open(f);
	list_pfss(f);
	assert_int_equal(pfss.count, 2);
}

static void pfs__labels_are_compared_byte_for_byte(void **state)
{
	struct fixture *f = *state;
	struct h2_pfs *pfs;
	char label[256];

	memset(label, 'L', 255);
	label[255] = '\0';
	image_add_pfs(f->image, f->image->super_root, "beta two");
	image_add_pfs(f->image, f->image->super_root, "a.c.b.h.f.e.d.g");
	/* A label of the same hash gets the next key. */
	image_add_pfs(f->image, f->image->super_root, "e.b.c.g.d.h.a.f")->ref.key++;
	image_add_pfs(f->image, f->image->super_root, label);
	fixture_open(f);
	{
		static const char *const good[] = {"DATA", "beta two", "a.c.b.h.f.e.d.g",
						   "e.b.c.g.d.h.a.f"};
		static const char *const bad[] = {
			"data", "DAT", "DATA ", "", "beta", "f.c.b.g.e.d.a.h", "SUPROOT", "."};

		for (size_t i = 0; i < LENGTH_OF(good); i++) {
			assert_int_equal(h2_pfs_open(f->fs, good[i], &pfs), 0);
			assert_string_equal(h2_pfs_get_info(pfs)->label, good[i]);
			h2_pfs_put(pfs);
		}
		for (size_t i = 0; i < LENGTH_OF(bad); i++)
			assert_int_equal(h2_pfs_open(f->fs, bad[i], &pfs), -ENOENT);
	}
	assert_int_equal(h2_pfs_open(f->fs, label, &pfs), 0);
	h2_pfs_put(pfs);
	label[254] = 'M';
	assert_int_equal(h2_pfs_open(f->fs, label, &pfs), -ENOENT);
}

static void pfs__same_one_gives_the_same_pointer(void **state)
{
	struct fixture *f = *state;
	struct h2_pfs *again, *other;

	image_add_pfs(f->image, f->image->super_root, "OTHER");
	fixture_open(f);
	assert_int_equal(h2_pfs_open(f->fs, "DATA", &again), 0);
	assert_ptr_equal(again, f->pfs);
	assert_int_equal(h2_pfs_open(f->fs, "OTHER", &other), 0);
	assert_ptr_not_equal(other, f->pfs);
	assert_ptr_equal(h2_pfs_fs(other), f->fs);
	h2_pfs_put(again);
	h2_pfs_put(other);
	h2_pfs_put(NULL);
}

/* The same inode number in two PFSs is two objects (MF 1.5). */
static void pfs__inode_numbers_are_its_own(void **state)
{
	struct fixture *f = *state;
	struct image_block *other_root = image_add_pfs(f->image, f->image->super_root, "OTHER");
	struct h2_inode *a, *b;
	struct h2_pfs *other;

	image_add_inode(f->image, f->root, 1024, H2_OBJECT_FILE);
	image_add_inode(f->image, other_root, 1024, H2_OBJECT_FIFO);
	fixture_open(f);
	assert_int_equal(h2_pfs_open(f->fs, "OTHER", &other), 0);
	a = fixture_inode(f, 1024);
	assert_int_equal(h2_inode_get(other, 1024, &b), 0);
	assert_int_equal(h2_inode_meta(a)->type, H2_OBJECT_FILE);
	assert_int_equal(h2_inode_meta(b)->type, H2_OBJECT_FIFO);
	assert_ptr_equal(h2_inode_pfs(b), other);
	h2_inode_put(a);
	h2_inode_put(b);
	h2_pfs_put(other);
}

/* MF 3.3: every INODE there is a PFS root, flags or not. */
static void pfs__flags_may_be_missing(void **state)
{
	struct fixture *f = *state;

	f->root->ref.flags = 0;
	image_inode(f->root)->op_flags = 0;
	fixture_open(f);
	list_pfss(f);
	assert_int_equal(pfss.count, 1);
	assert_int_equal(atomic_load(&f->reports), 0);
}

static void pfs__damaged_one_does_not_hide_the_others(void **state)
{
	struct fixture *f = *state;
	struct image_block *bad = image_add_pfs(f->image, f->image->super_root, "BAD");
	struct h2_pfs *pfs;

	image_add_pfs(f->image, f->image->super_root, "OTHER");
	image_seal(f->image);
	bad->flags = IMAGE_KEEP_CHECK;
	bad->bytes[0x300] ^= 1;
	fixture_open(f);
	list_pfss(f);
	assert_int_equal(pfss.count, 2);
	assert_int_equal(pfss.errors, 1);
	assert_true(has_pfs("DATA") && has_pfs("OTHER"));
	assert_int_equal(h2_pfs_open(f->fs, "BAD", &pfs), -H2_ECHECK);
	assert_int_equal(h2_pfs_open(f->fs, "OTHER", &pfs), 0);
	h2_pfs_put(pfs);
}

static void pfs__damaged_part_of_the_super_root_ends(void **state)
{
	struct fixture *f = *state;
	struct image_block *node;

	node = image_add_indirect(f->image, f->image->super_root, 0, 60, 12);
	node->ref.data_off = UINT64_C(1) << 50 | 12;
	fixture_open(f);
	list_pfss(f);
	assert_int_equal(pfss.count, 1);
	assert_int_equal(pfss.errors, 1);
}

static void pfs__bad_roots_are_refused(void **state)
{
	struct fixture *f = *state;
	struct h2d_inode *inode = image_inode(f->root), good = *inode;
	struct h2_pfs *pfs;

	for (unsigned i = 0; i < 5; i++) {
		*inode = good;
		switch (i) {
		case 0:
			inode->name_len = le16_make(256);
			break;
		case 1:
			inode->inum = le64_make(2);
			break;
		case 2:
			inode->type = H2_OBJECT_FILE;
			break;
		case 3:
			inode->op_flags = H2_INODE_DIRECTDATA | H2_INODE_PFSROOT;
			break;
		default:
			inode->version = le16_make(0);
			break;
		}
		assert_int_equal(fixture_open_fs(f), 0);
		list_pfss(f);
		assert_int_equal(pfss.count, 0);
		assert_int_equal(pfss.errors, 1);
		assert_int_equal(h2_pfs_open(f->fs, "DATA", &pfs), -H2_ECORRUPT);
	}
}

/* ---- inodes ---- */

static int get(struct fixture *f, uint64_t inum)
{
	struct h2_inode *inode;
	int err = h2_inode_get(f->pfs, inum, &inode);

	if (!err)
		h2_inode_put(inode);
	return err;
}

static void inode__is_found_by_number(void **state)
{
	struct fixture *f = *state;

	for (uint64_t inum = 1024; inum < 1500; inum++)
		image_add_inode(f->image, f->root, inum, H2_OBJECT_FILE);
	image_add_inode(f->image, f->root, 2, H2_OBJECT_FILE);
	image_add_inode(f->image, f->root, INT64_MAX, H2_OBJECT_FILE);
	fixture_open(f);
	for (uint64_t inum = 1024; inum < 1500; inum++) {
		struct h2_inode *inode = fixture_inode(f, inum);

		assert_int_equal(h2_inode_meta(inode)->inum, inum);
		h2_inode_put(inode);
	}
	assert_int_equal(get(f, 1), 0);
	assert_int_equal(get(f, 2), 0);
	assert_int_equal(get(f, INT64_MAX), 0);
	assert_int_equal(get(f, 0), -ENOENT);
	assert_int_equal(get(f, 3), -ENOENT);
	assert_int_equal(get(f, 1500), -ENOENT);
	assert_int_equal(get(f, H2_KEY_VISIBLE), -ENOENT);
	assert_int_equal(get(f, H2_KEY_VISIBLE | 1024), -ENOENT);
	assert_int_equal(get(f, UINT64_MAX), -ENOENT);
	assert_int_equal(atomic_load(&f->reports), 0);
	h2_inode_put(NULL);
}

/* MF 7.5: "the inode's own inum must equal the key". */
static void inode__number_must_be_its_key(void **state)
{
	struct fixture *f = *state;

	image_inode(image_add_inode(f->image, f->root, 1024, H2_OBJECT_FILE))->inum = le64_make(
		1025);
	fixture_open(f);
	assert_int_equal(get(f, 1024), -H2_ECORRUPT);
	assert_int_equal(get(f, 1025), -ENOENT);
}

static void inode__damage_is_confined_to_it(void **state)
{
	struct fixture *f = *state;
	struct image_block *bad = image_add_inode(f->image, f->root, 1024, H2_OBJECT_FILE);

	image_add_inode(f->image, f->root, 1025, H2_OBJECT_FILE);
	image_seal(f->image);
	bad->flags = IMAGE_KEEP_CHECK;
	bad->bytes[0x60] ^= 1;
	fixture_open(f);
	assert_int_equal(get(f, 1024), -H2_ECHECK);
	assert_int_equal(get(f, 1024), -H2_ECHECK); /* not cached */
	assert_int_equal(get(f, 1025), 0);
	assert_int_equal(get(f, 1), 0);
}

static void inode__of_an_unusable_type_is_refused(void **state)
{
	static const uint8_t bad[] = {0, 3, 8, 10, 11, 255};
	struct fixture *f = *state;

	for (size_t i = 0; i < LENGTH_OF(bad); i++)
		image_add_inode(f->image, f->root, 1024 + i, bad[i]);
	fixture_open(f);
	for (size_t i = 0; i < LENGTH_OF(bad); i++)
		assert_int_equal(get(f, 1024 + i), -H2_ECORRUPT);
}

/* An index entry that is no inode, and a name among the inodes. */
static void inode__index_holds_inodes_only(void **state)
{
	struct fixture *f = *state;
	struct image_block *wrong;

	image_add(f->image, f->root, H2_BLOCKREF_DATA, 65536, 16, 10);
	wrong = image_add(f->image, f->root, H2_BLOCKREF_DIRENT, 1024, 0, 0);
	wrong->ref.dirent_inum = 1;
	wrong->ref.dirent_namlen = 1;
	image_add_inode(f->image, f->root, 1025, H2_OBJECT_FILE);
	fixture_open(f);
	assert_int_equal(get(f, 65536), -H2_ECORRUPT);
	assert_int_equal(get(f, 1024), -H2_ECORRUPT);
	assert_int_equal(get(f, 1025), 0);
}

static void attr__is_what_stat_tells(void **state)
{
	static const uint8_t two_kib[2048] = {1};
	struct fixture *f = *state;
	struct image_block *block = image_add_inode(f->image, f->root, 1024, H2_OBJECT_FILE);
	struct h2d_inode *d = image_inode(block);
	struct h2_inode *inode;
	struct h2_attr attr;

	d->mode = le32_make(0xfffff000 | 04755); /* only 07777 counts (MF 6.1) */
	d->size = le64_make(3 * 65536);
	d->nlinks = le64_make(3);
	d->ctime = le64_make(11);
	d->mtime = le64_make(22);
	d->atime = le64_make(33);
	d->btime = le64_make(44);
	d->uflags = le32_make(0x80000001);
	h2_uuid_from_id(1000, &d->uid);
	h2_uuid_from_id(UINT32_MAX, &d->gid);
	image_add_data(f->image, block, 0, 0, "x", 1);
	image_add_data(f->image, block, 65536, 0, two_kib, sizeof(two_kib));
	fixture_open(f);
	inode = fixture_inode(f, 1024);
	h2_inode_attr(inode, &attr);
	assert_int_equal(attr.inum, 1024);
	assert_int_equal(attr.mode, S_IFREG | 04755);
	assert_int_equal(attr.size, 3 * 65536);
	assert_int_equal(attr.nlink, 3);
	assert_int_equal(attr.ctime_us, 11);
	assert_int_equal(attr.mtime_us, 22);
	assert_int_equal(attr.atime_us, 33);
	assert_int_equal(attr.btime_us, 44);
	assert_int_equal(attr.uflags, 0x80000001);
	assert_int_equal(attr.uid, 1000);
	assert_int_equal(attr.gid, UINT32_MAX);
	assert_int_equal(attr.blocks, (1024 + 2048) / 512); /* BS 3.8: data_count / 512 */
	h2_inode_put(inode);
}

/* MF 6.5: mtime where atime is 0, ctime where btime is 0; 6.7: a count of 0 may exist. */
static void attr__replaces_times_that_were_never_written(void **state)
{
	struct fixture *f = *state;
	struct h2d_inode *d = image_inode(
		image_add_inode(f->image, f->root, 1024, H2_OBJECT_DIRECTORY));
	struct h2_inode *inode;
	struct h2_attr attr;

	d->atime = d->btime = le64_make(0);
	d->ctime = le64_make(11);
	d->mtime = le64_make(22);
	d->nlinks = le64_make(0);
	d->size = le64_make(12345);
	fixture_open(f);
	inode = fixture_inode(f, 1024);
	h2_inode_attr(inode, &attr);
	assert_int_equal(attr.atime_us, 22);
	assert_int_equal(attr.btime_us, 11);
	assert_int_equal(attr.size, 0);
	assert_int_equal(attr.nlink, 1);
	assert_int_equal(attr.mode & S_IFMT, S_IFDIR);
	h2_inode_put(inode);
}

static void attr__of_each_type(void **state)
{
	static const struct {
		unsigned type, bits;
	} rows[] = {
		{H2_OBJECT_DIRECTORY, S_IFDIR},    {H2_OBJECT_FILE, S_IFREG},
		{H2_OBJECT_FIFO, S_IFIFO},         {H2_OBJECT_CHAR_DEVICE, S_IFCHR},
		{H2_OBJECT_BLOCK_DEVICE, S_IFBLK}, {H2_OBJECT_SYMLINK, S_IFLNK},
		{H2_OBJECT_SOCKET, S_IFSOCK},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		struct h2d_inode *d = image_inode(
			image_add_inode(f->image, f->root, 1024 + i, rows[i].type));

		d->rmajor = le32_make(7);
		d->rminor = le32_make(0xfffff);
	}
	fixture_open(f);
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		struct h2_inode *inode = fixture_inode(f, 1024 + i);
		struct h2_attr attr;

		h2_inode_attr(inode, &attr);
		assert_int_equal(attr.mode & S_IFMT, rows[i].bits);
		assert_int_equal(attr.rmajor, 7);
		assert_int_equal(attr.rminor, 0xfffff);
		h2_inode_put(inode);
	}
}

/* ---- paths ---- */

/* /a (1024), /a/b (1025), /a/b/file (1026), /link (1027) */
static void make_paths(struct fixture *f)
{
	struct image_block *a = image_add_inode(f->image, f->root, 1024, H2_OBJECT_DIRECTORY);
	struct image_block *b = image_add_inode(f->image, f->root, 1025, H2_OBJECT_DIRECTORY);
	struct image_block *file = image_add_inode(f->image, f->root, 1026, H2_OBJECT_FILE);

	image_inode(b)->iparent = le64_make(1024);
	image_inode(file)->iparent = le64_make(1025);
	image_add_file(f->image, f->root, 1027, H2_OBJECT_SYMLINK, 0, "a", 1);
	image_add_dirent(f->image, f->root, "a", 1024, H2_OBJECT_DIRECTORY);
	image_add_dirent(f->image, a, "b", 1025, H2_OBJECT_DIRECTORY);
	image_add_dirent(f->image, b, "file", 1026, H2_OBJECT_FILE);
	image_add_dirent(f->image, f->root, "link", 1027, H2_OBJECT_SYMLINK);
}

static int64_t walk_path(struct fixture *f, const char *path)
{
	struct h2_inode *inode;
	int err = h2_path_lookup(f->pfs, path, &inode);
	uint64_t inum;

	if (err)
		return err;
	inum = h2_inode_meta(inode)->inum;
	h2_inode_put(inode);
	return (int64_t)inum;
}

static void path__is_followed(void **state)
{
	static const struct {
		const char *path;
		int64_t expected;
	} rows[] = {
		{"", 1},
		{"/", 1},
		{"///", 1},
		{".", 1},
		{"..", 1},
		{"/..", 1},
		{"/../..", 1},
		{"a", 1024},
		{"/a", 1024},
		{"/a/", 1024},
		{"//a//b", 1025},
		{"/a/b/file", 1026},
		{"/a/./b/../b/file", 1026},
		{"/a/b/..", 1024},
		{"/a/b/../..", 1},
		{"/link", 1027},
		{"/c", -ENOENT},
		{"/a/c", -ENOENT},
		{"/c/b", -ENOENT},
		{"/A", -ENOENT},
		{"/a/b/file/x", -ENOTDIR},
		{"/a/b/file/", -ENOTDIR},
		{"/a/b/file/.", -ENOTDIR},
		{"/a/b/file/..", -ENOTDIR},
		{"/link/b", -ENOTDIR}, /* not followed */
	};
	struct fixture *f = *state;
	char name[300];

	make_paths(f);
	fixture_open(f);
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		if (walk_path(f, rows[i].path) != rows[i].expected)
			print_error("path %s\n", rows[i].path);
		assert_int_equal(walk_path(f, rows[i].path), rows[i].expected);
	}
	memset(name, 'x', sizeof(name));
	name[256] = '\0';
	assert_int_equal(walk_path(f, name), -ENAMETOOLONG);
	name[255] = '\0';
	assert_int_equal(walk_path(f, name), -ENOENT);
}

static void path__is_built_from_an_inode(void **state)
{
	struct fixture *f = *state;
	char path[64];

	make_paths(f);
	fixture_open(f);
	assert_int_equal(h2_inode_path(f->pfs, 1026, path, sizeof(path)), 0);
	assert_string_equal(path, "/a/b/file");
	assert_int_equal(h2_inode_path(f->pfs, 1024, path, sizeof(path)), 0);
	assert_string_equal(path, "/a");
	assert_int_equal(h2_inode_path(f->pfs, 1, path, sizeof(path)), 0);
	assert_string_equal(path, "/");
	assert_int_equal(h2_inode_path(f->pfs, 1026, path, 10), 0); /* exactly */
	assert_int_equal(h2_inode_path(f->pfs, 1026, path, 9), -ERANGE);
	assert_int_equal(h2_inode_path(f->pfs, 1026, path, 0), -ERANGE);
	assert_int_equal(h2_inode_path(f->pfs, 5000, path, sizeof(path)), -ENOENT);
}

/* MF 13.4: iparent may name a missing or non-directory inode; walks are bounded. */
static void path__of_a_wrong_parent_ends(void **state)
{
	static const uint64_t parents[] = {1024, 1025, 9999, 1026, 0, UINT64_MAX};
	struct fixture *f = *state;
	struct image_block *a, *b;
	char path[4096];

	a = image_add_inode(f->image, f->root, 1024, H2_OBJECT_DIRECTORY);
	b = image_add_inode(f->image, f->root, 1025, H2_OBJECT_DIRECTORY);
	image_add_inode(f->image, f->root, 1026, H2_OBJECT_FILE);
	/* Each contains the other: a path that would never end. */
	image_add_dirent(f->image, a, "b", 1025, H2_OBJECT_DIRECTORY);
	image_add_dirent(f->image, b, "a", 1024, H2_OBJECT_DIRECTORY);
	image_inode(b)->iparent = le64_make(1024);
	for (size_t i = 0; i < LENGTH_OF(parents); i++) {
		int err;

		image_inode(a)->iparent = le64_make(parents[i]);
		fixture_open(f);
		err = h2_inode_path(f->pfs, 1025, path, sizeof(path));
		assert_true(err == -ENOENT || err == -ERANGE);
	}
}

static void parent__of_directories(void **state)
{
	struct fixture *f = *state;
	struct h2_inode *inode;

	make_paths(f);
	image_inode(f->root)->iparent = le64_make(1); /* MF 11.7; the root is its own parent */
	fixture_open(f);
	inode = fixture_inode(f, 1);
	assert_int_equal(h2_dir_parent(inode), 1);
	h2_inode_put(inode);
	inode = fixture_inode(f, 1025);
	assert_int_equal(h2_dir_parent(inode), 1024);
	h2_inode_put(inode);
}

/* ---- statistics ---- */

static void stats__count_cache_and_space(void **state)
{
	struct fixture *f = *state;
	struct h2_fs_stats before, after;

	image_add_inode(f->image, f->root, 1024, H2_OBJECT_FILE);
	fixture_open(f);
	h2_fs_get_stats(f->fs, &before);
	assert_int_equal(before.total_bytes, f->image->volumes[0].header.allocator_size);
	assert_int_equal(before.free_bytes, f->image->volumes[0].header.allocator_free);
	assert_int_equal(before.inodes, 2);
	assert_int_equal(get(f, 1024), 0);
	assert_int_equal(get(f, 1024), 0);
	h2_fs_get_stats(f->fs, &after);
	assert_true(after.cache_hits > before.cache_hits);
	assert_true(after.cache_bytes > 0);
	assert_ptr_equal(h2_fs_volumes(f->fs), f->volumes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(open__needs_a_super_root),
		FIXTURE_TEST(open__super_root_must_match_its_check_code),
		FIXTURE_TEST(open__super_root_must_be_one),
		FIXTURE_TEST(open__super_root_reference_must_be_sound),
		FIXTURE_TEST(open__super_root_may_lie_in_any_slot),
		FIXTURE_TEST(open__super_root_may_lie_in_an_indirect_block),
		FIXTURE_TEST(open__reads_version_1),
		FIXTURE_TEST(open__reads_blocks_on_all_volumes),
		FIXTURE_TEST(pfs__list_of_none),
		FIXTURE_TEST(pfs__list_is_complete_and_in_key_order),
		FIXTURE_TEST(pfs__entry_at_the_last_key_ends_the_list),
		FIXTURE_TEST(pfs__labels_are_compared_byte_for_byte),
		FIXTURE_TEST(pfs__same_one_gives_the_same_pointer),
		FIXTURE_TEST(pfs__inode_numbers_are_its_own),
		FIXTURE_TEST(pfs__flags_may_be_missing),
		FIXTURE_TEST(pfs__damaged_one_does_not_hide_the_others),
		FIXTURE_TEST(pfs__damaged_part_of_the_super_root_ends),
		FIXTURE_TEST(pfs__bad_roots_are_refused),
		FIXTURE_TEST(inode__is_found_by_number),
		FIXTURE_TEST(inode__number_must_be_its_key),
		FIXTURE_TEST(inode__damage_is_confined_to_it),
		FIXTURE_TEST(inode__of_an_unusable_type_is_refused),
		FIXTURE_TEST(inode__index_holds_inodes_only),
		FIXTURE_TEST(attr__is_what_stat_tells),
		FIXTURE_TEST(attr__replaces_times_that_were_never_written),
		FIXTURE_TEST(attr__of_each_type),
		FIXTURE_TEST(path__is_followed),
		FIXTURE_TEST(path__is_built_from_an_inode),
		FIXTURE_TEST(path__of_a_wrong_parent_ends),
		FIXTURE_TEST(parent__of_directories),
		FIXTURE_TEST(stats__count_cache_and_space),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
