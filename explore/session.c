/* Sessions; see session.h. */
#include "session.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <hammer2/pfs.h>

#include "mkfs.h"
#include "must.h"
#include "random.h"
#include "space.h"
#include "volumes.h"

#define MIB (UINT64_C(1) << 20)
#define AREA_BYTES (8 * MIB)        /* boot and aux areas are as small as can be */
#define WRITE_MAX ((size_t)1 << 20) /* of a write that is one operation */

static const char *const labels[OP_PFS_MAX] = {"DATA", "SECOND", "SNAP-A", "SNAP-B"};

/* ---- setups ---- */

static bool take_size(const char **at, uint64_t *bytes)
{
	char *end;
	unsigned shift = 0;

	if (**at < '0' || **at > '9')
		return false;
	*bytes = strtoull(*at, &end, 10);
	shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
	*at = end + (shift > 0);
	if (*bytes > UINT64_C(1) << 40)
		return false;
	*bytes <<= shift;
	return true;
}

static bool take_sizes(const char **at, struct setup *setup)
{
	do {
		if (setup->volume_count == DISK_VOLUMES_MAX ||
		    !take_size(at, &setup->sizes[setup->volume_count++]))
			return false;
	} while (*(*at)++ == ',');
	--*at;
	return true;
}

static bool take_word(const char **at, const char *word)
{
	size_t len = strlen(word);

	if (strncmp(*at, word, len) != 0)
		return false;
	*at += len;
	return true;
}

static bool take_option(const char **at, struct setup *setup)
{
	uint64_t number = 0;

	if (take_word(at, "discard")) {
		setup->discard = true;
		return true;
	}
	if (take_word(at, "nodedup")) {
		setup->no_dedup = true;
		return true;
	}
	if (take_word(at, "prelude")) {
		setup->prelude = true;
		return true;
	}
	if (take_word(at, "overlap")) {
		setup->overlap = true;
		return true;
	}
	if (take_word(at, "left="))
		return take_size(at, &setup->left_bytes);
	if (take_word(at, "dirty=") && take_size(at, &number)) {
		setup->dirty_bytes = (size_t)number;
		return true;
	}
	if (take_word(at, "cache=") && take_size(at, &number)) {
		setup->cache_bytes = (size_t)number;
		return true;
	}
	if (take_word(at, "pfs=") && take_size(at, &number)) {
		setup->pfs_count = (unsigned)number;
		return number == 1 || number == 2;
	}
	return false;
}

bool setup_parse(const char *text, struct setup *setup)
{
	const char *at = text;

	*setup = (struct setup){.pfs_count = 1};
	if (strlen(text) >= sizeof(setup->text) || !take_sizes(&at, setup))
		return false;
	strcpy(setup->text, text);
	while (*at == ' ') {
		at++;
		if (!take_option(&at, setup))
			return false;
	}
	return *at == '\0';
}

unsigned setup_header_copies(const struct setup *setup)
{
	uint64_t copies = (setup->sizes[0] - 1) / H2_HEADER_SPACING + 1;

	return copies < H2_HEADER_COPIES_MAX ? (unsigned)copies : H2_HEADER_COPIES_MAX;
}

static void seeded_uuid(void *user, struct h2_uuid *uuid)
{
	struct random *r = user;

	for (size_t i = 0; i < sizeof(uuid->bytes); i += sizeof(uint64_t)) {
		uint64_t word = random_next(r);

		memcpy(uuid->bytes + i, &word, sizeof(word));
	}
}

static int write_block(void *user, uint64_t offset, const void *buf, size_t len)
{
	return h2_volumes_write(user, offset, buf, len);
}

