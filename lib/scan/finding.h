/*
 * What a check can find: one row for each kind, with its stable name, how grave it is, the sentence
 * that explains it, and what to do. man/fsck.hammer2.8 lists them all.
 */
#ifndef H2_SCAN_FINDING_H
#define H2_SCAN_FINDING_H

#include <hammer2/report.h>

enum h2_finding {
	/* headers */
	FIND_HEADER_DAMAGED,
	FIND_HEADER_UNREADABLE,
	FIND_HEADER_MISSING,
	FIND_HEADER_STALE,
	FIND_HEADER_SAME_TID,
	FIND_HEADER_ROTATION,
	FIND_HEADER_FREEMAP_TID,
	FIND_HEADER_GEOMETRY,
	FIND_HEADER_ALLOCATOR_SIZE,
	FIND_HEADER_FOREIGN,
	FIND_HEADER_SIZE,
	FIND_HEADER_CONSTANTS,
	FIND_HEADER_OLDER_USELESS,
	FIND_NO_SUPER_ROOT,
	/* arrays of blockrefs */
	FIND_EMPTY_NOT_ZERO,
	FIND_ARRAY_ORDER,
	FIND_ARRAY_OVERLAP,
	FIND_KEY_OUTSIDE,
	FIND_RANGE_WIDER,
	FIND_TREE_LOOP,
	FIND_TREE_DEEP,
	FIND_INDIRECT_SIZE,
	FIND_INDIRECT_EMPTY,
	FIND_CHECK_NONE,
	FIND_MIRROR_TID_ORDER,
	FIND_MIRROR_TID_HEADER,
	FIND_MODIFY_TID_ORDER,
	FIND_STATISTICS,
	/* placement */
	FIND_BLOCK_OVERLAP,
	FIND_BLOCK_BELOW_ALLOCATOR,
	/* PFSs */
	FIND_PFS_FLAG,
	FIND_PFS_BLOCKREF_FLAG,
	FIND_PFS_LABEL,
	FIND_PFS_KEY,
	FIND_PFS_NAME_KEY,
	FIND_PFS_LABEL_TWICE,
	FIND_PFS_CLID_TWICE,
	FIND_PFS_FSID_TWICE,
	/* inodes and files */
	FIND_INUM_COUNTER,
	FIND_SPECIAL_CONTENT,
	FIND_DATA_BEYOND_EOF,
	FIND_DATA_TAIL,
	FIND_DATA_DECODE,
	FIND_INODE_NLINKS_ZERO,
	/* names */
	FIND_NAME_HASH,
	FIND_NAME_TWICE,
	FIND_NAME_INVALID,
	FIND_NAME_DANGLING,
	FIND_NAME_TYPE,
	FIND_LINK_COUNT,
	FIND_ORPHAN,
	FIND_DIR_NAMES,
	FIND_DIR_PARENT,
	FIND_DIR_DETACHED,
	FIND_DIR_LINK_COUNT,
	FIND_NAMES_UNCHECKED,
	/* freemap */
	FIND_FREEMAP_BLOCK,
	FIND_FREEMAP_TID,
	FIND_FREEMAP_STATE,
	FIND_FREEMAP_LAG,
	FIND_FREEMAP_NO_LEAF,
	FIND_FREEMAP_UNUSABLE,
	FIND_FREEMAP_AVAIL,
	FIND_FREEMAP_LINEAR,
	FIND_FREEMAP_FREE_SUM,
};

struct h2_finding_row {
	const char *code;
	enum h2_severity severity;
	const char *text;   /* one sentence: what is wrong, and what follows from it */
	const char *advice; /* what to do about it */
};

const struct h2_finding_row *h2_finding_row(enum h2_finding finding);

/* What to do about a finding, by its code; also for those of the layers below. NULL: unknown. */
const char *h2_finding_advice(const char *code);

#endif
