/*
 * A filesystem on simulated disks that is open for writing, with files of random chunks in its PFSs:
 * for the tests of what concerns the whole filesystem.
 */
#ifndef TESTS_UNIT_FILESYSTEM_H
#define TESTS_UNIT_FILESYSTEM_H

#include <hammer2/check.h>
#include <hammer2/pfs.h>

#include "disks.h"

#define CHUNK ((size_t)64 << 10)

struct volume {
	struct disks disks;
	struct h2_fs *fs;
	bool pack; /* what has become free is used again as soon as it can be */
	size_t dirty_bytes, cache_bytes; /* of struct h2_fs_options */
	bool discard;                    /* likewise */
	unsigned commit_seconds;         /* likewise */
	unsigned findings;
	bool altered; /* the test has altered header copies: only the newest has to be sound */
};

static inline void open_fs(struct volume *v)
{
	struct h2_fs_options options = {
		.write = true,
		.pack = v->pack,
		.dirty_bytes = v->dirty_bytes,
		.cache_bytes = v->cache_bytes,
		.discard = v->discard,
		.commit_seconds = v->commit_seconds,
	};

	disks_open(&v->disks);
	assert_int_equal(h2_fs_open(v->disks.volumes, &options, &v->fs), 0);
}

static inline void close_fs(struct volume *v)
{
	if (v->fs)
		assert_int_equal(h2_fs_close(v->fs), 0);
	v->fs = NULL;
	disks_close(&v->disks);
}

/* What was not committed is gone. */
static inline void crash(struct volume *v)
{
	h2_fs_abandon(v->fs);
	v->fs = NULL;
	disks_close(&v->disks);
	open_fs(v);
}

static inline void make_volume(struct volume *v, uint64_t size)
{
	disks_make(&v->disks, &size, 1);
	open_fs(v);
}

static inline int setup(void **state)
{
	struct volume *v = calloc(1, sizeof(*v));

	*state = v;
	return v ? 0 : -1;
}

static inline void print_finding(void *user, const struct h2_report *report)
{
	struct volume *v = user;

	if (report->severity == H2_NOTE)
		return;
	if (v->altered && (strcmp(report->code, "header-damaged") == 0 ||
			   strcmp(report->code, "header-missing") == 0 ||
			   strncmp(report->message, "older header copy", 17) == 0))
		return;
	print_message("%s: %s\n", report->code, report->message);
	v->findings++;
}

/* Close, and let the whole volume be checked. */
static inline void expect_sound(struct volume *v)
{
	struct h2_check_options options = {.report = print_finding, .report_user = v};
	struct h2_check_summary summary;

	close_fs(v);
	disks_open(&v->disks);
	assert_int_equal(h2_check_run(v->disks.volumes, &options, &summary), 0);
	assert_int_equal(v->findings, 0);
	disks_close(&v->disks);
}

static inline int teardown(void **state)
{
	struct volume *v = *state;

	expect_sound(v);
	disks_free(&v->disks);
	free(v);
	return 0;
}

static inline struct h2_pfs *open_pfs(struct volume *v, const char *label)
{
	struct h2_pfs *pfs = NULL;

	assert_int_equal(h2_pfs_open(v->fs, label, &pfs), 0);
	return pfs;
}

static inline void expect_no_pfs(struct volume *v, const char *label)
{
	struct h2_pfs *pfs;

	assert_int_equal(h2_pfs_open(v->fs, label, &pfs), -ENOENT);
}

static inline struct h2_pfs_info info_of(struct volume *v, const char *label)
{
	struct h2_pfs_info info = {.key = 0};
	uint64_t key = 0;

	while (h2_pfs_next(v->fs, key, &info) == 0) {
		if (strcmp(info.label, label) == 0)
			return info;
		key = info.key + 1;
	}
	fail_msg("no PFS %s", label);
	return info;
}

static inline unsigned count_pfs(struct volume *v)
{
	struct h2_pfs_info info;
	unsigned count = 0;

	for (uint64_t key = 0; h2_pfs_next(v->fs, key, &info) == 0; key = info.key + 1)
		count++;
	return count;
}

