/*
 * Partition tables: GPT, the primary entries of an MBR, and DragonFly's disklabel64.
 *
 * Tables are read in the layouts below and believed only after their check codes, where they have
 * any. Every number in them is hostile: offsets are compared with the size of what they lie in
 * before they are multiplied or added.
 */
#include "partition.h"

#include <assert.h>
#include <errno.h>
#include <hammer2/report.h>
#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>

#include "le.h"

#define NUMBER_DIGITS_MAX 4u

/* A name taken apart. */
struct name {
	char kind;       /* 'p', 's', or 0: the whole device */
	unsigned number; /* of the partition or slice */
	char letter;     /* of the disklabel64 partition; 0: none */
};

/* A piece of the device. */
struct extent {
	uint64_t offset; /* bytes */
	uint64_t size;   /* bytes */
};

#define MBR_ENTRIES 4u
#define MBR_SECTOR 512u
#define MBR_SIGNATURE 0xaa55u
#define MBR_TYPE_GPT 0xeeu

struct mbr_entry {
	uint8_t status;
	uint8_t first_chs[3];
	uint8_t type;
	uint8_t last_chs[3];
	le32 first; /* sectors */
	le32 count; /* sectors */
};

struct mbr {
	uint8_t code[446];
	struct mbr_entry entries[MBR_ENTRIES];
	le16 signature;
};
static_assert(sizeof(struct mbr) == MBR_SECTOR, "an MBR is one sector");

#define GPT_SIGNATURE "EFI PART"
#define GPT_ARRAY_MAX (1u << 20) /* bytes of entries that we read; the usual array has 16 KiB */

struct gpt_header {
	uint8_t signature[8];
	le32 revision;
	le32 header_size; /* bytes that the CRC covers */
	le32 header_crc;
	le32 reserved;
	le64 my_lba;
	le64 alternate_lba;
	le64 first_usable_lba;
	le64 last_usable_lba;
	uint8_t disk_guid[16];
	le64 entries_lba;
	le32 entry_count;
	le32 entry_size; /* bytes */
	le32 entries_crc;
};
static_assert(sizeof(struct gpt_header) == 92, "a GPT header has 92 bytes that mean something");

struct gpt_entry {
	uint8_t type_guid[16]; /* zero: unused */
	uint8_t guid[16];
	le64 first_lba;
	le64 last_lba; /* this one included */
	le64 attributes;
	uint8_t name[72];
};
static_assert(sizeof(struct gpt_entry) == 128, "a GPT entry has at least 128 bytes");

#define LABEL_MAGIC 0xc4464c59u
#define LABEL_PARTITIONS 16u

struct label_partition {
	le64 offset; /* bytes, relative to the slice */
	le64 size;   /* bytes */
	uint8_t fstype;
	uint8_t reserved[15];
	uint8_t type_uuid[16];
	uint8_t storage_uuid[16];
};
static_assert(sizeof(struct label_partition) == 64, "a disklabel64 partition has 64 bytes");

struct label {
	uint8_t reserved0[512];
	le32 magic;
	le32 crc;
	le32 align;
	le32 partition_count;
	uint8_t uuid[16];
	le64 total_size;
	le64 boot_base;
	le64 partition_base;
	le64 partition_stop;
	le64 alternate_base;
	uint8_t pack_name[64];
	uint8_t reserved1[64];
	struct label_partition partitions[LABEL_PARTITIONS];
};
static_assert(sizeof(struct label) == 1736, "a disklabel64 has 1736 bytes");
static_assert(offsetof(struct label, partitions) == 712, "disklabel64");

static bool is_letter(char c)
{
	return c >= 'a' && c <= 'p';
}

/* The decimal number at *text, without leading zeros; *text is moved behind it. */
static bool parse_number(const char **text, unsigned *number)
{
	const char *p = *text;
	unsigned value = 0, digits = 0;

	for (; *p >= '0' && *p <= '9'; p++) {
		value = value * 10 + (unsigned)(*p - '0');
		if (++digits > NUMBER_DIGITS_MAX)
			return false;
	}
	if (digits == 0 || (digits > 1 && **text == '0'))
		return false;
	*text = p;
	*number = value;
	return true;
}

static bool parse_name(const char *text, struct name *name)
{
	*name = (struct name){0};
	/* "p" alone is the letter; "p1" is a partition. */
	if ((text[0] == 'p' || text[0] == 's') && text[1]) {
		name->kind = *text++;
		if (!parse_number(&text, &name->number))
			return false;
		if (name->kind == 'p' && name->number == 0)
			return false;
		if (!*text)
			return true;
	}
	if (!is_letter(text[0]) || text[1])
		return false;
	name->letter = text[0];
	return true;
}

