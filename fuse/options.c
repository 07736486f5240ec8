/*
 * Options. What mount(8) and fstab(5) hand on and what has no meaning here is accepted and dropped;
 * what protects the system is passed to the kernel; what nobody knows is an error, because a
 * misspelt option must not pass for a granted one.
 */
#include "options.h"

#include "control.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM "mount.hammer2"
#define COMMIT_SECONDS_MAX 86400

static const char usage_text[] =
	"Usage: " PROGRAM " VOLUME[:VOLUME...][@LABEL] DIRECTORY [options]\n"
	"\n"
	"Mount a PFS of a HAMMER2 filesystem.\n"
	"\n"
	"  -o OPTION[,OPTION...]\n"
	"       pfs=LABEL        the PFS to mount, as @LABEL\n"
	"       offset=BYTES     where the volume begins in its file\n"
	"       header=N         use header copy N (1..4) instead of the newest good one\n"
	"       ro, rw           for reading only, or also for writing (the default)\n"
	"       cache=SIZE       memory for blocks (suffixes K, M, G); default: 1/12 of\n"
	"                        the machine's memory, 64M to 2G\n"
	"       dirty=SIZE       memory for changes not yet written; default: 1/32 of the\n"
	"                        machine's memory, 128M to 512M\n"
	"       commit=SECONDS   write changes after that time at the latest; default 5\n"
	"       discard          tell devices what becomes free; image files get holes\n"
	"       compress=METHOD  of new files: none, zero, lz4, zlib or zlib:1 to zlib:9\n"
	"       check=METHOD     of new files: none, disabled, crc32, xxhash64 or sha192\n"
	"       snapdir=NAME     a hidden directory in the root with all snapshots\n"
	"       sync, dirsync    changes (of names) are durable before they are answered\n"
	"       allow_other      let other users in (default for root)\n"
	"       noallow_other    do not\n"
	"       and the generic options of mount(8)\n"
	"  -f, --foreground      stay in the foreground\n"
	"  -d, --debug           as -f, and print every request\n"
	"  -r, --read-only       mount for reading only, as -o ro\n"
	"  -w                    mount for writing, as -o rw\n"
	"  -s                    ignore unknown options\n"
	"  -v, --verbose         also print notes\n"
	"  -n, -N NS, -t TYPE    accepted and ignored, for mount(8)\n"
	"  -h, --help; -V, --version\n";

/* A number with an optional suffix K, M, G or T. */
static bool parse_size(const char *text, uint64_t *size)
{
	static const char suffixes[] = "kmgt";
	const char *found;
	unsigned shift = 0;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	/* Not base 0, for which 0100 is 64. */
	*size = strtoull(text, &end, strncasecmp(text, "0x", 2) == 0 ? 16 : 10);
	if (errno)
		return false;
	if (*end) {
		found = strchr(suffixes, *end | 0x20);
		if (!found || end[1])
			return false;
		shift = 10 * (unsigned)(found - suffixes + 1);
	}
	if (*size > UINT64_MAX >> shift)
		return false;
	*size <<= shift;
	return true;
}

/* The handlers of options: whether the value (NULL: none) is a legal one. */

static bool set_ro(struct options *o, const char *value)
{
	(void)value;
	o->read_only = true;
	o->read_write = false;
	return true;
}

static bool set_rw(struct options *o, const char *value)
{
	(void)value;
	o->read_write = true;
	o->read_only = false;
	return true;
}

static bool set_pfs(struct options *o, const char *value)
{
	if (!*value)
		return false;
	free(o->label);
	o->label = strdup(value);
	return o->label != NULL;
}

static bool set_offset(struct options *o, const char *value)
{
	return parse_size(value, &o->offset);
}

static bool set_cache(struct options *o, const char *value)
{
	uint64_t size;

	if (!parse_size(value, &size) || size > SIZE_MAX / 2)
		return false;
	/* 0 stands for the default inside the library, so the smallest cache is one byte. */
	o->cache_bytes = size ? (size_t)size : 1;
	return true;
}

