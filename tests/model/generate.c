/* Choosing operations; see generate.h. */
#include "generate.h"

#include <string.h>

#include "backend.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define HELD_MAX 48u
#define BLOCK H2_LOGICAL_BLOCK

static const unsigned usual_weights[OP_KINDS] = {
	[OP_CREATE] = 14,  [OP_CREATE_UNNAMED] = 1, [OP_LINK] = 4,    [OP_UNLINK] = 9,
	[OP_RMDIR] = 3,    [OP_RENAME] = 9,         [OP_SET] = 14,    [OP_WRITE] = 28,
	[OP_ALLOCATE] = 5, [OP_COPY] = 3,           [OP_READ] = 10,   [OP_SEEK] = 2,
	[OP_LOOKUP] = 6,   [OP_READDIR] = 1,        [OP_SCAN] = 3,    [OP_READLINK] = 1,
	[OP_STAT] = 4,     [OP_HOLD] = 2,           [OP_RELEASE] = 2, [OP_SYNC] = 1,
};

static uint64_t below(struct generator *g, uint64_t n)
{
	return random_below(&g->random, n);
}

static bool one_in(struct generator *g, uint64_t n)
{
	return random_one_in(&g->random, n);
}

static void new_phase(struct generator *g)
{
	static const uint32_t name_counts[] = {16, 60, 250, 1000, NAMES_MAX};
	static const unsigned factors[] = {0, 1, 2, 2, 2, 2, 4, 20};

	g->phase_left = 20 + random_skewed(&g->random, 8000);
	g->names = name_counts[below(g, 5)];
	g->write_max = KIB << random_skewed(&g->random, 11);
	g->spread = one_in(g, 4) ? 20 + (unsigned)below(g, g->can & CAN_HUGE ? 43 : 20) : 0;
	for (unsigned i = 0; i < OP_KINDS; i++)
		g->weights[i] = usual_weights[i] * factors[below(g, 8)];
	if (g->weights[OP_READDIR] > 2) /* they take long where directories are large */
		g->weights[OP_READDIR] = 2;
	g->weights[OP_STAT]++; /* never nothing at all */
	g->weight_sum = 0;
	for (unsigned i = 0; i < OP_KINDS; i++)
		g->weight_sum += g->weights[i];
}

void generator_init(struct generator *g, uint64_t seed, unsigned can, bool alone)
{
	*g = (struct generator){
		.random = {seed},
		.can = can,
		.alone = alone,
		.inodes_max = 4000,
		.chunks_max = 4096,
	};
	new_phase(g);
}

/* ---- choosing objects ---- */

static struct model_inode *any(struct generator *g, const struct model *m, enum model_list list)
{
	if (m->counts[list] == 0)
		return m->root;
	return m->lists[list][below(g, m->counts[list])];
}

/* A directory; now and then something else where the operation just fails then. */
static uint64_t any_dir(struct generator *g, const struct model *m)
{
	struct model_inode *dir;

	if (one_in(g, 200))
		return any(g, m, MODEL_ALL)->id;
	if (one_in(g, 6))
		return m->root->id;
	/* The most filled of a few, so that some become large. */
	dir = any(g, m, MODEL_DIRS);
	for (unsigned i = 0; i < 2; i++) {
		struct model_inode *other = any(g, m, MODEL_DIRS);

		if (other->entry_count > dir->entry_count)
			dir = other;
	}
	return dir->id;
}

static uint64_t any_file(struct generator *g, const struct model *m)
{
	if (one_in(g, 100) && g->can & CAN_ANY_TYPE)
		return any(g, m, MODEL_ALL)->id;
	if (one_in(g, 100))
		return any(g, m, MODEL_DIRS)->id;
	if (one_in(g, 3)) {
		struct model_inode *last = model_find(m, g->favourite);

		if (last && last->type == H2_OBJECT_FILE)
			return last->id;
	}
	if (one_in(g, 10)) {
		struct model_inode *held = any(g, m, MODEL_HELD);

		if (held->type == H2_OBJECT_FILE)
			return held->id;
	}
	return any(g, m, MODEL_FILES)->id;
}

static uint64_t anything(struct generator *g, const struct model *m)
{
	switch (below(g, 4)) {
	case 0:
		return any(g, m, MODEL_DIRS)->id;
	case 1:
		return any(g, m, MODEL_HELD)->id;
	case 2:
		return any_file(g, m);
	default:
		return any(g, m, MODEL_ALL)->id;
	}
}

