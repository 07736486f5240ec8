/* Mutexes that know their place in the lock order; see lock.h. */
#include "lock.h"

#include <assert.h>
#include <errno.h>

#ifndef NDEBUG
static _Thread_local unsigned long held_ranks; /* bit rank/10 for each lock the thread holds */

static unsigned long rank_bit(enum h2_lock_rank rank)
{
	return 1ul << ((unsigned)rank / 5);
}
#endif

void h2_mutex_init(struct h2_mutex *m, enum h2_lock_rank rank)
{
	int err = pthread_mutex_init(&m->mutex, NULL);

	assert(err == 0);
	(void)err;
	m->rank = rank;
	m->held = false;
}

void h2_mutex_fini(struct h2_mutex *m)
{
	assert(!m->held);
	pthread_mutex_destroy(&m->mutex);
}

/* The calling thread has just locked it. */
static void note_held(struct h2_mutex *m)
{
#ifndef NDEBUG
	m->owner = pthread_self();
	m->held = true;
	held_ranks |= rank_bit(m->rank);
#else
	(void)m;
#endif
}

void h2_mutex_lock(struct h2_mutex *m)
{
#ifndef NDEBUG
	assert(held_ranks < rank_bit(m->rank));
#endif
	pthread_mutex_lock(&m->mutex);
	note_held(m);
}

bool h2_mutex_try_lock(struct h2_mutex *m)
{
	if (pthread_mutex_trylock(&m->mutex) != 0)
		return false;
	note_held(m);
	return true;
}

bool h2_mutex_timed_lock(struct h2_mutex *m, const struct timespec *until)
{
#ifndef NDEBUG
	assert(held_ranks < rank_bit(m->rank));
#endif
	if (pthread_mutex_timedlock(&m->mutex, until) != 0)
		return false;
	note_held(m);
	return true;
}

void h2_mutex_unlock(struct h2_mutex *m)
{
	assert(h2_mutex_held(m));
#ifndef NDEBUG
	m->held = false;
	held_ranks &= ~rank_bit(m->rank);
#endif
	pthread_mutex_unlock(&m->mutex);
}

void h2_mutex_wait(struct h2_mutex *m, pthread_cond_t *cond)
{
	assert(h2_mutex_held(m));
#ifndef NDEBUG
	m->held = false;
#endif
	pthread_cond_wait(cond, &m->mutex);
#ifndef NDEBUG
	m->owner = pthread_self();
	m->held = true;
#endif
}

bool h2_mutex_timedwait(struct h2_mutex *m, pthread_cond_t *cond, const struct timespec *until)
{
	int err;

	assert(h2_mutex_held(m));
#ifndef NDEBUG
	m->held = false;
#endif
	err = pthread_cond_timedwait(cond, &m->mutex, until);
#ifndef NDEBUG
	m->owner = pthread_self();
	m->held = true;
#endif
	return err == ETIMEDOUT;
}

bool h2_mutex_held(const struct h2_mutex *m)
{
#ifndef NDEBUG
	return m->held && pthread_equal(m->owner, pthread_self());
#else
	(void)m;
	return true;
#endif
}

void h2_rwlock_init(struct h2_rwlock *l)
{
	pthread_rwlockattr_t attr;
	int err = pthread_rwlockattr_init(&attr);

	assert(err == 0);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	err = pthread_rwlock_init(&l->lock, &attr);
	assert(err == 0);
	(void)err;
	pthread_rwlockattr_destroy(&attr);
}

void h2_rwlock_fini(struct h2_rwlock *l)
{
	pthread_rwlock_destroy(&l->lock);
}

void h2_rwlock_read(struct h2_rwlock *l)
{
	int err = pthread_rwlock_rdlock(&l->lock);

	assert(err == 0);
	(void)err;
}

bool h2_rwlock_try_read(struct h2_rwlock *l)
{
	return pthread_rwlock_tryrdlock(&l->lock) == 0;
}

void h2_rwlock_write(struct h2_rwlock *l)
{
	int err = pthread_rwlock_wrlock(&l->lock);

	assert(err == 0);
	(void)err;
}

void h2_rwlock_unlock(struct h2_rwlock *l)
{
	pthread_rwlock_unlock(&l->lock);
}
