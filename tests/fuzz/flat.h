/* A device over a piece of memory, without locks or faults: as fast as can be. */
#ifndef TESTS_FUZZ_FLAT_H
#define TESTS_FUZZ_FLAT_H

#include "device.h"

#define FLAT_PAGE 16384u

/*
 * The bytes stay the caller's. written has a flag for each FLAT_PAGE of them that is set by who
 * writes there; NULL: nobody does. Ends the program without memory.
 */
struct h2_device *flat_device(uint8_t *bytes, uint64_t size, bool *written);

#endif