/* A block of bytes that differ from those of other seeds. */
static inline void fill_chunk(uint8_t *buf, uint64_t seed)
{
	for (size_t i = 0; i < CHUNK; i += 8) {
		uint64_t value = unit_random(&seed);

		memcpy(buf + i, &value, 8);
	}
}

/* A file with so many chunks of random bytes; as it was, if it exists. */
static inline void put_file(struct h2_pfs *pfs, const char *name, uint64_t seed, unsigned chunks)
{
	struct h2_new new_ = {
		.type = H2_OBJECT_FILE,
		.mode = 0644,
		.comp_algo = H2_INHERIT,
		.check_algo = H2_INHERIT,
	};
	struct h2_inode *root, *inode;
	uint8_t *buf = malloc(CHUNK);
	int err;

	assert_non_null(buf);
	assert_int_equal(h2_inode_get(pfs, H2_INUM_ROOT, &root), 0);
	err = h2_create(root, name, strlen(name), &new_, &inode);
	if (err == -EEXIST)
		err = h2_path_lookup(pfs, name, &inode);
	assert_int_equal(err, 0);
	for (unsigned i = 0; i < chunks; i++) {
		fill_chunk(buf, seed + i);
		assert_int_equal(h2_file_write(inode, i * CHUNK, buf, CHUNK, 0), CHUNK);
	}
	h2_inode_put(inode);
	h2_inode_put(root);
	free(buf);
}

static inline void expect_file(struct h2_pfs *pfs, const char *name, uint64_t seed, unsigned chunks)
{
	uint8_t *buf = malloc(CHUNK), *found = malloc(CHUNK);
	struct h2_inode *inode;
	struct h2_attr attr;

	assert_non_null(buf);
	assert_non_null(found);
	assert_int_equal(h2_path_lookup(pfs, name, &inode), 0);
	h2_inode_attr(inode, &attr);
	assert_int_equal(attr.size, chunks * CHUNK);
	for (unsigned i = 0; i < chunks; i++) {
		fill_chunk(buf, seed + i);
		assert_int_equal(h2_file_read(inode, i * CHUNK, found, CHUNK), CHUNK);
		assert_memory_equal(buf, found, CHUNK);
	}
	h2_inode_put(inode);
	free(buf);
	free(found);
}

static inline void expect_no_file(struct h2_pfs *pfs, const char *name)
{
	struct h2_inode *inode;

	assert_int_equal(h2_path_lookup(pfs, name, &inode), -ENOENT);
}

/* The same by the label. */
static inline void put(struct volume *v, const char *label, const char *name, uint64_t seed, unsigned n)
{
	struct h2_pfs *pfs = open_pfs(v, label);

	put_file(pfs, name, seed, n);
	h2_pfs_put(pfs);
}

static inline void expect(struct volume *v, const char *label, const char *name, uint64_t seed, unsigned n)
{
	struct h2_pfs *pfs = open_pfs(v, label);

	expect_file(pfs, name, seed, n);
	h2_pfs_put(pfs);
}

static inline void expect_no(struct volume *v, const char *label, const char *name)
{
	struct h2_pfs *pfs = open_pfs(v, label);

	expect_no_file(pfs, name);
	h2_pfs_put(pfs);
}

static inline uint64_t free_bytes(struct volume *v)
{
	struct h2_fs_stats stats;

	h2_fs_get_stats(v->fs, &stats);
	return stats.free_bytes;
}

/* Write until there is no room at all; how many chunks. */
static inline unsigned fill_up(struct h2_pfs *pfs, uint64_t seed)
{
	struct h2_new new_ = {
		.type = H2_OBJECT_FILE,
		.mode = 0644,
		.comp_algo = H2_INHERIT,
		.check_algo = H2_INHERIT,
	};
	struct h2_inode *root, *inode;
	uint8_t *buf = malloc(CHUNK);
	unsigned n = 0;

	assert_non_null(buf);
	assert_int_equal(h2_inode_get(pfs, H2_INUM_ROOT, &root), 0);
	assert_int_equal(h2_create(root, "fills", 5, &new_, &inode), 0);
	do {
		fill_chunk(buf, seed + n);
	} while (h2_file_write(inode, n * CHUNK, buf, CHUNK, 0) == (ssize_t)CHUNK && ++n);
	free(buf);
	h2_inode_put(inode);
	h2_inode_put(root);
	return n;
}

#endif
