/*
 * The verb completion: what a shell needs to complete command lines of this program, made from the
 * tables of verbs and options.
 *
 * Each verb becomes a row of three: its name, its options, and what its arguments are. The rest, which
 * does not depend on the tables, is plain text of the shell's language.
 */
#include <string.h>

#include "verbs.h"

/* What the next argument of a verb can be, by how the table writes its arguments. */
static const char *argument_kind(const struct verb *verb)
{
	if (strcmp(verb->name, "setcomp") == 0)
		return "comp";
	if (strcmp(verb->name, "setcheck") == 0)
		return "check";
	if (strcmp(verb->name, "completion") == 0)
		return "shell";
	if (strncmp(verb->args, "LABEL", 5) == 0)
		return strcmp(verb->name, "pfs-create") == 0 ? "none" : "label";
	if (verb->args[0] == '\0' || strncmp(verb->args, "NAME", 4) == 0 ||
	    strncmp(verb->args, "NUMBER", 6) == 0)
		return "none";
	return "file";
}

static void print_options(const struct verb *verb)
{
	bool first = true;

	for (size_t i = 0; i < opt_count; i++) {
		if (!(opts[i].bit & (verb->options | HAS_HELP)))
			continue;
		if (opts[i].letter)
			printf("%s-%c", first ? "" : " ", opts[i].letter);
		printf("%s--%s", first && !opts[i].letter ? "" : " ", opts[i].name);
		first = false;
	}
}

/* The options with a value, as alternatives of a pattern. */
static void print_valued(void)
{
	bool first = true;

	for (size_t i = 0; i < opt_count; i++) {
		if (!opts[i].arg)
			continue;
		printf("%s--%s", first ? "" : "|", opts[i].name);
		/* -f is --force, too, where it has no value: as a value it is a file anyway. */
		if (opts[i].letter && opts[i].letter != 'f')
			printf("|-%c", opts[i].letter);
		first = false;
	}
}

static const char algorithms[] =
	"\tcomp) choices='none autozero lz4 zlib default disabled zlib:1 zlib:2 zlib:3 zlib:4 zlib:5 "
	"zlib:6 zlib:7 zlib:8 zlib:9' ;;\n"
	"\tcheck) choices='none disabled crc32 xxhash64 sha192 default' ;;\n"
	"\tshell) choices='bash zsh' ;;\n";

/* Find the verb and the place that -s names in what stands in front of the cursor. */
static void print_scan(void)
{
	puts("\tfor ((i = 1; i < at; i++)); do\n"
	     "\t\tcase ${line[i]} in");
	fputs("\t\t-s|--select) place=${line[++i]} ;;\n\t\t", stdout);
	print_valued();
	puts(") ((i++)) ;;\n"
	     "\t\t-*) ;;\n"
	     "\t\t*) if [[ -z $verb ]]; then verb=${line[i]}; else ((arguments++)); fi ;;\n"
	     "\t\tesac\n"
	     "\tdone");
}

static void print_verbs(void)
{
	fputs("\tcase $verb in\n\t'') options='--help --version' choices='", stdout);
	for (size_t i = 0, n = 0; i < verb_count; i++) {
		if (verbs[i].name)
			printf("%s%s", n++ ? " " : "", verbs[i].name);
	}
	puts("' kind=verb ;;");
	for (size_t i = 0; i < verb_count; i++) {
		if (!verbs[i].name)
			continue;
		printf("\t%s) options='", verbs[i].name);
		print_options(&verbs[i]);
		printf("' kind=%s ;;\n", argument_kind(&verbs[i]));
	}
	puts("\tesac");
}

