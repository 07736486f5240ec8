/* The verbs show and freemap: walks over what lies on the media. */
#include <inttypes.h>
#include <string.h>

#include "hammer2.h"
#include "media.h"

#define STEP 2u /* columns of one level */

struct show {
	struct call *call;
	struct h2_volumes *volumes;
	uint64_t blockrefs, failed, leaves;
};

static unsigned indent_of(const struct h2_dump_item *item)
{
	return STEP * (item->depth + 1);
}

/* How many blockrefs the item's block holds. */
static unsigned brefs_of(const struct h2_dump_item *item)
{
	switch (item->ref->type) {
	case H2_BLOCKREF_INODE:
		if (!item->inode || item->inode->op_flags & H2_INODE_DIRECTDATA)
			return 0;
		return H2_BLOCKSET_COUNT;
	case H2_BLOCKREF_INDIRECT:
	case H2_BLOCKREF_FREEMAP_NODE:
		if (item->error)
			return 0;
		return (1u << h2_blockref_radix(item->ref)) / H2_BLOCKREF_SIZE;
	default:
		return 0;
	}
}

/* Data blocks and empty entries have nothing to put into braces. */
static bool has_body(const struct h2_dump_item *item)
{
	return item->ref->type != H2_BLOCKREF_DATA && item->ref->type != H2_BLOCKREF_EMPTY;
}

static void print_problem(const struct h2_dump_item *item)
{
	if (!item->error)
		return;
	printf("%*sfailed: %s", (int)(indent_of(item) + STEP), "", item->problem);
	if (item->error == -H2_ECHECK)
		printf(" (computed %016" PRIx64 ")", item->check_computed);
	else if (item->error != -H2_ECORRUPT)
		printf(" (%s)", error_text(item->error));
	putchar('\n');
}

static void print_dirent(const struct h2_dump_item *item)
{
	int in = (int)(indent_of(item) + STEP);

	if (item->name) {
		printf("%*sfilename \"", in, "");
		out_name(stdout, item->name, item->name_len);
		puts("\"");
	}
	printf("%*sinum 0x%016" PRIx64 "\n", in, "", item->ref->dirent_inum);
	printf("%*snlen %u\n", in, "", item->ref->dirent_namlen);
	printf("%*stype %s\n", in, "", media_type(item->ref->dirent_type));
}

static void print_records(const struct h2_dump_item *item)
{
	int in = (int)(indent_of(item) + STEP);
	uint64_t slot = h2_blockref_offset(item->ref) / H2_BLOCK_MAX % 64; /* MF 10.4 */

	printf("%*srotation=%" PRIu64 "\n", in, "", slot > 0 ? (slot - 1) / 5 : 0);
	for (unsigned i = 0; i < H2_FREEMAP_RECORDS; i++) {
		const struct h2_freemap_record *r = &item->records[i];

		printf("%*s%016" PRIx64 " %04u.%04x linear=%06" PRIx32 " avail=%06" PRIx32, in + 4,
		       "", item->ref->key + i * H2_SEGMENT, i, r->class_, r->linear, r->avail);
		for (unsigned w = 0; w < 8; w++)
			printf(" %016" PRIx64, r->bitmap[w]);
		putchar('\n');
	}
}

static void print_item(struct show *show, const struct h2_dump_item *item)
{
	media_blockref(indent_of(item), item->slot, item->ref, show->volumes, brefs_of(item));
	puts(has_body(item) ? " {" : "");
	print_problem(item);
	if (item->inode)
		media_inode(indent_of(item) + STEP, item->inode, item->ref);
	if (item->ref->type == H2_BLOCKREF_DIRENT)
		print_dirent(item);
	if (item->records)
		print_records(item);
}

