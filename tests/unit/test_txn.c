/*
 * Transaction groups, txn/txn.h: what is in a group, in which order it gets to the devices, and what
 * becomes of it when that fails. Every call to a device and to the owner is written down; a test can
 * let the n-th call to a device fail, and stop the commit at one of its steps to see what may go on
 * meanwhile.
 */
#include "disks.h"
#include "scarce.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "check.h"
#include "format.h"
#include "space.h"
#include "txn.h"

#define QUAD UINT64_C(65536)
#define EVENTS_MAX 16384u
#define BLOCKS_MAX 8u
#define SHORT_MS 30 /* how long a thread gets to do what it must not */

enum step {
	NOTHING,
	WRITE_DATA, /* the owner's */
	ENCODE,
	ENCODED,
	DURABLE,
	WRITE, /* the devices' */
	HEADER,
	FLUSH,
};

struct event {
	enum step step;
	unsigned volume;
	uint64_t offset;
	size_t len;
	size_t pending; /* writes of all volumes that were not flushed before it */
};

struct test {
	struct disks disks;
	struct h2_space *space;
	struct h2_txn *txn;
	unsigned reports;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	struct event events[EVENTS_MAX];
	unsigned count;
	long calls_left; /* before one write or flush fails; negative: none does */
	enum step stop_at;
	bool stopped;
	unsigned steps[FLUSH + 1]; /* how often each was reached */

	/* the owner */
	int write_data_error, encode_error;
	uint64_t blocks[BLOCKS_MAX]; /* offsets that each commit writes 4 KiB to */
	unsigned block_count;
	_Atomic uint64_t need_quads, need_bytes; /* a commit turns them to 0 */
	_Atomic uint64_t first, second;          /* an operation raises both */
	_Atomic unsigned splits;                 /* commits that saw only one of it */
	uint64_t encoded_first;
	uint64_t *reclaimable; /* blocks that reclaim() drops */
	unsigned reclaimable_count, reclaims;
	uint64_t reclaimed_tid; /* of the group that did not have them */
	_Atomic uint64_t durable_first, durable_tid;
};

static int setup(void **state)
{
	struct test *t = calloc(1, sizeof(*t));

	if (!t)
		return -1;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->changed, NULL);
	t->calls_left = -1;
	*state = t;
	return 0;
}

/* ---- writing down ---- */

static size_t pending_writes(struct test *t)
{
	size_t pending = 0;

	for (unsigned i = 0; i < t->disks.count; i++) {
		struct h2_sim_stats stats;

		h2_sim_get_stats(t->disks.sims[i], &stats);
		pending += stats.pending;
	}
	return pending;
}

/* Returns 0, or the error that a call to a device has to end with. */
static int note(struct test *t, enum step step, unsigned volume, uint64_t offset, size_t len)
{
	size_t pending = pending_writes(t);
	int err = 0;

	pthread_mutex_lock(&t->lock);
	t->steps[step]++;
	if (t->count < EVENTS_MAX)
		t->events[t->count++] = (struct event){step, volume, offset, len, pending};
	if (step == t->stop_at) {
		t->stopped = true;
		pthread_cond_broadcast(&t->changed);
		while (t->stop_at == step)
			pthread_cond_wait(&t->changed, &t->lock);
		t->stopped = false;
	}
	if (step >= WRITE && t->calls_left >= 0) {
		if (t->calls_left == 0)
			err = -EIO;
		t->calls_left--;
	}
	pthread_mutex_unlock(&t->lock);
	return err;
}

/* Let the next commit stop at a step, and wait until it does. */
static void stop_at(struct test *t, enum step step)
{
	pthread_mutex_lock(&t->lock);
	t->stop_at = step;
	pthread_mutex_unlock(&t->lock);
}

static void wait_stopped(struct test *t)
{
	pthread_mutex_lock(&t->lock);
	while (!t->stopped)
		pthread_cond_wait(&t->changed, &t->lock);
	pthread_mutex_unlock(&t->lock);
}

static void let_go(struct test *t)
{
	pthread_mutex_lock(&t->lock);
	t->stop_at = NOTHING;
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
}

static unsigned count_of(struct test *t, enum step step)
{
	unsigned n;

	pthread_mutex_lock(&t->lock);
	n = t->steps[step];
	pthread_mutex_unlock(&t->lock);
	return n;
}

static void wait_count(struct test *t, enum step step, unsigned count)
{
	while (count_of(t, step) < count)
		sched_yield();
}

/* That many calls to devices succeed from now on, then one fails; negative: none does. */
static void fail_after(struct test *t, long calls)
{
	pthread_mutex_lock(&t->lock);
	t->calls_left = calls;
	pthread_mutex_unlock(&t->lock);
}

static void forget_events(struct test *t)
{
	pthread_mutex_lock(&t->lock);
	t->count = 0;
	memset(t->steps, 0, sizeof(t->steps));
	pthread_mutex_unlock(&t->lock);
}

