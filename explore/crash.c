/*
 * Cases; see crash.h.
 *
 * A case is done once on disks that record. Then the log is gone through from its beginning, with
 * what is durable so far in one layer and the writes that no flush has covered in a list, and at
 * each moment states are made from the one and combinations of the other.
 *
 * Now and then a state that was sound is taken as the beginning of a case of its own: a few more
 * operations, and a second power failure.
 */
#include "crash.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fate.h"
#include "generate.h"
#include "must.h"

#define LEVELS 2u
#define SUBSET_WRITES_MAX 6u /* so many writes that all subsets are looked at */
#define SECOND_ONE_IN 150u   /* of all sound states */
#define SECOND_OPS 3u
#define REPEAT_ONE_IN 500u /* states that are verified although an equal one was */
#define SHRINK_TRIES 300u
#define SHRINK_SECONDS 20.0
#define SHRINK_MAX 3u  /* violations; that takes time */
#define LISTED_MAX 24u /* writes in a message */

struct image { /* the filesystem that cases of a setup begin with */
	struct setup setup;
	struct layer layer;
	struct history history;
};

struct crash_levels {         /* layers, for the first and the second failure */
	struct layer run;     /* what the operations write */
	struct layer durable; /* what is durable at a moment */
	struct layer state;   /* with what is left of the rest */
	struct layer scratch; /* what verifying writes */
};

struct scene { /* one log, and where we are in it */
	struct crasher *crasher;
	const struct setup *setup;
	unsigned level;
	unsigned effort; /* how many combinations at a moment: 1 is few */
	const struct layer *base;
	const struct disk_log *log;
	const struct history *history;
	struct random random;
	unsigned damaged; /* header copies that were damaged before, a bit for each */
	bool formatting;  /* there may be none, or the one that was there, until it is done */
	uint64_t was;     /* the hash of that one */

	size_t event;  /* the power fails in front of this one */
	size_t lo, hi; /* states that may be seen: what was promised, what was begun */
	const struct log_event **pending;
	size_t pending_count, pending_room;
	struct fate *fates; /* of the pending */
	size_t fates_room;

