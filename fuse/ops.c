/*
 * The FUSE operations.
 *
 * Errors: what the library calls damage (-H2_ECHECK, -H2_ECORRUPT, a device's complaint) reaches
 * programs as EIO. A reply never holds less than was asked without the reason being the end of the
 * file: the kernel would take a short read for the end, and fill the page with zeros. So a read
 * that meets damage fails as a whole; for read-ahead the kernel then asks page by page, and every
 * page that can be read is.
 *
 * Offsets in directories (BS 4.1): 0 stands before ".", 1 before "..", 2 before the first name,
 * and key + 1 (key without bit 63) behind a name. No state is kept between two requests, so that a
 * listing needs no OPENDIR and can be resumed after a remount. A listing that passed a damaged
 * part must end in EIO, and has to remember that it did: the offset says so. Bit 15 of a name's key
 * is always set, so bits 0 to 15 of key + 1 lie in 0x8001..0xffff, or are 0 with a carry; an offset
 * with those bits in 0x0001..0x8000 is that of the key with bit 15 set, damage seen.
 */
#include "ops.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "log.h"

#define FOREVER_SECONDS (365.0 * 86400) /* how long names and attributes stay true */
#define BUFFER_ALIGN 4096u              /* what copying likes best */
#define FRAGMENT_BYTES 16384u           /* the unit that statfs counts in: a granule */
#define RESERVE_DIVISOR 20u             /* BS 2.8: kept from unprivileged users */
#define DEVICE_MAJOR_MAX 0xfffu
#define DEVICE_MINOR_MAX 0xfffffu

#define OFFSET_DOT 1
#define OFFSET_DOTDOT 2
#define HASH_ALWAYS UINT64_C(0x8000) /* the bit that every name hash has */

/* ---- errors ---- */

static int errno_for_user(int err)
{
	switch (-err) {
	case ENOENT:
	case ENOTDIR:
	case EISDIR:
	case ENAMETOOLONG:
	case EINVAL:
	case ENOMEM:
	case ESTALE:
		return -err;
	default:
		return EIO;
	}
}

static void reply_error(fuse_req_t req, int err)
{
	fuse_reply_err(req, errno_for_user(err));
}

/* ---- attributes and names ---- */

static struct ops_view *view_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
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

