/*
 * The allocator; see space.h.
 *
 * A zone's bitmap is handled in bytes: one byte is the state of four granules, an aligned run of
 * 64 KiB (a "quad"), so a byte of zeros is a free quad.
 */
#include "space.h"

#include <stdlib.h>
#include <string.h>

#include "freemap_tree.h"
#include "lock.h"

#define SEGMENT_BYTES 64u /* of a segment's bitmap */
#define GRANULES 256u     /* of a segment */
#define ZONE_BUCKETS 4096u
#define LEAVES_KEPT 256u  /* unchanged leaves in memory: 32 KiB each */
#define SMALL_RADIX 14u   /* blocks below this share granules */
#define UNIT H2_BLOCK_MIN /* what is counted in a shared granule */
#define SECTOR 4096u      /* largest sector that a device may tear */
#define CLASSES 5u        /* by blockref type */
#define PACKED 0u         /* the class of all types, where they are packed */

#define YOUNG_BYTES (GRANULES / 8)

struct segment { /* what is known of one besides its record */
	/*
	 * For each granule 0, or 1 + its units in use where all of it was allocated since opening
	 * and nothing shares it.
	 */
	uint8_t live[GRANULES];
	uint8_t young[YOUNG_BYTES]; /* during a scan: allocated or shared since it began */
};

struct zone {
	struct zone *next; /* in its bucket */
	uint64_t index;
	bool known;  /* the counts below are right */
	bool bad;    /* its leaf cannot be used: nothing is allocated here */
	bool absent; /* has no leaf yet */
	bool dirty;
	uint32_t free_granules, free_quads;
	struct h2d_freemap_record *records; /* NULL: not in memory */
	uint64_t leaf_avail;                /* of a new leaf's blockref */
	struct segment **segments;  /* of H2_FREEMAP_RECORDS; NULL, or some of them NULL: nothing */
	struct zone *older, *newer; /* unchanged leaves in memory, by use */
};

struct cursor { /* where a class of blocks is being put */
	uint64_t zone;
	unsigned segment;
	uint64_t granule; /* offset of the granule that small blocks share; 0: none */
	uint32_t used;    /* bytes of it */
};

struct run { /* dropped granules */
	uint64_t offset;
	uint64_t bytes;
	uint64_t tid; /* of the first group that does not have them */
};

struct h2_space {
	/* constant once open */
	struct h2_volumes *volumes;
	uint64_t total_size, allocator_beg, zone_count;
	unsigned copies;    /* of the volume header */
	uint64_t first_tid; /* of the first group since opening */
	bool packed;        /* all types in one class, at the lowest place */
	h2_space_discard_fn *discard; /* or NULL */
	void *discard_user;

	struct h2_mutex lock;
	/* under lock */
	struct h2_freemap_tree tree;
	struct zone *buckets[ZONE_BUCKETS];
	struct zone kept; /* head of the list of unchanged leaves; newer: the oldest */
	unsigned kept_count;
	uint64_t free_granules, free_quads; /* of the known zones */
	uint64_t next_unknown;              /* zones below it are known */
	uint64_t allocator_free;
	uint64_t lost_bytes, waiting_bytes;
	bool scanning;
	bool scan_failed; /* no memory to remember what is young */
	uint64_t lost_before; /* the scan: it is still lost if nothing comes of that */
	struct cursor cursors[CLASSES];
	struct run *runs; /* by tid */
	size_t run_first, run_count, run_room;
};

/* ---- zones ---- */

static struct zone *get_zone(struct h2_space *space, uint64_t index)
{
	struct zone **bucket = &space->buckets[index % ZONE_BUCKETS];
	struct zone *z = *bucket;

	while (z && z->index != index)
		z = z->next;
	if (z)
		return z;
	z = calloc(1, sizeof(*z));
	if (!z)
		return NULL;
	z->index = index;
	z->next = *bucket;
	*bucket = z;
	return z;
}

static void unlist(struct h2_space *space, struct zone *z)
{
	if (!z->newer)
		return;
	z->newer->older = z->older;
	z->older->newer = z->newer;
	z->newer = z->older = NULL;
	space->kept_count--;
}

static void free_segments(struct zone *z)
{
	for (unsigned s = 0; s < H2_FREEMAP_RECORDS && z->segments; s++)
		free(z->segments[s]);
	free(z->segments);
}

/* What is known of a segment, or NULL. */
static struct segment *segment_of(const struct zone *z, unsigned segment)
{
	return z->segments ? z->segments[segment] : NULL;
}

/* Keep an unchanged leaf, as the newest, and drop the oldest one if there are too many. */
static void keep(struct h2_space *space, struct zone *z)
{
	unlist(space, z);
	z->older = space->kept.older;
	z->newer = &space->kept;
	z->older->newer = z;
	space->kept.older = z;
	space->kept_count++;
	if (space->kept_count > LEAVES_KEPT) {
		struct zone *oldest = space->kept.newer;

		unlist(space, oldest);
		free(oldest->records);
		oldest->records = NULL;
	}
}

static uint8_t *bitmap_of(struct zone *z, unsigned segment)
{
	return (uint8_t *)z->records[segment].bitmap;
}

