/* The object cache, base/cache.h. */
#include "unit.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

#include "cache.h"

#define SHARDS_MAX 64u /* more than the cache has; limits are told for all shards together */

struct object {
	struct h2_cached cached;
	uint64_t value;
};

static atomic_int alive;

static void free_object(struct h2_cached *cached)
{
	struct object *o = (struct object *)cached;

	assert(o->value != UINT64_MAX);
	o->value = UINT64_MAX;
	free(o);
	atomic_fetch_sub(&alive, 1);
}

static struct h2_cache_key key_of(uint64_t a)
{
	return (struct h2_cache_key){.a = a, .b = a * 7, .kind = 1};
}

static struct object *object_new(uint64_t a, size_t size_bytes)
{
	struct object *o = calloc(1, sizeof(*o));

	assert(o);
	o->cached.key = key_of(a);
	o->cached.size_bytes = size_bytes;
	o->cached.free = free_object;
	o->value = a;
	atomic_fetch_add(&alive, 1);
	return o;
}

static void enter(struct h2_cache *cache, uint64_t a, size_t size_bytes)
{
	h2_cache_put(cache, h2_cache_insert(cache, &object_new(a, size_bytes)->cached, false));
}

static bool has(struct h2_cache *cache, uint64_t a)
{
	struct h2_cache_key key = key_of(a);
	struct h2_cached *o = h2_cache_get(cache, &key);

	h2_cache_put(cache, o);
	return o != NULL;
}

static struct h2_cache *cache_new(size_t limit)
{
	struct h2_cache *cache = h2_cache_new(limit);

	assert_non_null(cache);
	atomic_store(&alive, 0);
	return cache;
}

static void cache__finds_what_was_entered_and_nothing_else(void **state)
{
	struct h2_cache *cache = cache_new(1 << 20);
	struct h2_cache_key keys[] = {
		{.a = 5, .b = 35, .kind = 2},
		{.a = 5, .b = 36, .kind = 1},
		{.a = 4, .b = 35, .kind = 1},
	};
	struct h2_cached *o;

	(void)state;
	enter(cache, 5, 100);
	assert_true(has(cache, 5));
	for (size_t i = 0; i < LENGTH_OF(keys); i++) {
		o = h2_cache_get(cache, &keys[i]);
		assert_null(o);
	}
	h2_cache_free(cache);
	assert_int_equal(atomic_load(&alive), 0);
}

static void cache__second_insert_gives_the_first_object(void **state)
{
	struct h2_cache *cache = cache_new(1 << 20);
	struct h2_cached *first = h2_cache_insert(cache, &object_new(1, 10)->cached, false);
	struct h2_cached *second = h2_cache_insert(cache, &object_new(1, 10)->cached, false);

	(void)state;
	assert_ptr_equal(first, second);
	assert_int_equal(atomic_load(&alive), 1);
	h2_cache_put(cache, first);
	h2_cache_put(cache, second);
	h2_cache_free(cache);
	assert_int_equal(atomic_load(&alive), 0);
}

static void cache__replace_takes_the_place_and_the_old_one_lives_while_referenced(void **state)
{
	struct h2_cache *cache = cache_new(1 << 20);
	struct h2_cached *old = h2_cache_insert(cache, &object_new(1, 10)->cached, false);
	struct h2_cached *fresh = h2_cache_insert(cache, &object_new(1, 10)->cached, true);
	struct h2_cache_key key = key_of(1);
	struct h2_cached *found = h2_cache_get(cache, &key);

	(void)state;
	assert_ptr_not_equal(old, fresh);
	assert_ptr_equal(found, fresh);
	assert_int_equal(((struct object *)old)->value, 1);
	h2_cache_put(cache, found);
	h2_cache_put(cache, fresh);
	assert_int_equal(atomic_load(&alive), 2);
	h2_cache_put(cache, old);
	assert_int_equal(atomic_load(&alive), 1);
	/* An old one that nobody refers to goes at once. */
	h2_cache_put(cache, h2_cache_insert(cache, &object_new(1, 10)->cached, true));
	assert_int_equal(atomic_load(&alive), 1);
	h2_cache_free(cache);
	assert_int_equal(atomic_load(&alive), 0);
}

