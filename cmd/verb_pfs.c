/* The verbs about PFSs and snapshots: pfs-list, pfs-create, snapshot and so on. BS 14.1. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>

#include "admin.h"

/* ---- pfs-list ---- */

const char *admin_kind(const struct admin_pfs *pfs)
{
	if (pfs->type == H2_PFS_MASTER && pfs->subtype != H2_PFS_SUBTYPE_NONE)
		return h2_pfs_subtype_name(pfs->subtype);
	return out_pfs_type(pfs->type);
}

void admin_json_pfs(struct json *json, const struct admin_pfs *pfs)
{
	json_object_begin(json, NULL);
	json_name(json, "label", pfs->label, strlen(pfs->label));
	json_string(json, "kind", admin_kind(pfs));
	json_string(json, "pfs_type", out_pfs_type(pfs->type));
	json_string(json, "pfs_subtype", h2_pfs_subtype_name(pfs->subtype));
	json_uuid(json, "clid", &pfs->clid);
	json_uuid(json, "fsid", &pfs->fsid);
	json_hex(json, "name_key", pfs->key);
	if (pfs->has_info)
		json_pfs_members(json, &pfs->info);
	json_object_end(json);
}

static void print_list(struct call *call, const struct admin *admin, const struct admin_pfs *list,
		       size_t count)
{
	char clid[H2_UUID_TEXT_SIZE];

	if (!call->options.quiet) {
		printf("%-11s %-36s Label on ", "Type", "ClusterId (pfs_clid)");
		out_name(stdout, admin->name, strlen(admin->name));
		putchar('\n');
	}
	for (size_t i = 0; i < count; i++) {
		h2_uuid_format(&list[i].clid, clid);
		if (!call->options.quiet)
			printf("%-11s %s ", admin_kind(&list[i]), clid);
		out_name(stdout, list[i].label, strlen(list[i].label));
		putchar('\n');
	}
}

static void json_list(struct json *json, const struct admin *admin, const struct admin_pfs *list,
		      size_t count)
{
	json_object_begin(json, NULL);
	json_name(json, "filesystem", admin->name, strlen(admin->name));
	json_bool(json, "mounted", admin_is_mounted(admin));
	json_array_begin(json, "pfs");
	for (size_t i = 0; i < count; i++)
		admin_json_pfs(json, &list[i]);
	json_array_end(json);
	json_object_end(json);
}

/* Takes the filesystem over. Returns an exit code. */
static int list_pfss(struct call *call, struct admin *admin)
{
	unsigned damaged = 0;
	struct admin_pfs *list;
	size_t count;
	int code;

	list = admin_list(admin, &count, &damaged, &code);
	if (code == EXIT_DONE && call->json)
		json_list(call->json, admin, list, count);
	else if (code == EXIT_DONE)
		print_list(call, admin, list, count);
	free(list);
	admin_close(admin);
	return damaged ? EXIT_PROBLEM : code;
}

static int list_one(struct call *call, const char *name)
{
	struct admin admin;
	int code = admin_open(call, name, false, &admin);

	return code == EXIT_DONE ? list_pfss(call, &admin) : code;
}

int admin_for_each(struct call *call, int (*one)(struct call *call, const char *name))
{
	int code = EXIT_DONE;
	char **mounts;

	if (call->argc <= 1 && (call->argc == 1 || call->options.select))
		return one(call, call->argc == 1 ? call->argv[0] : NULL);
	if (call->json)
		json_array_begin(call->json, NULL);
	mounts = call->argc > 1 ? call->argv : admin_mounts(call);
	for (char **m = mounts; m && *m; m++) {
		int c = one(call, *m);

		code = c > code ? c : code;
	}
	if (call->argc <= 1)
		admin_mounts_free(mounts);
	if (call->json)
		json_array_end(call->json);
	return mounts ? code : EXIT_PROBLEM;
}

/* Arguments that are no paths of mounts are the volumes of one filesystem, together. */
int verb_pfs_list(struct call *call)
{
	struct admin admin;
	int code;

	if (call->argc <= 1 || admin_is_path_of_mount(call->argv[0]))
		return admin_for_each(call, list_one);
	code = admin_open_volumes(call, call->argv, call->argc, false, &admin);
	return code == EXIT_DONE ? list_pfss(call, &admin) : code;
}

/* ---- pfs-clid, pfs-fsid ---- */

