/*
 * The verb extract: copy a PFS or a part of it into a directory.
 *
 * The calling thread walks the directories and makes them; several threads take the other names
 * off a bounded queue and make the files. Stretches of large files go back to the queue where
 * there is room, so that one file can keep several threads busy.
 *
 * Everything is made relative to the open directory that it goes into, with O_EXCL and O_NOFOLLOW
 * or calls that never follow a symlink: whatever the names are, nothing outside the destination is
 * touched, and nothing that exists is overwritten.
 *
 * A directory gets its owner, mode and times when the last reference to it is given up: each name
 * on the queue, each open file and each directory below holds one, and so does the table of hard
 * links, which needs the first name of a file until it has seen all of them.
 *
 * Locks: queue.lock and links.lock; neither is held during I/O, and never both.
 */
#include "extract.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "walk.h"

#define QUEUE_MAX 1024u
#define STRETCH ((uint64_t)8 << 20)      /* bytes that one thread copies at a time */
#define PRESIZE_MIN ((uint64_t)16 << 20) /* larger files are told to the filesystem at once */
#define BATCH 8192u                      /* names of a directory that are sorted by inode */
#define LINK_BUCKETS 4096u
#define THREADS_MAX 16u
#define ID_UNCHANGED UINT32_MAX /* what chown(2) takes for "leave it" */

struct dir {
	struct dir *parent; /* a reference; NULL for the destination */
	atomic_uint refs;
	int fd;
	bool keep_attr; /* the destination of a single file: it is not ours */
	struct h2_attr attr;
	char *path; /* within the PFS, for messages */
};

/* A regular file that is being written. */
struct file {
	atomic_uint refs;
	struct dir *dir;        /* a reference */
	struct h2_inode *inode; /* a reference */
	int fd;
	mode_t mode_now;
	struct h2_attr attr;
	char *path;
};

struct job {
	struct file *file; /* copy [begin, end) of it; NULL: make the name */
	uint64_t begin, end;
	struct dir *dir; /* a reference */
	uint64_t inum;
	unsigned name_len;
	char name[];
};

struct queue {
	pthread_mutex_t lock;
	/* under lock */
	pthread_cond_t filled, drained;
	struct job *jobs[QUEUE_MAX];
	unsigned head, count;
	unsigned active; /* threads that work on a job, and may add more */
	bool closed;     /* the walk is over */
};

/* A file with several names, of which the first was seen. */
struct link {
	struct link *next;
	uint64_t inum;
	struct dir *dir; /* a reference: where the first name is */
	char *name;
	uint32_t left;  /* names still to come */
	bool ready;     /* the first name exists */
	bool failed;    /* it could not be made */
	unsigned users; /* threads that look at this */
};

struct links {
	pthread_mutex_t lock;
	/* under lock */
	pthread_cond_t changed;
	struct link *buckets[LINK_BUCKETS];
};

struct extract {
	/* set before the threads start, then constant */
	struct account account;
	struct h2_pfs *pfs;
	bool root;   /* may set owners and make devices */
	bool setgid; /* the destination hands its group down */
	bool force;
	uid_t uid;
	gid_t gid;
	mode_t umask;

	struct queue queue;
	struct links links;
	struct visited visited; /* the walking thread's */
};

/* ---- attributes ---- */

static mode_t final_mode(const struct extract *x, const struct h2_attr *attr)
{
	return x->root ? attr->mode & 07777 : attr->mode & 0777 & ~x->umask;
}

static bool needs_owner(const struct extract *x, const struct h2_attr *attr)
{
	return x->root && (attr->uid != x->uid || attr->gid != x->gid || x->setgid);
}

/* The mode to make an object with: until it has its owner, it is nobody else's. */
static mode_t first_mode(const struct extract *x, const struct h2_attr *attr)
{
	mode_t mode = final_mode(x, attr);

	return needs_owner(x, attr) ? mode & 0700 : mode & 0777;
}

