/* See watch.h. */
#include "watch.h"

#include <errno.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <time.h>

static const int caught[] = {SIGINT, SIGTERM, SIGHUP};

#define CAUGHT (sizeof(caught) / sizeof(caught[0]))

#define EVERY_NS 200000000 /* the server is asked */
#define AGAIN_NS 100000000 /* a request is tried again */

static struct sigaction before[CAUGHT];
static volatile sig_atomic_t interrupted;

static void on_signal(int signal_number)
{
	(void)signal_number;
	interrupted = 1;
}

void catch_signals(void)
{
	struct sigaction act = {.sa_handler = on_signal}; /* no SA_RESTART */

	for (size_t i = 0; i < CAUGHT; i++)
		sigaction(caught[i], &act, &before[i]);
}

void release_signals(void)
{
	for (size_t i = 0; i < CAUGHT; i++)
		sigaction(caught[i], &before[i], NULL);
}

int long_request(int fd, unsigned long cmd, void *argument)
{
	const struct timespec pause = {.tv_nsec = AGAIN_NS};
	int err = 0;

	do {
		if (err)
			nanosleep(&pause, NULL);
		if (interrupted)
			return -EINTR;
		err = ioctl(fd, cmd, argument) < 0 ? -errno : 0;
	} while (err == -EAGAIN);
	return err;
}

bool signal_came(void)
{
	return interrupted;
}

static void show(struct watch *w, uint64_t bytes, uint64_t expected)
{
	/* Where less is expected than was met, it is not known. */
	progress_update(w->progress, w->what, bytes, expected > bytes ? expected : 0);
}

static bool goes_on(void *user, uint64_t bytes, uint64_t expected)
{
	show(user, bytes, expected);
	return !interrupted;
}

/* Whether it is done, after waiting for that for a while. */
static bool is_done(struct watch *w)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += EVERY_NS;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	return sem_timedwait(&w->done, &until) == 0;
}

static void *ask_server(void *user)
{
	struct watch *w = user;
	struct hammer2_ioc_status status;

	do {
		if (admin_status(w->admin, &status) == 0 && status.scan_expected_bytes)
			show(w, status.scan_bytes, status.scan_expected_bytes);
		/* It may have come right in front of the ioctl, which then knows nothing of it. */
		if (interrupted)
			pthread_kill(w->caller, SIGTERM);
	} while (!is_done(w));
	return NULL;
}

static int start_thread(struct watch *watch)
{
	sigset_t all, old;
	int err;

	/* The signals are for the thread that is in the ioctl. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	err = pthread_create(&watch->thread, NULL, ask_server, watch);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -err;
}

int watch_start(struct watch *watch, struct admin *admin, const char *what)
{
	int err = 0;

	watch->options = (struct h2_pass_options){.progress = goes_on, .user = watch};
	watch->admin = admin;
	watch->what = what;
	watch->caller = pthread_self();
	watch->progress = progress_new();
	sem_init(&watch->done, 0, 0);
	if (admin_is_mounted(admin))
		err = start_thread(watch);
	if (err) {
		progress_free(watch->progress);
		sem_destroy(&watch->done);
	}
	return err;
}

void watch_stop(struct watch *watch)
{
	if (admin_is_mounted(watch->admin)) {
		sem_post(&watch->done);
		pthread_join(watch->thread, NULL);
	}
	sem_destroy(&watch->done);
	progress_free(watch->progress);
}
