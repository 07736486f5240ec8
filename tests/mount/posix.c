#include <sys/vfs.h>
/*
 * Runs the tests of the other posix_*.c on a directory of a mounted filesystem; see posix.h.
 *
 * Every test is a process, so that none can harm another: it may change its user, exhaust its
 * descriptors, die from SIGBUS or hang. What is counted lies in memory that all of them share.
 */
#include "posix.h"

#include <dirent.h>
#include <getopt.h>
#include <grp.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#define TEST_SECONDS_MAX 60
#define REMARKS_MAX 256
#define FAILURES_SHOWN_MAX 12 /* of one test */
#define NAME_MAX_BYTES 64
#define TEXT_MAX_BYTES 240

static const struct posix_test *const tables[] = {
	posix_open_tests,  posix_name_tests,     posix_rename_tests,   posix_dir_tests,
	posix_write_tests, posix_space_tests,    posix_map_tests,      posix_attr_tests,
	posix_perm_tests,  posix_unlinked_tests, posix_parallel_tests,
};

enum remark_kind { REMARK_SKIP, REMARK_NOTE };

/* What all the processes of a run share. */
struct shared {
	atomic_uint checks, failures; /* of the test that runs */
	atomic_uint remarks_count;
	struct remark {
		enum remark_kind kind;
		char what[NAME_MAX_BYTES];
		char text[TEXT_MAX_BYTES];
		char test[NAME_MAX_BYTES];
	} remarks[REMARKS_MAX];
};

static struct shared *shared;
static char test_name[NAME_MAX_BYTES];
static bool users_possible;
static const char *users_reason;
static uint64_t random_state;

/* ---- checks ---- */

static const char *error_name(int err)
{
	const char *name = strerrorname_np(err);

	return name ? name : "an unknown errno";
}

void posix_failed(const char *file, int line, const char *format, ...)
{
	char text[600];
	const char *slash = strrchr(file, '/');
	va_list args;
	unsigned before = atomic_fetch_add(&shared->failures, 1);

	if (before >= FAILURES_SHOWN_MAX)
		return;
	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* One write, so that lines of several processes do not mix. */
	(void)dprintf(STDOUT_FILENO, "     %s: %s:%d: %s%s\n", test_name, slash ? slash + 1 : file,
		      line, text,
		      before + 1 == FAILURES_SHOWN_MAX ? " (no more of this test)" : "");
}

int posix_ok(const char *file, int line, const char *text, long long result)
{
	int err = errno;

	atomic_fetch_add(&shared->checks, 1);
	if (result == -1) {
		posix_failed(file, line, "%s: expected success, got %s", text, error_name(err));
		_exit(1);
	}
	return (int)result;
}

bool posix_fails(const char *file, int line, const char *text, long long result, int err, int other)
{
	int got = errno;

	atomic_fetch_add(&shared->checks, 1);
	if (result == -1 && (got == err || got == other))
		return true;
	if (err == other)
		posix_failed(file, line, "%s: expected %s, got %s", text, error_name(err),
			     result == -1 ? error_name(got) : "success");
	else
		posix_failed(file, line, "%s: expected %s or %s, got %s", text, error_name(err),
			     error_name(other), result == -1 ? error_name(got) : "success");
	return false;
}

bool posix_equal(const char *file, int line, const char *text, long long found, long long expected)
{
	int err = errno;

	atomic_fetch_add(&shared->checks, 1);
	if (found == expected)
		return true;
	if (found == -1)
		posix_failed(file, line, "%s: expected %lld, got -1 (%s)", text, expected,
			     error_name(err));
	else
		posix_failed(file, line, "%s: expected %lld (0%llo), got %lld (0%llo)", text,
			     expected, expected, found, found);
	return false;
}

bool posix_check(const char *file, int line, const char *text, bool condition)
{
	atomic_fetch_add(&shared->checks, 1);
	if (!condition)
		posix_failed(file, line, "expected %s, got the contrary", text);
	return condition;
}

bool posix_same_bytes(const char *file, int line, const char *text, const void *found,
		      const void *expected, size_t size)
{
	const unsigned char *a = found, *b = expected;
	size_t at = 0;

	atomic_fetch_add(&shared->checks, 1);
	if (memcmp(a, b, size) == 0)
		return true;
	while (a[at] == b[at])
		at++;
	posix_failed(file, line, "%s: byte %zu of %zu: expected 0x%02x, got 0x%02x", text, at, size,
		     b[at], a[at]);
	return false;
}

