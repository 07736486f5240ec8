/*
 * Live deduplication, BS 5.9: a table in memory of blocks that were stored since opening, by their
 * check code. A candidate is compared byte for byte before it is shared. Whatever is dropped is
 * taken out first, under the same lock under which it would be shared, so that no block is shared
 * that is about to become free.
 */
#include <stdlib.h>
#include <string.h>

#include "fs_impl.h"

#define SLOTS (1u << 16)

struct slot {
	uint64_t hash;
	uint64_t data_off; /* 0: empty */
};

struct h2_dedup {
	struct h2_mutex lock;
	/* under lock */
	struct slot slots[SLOTS];
};

struct h2_dedup *h2_dedup_new(void)
{
	struct h2_dedup *dedup = calloc(1, sizeof(*dedup));

	if (dedup)
		h2_mutex_init(&dedup->lock, H2_RANK_DEDUP);
	return dedup;
}

void h2_dedup_free(struct h2_dedup *dedup)
{
	if (dedup)
		h2_mutex_fini(&dedup->lock);
	free(dedup);
}

static uint64_t hash_of(const struct h2_blockref *ref)
{
	le64 word;

	memcpy(word.b, ref->check, sizeof(word.b));
	return le64_get(word);
}

static struct slot *slot_of(struct h2_dedup *dedup, uint64_t hash)
{
	return &dedup->slots[hash % SLOTS];
}

/* Only codes that are good enough to find a block again. */
static bool eligible(const struct h2_blockref *ref)
{
	unsigned algo = h2_blockref_check_algo(ref);

	return algo == H2_CHECK_XXHASH64 || algo == H2_CHECK_SHA192;
}

bool h2_dedup_meet(const struct h2_blockref *a, const struct h2_blockref *b)
{
	return eligible(a) && eligible(b) && hash_of(a) % SLOTS == hash_of(b) % SLOTS;
}

bool h2_dedup_find(struct h2_fs *fs, struct h2_blockref *ref, const void *block, size_t len)
{
	struct h2_dedup *dedup = fs->dedup;
	uint64_t hash = hash_of(ref), data_off = 0;
	struct slot *slot = slot_of(dedup, hash);
	bool same;
	void *buf;

	if (!eligible(ref))
		return false;
	h2_mutex_lock(&dedup->lock);
	if (slot->hash == hash)
		data_off = slot->data_off;
	h2_mutex_unlock(&dedup->lock);
	if (data_off == 0 || UINT64_C(1) << (data_off & 63) != len)
		return false;
	buf = aligned_alloc(H2_BUFFER_ALIGN, len < H2_BUFFER_ALIGN ? H2_BUFFER_ALIGN : len);
	if (!buf)
		return false;
	same = h2_volumes_read(fs->volumes, data_off & ~UINT64_C(63), buf, len) == 0 &&
	       memcmp(buf, block, len) == 0;
	free(buf);
	if (!same)
		return false;
	h2_mutex_lock(&dedup->lock);
	same = slot->hash == hash && slot->data_off == data_off;
	if (same)
		h2_space_share(fs->space, data_off);
	h2_mutex_unlock(&dedup->lock);
	if (same)
		ref->data_off = data_off;
	return same;
}

void h2_dedup_add(struct h2_dedup *dedup, const struct h2_blockref *ref)
{
	struct slot *slot = slot_of(dedup, hash_of(ref));

	if (!eligible(ref))
		return;
	h2_mutex_lock(&dedup->lock);
	*slot = (struct slot){.hash = hash_of(ref), .data_off = ref->data_off};
	h2_mutex_unlock(&dedup->lock);
}

void h2_dedup_forget(struct h2_dedup *dedup, const struct h2_blockref *ref)
{
	struct slot *slot = slot_of(dedup, hash_of(ref));

	h2_mutex_lock(&dedup->lock);
	if (slot->data_off == ref->data_off)
		slot->data_off = 0;
	h2_mutex_unlock(&dedup->lock);
}

void h2_dedup_forget_all(struct h2_dedup *dedup)
{
	h2_mutex_lock(&dedup->lock);
	memset(dedup->slots, 0, sizeof(dedup->slots));
	h2_mutex_unlock(&dedup->lock);
}
