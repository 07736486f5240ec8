/*
 * How much storage is allocated and leads nowhere, kept from one mount to the next: doc/FORMAT.md.
 * After a crash, or when another implementation has written to the volumes, it is not known.
 */
#ifndef H2_FS_LOST_RECORD_H
#define H2_FS_LOST_RECORD_H

#include "volumes.h"

/* What is lost in the state of the header with this mirror_tid. Returns false if it is not known. */
bool h2_lost_record_read(struct h2_volumes *volumes, uint64_t mirror_tid, uint64_t *bytes);

/*
 * Note it, once that header is durable. Errors do not matter: then it is not known. Returns 0 or
 * the device's error.
 */
int h2_lost_record_write(struct h2_volumes *volumes, uint64_t mirror_tid, uint64_t bytes);

#endif
