/*
 * The commands put and get of the verb edit: files between the system and a PFS.
 *
 * put -r takes a tree in the order of its names, so that the same tree always gives the same
 * filesystem. Names that share an inode share one again. Holes stay holes.
 */
#include <fcntl.h>
#include <fts.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "edit.h"
#include "walk.h"

#define BUFFER_SIZE ((size_t)1 << 20)
#define FIRST_LINKS 1024u

/* A file with several names that was copied: where to. */
struct copied {
	dev_t dev;
	ino_t ino;
	uint64_t inum; /* 0: a free slot */
};

struct copy {
	struct edit *e;
	bool recursive; /* -r */
	bool preserve;  /* -p */
	uint8_t *buf;
	struct copied *links; /* open addressing, room slots */
	size_t link_count, link_room;
	struct stat *volumes; /* that are being changed */
	unsigned volume_count;
	struct h2_inode **dirs; /* of the tree that is being copied: where we are, from its top */
	size_t depth, dirs_room;
};

/* ---- files with several names ---- */

/* The slot of a file, or the free one where it belongs. */
static struct copied *find_link(struct copied *links, size_t room, dev_t dev, ino_t ino)
{
	uint64_t hash = ((uint64_t)ino * 31 + dev) * UINT64_C(0x9e3779b97f4a7c15);

	for (size_t i = (size_t)(hash >> 20) % room;; i = (i + 1) % room) {
		if (links[i].inum == 0 || (links[i].dev == dev && links[i].ino == ino))
			return &links[i];
	}
}

static void grow_links(struct copy *copy)
{
	size_t room = copy->link_room ? 2 * copy->link_room : FIRST_LINKS;
	struct copied *links = must_alloc(calloc(room, sizeof(*links)));

	for (size_t i = 0; i < copy->link_room; i++) {
		const struct copied *old = &copy->links[i];

		if (old->inum)
			*find_link(links, room, old->dev, old->ino) = *old;
	}
	free(copy->links);
	copy->links = links;
	copy->link_room = room;
}

static void remember_link(struct copy *copy, const struct stat *st, uint64_t inum)
{
	if (st->st_nlink < 2 || S_ISDIR(st->st_mode))
		return;
	if (2 * (copy->link_count + 1) > copy->link_room)
		grow_links(copy);
	*find_link(copy->links, copy->link_room, st->st_dev, st->st_ino) = (struct copied){
		.dev = st->st_dev, .ino = st->st_ino, .inum = inum};
	copy->link_count++;
}

/* The number of the inode that a file was copied to; 0: it was not. */
static uint64_t linked_inum(const struct copy *copy, const struct stat *st)
{
	if (st->st_nlink < 2 || copy->link_room == 0)
		return 0;
	return find_link(copy->links, copy->link_room, st->st_dev, st->st_ino)->inum;
}

/* ---- the volumes themselves ---- */

/* A volume's name can have a partition behind it. */
static bool stat_volume(const char *name, struct stat *st)
{
	char *path = must_alloc(strdup(name)), *colon = strrchr(path, ':');
	bool ok = stat(path, st) == 0;

	if (!ok && colon) {
		*colon = '\0';
		ok = stat(path, st) == 0;
	}
	free(path);
	return ok;
}

static void find_volumes(struct copy *copy)
{
	struct h2_volumes *volumes = h2_fs_volumes(h2_pfs_fs(copy->e->pfs));
	struct h2_volume_info info;

	copy->volumes = must_alloc(calloc(h2_volumes_count(volumes), sizeof(*copy->volumes)));
	for (unsigned i = 0; i < h2_volumes_count(volumes); i++) {
		h2_volumes_info(volumes, i, &info);
		if (stat_volume(info.path, &copy->volumes[copy->volume_count]))
			copy->volume_count++;
	}
}