	struct memo memo;
	struct outcome *outcomes;
	size_t outcome_count, outcome_room;
	struct page_list reads;
	char *violation; /* the first one */
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- messages ---- */

static void describe_pending(const struct scene *s, FILE *to)
{
	if (s->pending_count == 0)
		fputs("  no write is without a flush behind it\n", to);
	else
		fputs("  writes without a flush behind them:\n", to);
	for (size_t i = 0; i < s->pending_count && i < LISTED_MAX; i++) {
		const struct log_event *w = s->pending[i];

		fprintf(to, "    volume %u, %zu bytes at %#" PRIx64 ": %s", w->volume, w->len,
			w->offset, fate_names[s->fates[i].kind]);
		if (s->fates[i].kind >= FATE_TORN_512)
			fprintf(to, " (%#" PRIx64 ")", s->fates[i].seed);
		fputc('\n', to);
	}
	if (s->pending_count > LISTED_MAX)
		fprintf(to, "    and %zu more\n", s->pending_count - LISTED_MAX);
}

static void describe_moment(const struct scene *s, FILE *to)
{
	char text[OP_TEXT_MAX] = "closing";
	size_t calls = 0;

	for (size_t i = 0; i < s->event; i++)
		calls += s->log->events[i].kind <= LOG_FLUSH;
	if (s->hi > 0)
		op_format(&s->history->ops.ops[s->hi - 1], text);
	fprintf(to,
		"  the power fails after %zu writes and flushes; the last operation that has begun "
		"is "
		"%zu (%s); %zu operations were promised to be there\n",
		calls, s->hi, text, s->lo);
}

static void describe_difference(const struct scene *s, const struct tree *found, size_t k, FILE *to)
{
	struct model *model = history_model(s->history, s->setup, k);
	struct tree expected;
	char *text;

	model_tree(model, &expected);
	text = tree_difference(found, &expected);
	fprintf(to, "  difference to what there is after %zu operations:\n%s", k, text);
	free(text);
	tree_fini(&expected);
	model_free(model);
}

/* The tree of the present state, compared with those that it may be. */
static void describe_tree(struct scene *s, FILE *to)
{
	struct crash_levels *l = &s->crasher->levels[s->level];
	struct outcome again;
	struct tree found;
	bool wrote;

	layer_reset(&l->scratch, &l->state);
	verify(s->setup, &l->scratch, NULL, &wrote, &found, &again);
	describe_difference(s, &found, s->lo, to);
	if (s->hi != s->lo)
		describe_difference(s, &found, s->hi, to);
	for (size_t k = 0; k <= s->history->ops.count; k++) {
		if (s->history->hashes[k] == again.hash)
			fprintf(to, "  it is what there is after %zu operations\n", k);
	}
	tree_fini(&found);
	outcome_fini(&again);
}

static void violate(struct scene *s, const char *what, bool compare)
{
	char *text = NULL;
	size_t len;
	FILE *to;

	if (s->violation)
		return;
	to = open_memstream(&text, &len);
	if (!to)
		abort();
	fprintf(to, "%s\n", what);
	describe_moment(s, to);
	describe_pending(s, to);
	if (compare)
		describe_tree(s, to);
	fclose(to);
	s->violation = text;
}

/* ---- one state ---- */

/* Of a header, or of the sector that takes away what is left of one. */
static bool is_header(const struct scene *s, const struct log_event *w, unsigned *slot)
{
	*slot = (unsigned)(w->offset / H2_HEADER_SPACING);
	return w->volume == 0 && w->offset % H2_HEADER_SPACING == 0 &&
	       *slot < setup_header_copies(s->setup);
}

/*
 * Make the state that the fates leave. Returns which header copies may be damaged. A single header
 * copy has a backup, which is taken for a torn one but not for noise without the magic number
 * (doc/FORMAT.md): writing it is taken for done or not done then.
 */
static unsigned make_state(struct scene *s)
{
	struct crash_levels *l = &s->crasher->levels[s->level];
	unsigned damaged = s->damaged, slot;

	layer_reset(&l->state, &l->durable);
	for (size_t i = 0; i < s->pending_count; i++) {
		struct fate *fate = &s->fates[i];

		if (fate->kind >= FATE_TORN_512 && is_header(s, s->pending[i], &slot)) {
			if (setup_header_copies(s->setup) > 1 || fate->kind != FATE_SHREDDED)
				damaged |= 1u << slot;
			else
				fate->kind = fate->seed & 1 ? FATE_KEPT : FATE_LOST;
		}
		fate_apply(&l->state, s->pending[i], fate);
	}
	return damaged;
}

static size_t verify_state(struct scene *s)
{
	struct crash_levels *l = &s->crasher->levels[s->level];
	size_t number = s->outcome_count;
	bool wrote;

	s->outcomes = must_grow(s->outcomes, number, &s->outcome_room, sizeof(*s->outcomes));
	s->outcome_count++;
	layer_reset(&l->scratch, &l->state);
	page_list_fini(&s->reads);
	verify(s->setup, &l->scratch, &s->reads, &wrote, NULL, &s->outcomes[number]);
	if (!wrote && !memo_add(&s->memo, &l->state, &s->reads, number))
		violate(s, "the explorer is at fault: the same bytes were read in another order",
			false);
	return number;
}

static bool equal_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* See that an equal state has an equal outcome. */
static void verify_again(struct scene *s, const struct outcome *o)
{
	struct crash_levels *l = &s->crasher->levels[s->level];
	struct outcome again;
	bool wrote;

	layer_reset(&l->scratch, &l->state);
	verify(s->setup, &l->scratch, NULL, &wrote, NULL, &again);
	if (!equal_text(o->problem, again.problem) || o->damaged != again.damaged ||
	    o->hash != again.hash)
		violate(s, "the explorer is at fault: equal states have different outcomes", false);
	outcome_fini(&again);
	s->crasher->stats->repeated++;
}

/* Which state it is; SIZE_MAX: none that may be seen. */
static size_t find_state(const struct scene *s, uint64_t hash)
{
	size_t lo = s->lo;

	if (s->crasher->options->promise_too_much && lo < s->hi)
		lo++;
	for (size_t k = s->hi + 1; k-- > lo;) {
		if (s->history->hashes[k] == hash)
			return k;
	}
	return SIZE_MAX;
}

/* While a filesystem is made, nothing is promised but that one that can be opened is sound. */
static bool may_be_while_formatting(const struct scene *s, const struct outcome *o)
{
	return s->formatting && (!o->opened || (!o->problem && o->hash == s->was));
}

static void second_failure(struct scene *s, size_t k, unsigned damaged);

/* Look at the state that the fates of the pending writes leave. */
static void look(struct scene *s, enum explore_kind kind)
{
	struct explore_stats *stats = s->crasher->stats;
	const struct outcome *o;
	unsigned damaged;
	size_t number, k;

	if (s->violation)
		return;
	damaged = make_state(s);
	stats->states[kind]++;
	stats->second += s->level;
	stats->several += s->setup->volume_count > 1;
	number = memo_find(&s->memo, &s->crasher->levels[s->level].state);
	if (number == MEMO_NONE) {
		number = verify_state(s);
		stats->distinct++;
	} else if (random_one_in(&s->random, REPEAT_ONE_IN)) {
		verify_again(s, &s->outcomes[number]);
	}
	o = &s->outcomes[number];
	k = find_state(s, o->hash);
	if (may_be_while_formatting(s, o))
		return;
	if (o->problem)
		violate(s, o->problem, false);
	else if (o->damaged & ~damaged && !s->formatting)
		violate(s, "a header copy is damaged that was not being written", false);
	else if (k == SIZE_MAX)
		violate(s, "that is none of the states that may be there", true);
	else if (s->level + 1 < LEVELS && !s->formatting &&
		 random_one_in(&s->random, SECOND_ONE_IN))
		second_failure(s, k, damaged);
}

/* ---- the combinations of a moment ---- */

static void set_all(struct scene *s, enum fate_kind kind)
{
	for (size_t i = 0; i < s->pending_count; i++)
		s->fates[i] = (struct fate){.kind = kind};
}

static void set_random(struct scene *s, unsigned kinds)
{
	for (size_t i = 0; i < s->pending_count; i++)
		s->fates[i] = (struct fate){
			.kind = (enum fate_kind)random_below(&s->random, kinds),
			.seed = random_next(&s->random),
		};
}

static void look_at_all_subsets(struct scene *s)
{
	for (uint64_t mask = 1; mask + 1 < UINT64_C(1) << s->pending_count; mask++) {
		for (size_t i = 0; i < s->pending_count; i++)
			s->fates[i].kind = mask >> i & 1 ? FATE_KEPT : FATE_LOST;
		look(s, EXPLORE_SUBSET);
	}
}

/* All but one, one alone, the first ones, and any. */
static void look_at_some_subsets(struct scene *s, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		size_t which = (size_t)random_below(&s->random, s->pending_count);

		switch (i % 4) {
		case 0:
			set_all(s, FATE_KEPT);
			s->fates[which].kind = FATE_LOST;
			break;
		case 1:
			set_all(s, FATE_LOST);
			s->fates[which].kind = FATE_KEPT;
			break;
		case 2:
			for (size_t k = 0; k < s->pending_count; k++)
				s->fates[k].kind = k < which ? FATE_KEPT : FATE_LOST;
			break;
		default:
			set_random(s, FATE_KEPT + 1);
			break;
		}
		look(s, EXPLORE_SUBSET);
	}
}