bool posix_all_zero(const char *file, int line, const char *text, const void *buf, size_t size,
		    long long at)
{
	const unsigned char *bytes = buf;

	atomic_fetch_add(&shared->checks, 1);
	for (size_t i = 0; i < size; i++) {
		if (bytes[i] == 0)
			continue;
		posix_failed(file, line, "%s: byte %lld: expected 0, got 0x%02x", text,
			     at + (long long)i, bytes[i]);
		return false;
	}
	return true;
}

static void remark(enum remark_kind kind, const char *what, const char *text)
{
	unsigned at;

	for (unsigned i = 0; i < atomic_load(&shared->remarks_count) && i < REMARKS_MAX; i++)
		if (!strcmp(shared->remarks[i].text, text) &&
		    !strcmp(shared->remarks[i].what, what))
			return;
	at = atomic_fetch_add(&shared->remarks_count, 1);
	if (at >= REMARKS_MAX) {
		failed("more than %d remarks: raise REMARKS_MAX", REMARKS_MAX);
		return;
	}
	struct remark *r = &shared->remarks[at];
	r->kind = kind;
	(void)snprintf(r->what, sizeof(r->what), "%s", what);
	(void)snprintf(r->text, sizeof(r->text), "%s", text);
	(void)snprintf(r->test, sizeof(r->test), "%s", test_name);
}

void skip(const char *what, const char *format, ...)
{
	char text[TEXT_MAX_BYTES];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	remark(REMARK_SKIP, what, text);
}

void note(const char *format, ...)
{
	char text[TEXT_MAX_BYTES];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	remark(REMARK_NOTE, "", text);
}

/* ---- processes ---- */

/* What every process of a test starts with: it must not outlive its parent, nor hang. */
static void begin_process(void)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)alarm(TEST_SECONDS_MAX);
}

pid_t spawn(void)
{
	pid_t pid = ok(fork());

	if (pid == 0)
		begin_process();
	return pid;
}

void join(pid_t pid)
{
	int status = 0;

	ok(waitpid(pid, &status, 0));
	/* A child that ended with 1 has told why. */
	if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
		failed("a process of the test: expected exit code 0, got wait status 0x%x", status);
}

void done(void)
{
	_exit(0);
}

bool in_child(void)
{
	pid_t pid = spawn();

	if (pid == 0)
		return true;
	join(pid);
	return false;
}

