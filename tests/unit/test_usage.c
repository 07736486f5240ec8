/*
 * Measuring who uses which storage (<hammer2/usage.h>): against a plain count that walks every PFS as
 * a whole, against fsck's and the freemap's, and against what comes back when a PFS is deleted.
 */
#include <hammer2/usage.h>
#include <limits.h>

#include "block_walk.h"
#include "filesystem.h"
#include "owner_map.h"
#include "scarce.h"

#define VOLUME_BYTES (96 * MIB)
#define GRANULES (VOLUME_BYTES / H2_GRANULE)
#define UNITS (VOLUME_BYTES / 1024)
#define PFS_MAX 250u
#define ABOVE 0u /* the super-root, as an owner; PFSs follow in the order of the walk */

/* ---- the plain count ---- */

struct plain {
	bool (*uses)[GRANULES]; /* of each owner */
	uint8_t *first;         /* of each KiB: the PFS that first had the data block there */
	char labels[PFS_MAX + 1][H2_NAME_MAX + 1];
	unsigned count; /* of PFSs */
	unsigned owner;
	uint64_t referenced, distinct;
	uint64_t blocks;
};

static int plain_block(void *user, const struct h2_met *met)
{
	struct plain *p = user;
	uint64_t offset = met->data_off & ~UINT64_C(63), size = UINT64_C(1) << (met->data_off & 63);
	uint8_t *first = &p->first[offset / 1024];

	if (met->kind == H2_TREE_SUPER_ROOT_SET || met->kind == H2_TREE_SUPER_ROOT)
		p->owner = ABOVE;
	if (met->kind == H2_TREE_SUPER_ROOT && met->ref->type == H2_BLOCKREF_INODE) {
		assert_in_range(p->count, 0, PFS_MAX - 1);
		p->owner = ++p->count;
	}
	for (uint64_t at = offset; at < offset + size; at += 1024)
		p->uses[p->owner][at / H2_GRANULE] = true;
	p->blocks++;
	if (met->ref->type != H2_BLOCKREF_DATA)
		return 0;
	if (!*first)
		p->distinct += size;
	if (!*first)
		*first = (uint8_t)p->count;
	if (*first == p->count)
		p->referenced += size;
	return 0;
}

static int plain_inode(void *user, const struct h2_met *met, const struct h2_inode_meta *meta)
{
	struct plain *p = user;

	if (met->kind == H2_TREE_SUPER_ROOT)
		memcpy(p->labels[p->count], meta->filename, meta->name_len);
	return 0;
}

/* Of the last commit. */
static struct plain *plain_count(struct volume *v)
{
	struct plain *p = unit_alloc(sizeof(*p));
	const struct h2_block_walk walk = {
		.blocks = &v->fs->blocks,
		.block = plain_block,
		.inode = plain_inode,
		.user = p,
	};
	struct h2_volume_header header;

	p->uses = unit_alloc((PFS_MAX + 1) * sizeof(*p->uses));
	p->first = unit_alloc(UNITS);
	h2_txn_get_header(v->fs->txn, &header);
	assert_int_equal(h2_block_walk_set(&walk, header.sroot_blockset), 0);
	return p;
}

static void plain_free(struct plain *p)
{
	free(p->uses);
	free(p->first);
	free(p);
}

/* Whether anyone but two owners, who may be the same, uses a granule. */
static bool others_use(const struct plain *p, unsigned granule, unsigned one, unsigned two)
{
	for (unsigned i = 0; i <= p->count; i++)
		if (i != one && i != two && p->uses[i][granule])
			return true;
	return false;
}

/* The granules that an owner uses, and nobody else but one who does not matter. */
static uint64_t plain_alone(const struct plain *p, unsigned owner, unsigned no_matter)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < GRANULES; i++)
		if (p->uses[owner][i] && !others_use(p, i, owner, no_matter))
			bytes += H2_GRANULE;
	return bytes;
}

static uint64_t plain_above(const struct plain *p)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < GRANULES; i++)
		bytes += p->uses[ABOVE][i] ? H2_GRANULE : 0;
	return bytes;
}

static uint64_t plain_used(const struct plain *p)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < GRANULES; i++)
		bytes += others_use(p, i, UINT_MAX, UINT_MAX) ? H2_GRANULE : 0;
	return bytes;
}

