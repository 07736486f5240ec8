/* Names, data and descriptions of operations; see op.h. */
#include "op.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "random.h"

/* ---- names ---- */

/*
 * Names of equal hash 0xe596b8c5c9588000: those of MF A.1, and more that were found by trying
 * orders of the letters and separators. A directory puts them under neighbouring keys.
 */
/* clang-format off */
static const char *const colliding[] = {
	"a.c.b.h.f.e.d.g", "e.b.c.g.d.h.a.f", "f.c.b.g.e.d.a.h", "c.b.f.h.e.a.g.d",
	"a.g.c.d.h.f.b.e", "a.g.f.h.b.c.e.d", "b.e.h.g.d.c.f.a",
	"f.b.h.e.g_c-d-a", "d.a~c~h-b_e-f-g", "f_g~b.a_h~c_d-e", "h-e_d_b.g-f~a~c",
	"f_g.d-h-c_a.b_e", "a_h.c_g~e-b~d-f", "e-a.f-g~d.h-b.c", "g_f~b.c.a~h.d_e",
	"d~f_g.a-h-c~b.e", "h~d-c.f-g~e.b_a", "h~g~b.c.d-e-a~f", "f-a_d.e-b~c_g-h",
	"h~a-f_d.b-e.g_c", "b.f_h_e~d-a-c.g", "a_e.d.h_c_b~g.f", "f.e-c.d-g~h.b.a",
	"d-c~a.b-g~h-f~e", "b_d_g_f_a~e~c.h", "b_d-a-f-c.h.e.g", "a_h~b.e_c~d-f-g",
	"a_h_g-e~f.b-c-d", "c-e.d_a~g~h~b-f", "c-h_g.e.f.b~d.a", "f~d_e~c_b_g.h_a",
	"e~g.c-b-d-f~a_h", "a.g-f-d~c.e_h_b", "a.e-f-g_h~b~c-d", "e~g.f~h_d_a-b.c",
	"c-d_b~g-a-f.e-h", "h-b~c~f-d~g_a-e", "d.c-h.e.a.g.b~f", "g.h~e_b_d_c-a~f",
	"d.e.c.h~g_b.f.a", "d-f~e.h_b~c.a_g", "g.b_d~h.e_a_f~c", "f_h-b.a-d-g_c_e",
	"e.g.d~b~f~h~c.a", "a~f-h~b_e_d.g~c", "a~g~h~f.d~c~b-e", "h~f.d-c-a-g_e.b",
	"e~f-g~b-c~a.h-d",
};
/* clang-format on */
#define COLLIDING (sizeof(colliding) / sizeof(colliding[0]))

/* Names of separators only have the same upper half of the hash. */
static const char *const separators[] = {
	"...", "-", "_", "~", "--", "-.", ".-", "~~~", "._.", "....", "_-_", "-_-_",
};
#define SEPARATORS (sizeof(separators) / sizeof(separators[0]))

static size_t fill_name(char *buf, size_t len, uint32_t number)
{
	int head = snprintf(buf, NAME_BUFFER, "n%u-", number);

	for (size_t i = (size_t)head; i < len; i++)
		buf[i] = (char)('a' + (i + number) % 26);
	return len;
}

static size_t bytes_name(char *buf, uint32_t number)
{
	struct random r = {number};
	size_t len = 4 + random_below(&r, 20);

	for (size_t i = 0; i < len; i++) {
		do
			buf[i] = (char)random_next(&r);
		while (buf[i] == '/' || buf[i] == '\0');
	}
	return len;
}

/* An order of letters between dots: high half of the hash equal, low half mostly not. */
static size_t pieces_name(char *buf, uint32_t number)
{
	struct random r = {number};
	char letters[] = "abcdefgh";

	for (unsigned i = 7; i > 0; i--) {
		unsigned j = (unsigned)random_below(&r, i + 1);
		char c = letters[i];

		letters[i] = letters[j];
		letters[j] = c;
	}
	for (unsigned i = 0; i < 8; i++) {
		buf[2 * i] = letters[i];
		buf[2 * i + 1] = '.';
	}
	return 15;
}

static size_t bad_name_make(uint32_t number, char *buf)
{
	switch (number) {
	case NAME_DOT:
		memcpy(buf, ".", 1);
		return 1;
	case NAME_DOT_DOT:
		memcpy(buf, "..", 2);
		return 2;
	case NAME_SLASH:
		memcpy(buf, "a/b", 3);
		return 3;
	case NAME_NUL:
		memcpy(buf, "a\0b", 3);
		return 3;
	case NAME_TOO_LONG:
		return fill_name(buf, 256, number);
	case NAME_FAR_TOO_LONG:
		return fill_name(buf, 1000, number);
	default:
		return 0;
	}
}

/* Names that were found. */
static struct learned {
	uint8_t len;
	char bytes[MODEL_NAME_MAX];
} * learned;
static uint32_t learned_count, learned_room;

