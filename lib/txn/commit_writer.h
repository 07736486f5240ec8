/*
 * The blocks of a commit on their way to the volumes: copied, put in order, joined to large writes.
 * Blocks smaller than 4 KiB are filled up with zeros to the next 4 KiB: those bytes belong to
 * nobody (h2_space_begin_group()), and a device needs not read before it writes.
 */
#ifndef H2_TXN_COMMIT_WRITER_H
#define H2_TXN_COMMIT_WRITER_H

#include "volumes.h"

struct h2_commit_piece {
	uint64_t offset;
	uint32_t len;
	const uint8_t *bytes;
};

struct h2_commit_chunk;

struct h2_commit_writer {
	struct h2_volumes *volumes;
	struct h2_commit_piece *pieces;
	size_t count, room;
	struct h2_commit_chunk *chunks; /* memory of the copies */
	size_t bytes;
};

void h2_commit_writer_init(struct h2_commit_writer *w, struct h2_volumes *volumes);
void h2_commit_writer_fini(struct h2_commit_writer *w);

/* Copy a block. Returns 0, -ENOMEM, or the device's error: earlier blocks may be written by it. */
int h2_commit_write(struct h2_commit_writer *w, uint64_t offset, const void *buf, size_t len);

/* Write all that is left. Returns 0, -ENOMEM, or the device's error. */
int h2_commit_writer_flush(struct h2_commit_writer *w);

#endif
