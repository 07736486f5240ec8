/*
 * hammer2-model: random operations on a filesystem, compared with a model of one in memory.
 *
 * Everything follows from the seed. A failure prints what differs, the seed, the number of the
 * operation and the command that repeats it; --shrink then finds a short run that fails, too.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "run.h"
#include "shrink.h"

#define MIB (UINT64_C(1) << 20)
#define SIZE_DEFAULT (1024 * MIB)
#define SIZE_FULL (64 * MIB) /* of a filesystem that is to become full */

static struct run run;

static void usage(FILE *to)
{
	fputs("usage: hammer2-model [options]\n"
	      "Carry out random operations on a filesystem and compare it with a model.\n\n"
	      "  --seed N         where the random numbers begin (default: from the clock)\n"
	      "  --seeds N        run N seeds one after the other; the bounds are of all of them\n"
	      "  --ops N          stop after so many operations\n"
	      "  --seconds N      stop after so many seconds (default: 10 without --ops)\n"
	      "  --backend NAME   hammer2 (default), or posix:DIR, a directory of any filesystem\n"
	      "  --image FILE     hammer2: on an image file instead of a disk in memory\n"
	      "  --from FILE      hammer2: begin with what that image holds, in memory\n"
	      "  --label LABEL    hammer2: the PFS (default: DATA)\n"
	      "  --size BYTES     of all volumes, with K, M or G (default: 1G; 64M with --full)\n"
	      "  --volumes N      hammer2: on so many volumes\n"
	      "  --threads N      each in a subtree of its own, all on one filesystem\n"
	      "  --dirty BYTES    hammer2: bound on changes kept in memory\n"
	      "  --cache BYTES    hammer2: memory for blocks\n"
	      "  --commit SECONDS hammer2: commit by itself after so many\n"
	      "  --no-dedup       hammer2: do not look for equal blocks\n"
	      "  --full           fill the filesystem up again and again\n"
	      "  --shrink         make a run that fails as short as possible\n"
	      "  --verbose        print each operation\n",
	      to);
}

static bool parse_number(const char *text, uint64_t *value)
{
	char *end;
	unsigned shift = 0;

	errno = 0;
	*value = strtoull(text, &end, 0);
	if (*end == 'K' || *end == 'k')
		shift = 10;
	else if (*end == 'M' || *end == 'm')
		shift = 20;
	else if (*end == 'G' || *end == 'g')
		shift = 30;
	end += shift != 0;
	if (errno || end == text || *end || *value > UINT64_MAX >> shift)
		return false;
	*value <<= shift;
	return true;
}

/* The command that repeats a run, but for how long it goes. */
static char *make_command(char **argv, uint64_t seed)
{
	static const char *const dropped[] = {"--seed", "--seeds", "--ops", "--seconds"};
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		abort();
	fprintf(out, "%s", argv[0]);
	for (char **arg = argv + 1; *arg; arg++) {
		bool drop = !strcmp(*arg, "--shrink");

		for (unsigned i = 0; i < 4; i++) {
			size_t len = strlen(dropped[i]);

			if (strncmp(*arg, dropped[i], len))
				continue;
			drop |= (*arg)[len] == '\0' || (*arg)[len] == '=';
			if ((*arg)[len] == '\0' && arg[1])
				arg++;
			if (drop)
				break;
		}
		if (!drop)
			fprintf(out, " %s", *arg);
	}
	fprintf(out, " --seed %" PRIu64, seed);
	fclose(out);
	return text;
}

