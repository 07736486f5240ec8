/* Attributes: modes, owners, times, inode flags, extended attributes. */
#include "posix.h"

#include <dirent.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <sys/xattr.h>

static mode_t mode_of(const char *name)
{
	return stat_of(name).st_mode & 07777;
}

static bool is_root(void)
{
	if (geteuid() == 0)
		return true;
	skip("users", "needs root: nothing was tested as another user");
	return false;
}

/* ---- chmod ---- */

static void modes(void)
{
	put_text("f", "x");
	ok(mkdir("d", 0755));
	ok(mkfifo("p", 0644));
	ok(symlink("f", "s"));
	for (mode_t mode = 0; mode < 010000; mode += mode < 0100 ? 1 : 0111) {
		ok(chmod("f", mode));
		equal(stat_of("f").st_mode, S_IFREG | mode);
		ok(chmod("d", mode));
		equal(stat_of("d").st_mode, S_IFDIR | mode);
	}
	ok(chmod("p", 0123));
	equal(stat_of("p").st_mode, S_IFIFO | 0123);
	ok(chmod("s", 0601));
	equal(stat_of("f").st_mode, S_IFREG | 0601);
	equal(stat_of("s").st_mode, S_IFLNK | 0777);
	int fd = ok(open("f", O_RDONLY)), dir = ok(open("d", O_RDONLY));
	ok(fchmod(fd, 0444));
	equal(mode_of("f"), 0444);
	ok(fchmod(dir, 0711));
	equal(mode_of("d"), 0711);
	ok(fchmodat(AT_FDCWD, "f", 0640, 0));
	equal(mode_of("f"), 0640);
	/* Bits of the type are ignored. */
	ok(chmod("f", S_IFDIR | 0600));
	equal(stat_of("f").st_mode, S_IFREG | 0600);
	ok(unlink("f"));
	ok(fchmod(fd, 0751));
	equal(stat_of_fd(fd).st_mode, S_IFREG | 0751);
}

static void chmod_times(void)
{
	put_text("f", "x");
	ok(mkdir("d", 0755));
	struct watch file = watch("f"), dir = watch("d"), here = watch(".");
	tick();
	ok(chmod("f", 0600));
	ok(chmod("d", 0700));
	changed(&file, "c");
	changed(&dir, "c");
	changed(&here, "");
	/* Even when it is what it was. */
	file = watch("f");
	tick();
	ok(chmod("f", 0600));
	changed(&file, "c");
}

static void chmod_errors(void)
{
	put_text("f", "x");
	ok(chmod("f", 0666));
	ok(mkdir("closed", 0700));
	put_text("closed/f", "x");
	ok(symlink("self", "self"));
	ok(symlink("nowhere", "dangling"));
	fails(chmod("no", 0644), ENOENT);
	fails(chmod("dangling", 0644), ENOENT);
	fails(chmod("", 0644), ENOENT);
	fails(chmod("f/x", 0644), ENOTDIR);
	fails(chmod("self", 0644), ELOOP);
	fails(fchmod(-1, 0644), EBADF);
	if (as_user(USER_A)) {
		fails(chmod("f", 0644), EPERM);
		fails(chmod("closed/f", 0644), EACCES);
		fails(fchmod(ok(open("f", O_RDWR)), 0644), EPERM);
		done();
	}
	equal(mode_of("f"), 0666);
}

static void chmod_setgid(void)
{
	put_text("own", "x");
	put_text("other", "x");
	if (!is_root())
		return;
	ok(chown("own", USER_A, GROUP_OF(USER_A)));
	ok(chown("other", USER_A, GROUP_SHARED));
	if (as_user(USER_A)) {
		ok(chmod("own", 06755));
		equal(mode_of("own"), 06755);
		/* Not a member of the file's group: nobody gets into it by a file of one's own. */
		ok(chmod("other", 06755));
		equal(mode_of("other"), 04755);
		ok(chmod("own", 01644));
		equal(mode_of("own") & 0777, 0644);
		done();
	}
	if (as_member(USER_A, GROUP_SHARED)) {
		ok(chmod("other", 02755));
		equal(mode_of("other"), 02755);
		done();
	}
}

/* ---- chown ---- */

