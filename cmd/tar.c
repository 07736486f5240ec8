/*
 * The verb extract with --tar: a stream in the pax interchange format, which has times below the
 * second and maps of sparse files. It is written by libarchive, which is looked for when it is
 * needed: everything else works without it.
 *
 * A tar header says how long a file is and where its holes are before the first byte of data. Data
 * that turn out to be damaged later are therefore written as zeros, and told like the holes that
 * extract.c leaves. One thread does everything: the stream has one order.
 */
#include <archive.h>
#include <archive_entry.h>
#include <dlfcn.h>
#include <inttypes.h>
#include <limits.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "extract.h"
#include "walk.h"

#define LIBRARY "libarchive.so.13"
#define ZEROS ((size_t)INT_MAX) /* mapped, not in memory: a hole is passed in few calls */
#define LINK_BUCKETS 4096u

/* The functions that we call, by name. */
#define FUNCTIONS(F)                                                                               \
	F(archive_write_new)                                                                       \
	F(archive_write_set_format_pax)                                                            \
	F(archive_write_open_fd)                                                                   \
	F(archive_write_header)                                                                    \
	F(archive_write_data)                                                                      \
	F(archive_write_close)                                                                     \
	F(archive_write_free)                                                                      \
	F(archive_error_string)                                                                    \
	F(archive_entry_new)                                                                       \
	F(archive_entry_clear)                                                                     \
	F(archive_entry_free)                                                                      \
	F(archive_entry_copy_pathname)                                                             \
	F(archive_entry_copy_hardlink)                                                             \
	F(archive_entry_copy_symlink)                                                              \
	F(archive_entry_set_mode)                                                                  \
	F(archive_entry_set_uid)                                                                   \
	F(archive_entry_set_gid)                                                                   \
	F(archive_entry_set_size)                                                                  \
	F(archive_entry_set_mtime)                                                                 \
	F(archive_entry_set_rdev)                                                                  \
	F(archive_entry_sparse_add_entry)

struct library {
	void *handle;
#define MEMBER(name) __typeof__(name) *name;
	FUNCTIONS(MEMBER)
#undef MEMBER
};

/* The first name of a file with several. */
struct first_name {
	struct first_name *next;
	uint64_t inum;
	char *name;
};

struct tar {
	struct account *account;
	struct h2_pfs *pfs;
	struct library lib;
	struct archive *archive;
	struct archive_entry *entry;
	uint8_t *buf;
	void *zeros;
	struct visited visited;
	struct first_name *names[LINK_BUCKETS];
};

/* Something that is still to be written: a name with its path in the PFS. */
struct todo {
	char *path;
	uint64_t inum;
};

struct pending {
	struct todo *items;
	size_t count, room;
};

static bool load_library(struct library *lib)
{
	static const struct {
		const char *name;
		size_t offset;
	} functions[] = {
#define ROW(name) {#name, offsetof(struct library, name)},
		FUNCTIONS(ROW)
#undef ROW
	};

	lib->handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!lib->handle) {
		complain("extract: --tar needs the library " LIBRARY
			 ", which cannot be loaded; install it (Debian: libarchive13)");
		return false;
	}
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		void *address = dlsym(lib->handle, functions[i].name);

		if (!address) {
			complain("extract: " LIBRARY " has no function %s; install a newer one",
				 functions[i].name);
			return false;
		}
		memcpy((char *)lib + functions[i].offset, &address, sizeof(address));
	}
	return true;
}

/* Whether the call went well; a fatal error ends the stream. */
static bool archive_ok(struct tar *t, la_ssize_t result, const char *path)
{
	const char *text;

	if (result >= ARCHIVE_WARN)
		return true;
	text = t->lib.archive_error_string(t->archive);
	account_problem(t->account, path, "cannot be written: %s", text ? text : "unknown error");
	if (result == ARCHIVE_FATAL)
		atomic_store(&t->account->fatal, true);
	return false;
}