static void fill_times(const struct h2_attr *attr, struct timespec times[2])
{
	times[0] = (struct timespec){(time_t)(attr->atime_us / 1000000),
				     (long)(attr->atime_us % 1000000) * 1000};
	times[1] = (struct timespec){(time_t)(attr->mtime_us / 1000000),
				     (long)(attr->mtime_us % 1000000) * 1000};
}

static void attribute_problem(struct extract *x, const char *path, const char *what)
{
	account_problem(&x->account, path, "its %s cannot be set: %s", what, strerror(errno));
}

/* chown(2) cannot give an object to the id that stands for "unchanged". */
static void check_owner(struct extract *x, const struct h2_attr *attr, const char *path)
{
	if (attr->uid == ID_UNCHANGED || attr->gid == ID_UNCHANGED)
		account_problem(&x->account, path,
				"its owner cannot be set: %" PRIu32 " is no id on this system",
				ID_UNCHANGED);
}

static void set_open_attr(struct extract *x, int fd, const struct h2_attr *attr, mode_t mode_now,
			  const char *path)
{
	struct timespec times[2];

	if (needs_owner(x, attr)) {
		check_owner(x, attr, path);
		if (fchown(fd, attr->uid, attr->gid) != 0)
			attribute_problem(x, path, "owner");
	}
	if (mode_now != final_mode(x, attr) && fchmod(fd, final_mode(x, attr)) != 0)
		attribute_problem(x, path, "mode");
	fill_times(attr, times);
	if (futimens(fd, times) != 0)
		attribute_problem(x, path, "time");
}

/* The same for what is not open: symlinks and special files. */
static void set_named_attr(struct extract *x, int dir, const char *name, const struct h2_attr *attr,
			   mode_t mode_now, const char *path)
{
	struct timespec times[2];

	if (needs_owner(x, attr)) {
		check_owner(x, attr, path);
		if (fchownat(dir, name, attr->uid, attr->gid, AT_SYMLINK_NOFOLLOW) != 0)
			attribute_problem(x, path, "owner");
	}
	if (!S_ISLNK(attr->mode) && mode_now != final_mode(x, attr) &&
	    fchmodat(dir, name, final_mode(x, attr), AT_SYMLINK_NOFOLLOW) != 0)
		attribute_problem(x, path, "mode");
	fill_times(attr, times);
	if (utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) != 0)
		attribute_problem(x, path, "time");
}

/* ---- objects in memory ---- */

static struct dir *dir_get(struct dir *dir)
{
	atomic_fetch_add(&dir->refs, 1);
	return dir;
}

static void dir_put(struct extract *x, struct dir *dir)
{
	while (dir && atomic_fetch_sub(&dir->refs, 1) == 1) {
		struct dir *parent = dir->parent;

		if (!dir->keep_attr)
			set_open_attr(x, dir->fd, &dir->attr, UINT32_MAX, dir->path);
		close(dir->fd);
		free(dir->path);
		free(dir);
		dir = parent;
	}
}

static void file_put(struct extract *x, struct file *file)
{
	if (atomic_fetch_sub(&file->refs, 1) != 1)
		return;
	set_open_attr(x, file->fd, &file->attr, file->mode_now, file->path);
	if (close(file->fd) != 0)
		account_problem(&x->account, file->path, "cannot be written: %s", strerror(errno));
	h2_inode_put(file->inode);
	dir_put(x, file->dir);
	free(file->path);
	free(file);
}

static void write_problem(struct extract *x, const char *path, int err)
{
	account_problem(&x->account, path, "cannot be written: %s%s", strerror(err),
			error_is_fatal(err) ? "; giving up, the copy is incomplete" : "");
	if (error_is_fatal(err))
		atomic_store(&x->account.fatal, true);
}

/* ---- the queue ---- */

static void push_locked(struct queue *q, struct job *job)
{
	q->jobs[(q->head + q->count++) % QUEUE_MAX] = job;
	pthread_cond_signal(&q->filled);
}

