/*
 * The verbs about a filesystem's volumes and space: volume-list, bulkfree, cleanup, growfs, info of a
 * mounted one, and the emergency modes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "admin.h"
#include "result.h"
#include "usage.h"
#include "watch.h"

/* ---- volume-list ---- */

static void json_volumes(struct json *json, const struct hammer2_ioc_volume *volumes, int count)
{
	json_array_begin(json, "volumes");
	for (int i = 0; i < count; i++) {
		json_object_begin(json, NULL);
		json_uint(json, "volu_id", (uint64_t)volumes[i].id);
		json_name(json, "path", volumes[i].path, strlen(volumes[i].path));
		json_uint(json, "offset", volumes[i].offset);
		json_uint(json, "size", volumes[i].size);
		json_object_end(json);
	}
	json_array_end(json);
}

static void print_volume(const struct options *options, const struct hammer2_ioc_volume *volume)
{
	char size[OUT_SIZE_TEXT];

	if (!options->quiet)
		printf("volume%-2d ", volume->id);
	out_name(stdout, volume->path, strlen(volume->path));
	if (!options->quiet)
		printf(" %s", out_size(volume->size, size));
	if (options->verbose && !options->quiet)
		printf(" 0x%016" PRIx64 " 0x%016" PRIx64, volume->offset, volume->size);
	putchar('\n');
}

static void print_volumes(const struct options *options, const char *label, unsigned version,
			  const struct hammer2_ioc_volume *volumes, int count)
{
	if (!options->quiet)
		printf("version %u\n", version);
	if (label[0] && !options->quiet) {
		putchar('@');
		out_name(stdout, label, strlen(label));
		putchar('\n');
	}
	for (int i = 0; i < count; i++)
		print_volume(options, &volumes[i]);
}

static int list_volumes(struct call *call, const char *name)
{
	struct hammer2_ioc_volume *volumes;
	char label[H2_NAME_MAX + 1];
	struct admin admin;
	unsigned version = 0;
	int count, code = admin_open(call, name, false, &admin);

	if (code != EXIT_DONE)
		return code;
	volumes = must_alloc(calloc(HAMMER2_IOC_VOLUMES_MAX, sizeof(*volumes)));
	count = admin_volumes(&admin, volumes, &version);
	admin_label(&admin, label);
	if (count >= 0 && call->json) {
		json_object_begin(call->json, NULL);
		json_name(call->json, "filesystem", admin.name, strlen(admin.name));
		json_uint(call->json, "version", version);
		if (label[0])
			json_name(call->json, "label", label, strlen(label));
		json_volumes(call->json, volumes, count);
		json_object_end(call->json);
	} else if (count >= 0) {
		print_volumes(&call->options, label, version, volumes, count);
	}
	admin_close(&admin);
	free(volumes);
	return count < 0 ? EXIT_PROBLEM : EXIT_DONE;
}

int verb_volume_list(struct call *call)
{
	return admin_for_each(call, list_volumes);
}

/* ---- bulkfree ---- */

static int scan_mounted(struct admin *admin, struct h2_bulkfree_result *result)
{
	struct hammer2_ioc_bulkfree b = {.sbase = 0};
	int err = long_request(admin->fd, HAMMER2IOC_BULKFREE_SCAN, &b);

	*result = (struct h2_bulkfree_result){
		.blocks = b.count_allocated,
		.used_bytes = b.total_allocated,
		.freed_bytes = b.count_freed,
	};
	return err;
}

static int scan(struct admin *admin, struct h2_bulkfree_result *result)
{
	struct watch watch;
	int err = watch_start(&watch, admin, "bulkfree");

	if (err)
		return err;
	err = admin_is_mounted(admin)
		      ? scan_mounted(admin, result)
		      : h2_fs_bulkfree(admin->target.fs, &watch.options, result);
	watch_stop(&watch);
	return err;
}

static const char *scan_advice(int err)
{
	switch (-err) {
	case EROFS:
		return "it is mounted for reading only";
	case ENOTCONN:
	case ECONNABORTED:
		return "the server of the mount has ended; what was not committed has not happened";
	case EIO:
	case EBADMSG:
	case EUCLEAN:
		return "nothing was freed, as damage may hide what is in use; see fsck.hammer2(8)";
	default:
		return "nothing was freed";
	}
}

static int scan_one(struct call *call, const char *name)
{
	struct h2_bulkfree_result result = {0};
	char freed[OUT_SIZE_TEXT], used[OUT_SIZE_TEXT];
	struct admin admin;
	int err, code = admin_open(call, name, true, &admin);

	if (code != EXIT_DONE)
		return code;
	catch_signals();
	err = scan(&admin, &result);
	if (err == -EINTR) {
		complain("%s: bulkfree was interrupted; nothing has changed", admin.name);
	} else if (err) {
		complain("%s: bulkfree: %s: %s", admin.name, error_text(err), scan_advice(err));
	} else if (call->json) {
		json_object_begin(call->json, NULL);
		json_name(call->json, "filesystem", admin.name, strlen(admin.name));
		json_uint(call->json, "blocks", result.blocks);
		json_uint(call->json, "used_bytes", result.used_bytes);
		json_uint(call->json, "freed_bytes", result.freed_bytes);
		json_object_end(call->json);
	} else if (!call->options.quiet) {
		printf("%s: %s freed; %" PRIu64 " blocks in use, %s\n", admin.name,
		       out_size(result.freed_bytes, freed), result.blocks,
		       out_size(result.used_bytes, used));
	}
	admin_close(&admin);
	return err ? EXIT_PROBLEM : EXIT_DONE;
}

