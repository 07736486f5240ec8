/* The explorer as a whole; see explore.h. */
#include "explore.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "crash.h"
#include "generate.h"
#include "must.h"

#define RANDOM_OPS_MIN 20u
#define RANDOM_OPS_MAX 150u
#define SEQUENCES_PER_RUN 20u
#define VIOLATIONS_ENOUGH 20u
#define MIB (UINT64_C(1) << 20)

const char *const explore_kind_names[EXPLORE_KINDS] = {
	[EXPLORE_KEPT] = "kept",           [EXPLORE_LOST] = "lost",
	[EXPLORE_SUBSET] = "subsets",      [EXPLORE_TORN_512] = "torn-512",
	[EXPLORE_TORN_4096] = "torn-4096", [EXPLORE_SHREDDED] = "shredded",
	[EXPLORE_MIXED] = "mixed",
};

/* Where sequences are done: with one, two and four header copies, and on two volumes. */
static const char *const sequence_setups[] = {
	"32M prelude",
	"2056M prelude discard",
	"6152M prelude nodedup",
	"1G,32M prelude left=4M",
	"32M prelude overlap dirty=64K",
};
#define SEQUENCE_SETUPS (sizeof(sequence_setups) / sizeof(sequence_setups[0]))

static const struct {
	const char *text;
	uint64_t bytes_max; /* of contents; 0: as much as there is room for, and more */
} random_setups[] = {
	{"32M", 2 * MIB},
	{"32M dirty=64K overlap", MIB},
	{"40M cache=64K", 4 * MIB},
	{"32M nodedup", 0},
	{"32M dirty=1M discard", 0},
	{"32M dirty=64K overlap", 0},
	{"2056M pfs=2 discard", 4 * MIB},
	{"2056M left=5M nodedup", 0},
	{"4104M dirty=64K left=6M overlap", 4 * MIB},
	{"8G cache=64K pfs=2", 4 * MIB},
	{"1G,1G,32M left=6M discard", 4 * MIB},
	{"3G,1G,32M pfs=2 dirty=64K left=9M nodedup overlap", 4 * MIB},
};
#define RANDOM_SETUPS (sizeof(random_setups) / sizeof(random_setups[0]))

uint64_t explore_states(const struct explore_stats *stats)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < EXPLORE_KINDS; i++)
		sum += stats->states[i];
	return sum;
}

uint64_t explore_sequence_count(unsigned length)
{
	uint64_t count = 1;

	for (unsigned i = 0; i < length; i++)
		count *= vocabulary_count;
	return count;
}

static bool go_on(const struct crasher *c, const char *what)
{
	const struct explore_options *o = c->options;

	if (o->progress && !o->progress(o->user, what, c->stats))
		return false;
	return !crash_time_is_over(c) && c->stats->violations < VIOLATIONS_ENOUGH;
}

static void must_parse(const char *text, struct op_list *ops)
{
	char *wrong = op_list_parse(text, ops);

	if (wrong)
		abort();
}

static void must_parse_setup(const char *text, struct setup *setup)
{
	if (!setup_parse(text, setup))
		abort();
}

/* ---- sequences ---- */

/* Sequence number of its length, on one kind of filesystem. */
static void explore_sequence(struct crasher *c, const struct op_list *words, unsigned length,
			     uint64_t number, unsigned setup_number)
{
	struct op_list ops = {0};
	struct setup setup;
	uint64_t rest = number;
	struct crash_case case_ = {
		.setup = &setup,
		.ops = &ops,
		.seed = random_derive(c->options->seed, number << 8 | length),
	};

	must_parse_setup(sequence_setups[setup_number], &setup);
	for (unsigned i = 0; i < length; i++) {
		op_list_add(&ops, &words->ops[rest % words->count]);
		rest /= words->count;
	}
	crash_explore(c, &case_);
	c->stats->sequences[length]++;
	op_list_fini(&ops);
}

/* A walk through all sequences that are ours, the short ones first. */
struct walk {
	struct op_list words;
	unsigned length, length_max;
	uint64_t place;
};

static uint64_t step_of(const struct explore_options *options)
{
	return options->step ? options->step : 1;
}

static void walk_init(struct walk *w, const struct explore_options *options, unsigned length_max)
{
	*w = (struct walk){.length_max = length_max, .place = options->number};
	for (unsigned i = 0; i < vocabulary_count; i++)
		must_parse(vocabulary[i], &w->words);
}

/*
 * Which of the count sequences comes at a place: each once, but neighbours are unlike each other, so
 * that a part of them is a sample of all.
 */
static uint64_t shuffled(uint64_t place, uint64_t count)
{
	static const uint64_t prime = 611953; /* divides no power of the number of words */

	return place % count * (prime % count) % count;
}

/* Do the next one; the short ones on all kinds of filesystems. Returns false at the end. */
static bool walk_on(struct walk *w, struct crasher *c)
{
	uint64_t step = step_of(c->options), number;

	while (w->length <= w->length_max && w->place >= explore_sequence_count(w->length)) {
		w->length++;
		w->place = c->options->number;
	}
	if (w->length > w->length_max)
		return false;
	number = shuffled(w->place, explore_sequence_count(w->length));
	for (unsigned k = 0; k < SEQUENCE_SETUPS; k++) {
		if (w->length < 2 || k == w->place / step % SEQUENCE_SETUPS)
			explore_sequence(c, &w->words, w->length, number, k);
	}
	w->place += step;
	return true;
}

