/* Freemap geometry, leaf records and the initial content of a leaf, MF 10. */
#include <string.h>

#include "format.h"

void h2_freemap_record_decode(const struct h2d_freemap_record *d, struct h2_freemap_record *r)
{
	r->linear = le32_get(d->linear);
	r->class_ = le16_get(d->class_);
	r->avail = le32_get(d->avail);
	for (unsigned i = 0; i < 8; i++)
		r->bitmap[i] = le64_get(d->bitmap[i]);
}

void h2_freemap_record_encode(const struct h2_freemap_record *r, struct h2d_freemap_record *d)
{
	d->linear = le32_make(r->linear);
	d->class_ = le16_make(r->class_);
	d->avail = le32_make(r->avail);
	for (unsigned i = 0; i < 8; i++)
		d->bitmap[i] = le64_make(r->bitmap[i]);
}

void h2_freemap_hints_decode(const struct h2_blockref *ref, struct h2_freemap_hints *hints)
{
	struct h2d_blockref d;

	memcpy(d.check.bytes, ref->check, sizeof(ref->check));
	hints->icrc32 = le32_get(d.check.freemap.icrc32);
	hints->bigmask = le32_get(d.check.freemap.bigmask);
	hints->avail = le64_get(d.check.freemap.avail);
}

enum h2_granule_state h2_freemap_state(const struct h2d_freemap_record records[H2_FREEMAP_RECORDS],
				       uint64_t zone_offset)
{
	const struct h2d_freemap_record *r = &records[(zone_offset >> 22) & 255];
	uint64_t word = le64_get(r->bitmap[(zone_offset >> 19) & 7]);
	unsigned pair = (unsigned)(zone_offset >> 14) & 31;

	return (enum h2_granule_state)(word >> (2 * pair) & 3);
}

uint64_t h2_freemap_data_off(unsigned level, uint64_t key, unsigned set)
{
	assert(level >= 1 && level <= 5);
	assert(set < H2_FREEMAP_SETS);
	return (key + 65536u * (1 + 5 * set + (level - 1))) | 15;
}

unsigned h2_freemap_level(unsigned keybits)
{
	switch (keybits) {
	case 30:
		return 1;
	case 38:
		return 2;
	case 46:
		return 3;
	case 54:
		return 4;
	case 62:
		return 5;
	default:
		return 0;
	}
}

uint64_t h2_freemap_leaf_init(struct h2d_freemap_record records[H2_FREEMAP_RECORDS], uint64_t key,
			      uint64_t allocator_beg, uint64_t total_size)
{
	uint64_t lo = (allocator_beg + H2_SEGMENT - 1) / H2_SEGMENT * H2_SEGMENT;
	uint64_t hi = total_size / H2_SEGMENT * H2_SEGMENT;
	uint64_t avail = 0;

	if (lo < key + H2_SEGMENT)
		lo = key + H2_SEGMENT;
	memset(records, 0, H2_FREEMAP_RECORDS * sizeof(*records));
	for (unsigned i = 0; i < H2_FREEMAP_RECORDS; i++) {
		uint64_t base = key + i * H2_SEGMENT;

		if (base < lo || base >= hi) {
			records[i].linear = le32_make((uint32_t)H2_SEGMENT);
			memset(records[i].bitmap, 0xff, sizeof(records[i].bitmap));
		} else {
			records[i].avail = le32_make((uint32_t)H2_SEGMENT);
			avail += H2_SEGMENT;
		}
	}
	return avail;
}

uint64_t h2_freemap_usable_bytes(uint64_t usable_lo, uint64_t usable_hi, uint64_t begin,
				 uint64_t end)
{
	uint64_t lo = begin > usable_lo ? begin : usable_lo;
	uint64_t hi = end < usable_hi ? end : usable_hi;
	uint64_t zones, bytes;

	if (lo >= hi)
		return 0;
	/* All of it, less the reserved segment of each zone, or what of it is in the range. */
	zones = (hi + H2_ZONE - 1) / H2_ZONE - lo / H2_ZONE;
	bytes = hi - lo - zones * H2_SEGMENT;
	return bytes + (lo % H2_ZONE < H2_SEGMENT ? lo % H2_ZONE : H2_SEGMENT);
}