/* --quiet: all of a blockref in one line. */
static void print_line(const struct h2_dump_item *item)
{
	const struct h2_blockref *ref = item->ref;
	char check[MEDIA_CHECK_TEXT];

	media_check(ref, check);
	printf("%*s%s.%u %016" PRIx64 " %016" PRIx64 "/%u mir=%" PRIx64 " mod=%" PRIx64 "%s%s",
	       (int)(STEP * item->depth), "", h2_blockref_type_name(ref->type), item->slot,
	       ref->data_off, ref->key, ref->keybits, ref->mirror_tid, ref->modify_tid,
	       check[0] ? " " : "", check);
	if (item->inode) {
		printf(" inum=%" PRIx64 " \"", item->inode->inum);
		out_name(stdout, (const char *)item->inode->filename, media_name_len(item->inode));
		putchar('"');
	} else if (item->name) {
		printf(" inum=%" PRIx64 " \"", ref->dirent_inum);
		out_name(stdout, item->name, item->name_len);
		putchar('"');
	}
	if (item->error)
		printf(" failed: %s", item->problem);
	putchar('\n');
}

static void json_item(struct json *json, const struct h2_dump_item *item)
{
	json_object_begin(json, NULL);
	json_string(json, "record", "blockref");
	json_uint(json, "depth", item->depth);
	json_uint(json, "slot", item->slot);
	media_json_blockref(json, item->ref);
	if (item->error) {
		json_string(json, "problem", item->problem);
		if (item->error == -H2_ECHECK)
			json_hex(json, "check_computed", item->check_computed);
	}
	if (item->name)
		json_name(json, "name", item->name, item->name_len);
	if (item->inode) {
		json_object_begin(json, "inode");
		media_json_inode(json, item->inode);
		json_object_end(json);
	}
	if (item->records) {
		json_array_begin(json, "segments");
		for (unsigned i = 0; i < H2_FREEMAP_RECORDS; i++) {
			const struct h2_freemap_record *r = &item->records[i];

			json_object_begin(json, NULL);
			json_hex(json, "offset", item->ref->key + i * H2_SEGMENT);
			json_uint(json, "class", r->class_);
			json_uint(json, "linear", r->linear);
			json_uint(json, "avail", r->avail);
			json_array_begin(json, "bitmap");
			for (unsigned w = 0; w < 8; w++)
				json_hex(json, NULL, r->bitmap[w]);
			json_array_end(json);
			json_object_end(json);
		}
		json_array_end(json);
	}
	json_object_end(json);
}

static int on_enter(void *user, const struct h2_dump_item *item)
{
	struct show *show = user;

	if (item->ref->type != H2_BLOCKREF_EMPTY)
		show->blockrefs++;
	show->failed += item->error != 0;
	show->leaves += item->ref->type == H2_BLOCKREF_FREEMAP_LEAF;
	if (show->call->json)
		json_item(show->call->json, item);
	else if (show->call->options.quiet)
		print_line(item);
	else
		print_item(show, item);
	/* Who reads the output may be gone; a walk can be long. */
	return ferror(stdout) ? -EIO : 0;
}

static int on_leave(void *user, const struct h2_dump_item *item)
{
	struct show *show = user;

	if (show->call->json || show->call->options.quiet || !has_body(item))
		return 0;
	printf("%*s} (%s.%u", (int)indent_of(item), "", h2_blockref_type_name(item->ref->type),
	       item->slot);
	if (item->inode) {
		fputs(", \"", stdout);
		out_name(stdout, (const char *)item->inode->filename, media_name_len(item->inode));
		putchar('"');
	}
	puts(")");
	return 0;
}

/* The line that stands for the volume header at the top of a walk. */
static void print_top(const struct show *show, const char *title, uint64_t tid)
{
	const struct h2_volume_header *header = h2_volumes_header(show->volumes);
	struct h2_volume_info info;

	if (show->call->json)
		return;
	h2_volumes_info(show->volumes, 0, &info);
	out_name(stdout, info.path, strlen(info.path));
	printf("\nVolume 0 header %u: mirror_tid=%016" PRIx64 "\n", info.header_slot,
	       header->mirror_tid);
	if (!show->call->options.quiet)
		printf("%s mir=%016" PRIx64 " freemap_tid=%016" PRIx64 " {\n", title, tid,
		       header->freemap_tid);
}

static void print_bottom(const struct show *show, const char *title)
{
	if (!show->call->json && !show->call->options.quiet)
		printf("} (%s)\n", title);
}

