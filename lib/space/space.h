/*
 * Which storage is free, MF 10, and who gets it: the freemap in memory and the allocator.
 *
 * Leaves are read when an allocation or a release first needs their zone, and a bounded number of
 * unchanged ones is kept. What changes is only in memory until h2_space_flush() hands the new
 * freemap blocks to a commit.
 *
 * When storage comes back (doc/ARCHITECTURE.md, "Space"): the media have no reference counts, so
 * only storage that was allocated since opening, and never shared, can be known to be free once its
 * block is dropped. It becomes free when no header copy can lead to it any more: a block that
 * transaction group T no longer has is reusable once every copy has been rewritten by T or a later
 * one. Everything else stays allocated for a scan of the whole volume to find.
 *
 * All functions may be called from several threads at once; one lock (rank SPACE) covers
 * everything and is also held while leaves are read.
 */
#ifndef H2_SPACE_SPACE_H
#define H2_SPACE_SPACE_H

#include <hammer2/report.h>

#include "format.h"
#include "volumes.h"

struct h2_space;

/* Reads nothing yet. Returns 0 or -ENOMEM. The volumes must stay open. */
int h2_space_open(struct h2_volumes *volumes, h2_report_fn *report, void *report_user,
		  struct h2_space **spacep);
void h2_space_close(struct h2_space *space); /* NULL is allowed */

/*
 * From now on the lowest free place is taken, whatever lies beside it: what is in use ends as early
 * as it can. Without this the types of blocks have segments of their own.
 */
void h2_space_pack(struct h2_space *space);

/*
 * Allocate a block of 2^radix bytes (10..16) for a blockref type (INODE, INDIRECT, DATA, DIRENT):
 * blocks of one type lie together, and in the order in which they were asked for. Returns 0 and
 * *data_off with its size code, -ENOSPC, or -ENOMEM.
 */
int h2_space_alloc(struct h2_space *space, unsigned type, unsigned radix, uint64_t *data_off);

/*
 * The block is not part of transaction group tid any more, but may be part of earlier ones. born:
 * mirror_tid of the blockref that led to it. What was there before opening never comes back here:
 * a damaged freemap (BS 15, D1) may have given its place to a newer block.
 */
void h2_space_drop(struct h2_space *space, uint64_t data_off, uint64_t born, uint64_t tid);

/* About so much storage from before opening is not needed any more: for a scan to find. */
void h2_space_lose(struct h2_space *space, uint64_t bytes);

/*
 * The address space ends at total_size from now on, a multiple of 8 MiB, and no nearer than before.
 * *bytes: how much has become allocatable. Returns 0, -ENOMEM, or -H2_ECORRUPT: the leaf that the end
 * is in cannot be read. Then nothing has changed.
 */
int h2_space_grow(struct h2_space *space, uint64_t total_size, uint64_t *bytes);

/* The block was allocated in the open transaction group tid and nothing ever referred to it. */
void h2_space_cancel(struct h2_space *space, uint64_t data_off, uint64_t tid);

/* Several blockrefs lead to the block from now on: it never comes back by h2_space_drop(). */
void h2_space_share(struct h2_space *space, uint64_t data_off);

/* The same for everything that is allocated now: a snapshot may lead to it. */
void h2_space_share_all(struct h2_space *space);

/*
 * From now on whatever comes back is handed to fn before it is free: nobody needs its bytes. fn is called
 * by h2_space_committed(), without locks; the pieces do not cross a segment.
 */
typedef void h2_space_discard_fn(void *user, uint64_t offset, uint64_t bytes);
void h2_space_set_discard(struct h2_space *space, h2_space_discard_fn *fn, void *user);

/*
 * A new transaction group begins: small blocks go to a fresh 4 KiB unit, so that no device sector
 * that holds committed bytes is written again (BS 8.5).
 */
void h2_space_begin_group(struct h2_space *space);

/*
 * Transaction group tid is durable: make reusable what no header copy reaches any more. Returns
 * whether more waits for later ones.
 */
bool h2_space_committed(struct h2_space *space, uint64_t tid);

/*
 * Whether there is room for quads aligned runs of 64 KiB and granules of 16 KiB besides them.
 * Reads leaves only as far as it must to say yes.
 */
bool h2_space_has(struct h2_space *space, uint64_t quads, uint64_t granules);

/* ---- scans: storage that nothing refers to any more, BS 9 ---- */

/*
 * A scan begins; one at a time. Until it ends, what is allocated or shared counts as young, and
 * dropped storage does not come back: the tree of any later commit can be walked as it is.
 */
void h2_space_scan_begin(struct h2_space *space);

/* Which granules of the segment at offset are in use: one bit each, bit 0 of byte 0 the first. */
typedef void h2_space_reached_fn(void *user, uint64_t offset,
				 uint8_t granules[H2_SEGMENT / H2_GRANULE / 8]);

/*
 * The scan ends. What the freemap has as allocated, but is neither reached from the tree of group
 * tid, nor young, nor tracked otherwise, comes back as if group tid had dropped it. reached NULL:
 * the scan came to nothing. Returns 0 and how much that is, or -ENOMEM: nothing, or only a part of
 * it.
 */
int h2_space_scan_end(struct h2_space *space, uint64_t tid, h2_space_reached_fn *reached,
		      void *user, uint64_t *bytes);

/*
 * After a crash elsewhere (BS 2.6): the block is in use, whether the freemap knows or not. Returns
 * 0 and whether it did not, -ENOMEM, or a damage error of the freemap.
 */
int h2_space_recover(struct h2_space *space, uint64_t data_off, bool *unknown);

struct h2_space_stats {
	uint64_t free_bytes;    /* allocator_free of the next header */
	uint64_t waiting_bytes; /* dropped, and free after some more commits */
	uint64_t lost_bytes;    /* dropped since the last scan, to be found by the next one */
};
void h2_space_get_stats(struct h2_space *space, struct h2_space_stats *stats);

/* Receives a block that must be durable before the header is written. 0 or an error. */
typedef int h2_space_write_fn(void *user, uint64_t offset, const void *buf, size_t len);

/*
 * Put the changed leaves and nodes into their next places (MF 10.4), and the freemap's root and
 * allocator_free into the header. Returns 0, -ENOMEM, or what write returned; then no header may
 * be written any more.
 */
int h2_space_flush(struct h2_space *space, uint64_t tid, struct h2_volume_header *header,
		   h2_space_write_fn *write, void *user);

#endif
