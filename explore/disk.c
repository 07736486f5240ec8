/* Layers of pages, the log, and devices over them; see disk.h. */
#include "disk.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "must.h"

#define SLOTS_MIN 64u

/* ---- layers ---- */

static size_t hash_of(page_key key)
{
	return (size_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}

/* Where the key is, or the empty slot that it would go to. */
static size_t slot_of(const struct layer *layer, page_key key)
{
	size_t i = hash_of(key) & (layer->slots - 1);

	while (layer->pages[i] && layer->keys[i] != key)
		i = (i + 1) & (layer->slots - 1);
	return i;
}

static void make_table(struct layer *layer, size_t slots)
{
	layer->slots = slots;
	layer->keys = must_calloc(slots, sizeof(*layer->keys));
	layer->pages = must_calloc(slots, sizeof(*layer->pages));
}

void layer_init(struct layer *layer, const struct layer *below)
{
	*layer = (struct layer){.below = below};
	make_table(layer, SLOTS_MIN);
}

void layer_fini(struct layer *layer)
{
	for (size_t i = 0; i < layer->slots; i++)
		free(layer->pages[i]);
	for (size_t i = 0; i < layer->free_count; i++)
		free(layer->free_pages[i]);
	free(layer->keys);
	free(layer->pages);
	free(layer->free_pages);
}

void layer_reset(struct layer *layer, const struct layer *below)
{
	layer->below = below;
	for (size_t i = 0; layer->count > 0 && i < layer->slots; i++) {
		if (!layer->pages[i])
			continue;
		layer->free_pages = must_grow(layer->free_pages, layer->free_count,
					      &layer->free_room, sizeof(*layer->free_pages));
		layer->free_pages[layer->free_count++] = layer->pages[i];
		layer->pages[i] = NULL;
		layer->count--;
	}
}

static void grow_table(struct layer *layer)
{
	page_key *keys = layer->keys;
	struct page **pages = layer->pages;
	size_t slots = layer->slots;

	make_table(layer, 4 * slots);
	for (size_t i = 0; i < slots; i++) {
		size_t to;

		if (!pages[i])
			continue;
		to = slot_of(layer, keys[i]);
		layer->keys[to] = keys[i];
		layer->pages[to] = pages[i];
	}
	free(keys);
	free(pages);
}

struct page *layer_find(const struct layer *layer, page_key key)
{
	for (; layer; layer = layer->below) {
		struct page *page = layer->pages[slot_of(layer, key)];

		if (page)
			return page;
	}
	return NULL;
}

struct page *layer_change(struct layer *layer, page_key key)
{
	size_t i = slot_of(layer, key);
	struct page *page = layer->pages[i];
	const struct page *from;

	if (page) {
		page->hashed = false;
		return page;
	}
	if (2 * layer->count >= layer->slots) {
		grow_table(layer);
		i = slot_of(layer, key);
	}
	from = layer_find(layer->below, key);
	page = layer->free_count > 0 ? layer->free_pages[--layer->free_count]
				     : must_calloc(1, sizeof(*page));
	if (from)
		memcpy(page->bytes, from->bytes, sizeof(page->bytes));
	else
		memset(page->bytes, 0, sizeof(page->bytes));
	page->hashed = false;
	layer->keys[i] = key;
	layer->pages[i] = page;
	layer->count++;
	return page;
}

uint64_t layer_hash(const struct layer *layer, page_key key)
{
	static const uint8_t zeros[DISK_PAGE];
	struct page *page = layer_find(layer, key);

	if (!page)
		return XXH3_64bits(zeros, sizeof(zeros));
	if (!page->hashed) {
		page->hash = XXH3_64bits(page->bytes, sizeof(page->bytes));
		page->hashed = true;
	}
	return page->hash;
}

void layer_write(struct layer *layer, unsigned volume, uint64_t offset, const uint8_t *bytes,
		 size_t len)
{
	while (len > 0) {
		struct page *page = layer_change(layer, page_key_of(volume, offset));
		size_t at = (size_t)(offset % DISK_PAGE);
		size_t part = DISK_PAGE - at < len ? DISK_PAGE - at : len;

		memcpy(page->bytes + at, bytes, part);
		offset += part;
		bytes += part;
		len -= part;
	}
}

void layer_read(const struct layer *layer, unsigned volume, uint64_t offset, uint8_t *bytes,
		size_t len)
{
	while (len > 0) {
		const struct page *page = layer_find(layer, page_key_of(volume, offset));
		size_t at = (size_t)(offset % DISK_PAGE);
		size_t part = DISK_PAGE - at < len ? DISK_PAGE - at : len;

		if (page)
			memcpy(bytes, page->bytes + at, part);
		else
			memset(bytes, 0, part);
		offset += part;
		bytes += part;
		len -= part;
	}
}

/* ---- the log ---- */

static struct log_event *log_add(struct disk_log *log, enum log_kind kind)
{
	struct log_event *e;

	log->events = must_grow(log->events, log->count, &log->room, sizeof(*log->events));
	e = &log->events[log->count++];
	*e = (struct log_event){.kind = kind};
	return e;
}

void log_mark(struct disk_log *log, enum log_kind kind, uint64_t number)
{
	log_add(log, kind)->number = number;
}

void log_fini(struct disk_log *log)
{
	for (size_t i = 0; i < log->count; i++)
		free(log->events[i].bytes);
	free(log->events);
	*log = (struct disk_log){0};
}

/* ---- lists of pages ---- */

void page_list_fini(struct page_list *list)
{
	free(list->keys);
	free(list->table);
	*list = (struct page_list){0};
}

/* Keys are below UINT64_MAX, so that a key + 1 is never that of an empty slot, 0. */
static bool table_add(page_key *table, size_t slots, page_key key)
{
	size_t i = hash_of(key) & (slots - 1);

	while (table[i] && table[i] != key + 1)
		i = (i + 1) & (slots - 1);
	if (table[i])
		return false;
	table[i] = key + 1;
	return true;
}

static void page_list_add(struct page_list *list, page_key key)
{
	if (2 * list->count >= list->slots) {
		size_t slots = list->slots ? 4 * list->slots : 256;

		free(list->table);
		list->table = must_calloc(slots, sizeof(*list->table));
		list->slots = slots;
		for (size_t i = 0; i < list->count; i++)
			table_add(list->table, slots, list->keys[i]);
	}
	if (!table_add(list->table, list->slots, key))
		return;
	list->keys = must_grow(list->keys, list->count, &list->room, sizeof(*list->keys));
	list->keys[list->count++] = key;
}

/* ---- devices ---- */

struct disk_device {
	struct h2_device dev;
	struct disk *disk;
	unsigned volume;
};

static enum disk_fate fate_of(struct disk *disk, enum disk_call call, int *error)
{
	return disk->fate ? disk->fate(disk->fate_user, call, error) : DISK_DONE;
}

static int disk_read(struct h2_device *dev, uint64_t offset, void *buf, size_t len)
{
	struct disk_device *d = (struct disk_device *)dev;
	struct disk *disk = d->disk;
	int err = 0;
	enum disk_fate fate = fate_of(disk, DISK_READ, &err);

	if (fate == DISK_FAILS)
		return err;
	h2_mutex_lock(&disk->lock);
	layer_read(disk->top, d->volume, offset, buf, len);
	if (fate == DISK_CORRUPT)
		((uint8_t *)buf)[len / 2] ^= 1;
	for (uint64_t at = offset / DISK_PAGE * DISK_PAGE; disk->reads && at < offset + len;
	     at += DISK_PAGE)
		page_list_add(disk->reads, page_key_of(d->volume, at));
	h2_mutex_unlock(&disk->lock);
	return 0;
}

static int disk_write(struct h2_device *dev, uint64_t offset, const void *buf, size_t len)
{
	struct disk_device *d = (struct disk_device *)dev;
	struct disk *disk = d->disk;
	int err = 0;
	enum disk_fate fate = fate_of(disk, DISK_WRITE, &err);

	if (fate == DISK_FAILS)
		return err;
	if (fate == DISK_IN_PART)
		len /= 2;
	h2_mutex_lock(&disk->lock);
	layer_write(disk->top, d->volume, offset, buf, len);
	disk->writes++;
	if (disk->log) {
		struct log_event *e = log_add(disk->log, LOG_WRITE);

		e->volume = d->volume;
		e->offset = offset;
		e->len = len;
		e->bytes = must_calloc(1, len);
		memcpy(e->bytes, buf, len);
	}
	h2_mutex_unlock(&disk->lock);
	return err;
}

static int disk_flush(struct h2_device *dev)
{
	struct disk_device *d = (struct disk_device *)dev;
	struct disk *disk = d->disk;
	int err = 0;

	if (fate_of(disk, DISK_FLUSH, &err) == DISK_FAILS)
		return err;
	if (disk->flushing)
		disk->flushing(disk->flushing_user);
	h2_mutex_lock(&disk->lock);
	if (disk->log && !disk->ignore_flushes)
		log_add(disk->log, LOG_FLUSH)->volume = d->volume;
	h2_mutex_unlock(&disk->lock);
	return 0;
}

/* What is discarded may become anything: it is written over. */
static int disk_discard(struct h2_device *dev, uint64_t offset, uint64_t len)
{
	uint8_t noise[16384];
	int err = 0;

	memset(noise, 0xdd, sizeof(noise));
	for (uint64_t at = 0; at < len && !err; at += sizeof(noise)) {
		size_t part = len - at < sizeof(noise) ? (size_t)(len - at) : sizeof(noise);

		err = disk_write(dev, offset + at, noise, part);
	}
	return err;
}

static void disk_close(struct h2_device *dev)
{
	free(dev);
}

void disk_init(struct disk *disk, const uint64_t *sizes, unsigned count, struct layer *top)
{
	assert(count >= 1 && count <= DISK_VOLUMES_MAX);
	*disk = (struct disk){.count = count, .top = top};
	memcpy(disk->sizes, sizes, count * sizeof(*sizes));
	h2_mutex_init(&disk->lock, H2_RANK_DEVICE);
}

void disk_fini(struct disk *disk)
{
	h2_mutex_fini(&disk->lock);
}

void disk_open(struct disk *disk, struct h2_device *devices[DISK_VOLUMES_MAX])
{
	static const struct h2_device_ops ops = {
		.read = disk_read,
		.write = disk_write,
		.flush = disk_flush,
		.close = disk_close,
		.discard = disk_discard,
	};

	for (unsigned i = 0; i < disk->count; i++) {
		struct disk_device *d = must_calloc(1, sizeof(*d));

		*d = (struct disk_device){
			.dev = {.ops = &ops,
				.size = disk->sizes[i],
				.writable = true,
				.name = "disk"},
			.disk = disk,
			.volume = i,
		};
		devices[i] = &d->dev;
	}
}
