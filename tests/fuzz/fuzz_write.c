/*
 * Fuzzing of everything that changes a volume: a hostile one is opened for writing, the operations
 * that the input tells are done, and what that has left is opened, read and checked. Nothing may
 * crash, hang or leak, and what was written is read back. Where a check finds no fault before, it
 * finds none afterwards, and the next opening shows what this one has shown.
 *
 * An input is a byte whose first bit tells whether there is a check before; a byte with the number
 * of changes; so many records of 12 bytes, of which the first bit of the fifth byte chooses
 * hostile_aim(); and operations of five bytes each.
 */
#include <hammer2/change.h>
#include <hammer2/pfs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "fuzz.h"
#include "hostile.h"
#include "use.h"

#define RECORDS_MAX 16u
#define OP_SIZE 5u
#define OPS_MAX 48u
#define WRITE_MAX 200000u
#define HELD_MAX 4u
#define STEPS_MAX 300u

/* Freed memory is remembered for a while, but not for as many megabytes as usual: for speed. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "quarantine_size_mb=8:malloc_context_size=5";
}

struct writer {
	bool sound; /* nothing was wrong with the volume */
	struct h2_volumes *volumes;
	struct h2_fs *fs;   /* NULL: cannot be opened (any more) */
	struct h2_pfs *pfs; /* NULL: none can be opened */
	struct h2_inode *held[HELD_MAX];
	unsigned next_held;
};

static uint64_t count_time(void *user)
{
	static uint64_t now = UINT64_C(1700000000000000);

	(void)user;
	return now++;
}

static bool is_damage(int err)
{
	return err == -H2_ECORRUPT || err == -H2_ECHECK || err == -EIO;
}

static void expect_undamaged(const struct writer *w, int err)
{
	REQUIRE(!w->sound || !is_damage(err));
}

/* ---- opening and closing ---- */

static void open_pfs(struct writer *w, unsigned skip)
{
	struct h2_pfs_info info;
	uint64_t key = 0;
	int err;

	h2_pfs_put(w->pfs);
	w->pfs = NULL;
	for (unsigned i = 0; i < 16 && (err = h2_pfs_next(w->fs, key, &info)) != 1; i++) {
		expect_undamaged(w, err);
		if (!err && (skip == 0 || !w->pfs)) {
			struct h2_pfs *pfs;

			err = h2_pfs_open(w->fs, info.label, &pfs);
			expect_undamaged(w, err);
			if (!err) {
				h2_pfs_put(w->pfs);
				w->pfs = pfs;
				if (skip-- == 0)
					return;
			}
		}
		key = info.key + 1;
		if (key == 0)
			return;
	}
}

static void open_fs(struct writer *w)
{
	struct h2_volumes_options volumes_options = {.write = true, .report = use_report};
	struct h2_fs_options options = {
		.cache_bytes = 1 << 20,
		.report = use_report,
		.write = true,
		.dirty_bytes = 1 << 20,
		.no_threads = true,
		.now_us = count_time,
	};
	int err = hostile_open(&volumes_options, &w->volumes);

	expect_undamaged(w, err);
	if (err)
		return;
	err = h2_fs_open(w->volumes, &options, &w->fs);
	expect_undamaged(w, err);
	if (err) {
		h2_volumes_close(w->volumes);
		w->volumes = NULL;
		w->fs = NULL;
		return;
	}
	open_pfs(w, 0);
}

static void let_go(struct writer *w)
{
	for (unsigned i = 0; i < HELD_MAX; i++) {
		h2_inode_put(w->held[i]);
		w->held[i] = NULL;
	}
}

static void close_fs(struct writer *w, bool crash)
{
	if (!w->fs)
		return;
	let_go(w);
	h2_pfs_put(w->pfs);
	if (crash)
		h2_fs_abandon(w->fs);
	else
		expect_undamaged(w, h2_fs_close(w->fs));
	h2_volumes_close(w->volumes);
	w->volumes = NULL;
	w->fs = NULL;
	w->pfs = NULL;
}

/* ---- operations ---- */

static const char *const names[] = {
	"new0", "new1",     "new2", "new3",   "dir", "a.b0", "a.b1", "a.b2",
	"link", "longlink", "dev",  "legacy", "sub", "..",   "",     NULL /* 255 bytes */,
};

