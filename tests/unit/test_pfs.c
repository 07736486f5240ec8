/* Making, removing, renaming, snapshotting and rolling back PFSs (BS 10). */
#include "filesystem.h"

static void set_root(struct volume *v, const char *label, const struct h2_set_attr *set)
{
	struct h2_pfs *pfs = open_pfs(v, label);
	struct h2_inode *root;

	assert_int_equal(h2_inode_get(pfs, H2_INUM_ROOT, &root), 0);
	assert_int_equal(h2_inode_set_attr(root, set), 0);
	h2_inode_put(root);
	h2_pfs_put(pfs);
}

static bool same_uuid(const struct h2_uuid *a, const struct h2_uuid *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* ---- create ---- */

static void a_new_pfs_is_durable_and_as_bs_10_2_has_it(void **state)
{
	struct volume *v = *state;
	struct h2_pfs_info info, data;

	make_volume(v, 64 * MIB);
	assert_int_equal(h2_pfs_create(v->fs, "new", NULL), 0);
	crash(v);
	info = info_of(v, "new");
	data = info_of(v, "DATA");
	assert_int_equal(info.key & ~UINT64_C(0x7fff), h2_name_hash("new", 3));
	assert_int_equal(info.ref.flags & 1, 1);
	assert_int_equal(info.ref.methods >> 4, 3);
	assert_int_equal(info.meta.inum, 1);
	assert_int_equal(info.meta.iparent, 1);
	assert_int_equal(info.meta.name_key, info.key);
	assert_int_equal(info.meta.mode, 0755);
	assert_int_equal(info.meta.nlinks, 1);
	assert_int_equal(info.meta.uid, 0);
	assert_int_equal(info.meta.comp_algo, 2);
	assert_int_equal(info.meta.check_algo, 3);
	assert_int_equal(info.meta.pfs_type, 6);
	assert_int_equal(info.meta.pfs_subtype, 0);
	assert_int_equal(info.meta.op_flags, 2);
	assert_int_equal(info.meta.pfs_inum, 0);
	assert_int_not_equal(info.meta.ctime, 0);
	assert_false(same_uuid(&info.meta.pfs_clid, &info.meta.pfs_fsid));
	assert_false(same_uuid(&info.meta.pfs_clid, &data.meta.pfs_clid));
	/* And can be used. */
	put(v, "new", "file", 1, 3);
	close_fs(v);
	open_fs(v);
	expect(v, "new", "file", 1, 3);
	/* The boot loader's cannot be compressed. */
	assert_int_equal(h2_pfs_create(v->fs, "Boot", NULL), 0);
	assert_int_equal(info_of(v, "Boot").meta.comp_algo, 1);
}

static void a_new_pfs_has_the_ids_it_is_given(void **state)
{
	struct volume *v = *state;
	struct h2_pfs_ids ids = {.clid = {{1, 2, 3}}, .fsid = {{4, 5, 6}}}, other;
	struct h2_pfs_info info;

	make_volume(v, 64 * MIB);
	assert_int_equal(h2_pfs_create(v->fs, "nil", &(struct h2_pfs_ids){.clid = ids.clid}), -EINVAL);
	assert_int_equal(h2_pfs_create(v->fs, "new", &ids), 0);
	info = info_of(v, "new");
	assert_true(same_uuid(&info.meta.pfs_clid, &ids.clid));
	assert_true(same_uuid(&info.meta.pfs_fsid, &ids.fsid));
	/* Another with one of them would be the same to DragonFly. */
	other = (struct h2_pfs_ids){.clid = ids.clid, .fsid = {{7}}};
	assert_int_equal(h2_pfs_create(v->fs, "other", &other), -ENOTUNIQ);
	other = (struct h2_pfs_ids){.clid = {{7}}, .fsid = ids.fsid};
	assert_int_equal(h2_pfs_create(v->fs, "other", &other), -ENOTUNIQ);
	assert_int_equal(h2_pfs_snapshot(v->fs, "new", "other", &ids), -ENOTUNIQ);
	other.fsid = (struct h2_uuid){{8}};
	assert_int_equal(h2_pfs_create(v->fs, "other", &other), 0);
}

static void labels_that_cannot_be_are_refused(void **state)
{
	static const char *const bad[] = {"", "a/b", "a@b", "a:b"};
	struct volume *v = *state;
	char longest[H2_NAME_MAX + 2];

	make_volume(v, 64 * MIB);
	for (unsigned i = 0; i < LENGTH_OF(bad); i++) {
		assert_int_equal(h2_pfs_create(v->fs, bad[i], NULL), -EINVAL);
		assert_int_equal(h2_pfs_snapshot(v->fs, "DATA", bad[i], NULL), -EINVAL);
		assert_int_equal(h2_pfs_rename(v->fs, "DATA", bad[i]), -EINVAL);
	}
	assert_int_equal(h2_pfs_delete(v->fs, ""), -EINVAL);
	memset(longest, 'x', sizeof(longest));
	longest[H2_NAME_MAX + 1] = '\0';
	assert_int_equal(h2_pfs_create(v->fs, longest, NULL), -ENAMETOOLONG);
	longest[H2_NAME_MAX] = '\0';
	assert_int_equal(h2_pfs_create(v->fs, longest, NULL), 0);
	assert_int_equal(h2_pfs_create(v->fs, longest, NULL), -EEXIST);
	assert_int_equal(h2_pfs_create(v->fs, "DATA", NULL), -EEXIST);
	assert_int_equal(h2_pfs_snapshot(v->fs, "LOCAL", "DATA", NULL), -EEXIST);
	assert_int_equal(h2_pfs_rename(v->fs, "LOCAL", "DATA"), -EEXIST);
	assert_int_equal(h2_pfs_rename(v->fs, "LOCAL", "LOCAL"), -EEXIST);
	assert_int_equal(h2_pfs_rename(v->fs, "missing", "new"), -ENOENT);
	assert_int_equal(h2_pfs_delete(v->fs, "missing"), -ENOENT);
	assert_int_equal(h2_pfs_snapshot(v->fs, "missing", "new", NULL), -ENOENT);
	assert_int_equal(h2_pfs_rollback(v->fs, "DATA", "missing", NULL, NULL), -ENOENT);
	assert_int_equal(h2_pfs_rollback(v->fs, "missing", "DATA", NULL, NULL), -ENOENT);
	assert_int_equal(count_pfs(v), 3);
}

static void nothing_happens_on_a_filesystem_for_reading(void **state)
{
	struct volume *v = *state;

	make_volume(v, 64 * MIB);
	close_fs(v);
	disks_open(&v->disks);
	assert_int_equal(h2_fs_open(v->disks.volumes, NULL, &v->fs), 0);
	assert_int_equal(h2_pfs_create(v->fs, "new", NULL), -EROFS);
	assert_int_equal(h2_pfs_delete(v->fs, "DATA"), -EROFS);
	assert_int_equal(h2_pfs_snapshot(v->fs, "DATA", "new", NULL), -EROFS);
}

/* More than the super-root's four entries, and some that share a hash: see MF 7.3. */
static void there_can_be_many(void **state)
{
	struct volume *v = *state;
	char label[32];

	make_volume(v, 256 * MIB);
	for (unsigned i = 0; i < 700; i++) {
		snprintf(label, sizeof(label), "pfs-%u", i);
		assert_int_equal(h2_pfs_create(v->fs, label, NULL), 0);
	}
	close_fs(v);
	open_fs(v);
	assert_int_equal(count_pfs(v), 702);
	for (unsigned i = 0; i < 700; i += 100) {
		snprintf(label, sizeof(label), "pfs-%u", i);
		put(v, label, "file", i, 1);
	}
	for (unsigned i = 0; i < 700; i += 2) {
		snprintf(label, sizeof(label), "pfs-%u", i + 1);
		assert_int_equal(h2_pfs_delete(v->fs, label), 0);
	}
	crash(v);
	assert_int_equal(count_pfs(v), 352);
	for (unsigned i = 0; i < 700; i += 100) {
		snprintf(label, sizeof(label), "pfs-%u", i);
		expect(v, label, "file", i, 1);
	}
}

/* ---- delete ---- */

static void a_deleted_pfs_is_gone_and_its_storage_comes_back(void **state)
{
	struct volume *v = *state;
	uint64_t before;

	make_volume(v, 64 * MIB);
	assert_int_equal(h2_pfs_create(v->fs, "old", NULL), 0);
	before = free_bytes(v);
	put(v, "old", "file", 1, 100);
	put(v, "DATA", "file", 1000, 10);
	assert_int_equal(h2_pfs_delete(v->fs, "old"), 0);
	expect_no_pfs(v, "old");
	/* The label can be used again, by an empty one. */
	assert_int_equal(h2_pfs_create(v->fs, "old", NULL), 0);
	expect_no(v, "old", "file");
	put(v, "old", "file", 2000, 50);
	expect(v, "old", "file", 2000, 50);
	assert_int_equal(h2_pfs_delete(v->fs, "old"), 0);
	crash(v);
	expect_no_pfs(v, "old");
	assert_int_equal(h2_fs_bulkfree(v->fs, NULL, NULL), 0);
	assert_true(free_bytes(v) + MIB + 10 * CHUNK >= before);
	expect(v, "DATA", "file", 1000, 10);
}

/* Counting knows its blocks, but nobody tells it one by one that they are gone. */
static void what_was_written_and_deleted_in_one_mount_comes_back(void **state)
{
	struct volume *v = *state;
	struct h2_bulkfree_result result;
	uint64_t before;

	make_volume(v, 64 * MIB);
	before = free_bytes(v);
	assert_int_equal(h2_pfs_create(v->fs, "new", NULL), 0);
	put(v, "new", "file", 1, 200);
	put(v, "DATA", "file", 1000, 10);
	assert_int_equal(h2_pfs_delete(v->fs, "new"), 0);
	assert_int_equal(h2_fs_bulkfree(v->fs, NULL, &result), 0);
	assert_true(result.freed_bytes >= 200 * CHUNK);
	assert_true(free_bytes(v) + MIB + 10 * CHUNK >= before);
	expect(v, "DATA", "file", 1000, 10);
}

static void a_pfs_in_use_and_the_last_one_stay(void **state)
{
	struct volume *v = *state;
	struct h2_pfs *pfs;

	make_volume(v, 64 * MIB);
	pfs = open_pfs(v, "DATA");
	assert_int_equal(h2_pfs_delete(v->fs, "DATA"), -EBUSY);
	assert_int_equal(h2_pfs_rename(v->fs, "DATA", "new"), -EBUSY);
	assert_int_equal(h2_pfs_rollback(v->fs, "DATA", "LOCAL", NULL, NULL), -EBUSY);
	put_file(pfs, "file", 1, 1);
	h2_pfs_put(pfs);
	expect(v, "DATA", "file", 1, 1);
	assert_int_equal(h2_pfs_delete(v->fs, "LOCAL"), 0);
	assert_int_equal(h2_pfs_delete(v->fs, "DATA"), -EPERM);
	expect(v, "DATA", "file", 1, 1);
}

static void a_snapshot_can_be_deleted_on_a_full_volume(void **state)
{
	struct volume *v = *state;
	struct h2_pfs *pfs;
	unsigned chunks, snapshots = 0;
	char label[32];
	int err;

	make_volume(v, 64 * MIB);
	put(v, "DATA", "file", 1, 200);
	assert_int_equal(h2_pfs_snapshot(v->fs, "DATA", "snap", NULL), 0);
	pfs = open_pfs(v, "DATA");
	chunks = fill_up(pfs, 1000);
	assert_true(chunks > 10);
	/* Until there is no room for the smallest thing. */
	do {
		snprintf(label, sizeof(label), "another-%u", snapshots++);
		err = h2_pfs_snapshot(v->fs, "DATA", label, NULL);
	} while (err == 0 && snapshots < 10000);
	assert_int_equal(err, -ENOSPC);
	expect_no_pfs(v, label);
	assert_true(snapshots > 1);
	assert_int_equal(h2_pfs_delete(v->fs, "another-0"), 0);
	/* What the snapshots hold stays used. */
	{
		struct h2_inode *root;

		assert_int_equal(h2_inode_get(pfs, H2_INUM_ROOT, &root), 0);
		assert_int_equal(h2_unlink(root, "file", 4, NULL), 0);
		h2_inode_put(root);
	}
	assert_int_equal(h2_fs_sync(v->fs), 0);
	expect(v, "snap", "file", 1, 200);
	assert_int_equal(h2_pfs_delete(v->fs, "snap"), 0);
	for (unsigned i = 1; i + 1 < snapshots; i++) {
		snprintf(label, sizeof(label), "another-%u", i);
		assert_int_equal(h2_pfs_delete(v->fs, label), 0);
	}
	/* Now there is room for it again. */
	put_file(pfs, "new", 2000, 150);
	expect_file(pfs, "new", 2000, 150);
	expect_file(pfs, "fills", 1000, chunks);
	h2_pfs_put(pfs);
}

/* ---- rename ---- */

static void a_renamed_pfs_has_what_it_had(void **state)
{
	struct volume *v = *state;
	struct h2_pfs_info before, after;

	make_volume(v, 64 * MIB);
	put(v, "DATA", "file", 1, 5); /* not yet committed */
	before = info_of(v, "DATA");
	assert_int_equal(h2_pfs_rename(v->fs, "DATA", "other"), 0);
	expect_no_pfs(v, "DATA");
	expect(v, "other", "file", 1, 5);
	crash(v);
	expect_no_pfs(v, "DATA");
	expect(v, "other", "file", 1, 5);
	after = info_of(v, "other");
	assert_true(same_uuid(&before.meta.pfs_fsid, &after.meta.pfs_fsid));
	assert_true(same_uuid(&before.meta.pfs_clid, &after.meta.pfs_clid));
	assert_int_equal(after.meta.name_key, after.key);
	assert_int_equal(after.meta.name_len, 5);
	put(v, "other", "more", 50, 5);
	assert_int_equal(h2_pfs_rename(v->fs, "other", "DATA"), 0);
	expect(v, "DATA", "more", 50, 5);
	expect(v, "DATA", "file", 1, 5);
}

/* ---- snapshots ---- */

static void a_snapshot_is_its_origin_at_that_moment(void **state)
{
	struct volume *v = *state;
	struct h2_set_attr set = {
		.valid = H2_SET_MODE | H2_SET_UID | H2_SET_GID | H2_SET_COMP | H2_SET_CHECK |
			 H2_SET_QUOTA,
		.mode = 0711,
		.uid = 1234,
		.gid = 4321,
		.comp_algo = 3 | 6 << 4,
		.check_algo = 4,
		.data_quota = 1 << 30,
		.inode_quota = 1 << 20,
	};
	struct h2_pfs_info origin, snap;
	struct h2_pfs *pfs, *copy;

	make_volume(v, 128 * MIB);
	set_root(v, "DATA", &set);
	pfs = open_pfs(v, "DATA");
	put_file(pfs, "one", 1, 20);
	assert_int_equal(h2_fs_sync(v->fs), 0);
	put_file(pfs, "two", 100, 20); /* not committed */
	assert_int_equal(h2_pfs_snapshot(v->fs, "DATA", "snap", NULL), 0);
	origin = info_of(v, "DATA");
	snap = info_of(v, "snap");
	/* MF 11.8 */
	assert_int_equal(snap.meta.pfs_type, 6);
	assert_int_equal(snap.meta.pfs_subtype, 1);
	assert_int_equal(snap.meta.op_flags, 2);
	assert_int_equal(snap.ref.flags & 1, 1);
	assert_int_equal(snap.meta.pfs_lsnap_tid, origin.meta.pfs_lsnap_tid);
	assert_true(snap.meta.pfs_lsnap_tid >= origin.ref.modify_tid);
	assert_true(snap.meta.pfs_inum >= origin.meta.pfs_inum);
	assert_false(same_uuid(&snap.meta.pfs_clid, &origin.meta.pfs_clid));
	assert_false(same_uuid(&snap.meta.pfs_fsid, &origin.meta.pfs_fsid));
	assert_int_equal(snap.ref.data_count, origin.ref.data_count);
	assert_int_equal(snap.ref.inode_count, origin.ref.inode_count);
	/* BS 10.5, SHOULD */
	assert_int_equal(snap.meta.mode, 0711);
	assert_int_equal(snap.meta.uid, 1234);
	assert_int_equal(snap.meta.gid, 4321);
	assert_int_equal(snap.meta.comp_algo, 3 | 6 << 4);
	assert_int_equal(snap.meta.check_algo, 4);
	assert_int_equal(snap.meta.data_quota, 1 << 30);
	assert_int_equal(snap.meta.inode_quota, 1 << 20);
	assert_int_equal(snap.meta.mtime, origin.meta.mtime);
	/* Neither sees what changes in the other. */
	copy = open_pfs(v, "snap");
	put_file(pfs, "one", 200, 20);
	put_file(copy, "two", 300, 20);
	put_file(pfs, "three", 400, 2);
	put_file(copy, "four", 500, 2);
	for (unsigned i = 0; i < 6; i++) {
		put_file(pfs, "often", i, 3);
		assert_int_equal(h2_fs_sync(v->fs), 0);
	}
	h2_pfs_put(copy);
	h2_pfs_put(pfs);
	assert_int_equal(h2_fs_bulkfree(v->fs, NULL, NULL), 0);
	crash(v);
	expect(v, "DATA", "one", 200, 20);
	expect(v, "DATA", "two", 100, 20);
	expect(v, "DATA", "three", 400, 2);
	expect_no(v, "DATA", "four");
	expect(v, "snap", "one", 1, 20);
	expect(v, "snap", "two", 300, 20);
	expect(v, "snap", "four", 500, 2);
	expect_no(v, "snap", "three");
}

static void a_snapshot_is_durable_when_it_is_there(void **state)
{
	struct volume *v = *state;

	make_volume(v, 64 * MIB);
	put(v, "DATA", "file", 1, 5);
	assert_int_equal(h2_pfs_snapshot(v->fs, "DATA", "snap", NULL), 0);
	put(v, "DATA", "file", 100, 5);
	crash(v);
	expect(v, "snap", "file", 1, 5);
	expect(v, "DATA", "file", 1, 5); /* the commit had that, too */
	/* Nothing has changed since the last commit. */
	assert_int_equal(h2_pfs_snapshot(v->fs, "DATA", "second", NULL), 0);
	crash(v);
	expect(v, "second", "file", 1, 5);
	assert_int_equal(info_of(v, "DATA").meta.pfs_lsnap_tid,
			 info_of(v, "second").meta.pfs_lsnap_tid);
}

/* Also of what was not opened, of a snapshot, and again and again. */
static void snapshots_of_anything(void **state)
{
	struct volume *v = *state;
	char label[32];

	make_volume(v, 256 * MIB);
	put(v, "DATA", "file", 1, 5);
	close_fs(v);
	open_fs(v);
	assert_int_equal(h2_pfs_snapshot(v->fs, "DATA", "snap", NULL), 0);
	assert_int_equal(info_of(v, "DATA").meta.pfs_lsnap_tid,
			 info_of(v, "snap").meta.pfs_lsnap_tid);
	assert_int_equal(h2_pfs_snapshot(v->fs, "snap", "again", NULL), 0);
	put(v, "snap", "file", 50, 5);
	for (unsigned i = 0; i < 30; i++) {
		put(v, "DATA", "file", i * 100, 4);
		snprintf(label, sizeof(label), "snap-%u", i);
		assert_int_equal(h2_pfs_snapshot(v->fs, "DATA", label, NULL), 0);
	}
	for (unsigned i = 0; i < 30; i += 2) {
		snprintf(label, sizeof(label), "snap-%u", i);
		assert_int_equal(h2_pfs_delete(v->fs, label), 0);
	}
	assert_int_equal(h2_fs_bulkfree(v->fs, NULL, NULL), 0);
	put(v, "LOCAL", "other", 9999, 500);
	crash(v);
	expect(v, "again", "file", 1, 5);
	expect(v, "snap", "file", 50, 5);
	for (unsigned i = 1; i < 30; i += 2) {
		snprintf(label, sizeof(label), "snap-%u", i);
		{
			struct h2_pfs *pfs = open_pfs(v, label);
			struct h2_inode *inode;
			uint8_t *buf = malloc(CHUNK), *found = malloc(CHUNK);

			assert_non_null(buf);
			assert_non_null(found);
			assert_int_equal(h2_path_lookup(pfs, "file", &inode), 0);
			fill_chunk(buf, i * 100 + 3);
			assert_int_equal(h2_file_read(inode, 3 * CHUNK, found, CHUNK), CHUNK);
			assert_memory_equal(buf, found, CHUNK);
			free(buf);
			free(found);
			h2_inode_put(inode);
			h2_pfs_put(pfs);
		}
	}
}

static void a_snapshot_costs_the_same_however_much_there_is(void **state)
{
	struct volume *v = *state;
	uint64_t before, small, large;

	make_volume(v, 256 * MIB);
	before = free_bytes(v);
	assert_int_equal(h2_pfs_snapshot(v->fs, "DATA", "empty", NULL), 0);
	small = before - free_bytes(v);
	put(v, "DATA", "file", 1, 1000);
	assert_int_equal(h2_fs_sync(v->fs), 0);
	before = free_bytes(v);
	assert_int_equal(h2_pfs_snapshot(v->fs, "DATA", "full", NULL), 0);
	large = before - free_bytes(v);
	assert_true(small <= MIB / 4);
	assert_true(large <= MIB / 4);
}

/* Removed files that are open are not part of it, and stay what they are. */
static void a_snapshot_does_not_have_removed_files(void **state)
{
	struct volume *v = *state;
	struct h2_pfs *pfs;
	struct h2_inode *root, *inode;
	uint8_t *buf = malloc(CHUNK), *found = malloc(CHUNK);

	assert_non_null(buf);
	assert_non_null(found);
	make_volume(v, 64 * MIB);
	pfs = open_pfs(v, "DATA");
	put_file(pfs, "file", 1, 10);
	assert_int_equal(h2_fs_sync(v->fs), 0);
	assert_int_equal(h2_path_lookup(pfs, "file", &inode), 0);
	assert_int_equal(h2_inode_get(pfs, H2_INUM_ROOT, &root), 0);
	assert_int_equal(h2_unlink(root, "file", 4, NULL), 0);
	assert_int_equal(h2_pfs_snapshot(v->fs, "DATA", "snap", NULL), 0);
	expect_no(v, "snap", "file");
	fill_chunk(buf, 77);
	assert_int_equal(h2_file_write(inode, 0, buf, CHUNK, 0), CHUNK);
	assert_int_equal(h2_fs_sync(v->fs), 0);
	assert_int_equal(h2_file_read(inode, 0, found, CHUNK), CHUNK);
	assert_memory_equal(buf, found, CHUNK);
	h2_inode_put(inode);
	h2_inode_put(root);
	h2_pfs_put(pfs);
	free(buf);
	free(found);
}

/* ---- rollback ---- */

static void rollback_gives_the_snapshots_contents(void **state)
{
	struct volume *v = *state;
	struct h2_pfs_info before, after;

	make_volume(v, 128 * MIB);
	put(v, "DATA", "file", 1, 10);
	assert_int_equal(h2_pfs_snapshot(v->fs, "DATA", "snap", NULL), 0);
	put(v, "DATA", "file", 100, 12);
	put(v, "DATA", "new", 200, 12);
	before = info_of(v, "DATA");
	assert_int_equal(h2_pfs_rollback(v->fs, "DATA", "snap", "former", NULL), 0);
	after = info_of(v, "DATA");
	assert_int_equal(after.key, before.key);
	assert_true(same_uuid(&before.meta.pfs_fsid, &after.meta.pfs_fsid));
	assert_true(same_uuid(&before.meta.pfs_clid, &after.meta.pfs_clid));
	assert_int_equal(after.meta.pfs_subtype, 0);
	assert_true(after.meta.pfs_lsnap_tid >= info_of(v, "snap").ref.modify_tid);
	assert_int_equal(info_of(v, "former").meta.pfs_subtype, 1);
	expect(v, "DATA", "file", 1, 10);
	expect_no(v, "DATA", "new");
	expect(v, "former", "file", 100, 12);
	expect(v, "former", "new", 200, 12);
	put(v, "DATA", "file", 300, 10);
	put(v, "DATA", "third", 400, 10);
	assert_int_equal(h2_fs_bulkfree(v->fs, NULL, NULL), 0);
	crash(v);
	expect(v, "DATA", "file", 300, 10);
	expect(v, "snap", "file", 1, 10);
	expect(v, "former", "file", 100, 12);
	/* Without keeping it. */
	assert_int_equal(h2_pfs_rollback(v->fs, "DATA", "snap", NULL, NULL), 0);
	crash(v);
	expect(v, "DATA", "file", 1, 10);
	expect_no(v, "DATA", "third");
	assert_int_equal(count_pfs(v), 4);
	assert_int_equal(h2_pfs_rollback(v->fs, "DATA", "DATA", NULL, NULL), -EINVAL);
	assert_int_equal(h2_pfs_rollback(v->fs, "DATA", "snap", "former", NULL), -EEXIST);
}

/* New files after a rollback must not get numbers that the former contents had: NFS clients. */
static void rollback_does_not_use_inode_numbers_again(void **state)
{
	struct volume *v = *state;
	struct h2_pfs *pfs;
	struct h2_inode *inode;
	uint64_t number;

	make_volume(v, 64 * MIB);
	put(v, "DATA", "a", 1, 1);
	assert_int_equal(h2_pfs_snapshot(v->fs, "DATA", "snap", NULL), 0);
	put(v, "DATA", "b", 1, 1);
	pfs = open_pfs(v, "DATA");
	assert_int_equal(h2_path_lookup(pfs, "b", &inode), 0);
	number = h2_inode_meta(inode)->inum;
	h2_inode_put(inode);
	h2_pfs_put(pfs);
	assert_int_equal(h2_pfs_rollback(v->fs, "DATA", "snap", NULL, NULL), 0);
	put(v, "DATA", "c", 1, 1);
	pfs = open_pfs(v, "DATA");
	assert_int_equal(h2_path_lookup(pfs, "c", &inode), 0);
	assert_true(h2_inode_meta(inode)->inum > number);
	h2_inode_put(inode);
	h2_pfs_put(pfs);
}

/* Who has it open sees what it had, and cannot change it. */
static void an_open_pfs_can_be_rolled_back(void **state)
{
	struct volume *v = *state;
	struct h2_set_attr set = {.valid = H2_SET_MODE, .mode = 0600};
	struct h2_inode *root, *file, *gone;
	struct h2_pfs *pfs, *now;
	uint8_t byte = 0;

	make_volume(v, 64 * MIB);
	put(v, "DATA", "file", 1, 3);
	assert_int_equal(h2_pfs_snapshot(v->fs, "DATA", "snap", NULL), 0);
	pfs = open_pfs(v, "DATA");
	put_file(pfs, "file", 10, 5);
	put_file(pfs, "new", 20, 2);
	put_file(pfs, "gone", 30, 2);
	assert_int_equal(h2_inode_get(pfs, H2_INUM_ROOT, &root), 0);
	assert_int_equal(h2_path_lookup(pfs, "file", &file), 0);
	assert_int_equal(h2_unlink(root, "gone", 4, &gone), 0);
	assert_int_equal(h2_pfs_rollback(v->fs, "DATA", "snap", "kept", NULL), -EBUSY);
	assert_int_equal(h2_pfs_rollback_open(v->fs, "DATA", "snap", "kept", NULL), 0);
	/* The old object. */
	expect_file(pfs, "file", 10, 5);
	expect_file(pfs, "new", 20, 2);
	assert_int_equal(h2_file_write(file, 0, &byte, 1, 0), -ESTALE);
	assert_int_equal(h2_file_write(gone, 0, &byte, 1, 0), -ESTALE);
	assert_int_equal(h2_inode_set_attr(file, &set), -ESTALE);
	assert_int_equal(h2_inode_set_attr(root, &set), -ESTALE);
	assert_int_equal(h2_unlink(root, "new", 3, NULL), -ESTALE);
	assert_int_equal(h2_rename(root, "new", 3, root, "x", 1, 0, NULL), -ESTALE);
	assert_int_equal(h2_link(root, "x", 1, file), -ESTALE);
	assert_int_equal(h2_destroy_inode(pfs, 99999), -ESTALE);
	/* The new one. */
	now = open_pfs(v, "DATA");
	assert_ptr_not_equal(now, pfs);
	expect_file(now, "file", 1, 3);
	expect_no_file(now, "new");
	put_file(now, "later", 40, 2);
	h2_inode_put(gone);
	h2_inode_put(file);
	h2_inode_put(root);
	h2_pfs_put(pfs);
	for (unsigned i = 0; i < 6; i++) {
		put_file(now, "file", 50 + i, 3);
		assert_int_equal(h2_fs_sync(v->fs), 0);
	}
	/* Once more, with nothing kept. */
	assert_int_equal(h2_pfs_rollback_open(v->fs, "DATA", "kept", NULL, NULL), 0);
	h2_pfs_put(now);
	assert_int_equal(h2_fs_bulkfree(v->fs, NULL, NULL), 0);
	crash(v);
	expect(v, "DATA", "file", 10, 5);
	expect(v, "DATA", "new", 20, 2);
	expect_no(v, "DATA", "later");
	expect_no(v, "DATA", "gone");
	expect(v, "snap", "file", 1, 3);
	/* Numbers go on behind the highest of all. */
	put(v, "DATA", "after", 60, 1);
	now = open_pfs(v, "DATA");
	assert_int_equal(h2_path_lookup(now, "after", &file), 0);
	assert_true(h2_inode_meta(file)->inum >= 1024 + 4);
	h2_inode_put(file);
	h2_pfs_put(now);
}

#define PFS_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* What the failed commit would have written is in memory only, and is found there. */
static void reading_goes_on_after_a_rollback_that_cannot_be_written(void **state)
{
	struct volume *v = *state;
	struct h2_inode *inode;
	struct h2_pfs *pfs;
	char name[16];

	make_volume(v, 256 * MIB);
	put(v, "DATA", "file", 1, 1);
	assert_int_equal(h2_pfs_snapshot(v->fs, "DATA", "snap", NULL), 0);
	pfs = open_pfs(v, "DATA");
	for (unsigned i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		put_file(pfs, name, i, 0);
	}
	assert_int_equal(h2_fs_sync(v->fs), 0);
	put_file(pfs, "more", 5, 0);
	h2_sim_set_fault(v->disks.sims[0], H2_SIM_WRITE, H2_SIM_FAIL, 0, UINT64_MAX, -EIO);
	assert_int_not_equal(h2_pfs_rollback_open(v->fs, "DATA", "snap", NULL, NULL), 0);
	for (unsigned i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		assert_int_equal(h2_path_lookup(pfs, name, &inode), 0);
		h2_inode_put(inode);
	}
	h2_pfs_put(pfs);
	h2_fs_abandon(v->fs);
	v->fs = NULL;
	h2_sim_set_fault(v->disks.sims[0], H2_SIM_WRITE, H2_SIM_FAIL, 0, 0, 0);
	disks_close(&v->disks);
	open_fs(v);
}

/* What is in memory counts as if it were all new, but not against who would be right after a commit. */
static void quotas_refuse_only_what_is_too_much(void **state)
{
	static uint8_t bytes[3 * MIB];
	struct volume *v = *state;
	const struct h2_new file = {
		.type = H2_OBJECT_FILE,
		.mode = 0644,
		.comp_algo = H2_INHERIT,
		.check_algo = H2_INHERIT,
	};
	const struct h2_set_attr quota = {
		.valid = H2_SET_QUOTA, .data_quota = 5 * MIB, .inode_quota = 60};
	struct h2_inode *root, *inode[80];
	struct h2_pfs *pfs;
	char name[16];
	uint64_t random = 5;
	unsigned n = 0;
	int err = 0;

	make_volume(v, 128 * MIB);
	set_root(v, "DATA", &quota);
	pfs = open_pfs(v, "DATA");
	assert_int_equal(h2_inode_get(pfs, H2_INUM_ROOT, &root), 0);
	for (; n < 40; n++) {
		snprintf(name, sizeof(name), "%u", n);
		assert_int_equal(h2_create(root, name, strlen(name), &file, &inode[n]), 0);
	}
	assert_int_equal(h2_fs_sync(v->fs), 0);
	for (unsigned i = 0; i < 40; i++) {
		const struct h2_set_attr mode = {.valid = H2_SET_MODE, .mode = 0600};

		assert_int_equal(h2_inode_set_attr(inode[i], &mode), 0);
	}
	for (; n < LENGTH_OF(inode) && !err; n += err == 0) {
		snprintf(name, sizeof(name), "%u", n);
		err = h2_create(root, name, strlen(name), &file, &inode[n]);
	}
	assert_int_equal(err, -EDQUOT);
	assert_in_range(n, 58, 60);

	for (uint32_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)unit_random(&random);
	for (unsigned round = 0; round < 3; round++) {
		bytes[0]++;
		assert_int_equal(h2_file_write(inode[0], 0, bytes, sizeof(bytes), 0), sizeof(bytes));
	}
	assert_true(h2_file_write(inode[1], 0, bytes, sizeof(bytes), 0) < (ssize_t)sizeof(bytes));
	for (unsigned i = 0; i < n; i++)
		h2_inode_put(inode[i]);
	h2_inode_put(root);
	h2_pfs_put(pfs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PFS_TEST(a_new_pfs_is_durable_and_as_bs_10_2_has_it),
		PFS_TEST(a_new_pfs_has_the_ids_it_is_given),
		PFS_TEST(labels_that_cannot_be_are_refused),
		PFS_TEST(nothing_happens_on_a_filesystem_for_reading),
		PFS_TEST(there_can_be_many),
		PFS_TEST(a_deleted_pfs_is_gone_and_its_storage_comes_back),
		PFS_TEST(what_was_written_and_deleted_in_one_mount_comes_back),
		PFS_TEST(a_pfs_in_use_and_the_last_one_stay),
		PFS_TEST(a_snapshot_can_be_deleted_on_a_full_volume),
		PFS_TEST(a_renamed_pfs_has_what_it_had),
		PFS_TEST(a_snapshot_is_its_origin_at_that_moment),
		PFS_TEST(a_snapshot_is_durable_when_it_is_there),
		PFS_TEST(snapshots_of_anything),
		PFS_TEST(a_snapshot_costs_the_same_however_much_there_is),
		PFS_TEST(a_snapshot_does_not_have_removed_files),
		PFS_TEST(rollback_gives_the_snapshots_contents),
		PFS_TEST(rollback_does_not_use_inode_numbers_again),
		PFS_TEST(an_open_pfs_can_be_rolled_back),
		PFS_TEST(quotas_refuse_only_what_is_too_much),
		PFS_TEST(reading_goes_on_after_a_rollback_that_cannot_be_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
