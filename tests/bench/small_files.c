/*
 * One pass over many small files, timed; what tools/bench-write runs, so that not an interpreter is
 * measured.
 *
 *   small_files create|stat|list|read|unlink DIR FILES DIRS BYTES
 *
 * FILES files of BYTES bytes each lie in DIR, or evenly in DIRS directories below it if DIRS is more
 * than 1. "list" reads the directories and asks for the attributes of what it finds there; the
 * others go through the names in the order in which they were made. All passes check what they find.
 *
 * Prints two numbers: the seconds of the pass, and the same with an fsync of DIR after it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BYTES_MAX 65536u
#define COUNT_MAX 100000000u

static int top; /* DIR */
static unsigned files, dirs, bytes;
static uint8_t contents[BYTES_MAX];

static _Noreturn void die(const char *what, const char *name)
{
	fprintf(stderr, "small_files: %s %s: %s\n", what, name, strerror(errno));
	exit(1);
}

static _Noreturn void wrong(const char *name, unsigned long long found, unsigned long long expected)
{
	fprintf(stderr, "small_files: %s: found %llu, expected %llu\n", name, found, expected);
	exit(1);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static const char *dir_name(unsigned dir)
{
	static char name[32];

	if (dirs == 1)
		return ".";
	snprintf(name, sizeof(name), "d%03u", dir);
	return name;
}

static const char *file_name(unsigned file)
{
	static char name[64];
	unsigned each = (files + dirs - 1) / dirs;

	if (dirs == 1)
		snprintf(name, sizeof(name), "file%06u", file);
	else
		snprintf(name, sizeof(name), "d%03u/file%06u", file / each, file);
	return name;
}

/*
 * Words in an order of their own for each file: no two files are equal, and they compress as texts
 * do.
 */
static void fill(unsigned file)
{
	static const char *const words[] = {"block", "inode", "of ", "the ", "tree\n",  "name",
					    "which", "is ",   "in ", "key ", "volume ", "read",
					    "write", ", ",    "0x",  "data"};
	uint64_t random = (uint64_t)file * UINT64_C(0x9e3779b97f4a7c15) + 1;
	size_t at = 0;

	while (at < bytes) {
		const char *word;
		size_t len;

		random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		word = words[random >> 60];
		len = strlen(word);
		if (len > bytes - at)
			len = bytes - at;
		memcpy(contents + at, word, len);
		at += len;
	}
}

static void create_all(void)
{
	for (unsigned i = 0; dirs > 1 && i < dirs; i++)
		if (mkdirat(top, dir_name(i), 0755) != 0)
			die("mkdir", dir_name(i));
	for (unsigned i = 0; i < files; i++) {
		const char *name = file_name(i);
		int fd = openat(top, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

		if (fd < 0)
			die("create", name);
		fill(i);
		if (write(fd, contents, bytes) != (ssize_t)bytes)
			die("write", name);
		if (close(fd) != 0)
			die("close", name);
	}
}

static void stat_all(void)
{
	struct stat st;

	for (unsigned i = 0; i < files; i++) {
		if (fstatat(top, file_name(i), &st, AT_SYMLINK_NOFOLLOW) != 0)
			die("stat", file_name(i));
		if (st.st_size != (off_t)bytes)
			wrong(file_name(i), (unsigned long long)st.st_size, bytes);
	}
}

static void list_all(void)
{
	unsigned seen = 0;

	for (unsigned i = 0; i < dirs; i++) {
		int fd = openat(top, dir_name(i), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		DIR *dir = fd < 0 ? NULL : fdopendir(fd);
		struct dirent *ent;
		struct stat st;

		if (!dir)
			die("open", dir_name(i));
		while ((ent = readdir(dir))) {
			if (ent->d_name[0] == '.')
				continue;
			if (fstatat(fd, ent->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
				die("stat", ent->d_name);
			seen++;
		}
		closedir(dir);
	}
	if (seen != files)
		wrong("number of names", seen, files);
}

static void read_all(void)
{
	static uint8_t found[BYTES_MAX];

	for (unsigned i = 0; i < files; i++) {
		const char *name = file_name(i);
		int fd = openat(top, name, O_RDONLY | O_CLOEXEC);
		ssize_t n;

		if (fd < 0)
			die("open", name);
		n = read(fd, found, bytes);
		if (n < 0)
			die("read", name);
		fill(i);
		if (n != (ssize_t)bytes)
			wrong(name, (unsigned long long)n, bytes);
		if (memcmp(found, contents, bytes) != 0)
			wrong("number of files with what was written", i, files);
		close(fd);
	}
}

static void unlink_all(void)
{
	for (unsigned i = 0; i < files; i++)
		if (unlinkat(top, file_name(i), 0) != 0)
			die("unlink", file_name(i));
	for (unsigned i = 0; dirs > 1 && i < dirs; i++)
		if (unlinkat(top, dir_name(i), AT_REMOVEDIR) != 0)
			die("rmdir", dir_name(i));
}

static const struct {
	const char *name;
	void (*function)(void);
} passes[] = {
	{"create", create_all}, {"stat", stat_all},     {"list", list_all},
	{"read", read_all},     {"unlink", unlink_all},
};

static unsigned number(const char *text, unsigned most)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (end == text || *end || value < 1 || value > most) {
		fprintf(stderr, "small_files: \"%s\" is not a number of 1..%u\n", text, most);
		exit(2);
	}
	return (unsigned)value;
}

int main(int argc, char **argv)
{
	double start, passed;

	if (argc != 6) {
		fputs("usage: small_files create|stat|list|read|unlink DIR FILES DIRS BYTES\n",
		      stderr);
		return 2;
	}
	files = number(argv[3], COUNT_MAX);
	dirs = number(argv[4], files);
	bytes = number(argv[5], BYTES_MAX);
	top = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (top < 0)
		die("open", argv[2]);
	for (size_t i = 0; i < sizeof(passes) / sizeof(passes[0]); i++) {
		if (strcmp(argv[1], passes[i].name) != 0)
			continue;
		start = now();
		passes[i].function();
		passed = now() - start;
		if (fsync(top) != 0)
			die("fsync", argv[2]);
		printf("%.6f %.6f\n", passed, now() - start);
		return 0;
	}
	fprintf(stderr, "small_files: there is no pass \"%s\"\n", argv[1]);
	return 2;
}