static void fill_stat(const struct h2_inode *inode, struct stat *st)
{
	struct h2_attr attr;

	h2_inode_attr(inode, &attr);
	*st = (struct stat){
		.st_ino = attr.inum,
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
}

static void fill_entry(const struct h2_inode *inode, struct fuse_entry_param *entry)
{
	memset(entry, 0, sizeof(*entry));
	fill_stat(inode, &entry->attr);
	entry->ino = entry->attr.st_ino;
	entry->attr_timeout = entry->entry_timeout = FOREVER_SECONDS;
}

/* Get the inode that a name in dir leads to, "." and ".." included: NFS looks those up. */
static int get_named(struct h2_pfs *pfs, struct h2_inode *dir, const char *name,
		     struct h2_inode **inodep)
{
	struct h2_dirent ent;
	int err;

	if (strcmp(name, ".") == 0)
		return h2_inode_get(pfs, h2_inode_meta(dir)->inum, inodep);
	if (strcmp(name, "..") == 0)
		return h2_inode_get(pfs, h2_dir_parent(dir), inodep);
	err = h2_dir_lookup(dir, name, strlen(name), &ent);
	if (err)
		return err;
	return h2_dirent_get(dir, &ent, inodep);
}

static int look_up(struct h2_pfs *pfs, fuse_ino_t parent, const char *name,
		   struct fuse_entry_param *entry)
{
	struct h2_inode *dir, *inode;
	int err = h2_inode_get(pfs, parent, &dir);

	if (err)
		return err == -ENOENT ? -ESTALE : err;
	err = get_named(pfs, dir, name, &inode);
	h2_inode_put(dir);
	if (err)
		return err;
	fill_entry(inode, entry);
	h2_inode_put(inode);
	return 0;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param entry;
	int err = look_up(view_of(req)->pfs, parent, name, &entry);

	if (err == -ENOENT) {
		/* A reply without a node is remembered, an error is not. */
		memset(&entry, 0, sizeof(entry));
		entry.entry_timeout = FOREVER_SECONDS;
		err = 0;
	}
	if (err)
		reply_error(req, err);
	else
		fuse_reply_entry(req, &entry);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	(void)ino;
	(void)nlookup;
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	(void)count;
	(void)forgets;
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct h2_inode *inode;
	struct stat st;
	int err = h2_inode_get(view_of(req)->pfs, ino, &inode);

	(void)fi;
	if (err) {
		reply_error(req, err);
		return;
	}
	fill_stat(inode, &st);
	h2_inode_put(inode);
	fuse_reply_attr(req, &st, FOREVER_SECONDS);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	char target[H2_SYMLINK_MAX + 1];
	struct h2_inode *inode;
	ssize_t len;
	int err = h2_inode_get(view_of(req)->pfs, ino, &inode);

	if (err) {
		reply_error(req, err);
		return;
	}
	len = h2_symlink_read(inode, target, sizeof(target));
	h2_inode_put(inode);
	if (len < 0)
		reply_error(req, (int)len);
	else
		fuse_reply_readlink(req, target);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct h2_pfs *pfs = view_of(req)->pfs;
	struct h2_fs_stats stats;
	uint64_t free_count, reserve;

	(void)ino;
	h2_fs_get_stats(h2_pfs_fs(pfs), &stats);
	free_count = stats.free_bytes / FRAGMENT_BYTES;
	reserve = stats.total_bytes / RESERVE_DIVISOR / FRAGMENT_BYTES;
	fuse_reply_statfs(req, &(struct statvfs){
				       .f_bsize = H2_LOGICAL_BLOCK,
				       .f_frsize = FRAGMENT_BYTES,
				       .f_blocks = stats.total_bytes / FRAGMENT_BYTES,
				       .f_bfree = free_count,
				       .f_bavail = free_count > reserve ? free_count - reserve : 0,
				       .f_files = h2_pfs_get_info(pfs)->ref.inode_count + 1,
				       .f_namemax = H2_NAME_MAX,
			       });
}

/* ---- file contents ---- */

/*
 * Where the kernel can do without, it stops asking after the first ENOSYS, and keeps the page
 * cache from one open to the next.
 */
static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	if (view_of(req)->no_open) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	fi->keep_cache = 1;
	fuse_reply_open(req, fi);
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	if (view_of(req)->no_opendir) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	fi->keep_cache = 1;
	fi->cache_readdir = 1;
	fuse_reply_open(req, fi);
}

/* One for each thread; a read is answered before the thread takes the next request. */
static _Thread_local void *read_buffer;
static _Thread_local size_t read_buffer_size;

static void *get_read_buffer(size_t size)
{
	if (size <= read_buffer_size)
		return read_buffer;
	ops_thread_end();
	size = (size + OPS_READ_MAX - 1) / OPS_READ_MAX * OPS_READ_MAX;
	read_buffer = aligned_alloc(BUFFER_ALIGN, size);
	if (read_buffer)
		read_buffer_size = size;
	return read_buffer;
}

void ops_thread_end(void)
{
	free(read_buffer);
	read_buffer = NULL;
	read_buffer_size = 0;
}

