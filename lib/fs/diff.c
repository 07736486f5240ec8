/*
 * Comparing two PFSs.
 *
 * All inodes of a PFS are in its index by number, so comparing the two indices gives every object
 * that differs in anything, directories among them whose names do. The trees of those directories are
 * then compared, which gives the names. Legacy inodes (MF 7.6) are in no index: they come up as names,
 * and join the objects then.
 *
 * Nothing is said until everything is known: names that one directory has lost and another has got
 * belong together.
 */
#include "diff_impl.h"

#include <stdlib.h>
#include <string.h>

/* ---- objects ---- */

static int get_object(struct diff *diff, uint64_t inum, struct diff_object **objectp)
{
	struct diff_object *o = h2_map_get(&diff->objects, inum);
	int err;

	*objectp = o;
	if (o)
		return 0;
	o = calloc(1, sizeof(*o));
	err = o ? h2_map_put(&diff->objects, inum, o) : -ENOMEM;
	if (err) {
		free(o);
		return err;
	}
	o->inum = inum;
	if (diff->last_object)
		diff->last_object->next = o;
	else
		diff->first_object = o;
	diff->last_object = o;
	*objectp = o;
	return 0;
}

static int add_object(struct diff *diff, unsigned side, uint64_t inum)
{
	struct diff_object *o;
	int err = get_object(diff, inum, &o);

	if (!err)
		o->at[side].there = true;
	return err;
}

static void set_identity(struct diff_object *o, unsigned side, const struct h2_inode_meta *meta)
{
	o->at[side].there = true;
	o->at[side].own_type = true;
	o->at[side].type = meta->type;
	o->at[side].btime = meta->btime;
}

static bool is_same(const struct diff_object *o)
{
	if (!o->at[FROM].own_type || !o->at[TO].own_type)
		return false;
	/* A snapshot's root may be as new as the snapshot. */
	return o->inum == H2_INUM_ROOT ||
	       (o->at[FROM].type == o->at[TO].type && o->at[FROM].btime == o->at[TO].btime);
}

bool diff_is_same(const struct diff *diff, uint64_t inum)
{
	const struct diff_object *o = h2_map_get(&diff->objects, inum);

	return !o || is_same(o);
}

static bool attributes_differ(const struct h2_inode_meta *a, const struct h2_inode_meta *b)
{
	return ((a->mode ^ b->mode) & 07777) || a->uid != b->uid || a->gid != b->gid ||
	       a->uflags != b->uflags || a->rmajor != b->rmajor || a->rminor != b->rminor ||
	       a->comp_algo != b->comp_algo || a->check_algo != b->check_algo ||
	       a->data_quota != b->data_quota || a->inode_quota != b->inode_quota;
}

/* What there is to say of an object that both have. */
static int judge_change(struct diff *diff, struct diff_object *o,
			const struct diff_inode inodes[SIDES])
{
	const struct h2_inode_meta *a = &inodes[FROM].meta, *b = &inodes[TO].meta;
	bool differ = false;
	int err = diff_contents(diff, inodes, &differ);

	if (err)
		return err;
	o->what = (differ ? H2_DIFF_CONTENTS : 0) |
		  (attributes_differ(a, b) ? H2_DIFF_ATTRIBUTES : 0);
	o->touched = a->mtime != b->mtime;
	return 0;
}

static int judge(struct diff *diff, struct diff_object *o)
{
	struct diff_inode inodes[SIDES];

	for (unsigned side = 0; side < SIDES; side++) {
		int err = 0;

		if (o->at[side].there)
			err = diff_get_inode(diff, side, o->inum, &inodes[side]);
		if (err)
			return err;
		if (o->at[side].there)
			set_identity(o, side, &inodes[side].meta);
	}
	o->judged = true;
	return is_same(o) ? judge_change(diff, o, inodes) : 0;
}

static int judge_all(struct diff *diff)
{
	int err = 0;

	for (struct diff_object *o = diff->first_object; o && !err; o = o->next)
		if (!o->judged)
			err = judge(diff, o);
	return err;
}

/* ---- the index ---- */

