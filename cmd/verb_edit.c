/*
 * The verb edit: change a PFS of volumes that are not mounted, by commands from the command line or
 * a script. All of it is one step: it is committed at the end, and only if every command succeeded.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "edit.h"

#define SCRIPT_PART ((size_t)64 << 10)

void edit_usage(FILE *to)
{
	fputs("\ncommands:\n", to);
	for (const struct edit_verb *v = edit_verbs; v->name; v++)
		fprintf(to, "  %-9s %s\n", v->name, v->arguments);
}

/* ---- the commands ---- */

/* All that a file holds, or standard input for "-". NULL after a message. */
static char *read_file(struct edit *e, const char *name, size_t *len)
{
	FILE *file = e->script_is_stdin ? stdin : fopen(name, "re");
	char *text = NULL;
	size_t got = 1;
	bool failed;

	*len = 0;
	while (file && got > 0) {
		text = must_alloc(realloc(text, *len + SCRIPT_PART));
		got = fread(text + *len, 1, SCRIPT_PART, file);
		*len += got;
	}
	failed = !file || ferror(file);
	if (failed) {
		edit_fail_file(e, NULL, "the script cannot be read: %s", strerror(errno));
		free(text);
		text = NULL;
	}
	if (file && file != stdin)
		fclose(file);
	return text;
}

/* Everything is taken apart before anything is done. Returns an exit code. */
static int read_commands(struct edit *e, struct edit_commands *commands)
{
	struct call *call = e->call;
	const char *script = call->options.script;
	size_t len;
	char *text;
	bool ok;

	if (!script == (call->argc == 1)) {
		complain("edit: give either a command or --file SCRIPT");
		return EXIT_USAGE;
	}
	if (!script)
		return edit_parse_words(e, call->argv + 1, call->argc - 1, 0, commands)
			       ? EXIT_DONE
			       : EXIT_USAGE;
	e->script_is_stdin = strcmp(script, "-") == 0;
	e->script = e->script_is_stdin ? "standard input" : script;
	text = read_file(e, script, &len);
	if (!text)
		return EXIT_PROBLEM;
	ok = edit_parse_script(e, text, len, commands);
	free(text);
	return ok ? EXIT_DONE : EXIT_USAGE;
}

static bool set_owner(struct edit *e)
{
	const char *owner = e->call->options.owner;
	unsigned valid;

	e->uid = geteuid();
	e->gid = getegid();
	e->owner_given = owner != NULL;
	return !owner || edit_parse_owner(e, owner, &valid, &e->uid, &e->gid);
}

/* As "sh -x" does it: to standard error, since get can write to the other. */
static void show_command(const struct edit_command *c)
{
	putc('+', stderr);
	for (int i = 0; i < c->word_count; i++) {
		putc(' ', stderr);
		out_name(stderr, c->words[i], strlen(c->words[i]));
	}
	putc('\n', stderr);
}

static bool run_commands(struct edit *e, const struct edit_commands *commands)
{
	bool ok = true;

	for (size_t i = 0; i < commands->count && ok; i++) {
		e->command = &commands->items[i];
		if (e->call->options.verbose)
			show_command(e->command);
		ok = e->command->verb->run(e, e->command);
		e->commands += ok;
	}
	e->command = NULL;
	return ok;
}

/* ---- the end ---- */

/* What was written is in free space, and no header knows of it. */
static void give_up(struct target *target)
{
	h2_pfs_put(target->pfs);
	target->pfs = NULL;
	h2_fs_abandon(target->fs);
	target->fs = NULL;
}

static int commit(struct edit *e, struct target *target)
{
	int err;

	h2_pfs_put(target->pfs);
	target->pfs = NULL;
	err = h2_fs_close(target->fs);
	target->fs = NULL;
	if (err)
		edit_fail(e, NULL, "the changes could not be written: %s", edit_error(err));
	return err ? EXIT_PROBLEM : EXIT_DONE;
}

static void print_end(struct edit *e, const char *outcome)
{
	struct json *json = e->call->json;

	json_object_begin(json, NULL);
	json_string(json, "record", "summary");
	json_string(json, "outcome", outcome);
	json_uint(json, "commands", e->commands);
	json_uint(json, "files_copied", e->files);
	json_uint(json, "bytes_copied", e->bytes);
	json_object_end(json);
}

static int run_all(struct edit *e, struct target *target, const struct edit_commands *commands)
{
	bool ok = run_commands(e, commands);
	const char *outcome = "unchanged";
	int code = ok ? EXIT_DONE : EXIT_PROBLEM;

	if (ok && !e->dry_run) {
		code = commit(e, target);
		outcome = code == EXIT_DONE ? "changed" : "unknown";
	} else {
		give_up(target);
		if (!ok)
			complain("edit: nothing was changed");
	}
	print_end(e, outcome);
	return code;
}

int verb_edit(struct call *call)
{
	struct edit e = {.call = call, .dry_run = call->options.dry_run};
	struct edit_commands commands = {0};
	struct target target;
	int code;

	e.umask = umask(0);
	umask(e.umask);
	code = read_commands(&e, &commands);
	if (code == EXIT_DONE && !set_owner(&e))
		code = EXIT_USAGE;
	call->options.write = true;
	if (code == EXIT_DONE)
		code = target_open(call, call->argv, 1, TARGET_PFS, &target);
	if (code == EXIT_DONE) {
		e.pfs = target.pfs;
		e.label = target.label;
		code = run_all(&e, &target, &commands);
		target_close(&target);
	}
	edit_commands_fini(&commands);
	return code;
}