static void cache__drops_unreferenced_objects_above_the_limit(void **state)
{
	struct h2_cache *cache = cache_new(64000);
	struct h2_cache_stats stats;

	(void)state;
	for (uint64_t a = 0; a < 2000; a++)
		enter(cache, a, 1000);
	h2_cache_get_stats(cache, &stats);
	assert_true(stats.bytes <= 64000);
	assert_true(stats.objects > 0);
	assert_int_equal(stats.objects, atomic_load(&alive));
	assert_int_equal(stats.bytes, stats.objects * 1000);
	assert_true(has(cache, 1999));
	assert_false(has(cache, 0));
	h2_cache_free(cache);
	assert_int_equal(atomic_load(&alive), 0);
}

static void cache__keeps_what_was_used_last(void **state)
{
	struct h2_cache *cache = cache_new(SHARDS_MAX * 10000);

	(void)state;
	enter(cache, 0, 100);
	for (uint64_t a = 1; a < 100000; a++) {
		enter(cache, a, 100);
		assert_true(has(cache, 0));
	}
	assert_false(has(cache, 1));
	h2_cache_free(cache);
}

static void cache__keeps_referenced_objects_whatever_the_limit(void **state)
{
	struct h2_cache *cache = cache_new(0);
	struct h2_cached *held[50];
	struct h2_cache_stats stats;

	(void)state;
	for (uint64_t a = 0; a < LENGTH_OF(held); a++)
		held[a] = h2_cache_insert(cache, &object_new(a, 1000)->cached, false);
	h2_cache_shrink(cache);
	h2_cache_get_stats(cache, &stats);
	assert_int_equal(stats.objects, LENGTH_OF(held));
	for (uint64_t a = 0; a < LENGTH_OF(held); a++) {
		assert_true(has(cache, a));
		assert_int_equal(((struct object *)held[a])->value, a);
		h2_cache_put(cache, held[a]);
		assert_false(has(cache, a));
	}
	assert_int_equal(atomic_load(&alive), 0);
	h2_cache_free(cache);
}

static void cache__gives_up_what_one_alone_refers_to(void **state)
{
	struct h2_cache *cache = cache_new(1 << 20);
	struct h2_cached *mine = h2_cache_insert(cache, &object_new(1, 10)->cached, false);
	struct h2_cached *shared = h2_cache_insert(cache, &object_new(2, 10)->cached, false);
	struct h2_cache_stats stats;

	(void)state;
	h2_cache_ref(cache, shared);
	assert_false(h2_cache_take(cache, shared));
	assert_true(has(cache, 2));
	assert_true(h2_cache_take(cache, mine));
	assert_false(has(cache, 1));
	h2_cache_get_stats(cache, &stats);
	assert_int_equal(stats.objects, 1);
	assert_int_equal(stats.bytes, 10);
	/* It is an object like one that was never entered. */
	mine->key = key_of(3);
	h2_cache_put(cache, h2_cache_insert(cache, mine, false));
	assert_true(has(cache, 3));
	h2_cache_put(cache, shared);
	/* One that was replaced has no place in the index, but can be taken all the same. */
	h2_cache_put(cache, h2_cache_insert(cache, &object_new(2, 10)->cached, true));
	assert_true(h2_cache_take(cache, shared));
	assert_true(has(cache, 2));
	shared->free(shared);
	h2_cache_free(cache);
	assert_int_equal(atomic_load(&alive), 0);
}