static uint32_t any_name(struct generator *g)
{
	if (one_in(g, 200))
		return one_in(g, 2) ? NAME_TOO_LONG : NAME_FAR_TOO_LONG;
	if (one_in(g, 300) && g->can & CAN_BAD_NAMES)
		return NAME_EMPTY + (uint32_t)below(g, 5);
	if (one_in(g, 12)) /* one of the names of equal hash */
		return (uint32_t)(below(g, NAMES_MAX / 20) * 20 + 5);
	return (uint32_t)below(g, g->names);
}

/* A name that exists, of a directory or not, or of either (-1); NULL where none was found. */
static const struct model_entry *any_entry(struct generator *g, const struct model *m,
					   int directory)
{
	for (unsigned tries = 0; tries < 8; tries++) {
		const struct model_entry *ent = NULL;

		if (one_in(g, 2)) {
			const struct model_inode *dir = model_find(m, any_dir(g, m));

			if (dir->entry_count > 0)
				ent = dir->entries[below(g, dir->entry_count)];
		} else {
			enum model_list list = directory == 1 ? MODEL_DIRS : MODEL_ALL;
			const struct model_inode *inode = any(g, m, list);

			if (inode->link_count > 0)
				ent = inode->links[below(g, inode->link_count)];
		}
		if (ent &&
		    (directory < 0 || (ent->inode->type == H2_OBJECT_DIRECTORY) == directory))
			return ent;
	}
	return NULL;
}

/* Choose a directory and a name in it: one that exists where there is one. */
static void choose_entry(struct generator *g, const struct model *m, int directory, uint64_t *dir,
			 uint32_t *name)
{
	const struct model_entry *ent = one_in(g, 30) ? NULL : any_entry(g, m, directory);

	*dir = ent ? ent->dir->id : any_dir(g, m);
	*name = ent ? ent->tag : any_name(g);
}

/* ---- places in files ---- */

static uint64_t any_size(struct generator *g, uint64_t now)
{
	static const uint64_t edges[] = {0,         1,         511,       512,       513,
					 1023,      1024,      1025,      4095,      4096,
					 BLOCK - 1, BLOCK,     BLOCK + 1, 2 * BLOCK, 4 * BLOCK - 1,
					 4 * BLOCK, 8 * BLOCK, 16 * BLOCK};

	if (one_in(g, 150) && g->can & CAN_HUGE) {
		static const uint64_t huge[] = {UINT64_C(1) << 32, UINT64_C(1) << 40,
						UINT64_C(1) << 62, MODEL_SIZE_MAX - 1,
						MODEL_SIZE_MAX};

		return huge[below(g, 5)];
	}
	switch (below(g, 8)) {
	case 0:
	case 1:
		return edges[below(g, sizeof(edges) / sizeof(edges[0]))];
	case 2:
		return below(g, 4 * MIB);
	case 3:
		return now + random_skewed(&g->random, 200 * KIB);
	case 4:
		return now > 0 ? below(g, now) / BLOCK * BLOCK : 0;
	default:
		return now > 0 ? below(g, now) : 0;
	}
}

static uint64_t any_offset(struct generator *g, uint64_t size)
{
	uint64_t at = one_in(g, 3) ? size : any_size(g, size);

	if (at > 8 * MIB && at > size) /* so large only by the special cases above */
		at = size;
	return at;
}

static uint64_t any_length(struct generator *g)
{
	if (g->write_max >= MIB / 2 && one_in(g, 100)) /* more than the library does in one go */
		return MIB + below(g, 2 * MIB);
	switch (below(g, 8)) {
	case 0:
	case 1:
		return 1 + below(g, 512);
	case 2:
		return BLOCK < g->write_max ? BLOCK * (1 + below(g, g->write_max / BLOCK)) : BLOCK;
	case 3:
		return one_in(g, 10) ? 0 : 1 + below(g, 4096);
	default:
		return 1 + random_skewed(&g->random, g->write_max);
	}
}

static uint64_t size_of(const struct model *m, uint64_t id)
{
	const struct model_inode *inode = model_find(m, id);

	return inode ? inode->size : 0;
}

/* ---- the operations ---- */

static int any_comp(struct generator *g)
{
	static const int algos[] = {0, 1, 2, 3, 0x63, 0x93, 0x73, 2};

	return algos[below(g, 8)];
}

static int any_check(struct generator *g)
{
	static const int algos[] = {0, 1, 2, 3, 4, 3, 3, 4};

	return algos[below(g, 8)];
}

