/*
 * What happens when calls fail: each device call, allocation and creation of a thread of some
 * scenarios in turn, once and for good.
 *
 *   fault [--step N] [--first N] [SCENARIO...]      every N-th call only; default 1: all
 *
 * After each run the volume is opened again, without faults, checked as a whole, read as a whole
 * and compared with a model: it shows a state between the last one that was promised to be there
 * and the last one. What returned an error has not happened. Where a commit has failed, changes are
 * refused from then on, each sync says so, and everything can still be read. The last line has the
 * number of faults.
 */
#include <err.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hammer2/change.h>

#include "disk.h"
#include "generate.h"
#include "must.h"
#include "session.h"
#include "verify.h"
#include "volumes.h"

#define HANG_SECONDS 120u

/* ---- what fails ---- */

enum point { POINT_READ, POINT_WRITE, POINT_FLUSH, POINT_MEMORY, POINT_THREAD, POINTS };

static const char *const point_names[POINTS] = {"reads", "writes", "flushes", "allocations",
						"threads"};

static struct plan {
	enum point point;
	uint64_t number; /* of the call that fails */
	bool for_good;   /* all behind it, too */
	enum disk_fate fate;
	int error;
} plan;

static bool armed; /* the library is at work: calls count */
static uint64_t counts[POINTS];
static bool met;

/* Whether this call fails. */
static bool fails(enum point point)
{
	uint64_t number = counts[point]++;

	if (plan.point != point || number < plan.number ||
	    (number > plan.number && !plan.for_good))
		return false;
	met = true;
	return true;
}

static enum disk_fate device_fate(void *user, enum disk_call call, int *error)
{
	(void)user;
	if (!armed || !fails((enum point)call))
		return DISK_DONE;
	*error = plan.error;
	return plan.fate;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
			  void *arg);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
			  void *arg);

static bool no_memory(void)
{
	return armed && must_level == 0 && fails(POINT_MEMORY);
}

