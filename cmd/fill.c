/* Filling a filesystem: making the objects; see fill.h. */
#include "fill.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "out.h"

#define PROBLEMS_MAX 100u
#define UFLAGS_FIXED 0x00060006u /* immutable and append-only, MF 6.6 */
#define MIB (UINT64_C(1) << 20)

/*
 * Commits come when what was done since the last one may take so much memory (changed inodes and
 * the blockrefs of their contents are kept until then), or so much space that the library would
 * have to commit by itself. That would be as good, but for one thing: when it does so depends on
 * how far its threads have got, and then the result differs from run to run. With little data
 * they are not at work.
 */
#define MEMORY_MAX (64 * MIB)
#define INODE_MEMORY 2048u     /* bytes of a changed inode and its name */
#define DIRECTORY_MEMORY 8192u /* and of a directory's tree */
#define BLOCK_MEMORY 1024u     /* for each block of contents */
#define NAME_SPACE (96u << 10) /* a name may change a large block of its directory's tree */
#define SPACE_MIN FILL_STORE_BYTES
#define RESERVE_DIVISOR 64u /* what the library keeps back, and some more */
#define RESERVE_MIN (8 * MIB)
#define RESERVE_MAX (72 * MIB)

void *fill_alloc(void *memory)
{
	if (!memory) {
		fputs("mkfs.hammer2: out of memory\n", stderr);
		exit(1);
	}
	return memory;
}

uint64_t fill_time(int64_t seconds, uint32_t ns, bool *outside)
{
	*outside = *outside || seconds < 0 || (uint64_t)seconds >= UINT64_MAX / 1000000;
	if (seconds < 0)
		return 0;
	if ((uint64_t)seconds >= UINT64_MAX / 1000000)
		return UINT64_MAX;
	return (uint64_t)seconds * 1000000 + ns / 1000;
}

/* ---- messages ---- */

bool fill_goes_on(const struct fill *f)
{
	return !f->fatal && f->problems < PROBLEMS_MAX && !*f->options->interrupted;
}

static void print_source(const struct fill *f)
{
	const char *source = f->options->source;

	fprintf(stderr, "%s: ", f->options->program);
	if (strcmp(source, "-") == 0)
		source = "standard input";
	out_name(stderr, source, strlen(source));
}

/* The path of a name in the source, or of the present directory. */
static void print_path(const struct fill *f, const char *name)
{
	print_source(f);
	for (unsigned i = 1; i < f->level_count; i++) {
		putc('/', stderr);
		out_name(stderr, f->levels[i].name, strlen(f->levels[i].name));
	}
	if (name) {
		putc('/', stderr);
		out_name(stderr, name, strlen(name));
	}
	fputs(": ", stderr);
}

/* A line that may have names of the source in it, which are nothing for a terminal. */
__attribute__((format(printf, 1, 0))) static void print_text(const char *format, va_list ap)
{
	char *text;

	if (vasprintf(&text, format, ap) < 0)
		return;
	out_name(stderr, text, strlen(text));
	putc('\n', stderr);
	free(text);
}

void fill_problem(struct fill *f, const char *name, const char *format, ...)
{
	va_list ap;

	f->problems++;
	progress_clear(f->progress);
	print_path(f, name);
	va_start(ap, format);
	print_text(format, ap);
	va_end(ap);
}

void fill_warn(struct fill *f, const char *name, const char *what)
{
	progress_clear(f->progress);
	print_path(f, name);
	fprintf(stderr, "%s\n", what);
}

void fill_note(struct fill *f, const char *format, ...)
{
	va_list ap;

	progress_clear(f->progress);
	print_source(f);
	fputs(": ", stderr);
	va_start(ap, format);
	print_text(format, ap);
	va_end(ap);
}

