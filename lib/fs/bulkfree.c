/*
 * Bulk free: storage that nothing refers to any more comes back, BS 9.
 *
 * The state of one commit is walked as a whole. What the freemap has as allocated and the walk has
 * not reached is let go as if that commit had dropped it, so it is used again once no header copy
 * is older. Three things that the walk does not see are spared: what was allocated or shared since
 * the scan began (the allocator remembers), what removed files hold that are still open (their
 * trees are walked in memory), and what waits to come back already.
 *
 * The commit that is walked begins after the allocator has begun to remember; so whatever an
 * operation had allocated before is in its tree or was dropped. Deduplication forgets all blocks at
 * the same time: what is shared afterwards is new, or counts as young.
 *
 * A walk that meets damage lets nothing go.
 *
 * Who runs it: the caller of h2_fs_bulkfree(); an operation that finds no room (reclaim); and a
 * thread, when much has been dropped that cannot be told to be free without it.
 */
#include <stdlib.h>
#include <time.h>

#include "block_walk.h"
#include "lost_record.h"
#include "used_map.h"

#define WORTH_BYTES (UINT64_C(64) << 10) /* dropped since the last scan: for want of room */
#define THREAD_BYTES (UINT64_C(64) << 20) /* for the thread; on small volumes 1/64 of it */
#define THREAD_BYTES_MIN (UINT64_C(1) << 20)
#define FIRST_PAUSE 3 /* seconds; who mounts wants to read something first */
#define TURN_NS 100000000 /* how often who waits for a scan is asked whether to go on */
#define REST_FACTOR 10 /* the thread rests that many times as long as its last scan took */

struct h2_bulkfree {
	struct h2_mutex lock; /* held during a scan, and by whoever has paused them */
	/* under lock */
	bool broken; /* the last scan met damage: nobody tries again unasked */
	uint64_t freed_last;
	/* changed under lock, read without */
	_Atomic bool unknown; /* no record told what was lost before opening, and no scan has */
	_Atomic uint64_t scans; /* that have ended */
	_Atomic uint64_t bytes, bytes_expected; /* of the running scan */

	pthread_t thread;
	bool has_thread;
	struct h2_mutex wake_lock;
	pthread_cond_t wake;
	bool stopping; /* under wake_lock */
	_Atomic bool interrupt;
};

struct scan {
	struct h2_fs *fs;
	struct h2_used_map *map;
	const struct h2_pass_options *options;
	_Atomic uint64_t blocks, bytes;
	uint64_t bytes_expected;
	/* removed files that are open: references */
	struct h2_inode **gone;
	size_t gone_count;
};

/* ---- one scan ---- */

/* By any thread. */
static int meet_block(void *user, const struct h2_met *met)
{
	struct scan *s = user;
	struct h2_bulkfree *b = s->fs->bulkfree;
	int seen = h2_used_map_add(s->map, met->data_off, met->leads);

	if (seen == 0)
		atomic_fetch_add_explicit(&s->bytes, UINT64_C(1) << (met->data_off & 63),
					  memory_order_relaxed);
	atomic_fetch_add_explicit(&s->blocks, 1, memory_order_relaxed);
	if (atomic_load_explicit(&b->interrupt, memory_order_relaxed))
		return -EINTR;
	return seen;
}

/* By the thread that runs the scan. */
static bool goes_on(void *user)
{
	const struct scan *s = user;
	uint64_t bytes = atomic_load(&s->bytes);

	atomic_store(&s->fs->bulkfree->bytes, bytes);
	return !s->options || !s->options->progress ||
	       s->options->progress(s->options->user, bytes, s->bytes_expected);
}

/* The same as meet_block() where there are no other threads. */
static int meet_block_alone(void *user, const struct h2_met *met)
{
	struct scan *s = user;
	int seen = meet_block(s, met);

	return seen >= 0 && atomic_load(&s->blocks) % 1024 == 0 && !goes_on(s) ? -EINTR : seen;
}

/* References to the inodes that are removed and still known: a commit's tree does not have them. */
static int gather_gone(struct scan *s)
{
	struct h2_fs *fs = s->fs;
	size_t room = 0;
	int err = 0;

	h2_txn_enter(fs->txn);
	h2_mutex_lock(&fs->dirty_lock);
	for (struct h2_inode *i = fs->dirty_first; i && !err; i = i->dirty_next) {
		if (!i->gone)
			continue;
		if (s->gone_count == room) {
			size_t more = room ? 2 * room : 64;
			struct h2_inode **gone = realloc(s->gone, more * sizeof(*gone));

			if (!gone) {
				err = -ENOMEM;
				break;
			}
			s->gone = gone;
			room = more;
		}
		h2_cache_ref(fs->blocks.cache, &i->cached);
		s->gone[s->gone_count++] = i;
	}
	h2_mutex_unlock(&fs->dirty_lock);
	h2_txn_leave(fs->txn);
	return err;
}

static int walk_gone(struct scan *s, const struct h2_block_walk *walk)
{
	int err = 0;

	for (size_t i = 0; i < s->gone_count && !err; i++) {
		h2_rwlock_read(&s->gone[i]->lock);
		err = h2_block_walk_inode(walk, s->gone[i]);
		h2_rwlock_unlock(&s->gone[i]->lock);
	}
	return err;
}