int verb_bulkfree(struct call *call)
{
	return scan_one(call, call->argc > 0 ? call->argv[0] : NULL);
}

static int clean_one(struct call *call, const char *name)
{
	if (!call->json && !call->options.quiet)
		printf("hammer2 cleanup \"%s\"\n", name ? name : call->options.select);
	return scan_one(call, name);
}

int verb_cleanup(struct call *call)
{
	return admin_for_each(call, clean_one);
}

/* ---- growfs ---- */

static void json_growth(struct json *json, const struct admin *admin, uint64_t size, bool modified)
{
	json_object_begin(json, NULL);
	json_name(json, "filesystem", admin->name, strlen(admin->name));
	json_uint(json, "size", size);
	json_bool(json, "modified", modified);
	json_object_end(json);
}

static int grow_one(struct call *call, const char *name)
{
	struct admin admin;
	uint64_t size = 0;
	bool modified = false;
	int err, code = admin_open(call, name, true, &admin);

	if (code != EXIT_DONE)
		return code;
	err = admin_grow(&admin, call->options.size, &size, &modified);
	if (err == -EINTR)
		complain("%s: growfs was interrupted; nothing has changed", admin.name);
	else if (err)
		complain("%s: growfs: %s%s", admin.name, error_text(err),
			 err == -EINVAL ? ": it can only grow, and not beyond its device"
			 : err == -EOPNOTSUPP ? ": a filesystem of several volumes cannot grow"
			 : err == -EPERM ? ": this needs root, or the user who mounted it"
			 : err == -EROFS ? ": it is mounted for reading only"
			 : err == -ENOTCONN || err == -ECONNABORTED
				 ? ": the server of the mount has ended; unmount it, and mount it again"
				 : "");
	else if (call->json)
		json_growth(call->json, &admin, size, modified);
	else if (!call->options.quiet && modified)
		printf("%s grown to %016" PRIx64 "\n", admin.name, size);
	else if (!call->options.quiet)
		printf("%s no size change - %016" PRIx64 "\n", admin.name, size);
	admin_close(&admin);
	return err ? EXIT_PROBLEM : EXIT_DONE;
}

int verb_growfs(struct call *call)
{
	return call->argc > 0 || call->options.select ? admin_for_each(call, grow_one)
						      : grow_one(call, NULL);
}

/* ---- info, of a mounted filesystem ---- */

struct summary {
	struct hammer2_ioc_status status;
	struct hammer2_ioc_volume *volumes;
	int count; /* of volumes; -1: not told to this user */
	unsigned version;
	struct admin_pfs *pfss;
	size_t pfs_count;
	struct h2_usage *usage; /* NULL: not asked for, or not to be told */
};

static void print_info(const struct admin *admin, const struct summary *s)
{
	const struct hammer2_ioc_status *status = &s->status;
	char size[OUT_SIZE_TEXT];
	uint64_t total = 0;

	fputs("mounted on   ", stdout);
	out_name(stdout, admin->name, strlen(admin->name));
	printf(", for %s\n", status->writable ? "writing" : "reading");
	for (int i = 0; i < s->count; i++)
		total += s->volumes[i].size;
	if (s->count >= 0) {
		printf("version      %u\n", s->version);
		printf("size         %s, ", out_size(total, size));
	} else {
		fputs("size         ", stdout);
	}
	printf("allocatable %s", out_size(status->total_bytes, size));
	printf(", free %s (%.1f %%)\n", out_size(status->free_bytes, size),
	       status->total_bytes
		       ? (double)status->free_bytes * 100 / (double)status->total_bytes
		       : 0);
	printf("coming back  %s with the next commits", out_size(status->waiting_bytes, size));
	printf(", about %s by bulk free%s\n", out_size(status->lost_bytes, size),
	       status->scan_expected_bytes ? " (a pass over the filesystem is running)" : "");
	for (int i = 0; i < s->count; i++) {
		printf("volume %-3d   ", s->volumes[i].id);
		out_name(stdout, s->volumes[i].path, strlen(s->volumes[i].path));
		printf(": %s at %#" PRIx64 "\n", out_size(s->volumes[i].size, size),
		       s->volumes[i].offset);
	}
	for (size_t i = 0; i < s->pfs_count; i++) {
		printf("%-12s ", i == 0 ? "PFSs" : "");
		out_name(stdout, s->pfss[i].label, strlen(s->pfss[i].label));
		printf(" (%s)\n", admin_kind(&s->pfss[i]));
	}
	if (s->usage)
		usage_print(s->usage);
}

