/* Several processes: what only one of them may get, what all must see, and locks. */
#include "posix.h"

#include <dirent.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

enum { PROCESSES = 4, ROUNDS = 60 };

/* ---- one winner ---- */

enum { BY_OPEN, BY_MKDIR, BY_LINK, BY_UNLINK, BY_RENAME, BY_RMDIR, BY_SYMLINK };

/* Try what only one can do; gives whether it was this one. */
static bool attempt(int way, unsigned process, unsigned round)
{
	char name[32], own[32];
	int result = -1, expected = EEXIST;

	(void)snprintf(name, sizeof(name), "prize-%u", round);
	(void)snprintf(own, sizeof(own), "own-%u-%u", process, round);
	switch (way) {
	case BY_OPEN:
		result = open(name, O_RDWR | O_CREAT | O_EXCL, 0644);
		if (result >= 0)
			ok(close(result));
		break;
	case BY_MKDIR:
		result = mkdir(name, 0755);
		break;
	case BY_LINK:
		result = link("source", name);
		break;
	case BY_SYMLINK:
		result = symlink("source", name);
		break;
	case BY_UNLINK:
		expected = ENOENT;
		result = unlink(name);
		break;
	case BY_RMDIR:
		expected = ENOENT;
		result = rmdir(name);
		break;
	case BY_RENAME:
		expected = ENOENT;
		result = rename(name, own);
		break;
	}
	if (result >= 0)
		return true;
	equal(errno, expected);
	return false;
}

static void one_winner(int way)
{
	unsigned *won = shared_counters(ROUNDS);
	pid_t pids[PROCESSES];
	char name[32];

	put_text("source", "x");
	for (unsigned i = 0; i < ROUNDS; i++) {
		(void)snprintf(name, sizeof(name), "prize-%u", i);
		if (way == BY_UNLINK || way == BY_RENAME)
			put_text(name, "x");
		if (way == BY_RMDIR)
			ok(mkdir(name, 0755));
	}
	for (unsigned p = 0; p < PROCESSES; p++) {
		pids[p] = spawn();
		if (pids[p] != 0)
			continue;
		for (unsigned i = 0; i < ROUNDS; i++)
			if (attempt(way, p, i))
				add(&won[i]);
		done();
	}
	for (unsigned p = 0; p < PROCESSES; p++)
		join(pids[p]);
	for (unsigned i = 0; i < ROUNDS; i++) {
		(void)snprintf(name, sizeof(name), "prize-%u", i);
		if (load(&won[i]) != 1)
			failed("%s: expected one process to succeed, got %u", name, load(&won[i]));
		equal(exists(name),
		      way == BY_OPEN || way == BY_MKDIR || way == BY_LINK || way == BY_SYMLINK);
	}
	if (way == BY_LINK)
		equal(stat_of("source").st_nlink, 1 + ROUNDS);
}

static void one_opens(void)
{
	one_winner(BY_OPEN);
}

static void one_makes(void)
{
	one_winner(BY_MKDIR);
}

static void one_links(void)
{
	one_winner(BY_LINK);
}

static void one_symlinks(void)
{
	one_winner(BY_SYMLINK);
}

static void one_unlinks(void)
{
	one_winner(BY_UNLINK);
}

static void one_removes(void)
{
	one_winner(BY_RMDIR);
}

static void one_renames(void)
{
	one_winner(BY_RENAME);
}

/* ---- what all see ---- */

static void rename_is_atomic(void)
{
	enum { RENAMES = 400 };
	unsigned *stop = shared_counters(2);
	pid_t reader;
	char buf[64];

	/* A file is replaced again and again: whoever looks finds one of the versions, whole. */
	put_text("name", "version 0000");
	reader = spawn();
	if (reader == 0) {
		unsigned last = 0;

		while (!load(&stop[0])) {
			int fd = open("name", O_RDONLY);
			ssize_t n;

			if (fd < 0) {
				failed("opening a name that is being replaced: expected success, "
				       "got %s",
				       strerrorname_np(errno));
				done();
			}
			n = read(fd, buf, sizeof(buf) - 1);
			ok(close(fd));
			if (n != 12 || memcmp(buf, "version ", 8)) {
				failed("expected 12 bytes, got %zd", n);
				done();
			}
			buf[n] = '\0';
			unsigned now = (unsigned)strtoul(buf + 8, NULL, 10);
			check(now >= last);
			last = now;
			add(&stop[1]);
		}
		done();
	}
	for (unsigned i = 1; i <= RENAMES; i++) {
		(void)snprintf(buf, sizeof(buf), "version %04u", i);
		put_text("temporary", buf);
		ok(rename("temporary", "name"));
	}
	wait_for_count(&stop[1], 50);
	add(&stop[0]);
	join(reader);
	has_text("name", "version 0400");
}