static void pause_ms(unsigned ms)
{
	nanosleep(&(struct timespec){.tv_nsec = ms * 1000000L}, NULL);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- devices that are written down ---- */

struct over {
	struct h2_device dev;
	struct h2_device *under;
	struct test *test;
	unsigned volume;
};

static int over_read(struct h2_device *dev, uint64_t offset, void *buf, size_t len)
{
	return h2_device_read(((struct over *)dev)->under, offset, buf, len);
}

static int over_write(struct h2_device *dev, uint64_t offset, const void *buf, size_t len)
{
	struct over *o = (struct over *)dev;
	bool is_header = o->volume == 0 && offset % (2 * GIB) == 0;
	int err = note(o->test, is_header ? HEADER : WRITE, o->volume, offset, len);

	return err ? err : h2_device_write(o->under, offset, buf, len);
}

static int over_flush(struct h2_device *dev)
{
	struct over *o = (struct over *)dev;
	int err = note(o->test, FLUSH, o->volume, 0, 0);

	return err ? err : h2_device_flush(o->under);
}

static void over_close(struct h2_device *dev)
{
	h2_device_close(((struct over *)dev)->under);
	free(dev);
}

static struct h2_device *put_over(void *user, unsigned volume, struct h2_device *under)
{
	static const struct h2_device_ops ops = {over_read, over_write, over_flush, over_close};
	struct over *o = unit_alloc(sizeof(*o));

	o->dev = (struct h2_device){
		.ops = &ops, .size = under->size, .writable = under->writable, .name = "over"};
	o->under = under;
	o->test = user;
	o->volume = volume;
	return &o->dev;
}

/* ---- the owner ---- */

static int owner_write_data(void *user)
{
	struct test *t = user;

	(void)note(t, WRITE_DATA, 0, 0, 0);
	return t->write_data_error;
}

static int owner_encode(void *user, struct h2_commit *commit)
{
	struct test *t = user;
	uint8_t block[4096];
	int err = t->encode_error;

	(void)note(t, ENCODE, 0, commit->tid, 0);
	if (atomic_load(&t->first) != atomic_load(&t->second))
		atomic_fetch_add(&t->splits, 1);
	t->encoded_first = atomic_load(&t->first);
	memset(block, (int)commit->tid, sizeof(block));
	for (unsigned i = 0; i < t->block_count && !err; i++)
		err = h2_commit_write(&commit->writer, t->blocks[i], block, sizeof(block));
	return err;
}

static void owner_encoded(void *user)
{
	struct test *t = user;

	(void)note(t, ENCODED, 0, 0, 0);
	atomic_store(&t->need_quads, 0);
	atomic_store(&t->need_bytes, 0);
}

static void owner_durable(void *user, uint64_t tid)
{
	struct test *t = user;

	(void)note(t, DURABLE, 0, tid, 0);
	atomic_store(&t->durable_first, t->encoded_first);
	atomic_store(&t->durable_tid, tid);
}

static struct h2_txn_need owner_needs(void *user)
{
	struct test *t = user;

	return (struct h2_txn_need){
		.quads = atomic_load(&t->need_quads),
		.bytes = atomic_load(&t->need_bytes),
	};
}

static bool owner_reclaim(void *user)
{
	struct test *t = user;
	unsigned count = t->reclaimable_count;

	t->reclaims++;
	h2_txn_enter(t->txn);
	t->reclaimed_tid = h2_txn_tid(t->txn);
	for (unsigned i = 0; i < count; i++)
		h2_space_drop(t->space, t->reclaimable[i], t->reclaimed_tid, t->reclaimed_tid);
	h2_txn_leave(t->txn);
	t->reclaimable_count = 0;
	return count > 0;
}

static void on_report(void *user, const struct h2_report *report)
{
	struct test *t = user;

	if (!report->code || !report->message || report->error >= 0)
		abort();
	if (strcmp(report->code, "commit-failed") == 0)
		t->reports++;
}

/* ---- opening and closing ---- */

static void reopen_with(struct test *t, struct h2_txn_options options)
{
	struct h2_txn_owner owner = {
		.write_data = owner_write_data,
		.encode = owner_encode,
		.encoded = owner_encoded,
		.durable = owner_durable,
		.needs = owner_needs,
		.reclaim = owner_reclaim,
		.user = t,
	};

	options.report = on_report;
	options.report_user = t;
	t->disks.over = put_over;
	t->disks.user = t;
	disks_open(&t->disks);
	assert_int_equal(h2_space_open(t->disks.volumes, NULL, NULL, &t->space), 0);
	assert_int_equal(h2_txn_open(t->disks.volumes, t->space, &owner, &options, &t->txn), 0);
	t->reports = 0;
	forget_events(t);
}

static void make_with(struct test *t, const uint64_t *sizes, unsigned count,
		      struct h2_txn_options options)
{
	disks_make(&t->disks, sizes, count);
	reopen_with(t, options);
}

static void make(struct test *t, uint64_t size)
{
	make_with(t, &size, 1, (struct h2_txn_options){0});
}

static int close_txn(struct test *t, bool abandon)
{
	int err = h2_txn_close(t->txn, abandon);

	t->txn = NULL;
	h2_space_close(t->space);
	t->space = NULL;
	disks_close(&t->disks);
	return err;
}

static int teardown(void **state)
{
	struct test *t = *state;

	scarce_left = -1;
	if (t->txn)
		(void)close_txn(t, true);
	disks_free(&t->disks);
	pthread_mutex_destroy(&t->lock);
	pthread_cond_destroy(&t->changed);
	free(t);
	return 0;
}

static const struct h2_txn_need nothing;

/* One operation, which raises both numbers. Returns its first one, or 0 where it may not begin. */
static uint64_t operate(struct test *t)
{
	uint64_t mine;

	if (h2_txn_begin(t->txn, &nothing, false))
		return 0;
	mine = atomic_fetch_add(&t->first, 1) + 1;
	h2_txn_changed(t->txn);
	sched_yield();
	atomic_fetch_add(&t->second, 1);
	h2_txn_end(t->txn, &nothing);
	return mine;
}

struct syncer {
	pthread_t thread;
	struct test *test;
	bool operates; /* before it */
	_Atomic bool operated, returned;
	int err;
	uint64_t durable; /* when it returned */
};

static void *sync_main(void *user)
{
	struct syncer *s = user;

	if (s->operates)
		(void)operate(s->test);
	atomic_store(&s->operated, true);
	s->err = h2_txn_sync(s->test->txn);
	s->durable = atomic_load(&s->test->durable_first);
	atomic_store(&s->returned, true);
	return NULL;
}

static void start(struct syncer *s, struct test *t, bool operates)
{
	memset(s, 0, sizeof(*s));
	s->test = t;
	s->operates = operates;
	assert_int_equal(pthread_create(&s->thread, NULL, sync_main, s), 0);
}

static void join(struct syncer *s)
{
	assert_int_equal(pthread_join(s->thread, NULL), 0);
}

/* The header that a slot has on the media, behind all caches. */
static struct h2_volume_header header_on_media(struct test *t, unsigned slot)
{
	static struct h2d_volume_header d;
	struct h2_volume_header h;

	h2_sim_peek(t->disks.sims[0], slot * 2 * GIB, &d, sizeof(d));
	assert_int_equal(h2_volume_header_check(&d, NULL), H2_HEADER_GOOD);
	h2_volume_header_decode(&d, &h);
	return h;
}

/* ---- the order of things ---- */

/* MF 12.5, BS 7.1: nothing of a header before all it leads to is durable. */
static void order__is_that_of_the_spec(void **state)
{
	static const uint64_t sizes[] = {8 * GIB, GIB, 64 * MIB};
	struct test *t = *state;

	make_with(t, sizes, 3, (struct h2_txn_options){0});
	/* Blocks on all volumes. */
	t->blocks[0] = 8 * GIB + 5 * MIB;
	t->blocks[1] = 9 * GIB + 5 * MIB;
	t->blocks[2] = 800 * MIB;
	t->block_count = 3;
	for (uint64_t n = 1; n <= 6; n++) {
		unsigned i = 0, flushes = 0;
		uint64_t data_off;

		forget_events(t);
		assert_true(operate(t) > 0);
		assert_int_equal(h2_space_alloc(t->space, H2_BLOCKREF_DATA, 16, &data_off), 0);
		assert_int_equal(h2_txn_sync(t->txn), 0);
		assert_int_equal(t->events[i++].step, WRITE_DATA);
		assert_int_equal(t->events[i].step, ENCODE);
		assert_int_equal(t->events[i++].offset, 16 + n);
		/* The three, and a leaf of the freemap. */
		for (unsigned w = 0; w < 4; w++)
			assert_int_equal(t->events[i++].step, WRITE);
		assert_int_equal(t->events[i++].step, ENCODED);
		for (; t->events[i].step == FLUSH; i++)
			flushes |= 1u << t->events[i].volume;
		assert_int_equal(flushes, 7);
		/* One write, into the copy behind that of the last time. */
		assert_int_equal(t->events[i].step, HEADER);
		assert_int_equal(t->events[i].pending, 0);
		assert_int_equal(t->events[i].len, 65536);
		assert_int_equal(t->events[i++].offset, n % 4 * 2 * GIB);
		for (flushes = 0; t->events[i].step == FLUSH; i++)
			flushes |= 1u << t->events[i].volume;
		assert_true(flushes & 1);
		assert_int_equal(t->events[i].step, DURABLE);
		assert_int_equal(t->events[i].offset, 16 + n);
		assert_int_equal(t->events[i++].pending, 0);
		assert_int_equal(i, t->count);
		for (unsigned slot = 0; slot < 4; slot++) {
			struct h2_volume_header h = header_on_media(t, slot);
			/* The last commit that this slot was due for. */
			uint64_t of = n < slot ? 0 : n - (n - slot) % 4;

			assert_int_equal(h.mirror_tid, 16 + of);
			assert_int_equal(h.freemap_tid, h.mirror_tid);
			assert_int_equal(h.allocator_free, h.allocator_size - of * QUAD);
		}
	}
	assert_int_equal(close_txn(t, false), 0);
}

/* The freemap that the header names is that of the group (BS 7.2), and is there. */
static void order__has_the_freemap_in_the_same_header(void **state)
{
	struct test *t = *state;
	struct h2d_freemap_record *leaf = unit_alloc(H2_FREEMAP_BLOCK_SIZE);
	struct h2_volume_header h;
	uint64_t data_off;

	make(t, 64 * MIB);
	assert_int_equal(h2_space_alloc(t->space, H2_BLOCKREF_DATA, 16, &data_off), 0);
	assert_true(operate(t) > 0);
	assert_int_equal(h2_txn_sync(t->txn), 0);
	h = header_on_media(t, 0);
	h2_sim_peek(t->disks.sims[0], h2_blockref_offset(&h.freemap_blockset[0]), leaf,
		    H2_FREEMAP_BLOCK_SIZE);
	assert_int_equal(h2_check_verify(&h.freemap_blockset[0], leaf, H2_FREEMAP_BLOCK_SIZE),
			 H2_CHECK_MATCH);
	assert_int_equal(h2_freemap_state(leaf, data_off & ~UINT64_C(63)), H2_GRANULE_ALLOCATED);
	free(leaf);
}

static void tids__follow_each_other(void **state)
{
	struct test *t = *state;

	make(t, 64 * MIB);
	assert_int_equal(h2_txn_first_tid(t->txn), 17);
	assert_int_equal(h2_txn_tid(t->txn), 17);
	assert_true(operate(t) > 0);
	assert_int_equal(h2_txn_sync(t->txn), 0);
	assert_int_equal(h2_txn_tid(t->txn), 18);
	assert_int_equal(h2_txn_first_tid(t->txn), 17);
	assert_int_equal(close_txn(t, false), 0);
	reopen_with(t, (struct h2_txn_options){0});
	assert_int_equal(h2_txn_first_tid(t->txn), 18);
}

/* BS 8.5: sectors that hold committed bytes are not written again. */
static void groups__have_sectors_of_their_own(void **state)
{
	struct test *t = *state;
	uint64_t last = 0;

	make(t, 64 * MIB);
	for (unsigned i = 0; i < 6; i++) {
		uint64_t data_off;

		assert_int_equal(h2_space_alloc(t->space, H2_BLOCKREF_INODE, 10, &data_off), 0);
		assert_true(data_off / 4096 != last / 4096);
		last = data_off;
		assert_true(operate(t) > 0);
		assert_int_equal(h2_txn_sync(t->txn), 0);
	}
}

/* A commit is made for what has changed, not for the asking. */
static void sync__without_changes_does_nothing(void **state)
{
	struct test *t = *state;

	make(t, 64 * MIB);
	assert_int_equal(h2_txn_sync(t->txn), 0);
	assert_int_equal(t->count, 0);
	assert_true(operate(t) > 0);
	assert_int_equal(h2_txn_sync(t->txn), 0);
	forget_events(t);
	assert_int_equal(h2_txn_sync(t->txn), 0);
	/* Reading is no change. */
	h2_txn_enter(t->txn);
	h2_txn_leave(t->txn);
	assert_int_equal(h2_txn_begin(t->txn, &nothing, false), 0);
	h2_txn_end(t->txn, &nothing);
	assert_int_equal(h2_txn_sync(t->txn), 0);
	assert_int_equal(close_txn(t, false), 0);
	assert_int_equal(t->count, 0);
}

/* ---- the gate ---- */

static void gate__waits_for_running_operations(void **state)
{
	struct test *t = *state;
	struct syncer s;

	make(t, 64 * MIB);
	assert_int_equal(h2_txn_begin(t->txn, &nothing, false), 0);
	h2_txn_changed(t->txn);
	start(&s, t, false);
	wait_count(t, WRITE_DATA, 1);
	pause_ms(SHORT_MS);
	assert_int_equal(count_of(t, ENCODE), 0);
	atomic_fetch_add(&t->first, 1);
	atomic_fetch_add(&t->second, 1);
	h2_txn_end(t->txn, &nothing);
	join(&s);
	assert_int_equal(s.err, 0);
	assert_int_equal(s.durable, 1);
}

static void gate__is_closed_while_a_group_is_encoded(void **state)
{
	static const enum step steps[] = {ENCODE, WRITE, ENCODED};
	struct test *t = *state;

	make(t, 64 * MIB);
	t->blocks[0] = 40 * MIB;
	t->block_count = 1;
	for (size_t i = 0; i < LENGTH_OF(steps); i++) {
		struct syncer s, other;

		stop_at(t, steps[i]);
		start(&s, t, true);
		wait_stopped(t);
		assert_false(h2_txn_try_enter(t->txn));
		start(&other, t, true);
		pause_ms(SHORT_MS);
		assert_false(atomic_load(&other.operated));
		let_go(t);
		join(&s);
		join(&other);
		assert_true(h2_txn_try_enter(t->txn));
		h2_txn_leave(t->txn);
	}
	assert_int_equal(atomic_load(&t->splits), 0);
}

/* Buffers are written before, and the devices are waited for after, the gate is closed. */
static void gate__is_open_for_the_rest(void **state)
{
	static const enum step steps[] = {WRITE_DATA, FLUSH, HEADER, DURABLE};
	struct test *t = *state;

	make(t, 64 * MIB);
	for (size_t i = 0; i < LENGTH_OF(steps); i++) {
		struct syncer s;
		uint64_t tid = h2_txn_tid(t->txn);

		stop_at(t, steps[i]);
		start(&s, t, true);
		wait_stopped(t);
		assert_true(h2_txn_try_enter(t->txn));
		assert_int_equal(h2_txn_tid(t->txn), tid + (steps[i] != WRITE_DATA));
		h2_txn_leave(t->txn);
		assert_true(operate(t) > 0);
		let_go(t);
		join(&s);
		assert_int_equal(s.err, 0);
		assert_int_equal(h2_txn_sync(t->txn), 0);
	}
}

struct worker {
	pthread_t thread;
	struct test *test;
	unsigned errors;
};

/* Operations and syncs; each sync has to bring all that this thread did before. */
static void *work_main(void *user)
{
	struct worker *w = user;
	uint64_t mine = 0;

	for (unsigned i = 0; i < 1500; i++) {
		mine = operate(w->test);
		w->errors += mine == 0;
		if (i % 50 == 17) {
			w->errors += h2_txn_sync(w->test->txn) != 0;
			w->errors += atomic_load(&w->test->durable_first) < mine;
		}
	}
	return NULL;
}

static void gate__never_splits_an_operation(void **state)
{
	struct test *t = *state;
	struct worker workers[4];

	make(t, 8 * GIB);
	for (unsigned i = 0; i < LENGTH_OF(workers); i++) {
		workers[i] = (struct worker){.test = t};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work_main, &workers[i]),
				 0);
	}
	for (unsigned i = 0; i < LENGTH_OF(workers); i++) {
		assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
		assert_int_equal(workers[i].errors, 0);
	}
	assert_int_equal(h2_txn_sync(t->txn), 0);
	assert_int_equal(atomic_load(&t->splits), 0);
	assert_int_equal(atomic_load(&t->durable_first), 4 * 1500);
	/* In all of it no header was written before what it leads to was flushed. */
	for (unsigned i = 0; i < t->count; i++) {
		if (t->events[i].step == HEADER)
			assert_int_equal(t->events[i].pending, 0);
	}
	assert_true(count_of(t, HEADER) > 1);
	assert_int_equal(count_of(t, HEADER), count_of(t, DURABLE));
}