static bool set_dirty(struct options *o, const char *value)
{
	uint64_t size;

	if (!parse_size(value, &size) || size == 0 || size > SIZE_MAX / 2)
		return false;
	o->dirty_bytes = (size_t)size;
	return true;
}

/* 0 is the default, as with other filesystems. */
static bool set_commit(struct options *o, const char *value)
{
	char *end;
	unsigned long seconds;

	if (*value < '0' || *value > '9')
		return false;
	errno = 0;
	seconds = strtoul(value, &end, 10);
	if (errno || *end || seconds > COMMIT_SECONDS_MAX)
		return false;
	o->commit_seconds = (unsigned)seconds;
	return true;
}

struct method {
	const char *name;
	int algo;
};

static bool set_method(const struct method *methods, size_t count, const char *value, int *algo)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(methods[i].name, value) == 0) {
			*algo = methods[i].algo;
			return true;
		}
	}
	return false;
}

/* MF 6.8: the level stands above the method. */
static bool set_compress(struct options *o, const char *value)
{
	static const struct method methods[] = {
		{"none", H2_COMP_NONE}, {"zero", H2_COMP_AUTOZERO}, {"autozero", H2_COMP_AUTOZERO},
		{"lz4", H2_COMP_LZ4},   {"zlib", H2_COMP_ZLIB},
	};

	if (strncmp(value, "zlib:", 5) == 0 && value[5] >= '1' && value[5] <= '9' && !value[6]) {
		o->comp_algo = (value[5] - '0') << 4 | H2_COMP_ZLIB;
		return true;
	}
	return set_method(methods, sizeof(methods) / sizeof(methods[0]), value, &o->comp_algo);
}

static bool set_check(struct options *o, const char *value)
{
	static const struct method methods[] = {
		{"none", H2_CHECK_NONE},     {"disabled", H2_CHECK_DISABLED},
		{"crc32", H2_CHECK_ISCSI32}, {"xxhash64", H2_CHECK_XXHASH64},
		{"sha192", H2_CHECK_SHA192},
	};

	return set_method(methods, sizeof(methods) / sizeof(methods[0]), value, &o->check_algo);
}

static bool set_snapdir(struct options *o, const char *value)
{
	if (!*value || strlen(value) > H2_NAME_MAX || strchr(value, '/') || strcmp(value, ".") == 0 ||
	    strcmp(value, "..") == 0)
		return false;
	o->snapdir = value;
	return true;
}

static bool set_header(struct options *o, const char *value)
{
	if (value[0] < '1' || value[0] > '4' || value[1])
		return false;
	o->header_copy = value[0] - '0';
	return true;
}

#define FLAG_SETTER(name, member, what)                                                            \
	static bool name(struct options *o, const char *value)                                     \
	{                                                                                          \
		(void)value;                                                                       \
		o->member = (what);                                                                \
		return true;                                                                       \
	}
FLAG_SETTER(set_allow_other, allow_other, true)
FLAG_SETTER(clear_allow_other, allow_other, false)
FLAG_SETTER(set_nosuid, nosuid, true)
FLAG_SETTER(set_suid, nosuid, false)
FLAG_SETTER(set_nodev, nodev, true)
FLAG_SETTER(set_dev, nodev, false)
FLAG_SETTER(set_noexec, noexec, true)
FLAG_SETTER(set_exec, noexec, false)
FLAG_SETTER(set_noatime, noatime, true)
FLAG_SETTER(set_atime, noatime, false)
FLAG_SETTER(set_discard, discard, true)
FLAG_SETTER(clear_discard, discard, false)
FLAG_SETTER(set_sync, sync, true)
FLAG_SETTER(set_async, sync, false)
FLAG_SETTER(set_dirsync, dirsync, true)
FLAG_SETTER(set_remount, remount, true)

/* fstab's "user" and its kin mean all three unless a later option says otherwise. */
static bool set_user(struct options *o, const char *value)
{
	(void)value;
	o->nosuid = o->nodev = o->noexec = true;
	return true;
}

static bool set_owner(struct options *o, const char *value)
{
	(void)value;
	o->nosuid = o->nodev = true;
	return true;
}

enum option_value { VALUE_NONE, VALUE_NEEDED, VALUE_ANY };

