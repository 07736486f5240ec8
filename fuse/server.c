/*
 * The server's main thread: signals, clients, and mounts that have ended.
 *
 * It alone touches the list of sessions. Clients are served one after the other; each is one
 * conversation of two requests (control.h), and cannot hold the server up for longer than
 * CLIENT_SECONDS at a time. Mounted PFSs are served by threads of their own meanwhile.
 */
#include "server.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "session.h"

#define CLIENT_SECONDS 30
#define LOCK_RETRY_MS 20      /* how often a server without mounts tries to get the lock to end */
#define STOP_PATIENCE_MS 1000 /* how long open files may keep a mount after SIGTERM */
#define TICK_MS 1000

struct entry {
	struct entry *next;
	struct session *session;
};

struct server {
	/* set at start, then constant */
	struct h2_volumes *volumes;
	struct h2_fs *fs;
	size_t cache_bytes;
	const struct control_place *place;
	char *spec_text;
	int event_fd, signal_fd;
	bool foreground, debug;

	/* main thread only */
	int listener;  /* -1: none */
	int lock;      /* held when it ends; else -1 */
	bool stopping; /* was told to end */
	struct entry *entries;
};

/* ---- opening ---- */

static int open_volumes(struct server *s, const struct options *o, struct control_message *m)
{
	struct h2_volumes_options vo = {
		.offset = o->offset,
		.header_copy = o->header_copy,
		.report = log_report,
	};
	int err = h2_volumes_open((const char *const *)o->spec.volumes, o->spec.count, &vo,
				  &s->volumes);

	if (err) {
		snprintf(m->text, sizeof(m->text), "%.1024s: cannot be opened: %s", o->spec_text,
			 err == -EBUSY    ? "another program has it open for writing"
			 : err == -EINVAL ? "not a HAMMER2 volume that this program can read"
					  : log_error_text(-err));
		return err == -EACCES || err == -EPERM ? EXIT_USAGE : EXIT_MOUNT;
	}
	return EXIT_OK;
}

static int open_fs(struct server *s, const struct options *o, struct control_message *m)
{
	struct h2_fs_options fo = {.cache_bytes = o->cache_bytes, .report = log_report};
	int err = h2_fs_open(s->volumes, &fo, &s->fs);

	if (err) {
		snprintf(m->text, sizeof(m->text), "%.1024s: the super-root cannot be read: %s",
			 o->spec_text, log_error_text(-err));
		return EXIT_MOUNT;
	}
	s->cache_bytes = o->cache_bytes ? o->cache_bytes : H2_CACHE_DEFAULT;
	return EXIT_OK;
}

/* Signals come through a descriptor; threads inherit that they are blocked. */
static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
		return -1;
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int server_new(const struct options *options, const struct control_place *place, int listener,
	       struct control_message *message, struct server **serverp)
{
	struct server *s = calloc(1, sizeof(*s));
	int code = EXIT_SYSTEM;

	control_fill(message, CONTROL_REPLY, EXIT_SYSTEM, strerror(ENOMEM));
	if (!s) {
		if (listener >= 0)
			close(listener);
		return EXIT_SYSTEM;
	}
	s->place = place;
	s->listener = listener;
	s->lock = -1;
	s->foreground = options->foreground;
	s->debug = options->debug;
	session_prepare_process();
	s->spec_text = strdup(options->spec_text);
	s->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->signal_fd = open_signals();
	log_set_wake(s->event_fd);
	if (s->spec_text && s->event_fd >= 0 && s->signal_fd >= 0)
		code = open_volumes(s, options, message);
	if (code == EXIT_OK)
		code = open_fs(s, options, message);
	message->status = code;
	if (code != EXIT_OK) {
		server_free(s);
		return code;
	}
	*serverp = s;
	return EXIT_OK;
}

void server_free(struct server *s)
{
	if (s->listener >= 0)
		close(s->listener);
	log_set_wake(-1);
	if (s->event_fd >= 0)
		close(s->event_fd);
	if (s->signal_fd >= 0)
		close(s->signal_fd);
	h2_fs_close(s->fs);
	h2_volumes_close(s->volumes);
	free(s->spec_text);
	/* Last: who waits for the lock may open the volumes. */
	if (s->lock >= 0)
		close(s->lock);
	free(s);
}

