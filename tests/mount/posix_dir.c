/* Reading directories: completeness, positions, changes in between, many entries. */
#include "posix.h"

#include <dirent.h>
#include <sys/syscall.h>

enum { MANY = 2000 };

static void numbered(char *name, const char *prefix, unsigned i)
{
	(void)snprintf(name, 32, "%s%u", prefix, i);
}

static void make_numbered(const char *prefix, unsigned count)
{
	char name[32];

	for (unsigned i = 0; i < count; i++) {
		numbered(name, prefix, i);
		ok(close(new_file(name)));
	}
}

static DIR *open_dir(const char *name)
{
	DIR *dir = opendir(name);

	if (!dir)
		ok(-1);
	return dir;
}

/* How often each of the names PREFIX<i> was seen, and the others. */
struct seen {
	unsigned dot, dotdot, other;
	unsigned times[2 * MANY];
};

static void see(struct seen *seen, const char *prefix, const char *name)
{
	size_t len = strlen(prefix);

	if (!strcmp(name, "."))
		seen->dot++;
	else if (!strcmp(name, ".."))
		seen->dotdot++;
	else if (!strncmp(name, prefix, len) && strtoul(name + len, NULL, 10) < 2 * MANY)
		seen->times[strtoul(name + len, NULL, 10)]++;
	else
		seen->other++;
}

static void see_all(DIR *dir, struct seen *seen, const char *prefix)
{
	struct dirent *entry;

	errno = 0;
	while ((entry = readdir(dir)))
		see(seen, prefix, entry->d_name);
	equal(errno, 0);
}

static void expect_times(const struct seen *seen, unsigned from, unsigned to, unsigned expected)
{
	unsigned wrong = 0, first = 0;

	for (unsigned i = from; i < to; i++) {
		if (seen->times[i] == expected)
			continue;
		if (!wrong++)
			first = i;
	}
	if (wrong)
		failed("%u of %u names: expected to be seen %u times; the first, number %u, was "
		       "seen %u times",
		       wrong, to - from, expected, first, seen->times[first]);
}

static struct seen seen; /* too large for a stack */

/* ---- the entries ---- */

static void empty(void)
{
	ok(mkdir("d", 0755));
	DIR *dir = open_dir("d");
	see_all(dir, &seen, "f");
	equal(seen.dot, 1);
	equal(seen.dotdot, 1);
	equal(seen.other, 0);
	expect_times(&seen, 0, 2 * MANY, 0);
	/* Reading past the end stays at the end. */
	check(readdir(dir) == NULL);
	ok(closedir(dir));
}

static void entries(void)
{
	static const struct {
		const char *name;
		unsigned char type;
	} rows[] = {
		{".", DT_DIR},    {"..", DT_DIR},    {"file", DT_REG},  {"dir", DT_DIR},
		{"link", DT_LNK}, {"fifo", DT_FIFO}, {"sock", DT_SOCK}, {"hard", DT_REG},
	};
	enum { ROWS = sizeof(rows) / sizeof(rows[0]) };
	unsigned found[ROWS] = {0};
	struct dirent *entry;

	put_text("file", "x");
	ok(link("file", "hard"));
	ok(mkdir("dir", 0755));
	ok(symlink("nowhere", "link"));
	ok(mkfifo("fifo", 0644));
	ok(mknod("sock", S_IFSOCK | 0644, 0));
	DIR *dir = open_dir(".");
	while ((entry = readdir(dir))) {
		size_t i = 0;

		while (i < ROWS && strcmp(rows[i].name, entry->d_name))
			i++;
		if (i == ROWS) {
			failed("expected only the names that were made, got %s", entry->d_name);
			continue;
		}
		found[i]++;
		equal(entry->d_ino, stat_of(entry->d_name).st_ino);
		if (entry->d_type == DT_UNKNOWN)
			note("entries of directories do not tell types");
		else
			equal(entry->d_type, rows[i].type);
	}
	for (size_t i = 0; i < ROWS; i++)
		equal(found[i], 1);
	ok(closedir(dir));
}

static void errors(void)
{
	char buf[4096];

	put_text("f", "x");
	ok(mkdir("d", 0755));
	int fd = ok(open("f", O_RDONLY));
	fails(syscall(SYS_getdents64, fd, buf, sizeof(buf)), ENOTDIR);
	check(opendir("f") == NULL && errno == ENOTDIR);
	check(opendir("no") == NULL && errno == ENOENT);
	check(opendir("") == NULL && errno == ENOENT);
	fd = ok(open("d", O_RDONLY));
	/* No room for a single entry. */
	fails(syscall(SYS_getdents64, fd, buf, 8), EINVAL);
	check(syscall(SYS_getdents64, fd, buf, sizeof(buf)) > 0);
}

