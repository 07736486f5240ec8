/*
 * Fresh filesystems on simulated disks that are open for writing, for the tests of the layers that
 * write; and random numbers that can be had again.
 */
#ifndef TESTS_UNIT_DISKS_H
#define TESTS_UNIT_DISKS_H

#include <inttypes.h>

#include "mkfs.h"
#include "sim.h"
#include "unit.h"
#include "volumes.h"

#define DISKS_MAX 4u

struct disks {
	unsigned count;
	struct h2_sim *sims[DISKS_MAX];
	/* Puts a device of the test's own over that of the volume; NULL: none. */
	struct h2_device *(*over)(void *user, unsigned volume, struct h2_device *under);
	void *user;
	struct h2_volumes *volumes; /* NULL: not open */
};

static inline void disks_count_uuid(void *user, struct h2_uuid *uuid)
{
	uint8_t *next = user;

	for (unsigned i = 0; i < sizeof(uuid->bytes); i++)
		uuid->bytes[i] = (*next)++;
}

/* Make the filesystem of MF A.7, with its two labels, on disks of these sizes. */
static inline void disks_make(struct disks *d, const uint64_t *sizes, unsigned count)
{
	static const char *const labels[] = {"DATA"};
	uint8_t next_byte = 0;
	struct h2_mkfs_options options = {
		.label_count = 1,
		.labels = labels,
		.comp_algo = -1,
		.check_algo = -1,
		.time_us = UINT64_C(1700000000000000),
		.uuid = disks_count_uuid,
		.uuid_user = &next_byte,
	};
	struct h2_device *devices[DISKS_MAX];
	struct h2_mkfs_plan plan;

	assert_in_range(count, 1, DISKS_MAX);
	d->count = count;
	assert_int_equal(h2_mkfs_plan(sizes, count, &options, &plan), 0);
	for (unsigned i = 0; i < count; i++) {
		d->sims[i] = h2_sim_new(sizes[i]);
		assert_non_null(d->sims[i]);
		assert_int_equal(h2_sim_open(d->sims[i], true, &devices[i]), 0);
	}
	assert_int_equal(h2_mkfs_devices(&plan, &options, devices), 0);
	for (unsigned i = 0; i < count; i++)
		h2_device_close(devices[i]);
}

/* Open what the disks hold. */
static inline void disks_open(struct disks *d)
{
	struct h2_device *devices[DISKS_MAX];

	for (unsigned i = 0; i < d->count; i++) {
		assert_int_equal(h2_sim_open(d->sims[i], true, &devices[i]), 0);
		if (d->over)
			devices[i] = d->over(d->user, i, devices[i]);
	}
	assert_int_equal(h2_volumes_assemble(devices, d->count, NULL, &d->volumes), 0);
}

static inline void disks_close(struct disks *d)
{
	h2_volumes_close(d->volumes);
	d->volumes = NULL;
}

/* Close and forget everything. */
static inline void disks_free(struct disks *d)
{
	disks_close(d);
	for (unsigned i = 0; i < d->count; i++)
		h2_sim_free(d->sims[i]);
	*d = (struct disks){0};
}

/* splitmix64 */
static inline uint64_t unit_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static inline uint64_t unit_below(uint64_t *state, uint64_t bound)
{
	return unit_random(state) % bound;
}

/* The seed of a test: H2_SEED of the environment, or else the given one. It is printed. */
static inline uint64_t unit_seed(uint64_t seed)
{
	const char *text = getenv("H2_SEED");

	if (text)
		seed = strtoull(text, NULL, 0);
	print_message("seed: H2_SEED=%" PRIu64 "\n", seed);
	return seed;
}

#endif
