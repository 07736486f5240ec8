/* Snapshots of directories: what is in them, and what is not. */
#include <pthread.h>
#include <stdatomic.h>

#include "filesystem.h"

#define PATH_SIZE 4096

static struct h2_inode *look_up(struct h2_pfs *pfs, const char *path)
{
	struct h2_inode *inode = NULL;
	int err = h2_path_lookup(pfs, path, &inode);

	if (err)
		fail_msg("%s: %s", path, strerror(-err));
	return inode;
}

/* Make an object in a directory; the caller gets a reference. */
static struct h2_inode *make(struct h2_pfs *pfs, const char *dir, const char *name, uint8_t type)
{
	struct h2_new new_ = {
		.type = type,
		.mode = 0750,
		.uid = 7,
		.gid = 8,
		.target = type == H2_OBJECT_SYMLINK ? "somewhere" : NULL,
		.target_len = type == H2_OBJECT_SYMLINK ? 9 : 0,
		.comp_algo = H2_INHERIT,
		.check_algo = H2_INHERIT,
	};
	struct h2_inode *parent = look_up(pfs, dir), *inode = NULL;

	assert_int_equal(h2_create(parent, name, strlen(name), &new_, &inode), 0);
	h2_inode_put(parent);
	return inode;
}

static void make_dir(struct h2_pfs *pfs, const char *dir, const char *name)
{
	h2_inode_put(make(pfs, dir, name, H2_OBJECT_DIRECTORY));
}

static void make_file(struct h2_pfs *pfs, const char *dir, const char *name, const char *text)
{
	struct h2_inode *inode = make(pfs, dir, name, H2_OBJECT_FILE);

	assert_int_equal(h2_file_write(inode, 0, text, strlen(text), 0), strlen(text));
	h2_inode_put(inode);
}

static void link_file(struct h2_pfs *pfs, const char *path, const char *dir, const char *name)
{
	struct h2_inode *inode = look_up(pfs, path), *parent = look_up(pfs, dir);

	assert_int_equal(h2_link(parent, name, strlen(name), inode), 0);
	h2_inode_put(inode);
	h2_inode_put(parent);
}

static int try_snapshot(struct volume *v, const char *path, const char *label)
{
	struct h2_pfs *pfs = open_pfs(v, "DATA");
	struct h2_inode *dir = look_up(pfs, path);
	int err = h2_pfs_snapshot_directory(dir, label, NULL, NULL);

	h2_inode_put(dir);
	h2_pfs_put(pfs);
	return err;
}

/* ---- comparing ---- */

struct names { /* found in both; of files in both: how many names each has */
	unsigned count;
	struct {
		uint64_t inum;
		unsigned names, nlink;
	} file[4096];
	unsigned files;
};

static void note_name(struct names *names, const struct h2_attr *attr)
{
	unsigned i = 0;

	names->count++;
	if ((attr->mode & 0170000) == 0040000)
		return;
	while (i < names->files && names->file[i].inum != attr->inum)
		i++;
	assert_true(i < LENGTH_OF(names->file));
	if (i == names->files) {
		names->files++;
		names->file[i].inum = attr->inum;
		names->file[i].names = 0;
		names->file[i].nlink = attr->nlink;
	}
	names->file[i].names++;
}

static void expect_same_contents(struct h2_inode *a, struct h2_inode *b, uint64_t size)
{
	uint8_t *x = unit_alloc(CHUNK), *y = unit_alloc(CHUNK);

	for (uint64_t at = 0; at < size; at += CHUNK) {
		ssize_t n = h2_file_read(a, at, x, CHUNK);

		assert_true(n > 0);
		assert_int_equal(h2_file_read(b, at, y, CHUNK), n);
		assert_memory_equal(x, y, (size_t)n);
	}
	free(x);
	free(y);
}

