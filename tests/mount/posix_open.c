/* Opening: flags, modes, permissions, kinds of files. */
#include "posix.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>

/* ---- creating ---- */

static void create_mode(void)
{
	static const mode_t modes[] = {0, 0400, 0644, 0666, 0777, 0111, 04755, 02755, 01644};
	static const mode_t masks[] = {0, 022, 077, 0777};

	for (size_t m = 0; m < sizeof(masks) / sizeof(masks[0]); m++) {
		for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
			(void)umask(masks[m]);
			int fd = ok(open("f", O_RDWR | O_CREAT | O_EXCL, modes[i]));
			equal(stat_of_fd(fd).st_mode, S_IFREG | (modes[i] & ~masks[m]));
			/* What the mode forbids counts from the next open on. */
			equal(write(fd, "x", 1), 1);
			ok(close(fd));
			ok(unlink("f"));
		}
	}
	(void)umask(022);
}

static void create_new(void)
{
	int fd = ok(open("f", O_WRONLY | O_CREAT, 0640));
	struct stat st = stat_of_fd(fd), same = stat_of("f"), dir = stat_of(".");

	equal(st.st_mode, S_IFREG | 0640);
	equal(st.st_nlink, 1);
	equal(st.st_size, 0);
	equal(st.st_uid, geteuid());
	equal(st.st_gid, getegid());
	equal(st.st_dev, dir.st_dev);
	equal(st.st_ino, same.st_ino);
	check(st.st_ino != dir.st_ino);
	check(st.st_blksize > 0);
	equal(st.st_blocks, 0);
	ok(close(fd));
}

static void create_as_user(void)
{
	ok(chmod(".", 0777));
	if (as_user(USER_A)) {
		/* A mode without any right must not hinder the one who makes the file. */
		int fd = ok(open("f", O_RDWR | O_CREAT | O_EXCL, 0));

		equal(write(fd, "abc", 3), 3);
		equal(stat_of_fd(fd).st_uid, USER_A);
		equal(stat_of_fd(fd).st_gid, GROUP_OF(USER_A));
		fails(open("f", O_RDONLY), EACCES);
		done();
	}
}

static void create_existing(void)
{
	put_text("f", "contents");
	ok(chmod("f", 0600));

	struct watch file = watch("f"), dir = watch(".");
	tick();
	ok(open("f", O_RDWR | O_CREAT, 0777));
	ok(open("f", O_RDONLY | O_CREAT, 0));
	changed(&file, "");
	changed(&dir, "");
	equal(stat_of("f").st_mode, S_IFREG | 0600);
	has_text("f", "contents");
}

static void exclusive(void)
{
	put_text("f", "contents");
	ok(mkdir("d", 0755));
	ok(symlink("f", "to-file"));
	ok(symlink("nowhere", "dangling"));
	ok(mkfifo("p", 0644));

	fails(open("f", O_RDWR | O_CREAT | O_EXCL, 0644), EEXIST);
	fails(open("f", O_RDWR | O_CREAT | O_EXCL | O_TRUNC, 0644), EEXIST);
	fails(open("d", O_RDWR | O_CREAT | O_EXCL, 0644), EEXIST);
	fails(open("p", O_RDWR | O_CREAT | O_EXCL, 0644), EEXIST);
	fails(open("to-file", O_RDWR | O_CREAT | O_EXCL, 0644), EEXIST);
	fails(open("dangling", O_RDWR | O_CREAT | O_EXCL, 0644), EEXIST);
	check(!exists("nowhere"));
	has_text("f", "contents");
}

static void through_symlink(void)
{
	ok(symlink("made", "dangling"));
	ok(symlink("missing/made", "dangling-far"));
	ok(close(ok(open("dangling", O_WRONLY | O_CREAT, 0644))));
	check(S_ISREG(stat_of("made").st_mode));
	check(S_ISLNK(stat_of("dangling").st_mode));
	fails(open("dangling-far", O_WRONLY | O_CREAT, 0644), ENOENT);
}