bool h2_partition_name_valid(const char *text)
{
	struct name name;

	return parse_name(text, &name);
}

/* The CRC-32 of the len bytes with the four at field taken as 0. */
static uint32_t crc_without(const uint8_t *bytes, size_t len, size_t field)
{
	static const uint8_t zeros[4];
	uint32_t crc = libdeflate_crc32(0, bytes, field);

	crc = libdeflate_crc32(crc, zeros, sizeof(zeros));
	return libdeflate_crc32(crc, bytes + field + 4, len - field - 4);
}

/* count units of unit_size bytes from first on, which must lie in the device. */
static int to_extent(const struct h2_device *dev, uint64_t first, uint64_t count,
		     uint32_t unit_size, struct extent *extent)
{
	uint64_t units = dev->size / unit_size;

	if (first > units || count > units - first)
		return -H2_ECORRUPT;
	*extent = (struct extent){first * unit_size, count * unit_size};
	return 0;
}

/* ---- MBR ---- */

/* Whether the device has an MBR that is not just there to protect a GPT. */
static bool mbr_rules(const struct mbr *mbr)
{
	bool any = false;

	if (le16_get(mbr->signature) != MBR_SIGNATURE)
		return false;
	for (unsigned i = 0; i < MBR_ENTRIES; i++) {
		if (mbr->entries[i].type == MBR_TYPE_GPT)
			return false;
		any = any || mbr->entries[i].type != 0;
	}
	return any;
}

/* Both "p1" and "s1" are the first entry. */
static int find_mbr(const struct h2_device *dev, const struct mbr *mbr, const struct name *name,
		    struct extent *extent)
{
	const struct mbr_entry *entry;

	if (name->number < 1 || name->number > MBR_ENTRIES)
		return -ENOENT;
	entry = &mbr->entries[name->number - 1];
	if (entry->type == 0 || le32_get(entry->count) == 0)
		return -ENOENT;
	return to_extent(dev, le32_get(entry->first), le32_get(entry->count), MBR_SECTOR, extent);
}

/* ---- GPT ---- */

struct gpt {
	uint32_t sector_size;
	uint32_t entry_size;
	uint32_t entry_count;
	uint8_t *entries;
};

/* Whether entries of these sizes can be read; checked before anything is multiplied. */
static bool gpt_geometry_good(const struct gpt_header *h)
{
	uint32_t size = le32_get(h->entry_size), count = le32_get(h->entry_count);

	/* 128 x 2^n bytes each. */
	if (size < sizeof(struct gpt_entry) || size > GPT_ARRAY_MAX || (size & (size - 1)))
		return false;
	return count >= 1 && count <= GPT_ARRAY_MAX / size;
}

static int read_gpt_entries(struct h2_device *dev, const struct gpt_header *h, struct gpt *gpt)
{
	size_t bytes = (size_t)gpt->entry_size * gpt->entry_count;
	uint64_t lba = le64_get(h->entries_lba);
	uint64_t offset;
	int err;

	if (lba > dev->size / gpt->sector_size)
		return -H2_ECORRUPT;
	offset = lba * gpt->sector_size;
	if (bytes > dev->size - offset)
		return -H2_ECORRUPT;
	gpt->entries = malloc(bytes);
	if (!gpt->entries)
		return -ENOMEM;
	err = h2_device_read(dev, offset, gpt->entries, bytes);
	if (!err && libdeflate_crc32(0, gpt->entries, bytes) != le32_get(h->entries_crc))
		err = -H2_ECHECK;
	if (err)
		free(gpt->entries);
	return err;
}

/* The table whose header lies in that sector. -ENOENT where there is none. */
static int read_gpt_at(struct h2_device *dev, uint32_t sector_size, uint64_t lba, struct gpt *gpt)
{
	uint8_t sector[4096];
	const struct gpt_header *h = (const struct gpt_header *)sector;
	uint32_t header_size;
	int err = h2_device_read(dev, lba * sector_size, sector, sector_size);

	if (err)
		return err;
	if (memcmp(h->signature, GPT_SIGNATURE, sizeof(h->signature)) != 0)
		return -ENOENT;
	header_size = le32_get(h->header_size);
	if (header_size < sizeof(*h) || header_size > sector_size)
		return -H2_ECORRUPT;
	if (crc_without(sector, header_size, offsetof(struct gpt_header, header_crc)) !=
	    le32_get(h->header_crc))
		return -H2_ECHECK;
	if (le64_get(h->my_lba) != lba || !gpt_geometry_good(h))
		return -H2_ECORRUPT;
	*gpt = (struct gpt){
		.sector_size = sector_size,
		.entry_size = le32_get(h->entry_size),
		.entry_count = le32_get(h->entry_count),
	};
	return read_gpt_entries(dev, h, gpt);
}

