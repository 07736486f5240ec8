/*
 * What differs between PFSs. The expected differences come from walking both completely through the
 * public API, or are written out.
 */
#include <hammer2/diff.h>
#include <time.h>

#include "filesystem.h"
#include "fixture.h"

/* ---- the differences as lines: sorted by path, as they come ---- */

struct lines {
	char **text;
	size_t count;
	char *last; /* path of the entry before */
};

static void add_line(struct lines *lines, char *text)
{
	lines->text = realloc(lines->text, (lines->count + 1) * sizeof(*lines->text));
	assert_non_null(lines->text);
	lines->text[lines->count++] = text;
}

__attribute__((format(printf, 2, 3))) static void add(struct lines *lines, const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	assert_true(vasprintf(&text, format, args) >= 0);
	va_end(args);
	add_line(lines, text);
}

static void free_lines(struct lines *lines)
{
	for (size_t i = 0; i < lines->count; i++)
		free(lines->text[i]);
	free(lines->text);
	free(lines->last);
	*lines = (struct lines){0};
}

/* By components: a directory comes before what is in it, and that before its next neighbour. */
static int compare_paths(const char *a, const char *b)
{
	for (; *a && *a == *b; a++, b++)
		;
	return (*a == '/' ? 1 : (unsigned char)*a) - (*b == '/' ? 1 : (unsigned char)*b);
}

static const char *what_text(unsigned what)
{
	static const char *const texts[] = {"nothing", "contents", "attributes", "both"};

	assert_true(what < LENGTH_OF(texts));
	return texts[what];
}

static int take(void *user, const struct h2_diff_entry *e)
{
	struct lines *lines = user;

	assert_true(e->path[0] == '/');
	if (lines->last)
		assert_true(compare_paths(lines->last, e->path) <= 0);
	free(lines->last);
	lines->last = strdup(e->path);
	assert_true((e->kind == H2_DIFF_RENAMED) == (e->new_path != NULL));
	assert_true((e->kind == H2_DIFF_CHANGED) == (e->what != 0));
	switch (e->kind) {
	case H2_DIFF_REMOVED:
		add(lines, "- %s", e->path);
		break;
	case H2_DIFF_RENAMED:
		add(lines, "R %s -> %s", e->path, e->new_path);
		break;
	case H2_DIFF_ADDED:
		add(lines, "+ %s", e->path);
		break;
	case H2_DIFF_CHANGED:
		add(lines, "M %s %s", e->path, what_text(e->what));
		break;
	}
	return 0;
}

static struct lines diff(struct volume *v, const char *from, const char *to)
{
	struct lines lines = {0};

	assert_int_equal(h2_diff(v->fs, from, to, NULL, take, &lines), 0);
	return lines;
}

static void expect_lines(struct lines *lines, const char *const *expected, size_t count)
{
	for (size_t i = 0; i < lines->count || i < count; i++) {
		const char *found = i < lines->count ? lines->text[i] : "(the end)";
		const char *want = i < count ? expected[i] : "(the end)";

		if (strcmp(found, want) != 0) {
			for (size_t j = 0; j < lines->count; j++)
				print_message("found: %s\n", lines->text[j]);
			for (size_t j = 0; j < count; j++)
				print_message("expected: %s\n", expected[j]);
		}
		assert_string_equal(found, want);
	}
	free_lines(lines);
}