/* The name in the stream: "./" for the top, "./a/b" below it; a single file has its name. */
static char *stream_name(const char *top, const char *path)
{
	size_t skip = strcmp(top, "/") == 0 ? 0 : strlen(top);
	char *name = must_alloc(malloc(strlen(path) + 3));

	snprintf(name, strlen(path) + 3, ".%s", path[skip] ? path + skip : "/");
	return name;
}

static struct first_name *find_name(struct tar *t, uint64_t inum)
{
	struct first_name *name = t->names[inum % LINK_BUCKETS];

	while (name && name->inum != inum)
		name = name->next;
	return name;
}

static void add_name(struct tar *t, uint64_t inum, const char *text)
{
	struct first_name *name = must_alloc(malloc(sizeof(*name)));

	name->inum = inum;
	name->name = must_alloc(strdup(text));
	name->next = t->names[inum % LINK_BUCKETS];
	t->names[inum % LINK_BUCKETS] = name;
}

static void fill_entry(struct tar *t, const char *name, const struct h2_attr *attr)
{
	struct library *lib = &t->lib;

	lib->archive_entry_clear(t->entry);
	lib->archive_entry_copy_pathname(t->entry, name);
	lib->archive_entry_set_mode(t->entry, attr->mode);
	lib->archive_entry_set_uid(t->entry, attr->uid);
	lib->archive_entry_set_gid(t->entry, attr->gid);
	lib->archive_entry_set_mtime(t->entry, (time_t)(attr->mtime_us / 1000000),
				     (long)(attr->mtime_us % 1000000) * 1000);
	if (S_ISCHR(attr->mode) || S_ISBLK(attr->mode))
		lib->archive_entry_set_rdev(t->entry, makedev(attr->rmajor, attr->rminor));
}

static bool write_header(struct tar *t, const char *path)
{
	return archive_ok(t, t->lib.archive_write_header(t->archive, t->entry), path);
}

/* ---- contents ---- */

struct extent {
	uint64_t begin, end;
};

/* The stretches of data of a file; the caller frees them. */
static struct extent *find_extents(struct tar *t, struct h2_inode *inode, const char *path,
				   size_t *count)
{
	struct extent *list = NULL;
	uint64_t offset = 0, end;
	size_t room = 0;

	*count = 0;
	while (next_extent(t->account, inode, path, 0, &offset, &end)) {
		if (*count == room) {
			room = room ? 2 * room : 16;
			list = must_alloc(reallocarray(list, room, sizeof(*list)));
		}
		list[(*count)++] = (struct extent){offset, end};
		offset = end;
	}
	return list;
}

static bool write_bytes(struct tar *t, const void *buf, size_t len, const char *path)
{
	const uint8_t *bytes = buf;

	while (len > 0) {
		la_ssize_t done = t->lib.archive_write_data(t->archive, bytes, len);

		if (!archive_ok(t, done, path) || done <= 0)
			return false;
		bytes += done;
		len -= (size_t)done;
	}
	return true;
}

/* Holes are skipped by libarchive, damage is not known to it: both are passed as zeros. */
static bool write_zeros(struct tar *t, uint64_t len, const char *path)
{
	while (len > 0) {
		size_t part = len < ZEROS ? (size_t)len : ZEROS;

		if (!write_bytes(t, t->zeros, part, path))
			return false;
		len -= part;
	}
	return true;
}

static bool write_extent(struct tar *t, struct h2_inode *inode, const struct extent *e,
			 const char *path)
{
	uint64_t at = e->begin, written = e->begin;
	size_t len;

	while ((len = read_piece(t->account, inode, path, &at, e->end, t->buf)) > 0) {
		if (!write_zeros(t, at - written, path) || !write_bytes(t, t->buf, len, path))
			return false;
		atomic_fetch_add(&t->account->bytes, len);
		at += len;
		written = at;
	}
	return write_zeros(t, e->end - written, path);
}