static void truncating(void)
{
	char buf[100000];

	pattern(buf, sizeof(buf), 1);
	put("f", buf, sizeof(buf));
	ok(chmod("f", 0640));

	struct watch file = watch("f"), dir = watch(".");
	tick();
	int fd = ok(open("f", O_RDWR | O_TRUNC | O_CREAT, 0777));
	changed(&file, "mc");
	changed(&dir, "");
	equal(stat_of("f").st_size, 0);
	equal(stat_of("f").st_mode, S_IFREG | 0640);
	equal(read(fd, buf, 10), 0);
	ok(ftruncate(fd, sizeof(buf)));
	equal(read(fd, buf, sizeof(buf)), sizeof(buf));
	all_zero(buf, sizeof(buf), 0);
}

static void creating_with_creat(void)
{
	char c;

	put_text("f", "old");
	int fd = ok(creat("f", 0777));
	equal(stat_of("f").st_size, 0);
	equal(stat_of("f").st_mode, S_IFREG | 0644);
	fails(read(fd, &c, 1), EBADF);
	equal(write(fd, "new", 3), 3);
	has_text("f", "new");
	ok(creat("g", 0600));
	equal(stat_of("g").st_mode, S_IFREG | 0600);
	ok(mkdir("d", 0755));
	fails(creat("d", 0644), EISDIR);
}

static void parent_times(void)
{
	ok(mkdir("d", 0755));
	struct watch dir = watch("d");
	tick();
	ok(close(ok(open("d/f", O_WRONLY | O_CREAT, 0644))));
	changed(&dir, "mc");

	struct stat st = stat_of("d/f");
	equal(st.st_atim.tv_sec, st.st_mtim.tv_sec);
	/* All three are set by one event: they are of the same moment, give or take a tick. */
	check(labs(st.st_mtim.tv_nsec - st.st_ctim.tv_nsec) < 20000000 ||
	      st.st_mtim.tv_sec != st.st_ctim.tv_sec);
}

/* ---- what may not be opened ---- */

static void missing(void)
{
	put_text("f", "x");
	ok(mkdir("d", 0755));
	fails(open("no", O_RDONLY), ENOENT);
	fails(open("no", O_RDWR | O_TRUNC), ENOENT);
	fails(open("no/f", O_RDONLY), ENOENT);
	fails(open("no/f", O_RDWR | O_CREAT, 0644), ENOENT);
	fails(open("d/no/../../f", O_RDONLY), ENOENT);
	fails(open("", O_RDONLY), ENOENT);
	fails(open("", O_RDWR | O_CREAT, 0644), ENOENT);
	fails(open("f/x", O_RDONLY), ENOTDIR);
	fails(open("f/x", O_RDWR | O_CREAT, 0644), ENOTDIR);
	fails(open("f/", O_RDONLY), ENOTDIR);
	fails(open("f/.", O_RDONLY), ENOTDIR);
	fails(open("f/..", O_RDONLY), ENOTDIR);
	/* Linux: a name for a new file cannot end in a slash. */
	fails(open("new/", O_RDWR | O_CREAT, 0644), EISDIR);
	check(!exists("new"));
	ok(open("d/", O_RDONLY));
	ok(open("d/.", O_RDONLY));
}

static void directories(void)
{
	char c;

	ok(mkdir("d", 0755));
	put_text("f", "x");
	ok(symlink("d", "to-dir"));
	ok(symlink("f", "to-file"));
	fails(open("d", O_WRONLY), EISDIR);
	fails(open("d", O_RDWR), EISDIR);
	fails(open("d", O_RDONLY | O_CREAT, 0644), EISDIR);
	fails(open("d", O_WRONLY | O_TRUNC), EISDIR);
	fails(open("to-dir", O_WRONLY), EISDIR);
	fails(open("f", O_RDONLY | O_DIRECTORY), ENOTDIR);
	fails(open("to-file", O_RDONLY | O_DIRECTORY), ENOTDIR);
	fails(open("no", O_RDONLY | O_DIRECTORY), ENOENT);
	ok(open("to-dir", O_RDONLY | O_DIRECTORY));
	fails(open("to-dir", O_RDONLY | O_DIRECTORY | O_NOFOLLOW), ENOTDIR);
	int fd = ok(open("d", O_RDONLY | O_DIRECTORY));
	fails(read(fd, &c, 1), EISDIR);
	fails(pread(fd, &c, 1, 0), EISDIR);
	fails(write(fd, &c, 1), EBADF);
	fails(ftruncate(fd, 0), EINVAL);
}

