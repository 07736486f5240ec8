/*
 * hammer2: look after HAMMER2 filesystems. This file has the tables of verbs and options
 * and takes the command line apart; the work is done in verb_*.c, extract.c and tar.c.
 */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "hammer2.h"

/* Options by the bit that a verb's mask has for them. */
#define HAS_ALL (UINT64_C(1) << 0)
#define HAS_CACHE (UINT64_C(1) << 1)
#define HAS_DEPTH (UINT64_C(1) << 2)
#define HAS_EMPTY (UINT64_C(1) << 3)
#define HAS_FORCE (UINT64_C(1) << 4)
#define HAS_HEADER (UINT64_C(1) << 5)
#define HAS_JSON (UINT64_C(1) << 6)
#define HAS_LABEL (UINT64_C(1) << 7)
#define HAS_LONG (UINT64_C(1) << 8)
#define HAS_MIN_MIRROR (UINT64_C(1) << 9)
#define HAS_MIN_MODIFY (UINT64_C(1) << 10)
#define HAS_OFFSET (UINT64_C(1) << 11)
#define HAS_PATH (UINT64_C(1) << 12)
#define HAS_QUIET (UINT64_C(1) << 13)
#define HAS_RECURSIVE (UINT64_C(1) << 14)
#define HAS_TAR (UINT64_C(1) << 15)
#define HAS_THREADS (UINT64_C(1) << 16)
#define HAS_VERBOSE (UINT64_C(1) << 17)
#define HAS_VERIFY (UINT64_C(1) << 18)
#define HAS_HELP (UINT64_C(1) << 19)
#define HAS_VERSION (UINT64_C(1) << 20)
#define HAS_DRY_RUN (UINT64_C(1) << 21)
#define HAS_OWNER (UINT64_C(1) << 22)
#define HAS_SCRIPT (UINT64_C(1) << 23)
#define HAS_OPS (UINT64_C(1) << 24)
#define HAS_SECONDS (UINT64_C(1) << 25)
#define HAS_SEED (UINT64_C(1) << 26)
#define HAS_SETUP (UINT64_C(1) << 27)
#define HAS_SELECT (UINT64_C(1) << 28)
#define HAS_TYPE (UINT64_C(1) << 29)
#define HAS_UUID (UINT64_C(1) << 30)
#define HAS_DISCARD (UINT64_C(1) << 31)
#define HAS_SIZE (UINT64_C(1) << 32)
#define HAS_EXPORT (UINT64_C(1) << 34)
#define HAS_RECURSE (UINT64_C(1) << 33)

#define HAS_VOLUME (HAS_HEADER | HAS_JSON | HAS_OFFSET | HAS_QUIET | HAS_VERBOSE)
#define HAS_PLACE (HAS_SELECT | HAS_QUIET | HAS_OFFSET | HAS_VERBOSE)
#define HAS_CHANGE (HAS_PLACE | HAS_DRY_RUN)
#define HAS_FILES (HAS_VOLUME | HAS_CACHE | HAS_LABEL)

