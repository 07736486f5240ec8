/*
 * The header copies: each one by itself, those of a volume against each other, and the order in
 * which they were written (BS 16.4 points 1 and 2; MF 2, 12.5).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_impl.h"
#include "compress.h"

struct header_copy {
	struct h2d_volume_header *bytes;
	struct h2_volume_header header;
	bool good;
};

/* What all rules about the copies of one volume need. */
struct copies {
	struct h2_check *c;
	unsigned volume;
	struct h2_volume_info info;
	struct header_copy at[H2_HEADER_COPIES_MAX];
	int newest; /* index of the newest good copy; -1: none */
};

static void find(const struct copies *s, enum h2_finding finding, unsigned slot, const char *detail,
		 const char *member, uint64_t found, uint64_t expected)
{
	char object[64];

	snprintf(object, sizeof(object), "header copy %u of volume %u", slot + 1, s->info.id);
	h2_check_find(s->c, finding,
		      &(struct h2_about){
			      .ref =
				      &(struct h2_blockref){
					      .data_off = s->info.offset + slot * H2_HEADER_SPACING,
				      },
			      .object = object,
			      .member = member,
			      .detail = detail,
			      .has_values = member != NULL && !detail,
			      .found = found,
			      .expected = expected,
		      });
}

/* One copy: whether it is good, missing, damaged, or a remnant. */
static void check_copy(struct copies *s, unsigned slot)
{
	struct header_copy *copy = &s->at[slot];
	enum h2_header_state state;
	int err = h2_volumes_read_header(s->c->volumes, s->volume, slot, copy->bytes);

	copy->good = false;
	if (err == -ENOENT)
		return;
	if (err) {
		find(s, FIND_HEADER_UNREADABLE, slot, NULL, NULL, 0, 0);
		return;
	}
	h2_check_advance(s->c, H2_HEADER_SIZE);
	state = h2_volume_header_check(copy->bytes, NULL);
	if (slot * H2_HEADER_SPACING >= s->info.size) {
		if (state == H2_HEADER_GOOD)
			find(s, FIND_HEADER_STALE, slot, NULL, NULL, 0, 0);
		return;
	}
	if (h2_is_zero(copy->bytes, sizeof(*copy->bytes))) {
		find(s, FIND_HEADER_MISSING, slot, NULL, NULL, 0, 0);
		return;
	}
	if (state != H2_HEADER_GOOD) {
		find(s, FIND_HEADER_DAMAGED, slot, h2_header_state_name(state), NULL, 0, 0);
		return;
	}
	h2_volume_header_decode(copy->bytes, &copy->header);
	copy->good = true;
	s->c->summary->header_copies++;
}

static uint64_t total_of(const struct h2_volume_header *h)
{
	return h->version == 1 ? h->volu_size : h->total_size;
}

/*
 * MF 2.8: allocator_size follows from the size and the areas. Old versions of newfs took one
 * reserved segment for 2 GiB (MF 14 #4), and DragonFly's growfs none for what it adds (BS 11).
 */
static void check_allocator_size(const struct copies *s, unsigned slot,
				 const struct h2_volume_header *h)
{
	uint64_t total = total_of(h);
	uint64_t areas = h->aux_end - h->boot_beg;
	uint64_t zones = (total + H2_ZONE - 1) / H2_ZONE;
	uint64_t expected = total - zones * H2_SEGMENT - areas;
	uint64_t old = total - (zones + 1) / 2 * H2_SEGMENT - areas;

	if (h->allocator_size != expected && h->allocator_size != old)
		find(s, FIND_HEADER_ALLOCATOR_SIZE, slot, NULL, "allocator_size", h->allocator_size,
		     expected);
}

/* Points 2 and 8 for one good copy of the root volume. */
static void check_geometry(const struct copies *s, unsigned slot)
{
	const struct h2_volume_header *h = &s->at[slot].header;
	bool areas = h->boot_beg >= H2_SEGMENT && h->boot_beg <= h->boot_end &&
		     h->boot_end <= h->aux_beg && h->aux_beg <= h->aux_end &&
		     h->aux_end <= h->allocator_beg;
	bool fits = h->allocator_beg < H2_ZONE && h->allocator_beg < total_of(h);

	if (h->freemap_tid > h->mirror_tid)
		find(s, FIND_HEADER_FREEMAP_TID, slot, NULL, "freemap_tid", h->freemap_tid,
		     h->mirror_tid);
	if (!areas || !fits)
		find(s, FIND_HEADER_GEOMETRY, slot, NULL, "allocator_beg", h->allocator_beg,
		     h->aux_end);
	else if (h->aux_end % H2_HEADER_SIZE != 0)
		find(s, FIND_HEADER_GEOMETRY, slot, NULL, "aux_end", h->aux_end,
		     h->aux_end / H2_HEADER_SIZE * H2_HEADER_SIZE);
	else
		check_allocator_size(s, slot, h);
	if (h->allocator_free > h->allocator_size || h->allocator_size > total_of(h))
		find(s, FIND_HEADER_GEOMETRY, slot, NULL, "allocator_free", h->allocator_free,
		     h->allocator_size);
}