static void no_follow(void)
{
	char target[16];
	struct stat st;

	put_text("f", "x");
	ok(symlink("f", "s"));
	ok(symlink("nowhere", "dangling"));
	ok(mkdir("d", 0755));
	ok(symlink("d", "to-dir"));
	put_text("d/g", "y");
	ok(open("f", O_RDONLY | O_NOFOLLOW));
	fails(open("s", O_RDONLY | O_NOFOLLOW), ELOOP);
	fails(open("dangling", O_RDONLY | O_NOFOLLOW), ELOOP);
	fails(open("dangling", O_RDWR | O_CREAT | O_NOFOLLOW, 0644), ELOOP);
	check(!exists("nowhere"));
	/* It concerns the last component only. */
	ok(open("to-dir/g", O_RDONLY | O_NOFOLLOW));
	int fd = ok(open("s", O_PATH | O_NOFOLLOW));
	ok(fstat(fd, &st));
	check(S_ISLNK(st.st_mode));
	equal(readlinkat(fd, "", target, sizeof(target)), 1);
	check(target[0] == 'f');
	fails(read(fd, target, 1), EBADF);
}

static void loops(void)
{
	char from[16], to[16];

	ok(symlink("self", "self"));
	ok(symlink("b", "a"));
	ok(symlink("a", "b"));
	fails(open("self", O_RDONLY), ELOOP);
	fails(open("self/x", O_RDONLY), ELOOP);
	fails(open("a", O_RDONLY), ELOOP);
	fails(open("a", O_RDWR | O_CREAT, 0644), ELOOP);
	/* Linux follows 40 symlinks in one path, and no more. */
	put_text("s0", "end");
	for (int i = 1; i <= 41; i++) {
		(void)snprintf(from, sizeof(from), "s%d", i);
		(void)snprintf(to, sizeof(to), "s%d", i - 1);
		ok(symlink(to, from));
	}
	ok(open("s40", O_RDONLY));
	fails(open("s41", O_RDONLY), ELOOP);
}

static void access_mode(void)
{
	char c = 'x';

	put_text("f", "abc");
	int reader = ok(open("f", O_RDONLY)), writer = ok(open("f", O_WRONLY));
	fails(write(reader, &c, 1), EBADF);
	fails(pwrite(reader, &c, 1, 0), EBADF);
	fails(read(writer, &c, 1), EBADF);
	fails(pread(writer, &c, 1, 0), EBADF);
	fails(ftruncate(reader, 0), EINVAL);
	fails((long)mmap(NULL, 4096, PROT_READ, MAP_SHARED, writer, 0), EACCES);
	fails((long)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, reader, 0), EACCES);
	has_text("f", "abc");
	int path = ok(open("f", O_PATH));
	fails(read(path, &c, 1), EBADF);
	fails(fchmod(path, 0600), EBADF);
	equal(stat_of_fd(path).st_size, 3);
}

/* ---- permissions ---- */

