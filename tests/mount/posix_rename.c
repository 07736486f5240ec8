/* rename() and renameat2(). */
#include "posix.h"

#include <limits.h>

/* Directories may not count their subdirectories: then their link count is 1. */
static void check_dir_links(const char *name, unsigned subdirs)
{
	nlink_t count = stat_of(name).st_nlink;

	if (count != 1)
		equal(count, 2 + subdirs);
}

/* ---- the effects ---- */

static void files(void)
{
	put_text("f", "contents");
	struct stat before = stat_of("f");
	struct watch file = watch("f"), here = watch(".");

	tick();
	ok(rename("f", "g"));
	changed(&here, "mc");
	check(!exists("f"));
	equal(stat_of("g").st_ino, before.st_ino);
	equal(stat_of("g").st_nlink, 1);
	/* POSIX leaves it open whether a file's own ctime changes with its name. */
	file.what = "g";
	changed_or(&file, "", "c");
	has_text("g", "contents");

	ok(mkdir("d", 0755));
	ok(mkdir("e", 0755));
	ok(rename("g", "d/g"));
	struct watch from = watch("d"), to = watch("e");
	here = watch(".");
	tick();
	ok(rename("d/g", "e/h"));
	changed(&from, "mc");
	changed(&to, "mc");
	changed(&here, "");
	has_text("e/h", "contents");
	equal(stat_of("e/h").st_ino, before.st_ino);
}

static void over_file(void)
{
	char buf[4];

	put_text("f", "new");
	put_text("g", "old");
	ok(link("g", "other"));
	int fd = ok(open("g", O_RDONLY));
	ino_t ino = stat_of("f").st_ino;

	struct watch other = watch("other"), here = watch(".");
	tick();
	ok(rename("f", "g"));
	changed(&here, "mc");
	changed(&other, "c");
	has_text("g", "new");
	equal(stat_of("g").st_ino, ino);
	equal(stat_of("other").st_nlink, 1);
	check(!exists("f"));
	/* Whoever has the old file open keeps it. */
	equal(read(fd, buf, 3), 3);
	same_bytes(buf, "old", 3);
	ok(unlink("other"));
	equal(stat_of_fd(fd).st_nlink, 0);
	equal(pread(fd, buf, 3, 0), 3);
}

static void same_file(void)
{
	put_text("f", "x");
	ok(link("f", "g"));
	ok(mkdir("d", 0755));
	ok(link("f", "d/h"));

	struct watch here = watch(".");
	tick();
	ok(rename("f", "f"));
	ok(rename("f", "g"));
	ok(rename("g", "d/h"));
	ok(rename("d", "d"));
	changed(&here, "");
	check(exists("f"));
	check(exists("g"));
	check(exists("d/h"));
	equal(stat_of("f").st_nlink, 3);
}

static void directories(void)
{
	ok(mkdir("a", 0755));
	ok(mkdir("b", 0755));
	ok(mkdir("a/d", 0755));
	put_text("a/d/f", "x");
	ok(mkdir("a/d/sub", 0755));
	check_dir_links("a", 1);

	struct watch from = watch("a"), to = watch("b");
	tick();
	ok(rename("a/d", "b/e"));
	changed(&from, "mc");
	changed(&to, "mc");
	has_text("b/e/f", "x");
	check(!exists("a/d"));
	equal(stat_of("b/e/..").st_ino, stat_of("b").st_ino);
	equal(stat_of("b/e/sub/..").st_ino, stat_of("b/e").st_ino);
	check_dir_links("a", 0);
	check_dir_links("b", 1);
	check_dir_links("b/e", 1);
	/* A slash at the end is allowed for a directory. */
	ok(rename("b/e/", "b/g/"));
	has_text("b/g/f", "x");
	ok(chdir("b/g"));
	ok(rename("../../b", "../../c"));
	has_text("../../c/g/f", "x");
}

static void over_directory(void)
{
	ok(mkdir("d", 0755));
	put_text("d/f", "x");
	ok(mkdir("empty", 0755));
	ok(mkdir("full", 0755));
	put_text("full/g", "y");
	ino_t ino = stat_of("d").st_ino;

	fails_either(rename("d", "full"), ENOTEMPTY, EEXIST);
	has_text("full/g", "y");
	int fd = ok(open("empty", O_RDONLY));
	check_dir_links(".", 3);
	ok(rename("d", "empty"));
	check(!exists("d"));
	equal(stat_of("empty").st_ino, ino);
	has_text("empty/f", "x");
	check_dir_links(".", 2);
	fails(openat(fd, "new", O_RDWR | O_CREAT, 0644), ENOENT);
	ok(mkdir("p", 0755));
	ok(mkdir("p/q", 0755));
	fails_either(rename("empty", "p"), ENOTEMPTY, EEXIST);
	/* Onto a directory that has the old one in it. */
	fails_either(rename("p/q", "p"), ENOTEMPTY, EEXIST);
	/* An empty directory onto an empty one in another directory. */
	ok(mkdir("r", 0755));
	ok(rename("r", "p/q"));
	check_dir_links("p", 1);
	equal(stat_of("p/q/..").st_ino, stat_of("p").st_ino);
}