/*
 * What is zero in MF 2.2, but for the room of DragonFly's cluster records, and the check codes of
 * other sectors that header files speak of (MF 14 #15).
 */
static void check_reserved(const struct copies *s, unsigned slot)
{
	const struct h2d_volume_header *d = s->at[slot].bytes;
	const struct h2_volume_header *h = &s->at[slot].header;

	if (h->flags || h->copyid || h->freemap_version || h->bulkfree_tid ||
	    !h2_is_zero(d->reserved003d, sizeof(d->reserved003d)) ||
	    !h2_is_zero(d->reserved0080, sizeof(d->reserved0080)) ||
	    !h2_is_zero(d->reserved00a0, sizeof(d->reserved00a0)) ||
	    !h2_is_zero(d->copyexists, sizeof(d->copyexists)) ||
	    !h2_is_zero(d->reserved00e8, sizeof(d->reserved00e8)) ||
	    !h2_is_zero(d->sector2, sizeof(d->sector2)) ||
	    !h2_is_zero(d->sector3, sizeof(d->sector3)) ||
	    !h2_is_zero(d->sector5, sizeof(d->sector5)) ||
	    !h2_is_zero(d->sector6, sizeof(d->sector6)) ||
	    !h2_is_zero(d->reserved9000, sizeof(d->reserved9000)))
		find(s, FIND_RESERVED, slot, NULL, NULL, 0, 0);
}

/* What every copy of a volume has in common, MF 2.7. */
static bool same_identity(const struct h2_volume_header *a, const struct h2_volume_header *b)
{
	return memcmp(&a->fsid, &b->fsid, sizeof(a->fsid)) == 0 &&
	       memcmp(&a->fstype, &b->fstype, sizeof(a->fstype)) == 0 && a->version == b->version &&
	       a->nvolumes == b->nvolumes && a->volu_id == b->volu_id;
}

/* A copy from before a single volume was grown has the sizes of that time. */
static bool sizes_fit(const struct h2_volume_header *h, const struct h2_volume_header *newest)
{
	if (h->volu_size == newest->volu_size)
		return h->total_size == newest->total_size;
	return newest->nvolumes <= 1 && h->volu_size > 0 && h->volu_size < newest->volu_size &&
	       h->volu_size % H2_VOLUME_ALIGN == 0 &&
	       h->total_size == (h->version == 1 ? 0 : h->volu_size);
}

/* The bytes that commits and growing change; all others are carried over, MF 2.2. */
static const struct {
	size_t begin, end;
} changing[] = {
#define MEMBERS(first, behind)                                                                     \
	{                                                                                          \
		offsetof(struct h2d_volume_header, first),                                         \
			offsetof(struct h2d_volume_header, behind)                                 \
	}
	MEMBERS(volu_size, version),
	MEMBERS(allocator_size, allocator_beg),
	MEMBERS(mirror_tid, reserved0080),
	MEMBERS(freemap_tid, reserved00a0),
	MEMBERS(total_size, copyexists),
	MEMBERS(icrc_sects, sector2),
	MEMBERS(freemap_blockset, sector5),
	{offsetof(struct h2d_volume_header, icrc_volheader), H2_HEADER_SIZE},
#undef MEMBERS
};

/* The first byte at which two copies differ and must not; H2_HEADER_SIZE where there is none. */
static size_t first_difference(const struct h2d_volume_header *a, const struct h2d_volume_header *b)
{
	const uint8_t *x = (const uint8_t *)a, *y = (const uint8_t *)b;
	size_t at = 0;

	for (size_t i = 0; i < sizeof(changing) / sizeof(changing[0]); i++) {
		for (; at < changing[i].begin; at++) {
			if (x[at] != y[at])
				return at;
		}
		at = changing[i].end;
	}
	return H2_HEADER_SIZE;
}

