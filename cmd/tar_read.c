/*
 * Filling from an archive, read by libarchive, which is looked for when it is needed: everything
 * else works without it.
 *
 * The names in an archive may come in any order and from anybody. As tar does when it unpacks, a
 * name loses everything up to its last "..", and a leading '/'; directories that are not told of
 * are made; what comes later under the same name replaces what was there. Symlinks are never
 * followed.
 */
#include <archive.h>
#include <archive_entry.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <locale.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fill.h"

#define LIBRARY "libarchive.so.13"
#define READ_SIZE ((size_t)1 << 20)
#define WAIT_MS 200 /* how soon an interruption is noticed */
#define BLOCK 512u  /* of tar */
#define TAIL (2 * BLOCK)
#define PIECE_BLOCKS (FILL_PIECE / H2_LOGICAL_BLOCK)

/* The functions that we call, by name. mtree is left out: it reads files that it names. */
#define FUNCTIONS(F)                                                                               \
	F(archive_read_new)                                                                        \
	F(archive_read_support_filter_all)                                                         \
	F(archive_read_support_format_7zip)                                                        \
	F(archive_read_support_format_cab)                                                         \
	F(archive_read_support_format_cpio)                                                        \
	F(archive_read_support_format_empty)                                                       \
	F(archive_read_support_format_iso9660)                                                     \
	F(archive_read_support_format_lha)                                                         \
	F(archive_read_support_format_rar)                                                         \
	F(archive_read_support_format_tar)                                                         \
	F(archive_read_support_format_xar)                                                         \
	F(archive_read_support_format_zip)                                                         \
	F(archive_read_open1)                                                                      \
	F(archive_read_set_callback_data)                                                          \
	F(archive_read_set_read_callback)                                                          \
	F(archive_read_set_seek_callback)                                                          \
	F(archive_filter_code)                                                                     \
	F(archive_format)                                                                          \
	F(archive_read_next_header)                                                                \
	F(archive_read_data_block)                                                                 \
	F(archive_read_free)                                                                       \
	F(archive_error_string)                                                                    \
	F(archive_set_error)                                                                       \
	F(archive_entry_pathname)                                                                  \
	F(archive_entry_hardlink)                                                                  \
	F(archive_entry_symlink)                                                                   \
	F(archive_entry_filetype)                                                                  \
	F(archive_entry_perm)                                                                      \
	F(archive_entry_uid)                                                                       \
	F(archive_entry_gid)                                                                       \
	F(archive_entry_size)                                                                      \
	F(archive_entry_size_is_set)                                                               \
	F(archive_entry_rdevmajor)                                                                 \
	F(archive_entry_rdevminor)                                                                 \
	F(archive_entry_atime)                                                                     \
	F(archive_entry_atime_nsec)                                                                \
	F(archive_entry_atime_is_set)                                                              \
	F(archive_entry_mtime)                                                                     \
	F(archive_entry_mtime_nsec)                                                                \
	F(archive_entry_mtime_is_set)                                                              \
	F(archive_entry_ctime)                                                                     \
	F(archive_entry_ctime_nsec)                                                                \
	F(archive_entry_ctime_is_set)                                                              \
	F(archive_entry_birthtime)                                                                 \
	F(archive_entry_birthtime_nsec)                                                            \
	F(archive_entry_birthtime_is_set)                                                          \
	F(archive_entry_fflags)                                                                    \
	F(archive_entry_xattr_count)                                                               \
	F(archive_entry_acl_count)

struct library {
	void *handle;
#define MEMBER(name) __typeof__(name) *name;
	FUNCTIONS(MEMBER)
#undef MEMBER
};

struct piece {           /* contents on their way to a file */
	uint8_t *buf;    /* FILL_PIECE bytes; zeros where nothing came */
	uint64_t offset; /* in the file, a multiple of FILL_PIECE */
	bool filled[PIECE_BLOCKS];
	bool any;
};

struct input { /* the bytes of the archive */
	int fd;
	uint8_t *buf;       /* READ_SIZE bytes */
	uint8_t tail[TAIL]; /* the last ones that were read */
	uint64_t total;     /* how many were read */
	bool ended;
};

