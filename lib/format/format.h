/*
 * The bytes of a HAMMER2 volume: structures in media order, and the functions that turn them into
 * host structures and back, check them and print their names.
 *
 * Everything here is a pure function of its arguments: no I/O, no locks, no state, and no memory
 * beyond what the caller passes. Decoding never fails: it copies numbers. Judging them is the
 * verify functions' part, which every reader calls before it uses a decoded value.
 */
#ifndef H2_FORMAT_H
#define H2_FORMAT_H

#include <assert.h>
#include <hammer2/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "le.h"

struct h2d_blockref { /* MF 3.1 */
	uint8_t type;
	uint8_t methods;
	uint8_t copyid;
	uint8_t keybits;
	uint8_t vradix;
	uint8_t flags;
	le16 leaf_count;
	le64 key;
	le64 mirror_tid;
	le64 modify_tid;
	le64 data_off;
	le64 update_tid;
	union { /* MF 3.6 */
		struct {
			le64 data_count;
			le64 inode_count;
		} stats;
		struct {
			le64 inum;
			le16 namlen;
			uint8_t type;
			uint8_t reserved[5];
		} dirent;
	} embed;
	union { /* MF 3.7 */
		uint8_t bytes[64];
		le32 iscsi32;
		le64 xxhash64;
		uint8_t sha192[24];
		struct {
			le32 icrc32;
			le32 bigmask;
			le64 avail;
		} freemap;
	} check;
};
static_assert(sizeof(struct h2d_blockref) == H2_BLOCKREF_SIZE, "MF 3.1: 128 bytes");
static_assert(offsetof(struct h2d_blockref, data_off) == 0x20, "MF 3.1");
static_assert(offsetof(struct h2d_blockref, embed) == 0x30, "MF 3.1");
static_assert(offsetof(struct h2d_blockref, check) == 0x40, "MF 3.1");

struct h2d_volume_header { /* MF 2.2 */
	le64 magic;
	le64 boot_beg;
	le64 boot_end;
	le64 aux_beg;
	le64 aux_end;
	le64 volu_size;
	le32 version;
	le32 flags;
	uint8_t copyid;
	uint8_t freemap_version;
	uint8_t peer_type;
	uint8_t volu_id;
	uint8_t nvolumes;
	uint8_t reserved003d[3];
	struct h2_uuid fsid;
	struct h2_uuid fstype;
	le64 allocator_size;
	le64 allocator_free;
	le64 allocator_beg;
	le64 mirror_tid;
	le64 reserved0080[2];
	le64 freemap_tid;
	le64 bulkfree_tid;
	le64 reserved00a0[4];
	le64 total_size;
	le32 copyexists[8];
	uint8_t reserved00e8[248];
	le32 icrc_sects[8];
	struct h2d_blockref sroot_blockset[H2_BLOCKSET_COUNT];
	uint8_t sector2[512];
	uint8_t sector3[512];
	struct h2d_blockref freemap_blockset[H2_BLOCKSET_COUNT];
	uint8_t sector5[512];
	uint8_t sector6[512];
	le64 volu_loff[H2_VOLUMES_MAX];
	uint8_t reserved1000[32768];
	uint8_t reserved9000[28668];
	le32 icrc_volheader;
};
static_assert(sizeof(struct h2d_volume_header) == H2_HEADER_SIZE, "MF 2.2: 65536 bytes");
static_assert(offsetof(struct h2d_volume_header, volu_id) == 0x3b, "MF 2.2");
static_assert(offsetof(struct h2d_volume_header, fsid) == 0x40, "MF 2.2");
static_assert(offsetof(struct h2d_volume_header, freemap_tid) == 0x90, "MF 2.2");
static_assert(offsetof(struct h2d_volume_header, total_size) == 0xc0, "MF 2.2");
static_assert(offsetof(struct h2d_volume_header, icrc_sects) == 0x1e0, "MF 2.2");
static_assert(offsetof(struct h2d_volume_header, sroot_blockset) == 0x200, "MF 2.2");
static_assert(offsetof(struct h2d_volume_header, freemap_blockset) == 0x800, "MF 2.2");
static_assert(offsetof(struct h2d_volume_header, volu_loff) == 0xe00, "MF 2.2");
static_assert(offsetof(struct h2d_volume_header, icrc_volheader) == 0xfffc, "MF 2.2");

