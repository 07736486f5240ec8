/*
 * A line on the terminal that says how far a long operation has come. It appears after one second
 * and only where standard error is a terminal. One thread at a time may use it.
 */
#ifndef CMD_PROGRESS_H
#define CMD_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress;

/* Returns NULL where nothing is to be shown; all functions take that and do nothing. */
struct progress *progress_new(void);
void progress_free(struct progress *progress); /* takes the line away */

/*
 * Tell the state; call it as often as you like. phase is a few words; total_bytes 0: unknown.
 */
void progress_update(struct progress *progress, const char *phase, uint64_t done_bytes,
		     uint64_t total_bytes);

/* The same with any text in place of phase and bytes. */
void progress_show(struct progress *progress, const char *text);

/* Take the line away because something else is printed. It comes back with the next update. */
void progress_clear(struct progress *progress);

#endif
