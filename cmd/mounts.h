/* The mounts of HAMMER2 filesystems that this process can see. */
#ifndef CMD_MOUNTS_H
#define CMD_MOUNTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mount_point {
	char *dir;
	char *source;    /* as it was named when it was mounted: volumes, and perhaps "@LABEL" */
	int error;       /* 0; or why it cannot be used: -EACCES, -ENOTCONN and the like */
	uint64_t server; /* the same for all mounts of a filesystem; 0: it cannot be told */
};

/*
 * All of them, in the order of mounting, to be freed with mounts_free(). Those that are hidden by
 * another mount on the same directory are left out. Returns 0 or an error.
 */
int mounts_read(struct mount_point **list, size_t *count);
void mounts_free(struct mount_point *list, size_t count);

/* Whether two mounts are of one filesystem, as far as that can be told. */
bool mounts_same_filesystem(const struct mount_point *a, const struct mount_point *b);

/* Where a PFS of a server's filesystem is mounted, to be freed; NULL: nowhere that we know of. */
char *mounts_find_pfs(uint64_t server, const char *label);

/* Where a volume is mounted, to be freed; NULL: nowhere that we know of. */
char *mounts_find_volume(const char *volume);

#endif
