/*
 * Fuzzing of everything that decodes bytes without I/O of its own: headers, inodes, blockrefs,
 * freemap records, compressed blocks, names, UUIDs, and partition tables. The first byte of an
 * input chooses.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "compress.h"
#include "flat.h"
#include "format.h"
#include "fuzz.h"
#include "node.h"
#include "partition.h"

#define TOTAL (UINT64_C(1) << 40)

static void fuzz_header(const uint8_t *data, size_t size)
{
	static struct h2d_volume_header d, again;
	struct h2_volume_header h;

	memset(&d, 0, sizeof(d));
	memcpy(&d, data, size < sizeof(d) ? size : sizeof(d));
	h2_volume_header_check(&d, NULL);
	h2_volume_header_decode(&d, &h);
	again = d;
	h2_volume_header_encode(&h, &again);
	h2_volume_header_seal(&again);
	REQUIRE(h2_volume_header_check(&again, NULL) == H2_HEADER_GOOD);
}

static void fuzz_inode(const uint8_t *data, size_t size)
{
	struct h2_inode_meta m, again;
	struct h2_problem problem;
	struct h2d_inode d, e, f;

	memset(&d, 0, sizeof(d));
	memcpy(&d, data, size < sizeof(d) ? size : sizeof(d));
	h2_inode_decode(&d, &m);
	for (unsigned place = H2_PLACE_SUPER_ROOT; place <= H2_PLACE_LEGACY; place++)
		h2_inode_verify(&m, place, m.inum, &problem);
	e = d;
	h2_inode_encode(&m, &e);
	f = e;
	h2_inode_decode(&e, &again);
	h2_inode_encode(&again, &f);
	REQUIRE(memcmp(&e, &f, sizeof(e)) == 0);
}

/* An array of references: what is accepted can be followed without arithmetic going wrong. */
static void fuzz_array(const uint8_t *data, size_t size)
{
	static struct h2d_blockref refs[8];
	struct h2_array_entry entries[8];
	struct h2_array array;
	struct h2_problem problem;

	memset(refs, 0, sizeof(refs));
	memcpy(refs, data, size < sizeof(refs) ? size : sizeof(refs));
	h2_array_init(&array, refs, 8, entries);
	for (unsigned i = 0; i < array.count; i++) {
		REQUIRE(entries[i].lo <= entries[i].hi);
		REQUIRE(i == 0 || entries[i - 1].lo <= entries[i].lo);
		REQUIRE(h2_array_find(&array, entries[i].hi) <= i);
	}
	for (unsigned i = 0; i < 8; i++) {
		struct h2_blockref ref;

		h2_blockref_decode(&refs[i], &ref);
		for (unsigned kind = H2_TREE_SUPER_ROOT_SET; kind <= H2_TREE_FREEMAP; kind++) {
			if (!h2_blockref_verify(&ref, kind, TOTAL, &problem))
				continue;
			REQUIRE(ref.keybits < 64);
			REQUIRE(h2_blockref_radix(&ref) <= 16);
			REQUIRE(h2_blockref_key_last(&ref) >= ref.key);
			if (h2_blockref_radix(&ref))
				REQUIRE(h2_blockref_offset(&ref) +
						(UINT64_C(1) << h2_blockref_radix(&ref)) <=
					TOTAL);
		}
	}
}

static void fuzz_decode(const uint8_t *data, size_t size)
{
	/* Exactly as long as the declared sizes, so that the sanitizer sees a step beyond. */
	size_t max = size > 1 ? (size_t)1 << (10 + data[0] % 7) : 1;
	uint8_t *out = malloc(max);
	size_t len = 0;

	if (size > 2 && h2_data_decode(data[1] % 5, data + 2, size - 2, out, max, &len) == 0)
		REQUIRE(len <= max);
	free(out);
}

static void fuzz_encode(const uint8_t *data, size_t size)
{
	static uint8_t plain[H2_BLOCK_MAX], stored[H2_BLOCK_MAX], back[H2_BLOCK_MAX];
	size_t len = 1024, got = 0;
	unsigned comp = 0;
	int n;

	if (size < 2)
		return;
	while (len < size * 16 && len < sizeof(plain))
		len *= 2;
	memcpy(plain, data, size < len ? size : len);
	for (size_t filled = size; filled < len; filled *= 2)
		memcpy(plain + filled, plain, filled < len - filled ? filled : len - filled);
	n = h2_data_encode(data[0], plain, len, stored, &comp);
	if (n <= 0)
		return;
	REQUIRE((size_t)n <= len);
	REQUIRE(h2_data_decode(comp, stored, (size_t)n, back, sizeof(back), &got) == 0);
	REQUIRE(got == len && memcmp(plain, back, len) == 0);
}

static void fuzz_text(const uint8_t *data, size_t size)
{
	char text[64] = "", again[H2_UUID_TEXT_SIZE];
	struct h2_uuid uuid;
	struct h2_spec spec;

	REQUIRE((h2_name_hash(data, size) & UINT64_C(0x8000000000008000)) ==
		UINT64_C(0x8000000000008000));
	h2_name_valid(data, size < 300 ? size : 300);
	memcpy(text, data, size < sizeof(text) - 1 ? size : sizeof(text) - 1);
	if (h2_uuid_parse(text, &uuid) == 0) {
		h2_uuid_format(&uuid, again);
		REQUIRE(strcasecmp(text, again) == 0);
	}
	h2_partition_name_valid(text);
	if (h2_spec_parse(text, &spec) == 0) {
		h2_spec_default_label(&spec);
		h2_spec_fini(&spec);
	}
}

/* The input is the first and the last sectors of a disk of 1 MiB. */
static void fuzz_partition(const uint8_t *data, size_t size)
{
	static const char *const names[] = {"p1", "s0", "s1", "s1a", "s4p", "a", "p128", "p2d"};
	static uint8_t disk[1 << 20];
	struct h2_device *dev = flat_device(disk, sizeof(disk), NULL);
	size_t head = size < sizeof(disk) ? size : sizeof(disk);

	memcpy(disk, data, head);
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		uint64_t offset = 0, length = 0;

		if (h2_partition_find(dev, names[i], &offset, &length) == 0)
			REQUIRE(offset <= sizeof(disk) && length <= sizeof(disk) - offset);
	}
	memset(disk, 0, head);
	h2_device_close(dev);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const targets[])(const uint8_t *, size_t) = {
		fuzz_header, fuzz_inode, fuzz_array,     fuzz_decode,
		fuzz_encode, fuzz_text,  fuzz_partition,
	};

	if (size < 2)
		return 0;
	targets[data[0] % (sizeof(targets) / sizeof(targets[0]))](data + 1, size - 1);
	return 0;
}