static void exchange_is_atomic(void)
{
	unsigned *stop = shared_counters(2);
	pid_t reader;

	put_text("a", "a");
	ok(mkdir("b", 0755));
	if (renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE) == -1) {
		fails_either(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE), EINVAL,
			     ENOSYS);
		skip("renameat2", "%s", strerror(errno));
		return;
	}
	reader = spawn();
	if (reader == 0) {
		while (!load(&stop[0])) {
			check(exists("a"));
			check(exists("b"));
			add(&stop[1]);
		}
		done();
	}
	wait_for_count(&stop[1], 1);
	for (unsigned i = 0; i < 400; i++)
		ok(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE));
	add(&stop[0]);
	join(reader);
}

static void creating_together(void)
{
	enum { FILES = 150 };
	pid_t pids[PROCESSES];
	char name[32];
	struct dirent *entry;
	unsigned seen = 0;

	ok(mkdir("d", 0755));
	for (unsigned p = 0; p < PROCESSES; p++) {
		pids[p] = spawn();
		if (pids[p] != 0)
			continue;
		for (unsigned i = 0; i < FILES; i++) {
			(void)snprintf(name, sizeof(name), "d/%u-%u", p, i);
			if (i % 3 == 0)
				ok(mkdir(name, 0755));
			else
				put_text(name, name);
		}
		for (unsigned i = 0; i < FILES; i += 2) {
			(void)snprintf(name, sizeof(name), "d/%u-%u", p, i);
			ok(i % 3 == 0 ? rmdir(name) : unlink(name));
		}
		done();
	}
	for (unsigned p = 0; p < PROCESSES; p++)
		join(pids[p]);
	DIR *dir = opendir("d");
	check(dir != NULL);
	while (dir && (entry = readdir(dir)))
		seen += entry->d_name[0] != '.';
	equal(seen, PROCESSES * FILES / 2);
	for (unsigned p = 0; p < PROCESSES; p++)
		for (unsigned i = 1; i < FILES; i += 2) {
			(void)snprintf(name, sizeof(name), "d/%u-%u", p, i);
			if (i % 3)
				has_text(name, name);
		}
	nlink_t links = stat_of("d").st_nlink;
	if (links != 1) {
		/* Odd multiples of three below FILES are the directories that stay. */
		equal(links, 2 + PROCESSES * (FILES / 6));
	}
}

static void writing_together(void)
{
	enum { PIECE = 3000, PIECES = 40 };
	static unsigned char buf[PIECE], found[PIECE];
	pid_t pids[PROCESSES];
	int fd = new_file("f");

	/* Each its own pieces, which share pages and blocks. */
	for (unsigned p = 0; p < PROCESSES; p++) {
		pids[p] = spawn();
		if (pids[p] != 0)
			continue;
		for (unsigned i = 0; i < PIECES; i++) {
			unsigned k = i * PROCESSES + p;

			pattern(buf, PIECE, k);
			equal(pwrite(fd, buf, PIECE, (off_t)k * PIECE), PIECE);
		}
		done();
	}
	for (unsigned p = 0; p < PROCESSES; p++)
		join(pids[p]);
	equal(stat_of_fd(fd).st_size, PIECES * PROCESSES * PIECE);
	forget(fd);
	for (unsigned k = 0; k < PIECES * PROCESSES; k++) {
		pattern(buf, PIECE, k);
		equal(pread(fd, found, PIECE, (off_t)k * PIECE), PIECE);
		if (!same_bytes(found, buf, PIECE))
			return;
	}
}

/* Directories are moved in each other's way: nobody may hang, and no loop may come to be. */
static void moving_directories(void)
{
	static const char *const moves[][2] = {
		{"a/x", "b/x"}, {"b/x", "a/x"}, {"a", "b/a"}, {"b/a", "a"},
		{"b", "a/b"},   {"a/b", "b"},   {"a", "c"},   {"c", "a"},
	};
	enum { MOVES = sizeof(moves) / sizeof(moves[0]) };
	pid_t pids[PROCESSES];
	unsigned found = 0;

	ok(mkdir("a", 0755));
	ok(mkdir("b", 0755));
	ok(mkdir("a/x", 0755));
	put_text("a/x/f", "x");
	for (unsigned p = 0; p < PROCESSES; p++) {
		pids[p] = spawn();
		if (pids[p] != 0)
			continue;
		for (unsigned i = 0; i < 300; i++) {
			const char *const *move = moves[(i * 7 + p * 3 + i / 8) % MOVES];

			if (rename(move[0], move[1]) && errno != ENOENT && errno != EINVAL &&
			    errno != ENOTEMPTY)
				failed("rename(\"%s\", \"%s\"): expected success, ENOENT, EINVAL "
				       "or ENOTEMPTY, got %s",
				       move[0], move[1], strerrorname_np(errno));
		}
		done();
	}
	for (unsigned p = 0; p < PROCESSES; p++)
		join(pids[p]);
	/* The file is still somewhere. */
	static const char *const places[] = {"a/x/f",   "b/x/f",   "c/x/f",  "b/a/x/f",
					     "a/b/x/f", "c/b/x/f", "b/c/x/f"};
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		struct stat st;

		found += stat(places[i], &st) == 0;
	}
	equal(found, 1);
}

