/* Directories with the sticky bit and with the setgid bit. */
#include "posix.h"

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

/* A directory of root's that everybody may write, with entries of two users. */
static void shared_directory(const char *name, mode_t mode)
{
	ok(mkdir(name, 0755));
	ok(chmod(name, mode));
	if (as_user(USER_A)) {
		ok(chdir(name));
		put_text("a-file", "x");
		put_text("a-other", "x");
		ok(mkdir("a-dir", 0755));
		ok(symlink("x", "a-link"));
		done();
	}
	if (as_user(USER_B)) {
		ok(chdir(name));
		put_text("b-file", "y");
		put_text("b-other", "y");
		ok(mkdir("b-dir", 0755));
		done();
	}
}

static void sticky(void)
{
	if (!is_root())
		return;
	shared_directory("d", 01777);
	if (as_user(USER_B)) {
		ok(chdir("d"));
		fails(unlink("a-file"), EPERM);
		fails(unlink("a-link"), EPERM);
		fails(rmdir("a-dir"), EPERM);
		fails(rename("a-file", "mine"), EPERM);
		fails(rename("a-dir", "mine"), EPERM);
		fails(rename("b-file", "a-file"), EPERM);
		fails(rename("b-dir", "a-dir"), EPERM);
		fails(renameat2(AT_FDCWD, "b-file", AT_FDCWD, "a-file", RENAME_EXCHANGE), EPERM);
		has_text("a-file", "x");
		/* One's own things. */
		ok(rename("b-file", "b-new"));
		ok(unlink("b-new"));
		ok(rmdir("b-dir"));
		ok(rename("b-other", "b-third"));
		/* Making a name is no harm to others. */
		ok(mkdir("b-more", 0755));
		put_text("b-file", "again");
		done();
	}
	/* Root, and whoever owns the directory. */
	ok(unlink("d/a-other"));
	ok(chown("d", USER_B, GROUP_OF(USER_B)));
	if (as_user(USER_B)) {
		ok(chdir("d"));
		ok(rename("a-file", "taken"));
		ok(unlink("taken"));
		ok(rmdir("a-dir"));
		ok(unlink("a-link"));
		done();
	}
}

static void not_sticky(void)
{
	if (!is_root())
		return;
	shared_directory("d", 0777);
	if (as_user(USER_B)) {
		ok(chdir("d"));
		/* A file's own mode and owner say nothing about its name. */
		ok(rename("a-file", "taken"));
		ok(unlink("taken"));
		ok(rmdir("a-dir"));
		ok(rename("b-file", "a-other"));
		has_text("a-other", "y");
		done();
	}
	ok(chmod("d", 0755));
	if (as_user(USER_A)) {
		ok(chdir("d"));
		fails(unlink("a-link"), EACCES);
		fails(rename("a-link", "a-new"), EACCES);
		done();
	}
}

static void setgid_inherited(void)
{
	if (!is_root())
		return;
	ok(mkdir("d", 0755));
	ok(chown("d", 0, GROUP_SHARED));
	ok(chmod("d", 02777));
	ok(mkdir("plain", 0755));
	ok(chmod("plain", 0777));
	ok(chown("plain", 0, GROUP_SHARED));
	if (as_user(USER_A)) {
		ok(chdir("d"));
		(void)umask(0);
		put_text("f", "x");
		equal(stat_of("f").st_gid, GROUP_SHARED);
		equal(stat_of("f").st_uid, USER_A);
		ok(mkfifo("p", 0644));
		equal(stat_of("p").st_gid, GROUP_SHARED);
		ok(symlink("x", "s"));
		equal(stat_of("s").st_gid, GROUP_SHARED);
		ok(mkdir("e", 0750));
		equal(stat_of("e").st_gid, GROUP_SHARED);
		equal(mode_of("e"), 02750);
		ok(mkdir("e/e", 0750));
		equal(stat_of("e/e").st_gid, GROUP_SHARED);
		equal(mode_of("e/e"), 02750);
		/* A file with the bit would run as a group that one is not in. */
		ok(close(ok(open("g", O_RDWR | O_CREAT, 02755))));
		equal(stat_of("g").st_gid, GROUP_SHARED);
		equal(mode_of("g"), 0755);
		int fd = open(".", O_TMPFILE | O_RDWR, 0644);
		if (fd >= 0)
			equal(stat_of_fd(fd).st_gid, GROUP_SHARED);
		/* Links and renames bring their group along. */
		ok(chdir("../plain"));
		put_text("f", "x");
		ok(link("f", "../d/linked"));
		equal(stat_of("../d/linked").st_gid, stat_of("f").st_gid);
		ok(mkdir("sub", 0755));
		ok(rename("sub", "../d/sub"));
		equal(mode_of("../d/sub"), 0755);
		done();
	}
	if (as_member(USER_B, GROUP_SHARED)) {
		ok(chdir("d"));
		(void)umask(0);
		ok(close(ok(open("h", O_RDWR | O_CREAT, 02755))));
		equal(mode_of("h"), 02755);
		done();
	}
}

