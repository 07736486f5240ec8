/* See lost_record.h. */
#include "lost_record.h"

#include <assert.h>
#include <string.h>

#include "check.h"
#include "format.h"

struct h2d_lost_record {
	uint8_t magic[8];
	struct h2_uuid fsid;
	le64 mirror_tid; /* of the state that it is about */
	le64 lost_bytes;
	uint8_t reserved[4096 - 44];
	le32 crc; /* iSCSI CRC32 of all before it */
};
static_assert(sizeof(struct h2d_lost_record) == 4096, "one sector, which no device tears");

static const uint8_t magic[8] = {'H', '2', 'L', 'O', 'S', 'T', '0', '1'};

static uint32_t crc_of(const struct h2d_lost_record *d)
{
	return h2_crc32c(d, offsetof(struct h2d_lost_record, crc));
}

bool h2_lost_record_read(struct h2_volumes *volumes, uint64_t mirror_tid, uint64_t *bytes)
{
	const struct h2_volume_header *header = h2_volumes_header(volumes);
	struct h2d_lost_record d;

	if (h2_volumes_read(volumes, H2_LOST_RECORD_OFFSET, &d, sizeof(d)) != 0 ||
	    memcmp(d.magic, magic, sizeof(magic)) != 0 || le32_get(d.crc) != crc_of(&d) ||
	    memcmp(&d.fsid, &header->fsid, sizeof(d.fsid)) != 0 ||
	    le64_get(d.mirror_tid) != mirror_tid)
		return false;
	*bytes = le64_get(d.lost_bytes);
	return *bytes <= h2_volumes_total_size(volumes);
}

int h2_lost_record_write(struct h2_volumes *volumes, uint64_t mirror_tid, uint64_t bytes)
{
	struct h2d_lost_record d = {
		.fsid = h2_volumes_header(volumes)->fsid,
		.mirror_tid = le64_make(mirror_tid),
		.lost_bytes = le64_make(bytes),
	};
	int err;

	memcpy(d.magic, magic, sizeof(magic));
	d.crc = le32_make(crc_of(&d));
	err = h2_volumes_write(volumes, H2_LOST_RECORD_OFFSET, &d, sizeof(d));
	return err ? err : h2_volumes_flush(volumes);
}
