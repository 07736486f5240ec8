/* Making and removing names: mkdir, mknod, symlink, link, unlink, rmdir; which names there can be. */
#include "posix.h"

#include <dirent.h>
#include <limits.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

/* A component that is too long by one. */
static const char *too_long(void)
{
	static char name[NAME_MAX + 2];

	memset(name, 'x', NAME_MAX + 1);
	return name;
}

/*
 * A directory's link count is 2 and one for each subdirectory in it, or 1 where the filesystem does
 * not count: POSIX has no rule, and programs take 1 as "unknown".
 */
static void check_dir_links(const char *name, unsigned subdirs)
{
	nlink_t count = stat_of(name).st_nlink;

	if (count == 1)
		note("the link count of directories is always 1");
	else
		equal(count, 2 + subdirs);
}

/* ---- mkdir ---- */

static void mkdir_new(void)
{
	struct watch parent = watch(".");
	struct stat st;

	tick();
	ok(mkdir("d", 0777));
	changed(&parent, "mc");
	st = stat_of("d");
	equal(st.st_mode, S_IFDIR | 0755);
	equal(st.st_uid, geteuid());
	equal(st.st_gid, getegid());
	equal(st.st_ino, stat_of("d/.").st_ino);
	equal(stat_of("d/..").st_ino, stat_of(".").st_ino);
	equal(stat_of("d/..").st_dev, st.st_dev);
	check(st.st_mtim.tv_sec > parent.before.st_mtim.tv_sec ||
	      st.st_mtim.tv_nsec > parent.before.st_mtim.tv_nsec);
	check_dir_links("d", 0);
	check_dir_links(".", 1);
	ok(mkdir("d/e", 0755));
	check_dir_links("d", 1);
	put_text("d/f", "files do not count");
	check_dir_links("d", 1);
	ok(mkdir("slash/", 0755));
	check(S_ISDIR(stat_of("slash").st_mode));
}

static void mkdir_mode(void)
{
	static const mode_t masks[] = {0, 022, 077, 0777};

	for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
		(void)umask(masks[i]);
		ok(mkdir("d", 0777));
		equal(stat_of("d").st_mode, S_IFDIR | (0777 & ~masks[i]));
		ok(rmdir("d"));
		ok(mkdir("d", 01777));
		equal(stat_of("d").st_mode, S_IFDIR | (01777 & ~masks[i]));
		ok(rmdir("d"));
	}
	(void)umask(022);
}

static void mkdir_errors(void)
{
	put_text("f", "x");
	ok(mkdir("d", 0755));
	ok(symlink("nowhere", "dangling"));
	ok(symlink("d", "to-dir"));
	ok(symlink("self", "self"));
	fails(mkdir("f", 0755), EEXIST);
	fails(mkdir("d", 0755), EEXIST);
	fails(mkdir("d/", 0755), EEXIST);
	fails(mkdir("dangling", 0755), EEXIST);
	fails(mkdir("to-dir", 0755), EEXIST);
	fails(mkdir("self", 0755), EEXIST);
	fails(mkdir(".", 0755), EEXIST);
	fails(mkdir("..", 0755), EEXIST);
	fails(mkdir("/", 0755), EEXIST);
	fails(mkdir("d/.", 0755), EEXIST);
	fails(mkdir("no/d", 0755), ENOENT);
	fails(mkdir("", 0755), ENOENT);
	fails(mkdir("f/d", 0755), ENOTDIR);
	fails(mkdir("self/d", 0755), ELOOP);
	fails(mkdir(too_long(), 0755), ENAMETOOLONG);
	check(!exists("nowhere"));
	ok(mkdir("to-dir/e", 0755));
	check(S_ISDIR(stat_of("d/e").st_mode));
	if (as_user(USER_A)) {
		fails(mkdir("new", 0755), EACCES);
		fails(mkdir("d", 0755), EEXIST);
		done();
	}
}

/* ---- mknod ---- */