static void small_buffers(void)
{
	struct entry64 {
		uint64_t ino;
		int64_t off;
		uint16_t len;
		uint8_t type;
		char name[];
	};
	_Alignas(8) char buf[600];
	unsigned calls = 0;
	long n;

	make_numbered("a-name-of-middling-length-", 300);
	int fd = ok(open(".", O_RDONLY | O_DIRECTORY));
	while ((n = syscall(SYS_getdents64, fd, buf, 72 + random_below(sizeof(buf) - 72))) > 0) {
		calls++;
		for (long at = 0; at < n;) {
			const struct entry64 *entry = (const void *)(buf + at);

			see(&seen, "a-name-of-middling-length-", entry->name);
			at += entry->len;
		}
	}
	equal(n, 0);
	check(calls > 300 / 12);
	expect_times(&seen, 0, 300, 1);
	equal(seen.dot + seen.dotdot, 2);
	/* From the start again. */
	equal(lseek(fd, 0, SEEK_SET), 0);
	check(syscall(SYS_getdents64, fd, buf, sizeof(buf)) > 0);
}

/* ---- positions ---- */

static void positions(void)
{
	enum { COUNT = 500 };
	static char names[COUNT + 2][32];
	static long at[COUNT + 2];
	struct dirent *entry;
	unsigned n = 0;

	make_numbered("f", COUNT);
	DIR *dir = open_dir(".");
	for (;;) {
		long where = telldir(dir);

		entry = readdir(dir);
		if (!entry || n == COUNT + 2)
			break;
		at[n] = where;
		(void)snprintf(names[n++], sizeof(names[0]), "%.31s", entry->d_name);
	}
	check(entry == NULL);
	equal(n, COUNT + 2);
	long end = telldir(dir);
	for (unsigned i = 0; i < 200; i++) {
		unsigned k = random_below(n);

		seekdir(dir, at[k]);
		equal(telldir(dir), at[k]);
		entry = readdir(dir);
		if (!entry || strcmp(entry->d_name, names[k]))
			failed("entry at position %ld: expected %s, got %s", at[k], names[k],
			       entry ? entry->d_name : "the end");
	}
	seekdir(dir, end);
	check(readdir(dir) == NULL);
	/* A position stays good when the entry behind it goes away. */
	unsigned k = n / 2;
	while (names[k][0] == '.' || names[k + 1][0] == '.')
		k++;
	seekdir(dir, at[k]);
	ok(unlink(names[k]));
	rewinddir(dir);
	(void)readdir(dir);
	seekdir(dir, at[k]);
	entry = readdir(dir);
	if (!entry || strcmp(entry->d_name, names[k + 1]))
		failed("after removing %s: expected %s, got %s", names[k], names[k + 1],
		       entry ? entry->d_name : "the end");
	ok(closedir(dir));
}

static void rewinding(void)
{
	make_numbered("f", 10);
	DIR *dir = open_dir("."), *other = open_dir(".");
	see_all(dir, &seen, "f");
	expect_times(&seen, 0, 10, 1);
	ok(unlink("f3"));
	put_text("f10", "x");
	rewinddir(dir);
	memset(&seen, 0, sizeof(seen));
	see_all(dir, &seen, "f");
	expect_times(&seen, 0, 3, 1);
	expect_times(&seen, 3, 4, 0);
	expect_times(&seen, 4, 11, 1);
	/* Two streams do not disturb each other. */
	memset(&seen, 0, sizeof(seen));
	see_all(other, &seen, "f");
	expect_times(&seen, 4, 10, 1);
	ok(closedir(dir));
	ok(closedir(other));
}

/* ---- changes in between ---- */

static void changing(void)
{
	enum { COUNT = 1000 };
	struct dirent *entry;
	char name[32], to[32];
	unsigned n = 0;

	/* Even numbers stay, odd ones are removed, new ones come, and some get new names. */
	make_numbered("f", COUNT);
	DIR *dir = open_dir(".");
	while ((entry = readdir(dir))) {
		see(&seen, "f", entry->d_name);
		if (n < COUNT / 2) {
			numbered(name, "f", 2 * n + 1);
			if (n % 3 == 0) {
				numbered(to, "renamed", n);
				ok(rename(name, to));
			} else {
				ok(unlink(name));
			}
			numbered(name, "new", n);
			ok(close(new_file(name)));
		}
		n++;
		if (n > 4 * COUNT) {
			failed("expected the directory to end, got %u entries", n);
			break;
		}
	}
	for (unsigned i = 0; i < COUNT; i += 2)
		if (seen.times[i] != 1) {
			failed("f%u, which was not touched: expected to be seen once, got %u times",
			       i, seen.times[i]);
			break;
		}
	for (unsigned i = 1; i < COUNT; i += 2)
		if (seen.times[i] > 1) {
			failed("f%u, which was removed: expected to be seen at most once, got %u",
			       i, seen.times[i]);
			break;
		}
	equal(seen.dot, 1);
	equal(seen.dotdot, 1);
	ok(closedir(dir));
}