static bool is_volume(const struct copy *copy, const struct stat *st)
{
	for (unsigned i = 0; i < copy->volume_count; i++) {
		const struct stat *v = &copy->volumes[i];

		if (v->st_dev == st->st_dev && v->st_ino == st->st_ino)
			return true;
		/* A device can have several nodes. */
		if (S_ISBLK(v->st_mode) && S_ISBLK(st->st_mode) && v->st_rdev == st->st_rdev)
			return true;
	}
	return false;
}

static bool fail_volume(const struct copy *copy, const char *name)
{
	return edit_fail_file(copy->e, name, "it is the volume that is being changed");
}

/* ---- contents ---- */

static bool write_all(struct copy *copy, const char *path, struct h2_inode *inode, uint64_t offset,
		      size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = h2_file_write(inode, offset + done, copy->buf + done, len - done, 0);

		if (n <= 0)
			return edit_fail(copy->e, path, "%s", edit_error(n < 0 ? (int)n : -EIO));
		done += (size_t)n;
	}
	copy->e->bytes += len;
	return true;
}

static bool set_size(struct copy *copy, const char *path, struct h2_inode *inode, uint64_t size)
{
	const struct h2_set_attr set = {.valid = H2_SET_SIZE, .size = size};

	return edit_set_attr(copy->e, path, inode, &set);
}

/* Where the data go on at or behind offset; the end is INT64_MAX where that is not known. */
static bool next_data(int fd, uint64_t *offset, uint64_t *end)
{
	off_t from = lseek(fd, (off_t)*offset, SEEK_DATA), to;

	*end = INT64_MAX;
	if (from < 0)
		return errno != ENXIO; /* not seekable, or there is no such thing as a hole */
	to = lseek(fd, from, SEEK_HOLE);
	*offset = (uint64_t)from;
	if (to > from)
		*end = (uint64_t)to;
	return lseek(fd, from, SEEK_SET) == from;
}

/*
 * Copy what can be read from fd to the empty file inode. name: of fd, for messages. holes: fd is
 * read from its beginning, and what it has no data for becomes a hole.
 */
static bool copy_contents(struct copy *copy, int fd, const char *name, const char *path,
			  struct h2_inode *inode, bool holes)
{
	uint64_t offset = 0, end = INT64_MAX;
	ssize_t n = 1;
	off_t size;

	while (n > 0 && (!holes || next_data(fd, &offset, &end))) {
		while (offset < end) {
			size_t want = end - offset < BUFFER_SIZE ? (size_t)(end - offset)
								 : BUFFER_SIZE;

			n = read(fd, copy->buf, want);
			if (n < 0 && errno == EINTR)
				continue;
			if (n <= 0)
				break;
			if (!write_all(copy, path, inode, offset, (size_t)n))
				return false;
			offset += (uint64_t)n;
		}
	}
	if (n < 0)
		return edit_fail_file(copy->e, name, "cannot be read: %s", strerror(errno));
	size = holes ? lseek(fd, 0, SEEK_END) : 0;
	return size <= (off_t)offset || set_size(copy, path, inode, (uint64_t)size);
}

/* ---- attributes ---- */

static uint64_t time_us(const struct timespec *t)
{
	return t->tv_sec < 0 ? 0 : (uint64_t)t->tv_sec * 1000000 + (uint64_t)t->tv_nsec / 1000;
}

static bool keep_attributes(struct copy *copy, const char *path, struct h2_inode *inode,
			    const struct stat *st)
{
	const struct h2_set_attr set = {
		.valid = H2_SET_MODE | H2_SET_UID | H2_SET_GID | H2_SET_ATIME | H2_SET_MTIME,
		.mode = st->st_mode & 07777,
		.uid = copy->e->owner_given ? copy->e->uid : st->st_uid,
		.gid = copy->e->owner_given ? copy->e->gid : st->st_gid,
		.atime_us = time_us(&st->st_atim),
		.mtime_us = time_us(&st->st_mtim),
	};

	return !copy->preserve || edit_set_attr(copy->e, path, inode, &set);
}

static uint32_t new_mode(const struct copy *copy, const struct stat *st)
{
	return st->st_mode & 0777 & ~copy->e->umask;
}