static void mknod_kinds(void)
{
	static const mode_t types[] = {S_IFREG, S_IFIFO, S_IFSOCK};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct watch parent = watch(".");

		tick();
		ok(mknod("n", types[i] | 0666, 0));
		changed(&parent, "mc");
		equal(stat_of("n").st_mode, types[i] | 0644);
		equal(stat_of("n").st_nlink, 1);
		equal(stat_of("n").st_size, 0);
		fails(mknod("n", types[i] | 0666, 0), EEXIST);
		ok(chmod("n", 0600));
		equal(stat_of("n").st_mode, types[i] | 0600);
		ok(rename("n", "m"));
		ok(link("m", "n"));
		equal(stat_of("n").st_nlink, 2);
		ok(unlink("m"));
		ok(unlink("n"));
	}
	/* Without a type it is a regular file. */
	ok(mknod("n", 0644, 0));
	equal(stat_of("n").st_mode, S_IFREG | 0644);
}

static void mknod_devices(void)
{
	static const struct {
		unsigned major, minor;
	} numbers[] = {{0, 0}, {1, 3}, {8, 255}, {8, 256}, {255, 65535}, {256, 1}, {4095, 1048575}};
	static const mode_t types[] = {S_IFCHR, S_IFBLK};

	if (as_user(USER_A)) {
		fails_either(mknod("c", S_IFCHR | 0666, makedev(1, 3)), EPERM, EACCES);
		done();
	}
	if (mknod("c", S_IFCHR | 0666, makedev(1, 3))) {
		skip("devices", "device nodes cannot be made: %s", strerror(errno));
		return;
	}
	ok(unlink("c"));
	for (size_t t = 0; t < 2; t++) {
		for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
			ok(mknod("n", types[t] | 0600,
				 makedev(numbers[i].major, numbers[i].minor)));
			equal(stat_of("n").st_mode, types[t] | 0600);
			equal(major(stat_of("n").st_rdev), numbers[i].major);
			equal(minor(stat_of("n").st_rdev), numbers[i].minor);
			ok(unlink("n"));
		}
	}
}

static void mknod_errors(void)
{
	put_text("f", "x");
	fails(mkfifo("f", 0644), EEXIST);
	fails(mkfifo("no/p", 0644), ENOENT);
	fails(mkfifo("f/p", 0644), ENOTDIR);
	fails(mkfifo("", 0644), ENOENT);
	fails(mkfifo(too_long(), 0644), ENAMETOOLONG);
	/* Linux: only mkdir() makes directories, and only symlink() symlinks. */
	fails(mknod("d", S_IFDIR | 0755, 0), EPERM);
	fails(mknod("s", S_IFLNK | 0777, 0), EINVAL);
	fails(mknod("p/", S_IFIFO | 0644, 0), ENOENT);
	if (as_user(USER_A)) {
		fails(mkfifo("p", 0644), EACCES);
		done();
	}
}

/* ---- symlinks ---- */

static void symlink_lengths(void)
{
	static const size_t lengths[] = {1,   2,   59,  60,  63,   64,   65,   255,
					 256, 511, 512, 513, 1023, 1024, 1025, 4095};
	char target[PATH_MAX + 1], found[PATH_MAX + 1];

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		size_t len = lengths[i];

		memset(target, 'a' + (int)(i % 26), sizeof(target));
		target[len] = '\0';
		ok(symlink(target, "s"));
		equal(stat_of("s").st_size, len);
		equal(stat_of("s").st_nlink, 1);
		check(S_ISLNK(stat_of("s").st_mode));
		equal(readlink("s", found, sizeof(found)), len);
		same_bytes(found, target, len);
		ok(unlink("s"));
	}
	/* Names are bytes, and so are targets. */
	static const char odd[] = "\xff\x01\n\t /../..//x/";
	ok(symlink(odd, "s"));
	equal(readlink("s", found, sizeof(found)), sizeof(odd) - 1);
	same_bytes(found, odd, sizeof(odd) - 1);
	memset(target, 'x', sizeof(target));
	target[PATH_MAX] = '\0';
	fails(symlink(target, "t"), ENAMETOOLONG);
	fails(symlink("", "t"), ENOENT);
	check(!exists("t"));
}

static void symlink_times(void)
{
	struct watch parent = watch(".");

	tick();
	ok(symlink("nowhere", "s"));
	changed(&parent, "mc");
	equal(stat_of("s").st_mode, S_IFLNK | 0777);
	equal(stat_of("s").st_uid, geteuid());
}

