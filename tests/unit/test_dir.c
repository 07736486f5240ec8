/* Directories: lookup and listing, MF 7 and 13.5. */
#include "fixture.h"

/* MF A.1: all of one hash. */
static const char *const colliding[] = {
	"e.b.c.g.d.h.a.f", "a.c.b.h.f.e.d.g", "f.c.b.g.e.d.a.h", "c.b.f.h.e.a.g.d",
	"a.g.c.d.h.f.b.e", "a.g.f.h.b.c.e.d", "b.e.h.g.d.c.f.a",
};
static const unsigned collision_numbers[] = {1, 0, 3, 2, 5, 4, 7};
#define COLLIDING_HASH UINT64_C(0xe596b8c5c9588000)

static struct image_block *add_dir(struct fixture *f, uint64_t inum)
{
	return image_add_inode(f->image, f->root, inum, H2_OBJECT_DIRECTORY);
}

static struct image_block *add(struct fixture *f, struct image_block *dir, const char *name,
			       uint64_t inum)
{
	return image_add_dirent(f->image, dir, name, inum, H2_OBJECT_FILE);
}

static int lookup(struct fixture *f, uint64_t dir, const char *name, size_t len,
		  struct h2_dirent *ent)
{
	struct h2_inode *inode = fixture_inode(f, dir);
	int err = h2_dir_lookup(inode, name, len, ent);

	h2_inode_put(inode);
	return err;
}

/* The inode number behind the name, or a negative errno. */
static int64_t find(struct fixture *f, uint64_t dir, const char *name)
{
	struct h2_dirent ent;
	int err = lookup(f, dir, name, strlen(name), &ent);

	if (err)
		return err;
	assert_int_equal(ent.name_len, strlen(name));
	assert_string_equal(ent.name, name);
	return (int64_t)ent.inum;
}

struct listing {
	unsigned count, errors;
	int first_error;
	struct h2_dirent entries[3000];
};

static struct listing listed;

static void list_from(struct fixture *f, uint64_t dir, uint64_t from)
{
	struct h2_inode *inode = fixture_inode(f, dir);
	struct h2_dir_scan *scan;
	int err;

	listed.count = listed.errors = 0;
	listed.first_error = 0;
	assert_int_equal(h2_dir_scan_new(inode, from, &scan), 0);
	h2_inode_put(inode); /* the scan has a reference of its own */
	while ((err = h2_dir_scan_next(scan, &listed.entries[listed.count])) != 1) {
		if (err) {
			if (listed.errors++ == 0)
				listed.first_error = err;
			assert_true(listed.errors < 100);
			continue;
		}
		listed.count++;
		assert_true(listed.count < LENGTH_OF(listed.entries));
	}
	assert_int_equal(h2_dir_scan_next(scan, &listed.entries[listed.count]), 1);
	h2_dir_scan_free(scan);
}

static bool is_listed(const char *name)
{
	for (unsigned i = 0; i < listed.count; i++) {
		if (strcmp(listed.entries[i].name, name) == 0)
			return true;
	}
	return false;
}

/* ---- lookup ---- */

static void lookup__finds_names_and_nothing_else(void **state)
{
	struct fixture *f = *state;
	struct image_block *dir = add_dir(f, 1024);
	struct h2_dirent ent;

	image_add_dirent(f->image, dir, "link", 2001, H2_OBJECT_SYMLINK);
	add(f, dir, "a.b", 2002);
	add(f, f->root, "top", 1024);
	fixture_open(f);
	assert_int_equal(lookup(f, 1024, "link", 4, &ent), 0);
	assert_int_equal(ent.inum, 2001);
	assert_int_equal(ent.type, H2_OBJECT_SYMLINK);
	assert_int_equal(ent.key, h2_name_hash("link", 4) + 1);
	assert_int_equal(lookup(f, 1024, "link", 4, NULL), 0);
	assert_int_equal(find(f, 1, "top"), 1024);
	assert_int_equal(find(f, 1024, "top"), -ENOENT);
	assert_int_equal(find(f, 1024, "b.a"), -ENOENT); /* the upper hash half is equal */
	assert_int_equal(find(f, 1024, "Link"), -ENOENT);
	assert_int_equal(lookup(f, 1024, "linker", 3, NULL), -ENOENT);
	assert_int_equal(lookup(f, 1024, "link\0", 5, NULL), -ENOENT);
	assert_int_equal(atomic_load(&f->reports), 0);
}

