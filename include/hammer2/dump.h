/*
 * A walk over the structures of a volume as they lie on the media, for programs that print them.
 */
#ifndef HAMMER2_DUMP_H
#define HAMMER2_DUMP_H

#include <hammer2/report.h>
#include <hammer2/volume.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One blockref of the walk, with what it points to. Pointers are valid during the callback. */
struct h2_dump_item {
	unsigned depth; /* 0: in the volume header */
	unsigned slot;  /* index in its array */
	const struct h2_blockref *ref;
	int error;                         /* why the block cannot be used (negative errno), or 0 */
	const char *problem;               /* in words; NULL without error */
	uint64_t check_computed;           /* where the error is -H2_ECHECK */
	const struct h2_inode_meta *inode; /* INODE whose block could be read */
	const uint8_t *inline_data;        /* INODE with DIRECTDATA: 512 bytes */
	const char *name;                  /* DIRENT whose name could be read */
	size_t name_len;
	const struct h2_freemap_record *records; /* FREEMAP_LEAF: 256 of them */
};

/*
 * Called in the order of the tree; enter for each blockref, leave after all that is below it.
 * Not 0 stops the walk with that value. leave may be NULL.
 */
struct h2_dump_visitor {
	int (*enter)(void *user, const struct h2_dump_item *item);
	int (*leave)(void *user, const struct h2_dump_item *item);
	void *user;
};

struct h2_dump_options {
	bool empty;              /* also visit EMPTY entries */
	bool verify_data;        /* read DATA blocks and compare their check codes */
	unsigned depth_max;      /* 0: no bound */
	uint64_t min_mirror_tid; /* leave out subtrees below these */
	uint64_t min_modify_tid;
	const char *label; /* only this PFS; NULL: all */
};

/*
 * Walk the topology, or the freemap, of the header that the volumes were opened with. Damage does
 * not end the walk. options may be NULL. Returns 0, what the visitor returned, or -ENOMEM.
 */
int h2_dump_topology(struct h2_volumes *volumes, const struct h2_dump_options *options,
		     const struct h2_dump_visitor *visitor);
int h2_dump_freemap(struct h2_volumes *volumes, const struct h2_dump_options *options,
		    const struct h2_dump_visitor *visitor);

/* A header copy as it lies on the media. */
struct h2_dump_header {
	struct h2_volume_header header;
	bool exists; /* the device is long enough for it */
	bool good;
	const char *state;                        /* in words */
	uint32_t crc_sect0, crc_sect1, crc_whole; /* computed */
};

/* Copy slot (0..3) of the volume of index i. Returns 0 or the error of reading. */
int h2_dump_read_header(struct h2_volumes *volumes, unsigned i, unsigned slot,
			struct h2_dump_header *header);

struct h2_freemap_totals { /* bytes */
	uint64_t free;
	uint64_t reserved_state; /* state 01 */
	uint64_t staged;
	uint64_t allocated;
	uint64_t unavailable; /* reserved segments, what newfs laid out, behind the end */
	uint64_t leafless;    /* would be free: zones that have no leaf yet */
};

/* Sum up the freemap. Returns 0; the first damage error, with the rest summed up all the same. */
int h2_dump_freemap_totals(struct h2_volumes *volumes, struct h2_freemap_totals *totals);

#ifdef __cplusplus
}
#endif
#endif