static void json_info(struct json *json, const struct admin *admin, const struct summary *s)
{
	json_object_begin(json, NULL);
	json_name(json, "mounted_on", admin->name, strlen(admin->name));
	json_bool(json, "writable", s->status.writable);
	json_uint(json, "allocator_size", s->status.total_bytes);
	json_uint(json, "allocator_free", s->status.free_bytes);
	json_uint(json, "waiting_bytes", s->status.waiting_bytes);
	json_uint(json, "lost_bytes", s->status.lost_bytes);
	json_bool(json, "pass_running", s->status.scan_expected_bytes != 0);
	if (s->count >= 0) {
		json_uint(json, "version", s->version);
		json_volumes(json, s->volumes, s->count);
		json_array_begin(json, "pfs");
		for (size_t i = 0; i < s->pfs_count; i++)
			admin_json_pfs(json, &s->pfss[i]);
		json_array_end(json);
	}
	if (s->usage)
		usage_json(json, s->usage);
	json_object_end(json);
}

/* Returns 0 or an error, after a message. */
static int measure_mounted(struct admin *admin, struct h2_usage **usagep)
{
	struct hammer2_ioc_usage u = {.result = 0};
	struct watch watch;
	uint8_t *bytes = NULL;
	size_t size;
	int err = watch_start(&watch, admin, "usage");

	if (!err) {
		catch_signals();
		err = long_request(admin->fd, HAMMER2IOC_USAGE, &u);
		watch_stop(&watch);
		release_signals();
	}
	if (!err)
		err = result_fetch(admin->fd, u.result, &bytes, &size);
	if (!err)
		err = usage_decode(bytes, size, usagep);
	free(bytes);
	if (err)
		usage_complain(admin->name, err);
	return err;
}

/* Anyone is told how much space there is; the rest only who may change it. */
static int info_of_mount(struct call *call, struct admin *admin)
{
	struct summary s = {.count = -1};
	int code = EXIT_DONE, measured = 0, err;
	unsigned damaged;

	if (call->options.usage)
		measured = measure_mounted(admin, &s.usage);
	if (measured == -EINTR)
		return EXIT_PROBLEM;
	err = admin_status(admin, &s.status);
	if (err) {
		complain("%s: %s", admin->name, error_text(err));
		h2_usage_free(s.usage);
		return EXIT_PROBLEM;
	}
	s.volumes = must_alloc(calloc(HAMMER2_IOC_VOLUMES_MAX, sizeof(*s.volumes)));
	if (admin_may_change(admin)) {
		s.count = admin_volumes(admin, s.volumes, &s.version);
		s.pfss = admin_list(admin, &s.pfs_count, &damaged, &code);
	}
	if (call->json)
		json_info(call->json, admin, &s);
	else
		print_info(admin, &s);
	free(s.pfss);
	free(s.volumes);
	h2_usage_free(s.usage);
	return measured ? EXIT_PROBLEM : code;
}

int verb_info(struct call *call)
{
	const char *name = call->options.select ? call->options.select : ".";
	char *select = (char *)(uintptr_t)call->options.select;
	struct admin admin;
	int code;

	if (call->argc > 0)
		name = call->argv[0];
	if (call->argc > 1 || !admin_is_path_of_mount(name)) {
		if (call->argc == 0 && !select) {
			complain("info: the current directory is not in a HAMMER2 filesystem; name "
				 "a volume, or a path in a mounted one");
			return EXIT_USAGE;
		}
		return call->argc > 0 ? info_of_volumes(call, call->argv, call->argc)
				      : info_of_volumes(call, &select, 1);
	}
	code = admin_open(call, name, false, &admin);
	if (code == EXIT_DONE) {
		code = info_of_mount(call, &admin);
		admin_close(&admin);
	}
	return code;
}

/* ---- emergency mode ---- */

static int set_emergency(struct call *call, bool on)
{
	struct admin admin;
	int32_t mode = on;
	int err = 0, code = admin_open(call, call->argc ? call->argv[0] : NULL, false, &admin);

	if (code != EXIT_DONE)
		return code;
	if (admin_is_mounted(&admin) && ioctl(admin.fd, HAMMER2IOC_EMERG_MODE, &mode) < 0)
		err = -errno;
	if (err)
		complain("%s: %s%s", admin.name, error_text(err),
			 err == -EPERM ? ": this needs root, or the user who mounted it" : "");
	else if (!call->options.quiet)
		printf("Emergency mode on \"%s\" %s; it does nothing here, since removing works on "
		       "a full filesystem without it\n",
		       admin.name, on ? "enabled" : "disabled");
	admin_close(&admin);
	return err ? EXIT_PROBLEM : EXIT_DONE;
}

int verb_emergency_enable(struct call *call)
{
	return set_emergency(call, true);
}

int verb_emergency_disable(struct call *call)
{
	return set_emergency(call, false);
}