static void lookup__tells_colliding_names_apart(void **state)
{
	struct fixture *f = *state;
	struct image_block *dir = add_dir(f, 1024);

	for (unsigned i = 0; i < LENGTH_OF(colliding); i++)
		add(f, dir, colliding[i], 2000 + i)->ref.key = COLLIDING_HASH +
							       collision_numbers[i];
	fixture_open(f);
	for (unsigned i = 0; i < LENGTH_OF(colliding); i++)
		assert_int_equal(find(f, 1024, colliding[i]), 2000 + i);
	list_from(f, 1024, 0);
	assert_int_equal(listed.count, LENGTH_OF(colliding));
}

/* MF 7.3: the range is [H, H + 0x7fff], both ends included. */
static void lookup__searches_exactly_the_collision_range(void **state)
{
	static const struct {
		uint64_t add;
		bool found;
	} rows[] = {
		{0, true}, {1, true}, {0x7fff, true}, {0x8000, false}, {UINT64_MAX, false},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		uint64_t inum = 1024 + i;

		add(f, add_dir(f, inum), "name", 2000)->ref.key = h2_name_hash("name", 4) +
								  rows[i].add;
	}
	fixture_open(f);
	for (size_t i = 0; i < LENGTH_OF(rows); i++)
		assert_int_equal(find(f, 1024 + i, "name"), rows[i].found ? 2000 : -ENOENT);
}

static void lookup__in_a_full_collision_range(void **state)
{
	struct fixture *f = *state;
	struct image_block *dir = add_dir(f, 1024);

	/* 600 other names under the hash of "name". */
	for (unsigned i = 0; i < 600; i++) {
		char other[16];

		snprintf(other, sizeof(other), "other%u", i);
		add(f, dir, other, 3000 + i)->ref.key = h2_name_hash("name", 4) + i;
	}
	add(f, dir, "name", 2000)->ref.key = h2_name_hash("name", 4) + 600;
	fixture_open(f);
	assert_int_equal(find(f, 1024, "name"), 2000);
	assert_int_equal(find(f, 1024, "other5"), -ENOENT); /* not under its own hash */
}

static void lookup__takes_the_lowest_key_of_duplicate_names(void **state)
{
	struct fixture *f = *state;
	struct image_block *dir = add_dir(f, 1024);

	add(f, dir, "twice", 2001)->ref.key = h2_name_hash("twice", 5) + 9;
	add(f, dir, "twice", 2002)->ref.key = h2_name_hash("twice", 5) + 4;
	fixture_open(f);
	assert_int_equal(find(f, 1024, "twice"), 2002);
}

/* MF 7.1: up to 64 bytes in the blockref, from 65 on in a block. */
static void lookup__names_around_the_inline_limit(void **state)
{
	static const unsigned lengths[] = {1, 63, 64, 65, 66, 254, 255};
	struct fixture *f = *state;
	struct image_block *dir = add_dir(f, 1024);
	char name[300];

	for (size_t i = 0; i < LENGTH_OF(lengths); i++) {
		struct image_block *entry;

		memset(name, 'x', sizeof(name));
		name[lengths[i]] = '\0';
		entry = add(f, dir, name, 2000 + lengths[i]);
		assert_int_equal(h2_blockref_radix(&entry->ref), lengths[i] <= 64 ? 0 : 10);
	}
	fixture_open(f);
	for (unsigned len = 1; len <= 255; len++) {
		bool there = false;

		for (size_t i = 0; i < LENGTH_OF(lengths); i++)
			there = there || lengths[i] == len;
		memset(name, 'x', sizeof(name));
		name[len] = '\0';
		assert_int_equal(find(f, 1024, name), there ? (int64_t)(2000 + len) : -ENOENT);
	}
	memset(name, 'x', sizeof(name));
	assert_int_equal(lookup(f, 1024, name, 256, NULL), -ENAMETOOLONG);
	list_from(f, 1024, 0);
	assert_int_equal(listed.count, LENGTH_OF(lengths));
	for (unsigned i = 0; i < listed.count; i++)
		assert_int_equal(listed.entries[i].inum, 2000 + listed.entries[i].name_len);
}