struct reader {
	struct fill *fill;
	struct library lib;
	struct archive *archive;
	struct piece piece;
	struct input input;
	bool told_root, told_up; /* that names were cut */
};

static bool load_library(struct reader *r)
{
	static const struct {
		const char *name;
		size_t offset;
	} functions[] = {
#define ROW(name) {#name, offsetof(struct library, name)},
		FUNCTIONS(ROW)
#undef ROW
	};

	r->lib.handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!r->lib.handle) {
		fill_problem(r->fill, NULL,
			     "reading archives needs the library " LIBRARY
			     ", which cannot be loaded; install it (Debian: libarchive13)");
		return false;
	}
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		void *address = dlsym(r->lib.handle, functions[i].name);

		if (!address) {
			fill_problem(r->fill, NULL,
				     LIBRARY " has no function %s; install a newer one",
				     functions[i].name);
			return false;
		}
		memcpy((char *)&r->lib + functions[i].offset, &address, sizeof(address));
	}
	return true;
}

static const char *archive_error(struct reader *r)
{
	const char *text = r->lib.archive_error_string(r->archive);

	return text ? text : "it cannot be read";
}

/* ---- names ---- */

/* The part of a name that counts: behind its last "..", without slashes in front. */
static const char *safe_part(struct reader *r, const char *name)
{
	const char *safe = name;

	for (const char *c = name; *c;) {
		size_t len = strcspn(c, "/");

		if (len == 2 && c[0] == '.' && c[1] == '.')
			safe = c + len;
		c += len;
		c += strspn(c, "/");
	}
	if (safe != name && !r->told_up) {
		fill_note(r->fill, "names lose everything up to their last \"..\"");
		r->told_up = true;
	}
	if (safe == name && *name == '/' && !r->told_root) {
		fill_note(r->fill, "names lose their leading '/'");
		r->told_root = true;
	}
	return safe + strspn(safe, "/");
}

/* Cut a name into its parts, in place: they follow each other, ended by an empty one. */
static char *split(const char *name)
{
	char *parts = fill_alloc(malloc(strlen(name) + 2)), *to = parts;

	while (*name) {
		size_t len = strcspn(name, "/");

		if (len > 0 && !(len == 1 && name[0] == '.')) {
			memcpy(to, name, len);
			to[len] = '\0';
			to += len + 1;
		}
		name += len;
		name += strspn(name, "/");
	}
	*to = '\0';
	return parts;
}

static char *next_part(char *part)
{
	return part + strlen(part) + 1;
}

/* ---- going to a place ---- */

/*
 * Go to the directory that the parts name but for the last `keep` of them, making what is missing.
 * Returns the part where that ends, or NULL where it is impossible.
 */
static char *go_to(struct reader *r, char *parts, unsigned keep)
{
	struct fill *f = r->fill;
	unsigned count = 0, at = 0;
	char *part = parts;

	for (char *p = parts; *p; p = next_part(p))
		count++;
	count -= keep;
	while (at < count && at + 1 < f->level_count && strcmp(f->levels[at + 1].name, part) == 0) {
		part = next_part(part);
		at++;
	}
	while (f->level_count > at + 1)
		fill_leave(f);
	for (; at < count; at++, part = next_part(part)) {
		if (!fill_enter(f, part, NULL))
			return NULL;
	}
	return part;
}

/* Whether the parts are the way to the present directory. */
static bool is_present(const struct fill *f, char *parts)
{
	unsigned at = 1;

	for (; *parts; parts = next_part(parts), at++) {
		if (at == f->level_count || strcmp(f->levels[at].name, parts) != 0)
			return false;
	}
	return at == f->level_count;
}

/* ---- attributes ---- */