static unsigned free_in_byte(uint8_t byte)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 4; i++)
		n += (byte >> (2 * i) & 3) == H2_GRANULE_FREE;
	return n;
}

static void count_zone(struct h2_space *space, struct zone *z)
{
	if (z->known)
		return;
	for (unsigned s = 0; s < H2_FREEMAP_RECORDS; s++) {
		const uint8_t *map = bitmap_of(z, s);

		for (unsigned i = 0; i < SEGMENT_BYTES; i++) {
			z->free_granules += free_in_byte(map[i]);
			z->free_quads += map[i] == 0;
		}
	}
	z->known = true;
	space->free_granules += z->free_granules;
	space->free_quads += z->free_quads;
}

/*
 * Segments that must not be allocated from are allocated in every sound leaf; see to it that a
 * damaged one does not give them away (MF 13.7). Returns 0 or -ENOMEM.
 */
static int close_unusable(struct h2_space *space, struct zone *z)
{
	struct h2d_freemap_record *fresh = malloc(H2_FREEMAP_BLOCK_SIZE);

	if (!fresh)
		return -ENOMEM;
	h2_freemap_leaf_init(fresh, z->index * H2_ZONE, space->allocator_beg, space->total_size);
	for (unsigned s = 0; s < H2_FREEMAP_RECORDS; s++) {
		if (le32_get(fresh[s].avail) == 0)
			memset(z->records[s].bitmap, 0xff, SEGMENT_BYTES);
	}
	free(fresh);
	return 0;
}

/* The zone cannot be used: it does not count any more. */
static void close_zone(struct h2_space *space, struct zone *z)
{
	if (z->known) {
		space->free_granules -= z->free_granules;
		space->free_quads -= z->free_quads;
	}
	z->free_granules = z->free_quads = 0;
	z->known = true;
	z->bad = true;
}

/* What counts is the bitmap; other implementations leave avail too low (BS 15, D16). */
static void correct_avail(struct zone *z)
{
	for (unsigned s = 0; s < H2_FREEMAP_RECORDS; s++) {
		const uint8_t *map = bitmap_of(z, s);
		uint32_t granules = 0;

		for (unsigned i = 0; i < SEGMENT_BYTES; i++)
			granules += free_in_byte(map[i]);
		z->records[s].avail = le32_make(granules * H2_GRANULE);
	}
}

/*
 * Have the zone's leaf in memory. Returns false where that cannot be: the zone is bad then, or there
 * is no memory for it now.
 */
static bool load_zone(struct h2_space *space, struct zone *z)
{
	struct h2_blockref *ref;
	uint64_t key = z->index * H2_ZONE;
	int err;

	if (z->bad)
		return false;
	if (z->records) {
		if (!z->dirty)
			keep(space, z);
		return true;
	}
	z->records = malloc(H2_FREEMAP_BLOCK_SIZE);
	if (!z->records)
		return false;
	err = h2_freemap_tree_find(&space->tree, key, &ref);
	if (err == 1) {
		z->absent = true;
		z->leaf_avail = h2_freemap_leaf_init(z->records, key, space->allocator_beg,
						     space->total_size);
	} else if (!err && ref->type != H2_BLOCKREF_FREEMAP_LEAF) {
		err = -H2_ECORRUPT;
	} else if (!err) {
		err = h2_freemap_tree_read(&space->tree, ref, z->records);
		if (!err)
			err = close_unusable(space, z);
	}
	if (err < 0) {
		free(z->records);
		z->records = NULL;
		if (err != -ENOMEM)
			close_zone(space, z);
		return false;
	}
	correct_avail(z);
	count_zone(space, z);
	keep(space, z);
	return true;
}

/* The zone's leaf will change. It is in memory. */
static int touch_zone(struct h2_space *space, struct zone *z)
{
	uint64_t key = z->index * H2_ZONE;
	int err;

	if (z->dirty)
		return 0;
	if (z->absent) {
		struct h2d_blockref d = {
			.type = H2_BLOCKREF_FREEMAP_LEAF,
			.methods = H2_CHECK_FREEMAP << 4,
			.keybits = 30,
			.key = le64_make(key),
			.check.freemap = {.bigmask = le32_make(UINT32_MAX),
					  .avail = le64_make(z->leaf_avail)},
		};
		struct h2_blockref ref;

		h2_blockref_decode(&d, &ref);
		err = h2_freemap_tree_insert(&space->tree, &ref);
		if (err)
			return err;
		z->absent = false;
	}
	h2_freemap_tree_touch(&space->tree, key);
	unlist(space, z);
	z->dirty = true;
	return 0;
}

/* ---- opening ---- */

int h2_space_open(struct h2_volumes *volumes, h2_report_fn *report, void *report_user,
		  struct h2_space **spacep)
{
	const struct h2_volume_header *header = h2_volumes_header(volumes);
	struct h2_space *space = calloc(1, sizeof(*space));
	int err;