/* For the walking thread: wait for room. */
static void queue_push(struct queue *q, struct job *job)
{
	pthread_mutex_lock(&q->lock);
	while (q->count == QUEUE_MAX)
		pthread_cond_wait(&q->drained, &q->lock);
	push_locked(q, job);
	pthread_mutex_unlock(&q->lock);
}

/* For the working threads, which must not wait for each other. */
static bool queue_try_push(struct queue *q, struct job *job)
{
	bool room;

	pthread_mutex_lock(&q->lock);
	room = q->count < QUEUE_MAX;
	if (room)
		push_locked(q, job);
	pthread_mutex_unlock(&q->lock);
	return room;
}

/* Returns NULL when all is done. The caller gives its job back with queue_done(). */
static struct job *queue_pop(struct queue *q)
{
	struct job *job = NULL;

	pthread_mutex_lock(&q->lock);
	while (q->count == 0 && !(q->closed && q->active == 0))
		pthread_cond_wait(&q->filled, &q->lock);
	if (q->count > 0) {
		job = q->jobs[q->head];
		q->head = (q->head + 1) % QUEUE_MAX;
		q->count--;
		q->active++;
		pthread_cond_signal(&q->drained);
	}
	pthread_mutex_unlock(&q->lock);
	return job;
}

static void queue_done(struct queue *q)
{
	pthread_mutex_lock(&q->lock);
	if (--q->active == 0 && q->closed && q->count == 0)
		pthread_cond_broadcast(&q->filled);
	pthread_mutex_unlock(&q->lock);
}

static void queue_close(struct queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->closed = true;
	pthread_cond_broadcast(&q->filled);
	pthread_mutex_unlock(&q->lock);
}

static struct job *job_new(struct dir *dir, uint64_t inum, const char *name, size_t name_len)
{
	struct job *job = must_alloc(malloc(sizeof(*job) + name_len + 1));

	*job = (struct job){.dir = dir_get(dir), .inum = inum, .name_len = (unsigned)name_len};
	memcpy(job->name, name, name_len);
	job->name[name_len] = '\0';
	return job;
}

/* ---- hard links ---- */

static struct link **link_bucket(struct links *links, uint64_t inum)
{
	return &links->buckets[inum % LINK_BUCKETS];
}

static struct link *link_find_locked(struct links *links, uint64_t inum)
{
	struct link *link = *link_bucket(links, inum);

	while (link && link->inum != inum)
		link = link->next;
	return link;
}

/*
 * Enter a name of a file that has several. Returns true where it is the first one: the caller makes
 * the file and calls link_made(). Else *link has the first name, which exists or has failed, and is
 * given back with link_release().
 */
static bool link_enter(struct links *links, const struct job *job, uint32_t nlink,
		       struct link **linkp)
{
	struct link *link;
	bool first = false;

	pthread_mutex_lock(&links->lock);
	link = link_find_locked(links, job->inum);
	if (!link) {
		link = must_alloc(calloc(1, sizeof(*link)));
		link->inum = job->inum;
		link->dir = dir_get(job->dir);
		link->name = must_alloc(strdup(job->name));
		link->left = nlink;
		link->next = *link_bucket(links, job->inum);
		*link_bucket(links, job->inum) = link;
		first = true;
	}
	link->left -= link->left > 0;
	link->users++;
	while (!first && !link->ready && !link->failed)
		pthread_cond_wait(&links->changed, &links->lock);
	pthread_mutex_unlock(&links->lock);
	*linkp = link;
	return first;
}

/* Give a link back; it is forgotten with its last name. */
static void link_release(struct extract *x, struct link *link)
{
	struct link **at;
	bool gone;

	pthread_mutex_lock(&x->links.lock);
	gone = --link->users == 0 && link->left == 0;
	if (gone) {
		at = link_bucket(&x->links, link->inum);
		while (*at != link)
			at = &(*at)->next;
		*at = link->next;
	}
	pthread_mutex_unlock(&x->links.lock);
	if (!gone)
		return;
	dir_put(x, link->dir);
	free(link->name);
	free(link);
}