static unsigned plain_find(const struct plain *p, const char *label)
{
	for (unsigned i = 1; i <= p->count; i++)
		if (strcmp(p->labels[i], label) == 0)
			return i;
	fail_msg("no PFS %s", label);
	return 0;
}

static struct h2_usage *measure(struct volume *v)
{
	struct h2_usage *usage = NULL;

	assert_int_equal(h2_usage_measure(v->fs, NULL, &usage), 0);
	return usage;
}

static const struct h2_pfs_space *space_of(const struct h2_usage *usage, const char *label)
{
	for (size_t i = 0; i < usage->pfs_count; i++)
		if (strcmp(usage->pfss[i].label, label) == 0)
			return &usage->pfss[i];
	fail_msg("no PFS %s", label);
	return NULL;
}

static void expect_as_counted(const struct h2_usage *usage, const struct plain *p)
{
	uint64_t above = plain_above(p), alone = 0;

	assert_int_equal(usage->pfs_count, p->count);
	for (unsigned i = 0; i < p->count; i++) {
		uint64_t bytes = plain_alone(p, i + 1, i + 1);

		assert_string_equal(usage->pfss[i].label, p->labels[i + 1]);
		assert_int_equal(usage->pfss[i].exclusive_bytes, bytes);
		alone += bytes;
	}
	assert_int_equal(usage->overhead_bytes, above);
	assert_int_equal(usage->used_bytes, plain_used(p));
	assert_int_equal(usage->shared_bytes, plain_used(p) - above - alone);
	assert_int_equal(usage->data_referenced_bytes, p->referenced);
	assert_int_equal(usage->data_distinct_bytes, p->distinct);
}

static void expect_info(struct volume *v, const struct h2_usage *usage)
{
	assert_int_equal(usage->pfs_count, count_pfs(v));
	for (size_t i = 0; i < usage->pfs_count; i++) {
		const struct h2_pfs_space *pfs = &usage->pfss[i];
		struct h2_pfs_info info = info_of(v, pfs->label);

		assert_int_equal(pfs->key, info.key);
		assert_int_equal(pfs->pfs_type, info.meta.pfs_type);
		assert_int_equal(pfs->pfs_subtype, info.meta.pfs_subtype);
		assert_int_equal(pfs->referenced_bytes, info.ref.data_count);
		assert_int_equal(pfs->inodes, info.ref.inode_count);
	}
}

/* ---- what there is to measure ---- */

/* A file of n bytes; kind 0: does not compress, 1: does, 2: the same as others. */
static void put_bytes(struct h2_inode *dir, const char *name, size_t n, unsigned kind, uint64_t seed)
{
	struct h2_new new_ = {
		.type = H2_OBJECT_FILE,
		.mode = 0644,
		.comp_algo = H2_INHERIT,
		.check_algo = H2_INHERIT,
	};
	uint8_t *bytes = unit_alloc(n);
	struct h2_inode *inode;
	int err = h2_create(dir, name, strlen(name), &new_, &inode);

	unit_noise(bytes, n, kind == 2 ? 1 : seed);
	if (kind == 1)
		for (size_t i = 0; i < n; i++)
			bytes[i] = i % 64 < 8 ? bytes[i] : 'x';
	if (err == -EEXIST) {
		struct h2_dirent ent;

		assert_int_equal(h2_dir_lookup(dir, name, strlen(name), &ent), 0);
		err = h2_dirent_get(dir, &ent, &inode);
	}
	assert_int_equal(err, 0);
	assert_int_equal(h2_file_write(inode, 0, bytes, n, 0), n);
	h2_inode_put(inode);
	free(bytes);
}

static struct h2_inode *root_of(struct h2_pfs *pfs)
{
	struct h2_inode *root;

	assert_int_equal(h2_inode_get(pfs, H2_INUM_ROOT, &root), 0);
	return root;
}

static void put_one(struct volume *v, const char *label, const char *name, size_t n, unsigned kind,
		    uint64_t seed)
{
	struct h2_pfs *pfs = open_pfs(v, label);
	struct h2_inode *root = root_of(pfs);

	put_bytes(root, name, n, kind, seed);
	h2_inode_put(root);
	h2_pfs_put(pfs);
}