static uint8_t type_of(unsigned filetype)
{
	switch (filetype) {
	case AE_IFDIR:
		return H2_OBJECT_DIRECTORY;
	case AE_IFREG:
		return H2_OBJECT_FILE;
	case AE_IFLNK:
		return H2_OBJECT_SYMLINK;
	case AE_IFCHR:
		return H2_OBJECT_CHAR_DEVICE;
	case AE_IFBLK:
		return H2_OBJECT_BLOCK_DEVICE;
	case AE_IFIFO:
		return H2_OBJECT_FIFO;
	case AE_IFSOCK:
		return H2_OBJECT_SOCKET;
	default:
		return H2_OBJECT_UNKNOWN;
	}
}

static uint64_t time_of(time_t seconds, long ns, bool *outside)
{
	return fill_time(seconds, ns > 0 ? (uint32_t)ns : 0, outside);
}

static void take_times(struct reader *r, struct archive_entry *e, struct fill_object *o)
{
	struct library *lib = &r->lib;
	bool outside = false;

	if (lib->archive_entry_atime_is_set(e)) {
		o->times |= FILL_ATIME;
		o->atime_us = time_of(lib->archive_entry_atime(e), lib->archive_entry_atime_nsec(e),
				      &outside);
	}
	if (lib->archive_entry_mtime_is_set(e)) {
		o->times |= FILL_MTIME;
		o->mtime_us = time_of(lib->archive_entry_mtime(e), lib->archive_entry_mtime_nsec(e),
				      &outside);
	}
	if (lib->archive_entry_ctime_is_set(e)) {
		o->times |= FILL_CTIME;
		o->ctime_us = time_of(lib->archive_entry_ctime(e), lib->archive_entry_ctime_nsec(e),
				      &outside);
	}
	if (lib->archive_entry_birthtime_is_set(e)) {
		o->times |= FILL_BTIME;
		o->btime_us = time_of(lib->archive_entry_birthtime(e),
				      lib->archive_entry_birthtime_nsec(e), &outside);
	}
	r->fill->times += outside;
}

/* Some archives write 4294967294 as -2; anything else outside of 32 bits has no place. */
static bool is_owner(int64_t id)
{
	return id >= INT32_MIN && id <= UINT32_MAX;
}

static uint32_t uflags_of(struct reader *r, struct archive_entry *e)
{
	unsigned long set = 0, clear;
	uint32_t uflags = 0;

	r->lib.archive_entry_fflags(e, &set, &clear);
	if (set & FS_IMMUTABLE_FL)
		uflags |= 0x20000;
	if (set & FS_APPEND_FL)
		uflags |= 0x40000;
	if (set & FS_NODUMP_FL)
		uflags |= 0x1;
	return uflags;
}

static struct fill_object object_of(struct reader *r, struct archive_entry *e)
{
	static const int acls = ARCHIVE_ENTRY_ACL_TYPE_ACCESS | ARCHIVE_ENTRY_ACL_TYPE_DEFAULT |
				ARCHIVE_ENTRY_ACL_TYPE_NFS4;
	struct library *lib = &r->lib;
	struct fill_object o = {
		.type = type_of(lib->archive_entry_filetype(e)),
		.mode = lib->archive_entry_perm(e) & 07777,
		.uid = (uint32_t)lib->archive_entry_uid(e),
		.gid = (uint32_t)lib->archive_entry_gid(e),
		.uflags = uflags_of(r, e),
	};

	if (o.type == H2_OBJECT_FILE && lib->archive_entry_size_is_set(e))
		o.size = (uint64_t)lib->archive_entry_size(e);
	if (o.type == H2_OBJECT_CHAR_DEVICE || o.type == H2_OBJECT_BLOCK_DEVICE) {
		o.rmajor = (uint32_t)lib->archive_entry_rdevmajor(e);
		o.rminor = (uint32_t)lib->archive_entry_rdevminor(e);
	}
	if (o.type == H2_OBJECT_SYMLINK)
		o.target = lib->archive_entry_symlink(e);
	take_times(r, e, &o);
	if (lib->archive_entry_xattr_count(e) > 0 || lib->archive_entry_acl_count(e, acls) > 0)
		r->fill->xattrs++;
	return o;
}

/* ---- contents ---- */

