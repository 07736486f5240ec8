/* The verbs info and volhdr: what volumes say of themselves. */
#include <hammer2/dump.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "hammer2.h"
#include "media.h"
#include "usage.h"

static const char dragonfly_fstype[] = "5cbb9ad1-862d-11dc-a94d-01301bb8a9f5";

/* ---- info ---- */

struct copy {
	struct h2_dump_header header;
	int error;
};

static void read_copies(struct target *target, unsigned volume, struct copy *copies)
{
	for (unsigned slot = 0; slot < H2_HEADER_COPIES_MAX; slot++)
		copies[slot].error = h2_dump_read_header(target->volumes, volume, slot,
							 &copies[slot].header);
}

static const char *copy_state(const struct copy *copy)
{
	return copy->error ? error_text(copy->error) : copy->header.state;
}

static bool copy_exists(const struct copy *copy)
{
	return copy->error || copy->header.exists;
}

static void info_volumes(struct target *target)
{
	char size[OUT_SIZE_TEXT];

	for (unsigned i = 0; i < h2_volumes_count(target->volumes); i++) {
		struct copy copies[H2_HEADER_COPIES_MAX];
		struct h2_volume_info info;

		h2_volumes_info(target->volumes, i, &info);
		read_copies(target, i, copies);
		printf("volume %-3u   ", info.id);
		out_name(stdout, info.path, strlen(info.path));
		printf(": %s at %#" PRIx64 "\n", out_size(info.size, size), info.offset);
		for (unsigned slot = 0; slot < H2_HEADER_COPIES_MAX; slot++) {
			if (!copy_exists(&copies[slot]))
				continue;
			printf("  copy %u     %s", slot + 1, copy_state(&copies[slot]));
			if (copies[slot].header.good)
				printf(", mirror_tid %#" PRIx64,
				       copies[slot].header.header.mirror_tid);
			puts(slot == info.header_slot ? ", in use" : "");
		}
	}
}

/* usage may be NULL; so in JSON. */
static void info_text(struct target *target, const struct h2_pfs_info *list, size_t count,
		      struct h2_usage *usage)
{
	const struct h2_volume_header *h = h2_volumes_header(target->volumes);
	char text[H2_UUID_TEXT_SIZE], size[OUT_SIZE_TEXT];
	struct h2_fs_stats stats;

	h2_fs_get_stats(target->fs, &stats);
	h2_uuid_format(&h->fsid, text);
	printf("fsid         %s\n", text);
	printf("version      %" PRIu32 "\n", h->version);
	printf("size         %s", out_size(h2_volumes_total_size(target->volumes), size));
	printf(", allocatable %s", out_size(stats.total_bytes, size));
	printf(", free %s (%.1f %%)\n", out_size(stats.free_bytes, size),
	       stats.total_bytes ? (double)stats.free_bytes * 100 / (double)stats.total_bytes : 0);
	printf("inodes       %" PRIu64 "\n", stats.inodes);
	printf("tids         mirror %#" PRIx64 ", freemap %#" PRIx64 ", bulkfree %#" PRIx64 "\n",
	       h->mirror_tid, h->freemap_tid, h->bulkfree_tid);
	info_volumes(target);
	for (size_t i = 0; i < count; i++) {
		printf("%-12s ", i == 0 ? "PFSs" : "");
		out_name(stdout, list[i].label, strlen(list[i].label));
		printf(" (%s, %" PRIu64 " inodes, %s)\n", pfs_kind_name(&list[i].meta),
		       list[i].ref.inode_count, out_size(list[i].ref.data_count, size));
	}
	if (usage)
		usage_print(usage);
}

void json_pfs_members(struct json *json, const struct h2_pfs_info *info)
{
	char comp[OUT_COMP_TEXT];

	json_uint(json, "pfs_inum", info->meta.pfs_inum);
	json_uint(json, "pfs_lsnap_tid", info->meta.pfs_lsnap_tid);
	json_uint(json, "inode_count", info->ref.inode_count);
	json_uint(json, "data_count", info->ref.data_count);
	json_string(json, "comp", out_comp(info->meta.comp_algo, comp));
	json_string(json, "check", h2_check_algo_name(info->meta.check_algo & 15u));
}