static int enter_block(void *user, const struct h2_blockref *ref)
{
	return diff_step(user, h2_block_size(ref));
}

static bool are_same(const struct h2_blockref *leaves[SIDES])
{
	return leaves[FROM] && leaves[TO] && h2_blockref_same(leaves[FROM], leaves[TO]);
}

static int compare_indices(struct diff *diff)
{
	const struct h2_where *wheres[SIDES] = {&diff->sides[FROM].where, &diff->sides[TO].where};
	const struct h2_root *roots[SIDES] = {&diff->sides[FROM].root, &diff->sides[TO].root};
	const struct h2_blockref *leaves[SIDES];
	struct h2_compare compare;
	int err;

	/* What has the numbers 0 and 1 there is not found by them: see diff_find_inode(). */
	h2_compare_init(&compare, diff->blocks, wheres, H2_TREE_PFS_ROOT, roots, H2_INUM_ROOT + 1,
			H2_KEY_VISIBLE - 1);
	compare.enter = enter_block;
	compare.user = diff;
	while ((err = h2_compare_next(&compare, leaves)) == 0) {
		err = diff_step(diff, 0);
		for (unsigned side = 0; side < SIDES && !err && !are_same(leaves); side++)
			if (leaves[side])
				err = add_object(diff, side, leaves[side]->key);
		if (err)
			break;
	}
	h2_compare_fini(&compare);
	return err == 1 ? 0 : err;
}

/* ---- names ---- */

static int add_name(struct diff *diff, unsigned side, uint64_t dir, const struct h2_dirent *ent)
{
	struct diff_name *name = malloc(sizeof(*name) + ent->name_len);

	if (!name)
		return -ENOMEM;
	*name = (struct diff_name){
		.next = diff->first_name,
		.side = side,
		.dir = dir,
		.inum = ent->inum,
		.type = ent->type,
		.len = ent->name_len,
	};
	memcpy(name->bytes, ent->name, ent->name_len);
	diff->first_name = name;
	diff->name_count++;
	return 0;
}

static int add_entry(struct diff *diff, unsigned side, uint64_t dir, const struct h2_blockref *leaf)
{
	struct h2_inode_meta legacy;
	struct diff_object *o;
	struct h2_dirent ent;
	bool is_legacy;
	int err = diff_load_entry(diff, side, dir, leaf, &ent, &is_legacy, &legacy);

	if (!err)
		err = add_name(diff, side, dir, &ent);
	if (err || !is_legacy)
		return err;
	err = get_object(diff, ent.inum, &o);
	if (err)
		return err;
	set_identity(o, side, &legacy);
	o->judged = false;
	return 0;
}

/* Whether a name that both have leads to different objects. */
static bool is_redirected(const struct diff *diff, const struct h2_blockref *leaf)
{
	return leaf->type == H2_BLOCKREF_DIRENT && !diff_is_same(diff, leaf->dirent_inum);
}

static int compare_entries(struct diff *diff, uint64_t dir, struct h2_compare *compare)
{
	const struct h2_blockref *leaves[SIDES];
	int err;

	while ((err = h2_compare_next(compare, leaves)) == 0) {
		err = diff_step(diff, 0);
		if (!err && are_same(leaves) && !is_redirected(diff, leaves[TO]))
			continue;
		for (unsigned side = 0; side < SIDES && !err; side++)
			if (leaves[side])
				err = add_entry(diff, side, dir, leaves[side]);
		if (err)
			break;
	}
	return err == 1 ? 0 : err;
}