/* Store what the piece has, in runs of blocks. size: of the whole file. */
static bool flush_piece(struct reader *r, const char *name, struct h2_inode *inode, uint64_t size)
{
	struct piece *p = &r->piece;
	uint64_t left = size > p->offset ? size - p->offset : 0;
	bool ok = true;

	for (size_t i = 0, end; i < PIECE_BLOCKS && ok; i = end) {
		size_t from = i * H2_LOGICAL_BLOCK, to;

		end = i + 1;
		if (!p->any || !p->filled[i] || from >= left)
			continue;
		while (end < PIECE_BLOCKS && p->filled[end])
			end++;
		to = end * H2_LOGICAL_BLOCK < left ? end * H2_LOGICAL_BLOCK : (size_t)left;
		ok = fill_write(r->fill, name, inode, p->offset + from, p->buf + from, to - from);
	}
	if (p->any)
		memset(p->buf, 0, FILL_PIECE);
	memset(p->filled, 0, sizeof(p->filled));
	p->any = false;
	return ok;
}

static bool add_bytes(struct reader *r, const char *name, struct h2_inode *inode, uint64_t offset,
		      const uint8_t *bytes, size_t len)
{
	struct piece *p = &r->piece;

	while (len > 0) {
		uint64_t base = offset / FILL_PIECE * FILL_PIECE;
		size_t at = (size_t)(offset - base);
		size_t part = FILL_PIECE - at < len ? FILL_PIECE - at : len;

		if (base != p->offset && !flush_piece(r, name, inode, UINT64_MAX))
			return false;
		p->offset = base;
		p->any = true;
		memcpy(p->buf + at, bytes, part);
		for (size_t i = at / H2_LOGICAL_BLOCK; i <= (at + part - 1) / H2_LOGICAL_BLOCK; i++)
			p->filled[i] = true;
		offset += part;
		bytes += part;
		len -= part;
	}
	return true;
}

/* Copy the contents of the present entry. Its size becomes known where the archive had none. */
static void copy_contents(struct reader *r, const char *name, struct h2_inode *inode,
			  struct fill_object *o)
{
	uint64_t end = 0;
	bool ok = true;
	int got;

	r->piece.offset = 0;
	while (ok && fill_goes_on(r->fill)) {
		const void *bytes;
		la_int64_t offset;
		size_t len;

		got = r->lib.archive_read_data_block(r->archive, &bytes, &len, &offset);
		if (got == ARCHIVE_EOF || !fill_goes_on(r->fill))
			break;
		if (got != ARCHIVE_OK && got != ARCHIVE_WARN) {
			fill_problem(r->fill, name, "cannot be read: %s", archive_error(r));
			ok = false;
		} else if (len > 0) {
			ok = add_bytes(r, name, inode, (uint64_t)offset, bytes, len);
			end = (uint64_t)offset + len;
		}
	}
	if (end > o->size)
		o->size = end;
	(void)flush_piece(r, name, inode, ok ? o->size : 0);
}

/* ---- entries ---- */

static void take_directory(struct reader *r, char *parts, const struct fill_object *o)
{
	char *name;

	if (is_present(r->fill, parts) || !*parts) {
		(void)go_to(r, parts, 0);
		fill_set_present(r->fill, o);
		return;
	}
	name = go_to(r, parts, 1);
	if (name)
		(void)fill_enter(r->fill, name, o);
}

/* The inode of a name that was stored before. */
static uint64_t find_target(struct reader *r, const char *target)
{
	struct h2_inode *inode;
	uint64_t inum;

	if (h2_path_lookup(r->fill->pfs, safe_part(r, target), &inode) != 0)
		return 0;
	inum = h2_inode_meta(inode)->type == H2_OBJECT_DIRECTORY ? 0 : h2_inode_meta(inode)->inum;
	h2_inode_put(inode);
	return inum;
}