static void json_pfs(struct json *json, const struct h2_pfs_info *info)
{
	json_object_begin(json, NULL);
	json_name(json, "label", info->label, strlen(info->label));
	json_string(json, "kind", pfs_kind_name(&info->meta));
	json_string(json, "pfs_type", out_pfs_type(info->meta.pfs_type));
	json_string(json, "pfs_subtype", h2_pfs_subtype_name(info->meta.pfs_subtype));
	json_uuid(json, "clid", &info->meta.pfs_clid);
	json_uuid(json, "fsid", &info->meta.pfs_fsid);
	json_hex(json, "name_key", info->key);
	json_pfs_members(json, info);
	json_object_end(json);
}

static void json_pfs_list(struct json *json, const struct h2_pfs_info *list, size_t count)
{
	json_array_begin(json, "pfs");
	for (size_t i = 0; i < count; i++)
		json_pfs(json, &list[i]);
	json_array_end(json);
}

static void info_json_volume(struct json *json, struct target *target, unsigned i)
{
	struct copy copies[H2_HEADER_COPIES_MAX];
	struct h2_volume_info info;

	h2_volumes_info(target->volumes, i, &info);
	read_copies(target, i, copies);
	json_object_begin(json, NULL);
	json_uint(json, "volu_id", info.id);
	json_name(json, "path", info.path, strlen(info.path));
	json_uint(json, "offset", info.offset);
	json_uint(json, "size", info.size);
	json_uint(json, "device_size", info.device_size);
	json_uint(json, "header_copy", info.header_slot + 1);
	json_array_begin(json, "header_copies");
	for (unsigned slot = 0; slot < H2_HEADER_COPIES_MAX; slot++) {
		if (!copy_exists(&copies[slot]))
			continue;
		json_object_begin(json, NULL);
		json_uint(json, "copy", slot + 1);
		json_bool(json, "good", copies[slot].header.good);
		json_string(json, "state", copy_state(&copies[slot]));
		if (copies[slot].header.good) {
			json_uint(json, "mirror_tid", copies[slot].header.header.mirror_tid);
			json_uint(json, "freemap_tid", copies[slot].header.header.freemap_tid);
		}
		json_object_end(json);
	}
	json_array_end(json);
	json_object_end(json);
}

static void info_json(struct json *json, struct target *target, const struct h2_pfs_info *list,
		      size_t count, struct h2_usage *usage)
{
	const struct h2_volume_header *h = h2_volumes_header(target->volumes);
	struct h2_fs_stats stats;

	h2_fs_get_stats(target->fs, &stats);
	json_object_begin(json, NULL);
	json_uuid(json, "fsid", &h->fsid);
	json_uint(json, "version", h->version);
	json_uint(json, "total_size", h2_volumes_total_size(target->volumes));
	json_uint(json, "allocator_size", stats.total_bytes);
	json_uint(json, "allocator_free", stats.free_bytes);
	json_uint(json, "inodes", stats.inodes);
	json_uint(json, "mirror_tid", h->mirror_tid);
	json_uint(json, "freemap_tid", h->freemap_tid);
	json_uint(json, "bulkfree_tid", h->bulkfree_tid);
	json_array_begin(json, "volumes");
	for (unsigned i = 0; i < h2_volumes_count(target->volumes); i++)
		info_json_volume(json, target, i);
	json_array_end(json);
	json_pfs_list(json, list, count);
	if (usage)
		usage_json(json, usage);
	json_object_end(json);
}

