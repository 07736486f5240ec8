/*
 * The freemap against the map of reached storage (BS 16.4 points 8 and 10): what is in use is
 * marked as allocated, what must never be used too, and each segment's figures fit its bitmap.
 *
 * The map may cover a part of the address space only (reach.h); the phase then looks at that part
 * and is repeated for the others. Sums that need the whole are made in the first pass.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_impl.h"
#include "compress.h"

#define LEVELS 7u /* 1 to 5, and the header's above them */

struct freemap_check {
	struct h2_check *c;
	uint64_t begin, end; /* the part of the address space that the map covers */
	uint64_t usable_lo;  /* first segment that can be allocated from */
	uint64_t usable_hi;  /* end of the last one */
	uint64_t free_bytes; /* state 00, in leaves */
	uint64_t next_zone;  /* zones below it are done */
	uint64_t reached_bytes, unreached_bytes;
	uint64_t reserved_granules;      /* in state 1, and not reached */
	struct h2_blockref ref;          /* of the leaf being checked */
	bool damaged;                    /* a block of the freemap could not be used */
	unsigned room;                   /* bit 14 + n: it has room for 2^n granules */
	struct h2_blockref last[LEVELS]; /* the last reference of each level that was met */
};

static void find(struct freemap_check *f, enum h2_finding finding, const struct h2_blockref *ref,
		 uint64_t offset, const char *member, uint64_t found, uint64_t expected)
{
	struct h2_blockref at = {.type = H2_BLOCKREF_FREEMAP_LEAF, .key = offset};

	/* For the state of storage the finding is about that storage, not about the leaf. */
	if (!ref)
		at.data_off = offset;
	h2_check_find(f->c, finding,
		      &(struct h2_about){
			      .ref = ref ? ref : &at,
			      .object = ref ? NULL : "storage",
			      .member = member,
			      .has_values = member != NULL,
			      .found = found,
			      .expected = expected,
		      });
}

static bool usable(const struct freemap_check *f, uint64_t segment)
{
	return segment >= f->usable_lo && segment < f->usable_hi && segment % H2_ZONE >= H2_SEGMENT;
}

static bool mapped(const struct freemap_check *f, uint64_t offset)
{
	return offset >= f->begin && offset < f->end;
}

/* How many granules of a bitmap word have the high bit of their state set: staged, allocated. */
static unsigned count_taken(uint64_t word)
{
	return (unsigned)__builtin_popcountll(word >> 1 & UINT64_C(0x5555555555555555));
}

/* How many have neither: free. */
static unsigned count_zero(uint64_t word)
{
	return (unsigned)__builtin_popcountll(~(word | word >> 1) & UINT64_C(0x5555555555555555));
}

static void check_granule(struct freemap_check *f, unsigned state, uint64_t offset)
{
	struct h2_reach_granule reached = h2_reach_get(&f->c->reach, offset);

	if (!reached.used) {
		if (state >= H2_GRANULE_STAGED)
			f->unreached_bytes += H2_GRANULE;
		f->reserved_granules += state == H2_GRANULE_RESERVED;
		return;
	}
	f->reached_bytes += H2_GRANULE;
	if (state != H2_GRANULE_ALLOCATED)
		find(f, reached.old ? FIND_FREEMAP_STATE : FIND_FREEMAP_LAG, NULL, offset, "state",
		     state, H2_GRANULE_ALLOCATED);
}

/* The granules of a usable segment: states against what was reached. */
static void check_states(struct freemap_check *f, const struct h2_freemap_record *r, uint64_t base)
{
	bool any = h2_reach_segment_used(&f->c->reach, base);

	for (unsigned w = 0; w < 8; w++) {
		if (!any) {
			f->unreached_bytes += count_taken(r->bitmap[w]) * (uint64_t)H2_GRANULE;
			f->reserved_granules += 32 - count_taken(r->bitmap[w]) -
						count_zero(r->bitmap[w]);
			continue;
		}
		for (unsigned g = 0; g < 32; g++)
			check_granule(f, (unsigned)(r->bitmap[w] >> (2 * g) & 3),
				      base + (w * 32 + g) * (uint64_t)H2_GRANULE);
	}
}

/*
 * MF 10.8: linear is aligned, or points into an allocated granule whose rest is not in use. Where
 * the freemap may be behind the last commit, it may point at what that commit wrote.
 */
