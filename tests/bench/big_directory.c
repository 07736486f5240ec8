/*
 * What names cost in directories of different sizes: create, look up, list, remove.
 *
 *   big_directory DIR SMALL LARGE
 *
 * Makes two directories in DIR, with SMALL and LARGE empty files, and prints the microseconds for
 * one step of each kind and their ratios. Steps are measured at the full size: the last creations, and
 * looking up, listing and removing random names. As root the kernel's own caches of names are
 * dropped before; else they take part.
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define STEPS 5000u /* of each kind that are measured */

enum step { CREATE, LOOKUP, LIST, REMOVE, STEP_KINDS };

static const char *const step_names[STEP_KINDS] = {"create", "look up", "list", "remove"};

static double now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static uint64_t random_state = 88172645463325252u;

static unsigned random_below(unsigned n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned)(random_state % n);
}

/* The numbers below count in random order: none comes twice, as the kernel remembers names. */
static unsigned *shuffled(unsigned count)
{
	unsigned *numbers = malloc(count * sizeof(*numbers));

	if (!numbers)
		err(1, NULL);
	for (unsigned i = 0; i < count; i++) {
		unsigned j = random_below(i + 1);

		numbers[i] = numbers[j];
		numbers[j] = i;
	}
	return numbers;
}

static void name_of(char name[32], unsigned i)
{
	snprintf(name, 32, "file-%07u.data", i);
}

static void drop_names(void)
{
	int fd;

	sync();
	fd = open("/proc/sys/vm/drop_caches", O_WRONLY);
	if (fd < 0)
		return;
	if (write(fd, "2\n", 2) != 2)
		warn("drop_caches");
	close(fd);
	/* A FUSE server is told of each inode that was dropped: not to be measured. */
	sleep(3);
}

static double create(int dir, unsigned count)
{
	double start = 0;

	for (unsigned i = 0; i < count; i++) {
		char name[32];
		int fd;

		if (i == count - STEPS)
			start = now_us();
		name_of(name, i);
		fd = openat(dir, name, O_CREAT | O_EXCL | O_WRONLY, 0644);
		if (fd < 0)
			err(1, "%s", name);
		close(fd);
	}
	return (now_us() - start) / STEPS;
}

static double look_up(int dir, const unsigned *order)
{
	double start = now_us();

	for (unsigned i = 0; i < STEPS; i++) {
		struct stat st;
		char name[32];

		name_of(name, order[i]);
		if (fstatat(dir, name, &st, 0) != 0)
			err(1, "%s", name);
	}
	return (now_us() - start) / STEPS;
}

static double list(const char *path, unsigned count)
{
	double start = now_us();
	DIR *d = opendir(path);
	unsigned n = 0;

	if (!d)
		err(1, "%s", path);
	while (readdir(d))
		n++;
	closedir(d);
	if (n != count + 2)
		errx(1, "%s has %u names, not %u", path, n, count + 2);
	return (now_us() - start) / n;
}

static double remove_names(int dir, const unsigned *order)
{
	double start = now_us();

	for (unsigned i = 0; i < STEPS; i++) {
		char name[32];

		name_of(name, order[i]);
		if (unlinkat(dir, name, 0) != 0)
			err(1, "%s", name);
	}
	return (now_us() - start) / STEPS;
}

static void measure(const char *parent, unsigned count, double us[STEP_KINDS])
{
	unsigned *order = shuffled(count);
	char path[4096];
	int dir;

	snprintf(path, sizeof(path), "%s/%u", parent, count);
	if (mkdir(path, 0755) != 0)
		err(1, "%s", path);
	dir = open(path, O_RDONLY | O_DIRECTORY);
	if (dir < 0)
		err(1, "%s", path);
	us[CREATE] = create(dir, count);
	drop_names();
	us[LOOKUP] = look_up(dir, order);
	drop_names();
	us[LIST] = list(path, count);
	drop_names();
	us[REMOVE] = remove_names(dir, order);
	close(dir);
	free(order);
}

int main(int argc, char **argv)
{
	double small[STEP_KINDS], large[STEP_KINDS];
	unsigned long count[2];

	if (argc != 4)
		errx(2, "usage: big_directory DIR SMALL LARGE");
	for (unsigned i = 0; i < 2; i++) {
		count[i] = strtoul(argv[2 + i], NULL, 10);
		if (count[i] < 2 * STEPS || count[i] > 10000000)
			errx(2, "a directory has %u to 10,000,000 files here", 2 * STEPS);
	}
	measure(argv[1], (unsigned)count[0], small);
	measure(argv[1], (unsigned)count[1], large);
	printf("us/step  %10lu %10lu      ratio\n", count[0], count[1]);
	for (unsigned i = 0; i < STEP_KINDS; i++)
		printf("%-8s %10.2f %10.2f %10.2f\n", step_names[i], small[i], large[i],
		       large[i] / small[i]);
	return 0;
}