void fill_error(struct fill *f, const char *name, int err)
{
	switch (-err) {
	case ENAMETOOLONG:
		fill_problem(f, name, "the name has %zu bytes; at most %u are possible",
			     strlen(name), H2_NAME_MAX);
		return;
	case ENOSPC:
		f->fatal = true;
		fill_problem(f, name,
			     "no space left in the new filesystem: the contents need a larger one");
		return;
	case EROFS:
		/* A commit failed, which was reported: what follows fails likewise. */
		f->fatal = true;
		f->problems++;
		return;
	case EINVAL:
		fill_problem(f, name, "cannot be stored under this name");
		return;
	default:
		f->fatal = err != -EMLINK && err != -ENOTDIR && err != -ENOTEMPTY && err != -EFBIG;
		fill_problem(f, name, "cannot be stored: %s", error_text(err));
		return;
	}
}

void fill_progress(struct fill *f)
{
	progress_update(f->progress, "filling", f->counts.bytes, f->total_bytes);
}

/* ---- commits ---- */

static void measure(struct fill *f)
{
	struct h2_fs_stats stats;
	uint64_t reserve;

	h2_fs_get_stats(f->fs, &stats);
	reserve = stats.total_bytes / RESERVE_DIVISOR;
	reserve = reserve < RESERVE_MIN   ? RESERVE_MIN
		  : reserve > RESERVE_MAX ? RESERVE_MAX
					  : reserve;
	f->free_space = stats.free_bytes > reserve ? stats.free_bytes - reserve : 0;
	if (f->free_space < SPACE_MIN)
		f->free_space = SPACE_MIN;
	f->done_memory = f->done_space = 0;
}

/* Something is going to be done that takes at most this much. */
static void prepare(struct fill *f, uint64_t memory, uint64_t space)
{
	f->done_memory += memory;
	f->done_space += space;
	if (f->done_memory <= MEMORY_MAX && f->done_space <= f->free_space)
		return;
	/* What fails here makes the next operation fail. */
	(void)h2_fs_sync(f->fs);
	measure(f);
	f->done_memory = memory;
	f->done_space = space;
}

/* ---- attributes ---- */

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/*
 * With a fixed time, all that can differ between two copies of the same source is left out: when
 * it was made, changed and read.
 */
static void choose_times(const struct fill *f, const struct fill_object *o, struct h2_set_attr *set)
{
	uint64_t now = f->options->now_us;

	set->mtime_us = o->times & FILL_MTIME ? o->mtime_us : now;
	if (f->options->fixed_time) {
		set->mtime_us = set->atime_us = min_u64(set->mtime_us, now);
		set->ctime_us = set->btime_us = now;
		return;
	}
	set->atime_us = o->times & FILL_ATIME ? o->atime_us : set->mtime_us;
	set->ctime_us = o->times & FILL_CTIME ? o->ctime_us : now;
	set->btime_us = o->times & FILL_BTIME ? o->btime_us : now;
}

static int set_attributes(const struct fill *f, struct h2_inode *inode, const struct fill_object *o)
{
	struct h2_set_attr set = {
		.valid = H2_SET_MODE | H2_SET_UID | H2_SET_GID | H2_SET_ATIME | H2_SET_MTIME |
			 H2_SET_CTIME | H2_SET_BTIME | H2_SET_UFLAGS,
		.mode = o->mode & 07777,
		.uid = o->uid,
		.gid = o->gid,
		.uflags = o->uflags,
		.size = o->size,
	};

	if (o->type == H2_OBJECT_FILE)
		set.valid |= H2_SET_SIZE;
	choose_times(f, o, &set);
	return h2_inode_set_attr(inode, &set);
}

static int set_uflags(struct h2_inode *inode, uint32_t uflags, uint64_t ctime_us)
{
	struct h2_set_attr set = {
		.valid = H2_SET_UFLAGS | H2_SET_CTIME,
		.uflags = uflags,
		.ctime_us = ctime_us,
	};

	return h2_inode_set_attr(inode, &set);
}

static struct fill_object object_of(struct h2_inode *inode)
{
	struct h2_inode_meta m;