#define EXPECT_DIFF(v, from, to, ...)                                                              \
	do {                                                                                       \
		static const char *const expected_[] = {"", ##__VA_ARGS__};                        \
		struct lines lines_ = diff(v, from, to);                                           \
		expect_lines(&lines_, expected_ + 1, LENGTH_OF(expected_) - 1);                    \
	} while (0)

/* ---- changing things by paths ---- */

static struct h2_inode *at(struct h2_pfs *pfs, const char *path)
{
	struct h2_inode *inode;

	assert_int_equal(h2_path_lookup(pfs, path, &inode), 0);
	return inode;
}

/* The directory that a path's last name is in, and that name. */
static struct h2_inode *dir_of(struct h2_pfs *pfs, const char *path, const char **name)
{
	const char *slash = strrchr(path, '/');
	char dir[1024] = "";

	*name = slash ? slash + 1 : path;
	if (slash)
		snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
	return at(pfs, dir);
}

static struct h2_inode *make(struct h2_pfs *pfs, const char *path, uint8_t type)
{
	struct h2_new new_ = {
		.type = type,
		.mode = 0644,
		.comp_algo = H2_INHERIT,
		.check_algo = H2_INHERIT,
		.target = type == H2_OBJECT_SYMLINK ? "target" : NULL,
		.target_len = type == H2_OBJECT_SYMLINK ? 6 : 0,
	};
	const char *name;
	struct h2_inode *dir = dir_of(pfs, path, &name), *inode;

	assert_int_equal(h2_create(dir, name, strlen(name), &new_, &inode), 0);
	h2_inode_put(dir);
	return inode;
}

static void make_dir(struct h2_pfs *pfs, const char *path)
{
	h2_inode_put(make(pfs, path, H2_OBJECT_DIRECTORY));
}

static void write_at(struct h2_pfs *pfs, const char *path, uint64_t offset, const char *text)
{
	struct h2_inode *inode = at(pfs, path);

	assert_int_equal(h2_file_write(inode, offset, text, strlen(text), 0), strlen(text));
	h2_inode_put(inode);
}

static void make_file(struct h2_pfs *pfs, const char *path, const char *text)
{
	h2_inode_put(make(pfs, path, H2_OBJECT_FILE));
	write_at(pfs, path, 0, text);
}

static void set_attr(struct h2_pfs *pfs, const char *path, const struct h2_set_attr *set)
{
	struct h2_inode *inode = at(pfs, path);

	assert_int_equal(h2_inode_set_attr(inode, set), 0);
	h2_inode_put(inode);
}

static void chmod_at(struct h2_pfs *pfs, const char *path, uint32_t mode)
{
	set_attr(pfs, path, &(struct h2_set_attr){.valid = H2_SET_MODE, .mode = mode});
}

static void remove_at(struct h2_pfs *pfs, const char *path)
{
	const char *name;
	struct h2_inode *dir = dir_of(pfs, path, &name);
	int err = h2_unlink(dir, name, strlen(name), NULL);

	if (err == -EISDIR)
		err = h2_rmdir(dir, name, strlen(name), NULL);
	assert_int_equal(err, 0);
	h2_inode_put(dir);
}

static void rename_at(struct h2_pfs *pfs, const char *from, const char *to, unsigned flags)
{
	const char *name, *new_name;
	struct h2_inode *dir = dir_of(pfs, from, &name), *to_dir = dir_of(pfs, to, &new_name);

	assert_int_equal(h2_rename(dir, name, strlen(name), to_dir, new_name, strlen(new_name),
				   flags, NULL),
			 0);
	h2_inode_put(dir);
	h2_inode_put(to_dir);
}

static void link_at(struct h2_pfs *pfs, const char *from, const char *to)
{
	const char *name;
	struct h2_inode *inode = at(pfs, from), *dir = dir_of(pfs, to, &name);

	assert_int_equal(h2_link(dir, name, strlen(name), inode), 0);
	h2_inode_put(dir);
	h2_inode_put(inode);
}

static struct h2_pfs *begin(struct volume *v)
{
	make_volume(v, 256 * MIB);
	return open_pfs(v, "DATA");
}

static void snapshot(struct volume *v, const char *label)
{
	assert_int_equal(h2_pfs_snapshot(v->fs, "DATA", label, NULL), 0);
}

/* ---- what there is to say ---- */

static void nothing_differs_from_itself(void **state)
{
	struct volume *v = *state;
	struct h2_pfs *pfs = begin(v);
	struct lines lines = {0};

	EXPECT_DIFF(v, "DATA", "DATA");
	make_dir(pfs, "dir");
	make_file(pfs, "dir/file", "text");
	EXPECT_DIFF(v, "DATA", "DATA");
	snapshot(v, "snap");
	EXPECT_DIFF(v, "DATA", "snap");
	EXPECT_DIFF(v, "snap", "DATA");
	EXPECT_DIFF(v, "snap", "snap");
	assert_int_equal(h2_diff(v->fs, "DATA", "missing", NULL, take, &lines), -ENOENT);
	assert_int_equal(h2_diff(v->fs, "missing", "DATA", NULL, take, &lines), -ENOENT);
	assert_int_equal(h2_diff(v->fs, "", "", NULL, take, &lines), -ENOENT);
	h2_pfs_put(pfs);
}

static void files_are_added_removed_and_changed(void **state)
{
	struct volume *v = *state;
	struct h2_pfs *pfs = begin(v);

	make_file(pfs, "same", "text");
	make_file(pfs, "old", "text");
	make_file(pfs, "inline", "text");
	make_file(pfs, "mode", "text");
	make_file(pfs, "shrunk", "text");
	make_file(pfs, "both", "text");
	put_file(pfs, "large", 1, 20);
	put_file(pfs, "holes", 1, 20);
	snapshot(v, "snap");
	remove_at(pfs, "old");
	make_file(pfs, "new", "text");
	h2_inode_put(make(pfs, "symlink", H2_OBJECT_SYMLINK));
	h2_inode_put(make(pfs, "fifo", H2_OBJECT_FIFO));
	write_at(pfs, "inline", 1, "i");
	chmod_at(pfs, "mode", 0600);
	set_attr(pfs, "shrunk", &(struct h2_set_attr){.valid = H2_SET_SIZE, .size = 2});
	write_at(pfs, "both", 0, "TEXT");
	chmod_at(pfs, "both", 0600);
	write_at(pfs, "large", 12 * CHUNK + 5, "x");
	{
		struct h2_inode *inode = at(pfs, "holes");

		assert_int_equal(h2_file_allocate(inode,
						  H2_FALLOC_PUNCH_HOLE | H2_FALLOC_KEEP_SIZE,
						  3 * CHUNK, CHUNK),
				 0);
		h2_inode_put(inode);
	}
	EXPECT_DIFF(v, "snap", "DATA", "M / contents", "M /both both", "+ /fifo", "M /holes contents",
		    "M /inline contents", "M /large contents", "M /mode attributes", "+ /new",
		    "- /old", "M /shrunk contents", "+ /symlink");
	EXPECT_DIFF(v, "DATA", "snap", "M / contents", "M /both both", "- /fifo", "M /holes contents",
		    "M /inline contents", "M /large contents", "M /mode attributes", "- /new",
		    "+ /old", "M /shrunk contents", "- /symlink");
	h2_pfs_put(pfs);
}

/* What is written as it was, or stored in another way, is the same. */
static void contents_are_bytes(void **state)
{
	struct volume *v = *state;
	struct h2_set_attr comp = {.valid = H2_SET_COMP, .comp_algo = H2_COMP_ZLIB | 6 << 4};
	struct h2_set_attr time = {.valid = H2_SET_MTIME, .mtime_us = 1000};
	struct h2_pfs *pfs = begin(v);
	struct h2_inode *inode;
	uint8_t *zeros = unit_alloc(2 * CHUNK);

	make_file(pfs, "grown", "text");
	make_file(pfs, "text", "text");
	put_file(pfs, "again", 1, 4);
	make_file(pfs, "zeros", "");
	set_attr(pfs, "zeros", &(struct h2_set_attr){.valid = H2_SET_SIZE, .size = 2 * CHUNK});
	set_attr(pfs, "grown", &time);
	set_attr(pfs, "text", &time);
	set_attr(pfs, "again", &time);
	set_attr(pfs, "zeros", &time);
	snapshot(v, "snap");
	/* It was inline, and is not any more. */
	put_file(pfs, "grown", 1, 1);
	assert_int_equal(h2_fs_sync(v->fs), 0);
	set_attr(pfs, "grown", &(struct h2_set_attr){.valid = H2_SET_SIZE, .size = 0});
	write_at(pfs, "grown", 0, "text");
	write_at(pfs, "text", 0, "text");
	set_attr(pfs, "again", &comp);
	put_file(pfs, "again", 5, 4);
	assert_int_equal(h2_fs_sync(v->fs), 0);
	put_file(pfs, "again", 1, 4);
	inode = at(pfs, "zeros");
	assert_int_equal(h2_file_write(inode, 0, zeros, 2 * CHUNK, 0), 2 * CHUNK);
	h2_inode_put(inode);
	set_attr(pfs, "grown", &time);
	set_attr(pfs, "zeros", &time);
	set_attr(pfs, "again", &time);
	EXPECT_DIFF(v, "snap", "DATA", "M /again attributes", "M /text attributes");
	/* Reading is no change. */
	set_attr(pfs, "zeros", &(struct h2_set_attr){.valid = H2_SET_ATIME, .atime_us = 5});
	EXPECT_DIFF(v, "snap", "DATA", "M /again attributes", "M /text attributes");
	free(zeros);
	h2_pfs_put(pfs);
}

static void directories_are_listed_with_all_that_is_in_them(void **state)
{
	struct volume *v = *state;
	struct h2_pfs *pfs = begin(v);
	char name[256];

	make_dir(pfs, "old");
	make_dir(pfs, "old/sub");
	make_file(pfs, "old/sub/file", "text");
	make_dir(pfs, "stays");
	make_dir(pfs, "empty");
	set_attr(pfs, "empty", &(struct h2_set_attr){.valid = H2_SET_MTIME, .mtime_us = 1000});
	snapshot(v, "snap");
	remove_at(pfs, "old/sub/file");
	remove_at(pfs, "old/sub");
	remove_at(pfs, "old");
	make_dir(pfs, "new");
	make_dir(pfs, "new/sub");
	make_file(pfs, "new/sub/file", "text");
	make_file(pfs, "stays/file", "text");
	memset(name, 'n', 250);
	memcpy(name, "new/", 4);
	name[250] = '\0';
	make_file(pfs, name, "text");
	make_file(pfs, "empty/file", "text");
	remove_at(pfs, "empty/file");
	EXPECT_DIFF(v, "snap", "DATA", "M / contents", "M /empty attributes", "+ /new",
		    "+ /new/nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
		    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
		    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
		    "nnnnnnnnnnnnnnnnnnnnnnnnn",
		    "+ /new/sub", "+ /new/sub/file", "- /old", "- /old/sub", "- /old/sub/file",
		    "M /stays contents", "+ /stays/file");
	h2_pfs_put(pfs);
}

static void names_of_the_same_object_are_renames(void **state)
{
	struct volume *v = *state;
	struct h2_pfs *pfs = begin(v);

	make_dir(pfs, "dir");
	make_file(pfs, "dir/a", "a");
	make_file(pfs, "dir/b", "b");
	make_dir(pfs, "other");
	make_file(pfs, "file", "file");
	make_file(pfs, "x", "x");
	make_file(pfs, "y", "y");
	make_file(pfs, "gone", "gone");
	make_file(pfs, "over", "over");
	snapshot(v, "snap");
	/* A directory; what is in it keeps its names. */
	rename_at(pfs, "dir", "other/dir", 0);
	chmod_at(pfs, "other/dir/b", 0600);
	/* A file that changes, too; and another in its place. */
	rename_at(pfs, "file", "other/moved", 0);
	write_at(pfs, "other/moved", 0, "FILE");
	make_file(pfs, "file", "file");
	rename_at(pfs, "x", "y", H2_RENAME_EXCHANGE);
	rename_at(pfs, "over", "gone", 0);
	EXPECT_DIFF(v, "snap", "DATA", "M / contents", "R /dir -> /other/dir",
		    "R /file -> /other/moved", "+ /file", "- /gone", "M /other contents",
		    "M /other/dir/b attributes", "M /other/moved contents", "R /over -> /gone",
		    "R /x -> /y", "R /y -> /x");
	EXPECT_DIFF(v, "DATA", "snap", "M / contents", "M /dir/b attributes", "- /file",
		    "M /file contents", "R /gone -> /over", "+ /gone", "M /other contents",
		    "R /other/dir -> /dir", "R /other/moved -> /file", "R /x -> /y", "R /y -> /x");
	/* Back again, by another way: the same names, whatever their keys. */
	rename_at(pfs, "x", "z", 0);
	rename_at(pfs, "y", "x", 0);
	rename_at(pfs, "z", "y", 0);
	rename_at(pfs, "other/dir", "dir", 0);
	EXPECT_DIFF(v, "snap", "DATA", "M / contents", "M /dir/b attributes",
		    "R /file -> /other/moved", "+ /file", "- /gone", "M /other contents",
		    "M /other/moved contents", "R /over -> /gone");
	h2_pfs_put(pfs);
}

static void hard_links_are_names(void **state)
{
	struct volume *v = *state;
	struct h2_pfs *pfs = begin(v);

	make_dir(pfs, "a");
	make_dir(pfs, "b");
	make_file(pfs, "a/one", "1");
	make_file(pfs, "a/two", "2");
	link_at(pfs, "a/two", "b/two");
	make_file(pfs, "a/three", "3");
	link_at(pfs, "a/three", "b/three");
	make_dir(pfs, "c");
	make_file(pfs, "c/m", "m");
	make_file(pfs, "c/moves", "moves");
	link_at(pfs, "c/moves", "c/stays");
	snapshot(v, "snap");
	/* What has changed is told by a name that it had. */
	for (unsigned i = 0; i < 8; i++) {
		char path[] = "c/0";

		path[2] = (char)('0' + i);
		link_at(pfs, "c/m", path);
	}
	write_at(pfs, "c/m", 0, "M");
	rename_at(pfs, "c/moves", "c/moved", 0);
	write_at(pfs, "c/moved", 0, "moved");
	link_at(pfs, "a/one", "b/one");
	link_at(pfs, "a/one", "b/first");
	/* The directory that it was made in does not know it any more. */
	remove_at(pfs, "a/two");
	write_at(pfs, "b/two", 0, "two");
	/* One of three goes where two have been. */
	remove_at(pfs, "a/three");
	remove_at(pfs, "b/three");
	h2_inode_put(make(pfs, "a/three", H2_OBJECT_FIFO));
	EXPECT_DIFF(v, "snap", "DATA", "M /a contents", "- /a/three", "+ /a/three", "- /a/two",
		    "M /b contents", "+ /b/first", "+ /b/one", "- /b/three", "M /b/two contents",
		    "M /c contents", "+ /c/0", "+ /c/1", "+ /c/2", "+ /c/3", "+ /c/4", "+ /c/5",
		    "+ /c/6", "+ /c/7", "M /c/m contents", "R /c/moves -> /c/moved",
		    "M /c/stays contents");
	remove_at(pfs, "c/stays");
	rename_at(pfs, "a/one", "moved", 0);
	EXPECT_DIFF(v, "snap", "DATA", "M / contents", "M /a contents", "R /a/one -> /b/first",
		    "- /a/three", "+ /a/three", "- /a/two", "M /b contents", "+ /b/one",
		    "- /b/three", "M /b/two contents", "M /c contents", "+ /c/0", "+ /c/1",
		    "+ /c/2", "+ /c/3", "+ /c/4", "+ /c/5", "+ /c/6", "+ /c/7", "M /c/m contents",
		    "M /c/moved contents", "R /c/moves -> /c/moved", "- /c/stays", "+ /moved");
	h2_pfs_put(pfs);
}

/* Only mtime and the like may tell that a directory was written to. */
static void touched_is_changed(void **state)
{
	struct volume *v = *state;
	struct h2_pfs *pfs = begin(v);

	make_file(pfs, "file", "text");
	make_dir(pfs, "dir");
	snapshot(v, "snap");
	set_attr(pfs, "file", &(struct h2_set_attr){.valid = H2_SET_MTIME, .mtime_us = 1000});
	set_attr(pfs, "dir", &(struct h2_set_attr){.valid = H2_SET_COMP, .comp_algo = 3});
	set_attr(pfs, "", &(struct h2_set_attr){.valid = H2_SET_QUOTA, .data_quota = 1 << 30});
	EXPECT_DIFF(v, "snap", "DATA", "M / attributes", "M /dir attributes", "M /file attributes");
	h2_pfs_put(pfs);
}

/* Two that went different ways use the same inode numbers for different things. */
static void the_same_number_may_be_another_object(void **state)
{
	struct volume *v = *state;
	struct h2_pfs *pfs = begin(v), *snap;

	make_file(pfs, "file", "text");
	snapshot(v, "snap");
	snap = open_pfs(v, "snap");
	make_file(pfs, "new", "text");
	make_dir(pfs, "dir");
	make_file(pfs, "dir/in", "text");
	make_file(pfs, "what", "text");
	set_attr(pfs, "new", &(struct h2_set_attr){.valid = H2_SET_BTIME, .btime_us = 1});
	set_attr(pfs, "dir", &(struct h2_set_attr){.valid = H2_SET_BTIME, .btime_us = 1});
	make_file(snap, "new", "text");
	make_dir(snap, "dir");
	make_file(snap, "dir/in", "text");
	make_dir(snap, "what");
	set_attr(snap, "dir/in", &(struct h2_set_attr){.valid = H2_SET_BTIME, .btime_us = 2});
	EXPECT_DIFF(v, "snap", "DATA", "M / contents", "- /dir", "+ /dir", "- /dir/in", "+ /dir/in",
		    "- /new", "+ /new", "- /what", "+ /what");
	h2_pfs_put(snap);
	h2_pfs_put(pfs);
}

static void unrelated_pfss_differ_in_everything(void **state)
{
	struct volume *v = *state;
	struct h2_pfs *pfs = begin(v), *other = open_pfs(v, "LOCAL");

	make_file(pfs, "a", "text");
	make_dir(pfs, "dir");
	make_file(pfs, "dir/b", "text");
	set_attr(pfs, "a", &(struct h2_set_attr){.valid = H2_SET_BTIME, .btime_us = 1});
	make_file(other, "a", "text");
	EXPECT_DIFF(v, "LOCAL", "DATA", "M / contents", "- /a", "+ /a", "+ /dir", "+ /dir/b");
	h2_pfs_put(other);
	h2_pfs_put(pfs);
}

static void after_a_rollback_nothing_differs(void **state)
{
	struct volume *v = *state;
	struct h2_pfs *pfs = begin(v);

	make_file(pfs, "file", "text");
	snapshot(v, "snap");
	write_at(pfs, "file", 0, "TEXT");
	make_file(pfs, "new", "text");
	h2_pfs_put(pfs);
	close_fs(v);
	open_fs(v);
	assert_int_equal(h2_pfs_rollback(v->fs, "DATA", "snap", "kept", NULL), 0);
	EXPECT_DIFF(v, "snap", "DATA");
	EXPECT_DIFF(v, "DATA", "kept", "M / contents", "M /file contents", "+ /new");
	EXPECT_DIFF(v, "kept", "DATA", "M / contents", "M /file contents", "- /new");
	pfs = open_pfs(v, "DATA");
	make_file(pfs, "other", "text");
	h2_pfs_put(pfs);
	EXPECT_DIFF(v, "kept", "DATA", "M / contents", "M /file contents", "- /new", "+ /other");
	/* And in one for reading. */
	close_fs(v);
	disks_open(&v->disks);
	assert_int_equal(h2_fs_open(v->disks.volumes, NULL, &v->fs), 0);
	EXPECT_DIFF(v, "kept", "DATA", "M / contents", "M /file contents", "- /new", "+ /other");
}

static void deep_directories_have_paths(void **state)
{
	struct volume *v = *state;
	struct h2_pfs *pfs = begin(v);
	char path[1024] = "d", expected[2][1200];
	const char *const lines[] = {expected[0], expected[1]};
	struct lines found;

	make_dir(pfs, path);
	for (unsigned i = 0; i < 300; i++) {
		strcat(path, "/d");
		make_dir(pfs, path);
	}
	snapshot(v, "snap");
	snprintf(expected[0], sizeof(expected[0]), "M /%s contents", path);
	strcat(path, "/file");
	make_file(pfs, path, "text");
	snprintf(expected[1], sizeof(expected[1]), "+ /%s", path);
	found = diff(v, "snap", "DATA");
	expect_lines(&found, lines, 2);
	h2_pfs_put(pfs);
}

/* ---- what it costs ---- */

static void fill_dir(struct h2_pfs *pfs, const char *dir, unsigned from, unsigned to)
{
	char path[64];

	for (unsigned i = from; i < to; i++) {
		snprintf(path, sizeof(path), "%s/file-%u", dir, i);
		h2_inode_put(make(pfs, path, H2_OBJECT_FILE));
	}
}

static uint64_t misses(struct volume *v)
{
	struct h2_fs_stats stats;

	h2_fs_get_stats(v->fs, &stats);
	return stats.cache_misses;
}

struct watched {
	uint64_t bytes;
	unsigned calls, end_at; /* 0: do not */
};

static bool watch(void *user, uint64_t bytes, uint64_t expected)
{
	struct watched *w = user;

	assert_true(bytes >= w->bytes);
	assert_int_equal(expected, 0);
	w->bytes = bytes;
	return ++w->calls != w->end_at;
}

/* 20,000 files in 20 directories; the index alone has more than 160 blocks, the inodes 20,000. */
static void it_costs_what_has_changed(void **state)
{
	struct volume *v = *state;
	struct h2_pfs *pfs = begin(v);
	struct watched w = {0};
	struct h2_pass_options options = {.progress = watch, .user = &w};
	struct lines lines = {0};
	static const char *const expected[] = {"M /dir-7/file-7500 contents"};
	uint64_t before;
	char dir[16];

	for (unsigned i = 0; i < 20; i++) {
		snprintf(dir, sizeof(dir), "dir-%u", i);
		make_dir(pfs, dir);
		fill_dir(pfs, dir, i * 1000, i * 1000 + 1000);
	}
	snapshot(v, "snap");
	h2_fs_forget_cached(v->fs);
	before = misses(v);
	EXPECT_DIFF(v, "snap", "DATA");
	assert_true(misses(v) - before < 10);
	write_at(pfs, "dir-7/file-7500", 0, "text");
	assert_int_equal(h2_fs_sync(v->fs), 0);
	h2_fs_forget_cached(v->fs);
	before = misses(v);
	assert_int_equal(h2_diff(v->fs, "snap", "DATA", &options, take, &lines), 0);
	expect_lines(&lines, expected, 1);
	print_message("%u blocks read of more than 20,000\n", (unsigned)(misses(v) - before));
	assert_true(misses(v) - before < 100);
	assert_true(w.calls >= 1);
	/* However many have changed in one directory, it is read once. */
	for (unsigned i = 7000; i < 8000; i++) {
		char path[64];

		snprintf(path, sizeof(path), "dir-7/file-%u", i);
		write_at(pfs, path, 0, "more");
	}
	w = (struct watched){0};
	assert_int_equal(h2_diff(v->fs, "snap", "DATA", &options, take, &lines), 0);
	assert_int_equal(lines.count, 1000);
	free_lines(&lines);
	print_message("%u KiB met for 1,000 files\n", (unsigned)(w.bytes >> 10));
	assert_true(w.bytes < 8 * MIB);
	w = (struct watched){.end_at = 2};
	assert_int_equal(h2_diff(v->fs, "snap", "DATA", &options, take, &lines), -EINTR);
	w = (struct watched){.end_at = 1};
	assert_int_equal(h2_diff(v->fs, "snap", "DATA", &options, take, &lines), -EINTR);
	assert_int_equal(lines.count, 0);
	free_lines(&lines);
	h2_pfs_put(pfs);
}

/* From a few entries to several levels of indirect blocks, and back. */
static void trees_of_different_shapes(void **state)
{
	struct volume *v = *state;
	struct h2_pfs *pfs = begin(v);
	struct h2_inode *file;
	struct lines lines;

	make_dir(pfs, "dir");
	fill_dir(pfs, "dir", 0, 3);
	put_file(pfs, "file", 1, 1);
	snapshot(v, "small");
	fill_dir(pfs, "dir", 3, 6000);
	file = at(pfs, "file");
	/* Far behind, so that the tree of the contents grows; and back. */
	assert_int_equal(h2_file_write(file, UINT64_C(1) << 45, "x", 1, 0), 1);
	h2_inode_put(file);
	snapshot(v, "large");
	lines = diff(v, "small", "large");
	assert_int_equal(lines.count, 5997 + 2);
	free_lines(&lines);
	lines = diff(v, "large", "small");
	assert_int_equal(lines.count, 5997 + 2);
	free_lines(&lines);
	for (unsigned i = 3; i < 6000; i++) {
		char path[64];

		snprintf(path, sizeof(path), "dir/file-%u", i);
		remove_at(pfs, path);
	}
	file = at(pfs, "file");
	assert_int_equal(h2_inode_set_attr(file, &(struct h2_set_attr){.valid = H2_SET_SIZE,
									.size = CHUNK}),
			 0);
	h2_inode_put(file);
	EXPECT_DIFF(v, "small", "DATA", "M /dir attributes", "M /file attributes");
	lines = diff(v, "large", "DATA");
	assert_int_equal(lines.count, 5997 + 2);
	free_lines(&lines);
	h2_pfs_put(pfs);
}

static int stop(void *user, const struct h2_diff_entry *e)
{
	unsigned *left = user;

	(void)e;
	return --*left == 0 ? 42 : 0;
}

/* entry() may end the list, and change the filesystem. */
static int remove_snapshot(void *user, const struct h2_diff_entry *e)
{
	struct volume *v = user;

	(void)e;
	assert_int_equal(h2_pfs_delete(v->fs, "snap"), 0);
	assert_int_equal(h2_fs_bulkfree(v->fs, NULL, NULL), 0);
	return 1;
}

static void the_receiver_may_do_anything(void **state)
{
	struct volume *v = *state;
	struct h2_pfs *pfs = begin(v);
	unsigned left = 2;

	snapshot(v, "snap");
	make_file(pfs, "a", "text");
	make_file(pfs, "b", "text");
	assert_int_equal(h2_diff(v->fs, "snap", "DATA", NULL, stop, &left), 42);
	assert_int_equal(left, 0);
	assert_int_equal(h2_diff(v->fs, "snap", "DATA", NULL, remove_snapshot, v), 1);
	h2_pfs_put(pfs);
}

/* ---- random changes, and what two complete walks say ---- */

struct item {
	char *path; /* "/" for the root */
	const char *name;
	uint64_t dir, inum;
	uint8_t type;
	struct h2_inode_meta meta;
	uint64_t contents; /* a hash of them */
	bool paired;       /* is in both */
};

struct items {
	struct item *item;
	size_t count;
};

static uint64_t hash_bytes(uint64_t hash, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
	return hash;
}

static uint64_t hash_contents(struct h2_inode *inode, const struct h2_inode_meta *meta)
{
	static uint8_t buf[CHUNK];
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	if (meta->type != H2_OBJECT_FILE && meta->type != H2_OBJECT_SYMLINK)
		return 0;
	for (uint64_t offset = 0; offset < meta->size; offset += CHUNK) {
		ssize_t len = meta->type == H2_OBJECT_FILE
				      ? h2_file_read(inode, offset, buf, CHUNK)
				      : h2_symlink_read(inode, (char *)buf, CHUNK);

		assert_true(len > 0);
		hash = hash_bytes(hash, buf, (size_t)len);
	}
	return hash;
}

static void walk(struct h2_pfs *pfs, struct items *items, const char *path, uint64_t dir,
		 uint64_t inum)
{
	struct h2_dir_scan *scan;
	struct h2_inode *inode;
	struct h2_dirent ent;
	struct item *item;
	char *below;

	items->item = realloc(items->item, (items->count + 1) * sizeof(*items->item));
	assert_non_null(items->item);
	item = &items->item[items->count++];
	assert_int_equal(h2_inode_get(pfs, inum, &inode), 0);
	*item = (struct item){.path = strdup(*path ? path : "/"), .dir = dir, .inum = inum};
	h2_inode_get_meta(inode, &item->meta);
	item->name = strrchr(item->path, '/') + 1;
	item->type = item->meta.type;
	item->contents = hash_contents(inode, &item->meta);
	if (item->type == H2_OBJECT_DIRECTORY) {
		assert_int_equal(h2_dir_scan_new(inode, 0, &scan), 0);
		while (h2_dir_scan_next(scan, &ent) == 0) {
			assert_true(asprintf(&below, "%s/%s", path, ent.name) > 0);
			walk(pfs, items, below, inum, ent.inum);
			free(below);
		}
		h2_dir_scan_free(scan);
	}
	h2_inode_put(inode);
}

static int by_path(const void *a, const void *b)
{
	return compare_paths(((const struct item *)a)->path, ((const struct item *)b)->path);
}

static struct items walk_pfs(struct volume *v, const char *label)
{
	struct h2_pfs *pfs = open_pfs(v, label);
	struct items items = {0};

	walk(pfs, &items, "", 0, H2_INUM_ROOT);
	h2_pfs_put(pfs);
	qsort(items.item, items.count, sizeof(*items.item), by_path);
	return items;
}

static void free_items(struct items *items)
{
	for (size_t i = 0; i < items->count; i++)
		free(items->item[i].path);
	free(items->item);
}

static struct item *find_inum(struct items *items, uint64_t inum)
{
	for (size_t i = 0; i < items->count; i++)
		if (items->item[i].inum == inum)
			return &items->item[i];
	return NULL;
}

static bool same_object(struct items *a, struct items *b, uint64_t inum)
{
	struct item *x = find_inum(a, inum), *y = find_inum(b, inum);

	if (inum == H2_INUM_ROOT)
		return true;
	return x && y && x->type == y->type && x->meta.btime == y->meta.btime;
}

static bool same_attributes(const struct h2_inode_meta *a, const struct h2_inode_meta *b)
{
	return a->mode == b->mode && a->uid == b->uid && a->gid == b->gid &&
	       a->uflags == b->uflags && a->rmajor == b->rmajor && a->rminor == b->rminor &&
	       a->comp_algo == b->comp_algo && a->check_algo == b->check_algo &&
	       a->data_quota == b->data_quota && a->inode_quota == b->inode_quota;
}

/* Mark the names that both have. */
static void pair_names(struct items *a, struct items *b)
{
	for (size_t i = 0; i < a->count; i++) {
		struct item *x = &a->item[i];

		for (size_t j = 0; j < b->count && !x->paired; j++) {
			struct item *y = &b->item[j];

			if (!y->paired && x->dir == y->dir && x->inum == y->inum &&
			    strcmp(x->name, y->name) == 0 && same_object(a, b, x->inum) &&
			    (x->dir == 0 || same_object(a, b, x->dir)))
				x->paired = y->paired = true;
		}
	}
}

static struct item *next_unpaired(struct items *items, uint64_t inum, size_t *i)
{
	for (; *i < items->count; (*i)++)
		if (items->item[*i].inum == inum && !items->item[*i].paired)
			return &items->item[(*i)++];
	return NULL;
}

/* Names of objects that are in both; by pairs in the order of the paths. */
static void expect_names(struct lines *lines, struct items *a, struct items *b, uint64_t inum)
{
	bool same = same_object(a, b, inum);
	size_t i = 0, j = 0;
	struct item *x, *y;

	for (;;) {
		x = next_unpaired(a, inum, &i);
		y = next_unpaired(b, inum, &j);
		if (!x && !y)
			break;
		if (x && y && same) {
			add(lines, "R %s -> %s", x->path, y->path);
			continue;
		}
		if (x)
			add(lines, "- %s", x->path);
		if (y)
			add(lines, "+ %s", y->path);
	}
}

static bool has_unpaired(const struct items *items, uint64_t dir)
{
	for (size_t i = 0; i < items->count; i++)
		if (items->item[i].dir == dir && !items->item[i].paired)
			return true;
	return false;
}

static void expect_change(struct lines *lines, struct items *a, struct items *b, uint64_t inum)
{
	struct item *x = find_inum(a, inum), *y = find_inum(b, inum);
	unsigned what = 0;

	if (!same_object(a, b, inum))
		return;
	if (x->type == H2_OBJECT_DIRECTORY ? has_unpaired(a, inum) || has_unpaired(b, inum)
					   : x->contents != y->contents || x->meta.size != y->meta.size)
		what |= H2_DIFF_CONTENTS;
	if (!same_attributes(&x->meta, &y->meta) || (!what && x->meta.mtime != y->meta.mtime))
		what |= H2_DIFF_ATTRIBUTES;
	if (what)
		add(lines, "M %" PRIu64 " %s", inum, what_text(what));
}

static struct lines expected_lines(struct items *a, struct items *b)
{
	struct lines lines = {0};

	pair_names(a, b);
	for (size_t i = 0; i < a->count + b->count; i++) {
		struct items *in = i < a->count ? a : b;
		struct item *item = &in->item[i < a->count ? i : i - a->count];

		if (find_inum(in, item->inum) != item || (in == b && find_inum(a, item->inum)))
			continue;
		expect_names(&lines, a, b, item->inum);
		expect_change(&lines, a, b, item->inum);
	}
	return lines;
}

struct numbered {
	struct lines lines;
	struct items *to;
};

/* As take(), but changes by their numbers, since any of several names will do. */
static int take_numbered(void *user, const struct h2_diff_entry *e)
{
	struct numbered *n = user;
	bool found = false;

	if (e->kind != H2_DIFF_CHANGED)
		return take(&n->lines, e);
	for (size_t i = 0; i < n->to->count; i++)
		found |= n->to->item[i].inum == e->inum &&
			 strcmp(n->to->item[i].path, e->path) == 0 &&
			 n->to->item[i].type == e->type;
	assert_true(found);
	add(&n->lines, "M %" PRIu64 " %s", e->inum, what_text(e->what));
	return 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void expect_right(struct volume *v, const char *from, const char *to)
{
	struct items a = walk_pfs(v, from), b = walk_pfs(v, to);
	struct lines expected = expected_lines(&a, &b);
	struct numbered n = {.to = &b};

	assert_int_equal(h2_diff(v->fs, from, to, NULL, take_numbered, &n), 0);
	qsort(expected.text, expected.count, sizeof(char *), by_text);
	if (n.lines.count)
		qsort(n.lines.text, n.lines.count, sizeof(char *), by_text);
	expect_lines(&n.lines, (const char *const *)expected.text, expected.count);
	free_lines(&expected);
	free_items(&a);
	free_items(&b);
}

/* Some directory. */
static struct h2_inode *random_dir(struct h2_pfs *pfs, uint64_t *seed)
{
	struct h2_inode *dir = at(pfs, ""), *next;

	for (unsigned depth = (unsigned)unit_below(seed, 8); depth > 0; depth--) {
		struct h2_dir_scan *scan;
		struct h2_dirent ent, chosen;
		unsigned count = 0;

		assert_int_equal(h2_dir_scan_new(dir, 0, &scan), 0);
		while (h2_dir_scan_next(scan, &ent) == 0)
			if (ent.type == H2_OBJECT_DIRECTORY && unit_below(seed, ++count) == 0)
				chosen = ent;
		h2_dir_scan_free(scan);
		if (count == 0)
			break;
		assert_int_equal(h2_inode_get(pfs, chosen.inum, &next), 0);
		h2_inode_put(dir);
		dir = next;
	}
	return dir;
}

/* Some name in a directory: as a rule one that it has. Returns the length. */
static size_t random_name(struct h2_inode *dir, uint64_t *seed, bool is_new, char name[256])
{
	struct h2_dir_scan *scan;
	struct h2_dirent ent;
	unsigned count = 0;

	snprintf(name, 256, "n%u", (unsigned)unit_below(seed, 40));
	if (unit_below(seed, 8) == 0) {
		memset(name + strlen(name), 'x', 100);
		name[100] = '\0';
	}
	assert_int_equal(h2_dir_scan_new(dir, 0, &scan), 0);
	while (!is_new && h2_dir_scan_next(scan, &ent) == 0)
		if (unit_below(seed, ++count) == 0)
			strcpy(name, ent.name);
	h2_dir_scan_free(scan);
	return strlen(name);
}

static void change_random_file(struct h2_inode *inode, uint64_t *seed)
{
	static uint8_t buf[CHUNK];
	struct h2_set_attr set = {.valid = 0};

	switch (unit_below(seed, 5)) {
	case 0:
		fill_chunk(buf, unit_below(seed, 4));
		(void)h2_file_write(inode, unit_below(seed, 40) * CHUNK, buf, CHUNK, 0);
		return;
	case 1:
		fill_chunk(buf, unit_below(seed, 4));
		(void)h2_file_write(inode, unit_below(seed, 1000), buf, unit_below(seed, 300) + 1, 0);
		return;
	case 2:
		set.valid = H2_SET_SIZE;
		set.size = unit_below(seed, 3) ? unit_below(seed, 600) : unit_below(seed, 40 * CHUNK);
		break;
	case 3:
		set.valid = H2_SET_MODE;
		set.mode = (uint32_t)unit_below(seed, 010) * 0111;
		break;
	default:
		set.valid = H2_SET_MTIME;
		set.mtime_us = unit_below(seed, 3);
		break;
	}
	(void)h2_inode_set_attr(inode, &set);
}

static void random_change(struct h2_pfs *pfs, uint64_t *seed)
{
	static const uint8_t types[] = {H2_OBJECT_FILE, H2_OBJECT_FILE, H2_OBJECT_DIRECTORY,
					H2_OBJECT_FIFO, H2_OBJECT_SYMLINK};
	struct h2_new new_ = {.mode = 0644, .comp_algo = H2_INHERIT, .check_algo = H2_INHERIT};
	struct h2_inode *dir = random_dir(pfs, seed), *other = random_dir(pfs, seed), *inode;
	unsigned what = (unsigned)unit_below(seed, 12);
	struct h2_dirent ent;
	char name[256], new_name[256];
	size_t len = random_name(dir, seed, what < 3, name);
	size_t new_len = random_name(other, seed, unit_below(seed, 2), new_name);

	switch (what) {
	case 0: /* what cannot be done is not done */
	case 1:
	case 2:
		new_.type = types[unit_below(seed, LENGTH_OF(types))];
		if (new_.type == H2_OBJECT_SYMLINK) {
			new_.target = new_name;
			new_.target_len = new_len;
		}
		(void)h2_create(dir, name, len, &new_, NULL);
		break;
	case 3:
		(void)h2_unlink(dir, name, len, NULL);
		break;
	case 4:
		(void)h2_rmdir(dir, name, len, NULL);
		break;
	case 5:
		if (h2_dir_lookup(dir, name, len, &ent) == 0 &&
		    h2_dirent_get(dir, &ent, &inode) == 0) {
			(void)h2_link(other, new_name, new_len, inode);
			h2_inode_put(inode);
		}
		break;
	case 6:
	case 7:
	case 8:
		(void)h2_rename(dir, name, len, other, new_name, new_len,
				unit_below(seed, 4) ? 0 : H2_RENAME_EXCHANGE, NULL);
		break;
	default:
		if (h2_dir_lookup(dir, name, len, &ent) == 0 &&
		    h2_dirent_get(dir, &ent, &inode) == 0) {
			change_random_file(inode, seed);
			h2_inode_put(inode);
		}
		break;
	}
	h2_inode_put(dir);
	h2_inode_put(other);
}

static void random_changes_are_all_found(void **state)
{
	struct volume *v = *state;
	uint64_t seed = unit_seed((uint64_t)time(NULL));
	unsigned rounds = getenv("H2_ROUNDS") ? (unsigned)atoi(getenv("H2_ROUNDS")) : 12;
	struct h2_pfs *pfs, *snap;

	make_volume(v, 512 * MIB);
	for (unsigned round = 0; round < rounds; round++) {
		pfs = open_pfs(v, "DATA");
		for (unsigned i = 0; i < 250; i++)
			random_change(pfs, &seed);
		if (round > 0)
			expect_right(v, "snap", "DATA");
		if (round > 0)
			assert_int_equal(h2_pfs_delete(v->fs, "snap"), 0);
		snapshot(v, "snap");
		for (unsigned i = (unsigned)unit_below(&seed, 200); i > 0; i--) {
			random_change(pfs, &seed);
			if (unit_below(&seed, 100) == 0)
				assert_int_equal(h2_fs_sync(v->fs), 0);
		}
		expect_right(v, "snap", "DATA");
		expect_right(v, "DATA", "snap");
		/* The snapshot may change as well, and use the same numbers. */
		snap = open_pfs(v, "snap");
		for (unsigned i = (unsigned)unit_below(&seed, 100); i > 0; i--)
			random_change(snap, &seed);
		h2_pfs_put(snap);
		expect_right(v, "snap", "DATA");
		expect_right(v, "DATA", "snap");
		expect_right(v, "LOCAL", "DATA");
		h2_pfs_put(pfs);
		close_fs(v);
		open_fs(v);
	}
}

/* ---- what DragonFly does not make any more, damage and hostile media ---- */

struct fix {
	struct fixture f;
	struct image_block *a, *b; /* the roots of the PFSs DATA and b */
};

static void fix_begin(struct fix *x)
{
	memset(x, 0, sizeof(*x));
	x->f.image = image_new(NULL);
	x->f.root = x->a = image_add_pfs(x->f.image, x->f.image->super_root, "DATA");
	x->b = image_add_pfs(x->f.image, x->f.image->super_root, "b");
}

static void fix_end(struct fix *x)
{
	fixture_close(&x->f);
	image_free(x->f.image);
}

/* Compare them in both ways; either result must be the expected error. */
static struct lines fix_diff(struct fix *x, int expected)
{
	struct lines lines = {0}, back = {0};

	assert_int_equal(fixture_open_fs(&x->f), 0);
	assert_int_equal(h2_diff(x->f.fs, "b", "DATA", NULL, take, &back), expected);
	assert_int_equal(h2_diff(x->f.fs, "DATA", "b", NULL, take, &lines), expected);
	free_lines(&back);
	return lines;
}

#define EXPECT_FIX(x, ...)                                                                         \
	do {                                                                                       \
		static const char *const expected_[] = {"", ##__VA_ARGS__};                        \
		struct lines lines_ = fix_diff(x, 0);                                              \
		expect_lines(&lines_, expected_ + 1, LENGTH_OF(expected_) - 1);                    \
		assert_int_equal(atomic_load(&(x)->f.reports), 0);                                 \
	} while (0)

static struct image_block *add_dir(struct fix *x, struct image_block *pfs,
				   struct image_block *parent, const char *name, uint64_t inum)
{
	struct image_block *dir = image_add_inode(x->f.image, pfs, inum, H2_OBJECT_DIRECTORY);
	const struct h2d_inode *up = image_inode(parent);

	image_inode(dir)->iparent = up->inum;
	image_add_dirent(x->f.image, parent, name, inum, H2_OBJECT_DIRECTORY);
	return dir;
}

static struct image_block *add_file(struct fix *x, struct image_block *pfs,
				    struct image_block *parent, const char *name, uint64_t inum,
				    const char *text)
{
	struct image_block *file = image_add_file(x->f.image, pfs, inum, H2_OBJECT_FILE, 0, text,
						  strlen(text));

	image_inode(file)->iparent = image_inode(parent)->inum;
	image_add_dirent(x->f.image, parent, name, inum, H2_OBJECT_FILE);
	return file;
}

static void legacy_inodes_are_objects_and_names(void **state)
{
	struct fix x;
	struct image_block *old, *sub, *block;

	(void)state;
	fix_begin(&x);
	/* Only in one of them, with what is in it. */
	old = image_add_legacy(x.f.image, x.b, "old", 3000, H2_OBJECT_DIRECTORY);
	sub = image_add_legacy(x.f.image, old, "sub", 3001, H2_OBJECT_DIRECTORY);
	image_add_legacy(x.f.image, sub, "file", 3002, H2_OBJECT_FILE);
	add_file(&x, x.b, sub, "indexed", 2000, "text");
	/* In both, and moved; one with another mode. */
	image_add_legacy(x.f.image, x.a, "moves", 3003, H2_OBJECT_FILE);
	image_add_legacy(x.f.image, sub, "moved", 3003, H2_OBJECT_FILE);
	image_add_legacy(x.f.image, x.a, "mode", 3004, H2_OBJECT_FILE);
	block = image_add_legacy(x.f.image, x.b, "mode", 3004, H2_OBJECT_FILE);
	image_inode(block)->mode.b[0] ^= 1;
	/* A directory that moves keeps what is in it. */
	old = image_add_legacy(x.f.image, x.a, "dir", 3005, H2_OBJECT_DIRECTORY);
	image_add_legacy(x.f.image, old, "file", 3006, H2_OBJECT_FILE);
	old = image_add_legacy(x.f.image, sub, "dir", 3005, H2_OBJECT_DIRECTORY);
	image_add_legacy(x.f.image, old, "file", 3006, H2_OBJECT_FILE);
	EXPECT_FIX(&x, "M / contents", "R /dir -> /old/sub/dir", "M /mode attributes",
		   "R /moves -> /old/sub/moved", "+ /old", "+ /old/sub", "+ /old/sub/file",
		   "+ /old/sub/indexed");
	fix_end(&x);
}

/* What an inode says of its directory may be wrong. */
static void wrong_parents_are_no_obstacle(void **state)
{
	static const uint64_t parents[] = {0, 1, 2000, 2001, 2002, 4000, UINT64_MAX};
	struct fix x;

	(void)state;
	for (unsigned i = 0; i < LENGTH_OF(parents); i++) {
		struct image_block *outer, *inner, *file;

		fix_begin(&x);
		add_dir(&x, x.a, add_dir(&x, x.a, x.a, "outer", 2000), "inner", 2001);
		outer = add_dir(&x, x.b, x.b, "outer", 2000);
		inner = add_dir(&x, x.b, outer, "inner", 2001);
		file = add_file(&x, x.b, inner, "file", 2002, "text");
		for (unsigned b = 0; b < 8; b++) {
			uint8_t byte = (uint8_t)(parents[i] >> 8 * b);

			image_inode(file)->iparent.b[b] = byte;
			image_inode(outer)->iparent.b[b] = byte;
			image_inode(inner)->iparent.b[b] = byte;
		}
		EXPECT_FIX(&x, "M /outer/inner contents", "+ /outer/inner/file");
		fix_end(&x);
	}
}

/* No name leads to it, or only one that no path leads to. */
static void what_has_no_path_is_not_listed(void **state)
{
	struct image_block *lost;
	struct fix x;

	(void)state;
	fix_begin(&x);
	image_add_file(x.f.image, x.b, 2000, H2_OBJECT_FILE, 0, "text", 4);
	lost = image_add_inode(x.f.image, x.b, 2001, H2_OBJECT_DIRECTORY);
	image_inode(lost)->iparent.b[0] = 1;
	add_file(&x, x.b, lost, "file", 2002, "text");
	EXPECT_FIX(&x);
	fix_end(&x);
}

static void damage_is_an_error_where_it_matters(void **state)
{
	struct image_block *dir, *node, *file;
	uint8_t noise[3 * H2_LOGICAL_BLOCK];
	struct lines lines;
	struct fix x;

	(void)state;
	unit_noise(noise, sizeof(noise), 1);
	fix_begin(&x);
	dir = add_dir(&x, x.b, x.b, "dir", 2000);
	node = image_add_indirect(x.f.image, dir, H2_KEY_VISIBLE, 62, 12);
	image_add_dirent(x.f.image, node, "file", 2001, H2_OBJECT_FILE)->ref.key = H2_KEY_VISIBLE | 1;
	EXPECT_FIX(&x, "M / contents", "+ /dir", "+ /dir/file");
	node->flags = IMAGE_KEEP_CHECK;
	node->ref.check[0] ^= 1;
	lines = fix_diff(&x, -H2_ECHECK);
	assert_int_equal(lines.count, 0);
	free_lines(&lines);
	fix_end(&x);
	/* An inode. */
	fix_begin(&x);
	file = add_file(&x, x.b, x.b, "file", 2000, "text");
	image_inode(file)->version.b[0] = 9;
	lines = fix_diff(&x, -H2_ECORRUPT);
	free_lines(&lines);
	fix_end(&x);
	/* The contents of a file that was written. */
	fix_begin(&x);
	file = image_add_file(x.f.image, x.b, 2000, H2_OBJECT_FILE, 0, noise, sizeof(noise));
	image_add_dirent(x.f.image, x.b, "file", 2000, H2_OBJECT_FILE);
	file = image_add_file(x.f.image, x.a, 2000, H2_OBJECT_FILE, 0, noise, sizeof(noise));
	image_add_dirent(x.f.image, x.a, "file", 2000, H2_OBJECT_FILE);
	EXPECT_FIX(&x);
	file->children[1]->flags = IMAGE_KEEP_CHECK;
	file->children[1]->ref.check[0] ^= 1;
	lines = fix_diff(&x, 0);
	assert_int_equal(lines.count, 1);
	assert_string_equal(lines.text[0], "M /file contents");
	assert_true(atomic_load(&x.f.reports) > 0);
	free_lines(&lines);
	fix_end(&x);
}

/* Nothing of what both share is read, so its damage is none of the difference's. */
static void what_is_shared_is_not_read(void **state)
{
	struct image_block *node, *shared;
	struct fix x;

	(void)state;
	fix_begin(&x);
	node = image_add_indirect(x.f.image, x.a, 0, 20, 12);
	image_add_file(x.f.image, node, 2000, H2_OBJECT_FILE, 0, "text", 4);
	shared = image_add(x.f.image, x.b, H2_BLOCKREF_INDIRECT, 0, 20, 0);
	shared->same_as = node;
	shared->flags = IMAGE_KEEP_STATS;
	node->flags = IMAGE_KEEP_CHECK;
	node->ref.check[0] ^= 1;
	EXPECT_FIX(&x);
	fix_end(&x);
}

static struct image_block *fill_node(struct fix *x, struct image_block *dir, unsigned i)
{
	uint64_t key = H2_KEY_VISIBLE + ((uint64_t)i << 60);
	struct image_block *node = image_add_indirect(x->f.image, dir, key, 60, 16);

	for (unsigned e = 0; e < 500; e++)
		image_add_dirent(x->f.image, node, "name", 1000000 + e, H2_OBJECT_FILE)->ref.key =
			key + e;
	return node;
}

/* Directories that contain themselves, and such that share more than they could have. */
static void hostile_media_end(void **state)
{
	struct image_block *dir, *node, *nodes[4];
	struct lines lines = {0};
	struct fix x;
	char name[32];

	(void)state;
	fix_begin(&x);
	dir = add_dir(&x, x.b, x.b, "dir", 2000);
	image_add_dirent(x.f.image, dir, "self", 2000, H2_OBJECT_DIRECTORY);
	image_add_dirent(x.f.image, dir, "root", 1, H2_OBJECT_DIRECTORY);
	image_add_dirent(x.f.image, dir, "dangling", 9999, H2_OBJECT_FILE);
	assert_int_equal(fixture_open_fs(&x.f), 0);
	assert_int_equal(h2_diff(x.f.fs, "DATA", "b", NULL, take, &lines), 0);
	assert_true(lines.count >= 3);
	free_lines(&lines);
	assert_int_equal(h2_diff(x.f.fs, "b", "DATA", NULL, take, &lines), 0);
	free_lines(&lines);
	fix_end(&x);

	/* The names of 1,200 directories are the same blocks: more than there is room for. */
	fix_begin(&x);
	dir = add_dir(&x, x.b, x.b, "dir", 2000);
	for (unsigned i = 0; i < 4; i++)
		nodes[i] = fill_node(&x, dir, i);
	for (unsigned d = 1; d < 1200; d++) {
		snprintf(name, sizeof(name), "dir-%u", d);
		dir = add_dir(&x, x.b, x.b, name, 2000 + d);
		for (unsigned i = 0; i < 4; i++) {
			node = image_add(x.f.image, dir, H2_BLOCKREF_INDIRECT, nodes[i]->ref.key,
					 nodes[i]->ref.keybits, 0);
			node->same_as = nodes[i];
			node->flags = IMAGE_KEEP_STATS;
		}
	}
	lines = fix_diff(&x, -H2_ECORRUPT);
	assert_int_equal(lines.count, 0);
	assert_true(atomic_load(&x.f.reports) > 0);
	free_lines(&lines);
	fix_end(&x);
}

#define DIFF_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DIFF_TEST(nothing_differs_from_itself),
		DIFF_TEST(files_are_added_removed_and_changed),
		DIFF_TEST(contents_are_bytes),
		DIFF_TEST(directories_are_listed_with_all_that_is_in_them),
		DIFF_TEST(names_of_the_same_object_are_renames),
		DIFF_TEST(hard_links_are_names),
		DIFF_TEST(touched_is_changed),
		DIFF_TEST(the_same_number_may_be_another_object),
		DIFF_TEST(unrelated_pfss_differ_in_everything),
		DIFF_TEST(after_a_rollback_nothing_differs),
		DIFF_TEST(deep_directories_have_paths),
		DIFF_TEST(it_costs_what_has_changed),
		DIFF_TEST(trees_of_different_shapes),
		DIFF_TEST(the_receiver_may_do_anything),
		cmocka_unit_test(legacy_inodes_are_objects_and_names),
		cmocka_unit_test(wrong_parents_are_no_obstacle),
		cmocka_unit_test(what_has_no_path_is_not_listed),
		cmocka_unit_test(damage_is_an_error_where_it_matters),
		cmocka_unit_test(what_is_shared_is_not_read),
		cmocka_unit_test(hostile_media_end),
		DIFF_TEST(random_changes_are_all_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
