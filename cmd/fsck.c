/*
 * fsck.hammer2: verify a HAMMER2 filesystem. Arguments and exit codes are those of fsck(8); the
 * work is h2_check_run()'s.
 */
#include <getopt.h>
#include <hammer2/check.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "descriptors.h"
#include "out.h"
#include "progress.h"

enum { /* fsck(8) */
       EXIT_CLEAN = 0,
       EXIT_FAULTS_LEFT = 4,
       EXIT_OPERATIONAL = 8,
       EXIT_USAGE = 16,
       EXIT_CANCELED = 32,
};

#define ADVICE_MAX 128u /* kinds of findings whose advice is printed */

struct run {
	bool preen; /* -a, -p: at boot */
	bool force; /* -f: really check then */
	bool json;
	bool quiet;
	bool verbose; /* notes too */
	bool strict;  /* warnings count as faults */
	struct h2_volumes_options volumes;
	struct h2_check_options check;
	struct progress *progress;
	struct json *out;
	uint64_t open_faults;
	struct {
		char code[32];
		const char *text;
	} advice[ADVICE_MAX]; /* each kind of finding once, in the order they were found */
	unsigned advice_count;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
}

static const char *severity_name(enum h2_severity severity)
{
	return severity == H2_FAULT ? "fault" : severity == H2_WARNING ? "warning" : "note";
}

static void print_report(const struct h2_report *r)
{
	printf("%s: %s:", severity_name(r->severity), r->code);
	if (r->pfs) {
		fputs(" PFS ", stdout);
		out_name(stdout, r->pfs, strlen(r->pfs));
		putchar(',');
	}
	if (r->path) {
		putchar(' ');
		out_name(stdout, r->path, strlen(r->path));
		putchar(',');
	}
	if (r->flags & H2_REPORT_HAS_INUM)
		printf(" inode %" PRIu64 ",", r->inum);
	printf(" %s", r->object ? r->object : "volume");
	if (r->flags & H2_REPORT_HAS_KEY && r->key)
		printf(", key %#" PRIx64, r->key);
	if (r->flags & H2_REPORT_HAS_MEDIA && r->media)
		printf(", at %#" PRIx64, r->media);
	printf(": %s", r->message ? r->message : "");
	if (r->flags & H2_REPORT_HAS_VALUES)
		printf("; %s%sfound %#" PRIx64 ", expected %#" PRIx64, r->member ? r->member : "",
		       r->member ? " " : "", r->found, r->expected);
	putchar('\n');
}

static void json_report(struct json *out, const struct h2_report *r)
{
	json_object_begin(out, NULL);
	json_string(out, "record", "finding");
	json_string(out, "severity", severity_name(r->severity));
	json_string(out, "code", r->code);
	if (r->error)
		json_string(out, "error", strerror(-r->error));
	if (r->pfs)
		json_name(out, "pfs", r->pfs, strlen(r->pfs));
	if (r->path)
		json_name(out, "path", r->path, strlen(r->path));
	if (r->object)
		json_string(out, "object", r->object);
	if (r->member)
		json_string(out, "member", r->member);
	if (r->flags & H2_REPORT_HAS_INUM)
		json_uint(out, "inum", r->inum);
	if (r->flags & H2_REPORT_HAS_KEY)
		json_hex(out, "key", r->key);
	if (r->flags & H2_REPORT_HAS_MEDIA)
		json_hex(out, "media", r->media);
	if (r->flags & H2_REPORT_HAS_VALUES) {
		json_hex(out, "found", r->found);
		json_hex(out, "expected", r->expected);
	}
	json_string(out, "message", r->message ? r->message : "");
	if (r->advice)
		json_string(out, "advice", r->advice);
	json_object_end(out);
}

/* The advice is of the finding's kind: it is said once, at the end. */
static void remember_advice(struct run *run, const struct h2_report *r)
{
	unsigned i = 0;

	while (i < run->advice_count && strcmp(run->advice[i].code, r->code) != 0)
		i++;
	if (!r->advice || i < run->advice_count || i == ADVICE_MAX)
		return;
	snprintf(run->advice[i].code, sizeof(run->advice[i].code), "%s", r->code);
	run->advice[i].text = r->advice;
	run->advice_count++;
}

