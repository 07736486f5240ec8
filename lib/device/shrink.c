/*
 * Cutting a filesystem; see shrink.h.
 *
 * What lies behind the new end is free, so only two things tell of it: the freemap and the header.
 * In the freemap, segments behind the end are allocated (MF 10.7), and zones behind it have no
 * leaf.
 */
#include "shrink.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "format.h"
#include "volumes.h"

#define NODE_ENTRIES (H2_FREEMAP_BLOCK_SIZE / H2_BLOCKREF_SIZE)
#define ROOT_LEVEL 6u
#define ROOM_LEFT (UINT64_C(1) << 20) /* for some small changes */

struct shrink {
	struct h2_device *dev;
	const struct h2_volume_header *header;
	uint64_t new_size; /* bytes */
	h2_report_fn *report;
	void *report_user;
};

static int fault(const struct shrink *s, const struct h2_blockref *ref, int err, const char *what)
{
	char message[256];

	if (!s->report)
		return err;
	snprintf(message, sizeof(message), "%s: freemap block of zone %#" PRIx64 ": %s",
		 s->dev->name, ref->key, what);
	s->report(s->report_user, &(struct h2_report){
					  .severity = H2_FAULT,
					  .error = err,
					  .code = "freemap-damage",
					  .object = "freemap",
					  .message = message,
					  .flags = H2_REPORT_HAS_MEDIA,
					  .media = h2_blockref_offset(ref),
				  });
	return err;
}

static uint64_t round_up(uint64_t value, uint64_t unit)
{
	return (value + unit - 1) / unit * unit;
}

/* ---- reading ---- */

static int read_block(const struct shrink *s, const struct h2_blockref *ref, void *block)
{
	int err = h2_device_read(s->dev, h2_blockref_offset(ref), block, H2_FREEMAP_BLOCK_SIZE);

	if (err)
		return fault(s, ref, err, strerror(-err));
	if (h2_check_verify(ref, block, H2_FREEMAP_BLOCK_SIZE) != H2_CHECK_MATCH)
		return fault(s, ref, -H2_ECHECK, "does not match its check code");
	return 0;
}

/* The non-empty refs of an array, which must be sound and ascending, moved to its front. */
static int gather(const struct shrink *s, struct h2_blockref *refs, unsigned count, unsigned level,
		  unsigned *used)
{
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++) {
		struct h2_problem problem;

		if (refs[i].type == H2_BLOCKREF_EMPTY)
			continue;
		if (!h2_blockref_verify(&refs[i], H2_TREE_FREEMAP, s->header->volu_size,
					&problem) ||
		    h2_freemap_level(refs[i].keybits) >= level ||
		    (n > 0 && refs[i].key <= h2_blockref_key_last(&refs[n - 1])))
			return fault(s, &refs[i], -H2_ECORRUPT, "a blockref is not sound");
		refs[n++] = refs[i];
	}
	*used = n;
	return 0;
}

/* Read a node. *refsp is the caller's to free. */
static int read_node(const struct shrink *s, const struct h2_blockref *ref,
		     struct h2_blockref **refsp, unsigned *used)
{
	struct h2d_blockref *block = malloc(H2_FREEMAP_BLOCK_SIZE);
	struct h2_blockref *refs = calloc(NODE_ENTRIES, sizeof(*refs));
	int err = block && refs ? read_block(s, ref, block) : -ENOMEM;

	for (unsigned i = 0; i < NODE_ENTRIES && !err; i++)
		h2_blockref_decode(&block[i], &refs[i]);
	if (!err)
		err = gather(s, refs, NODE_ENTRIES, h2_freemap_level(ref->keybits), used);
	free(block);
	if (err)
		free(refs);
	else
		*refsp = refs;
	return err;
}

/* ---- where the end can be ---- */

/* Whether storage of the segment at offset can be allocated at all. */
static bool is_usable(const struct shrink *s, uint64_t offset)
{
	return offset % H2_ZONE >= H2_SEGMENT &&
	       offset >= round_up(s->header->allocator_beg, H2_SEGMENT) &&
	       offset < s->header->volu_size;
}

/* The end of the last granule in use in a leaf; 0: none is. */
static uint64_t end_in_leaf(const struct shrink *s, uint64_t key,
			    const struct h2d_freemap_record *records)
{
	for (uint64_t offset = H2_ZONE; offset > 0; offset -= H2_GRANULE) {
		uint64_t granule = offset - H2_GRANULE;

		if (is_usable(s, key + granule) &&
		    h2_freemap_state(records, granule) != H2_GRANULE_FREE)
			return key + offset;
	}
	return 0;
}

static int find_end(const struct shrink *s, const struct h2_blockref *refs, unsigned count,
		    uint64_t *end);

static int end_below(const struct shrink *s, const struct h2_blockref *ref, uint64_t *end)
{
	struct h2d_freemap_record *records;
	struct h2_blockref *refs;
	unsigned count;
	int err;

	if (ref->type == H2_BLOCKREF_FREEMAP_NODE) {
		err = read_node(s, ref, &refs, &count);
		if (err)
			return err;
		err = find_end(s, refs, count, end);
		free(refs);
		return err;
	}
	records = malloc(H2_FREEMAP_BLOCK_SIZE);
	if (!records)
		return -ENOMEM;
	err = read_block(s, ref, records);
	if (!err)
		*end = end_in_leaf(s, ref->key, records);
	free(records);
	return err;
}

/* The last zones come first: the first one that has anything in use tells. */
static int find_end(const struct shrink *s, const struct h2_blockref *refs, unsigned count,
		    uint64_t *end)
{
	int err = 0;

	*end = 0;
	while (count-- > 0 && !err && *end == 0)
		err = end_below(s, &refs[count], end);
	return err;
}