/* What is in b is what is in a. top: a is the directory that has become the root b. */
static void expect_same(struct h2_inode *a, struct h2_inode *b, bool top, struct names *names)
{
	struct h2_attr x, y;
	struct h2_dir_scan *scan;
	struct h2_dirent ent, other;

	h2_inode_attr(a, &x);
	h2_inode_attr(b, &y);
	if (top)
		assert_int_equal(y.inum, 1);
	else
		assert_int_equal(x.inum, y.inum);
	assert_int_equal(x.mode, y.mode);
	assert_int_equal(x.uid, y.uid);
	assert_int_equal(x.gid, y.gid);
	assert_int_equal(x.size, y.size);
	assert_int_equal(x.mtime_us, y.mtime_us);
	assert_int_equal(x.ctime_us, y.ctime_us);
	assert_int_equal(x.btime_us, y.btime_us);
	if (!top)
		note_name(names, &y);
	if ((x.mode & 0170000) == 0100000)
		expect_same_contents(a, b, x.size);
	if ((x.mode & 0170000) != 0040000)
		return;
	assert_int_equal(h2_dir_scan_new(a, 0, &scan), 0);
	while (h2_dir_scan_next(scan, &ent) == 0) {
		struct h2_inode *c, *d;
		uint64_t dir = h2_inode_meta(b)->inum;

		assert_int_equal(h2_dir_lookup(b, ent.name, ent.name_len, &other), 0);
		assert_int_equal(h2_dirent_get(a, &ent, &c), 0);
		assert_int_equal(h2_dirent_get(b, &other, &d), 0);
		expect_same(c, d, false, names);
		if (ent.type == H2_OBJECT_DIRECTORY)
			assert_int_equal(h2_inode_meta(d)->iparent, dir);
		h2_inode_put(c);
		h2_inode_put(d);
	}
	h2_dir_scan_free(scan);
	assert_int_equal(h2_dir_scan_new(b, 0, &scan), 0);
	while (h2_dir_scan_next(scan, &ent) == 0)
		assert_int_equal(h2_dir_lookup(a, ent.name, ent.name_len, &other), 0);
	h2_dir_scan_free(scan);
}

/* Returns how many names there are. */
static unsigned expect_snapshot(struct volume *v, const char *path, const char *label)
{
	struct h2_pfs *pfs = open_pfs(v, "DATA"), *snapshot = open_pfs(v, label);
	struct h2_inode *dir = look_up(pfs, path), *root = look_up(snapshot, "/");
	struct names *names = unit_alloc(sizeof(*names));
	unsigned count;

	expect_same(dir, root, true, names);
	for (unsigned i = 0; i < names->files; i++)
		assert_int_equal(names->file[i].names, names->file[i].nlink);
	count = names->count;
	free(names);
	h2_inode_put(dir);
	h2_inode_put(root);
	h2_pfs_put(pfs);
	h2_pfs_put(snapshot);
	return count;
}

/* ---- tests ---- */

static void make_tree(struct volume *v)
{
	struct h2_pfs *pfs = open_pfs(v, "DATA");
	char name[200];

	make_dir(pfs, "/", "home");
	make_dir(pfs, "/home", "ann");
	make_dir(pfs, "/home/ann", "docs");
	make_dir(pfs, "/home/ann/docs", "deep");
	make_dir(pfs, "/home", "bob");
	make_file(pfs, "/home/ann", "small", "a few bytes");
	make_file(pfs, "/home/ann/docs/deep", "text", "far down");
	make_file(pfs, "/home/bob", "his", "not in it");
	h2_inode_put(make(pfs, "/home/ann", "link", H2_OBJECT_SYMLINK));
	h2_inode_put(make(pfs, "/home/ann/docs", "pipe", H2_OBJECT_FIFO));
	/* Names that need a block of their own. */
	for (unsigned i = 0; i < 3; i++) {
		memset(name, 'a' + (int)i, sizeof(name));
		name[199] = '\0';
		make_file(pfs, i ? "/home/ann/docs" : "/home/ann", name, name);
	}
	h2_pfs_put(pfs);
	put(v, "DATA", "big", 5, 20);
	pfs = open_pfs(v, "DATA");
	link_file(pfs, "/big", "/home/ann", "big");
	h2_pfs_put(pfs);
}

