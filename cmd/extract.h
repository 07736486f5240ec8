/*
 * What the two forms of the verb extract share (extract.c writes files, tar.c a tar stream): the
 * account of what was copied, messages, and the progress line. Any thread may use them.
 */
#ifndef CMD_EXTRACT_H
#define CMD_EXTRACT_H

#include <pthread.h>
#include <stdatomic.h>

#include "hammer2.h"
#include "progress.h"

#define EXTRACT_BUFFER ((size_t)1 << 20) /* bytes read at once */

struct account {
	/* set at the beginning, then constant */
	struct call *call;
	const char *label;
	pthread_t ticker;
	bool ticking;

	/* atomic */
	atomic_uint_least64_t bytes; /* of file data written */
	atomic_uint_least64_t files, directories, links, others;
	atomic_uint_least64_t problems;
	atomic_uint_least64_t missing_bytes;
	atomic_bool fatal; /* it makes no sense to go on */

	pthread_mutex_t lock;
	/* under lock */
	pthread_cond_t stop;
	bool stopping;
	struct progress *progress;
};

void account_init(struct account *a, struct call *call, const char *label);

/* End the progress line, print the summary, and return the exit code. */
int account_finish(struct account *a);

/* Tell a problem with a path. */
__attribute__((format(printf, 3, 4))) void account_problem(struct account *a, const char *path,
							   const char *format, ...);

/* Tell that the bytes [from, to) of a file are missing, and why (negative errno). */
void account_missing(struct account *a, const char *path, uint64_t from, uint64_t to, int err);

/* Whether an error of writing makes it useless to go on: a full disk and the like. */
bool error_is_fatal(int err);

/*
 * The next stretch of data of a file at or behind *offset, at most max_bytes long (0: no bound):
 * [*offset, *end). Parts whose references are damaged are told and passed over like holes. Returns
 * false where there is no more.
 */
bool next_extent(struct account *a, struct h2_inode *inode, const char *path, uint64_t max_bytes,
		 uint64_t *offset, uint64_t *end);

/*
 * Read the next piece of [*offset, end), which lies in one extent, into buf (EXTRACT_BUFFER bytes).
 * Returns its length; 0 at the end. What is damaged is told and passed over: *offset is where the
 * piece begins.
 */
size_t read_piece(struct account *a, struct h2_inode *inode, const char *path, uint64_t *offset,
		  uint64_t end, void *buf);

/* Write a tar stream of the inode and all below it to standard output (tar.c). */
void extract_tar(struct account *a, struct h2_inode *inode, const char *path);

#endif