static void symlink_errors(void)
{
	put_text("f", "x");
	ok(mkdir("d", 0755));
	ok(symlink("nowhere", "s"));
	fails(symlink("x", "f"), EEXIST);
	fails(symlink("x", "d"), EEXIST);
	fails(symlink("x", "s"), EEXIST);
	fails(symlink("x", "no/s"), ENOENT);
	fails(symlink("x", ""), ENOENT);
	fails(symlink("x", "f/s"), ENOTDIR);
	fails(symlink("x", too_long()), ENAMETOOLONG);
	fails(symlink("x", "new/"), ENOENT);
	if (as_user(USER_A)) {
		fails(symlink("x", "new"), EACCES);
		done();
	}
}

static void reading_links(void)
{
	char buf[16];

	ok(symlink("target", "s"));
	put_text("f", "x");
	ok(mkdir("d", 0755));
	memset(buf, '#', sizeof(buf));
	/* Cut off without a sign, and without a terminator. */
	equal(readlink("s", buf, 3), 3);
	same_bytes(buf, "tar####", 7);
	equal(readlink("s", buf, sizeof(buf)), 6);
	same_bytes(buf, "target####", 10);
	fails(readlink("s", buf, 0), EINVAL);
	fails(readlink("f", buf, sizeof(buf)), EINVAL);
	fails(readlink("d", buf, sizeof(buf)), EINVAL);
	fails(readlink("no", buf, sizeof(buf)), ENOENT);
	fails(readlink("f/s", buf, sizeof(buf)), ENOTDIR);
	fails(readlink("", buf, sizeof(buf)), ENOENT);
	fails(readlink(too_long(), buf, sizeof(buf)), ENAMETOOLONG);
	ok(mkdir("closed", 0700));
	ok(symlink("x", "closed/s"));
	if (as_user(USER_A)) {
		equal(readlink("s", buf, sizeof(buf)), 6);
		fails(readlink("closed/s", buf, sizeof(buf)), EACCES);
		done();
	}
}

static void following_links(void)
{
	struct stat st;

	ok(mkdir("d", 0755));
	put_text("d/f", "contents");
	ok(symlink("d", "s"));
	ok(symlink("s/f", "t"));
	ok(symlink("../t", "d/up"));
	ok(symlink("f/x", "d/through-file"));
	has_text("s/f", "contents");
	has_text("t", "contents");
	has_text("d/up", "contents");
	ok(stat("s/", &st));
	check(S_ISDIR(st.st_mode));
	ok(lstat("s/", &st));
	check(S_ISDIR(st.st_mode));
	ok(lstat("s", &st));
	check(S_ISLNK(st.st_mode));
	fails(stat("t/", &st), ENOTDIR);
	fails(stat("d/through-file", &st), ENOTDIR);
	ok(unlink("d/f"));
	fails(stat("t", &st), ENOENT);
	put_text("t", "made through two symlinks");
	has_text("d/f", "made through two symlinks");
	ok(truncate("t", 4));
	has_text("d/f", "made");
}

/* ---- link ---- */

static void link_counts(void)
{
	char name[16];
	ino_t ino;

	put_text("f", "contents");
	ok(mkdir("d", 0755));
	ino = stat_of("f").st_ino;

	struct watch file = watch("f"), parent = watch("d"), here = watch(".");
	tick();
	ok(link("f", "d/g"));
	changed(&file, "c");
	changed(&parent, "mc");
	changed(&here, "");
	equal(stat_of("f").st_nlink, 2);
	equal(stat_of("d/g").st_ino, ino);
	equal(stat_of("d/g").st_nlink, 2);
	put_text("d/g", "changed");
	has_text("f", "changed");
	for (int i = 0; i < 100; i++) {
		(void)snprintf(name, sizeof(name), "l%d", i);
		ok(link(i % 2 ? "d/g" : "f", name));
		equal(stat_of(name).st_nlink, 3 + i);
	}
	for (int i = 99; i >= 0; i--) {
		(void)snprintf(name, sizeof(name), "l%d", i);
		ok(unlink(name));
		equal(stat_of("f").st_nlink, 2 + i);
	}
	ok(unlink("f"));
	equal(stat_of("d/g").st_nlink, 1);
	has_text("d/g", "changed");
}

