/*
 * Reading from several threads at once: each lists and reads everything of one image through the
 * public API, in an order of its own and with a cache that is far too small, and must get what a
 * single thread gets. Made to be run with ThreadSanitizer too.
 */
#include "fixture.h"

#include <pthread.h>

#define THREADS 4u
#define ROUNDS 3u
#define DIRS 12u
#define FILES_PER_DIR 40u
#define FIRST_DIR 2000u
#define FIRST_FILE 10000u
#define LEGACY_INUM 900000u

static uint8_t *content; /* that files are cut from */

static size_t file_size(unsigned n)
{
	static const size_t sizes[] = {0, 100, 512, 513, 5000, 65536, 70000, 200000};

	return sizes[n % LENGTH_OF(sizes)];
}

static unsigned file_comp(unsigned n)
{
	static const unsigned comps[] = {H2_COMP_NONE, H2_COMP_LZ4, H2_COMP_ZLIB};

	return comps[n % LENGTH_OF(comps)];
}

static void make_file(struct fixture *f, struct image_block *dir, unsigned n)
{
	char name[128];

	/* Every fifth has a name that needs a block. */
	snprintf(name, sizeof(name), "%s file %u",
		 n % 5 ? "a" : "a name that is so long that it does not fit into its entry, as the",
		 n);
	image_add_file(f->image, f->root, FIRST_FILE + n, H2_OBJECT_FILE, file_comp(n),
		       content + n * 37, file_size(n));
	image_add_dirent(f->image, dir, name, FIRST_FILE + n, H2_OBJECT_FILE);
}

static int setup(void **state)
{
	struct fixture *f;
	unsigned n = 0;

	if (fixture_setup(state))
		return -1;
	f = *state;
	content = malloc(400000);
	if (!content)
		return -1;
	for (size_t i = 0; i < 400000; i++)
		content[i] = (uint8_t)("parallel lines meet at infinity "[i % 32] + i / 8192);
	unit_noise(content + 200000, 50000, 3);
	for (unsigned d = 0; d < DIRS; d++) {
		struct image_block *dir = image_add_inode(f->image, f->root, FIRST_DIR + d,
							  H2_OBJECT_DIRECTORY);
		char name[16];

		snprintf(name, sizeof(name), "dir%u", d);
		image_add_dirent(f->image, f->root, name, FIRST_DIR + d, H2_OBJECT_DIRECTORY);
		for (unsigned i = 0; i < FILES_PER_DIR; i++)
			make_file(f, dir, n++);
		image_add_legacy(f->image, dir, "legacy", LEGACY_INUM + d, H2_OBJECT_FIFO);
	}
	f->cache_bytes = 300000; /* a few blocks of each shard */
	fixture_open(f);
	return 0;
}

static int teardown(void **state)
{
	free(content);
	return fixture_teardown(state);
}

static uint64_t mix(uint64_t hash, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
	return hash;
}

struct reader {
	struct fixture *f;
	struct h2_pfs *pfs;
	unsigned number;
	uint64_t sum; /* of what was read; its order does not count */
	unsigned entries;
	int err; /* the first one */
};

static void note(struct reader *r, int err)
{
	if (err && !r->err)
		r->err = err;
}

static void read_file(struct reader *r, struct h2_inode *inode)
{
	size_t piece = 1000 + 20011 * (r->number + 1); /* threads differ in their reads */
	uint8_t *buf = malloc(piece);
	uint64_t hash = h2_inode_meta(inode)->inum, offset = 0;
	ssize_t n = -ENOMEM;

	while (buf && (n = h2_file_read(inode, offset, buf, piece)) > 0) {
		hash = mix(hash, buf, (size_t)n);
		offset += (uint64_t)n;
	}
	if (n < 0 || offset != h2_inode_meta(inode)->size)
		note(r, n < 0 ? (int)n : -EIO);
	r->sum += hash;
	free(buf);
}

static void read_tree(struct reader *r, uint64_t inum)
{
	struct h2_dir_scan *scan;
	struct h2_inode *dir;
	struct h2_dirent ent;
	int err = h2_inode_get(r->pfs, inum, &dir);

	if (!err) {
		err = h2_dir_scan_new(dir, 0, &scan);
		if (err)
			h2_inode_put(dir);
	}
	if (err) {
		note(r, err);
		return;
	}
	while ((err = h2_dir_scan_next(scan, &ent)) == 0) {
		struct h2_inode *inode;
		struct h2_dirent again;

		r->entries++;
		r->sum += mix(ent.key ^ ent.inum, ent.name, ent.name_len);
		err = h2_dir_lookup(dir, ent.name, ent.name_len, &again);
		if (!err && again.inum != ent.inum)
			err = -EIO;
		if (!err)
			err = h2_inode_get(r->pfs, ent.inum, &inode);
		note(r, err);
		if (err)
			continue;
		if (h2_inode_meta(inode)->type == H2_OBJECT_DIRECTORY)
			read_tree(r, ent.inum);
		else if (h2_inode_meta(inode)->type == H2_OBJECT_FILE)
			read_file(r, inode);
		h2_inode_put(inode);
	}
	note(r, err == 1 ? 0 : err);
	h2_dir_scan_free(scan);
	h2_inode_put(dir);
}