void *__wrap_malloc(size_t size)
{
	return no_memory() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return no_memory() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return no_memory() ? NULL : __real_realloc(old, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
	return no_memory() ? NULL : __real_aligned_alloc(alignment, size);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
			  void *arg)
{
	return armed && fails(POINT_THREAD) ? EAGAIN : __real_pthread_create(thread, attr, start, arg);
}

/* ---- scenarios ---- */

static const struct scenario {
	const char *name, *setup, *ops;
	unsigned files; /* made before the operations: for trees with indirect blocks */
} scenarios[] = {
	{"names", "32M prelude",
	 "create /A/new; mkdir /B/dir; symlink /B/s 30; fifo /A/pipe; link /A/foo /B/link; sync;"
	 "unlink /A/bar; unlink /B/qux; rmdir /B/E; rename /A/foo /A/Long; rename /A/C /B/C;"
	 "exchange /B/baz /A; sync; create /B/last",
	 0},
	{"contents", "32M prelude",
	 "write /A/foo 400 200 noise; append /A/bar 40000 noise; write /A/bar 0 65536 noise; sync;"
	 "write /A/bar 300000 700 text; truncate /A/bar 70000; punch /A/bar 50000 30000;"
	 "zero /A/foo 50 1000; copy /A/bar 0 /B/baz 4096 60000; write /B/baz 0 65536 same; sync;"
	 "write /B/baz 65536 65536 same; truncate /A/foo 5; allocate /B/baz 0 200000; sync",
	 0},
	{"attributes", "32M prelude nodedup",
	 "chmod /A/foo 0711; chown /A/bar 7 8; times /B/baz 1000 2000; sync; methods /A/bar 0x93 4;"
	 "write /A/bar 0 100000 text; hold /A/bar; unlink /A/bar; append * 3000 noise; sync;"
	 "release; sync; sync",
	 0},
	{"small-memory", "32M dirty=64K cache=64K",
	 "create /a; write /a 0 500000 noise; create /b; write /b 0 300000 text;"
	 "copy /a 1000 /b 500000 300000; truncate /a 100000; sync; write /a 50000 200000 noise;"
	 "unlink /b; create /c; write /c 0 100000 same; sync",
	 0},
	{"many-files", "40M cache=64K",
	 "create /f600; unlink /f3; unlink /f77; rename /f5 /g; sync; create /d0; write /f9 0 70000 "
	 "noise; sync; unlink /f100; unlink /f101",
	 400},
	{"full", "32M nodedup left=2M",
	 "create /a; write /a 0 1000000 noise; sync; create /b; write /b 0 1000000 noise;"
	 "append /b 500000 noise; sync; write /a 0 600000 noise; append /a 400000 noise; unlink /b;"
	 "sync; create /c; write /c 0 500000 noise; unlink /a; sync; write /c 0 500000 noise",
	 0},
	{"pfs", "64M prelude pfs=2",
	 "snapshot / #/; write /A/bar 0 100000 noise; unlink /A/foo; snapshot / %/; write #/A/bar 5 "
	 "70000 noise; rollback @/ #/; delete %/; create @/A/new; sync",
	 0},
	{"volumes", "1G,1G,32M prelude",
	 "write /A/bar 0 500000 noise; create /new; sync; write /new 0 300000 noise; unlink /B/baz;"
	 "sync; rename /new /A/foo",
	 0},
	{"header-copies", "6152M prelude",
	 "create /a; sync; create /b; write /b 0 70000 noise; sync; unlink /a; sync; rename /b /a;"
	 "sync; write /a 0 65536 noise; sync; unlink /a; sync",
	 0},
};
#define SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

struct start { /* what the runs of a scenario begin with */
	struct setup setup;
	struct layer layer;
	struct history history;
	struct op_list ops;
};

static void parse(const char *text, struct op_list *ops)
{
	char *wrong = op_list_parse(text, ops);

	if (wrong)
		errx(2, "%s", wrong);
}

static void make_start(const struct scenario *sc, struct start *start)
{
	struct op_list first = {0};
	struct session session;
	struct disk disk;

	*start = (struct start){.layer = {.below = NULL}};
	if (!setup_parse(sc->setup, &start->setup))
		errx(2, "%s: no setup", sc->setup);
	layer_init(&start->layer, NULL);
	disk_init(&disk, start->setup.sizes, start->setup.volume_count, &start->layer);
	if (setup_format(&start->setup, &disk, 1) != 0)
		errx(2, "%s: cannot be made", sc->setup);
	history_init(&start->history, &start->setup);
	if (start->setup.prelude)
		parse(prelude_text, &first);
	for (unsigned i = 0; i < sc->files; i++) {
		char text[32];

		snprintf(text, sizeof(text), "create /f%u", i);
		parse(text, &first);
	}
	parse(sc->ops, &start->ops);
	session_open(&session, &start->setup, &disk, &start->history, NULL);
	session_do(&session, &first);
	session_close(&session, false);
	if (session.problem)
		errx(2, "%s: %s", sc->name, session.problem);
	op_list_fini(&first);
	disk_fini(&disk);
}

static void free_start(struct start *start)
{
	layer_fini(&start->layer);
	history_fini(&start->history);
	op_list_fini(&start->ops);
}

/* ---- one run ---- */

static struct totals {
	uint64_t faults, failed_commits, failed_openings, violations;
	uint64_t calls[POINTS];
} totals;

static void violation(const struct scenario *sc, const char *what)
{
	totals.violations++;
	printf("%s: %s %" PRIu64 " fail%s (fate %d, error %d): %s\n", sc->name,
	       point_names[plan.point], plan.number, plan.for_good ? ", and all behind" : "s",
	       (int)plan.fate, plan.error, what);
	fflush(stdout);
}

/* After a failed commit: what must and what must not be possible, now that nothing fails any more. */
static void look_at_failed(const struct scenario *sc, struct session *s)
{
	static const struct h2_new new_ = {.type = H2_OBJECT_FILE, .mode = 0600};
	struct h2_inode *root = NULL;
	struct tree tree;
	char *problem;
	int err = h2_inode_get(s->pfs[0], H2_INUM_ROOT, &root);

	totals.failed_commits++;
	if (err) {
		violation(sc, "the root directory is gone after a failed commit");
		return;
	}
	if (h2_create(root, "refused", 7, &new_, NULL) != -EROFS)
		violation(sc, "a change is not refused after a failed commit");
	if (h2_fs_sync(s->fs) >= 0)
		violation(sc, "a sync succeeds after a failed commit");
	h2_inode_put(root);
	problem = session_read_tree(s->fs, s->setup, &tree);
	if (problem)
		violation(sc, problem);
	tree_fini(&tree);
	free(problem);
}

/* The last state that is promised to be there. */
static size_t promised(const struct disk_log *log, size_t first)
{
	for (size_t i = 0; i < log->count; i++) {
		if (log->events[i].kind == LOG_SYNCED && log->events[i].number > first)
			first = (size_t)log->events[i].number;
	}
	return first;
}

static void verify_run(const struct scenario *sc, struct start *start, struct layer *run,
		       const struct history *history, size_t lo)
{
	struct layer scratch;
	struct outcome outcome;
	bool wrote, found = false;

	layer_init(&scratch, run);
	verify(&start->setup, &scratch, NULL, &wrote, NULL, &outcome);
	for (size_t k = lo; k <= history->ops.count && !found; k++)
		found = outcome.hash == history->hashes[k];
	if (outcome.problem)
		violation(sc, outcome.problem);
	else if (!found)
		violation(sc, "what is there is none of the states that may be there");
	outcome_fini(&outcome);
	layer_fini(&scratch);
}

/* Returns whether the call that was to fail has been met. */
static bool run(const struct scenario *sc, struct start *start)
{
	struct disk_log log = {0};
	struct history history;
	struct session session;
	struct layer layer;
	struct disk disk;
	size_t lo;

	alarm(HANG_SECONDS);
	met = false;
	memset(counts, 0, sizeof(counts));
	history_copy(&history, &start->history, start->history.ops.count);
	layer_init(&layer, &start->layer);
	disk_init(&disk, start->setup.sizes, start->setup.volume_count, &layer);
	disk.log = &log;
	disk.fate = device_fate;
	armed = true;
	session_open_faulty(&session, &start->setup, &disk, &history);
	if (session.fs) {
		session_do(&session, &start->ops);
		armed = false;
		if (session.stopped)
			look_at_failed(sc, &session);
		armed = true;
	} else {
		totals.failed_openings++;
	}
	/* Closing commits; as if the program had been killed in every third run. */
	session_close(&session, plan.number % 3 == 2);
	armed = false;
	if (session.problem)
		violation(sc, session.problem);
	lo = promised(&log, start->history.ops.count);
	verify_run(sc, start, &layer, &history, lo);
	free(session.problem);
	disk_fini(&disk);
	layer_fini(&layer);
	history_fini(&history);
	log_fini(&log);
	return met;
}

/* ---- all of them ---- */

static const struct plan kinds[] = {
	{.point = POINT_READ, .fate = DISK_FAILS, .error = -EIO},
	{.point = POINT_READ, .fate = DISK_FAILS, .error = -EIO, .for_good = true},
	{.point = POINT_READ, .fate = DISK_CORRUPT},
	{.point = POINT_WRITE, .fate = DISK_FAILS, .error = -EIO},
	{.point = POINT_WRITE, .fate = DISK_FAILS, .error = -ENOSPC, .for_good = true},
	{.point = POINT_WRITE, .fate = DISK_IN_PART, .error = -EIO},
	{.point = POINT_FLUSH, .fate = DISK_FAILS, .error = -EIO},
	{.point = POINT_FLUSH, .fate = DISK_FAILS, .error = -ENXIO, .for_good = true},
	{.point = POINT_MEMORY},
	{.point = POINT_MEMORY, .for_good = true},
};

static void run_all(const struct scenario *sc, uint64_t first, uint64_t step)
{
	struct start start;
	uint64_t before = totals.faults;

	make_start(sc, &start);
	plan = (struct plan){.point = POINTS};
	(void)run(sc, &start);
	printf("%s:", sc->name);
	for (unsigned p = 0; p < POINT_THREAD; p++) {
		totals.calls[p] += counts[p];
		printf(" %" PRIu64 " %s%s", counts[p], point_names[p],
		       p + 1 < POINT_THREAD ? "," : "");
	}
	fflush(stdout);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		plan = kinds[i];
		for (plan.number = first % step; run(sc, &start); plan.number += step)
			totals.faults++;
	}
	printf("; %" PRIu64 " faults\n", totals.faults - before);
	free_start(&start);
}

