/*
 * The FUSE operations: names, attributes, and the table of all.
 *
 * Errors: what the library calls damage (-H2_ECHECK, -H2_ECORRUPT, a device's complaint) reaches
 * programs as EIO.
 *
 * A PFS is changed by the one mount that has it for writing, so what the kernel was told stays true
 * until the kernel itself changes it, and it knows what its own requests change: it asks again for
 * the attributes of a directory after a name was made in it. With its writeback cache it also owns
 * the size and the times of regular files, and tells when it wants them stored.
 */
#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "ops_impl.h"

#define FRAGMENT_BYTES 16384u /* the unit that statfs counts in: a granule */
#define RESERVE_DIVISOR 20u   /* BS 2.8: kept from unprivileged users */
#define DEVICE_MAJOR_MAX 0xfffu
#define DEVICE_MINOR_MAX 0xfffffu
#define TIME_UNIT_NS 1000u /* of the times that are stored */
#define BACKGROUND_MAX 64u /* reads ahead and writes behind under way at once */

/* ---- errors ---- */

int errno_for_user(int err)
{
	switch (-err) {
	case ENOENT:
	case ENOTDIR:
	case EISDIR:
	case ENAMETOOLONG:
	case EINVAL:
	case ENOMEM:
	case ESTALE:
	case EEXIST:
	case ENOTEMPTY:
	case ENOSPC:
	case EDQUOT:
	case EPERM:
	case EMLINK:
	case EXDEV:
	case EFBIG:
	case EROFS:
	case EOPNOTSUPP:
	case ENODEV:
	case EBUSY:
	case EINTR:
	case EMFILE:
	case EOVERFLOW:
		return -err;
	default:
		return EIO;
	}
}

void reply_error(fuse_req_t req, int err)
{
	fuse_reply_err(req, errno_for_user(err));
}

/* ---- attributes and names ---- */

int get_node(fuse_req_t req, fuse_ino_t ino, struct h2_inode **inodep)
{
	const struct ops_view *view = view_of(req);
	const struct ops_state *state = atomic_load(&view->state);
	uint64_t inum = ino;
	int err;

	if (is_snapdir(view, ino))
		return -EINVAL;
	if (in_snapshot(view, ino))
		return snapdir_get(view->snapdir, ino, inodep);
	if (ino != FUSE_ROOT_ID && (view->snapdir || state->base)) {
		/* What the PFS had before it was rolled back is not found. */
		if (snapdir_base(ino) != state->base)
			return -ESTALE;
		inum &= SNAPDIR_INUM_MAX;
	}
	err = h2_inode_get(state->pfs, inum, inodep);
	return err == -ENOENT ? -ESTALE : err;
}

bool is_snapdir_name(const struct ops_view *view, fuse_ino_t parent, const char *name)
{
	return view->snapdir && parent == FUSE_ROOT_ID &&
	       strcmp(name, snapdir_name(view->snapdir)) == 0;
}

void stat_snapdir(const struct ops_view *view, struct stat *st)
{
	struct timespec time = {.tv_sec = (time_t)snapdir_time(view->snapdir)};

	*st = (struct stat){
		.st_ino = SNAPDIR_NODE,
		.st_mode = S_IFDIR | 0555,
		.st_nlink = 2,
		.st_blksize = H2_LOGICAL_BLOCK,
		.st_atim = time,
		.st_mtim = time,
		.st_ctim = time,
	};
}

static struct timespec time_of(uint64_t us)
{
	return (struct timespec){
		.tv_sec = (time_t)(us / 1000000),
		.tv_nsec = (long)(us % 1000000) * 1000,
	};
}

/*
 * FUSE carries 12 bits of major and 20 of minor. A number that does not fit must not turn into that
 * of another device: 0:0 is none, opening it fails with ENXIO.
 */
static dev_t device_of(const struct h2_attr *attr)
{
	if (attr->rmajor > DEVICE_MAJOR_MAX || attr->rminor > DEVICE_MINOR_MAX)
		return 0;
	return makedev(attr->rmajor, attr->rminor);
}