static int scan_volume(struct scan *s, uint64_t *tid)
{
	struct h2_fs *fs = s->fs;
	struct h2_block_walk walk = {
		.blocks = &fs->blocks,
		.block = fs->pool ? meet_block : meet_block_alone,
		.user = s,
	};
	struct h2_volume_header header;
	int err = h2_txn_settle(fs->txn);

	if (err)
		return err;
	/* Removed files before the header: one that is removed in between is in the tree. */
	err = gather_gone(s);
	h2_txn_get_header(fs->txn, &header);
	*tid = header.mirror_tid;
	for (unsigned i = 0; i < H2_BLOCKSET_COUNT; i++)
		s->bytes_expected += header.sroot_blockset[i].data_count;
	atomic_store(&s->fs->bulkfree->bytes_expected, s->bytes_expected + 1);
	if (!err && !goes_on(s))
		err = -EINTR;
	if (!err)
		err = fs->pool ? h2_block_walk_set_threaded(&walk, header.sroot_blockset, goes_on)
			       : h2_block_walk_set(&walk, header.sroot_blockset);
	if (!err)
		err = walk_gone(s, &walk);
	for (size_t i = 0; i < s->gone_count; i++)
		h2_inode_put(s->gone[i]);
	free(s->gone);
	return err;
}

/* Under the lock. */
static int run(struct h2_fs *fs, const struct h2_pass_options *options,
	       struct h2_bulkfree_result *result)
{
	struct h2_bulkfree *b = fs->bulkfree;
	struct scan s = {.fs = fs, .options = options};
	uint64_t tid = 0, freed = 0;
	int err, end_err;

	assert(h2_mutex_held(&b->lock));
	s.map = h2_used_map_new(fs->blocks.total_size);
	if (!s.map)
		return -ENOMEM;
	h2_space_scan_begin(fs->space);
	if (fs->dedup)
		h2_dedup_forget_all(fs->dedup);
	err = scan_volume(&s, &tid);
	end_err = h2_space_scan_end(fs->space, tid, err ? NULL : h2_used_map_get, s.map, &freed);
	err = err ? err : end_err;
	h2_used_map_free(s.map);
	b->broken = err && err != -EINTR && err != -ENOMEM;
	if (!err)
		atomic_store(&b->unknown, false);
	b->freed_last = freed;
	atomic_store(&b->bytes, 0);
	atomic_store(&b->bytes_expected, 0);
	atomic_fetch_add(&b->scans, 1);
	if (freed)
		h2_txn_changed(fs->txn);
	if (result)
		*result = (struct h2_bulkfree_result){
			.blocks = s.blocks,
			.used_bytes = s.bytes,
			.freed_bytes = freed,
		};
	return err;
}

/* Wait for the lock, as long as the caller wants to: who has it may take long. */
static int take_turn(struct h2_bulkfree *b, const struct h2_pass_options *options)
{
	struct timespec until;

	if (!options || !options->progress) {
		h2_mutex_lock(&b->lock);
		return 0;
	}
	for (;;) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += TURN_NS;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		if (h2_mutex_timed_lock(&b->lock, &until))
			return 0;
		if (!options->progress(options->user, 0, 0))
			return -EINTR;
	}
}

int h2_fs_bulkfree(struct h2_fs *fs, const struct h2_pass_options *options,
		   struct h2_bulkfree_result *result)
{
	int err;

	if (result)
		*result = (struct h2_bulkfree_result){.blocks = 0};
	if (!fs->txn)
		return -EROFS;
	err = take_turn(fs->bulkfree, options);
	if (err)
		return err;
	err = run(fs, options, result);
	h2_mutex_unlock(&fs->bulkfree->lock);
	return err ? err : h2_txn_rotate(fs->txn);
}

void h2_bulkfree_get_progress(struct h2_fs *fs, uint64_t *bytes, uint64_t *expected)
{
	*bytes = atomic_load(&fs->bulkfree->bytes);
	*expected = atomic_load(&fs->bulkfree->bytes_expected);
}

/* ---- when there is no room ---- */

static _Thread_local const struct h2_bulkfree *paused_by_us;

static bool is_worth_it(struct h2_fs *fs, uint64_t bytes)
{
	struct h2_space_stats stats;

	if (atomic_load(&fs->bulkfree->unknown))
		return true;
	h2_space_get_stats(fs->space, &stats);
	return stats.lost_bytes >= bytes;
}

bool h2_fs_reclaim(void *user)
{
	struct h2_fs *fs = user;
	struct h2_bulkfree *b = fs->bulkfree;
	uint64_t scans = atomic_load(&b->scans);
	bool found;

	/* A pass that allocates cannot wait for itself. */
	if (paused_by_us == b)
		return false;
	h2_mutex_lock(&b->lock);
	/* Somebody else may have made one while we waited. */
	if (atomic_load(&b->scans) == scans) {
		b->freed_last = 0;
		if (!b->broken && (scans == 0 || is_worth_it(fs, WORTH_BYTES)))
			(void)run(fs, NULL, NULL);
	}
	found = b->freed_last > 0;
	h2_mutex_unlock(&b->lock);
	return found;
}

