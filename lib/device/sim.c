/*
 * The simulated disk; see sim.h.
 *
 * The contents are two sparse maps of 4 KiB pages. The durable map is what the media hold; the
 * cached map has a whole page for each page that a pending write touches, so that a read looks
 * there first. The log has the pending writes in their order, with their bytes.
 *
 * Invariants: a page is in the cached map exactly if a pending write touches it, and it equals the
 * durable page with those writes applied. So neither a flush nor a cut needs memory: both turn the
 * cached pages into durable ones.
 *
 * Locks: one mutex covers all members of a disk; nothing else is locked, read or called with it
 * held but the caller's function that decides the fates at a cut.
 */
#include "sim.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lock.h"

#define PAGE_SIZE 4096u
#define BUCKETS_MIN 64u
#define SECTOR_MIN 512u
#define OPS 3u

struct page {
	struct page *next;
	uint64_t number; /* offset / PAGE_SIZE */
	uint8_t bytes[PAGE_SIZE];
};

struct page_map {
	struct page **buckets; /* power of two of them */
	size_t bucket_count;
	size_t page_count;
};

struct pending {
	uint64_t offset;
	size_t len;
	bool *keep; /* room for the flags of a torn write, behind bytes */
	uint8_t bytes[];
};

struct fault {
	enum h2_sim_fault_kind kind;
	uint64_t first; /* calls before it strikes */
	uint64_t count; /* calls that it strikes; 0: no fault */
	int error;
};

struct h2_sim {
	_Atomic uint64_t size;

	struct h2_mutex lock;
	/* under lock */
	struct page_map durable;
	struct page_map cached;
	struct pending **log;
	size_t log_count, log_room;
	struct fault faults[OPS];
	struct h2_sim_stats stats; /* but for pending */
	uint64_t power_cycle;      /* counts cuts: devices of an earlier one are dead */
	unsigned open_count;
	bool gone;
};

struct sim_device {
	struct h2_device dev;
	struct h2_sim *sim;
	uint64_t power_cycle;
};

/* ---- page maps ---- */

static bool map_init(struct page_map *map)
{
	*map = (struct page_map){
		.buckets = calloc(BUCKETS_MIN, sizeof(struct page *)),
		.bucket_count = BUCKETS_MIN,
	};
	return map->buckets;
}

static void map_fini(struct page_map *map)
{
	for (size_t i = 0; map->buckets && i < map->bucket_count; i++) {
		while (map->buckets[i]) {
			struct page *page = map->buckets[i];

			map->buckets[i] = page->next;
			free(page);
		}
	}
	free(map->buckets);
}

/* The link that points to the page of that number, or to where its chain ends. */
static struct page **map_link(const struct page_map *map, uint64_t number)
{
	uint64_t hash = number * UINT64_C(0x9e3779b97f4a7c15);
	struct page **link = &map->buckets[(hash >> 32) & (map->bucket_count - 1)];

	while (*link && (*link)->number != number)
		link = &(*link)->next;
	return link;
}

static struct page *map_find(const struct page_map *map, uint64_t number)
{
	return *map_link(map, number);
}

/* Four times as many buckets. Without memory the chains just stay longer. */
static void map_grow(struct page_map *map)
{
	struct page_map bigger = {
		.buckets = calloc(map->bucket_count * 4, sizeof(struct page *)),
		.bucket_count = map->bucket_count * 4,
		.page_count = map->page_count,
	};

	if (!bigger.buckets)
		return;
	for (size_t i = 0; i < map->bucket_count; i++) {
		struct page *page = map->buckets[i];

		while (page) {
			struct page *next = page->next;

			page->next = NULL;
			*map_link(&bigger, page->number) = page;
			page = next;
		}
	}
	free(map->buckets);
	*map = bigger;
}

/* Enter a page, in place of one that has the same number. */
static void map_insert(struct page_map *map, struct page *page)
{
	struct page **link = map_link(map, page->number);

	if (*link) {
		struct page *old = *link;

		page->next = old->next;
		*link = page;
		free(old);
		return;
	}
	page->next = NULL;
	*link = page;
	if (++map->page_count > map->bucket_count)
		map_grow(map);
}

static struct page *page_new(uint64_t number, const struct page *model)
{
	struct page *page = malloc(sizeof(*page));

	if (!page)
		return NULL;
	page->next = NULL;
	page->number = number;
	if (model)
		memcpy(page->bytes, model->bytes, sizeof(page->bytes));
	else
		memset(page->bytes, 0, sizeof(page->bytes));
	return page;
}

