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

#endif
