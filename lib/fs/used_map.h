/*
 * What a walk over all trees has found in use: granules of 16 KiB, as the freemap counts them, and
 * where the blocks begin that lead to others, so that what snapshots share is walked once.
 *
 * Memory is taken for the segments (4 MiB) that are in use: 32 bytes each, and 512 more where they
 * hold inodes or indirect blocks; some 8 MiB for a TiB of file data. The check's map
 * (lib/scan/reach.h) tells more, overlaps too, and takes 32 times as much. Any number of threads may
 * add at once.
 */
#ifndef H2_FS_USED_MAP_H
#define H2_FS_USED_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "format.h"

struct h2_used_map;

/* For storage offsets below total_size. NULL without memory. */
struct h2_used_map *h2_used_map_new(uint64_t total_size);
void h2_used_map_free(struct h2_used_map *map); /* NULL is allowed */

/*
 * The block that data_off leads to is in use; leads: it leads to others. It lies within total_size
 * and does not cross a segment. Returns 0; 1: it leads to others and was added before; -ENOMEM.
 */
int h2_used_map_add(struct h2_used_map *map, uint64_t data_off, bool leads);

/* Which granules of the segment at offset are in use: a bit for each. h2_space_reached_fn. */
void h2_used_map_get(void *map, uint64_t offset, uint8_t granules[H2_SEGMENT / H2_GRANULE / 8]);

#endif
