/*
 * Requests whose answer depends on what the kernel has cached of a file and not yet written: a thread
 * makes the kernel write it, and answers then.
 *
 * Two kinds: where the data and the holes of a file are, and setting flags of a file that forbid to
 * write what was written before. The kernel sends both without writing first.
 *
 * The thread waits for writes that other threads serve. So it must be idle before those end.
 */
#ifndef FUSE_FLUSHER_H
#define FUSE_FLUSHER_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <stdbool.h>

struct flusher;

/* Start the thread; NULL where that fails. The session is borrowed. */
struct flusher *flusher_new(struct fuse_session *fuse);

/* End it; what is still waiting is not answered. NULL is allowed. */
void flusher_free(struct flusher *flusher);

/* Whether the request has to be answered by flusher_add(). */
bool flusher_wants(const struct fuse_buf *request);

/* Answer the request, which is copied. Returns 0 or -ENOMEM. */
int flusher_add(struct flusher *flusher, const struct fuse_buf *request);

/* Whether a request is being or to be answered. NULL is allowed. */
bool flusher_busy(struct flusher *flusher);

#endif
