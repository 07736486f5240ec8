/*
 * The state of one check, shared by its phases:
 *
 *   headers    every header copy of every volume (check_headers.c)
 *   topology   all blocks below the super-root, with their check codes (check_topology.c), and
 *              what snapshots share (check_shared.c)
 *   names      directory entries against inodes, for each PFS (check_names.c)
 *   freemap    the freemap against what topology reached (check_freemap.c)
 *   older      topology, and the freemap's blocks, of each older header copy (check.c)
 *
 * Locks: check->lock (H2_RANK_SCAN) covers the reporting of findings and of progress. The counters
 * are atomic. The map of reached storage has a lock of its own.
 */
#ifndef H2_SCAN_CHECK_IMPL_H
#define H2_SCAN_CHECK_IMPL_H

#include <hammer2/check.h>
#include <hammer2/fs.h>
#include <stdatomic.h>

#include "finding.h"
#include "freemap.h"
#include "node.h"
#include "pool.h"
#include "reach.h"
#include "set.h"

/* What is counted in the map of reached storage, once for each block. */
enum h2_check_count {
	COUNT_INODES,
	COUNT_DIRECTORIES,
	COUNT_FILES,
	COUNT_SYMLINKS,
	COUNT_OTHERS,
	COUNT_INDIRECT,
	COUNT_DATA,
	COUNT_NAMES,
};

/* A copy of the root volume's header. */
struct h2_check_copy {
	bool good; /* else nothing else is set */
	struct h2_volume_header header;
	/* As they lie there: decoded, empty entries lose what should not be in them. */
	struct h2d_blockref sroot_set[H2_BLOCKSET_COUNT];
	struct h2d_blockref freemap_set[H2_BLOCKSET_COUNT];
};

/* Where a freemap block lies. */
struct h2_check_freemap_ref {
	uint64_t key, mirror_tid;
	uint8_t keybits, set;
};

struct h2_check_pfs {
	char label[H2_NAME_MAX + 1];
	size_t label_len;      /* as stored: a NUL byte may end the label before it */
	uint64_t inum_counter; /* pfs_inum of its root */
	uint64_t lsnap_tid;    /* pfs_lsnap_tid */
	struct h2_uuid clid, fsid;
	uint64_t key;
};

struct h2_check {
	/* set before the phases begin, then constant */
	struct h2_volumes *volumes;
	struct h2_check_options options;
	struct h2_fs *path_fs; /* to find paths for messages; NULL: none */

	/* set between phases, constant while threads run */
	const struct h2_volume_header *header; /* whose trees are checked */
	struct h2d_blockref sroot_set[H2_BLOCKSET_COUNT], freemap_set[H2_BLOCKSET_COUNT]; /* its */
	unsigned older_copy; /* 1..4: an older header copy is checked; 0: the current one */
	bool repeated;       /* a further pass over the same trees: only the map counts */
	size_t visited_max;  /* how many numbers visited may have */
	struct h2_blocks blocks;
	struct h2_reach reach;
	struct h2_pool *pool;
	const char *phase;
	struct h2_check_pfs *pfs; /* in the order of their keys */
	size_t pfs_count;
	struct h2_check_copy copies[H2_HEADER_COPIES_MAX];
	struct h2_check_freemap_ref *freemap_refs; /* of the current header, by key */
	size_t freemap_ref_count, freemap_ref_room;
	uint64_t leafless_zone; /* the last one reported in these passes; UINT64_MAX: none */
	uint64_t counts[H2_REACH_COUNTERS];

	/* atomic */
	atomic_bool stop; /* progress asked to end the check */
	atomic_int error; /* what ends the check early: negative errno */
	atomic_uint_least64_t faults, warnings, notes;
	atomic_uint_least64_t done_bytes;
	atomic_uint_least64_t read_bytes;
	atomic_bool super_root;     /* it could be read */
	atomic_bool unchecked_data; /* there is file data without check codes */

	struct h2_mutex lock;
	/* under lock */
	unsigned paths_looked_up;
	struct h2_set visited; /* blocks that the map cannot tell about, and what is below them */
	struct h2_check_shared_ref *shared; /* what h2_check_shared() is to look at */
	size_t shared_count, shared_room;
	uint64_t progress_next;  /* done_bytes at which progress is due */
	unsigned progress_calls; /* h2_check_advance() since the last one */

	struct h2_check_summary *summary; /* the caller's; written by the main thread only */
};

/* What a finding is about; zero members are unknown. */
struct h2_about {
	const struct h2_where *where;
	const struct h2_blockref *ref;
	const char *object; /* instead of the blockref's type */
	const char *member;
	const char *path;   /* when it is at hand; else looked up by inode number */
	const char *detail; /* appended to the finding's sentence */
	bool has_values;
	uint64_t found, expected;
};

/* Report a finding, unless this pass repeats an earlier one. */
void h2_check_find(struct h2_check *c, enum h2_finding finding, const struct h2_about *about);

/* For h2_blocks: findings of the layers below. */
void h2_check_block_report(void *user, const struct h2_report *report);

/* Whether another path may be looked up for a message: that can cost scans of directories. */
bool h2_check_may_look_up(struct h2_check *c);

/* Count bytes that were read and tell the progress. */
void h2_check_advance(struct h2_check *c, uint64_t bytes);

/* End the check early. */
void h2_check_fail(struct h2_check *c, int error);

static inline bool h2_check_stopped(struct h2_check *c)
{
	return atomic_load(&c->stop) || atomic_load(&c->error);
}

/* Begin to tell the progress of a phase; its name must be static. */
void h2_check_begin_phase(struct h2_check *c, const char *phase);

/* The phases. Each returns 0 or what ends the check: -ENOMEM and the like. */
int h2_check_headers(struct h2_check *c);
int h2_check_topology(struct h2_check *c);
int h2_check_names(struct h2_check *c, struct h2_fs *fs);
int h2_check_freemap(struct h2_check *c);

/*
 * check_shared.c: whether who holds the reference takes the block for his own (BS 5.8); remember a
 * second reference to such a block; and, when the topology was walked, judge these. pfs: index in
 * check->pfs, SIZE_MAX: none.
 */
bool h2_check_is_own(struct h2_check *c, size_t pfs, const struct h2_blockref *ref);
void h2_check_shared_add(struct h2_check *c, size_t pfs, const struct h2_where *where,
			 enum h2_tree_kind kind, const struct h2_blockref *ref);
void h2_check_shared(struct h2_check *c);

/*
 * For older header copies: that the freemap's blocks can be used, and that since then they moved
 * as they must.
 */
int h2_check_freemap_blocks(struct h2_check *c);

#endif
