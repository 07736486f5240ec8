/*
 * The virtual directory with the snapshots of a filesystem (mount option snapdir=NAME): a name in the
 * root of the mounted PFS that no listing tells, with one directory for each PFS that is a snapshot,
 * by its label. All below it is for reading only.
 *
 * Nodes: FUSE's node id is the inode number in the mounted PFS (ops.h). With this option the upper bits
 * say which snapshot a node is in; 0 is the mounted PFS itself. So the numbers that users see differ
 * too, and no program takes a file and its copy in a snapshot for hard links of each other. Where the
 * mounted PFS was rolled back its nodes have upper bits, too, beyond those of snapshots, but not the
 * numbers that users see.
 *
 * A snapshot that has changed since (it may be mounted elsewhere, for writing), or another one under the
 * same label, gets a number of its own: what the kernel keeps of the old nodes is found no more.
 */
#ifndef FUSE_SNAPDIR_H
#define FUSE_SNAPDIR_H

#include <hammer2/fs.h>
#include <stdbool.h>
#include <stdint.h>

struct snapdir;

#define SNAPDIR_INUM_BITS 40
#define SNAPDIR_INUM_MAX ((UINT64_C(1) << SNAPDIR_INUM_BITS) - 1)
#define SNAPDIR_SLOTS_MAX ((1u << 22) - 1)
/* The virtual directory itself. */
#define SNAPDIR_NODE ((UINT64_C(0x7fffff) << SNAPDIR_INUM_BITS) | H2_INUM_ROOT)
#define SNAPDIR_SECONDS 1.0 /* how long names and attributes in snapshots stay true */

/* The part of a node that says which snapshot it is in. */
static inline uint64_t snapdir_base(uint64_t node)
{
	return node & ~SNAPDIR_INUM_MAX;
}

static inline bool snapdir_is_snapshot(uint64_t base)
{
	return base != 0 && base >> SNAPDIR_INUM_BITS <= SNAPDIR_SLOTS_MAX;
}

/* What the nodes of the mounted PFS have after those with this base; 0: there are no more. */
static inline uint64_t snapdir_next_base(uint64_t base)
{
	uint64_t next = (base ? base : SNAPDIR_NODE - H2_INUM_ROOT) - SNAPDIR_INUM_MAX - 1;

	return snapdir_is_snapshot(next) ? 0 : next;
}

/* NULL without memory. All functions but these two may be called from any number of threads. */
struct snapdir *snapdir_new(struct h2_fs *fs, const char *name);
void snapdir_free(struct snapdir *dir); /* NULL is allowed */

const char *snapdir_name(const struct snapdir *dir);

/* When it was made: its times. Seconds since 1970. */
int64_t snapdir_time(const struct snapdir *dir);

/*
 * What tells its nodes from those of another mount, which has the same numbers for other snapshots: a
 * file handle of that one (NFS) must lead nowhere. Not 0.
 */
uint32_t snapdir_generation(const struct snapdir *dir);

/*
 * The snapshot with a label: *base receives what its nodes have, and *root its root inode, with a
 * reference. Returns 0; -ENOENT: there is none; -EMFILE: it has been looked up in too many states; or an
 * error of reading it.
 */
int snapdir_find(struct snapdir *dir, const char *label, uint64_t *base, struct h2_inode **root);

/*
 * The first snapshot whose key is at least key: its label and key, and its root's node. Returns 0; 1 at
 * the end; -EMFILE. What cannot be read is left out.
 */
int snapdir_next(struct snapdir *dir, uint64_t key, struct h2_pfs_info *info, uint64_t *node);

/* The inode of a node in a snapshot. Returns also -ESTALE: that snapshot is not there any more. */
int snapdir_get(struct snapdir *dir, uint64_t node, struct h2_inode **inodep);

#endif