static void write_file(struct tar *t, struct h2_inode *inode, const struct h2_attr *attr,
		       const char *path)
{
	struct library *lib = &t->lib;
	uint64_t at = 0;
	size_t count;
	struct extent *list = find_extents(t, inode, path, &count);
	bool dense = count == 1 && list[0].begin == 0 && list[0].end == attr->size;

	lib->archive_entry_set_size(t->entry, (la_int64_t)attr->size);
	for (size_t i = 0; i < count && !dense; i++)
		lib->archive_entry_sparse_add_entry(t->entry, (la_int64_t)list[i].begin,
						    (la_int64_t)(list[i].end - list[i].begin));
	if (count == 0 && attr->size > 0)
		lib->archive_entry_sparse_add_entry(t->entry, 0, 0);
	if (write_header(t, path)) {
		bool good = true;

		atomic_fetch_add(&t->account->files, 1);
		for (size_t i = 0; i < count && good; i++) {
			good = write_zeros(t, list[i].begin - at, path) &&
			       write_extent(t, inode, &list[i], path);
			at = list[i].end;
		}
		if (good)
			write_zeros(t, attr->size - at, path);
	}
	free(list);
}

static void write_symlink(struct tar *t, struct h2_inode *inode, const char *path)
{
	char target[H2_SYMLINK_MAX + 1];
	ssize_t len = h2_symlink_read(inode, target, sizeof(target));

	if (len < 0) {
		account_problem(t->account, path, "the symlink's target cannot be read: %s",
				error_text((int)len));
		return;
	}
	if (strlen(target) != (size_t)len) {
		account_problem(t->account, path, "the symlink's target has a NUL byte in it");
		return;
	}
	t->lib.archive_entry_copy_symlink(t->entry, target);
	if (write_header(t, path))
		atomic_fetch_add(&t->account->others, 1);
}

static void write_link(struct tar *t, const char *first, const char *path)
{
	t->lib.archive_entry_copy_hardlink(t->entry, first);
	t->lib.archive_entry_set_size(t->entry, 0);
	if (write_header(t, path))
		atomic_fetch_add(&t->account->links, 1);
}

/* ---- the walk ---- */

static void pending_add(struct pending *p, char *path, uint64_t inum)
{
	if (p->count == p->room) {
		p->room = p->room ? 2 * p->room : 64;
		p->items = must_alloc(reallocarray(p->items, p->room, sizeof(*p->items)));
	}
	p->items[p->count++] = (struct todo){path, inum};
}

static void add_entries(struct tar *t, struct h2_inode *inode, const char *path,
			struct pending *pending)
{
	struct h2_dir_scan *scan = NULL;
	struct h2_dirent ent;
	int got, err = h2_dir_scan_new(inode, 0, &scan);

	if (err) {
		account_problem(t->account, path, "cannot be read: %s", error_text(err));
		return;
	}
	while ((got = h2_dir_scan_next(scan, &ent)) != 1 && !atomic_load(&t->account->fatal)) {
		if (got)
			account_problem(t->account, path,
					"a part of the directory cannot be read, its names are "
					"missing: %s",
					error_text(got));
		else
			pending_add(pending, join_path(path, ent.name), ent.inum);
	}
	h2_dir_scan_free(scan);
}

static void write_directory(struct tar *t, struct h2_inode *inode, const char *path,
			    struct pending *pending)
{
	if (!visited_add(&t->visited, h2_inode_meta(inode)->inum)) {
		account_problem(t->account, path,
				"the directory has a second name; it is not copied again");
		return;
	}
	if (!write_header(t, path))
		return;
	atomic_fetch_add(&t->account->directories, 1);
	add_entries(t, inode, path, pending);
}

static void write_object(struct tar *t, struct h2_inode *inode, const char *top, const char *path,
			 struct pending *pending)
{
	char *name = stream_name(top, path);
	struct first_name *first;
	struct h2_attr attr;

