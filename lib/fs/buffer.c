/*
 * Buffers: file contents that were written and are not stored yet.
 *
 * A buffer is stored by whichever thread takes it from the queue: it encodes the contents and
 * writes them with the inode's lock shared, so that reading goes on, then enters the blockref with
 * the lock held alone. A version tells whether the buffer was changed in between; then its new
 * contents are on the queue already and the block just written is given back.
 *
 * Threads encode side by side, but get their places in the order in which they took their batches:
 * what was written in one go lies in one go.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "compress.h"
#include "fs_impl.h"

#define BUCKETS_MIN 4u
#define BATCH 16u /* buffers of one inode that a thread takes at once */
#define THREADS_MAX 16u

/* ---- finding and making ---- */

static struct h2_buffer **bucket_of(const struct h2_inode *inode, uint64_t key)
{
	return &inode->buffers[key / H2_LOGICAL_BLOCK & (inode->buffer_buckets - 1)];
}

struct h2_buffer *h2_buffer_find(const struct h2_inode *inode, uint64_t key)
{
	struct h2_buffer *b = inode->buffer_count ? *bucket_of(inode, key) : NULL;

	while (b && b->key != key)
		b = b->next;
	return b;
}

struct h2_buffer *h2_buffer_next(const struct h2_inode *inode, uint64_t key)
{
	struct h2_buffer *first = NULL;

	/* Mostly it is the very block, or one of the next. */
	for (unsigned i = 0; inode->buffer_count && i < 4; i++) {
		first = h2_buffer_find(inode, key + i * (uint64_t)H2_LOGICAL_BLOCK);
		if (first)
			return first;
	}
	for (unsigned i = 0; inode->buffer_count && i < inode->buffer_buckets; i++) {
		for (struct h2_buffer *b = inode->buffers[i]; b; b = b->next) {
			if (b->key >= key && (!first || b->key < first->key))
				first = b;
		}
	}
	return first;
}

static bool grow_table(struct h2_inode *inode)
{
	unsigned count = inode->buffer_buckets ? 2 * inode->buffer_buckets : BUCKETS_MIN;
	struct h2_buffer **old = inode->buffers;
	unsigned old_count = inode->buffer_buckets;

	if (inode->buffer_count < inode->buffer_buckets)
		return true;
	inode->buffers = calloc(count, sizeof(struct h2_buffer *));
	if (!inode->buffers) {
		inode->buffers = old;
		return old != NULL;
	}
	inode->buffer_buckets = count;
	for (unsigned i = 0; i < old_count; i++) {
		while (old[i]) {
			struct h2_buffer *b = old[i];

			old[i] = b->next;
			b->next = *bucket_of(inode, b->key);
			*bucket_of(inode, b->key) = b;
		}
	}
	free(old);
	return true;
}

/*
 * What a buffer may need on the media, for the reservation: see struct h2_txn_need. A file of more
 * than four blocks needs indirect blocks, at worst one for each further block.
 */
static void account(struct h2_fs *fs, const struct h2_buffer *b, bool add)
{
	uint64_t small = b->room < H2_GRANULE    ? 2 * (uint64_t)b->room
			 : b->room == H2_GRANULE ? H2_GRANULE
						 : 0;
	uint64_t quads = b->room > H2_GRANULE;

	if (b->key >= H2_BLOCKSET_COUNT * (uint64_t)H2_LOGICAL_BLOCK)
		small += H2_GRANULE;
	if (add) {
		atomic_fetch_add(&fs->buffer_bytes, b->room);
		atomic_fetch_add(&fs->buffer_quads, quads);
		atomic_fetch_add(&fs->buffer_small, small);
	} else {
		atomic_fetch_sub(&fs->buffer_bytes, b->room);
		atomic_fetch_sub(&fs->buffer_quads, quads);
		atomic_fetch_sub(&fs->buffer_small, small);
	}
}

