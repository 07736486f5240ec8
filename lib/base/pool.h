/*
 * A pool of threads that work through a stack of small tasks, for passes over whole volumes.
 *
 * Tasks are taken last in, first out, so that a walk over a tree goes deep before it goes wide and
 * the stack stays short; its length is bounded, and whoever finds it full does the work itself.
 */
#ifndef H2_BASE_POOL_H
#define H2_BASE_POOL_H

#include <stdbool.h>
#include <stddef.h>

struct h2_pool;

typedef void h2_task_fn(void *context, void *task);

/*
 * threads: how many work (0: one for each CPU, at most 16). task_size: bytes of a task, which are
 * copied in and out. tasks_max: length of the stack. Each task is passed to run(context, task).
 * Returns 0, -ENOMEM, or the error of thread creation when not even one could be started.
 */
int h2_pool_new(unsigned threads, size_t task_size, size_t tasks_max, h2_task_fn *run,
		void *context, struct h2_pool **poolp);

/* Push a task. Returns false, and takes nothing, when the stack is full. May be called by tasks. */
bool h2_pool_push(struct h2_pool *pool, const void *task);

/* Wait until no task is left or running. The caller must not be a task. */
void h2_pool_wait(struct h2_pool *pool);

/* The same for so many milliseconds at most. Returns whether nothing is left. */
bool h2_pool_wait_for(struct h2_pool *pool, unsigned milliseconds);

/* Wait, end the threads and free the pool. NULL is allowed. */
void h2_pool_free(struct h2_pool *pool);

#endif
