/*
 * A cache of objects that can be made again at any time, with a bound on their bytes.
 *
 * An object is embedded in its owner's structure, is found by (kind, a, b), and stays in memory
 * while anyone holds a reference. Objects without references are dropped when their bytes pass the limit,
 * first those that were not found again since they were entered, or since this was last looked at, the
 * oldest of them first; referenced ones may pass the limit.
 * The cache is divided into shards, each with a lock of its own, so that readers on different
 * threads rarely meet.
 *
 * An object's contents are constant from h2_cache_insert() on: readers take no lock.
 */
#ifndef H2_BASE_CACHE_H
#define H2_BASE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct h2_cache;

struct h2_cache_key {
	uint64_t a;
	uint64_t b;
	unsigned kind;
};

struct h2_cached {
	/* set by the owner before h2_cache_insert(), then constant */
	struct h2_cache_key key;
	size_t size_bytes;                /* what the object costs */
	void (*free)(struct h2_cached *); /* called without locks, once no one refers to it */

	/* under the shard's lock */
	struct h2_cached *hash_next;
	struct h2_cached *lru_prev, *lru_next; /* NULL: not on the list */
	uint32_t refs;
	bool hashed;
	bool used_again;
};

struct h2_cache_stats {
	uint64_t hits;
	uint64_t misses;
	size_t bytes; /* of all objects in memory */
	size_t objects;
};

/* limit_bytes: bound on the bytes of unreferenced objects. Returns NULL without memory. */
struct h2_cache *h2_cache_new(size_t limit_bytes);

/* Drop everything. No object may be referenced any more. */
void h2_cache_free(struct h2_cache *cache);

/* Find an object and take a reference; NULL where there is none. */
struct h2_cached *h2_cache_get(struct h2_cache *cache, const struct h2_cache_key *key);

/*
 * Enter an object and return it with a reference. Where another thread entered one with the same
 * key first, obj is freed and the other is returned instead, with a reference; replace drops the
 * other one from the index in obj's favour.
 */
struct h2_cached *h2_cache_insert(struct h2_cache *cache, struct h2_cached *obj, bool replace);

/*
 * Drop an object that nobody will look for any more, if it is there; a referenced one goes with its last
 * reference.
 */
void h2_cache_drop(struct h2_cache *cache, const struct h2_cache_key *key);

/*
 * Take an object out of the cache if the caller's reference is the only one: true, and it is the caller's
 * own from then on, to change or to enter again. Else nothing happens.
 */
bool h2_cache_take(struct h2_cache *cache, struct h2_cached *obj);

/* Take another reference to an object that the caller already refers to. */
void h2_cache_ref(struct h2_cache *cache, struct h2_cached *obj);

/* Give a reference back. NULL is allowed. */
void h2_cache_put(struct h2_cache *cache, struct h2_cached *obj);

/* How many references there are; the caller has one. */
unsigned h2_cache_refs(struct h2_cache *cache, struct h2_cached *obj);

/* Drop all unreferenced objects. */
void h2_cache_shrink(struct h2_cache *cache);

void h2_cache_get_stats(struct h2_cache *cache, struct h2_cache_stats *stats);

#endif
