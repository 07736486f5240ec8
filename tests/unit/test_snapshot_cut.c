/*
 * When h2_pfs_snapshot() returns, the snapshot is on the media: the power fails at that moment, the
 * disks lose all that was not flushed, and what is there has the snapshot with exactly the contents
 * that its origin had, under a random load of changes. So has it after more changes, scans, and cuts.
 *
 *     test_snapshot_cut [COUNT]
 *
 * H2_SEED repeats a run.
 */
#include "filesystem.h"

#define COUNT_DEFAULT 200u
#define FILES 24u
#define LIVE_MAX 6u /* snapshots at a time */
#define BLOCK ((size_t)16 << 10)
#define BYTES_MAX (12 * BLOCK)

/* What a PFS shows: a sum over names, attributes and contents. */
struct kept {
	char label[16];
	uint64_t sum;
};

struct load {
	struct volume v;
	uint64_t random;
	uint8_t *buf;
	struct kept kept[LIVE_MAX];
	unsigned count;
};

static unsigned snapshots_wanted = COUNT_DEFAULT;

static uint64_t below(struct load *l, uint64_t bound)
{
	return unit_below(&l->random, bound);
}

/* ---- what is there ---- */

static void mix(uint64_t *sum, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < len; i += 8) {
		uint64_t word = len; /* the last one may have fewer bytes */

		memcpy(&word, p + i, len - i < 8 ? len - i : 8);
		*sum ^= word;
		*sum = unit_random(sum);
	}
}

static void mix_inode(struct load *l, struct h2_inode *inode, uint64_t *sum)
{
	struct h2_attr a;

	h2_inode_attr(inode, &a);
	mix(sum,
	    (uint64_t[]){a.inum, a.size, a.mode, a.nlink, a.uid, a.gid, a.mtime_us, a.ctime_us},
	    8 * sizeof(uint64_t));
	if ((a.mode & 0170000) != 0100000)
		return;
	assert_in_range(a.size, 0, BYTES_MAX);
	assert_int_equal(h2_file_read(inode, 0, l->buf, BYTES_MAX), a.size);
	mix(sum, l->buf, a.size);
}

static uint64_t sum_of(struct load *l, const char *label)
{
	uint64_t sum = UINT64_C(0xcbf29ce484222325);
	struct h2_pfs *pfs = open_pfs(&l->v, label);
	struct h2_dir_scan *scan;
	struct h2_inode *root, *inode;
	struct h2_dirent ent;

	assert_int_equal(h2_inode_get(pfs, H2_INUM_ROOT, &root), 0);
	assert_int_equal(h2_dir_scan_new(root, 0, &scan), 0);
	while (h2_dir_scan_next(scan, &ent) == 0) {
		mix(&sum, ent.name, ent.name_len);
		assert_int_equal(h2_dirent_get(root, &ent, &inode), 0);
		mix_inode(l, inode, &sum);
		h2_inode_put(inode);
	}
	h2_dir_scan_free(scan);
	h2_inode_put(root);
	h2_pfs_put(pfs);
	return sum;
}

static void expect_kept(struct load *l)
{
	for (unsigned i = 0; i < l->count; i++)
		assert_int_equal(sum_of(l, l->kept[i].label), l->kept[i].sum);
}

/* ---- the load ---- */

static void write_some(struct load *l, struct h2_inode *inode)
{
	size_t offset = below(l, BYTES_MAX / BLOCK) * BLOCK, len = 1 + below(l, BYTES_MAX - offset);
	uint64_t seed = below(l, 4) ? unit_random(&l->random) : 1; /* or for deduplication */

	if (below(l, 4) == 0) {
		offset = 0; /* in the inode */
		len = 1 + below(l, 500);
	}
	for (size_t i = 0; i + 8 <= BYTES_MAX; i += 8) {
		uint64_t value = unit_random(&seed);

		memcpy(l->buf + i, &value, 8);
	}
	assert_int_equal(h2_file_write(inode, offset, l->buf, len, 0), len);
}

static struct h2_inode *some_file(struct load *l, struct h2_inode *root, const char *name)
{
	struct h2_new new_ = {
		.type = H2_OBJECT_FILE,
		.mode = 0644,
		.comp_algo = H2_INHERIT,
		.check_algo = H2_INHERIT,
	};
	struct h2_inode *inode;
	struct h2_dirent ent;

	(void)l;
	if (h2_dir_lookup(root, name, strlen(name), &ent) == 0)
		assert_int_equal(h2_dirent_get(root, &ent, &inode), 0);
	else
		assert_int_equal(h2_create(root, name, strlen(name), &new_, &inode), 0);
	return inode;
}

