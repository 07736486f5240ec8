/* Output for people and programs; see out.h. */
#include "out.h"

#include <ctype.h>
#include <errno.h>
#include <hammer2/report.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

int parse_size(const char *text, uint64_t *value)
{
	static const char suffixes[] = "KMGT";
	const char *suffix;
	unsigned shift = 0;
	uint64_t number;
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	/* Not base 0, for which 0100 is 64. */
	number = strtoull(text, &end, strncasecmp(text, "0x", 2) == 0 ? 16 : 10);
	if (errno)
		return -EINVAL;
	if (*end) {
		suffix = strchr(suffixes, toupper((unsigned char)*end));
		if (!suffix || end[1])
			return -EINVAL;
		shift = 10 * (unsigned)(suffix - suffixes + 1);
	}
	if (number > UINT64_MAX >> shift)
		return -EINVAL;
	*value = number << shift;
	return 0;
}

const char *error_text(int err)
{
	switch (-err) {
	case H2_ECHECK:
		return "a block does not match its check code";
	case H2_ECORRUPT:
		return "a structure on the media contradicts the format";
	default:
		return strerror(-err);
	}
}

/* The length of the valid UTF-8 sequence at s, of which len bytes are left; 0: none. */
static size_t utf8_length(const unsigned char *s, size_t len)
{
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = s[0] < 0x80             ? 1
		   : (s[0] & 0xe0) == 0xc0 ? 2
		   : (s[0] & 0xf0) == 0xe0 ? 3
		   : (s[0] & 0xf8) == 0xf0 ? 4
					   : 0;
	uint32_t code;

	if (n <= 1)
		return n;
	if (n > len)
		return 0;
	code = s[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3fu);
	}
	if (code < smallest[n] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	return n;
}

static bool is_utf8(const char *text, size_t len)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t n;

	for (size_t i = 0; i < len; i += n) {
		n = utf8_length(s + i, len - i);
		if (n == 0)
			return false;
	}
	return true;
}

/* Whether a terminal would obey the sequence of n bytes instead of showing it. */
static bool is_control(const unsigned char *s, size_t n)
{
	return s[0] < 0x20 || s[0] == 0x7f || (n == 2 && s[0] == 0xc2 && s[1] < 0xa0);
}

void out_name(FILE *to, const char *name, size_t len)
{
	const unsigned char *s = (const unsigned char *)name;

	for (size_t i = 0; i < len;) {
		size_t n = utf8_length(s + i, len - i);

		if (n == 0 || is_control(s + i, n)) {
			n = n ? n : 1;
			if (s[i] == '\n' || s[i] == '\t')
				fputs(s[i] == '\n' ? "\\n" : "\\t", to);
			else
				for (size_t k = 0; k < n; k++)
					fprintf(to, "\\x%02x", s[i + k]);
		} else {
			if (s[i] == '\\')
				putc('\\', to);
			fwrite(s + i, 1, n, to);
		}
		i += n;
	}
}

const char *out_size(uint64_t bytes, char text[OUT_SIZE_TEXT])
{
	static const char units[] = "KMGTPE";
	double value = (double)bytes;
	int unit = -1;

	if (bytes < 1024) {
		snprintf(text, OUT_SIZE_TEXT, "%" PRIu64, bytes);
		return text;
	}
	while (value >= 1023.95 && units[unit + 1]) {
		value /= 1024;
		unit++;
	}
	snprintf(text, OUT_SIZE_TEXT, "%.1f%c", value, unit < 0 ? 'B' : units[unit]);
	return text;
}

const char *out_time(uint64_t time_us, char text[OUT_TIME_TEXT])
{
	time_t seconds = (time_t)(time_us / 1000000);
	struct tm tm;

	if (!localtime_r(&seconds, &tm) || strftime(text, OUT_TIME_TEXT, "%F %T", &tm) == 0)
		snprintf(text, OUT_TIME_TEXT, "%" PRIu64, time_us / 1000000);
	return text;
}

const char *out_comp(unsigned comp_algo, char text[OUT_COMP_TEXT])
{
	unsigned level = comp_algo >> 4;

	if (level == 0)
		snprintf(text, OUT_COMP_TEXT, "%s:default", h2_comp_algo_name(comp_algo & 15u));
	else
		snprintf(text, OUT_COMP_TEXT, "%s:%u", h2_comp_algo_name(comp_algo & 15u), level);
	return text;
}

const char *out_object_type(unsigned type)
{
	static const char *const names[] = {
		[H2_OBJECT_DIRECTORY] = "dir",    [H2_OBJECT_FILE] = "file",
		[H2_OBJECT_FIFO] = "fifo",        [H2_OBJECT_CHAR_DEVICE] = "chr",
		[H2_OBJECT_BLOCK_DEVICE] = "blk", [H2_OBJECT_SYMLINK] = "symlink",
		[H2_OBJECT_SOCKET] = "socket",    [H2_OBJECT_WHITEOUT] = "whiteout",
	};

	if (type >= sizeof(names) / sizeof(names[0]) || !names[type])
		return "?";
	return names[type];
}

