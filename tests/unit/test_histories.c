/*
 * Random histories of whole filesystems: files that share storage in every way there is, PFSs that
 * come and go, files without names, scans, crashes and power cuts. In the end, when scans and commits
 * find no more, fsck's own count of what is referred to is compared with the freemap: nothing that
 * is referred to may be free, and at most 1 % of the space may be taken by nothing.
 *
 *     test_histories [COUNT [FIRST-SEED]]
 *
 * Each history is a test of its own that has its seed in its name; H2_SEED repeats one.
 */
#include <pthread.h>

#include "filesystem.h"

#define COUNT_DEFAULT 24u
#define UNREFERENCED_MAX 100u /* one part in so many of the space that can be allocated */
#define NAMES 24u
#define DIRS 3u
#define HELD_MAX 6u
#define PFS_MAX 7u
#define SCANS_MAX 20u /* until there is nothing more to find */
#define BLOCK ((size_t)64 << 10)
#define WRITE_MAX (6 * BLOCK)

struct held {
	struct h2_pfs *pfs;
	struct h2_inode *inode;
};

struct history {
	struct volume v;
	uint64_t random;
	struct held held[HELD_MAX];
	uint8_t *buf;
	bool failing; /* calls of a disk are going to fail */
	bool down;    /* one has: only a power cut goes on from here */
	pthread_t scanner;
	bool scanning, scan_stops; /* at the first occasion */
};

/* Of all histories: what was the worst. */
static struct {
	uint64_t histories, operations, refused, crashes, cuts, scans, freed_bytes;
	uint64_t worst_parts, worst_bytes, worst_seed; /* per million; unreferenced but not free */
	uint64_t with_any;
} sum;

static uint64_t below(struct history *h, uint64_t bound)
{
	return unit_below(&h->random, bound);
}

/* What operations may answer. When disks fail, anything. */
static int judge(struct history *h, int64_t result)
{
	static const int refusals[] = {ENOENT, EEXIST, ENOSPC,    EBUSY,  EPERM,
				       EXDEV,  EINVAL, ENOTEMPTY, EISDIR, ENOTDIR};

	sum.operations++;
	if (result >= 0)
		return 0;
	sum.refused++;
	for (unsigned i = 0; i < LENGTH_OF(refusals); i++)
		if (result == -refusals[i])
			return (int)result;
	if (!h->failing)
		fail_msg("an operation answers %d", (int)result);
	h->down = true;
	return (int)result;
}

/* What works without free space. */
static int judge_removal(struct history *h, int result)
{
	if (result == -ENOSPC && !h->failing)
		fail_msg("no room for a removal");
	return judge(h, result);
}

/* ---- files ---- */

enum contents { NOISE, SAME, TEXT, ZEROS, CONTENTS };

static void fill(struct history *h, size_t len)
{
	uint64_t seed = h->random;
	enum contents kind = (enum contents)below(h, CONTENTS);

	for (size_t i = 0; i < len; i += 8) {
		uint64_t value = 0;

		/* A few blocks again and again: deduplication. */
		if (kind == SAME && i % BLOCK == 0)
			seed = i == 0 ? below(h, 6) : seed + 1;
		if (kind == NOISE || kind == SAME)
			value = unit_random(&seed);
		else if (kind == TEXT)
			value = i % 1024 ? UINT64_C(0x2074786574206120) : unit_random(&seed);
		memcpy(h->buf + i, &value, 8);
	}
}

/* One of the PFSs there are; NULL where it cannot be opened. */
static struct h2_pfs *some_pfs(struct history *h, char label[H2_NAME_MAX + 1])
{
	struct h2_pfs_info info;
	uint64_t key = 0, skip = below(h, PFS_MAX);
	struct h2_pfs *pfs = NULL;

	label[0] = '\0';
	for (uint64_t i = 0; i <= skip && h2_pfs_next(h->v.fs, key, &info) == 0; i++) {
		strcpy(label, info.label);
		key = info.key + 1;
	}
	(void)judge(h, h2_pfs_open(h->v.fs, label, &pfs));
	return pfs;
}

static const struct h2_new new_file = {
	.type = H2_OBJECT_FILE,
	.mode = 0644,
	.comp_algo = H2_INHERIT,
	.check_algo = H2_INHERIT,
};

