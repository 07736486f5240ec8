/*
 * The structures of a HAMMER2 volume in the host's byte order, and the numbers of the format.
 * Sections "MF" refer to the media format specification (doc/FORMAT.md names it).
 */
#ifndef HAMMER2_TYPES_H
#define HAMMER2_TYPES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Sizes in bytes, MF 1.2. */
#define H2_BLOCK_MIN 1024u
#define H2_BLOCK_MAX 65536u
#define H2_LOGICAL_BLOCK 65536u
#define H2_INODE_SIZE 1024u
#define H2_INLINE_DATA_MAX 512u
#define H2_BLOCKREF_SIZE 128u
#define H2_HEADER_SIZE 65536u
#define H2_FREEMAP_BLOCK_SIZE 32768u
#define H2_GRANULE 16384u
#define H2_SEGMENT (UINT64_C(4) << 20)
#define H2_ZONE (UINT64_C(1) << 30)
#define H2_HEADER_SPACING (UINT64_C(2) << 30)
#define H2_VOLUME_ALIGN (UINT64_C(8) << 20)

/* Counts, MF 1.3. */
#define H2_VOLUMES_MAX 64u
#define H2_HEADER_COPIES_MAX 4u

/*
 * Volume-local offset of the backup of the newest header that this project keeps on volumes with a
 * single header copy: slot 41 of the first reserved segment, unused in the format (MF 10.2). See
 * doc/FORMAT.md.
 */
#define H2_HEADER_BACKUP_OFFSET UINT64_C(0x290000)
#define H2_LOST_RECORD_OFFSET UINT64_C(0x2a0000) /* doc/FORMAT.md: what bulk free would find */
#define H2_BLOCKSET_COUNT 4u
#define H2_NODE_ENTRIES_MAX 512u
#define H2_FREEMAP_RECORDS 256u
#define H2_FREEMAP_SETS 8u
#define H2_NAME_MAX 255u
#define H2_NAME_INLINE_MAX 64u
#define H2_DEPTH_MAX 64u /* levels of indirect blocks in one tree that we follow, MF 5.7 */

/* Keys, MF 1.4. */
#define H2_KEY_VISIBLE (UINT64_C(1) << 63)
#define H2_KEY_COLLISION UINT64_C(0x7fff)

#define H2_INUM_SUPER_ROOT UINT64_C(0)
#define H2_INUM_ROOT UINT64_C(1)

#define H2_MAGIC UINT64_C(0x48414d3205172011)
#define H2_MAGIC_SWAPPED UINT64_C(0x11201705324d4148)

enum h2_blockref_type { /* MF 3.2 */
			H2_BLOCKREF_EMPTY = 0,
			H2_BLOCKREF_INODE = 1,
			H2_BLOCKREF_INDIRECT = 2,
			H2_BLOCKREF_DATA = 3,
			H2_BLOCKREF_DIRENT = 4,
			H2_BLOCKREF_FREEMAP_NODE = 5,
			H2_BLOCKREF_FREEMAP_LEAF = 6,
			H2_BLOCKREF_INVALID = 7,
};

#define H2_BLOCKREF_PFSROOT 0x01u /* blockref flag: the inode is the root of a PFS */
#define H2_BLOCKREF_EMERG_MIP 0x04u

enum h2_check_algo { /* MF 3.5 */
		     H2_CHECK_NONE = 0,
		     H2_CHECK_DISABLED = 1,
		     H2_CHECK_ISCSI32 = 2,
		     H2_CHECK_XXHASH64 = 3,
		     H2_CHECK_SHA192 = 4,
		     H2_CHECK_FREEMAP = 5,
};

enum h2_comp_algo { /* MF 3.5 */
		    H2_COMP_NONE = 0,
		    H2_COMP_AUTOZERO = 1,
		    H2_COMP_LZ4 = 2,
		    H2_COMP_ZLIB = 3,
};

enum h2_object_type { /* MF 6.4 */
		      H2_OBJECT_UNKNOWN = 0,
		      H2_OBJECT_DIRECTORY = 1,
		      H2_OBJECT_FILE = 2,
		      H2_OBJECT_FIFO = 4,
		      H2_OBJECT_CHAR_DEVICE = 5,
		      H2_OBJECT_BLOCK_DEVICE = 6,
		      H2_OBJECT_SYMLINK = 7,
		      H2_OBJECT_SOCKET = 9,
		      H2_OBJECT_WHITEOUT = 10,
};

