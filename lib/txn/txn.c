/* Transaction groups; see txn.h. */
#include "txn.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lock.h"

#define WORTH_ROTATING (UINT64_C(256) << 10) /* waiting bytes for which commits are made */

struct h2_txn {
	/* constant once open */
	struct h2_volumes *volumes;
	struct h2_space *space;
	struct h2_txn_owner owner;
	struct h2_txn_options options;
	uint64_t first_tid;
	pthread_t timer;
	bool has_timer;

	struct h2_rwlock gate;
	/* changed only with the gate closed */
	struct h2_volume_header header;

	_Atomic bool changed; /* since the gate was last closed */
	_Atomic int error;
	_Atomic bool hurried; /* the timer has been told */

	struct h2_mutex lock;
	/* under lock */
	pthread_cond_t finished; /* a commit has; or the timer shall end */
	pthread_cond_t wake_timer;
	uint64_t begun, done; /* commits */
	bool running;
	bool stopping;
	struct h2_txn_need in_flight; /* of operations between begin and end */
	uint64_t reserve_granules;
};

/* ---- failing ---- */

void h2_txn_fail(struct h2_txn *txn, int err)
{
	int none = 0;
	char message[256];

	if (!atomic_compare_exchange_strong(&txn->error, &none, err) || !txn->options.report)
		return;
	snprintf(message, sizeof(message),
		 "changes cannot be written (%s): the filesystem refuses changes from now on; what "
		 "was not committed is lost",
		 strerror(-err));
	txn->options.report(txn->options.report_user, &(struct h2_report){
							      .severity = H2_FAULT,
							      .error = err,
							      .code = "commit-failed",
							      .object = "volume",
							      .message = message,
						      });
}

int h2_txn_error(struct h2_txn *txn)
{
	return atomic_load(&txn->error);
}

/* ---- the gate ---- */

void h2_txn_enter(struct h2_txn *txn)
{
	h2_rwlock_read(&txn->gate);
}

bool h2_txn_try_enter(struct h2_txn *txn)
{
	return h2_rwlock_try_read(&txn->gate);
}

void h2_txn_leave(struct h2_txn *txn)
{
	h2_rwlock_unlock(&txn->gate);
}

void h2_txn_changed(struct h2_txn *txn)
{
	if (!atomic_load_explicit(&txn->changed, memory_order_relaxed))
		atomic_store(&txn->changed, true);
}

uint64_t h2_txn_tid(const struct h2_txn *txn)
{
	return txn->header.mirror_tid + 1;
}

uint64_t h2_txn_first_tid(const struct h2_txn *txn)
{
	return txn->first_tid;
}

/* ---- commits ---- */

static uint64_t granules_of(uint64_t bytes)
{
	return (bytes + H2_GRANULE - 1) / H2_GRANULE;
}

static int write_block(void *user, uint64_t offset, const void *buf, size_t len)
{
	return h2_commit_write(user, offset, buf, len);
}

/* Everything that happens while the gate is closed. */
static int encode_group(struct h2_txn *txn, struct h2_volume_header *header)
{
	struct h2_commit commit = {.tid = h2_txn_tid(txn), .header = header};
	int err;

	h2_commit_writer_init(&commit.writer, txn->volumes);
	err = txn->owner.encode(txn->owner.user, &commit);
	if (!err)
		err = h2_space_flush(txn->space, commit.tid, header, write_block, &commit.writer);
	if (!err)
		err = h2_commit_writer_flush(&commit.writer);
	h2_commit_writer_fini(&commit.writer);
	if (err)
		return err;
	header->mirror_tid = commit.tid;
	header->freemap_tid = commit.tid;
	return 0;
}

static int commit(struct h2_txn *txn)
{
	struct h2_volume_header header;
	int err = txn->owner.write_data(txn->owner.user);

	if (err)
		return err;
	h2_rwlock_write(&txn->gate);
	err = h2_txn_error(txn);
	if (!err) {
		atomic_store(&txn->changed, false);
		header = txn->header;
		err = encode_group(txn, &header);
	}
	if (!err) {
		txn->owner.encoded(txn->owner.user);
		txn->header = header;
		h2_space_begin_group(txn->space);
	} else {
		if (!h2_txn_error(txn) && txn->owner.failed)
			txn->owner.failed(txn->owner.user);
		h2_txn_fail(txn, err);
	}
	h2_rwlock_unlock(&txn->gate);
	if (!err)
		err = h2_volumes_flush(txn->volumes);
	if (!err)
		err = h2_volumes_write_header(txn->volumes, &header);
	if (!err)
		err = h2_volumes_flush(txn->volumes);
	if (err)
		return err;
	(void)h2_space_committed(txn->space, header.mirror_tid);
	txn->owner.durable(txn->owner.user, header.mirror_tid);
	return 0;
}