static void owners(void)
{
	static const unsigned ids[] = {0, 1, 1000, 65534, 65535, 65536, 0x7fffffff, 0xfffffffe};

	put_text("f", "x");
	ok(mkdir("d", 0755));
	ok(symlink("f", "s"));
	if (!is_root())
		return;
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		ok(chown("f", ids[i], ids[i]));
		equal(stat_of("f").st_uid, ids[i]);
		equal(stat_of("f").st_gid, ids[i]);
	}
	ok(chown("f", 7, -1));
	equal(stat_of("f").st_uid, 7);
	equal(stat_of("f").st_gid, 0xfffffffe);
	ok(chown("f", -1, 8));
	equal(stat_of("f").st_uid, 7);
	equal(stat_of("f").st_gid, 8);
	ok(chown("f", -1, -1));
	equal(stat_of("f").st_uid, 7);
	ok(chown("s", 9, 10));
	equal(stat_of("f").st_uid, 9);
	equal(stat_of("s").st_uid, 0);
	ok(lchown("s", 11, 12));
	equal(stat_of("s").st_uid, 11);
	equal(stat_of("s").st_gid, 12);
	equal(stat_of("f").st_uid, 9);
	ok(chown("d", 13, 14));
	equal(stat_of("d").st_uid, 13);
	int fd = ok(open("f", O_RDONLY));
	ok(fchown(fd, 15, 16));
	equal(stat_of("f").st_gid, 16);
	ok(fchownat(fd, "", 17, 18, AT_EMPTY_PATH));
	equal(stat_of("f").st_uid, 17);
	ok(unlink("f"));
	ok(fchown(fd, 19, 20));
	equal(stat_of_fd(fd).st_uid, 19);
}

static void chown_times(void)
{
	put_text("f", "x");
	struct watch file = watch("f"), here = watch(".");
	tick();
	ok(chown("f", geteuid(), getegid()));
	changed(&file, "c");
	changed(&here, "");
	/* POSIX: with both ids -1 it need not. */
	file = watch("f");
	tick();
	ok(chown("f", -1, -1));
	changed_or(&file, "", "c");
}

static void chown_clears(void)
{
	static const struct {
		mode_t before, after;
	} rows[] = {
		{0755, 0755},
		{04755, 0755},
		{02755, 0755},
		{06755, 0755},
		{04644, 0644},
		{06711, 0711},
		{01755, 01755},
		{07777, 01777},
		{06000, 02000},
		/* Without x for the group, the bit once meant mandatory locking: root keeps it. */
		{02745, 02745},
	};

	put_text("f", "x");
	ok(mkdir("d", 0755));
	if (!is_root())
		return;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ok(chmod("f", rows[i].before));
		ok(chown("f", 1000 + (unsigned)i, 1000));
		equal(mode_of("f"), rows[i].after);
	}
	ok(chmod("f", 06755));
	ok(chown("f", -1, 77));
	equal(mode_of("f"), 0755);
	/* A directory's bits mean something else, and stay. */
	ok(chmod("d", 07777));
	ok(chown("d", 1000, 1000));
	equal(mode_of("d"), 07777);
	ok(chmod("f", 06755));
	ok(chown("f", USER_A, GROUP_OF(USER_A)));
	ok(chmod("f", 06755));
	if (as_member(USER_A, GROUP_SHARED)) {
		ok(chown("f", -1, GROUP_SHARED));
		equal(mode_of("f"), 0755);
		done();
	}
}

static void chown_errors(void)
{
	put_text("f", "x");
	ok(chmod("f", 0666));
	fails(chown("no", 0, 0), ENOENT);
	fails(chown("", 0, 0), ENOENT);
	fails(chown("f/x", 0, 0), ENOTDIR);
	fails(fchown(-1, 0, 0), EBADF);
	if (!is_root())
		return;
	put_text("own", "x");
	ok(chown("own", USER_A, GROUP_OF(USER_A)));
	if (as_member(USER_A, GROUP_SHARED)) {
		fails(chown("f", USER_A, -1), EPERM);
		fails(chown("f", -1, GROUP_SHARED), EPERM);
		/* One's own file: to one's own groups, and to nobody else. */
		ok(chown("own", USER_A, -1));
		ok(chown("own", -1, GROUP_SHARED));
		equal(stat_of("own").st_gid, GROUP_SHARED);
		ok(chown("own", USER_A, GROUP_OF(USER_A)));
		fails(chown("own", USER_B, -1), EPERM);
		fails(chown("own", -1, GROUP_OF(USER_B)), EPERM);
		fails(chown("own", 0, 0), EPERM);
		done();
	}
	equal(stat_of("own").st_uid, USER_A);
}

/* ---- setuid and setgid go when the contents change ---- */

