/* Written contents: when they are stored. */
#include "unit.h"

#include <hammer2/change.h>
#include <time.h>

#include "mkfs.h"
#include "sim.h"
#include "volumes.h"

#define WRITTEN (4 * MIB)
#define WAIT_MS 10000

struct fixture {
	struct h2_sim *sim;
	struct h2_volumes *volumes;
	struct h2_fs *fs;
	struct h2_pfs *pfs;
	struct h2_inode *file;
};

static void make_uuid(void *user, struct h2_uuid *uuid)
{
	uint8_t *next = user;

	for (unsigned i = 0; i < sizeof(uuid->bytes); i++)
		uuid->bytes[i] = (*next)++;
}

/* A new filesystem with an empty file, committed. */
static void begin(struct fixture *f, const struct h2_fs_options *how)
{
	const uint64_t size = 64 * MIB;
	const struct h2_new new_ = {
		.type = H2_OBJECT_FILE,
		.mode = 0644,
		.comp_algo = H2_INHERIT,
		.check_algo = H2_INHERIT,
	};
	uint8_t next_uuid_byte = 0;
	struct h2_mkfs_options options = {
		.comp_algo = -1,
		.check_algo = -1,
		.uuid = make_uuid,
		.uuid_user = &next_uuid_byte,
	};
	struct h2_mkfs_plan plan;
	struct h2_device *dev;
	struct h2_inode *root;

	f->sim = h2_sim_new(size);
	assert_non_null(f->sim);
	assert_int_equal(h2_mkfs_plan(&size, 1, &options, &plan), 0);
	assert_int_equal(h2_sim_open(f->sim, true, &dev), 0);
	assert_int_equal(h2_mkfs_devices(&plan, &options, &dev), 0);
	assert_int_equal(h2_volumes_assemble(&dev, 1, &(struct h2_volumes_options){.write = true},
					     &f->volumes),
			 0);
	assert_int_equal(h2_fs_open(f->volumes, how, &f->fs), 0);
	assert_int_equal(h2_pfs_open(f->fs, "LOCAL", &f->pfs), 0);
	assert_int_equal(h2_inode_get(f->pfs, H2_INUM_ROOT, &root), 0);
	assert_int_equal(h2_create(root, "file", 4, &new_, &f->file), 0);
	h2_inode_put(root);
	assert_int_equal(h2_fs_sync(f->fs), 0);
}

static void end(struct fixture *f)
{
	h2_inode_put(f->file);
	h2_pfs_put(f->pfs);
	assert_int_equal(h2_fs_close(f->fs), 0);
	h2_volumes_close(f->volumes);
	h2_sim_free(f->sim);
}

static uint64_t count_writes(const struct fixture *f)
{
	struct h2_sim_stats stats;

	h2_sim_get_stats(f->sim, &stats);
	return stats.writes;
}

static void write_file(struct fixture *f)
{
	static uint8_t block[64 << 10];
	uint32_t x = 1;

	for (uint64_t at = 0; at < WRITTEN; at += sizeof(block)) {
		for (size_t i = 0; i < sizeof(block); i++) {
			x = x * 1664525 + 1013904223;
			block[i] = (uint8_t)(x >> 24);
		}
		assert_int_equal(h2_file_write(f->file, at, block, sizeof(block), 0),
				 sizeof(block));
	}
}

static void store__begins_at_store_bytes(void **state)
{
	struct fixture f;
	uint64_t before;
	unsigned ms = 0;

	(void)state;
	begin(&f, &(struct h2_fs_options){.write = true, .store_bytes = MIB});
	before = count_writes(&f);
	write_file(&f);
	/* Nobody asks for it: other threads do it, when they get to it. */
	for (; count_writes(&f) == before && ms < WAIT_MS; ms++)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	assert_true(count_writes(&f) > before);
	end(&f);
}

static void store__waits_for_the_commit_below_that(void **state)
{
	struct fixture f;
	uint64_t before;

	(void)state;
	begin(&f, &(struct h2_fs_options){.write = true, .store_bytes = 2 * WRITTEN});
	before = count_writes(&f);
	write_file(&f);
	nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
	assert_int_equal(count_writes(&f), before);
	assert_int_equal(h2_fs_sync(f.fs), 0);
	assert_true(count_writes(&f) > before);
	end(&f);
}

/* The bound is on all changes: half of it is where storing begins when nothing else is said. */
static void store__begins_at_half_of_dirty_bytes(void **state)
{
	struct fixture f;
	uint64_t before;
	unsigned ms = 0;

	(void)state;
	begin(&f, &(struct h2_fs_options){.write = true, .dirty_bytes = 2 * (WRITTEN - MIB)});
	before = count_writes(&f);
	write_file(&f);
	for (; count_writes(&f) == before && ms < WAIT_MS; ms++)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	assert_true(count_writes(&f) > before);
	end(&f);
}

static void create_files(struct fixture *f, unsigned count)
{
	struct h2_inode *root;

	assert_int_equal(h2_inode_get(f->pfs, H2_INUM_ROOT, &root), 0);
	for (unsigned i = 0; i < count; i++) {
		struct h2_inode *inode;
		char name[16];
		int len = snprintf(name, sizeof(name), "%u", i);

		assert_int_equal(h2_create(root, name, (size_t)len,
					   &(struct h2_new){
						   .type = H2_OBJECT_FILE,
						   .mode = 0644,
						   .comp_algo = H2_INHERIT,
						   .check_algo = H2_INHERIT,
					   },
					   &inode),
				 0);
		h2_inode_put(inode);
	}
	h2_inode_put(root);
}

/* Nobody waits for the commit that half of dirty_bytes in inodes and names brings. */
static void commit__begins_at_half_of_dirty_bytes(void **state)
{
	const unsigned files = 600; /* more than 1 KiB each, less than 2 */
	struct fixture f;
	uint64_t before;
	unsigned ms = 0;

	(void)state;
	begin(&f, &(struct h2_fs_options){
			  .write = true, .dirty_bytes = 4 * MIB, .commit_seconds = 3600});
	before = count_writes(&f);
	create_files(&f, files);
	nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
	assert_int_equal(count_writes(&f), before);
	end(&f);

	begin(&f, &(struct h2_fs_options){
			  .write = true, .dirty_bytes = 3 * MIB / 2, .commit_seconds = 3600});
	/* Else a thread does it in a moment, and commits, too. */
	assert_int_equal(h2_fs_bulkfree(f.fs, NULL, NULL), 0);
	before = count_writes(&f);
	create_files(&f, files);
	for (; count_writes(&f) == before && ms < WAIT_MS; ms++)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	assert_true(count_writes(&f) > before);
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(store__begins_at_store_bytes),
		cmocka_unit_test(store__waits_for_the_commit_below_that),
		cmocka_unit_test(store__begins_at_half_of_dirty_bytes),
		cmocka_unit_test(commit__begins_at_half_of_dirty_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
