/* Operations as text; see op.h. */
#include "op.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "must.h"
#include "random.h"

#define BLOCK 65536u
#define NUMBERS_MAX 3u

/* What each is called, and its arguments: p and q are paths, n numbers, d a kind of data. */
static const struct {
	const char *name, *args;
} kinds[OP_KINDS] = {
	[OP_CREATE] = {"create", "p"},      [OP_MKDIR] = {"mkdir", "p"},
	[OP_SYMLINK] = {"symlink", "pn"},   [OP_FIFO] = {"fifo", "p"},
	[OP_LINK] = {"link", "pq"},         [OP_UNLINK] = {"unlink", "p"},
	[OP_RMDIR] = {"rmdir", "p"},        [OP_RENAME] = {"rename", "pq"},
	[OP_EXCHANGE] = {"exchange", "pq"}, [OP_WRITE] = {"write", "pnnd"},
	[OP_APPEND] = {"append", "pnd"},    [OP_COPY] = {"copy", "pnqnn"},
	[OP_TRUNCATE] = {"truncate", "pn"}, [OP_PUNCH] = {"punch", "pnn"},
	[OP_ZERO] = {"zero", "pnn"},        [OP_ALLOCATE] = {"allocate", "pnn"},
	[OP_RESERVE] = {"reserve", "pnn"},  [OP_CHMOD] = {"chmod", "pn"},
	[OP_CHOWN] = {"chown", "pnn"},      [OP_TIMES] = {"times", "pnn"},
	[OP_FLAGS] = {"flags", "pn"},       [OP_METHODS] = {"methods", "pnn"},
	[OP_HOLD] = {"hold", "p"},          [OP_RELEASE] = {"release", ""},
	[OP_SNAPSHOT] = {"snapshot", "pq"}, [OP_SNAPSHOT_DIR] = {"snapshot-dir", "pq"},
	[OP_DELETE] = {"delete", "p"},      [OP_ROLLBACK] = {"rollback", "pq"},
	[OP_SYNC] = {"sync", ""},           [OP_REMOUNT] = {"remount", ""},
};

static const char *const data_names[DATA_KINDS] = {
	[DATA_NOISE] = "noise",
	[DATA_TEXT] = "text",
	[DATA_SAME] = "same",
	[DATA_ZEROS] = "zeros",
};

void op_list_add(struct op_list *list, const struct op *op)
{
	list->ops = must_grow(list->ops, list->count, &list->room, sizeof(*list->ops));
	list->ops[list->count++] = *op;
}

void op_list_fini(struct op_list *list)
{
	free(list->ops);
	*list = (struct op_list){0};
}

/* ---- writing ---- */

void op_format(const struct op *op, char text[OP_TEXT_MAX])
{
	size_t at = (size_t)snprintf(text, OP_TEXT_MAX, "%s", kinds[op->kind].name);
	unsigned numbers = 0;

	for (const char *a = kinds[op->kind].args; *a; a++) {
		char *to = text + at;
		size_t room = OP_TEXT_MAX - at;

		/* Two paths and three numbers are shorter than the buffer. */
		if (*a == 'n')
			at += (size_t)snprintf(to, room,
					       op->kind == OP_CHMOD ? " 0%" PRIo64 : " %" PRIu64,
					       op->n[numbers++]);
		else
			at += (size_t)snprintf(to, room, " %s",
					       *a == 'p'   ? op->path
					       : *a == 'q' ? op->path2
							   : data_names[op->data]);
	}
}

char *op_list_format(const struct op_list *list)
{
	char *all = must_calloc(list->count + 1, OP_TEXT_MAX + 2);
	size_t at = 0;

	for (size_t i = 0; i < list->count; i++) {
		char text[OP_TEXT_MAX];

		op_format(&list->ops[i], text);
		at += (size_t)sprintf(all + at, "%s%s", i > 0 ? "; " : "", text);
	}
	return all;
}

/* ---- reading ---- */

/* The next word of one operation; *at is moved behind it. Returns its length. */
static size_t next_word(const char **at, const char **word)
{
	while (isspace((unsigned char)**at))
		++*at;
	*word = *at;
	while (**at && **at != ';' && !isspace((unsigned char)**at))
		++*at;
	return (size_t)(*at - *word);
}

static bool is_word(const char *word, size_t len, const char *text)
{
	return strlen(text) == len && memcmp(word, text, len) == 0;
}

const char *const op_pfs_prefixes[OP_PFS_MAX] = {"", "@", "#", "%"};