void fill_stat(const struct ops_view *view, struct h2_inode *inode, uint64_t base, struct stat *st)
{
	struct h2_attr attr;

	h2_inode_attr(inode, &attr);
	*st = (struct stat){
		.st_ino = snapdir_is_snapshot(base) ? base | attr.inum : attr.inum,
		.st_mode = attr.mode,
		.st_nlink = attr.nlink,
		.st_uid = attr.uid,
		.st_gid = attr.gid,
		.st_rdev = device_of(&attr),
		.st_size = (off_t)attr.size,
		.st_blksize = H2_LOGICAL_BLOCK,
		.st_blocks = (blkcnt_t)attr.blocks,
		.st_atim = time_of(attr.atime_us),
		.st_mtim = time_of(attr.mtime_us),
		.st_ctim = time_of(attr.ctime_us),
	};
	if (view->nodes && attr.nlink <= 1 && nodes_is_gone(view->nodes, node_of(base, attr.inum)))
		st->st_nlink = 0;
}

int fill_entry(const struct ops_view *view, struct h2_inode *inode, uint64_t base,
	       struct fuse_entry_param *entry)
{
	fuse_ino_t node;

	memset(entry, 0, sizeof(*entry));
	fill_stat(view, inode, base, &entry->attr);
	node = node_of(base, h2_inode_meta(inode)->inum);
	if (node != FUSE_ROOT_ID && snapdir_base(node) != base && (view->snapdir || base))
		return -EOVERFLOW;
	if (view->nodes && !nodes_add(view->nodes, node))
		return -ENOMEM;
	entry->ino = node;
	entry->generation = snapdir_is_snapshot(base) ? snapdir_generation(view->snapdir) : 0;
	entry->attr_timeout = entry->entry_timeout = seconds_of(base);
	return 0;
}

/*
 * Where a reply does not reach the kernel the connection has ended, and with it all that the kernel
 * knew; so the node need not be forgotten here.
 */
void reply_inode(fuse_req_t req, struct h2_inode *inode, uint64_t base)
{
	struct fuse_entry_param entry;
	int err = fill_entry(view_of(req), inode, base, &entry);

	if (err)
		reply_error(req, err);
	else
		fuse_reply_entry(req, &entry);
}

static void reply_snapdir(fuse_req_t req)
{
	struct ops_view *view = view_of(req);
	struct fuse_entry_param entry = {
		.ino = SNAPDIR_NODE,
		.attr_timeout = FOREVER_SECONDS,
		.entry_timeout = FOREVER_SECONDS,
	};

	stat_snapdir(view, &entry.attr);
	if (view->nodes && !nodes_add(view->nodes, entry.ino))
		fuse_reply_err(req, ENOMEM);
	else
		fuse_reply_entry(req, &entry);
}

/*
 * A name in the virtual directory, which is looked up each time: snapshots come and go. Its own parent
 * is the root.
 */
static void look_up_snapshot(fuse_req_t req, const char *name)
{
	struct ops_view *view = view_of(req);
	struct h2_inode *root = NULL;
	struct fuse_entry_param entry;
	uint64_t base = 0;
	int err;

	if (strcmp(name, ".") == 0) {
		reply_snapdir(req);
		return;
	}
	if (strcmp(name, "..") == 0)
		err = get_node(req, FUSE_ROOT_ID, &root);
	else
		err = snapdir_find(view->snapdir, name, &base, &root);
	if (!err)
		err = fill_entry(view, root, base, &entry);
	h2_inode_put(root);
	if (err) {
		reply_error(req, err);
		return;
	}
	if (snapdir_is_snapshot(base))
		entry.entry_timeout = 0;
	fuse_reply_entry(req, &entry);
}