/* ---- syncs side by side ---- */

static void sync__of_several_is_one_commit(void **state)
{
	struct test *t = *state;
	struct syncer first, others[8];

	make(t, 64 * MIB);
	/* The first commit has its group; what changes now is of the next. */
	stop_at(t, FLUSH);
	start(&first, t, true);
	wait_stopped(t);
	for (unsigned i = 0; i < LENGTH_OF(others); i++)
		start(&others[i], t, true);
	for (unsigned i = 0; i < LENGTH_OF(others); i++) {
		while (!atomic_load(&others[i].operated))
			sched_yield();
	}
	pause_ms(SHORT_MS);
	for (unsigned i = 0; i < LENGTH_OF(others); i++)
		assert_false(atomic_load(&others[i].returned));
	let_go(t);
	join(&first);
	for (unsigned i = 0; i < LENGTH_OF(others); i++) {
		join(&others[i]);
		assert_int_equal(others[i].err, 0);
		assert_int_equal(others[i].durable, 1 + LENGTH_OF(others));
	}
	assert_int_equal(count_of(t, HEADER), 2);
}

/* Nothing has changed since, but what was done before is not durable yet. */
static void sync__waits_for_the_running_commit(void **state)
{
	static const enum step steps[] = {FLUSH, HEADER};
	struct test *t = *state;

	make(t, 64 * MIB);
	for (size_t i = 0; i < LENGTH_OF(steps); i++) {
		struct syncer s, other;

		stop_at(t, steps[i]);
		start(&s, t, true);
		wait_stopped(t);
		start(&other, t, false);
		pause_ms(SHORT_MS);
		assert_false(atomic_load(&other.returned));
		let_go(t);
		join(&s);
		join(&other);
		assert_int_equal(other.err, 0);
		assert_int_equal(other.durable, i + 1);
		assert_int_equal(count_of(t, HEADER), i + 1);
	}
}