static void check_linear(struct freemap_check *f, const struct h2_freemap_record *r, uint64_t base)
{
	unsigned g = r->linear / H2_GRANULE;
	unsigned unit = r->linear % H2_GRANULE / H2_BLOCK_MIN;
	struct h2_reach_granule reached;
	unsigned state;

	if (r->linear % H2_GRANULE == 0 && r->linear <= H2_SEGMENT)
		return;
	if (r->linear > H2_SEGMENT || r->linear % H2_BLOCK_MIN) {
		find(f, FIND_FREEMAP_LINEAR, NULL, base, "linear", r->linear, 0);
		return;
	}
	state = (unsigned)(r->bitmap[g / 32] >> (2 * (g % 32)) & 3);
	reached = h2_reach_get(&f->c->reach, base + r->linear);
	if (reached.used >> unit != 0 && reached.old >> unit == 0)
		find(f, FIND_FREEMAP_LAG, NULL, base + r->linear, "linear", r->linear, 0);
	else if (reached.used >> unit != 0 ||
		 (state != H2_GRANULE_ALLOCATED && state != H2_GRANULE_STAGED))
		find(f, FIND_FREEMAP_LINEAR, NULL, base, "linear", r->linear, 0);
}

static uint64_t count_free(const struct h2_freemap_record *r)
{
	uint64_t bytes = 0;

	for (unsigned w = 0; w < 8; w++)
		bytes += count_zero(r->bitmap[w]) * (uint64_t)H2_GRANULE;
	return bytes;
}

/* MF 10.7: nothing of such a segment is offered to the allocator in any way. */
static void check_unusable(struct freemap_check *f, const struct h2_freemap_record *r,
			   uint64_t base)
{
	unsigned w = 0;

	while (w < 8 && r->bitmap[w] == UINT64_MAX)
		w++;
	if (w < 8)
		find(f, FIND_FREEMAP_UNUSABLE, &f->ref, base, "bitmap", r->bitmap[w], UINT64_MAX);
	if (r->avail != 0)
		find(f, FIND_FREEMAP_AVAIL, NULL, base, "avail", r->avail, 0);
	if (r->linear % H2_GRANULE != 0 || r->linear > H2_SEGMENT)
		find(f, FIND_FREEMAP_LINEAR, NULL, base, "linear", r->linear, H2_SEGMENT);
}

/* Which sizes of aligned runs of free granules there are: bit 14 + n for 2^n. */
static unsigned room_in(const struct h2_freemap_record *r)
{
	unsigned room = 0;

	for (unsigned w = 0; w < 8; w++) {
		uint64_t taken = (r->bitmap[w] | r->bitmap[w] >> 1) & UINT64_C(0x5555555555555555);
		uint64_t pairs = (taken | taken >> 2) & UINT64_C(0x1111111111111111);
		uint64_t quads = (pairs | pairs >> 4) & UINT64_C(0x0101010101010101);

		room |= taken != UINT64_C(0x5555555555555555) ? 1u << 14 : 0;
		room |= pairs != UINT64_C(0x1111111111111111) ? 1u << 15 : 0;
		room |= quads != UINT64_C(0x0101010101010101) ? 1u << 16 : 0;
	}
	return room;
}

static void check_record(struct freemap_check *f, const struct h2_freemap_record *r, uint64_t base)
{
	uint64_t free_bytes = count_free(r);

	if (!usable(f, base)) {
		if (!f->c->repeated)
			check_unusable(f, r, base);
		return;
	}
	f->room |= room_in(r);
	if (!f->c->repeated) {
		f->free_bytes += free_bytes;
		if (r->avail != free_bytes)
			find(f, FIND_FREEMAP_AVAIL, NULL, base, "avail", r->avail, free_bytes);
	}
	if (!mapped(f, base))
		return;
	check_linear(f, r, base);
	check_states(f, r, base);
}

/* One zone without a leaf in which something was reached. */
static void check_leafless_zone(struct freemap_check *f, uint64_t zone)
{
	bool young = true;
	uint64_t at = 0;

	for (uint64_t s = zone; s < zone + H2_ZONE; s += H2_SEGMENT) {
		if (!usable(f, s) || !mapped(f, s) || !h2_reach_segment_used(&f->c->reach, s))
			continue;
		for (uint64_t o = s; o < s + H2_SEGMENT; o += H2_GRANULE) {
			struct h2_reach_granule g = h2_reach_get(&f->c->reach, o);

			if (!g.used)
				continue;
			f->reached_bytes += H2_GRANULE;
			at = at ? at : o;
			young = young && g.old == 0;
		}
	}
	/* A zone whose storage is mapped in several passes is one finding. */
	if (at && f->c->leafless_zone != zone) {
		f->c->leafless_zone = zone;
		find(f, young ? FIND_FREEMAP_LAG : FIND_FREEMAP_NO_LEAF, NULL, at, NULL, 0, 0);
	}
}