/* ---- one object ---- */

/* See to it that a regular file is at the place, empty. */
static bool make_file(struct copy *copy, const char *path, struct place *p, uint32_t mode)
{
	unsigned type;

	/* In a tree, names of a file that is there part: each gets what its source has. */
	if (copy->recursive && p->dir && p->inode && !is_directory(p->inode)) {
		struct h2_attr attr;

		h2_inode_attr(p->inode, &attr);
		if (attr.nlink > 1 && !edit_unlink(copy->e, path, p))
			return false;
	}
	if (!p->inode && place_is_dangling(copy->e, path))
		return edit_fail(copy->e, path, "it is a symlink that leads nowhere");
	if (!p->inode)
		return edit_create(copy->e, path, p, H2_OBJECT_FILE, mode, NULL);
	type = h2_inode_meta(p->inode)->type;
	if (type != H2_OBJECT_FILE)
		return edit_fail(copy->e, path, "it is there and no regular file but of type %s",
				 out_object_type(type));
	return set_size(copy, path, p->inode, 0);
}

static bool put_open_file(struct copy *copy, int fd, const char *name, const struct stat *st,
			  const char *path, struct place *p)
{
	bool holes = S_ISREG(st->st_mode) && fd != STDIN_FILENO;
	uint32_t mode = S_ISREG(st->st_mode) ? new_mode(copy, st) : 0666 & ~copy->e->umask;

	if (is_volume(copy, st))
		return fail_volume(copy, name);
	if (!make_file(copy, path, p, mode) ||
	    !copy_contents(copy, fd, name, path, p->inode, holes))
		return false;
	copy->e->files++;
	return !S_ISREG(st->st_mode) || keep_attributes(copy, path, p->inode, st);
}

static bool put_file(struct copy *copy, const char *name, const char *path, struct place *p)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	struct stat st;
	bool ok;

	if (fd < 0 || fstat(fd, &st) != 0) {
		ok = edit_fail_file(copy->e, name, "cannot be opened: %s", strerror(errno));
	} else {
		ok = put_open_file(copy, fd, name, &st, path, p);
		if (ok)
			remember_link(copy, &st, h2_inode_meta(p->inode)->inum);
	}
	if (fd >= 0)
		close(fd);
	return ok;
}

static bool put_symlink(struct copy *copy, const char *name, const struct stat *st,
			const char *path, struct place *p)
{
	char target[H2_SYMLINK_MAX + 1];
	ssize_t len = readlink(name, target, sizeof(target));

	if (len < 0)
		return edit_fail_file(copy->e, name, "cannot be read: %s", strerror(errno));
	if (len >= (ssize_t)H2_SYMLINK_MAX)
		return edit_fail_file(copy->e, name, "a symlink holds up to %u bytes",
				      H2_SYMLINK_MAX - 1);
	target[len] = '\0';
	return edit_create(copy->e, path, p, H2_OBJECT_SYMLINK, 0777, target) &&
	       keep_attributes(copy, path, p->inode, st);
}

static bool put_special(struct copy *copy, const struct stat *st, const char *path, struct place *p)
{
	const struct h2_new n = {
		.type = S_ISFIFO(st->st_mode)   ? H2_OBJECT_FIFO
			: S_ISSOCK(st->st_mode) ? H2_OBJECT_SOCKET
			: S_ISBLK(st->st_mode)  ? H2_OBJECT_BLOCK_DEVICE
						: H2_OBJECT_CHAR_DEVICE,
		.mode = new_mode(copy, st),
		.uid = copy->e->uid,
		.gid = copy->e->gid,
		.rmajor = major(st->st_rdev),
		.rminor = minor(st->st_rdev),
		.comp_algo = H2_INHERIT,
		.check_algo = H2_INHERIT,
	};
	int err = h2_create(p->dir, p->name, strlen(p->name), &n, &p->inode);

	if (err)
		return edit_fail(copy->e, path, "%s", edit_error(err));
	return keep_attributes(copy, path, p->inode, st);
}

