/* A device over a piece of memory, without locks or faults: as fast as can be. */
#ifndef TESTS_FUZZ_FLAT_H
#define TESTS_FUZZ_FLAT_H

#include "device.h"

/* The bytes stay the caller's. Ends the program without memory. */
struct h2_device *flat_device(uint8_t *bytes, uint64_t size);

#endif