/* One write in parts, the others whole or any. */
static void look_at_torn(struct scene *s, size_t which)
{
	static const enum explore_kind kinds[FATE_KINDS] = {
		[FATE_TORN_512] = EXPLORE_TORN_512,
		[FATE_TORN_4096] = EXPLORE_TORN_4096,
		[FATE_SHREDDED] = EXPLORE_SHREDDED,
	};

	for (enum fate_kind kind = FATE_TORN_512; kind < FATE_KINDS; kind++) {
		if (random_one_in(&s->random, 3))
			set_random(s, FATE_KEPT + 1);
		else
			set_all(s, FATE_KEPT);
		s->fates[which] = (struct fate){
			.kind = kind,
			.seed = random_next(&s->random),
		};
		look(s, kinds[kind]);
	}
}

/* A moment right before a flush: the largest choice that there will be. */
static void look_at_much(struct scene *s)
{
	size_t count = s->pending_count;

	if (count <= SUBSET_WRITES_MAX)
		look_at_all_subsets(s);
	else
		look_at_some_subsets(s, 16 * s->effort);
	for (size_t i = 0; i < 4 * s->effort; i++) {
		if (count <= 4 * s->effort && i >= count)
			break;
		look_at_torn(s,
			     count <= 4 * s->effort ? i : (size_t)random_below(&s->random, count));
	}
	for (unsigned i = 0; i < 4 * s->effort; i++) {
		set_random(s, FATE_KINDS);
		look(s, EXPLORE_MIXED);
	}
}

