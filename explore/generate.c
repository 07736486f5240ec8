/* Operations for sequences and long runs; see generate.h. */
#include "generate.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define BLOCK (64 * KIB)
#define DEPTH_MAX 5u
#define GREEDY_BYTES_MAX (64 * MIB)

const char *const prelude_text =
	"mkdir /A; mkdir /A/C; mkdir /B; mkdir /B/E;"
	"create /A/foo; write /A/foo 0 300 noise;"    /* inline */
	"create /A/bar; write /A/bar 0 100000 noise;" /* two blocks */
	"create /B/baz; write /B/baz 0 9000 text;"    /* a compressed one */
	"link /A/bar /B/qux; symlink /A/sym 20; create /A/Long; chmod /B/baz 0640";

const char *const vocabulary[] = {
	"create /A/new",
	"create /B/Lnew",
	"mkdir /B/dir",
	"mkdir /A/C/sub",
	"symlink /B/short 30",
	"symlink /A/C/long 2000",
	"fifo /A/pipe",
	/* contents: within the inode, out of it, within and across blocks, far away */
	"write /A/foo 100 200 noise",
	"write /A/foo 400 200 noise",
	"write /A/foo 5000 70000 noise",
	"append /A/foo 100 text",
	"append /A/bar 40000 noise",
	"write /A/bar 0 65536 noise",
	"write /A/bar 60000 10000 noise",
	"write /A/bar 300000 700 noise",
	"write /B/baz 1000 100 noise",
	"write /B/baz 0 65536 same",
	"write /B/baz 0 16000 zeros",
	"copy /A/bar 0 /B/baz 4096 70000",
	"truncate /A/foo 100",
	"truncate /A/foo 5000",
	"truncate /A/bar 0",
	"truncate /A/bar 70000",
	"truncate /A/bar 1000000",
	"truncate /B/baz 300",
	"punch /A/bar 0 65536",
	"punch /A/bar 50000 30000",
	"zero /A/foo 50 1000",
	"zero /A/bar 60000 100000",
	"allocate /B/baz 0 200000",
	"reserve /B/baz 0 200000",
	/* names */
	"link /A/foo /B/link",
	"link /A/bar /A/again",
	"unlink /A/foo",
	"unlink /A/bar",
	"unlink /B/qux",
	"unlink /A/Long",
	"unlink /A/sym",
	"rmdir /A/C",
	"rmdir /B/E",
	"rename /A/foo /A/bar",
	"rename /A/foo /B/moved",
	"rename /B/baz /A/foo",
	"rename /B/qux /A/Long",
	"rename /A/Long /A/short",
	"rename /A/C /B/C",
	"rename /A/C /B/E",
	"rename /B /A/C/B",
	"exchange /A/foo /B/baz",
	"exchange /A/bar /B",
	"exchange /A /B",
	/* attributes */
	"chmod /A/foo 04711",
	"chown /A/bar 7 8",
	"chown /B 9 10",
	"times /B/baz 1000 2000",
	"flags /A/foo 1",
	"methods /A/bar 0x93 4",
	"methods /B 0 1",
	/* open files */
	"hold /A/bar",
	"append * 3000 noise",
	"release",
	"snapshot / #/",
	"snapshot #/ %/",
	"snapshot-dir /A #/", /* a hard link leads elsewhere */
	"snapshot-dir #/A %/",
	"rollback / #/",
	"delete #/",
	"write #/A/bar 1000 70000 noise",
	"unlink #/A/foo",
	"write #/bar 1000 70000 noise",
	"sync",
	"remount",
};
const unsigned vocabulary_count = sizeof(vocabulary) / sizeof(vocabulary[0]);

/* ---- random operations ---- */

static uint64_t below(struct generator *g, uint64_t n)
{
	return random_below(&g->random, n);
}

static bool one_in(struct generator *g, uint64_t n)
{
	return below(g, n) == 0;
}

/* Small numbers more often than large ones. */
static uint64_t skewed(struct generator *g, uint64_t max)
{
	uint64_t n = max;

	for (unsigned halves = (unsigned)below(g, 14); halves > 0 && n > 1; halves--)
		n /= 2;
	return 1 + below(g, n);
}

void generator_init(struct generator *g, uint64_t seed, uint64_t bytes_max)
{
	*g = (struct generator){
		.random = {.state = seed},
		.bytes_max = bytes_max ? bytes_max : GREEDY_BYTES_MAX,
		.greedy = bytes_max == 0,
	};
	g->names = 4 + (unsigned)skewed(g, 60);
	g->write_max = g->greedy || one_in(g, 4) ? MIB : BLOCK * 3;
	if (g->write_max > g->bytes_max / 4)
		g->write_max = g->bytes_max / 4;
	g->sync_every = 3 + (unsigned)below(g, 20);
}

