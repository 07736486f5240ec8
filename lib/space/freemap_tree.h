/*
 * The freemap's tree above the leaves: where each zone's leaf is, MF 10.3 and 10.4. Nodes are read
 * when they are first needed and stay in memory: one covers at least 256 GiB. No locks; the
 * allocator's covers it.
 */
#ifndef H2_SPACE_FREEMAP_TREE_H
#define H2_SPACE_FREEMAP_TREE_H

#include "space.h"

struct h2_freemap_node;

struct h2_freemap_entry {
	struct h2_blockref ref;
	struct h2_freemap_node *node; /* in memory; NULL: a leaf, or not yet read */
};

struct h2_freemap_node {
	unsigned level; /* 6: the root */
	unsigned count, capacity;
	bool dirty;
	struct h2_freemap_entry *entries; /* by key; capacity of them */
};

struct h2_freemap_tree {
	struct h2_volumes *volumes;
	struct h2_freemap_node root;
	h2_report_fn *report;
	void *report_user;
};

int h2_freemap_tree_init(struct h2_freemap_tree *tree, struct h2_volumes *volumes);
void h2_freemap_tree_fini(struct h2_freemap_tree *tree);

/*
 * Find the blockref of the leaf of the zone that begins at key. Returns 0; 1 where the zone has no
 * leaf; a damage error, which was reported; -ENOMEM. The pointer is good until the next insertion.
 */
int h2_freemap_tree_find(struct h2_freemap_tree *tree, uint64_t key, struct h2_blockref **refp);

/* Enter a leaf that has no place on the media yet. Returns 0, -ENOMEM, or a damage error. */
int h2_freemap_tree_insert(struct h2_freemap_tree *tree, const struct h2_blockref *ref);

/* Read a block of the freemap and compare it with its check code; what is wrong is reported. */
int h2_freemap_tree_read(struct h2_freemap_tree *tree, const struct h2_blockref *ref, void *buf);

/* Mark the nodes on the way to key as changed: their entries will be. They are in memory. */
void h2_freemap_tree_touch(struct h2_freemap_tree *tree, uint64_t key);

/* Move ref to its next place (MF 10.4), with the check code of the new contents. */
void h2_freemap_move(struct h2_blockref *ref, uint64_t tid, const void *block);

/* Write the changed nodes and put the root's blockrefs into set. */
int h2_freemap_tree_flush(struct h2_freemap_tree *tree, uint64_t tid,
			  struct h2_blockref set[H2_BLOCKSET_COUNT], h2_space_write_fn *write,
			  void *user);

#endif