struct option_row {
	const char *name;
	enum option_value value;
	bool (*set)(struct options *o, const char *value); /* NULL: accepted and dropped */
};

static const struct option_row rows[] = {
	{"pfs", VALUE_NEEDED, set_pfs},
	{"offset", VALUE_NEEDED, set_offset},
	{"cache", VALUE_NEEDED, set_cache},
	{"header", VALUE_NEEDED, set_header},
	{"dirty", VALUE_NEEDED, set_dirty},
	{"commit", VALUE_NEEDED, set_commit},
	{"compress", VALUE_NEEDED, set_compress},
	{"check", VALUE_NEEDED, set_check},
	{"snapdir", VALUE_NEEDED, set_snapdir},
	{"discard", VALUE_NONE, set_discard},
	{"nodiscard", VALUE_NONE, clear_discard},
	{"sync", VALUE_NONE, set_sync},
	{"async", VALUE_NONE, set_async},
	{"dirsync", VALUE_NONE, set_dirsync},
	{"allow_other", VALUE_NONE, set_allow_other},
	{"noallow_other", VALUE_NONE, clear_allow_other},
	{"default_permissions", VALUE_NONE, NULL}, /* always so */
	{"ro", VALUE_NONE, set_ro},
	{"rw", VALUE_NONE, set_rw},
	{"remount", VALUE_NONE, set_remount},
	{"nosuid", VALUE_NONE, set_nosuid},
	{"suid", VALUE_NONE, set_suid},
	{"nodev", VALUE_NONE, set_nodev},
	{"dev", VALUE_NONE, set_dev},
	{"noexec", VALUE_NONE, set_noexec},
	{"exec", VALUE_NONE, set_exec},
	{"user", VALUE_ANY, set_user},
	{"users", VALUE_NONE, set_user},
	{"owner", VALUE_NONE, set_owner},
	{"group", VALUE_NONE, set_owner},
	{"nouser", VALUE_NONE, NULL},
	{"nousers", VALUE_NONE, NULL},
	{"noowner", VALUE_NONE, NULL},
	{"nogroup", VALUE_NONE, NULL},
	{"defaults", VALUE_NONE, NULL},
	{"auto", VALUE_NONE, NULL},
	{"noauto", VALUE_NONE, NULL},
	{"nofail", VALUE_NONE, NULL},
	{"fail", VALUE_NONE, NULL},
	{"_netdev", VALUE_NONE, NULL},
	{"comment", VALUE_NEEDED, NULL},
	{"helper", VALUE_NEEDED, NULL},
	{"uhelper", VALUE_NEEDED, NULL},
	{"loop", VALUE_ANY, NULL}, /* mount(8) has made the device already; files need none */
	/* What the kernel shows of a FUSE mount, and mount(8) hands back with remount. */
	{"user_id", VALUE_NEEDED, NULL},
	{"group_id", VALUE_NEEDED, NULL},
	{"max_read", VALUE_NEEDED, NULL},
	{"blksize", VALUE_NEEDED, NULL},
	{"silent", VALUE_NONE, NULL},
	{"loud", VALUE_NONE, NULL},
	/* Times of access are never kept: the kernel is told so. */
	{"atime", VALUE_NONE, set_atime},
	{"noatime", VALUE_NONE, set_noatime},
	{"diratime", VALUE_NONE, NULL},
	{"nodiratime", VALUE_NONE, NULL},
	{"relatime", VALUE_NONE, NULL},
	{"norelatime", VALUE_NONE, NULL},
	{"strictatime", VALUE_NONE, NULL},
	{"nostrictatime", VALUE_NONE, NULL},
	{"lazytime", VALUE_NONE, NULL},
	{"nolazytime", VALUE_NONE, NULL},
	{"iversion", VALUE_NONE, NULL},
	{"noiversion", VALUE_NONE, NULL},
	{"nomand", VALUE_NONE, NULL},
};

/* Contexts go to the kernel word for word. */
static const char *const contexts[] = {"context", "fscontext", "defcontext", "rootcontext"};

static bool is_context(const char *name)
{
	for (size_t i = 0; i < sizeof(contexts) / sizeof(contexts[0]); i++)
		if (strcmp(contexts[i], name) == 0)
			return true;
	return false;
}