/* Any other one: the last write is what is new. */
static void look_at_little(struct scene *s)
{
	size_t last = s->pending_count - 1;

	if (last > 0) {
		set_all(s, FATE_LOST);
		s->fates[last].kind = FATE_KEPT;
		look(s, EXPLORE_SUBSET);
	}
	look_at_torn(s, last);
	set_random(s, FATE_KINDS);
	look(s, EXPLORE_MIXED);
}

static void look_here(struct scene *s, bool much)
{
	s->crasher->stats->points++;
	s->fates = must_grow(s->fates, s->pending_count, &s->fates_room, sizeof(*s->fates));
	set_all(s, FATE_KEPT);
	look(s, EXPLORE_KEPT);
	if (s->pending_count == 0)
		return;
	set_all(s, FATE_LOST);
	look(s, EXPLORE_LOST);
	if (much)
		look_at_much(s);
	else
		look_at_little(s);
}

/* ---- through the log ---- */

static void flush(struct scene *s, unsigned volume)
{
	struct layer *durable = &s->crasher->levels[s->level].durable;
	size_t left = 0;

	for (size_t i = 0; i < s->pending_count; i++) {
		const struct log_event *w = s->pending[i];

		if (w->volume == volume)
			layer_write(durable, w->volume, w->offset, w->bytes, w->len);
		else
			s->pending[left++] = w;
	}
	s->pending_count = left;
}

static void pass(struct scene *s, const struct log_event *e)
{
	switch (e->kind) {
	case LOG_WRITE:
		s->pending = must_grow(s->pending, s->pending_count, &s->pending_room,
				       sizeof(*s->pending));
		s->pending[s->pending_count++] = e;
		s->crasher->stats->calls++;
		break;
	case LOG_FLUSH:
		flush(s, e->volume);
		s->crasher->stats->calls++;
		break;
	case LOG_BEGIN:
		s->hi = e->number;
		break;
	case LOG_SYNCED:
		s->lo = e->number;
		s->formatting = false;
		break;
	}
}