/* In a verb that begins with something else than files, the rest of the arguments are files. */
static void print_choice(void)
{
	puts("\tcase $kind:$arguments in\n"
	     "\tcomp:0|check:0|label:*|shell:0|verb:*|none:*) ;;\n"
	     "\t*) kind=file ;;\n"
	     "\tesac\n"
	     "\tcase $kind in");
	fputs(algorithms, stdout);
	puts("\tlabel)\n"
	     "\t\tlocal -a where=()\n"
	     "\t\t[[ -n $place ]] && where=(-s \"$place\")\n"
	     "\t\tchoices=$(hammer2 \"${where[@]}\" pfs-list -q 2>/dev/null) ;;\n"
	     "\tesac");
}

static void print_bash(void)
{
	puts("# Completion of hammer2(8) for bash, made by \"hammer2 completion bash\".\n"
	     "_hammer2()\n"
	     "{\n"
	     "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
	     "\tlocal line=(\"${COMP_WORDS[@]}\") at=$COMP_CWORD\n"
	     "\tlocal i arguments=0 verb= place= choices= options= kind=file cur_options=yes\n"
	     "\tlocal IFS=$' \\t\\n'");
	print_scan();
	print_verbs();
	print_choice();
	fputs("\tcase $prev in\n\t", stdout);
	print_valued();
	puts(") kind=file cur_options=no ;;\n"
	     "\tesac\n"
	     "\tif [[ $cur == -* && $cur_options == yes ]]; then\n"
	     "\t\tCOMPREPLY=($(compgen -W \"$options\" -- \"$cur\"))\n"
	     "\telif [[ $kind == file ]]; then\n"
	     "\t\tlocal IFS=$'\\n'\n"
	     "\t\tCOMPREPLY=($(compgen -f -- \"$cur\"))\n"
	     "\telif [[ $kind == label ]]; then\n"
	     "\t\t# compgen -W would run what a label has in $(...).\n"
	     "\t\twhile IFS= read -r i; do\n"
	     "\t\t\t[[ -n $i && $i == \"$cur\"* ]] && COMPREPLY+=(\"$i\")\n"
	     "\t\tdone <<< \"$choices\"\n"
	     "\telse\n"
	     "\t\tCOMPREPLY=($(compgen -W \"$choices\" -- \"$cur\"))\n"
	     "\tfi\n"
	     "}\n"
	     "complete -o filenames -F _hammer2 hammer2");
}

static void print_zsh(void)
{
	puts("#compdef hammer2\n"
	     "# Completion of hammer2(8) for zsh, made by \"hammer2 completion zsh\".\n"
	     "_hammer2()\n"
	     "{\n"
	     "\temulate -L zsh\n"
	     "\tsetopt ksh_arrays\n"
	     "\tlocal -a line=(\"${words[@]}\")\n"
	     "\tlocal cur=${words[CURRENT-1]} prev=${words[CURRENT-2]} at=$((CURRENT - 1))\n"
	     "\tlocal i arguments=0 verb= place= choices= options= kind=file cur_options=yes");
	print_scan();
	print_verbs();
	print_choice();
	fputs("\tcase $prev in\n\t", stdout);
	print_valued();
	puts(") kind=file cur_options=no ;;\n"
	     "\tesac\n"
	     "\tunsetopt ksh_arrays\n"
	     "\tif [[ $cur == -* && $cur_options == yes ]]; then\n"
	     "\t\tcompadd -- ${=options}\n"
	     "\telif [[ $kind == label ]]; then\n"
	     "\t\tcompadd -- ${(f)choices}\n"
	     "\telif [[ $kind == file ]]; then\n"
	     "\t\t_files\n"
	     "\telse\n"
	     "\t\tcompadd -- ${=choices}\n"
	     "\tfi\n"
	     "}\n"
	     "_hammer2 \"$@\"");
}

int verb_completion(struct call *call)
{
	if (strcmp(call->argv[0], "bash") == 0) {
		print_bash();
	} else if (strcmp(call->argv[0], "zsh") == 0) {
		print_zsh();
	} else {
		complain("completion: %s: is none of bash, zsh", call->argv[0]);
		return EXIT_USAGE;
	}
	return EXIT_DONE;
}