static void it_has_what_is_below_the_directory_and_nothing_else(void **state)
{
	struct volume *v = *state;
	struct h2_pfs_info info, data;
	struct h2_pfs *pfs;

	make_volume(v, 256 * MIB);
	make_tree(v);
	data = info_of(v, "DATA");
	assert_int_equal(try_snapshot(v, "/home/ann", "ann"), 0);
	crash(v);
	assert_int_equal(expect_snapshot(v, "/home/ann", "ann"), 10);
	expect_no(v, "ann", "/home");
	expect_no(v, "ann", "/his");
	info = info_of(v, "ann");
	assert_int_equal(info.meta.inum, 1);
	assert_int_equal(info.meta.iparent, 1);
	assert_int_equal(info.meta.op_flags, 2);
	assert_int_equal(info.meta.pfs_type, 6);
	assert_int_equal(info.meta.pfs_subtype, 1);
	assert_int_equal(info.meta.nlinks, 1);
	assert_int_equal(info.meta.mode, 0750);
	assert_int_equal(info.ref.flags & 1, 1);
	assert_int_equal(info.ref.inode_count, 10);
	assert_true(info.meta.pfs_inum >= 1024 + 13);
	assert_memory_not_equal(&info.meta.pfs_clid, &data.meta.pfs_clid, 16);
	/* Both go on, each for itself. */
	pfs = open_pfs(v, "ann");
	make_file(pfs, "/docs", "new", "only here");
	put_file(pfs, "big", 99, 20);
	h2_pfs_put(pfs);
	put(v, "DATA", "other", 6, 3);
	expect(v, "DATA", "big", 5, 20);
	expect_no(v, "DATA", "/home/ann/docs/new");
	crash(v);
	expect(v, "DATA", "big", 5, 20);
	assert_int_equal(h2_pfs_delete(v->fs, "ann"), 0);
	assert_int_equal(h2_fs_bulkfree(v->fs, NULL, NULL), 0);
	expect(v, "DATA", "big", 5, 20);
}

/* MF 6.7: of each file as many as there are names in the PFS. */
static void link_counts_are_those_of_the_new_pfs(void **state)
{
	struct volume *v = *state;
	struct h2_attr attr;
	struct h2_inode *inode;
	struct h2_pfs *pfs;

	make_volume(v, 256 * MIB);
	pfs = open_pfs(v, "DATA");
	make_dir(pfs, "/", "in");
	make_dir(pfs, "/in", "sub");
	make_dir(pfs, "/", "out");
	make_file(pfs, "/in", "both-inside", "1");
	link_file(pfs, "/in/both-inside", "/in/sub", "both-inside");
	link_file(pfs, "/in/both-inside", "/in/sub", "third");
	make_file(pfs, "/out", "begun-outside", "2");
	link_file(pfs, "/out/begun-outside", "/in/sub", "one");
	link_file(pfs, "/out/begun-outside", "/in/sub", "two");
	make_file(pfs, "/in/sub", "begun-inside", "3");
	link_file(pfs, "/in/sub/begun-inside", "/out", "gone");
	h2_pfs_put(pfs);
	assert_int_equal(try_snapshot(v, "/in", "snap"), 0);
	crash(v);
	assert_int_equal(expect_snapshot(v, "/in", "snap"), 7);
	pfs = open_pfs(v, "snap");
	inode = look_up(pfs, "/sub/one");
	h2_inode_attr(inode, &attr);
	assert_int_equal(attr.nlink, 2);
	/* Its parent was not in the directory. */
	assert_int_not_equal(h2_inode_meta(inode)->iparent, 1);
	h2_inode_put(inode);
	inode = look_up(pfs, "/sub/begun-inside");
	h2_inode_attr(inode, &attr);
	assert_int_equal(attr.nlink, 1);
	h2_inode_put(inode);
	inode = look_up(pfs, "/both-inside");
	h2_inode_attr(inode, &attr);
	assert_int_equal(attr.nlink, 3);
	h2_inode_put(inode);
	h2_pfs_put(pfs);
	/* And the origin's are as they were. */
	pfs = open_pfs(v, "DATA");
	inode = look_up(pfs, "/in/sub/one");
	h2_inode_attr(inode, &attr);
	assert_int_equal(attr.nlink, 3);
	h2_inode_put(inode);
	h2_pfs_put(pfs);
}

