/* Opening what the arguments name, and the messages about it. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "hammer2.h"

void complain(const char *format, ...)
{
	va_list ap;

	flockfile(stderr);
	fputs("hammer2: ", stderr);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	putc('\n', stderr);
	funlockfile(stderr);
}

void complain_path(const char *label, const char *path, const char *format, ...)
{
	va_list ap;

	flockfile(stderr);
	fputs("hammer2: ", stderr);
	out_name(stderr, label, strlen(label));
	putc(':', stderr);
	out_name(stderr, path, strlen(path));
	fputs(": ", stderr);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	putc('\n', stderr);
	funlockfile(stderr);
}

void *must_alloc(void *memory)
{
	if (!memory) {
		complain("out of memory");
		exit(EXIT_PROBLEM);
	}
	return memory;
}

/* Findings about volumes and headers: their messages name the volume. */
static void report_volume(void *user, const struct h2_report *r)
{
	const struct call *call = user;

	if (r->severity == H2_FAULT || (r->severity == H2_WARNING && !call->options.quiet))
		complain("%s", r->message);
}

/* Findings about blocks. What a user asked for and does not get is told by the verb, by path. */
static void report_block(void *user, const struct h2_report *r)
{
	const struct call *call = user;

	if (!call->options.verbose)
		return;
	flockfile(stderr);
	fprintf(stderr, "hammer2: %s", r->object ? r->object : "block");
	if (r->flags & H2_REPORT_HAS_MEDIA)
		fprintf(stderr, " at %#" PRIx64, r->media);
	if (r->pfs) {
		fputs(", PFS ", stderr);
		out_name(stderr, r->pfs, strlen(r->pfs));
	}
	if (r->flags & H2_REPORT_HAS_INUM)
		fprintf(stderr, ", inode %" PRIu64, r->inum);
	if (r->flags & H2_REPORT_HAS_KEY)
		fprintf(stderr, ", key %#" PRIx64, r->key);
	fprintf(stderr, ": %s", r->message ? r->message : r->code);
	if (r->flags & H2_REPORT_HAS_VALUES)
		fprintf(stderr, "; found %#" PRIx64 ", expected %#" PRIx64, r->found, r->expected);
	putc('\n', stderr);
	funlockfile(stderr);
}

/* Take one argument apart and add its volumes to all. */
static int add_argument(const char *arg, struct h2_spec *all)
{
	struct h2_spec spec;
	int err = h2_spec_parse(arg, &spec);

	if (err) {
		complain("%s: %s", arg,
			 err == -E2BIG    ? "a filesystem has at most 64 volumes"
			 : err == -EINVAL ? "the name of a volume is empty"
					  : strerror(-err));
		return EXIT_USAGE;
	}
	if (spec.count > H2_VOLUMES_MAX - all->count) {
		complain("%s: a filesystem has at most 64 volumes", arg);
		h2_spec_fini(&spec);
		return EXIT_USAGE;
	}
	for (unsigned i = 0; i < spec.count; i++) {
		all->volumes[all->count++] = spec.volumes[i];
		spec.volumes[i] = NULL;
	}
	if (spec.label) {
		free(all->label);
		all->label = spec.label;
		spec.label = NULL;
	}
	h2_spec_fini(&spec);
	return EXIT_DONE;
}

static int open_volumes(struct call *call, struct target *target, bool headers_only)
{
	const struct h2_volumes_options options = {
		.headers_only = headers_only,
		.write = call->options.write,
		.offset = call->options.offset,
		.header_copy = call->options.header,
		.report = headers_only ? NULL : report_volume,
		.report_user = call,
	};
	int err = h2_volumes_open((const char *const *)target->spec.volumes, target->spec.count,
				  &options, &target->volumes);

	if (err == -ENOMEM)
		complain("out of memory");
	return err ? EXIT_PROBLEM : EXIT_DONE;
}

static int open_fs(struct call *call, struct target *target)
{
	const struct h2_fs_options options = {
		.cache_bytes = call->options.cache_bytes,
		.report = report_block,
		.report_user = call,
		.write = call->options.write,
		.hold_commits = call->options.write, /* a verb does all or nothing */
	};
	int err = h2_fs_open(target->volumes, &options, &target->fs);

	if (!err)
		return EXIT_DONE;
	complain("%s: the super-root cannot be read: %s", target->spec.volumes[0], error_text(err));
	return EXIT_PROBLEM;
}