static const struct verb {
	const char *name;
	const char *args;
	const char *help;
	int (*run)(struct call *call);
	uint64_t options;
	int args_min, args_max; /* args_max -1: any number */
	/* Prints what --help adds. Such a verb's first argument is followed by a command with
	 * options of its own. */
	void (*commands)(FILE *to);
} verbs[] = {
	{"info", "PATH | VOLUME...", "what a filesystem is: a summary", verb_info, HAS_VOLUME, 0,
	 -1},
	{"probe", "DEVICE", "whether it is a HAMMER2 volume; with --export, for udev", verb_probe,
	 HAS_EXPORT | HAS_JSON | HAS_OFFSET | HAS_QUIET, 1, 1},
	{"volhdr", "VOLUME...", "every field of the volume headers, and their check codes",
	 verb_volhdr, HAS_VOLUME | HAS_ALL, 1, -1},
	{"show", "VOLUME...", "the whole topology: every block reference and inode", verb_show,
	 HAS_VOLUME | HAS_VERIFY | HAS_DEPTH | HAS_LABEL | HAS_EMPTY | HAS_MIN_MIRROR |
		 HAS_MIN_MODIFY,
	 1, -1},
	{"freemap", "VOLUME...", "the freemap: its leaves and totals", verb_freemap, HAS_VOLUME, 1,
	 -1},
	{"pfs-list", "[PATH... | VOLUME...]",
	 "the PFSs, sorted by label; of all mounted filesystems without an argument", verb_pfs_list,
	 HAS_VOLUME | HAS_CACHE | HAS_SELECT, 0, -1},
	{"pfs-create", "LABEL", "make a PFS", verb_pfs_create, HAS_CHANGE | HAS_TYPE | HAS_UUID, 1,
	 1},
	{"pfs-delete", "LABEL...", "remove PFSs with all that is in them", verb_pfs_delete,
	 HAS_CHANGE, 1, -1},
	{"pfs-rename", "LABEL NEW-LABEL", "give a PFS another label", verb_pfs_rename, HAS_CHANGE,
	 2, 2},
	{"pfs-clid", "LABEL", "print a PFS's pfs_clid", verb_pfs_clid, HAS_PLACE, 1, 1},
	{"pfs-fsid", "LABEL", "print a PFS's pfs_fsid", verb_pfs_fsid, HAS_PLACE, 1, 1},
	{"snapshot", "PATH | SPEC [LABEL]",
	 "make a snapshot of the PFS; without a label: its own with the date", verb_snapshot,
	 HAS_QUIET | HAS_OFFSET | HAS_DRY_RUN | HAS_VERBOSE, 1, 2},
	{"snapshot-delete", "LABEL...", "remove snapshots", verb_snapshot_delete, HAS_CHANGE, 1,
	 -1},
	{"rollback", "LABEL SNAPSHOT",
	 "give a PFS the contents of a snapshot; its former ones become a snapshot", verb_rollback,
	 HAS_CHANGE | HAS_DISCARD, 2, 2},
	{"volume-list", "[PATH...]", "the volumes of filesystems", verb_volume_list,
	 HAS_PLACE | HAS_JSON, 0, -1},
	{"bulkfree", "[PATH]", "find storage that nothing refers to, and make it free",
	 verb_bulkfree, HAS_PLACE | HAS_JSON, 0, 1},
	{"cleanup", "[PATH...]", "bulkfree for each mounted filesystem", verb_cleanup,
	 HAS_PLACE | HAS_JSON, 0, -1},
	{"growfs", "[PATH...]", "make filesystems as large as their devices", verb_growfs,
	 HAS_PLACE | HAS_JSON | HAS_SIZE, 0, -1},
	{"setcomp", "ALGO[:LEVEL] PATH...", "how files are compressed from now on", verb_setcomp,
	 HAS_CHANGE | HAS_RECURSE | HAS_LABEL, 2, -1},
	{"setcheck", "ALGO PATH...", "with which check codes files are stored from now on",
	 verb_setcheck, HAS_CHANGE | HAS_RECURSE | HAS_LABEL, 2, -1},
	{"clrcheck", "PATH...", "setcheck none", verb_clrcheck,
	 HAS_CHANGE | HAS_RECURSE | HAS_LABEL, 1, -1},
	{"setcrc32", "PATH...", "setcheck crc32", verb_setcrc32,
	 HAS_CHANGE | HAS_RECURSE | HAS_LABEL, 1, -1},
	{"setxxhash64", "PATH...", "setcheck xxhash64", verb_setxxhash64,
	 HAS_CHANGE | HAS_RECURSE | HAS_LABEL, 1, -1},
	{"setsha192", "PATH...", "setcheck sha192", verb_setsha192,
	 HAS_CHANGE | HAS_RECURSE | HAS_LABEL, 1, -1},
	{"emergency-mode-enable", "PATH", "does nothing: it is not needed", verb_emergency_enable,
	 HAS_QUIET, 1, 1},
	{"emergency-mode-disable", "PATH", "does nothing", verb_emergency_disable, HAS_QUIET, 1, 1},
	{"ls", "SPEC [PATH]", "list a directory", verb_ls, HAS_FILES | HAS_LONG | HAS_RECURSIVE, 1,
	 -1},
	{"stat", "[PATH...] | SPEC [PATH...]",
	 "space, compression and checks of files (all, with -v)", verb_stat, HAS_FILES, 0, -1},
	{"cat", "SPEC PATH...", "write files to standard output", verb_cat, HAS_FILES & ~HAS_JSON,
	 2, -1},
	{"tree", "SPEC [PATH]", "draw a directory and all below it", verb_tree,
	 HAS_FILES | HAS_DEPTH, 1, -1},
	{"extract", "SPEC [--path PATH] DEST | --tar",
	 "copy a PFS or a path out, as files or as a tar stream on standard output", verb_extract,
	 HAS_FILES | HAS_FORCE | HAS_PATH | HAS_TAR | HAS_THREADS, 1, -1},
	{"edit", "SPEC COMMAND... | SPEC -f SCRIPT",
	 "change files and directories: all commands, or nothing", verb_edit,
	 (HAS_FILES & ~HAS_HEADER) | HAS_DRY_RUN | HAS_OWNER | HAS_SCRIPT, 1, -1, edit_usage},
	{"crashtest", "", "try what power failures leave, on filesystems in memory", verb_crashtest,
	 HAS_JSON | HAS_OPS | HAS_SECONDS | HAS_SEED | HAS_SETUP | HAS_THREADS, 0, 0},
	{"hash", "NAME...", "the directory hash of names", verb_hash, HAS_JSON, 1, -1},
	{"dhash", "NAME...", "the check code of the blocks of long names", verb_dhash, HAS_JSON, 1,
	 -1},
};
#define VERB_COUNT (sizeof(verbs) / sizeof(verbs[0]))

