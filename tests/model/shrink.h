/*
 * Making a failing run small: its operations are recorded, and then whatever can be left out
 * without its ceasing to fail is left out. Each attempt runs in a process of its own, so that
 * crashes are failures like any other.
 */
#ifndef TESTS_MODEL_SHRINK_H
#define TESTS_MODEL_SHRINK_H

#include "run.h"

/* Run as the options say. Returns the exit code: 0 where nothing fails. */
int shrink(struct run *run, const struct run_options *options, const struct backend_ops *ops);

#endif