/*
 * Zones without a leaf, up to end, which may be any number: nothing may be in use there but what
 * newfs made. What lies far apart is stepped over, as volumes can be much larger than what is on
 * them.
 */
static void check_leafless(struct freemap_check *f, uint64_t end)
{
	uint64_t used;

	if (end > f->c->blocks.total_size)
		end = f->c->blocks.total_size;
	if (f->next_zone >= end)
		return;
	if (!f->c->repeated)
		f->free_bytes += h2_freemap_usable_bytes(f->usable_lo, f->usable_hi, f->next_zone,
							 end);
	while ((used = h2_reach_next_used(&f->c->reach, f->next_zone)) < end && used < f->end) {
		f->next_zone = used / H2_ZONE * H2_ZONE;
		check_leafless_zone(f, f->next_zone);
		f->next_zone += H2_ZONE;
	}
	f->next_zone = (end + H2_ZONE - 1) / H2_ZONE * H2_ZONE;
}

/* BS 8.4: a bit that is clear says that there is no room for that size, and nobody looks. */
static void check_bigmask(struct freemap_check *f, const struct h2_blockref *ref)
{
	struct h2_freemap_hints hints;
	unsigned room = f->room;

	/* Small blocks take a granule of their own when they must. */
	if (room & 1u << 14)
		room |= 0xf << 10;
	h2_freemap_hints_decode(ref, &hints);
	/* Other algorithms have other bytes there. */
	if (h2_blockref_check_algo(ref) == H2_CHECK_FREEMAP && room & ~hints.bigmask)
		find(f, FIND_FREEMAP_BIGMASK, ref, ref->key, "bigmask", hints.bigmask,
		     hints.bigmask | room);
}

static bool reserved_zero(const struct h2d_freemap_record *r)
{
	return h2_is_zero(r->reserved06, sizeof(r->reserved06)) &&
	       h2_is_zero(r->reserved08, sizeof(r->reserved08)) &&
	       h2_is_zero(r->reserved20, sizeof(r->reserved20));
}

static int check_leaf(void *user, const struct h2_blockref *ref,
		      const struct h2d_freemap_record records[H2_FREEMAP_RECORDS])
{
	struct freemap_check *f = user;
	unsigned odd = H2_FREEMAP_RECORDS;

	check_leafless(f, ref->key);
	f->next_zone = ref->key + H2_ZONE;
	f->ref = *ref;
	f->room = 0;
	f->reserved_granules = 0;
	for (unsigned i = 0; i < H2_FREEMAP_RECORDS; i++) {
		struct h2_freemap_record r;

		h2_freemap_record_decode(&records[i], &r);
		check_record(f, &r, ref->key + i * H2_SEGMENT);
		if (!reserved_zero(&records[i]) && odd == H2_FREEMAP_RECORDS)
			odd = i;
	}
	if (!f->c->repeated) {
		check_bigmask(f, ref);
		if (odd < H2_FREEMAP_RECORDS)
			find(f, FIND_RESERVED, ref, ref->key, "index of the record", odd,
			     H2_FREEMAP_RECORDS);
	}
	if (f->reserved_granules > 0)
		find(f, FIND_FREEMAP_RESERVED, ref, ref->key, "granules", f->reserved_granules, 0);
	h2_check_advance(f->c, H2_FREEMAP_BLOCK_SIZE);
	return h2_check_stopped(f->c) ? -EINTR : 0;
}

/* The walk skips what is empty. */
static void check_empty(struct freemap_check *f, const struct h2d_blockref *refs, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct h2_blockref ref;

		if (refs[i].type != H2_BLOCKREF_EMPTY || h2_is_zero(&refs[i], sizeof(refs[i])))
			continue;
		h2_blockref_decode(&refs[i], &ref);
		h2_check_find(f->c, FIND_EMPTY_NOT_ZERO,
			      &(struct h2_about){
				      .ref = &ref,
				      .object = "freemap",
				      .member = "data_off",
				      .has_values = true,
				      .found = ref.data_off,
			      });
	}
}

static void check_node(struct freemap_check *f, const struct h2_blockref *ref)
{
	struct h2d_blockref *block = malloc(H2_FREEMAP_BLOCK_SIZE);

	if (!block)
		h2_check_fail(f->c, -ENOMEM);
	/* Whether it can be read is the walk's to say. */
	else if (h2_volumes_read(f->c->volumes, h2_blockref_offset(ref), block,
				 H2_FREEMAP_BLOCK_SIZE) == 0)
		check_empty(f, block, H2_FREEMAP_BLOCK_SIZE / H2_BLOCKREF_SIZE);
	free(block);
}