/* ---- failures ---- */

/* What was committed is all that the media have, and it stays so. */
static void expect_failed(struct test *t, int err)
{
	static const struct h2_txn_need need = {.quads = 1}, too_much = {.quads = UINT32_MAX};
	unsigned writes = count_of(t, WRITE) + count_of(t, HEADER);
	unsigned flushes = count_of(t, FLUSH);

	assert_int_equal(h2_txn_error(t->txn), err);
	assert_int_equal(h2_txn_sync(t->txn), err);
	assert_int_equal(h2_txn_begin(t->txn, &need, false), -EROFS);
	assert_int_equal(h2_txn_begin(t->txn, &nothing, true), -EROFS);
	assert_int_equal(h2_txn_begin(t->txn, &too_much, true), -EROFS);
	/* Reading goes on. */
	assert_true(h2_txn_try_enter(t->txn));
	h2_txn_changed(t->txn);
	h2_txn_leave(t->txn);
	assert_int_equal(h2_txn_sync(t->txn), err);
	assert_int_equal(h2_txn_error(t->txn), err);
	assert_int_equal(t->reports, 1);
	assert_int_equal(count_of(t, DURABLE), 0);
	assert_int_equal(close_txn(t, false), err);
	assert_int_equal(count_of(t, WRITE) + count_of(t, HEADER), writes);
	assert_int_equal(count_of(t, FLUSH), flushes);
	fail_after(t, -1);
}

/* Each write and each flush of a commit fails once. */
static void failure__of_any_call_writes_no_header(void **state)
{
	static const uint64_t sizes[] = {3 * GIB, 64 * MIB};
	struct test *t = *state;
	unsigned before_header = 0, behind_header = 0;
	uint64_t data_off;

	disks_make(&t->disks, sizes, 2);
	t->blocks[0] = 3 * GIB + 5 * MIB;
	t->blocks[1] = 2 * GIB + 9 * MIB;
	t->block_count = 2;
	for (long n = 0;; n++) {
		int err;

		reopen_with(t, (struct h2_txn_options){0});
		assert_int_equal(h2_space_alloc(t->space, H2_BLOCKREF_DATA, 16, &data_off), 0);
		assert_true(operate(t) > 0);
		fail_after(t, n);
		err = h2_txn_sync(t->txn);
		if (!err)
			break;
		assert_int_equal(err, -EIO);
		if (count_of(t, HEADER) == 0)
			before_header++;
		else
			behind_header++;
		expect_failed(t, -EIO);
		/* The header itself, and what is behind it, may be the one or the other. */
		for (unsigned slot = 0; slot < 2; slot++)
			assert_true(header_on_media(t, slot).mirror_tid <= 16 + behind_header);
		if (behind_header == 0)
			assert_int_equal(header_on_media(t, 1).mirror_tid, 16);
	}
	/* Two blocks, a leaf, the flushes of two volumes. */
	assert_int_equal(before_header, 5);
	assert_true(behind_header >= 2);
	assert_int_equal(t->calls_left, 0);
	assert_int_equal(count_of(t, DURABLE), 1);
}

/* A header that could not be written, or not flushed: the owner must not take it for durable. */
static void failure__of_the_header_is_one(void **state)
{
	struct test *t = *state;

	make(t, 3 * GIB);
	assert_true(operate(t) > 0);
	fail_after(t, 1); /* the flush; the header fails */
	assert_int_equal(h2_txn_sync(t->txn), -EIO);
	assert_int_equal(count_of(t, HEADER), 1);
	expect_failed(t, -EIO);
	for (unsigned slot = 0; slot < 2; slot++)
		assert_int_equal(header_on_media(t, slot).mirror_tid, 16);
}

static void failure__of_the_owner_writes_no_header(void **state)
{
	struct test *t = *state;

	make(t, 64 * MIB);
	for (unsigned i = 0; i < 2; i++) {
		if (!t->txn)
			reopen_with(t, (struct h2_txn_options){0});
		t->write_data_error = i == 0 ? -ENOSPC : 0;
		t->encode_error = i == 1 ? -H2_ECORRUPT : 0;
		assert_true(operate(t) > 0);
		assert_int_equal(h2_txn_sync(t->txn), i == 0 ? -ENOSPC : -H2_ECORRUPT);
		assert_int_equal(count_of(t, HEADER) + count_of(t, WRITE) + count_of(t, FLUSH), 0);
		assert_int_equal(count_of(t, ENCODED), 0);
		expect_failed(t, i == 0 ? -ENOSPC : -H2_ECORRUPT);
	}
	assert_int_equal(header_on_media(t, 0).mirror_tid, 16);
}

/* Each allocation of memory in a commit fails once. */
static void failure__of_memory_writes_no_header(void **state)
{
	struct test *t = *state;
	unsigned failures = 0;
	uint64_t data_off;
	int err = -ENOMEM;

	disks_make(&t->disks, (const uint64_t[]){64 * MIB}, 1);
	t->blocks[0] = 40 * MIB;
	t->block_count = 1;
	for (long n = 0; err; n++) {
		reopen_with(t, (struct h2_txn_options){0});
		assert_int_equal(h2_space_alloc(t->space, H2_BLOCKREF_DATA, 16, &data_off), 0);
		assert_true(operate(t) > 0);
		scarce_left = n;
		err = h2_txn_sync(t->txn);
		scarce_left = -1;
		if (err) {
			assert_int_equal(err, -ENOMEM);
			expect_failed(t, err);
			assert_int_equal(header_on_media(t, 0).mirror_tid, 16);
			failures++;
		}
	}
	assert_true(failures >= 4);
	assert_int_equal(header_on_media(t, 0).mirror_tid, 17);
}

