/*
 * What differs between two related PFSs: one and a snapshot of it, or two snapshots. It costs what
 * has changed between them: blocks that both share are not read. Of PFSs that share nothing all is
 * listed, at the cost of reading all.
 *
 * The states that are compared are those of one commit, which is made first where the filesystem is
 * open for writing; others go on reading and writing meanwhile.
 *
 * Objects are the same if they have the same inode number, type and time of creation; the roots
 * are. Anything else under the same name or number was removed and added.
 *
 * Paths begin with '/', which is the root of the PFS.
 */
#ifndef HAMMER2_DIFF_H
#define HAMMER2_DIFF_H

#include <hammer2/fs.h>

#ifdef __cplusplus
extern "C" {
#endif

enum h2_diff_kind {
	H2_DIFF_REMOVED, /* a name that only the first PFS has */
	H2_DIFF_RENAMED, /* a name for another, of the same object */
	H2_DIFF_ADDED,   /* a name that only the second one has */
	H2_DIFF_CHANGED, /* an object that both have */
};

/*
 * What has changed of an object. Of a regular file or a symlink the contents are its bytes; of a
 * directory its names, not what they lead to.
 *
 * Attributes are permissions, owner, group, file flags, device numbers, the settings of compression
 * and check codes, and quotas; also mtime where the contents are the same (they were touched, or
 * written as they were). Not the link count, which shows in names, and not ctime and atime.
 */
#define H2_DIFF_CONTENTS 0x1u
#define H2_DIFF_ATTRIBUTES 0x2u

struct h2_diff_entry {
	enum h2_diff_kind kind;
	uint8_t type;         /* enum h2_object_type */
	uint64_t inum;        /* of the object */
	const char *path;     /* in the first PFS if REMOVED or RENAMED, else in the second one */
	const char *new_path; /* RENAMED: in the second PFS; else NULL */
	unsigned what;        /* CHANGED: H2_DIFF_...; else 0 */
};

/*
 * List the differences from one PFS to another, which are named by their labels, in the order of their
 * paths ("/a", "/a/b", "/a.b"). entry() gets each; the strings are borrowed until it returns, and it
 * may do anything. It returns 0 to go on; anything else ends the list and is returned.
 *
 * - All names in directories that were added or removed are listed one by one, unless they are
 *   renamed ones; those in a renamed directory are not: they have not changed.
 * - An object that has lost names and got others was renamed, by pairs in the order of the paths;
 *   further names, as hard links are, were added or removed.
 * - A changed object is listed once, by a name that it has in the second PFS, and as a rule in both;
 *   one that was renamed, too, is so beside that.
 * - What no name leads to is not listed.
 *
 * The directories whose names have changed, and those that hold a changed object, are read up to that
 * name. Only where an object's own record of its directory is outdated, as it may be of a file that
 * lost one of several names, are the others searched for it.
 *
 * progress is told 0 for the bytes expected, since they are not known. Memory is proportional to
 * what differs.
 *
 * Returns 0; -ENOENT (no PFS has such a label); -EINTR (progress said so); -ENOMEM; the error of the
 * commit; or a damage error where something that has to be read cannot be: then nothing was listed.
 * Damaged contents of a file that was written are no error but a difference.
 */
int h2_diff(struct h2_fs *fs, const char *from, const char *to,
	    const struct h2_pass_options *options,
	    int (*entry)(void *user, const struct h2_diff_entry *entry), void *user);

#ifdef __cplusplus
}
#endif
#endif