static void lookup__long_names_that_differ_in_one_byte(void **state)
{
	struct fixture *f = *state;
	struct image_block *dir = add_dir(f, 1024);
	char a[101], b[101];

	memset(a, 'n', 100);
	a[100] = '\0';
	memcpy(b, a, sizeof(b));
	b[99] = 'm';
	add(f, dir, b, 2001)->ref.key = h2_name_hash(a, 100);
	add(f, dir, a, 2002)->ref.key = h2_name_hash(a, 100) + 5;
	fixture_open(f);
	assert_int_equal(find(f, 1024, a), 2002);
}

static void lookup__of_what_is_no_name(void **state)
{
	struct fixture *f = *state;

	image_add_inode(f->image, f->root, 1025, H2_OBJECT_FILE);
	fixture_open(f);
	assert_int_equal(lookup(f, 1, "", 0, NULL), -ENOENT);
	assert_int_equal(lookup(f, 1, ".", 1, NULL), -ENOENT);
	assert_int_equal(lookup(f, 1, "..", 2, NULL), -ENOENT);
	assert_int_equal(lookup(f, 1, "a/b", 3, NULL), -ENOENT);
	assert_int_equal(lookup(f, 1025, "name", 4, NULL), -ENOTDIR);
}

/* ---- damage ---- */

static void damage__in_a_name_block(void **state)
{
	struct fixture *f = *state;
	struct image_block *dir = add_dir(f, 1024), *entry;
	char name[101];

	memset(name, 'n', 100);
	name[100] = '\0';
	entry = add(f, dir, name, 2001);
	add(f, dir, "other", 2002);
	image_seal(f->image);
	entry->flags = IMAGE_KEEP_CHECK;
	entry->bytes[500] ^= 1; /* in the padding: the code covers it (MF 4.1) */
	fixture_open(f);
	assert_int_equal(find(f, 1024, name), -H2_ECHECK);
	assert_int_equal(find(f, 1024, "other"), 2002);
	assert_true(atomic_load(&f->reports) > 0);
	list_from(f, 1024, 0);
	assert_int_equal(listed.count, 1);
	assert_int_equal(listed.errors, 1);
	assert_int_equal(listed.first_error, -H2_ECHECK);
}

/* MF 15, 2: there is no check code for a name in the blockref. */
static void damage__inline_name_is_verified_by_no_code_of_its_own(void **state)
{
	static const uint8_t methods[] = {0x00, 0x10, 0x20, 0x32, 0x40, 0xf0};
	struct fixture *f = *state;
	struct image_block *dir = add_dir(f, 1024);

	for (size_t i = 0; i < LENGTH_OF(methods); i++) {
		char name[] = {(char)('a' + i), 0};

		add(f, dir, name, 2000 + i)->ref.methods = methods[i];
	}
	fixture_open(f);
	for (size_t i = 0; i < LENGTH_OF(methods); i++) {
		char name[] = {(char)('a' + i), 0};

		assert_int_equal(find(f, 1024, name), 2000 + i);
	}
}

/* MF 13.5: such entries are left out. */
static void damage__impossible_names_are_reported_and_left_out(void **state)
{
	static const struct {
		const char *bytes;
		uint16_t len;
	} bad[] = {{"a/b", 3}, {"a\0b", 3}, {".", 1}, {"..", 2}, {"/", 1}, {"", 0}, {"x", 65}};
	struct fixture *f = *state;
	struct image_block *dir = add_dir(f, 1024);

	for (size_t i = 0; i < LENGTH_OF(bad); i++) {
		struct image_block *entry = add(f, dir, "x", 2000);

		memset(entry->ref.check, 0, sizeof(entry->ref.check));
		memcpy(entry->ref.check, bad[i].bytes, bad[i].len < 4 ? bad[i].len : 1);
		entry->ref.dirent_namlen = bad[i].len;
	}
	add(f, dir, "good", 2001);
	fixture_open(f);
	list_from(f, 1024, 0);
	assert_int_equal(listed.count, 1);
	assert_true(is_listed("good"));
	assert_int_equal(listed.errors, LENGTH_OF(bad));
	assert_int_equal(listed.first_error, -H2_ECORRUPT);
	assert_true(atomic_load(&f->reports) >= LENGTH_OF(bad));
	assert_int_equal(find(f, 1024, "good"), 2001);
}