/* Wait until commit number want is done, running it if nobody does. */
static int wait_for(struct h2_txn *txn, uint64_t want)
{
	h2_mutex_lock(&txn->lock);
	while (txn->done < want && h2_txn_error(txn) == 0) {
		int err;

		if (txn->running) {
			h2_mutex_wait(&txn->lock, &txn->finished);
			continue;
		}
		txn->running = true;
		txn->begun++;
		h2_mutex_unlock(&txn->lock);
		err = commit(txn);
		if (err)
			h2_txn_fail(txn, err);
		h2_mutex_lock(&txn->lock);
		txn->running = false;
		txn->done = txn->begun;
		pthread_cond_broadcast(&txn->finished);
	}
	h2_mutex_unlock(&txn->lock);
	return h2_txn_error(txn);
}

/* Even a commit of nothing takes room, and must not be what runs out of it. */
static bool has_room_for_commit(struct h2_txn *txn)
{
	struct h2_txn_need need = txn->owner.needs(txn->owner.user);

	return h2_space_has(txn->space, need.quads, granules_of(need.bytes));
}

static int sync_or_force(struct h2_txn *txn, bool force)
{
	uint64_t want;

	force = force && (atomic_load(&txn->changed) || has_room_for_commit(txn));

	h2_mutex_lock(&txn->lock);
	/* Unchanged: what was done before is in a commit that has begun. */
	want = txn->begun + (force || atomic_load(&txn->changed) ? 1 : 0);
	h2_mutex_unlock(&txn->lock);
	return wait_for(txn, want);
}

int h2_txn_sync(struct h2_txn *txn)
{
	return sync_or_force(txn, false);
}

int h2_txn_commit(struct h2_txn *txn)
{
	return sync_or_force(txn, true);
}

int h2_txn_settle(struct h2_txn *txn)
{
	h2_rwlock_write(&txn->gate);
	h2_rwlock_unlock(&txn->gate);
	return h2_txn_sync(txn);
}

int h2_txn_rotate(struct h2_txn *txn)
{
	bool waits = true;
	int err = 0;

	/* Dropped storage comes back by as many commits as there are header copies; one more says so. */
	for (unsigned i = 0; i <= h2_volumes_header_copies(txn->volumes) && waits && !err; i++) {
		struct h2_space_stats stats;

		h2_space_get_stats(txn->space, &stats);
		waits = stats.waiting_bytes >= WORTH_ROTATING;
		if (waits || i > 0)
			err = h2_txn_commit(txn);
	}
	return err;
}

int h2_txn_alone(struct h2_txn *txn, int (*fn)(void *user, struct h2_volume_header *header),
		 void *user)
{
	int err;

	h2_mutex_lock(&txn->lock);
	while (txn->running)
		h2_mutex_wait(&txn->lock, &txn->finished);
	txn->running = true;
	h2_mutex_unlock(&txn->lock);
	h2_rwlock_write(&txn->gate);
	err = h2_txn_error(txn) ? -EROFS : fn(user, &txn->header);
	if (!err)
		h2_txn_changed(txn);
	h2_rwlock_unlock(&txn->gate);
	h2_mutex_lock(&txn->lock);
	txn->reserve_granules = granules_of(h2_volumes_reserve(txn->header.allocator_size));
	txn->running = false;
	pthread_cond_broadcast(&txn->finished);
	h2_mutex_unlock(&txn->lock);
	return err;
}

void h2_txn_get_header(struct h2_txn *txn, struct h2_volume_header *header)
{
	h2_txn_enter(txn);
	*header = txn->header;
	h2_txn_leave(txn);
}

void h2_txn_hurry(struct h2_txn *txn)
{
	if (atomic_load_explicit(&txn->hurried, memory_order_relaxed) ||
	    atomic_exchange(&txn->hurried, true))
		return;
	h2_mutex_lock(&txn->lock);
	pthread_cond_signal(&txn->wake_timer);
	h2_mutex_unlock(&txn->lock);
}

static void *timer_main(void *user)
{
	struct h2_txn *txn = user;

	h2_mutex_lock(&txn->lock);
	while (!txn->stopping) {
		struct timespec until;
		bool idle;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += txn->options.commit_seconds;
		while (!txn->stopping && !atomic_load(&txn->hurried)) {
			if (h2_mutex_timedwait(&txn->lock, &txn->wake_timer, &until))
				break;
		}
		if (txn->stopping)
			break;
		h2_mutex_unlock(&txn->lock);
		/* Where changes go on, their commits bring back what was dropped. */
		idle = !atomic_load(&txn->changed) && !atomic_load(&txn->hurried);
		if (h2_txn_sync(txn) == 0 && idle)
			(void)h2_txn_rotate(txn);
		atomic_store(&txn->hurried, false);
		h2_mutex_lock(&txn->lock);
	}
	h2_mutex_unlock(&txn->lock);
	return NULL;
}

/* ---- room ---- */

/* Take need into account if there is room for it. */
static bool admit(struct h2_txn *txn, const struct h2_txn_need *need, bool removes)
{
	struct h2_txn_need have;
	uint64_t reserve;
	bool ok;

	h2_mutex_lock(&txn->lock);
	reserve = removes ? 0 : txn->reserve_granules;
	/* An operation's need becomes that of dirty objects before it ends: under the lock one of
	 * the two counts it. */
	have = txn->owner.needs(txn->owner.user);
	ok = h2_space_has(txn->space, have.quads + txn->in_flight.quads + need->quads,
			  granules_of(have.bytes + txn->in_flight.bytes + need->bytes) + reserve);
	if (ok) {
		txn->in_flight.quads += need->quads;
		txn->in_flight.bytes += need->bytes;
	}
	h2_mutex_unlock(&txn->lock);
	return ok;
}

