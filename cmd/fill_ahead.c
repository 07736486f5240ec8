/*
 * Reading a directory tree ahead; see fill_ahead.h.
 *
 * The walk keeps its way down in a list, so that the depth of the tree is bounded by the number of
 * open files only. Found objects go through a ring; its lock is held for nothing but that.
 */
#include "fill_ahead.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define OBJECTS_MAX 128u               /* each may be an open file */
#define BYTES_MAX ((uint64_t)32 << 20) /* of contents that the kernel was told to read */

struct level {
	int fd;
	char **names; /* sorted by their bytes */
	size_t count, next;
	int err; /* of reading the names; not told yet */
};

struct walk {
	const struct fill_options *options;
	bool open_files; /* else only attributes are wanted */
	struct level *levels;
	size_t level_count, level_room;
};

struct ahead {
	/* the thread's */
	struct walk walk;
	pthread_t thread;

	pthread_mutex_t lock;
	/* under lock */
	pthread_cond_t filled, drained;
	struct ahead_object ring[OBJECTS_MAX];
	unsigned head, count;
	uint64_t bytes; /* that the kernel was told to read, of what is in the ring */
	bool over;      /* nothing comes any more */
	bool stop;      /* nothing is wanted any more */
};

/* ---- names ---- */

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Read all names of the directory; err tells where that ended early. */
static void read_names(struct level *level)
{
	int copy = fcntl(level->fd, F_DUPFD_CLOEXEC, 0);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *d;
	size_t room = 0;

	if (!dir) {
		level->err = -errno;
		if (copy >= 0)
			close(copy);
		return;
	}
	while (errno = 0, (d = readdir(dir))) {
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		if (level->count == room) {
			room = room ? 2 * room : 64;
			level->names = fill_alloc(reallocarray(level->names, room, sizeof(char *)));
		}
		level->names[level->count++] = fill_alloc(strdup(d->d_name));
	}
	level->err = -errno;
	closedir(dir);
	if (level->count > 0)
		qsort(level->names, level->count, sizeof(char *), by_bytes);
}

/* ---- the walk ---- */

/* Takes fd over. */
static void enter(struct walk *w, int fd)
{
	struct level *level;

	if (w->level_count == w->level_room) {
		w->level_room = w->level_room ? 2 * w->level_room : 16;
		w->levels = fill_alloc(reallocarray(w->levels, w->level_room, sizeof(*w->levels)));
	}
	level = &w->levels[w->level_count++];
	*level = (struct level){.fd = fd};
	read_names(level);
}

static void leave(struct walk *w)
{
	struct level *level = &w->levels[--w->level_count];

	while (level->count > 0)
		free(level->names[--level->count]);
	free(level->names);
	close(level->fd);
}

static void end_walk(struct walk *w)
{
	while (w->level_count > 0)
		leave(w);
	free(w->levels);
}

/* Read without leaving a trace, where we may. */
static int open_source(int dir, const char *name, int flags)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOATIME | flags);

	if (fd < 0 && errno == EPERM)
		fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | flags);
	return fd;
}

int ahead_stat(int dir, const char *name, struct statx *st)
{
	int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH);

	return statx(dir, name, flags, STATX_BASIC_STATS | STATX_BTIME, st) == 0 ? 0 : -errno;
}

static bool is_output(const struct fill_options *options, const struct statx *st)
{
	uint64_t dev = makedev(st->stx_dev_major, st->stx_dev_minor);

	for (unsigned i = 0; i < options->output_count; i++) {
		if (options->outputs[i].dev == dev && options->outputs[i].ino == st->stx_ino)
			return true;
	}
	return false;
}

static void fail(struct ahead_object *o, const char *problem, int err)
{
	o->kind = AHEAD_FAILED;
	o->problem = problem;
	o->err = err;
}

/* The bytes of a file that the kernel is told to read before somebody reads them. */
static uint64_t advised_bytes(const struct ahead_object *o)
{
	if (o->fd < 0 || o->st.stx_blocks == 0)
		return 0;
	return o->st.stx_size < AHEAD_CONTENTS ? o->st.stx_size : AHEAD_CONTENTS;
}

static void look_at_file(const struct level *in, struct ahead_object *o)
{
	uint64_t advised;

	/* A fifo that has taken its place must not block us. */
	o->fd = open_source(in->fd, o->name, O_NONBLOCK);
	if (o->fd < 0) {
		fail(o, "cannot be opened", -errno);
		return;
	}
	advised = advised_bytes(o);
	if (advised > 0)
		(void)posix_fadvise(o->fd, 0, (off_t)advised, POSIX_FADV_WILLNEED);
	o->xattrs = flistxattr(o->fd, NULL, 0) > 0;
}

static void look_at_other(const struct level *in, struct ahead_object *o)
{
	char path[32 + NAME_MAX + 1];

	if (S_ISLNK(o->st.stx_mode)) {
		char target[PATH_MAX + 1];
		ssize_t n = readlinkat(in->fd, o->name, target, PATH_MAX);

		if (n < 0) {
			fail(o, "cannot be read", -errno);
			return;
		}
		target[n] = '\0';
		o->target = fill_alloc(strdup(target));
	}
	if ((size_t)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", in->fd, o->name) <
	    sizeof(path))
		o->xattrs = llistxattr(path, NULL, 0) > 0;
}

