/*
 * Who uses how much of a filesystem's storage, exactly: what each PFS would give back if it was
 * deleted, what PFSs share, and what compression and deduplication save.
 *
 * Storage is counted as the freemap counts it, in granules of 16 KiB: a granule comes back (by bulk
 * free) when nothing refers to any block in it any more. What nothing refers to already, and waits
 * for bulk free, does not count, nor does what removed files hold that are still open.
 */
#ifndef HAMMER2_USAGE_H
#define HAMMER2_USAGE_H

#include <hammer2/fs.h>

#ifdef __cplusplus
extern "C" {
#endif

struct h2_pfs_space {
	char label[H2_NAME_MAX + 1];
	uint64_t key; /* of its entry in the super-root */
	uint8_t pfs_type, pfs_subtype;
	/* Bytes of all blocks below its root; what is referred to more than once counts each time. */
	uint64_t referenced_bytes;
	/*
	 * Bytes that it uses alone, and that come back when it is deleted: exactly, but for the
	 * super-root's own few blocks, which every commit moves to other granules.
	 */
	uint64_t exclusive_bytes;
	uint64_t inodes; /* below its root */
};

/* All are bytes. */
struct h2_usage {
	/* Everything, each granule once: the sum of the next two and of all exclusive_bytes. */
	uint64_t used_bytes;
	uint64_t shared_bytes;   /* in use by more than one PFS */
	uint64_t overhead_bytes; /* granules in which the super-root has blocks */

	/*
	 * File data that is in blocks (at most 512 bytes of a file are in its inode instead). Each
	 * reference counts, but of those to a block that several PFSs share only the ones of one
	 * PFS: what snapshots save shows in shared_bytes, not here.
	 */
	uint64_t data_logical_bytes;    /* what these references would take uncompressed */
	uint64_t data_referenced_bytes; /* of the blocks: for each reference */
	uint64_t data_distinct_bytes;   /* of the blocks: each once */

	size_t pfs_count;
	struct h2_pfs_space *pfss; /* in the order of their keys */
};

/*
 * Measure by a walk over all trees as of the last commit; in a filesystem that is open for writing a
 * commit is made first. Whatever PFSs share is read twice at most, however many they are. Others go
 * on reading and writing meanwhile; other passes, bulk free among them, wait. options may be NULL.
 * Safe to call from any thread, not from within a pass.
 *
 * *usagep receives the result, to be freed with h2_usage_free(). Returns 0; -EINTR (progress said so,
 * or the filesystem is being closed); -ENOMEM; the error of the commit; or a damage error: what is
 * below the damage is not known then, and so nothing would be exact.
 */
int h2_usage_measure(struct h2_fs *fs, const struct h2_pass_options *options,
		     struct h2_usage **usagep);
void h2_usage_free(struct h2_usage *usage); /* NULL is allowed */

#ifdef __cplusplus
}
#endif
#endif
