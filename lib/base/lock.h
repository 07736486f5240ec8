/*
 * A mutex with a place in the lock order. Debug builds (no NDEBUG) check that a thread takes locks
 * of rising rank only and that whoever unlocks is the holder; the whole order stands in
 * doc/ARCHITECTURE.md, "Locks".
 */
#ifndef H2_BASE_LOCK_H
#define H2_BASE_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

/* Two locks of the same rank are never held together by one thread. */
enum h2_lock_rank {
	H2_RANK_BULKFREE = 0,   /* fs: one pass over the whole filesystem at a time */
	H2_RANK_PFS_CHANGE = 5, /* fs: changes of the super-root, one at a time */
	H2_RANK_POOL = 10,      /* base/pool: the task stack */
	H2_RANK_SCAN = 20,      /* scan: tables of a pass over the volume */
	H2_RANK_REACH = 30,     /* scan: the map of blocks that were reached */
	H2_RANK_NAMES = 40,     /* fs: changes of names in one PFS */
	H2_RANK_TXN = 50,       /* txn: state of the transaction groups */
	H2_RANK_PFS_TABLE = 60, /* fs: PFSs in memory */
	H2_RANK_LEGACY = 70,    /* fs: legacy inodes by number */
	H2_RANK_DIRTY = 80,     /* fs: what waits for a commit */
	H2_RANK_DEDUP = 90,     /* fs: blocks by their hash */
	H2_RANK_SPACE = 100,    /* space: the freemap */
	H2_RANK_CACHE = 110,    /* base/cache: one shard */
	H2_RANK_DEVICE = 120,   /* device: state of a simulated disk */
};

struct h2_mutex {
	pthread_mutex_t mutex;  /* set at init */
	enum h2_lock_rank rank; /* set at init, then constant */
	pthread_t owner;        /* under mutex; debug builds only */
	bool held;              /* under mutex; debug builds only */
};

void h2_mutex_init(struct h2_mutex *m, enum h2_lock_rank rank);
void h2_mutex_fini(struct h2_mutex *m);
void h2_mutex_lock(struct h2_mutex *m);
void h2_mutex_unlock(struct h2_mutex *m);

/* Lock it if nobody holds it, and whatever the order is, since nobody waits. Returns whether. */
bool h2_mutex_try_lock(struct h2_mutex *m);

/* Lock it, waiting until a moment of CLOCK_REALTIME at most. Returns whether. */
bool h2_mutex_timed_lock(struct h2_mutex *m, const struct timespec *until);

/* Wait for cond, as pthread_cond_wait. The caller holds m. */
void h2_mutex_wait(struct h2_mutex *m, pthread_cond_t *cond);

/* The same until a moment of CLOCK_REALTIME; returns whether that has come. */
bool h2_mutex_timedwait(struct h2_mutex *m, pthread_cond_t *cond, const struct timespec *until);

/*
 * A lock that readers share. A waiting writer goes before readers that come after it, so a thread
 * must not take it twice. It has no rank: doc/ARCHITECTURE.md says where each one stands.
 */
struct h2_rwlock {
	pthread_rwlock_t lock;
};

void h2_rwlock_init(struct h2_rwlock *l);
void h2_rwlock_fini(struct h2_rwlock *l);
void h2_rwlock_read(struct h2_rwlock *l);
bool h2_rwlock_try_read(struct h2_rwlock *l);
void h2_rwlock_write(struct h2_rwlock *l);
void h2_rwlock_unlock(struct h2_rwlock *l);

/* For assertions: whether the calling thread holds m. Always true with NDEBUG. */
bool h2_mutex_held(const struct h2_mutex *m);

#endif
