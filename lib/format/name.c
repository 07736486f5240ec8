/* The hash of names, and the names of the format's numbers. */
#include <string.h>

#include "check.h"
#include "format.h"

static bool is_separator(uint8_t c)
{
	return c == '.' || c == '-' || c == '_' || c == '~';
}

uint64_t h2_name_hash(const void *name, size_t len)
{
	const uint8_t *bytes = name;
	uint32_t sum = 0, whole = h2_crc32c(name, len);
	size_t start = 0;

	for (size_t i = 0; i <= len; i++) {
		if (i < len && !is_separator(bytes[i]))
			continue;
		/* Written so that an empty name never forms a pointer from NULL. */
		if (i > start)
			sum += h2_crc32c(bytes + start, i - start);
		start = i + 1;
	}
	return (uint64_t)(sum | UINT32_C(0x80000000)) << 32 |
	       (uint64_t)((whole >> 16 ^ whole) & 0xffff) << 16 | 0x8000;
}

uint64_t h2_name_block_hash(const void *name, size_t len)
{
	uint8_t block[H2_BLOCK_MIN] = {0};

	memcpy(block, name, len < sizeof(block) ? len : sizeof(block));
	return h2_xxh64(block, sizeof(block));
}

bool h2_name_valid(const uint8_t *name, size_t len)
{
	if (len < 1 || len > H2_NAME_MAX || memchr(name, 0, len) || memchr(name, '/', len))
		return false;
	return !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')));
}

#define NAME_OF(table, n)                                                                          \
	((n) < sizeof(table) / sizeof((table)[0]) && (table)[n] ? (table)[n] : "?")

const char *h2_blockref_type_name(unsigned type)
{
	static const char *const names[] = {"empty",  "inode",        "indirect",     "data",
					    "dirent", "freemap_node", "freemap_leaf", "invalid"};

	return NAME_OF(names, type);
}

const char *h2_check_algo_name(unsigned algo)
{
	static const char *const names[] = {"none",     "disabled", "crc32",
					    "xxhash64", "sha192",   "freemap"};

	return NAME_OF(names, algo);
}

const char *h2_comp_algo_name(unsigned algo)
{
	static const char *const names[] = {"none", "autozero", "lz4", "zlib"};

	return NAME_OF(names, algo);
}

const char *h2_object_type_name(unsigned type)
{
	static const char *const names[] = {"unknown", "dir",    "file",    NULL,
					    "fifo",    "chr",    "blk",     "symlink",
					    NULL,      "socket", "whiteout"};

	return NAME_OF(names, type);
}

const char *h2_pfs_type_name(unsigned type)
{
	static const char *const names[] = {"NONE",        "CACHE",  NULL, "SLAVE",   "SOFT_SLAVE",
					    "SOFT_MASTER", "MASTER", NULL, "SUPROOT", "DUMMY"};

	return NAME_OF(names, type);
}

const char *h2_pfs_subtype_name(unsigned subtype)
{
	static const char *const names[] = {"NONE", "SNAPSHOT", "AUTOSNAP"};

	return NAME_OF(names, subtype);
}