static void kinds(void)
{
	ok(mkdir("d", 0755));
	ok(mkdir("empty", 0755));
	put_text("f", "x");
	ok(symlink("nowhere", "s"));
	ok(symlink("d", "to-dir"));
	ok(mkfifo("p", 0644));
	fails(rename("f", "empty"), EISDIR);
	fails(rename("s", "empty"), EISDIR);
	fails(rename("p", "empty"), EISDIR);
	fails(rename("to-dir", "empty"), EISDIR);
	fails(rename("d", "f"), ENOTDIR);
	fails(rename("d", "s"), ENOTDIR);
	fails(rename("d", "to-dir"), ENOTDIR);
	fails(rename("d", "p"), ENOTDIR);
	/* Symlinks are renamed and replaced, never followed. */
	ok(rename("s", "t"));
	check(S_ISLNK(stat_of("t").st_mode));
	ok(rename("f", "to-dir"));
	check(S_ISREG(stat_of("to-dir").st_mode));
	check(S_ISDIR(stat_of("d").st_mode));
	ok(rename("t", "to-dir"));
	check(S_ISLNK(stat_of("to-dir").st_mode));
	ok(rename("p", "to-dir"));
	check(S_ISFIFO(stat_of("to-dir").st_mode));
}

static void own_subtree(void)
{
	ok(mkdir("a", 0755));
	ok(mkdir("a/b", 0755));
	ok(mkdir("a/b/c", 0755));
	fails(rename("a", "a/x"), EINVAL);
	fails(rename("a", "a/b"), EINVAL);
	fails(rename("a", "a/b/c"), EINVAL);
	fails(rename("a", "a/b/c/x"), EINVAL);
	fails(rename("a/b", "a/b/c/x"), EINVAL);
	/* What is below what depends on where things have been moved to. */
	ok(mkdir("z", 0755));
	ok(rename("a/b", "z/b"));
	ok(rename("a", "z/b/c/a"));
	fails(rename("z", "z/b/c/a/z"), EINVAL);
	ok(rename("z/b/c", "c"));
	ok(rename("z", "c/a/z"));
	equal(stat_of("c/a/z/../../..").st_ino, stat_of(".").st_ino);
	fails(rename("c", "c/a/z/b/c"), EINVAL);
}

static void errors(void)
{
	char name[NAME_MAX + 2];

	memset(name, 'x', NAME_MAX + 1);
	name[NAME_MAX + 1] = '\0';
	put_text("f", "x");
	put_text("g", "y");
	ok(mkdir("d", 0755));
	ok(symlink("self", "self"));
	fails(rename("no", "h"), ENOENT);
	fails(rename("no", "f"), ENOENT);
	fails(rename("no", "no"), ENOENT);
	fails(rename("f", "no/h"), ENOENT);
	fails(rename("no/f", "h"), ENOENT);
	fails(rename("", "h"), ENOENT);
	fails(rename("f", ""), ENOENT);
	fails(rename("f/x", "h"), ENOTDIR);
	fails(rename("f", "g/h"), ENOTDIR);
	fails(rename("f/", "h"), ENOTDIR);
	fails(rename("f", "h/"), ENOTDIR);
	fails(rename("f", "g/"), ENOTDIR);
	fails(rename("self/x", "h"), ELOOP);
	fails(rename("f", "self/x"), ELOOP);
	fails(rename(name, "h"), ENAMETOOLONG);
	fails(rename("f", name), ENAMETOOLONG);
	/* Linux; POSIX has EINVAL. */
	fails_either(rename("d/.", "e"), EBUSY, EINVAL);
	fails_either(rename("d", "e/."), EBUSY, ENOENT);
	fails_either(rename("d/..", "e"), EBUSY, EINVAL);
	fails_either(rename(".", "e"), EBUSY, EINVAL);
	fails_either(rename("d", ".."), EBUSY, EINVAL);
	fails(renameat(-2, "f", AT_FDCWD, "h"), EBADF);
	has_text("f", "x");
	has_text("g", "y");
	check(!exists("h"));
	/* Into a directory that is gone. */
	int fd = ok(open("d", O_RDONLY));
	ok(rmdir("d"));
	fails(renameat(AT_FDCWD, "f", fd, "h"), ENOENT);
	fails(renameat(fd, "f", AT_FDCWD, "h"), ENOENT);
	has_text("f", "x");
}

