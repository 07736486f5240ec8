/*
 * Results that are longer than the answer to an ioctl: kept by the server until their client has read
 * them in parts.
 *
 * FUSE does not say when a client dies, so results are given up unread: some are kept, each for a
 * minute after it was last asked for. A client that comes too late has to ask for a new one.
 */
#ifndef FUSE_RESULTS_H
#define FUSE_RESULTS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A result while it is made. Zeros are an empty one. */
struct result {
	uint8_t *bytes;
	size_t size, room;
};

/* Append. Returns 0; -ENOMEM; -EFBIG for more than 1 GiB. */
int result_add(struct result *result, const void *bytes, size_t size);
void result_fini(struct result *result);

/*
 * Keep a result for a user, taking it over; the oldest one goes where there are many. Returns a number
 * that nobody else can guess, not 0; or 0 where there are no random numbers.
 */
uint64_t results_keep(struct result *result, uid_t uid);

/*
 * Copy bytes at offset, at most size. Returns how many; less: that was the end, and it is given up.
 * Or -ENOENT: there is no such result of that user any more.
 */
ssize_t results_read(uint64_t number, uid_t uid, uint64_t offset, void *bytes, size_t size);

/* Give up all. */
void results_free(void);

#endif
