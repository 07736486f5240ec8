/* Paths and visited directories; see walk.h. */
#include "walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hammer2.h"

char *clean_path(const char *path)
{
	size_t len = strlen(path);
	char *text = must_alloc(malloc(len + 2));

	while (*path == '/')
		path++;
	snprintf(text, len + 2, "/%s", path);
	len = strlen(text);
	while (len > 1 && text[len - 1] == '/')
		text[--len] = '\0';
	return text;
}

char *join_path(const char *dir, const char *name)
{
	size_t size = strlen(dir) + strlen(name) + 2;
	char *text = must_alloc(malloc(size));

	snprintf(text, size, "%s%s%s", dir, dir[strlen(dir) - 1] == '/' ? "" : "/", name);
	return text;
}

bool visited_add(struct visited *v, uint64_t inum)
{
	if (2 * (v->count + 1) > v->room) {
		struct visited bigger = {.room = v->room ? 2 * v->room : 64};

		bigger.inums = must_alloc(calloc(bigger.room, sizeof(*bigger.inums)));
		for (size_t i = 0; i < v->room; i++) {
			if (v->inums[i])
				visited_add(&bigger, v->inums[i]);
		}
		free(v->inums);
		*v = bigger;
	}
	for (size_t i = (size_t)(inum * UINT64_C(0x9e3779b97f4a7c15) >> 20) % v->room;;
	     i = (i + 1) % v->room) {
		if (v->inums[i] == inum)
			return false;
		if (v->inums[i] == 0) {
			v->inums[i] = inum;
			v->count++;
			return true;
		}
	}
}

void visited_fini(struct visited *v)
{
	free(v->inums);
	*v = (struct visited){0};
}