static const char *name_of(uint8_t choice)
{
	static char longest[256];

	if (names[choice % 16])
		return names[choice % 16];
	memset(longest, 'n', 255);
	longest[0] = (char)('a' + choice / 16);
	return longest;
}

/* A reference to what a name leads to; NULL: nothing. */
static struct h2_inode *find(struct writer *w, struct h2_inode *dir, uint8_t choice)
{
	const char *name = name_of(choice);
	struct h2_inode *inode = NULL;
	struct h2_dirent ent;
	int err = h2_dir_lookup(dir, name, strlen(name), &ent);

	if (!err)
		err = h2_dirent_get(dir, &ent, &inode);
	expect_undamaged(w, err);
	return err ? NULL : inode;
}

/* A reference to the root or a directory in it; NULL: there is none. */
static struct h2_inode *find_dir(struct writer *w, uint8_t choice)
{
	struct h2_inode *root, *dir;
	int err = h2_inode_get(w->pfs, H2_INUM_ROOT, &root);

	expect_undamaged(w, err);
	if (err)
		return NULL;
	if (choice % 3 == 0)
		return root;
	dir = find(w, root, choice % 3 == 1 ? 4 : 12);
	h2_inode_put(root);
	return dir;
}

static uint64_t position(uint8_t choice)
{
	static const uint64_t positions[] = {
		0,
		1,
		511,
		512,
		513,
		1024,
		65535,
		65536,
		65537,
		131072,
		1 << 20,
		UINT64_C(1) << 40,
		INT64_MAX - 65536,
		INT64_MAX - 1,
		INT64_MAX,
		UINT64_MAX,
	};

	return positions[choice % 16];
}

static size_t length(uint8_t choice)
{
	static const size_t lengths[] = {1, 512, 513, 4096, 65536, 65537, 100, WRITE_MAX};

	return lengths[choice % 8];
}

static void hold(struct writer *w, struct h2_inode *inode)
{
	h2_inode_put(w->held[w->next_held % HELD_MAX]);
	w->held[w->next_held++ % HELD_MAX] = inode;
}

static void make(struct writer *w, struct h2_inode *dir, const uint8_t op[OP_SIZE])
{
	static const uint8_t types[] = {
		H2_OBJECT_FILE, H2_OBJECT_DIRECTORY, H2_OBJECT_SYMLINK,     H2_OBJECT_FILE,
		H2_OBJECT_FILE, H2_OBJECT_DIRECTORY, H2_OBJECT_CHAR_DEVICE, H2_OBJECT_SOCKET,
	};
	static const char target[] = "a target that does not matter";
	const char *name = name_of(op[1]);
	struct h2_new new_ = {
		.type = types[op[3] % 8],
		.mode = 0755,
		.target = target,
		.target_len = 1 + op[4] % (sizeof(target) - 1),
		.comp_algo = op[3] & 0x80 ? (op[4] & 3) : H2_INHERIT,
		.check_algo = op[3] & 0x80 ? (op[4] >> 2) % 5 : H2_INHERIT,
	};
	struct h2_inode *inode = NULL;
	int err = op[3] & 0x40 ? h2_create_unnamed(dir, &new_, &inode)
			       : h2_create(dir, name, strlen(name), &new_, &inode);

	expect_undamaged(w, err);
	if (!err && op[3] & 0x60)
		hold(w, inode);
	else if (!err)
		h2_inode_put(inode);
}

static void write_file(struct writer *w, struct h2_inode *inode, const uint8_t op[OP_SIZE])
{
	static uint8_t out[WRITE_MAX], in[WRITE_MAX];
	uint64_t at = position(op[3]);
	size_t len = length(op[4]);
	ssize_t n;

	memset(out, op[4], len);
	for (size_t i = 0; op[4] & 0x40 && i < len; i++)
		out[i] = (uint8_t)(i * i >> 7 ^ (size_t)op[1] * i);
	n = h2_file_write(inode, at, out, len, op[4] & 0x80 ? H2_WRITE_APPEND : 0);
	REQUIRE(n <= (ssize_t)len);
	if (n < 0)
		expect_undamaged(w, (int)n);
	if (n <= 0)
		return;
	if (op[4] & 0x80) {
		struct h2_attr attr;

		h2_inode_attr(inode, &attr);
		REQUIRE(attr.size >= (uint64_t)n);
		at = attr.size - (uint64_t)n;
	}
	REQUIRE(h2_file_read(inode, at, in, (size_t)n) == n);
	REQUIRE(memcmp(in, out, (size_t)n) == 0);
}

