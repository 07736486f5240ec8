/*
 * Making, removing and snapshotting PFSs (MF 11, BS 10) in a filesystem that was opened with
 * h2_fs_options.write.
 *
 * Every function here is one change within one commit, and that commit is on the media when it
 * returns 0. They may be called from any number of threads at once; each waits for the others. Other
 * operations go on meanwhile.
 *
 * PFSs are named by their labels: 1 to 255 bytes, compared byte for byte; of new ones no byte may be
 * '/', '@' or ':', which mean something where a PFS is named for mounting.
 *
 * Besides the errors that each one lists, all return -ENOENT (no PFS has the label), -EINVAL (a
 * label that cannot be), -ENAMETOOLONG, -EROFS (not open for writing, or changes are refused since a
 * commit failed), -ENOSPC, -ENOMEM, a damage error, or that of the commit. Then nothing has changed.
 */
#ifndef HAMMER2_PFS_H
#define HAMMER2_PFS_H

#include <hammer2/change.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The two ids of a PFS. No other PFS may have either of them (MF 11.4), and nil is none: -EINVAL. */
struct h2_pfs_ids {
	struct h2_uuid clid, fsid;
};

/*
 * Make an empty PFS. ids NULL: random ones. Returns also -EEXIST.
 */
int h2_pfs_create(struct h2_fs *fs, const char *label, const struct h2_pfs_ids *ids);

/*
 * Remove a PFS with all that is in it. Its storage comes back by bulk free, but for what other PFSs
 * share. Works without free space. Returns also -EBUSY (it is open); -EPERM (there is no other one).
 */
int h2_pfs_delete(struct h2_fs *fs, const char *label);

/* Give a PFS another label. Returns also -EEXIST; -EBUSY (it is open). */
int h2_pfs_rename(struct h2_fs *fs, const char *label, const char *new_label);

/*
 * Make a PFS that has the contents of another at this moment, attributes and quotas of its root
 * included, and is a snapshot (MF 11.8). Costs the same however much there is; they share all
 * storage until either changes. ids NULL: random ones. Returns also -EEXIST.
 */
int h2_pfs_snapshot(struct h2_fs *fs, const char *origin, const char *label,
		    const struct h2_pfs_ids *ids);

/*
 * Make a snapshot of a directory: a PFS whose root it is, with all that is below it at this moment, and
 * nothing else. Inodes keep their numbers; link counts are those of the names that are there. Costs
 * by the number of names below the directory, whatever the files hold, and memory: 16 bytes for each.
 *
 * Others go on reading and writing meanwhile. A crash before it returns leaves nothing of it. Of a PFS's
 * root it is h2_pfs_snapshot(). Returns also -EEXIST; -ENOTDIR; -ENOENT (dir was removed); -EINTR;
 * -EOPNOTSUPP (inodes within directories, MF 7.6). options may be NULL.
 */
int h2_pfs_snapshot_directory(struct h2_inode *dir, const char *label,
			      const struct h2_pfs_ids *ids, const struct h2_pass_options *options);

/*
 * Give a PFS the contents of another one, a snapshot of it as a rule, which stays as it is. keep:
 * the label of a snapshot that receives the contents that it had; NULL: they are removed. Returns also
 * -EEXIST (keep); -EBUSY (it is open).
 */
int h2_pfs_rollback(struct h2_fs *fs, const char *label, const char *snapshot, const char *keep,
		    const struct h2_pfs_ids *keep_ids);

/*
 * The same also while it is open. Whoever has it open gets -ESTALE for every change from then on, and
 * still reads what it had, if that is kept; h2_pfs_open() gives what it has now, as another object.
 */
int h2_pfs_rollback_open(struct h2_fs *fs, const char *label, const char *snapshot,
			 const char *keep, const struct h2_pfs_ids *keep_ids);

#ifdef __cplusplus
}
#endif
#endif
