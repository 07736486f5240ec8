/*
 * The members of the filesystem's objects, for the files of this layer.
 *
 * A filesystem that is open for writing has a transaction gate (txn/txn.h): every public function
 * is inside it while it works, so that a commit meets no half-done operation. Locks, in the order
 * in which they are taken (doc/ARCHITECTURE.md, "Locks"):
 *
 *   the gate          shared by operations, closed by commits
 *   pfs->names_lock   all changes of names in one PFS; who holds it may lock several inodes
 *   inode->lock       an inode's attributes, inline data, tree and buffers; others lock one only
 *   pfs->tree_lock    the tree of the PFS root, which holds the index of all inodes as well as the
 *                     root directory's names: around each use of that tree
 *   mutexes by rank
 *
 * With the gate closed the committing thread needs none of them. Without the gate (read-only
 * filesystems) everything is constant and none is taken.
 */
#ifndef H2_FS_IMPL_H
#define H2_FS_IMPL_H

#include <hammer2/change.h>
#include <hammer2/fs.h>
#include <stdatomic.h>

#include "change.h"
#include "cursor.h"
#include "lock.h"
#include "pool.h"
#include "txn.h"

struct h2_dedup;
struct h2_bulkfree;
struct h2_pfs_change;

struct h2_fs {
	/* constant once open */
	struct h2_volumes *volumes;
	struct h2_blocks blocks;
	unsigned listed_max; /* inodes that listings of one directory may read */
	size_t dirty_limit;  /* bytes of inodes and branches */
	size_t buffer_limit; /* bytes of buffers */
	_Atomic uint64_t held_over; /* of branches that the last commit left: removed, open files' */
	size_t store_limit; /* bytes of buffers */
	bool hold_commits;  /* also when the limit is passed */
	struct h2_space *space;
	_Atomic bool no_discard; /* the devices do not take them */
	_Atomic bool scarce; /* h2_fs_judge_room() */
	struct h2_txn *txn; /* NULL: read-only */
	struct h2_pool *pool; /* NULL: callers store what they write */
	unsigned pool_threads;
	struct h2_dedup *dedup; /* NULL: off */
	struct h2_bulkfree *bulkfree;
	uint64_t (*now_us)(void *user); /* NULL: the system's clock */
	void *now_user;

	/* changed with the gate closed only */
	struct h2_blockref super_ref; /* of the super-root inode */
	struct h2_root super_root;    /* its blockset */
	struct h2_root super_set;     /* the header's sroot_blockset */
	struct h2d_inode super_inode;
	struct h2d_blockref super_committed[H2_BLOCKSET_COUNT]; /* its blockset on the media */
	uint64_t super_modify_tid;

	struct h2_mutex pfs_change_lock; /* held by whoever wants a change of the super-root */
	/* set inside the gate, under pfs_change_lock; taken by the next commit */
	struct h2_pfs_change *pfs_change;
	_Atomic uint64_t pfs_change_bytes; /* what it may need */

	_Atomic uint64_t allocator_size; /* of the header that is written next */
	_Atomic uint64_t branch_bytes; /* of all changed indirect blocks */
	_Atomic uint64_t buffer_bytes; /* memory of all buffers */
	_Atomic uint64_t buffer_quads; /* buffers that may need 64 KiB each */
	_Atomic uint64_t buffer_small; /* room that the smaller ones may need, bytes */
	_Atomic uint64_t dirty_inodes;
	_Atomic bool committing; /* a commit waits for the pool: background work stops */
	_Atomic unsigned drains; /* tasks that are writing buffers */

	struct h2_mutex pfs_lock;
	/* under pfs_lock */
	struct h2_pfs *pfs_list;
	struct h2_pfs *pfs_retired; /* not what the media have: for their inodes, until closing */
	uint64_t pfs_next_id;

	struct h2_mutex dirty_lock;
	/* under dirty_lock */
	struct h2_inode *dirty_first, *dirty_last;
	struct h2_buffer *queue_first, *queue_last; /* buffers to be written, oldest first */
	uint64_t last_sequence;                     /* of the newest on the queue */
	uint64_t drain_limit;                       /* a commit waits for those up to here */
	uint64_t next_ticket, turn; /* batches are placed in the order they were taken in */
	pthread_cond_t turn_passed;

	/* the committing thread's */
	struct h2_inode **group; /* what the running commit has encoded */
	size_t group_count, group_room;
	struct h2_inode *reap; /* removed inodes whose blocks are still to be dropped */
};

/* A legacy inode that a directory entry led to: it is in no index by number (MF 7.6). */
struct h2_legacy {
	struct h2_legacy *next;
	struct h2_blockref ref;
	uint64_t inum;
};

#define H2_LEGACY_BUCKETS 256u