/* Take all that is free in the first GiB, but for what shall be left. */
static int take_space(const struct setup *setup, struct disk *disk)
{
	struct h2_volumes_options options = {.write = true};
	uint64_t end = setup->sizes[0] < H2_ZONE ? setup->sizes[0] : H2_ZONE, data_off = 0;
	struct h2_device *devices[DISK_VOLUMES_MAX];
	struct h2_volumes *volumes;
	struct h2_volume_header header;
	struct h2_space *space = NULL;
	int err;

	disk_open(disk, devices);
	err = h2_volumes_assemble(devices, disk->count, &options, &volumes);
	if (err)
		return err;
	header = *h2_volumes_header(volumes);
	err = h2_space_open(volumes, NULL, NULL, &space);
	while (!err && data_off + 2 * H2_BLOCK_MAX + setup->left_bytes <= end)
		err = h2_space_alloc(space, H2_BLOCKREF_DATA, 16, &data_off);
	if (!err)
		err = h2_space_flush(space, header.mirror_tid + 1, &header, write_block, volumes);
	header.mirror_tid++;
	header.freemap_tid++;
	if (!err)
		err = h2_volumes_write_header(volumes, &header);
	h2_space_close(space);
	h2_volumes_close(volumes);
	return err;
}

int setup_format(const struct setup *setup, struct disk *disk, uint64_t seed)
{
	struct random random = {.state = seed};
	struct h2_mkfs_options options = {
		.labels = labels,
		.label_count = setup->pfs_count,
		.boot_bytes = AREA_BYTES,
		.aux_bytes = AREA_BYTES,
		.comp_algo = -1,
		.check_algo = -1,
		.time_us = SETUP_TIME_US,
		.uuid = seeded_uuid,
		.uuid_user = &random,
	};
	struct h2_device *devices[DISK_VOLUMES_MAX];
	struct h2_mkfs_plan plan;
	int err = h2_mkfs_plan(setup->sizes, setup->volume_count, &options, &plan);

	if (err)
		return err;
	disk_open(disk, devices);
	err = h2_mkfs_devices(&plan, &options, devices);
	for (unsigned i = 0; i < disk->count; i++)
		h2_device_close(devices[i]);
	if (!err && setup->left_bytes)
		err = take_space(setup, disk);
	return err;
}

/* ---- histories ---- */

static void add_state(struct history *h, size_t k, struct model *model)
{
	struct tree tree;

	model_tree(model, &tree);
	h->hashes = must_grow(h->hashes, k, &h->hashes_room, sizeof(*h->hashes));
	h->hashes[k] = tree.hash;
	tree_fini(&tree);
}

static struct model *first_model(const struct setup *setup)
{
	return model_new(setup->pfs_count, SETUP_TIME_US);
}

void history_init(struct history *h, const struct setup *setup)
{
	struct model *model = first_model(setup);

	*h = (struct history){0};
	add_state(h, 0, model);
	model_free(model);
}

void history_copy(struct history *h, const struct history *from, size_t count)
{
	*h = (struct history){0};
	for (size_t i = 0; i <= count; i++) {
		h->hashes = must_grow(h->hashes, i, &h->hashes_room, sizeof(*h->hashes));
		h->hashes[i] = from->hashes[i];
		if (i == count)
			break;
		h->results = must_grow(h->results, i, &h->results_room, sizeof(*h->results));
		h->results[i] = from->results[i];
		op_list_add(&h->ops, &from->ops.ops[i]);
	}
}

void history_fini(struct history *h)
{
	op_list_fini(&h->ops);
	free(h->results);
	free(h->hashes);
	*h = (struct history){0};
}

/* The model's part of an operation; what the library refused for want of room did not happen. */
static int do_on_model(struct model *model, const struct op *op, size_t number, int64_t result)
{
	if (result == -ENOSPC || result == -EDQUOT)
		return (int)result;
	return model_do(model, op, number, result > 0 ? (uint64_t)result : 0);
}

struct model *history_model(const struct history *h, const struct setup *setup, size_t k)
{
	struct model *model = first_model(setup);

	for (size_t i = 0; i < k; i++)
		(void)do_on_model(model, &h->ops.ops[i], i, h->results[i]);
	return model;
}

/* ---- problems ---- */

static void fail(struct session *s, char *problem)
{
	if (s->problem)
		free(problem);
	else
		s->problem = problem;
}

char *report_text(const struct h2_report *r)
{
	char values[96] = "";

	if (r->flags & H2_REPORT_HAS_VALUES)
		snprintf(values, sizeof(values), "; %s is %#" PRIx64 ", expected %#" PRIx64,
			 r->member ? r->member : "it", r->found, r->expected);
	return must_print("%s: %s %s (inode %" PRIu64 ", key %#" PRIx64 ", at %#" PRIx64 "): %s%s",
			  r->severity == H2_FAULT ? "fault" : "warning", r->code ? r->code : "",
			  r->object ? r->object : "", r->inum, r->key, r->media,
			  r->message ? r->message : "", values);
}