/* Copies of all pages into an empty map. Returns false without memory. */
static bool map_copy(struct page_map *map, const struct page_map *from)
{
	for (size_t i = 0; i < from->bucket_count; i++) {
		for (const struct page *page = from->buckets[i]; page; page = page->next) {
			struct page *copy = page_new(page->number, page);

			if (!copy)
				return false;
			map_insert(map, copy);
		}
	}
	return true;
}

/* Take one page out of the map; NULL when it is empty. *bucket begins at 0 and is the memory. */
static struct page *map_take_any(struct page_map *map, size_t *bucket)
{
	while (*bucket < map->bucket_count) {
		struct page *page = map->buckets[*bucket];

		if (page) {
			map->buckets[*bucket] = page->next;
			map->page_count--;
			return page;
		}
		++*bucket;
	}
	return NULL;
}

/* ---- ranges of bytes over pages ---- */

/* The part of a range that lies in one page. */
struct span {
	uint64_t number; /* of the page */
	size_t in_page;  /* where it begins there */
	size_t at;       /* where it begins in the range */
	size_t len;
};

/* Step through the range; begin with len and at 0. Returns false at its end. */
static bool span_next(uint64_t offset, size_t len, struct span *s)
{
	uint64_t pos;

	s->at += s->len;
	if (s->at >= len)
		return false;
	pos = offset + s->at;
	s->number = pos / PAGE_SIZE;
	s->in_page = (size_t)(pos % PAGE_SIZE);
	s->len = PAGE_SIZE - s->in_page;
	if (s->len > len - s->at)
		s->len = len - s->at;
	return true;
}

/* Store into pages that exist. */
static void store(struct page_map *map, uint64_t offset, const uint8_t *bytes, size_t len)
{
	struct span s = {0};

	while (span_next(offset, len, &s)) {
		struct page *page = map_find(map, s.number);

		assert(page);
		memcpy(page->bytes + s.in_page, bytes + s.at, s.len);
	}
}

/* Read through the first map that has the page; over may be NULL. */
static void load(const struct page_map *over, const struct page_map *map, uint64_t offset,
		 uint8_t *bytes, size_t len)
{
	struct span s = {0};

	while (span_next(offset, len, &s)) {
		const struct page *page = over ? map_find(over, s.number) : NULL;

		if (!page)
			page = map_find(map, s.number);
		if (page)
			memcpy(bytes + s.at, page->bytes + s.in_page, s.len);
		else
			memset(bytes + s.at, 0, s.len);
	}
}

/* See that the map has all pages of the range, made like those of model (may be NULL). */
static int reserve(struct page_map *map, const struct page_map *model, uint64_t offset, size_t len)
{
	struct span s = {0};

	while (span_next(offset, len, &s)) {
		struct page *page;

		if (map_find(map, s.number))
			continue;
		page = page_new(s.number, model ? map_find(model, s.number) : NULL);
		if (!page)
			return -ENOMEM;
		map_insert(map, page);
	}
	return 0;
}

/* ---- the log ---- */

static size_t flags_max(size_t len)
{
	return len / SECTOR_MIN + 2; /* the first and the last sector may be touched in part */
}

static struct pending *pending_new(uint64_t offset, const void *bytes, size_t len)
{
	struct pending *p = malloc(sizeof(*p) + len + flags_max(len) * sizeof(bool));

	if (!p)
		return NULL;
	p->offset = offset;
	p->len = len;
	p->keep = (bool *)(p->bytes + len);
	memcpy(p->bytes, bytes, len);
	return p;
}

static bool log_make_room(struct h2_sim *sim)
{
	size_t room = sim->log_room ? sim->log_room * 2 : 64;
	struct pending **log;

	if (sim->log_count < sim->log_room)
		return true;
	log = realloc(sim->log, room * sizeof(struct pending *));
	if (!log)
		return false;
	sim->log = log;
	sim->log_room = room;
	return true;
}

static void log_clear(struct h2_sim *sim)
{
	for (size_t i = 0; i < sim->log_count; i++)
		free(sim->log[i]);
	sim->log_count = 0;
}