static void set_attr(struct writer *w, struct h2_inode *inode, const uint8_t op[OP_SIZE])
{
	struct h2_set_attr set = {
		.valid = op[3],
		.mode = op[4],
		.uid = op[4],
		.gid = op[4],
		.size = position(op[4]),
		.uflags = op[4],
		.comp_algo = op[4] & 0xf,
		.check_algo = op[4] >> 4,
		.data_quota = position(op[4] >> 4) * 16,
		.inode_quota = op[4] & 0xf,
	};

	if (op[3] & 1)
		set.valid |= H2_SET_COMP | H2_SET_CHECK;
	if (op[3] & 2)
		set.valid |= H2_SET_QUOTA;
	expect_undamaged(w, h2_inode_set_attr(inode, &set));
}

static void copy(struct writer *w, struct h2_inode *dir, struct h2_inode *inode,
		 const uint8_t op[OP_SIZE])
{
	struct h2_inode *from = find(w, dir, op[3]);

	if (!from)
		return;
	expect_undamaged(w, (int)h2_file_copy(from, position(op[4]), inode, position(op[4] >> 4),
					      WRITE_MAX));
	h2_inode_put(from);
}

static void change_file(struct writer *w, struct h2_inode *dir, const uint8_t op[OP_SIZE])
{
	struct h2_set_attr size = {.valid = H2_SET_SIZE, .size = position(op[3])};
	static const unsigned modes[] = {
		0,
		H2_FALLOC_KEEP_SIZE,
		H2_FALLOC_PUNCH_HOLE | H2_FALLOC_KEEP_SIZE,
		H2_FALLOC_ZERO_RANGE,
		H2_FALLOC_ZERO_RANGE | H2_FALLOC_KEEP_SIZE,
		H2_FALLOC_PUNCH_HOLE,
		0x80,
		H2_FALLOC_PUNCH_HOLE | H2_FALLOC_KEEP_SIZE,
	};
	struct h2_inode *inode = op[1] & 0x80 ? w->held[op[1] % HELD_MAX] : find(w, dir, op[1]);

	if (!inode)
		return;
	switch (op[0] % 16) {
	case 1:
	case 2:
		write_file(w, inode, op);
		break;
	case 3:
		expect_undamaged(w, h2_inode_set_attr(inode, &size));
		break;
	case 4:
		set_attr(w, inode, op);
		break;
	case 5:
		expect_undamaged(w, h2_file_allocate(inode, modes[op[4] % 8], position(op[3]),
						     length(op[4] >> 3) * (op[4] & 0x40 ? 99 : 1)));
		break;
	default:
		copy(w, dir, inode, op);
		break;
	}
	if (!(op[1] & 0x80) && op[2] & 0x80)
		hold(w, inode);
	else if (!(op[1] & 0x80))
		h2_inode_put(inode);
}

static void change_names(struct writer *w, struct h2_inode *dir, const uint8_t op[OP_SIZE])
{
	const char *name = name_of(op[1]);
	struct h2_inode *gone = NULL, *other = NULL, *to_dir;
	int err = 0;

	switch (op[0] % 16) {
	case 7:
		err = h2_unlink(dir, name, strlen(name), op[3] & 1 ? &gone : NULL);
		break;
	case 8:
		err = h2_rmdir(dir, name, strlen(name), op[3] & 1 ? &gone : NULL);
		break;
	case 9:
		to_dir = find_dir(w, op[4]);
		if (to_dir) {
			char from[256];

			snprintf(from, sizeof(from), "%s", name);
			name = name_of(op[3]);
			err = h2_rename(dir, from, strlen(from), to_dir, name, strlen(name),
					op[4] >> 6, op[4] & 0x20 ? &gone : NULL);
			h2_inode_put(to_dir);
		}
		break;
	default:
		other = op[3] & 0x80 ? NULL : find(w, dir, op[3]);
		if (other || w->held[op[3] % HELD_MAX])
			err = h2_link(dir, name, strlen(name),
				      other ? other : w->held[op[3] % HELD_MAX]);
		h2_inode_put(other);
		break;
	}
	expect_undamaged(w, err);
	if (gone)
		hold(w, gone);
}

