/*
 * Messages and findings of a running mount.
 *
 * The lines are built before the lock is taken; the lock covers only the counting, so that a slow
 * syslog never holds up a thread that has nothing to say.
 */
#include "log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <syslog.h>
#include <time.h>

#define PROGRAM "mount.hammer2"
#define LINE_MAX_BYTES 1024

static bool be_verbose; /* set before threads are started, then constant */

/* atomic */
static atomic_bool use_syslog;
static atomic_int wake_fd = -1;

/* under lock */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static time_t window; /* the second that the two count */
static unsigned written, suppressed;

void log_init(bool verbose)
{
	be_verbose = verbose;
}

void log_to_syslog(void)
{
	openlog(PROGRAM, LOG_PID | LOG_NDELAY, LOG_DAEMON);
	atomic_store(&use_syslog, true);
}

void log_set_wake(int event_fd)
{
	atomic_store(&wake_fd, event_fd);
}

void log_make_printable(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

static void put_line(int priority, char *text)
{
	log_make_printable(text);
	if (atomic_load(&use_syslog))
		syslog(priority, "%s", text);
	else if (priority <= LOG_WARNING || be_verbose)
		fprintf(stderr, PROGRAM ": %s\n", text);
}

void log_line(int priority, const char *format, ...)
{
	char text[LINE_MAX_BYTES];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	put_line(priority, text);
}

const char *log_error_text(int error)
{
	switch (error) {
	case H2_ECORRUPT:
		return "a structure on the volume is damaged";
	case H2_ECHECK:
		return "a block does not match its check code";
	default:
		return strerror(error);
	}
}

static time_t now_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

/* Count a finding; whether it may be written. *missed: how many were left out in a past second. */
static bool admit(unsigned *missed)
{
	time_t now = now_seconds();
	bool yes, first;

	pthread_mutex_lock(&lock);
	*missed = 0;
	if (now != window) {
		*missed = suppressed;
		window = now;
		written = suppressed = 0;
	}
	yes = written < LOG_REPORTS_PER_SECOND;
	if (yes)
		written++;
	else
		suppressed++;
	first = !yes && suppressed == 1;
	pthread_mutex_unlock(&lock);
	if (first && atomic_load(&wake_fd) >= 0)
		(void)eventfd_write(atomic_load(&wake_fd), 1);
	return yes;
}

static void say_missed(unsigned missed)
{
	if (missed > 0)
		log_line(LOG_WARNING, "%u more findings were not logged", missed);
}

bool log_flush(bool now)
{
	unsigned missed = 0;
	bool more;

	pthread_mutex_lock(&lock);
	if (now || now_seconds() != window) {
		missed = suppressed;
		suppressed = 0;
	}
	more = suppressed > 0;
	pthread_mutex_unlock(&lock);
	say_missed(missed);
	return more;
}

struct line {
	char text[LINE_MAX_BYTES];
	size_t len;
};

__attribute__((format(printf, 2, 3))) static void add(struct line *line, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(line->text + line->len, sizeof(line->text) - line->len, format, ap);
	va_end(ap);
	if (n > 0)
		line->len += (size_t)n;
	if (line->len >= sizeof(line->text))
		line->len = sizeof(line->text) - 1;
}

static void format_report(struct line *line, const struct h2_report *r)
{
	if (r->pfs)
		add(line, "PFS %s: ", r->pfs);
	if (r->flags & H2_REPORT_HAS_INUM)
		add(line, "inode %" PRIu64 ": ", r->inum);
	if (r->path)
		add(line, "%s: ", r->path);
	if (r->flags & H2_REPORT_HAS_KEY)
		add(line,
		    r->object && strcmp(r->object, "data") == 0 ? "offset %" PRIu64 ": "
								: "key 0x%" PRIx64 ": ",
		    r->key);
	if (r->object)
		add(line, r->flags & H2_REPORT_HAS_MEDIA ? "%s " : "%s: ", r->object);
	if (r->flags & H2_REPORT_HAS_MEDIA)
		add(line, "at 0x%" PRIx64 ": ", r->media);
	if (r->message)
		add(line, "%s", r->message);
	else
		add(line, "%s: damaged", r->member ? r->member : "structure");
	if (r->flags & H2_REPORT_HAS_VALUES)
		add(line, "; found 0x%" PRIx64 ", expected 0x%" PRIx64, r->found, r->expected);
	if (r->code)
		add(line, " [%s]", r->code);
}

void log_report(void *user, const struct h2_report *report)
{
	static const int priorities[] = {
		[H2_NOTE] = LOG_INFO,
		[H2_WARNING] = LOG_WARNING,
		[H2_FAULT] = LOG_ERR,
	};
	struct line line = {.len = 0};
	unsigned missed;
	bool yes = admit(&missed);

	(void)user;
	say_missed(missed);
	if (!yes)
		return;
	format_report(&line, report);
	put_line(priorities[report->severity], line.text);
}