#define H2_INODE_DIRECTDATA 0x01u /* op_flags, MF 6.2 */
#define H2_INODE_PFSROOT 0x02u

enum h2_pfs_type { /* MF 11.3 */
		   H2_PFS_NONE = 0,
		   H2_PFS_CACHE = 1,
		   H2_PFS_SLAVE = 3,
		   H2_PFS_SOFT_SLAVE = 4,
		   H2_PFS_SOFT_MASTER = 5,
		   H2_PFS_MASTER = 6,
		   H2_PFS_SUPER_ROOT = 8,
		   H2_PFS_DUMMY = 9,
};

enum h2_pfs_subtype {
	H2_PFS_SUBTYPE_NONE = 0,
	H2_PFS_SUBTYPE_SNAPSHOT = 1,
	H2_PFS_SUBTYPE_AUTOSNAP = 2,
};

/* A UUID in the byte order of the media (MF 0.4): three little-endian integers, eight bytes. */
struct h2_uuid {
	uint8_t bytes[16];
};

/* A block reference, MF 3. Which members of the embed union mean something depends on type. */
struct h2_blockref {
	uint8_t type;    /* enum h2_blockref_type, or anything on hostile media */
	uint8_t methods; /* check algorithm << 4 | compression algorithm */
	uint8_t copyid;
	uint8_t keybits; /* log2 of the key range covered */
	uint8_t vradix;
	uint8_t flags;
	uint16_t leaf_count;
	uint64_t key;
	uint64_t mirror_tid;
	uint64_t modify_tid;
	uint64_t data_off; /* storage offset | size code (log2 of the bytes; 0: no block) */
	uint64_t update_tid;
	uint64_t data_count;  /* INODE, INDIRECT: bytes of blocks below, this one's not included */
	uint64_t inode_count; /* INODE, INDIRECT: inodes below, this one not included */
	uint64_t dirent_inum; /* DIRENT */
	uint16_t dirent_namlen; /* DIRENT: bytes */
	uint8_t dirent_type;    /* DIRENT: enum h2_object_type */
	uint8_t check[64];      /* check code, or the name of a DIRENT without a block */
};

/* Volume header, MF 2.2; reserved parts are left out. */
struct h2_volume_header {
	uint64_t magic;
	uint64_t boot_beg, boot_end;
	uint64_t aux_beg, aux_end;
	uint64_t volu_size; /* bytes */
	uint32_t version;
	uint32_t flags;
	uint8_t copyid;
	uint8_t freemap_version;
	uint8_t peer_type;
	uint8_t volu_id;
	uint8_t nvolumes;
	struct h2_uuid fsid;
	struct h2_uuid fstype;
	uint64_t allocator_size; /* bytes */
	uint64_t allocator_free; /* bytes */
	uint64_t allocator_beg;  /* storage offset */
	uint64_t mirror_tid;
	uint64_t freemap_tid;
	uint64_t bulkfree_tid;
	uint64_t total_size; /* bytes */
	uint32_t icrc_sects[8];
	struct h2_blockref sroot_blockset[H2_BLOCKSET_COUNT];
	struct h2_blockref freemap_blockset[H2_BLOCKSET_COUNT];
	uint64_t volu_loff[H2_VOLUMES_MAX];
	uint32_t icrc_volheader;
};