static void look_at_directory(struct walk *w, const struct level *in, struct ahead_object *o)
{
	int fd = open_source(in->fd, o->name, O_DIRECTORY);

	if (fd < 0) {
		fail(o, "cannot be opened", -errno);
		return;
	}
	o->kind = AHEAD_ENTER;
	o->xattrs = w->open_files && flistxattr(fd, NULL, 0) > 0;
	enter(w, fd); /* in may be gone */
}

/* The next object; false at the end. */
static bool step(struct walk *w, struct ahead_object *o)
{
	struct level *in = &w->levels[w->level_count - 1];
	int err;

	*o = (struct ahead_object){.kind = AHEAD_OBJECT, .fd = -1};
	if (in->err) {
		fail(o, "cannot be read", in->err);
		in->err = 0;
		return true;
	}
	if (in->next == in->count) {
		leave(w);
		o->kind = AHEAD_LEAVE;
		return w->level_count > 0;
	}
	/* Each name is needed once: it goes with its object. */
	o->name = in->names[in->next];
	in->names[in->next++] = NULL;
	err = ahead_stat(in->fd, o->name, &o->st);
	if (err) {
		fail(o, "cannot be read", err);
		return true;
	}
	o->output = is_output(w->options, &o->st);
	if (S_ISDIR(o->st.stx_mode))
		look_at_directory(w, in, o);
	else if (!o->output && w->open_files && S_ISREG(o->st.stx_mode))
		look_at_file(in, o);
	else if (!o->output && w->open_files)
		look_at_other(in, o);
	return true;
}

uint64_t ahead_count_bytes(int fd, const struct fill_options *options)
{
	struct walk w = {.options = options};
	struct ahead_object o;
	uint64_t bytes = 0;

	enter(&w, fd);
	while (!*options->interrupted && step(&w, &o)) {
		uint64_t stored = o.st.stx_blocks * 512;

		if (o.kind == AHEAD_OBJECT && S_ISREG(o.st.stx_mode) && !o.output)
			bytes += stored < o.st.stx_size ? stored : o.st.stx_size;
		ahead_release(&o);
	}
	end_walk(&w);
	return bytes;
}

/* ---- the thread ---- */

/* Returns false when nothing more is wanted; the object is taken in any case. */
static bool put(struct ahead *a, struct ahead_object *o)
{
	bool wanted;

	pthread_mutex_lock(&a->lock);
	while (!a->stop && (a->count == OBJECTS_MAX || (a->count > 0 && a->bytes > BYTES_MAX)))
		pthread_cond_wait(&a->drained, &a->lock);
	wanted = !a->stop;
	if (wanted) {
		a->ring[(a->head + a->count++) % OBJECTS_MAX] = *o;
		a->bytes += advised_bytes(o);
		pthread_cond_signal(&a->filled);
	}
	pthread_mutex_unlock(&a->lock);
	if (!wanted)
		ahead_release(o);
	return wanted;
}

static void *run(void *context)
{
	struct ahead *a = context;
	struct ahead_object o;

	while (step(&a->walk, &o) && put(a, &o))
		;
	pthread_mutex_lock(&a->lock);
	a->over = true;
	pthread_cond_signal(&a->filled);
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

int ahead_start(int fd, const struct fill_options *options, struct ahead **aheadp)
{
	struct ahead *a = calloc(1, sizeof(*a));
	int err;

	if (!a) {
		close(fd);
		return -ENOMEM;
	}
	a->walk = (struct walk){.options = options, .open_files = true};
	enter(&a->walk, fd);
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->filled, NULL);
	pthread_cond_init(&a->drained, NULL);
	err = -pthread_create(&a->thread, NULL, run, a);
	if (err) {
		end_walk(&a->walk);
		free(a);
		return err;
	}
	*aheadp = a;
	return 0;
}

bool ahead_next(struct ahead *a, struct ahead_object *object)
{
	bool got;

	pthread_mutex_lock(&a->lock);
	while (a->count == 0 && !a->over)
		pthread_cond_wait(&a->filled, &a->lock);
	got = a->count > 0;
	if (got) {
		*object = a->ring[a->head];
		a->head = (a->head + 1) % OBJECTS_MAX;
		a->count--;
		a->bytes -= advised_bytes(object);
		pthread_cond_signal(&a->drained);
	}
	pthread_mutex_unlock(&a->lock);
	return got;
}

void ahead_release(struct ahead_object *object)
{
	if (object->fd >= 0)
		close(object->fd);
	free(object->name);
	free(object->target);
}

void ahead_free(struct ahead *a)
{
	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	a->stop = true;
	pthread_cond_signal(&a->drained);
	pthread_mutex_unlock(&a->lock);
	pthread_join(a->thread, NULL);
	for (; a->count > 0; a->count--) {
		ahead_release(&a->ring[a->head]);
		a->head = (a->head + 1) % OBJECTS_MAX;
	}
	end_walk(&a->walk);
	pthread_cond_destroy(&a->filled);
	pthread_cond_destroy(&a->drained);
	pthread_mutex_destroy(&a->lock);
	free(a);
}