static void print_advice(const struct run *run)
{
	if (run->advice_count > 0)
		puts("What to do:");
	for (unsigned i = 0; i < run->advice_count; i++)
		printf("  %s: %s\n", run->advice[i].code, run->advice[i].text);
}

/* Findings of the check; called in one thread at a time. */
static void on_finding(void *user, const struct h2_report *r)
{
	struct run *run = user;

	if (r->severity == H2_NOTE && !run->verbose)
		return;
	if (run->progress)
		progress_clear(run->progress);
	if (run->json)
		json_report(run->out, r);
	else
		print_report(r);
	remember_advice(run, r);
}

/* Findings of opening: what makes it fail is a fault of the volume. */
static void on_open_finding(void *user, const struct h2_report *r)
{
	struct run *run = user;

	if (r->severity == H2_FAULT)
		run->open_faults++;
	if (run->json)
		json_report(run->out, r);
	else if (r->severity == H2_FAULT)
		fprintf(stderr, "fsck.hammer2: %s\n", r->message);
}

static int on_progress(void *user, const struct h2_check_progress *p)
{
	struct run *run = user;

	if (run->progress)
		progress_update(run->progress, p->phase, p->done_bytes, p->total_bytes);
	return interrupted;
}

static void print_summary(const struct run *run, const struct h2_check_summary *s)
{
	if (run->json) {
		struct json *out = run->out;

		json_object_begin(out, NULL);
		json_string(out, "record", "summary");
		json_uint(out, "faults", s->faults);
		json_uint(out, "warnings", s->warnings);
		json_uint(out, "notes", s->notes);
		json_uint(out, "header_copies", s->header_copies);
		json_uint(out, "pfs_count", s->pfs_count);
		json_uint(out, "inodes", s->inodes);
		json_uint(out, "directories", s->directories);
		json_uint(out, "files", s->files);
		json_uint(out, "symlinks", s->symlinks);
		json_uint(out, "others", s->others);
		json_uint(out, "names", s->names);
		json_uint(out, "indirect_blocks", s->indirect_blocks);
		json_uint(out, "data_blocks", s->data_blocks);
		json_uint(out, "name_blocks", s->name_blocks);
		json_uint(out, "freemap_blocks", s->freemap_blocks);
		json_uint(out, "read_bytes", s->read_bytes);
		json_uint(out, "reachable_bytes", s->reachable_bytes);
		json_uint(out, "unreachable_bytes", s->unreachable_bytes);
		json_uint(out, "free_bytes", s->free_bytes);
		json_object_end(out);
		return;
	}
	if (run->quiet)
		return;
	print_advice(run);
	printf("%" PRIu64 " PFSs, %" PRIu64 " inodes (%" PRIu64 " directories, %" PRIu64
	       " files, %" PRIu64 " symlinks, %" PRIu64 " others), %" PRIu64 " names\n",
	       s->pfs_count, s->inodes, s->directories, s->files, s->symlinks, s->others, s->names);
	printf("%" PRIu64 " data, %" PRIu64 " indirect, %" PRIu64 " name and %" PRIu64
	       " freemap blocks\n",
	       s->data_blocks, s->indirect_blocks, s->name_blocks, s->freemap_blocks);
	printf("space: %" PRIu64 " KiB in use, %" PRIu64 " KiB waiting for bulk free, %" PRIu64
	       " KiB free\n",
	       s->reachable_bytes >> 10, s->unreachable_bytes >> 10, s->free_bytes >> 10);
	printf("%s: %" PRIu64 " faults, %" PRIu64 " warnings, %" PRIu64 " notes\n",
	       s->faults ? "DAMAGED" : "clean", s->faults, s->warnings, s->notes);
}