static void complain_label(struct target *target, const char *label)
{
	unsigned damaged = 0;
	size_t count;
	struct h2_pfs_info *list = target_list_pfs(target, &count, &damaged);

	flockfile(stderr);
	fprintf(stderr, "hammer2: %s: there is no PFS ", target->spec.volumes[0]);
	out_name(stderr, label, strlen(label));
	fputs(count ? "; there are:" : "", stderr);
	for (size_t i = 0; i < count; i++) {
		fputs(i ? ", " : " ", stderr);
		out_name(stderr, list[i].label, strlen(list[i].label));
	}
	putc('\n', stderr);
	funlockfile(stderr);
	free(list);
}

/*
 * A label that was asked for must exist. Without one it is the one that DragonFly takes (MF 11.6),
 * or DATA, which is the usual label whatever the volume's file is called.
 */
static int open_pfs(struct target *target)
{
	const char *label = target->spec.label;
	int err;

	if (!label)
		label = h2_spec_default_label(&target->spec);
	err = h2_pfs_open(target->fs, label, &target->pfs);
	if (err == -ENOENT && !target->spec.label) {
		label = "DATA";
		err = h2_pfs_open(target->fs, label, &target->pfs);
	}
	if (!err) {
		target->label = h2_pfs_get_info(target->pfs)->label;
		return EXIT_DONE;
	}
	if (err == -ENOENT)
		complain_label(target, label);
	else
		complain("%s: PFS %s cannot be read: %s", target->spec.volumes[0], label,
			 error_text(err));
	return EXIT_PROBLEM;
}

int target_arguments(const struct call *call)
{
	struct stat st;

	for (int i = 0; i < call->argc; i++) {
		const char *at = strrchr(call->argv[i], '@');

		if (stat(call->argv[i], &st) == 0)
			continue; /* a volume, if a label follows */
		return at && i > 0 ? i + 1 : 1;
	}
	return 1;
}

int target_open(struct call *call, char **args, int count, enum target_kind kind,
		struct target *target)
{
	int code = EXIT_DONE;

	memset(target, 0, sizeof(*target));
	for (int i = 0; i < count && code == EXIT_DONE; i++)
		code = add_argument(args[i], &target->spec);
	if (code == EXIT_DONE && call->options.label) {
		free(target->spec.label);
		target->spec.label = must_alloc(strdup(call->options.label));
	}
	if (code == EXIT_DONE)
		code = open_volumes(call, target, kind == TARGET_HEADERS);
	if (code == EXIT_DONE && kind >= TARGET_FS)
		code = open_fs(call, target);
	if (code == EXIT_DONE && kind >= TARGET_PFS)
		code = open_pfs(target);
	if (code != EXIT_DONE)
		target_close(target);
	return code;
}

void target_close(struct target *target)
{
	h2_pfs_put(target->pfs);
	h2_fs_close(target->fs);
	h2_volumes_close(target->volumes);
	h2_spec_fini(&target->spec);
	memset(target, 0, sizeof(*target));
}

static int by_label(const void *a, const void *b)
{
	const struct h2_pfs_info *x = a, *y = b;

	return strcmp(x->label, y->label);
}

struct h2_pfs_info *target_list_pfs(struct target *target, size_t *count, unsigned *damaged)
{
	struct h2_pfs_info *list = NULL, info;
	size_t room = 0;
	uint64_t key = 0;
	int err;

	*count = 0;
	while ((err = h2_pfs_next(target->fs, key, &info)) != 1) {
		if (err) {
			complain("%s: entries of the super-root up to key %#" PRIx64
				 " cannot be read: %s",
				 target->spec.volumes[0], info.key, error_text(err));
			++*damaged;
		} else {
			if (*count == room) {
				room = room ? 2 * room : 16;
				list = must_alloc(reallocarray(list, room, sizeof(*list)));
			}
			list[(*count)++] = info;
		}
		key = info.key + 1;
		if (key == 0)
			break;
	}
	if (*count > 0)
		qsort(list, *count, sizeof(*list), by_label);
	return list;
}

const char *pfs_kind_name(const struct h2_inode_meta *meta)
{
	if (meta->pfs_type == H2_PFS_MASTER && meta->pfs_subtype != H2_PFS_SUBTYPE_NONE)
		return h2_pfs_subtype_name(meta->pfs_subtype);
	return out_pfs_type(meta->pfs_type);
}