struct h2d_inode { /* MF 6.1 */
	le16 version;
	uint8_t reserved002;
	uint8_t pfs_subtype;
	le32 uflags;
	le32 rmajor;
	le32 rminor;
	le64 ctime;
	le64 mtime;
	le64 atime;
	le64 btime;
	struct h2_uuid uid;
	struct h2_uuid gid;
	uint8_t type;
	uint8_t op_flags;
	le16 cap_flags;
	le32 mode;
	le64 inum;
	le64 size;
	le64 nlinks;
	le64 iparent;
	le64 name_key;
	le16 name_len;
	uint8_t ncopies;
	uint8_t comp_algo;
	uint8_t reserved084;
	uint8_t check_algo;
	uint8_t pfs_nmasters;
	uint8_t pfs_type;
	le64 pfs_inum;
	struct h2_uuid pfs_clid;
	struct h2_uuid pfs_fsid;
	le64 data_quota;
	le64 reserved0b8;
	le64 inode_quota;
	le64 reserved0c8;
	le64 pfs_lsnap_tid;
	le64 reserved0d8;
	le64 decrypt_check;
	le64 reserved0e8[3];
	uint8_t filename[256];
	union {
		struct h2d_blockref blockset[H2_BLOCKSET_COUNT];
		uint8_t data[H2_INLINE_DATA_MAX];
	} u;
};
static_assert(sizeof(struct h2d_inode) == H2_INODE_SIZE, "MF 6.1: 1024 bytes");
static_assert(offsetof(struct h2d_inode, type) == 0x50, "MF 6.1");
static_assert(offsetof(struct h2d_inode, inum) == 0x58, "MF 6.1");
static_assert(offsetof(struct h2d_inode, name_len) == 0x80, "MF 6.1");
static_assert(offsetof(struct h2d_inode, pfs_inum) == 0x88, "MF 6.1");
static_assert(offsetof(struct h2d_inode, pfs_lsnap_tid) == 0xd0, "MF 6.1");
static_assert(offsetof(struct h2d_inode, filename) == 0x100, "MF 6.1");
static_assert(offsetof(struct h2d_inode, u) == 0x200, "MF 6.1");

struct h2d_freemap_record { /* MF 10.5 */
	le32 linear;
	le16 class_;
	uint8_t reserved06[2];
	le32 reserved08[5];
	le32 avail;
	le32 reserved20[8];
	le64 bitmap[8];
};
static_assert(sizeof(struct h2d_freemap_record) == 128, "MF 10.5: 128 bytes");
static_assert(offsetof(struct h2d_freemap_record, avail) == 0x1c, "MF 10.5");
static_assert(offsetof(struct h2d_freemap_record, bitmap) == 0x40, "MF 10.5");

/* The text 5cbb9ad1-862d-11dc-a94d-01301bb8a9f5 in media order, MF 0.4. */
extern const struct h2_uuid h2_fstype_uuid;

void h2_blockref_decode(const struct h2d_blockref *d, struct h2_blockref *ref);

/* Unused bytes become zero: embed and check are written as the type asks (MF 3.6, 3.7). */
void h2_blockref_encode(const struct h2_blockref *ref, struct h2d_blockref *d);

void h2_volume_header_decode(const struct h2d_volume_header *d, struct h2_volume_header *h);

/* Sets the members that struct h2_volume_header has and the magic; reserved bytes of d stay. */
void h2_volume_header_encode(const struct h2_volume_header *h, struct h2d_volume_header *d);

/* Compute the three CRCs of d in the order of MF 2.3 and store them in it. */
void h2_volume_header_seal(struct h2d_volume_header *d);

/* In the order of what a user should be told of several bad copies: the last is the nearest miss. */
enum h2_header_state {
	H2_HEADER_GOOD,
	H2_HEADER_NO_MAGIC,  /* something else, or never written */
	H2_HEADER_SWAPPED,   /* a volume of the other byte order */
	H2_HEADER_BAD_SECT0, /* the CRC of that part does not match */
	H2_HEADER_BAD_SECT1,
	H2_HEADER_BAD_WHOLE,
};