static int run_check(struct run *run, const char *const *paths, unsigned count)
{
	struct h2_check_summary summary;
	struct h2_volumes *volumes;
	int err;

	run->volumes.report = on_open_finding;
	run->volumes.report_user = run;
	err = h2_volumes_open(paths, count, &run->volumes, &volumes);
	if (err) {
		if (run->open_faults == 0)
			fprintf(stderr, "fsck.hammer2: %s: %s\n", paths[0], strerror(-err));
		/* A header that is wrong is what a check looks for; everything else kept it away. */
		return err == -H2_ECHECK || err == -H2_ECORRUPT ? EXIT_FAULTS_LEFT
								: EXIT_OPERATIONAL;
	}
	if (run->preen && !run->force) {
		/* After a crash the newest header alone describes a sound filesystem. */
		h2_volumes_close(volumes);
		return EXIT_CLEAN;
	}
	run->check.report = on_finding;
	run->check.report_user = run;
	run->check.progress = on_progress;
	run->check.progress_user = run;
	if (!run->quiet && !run->json)
		run->progress = progress_new();
	err = h2_check_run(volumes, &run->check, &summary);
	progress_free(run->progress);
	run->progress = NULL;
	h2_volumes_close(volumes);
	if (err == -EINTR) {
		fprintf(stderr, "fsck.hammer2: stopped before its end\n");
		return EXIT_CANCELED;
	}
	if (err) {
		fprintf(stderr, "fsck.hammer2: the check cannot go on: %s\n", strerror(-err));
		return EXIT_OPERATIONAL;
	}
	print_summary(run, &summary);
	return summary.faults || (run->strict && summary.warnings) ? EXIT_FAULTS_LEFT : EXIT_CLEAN;
}

static void usage(FILE *to)
{
	fputs("usage: fsck.hammer2 [options] VOLUME[:VOLUME...]...\n"
	      "Verify a HAMMER2 filesystem: headers, trees, check codes, names, freemap. Nothing "
	      "is\n"
	      "changed.\n\n"
	      "  -a, -p            at boot: look at the headers only (unless -f)\n"
	      "  -f, --force       check everything, also with -a or -p\n"
	      "  -n, -r, -y        accepted; there is nothing to answer\n"
	      "  -q, --quiet       print faults and warnings only\n"
	      "  -v, --verbose     print notes, too\n"
	      "  -V, --version     print the version\n"
	      "      --best-header check the newest header copy only, not the older ones\n"
	      "      --header N    check the filesystem as header copy N (1..4) shows it\n"
	      "      --json        print one JSON object a line: findings, then a summary\n"
	      "      --memory SIZE memory for tables (default 256M)\n"
	      "      --offset SIZE where the volume begins in its file\n"
	      "      --skip-data   do not read file data\n"
	      "      --strict      exit with 4 for warnings, too\n"
	      "      --threads N   how many threads (default: one for each CPU)\n"
	      "  -h, --help        print this\n\n"
	      "Exit code: 0 clean, 4 faults found, 8 the check could not be made, 16 usage,\n"
	      "32 interrupted.\n",
	      to);
}

enum {
	OPT_BEST = 256,
	OPT_HEADER,
	OPT_JSON,
	OPT_MEMORY,
	OPT_OFFSET,
	OPT_SKIP,
	OPT_STRICT,
	OPT_THREADS
};

static bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
	return parse_size(text, value) == 0 && *value >= min && *value <= max;
}