/* The first good table of the places where one may be: the backups come last. */
static int read_gpt(struct h2_device *dev, struct gpt *gpt)
{
	static const uint32_t sector_sizes[] = {512, 4096};
	int first_error = -ENOENT;

	for (unsigned i = 0; i < 4; i++) {
		uint32_t sector_size = sector_sizes[i % 2];
		uint64_t sectors = dev->size / sector_size;
		int err;

		if (sectors < 3)
			continue;
		err = read_gpt_at(dev, sector_size, i < 2 ? 1 : sectors - 1, gpt);
		if (!err || err == -ENOMEM)
			return err;
		if (first_error == -ENOENT)
			first_error = err;
	}
	return first_error;
}

/* "p1" and "s0" are the first entry. */
static int find_gpt(struct h2_device *dev, const struct name *name, struct extent *extent)
{
	static const uint8_t unused[16];
	unsigned index = name->kind == 'p' ? name->number - 1 : name->number;
	const struct gpt_entry *entry;
	uint64_t first, last;
	struct gpt gpt;
	int err = read_gpt(dev, &gpt);

	if (err)
		return err;
	err = -ENOENT;
	if (index >= gpt.entry_count)
		goto out;
	entry = (const struct gpt_entry *)(gpt.entries + (size_t)index * gpt.entry_size);
	if (memcmp(entry->type_guid, unused, sizeof(unused)) == 0)
		goto out;
	err = -H2_ECORRUPT;
	first = le64_get(entry->first_lba);
	last = le64_get(entry->last_lba);
	if (first > last || last == UINT64_MAX)
		goto out;
	err = to_extent(dev, first, last - first + 1, gpt.sector_size, extent);
out:
	free(gpt.entries);
	return err;
}

static int find_slice(struct h2_device *dev, const struct name *name, struct extent *extent)
{
	struct mbr mbr;
	int err;

	if (dev->size < sizeof(mbr))
		return -ENOENT;
	err = h2_device_read(dev, 0, &mbr, sizeof(mbr));
	if (err)
		return err;
	return mbr_rules(&mbr) ? find_mbr(dev, &mbr, name, extent) : find_gpt(dev, name, extent);
}

/* ---- disklabel64 ---- */

/* From the magic number through the last of the count partitions. */
static uint32_t label_crc(const struct label *label, uint32_t count)
{
	size_t begin = offsetof(struct label, magic);
	size_t end = offsetof(struct label, partitions) + count * sizeof(struct label_partition);

	return crc_without((const uint8_t *)label + begin, end - begin,
			   offsetof(struct label, crc) - begin);
}

/* Narrow *extent, a slice or the whole device, to a partition of the label that it begins with. */
static int find_label_partition(struct h2_device *dev, char letter, struct extent *extent)
{
	const struct label_partition *partition;
	unsigned index = (unsigned)(letter - 'a');
	struct label label;
	uint64_t offset, size;
	uint32_t count;
	int err;

	if (extent->size < sizeof(label))
		return -ENOENT;
	err = h2_device_read(dev, extent->offset, &label, sizeof(label));
	if (err)
		return err;
	if (le32_get(label.magic) != LABEL_MAGIC)
		return -ENOENT;
	count = le32_get(label.partition_count);
	if (count > LABEL_PARTITIONS)
		return -H2_ECORRUPT;
	if (label_crc(&label, count) != le32_get(label.crc))
		return -H2_ECHECK;
	if (index >= count)
		return -ENOENT;
	partition = &label.partitions[index];
	offset = le64_get(partition->offset);
	size = le64_get(partition->size);
	if (size == 0)
		return -ENOENT;
	if (offset > extent->size || size > extent->size - offset)
		return -H2_ECORRUPT;
	*extent = (struct extent){extent->offset + offset, size};
	return 0;
}

int h2_partition_find(struct h2_device *dev, const char *text, uint64_t *offset, uint64_t *size)
{
	struct extent extent = {0, dev->size};
	struct name name;
	int err = 0;

	if (!parse_name(text, &name))
		return -ENOENT;
	if (name.kind)
		err = find_slice(dev, &name, &extent);
	if (!err && name.letter)
		err = find_label_partition(dev, name.letter, &extent);
	if (err)
		return err;
	*offset = extent.offset;
	*size = extent.size;
	return 0;
}