static size_t random_size(uint64_t *rnd)
{
	static const size_t bounds[] = {600, 5000, 70000, 300000, 900000};

	return 1 + unit_below(rnd, bounds[unit_below(rnd, LENGTH_OF(bounds))]);
}

/* Write a new file, or over the beginning of one. */
static void change_file(struct volume *v, const char *label, uint64_t *rnd)
{
	struct h2_pfs *pfs = open_pfs(v, label);
	struct h2_inode *root = root_of(pfs);
	char name[32];

	snprintf(name, sizeof(name), "file %u", (unsigned)unit_below(rnd, 30));
	if (unit_below(rnd, 4) == 0)
		(void)h2_unlink(root, name, strlen(name), NULL); /* there may be none */
	else
		put_bytes(root, name, random_size(rnd), (unsigned)unit_below(rnd, 3),
			  unit_random(rnd));
	h2_inode_put(root);
	h2_pfs_put(pfs);
}

static void random_label(struct volume *v, uint64_t *rnd, char label[H2_NAME_MAX + 1])
{
	unsigned n = (unsigned)unit_below(rnd, count_pfs(v));
	struct h2_pfs_info info = {.key = 0};
	uint64_t key = 0;

	for (unsigned i = 0; i <= n; i++, key = info.key + 1)
		assert_int_equal(h2_pfs_next(v->fs, key, &info), 0);
	strcpy(label, info.label);
}

/* One step of a random history. */
static void change(struct volume *v, uint64_t *rnd)
{
	char label[H2_NAME_MAX + 1], new_label[32];

	random_label(v, rnd, label);
	snprintf(new_label, sizeof(new_label), "new-%u", (unsigned)unit_below(rnd, 1000));
	switch (unit_below(rnd, 16)) {
	case 0:
		if (count_pfs(v) < 12)
			(void)h2_pfs_create(v->fs, new_label, NULL);
		break;
	case 1:
	case 2:
		if (count_pfs(v) < 12)
			(void)h2_pfs_snapshot(v->fs, label, new_label, NULL);
		break;
	case 3:
		if (count_pfs(v) > 4)
			assert_int_equal(h2_pfs_delete(v->fs, label), 0);
		break;
	case 4:
		assert_int_equal(h2_fs_sync(v->fs), 0);
		break;
	default:
		change_file(v, label, rnd);
	}
}

/* ---- the truth ---- */

/* All that nothing refers to is free. */
static void settle(struct volume *v)
{
	assert_int_equal(h2_fs_sync(v->fs), 0);
	assert_int_equal(h2_fs_bulkfree(v->fs, NULL, NULL), 0);
	assert_int_equal(h2_fs_sync(v->fs), 0);
}

/* What the check of the newest header's trees reaches. */
static uint64_t fsck_bytes(struct volume *v)
{
	const struct h2_check_options options = {.best_header_only = true, .skip_data = true};
	struct h2_check_summary summary;

	close_fs(v);
	disks_open(&v->disks);
	assert_int_equal(h2_check_run(v->disks.volumes, &options, &summary), 0);
	disks_close(&v->disks);
	open_fs(v);
	return summary.reachable_bytes;
}

/*
 * Delete a PFS. Nothing else changes but the super-root, so the granules that others have are the
 * same before and after; and what has become free is what was measured but for the granules that
 * only the super-root has or had.
 */
static void expect_to_come_back(struct volume *v, const char *label)
{
	struct h2_usage *before, *after;
	struct plain *was, *is;
	uint64_t free_before, above_was, above_is;
	const struct h2_pfs_space *pfs;
	unsigned gone;

	settle(v);
	before = measure(v);
	pfs = space_of(before, label);
	was = plain_count(v);
	expect_as_counted(before, was);
	free_before = free_bytes(v);
	gone = plain_find(was, label);
	assert_int_equal(h2_pfs_delete(v->fs, label), 0);
	settle(v);
	after = measure(v);
	is = plain_count(v);
	expect_as_counted(after, is);
	for (unsigned i = 0; i < GRANULES; i++)
		assert_int_equal(others_use(was, i, gone, ABOVE), others_use(is, i, ABOVE, ABOVE));
	assert_int_equal(free_bytes(v) - free_before, before->used_bytes - after->used_bytes);
	above_was = plain_alone(was, ABOVE, gone);
	above_is = plain_alone(is, ABOVE, ABOVE);
	assert_int_equal(free_bytes(v) + above_is, free_before + pfs->exclusive_bytes + above_was);
	/* The super-root inode, and what leads from it to the PFSs. */
	assert_in_range(above_was, 0, (3 + was->count / 20) * H2_GRANULE);
	assert_in_range(above_is, 0, (3 + was->count / 20) * H2_GRANULE);
	plain_free(was);
	plain_free(is);
	h2_usage_free(before);
	h2_usage_free(after);
}