bool explore_sequences(const struct explore_options *options, unsigned length_max,
		       struct explore_stats *stats)
{
	struct crasher c;
	struct walk walk;
	bool more = true;

	crasher_init(&c, options, stats);
	walk_init(&walk, options, length_max);
	while (more && walk_on(&walk, &c))
		more = go_on(&c, "sequences");
	op_list_fini(&walk.words);
	crasher_fini(&c);
	return more;
}

/* ---- long runs ---- */

/* The operations of a run, chosen on the model alone. */
static void choose_run(uint64_t seed, struct setup *setup, struct op_list *ops)
{
	struct random random = {.state = seed};
	size_t number = (size_t)random_below(&random, RANDOM_SETUPS);
	uint64_t count = RANDOM_OPS_MIN + random_below(&random, RANDOM_OPS_MAX - RANDOM_OPS_MIN);
	struct generator generator;
	struct model *model;

	must_parse_setup(random_setups[number].text, setup);
	generator_init(&generator, random_next(&random), random_setups[number].bytes_max);
	count *= generator.greedy ? 2 : 1;
	model = model_new(setup->pfs_count, SETUP_TIME_US);
	for (uint64_t i = 0; i < count; i++) {
		struct op op;

		generate(&generator, model, &op);
		(void)model_do(model, &op, i, UINT64_MAX);
		op_list_add(ops, &op);
	}
	model_free(model);
}

static void explore_run(struct crasher *c, uint64_t number)
{
	struct op_list ops = {0};
	struct setup setup;
	struct crash_case case_ = {
		.setup = &setup,
		.ops = &ops,
		.seed = random_derive(c->options->seed, number),
	};

	choose_run(case_.seed, &setup, &ops);
	crash_explore(c, &case_);
	c->stats->random++;
	op_list_fini(&ops);
}

bool explore_random(const struct explore_options *options, uint64_t count,
		    struct explore_stats *stats)
{
	struct crasher c;
	bool more = true;

	crasher_init(&c, options, stats);
	for (uint64_t i = 0; i < count && more; i++) {
		explore_run(&c, options->number + i * step_of(options));
		more = go_on(&c, "long runs");
	}
	crasher_fini(&c);
	return more;
}

/* ---- making filesystems ---- */

static void explore_format(struct crasher *c, unsigned setup_number, bool on_another)
{
	struct setup setup;
	uint64_t seed = random_derive(c->options->seed, 2 * setup_number + on_another);
	char *violation, *text;

	must_parse_setup(sequence_setups[setup_number], &setup);
	violation = crash_format(c, &setup, seed, on_another);
	c->stats->formats++;
	if (!violation)
		return;
	c->stats->violations++;
	text = must_print("making \"%s\" on %s, with seed %" PRIu64 ": %s", setup.text,
			  on_another ? "another filesystem" : "blank disks", seed, violation);
	if (c->options->violation)
		c->options->violation(c->options->user, text);
	free(text);
	free(violation);
}

static bool format_all(struct crasher *c)
{
	bool more = true;

	for (unsigned i = 0; i < 2 * SEQUENCE_SETUPS && more; i++) {
		if (i % step_of(c->options) != c->options->number % step_of(c->options))
			continue;
		explore_format(c, i / 2, i % 2);
		more = go_on(c, "making filesystems");
	}
	return more;
}

bool explore_formats(const struct explore_options *options, struct explore_stats *stats)
{
	struct crasher c;
	bool more;

	crasher_init(&c, options, stats);
	more = format_all(&c);
	crasher_fini(&c);
	return more;
}

/* ---- all of it ---- */

void explore_all(const struct explore_options *options, struct explore_stats *stats)
{
	uint64_t run = options->number;
	struct crasher c;
	struct walk walk;
	bool more;

	crasher_init(&c, options, stats);
	walk_init(&walk, options, EXPLORE_LENGTH_MAX);
	more = format_all(&c);
	for (uint64_t i = 1; more && walk_on(&walk, &c); i++) {
		more = go_on(&c, "sequences");
		if (!more || i % SEQUENCES_PER_RUN)
			continue;
		explore_run(&c, run);
		run += step_of(options);
		more = go_on(&c, "long runs");
	}
	op_list_fini(&walk.words);
	crasher_fini(&c);
}

char *explore_operations(const struct explore_options *options, const char *setup_text,
			 const char *text, struct explore_stats *stats)
{
	struct op_list ops = {0};
	struct setup setup;
	struct crash_case case_ = {
		.setup = &setup,
		.ops = &ops,
		.seed = options->seed,
	};
	struct crasher c;
	char *wrong;

	if (!setup_parse(setup_text, &setup))
		return must_print("\"%s\" says no kind of filesystem", setup_text);
	wrong = op_list_parse(text, &ops);
	if (!wrong) {
		crasher_init(&c, options, stats);
		crash_explore(&c, &case_);
		crasher_fini(&c);
	}
	op_list_fini(&ops);
	return wrong;
}
