/* Memory; see must.h. */
#include "must.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *or_exit(void *memory)
{
	if (!memory) {
		fputs("out of memory\n", stderr);
		exit(1);
	}
	return memory;
}

/* volatile: the compiler believes that no allocation looks at it. */
_Thread_local volatile unsigned must_level;

void *must_calloc(size_t count, size_t size)
{
	void *memory;

	must_level++;
	memory = calloc(count ? count : 1, size);
	must_level--;
	return or_exit(memory);
}

void *must_grow(void *array, size_t count, size_t *room, size_t size)
{
	if (count < *room)
		return array;
	*room = *room ? 2 * *room : 16;
	must_level++;
	array = realloc(array, *room * size);
	must_level--;
	return or_exit(array);
}

char *must_print(const char *format, ...)
{
	char *text = NULL;
	va_list ap;

	must_level++;
	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		text = NULL;
	va_end(ap);
	must_level--;
	return or_exit(text);
}