static void take_link(struct reader *r, const char *name, const char *target, struct fill_object *o)
{
	struct h2_inode *inode;
	uint64_t inum = find_target(r, target);

	if (inum == 0) {
		fill_problem(r->fill, name,
			     "is a link to %s, which the archive does not have before it", target);
		return;
	}
	fill_add_link(r->fill, name, inum, 0);
	/* In some archives it is the last name that comes with the contents. */
	if (o->size == 0 || o->type != H2_OBJECT_FILE || !fill_goes_on(r->fill) ||
	    h2_inode_get(r->fill->pfs, inum, &inode) != 0)
		return;
	if (h2_inode_meta(inode)->type == H2_OBJECT_FILE) {
		copy_contents(r, name, inode, o);
		fill_close(r->fill, name, inode, o);
	} else {
		h2_inode_put(inode);
	}
}

static void take_object(struct reader *r, const char *name, struct fill_object *o)
{
	struct h2_inode *inode;

	if (o->type == H2_OBJECT_UNKNOWN || (o->type == H2_OBJECT_SYMLINK && !o->target)) {
		fill_problem(r->fill, name, "is of a kind that has no place in the filesystem");
		return;
	}
	if (!fill_create(r->fill, name, o, &inode))
		return;
	if (o->type == H2_OBJECT_FILE)
		copy_contents(r, name, inode, o);
	fill_close(r->fill, name, inode, o);
}

static void take(struct reader *r, struct archive_entry *e)
{
	const char *path = r->lib.archive_entry_pathname(e);
	const char *target = r->lib.archive_entry_hardlink(e);
	struct fill_object o;
	char *parts, *name;

	if (!path) {
		fill_problem(r->fill, NULL, "an object's name cannot be read");
		return;
	}
	if (!is_owner(r->lib.archive_entry_uid(e)) || !is_owner(r->lib.archive_entry_gid(e))) {
		fill_problem(r->fill, NULL,
			     "%s: the number of its owner or group has no place in "
			     "the filesystem",
			     path);
		return;
	}
	o = object_of(r, e);
	parts = split(safe_part(r, path));
	if (o.type == H2_OBJECT_DIRECTORY && !target) {
		take_directory(r, parts, &o);
	} else if (!*parts) {
		fill_problem(r->fill, NULL, "has an object other than a directory as its root");
	} else {
		name = go_to(r, parts, 1);
		if (name && target)
			take_link(r, name, target, &o);
		else if (name)
			take_object(r, name, &o);
	}
	free(parts);
	fill_progress(r->fill);
}

/*
 * Whether it is a tar archive that ends without blocks of zeros. tar(1) and libarchive take that
 * for its end, but so ends what was cut between two objects. Of a compressed one the end is known.
 */
static bool is_cut(struct reader *r)
{
	static const uint8_t zeros[BLOCK];
	const struct input *in = &r->input;
	const uint8_t *last = in->tail + BLOCK - in->total % BLOCK; /* whole block */
	unsigned format = (unsigned)r->lib.archive_format(r->archive) & ARCHIVE_FORMAT_BASE_MASK;

	return in->ended && format == ARCHIVE_FORMAT_TAR &&
	       r->lib.archive_filter_code(r->archive, 0) == ARCHIVE_FILTER_NONE &&
	       memcmp(last, zeros, BLOCK) != 0;
}

static void take_all(struct reader *r)
{
	while (fill_goes_on(r->fill)) {
		struct archive_entry *e;
		int got = r->lib.archive_read_next_header(r->archive, &e);

		if (got == ARCHIVE_EOF && is_cut(r))
			fill_problem(r->fill, NULL, "it is incomplete: nothing marks its end");
		if (got == ARCHIVE_EOF || !fill_goes_on(r->fill))
			return;
		if (got != ARCHIVE_OK && got != ARCHIVE_WARN) {
			/* Of "try again" as well: there is no entry, but the next one may be good. */
			fill_problem(r->fill, NULL, "%s", archive_error(r));
			if (got == ARCHIVE_FATAL)
				return;
			continue;
		}
		if (got == ARCHIVE_WARN)
			fill_note(r->fill, "%s", archive_error(r));
		take(r, e);
	}
}

/* ---- the bytes ---- */

static void remember_tail(struct input *in, size_t len)
{
	size_t kept = len < TAIL ? TAIL - len : 0;

	memmove(in->tail, in->tail + TAIL - kept, kept);
	memcpy(in->tail + kept, in->buf + len - (TAIL - kept), TAIL - kept);
	in->total += len;
}