static bool take_path(const char *word, size_t len, char path[OP_PATH_MAX])
{
	const char *slash = memchr(word, '/', len);
	bool good = is_word(word, len, OP_HELD);

	for (unsigned i = 0; i < OP_PFS_MAX && slash && !good; i++)
		good = is_word(word, (size_t)(slash - word), op_pfs_prefixes[i]);

	if (len == 0 || len >= OP_PATH_MAX || !good)
		return false;
	memcpy(path, word, len);
	path[len] = '\0';
	return true;
}

static bool take_number(const char *word, size_t len, uint64_t *number)
{
	char *end;

	if (len == 0 || !isdigit((unsigned char)word[0]))
		return false;
	*number = strtoull(word, &end, 0);
	return end == word + len;
}

static bool take_data(const char *word, size_t len, uint8_t *data)
{
	for (unsigned i = 0; i < DATA_KINDS; i++) {
		if (is_word(word, len, data_names[i])) {
			*data = (uint8_t)i;
			return true;
		}
	}
	return false;
}

static bool take_argument(struct op *op, char kind, const char *word, size_t len, unsigned *numbers)
{
	switch (kind) {
	case 'p':
		return take_path(word, len, op->path);
	case 'q':
		return take_path(word, len, op->path2);
	case 'd':
		return take_data(word, len, &op->data);
	default:
		return *numbers < NUMBERS_MAX && take_number(word, len, &op->n[(*numbers)++]);
	}
}

static char *parse_one(const char **at, struct op *op)
{
	unsigned numbers = 0, kind = 0;
	const char *word;
	size_t len = next_word(at, &word);

	while (kind < OP_KINDS && !is_word(word, len, kinds[kind].name))
		kind++;
	if (kind == OP_KINDS)
		return must_print("%.*s: no such operation", (int)len, word);
	*op = (struct op){.kind = (uint8_t)kind};
	for (const char *a = kinds[kind].args; *a; a++) {
		len = next_word(at, &word);
		if (!take_argument(op, *a, word, len, &numbers))
			return must_print("%s: \"%.*s\" is not the %s that it takes",
					  kinds[kind].name, (int)len, word,
					  *a == 'n'   ? "number"
					  : *a == 'd' ? "kind of data"
						      : "path");
	}
	len = next_word(at, &word);
	return len > 0 ? must_print("%s: \"%.*s\" is too much", kinds[kind].name, (int)len, word)
		       : NULL;
}

char *op_list_parse(const char *text, struct op_list *list)
{
	const char *at = text;

	for (;;) {
		struct op op;
		char *wrong;

		while (*at == ';' || isspace((unsigned char)*at))
			at++;
		if (!*at)
			return NULL;
		wrong = parse_one(&at, &op);
		if (wrong)
			return wrong;
		op_list_add(list, &op);
	}
}

/* ---- paths and data ---- */

unsigned op_path_pfs(const char *path, const char **rest)
{
	unsigned pfs = OP_PFS_MAX - 1;

	while (pfs > 0 && path[0] != op_pfs_prefixes[pfs][0])
		pfs--;
	*rest = path + (pfs > 0) + 1;
	return pfs;
}

size_t op_path_next(const char **rest, char name[OP_NAME_MAX])
{
	size_t len = 0, wanted;

	while (**rest && **rest != '/' && len < OP_PATH_MAX)
		name[len++] = *(*rest)++;
	if (**rest == '/')
		++*rest;
	wanted = len == 0 ? 0 : name[0] == 'L' ? 100 : name[0] == 'X' ? OP_NAME_MAX - 1 : 0;
	while (len < wanted)
		name[len++] = '~';
	name[len] = '\0';
	return len;
}

static void fill_noise(uint8_t *buf, size_t len, uint64_t seed)
{
	struct random r = {.state = seed};

	for (size_t i = 0; i < len; i += sizeof(uint64_t)) {
		uint64_t word = random_next(&r);

		memcpy(buf + i, &word, len - i < sizeof(word) ? len - i : sizeof(word));
	}
}

void op_data_make(uint8_t *buf, size_t len, enum op_data kind, uint64_t seed)
{
	switch (kind) {
	case DATA_NOISE:
		fill_noise(buf, len, seed);
		return;
	case DATA_TEXT:
		for (size_t i = 0; i < len; i++)
			buf[i] = (uint8_t)('a' + (i / 31 + seed) % 26);
		return;
	case DATA_SAME:
		for (size_t i = 0; i < len; i += BLOCK)
			fill_noise(buf + i, len - i < BLOCK ? len - i : BLOCK, i / BLOCK % 3);
		return;
	default:
		memset(buf, 0, len);
		return;
	}
}

void op_target_make(char *buf, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (char)('a' + (i + seed) % 26);
}
