/*
 * A mutex with a place in the lock order. Debug builds (no NDEBUG) check that a thread takes locks
 * of rising rank only and that whoever unlocks is the holder; the whole order stands in
 * doc/ARCHITECTURE.md, "Locks".
 */
#ifndef H2_BASE_LOCK_H
#define H2_BASE_LOCK_H

#include <pthread.h>
#include <stdbool.h>

/* Two locks of the same rank are never held together by one thread. */
enum h2_lock_rank {
	H2_RANK_POOL = 10,      /* base/pool: the task stack */
	H2_RANK_SCAN = 20,      /* scan: tables of a pass over the volume */
	H2_RANK_REACH = 30,     /* scan: the map of blocks that were reached */
	H2_RANK_PFS_TABLE = 40, /* fs: PFSs in memory */
	H2_RANK_LEGACY = 50,    /* fs: legacy inodes by number */
	H2_RANK_CACHE = 60,     /* base/cache: one shard */
	H2_RANK_DEVICE = 70,    /* device: state of a simulated disk */
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

/* Wait for cond, as pthread_cond_wait. The caller holds m. */
void h2_mutex_wait(struct h2_mutex *m, pthread_cond_t *cond);

/* For assertions: whether the calling thread holds m. Always true with NDEBUG. */
bool h2_mutex_held(const struct h2_mutex *m);

#endif