static void session_report(void *user, const struct h2_report *r)
{
	/* A damaged copy of the header is the business of who verifies what is left. */
	if (!((struct session *)user)->faults && r->severity != H2_NOTE && strncmp(r->code, "header-", 7) != 0)
		fail(user, report_text(r));
}

/* ---- opening and closing ---- */

static void session_flushing(void *user);

static void close_all(struct session *s, bool abandon);

static uint64_t tell_time(void *user)
{
	const struct session *s = user;

	/* That of the operation that is being done. */
	return OP_TIME_US(s->history->ops.count - 1);
}

static void open_all(struct session *s)
{
	struct h2_device *devices[DISK_VOLUMES_MAX];
	struct h2_volumes_options vo = {
		.write = true,
		.report = session_report,
		.report_user = s,
	};
	struct h2_fs_options fo = {
		.cache_bytes = s->setup->cache_bytes,
		.report = session_report,
		.report_user = s,
		.write = true,
		.dirty_bytes = s->setup->dirty_bytes,
		.no_dedup = s->setup->no_dedup,
		.discard = s->setup->discard,
		.hold_commits = s->setup->overlap,
		.no_threads = true,
		.now_us = tell_time,
		.now_user = s,
	};
	int err;

	disk_open(s->disk, devices);
	err = h2_volumes_assemble(devices, s->disk->count, &vo, &s->volumes);
	if (!err)
		err = h2_fs_open(s->volumes, &fo, &s->fs);
	for (unsigned i = 0; i < OP_PFS_MAX && !err; i++) {
		if (model_has_pfs(s->model, i))
			err = h2_pfs_open(s->fs, labels[i], &s->pfs[i]);
	}
	if (err && s->faults)
		close_all(s, true);
	else if (err)
		fail(s, must_print("opening fails: %s", strerror(-err)));
}

static void let_go(struct session *s)
{
	h2_inode_put(s->held);
	s->held = NULL;
}

static void close_pfs(struct session *s, unsigned pfs)
{
	h2_pfs_put(s->pfs[pfs]);
	s->pfs[pfs] = NULL;
}

static void close_all(struct session *s, bool abandon)
{
	int err = 0;

	let_go(s);
	for (unsigned i = 0; i < OP_PFS_MAX; i++)
		close_pfs(s, i);
	if (abandon && s->fs)
		h2_fs_abandon(s->fs);
	else
		err = h2_fs_close(s->fs);
	s->fs = NULL;
	h2_volumes_close(s->volumes);
	s->volumes = NULL;
	s->stopped = s->stopped || err;
	if (err && !s->faults)
		fail(s, must_print("closing fails: %s", strerror(-err)));
}

static void begin(struct session *s, const struct setup *setup, struct disk *disk,
		  struct history *history, struct model *model, bool faults)
{
	*s = (struct session){
		.setup = setup,
		.disk = disk,
		.history = history,
		.model = model ? model : history_model(history, setup, history->ops.count),
		.faults = faults,
	};
	disk->flushing = session_flushing;
	disk->flushing_user = s;
	/* What was held is so no more. */
	(void)model_do(s->model, &(struct op){.kind = OP_RELEASE}, history->ops.count, 0);
	open_all(s);
}

void session_open_faulty(struct session *s, const struct setup *setup, struct disk *disk,
			 struct history *history)
{
	begin(s, setup, disk, history, NULL, true);
}

void session_open(struct session *s, const struct setup *setup, struct disk *disk,
		  struct history *history, struct model *model)
{
	begin(s, setup, disk, history, model, false);
}

static void mark(struct session *s, enum log_kind kind, uint64_t number)
{
	if (s->disk->log)
		log_mark(s->disk->log, kind, number);
}

void session_close(struct session *s, bool abandon)
{
	s->disk->flushing = NULL;
	close_all(s, abandon);
	if (!abandon && !s->problem && !s->stopped)
		mark(s, LOG_SYNCED, s->history->ops.count);
	model_free(s->model);
	s->model = NULL;
}

/* ---- operations on the library ---- */