uint32_t name_learn(const char *name, size_t len)
{
	if (learned_count == learned_room) {
		learned_room = learned_room ? learned_room * 2 : 256;
		learned = realloc(learned, learned_room * sizeof(*learned));
		if (!learned)
			abort();
	}
	assert(len <= MODEL_NAME_MAX);
	memset(&learned[learned_count], 0, sizeof(*learned));
	learned[learned_count].len = (uint8_t)len;
	memcpy(learned[learned_count].bytes, name, len);
	return NAMES_LEARNED + learned_count++;
}

size_t name_make(uint32_t number, char buf[NAME_BUFFER])
{
	static const uint16_t lengths[] = {64, 65, 255, 63, 128, 64, 65, 254};

	if (number >= NAME_EMPTY)
		return bad_name_make(number, buf);
	if (number >= NAMES_LEARNED) {
		assert(number - NAMES_LEARNED < learned_count);
		memcpy(buf, learned[number - NAMES_LEARNED].bytes, MODEL_NAME_MAX);
		return learned[number - NAMES_LEARNED].len;
	}
	switch (number % 20) {
	case 3:
	case 9:
	case 14:
		return fill_name(buf, lengths[number / 20 % 8], number);
	case 5:
	case 11:
		memcpy(buf, colliding[number / 20 % COLLIDING], 15);
		return 15;
	case 7:
		memcpy(buf, separators[number / 20 % SEPARATORS],
		       strlen(separators[number / 20 % SEPARATORS]));
		return strlen(separators[number / 20 % SEPARATORS]);
	case 12:
		return bytes_name(buf, number);
	case 16:
	case 18:
		return pieces_name(buf, number);
	case 17:
		buf[0] = (char)('A' + number / 20 % 26);
		return 1;
	default:
		return (size_t)snprintf(buf, NAME_BUFFER, "%s%u", number % 2 ? "f" : "File_",
					number);
	}
}

/* ---- data ---- */

static void noise(uint8_t *buf, size_t len, struct random *r)
{
	while (len >= 8) {
		uint64_t x = random_next(r);

		memcpy(buf, &x, 8);
		buf += 8;
		len -= 8;
	}
	while (len > 0) {
		*buf++ = (uint8_t)random_next(r);
		len--;
	}
}

void data_make(uint8_t *buf, size_t len, enum op_data kind, uint64_t seed)
{
	struct random r = {seed};

	switch (kind) {
	case DATA_NOISE:
		noise(buf, len, &r);
		return;
	case DATA_TEXT: {
		uint64_t word = random_next(&r);

		for (size_t i = 0; i < len; i++) {
			if (i % 61 == 0)
				word = random_next(&r) % 32;
			buf[i] = (uint8_t)('a' + (word + i) % 23);
		}
		return;
	}
	case DATA_REPEAT:
		for (size_t i = 0; i < len; i += H2_LOGICAL_BLOCK) {
			struct random block = {random_below(&r, 4)};

			noise(buf + i, len - i < H2_LOGICAL_BLOCK ? len - i : H2_LOGICAL_BLOCK,
			      &block);
		}
		return;
	case DATA_MIXED:
		for (size_t i = 0; i < len;) {
			size_t part = 1 + random_skewed(&r, 2 * H2_LOGICAL_BLOCK);

			if (part > len - i)
				part = len - i;
			if (random_one_in(&r, 2))
				memset(buf + i, 0, part);
			else
				noise(buf + i, part, &r);
			i += part;
		}
		return;
	default:
		memset(buf, 0, len);
	}
}

void target_make(char *buf, size_t len, uint64_t seed)
{
	struct random r = {seed};

	for (size_t i = 0; i < len; i++)
		buf[i] = (char)('!' + random_below(&r, 90));
}

/* ---- descriptions ---- */

static const char *const kind_names[OP_KINDS] = {
	[OP_CREATE] = "create",     [OP_CREATE_UNNAMED] = "create-unnamed",
	[OP_LINK] = "link",         [OP_UNLINK] = "unlink",
	[OP_RMDIR] = "rmdir",       [OP_RENAME] = "rename",
	[OP_SET] = "set",           [OP_WRITE] = "write",
	[OP_ALLOCATE] = "allocate", [OP_COPY] = "copy",
	[OP_READ] = "read",         [OP_SEEK] = "seek",
	[OP_LOOKUP] = "lookup",     [OP_READDIR] = "readdir",
	[OP_SCAN] = "scan",         [OP_READLINK] = "readlink",
	[OP_STAT] = "stat",         [OP_HOLD] = "hold",
	[OP_RELEASE] = "release",   [OP_SYNC] = "sync",
	[OP_SNAPSHOT] = "snapshot", [OP_CRASH] = "crash",
	[OP_VERIFY] = "verify",     [OP_REMOUNT] = "remount",
};

static const char *const data_names[DATA_KINDS] = {"zeros", "noise", "text", "repeated", "mixed"};

const char *op_kind_name(enum op_kind kind)
{
	return kind < OP_KINDS ? kind_names[kind] : "?";
}

struct text {
	char *at;
	size_t left;
};

__attribute__((format(printf, 2, 3))) static void say(struct text *t, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(t->at, t->left, format, args);
	va_end(args);
	if (n < 0)
		return;
	if ((size_t)n >= t->left)
		n = (int)t->left - 1;
	t->at += n;
	t->left -= (size_t)n;
}