static void compare_with_newest(const struct copies *s, unsigned slot)
{
	const struct header_copy *copy = &s->at[slot], *newest = &s->at[s->newest];
	size_t at;

	if (!same_identity(&copy->header, &newest->header)) {
		find(s, FIND_HEADER_FOREIGN, slot, NULL, NULL, 0, 0);
		return;
	}
	if (!sizes_fit(&copy->header, &newest->header))
		find(s, FIND_HEADER_SIZE, slot, NULL, "total_size", copy->header.total_size,
		     newest->header.total_size);
	at = first_difference(copy->bytes, newest->bytes);
	if (at < H2_HEADER_SIZE)
		find(s, FIND_HEADER_CONSTANTS, slot, NULL, "byte offset", at, H2_HEADER_SIZE);
}

/* Returns whether it is clear which copy is the newest. */
static bool compare_tids(const struct copies *s)
{
	bool clear = true;

	for (unsigned i = 0; i < H2_HEADER_COPIES_MAX; i++) {
		for (unsigned j = 0; j < i; j++) {
			const struct header_copy *a = &s->at[i], *b = &s->at[j];

			if (!a->good || !b->good || a->header.mirror_tid != b->header.mirror_tid ||
			    memcmp(a->bytes, b->bytes, H2_HEADER_SIZE) == 0)
				continue;
			find(s, FIND_HEADER_SAME_TID, i, NULL, "mirror_tid", a->header.mirror_tid,
			     b->header.mirror_tid);
			clear = false;
		}
	}
	return clear;
}

/*
 * MF 12.5: each commit takes the slot behind that of the state it goes on from. So the copies get
 * older from the newest one backwards; those that were never written or are damaged do not count.
 */
static void check_rotation(const struct copies *s)
{
	unsigned count = 0;
	uint64_t last;

	while (count < H2_HEADER_COPIES_MAX && count * H2_HEADER_SPACING < s->info.size)
		count++;
	last = s->at[s->newest].header.mirror_tid;
	for (unsigned back = 1; back < count; back++) {
		unsigned slot = ((unsigned)s->newest + count - back) % count;

		if (!s->at[slot].good)
			continue;
		if (s->at[slot].header.mirror_tid > last)
			find(s, FIND_HEADER_ROTATION, slot, NULL, "mirror_tid",
			     s->at[slot].header.mirror_tid, last);
		last = s->at[slot].header.mirror_tid;
	}
}

/* What the later phases need of the root volume's copies. */
static void keep_root_copies(const struct copies *s)
{
	struct h2_check *c = s->c;

	for (unsigned slot = 0; slot < H2_HEADER_COPIES_MAX; slot++) {
		struct h2_check_copy *kept = &c->copies[slot];

		kept->good = s->at[slot].good;
		if (!kept->good)
			continue;
		kept->header = s->at[slot].header;
		memcpy(kept->sroot_set, s->at[slot].bytes->sroot_blockset, sizeof(kept->sroot_set));
		memcpy(kept->freemap_set, s->at[slot].bytes->freemap_blockset,
		       sizeof(kept->freemap_set));
		check_geometry(s, slot);
	}
}

static void check_volume(struct copies *s)
{
	bool clear;

	h2_volumes_info(s->c->volumes, s->volume, &s->info);
	s->newest = -1;
	for (unsigned slot = 0; slot < H2_HEADER_COPIES_MAX; slot++) {
		check_copy(s, slot);
		if (s->at[slot].good &&
		    (s->newest < 0 ||
		     s->at[slot].header.mirror_tid > s->at[s->newest].header.mirror_tid))
			s->newest = (int)slot;
	}
	clear = compare_tids(s);
	for (unsigned slot = 0; slot < H2_HEADER_COPIES_MAX; slot++) {
		if (s->at[slot].good && slot != (unsigned)s->newest)
			compare_with_newest(s, slot);
	}
	if (s->newest >= 0) {
		check_reserved(s, (unsigned)s->newest);
		if (clear)
			check_rotation(s);
	}
	if (s->volume == 0)
		keep_root_copies(s);
}

int h2_check_headers(struct h2_check *c)
{
	struct copies s = {.c = c};
	int err = 0;

	h2_check_begin_phase(c, "headers");
	for (unsigned slot = 0; slot < H2_HEADER_COPIES_MAX && !err; slot++) {
		s.at[slot].bytes = malloc(sizeof(*s.at[slot].bytes));
		if (!s.at[slot].bytes)
			err = -ENOMEM;
	}
	for (unsigned v = 0; !err && v < h2_volumes_count(c->volumes); v++) {
		s.volume = v;
		check_volume(&s);
	}
	for (unsigned slot = 0; slot < H2_HEADER_COPIES_MAX; slot++)
		free(s.at[slot].bytes);
	return err;
}