/* Make a write pending. Returns 0, or -ENOMEM with the cached contents as they were. */
static int write_locked(struct h2_sim *sim, uint64_t offset, const void *bytes, size_t len)
{
	struct pending *p;

	assert(h2_mutex_held(&sim->lock));
	if (len == 0)
		return 0;
	if (!log_make_room(sim))
		return -ENOMEM;
	p = pending_new(offset, bytes, len);
	if (!p)
		return -ENOMEM;
	/* Pages that were made before memory ran out equal the durable ones: they do no harm. */
	if (reserve(&sim->cached, &sim->durable, offset, len)) {
		free(p);
		return -ENOMEM;
	}
	store(&sim->cached, offset, p->bytes, len);
	sim->log[sim->log_count++] = p;
	return 0;
}

static void flush_locked(struct h2_sim *sim)
{
	struct page *page;
	size_t bucket = 0;

	assert(h2_mutex_held(&sim->lock));
	while ((page = map_take_any(&sim->cached, &bucket)))
		map_insert(&sim->durable, page);
	log_clear(sim);
}

/* ---- faults ---- */

/* The fault that strikes this call, or NULL. */
static const struct fault *strike_locked(struct h2_sim *sim, enum h2_sim_op op)
{
	struct fault *fault = &sim->faults[op];

	assert(h2_mutex_held(&sim->lock));
	if (fault->count == 0)
		return NULL;
	if (fault->first > 0) {
		fault->first--;
		return NULL;
	}
	if (fault->count != UINT64_MAX)
		fault->count--;
	return fault;
}

static uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static void flip_bit(uint8_t *bytes, size_t len, uint64_t seed)
{
	uint64_t bit;

	if (len == 0)
		return;
	bit = random_next(&seed) % ((uint64_t)len * 8);
	bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
}

/* ---- the device ---- */

static bool dead_locked(const struct sim_device *d)
{
	return d->sim->gone || d->power_cycle != d->sim->power_cycle;
}

static int read_locked(struct sim_device *d, uint64_t offset, uint8_t *buf, size_t len)
{
	struct h2_sim *sim = d->sim;
	const struct fault *fault;

	sim->stats.reads++;
	if (dead_locked(d))
		return -ENXIO;
	fault = strike_locked(sim, H2_SIM_READ);
	if (fault && fault->kind == H2_SIM_FAIL)
		return fault->error;
	if (fault && fault->kind == H2_SIM_SHORT) {
		load(&sim->cached, &sim->durable, offset, buf, len / 2);
		return fault->error;
	}
	load(&sim->cached, &sim->durable, offset, buf, len);
	if (fault)
		flip_bit(buf, len, sim->stats.reads);
	return 0;
}

static int sim_read(struct h2_device *dev, uint64_t offset, void *buf, size_t len)
{
	struct sim_device *d = (struct sim_device *)dev;
	int err;

	h2_mutex_lock(&d->sim->lock);
	err = read_locked(d, offset, buf, len);
	h2_mutex_unlock(&d->sim->lock);
	return err;
}

static int device_write_locked(struct sim_device *d, uint64_t offset, const void *buf, size_t len)
{
	struct h2_sim *sim = d->sim;
	const struct fault *fault;
	int err;

	sim->stats.writes++;
	if (dead_locked(d))
		return -ENXIO;
	fault = strike_locked(sim, H2_SIM_WRITE);
	if (fault && fault->kind == H2_SIM_FAIL)
		return fault->error;
	err = write_locked(sim, offset, buf, fault ? len / 2 : len);
	return fault && !err ? fault->error : err;
}

static int sim_write(struct h2_device *dev, uint64_t offset, const void *buf, size_t len)
{
	struct sim_device *d = (struct sim_device *)dev;
	int err;

	h2_mutex_lock(&d->sim->lock);
	err = device_write_locked(d, offset, buf, len);
	h2_mutex_unlock(&d->sim->lock);
	return err;
}

/* What is discarded may become anything: it is written over. */
static int sim_discard(struct h2_device *dev, uint64_t offset, uint64_t len)
{
	uint8_t noise[4096];
	int err = 0;

	memset(noise, 0xdd, sizeof(noise));
	for (uint64_t at = 0; at < len && !err; at += sizeof(noise))
		err = sim_write(dev, offset + at, noise,
				len - at < sizeof(noise) ? (size_t)(len - at) : sizeof(noise));
	return err;
}

static int sim_flush(struct h2_device *dev)
{
	struct sim_device *d = (struct sim_device *)dev;
	struct h2_sim *sim = d->sim;
	int err = 0;

	h2_mutex_lock(&sim->lock);
	sim->stats.flushes++;
	if (dead_locked(d)) {
		err = -ENXIO;
	} else {
		const struct fault *fault = strike_locked(sim, H2_SIM_FLUSH);

		err = fault ? fault->error : 0;
	}
	if (!err)
		flush_locked(sim);
	h2_mutex_unlock(&sim->lock);
	return err;
}

