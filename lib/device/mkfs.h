/* Making a filesystem on devices that are already open: what <hammer2/mkfs.h> offers for names. */
#ifndef H2_DEVICE_MKFS_H
#define H2_DEVICE_MKFS_H

#include <hammer2/mkfs.h>

#include "device.h"

/* The devices stay the caller's and must be writable. Errors are those of h2_mkfs_write(). */
int h2_mkfs_devices(const struct h2_mkfs_plan *plan, const struct h2_mkfs_options *options,
		    struct h2_device *const *devices);

/*
 * Open the targets, exclusively, into devices, which has room for as many as the plan has. On an
 * error, those of h2_mkfs_write(), none stays open.
 */
int h2_mkfs_open_targets(const struct h2_mkfs_plan *plan, const struct h2_mkfs_options *options,
			 const struct h2_mkfs_target *targets, struct h2_device **devices);

#endif
