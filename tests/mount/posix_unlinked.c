/* Files and directories that are open, but have no name any more. */
#include "posix.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>

static void file_goes_on(void)
{
	static unsigned char data[3 * BLOCK], found[3 * BLOCK];
	int fd = new_file("f");
	struct stat st = stat_of_fd(fd);

	pattern(data, sizeof(data), 1);
	equal(write(fd, data, BLOCK), BLOCK);
	ok(unlink("f"));
	check(!exists("f"));
	equal(stat_of_fd(fd).st_nlink, 0);
	equal(stat_of_fd(fd).st_ino, st.st_ino);
	equal(stat_of_fd(fd).st_size, BLOCK);
	equal(pwrite(fd, data + BLOCK, 2 * BLOCK, BLOCK), 2 * BLOCK);
	ok(fsync(fd));
	forget(fd);
	equal(pread(fd, found, sizeof(found), 0), sizeof(found));
	same_bytes(found, data, sizeof(found));
	ok(ftruncate(fd, 1000));
	ok(ftruncate(fd, 2 * BLOCK));
	equal(pread(fd, found, sizeof(found), 0), 2 * BLOCK);
	same_bytes(found, data, 1000);
	all_zero(found + 1000, 2 * BLOCK - 1000, 1000);
	if (can_allocate(fd, 0, 0, 3 * BLOCK))
		equal(stat_of_fd(fd).st_size, 3 * BLOCK);
	ok(fchmod(fd, 0600));
	equal(stat_of_fd(fd).st_mode, S_IFREG | 0600);
	ok(fchown(fd, geteuid(), getegid()));
	ok(futimens(fd, (struct timespec[2]){{1000, 0}, {2000, 0}}));
	equal(stat_of_fd(fd).st_mtim.tv_sec, 2000);
	struct watch file = watch_fd(fd);
	tick();
	equal(write(fd, "x", 1), 1);
	changed(&file, "mc");
	char *map = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(map != MAP_FAILED);
	map[77] = 'm';
	equal(pread(fd, found, 1, 77), 1);
	equal(found[0], 'm');
}

static void name_used_again(void)
{
	char buf[8];
	int fd, again;

	put_text("f", "old");
	fd = ok(open("f", O_RDWR));
	ok(unlink("f"));
	put_text("f", "newer");
	check(stat_of("f").st_ino != stat_of_fd(fd).st_ino);
	equal(pwrite(fd, "OLD!", 4, 0), 4);
	has_text("f", "newer");
	equal(pread(fd, buf, sizeof(buf), 0), 4);
	same_bytes(buf, "OLD!", 4);
	ok(truncate("f", 2));
	equal(stat_of_fd(fd).st_size, 4);
	/* And so on: each its own. */
	again = ok(open("f", O_RDONLY));
	ok(unlink("f"));
	ok(mkdir("f", 0755));
	equal(stat_of_fd(again).st_size, 2);
	equal(stat_of_fd(fd).st_size, 4);
	check(S_ISDIR(stat_of("f").st_mode));
}

static void opened_again(void)
{
	char path[64], c;
	int fd, again;

	put_text("f", "x");
	fd = ok(open("f", O_RDONLY));
	ok(unlink("f"));
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = ok(open(path, O_RDWR));
	equal(write(again, "y", 1), 1);
	ok(close(again));
	equal(pread(fd, &c, 1, 0), 1);
	equal(c, 'y');
	equal(stat_of_fd(fd).st_nlink, 0);
}

static void inherited(void)
{
	char buf[4];
	int fd;

	put_text("f", "abc");
	fd = ok(open("f", O_RDWR));
	ok(unlink("f"));
	if (in_child()) {
		equal(read(fd, buf, 3), 3);
		equal(pwrite(fd, "ABC", 3, 0), 3);
		done();
	}
	/* The offset is shared as well. */
	equal(lseek(fd, 0, SEEK_CUR), 3);
	equal(pread(fd, buf, 3, 0), 3);
	same_bytes(buf, "ABC", 3);
}

static void replaced(void)
{
	char buf[4];
	int fd, dir;

	put_text("f", "old");
	put_text("g", "new");
	fd = ok(open("f", O_RDWR));
	ok(rename("g", "f"));
	equal(stat_of_fd(fd).st_nlink, 0);
	equal(write(fd, "OLD", 3), 3);
	has_text("f", "new");
	equal(pread(fd, buf, 3, 0), 3);
	same_bytes(buf, "OLD", 3);
	ok(mkdir("d", 0755));
	ok(mkdir("e", 0755));
	dir = ok(open("d", O_RDONLY));
	ok(rename("e", "d"));
	fails(openat(dir, "f", O_RDWR | O_CREAT, 0644), ENOENT);
	put_text("d/f", "in the new one");
	fails(openat(dir, "f", O_RDONLY), ENOENT);
}

static void many(void)
{
	enum { COUNT = 200 };
	int fds[COUNT];
	char name[16], text[16], buf[16];

	for (int i = 0; i < COUNT; i++) {
		(void)snprintf(name, sizeof(name), "f%d", i);
		(void)snprintf(text, sizeof(text), "file %d", i);
		fds[i] = new_file(name);
		equal(write(fds[i], text, strlen(text)), strlen(text));
		if (i % 2)
			ok(unlink(name));
	}
	for (int i = 0; i < COUNT; i += 2) {
		(void)snprintf(name, sizeof(name), "f%d", i);
		ok(unlink(name));
	}
	ok(fsync(fds[0]));
	for (int i = COUNT - 1; i >= 0; i--) {
		(void)snprintf(text, sizeof(text), "file %d", i);
		equal(pread(fds[i], buf, sizeof(buf), 0), strlen(text));
		same_bytes(buf, text, strlen(text));
		equal(stat_of_fd(fds[i]).st_nlink, 0);
		ok(close(fds[i]));
	}
	DIR *dir = opendir(".");
	unsigned entries = 0;
	while (dir && readdir(dir))
		entries++;
	equal(entries, 2);
	(void)closedir(dir);
}