static void permissions(void)
{
	static const struct {
		mode_t mode;
		/* May the owner, a member of the group, another user open it for reading, writing? */
		bool owner_r, owner_w, group_r, group_w, other_r, other_w;
	} rows[] = {
		{0000, 0, 0, 0, 0, 0, 0}, {0400, 1, 0, 0, 0, 0, 0}, {0200, 0, 1, 0, 0, 0, 0},
		{0600, 1, 1, 0, 0, 0, 0}, {0040, 0, 0, 1, 0, 0, 0}, {0020, 0, 0, 0, 1, 0, 0},
		{0060, 0, 0, 1, 1, 0, 0}, {0004, 0, 0, 0, 0, 1, 0}, {0002, 0, 0, 0, 0, 0, 1},
		{0006, 0, 0, 0, 0, 1, 1}, {0066, 0, 0, 1, 1, 1, 1}, {0606, 1, 1, 0, 0, 1, 1},
		{0664, 1, 1, 1, 1, 1, 0}, {0666, 1, 1, 1, 1, 1, 1}, {0111, 0, 0, 0, 0, 0, 0},
	};
	char name[16];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		(void)snprintf(name, sizeof(name), "f%04o", rows[i].mode);
		put_text(name, "x");
		ok(chmod(name, rows[i].mode));
		if (geteuid() == 0)
			ok(chown(name, USER_A, GROUP_SHARED));
	}
	for (int who = 0; who < 3; who++) {
		bool is_child = who == 0   ? as_user(USER_A)
				: who == 1 ? as_member(USER_B, GROUP_SHARED)
					   : as_user(USER_B);
		if (!is_child)
			continue;
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			bool r = who == 0   ? rows[i].owner_r
				 : who == 1 ? rows[i].group_r
					    : rows[i].other_r;
			bool w = who == 0   ? rows[i].owner_w
				 : who == 1 ? rows[i].group_w
					    : rows[i].other_w;
			const struct {
				int flags, access;
				bool allowed;
			} ways[] = {
				{O_RDONLY, R_OK, r},
				{O_WRONLY, W_OK, w},
				{O_RDWR, R_OK | W_OK, r && w},
			};

			(void)snprintf(name, sizeof(name), "f%04o", rows[i].mode);
			for (size_t k = 0; k < sizeof(ways) / sizeof(ways[0]); k++) {
				int fd = open(name, ways[k].flags), err = errno;

				if ((fd >= 0) != ways[k].allowed || (fd < 0 && err != EACCES))
					failed("user %d opens %s with flags %d: expected %s, got "
					       "%s",
					       who, name, ways[k].flags,
					       ways[k].allowed ? "success" : "EACCES",
					       fd < 0 ? strerrorname_np(err) : "success");
				if (access(name, ways[k].access) != (ways[k].allowed ? 0 : -1))
					failed("user %d, access() of %s, %d: expected the "
					       "contrary",
					       who, name, ways[k].access);
				if (fd >= 0)
					ok(close(fd));
			}
		}
		done();
	}
}

static void root_overrides(void)
{
	if (geteuid() != 0) {
		skip("users", "needs root: nothing was tested as another user");
		return;
	}
	put_text("f", "x");
	ok(chmod("f", 0));
	ok(mkdir("d", 0));
	ok(open("f", O_RDWR));
	put_text("d/g", "y");
	ok(access("f", R_OK | W_OK));
	/* Even root executes nothing that has no x bit. */
	fails(access("f", X_OK), EACCES);
	ok(chmod("f", 0010));
	ok(access("f", X_OK));
}

static void directory_permissions(void)
{
	ok(mkdir("closed", 0700));
	put_text("closed/f", "x");
	ok(mkdir("listed", 0744)); /* r: names can be read, but not followed */
	put_text("listed/f", "x");
	ok(mkdir("passed", 0711)); /* x: known names can be followed, but not listed */
	put_text("passed/f", "x");
	ok(mkdir("unwritable", 0755));
	put_text("unwritable/f", "x");
	ok(chmod("unwritable/f", 0666));
	if (as_user(USER_A)) {
		struct stat st;

		fails(open("closed/f", O_RDONLY), EACCES);
		fails(open("closed/no", O_RDONLY), EACCES);
		fails(open("closed", O_RDONLY), EACCES);
		fails(stat("closed/f", &st), EACCES);
		fails(chdir("closed"), EACCES);
		ok(stat("closed", &st));
		fails(open("listed/f", O_RDONLY), EACCES);
		fails(stat("listed/f", &st), EACCES);
		ok(open("listed", O_RDONLY));
		fails(chdir("listed"), EACCES);
		ok(open("passed/f", O_RDONLY));
		fails(open("passed/no", O_RDONLY), ENOENT);
		fails(open("passed", O_RDONLY), EACCES);
		ok(open("unwritable/f", O_RDWR | O_CREAT | O_TRUNC, 0644));
		fails(open("unwritable/g", O_RDWR | O_CREAT, 0644), EACCES);
		fails(creat("passed/g", 0644), EACCES);
		/* That a name exists is told before that it could not be made. */
		fails(open("unwritable/f", O_RDWR | O_CREAT | O_EXCL, 0644), EEXIST);
		fails(open("f", O_RDWR | O_CREAT, 0644), EACCES);
		done();
	}
}

/* ---- kinds ---- */