static void link_kinds(void)
{
	struct stat st;

	ok(mkfifo("p", 0644));
	ok(link("p", "p2"));
	equal(stat_of("p").st_nlink, 2);
	check(S_ISFIFO(stat_of("p2").st_mode));
	/* link() is about the symlink itself, unless linkat() is told to follow. */
	put_text("f", "x");
	ok(symlink("f", "s"));
	ok(link("s", "s2"));
	check(S_ISLNK(stat_of("s2").st_mode));
	equal(stat_of("s").st_nlink, 2);
	equal(stat_of("s2").st_ino, stat_of("s").st_ino);
	ok(linkat(AT_FDCWD, "s", AT_FDCWD, "f2", AT_SYMLINK_FOLLOW));
	equal(stat_of("f2").st_ino, stat_of("f").st_ino);
	ok(symlink("nowhere", "dangling"));
	ok(link("dangling", "dangling-2"));
	fails(linkat(AT_FDCWD, "dangling", AT_FDCWD, "z", AT_SYMLINK_FOLLOW), ENOENT);
	int fd = ok(open("f", O_RDONLY));
	ok(fstat(fd, &st));
	equal(st.st_nlink, 2);
}

static void link_errors(void)
{
	char path[64];

	put_text("f", "x");
	put_text("g", "y");
	ok(mkdir("d", 0755));
	ok(symlink("nowhere", "dangling"));
	fails(link("d", "e"), EPERM);
	fails(link("f", "g"), EEXIST);
	fails(link("f", "f"), EEXIST);
	fails(link("f", "d"), EEXIST);
	fails(link("f", "dangling"), EEXIST);
	fails(link("no", "h"), ENOENT);
	fails(link("f", "no/h"), ENOENT);
	fails(link("", "h"), ENOENT);
	fails(link("f", ""), ENOENT);
	fails(link("f/x", "h"), ENOTDIR);
	fails(link("f", "g/h"), ENOTDIR);
	fails(link("f/", "h"), ENOTDIR);
	fails(link("f", "h/"), ENOENT);
	fails(link("f", too_long()), ENAMETOOLONG);
	fails(link(too_long(), "h"), ENAMETOOLONG);
	fails(linkat(AT_FDCWD, "f", AT_FDCWD, "h", 0x10000), EINVAL);
	equal(stat_of("f").st_nlink, 1);
	has_text("g", "y");
	/* A file that has lost its last name gets none again. */
	int fd = ok(open("g", O_RDONLY));
	ok(unlink("g"));
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fails(linkat(AT_FDCWD, path, AT_FDCWD, "h", AT_SYMLINK_FOLLOW), ENOENT);
	ok(mkdir("open", 0777));
	ok(chmod("open", 0777));
	ok(chmod("f", 0666));
	if (as_user(USER_A)) {
		fails(link("f", "h"), EACCES);
		fails(unlink("f"), EACCES);
		done();
	}
}

static void other_filesystem(void)
{
	struct stat st;

	put_text("f", "x");
	fails(link("/proc/version", "h"), EXDEV);
	fails(rename("/proc/version", "h"), EXDEV);
	if (stat("/dev/shm", &st) == 0 && st.st_dev != stat_of(".").st_dev) {
		fails(link("f", "/dev/shm/posix-test-link"), EXDEV);
		fails(rename("f", "/dev/shm/posix-test-rename"), EXDEV);
	}
	has_text("f", "x");
	check(!exists("h"));
}

/* ---- unlink, rmdir ---- */

static void unlink_effects(void)
{
	ok(mkdir("d", 0755));
	put_text("d/f", "contents");
	ok(link("d/f", "d/g"));
	ok(symlink("g", "d/s"));
	int fd = ok(open("d/f", O_RDONLY));

	struct watch file = watch_fd(fd), parent = watch("d");
	tick();
	ok(unlink("d/f"));
	changed(&file, "c");
	changed(&parent, "mc");
	check(!exists("d/f"));
	equal(stat_of_fd(fd).st_nlink, 1);
	struct watch target = watch("d/g");
	tick();
	ok(unlink("d/s"));
	changed(&target, "");
	has_text("d/g", "contents");
	ok(chmod("d/g", 0));
	ok(unlink("d/g"));
	equal(stat_of_fd(fd).st_nlink, 0);
}