static void failure__that_the_owner_tells_of_is_one(void **state)
{
	struct test *t = *state;

	make(t, 64 * MIB);
	assert_true(operate(t) > 0);
	h2_txn_fail(t->txn, -ENOSPC);
	h2_txn_fail(t->txn, -EIO); /* the first one counts */
	assert_int_equal(h2_txn_sync(t->txn), -ENOSPC);
	assert_int_equal(t->count, 0);
	expect_failed(t, -ENOSPC);
}

/* An operation that was let in before the failure, and waits at the gate, is refused. */
static void failure__meets_who_waits_at_the_gate(void **state)
{
	struct test *t = *state;
	struct syncer s, other;

	make(t, 64 * MIB);
	t->encode_error = -EIO;
	stop_at(t, ENCODE);
	start(&s, t, true);
	wait_stopped(t);
	start(&other, t, true);
	pause_ms(SHORT_MS);
	assert_false(atomic_load(&other.operated));
	let_go(t);
	join(&s);
	join(&other);
	assert_int_equal(s.err, -EIO);
	assert_int_equal(other.err, -EIO);
	assert_int_equal(atomic_load(&t->first), 1);
	expect_failed(t, -EIO);
}

/* All who wait for a commit that fails hear of it. */
static void failure__is_told_to_all_who_wait(void **state)
{
	struct test *t = *state;
	struct syncer first, others[5];

	make(t, 64 * MIB);
	stop_at(t, FLUSH);
	start(&first, t, true);
	wait_stopped(t);
	for (unsigned i = 0; i < LENGTH_OF(others); i++)
		start(&others[i], t, i % 2);
	for (unsigned i = 0; i < LENGTH_OF(others); i++) {
		while (!atomic_load(&others[i].operated))
			sched_yield();
	}
	fail_after(t, 0);
	let_go(t);
	join(&first);
	assert_int_equal(first.err, -EIO);
	for (unsigned i = 0; i < LENGTH_OF(others); i++) {
		join(&others[i]);
		assert_int_equal(others[i].err, -EIO);
	}
	assert_int_equal(count_of(t, HEADER), 0);
	expect_failed(t, -EIO);
}

/* ---- the clock ---- */

static void timer__commits_what_has_changed(void **state)
{
	struct test *t = *state;
	void *idle_state = NULL;
	struct test *idle;

	assert_int_equal(setup(&idle_state), 0);
	idle = idle_state;
	make_with(idle, (const uint64_t[]){64 * MIB}, 1,
		  (struct h2_txn_options){.commit_seconds = 1});
	make_with(t, (const uint64_t[]){64 * MIB}, 1, (struct h2_txn_options){.commit_seconds = 1});
	assert_true(operate(t) > 0);
	pause_ms(SHORT_MS);
	assert_int_equal(count_of(t, HEADER), 0);
	for (unsigned i = 0; i < 500 && count_of(t, DURABLE) == 0; i++)
		pause_ms(10);
	assert_int_equal(count_of(t, DURABLE), 1);
	assert_int_equal(atomic_load(&t->durable_first), 1);
	assert_int_equal(close_txn(t, false), 0);
	assert_int_equal(count_of(t, HEADER), 1);
	/* Where nothing has changed, the clock does not matter. */
	assert_int_equal(close_txn(idle, false), 0);
	assert_int_equal(idle->count, 0);
	assert_int_equal(teardown(&idle_state), 0);
}

static void timer__can_be_hurried(void **state)
{
	struct test *t = *state;

	make_with(t, (const uint64_t[]){64 * MIB}, 1, (struct h2_txn_options){.commit_seconds = 3600});
	for (unsigned round = 1; round <= 3; round++) {
		assert_true(operate(t) > 0);
		/* Again and again, as operations do: the timer hears it while it waits. */
		for (unsigned i = 0; i < 500 && count_of(t, DURABLE) < round; i++) {
			h2_txn_hurry(t->txn);
			pause_ms(10);
		}
		assert_int_equal(count_of(t, DURABLE), round);
	}
	assert_int_equal(close_txn(t, false), 0);
}

/* Where there is none, nothing happens. */
static void timer__that_is_none_is_not_hurried(void **state)
{
	struct test *t = *state;

	make_with(t, (const uint64_t[]){64 * MIB}, 1, (struct h2_txn_options){.commit_seconds = 0});
	assert_true(operate(t) > 0);
	h2_txn_hurry(t->txn);
	pause_ms(SHORT_MS);
	assert_int_equal(count_of(t, HEADER), 0);
	assert_int_equal(close_txn(t, false), 0);
}

/* ---- room ---- */

#define SMALL (64 * MIB)
#define SMALL_QUADS 640u  /* MF A.6: ten segments */
#define RESERVE_QUADS 16u /* "1/64 of the volume, 1 to 64 MiB": 1 MiB here */
#define ROUNDING_QUADS 8u /* what admitting may count too much */

static int try_room(struct test *t, uint64_t quads, uint64_t bytes, bool removes)
{
	struct h2_txn_need need = {.quads = quads, .bytes = bytes};
	int err = h2_txn_begin(t->txn, &need, removes);

	if (!err)
		h2_txn_end(t->txn, &need);
	return err;
}

static void room__keeps_a_reserve_for_removals(void **state)
{
	struct test *t = *state;
	uint64_t most = SMALL_QUADS - RESERVE_QUADS;

	make(t, SMALL);
	assert_int_equal(try_room(t, most - ROUNDING_QUADS, 0, false), 0);
	assert_int_equal(try_room(t, most + 1, 0, false), -ENOSPC);
	assert_int_equal(try_room(t, 0, (most - ROUNDING_QUADS) * QUAD, false), 0);
	assert_int_equal(try_room(t, 0, most * QUAD + 1, false), -ENOSPC);
	assert_int_equal(try_room(t, 300, (most - 300 - ROUNDING_QUADS) * QUAD, false), 0);
	assert_int_equal(try_room(t, 300, (most - 300) * QUAD + 1, false), -ENOSPC);
	/* Removals get it. */
	assert_int_equal(try_room(t, SMALL_QUADS - ROUNDING_QUADS, 0, true), 0);
	assert_int_equal(try_room(t, SMALL_QUADS + 1, 0, true), -ENOSPC);
	assert_int_equal(try_room(t, UINT32_MAX, 0, true), -ENOSPC);
	/* Nothing of that is a reason to commit, or a failure. */
	assert_int_equal(t->count, 0);
	assert_int_equal(h2_txn_error(t->txn), 0);
}

static void room__is_bounded_on_large_volumes(void **state)
{
	struct test *t = *state;
	/* 64 MiB of 8 GiB. */
	uint64_t most;

	make(t, 8 * GIB);
	most = h2_volumes_header(t->disks.volumes)->allocator_size / QUAD - 1024;
	assert_int_equal(try_room(t, most - 64 - ROUNDING_QUADS, 0, false), 0);
	assert_int_equal(try_room(t, most + 1, 0, false), -ENOSPC);
}