static int print_id(struct call *call, bool fsid)
{
	char text[H2_UUID_TEXT_SIZE];
	struct admin_pfs pfs;
	struct admin admin;
	int err, code = admin_open(call, NULL, false, &admin);

	if (code != EXIT_DONE)
		return code;
	err = admin_find(&admin, call->argv[0], &pfs);
	if (err) {
		admin_complain(&admin, "pfs_lookup", call->argv[0], err);
		code = EXIT_PROBLEM;
	} else {
		if (call->json) {
			admin_json_pfs(call->json, &pfs);
		} else {
			h2_uuid_format(fsid ? &pfs.fsid : &pfs.clid, text);
			puts(text);
		}
	}
	admin_close(&admin);
	return code;
}

int verb_pfs_clid(struct call *call)
{
	return print_id(call, false);
}

int verb_pfs_fsid(struct call *call)
{
	return print_id(call, true);
}

/* ---- changing ---- */

/* What BS 14.1 has these verbs say. */
static void say(const struct call *call, const struct admin *admin, const char *what,
		const char *label)
{
	struct json *json = call->json;

	if (json) {
		json_object_begin(json, NULL);
		json_string(json, "verb", call->verb);
		json_name(json, "filesystem", admin->name, strlen(admin->name));
		json_name(json, "label", label, strlen(label));
		json_bool(json, "done", !call->options.dry_run);
		json_object_end(json);
	} else if (!call->options.quiet) {
		printf("hammer2: %s(", what);
		out_name(stdout, label, strlen(label));
		puts(call->options.dry_run ? "): would be done" : "): SUCCESS");
	}
}

/* With --dry-run: whether the label is there, as it must be. Returns 0 or what would come of it. */
static int try_label(struct admin *admin, const char *label, bool expected)
{
	struct admin_pfs pfs;
	int err = admin_find(admin, label, &pfs);

	if (err && err != -ENOENT)
		return err;
	if (expected)
		return err;
	return err == -ENOENT ? 0 : -EEXIST;
}

static int random_uuid(struct h2_uuid *uuid)
{
	if (getrandom(uuid->bytes, sizeof(uuid->bytes), 0) != (ssize_t)sizeof(uuid->bytes))
		return -EIO;
	/* Version 4, variant 1; the third field is little-endian. */
	uuid->bytes[7] = (uint8_t)((uuid->bytes[7] & 0x0f) | 0x40);
	uuid->bytes[8] = (uint8_t)((uuid->bytes[8] & 0x3f) | 0x80);
	return 0;
}

/* The options -t and -u. */
static int take_ids(const struct call *call, struct h2_pfs_ids *ids, bool *given)
{
	const char *type = call->options.type;

	*given = call->options.uuid;
	if (type && strcasecmp(type, "MASTER") != 0) {
		complain("%s: only PFSs of type MASTER can be made; the others belong to clusters, "
			 "which HAMMER2 does not have",
			 type);
		return EXIT_USAGE;
	}
	if (!*given)
		return EXIT_DONE;
	if (h2_uuid_parse(call->options.uuid, &ids->clid) != 0) {
		complain("%s: is no UUID", call->options.uuid);
		return EXIT_USAGE;
	}
	return random_uuid(&ids->fsid) == 0 ? EXIT_DONE : EXIT_PROBLEM;
}

int verb_pfs_create(struct call *call)
{
	const char *label = call->argv[0];
	struct h2_pfs_ids ids;
	struct admin admin;
	bool given;
	int err, code = take_ids(call, &ids, &given);

	if (code == EXIT_DONE)
		code = admin_open(call, NULL, !call->options.dry_run, &admin);
	if (code != EXIT_DONE)
		return code;
	err = call->options.dry_run ? try_label(&admin, label, false)
				    : admin_create(&admin, label, given ? &ids : NULL);
	if (err)
		admin_complain(&admin, "pfs_create", label, err);
	else
		say(call, &admin, "pfs_create", label);
	admin_close(&admin);
	return err ? EXIT_PROBLEM : EXIT_DONE;
}

/* Without -s: the mounted filesystem that has the label, which must be one only; to be freed. */
static char *search_mounts(struct call *call, const char *label)
{
	char **mounts = admin_mounts(call), *found = NULL;
	bool several = false;

	for (char **m = mounts; m && *m; m++) {
		struct admin_pfs pfs;
		struct admin admin;

		if (admin_open(call, *m, false, &admin) != EXIT_DONE)
			continue;
		if (admin_find(&admin, label, &pfs) == 0) {
			several = found != NULL;
			if (!found)
				found = must_alloc(strdup(*m));
		}
		admin_close(&admin);
		if (several) {
			complain("%s: there are such PFSs in the filesystems of %s and of %s; "
				 "option -s names the one",
				 label, found, *m);
			free(found);
			found = NULL;
			break;
		}
	}
	if (mounts && !found && !several)
		complain("%s: no mounted filesystem has such a PFS; option -s names one", label);
	admin_mounts_free(mounts);
	return found;
}