static void what_a_pfs_uses_alone_comes_back(void **state)
{
	struct volume *v = *state;
	uint64_t rnd = unit_seed(1);
	char label[H2_NAME_MAX + 1];

	make_volume(v, VOLUME_BYTES);
	for (unsigned round = 0; round < 12; round++) {
		for (unsigned i = 0; i < 40; i++)
			change(v, &rnd);
		while (count_pfs(v) < 4) {
			random_label(v, &rnd, label);
			(void)h2_pfs_snapshot(v->fs, label, "one more", NULL);
			(void)h2_pfs_create(v->fs, "and one", NULL);
		}
		random_label(v, &rnd, label);
		expect_to_come_back(v, label);
	}
}

/* So many that there are several blocks with entries of PFSs, between what is the PFSs' own. */
static void among_many_pfs_too(void **state)
{
	struct volume *v = *state;
	char label[32];

	make_volume(v, VOLUME_BYTES);
	put(v, "DATA", "file", 1, 20);
	for (unsigned i = 0; i < 240; i++) {
		snprintf(label, sizeof(label), "pfs-%u", i);
		assert_int_equal(i % 2 ? h2_pfs_create(v->fs, label, NULL)
				       : h2_pfs_snapshot(v->fs, "DATA", label, NULL),
				 0);
		if (i % 7 == 0)
			put_one(v, label, "own", 3000 * i, 0, i);
	}
	expect_to_come_back(v, "pfs-21");
	expect_to_come_back(v, "pfs-42");
	expect_to_come_back(v, "DATA");
	expect_to_come_back(v, "pfs-0");
}

/* Where it has a block nobody gets the granule back, whoever had one there before. */
static void the_super_root_takes_what_others_had(void **state)
{
	struct h2_owner_map *map = h2_owner_map_new(64 * MIB);
	const uint64_t inode = 10, at = 16 * MIB;
	uint32_t a, b;

	(void)state;
	assert_non_null(map);
	assert_int_equal(h2_owner_map_add_owner(map, &a), 0);
	assert_int_equal(h2_owner_map_add_owner(map, &b), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(h2_owner_map_add(map, a, (at + i * H2_GRANULE) | inode, true),
				 H2_MET_FIRST);
	assert_int_equal(h2_owner_map_exclusive(map, a), 3 * H2_GRANULE);
	assert_int_equal(h2_owner_map_add(map, b, (at + 1024) | inode, true), H2_MET_FIRST);
	assert_int_equal(h2_owner_map_add(map, b, (at + H2_GRANULE) | inode, true), H2_MET_OTHERS);
	assert_int_equal(h2_owner_map_add(map, b, (at + H2_GRANULE) | inode, true), H2_MET_AGAIN);
	assert_int_equal(h2_owner_map_exclusive(map, a), H2_GRANULE);
	assert_int_equal(h2_owner_map_shared(map), 2 * H2_GRANULE);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t block = at + i * H2_GRANULE + 2048;

		assert_int_equal(h2_owner_map_add(map, H2_OWNER_SUPER_ROOT, block | inode, true),
				 H2_MET_FIRST);
	}
	assert_int_equal(h2_owner_map_exclusive(map, a), 0);
	assert_int_equal(h2_owner_map_exclusive(map, b), 0);
	assert_int_equal(h2_owner_map_shared(map), 0);
	assert_int_equal(h2_owner_map_exclusive(map, H2_OWNER_SUPER_ROOT), 4 * H2_GRANULE);
	assert_int_equal(h2_owner_map_add(map, b, (at + 3 * H2_GRANULE) | inode, true),
			 H2_MET_FIRST);
	assert_int_equal(h2_owner_map_exclusive(map, b), 0);
	assert_int_equal(h2_owner_map_shared(map), 0);
	h2_owner_map_free(map);
}

