/*
 * The tables of verbs and options, which the command line, the help and the completion of shells are
 * made from.
 */
#ifndef CMD_VERBS_H
#define CMD_VERBS_H

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
#define HAS_RECURSE (UINT64_C(1) << 33)
#define HAS_MEMORY (UINT64_C(1) << 34)
#define HAS_FSTAB (UINT64_C(1) << 35)
#define HAS_EXPORT (UINT64_C(1) << 36)
#define HAS_USAGE (UINT64_C(1) << 40)

struct verb {
	const char *name; /* NULL: a row that begins a theme, which help tells */
	const char *args;
	const char *help;
	int (*run)(struct call *call);
	uint64_t options;
	int args_min, args_max; /* args_max -1: any number */
	/* Prints what --help adds. Such a verb's first argument is followed by a command with
	 * options of its own. */
	void (*commands)(FILE *to);
};

extern const struct verb verbs[];
extern const size_t verb_count;

/* Where an option's value goes. */
enum opt_kind { OPT_NONE, OPT_FLAG, OPT_TEXT, OPT_INT, OPT_SIZE, OPT_U64 };

struct opt {
	uint64_t bit;
	char letter; /* 0: none */
	const char *name;
	const char *arg; /* NULL: takes none */
	const char *help;
	enum opt_kind kind;
	size_t member; /* of struct options */
	uint64_t min, max;
};

#define OPTS_MAX 64u /* one for each bit */

extern const struct opt opts[];
extern const size_t opt_count;

/* Why a verb of DragonFly's program is not here, for people; NULL: it is not one of those. */
const char *verb_absence(const char *name);

#endif
