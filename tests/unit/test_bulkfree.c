/* Bulk free (BS 9) and recovery of a freemap that lags (BS 2.6). */
#include <hammer2/check.h>
#include <pthread.h>

#include "changing.h"

static uint64_t free_bytes(struct fixture *f)
{
	struct h2_fs_stats stats;

	h2_fs_get_stats(f->fs, &stats);
	return stats.free_bytes;
}

static void write_chunks(struct h2_inode *inode, uint64_t seed, unsigned count)
{
	uint8_t *buf = malloc(CHUNK);

	assert_non_null(buf);
	for (unsigned i = 0; i < count; i++) {
		fill_random(buf, CHUNK, seed + i);
		assert_int_equal(h2_file_write(inode, i * (uint64_t)CHUNK, buf, CHUNK, 0), CHUNK);
	}
	free(buf);
}

static void make_file(struct fixture *f, const char *name, uint64_t seed, unsigned chunks)
{
	struct h2_inode *inode = create(f, name);

	write_chunks(inode, seed, chunks);
	h2_inode_put(inode);
}

static void expect_file(struct fixture *f, const char *name, uint64_t seed, unsigned chunks)
{
	struct h2_inode *inode = find(f, name);

	expect_chunks(inode, seed, chunks);
	h2_inode_put(inode);
}

static void print_finding(void *user, const struct h2_report *report)
{
	unsigned *count = user;

	if (report->severity == H2_NOTE)
		return;
	print_message("%s: %s\n", report->code, report->message);
	++*count;
}

/* Close, and let the whole volume be checked; older header copies too. */
static void expect_sound(struct fixture *f)
{
	struct h2_check_options options = {.report = print_finding};
	struct h2_check_summary summary;
	unsigned findings = 0;

	fixture_close(f);
	options.report_user = &findings;
	assert_int_equal(image_open(f->image, NULL, &f->volumes), 0);
	assert_int_equal(h2_check_run(f->volumes, &options, &summary), 0);
	assert_int_equal(findings, 0);
	fixture_close(f);
}

static void open_written(struct fixture *f)
{
	f->write = true;
	fixture_reopen(f);
}

static void storage_from_before_opening_comes_back(void **state)
{
	struct fixture *f = *state;
	struct h2_bulkfree_result result;
	uint64_t before;

	open_for_writing(f);
	make_file(f, "stays", 1, 3);
	make_file(f, "goes", 100, 20);
	open_written(f);
	before = free_bytes(f);
	unlink_name(f, "goes");
	assert_int_equal(h2_fs_sync(f->fs), 0);
	assert_true(free_bytes(f) < before + MIB);
	assert_int_equal(h2_fs_bulkfree(f->fs, NULL, &result), 0);
	assert_true(result.freed_bytes >= 20 * MIB);
	assert_true(free_bytes(f) >= before + 20 * MIB - MIB);
	expect_file(f, "stays", 1, 3);
	/* Nothing more the second time. */
	assert_int_equal(h2_fs_bulkfree(f->fs, NULL, &result), 0);
	assert_int_equal(result.freed_bytes, 0);
	/* And it can be used. */
	make_file(f, "new", 200, 30);
	assert_int_equal(h2_fs_sync(f->fs), 0);
	expect_sound(f);
	open_written(f);
	expect_file(f, "stays", 1, 3);
	expect_file(f, "new", 200, 30);
}

static void a_full_volume_that_was_emptied_takes_as_much_again(void **state)
{
	struct fixture *f = *state;
	unsigned first = 0;

	open_for_writing(f);
	for (unsigned round = 0; round < 4; round++) {
		struct h2_inode *inode = create(f, "fills");
		unsigned count = fill(inode, round * 1000);

		first = first ? first : count;
		assert_in_range(count, first - 1, first + 1);
		h2_inode_put(inode);
		open_written(f);
		expect_file(f, "fills", round * 1000, count);
		unlink_name(f, "fills");
		if (round % 2)
			open_written(f);
	}
	expect_sound(f);
}