struct place { /* a directory, and a name in it */
	struct h2_inode *dir;
	char name[OP_NAME_MAX];
	size_t len;
};

static int step(struct h2_inode **inode, const char *name, size_t len)
{
	struct h2_inode *below = NULL;
	struct h2_dirent ent;
	int err = h2_dir_lookup(*inode, name, len, &ent);

	if (!err)
		err = h2_dirent_get(*inode, &ent, &below);
	h2_inode_put(*inode);
	*inode = below;
	return err;
}

/* The directory that the last name of a path is in; its len is 0 for a root. */
static int find_place(struct session *s, const char *path, struct place *place)
{
	char next[OP_NAME_MAX];
	const char *rest;
	unsigned pfs = op_path_pfs(path, &rest);
	size_t len;
	int err;

	place->dir = NULL;
	if (!s->pfs[pfs])
		return -ENOENT;
	err = h2_inode_get(s->pfs[pfs], H2_INUM_ROOT, &place->dir);
	place->len = err ? 0 : op_path_next(&rest, place->name);
	while (!err && (len = op_path_next(&rest, next)) > 0) {
		err = step(&place->dir, place->name, place->len);
		memcpy(place->name, next, sizeof(next));
		place->len = len;
	}
	return err;
}

/* The same for a name that can be changed. */
static int find_name(struct session *s, const char *path, struct place *place)
{
	int err;

	place->dir = NULL;
	if (strcmp(path, OP_HELD) == 0)
		return -EINVAL;
	err = find_place(s, path, place);
	return !err && place->len == 0 ? -EINVAL : err;
}

static int find_inode(struct session *s, const char *path, struct h2_inode **inode)
{
	struct place place;
	int err;

	*inode = NULL;
	if (strcmp(path, OP_HELD) == 0) {
		if (!s->held)
			return -ENOENT;
		return h2_inode_get(h2_inode_pfs(s->held), h2_inode_meta(s->held)->inum, inode);
	}
	err = find_place(s, path, &place);
	*inode = place.dir;
	if (!err && place.len > 0)
		err = step(inode, place.name, place.len);
	return err;
}

static int do_create(struct session *s, const struct op *op, size_t number)
{
	static const struct h2_new news[] = {
		[OP_CREATE] = {.type = H2_OBJECT_FILE, .mode = 0644},
		[OP_MKDIR] = {.type = H2_OBJECT_DIRECTORY, .mode = 0755},
		[OP_SYMLINK] = {.type = H2_OBJECT_SYMLINK, .mode = 0777},
		[OP_FIFO] = {.type = H2_OBJECT_FIFO, .mode = 0600},
	};
	struct h2_new new_ = news[op->kind];
	char *target = NULL;
	struct place at;
	int err = find_name(s, op->path, &at);

	if (op->kind == OP_SYMLINK) {
		target = must_calloc(1, op->n[0]);
		op_target_make(target, op->n[0], number);
		new_.target = target;
		new_.target_len = op->n[0];
	}
	new_.comp_algo = new_.check_algo = H2_INHERIT;
	if (!err)
		err = h2_create(at.dir, at.name, at.len, &new_, NULL);
	h2_inode_put(at.dir);
	free(target);
	return err;
}

static int do_link(struct session *s, const struct op *op)
{
	struct h2_inode *inode;
	struct place to = {0};
	int err = find_inode(s, op->path, &inode);

	if (!err)
		err = find_name(s, op->path2, &to);
	if (!err)
		err = h2_link(to.dir, to.name, to.len, inode);
	h2_inode_put(to.dir);
	h2_inode_put(inode);
	return err;
}

static int do_remove(struct session *s, const struct op *op)
{
	struct place at;
	int err = find_name(s, op->path, &at);

	if (!err)
		err = op->kind == OP_RMDIR ? h2_rmdir(at.dir, at.name, at.len, NULL)
					   : h2_unlink(at.dir, at.name, at.len, NULL);
	h2_inode_put(at.dir);
	return err;
}

static int do_rename(struct session *s, const struct op *op)
{
	struct place from, to = {0};
	int err = find_name(s, op->path, &from);

	if (!err)
		err = find_name(s, op->path2, &to);
	if (!err)
		err = h2_rename(from.dir, from.name, from.len, to.dir, to.name, to.len,
				op->kind == OP_EXCHANGE ? H2_RENAME_EXCHANGE : 0, NULL);
	h2_inode_put(from.dir);
	h2_inode_put(to.dir);
	return err;
}