/* What dirty objects need, and what running operations may need, is not given twice. */
static void room__is_given_once(void **state)
{
	static const struct h2_txn_need need = {.quads = 300}, bytes = {.bytes = 300 * QUAD};
	struct test *t = *state;

	make(t, SMALL);
	for (unsigned i = 0; i < 2; i++) {
		const struct h2_txn_need *taken = i ? &bytes : &need;

		assert_int_equal(h2_txn_begin(t->txn, taken, false), 0);
		assert_int_equal(try_room(t, 330, 0, false), -ENOSPC);
		assert_int_equal(try_room(t, 0, 330 * QUAD, false), -ENOSPC);
		h2_txn_end(t->txn, taken);
		assert_int_equal(try_room(t, 330, 0, false), 0);
		assert_int_equal(try_room(t, 0, 330 * QUAD, false), 0);
	}
	/* It has become a dirty object. */
	atomic_store(&t->need_quads, 300);
	assert_int_equal(try_room(t, 330, 0, false), -ENOSPC);
	assert_int_equal(try_room(t, 280, 0, false), 0);
	atomic_store(&t->need_quads, 0);
	atomic_store(&t->need_bytes, 300 * QUAD);
	assert_int_equal(try_room(t, 330, 0, false), -ENOSPC);
	assert_int_equal(try_room(t, 280, 0, false), 0);
	assert_int_equal(t->count, 0);
}

/* Refused ones must not leave anything behind. */
static void room__that_was_refused_is_not_taken(void **state)
{
	struct test *t = *state;

	make(t, SMALL);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(try_room(t, 630, 1000, false), -ENOSPC);
	assert_int_equal(try_room(t, 600, 0, false), 0);
	h2_txn_fail(t->txn, -EIO);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(try_room(t, 1, 0, false), -EROFS);
}

/* A commit turns the worst case into what is really needed. */
static void room__is_made_by_a_commit(void **state)
{
	struct test *t = *state;

	make(t, SMALL);
	atomic_store(&t->need_quads, 400);
	assert_true(operate(t) > 0);
	assert_int_equal(try_room(t, 400, 0, false), 0);
	assert_int_equal(count_of(t, DURABLE), 1);
	assert_int_equal(close_txn(t, false), 0);
	/* But not where that was forbidden. */
	reopen_with(t, (struct h2_txn_options){.hold = true});
	atomic_store(&t->need_quads, 400);
	assert_true(operate(t) > 0);
	assert_int_equal(try_room(t, 400, 0, false), -ENOSPC);
	assert_int_equal(t->count, 0);
	assert_int_equal(h2_txn_sync(t->txn), 0);
	assert_int_equal(try_room(t, 400, 0, false), 0);
}

/* Take all there is, 64 KiB after 64 KiB; how many. */
static unsigned take_all(struct test *t, uint64_t *blocks, unsigned room)
{
	unsigned count = 0;
	uint64_t data_off;

	while (h2_space_alloc(t->space, H2_BLOCKREF_DATA, 16, &data_off) == 0) {
		if (count < room)
			blocks[count] = data_off;
		count++;
	}
	return count;
}

/* Dropped storage comes back by as many commits as there are header copies, and no more are made. */
static void room__is_made_by_dropped_storage(void **state)
{
	static const uint64_t sizes[] = {SMALL, 3 * GIB, 5 * GIB, 8 * GIB};
	static uint64_t blocks[5000];
	struct test *t = *state;

	for (unsigned copies = 1; copies <= 4; copies++) {
		unsigned dropped = copies == 1 ? 400 : 4000;
		uint64_t tid;

		make(t, sizes[copies - 1]);
		assert_int_equal(h2_volumes_header_copies(t->disks.volumes), copies);
		assert_true(operate(t) > 0);
		assert_true(take_all(t, blocks, LENGTH_OF(blocks)) > dropped);
		assert_int_equal(h2_txn_sync(t->txn), 0);
		assert_int_equal(try_room(t, 1, 0, true), -ENOSPC);
		assert_int_equal(count_of(t, DURABLE), 1);
		tid = h2_txn_tid(t->txn);
		for (unsigned i = 0; i < dropped; i++)
			h2_space_drop(t->space, blocks[i], tid - 1, tid);
		assert_int_equal(try_room(t, dropped / 2, 0, true), 0);
		assert_int_equal(count_of(t, DURABLE), 1 + copies);
		/* There is no more to be had: refused, after few commits or none. */
		assert_int_equal(try_room(t, dropped + 1, 0, true), -ENOSPC);
		assert_true(count_of(t, DURABLE) <= 1 + copies + copies + 2);
		assert_int_equal(close_txn(t, false), 0);
		disks_free(&t->disks);
	}
}

/* Only when commits bring nothing more the owner is asked to look for something, and once. */
static void room__is_reclaimed_at_last(void **state)
{
	static uint64_t blocks[SMALL_QUADS];
	struct test *t = *state;
	uint64_t tid;

	make(t, SMALL);
	assert_true(operate(t) > 0);
	assert_int_equal(take_all(t, blocks, SMALL_QUADS), SMALL_QUADS);
	assert_int_equal(h2_txn_sync(t->txn), 0);
	forget_events(t);
	assert_int_equal(try_room(t, 50, 0, true), -ENOSPC);
	assert_int_equal(t->reclaims, 1);
	assert_int_equal(count_of(t, HEADER), 0);
	t->reclaimable = blocks;
	t->reclaimable_count = 100;
	assert_int_equal(try_room(t, 50, 0, true), 0);
	assert_int_equal(t->reclaims, 2);
	assert_int_equal(count_of(t, HEADER), 1);
	/* What waits comes first. */
	tid = h2_txn_tid(t->txn);
	for (unsigned i = 100; i < 200; i++)
		h2_space_drop(t->space, blocks[i], tid - 1, tid);
	assert_int_equal(try_room(t, 150, 0, true), 0);
	assert_int_equal(t->reclaims, 2);
	assert_int_equal(close_txn(t, false), 0);
	/* Nobody is asked where commits for want of room are forbidden. */
	reopen_with(t, (struct h2_txn_options){.hold = true});
	assert_int_equal(try_room(t, SMALL_QUADS, 0, true), -ENOSPC);
	assert_int_equal(t->reclaims, 2);
}

/* ---- commits that are asked for ---- */

/* A commit of nothing is made, but must not be what runs out of room. */
static void commit__is_made_also_of_nothing(void **state)
{
	struct test *t = *state;

	make(t, SMALL);
	assert_int_equal(h2_txn_commit(t->txn), 0);
	assert_int_equal(count_of(t, HEADER), 1);
	atomic_store(&t->need_quads, SMALL_QUADS + 1);
	assert_int_equal(h2_txn_commit(t->txn), 0);
	assert_int_equal(count_of(t, HEADER), 1);
	/* What has changed was let in, so there is room for it. */
	h2_txn_enter(t->txn);
	h2_txn_changed(t->txn);
	h2_txn_leave(t->txn);
	assert_int_equal(h2_txn_commit(t->txn), 0);
	assert_int_equal(count_of(t, HEADER), 2);
	h2_txn_fail(t->txn, -EIO);
	assert_int_equal(h2_txn_commit(t->txn), -EIO);
	assert_int_equal(count_of(t, HEADER), 2);
}

static void *settle_main(void *user)
{
	struct syncer *s = user;

	s->err = h2_txn_settle(s->test->txn);
	s->durable = atomic_load(&s->test->durable_first);
	atomic_store(&s->returned, true);
	return NULL;
}

