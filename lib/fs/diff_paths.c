/*
 * Paths of objects in one of two PFSs.
 *
 * An inode says in which directory it is, but not its name (BS 3.4): directories are searched for the
 * names. Each is so once for all that are wanted of it, and only as far as the last one. What an inode
 * says may be outdated, for a file that had several names, or be wrong on damaged media: then all
 * directories are searched, once, from the root down.
 */
#include <stdlib.h>
#include <string.h>

#include "diff_impl.h"

static int get_node(struct diff_side *side, uint64_t inum, struct diff_node **nodep)
{
	struct diff_node *node = h2_map_get(&side->nodes, inum);
	int err;

	*nodep = node;
	if (node)
		return 0;
	node = calloc(1, sizeof(*node));
	err = node ? h2_map_put(&side->nodes, inum, node) : -ENOMEM;
	if (err) {
		free(node);
		return err;
	}
	node->inum = inum;
	if (inum == H2_INUM_ROOT) {
		node->state = REACHED;
		node->climbed = true;
	}
	if (side->last_node)
		side->last_node->next = node;
	else
		side->first_node = node;
	side->last_node = node;
	*nodep = node;
	return 0;
}

void diff_nodes_free(struct diff_side *side)
{
	while (side->first_node) {
		struct diff_node *node = side->first_node;

		side->first_node = node->next;
		free(node->name);
		free(node);
	}
	h2_map_clear(&side->nodes);
}

static int set_name(struct diff_node *node, const char *name, uint8_t len)
{
	char *copy = malloc(len);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, name, len);
	free(node->name);
	node->name = copy;
	node->len = len;
	return 0;
}

static int take_name(struct diff_node *node, const struct diff_name *name)
{
	node->parent = name->dir;
	return set_name(node, name->bytes, name->len);
}

/*
 * From what is known already: the names that differ, or else the inode's own record. Of several names
 * one that both have tells more than a new one.
 */
static int find_parent(struct diff *diff, unsigned side, struct diff_node *node)
{
	const struct diff_name *name = h2_map_get(&diff->sides[side].names, node->inum);
	struct diff_inode inode;
	int err;

	if (name && (name->in_both || name->type == H2_OBJECT_DIRECTORY))
		return take_name(node, name);
	err = diff_find_inode(diff, side, node->inum, &inode);
	if (err)
		return err == -ENOENT ? 0 : err;
	if (name && inode.meta.nlinks <= 1)
		return take_name(node, name);
	node->parent = inode.meta.iparent;
	node->spare = name;
	return 0;
}

int diff_want_path(struct diff *diff, unsigned side, uint64_t inum, struct diff_node **nodep)
{
	bool known = h2_map_get(&diff->sides[side].nodes, inum);
	int err = get_node(&diff->sides[side], inum, nodep);

	if (err || known || inum == H2_INUM_ROOT)
		return err;
	return find_parent(diff, side, *nodep);
}

/* Nodes for all directories above; they join the list while we go. */
static int climb(struct diff *diff, unsigned side)
{
	int err = 0;

	for (struct diff_node *n = diff->sides[side].first_node; n && !err; n = n->next) {
		if (n->climbed)
			continue;
		n->climbed = true;
		if (n->parent == 0 || n->parent & H2_KEY_VISIBLE)
			continue;
		err = diff_want_path(diff, side, n->parent, &n->parent_node);
		if (!err && !n->name)
			n->parent_node->awaited++;
	}
	return err;
}

/* ---- reading directories ---- */

/* Of one entry. Returns 0; 1: that was the last one that is wanted; an error. */
typedef int take_fn(struct diff *diff, unsigned side, struct diff_node *dir,
		    const struct h2_blockref *leaf);

static int scan_tree(struct diff *diff, unsigned side, struct diff_node *dir,
		     const struct diff_inode *inode, take_fn *take)
{
	struct h2_where where = diff_where(diff, side, dir->inum);
	struct h2_cursor cursor;
	struct h2_blockref leaf;
	struct h2_root root;
	int err;

	h2_root_init(&root, inode->d.u.blockset);
	h2_cursor_init(&cursor, diff->blocks, &where, diff_tree_kind(inode), &root, H2_KEY_VISIBLE,
		       UINT64_MAX);
	while ((err = h2_cursor_next(&cursor, &leaf)) == 0) {
		err = diff_step(diff, H2_BLOCKREF_SIZE);
		if (!err)
			err = take(diff, side, dir, &leaf);
		if (err)
			break;
	}
	h2_cursor_fini(&cursor);
	return err == 1 ? 0 : err;
}

static int scan_dir(struct diff *diff, unsigned side, struct diff_node *dir, take_fn *take)
{
	struct diff_inode inode;
	int err = diff_find_inode(diff, side, dir->inum, &inode);

	if (err || inode.meta.type != H2_OBJECT_DIRECTORY)
		return err == -ENOENT ? 0 : err;
	return scan_tree(diff, side, dir, &inode, take);
}

