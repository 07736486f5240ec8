/*
 * hammer2: look after HAMMER2 filesystems. This file takes the command line apart by
 * the tables in verbs.c; the work is done in verb_*.c, extract.c and tar.c.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "descriptors.h"
#include "verbs.h"

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < verb_count; i++) {
		if (verbs[i].name && strcmp(verbs[i].name, name) == 0)
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

/* A row of the table: a verb, or the heading of those that follow. */
static void print_verb(FILE *to, const struct verb *verb)
{
	char text[80];

	if (!verb->name) {
		fprintf(to, "\n%s:\n", verb->help);
		return;
	}
	snprintf(text, sizeof(text), "%s %s", verb->name, verb->args);
	if (strlen(text) > 34)
		fprintf(to, "  %s\n  %-34s %s\n", text, "", verb->help);
	else
		fprintf(to, "  %-34s %s\n", text, verb->help);
}

static void usage(FILE *to)
{
	fputs("usage: hammer2 VERB [options] arguments\n"
	      "Look after HAMMER2 filesystems, mounted or not; look at, copy from and edit volumes.\n",
	      to);
	for (size_t i = 0; i < verb_count; i++)
		print_verb(to, &verbs[i]);
	fputs("\nSPEC is VOLUME[:VOLUME...][@LABEL]: all volumes of a filesystem, and a PFS.\n"
	      "\"hammer2 VERB --help\" tells the options of a verb; see also hammer2(8).\n",
	      to);
}

static void verb_usage(FILE *to, const struct verb *verb)
{
	fprintf(to, "usage: hammer2 %s [options] %s\n%s: %s.\n\n", verb->name, verb->args,
		verb->name, verb->help);
	for (size_t i = 0; i < opt_count; i++) {
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
	struct option longs[OPTS_MAX + 1];
	char shorts[2 * OPTS_MAX + 2];
};

/* The option of a letter: that of the verb, where a letter has several meanings. */
static const struct opt *find_letter(int letter, const struct verb *verb)
{
	const struct opt *found = NULL;

	for (size_t i = 0; i < opt_count; i++) {
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
	for (size_t i = 0; i < opt_count; i++) {
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
	for (size_t i = 0; i < opt_count; i++) {
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

	if (!descriptors_init())
		return EXIT_PROBLEM;
	if (!parse_options(&call, NULL, true, argc, argv, &given))
		return EXIT_USAGE;
	first = optind;
	if (first < argc) {
		verb = find_verb(argv[first]);
		if (!verb) {
			const char *absence = verb_absence(argv[first]);

			if (absence)
				complain("%s: %s", argv[first], absence);
			else
				complain("%s: no such verb; \"hammer2 --help\" lists them",
					 argv[first]);
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
