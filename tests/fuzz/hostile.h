/*
 * A small volume with one of everything that is changed at the places that an input tells, with the
 * check codes on the way up to the header made right again: what a hostile volume looks like.
 */
#ifndef TESTS_FUZZ_HOSTILE_H
#define TESTS_FUZZ_HOSTILE_H

#include <stddef.h>
#include <stdint.h>

#define HOSTILE_SIZE (UINT64_C(64) << 20)
#define HOSTILE_RECORD 12u /* bytes: which block, where in it, how it is changed, value */

/* Build it. Once, before everything else. */
void hostile_init(void);

/* Make one change; any bytes are one. */
void hostile_change(const uint8_t record[HOSTILE_RECORD]);

/* Likewise, but of a member that matters to who writes. */
void hostile_aim(const uint8_t record[HOSTILE_RECORD]);

/* Make the check codes right. */
void hostile_seal(void);

struct h2_volumes;
struct h2_volumes_options;

/* Open what the disk holds. Returns what h2_volumes_assemble() does. */
int hostile_open(const struct h2_volumes_options *options, struct h2_volumes **volumesp);

/* Make the disk what hostile_init() has built, whatever was written to it. */
void hostile_restore(void);

#endif
