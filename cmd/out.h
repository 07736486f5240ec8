/*
 * Output of the programs: names, sizes and times for people, and JSON for other programs.
 *
 * Names on the media are any bytes. For people, what a terminal could not show or would obey is
 * written as \n, \t or \xHH, and a backslash as \\. In JSON a name that is valid UTF-8 is a string;
 * any other becomes a member with "_hex" behind its name that has two hexadecimal digits for each
 * byte.
 */
#ifndef CMD_OUT_H
#define CMD_OUT_H

#include <hammer2/types.h>
#include <stdbool.h>
#include <stdio.h>

/*
 * Read a number of bytes such as "4096", "0x1000" or "64K": the suffixes K, M, G and T stand for
 * powers of 1024. Zeros in front mean nothing. Returns 0 or -EINVAL.
 */
int parse_size(const char *text, uint64_t *value);

/* What an error number of the library means, for people. Not for several threads at once. */
const char *error_text(int err);

/* Print a name with everything that is not plain text escaped. */
void out_name(FILE *to, const char *name, size_t len);

#define OUT_SIZE_TEXT 16
/* "1023", "64.0K", "1.5G": at most 7 characters. */
const char *out_size(uint64_t bytes, char text[OUT_SIZE_TEXT]);

#define OUT_TIME_TEXT 48
/* "2022-08-08 23:06:40" in the local time zone; the number of seconds where that has no date. */
const char *out_time(uint64_t time_us, char text[OUT_TIME_TEXT]);

/* "lz4:default", "zlib:6": a compression setting as DragonFly writes it. */
#define OUT_COMP_TEXT 32
const char *out_comp(unsigned comp_algo, char text[OUT_COMP_TEXT]);

/* "file", "dir", "symlink", "fifo", "chr", "blk", "socket"; "?" for others. */
const char *out_object_type(unsigned type);

/* The type of a PFS as DragonFly writes it: "MASTER"; "ILLEGAL" for numbers without a name. */
const char *out_pfs_type(unsigned type);

#define OUT_MODE_TEXT 11
/* "drwxr-xr-x", as ls has it. */
const char *out_mode(uint32_t mode, char text[OUT_MODE_TEXT]);

/*
 * A JSON writer: values in the order of the calls, one line for each value outside of everything.
 * Within an object each call gets the name of the member, elsewhere NULL. Strings must be UTF-8;
 * what is not becomes U+FFFD. All functions do nothing where out is NULL.
 */
struct json;
struct json *json_new(FILE *to); /* exits without memory */
void json_free(struct json *out);
void json_object_begin(struct json *out, const char *name);
void json_object_end(struct json *out);
void json_array_begin(struct json *out, const char *name);
void json_array_end(struct json *out);
void json_string(struct json *out, const char *name, const char *text);
void json_name(struct json *out, const char *name, const char *bytes, size_t len);
void json_uint(struct json *out, const char *name, uint64_t value);
void json_hex(struct json *out, const char *name, uint64_t value); /* a string "0x..." */
void json_bool(struct json *out, const char *name, bool value);
void json_uuid(struct json *out, const char *name, const struct h2_uuid *uuid);

#endif