/* Get the inode that a name in dir leads to, "." and ".." included: NFS looks those up. */
static int get_named(fuse_req_t req, fuse_ino_t parent, const char *name, struct h2_inode **inodep)
{
	struct h2_dirent ent;
	struct h2_inode *dir;
	int err = get_node(req, parent, &dir);

	if (err)
		return err;
	if (strcmp(name, ".") == 0) {
		*inodep = dir;
		return 0;
	}
	if (strcmp(name, "..") == 0) {
		err = h2_inode_get(h2_inode_pfs(dir), h2_dir_parent(dir), inodep);
	} else {
		err = h2_dir_lookup(dir, name, strlen(name), &ent);
		if (!err)
			err = h2_dirent_get(dir, &ent, inodep);
	}
	h2_inode_put(dir);
	return err;
}

static void look_up(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	uint64_t base = base_of(view_of(req), parent);
	struct h2_inode *inode;
	int err = get_named(req, parent, name, &inode);

	if (err == -ENOENT) {
		/* A reply without a node is remembered, an error is not. */
		fuse_reply_entry(req,
				 &(struct fuse_entry_param){.entry_timeout = seconds_of(base)});
	} else if (err) {
		reply_error(req, err);
	} else {
		reply_inode(req, inode, base);
		h2_inode_put(inode);
	}
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	const struct ops_view *view = view_of(req);

	if (is_snapdir(view, parent))
		look_up_snapshot(req, name);
	else if (is_snapdir_name(view, parent, name) ||
		 (in_snapshot(view, parent) && parent == (base_of(view, parent) | H2_INUM_ROOT) &&
		  strcmp(name, "..") == 0))
		reply_snapdir(req);
	else
		look_up(req, parent, name);
}

