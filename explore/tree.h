/*
 * What a filesystem shows, written down: all names with what they lead to, in one order. The model
 * makes one after each operation, and reading a filesystem makes one; equal states are equal trees.
 *
 * A time is the number of the operation that set it (TREE_TIME_OP), or the value that an operation
 * asked for. When exactly an operation took place is nobody's promise.
 */
#ifndef EXPLORE_TREE_H
#define EXPLORE_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TREE_TIME_OP (UINT64_C(1) << 63)

struct tree_attr {
	uint64_t size;    /* files and symlinks */
	uint64_t content; /* a hash of what it holds */
	uint64_t atime, mtime, ctime, btime;
	uint32_t type; /* enum h2_object_type */
	uint32_t mode; /* 07777 */
	uint32_t uid, gid;
	uint32_t nlink; /* MF 6.7: 1 for directories */
	uint32_t uflags;
	uint32_t comp_algo, check_algo;
};

struct tree_entry {
	const char *path;  /* with the PFS: "/..." or "@/..." */
	uint64_t identity; /* of the inode, for names of one file to be known as such */
	size_t first;      /* the index of the first name of the same file */
	struct tree_attr attr;
};

struct tree {
	struct tree_entry *entries;
	size_t count, room;
	uint64_t hash; /* of all but the identities, after tree_finish() */
};

/* Add a name; path is taken over, and is freed with the tree. */
void tree_add(struct tree *tree, char *path, uint64_t identity, const struct tree_attr *attr);

/* All names are there. */
void tree_finish(struct tree *tree);

void tree_fini(struct tree *tree);

/* What is different in found, in words, some lines at most; to be freed. */
char *tree_difference(const struct tree *found, const struct tree *expected);

/* ---- the hash of contents ---- */

#define TREE_CHUNK 4096u

/* A sum over the chunks, 0 to begin with, so that holes cost nothing. Zeros count as a hole. */
uint64_t tree_content_add(uint64_t sum, uint64_t index, const uint8_t chunk[TREE_CHUNK]);

#endif