static uint8_t any_type(struct generator *g, const struct model *m)
{
	static const uint8_t specials[] = {H2_OBJECT_FIFO, H2_OBJECT_CHAR_DEVICE,
					   H2_OBJECT_BLOCK_DEVICE, H2_OBJECT_SOCKET};
	static const uint8_t wrong[] = {H2_OBJECT_UNKNOWN, 3, 8, H2_OBJECT_WHITEOUT, 11, 255};
	uint64_t draw = below(g, 100);

	if (one_in(g, 300) && g->can & CAN_BAD_NAMES)
		return wrong[below(g, 6)];
	if (draw < 18 && m->counts[MODEL_DIRS] * 8 < g->inodes_max)
		return H2_OBJECT_DIRECTORY;
	if (draw < 30)
		return H2_OBJECT_SYMLINK;
	if (draw < 36)
		return specials[below(g, 4)];
	return H2_OBJECT_FILE;
}

static uint64_t any_target_len(struct generator *g)
{
	static const uint64_t lengths[] = {1, 60, 511, 512, 513, 1024, 1025, 4094, 4095};

	if (one_in(g, 60) && g->can & CAN_BAD_NAMES)
		return one_in(g, 2) ? 0 : 4096;
	if (one_in(g, 3))
		return lengths[below(g, 9)];
	return 1 + random_skewed(&g->random, 4095);
}

static void new_object(struct generator *g, const struct model *m, struct op *op)
{
	op->dir = any_dir(g, m);
	op->name = any_name(g);
	op->type = op->kind == OP_CREATE ? any_type(g, m) : H2_OBJECT_FILE;
	op->set.mode = (uint32_t)below(g, 010000);
	op->set.uid = one_in(g, 2) ? 0 : (uint32_t)below(g, UINT32_MAX);
	op->set.gid = one_in(g, 2) ? 0 : (uint32_t)below(g, UINT32_MAX);
	op->comp_algo = one_in(g, 8) ? any_comp(g) : -1;
	op->check_algo = one_in(g, 8) ? any_check(g) : -1;
	op->rmajor = (uint32_t)below(g, 1 << 12);
	op->rminor = (uint32_t)below(g, 1 << 20);
	op->len = op->type == H2_OBJECT_SYMLINK ? any_target_len(g) : 0;
	if (op->type == H2_OBJECT_SYMLINK)
		op->set.mode = 0777;
	if (!(g->can & CAN_OWNER)) {
		op->set.uid = op->set.gid = 0;
		if (op->type == H2_OBJECT_DIRECTORY)
			op->set.mode &= 01777;
	}
	if (!(g->can & CAN_ALGORITHMS))
		op->comp_algo = op->check_algo = -1;
}

static void choose_rename(struct generator *g, const struct model *m, struct op *op)
{
	static const unsigned flags[] = {0,
					 0,
					 0,
					 0,
					 0,
					 0,
					 0,
					 0,
					 MODEL_EXCHANGE,
					 MODEL_EXCHANGE,
					 MODEL_NOREPLACE,
					 MODEL_NOREPLACE};
	const struct model_inode *dir;

	op->flags = one_in(g, 100) ? (one_in(g, 2) ? 3 : 8) : flags[below(g, 12)];
	choose_entry(g, m, one_in(g, 4) ? 1 : -1, &op->dir, &op->name);
	if (one_in(g, 2) || op->flags & MODEL_EXCHANGE)
		choose_entry(g, m, one_in(g, 3) ? 1 : -1, &op->dir2, &op->name2);
	else {
		op->dir2 = one_in(g, 2) ? op->dir : any_dir(g, m);
		op->name2 = any_name(g);
	}
	dir = model_find(m, op->dir);
	if (one_in(g, 20) && dir->entry_count > 0) {
		/* A directory into itself, and the like: the other side is below this one. */
		const struct model_entry *ent = dir->entries[below(g, dir->entry_count)];

		while (ent->inode->type == H2_OBJECT_DIRECTORY && one_in(g, 2) == 0 &&
		       ent->inode->entry_count > 0)
			ent = ent->inode->entries[below(g, ent->inode->entry_count)];
		op->dir2 = ent->dir->id;
		if (ent->inode->type == H2_OBJECT_DIRECTORY && one_in(g, 2))
			op->dir2 = ent->inode->id;
		else
			op->name2 = ent->tag;
	}
	if (one_in(g, 8)) { /* the other way round */
		uint64_t id = op->dir;
		uint32_t name = op->name;

		op->dir = op->dir2;
		op->name = op->name2;
		op->dir2 = id;
		op->name2 = name;
	}
}