static int64_t do_write(struct session *s, const struct op *op, size_t number)
{
	bool append = op->kind == OP_APPEND;
	size_t len = append ? op->n[0] : op->n[1];
	struct h2_inode *inode;
	int64_t n = find_inode(s, op->path, &inode);

	if (n == 0) {
		uint8_t *bytes = must_calloc(1, len);

		op_data_make(bytes, len, op->data, number);
		n = h2_file_write(inode, append ? 0 : op->n[0], bytes, len,
				  append ? H2_WRITE_APPEND : 0);
		free(bytes);
	}
	h2_inode_put(inode);
	return n;
}

static int64_t do_copy(struct session *s, const struct op *op)
{
	struct h2_inode *from, *to = NULL;
	int64_t n = find_inode(s, op->path, &from);

	if (n == 0)
		n = find_inode(s, op->path2, &to);
	if (n == 0)
		n = h2_file_copy(from, op->n[0], to, op->n[1], op->n[2]);
	h2_inode_put(from);
	h2_inode_put(to);
	return n;
}

static int do_allocate(struct session *s, const struct op *op)
{
	static const unsigned modes[] = {
		[OP_PUNCH] = H2_FALLOC_PUNCH_HOLE | H2_FALLOC_KEEP_SIZE,
		[OP_ZERO] = H2_FALLOC_ZERO_RANGE,
		[OP_ALLOCATE] = 0,
		[OP_RESERVE] = H2_FALLOC_KEEP_SIZE,
	};
	struct h2_inode *inode;
	int err = find_inode(s, op->path, &inode);

	if (!err)
		err = h2_file_allocate(inode, modes[op->kind], op->n[0], op->n[1]);
	h2_inode_put(inode);
	return err;
}

static int do_set(struct session *s, const struct op *op)
{
	static const unsigned valid[] = {
		[OP_TRUNCATE] = H2_SET_SIZE,          [OP_CHMOD] = H2_SET_MODE,
		[OP_CHOWN] = H2_SET_UID | H2_SET_GID, [OP_TIMES] = H2_SET_ATIME | H2_SET_MTIME,
		[OP_FLAGS] = H2_SET_UFLAGS,           [OP_METHODS] = H2_SET_COMP | H2_SET_CHECK,
	};
	struct h2_set_attr set = {
		.valid = valid[op->kind],
		.mode = (uint32_t)op->n[0],
		.uid = (uint32_t)op->n[0],
		.gid = (uint32_t)op->n[1],
		.size = op->n[0],
		.atime_us = op->n[0],
		.mtime_us = op->n[1],
		.uflags = (uint32_t)op->n[0],
		.comp_algo = (uint8_t)op->n[0],
		.check_algo = (uint8_t)op->n[1],
	};
	struct h2_inode *inode;
	int err = find_inode(s, op->path, &inode);

	if (!err)
		err = h2_inode_set_attr(inode, &set);
	h2_inode_put(inode);
	return err;
}

static int do_hold(struct session *s, const struct op *op)
{
	struct h2_inode *inode;
	int err = find_inode(s, op->path, &inode);

	if (err) {
		h2_inode_put(inode);
		return err;
	}
	let_go(s);
	s->held = inode;
	return 0;
}

/* Reopen a PFS that the model has, or will have. */
static int open_again(struct session *s, unsigned pfs)
{
	int err = s->pfs[pfs] ? 0 : h2_pfs_open(s->fs, labels[pfs], &s->pfs[pfs]);

	return err == -ENOENT ? 0 : err;
}

static bool is_snapshot(const struct op *op)
{
	return op->kind == OP_SNAPSHOT || op->kind == OP_SNAPSHOT_DIR;
}

static int snapshot_dir(struct session *s, const char *path, const char *label,
			const struct h2_pfs_ids *ids)
{
	struct h2_inode *dir;
	int err = find_inode(s, path, &dir);

	if (!err)
		err = h2_pfs_snapshot_directory(dir, label, ids, NULL);
	h2_inode_put(dir);
	return err;
}