/* Read all of [offset, offset + len) that lies within the file; bytes read or an error. */
static ssize_t read_whole(struct h2_inode *inode, uint64_t offset, void *buf, size_t len)
{
	uint64_t size = h2_inode_meta(inode)->size;
	size_t wanted, done = 0;

	if (offset >= size)
		return 0;
	wanted = size - offset < len ? (size_t)(size - offset) : len;
	while (done < wanted) {
		ssize_t n = h2_file_read(inode, offset + done, (char *)buf + done, wanted - done);

		if (n < 0)
			return n;
		if (n == 0)
			return -EIO;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	struct h2_inode *inode;
	void *buf = get_read_buffer(size);
	ssize_t n;
	int err;

	(void)fi;
	if (!buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	err = h2_inode_get(view_of(req)->pfs, ino, &inode);
	if (err) {
		reply_error(req, err);
		return;
	}
	n = read_whole(inode, (uint64_t)off, buf, size);
	h2_inode_put(inode);
	if (n < 0)
		reply_error(req, (int)n);
	else
		fuse_reply_buf(req, buf, (size_t)n);
}

/* Where SEEK_DATA or SEEK_HOLE leads from off. Returns 0; 1: to no place in the file; an error. */
static int seek(struct h2_inode *inode, uint64_t off, int whence, uint64_t *found)
{
	uint64_t start, end, size = h2_inode_meta(inode)->size;
	int err;

	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	if (off >= size)
		return 1;
	err = h2_file_next_data(inode, off, whence == SEEK_DATA ? 1 : 0, &start, &end);
	if (err < 0)
		return err;
	if (whence == SEEK_DATA) {
		*found = start;
		return err;
	}
	*found = err || start > off ? off : end;
	return 0;
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		     struct fuse_file_info *fi)
{
	struct h2_inode *inode;
	uint64_t found = 0;
	int err = h2_inode_get(view_of(req)->pfs, ino, &inode);

	(void)fi;
	if (!err) {
		err = off < 0 ? 1 : seek(inode, (uint64_t)off, whence, &found);
		h2_inode_put(inode);
	}
	if (err > 0)
		fuse_reply_err(req, ENXIO);
	else if (err)
		reply_error(req, err);
	else
		fuse_reply_lseek(req, (off_t)found);
}

/* ---- directories ---- */

struct position {     /* what an offset behind "." and ".." stands for */
	uint64_t key; /* the first key of interest; bit 63 does not matter */
	bool damage;  /* damage was met on the way here */
	bool end;     /* nothing can follow */
};

static struct position position_of(uint64_t offset)
{
	uint64_t low = offset & 0xffff;

	if (offset <= OFFSET_DOTDOT)
		return (struct position){.key = 0};
	if (offset == INT64_MAX)
		return (struct position){.end = true};
	if (low > 0 && low <= HASH_ALWAYS)
		return (struct position){.key = offset + HASH_ALWAYS, .damage = true};
	return (struct position){.key = offset};
}

/*
 * The offset behind the name with this key, or 0 where there is none that says what it must: only
 * with keys that no name hash gives, on media made to confuse.
 */
static uint64_t offset_behind(uint64_t key, bool damage)
{
	key &= ~H2_KEY_VISIBLE;
	if (!(key & HASH_ALWAYS))
		return 0;
	if (!damage)
		return key == INT64_MAX ? key : key + 1;
	return key < 0x10000 ? 0 : key - HASH_ALWAYS + 1;
}

struct listing { /* a reply being put together */
	fuse_req_t req;
	struct h2_pfs *pfs;
	struct h2_inode *dir;
	char *buf;
	size_t size, used;
	bool plus;
};

static bool put(struct listing *l, const char *name, const struct fuse_entry_param *entry,
		uint64_t next)
{
	size_t space = l->size - l->used, n;

	if (l->plus)
		n = fuse_add_direntry_plus(l->req, l->buf + l->used, space, name, entry,
					   (off_t)next);
	else
		n = fuse_add_direntry(l->req, l->buf + l->used, space, name, &entry->attr,
				      (off_t)next);
	if (n > space)
		return false;
	l->used += n;
	return true;
}

static mode_t mode_of(unsigned object_type)
{
	static const mode_t modes[] = {
		[H2_OBJECT_DIRECTORY] = S_IFDIR,    [H2_OBJECT_FILE] = S_IFREG,
		[H2_OBJECT_FIFO] = S_IFIFO,         [H2_OBJECT_CHAR_DEVICE] = S_IFCHR,
		[H2_OBJECT_BLOCK_DEVICE] = S_IFBLK, [H2_OBJECT_SYMLINK] = S_IFLNK,
		[H2_OBJECT_SOCKET] = S_IFSOCK,
	};

	return object_type < sizeof(modes) / sizeof(modes[0]) ? modes[object_type] : 0;
}

/*
 * What a listing without attributes tells; also in a listing with them where the inode cannot be
 * read: node 0 makes the kernel look the name up when somebody wants it, and get the error then.
 */
static void fill_bare(struct fuse_entry_param *entry, uint64_t inum, mode_t mode)
{
	memset(entry, 0, sizeof(*entry));
	entry->attr.st_ino = inum;
	entry->attr.st_mode = mode;
}

static bool put_name(struct listing *l, const struct h2_dirent *ent, uint64_t next)
{
	struct fuse_entry_param entry;
	struct h2_inode *inode;

	if (l->plus && h2_inode_get(l->pfs, ent->inum, &inode) == 0) {
		fill_entry(inode, &entry);
		h2_inode_put(inode);
	} else {
		fill_bare(&entry, ent->inum, mode_of(ent->type));
	}
	return put(l, ent->name, &entry, next);
}

static bool put_dots(struct listing *l, uint64_t offset)
{
	struct fuse_entry_param entry;

	if (offset < OFFSET_DOT) {
		fill_bare(&entry, h2_inode_meta(l->dir)->inum, S_IFDIR);
		if (!put(l, ".", &entry, OFFSET_DOT))
			return false;
	}
	if (offset < OFFSET_DOTDOT) {
		fill_bare(&entry, h2_dir_parent(l->dir), S_IFDIR);
		if (!put(l, "..", &entry, OFFSET_DOTDOT))
			return false;
	}
	return true;
}

/* Fill the reply with names from the position on. Returns 0, or the error due if none fitted. */
static int put_names(struct listing *l, struct position pos)
{
	struct h2_dir_scan *scan;
	struct h2_dirent ent;
	int err;

	if (pos.end)
		return 0;
	err = h2_dir_scan_new(l->dir, pos.key, &scan);
	if (err)
		return err;
	while ((err = h2_dir_scan_next(scan, &ent)) != 1) {
		uint64_t next;

		if (err) {
			pos.damage = true;
			continue;
		}
		next = offset_behind(ent.key, pos.damage);
		if (next == 0)
			pos.damage = true;
		if (next == 0 || !put_name(l, &ent, next))
			break;
	}
	h2_dir_scan_free(scan);
	return pos.damage ? -EIO : 0;
}

static void reply_listing(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
	struct listing l = {.req = req, .pfs = view_of(req)->pfs, .size = size, .plus = plus};
	int err;

	l.buf = get_read_buffer(size);
	if (!l.buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	err = h2_inode_get(l.pfs, ino, &l.dir);
	if (err) {
		reply_error(req, err);
		return;
	}
	if (off < 0)
		err = -EINVAL;
	else if (put_dots(&l, (uint64_t)off))
		err = put_names(&l, position_of((uint64_t)off));
	h2_inode_put(l.dir);
	/* With names in the reply the error waits: resuming behind them meets it again. */
	if (err && l.used == 0)
		reply_error(req, err);
	else
		fuse_reply_buf(req, l.buf, l.used);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	(void)fi;
	reply_listing(req, ino, size, off, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			   struct fuse_file_info *fi)
{
	(void)fi;
	reply_listing(req, ino, size, off, true);
}

/* ---- the beginning ---- */

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	static const unsigned wanted = FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_CACHE_SYMLINKS |
				       FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
				       FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO |
				       FUSE_CAP_EXPLICIT_INVAL_DATA;
	struct ops_view *view = userdata;

	conn->want |= conn->capable & wanted;
	/* Attributes that differ would drop the page cache; they never do. */
	conn->want &= ~(unsigned)FUSE_CAP_AUTO_INVAL_DATA;
	/*
	 * Attributes with every listing: left to itself the kernel asks for them in the first batch
	 * only, and then for each name alone.
	 */
	conn->want &= ~(unsigned)FUSE_CAP_READDIRPLUS_AUTO;
	conn->max_readahead = OPS_READ_AHEAD;
	conn->max_read = OPS_READ_MAX;
	view->no_open = conn->capable & FUSE_CAP_NO_OPEN_SUPPORT;
	view->no_opendir = conn->capable & FUSE_CAP_NO_OPENDIR_SUPPORT;
}

const struct fuse_lowlevel_ops ops_table = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.readlink = op_readlink,
	.open = op_open,
	.read = op_read,
	.statfs = op_statfs,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.lseek = op_lseek,
};