/* Also operations that have not changed anything yet have ended. */
static void settle__waits_for_running_operations(void **state)
{
	struct test *t = *state;
	struct syncer s = {.test = t};

	make(t, SMALL);
	assert_int_equal(h2_txn_begin(t->txn, &nothing, false), 0);
	assert_int_equal(pthread_create(&s.thread, NULL, settle_main, &s), 0);
	pause_ms(SHORT_MS);
	assert_false(atomic_load(&s.returned));
	atomic_fetch_add(&t->first, 1);
	h2_txn_changed(t->txn);
	atomic_fetch_add(&t->second, 1);
	h2_txn_end(t->txn, &nothing);
	join(&s);
	assert_int_equal(s.err, 0);
	assert_int_equal(s.durable, 1);
}

/* The newest header that the media have. */
static struct h2_volume_header newest_header(struct test *t)
{
	struct h2_volume_header h = header_on_media(t, 0);

	for (unsigned slot = 1; slot < h2_volumes_header_copies(t->disks.volumes); slot++) {
		struct h2_volume_header other = header_on_media(t, slot);

		if (other.mirror_tid > h.mirror_tid)
			h = other;
	}
	return h;
}

static void rotate__brings_dropped_storage_back(void **state)
{
	static const uint64_t sizes[] = {SMALL, 3 * GIB, 5 * GIB, 8 * GIB};
	struct test *t = *state;

	for (unsigned copies = 1; copies <= 4; copies++) {
		struct h2_volume_header known;
		uint64_t blocks[5], free_bytes, tid;

		make(t, sizes[copies - 1]);
		free_bytes = h2_volumes_header(t->disks.volumes)->allocator_free;
		for (unsigned b = 0; b < LENGTH_OF(blocks); b++)
			assert_int_equal(h2_space_alloc(t->space, H2_BLOCKREF_DATA, 16, &blocks[b]),
					 0);
		assert_true(operate(t) > 0);
		assert_int_equal(h2_txn_sync(t->txn), 0);
		tid = h2_txn_tid(t->txn);
		/* 192 KiB are not worth it, 320 KiB are. */
		for (unsigned b = 0; b < LENGTH_OF(blocks); b++) {
			if (b == 3) {
				assert_int_equal(h2_txn_rotate(t->txn), 0);
				assert_int_equal(count_of(t, HEADER), 1);
			}
			h2_space_drop(t->space, blocks[b], tid - 1, tid);
		}
		assert_int_equal(h2_txn_rotate(t->txn), 0);
		assert_int_equal(newest_header(t).allocator_free, free_bytes);
		assert_int_equal(count_of(t, HEADER), 1 + copies + 1);
		h2_txn_get_header(t->txn, &known);
		assert_int_equal(known.mirror_tid, newest_header(t).mirror_tid);
		assert_int_equal(known.allocator_free, free_bytes);
		assert_int_equal(h2_txn_rotate(t->txn), 0);
		assert_int_equal(count_of(t, HEADER), 1 + copies + 1);
		assert_int_equal(close_txn(t, false), 0);
		disks_free(&t->disks);
	}
}

/* Commits of nothing are for times when nothing changes: else there are enough without them. */
static void rotate__is_for_idle_times(void **state)
{
	struct test *t = *state;
	uint64_t blocks[5], soon;
	unsigned copies, headers;

	make_with(t, (const uint64_t[]){8 * GIB}, 1, (struct h2_txn_options){.commit_seconds = 1});
	copies = h2_volumes_header_copies(t->disks.volumes);
	for (unsigned b = 0; b < LENGTH_OF(blocks); b++)
		assert_int_equal(h2_space_alloc(t->space, H2_BLOCKREF_DATA, 16, &blocks[b]), 0);
	assert_true(operate(t) > 0);
	assert_int_equal(h2_txn_sync(t->txn), 0);
	for (unsigned b = 0; b < LENGTH_OF(blocks); b++)
		h2_space_drop(t->space, blocks[b], h2_txn_tid(t->txn) - 1, h2_txn_tid(t->txn));
	assert_true(operate(t) > 0);
	for (unsigned i = 0; i < 500 && count_of(t, DURABLE) < 2; i++)
		pause_ms(10);
	soon = now_ms() + 500;
	pause_ms(SHORT_MS);
	headers = count_of(t, HEADER);
	if (now_ms() < soon) /* else this thread has slept over the next time */
		assert_int_equal(headers, 2);
	for (unsigned i = 0; i < 500 && count_of(t, HEADER) < 1 + copies + 1; i++)
		pause_ms(10);
	pause_ms(SHORT_MS);
	assert_int_equal(count_of(t, HEADER), 1 + copies + 1);
	assert_int_equal(close_txn(t, false), 0);
}

/* ---- closing ---- */

static void close__commits_what_has_changed(void **state)
{
	struct test *t = *state;

	make(t, SMALL);
	assert_true(operate(t) > 0);
	assert_int_equal(close_txn(t, false), 0);
	assert_int_equal(count_of(t, DURABLE), 1);
	assert_int_equal(header_on_media(t, 0).mirror_tid, 17);
	assert_int_equal(h2_txn_close(NULL, false), 0);
	assert_int_equal(h2_txn_close(NULL, true), 0);
}

static void close__can_forget_it_all(void **state)
{
	struct test *t = *state;
	uint64_t data_off;

	make(t, SMALL);
	assert_int_equal(h2_space_alloc(t->space, H2_BLOCKREF_DATA, 16, &data_off), 0);
	h2_space_drop(t->space, data_off, 17, 17);
	assert_true(operate(t) > 0);
	assert_int_equal(close_txn(t, true), 0);
	assert_int_equal(t->count, 0);
	assert_int_equal(header_on_media(t, 0).mirror_tid, 16);
}

/* What was dropped is free on the media when the filesystem is closed, if it is worth the commits. */
static void close__brings_dropped_storage_back(void **state)
{
	struct test *t = *state;

	for (unsigned i = 0; i < 2; i++) {
		unsigned count = i ? 100 : 1;
		uint64_t blocks[100], free_bytes;
		struct h2_volume_header h = {0};

		make(t, 8 * GIB);
		free_bytes = h2_volumes_header(t->disks.volumes)->allocator_free;
		for (unsigned b = 0; b < count; b++)
			assert_int_equal(h2_space_alloc(t->space, H2_BLOCKREF_DATA, 16, &blocks[b]),
					 0);
		assert_true(operate(t) > 0);
		assert_int_equal(h2_txn_sync(t->txn), 0);
		for (unsigned b = 0; b < count; b++)
			h2_space_drop(t->space, blocks[b], 17, 18);
		assert_true(operate(t) > 0);
		assert_int_equal(close_txn(t, false), 0);
		for (unsigned slot = 0; slot < 4; slot++) {
			struct h2_volume_header other = header_on_media(t, slot);

			if (other.mirror_tid > h.mirror_tid)
				h = other;
		}
		if (i == 0) { /* 64 KiB: not worth it */
			assert_int_equal(h.mirror_tid, 18);
			assert_int_equal(h.allocator_free, free_bytes - QUAD);
		} else {
			assert_int_equal(h.allocator_free, free_bytes);
			assert_true(h.mirror_tid <= 18 + 5);
		}
		disks_free(&t->disks);
	}
}

/* ---- the blocks on their way ---- */

#define AREA_BEGIN (GIB - 4 * MIB) /* the end of the first volume and more of the second */
#define AREA (16 * MIB)
#define AREA_KIBS (AREA / 1024)

struct area {
	uint8_t expected[AREA]; /* what pieces have */
	uint8_t owner[AREA_KIBS];
	uint8_t found[AREA];
};

static void read_area(struct test *t, uint8_t *buf)
{
	assert_int_equal(h2_volumes_read(t->disks.volumes, AREA_BEGIN, buf, 4 * MIB), 0);
	assert_int_equal(h2_volumes_read(t->disks.volumes, GIB, buf + 4 * MIB, AREA - 4 * MIB), 0);
}