static void open_removed_files_keep_theirs(void **state)
{
	struct fixture *f = *state;
	struct h2_bulkfree_result result;
	struct h2_inode *inode;

	open_for_writing(f);
	f->cache_bytes = 1;
	make_file(f, "open", 1, 10);
	open_written(f);
	inode = find(f, "open");
	unlink_name(f, "open");
	write_chunks(inode, 1, 2); /* parts of it are new */
	assert_int_equal(h2_fs_bulkfree(f->fs, NULL, &result), 0);
	make_file(f, "new", 100, 20);
	assert_int_equal(h2_fs_bulkfree(f->fs, NULL, &result), 0);
	expect_chunks(inode, 1, 10);
	h2_inode_put(inode);
	assert_int_equal(h2_fs_sync(f->fs), 0);
	assert_int_equal(h2_fs_bulkfree(f->fs, NULL, &result), 0);
	assert_true(result.freed_bytes >= 8 * MIB);
	expect_file(f, "new", 100, 20);
	expect_sound(f);
}

static void damage_frees_nothing(void **state)
{
	struct fixture *f = *state;
	struct image_block *dir = image_add_inode(f->image, f->root, 1030, H2_OBJECT_DIRECTORY);
	struct h2_bulkfree_result result;
	uint8_t byte = 0x55;

	image_add_dirent(f->image, f->root, "dir", 1030, H2_OBJECT_DIRECTORY);
	image_inode(f->root)->pfs_inum = le64_make(9000);
	open_for_writing(f);
	make_file(f, "goes", 100, 20);
	open_written(f);
	assert_int_equal(h2_sim_poke(f->image->volumes[0].sim, dir->media + 100, &byte, 1), 0);
	unlink_name(f, "goes");
	assert_int_equal(h2_fs_bulkfree(f->fs, NULL, &result), -H2_ECHECK);
	assert_int_equal(result.freed_bytes, 0);
	make_file(f, "new", 200, 5);
	assert_int_equal(h2_fs_sync(f->fs), 0);
}

static bool stop_at_once(void *user, uint64_t bytes, uint64_t bytes_expected)
{
	(void)user;
	(void)bytes;
	(void)bytes_expected;
	return false;
}

static void interrupted_run_frees_nothing_and_the_next_one_all(void **state)
{
	struct h2_pass_options options = {.progress = stop_at_once};
	struct fixture *f = *state;
	struct h2_bulkfree_result result;
	struct h2_fs_stats stats;

	open_for_writing(f);
	for (unsigned i = 0; i < 2000; i++) {
		char name[32];

		snprintf(name, sizeof(name), "file %u", i);
		h2_inode_put(create(f, name));
	}
	make_file(f, "goes", 100, 20);
	open_written(f);
	unlink_name(f, "goes");
	assert_int_equal(h2_fs_sync(f->fs), 0);
	assert_int_equal(h2_fs_bulkfree(f->fs, &options, &result), -EINTR);
	assert_int_equal(result.freed_bytes, 0);
	h2_fs_get_stats(f->fs, &stats);
	assert_true(stats.lost_bytes >= 20 * MIB);
	assert_int_equal(h2_fs_bulkfree(f->fs, NULL, &result), 0);
	assert_true(result.freed_bytes >= 20 * MIB);
	expect_sound(f);
}

struct beside { /* a scan */
	struct fixture *f;
	int scan_err, grow_err;
	bool tried;
};

static void *try_beside(void *user)
{
	const struct h2_pass_options options = {.progress = stop_at_once};
	struct beside *b = user;
	uint64_t size = 0;

	b->scan_err = h2_fs_bulkfree(b->f->fs, &options, NULL);
	b->grow_err = h2_fs_grow(b->f->fs, 4 * GIB, &options, &size);
	return NULL;
}

