/* What info --usage shows: who uses how much storage (<hammer2/usage.h>). */
#ifndef CMD_USAGE_H
#define CMD_USAGE_H

#include <hammer2/usage.h>

#include "out.h"

/*
 * Measure a filesystem on volumes, with a line of progress. *usagep is to be freed with
 * h2_usage_free(). Returns 0 or an error, after a message.
 */
int usage_of_volumes(const char *name, struct h2_fs *fs, struct h2_usage **usagep);

/* Take the result of HAMMER2IOC_USAGE apart. Returns 0, or -EIO for what is none. */
int usage_decode(const uint8_t *bytes, size_t size, struct h2_usage **usagep);

/* Say why there is none. */
void usage_complain(const char *name, int err);

/* Show it, PFSs sorted by label; as a member "usage". */
void usage_print(struct h2_usage *usage);
void usage_json(struct json *json, struct h2_usage *usage);

#endif