/* What is at the place makes room for something that is no regular file and no directory. */
static bool replace(struct copy *copy, const char *path, struct place *p)
{
	if (!p->inode)
		return true;
	if (is_directory(p->inode))
		return edit_fail(copy->e, path, "it is a directory already");
	return edit_unlink(copy->e, path, p);
}

/* Another name of a file that was copied before. */
static bool put_link(struct copy *copy, uint64_t inum, const char *path, struct place *p)
{
	struct h2_inode *inode;
	int err = h2_inode_get(copy->e->pfs, inum, &inode);

	if (err)
		return edit_fail(copy->e, path, "%s", edit_error(err));
	if (p->inode == inode) {
		h2_inode_put(inode);
		return true;
	}
	if (!replace(copy, path, p)) {
		h2_inode_put(inode);
		return false;
	}
	err = h2_link(p->dir, p->name, strlen(p->name), inode);
	h2_inode_put(inode);
	return err ? edit_fail(copy->e, path, "%s", edit_error(err)) : true;
}

/* Anything but a directory, as it is. */
static bool put_object(struct copy *copy, const char *name, const struct stat *st, const char *path,
		       struct place *p)
{
	uint64_t inum = linked_inum(copy, st);
	bool ok;

	if (inum)
		return put_link(copy, inum, path, p);
	if (S_ISREG(st->st_mode))
		return put_file(copy, name, path, p);
	ok = replace(copy, path, p) && (S_ISLNK(st->st_mode) ? put_symlink(copy, name, st, path, p)
							     : put_special(copy, st, path, p));
	if (ok)
		remember_link(copy, st, h2_inode_meta(p->inode)->inum);
	return ok;
}

/* ---- trees ---- */

/* Make a directory unless there is one, and enter it. */
static bool put_directory(struct copy *copy, const FTSENT *ent, const char *path, struct place *p)
{
	if (!p->inode && !edit_create(copy->e, path, p, H2_OBJECT_DIRECTORY,
				      new_mode(copy, ent->fts_statp), NULL))
		return false;
	if (!is_directory(p->inode))
		return edit_fail(copy->e, path, "it is there and no directory");
	if (copy->depth == copy->dirs_room) {
		copy->dirs_room = copy->dirs_room ? 2 * copy->dirs_room : 32;
		copy->dirs = must_alloc(
			reallocarray(copy->dirs, copy->dirs_room, sizeof(struct h2_inode *)));
	}
	copy->dirs[copy->depth++] = p->inode;
	p->inode = NULL;
	return true;
}

/* The end of a directory. Last: what was made in it has changed its times. */
static bool leave_directory(struct copy *copy, const FTSENT *ent, const char *path)
{
	struct h2_inode *dir = copy->dirs[--copy->depth];
	bool ok = keep_attributes(copy, path, dir, ent->fts_statp);

	h2_inode_put(dir);
	return ok;
}

/* Where an object of a tree goes: under its name in what its directory became. */
static bool place_below(struct copy *copy, const FTSENT *ent, const char *path, struct place *p)
{
	struct h2_inode *dir = copy->dirs[copy->depth - 1];
	struct h2_dirent found;
	size_t len = strlen(ent->fts_name);
	int err = h2_inode_get(copy->e->pfs, h2_inode_meta(dir)->inum, &p->dir);

	if (!err)
		err = h2_dir_lookup(p->dir, ent->fts_name, len, &found);
	if (!err)
		err = h2_dirent_get(p->dir, &found, &p->inode);
	if (err && err != -ENOENT)
		return edit_fail(copy->e, path, "%s", edit_error(err));
	if (len <= H2_NAME_MAX)
		memcpy(p->name, ent->fts_name, len + 1);
	return true;
}

/* A regular file goes where a symlink leads that has its name, as cp(1) does. */
static bool follow_for_file(struct copy *copy, const FTSENT *ent, const char *path, struct place *p)
{
	if (!S_ISREG(ent->fts_statp->st_mode) || !p->inode ||
	    h2_inode_meta(p->inode)->type != H2_OBJECT_SYMLINK)
		return true;
	place_fini(p);
	return place_find(copy->e, path, PLACE_FOLLOW, p);
}