struct h2_header_crcs { /* computed from the bytes, to be compared with the stored ones */
	uint32_t sect1; /* icrc_sects[6] */
	uint32_t sect0; /* icrc_sects[7] */
	uint32_t whole;
};

/* MF 2.3, 2.4. crcs may be NULL; it is filled in unless the magic is missing. */
enum h2_header_state h2_volume_header_check(const struct h2d_volume_header *d,
					    struct h2_header_crcs *crcs);
const char *h2_header_state_name(enum h2_header_state state);

void h2_inode_decode(const struct h2d_inode *d, struct h2_inode_meta *m);

/* Sets all but the union, reserved bytes as they were decoded. */
void h2_inode_encode(const struct h2_inode_meta *m, struct h2d_inode *d);

void h2_freemap_record_decode(const struct h2d_freemap_record *d, struct h2_freemap_record *r);
void h2_freemap_record_encode(const struct h2_freemap_record *r, struct h2d_freemap_record *d);
void h2_freemap_hints_decode(const struct h2_blockref *ref, struct h2_freemap_hints *hints);

/* The state of the granule that contains byte zone_offset (below 1 GiB) of a leaf's zone. */
enum h2_granule_state h2_freemap_state(const struct h2d_freemap_record records[H2_FREEMAP_RECORDS],
				       uint64_t zone_offset);

/* Where the freemap block of a level (1..5), key and set (0..7) lies: data_off, MF 10.4. */
uint64_t h2_freemap_data_off(unsigned level, uint64_t key, unsigned set);

/* The level (1..5) of a freemap blockref's keybits, MF 10.3; 0 for other keybits. */
unsigned h2_freemap_level(unsigned keybits);

/* Fill a new leaf, MF 10.7, and return the avail of its blockref. total_size: bytes. */
uint64_t h2_freemap_leaf_init(struct h2d_freemap_record records[H2_FREEMAP_RECORDS], uint64_t key,
			      uint64_t allocator_beg, uint64_t total_size);

/*
 * How many bytes of [begin, end) are in segments that can be allocated from: those of
 * [usable_lo, usable_hi), multiples of 4 MiB, outside the reserved segment of each zone.
 */
uint64_t h2_freemap_usable_bytes(uint64_t usable_lo, uint64_t usable_hi, uint64_t begin,
				 uint64_t end);

/*
 * Judging what was decoded. A problem names the member and what was expected of it; expected is a
 * text of a few words and static.
 */
struct h2_problem {
	const char *member;
	const char *expected;
	uint64_t found;
};

/* Where an array of blockrefs stands decides what may be in it (MF 3.2, BS 6.2). */
enum h2_tree_kind {
	H2_TREE_SUPER_ROOT_SET, /* the header's sroot_blockset */
	H2_TREE_SUPER_ROOT,     /* below the super-root inode */
	H2_TREE_PFS_ROOT,       /* below a PFS root inode */
	H2_TREE_DIRECTORY,      /* below any other directory */
	H2_TREE_FILE,           /* below a regular file or symlink */
	H2_TREE_FREEMAP,
};

/*
 * MF 13.2: everything about a non-EMPTY blockref that can be judged from itself, the kind of tree
 * and the size of the filesystem (total_size bytes). Returns true if it is sound, else fills in
 * *problem. Whether the key lies in its parent's range is the tree's affair.
 */
bool h2_blockref_verify(const struct h2_blockref *ref, enum h2_tree_kind kind, uint64_t total_size,
			struct h2_problem *problem);

/* MF 13.4. key: the one that the inode was found under; super-root and PFS roots by kind. */
enum h2_inode_place {
	H2_PLACE_SUPER_ROOT, /* the super-root itself */
	H2_PLACE_PFS_ROOT,   /* an entry of the super-root */
	H2_PLACE_INDEX,      /* the inode index of a PFS */
	H2_PLACE_LEGACY,     /* directly in a directory, MF 7.6 */
};
bool h2_inode_verify(const struct h2_inode_meta *m, enum h2_inode_place place, uint64_t key,
		     struct h2_problem *problem);

/* MF 13.5: whether the bytes can be the name of a directory entry. */
bool h2_name_valid(const uint8_t *name, size_t len);

#endif