	h2_inode_attr(inode, &attr);
	fill_entry(t, name, &attr);
	first = attr.nlink > 1 && !S_ISDIR(attr.mode) ? find_name(t, attr.inum) : NULL;
	if (first) {
		write_link(t, first->name, path);
		free(name);
		return;
	}
	if (attr.nlink > 1 && !S_ISDIR(attr.mode) && !S_ISSOCK(attr.mode))
		add_name(t, attr.inum, name);
	free(name);
	switch (attr.mode & S_IFMT) {
	case S_IFDIR:
		write_directory(t, inode, path, pending);
		break;
	case S_IFREG:
		write_file(t, inode, &attr, path);
		break;
	case S_IFLNK:
		write_symlink(t, inode, path);
		break;
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
		if (write_header(t, path))
			atomic_fetch_add(&t->account->others, 1);
		break;
	case S_IFSOCK:
		/* As every tar does; nothing is lost that could be used again. */
		if (t->account->call->options.verbose)
			complain_path(t->account->label, path, "a socket; tar has none");
		break;
	default:
		account_problem(t->account, path, "an object of type %s has no place in tar",
				out_object_type(h2_inode_meta(inode)->type));
		break;
	}
}

static void walk(struct tar *t, struct h2_inode *inode, const char *path)
{
	bool directory = h2_inode_meta(inode)->type == H2_OBJECT_DIRECTORY;
	/* A single file stands under its own name; what is in front of it falls away. */
	char *top = must_alloc(strdup(path));
	struct pending pending = {0};

	if (!directory)
		*strrchr(top, '/') = '\0';
	write_object(t, inode, *top ? top : "/", path, &pending);
	while (pending.count > 0) {
		struct todo todo = pending.items[--pending.count];
		int err;

		if (!atomic_load(&t->account->fatal)) {
			err = h2_inode_get(t->pfs, todo.inum, &inode);
			if (err) {
				account_problem(t->account, todo.path, "cannot be read: %s",
						error_text(err));
			} else {
				write_object(t, inode, *top ? top : "/", todo.path, &pending);
				h2_inode_put(inode);
			}
		}
		free(todo.path);
	}
	free(pending.items);
	free(top);
}

/* ---- start and end ---- */

static bool tar_open(struct tar *t)
{
	struct library *lib = &t->lib;

	t->zeros = mmap(NULL, ZEROS, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (t->zeros == MAP_FAILED) {
		t->zeros = NULL;
		complain("extract: out of memory");
		return false;
	}
	t->buf = must_alloc(aligned_alloc(4096, EXTRACT_BUFFER));
	t->archive = must_alloc(lib->archive_write_new());
	t->entry = must_alloc(lib->archive_entry_new());
	/* Names in the stream are UTF-8; what is not goes there byte for byte. */
	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		setlocale(LC_CTYPE, "");
	if (lib->archive_write_set_format_pax(t->archive) != ARCHIVE_OK ||
	    lib->archive_write_open_fd(t->archive, STDOUT_FILENO) != ARCHIVE_OK) {
		complain("extract: standard output: %s", lib->archive_error_string(t->archive));
		return false;
	}
	return true;
}

static void tar_close(struct tar *t)
{
	if (t->archive)
		t->lib.archive_write_free(t->archive);
	if (t->entry)
		t->lib.archive_entry_free(t->entry);
	if (t->zeros)
		munmap(t->zeros, ZEROS);
	free(t->buf);
	visited_fini(&t->visited);
	for (unsigned i = 0; i < LINK_BUCKETS; i++) {
		while (t->names[i]) {
			struct first_name *name = t->names[i];

			t->names[i] = name->next;
			free(name->name);
			free(name);
		}
	}
	if (t->lib.handle)
		dlclose(t->lib.handle);
	free(t);
}

void extract_tar(struct account *account, struct h2_inode *inode, const char *path)
{
	struct tar *t = must_alloc(calloc(1, sizeof(*t)));

	t->account = account;
	t->pfs = h2_inode_pfs(inode);
	if (load_library(&t->lib) && tar_open(t)) {
		walk(t, inode, path);
		archive_ok(t, t->lib.archive_write_close(t->archive), path);
	} else {
		atomic_fetch_add(&account->problems, 1);
	}
	tar_close(t);
}