static void cache__ref_needs_as_many_puts(void **state)
{
	struct h2_cache *cache = cache_new(0);
	struct h2_cached *o = h2_cache_insert(cache, &object_new(1, 1)->cached, false);

	(void)state;
	h2_cache_ref(cache, o);
	h2_cache_put(cache, o);
	assert_int_equal(atomic_load(&alive), 1);
	h2_cache_put(cache, o);
	assert_int_equal(atomic_load(&alive), 0);
	h2_cache_put(cache, NULL);
	h2_cache_free(cache);
	h2_cache_free(NULL);
}

static void cache__shrink_drops_all_that_is_idle(void **state)
{
	struct h2_cache *cache = cache_new(1 << 20);
	struct h2_cache_stats stats;

	(void)state;
	for (uint64_t a = 0; a < 500; a++)
		enter(cache, a, 10);
	h2_cache_shrink(cache);
	h2_cache_get_stats(cache, &stats);
	assert_int_equal(stats.objects, 0);
	assert_int_equal(stats.bytes, 0);
	assert_int_equal(atomic_load(&alive), 0);
	h2_cache_free(cache);
}

static void cache__counts_hits_and_misses(void **state)
{
	struct h2_cache *cache = cache_new(1 << 20);
	struct h2_cache_stats stats;

	(void)state;
	enter(cache, 1, 10);
	assert_true(has(cache, 1));
	assert_true(has(cache, 1));
	assert_false(has(cache, 2));
	h2_cache_get_stats(cache, &stats);
	assert_int_equal(stats.hits, 2);
	assert_int_equal(stats.misses, 1);
	h2_cache_free(cache);
}

#define THREADS 4u
#define ROUNDS 20000u
#define KEYS 300u

struct churn {
	struct h2_cache *cache;
	uint64_t seed;
	unsigned wrong; /* objects that were not what their key says */
};

static uint64_t next_random(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return *seed >> 33;
}

static void *churn(void *arg)
{
	struct churn *c = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t a = next_random(&c->seed) % KEYS;
		struct h2_cache_key key = key_of(a);
		struct h2_cached *o = h2_cache_get(c->cache, &key);

		if (!o)
			o = h2_cache_insert(c->cache, &object_new(a, 100)->cached,
					    next_random(&c->seed) % 8 == 0);
		if (((struct object *)o)->value != a)
			c->wrong++;
		if (next_random(&c->seed) % 4 == 0) {
			h2_cache_ref(c->cache, o);
			h2_cache_put(c->cache, o);
		}
		if (next_random(&c->seed) % 1000 == 0)
			h2_cache_shrink(c->cache);
		h2_cache_put(c->cache, o);
	}
	return NULL;
}

static void cache__serves_threads_at_once(void **state)
{
	struct h2_cache *cache = cache_new(KEYS * 100 / 3);
	struct churn work[THREADS];
	pthread_t threads[THREADS];

	(void)state;
	for (unsigned t = 0; t < THREADS; t++) {
		work[t] = (struct churn){.cache = cache, .seed = t + 1};
		assert_int_equal(pthread_create(&threads[t], NULL, churn, &work[t]), 0);
	}
	for (unsigned t = 0; t < THREADS; t++) {
		pthread_join(threads[t], NULL);
		assert_int_equal(work[t].wrong, 0);
	}
	h2_cache_free(cache);
	assert_int_equal(atomic_load(&alive), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cache__finds_what_was_entered_and_nothing_else),
		cmocka_unit_test(cache__second_insert_gives_the_first_object),
		cmocka_unit_test(
			cache__replace_takes_the_place_and_the_old_one_lives_while_referenced),
		cmocka_unit_test(cache__drops_unreferenced_objects_above_the_limit),
		cmocka_unit_test(cache__keeps_what_was_used_last),
		cmocka_unit_test(cache__keeps_referenced_objects_whatever_the_limit),
		cmocka_unit_test(cache__gives_up_what_one_alone_refers_to),
		cmocka_unit_test(cache__ref_needs_as_many_puts),
		cmocka_unit_test(cache__shrink_drops_all_that_is_idle),
		cmocka_unit_test(cache__counts_hits_and_misses),
		cmocka_unit_test(cache__serves_threads_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