	if (!space)
		return -ENOMEM;
	space->volumes = volumes;
	space->total_size = h2_volumes_total_size(volumes);
	space->zone_count = (space->total_size + H2_ZONE - 1) / H2_ZONE;
	space->allocator_beg = header->allocator_beg;
	space->allocator_free = header->allocator_free;
	space->copies = h2_volumes_header_copies(volumes);
	space->first_tid = header->mirror_tid + 1;
	space->kept.older = space->kept.newer = &space->kept;
	space->tree.report = report;
	space->tree.report_user = report_user;
	h2_mutex_init(&space->lock, H2_RANK_SPACE);
	err = h2_freemap_tree_init(&space->tree, volumes);
	if (err) {
		h2_space_close(space);
		return err;
	}
	*spacep = space;
	return 0;
}

void h2_space_pack(struct h2_space *space)
{
	space->packed = true;
}

void h2_space_close(struct h2_space *space)
{
	if (!space)
		return;
	for (unsigned i = 0; i < ZONE_BUCKETS; i++) {
		while (space->buckets[i]) {
			struct zone *z = space->buckets[i];

			space->buckets[i] = z->next;
			free_segments(z);
			free(z->records);
			free(z);
		}
	}
	h2_freemap_tree_fini(&space->tree);
	h2_mutex_fini(&space->lock);
	free(space->runs);
	free(space);
}

/* ---- taking granules ---- */

/* The place of a free aligned run of granules (1, 2 or 4) in a byte, or -1. */
static int place_in_byte(uint8_t byte, unsigned granules)
{
	unsigned mask = granules == 4 ? 0xff : granules == 2 ? 0x0f : 0x03;

	for (unsigned i = 0; i < 4; i += granules) {
		if ((byte >> (2 * i) & mask) == 0)
			return (int)i;
	}
	return -1;
}

/* The index of the first granule of a free run in the segment, or -1. Begun quads go first. */
static int find_in_segment(struct zone *z, unsigned segment, unsigned granules)
{
	const uint8_t *map = bitmap_of(z, segment);

	if (le32_get(z->records[segment].avail) == 0)
		return -1;
	for (unsigned i = 0; granules < 4 && i < SEGMENT_BYTES; i++) {
		int at = map[i] == 0 ? -1 : place_in_byte(map[i], granules);

		if (at >= 0)
			return (int)(4 * i) + at;
	}
	for (unsigned i = 0; i < SEGMENT_BYTES; i++) {
		if (map[i] == 0)
			return (int)(4 * i);
	}
	return -1;
}

static unsigned class_of(unsigned type)
{
	return type << 8 | 16;
}

static bool class_allows(const struct zone *z, unsigned segment, unsigned type, bool relaxed)
{
	unsigned have = le16_get(z->records[segment].class_);

	return relaxed || have == 0 || have == class_of(type);
}

/* Find a run in the zone from segment on. Returns the segment, or -1. */
static int find_in_zone(struct zone *z, unsigned from, unsigned type, unsigned granules,
			bool relaxed, int *granule)
{
	if (granules == 4 ? z->free_quads == 0 : z->free_granules < granules)
		return -1;
	for (unsigned s = from; s < H2_FREEMAP_RECORDS; s++) {
		if (!class_allows(z, s, type, relaxed))
			continue;
		*granule = find_in_segment(z, s, granules);
		if (*granule >= 0)
			return (int)s;
	}
	return -1;
}

static bool make_segment(struct zone *z, unsigned segment)
{
	if (!z->segments)
		z->segments = calloc(H2_FREEMAP_RECORDS, sizeof(struct segment *));
	if (z->segments && !z->segments[segment])
		z->segments[segment] = calloc(1, sizeof(struct segment));
	return segment_of(z, segment) != NULL;
}

static void make_young(struct h2_space *space, uint64_t offset)
{
	unsigned granule = (unsigned)(offset % H2_SEGMENT / H2_GRANULE);
	unsigned segment = (unsigned)(offset % H2_ZONE / H2_SEGMENT);
	struct zone *z;

	if (!space->scanning)
		return;
	z = get_zone(space, offset / H2_ZONE);
	if (z && make_segment(z, segment))
		z->segments[segment]->young[granule / 8] |= (uint8_t)(1u << granule % 8);
	else
		space->scan_failed = true;
}

/*
 * Another writer puts small blocks where linear points in the midst of a granule: neither into one
 * that is ours nor into a free one (MF 10.8). A multiple says nothing.
 */
static void close_linear(struct h2d_freemap_record *r, unsigned granule, unsigned granules)
{
	uint32_t linear = le32_get(r->linear), at = linear / H2_GRANULE;

	if (linear % H2_GRANULE != 0 && at >= granule && at < granule + granules)
		r->linear = le32_make((at + 1) * H2_GRANULE);
}