static void permissions(void)
{
	ok(mkdir("closed", 0755));
	put_text("closed/f", "x");
	ok(mkdir("open", 0755));
	ok(chmod("open", 0777));
	put_text("open/f", "x");
	ok(mkdir("open-2", 0755));
	ok(chmod("open-2", 0777));
	ok(mkdir("open/foreign", 0755));
	if (as_user(USER_A)) {
		fails(rename("closed/f", "open/g"), EACCES);
		fails(rename("open/f", "closed/g"), EACCES);
		fails(rename("closed/f", "closed/g"), EACCES);
		/* Someone else's file, in directories that everybody may change. */
		ok(rename("open/f", "open-2/f"));
		ok(rename("open/foreign", "open/foreign-2"));
		/* Its ".." would change, for which one needs the right to write it. */
		fails(rename("open/foreign-2", "open-2/foreign"), EACCES);
		ok(mkdir("open/own", 0755));
		ok(rename("open/own", "open-2/own"));
		done();
	}
}

static void open_files(void)
{
	static unsigned char data[2 * BLOCK], found[2 * BLOCK];
	int fd = new_file("f");

	/* An open file has no name that it would depend on, nor has what is still to be written. */
	pattern(data, sizeof(data), 1);
	equal(write(fd, data, BLOCK), BLOCK);
	ok(mkdir("d", 0755));
	ok(rename("f", "d/g"));
	equal(write(fd, data + BLOCK, BLOCK), BLOCK);
	ok(rename("d", "e"));
	ok(ftruncate(fd, 2 * BLOCK - 5));
	ok(fsync(fd));
	put_text("f", "another one");
	ok(close(fd));
	equal(get("e/g", found, sizeof(found)), 2 * BLOCK - 5);
	same_bytes(found, data, 2 * BLOCK - 5);
	has_text("f", "another one");
}

/* ---- flags ---- */

static bool has_flags(void)
{
	bool works;

	put_text("probe", "");
	put_text("probe-2", "");
	works = renameat2(AT_FDCWD, "probe", AT_FDCWD, "probe-2", RENAME_EXCHANGE) == 0;
	if (!works) {
		fails_either(renameat2(AT_FDCWD, "probe", AT_FDCWD, "probe-2", RENAME_EXCHANGE),
			     EINVAL, ENOSYS);
		skip("renameat2", "%s", strerror(errno));
	}
	ok(unlink("probe"));
	ok(unlink("probe-2"));
	return works;
}

static int rename_flags(const char *from, const char *to, unsigned flags)
{
	return renameat2(AT_FDCWD, from, AT_FDCWD, to, flags);
}

static void no_replace(void)
{
	if (!has_flags())
		return;
	put_text("f", "x");
	put_text("g", "y");
	ok(link("f", "f2"));
	ok(mkdir("d", 0755));
	ok(mkdir("empty", 0755));
	ok(symlink("nowhere", "s"));
	fails(rename_flags("f", "g", RENAME_NOREPLACE), EEXIST);
	fails(rename_flags("f", "f", RENAME_NOREPLACE), EEXIST);
	fails(rename_flags("f", "f2", RENAME_NOREPLACE), EEXIST);
	fails(rename_flags("f", "empty", RENAME_NOREPLACE), EEXIST);
	fails(rename_flags("f", "s", RENAME_NOREPLACE), EEXIST);
	fails(rename_flags("d", "empty", RENAME_NOREPLACE), EEXIST);
	fails(rename_flags("no", "g", RENAME_NOREPLACE), ENOENT);
	has_text("g", "y");
	struct watch here = watch(".");
	tick();
	ok(rename_flags("f", "h", RENAME_NOREPLACE));
	changed(&here, "mc");
	ok(rename_flags("d", "empty/d", RENAME_NOREPLACE));
	has_text("h", "x");
	check(!exists("f"));
}

static void exchange(void)
{
	if (!has_flags())
		return;
	put_text("f", "x");
	put_text("g", "y");
	ok(mkdir("a", 0755));
	put_text("a/in", "in a");
	ok(mkdir("b", 0755));
	ok(mkdir("b/d", 0755));
	put_text("b/d/in", "in b/d");
	ino_t f = stat_of("f").st_ino, g = stat_of("g").st_ino;

	struct watch here = watch(".");
	tick();
	ok(rename_flags("f", "g", RENAME_EXCHANGE));
	changed(&here, "mc");
	has_text("f", "y");
	has_text("g", "x");
	equal(stat_of("f").st_ino, g);
	equal(stat_of("g").st_ino, f);

	/* Directories that are not empty, in different places. */
	check_dir_links(".", 2);
	struct watch parent = watch("b");
	here = watch(".");
	tick();
	ok(rename_flags("a", "b/d", RENAME_EXCHANGE));
	changed(&parent, "mc");
	changed(&here, "mc");
	has_text("a/in", "in b/d");
	has_text("b/d/in", "in a");
	equal(stat_of("a/..").st_ino, stat_of(".").st_ino);
	equal(stat_of("b/d/..").st_ino, stat_of("b").st_ino);
	check_dir_links("b", 1);

	/* A file and a directory: then link counts move. */
	check_dir_links(".", 2);
	ok(rename_flags("f", "b/d", RENAME_EXCHANGE));
	has_text("b/d", "y");
	has_text("f/in", "in a");
	equal(stat_of("f/..").st_ino, stat_of(".").st_ino);
	check_dir_links("b", 0);
	check_dir_links(".", 3);
	ok(symlink("nowhere", "s"));
	ok(rename_flags("s", "f", RENAME_EXCHANGE));
	check(S_ISLNK(stat_of("f").st_mode));
	check(S_ISDIR(stat_of("s").st_mode));
	ok(rename_flags("g", "g", RENAME_EXCHANGE));
	has_text("g", "x");
}

