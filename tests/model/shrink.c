/* Making a failing run small; see shrink.h. */
#include "shrink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ATTEMPTS_MAX 3000u
#define ATTEMPT_SECONDS 120u

struct shrinker {
	struct run *run;
	const struct run_options *options;
	const struct backend_ops *ops;
	struct recording *recording;
	bool *skip;
	uint64_t left; /* operations that are not skipped */
	unsigned attempts;
};

/* One attempt. Returns whether it failed. */
static bool fails(struct shrinker *s, bool quiet, bool verbose)
{
	struct run_options options = *s->options;
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return false;
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		if (quiet)
			(void)dup2(null, STDERR_FILENO);
		alarm(ATTEMPT_SECONDS); /* one that hangs fails, too */
		options.verbose = verbose;
		if (run_init(s->run, &options, s->ops) != 0)
			_exit(0);
		install_crash_report(s->run);
		run_replay(s->run, s->recording->ops, s->recording->count, s->skip);
		run_remount(s->run);
		run_fini(s->run);
		_exit(0);
	}
	s->attempts++;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Skip operations [from, to) as far as they are not skipped; returns how many that are. */
static uint64_t mark(struct shrinker *s, uint64_t from, uint64_t to, bool *was)
{
	uint64_t count = 0;

	for (uint64_t i = from; i < to; i++) {
		was[i] = s->skip[i];
		count += !s->skip[i];
		s->skip[i] = true;
	}
	return count;
}

/* Leave out parts of that size wherever it goes on failing. Returns whether any was. */
static bool leave_out(struct shrinker *s, uint64_t size, bool *was)
{
	uint64_t count = s->recording->count, before = s->left;

	/* From the end: what came last matters least often. */
	for (uint64_t end = count; end > 0 && s->attempts < ATTEMPTS_MAX;) {
		uint64_t begin = end, taken = 0, marked;

		while (begin > 0 && taken < size)
			taken += !s->skip[--begin];
		marked = mark(s, begin, end, was);
		if (marked > 0 && fails(s, true, false))
			s->left -= marked;
		else
			memcpy(s->skip + begin, was + begin, (end - begin) * sizeof(bool));
		end = begin;
	}
	return s->left < before;
}

static void make_small(struct shrinker *s)
{
	bool *was = calloc(s->recording->count + 1, sizeof(bool));
	uint64_t size = s->left / 2;

	if (!was)
		return;
	while (size > 0 && s->attempts < ATTEMPTS_MAX) {
		fprintf(stderr, "%llu operations, leaving out %llu at a time\n",
			(unsigned long long)s->left, (unsigned long long)size);
		if (!leave_out(s, size, was) || size > 8)
			size /= 2;
	}
	free(was);
}

static int record(struct shrinker *s)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		if (run_init(s->run, s->options, s->ops) != 0)
			_exit(2);
		s->run->recording = s->recording;
		install_crash_report(s->run);
		run_random(s->run);
		run_fini(s->run);
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int shrink(struct run *run, const struct run_options *options, const struct backend_ops *ops)
{
	struct shrinker s = {.run = run, .options = options, .ops = ops};
	int code;

	s.recording = mmap(NULL, sizeof(*s.recording), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (s.recording == MAP_FAILED)
		return 2;
	code = record(&s);
	if (code == 0)
		return 0;
	s.left = s.recording->count;
	s.skip = calloc(s.left + 1, sizeof(bool));
	if (!s.skip || !fails(&s, true, false)) {
		fprintf(stderr, "it does not fail when it is repeated: no smaller run\n");
		return code;
	}
	make_small(&s);
	fprintf(stderr, "\nThe smallest run that was found, %llu operations:\n",
		(unsigned long long)s.left);
	(void)fails(&s, false, true);
	return code;
}