static bool let_others_try(void *user, uint64_t bytes, uint64_t bytes_expected)
{
	struct beside *b = user;
	pthread_t thread;

	(void)bytes;
	(void)bytes_expected;
	if (b->tried)
		return true;
	b->tried = true;
	assert_int_equal(pthread_create(&thread, NULL, try_beside, b), 0);
	pthread_join(thread, NULL);
	return true;
}

static void who_waits_for_a_run_can_be_interrupted(void **state)
{
	struct beside b = {.f = *state};
	struct h2_pass_options options = {.progress = let_others_try, .user = &b};

	open_for_writing(b.f);
	assert_int_equal(h2_fs_bulkfree(b.f->fs, &options, NULL), 0);
	assert_true(b.tried);
	assert_int_equal(b.scan_err, -EINTR);
	assert_int_equal(b.grow_err, -EINTR);
	assert_int_equal(h2_fs_bulkfree(b.f->fs, NULL, NULL), 0);
	expect_sound(b.f);
}

#define MANY 3000u

static void many_files(struct fixture *f, const char *what, bool make)
{
	for (unsigned i = 0; i < MANY; i++) {
		char name[32];

		snprintf(name, sizeof(name), "%s %u", what, i);
		if (make)
			h2_inode_put(create(f, name));
		else
			unlink_name(f, name);
	}
}

/* Replace, several commits long, what the scan is about to walk. */
static bool change_much(void *user, uint64_t bytes, uint64_t bytes_expected)
{
	struct fixture *f = user;
	struct h2_inode *root = fixture_inode(f, H2_INUM_ROOT);
	int err = h2_dir_lookup(root, "during", 6, &(struct h2_dirent){.key = 0});

	(void)bytes;
	(void)bytes_expected;
	h2_inode_put(root);
	if (err == 0)
		return true; /* only once */
	make_file(f, "during", 500, 5);
	many_files(f, "first", false);
	commit_often(f);
	many_files(f, "second", true);
	assert_int_equal(h2_fs_sync(f->fs), 0);
	return true;
}

static void changes_during_a_run_do_not_disturb_it(void **state)
{
	struct fixture *f = *state;
	struct h2_pass_options options = {.progress = change_much, .user = f};

	f->cache_bytes = 1;
	open_for_writing(f);
	many_files(f, "first", true);
	assert_int_equal(h2_fs_sync(f->fs), 0);
	assert_int_equal(h2_fs_bulkfree(f->fs, &options, NULL), 0);
	make_file(f, "after", 600, 20);
	assert_int_equal(h2_fs_sync(f->fs), 0);
	expect_file(f, "during", 500, 5);
	expect_sound(f);
	open_written(f);
	expect_file(f, "during", 500, 5);
	many_files(f, "second", false);
}

struct writer {
	struct fixture *f;
	unsigned number;
	atomic_bool *stop;
	atomic_uint rounds;
};

/* Makes, overwrites, checks and removes files of its own. */
static void *write_on(void *user)
{
	struct writer *w = user;
	char name[32];

	snprintf(name, sizeof(name), "writer %u", w->number);
	while (!atomic_load(w->stop)) {
		uint64_t seed = w->number * UINT64_C(1000000) + atomic_load(&w->rounds) * 10;

		make_file(w->f, name, seed, 2);
		if (seed % 30 == 0)
			assert_int_equal(h2_fs_sync(w->f->fs), 0);
		expect_file(w->f, name, seed, 2);
		unlink_name(w->f, name);
		atomic_fetch_add(&w->rounds, 1);
	}
	return NULL;
}