/* Several batches, trees of several levels, and in the root both names and inodes. */
static void large_directories_and_deep_ones(void **state)
{
	struct volume *v = *state;
	char name[64], dir[PATH_SIZE] = "/top";
	struct h2_pfs *pfs;

	make_volume(v, 512 * MIB);
	pfs = open_pfs(v, "DATA");
	make_dir(pfs, "/", "top");
	for (unsigned i = 0; i < 1500; i++) {
		snprintf(name, sizeof(name), "file-%u", i);
		make_file(pfs, "/top", name, name);
	}
	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		make_dir(pfs, dir, name);
		snprintf(dir + strlen(dir), sizeof(dir) - strlen(dir), "/d%u", i);
		make_file(pfs, dir, "f", dir);
	}
	h2_pfs_put(pfs);
	assert_int_equal(try_snapshot(v, "/top", "top"), 0);
	crash(v);
	assert_int_equal(expect_snapshot(v, "/top", "top"), 1500 + 200);
	/* A snapshot of a directory of that. */
	pfs = open_pfs(v, "top");
	{
		struct h2_inode *d = look_up(pfs, "/d0/d1");

		assert_int_equal(h2_pfs_snapshot_directory(d, "d1", NULL, NULL), 0);
		h2_inode_put(d);
	}
	h2_pfs_put(pfs);
	assert_int_equal(expect_snapshot(v, "/top/d0/d1", "d1"), 2 * 98 + 1);
	/* And of an empty one. */
	pfs = open_pfs(v, "DATA");
	make_dir(pfs, "/", "empty");
	h2_pfs_put(pfs);
	assert_int_equal(try_snapshot(v, "/empty", "empty"), 0);
	assert_int_equal(expect_snapshot(v, "/empty", "empty"), 0);
	assert_int_equal(info_of(v, "empty").ref.inode_count, 0);
}

/* What the origin drops is not used again, though it was written since opening. */
static void the_origin_cannot_harm_it(void **state)
{
	struct volume *v = *state;
	struct h2_pfs *pfs;
	struct h2_inode *root;

	v->pack = true;
	make_volume(v, 128 * MIB);
	pfs = open_pfs(v, "DATA");
	make_dir(pfs, "/", "top");
	put_file(pfs, "big", 5, 200);
	link_file(pfs, "/big", "/top", "big");
	for (unsigned i = 0; i < 300; i++) {
		char name[32];

		snprintf(name, sizeof(name), "file-%u", i);
		make_file(pfs, "/top", name, name);
	}
	assert_int_equal(h2_fs_sync(v->fs), 0);
	assert_int_equal(try_snapshot(v, "/top", "top"), 0);
	root = look_up(pfs, "/top");
	for (unsigned i = 0; i < 300; i++) {
		char name[32];

		snprintf(name, sizeof(name), "file-%u", i);
		assert_int_equal(h2_unlink(root, name, strlen(name), NULL), 0);
	}
	h2_inode_put(root);
	put_file(pfs, "big", 6, 200);
	for (unsigned i = 0; i < 6; i++) {
		put_file(pfs, "small", i, 1);
		assert_int_equal(h2_fs_sync(v->fs), 0);
	}
	fill_up(pfs, 7);
	h2_pfs_put(pfs);
	crash(v);
	expect(v, "top", "big", 5, 200);
	pfs = open_pfs(v, "top");
	for (unsigned i = 0; i < 300; i++) {
		char path[32], text[32] = "";
		struct h2_inode *inode;

		snprintf(path, sizeof(path), "/file-%u", i);
		inode = look_up(pfs, path);
		assert_true(h2_file_read(inode, 0, text, sizeof(text)) > 0);
		assert_string_equal(text, path + 1);
		h2_inode_put(inode);
	}
	h2_pfs_put(pfs);
}

static bool stop_at(void *user, uint64_t bytes, uint64_t expected)
{
	unsigned *calls = user;

	(void)bytes;
	(void)expected;
	return (*calls)-- > 0;
}