/* Its root, or a directory in it, which is made where it is missing. */
static struct h2_inode *some_dir(struct history *h, struct h2_pfs *pfs)
{
	static const struct h2_new new_ = {
		.type = H2_OBJECT_DIRECTORY,
		.mode = 0755,
		.comp_algo = H2_INHERIT,
		.check_algo = H2_INHERIT,
	};
	uint64_t which = below(h, 2 * DIRS);
	struct h2_inode *root, *dir = NULL;
	char name[8];

	if (judge(h, h2_inode_get(pfs, H2_INUM_ROOT, &root)))
		return NULL;
	if (which >= DIRS)
		return root;
	snprintf(name, sizeof(name), "d%u", (unsigned)which);
	if (judge(h, h2_path_lookup(pfs, name, &dir)) == -ENOENT)
		(void)judge(h, h2_create(root, name, 2, &new_, &dir));
	h2_inode_put(root);
	return dir;
}

static void some_name(struct history *h, char name[8])
{
	snprintf(name, 8, "f%02u", (unsigned)below(h, NAMES));
}

static struct h2_inode *some_file(struct history *h, struct h2_pfs *pfs, bool make)
{
	struct h2_inode *dir = some_dir(h, pfs), *inode = NULL;
	struct h2_dirent ent;
	char name[8];

	if (!dir)
		return NULL;
	some_name(h, name);
	if (judge(h, h2_dir_lookup(dir, name, 3, &ent)) == 0)
		(void)judge(h, h2_dirent_get(dir, &ent, &inode));
	else if (make)
		(void)judge(h, h2_create(dir, name, 3, &new_file, &inode));
	h2_inode_put(dir);
	return inode;
}

static void write_some(struct history *h, struct h2_inode *inode)
{
	uint64_t offset = below(h, 24) * BLOCK;
	size_t len = below(h, WRITE_MAX / BLOCK + 1) * BLOCK;

	/* Small files are in their inodes; parts of blocks are read, changed and written. */
	if (below(h, 3) == 0) {
		offset = below(h, 2) ? 0 : offset + below(h, BLOCK);
		len = below(h, 2) ? below(h, 512) : below(h, 2 * BLOCK);
	}
	fill(h, WRITE_MAX);
	(void)judge(h, h2_file_write(inode, offset, h->buf, len, 0));
}

static void cut_some(struct history *h, struct h2_inode *inode)
{
	struct h2_set_attr set = {.valid = H2_SET_SIZE, .size = below(h, 30 * BLOCK)};

	if (below(h, 3) == 0)
		set.size = below(h, 2) ? 0 : below(h, 24) * BLOCK;
	(void)judge(h, h2_inode_set_attr(inode, &set));
}

static void punch_some(struct history *h, struct h2_inode *inode)
{
	static const unsigned modes[] = {
		H2_FALLOC_PUNCH_HOLE | H2_FALLOC_KEEP_SIZE,
		H2_FALLOC_ZERO_RANGE,
		0,
		H2_FALLOC_KEEP_SIZE,
	};

	(void)judge(h, h2_file_allocate(inode, modes[below(h, LENGTH_OF(modes))],
					below(h, 24 * BLOCK), 1 + below(h, 8 * BLOCK)));
}

static void set_some(struct history *h, struct h2_inode *inode)
{
	static const uint8_t comps[] = {H2_COMP_NONE, H2_COMP_LZ4, H2_COMP_ZLIB};
	struct h2_set_attr set = {
		.valid = H2_SET_COMP | H2_SET_MTIME,
		.comp_algo = comps[below(h, LENGTH_OF(comps))],
		.mtime_us = below(h, UINT64_MAX / 2),
	};

	(void)judge(h, h2_inode_set_attr(inode, &set));
}

static void change_contents(struct history *h, struct h2_inode *inode)
{
	switch (below(h, 8)) {
	case 0:
		cut_some(h, inode);
		break;
	case 1:
		punch_some(h, inode);
		break;
	case 2:
		set_some(h, inode);
		break;
	default:
		write_some(h, inode);
	}
}