static void privileges_lost(void)
{
	static const char *const ways[] = {"write",     "pwrite",  "append",
					   "truncate",  "O_TRUNC", "ftruncate",
					   "fallocate", "copy",    "mmap"};
	enum { WAYS = sizeof(ways) / sizeof(ways[0]) };
	char name[16];

	if (!is_root())
		return;
	put_text("source", "0123456789");
	for (unsigned i = 0; i < WAYS; i++) {
		(void)snprintf(name, sizeof(name), "f%u", i);
		put_text(name, "0123456789");
		ok(chmod(name, 06777));
	}
	if (as_user(USER_A)) {
		int source = ok(open("source", O_RDONLY));

		for (unsigned i = 0; i < WAYS; i++) {
			(void)snprintf(name, sizeof(name), "f%u", i);
			int flags = O_RDWR;

			if (!strcmp(ways[i], "append"))
				flags |= O_APPEND;
			if (!strcmp(ways[i], "O_TRUNC"))
				flags |= O_TRUNC;
			int fd = ok(open(name, flags));
			if (!strcmp(ways[i], "write") || !strcmp(ways[i], "append"))
				equal(write(fd, "x", 1), 1);
			else if (!strcmp(ways[i], "pwrite"))
				equal(pwrite(fd, "x", 1, 5), 1);
			else if (!strcmp(ways[i], "truncate"))
				ok(truncate(name, 3));
			else if (!strcmp(ways[i], "ftruncate"))
				ok(ftruncate(fd, 20));
			else if (!strcmp(ways[i], "fallocate") && !can_allocate(fd, 0, 0, 100))
				continue;
			else if (!strcmp(ways[i], "copy"))
				equal(copy_file_range(source, NULL, fd, NULL, 10, 0), 10);
			/* POSIX speaks of write() only; stores to a mapping do not clear it. */
			if (strcmp(ways[i], "mmap") && mode_of(name) != 0777)
				failed("mode after %s by another user: expected 0777, got 0%o",
				       ways[i], mode_of(name));
			ok(close(fd));
		}
		done();
	}
	/* Not for root, who may do that. */
	ok(chmod("f0", 06777));
	put_text("f1", "x");
	int fd = ok(open("f0", O_RDWR));
	equal(write(fd, "x", 1), 1);
	equal(mode_of("f0"), 06777);
}

/* ---- times ---- */

static struct timespec both[2];

static const struct timespec *times(long long atime, long ansec, long long mtime, long mnsec)
{
	both[0] = (struct timespec){.tv_sec = atime, .tv_nsec = ansec};
	both[1] = (struct timespec){.tv_sec = mtime, .tv_nsec = mnsec};
	return both;
}

/* A time that was set: the filesystem may keep microseconds only, rounding down. */
static void expect_time(struct timespec found, long long sec, long nsec)
{
	equal(found.tv_sec, sec);
	if (found.tv_nsec != nsec)
		equal(found.tv_nsec, nsec - nsec % 1000);
}

/*
 * On HAMMER2 media an atime of 0 says that none was ever stored; one that is set to the beginning of
 * 1970 may come back as the microsecond after that, but not as another time.
 */
static void expect_atime(const char *name, long long sec, long nsec)
{
	struct timespec found = stat_of(name).st_atim;

	if (sec == 0 && nsec == 0 && found.tv_nsec == 1000)
		found.tv_nsec = 0;
	expect_time(found, sec, nsec);
}

static void explicit_times(void)
{
	static const struct {
		long long sec;
		long nsec;
	} rows[] = {
		{0, 0},
		{1, 0},
		{1000000000, 123456000},
		{1234567890, 999999000},
		{1234567890, 123456789},
		{1, 999999999},
		{0x7fffffff, 999999000},
		{0x80000000, 1000},
		{0xffffffff, 0},
		{0x100000000, 5000},
	};

	put_text("f", "x");
	ok(mkdir("d", 0755));
	ok(symlink("f", "s"));
	int fd = ok(open("f", O_RDWR));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct timespec *t = times(rows[i].sec, rows[i].nsec, rows[i].sec + 5,
						 rows[i].nsec);

		ok(utimensat(AT_FDCWD, "f", t, 0));
		expect_atime("f", rows[i].sec, rows[i].nsec);
		expect_time(stat_of("f").st_mtim, rows[i].sec + 5, rows[i].nsec);
		ok(utimensat(AT_FDCWD, "d", t, 0));
		expect_atime("d", rows[i].sec, rows[i].nsec);
		expect_time(stat_of("d").st_mtim, rows[i].sec + 5, rows[i].nsec);
		ok(utimensat(AT_FDCWD, "s", t, AT_SYMLINK_NOFOLLOW));
		expect_time(stat_of("s").st_mtim, rows[i].sec + 5, rows[i].nsec);
	}
	ok(utimensat(AT_FDCWD, "s", times(100, 0, 200, 0), 0));
	expect_time(stat_of("f").st_atim, 100, 0);
	expect_time(stat_of("f").st_mtim, 200, 0);
	ok(futimens(fd, times(300, 0, 400, 0)));
	expect_time(stat_of("f").st_atim, 300, 0);
	expect_time(stat_of("f").st_mtim, 400, 0);
	ok(utimes("f", (struct timeval[2]){{500, 7}, {600, 8}}));
	expect_time(stat_of("f").st_atim, 500, 7000);
	expect_time(stat_of("f").st_mtim, 600, 8000);
	/* Before 1970: kept, or the earliest time there is instead. */
	ok(utimensat(AT_FDCWD, "f", times(-1000, 0, -1000, 0), 0));
	if (stat_of("f").st_mtim.tv_sec != -1000) {
		note("there are no times before 1970");
		equal(stat_of("f").st_mtim.tv_sec, 0);
	}
}