static void what_fails_leaves_nothing(void **state)
{
	struct volume *v = *state;
	unsigned calls = 2, late = 70;
	struct h2_fs_stats stats;
	uint64_t lost;
	struct h2_pass_options options = {.progress = stop_at, .user = &calls};
	struct h2_inode *dir, *file;
	struct h2_pfs *pfs;
	char name[32];

	make_volume(v, 256 * MIB);
	make_tree(v);
	pfs = open_pfs(v, "DATA");
	for (unsigned i = 0; i < 600; i++) {
		snprintf(name, sizeof(name), "file-%u", i);
		make_file(pfs, "/home/ann", name, name);
	}
	assert_int_equal(try_snapshot(v, "/home/ann", "DATA"), -EEXIST);
	assert_int_equal(try_snapshot(v, "/home/ann", "a/b"), -EINVAL);
	assert_int_equal(try_snapshot(v, "/big", "new"), -ENOTDIR);
	dir = look_up(pfs, "/home/ann");
	assert_int_equal(h2_pfs_snapshot_directory(dir, "new", NULL, &options), -EINTR);
	/* Inodes that it has written are told to be lost, so that a scan is worth it. */
	h2_fs_get_stats(v->fs, &stats);
	lost = stats.lost_bytes;
	options.user = &late;
	assert_int_equal(h2_pfs_snapshot_directory(dir, "new", NULL, &options), -EINTR);
	h2_fs_get_stats(v->fs, &stats);
	assert_true(stats.lost_bytes >= lost + 200 * H2_INODE_SIZE);
	h2_inode_put(dir);
	assert_int_equal(count_pfs(v), 2);
	dir = look_up(pfs, "/home/bob");
	file = look_up(pfs, "/home");
	assert_int_equal(h2_unlink(dir, "his", 3, NULL), 0);
	assert_int_equal(h2_rmdir(file, "bob", 3, NULL), 0);
	assert_int_equal(h2_pfs_snapshot_directory(dir, "new", NULL, NULL), -ENOENT);
	h2_inode_put(dir);
	h2_inode_put(file);
	h2_pfs_put(pfs);
	/* The root: as h2_pfs_snapshot(). */
	assert_int_equal(try_snapshot(v, "/", "all"), 0);
	expect(v, "all", "big", 5, 20);
	assert_int_equal(count_pfs(v), 3);
}

/* What one that came to nothing had written comes back by bulk free. */
static void what_was_written_in_vain_comes_back(void **state)
{
	struct volume *v = *state;
	unsigned calls = 10;
	struct h2_pass_options options = {.progress = stop_at, .user = &calls};
	struct h2_fs_stats before, after;
	struct h2_bulkfree_result result;
	struct h2_inode *dir;
	struct h2_pfs *pfs;
	char name[32];

	make_volume(v, 256 * MIB);
	pfs = open_pfs(v, "DATA");
	make_dir(pfs, "/", "dir");
	make_file(pfs, "/", "first", "x");
	for (unsigned i = 0; i < 1500; i++) {
		snprintf(name, sizeof(name), "file-%u", i);
		make_file(pfs, "/dir", name, name);
		link_file(pfs, i % 2 ? "/first" : "/dir/file-0", "/", name);
	}
	assert_int_equal(h2_fs_sync(v->fs), 0);
	assert_int_equal(h2_fs_bulkfree(v->fs, NULL, NULL), 0);
	assert_int_equal(h2_fs_bulkfree(v->fs, NULL, &result), 0);
	h2_fs_get_stats(v->fs, &before);
	for (unsigned i = 0; i < 10; i++) {
		calls = 10;
		dir = look_up(pfs, "/dir");
		assert_int_equal(h2_pfs_snapshot_directory(dir, "new", NULL, &options), -EINTR);
		h2_inode_put(dir);
	}
	h2_pfs_put(pfs);
	assert_int_equal(h2_fs_bulkfree(v->fs, NULL, NULL), 0);
	assert_int_equal(h2_fs_bulkfree(v->fs, NULL, &result), 0);
	h2_fs_get_stats(v->fs, &after);
	assert_true(after.free_bytes + 256 * 1024 >= before.free_bytes);
}