/* Files without names live on in one of these places. */
static void hold(struct history *h, struct h2_pfs *pfs, struct h2_inode *inode)
{
	struct held *held = &h->held[below(h, HELD_MAX)];

	h2_inode_put(held->inode);
	h2_pfs_put(held->pfs);
	*held = (struct held){pfs, inode};
}

static void let_go(struct history *h)
{
	for (unsigned i = 0; i < HELD_MAX; i++) {
		h2_inode_put(h->held[i].inode);
		h2_pfs_put(h->held[i].pfs);
		h->held[i] = (struct held){NULL, NULL};
	}
}

static void op_contents(struct history *h, struct h2_pfs *pfs)
{
	struct h2_inode *inode = some_file(h, pfs, true);

	if (inode)
		change_contents(h, inode);
	h2_inode_put(inode);
}

static void op_held(struct history *h, struct h2_pfs *pfs)
{
	struct held *held = &h->held[below(h, HELD_MAX)];

	(void)pfs;
	if (held->inode)
		change_contents(h, held->inode);
}

static void op_unnamed(struct history *h, struct h2_pfs *pfs)
{
	struct h2_inode *dir = some_dir(h, pfs), *inode = NULL;
	char label[H2_NAME_MAX + 1];
	struct h2_pfs *again;

	if (!dir)
		return;
	strcpy(label, h2_pfs_get_info(pfs)->label);
	if (judge(h, h2_create_unnamed(dir, &new_file, &inode)) == 0) {
		write_some(h, inode);
		assert_int_equal(h2_pfs_open(h->v.fs, label, &again), 0);
		hold(h, again, inode);
	}
	h2_inode_put(dir);
}

static void op_unlink(struct history *h, struct h2_pfs *pfs)
{
	struct h2_inode *dir = some_dir(h, pfs), *gone = NULL;
	char name[8];

	if (!dir)
		return;
	some_name(h, name);
	if (judge_removal(h, h2_unlink(dir, name, 3, &gone)) == 0 && gone && below(h, 2)) {
		struct h2_pfs *again = NULL;

		(void)h2_pfs_open(h->v.fs, h2_pfs_get_info(pfs)->label, &again);
		hold(h, again, gone);
		gone = NULL;
	}
	h2_inode_put(gone);
	h2_inode_put(dir);
}

static void op_rename(struct history *h, struct h2_pfs *pfs)
{
	struct h2_inode *from = some_dir(h, pfs), *to = some_dir(h, pfs);
	char old[8], new[8];

	some_name(h, old);
	some_name(h, new);
	if (from && to)
		(void)judge(h, h2_rename(from, old, 3, to, new, 3,
					 below(h, 4) ? 0 : H2_RENAME_EXCHANGE, NULL));
	h2_inode_put(from);
	h2_inode_put(to);
}

static void op_link(struct history *h, struct h2_pfs *pfs)
{
	struct h2_inode *inode = some_file(h, pfs, false), *dir = some_dir(h, pfs);
	char name[8];

	some_name(h, name);
	if (inode && dir)
		(void)judge(h, h2_link(dir, name, 3, inode));
	h2_inode_put(inode);
	h2_inode_put(dir);
}

/* All there is in a directory, and it. */
static void op_remove_dir(struct history *h, struct h2_pfs *pfs)
{
	struct h2_inode *root, *dir;
	char dir_name[8], name[8];

	snprintf(dir_name, sizeof(dir_name), "d%u", (unsigned)below(h, DIRS));
	if (judge(h, h2_path_lookup(pfs, dir_name, &dir)))
		return;
	for (unsigned i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "f%02u", i);
		(void)judge_removal(h, h2_unlink(dir, name, 3, NULL));
	}
	h2_inode_put(dir);
	if (judge(h, h2_inode_get(pfs, H2_INUM_ROOT, &root)))
		return;
	(void)judge_removal(h, h2_rmdir(root, dir_name, 2, NULL));
	h2_inode_put(root);
}

