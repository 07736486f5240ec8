/* The verb probe: whether a device holds HAMMER2, and by which names udev shall know it. */
#include <hammer2/dump.h>
#include <stdlib.h>
#include <string.h>

#include "hammer2.h"

/* The one PFS that is neither LOCAL nor a snapshot: what users call the volume. */
static const struct h2_pfs_info *only_label(const struct h2_pfs_info *list, size_t count)
{
	const struct h2_pfs_info *only = NULL;

	for (size_t i = 0; i < count; i++) {
		if (strcmp(list[i].label, "LOCAL") == 0 ||
		    list[i].meta.pfs_subtype != H2_PFS_SUBTYPE_NONE)
			continue;
		if (only)
			return NULL;
		only = &list[i];
	}
	return only;
}

static bool is_plain(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       (c != '\0' && strchr("#+-.:=@_", c));
}

/* As udev writes strings that become names of links: \xNN for what is not plain. */
static void print_encoded(const char *name, const char *text)
{
	printf("%s=", name);
	for (; *text; text++) {
		if (is_plain(*text))
			putchar(*text);
		else
			printf("\\x%02x", (unsigned char)*text);
	}
	putchar('\n');
}

static void print_safe(const char *name, const char *text)
{
	printf("%s=", name);
	for (; *text; text++)
		putchar(is_plain(*text) ? *text : '_');
	putchar('\n');
}

static void print_export(const struct h2_volume_header *h, const char *uuid, const char *label)
{
	printf("ID_FS_TYPE=hammer2\nID_FS_USAGE=filesystem\nID_FS_VERSION=%u\n", h->version);
	printf("ID_FS_UUID=%s\nID_FS_UUID_ENC=%s\n", uuid, uuid);
	if (h->nvolumes > 1)
		printf("HAMMER2_VOLUME=%u\nHAMMER2_VOLUMES=%u\n", h->volu_id, h->nvolumes);
	if (label) {
		print_safe("ID_FS_LABEL", label);
		print_encoded("ID_FS_LABEL_ENC", label);
	}
}

static void print_json(struct json *json, const struct h2_volume_header *h, const char *label)
{
	json_object_begin(json, NULL);
	json_string(json, "type", "hammer2");
	json_uint(json, "version", h->version);
	json_uuid(json, "fsid", &h->fsid);
	json_uint(json, "volu_id", h->volu_id);
	json_uint(json, "nvolumes", h->nvolumes ? h->nvolumes : 1);
	if (label)
		json_name(json, "label", label, strlen(label));
	json_object_end(json);
}

/* The header of one volume: also where the others of its filesystem are not there. */
static bool read_header(struct target *target, struct h2_dump_header *best)
{
	bool found = false;

	for (unsigned slot = 0; slot < H2_HEADER_COPIES_MAX; slot++) {
		struct h2_dump_header copy;

		if (h2_dump_read_header(target->volumes, 0, slot, &copy) != 0 || !copy.good)
			continue;
		if (!found || copy.header.mirror_tid > best->header.mirror_tid)
			*best = copy;
		found = true;
	}
	return found;
}

int verb_probe(struct call *call)
{
	char uuid[H2_UUID_TEXT_SIZE];
	const struct h2_pfs_info *only = NULL;
	struct h2_pfs_info *list = NULL;
	struct h2_dump_header header;
	struct target target;
	unsigned damaged = 0;
	size_t count = 0;
	int code = target_open(call, call->argv, 1, TARGET_HEADERS, &target);

	if (code != EXIT_DONE)
		return code;
	if (!read_header(&target, &header)) {
		if (!call->options.quiet)
			complain("%s: is no HAMMER2 volume", call->argv[0]);
		target_close(&target);
		return EXIT_PROBLEM;
	}
	target_close(&target);
	/* Labels need the whole filesystem, which one of several volumes is not. */
	if (header.header.nvolumes <= 1 &&
	    target_open(call, call->argv, 1, TARGET_FS, &target) == EXIT_DONE) {
		list = target_list_pfs(&target, &count, &damaged);
		only = only_label(list, count);
		target_close(&target);
	}
	h2_uuid_format(&header.header.fsid, uuid);
	if (call->json)
		print_json(call->json, &header.header, only ? only->label : NULL);
	else if (call->options.export)
		print_export(&header.header, uuid, only ? only->label : NULL);
	else if (!call->options.quiet)
		printf("%s: hammer2, version %u, %s%s%s\n", call->argv[0], header.header.version, uuid,
		       only ? ", " : "", only ? only->label : "");
	free(list);
	return EXIT_DONE;
}
