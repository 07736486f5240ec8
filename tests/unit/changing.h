/* For tests that change the filesystem of a fixture: files in its root directory. */
#ifndef TESTS_UNIT_CHANGING_H
#define TESTS_UNIT_CHANGING_H

#include <hammer2/change.h>

#include "fixture.h"

#define CHUNK ((size_t)1 << 20)

static inline void fill_random(uint8_t *buf, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		buf[i] = (uint8_t)(seed >> 56);
	}
}

static inline void open_for_writing(struct fixture *f)
{
	f->write = true;
	fixture_open(f);
}

static inline struct h2_inode *create(struct fixture *f, const char *name)
{
	struct h2_new new_ = {
		.type = H2_OBJECT_FILE,
		.mode = 0644,
		.comp_algo = H2_INHERIT,
		.check_algo = H2_INHERIT,
	};
	struct h2_inode *root = fixture_inode(f, H2_INUM_ROOT), *inode = NULL;

	assert_int_equal(h2_create(root, name, strlen(name), &new_, &inode), 0);
	h2_inode_put(root);
	return inode;
}

static inline struct h2_inode *find(struct fixture *f, const char *name)
{
	struct h2_inode *root = fixture_inode(f, H2_INUM_ROOT);
	struct h2_dirent ent;

	assert_int_equal(h2_dir_lookup(root, name, strlen(name), &ent), 0);
	h2_inode_put(root);
	return fixture_inode(f, ent.inum);
}

static inline void unlink_name(struct fixture *f, const char *name)
{
	struct h2_inode *root = fixture_inode(f, H2_INUM_ROOT);

	assert_int_equal(h2_unlink(root, name, strlen(name), NULL), 0);
	h2_inode_put(root);
}

/* As many commits as dropped storage may need to come back, and more. */
static inline void commit_often(struct fixture *f)
{
	static const char *const names[] = {"a", "b", "c", "d", "e", "f"};

	for (unsigned i = 0; i < LENGTH_OF(names); i++) {
		h2_inode_put(create(f, names[i]));
		assert_int_equal(h2_fs_sync(f->fs), 0);
	}
}

/* Write until there is no room; how many chunks. */
static inline unsigned fill(struct h2_inode *inode, uint64_t seed)
{
	uint8_t *buf = malloc(CHUNK);
	ssize_t done = (ssize_t)CHUNK;
	unsigned n = 0;

	assert_non_null(buf);
	while (done == (ssize_t)CHUNK) {
		fill_random(buf, CHUNK, seed + n);
		done = h2_file_write(inode, n * (uint64_t)CHUNK, buf, CHUNK, 0);
		n += done == (ssize_t)CHUNK;
	}
	free(buf);
	return n;
}

static inline void expect_chunks(struct h2_inode *inode, uint64_t seed, unsigned count)
{
	uint8_t *buf = malloc(CHUNK), *found = malloc(CHUNK);

	assert_non_null(buf);
	assert_non_null(found);
	for (unsigned i = 0; i < count; i++) {
		fill_random(buf, CHUNK, seed + i);
		assert_int_equal(h2_file_read(inode, i * (uint64_t)CHUNK, found, CHUNK), CHUNK);
		assert_memory_equal(buf, found, CHUNK);
	}
	free(buf);
	free(found);
}

/* In the freemap that seal() writes, whatever is there. */
static inline void mark_free(struct image *image, uint64_t offset)
{
	struct h2d_freemap_record *record =
		(struct h2d_freemap_record *)image->freemap_leaves[0]->bytes + offset / H2_SEGMENT;
	unsigned granule = (unsigned)(offset % H2_SEGMENT / H2_GRANULE);

	((uint8_t *)record->bitmap)[granule / 4] &= (uint8_t) ~(3u << 2 * (granule % 4));
}

#endif