struct h2_pfs {
	/* constant once open */
	struct h2_fs *fs;
	uint64_t id; /* in keys of the cache; never used again for another PFS */
	struct h2_pfs_info info;
	struct h2_inode *root; /* a reference of its own */

	struct h2_mutex names_lock;
	/* under names_lock */
	uint64_t next_inum;

	struct h2_rwlock tree_lock; /* covers root->u.root */

	/* changed with the gate closed only */
	uint64_t modify_tid; /* of what the open group changes */
	bool in_group;
	bool retired; /* not what the media have any more: cannot be changed */

	struct h2_mutex legacy_lock;
	/* under legacy_lock */
	struct h2_legacy *legacy[H2_LEGACY_BUCKETS];

	/* under fs->pfs_lock */
	struct h2_pfs *next;
	unsigned refs;
};

/* The changed contents of one logical block that are not on the media. */
struct h2_buffer {
	struct h2_buffer *next; /* in the inode's bucket */
	struct h2_inode *inode;
	uint64_t key;
	uint64_t version; /* differs after every change; no two buffers ever share one */
	uint32_t room;    /* bytes of memory, a power of two; behind it all is zero */
	uint8_t *bytes;

	/* under fs->dirty_lock */
	struct h2_buffer *queue_prev, *queue_next;
	bool queued;
	uint64_t sequence; /* of queueing */
};

struct h2_inode {
	struct h2_cached cached;
	struct h2_pfs *pfs;
	struct h2_rwlock lock;

	/* under lock; constant in read-only filesystems */
	struct h2_blockref ref; /* as of the last commit; a new inode's has no block */
	struct h2_inode_meta meta;
	bool legacy;           /* in no index: cannot be changed */
	_Atomic bool gone;     /* has no name any more: no commit writes it; read without lock */
	bool unnamed;          /* was made without a name: may get one */
	bool reaped;           /* gone, and its blocks are dropped */
	bool indexed;          /* the index has it */
	uint64_t prepared_tid; /* the group for which h2_inode_prepare() was called last */
	uint64_t stored_bytes; /* of blocks below */
	_Atomic unsigned listed; /* inodes read for a listing of this directory; without lock */
	struct h2_buffer **buffers; /* buckets, a power of two of them; NULL: none */
	unsigned buffer_buckets, buffer_count;
	union {
		struct h2_root root;              /* without DIRECTDATA */
		uint8_t data[H2_INLINE_DATA_MAX]; /* with it */
	} u;

	/* under fs->dirty_lock */
	struct h2_inode *dirty_prev, *dirty_next;
	bool dirty;                 /* on the list, which holds a reference */
	struct h2_inode *reap_next; /* the committing thread's */
	bool settled; /* gone, and commits have nothing more to write for it: not counted */
};

/* ---- the gate and locks ---- */

static inline void h2_fs_enter(struct h2_fs *fs)
{
	if (fs->txn)
		h2_txn_enter(fs->txn);
}

static inline void h2_fs_leave(struct h2_fs *fs)
{
	if (fs->txn)
		h2_txn_leave(fs->txn);
}

static inline void h2_inode_lock_read(struct h2_inode *inode)
{
	if (inode->pfs->fs->txn)
		h2_rwlock_read(&inode->lock);
}

static inline void h2_inode_unlock_read(struct h2_inode *inode)
{
	if (inode->pfs->fs->txn)
		h2_rwlock_unlock(&inode->lock);
}

/* Around each reading use of an inode's tree, and each changing one. */
static inline void h2_tree_lock_read(struct h2_inode *inode)
{
	if (inode->meta.inum == H2_INUM_ROOT && inode->pfs->fs->txn)
		h2_rwlock_read(&inode->pfs->tree_lock);
}

static inline void h2_tree_lock_write(struct h2_inode *inode)
{
	if (inode->meta.inum == H2_INUM_ROOT)
		h2_rwlock_write(&inode->pfs->tree_lock);
}

static inline void h2_tree_unlock(struct h2_inode *inode)
{
	if (inode->meta.inum == H2_INUM_ROOT && inode->pfs->fs->txn)
		h2_rwlock_unlock(&inode->pfs->tree_lock);
}

/* Free the PFSs that nobody refers to; at closing. */
void h2_pfs_free_all(struct h2_fs *fs);

/* ---- inodes ---- */

#define H2_INUM_FIRST UINT64_C(1024) /* of ordinary inodes, MF 1.5 */

/* Whose blocks are read, for reports about an inode of the PFS. */
struct h2_where h2_where_inode(const struct h2_pfs *pfs, uint64_t inum);

/* What an inode's tree may hold. */
enum h2_tree_kind h2_inode_tree_kind(const struct h2_inode *inode);