static void change_pfs(struct writer *w, const uint8_t op[OP_SIZE])
{
	static const char *const labels[] = {"DATA", "OTHER", "snap", "new", "", "LOCAL", "a/b"};
	const char *a = labels[op[1] % 7], *b = labels[op[2] % 7], *c = labels[op[3] % 7];
	static unsigned made; /* ids are never used again */
	struct h2_pfs_ids ids = {.clid = {{1}}, .fsid = {{2}}};
	int err;

	memcpy(ids.clid.bytes + 1, &made, sizeof(made));
	memcpy(ids.fsid.bytes + 1, &made, sizeof(made));
	made++;

	/* What is open cannot be removed. */
	if (op[4] & 0x80) {
		let_go(w);
		h2_pfs_put(w->pfs);
		w->pfs = NULL;
	}
	switch (op[0] / 16 % 8) {
	case 0:
		err = h2_pfs_create(w->fs, a, &ids);
		break;
	case 1:
		err = h2_pfs_delete(w->fs, a);
		break;
	case 2:
		err = h2_pfs_rename(w->fs, a, b);
		break;
	case 3:
	case 4:
	case 5:
		err = h2_pfs_snapshot(w->fs, a, b, &ids);
		break;
	default:
		err = h2_pfs_rollback(w->fs, a, b, op[4] & 0x40 ? NULL : c, &ids);
		break;
	}
	expect_undamaged(w, err);
	if (!w->pfs)
		open_pfs(w, 0);
}

static void operate(struct writer *w, const uint8_t op[OP_SIZE])
{
	struct h2_bulkfree_result result;
	struct h2_inode *dir;

	switch (op[0] % 16) {
	case 11:
		change_pfs(w, op);
		return;
	case 12:
		expect_undamaged(w, h2_fs_sync(w->fs));
		return;
	case 13:
		expect_undamaged(w, h2_fs_bulkfree(w->fs, NULL, op[1] & 1 ? &result : NULL));
		return;
	case 14:
		if (op[1] & 1) {
			use_fs(w->fs);
			return;
		}
		close_fs(w, op[1] & 2);
		open_fs(w);
		return;
	case 15:
		let_go(w);
		open_pfs(w, op[1] % 4);
		return;
	default:
		break;
	}
	dir = w->pfs ? find_dir(w, op[2]) : NULL;
	if (!dir)
		return;
	if (op[0] % 16 == 0)
		make(w, dir, op);
	else if (op[0] % 16 < 7)
		change_file(w, dir, op);
	else
		change_names(w, dir, op);
	h2_inode_put(dir);
}

/* ---- what there is to see ---- */

struct sight {
	XXH64_state_t *hash;
	unsigned steps;
};

static void see(struct sight *s, const void *bytes, size_t len)
{
	XXH64_update(s->hash, bytes, len);
}

static void see_number(struct sight *s, uint64_t number)
{
	see(s, &number, sizeof(number));
}

static void see_contents(struct sight *s, struct h2_inode *inode, uint64_t size)
{
	static uint8_t buf[WRITE_MAX];
	const uint64_t places[] = {0, WRITE_MAX, size > 70000 ? size - 70000 : 0};

	for (unsigned i = 0; i < 3; i++) {
		ssize_t n = h2_file_read(inode, places[i], buf, sizeof(buf));

		see_number(s, (uint64_t)n);
		if (n > 0)
			see(s, buf, (size_t)n);
	}
}

