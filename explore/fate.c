/* Fates of writes; see fate.h. */
#include "fate.h"

#include <string.h>

const char *const fate_names[FATE_KINDS] = {
	[FATE_LOST] = "lost",
	[FATE_KEPT] = "kept",
	[FATE_TORN_512] = "torn at 512",
	[FATE_TORN_4096] = "torn at 4096",
	[FATE_SHREDDED] = "shredded at 4096",
};

/*
 * Which of the count sectors are there. A disk mostly writes them in order, from either end, but
 * anything is possible: the seed's remainder by 4 chooses between a first part, a last part, all but
 * one, and any.
 */
static bool is_kept(uint64_t seed, uint64_t sector, uint64_t count)
{
	uint64_t place = seed / 4 % count;

	switch (seed % 4) {
	case 0:
		return sector < place;
	case 1:
		return sector > place;
	case 2:
		return sector != place;
	default:
		return random_derive(seed, sector) & 1;
	}
}

static void tear(struct layer *layer, const struct log_event *w, uint64_t seed,
		 uint64_t sector_size)
{
	uint64_t first = w->offset / sector_size, end = w->offset + w->len;
	uint64_t count = (end + sector_size - 1) / sector_size - first;

	for (uint64_t i = 0; i < count; i++) {
		uint64_t from = (first + i) * sector_size, to = from + sector_size;

		from = from > w->offset ? from : w->offset;
		to = to < end ? to : end;
		if (is_kept(seed, i, count))
			layer_write(layer, w->volume, from, w->bytes + (from - w->offset),
				    (size_t)(to - from));
	}
}

static void shred(struct layer *layer, const struct log_event *w, uint64_t seed)
{
	uint64_t first = w->offset / DISK_PAGE;
	uint64_t count = (w->offset + w->len + DISK_PAGE - 1) / DISK_PAGE - first;

	tear(layer, w, seed, DISK_PAGE);
	for (uint64_t i = 0; i < count; i++) {
		struct random r = {.state = random_derive(seed ^ 1, i)};
		struct page *page;

		if (!random_one_in(&r, 3))
			continue;
		page = layer_change(layer, page_key_of(w->volume, (first + i) * DISK_PAGE));
		for (size_t at = 0; at < DISK_PAGE; at += sizeof(uint64_t)) {
			uint64_t word = random_next(&r);

			memcpy(page->bytes + at, &word, sizeof(word));
		}
	}
}

void fate_apply(struct layer *layer, const struct log_event *write, const struct fate *fate)
{
	switch (fate->kind) {
	case FATE_KEPT:
		layer_write(layer, write->volume, write->offset, write->bytes, write->len);
		break;
	case FATE_TORN_512:
		tear(layer, write, fate->seed, 512);
		break;
	case FATE_TORN_4096:
		tear(layer, write, fate->seed, 4096);
		break;
	case FATE_SHREDDED:
		shred(layer, write, fate->seed);
		break;
	default:
		break;
	}
}
