/*
 * Volume sets from devices that are already open: what <hammer2/volume.h> offers for names.
 */
#ifndef H2_DEVICE_VOLUMES_H
#define H2_DEVICE_VOLUMES_H

#include <hammer2/volume.h>

#include "device.h"

/*
 * Assemble the set of count devices, which it owns from then on (also when this fails). Of the
 * options, the ones about opening files are ignored. Errors are those of h2_volumes_open().
 */
int h2_volumes_assemble(struct h2_device *const *devices, unsigned count,
			const struct h2_volumes_options *options, struct h2_volumes **volumesp);

/* Whether all volumes were opened for writing. */
bool h2_volumes_writable(const struct h2_volumes *volumes);

/*
 * Write len bytes at the storage offset. The range must not cross a volume's end. Returns 0,
 * -ERANGE, -EROFS, or the device's error.
 */
int h2_volumes_write(struct h2_volumes *volumes, uint64_t offset, const void *buf, size_t len);

/* Make everything durable that was written to any volume. Returns 0 or the first error. */
int h2_volumes_flush(struct h2_volumes *volumes);

/* As h2_device_discard(), of a part of one volume. */
int h2_volumes_discard(struct h2_volumes *volumes, uint64_t offset, uint64_t len);

/* Whether every header copy is damaged, and the backup of a single one was taken in its place. */
bool h2_volumes_header_is_backup(const struct h2_volumes *volumes);

/*
 * How much of allocator_size bytes is kept back when changes are made: only removals and commits
 * may use it. A commit copies the way from what has changed up to the root, and what it replaces
 * comes back some commits later.
 */
uint64_t h2_volumes_reserve(uint64_t allocator_size);

/* How many header copies a root volume of size bytes has, MF 2.1; and that of the set. */
unsigned h2_header_copies(uint64_t size);
unsigned h2_volumes_header_copies(const struct h2_volumes *volumes);

/*
 * Write a header into the next copy of the rotation (MF 12.5 step 4), with its CRCs computed here;
 * what struct h2_volume_header does not have is carried over. Where there is only one copy, a backup
 * is made durable first (doc/FORMAT.md). Not by two threads at once.
 * h2_volumes_header() still gives the one that was chosen at opening. Returns 0, -ENOMEM, or the
 * device's error; then the rotation has not moved.
 */
int h2_volumes_write_header(struct h2_volumes *volumes, const struct h2_volume_header *header);

/*
 * A single volume shall be size bytes large, or as large as its device (0). The device is grown if
 * it is a regular file. *new_size receives the size that it can have, a multiple of 8 MiB, which may
 * be the one that it has; the places of the header copies that this brings are zero, durably.
 *
 * Returns 0; -EINVAL (less than it is, more than the device); -EOPNOTSUPP (several volumes); the
 * device's error. Nothing but the caller uses the set meanwhile.
 */
int h2_volumes_prepare_growth(struct h2_volumes *volumes, uint64_t size, uint64_t *new_size);

/* From now on the single volume is so large. Nothing but the caller uses the set meanwhile. */
void h2_volumes_set_size(struct h2_volumes *volumes, uint64_t size);

#endif