static void see_inode(struct sight *s, struct h2_pfs *pfs, struct h2_inode *inode, unsigned depth)
{
	struct h2_dir_scan *scan;
	struct h2_dirent ent;
	struct h2_attr attr;
	int err;

	h2_inode_attr(inode, &attr);
	attr.blocks = 0; /* known when they are stored */
	see_number(s, attr.inum);
	see_number(s, attr.size);
	see_number(s, attr.mode);
	see_number(s, attr.nlink);
	see_number(s, attr.uflags);
	see_number(s, attr.mtime_us);
	see_number(s, attr.ctime_us);
	if (h2_inode_meta(inode)->type == H2_OBJECT_FILE ||
	    h2_inode_meta(inode)->type == H2_OBJECT_SYMLINK)
		see_contents(s, inode, attr.size);
	if (depth == 8 || h2_inode_meta(inode)->type != H2_OBJECT_DIRECTORY)
		return;
	REQUIRE(h2_dir_scan_new(inode, 0, &scan) == 0);
	while (s->steps++ < STEPS_MAX && (err = h2_dir_scan_next(scan, &ent)) != 1) {
		struct h2_inode *child;

		REQUIRE(err == 0);
		see(s, ent.name, ent.name_len);
		REQUIRE(h2_dirent_get(inode, &ent, &child) == 0);
		see_inode(s, pfs, child, depth + 1);
		h2_inode_put(child);
	}
	h2_dir_scan_free(scan);
}

/* Of a sound volume: a number for all that can be seen. */
static uint64_t see_fs(struct h2_fs *fs)
{
	struct sight s = {.hash = XXH64_createState()};
	struct h2_pfs_info info;
	uint64_t key = 0, result;

	REQUIRE(s.hash);
	XXH64_reset(s.hash, 0);
	for (int err; (err = h2_pfs_next(fs, key, &info)) != 1;) {
		struct h2_inode *root;
		struct h2_pfs *pfs;

		REQUIRE(err == 0);
		see(&s, info.label, strlen(info.label));
		REQUIRE(h2_pfs_open(fs, info.label, &pfs) == 0);
		REQUIRE(h2_inode_get(pfs, H2_INUM_ROOT, &root) == 0);
		see_inode(&s, pfs, root, 0);
		h2_inode_put(root);
		h2_pfs_put(pfs);
		key = info.key + 1;
		if (key == 0)
			break;
	}
	result = XXH64_digest(s.hash);
	XXH64_freeState(s.hash);
	return result;
}

/* ---- one input ---- */

static bool is_sound(void)
{
	struct h2_volumes_options options = {.report = use_report};
	struct h2_check_summary summary;
	struct h2_volumes *volumes;

	if (hostile_open(&options, &volumes) != 0)
		return false;
	use_check(volumes, &summary);
	h2_volumes_close(volumes);
	return summary.faults == 0;
}

/* What the last opening has left. */
static void look_again(const struct writer *w, uint64_t seen)
{
	struct h2_volumes_options options = {.report = use_report};
	struct h2_fs_options fs_options = {.cache_bytes = 1 << 20, .report = use_report};
	struct h2_volumes *volumes;
	struct h2_fs *fs;

	if (w->sound) {
		use_tell = true;
		REQUIRE(is_sound());
		use_tell = false;
		REQUIRE(hostile_open(&options, &volumes) == 0);
		REQUIRE(h2_fs_open(volumes, &fs_options, &fs) == 0);
		REQUIRE(see_fs(fs) == seen);
		h2_fs_close(fs);
		h2_volumes_close(volumes);
	} else if (hostile_open(&options, &volumes) == 0) {
		struct h2_check_summary summary;

		use_volumes(volumes);
		use_check(volumes, &summary);
		h2_volumes_close(volumes);
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	hostile_init();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct writer w = {.sound = false};
	unsigned records, judged;
	uint64_t seen = 0;

	if (size < 2)
		return 0;
	judged = data[0] & 1;
	records = data[1] % (RECORDS_MAX + 1);
	data += 2;
	size -= 2;
	for (; records > 0 && size >= HOSTILE_RECORD; records--) {
		if (data[4] & 0x80)
			hostile_aim(data);
		else
			hostile_change(data);
		data += HOSTILE_RECORD;
		size -= HOSTILE_RECORD;
	}
	hostile_seal();
	w.sound = judged && is_sound();
	open_fs(&w);
	for (unsigned i = 0; w.fs && i < OPS_MAX && size >= OP_SIZE; i++) {
		operate(&w, data);
		data += OP_SIZE;
		size -= OP_SIZE;
	}
	let_go(&w);
	if (w.fs && w.sound) {
		int err = h2_fs_sync(w.fs);

		REQUIRE(err == 0);
		seen = see_fs(w.fs);
	}
	REQUIRE(!w.sound || w.fs);
	close_fs(&w, false);
	look_again(&w, seen);
	hostile_restore();
	return 0;
}
