/* See block_walk.h. */
#include "block_walk.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "check.h"

static const struct h2_where nowhere = {.pfs = NULL};

#define TASKS_MAX 64u     /* that wait for a thread; each may be a whole tree */
#define POLL_MS 100u      /* how often goes_on() is asked */
#define NICENESS 19       /* of the threads */

struct h2_walk_team {
	struct h2_pool *pool;
	const struct h2_block_walk *walk;
	_Atomic int err; /* the first one */
};

struct task {
	const struct h2_blockref *set; /* the header's; NULL: an indirect block that was met: */
	struct h2_blockref ref;
	enum h2_tree_kind kind;
	unsigned depth;
};

static int walk_refs(const struct h2_block_walk *walk, const struct h2d_blockref *refs,
		     unsigned count, enum h2_tree_kind kind, unsigned depth);

/* Leave what an indirect block leads to for another thread, if one may want it. */
static bool hand_over(const struct h2_block_walk *walk, const struct h2_met *met, unsigned depth)
{
	struct task task = {.ref = *met->ref, .kind = met->kind, .depth = depth};

	return walk->team && h2_pool_push(walk->team->pool, &task);
}

static int walk_indirect(const struct h2_block_walk *walk, const struct h2_met *met, unsigned depth)
{
	size_t size = h2_block_size(met->ref);
	struct h2d_blockref *block = malloc(size);
	int err = block ? h2_block_read(walk->blocks, &nowhere, met->ref, block) : -ENOMEM;

	if (!err)
		err = walk_refs(walk, block, (unsigned)(size / H2_BLOCKREF_SIZE), met->kind,
				depth + 1);
	free(block);
	return err;
}

static enum h2_inode_place place_in(enum h2_tree_kind kind, uint64_t key)
{
	switch (kind) {
	case H2_TREE_SUPER_ROOT_SET:
		return H2_PLACE_SUPER_ROOT;
	case H2_TREE_SUPER_ROOT:
		return H2_PLACE_PFS_ROOT;
	default:
		return key & H2_KEY_VISIBLE ? H2_PLACE_LEGACY : H2_PLACE_INDEX;
	}
}

static int walk_inode(const struct h2_block_walk *walk, const struct h2_met *met, unsigned depth)
{
	enum h2_inode_place place = place_in(met->kind, met->ref->key);
	enum h2_tree_kind below = H2_TREE_FILE;
	struct h2_inode_meta meta;
	struct h2d_inode d;
	int err = h2_inode_load(walk->blocks, &nowhere, met->ref, place, &d, &meta);

	if (!err && walk->inode)
		err = walk->inode(walk->user, met, &meta);
	if (err || meta.op_flags & H2_INODE_DIRECTDATA)
		return err < 0 ? err : 0;
	if (place == H2_PLACE_SUPER_ROOT)
		below = H2_TREE_SUPER_ROOT;
	else if (place == H2_PLACE_PFS_ROOT)
		below = H2_TREE_PFS_ROOT;
	else if (meta.type == H2_OBJECT_DIRECTORY)
		below = H2_TREE_DIRECTORY;
	return walk_refs(walk, d.u.blockset, H2_BLOCKSET_COUNT, below, depth + 1);
}

static int walk_ref(const struct h2_block_walk *walk, const struct h2d_blockref *d,
		    enum h2_tree_kind kind, unsigned depth)
{
	struct h2_blockref ref;
	struct h2_met met = {.kind = kind, .ref = &ref};
	int err;

	h2_blockref_decode(d, &ref);
	if (ref.type == H2_BLOCKREF_EMPTY || (walk->above_tid && ref.mirror_tid <= walk->above_tid))
		return 0;
	err = h2_block_check_ref(walk->blocks, &nowhere, &ref, kind);
	if (err || h2_blockref_radix(&ref) == 0)
		return err;
	if (depth > 3 * H2_DEPTH_MAX)
		return h2_block_report(walk->blocks, &nowhere, &ref, "tree-deep",
				       &(struct h2_problem){"depth", "a tree that ends", depth});
	met.data_off = ref.data_off;
	met.leads = ref.type == H2_BLOCKREF_INDIRECT || ref.type == H2_BLOCKREF_INODE;
	err = walk->block(walk->user, &met);
	if (err)
		return err < 0 ? err : 0;
	switch (ref.type) {
	case H2_BLOCKREF_INDIRECT:
		return hand_over(walk, &met, depth) ? 0 : walk_indirect(walk, &met, depth);
	case H2_BLOCKREF_INODE:
		return walk_inode(walk, &met, depth);
	default:
		return 0;
	}
}