/* The path in the PFS of an object of a tree. To be freed. */
static char *path_below(const char *top, const FTSENT *top_ent, const FTSENT *ent)
{
	size_t cut = top_ent->fts_pathlen;

	if (ent->fts_level == FTS_ROOTLEVEL)
		return must_alloc(strdup(top));
	return join_path(top, ent->fts_path + cut + strspn(ent->fts_path + cut, "/"));
}

static bool put_entry(struct copy *copy, FTSENT *ent, const char *path, struct place *top)
{
	struct place p = {0};
	bool ok = true;

	if (ent->fts_level == FTS_ROOTLEVEL) {
		p = *top;
		*top = (struct place){0};
	} else {
		ok = place_below(copy, ent, path, &p);
	}
	if (ok && ent->fts_info == FTS_D) {
		ok = put_directory(copy, ent, path, &p);
	} else if (ok) {
		ok = follow_for_file(copy, ent, path, &p) &&
		     put_object(copy, ent->fts_accpath, ent->fts_statp, path, &p);
	}
	place_fini(&p);
	return ok;
}

static bool put_visit(struct copy *copy, FTSENT *ent, const char *path, struct place *top)
{
	switch (ent->fts_info) {
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS:
		return edit_fail_file(copy->e, ent->fts_path, "cannot be read: %s",
				      strerror(ent->fts_errno));
	case FTS_DC:
		return edit_fail_file(copy->e, ent->fts_path, "the directory contains itself");
	case FTS_DP:
		return leave_directory(copy, ent, path);
	default:
		return put_entry(copy, ent, path, top);
	}
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* Copy name and all below it to the place p, which is taken over. */
static bool put_tree(struct copy *copy, const char *name, const char *path, struct place *p)
{
	char *names[] = {must_alloc(strdup(name)), NULL};
	FTS *fts = fts_open(names, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
	FTSENT *ent, *top = NULL;
	bool ok = fts || edit_fail_file(copy->e, name, "%s", strerror(errno));

	while (ok && (ent = fts_read(fts)) != NULL) {
		char *below;

		top = top ? top : ent;
		below = path_below(path, top, ent);
		ok = put_visit(copy, ent, below, p);
		free(below);
	}
	if (ok && errno)
		ok = edit_fail_file(copy->e, name, "cannot be read: %s", strerror(errno));
	/* After an error: those that were not left. */
	while (copy->depth > 0)
		h2_inode_put(copy->dirs[--copy->depth]);
	if (fts)
		fts_close(fts);
	free(names[0]);
	place_fini(p);
	return ok;
}

/* ---- put ---- */

static bool put_stdin(struct copy *copy, const char *path)
{
	struct place p;
	struct stat st;
	bool ok;

	if (copy->e->script_is_stdin)
		return edit_fail(copy->e, NULL,
				 "\"-\": the script comes from standard input already");
	if (fstat(STDIN_FILENO, &st) != 0)
		return edit_fail_file(copy->e, "standard input", "%s", strerror(errno));
	ok = place_find(copy->e, path, PLACE_FOLLOW, &p);
	if (ok && place_is_dir(&p))
		ok = edit_fail(copy->e, path, "it is a directory: standard input needs a name");
	ok = ok && put_open_file(copy, STDIN_FILENO, "standard input", &st, path, &p);
	place_fini(&p);
	return ok;
}

/* The path that a source gets: in the directory path, or that itself. */
static char *destination_path(const char *path, const char *name, bool inside)
{
	return inside ? join_path(path, name) : must_alloc(strdup(path));
}

static bool put_source(struct copy *copy, const char *source, const char *path)
{
	bool recursive = copy->recursive;
	struct edit *e = copy->e;
	unsigned flags;
	char *name, *target;
	struct place p;
	struct stat st;
	bool ok;

	if ((recursive ? lstat : stat)(source, &st) != 0)
		return edit_fail_file(e, source, "%s", strerror(errno));
	if (S_ISDIR(st.st_mode) && !recursive)
		return edit_fail_file(e, source, "it is a directory; put -r copies it");
	flags = S_ISDIR(st.st_mode) ? PLACE_NEW_DIR : 0;
	if (!place_find(e, path, PLACE_FOLLOW | flags, &p))
		return false;
	name = last_name(source);
	target = destination_path(path, name, place_is_dir(&p));
	free(name);
	place_fini(&p);
	if (!recursive || S_ISREG(st.st_mode))
		flags |= PLACE_FOLLOW;
	ok = place_find(e, target, flags, &p);
	if (ok && recursive)
		ok = put_tree(copy, source, target, &p);
	else
		ok = ok && put_file(copy, source, target, &p);
	place_fini(&p);
	free(target);
	return ok;
}

bool edit_put(struct edit *e, const struct edit_command *c)
{
	struct copy copy = {
		.e = e,
		.recursive = c->options & EDIT_HAS('r'),
		.preserve = c->options & EDIT_HAS('p'),
	};
	const char *path = c->argv[c->argc - 1];
	struct place p = {0};
	bool ok = true;

	if (c->argc > 2) {
		ok = place_find(e, path, PLACE_FOLLOW | PLACE_EXISTS, &p);
		if (ok && !place_is_dir(&p))
			ok = edit_fail(e, path, "several things can only go to a directory");
		place_fini(&p);
	}
	copy.buf = must_alloc(aligned_alloc(4096, BUFFER_SIZE));
	find_volumes(&copy);
	for (int i = 0; i < c->argc - 1 && ok; i++) {
		if (strcmp(c->argv[i], "-") == 0)
			ok = put_stdin(&copy, path);
		else
			ok = put_source(&copy, c->argv[i], path);
	}
	free(copy.volumes);
	free(copy.dirs);
	free(copy.links);
	free(copy.buf);
	return ok;
}

/* ---- get ---- */

static bool write_out(struct edit *e, int fd, const char *name, const uint8_t *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = write(fd, buf + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return edit_fail_file(e, name, "cannot be written: %s", strerror(errno));
		done += (size_t)n;
	}
	return true;
}

/* fd -1: only read. holes: fd is a regular file that can have some. */
static bool read_out(struct edit *e, struct h2_inode *inode, const char *path, int fd,
		     const char *name, bool holes)
{
	uint8_t *buf = must_alloc(aligned_alloc(4096, BUFFER_SIZE));
	uint64_t offset = 0, end;
	struct h2_attr attr;
	bool ok = true;
	ssize_t n = 0;

	h2_inode_attr(inode, &attr);
	while (ok && offset < attr.size) {
		end = attr.size;
		if (holes && fd >= 0) {
			int err = h2_file_next_data(inode, offset, 0, &offset, &end);

			if (err == 1)
				break;
			if (!err && lseek(fd, (off_t)offset, SEEK_SET) < 0)
				ok = edit_fail_file(e, name, "%s", strerror(errno));
		}
		if (end - offset > BUFFER_SIZE)
			end = offset + BUFFER_SIZE;
		n = ok ? h2_file_read(inode, offset, buf, (size_t)(end - offset)) : 0;
		if (n <= 0)
			break;
		offset += (uint64_t)n;
		ok = fd < 0 || write_out(e, fd, name, buf, (size_t)n);
	}
	free(buf);
	if (n < 0)
		ok = edit_fail(e, path, "stopped at byte %" PRIu64 " of %" PRIu64 ": %s", offset,
			       attr.size, edit_error((int)n));
	if (ok && holes && fd >= 0 && ftruncate(fd, (off_t)attr.size) != 0)
		ok = edit_fail_file(e, name, "cannot be written: %s", strerror(errno));
	return ok;
}

/* Owner and times of a file that was written. Only root can give files away. */
static bool set_out(struct edit *e, struct h2_inode *inode, int fd, const char *name)
{
	struct timespec times[2];
	struct h2_attr attr;

	h2_inode_attr(inode, &attr);
	times[0] = (struct timespec){.tv_sec = (time_t)(attr.atime_us / 1000000),
				     .tv_nsec = (long)(attr.atime_us % 1000000 * 1000)};
	times[1] = (struct timespec){.tv_sec = (time_t)(attr.mtime_us / 1000000),
				     .tv_nsec = (long)(attr.mtime_us % 1000000 * 1000)};
	if ((geteuid() == 0 && fchown(fd, attr.uid, attr.gid) != 0) ||
	    fchmod(fd, attr.mode & (geteuid() == 0 ? 07777 : 0777)) != 0 ||
	    futimens(fd, times) != 0)
		return edit_fail_file(e, name, "its attributes cannot be set: %s", strerror(errno));
	return true;
}

/* Write the file at a place to name, which is not "-". */
static bool get_to_file(const struct copy *copy, struct h2_inode *inode, const char *path,
			const char *name)
{
	struct edit *e = copy->e;
	struct h2_attr attr;
	struct stat st;
	bool ok;
	int fd;

	h2_inode_attr(inode, &attr);
	/* Without O_TRUNC, until it is known not to be a volume. */
	fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, attr.mode & 0777);
	if (fd < 0 || fstat(fd, &st) != 0) {
		ok = edit_fail_file(e, name, "cannot be opened: %s", strerror(errno));
	} else if (is_volume(copy, &st)) {
		ok = fail_volume(copy, name);
	} else if (S_ISREG(st.st_mode) && ftruncate(fd, 0) != 0) {
		ok = edit_fail_file(e, name, "cannot be written: %s", strerror(errno));
	} else {
		ok = read_out(e, inode, path, fd, name, S_ISREG(st.st_mode)) &&
		     (!copy->preserve || set_out(e, inode, fd, name));
	}
	if (fd >= 0 && close(fd) != 0 && ok)
		ok = edit_fail_file(e, name, "cannot be written: %s", strerror(errno));
	return ok;
}

static bool get_to_stdout(const struct copy *copy, struct h2_inode *inode, const char *path)
{
	struct stat st;

	if (fstat(STDOUT_FILENO, &st) == 0 && is_volume(copy, &st))
		return fail_volume(copy, "standard output");
	return read_out(copy->e, inode, path, STDOUT_FILENO, "standard output", false);
}

/* The file that something named as the last part of path is written to. To be freed. */
static char *file_for(const char *file, const char *path)
{
	struct stat st;
	char *name, *text;

	if (stat(file, &st) != 0 || !S_ISDIR(st.st_mode))
		return must_alloc(strdup(file));
	name = last_name(path);
	text = join_path(file, name);
	free(name);
	return text;
}

bool edit_get(struct edit *e, const struct edit_command *c)
{
	struct copy copy = {.e = e, .preserve = c->options & EDIT_HAS('p')};
	bool to_stdout = strcmp(c->argv[1], "-") == 0;
	const char *path = c->argv[0];
	struct place p;
	bool ok;

	if (to_stdout && e->call->json)
		return edit_fail(e, NULL, "\"-\": standard output has the JSON");
	if (!place_find(e, path, PLACE_FOLLOW | PLACE_EXISTS, &p))
		return false;
	find_volumes(&copy);
	if (h2_inode_meta(p.inode)->type != H2_OBJECT_FILE) {
		ok = edit_fail(e, path,
			       "not a regular file but of type %s; \"hammer2 extract\" "
			       "copies everything",
			       out_object_type(h2_inode_meta(p.inode)->type));
	} else if (e->dry_run) {
		ok = read_out(e, p.inode, path, -1, NULL, false);
	} else if (to_stdout) {
		ok = get_to_stdout(&copy, p.inode, path);
	} else {
		char *name = file_for(c->argv[1], path);

		ok = get_to_file(&copy, p.inode, path, name);
		free(name);
	}
	free(copy.volumes);
	place_fini(&p);
	return ok;
}