static void damage__inode_numbers_that_cannot_be(void **state)
{
	static const uint64_t bad[] = {0, H2_KEY_VISIBLE, UINT64_MAX};
	struct fixture *f = *state;
	struct image_block *dir = add_dir(f, 1024);

	for (size_t i = 0; i < LENGTH_OF(bad); i++) {
		char name[] = {(char)('a' + i), 0};

		add(f, dir, name, bad[i]);
	}
	add(f, dir, "dangling", 5000);
	fixture_open(f);
	list_from(f, 1024, 0);
	assert_int_equal(listed.count, 1);
	assert_int_equal(listed.errors, LENGTH_OF(bad));
	assert_int_equal(find(f, 1024, "a"), -H2_ECORRUPT);
	assert_int_equal(find(f, 1024, "dangling"), 5000);
	{
		struct h2_inode *inode;

		assert_int_equal(h2_inode_get(f->pfs, 5000, &inode), -ENOENT);
	}
}

/* Where damage may hide the name, "no such file" would be a lie. */
static void damage__that_may_hide_a_name_is_an_error_and_not_its_absence(void **state)
{
	struct fixture *f = *state;
	struct image_block *dir = add_dir(f, 1024), *node;
	uint64_t hash = h2_name_hash("hidden", 6);

	node = image_add_indirect(f->image, dir, hash & ~UINT64_C(0xffffffff), 32, 12);
	add(f, node, "hidden", 2001);
	/* A name in the other half of the key space below the visible bit. */
	add(f, dir, hash >> 62 & 1 ? "b.a" : "a", 2002)->ref.key = hash ^ UINT64_C(1) << 62;
	image_seal(f->image);
	node->flags = IMAGE_KEEP_CHECK;
	node->bytes[4000] ^= 1;
	node->child_count = 0; /* so that the bytes stay */
	fixture_open(f);
	assert_int_equal(find(f, 1024, "hidden"), -H2_ECHECK);
	list_from(f, 1024, 0);
	assert_int_equal(listed.count, 1);
	assert_int_equal(listed.errors, 1);
}

static void damage__blockrefs_of_other_trees_are_reported(void **state)
{
	struct fixture *f = *state;
	struct image_block *dir = add_dir(f, 1024);

	image_add(f->image, dir, H2_BLOCKREF_DATA, H2_KEY_VISIBLE, 16, 10);
	add(f, dir, "low", 2000)->ref.key = 77; /* bit 63 clear: never in a scan */
	add(f, dir, "good", 2001);
	fixture_open(f);
	list_from(f, 1024, 0);
	assert_int_equal(listed.count, 1);
	assert_int_equal(listed.errors, 1);
}

/* ---- listing ---- */

static void list__of_an_empty_directory(void **state)
{
	struct fixture *f = *state;

	add_dir(f, 1024);
	fixture_open(f);
	list_from(f, 1024, 0);
	assert_int_equal(listed.count + listed.errors, 0);
	list_from(f, 1, 0); /* the inode index is no content (MF 7.9) */
	assert_int_equal(listed.count + listed.errors, 0);
}

static void list__of_a_file_is_refused(void **state)
{
	struct fixture *f = *state;
	struct h2_dir_scan *scan;
	struct h2_inode *inode;

	image_add_inode(f->image, f->root, 1025, H2_OBJECT_FILE);
	fixture_open(f);
	inode = fixture_inode(f, 1025);
	assert_int_equal(h2_dir_scan_new(inode, 0, &scan), -ENOTDIR);
	h2_inode_put(inode);
	h2_dir_scan_free(NULL);
}

#define MANY 2000u