static void link_made(struct links *links, struct link *link, bool made)
{
	pthread_mutex_lock(&links->lock);
	link->ready = made;
	link->failed = !made;
	pthread_cond_broadcast(&links->changed);
	pthread_mutex_unlock(&links->lock);
}

static void links_fini(struct extract *x)
{
	for (unsigned i = 0; i < LINK_BUCKETS; i++) {
		while (x->links.buckets[i]) {
			struct link *link = x->links.buckets[i];

			x->links.buckets[i] = link->next;
			dir_put(x, link->dir);
			free(link->name);
			free(link);
		}
	}
}

/* ---- making files ---- */

static int write_all(int fd, const uint8_t *buf, size_t len, uint64_t offset)
{
	while (len > 0) {
		ssize_t done = pwrite(fd, buf, len, (off_t)offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? errno : EIO;
		buf += done;
		len -= (size_t)done;
		offset += (uint64_t)done;
	}
	return 0;
}

/* Copy one stretch of data. What is damaged stays a hole. */
static void copy_stretch(struct extract *x, struct file *file, uint64_t begin, uint64_t end,
			 uint8_t *buf)
{
	uint64_t at = begin, done = begin;
	size_t len;

	while (!atomic_load(&x->account.fatal) &&
	       (len = read_piece(&x->account, file->inode, file->path, &at, end, buf)) > 0) {
		int err = write_all(file->fd, buf, len, at);

		if (err) {
			write_problem(x, file->path, err);
			return;
		}
		atomic_fetch_add(&x->account.bytes, len);
		at += len;
		done = at;
	}
	/* Where the last bytes are missing no write has made the file as long as it is. */
	if (done < end && file->attr.size < PRESIZE_MIN &&
	    ftruncate(file->fd, (off_t)file->attr.size) != 0)
		write_problem(x, file->path, errno);
}

/* Hand a stretch to another thread if the queue has room. */
static bool delegate(struct extract *x, struct file *file, uint64_t begin, uint64_t end)
{
	struct job *job = must_alloc(calloc(1, sizeof(*job)));

	job->file = file;
	job->begin = begin;
	job->end = end;
	atomic_fetch_add(&file->refs, 1);
	if (queue_try_push(&x->queue, job))
		return true;
	atomic_fetch_sub(&file->refs, 1); /* not the last one: the caller has its own */
	free(job);
	return false;
}

static void copy_file(struct extract *x, struct file *file, uint8_t *buf)
{
	uint64_t offset = 0, end = 0, size = file->attr.size;

	while (offset < size &&
	       next_extent(&x->account, file->inode, file->path, STRETCH, &offset, &end)) {
		bool more = end < size;

		/* The last stretch is this thread's own. */
		if (!more || !delegate(x, file, offset, end))
			copy_stretch(x, file, offset, end, buf);
		offset = end;
	}
	if (end < size && size < PRESIZE_MIN && ftruncate(file->fd, (off_t)size) != 0)
		write_problem(x, file->path, errno);
}

/* Returns whether the file exists now. */
static bool make_regular(struct extract *x, const struct job *job, struct h2_inode *inode,
			 const struct h2_attr *attr, const char *path, struct file **filep)
{
	mode_t mode = first_mode(x, attr);
	struct file *file;
	int fd = openat(job->dir->fd, job->name,
			O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);

	if (fd < 0) {
		write_problem(x, path, errno);
		return false;
	}
	/* Also tells in time that the destination cannot hold a file of this size. */
	if (attr->size >= PRESIZE_MIN && ftruncate(fd, (off_t)attr->size) != 0) {
		if (errno == EFBIG)
			account_problem(&x->account, path,
					"the destination cannot hold a file of %" PRIu64 " bytes",
					attr->size);
		else
			write_problem(x, path, errno);
		close(fd);
		unlinkat(job->dir->fd, job->name, 0);
		return false;
	}
	file = must_alloc(calloc(1, sizeof(*file)));
	atomic_init(&file->refs, 1);
	file->dir = dir_get(job->dir);
	file->inode = inode;
	file->fd = fd;
	file->mode_now = mode;
	file->attr = *attr;
	file->path = must_alloc(strdup(path));
	*filep = file;
	return true;
}

static bool make_symlink(struct extract *x, const struct job *job, struct h2_inode *inode,
			 const struct h2_attr *attr, const char *path)
{
	char target[H2_SYMLINK_MAX + 1];
	ssize_t len = h2_symlink_read(inode, target, sizeof(target));

	if (len < 0) {
		account_problem(&x->account, path, "the symlink's target cannot be read: %s",
				error_text((int)len));
		return false;
	}
	if (strlen(target) != (size_t)len) {
		account_problem(&x->account, path, "the symlink's target has a zero byte");
		return false;
	}
	if (symlinkat(target, job->dir->fd, job->name) != 0) {
		write_problem(x, path, errno);
		return false;
	}
	set_named_attr(x, job->dir->fd, job->name, attr, 0, path);
	return true;
}

static bool make_special(struct extract *x, const struct job *job, const struct h2_attr *attr,
			 const char *path)
{
	bool device = S_ISCHR(attr->mode) || S_ISBLK(attr->mode);
	mode_t mode = first_mode(x, attr);
	dev_t dev = device ? makedev(attr->rmajor, attr->rminor) : 0;

	/* Linux has 12 bits for the one and 20 for the other. */
	if (device && (attr->rmajor >= 1u << 12 || attr->rminor >= 1u << 20)) {
		account_problem(&x->account, path,
				"device %" PRIu32 ",%" PRIu32 " has no number on this system",
				attr->rmajor, attr->rminor);
		return false;
	}
	if (mknodat(job->dir->fd, job->name, (attr->mode & S_IFMT) | mode, dev) != 0) {
		if (device && errno == EPERM)
			account_problem(&x->account, path, "a device node; only root can make it");
		else
			write_problem(x, path, errno);
		return false;
	}
	set_named_attr(x, job->dir->fd, job->name, attr, mode, path);
	return true;
}

static void make_link(struct extract *x, const struct job *job, const struct link *first,
		      const char *path)
{
	if (first->failed)
		account_problem(&x->account, path, "the file's first name could not be made");
	else if (linkat(first->dir->fd, first->name, job->dir->fd, job->name, 0) != 0)
		write_problem(x, path, errno);
	else
		atomic_fetch_add(&x->account.links, 1);
}

/* Make an object that is no directory. Takes over the reference to the inode. */
static void make_object(struct extract *x, const struct job *job, struct h2_inode *inode,
			const char *path, uint8_t *buf)
{
	struct file *file = NULL;
	struct link *link = NULL;
	struct h2_attr attr;
	bool made = false;

	h2_inode_attr(inode, &attr);
	if (attr.nlink > 1 && !link_enter(&x->links, job, attr.nlink, &link)) {
		make_link(x, job, link, path);
		goto out;
	}
	switch (attr.mode & S_IFMT) {
	case S_IFREG:
		made = make_regular(x, job, inode, &attr, path, &file);
		atomic_fetch_add(&x->account.files, made);
		break;
	case S_IFLNK:
		made = make_symlink(x, job, inode, &attr, path);
		atomic_fetch_add(&x->account.others, made);
		break;
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		made = make_special(x, job, &attr, path);
		atomic_fetch_add(&x->account.others, made);
		break;
	default:
		account_problem(&x->account, path, "an object of type %s cannot stand here",
				out_object_type(h2_inode_meta(inode)->type));
		break;
	}
	if (link)
		link_made(&x->links, link, made);
	if (file) {
		copy_file(x, file, buf);
		file_put(x, file);
		inode = NULL;
	}
out:
	if (link)
		link_release(x, link);
	h2_inode_put(inode);
}

static void run_job(struct extract *x, const struct job *job, uint8_t *buf)
{
	struct h2_inode *inode;
	char *path;
	int err;

	if (atomic_load(&x->account.fatal))
		return;
	if (job->file) {
		copy_stretch(x, job->file, job->begin, job->end, buf);
		return;
	}
	path = join_path(job->dir->path, job->name);
	err = h2_inode_get(x->pfs, job->inum, &inode);
	if (err)
		account_problem(&x->account, path, "cannot be read: %s", error_text(err));
	else
		make_object(x, job, inode, path, buf);
	free(path);
}

static void *work(void *user)
{
	struct extract *x = user;
	uint8_t *buf = must_alloc(aligned_alloc(4096, EXTRACT_BUFFER));
	struct job *job;

	while ((job = queue_pop(&x->queue))) {
		run_job(x, job, buf);
		if (job->file)
			file_put(x, job->file);
		dir_put(x, job->dir);
		free(job);
		queue_done(&x->queue);
	}
	free(buf);
	return NULL;
}

/* ---- the walk ---- */

/* Directories still to be made, the next one last. */
struct pending {
	struct job **items;
	size_t count, room;
};

static void pending_add(struct pending *p, struct job *job)
{
	if (p->count == p->room) {
		p->room = p->room ? 2 * p->room : 64;
		p->items = must_alloc(reallocarray(p->items, p->room, sizeof(struct job *)));
	}
	p->items[p->count++] = job;
}

/* Make the directory of a job and open it. Returns NULL after a message. */
static struct dir *make_directory(struct extract *x, const struct job *job,
				  const struct h2_attr *attr, const char *path)
{
	struct dir *dir;
	int fd;

	if (mkdirat(job->dir->fd, job->name, 0700) != 0 && !(x->force && errno == EEXIST)) {
		write_problem(x, path, errno);
		return NULL;
	}
	fd = openat(job->dir->fd, job->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		write_problem(x, path, errno);
		return NULL;
	}
	dir = must_alloc(calloc(1, sizeof(*dir)));
	dir->parent = dir_get(job->dir);
	atomic_init(&dir->refs, 1);
	dir->fd = fd;
	dir->attr = *attr;
	dir->path = must_alloc(strdup(path));
	atomic_fetch_add(&x->account.directories, 1);
	return dir;
}

/* Inodes and the data of files tend to lie in the order of their numbers. */
static int by_inum(const void *a, const void *b)
{
	const struct job *x = *(struct job *const *)a, *y = *(struct job *const *)b;

	return (x->inum > y->inum) - (x->inum < y->inum);
}

static void push_batch(struct extract *x, struct job **batch, size_t count)
{
	if (count > 0)
		qsort(batch, count, sizeof(struct job *), by_inum);
	for (size_t i = 0; i < count; i++)
		queue_push(&x->queue, batch[i]);
}

/* The library gives out no such names; nothing but this would keep us within the destination. */
static bool name_is_safe(const struct h2_dirent *ent)
{
	return ent->name_len > 0 && !memchr(ent->name, '/', ent->name_len) &&
	       strlen(ent->name) == ent->name_len && strcmp(ent->name, ".") != 0 &&
	       strcmp(ent->name, "..") != 0;
}

static void walk_entries(struct extract *x, struct h2_inode *inode, struct dir *dir,
			 struct pending *pending)
{
	struct job **batch = must_alloc(malloc(BATCH * sizeof(struct job *)));
	struct h2_dir_scan *scan = NULL;
	struct h2_dirent ent;
	size_t count = 0;
	int err = h2_dir_scan_new(inode, 0, &scan);

	if (err)
		account_problem(&x->account, dir->path, "cannot be read: %s", error_text(err));
	while (!err && !atomic_load(&x->account.fatal)) {
		int got = h2_dir_scan_next(scan, &ent);
		struct job *job;

		if (got == 1)
			break;
		if (got) {
			account_problem(&x->account, dir->path,
					"a part of the directory cannot be read, its names are "
					"missing: %s",
					error_text(got));
			continue;
		}
		if (!name_is_safe(&ent)) {
			account_problem(&x->account, dir->path, "a name cannot be made; left out");
			continue;
		}
		job = job_new(dir, ent.inum, ent.name, ent.name_len);
		if (ent.type == H2_OBJECT_DIRECTORY) {
			pending_add(pending, job);
			continue;
		}
		batch[count++] = job;
		if (count == BATCH) {
			push_batch(x, batch, count);
			count = 0;
		}
	}
	push_batch(x, batch, count);
	h2_dir_scan_free(scan);
	free(batch);
}

/* One pending name, which should be a directory; the job is used up. */
static void walk_directory(struct extract *x, struct job *job, struct pending *pending)
{
	char *path = join_path(job->dir->path, job->name);
	struct h2_inode *inode = NULL;
	struct h2_attr attr;
	struct dir *dir;
	int err = h2_inode_get(x->pfs, job->inum, &inode);

	if (err) {
		account_problem(&x->account, path, "cannot be read, nor what is below it: %s",
				error_text(err));
	} else if (h2_inode_meta(inode)->type != H2_OBJECT_DIRECTORY) {
		/* The entry is wrong about the type; the inode is right. */
		queue_push(&x->queue, job);
		job = NULL;
	} else if (!visited_add(&x->visited, job->inum)) {
		account_problem(&x->account, path,
				"the directory has a second name; it is not copied again");
	} else {
		h2_inode_attr(inode, &attr);
		dir = make_directory(x, job, &attr, path);
		if (dir) {
			walk_entries(x, inode, dir, pending);
			dir_put(x, dir);
		}
	}
	h2_inode_put(inode);
	free(path);
	if (job) {
		dir_put(x, job->dir);
		free(job);
	}
}

/* Copy the inode: a directory's contents into dest, anything else under its own name. */
static void walk(struct extract *x, struct h2_inode *inode, struct dir *dest, const char *path)
{
	const struct h2_inode_meta *m = h2_inode_meta(inode);
	struct pending pending = {0};

	if (m->type == H2_OBJECT_DIRECTORY) {
		visited_add(&x->visited, m->inum);
		walk_entries(x, inode, dest, &pending);
	} else {
		const char *name = strrchr(path, '/') + 1;

		queue_push(&x->queue, job_new(dest, m->inum, name, strlen(name)));
	}
	while (pending.count > 0) {
		struct job *job = pending.items[--pending.count];

		if (atomic_load(&x->account.fatal)) {
			dir_put(x, job->dir);
			free(job);
		} else {
			walk_directory(x, job, &pending);
		}
	}
	free(pending.items);
}

/* ---- start and end ---- */

/* Returns 1, 0 where the directory has entries, or a negative errno. */
static int is_empty(int fd)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = copy >= 0 ? fdopendir(copy) : NULL;
	struct dirent *ent;
	unsigned names = 0;

	if (!list)
		return -errno;
	/* "." and ".." come in any order; a third name is enough to know. */
	while ((ent = readdir(list)) && names <= 2)
		names++;
	closedir(list);
	return names <= 2;
}

