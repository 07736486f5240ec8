/*
 * The verb crashtest: the crash explorer, on as many threads as there are CPUs, each with every
 * n-th case.
 */
#include <explore.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "hammer2.h"
#include "progress.h"

#define SECONDS_DEFAULT 60
#define TOLD_MAX 20u

struct crashtest;

struct worker {
	struct crashtest *test;
	struct explore_options options;
	struct explore_stats stats;  /* its own */
	struct explore_stats public; /* under lock: as of the last progress */
	pthread_t thread;
};

struct crashtest {
	struct call *call;
	uint64_t seed;
	unsigned worker_count;
	struct worker *workers;
	char *wrong; /* with --ops: why that cannot be done */

	pthread_mutex_t lock;
	/* under lock */
	struct progress *progress;
	char **told; /* violations */
	size_t told_count;
};

static void add_stats(struct explore_stats *sum, const struct explore_stats *stats)
{
	/* It is nothing but counters. */
	uint64_t *to = (uint64_t *)sum;
	const uint64_t *from = (const uint64_t *)stats;

	for (size_t i = 0; i < sizeof(*sum) / sizeof(uint64_t); i++)
		to[i] += from[i];
}

static void take_violation(void *user, const char *text)
{
	struct worker *w = user;
	struct crashtest *t = w->test;

	pthread_mutex_lock(&t->lock);
	if (t->told_count < TOLD_MAX) {
		progress_clear(t->progress);
		t->told[t->told_count++] = must_alloc(strdup(text));
		if (!t->call->json) {
			printf("violation %zu: %s\n", t->told_count, text);
			fflush(stdout);
		}
	}
	pthread_mutex_unlock(&t->lock);
}

static bool take_progress(void *user, const char *what, const struct explore_stats *stats)
{
	struct worker *w = user;
	struct crashtest *t = w->test;
	struct explore_stats sum = {0};
	char text[128];

	pthread_mutex_lock(&t->lock);
	w->public = *stats;
	for (unsigned i = 0; i < t->worker_count; i++)
		add_stats(&sum, &t->workers[i].public);
	snprintf(text, sizeof(text), "%s: %" PRIu64 " states, %" PRIu64 " violations", what,
		 explore_states(&sum), sum.violations);
	progress_show(t->progress, text);
	pthread_mutex_unlock(&t->lock);
	return true;
}

static void *work(void *user)
{
	struct worker *w = user;

	explore_all(&w->options, &w->stats);
	return NULL;
}

static void run_workers(struct crashtest *t)
{
	for (unsigned i = 1; i < t->worker_count; i++) {
		struct worker *w = &t->workers[i];

		if (pthread_create(&w->thread, NULL, work, w) != 0) {
			complain("crashtest: no thread can be made");
			exit(EXIT_PROBLEM);
		}
	}
	work(&t->workers[0]);
	for (unsigned i = 1; i < t->worker_count; i++)
		pthread_join(t->workers[i].thread, NULL);
}

/* ---- the report ---- */

static void print_json(const struct crashtest *t, const struct explore_stats *s, double seconds)
{
	struct json *out = t->call->json;

	json_object_begin(out, NULL);
	json_uint(out, "seed", t->seed);
	json_uint(out, "threads", t->worker_count);
	json_uint(out, "milliseconds", (uint64_t)(seconds * 1000));
	json_uint(out, "formats", s->formats);
	json_array_begin(out, "sequences");
	for (unsigned i = 0; i <= EXPLORE_LENGTH_MAX; i++)
		json_uint(out, NULL, s->sequences[i]);
	json_array_end(out);
	json_uint(out, "runs", s->random);
	json_uint(out, "operations", s->operations);
	json_uint(out, "refused", s->refused);
	json_uint(out, "calls", s->calls);
	json_uint(out, "moments", s->points);
	json_object_begin(out, "states");
	for (unsigned i = 0; i < EXPLORE_KINDS; i++)
		json_uint(out, explore_kind_names[i], s->states[i]);
	json_uint(out, "sum", explore_states(s));
	json_uint(out, "second", s->second);
	json_uint(out, "several_volumes", s->several);
	json_uint(out, "distinct", s->distinct);
	json_uint(out, "repeated", s->repeated);
	json_object_end(out);
	json_uint(out, "violations", s->violations);
	json_array_begin(out, "violation_texts");
	for (size_t i = 0; i < t->told_count; i++)
		json_string(out, NULL, t->told[i]);
	json_array_end(out);
	json_object_end(out);
}

