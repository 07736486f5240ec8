/*
 * The object cache; see cache.h.
 *
 * A shard has a chained hash table that grows with its objects, and a list of those that may be dropped,
 * oldest first. Finding an object leaves the list alone: its neighbours there would have to be brought
 * into the processor's cache, and that is most of what finding costs. Instead it is marked, and when its
 * turn to be dropped comes it gets another one, at the end of the list; one that is in use then leaves the
 * list until the last reference is given back.
 *
 * Invariants: an object without references is on the list exactly if it is hashed; one that is not hashed
 * is not on the list, belongs to whoever refers to it, and dies with the last reference.
 */
#include "cache.h"

#include <assert.h>
#include <stdlib.h>

#include "lock.h"

#define SHARDS 16u
#define BUCKETS_MIN 64u

struct shard {
	struct h2_mutex lock;
	/* under lock */
	struct h2_cached **buckets; /* power of two of them */
	size_t bucket_count;
	size_t object_count;
	size_t bytes;         /* of all hashed objects */
	size_t idle_bytes;    /* of the hashed objects without references */
	struct h2_cached lru; /* head: lru_next is the first to go */
	uint64_t hits, misses;
};

struct h2_cache {
	size_t limit_bytes; /* set at new, then constant: per shard */
	struct shard shards[SHARDS];
};

static uint64_t key_hash(const struct h2_cache_key *key)
{
	uint64_t h = key->a * UINT64_C(0x9e3779b97f4a7c15);

	h ^= h >> 32;
	h = (h + key->b + key->kind) * UINT64_C(0xd6e8feb86659fd93);
	return h ^ h >> 32;
}

static bool key_equal(const struct h2_cache_key *x, const struct h2_cache_key *y)
{
	return x->a == y->a && x->b == y->b && x->kind == y->kind;
}

static struct shard *shard_of(struct h2_cache *cache, uint64_t hash)
{
	return &cache->shards[hash % SHARDS];
}

static struct h2_cached **bucket_of(struct shard *s, uint64_t hash)
{
	return &s->buckets[(hash / SHARDS) & (s->bucket_count - 1)];
}

static void lru_remove_locked(struct h2_cached *obj)
{
	obj->lru_prev->lru_next = obj->lru_next;
	obj->lru_next->lru_prev = obj->lru_prev;
	obj->lru_prev = obj->lru_next = NULL;
}

static void lru_append_locked(struct shard *s, struct h2_cached *obj)
{
	obj->lru_prev = s->lru.lru_prev;
	obj->lru_next = &s->lru;
	s->lru.lru_prev->lru_next = obj;
	s->lru.lru_prev = obj;
}

static void ref_locked(struct shard *s, struct h2_cached *obj)
{
	obj->used_again = true;
	if (obj->refs++ == 0)
		s->idle_bytes -= obj->size_bytes;
}

static struct h2_cached *find_locked(struct shard *s, uint64_t hash, const struct h2_cache_key *key)
{
	struct h2_cached *obj = *bucket_of(s, hash);

	while (obj && !key_equal(&obj->key, key))
		obj = obj->hash_next;
	return obj;
}

static void unhash_locked(struct shard *s, struct h2_cached *obj)
{
	struct h2_cached **link = bucket_of(s, key_hash(&obj->key));

	while (*link != obj)
		link = &(*link)->hash_next;
	*link = obj->hash_next;
	obj->hash_next = NULL;
	obj->hashed = false;
	if (obj->lru_next)
		lru_remove_locked(obj);
	if (obj->refs == 0)
		s->idle_bytes -= obj->size_bytes;
	s->object_count--;
	s->bytes -= obj->size_bytes;
}

/* Twice as many buckets. Without memory the chains just stay longer. */
static void grow_locked(struct shard *s)
{
	size_t count = s->bucket_count * 2;
	struct h2_cached **old = s->buckets;
	size_t old_count = s->bucket_count;
	struct h2_cached **buckets = calloc(count, sizeof(*buckets));

	if (!buckets)
		return;
	s->buckets = buckets;
	s->bucket_count = count;
	for (size_t i = 0; i < old_count; i++) {
		struct h2_cached *obj = old[i];

		while (obj) {
			struct h2_cached *next = obj->hash_next;
			struct h2_cached **link = bucket_of(s, key_hash(&obj->key));

			obj->hash_next = *link;
			*link = obj;
			obj = next;
		}
	}
	free(old);
}

/* Take idle objects out until the rest fits; returns them chained by hash_next. */
static struct h2_cached *evict_locked(struct shard *s, size_t limit_bytes)
{
	struct h2_cached *victims = NULL;

	while (s->idle_bytes > limit_bytes) {
		struct h2_cached *obj = s->lru.lru_next;

		assert(obj != &s->lru);
		if (obj->refs > 0) {
			lru_remove_locked(obj);
		} else if (obj->used_again) {
			obj->used_again = false;
			lru_remove_locked(obj);
			lru_append_locked(s, obj);
		} else {
			unhash_locked(s, obj);
			obj->hash_next = victims;
			victims = obj;
		}
	}
	return victims;
}

static void free_chain(struct h2_cached *obj)
{
	while (obj) {
		struct h2_cached *next = obj->hash_next;

		obj->free(obj);
		obj = next;
	}
}

struct h2_cache *h2_cache_new(size_t limit_bytes)
{
	struct h2_cache *cache = calloc(1, sizeof(*cache));