/* ---- cutting the freemap ---- */

/* Write a block to the next of its places. */
static int move_block(const struct shrink *s, struct h2_blockref *ref, const void *block)
{
	unsigned set = ((unsigned)(ref->data_off >> 16 & 63) - 1) / 5 + 1;

	ref->data_off = h2_freemap_data_off(h2_freemap_level(ref->keybits), ref->key,
					    set % H2_FREEMAP_SETS);
	ref->mirror_tid = ref->modify_tid = s->header->mirror_tid + 1;
	(void)h2_check_set(ref, block, H2_FREEMAP_BLOCK_SIZE);
	return h2_device_write(s->dev, h2_blockref_offset(ref), block, H2_FREEMAP_BLOCK_SIZE);
}

/* The leaf in whose zone the new end is: what a new leaf has behind it, and the hint of one. */
static int cut_leaf(const struct shrink *s, struct h2_blockref *ref)
{
	struct h2d_freemap_record *records = malloc(H2_FREEMAP_BLOCK_SIZE);
	struct h2d_freemap_record *fresh = malloc(H2_FREEMAP_BLOCK_SIZE);
	int err = records && fresh ? read_block(s, ref, records) : -ENOMEM;
	uint64_t avail;
	le64 hint;

	if (!err) {
		avail = h2_freemap_leaf_init(fresh, ref->key, s->header->allocator_beg,
					     s->new_size);
		for (unsigned i = 0; i < H2_FREEMAP_RECORDS; i++) {
			if (ref->key + i * H2_SEGMENT >= s->new_size)
				records[i] = fresh[i];
		}
		hint = le64_make(avail);
		memcpy(ref->check + 8, hint.b, sizeof(hint.b)); /* MF 10.6 */
		err = move_block(s, ref, records);
	}
	free(records);
	free(fresh);
	return err;
}

static int cut_array(const struct shrink *s, struct h2_blockref *refs, unsigned *count);

static int cut_node(const struct shrink *s, struct h2_blockref *ref)
{
	struct h2d_blockref *block = calloc(1, H2_FREEMAP_BLOCK_SIZE);
	struct h2_blockref *refs;
	unsigned count;
	int err = block ? read_node(s, ref, &refs, &count) : -ENOMEM;

	if (!err) {
		err = cut_array(s, refs, &count);
		for (unsigned i = 0; i < count && !err; i++)
			h2_blockref_encode(&refs[i], &block[i]);
		free(refs);
	}
	if (!err)
		err = move_block(s, ref, block);
	free(block);
	return err;
}

/* Zones behind the end lose their leaves; the one that it is in is changed. */
static int cut_array(const struct shrink *s, struct h2_blockref *refs, unsigned *count)
{
	int err = 0;

	while (*count > 0 && refs[*count - 1].key >= s->new_size)
		--*count;
	if (*count > 0 && h2_blockref_key_last(&refs[*count - 1]) >= s->new_size) {
		struct h2_blockref *last = &refs[*count - 1];

		err = last->type == H2_BLOCKREF_FREEMAP_NODE ? cut_node(s, last)
							     : cut_leaf(s, last);
	}
	return err;
}

/* ---- the header ---- */

/* MF 2.8 */
static uint64_t allocator_size(const struct h2_volume_header *h, uint64_t size)
{
	return size - (size + H2_ZONE - 1) / H2_ZONE * H2_SEGMENT - (h->boot_end - h->boot_beg) -
	       (h->aux_end - h->aux_beg);
}

/* The least size with enough free space behind the end of what is in use. */
static uint64_t choose_size(const struct h2_volume_header *h, uint64_t end)
{
	uint64_t size = round_up(end, H2_VOLUME_ALIGN);

	while (size < h->volu_size &&
	       allocator_size(h, size) - allocator_size(h, end) <
		       h2_volumes_reserve(allocator_size(h, size)) + ROOM_LEFT)
		size += H2_VOLUME_ALIGN;
	return size;
}

int h2_shrink(struct h2_device *dev, struct h2_volume_header *header, h2_report_fn *report,
	      void *report_user)
{
	struct shrink s = {
		.dev = dev,
		.header = header,
		.report = report,
		.report_user = report_user,
	};
	struct h2_volume_header h = *header;
	uint64_t end, beg = round_up(header->allocator_beg, H2_SEGMENT), lost;
	unsigned count;
	int err;

	if (header->nvolumes > 1)
		return -EINVAL;
	err = gather(&s, h.freemap_blockset, H2_BLOCKSET_COUNT, ROOT_LEVEL, &count);
	if (!err)
		err = find_end(&s, h.freemap_blockset, count, &end);
	if (err)
		return err;
	s.new_size = choose_size(&h, end > beg ? end : beg);
	if (s.new_size >= header->volu_size)
		return 0;
	err = cut_array(&s, h.freemap_blockset, &count);
	if (err)
		return err;
	for (unsigned i = count; i < H2_BLOCKSET_COUNT; i++)
		h.freemap_blockset[i] = (struct h2_blockref){.type = H2_BLOCKREF_EMPTY};
	h.volu_size = s.new_size;
	if (h.version > 1)
		h.total_size = s.new_size;
	h.allocator_size = allocator_size(&h, s.new_size);
	lost = header->allocator_size - h.allocator_size;
	h.allocator_free -= lost < h.allocator_free ? lost : h.allocator_free;
	h.mirror_tid = h.freemap_tid = header->mirror_tid + 1;
	*header = h;
	return 0;
}