static void go_through(struct scene *s)
{
	const struct disk_log *log = s->log;
	struct layer *durable = &s->crasher->levels[s->level].durable;

	layer_reset(durable, s->base);
	for (s->event = 0; s->event <= log->count && !s->violation; s->event++) {
		const struct log_event *next = s->event < log->count ? &log->events[s->event]
								     : NULL;
		const struct log_event *last = s->event > 0 ? &log->events[s->event - 1] : NULL;

		/* Behind the beginning of an operation the same may be seen as in front of it. */
		if (!last || last->kind != LOG_BEGIN)
			look_here(s, !next || next->kind == LOG_FLUSH || next->kind == LOG_SYNCED ||
					     (last && last->kind == LOG_SYNCED));
		if (next)
			pass(s, next);
	}
	s->event = log->count;
}

static void scene_fini(struct scene *s)
{
	for (size_t i = 0; i < s->outcome_count; i++)
		outcome_fini(&s->outcomes[i]);
	free(s->outcomes);
	memo_fini(&s->memo);
	page_list_fini(&s->reads);
	free(s->pending);
	free(s->fates);
}

/* Close what was done in a session on a level, and look at what its log tells. */
static char *explore_session(struct crasher *c, struct scene *s, struct session *session)
{
	struct disk *disk = session->disk;

	session_close(session, false);
	for (size_t i = s->lo; i < session->history->ops.count; i++) {
		c->stats->operations++;
		c->stats->refused += session->history->results[i] == -ENOSPC;
	}
	s->log = disk->log;
	s->history = session->history;
	if (session->problem)
		s->violation = must_print("%s\n", session->problem);
	else
		go_through(s);
	free(session->problem);
	scene_fini(s);
	log_fini(disk->log);
	disk_fini(disk);
	return s->violation;
}

/* ---- the second failure ---- */

static char *describe_first(struct scene *s)
{
	char *text = NULL;
	size_t len;
	FILE *to = open_memstream(&text, &len);

	if (!to)
		abort();
	fputs("after two failures, of which this was the first:\n", to);
	describe_moment(s, to);
	describe_pending(s, to);
	fclose(to);
	return text;
}

static char *describe_more(const struct history *h, size_t from)
{
	struct op_list more = {.ops = h->ops.ops + from, .count = h->ops.count - from};
	char *ops = op_list_format(&more);
	char *text = must_print("  then, with state %zu, came: %s\n", from, ops);

	free(ops);
	return text;
}

/* Some operations that make sense for the model; each as if it were the first one. */
static void choose_more(uint64_t seed, struct model *model, struct op_list *ops)
{
	struct generator g;

	generator_init(&g, seed, UINT64_C(1) << 20);
	for (unsigned i = 0; i < SECOND_OPS; i++) {
		struct op op;

		generate(&g, model, &op);
		op_list_add(ops, &op);
	}
}

/* Go on with the present state, which is state k: a few operations, and another failure. */
static void second_failure(struct scene *s, size_t k, unsigned damaged)
{
	struct crasher *c = s->crasher;
	struct crash_levels *l = &c->levels[s->level + 1];
	struct disk_log log = {0};
	struct scene below = {
		.crasher = c,
		.setup = s->setup,
		.level = s->level + 1,
		.effort = 1,
		.base = &c->levels[s->level].state,
		.random = {.state = random_next(&s->random)},
		.damaged = damaged,
		.lo = k,
		.hi = k,
	};
	struct model *model = history_model(s->history, s->setup, k);
	struct op_list ops = {0};
	struct session session;
	struct history history;
	struct disk disk;
	char *violation;

	choose_more(random_next(&s->random), model, &ops);
	history_copy(&history, s->history, k);
	layer_reset(&l->run, below.base);
	disk_init(&disk, s->setup->sizes, s->setup->volume_count, &l->run);
	disk.log = &log;
	disk.ignore_flushes = c->options->ignore_flushes;
	session_open(&session, s->setup, &disk, &history, model);
	session_do(&session, &ops);
	op_list_fini(&ops);
	violation = explore_session(c, &below, &session);
	if (violation && !s->violation) {
		char *first = describe_first(s), *more = describe_more(&history, k);

		s->violation = must_print("%s%s%s", first, more, violation);
		free(first);
		free(more);
	}
	free(violation);
	history_fini(&history);
}

