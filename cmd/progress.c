/* The progress line; see progress.h. */
#include "progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "out.h"

#define FIRST_MS 1000u
#define EVERY_MS 200u

struct progress {
	uint64_t start_ms;
	uint64_t next_ms; /* not before that */
	bool shown;

	/* of the phase that is shown, for its rate */
	const char *phase;
	uint64_t phase_ms, phase_bytes;
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

struct progress *progress_new(void)
{
	struct progress *p;

	if (!isatty(STDERR_FILENO))
		return NULL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->start_ms = now_ms();
	p->next_ms = p->start_ms + FIRST_MS;
	return p;
}

void progress_clear(struct progress *p)
{
	if (!p || !p->shown)
		return;
	fputs("\r\033[K", stderr);
	p->shown = false;
}

void progress_free(struct progress *p)
{
	progress_clear(p);
	free(p);
}

void progress_show(struct progress *p, const char *text)
{
	uint64_t now;

	if (!p)
		return;
	now = now_ms();
	if (now < p->next_ms)
		return;
	p->next_ms = now + EVERY_MS;
	fprintf(stderr, "\r%s\033[K", text);
	fflush(stderr);
	p->shown = true;
}

void progress_update(struct progress *p, const char *phase, uint64_t done_bytes,
		     uint64_t total_bytes)
{
	char done[OUT_SIZE_TEXT], rate[OUT_SIZE_TEXT];
	uint64_t now, ms;

	if (!p)
		return;
	now = now_ms();
	if (!p->phase) {
		/* The first one began when the line was made, at 0 bytes. */
		p->phase = phase;
		p->phase_ms = p->start_ms;
	} else if (strcmp(p->phase, phase) != 0) {
		p->phase = phase;
		p->phase_ms = now;
		p->phase_bytes = done_bytes;
	}
	if (now < p->next_ms)
		return;
	p->next_ms = now + EVERY_MS;
	ms = now > p->phase_ms ? now - p->phase_ms : 1;
	fprintf(stderr, "\r%s: %s", phase, out_size(done_bytes, done));
	if (total_bytes > 0)
		fprintf(stderr, " of %s (%u %%)", out_size(total_bytes, rate),
			done_bytes < total_bytes
				? (unsigned)((double)done_bytes * 100 / (double)total_bytes)
				: 100u);
	if (done_bytes >= p->phase_bytes)
		fprintf(stderr, ", %s/s",
			out_size((uint64_t)((double)(done_bytes - p->phase_bytes) * 1000 /
					    (double)ms),
				 rate));
	fputs("\033[K", stderr);
	fflush(stderr);
	p->shown = true;
}
