/* What is done with a volume that is only read, and what must hold however hostile it is. */
#ifndef TESTS_FUZZ_USE_H
#define TESTS_FUZZ_USE_H

#include <hammer2/check.h>
#include <hammer2/fs.h>

/* A report function that asks for what every finding has, and prints faults where use_tell is set. */
extern bool use_tell;
void use_report(void *user, const struct h2_report *report);

/* Read everything in a filesystem, up to a number of steps for each PFS. */
void use_fs(struct h2_fs *fs);

/* Open one for reading, and do that. */
void use_volumes(struct h2_volumes *volumes);

void use_check(struct h2_volumes *volumes, struct h2_check_summary *summary);
void use_dump(struct h2_volumes *volumes);

#endif
