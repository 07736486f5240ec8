/*
 * A pass that may take long, over volumes or in the server of a mounted filesystem: how far it has
 * come, on a terminal, and signals that end it instead of the program.
 */
#ifndef CMD_WATCH_H
#define CMD_WATCH_H

#include <pthread.h>
#include <semaphore.h>

#include "admin.h"
#include "progress.h"

/*
 * From now on SIGINT, SIGTERM and SIGHUP end a pass: an ioctl with EINTR, one over volumes by the
 * options of its watch; until release_signals().
 */
void catch_signals(void);
void release_signals(void);

/*
 * A request that may have to wait for others, on a file of a mounted filesystem: as ioctl(2), but
 * returns 0 or a negative errno, and asks again while too many wait.
 */
int long_request(int fd, unsigned long cmd, void *argument);

/* Whether one has come: for what goes on between ioctls. */
bool signal_came(void);

struct watch {
	struct h2_pass_options options; /* for a pass over volumes */
	struct admin *admin;
	const char *what; /* on the line */
	struct progress *progress;
	pthread_t caller;
	pthread_t thread; /* that asks the server */
	sem_t done;
};

/*
 * Returns 0, or the error of making a thread. The watch must stay where it is until watch_stop(),
 * which comes before release_signals().
 */
int watch_start(struct watch *watch, struct admin *admin, const char *what);
void watch_stop(struct watch *watch);

#endif