static void runs_beside_writers(void **state)
{
	struct fixture *f = *state;
	struct writer writers[3];
	pthread_t threads[3];
	atomic_bool stop = false;

	f->cache_bytes = 1;
	open_for_writing(f);
	make_file(f, "stays", 1, 3);
	make_file(f, "goes", 100, 5);
	open_written(f);
	unlink_name(f, "goes");
	for (unsigned i = 0; i < LENGTH_OF(writers); i++) {
		writers[i] = (struct writer){.f = f, .number = i, .stop = &stop};
		assert_int_equal(pthread_create(&threads[i], NULL, write_on, &writers[i]), 0);
	}
	for (unsigned i = 0; i < LENGTH_OF(writers); i++) {
		while (atomic_load(&writers[i].rounds) < 10)
			assert_int_equal(h2_fs_bulkfree(f->fs, NULL, NULL), 0);
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < LENGTH_OF(writers); i++)
		pthread_join(threads[i], NULL);
	expect_file(f, "stays", 1, 3);
	expect_sound(f);
	open_written(f);
	expect_file(f, "stays", 1, 3);
}

/* The freemap knows nothing of a file that was written after it. */
static void lagging_freemap_is_caught_up_with(void **state)
{
	struct fixture *f = *state;
	uint8_t data[3 * H2_LOGICAL_BLOCK];
	struct image_block *file;
	struct h2_inode *inode;

	fill_random(data, sizeof(data), 1);
	file = image_add_file(f->image, f->root, 1030, H2_OBJECT_FILE, H2_COMP_NONE, data,
			      sizeof(data));
	image_add_dirent(f->image, f->root, "lags", 1030, H2_OBJECT_FILE);
	image_inode(f->root)->pfs_inum = le64_make(9000);
	for (unsigned i = 0; i < file->child_count; i++) {
		file->children[i]->ref.mirror_tid = f->image->tid + 1;
		for (uint64_t at = 0; at < H2_LOGICAL_BLOCK; at += H2_GRANULE)
			mark_free(f->image, h2_blockref_offset(&file->children[i]->ref) + at);
		f->image->volumes[0].header.allocator_free += H2_LOGICAL_BLOCK;
	}
	file->ref.mirror_tid = f->root->ref.mirror_tid = f->image->tid + 1;
	f->image->super_root->ref.mirror_tid = f->image->tid + 1;
	f->image->volumes[0].header.mirror_tid = f->image->tid + 1;
	open_for_writing(f);
	inode = create(f, "fills");
	assert_true(fill(inode, 100) > 10);
	h2_inode_put(inode);
	fixture_reopen(f);
	inode = find(f, "lags");
	{
		static uint8_t found[sizeof(data)];

		assert_int_equal(h2_file_read(inode, 0, found, sizeof(found)), sizeof(found));
		assert_memory_equal(found, data, sizeof(data));
	}
	h2_inode_put(inode);
	expect_sound(f);
}

/* ---- what was lost before opening ---- */

/* As a crash does: what was not committed is gone. */
static void crash(struct fixture *f)
{
	h2_pfs_put(f->pfs);
	h2_fs_abandon(f->fs);
	f->pfs = NULL;
	f->fs = NULL;
}

#define PATIENCE_MS 20000u

/* Wait for storage to come back by itself. */
static bool comes_back(struct fixture *f, uint64_t wanted)
{
	for (unsigned ms = 0; ms < PATIENCE_MS; ms += 50) {
		if (free_bytes(f) >= wanted)
			return true;
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
	}
	return false;
}

static void expect_comes_back(struct fixture *f, uint64_t wanted)
{
	f->commit_seconds = 1;
	open_written(f);
	assert_true(free_bytes(f) < wanted);
	assert_true(comes_back(f, wanted));
	f->commit_seconds = 0;
	expect_sound(f);
}

static void what_open_removed_files_held_comes_back_after_a_crash(void **state)
{
	struct fixture *f = *state;
	struct h2_inode *inode;
	uint64_t before;

	open_for_writing(f);
	before = free_bytes(f);
	make_file(f, "open", 1, 10);
	inode = find(f, "open");
	unlink_name(f, "open");
	assert_int_equal(h2_fs_sync(f->fs), 0);
	h2_inode_put(inode);
	crash(f);
	expect_comes_back(f, before - MIB);
}