static int delete_in(struct call *call, struct admin *admin, const char *label, bool snapshots_only)
{
	struct admin_pfs pfs;
	int err = admin_find(admin, label, &pfs);

	if (!err && snapshots_only && pfs.subtype == H2_PFS_SUBTYPE_NONE) {
		complain("%s: %s is no snapshot; pfs-delete removes it", admin->name, label);
		return EXIT_PROBLEM;
	}
	if (!err && !call->options.dry_run)
		err = admin_delete(admin, label);
	if (err) {
		admin_complain(admin, "pfs_delete", label, err);
		return EXIT_PROBLEM;
	}
	say(call, admin, "pfs_delete", label);
	return EXIT_DONE;
}

static int delete_one(struct call *call, const char *label, bool snapshots_only)
{
	char *found = NULL;
	struct admin admin;
	int code;

	if (!call->options.select) {
		found = search_mounts(call, label);
		if (!found)
			return EXIT_PROBLEM;
	}
	code = admin_open(call, found, !call->options.dry_run, &admin);
	if (code == EXIT_DONE) {
		code = delete_in(call, &admin, label, snapshots_only);
		admin_close(&admin);
	}
	free(found);
	return code;
}

static int delete_all(struct call *call, bool snapshots_only)
{
	int code = EXIT_DONE;

	for (int i = 0; i < call->argc; i++) {
		int c = delete_one(call, call->argv[i], snapshots_only);

		code = c > code ? c : code;
	}
	return code;
}

int verb_pfs_delete(struct call *call)
{
	return delete_all(call, false);
}

int verb_snapshot_delete(struct call *call)
{
	return delete_all(call, true);
}

int verb_pfs_rename(struct call *call)
{
	const char *label = call->argv[0], *new_label = call->argv[1];
	struct admin admin;
	int err, code = admin_open(call, NULL, !call->options.dry_run, &admin);

	if (code != EXIT_DONE)
		return code;
	err = call->options.dry_run ? try_label(&admin, label, true)
				    : admin_rename(&admin, label, new_label);
	if (!err && call->options.dry_run)
		err = try_label(&admin, new_label, false);
	if (err)
		admin_complain(&admin, "pfs_rename", err == -EEXIST ? new_label : label, err);
	else
		say(call, &admin, "pfs_rename", label);
	admin_close(&admin);
	return err ? EXIT_PROBLEM : EXIT_DONE;
}

/* ---- snapshots ---- */

/* "LABEL.YYYYMMDD.HHMMSS", local time, and a number behind it if there is such a one. */
static void dated_label(struct admin *admin, const char *label, char *to, size_t size)
{
	time_t now = time(NULL);
	struct admin_pfs pfs;
	struct tm tm;
	char date[16]; /* YYYYMMDD.HHMMSS */

	localtime_r(&now, &tm);
	strftime(date, sizeof(date), "%Y%m%d.%H%M%S", &tm);
	snprintf(to, size, "%.230s.%s", label, date);
	for (unsigned i = 2; i < 1000 && admin_find(admin, to, &pfs) == 0; i++)
		snprintf(to, size, "%.230s.%s.%u", label, date, i);
}

/* The PFS of volumes that were named without a label: the one that mounting takes. */
static int default_origin(struct admin *admin, char label[H2_NAME_MAX + 1])
{
	struct admin_pfs pfs;

	admin_label(admin, label);
	if (label[0])
		return 0;
	snprintf(label, H2_NAME_MAX + 1, "%s", h2_spec_default_label(&admin->target.spec));
	if (admin_find(admin, label, &pfs) == -ENOENT)
		strcpy(label, "DATA");
	return admin_find(admin, label, &pfs);
}

static void say_snapshot(const struct call *call, const struct admin *admin, const char *origin,
			 const char *dir, const char *label)
{
	bool dry = call->options.dry_run;

	if (call->json) {
		json_object_begin(call->json, NULL);
		json_string(call->json, "verb", call->verb);
		json_name(call->json, "filesystem", admin->name, strlen(admin->name));
		json_name(call->json, "origin", origin, strlen(origin));
		if (dir)
			json_name(call->json, "directory", dir, strlen(dir));
		json_name(call->json, "label", label, strlen(label));
		json_bool(call->json, "done", !dry);
		json_object_end(call->json);
	} else if (!call->options.quiet) {
		fputs(dry ? "would create snapshot " : "created snapshot ", stdout);
		out_name(stdout, label, strlen(label));
		if (dir) {
			fputs(" of directory ", stdout);
			out_name(stdout, dir, strlen(dir));
		}
		putchar('\n');
	}
}