static bool set_room(struct h2_fs *fs, struct h2_buffer *b, size_t room)
{
	uint32_t wanted = H2_BLOCK_MIN;
	uint8_t *bytes;

	while (wanted < room)
		wanted *= 2;
	if (b->bytes && wanted <= b->room)
		return true;
	bytes = aligned_alloc(wanted < H2_BUFFER_ALIGN ? H2_BLOCK_MIN : H2_BUFFER_ALIGN, wanted);
	if (!bytes)
		return false;
	if (b->room)
		memcpy(bytes, b->bytes, b->room);
	memset(bytes + b->room, 0, wanted - b->room);
	free(b->bytes);
	if (b->room)
		account(fs, b, false);
	b->bytes = bytes;
	b->room = wanted;
	account(fs, b, true);
	return true;
}

static void enqueue_locked(struct h2_fs *fs, struct h2_buffer *b)
{
	if (b->queued)
		return;
	b->queued = true;
	b->sequence = ++fs->last_sequence;
	b->queue_prev = fs->queue_last;
	b->queue_next = NULL;
	if (fs->queue_last)
		fs->queue_last->queue_next = b;
	else
		fs->queue_first = b;
	fs->queue_last = b;
}

static void dequeue_locked(struct h2_fs *fs, struct h2_buffer *b)
{
	if (!b->queued)
		return;
	b->queued = false;
	*(b->queue_prev ? &b->queue_prev->queue_next : &fs->queue_first) = b->queue_next;
	*(b->queue_next ? &b->queue_next->queue_prev : &fs->queue_last) = b->queue_prev;
}

static _Atomic uint64_t last_version;

struct h2_buffer *h2_buffer_make(struct h2_inode *inode, uint64_t key, size_t room)
{
	struct h2_fs *fs = h2_inode_fs(inode);
	struct h2_buffer *b = h2_buffer_find(inode, key);

	if (b) {
		if (!set_room(fs, b, room))
			return NULL;
	} else {
		if (!grow_table(inode))
			return NULL;
		b = calloc(1, sizeof(*b));
		if (!b)
			return NULL;
		b->inode = inode;
		b->key = key;
		if (!set_room(fs, b, room)) {
			free(b);
			return NULL;
		}
		b->next = *bucket_of(inode, key);
		*bucket_of(inode, key) = b;
		inode->buffer_count++;
	}
	b->version = atomic_fetch_add(&last_version, 1) + 1;
	h2_mutex_lock(&fs->dirty_lock);
	enqueue_locked(fs, b);
	h2_mutex_unlock(&fs->dirty_lock);
	return b;
}

void h2_buffer_discard(struct h2_buffer *b)
{
	struct h2_inode *inode = b->inode;
	struct h2_fs *fs = h2_inode_fs(inode);
	struct h2_buffer **link = bucket_of(inode, b->key);

	h2_mutex_lock(&fs->dirty_lock);
	dequeue_locked(fs, b);
	h2_mutex_unlock(&fs->dirty_lock);
	while (*link != b)
		link = &(*link)->next;
	*link = b->next;
	inode->buffer_count--;
	account(fs, b, false);
	free(b->bytes);
	free(b);
}

void h2_buffer_discard_range(struct h2_inode *inode, uint64_t lo, uint64_t hi)
{
	/* A few blocks of many buffers. */
	if (hi - lo < H2_LOGICAL_BLOCK * (uint64_t)inode->buffer_buckets) {
		for (uint64_t n = (hi - lo) / H2_LOGICAL_BLOCK + 1; n > 0; n--) {
			struct h2_buffer *b = h2_buffer_find(inode, lo);

			if (b)
				h2_buffer_discard(b);
			lo += H2_LOGICAL_BLOCK;
		}
		return;
	}
	for (unsigned i = 0; i < inode->buffer_buckets; i++) {
		struct h2_buffer *b = inode->buffers[i];

		while (b) {
			struct h2_buffer *next = b->next;

			if (b->key >= lo && b->key <= hi)
				h2_buffer_discard(b);
			b = next;
		}
	}
}

