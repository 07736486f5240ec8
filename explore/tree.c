/* Trees of names; see tree.h. */
#include "tree.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <hammer2/types.h>
#include <xxhash.h>

#include "must.h"

#define DIFFERENCES_MAX 8u

static_assert(sizeof(struct tree_attr) == 6 * 8 + 8 * 4, "it is hashed: no padding");

void tree_add(struct tree *tree, char *path, uint64_t identity, const struct tree_attr *attr)
{
	tree->entries = must_grow(tree->entries, tree->count, &tree->room, sizeof(*tree->entries));
	tree->entries[tree->count++] = (struct tree_entry){
		.path = path,
		.identity = identity,
		.attr = *attr,
	};
}

static int by_path(const void *a, const void *b)
{
	const struct tree_entry *x = a, *y = b;

	return strcmp(x->path, y->path);
}

static void find_firsts(struct tree *tree)
{
	for (size_t i = 0; i < tree->count; i++) {
		struct tree_entry *e = &tree->entries[i];

		e->first = i;
		for (size_t k = 0; e->attr.nlink > 1 && k < i; k++) {
			if (tree->entries[k].identity == e->identity) {
				e->first = k;
				break;
			}
		}
	}
}

void tree_finish(struct tree *tree)
{
	uint64_t hash = tree->count;

	if (tree->count > 1)
		qsort(tree->entries, tree->count, sizeof(*tree->entries), by_path);
	find_firsts(tree);
	for (size_t i = 0; i < tree->count; i++) {
		const struct tree_entry *e = &tree->entries[i];

		hash = XXH3_64bits_withSeed(e->path, strlen(e->path), hash);
		hash = XXH3_64bits_withSeed(&e->attr, sizeof(e->attr), hash ^ e->first);
	}
	tree->hash = hash;
}

void tree_fini(struct tree *tree)
{
	for (size_t i = 0; i < tree->count; i++)
		free((char *)tree->entries[i].path);
	free(tree->entries);
	*tree = (struct tree){0};
}

uint64_t tree_content_add(uint64_t sum, uint64_t index, const uint8_t chunk[TREE_CHUNK])
{
	static const uint8_t zeros[TREE_CHUNK];

	if (memcmp(chunk, zeros, TREE_CHUNK) == 0)
		return sum;
	return sum + XXH3_64bits_withSeed(chunk, TREE_CHUNK, index);
}

/* ---- telling differences ---- */

struct text { /* that grows */
	char *bytes;
	size_t len;
	unsigned lines;
};

__attribute__((format(printf, 2, 3))) static void say(struct text *t, const char *format, ...)
{
	FILE *to;
	char *line = NULL;
	size_t len = 0;
	va_list ap;

	if (t->lines++ >= DIFFERENCES_MAX)
		return;
	to = open_memstream(&line, &len);
	if (!to)
		return;
	va_start(ap, format);
	vfprintf(to, format, ap);
	va_end(ap);
	if (fclose(to) == 0) {
		char *all = must_print("%s    %s\n", t->bytes ? t->bytes : "", line);

		free(t->bytes);
		t->bytes = all;
	}
	free(line);
}

static const char *time_text(uint64_t t, char text[40])
{
	if (t & TREE_TIME_OP)
		snprintf(text, 40, "of operation %" PRIu64, t & ~TREE_TIME_OP);
	else
		snprintf(text, 40, "%" PRIu64, t);
	return text;
}

static void compare_time(struct text *t, const char *path, const char *name, uint64_t found,
			 uint64_t expected)
{
	char x[40], y[40];

	if (found != expected)
		say(t, "%s: %s is %s, expected %s", path, name, time_text(found, x),
		    time_text(expected, y));
}

static void compare_number(struct text *t, const char *path, const char *name, uint64_t found,
			   uint64_t expected)
{
	if (found != expected)
		say(t, "%s: %s is %" PRIu64 ", expected %" PRIu64, path, name, found, expected);
}

static void compare_entries(struct text *t, const struct tree *found, const struct tree_entry *f,
			    const struct tree *expected, const struct tree_entry *e)
{
	const struct tree_attr *x = &f->attr, *y = &e->attr;

	if (x->type != y->type)
		say(t, "%s: a %s, expected a %s", f->path, h2_object_type_name(x->type),
		    h2_object_type_name(y->type));
	compare_number(t, f->path, "size", x->size, y->size);
	if (x->content != y->content && x->size == y->size)
		say(t, "%s: other contents than expected", f->path);
	compare_number(t, f->path, "mode", x->mode, y->mode);
	compare_number(t, f->path, "uid", x->uid, y->uid);
	compare_number(t, f->path, "gid", x->gid, y->gid);
	compare_number(t, f->path, "link count", x->nlink, y->nlink);
	compare_number(t, f->path, "uflags", x->uflags, y->uflags);
	compare_number(t, f->path, "comp_algo", x->comp_algo, y->comp_algo);
	compare_number(t, f->path, "check_algo", x->check_algo, y->check_algo);
	compare_time(t, f->path, "atime", x->atime, y->atime);
	compare_time(t, f->path, "mtime", x->mtime, y->mtime);
	compare_time(t, f->path, "ctime", x->ctime, y->ctime);
	compare_time(t, f->path, "btime", x->btime, y->btime);
	if (strcmp(found->entries[f->first].path, expected->entries[e->first].path) != 0)
		say(t, "%s: the same file as %s, expected %s", f->path,
		    found->entries[f->first].path, expected->entries[e->first].path);
}

char *tree_difference(const struct tree *found, const struct tree *expected)
{
	struct text t = {0};
	size_t i = 0, k = 0;

	while (i < found->count || k < expected->count) {
		const struct tree_entry *f = i < found->count ? &found->entries[i] : NULL;
		const struct tree_entry *e = k < expected->count ? &expected->entries[k] : NULL;
		int order = !f ? 1 : !e ? -1 : strcmp(f->path, e->path);

		if (order < 0)
			say(&t, "%s is there, but should not", f->path);
		else if (order > 0)
			say(&t, "%s is missing", e->path);
		else
			compare_entries(&t, found, f, expected, e);
		i += order <= 0;
		k += order >= 0;
	}
	if (t.lines > DIFFERENCES_MAX) {
		char *all = must_print("%s    and %u more\n", t.bytes ? t.bytes : "",
				       t.lines - DIFFERENCES_MAX);

		free(t.bytes);
		t.bytes = all;
	}
	return t.bytes ? t.bytes : must_print("    (no difference)\n");
}