static void sim_close(struct h2_device *dev)
{
	struct sim_device *d = (struct sim_device *)dev;

	h2_mutex_lock(&d->sim->lock);
	assert(d->sim->open_count > 0);
	d->sim->open_count--;
	h2_mutex_unlock(&d->sim->lock);
	free(d);
}

/* ---- the disk ---- */

struct h2_sim *h2_sim_new(uint64_t size)
{
	struct h2_sim *sim = calloc(1, sizeof(*sim));

	if (!sim)
		return NULL;
	sim->size = size;
	h2_mutex_init(&sim->lock, H2_RANK_DEVICE);
	if (!map_init(&sim->durable) || !map_init(&sim->cached)) {
		h2_sim_free(sim);
		return NULL;
	}
	return sim;
}

void h2_sim_free(struct h2_sim *sim)
{
	if (!sim)
		return;
	assert(sim->open_count == 0);
	log_clear(sim);
	free(sim->log);
	map_fini(&sim->durable);
	map_fini(&sim->cached);
	h2_mutex_fini(&sim->lock);
	free(sim);
}

static bool log_copy(struct h2_sim *sim, const struct h2_sim *from)
{
	for (size_t i = 0; i < from->log_count; i++) {
		const struct pending *p = from->log[i];

		if (!log_make_room(sim))
			return false;
		sim->log[i] = pending_new(p->offset, p->bytes, p->len);
		if (!sim->log[i])
			return false;
		sim->log_count++;
	}
	return true;
}

struct h2_sim *h2_sim_clone(struct h2_sim *sim)
{
	struct h2_sim *clone = h2_sim_new(sim->size);
	bool done;

	if (!clone)
		return NULL;
	h2_mutex_lock(&sim->lock);
	done = map_copy(&clone->durable, &sim->durable) && map_copy(&clone->cached, &sim->cached) &&
	       log_copy(clone, sim);
	h2_mutex_unlock(&sim->lock);
	if (!done) {
		h2_sim_free(clone);
		return NULL;
	}
	return clone;
}

/* As a regular file does. */
static int sim_grow(struct h2_device *dev, uint64_t size)
{
	struct h2_sim *sim = ((struct sim_device *)dev)->sim;

	h2_mutex_lock(&sim->lock);
	if (size > sim->size)
		sim->size = size;
	dev->size = sim->size;
	h2_mutex_unlock(&sim->lock);
	return 0;
}

int h2_sim_open(struct h2_sim *sim, bool writable, struct h2_device **devp)
{
	static const struct h2_device_ops ops = {
		.read = sim_read,
		.write = sim_write,
		.flush = sim_flush,
		.close = sim_close,
		.grow = sim_grow,
		.discard = sim_discard,
	};
	struct sim_device *d = malloc(sizeof(*d));

	if (!d)
		return -ENOMEM;
	h2_mutex_lock(&sim->lock);
	*d = (struct sim_device){
		.dev = {.ops = &ops, .size = sim->size, .writable = writable, .name = "sim"},
		.sim = sim,
		.power_cycle = sim->power_cycle,
	};
	sim->open_count++;
	h2_mutex_unlock(&sim->lock);
	*devp = &d->dev;
	return 0;
}

void h2_sim_get_stats(struct h2_sim *sim, struct h2_sim_stats *stats)
{
	h2_mutex_lock(&sim->lock);
	*stats = sim->stats;
	stats->pending = sim->log_count;
	h2_mutex_unlock(&sim->lock);
}

/* Store the sectors of a torn write whose flags are set. */
static void store_torn(struct h2_sim *sim, const struct pending *p, unsigned sector_size)
{
	uint64_t sector = p->offset / sector_size * sector_size;
	uint64_t end = p->offset + p->len;

	assert(sector_size == 512 || sector_size == 4096);
	for (size_t i = 0; sector < end; i++, sector += sector_size) {
		uint64_t from = sector > p->offset ? sector : p->offset;
		uint64_t to = sector + sector_size < end ? sector + sector_size : end;

		if (p->keep[i])
			store(&sim->durable, from, p->bytes + (from - p->offset),
			      (size_t)(to - from));
	}
}