/* The attributes of an inode, MF 6.1. Times are microseconds since 1970. */
struct h2_inode_meta {
	uint16_t version;
	uint8_t pfs_subtype;
	uint32_t uflags;
	uint32_t rmajor, rminor;
	uint64_t ctime, mtime, atime, btime;
	uint32_t uid, gid;
	uint8_t type; /* enum h2_object_type */
	uint8_t op_flags;
	uint16_t cap_flags;
	uint32_t mode; /* as stored; the permission bits are mode & 07777 */
	uint64_t inum;
	uint64_t size; /* bytes */
	uint64_t nlinks;
	uint64_t iparent;
	uint64_t name_key;
	uint16_t name_len;
	uint8_t ncopies;
	uint8_t comp_algo;  /* level << 4 | enum h2_comp_algo */
	uint8_t check_algo; /* enum h2_check_algo in the low nibble */
	uint8_t pfs_nmasters;
	uint8_t pfs_type;
	uint64_t pfs_inum;
	struct h2_uuid pfs_clid;
	struct h2_uuid pfs_fsid;
	uint64_t data_quota;
	uint64_t inode_quota;
	uint64_t pfs_lsnap_tid;
	/* without a meaning to us: kept as they are, by their offsets in MF 6.1 */
	uint8_t reserved002, reserved084;
	uint64_t reserved0b8, reserved0c8, reserved0d8, decrypt_check, reserved0e8[3];
	uint8_t filename[256];
};

/* Take the 1024 bytes of an inode apart, MF 6.1, whatever they are. */
void h2_inode_meta_decode(const uint8_t block[1024], struct h2_inode_meta *meta);

/* The state of one 4 MiB segment in a freemap leaf, MF 10.5. */
struct h2_freemap_record {
	uint32_t linear; /* byte offset in the segment */
	uint16_t class_; /* 0 or blockref type << 8 | 16 */
	uint32_t avail;  /* bytes */
	uint64_t bitmap[8];
};

enum h2_granule_state {
	H2_GRANULE_FREE = 0,
	H2_GRANULE_RESERVED = 1,
	H2_GRANULE_STAGED = 2,
	H2_GRANULE_ALLOCATED = 3,
};

/* Hints that share the check union of a freemap blockref, MF 10.6. */
struct h2_freemap_hints {
	uint32_t icrc32;
	uint32_t bigmask;
	uint64_t avail; /* bytes */
};

static inline unsigned h2_blockref_check_algo(const struct h2_blockref *ref)
{
	return ref->methods >> 4;
}

static inline unsigned h2_blockref_comp_algo(const struct h2_blockref *ref)
{
	return ref->methods & 15u;
}

/* Storage offset of the block, bytes; 0 where there is none. */
static inline uint64_t h2_blockref_offset(const struct h2_blockref *ref)
{
	return ref->data_off & ~UINT64_C(63);
}

/* log2 of the block's size; 0: no block. Not checked: up to 63 on hostile media. */
static inline unsigned h2_blockref_radix(const struct h2_blockref *ref)
{
	return (unsigned)(ref->data_off & 63u);
}

/* The last key of the blockref's range. keybits must be below 64. */
static inline uint64_t h2_blockref_key_last(const struct h2_blockref *ref)
{
	return ref->key + ((UINT64_C(1) << ref->keybits) - 1);
}

/*
 * Names of the format's numbers, as DragonFly's tools print them; "?" for a number that has none.
 * Static strings.
 */
const char *h2_blockref_type_name(unsigned type);
const char *h2_check_algo_name(unsigned algo);
const char *h2_comp_algo_name(unsigned algo);
const char *h2_object_type_name(unsigned type);
const char *h2_pfs_type_name(unsigned type);
const char *h2_pfs_subtype_name(unsigned subtype);

/*
 * The hash of a file name or a label, MF 7.2: the key of its directory entry but for the low 15
 * bits, which tell names of equal hash apart.
 */
uint64_t h2_name_hash(const void *name, size_t len);

/*
 * The check code (XXH64 of the 1024 bytes) of the block that holds a name of more than 64 bytes,
 * MF 3.7. len is at most 1024.
 */
uint64_t h2_name_block_hash(const void *name, size_t len);

#define H2_UUID_TEXT_SIZE 37 /* with its terminator */

/* Write the usual 36-character text of a UUID and a terminator, MF 0.4. */
void h2_uuid_format(const struct h2_uuid *uuid, char text[H2_UUID_TEXT_SIZE]);

/* Read the 36-character text. Returns 0 or -EINVAL. */
int h2_uuid_parse(const char *text, struct h2_uuid *uuid);

/* The number kept in a uid or gid field, MF 6.3, and back. */
uint32_t h2_uuid_to_id(const struct h2_uuid *uuid);
void h2_uuid_from_id(uint32_t id, struct h2_uuid *uuid);

#ifdef __cplusplus
}
#endif
#endif
