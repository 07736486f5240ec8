/*
 * Volumes for tests, built in memory with the library's encode functions on simulated disks.
 *
 * An image is a tree of blocks. Each block has its blockref in host order and its bytes in media
 * order, and both may be altered at will, so that a test builds a sound volume first and then
 * makes one thing wrong. image_seal() computes everything that follows from the rest, from the
 * leaves up: the places of the entries in their arrays, statistics, check codes, the header's CRCs.
 * So a wrong value stays wrong in a block whose check code is right, which is what hostile media
 * look like. What seal() must not touch is said with a block's flags. An image may be altered
 * and sealed again.
 *
 * Arrays that have more entries than room get indirect blocks by themselves.
 *
 * A helper that runs out of memory, or is misused, ends the program.
 */
#ifndef TESTS_UNIT_IMAGE_H
#define TESTS_UNIT_IMAGE_H

#include "format.h"
#include "sim.h"
#include "volumes.h"

#define IMAGE_KEEP_CHECK 0x01u /* the check union of ref stays as it is */
#define IMAGE_KEEP_STATS 0x02u /* the statistics of ref stay as they are */
#define IMAGE_NO_WRITE 0x04u   /* the bytes are not written to the disk */

struct image_block {
	struct h2_blockref ref;
	uint8_t *bytes; /* NULL: there is no block, or it is another's */
	size_t size;    /* of bytes */
	uint64_t media; /* storage offset that bytes are written to, whatever ref says */
	unsigned flags;
	int slot; /* index in the parent's array; -1: by the order of keys, among what is free */

	/* Share that block: seal() copies its data_off, methods and check to ref. */
	const struct image_block *same_as;

	struct image_block **children;
	unsigned child_count, child_room;
	bool sealed; /* during seal() */
};

struct image_volume {
	struct h2_volume_header header; /* the CRCs are computed by seal() */
	struct h2_sim *sim;
	uint64_t size; /* bytes of sim; header.volu_size may be made to differ */
};

#define IMAGE_ZONES 4u /* with a freemap leaf */

struct image {
	unsigned volume_count;
	struct image_volume volumes[H2_VOLUMES_MAX];
	uint64_t total_size;    /* bytes of all volumes */
	uint64_t tid;           /* mirror_tid of new blockrefs and the header */
	uint8_t check_algo;     /* of new blockrefs */
	uint64_t next_free;     /* where image_alloc() goes on */
	struct image_block set; /* the header's sroot_blockset */
	struct image_block freemap_set;
	struct image_block *freemap_leaves[IMAGE_ZONES];
	struct image_block *super_root;
	struct image_block *stock; /* all blocks ever made, chained by its children */
};

struct image_options {
	uint32_t version;      /* 0: 2 */
	unsigned volume_count; /* 0: 1 */
	const uint64_t
		*sizes; /* of the volumes, bytes; NULL: 64 MiB each but 1 GiB before the last */
};

/* A sound filesystem without PFSs. options may be NULL. */
struct image *image_new(const struct image_options *options);
void image_free(struct image *image);

/* Compute and write everything to the disks, with all header copies that they have room for. */
void image_seal(struct image *image);

/* Write one header copy (slot 0..3) of a volume from its struct, with right CRCs. */
void image_write_header(struct image *image, unsigned volume, unsigned slot);

/* Open the volumes; errors are those of h2_volumes_assemble(). */
int image_open(struct image *image, const struct h2_volumes_options *options,
	       struct h2_volumes **volumesp);

/* Take room for a block of 2^radix bytes and mark it allocated; returns its data_off. */
uint64_t image_alloc(struct image *image, unsigned radix);

/*
 * Add an entry of that type to the array of parent (an inode, an indirect block, or a set). With a
 * radix it gets a block of zeros, else none. The rest of the reference is zero but for methods
 * and tids.
 */
struct image_block *image_add(struct image *image, struct image_block *parent, unsigned type,
			      uint64_t key, unsigned keybits, unsigned radix);

struct image_block *image_add_indirect(struct image *image, struct image_block *parent,
				       uint64_t key, unsigned keybits, unsigned radix);

/* A PFS root inode below parent: the super-root, or an indirect block there. */
struct image_block *image_add_pfs(struct image *image, struct image_block *parent,
				  const char *label);

/* An inode under its number below parent: a PFS root, or an indirect block there. */
struct image_block *image_add_inode(struct image *image, struct image_block *parent, uint64_t inum,
				    unsigned type);

/* An inode that is its own directory entry (MF 7.6), in a directory's array. */
struct image_block *image_add_legacy(struct image *image, struct image_block *parent,
				     const char *name, uint64_t inum, unsigned type);

/*
 * A directory entry below parent: a directory, or an indirect block there. The key is the hash of
 * the name plus 1, or the next free one in parent.
 */
struct image_block *image_add_dirent(struct image *image, struct image_block *parent,
				     const char *name, uint64_t inum, unsigned type);

/*
 * A DATA entry for len (1 to 65536) bytes at offset key of a file, compressed by comp (enum
 * h2_comp_algo) where that pays.
 */
struct image_block *image_add_data(struct image *image, struct image_block *parent, uint64_t key,
				   unsigned comp, const void *data, size_t len);

/* A DATA entry with those bytes as its block, whatever they are. */
struct image_block *image_add_stored(struct image *image, struct image_block *parent, uint64_t key,
				     unsigned comp, const void *stored, unsigned radix);

/*
 * A regular file or symlink of pfs with its contents: in the inode up to 512 bytes, in blocks of
 * 64 KiB compressed by comp otherwise; zero blocks become holes.
 */
struct image_block *image_add_file(struct image *image, struct image_block *pfs, uint64_t inum,
				   unsigned type, unsigned comp, const void *data, size_t len);

/* The bytes of an INODE block. */
struct h2d_inode *image_inode(struct image_block *block);

#endif