static void print_text(const struct crashtest *t, const struct explore_stats *s, double seconds)
{
	printf("seed %" PRIu64 ", %u threads, %.1f seconds\n", t->seed, t->worker_count, seconds);
	printf("filesystems made: %" PRIu64 "\n", s->formats);
	for (unsigned i = 0; i <= EXPLORE_LENGTH_MAX; i++)
		printf("sequences of %u operations: %" PRIu64 " (there are %" PRIu64 ")\n", i,
		       s->sequences[i], explore_sequence_count(i));
	printf("long runs: %" PRIu64 "\n", s->random);
	printf("operations: %" PRIu64 ", of which %" PRIu64 " were refused for want of room\n",
	       s->operations, s->refused);
	printf("moments of failure: %" PRIu64 ", in %" PRIu64 " writes and flushes\n", s->points,
	       s->calls);
	printf("states by what happened to writes without a flush:\n");
	for (unsigned i = 0; i < EXPLORE_KINDS; i++)
		printf("  %-10s %" PRIu64 "\n", explore_kind_names[i], s->states[i]);
	printf("states after a second failure: %" PRIu64 "\n", s->second);
	printf("states of two or more volumes: %" PRIu64 "\n", s->several);
	printf("states that differ in what is read: %" PRIu64 "; of the others %" PRIu64
	       " were verified, too\n",
	       s->distinct, s->repeated);
	printf("%" PRIu64 " states, %" PRIu64 " violations\n", explore_states(s), s->violations);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- the verb ---- */

static bool choose_seed(const struct call *call, uint64_t *seed)
{
	struct timespec t;

	if (call->options.seed)
		return parse_size(call->options.seed, seed) == 0;
	clock_gettime(CLOCK_REALTIME, &t);
	*seed = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
	return true;
}

static unsigned choose_threads(const struct call *call)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (call->options.ops)
		return 1;
	if (call->options.threads > 0)
		return (unsigned)call->options.threads;
	return cpus < 1 ? 1 : cpus > 256 ? 256 : (unsigned)cpus;
}

static void make_workers(struct crashtest *t)
{
	int seconds = t->call->options.seconds;

	t->workers = must_alloc(calloc(t->worker_count, sizeof(*t->workers)));
	for (unsigned i = 0; i < t->worker_count; i++) {
		struct worker *w = &t->workers[i];

		w->test = t;
		w->options = (struct explore_options){
			.seed = t->seed,
			.number = i,
			.step = t->worker_count,
			.seconds = seconds < 0 ? SECONDS_DEFAULT : seconds,
			.violation = take_violation,
			.progress = take_progress,
			.user = w,
		};
	}
}

int verb_crashtest(struct call *call)
{
	struct crashtest t = {.call = call, .worker_count = choose_threads(call)};
	struct explore_stats sum = {0};
	double begin = now();

	if (!choose_seed(call, &t.seed)) {
		complain("--seed %s: not a number", call->options.seed);
		return EXIT_USAGE;
	}
	if (!call->options.ops != !call->options.setup) {
		complain("crashtest: --ops and --setup go together");
		return EXIT_USAGE;
	}
	pthread_mutex_init(&t.lock, NULL);
	t.told = must_alloc(calloc(TOLD_MAX, sizeof(*t.told)));
	t.progress = progress_new();
	make_workers(&t);
	if (call->options.ops)
		t.wrong = explore_operations(&t.workers[0].options, call->options.setup,
					     call->options.ops, &t.workers[0].stats);
	else
		run_workers(&t);
	progress_free(t.progress);
	for (unsigned i = 0; i < t.worker_count; i++)
		add_stats(&sum, &t.workers[i].stats);
	if (t.wrong)
		complain("crashtest: %s", t.wrong);
	else if (call->json)
		print_json(&t, &sum, now() - begin);
	else
		print_text(&t, &sum, now() - begin);
	for (size_t i = 0; i < t.told_count; i++)
		free(t.told[i]);
	free(t.told);
	free(t.workers);
	pthread_mutex_destroy(&t.lock);
	if (t.wrong) {
		free(t.wrong);
		return EXIT_USAGE;
	}
	return sum.violations ? EXIT_PROBLEM : EXIT_DONE;
}