/* Many small files at once, or their removal: indirect blocks come and go. */
static void op_many(struct history *h, struct h2_pfs *pfs)
{
	bool make = below(h, 2);
	struct h2_inode *root;
	char name[32];

	if (judge(h, h2_inode_get(pfs, H2_INUM_ROOT, &root)))
		return;
	for (unsigned i = 0; i < 60 && !h->down; i++) {
		/* Every other one has an entry with a block of its own, MF 7.1. */
		int len = snprintf(name, sizeof(name), "many-%u%s", i, "-------------------");

		len = i % 2 ? len : 8;
		if (make)
			(void)judge(h, h2_create(root, name, (size_t)len, &new_file, NULL));
		else
			(void)judge_removal(h, h2_unlink(root, name, (size_t)len, NULL));
	}
	h2_inode_put(root);
}

static void op_copy(struct history *h, struct h2_pfs *pfs)
{
	struct h2_inode *from = some_file(h, pfs, false), *to = some_file(h, pfs, true);

	if (from && to)
		(void)judge(h, h2_file_copy(from, below(h, 8) * BLOCK, to, below(h, 8) * BLOCK,
					    1 + below(h, 12 * BLOCK)));
	h2_inode_put(from);
	h2_inode_put(to);
}

/* ---- PFSs ---- */

static void some_label(struct history *h, char label[8])
{
	snprintf(label, 8, "p%u", (unsigned)below(h, PFS_MAX));
}

static void change_pfs(struct history *h)
{
	char label[H2_NAME_MAX + 1], other[8], keep[8];
	struct h2_fs *fs = h->v.fs;

	h2_pfs_put(some_pfs(h, label));
	some_label(h, other);
	some_label(h, keep);
	switch (below(h, 8)) {
	case 0:
		(void)judge(h, h2_pfs_create(fs, other, NULL));
		break;
	case 1:
	case 2:
		(void)judge_removal(h, h2_pfs_delete(fs, label));
		break;
	case 3:
		(void)judge(h, h2_pfs_rename(fs, label, other));
		break;
	case 4:
		(void)judge(h, h2_pfs_rollback(fs, label, other, below(h, 2) ? keep : NULL, NULL));
		break;
	default:
		if (count_pfs(&h->v) < PFS_MAX)
			(void)judge(h, h2_pfs_snapshot(fs, label, other, NULL));
		else
			(void)judge_removal(h, h2_pfs_delete(fs, other));
	}
}

/* ---- scans ---- */

static bool scan_goes_on(void *user, uint64_t bytes, uint64_t bytes_expected)
{
	const struct history *h = user;

	(void)bytes;
	(void)bytes_expected;
	return !h->scan_stops;
}

static int scan(struct history *h)
{
	struct h2_pass_options options = {.progress = scan_goes_on, .user = h};
	struct h2_bulkfree_result result = {.freed_bytes = 0};
	int err = h2_fs_bulkfree(h->v.fs, &options, &result);

	sum.scans += err == 0;
	sum.freed_bytes += result.freed_bytes;
	return err;
}

static void *scan_beside(void *user)
{
	return (void *)(intptr_t)scan(user);
}

static void join_scanner(struct history *h)
{
	void *result;

	if (!h->scanning)
		return;
	assert_int_equal(pthread_join(h->scanner, &result), 0);
	h->scanning = false;
	if ((int)(intptr_t)result != -EINTR)
		(void)judge(h, (intptr_t)result);
}

static void scan_some(struct history *h)
{
	join_scanner(h);
	h->scan_stops = below(h, 4) == 0;
	if (below(h, 2)) {
		int err = scan(h);

		(void)judge(h, err == -EINTR ? 0 : err);
		return;
	}
	assert_int_equal(pthread_create(&h->scanner, NULL, scan_beside, h), 0);
	h->scanning = true;
}

/* ---- endings ---- */

/* In the next calls one of the disks begins to fail: the cut comes in the midst of a commit. */
static void begin_to_fail(struct history *h)
{
	struct h2_sim *sim = h->v.disks.sims[below(h, h->v.disks.count)];
	bool flush = below(h, 2);

	h->failing = true;
	h2_sim_set_fault(sim, flush ? H2_SIM_FLUSH : H2_SIM_WRITE, H2_SIM_FAIL,
			 below(h, flush ? 4 : 60), UINT64_MAX, -EIO);
}