static void it_is_what_fsck_and_the_freemap_count(void **state)
{
	struct volume *v = *state;
	uint64_t rnd = unit_seed(2), unused = 0;
	struct h2_usage *usage;

	make_volume(v, VOLUME_BYTES);
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < 60; i++)
			change(v, &rnd);
		settle(v);
		usage = measure(v);
		expect_info(v, usage);
		/* What is neither free nor in use, the boot area and the like, stays the same. */
		if (round > 0)
			assert_int_equal(free_bytes(v) + usage->used_bytes, unused);
		unused = free_bytes(v) + usage->used_bytes;
		assert_int_equal(fsck_bytes(v), usage->used_bytes);
		h2_usage_free(usage);
	}
}

static void a_fresh_snapshot_has_nothing_alone(void **state)
{
	struct volume *v = *state;
	struct h2_usage *usage;
	uint64_t size;

	make_volume(v, VOLUME_BYTES);
	put(v, "DATA", "file", 1, 100);
	assert_int_equal(h2_pfs_snapshot(v->fs, "DATA", "snap", NULL), 0);
	usage = measure(v);
	size = space_of(usage, "snap")->referenced_bytes;
	assert_true(size >= 100 * CHUNK);
	assert_in_range(usage->shared_bytes, 100 * CHUNK, 100 * CHUNK + 20 * H2_GRANULE);
	assert_in_range(space_of(usage, "snap")->exclusive_bytes, 0, H2_GRANULE);
	assert_int_equal(usage->data_referenced_bytes, 100 * CHUNK);
	assert_int_equal(usage->data_distinct_bytes, 100 * CHUNK);
	assert_int_equal(usage->data_logical_bytes, 100 * CHUNK);
	h2_usage_free(usage);
	/* What the origin no longer has is the snapshot's alone. */
	put(v, "DATA", "file", 1000, 40);
	usage = measure(v);
	assert_int_equal(space_of(usage, "snap")->referenced_bytes, size);
	assert_in_range(space_of(usage, "snap")->exclusive_bytes, 40 * CHUNK,
			40 * CHUNK + 4 * H2_GRANULE);
	assert_in_range(space_of(usage, "DATA")->exclusive_bytes, 40 * CHUNK,
			40 * CHUNK + 8 * H2_GRANULE);
	h2_usage_free(usage);
	/* The same from the media, open for reading. */
	close_fs(v);
	disks_open(&v->disks);
	assert_int_equal(h2_fs_open(v->disks.volumes, NULL, &v->fs), 0);
	usage = measure(v);
	assert_in_range(space_of(usage, "snap")->exclusive_bytes, 40 * CHUNK,
			40 * CHUNK + 4 * H2_GRANULE);
	h2_usage_free(usage);
}

/* ---- ratios ---- */

static void set_comp(struct volume *v, const char *label, uint8_t comp)
{
	struct h2_set_attr set = {.valid = H2_SET_COMP, .comp_algo = comp};
	struct h2_pfs *pfs = open_pfs(v, label);
	struct h2_inode *root = root_of(pfs);

	assert_int_equal(h2_inode_set_attr(root, &set), 0);
	h2_inode_put(root);
	h2_pfs_put(pfs);
}

static void set_size(struct volume *v, const char *label, const char *name, uint64_t size)
{
	struct h2_set_attr set = {.valid = H2_SET_SIZE, .size = size};
	struct h2_pfs *pfs = open_pfs(v, label);
	struct h2_inode *inode;

	assert_int_equal(h2_path_lookup(pfs, name, &inode), 0);
	assert_int_equal(h2_inode_set_attr(inode, &set), 0);
	h2_inode_put(inode);
	h2_pfs_put(pfs);
}