/* Change the state of a run within one quad and keep all counts right. */
static void set_state(struct h2_space *space, struct zone *z, unsigned segment, unsigned granule,
		      unsigned granules, bool allocated)
{
	struct h2d_freemap_record *r = &z->records[segment];
	uint8_t *byte = &bitmap_of(z, segment)[granule / 4];
	uint8_t mask = (uint8_t)(((1u << 2 * granules) - 1) << 2 * (granule % 4));
	unsigned quad_before = *byte == 0, before = free_in_byte(*byte), after;
	uint32_t avail = le32_get(r->avail);

	*byte = (uint8_t)(allocated ? *byte | mask : *byte & ~mask);
	after = free_in_byte(*byte);
	z->free_granules += after - before;
	space->free_granules += (uint64_t)after - before;
	z->free_quads += (*byte == 0) - quad_before;
	space->free_quads += (uint64_t)(*byte == 0) - quad_before;
	avail += (after - before) * H2_GRANULE;
	r->avail = le32_make(avail);
	close_linear(r, granule, granules);
	if (allocated) {
		uint64_t bytes = (uint64_t)(before - after) * H2_GRANULE;

		/* It may be too low on media; it must not wrap (BS 8.7). */
		space->allocator_free -= bytes < space->allocator_free ? bytes
								       : space->allocator_free;
	} else {
		space->allocator_free += (uint64_t)(after - before) * H2_GRANULE;
		if (avail == H2_SEGMENT) {
			r->class_ = le16_make(0);
			r->linear = le32_make(0);
		}
	}
}

static int take(struct h2_space *space, struct zone *z, unsigned segment, unsigned granule,
		unsigned granules, unsigned type, uint64_t *offset)
{
	struct h2d_freemap_record *r = &z->records[segment];
	int err = touch_zone(space, z);

	if (err)
		return err;
	if (!make_segment(z, segment))
		return -ENOMEM;
	set_state(space, z, segment, granule, granules, true);
	if (le16_get(r->class_) == 0)
		r->class_ = le16_make((uint16_t)class_of(type));
	*offset = z->index * H2_ZONE + segment * H2_SEGMENT + (uint64_t)granule * H2_GRANULE;
	for (unsigned i = 0; i < granules; i++) {
		z->segments[segment]->live[granule + i] = 1;
		make_young(space, *offset + i * H2_GRANULE);
	}
	return 0;
}

/* Take a free run of granules: behind the class's cursor, round the volume, then wherever. */
static int take_granules(struct h2_space *space, unsigned type, unsigned granules, uint64_t *offset)
{
	struct cursor *c = &space->cursors[space->packed ? PACKED : type];
	unsigned first = space->packed;
	uint64_t start = c->zone;
	bool starved = false; /* a zone could not be looked at for want of memory */

	for (unsigned relaxed = first; relaxed < 2; relaxed++) {
		for (uint64_t i = 0; i <= space->zone_count; i++) {
			uint64_t index = (start + i) % space->zone_count;
			unsigned from = i == 0 && relaxed == first ? c->segment : 0;
			struct zone *z = get_zone(space, index);
			int granule, segment, err;

			if (!z)
				return -ENOMEM;
			if (z->known &&
			    (granules == 4 ? z->free_quads == 0 : z->free_granules < granules))
				continue;
			if (!load_zone(space, z)) {
				starved = starved || !z->bad;
				continue;
			}
			segment = find_in_zone(z, from, type, granules, relaxed, &granule);
			if (segment < 0)
				continue;
			err = take(space, z, (unsigned)segment, (unsigned)granule, granules, type,
				   offset);
			if (err == -H2_ECORRUPT || err == -H2_ECHECK || err == -EIO) {
				close_zone(space, z);
				continue;
			}
			c->zone = index;
			c->segment = (unsigned)segment;
			return err;
		}
	}
	return starved ? -ENOMEM : -ENOSPC;
}

static uint8_t *live_of(struct h2_space *space, uint64_t offset)
{
	struct zone *z = get_zone(space, offset / H2_ZONE);
	struct segment *s = z ? segment_of(z, offset % H2_ZONE / H2_SEGMENT) : NULL;

	return s ? &s->live[offset % H2_SEGMENT / H2_GRANULE] : NULL;
}

static int alloc_small(struct h2_space *space, unsigned type, uint32_t size, uint64_t *offset)
{
	struct cursor *c = &space->cursors[type];
	uint8_t *live;
	int err;

	if (c->granule == 0 || c->used + size > H2_GRANULE) {
		c->granule = 0;
		err = take_granules(space, type, 1, &c->granule);
		if (err)
			return err;
		c->used = 0;
	}
	*offset = c->granule + c->used;
	c->used += size;
	make_young(space, *offset);
	live = live_of(space, *offset);
	assert(live);
	if (*live)
		*live = (uint8_t)(*live + size / UNIT);
	return 0;
}

int h2_space_alloc(struct h2_space *space, unsigned type, unsigned radix, uint64_t *data_off)
{
	uint64_t offset = 0;
	int err;

	assert(radix >= 10 && radix <= 16);
	assert(type > 0 && type < CLASSES);
	h2_mutex_lock(&space->lock);
	if (radix < SMALL_RADIX) {
		err = alloc_small(space, type, 1u << radix, &offset);
	} else {
		unsigned granules = 1u << (radix - SMALL_RADIX);

		err = take_granules(space, type, granules, &offset);
		for (unsigned i = 0; i < granules && !err; i++)
			*live_of(space, offset + i * H2_GRANULE) += H2_GRANULE / UNIT;
	}
	h2_mutex_unlock(&space->lock);
	if (!err)
		*data_off = offset | radix;
	return err;
}