static void unlink_errors(void)
{
	put_text("f", "x");
	ok(mkdir("d", 0755));
	ok(symlink("d", "s"));
	fails(unlink("no"), ENOENT);
	fails(unlink("no/f"), ENOENT);
	fails(unlink(""), ENOENT);
	/* Linux; POSIX has EPERM. */
	fails(unlink("d"), EISDIR);
	fails(unlink("."), EISDIR);
	fails(unlink("d/"), EISDIR);
	fails(unlink("f/"), ENOTDIR);
	fails(unlink("f/x"), ENOTDIR);
	fails(unlink("s/"), ENOTDIR);
	fails(unlink(too_long()), ENAMETOOLONG);
	fails(unlinkat(AT_FDCWD, "f", AT_REMOVEDIR), ENOTDIR);
	fails(unlinkat(AT_FDCWD, "f", 0x10000), EINVAL);
	ok(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR));
	ok(unlink("s"));
	ok(unlink("f"));
	fails(unlink("f"), ENOENT);
}

static void rmdir_effects(void)
{
	ok(mkdir("d", 0755));
	ok(mkdir("d/e", 0755));
	check_dir_links("d", 1);

	struct watch parent = watch("d");
	tick();
	ok(rmdir("d/e"));
	changed(&parent, "mc");
	check_dir_links("d", 0);
	check(!exists("d/e"));
	ok(mkdir("d/e", 0));
	ok(rmdir("d/e/"));
	ok(rmdir("d"));
}

static void rmdir_errors(void)
{
	put_text("f", "x");
	ok(mkdir("d", 0755));
	ok(mkdir("d/e", 0755));
	ok(symlink("d/e", "s"));
	ok(mkdir("g", 0755));
	put_text("g/f", "x");
	ok(mkdir("h", 0755));
	ok(symlink("nowhere", "h/s"));
	fails(rmdir("d"), ENOTEMPTY);
	fails(rmdir("g"), ENOTEMPTY);
	fails(rmdir("h"), ENOTEMPTY);
	fails(rmdir("f"), ENOTDIR);
	fails(rmdir("s"), ENOTDIR);
	fails(rmdir("s/"), ENOTDIR);
	fails(rmdir("f/x"), ENOTDIR);
	fails(rmdir("no"), ENOENT);
	fails(rmdir("no/d"), ENOENT);
	fails(rmdir(""), ENOENT);
	fails(rmdir("."), EINVAL);
	fails(rmdir("d/."), EINVAL);
	fails(rmdir("d/.."), ENOTEMPTY);
	/* Something is mounted on it; where the root is mounted read-only, that is told first. */
	if (geteuid() == 0)
		fails_either(rmdir("/proc"), EBUSY, EROFS);
	fails(rmdir(too_long()), ENAMETOOLONG);
	ok(rmdir("d/e"));
	ok(rmdir("d"));
	fails(rmdir("d"), ENOENT);
	if (as_user(USER_A)) {
		fails(rmdir("g"), EACCES);
		done();
	}
}

/* ---- names ---- */

static bool is_listed(const char *name)
{
	DIR *dir = opendir(".");
	struct dirent *entry;
	unsigned times = 0;

	check(dir != NULL);
	while (dir && (entry = readdir(dir)))
		times += !strcmp(entry->d_name, name);
	(void)closedir(dir);
	check(times <= 1);
	return times == 1;
}

static void name_lengths(void)
{
	static const size_t lengths[] = {1, 2, 3, 63, 64, 65, 127, 128, 129, 254, 255};
	char name[NAME_MAX + 1], other[NAME_MAX + 1];

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		size_t len = lengths[i];

		memset(name, 'n', len);
		name[len] = '\0';
		memcpy(other, name, len + 1);
		other[len - 1] = 'm';

		check(!exists(name));
		put_text(name, "contents");
		has_text(name, "contents");
		check(is_listed(name));
		/* The last byte counts. */
		check(!exists(other));
		ok(link(name, other));
		equal(stat_of(other).st_nlink, 2);
		ok(unlink(name));
		check(!exists(name));
		check(!is_listed(name));
		has_text(other, "contents");
		/* Between all lengths: a long name is stored in another way than a short one. */
		for (size_t k = 0; k < sizeof(lengths) / sizeof(lengths[0]); k++) {
			char next[NAME_MAX + 1];

			memset(next, 'r', lengths[k]);
			next[lengths[k]] = '\0';
			ok(rename(other, next));
			check(!exists(other));
			check(is_listed(next));
			has_text(next, "contents");
			ok(rename(next, other));
		}
		ok(unlink(other));
		ok(mkdir(name, 0755));
		ok(rmdir(name));
		ok(symlink(name, other));
		ok(unlink(other));
		ok(mkfifo(name, 0644));
		ok(unlink(name));
	}
}