void h2_sim_cut(struct h2_sim *sim, h2_sim_fate_fn *fate, void *user)
{
	struct page *page;
	size_t bucket = 0;

	h2_mutex_lock(&sim->lock);
	/* What was cached becomes what is durable, in pages of its own that exist already. */
	while ((page = map_take_any(&sim->cached, &bucket))) {
		load(NULL, &sim->durable, page->number * PAGE_SIZE, page->bytes, PAGE_SIZE);
		map_insert(&sim->durable, page);
	}
	for (size_t i = 0; i < sim->log_count; i++) {
		struct pending *p = sim->log[i];
		unsigned sector_size = SECTOR_MIN;

		memset(p->keep, 0, flags_max(p->len) * sizeof(bool));
		switch (fate(user, i, p->offset, p->len, &sector_size, p->keep)) {
		case H2_SIM_LOST:
			break;
		case H2_SIM_KEPT:
			store(&sim->durable, p->offset, p->bytes, p->len);
			break;
		case H2_SIM_TORN:
			store_torn(sim, p, sector_size);
			break;
		}
	}
	log_clear(sim);
	sim->power_cycle++;
	h2_mutex_unlock(&sim->lock);
}

static enum h2_sim_fate random_fate(void *user, size_t i, uint64_t offset, size_t len,
				    unsigned *sector_size, bool *keep)
{
	static const enum h2_sim_fate fates[] = {H2_SIM_LOST, H2_SIM_KEPT, H2_SIM_TORN};
	uint64_t *state = user;
	enum h2_sim_fate fate = fates[random_next(state) % 3];
	uint64_t sectors;

	(void)i;
	if (fate != H2_SIM_TORN)
		return fate;
	*sector_size = random_next(state) % 2 ? 512 : 4096;
	sectors = (offset + len - 1) / *sector_size - offset / *sector_size + 1;
	for (uint64_t s = 0; s < sectors; s++)
		keep[s] = random_next(state) % 2;
	return fate;
}

void h2_sim_cut_random(struct h2_sim *sim, uint64_t seed)
{
	h2_sim_cut(sim, random_fate, &seed);
}

void h2_sim_set_fault(struct h2_sim *sim, enum h2_sim_op op, enum h2_sim_fault_kind kind,
		      uint64_t first, uint64_t count, int error)
{
	assert((unsigned)op < OPS);
	assert(count == 0 || kind == H2_SIM_CORRUPT || error < 0);
	assert(count == 0 || kind != H2_SIM_CORRUPT || op == H2_SIM_READ);
	assert(count == 0 || kind != H2_SIM_SHORT || op != H2_SIM_FLUSH);
	h2_mutex_lock(&sim->lock);
	sim->faults[op] = (struct fault){
		.kind = kind,
		.first = first,
		.count = count,
		.error = error,
	};
	h2_mutex_unlock(&sim->lock);
}

void h2_sim_set_gone(struct h2_sim *sim, bool gone)
{
	h2_mutex_lock(&sim->lock);
	sim->gone = gone;
	h2_mutex_unlock(&sim->lock);
}

void h2_sim_peek(struct h2_sim *sim, uint64_t offset, void *buf, size_t len)
{
	assert(offset <= sim->size);
	assert(len <= sim->size - offset);
	h2_mutex_lock(&sim->lock);
	load(NULL, &sim->durable, offset, buf, len);
	h2_mutex_unlock(&sim->lock);
}

/* Bring a cached page up to date with the durable one below it. */
static void rebuild_cached(struct h2_sim *sim, struct page *page)
{
	uint64_t begin = page->number * PAGE_SIZE, end = begin + PAGE_SIZE;

	load(NULL, &sim->durable, begin, page->bytes, PAGE_SIZE);
	for (size_t i = 0; i < sim->log_count; i++) {
		const struct pending *p = sim->log[i];
		uint64_t from = p->offset > begin ? p->offset : begin;
		uint64_t to = p->offset + p->len < end ? p->offset + p->len : end;

		if (from < to)
			memcpy(page->bytes + (from - begin), p->bytes + (from - p->offset),
			       (size_t)(to - from));
	}
}

int h2_sim_poke(struct h2_sim *sim, uint64_t offset, const void *buf, size_t len)
{
	struct span s = {0};
	int err;

	assert(offset <= sim->size);
	assert(len <= sim->size - offset);
	h2_mutex_lock(&sim->lock);
	err = reserve(&sim->durable, NULL, offset, len);
	if (!err)
		store(&sim->durable, offset, buf, len);
	while (!err && span_next(offset, len, &s)) {
		struct page *page = map_find(&sim->cached, s.number);

		if (page)
			rebuild_cached(sim, page);
	}
	h2_mutex_unlock(&sim->lock);
	return err;
}