/* ---- cases ---- */

void crasher_init(struct crasher *c, const struct explore_options *options,
		  struct explore_stats *stats)
{
	*c = (struct crasher){
		.options = options,
		.stats = stats,
		.levels = must_calloc(LEVELS, sizeof(struct crash_levels)),
		.end = options->seconds > 0 ? now() + options->seconds : 0,
	};
	for (unsigned i = 0; i < LEVELS; i++) {
		layer_init(&c->levels[i].run, NULL);
		layer_init(&c->levels[i].durable, NULL);
		layer_init(&c->levels[i].state, NULL);
		layer_init(&c->levels[i].scratch, NULL);
	}
}

void crasher_fini(struct crasher *c)
{
	for (unsigned i = 0; i < LEVELS; i++) {
		layer_fini(&c->levels[i].run);
		layer_fini(&c->levels[i].durable);
		layer_fini(&c->levels[i].state);
		layer_fini(&c->levels[i].scratch);
	}
	free(c->levels);
	for (size_t i = 0; i < c->image_count; i++) {
		layer_fini(&c->images[i]->layer);
		history_fini(&c->images[i]->history);
		free(c->images[i]);
	}
	free(c->images);
}

static char *make_image(struct image *image)
{
	const struct setup *setup = &image->setup;
	struct op_list ops = {0};
	struct session session = {0};
	struct disk disk;
	int err;

	layer_init(&image->layer, NULL);
	history_init(&image->history, setup);
	disk_init(&disk, setup->sizes, setup->volume_count, &image->layer);
	err = setup_format(setup, &disk, 1);
	if (err) {
		session.problem = must_print("%s: cannot be formatted: %s", setup->text,
					     strerror(-err));
	} else if (setup->prelude) {
		char *wrong = op_list_parse(prelude_text, &ops);

		if (wrong)
			abort();
		session_open(&session, setup, &disk, &image->history, NULL);
		session_do(&session, &ops);
		for (size_t i = 0; i < image->history.ops.count; i++) {
			if (image->history.results[i] < 0 && !session.problem)
				session.problem = must_print("%s: no room for the prelude",
							     setup->text);
		}
		session_close(&session, false);
	}
	op_list_fini(&ops);
	disk_fini(&disk);
	return session.problem;
}

/* The image of a setup. *problem: why there is none. */
static struct image *get_image(struct crasher *c, const struct setup *setup, char **problem)
{
	struct image *image;

	for (size_t i = 0; i < c->image_count; i++) {
		if (strcmp(c->images[i]->setup.text, setup->text) == 0)
			return c->images[i];
	}
	image = must_calloc(1, sizeof(*image));
	image->setup = *setup;
	*problem = make_image(image);
	if (*problem) {
		layer_fini(&image->layer);
		history_fini(&image->history);
		free(image);
		return NULL;
	}
	c->images = must_grow(c->images, c->image_count, &c->image_room, sizeof(*c->images));
	c->images[c->image_count++] = image;
	return image;
}

char *crash_run(struct crasher *c, const struct crash_case *case_)
{
	struct crash_levels *l = &c->levels[0];
	struct disk_log log = {0};
	struct session session;
	struct history history;
	struct disk disk;
	char *violation = NULL;
	struct image *image = get_image(c, case_->setup, &violation);
	struct scene scene = {
		.crasher = c,
		.setup = case_->setup,
		.effort = 2,
		.random = {.state = case_->seed},
	};

	if (!image)
		return violation;
	history_copy(&history, &image->history, image->history.ops.count);
	layer_reset(&l->run, &image->layer);
	disk_init(&disk, case_->setup->sizes, case_->setup->volume_count, &l->run);
	disk.log = &log;
	disk.ignore_flushes = c->options->ignore_flushes;
	scene.base = &image->layer;
	scene.lo = scene.hi = history.ops.count;
	session_open(&session, case_->setup, &disk, &history, NULL);
	session_do(&session, case_->ops);
	violation = explore_session(c, &scene, &session);
	history_fini(&history);
	return violation;
}

