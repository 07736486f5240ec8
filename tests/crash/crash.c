/*
 * A bounded part of what "hammer2 crashtest" does, the same every time:
 *
 *   crash formats
 *   crash sequences LENGTH_MAX FIRST STEP    each STEP-th sequence
 *   crash runs SEED COUNT
 */
#include <explore.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void print_violation(void *user, const char *text)
{
	(void)user;
	puts(text);
}

static uint64_t number_of(int argc, char **argv, int i)
{
	return i < argc ? strtoull(argv[i], NULL, 0) : 0;
}

int main(int argc, char **argv)
{
	const char *part = argc > 1 ? argv[1] : "";
	struct explore_options options = {.seed = 1, .violation = print_violation};
	struct explore_stats stats = {0};

	if (strcmp(part, "formats") == 0) {
		explore_formats(&options, &stats);
	} else if (strcmp(part, "sequences") == 0) {
		options.number = number_of(argc, argv, 3);
		options.step = number_of(argc, argv, 4);
		explore_sequences(&options, (unsigned)number_of(argc, argv, 2), &stats);
	} else if (strcmp(part, "runs") == 0) {
		options.seed = number_of(argc, argv, 2);
		explore_random(&options, number_of(argc, argv, 3), &stats);
	}
	printf("%" PRIu64 " states, of which %" PRIu64 " after a second failure and %" PRIu64
	       " that differ in what is read; %" PRIu64 " violations\n",
	       explore_states(&stats), stats.second, stats.distinct, stats.violations);
	/* Nothing tried is nothing shown. */
	return stats.violations > 0 || explore_states(&stats) == 0;
}