/* ---- locks ---- */

static void flocks(void)
{
	put_text("f", "x");
	int fd = ok(open("f", O_RDWR)), own;

	ok(flock(fd, LOCK_SH));
	if (in_child()) {
		own = ok(open("f", O_RDONLY));
		ok(flock(own, LOCK_SH | LOCK_NB));
		fails(flock(own, LOCK_EX | LOCK_NB), EWOULDBLOCK);
		done();
	}
	ok(flock(fd, LOCK_EX));
	if (in_child()) {
		own = ok(open("f", O_RDONLY));
		fails(flock(own, LOCK_SH | LOCK_NB), EWOULDBLOCK);
		fails(flock(own, LOCK_EX | LOCK_NB), EWOULDBLOCK);
		/* The inherited descriptor is the same open file, and has the lock. */
		ok(flock(fd, LOCK_EX | LOCK_NB));
		done();
	}
	/* It belongs to the open file: the child's end did not release it. */
	own = ok(open("f", O_RDONLY));
	fails(flock(own, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	ok(flock(fd, LOCK_UN));
	ok(flock(own, LOCK_EX | LOCK_NB));
	fails(flock(fd, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	ok(close(own));
	ok(flock(fd, LOCK_EX | LOCK_NB));
	/* Whoever waits gets it at the end. */
	pid_t pid = spawn();
	if (pid == 0) {
		/* Or it would hold the lock itself. */
		ok(close(fd));
		own = ok(open("f", O_RDONLY));
		ok(flock(own, LOCK_EX));
		put_text("got", "it");
		done();
	}
	(void)usleep(30000);
	check(!exists("got"));
	ok(close(fd));
	join(pid);
	check(exists("got"));
	fails(flock(-1, LOCK_EX), EBADF);
}

static struct flock range(short type, off_t start, off_t len)
{
	return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
}

static void record_locks(void)
{
	struct flock lock = range(F_WRLCK, 100, 100);
	int fd = new_file("f");

	ok(fcntl(fd, F_SETLK, &lock));
	if (in_child()) {
		int own = ok(open("f", O_RDWR));

		lock = range(F_WRLCK, 0, 0);
		ok(fcntl(own, F_GETLK, &lock));
		equal(lock.l_type, F_WRLCK);
		equal(lock.l_start, 100);
		equal(lock.l_len, 100);
		equal(lock.l_pid, getppid());
		/* Children do not inherit them: even the inherited descriptor is refused. */
		lock = range(F_WRLCK, 150, 1);
		fails_either(fcntl(fd, F_SETLK, &lock), EAGAIN, EACCES);
		lock = range(F_RDLCK, 199, 1);
		fails_either(fcntl(own, F_SETLK, &lock), EAGAIN, EACCES);
		lock = range(F_WRLCK, 0, 100);
		ok(fcntl(own, F_SETLK, &lock));
		lock = range(F_WRLCK, 200, 0);
		ok(fcntl(own, F_SETLK, &lock));
		lock = range(F_WRLCK, 0, 100);
		ok(fcntl(own, F_GETLK, &lock));
		equal(lock.l_type, F_UNLCK);
		done();
	}
	/* The child's ended with it. Readers share; a part can be given back. */
	lock = range(F_RDLCK, 0, 0);
	ok(fcntl(fd, F_SETLK, &lock));
	lock = range(F_UNLCK, 50, 10);
	ok(fcntl(fd, F_SETLK, &lock));
	if (in_child()) {
		int own = ok(open("f", O_RDWR));

		lock = range(F_RDLCK, 0, 0);
		ok(fcntl(own, F_SETLK, &lock));
		lock = range(F_WRLCK, 50, 10);
		ok(fcntl(own, F_SETLK, &lock));
		lock = range(F_WRLCK, 60, 1);
		fails_either(fcntl(own, F_SETLK, &lock), EAGAIN, EACCES);
		done();
	}
	/* Closing any descriptor of the file releases all of the process's. */
	ok(close(ok(open("f", O_RDONLY))));
	if (in_child()) {
		lock = range(F_WRLCK, 0, 0);
		ok(fcntl(fd, F_SETLK, &lock));
		done();
	}
}

static void waiting_for_locks(void)
{
	struct flock lock = range(F_WRLCK, 0, 0);
	int fd = new_file("f");

	ok(fcntl(fd, F_SETLK, &lock));
	pid_t pid = spawn();
	if (pid == 0) {
		int own = ok(open("f", O_RDWR));

		lock = range(F_WRLCK, 0, 10);
		ok(fcntl(own, F_SETLKW, &lock));
		put_text("got", "it");
		done();
	}
	(void)usleep(30000);
	check(!exists("got"));
	lock = range(F_UNLCK, 0, 0);
	ok(fcntl(fd, F_SETLK, &lock));
	join(pid);
	check(exists("got"));
	/* Two that would wait for each other for ever: one is told. */
	lock = range(F_WRLCK, 0, 1);
	ok(fcntl(fd, F_SETLK, &lock));
	int pipe_fds[2];
	char c;
	ok(pipe(pipe_fds));
	pid = spawn();
	if (pid == 0) {
		int own = ok(open("f", O_RDWR));

		lock = range(F_WRLCK, 1, 1);
		ok(fcntl(own, F_SETLK, &lock));
		equal(write(pipe_fds[1], "x", 1), 1);
		lock = range(F_WRLCK, 0, 1);
		ok(fcntl(own, F_SETLKW, &lock));
		done();
	}
	equal(read(pipe_fds[0], &c, 1), 1);
	(void)usleep(30000);
	lock = range(F_WRLCK, 1, 1);
	fails(fcntl(fd, F_SETLKW, &lock), EDEADLK);
	lock = range(F_UNLCK, 0, 0);
	ok(fcntl(fd, F_SETLK, &lock));
	join(pid);
}

static void lock_errors(void)
{
	struct flock lock = range(F_WRLCK, 0, 0);

	put_text("f", "x");
	int reader = ok(open("f", O_RDONLY)), writer = ok(open("f", O_WRONLY));
	fails(fcntl(reader, F_SETLK, &lock), EBADF);
	lock = range(F_RDLCK, 0, 0);
	fails(fcntl(writer, F_SETLK, &lock), EBADF);
	lock = range(F_RDLCK, -5, 1);
	fails(fcntl(reader, F_SETLK, &lock), EINVAL);
	lock = range(77, 0, 1);
	fails(fcntl(reader, F_SETLK, &lock), EINVAL);
	lock = range(F_RDLCK, 0, 0);
	ok(fcntl(reader, F_SETLK, &lock));
}

static void open_file_locks(void)
{
	struct flock lock = range(F_WRLCK, 0, 10);
	int fd = new_file("f"), other = ok(open("f", O_RDWR));

	ok(fcntl(fd, F_OFD_SETLK, &lock));
	lock = range(F_WRLCK, 5, 10);
	fails(fcntl(other, F_OFD_SETLK, &lock), EAGAIN);
	lock = range(F_WRLCK, 10, 10);
	ok(fcntl(other, F_OFD_SETLK, &lock));
	/* They conflict with the process's own classic locks as well. */
	lock = range(F_WRLCK, 0, 1);
	fails_either(fcntl(other, F_SETLK, &lock), EAGAIN, EACCES);
	/* flock() is another kind, which knows nothing of these. */
	ok(flock(other, LOCK_EX | LOCK_NB));
	ok(close(fd));
	lock = range(F_WRLCK, 0, 10);
	ok(fcntl(other, F_OFD_SETLK, &lock));
}

const struct posix_test posix_parallel_tests[] = {
	{"parallel", "one-opens", one_opens},
	{"parallel", "one-makes", one_makes},
	{"parallel", "one-links", one_links},
	{"parallel", "one-symlinks", one_symlinks},
	{"parallel", "one-unlinks", one_unlinks},
	{"parallel", "one-removes", one_removes},
	{"parallel", "one-renames", one_renames},
	{"parallel", "rename-is-atomic", rename_is_atomic},
	{"parallel", "exchange-is-atomic", exchange_is_atomic},
	{"parallel", "creating", creating_together},
	{"parallel", "writing", writing_together},
	{"parallel", "moving-directories", moving_directories},
	{"locks", "flock", flocks},
	{"locks", "records", record_locks},
	{"locks", "waiting", waiting_for_locks},
	{"locks", "errors", lock_errors},
	{"locks", "open-file", open_file_locks},
	{0},
};