/* A time that was set must stay, whatever is still to be written back. */
static void times_stay(void)
{
	static char buf[2 * BLOCK];
	int fd = new_file("f");

	pattern(buf, sizeof(buf), 1);
	equal(write(fd, buf, sizeof(buf)), sizeof(buf));
	ok(futimens(fd, times(1000, 0, 2000, 0)));
	expect_time(stat_of("f").st_mtim, 2000, 0);
	tick();
	ok(fsync(fd));
	expect_time(stat_of_fd(fd).st_mtim, 2000, 0);
	ok(close(fd));
	fd = ok(open("f", O_RDWR));
	forget(fd);
	ok(syncfs(fd));
	expect_time(stat_of("f").st_atim, 1000, 0);
	expect_time(stat_of("f").st_mtim, 2000, 0);
	/* The same without a sync in between: cp -p, tar, rsync. */
	equal(pwrite(fd, "x", 1, 70000), 1);
	ok(utimensat(AT_FDCWD, "f", times(3000, 0, 4000, 0), 0));
	ok(close(fd));
	tick();
	expect_time(stat_of("f").st_mtim, 4000, 0);
	fd = ok(open("f", O_RDONLY));
	forget(fd);
	expect_time(stat_of("f").st_mtim, 4000, 0);
	/* A new name, a new mode, a new owner are no changes of the contents. */
	ok(link("f", "g"));
	ok(rename("f", "h"));
	ok(chmod("g", 0600));
	ok(chown("g", geteuid(), getegid()));
	expect_time(stat_of("g").st_mtim, 4000, 0);
	expect_time(stat_of("h").st_atim, 3000, 0);
	/* A directory's as well. */
	ok(mkdir("d", 0755));
	put_text("d/f", "x");
	ok(utimensat(AT_FDCWD, "d", times(5000, 0, 6000, 0), 0));
	ok(syncfs(fd));
	ok(chmod("d/f", 0600));
	put_text("d/f", "changed, but not the directory");
	expect_time(stat_of("d").st_mtim, 6000, 0);
}

static void now_and_omit(void)
{
	put_text("f", "x");
	ok(utimensat(AT_FDCWD, "f", times(1000, 0, 2000, 0), 0));
	struct watch file = watch("f");
	tick();
	ok(utimensat(AT_FDCWD, "f", times(0, UTIME_OMIT, 3000, 0), 0));
	changed_or(&file, "c", "m");
	expect_time(stat_of("f").st_mtim, 3000, 0);
	file = watch("f");
	tick();
	ok(utimensat(AT_FDCWD, "f", times(4000, 0, 0, UTIME_OMIT), 0));
	changed_or(&file, "c", "a");
	expect_time(stat_of("f").st_atim, 4000, 0);
	file = watch("f");
	tick();
	ok(utimensat(AT_FDCWD, "f", times(0, UTIME_OMIT, 0, UTIME_NOW), 0));
	changed(&file, "mc");
	file = watch("f");
	tick();
	ok(utimensat(AT_FDCWD, "f", times(0, UTIME_NOW, 0, UTIME_OMIT), 0));
	changed(&file, "ac");
	file = watch("f");
	tick();
	ok(utimensat(AT_FDCWD, "f", times(0, UTIME_OMIT, 0, UTIME_OMIT), 0));
	changed(&file, "");
	ok(utimensat(AT_FDCWD, "f", times(0, UTIME_NOW, 0, UTIME_NOW), 0));
	changed(&file, "amc");
	file = watch("f");
	tick();
	ok(utimensat(AT_FDCWD, "f", NULL, 0));
	changed(&file, "amc");
}

static void utimens_errors(void)
{
	put_text("f", "x");
	put_text("w", "x");
	ok(chmod("w", 0666));
	ok(symlink("nowhere", "dangling"));
	fails(utimensat(AT_FDCWD, "f", times(0, 1000000000, 0, 0), 0), EINVAL);
	fails(utimensat(AT_FDCWD, "f", times(0, -1, 0, 0), 0), EINVAL);
	fails(utimensat(AT_FDCWD, "f", times(0, 0, 0, 0), 0x40000000), EINVAL);
	fails(utimensat(AT_FDCWD, "no", NULL, 0), ENOENT);
	fails(utimensat(AT_FDCWD, "dangling", NULL, 0), ENOENT);
	fails(utimensat(AT_FDCWD, "f/x", NULL, 0), ENOTDIR);
	ok(utimensat(AT_FDCWD, "dangling", NULL, AT_SYMLINK_NOFOLLOW));
	if (as_user(USER_A)) {
		/* Now: whoever may write it. Another time: the owner. */
		fails(utimensat(AT_FDCWD, "f", NULL, 0), EACCES);
		fails(utimensat(AT_FDCWD, "f", times(0, UTIME_NOW, 0, UTIME_NOW), 0), EACCES);
		fails(utimensat(AT_FDCWD, "f", times(1, 0, 2, 0), 0), EPERM);
		ok(utimensat(AT_FDCWD, "f", times(0, UTIME_OMIT, 0, UTIME_OMIT), 0));
		ok(utimensat(AT_FDCWD, "w", NULL, 0));
		fails(utimensat(AT_FDCWD, "w", times(1, 0, 2, 0), 0), EPERM);
		fails(utimensat(AT_FDCWD, "w", times(0, UTIME_NOW, 0, UTIME_OMIT), 0), EPERM);
		done();
	}
	if (geteuid() != 0)
		return;
	ok(chown("f", USER_A, GROUP_OF(USER_A)));
	ok(chmod("f", 0));
	if (as_user(USER_A)) {
		ok(utimensat(AT_FDCWD, "f", times(1, 0, 2, 0), 0));
		ok(utimensat(AT_FDCWD, "f", NULL, 0));
		done();
	}
}