/* Mostly an empty directory: there are few. */
static void choose_rmdir(struct generator *g, const struct model *m, struct op *op)
{
	for (unsigned tries = 0; tries < 20 && !one_in(g, 10); tries++) {
		const struct model_inode *dir = any(g, m, MODEL_DIRS);

		if (dir->entry_count == 0 && dir->link_count > 0) {
			op->dir = dir->links[0]->dir->id;
			op->name = dir->links[0]->tag;
			return;
		}
	}
	choose_entry(g, m, !one_in(g, 10), &op->dir, &op->name);
}

static uint64_t any_time(struct generator *g)
{
	return 1 + below(g, UINT64_C(1) << (20 + below(g, 33)));
}

static void choose_uflags(struct generator *g, const struct model *m, struct op *op)
{
	static const uint32_t forbidding[] = {0x2, 0x4, 0x10, 0x20000, 0x40000, 0x100000, 0x6, 0x2};
	const struct model_inode *inode = model_find(m, op->object);
	uint32_t allowed = 2 | 4;

	op->set.valid = MODEL_SET_UFLAGS;
	op->set.uflags = 0;
	if (!(g->can & CAN_UFLAGS) && inode->type != H2_OBJECT_DIRECTORY &&
	    inode->type != H2_OBJECT_FILE)
		op->set.valid = MODEL_SET_UID;
	if (one_in(g, 4))
		return;
	if (g->can & CAN_UFLAGS) {
		op->set.uflags = (uint32_t)random_next(&g->random) &
				 ~(MODEL_IMMUTABLE | MODEL_APPEND | MODEL_NO_UNLINK);
		allowed = MODEL_IMMUTABLE | MODEL_APPEND | MODEL_NO_UNLINK;
	}
	if (one_in(g, 2))
		op->set.uflags |= forbidding[below(g, 8)] & allowed;
}

static void choose_set(struct generator *g, const struct model *m, struct op *op)
{
	struct model_set *s = &op->set;
	const struct model_inode *inode;

	if (one_in(g, 3) && m->counts[MODEL_FLAGGED] > 0) { /* they are in everybody's way */
		op->object = any(g, m, MODEL_FLAGGED)->id;
		s->valid = MODEL_SET_UFLAGS;
		return;
	}
	op->object = one_in(g, 2) ? any_file(g, m) : anything(g, m);
	inode = model_find(m, op->object);
	s->mode = (uint32_t)below(g, 010000);
	s->uid = (uint32_t)below(g, UINT32_MAX);
	s->gid = (uint32_t)below(g, UINT32_MAX);
	s->size = any_size(g, inode->size);
	if (one_in(g, 500) && g->can & CAN_HUGE)
		s->size = UINT64_C(1) << 63;
	s->atime = any_time(g);
	s->mtime = any_time(g);
	s->ctime = any_time(g);
	s->btime = any_time(g);
	s->comp_algo = one_in(g, 50) ? 4 : (uint8_t)any_comp(g);
	s->check_algo = one_in(g, 50) ? 15 : (uint8_t)any_check(g);
	switch (below(g, 16)) {
	case 0:
	case 1:
		s->valid = MODEL_SET_MODE;
		break;
	case 2:
		s->valid = MODEL_SET_UID | MODEL_SET_GID;
		break;
	case 3:
		s->valid = one_in(g, 2) ? MODEL_SET_UID : MODEL_SET_GID;
		break;
	case 4:
		s->valid = MODEL_SET_ATIME | MODEL_SET_MTIME;
		break;
	case 5:
		s->valid = (unsigned)below(g, 128) & ~MODEL_SET_UID & ~MODEL_SET_GID;
		break;
	case 6:
		s->valid = MODEL_SET_CTIME | MODEL_SET_MTIME | (one_in(g, 3) ? MODEL_SET_BTIME : 0);
		break;
	case 7:
		s->valid = MODEL_SET_COMP | (one_in(g, 2) ? MODEL_SET_CHECK : 0);
		break;
	case 8:
		s->valid = MODEL_SET_CHECK;
		break;
	case 9:
		choose_uflags(g, m, op);
		break;
	default:
		s->valid = MODEL_SET_SIZE;
		break;
	}
	if (!(g->can & CAN_ALL_TIMES))
		s->valid &= ~(MODEL_SET_CTIME | MODEL_SET_BTIME);
	if (!(g->can & CAN_ALGORITHMS))
		s->valid &= ~(MODEL_SET_COMP | MODEL_SET_CHECK);
	if (inode->type == H2_OBJECT_SYMLINK && !(g->can & CAN_OWNER))
		s->valid &= ~MODEL_SET_MODE;
	if (s->valid == 0)
		s->valid = MODEL_SET_GID;
}