/* Down without another word, with or without what the disks have not yet made durable. */
static void end_badly(struct history *h, bool cut)
{
	/* What a scan may answer from now on is not known. */
	h->failing = true;
	for (unsigned i = 0; i < h->v.disks.count && cut; i++)
		h2_sim_cut_random(h->v.disks.sims[i], unit_random(&h->random));
	join_scanner(h);
	let_go(h);
	h2_fs_abandon(h->v.fs);
	h->v.fs = NULL;
	disks_close(&h->v.disks);
	for (unsigned i = 0; i < h->v.disks.count; i++) {
		h2_sim_set_fault(h->v.disks.sims[i], H2_SIM_WRITE, H2_SIM_FAIL, 0, 0, 0);
		h2_sim_set_fault(h->v.disks.sims[i], H2_SIM_FLUSH, H2_SIM_FAIL, 0, 0, 0);
	}
	h->failing = h->down = false;
	sum.cuts += cut;
	sum.crashes += !cut;
}

static void some_ending(struct history *h)
{
	uint64_t which = below(h, 4);

	/* Behind a failed write only a cut tells what the media have. */
	if (h->failing || which >= 2) {
		end_badly(h, h->failing || which == 2);
	} else {
		join_scanner(h);
		let_go(h);
		close_fs(&h->v);
	}
	open_fs(&h->v);
}

/* ---- a history ---- */

static void step(struct history *h)
{
	static void (*const ops[])(struct history * h, struct h2_pfs * pfs) = {
		op_contents, op_contents, op_contents, op_contents, op_contents,
		op_held,     op_unlink,   op_unlink,   op_rename,   op_link,
		op_copy,     op_copy,     op_unnamed,  op_many,     op_remove_dir,
	};
	uint64_t which = below(h, 100);
	char label[H2_NAME_MAX + 1];
	struct h2_pfs *pfs;

	if (h->down || which < 3) {
		some_ending(h);
	} else if (which < 4) {
		begin_to_fail(h);
	} else if (which < 10) {
		change_pfs(h);
	} else if (which < 14) {
		scan_some(h);
	} else if (which < 20) {
		(void)judge(h, h2_fs_sync(h->v.fs));
	} else if (which < 21) {
		h2_fs_forget_cached(h->v.fs);
	} else if ((pfs = some_pfs(h, label))) {
		ops[below(h, LENGTH_OF(ops))](h, pfs);
		h2_pfs_put(pfs);
	}
}

/*
 * Small ones mostly: one part in a hundred is little there. Not the very smallest, whose reserve is
 * of a few granules only.
 */
static void make(struct history *h)
{
	static const uint64_t several[] = {GIB, GIB, 64 * MIB}, large = 8 * GIB;
	uint64_t size = (5 + below(h, 10)) * 8 * MIB, which = below(h, 10);

	h->v.pack = below(h, 2);
	h->v.dirty_bytes = below(h, 2) ? 0 : 256 << 10;
	h->v.cache_bytes = below(h, 2);
	h->v.commit_seconds = below(h, 16) == 0;
	if (which == 0)
		disks_make(&h->v.disks, &large, 1);
	else if (which == 1)
		disks_make(&h->v.disks, several, LENGTH_OF(several));
	else
		disks_make(&h->v.disks, &size, 1);
	open_fs(&h->v);
}

/* Replace all header copies: what was torn, and what holds back storage. */
static void commit_all_copies(struct history *h)
{
	for (uint64_t i = 0; i < 6; i++) {
		struct h2_set_attr set = {.valid = H2_SET_MTIME, .mtime_us = i};
		char label[H2_NAME_MAX + 1];
		struct h2_pfs *pfs = some_pfs(h, label);
		struct h2_inode *root;

		assert_non_null(pfs);
		assert_int_equal(h2_inode_get(pfs, H2_INUM_ROOT, &root), 0);
		assert_int_equal(h2_inode_set_attr(root, &set), 0);
		h2_inode_put(root);
		h2_pfs_put(pfs);
		assert_int_equal(h2_fs_sync(h->v.fs), 0);
	}
}

