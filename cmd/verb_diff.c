/* The verb diff: what has changed from one PFS to another. */
#include <errno.h>
#include <hammer2/diff.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "result.h"
#include "watch.h"

struct printer {
	const struct call *call;
	struct progress *progress; /* whose line is in the way; may be NULL */
	bool begun;
};

static const struct kind { /* by enum h2_diff_kind */
	char sign;
	const char *name; /* in JSON */
} kinds[] = {
	[H2_DIFF_REMOVED] = {'-', "removed"},
	[H2_DIFF_RENAMED] = {'R', "renamed"},
	[H2_DIFF_ADDED] = {'+', "added"},
	[H2_DIFF_CHANGED] = {'M', "changed"},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void print_text(const struct call *call, const struct h2_diff_entry *e)
{
	static const char *const what[] = {"", " (contents)", " (attributes)",
					   " (contents, attributes)"};

	printf("%c ", kinds[e->kind].sign);
	out_name(stdout, e->path, strlen(e->path));
	if (e->new_path) {
		fputs(" -> ", stdout);
		out_name(stdout, e->new_path, strlen(e->new_path));
	}
	if (call->options.verbose)
		fputs(what[e->what & (H2_DIFF_CONTENTS | H2_DIFF_ATTRIBUTES)], stdout);
	putchar('\n');
}

static void print_json(struct json *json, const struct h2_diff_entry *e)
{
	json_object_begin(json, NULL);
	json_string(json, "change", kinds[e->kind].name);
	json_string(json, "type", out_object_type(e->type));
	json_uint(json, "inum", e->inum);
	json_name(json, "path", e->path, strlen(e->path));
	if (e->new_path)
		json_name(json, "new_path", e->new_path, strlen(e->new_path));
	if (e->kind == H2_DIFF_CHANGED) {
		json_bool(json, "contents", e->what & H2_DIFF_CONTENTS);
		json_bool(json, "attributes", e->what & H2_DIFF_ATTRIBUTES);
	}
	json_object_end(json);
}

/* Nothing is printed before there is something to say: until then there may be an error. */
static void begin(struct printer *printer)
{
	const struct call *call = printer->call;

	if (printer->begun)
		return;
	printer->begun = true;
	/* From here on, whoever interrupts has had enough of it. */
	release_signals();
	progress_clear(printer->progress);
	json_object_begin(call->json, NULL);
	json_name(call->json, "from", call->argv[0], strlen(call->argv[0]));
	json_name(call->json, "to", call->argv[1], strlen(call->argv[1]));
	json_array_begin(call->json, "entries");
}

static void end(struct printer *printer)
{
	begin(printer);
	json_array_end(printer->call->json);
	json_object_end(printer->call->json);
}

static int print_entry(void *user, const struct h2_diff_entry *e)
{
	struct printer *printer = user;

	begin(printer);
	if (printer->call->json)
		print_json(printer->call->json, e);
	else
		print_text(printer->call, e);
	return 0;
}

/* ---- of a mounted filesystem ---- */

/* Print the record that the bytes begin with; *size: of all of it. */
static int print_record(struct printer *printer, const uint8_t *bytes, size_t left, size_t *size)
{
	struct hammer2_ioc_diff_record r;
	struct h2_diff_entry entry;
	char *path, *new_path;

	if (left < sizeof(r))
		return -EIO;
	memcpy(&r, bytes, sizeof(r));
	if (r.size > left || r.kind >= KINDS ||
	    (uint64_t)r.path_len + r.new_path_len + sizeof(r) > r.size)
		return -EIO;
	path = must_alloc(strndup((const char *)bytes + sizeof(r), r.path_len));
	new_path = must_alloc(strndup((const char *)bytes + sizeof(r) + r.path_len, r.new_path_len));
	entry = (struct h2_diff_entry){
		.kind = r.kind,
		.type = r.type,
		.inum = r.inum,
		.path = path,
		.new_path = r.kind == HAMMER2_DIFF_RENAMED ? new_path : NULL,
		.what = r.what,
	};
	print_entry(printer, &entry);
	free(path);
	free(new_path);
	*size = r.size;
	return 0;
}

static int print_result(struct printer *printer, int fd, uint64_t number)
{
	uint8_t *bytes = NULL;
	size_t size, record = 0;
	int err = result_fetch(fd, number, &bytes, &size);

	if (err)
		return err == -ENOENT ? -EIO : err;
	if (signal_came())
		err = -EINTR;
	for (size_t at = 0; at < size && !err; at += record)
		err = print_record(printer, bytes + at, size - at, &record);
	free(bytes);
	return err;
}

static int diff_mounted(struct admin *admin, struct printer *printer)
{
	struct hammer2_ioc_diff d = {.result = 0};
	char *const *labels = printer->call->argv;
	struct watch watch;
	int err;

	if (strlen(labels[0]) >= sizeof(d.from) || strlen(labels[1]) >= sizeof(d.to))
		return -ENOENT;
	strcpy(d.from, labels[0]);
	strcpy(d.to, labels[1]);
	err = watch_start(&watch, admin, "diff");
	if (err)
		return err;
	admin_write_cached(admin);
	err = long_request(admin->fd, HAMMER2IOC_DIFF, &d);
	watch_stop(&watch);
	return err ? err : print_result(printer, admin->fd, d.result);
}

/* ---- of volumes ---- */

static int diff_volumes(struct admin *admin, struct printer *printer)
{
	char *const *labels = printer->call->argv;
	struct watch watch;
	int err = watch_start(&watch, admin, "diff");

	if (err)
		return err;
	printer->progress = watch.progress;
	err = h2_diff(admin->target.fs, labels[0], labels[1], &watch.options, print_entry, printer);
	printer->progress = NULL;
	watch_stop(&watch);
	return err;
}

/* ---- both ---- */

/* The label that an error is about. */
static const char *culprit(struct admin *admin, const struct call *call, int err)
{
	struct admin_pfs pfs;

	if (err == -ENOENT && admin_find(admin, call->argv[0], &pfs) == 0)
		return call->argv[1];
	return call->argv[0];
}

int verb_diff(struct call *call)
{
	struct printer printer = {.call = call};
	struct admin admin;
	int err, code = admin_open(call, NULL, false, &admin);

	if (code != EXIT_DONE)
		return code;
	catch_signals();
	err = admin_is_mounted(&admin) ? diff_mounted(&admin, &printer)
				       : diff_volumes(&admin, &printer);
	if (err == -EINTR)
		complain("%s: diff was interrupted", admin.name);
	else if (err)
		admin_complain(&admin, "diff", culprit(&admin, call, err), err);
	else
		end(&printer);
	admin_close(&admin);
	return err ? EXIT_PROBLEM : EXIT_DONE;
}
