/* Run a fuzz target on the files and folders named as arguments, and on generated inputs. */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

#define INPUT_MAX 65536u
#define GENERATED 2000u

static unsigned runs;
static const char *running; /* the file whose input is being run; NULL: a generated one */

/* What REQUIRE() ends with: tell which input it was. */
static void on_abort(int number)
{
	(void)number;
	if (running)
		fprintf(stderr, "input: %s\n", running);
	else
		fprintf(stderr, "input: number %u, a generated one\n", runs);
}

static void run_file(const char *path)
{
	static uint8_t buf[INPUT_MAX];
	FILE *f = fopen(path, "rb");
	size_t n;

	if (!f) {
		perror(path);
		exit(1);
	}
	n = fread(buf, 1, sizeof(buf), f);
	fclose(f);
	running = path;
	LLVMFuzzerTestOneInput(buf, n);
	running = NULL;
	runs++;
}

static void run_path(const char *path)
{
	struct dirent *ent;
	struct stat st;
	DIR *dir;

	if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) {
		run_file(path);
		return;
	}
	dir = opendir(path);
	while (dir && (ent = readdir(dir))) {
		char file[4096];

		if (ent->d_name[0] == '.')
			continue;
		snprintf(file, sizeof(file), "%s/%s", path, ent->d_name);
		run_file(file);
	}
	if (dir)
		closedir(dir);
}

/* xorshift: the same inputs in every run. */
static void run_generated(uint64_t seed)
{
	static uint8_t buf[512];
	uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

	for (size_t i = 0; i < sizeof(buf); i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		buf[i] = (uint8_t)x;
	}
	LLVMFuzzerTestOneInput(buf, 1 + (size_t)(x % sizeof(buf)));
	runs++;
}

int main(int argc, char **argv)
{
	signal(SIGABRT, on_abort);
	LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc; i++)
		run_path(argv[i]);
	for (uint64_t seed = 0; seed < GENERATED; seed++)
		run_generated(seed);
	printf("%u inputs, no finding\n", runs);
	return 0;
}