static int do_pfs(struct session *s, const struct op *op, size_t number)
{
	const char *rest;
	unsigned pfs = op_path_pfs(op->path, &rest), other = op_path_pfs(op->path2, &rest);
	struct random random = {.state = number};
	struct h2_pfs_ids ids;
	int err, open_err;

	seeded_uuid(&random, &ids.clid);
	seeded_uuid(&random, &ids.fsid);
	let_go(s);
	if (op->kind == OP_SNAPSHOT) {
		err = h2_pfs_snapshot(s->fs, labels[pfs], labels[other], &ids);
	} else if (op->kind == OP_SNAPSHOT_DIR) {
		err = snapshot_dir(s, op->path, labels[other], &ids);
	} else {
		/* One that is open stays as it is. */
		if (s->pfs[pfs] && op->kind == OP_DELETE && !s->faults &&
		    h2_pfs_delete(s->fs, labels[pfs]) != -EBUSY)
			fail(s, must_print("delete: a PFS that is open is not busy"));
		close_pfs(s, pfs);
		err = op->kind == OP_DELETE ? h2_pfs_delete(s->fs, labels[pfs])
					    : h2_pfs_rollback(s->fs, labels[pfs], labels[other],
							      NULL, NULL);
	}
	open_err = open_again(s, is_snapshot(op) ? other : pfs);
	return err || s->faults ? err : open_err;
}

static int64_t do_on_library(struct session *s, const struct op *op, size_t number)
{
	const struct op_list *ops;
	int result;

	switch ((enum op_kind)op->kind) {
	case OP_CREATE:
	case OP_MKDIR:
	case OP_SYMLINK:
	case OP_FIFO:
		return do_create(s, op, number);
	case OP_LINK:
		return do_link(s, op);
	case OP_UNLINK:
	case OP_RMDIR:
		return do_remove(s, op);
	case OP_RENAME:
	case OP_EXCHANGE:
		return do_rename(s, op);
	case OP_WRITE:
	case OP_APPEND:
		return do_write(s, op, number);
	case OP_COPY:
		return do_copy(s, op);
	case OP_PUNCH:
	case OP_ZERO:
	case OP_ALLOCATE:
	case OP_RESERVE:
		return do_allocate(s, op);
	case OP_TRUNCATE:
	case OP_CHMOD:
	case OP_CHOWN:
	case OP_TIMES:
	case OP_FLAGS:
	case OP_METHODS:
		return do_set(s, op);
	case OP_HOLD:
		return do_hold(s, op);
	case OP_RELEASE:
		let_go(s);
		return 0;
	case OP_SNAPSHOT:
	case OP_SNAPSHOT_DIR:
	case OP_DELETE:
	case OP_ROLLBACK:
		ops = s->ops;
		s->ops = NULL; /* nothing goes on meanwhile: it may be refused */
		result = do_pfs(s, op, number);
		s->ops = ops;
		return result;
	case OP_SYNC:
		return h2_fs_sync(s->fs);
	case OP_REMOUNT:
		ops = s->ops;
		s->ops = NULL; /* nothing goes on while it is closed */
		close_all(s, false);
		open_all(s);
		s->ops = ops;
		return 0;
	default:
		return 0;
	}
}

static bool is_of_pfs(const struct op *op)
{
	return is_snapshot(op) || op->kind == OP_DELETE || op->kind == OP_ROLLBACK;
}

/* What the operation does to the model; the library has done it. */
static void do_behind(struct session *s, const struct op *op, size_t number, int64_t result)
{
	struct history *h = s->history;
	int expected;
	char text[OP_TEXT_MAX];

	/* A commit that failed may be on the media nevertheless, if only its last flush has. */
	s->stopped = s->faults && h2_fs_write_state(s->fs) != 0;
	if (s->stopped && result < 0 && is_of_pfs(op))
		result = 0;
	if (s->faults && result < 0) {
		h->results[number] = -ENOSPC; /* for the model: not done */
		add_state(h, number + 1, s->model);
		return;
	}
	expected = do_on_model(s->model, op, number, result);
	h->results[number] = result;
	add_state(h, number + 1, s->model);
	/* A commit that comes first may have failed in front of what is wrong with the request. */
	if ((expected < 0) == (result < 0) || (s->stopped && is_of_pfs(op)))
		return;
	op_format(op, text);
	fail(s, must_print("%s: returns %s, expected %s", text,
			   result < 0 ? strerror((int)-result) : "success",
			   expected < 0 ? strerror(-expected) : "success"));
}

