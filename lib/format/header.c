/* The volume header: decoding, encoding, sealing and checking. */
#include "check.h"
#include "format.h"

const struct h2_uuid h2_fstype_uuid = {{0xd1, 0x9a, 0xbb, 0x5c, 0x2d, 0x86, 0xdc, 0x11, 0xa9, 0x4d,
					0x01, 0x30, 0x1b, 0xb8, 0xa9, 0xf5}};

#define SECT1_OFFSET 512u
#define SECT1_SIZE 512u
#define SECT0_CRC_SIZE 508u /* what icrc_sects[7] covers: all of sector 0 before itself */
#define WHOLE_CRC_SIZE 65532u

void h2_volume_header_decode(const struct h2d_volume_header *d, struct h2_volume_header *h)
{
	*h = (struct h2_volume_header){
		.magic = le64_get(d->magic),
		.boot_beg = le64_get(d->boot_beg),
		.boot_end = le64_get(d->boot_end),
		.aux_beg = le64_get(d->aux_beg),
		.aux_end = le64_get(d->aux_end),
		.volu_size = le64_get(d->volu_size),
		.version = le32_get(d->version),
		.flags = le32_get(d->flags),
		.copyid = d->copyid,
		.freemap_version = d->freemap_version,
		.peer_type = d->peer_type,
		.volu_id = d->volu_id,
		.nvolumes = d->nvolumes,
		.fsid = d->fsid,
		.fstype = d->fstype,
		.allocator_size = le64_get(d->allocator_size),
		.allocator_free = le64_get(d->allocator_free),
		.allocator_beg = le64_get(d->allocator_beg),
		.mirror_tid = le64_get(d->mirror_tid),
		.freemap_tid = le64_get(d->freemap_tid),
		.bulkfree_tid = le64_get(d->bulkfree_tid),
		.total_size = le64_get(d->total_size),
		.icrc_volheader = le32_get(d->icrc_volheader),
	};
	for (unsigned i = 0; i < 8; i++)
		h->icrc_sects[i] = le32_get(d->icrc_sects[i]);
	for (unsigned i = 0; i < H2_BLOCKSET_COUNT; i++) {
		h2_blockref_decode(&d->sroot_blockset[i], &h->sroot_blockset[i]);
		h2_blockref_decode(&d->freemap_blockset[i], &h->freemap_blockset[i]);
	}
	for (unsigned i = 0; i < H2_VOLUMES_MAX; i++)
		h->volu_loff[i] = le64_get(d->volu_loff[i]);
}

void h2_volume_header_encode(const struct h2_volume_header *h, struct h2d_volume_header *d)
{
	d->magic = le64_make(H2_MAGIC);
	d->boot_beg = le64_make(h->boot_beg);
	d->boot_end = le64_make(h->boot_end);
	d->aux_beg = le64_make(h->aux_beg);
	d->aux_end = le64_make(h->aux_end);
	d->volu_size = le64_make(h->volu_size);
	d->version = le32_make(h->version);
	d->flags = le32_make(h->flags);
	d->copyid = h->copyid;
	d->freemap_version = h->freemap_version;
	d->peer_type = h->peer_type;
	d->volu_id = h->volu_id;
	d->nvolumes = h->nvolumes;
	d->fsid = h->fsid;
	d->fstype = h->fstype;
	d->allocator_size = le64_make(h->allocator_size);
	d->allocator_free = le64_make(h->allocator_free);
	d->allocator_beg = le64_make(h->allocator_beg);
	d->mirror_tid = le64_make(h->mirror_tid);
	d->freemap_tid = le64_make(h->freemap_tid);
	d->bulkfree_tid = le64_make(h->bulkfree_tid);
	d->total_size = le64_make(h->total_size);
	for (unsigned i = 0; i < H2_BLOCKSET_COUNT; i++) {
		h2_blockref_encode(&h->sroot_blockset[i], &d->sroot_blockset[i]);
		h2_blockref_encode(&h->freemap_blockset[i], &d->freemap_blockset[i]);
	}
	for (unsigned i = 0; i < H2_VOLUMES_MAX; i++)
		d->volu_loff[i] = le64_make(h->volu_loff[i]);
}

void h2_volume_header_seal(struct h2d_volume_header *d)
{
	const uint8_t *bytes = (const uint8_t *)d;

	/* The CRC of sector 1 lies in the range of sector 0's, and both in the whole one's. */
	d->icrc_sects[6] = le32_make(h2_crc32c(bytes + SECT1_OFFSET, SECT1_SIZE));
	d->icrc_sects[7] = le32_make(h2_crc32c(bytes, SECT0_CRC_SIZE));
	d->icrc_volheader = le32_make(h2_crc32c(bytes, WHOLE_CRC_SIZE));
}

enum h2_header_state h2_volume_header_check(const struct h2d_volume_header *d,
					    struct h2_header_crcs *crcs)
{
	const uint8_t *bytes = (const uint8_t *)d;
	struct h2_header_crcs computed;

	if (le64_get(d->magic) == H2_MAGIC_SWAPPED)
		return H2_HEADER_SWAPPED;
	if (le64_get(d->magic) != H2_MAGIC)
		return H2_HEADER_NO_MAGIC;
	computed = (struct h2_header_crcs){
		.sect1 = h2_crc32c(bytes + SECT1_OFFSET, SECT1_SIZE),
		.sect0 = h2_crc32c(bytes, SECT0_CRC_SIZE),
		.whole = h2_crc32c(bytes, WHOLE_CRC_SIZE),
	};
	if (crcs)
		*crcs = computed;
	if (le32_get(d->icrc_sects[7]) != computed.sect0)
		return H2_HEADER_BAD_SECT0;
	if (le32_get(d->icrc_sects[6]) != computed.sect1)
		return H2_HEADER_BAD_SECT1;
	if (le32_get(d->icrc_volheader) != computed.whole)
		return H2_HEADER_BAD_WHOLE;
	return H2_HEADER_GOOD;
}

const char *h2_header_state_name(enum h2_header_state state)
{
	switch (state) {
	case H2_HEADER_GOOD:
		return "good";
	case H2_HEADER_NO_MAGIC:
		return "no HAMMER2 magic number";
	case H2_HEADER_SWAPPED:
		return "written on a machine of the other byte order";
	case H2_HEADER_BAD_SECT0:
		return "wrong CRC of sector 0";
	case H2_HEADER_BAD_SECT1:
		return "wrong CRC of sector 1";
	case H2_HEADER_BAD_WHOLE:
		return "wrong CRC of the whole header";
	}
	return "?";
}
