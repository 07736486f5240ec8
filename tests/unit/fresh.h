/*
 * Filesystems as mkfs makes them, on simulated disks, for the tests of what changes a filesystem;
 * and random numbers that a seed gives again.
 */
#ifndef TESTS_UNIT_FRESH_H
#define TESTS_UNIT_FRESH_H

#include <hammer2/change.h>
#include <hammer2/check.h>
#include <inttypes.h>

#include "mkfs.h"
#include "sim.h"
#include "unit.h"
#include "volumes.h"

#define FRESH_VOLUMES_MAX 2u

struct fresh {
	unsigned count;
	struct h2_sim *sims[FRESH_VOLUMES_MAX];
};

/* What is printed of each finding, so that a failing test says why. */
static inline void fresh_report(void *user, const struct h2_report *r)
{
	unsigned *count = user;

	if (r->severity == H2_NOTE)
		return;
	if (count)
		++*count;
	fprintf(stderr,
		"finding: %s: %s: %s (inode %" PRIu64 ", key %#" PRIx64 ", at %#" PRIx64 ")\n",
		r->code, r->object ? r->object : "", r->message, r->inum, r->key, r->media);
}

/* Counts findings that the test expects. */
static inline void fresh_count(void *user, const struct h2_report *r)
{
	if (!r->code || !r->message)
		abort();
	++*(unsigned *)user;
}

static inline void fresh_uuid(void *user, struct h2_uuid *uuid)
{
	uint8_t *next = user;

	memset(uuid->bytes, ++*next, sizeof(uuid->bytes));
}

/* Volumes of these sizes (bytes) with the PFSs LOCAL and DATA. comp: -1: the default. */
static inline void fresh_new(struct fresh *f, const uint64_t *sizes, unsigned count, int comp)
{
	static const char *const labels[] = {"DATA"};
	struct h2_device *devices[FRESH_VOLUMES_MAX];
	uint8_t next = 0;
	struct h2_mkfs_options options = {
		.comp_algo = comp,
		.check_algo = -1,
		.label_count = 1,
		.labels = labels,
		.time_us = UINT64_C(1700000000000000),
		.uuid = fresh_uuid,
		.uuid_user = &next,
	};
	struct h2_mkfs_plan plan;

	f->count = count;
	for (unsigned i = 0; i < count; i++) {
		f->sims[i] = h2_sim_new(sizes[i]);
		assert_non_null(f->sims[i]);
		assert_int_equal(h2_sim_open(f->sims[i], true, &devices[i]), 0);
	}
	assert_int_equal(h2_mkfs_plan(sizes, count, &options, &plan), 0);
	assert_int_equal(h2_mkfs_devices(&plan, &options, devices), 0);
	for (unsigned i = 0; i < count; i++)
		h2_device_close(devices[i]);
}

static inline void fresh_free(struct fresh *f)
{
	for (unsigned i = 0; i < f->count; i++)
		h2_sim_free(f->sims[i]);
	f->count = 0;
}

/* The error of assembling. header_copy: 1..4, or 0: the best. */
static inline int fresh_assemble(struct fresh *f, bool write, int header_copy,
				 struct h2_volumes **volumesp)
{
	struct h2_volumes_options options = {.write = write, .header_copy = header_copy};
	struct h2_device *devices[FRESH_VOLUMES_MAX];

	for (unsigned i = 0; i < f->count; i++)
		assert_int_equal(h2_sim_open(f->sims[i], write, &devices[i]), 0);
	return h2_volumes_assemble(devices, f->count, &options, volumesp);
}

static inline struct h2_volumes *fresh_open(struct fresh *f, bool write)
{
	struct h2_volumes *volumes = NULL;

	assert_int_equal(fresh_assemble(f, write, 0, &volumes), 0);
	return volumes;
}

/* Check everything, also what the older header copies lead to: there must be no finding. */
static inline void fresh_check(struct fresh *f, struct h2_check_summary *summary)
{
	struct h2_check_options options = {.threads = 1, .report = fresh_report};
	struct h2_volumes *volumes = fresh_open(f, false);
	struct h2_check_summary own;

	if (!summary)
		summary = &own;
	assert_int_equal(h2_check_run(volumes, &options, summary), 0);
	h2_volumes_close(volumes);
	assert_int_equal(summary->faults, 0);
	assert_int_equal(summary->warnings, 0);
}

/* ---- random numbers ---- */

static inline uint64_t fresh_random(uint64_t *seed)
{
	uint64_t x;

	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	x = *seed;
	x ^= x >> 33;
	x *= UINT64_C(0xff51afd7ed558ccd);
	return x ^ x >> 29;
}

/* Of 0 .. n - 1. */
static inline uint64_t fresh_below(uint64_t *seed, uint64_t n)
{
	return fresh_random(seed) % n;
}

#endif
