/*
 * What a device holds before it is formatted, through libblkid, which is looked for at run time.
 */
#ifndef CMD_BLKID_H
#define CMD_BLKID_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Look for a filesystem, RAID member, swap space or partition table on the file. Returns 1 and its
 * name in what (size bytes); 0 where nothing is found; -ENOSYS without the library; or the error
 * of opening.
 */
int blkid_probe_path(const char *path, char *what, size_t size);

#endif
