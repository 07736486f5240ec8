/* The thread pool, base/pool.h. */
#include "unit.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "pool.h"

struct work {
	struct h2_pool *pool;
	atomic_ullong sum;
	atomic_uint runs;
	atomic_bool hold; /* tasks wait while it is set */
	atomic_uint refused;
	unsigned order[16];
	atomic_uint order_count;
};

static void add(void *context, void *task)
{
	struct work *w = context;
	uint64_t n;

	memcpy(&n, task, sizeof(n));
	atomic_fetch_add(&w->sum, n);
	atomic_fetch_add(&w->runs, 1);
}

static void pool__runs_each_task_once(void **state)
{
	struct work w = {0};
	uint64_t expected = 0;

	(void)state;
	assert_int_equal(h2_pool_new(4, sizeof(uint64_t), 64, add, &w, &w.pool), 0);
	for (uint64_t n = 1; n <= 5000; n++) {
		while (!h2_pool_push(w.pool, &n))
			sched_yield();
		expected += n;
	}
	h2_pool_wait(w.pool);
	assert_int_equal(atomic_load(&w.sum), expected);
	assert_int_equal(atomic_load(&w.runs), 5000);
	h2_pool_free(w.pool);
}

/* A task n makes two of n - 1; where the stack is full it does them itself. */
static void split(void *context, void *task)
{
	struct work *w = context;
	unsigned n;

	memcpy(&n, task, sizeof(n));
	atomic_fetch_add(&w->runs, 1);
	for (unsigned i = 0; i < 2 && n > 0; i++) {
		unsigned below = n - 1;

		if (!h2_pool_push(w->pool, &below)) {
			atomic_fetch_add(&w->refused, 1);
			split(context, &below);
		}
	}
}

static void pool__wait_covers_tasks_that_tasks_push(void **state)
{
	(void)state;
	for (unsigned threads = 1; threads <= 3; threads++) {
		struct work w = {0};
		unsigned depth = 10;

		assert_int_equal(h2_pool_new(threads, sizeof(depth), 8, split, &w, &w.pool), 0);
		assert_true(h2_pool_push(w.pool, &depth));
		h2_pool_wait(w.pool);
		assert_int_equal(atomic_load(&w.runs), (1u << 11) - 1);
		h2_pool_free(w.pool);
	}
}

static void hold(void *context, void *task)
{
	struct work *w = context;
	unsigned n;

	memcpy(&n, task, sizeof(n));
	w->order[atomic_fetch_add(&w->order_count, 1)] = n;
	while (atomic_load(&w->hold))
		sched_yield();
}

static void pool__refuses_when_full_and_takes_the_last_first(void **state)
{
	struct work w = {.hold = true};
	unsigned n = 0;

	(void)state;
	assert_int_equal(h2_pool_new(1, sizeof(n), 3, hold, &w, &w.pool), 0);
	assert_true(h2_pool_push(w.pool, &n));
	while (atomic_load(&w.order_count) == 0)
		sched_yield();
	for (n = 1; n <= 3; n++)
		assert_true(h2_pool_push(w.pool, &n));
	assert_false(h2_pool_push(w.pool, &n));
	atomic_store(&w.hold, false);
	h2_pool_wait(w.pool);
	assert_int_equal(atomic_load(&w.order_count), 4);
	assert_int_equal(w.order[1], 3);
	assert_int_equal(w.order[2], 2);
	assert_int_equal(w.order[3], 1);
	h2_pool_free(w.pool);
}

static void pool__free_finishes_what_was_pushed(void **state)
{
	struct work w = {0};

	(void)state;
	assert_int_equal(h2_pool_new(2, sizeof(uint64_t), 100, add, &w, &w.pool), 0);
	for (uint64_t n = 0; n < 100; n++)
		assert_true(h2_pool_push(w.pool, &n));
	h2_pool_free(w.pool);
	assert_int_equal(atomic_load(&w.runs), 100);
}

static void pool__works_with_no_task_and_with_default_threads(void **state)
{
	struct work w = {0};

	(void)state;
	assert_int_equal(h2_pool_new(0, sizeof(uint64_t), 1, add, &w, &w.pool), 0);
	h2_pool_wait(w.pool);
	h2_pool_free(w.pool);
	h2_pool_free(NULL);
	/* More threads than there may be are cut to what there may be. */
	assert_int_equal(h2_pool_new(10000, sizeof(uint64_t), 1, add, &w, &w.pool), 0);
	h2_pool_free(w.pool);
	assert_int_equal(atomic_load(&w.runs), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pool__runs_each_task_once),
		cmocka_unit_test(pool__wait_covers_tasks_that_tasks_push),
		cmocka_unit_test(pool__refuses_when_full_and_takes_the_last_first),
		cmocka_unit_test(pool__free_finishes_what_was_pushed),
		cmocka_unit_test(pool__works_with_no_task_and_with_default_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