	h2_inode_get_meta(inode, &m);
	return (struct fill_object){
		.type = m.type,
		.mode = m.mode,
		.uid = m.uid,
		.gid = m.gid,
		.size = m.size,
		.uflags = m.uflags,
		.times = FILL_ATIME | FILL_MTIME | FILL_CTIME | FILL_BTIME,
		.atime_us = m.atime,
		.mtime_us = m.mtime,
		.ctime_us = m.ctime,
		.btime_us = m.btime,
	};
}

static struct h2_new new_of(const struct fill_object *o)
{
	return (struct h2_new){
		.type = o->type,
		.mode = o->mode & 07777,
		.uid = o->uid,
		.gid = o->gid,
		.rmajor = o->rmajor,
		.rminor = o->rminor,
		.target = o->target,
		.target_len = o->target ? strlen(o->target) : 0,
		.comp_algo = H2_INHERIT,
		.check_algo = H2_INHERIT,
	};
}

/* ---- directories ---- */

static void push(struct fill *f, struct h2_inode *inode, const char *name,
		 const struct fill_object *object)
{
	if (f->level_count == f->level_room) {
		f->level_room = f->level_room ? 2 * f->level_room : 16;
		f->levels = fill_alloc(reallocarray(f->levels, f->level_room, sizeof(*f->levels)));
	}
	f->levels[f->level_count++] = (struct fill_level){
		.inode = inode,
		.name = fill_alloc(strdup(name)),
		.object = *object,
	};
}

/* The directory of this name, if there is one already: archives come back to them. */
static int find_directory(struct fill *f, const char *name, struct h2_inode **inodep)
{
	struct h2_inode *dir = fill_present(f)->inode, *inode;
	struct h2_dirent ent;
	int err = h2_dir_lookup(dir, name, strlen(name), &ent);

	if (!err && ent.type != H2_OBJECT_DIRECTORY)
		err = -ENOTDIR;
	if (!err)
		err = h2_dirent_get(dir, &ent, &inode);
	if (!err)
		*inodep = inode;
	return err;
}

/* An older object that stands where another one goes, as in archives with several versions. */
static int remove_older(struct fill *f, const char *name)
{
	struct h2_inode *dir = fill_present(f)->inode;
	struct h2_dirent ent;
	int err = h2_dir_lookup(dir, name, strlen(name), &ent);

	if (err)
		return err == -ENOENT ? 0 : err;
	return ent.type == H2_OBJECT_DIRECTORY ? h2_rmdir(dir, name, strlen(name), NULL)
					       : h2_unlink(dir, name, strlen(name), NULL);
}

static int make_directory(struct fill *f, const char *name, const struct fill_object *object,
			  struct h2_inode **inodep)
{
	struct h2_new new_ = new_of(object);
	struct h2_inode *dir = fill_present(f)->inode;
	int err;

	prepare(f, DIRECTORY_MEMORY, NAME_SPACE);
	err = h2_create(dir, name, strlen(name), &new_, inodep);
	if (!err)
		f->counts.directories++;
	return err;
}

bool fill_enter(struct fill *f, const char *name, const struct fill_object *object)
{
	const struct fill_object plain = {.type = H2_OBJECT_DIRECTORY, .mode = 0755};
	const struct fill_object *wanted = object ? object : &plain;
	struct h2_inode *inode;
	struct fill_object old;
	int err = find_directory(f, name, &inode);

	if (err == -ENOTDIR && object)
		err = remove_older(f, name) ? -ENOTDIR : -ENOENT;
	if (err == -ENOENT) {
		err = make_directory(f, name, wanted, &inode);
	} else if (!err) {
		old = object_of(inode);
		wanted = object ? object : &old;
		prepare(f, INODE_MEMORY, NAME_SPACE);
		if (old.uflags & UFLAGS_FIXED)
			err = set_uflags(inode, 0, old.ctime_us);
		if (err)
			h2_inode_put(inode);
	}
	if (err) {
		fill_error(f, name, err);
		return false;
	}
	push(f, inode, name, wanted);
	return true;
}

