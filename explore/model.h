/*
 * A filesystem in plain memory: what one that behaves as Linux's do shows after the same
 * operations. It knows nothing of HAMMER2's media and asks the library nothing.
 */
#ifndef EXPLORE_MODEL_H
#define EXPLORE_MODEL_H

#include "op.h"
#include "tree.h"

struct model;

/* Empty PFSs, whose roots were made at that time. */
struct model *model_new(unsigned pfs_count, uint64_t time_us);
void model_free(struct model *m);

/*
 * Do an operation, the one of that number. done: how many bytes a write or a copy took; otherwise
 * it does not matter. Returns 0, or -errno where it must fail; which of several errors a filesystem
 * gives is its affair.
 */
int model_do(struct model *m, const struct op *op, uint64_t number, uint64_t done);

/* What it shows. */
void model_tree(struct model *m, struct tree *tree);

/* ---- for who chooses operations ---- */

/* A path of the model; of the n-th directory or other object, below their counts. */
struct model_paths {
	char (*dirs)[OP_PATH_MAX];
	char (*others)[OP_PATH_MAX];
	size_t dir_count, dir_room, other_count, other_room;
};

/* All paths that an operation can name; the roots are among the directories. */
void model_paths(struct model *m, struct model_paths *paths);
void model_paths_fini(struct model_paths *paths);

/* Whether there is the PFS of that number. */
bool model_has_pfs(const struct model *m, unsigned pfs);

/* Whether a path leads to a file, and its size. */
bool model_file_size(struct model *m, const char *path, uint64_t *size);

/* Bytes of contents in memory. */
uint64_t model_bytes(const struct model *m);

#endif