static void make_many(struct fixture *f, struct image_block *dir)
{
	for (unsigned i = 0; i < MANY; i++) {
		char name[64];

		snprintf(name, sizeof(name), "file number %u of many", i);
		add(f, dir, name, 10000 + i);
	}
}

static void list__gives_every_name_once_in_key_order(void **state)
{
	struct fixture *f = *state;
	uint8_t seen[MANY] = {0};

	make_many(f, f->root);
	fixture_open(f);
	list_from(f, 1, 0);
	assert_int_equal(listed.errors, 0);
	assert_int_equal(listed.count, MANY);
	for (unsigned i = 0; i < listed.count; i++) {
		const struct h2_dirent *ent = &listed.entries[i];

		assert_true(i == 0 || ent->key > listed.entries[i - 1].key);
		assert_int_equal(ent->key & ~H2_KEY_COLLISION,
				 h2_name_hash(ent->name, ent->name_len));
		seen[ent->inum - 10000]++;
	}
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(seen[i], 1);
}

static void list__resumes_at_a_key(void **state)
{
	struct fixture *f = *state;
	static struct h2_dirent all[MANY];

	make_many(f, add_dir(f, 1024));
	fixture_open(f);
	list_from(f, 1024, 0);
	memcpy(all, listed.entries, sizeof(all));
	for (unsigned i = 0; i < MANY; i += 111) {
		/* The cookie of BS 4.1: the key without bit 63, plus 1. */
		list_from(f, 1024, (all[i].key & ~H2_KEY_VISIBLE) + 1);
		assert_int_equal(listed.count, MANY - i - 1);
		if (listed.count)
			assert_int_equal(listed.entries[0].key, all[i + 1].key);
		list_from(f, 1024, all[i].key);
		assert_int_equal(listed.count, MANY - i);
		assert_int_equal(listed.entries[0].key, all[i].key);
	}
	list_from(f, 1024, all[MANY - 1].key + 1);
	assert_int_equal(listed.count, 0);
	list_from(f, 1024, UINT64_MAX);
	assert_int_equal(listed.count, 0);
	list_from(f, 1024, 1); /* between "." and ".." of a server */
	assert_int_equal(listed.count, MANY);
}

static void list__finds_what_lookup_finds(void **state)
{
	struct fixture *f = *state;

	make_many(f, add_dir(f, 1024));
	fixture_open(f);
	for (unsigned i = 0; i < MANY; i += 7) {
		char name[64];

		snprintf(name, sizeof(name), "file number %u of many", i);
		assert_int_equal(find(f, 1024, name), 10000 + i);
		snprintf(name, sizeof(name), "file number %u of more", i);
		assert_int_equal(find(f, 1024, name), -ENOENT);
	}
}

/* ---- legacy inodes, MF 7.6 ---- */

static void legacy__inodes_are_entries_and_inodes(void **state)
{
	struct fixture *f = *state;
	struct image_block *dir = add_dir(f, 1024);
	struct h2_inode *inode;
	struct h2_dirent ent;

	image_add_legacy(f->image, dir, "old", 3000, H2_OBJECT_FIFO);
	image_add_legacy(f->image, f->root, "old too", 3001, H2_OBJECT_DIRECTORY);
	add(f, dir, "new", 1025);
	image_add_inode(f->image, f->root, 1025, H2_OBJECT_FILE);
	fixture_open(f);
	assert_int_equal(lookup(f, 1024, "old", 3, &ent), 0);
	assert_int_equal(ent.inum, 3000);
	assert_int_equal(ent.type, H2_OBJECT_FIFO);
	inode = fixture_inode(f, 3000);
	assert_int_equal(h2_inode_meta(inode)->type, H2_OBJECT_FIFO);
	h2_inode_put(inode);
	list_from(f, 1024, 0);
	assert_int_equal(listed.count, 2);
	assert_true(is_listed("old") && is_listed("new"));
	list_from(f, 1, 0);
	assert_int_equal(listed.count, 1);
	assert_true(is_listed("old too"));
	list_from(f, 3001, 0); /* a directory itself, found by its number once it was listed */
	assert_int_equal(listed.count, 0);
	assert_int_equal(find(f, 1024, "ol"), -ENOENT);
	assert_int_equal(atomic_load(&f->reports), 0);
}