/* ---- choosing a PFS ---- */

/* Append ": A, B, C", the labels that there are, to an error. */
static void append_labels(struct server *s, struct control_message *m)
{
	struct h2_pfs_info info;
	size_t len = strlen(m->text);
	const char *lead = "; there are ";
	uint64_t key = 0;
	int err;

	while ((err = h2_pfs_next(s->fs, key, &info)) != 1) {
		if (!err)
			len += (size_t)snprintf(m->text + len, sizeof(m->text) - len, "%s%s", lead,
						info.label);
		if (len + sizeof(info.label) + 8 > sizeof(m->text))
			break;
		if (!err)
			lead = ", ";
		key = info.key + 1;
		if (key == 0)
			break;
	}
}

/* Open the PFS asked for; without a label, the default one, or else DATA. */
static int choose_pfs(struct server *s, const char *label, const char *fallback,
		      struct control_message *m, struct h2_pfs **pfsp)
{
	const char *wanted = *label ? label : fallback;
	int err = h2_pfs_open(s->fs, wanted, pfsp);

	if (err == -ENOENT && !*label && strcmp(wanted, "DATA") != 0) {
		wanted = "DATA";
		err = h2_pfs_open(s->fs, wanted, pfsp);
	}
	if (!err) {
		control_fill(m, CONTROL_REPLY, EXIT_OK, NULL);
		snprintf(m->label, sizeof(m->label), "%s", h2_pfs_get_info(*pfsp)->label);
		m->cache_bytes = s->cache_bytes;
		return EXIT_OK;
	}
	control_fill(m, CONTROL_REPLY, EXIT_MOUNT, NULL);
	if (err == -ENOENT) {
		snprintf(m->text, sizeof(m->text), "%.1024s: no PFS \"%.255s\"", s->spec_text,
			 wanted);
		append_labels(s, m);
	} else {
		snprintf(m->text, sizeof(m->text), "%.1024s: PFS \"%.255s\": %s", s->spec_text,
			 wanted, log_error_text(-err));
	}
	return EXIT_MOUNT;
}

/* Owns pfs and fd. */
static int attach(struct server *s, struct h2_pfs *pfs, int fd, const char *dir)
{
	struct entry *entry = malloc(sizeof(*entry));
	int err;

	if (!entry) {
		h2_pfs_put(pfs);
		close(fd);
		return -ENOMEM;
	}
	err = session_start(pfs, fd, dir, s->debug, s->event_fd, &entry->session);
	if (err) {
		free(entry);
		return err;
	}
	entry->next = s->entries;
	s->entries = entry;
	return 0;
}

int server_mount_here(struct server *s, const struct options *options, const char *dir)
{
	struct control_message *m = malloc(sizeof(*m));
	struct h2_pfs *pfs;
	int code, fd, err;

	if (!m)
		return EXIT_SYSTEM;
	code = choose_pfs(s, options->label ? options->label : "",
			  h2_spec_default_label(&options->spec), m, &pfs);
	if (code != EXIT_OK) {
		log_line(LOG_ERR, "%s", m->text);
		free(m);
		return code;
	}
	free(m);
	code = session_mount(options, dir, &fd);
	if (code != EXIT_OK) {
		h2_pfs_put(pfs);
		return code;
	}
	err = attach(s, pfs, fd, dir);
	if (err) {
		session_detach_path(dir);
		log_line(LOG_ERR, "%s: %s", dir, strerror(-err));
		return EXIT_SYSTEM;
	}
	return EXIT_OK;
}

/* ---- clients ---- */

static int reply(int fd, struct control_message *m)
{
	return control_send(fd, m, -1);
}

/* The second half of a conversation: take over the mount that the client made. Owns pfs. */
static void serve_attach(struct server *s, int fd, struct h2_pfs *pfs, struct control_message *m)
{
	char dir[sizeof(m->text)];
	int fuse_fd, err = control_receive(fd, m, &fuse_fd);

	if (err || m->type != CONTROL_ATTACH || fuse_fd < 0) {
		/* It could not mount, and has said why. */
		if (!err && fuse_fd >= 0)
			close(fuse_fd);
		h2_pfs_put(pfs);
		return;
	}
	memcpy(dir, m->text, sizeof(dir));
	err = attach(s, pfs, fuse_fd, dir);
	control_fill(m, CONTROL_REPLY, err ? EXIT_SYSTEM : EXIT_OK, err ? strerror(-err) : NULL);
	(void)reply(fd, m); /* a client that is gone has left a mount that works */
}