/* ---- storing ---- */

struct stored { /* one buffer on its way to the media */
	uint64_t key, version;
	struct h2_blockref ref;
	bool hole; /* all zero: no block */
	bool shared;
	const uint8_t *bytes;
	size_t size;
};

struct batch {
	struct h2_inode *inode; /* a reference */
	uint64_t ticket;
	unsigned count;
	struct stored items[BATCH];
	uint8_t *scratch; /* BATCH blocks of 64 KiB */
};

/* Take buffers from the queue: the oldest, and what follows it of the same inode. */
static bool take_batch(struct h2_fs *fs, struct batch *batch, bool limited)
{
	struct h2_buffer *b;

	batch->count = 0;
	h2_mutex_lock(&fs->dirty_lock);
	b = fs->queue_first;
	if (b && limited && b->sequence > fs->drain_limit)
		b = NULL;
	if (b) {
		batch->inode = b->inode;
		batch->ticket = fs->next_ticket++;
		/* The list of dirty inodes holds a reference, so there is one to share. */
		h2_cache_ref(fs->blocks.cache, &b->inode->cached);
	}
	while (b && b->inode == batch->inode && batch->count < BATCH) {
		struct h2_buffer *next = b->queue_next;

		batch->items[batch->count++] = (struct stored){.key = b->key};
		dequeue_locked(fs, b);
		b = next;
	}
	h2_mutex_unlock(&fs->dirty_lock);
	return batch->count > 0;
}

/* The bytes to be stored, MF 8.3: up to the end of the file, rounded up to a power of two. */
static size_t plain_size(const struct h2_inode *inode, const struct h2_buffer *b)
{
	uint64_t used = inode->meta.size > b->key ? inode->meta.size - b->key : 0;
	size_t size = H2_BLOCK_MIN;

	while (size < used && size < H2_LOGICAL_BLOCK)
		size *= 2;
	return size < b->room ? size : b->room;
}

/* Encode a buffer into scratch (MF 8.7, 8.8). Returns 0 or -ENOMEM. */
static int encode(const struct h2_inode *inode, const struct h2_buffer *b, uint8_t *scratch,
		  struct stored *item)
{
	unsigned comp_algo = inode->meta.comp_algo, check_algo = inode->meta.check_algo & 15;
	unsigned algo = comp_algo & 15, used = H2_COMP_NONE;
	size_t plain = plain_size(inode, b);
	int size = 0;

	/* An inode from the media may ask for what nobody knows. */
	if (check_algo > H2_CHECK_SHA192)
		check_algo = H2_CHECK_XXHASH64;

	item->version = b->version;
	item->hole = algo != H2_COMP_NONE && check_algo != H2_CHECK_NONE &&
		     h2_is_zero(b->bytes, plain);
	if (item->hole)
		return 0;
	if ((algo == H2_COMP_LZ4 || algo == H2_COMP_ZLIB) && plain > H2_BLOCK_MIN &&
	    h2_data_may_compress(b->bytes, plain)) {
		size = h2_data_encode(comp_algo, b->bytes, plain, scratch, &used);
		if (size < 0)
			return size;
	}
	item->size = size > 0 ? (size_t)size : plain;
	if (size == 0)
		memcpy(scratch, b->bytes, plain);
	item->bytes = scratch;
	item->ref = (struct h2_blockref){
		.type = H2_BLOCKREF_DATA,
		.methods = (uint8_t)(check_algo << 4 | (size > 0 ? used : H2_COMP_NONE)),
		.keybits = 16,
		.key = b->key,
	};
	return h2_check_set(&item->ref, item->bytes, item->size);
}

static unsigned log2_of(size_t size)
{
	unsigned radix = 0;

	while ((size_t)1 << radix < size)
		radix++;
	return radix;
}