void fill_leave(struct fill *f)
{
	struct fill_level level = *fill_present(f);
	int err;

	prepare(f, INODE_MEMORY, NAME_SPACE);
	err = f->fatal ? 0 : set_attributes(f, level.inode, &level.object);
	if (err)
		fill_error(f, NULL, err);
	f->level_count--;
	h2_inode_put(level.inode);
	free(level.name);
}

void fill_set_present(struct fill *f, const struct fill_object *object)
{
	fill_present(f)->object = *object;
}

/* ---- other objects ---- */

static void count_object(struct fill *f, const struct fill_object *object)
{
	if (object->type == H2_OBJECT_FILE)
		f->counts.files++;
	else if (object->type == H2_OBJECT_SYMLINK)
		f->counts.symlinks++;
	else
		f->counts.others++;
}

bool fill_create(struct fill *f, const char *name, const struct fill_object *object,
		 struct h2_inode **inodep)
{
	struct h2_inode *dir = fill_present(f)->inode;
	struct h2_new new_ = new_of(object);
	int err;

	/* Nothing will come of it: only what else is wrong matters. */
	if (f->problems > 0)
		return false;
	if (object->type == H2_OBJECT_SYMLINK &&
	    (new_.target_len == 0 || new_.target_len >= H2_SYMLINK_MAX)) {
		fill_problem(f, name, "the symlink's target has %zu bytes; 1 to %u are possible",
			     new_.target_len, H2_SYMLINK_MAX - 1);
		return false;
	}
	prepare(f, INODE_MEMORY, NAME_SPACE);
	err = h2_create(dir, name, strlen(name), &new_, inodep);
	if (err == -EEXIST) {
		err = remove_older(f, name);
		if (!err)
			err = h2_create(dir, name, strlen(name), &new_, inodep);
	}
	if (err) {
		fill_error(f, name, err);
		return false;
	}
	count_object(f, object);
	return true;
}

bool fill_write(struct fill *f, const char *name, struct h2_inode *inode, uint64_t offset,
		const void *buf, size_t len)
{
	const uint8_t *bytes = buf;
	size_t done = 0;

	prepare(f, BLOCK_MEMORY * (len / H2_LOGICAL_BLOCK + 1), len + 2 * H2_LOGICAL_BLOCK);
	while (done < len) {
		ssize_t n = h2_file_write(inode, offset + done, bytes + done, len - done,
					  H2_WRITE_KEEP_TIMES);

		if (n <= 0) {
			fill_error(f, name, n < 0 ? (int)n : -ENOSPC);
			return false;
		}
		done += (size_t)n;
	}
	f->counts.bytes += len;
	fill_progress(f);
	return true;
}

void fill_close(struct fill *f, const char *name, struct h2_inode *inode,
		const struct fill_object *object)
{
	int err = f->fatal ? 0 : set_attributes(f, inode, object);

	if (err)
		fill_error(f, name, err);
	h2_inode_put(inode);
}

/* A fixed inode gets no name: it is made free for that moment. */
static int add_name(struct fill *f, const char *name, struct h2_inode *inode, uint64_t ctime_us)
{
	struct h2_inode *dir = fill_present(f)->inode;
	struct fill_object old = object_of(inode);
	struct h2_dirent ent;
	int err = old.uflags & UFLAGS_FIXED ? set_uflags(inode, 0, ctime_us) : 0;

	if (!err)
		err = h2_link(dir, name, strlen(name), inode);
	/* A link to itself is there already. */
	if (err == -EEXIST && h2_dir_lookup(dir, name, strlen(name), &ent) == 0 &&
	    ent.inum == h2_inode_meta(inode)->inum)
		err = 0;
	if (err == -EEXIST) {
		err = remove_older(f, name);
		if (!err)
			err = h2_link(dir, name, strlen(name), inode);
	}
	if (!err)
		err = set_uflags(inode, old.uflags, ctime_us ? ctime_us : old.ctime_us);
	return err;
}