static void say_name(struct text *t, uint32_t number)
{
	char name[NAME_BUFFER];
	size_t len = name_make(number, name);
	size_t shown = len > 24 ? 20 : len;

	say(t, "\"");
	for (size_t i = 0; i < shown; i++) {
		if (name[i] > ' ' && name[i] < 0x7f && name[i] != '"' && name[i] != '\\')
			say(t, "%c", name[i]);
		else
			say(t, "\\x%02x", (uint8_t)name[i]);
	}
	say(t, shown < len ? "...\" (%zu bytes)" : "\"", len);
}

static void say_set(struct text *t, const struct model_set *s)
{
	if (s->valid & MODEL_SET_MODE)
		say(t, " mode %#o", s->mode);
	if (s->valid & MODEL_SET_UID)
		say(t, " uid %u", s->uid);
	if (s->valid & MODEL_SET_GID)
		say(t, " gid %u", s->gid);
	if (s->valid & MODEL_SET_SIZE)
		say(t, " size %llu", (unsigned long long)s->size);
	if (s->valid & MODEL_SET_ATIME)
		say(t, " atime %llu", (unsigned long long)s->atime);
	if (s->valid & MODEL_SET_MTIME)
		say(t, " mtime %llu", (unsigned long long)s->mtime);
	if (s->valid & MODEL_SET_CTIME)
		say(t, " ctime %llu", (unsigned long long)s->ctime);
	if (s->valid & MODEL_SET_BTIME)
		say(t, " btime %llu", (unsigned long long)s->btime);
	if (s->valid & MODEL_SET_UFLAGS)
		say(t, " uflags %#x", s->uflags);
	if (s->valid & MODEL_SET_COMP)
		say(t, " comp %#x", s->comp_algo);
	if (s->valid & MODEL_SET_CHECK)
		say(t, " check %#x", s->check_algo);
}

#define ULL(x) ((unsigned long long)(x))

static void say_arguments(struct text *t, const struct op *op)
{
	switch ((enum op_kind)op->kind) {
	case OP_CREATE:
		say(t, " #%llu %s in #%llu ", ULL(op->number), h2_object_type_name(op->type),
		    ULL(op->dir));
		say_name(t, op->name);
		say(t, " mode %#o uid %u gid %u", op->set.mode, op->set.uid, op->set.gid);
		if (op->comp_algo >= 0 || op->check_algo >= 0)
			say(t, " comp %d check %d", op->comp_algo, op->check_algo);
		if (op->type == H2_OBJECT_SYMLINK)
			say(t, " target %llu bytes", ULL(op->len));
		break;
	case OP_CREATE_UNNAMED:
		say(t, " #%llu in #%llu", ULL(op->number), ULL(op->dir));
		break;
	case OP_LINK:
		say(t, " #%llu to #%llu ", ULL(op->object), ULL(op->dir));
		say_name(t, op->name);
		break;
	case OP_UNLINK:
	case OP_RMDIR:
	case OP_LOOKUP:
		say(t, " in #%llu ", ULL(op->dir));
		say_name(t, op->name);
		break;
	case OP_RENAME:
		say(t, " #%llu ", ULL(op->dir));
		say_name(t, op->name);
		say(t, " to #%llu ", ULL(op->dir2));
		say_name(t, op->name2);
		say(t, " flags %#x", op->flags);
		break;
	case OP_SET:
		say(t, " #%llu", ULL(op->object));
		say_set(t, &op->set);
		break;
	case OP_WRITE:
		say(t, " #%llu [%llu, +%llu) %s%s%s", ULL(op->object), ULL(op->offset),
		    ULL(op->len), data_names[op->data % DATA_KINDS],
		    op->flags & OP_WRITE_APPEND ? " append" : "",
		    op->flags & OP_WRITE_KEEP_TIMES ? " keep-times" : "");
		break;
	case OP_ALLOCATE:
		say(t, " #%llu mode %#x [%llu, +%llu)", ULL(op->object), op->flags, ULL(op->offset),
		    ULL(op->len));
		break;
	case OP_COPY:
		say(t, " #%llu [%llu, +%llu) to #%llu at %llu", ULL(op->object), ULL(op->offset),
		    ULL(op->len), ULL(op->dir), ULL(op->offset2));
		break;
	case OP_READ:
	case OP_SEEK:
		say(t, " #%llu [%llu, +%llu)", ULL(op->object), ULL(op->offset), ULL(op->len));
		break;
	case OP_READDIR:
	case OP_SCAN:
	case OP_READLINK:
	case OP_STAT:
	case OP_HOLD:
	case OP_RELEASE:
		say(t, " #%llu", ULL(op->object));
		break;
	default:
		break;
	}
}

void op_describe(const struct op *op, char *buf, size_t size)
{
	struct text t = {buf, size};

	say(&t, "%s", op_kind_name((enum op_kind)op->kind));
	say_arguments(&t, op);
	if (op->kind <= OP_STAT)
		say(&t, "%s%s", op->hold ? ", hold" : "", op->want ? ", want" : "");
}
