/*
 * Volumes inside partitioned disks and disk images: GPT, MBR slices and DragonFly's disklabel64.
 */
#ifndef H2_DEVICE_PARTITION_H
#define H2_DEVICE_PARTITION_H

#include "device.h"

/*
 * Whether text has the form of a partition's name: pN (the N-th partition of a GPT or MBR, counted
 * from 1 as Linux does), sN (DragonFly's slice N: MBR entries count from 1, GPT entries from 0),
 * either optionally followed by a letter a..p (partition of the disklabel64 inside); or such a
 * letter alone, for a disklabel64 that covers the whole device.
 */
bool h2_partition_name_valid(const char *text);

/*
 * Find the partition that name stands for. *offset and *size receive its bytes on dev.
 *
 * Returns 0; -ENOENT where there is no such table or partition; -H2_ECHECK where the table's
 * check code is wrong; -H2_ECORRUPT where the table points outside the device; or the error of
 * reading.
 */
int h2_partition_find(struct h2_device *dev, const char *name, uint64_t *offset, uint64_t *size);

#endif