int info_of_volumes(struct call *call, char **args, int arg_count)
{
	struct h2_usage *usage = NULL;
	struct h2_pfs_info *list;
	struct target target;
	unsigned damaged = 0;
	size_t count;
	int code = target_open(call, args, arg_count, TARGET_FS, &target);

	if (code != EXIT_DONE)
		return code;
	if (call->options.usage && usage_of_volumes(args[0], target.fs, &usage) != 0)
		damaged++;
	list = target_list_pfs(&target, &count, &damaged);
	if (call->json)
		info_json(call->json, &target, list, count, usage);
	else
		info_text(&target, list, count, usage);
	free(list);
	h2_usage_free(usage);
	target_close(&target);
	return damaged ? EXIT_PROBLEM : EXIT_DONE;
}

/* ---- volhdr ---- */

/* The plain fields of a header, in the order of the media (MF 2.2). */
struct field {
	const char *name;
	size_t offset;
	enum { FIELD_U8, FIELD_HEX32, FIELD_U32, FIELD_HEX64, FIELD_UUID } kind;
	uint64_t unit; /* also shown in this unit: H2_ZONE, 1 MiB; 0: not */
	size_t begin;  /* the unit is for what lies behind that member; 0: for the number itself */
};

#define OFFSET(member) offsetof(struct h2_volume_header, member)
#define FIELD(member, kind, unit)                                                                  \
	{                                                                                          \
#member, OFFSET(member), kind, unit, 0                                             \
	}
#define MIB (UINT64_C(1) << 20)

static const struct field fields[] = {
	FIELD(magic, FIELD_HEX64, 0),
	FIELD(boot_beg, FIELD_HEX64, 0),
	{"boot_end", OFFSET(boot_end), FIELD_HEX64, MIB, OFFSET(boot_beg)},
	FIELD(aux_beg, FIELD_HEX64, 0),
	{"aux_end", OFFSET(aux_end), FIELD_HEX64, MIB, OFFSET(aux_beg)},
	FIELD(volu_size, FIELD_HEX64, H2_ZONE),
	FIELD(version, FIELD_U32, 0),
	FIELD(flags, FIELD_HEX32, 0),
	FIELD(copyid, FIELD_U8, 0),
	FIELD(freemap_version, FIELD_U8, 0),
	FIELD(peer_type, FIELD_U8, 0),
	FIELD(volu_id, FIELD_U8, 0),
	FIELD(nvolumes, FIELD_U8, 0),
	FIELD(fsid, FIELD_UUID, 0),
	FIELD(fstype, FIELD_UUID, 0),
	FIELD(allocator_size, FIELD_HEX64, H2_ZONE),
	FIELD(allocator_free, FIELD_HEX64, H2_ZONE),
	FIELD(allocator_beg, FIELD_HEX64, H2_ZONE),
	FIELD(mirror_tid, FIELD_HEX64, 0),
	FIELD(freemap_tid, FIELD_HEX64, 0),
	FIELD(bulkfree_tid, FIELD_HEX64, 0),
	FIELD(total_size, FIELD_HEX64, H2_ZONE),
};
#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))

static uint64_t field_number(const struct field *f, const void *header)
{
	const char *at = (const char *)header + f->offset;
	uint64_t u64;
	uint32_t u32;

	switch (f->kind) {
	case FIELD_U8:
		return *(const uint8_t *)at;
	case FIELD_HEX32:
	case FIELD_U32:
		memcpy(&u32, at, sizeof(u32));
		return u32;
	default:
		memcpy(&u64, at, sizeof(u64));
		return u64;
	}
}

static void print_field(const struct field *f, const struct h2_volume_header *header)
{
	char text[H2_UUID_TEXT_SIZE];
	struct h2_uuid uuid;
	uint64_t value;

	printf("    %-14s ", strcmp(f->name, "freemap_version") == 0 ? "freemap_vers" : f->name);
	if (f->kind == FIELD_UUID) {
		memcpy(&uuid, (const char *)header + f->offset, sizeof(uuid));
		h2_uuid_format(&uuid, text);
		puts(text);
		if (strcmp(text, dragonfly_fstype) == 0)
			printf("%19s(DragonFly HAMMER2)\n", "");
		return;
	}
	value = field_number(f, header);
	if (f->kind == FIELD_HEX64)
		printf("0x%016" PRIx64, value);
	else if (f->kind == FIELD_HEX32)
		printf("0x%08" PRIx64, value);
	else
		printf("%" PRIu64, value);
	if (f->begin) {
		uint64_t begin;

		memcpy(&begin, (const char *)header + f->begin, sizeof(begin));
		value -= begin;
	}
	if (f->unit)
		printf(" (%6.2f%s)", (double)value / (double)f->unit, f->unit == MIB ? "MB" : "GB");
	putchar('\n');
}

