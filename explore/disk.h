/*
 * The disks of a filesystem, for looking at what a power failure leaves of them.
 *
 * Contents are layers of 4 KiB pages, one on top of the other: what a layer does not have is what
 * the one below has, and zero where none has it. So the disks after a crash cost what differs from
 * those before. The pages of all volumes are in one layer.
 *
 * A disk can record: its log then has each write and flush in their order, with the marks that its
 * user puts between them. And it can note which pages are read.
 */
#ifndef EXPLORE_DISK_H
#define EXPLORE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device.h"
#include "lock.h"

#define DISK_PAGE 4096u
#define DISK_VOLUMES_MAX 4u

/* A page of a volume: the volume's number << 48 | its number there. */
typedef uint64_t page_key;

static inline page_key page_key_of(unsigned volume, uint64_t offset)
{
	return (uint64_t)volume << 48 | offset / DISK_PAGE;
}

struct page {
	uint64_t hash; /* of the bytes */
	bool hashed;   /* it is known */
	uint8_t bytes[DISK_PAGE];
};

struct layer {
	const struct layer *below; /* NULL: zeros */
	page_key *keys;            /* a hash table, a power of two of slots */
	struct page **pages;       /* NULL: the slot is empty */
	size_t slots, count;
	struct page **free_pages; /* to be used again */
	size_t free_count, free_room;
};

void layer_init(struct layer *layer, const struct layer *below);
void layer_fini(struct layer *layer);

/* Make it empty again, on top of another one. */
void layer_reset(struct layer *layer, const struct layer *below);

/* The layer's own page, made from what it has there so far, to be changed. */
struct page *layer_change(struct layer *layer, page_key key);

/* What is seen there from above; NULL: zeros. */
struct page *layer_find(const struct layer *layer, page_key key);

/* A number that says what the page holds. */
uint64_t layer_hash(const struct layer *layer, page_key key);

void layer_write(struct layer *layer, unsigned volume, uint64_t offset, const uint8_t *bytes,
		 size_t len);
void layer_read(const struct layer *layer, unsigned volume, uint64_t offset, uint8_t *bytes,
		size_t len);

/* ---- the log ---- */

enum log_kind {
	LOG_WRITE,
	LOG_FLUSH,
	LOG_BEGIN,  /* operation number begins: from now on its effect may be there */
	LOG_SYNCED, /* all operations up to number are promised to be there */
};

struct log_event {
	enum log_kind kind;
	unsigned volume;
	uint64_t offset;
	size_t len;
	uint8_t *bytes; /* LOG_WRITE */
	uint64_t number;
};

struct disk_log {
	struct log_event *events;
	size_t count, room;
};

void log_mark(struct disk_log *log, enum log_kind kind, uint64_t number);
void log_fini(struct disk_log *log);

/* ---- disks ---- */

struct page_list { /* each page once */
	page_key *keys;
	size_t count, room;
	page_key *table; /* of keys + 1; a power of two of slots */
	size_t slots;
};

void page_list_fini(struct page_list *list);

enum disk_call { DISK_READ, DISK_WRITE, DISK_FLUSH, DISK_CALLS };

enum disk_fate {
	DISK_DONE,
	DISK_FAILS,   /* nothing happens, and *error is returned */
	DISK_IN_PART, /* the first half of a write happens, and *error is returned */
	DISK_CORRUPT, /* a read returns 0 with one bit wrong */
};

struct disk {
	unsigned count; /* of volumes */
	uint64_t sizes[DISK_VOLUMES_MAX];
	struct layer *top; /* takes the writes */

	struct h2_mutex lock;
	/* under lock */
	struct disk_log *log;    /* NULL: nothing is recorded */
	struct page_list *reads; /* NULL: not noted */
	uint64_t writes;
	bool ignore_flushes; /* a disk that lies: for tests of the explorer itself */

	/* Called in front of each flush, without locks. May be NULL. */
	void (*flushing)(void *user);
	void *flushing_user;
	/* Asked before each call what is to become of it; may be NULL. */
	enum disk_fate (*fate)(void *user, enum disk_call call, int *error);
	void *fate_user;
};

void disk_init(struct disk *disk, const uint64_t *sizes, unsigned count, struct layer *top);
void disk_fini(struct disk *disk);

/* Open a device for each volume. */
void disk_open(struct disk *disk, struct h2_device *devices[DISK_VOLUMES_MAX]);

#endif
