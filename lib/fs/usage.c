/*
 * Measuring who uses which storage: one walk over all trees as of a commit, PFS by PFS, into a map
 * of owners (owner_map.h).
 */
#include <hammer2/usage.h>

#include <stdlib.h>
#include <string.h>

#include "block_walk.h"
#include "held.h"
#include "owner_map.h"

struct measure {
	struct h2_held held;
	struct h2_owner_map *map;
	struct h2_usage *usage;
	size_t room; /* of usage->pfss */
	uint32_t owner;
	uint64_t file_size; /* of the inode that was read last */
};

/* A PFS's root was met: from here on blocks are its own. The owner's number is that of its row + 1. */
static int begin_pfs(struct measure *m, const struct h2_blockref *ref)
{
	struct h2_usage *usage = m->usage;

	if (usage->pfs_count == m->room) {
		size_t room = m->room ? 2 * m->room : 16;
		struct h2_pfs_space *pfss = reallocarray(usage->pfss, room, sizeof(*pfss));

		if (!pfss)
			return -ENOMEM;
		usage->pfss = pfss;
		m->room = room;
	}
	usage->pfss[usage->pfs_count++] = (struct h2_pfs_space){
		.key = ref->key,
		.referenced_bytes = ref->data_count,
		.inodes = ref->inode_count,
	};
	return h2_owner_map_add_owner(m->map, &m->owner);
}

/* What a block would take if it was not compressed (MF 8.3). */
static uint64_t logical_bytes(const struct measure *m, const struct h2_blockref *ref)
{
	uint64_t stored = h2_block_size(ref), used = m->file_size - ref->key, bytes = stored;

	if (h2_blockref_comp_algo(ref) == H2_COMP_NONE || ref->key >= m->file_size)
		return stored;
	while (bytes < used && bytes < H2_LOGICAL_BLOCK)
		bytes *= 2;
	return bytes;
}

static void count_data(struct measure *m, const struct h2_blockref *ref, enum h2_owner_met met)
{
	if (met != H2_MET_FIRST && met != H2_MET_AGAIN)
		return;
	m->usage->data_logical_bytes += logical_bytes(m, ref);
	m->usage->data_referenced_bytes += h2_block_size(ref);
	if (met == H2_MET_FIRST)
		m->usage->data_distinct_bytes += h2_block_size(ref);
}

static int meet_block(void *user, const struct h2_met *met)
{
	struct measure *m = user;
	bool above = met->kind == H2_TREE_SUPER_ROOT_SET || met->kind == H2_TREE_SUPER_ROOT;
	bool root = met->kind == H2_TREE_SUPER_ROOT && met->ref->type == H2_BLOCKREF_INODE;
	int err = 0, how;

	if (root)
		err = begin_pfs(m, met->ref);
	else if (above)
		m->owner = H2_OWNER_SUPER_ROOT;
	how = err ? err : h2_owner_map_add(m->map, m->owner, met->data_off, met->leads);
	if (how < 0)
		return how;
	err = h2_held_step(&m->held, how == H2_MET_FIRST ? h2_block_size(met->ref) : 0);
	if (err)
		return err;
	if (met->ref->type == H2_BLOCKREF_DATA)
		count_data(m, met->ref, (enum h2_owner_met)how);
	/* A root is always read: it has the label. */
	return !root && (how == H2_MET_AGAIN || how == H2_MET_SHARED);
}

static int meet_inode(void *user, const struct h2_met *met, const struct h2_inode_meta *meta)
{
	struct measure *m = user;
	struct h2_pfs_space *pfs;

	m->file_size = meta->size;
	if (met->kind != H2_TREE_SUPER_ROOT)
		return 0;
	pfs = &m->usage->pfss[m->usage->pfs_count - 1];
	memcpy(pfs->label, meta->filename, meta->name_len);
	pfs->pfs_type = meta->pfs_type;
	pfs->pfs_subtype = meta->pfs_subtype;
	return 0;
}

/* What the progress is told to be expected counts what is shared once, as the walk does. */
static void expect_allocated(struct measure *m)
{
	struct h2_fs_stats stats;
	uint64_t allocated;

	h2_fs_get_stats(m->held.fs, &stats);
	allocated = stats.total_bytes - stats.free_bytes;
	if (allocated < m->held.expected)
		m->held.expected = allocated;
}

static void add_up(struct measure *m)
{
	struct h2_usage *usage = m->usage;

	usage->shared_bytes = h2_owner_map_shared(m->map);
	usage->overhead_bytes = h2_owner_map_exclusive(m->map, H2_OWNER_SUPER_ROOT);
	usage->used_bytes = usage->shared_bytes + usage->overhead_bytes;
	for (size_t i = 0; i < usage->pfs_count; i++) {
		struct h2_pfs_space *pfs = &usage->pfss[i];

		pfs->exclusive_bytes = h2_owner_map_exclusive(m->map, (uint32_t)i + 1);
		usage->used_bytes += pfs->exclusive_bytes;
	}
}

static int walk(struct measure *m, struct h2_fs *fs)
{
	const struct h2_block_walk walk = {
		.blocks = &fs->blocks,
		.block = meet_block,
		.inode = meet_inode,
		.user = m,
	};

	/* After the commit was taken hold of: all that it leads to is within this size. */
	m->map = h2_owner_map_new(fs->blocks.total_size);
	m->usage = calloc(1, sizeof(*m->usage));
	if (!m->map || !m->usage)
		return -ENOMEM;
	expect_allocated(m);
	return h2_block_walk_set(&walk, m->held.header.sroot_blockset);
}

int h2_usage_measure(struct h2_fs *fs, const struct h2_pass_options *options,
		     struct h2_usage **usagep)
{
	struct measure m = {.owner = H2_OWNER_SUPER_ROOT};
	int err = h2_held_begin(&m.held, fs, options);

	if (err)
		return err;
	err = walk(&m, fs);
	h2_held_end(&m.held);
	if (err) {
		h2_usage_free(m.usage);
	} else {
		add_up(&m);
		*usagep = m.usage;
	}
	h2_owner_map_free(m.map);
	return err;
}

void h2_usage_free(struct h2_usage *usage)
{
	if (!usage)
		return;
	free(usage->pfss);
	free(usage);
}