unsigned *shared_counters(size_t count)
{
	unsigned *counters = mmap(NULL, count * sizeof(*counters), PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (counters == MAP_FAILED)
		ok(-1);
	return counters;
}

unsigned load(unsigned *counter)
{
	return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
}

void add(unsigned *counter)
{
	(void)__atomic_fetch_add(counter, 1, __ATOMIC_SEQ_CST);
}

void wait_for_count(unsigned *counter, unsigned at_least)
{
	for (unsigned i = 0; load(counter) < at_least; i++) {
		if (i == 5000) {
			failed("expected another process to get to %u, got %u", at_least,
			       load(counter));
			return;
		}
		(void)usleep(1000);
	}
}

static void become(uid_t uid, size_t groups_count, const gid_t *groups)
{
	ok(setgroups(groups_count, groups));
	ok(setresgid(GROUP_OF(uid), GROUP_OF(uid), GROUP_OF(uid)));
	ok(setresuid(uid, uid, uid));
	/* setresuid() takes these back. */
	begin_process();
}

bool as_member(uid_t uid, gid_t group)
{
	if (!users_possible) {
		skip("users", "%s", users_reason);
		return false;
	}
	if (!in_child())
		return false;
	become(uid, group != (gid_t)-1, &group);
	return true;
}

bool as_user(uid_t uid)
{
	return as_member(uid, (gid_t)-1);
}

/* Whether a process can become another user, and that one may look into the filesystem. */
static void probe_users(void)
{
	int status = 0;
	pid_t pid;

	users_reason = "needs root: nothing was tested as another user";
	if (geteuid() != 0)
		return;
	users_reason = "other users may not enter the mount, or setuid does not work here";
	pid = fork();
	if (pid == 0) {
		struct stat st;

		if (setgroups(0, NULL) || setresgid(GROUP_OF(USER_A), GROUP_OF(USER_A), -1) ||
		    setresuid(USER_A, USER_A, USER_A) || stat(".", &st))
			_exit(1);
		_exit(0);
	}
	users_possible = pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/* ---- files ---- */

int new_file(const char *name)
{
	return ok(open(name, O_RDWR | O_CREAT | O_EXCL, 0644));
}

void put(const char *name, const void *bytes, size_t size)
{
	int fd = ok(open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644));

	equal(write(fd, bytes, size), size);
	ok(close(fd));
}

void put_text(const char *name, const char *text)
{
	put(name, text, strlen(text));
}

size_t get(const char *name, void *buf, size_t max)
{
	int fd = ok(open(name, O_RDONLY));
	size_t size = 0;

	while (size < max) {
		ssize_t n = read(fd, (char *)buf + size, max - size);

		ok(n);
		if (n == 0)
			break;
		size += (size_t)n;
	}
	ok(close(fd));
	return size;
}

bool posix_has_text(const char *file, int line, const char *name, const char *text)
{
	char found[256];
	size_t size = get(name, found, sizeof(found) - 1);

	atomic_fetch_add(&shared->checks, 1);
	found[size] = '\0';
	if (size == strlen(text) && memcmp(found, text, size) == 0)
		return true;
	posix_failed(file, line, "contents of %s: expected '%s', got '%s'", name, text, found);
	return false;
}

struct stat stat_of(const char *name)
{
	struct stat st;

	memset(&st, 0, sizeof(st));
	if (lstat(name, &st)) {
		failed("lstat(\"%s\"): expected success, got %s", name, error_name(errno));
		_exit(1);
	}
	return st;
}

struct stat stat_of_fd(int fd)
{
	struct stat st;

	memset(&st, 0, sizeof(st));
	ok(fstat(fd, &st));
	return st;
}

bool exists(const char *name)
{
	struct stat st;

	if (lstat(name, &st) == 0)
		return true;
	equal(errno, ENOENT);
	return false;
}

void forget(int fd)
{
	ok(fsync(fd));
	/* Advice: a filesystem that keeps its files in memory only may ignore it. */
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

bool can_allocate(int fd, int mode, off_t offset, off_t len)
{
	if (fallocate(fd, mode, offset, len) == 0)
		return true;
	if (errno != EOPNOTSUPP)
		ok(-1);
	return false;
}

void pattern(void *buf, size_t size, unsigned seed)
{
	unsigned char *bytes = buf;
	uint32_t x = seed * 2654435761u + 1;

	for (size_t i = 0; i < size; i++) {
		x = x * 1664525u + 1013904223u;
		bytes[i] = (unsigned char)(x >> 24) | 1;
	}
}

uint32_t random_below(uint32_t bound)
{
	/* SplitMix64 */
	uint64_t x = random_state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return (uint32_t)((x ^ x >> 31) % bound);
}

/* ---- times ---- */

static void watch_stat(const struct watch *w, struct stat *st)
{
	if (w->fd == AT_FDCWD)
		*st = stat_of(w->what);
	else
		*st = stat_of_fd(w->fd);
}

struct watch watch(const char *name)
{
	struct watch w = {.what = name, .fd = AT_FDCWD};

	watch_stat(&w, &w.before);
	return w;
}

struct watch watch_fd(int fd)
{
	struct watch w = {.what = "an open file", .fd = fd};

	watch_stat(&w, &w.before);
	return w;
}

static long long nanoseconds(struct timespec t)
{
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static long long coarse_now(void)
{
	struct timespec now;

	ok(clock_gettime(CLOCK_REALTIME_COARSE, &now));
	return nanoseconds(now);
}

void tick(void)
{
	struct timespec now;

	/*
	 * Times may be taken from the clock that the timer interrupt advances, or from the exact
	 * one. Only when the former has passed what the latter says now is anything later later.
	 */
	ok(clock_gettime(CLOCK_REALTIME, &now));
	while (coarse_now() <= nanoseconds(now))
		(void)usleep(500);
}

static struct timespec time_of(const struct stat *st, char which)
{
	return which == 'a' ? st->st_atim : which == 'm' ? st->st_mtim : st->st_ctim;
}

void posix_changed(const char *file, int line, const struct watch *w, const char *must,
		   const char *may)
{
	/* A tick of the coarse clock at the lowest timer frequency, and the daemon's way. */
	const long long slack = 20000000;
	long long now = coarse_now();
	struct stat st;

	watch_stat(w, &st);
	for (const char *which = "amc"; *which; which++) {
		long long before = nanoseconds(time_of(&w->before, *which));
		long long after = nanoseconds(time_of(&st, *which));

		atomic_fetch_add(&shared->checks, 1);
		if (strchr(must, *which) && after == before)
			posix_failed(file, line, "%ctime of %s: expected a new time, got the old",
				     *which, w->what);
		else if (after == before || strchr(may, *which))
			continue;
		else if (!strchr(must, *which))
			posix_failed(file, line,
				     "%ctime of %s: expected the old time, got one %lld ns later",
				     *which, w->what, after - before);
		else if (after <= before || after > now + slack)
			posix_failed(file, line,
				     "%ctime of %s: expected now, got %lld ns from the old time, "
				     "%lld ns from now",
				     *which, w->what, after - before, after - now);
	}
}

/* ---- running ---- */

/* Take the flags off that a test which failed may have left, so that a name can be removed. */
static void clear_flags(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC), flags = 0;

	if (fd >= 0) {
		(void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
		(void)close(fd);
	}
}

/* Remove a name and what is below it. Gives -1 where something stays. */
static int remove_tree(int dir_fd, const char *name)
{
	struct dirent *entry;
	DIR *dir;
	int fd, result = 0;

	if (unlinkat(dir_fd, name, 0) == 0)
		return 0;
	if (errno == EPERM) {
		clear_flags(dir_fd, ".");
		clear_flags(dir_fd, name);
		if (unlinkat(dir_fd, name, 0) == 0)
			return 0;
	}
	if (errno != EISDIR)
		return -1;
	/* Paths may be longer than PATH_MAX, so go down step by step. */
	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (fchmod(fd, 0700) && errno == EPERM)
		clear_flags(fd, ".");
	dir = fdopendir(fd);
	if (!dir) {
		(void)close(fd);
		return -1;
	}
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			result |= remove_tree(fd, entry->d_name);
	(void)closedir(dir);
	return unlinkat(dir_fd, name, AT_REMOVEDIR) ? -1 : result;
}

/* Run one test in the directory work, which is open as base_fd; gives whether it passed. */
static bool run_test(const struct posix_test *test, int base_fd, bool verbose)
{
	static unsigned number;
	struct timespec start, end;
	int status = 0;
	char folder[16];
	pid_t pid;

	/* A new one each time: what cannot be removed must not make others fail. */
	(void)snprintf(folder, sizeof(folder), "t%u", number++);
	(void)clock_gettime(CLOCK_MONOTONIC, &start);
	(void)snprintf(test_name, sizeof(test_name), "%s/%s", test->group, test->name);
	atomic_store(&shared->checks, 0);
	atomic_store(&shared->failures, 0);
	if (mkdirat(base_fd, folder, 0755)) {
		failed("making the test's directory: %s", error_name(errno));
		return false;
	}
	pid = fork();
	if (pid == 0) {
		begin_process();
		(void)setpgid(0, 0);
		ok(fchdir(base_fd));
		ok(chdir(folder));
		test->run();
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		failed("starting a process: %s", error_name(errno));
		return false;
	}
	/* Nothing of the test may go on working in the directory. */
	(void)kill(-pid, SIGKILL);
	if (WIFSIGNALED(status))
		failed("expected the test to end, got signal %d (%s)%s", WTERMSIG(status),
		       strsignal(WTERMSIG(status)),
		       WTERMSIG(status) == SIGALRM ? ": it took too long" : "");
	else if (WEXITSTATUS(status) && !atomic_load(&shared->failures))
		failed("expected exit code 0, got %d", WEXITSTATUS(status));
	/* A second attempt: processes that were killed may have been about to make a name. */
	if (remove_tree(base_fd, folder) && exists(folder) && remove_tree(base_fd, folder))
		failed("removing what the test left: expected success, got %s", error_name(errno));
	(void)clock_gettime(CLOCK_MONOTONIC, &end);
	if (verbose)
		(void)dprintf(STDOUT_FILENO, "     %s: %u checks, %lld ms\n", test_name,
			      atomic_load(&shared->checks),
			      (nanoseconds(end) - nanoseconds(start)) / 1000000);
	return atomic_load(&shared->failures) == 0;
}

static bool is_selected(const struct posix_test *test, char **filters)
{
	char name[NAME_MAX_BYTES];

	(void)snprintf(name, sizeof(name), "%s/%s", test->group, test->name);
	if (!*filters)
		return true;
	for (; *filters; filters++)
		if (strstr(name, *filters))
			return true;
	return false;
}

static void show_remarks(enum remark_kind kind, const char *title)
{
	unsigned count = atomic_load(&shared->remarks_count);
	bool first = true;

	for (unsigned i = 0; i < count && i < REMARKS_MAX; i++) {
		const struct remark *r = &shared->remarks[i];

		if (r->kind != kind)
			continue;
		if (first)
			(void)dprintf(STDOUT_FILENO, "%s\n", title);
		first = false;
		if (kind == REMARK_SKIP)
			(void)dprintf(STDOUT_FILENO, "SKIP %s: %s (%s)\n", r->what, r->text,
				      r->test);
		else
			(void)dprintf(STDOUT_FILENO, "     %s (%s)\n", r->text, r->test);
	}
}

static unsigned count_skips(void)
{
	unsigned skips = 0;

	for (unsigned i = 0; i < atomic_load(&shared->remarks_count) && i < REMARKS_MAX; i++)
		skips += shared->remarks[i].kind == REMARK_SKIP;
	return skips;
}

/* Run what the filters select in the working directory. Gives the exit code. */
static int run_all(char **filters, int base_fd, bool verbose)
{
	unsigned passed = 0, failures = 0;

	for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
		const struct posix_test *test = tables[t];

		while (test->name) {
			const char *group = test->group;
			unsigned group_passed = 0, group_failed = 0;

			for (; test->name && !strcmp(test->group, group); test++) {
				if (!is_selected(test, filters))
					continue;
				if (run_test(test, base_fd, verbose))
					group_passed++;
				else
					group_failed++;
			}
			if (group_failed)
				(void)dprintf(STDOUT_FILENO, "FAIL %s: %u of %u tests\n", group,
					      group_failed, group_failed + group_passed);
			else if (group_passed)
				(void)dprintf(STDOUT_FILENO, "ok   %s: %u tests\n", group,
					      group_passed);
			passed += group_passed;
			failures += group_failed;
		}
	}
	show_remarks(REMARK_NOTE, "Where the filesystem has the choice:");
	show_remarks(REMARK_SKIP, "Not tested:");
	(void)dprintf(STDOUT_FILENO, "%u passed, %u failed, %u skipped\n", passed, failures,
		      count_skips());
	if (passed + failures == 0)
		(void)dprintf(STDERR_FILENO, "posix: no test has such a name; --list tells them\n");
	return failures || passed == 0 ? 1 : 0;
}

static void list(char **filters)
{
	for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
		for (const struct posix_test *test = tables[t]; test->name; test++)
			if (is_selected(test, filters))
				(void)printf("%s/%s\n", test->group, test->name);
}

static const char usage_text[] =
	"Usage: posix [-v] [--seed NUMBER] DIRECTORY [NAME...]\n"
	"       posix --list [NAME...]\n"
	"Test a mounted filesystem in a new folder of DIRECTORY. Only tests whose GROUP/NAME has\n"
	"one of the NAMEs in it are run. Run it as root, or what other users may do is not "
	"tested.\n"
	"\n"
	"  -l, --list         list the tests\n"
	"  -v, --verbose      tell each test, not only groups\n"
	"      --seed NUMBER  of the random operations; otherwise from the clock\n";

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"list", no_argument, NULL, 'l'},
		{"verbose", no_argument, NULL, 'v'},
		{"seed", required_argument, NULL, 's'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	bool verbose = false, only_list = false;
	uint64_t seed = (uint64_t)time(NULL);
	char name[64];
	int option, base_fd, code, dir_fd;

	while ((option = getopt_long(argc, argv, "lvh", options, NULL)) != -1) {
		switch (option) {
		case 'l':
			only_list = true;
			break;
		case 'v':
			verbose = true;
			break;
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'h':
			(void)fputs(usage_text, stdout);
			return 0;
		default:
			(void)fputs(usage_text, stderr);
			return 2;
		}
	}
	if (only_list) {
		list(argv + optind);
		return 0;
	}
	if (optind == argc) {
		(void)fputs(usage_text, stderr);
		return 2;
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED) {
		perror("posix: memory");
		return 2;
	}
	dir_fd = open(argv[optind], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	(void)snprintf(name, sizeof(name), "posix-%ld", (long)getpid());
	(void)umask(022);
	if (dir_fd < 0 || mkdirat(dir_fd, name, 0755) ||
	    (base_fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 ||
	    fchdir(base_fd)) {
		(void)dprintf(STDERR_FILENO,
			      "posix: a folder in %s: %s; expected a directory of a writable "
			      "filesystem\n",
			      argv[optind], strerror(errno));
		return 2;
	}
	random_state = seed;
	(void)printf("seed %llu\n", (unsigned long long)seed);
	(void)fflush(stdout);
	probe_users();
	code = run_all(argv + optind + 1, base_fd, verbose);
	(void)close(base_fd);
	if (remove_tree(dir_fd, name)) {
		(void)dprintf(STDERR_FILENO, "posix: removing %s/%s: %s\n", argv[optind], name,
			      strerror(errno));
		code = code ? code : 1;
	}
	return code;
}

bool is_fuse(void)
{
	struct statfs st;

	return statfs(".", &st) == 0 && st.f_type == 0x65735546; /* FUSE_SUPER_MAGIC */
}