static void access_times(void)
{
	char c;
	struct statvfs vfs;
	bool seen;

	ok(statvfs(".", &vfs));
	put_text("f", "x");
	ok(mkdir("d", 0755));
	/* Older than mtime, so that even relatime lets reading change it. */
	ok(utimensat(AT_FDCWD, "f", times(1000, 0, 2000, 0), 0));
	int fd = ok(open("f", O_RDONLY));
	struct watch file = watch("f");
	tick();
	equal(read(fd, &c, 1), 1);
	changed_or(&file, "", "a");
	seen = stat_of("f").st_atim.tv_sec != 1000;
	if (!seen)
		note("reading does not change atime%s",
		     vfs.f_flag & ST_NOATIME ? ", as noatime asks for" : "");
	else if (vfs.f_flag & ST_NOATIME)
		failed("atime after reading, mounted noatime: expected the old, got another");
	/* These are no reading. */
	ok(utimensat(AT_FDCWD, "f", times(1000, 0, 2000, 0), 0));
	file = watch("f");
	tick();
	(void)stat_of("f");
	ok(access("f", R_OK));
	ok(close(ok(open("f", O_RDONLY))));
	equal(lseek(fd, 0, SEEK_END), 1);
	changed(&file, "");
	/* Nor is anything that one does with a directory but listing it. */
	struct watch dir = watch("d");
	tick();
	ok(access("d", X_OK));
	check(!exists("d/no"));
	changed(&dir, "");
	DIR *stream = opendir("d");
	check(stream && readdir(stream));
	ok(closedir(stream));
	changed_or(&dir, "", "a");
	/* Asked not to tell. */
	fd = open("f", O_RDONLY | O_NOATIME);
	ok(fd);
	equal(read(fd, &c, 1), 1);
	if (!(vfs.f_flag & ST_NOATIME))
		equal(stat_of("f").st_atim.tv_sec, 1000);
}

/* What fails has no effect. */
static void times_of_failures(void)
{
	ok(mkdir("d", 0755));
	ok(mkdir("d/full", 0755));
	put_text("d/full/g", "x");
	put_text("d/f", "x");
	ok(mkdir("d/e", 0755));
	struct watch dir = watch("d"), file = watch("d/f"), full = watch("d/full");
	tick();
	fails(open("d/f", O_RDWR | O_CREAT | O_EXCL, 0644), EEXIST);
	fails(mkdir("d/f", 0755), EEXIST);
	fails(mkfifo("d/f", 0644), EEXIST);
	fails(symlink("x", "d/f"), EEXIST);
	fails(link("d/full/g", "d/f"), EEXIST);
	fails(unlink("d/e"), EISDIR);
	fails(unlink("d/no"), ENOENT);
	fails(rmdir("d/full"), ENOTEMPTY);
	fails(rmdir("d/f"), ENOTDIR);
	fails_either(rename("d/e", "d/full"), ENOTEMPTY, EEXIST);
	fails(rename("d/f", "d/e"), EISDIR);
	fails(rename("d/e", "d/f"), ENOTDIR);
	fails(rename("d/e", "d/e/x"), EINVAL);
	fails(rename("d/no", "d/f"), ENOENT);
	fails(utimensat(AT_FDCWD, "d/f", times(0, -1, 0, 0), 0), EINVAL);
	changed(&dir, "");
	changed(&file, "");
	changed(&full, "");
	equal(stat_of("d/full/g").st_nlink, 1);
}

static void birth_time(void)
{
	struct statx first, later;

	put_text("f", "x");
	ok(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS | STATX_BTIME, &first));
	equal(first.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
	equal(first.stx_ino, stat_of("f").st_ino);
	equal(first.stx_size, 1);
	equal(first.stx_mode, S_IFREG | 0644);
	equal(first.stx_nlink, 1);
	if (!(first.stx_mask & STATX_BTIME)) {
		note("statx() does not tell times of birth");
		return;
	}
	equal(first.stx_btime.tv_sec, stat_of("f").st_ctim.tv_sec);
	tick();
	put_text("f", "changed");
	ok(chmod("f", 0600));
	ok(utimensat(AT_FDCWD, "f", times(1000, 0, 2000, 0), 0));
	ok(rename("f", "g"));
	ok(statx(AT_FDCWD, "g", 0, STATX_BTIME, &later));
	equal(later.stx_btime.tv_sec, first.stx_btime.tv_sec);
	equal(later.stx_btime.tv_nsec, first.stx_btime.tv_nsec);
}