static void exchange_errors(void)
{
	if (!has_flags())
		return;
	put_text("f", "x");
	ok(mkdir("d", 0755));
	ok(mkdir("d/e", 0755));
	put_text("d/e/f", "y");
	fails(rename_flags("f", "no", RENAME_EXCHANGE), ENOENT);
	fails(rename_flags("no", "f", RENAME_EXCHANGE), ENOENT);
	check(!exists("no"));
	fails(rename_flags("d", "d/e", RENAME_EXCHANGE), EINVAL);
	fails(rename_flags("d/e", "d", RENAME_EXCHANGE), EINVAL);
	fails(rename_flags("d/e/f", "d", RENAME_EXCHANGE), EINVAL);
	fails(rename_flags("f", "d", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
	fails(rename_flags("f", "d", 0x80), EINVAL);
	fails(rename_flags("f", "g", 0x80), EINVAL);
	has_text("f", "x");
	has_text("d/e/f", "y");
}

static void exchange_long_names(void)
{
	char name[NAME_MAX + 1];

	if (!has_flags())
		return;
	memset(name, 'n', NAME_MAX);
	name[NAME_MAX] = '\0';
	put_text(name, "long");
	put_text("f", "short");
	ok(rename_flags(name, "f", RENAME_EXCHANGE));
	has_text("f", "long");
	has_text(name, "short");
	ok(mkdir("d", 0755));
	ok(rename_flags("d", name, RENAME_EXCHANGE));
	check(S_ISDIR(stat_of(name).st_mode));
	has_text("d", "short");
}

/* Many renames, after which everything must be where it belongs. */
static void chains(void)
{
	enum { COUNT = 64 };
	unsigned at[COUNT]; /* at[i]: which file has the name n<i>, or COUNT */
	char from[16], to[16], text[16];

	for (unsigned i = 0; i < COUNT; i++) {
		(void)snprintf(from, sizeof(from), "n%u", i);
		(void)snprintf(text, sizeof(text), "file %u", i);
		put_text(from, text);
		at[i] = i;
	}
	for (unsigned n = 0; n < 600; n++) {
		unsigned a = random_below(COUNT), b = random_below(COUNT);

		(void)snprintf(from, sizeof(from), "n%u", a);
		(void)snprintf(to, sizeof(to), "n%u", b);
		if (at[a] == COUNT) {
			fails(rename(from, to), ENOENT);
			continue;
		}
		ok(rename(from, to));
		if (a != b) {
			at[b] = at[a];
			at[a] = COUNT;
		}
		/* Do not run out of names. */
		if (n % 8 == 0) {
			(void)snprintf(to, sizeof(to), "n%u", a);
			if (at[a] == COUNT) {
				(void)snprintf(text, sizeof(text), "file %u", a);
				put_text(to, text);
				at[a] = a;
			}
		}
	}
	for (unsigned i = 0; i < COUNT; i++) {
		(void)snprintf(from, sizeof(from), "n%u", i);
		(void)snprintf(text, sizeof(text), "file %u", at[i]);
		if (at[i] == COUNT)
			check(!exists(from));
		else
			has_text(from, text);
	}
}

const struct posix_test posix_rename_tests[] = {
	{"rename", "files", files},
	{"rename", "over-file", over_file},
	{"rename", "same-file", same_file},
	{"rename", "directories", directories},
	{"rename", "over-directory", over_directory},
	{"rename", "kinds", kinds},
	{"rename", "own-subtree", own_subtree},
	{"rename", "errors", errors},
	{"rename", "permissions", permissions},
	{"rename", "open-files", open_files},
	{"rename", "no-replace", no_replace},
	{"rename", "exchange", exchange},
	{"rename", "exchange-errors", exchange_errors},
	{"rename", "exchange-long-names", exchange_long_names},
	{"rename", "chains", chains},
	{0},
};