/* Where an option's value goes. */
enum opt_kind { OPT_NONE, OPT_FLAG, OPT_TEXT, OPT_INT, OPT_SIZE, OPT_U64 };

static const struct opt {
	uint64_t bit;
	char letter; /* 0: none */
	const char *name;
	const char *arg; /* NULL: takes none */
	const char *help;
	enum opt_kind kind;
	size_t member; /* of struct options */
	uint64_t min, max;
} opts[] = {
#define TO(member) offsetof(struct options, member)
	{HAS_ALL, 'a', "all", NULL, "all header copies, not only the best of each volume", OPT_FLAG,
	 TO(all), 0, 0},
	{HAS_CACHE, 0, "cache", "SIZE", "memory for blocks that may be needed again (64M)",
	 OPT_SIZE, TO(cache_bytes), 1, SIZE_MAX / 2},
	{HAS_DEPTH, 0, "depth", "N", "at most N levels", OPT_INT, TO(depth), 1, INT32_MAX},
	{HAS_DRY_RUN, 'n', "dry-run", NULL, "run the commands, but change nothing", OPT_FLAG,
	 TO(dry_run), 0, 0},
	{HAS_DISCARD, 0, "discard", NULL, "do not keep the former contents", OPT_FLAG, TO(discard),
	 0, 0},
	{HAS_EMPTY, 0, "empty", NULL, "show empty block references, too", OPT_FLAG, TO(empty), 0,
	 0},
	{HAS_EXPORT, 0, "export", NULL, "as variables for udev", OPT_FLAG, TO(export), 0, 0},
	{HAS_FORCE, 'f', "force", NULL, "allow a destination that is not empty", OPT_FLAG,
	 TO(force), 0, 0},
	{HAS_SCRIPT, 'f', "file", "SCRIPT", "the commands are in a file; -: standard input",
	 OPT_TEXT, TO(script), 0, 0},
	{HAS_HEADER, 0, "header", "N", "use header copy N (1 to 4) instead of the best", OPT_INT,
	 TO(header), 1, H2_HEADER_COPIES_MAX},
	{HAS_JSON, 'j', "json", NULL, "JSON output", OPT_FLAG, TO(json), 0, 0},
	{HAS_LABEL, 0, "label", "LABEL", "the PFS of that label", OPT_TEXT, TO(label), 0, 0},
	{HAS_LONG, 'l', "long", NULL, "with attributes", OPT_FLAG, TO(long_list), 0, 0},
	{HAS_MIN_MIRROR, 0, "min-mirror-tid", "TID", "leave out what has a lower mirror_tid",
	 OPT_U64, TO(min_mirror_tid), 0, UINT64_MAX},
	{HAS_MIN_MODIFY, 0, "min-modify-tid", "TID", "leave out what has a lower modify_tid",
	 OPT_U64, TO(min_modify_tid), 0, UINT64_MAX},
	{HAS_OFFSET, 0, "offset", "BYTES", "where the volume begins in its file", OPT_U64,
	 TO(offset), 0, INT64_MAX},
	{HAS_OPS, 0, "ops", "TEXT", "only these operations, as a violation shows them", OPT_TEXT,
	 TO(ops), 0, 0},
	{HAS_OWNER, 0, "owner", "USER[:GROUP]", "whose new files are (the user who runs this)",
	 OPT_TEXT, TO(owner), 0, 0},
	{HAS_PATH, 'p', "path", "PATH", "only that file or directory", OPT_TEXT, TO(path), 0, 0},
	{HAS_QUIET, 'q', "quiet", NULL, "print less", OPT_FLAG, TO(quiet), 0, 0},
	{HAS_RECURSE, 'r', "recurse", NULL, "for all that is below, too", OPT_FLAG, TO(recursive),
	 0, 0},
	{HAS_RECURSIVE, 'R', "recursive", NULL, "subdirectories, too", OPT_FLAG, TO(recursive), 0,
	 0},
	{HAS_SELECT, 's', "select", "PATH", "a path in a mounted filesystem, or volumes (.)",
	 OPT_TEXT, TO(select), 0, 0},
	{HAS_SECONDS, 0, "seconds", "N", "for how long (60); 0: until nothing is left to try",
	 OPT_INT, TO(seconds), 0, INT32_MAX},
	{HAS_SEED, 0, "seed", "N", "what all choices follow from (the time)", OPT_TEXT, TO(seed), 0,
	 0},
	{HAS_SETUP, 0, "setup", "TEXT", "on this kind of filesystem; with --ops", OPT_TEXT,
	 TO(setup), 0, 0},
	{HAS_SIZE, 0, "size", "SIZE", "to this size; an image file grows with it", OPT_U64, TO(size),
	 1, INT64_MAX},
	{HAS_TAR, 0, "tar", NULL, "write a tar stream (pax format) to standard output", OPT_FLAG,
	 TO(tar), 0, 0},
	{HAS_THREADS, 0, "threads", "N", "how many threads (one for each CPU, 2 to 16)", OPT_INT,
	 TO(threads), 1, 256},
	{HAS_TYPE, 't', "type", "TYPE", "MASTER; others belong to clusters", OPT_TEXT, TO(type), 0,
	 0},
	{HAS_UUID, 'u', "uuid", "UUID", "its pfs_clid (a random one)", OPT_TEXT, TO(uuid), 0, 0},
	{HAS_VERBOSE, 'v', "verbose", NULL, "print more; name damaged blocks", OPT_FLAG,
	 TO(verbose), 0, 0},
	{HAS_VERIFY, 0, "verify", NULL, "read file data, too, and compare its check codes",
	 OPT_FLAG, TO(verify), 0, 0},
	{HAS_HELP, 'h', "help", NULL, "print this", OPT_NONE, 0, 0, 0},
	{HAS_VERSION, 'V', "version", NULL, "print the version", OPT_NONE, 0, 0, 0},
#undef TO
};
#define OPT_COUNT (sizeof(opts) / sizeof(opts[0]))

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < VERB_COUNT; i++) {
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	}
	return NULL;
}