static void directory_removed_as_well(void)
{
	char buf[16];
	int fd;

	/* Nothing of an unlinked file stays in its directory. */
	ok(mkdir("d", 0755));
	put_text("d/f", "contents");
	fd = ok(open("d/f", O_RDWR));
	ok(unlink("d/f"));
	ok(rmdir("d"));
	equal(pwrite(fd, "C", 1, 0), 1);
	ok(fsync(fd));
	equal(read(fd, buf, sizeof(buf)), 8);
	same_bytes(buf, "Contents", 8);
	ok(mkdir("d", 0755));
	check(!exists("d/f"));
}

/* ---- directories ---- */

static void expect_nothing_possible(int dir)
{
	char buf[16];
	struct stat st;

	fails(openat(dir, "f", O_RDWR | O_CREAT, 0644), ENOENT);
	fails(mkdirat(dir, "d", 0755), ENOENT);
	fails(mkfifoat(dir, "p", 0644), ENOENT);
	fails(symlinkat("x", dir, "s"), ENOENT);
	fails(linkat(AT_FDCWD, "other", dir, "l", 0), ENOENT);
	fails(renameat(AT_FDCWD, "other", dir, "r"), ENOENT);
	fails(renameat(dir, "f", AT_FDCWD, "r"), ENOENT);
	fails(unlinkat(dir, "f", 0), ENOENT);
	fails(unlinkat(dir, "f", AT_REMOVEDIR), ENOENT);
	fails(openat(dir, "f", O_RDONLY), ENOENT);
	fails(fstatat(dir, "f", &st, 0), ENOENT);
	fails(readlinkat(dir, "s", buf, sizeof(buf)), ENOENT);
}

static void directory(void)
{
	struct dirent *entry;

	put_text("other", "x");
	ok(mkdir("d", 0755));
	int fd = ok(open("d", O_RDONLY | O_DIRECTORY));
	ino_t ino = stat_of("d").st_ino;
	ok(rmdir("d"));
	equal(stat_of_fd(fd).st_ino, ino);
	equal(stat_of_fd(fd).st_nlink, 0);
	check(S_ISDIR(stat_of_fd(fd).st_mode));
	expect_nothing_possible(fd);
	ok(fchmod(fd, 0700));
	equal(stat_of_fd(fd).st_mode, S_IFDIR | 0700);
	/* Nothing is listed, or no more than what every directory has. */
	DIR *dir = fdopendir(fd);
	check(dir != NULL);
	errno = 0;
	while ((entry = readdir(dir)))
		check(!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."));
	equal(errno, 0);
	ok(closedir(dir));
	/* One of the same name is another one. */
	ok(mkdir("d", 0755));
	put_text("d/f", "x");
	has_text("other", "x");
}

static void working_directory(void)
{
	char buf[64];
	struct stat st;

	put_text("other", "x");
	ok(mkdir("d", 0755));
	ok(mkdir("d/e", 0755));
	int parent = ok(open(".", O_RDONLY));
	ok(chdir("d/e"));
	ok(unlinkat(parent, "d/e", AT_REMOVEDIR));
	fails((long)getcwd(buf, sizeof(buf)) == 0 ? -1 : 0, ENOENT);
	ok(stat(".", &st));
	equal(st.st_nlink, 0);
	fails(open("f", O_RDWR | O_CREAT, 0644), ENOENT);
	fails(mkdir("new", 0755), ENOENT);
	fails(open("f", O_RDONLY), ENOENT);
	fails(symlink("x", "s"), ENOENT);
	fails(rmdir("../e"), ENOENT);
	ok(open(".", O_RDONLY));
	/* The way out stays open. */
	ok(fchdir(parent));
	has_text("other", "x");
	ok(rmdir("d"));
}

static void stream_of_removed(void)
{
	ok(mkdir("d", 0755));
	put_text("d/a", "x");
	put_text("d/b", "x");
	DIR *dir = opendir("d");
	check(dir && readdir(dir));
	ok(unlink("d/a"));
	ok(unlink("d/b"));
	ok(rmdir("d"));
	/* What it had read before may still come, but it ends, and without an error. */
	unsigned n = 0;
	errno = 0;
	while (readdir(dir) && n < 10)
		n++;
	check(n <= 3);
	equal(errno, 0);
	rewinddir(dir);
	n = 0;
	while (readdir(dir) && n < 10)
		n++;
	check(n <= 2);
	ok(closedir(dir));
}

const struct posix_test posix_unlinked_tests[] = {
	{"unlinked", "file", file_goes_on},
	{"unlinked", "name-used-again", name_used_again},
	{"unlinked", "opened-again", opened_again},
	{"unlinked", "inherited", inherited},
	{"unlinked", "replaced", replaced},
	{"unlinked", "many", many},
	{"unlinked", "directory-as-well", directory_removed_as_well},
	{"unlinked", "directory", directory},
	{"unlinked", "working-directory", working_directory},
	{"unlinked", "stream", stream_of_removed},
	{0},
};