static void wait_turn(struct h2_fs *fs, const struct batch *batch)
{
	h2_mutex_lock(&fs->dirty_lock);
	while (fs->turn != batch->ticket)
		h2_mutex_wait(&fs->dirty_lock, &fs->turn_passed);
	h2_mutex_unlock(&fs->dirty_lock);
}

static void pass_turn(struct h2_fs *fs)
{
	h2_mutex_lock(&fs->dirty_lock);
	fs->turn++;
	pthread_cond_broadcast(&fs->turn_passed);
	h2_mutex_unlock(&fs->dirty_lock);
}

/*
 * Whether item number i of the batch shares a block, as it would if all before it in the batch had
 * been written and remembered: how buffers were divided into batches must not show.
 */
static bool find_shared(struct h2_fs *fs, struct batch *batch, unsigned i)
{
	struct stored *item = &batch->items[i];

	for (unsigned j = i; j-- > 0;) {
		const struct stored *other = &batch->items[j];

		if (other->size == 0 || other->shared || !h2_dedup_meet(&item->ref, &other->ref))
			continue;
		/* It has taken the place in the table. */
		if (other->size != item->size ||
		    memcmp(other->ref.check, item->ref.check, sizeof(item->ref.check)) != 0 ||
		    memcmp(other->bytes, item->bytes, item->size) != 0)
			return false;
		h2_space_share(fs->space, other->ref.data_off);
		item->ref.data_off = other->ref.data_off;
		return true;
	}
	return h2_dedup_find(fs, &item->ref, item->bytes, item->size);
}

/*
 * Give each block a place and write them, neighbours together. The group's tid is fixed here. What
 * is written can be shared from then on.
 */
static int place_and_write(struct h2_fs *fs, struct batch *batch)
{
	uint64_t tid = h2_txn_tid(fs->txn);
	unsigned i, done = 0;
	int err = 0;

	for (i = 0; i < batch->count && !err; i++) {
		struct stored *item = &batch->items[i];

		if (item->size == 0)
			continue;
		item->ref.mirror_tid = tid;
		item->ref.modify_tid = batch->inode->pfs->modify_tid;
		if (fs->dedup && find_shared(fs, batch, i)) {
			item->shared = true;
			continue;
		}
		err = h2_space_alloc(fs->space, H2_BLOCKREF_DATA, log2_of(item->size),
				     &item->ref.data_off);
	}
	for (i = 0; i < batch->count && !err; i = done) {
		const struct stored *first = &batch->items[i];
		uint64_t offset = h2_blockref_offset(&first->ref), len = first->size;

		done = i + 1;
		if (first->size == 0 || first->shared)
			continue;
		/* In memory as on the media: next to each other. */
		while (done < batch->count && batch->items[done].size > 0 &&
		       !batch->items[done].shared &&
		       batch->items[done].bytes == first->bytes + len &&
		       h2_blockref_offset(&batch->items[done].ref) == offset + len &&
		       (offset + len) % H2_ZONE != 0)
			len += batch->items[done++].size;
		err = h2_volumes_write(fs->volumes, offset, first->bytes, (size_t)len);
	}
	for (i = 0; i < batch->count && !err; i++) {
		if (fs->dedup && batch->items[i].size > 0 && !batch->items[i].shared)
			h2_dedup_add(fs->dedup, &batch->items[i].ref);
	}
	return err;
}