char *crash_format(struct crasher *c, const struct setup *setup, uint64_t seed, bool on_another)
{
	struct crash_levels *l = &c->levels[0];
	struct disk_log log = {0};
	struct history history;
	struct disk disk;
	char *violation = NULL;
	struct image *image = get_image(c, setup, &violation);
	struct setup plain = *setup;
	struct scene scene = {
		.crasher = c,
		.setup = &plain,
		.effort = 2,
		.random = {.state = seed},
		.base = on_another && image ? &image->layer : NULL,
		.log = &log,
		.history = &history,
		.formatting = true,
	};
	int err;

	if (!image)
		return violation;
	scene.was = on_another ? image->history.hashes[image->history.ops.count] : 0;
	history_init(&history, setup);
	layer_reset(&l->run, scene.base);
	disk_init(&disk, setup->sizes, setup->volume_count, &l->run);
	disk.log = &log;
	plain.left_bytes = 0; /* taking space is no part of it, and not safe */
	err = setup_format(&plain, &disk, seed);
	log_mark(&log, LOG_SYNCED, 0);
	if (err)
		scene.violation = must_print("it cannot be formatted: %s\n", strerror(-err));
	else
		go_through(&scene);
	scene_fini(&scene);
	log_fini(&log);
	disk_fini(&disk);
	history_fini(&history);
	return scene.violation;
}

bool crash_time_is_over(const struct crasher *c)
{
	return c->end > 0 && now() >= c->end;
}

/* ---- making a violation small ---- */

/* The list without count operations from at on. */
static struct op_list without(const struct op_list *ops, size_t at, size_t count)
{
	struct op_list list = {0};

	for (size_t i = 0; i < ops->count; i++) {
		if (i < at || i >= at + count)
			op_list_add(&list, &ops->ops[i]);
	}
	return list;
}

/* Leave out what can be left out. *ops and *violation are replaced. */
static void shrink(struct crasher *c, const struct crash_case *case_, struct op_list *ops,
		   char **violation)
{
	double end = now() + SHRINK_SECONDS;
	unsigned tries = 0;

	for (size_t count = ops->count / 2; count > 0; count = count > 1 ? count / 2 : 0) {
		for (size_t at = 0; at < ops->count && now() < end && tries < SHRINK_TRIES;) {
			struct op_list less = without(ops, at, count);
			struct crash_case smaller = *case_;
			char *still;

			smaller.ops = &less;
			still = crash_run(c, &smaller);
			tries++;
			if (!still) {
				op_list_fini(&less);
				at += count;
				continue;
			}
			op_list_fini(ops);
			*ops = less;
			free(*violation);
			*violation = still;
		}
	}
}

void crash_explore(struct crasher *c, const struct crash_case *case_)
{
	char *violation = crash_run(c, case_), *text, *all;
	struct explore_stats before_shrinking;
	struct op_list ops;

	if (!violation)
		return;
	c->stats->violations++;
	if (!c->options->violation) {
		free(violation);
		return;
	}
	ops = without(case_->ops, 0, 0);
	before_shrinking = *c->stats;
	if (c->stats->violations <= SHRINK_MAX)
		shrink(c, case_, &ops, &violation);
	*c->stats = before_shrinking;
	text = op_list_format(&ops);
	all = must_print("%s  it is repeated by: hammer2 crashtest --setup \"%s\" --seed %" PRIu64
			 " --ops \"%s\"\n",
			 violation, case_->setup->text, case_->seed, text);
	c->options->violation(c->options->user, all);
	free(all);
	free(text);
	free(violation);
	op_list_fini(&ops);
}