static void names_too_long(void)
{
	const char *name = too_long();
	struct stat st;
	char buf[8], path[2 * NAME_MAX];

	put_text("f", "x");
	ok(mkdir("d", 0755));
	fails(stat(name, &st), ENAMETOOLONG);
	fails(lstat(name, &st), ENAMETOOLONG);
	fails(open(name, O_RDONLY), ENAMETOOLONG);
	fails(open(name, O_RDWR | O_CREAT, 0644), ENAMETOOLONG);
	fails(creat(name, 0644), ENAMETOOLONG);
	fails(mkdir(name, 0755), ENAMETOOLONG);
	fails(mknod(name, S_IFIFO | 0644, 0), ENAMETOOLONG);
	fails(symlink("x", name), ENAMETOOLONG);
	fails(link("f", name), ENAMETOOLONG);
	fails(link(name, "g"), ENAMETOOLONG);
	fails(rename("f", name), ENAMETOOLONG);
	fails(rename(name, "g"), ENAMETOOLONG);
	fails(unlink(name), ENAMETOOLONG);
	fails(rmdir(name), ENAMETOOLONG);
	fails(readlink(name, buf, sizeof(buf)), ENAMETOOLONG);
	fails(chmod(name, 0644), ENAMETOOLONG);
	fails(chown(name, 0, 0), ENAMETOOLONG);
	fails(truncate(name, 0), ENAMETOOLONG);
	fails(access(name, F_OK), ENAMETOOLONG);
	fails(chdir(name), ENAMETOOLONG);
	fails(utimensat(AT_FDCWD, name, NULL, 0), ENAMETOOLONG);
	(void)snprintf(path, sizeof(path), "d/%s/f", name);
	fails(stat(path, &st), ENAMETOOLONG);
	(void)snprintf(path, sizeof(path), "no/%s", name);
	fails(stat(path, &st), ENOENT);
	has_text("f", "x");
}

static void name_bytes(void)
{
	static const char *const names[] = {
		"a",   "A",    " ",    "  ",       "...",      "....",       ".a",
		"a.",  "a ",   " a",   "-",        "*",        "\\",         "a\nb",
		"\t",  "\x7f", "\xff", "\xff\xfe", "\xc3\xa4", "a\xcc\x88",  "\xe2\x82\xac",
		"'\"", "con.", "a:b",  "~",        "$x",       "lost+found", "\x01",
	};
	const size_t count = sizeof(names) / sizeof(names[0]);
	char name[3] = "x?";

	/* Names are bytes: nothing is folded, normalised, or taken for a pattern. */
	for (size_t i = 0; i < count; i++) {
		int fd = new_file(names[i]);

		equal(write(fd, names[i], strlen(names[i])), strlen(names[i]));
		ok(close(fd));
	}
	for (size_t i = 0; i < count; i++) {
		check(is_listed(names[i]));
		has_text(names[i], names[i]);
		ok(unlink(names[i]));
		check(!exists(names[i]));
	}
	for (int byte = 1; byte < 256; byte++) {
		if (byte == '/')
			continue;
		name[1] = (char)byte;
		ok(close(new_file(name)));
	}
	for (int byte = 1; byte < 256; byte++) {
		name[1] = (char)byte;
		if (byte != '/')
			ok(unlink(name));
	}
	check(!is_listed("xa"));
}

static void name_statistics(void)
{
	struct statfs fs;

	ok(statfs(".", &fs));
	equal(fs.f_namelen, 255);
	equal(pathconf(".", _PC_NAME_MAX), 255);
	equal(pathconf(".", _PC_PATH_MAX), PATH_MAX);
	check(pathconf(".", _PC_LINK_MAX) >= 8);
	equal(pathconf(".", _PC_NO_TRUNC), 1);
}

/* ---- paths ---- */

