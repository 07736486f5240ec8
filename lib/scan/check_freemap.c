/*
 * The freemap against the map of reached storage (BS 16.4 points 8 and 10): what is in use is
 * marked as allocated, what must never be used too, and each segment's figures fit its bitmap.
 *
 * The map may cover a part of the address space only (reach.h); the phase then looks at that part
 * and is repeated for the others. Sums that need the whole are made in the first pass.
 */
#include <stdio.h>

#include "check_impl.h"

struct freemap_check {
	struct h2_check *c;
	uint64_t begin, end; /* the part of the address space that the map covers */
	uint64_t usable_lo;  /* first segment that can be allocated from */
	uint64_t usable_hi;  /* end of the last one */
	uint64_t free_bytes; /* state 00, in leaves */
	uint64_t next_zone;  /* zones below it are done */
	uint64_t reached_bytes, unreached_bytes;
	struct h2_blockref ref; /* of the leaf being checked */
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

static void check_record(struct freemap_check *f, const struct h2_freemap_record *r, uint64_t base)
{
	uint64_t free_bytes = count_free(r);

	if (!usable(f, base)) {
		for (unsigned w = 0; w < 8; w++) {
			if (r->bitmap[w] != UINT64_MAX && !f->c->repeated) {
				find(f, FIND_FREEMAP_UNUSABLE, &f->ref, base, "bitmap",
				     r->bitmap[w], UINT64_MAX);
				break;
			}
		}
		return;
	}
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

static int check_leaf(void *user, const struct h2_blockref *ref,
		      const struct h2d_freemap_record records[H2_FREEMAP_RECORDS])
{
	struct freemap_check *f = user;

	check_leafless(f, ref->key);
	f->next_zone = ref->key + H2_ZONE;
	f->ref = *ref;
	for (unsigned i = 0; i < H2_FREEMAP_RECORDS; i++) {
		struct h2_freemap_record r;

		h2_freemap_record_decode(&records[i], &r);
		check_record(f, &r, ref->key + i * H2_SEGMENT);
	}
	h2_check_advance(f->c, H2_FREEMAP_BLOCK_SIZE);
	return h2_check_stopped(f->c) ? -EINTR : 0;
}

static void check_ref(void *user, const struct h2_blockref *ref)
{
	struct freemap_check *f = user;

	if (f->c->repeated)
		return;
	f->c->summary->freemap_blocks++;
	if (h2_blockref_check_algo(ref) <= H2_CHECK_DISABLED)
		find(f, FIND_CHECK_NONE, ref, ref->key, NULL, 0, 0);
	if (ref->mirror_tid > f->c->header->mirror_tid)
		find(f, FIND_FREEMAP_TID, ref, ref->key, "mirror_tid", ref->mirror_tid,
		     f->c->header->mirror_tid);
}

static void report_fault(void *user, const struct h2_freemap_fault *fault)
{
	struct freemap_check *f = user;
	char detail[160];

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

/* allocator_free may be up to 4 MiB too large (BS 8.7): the lost part of the first segment. */
static void check_free_sum(struct freemap_check *f)
{
	uint64_t claimed = f->c->header->allocator_free;
	uint64_t diff = claimed > f->free_bytes ? claimed - f->free_bytes : f->free_bytes - claimed;

	if (diff > H2_SEGMENT)
		h2_check_find(f->c, FIND_FREEMAP_FREE_SUM,
			      &(struct h2_about){
				      .object = "volume header",
				      .member = "allocator_free",
				      .has_values = true,
				      .found = claimed,
				      .expected = f->free_bytes,
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
	int err = h2_freemap_walk(&walk);

	if (err)
		return err == -EINTR ? 0 : err;
	check_leafless(&f, total);
	if (!c->repeated) {
		check_free_sum(&f);
		c->summary->free_bytes = f.free_bytes;
	}
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

int h2_check_freemap_blocks(struct h2_check *c)
{
	struct freemap_check f = {.c = c, .next_zone = UINT64_MAX};
	struct h2_freemap_walk walk = {
		.volumes = c->volumes,
		.blockset = c->header->freemap_blockset,
		.leaf = pass_leaf,
		.fault = report_fault,
		.user = &f,
	};

	return h2_freemap_walk(&walk);
}