	if (!cache)
		return NULL;
	cache->limit_bytes = limit_bytes / SHARDS;
	for (unsigned i = 0; i < SHARDS; i++) {
		struct shard *s = &cache->shards[i];

		h2_mutex_init(&s->lock, H2_RANK_CACHE);
		s->lru.lru_next = s->lru.lru_prev = &s->lru;
		s->bucket_count = BUCKETS_MIN;
		s->buckets = calloc(BUCKETS_MIN, sizeof(struct h2_cached *));
		if (!s->buckets) {
			for (unsigned j = 0; j <= i; j++) {
				free(cache->shards[j].buckets);
				h2_mutex_fini(&cache->shards[j].lock);
			}
			free(cache);
			return NULL;
		}
	}
	return cache;
}

void h2_cache_free(struct h2_cache *cache)
{
	if (!cache)
		return;
	h2_cache_shrink(cache);
	for (unsigned i = 0; i < SHARDS; i++) {
		assert(cache->shards[i].object_count == 0);
		free(cache->shards[i].buckets);
		h2_mutex_fini(&cache->shards[i].lock);
	}
	free(cache);
}

struct h2_cached *h2_cache_get(struct h2_cache *cache, const struct h2_cache_key *key)
{
	uint64_t hash = key_hash(key);
	struct shard *s = shard_of(cache, hash);
	struct h2_cached *obj;

	h2_mutex_lock(&s->lock);
	obj = find_locked(s, hash, key);
	if (obj) {
		ref_locked(s, obj);
		s->hits++;
	} else {
		s->misses++;
	}
	h2_mutex_unlock(&s->lock);
	return obj;
}

struct h2_cached *h2_cache_insert(struct h2_cache *cache, struct h2_cached *obj, bool replace)
{
	uint64_t hash = key_hash(&obj->key);
	struct shard *s = shard_of(cache, hash);
	struct h2_cached *loser = NULL, *victims;
	struct h2_cached *other;

	h2_mutex_lock(&s->lock);
	other = find_locked(s, hash, &obj->key);
	if (other && !replace) {
		ref_locked(s, other);
		h2_mutex_unlock(&s->lock);
		obj->free(obj);
		return other;
	}
	if (other) {
		if (other->refs == 0)
			loser = other;
		unhash_locked(s, other);
	}
	if (s->object_count >= s->bucket_count / 2)
		grow_locked(s);
	obj->refs = 1;
	obj->hashed = true;
	obj->used_again = false;
	obj->lru_prev = obj->lru_next = NULL;
	obj->hash_next = *bucket_of(s, hash);
	*bucket_of(s, hash) = obj;
	s->object_count++;
	s->bytes += obj->size_bytes;
	victims = evict_locked(s, cache->limit_bytes);
	h2_mutex_unlock(&s->lock);
	if (loser)
		loser->free(loser);
	free_chain(victims);
	return obj;
}

void h2_cache_drop(struct h2_cache *cache, const struct h2_cache_key *key)
{
	uint64_t hash = key_hash(key);
	struct shard *s = shard_of(cache, hash);
	struct h2_cached *obj;
	bool idle = false;

	h2_mutex_lock(&s->lock);
	obj = find_locked(s, hash, key);
	if (obj) {
		idle = obj->refs == 0;
		unhash_locked(s, obj);
	}
	h2_mutex_unlock(&s->lock);
	if (idle)
		obj->free(obj);
}

bool h2_cache_take(struct h2_cache *cache, struct h2_cached *obj)
{
	struct shard *s = shard_of(cache, key_hash(&obj->key));
	bool alone;

	h2_mutex_lock(&s->lock);
	alone = obj->refs == 1;
	if (alone) {
		if (obj->hashed)
			unhash_locked(s, obj);
		obj->refs = 0;
	}
	h2_mutex_unlock(&s->lock);
	return alone;
}

void h2_cache_ref(struct h2_cache *cache, struct h2_cached *obj)
{
	struct shard *s = shard_of(cache, key_hash(&obj->key));

	h2_mutex_lock(&s->lock);
	assert(obj->refs > 0);
	obj->refs++;
	h2_mutex_unlock(&s->lock);
}

void h2_cache_put(struct h2_cache *cache, struct h2_cached *obj)
{
	struct shard *s;
	struct h2_cached *victims = NULL;

	if (!obj)
		return;
	s = shard_of(cache, key_hash(&obj->key));
	h2_mutex_lock(&s->lock);
	assert(obj->refs > 0);
	if (--obj->refs == 0) {
		if (obj->hashed) {
			s->idle_bytes += obj->size_bytes;
			if (!obj->lru_next)
				lru_append_locked(s, obj);
			victims = evict_locked(s, cache->limit_bytes);
		} else {
			obj->hash_next = NULL;
			victims = obj;
		}
	}
	h2_mutex_unlock(&s->lock);
	free_chain(victims);
}

unsigned h2_cache_refs(struct h2_cache *cache, struct h2_cached *obj)
{
	struct shard *s = shard_of(cache, key_hash(&obj->key));
	unsigned refs;

	h2_mutex_lock(&s->lock);
	refs = obj->refs;
	h2_mutex_unlock(&s->lock);
	return refs;
}

void h2_cache_shrink(struct h2_cache *cache)
{
	for (unsigned i = 0; i < SHARDS; i++) {
		struct shard *s = &cache->shards[i];
		struct h2_cached *victims;

		h2_mutex_lock(&s->lock);
		victims = evict_locked(s, 0);
		h2_mutex_unlock(&s->lock);
		free_chain(victims);
	}
}

void h2_cache_get_stats(struct h2_cache *cache, struct h2_cache_stats *stats)
{
	*stats = (struct h2_cache_stats){0};
	for (unsigned i = 0; i < SHARDS; i++) {
		struct shard *s = &cache->shards[i];

		h2_mutex_lock(&s->lock);
		stats->hits += s->hits;
		stats->misses += s->misses;
		stats->bytes += s->bytes;
		stats->objects += s->object_count;
		h2_mutex_unlock(&s->lock);
	}
}
