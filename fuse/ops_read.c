/*
 * The FUSE operations that read: file contents and directories.
 *
 * A reply never holds less than was asked without the reason being the end of the file: the kernel
 * would take a short read for the end, and fill the page with zeros. So a read that meets damage
 * fails as a whole; for read-ahead the kernel then asks page by page, and every page that can be
 * read is.
 *
 * Offsets in directories (BS 4.1): 0 stands before ".", 1 before "..", 2 before the first name,
 * and key + 1 (key without bit 63) behind a name. No state is kept between two requests, so that a
 * listing needs no OPENDIR and can be resumed after a remount. A listing that passed a damaged
 * part must end in EIO, and has to remember that it did: the offset says so. Bit 15 of a name's key
 * is always set, so bits 0 to 15 of key + 1 lie in 0x8001..0xffff, or are 0 with a carry; an offset
 * with those bits in 0x0001..0x8000 is that of the key with bit 15 set, damage seen.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ops_impl.h"

#define BUFFER_ALIGN 4096u /* what copying likes best */
#define QUIET_SECONDS 30   /* after that long without a change a directory's names may be cached */

#define OFFSET_DOT 1
#define OFFSET_DOTDOT 2
#define HASH_ALWAYS UINT64_C(0x8000) /* the bit that every name hash has */

/* ---- file contents ---- */

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

static uint64_t size_of(struct h2_inode *inode)
{
	struct h2_attr attr;

	h2_inode_attr(inode, &attr);
	return attr.size;
}

/* Read all of [offset, offset + len) that lies within the file; bytes read or an error. */
static ssize_t read_whole(struct h2_inode *inode, uint64_t offset, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = h2_file_read(inode, offset + done, (char *)buf + done, len - done);

		if (n < 0)
			return n;
		if (n == 0)
			break; /* the end; damage is an error by now */
		done += (size_t)n;
	}
	return (ssize_t)done;
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
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
	err = get_node(req, ino, &inode);
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
	uint64_t start, end, size = size_of(inode);
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

void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	struct h2_inode *inode;
	uint64_t found = 0;
	int err = get_node(req, ino, &inode);

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

void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	char target[H2_SYMLINK_MAX + 1];
	struct h2_inode *inode;
	ssize_t len;
	int err = get_node(req, ino, &inode);

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

/* ---- directories ---- */

/*
 * Whether the kernel may answer listings from what it has kept of earlier ones. It notices changes,
 * but only where a listing begins: one that goes on behind a name which was removed meanwhile, from
 * names kept by another one, would miss the rest. So a directory has to have been quiet for a
 * while; its ctime tells, which users cannot set.
 */
static bool may_keep_names(fuse_req_t req, fuse_ino_t ino)
{
	struct h2_inode *dir;
	struct h2_attr attr;
	int64_t age;

	if (get_node(req, ino, &dir) != 0)
		return false;
	h2_inode_attr(dir, &attr);
	h2_inode_put(dir);
	age = time(NULL) - (int64_t)(attr.ctime_us / 1000000);
	return age > QUIET_SECONDS;
}

void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	const struct ops_view *view = view_of(req);

	if (view->no_opendir) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	if (!is_snapdir(view, ino))
		fi->keep_cache = fi->cache_readdir = !view->nodes || may_keep_names(req, ino);
	fuse_reply_open(req, fi);
}

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
	const struct ops_view *view;
	struct h2_inode *dir;
	uint64_t base; /* of its nodes */
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
 * read, or is one too many: node 0 makes the kernel look the name up when somebody wants it, and get
 * the error then.
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

	fill_bare(&entry, snapdir_is_snapshot(l->base) ? l->base | ent->inum : ent->inum,
		  mode_of(ent->type));
	if (l->plus && h2_dirent_get_listed(l->dir, ent, &inode) == 0) {
		/* Every node in the reply is one that the kernel knows once more. */
		if (fill_entry(l->view, inode, l->base, &entry) != 0)
			entry.ino = 0;
		h2_inode_put(inode);
	}
	if (put(l, ent->name, &entry, next))
		return true;
	if (entry.ino && l->view->nodes)
		nodes_forget(l->view->nodes, entry.ino, 1);
	return false;
}

static uint64_t parent_of(const struct listing *l, fuse_ino_t ino)
{
	if (is_snapdir(l->view, ino))
		return FUSE_ROOT_ID;
	if (!snapdir_is_snapshot(l->base))
		return h2_dir_parent(l->dir);
	return ino == (l->base | H2_INUM_ROOT) ? SNAPDIR_NODE : l->base | h2_dir_parent(l->dir);
}

static bool put_dots(struct listing *l, fuse_ino_t ino, uint64_t offset)
{
	struct fuse_entry_param entry;

	if (offset < OFFSET_DOT) {
		fill_bare(&entry, ino, S_IFDIR);
		if (!put(l, ".", &entry, OFFSET_DOT))
			return false;
	}
	if (offset < OFFSET_DOTDOT) {
		fill_bare(&entry, parent_of(l, ino), S_IFDIR);
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

/* The names in the virtual directory; without attributes, so that each is looked up when it is used. */
static int put_snapshots(struct listing *l, struct position pos)
{
	struct fuse_entry_param entry;
	struct h2_pfs_info info;
	uint64_t node, next, key = pos.key | H2_KEY_VISIBLE;
	int err = pos.end ? 1 : 0;

	while (!err && (err = snapdir_next(l->view->snapdir, key, &info, &node)) == 0) {
		fill_bare(&entry, node, S_IFDIR);
		next = offset_behind(info.key, false);
		if (next == 0 || !put(l, info.label, &entry, next))
			break;
		key = info.key + 1;
		err = key == 0;
	}
	return err == 1 ? 0 : err;
}

static void reply_listing(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
	struct listing l = {
		.req = req,
		.view = view_of(req),
		.base = base_of(view_of(req), ino),
		.size = size,
		.plus = plus,
	};
	bool snapdir = is_snapdir(l.view, ino);
	int err = 0;

	l.buf = get_read_buffer(size);
	if (!l.buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	if (!snapdir)
		err = get_node(req, ino, &l.dir);
	if (err) {
		reply_error(req, err);
		return;
	}
	if (off < 0)
		err = -EINVAL;
	else if (put_dots(&l, ino, (uint64_t)off))
		err = snapdir ? put_snapshots(&l, position_of((uint64_t)off))
			      : put_names(&l, position_of((uint64_t)off));
	h2_inode_put(l.dir);
	/* With names in the reply the error waits: resuming behind them meets it again. */
	if (err && l.used == 0)
		reply_error(req, err);
	else
		fuse_reply_buf(req, l.buf, l.used);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	reply_listing(req, ino, size, off, false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	(void)fi;
	reply_listing(req, ino, size, off, true);
}