/* On a full filesystem it is refused, and the room that it took comes back. */
static void without_room_it_is_refused(void **state)
{
	struct volume *v = *state;
	struct h2_pfs *pfs;
	uint64_t before;
	char name[32];

	make_volume(v, 64 * MIB);
	pfs = open_pfs(v, "DATA");
	make_dir(pfs, "/", "top");
	for (unsigned i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "file-%u", i);
		make_file(pfs, "/top", name, name);
	}
	fill_up(pfs, 1);
	h2_pfs_put(pfs);
	assert_int_equal(h2_fs_sync(v->fs), 0);
	before = free_bytes(v);
	assert_int_equal(try_snapshot(v, "/top", "top"), -ENOSPC);
	assert_int_equal(count_pfs(v), 2);
	assert_int_equal(h2_fs_bulkfree(v->fs, NULL, NULL), 0);
	assert_true(free_bytes(v) + MIB / 4 >= before);
	crash(v);
	assert_int_equal(count_pfs(v), 2);
}

/* ---- beside writers ---- */

struct writer {
	struct h2_pfs *pfs;
	atomic_bool stop;
};

/* Pairs of files that are always renamed together: (a.N, b.N) to (a.N+1, b.N+1), a first. */
static void *write_on(void *user)
{
	struct writer *w = user;
	struct h2_inode *dir = look_up(w->pfs, "/top");
	char from[32], to[32];

	for (unsigned i = 0; !atomic_load(&w->stop); i++) {
		for (char c = 'a'; c <= 'b'; c++) {
			snprintf(from, sizeof(from), "%c.%u", c, i);
			snprintf(to, sizeof(to), "%c.%u", c, i + 1);
			assert_int_equal(h2_rename(dir, from, strlen(from), dir, to, strlen(to), 0,
						   NULL),
					 0);
		}
		put_file(w->pfs, "churn", i, 3);
	}
	h2_inode_put(dir);
	return NULL;
}

static void it_is_of_one_moment(void **state)
{
	struct volume *v = *state;
	struct writer w = {.stop = false};
	pthread_t thread;
	char label[16], name[32];

	make_volume(v, 512 * MIB);
	w.pfs = open_pfs(v, "DATA");
	make_dir(w.pfs, "/", "top");
	make_file(w.pfs, "/top", "a.0", "a");
	make_file(w.pfs, "/top", "b.0", "b");
	for (unsigned i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "file-%u", i);
		make_file(w.pfs, "/top", name, name);
	}
	assert_int_equal(pthread_create(&thread, NULL, write_on, &w), 0);
	for (unsigned i = 0; i < 10; i++) {
		snprintf(label, sizeof(label), "snap-%u", i);
		assert_int_equal(try_snapshot(v, "/top", label), 0);
	}
	atomic_store(&w.stop, true);
	pthread_join(thread, NULL);
	h2_pfs_put(w.pfs);
	assert_int_equal(h2_fs_bulkfree(v->fs, NULL, NULL), 0);
	crash(v);
	for (unsigned i = 0; i < 10; i++) {
		struct h2_dir_scan *scan;
		struct h2_inode *root;
		struct h2_dirent ent;
		unsigned a = 0, b = 0, count = 0;

		snprintf(label, sizeof(label), "snap-%u", i);
		w.pfs = open_pfs(v, label);
		root = look_up(w.pfs, "/");
		assert_int_equal(h2_dir_scan_new(root, 0, &scan), 0);
		while (h2_dir_scan_next(scan, &ent) == 0) {
			if (ent.name[1] == '.')
				*(ent.name[0] == 'a' ? &a : &b) = (unsigned)atoi(ent.name + 2);
			count++;
		}
		h2_dir_scan_free(scan);
		assert_int_equal(count, 502);
		assert_true(a == b || a == b + 1);
		h2_inode_put(root);
		h2_pfs_put(w.pfs);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(it_has_what_is_below_the_directory_and_nothing_else),
		TEST(link_counts_are_those_of_the_new_pfs),
		TEST(large_directories_and_deep_ones),
		TEST(the_origin_cannot_harm_it),
		TEST(what_fails_leaves_nothing),
		TEST(what_was_written_in_vain_comes_back),
		TEST(without_room_it_is_refused),
		TEST(it_is_of_one_moment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