static void choose_allocate(struct generator *g, const struct model *m, struct op *op)
{
	static const unsigned modes[] = {0, 1, 3, 3, 3, 0x10, 0x10, 0x11};
	uint64_t size;

	op->object = any_file(g, m);
	size = size_of(m, op->object);
	op->flags = modes[below(g, 8)];
	op->offset = any_offset(g, size);
	op->len = any_length(g);
	if (one_in(g, 3))
		op->offset = op->offset / BLOCK * BLOCK;
	if (op->flags & (MODEL_PUNCH_HOLE | MODEL_ZERO_RANGE) && one_in(g, 4))
		op->len = 1 + below(g, 2 * MIB);
	if (one_in(g, 200) && g->can & CAN_HUGE && op->flags & MODEL_PUNCH_HOLE)
		op->len = MODEL_SIZE_MAX - op->offset + below(g, 2);
	if (one_in(g, 100))
		op->flags = MODEL_PUNCH_HOLE | (one_in(g, 2) ? 0 : MODEL_ZERO_RANGE);
	if (one_in(g, 200) && g->can & CAN_BAD_NAMES)
		op->flags = 8u << below(g, 4);
	if (op->flags == 0x10 && g->can & CAN_BAD_NAMES && one_in(g, 300))
		op->flags |= MODEL_PUNCH_HOLE | MODEL_KEEP_SIZE;
}

static void choose_copy(struct generator *g, const struct model *m, struct op *op)
{
	uint64_t from_size;

	op->object = any_file(g, m);
	op->dir = one_in(g, 3) ? op->object : any_file(g, m);
	from_size = size_of(m, op->object);
	op->offset = any_offset(g, from_size);
	if (op->offset == from_size && from_size > 0 && !one_in(g, 10))
		op->offset = below(g, from_size);
	op->offset2 = any_offset(g, size_of(m, op->dir));
	op->len = any_length(g);
	if (one_in(g, 3)) {
		op->offset = op->offset / BLOCK * BLOCK;
		op->offset2 = op->offset2 / BLOCK * BLOCK;
		if (one_in(g, 2))
			op->len = (op->len + BLOCK - 1) / BLOCK * BLOCK;
	}
	if (op->object == op->dir && op->offset < from_size && op->len > from_size - op->offset &&
	    one_in(g, 2))
		op->len = from_size - op->offset;
	/* Whether ranges overlap that do so behind the source's end only, nobody says. */
	if (op->object == op->dir && op->offset < op->offset2 + op->len &&
	    op->offset2 < op->offset + op->len) {
		uint64_t count = op->offset < from_size ? from_size - op->offset : 0;

		if (count > op->len)
			count = op->len;
		if (count == 0 || op->offset >= op->offset2 + count ||
		    op->offset2 >= op->offset + count)
			op->offset2 = op->offset + op->len;
	}
}

static void choose_write(struct generator *g, const struct model *m, struct op *op)
{
	op->object = any_file(g, m);
	op->offset = any_offset(g, size_of(m, op->object));
	op->len = any_length(g);
	op->data = (uint8_t)below(g, DATA_KINDS);
	if (one_in(g, 5))
		op->flags |= OP_WRITE_APPEND;
	if (one_in(g, 20) && g->can & CAN_ALL_TIMES)
		op->flags |= OP_WRITE_KEEP_TIMES;
	if (g->spread && one_in(g, 2)) { /* a tree with few blocks below each node */
		op->offset = below(g, UINT64_C(1) << g->spread);
		op->len = 1 + random_skewed(&g->random, 1000);
	}
	if (one_in(g, 400) && g->can & CAN_HUGE) {
		op->offset = UINT64_C(1) << (30 + below(g, 34));
		op->offset -= below(g, 2 * BLOCK);
		if (one_in(g, 3))
			op->offset = MODEL_SIZE_MAX - below(g, 2 * BLOCK);
	}
}

static void choose_read(struct generator *g, const struct model *m, struct op *op)
{
	op->object = any_file(g, m);
	op->offset = any_size(g, size_of(m, op->object));
	op->len = any_length(g);
}

