/*
 * Where the messages of a running mount go: to stderr in the foreground, to syslog otherwise.
 *
 * Findings of the library (struct h2_report) become one line each. A damaged volume can cause any
 * number of them, so at most LOG_REPORTS_PER_SECOND are written in a second and the rest counted.
 */
#ifndef FUSE_LOG_H
#define FUSE_LOG_H

#include <hammer2/report.h>
#include <stdbool.h>

#define LOG_REPORTS_PER_SECOND 20u

/* Log to stderr; notes only if verbose. To be called once, before any thread is started. */
void log_init(bool verbose);

/* From now on log to syslog instead. */
void log_to_syslog(void);

/* An eventfd that gets 1 added when findings begin to be left out; -1: none. */
void log_set_wake(int event_fd);

/* One line; priority is one of syslog(3)'s. Any thread. */
void log_line(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Labels and the like come from the media: keep them from forging lines or driving a terminal. */
void log_make_printable(char *text);

/* An h2_report_fn; user is not used. Any thread. */
void log_report(void *user, const struct h2_report *report);

/*
 * Say how many findings were left out, if any were and their second is over, or in any case if
 * now. Returns whether there are some still to be told. Any thread.
 */
bool log_flush(bool now);

/* An errno value (positive) in words, including the two that have a meaning of their own here. */
const char *log_error_text(int error);

#endif
