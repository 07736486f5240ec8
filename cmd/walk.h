/*
 * What walks over directories share: paths, and knowing where one has been.
 */
#ifndef CMD_WALK_H
#define CMD_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A path as it is shown: it begins with one '/', and ends with none but for the root. Freed by the
 * caller, as is the result of join_path(). */
char *clean_path(const char *path);

/* dir and name with one '/' in between. */
char *join_path(const char *dir, const char *name);

/*
 * Directories entered so far. On sound media each has one name; on damaged or hostile ones a
 * directory may contain itself, and a walk must still end. Begins as all zero.
 */
struct visited {
	uint64_t *inums; /* open addressing; 0: free */
	size_t count, room;
};

/* Returns false where the directory was entered before. */
bool visited_add(struct visited *v, uint64_t inum);
void visited_fini(struct visited *v);

#endif