static void any_dir(struct generator *g, const struct model_paths *p, char path[OP_PATH_MAX])
{
	strcpy(path, p->dirs[below(g, p->dir_count)]);
}

static void any_object(struct generator *g, const struct model_paths *p, char path[OP_PATH_MAX])
{
	if (one_in(g, 20))
		strcpy(path, OP_HELD);
	else if (p->other_count > 0)
		strcpy(path, p->others[below(g, p->other_count)]);
	else
		any_dir(g, p, path);
}

static void anything(struct generator *g, const struct model_paths *p, char path[OP_PATH_MAX])
{
	if (one_in(g, 4))
		any_dir(g, p, path);
	else
		any_object(g, p, path);
}

static unsigned depth_of(const char *path)
{
	unsigned depth = 0;

	for (; *path; path++)
		depth += *path == '/';
	return depth;
}

/* A name in a directory, mostly one that does not exist. */
static void any_name(struct generator *g, const struct model_paths *p, char path[OP_PATH_MAX])
{
	char dir[OP_PATH_MAX];
	const char *letter = one_in(g, 12) ? "L" : one_in(g, 30) ? "X" : "f";
	char name[16];

	do
		any_dir(g, p, dir);
	while (depth_of(dir) >= DEPTH_MAX);
	snprintf(name, sizeof(name), "%s%s%u", dir[strlen(dir) - 1] == '/' ? "" : "/", letter,
		 (unsigned)below(g, g->names) % 1000);
	/* Directories of so few levels have short paths. */
	assert(strlen(dir) + strlen(name) < OP_PATH_MAX);
	strcpy(path, dir);
	strcat(path, name);
}

static uint64_t any_offset(struct generator *g, uint64_t size)
{
	switch (below(g, 8)) {
	case 0:
		return size;
	case 1:
		return below(g, 4 * MIB);
	case 2:
		return size / BLOCK * BLOCK;
	case 3:
		return below(g, 600);
	case 4:
		return one_in(g, 10) ? below(g, UINT64_C(1) << 40) : size + skewed(g, BLOCK);
	default:
		return size > 0 ? below(g, size) : 0;
	}
}

static void choose_contents(struct generator *g, struct model *m, const struct model_paths *p,
			    struct op *op)
{
	static const uint8_t kinds[] = {OP_WRITE,  OP_WRITE,    OP_WRITE,  OP_APPEND,
					OP_APPEND, OP_TRUNCATE, OP_PUNCH,  OP_ZERO,
					OP_COPY,   OP_ALLOCATE, OP_RESERVE};
	uint64_t size = 0;

	op->kind = kinds[below(g, sizeof(kinds))];
	if (model_bytes(m) > g->bytes_max)
		op->kind = one_in(g, 2) ? OP_TRUNCATE : OP_PUNCH;
	any_object(g, p, op->path);
	model_file_size(m, op->path, &size);
	op->data = (uint8_t)below(g, DATA_KINDS);
	op->n[0] = any_offset(g, size);
	op->n[1] = g->greedy && one_in(g, 2) ? g->write_max : skewed(g, g->write_max);
	if (g->greedy && one_in(g, 2))
		op->data = DATA_NOISE;
	if (one_in(g, 4)) {
		op->n[0] = op->n[0] / BLOCK * BLOCK;
		op->n[1] = (op->n[1] + BLOCK - 1) / BLOCK * BLOCK;
		op->n[1] = op->n[1] > g->write_max ? g->write_max : op->n[1];
	}
	/* Where equal blocks begin in the same place of a block they are found again. */
	if (op->data == DATA_SAME && !one_in(g, 3)) {
		op->n[0] = op->n[0] / BLOCK % 16 * BLOCK;
		op->n[1] = BLOCK * (1 + below(g, 3));
		op->n[1] = op->n[1] > g->write_max ? g->write_max : op->n[1];
	}
	if (op->kind == OP_APPEND)
		op->n[0] = op->n[1];
	if (op->kind == OP_TRUNCATE && (model_bytes(m) > g->bytes_max || one_in(g, 2)))
		op->n[0] = size > 0 ? below(g, size) : 0;
	if (op->kind == OP_COPY) {
		any_object(g, p, op->path2);
		op->n[0] = size > 0 ? below(g, size) : 0;
		op->n[2] = op->n[1];
		op->n[1] = any_offset(g, size);
		/* Ranges that overlap behind the source's end only are nobody's promise. */
		if (strcmp(op->path, op->path2) == 0 || strcmp(op->path, OP_HELD) == 0 ||
		    strcmp(op->path2, OP_HELD) == 0)
			op->n[1] = size + BLOCK;
	}
}