/* ---- giving back ---- */

/* Remember granules that no later group has. Without memory they are left to a scan. */
static void wait_for_release(struct h2_space *space, uint64_t offset, uint64_t tid)
{
	struct run *last = space->run_count ? &space->runs[space->run_count - 1] : NULL;

	make_young(space, offset); /* a running scan must not let it go once more */
	if (last && space->run_count > space->run_first && last->tid == tid &&
	    last->offset + last->bytes == offset &&
	    last->offset / H2_SEGMENT == offset / H2_SEGMENT) {
		last->bytes += H2_GRANULE;
	} else {
		if (space->run_count == space->run_room) {
			size_t room = space->run_room ? 2 * space->run_room : 64;
			struct run *runs = realloc(space->runs, room * sizeof(*runs));

			if (!runs) {
				space->lost_bytes += H2_GRANULE;
				return;
			}
			space->runs = runs;
			space->run_room = room;
		}
		space->runs[space->run_count++] = (struct run){offset, H2_GRANULE, tid};
	}
	space->waiting_bytes += H2_GRANULE;
}

static void close_granule(struct h2_space *space, uint64_t granule)
{
	for (unsigned i = 0; i < CLASSES; i++) {
		if (space->cursors[i].granule == granule)
			space->cursors[i].granule = 0;
	}
}

static void drop_locked(struct h2_space *space, uint64_t data_off, uint64_t tid)
{
	uint64_t offset = data_off & ~UINT64_C(63);
	uint64_t size = UINT64_C(1) << (data_off & 63);

	while (size > 0) {
		uint64_t part = size < H2_GRANULE ? size : H2_GRANULE;
		uint8_t *live = live_of(space, offset);

		if (!live || *live <= part / UNIT) {
			space->lost_bytes += part;
		} else {
			*live = (uint8_t)(*live - part / UNIT);
			if (*live == 1) {
				uint64_t granule = offset & ~(uint64_t)(H2_GRANULE - 1);

				*live = 0;
				close_granule(space, granule);
				wait_for_release(space, granule, tid);
			}
		}
		offset += part;
		size -= part;
	}
}

/* What comes from the media may be anything. */
static bool is_block(const struct h2_space *space, uint64_t data_off)
{
	uint64_t offset = data_off & ~UINT64_C(63);
	unsigned radix = (unsigned)(data_off & 63);

	return radix >= 10 && radix <= 16 && offset < space->total_size &&
	       space->total_size - offset >= UINT64_C(1) << radix;
}

void h2_space_drop(struct h2_space *space, uint64_t data_off, uint64_t born, uint64_t tid)
{
	if (!is_block(space, data_off))
		return;
	h2_mutex_lock(&space->lock);
	if (born < space->first_tid)
		space->lost_bytes += UINT64_C(1) << (data_off & 63);
	else
		drop_locked(space, data_off, tid);
	h2_mutex_unlock(&space->lock);
}

void h2_space_lose(struct h2_space *space, uint64_t bytes)
{
	h2_mutex_lock(&space->lock);
	/* The media may say anything. */
	space->lost_bytes += bytes < space->total_size ? bytes : space->total_size;
	h2_mutex_unlock(&space->lock);
}

/* Free a run within one segment. */
static void release(struct h2_space *space, uint64_t offset, uint64_t bytes)
{
	struct cursor *c = &space->cursors[PACKED];
	struct zone *z = get_zone(space, offset / H2_ZONE);
	unsigned segment = (unsigned)(offset % H2_ZONE / H2_SEGMENT);

	if (!z || !load_zone(space, z) || touch_zone(space, z) != 0) {
		space->lost_bytes += bytes;
		return;
	}
	for (; bytes > 0; bytes -= H2_GRANULE, offset += H2_GRANULE)
		set_state(space, z, segment, (unsigned)(offset % H2_SEGMENT / H2_GRANULE), 1,
			  false);
	if (space->packed &&
	    (z->index < c->zone || (z->index == c->zone && segment < c->segment))) {
		c->zone = z->index;
		c->segment = segment;
	}
}

void h2_space_cancel(struct h2_space *space, uint64_t data_off, uint64_t tid)
{
	uint64_t offset = data_off & ~UINT64_C(63);
	unsigned radix = (unsigned)(data_off & 63);
	bool alone = radix >= SMALL_RADIX;

	if (!is_block(space, data_off))
		return;
	h2_mutex_lock(&space->lock);
	for (uint64_t at = 0; alone && at < UINT64_C(1) << radix; at += H2_GRANULE) {
		const uint8_t *live = live_of(space, offset + at);

		alone = live && *live != 0;
	}
	if (alone) {
		for (uint64_t at = 0; at < UINT64_C(1) << radix; at += H2_GRANULE)
			*live_of(space, offset + at) = 0;
		release(space, offset, UINT64_C(1) << radix);
	} else {
		drop_locked(space, data_off, tid);
	}
	h2_mutex_unlock(&space->lock);
}