/*
 * What the label of a snapshot begins with that is given none: the label of its PFS, or the name of
 * its directory.
 */
static const char *base_label(const char *origin, const char *dir, char base[H2_NAME_MAX + 1])
{
	char *path = dir ? realpath(dir, NULL) : NULL;
	const char *name = path ? strrchr(path, '/') : dir ? strrchr(dir, '/') : NULL;

	snprintf(base, H2_NAME_MAX + 1, "%s", !dir ? origin : name && name[1] ? name + 1 : dir);
	for (char *at = base; (at = strpbrk(at, "@:/")) != NULL;)
		*at = '_';
	free(path);
	return base;
}

/* snapshot PATH [LABEL] */
int verb_snapshot(struct call *call)
{
	char origin[H2_NAME_MAX + 1], base[H2_NAME_MAX + 1], dated[H2_NAME_MAX + 1];
	const char *label = call->argc > 1 ? call->argv[1] : dated;
	const char *dir = call->options.path;
	struct admin admin;
	int err, code = admin_open(call, call->argv[0], !call->options.dry_run, &admin);

	if (code != EXIT_DONE)
		return code;
	if (admin_is_mounted(&admin) && dir) {
		complain("%s: option -p is for volumes; of a mounted filesystem name the directory",
			 admin.name);
		admin_close(&admin);
		return EXIT_USAGE;
	}
	if (admin_is_directory(&admin))
		dir = admin.name;
	err = default_origin(&admin, origin);
	dated_label(&admin, base_label(origin, dir, base), dated, sizeof(dated));
	if (!err && call->options.dry_run)
		err = try_label(&admin, label, false);
	else if (!err)
		err = dir ? admin_snapshot_directory(&admin, origin, dir, label)
			  : admin_snapshot(&admin, origin, label);
	if (err)
		admin_complain(&admin, "snapshot",
			       err == -ENOTDIR ? dir : err == -ENOENT ? origin : label, err);
	else
		say_snapshot(call, &admin, origin, dir, label);
	admin_close(&admin);
	return err ? EXIT_PROBLEM : EXIT_DONE;
}

static void say_rollback(const struct call *call, const struct admin *admin, const char *keep)
{
	const char *label = call->argv[0], *snapshot = call->argv[1];
	bool dry = call->options.dry_run;

	if (call->json) {
		json_object_begin(call->json, NULL);
		json_string(call->json, "verb", call->verb);
		json_name(call->json, "filesystem", admin->name, strlen(admin->name));
		json_name(call->json, "label", label, strlen(label));
		json_name(call->json, "snapshot", snapshot, strlen(snapshot));
		if (keep)
			json_name(call->json, "kept", keep, strlen(keep));
		json_bool(call->json, "done", !dry);
		json_object_end(call->json);
	} else if (!call->options.quiet) {
		fputs(dry ? "would roll " : "rolled ", stdout);
		out_name(stdout, label, strlen(label));
		fputs(" back to ", stdout);
		out_name(stdout, snapshot, strlen(snapshot));
		if (keep) {
			printf("; its former state %s snapshot ", dry ? "would be" : "is");
			out_name(stdout, keep, strlen(keep));
		}
		putchar('\n');
	}
}

/* rollback LABEL SNAPSHOT */
int verb_rollback(struct call *call)
{
	const char *label = call->argv[0], *snapshot = call->argv[1], *culprit = label;
	char dated[H2_NAME_MAX + 1];
	const char *keep = call->options.discard ? NULL : dated;
	struct admin admin;
	int err, code = admin_open(call, NULL, !call->options.dry_run, &admin);

	if (code != EXIT_DONE)
		return code;
	dated_label(&admin, label, dated, sizeof(dated));
	err = try_label(&admin, label, true);
	if (!err) {
		err = try_label(&admin, snapshot, true);
		culprit = err ? snapshot : label;
	}
	if (!err && !call->options.dry_run) {
		err = admin_rollback(&admin, label, snapshot, keep);
		culprit = err == -EEXIST ? dated : label;
	}
	if (err)
		admin_complain(&admin, "rollback", culprit, err);
	else
		say_rollback(call, &admin, keep);
	admin_close(&admin);
	return err ? EXIT_PROBLEM : EXIT_DONE;
}
