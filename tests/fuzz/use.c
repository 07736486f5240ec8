/* What is done with a volume that is only read; see use.h. */
#include "use.h"

#include <hammer2/dump.h>
#include <hammer2/usage.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define STEPS_MAX 400u

bool use_tell;

static unsigned steps;

void use_report(void *user, const struct h2_report *r)
{
	(void)user;
	REQUIRE(r->code && r->message);
	REQUIRE(strlen(r->code) > 0);
	REQUIRE(!r->pfs || strlen(r->pfs) <= H2_NAME_MAX);
	if (use_tell && r->severity == H2_FAULT)
		fprintf(stderr, "%s: %s %s: %s\n", r->code, r->object ? r->object : "",
			r->path ? r->path : "", r->message);
}

static void use_file(struct h2_inode *inode)
{
	static uint8_t buf[140000];
	uint64_t size = h2_inode_meta(inode)->size, at = 0, start, end;
	struct h2_file_block block;
	char target[H2_SYMLINK_MAX + 1];
	static const uint64_t offsets[] = {0, 65535};

	for (unsigned i = 0; i < 2; i++) {
		ssize_t n = h2_file_read(inode, offsets[i], buf, sizeof(buf) - i);

		REQUIRE(n <= (ssize_t)(sizeof(buf) - i));
		REQUIRE(n <= 0 || offsets[i] + (uint64_t)n <= size);
	}
	h2_file_read(inode, size - 1, buf, 70000);
	for (unsigned i = 0; i < 4 && h2_file_next_data(inode, at, 0, &start, &end) == 0; i++) {
		REQUIRE(at <= start && start < end && end <= size);
		at = end;
	}
	at = 0;
	for (unsigned i = 0; i < 8; i++) {
		int err = h2_file_next_block(inode, at, &block);

		if (err == 1 || block.offset + 1 <= at)
			break;
		at = block.offset + 1;
	}
	if (h2_inode_meta(inode)->type == H2_OBJECT_SYMLINK) {
		ssize_t n = h2_symlink_read(inode, target, sizeof(target));

		REQUIRE(n < (ssize_t)sizeof(target));
	}
}

static void use_inode(struct h2_pfs *pfs, uint64_t inum, unsigned depth)
{
	struct h2_dir_scan *scan;
	struct h2_inode *inode;
	struct h2_dirent ent, again;
	struct h2_attr attr;
	char path[512];
	int err;

	if (++steps > STEPS_MAX || h2_inode_get(pfs, inum, &inode) != 0)
		return;
	h2_inode_attr(inode, &attr);
	if (h2_inode_meta(inode)->type != H2_OBJECT_DIRECTORY) {
		use_file(inode);
	} else if (depth < 8 && h2_dir_scan_new(inode, 0, &scan) == 0) {
		uint64_t last = 0;

		while (steps < STEPS_MAX && (err = h2_dir_scan_next(scan, &ent)) != 1) {
			steps++;
			if (err)
				continue;
			REQUIRE(ent.key > last); /* cookies rise */
			last = ent.key;
			h2_dir_lookup(inode, ent.name, ent.name_len, &again);
			use_inode(pfs, ent.inum, depth + 1);
		}
		h2_dir_scan_free(scan);
	}
	if (depth < 2)
		h2_inode_path(pfs, inum, path, sizeof(path));
	h2_inode_put(inode);
}

static int on_item(void *user, const struct h2_dump_item *item)
{
	(void)user;
	REQUIRE(!item->error || item->problem);
	return ++steps > STEPS_MAX;
}

void use_fs(struct h2_fs *fs)
{
	struct h2_pfs_info info;
	uint64_t key = 0;
	unsigned tries = 0;
	int err;

	while (tries++ < 8 && (err = h2_pfs_next(fs, key, &info)) != 1) {
		struct h2_pfs *pfs;

		steps = 0;
		REQUIRE(info.key >= key);
		if (!err && h2_pfs_open(fs, info.label, &pfs) == 0) {
			use_inode(pfs, H2_INUM_ROOT, 0);
			h2_pfs_put(pfs);
		}
		key = info.key + 1;
		if (key == 0)
			break;
	}
}

static bool goes_on(void *user, uint64_t bytes, uint64_t expected)
{
	(void)user;
	(void)bytes;
	(void)expected;
	return ++steps <= STEPS_MAX;
}

/* Whatever is told, its parts make the whole. */
static void use_usage(struct h2_fs *fs)
{
	const struct h2_pass_options options = {.progress = goes_on};
	struct h2_usage *usage;
	uint64_t sum;

	steps = 0;
	if (h2_usage_measure(fs, &options, &usage) != 0)
		return;
	sum = usage->shared_bytes + usage->overhead_bytes;
	for (size_t i = 0; i < usage->pfs_count; i++)
		sum += usage->pfss[i].exclusive_bytes;
	REQUIRE(sum == usage->used_bytes);
	REQUIRE(usage->data_distinct_bytes <= usage->data_referenced_bytes);
	REQUIRE(usage->data_referenced_bytes <= usage->data_logical_bytes);
	h2_usage_free(usage);
}

void use_volumes(struct h2_volumes *volumes)
{
	struct h2_fs_options options = {.cache_bytes = 1 << 20, .report = use_report};
	struct h2_fs *fs;

	if (h2_fs_open(volumes, &options, &fs) == 0) {
		use_fs(fs);
		use_usage(fs);
		h2_fs_close(fs);
	}
}

void use_check(struct h2_volumes *volumes, struct h2_check_summary *summary)
{
	struct h2_check_options options = {
		.threads = 1,
		.memory_bytes = 1 << 20,
		.report = use_report,
	};

	REQUIRE(h2_check_run(volumes, &options, summary) == 0);
}

void use_dump(struct h2_volumes *volumes)
{
	struct h2_dump_options options = {.verify_data = true};
	struct h2_dump_visitor visitor = {.enter = on_item};
	struct h2_freemap_totals totals;

	steps = 0;
	h2_dump_topology(volumes, &options, &visitor);
	h2_dump_freemap(volumes, &options, &visitor);
	h2_dump_freemap_totals(volumes, &totals);
}