/* ---- in the background ---- */

static uint64_t thread_bytes(struct h2_fs *fs)
{
	uint64_t bytes = h2_volumes_header(fs->volumes)->allocator_size / 64;

	bytes = bytes < THREAD_BYTES ? bytes : THREAD_BYTES;
	return bytes > THREAD_BYTES_MIN ? bytes : THREAD_BYTES_MIN;
}

/* Wait; whether to go on afterwards. */
static bool rest(struct h2_bulkfree *b, time_t seconds)
{
	struct timespec until;
	bool stopping;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += seconds;
	h2_mutex_lock(&b->wake_lock);
	while (!b->stopping && !h2_mutex_timedwait(&b->wake_lock, &b->wake, &until))
		;
	stopping = b->stopping;
	h2_mutex_unlock(&b->wake_lock);
	return !stopping;
}

static void *thread_main(void *user)
{
	struct h2_fs *fs = user;
	struct h2_bulkfree *b = fs->bulkfree;
	uint64_t bytes = thread_bytes(fs);
	time_t pause = atomic_load(&b->unknown) ? FIRST_PAUSE : 1;

	while (rest(b, pause)) {
		time_t start = time(NULL);

		pause = 1;
		if (!is_worth_it(fs, bytes) || h2_txn_error(fs->txn))
			continue;
		h2_mutex_lock(&b->lock);
		if (!b->broken && run(fs, NULL, NULL) == 0)
			(void)h2_txn_rotate(fs->txn);
		h2_mutex_unlock(&b->lock);
		pause += REST_FACTOR * (time(NULL) - start);
	}
	return NULL;
}

int h2_bulkfree_pause(struct h2_fs *fs, const struct h2_pass_options *options)
{
	struct h2_bulkfree *b = fs->bulkfree;
	int err = take_turn(b, options);

	if (!err)
		paused_by_us = b;
	return err;
}

void h2_bulkfree_resume(struct h2_fs *fs)
{
	struct h2_bulkfree *b = fs->bulkfree;

	paused_by_us = NULL;
	(void)h2_bulkfree_set_progress(fs, 0, 0);
	h2_mutex_unlock(&b->lock);
}

bool h2_bulkfree_set_progress(struct h2_fs *fs, uint64_t bytes, uint64_t expected)
{
	struct h2_bulkfree *b = fs->bulkfree;

	atomic_store_explicit(&b->bytes, bytes, memory_order_relaxed);
	atomic_store_explicit(&b->bytes_expected, expected, memory_order_relaxed);
	return !atomic_load_explicit(&b->interrupt, memory_order_relaxed);
}

/* What is lost after this: what was dropped, and what waits for commits that will not come. */
void h2_bulkfree_note_lost(struct h2_fs *fs)
{
	struct h2_volume_header header;
	struct h2_space_stats stats;

	h2_txn_get_header(fs->txn, &header);
	/* Without a commit the record that there may be is right. */
	if (atomic_load(&fs->bulkfree->unknown) ||
	    header.mirror_tid == h2_volumes_header(fs->volumes)->mirror_tid)
		return;
	h2_space_get_stats(fs->space, &stats);
	(void)h2_lost_record_write(fs->volumes, header.mirror_tid,
				   stats.lost_bytes + stats.waiting_bytes);
}

int h2_bulkfree_start(struct h2_fs *fs, bool with_thread)
{
	struct h2_bulkfree *b = calloc(1, sizeof(*b));
	uint64_t lost;
	int err;

	if (!b)
		return -ENOMEM;
	h2_mutex_init(&b->lock, H2_RANK_BULKFREE);
	h2_mutex_init(&b->wake_lock, H2_RANK_BULKFREE + 1);
	pthread_cond_init(&b->wake, NULL);
	fs->bulkfree = b;
	if (h2_lost_record_read(fs->volumes, h2_volumes_header(fs->volumes)->mirror_tid, &lost))
		h2_space_lose(fs->space, lost);
	else
		atomic_store(&b->unknown, true);
	if (!with_thread)
		return 0;
	err = pthread_create(&b->thread, NULL, thread_main, fs);
	b->has_thread = err == 0;
	return -err;
}

void h2_bulkfree_stop(struct h2_fs *fs)
{
	struct h2_bulkfree *b = fs->bulkfree;

	if (!b)
		return;
	atomic_store(&b->interrupt, true);
	h2_mutex_lock(&b->wake_lock);
	b->stopping = true;
	pthread_cond_broadcast(&b->wake);
	h2_mutex_unlock(&b->wake_lock);
	if (b->has_thread)
		pthread_join(b->thread, NULL);
	b->has_thread = false;
}

void h2_bulkfree_free(struct h2_fs *fs)
{
	struct h2_bulkfree *b = fs->bulkfree;

	if (!b)
		return;
	pthread_cond_destroy(&b->wake);
	h2_mutex_fini(&b->wake_lock);
	h2_mutex_fini(&b->lock);
	free(b);
	fs->bulkfree = NULL;
}