static void setgid_without(void)
{
	if (!is_root())
		return;
	ok(mkdir("d", 0755));
	ok(chmod("d", 0777));
	ok(chown("d", 0, GROUP_SHARED));
	if (as_user(USER_A)) {
		ok(chdir("d"));
		put_text("f", "x");
		ok(mkdir("e", 0755));
		/* POSIX leaves the choice: the group of the process, or the directory's (BSD). */
		if (stat_of("f").st_gid == GROUP_SHARED)
			note("new files have their directory's group");
		else
			equal(stat_of("f").st_gid, GROUP_OF(USER_A));
		equal(stat_of("e").st_gid, stat_of("f").st_gid);
		equal(mode_of("e"), 0755);
		done();
	}
}

static void effective_ids(void)
{
	if (!is_root())
		return;
	ok(chmod(".", 0777));
	/* The effective user counts, but access() asks for the real one. */
	if (in_child()) {
		put_text("f", "x");
		ok(chmod("f", 0600));
		ok(setresgid(GROUP_OF(USER_A), GROUP_OF(USER_B), 0));
		ok(setresuid(USER_A, USER_B, 0));
		fails(open("f", O_RDONLY), EACCES);
		put_text("g", "x");
		equal(stat_of("g").st_uid, USER_B);
		equal(stat_of("g").st_gid, GROUP_OF(USER_B));
		ok(chmod("g", 0600));
		ok(open("g", O_RDONLY));
		fails(access("g", R_OK), EACCES);
		ok(faccessat(AT_FDCWD, "g", R_OK, AT_EACCESS));
		done();
	}
}

/* Permissions are looked at when a file is opened, never again. */
static void after_opening(void)
{
	static unsigned char data[2 * BLOCK], found[2 * BLOCK];

	if (!is_root())
		return;
	ok(chmod(".", 0777));
	pattern(data, sizeof(data), 1);
	if (as_user(USER_A)) {
		int fd = new_file("f");

		equal(write(fd, data, BLOCK), BLOCK);
		ok(fchmod(fd, 0));
		equal(write(fd, data + BLOCK, BLOCK), BLOCK);
		fails(open("f", O_RDONLY), EACCES);
		if (in_child()) {
			equal(pread(fd, found, 10, 0), 10);
			done();
		}
		ok(ftruncate(fd, 2 * BLOCK - 1));
		ok(fsync(fd));
		forget(fd);
		equal(pread(fd, found, sizeof(found), 0), 2 * BLOCK - 1);
		same_bytes(found, data, 2 * BLOCK - 1);
		done();
	}
	/* What a user wrote is written back after the file has become another's. */
	int fd = ok(open("f", O_RDWR));
	ok(fchown(fd, USER_B, GROUP_OF(USER_B)));
	equal(pwrite(fd, "x", 1, 0), 1);
	ok(fsync(fd));
	equal(stat_of("f").st_uid, USER_B);
}

const struct posix_test posix_perm_tests[] = {
	{"sticky", "sticky", sticky},
	{"sticky", "without", not_sticky},
	{"setgid", "inherited", setgid_inherited},
	{"setgid", "without", setgid_without},
	{"access", "effective-ids", effective_ids},
	{"access", "after-opening", after_opening},
	{0},
};