/* Every thread begins with another directory, then reads the whole. */
static void *read_all(void *arg)
{
	struct reader *r = arg;
	struct reader warm_up = {.f = r->f, .number = r->number};
	int err = h2_pfs_open(r->f->fs, "DATA", &r->pfs);

	if (err) {
		note(r, err);
		return NULL;
	}
	warm_up.pfs = r->pfs;
	read_tree(&warm_up, FIRST_DIR + r->number * 3 % DIRS);
	note(r, warm_up.err);
	read_tree(r, H2_INUM_ROOT);
	h2_pfs_put(r->pfs);
	return NULL;
}

static void parallel__threads_read_what_one_thread_reads(void **state)
{
	struct fixture *f = *state;
	struct reader alone = {.f = f};
	struct h2_fs_stats stats;

	read_all(&alone);
	assert_int_equal(alone.err, 0);
	assert_int_equal(alone.entries, DIRS * (FILES_PER_DIR + 2));
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct reader readers[THREADS];
		pthread_t threads[THREADS];

		for (unsigned t = 0; t < THREADS; t++) {
			readers[t] = (struct reader){.f = f, .number = t};
			assert_int_equal(pthread_create(&threads[t], NULL, read_all, &readers[t]),
					 0);
		}
		for (unsigned t = 0; t < THREADS; t++)
			pthread_join(threads[t], NULL);
		for (unsigned t = 0; t < THREADS; t++) {
			assert_int_equal(readers[t].err, 0);
			assert_int_equal(readers[t].entries, alone.entries);
			assert_int_equal(readers[t].sum, alone.sum);
		}
	}
	assert_int_equal(atomic_load(&f->reports), 0);
	h2_fs_get_stats(f->fs, &stats);
	assert_true(stats.cache_bytes <= 300000);
}

/* The content itself, not only its sameness. */
static void parallel__content_is_what_was_stored(void **state)
{
	struct fixture *f = *state;
	uint8_t *buf = unit_alloc(200001);

	for (unsigned n = 0; n < DIRS * FILES_PER_DIR; n += 3) {
		struct h2_inode *inode = fixture_inode(f, FIRST_FILE + n);

		assert_int_equal(h2_file_read(inode, 0, buf, 200001), file_size(n));
		assert_memory_equal(buf, content + n * 37, file_size(n));
		h2_inode_put(inode);
	}
	free(buf);
}

/* Damage met by several threads at once: each gets the error, none gets the data. */
static void *read_damaged(void *arg)
{
	struct reader *r = arg;
	uint8_t buf[1000];

	for (unsigned i = 0; i < 200; i++) {
		struct h2_inode *inode;
		int err = h2_inode_get(r->pfs, FIRST_FILE + 4, &inode);

		if (!err) {
			err = (int)h2_file_read(inode, 0, buf, sizeof(buf));
			h2_inode_put(inode);
		}
		if (err != -H2_ECHECK)
			note(r, err ? err : 1);
	}
	return NULL;
}

static struct image_block *find_inode(struct image_block *block, uint64_t inum)
{
	if (block->ref.type == H2_BLOCKREF_INODE && block->ref.key == inum)
		return block;
	for (unsigned i = 0; i < block->child_count; i++) {
		struct image_block *found = find_inode(block->children[i], inum);

		if (found)
			return found;
	}
	return NULL;
}

static void parallel__damage_is_an_error_for_all(void **state)
{
	struct fixture *f = *state;
	struct image_block *file = find_inode(f->root, FIRST_FILE + 4);
	struct reader readers[THREADS];
	pthread_t threads[THREADS];

	assert_non_null(file);
	assert_true(file->child_count > 0);
	file->children[0]->flags = IMAGE_KEEP_CHECK;
	file->children[0]->bytes[0] ^= 1;
	fixture_open(f);
	for (unsigned t = 0; t < THREADS; t++) {
		readers[t] = (struct reader){.f = f, .pfs = f->pfs, .number = t};
		assert_int_equal(pthread_create(&threads[t], NULL, read_damaged, &readers[t]), 0);
	}
	for (unsigned t = 0; t < THREADS; t++) {
		pthread_join(threads[t], NULL);
		assert_int_equal(readers[t].err, 0);
	}
	assert_int_equal(atomic_load(&f->reports), THREADS * 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(parallel__threads_read_what_one_thread_reads, setup,
						teardown),
		cmocka_unit_test_setup_teardown(parallel__content_is_what_was_stored, setup,
						teardown),
		cmocka_unit_test_setup_teardown(parallel__damage_is_an_error_for_all, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