static void ratios_are_of_compression_and_deduplication_alone(void **state)
{
	struct volume *v = *state;
	struct h2_usage *usage;
	char name[32];

	make_volume(v, VOLUME_BYTES);
	/* In inodes: not in blocks. */
	put_one(v, "DATA", "inline", 300, 0, 9);
	usage = measure(v);
	assert_int_equal(usage->data_referenced_bytes, 0);
	assert_int_equal(usage->data_logical_bytes, 0);
	h2_usage_free(usage);
	/* Not compressed, not even what could be; a short block is no saving. */
	set_comp(v, "DATA", H2_COMP_NONE);
	put_one(v, "DATA", "plain", 4 * CHUNK + 3000, 1, 7);
	usage = measure(v);
	assert_int_equal(usage->data_referenced_bytes, 4 * CHUNK + 4096);
	assert_int_equal(usage->data_logical_bytes, 4 * CHUNK + 4096);
	assert_int_equal(usage->data_distinct_bytes, 4 * CHUNK + 4096);
	h2_usage_free(usage);
	/* Nor where it is no longer at the end. */
	set_size(v, "DATA", "plain", 10 * CHUNK);
	usage = measure(v);
	assert_int_equal(usage->data_logical_bytes, usage->data_referenced_bytes);
	h2_usage_free(usage);
	set_size(v, "DATA", "plain", 4 * CHUNK + 3000);
	/* Each block to a half or less; the last one has 4 KiB. */
	set_comp(v, "LOCAL", H2_COMP_LZ4);
	put_one(v, "LOCAL", "text", 8 * CHUNK + 3000, 1, 8);
	usage = measure(v);
	assert_int_equal(usage->data_logical_bytes, 12 * CHUNK + 2 * 4096);
	assert_in_range(usage->data_referenced_bytes, 4 * CHUNK + 4096 + 8 * CHUNK / 8,
			4 * CHUNK + 4096 + 8 * CHUNK / 2 + 4096);
	assert_int_equal(usage->data_distinct_bytes, usage->data_referenced_bytes);
	h2_usage_free(usage);
	/* The same blocks four times; and snapshots, which are no deduplication. */
	for (unsigned i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "same %u", i);
		put_one(v, "LOCAL", name, 16 * CHUNK, 2, 0);
		assert_int_equal(h2_fs_sync(v->fs), 0);
		snprintf(name, sizeof(name), "snap-%u", i);
		assert_int_equal(h2_pfs_snapshot(v->fs, "LOCAL", name, NULL), 0);
	}
	usage = measure(v);
	assert_int_equal(usage->data_referenced_bytes - usage->data_distinct_bytes, 48 * CHUNK);
	assert_int_equal(usage->data_logical_bytes, (12 + 64) * CHUNK + 2 * 4096);
	h2_usage_free(usage);
}

/* ---- progress ---- */

static bool count_calls(void *user, uint64_t bytes, uint64_t expected)
{
	unsigned *calls = user;

	(void)bytes;
	(void)expected;
	++*calls;
	return true;
}

static bool stop_later(void *user, uint64_t bytes, uint64_t expected)
{
	unsigned *left = user;

	(void)bytes;
	(void)expected;
	return (*left)-- > 0;
}

static void make_tree(struct volume *v)
{
	struct h2_pfs *pfs = open_pfs(v, "DATA");
	struct h2_inode *root = root_of(pfs);
	char name[32];

	for (unsigned i = 0; i < 8000; i++) {
		snprintf(name, sizeof(name), "file %u", i);
		put_bytes(root, name, 100, 0, i);
	}
	h2_inode_put(root);
	h2_pfs_put(pfs);
}

#define STEPS_PER_CALL 16u /* lib/fs/held.c */

static unsigned calls_of_a_walk(struct volume *v)
{
	unsigned calls = 0;
	const struct h2_pass_options options = {.progress = count_calls, .user = &calls};
	struct h2_usage *usage;

	assert_int_equal(h2_usage_measure(v->fs, &options, &usage), 0);
	h2_usage_free(usage);
	return calls;
}