static void settle(struct history *h)
{
	struct h2_bulkfree_result result = {.freed_bytes = 1};
	unsigned scans = 0;

	if (h->failing)
		some_ending(h);
	join_scanner(h);
	let_go(h);
	do {
		assert_int_equal(h2_fs_bulkfree(h->v.fs, NULL, &result), 0);
		commit_all_copies(h);
		sum.freed_bytes += result.freed_bytes;
		assert_in_range(++scans, 1, SCANS_MAX);
	} while (result.freed_bytes > 0);
}

static void compare(struct history *h, uint64_t seed)
{
	struct h2_check_options options = {.report = print_finding, .report_user = &h->v};
	struct h2_check_summary summary;
	uint64_t space, parts;

	close_fs(&h->v);
	disks_open(&h->v.disks);
	space = h2_volumes_header(h->v.disks.volumes)->allocator_size;
	assert_int_equal(h2_check_run(h->v.disks.volumes, &options, &summary), 0);
	disks_close(&h->v.disks);
	assert_int_equal(h->v.findings, 0);
	parts = summary.unreachable_bytes * 1000000 / space;
	sum.histories++;
	sum.with_any += summary.unreachable_bytes > 0;
	if (parts > sum.worst_parts) {
		sum.worst_parts = parts;
		sum.worst_bytes = summary.unreachable_bytes;
		sum.worst_seed = seed;
	}
	if (summary.unreachable_bytes > space / UNREFERENCED_MAX)
		fail_msg("%" PRIu64 " of %" PRIu64 " bytes are neither referred to nor free",
			 summary.unreachable_bytes, space);
}

static void count_agrees_with_freemap(void **state)
{
	uint64_t seed = *(const uint64_t *)*state;
	struct history *h = unit_alloc(sizeof(*h));
	uint64_t steps;

	h->random = seed;
	h->buf = unit_alloc(WRITE_MAX);
	make(h);
	steps = 100 + below(h, 300);
	for (uint64_t i = 0; i < steps; i++) {
		step(h);
		/* Where commits go by the clock, and scans by themselves, let some be. */
		if (h->v.commit_seconds && i % 150 == 149)
			nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 300000000}, NULL);
	}
	settle(h);
	compare(h, seed);
	disks_free(&h->v.disks);
	free(h->buf);
	free(h);
}

static void print_sum(void)
{
	print_message("%" PRIu64 " histories, %" PRIu64 " operations (%" PRIu64
		      " refused), %" PRIu64 " crashes, %" PRIu64 " power cuts, %" PRIu64
		      " scans, %" PRIu64 " MiB freed by them\n",
		      sum.histories, sum.operations, sum.refused, sum.crashes, sum.cuts, sum.scans,
		      sum.freed_bytes / MIB);
	print_message("neither referred to nor free: in %" PRIu64
		      " of them anything, at most %" PRIu64 ".%04" PRIu64 " %% (%" PRIu64
		      " bytes, seed %" PRIu64 ")\n",
		      sum.with_any, sum.worst_parts / 10000, sum.worst_parts % 10000,
		      sum.worst_bytes, sum.worst_seed);
}

#define NAME_SIZE 32u

int main(int argc, char **argv)
{
	size_t count = argc > 1 ? strtoul(argv[1], NULL, 0) : COUNT_DEFAULT;
	uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	struct CMUnitTest *tests;
	uint64_t *seeds;
	char(*names)[NAME_SIZE];
	int failed;

	if (getenv("H2_SEED")) {
		first = strtoull(getenv("H2_SEED"), NULL, 0);
		count = 1;
	}
	tests = calloc(count + 1, sizeof(*tests));
	seeds = calloc(count + 1, sizeof(*seeds));
	names = calloc(count + 1, sizeof(*names));
	if (!tests || !seeds || !names)
		return 1;
	for (size_t i = 0; i < count; i++) {
		seeds[i] = first + i;
		snprintf(names[i], NAME_SIZE, "H2_SEED=%" PRIu64, seeds[i]);
		tests[i] = (struct CMUnitTest){
			.name = names[i],
			.test_func = count_agrees_with_freemap,
			.initial_state = &seeds[i],
		};
	}
	failed = _cmocka_run_group_tests("histories", tests, count, NULL, NULL);
	print_sum();
	free(tests);
	free(seeds);
	free(names);
	return failed;
}