void fill_add_link(struct fill *f, const char *name, uint64_t inum, uint64_t ctime_us)
{
	struct h2_inode *inode = NULL;
	int err;

	prepare(f, INODE_MEMORY, NAME_SPACE);
	err = h2_inode_get(f->pfs, inum, &inode);
	if (!err)
		err = add_name(f, name, inode,
			       f->options->fixed_time ? f->options->now_us : ctime_us);
	if (err)
		fill_error(f, name, err);
	else
		f->counts.links++;
	h2_inode_put(inode);
}

/* ---- files with several names ---- */

static size_t slot_of(const struct fill *f, struct fill_file file)
{
	uint64_t hash = (file.ino ^ file.dev * UINT64_C(0x9e3779b97f4a7c15)) *
			UINT64_C(0xff51afd7ed558ccd);
	size_t i = (size_t)(hash >> 20) & (f->link_room - 1);

	while (f->links[i].inum != 0 &&
	       (f->links[i].file.ino != file.ino || f->links[i].file.dev != file.dev))
		i = (i + 1) & (f->link_room - 1);
	return i;
}

uint64_t fill_find_file(const struct fill *f, struct fill_file file)
{
	return f->link_room ? f->links[slot_of(f, file)].inum : 0;
}

void fill_remember_file(struct fill *f, struct fill_file file, uint64_t inum)
{
	if (2 * f->link_count >= f->link_room) {
		struct fill_link *old = f->links;
		size_t old_room = f->link_room;

		f->link_room = old_room ? 2 * old_room : 1024;
		f->links = fill_alloc(calloc(f->link_room, sizeof(*f->links)));
		for (size_t i = 0; i < old_room; i++) {
			if (old[i].inum != 0)
				f->links[slot_of(f, old[i].file)] = old[i];
		}
		free(old);
	}
	f->links[slot_of(f, file)] = (struct fill_link){file, inum};
	f->link_count++;
}

/* ---- the whole ---- */

static void tell_losses(struct fill *f)
{
	if (f->xattrs > 0)
		fill_note(f,
			  "extended attributes and ACLs have no place in the filesystem; %" PRIu64
			  " objects have some, which are left out",
			  f->xattrs);
	if (f->times > 0)
		fill_note(f,
			  "times before 1970 or after the year 586524 have no place in the "
			  "filesystem; %" PRIu64 " objects get the nearest instead",
			  f->times);
}

static int begin(struct fill *f, const char *label)
{
	struct h2_inode *root;
	struct fill_object object;
	int err = h2_pfs_open(f->fs, label, &f->pfs);

	if (!err)
		err = h2_inode_get(f->pfs, H2_INUM_ROOT, &root);
	if (err)
		return err;
	object = object_of(root);
	push(f, root, "", &object);
	measure(f);
	return 0;
}

bool fill_pfs(struct h2_fs *fs, const char *label, const struct fill_options *options,
	      struct fill_counts *counts)
{
	struct fill f = {
		.options = options,
		.fs = fs,
		.progress = options->quiet ? NULL : progress_new(),
	};
	struct stat st;
	int err = begin(&f, label);

	if (err) {
		fill_note(&f, "the new filesystem cannot be used: %s", error_text(err));
		f.problems++;
	} else if (strcmp(options->source, "-") != 0 && stat(options->source, &st) < 0) {
		fill_problem(&f, NULL, "%s", strerror(errno));
	} else if (strcmp(options->source, "-") != 0 && S_ISDIR(st.st_mode)) {
		fill_from_directory(&f);
	} else {
		fill_from_archive(&f);
	}
	while (f.level_count > 0)
		fill_leave(&f);
	if (f.problems == 0 && !*options->interrupted) {
		progress_update(f.progress, "writing what is left", f.counts.bytes, 0);
		f.problems += h2_fs_sync(fs) != 0; /* which was reported */
		tell_losses(&f);
	}
	progress_free(f.progress);
	h2_pfs_put(f.pfs);
	free(f.levels);
	free(f.links);
	*counts = f.counts;
	return f.problems == 0 && !*options->interrupted;
}