/*
 * Nobody knows when the next bytes come through a pipe: an interruption must be noticed meanwhile.
 */
static la_ssize_t read_input(struct archive *a, void *user, const void **bytes)
{
	struct reader *r = user;
	struct input *in = &r->input;
	struct pollfd ready = {.fd = in->fd, .events = POLLIN};

	while (!*r->fill->options->interrupted) {
		ssize_t n;

		if (poll(&ready, 1, WAIT_MS) <= 0)
			continue;
		n = read(in->fd, in->buf, READ_SIZE);
		if (n >= 0) {
			if (n > 0)
				remember_tail(in, (size_t)n);
			in->ended = n == 0;
			*bytes = in->buf;
			return n;
		}
		if (errno != EINTR && errno != EAGAIN) {
			r->lib.archive_set_error(a, errno, "%s", strerror(errno));
			return -1;
		}
	}
	r->lib.archive_set_error(a, EINTR, "interrupted");
	return -1;
}

/* Some formats have their directory at the end. */
static la_int64_t seek_input(struct archive *a, void *user, la_int64_t offset, int whence)
{
	struct reader *r = user;
	off_t at = lseek(r->input.fd, offset, whence);

	if (at >= 0)
		return at;
	r->lib.archive_set_error(a, errno, "%s", strerror(errno));
	return ARCHIVE_FATAL;
}

/* ---- start and end ---- */

static bool open_input(struct reader *r)
{
	const char *source = r->fill->options->source;
	struct input *in = &r->input;
	struct stat st;

	in->fd = strcmp(source, "-") == 0 ? dup(STDIN_FILENO) : open(source, O_RDONLY | O_CLOEXEC);
	if (in->fd < 0 || fstat(in->fd, &st) < 0) {
		fill_problem(r->fill, NULL, "cannot be opened: %s", strerror(errno));
		return false;
	}
	in->buf = fill_alloc(malloc(READ_SIZE));
	(void)posix_fadvise(in->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	if (S_ISREG(st.st_mode))
		r->lib.archive_read_set_seek_callback(r->archive, seek_input);
	r->lib.archive_read_set_read_callback(r->archive, read_input);
	r->lib.archive_read_set_callback_data(r->archive, r);
	return true;
}

static bool open_archive(struct reader *r)
{
	struct library *lib = &r->lib;
	struct archive *a = r->archive = fill_alloc(lib->archive_read_new());
	int got;

	/* Names are bytes; where an archive has them as UTF-8, that is what we want. */
	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		setlocale(LC_CTYPE, "");
	lib->archive_read_support_filter_all(a);
	lib->archive_read_support_format_7zip(a);
	lib->archive_read_support_format_cab(a);
	lib->archive_read_support_format_cpio(a);
	lib->archive_read_support_format_empty(a);
	lib->archive_read_support_format_iso9660(a);
	lib->archive_read_support_format_lha(a);
	lib->archive_read_support_format_rar(a);
	lib->archive_read_support_format_tar(a);
	lib->archive_read_support_format_xar(a);
	lib->archive_read_support_format_zip(a);
	if (!open_input(r))
		return false;
	got = lib->archive_read_open1(a);
	if (got != ARCHIVE_OK && fill_goes_on(r->fill))
		fill_problem(r->fill, NULL, "%s", archive_error(r));
	return got == ARCHIVE_OK;
}

void fill_from_archive(struct fill *f)
{
	struct reader r = {.fill = f, .input.fd = -1};

	if (load_library(&r) && open_archive(&r)) {
		r.piece.buf = fill_alloc(aligned_alloc(4096, FILL_PIECE));
		memset(r.piece.buf, 0, FILL_PIECE);
		take_all(&r);
	}
	if (r.archive)
		r.lib.archive_read_free(r.archive);
	free(r.piece.buf);
	free(r.input.buf);
	if (r.input.fd >= 0)
		close(r.input.fd);
	if (r.lib.handle)
		dlclose(r.lib.handle);
}
