/* The account of an extraction; see extract.h. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "extract.h"

#define TICK_MS 200

/* The thread that keeps the progress line up to date. */
static void *tick(void *user)
{
	struct account *a = user;
	struct timespec when;

	pthread_mutex_lock(&a->lock);
	while (!a->stopping) {
		clock_gettime(CLOCK_REALTIME, &when);
		when.tv_nsec += TICK_MS * 1000000;
		if (when.tv_nsec >= 1000000000) {
			when.tv_nsec -= 1000000000;
			when.tv_sec++;
		}
		pthread_cond_timedwait(&a->stop, &a->lock, &when);
		if (!a->stopping)
			progress_update(a->progress, "extracting", atomic_load(&a->bytes), 0);
	}
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

void account_init(struct account *a, struct call *call, const char *label)
{
	memset(a, 0, sizeof(*a));
	a->call = call;
	a->label = label;
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->stop, NULL);
	if (!call->options.quiet)
		a->progress = progress_new();
	a->ticking = a->progress && pthread_create(&a->ticker, NULL, tick, a) == 0;
}

static void print_summary(struct account *a)
{
	/* The tar stream has standard output to itself. */
	struct json *json = a->call->options.tar ? NULL : a->call->json;

	if (json) {
		json_object_begin(json, NULL);
		json_string(json, "record", "summary");
		json_uint(json, "files", atomic_load(&a->files));
		json_uint(json, "directories", atomic_load(&a->directories));
		json_uint(json, "links", atomic_load(&a->links));
		json_uint(json, "others", atomic_load(&a->others));
		json_uint(json, "bytes", atomic_load(&a->bytes));
		json_uint(json, "missing_bytes", atomic_load(&a->missing_bytes));
		json_uint(json, "problems", atomic_load(&a->problems));
		json_object_end(json);
	} else if (a->call->options.verbose) {
		fprintf(stderr,
			"%" PRIu64 " files, %" PRIu64 " directories, %" PRIu64
			" further links, %" PRIu64 " others; %" PRIu64 " bytes\n",
			atomic_load(&a->files), atomic_load(&a->directories),
			atomic_load(&a->links), atomic_load(&a->others), atomic_load(&a->bytes));
	}
}

int account_finish(struct account *a)
{
	pthread_mutex_lock(&a->lock);
	a->stopping = true;
	pthread_cond_signal(&a->stop);
	pthread_mutex_unlock(&a->lock);
	if (a->ticking)
		pthread_join(a->ticker, NULL);
	progress_free(a->progress);
	pthread_cond_destroy(&a->stop);
	pthread_mutex_destroy(&a->lock);
	print_summary(a);
	return atomic_load(&a->problems) ? EXIT_PROBLEM : EXIT_DONE;
}

/* from == to: the problem is not about a range. */
static void tell(struct account *a, const char *path, const char *message, uint64_t from,
		 uint64_t to)
{
	struct json *json = a->call->options.tar ? NULL : a->call->json;

	atomic_fetch_add(&a->problems, 1);
	pthread_mutex_lock(&a->lock);
	progress_clear(a->progress);
	complain_path(a->label, path, "%s", message);
	if (json) {
		json_object_begin(json, NULL);
		json_string(json, "record", "problem");
		json_name(json, "pfs", a->label, strlen(a->label));
		json_name(json, "path", path, strlen(path));
		json_string(json, "message", message);
		if (from < to) {
			json_uint(json, "missing_from", from);
			json_uint(json, "missing_to", to);
		}
		json_object_end(json);
	}
	pthread_mutex_unlock(&a->lock);
}

void account_problem(struct account *a, const char *path, const char *format, ...)
{
	char message[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(message, sizeof(message), format, ap);
	va_end(ap);
	tell(a, path, message, 0, 0);
}

void account_missing(struct account *a, const char *path, uint64_t from, uint64_t to, int err)
{
	char message[256];

	atomic_fetch_add(&a->missing_bytes, to - from);
	snprintf(message, sizeof(message),
		 "bytes %" PRIu64 " to %" PRIu64 " are missing (a hole takes their place): %s",
		 from, to - 1, error_text(err));
	tell(a, path, message, from, to);
}

bool error_is_fatal(int err)
{
	switch (err) {
	case ENOSPC:
	case EDQUOT:
	case EROFS:
	case EIO:
	case EMFILE:
	case ENFILE:
	case ENOMEM:
		return true;
	default:
		return false;
	}
}

/*
 * Where to go on behind damaged references at offset. The range that is missing begins at the
 * damaged reference where that is known, else at offset.
 */
static bool pass_damage(struct account *a, struct h2_inode *inode, const char *path,
			uint64_t *offset, int err)
{
	uint64_t size = h2_inode_meta(inode)->size, from = *offset, to = size;
	struct h2_file_block block = {0};
	int next = h2_file_next_block(inode, *offset, &block);

	if (next == 0 || next == 1) {
		/* It went well this time: memory was short, or the device is fickle. */
		to = next == 0 ? block.offset : size;
	} else {
		err = next;
		if (block.offset > *offset)
			to = block.offset;
		if (block.ref.key > from && block.ref.key < to)
			from = block.ref.key;
	}
	if (to > size)
		to = size;
	if (from < to)
		account_missing(a, path, from, to, err);
	*offset = to;
	return to < size;
}

bool next_extent(struct account *a, struct h2_inode *inode, const char *path, uint64_t max_bytes,
		 uint64_t *offset, uint64_t *end)
{
	while (!atomic_load(&a->fatal)) {
		uint64_t start;
		int err = h2_file_next_data(inode, *offset, max_bytes, &start, end);

		if (err == 1)
			return false;
		if (!err) {
			*offset = start;
			return true;
		}
		if (!pass_damage(a, inode, path, offset, err))
			return false;
	}
	return false;
}

size_t read_piece(struct account *a, struct h2_inode *inode, const char *path, uint64_t *offset,
		  uint64_t end, void *buf)
{
	uint64_t damaged = *offset;
	size_t len = 0;
	int why = 0;

	while (*offset < end) {
		uint64_t left = end - *offset, next;
		ssize_t got = h2_file_read(inode, *offset, buf,
					   left < EXTRACT_BUFFER ? (size_t)left : EXTRACT_BUFFER);

		if (got > 0) {
			len = (size_t)got;
			break;
		}
		if (why && got != why) {
			account_missing(a, path, damaged, *offset, why);
			damaged = *offset;
		}
		why = got < 0 ? (int)got : -EIO; /* 0: shorter than its size says */
		next = (*offset / H2_LOGICAL_BLOCK + 1) * H2_LOGICAL_BLOCK;
		*offset = next < end ? next : end;
	}
	if (damaged < *offset)
		account_missing(a, path, damaged, *offset, why);
	return len;
}