/* Opening with all its threads, where some cannot be made; then a file, and closing. */
static void run_threads(void)
{
	static const struct scenario sc = {"threads", "32M prelude", "sync", 0};
	struct start start;

	make_start(&sc, &start);
	for (plan = (struct plan){.point = POINT_THREAD};; plan.number++) {
		struct h2_device *devices[DISK_VOLUMES_MAX];
		struct h2_volumes_options vo = {.write = true};
		struct h2_fs_options fo = {.write = true, .commit_seconds = 1};
		struct h2_volumes *volumes;
		struct h2_fs *fs;
		struct layer layer;
		struct disk disk;

		alarm(HANG_SECONDS);
		met = false;
		memset(counts, 0, sizeof(counts));
		layer_init(&layer, &start.layer);
		disk_init(&disk, start.setup.sizes, start.setup.volume_count, &layer);
		disk_open(&disk, devices);
		if (h2_volumes_assemble(devices, disk.count, &vo, &volumes) != 0)
			errx(2, "threads: the volumes cannot be opened");
		armed = true;
		if (h2_fs_open(volumes, &fo, &fs) != 0)
			totals.failed_openings++;
		else if (h2_fs_close(fs) != 0)
			violation(&sc, "closing fails");
		armed = false;
		totals.calls[POINT_THREAD] = counts[POINT_THREAD];
		h2_volumes_close(volumes);
		verify_run(&sc, &start, &layer, &start.history, start.history.ops.count);
		disk_fini(&disk);
		layer_fini(&layer);
		if (!met)
			break;
		totals.faults++;
	}
	printf("threads: %" PRIu64 " made\n", totals.calls[POINT_THREAD]);
	free_start(&start);
}