static void change_file(struct load *l, struct h2_inode *root)
{
	struct h2_set_attr set = {.valid = H2_SET_SIZE, .size = below(l, BYTES_MAX)};
	char name[16], other[16];
	struct h2_inode *inode;
	int err = 0;

	snprintf(name, sizeof(name), "file-%u", (unsigned)below(l, FILES));
	snprintf(other, sizeof(other), "file-%u", (unsigned)below(l, FILES));
	switch (below(l, 8)) {
	case 0:
		err = h2_unlink(root, name, strlen(name), NULL);
		break;
	case 1:
		err = h2_rename(root, name, strlen(name), root, other, strlen(other), 0, NULL);
		break;
	case 2:
		inode = some_file(l, root, name);
		err = h2_inode_set_attr(inode, &set);
		h2_inode_put(inode);
		break;
	default:
		inode = some_file(l, root, name);
		write_some(l, inode);
		h2_inode_put(inode);
	}
	if (err != -ENOENT)
		assert_int_equal(err, 0);
}

static void change_much(struct load *l)
{
	struct h2_pfs *pfs = open_pfs(&l->v, "DATA");
	struct h2_inode *root;

	assert_int_equal(h2_inode_get(pfs, H2_INUM_ROOT, &root), 0);
	for (uint64_t i = below(l, 20) + 1; i > 0; i--) {
		change_file(l, root);
		if (below(l, 12) == 0)
			assert_int_equal(h2_fs_sync(l->v.fs), 0);
	}
	h2_inode_put(root);
	h2_pfs_put(pfs);
	if (below(l, 8) == 0)
		assert_int_equal(h2_fs_bulkfree(l->v.fs, NULL, NULL), 0);
}

/* ---- cuts ---- */

static enum h2_sim_fate lose(void *user, size_t i, uint64_t offset, size_t len,
			     unsigned *sector_size, bool *keep)
{
	(void)user;
	(void)i;
	(void)offset;
	(void)len;
	(void)sector_size;
	(void)keep;
	return H2_SIM_LOST;
}

static void cut(struct load *l, bool all_lost)
{
	struct h2_sim *sim = l->v.disks.sims[0];

	if (all_lost)
		h2_sim_cut(sim, lose, NULL);
	else
		h2_sim_cut_random(sim, unit_random(&l->random));
	h2_fs_abandon(l->v.fs);
	l->v.fs = NULL;
	disks_close(&l->v.disks);
	open_fs(&l->v);
}

/* Make room for one more. */
static void forget_some(struct load *l)
{
	unsigned which = (unsigned)below(l, LIVE_MAX);

	if (l->count < LIVE_MAX)
		return;
	assert_int_equal(h2_pfs_delete(l->v.fs, l->kept[which].label), 0);
	l->kept[which] = l->kept[--l->count];
}

static void snapshot_and_cut(struct load *l, unsigned number)
{
	struct kept *k;

	forget_some(l);
	k = &l->kept[l->count++];
	snprintf(k->label, sizeof(k->label), "snap-%u", number);
	k->sum = sum_of(l, "DATA");
	assert_int_equal(h2_pfs_snapshot(l->v.fs, "DATA", k->label, NULL), 0);
	cut(l, number % 4 != 0);
	expect_kept(l);
	/* The commit that has it has all that was in the origin. */
	assert_int_equal(sum_of(l, "DATA"), k->sum);
}

static void snapshots_are_there_when_the_power_fails(void **state)
{
	struct load *l = unit_alloc(sizeof(*l));
	uint64_t size;

	(void)state;
	l->random = unit_seed(20);
	l->buf = unit_alloc(BYTES_MAX);
	/* One header copy and its backup, or four copies; what is free is used again at once. */
	size = below(l, 2) ? 128 * MIB : 8 * GIB;
	l->v.pack = true;
	l->v.dirty_bytes = 256 << 10;
	make_volume(&l->v, size);
	for (unsigned i = 0; i < snapshots_wanted; i++) {
		change_much(l);
		snapshot_and_cut(l, i);
		/* Later cuts take nothing from them. */
		if (i % 5 == 0) {
			change_much(l);
			cut(l, below(l, 2));
			expect_kept(l);
		}
		if (i % 20 == 19) {
			l->v.altered = true; /* a cut may have torn older header copies */
			expect_sound(&l->v);
			open_fs(&l->v);
			expect_kept(l);
		}
	}
	expect_sound(&l->v);
	print_message("%u snapshots, each with a cut; a volume of %" PRIu64 " MiB\n",
		      snapshots_wanted, size / MIB);
	disks_free(&l->v.disks);
	free(l->buf);
	free(l);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(snapshots_are_there_when_the_power_fails),
	};

	if (argc > 1)
		snapshots_wanted = (unsigned)strtoul(argv[1], NULL, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