/* ---- inode flags ---- */

static bool set_flags(const char *name, int flags)
{
	int fd = ok(open(name, O_RDONLY | O_NONBLOCK)), now = 0, result;

	ok(ioctl(fd, FS_IOC_GETFLAGS, &now));
	now &= ~(FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL);
	now |= flags;
	result = ioctl(fd, FS_IOC_SETFLAGS, &now);
	int err = errno;
	ok(close(fd));
	errno = err;
	return result == 0;
}

static int get_flags(const char *name)
{
	int fd = ok(open(name, O_RDONLY | O_NONBLOCK)), flags = 0;

	ok(ioctl(fd, FS_IOC_GETFLAGS, &flags));
	ok(close(fd));
	return flags & (FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL);
}

static bool has_flag(int flag, const char *name)
{
	int fd = new_file("probe"), flags = 0;
	bool works = false;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) && (errno == ENOTTY || errno == EOPNOTSUPP))
		skip(name, "FS_IOC_GETFLAGS says %s", strerror(errno));
	else if (!set_flags("probe", flag))
		skip(name, "FS_IOC_SETFLAGS says %s", strerror(errno));
	else
		works = get_flags("probe") == flag;
	if (works)
		ok(set_flags("probe", 0) ? 0 : -1);
	ok(close(fd));
	ok(unlink("probe"));
	return works;
}

/*
 * Opening a file whose flags forbid it. A FUSE server need not be asked about opening; then it is
 * the writing that fails.
 */
static void refuses_open(const char *name, int flags)
{
	int fd = open(name, flags, 0644);

	if (fd >= 0 && is_fuse()) {
		note("files can be opened for writing whatever their flags; it is writing that "
		     "fails");
		ok(close(fd));
		return;
	}
	fails(fd, EPERM);
}

static void immutable(void)
{
	char c;

	if (!is_root() || !has_flag(FS_IMMUTABLE_FL, "immutable"))
		return;
	put_text("f", "contents");
	ok(chmod("f", 0666));
	int writer = ok(open("f", O_RDWR));
	ok(mkdir("d", 0755));
	put_text("d/f", "x");
	put_text("g", "other");
	struct watch file = watch("f");
	tick();
	check(set_flags("f", FS_IMMUTABLE_FL));
	/* A FUSE mount's kernel keeps the ctime that it had. */
	if (!is_fuse())
		changed(&file, "c");
	equal(get_flags("f"), FS_IMMUTABLE_FL);

	ok(open("f", O_RDONLY));
	refuses_open("f", O_WRONLY);
	refuses_open("f", O_RDWR | O_APPEND);
	refuses_open("f", O_RDWR | O_CREAT);
	fails(open("f", O_RDONLY | O_TRUNC), EPERM);
	fails(truncate("f", 0), EPERM);
	fails(unlink("f"), EPERM);
	fails(rename("f", "h"), EPERM);
	fails(rename("g", "f"), EPERM);
	fails(link("f", "h"), EPERM);
	fails(chmod("f", 0600), EPERM);
	fails(chown("f", 1, 1), EPERM);
	fails(utimensat(AT_FDCWD, "f", times(1, 0, 2, 0), 0), EPERM);
	/* It was EACCES in older kernels. */
	fails_either(utimensat(AT_FDCWD, "f", NULL, 0), EPERM, EACCES);
	/* Whoever has it open for writing may go on or not, except for this. */
	fails(fallocate(writer, 0, 0, 1000), EPERM);
	equal(pread(writer, &c, 1, 0), 1);
	if (as_user(USER_A)) {
		int fd = ok(open("f", O_RDONLY)), flags = 0;

		/* It was EACCES in older kernels. */
		fails_either(ioctl(fd, FS_IOC_SETFLAGS, &flags), EPERM, EACCES);
		done();
	}
	check(set_flags("f", 0));
	equal(get_flags("f"), 0);
	has_text("f", "contents");

	check(set_flags("d", FS_IMMUTABLE_FL));
	fails(open("d/new", O_RDWR | O_CREAT, 0644), EPERM);
	fails(mkdir("d/new", 0755), EPERM);
	fails(mkfifo("d/new", 0644), EPERM);
	fails(symlink("x", "d/new"), EPERM);
	fails(link("g", "d/new"), EPERM);
	fails(unlink("d/f"), EPERM);
	fails(rename("d/f", "h"), EPERM);
	fails(rename("g", "d/g"), EPERM);
	fails(rename("g", "d/f"), EPERM);
	fails(rename("d", "e"), EPERM);
	fails(rmdir("d"), EPERM);
	fails(chmod("d", 0700), EPERM);
	/* What is in it is not protected itself. */
	put_text("d/f", "changed");
	ok(chmod("d/f", 0600));
	check(set_flags("d", 0));
	ok(unlink("d/f"));
	ok(rmdir("d"));
	ok(unlink("f"));
}

