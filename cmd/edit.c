/*
 * The verb edit: the table of its commands, and what they share: messages, and making and removing
 * objects.
 */
#include "edit.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "walk.h"

/* ---- messages ---- */

static void print_where(struct edit *e, bool in_pfs, const char *path)
{
	const struct edit_command *c = e->command;

	if (e->script) {
		out_name(stderr, e->script, strlen(e->script));
		if (c)
			fprintf(stderr, ":%u", c->line);
		fputs(": ", stderr);
	}
	if (c) {
		out_name(stderr, c->words[0], strlen(c->words[0]));
		fputs(": ", stderr);
	}
	if (path) {
		if (in_pfs)
			fprintf(stderr, "%s:", e->label);
		out_name(stderr, path, strlen(path));
		fputs(": ", stderr);
	}
}

static void json_problem(struct edit *e, bool in_pfs, const char *path, const char *message)
{
	struct json *json = e->call->json;

	json_object_begin(json, NULL);
	json_string(json, "record", "problem");
	if (e->command && e->command->line)
		json_uint(json, "line", e->command->line);
	if (e->command)
		json_name(json, "command", e->command->words[0], strlen(e->command->words[0]));
	if (path)
		json_name(json, in_pfs ? "path" : "file", path, strlen(path));
	json_string(json, "message", message);
	json_object_end(json);
}

__attribute__((format(printf, 4, 0))) static bool fail(struct edit *e, bool in_pfs, const char *path,
							const char *format, va_list ap)
{
	char message[512];

	vsnprintf(message, sizeof(message), format, ap);
	fputs("hammer2: ", stderr);
	print_where(e, in_pfs, path);
	fprintf(stderr, "%s\n", message);
	if (e->call->json)
		json_problem(e, in_pfs, path, message);
	return false;
}

bool edit_fail(struct edit *e, const char *path, const char *format, ...)
{
	char *shown = path ? clean_path(path) : NULL;
	va_list ap;

	va_start(ap, format);
	fail(e, true, shown, format, ap);
	va_end(ap);
	free(shown);
	return false;
}

bool edit_fail_file(struct edit *e, const char *file, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fail(e, false, file, format, ap);
	va_end(ap);
	return false;
}

const char *edit_error(int err)
{
	switch (err) {
	case -EPERM:
		return "one of its flags forbids it: immutable, append-only or no-unlink";
	case -EOPNOTSUPP:
		return "it is of a kind that cannot be changed: an inode of an old format";
	default:
		return error_text(err);
	}
}

/* ---- making ---- */

bool edit_create(struct edit *e, const char *path, struct place *p, unsigned type, uint32_t mode,
		 const char *target)
{
	const struct h2_new n = {
		.type = (uint8_t)type,
		.mode = mode,
		.uid = e->uid,
		.gid = e->gid,
		.target = target,
		.target_len = target ? strlen(target) : 0,
		.comp_algo = H2_INHERIT,
		.check_algo = H2_INHERIT,
	};
	int err = h2_create(p->dir, p->name, strlen(p->name), &n, &p->inode);

	return err ? edit_fail(e, path, "%s", edit_error(err)) : true;
}

bool edit_unlink(struct edit *e, const char *path, struct place *p)
{
	int err = h2_unlink(p->dir, p->name, strlen(p->name), NULL);

	if (err)
		return edit_fail(e, path, "%s", edit_error(err));
	h2_inode_put(p->inode);
	p->inode = NULL;
	return true;
}

bool edit_set_attr(struct edit *e, const char *path, struct h2_inode *inode,
		   const struct h2_set_attr *set)
{
	int err = h2_inode_set_attr(inode, set);

	return err ? edit_fail(e, path, "%s", edit_error(err)) : true;
}

/* ---- the table ---- */

const struct edit_verb edit_verbs[] = {
	{"put", "rRp", "[-rp] FILE... PATH (FILE may be -, standard input)", 2, -1, edit_put},
	{"get", "p", "[-p] PATH FILE (FILE may be -, standard output)", 2, 2, edit_get},
	{"mkdir", "pm:", "[-p] [-m MODE] PATH...", 1, -1, edit_mkdir},
	{"rmdir", "", "PATH...", 1, -1, edit_rmdir},
	{"rm", "rRf", "[-rf] PATH...", 1, -1, edit_rm},
	{"mv", "", "PATH... TO", 2, -1, edit_mv},
	{"ln", "sfn", "[-sfn] TARGET... PATH", 2, -1, edit_ln},
	{"chmod", "R", "[-R] MODE PATH...", 2, -1, edit_chmod, edit_check_chmod},
	{"chown", "Rh", "[-Rh] [USER][:[GROUP]] PATH...", 2, -1, edit_chown, edit_check_chown},
	{"touch", "cd:", "[-c] [-d TIME] PATH...", 1, -1, edit_touch, edit_check_touch},
	{"truncate", "cs:", "[-c] -s SIZE PATH...", 1, -1, edit_truncate},
	{"mknod", "m:", "[-m MODE] PATH b|c MAJOR MINOR | PATH p", 2, 4, edit_mknod},
	{0},
};
