/*
 * The blocks of a volume set, verified: what every reader above stands on.
 *
 * No byte leaves this module that was not compared with its check code, and no address is followed
 * that the blockref's own bounds (MF 13.2) do not allow. The object cache that lives here holds
 * what was verified; who enters an object chooses its kind.
 */
#ifndef H2_TREE_BLOCKS_H
#define H2_TREE_BLOCKS_H

#include <hammer2/report.h>
#include <hammer2/volume.h>

#include "cache.h"
#include "format.h"

enum h2_cache_kind {
	H2_CACHE_NODE = 1, /* tree: an indirect block or freemap node */
	H2_CACHE_INODE,    /* fs: an inode by number */
	H2_CACHE_DATA,     /* fs: a decoded block of file data */
};

struct h2_blocks { /* constant once open */
	struct h2_volumes *volumes;
	_Atomic uint64_t total_size; /* bytes of the address space; may grow */
	struct h2_cache *cache;
	h2_report_fn *report;
	void *report_user;
};

/* Whose block it is, for reports. */
struct h2_where {
	const char *pfs; /* label; NULL: of no PFS */
	uint64_t inum;
	bool has_inum;
};

/* Returns 0 or -ENOMEM. The volumes stay the caller's. */
int h2_blocks_init(struct h2_blocks *blocks, struct h2_volumes *volumes, size_t cache_bytes,
		   h2_report_fn *report, void *report_user);
void h2_blocks_fini(struct h2_blocks *blocks);

/* The bytes of ref's block. Only for a blockref that h2_blockref_verify() accepted. */
static inline size_t h2_block_size(const struct h2_blockref *ref)
{
	return (size_t)1 << h2_blockref_radix(ref);
}

/*
 * Check a blockref by MF 13.2 and report what is wrong with it. Returns 0 or -H2_ECORRUPT.
 */
int h2_block_check_ref(const struct h2_blocks *blocks, const struct h2_where *where,
		       const struct h2_blockref *ref, enum h2_tree_kind kind);

/*
 * Read the block of a checked blockref into buf (h2_block_size() bytes) and compare it with its
 * check code; what is wrong is reported. Returns 0; -H2_ECHECK; -H2_ECORRUPT for an unknown check
 * algorithm; or the device's error. buf has unverified contents after an error.
 */
int h2_block_read(const struct h2_blocks *blocks, const struct h2_where *where,
		  const struct h2_blockref *ref, void *buf);

/* Report that a member of the block that ref leads to is not as expected; returns -H2_ECORRUPT. */
int h2_block_report(const struct h2_blocks *blocks, const struct h2_where *where,
		    const struct h2_blockref *ref, const char *code,
		    const struct h2_problem *problem);

/* The cache key of what was verified through ref: its address and the first 64 bits of its code. */
struct h2_cache_key h2_block_cache_key(const struct h2_blockref *ref, enum h2_cache_kind kind);

#endif