void h2_space_share(struct h2_space *space, uint64_t data_off)
{
	uint64_t offset = data_off & ~(uint64_t)(H2_GRANULE - 1);
	uint64_t end = (data_off & ~UINT64_C(63)) + (UINT64_C(1) << (data_off & 63));

	h2_mutex_lock(&space->lock);
	for (; offset < end; offset += H2_GRANULE) {
		uint8_t *live = live_of(space, offset);

		if (live)
			*live = 0;
		make_young(space, offset);
	}
	h2_mutex_unlock(&space->lock);
}

void h2_space_share_all(struct h2_space *space)
{
	h2_mutex_lock(&space->lock);
	for (unsigned i = 0; i < ZONE_BUCKETS; i++) {
		for (struct zone *z = space->buckets[i]; z; z = z->next) {
			for (unsigned s = 0; s < H2_FREEMAP_RECORDS; s++) {
				if (segment_of(z, s))
					memset(segment_of(z, s)->live, 0, GRANULES);
			}
		}
	}
	for (unsigned i = 0; i < CLASSES; i++)
		space->cursors[i].granule = 0;
	h2_mutex_unlock(&space->lock);
}

void h2_space_begin_group(struct h2_space *space)
{
	h2_mutex_lock(&space->lock);
	for (unsigned i = 0; i < CLASSES; i++) {
		struct cursor *c = &space->cursors[i];

		c->used = (c->used + SECTOR - 1) / SECTOR * SECTOR;
		if (c->used >= H2_GRANULE)
			c->granule = 0;
	}
	h2_mutex_unlock(&space->lock);
}

void h2_space_set_discard(struct h2_space *space, h2_space_discard_fn *fn, void *user)
{
	space->discard = fn;
	space->discard_user = user;
}

/* How many of the first runs no header copy leads to any more. */
static size_t count_due(const struct h2_space *space, uint64_t tid)
{
	size_t i = space->run_first;

	if (space->scanning)
		return 0;
	/* The copies hold tid - copies + 1 .. tid: none is older than the run's group any more. */
	while (i < space->run_count && tid - space->runs[i].tid + 1 >= space->copies &&
	       tid >= space->runs[i].tid)
		i++;
	return i - space->run_first;
}