static inline bool h2_inode_is_inline(const struct h2_inode *inode)
{
	return inode->meta.op_flags & H2_INODE_DIRECTDATA;
}

static inline struct h2_fs *h2_inode_fs(const struct h2_inode *inode)
{
	return inode->pfs->fs;
}

static inline struct h2_blocks *h2_inode_blocks(const struct h2_inode *inode)
{
	return &inode->pfs->fs->blocks;
}

/*
 * Read and check the inode of a checked INODE blockref: *d receives the block, *m the attributes.
 */
int h2_inode_load(struct h2_blocks *blocks, const struct h2_where *where,
		  const struct h2_blockref *ref, enum h2_inode_place place, struct h2d_inode *d,
		  struct h2_inode_meta *m);

/* Remember a legacy inode so that h2_inode_get() finds it. Returns 0 or -ENOMEM. */
int h2_legacy_add(struct h2_pfs *pfs, uint64_t inum, const struct h2_blockref *ref);

/* h2_inode_get() for callers inside the gate. */
int h2_inode_find(struct h2_pfs *pfs, uint64_t inum, struct h2_inode **inodep);

/* The root inode of a PFS that is being opened, from its block. NULL without memory. */
struct h2_inode *h2_inode_make_root(struct h2_pfs *pfs, const struct h2d_inode *d);

/*
 * A new inode with the given attributes, in the cache, with a reference; empty, not dirty. NULL
 * without memory.
 */
struct h2_inode *h2_inode_make(struct h2_pfs *pfs, const struct h2_inode_meta *meta,
			       unsigned methods);

/* Let the next commit write the inode. Its lock is held for writing. */
void h2_inode_dirty(struct h2_inode *inode);

/* Whether changes of it are possible: 0, -EROFS, -ESTALE (retired) or -EOPNOTSUPP (legacy). */
int h2_inode_check_change(const struct h2_inode *inode);

/*
 * To be called in each operation before it changes the inode, inside the gate, the inode's lock
 * held for writing: has what the commit will need of the index in memory, so that damage there
 * meets the operation, not the commit. Returns 0; an error of h2_inode_check_change(); an error of
 * h2_tree_touch().
 */
int h2_inode_prepare(struct h2_inode *inode);

/* Microseconds since 1970. */
uint64_t h2_now_us(const struct h2_fs *fs);

/* What tree changes of the inode need. */
struct h2_tree_change h2_inode_change(struct h2_inode *inode);

/* A block of the open group or of earlier ones is not needed any more. */
void h2_fs_drop(struct h2_fs *fs, const struct h2_blockref *ref);

/* The check algorithm for metadata below something with these methods: never none (MF 3.5). */
unsigned h2_metadata_check(unsigned methods);

/* ---- directories, inside the gate; the directory's lock is held ---- */

int h2_dir_find(struct h2_inode *dir, const char *name, size_t name_len, struct h2_dirent *ent);
int h2_dir_is_empty(struct h2_inode *dir);

/* Whether a directory has a name for an inode: 1; 0; an error where damage may hide it. */
int h2_dir_leads_to(struct h2_inode *dir, uint64_t inum);

/*
 * What the leaf of a directory's tree says, a DIRENT or a legacy inode (MF 7.6), whose attributes
 * *legacy receives; it may be NULL. Returns 0; a damage error, also for a name that cannot be. No
 * locks.
 */
int h2_dirent_load(struct h2_blocks *blocks, const struct h2_where *where,
		   const struct h2_blockref *ref, struct h2_dirent *ent,
		   struct h2_inode_meta *legacy);

/* h2_dirent_get() for callers inside the gate. */
int h2_dirent_find(struct h2_inode *dir, const struct h2_dirent *ent, struct h2_inode **inodep);

/* ---- buffers; the inode's lock is held for writing unless said otherwise ---- */

#define H2_BUFFER_ALIGN 4096u

/*
 * Start the threads that write buffers, unless there shall be none. Returns 0, -ENOMEM, or the error
 * of making threads.
 */
int h2_buffers_start(struct h2_fs *fs, bool no_threads);

/* The buffer of the logical block at key, or NULL. Lock held for reading. */
struct h2_buffer *h2_buffer_find(const struct h2_inode *inode, uint64_t key);

/* The first buffer whose key is at least key, or NULL. Lock held for reading. */
struct h2_buffer *h2_buffer_next(const struct h2_inode *inode, uint64_t key);

/*
 * Get the buffer of the logical block at key with room for at least room bytes, making it if it is
 * missing: zeros then. NULL without memory. It is queued to be written; its version is new.
 */
struct h2_buffer *h2_buffer_make(struct h2_inode *inode, uint64_t key, size_t room);