static void fifos(void)
{
	char buf[8];

	ok(mkfifo("p", 0644));
	fails(open("p", O_WRONLY | O_NONBLOCK), ENXIO);
	int reader = ok(open("p", O_RDONLY | O_NONBLOCK)), writer = ok(open("p", O_WRONLY));
	equal(write(writer, "hello", 5), 5);
	equal(read(reader, buf, sizeof(buf)), 5);
	same_bytes(buf, "hello", 5);
	fails(read(reader, buf, sizeof(buf)), EAGAIN);
	fails(lseek(reader, 0, SEEK_SET), ESPIPE);
	fails(pread(reader, buf, 1, 0), ESPIPE);
	fails(ftruncate(writer, 0), EINVAL);
	fails(fsync(writer), EINVAL);
	ok(close(writer));
	equal(read(reader, buf, sizeof(buf)), 0);
	/* The name goes, the fifo stays. */
	ok(unlink("p"));
	ok(open("/dev/null", O_RDONLY));
	equal(stat_of_fd(reader).st_nlink, 0);
}

static void sockets(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "sock"};
	const struct sockaddr *sa = (const struct sockaddr *)&address;
	char buf[8];
	int server = ok(socket(AF_UNIX, SOCK_STREAM, 0)),
	    client = ok(socket(AF_UNIX, SOCK_STREAM, 0));

	fails(connect(client, sa, sizeof(address)), ENOENT);
	ok(bind(server, sa, sizeof(address)));
	check(S_ISSOCK(stat_of("sock").st_mode));
	fails(open("sock", O_RDWR), ENXIO);
	fails(connect(client, sa, sizeof(address)), ECONNREFUSED);
	ok(listen(server, 1));
	ok(connect(client, sa, sizeof(address)));
	int peer = ok(accept(server, NULL, NULL));
	equal(write(client, "hello", 5), 5);
	equal(read(peer, buf, sizeof(buf)), 5);
	int second = ok(socket(AF_UNIX, SOCK_STREAM, 0));
	fails(bind(second, sa, sizeof(address)), EADDRINUSE);
	/* A socket that mknod() made has nobody behind it. */
	ok(mknod("made", S_IFSOCK | 0644, 0));
	fails(open("made", O_RDONLY), ENXIO);
	(void)strcpy(address.sun_path, "made");
	fails(connect(second, sa, sizeof(address)), ECONNREFUSED);
}

static void devices(void)
{
	struct statvfs vfs;
	char c = 'x';

	if (mknod("null", S_IFCHR | 0666, makedev(1, 3))) {
		skip("devices", "device nodes cannot be made: %s", strerror(errno));
		return;
	}
	ok(statvfs(".", &vfs));
	if (vfs.f_flag & ST_NODEV) {
		fails(open("null", O_RDWR), EACCES);
		skip("devices", "the filesystem is mounted with nodev");
		return;
	}
	int fd = ok(open("null", O_RDWR));
	equal(write(fd, &c, 1), 1);
	equal(read(fd, &c, 1), 0);
	equal(stat_of_fd(fd).st_rdev, makedev(1, 3));
	ok(mknod("zero", S_IFCHR | 0666, makedev(1, 5)));
	fd = ok(open("zero", O_RDONLY));
	equal(read(fd, &c, 1), 1);
	equal(c, 0);
	ok(mknod("none", S_IFCHR | 0666, makedev(0, 0)));
	fails(open("none", O_RDWR), ENXIO);
}

static void executing(void)
{
	struct statvfs vfs;
	static char buf[1 << 20];
	char *argv[] = {"sleep", "30", NULL};
	int status = 0, pipe_fds[2];
	char c;

	ok(statvfs(".", &vfs));
	if (vfs.f_flag & ST_NOEXEC) {
		skip("execute", "the filesystem is mounted with noexec");
		return;
	}
	size_t size = get("/bin/sleep", buf, sizeof(buf));
	check(size > 0 && size < sizeof(buf));
	put("sleep", buf, size);
	fails(execv("./sleep", argv), EACCES);
	ok(chmod("sleep", 0755));
	ok(pipe2(pipe_fds, O_CLOEXEC));
	pid_t pid = spawn();
	if (pid == 0) {
		(void)execv("./sleep", argv);
		_exit(1);
	}
	ok(close(pipe_fds[1]));
	equal(read(pipe_fds[0], &c, 1), 0); /* closed by exec */
	fails(open("sleep", O_WRONLY), ETXTBSY);
	fails(truncate("sleep", 0), ETXTBSY);
	ok(open("sleep", O_RDONLY));
	ok(kill(pid, SIGKILL));
	ok(waitpid(pid, &status, 0));
	check(WIFSIGNALED(status));
	ok(open("sleep", O_WRONLY));
	/* While somebody writes it, it is not executed. */
	fails(execv("./sleep", argv), ETXTBSY);
}