/* Commas inside a context (categories) were quoted by mount(8); libfuse wants them escaped. */
static bool add_security(struct options *o, const char *name, const char *value)
{
	size_t old = o->security ? strlen(o->security) : 0;
	char *p = realloc(o->security, old + strlen(name) + 2 * strlen(value) + 3);

	if (!p)
		return false;
	o->security = p;
	p += old;
	if (old > 0)
		*p++ = ',';
	p = stpcpy(stpcpy(p, name), "=");
	for (; *value; value++) {
		if (*value == '"')
			continue;
		if (*value == ',' || *value == '\\')
			*p++ = '\\';
		*p++ = *value;
	}
	*p = '\0';
	return true;
}

static const struct option_row *find_row(const char *name)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (strcmp(rows[i].name, name) == 0)
			return &rows[i];
	return NULL;
}

static bool bad_option(const char *name, const char *problem)
{
	fprintf(stderr, PROGRAM ": option %s: %s; see " PROGRAM " --help\n", name, problem);
	return false;
}

/* One option, taken apart in place. */
static bool parse_option(struct options *o, char *text)
{
	const struct option_row *row;
	char *value;

	if (!*text || strncasecmp(text, "x-", 2) == 0)
		return true;
	value = strchr(text, '=');
	if (value)
		*value++ = '\0';
	if (value && is_context(text))
		return add_security(o, text, value) || bad_option(text, strerror(ENOMEM));
	row = find_row(text);
	if (!row)
		return o->sloppy || bad_option(text, "unknown");
	if (row->value == VALUE_NEEDED && !value)
		return bad_option(text, "needs a value");
	if (row->value == VALUE_NONE && value)
		return bad_option(text, "takes no value");
	if (row->set && !row->set(o, value)) {
		fprintf(stderr,
			PROGRAM ": option %s: value \"%s\" is not valid; see " PROGRAM " --help\n",
			text, value);
		return false;
	}
	return true;
}

/* The end of the option that begins at text; commas within double quotes do not end it. */
static char *option_end(char *text)
{
	bool quoted = false;

	while (*text && (quoted || *text != ',')) {
		if (*text == '"')
			quoted = !quoted;
		text++;
	}
	return text;
}

static bool parse_options(struct options *o, char *text)
{
	while (text) {
		char *end = option_end(text);
		char *next = *end ? end + 1 : NULL;

		*end = '\0';
		if (!parse_option(o, text))
			return false;
		text = next;
	}
	return true;
}

static bool finish_label(struct options *o)
{
	if (!o->spec.label)
		return true;
	if (o->label && strcmp(o->label, o->spec.label) != 0) {
		fprintf(stderr, PROGRAM ": %s: option pfs=%s names another PFS; give one of them\n",
			o->spec_text, o->label);
		return false;
	}
	if (!o->label)
		o->label = strdup(o->spec.label);
	return o->label != NULL;
}

static bool finish(struct options *o, char *const *args, int *code)
{
	int err;

	*code = EXIT_USAGE;
	o->spec_text = args[0];
	o->dir = args[1];
	err = h2_spec_parse(o->spec_text, &o->spec);
	if (err) {
		fprintf(stderr, PROGRAM ": \"%s\": %s\n", o->spec_text,
			err == -EINVAL  ? "names no volume; expected VOLUME[:VOLUME...][@LABEL]"
			: err == -E2BIG ? "names more than 64 volumes"
					: strerror(-err));
		*code = err == -ENOMEM ? EXIT_SYSTEM : EXIT_USAGE;
		return false;
	}
	if (o->offset && o->spec.count > 1) {
		fprintf(stderr, PROGRAM ": %s: option offset is for a single volume; found %u\n",
			o->spec_text, o->spec.count);
		return false;
	}
	return finish_label(o);
}

static bool usage_error(int *code, const char *problem)
{
	if (problem)
		fprintf(stderr, PROGRAM ": %s\n", problem);
	fprintf(stderr, "Try '" PROGRAM " --help'.\n");
	*code = EXIT_USAGE;
	return false;
}