static void fifty_snapshots_cost_two_walks(void **state)
{
	struct volume *v = *state;
	unsigned alone, same, changed;
	char label[32];

	make_volume(v, VOLUME_BYTES);
	make_tree(v);
	alone = calls_of_a_walk(v);
	assert_true(alone > 20);
	for (unsigned i = 0; i < 50; i++) {
		snprintf(label, sizeof(label), "snap-%u", i);
		assert_int_equal(h2_pfs_snapshot(v->fs, "DATA", label, NULL), 0);
	}
	same = calls_of_a_walk(v);
	for (unsigned i = 0; i < 5; i++) {
		snprintf(label, sizeof(label), "file %u", i * 1000);
		put_one(v, "DATA", label, 100, 0, 100000 + i);
		snprintf(label, sizeof(label), "other-%u", i);
		assert_int_equal(h2_pfs_snapshot(v->fs, "DATA", label, NULL), 0);
	}
	changed = calls_of_a_walk(v);
	print_message("%u calls; with 50 snapshots %u; with 5 that differ %u\n", alone, same,
		      changed);
	/* 50 roots, with four references each. */
	assert_in_range(same, 2 * alone - 2, 2 * alone + 2 + 50 * 5 / STEPS_PER_CALL);
	/* The way down to what differs: some thousand references. */
	assert_in_range(changed, same, same + 5 * 5 * 256 / STEPS_PER_CALL);
	{
		struct plain *p = plain_count(v);
		struct h2_usage *usage = measure(v);

		assert_true(p->blocks / STEPS_PER_CALL > 20 * alone);
		expect_as_counted(usage, p);
		plain_free(p);
		h2_usage_free(usage);
	}
}

static void progress_ends_it_and_nothing_is_left(void **state)
{
	struct volume *v = *state;
	struct h2_usage *usage = (struct h2_usage *)(uintptr_t)1;
	unsigned left;
	const struct h2_pass_options options = {.progress = stop_later, .user = &left};
	struct h2_fs_stats stats;
	uint64_t before;

	make_volume(v, VOLUME_BYTES);
	make_tree(v);
	put(v, "DATA", "goes", 1, 100);
	settle(v);
	before = free_bytes(v);
	for (left = 0; left < 20;) {
		unsigned n = left;

		assert_int_equal(h2_usage_measure(v->fs, &options, &usage), -EINTR);
		assert_ptr_equal(usage, (void *)(uintptr_t)1);
		h2_fs_get_stats(v->fs, &stats);
		assert_int_equal(stats.scan_bytes, 0);
		assert_int_equal(stats.scan_expected_bytes, 0);
		assert_int_equal(stats.free_bytes, before);
		left = n + 7;
	}
	/* Nobody holds anything back. */
	{
		struct h2_pfs *pfs = open_pfs(v, "DATA");
		struct h2_inode *root = root_of(pfs);

		assert_int_equal(h2_unlink(root, "goes", 4, NULL), 0);
		h2_inode_put(root);
		h2_pfs_put(pfs);
	}
	settle(v);
	assert_in_range(free_bytes(v), before + 100 * CHUNK, before + 100 * CHUNK + MIB);
	usage = measure(v);
	h2_usage_free(usage);
}

static bool write_meanwhile(void *user, uint64_t bytes, uint64_t expected)
{
	struct volume *v = user;
	static unsigned n;

	assert_true(bytes <= expected);
	put_one(v, "DATA", "meanwhile", 50000, 0, ++n);
	assert_int_equal(h2_fs_sync(v->fs), 0);
	return true;
}

/* It is one commit's state that is measured, whatever happens meanwhile. */
static void changes_meanwhile_do_not_show(void **state)
{
	struct volume *v = *state;
	const struct h2_pass_options options = {.progress = write_meanwhile, .user = v};
	struct h2_usage *before, *usage;

	make_volume(v, VOLUME_BYTES);
	make_tree(v);
	put_one(v, "DATA", "meanwhile", 50000, 0, 0);
	before = measure(v);
	assert_int_equal(h2_usage_measure(v->fs, &options, &usage), 0);
	assert_int_equal(usage->used_bytes, before->used_bytes);
	assert_int_equal(usage->pfss[0].exclusive_bytes, before->pfss[0].exclusive_bytes);
	assert_int_equal(usage->data_distinct_bytes, before->data_distinct_bytes);
	h2_usage_free(usage);
	h2_usage_free(before);
}

/* ---- failures ---- */

/* What waits for bulk free is known afterwards as it was before. */
static void what_was_lost_is_not_forgotten(void **state)
{
	struct volume *v = *state;
	struct h2_fs_stats before, after;
	struct h2_inode *root;
	struct h2_pfs *pfs;

	make_volume(v, 256 * MIB);
	put(v, "DATA", "goes", 1, 200);
	close_fs(v);
	open_fs(v);
	assert_int_equal(h2_fs_bulkfree(v->fs, NULL, NULL), 0);
	pfs = open_pfs(v, "DATA");
	assert_int_equal(h2_inode_get(pfs, H2_INUM_ROOT, &root), 0);
	assert_int_equal(h2_unlink(root, "goes", 4, NULL), 0);
	h2_inode_put(root);
	h2_pfs_put(pfs);
	assert_int_equal(h2_fs_sync(v->fs), 0);
	h2_fs_get_stats(v->fs, &before);
	assert_true(before.lost_bytes >= 200 * CHUNK);
	h2_usage_free(measure(v));
	h2_fs_get_stats(v->fs, &after);
	assert_true(after.lost_bytes >= before.lost_bytes);
}