static void serve_open(struct server *s, int fd, struct control_message *m)
{
	char label[sizeof(m->label)], fallback[sizeof(m->label)];
	struct h2_pfs *pfs;
	int code;

	if (strcmp(m->identity, s->place->identity) != 0) {
		/* Two names of equal hash: let the client have a server of its own. */
		control_fill(m, CONTROL_REFUSE, EXIT_MOUNT, NULL);
		(void)reply(fd, m);
		return;
	}
	memcpy(label, m->label, sizeof(label));
	snprintf(fallback, sizeof(fallback), "%.255s", m->text);
	code = choose_pfs(s, label, fallback, m, &pfs);
	if (reply(fd, m) != 0) {
		if (code == EXIT_OK)
			h2_pfs_put(pfs);
		return;
	}
	if (code == EXIT_OK)
		serve_attach(s, fd, pfs, m);
}

void server_talk(struct server *s, int fd)
{
	struct control_message *m = malloc(sizeof(*m));

	control_set_timeout(fd, CLIENT_SECONDS);
	if (m && control_receive(fd, m, NULL) == 0 && m->type == CONTROL_OPEN)
		serve_open(s, fd, m);
	free(m);
	close(fd);
}

/* ---- the loop ---- */

static void reap(struct server *s)
{
	struct entry **link = &s->entries;
	eventfd_t count;

	(void)eventfd_read(s->event_fd, &count); /* empty is fine: the list is what counts */
	while (*link) {
		struct entry *entry = *link;

		if (!session_ended(entry->session)) {
			link = &entry->next;
			continue;
		}
		*link = entry->next;
		session_free(entry->session);
		free(entry);
	}
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/*
 * Unmount everything. Files that are open keep a detached mount going; they get a moment, then an
 * error.
 */
static void stop_all(struct server *s)
{
	uint64_t deadline = now_ms() + STOP_PATIENCE_MS;

	s->stopping = true;
	for (struct entry *e = s->entries; e; e = e->next)
		session_unmount(e->session);
	for (reap(s); s->entries; reap(s)) {
		struct pollfd p = {.fd = s->event_fd, .events = POLLIN};

		if (now_ms() > deadline)
			for (struct entry *e = s->entries; e; e = e->next)
				session_stop(e->session);
		(void)poll(&p, 1, LOCK_RETRY_MS);
	}
}

/*
 * With no mount left: whether the server can go. It stays while a client is about to call, unless
 * it was told to end: then the client finds no socket, or a closed one, and starts a new server.
 */
static bool may_end(struct server *s)
{
	if (s->listener < 0)
		return true;
	s->lock = control_lock(s->place, false);
	if (s->lock >= 0) {
		control_remove(s->place);
		return true;
	}
	if (s->lock == -EWOULDBLOCK && !s->stopping) {
		s->lock = -1;
		return false;
	}
	/* Told to end; or there is no lock file, as the directory was removed: nobody can call. */
	control_remove_socket(s->place);
	return true;
}

static bool got_signal(struct server *s)
{
	struct signalfd_siginfo info;

	return read(s->signal_fd, &info, sizeof(info)) == sizeof(info);
}

void server_run(struct server *s)
{
	bool findings = false; /* some were left out and not yet counted in the log */

	for (;;) {
		struct pollfd fds[] = {
			{.fd = s->signal_fd, .events = POLLIN},
			{.fd = s->event_fd, .events = POLLIN},
			{.fd = s->listener, .events = POLLIN},
		};

		if (!s->entries && may_end(s))
			break;
		if (poll(fds, 3,
			 !s->entries ? LOCK_RETRY_MS
			 : findings  ? TICK_MS
				     : -1) < 0 &&
		    errno != EINTR)
			break;
		findings = log_flush(false);
		if (got_signal(s))
			stop_all(s);
		reap(s);
		if (fds[2].revents && !s->stopping) {
			int fd = control_accept(s->listener);

			if (fd >= 0)
				server_talk(s, fd);
		}
	}
	log_flush(true);
}