static void legacy__name_is_that_of_the_inode(void **state)
{
	struct fixture *f = *state;
	struct image_block *dir = add_dir(f, 1024);
	char name[201];

	memset(name, 'l', 200);
	name[200] = '\0';
	image_add_legacy(f->image, dir, name, 3000, H2_OBJECT_FILE);
	image_add_legacy(f->image, dir, "other", 3001, H2_OBJECT_FILE)->ref.key = h2_name_hash(name,
											       200);
	fixture_open(f);
	assert_int_equal(find(f, 1024, name), 3000);
	name[199] = '\0';
	assert_int_equal(find(f, 1024, name), -ENOENT);
}

static void legacy__bad_inodes_are_reported_and_left_out(void **state)
{
	struct fixture *f = *state;
	struct image_block *dir = add_dir(f, 1024);
	struct image_block *bad[5];

	for (unsigned i = 0; i < LENGTH_OF(bad); i++) {
		char name[] = {(char)('a' + i), 0};

		bad[i] = image_add_legacy(f->image, dir, name, 3000 + i, H2_OBJECT_FILE);
	}
	image_inode(bad[0])->name_len = le16_make(257);
	image_inode(bad[1])->name_len = le16_make(0);
	image_inode(bad[2])->filename[0] = '/';
	image_inode(bad[3])->inum = le64_make(1);
	image_inode(bad[4])->version = le16_make(2);
	add(f, dir, "good", 2000);
	fixture_open(f);
	list_from(f, 1024, 0);
	assert_int_equal(listed.count, 1);
	assert_int_equal(listed.errors, LENGTH_OF(bad));
	assert_int_equal(listed.first_error, -H2_ECORRUPT);
}

static void legacy__inode_in_the_index_comes_first(void **state)
{
	struct fixture *f = *state;
	struct image_block *dir = add_dir(f, 1024);
	struct h2_inode *inode;

	image_add_legacy(f->image, dir, "old", 1025, H2_OBJECT_FIFO);
	image_add_inode(f->image, f->root, 1025, H2_OBJECT_FILE);
	fixture_open(f);
	list_from(f, 1024, 0);
	inode = fixture_inode(f, 1025);
	assert_int_equal(h2_inode_meta(inode)->type, H2_OBJECT_FILE);
	h2_inode_put(inode);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(lookup__finds_names_and_nothing_else),
		FIXTURE_TEST(lookup__tells_colliding_names_apart),
		FIXTURE_TEST(lookup__searches_exactly_the_collision_range),
		FIXTURE_TEST(lookup__in_a_full_collision_range),
		FIXTURE_TEST(lookup__takes_the_lowest_key_of_duplicate_names),
		FIXTURE_TEST(lookup__names_around_the_inline_limit),
		FIXTURE_TEST(lookup__long_names_that_differ_in_one_byte),
		FIXTURE_TEST(lookup__of_what_is_no_name),
		FIXTURE_TEST(damage__in_a_name_block),
		FIXTURE_TEST(damage__inline_name_is_verified_by_no_code_of_its_own),
		FIXTURE_TEST(damage__impossible_names_are_reported_and_left_out),
		FIXTURE_TEST(damage__inode_numbers_that_cannot_be),
		FIXTURE_TEST(damage__that_may_hide_a_name_is_an_error_and_not_its_absence),
		FIXTURE_TEST(damage__blockrefs_of_other_trees_are_reported),
		FIXTURE_TEST(list__of_an_empty_directory),
		FIXTURE_TEST(list__of_a_file_is_refused),
		FIXTURE_TEST(list__gives_every_name_once_in_key_order),
		FIXTURE_TEST(list__resumes_at_a_key),
		FIXTURE_TEST(list__finds_what_lookup_finds),
		FIXTURE_TEST(legacy__inodes_are_entries_and_inodes),
		FIXTURE_TEST(legacy__name_is_that_of_the_inode),
		FIXTURE_TEST(legacy__bad_inodes_are_reported_and_left_out),
		FIXTURE_TEST(legacy__inode_in_the_index_comes_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