const char *out_pfs_type(unsigned type)
{
	const char *name = h2_pfs_type_name(type);

	return strcmp(name, "?") == 0 ? "ILLEGAL" : name;
}

const char *out_mode(uint32_t mode, char text[OUT_MODE_TEXT])
{
	static const struct {
		uint32_t bits;
		char letter;
	} types[] = {
		{S_IFREG, '-'}, {S_IFDIR, 'd'}, {S_IFLNK, 'l'},  {S_IFCHR, 'c'},
		{S_IFBLK, 'b'}, {S_IFIFO, 'p'}, {S_IFSOCK, 's'},
	};

	text[0] = '?';
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if ((mode & S_IFMT) == types[i].bits)
			text[0] = types[i].letter;
	}
	for (unsigned i = 0; i < 9; i++)
		text[1 + i] = mode & (0400u >> i) ? "rwx"[i % 3] : '-';
	if (mode & S_ISUID)
		text[3] = mode & S_IXUSR ? 's' : 'S';
	if (mode & S_ISGID)
		text[6] = mode & S_IXGRP ? 's' : 'S';
	if (mode & S_ISVTX)
		text[9] = mode & S_IXOTH ? 't' : 'T';
	text[10] = '\0';
	return text;
}

/* ---- JSON ---- */

struct json {
	FILE *to;
	unsigned depth;
	bool first; /* nothing was written yet in the innermost object or array */
};

struct json *json_new(FILE *to)
{
	struct json *out = malloc(sizeof(*out));

	if (!out) {
		fputs("out of memory\n", stderr);
		exit(EXIT_FAILURE);
	}
	*out = (struct json){.to = to, .first = true};
	return out;
}

void json_free(struct json *out)
{
	free(out);
}

static void put_text(FILE *to, const char *text, size_t len)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t n;

	putc('"', to);
	for (size_t i = 0; i < len; i += n) {
		n = utf8_length(s + i, len - i);
		if (n == 0) {
			fputs("\\ufffd", to);
			n = 1;
		} else if (s[i] == '"' || s[i] == '\\') {
			fprintf(to, "\\%c", s[i]);
		} else if (n == 1 && (s[i] < 0x20 || s[i] == 0x7f)) {
			fprintf(to, "\\u%04x", s[i]);
		} else {
			fwrite(s + i, 1, n, to);
		}
	}
	putc('"', to);
}

/* What stands in front of a value: a comma, the member's name. */
static void begin_value(struct json *out, const char *name, const char *suffix)
{
	if (!out->first)
		putc(',', out->to);
	out->first = false;
	if (name)
		fprintf(out->to, "\"%s%s\":", name, suffix);
}

/* A value outside of everything ends its line. */
static void end_value(struct json *out)
{
	if (out->depth == 0) {
		putc('\n', out->to);
		out->first = true;
	}
}

static void begin_group(struct json *out, const char *name, char bracket)
{
	if (!out)
		return;
	begin_value(out, name, "");
	putc(bracket, out->to);
	out->depth++;
	out->first = true;
}

static void end_group(struct json *out, char bracket)
{
	if (!out)
		return;
	putc(bracket, out->to);
	out->depth--;
	out->first = false;
	end_value(out);
}

void json_object_begin(struct json *out, const char *name)
{
	begin_group(out, name, '{');
}

void json_object_end(struct json *out)
{
	end_group(out, '}');
}

void json_array_begin(struct json *out, const char *name)
{
	begin_group(out, name, '[');
}

void json_array_end(struct json *out)
{
	end_group(out, ']');
}

void json_string(struct json *out, const char *name, const char *text)
{
	if (!out)
		return;
	begin_value(out, name, "");
	put_text(out->to, text, strlen(text));
	end_value(out);
}

void json_name(struct json *out, const char *name, const char *bytes, size_t len)
{
	if (!out)
		return;
	if (is_utf8(bytes, len)) {
		begin_value(out, name, "");
		put_text(out->to, bytes, len);
	} else {
		begin_value(out, name, "_hex");
		putc('"', out->to);
		for (size_t i = 0; i < len; i++)
			fprintf(out->to, "%02x", (unsigned char)bytes[i]);
		putc('"', out->to);
	}
	end_value(out);
}

void json_uint(struct json *out, const char *name, uint64_t value)
{
	if (!out)
		return;
	begin_value(out, name, "");
	fprintf(out->to, "%" PRIu64, value);
	end_value(out);
}

void json_hex(struct json *out, const char *name, uint64_t value)
{
	if (!out)
		return;
	begin_value(out, name, "");
	fprintf(out->to, "\"0x%016" PRIx64 "\"", value);
	end_value(out);
}

void json_bool(struct json *out, const char *name, bool value)
{
	if (!out)
		return;
	begin_value(out, name, "");
	fputs(value ? "true" : "false", out->to);
	end_value(out);
}

void json_uuid(struct json *out, const char *name, const struct h2_uuid *uuid)
{
	char text[H2_UUID_TEXT_SIZE];

	h2_uuid_format(uuid, text);
	json_string(out, name, text);
}