/* Data that was written before a flag was set is not lost because it was still in a cache. */
static void flags_and_caches(void)
{
	static const int flags[] = {FS_IMMUTABLE_FL, FS_APPEND_FL};
	static unsigned char data[2 * BLOCK], found[2 * BLOCK];

	if (!is_root() || !has_flag(FS_IMMUTABLE_FL, "immutable"))
		return;
	pattern(data, sizeof(data), 1);
	for (size_t i = 0; i < 2; i++) {
		int fd = new_file("f");

		equal(write(fd, data, sizeof(data)), sizeof(data));
		check(set_flags("f", flags[i]));
		ok(fsync(fd));
		ok(close(fd));
		fd = ok(open("f", O_RDONLY));
		forget(fd);
		equal(read(fd, found, sizeof(found)), sizeof(found));
		same_bytes(found, data, sizeof(found));
		ok(close(fd));
		check(set_flags("f", 0));
		ok(unlink("f"));
	}
}

static void append_only(void)
{
	if (!is_root() || !has_flag(FS_APPEND_FL, "append-only"))
		return;
	put_text("f", "one");
	ok(mkdir("d", 0755));
	put_text("d/f", "x");
	put_text("g", "other");
	check(set_flags("f", FS_APPEND_FL));
	equal(get_flags("f"), FS_APPEND_FL);
	refuses_open("f", O_WRONLY);
	refuses_open("f", O_RDWR);
	fails(open("f", O_WRONLY | O_APPEND | O_TRUNC), EPERM);
	fails(truncate("f", 0), EPERM);
	fails(unlink("f"), EPERM);
	fails(rename("f", "h"), EPERM);
	fails(rename("g", "f"), EPERM);
	fails(link("f", "h"), EPERM);
	fails(chmod("f", 0600), EPERM);
	int fd = ok(open("f", O_WRONLY | O_APPEND));
	equal(write(fd, "two", 3), 3);
	/* What is written back later, times included, is part of the appending. */
	ok(fsync(fd));
	ok(close(fd));
	fd = ok(open("f", O_WRONLY | O_APPEND));
	/* A FUSE mount's kernel does not know the flag, and cannot refuse this. */
	if (fcntl(fd, F_SETFL, 0) == -1)
		equal(errno, EPERM);
	else
		note("O_APPEND can be taken off a descriptor of an append-only file");
	ok(fcntl(fd, F_SETFL, O_APPEND));
	fails(ftruncate(fd, 0), EPERM);
	fails(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1), EPERM);
	has_text("f", "onetwo");
	/* "Now" is what appending does as well. */
	ok(utimensat(AT_FDCWD, "f", NULL, 0));
	fails(utimensat(AT_FDCWD, "f", times(1, 0, 2, 0), 0), EPERM);
	check(set_flags("f", 0));

	check(set_flags("d", FS_APPEND_FL));
	put_text("d/new", "x");
	ok(mkdir("d/sub", 0755));
	fails(unlink("d/f"), EPERM);
	fails(rename("d/f", "d/h"), EPERM);
	fails(rename("d/f", "h"), EPERM);
	fails(rename("g", "d/f"), EPERM);
	fails(rmdir("d/sub"), EPERM);
	ok(rename("g", "d/g"));
	check(set_flags("d", 0));
	ok(unlink("d/f"));
	/* New entries may take the flag over from their directory. */
	check(set_flags("d/sub", 0));
	check(set_flags("d/new", 0));
}

static void no_dump(void)
{
	if (!has_flag(FS_NODUMP_FL, "nodump"))
		return;
	put_text("f", "x");
	check(set_flags("f", FS_NODUMP_FL));
	equal(get_flags("f"), FS_NODUMP_FL);
	/* It is a mark, and hinders nothing. */
	put_text("f", "y");
	equal(get_flags("f"), FS_NODUMP_FL);
	ok(rename("f", "g"));
	equal(get_flags("g"), FS_NODUMP_FL);
	ok(unlink("g"));
	ok(mkdir("d", 0755));
	check(set_flags("d", FS_NODUMP_FL));
	equal(get_flags("d"), FS_NODUMP_FL);
	ok(rmdir("d"));
	/* What nobody knows is refused rather than dropped. */
	put_text("f", "x");
	int fd = ok(open("f", O_RDONLY)), flags = 1 << 26;
	fails(ioctl(fd, FS_IOC_SETFLAGS, &flags), EOPNOTSUPP);
}

/* ---- extended attributes ---- */