static void what_was_lost_is_known_at_the_next_opening(void **state)
{
	struct fixture *f = *state;
	struct h2_fs_stats stats;
	uint64_t before;

	open_for_writing(f);
	assert_int_equal(h2_fs_bulkfree(f->fs, NULL, NULL), 0);
	before = free_bytes(f);
	make_file(f, "goes", 1, 10);
	open_written(f);
	unlink_name(f, "goes");
	open_written(f);
	h2_fs_get_stats(f->fs, &stats);
	assert_in_range(stats.lost_bytes, 10 * MIB, 11 * MIB);
	/* Also when nothing is changed. */
	open_written(f);
	h2_fs_get_stats(f->fs, &stats);
	assert_in_range(stats.lost_bytes, 10 * MIB, 11 * MIB);
	expect_comes_back(f, before - MIB);
	f->write = true;
	fixture_reopen(f);
	h2_fs_get_stats(f->fs, &stats);
	assert_true(stats.lost_bytes < MIB);
}

/* A record that is not of this state of this filesystem says nothing: a scan has to. */
static void a_record_of_another_state_is_not_believed(void **state)
{
	struct fixture *f = *state;
	struct h2_sim *sim;
	uint8_t record[4096], other[4096];
	struct h2_fs_stats stats;

	open_for_writing(f);
	assert_int_equal(h2_fs_bulkfree(f->fs, NULL, NULL), 0);
	make_file(f, "goes", 1, 10);
	open_written(f);
	unlink_name(f, "goes");
	fixture_close(f);
	sim = f->image->volumes[0].sim;
	h2_sim_peek(sim, H2_LOST_RECORD_OFFSET, record, sizeof(record));
	assert_memory_equal(record, "H2LOST01", 8);
	for (unsigned i = 0; i < 44; i++) {
		memcpy(other, record, sizeof(other));
		other[i] ^= 1;
		assert_int_equal(h2_sim_poke(sim, H2_LOST_RECORD_OFFSET, other, sizeof(other)), 0);
		fixture_reopen(f);
		h2_fs_get_stats(f->fs, &stats);
		assert_int_equal(stats.lost_bytes, 0);
	}
	assert_int_equal(h2_sim_poke(sim, H2_LOST_RECORD_OFFSET, record, sizeof(record)), 0);
	fixture_reopen(f);
	h2_fs_get_stats(f->fs, &stats);
	assert_true(stats.lost_bytes >= 10 * MIB);
	/* After a commit it is of an older state. */
	make_file(f, "new", 1, 1);
	assert_int_equal(h2_fs_sync(f->fs), 0);
	crash(f);
	h2_volumes_close(f->volumes);
	f->volumes = NULL;
	fixture_reopen(f);
	h2_fs_get_stats(f->fs, &stats);
	assert_int_equal(stats.lost_bytes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(storage_from_before_opening_comes_back),
		FIXTURE_TEST(a_full_volume_that_was_emptied_takes_as_much_again),
		FIXTURE_TEST(open_removed_files_keep_theirs),
		FIXTURE_TEST(damage_frees_nothing),
		FIXTURE_TEST(interrupted_run_frees_nothing_and_the_next_one_all),
		FIXTURE_TEST(who_waits_for_a_run_can_be_interrupted),
		FIXTURE_TEST(changes_during_a_run_do_not_disturb_it),
		FIXTURE_TEST(runs_beside_writers),
		FIXTURE_TEST(lagging_freemap_is_caught_up_with),
		FIXTURE_TEST(what_open_removed_files_held_comes_back_after_a_crash),
		FIXTURE_TEST(what_was_lost_is_known_at_the_next_opening),
		FIXTURE_TEST(a_record_of_another_state_is_not_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
