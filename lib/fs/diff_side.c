/* Reading either of two PFSs that are compared; see diff_impl.h. */
#include "diff_impl.h"

#include <stdlib.h>

int diff_side_init(struct diff *diff, unsigned side, const char *label)
{
	struct diff_side *s = &diff->sides[side];
	int err;

	s->where = (struct h2_where){.pfs = label};
	err = h2_held_find_pfs(&diff->held, label, &s->root_inode.ref, &s->root_inode.d,
			       &s->root_inode.meta);
	if (err)
		return err;
	s->root_inode.place = H2_PLACE_PFS_ROOT;
	h2_root_init(&s->root, s->root_inode.d.u.blockset);
	return 0;
}

void diff_side_fini(struct diff_side *side)
{
	for (size_t i = 0; i < side->legacy.room; i++)
		free(side->legacy.slots[i].value);
	h2_map_clear(&side->legacy);
	h2_map_clear(&side->names);
	diff_nodes_free(side);
}

int diff_step(struct diff *diff, uint64_t bytes)
{
	/*
	 * On hostile media any number of directories can share one tree. On sound ones each blockref
	 * takes room of its own, and is looked at a few times at most.
	 */
	if (++diff->steps > diff->steps_max)
		return h2_block_report(diff->blocks, &diff->sides[TO].where,
				       &diff->sides[TO].root_inode.ref, "tree-loop",
				       &(struct h2_problem){
					       .member = "blockrefs",
					       .expected = "not more than there is room for",
					       .found = diff->steps,
				       });
	return h2_held_step(&diff->held, bytes);
}

struct h2_where diff_where(const struct diff *diff, unsigned side, uint64_t inum)
{
	struct h2_where where = diff->sides[side].where;

	where.inum = inum;
	where.has_inum = true;
	return where;
}

static int load_inode(struct diff *diff, unsigned side, const struct h2_blockref *ref,
		    enum h2_inode_place place, struct diff_inode *inode)
{
	struct h2_where where = diff_where(diff, side, ref->key);
	int err = diff_step(diff, h2_block_size(ref));

	if (err)
		return err;
	inode->ref = *ref;
	inode->place = place;
	return h2_inode_load(diff->blocks, &where, ref, place, &inode->d, &inode->meta);
}

static int find_in_index(struct diff *diff, unsigned side, uint64_t inum, struct h2_blockref *ref)
{
	struct h2_where where = diff_where(diff, side, inum);
	int err = h2_tree_first(diff->blocks, &where, H2_TREE_PFS_ROOT, &diff->sides[side].root,
				inum, inum, ref, NULL);

	return err == 1 ? -ENOENT : err;
}

int diff_find_inode(struct diff *diff, unsigned side, uint64_t inum, struct diff_inode *inode)
{
	struct diff_side *s = &diff->sides[side];
	const struct h2_blockref *legacy;
	struct h2_blockref ref;
	int err;

	if (inum == H2_INUM_ROOT) {
		*inode = s->root_inode;
		return 0;
	}
	if (inum == 0 || inum & H2_KEY_VISIBLE)
		return -ENOENT;
	err = find_in_index(diff, side, inum, &ref);
	if (!err)
		return load_inode(diff, side, &ref, H2_PLACE_INDEX, inode);
	legacy = h2_map_get(&s->legacy, inum);
	if (err != -ENOENT || !legacy)
		return err;
	return load_inode(diff, side, legacy, H2_PLACE_LEGACY, inode);
}

int diff_get_inode(struct diff *diff, unsigned side, uint64_t inum, struct diff_inode *inode)
{
	int err = diff_find_inode(diff, side, inum, inode);

	return err == -ENOENT ? -H2_ECORRUPT : err;
}

/* Whether the number leads to this legacy inode: to the first one that was met, if to any. */
static int remember_legacy(struct diff *diff, unsigned side, uint64_t inum,
			   const struct h2_blockref *ref, bool *is_legacy)
{
	struct h2_map *map = &diff->sides[side].legacy;
	struct h2_blockref found, *copy = h2_map_get(map, inum);
	int err = find_in_index(diff, side, inum, &found);

	if (err != -ENOENT)
		return err;
	if (copy) {
		*is_legacy = h2_blockref_same(copy, ref);
		return 0;
	}
	copy = malloc(sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	*copy = *ref;
	err = h2_map_put(map, inum, copy);
	if (err)
		free(copy);
	*is_legacy = !err;
	return err;
}

int diff_load_entry(struct diff *diff, unsigned side, uint64_t dir, const struct h2_blockref *leaf,
		    struct h2_dirent *ent, bool *is_legacy, struct h2_inode_meta *legacy)
{
	struct h2_where where = diff_where(diff, side, dir);
	int err = diff_step(diff, h2_blockref_radix(leaf) ? h2_block_size(leaf) : 0);

	*is_legacy = false;
	if (!err)
		err = h2_dirent_load(diff->blocks, &where, leaf, ent, legacy);
	if (!err && leaf->type == H2_BLOCKREF_INODE)
		err = remember_legacy(diff, side, ent->inum, leaf, is_legacy);
	return err;
}
