/*
 * A simulated disk in memory, with a volatile write cache and faults on demand.
 *
 * Writes land in the cache and are seen by every later read. A flush makes them durable. At a cut
 * (power failure) each write since the last flush may be kept, lost, or torn: the caller decides
 * through a function, or a seed does. Everything is deterministic.
 *
 * The disk outlives the device that is opened on it: close the device after a cut, and open it
 * again to see what the media hold.
 */
#ifndef H2_DEVICE_SIM_H
#define H2_DEVICE_SIM_H

#include "device.h"

struct h2_sim;

/* A disk of size bytes, all zero. Returns NULL without memory. */
struct h2_sim *h2_sim_new(uint64_t size);
void h2_sim_free(struct h2_sim *sim); /* all its devices must be closed */

/* A second disk with the same durable and cached contents, and no faults. NULL without memory. */
struct h2_sim *h2_sim_clone(struct h2_sim *sim);

/* Open a device on the disk. Returns 0 or -ENOMEM. */
int h2_sim_open(struct h2_sim *sim, bool writable, struct h2_device **devp);

struct h2_sim_stats {
	uint64_t reads, writes, flushes; /* calls, failed ones included */
	size_t pending;                  /* writes since the last flush */
};
void h2_sim_get_stats(struct h2_sim *sim, struct h2_sim_stats *stats);

/* What happens to one pending write at a cut. */
enum h2_sim_fate {
	H2_SIM_LOST,
	H2_SIM_KEPT,
	H2_SIM_TORN, /* the sectors that the mask of h2_sim_fate_fn selects are kept */
};

/*
 * Decide about the pending write number i (in the order they were made) of len bytes at offset.
 * For H2_SIM_TORN fill keep[] with one flag for each sector of sector_size bytes (set to 512 or
 * 4096) that the write touches, counted from the sector that contains offset.
 */
typedef enum h2_sim_fate h2_sim_fate_fn(void *user, size_t i, uint64_t offset, size_t len,
					unsigned *sector_size, bool *keep);

/*
 * Cut the power: kept writes become durable in the order that they were made, everything else of
 * the cache is gone. Open devices fail with -ENXIO from then on.
 */
void h2_sim_cut(struct h2_sim *sim, h2_sim_fate_fn *fate, void *user);

/* A cut whose fates are drawn from the seed: lost, kept and torn at 512 or 4096 bytes. */
void h2_sim_cut_random(struct h2_sim *sim, uint64_t seed);

enum h2_sim_op { H2_SIM_READ, H2_SIM_WRITE, H2_SIM_FLUSH };

enum h2_sim_fault_kind {
	H2_SIM_FAIL,    /* the call returns error and does nothing */
	H2_SIM_SHORT,   /* a write stores, a read fills, only the first half; then error */
	H2_SIM_CORRUPT, /* a read returns 0 with one bit flipped (the bit drawn from the call) */
};

/*
 * Let calls of one kind fail: count of them from the first-th on, counted from now, 0 being the
 * next one. count UINT64_MAX: for good. error: negative errno, such as -EIO or -ENOSPC. There is
 * one fault for each op; a new one replaces the old. count 0 removes it.
 */
void h2_sim_set_fault(struct h2_sim *sim, enum h2_sim_op op, enum h2_sim_fault_kind kind,
		      uint64_t first, uint64_t count, int error);

/* The disk disappears: every call fails with -ENXIO until gone is false again. */
void h2_sim_set_gone(struct h2_sim *sim, bool gone);

/* Read or write the durable contents behind the cache's back, faults aside. For tests. */
void h2_sim_peek(struct h2_sim *sim, uint64_t offset, void *buf, size_t len);
int h2_sim_poke(struct h2_sim *sim, uint64_t offset, const void *buf, size_t len);

#endif
