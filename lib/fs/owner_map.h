/*
 * Who uses which granules of 16 KiB, as the freemap counts them: one owner (a PFS), several, or the
 * super-root. A walk enters the blocks of one owner after the other.
 *
 * It also knows which blocks were met, so that what many owners share costs no more than two walks:
 * below a block that leads to others and that two of them have led to, all is shared already.
 *
 * Memory is taken for the segments (4 MiB) that are in use: some 200 bytes each, 1.5 KiB more where
 * they hold blocks below 16 KiB, and 1 KiB where granules of different owners are mixed; some 50 MiB
 * for a TiB of file data. Not for several threads.
 *
 * It relies on blocks not overlapping, which the check (lib/scan) finds out: of two blocks that
 * begin at the same place the second counts as the first one met again.
 */
#ifndef H2_FS_OWNER_MAP_H
#define H2_FS_OWNER_MAP_H

#include <stdbool.h>
#include <stdint.h>

struct h2_owner_map;

#define H2_OWNER_SUPER_ROOT 0u /* where it has a block, nobody else owns the granule */

/* For storage offsets below total_size. NULL without memory. */
struct h2_owner_map *h2_owner_map_new(uint64_t total_size);
void h2_owner_map_free(struct h2_owner_map *map); /* NULL is allowed */

/* One more owner: 1, 2, ... Returns 0 or -ENOMEM. */
int h2_owner_map_add_owner(struct h2_owner_map *map, uint32_t *owner);

enum h2_owner_met {
	H2_MET_FIRST,  /* nobody had entered it */
	H2_MET_AGAIN,  /* this owner had; one that leads to nothing: as its first owner */
	H2_MET_OTHERS, /* another owner had: what it leads to is to be entered for this one, too */
	H2_MET_SHARED, /* several had, and so all that it leads to */
};

/*
 * Enter the block that data_off leads to for an owner, who has all his blocks entered before the next
 * one's turn comes; only the super-root may come back. leads: it leads to others. It lies within
 * total_size and does not cross a segment. Returns enum h2_owner_met, or -ENOMEM.
 */
int h2_owner_map_add(struct h2_owner_map *map, uint32_t owner, uint64_t data_off, bool leads);

/* Bytes of the granules that are one owner's alone, and of those that several share. */
uint64_t h2_owner_map_exclusive(const struct h2_owner_map *map, uint32_t owner);
uint64_t h2_owner_map_shared(const struct h2_owner_map *map);

#endif