/* The names of a directory that differ; where only one side is listed, all. */
static int list_names(struct diff *diff, struct diff_object *o, const bool listed[SIDES])
{
	static const struct h2d_blockref empty[H2_BLOCKSET_COUNT];
	enum h2_tree_kind kind = H2_TREE_DIRECTORY;
	struct h2_where wheres[SIDES];
	struct h2_root roots[SIDES];
	struct h2_compare compare;
	struct diff_inode inode;
	int err;

	for (unsigned side = 0; side < SIDES; side++) {
		wheres[side] = diff_where(diff, side, o->inum);
		h2_root_init(&roots[side], empty);
		if (!listed[side])
			continue;
		err = diff_get_inode(diff, side, o->inum, &inode);
		if (err)
			return err;
		kind = diff_tree_kind(&inode);
		h2_root_init(&roots[side], inode.d.u.blockset);
		o->at[side].listed = true;
	}
	h2_compare_init(&compare, diff->blocks,
			(const struct h2_where *[SIDES]){&wheres[FROM], &wheres[TO]}, kind,
			(const struct h2_root *[SIDES]){&roots[FROM], &roots[TO]}, H2_KEY_VISIBLE,
			UINT64_MAX);
	compare.enter = enter_block;
	compare.user = diff;
	err = compare_entries(diff, o->inum, &compare);
	h2_compare_fini(&compare);
	return err;
}

/* Sets *done if there was something to list. */
static int list_object(struct diff *diff, struct diff_object *o, bool *done)
{
	bool wanted[SIDES];
	int err = 0;

	for (unsigned side = 0; side < SIDES; side++)
		wanted[side] = o->at[side].own_type && o->at[side].type == H2_OBJECT_DIRECTORY &&
			       !o->at[side].listed;
	*done |= wanted[FROM] || wanted[TO];
	if (wanted[FROM] && wanted[TO] && is_same(o))
		return list_names(diff, o, wanted);
	if (wanted[FROM])
		err = list_names(diff, o, (const bool[SIDES]){[FROM] = true});
	if (!err && wanted[TO])
		err = list_names(diff, o, (const bool[SIDES]){[TO] = true});
	return err;
}

/* Names of legacy directories join while we go, also at objects that we have passed. */
static int list_all(struct diff *diff)
{
	bool more = true;
	int err = 0;

	while (more && !err) {
		more = false;
		for (struct diff_object *o = diff->first_object; o && !err; o = o->next)
			err = list_object(diff, o, &more);
	}
	return err;
}

/* ---- all of it ---- */

static int compare_pfss(struct diff *diff)
{
	int err = add_object(diff, FROM, H2_INUM_ROOT);

	if (!err)
		err = add_object(diff, TO, H2_INUM_ROOT);
	if (!err)
		err = diff_step(diff, 0); /* so that progress is asked at least once */
	if (!err)
		err = compare_indices(diff);
	/* Which numbers are other objects now has to be known before names are compared. */
	if (!err)
		err = judge_all(diff);
	if (!err)
		err = list_all(diff);
	return err ? err : judge_all(diff);
}

static void free_diff(struct diff *diff)
{
	for (unsigned side = 0; side < SIDES; side++)
		diff_side_fini(&diff->sides[side]);
	while (diff->first_object) {
		struct diff_object *o = diff->first_object;

		diff->first_object = o->next;
		free(o);
	}
	h2_map_clear(&diff->objects);
	while (diff->first_name) {
		struct diff_name *name = diff->first_name;

		diff->first_name = name->next;
		free(name);
	}
	free(diff);
}

/* While the state is held. */
static int find_differences(struct diff *diff, const char *from, const char *to,
			    struct diff_entries **entriesp)
{
	int err = diff_side_init(diff, FROM, from);

	if (!err)
		err = diff_side_init(diff, TO, to);
	if (!err)
		err = compare_pfss(diff);
	return err ? err : diff_entries_new(diff, entriesp);
}

int h2_diff(struct h2_fs *fs, const char *from, const char *to,
	    const struct h2_pass_options *options,
	    int (*entry)(void *user, const struct h2_diff_entry *entry), void *user)
{
	struct diff *diff = calloc(1, sizeof(*diff));
	struct diff_entries *entries = NULL;
	int err;

	if (!diff)
		return -ENOMEM;
	diff->blocks = &fs->blocks;
	diff->steps_max = atomic_load(&fs->blocks.total_size) / H2_BLOCKREF_SIZE * 4;
	err = h2_held_begin(&diff->held, fs, options);
	if (!err) {
		diff->held.expected = 0;
		err = find_differences(diff, from, to, &entries);
		h2_held_end(&diff->held);
	}
	if (!err)
		err = diff_entries_tell(entries, entry, user);
	diff_entries_free(entries);
	free_diff(diff);
	return err;
}