static void choose_names(struct generator *g, struct model *m, const struct model_paths *p,
			 struct op *op)
{
	static const uint8_t kinds[] = {OP_CREATE, OP_CREATE, OP_CREATE,  OP_MKDIR,
					OP_LINK,   OP_RENAME, OP_RENAME,  OP_EXCHANGE,
					OP_UNLINK, OP_RMDIR,  OP_SYMLINK, OP_FIFO};
	bool full = p->other_count > 4 * (size_t)g->names || model_bytes(m) > g->bytes_max;

	op->kind = full && one_in(g, 2) ? OP_UNLINK : kinds[below(g, sizeof(kinds))];
	switch (op->kind) {
	case OP_UNLINK:
		any_object(g, p, op->path);
		break;
	case OP_RMDIR:
		any_dir(g, p, op->path);
		break;
	case OP_LINK:
		any_object(g, p, op->path);
		any_name(g, p, op->path2);
		break;
	case OP_RENAME:
	case OP_EXCHANGE:
		anything(g, p, op->path);
		if (op->kind == OP_EXCHANGE || one_in(g, 3))
			anything(g, p, op->path2);
		else
			any_name(g, p, op->path2);
		break;
	default:
		any_name(g, p, op->path);
		op->n[0] = 1 + skewed(g, one_in(g, 4) ? 4000 : 600);
		break;
	}
}

static void choose_attributes(struct generator *g, const struct model_paths *p, struct op *op)
{
	static const uint8_t kinds[] = {OP_CHMOD, OP_CHOWN, OP_TIMES, OP_FLAGS, OP_METHODS};
	static const uint8_t comp[] = {0, 1, 2, 3, 0x63, 0x93};

	op->kind = kinds[below(g, sizeof(kinds))];
	anything(g, p, op->path);
	op->n[0] = below(g, 07777);
	op->n[1] = below(g, 1000);
	if (op->kind == OP_FLAGS)
		op->n[0] = below(g, 2);
	if (op->kind == OP_METHODS) {
		op->n[0] = comp[below(g, sizeof(comp))];
		op->n[1] = below(g, 5);
	}
}

static void choose_pfs(struct generator *g, struct model *m, const struct model_paths *p,
		       struct op *op)
{
	static const uint8_t kinds[] = {OP_SNAPSHOT,     OP_SNAPSHOT, OP_SNAPSHOT_DIR,
					OP_SNAPSHOT_DIR, OP_DELETE,   OP_DELETE,
					OP_ROLLBACK};
	unsigned pfs;

	op->kind = kinds[below(g, sizeof(kinds))];
	do
		pfs = (unsigned)below(g, OP_PFS_MAX);
	while (op->kind != OP_DELETE && !model_has_pfs(m, pfs));
	if (op->kind == OP_DELETE)
		pfs = OP_PFS_SNAPSHOT + pfs % 2;
	snprintf(op->path, sizeof(op->path), "%s/", op_pfs_prefixes[pfs]);
	if (op->kind == OP_SNAPSHOT_DIR && one_in(g, 12))
		any_object(g, p, op->path);
	else if (op->kind == OP_SNAPSHOT_DIR)
		any_dir(g, p, op->path);
	if (op->kind == OP_SNAPSHOT || op->kind == OP_SNAPSHOT_DIR)
		snprintf(op->path2, sizeof(op->path2), "%s/",
			 op_pfs_prefixes[OP_PFS_SNAPSHOT + below(g, 2)]);
	else if (op->kind == OP_ROLLBACK)
		snprintf(op->path2, sizeof(op->path2), "%s/",
			 op_pfs_prefixes[below(g, OP_PFS_MAX)]);
}

void generate(struct generator *g, struct model *m, struct op *op)
{
	struct model_paths paths;

	*op = (struct op){0};
	model_paths(m, &paths);
	if (one_in(g, g->sync_every)) {
		op->kind = one_in(g, 6) ? OP_REMOUNT : OP_SYNC;
	} else if (one_in(g, 15)) {
		op->kind = one_in(g, 3) ? OP_RELEASE : OP_HOLD;
		any_object(g, &paths, op->path);
	} else if (one_in(g, 25)) {
		choose_pfs(g, m, &paths, op);
	} else if (paths.other_count < 3) {
		op->kind = OP_CREATE;
		any_name(g, &paths, op->path);
	} else {
		switch (below(g, 9)) {
		case 0:
			choose_attributes(g, &paths, op);
			break;
		case 1:
		case 2:
		case 3:
			choose_names(g, m, &paths, op);
			break;
		default:
			choose_contents(g, m, &paths, op);
			break;
		}
	}
	model_paths_fini(&paths);
}
