/*
 * Memory that runs out on demand: a test that includes this is linked with --wrap (meson.build), so
 * that the library's allocations in it come here.
 */
#ifndef TESTS_UNIT_SCARCE_H
#define TESTS_UNIT_SCARCE_H

#include <stdatomic.h>
#include <stdlib.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

/* How many allocations succeed before all fail; negative: as many as one likes. */
static _Atomic long scarce_left = -1;

static inline int scarce_fails(void)
{
	long left = atomic_load(&scarce_left);

	while (left > 0 && !atomic_compare_exchange_weak(&scarce_left, &left, left - 1))
		;
	return left == 0;
}

void *__wrap_malloc(size_t size)
{
	return scarce_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return scarce_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return scarce_fails() ? NULL : __real_realloc(old, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
	return scarce_fails() ? NULL : __real_aligned_alloc(alignment, size);
}

#endif
