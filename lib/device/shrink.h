/*
 * Cutting a filesystem of one volume behind the last storage that it uses.
 */
#ifndef H2_DEVICE_SHRINK_H
#define H2_DEVICE_SHRINK_H

#include <hammer2/report.h>
#include <hammer2/types.h>

#include "device.h"

/*
 * Make the filesystem whose newest header is *header as small as it can be and still be changed: to
 * the multiple of 8 MiB behind the last granule that its freemap has in use that leaves what
 * changes keep back, h2_volumes_reserve(), and a MiB of free space at the end. The changed freemap blocks go to their
 * next places on dev (MF 10.4), which nothing that is committed refers to, and *header becomes what
 * it must be for the new size, with the next transaction id. Writing the header, after a flush, is
 * the caller's part, as is cutting the device; header copies behind the new end are no more.
 *
 * The volume must be in nobody else's hands and the only one of its filesystem. Returns 0 (also
 * where there is nothing to cut: *header is as it was); -EINVAL (several volumes); a damage error,
 * which was reported; -ENOMEM; or what reading and writing gave. On errors *header is as it was.
 */
int h2_shrink(struct h2_device *dev, struct h2_volume_header *header, h2_report_fn *report,
	      void *report_user);

#endif