/* Open the destination, made if need be. Returns NULL after a message. */
static struct dir *open_destination(struct extract *x, const char *name, struct h2_inode *inode,
				    const char *path)
{
	bool directory = h2_inode_meta(inode)->type == H2_OBJECT_DIRECTORY;
	struct dir *dest;
	struct stat st;
	int fd, empty = 1;

	if (mkdir(name, directory ? 0700 : 0777 & ~x->umask) != 0 && errno != EEXIST) {
		complain("%s: cannot be made: %s", name, strerror(errno));
		return NULL;
	}
	fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0) {
		complain("%s: %s", name, strerror(errno));
		goto fail;
	}
	if (!x->force)
		empty = is_empty(fd);
	if (empty < 0)
		complain("%s: %s", name, strerror(-empty));
	if (empty == 0)
		complain("%s: is not empty; --force allows that and overwrites nothing", name);
	if (empty <= 0)
		goto fail;
	x->setgid = st.st_mode & S_ISGID;
	dest = must_alloc(calloc(1, sizeof(*dest)));
	atomic_init(&dest->refs, 1);
	dest->fd = fd;
	dest->keep_attr = !directory;
	h2_inode_attr(inode, &dest->attr);
	dest->path = must_alloc(strdup(path));
	if (!directory)
		*(strrchr(dest->path, '/') + 1) = '\0';
	return dest;