static void path_lengths(void)
{
	char path[PATH_MAX + 1];
	struct stat st;

	put_text("f", "x");
	/* "././././f" with 4095 bytes is the longest path: PATH_MAX counts the terminator. */
	for (size_t i = 0; i < PATH_MAX; i++)
		path[i] = i % 2 ? '/' : '.';
	path[PATH_MAX - 2] = 'f';
	path[PATH_MAX - 1] = '\0';
	equal(strlen(path), PATH_MAX - 1);
	ok(stat(path, &st));
	ok(open(path, O_RDONLY));
	path[PATH_MAX - 2] = '.';
	path[PATH_MAX - 1] = '/';
	path[PATH_MAX] = '\0';
	fails(stat(path, &st), ENAMETOOLONG);
	fails(open(path, O_RDONLY), ENAMETOOLONG);
	fails(mkdir(path, 0755), ENAMETOOLONG);
	fails(rename("f", path), ENAMETOOLONG);
	fails(unlink(path), ENAMETOOLONG);
	has_text("f", "x");
	ok(stat(".//././//f", &st));
}

static void path_depth(void)
{
	enum { DEPTH = 40 };
	char name[NAME_MAX + 1];

	/* Deeper than any path reaches: only relative to where one is. */
	memset(name, 'd', NAME_MAX);
	name[NAME_MAX] = '\0';
	for (int i = 0; i < DEPTH; i++) {
		ok(mkdir(name, 0755));
		ok(chdir(name));
	}
	put_text("f", "deep");
	has_text("f", "deep");
	check(S_ISREG(stat_of("f").st_mode));
	ok(unlink("f"));
	for (int i = 0; i < DEPTH; i++) {
		struct stat here = stat_of(".");

		ok(chdir(".."));
		equal(stat_of(name).st_ino, here.st_ino);
		ok(rmdir(name));
	}
}

static void path_dots(void)
{
	struct stat st;

	ok(mkdir("d", 0755));
	ok(mkdir("d/e", 0755));
	put_text("d/f", "x");
	equal(stat_of("d/e/..").st_ino, stat_of("d").st_ino);
	equal(stat_of("d/e/../..").st_ino, stat_of(".").st_ino);
	equal(stat_of("d/./e/./../f").st_ino, stat_of("d/f").st_ino);
	fails(stat("d/f/..", &st), ENOTDIR);
	fails(stat("d/no/..", &st), ENOENT);
	fails(stat("d/f/", &st), ENOTDIR);
	ok(stat("d/e///", &st));
}

/* What was looked up in vain must be found once it is there, and the other way around. */
static void names_come_and_go(void)
{
	for (int i = 0; i < 3; i++) {
		check(!exists("a"));
		put_text("a", "x");
		check(exists("a"));
		check(!exists("b"));
		ok(rename("a", "b"));
		check(!exists("a"));
		check(exists("b"));
		ok(link("b", "a"));
		check(exists("a"));
		ok(unlink("a"));
		check(!exists("a"));
		ok(unlink("b"));
		check(!exists("b"));
		ok(mkdir("a", 0755));
		check(!exists("a/x"));
		ok(rmdir("a"));
		check(!exists("a"));
		ok(symlink("b", "a"));
		check(exists("a"));
		ok(unlink("a"));
	}
}

const struct posix_test posix_name_tests[] = {
	{"mkdir", "new", mkdir_new},
	{"mkdir", "mode", mkdir_mode},
	{"mkdir", "errors", mkdir_errors},
	{"mknod", "kinds", mknod_kinds},
	{"mknod", "devices", mknod_devices},
	{"mknod", "errors", mknod_errors},
	{"symlink", "lengths", symlink_lengths},
	{"symlink", "times", symlink_times},
	{"symlink", "errors", symlink_errors},
	{"symlink", "readlink", reading_links},
	{"symlink", "following", following_links},
	{"link", "counts", link_counts},
	{"link", "kinds", link_kinds},
	{"link", "errors", link_errors},
	{"link", "other-filesystem", other_filesystem},
	{"unlink", "effects", unlink_effects},
	{"unlink", "errors", unlink_errors},
	{"rmdir", "effects", rmdir_effects},
	{"rmdir", "errors", rmdir_errors},
	{"names", "lengths", name_lengths},
	{"names", "too-long", names_too_long},
	{"names", "bytes", name_bytes},
	{"names", "statistics", name_statistics},
	{"names", "come-and-go", names_come_and_go},
	{"paths", "lengths", path_lengths},
	{"paths", "depth", path_depth},
	{"paths", "dots", path_dots},
	{0},
};