/* Forget a buffer, or all with keys in [lo, hi]; lo is a multiple of the block size. */
void h2_buffer_discard(struct h2_buffer *buffer);
void h2_buffer_discard_range(struct h2_inode *inode, uint64_t lo, uint64_t hi);

/* Start writing in the background if there is much, and help if there is too much. No locks. */
void h2_buffers_throttle(struct h2_fs *fs);

/*
 * Write all buffers. closed: the gate is closed by the caller. Returns 0 or the first error. No
 * locks.
 */
int h2_buffers_drain(struct h2_fs *fs, bool closed);

/* ---- file contents, inside the gate; the inode's lock is held ---- */

/* h2_file_read() without locks. */
ssize_t h2_file_read_locked(struct h2_inode *inode, uint64_t offset, void *buf, size_t len);

/*
 * The decoded contents of a DATA block in out (64 KiB); *len: how many bytes it holds, zeros
 * follow.
 */
int h2_file_decode(struct h2_inode *inode, const struct h2_blockref *ref, void *out, size_t *len);

/* The same for a block of any file. Without locks. */
int h2_data_load(struct h2_blocks *blocks, const struct h2_where *where,
		 const struct h2_blockref *ref, void *out, size_t *len);

/* The blockref of the logical block at key. Returns 0; 1: a hole; a damage error. */
int h2_file_block_at(struct h2_inode *inode, uint64_t key, struct h2_blockref *ref);

/* h2_file_write() of a part, with the lock held for writing. Sets the size, not the times. */
ssize_t h2_file_write_locked(struct h2_inode *inode, uint64_t offset, const void *buf, size_t len);
int h2_file_truncate_locked(struct h2_inode *inode, uint64_t size);

/* ---- commits ---- */

extern const struct h2_txn_owner h2_fs_txn_owner;

/* Remember whether removals have begun to use the reserve, or soon will: see neighbours.c. */
void h2_fs_judge_room(struct h2_fs *fs);

/*
 * Have a commit find out how much is in use: what is in memory counts against quotas as if it were all
 * new. Whether to try again what a quota has refused. To be called without locks, outside the gate.
 */
bool h2_fs_count_again(struct h2_fs *fs);

/* Give back what only commits keep: after the last one, or after a failed one. */
void h2_fs_forget_changes(struct h2_fs *fs);

/* ---- bulk free, BS 9 ---- */

/* Be ready for h2_fs_bulkfree(); with_thread: and do it unasked. Returns 0 or an error. */
int h2_bulkfree_start(struct h2_fs *fs, bool with_thread);

/* How far the running scan is; zeros where none runs. */
void h2_bulkfree_get_progress(struct h2_fs *fs, uint64_t *bytes, uint64_t *expected);

/* End the thread, interrupting it; and, once no operation runs any more, free everything. */
void h2_bulkfree_stop(struct h2_fs *fs);
void h2_bulkfree_free(struct h2_fs *fs);

/*
 * Let no scan run until h2_bulkfree_resume(), by the same thread. In between that thread finds no
 * room by reclaiming; others wait for it. Returns 0; or -EINTR where it was to end before its turn
 * came. options may be NULL.
 */
int h2_bulkfree_pause(struct h2_fs *fs, const struct h2_pass_options *options);
void h2_bulkfree_resume(struct h2_fs *fs);

/* What others are told of the pass that has paused it. Returns whether that may go on. */
bool h2_bulkfree_set_progress(struct h2_fs *fs, uint64_t bytes, uint64_t expected);

/* Before closing, after the last commit: keep for the next time what a scan would find. */
void h2_bulkfree_note_lost(struct h2_fs *fs);

/* See struct h2_txn_owner. */
bool h2_fs_reclaim(void *user);

/* Mark in the freemap what it does not know after a crash elsewhere, BS 2.6. Before any change. */
int h2_fs_recover(struct h2_fs *fs);

/* ---- deduplication, BS 5.9 ---- */

struct h2_dedup *h2_dedup_new(void);
void h2_dedup_free(struct h2_dedup *dedup); /* NULL is allowed */

/*
 * Look for a block with the same bytes; ref is complete but for its place. Returns true and sets
 * data_off to the shared block.
 */
bool h2_dedup_find(struct h2_fs *fs, struct h2_blockref *ref, const void *block, size_t len);

/* Whether both blocks are eligible and would have the same place in the table. */
bool h2_dedup_meet(const struct h2_blockref *a, const struct h2_blockref *b);

/* Remember a block that was written; forget one that is dropped. */
void h2_dedup_add(struct h2_dedup *dedup, const struct h2_blockref *ref);
void h2_dedup_forget(struct h2_dedup *dedup, const struct h2_blockref *ref);
void h2_dedup_forget_all(struct h2_dedup *dedup);

#endif