static bool is_sync(const struct op *op)
{
	return op->kind == OP_SYNC || op->kind == OP_REMOUNT;
}

static void do_next(struct session *s)
{
	const struct op *op = &s->ops->ops[s->next++];
	struct history *h = s->history;
	size_t number = h->ops.count;
	int64_t result;

	assert((op->kind != OP_WRITE || op->n[1] <= WRITE_MAX) &&
	       (op->kind != OP_APPEND || op->n[0] <= WRITE_MAX) &&
	       (op->kind != OP_COPY || op->n[2] <= WRITE_MAX));
	mark(s, LOG_BEGIN, number + 1);
	h->results = must_grow(h->results, number, &h->results_room, sizeof(*h->results));
	op_list_add(&h->ops, op);
	if (!is_sync(op)) {
		result = do_on_library(s, op, number);
		do_behind(s, op, number, result);
		/* They are durable when they return. */
		if (is_of_pfs(op) && result == 0 && !s->problem)
			mark(s, LOG_SYNCED, number + 1);
		return;
	}
	/* Others may be done before it is over. */
	do_behind(s, op, number, 0);
	result = do_on_library(s, op, number);
	if (result < 0 && !s->faults)
		fail(s, must_print("sync: %s", strerror((int)-result)));
	s->stopped = result < 0;
	if (!s->problem && !s->stopped)
		mark(s, LOG_SYNCED, number + 1);
}

/* Whether it waits for a commit, and so cannot be done within one. */
static bool waits(const struct op *op)
{
	return is_sync(op) || is_of_pfs(op);
}

/* A sync is flushing. */
static void session_flushing(void *user)
{
	struct session *s = user;

	if (s->setup->overlap && s->fs && s->ops && !s->problem && s->next < s->ops->count &&
	    !waits(&s->ops->ops[s->next]))
		do_next(s);
}

void session_do(struct session *s, const struct op_list *ops)
{
	s->ops = ops;
	s->next = 0;
	while (s->next < ops->count && !s->problem && !s->stopped)
		do_next(s);
	s->ops = NULL;
}

/* ---- reading ---- */

struct reading {
	struct h2_pfs *pfs;
	unsigned pfs_number;
	struct tree *tree;
	uint8_t *buf; /* BUFFER_BYTES */
};

#define BUFFER_BYTES ((size_t)256 << 10)

static char *cannot(const char *path, const char *what, int err)
{
	return must_print("%s: cannot %s: %s", path, what, strerror(-err));
}

static uint64_t add_bytes(uint64_t sum, uint64_t offset, uint8_t *bytes, size_t len)
{
	/* The last chunk of a file is as long as the others, with zeros. */
	size_t whole = (len + TREE_CHUNK - 1) / TREE_CHUNK * TREE_CHUNK;

	memset(bytes + len, 0, whole - len);
	for (size_t at = 0; at < whole; at += TREE_CHUNK)
		sum = tree_content_add(sum, (offset + at) / TREE_CHUNK, bytes + at);
	return sum;
}

static char *read_content(struct reading *r, const char *path, struct h2_inode *inode,
			  uint64_t *sum)
{
	uint64_t at = 0, start, end;
	int err;

	while ((err = h2_file_next_data(inode, at, 0, &start, &end)) == 0) {
		for (at = start / TREE_CHUNK * TREE_CHUNK; at < end; at += BUFFER_BYTES) {
			size_t want = end - at < BUFFER_BYTES ? (size_t)(end - at) : BUFFER_BYTES;
			ssize_t n = h2_file_read(inode, at, r->buf, want);

			if (n < 0)
				return cannot(path, "read", (int)n);
			if ((size_t)n != want)
				return must_print("%s: reads %zd bytes instead of %zu", path, n,
						  want);
			*sum = add_bytes(*sum, at, r->buf, want);
		}
		at = end;
	}
	return err < 0 ? cannot(path, "find the data of", err) : NULL;
}