/* Put a piece of noise somewhere free; false where there is something. */
static bool add_piece(struct area *a, struct h2_commit_writer *w, uint64_t kib, unsigned kibs,
		      uint64_t seed)
{
	uint8_t *bytes = a->expected + kib * 1024;

	/* Not over the end of the volume, as no block is. */
	if (kib + kibs > AREA_KIBS || (kib < 4096) != (kib + kibs <= 4096))
		return false;
	for (unsigned i = 0; i < kibs; i++) {
		if (a->owner[kib + i])
			return false;
	}
	memset(a->owner + kib, 1, kibs);
	unit_noise(bytes, kibs * 1024, seed);
	assert_int_equal(h2_commit_write(w, AREA_BEGIN + kib * 1024, bytes, kibs * 1024), 0);
	memset(a->found, 0xcc, sizeof(a->found)); /* what was passed was copied */
	return true;
}

/* Pieces are as they were given; other bytes only change behind a piece, up to the next 4 KiB. */
static void writer__writes_pieces_and_no_more(void **state)
{
	static const uint64_t sizes[] = {GIB, 64 * MIB};
	struct test *t = *state;
	struct area *a = unit_alloc(sizeof(*a));
	struct h2_commit_writer w;
	uint64_t random = unit_seed(301);
	uint8_t *old = unit_alloc(AREA);
	unsigned pieces = 0, padded = 0;

	make_with(t, sizes, 2, (struct h2_txn_options){0});
	memset(old, 0xaa, AREA);
	assert_int_equal(h2_volumes_write(t->disks.volumes, AREA_BEGIN, old, 4 * MIB), 0);
	assert_int_equal(h2_volumes_write(t->disks.volumes, GIB, old, AREA - 4 * MIB), 0);
	forget_events(t);
	h2_commit_writer_init(&w, t->disks.volumes);
	for (unsigned i = 0; i < 600; i++)
		pieces += add_piece(a, &w, unit_below(&random, AREA_KIBS),
				    1u << unit_below(&random, 7), i);
	/* Right up to the border of the volumes, and from there on. */
	(void)add_piece(a, &w, 4095, 1, 1000);
	(void)add_piece(a, &w, 4096, 1, 1001);
	assert_int_equal(h2_commit_writer_flush(&w), 0);
	h2_commit_writer_fini(&w);
	read_area(t, a->found);
	for (uint64_t k = 0; k < AREA_KIBS; k++) {
		const uint8_t *found = a->found + k * 1024;

		if (a->owner[k]) {
			assert_memory_equal(found, a->expected + k * 1024, 1024);
		} else if (found[0] == 0) {
			assert_true(k % 4 > 0);
			/* The bytes in front of it are a piece's or padding too. */
			assert_true(a->owner[k - 1] || a->found[(k - 1) * 1024] == 0);
			memset(old, 0, 1024);
			assert_memory_equal(found, old, 1024);
			padded++;
		} else {
			memset(old, 0xaa, 1024);
			assert_memory_equal(found, old, 1024);
		}
	}
	assert_true(pieces > 100);
	assert_true(padded > 10);
	free(old);
	free(a);
}

/* Neighbours go in one write, in the order of their places; ends are those of 4 KiB. */
static void writer__joins_neighbours(void **state)
{
	struct test *t = *state;
	struct h2_commit_writer w;
	uint8_t block[1024] = {1};
	uint64_t end = 0;

	make(t, SMALL);
	h2_commit_writer_init(&w, t->disks.volumes);
	for (unsigned i = 0; i < 255; i++) /* in an order of their own */
		assert_int_equal(
			h2_commit_write(&w, 40 * MIB + i * 77 % 255 * 1024, block, sizeof(block)),
			0);
	assert_int_equal(h2_commit_write(&w, 30 * MIB, block, sizeof(block)), 0);
	assert_int_equal(t->count, 0);
	assert_int_equal(h2_commit_writer_flush(&w), 0);
	h2_commit_writer_fini(&w);
	assert_int_equal(t->count, 2);
	for (unsigned i = 0; i < t->count; i++) {
		assert_int_equal(t->events[i].step, WRITE);
		assert_true(t->events[i].offset >= end);
		end = t->events[i].offset + t->events[i].len;
		assert_int_equal(end % 4096, 0);
	}
	assert_int_equal(t->events[0].len, 4096);
	assert_int_equal(t->events[1].len, 256 * 1024);
}

/* A commit of any size takes little memory: it is written as it comes. */
static void writer__does_not_keep_it_all(void **state)
{
	struct test *t = *state;
	struct h2_commit_writer w;
	uint8_t *block = unit_alloc(65536);

	make(t, SMALL);
	h2_commit_writer_init(&w, t->disks.volumes);
	for (unsigned i = 0; i < 40 * 16; i++) {
		memset(block, (int)i, 65536);
		assert_int_equal(h2_commit_write(&w, 24 * MIB + i * QUAD, block, 65536), 0);
		assert_true(w.bytes <= 17 * MIB);
	}
	assert_true(count_of(t, WRITE) > 0);
	assert_int_equal(h2_commit_writer_flush(&w), 0);
	h2_commit_writer_fini(&w);
	for (unsigned i = 0; i < 40 * 16; i++) {
		assert_int_equal(
			h2_volumes_read(t->disks.volumes, 24 * MIB + i * QUAD, block, 65536), 0);
		assert_int_equal(block[0], (uint8_t)i);
		assert_int_equal(block[65535], (uint8_t)i);
	}
	free(block);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(order__is_that_of_the_spec),
		TEST(order__has_the_freemap_in_the_same_header),
		TEST(tids__follow_each_other),
		TEST(groups__have_sectors_of_their_own),
		TEST(sync__without_changes_does_nothing),
		TEST(gate__waits_for_running_operations),
		TEST(gate__is_closed_while_a_group_is_encoded),
		TEST(gate__is_open_for_the_rest),
		TEST(gate__never_splits_an_operation),
		TEST(sync__of_several_is_one_commit),
		TEST(sync__waits_for_the_running_commit),
		TEST(failure__of_any_call_writes_no_header),
		TEST(failure__of_the_header_is_one),
		TEST(failure__of_the_owner_writes_no_header),
		TEST(failure__of_memory_writes_no_header),
		TEST(failure__that_the_owner_tells_of_is_one),
		TEST(failure__meets_who_waits_at_the_gate),
		TEST(failure__is_told_to_all_who_wait),
		TEST(timer__commits_what_has_changed),
		TEST(timer__can_be_hurried),
		TEST(timer__that_is_none_is_not_hurried),
		TEST(room__keeps_a_reserve_for_removals),
		TEST(room__is_bounded_on_large_volumes),
		TEST(room__is_given_once),
		TEST(room__that_was_refused_is_not_taken),
		TEST(room__is_made_by_a_commit),
		TEST(room__is_made_by_dropped_storage),
		TEST(room__is_reclaimed_at_last),
		TEST(commit__is_made_also_of_nothing),
		TEST(settle__waits_for_running_operations),
		TEST(rotate__brings_dropped_storage_back),
		TEST(rotate__is_for_idle_times),
		TEST(close__commits_what_has_changed),
		TEST(close__can_forget_it_all),
		TEST(close__brings_dropped_storage_back),
		TEST(writer__writes_pieces_and_no_more),
		TEST(writer__joins_neighbours),
		TEST(writer__does_not_keep_it_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