fail:
	if (fd >= 0)
		close(fd);
	return NULL;
}

/* Directories on the way and those of hard links stay open: allow as many as we may. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static unsigned thread_count(const struct options *o)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (o->threads)
		return (unsigned)o->threads;
	/* One can compute while another waits. */
	if (cpus < 2)
		return 2;
	return cpus < (long)THREADS_MAX ? (unsigned)cpus : THREADS_MAX;
}

static void extract_files(struct extract *x, struct h2_inode *inode, struct dir *dest,
			  const char *path)
{
	unsigned count = thread_count(&x->account.call->options), started = 0;
	pthread_t *threads = must_alloc(calloc(count, sizeof(*threads)));

	raise_file_limit();
	while (started < count && pthread_create(&threads[started], NULL, work, x) == 0)
		started++;
	if (started == 0) {
		complain("no thread can be started");
		exit(EXIT_PROBLEM);
	}
	walk(x, inode, dest, path);
	queue_close(&x->queue);
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	links_fini(x);
	free(threads);
}

static void extract_init(struct extract *x, struct call *call, struct target *target)
{
	memset(x, 0, sizeof(*x));
	account_init(&x->account, call, target->label);
	x->pfs = target->pfs;
	x->uid = geteuid();
	x->gid = getegid();
	x->root = x->uid == 0;
	x->force = call->options.force;
	x->umask = umask(0);
	pthread_mutex_init(&x->queue.lock, NULL);
	pthread_cond_init(&x->queue.filled, NULL);
	pthread_cond_init(&x->queue.drained, NULL);
	pthread_mutex_init(&x->links.lock, NULL);
	pthread_cond_init(&x->links.changed, NULL);
}

