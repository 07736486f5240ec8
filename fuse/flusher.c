#include "flusher.h"

#include <errno.h>
#include <linux/fs.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct job {
	struct job *next;
	struct fuse_buf request; /* its memory follows */
};

struct flusher {
	/* constant */
	struct fuse_session *fuse;
	pthread_t thread;

	pthread_mutex_t lock;
	pthread_cond_t wake;

	/* under lock */
	struct job *first, **last;
	bool working;
	bool stopping;
};

/* The fixed part of a request behind its header. Returns false where it is too short. */
static bool get_arguments(const struct fuse_buf *request, void *arguments, size_t size)
{
	if (request->size < sizeof(struct fuse_in_header) + size)
		return false;
	memcpy(arguments, (const char *)request->mem + sizeof(struct fuse_in_header), size);
	return true;
}

static bool get_header(const struct fuse_buf *request, struct fuse_in_header *header)
{
	if (request->flags & FUSE_BUF_IS_FD || request->size < sizeof(*header))
		return false;
	memcpy(header, request->mem, sizeof(*header));
	return true;
}

bool flusher_wants(const struct fuse_buf *request)
{
	struct fuse_in_header header;
	struct fuse_ioctl_in in;

	if (!get_header(request, &header))
		return false;
	if (header.opcode == FUSE_LSEEK)
		return true;
	return header.opcode == FUSE_IOCTL && get_arguments(request, &in, sizeof(in)) &&
	       !(in.flags & FUSE_IOCTL_DIR) &&
	       (in.cmd == (uint32_t)FS_IOC_SETFLAGS || in.cmd == (uint32_t)FS_IOC_FSSETXATTR);
}

/* From where on the answer depends on what the file contains. */
static off_t start_of(const struct fuse_in_header *header, const struct fuse_buf *request)
{
	struct fuse_lseek_in in;

	if (header->opcode != FUSE_LSEEK || !get_arguments(request, &in, sizeof(in)) ||
	    in.offset > INT64_MAX)
		return 0;
	return (off_t)in.offset;
}

static void answer(struct flusher *f, const struct fuse_buf *request)
{
	struct fuse_in_header header;

	/* Forgetting cached pages is the only way to have those written that are dirty. */
	if (get_header(request, &header))
		(void)fuse_lowlevel_notify_inval_inode(f->fuse, header.nodeid,
						       start_of(&header, request), 0);
	fuse_session_process_buf(f->fuse, request);
}

static void *run(void *arg)
{
	struct flusher *f = arg;

	pthread_mutex_lock(&f->lock);
	while (!f->stopping) {
		struct job *job = f->first;

		if (!job) {
			pthread_cond_wait(&f->wake, &f->lock);
			continue;
		}
		f->first = job->next;
		if (!f->first)
			f->last = &f->first;
		f->working = true;
		pthread_mutex_unlock(&f->lock);
		answer(f, &job->request);
		free(job);
		pthread_mutex_lock(&f->lock);
		f->working = false;
	}
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

struct flusher *flusher_new(struct fuse_session *fuse)
{
	struct flusher *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->fuse = fuse;
	f->last = &f->first;
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->wake, NULL);
	if (pthread_create(&f->thread, NULL, run, f) == 0)
		return f;
	pthread_cond_destroy(&f->wake);
	pthread_mutex_destroy(&f->lock);
	free(f);
	return NULL;
}

void flusher_free(struct flusher *f)
{
	if (!f)
		return;
	pthread_mutex_lock(&f->lock);
	f->stopping = true;
	pthread_cond_signal(&f->wake);
	pthread_mutex_unlock(&f->lock);
	pthread_join(f->thread, NULL);
	while (f->first) {
		struct job *job = f->first;

		f->first = job->next;
		free(job);
	}
	pthread_cond_destroy(&f->wake);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

int flusher_add(struct flusher *f, const struct fuse_buf *request)
{
	struct job *job = malloc(sizeof(*job) + request->size);

	if (!job)
		return -ENOMEM;
	job->next = NULL;
	job->request = *request;
	job->request.mem = job + 1;
	memcpy(job->request.mem, request->mem, request->size);
	pthread_mutex_lock(&f->lock);
	*f->last = job;
	f->last = &job->next;
	pthread_cond_signal(&f->wake);
	pthread_mutex_unlock(&f->lock);
	return 0;
}

bool flusher_busy(struct flusher *f)
{
	bool busy;

	if (!f)
		return false;
	pthread_mutex_lock(&f->lock);
	busy = f->first || f->working;
	pthread_mutex_unlock(&f->lock);
	return busy;
}