/* ---- files without a name ---- */

static void unnamed(void)
{
	char path[64], buf[8];
	int fd = open(".", O_TMPFILE | O_RDWR, 0640);

	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
		skip("O_TMPFILE", "%s", strerror(errno));
		return;
	}
	ok(fd);
	equal(stat_of_fd(fd).st_nlink, 0);
	equal(stat_of_fd(fd).st_mode, S_IFREG | 0640);
	equal(write(fd, "hello", 5), 5);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ok(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	equal(stat_of_fd(fd).st_nlink, 1);
	equal(stat_of("named").st_ino, stat_of_fd(fd).st_ino);
	has_text("named", "hello");
	ok(linkat(AT_FDCWD, path, AT_FDCWD, "named-2", AT_SYMLINK_FOLLOW));
	equal(stat_of("named").st_nlink, 2);

	fd = ok(open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600));
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fails(linkat(AT_FDCWD, path, AT_FDCWD, "other", AT_SYMLINK_FOLLOW), ENOENT);
	equal(pwrite(fd, "x", 1, 100000), 1);
	equal(pread(fd, buf, 1, 100000), 1);
	equal(stat_of_fd(fd).st_size, 100001);
	fails(open(".", O_TMPFILE | O_RDONLY, 0600), EINVAL);
	fails(open("named", O_TMPFILE | O_RDWR, 0600), ENOTDIR);
	fails(open("missing", O_TMPFILE | O_RDWR, 0600), ENOENT);
}

/* ---- relative to directories ---- */

static void relative(void)
{
	struct stat st;
	char cwd[4096], again[4096];

	ok(mkdir("d", 0755));
	put_text("d/f", "x");
	put_text("g", "y");
	int dir = ok(open("d", O_RDONLY | O_DIRECTORY)), file = ok(open("g", O_RDONLY));
	ok(openat(dir, "f", O_RDONLY));
	ok(openat(dir, "../g", O_RDONLY));
	fails(openat(dir, "g", O_RDONLY), ENOENT);
	fails(openat(file, "g", O_RDONLY), ENOTDIR);
	fails(openat(-2, "g", O_RDONLY), EBADF);
	ok(fstatat(dir, "", &st, AT_EMPTY_PATH));
	equal(st.st_ino, stat_of("d").st_ino);
	fails(fstatat(dir, "", &st, 0), ENOENT);
	fails(chdir("g"), ENOTDIR);
	fails(fchdir(file), ENOTDIR);
	fails(chdir("no"), ENOENT);
	/* The working directory follows its directory, whatever that is called. */
	ok(fchdir(dir));
	check(getcwd(cwd, sizeof(cwd)) != NULL);
	ok(rename("../d", "../e"));
	check(getcwd(again, sizeof(again)) != NULL);
	equal(strlen(again), strlen(cwd));
	equal(again[strlen(again) - 1], 'e');
	has_text("f", "x");
	has_text("../g", "y");
}

const struct posix_test posix_open_tests[] = {
	{"open", "mode", create_mode},
	{"open", "new", create_new},
	{"open", "new-as-user", create_as_user},
	{"open", "existing", create_existing},
	{"open", "exclusive", exclusive},
	{"open", "through-symlink", through_symlink},
	{"open", "truncating", truncating},
	{"open", "creat", creating_with_creat},
	{"open", "parent-times", parent_times},
	{"open", "missing", missing},
	{"open", "directories", directories},
	{"open", "no-follow", no_follow},
	{"open", "loops", loops},
	{"open", "access-mode", access_mode},
	{"open", "permissions", permissions},
	{"open", "root-overrides", root_overrides},
	{"open", "directory-permissions", directory_permissions},
	{"open", "unnamed", unnamed},
	{"open", "relative", relative},
	{"kinds", "fifos", fifos},
	{"kinds", "sockets", sockets},
	{"kinds", "devices", devices},
	{"kinds", "executing", executing},
	{0},
};