static void forget(const struct ops_view *view, fuse_ino_t ino, uint64_t count)
{
	if (view->nodes)
		nodes_forget(view->nodes, ino, count);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	forget(view_of(req), ino, nlookup);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		forget(view_of(req), forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	const struct ops_view *view = view_of(req);
	uint64_t base = base_of(view, ino);
	struct h2_inode *inode;
	struct stat st;
	int err = 0;

	(void)fi;
	if (is_snapdir(view, ino)) {
		stat_snapdir(view, &st);
	} else {
		err = get_node(req, ino, &inode);
		if (!err) {
			fill_stat(view, inode, base, &st);
			h2_inode_put(inode);
		}
	}
	if (err)
		reply_error(req, err);
	else
		fuse_reply_attr(req, &st, seconds_of(base));
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* What is left of a quota; 0 is none. */
static uint64_t quota_left(uint64_t quota, uint64_t used)
{
	if (quota == 0)
		return UINT64_MAX;
	return quota > used ? quota - used : 0;
}

/*
 * What is told of a writable PFS: a quota looks like a smaller volume. Programs take 0 free inodes
 * for "no file can be made", but there is no limit but space, unless by a quota.
 */
static void fill_usage(struct h2_pfs *pfs, uint64_t free_bytes, struct statvfs *st)
{
	struct h2_pfs_usage usage;
	uint64_t left;

	h2_pfs_get_usage(pfs, &usage);
	if (usage.data_quota) {
		left = quota_left(usage.data_quota, usage.data_bytes) / FRAGMENT_BYTES;
		st->f_blocks = min_u64(st->f_blocks, usage.data_quota / FRAGMENT_BYTES);
		st->f_bfree = min_u64(st->f_bfree, left);
		st->f_bavail = min_u64(st->f_bavail, left);
	}
	st->f_ffree = min_u64(free_bytes / H2_INODE_SIZE,
			      quota_left(usage.inode_quota, usage.inodes));
	st->f_favail = st->f_ffree;
	st->f_files = usage.inodes + st->f_ffree;
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	const struct ops_view *view = view_of(req);
	struct h2_fs_stats stats;
	struct statvfs st = {
		.f_bsize = H2_LOGICAL_BLOCK,
		.f_frsize = FRAGMENT_BYTES,
		.f_namemax = H2_NAME_MAX,
	};
	uint64_t reserve;

	(void)ino;
	/*
	 * Space is known exactly after a commit only. And this is the last that umount(8) asks for: the
	 * kernel itself does not wait for us when it unmounts, but for most mounts umount(8) looks
	 * at their type first, and so finds everything on the media when it goes on.
	 */
	(void)ops_sync(view); /* an error was logged */
	h2_fs_get_stats(h2_pfs_fs(view_pfs(view)), &stats);
	reserve = stats.total_bytes / RESERVE_DIVISOR / FRAGMENT_BYTES;
	st.f_blocks = stats.total_bytes / FRAGMENT_BYTES;
	st.f_bfree = stats.free_bytes / FRAGMENT_BYTES;
	st.f_bavail = st.f_bfree > reserve ? st.f_bfree - reserve : 0;
	st.f_files = h2_pfs_get_info(view_pfs(view))->ref.inode_count + 1;
	if (view->nodes)
		fill_usage(view_pfs(view), stats.free_bytes, &st);
	fuse_reply_statfs(req, &st);
}

/* ---- the beginning ---- */

/*
 * Where the kernel can do without, it stops asking after the first ENOSYS, and keeps the page
 * cache from one open to the next.
 */
static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (view_of(req)->no_open) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	if (in_snapshot(view_of(req), ino) && (fi->flags & (O_WRONLY | O_RDWR | O_TRUNC))) {
		fuse_reply_err(req, EROFS);
		return;
	}
	fi->keep_cache = 1;
	fuse_reply_open(req, fi);
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	static const unsigned wanted = FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_CACHE_SYMLINKS |
				       FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
				       FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO |
				       FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_IOCTL_DIR;
	struct ops_view *view = userdata;

	conn->want |= conn->capable & wanted;
	if (view->nodes)
		conn->want |= conn->capable & FUSE_CAP_WRITEBACK_CACHE;
	view->writeback = conn->want & FUSE_CAP_WRITEBACK_CACHE;
	/* Attributes that differ would drop the page cache; only the kernel itself changes them. */
	conn->want &= ~(unsigned)FUSE_CAP_AUTO_INVAL_DATA;
	/*
	 * Attributes with every listing: left to itself the kernel asks for them in the first batch
	 * only, and then for each name alone.
	 */
	conn->want &= ~(unsigned)FUSE_CAP_READDIRPLUS_AUTO;
	/* Without opens the kernel has to cut files itself, which it does by setting their size. */
	conn->want &= ~(unsigned)FUSE_CAP_ATOMIC_O_TRUNC;
	/* It is the kernel that knows whose write clears the setuid bit. */
	conn->want &= ~(unsigned)FUSE_CAP_HANDLE_KILLPRIV;
	conn->max_readahead = OPS_READ_AHEAD;
	conn->max_read = OPS_READ_MAX;
	conn->max_write = OPS_WRITE_MAX;
	conn->max_background = BACKGROUND_MAX;
	conn->congestion_threshold = BACKGROUND_MAX / 4 * 3;
	conn->time_gran = TIME_UNIT_NS;
	/* Snapshots: what the kernel keeps in its cache could be refused only when it is too late. */
	view->no_open = !view->snapdir && (conn->capable & FUSE_CAP_NO_OPEN_SUPPORT);
	view->no_opendir = !view->nodes && !view->snapdir && (conn->capable & FUSE_CAP_NO_OPENDIR_SUPPORT);
}

/*
 * There is no create: MKNOD does the same without a file handle, which the kernel would give back
 * in a request of its own. There is no flush and no release: closing sends what the kernel still
 * has to write, and there is nothing else to do.
 */
const struct fuse_lowlevel_ops ops_table = {
	.init = op_init,
	.destroy = op_destroy,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.fsync = op_fsync,
	.fsyncdir = op_fsync,
	.statfs = op_statfs,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.ioctl = op_ioctl,
	.fallocate = op_fallocate,
	.copy_file_range = op_copy_file_range,
	.lseek = op_lseek,
};