/* ---- choosing a kind ---- */

static enum op_kind any_kind(struct generator *g)
{
	uint64_t draw = below(g, g->weight_sum);
	unsigned kind = 0;

	while (draw >= g->weights[kind])
		draw -= g->weights[kind++];
	return (enum op_kind)kind;
}

static enum op_kind end_of_phase(struct generator *g)
{
	uint64_t draw = below(g, 20);

	if (!g->alone)
		return draw < 14 ? OP_SYNC : OP_VERIFY;
	if (draw < 9)
		return OP_REMOUNT;
	if (draw < 12)
		return OP_SNAPSHOT;
	if (draw < 14)
		return OP_CRASH;
	return draw < 17 ? OP_VERIFY : OP_SYNC;
}

/* A kind that the limits of the model allow. */
static enum op_kind next_kind(struct generator *g, const struct model *m, bool *shrink)
{
	enum op_kind kind;

	*shrink = false;
	if (g->phase_left-- == 0) {
		new_phase(g);
		return end_of_phase(g);
	}
	if (m->counts[MODEL_HELD] > HELD_MAX && one_in(g, 4))
		return OP_RELEASE;
	kind = any_kind(g);
	if (m->counts[MODEL_ALL] > g->inodes_max &&
	    (kind == OP_CREATE || kind == OP_CREATE_UNNAMED || kind == OP_LINK))
		return one_in(g, 8) ? OP_RMDIR : OP_UNLINK;
	if (m->chunk_count > g->chunks_max &&
	    (kind == OP_WRITE || kind == OP_COPY || kind == OP_CREATE)) {
		*shrink = true;
		return one_in(g, 2) ? OP_SET : OP_UNLINK;
	}
	return kind;
}

void generate(struct generator *g, const struct model *m, struct op *op)
{
	bool shrink;

	*op = (struct op){
		.number = ++g->number,
		.seed = random_next(&g->random),
		.kind = (uint8_t)next_kind(g, m, &shrink),
		.comp_algo = -1,
		.check_algo = -1,
	};
	op->hold = one_in(g, 20);
	op->want = one_in(g, 2);
	switch ((enum op_kind)op->kind) {
	case OP_CREATE_UNNAMED:
		op->want = true;
		new_object(g, m, op);
		break;
	case OP_CREATE:
		new_object(g, m, op);
		break;
	case OP_LINK:
		op->object = one_in(g, 4) ? anything(g, m) : any_file(g, m);
		op->dir = any_dir(g, m);
		op->name = any_name(g);
		break;
	case OP_UNLINK:
		choose_entry(g, m, one_in(g, 50), &op->dir, &op->name);
		break;
	case OP_RMDIR:
		choose_rmdir(g, m, op);
		break;
	case OP_RENAME:
		choose_rename(g, m, op);
		break;
	case OP_SET:
		if (shrink) {
			op->object = any(g, m, MODEL_FILES)->id;
			op->set.valid = MODEL_SET_SIZE;
			op->set.size = below(g, size_of(m, op->object) / 2 + 1);
			break;
		}
		choose_set(g, m, op);
		break;
	case OP_WRITE:
		choose_write(g, m, op);
		break;
	case OP_ALLOCATE:
		choose_allocate(g, m, op);
		break;
	case OP_COPY:
		choose_copy(g, m, op);
		break;
	case OP_READ:
		choose_read(g, m, op);
		break;
	case OP_SEEK:
		op->object = any(g, m, MODEL_FILES)->id;
		op->offset = one_in(g, 2) ? 0 : any_size(g, size_of(m, op->object));
		break;
	case OP_LOOKUP:
		op->dir = any_dir(g, m);
		op->name = any_name(g);
		if (one_in(g, 2))
			choose_entry(g, m, -1, &op->dir, &op->name);
		break;
	case OP_READDIR:
	case OP_SCAN:
		op->object = any_dir(g, m);
		break;
	case OP_READLINK:
		op->object = one_in(g, 10) ? anything(g, m) : any(g, m, MODEL_OTHERS)->id;
		break;
	case OP_STAT:
	case OP_HOLD:
		op->object = anything(g, m);
		break;
	case OP_RELEASE:
		op->object = any(g, m, MODEL_HELD)->id;
		break;
	default:
		break;
	}
	if (op->kind == OP_WRITE || op->kind == OP_ALLOCATE || op->kind == OP_SET ||
	    op->kind == OP_READ)
		g->favourite = op->object;
}
