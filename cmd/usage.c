/* See usage.h. */
#include "usage.h"

#include <errno.h>
#include <hammer2/ioctl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "admin.h"
#include "progress.h"

/* ---- measuring ---- */

static bool goes_on(void *user, uint64_t bytes, uint64_t expected)
{
	progress_update(user, "usage", bytes, expected);
	return true;
}

static const char *advice(int err)
{
	switch (-err) {
	case EPERM:
		return ": this needs root, or the user who mounted it";
	case ENOTCONN:
	case ECONNABORTED:
		return ": the server of the mount has ended; unmount it, and mount it again";
	case EIO:
	case EBADMSG:
	case EUCLEAN:
		return ": what damage hides cannot be counted; see fsck.hammer2(8)";
	default:
		return "";
	}
}

void usage_complain(const char *name, int err)
{
	if (err == -EINTR)
		complain("%s: measuring was interrupted", name);
	else
		complain("%s: the use of space cannot be told: %s%s", name, error_text(err),
			 advice(err));
}

int usage_of_volumes(const char *name, struct h2_fs *fs, struct h2_usage **usagep)
{
	struct progress *progress = progress_new();
	const struct h2_pass_options options = {.progress = goes_on, .user = progress};
	int err = h2_usage_measure(fs, &options, usagep);

	progress_free(progress);
	if (err)
		usage_complain(name, err);
	return err;
}

static void decode_pfs(const uint8_t *bytes, struct h2_pfs_space *pfs)
{
	struct hammer2_usage_pfs p;

	memcpy(&p, bytes, sizeof(p));
	*pfs = (struct h2_pfs_space){
		.key = p.key,
		.pfs_type = p.pfs_type,
		.pfs_subtype = p.pfs_subtype,
		.referenced_bytes = p.referenced_bytes,
		.exclusive_bytes = p.exclusive_bytes,
		.inodes = p.inodes,
	};
	memcpy(pfs->label, p.label, sizeof(pfs->label) - 1);
}

int usage_decode(const uint8_t *bytes, size_t size, struct h2_usage **usagep)
{
	const size_t pfs_size = sizeof(struct hammer2_usage_pfs);
	struct hammer2_usage u;
	struct h2_usage *usage;

	if (size < sizeof(u))
		return -EIO;
	memcpy(&u, bytes, sizeof(u));
	bytes += sizeof(u);
	size -= sizeof(u);
	if (size % pfs_size || size / pfs_size != u.pfs_count)
		return -EIO;
	usage = must_alloc(calloc(1, sizeof(*usage)));
	*usage = (struct h2_usage){
		.used_bytes = u.used_bytes,
		.shared_bytes = u.shared_bytes,
		.overhead_bytes = u.overhead_bytes,
		.data_logical_bytes = u.data_logical_bytes,
		.data_referenced_bytes = u.data_referenced_bytes,
		.data_distinct_bytes = u.data_distinct_bytes,
		.pfs_count = (size_t)u.pfs_count,
		.pfss = must_alloc(calloc((size_t)u.pfs_count + 1, sizeof(*usage->pfss))),
	};
	for (size_t i = 0; i < usage->pfs_count; i++)
		decode_pfs(bytes + i * pfs_size, &usage->pfss[i]);
	*usagep = usage;
	return 0;
}

/* ---- showing ---- */

static int by_label(const void *a, const void *b)
{
	const struct h2_pfs_space *x = a, *y = b;

	return strcmp(x->label, y->label);
}

static void sort(struct h2_usage *usage)
{
	if (usage->pfs_count > 0)
		qsort(usage->pfss, usage->pfs_count, sizeof(*usage->pfss), by_label);
}

static const char *kind(const struct h2_pfs_space *pfs)
{
	return admin_kind(&(struct admin_pfs){.type = pfs->pfs_type, .subtype = pfs->pfs_subtype});
}

/* How many times less it is. */
static void print_ratio(const char *name, uint64_t whole, uint64_t stored)
{
	char from[OUT_SIZE_TEXT], to[OUT_SIZE_TEXT];

	if (stored == 0)
		return;
	printf("%-12s %.2fx: %s of file data in %s\n", name, (double)whole / (double)stored,
	       out_size(whole, from), out_size(stored, to));
}

void usage_print(struct h2_usage *usage)
{
	char size[OUT_SIZE_TEXT], other[OUT_SIZE_TEXT];

	sort(usage);
	printf("used         %s: ", out_size(usage->used_bytes, size));
	printf("%s by several PFSs, %s by the super-root, the rest by one\n",
	       out_size(usage->shared_bytes, size), out_size(usage->overhead_bytes, other));
	print_ratio("compression", usage->data_logical_bytes, usage->data_referenced_bytes);
	print_ratio("dedup", usage->data_referenced_bytes, usage->data_distinct_bytes);
	puts("\nreferenced  would give back      inodes  kind        label");
	for (size_t i = 0; i < usage->pfs_count; i++) {
		const struct h2_pfs_space *pfs = &usage->pfss[i];

		printf("%10s  %15s %11" PRIu64 "  %-11s ", out_size(pfs->referenced_bytes, size),
		       out_size(pfs->exclusive_bytes, other), pfs->inodes, kind(pfs));
		out_name(stdout, pfs->label, strlen(pfs->label));
		putchar('\n');
	}
}

static void json_pfs(struct json *json, const struct h2_pfs_space *pfs)
{
	json_object_begin(json, NULL);
	json_name(json, "label", pfs->label, strlen(pfs->label));
	json_string(json, "kind", kind(pfs));
	json_uint(json, "referenced_bytes", pfs->referenced_bytes);
	json_uint(json, "exclusive_bytes", pfs->exclusive_bytes);
	json_uint(json, "inodes", pfs->inodes);
	json_object_end(json);
}

void usage_json(struct json *json, struct h2_usage *usage)
{
	sort(usage);
	json_object_begin(json, "usage");
	json_uint(json, "used_bytes", usage->used_bytes);
	json_uint(json, "shared_bytes", usage->shared_bytes);
	json_uint(json, "overhead_bytes", usage->overhead_bytes);
	json_uint(json, "data_logical_bytes", usage->data_logical_bytes);
	json_uint(json, "data_referenced_bytes", usage->data_referenced_bytes);
	json_uint(json, "data_distinct_bytes", usage->data_distinct_bytes);
	json_array_begin(json, "pfs");
	for (size_t i = 0; i < usage->pfs_count; i++)
		json_pfs(json, &usage->pfss[i]);
	json_array_end(json);
	json_object_end(json);
}