static void print_option(FILE *to, const struct opt *o)
{
	char text[64];

	snprintf(text, sizeof(text), "--%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
	if (o->letter)
		fprintf(to, "  -%c, %-22s %s\n", o->letter, text, o->help);
	else
		fprintf(to, "      %-22s %s\n", text, o->help);
}

static void usage(FILE *to)
{
	fputs("usage: hammer2 VERB [options] arguments\n"
	      "Look after HAMMER2 filesystems, mounted or not; look at, copy from and edit volumes.\n\n",
	      to);
	for (size_t i = 0; i < VERB_COUNT; i++)
		fprintf(to, "  %-9s %-32s %s\n", verbs[i].name, verbs[i].args, verbs[i].help);
	fputs("\nSPEC is VOLUME[:VOLUME...][@LABEL]: all volumes of a filesystem, and a PFS.\n"
	      "\"hammer2 VERB --help\" tells the options of a verb; see also hammer2(8).\n",
	      to);
}

static void verb_usage(FILE *to, const struct verb *verb)
{
	fprintf(to, "usage: hammer2 %s [options] %s\n%s: %s.\n\n", verb->name, verb->args,
		verb->name, verb->help);
	for (size_t i = 0; i < OPT_COUNT; i++) {
		if (opts[i].bit & (verb->options | HAS_HELP))
			print_option(to, &opts[i]);
	}
	if (verb->commands)
		verb->commands(to);
}

/* Take in one option. Returns false where its argument is not what it should be. */
static bool set_option(struct options *options, const struct opt *o, const char *arg)
{
	void *member = (char *)options + o->member;
	uint64_t number = 0;

	if (o->kind >= OPT_INT &&
	    (parse_size(arg, &number) != 0 || number < o->min || number > o->max))
		return false;
	switch (o->kind) {
	case OPT_NONE:
		break;
	case OPT_FLAG:
		*(bool *)member = true;
		break;
	case OPT_TEXT:
		*(const char **)member = arg;
		return *arg != '\0';
	case OPT_INT:
		*(int *)member = (int)number;
		break;
	case OPT_SIZE:
		*(size_t *)member = (size_t)number;
		break;
	case OPT_U64:
		*(uint64_t *)member = number;
		break;
	}
	return true;
}

/* The tables that getopt_long() wants. */
struct getopt_tables {
	struct option longs[OPT_COUNT + 1];
	char shorts[2 * OPT_COUNT + 2];
};

/* The option of a letter: that of the verb, where a letter has several meanings. */
static const struct opt *find_letter(int letter, const struct verb *verb)
{
	const struct opt *found = NULL;

	for (size_t i = 0; i < OPT_COUNT; i++) {
		if (opts[i].letter != letter)
			continue;
		if (!found || (verb && opts[i].bit & verb->options))
			found = &opts[i];
	}
	return found;
}

static void fill_tables(struct getopt_tables *t, const struct verb *verb, bool leading)
{
	char *s = t->shorts;

	memset(t, 0, sizeof(*t));
	if (leading)
		*s++ = '+';
	for (size_t i = 0; i < OPT_COUNT; i++) {
		t->longs[i] = (struct option){
			.name = opts[i].name,
			.has_arg = opts[i].arg ? required_argument : no_argument,
			.val = 256 + (int)i,
		};
		if (!opts[i].letter || find_letter(opts[i].letter, verb) != &opts[i])
			continue;
		*s++ = opts[i].letter;
		if (opts[i].arg)
			*s++ = ':';
	}
}

/*
 * Take in the options of argv, whose first item is not looked at: those in front of the first
 * argument (leading), or all, wherever they stand. verb may be NULL. Returns false after a message;
 * their bits are added to *given.
 */
static bool parse_options(struct call *call, const struct verb *verb, bool leading, int argc,
			  char **argv, uint64_t *given)
{
	struct getopt_tables tables;
	int value;

	fill_tables(&tables, verb, leading);
	optind = 0; /* begin anew */
	while ((value = getopt_long(argc, argv, tables.shorts, tables.longs, NULL)) != -1) {
		const struct opt *o = value >= 256 ? &opts[value - 256] : find_letter(value, verb);

		if (!o) /* getopt_long() has said what is wrong */
			return false;
		*given |= o->bit;
		if (!set_option(&call->options, o, optarg)) {
			complain("--%s %s: not a value that this option takes", o->name, optarg);
			return false;
		}
	}
	return true;
}

/*
 * The options and arguments behind the verb, which is argv[0]. Messages of getopt_long() begin with
 * that: it becomes the program's name.
 */
static bool parse_arguments(struct call *call, const struct verb *verb, int argc, char **argv,
			    uint64_t *given)
{
	char *program = call->argv[0], *spec;

	argv[0] = program;
	if (!parse_options(call, verb, verb->commands != NULL, argc, argv, given))
		return false;
	argc -= optind;
	argv += optind;
	if (verb->commands && argc > 0) {
		spec = argv[0];
		argv[0] = program;
		if (!parse_options(call, verb, true, argc, argv, given))
			return false;
		argc -= optind - 1;
		argv += optind - 1;
		argv[0] = spec;
	}
	call->argc = argc;
	call->argv = argv;
	return true;
}

static bool check_use(const struct verb *verb, const struct call *call, uint64_t given)
{
	for (size_t i = 0; i < OPT_COUNT; i++) {
		if (given & opts[i].bit & ~verb->options) {
			complain("%s does not take --%s", verb->name, opts[i].name);
			return false;
		}
	}
	if (call->argc < verb->args_min || (verb->args_max >= 0 && call->argc > verb->args_max)) {
		complain("%s: %s arguments; usage: hammer2 %s [options] %s", verb->name,
			 call->argc < verb->args_min ? "missing" : "too many", verb->name,
			 verb->args);
		return false;
	}
	return true;
}

static int run_verb(const struct verb *verb, struct call *call)
{
	int code;

	if (call->options.json)
		call->json = json_new(stdout);
	code = verb->run(call);
	json_free(call->json);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		complain("standard output: cannot be written");
		return EXIT_PROBLEM;
	}
	return code;
}

int main(int argc, char **argv)
{
	struct call call = {.argc = argc, .argv = argv, .options = {.seconds = -1}};
	const struct verb *verb = NULL;
	uint64_t given = 0;
	int first;

	if (!parse_options(&call, NULL, true, argc, argv, &given))
		return EXIT_USAGE;
	first = optind;
	if (first < argc) {
		verb = find_verb(argv[first]);
		if (!verb) {
			complain("%s: no such verb; \"hammer2 --help\" lists them", argv[first]);
			return EXIT_USAGE;
		}
		call.verb = verb->name;
		if (!parse_arguments(&call, verb, argc - first, argv + first, &given))
			return EXIT_USAGE;
	}
	if (given & HAS_VERSION) {
		puts("hammer2 " HAMMER2_VERSION);
		return EXIT_DONE;
	}
	if (!verb) {
		usage(given & HAS_HELP ? stdout : stderr);
		return given & HAS_HELP ? EXIT_DONE : EXIT_USAGE;
	}
	if (given & HAS_HELP) {
		verb_usage(stdout, verb);
		return EXIT_DONE;
	}
	if (!check_use(verb, &call, given))
		return EXIT_USAGE;
	return run_verb(verb, &call);
}
