/* Threads over a stack of tasks; see pool.h. */
#include "pool.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lock.h"

#define THREADS_MAX 16u

struct worker {
	struct h2_pool *pool;
	void *task; /* room for the task that this thread runs */
	pthread_t thread;
};

struct h2_pool {
	/* set at new, then constant */
	h2_task_fn *run;
	void *context;
	size_t task_size;
	size_t tasks_max;
	struct worker workers[THREADS_MAX];
	unsigned thread_count;

	struct h2_mutex lock;
	pthread_cond_t work; /* a task was pushed, or stop was set */
	pthread_cond_t idle; /* nothing left to do */
	/* under lock */
	uint8_t *tasks;
	size_t task_count;
	unsigned running;
	bool stop;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	struct h2_pool *pool = w->pool;

	h2_mutex_lock(&pool->lock);
	for (;;) {
		while (!pool->stop && pool->task_count == 0)
			h2_mutex_wait(&pool->lock, &pool->work);
		if (pool->task_count == 0)
			break;
		pool->task_count--;
		pool->running++;
		memcpy(w->task, pool->tasks + pool->task_count * pool->task_size, pool->task_size);
		h2_mutex_unlock(&pool->lock);
		pool->run(pool->context, w->task);
		h2_mutex_lock(&pool->lock);
		if (--pool->running == 0 && pool->task_count == 0)
			pthread_cond_broadcast(&pool->idle);
	}
	h2_mutex_unlock(&pool->lock);
	return NULL;
}

static unsigned cpu_count(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : n > (long)THREADS_MAX ? THREADS_MAX : (unsigned)n;
}

int h2_pool_new(unsigned threads, size_t task_size, size_t tasks_max, h2_task_fn *run,
		void *context, struct h2_pool **poolp)
{
	struct h2_pool *pool = calloc(1, sizeof(*pool));
	int err = 0;

	assert(task_size > 0);
	assert(tasks_max > 0);
	if (!pool)
		return -ENOMEM;
	pool->run = run;
	pool->context = context;
	pool->task_size = task_size;
	pool->tasks_max = tasks_max;
	pool->tasks = calloc(tasks_max, task_size);
	if (!pool->tasks) {
		free(pool);
		return -ENOMEM;
	}
	h2_mutex_init(&pool->lock, H2_RANK_POOL);
	pthread_cond_init(&pool->work, NULL);
	pthread_cond_init(&pool->idle, NULL);
	if (threads == 0)
		threads = cpu_count();
	if (threads > THREADS_MAX)
		threads = THREADS_MAX;
	while (pool->thread_count < threads) {
		struct worker *w = &pool->workers[pool->thread_count];

		w->pool = pool;
		w->task = malloc(task_size);
		err = w->task ? pthread_create(&w->thread, NULL, work, w) : ENOMEM;
		if (err) {
			free(w->task);
			break;
		}
		pool->thread_count++;
	}
	if (pool->thread_count == 0) {
		h2_pool_free(pool);
		return -err;
	}
	*poolp = pool;
	return 0;
}

bool h2_pool_push(struct h2_pool *pool, const void *task)
{
	bool room;

	h2_mutex_lock(&pool->lock);
	room = pool->task_count < pool->tasks_max;
	if (room) {
		memcpy(pool->tasks + pool->task_count * pool->task_size, task, pool->task_size);
		pool->task_count++;
		pthread_cond_signal(&pool->work);
	}
	h2_mutex_unlock(&pool->lock);
	return room;
}

void h2_pool_wait(struct h2_pool *pool)
{
	h2_mutex_lock(&pool->lock);
	while (pool->task_count > 0 || pool->running > 0)
		h2_mutex_wait(&pool->lock, &pool->idle);
	h2_mutex_unlock(&pool->lock);
}

bool h2_pool_wait_for(struct h2_pool *pool, unsigned milliseconds)
{
	struct timespec until;
	bool idle;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += milliseconds / 1000;
	until.tv_nsec += milliseconds % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	h2_mutex_lock(&pool->lock);
	while ((pool->task_count > 0 || pool->running > 0) &&
	       !h2_mutex_timedwait(&pool->lock, &pool->idle, &until))
		;
	idle = pool->task_count == 0 && pool->running == 0;
	h2_mutex_unlock(&pool->lock);
	return idle;
}

void h2_pool_free(struct h2_pool *pool)
{
	if (!pool)
		return;
	h2_mutex_lock(&pool->lock);
	pool->stop = true;
	pthread_cond_broadcast(&pool->work);
	h2_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->thread_count; i++) {
		pthread_join(pool->workers[i].thread, NULL);
		free(pool->workers[i].task);
	}
	pthread_cond_destroy(&pool->work);
	pthread_cond_destroy(&pool->idle);
	h2_mutex_fini(&pool->lock);
	free(pool->tasks);
	free(pool);
}