static void json_field(struct json *json, const struct field *f,
		       const struct h2_volume_header *header)
{
	struct h2_uuid uuid;

	if (f->kind == FIELD_UUID) {
		memcpy(&uuid, (const char *)header + f->offset, sizeof(uuid));
		json_uuid(json, f->name, &uuid);
	} else if (strcmp(f->name, "magic") == 0) {
		json_hex(json, f->name, header->magic);
	} else {
		json_uint(json, f->name, field_number(f, header));
	}
}

static void print_crc(const char *name, uint32_t stored, uint32_t computed)
{
	printf("    %-14s 0x%08" PRIx32 "/0x%08" PRIx32 " (%s)\n", name, stored, computed,
	       stored == computed ? "OK" : "failed");
}

static void json_crc(struct json *json, const char *name, uint32_t stored, uint32_t computed)
{
	json_object_begin(json, name);
	json_uint(json, "stored", stored);
	json_uint(json, "computed", computed);
	json_bool(json, "ok", stored == computed);
	json_object_end(json);
}

static void print_blockset(const char *name, const struct h2_blockref *set,
			   const struct h2_volumes *volumes)
{
	printf("\n    %s {\n", name);
	for (unsigned i = 0; i < H2_BLOCKSET_COUNT; i++) {
		media_blockref(8, i, &set[i], volumes, 0);
		putchar('\n');
	}
	puts("    }");
}

static void print_header(const struct h2_volumes *volumes, const struct h2_volume_info *info,
			 unsigned slot, const struct h2_dump_header *d)
{
	const struct h2_volume_header *h = &d->header;

	printf("\nVolume %u header %u: mirror_tid=%016" PRIx64 "%s\n", info->id, slot,
	       h->mirror_tid, slot == info->header_slot ? " (in use)" : "");
	printf("\nVolume %u header %u {\n", info->id, slot);
	if (!d->good)
		printf("    failed: %s\n", d->state);
	for (size_t i = 0; i < FIELD_COUNT; i++)
		print_field(&fields[i], h);
	putchar('\n');
	for (unsigned i = 0; i < 6; i++)
		printf("    icrc_sects[%u]  0x%08" PRIx32 " (reserved)\n", i, h->icrc_sects[i]);
	print_crc("icrc_sects[6]", h->icrc_sects[6], d->crc_sect1);
	print_crc("icrc_sects[7]", h->icrc_sects[7], d->crc_sect0);
	print_crc("icrc_volhdr", h->icrc_volheader, d->crc_whole);
	print_blockset("sroot_blockset", h->sroot_blockset, volumes);
	print_blockset("freemap_blockset", h->freemap_blockset, volumes);
	putchar('\n');
	for (unsigned i = 0; i < H2_VOLUMES_MAX; i++) {
		if (h->volu_loff[i] != UINT64_MAX && (i == 0 || h->volu_loff[i]))
			printf("    volu_loff[%u]   0x%016" PRIx64 "\n", i, h->volu_loff[i]);
	}
	puts("}");
}

static void json_blockset(struct json *json, const char *name, const struct h2_blockref *set)
{
	json_array_begin(json, name);
	for (unsigned i = 0; i < H2_BLOCKSET_COUNT; i++) {
		json_object_begin(json, NULL);
		media_json_blockref(json, &set[i]);
		json_object_end(json);
	}
	json_array_end(json);
}