static int take_wanted(struct diff *diff, unsigned side, struct diff_node *dir,
		       const struct h2_blockref *leaf)
{
	const struct h2_map *nodes = &diff->sides[side].nodes;
	struct h2_inode_meta legacy;
	struct h2_dirent ent;
	struct diff_node *n;
	bool is_legacy;
	int err;

	/* Names in blocks of their own are read where they are wanted only. */
	if (leaf->type == H2_BLOCKREF_DIRENT) {
		n = h2_map_get(nodes, leaf->dirent_inum);
		if (!n || n->name || n->parent_node != dir)
			return 0;
	}
	err = diff_load_entry(diff, side, dir->inum, leaf, &ent, &is_legacy, &legacy);
	if (err)
		return err;
	n = h2_map_get(nodes, ent.inum);
	if (!n || n->name || n->parent_node != dir)
		return 0;
	if (n->spare && diff_is_listed(diff, side, dir->inum, &ent))
		return 0;
	err = set_name(n, ent.name, ent.name_len);
	if (err)
		return err;
	return --dir->awaited == 0;
}

static int find_names(struct diff *diff, unsigned side)
{
	int err = climb(diff, side);

	for (struct diff_node *n = diff->sides[side].first_node; n && !err; n = n->next) {
		if (n->awaited > 0)
			err = scan_dir(diff, side, n, take_wanted);
		n->awaited = 0;
	}
	return err;
}

/* Returns 1 if any were taken; 0; or an error. */
static int take_spares(struct diff_side *side)
{
	int taken = 0;

	for (struct diff_node *n = side->first_node; n; n = n->next) {
		if (n->name || !n->spare)
			continue;
		if (take_name(n, n->spare) != 0)
			return -ENOMEM;
		n->climbed = false;
		taken = 1;
	}
	return taken;
}

/* ---- from the root down ---- */

static void set_place(struct diff_node *node, struct diff_node *parent)
{
	node->parent_node = parent;
	node->depth = parent->depth + 1;
	node->path_size = parent->path_size + 1 + node->len;
	node->state = REACHED;
}

/* Find out whether a node hangs from the root; and all on the way. */
static void reach(struct diff_node *node)
{
	struct diff_node *n = node;
	bool reached;

	node->below = NULL;
	while (n->state == NOT_KNOWN) {
		struct diff_node *up = n->name ? n->parent_node : NULL;

		n->state = ON_THE_WAY;
		if (!up || up->state == ON_THE_WAY)
			break; /* lost, or in a circle */
		if (up->state == NOT_KNOWN)
			up->below = n;
		else
			break;
		n = up;
	}
	if (n->state != ON_THE_WAY)
		return;
	reached = n->name && n->parent_node && n->parent_node->state == REACHED;
	for (; n; n = n->below) {
		if (reached)
			set_place(n, n->parent_node);
		else
			n->state = NOT_REACHED;
	}
}

/* Returns how many do not hang from the root. */
static size_t reach_all(struct diff_side *side)
{
	size_t lost = 0;

	for (struct diff_node *n = side->first_node; n; n = n->next) {
		reach(n);
		lost += n->state != REACHED;
	}
	return lost;
}

/* ---- the search of all directories ---- */

static int take_any(struct diff *diff, unsigned side, struct diff_node *dir,
		    const struct h2_blockref *leaf)
{
	struct diff_side *s = &diff->sides[side];
	struct h2_inode_meta legacy;
	struct diff_node *n = NULL;
	struct h2_dirent ent;
	bool is_legacy, is_dir;
	int err = diff_load_entry(diff, side, dir->inum, leaf, &ent, &is_legacy, &legacy);

	if (err)
		return err;
	is_dir = ent.type == H2_OBJECT_DIRECTORY;
	n = h2_map_get(&s->nodes, ent.inum);
	if (!n && is_dir)
		err = get_node(s, ent.inum, &n);
	if (err || !n || ent.inum == H2_INUM_ROOT)
		return err;
	if (n->state != REACHED) {
		err = set_name(n, ent.name, ent.name_len);
		if (err)
			return err;
		if (n->state == NOT_REACHED)
			s->lost--;
		set_place(n, dir);
	}
	if (is_dir && !n->queued) {
		n->queued = true;
		s->last_queued->queue_next = n;
		s->last_queued = n;
	}
	return s->lost == 0;
}

static int search_all(struct diff *diff, unsigned side)
{
	struct diff_side *s = &diff->sides[side];
	struct diff_node *dir;
	int err = get_node(s, H2_INUM_ROOT, &dir);

	if (err)
		return err;
	dir->queued = true;
	for (s->last_queued = dir; dir && s->lost > 0 && !err; dir = dir->queue_next)
		err = scan_dir(diff, side, dir, take_any);
	return err;
}

int diff_find_paths(struct diff *diff, unsigned side)
{
	struct diff_side *s = &diff->sides[side];
	int err = find_names(diff, side);

	if (!err)
		err = take_spares(s);
	if (err == 1)
		err = find_names(diff, side);
	if (err)
		return err;
	s->lost = reach_all(s);
	return s->lost > 0 ? search_all(diff, side) : 0;
}