/* MF 12.2 rules 2 and 4: what the entry is in is not older. Entries come after what they are in. */
static void check_tid_above(struct freemap_check *f, const struct h2_blockref *ref)
{
	unsigned level = h2_freemap_level(ref->keybits);

	for (unsigned above = level + 1; above < LEVELS; above++) {
		const struct h2_blockref *node = &f->last[above];

		if (node->type == H2_BLOCKREF_EMPTY || ref->key < node->key ||
		    ref->key > h2_blockref_key_last(node))
			continue;
		if (ref->mirror_tid > node->mirror_tid)
			find(f, FIND_MIRROR_TID_ORDER, ref, ref->key, "mirror_tid", ref->mirror_tid,
			     node->mirror_tid);
		break;
	}
	f->last[level] = *ref;
}

static unsigned set_of(const struct h2_blockref *ref)
{
	return ((unsigned)(ref->data_off >> 16 & 63) - 1) / 5;
}

/* Remember where the current header has its freemap blocks. */
static void remember(struct h2_check *c, const struct h2_blockref *ref)
{
	struct h2_check_freemap_ref *list = c->freemap_refs;

	if (c->freemap_ref_count == c->freemap_ref_room) {
		size_t room = c->freemap_ref_room ? 2 * c->freemap_ref_room : 16;

		if (room * sizeof(*list) > c->options.memory_bytes / 16 ||
		    !(list = realloc(list, room * sizeof(*list))))
			return;
		c->freemap_refs = list;
		c->freemap_ref_room = room;
	}
	c->freemap_refs[c->freemap_ref_count++] = (struct h2_check_freemap_ref){
		.key = ref->key,
		.mirror_tid = ref->mirror_tid,
		.keybits = ref->keybits,
		.set = (uint8_t)set_of(ref),
	};
}

static int by_key(const void *a, const void *b)
{
	const struct h2_check_freemap_ref *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return (int)x->keybits - (int)y->keybits;
}

/*
 * MF 10.4: a block moves to the next of its eight sets in each commit that changes it. DragonFly
 * may make two steps for one header (BS 7.6). Where more than eight may lie between the two
 * headers, nothing can be said.
 */
static void check_rotation(struct freemap_check *f, const struct h2_blockref *ref)
{
	struct h2_check *c = f->c;
	const struct h2_volume_header *current = h2_volumes_header(c->volumes);
	uint64_t commits = current->mirror_tid - c->header->mirror_tid;
	struct h2_check_freemap_ref wanted = {.key = ref->key, .keybits = ref->keybits};
	const struct h2_check_freemap_ref *now;
	unsigned steps, steps_max;

	now = bsearch(&wanted, c->freemap_refs, c->freemap_ref_count, sizeof(*now), by_key);
	if (!now || commits >= H2_FREEMAP_SETS / 2)
		return;
	steps = (now->set + H2_FREEMAP_SETS - set_of(ref)) % H2_FREEMAP_SETS;
	steps_max = now->mirror_tid == ref->mirror_tid ? 0 : 2 * (unsigned)commits;
	if (steps > steps_max || (steps == 0) != (steps_max == 0))
		find(f, FIND_FREEMAP_ROTATION, ref, ref->key, "steps", steps, steps_max ? 1 : 0);
}

static void check_ref(void *user, const struct h2_blockref *ref)
{
	struct freemap_check *f = user;

	if (f->c->repeated)
		return;
	f->c->summary->freemap_blocks++;
	remember(f->c, ref);
	check_tid_above(f, ref);
	if (ref->type == H2_BLOCKREF_FREEMAP_NODE)
		check_node(f, ref);
	if (h2_blockref_check_algo(ref) <= H2_CHECK_DISABLED)
		find(f, FIND_CHECK_NONE, ref, ref->key, NULL, 0, 0);
	else if (h2_blockref_check_algo(ref) != H2_CHECK_FREEMAP)
		find(f, FIND_FREEMAP_CHECK, ref, ref->key, "methods", ref->methods,
		     H2_CHECK_FREEMAP << 4);
	if (ref->flags != 0)
		find(f, FIND_RESERVED, ref, ref->key, "flags", ref->flags, 0);
	if (ref->mirror_tid > f->c->header->mirror_tid)
		find(f, FIND_FREEMAP_TID, ref, ref->key, "mirror_tid", ref->mirror_tid,
		     f->c->header->mirror_tid);
}