static void user_attributes(void)
{
	char buf[4096], value[1000];
	ssize_t n;

	put_text("f", "x");
	if (setxattr("f", "user.test", "value", 5, 0) == -1) {
		int err = errno;

		/* Consistently: none there, none to be had. */
		if (err != EOPNOTSUPP)
			failed("setxattr(): expected success or EOPNOTSUPP, got %s",
			       strerrorname_np(err));
		fails(getxattr("f", "user.test", buf, sizeof(buf)), EOPNOTSUPP);
		fails(removexattr("f", "user.test"), EOPNOTSUPP);
		n = listxattr("f", buf, sizeof(buf));
		check(n == 0 || (n == -1 && errno == EOPNOTSUPP));
		skip("xattr", "setxattr() says %s", strerror(err));
		return;
	}
	struct watch file = watch("f");
	tick();
	ok(setxattr("f", "user.other", "v", 1, 0));
	changed(&file, "c");
	equal(getxattr("f", "user.test", buf, sizeof(buf)), 5);
	same_bytes(buf, "value", 5);
	equal(getxattr("f", "user.test", NULL, 0), 5);
	fails(getxattr("f", "user.test", buf, 4), ERANGE);
	fails(getxattr("f", "user.none", buf, 4), ENODATA);
	fails(removexattr("f", "user.none"), ENODATA);
	fails(setxattr("f", "user.test", "x", 1, XATTR_CREATE), EEXIST);
	fails(setxattr("f", "user.none", "x", 1, XATTR_REPLACE), ENODATA);
	ok(setxattr("f", "user.test", "replaced", 8, XATTR_REPLACE));
	equal(getxattr("f", "user.test", buf, sizeof(buf)), 8);
	ok(setxattr("f", "user.empty", "", 0, 0));
	equal(getxattr("f", "user.empty", buf, sizeof(buf)), 0);
	memset(value, 'v', sizeof(value));
	ok(setxattr("f", "user.test", value, sizeof(value), 0));
	equal(getxattr("f", "user.test", buf, sizeof(buf)), sizeof(value));
	same_bytes(buf, value, sizeof(value));
	n = listxattr("f", buf, sizeof(buf));
	check(n > 0);
	unsigned count = 0;
	for (ssize_t at = 0; at < n; at += (ssize_t)strlen(buf + at) + 1)
		count += !strncmp(buf + at, "user.", 5);
	equal(count, 3);
	fails(listxattr("f", buf, 3), ERANGE);
	ok(removexattr("f", "user.test"));
	fails(getxattr("f", "user.test", buf, sizeof(buf)), ENODATA);
	fails(setxattr("f", "nonamespace", "x", 1, 0), EOPNOTSUPP);
	fails(getxattr("no", "user.test", buf, sizeof(buf)), ENOENT);
	ok(symlink("f", "s"));
	/* Only files and directories have any of users'. */
	fails(lsetxattr("s", "user.test", "x", 1, 0), EPERM);
	ok(link("f", "g"));
	equal(getxattr("g", "user.other", buf, sizeof(buf)), 1);
	ok(chmod("f", 0644));
	if (as_user(USER_A)) {
		equal(getxattr("f", "user.other", buf, sizeof(buf)), 1);
		fails(setxattr("f", "user.other", "x", 1, 0), EACCES);
		done();
	}
}

static void other_attributes(void)
{
	char buf[64];

	put_text("f", "x");
	if (!is_root())
		return;
	if (setxattr("f", "trusted.test", "value", 5, 0) == -1) {
		fails(setxattr("f", "trusted.test", "value", 5, 0), EOPNOTSUPP);
		skip("trusted-xattr", "setxattr() says %s", strerror(EOPNOTSUPP));
		return;
	}
	equal(getxattr("f", "trusted.test", buf, sizeof(buf)), 5);
	if (as_user(USER_A)) {
		fails(getxattr("f", "trusted.test", buf, sizeof(buf)), ENODATA);
		done();
	}
	ok(removexattr("f", "trusted.test"));
}

const struct posix_test posix_attr_tests[] = {
	{"chmod", "modes", modes},
	{"chmod", "times", chmod_times},
	{"chmod", "errors", chmod_errors},
	{"chmod", "setgid", chmod_setgid},
	{"chown", "owners", owners},
	{"chown", "times", chown_times},
	{"chown", "clears", chown_clears},
	{"chown", "errors", chown_errors},
	{"chown", "privileges-lost", privileges_lost},
	{"times", "explicit", explicit_times},
	{"times", "stay", times_stay},
	{"times", "now-and-omit", now_and_omit},
	{"times", "errors", utimens_errors},
	{"times", "access", access_times},
	{"times", "birth", birth_time},
	{"times", "failures", times_of_failures},
	{"flags", "immutable", immutable},
	{"flags", "caches", flags_and_caches},
	{"flags", "append-only", append_only},
	{"flags", "no-dump", no_dump},
	{"xattr", "user", user_attributes},
	{"xattr", "trusted", other_attributes},
	{0},
};