static int walk_refs(const struct h2_block_walk *walk, const struct h2d_blockref *refs,
		     unsigned count, enum h2_tree_kind kind, unsigned depth)
{
	int err = 0;

	for (unsigned i = 0; i < count && !err; i++) {
		if (walk->team && atomic_load_explicit(&walk->team->err, memory_order_relaxed))
			break;
		err = walk_ref(walk, &refs[i], kind, depth);
	}
	return err;
}

static void team_failed(struct h2_walk_team *team, int err)
{
	int none = 0;

	atomic_compare_exchange_strong(&team->err, &none, err);
}

/* Whoever writes to the filesystem meanwhile is more important. */
static void yield_to_others(void)
{
	static _Thread_local bool done;

	if (!done)
		(void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICENESS);
	done = true;
}

static void run_task(void *context, void *arg)
{
	struct h2_walk_team *team = context;
	const struct task *task = arg;
	struct h2_met met = {
		.data_off = task->ref.data_off,
		.leads = true,
		.kind = task->kind,
		.ref = &task->ref,
	};
	int err;

	yield_to_others();
	if (atomic_load(&team->err))
		return;
	err = task->set ? h2_block_walk_set(team->walk, task->set)
			: walk_indirect(team->walk, &met, task->depth);
	if (err)
		team_failed(team, err);
}

int h2_block_walk_set_threaded(const struct h2_block_walk *walk,
			       const struct h2_blockref set[H2_BLOCKSET_COUNT],
			       bool (*goes_on)(void *user))
{
	struct h2_walk_team team = {.err = 0};
	struct h2_block_walk shared = *walk;
	struct task first = {.set = set};

	if (h2_pool_new(0, sizeof(struct task), TASKS_MAX, run_task, &team, &team.pool) != 0)
		return h2_block_walk_set(walk, set);
	shared.team = &team;
	team.walk = &shared;
	(void)h2_pool_push(team.pool, &first); /* there is room */
	while (!h2_pool_wait_for(team.pool, POLL_MS)) {
		if (!goes_on(walk->user))
			team_failed(&team, -EINTR);
	}
	h2_pool_free(team.pool);
	return atomic_load(&team.err);
}

int h2_block_walk_set(const struct h2_block_walk *walk,
		      const struct h2_blockref set[H2_BLOCKSET_COUNT])
{
	struct h2d_blockref refs[H2_BLOCKSET_COUNT];

	for (unsigned i = 0; i < H2_BLOCKSET_COUNT; i++)
		h2_blockref_encode(&set[i], &refs[i]);
	return walk_refs(walk, refs, H2_BLOCKSET_COUNT, H2_TREE_SUPER_ROOT_SET, 0);
}

/* A block on the media that a changed one in memory stands for. */
static int meet_old(const struct h2_block_walk *walk, uint64_t data_off, enum h2_tree_kind kind)
{
	return walk->block(walk->user, &(struct h2_met){.data_off = data_off, .kind = kind});
}

static int walk_array(const struct h2_block_walk *walk, const struct h2_array *array,
		      enum h2_tree_kind kind)
{
	int err = 0;

	for (unsigned i = 0; i < array->count && !err; i++) {
		unsigned slot = array->entries[i].slot;
		struct h2_branch *branch = array->children[slot];

		if (!branch) {
			err = walk_ref(walk, &array->refs[slot], kind, 0);
			continue;
		}
		if (branch->old_data_off)
			err = meet_old(walk, branch->old_data_off, kind);
		if (!err)
			err = walk_array(walk, &branch->node->array, kind);
	}
	return err;
}

int h2_block_walk_inode(const struct h2_block_walk *walk, struct h2_inode *inode)
{
	enum h2_tree_kind kind = h2_inode_tree_kind(inode);
	int err = 0;

	if (h2_blockref_radix(&inode->ref) != 0)
		err = meet_old(walk, inode->ref.data_off, kind);
	if (err || h2_inode_is_inline(inode))
		return err;
	return walk_array(walk, &inode->u.root.array, kind);
}