/* Enter what was stored into the tree, unless the buffer has changed since. */
static int enter_block(struct h2_inode *inode, struct stored *item)
{
	struct h2_fs *fs = h2_inode_fs(inode);
	struct h2_buffer *b = h2_buffer_find(inode, item->key);
	struct h2_tree_change change = h2_inode_change(inode);
	struct h2_blockref old = {.type = H2_BLOCKREF_EMPTY};
	int err;

	if (!b || b->version != item->version) {
		/* Not cancelled: somebody may have found it worth sharing already. */
		if (item->size > 0 && !item->shared)
			h2_fs_drop(fs, &item->ref);
		return 0;
	}
	if (item->hole) {
		err = h2_tree_remove(&change, &inode->u.root, item->key, &old);
		if (err == -ENOENT)
			err = 0;
	} else {
		err = h2_tree_set(&change, &inode->u.root, &item->ref, &old);
		if (!err)
			inode->stored_bytes += item->size;
	}
	if (err)
		return err;
	if (old.type == H2_BLOCKREF_DATA)
		change.drop(change.user, &old);
	h2_buffer_discard(b);
	return 0;
}

/* Back on the queue: the buffers are still what the file holds. */
static void requeue(struct h2_fs *fs, struct batch *batch)
{
	h2_rwlock_write(&batch->inode->lock);
	for (unsigned i = 0; i < batch->count; i++) {
		struct h2_buffer *b = h2_buffer_find(batch->inode, batch->items[i].key);

		h2_mutex_lock(&fs->dirty_lock);
		if (b)
			enqueue_locked(fs, b);
		h2_mutex_unlock(&fs->dirty_lock);
	}
	h2_rwlock_unlock(&batch->inode->lock);
}

static int store_batch(struct h2_fs *fs, struct batch *batch)
{
	struct h2_inode *inode = batch->inode;
	uint8_t *scratch = batch->scratch;
	int err = 0;

	/* A removed file that only the list of dirty inodes and we know: nobody will read it. */
	if (inode->gone && h2_cache_refs(fs->blocks.cache, &inode->cached) == 2) {
		h2_rwlock_write(&inode->lock);
		for (unsigned i = 0; i < batch->count; i++) {
			struct h2_buffer *b = h2_buffer_find(inode, batch->items[i].key);

			if (b)
				h2_buffer_discard(b);
		}
		h2_rwlock_unlock(&inode->lock);
		wait_turn(fs, batch);
		pass_turn(fs);
		return 0;
	}
	h2_rwlock_read(&inode->lock);
	for (unsigned i = 0; i < batch->count && !err; i++) {
		const struct h2_buffer *b = h2_buffer_find(inode, batch->items[i].key);

		if (!b)
			continue;
		err = encode(inode, b, scratch, &batch->items[i]);
		scratch += batch->items[i].size;
	}
	h2_rwlock_unlock(&inode->lock);
	/* Without the lock: who has the turn may need it. */
	wait_turn(fs, batch);
	if (!err)
		err = place_and_write(fs, batch);
	pass_turn(fs);
	if (err)
		return err;
	h2_rwlock_write(&inode->lock);
	for (unsigned i = 0; i < batch->count && !err; i++)
		err = enter_block(inode, &batch->items[i]);
	h2_rwlock_unlock(&inode->lock);
	return err;
}

static bool never_enough(struct h2_fs *fs)
{
	(void)fs;
	return false;
}

/*
 * Store what is on the queue until enough() says so. closed: the committing thread holds the gate
 * for us. An error makes changes impossible from then on: the data cannot be kept.
 */
static int drain(struct h2_fs *fs, bool closed, bool (*enough)(struct h2_fs *))
{
	/* With the gate open others go on queueing: a commit does not wait for those. */
	bool limited = !closed && enough == never_enough;
	struct batch *batch = malloc(sizeof(*batch));
	int err = batch ? 0 : -ENOMEM;

	if (batch) {
		batch->scratch = aligned_alloc(H2_BUFFER_ALIGN, BATCH * H2_LOGICAL_BLOCK);
		if (!batch->scratch)
			err = -ENOMEM;
	}
	while (!err && !enough(fs)) {
		if (!closed && !h2_txn_try_enter(fs->txn))
			break;
		if (!take_batch(fs, batch, limited)) {
			if (!closed)
				h2_txn_leave(fs->txn);
			break;
		}
		err = store_batch(fs, batch);
		if (err)
			requeue(fs, batch);
		if (!closed)
			h2_txn_leave(fs->txn);
		h2_inode_put(batch->inode);
	}
	if (batch)
		free(batch->scratch);
	free(batch);
	if (err)
		h2_txn_fail(fs->txn, err);
	return err;
}