bool options_parse(struct options *o, int argc, char **argv, int *code)
{
	static const struct option longs[] = {
		{"foreground", no_argument, NULL, 'f'},    {"debug", no_argument, NULL, 'd'},
		{"read-only", no_argument, NULL, 'r'},     {"verbose", no_argument, NULL, 'v'},
		{"options", required_argument, NULL, 'o'}, {"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},       {NULL, 0, NULL, 0},
	};
	char *lists[64]; /* of -o, read when all of -s, -r are known */
	unsigned lists_count = 0;
	int c;

	memset(o, 0, sizeof(*o));
	o->allow_other = geteuid() == 0;
	o->comp_algo = o->check_algo = H2_INHERIT;
	/* An unprivileged mount is nosuid and nodev whatever is asked, fusermount3 sees to it. */
	o->nosuid = o->nodev = geteuid() != 0;
	while ((c = getopt_long(argc, argv, "fdrwsvnN:t:o:hV", longs, NULL)) != -1) {
		switch (c) {
		case 'd':
			o->debug = true;
			o->foreground = true;
			break;
		case 'f':
			o->foreground = true;
			break;
		case 'r':
			set_ro(o, NULL);
			break;
		case 'w':
			set_rw(o, NULL);
			break;
		case 's':
			o->sloppy = true;
			break;
		case 'v':
			o->verbose = true;
			break;
		case 'n':
		case 'N':
		case 't':
			break;
		case 'o':
			if (lists_count == sizeof(lists) / sizeof(lists[0]))
				return usage_error(code, "too many -o");
			lists[lists_count++] = optarg;
			break;
		case 'h':
			fputs(usage_text, stdout);
			*code = EXIT_OK;
			return false;
		case 'V':
			puts(PROGRAM " " HAMMER2_VERSION);
			*code = EXIT_OK;
			return false;
		default:
			return usage_error(code, NULL);
		}
	}
	if (argc - optind != 2)
		return usage_error(code, "expected a filesystem and a directory");
	*code = EXIT_USAGE;
	for (unsigned i = 0; i < lists_count; i++)
		if (!parse_options(o, lists[i]))
			return false;
	return finish(o, argv + optind, code);
}

void options_fini(struct options *o)
{
	h2_spec_fini(&o->spec);
	free(o->label);
	free(o->security);
}

void options_terms(const struct options *o, const struct control_terms *granted,
		   struct control_terms *terms)
{
	*terms = (struct control_terms){
		.writable = granted->writable && !o->read_only,
		.block = granted->block,
		.sync = o->sync,
		.dirsync = o->dirsync,
		.comp_algo = o->comp_algo,
		.check_algo = o->check_algo,
	};
	if (o->snapdir)
		snprintf(terms->snapdir, sizeof(terms->snapdir), "%s", o->snapdir);
}

char *options_for_fuse(const struct options *o, bool writable, bool block)
{
	size_t size = 2 * strlen(o->spec_text) + (o->security ? strlen(o->security) : 0) + 200;
	char *text = malloc(size), *p = text;

	if (!text)
		return NULL;
	p = stpcpy(p, writable ? "rw" : "ro");
	if (block)
		p = stpcpy(p, ",blkdev,blksize=4096");
	if (writable && o->sync)
		p = stpcpy(p, ",sync");
	if (writable && o->dirsync)
		p = stpcpy(p, ",dirsync");
	if (o->noatime)
		p = stpcpy(p, ",noatime");
	p = stpcpy(p, ",default_permissions,subtype=hammer2,fsname=");
	for (const char *s = block ? o->spec.volumes[0] : o->spec_text; *s; s++) {
		if (*s == ',' || *s == '\\')
			*p++ = '\\';
		*p++ = *s;
	}
	if (o->allow_other)
		p = stpcpy(p, ",allow_other");
	p = stpcpy(p, o->nosuid ? ",nosuid" : ",suid");
	p = stpcpy(p, o->nodev ? ",nodev" : ",dev");
	if (o->noexec)
		p = stpcpy(p, ",noexec");
	if (o->security)
		p = stpcpy(stpcpy(p, ","), o->security);
	return text;
}