static void hangs(int signal_number)
{
	(void)signal_number;
	violation(&(struct scenario){.name = "hang"}, "no end");
	_exit(1);
}

static bool wanted(const char *name, int argc, char **argv)
{
	for (int i = optind; i < argc; i++) {
		if (strcmp(argv[i], name) == 0)
			return true;
	}
	return optind == argc;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"step", required_argument, NULL, 's'},
		{"first", required_argument, NULL, 'f'},
		{0},
	};
	uint64_t step = 1, first = 0;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		uint64_t n = optarg ? strtoull(optarg, NULL, 0) : 0;

		if (c == 's' && n > 0)
			step = n;
		else if (c == 'f')
			first = n;
		else
			errx(2, "usage: fault [--step N] [--first N] [SCENARIO...]");
	}
	signal(SIGALRM, hangs);
	for (size_t i = 0; i < SCENARIOS; i++) {
		if (wanted(scenarios[i].name, argc, argv))
			run_all(&scenarios[i], first, step);
	}
	if (wanted("threads", argc, argv))
		run_threads();
	printf("%" PRIu64 " faults in", totals.faults);
	for (unsigned p = 0; p < POINTS; p++)
		printf(" %" PRIu64 " %s,", totals.calls[p], point_names[p]);
	printf(" every %" PRIu64 ". one from %" PRIu64 " on; %" PRIu64 " openings and %" PRIu64
	       " commits failed; %" PRIu64 " violations\n",
	       step, first % step, totals.failed_openings, totals.failed_commits, totals.violations);
	return totals.violations > 0 || totals.faults == 0;
}