static bool enough_for_background(struct h2_fs *fs)
{
	return atomic_load(&fs->committing) || atomic_load(&fs->buffer_bytes) < fs->store_limit / 2;
}

static bool below_limit(struct h2_fs *fs)
{
	return atomic_load(&fs->buffer_bytes) < fs->buffer_limit;
}

enum task_kind { TASK_BACKGROUND, TASK_ALL, TASK_CLOSED };

static void run_task(void *context, void *task)
{
	struct h2_fs *fs = context;
	enum task_kind kind = *(enum task_kind *)task;

	(void)drain(fs, kind == TASK_CLOSED,
		    kind == TASK_BACKGROUND ? enough_for_background : never_enough);
	atomic_fetch_sub(&fs->drains, 1);
}

int h2_buffers_start(struct h2_fs *fs, bool no_threads)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (no_threads)
		return 0;
	fs->pool_threads = cpus < 1 ? 1 : cpus > THREADS_MAX ? THREADS_MAX : (unsigned)cpus;
	return h2_pool_new(fs->pool_threads, sizeof(enum task_kind), 4 * THREADS_MAX, run_task, fs,
			   &fs->pool);
}

static void push_tasks(struct h2_fs *fs, enum task_kind kind, unsigned count)
{
	for (unsigned i = 0; fs->pool && i < count; i++) {
		atomic_fetch_add(&fs->drains, 1);
		if (!h2_pool_push(fs->pool, &kind))
			atomic_fetch_sub(&fs->drains, 1);
	}
}

void h2_buffers_throttle(struct h2_fs *fs)
{
	uint64_t held, over;

	if (atomic_load(&fs->buffer_bytes) > fs->store_limit &&
	    atomic_load(&fs->drains) < fs->pool_threads)
		push_tasks(fs, TASK_BACKGROUND, 1);
	if (!below_limit(fs))
		(void)drain(fs, false, below_limit);
	if (fs->hold_commits)
		return;
	/* Inodes and branches leave memory by a commit only. */
	held = atomic_load(&fs->dirty_inodes) * sizeof(struct h2_inode) + atomic_load(&fs->branch_bytes);
	over = atomic_load(&fs->held_over);
	held = held > over ? held - over : 0;
	if (held > fs->dirty_limit)
		(void)h2_txn_sync(fs->txn);
	else if (held > fs->dirty_limit / 2)
		h2_txn_hurry(fs->txn);
}

static bool is_empty(struct h2_fs *fs)
{
	bool empty;

	h2_mutex_lock(&fs->dirty_lock);
	empty = !fs->queue_first;
	h2_mutex_unlock(&fs->dirty_lock);
	return empty;
}

int h2_buffers_drain(struct h2_fs *fs, bool closed)
{
	if (is_empty(fs))
		return h2_txn_error(fs->txn);
	h2_mutex_lock(&fs->dirty_lock);
	fs->drain_limit = fs->last_sequence;
	h2_mutex_unlock(&fs->dirty_lock);
	/* With little to do waking others costs more than it brings. */
	if (atomic_load(&fs->buffer_bytes) > 4 * BATCH * (uint64_t)H2_BLOCK_MIN)
		push_tasks(fs, closed ? TASK_CLOSED : TASK_ALL, fs->pool_threads - 1);
	(void)drain(fs, closed, never_enough);
	atomic_store(&fs->committing, true);
	if (fs->pool)
		h2_pool_wait(fs->pool);
	atomic_store(&fs->committing, false);
	/* Buffers whose task met a closing gate: they come with the next call. */
	return h2_txn_error(fs->txn);
}