static void print_results(const struct run *r, double seconds)
{
	uint64_t sum = 0;

	printf("%-16s %12s %12s\n", "operation", "done", "failed");
	for (unsigned kind = 0; kind < OP_KINDS; kind++) {
		uint64_t done = 0, failed = 0;

		for (unsigned i = 0; i < r->worker_count; i++) {
			done += r->workers[i].done[kind];
			failed += r->workers[i].failed[kind];
		}
		sum += done + failed;
		printf("%-16s %12" PRIu64 " %12" PRIu64 "\n", op_kind_name((enum op_kind)kind),
		       done, failed);
	}
	printf("seed %" PRIu64 ": %" PRIu64 " operations in %.1f s (%.0f/s), %" PRIu64
	       " checks, %" PRIu64 " filesystems\n",
	       r->options->seed, sum, seconds, (double)sum / (seconds > 0 ? seconds : 1), r->checks,
	       r->formats);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static int run_seed(const struct run_options *options, const struct backend_ops *ops)
{
	double begun = now();
	int err;

	if (options->shrink)
		return shrink(&run, options, ops);
	err = run_init(&run, options, ops);
	if (err) {
		fprintf(stderr, "hammer2-model: %s\n", strerror(-err));
		return 2;
	}
	install_crash_report(&run);
	run_random(&run);
	print_results(&run, now() - begun);
	run_fini(&run);
	return 0;
}

enum {
	OPT_SEED = 256,
	OPT_SEEDS,
	OPT_OPS,
	OPT_SECONDS,
	OPT_BACKEND,
	OPT_IMAGE,
	OPT_FROM,
	OPT_LABEL,
	OPT_SIZE,
	OPT_VOLUMES,
	OPT_THREADS,
	OPT_DIRTY,
	OPT_CACHE,
	OPT_COMMIT,
	OPT_NO_DEDUP,
	OPT_FULL,
	OPT_SHRINK,
	OPT_VERBOSE,
	OPT_HELP,
};

static const struct option long_options[] = {
	{"seed", required_argument, NULL, OPT_SEED},
	{"seeds", required_argument, NULL, OPT_SEEDS},
	{"ops", required_argument, NULL, OPT_OPS},
	{"seconds", required_argument, NULL, OPT_SECONDS},
	{"backend", required_argument, NULL, OPT_BACKEND},
	{"image", required_argument, NULL, OPT_IMAGE},
	{"from", required_argument, NULL, OPT_FROM},
	{"label", required_argument, NULL, OPT_LABEL},
	{"size", required_argument, NULL, OPT_SIZE},
	{"volumes", required_argument, NULL, OPT_VOLUMES},
	{"threads", required_argument, NULL, OPT_THREADS},
	{"dirty", required_argument, NULL, OPT_DIRTY},
	{"cache", required_argument, NULL, OPT_CACHE},
	{"commit", required_argument, NULL, OPT_COMMIT},
	{"no-dedup", no_argument, NULL, OPT_NO_DEDUP},
	{"full", no_argument, NULL, OPT_FULL},
	{"shrink", no_argument, NULL, OPT_SHRINK},
	{"verbose", no_argument, NULL, OPT_VERBOSE},
	{"help", no_argument, NULL, OPT_HELP},
	{0},
};

struct settings {
	struct run_options options;
	const struct backend_ops *ops;
	uint64_t seeds;
	bool help;
};

static bool set_backend(struct settings *s, const char *name)
{
	if (!strcmp(name, "hammer2")) {
		s->ops = &backend_hammer2;
		return true;
	}
	if (strncmp(name, "posix:", 6) || !name[6])
		return false;
	s->ops = &backend_posix;
	s->options.backend.path = name + 6;
	return true;
}

static bool set_option(struct settings *s, int option, const char *arg)
{
	struct run_options *o = &s->options;
	uint64_t value = 0;
	struct stat st;

	switch (option) {
	case OPT_BACKEND:
		return set_backend(s, arg);
	case OPT_IMAGE:
		o->backend.path = arg;
		return true;
	case OPT_FROM:
		o->backend.from = arg;
		return stat(arg, &st) == 0 && (o->backend.size = (uint64_t)st.st_size) > 0;
	case OPT_LABEL:
		o->backend.label = arg;
		return true;
	case OPT_NO_DEDUP:
		o->backend.no_dedup = true;
		return true;
	case OPT_FULL:
		o->full = true;
		return true;
	case OPT_SHRINK:
		o->shrink = true;
		return true;
	case OPT_VERBOSE:
		o->verbose = o->backend.verbose = true;
		return true;
	case OPT_HELP:
		s->help = true;
		return true;
	default:
		break;
	}
	if (option == '?' || !parse_number(arg, &value))
		return false;
	switch (option) {
	case OPT_SEED:
		o->seed = value;
		return true;
	case OPT_SEEDS:
		s->seeds = value;
		return value > 0;
	case OPT_OPS:
		o->ops = value;
		return value > 0;
	case OPT_SECONDS:
		o->seconds = value;
		return value > 0;
	case OPT_SIZE:
		o->backend.size = value;
		return true;
	case OPT_VOLUMES:
		o->backend.volumes = (unsigned)value;
		return value > 0 && value <= H2_VOLUMES_MAX;
	case OPT_THREADS:
		o->threads = (unsigned)value;
		return value > 0 && value <= THREADS_MAX;
	case OPT_DIRTY:
		o->backend.dirty = value;
		return true;
	case OPT_CACHE:
		o->backend.cache = value;
		return true;
	default: /* OPT_COMMIT */
		o->backend.commit = (unsigned)value;
		return value <= 3600;
	}
}

static bool parse(int argc, char **argv, struct settings *s)
{
	struct run_options *o = &s->options;
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (!set_option(s, option, optarg)) {
			if (option != '?')
				fprintf(stderr, "hammer2-model: bad value: %s\n", optarg);
			return false;
		}
	}
	if (optind != argc || (o->shrink && o->threads > 1))
		return false;
	if (o->backend.from && (o->threads > 1 || o->backend.volumes > 1 || o->backend.path))
		return false;
	if (o->ops == 0 && o->seconds == 0)
		o->seconds = 10;
	if (o->backend.size == 0)
		o->backend.size = o->full ? SIZE_FULL : SIZE_DEFAULT;
	if (o->backend.size < o->backend.volumes * (SIZE_DEFAULT + SIZE_FULL) &&
	    o->backend.volumes > 1)
		o->backend.size = o->backend.volumes * SIZE_DEFAULT + SIZE_FULL;
	return true;
}

int main(int argc, char **argv)
{
	struct settings s = {
		.ops = &backend_hammer2,
		.seeds = 1,
		.options = {.seed = (uint64_t)time(NULL), .threads = 1},
	};
	struct run_options *o = &s.options;

	if (!parse(argc, argv, &s)) {
		usage(stderr);
		return 2;
	}
	if (s.help) {
		usage(stdout);
		return 0;
	}
	if (o->seconds && s.seeds > 1)
		o->seconds = o->seconds > s.seeds ? o->seconds / s.seeds : 1;
	if (o->ops && s.seeds > 1)
		o->ops = o->ops > s.seeds ? o->ops / s.seeds : 1;
	for (uint64_t i = 0; i < s.seeds; i++, o->seed++) {
		char *command = make_command(argv, o->seed);
		int code;

		o->command = command;
		code = run_seed(o, s.ops);
		fflush(stdout);
		free(command);
		if (code)
			return code;
	}
	return 0;
}