static int extract_to(struct call *call, struct target *target, struct h2_inode *inode,
		      const char *path, const char *dest_name)
{
	struct extract *x = must_alloc(malloc(sizeof(*x)));
	struct dir *dest;
	int code;

	extract_init(x, call, target);
	dest = open_destination(x, dest_name, inode, path);
	if (dest) {
		extract_files(x, inode, dest, path);
		dir_put(x, dest);
	}
	visited_fini(&x->visited);
	code = account_finish(&x->account);
	free(x);
	return dest ? code : EXIT_PROBLEM;
}

static int extract_stream(struct call *call, struct target *target, struct h2_inode *inode,
			  const char *path)
{
	struct account account;

	account_init(&account, call, target->label);
	extract_tar(&account, inode, path);
	return account_finish(&account);
}

int verb_extract(struct call *call)
{
	const struct options *o = &call->options;
	struct h2_inode *inode;
	struct target target;
	char *path;
	int err, code;

	/* The last argument is the destination; all before it are volumes. */
	if (!o->tar && call->argc < 2) {
		complain("extract: give a destination, or --tar for a stream on standard output");
		return EXIT_USAGE;
	}
	if (o->tar && isatty(STDOUT_FILENO)) {
		complain("extract: a tar stream is not for a terminal; send it to a file or pipe");
		return EXIT_USAGE;
	}
	code = target_open(call, call->argv, o->tar ? call->argc : call->argc - 1, TARGET_PFS,
			   &target);
	if (code != EXIT_DONE)
		return code;
	path = clean_path(o->path ? o->path : "/");
	err = h2_path_lookup(target.pfs, path, &inode);
	if (err) {
		complain_path(target.label, path, "%s", error_text(err));
		code = EXIT_PROBLEM;
	} else {
		code = o->tar ? extract_stream(call, &target, inode, path)
			      : extract_to(call, &target, inode, path, call->argv[call->argc - 1]);
		h2_inode_put(inode);
	}
	free(path);
	target_close(&target);
	return code;
}