/* Returns -1 to go on, or the exit code. */
static int parse_options(struct run *run, int argc, char **argv)
{
	static const struct option longs[] = {
		{"best-header", no_argument, NULL, OPT_BEST},
		{"force", no_argument, NULL, 'f'},
		{"header", required_argument, NULL, OPT_HEADER},
		{"help", no_argument, NULL, 'h'},
		{"json", no_argument, NULL, OPT_JSON},
		{"memory", required_argument, NULL, OPT_MEMORY},
		{"offset", required_argument, NULL, OPT_OFFSET},
		{"quiet", no_argument, NULL, 'q'},
		{"skip-data", no_argument, NULL, OPT_SKIP},
		{"strict", no_argument, NULL, OPT_STRICT},
		{"threads", required_argument, NULL, OPT_THREADS},
		{"verbose", no_argument, NULL, 'v'},
		{"version", no_argument, NULL, 'V'},
		{0},
	};
	uint64_t number;
	int opt;

	/* fsck(8) passes -C, -M, -R and -T on to some checkers. */
	while ((opt = getopt_long(argc, argv, "afhnpqryvVC::MRT", longs, NULL)) != -1) {
		switch (opt) {
		case 'a':
		case 'p':
			run->preen = true;
			break;
		case 'f':
			run->force = true;
			break;
		case 'n':
		case 'r':
		case 'y':
		case 'C':
		case 'M':
		case 'R':
		case 'T':
			break;
		case 'q':
			run->quiet = true;
			break;
		case 'v':
			run->verbose = true;
			break;
		case 'V':
			puts("fsck.hammer2 " HAMMER2_VERSION);
			return EXIT_CLEAN;
		case 'h':
			usage(stdout);
			return EXIT_CLEAN;
		case OPT_BEST:
			run->check.best_header_only = true;
			break;
		case OPT_HEADER:
			if (!parse_number(optarg, 1, H2_HEADER_COPIES_MAX, &number))
				goto bad;
			run->volumes.header_copy = (int)number;
			run->check.best_header_only = true;
			break;
		case OPT_JSON:
			run->json = true;
			break;
		case OPT_MEMORY:
			if (!parse_number(optarg, 1 << 20, SIZE_MAX / 2, &number))
				goto bad;
			run->check.memory_bytes = (size_t)number;
			break;
		case OPT_OFFSET:
			if (!parse_number(optarg, 0, INT64_MAX, &run->volumes.offset))
				goto bad;
			break;
		case OPT_SKIP:
			run->check.skip_data = true;
			break;
		case OPT_STRICT:
			run->strict = true;
			break;
		case OPT_THREADS:
			if (!parse_number(optarg, 1, 1024, &number))
				goto bad;
			run->check.threads = (unsigned)number;
			break;
		default:
			usage(stderr);
			return EXIT_USAGE;
		}
	}
	return -1;
bad:
	fprintf(stderr, "fsck.hammer2: %s: not a number in the range of this option\n", optarg);
	return EXIT_USAGE;
}

/* Collect the volumes of all arguments: "a:b" and "a b" mean the same. */
static int collect(int argc, char **argv, struct h2_spec *all)
{
	memset(all, 0, sizeof(*all));
	for (int i = 0; i < argc; i++) {
		struct h2_spec spec;
		int err = h2_spec_parse(argv[i], &spec);

		if (err) {
			fprintf(stderr, "fsck.hammer2: %s: %s\n", argv[i],
				err == -E2BIG    ? "a filesystem has at most 64 volumes"
				: err == -EINVAL ? "a volume's name is empty"
						 : strerror(-err));
			return err;
		}
		if (spec.count > H2_VOLUMES_MAX - all->count) {
			fprintf(stderr, "fsck.hammer2: a filesystem has at most 64 volumes\n");
			h2_spec_fini(&spec);
			return -E2BIG;
		}
		for (unsigned v = 0; v < spec.count; v++) {
			all->volumes[all->count++] = spec.volumes[v];
			spec.volumes[v] = NULL;
		}
		h2_spec_fini(&spec);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct run run = {0};
	struct h2_spec spec;
	int code;

	if (!descriptors_init())
		return EXIT_OPERATIONAL;
	code = parse_options(&run, argc, argv);
	if (code >= 0)
		return code;
	if (optind == argc) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (collect(argc - optind, argv + optind, &spec) != 0)
		return EXIT_USAGE;
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	if (run.json)
		run.out = json_new(stdout);
	code = run_check(&run, (const char *const *)spec.volumes, spec.count);
	json_free(run.out);
	h2_spec_fini(&spec);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "fsck.hammer2: cannot write the report\n");
		return EXIT_OPERATIONAL;
	}
	return code;
}
