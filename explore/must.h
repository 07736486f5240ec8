/* Memory or the end of the program: an explorer that left something out would prove nothing. */
#ifndef EXPLORE_MUST_H
#define EXPLORE_MUST_H

#include <stddef.h>

/* Not 0 while one of these is at work in this thread: not the library allocates then. */
extern _Thread_local volatile unsigned must_level;

void *must_calloc(size_t count, size_t size);

/* Room for one more of count items: the array, moved where it had to grow. */
void *must_grow(void *array, size_t count, size_t *room, size_t size);

/* printf() to memory; to be freed. */
__attribute__((format(printf, 1, 2))) char *must_print(const char *format, ...);

#endif