static char *read_target(struct reading *r, const char *path, struct h2_inode *inode, uint64_t *sum)
{
	ssize_t n = h2_symlink_read(inode, (char *)r->buf, BUFFER_BYTES - TREE_CHUNK);

	if (n < 0)
		return cannot(path, "read the symlink", (int)n);
	*sum = add_bytes(*sum, 0, r->buf, (size_t)n);
	return NULL;
}

static char *read_dir(struct reading *r, const char *path, struct h2_inode *dir);

/* A time as trees have it. */
static uint64_t time_of(uint64_t time_us)
{
	uint64_t first = OP_TIME_US(0);

	return time_us < first ? time_us : TREE_TIME_OP | (time_us - first);
}

/* An inode with all that is below it; path is taken over. */
static char *read_inode(struct reading *r, char *path, struct h2_inode *inode)
{
	const char *prefix =
		path[strlen(path) - 1] == '/' ? op_pfs_prefixes[r->pfs_number] : path;
	char *problem = NULL;
	struct h2_inode_meta m;
	struct tree_attr attr;

	h2_inode_get_meta(inode, &m);
	attr = (struct tree_attr){
		.size = m.type == H2_OBJECT_DIRECTORY ? 0 : m.size,
		.atime = time_of(m.atime),
		.mtime = time_of(m.mtime),
		.ctime = time_of(m.ctime),
		.btime = time_of(m.btime),
		.type = m.type,
		.mode = m.mode,
		.uid = m.uid,
		.gid = m.gid,
		.nlink = (uint32_t)m.nlinks,
		.uflags = m.uflags,
		.comp_algo = m.comp_algo,
		.check_algo = m.check_algo,
	};
	if (m.type == H2_OBJECT_FILE)
		problem = read_content(r, path, inode, &attr.content);
	else if (m.type == H2_OBJECT_SYMLINK)
		problem = read_target(r, path, inode, &attr.content);
	else if (m.type == H2_OBJECT_DIRECTORY)
		problem = read_dir(r, prefix, inode);
	tree_add(r->tree, path, (uint64_t)r->pfs_number << 62 | m.inum, &attr);
	return problem;
}

static char *read_dir(struct reading *r, const char *path, struct h2_inode *dir)
{
	struct h2_dir_scan *scan;
	struct h2_dirent ent;
	char *problem = NULL;
	int err = h2_dir_scan_new(dir, 0, &scan);

	if (err)
		return cannot(path, "list", err);
	while (!problem && (err = h2_dir_scan_next(scan, &ent)) == 0) {
		char *below = must_print("%s/%s", path, ent.name);
		struct h2_inode *inode;

		err = h2_dirent_get(dir, &ent, &inode);
		if (err) {
			problem = cannot(below, "find the inode of", err);
			free(below);
			break;
		}
		if (h2_inode_meta(inode)->type != ent.type)
			problem = must_print("%s: its entry has another type", below);
		if (problem)
			free(below);
		else
			problem = read_inode(r, below, inode);
		h2_inode_put(inode);
	}
	h2_dir_scan_free(scan);
	return !problem && err < 0 ? cannot(path, "list", err) : problem;
}

char *session_read_tree(struct h2_fs *fs, const struct setup *setup, struct tree *tree)
{
	struct reading r = {
		.tree = tree,
		.buf = must_calloc(1, BUFFER_BYTES + TREE_CHUNK),
	};
	char *problem = NULL;

	*tree = (struct tree){0};
	for (unsigned i = 0; i < OP_PFS_MAX && !problem; i++) {
		struct h2_inode *root = NULL;
		int err;

		if (i >= setup->pfs_count && i < OP_PFS_SNAPSHOT)
			continue;
		err = h2_pfs_open(fs, labels[i], &r.pfs);
		if (err == -ENOENT && i >= OP_PFS_SNAPSHOT)
			continue;

		if (!err)
			err = h2_inode_get(r.pfs, H2_INUM_ROOT, &root);
		r.pfs_number = i;
		problem = err ? cannot(labels[i], "open", err)
			      : read_inode(&r, must_print("%s/", op_pfs_prefixes[i]), root);
		h2_inode_put(root);
		h2_pfs_put(r.pfs);
		r.pfs = NULL;
	}
	free(r.buf);
	tree_finish(tree);
	return problem;
}
