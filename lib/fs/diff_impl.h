/*
 * What the files of h2_diff() share: diff.c compares two PFSs, which gives the objects and the names
 * that differ, diff_contents.c two files; diff_paths.c finds the paths, diff_entries.c makes entries of
 * all that; diff_side.c reads either PFS.
 */
#ifndef H2_FS_DIFF_IMPL_H
#define H2_FS_DIFF_IMPL_H

#include <hammer2/diff.h>

#include "compare.h"
#include "held.h"
#include "map.h"

enum { FROM, TO, SIDES };

/* An inode as it is found by its number. */
struct diff_inode {
	struct h2_blockref ref;
	enum h2_inode_place place;
	struct h2_inode_meta meta;
	struct h2d_inode d;
};

/* One of the two PFSs. */
struct diff_side {
	struct h2_where where;
	struct diff_inode root_inode;
	struct h2_root root;   /* its tree: the index, and the names of the root directory */
	struct h2_map legacy;  /* inode number: struct h2_blockref of it, in a directory (MF 7.6) */
	struct h2_map names;   /* inode number: struct diff_name of it; one in both, if any is */
	struct h2_map nodes;   /* inode number: struct diff_node */
	struct diff_node *first_node, *last_node;
	size_t lost;                   /* how many nodes are not reached */
	struct diff_node *last_queued; /* of the directories to be searched */
};

/* An object whose inode differs, or that only one has. */
struct diff_object {
	struct diff_object *next;
	uint64_t inum;
	struct {
		bool there;
		bool listed;   /* a directory's names were compared */
		bool own_type; /* type and btime are known */
		uint8_t type;
		uint64_t btime;
	} at[SIDES];
	bool judged;   /* what says what there is to say but for names */
	bool touched;  /* mtime differs */
	unsigned what; /* H2_DIFF_... */
};

/* A name in one of them that the other may not have. */
struct diff_name {
	struct diff_name *next;
	unsigned side;
	uint64_t dir, inum;
	uint8_t type; /* as the entry says */
	uint8_t len;
	bool in_both;
	struct diff_node *dir_node; /* NULL: no path leads there */
	char bytes[];
};

/* Where an object stands in the tree of names of one PFS. */
struct diff_node {
	struct diff_node *next;
	struct diff_node *queue_next, *below; /* for a moment */
	uint64_t inum;
	uint64_t parent; /* inode number of the directory; 0: none is known */
	struct diff_node *parent_node;
	char *name; /* NULL: not yet known, or the root's */
	uint8_t len;
	const struct diff_name *spare; /* a name to be taken if there is none that both have */
	bool climbed;     /* the parent has a node, too */
	bool queued;      /* for the search of all directories */
	size_t awaited;   /* how many nodes lack their names in this directory */
	size_t depth;     /* names in its path; valid if reached */
	size_t path_size; /* bytes of it, without a terminator; valid if reached */
	enum { NOT_KNOWN, ON_THE_WAY, REACHED, NOT_REACHED } state;
};

struct diff {
	struct h2_held held;
	struct h2_blocks *blocks;
	struct diff_side sides[SIDES];
	struct h2_map objects; /* inode number: struct diff_object */
	struct diff_object *first_object, *last_object;
	struct diff_name *first_name;
	size_t name_count;
	struct diff_name **names; /* all, sorted, while paths are found */
	uint64_t steps, steps_max; /* no sound filesystem has more to look at */
};

/* ---- diff_side.c ---- */

/* Find a PFS by its label, which stays the caller's. Returns as h2_held_find_pfs() does. */
int diff_side_init(struct diff *diff, unsigned side, const char *label);
void diff_side_fini(struct diff_side *side);

/* Something was looked at, a block of so many bytes or a part of one. Returns 0 or an error. */
int diff_step(struct diff *diff, uint64_t bytes);

/* Whose block it is, for reports. */
struct h2_where diff_where(const struct diff *diff, unsigned side, uint64_t inum);

/* Read an inode by its number. Returns 0; -ENOENT; an error. */
int diff_find_inode(struct diff *diff, unsigned side, uint64_t inum, struct diff_inode *inode);

/* The same for one that the tree has led to: it is damage where it is not there. */
int diff_get_inode(struct diff *diff, unsigned side, uint64_t inum, struct diff_inode *inode);

/*
 * What a leaf of a directory says. A legacy inode is remembered, so that it can be found by its
 * number; *is_legacy tells that the number leads to it, and *legacy receives it.
 */
int diff_load_entry(struct diff *diff, unsigned side, uint64_t dir, const struct h2_blockref *leaf,
		    struct h2_dirent *ent, bool *is_legacy, struct h2_inode_meta *legacy);

static inline enum h2_tree_kind diff_tree_kind(const struct diff_inode *inode)
{
	if (inode->meta.type != H2_OBJECT_DIRECTORY)
		return H2_TREE_FILE;
	return inode->meta.inum == H2_INUM_ROOT ? H2_TREE_PFS_ROOT : H2_TREE_DIRECTORY;
}

/* ---- diff.c ---- */

/* Whether both have it, and it is one object. Also for one that is in no list: it does not differ. */
bool diff_is_same(const struct diff *diff, uint64_t inum);

/* ---- diff_contents.c ---- */

/* Whether the bytes of two files or symlinks differ. Returns 0 or an error. */
int diff_contents(struct diff *diff, const struct diff_inode inodes[SIDES], bool *differ);

/* ---- diff_paths.c ---- */

/* Ask for the path of an object. The node is empty until diff_find_paths() was called. */
int diff_want_path(struct diff *diff, unsigned side, uint64_t inum, struct diff_node **nodep);

/* Find all paths that were asked for; those that there are become REACHED. */
int diff_find_paths(struct diff *diff, unsigned side);

void diff_nodes_free(struct diff_side *side);

/* ---- diff_entries.c ---- */

struct diff_entries;

/*
 * What is to be said, sorted, of the objects and names. Returns 0 or an error; to be given back in
 * any case.
 */
int diff_entries_new(struct diff *diff, struct diff_entries **entriesp);
void diff_entries_free(struct diff_entries *entries);

/* Whether one of the names that differ is this one. */
bool diff_is_listed(const struct diff *diff, unsigned side, uint64_t dir,
		    const struct h2_dirent *ent);

/* Say it. Needs the diff, but no blocks any more. */
int diff_entries_tell(const struct diff_entries *entries,
		      int (*entry)(void *user, const struct h2_diff_entry *entry), void *user);

#endif