static void release_need(struct h2_txn *txn, const struct h2_txn_need *need)
{
	h2_mutex_lock(&txn->lock);
	txn->in_flight.quads -= need->quads;
	txn->in_flight.bytes -= need->bytes;
	h2_mutex_unlock(&txn->lock);
}

/*
 * Whether a scan is due before the rest of the reserve is used up: with little room groups are
 * small, and small groups waste it.
 */
static bool is_much_lost(struct h2_txn *txn)
{
	struct h2_space_stats stats;

	h2_space_get_stats(txn->space, &stats);
	return stats.lost_bytes >= txn->reserve_granules * H2_GRANULE / 4;
}

/* Find what is lost and let it come back. A commit that fails is for the next one to tell. */
static void reclaim_all(struct h2_txn *txn, unsigned rounds)
{
	struct h2_space_stats stats;

	if (!txn->owner.reclaim(txn->owner.user))
		return;
	for (; rounds > 0; rounds--) {
		h2_space_get_stats(txn->space, &stats);
		if (stats.waiting_bytes == 0 || h2_txn_commit(txn) != 0)
			break;
	}
}

int h2_txn_begin(struct h2_txn *txn, const struct h2_txn_need *need, bool removes)
{
	/* Dropped storage comes back when all header copies have been written once more. */
	const unsigned rounds = h2_volumes_header_copies(txn->volumes) + 1;
	unsigned tries = rounds;
	bool reclaimed = txn->options.hold || !txn->owner.reclaim;

	for (;;) {
		struct h2_space_stats stats;

		if (h2_txn_error(txn))
			return -EROFS;
		if (admit(txn, need, removes))
			break;
		/* A commit shrinks what is dirty to what it really needs. */
		h2_space_get_stats(txn->space, &stats);
		if (txn->options.hold)
			return -ENOSPC;
		if (tries > 0 && (stats.waiting_bytes > 0 || atomic_load(&txn->changed))) {
			tries--;
			if (h2_txn_commit(txn) != 0)
				return -EROFS;
			if (!reclaimed && is_much_lost(txn)) {
				reclaimed = true;
				reclaim_all(txn, rounds);
				tries = rounds;
			}
		} else if (!reclaimed) {
			reclaimed = true;
			if (txn->owner.reclaim(txn->owner.user))
				tries = rounds;
		} else {
			return -ENOSPC;
		}
	}
	h2_txn_enter(txn);
	if (h2_txn_error(txn)) {
		h2_txn_end(txn, need);
		return -EROFS;
	}
	return 0;
}

void h2_txn_end(struct h2_txn *txn, const struct h2_txn_need *need)
{
	h2_txn_leave(txn);
	release_need(txn, need);
}

/* ---- opening and closing ---- */

int h2_txn_open(struct h2_volumes *volumes, struct h2_space *space,
		const struct h2_txn_owner *owner, const struct h2_txn_options *options,
		struct h2_txn **txnp)
{
	struct h2_txn *txn = calloc(1, sizeof(*txn));

	if (!txn)
		return -ENOMEM;
	txn->volumes = volumes;
	txn->space = space;
	txn->owner = *owner;
	txn->options = *options;
	txn->header = *h2_volumes_header(volumes);
	txn->first_tid = h2_txn_tid(txn);
	txn->reserve_granules = granules_of(h2_volumes_reserve(txn->header.allocator_size));
	h2_rwlock_init(&txn->gate);
	h2_mutex_init(&txn->lock, H2_RANK_TXN);
	pthread_cond_init(&txn->finished, NULL);
	pthread_cond_init(&txn->wake_timer, NULL);
	if (options->commit_seconds > 0) {
		int err = pthread_create(&txn->timer, NULL, timer_main, txn);

		if (err) {
			(void)h2_txn_close(txn, true);
			return -err;
		}
		txn->has_timer = true;
	}
	*txnp = txn;
	return 0;
}

int h2_txn_close(struct h2_txn *txn, bool abandon)
{
	int err;

	if (!txn)
		return 0;
	if (txn->has_timer) {
		h2_mutex_lock(&txn->lock);
		txn->stopping = true;
		pthread_cond_broadcast(&txn->wake_timer);
		h2_mutex_unlock(&txn->lock);
		pthread_join(txn->timer, NULL);
	}
	err = abandon ? 0 : h2_txn_sync(txn);
	if (!err && !abandon)
		err = h2_txn_rotate(txn);
	pthread_cond_destroy(&txn->finished);
	pthread_cond_destroy(&txn->wake_timer);
	h2_mutex_fini(&txn->lock);
	h2_rwlock_fini(&txn->gate);
	free(txn);
	return err;
}