static int by_offset(const void *a, const void *b)
{
	const struct run *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/*
 * Discard the first runs, which stay in the queue meanwhile: nobody gets them, or lets them go once
 * more. The lock is given up.
 */
static void discard_runs(struct h2_space *space, size_t count)
{
	struct run *runs = malloc(count * sizeof(*runs));

	if (!runs)
		return;
	memcpy(runs, space->runs + space->run_first, count * sizeof(*runs));
	h2_mutex_unlock(&space->lock);
	qsort(runs, count, sizeof(*runs), by_offset);
	for (size_t i = 0, next; i < count; i = next) {
		uint64_t end = runs[i].offset + runs[i].bytes;

		for (next = i + 1; next < count && runs[next].offset == end &&
				   end % H2_SEGMENT != 0;
		     next++)
			end += runs[next].bytes;
		space->discard(space->discard_user, runs[i].offset, end - runs[i].offset);
	}
	free(runs);
	h2_mutex_lock(&space->lock);
}

bool h2_space_committed(struct h2_space *space, uint64_t tid)
{
	size_t due;
	bool more;

	h2_mutex_lock(&space->lock);
	due = count_due(space, tid);
	if (due > 0 && space->discard) {
		discard_runs(space, due);
		/* A scan may have begun: then they wait on, and are discarded again. */
		due = space->scanning ? 0 : due;
	}
	while (due-- > 0) {
		const struct run *run = &space->runs[space->run_first++];

		space->waiting_bytes -= run->bytes;
		release(space, run->offset, run->bytes);
	}
	more = space->run_first < space->run_count;
	if (space->run_first > space->run_count / 2) {
		space->run_count -= space->run_first;
		memmove(space->runs, space->runs + space->run_first,
			space->run_count * sizeof(*space->runs));
		space->run_first = 0;
	}
	h2_mutex_unlock(&space->lock);
	return more;
}

/* ---- scans ---- */

void h2_space_scan_begin(struct h2_space *space)
{
	h2_mutex_lock(&space->lock);
	assert(!space->scanning);
	space->scanning = true;
	space->scan_failed = false;
	space->lost_before = space->lost_bytes;
	space->lost_bytes = 0;
	h2_mutex_unlock(&space->lock);
}

/* Whether the segment at offset can be allocated from at all, MF 10.7. */
static bool is_usable(const struct h2_space *space, uint64_t offset)
{
	uint64_t lowest = (space->allocator_beg + H2_SEGMENT - 1) / H2_SEGMENT * H2_SEGMENT;

	return offset >= lowest && offset % H2_ZONE >= H2_SEGMENT &&
	       offset + H2_SEGMENT <= space->total_size / H2_SEGMENT * H2_SEGMENT;
}

/* Whether the scan may let go of a granule that its walk has not reached. */
static bool is_unused(const struct zone *z, unsigned segment, unsigned granule)
{
	const struct segment *s = segment_of(z, segment);
	enum h2_granule_state state = h2_freemap_state(
		z->records, segment * (uint64_t)H2_SEGMENT + granule * (uint64_t)H2_GRANULE);

	return (state == H2_GRANULE_ALLOCATED || state == H2_GRANULE_STAGED) &&
	       !(s && (s->live[granule] || s->young[granule / 8] >> granule % 8 & 1));
}

/* Let go of what nothing uses in a zone whose leaf is in memory. */
static void sweep_zone(struct h2_space *space, struct zone *z, uint64_t tid,
		       h2_space_reached_fn *reached, void *user, uint64_t *bytes)
{
	for (unsigned s = 0; s < H2_FREEMAP_RECORDS; s++) {
		uint64_t offset = z->index * H2_ZONE + s * (uint64_t)H2_SEGMENT;
		uint8_t in_use[YOUNG_BYTES] = {0};

		if (!is_usable(space, offset) || le32_get(z->records[s].avail) == H2_SEGMENT)
			continue;
		reached(user, offset, in_use);
		for (unsigned g = 0; g < GRANULES; g++) {
			if (in_use[g / 8] >> g % 8 & 1 || !is_unused(z, s, g))
				continue;
			wait_for_release(space, offset + g * (uint64_t)H2_GRANULE, tid);
			*bytes += H2_GRANULE;
		}
	}
}

/* What waits already must not be let go twice. */
static void spare_waiting(struct h2_space *space)
{
	for (size_t i = space->run_first; i < space->run_count; i++) {
		const struct run *run = &space->runs[i];

		for (uint64_t at = 0; at < run->bytes; at += H2_GRANULE)
			make_young(space, run->offset + at);
	}
}

static void sweep(struct h2_space *space, uint64_t tid, h2_space_reached_fn *reached, void *user,
		  uint64_t *bytes)
{
	spare_waiting(space);
	/* The queue is in the order of groups. */
	if (space->run_count > space->run_first && space->runs[space->run_count - 1].tid > tid)
		tid = space->runs[space->run_count - 1].tid;
	for (uint64_t i = 0; i < space->zone_count && !space->scan_failed; i++) {
		struct h2_blockref *ref;
		struct zone *z;

		if (h2_freemap_tree_find(&space->tree, i * H2_ZONE, &ref) != 0)
			continue;
		z = get_zone(space, i);
		if (!z)
			space->scan_failed = true;
		else if (load_zone(space, z))
			sweep_zone(space, z, tid, reached, user, bytes);
		/* Let others go on. */
		h2_mutex_unlock(&space->lock);
		h2_mutex_lock(&space->lock);
	}
}

int h2_space_scan_end(struct h2_space *space, uint64_t tid, h2_space_reached_fn *reached,
		      void *user, uint64_t *bytes)
{
	int err;

	*bytes = 0;
	h2_mutex_lock(&space->lock);
	assert(space->scanning);
	if (reached && !space->scan_failed)
		sweep(space, tid, reached, user, bytes);
	err = space->scan_failed ? -ENOMEM : 0;
	if (!reached || err)
		space->lost_bytes += space->lost_before;
	space->scanning = false;
	for (unsigned i = 0; i < ZONE_BUCKETS; i++) {
		for (struct zone *z = space->buckets[i]; z; z = z->next) {
			for (unsigned s = 0; s < H2_FREEMAP_RECORDS; s++) {
				if (segment_of(z, s))
					memset(segment_of(z, s)->young, 0, YOUNG_BYTES);
			}
		}
	}
	h2_mutex_unlock(&space->lock);
	return err;
}

static int recover_granule(struct h2_space *space, uint64_t offset, bool *unknown)
{
	struct zone *z = get_zone(space, offset / H2_ZONE);
	unsigned segment = (unsigned)(offset % H2_ZONE / H2_SEGMENT);
	unsigned granule = (unsigned)(offset % H2_SEGMENT / H2_GRANULE);
	enum h2_granule_state state;
	uint32_t linear;
	int err;

	if (!z)
		return -ENOMEM;
	if (!load_zone(space, z))
		return z->bad ? -H2_ECORRUPT : -ENOMEM;
	state = h2_freemap_state(z->records, offset % H2_ZONE);
	linear = le32_get(z->records[segment].linear);
	/* The block may lie behind linear in a granule that the freemap knows. */
	if (state == H2_GRANULE_ALLOCATED &&
	    (linear % H2_GRANULE == 0 || linear / H2_GRANULE != granule))
		return 0;
	err = touch_zone(space, z);
	if (err)
		return err;
	set_state(space, z, segment, granule, 1, true);
	z->records[segment].linear = le32_make(0);
	*unknown = *unknown || state != H2_GRANULE_ALLOCATED;
	return 0;
}

int h2_space_recover(struct h2_space *space, uint64_t data_off, bool *unknown)
{
	uint64_t offset = data_off & ~(uint64_t)(H2_GRANULE - 1);
	uint64_t end = (data_off & ~UINT64_C(63)) + (UINT64_C(1) << (data_off & 63));
	int err = 0;

	*unknown = false;
	if (!is_block(space, data_off))
		return -H2_ECORRUPT;
	h2_mutex_lock(&space->lock);
	for (; offset < end && !err; offset += H2_GRANULE) {
		if (is_usable(space, offset / H2_SEGMENT * H2_SEGMENT))
			err = recover_granule(space, offset, unknown);
	}
	h2_mutex_unlock(&space->lock);
	return err;
}

/* ---- how much there is ---- */

bool h2_space_has(struct h2_space *space, uint64_t quads, uint64_t granules)
{
	bool enough;

	h2_mutex_lock(&space->lock);
	for (;;) {
		/*
		 * Granules are taken from begun quads of the same type of block only as long as whole
		 * ones last: besides quads each type may begin one.
		 */
		uint64_t more = (granules + 3) / 4 + CLASSES;
		struct zone *z;

		enough = quads + more <= space->free_quads ||
			 (quads == 0 && granules <= space->free_granules);
		if (enough || space->next_unknown == space->zone_count)
			break;
		z = get_zone(space, space->next_unknown);
		if (!z)
			break;
		if (!z->known && !load_zone(space, z) && !z->known)
			break; /* no memory: it stays unknown */
		space->next_unknown++;
	}
	h2_mutex_unlock(&space->lock);
	return enough;
}

void h2_space_get_stats(struct h2_space *space, struct h2_space_stats *stats)
{
	h2_mutex_lock(&space->lock);
	*stats = (struct h2_space_stats){
		.free_bytes = space->allocator_free,
		.waiting_bytes = space->waiting_bytes,
		.lost_bytes = space->lost_bytes,
	};
	h2_mutex_unlock(&space->lock);
}

/* ---- writing ---- */

/* ---- growing ---- */

/* A leaf that is only in memory: as if it had not been made yet. */
static void renew_zone(struct h2_space *space, struct zone *z)
{
	space->free_granules -= z->free_granules;
	space->free_quads -= z->free_quads;
	z->free_granules = z->free_quads = 0;
	z->known = false;
	z->leaf_avail = h2_freemap_leaf_init(z->records, z->index * H2_ZONE, space->allocator_beg,
					     space->total_size);
	count_zone(space, z);
}

static int grow_locked(struct h2_space *space, uint64_t total_size)
{
	uint64_t old = space->total_size, index = old / H2_ZONE;
	unsigned end = total_size / H2_ZONE > index
			       ? H2_FREEMAP_RECORDS
			       : (unsigned)(total_size % H2_ZONE / H2_SEGMENT);
	struct zone *z = get_zone(space, index);
	int err;

	if (!z)
		return -ENOMEM;
	/* The segments behind the end are allocated in the leaf, lest somebody take them. */
	if (old % H2_ZONE != 0 && !load_zone(space, z))
		return z->bad ? -H2_ECORRUPT : -ENOMEM;
	if (old % H2_ZONE == 0 || z->absent) {
		space->total_size = total_size;
		if (old % H2_ZONE != 0)
			renew_zone(space, z);
		return 0;
	}
	err = touch_zone(space, z);
	if (err)
		return err;
	space->total_size = total_size;
	for (unsigned s = (unsigned)(old % H2_ZONE / H2_SEGMENT); s < end; s++) {
		for (unsigned g = 0; g < GRANULES; g += 4)
			set_state(space, z, s, g, 4, false);
	}
	return 0;
}

int h2_space_grow(struct h2_space *space, uint64_t total_size, uint64_t *bytes)
{
	uint64_t old = space->total_size, allocator_free;
	int err;

	h2_mutex_lock(&space->lock);
	allocator_free = space->allocator_free;
	err = total_size > old ? grow_locked(space, total_size) : 0;
	*bytes = 0;
	if (!err) {
		*bytes = h2_freemap_usable_bytes(space->allocator_beg, total_size, old, total_size);
		space->allocator_free = allocator_free + *bytes;
		space->zone_count = (total_size + H2_ZONE - 1) / H2_ZONE;
		space->copies = h2_header_copies(total_size);
	}
	h2_mutex_unlock(&space->lock);
	return err;
}

int h2_space_flush(struct h2_space *space, uint64_t tid, struct h2_volume_header *header,
		   h2_space_write_fn *write, void *user)
{
	int err = 0;

	h2_mutex_lock(&space->lock);
	for (unsigned i = 0; i < ZONE_BUCKETS && !err; i++) {
		for (struct zone *z = space->buckets[i]; z && !err; z = z->next) {
			struct h2_blockref *ref = NULL;

			if (!z->dirty)
				continue;
			err = h2_freemap_tree_find(&space->tree, z->index * H2_ZONE, &ref);
			assert(!err);
			if (err)
				break;
			/* Whatever others have found to be full: everything may succeed (MF 10.6). */
			memset(ref->check + 4, 0xff, 4);
			h2_freemap_move(ref, tid, z->records);
			err = write(user, h2_blockref_offset(ref), z->records,
				    H2_FREEMAP_BLOCK_SIZE);
			z->dirty = false;
			keep(space, z);
		}
	}
	if (!err)
		err = h2_freemap_tree_flush(&space->tree, tid, header->freemap_blockset, write,
					    user);
	header->allocator_free = space->allocator_free;
	h2_mutex_unlock(&space->lock);
	return err;
}
