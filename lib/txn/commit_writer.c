/* Writing the blocks of a commit; see commit_writer.h. */
#include "commit_writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES ((size_t)1 << 20)
#define HELD_BYTES ((size_t)16 << 20) /* how much is kept before it is written */
#define SECTOR 4096u

struct h2_commit_chunk {
	struct h2_commit_chunk *next;
	size_t used;
	uint8_t bytes[];
};

void h2_commit_writer_init(struct h2_commit_writer *w, struct h2_volumes *volumes)
{
	*w = (struct h2_commit_writer){.volumes = volumes};
}

static void forget(struct h2_commit_writer *w)
{
	while (w->chunks) {
		struct h2_commit_chunk *next = w->chunks->next;

		free(w->chunks);
		w->chunks = next;
	}
	w->count = 0;
	w->bytes = 0;
}

void h2_commit_writer_fini(struct h2_commit_writer *w)
{
	forget(w);
	free(w->pieces);
}

static uint8_t *get_memory(struct h2_commit_writer *w, size_t len)
{
	struct h2_commit_chunk *chunk = w->chunks;

	if (!chunk || chunk->used + len > CHUNK_BYTES) {
		chunk = malloc(sizeof(*chunk) + CHUNK_BYTES);
		if (!chunk)
			return NULL;
		chunk->used = 0;
		chunk->next = w->chunks;
		w->chunks = chunk;
	}
	chunk->used += len;
	return chunk->bytes + chunk->used - len;
}

int h2_commit_write(struct h2_commit_writer *w, uint64_t offset, const void *buf, size_t len)
{
	uint8_t *copy;

	if (w->bytes >= HELD_BYTES) {
		int err = h2_commit_writer_flush(w);

		if (err)
			return err;
	}
	if (w->count == w->room) {
		size_t room = w->room ? 2 * w->room : 256;
		struct h2_commit_piece *pieces = realloc(w->pieces, room * sizeof(*pieces));

		if (!pieces)
			return -ENOMEM;
		w->pieces = pieces;
		w->room = room;
	}
	copy = get_memory(w, len);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, buf, len);
	w->pieces[w->count++] = (struct h2_commit_piece){offset, (uint32_t)len, copy};
	w->bytes += len;
	return 0;
}

static int by_offset(const void *a, const void *b)
{
	const struct h2_commit_piece *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

int h2_commit_writer_flush(struct h2_commit_writer *w)
{
	uint8_t *buf = aligned_alloc(SECTOR, CHUNK_BYTES);
	int err = 0;

	if (!buf)
		return -ENOMEM;
	if (w->count > 0)
		qsort(w->pieces, w->count, sizeof(*w->pieces), by_offset);
	for (size_t i = 0; i < w->count && !err;) {
		uint64_t start = w->pieces[i].offset;
		size_t len = 0;

		/* A write never crosses a zone, so it never crosses a volume. */
		while (i < w->count && w->pieces[i].offset == start + len &&
		       len + w->pieces[i].len + SECTOR <= CHUNK_BYTES &&
		       w->pieces[i].offset / H2_ZONE == start / H2_ZONE) {
			memcpy(buf + len, w->pieces[i].bytes, w->pieces[i].len);
			len += w->pieces[i].len;
			i++;
		}
		if ((start + len) % SECTOR) {
			size_t pad = SECTOR - (start + len) % SECTOR;

			if (i == w->count || w->pieces[i].offset >= start + len + pad) {
				memset(buf + len, 0, pad);
				len += pad;
			}
		}
		err = h2_volumes_write(w->volumes, start, buf, len);
	}
	free(buf);
	forget(w);
	return err;
}
