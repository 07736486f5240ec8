/*
 * The inodes that the kernel knows, of a PFS that is mounted for writing.
 *
 * FUSE's node id is the inode number, so no table is needed to find an inode. But a file can lose
 * its last name while programs have it open, and has to live on until the kernel forgets it: the
 * kernel counts how often it was told of a node, and gives the counts back. What is counted here is
 * the same, and an inode without a name is kept by a reference until its count is 0.
 *
 * Inode numbers are never used again, so an entry cannot mean two inodes.
 */
#ifndef FUSE_NODES_H
#define FUSE_NODES_H

#include <hammer2/fs.h>
#include <stdbool.h>

struct nodes;

/* An empty table; NULL without memory. */
struct nodes *nodes_new(void);

/* Give all references back and release the table. NULL is allowed. */
void nodes_free(struct nodes *nodes);

/*
 * The kernel is about to be told of inum once more; to be called before the reply is sent. Returns
 * false without memory: then it must not be told.
 *
 * All functions but the two above may be called from any number of threads at once.
 */
bool nodes_add(struct nodes *nodes, uint64_t inum);

/* The kernel has forgotten count of the times that it was told. */
void nodes_forget(struct nodes *nodes, uint64_t inum, uint64_t count);

/*
 * Take over the reference to an inode that has no name any more. NULL is allowed. Its node is its
 * number and base.
 */
void nodes_keep(struct nodes *nodes, uint64_t base, struct h2_inode *gone);

/* Whether inum is an inode without a name. */
bool nodes_is_gone(struct nodes *nodes, uint64_t inum);

#endif