static void without_memory_nothing_is_told_and_nothing_is_left(void **state)
{
	struct volume *v = *state;
	struct h2_usage *usage = NULL;
	struct h2_fs_stats stats;
	uint64_t before;
	long n = 0;
	int err;

	make_volume(v, VOLUME_BYTES);
	put(v, "DATA", "file", 1, 50);
	assert_int_equal(h2_pfs_snapshot(v->fs, "DATA", "snap", NULL), 0);
	put_one(v, "DATA", "more", 100000, 1, 1);
	settle(v);
	before = free_bytes(v);
	do {
		h2_fs_forget_cached(v->fs);
		atomic_store(&scarce_left, n++);
		err = h2_usage_measure(v->fs, NULL, &usage);
		atomic_store(&scarce_left, -1);
		h2_fs_get_stats(v->fs, &stats);
		assert_int_equal(stats.scan_expected_bytes, 0);
		assert_int_equal(stats.free_bytes, before);
	} while (err == -ENOMEM);
	assert_int_equal(err, 0);
	assert_true(n > 10);
	h2_usage_free(usage);
	settle(v);
}

static int find_index(void *user, const struct h2_met *met)
{
	uint64_t *data_off = user;

	if (met->kind == H2_TREE_PFS_ROOT && met->ref->type == H2_BLOCKREF_INDIRECT)
		*data_off = met->data_off;
	return 0;
}

static void damage_is_an_error(void **state)
{
	struct volume *v = *state;
	struct h2_usage *usage = NULL;
	struct h2_volume_header header;
	uint64_t data_off = 0;
	struct h2_block_walk walk = {.block = find_index, .user = &data_off};
	uint8_t was, bad;

	make_volume(v, VOLUME_BYTES);
	make_tree(v);
	assert_int_equal(h2_fs_sync(v->fs), 0);
	walk.blocks = &v->fs->blocks;
	h2_txn_get_header(v->fs->txn, &header);
	assert_int_equal(h2_block_walk_set(&walk, header.sroot_blockset), 0);
	assert_int_not_equal(data_off, 0);
	close_fs(v);
	h2_sim_peek(v->disks.sims[0], (data_off & ~UINT64_C(63)) + 200, &was, 1);
	bad = was ^ 1;
	assert_int_equal(h2_sim_poke(v->disks.sims[0], (data_off & ~UINT64_C(63)) + 200, &bad, 1), 0);
	open_fs(v);
	assert_int_equal(h2_usage_measure(v->fs, NULL, &usage), -H2_ECHECK);
	assert_null(usage);
	/* And the filesystem goes on. */
	put(v, "LOCAL", "file", 1, 10);
	expect(v, "LOCAL", "file", 1, 10);
	close_fs(v);
	assert_int_equal(h2_sim_poke(v->disks.sims[0], (data_off & ~UINT64_C(63)) + 200, &was, 1), 0);
}

#define USAGE_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		USAGE_TEST(what_a_pfs_uses_alone_comes_back),
		USAGE_TEST(among_many_pfs_too),
		cmocka_unit_test(the_super_root_takes_what_others_had),
		USAGE_TEST(it_is_what_fsck_and_the_freemap_count),
		USAGE_TEST(a_fresh_snapshot_has_nothing_alone),
		USAGE_TEST(ratios_are_of_compression_and_deduplication_alone),
		USAGE_TEST(fifty_snapshots_cost_two_walks),
		USAGE_TEST(progress_ends_it_and_nothing_is_left),
		USAGE_TEST(changes_meanwhile_do_not_show),
		USAGE_TEST(what_was_lost_is_not_forgotten),
		USAGE_TEST(without_memory_nothing_is_told_and_nothing_is_left),
		USAGE_TEST(damage_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