static void removing_all(void)
{
	struct dirent *entry;
	unsigned removed = 0;

	/* What rm -r does: one pass must find everything. */
	ok(mkdir("d", 0755));
	ok(chdir("d"));
	make_numbered("f", MANY);
	DIR *dir = open_dir(".");
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		ok(unlink(entry->d_name));
		removed++;
	}
	equal(removed, MANY);
	ok(closedir(dir));
	ok(chdir(".."));
	ok(rmdir("d"));
}

static void concurrent(void)
{
	enum { COUNT = 400, ROUNDS = 6 };
	char name[32];
	pid_t writers[2];

	make_numbered("f", COUNT);
	for (unsigned w = 0; w < 2; w++) {
		writers[w] = spawn();
		if (writers[w] != 0)
			continue;
		for (unsigned i = 0;; i++) {
			numbered(name, w ? "x" : "y", i % 50);
			if (i / 50 % 2)
				ok(unlink(name));
			else
				ok(close(new_file(name)));
		}
	}
	for (unsigned round = 0; round < ROUNDS; round++) {
		memset(&seen, 0, sizeof(seen));
		DIR *dir = open_dir(".");
		see_all(dir, &seen, "f");
		ok(closedir(dir));
		expect_times(&seen, 0, COUNT, 1);
		equal(seen.dot, 1);
		equal(seen.dotdot, 1);
	}
	/* They are killed with the test. */
}

/* ---- many ---- */

static void many(void)
{
	char name[32];
	struct dirent *entry;
	unsigned n = 0;

	ok(mkdir("d", 0755));
	ok(chdir("d"));
	make_numbered("f", MANY);
	DIR *dir = open_dir(".");
	while ((entry = readdir(dir))) {
		see(&seen, "f", entry->d_name);
		if (entry->d_name[0] != '.' && n++ % 7 == 0)
			equal(entry->d_ino, stat_of(entry->d_name).st_ino);
	}
	ok(closedir(dir));
	expect_times(&seen, 0, MANY, 1);
	equal(seen.other, 0);
	fails(rmdir("../d"), ENOTEMPTY);
	for (unsigned i = 0; i < MANY; i++) {
		numbered(name, "f", (i * 7) % MANY);
		equal(stat_of(name).st_nlink, 1);
	}
	fails(open("f2000", O_RDONLY), ENOENT);
	for (unsigned i = 0; i < MANY; i += 2) {
		numbered(name, "f", i);
		ok(unlink(name));
	}
	memset(&seen, 0, sizeof(seen));
	dir = open_dir(".");
	see_all(dir, &seen, "f");
	ok(closedir(dir));
	for (unsigned i = 0; i < MANY; i++)
		if (seen.times[i] != i % 2) {
			failed("f%u: expected to be seen %u times, got %u", i, i % 2,
			       seen.times[i]);
			break;
		}
	for (unsigned i = 1; i < MANY; i += 2) {
		numbered(name, "f", i);
		ok(unlink(name));
	}
	ok(chdir(".."));
	ok(rmdir("d"));
}

static void many_long(void)
{
	enum { COUNT = 300 };
	static const char prefix[] =
		"a name that is the same for all of them but for its end, and "
		"which is long enough not to fit into a directory entry of "
		"the smallest kind; there are 300 of these, all of them in one "
		"directory, number ";
	char name[256];

	for (unsigned i = 0; i < COUNT; i++) {
		(void)snprintf(name, sizeof(name), "%s%u", prefix, i);
		ok(close(new_file(name)));
	}
	DIR *dir = open_dir(".");
	see_all(dir, &seen, prefix);
	ok(closedir(dir));
	expect_times(&seen, 0, COUNT, 1);
	equal(seen.other, 0);
	for (unsigned i = 0; i < COUNT; i++) {
		(void)snprintf(name, sizeof(name), "%s%u", prefix, (i * 7) % COUNT);
		ok(unlink(name));
	}
}

const struct posix_test posix_dir_tests[] = {
	{"readdir", "empty", empty},           {"readdir", "entries", entries},
	{"readdir", "errors", errors},         {"readdir", "small-buffers", small_buffers},
	{"readdir", "positions", positions},   {"readdir", "rewinding", rewinding},
	{"readdir", "changing", changing},     {"readdir", "removing-all", removing_all},
	{"readdir", "concurrent", concurrent}, {"readdir", "many", many},
	{"readdir", "many-long", many_long},   {0},
};