/* A walk's own error and the number of damaged places; returns the exit code. */
static int finish(const struct show *show, int err)
{
	if (err && !ferror(stdout))
		complain("%s: %s", show->call->verb, error_text(err));
	if (show->failed)
		complain("%s: %" PRIu64 " of %" PRIu64 " block references failed; \"failed:\" "
			 "marks them above",
			 show->call->verb, show->failed, show->blockrefs);
	return err || show->failed ? EXIT_PROBLEM : EXIT_DONE;
}

int verb_show(struct call *call)
{
	const struct options *o = &call->options;
	struct show show = {.call = call};
	struct h2_dump_visitor visitor = {.enter = on_enter, .leave = on_leave, .user = &show};
	struct h2_dump_options options = {
		.empty = o->empty,
		.verify_data = o->verify || o->verbose,
		.depth_max = (unsigned)o->depth,
		.min_mirror_tid = o->min_mirror_tid,
		.min_modify_tid = o->min_modify_tid,
	};
	struct target target;
	int err, code = target_open(call, call->argv, call->argc, TARGET_VOLUMES, &target);

	if (code != EXIT_DONE)
		return code;
	show.volumes = target.volumes;
	options.label = target.spec.label;
	print_top(&show, "volume.0", h2_volumes_header(target.volumes)->mirror_tid);
	err = h2_dump_topology(target.volumes, &options, &visitor);
	print_bottom(&show, "volume.0");
	if (call->json) {
		json_object_begin(call->json, NULL);
		json_string(call->json, "record", "summary");
		json_uint(call->json, "blockrefs", show.blockrefs);
		json_uint(call->json, "failed", show.failed);
		json_object_end(call->json);
	}
	code = finish(&show, err);
	target_close(&target);
	return code;
}

/* ---- freemap ---- */

static void print_total(const char *what, uint64_t bytes)
{
	char label[40];

	snprintf(label, sizeof(label), "Total %s storage:", what);
	printf("%-29s %.3fGB\n", label, (double)bytes / (double)H2_ZONE);
}

static void print_totals(const struct show *show, const struct h2_freemap_totals *t)
{
	uint64_t allocated = t->allocated + t->reserved_state, covered = show->leaves * H2_ZONE;
	struct json *json = show->call->json;

	if (json) {
		json_object_begin(json, NULL);
		json_string(json, "record", "totals");
		json_uint(json, "unallocated_bytes", t->free);
		json_uint(json, "possibly_free_bytes", t->staged);
		json_uint(json, "allocated_bytes", t->allocated);
		json_uint(json, "reserved_bytes", t->reserved_state);
		json_uint(json, "unavailable_bytes", t->unavailable);
		json_uint(json, "freemap_bytes", covered);
		json_uint(json, "leafless_bytes", t->leafless);
		json_uint(json, "blockrefs", show->blockrefs);
		json_uint(json, "failed", show->failed);
		json_object_end(json);
		return;
	}
	print_total("unallocated", t->free);
	print_total("possibly free", t->staged);
	print_total("allocated", allocated);
	print_total("unavailable", t->unavailable);
	print_total("freemap", covered);
	print_total("leafless", t->leafless);
}

int verb_freemap(struct call *call)
{
	struct show show = {.call = call};
	struct h2_dump_visitor visitor = {.enter = on_enter, .leave = on_leave, .user = &show};
	struct h2_freemap_totals totals;
	struct target target;
	int err, code = target_open(call, call->argv, call->argc, TARGET_VOLUMES, &target);

	if (code != EXIT_DONE)
		return code;
	show.volumes = target.volumes;
	print_top(&show, "freemap.0", h2_volumes_header(target.volumes)->freemap_tid);
	err = h2_dump_freemap(target.volumes, NULL, &visitor);
	print_bottom(&show, "freemap.0");
	if (!err) {
		/* Damage was told by the walk already; the rest is summed up all the same. */
		err = h2_dump_freemap_totals(target.volumes, &totals);
		if (!err || show.failed)
			print_totals(&show, &totals);
	}
	code = finish(&show, err);
	target_close(&target);
	return code;
}
