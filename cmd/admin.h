/*
 * A filesystem that is looked after: a mounted one, by any path in it, through ioctls; or volumes
 * that are not mounted, through the library. What the verbs of administration do is the same for
 * both.
 */
#ifndef CMD_ADMIN_H
#define CMD_ADMIN_H

#include <hammer2/ioctl.h>
#include <hammer2/pfs.h>

#include "hammer2.h"

struct admin {
	const char *name;     /* as given; borrowed */
	int fd;               /* of the path of a mounted one; -1: volumes */
	struct target target; /* otherwise */
};

/*
 * Find out what a name is and open it: a path in a mounted filesystem, or VOLUME[:VOLUME...]; NULL:
 * what option -s names, or else the current directory. write: it will be changed. Returns EXIT_DONE,
 * or another exit code after a message.
 */
int admin_open(struct call *call, const char *name, bool write, struct admin *admin);
/* The same for count names that are volumes, all of one filesystem. */
int admin_open_volumes(struct call *call, char **args, int count, bool write, struct admin *admin);

void admin_close(struct admin *admin);

/*
 * Whether a name is a path in a mounted HAMMER2 filesystem. A file in one that is itself a volume is
 * taken for that.
 */
bool admin_is_path_of_mount(const char *name);

/*
 * Do something for each argument of the call; without one for what option -s names, or else for each
 * mounted filesystem. Returns the worst exit code. JSON is an array where there may be several.
 */
int admin_for_each(struct call *call, int (*one)(struct call *call, const char *name));

/* Whether the path that was opened in a mounted filesystem is a directory, and not its root. */
bool admin_is_directory(const struct admin *admin);

static inline bool admin_is_mounted(const struct admin *admin)
{
	return admin->fd >= 0;
}

/* Whether this user may do more than what everyone may (BS 13.1). */
bool admin_may_change(const struct admin *admin);

/* One PFS, as both tell of it. */
struct admin_pfs {
	char label[H2_NAME_MAX + 1];
	uint64_t key;
	uint8_t type, subtype;
	struct h2_uuid clid, fsid;
	bool has_info; /* only of volumes */
	struct h2_pfs_info info;
};

/*
 * All PFSs, sorted by label, to be freed; *count of them. What cannot be read is left out, after a
 * message, and *damaged counts it. NULL with *count 0 also after a message with EXIT_PROBLEM in *code.
 */
struct admin_pfs *admin_list(struct admin *admin, size_t *count, unsigned *damaged, int *code);

/* "MASTER", or "SNAPSHOT" and the like (BS 10.1). */
const char *admin_kind(const struct admin_pfs *pfs);
void admin_json_pfs(struct json *json, const struct admin_pfs *pfs);

/* Find one by its label. Returns 0, -ENOENT, or an error. */
int admin_find(struct admin *admin, const char *label, struct admin_pfs *pfs);

/* The label of the PFS that the path is in, or that the name of volumes ends with: "@LABEL"; or "". */
void admin_label(struct admin *admin, char label[H2_NAME_MAX + 1]);

/*
 * What programs have written may still be in the kernel's cache, and unknown to the server: have it
 * written. An error is told to those programs.
 */
void admin_write_cached(const struct admin *admin);

/* As the functions of <hammer2/pfs.h>. Errors are negative. */
int admin_create(struct admin *admin, const char *label, const struct h2_pfs_ids *ids);
int admin_delete(struct admin *admin, const char *label);
int admin_rename(struct admin *admin, const char *label, const char *new_label);
int admin_snapshot(struct admin *admin, const char *origin, const char *label);
/*
 * dir: of a mounted filesystem NULL: the directory that was opened; of volumes a path in the PFS
 * origin. Signals end it, with -EINTR.
 */
int admin_snapshot_directory(struct admin *admin, const char *origin, const char *dir,
			     const char *label);
int admin_rollback(struct admin *admin, const char *label, const char *snapshot, const char *keep);
int admin_grow(struct admin *admin, uint64_t size, uint64_t *new_size, bool *modified);

/* What a mounted filesystem tells of a file or directory; the path may be a symlink's. */
int admin_inode_get(const char *path, struct hammer2_ioc_inode *inode);

/* Say what was tried with which PFS, why it failed and, where that is known, what helps. */
void admin_complain(const struct admin *admin, const char *what, const char *label, int err);

/* The volumes. Returns how many; -1 after a message. */
int admin_volumes(struct admin *admin, struct hammer2_ioc_volume volumes[HAMMER2_IOC_VOLUMES_MAX],
		  unsigned *version);

int admin_status(struct admin *admin, struct hammer2_ioc_status *status);

/*
 * The mount points of all HAMMER2 filesystems that can be entered, each filesystem once: an array that
 * ends with NULL, and that is to be freed with admin_mounts_free(). NULL after a message.
 */
char **admin_mounts(const struct call *call);
void admin_mounts_free(char **mounts);

#endif