static void report_fault(void *user, const struct h2_freemap_fault *fault)
{
	struct freemap_check *f = user;
	char detail[160];

	f->damaged = true;
	/* What lies in the zone of a lost leaf is not known: do not report it a second time. */
	if (fault->ref->type == H2_BLOCKREF_FREEMAP_LEAF && fault->ref->key >= f->next_zone &&
	    fault->ref->key < f->c->blocks.total_size && fault->ref->key % H2_ZONE == 0) {
		check_leafless(f, fault->ref->key);
		f->next_zone = fault->ref->key + H2_ZONE;
	}
	snprintf(detail, sizeof(detail), "%s: expected %s", fault->problem.member,
		 fault->problem.expected);
	h2_check_find(f->c, FIND_FREEMAP_BLOCK,
		      &(struct h2_about){
			      .ref = fault->ref,
			      .member = fault->problem.member,
			      .detail = detail,
		      });
}

/*
 * BS 8.7: newfs counts the rest of the segment in which it ends, which can never be used. What
 * allocator_size is too large by (DragonFly's growfs), allocator_free is too.
 */
static void check_free_sum(struct freemap_check *f)
{
	const struct h2_volume_header *h = f->c->header;
	uint64_t lost = f->usable_lo > h->aux_end ? f->usable_lo - h->aux_end : 0;
	uint64_t expected = f->c->summary->free_bytes + (lost < H2_SEGMENT ? lost : H2_SEGMENT);

	/* Where leaves are missing or lost, what is free is not known. */
	if (h->allocator_free == expected || f->damaged || f->c->leafless_zone != UINT64_MAX)
		return;
	h2_check_find(f->c, FIND_FREEMAP_FREE_SUM,
		      &(struct h2_about){
			      .object = "volume header",
			      .member = "allocator_free",
			      .has_values = true,
			      .found = h->allocator_free,
			      .expected = expected,
		      });
}

int h2_check_freemap(struct h2_check *c)
{
	uint64_t total = c->blocks.total_size;
	uint64_t beg = c->header->allocator_beg;
	struct freemap_check f = {
		.c = c,
		.begin = c->reach.begin,
		.end = h2_reach_end(&c->reach),
		.usable_lo = beg > total ? total : (beg + H2_SEGMENT - 1) / H2_SEGMENT * H2_SEGMENT,
		.usable_hi = total / H2_SEGMENT * H2_SEGMENT,
	};
	struct h2_freemap_walk walk = {
		.volumes = c->volumes,
		.blockset = c->header->freemap_blockset,
		.leaf = check_leaf,
		.ref = check_ref,
		.fault = report_fault,
		.user = &f,
	};
	int err;

	if (!c->repeated) {
		c->freemap_ref_count = 0;
		check_empty(&f, c->freemap_set, H2_BLOCKSET_COUNT);
	}
	err = h2_freemap_walk(&walk);
	if (err)
		return err == -EINTR ? 0 : err;
	if (c->freemap_ref_count > 0)
		qsort(c->freemap_refs, c->freemap_ref_count, sizeof(*c->freemap_refs), by_key);
	check_leafless(&f, total);
	if (!c->repeated)
		c->summary->free_bytes = f.free_bytes;
	if (f.end == total)
		check_free_sum(&f);
	c->summary->reachable_bytes += f.reached_bytes;
	c->summary->unreachable_bytes += f.unreached_bytes;
	return 0;
}

static int pass_leaf(void *user, const struct h2_blockref *ref,
		     const struct h2d_freemap_record records[H2_FREEMAP_RECORDS])
{
	(void)user;
	(void)ref;
	(void)records;
	return 0;
}

static void check_older_ref(void *user, const struct h2_blockref *ref)
{
	struct freemap_check *f = user;

	if (ref->mirror_tid > f->c->header->mirror_tid)
		find(f, FIND_FREEMAP_TID, ref, ref->key, "mirror_tid", ref->mirror_tid,
		     f->c->header->mirror_tid);
	check_rotation(f, ref);
}

int h2_check_freemap_blocks(struct h2_check *c)
{
	struct freemap_check f = {.c = c, .next_zone = UINT64_MAX};
	struct h2_freemap_walk walk = {
		.volumes = c->volumes,
		.blockset = c->header->freemap_blockset,
		.leaf = pass_leaf,
		.ref = check_older_ref,
		.fault = report_fault,
		.user = &f,
	};

	return h2_freemap_walk(&walk);
}