static void json_header(struct json *json, const struct h2_volume_info *info, unsigned slot,
			const struct h2_dump_header *d)
{
	const struct h2_volume_header *h = &d->header;
	unsigned last = 0;

	json_object_begin(json, NULL);
	json_name(json, "path", info->path, strlen(info->path));
	json_uint(json, "volume", info->id);
	json_uint(json, "copy", slot + 1);
	json_bool(json, "in_use", slot == info->header_slot);
	json_bool(json, "good", d->good);
	json_string(json, "state", d->state);
	for (size_t i = 0; i < FIELD_COUNT; i++)
		json_field(json, &fields[i], h);
	json_crc(json, "icrc_sect1", h->icrc_sects[6], d->crc_sect1);
	json_crc(json, "icrc_sect0", h->icrc_sects[7], d->crc_sect0);
	json_crc(json, "icrc_volheader", h->icrc_volheader, d->crc_whole);
	json_blockset(json, "sroot_blockset", h->sroot_blockset);
	json_blockset(json, "freemap_blockset", h->freemap_blockset);
	for (unsigned i = 0; i < H2_VOLUMES_MAX; i++) {
		if (h->volu_loff[i] != UINT64_MAX && h->volu_loff[i])
			last = i;
	}
	json_array_begin(json, "volu_loff");
	for (unsigned i = 0; i <= last; i++)
		json_uint(json, NULL, h->volu_loff[i]);
	json_array_end(json);
	json_object_end(json);
}

/* Returns whether the copy is as it should be, or not there. */
static bool show_copy(struct call *call, struct target *target, unsigned volume, unsigned slot)
{
	struct h2_volume_info info;
	struct h2_dump_header d;
	int err = h2_dump_read_header(target->volumes, volume, slot, &d);

	h2_volumes_info(target->volumes, volume, &info);
	if (err) {
		complain("%s: header copy %u: %s", info.path, slot + 1, error_text(err));
		return false;
	}
	if (!d.exists)
		return true;
	if (call->json)
		json_header(call->json, &info, slot, &d);
	else
		print_header(target->volumes, &info, slot, &d);
	return d.good;
}

/* Whether there is anything of a header, in a volume without a usable one. */
static bool is_remnant(struct target *target, unsigned volume, unsigned slot)
{
	struct h2_dump_header d;

	return h2_dump_read_header(target->volumes, volume, slot, &d) == 0 && d.exists &&
	       (d.header.magic == H2_MAGIC || d.header.magic == H2_MAGIC_SWAPPED);
}

/* The copies of one volume: the one in use or, where that is asked for or none can be, all. */
static bool show_copies(struct call *call, struct target *target, unsigned volume)
{
	struct h2_volume_info info;
	bool good = true;

	h2_volumes_info(target->volumes, volume, &info);
	if (!call->json) {
		if (volume > 0)
			puts("---------------------------------------------");
		out_name(stdout, info.path, strlen(info.path));
		putchar('\n');
	}
	for (unsigned slot = 0; slot < H2_HEADER_COPIES_MAX; slot++) {
		bool wanted = info.header_slot == H2_HEADER_COPIES_MAX
				      ? is_remnant(target, volume, slot)
				      : call->options.all || slot == info.header_slot;

		if (wanted && !show_copy(call, target, volume, slot))
			good = false;
	}
	return good;
}

int verb_volhdr(struct call *call)
{
	struct target target;
	int code = target_open(call, call->argv, call->argc, TARGET_VOLUMES, &target);

	/* What is wrong was said. Whoever looks for it needs the bytes. */
	if (code == EXIT_PROBLEM &&
	    target_open(call, call->argv, call->argc, TARGET_HEADERS, &target) != EXIT_DONE)
		return code;
	if (code == EXIT_USAGE)
		return code;
	json_array_begin(call->json, NULL);
	for (unsigned i = 0; i < h2_volumes_count(target.volumes); i++) {
		if (!show_copies(call, &target, i))
			code = EXIT_PROBLEM;
	}
	json_array_end(call->json);
	target_close(&target);
	return code;
}
