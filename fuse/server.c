/*
 * The server's main thread: signals, clients, and mounts that have ended.
 *
 * It alone touches the list of sessions. Clients are served one after the other; each is one
 * conversation of two requests (control.h), and cannot hold the server up for longer than
 * CLIENT_SECONDS at a time. Mounted PFSs are served by threads of their own meanwhile.
 */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/signalfd.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include <hammer2/change.h>

#include "log.h"
#include "results.h"
#include "session.h"

#define CLIENT_SECONDS 30
#define LOCK_RETRY_MS 20      /* how often a server without mounts tries to get the lock to end */
#define STOP_PATIENCE_MS 1000 /* how long open files may keep a mount after SIGTERM */
#define TICK_MS 1000
#define COMMIT_SECONDS_DEFAULT 5
#define CACHE_DEFAULT_MAX ((size_t)2 << 30)
#define CACHE_DIVISOR 12u
#define DIRTY_DEFAULT_MAX ((size_t)512 << 20) /* half of it is what a commit may keep others waiting for */
#define DIRTY_DIVISOR 32u
#define ENDING_PATIENCE_MS 5000 /* how long a new mount waits for one that is just ending */

/* A connection that is closed when a session's changes are on the volumes. */
struct waiter {
	struct waiter *next;
	int fd;
};

struct entry {
	struct entry *next;
	struct session *session;
	struct waiter *waiters;
};

struct server {
	/* set at start, then constant */
	struct h2_volumes *volumes;
	struct h2_fs *fs;
	struct control_limits limits;
	const char *read_only; /* why nothing can be mounted for writing; NULL: it can */
	bool asked_read_only;  /* the first mount did not want to write */
	const struct control_place *place;
	char *spec_text;
	int event_fd, signal_fd;
	bool foreground, debug;
	bool claimable; /* it is one block device, which the kernel's mount can claim */

	/* main thread only */
	int listener;  /* -1: none */
	int lock;      /* held when it ends; else -1 */
	bool stopping; /* was told to end */
	bool running;  /* the loop has begun */
	struct entry *entries;
	struct waiter *waiters; /* for the end of the server */
};

static void release(struct waiter *waiters)
{
	while (waiters) {
		struct waiter *next = waiters->next;

		close(waiters->fd);
		free(waiters);
		waiters = next;
	}
}

/* ---- opening ---- */

/* Whether one of the volumes is a block device that is set to read-only: opening it tells nothing. */
static bool is_protected(const struct options *o)
{
	int read_only = 0;

	for (unsigned i = 0; i < o->spec.count && !read_only; i++) {
		int fd = open(o->spec.volumes[i], O_RDONLY | O_NONBLOCK | O_CLOEXEC);

		if (fd < 0)
			continue; /* a partition inside of a file, or an error that is told later */
		if (ioctl(fd, BLKROGET, &read_only) != 0)
			read_only = 0; /* no block device */
		close(fd);
	}
	return read_only;
}

/* Whether all there is is one block device, which a mount by root claims. */
static bool is_block_device(const struct options *o)
{
	struct stat st;

	return geteuid() == 0 && o->spec.count == 1 && o->offset == 0 &&
	       stat(o->spec.volumes[0], &st) == 0 && S_ISBLK(st.st_mode);
}

/* Volumes that cannot be written to are mounted for reading, so that is no finding. */
static void report_but_protection(void *user, const struct h2_report *report)
{
	if (report->error != -EROFS && report->error != -EACCES && report->error != -EPERM)
		log_report(user, report);
}

static int open_volumes(struct server *s, const struct options *o, struct control_message *m)
{
	if (!s->read_only && is_protected(o))
		s->read_only = "it is write-protected";

	struct h2_volumes_options vo = {
		.write = !s->read_only,
		.mounted = !s->read_only && is_block_device(o),
		.offset = o->offset,
		.header_copy = o->header_copy,
		.report = s->read_only ? log_report : report_but_protection,
	};
	const char *const *paths = (const char *const *)o->spec.volumes;
	int err = h2_volumes_open(paths, o->spec.count, &vo, &s->volumes);

	s->claimable = vo.mounted && !err;
	if (vo.write && (err == -EROFS || err == -EACCES || err == -EPERM)) {
		vo.write = vo.mounted = false;
		vo.report = log_report;
		s->read_only = err == -EROFS ? "it is write-protected" : "it may not be written to";
		err = h2_volumes_open(paths, o->spec.count, &vo, &s->volumes);
	}
	if (err) {
		snprintf(m->text, sizeof(m->text), "%.1024s: cannot be opened: %s", o->spec_text,
			 err == -EBUSY    ? vo.write ? "another program has it open"
						     : "another program has it open for writing"
			 : err == -EINVAL ? "not a HAMMER2 volume that this program can read"
					  : log_error_text(-err));
		return err == -EACCES || err == -EPERM ? EXIT_USAGE : EXIT_MOUNT;
	}
	return EXIT_OK;
}

/* A part of the machine's memory. */
static size_t share_of_memory(unsigned divisor, size_t min, size_t max)
{
	long pages = sysconf(_SC_PHYS_PAGES), page_size = sysconf(_SC_PAGESIZE);
	uint64_t bytes = pages > 0 && page_size > 0 ? (uint64_t)pages * (uint64_t)page_size / divisor : 0;

	return bytes < min ? min : bytes < max ? (size_t)bytes : max;
}

/* What a directory of a million names needs is in memory on common machines. */
static size_t default_cache_bytes(void)
{
	return share_of_memory(CACHE_DIVISOR, H2_CACHE_DEFAULT, CACHE_DEFAULT_MAX);
}

/*
 * A commit writes each block of names that has changed once, however often it did: the more changes
 * it has, the less each costs.
 */
static size_t default_dirty_bytes(void)
{
	return share_of_memory(DIRTY_DIVISOR, H2_DIRTY_DEFAULT, DIRTY_DEFAULT_MAX);
}

static int open_fs(struct server *s, const struct options *o, struct control_message *m)
{
	struct h2_fs_options fo = {
		.cache_bytes = o->cache_bytes ? o->cache_bytes : default_cache_bytes(),
		.report = log_report,
		.write = !s->read_only,
		.dirty_bytes = o->dirty_bytes ? o->dirty_bytes : default_dirty_bytes(),
		.discard = o->discard,
		.commit_seconds = o->commit_seconds ? o->commit_seconds : COMMIT_SECONDS_DEFAULT,
	};
	int err = h2_fs_open(s->volumes, &fo, &s->fs);

	if (err) {
		snprintf(m->text, sizeof(m->text), "%.1024s: %s: %s", o->spec_text,
			 fo.write ? "cannot be opened for writing (see fsck.hammer2(8); option ro "
				    "may show what is readable)"
				  : "the super-root cannot be read",
			 log_error_text(-err));
		return EXIT_MOUNT;
	}
	s->limits = (struct control_limits){
		.cache_bytes = fo.cache_bytes,
		.dirty_bytes = fo.dirty_bytes,
		.commit_seconds = fo.commit_seconds,
		.discard = fo.discard,
	};
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
	s->asked_read_only = options->read_only;
	if (options->read_only)
		s->read_only = "its first mount is for reading only";
	else if (options->header_copy)
		s->read_only = "option header shows an older state, which cannot be changed";
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
		(void)server_free(s); /* nothing was changed */
		return code;
	}
	*serverp = s;
	return EXIT_OK;
}

/* Close the filesystem and say how that went, if it can have changed. */
static int close_fs(struct server *s)
{
	bool writable = s->fs && !s->read_only;
	int err;

	results_free();
	err = h2_fs_close(s->fs);

	h2_volumes_close(s->volumes);
	if (err)
		log_line(LOG_CRIT,
			 "%s: closed, but changes could not be written: %s; the last of them are "
			 "lost",
			 s->spec_text, log_error_text(-err));
	else if (writable)
		log_line(LOG_INFO, "%s: closed; all changes are on the media", s->spec_text);
	return err ? EXIT_MOUNT : EXIT_OK;
}

int server_free(struct server *s)
{
	int code;

	if (s->listener >= 0)
		close(s->listener);
	log_set_wake(-1);
	if (s->event_fd >= 0)
		close(s->event_fd);
	if (s->signal_fd >= 0)
		close(s->signal_fd);
	code = close_fs(s);
	release(s->waiters);
	free(s->spec_text);
	/* Last: who waits for the lock may open the volumes. */
	if (s->lock >= 0)
		close(s->lock);
	free(s);
	return code;
}

/* ---- sessions ---- */

/* Let those go on who wait for what was changed to be on the volumes. */
static void sync_and_release(struct server *s, struct waiter **waiters)
{
	if (*waiters && !s->read_only)
		(void)h2_fs_sync(s->fs); /* a failure is told of when the server ends */
	release(*waiters);
	*waiters = NULL;
}

/* Remove an ended session. Who waits for it waits for the volumes to be closed if they will be. */
static void end_entry(struct server *s, struct entry *entry)
{
	log_line(LOG_INFO, "%s: PFS %s is unmounted from %s", s->spec_text,
		 h2_pfs_get_info(session_pfs(entry->session))->label, session_dir(entry->session));
	session_free(entry->session);
	if (s->entries)
		sync_and_release(s, &entry->waiters);
	else
		s->waiters = entry->waiters;
	free(entry);
}

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
		end_entry(s, entry);
	}
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static bool one_is_ending(const struct server *s)
{
	for (const struct entry *e = s->entries; e; e = e->next)
		if (session_ending(e->session))
			return true;
	return false;
}

/* Who has just unmounted and mounts again shall not be told that it is still mounted. */
static void wait_for_ending(struct server *s)
{
	uint64_t deadline = now_ms() + ENDING_PATIENCE_MS;

	for (reap(s); one_is_ending(s) && now_ms() < deadline; reap(s)) {
		struct pollfd p = {.fd = s->event_fd, .events = POLLIN};

		(void)poll(&p, 1, LOCK_RETRY_MS);
	}
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
	if (!err)
		return EXIT_OK;
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

/* A session that would not see the changes of a new one, or the other way round; NULL: none. */
static const struct session *find_conflict(const struct server *s, const struct h2_pfs *pfs,
					   bool writable)
{
	for (const struct entry *e = s->entries; e; e = e->next)
		if (session_pfs(e->session) == pfs &&
		    (writable || session_terms(e->session)->writable))
			return e->session;
	return NULL;
}

/* Whether the kernel's mount may claim the block device: one mount can. */
static bool may_claim(const struct server *s)
{
	for (const struct entry *e = s->entries; e; e = e->next)
		if (session_terms(e->session)->block)
			return false;
	return s->claimable;
}

/*
 * Answer a request for a PFS, which a reference is taken to: *m receives the reply, with a notice
 * as its text where the terms are not those that were asked for.
 */
static int open_pfs(struct server *s, const char *label, const char *fallback, bool writable,
		    struct control_message *m, struct h2_pfs **pfsp)
{
	bool grant = writable && !s->read_only;
	const struct session *other;
	int code;

	if (writable && s->asked_read_only) {
		control_fill(m, CONTROL_REPLY, EXIT_MOUNT, NULL);
		snprintf(m->text, sizeof(m->text),
			 "%.1024s: is mounted for reading only (on %.1024s); unmount it first, or "
			 "use "
			 "option ro",
			 s->spec_text, session_dir(s->entries->session));
		return EXIT_MOUNT;
	}
	code = choose_pfs(s, label, fallback, m, pfsp);
	if (code != EXIT_OK)
		return code;
	other = find_conflict(s, *pfsp, grant);
	if (other) {
		control_fill(m, CONTROL_REPLY, EXIT_MOUNT, NULL);
		snprintf(m->text, sizeof(m->text),
			 "%.1024s: PFS \"%.255s\" is already mounted on %.1024s, and one of the "
			 "mounts would not see what the other writes; use \"mount --bind\"",
			 s->spec_text, h2_pfs_get_info(*pfsp)->label, session_dir(other));
		h2_pfs_put(*pfsp);
		return EXIT_MOUNT;
	}
	control_fill(m, CONTROL_REPLY, EXIT_OK, NULL);
	if (writable && !grant)
		snprintf(m->text, sizeof(m->text), "mounted read-only: %s", s->read_only);
	snprintf(m->label, sizeof(m->label), "%s", h2_pfs_get_info(*pfsp)->label);
	m->limits = s->limits;
	m->terms.writable = grant;
	m->terms.block = grant && may_claim(s);
	return EXIT_OK;
}

static void log_mounted(const struct server *s, const struct entry *entry)
{
	log_line(LOG_INFO, "%s: PFS %s is mounted on %s for %s", s->spec_text,
		 h2_pfs_get_info(session_pfs(entry->session))->label, session_dir(entry->session),
		 session_terms(entry->session)->writable ? "writing" : "reading");
}

/* Owns pfs and fd. */
static int attach(struct server *s, struct h2_pfs *pfs, const struct control_terms *terms, int fd,
		  const char *dir)
{
	struct entry *entry = malloc(sizeof(*entry));
	int err;

	if (!entry) {
		h2_pfs_put(pfs);
		close(fd);
		return -ENOMEM;
	}
	err = session_start(pfs, terms, fd, dir, s->debug, s->event_fd, &entry->session);
	if (err) {
		free(entry);
		return err;
	}
	entry->waiters = NULL;
	sync_and_release(s, &s->waiters); /* the volumes will stay open */
	entry->next = s->entries;
	s->entries = entry;
	if (s->running)
		log_mounted(s, entry);
	return 0;
}

static const char *why_not_served(int err)
{
	return err == -EEXIST ? "the root directory has an entry with the name of option snapdir; "
				"choose another one"
			      : strerror(-err);
}

int server_mount_here(struct server *s, const struct options *options, const char *dir)
{
	struct control_message *m = malloc(sizeof(*m));
	struct control_terms terms;
	struct h2_pfs *pfs;
	int code, fd, err;

	if (!m)
		return EXIT_SYSTEM;
	code = open_pfs(s, options->label ? options->label : "",
			h2_spec_default_label(&options->spec), !options->read_only, m, &pfs);
	if (m->text[0])
		log_line(LOG_WARNING, "%s%s%s", code == EXIT_OK ? s->spec_text : "",
			 code == EXIT_OK ? ": " : "", m->text);
	options_terms(options, &m->terms, &terms);
	free(m);
	if (code != EXIT_OK)
		return code;
	code = session_mount(options, &terms, dir, &fd);
	if (code != EXIT_OK) {
		h2_pfs_put(pfs);
		return code;
	}
	err = attach(s, pfs, &terms, fd, dir);
	if (err) {
		session_detach_path(dir);
		log_line(LOG_ERR, "%s: %s", dir, why_not_served(err));
		return EXIT_SYSTEM;
	}
	return EXIT_OK;
}

/* ---- clients ---- */

static int reply(int fd, struct control_message *m)
{
	return control_send(fd, m, -1);
}

/*
 * The second half of a conversation: take over the mount that the client made on the terms that
 * were granted. Owns pfs.
 */
static void serve_attach(struct server *s, int fd, struct h2_pfs *pfs, struct control_message *m)
{
	const struct control_terms granted = m->terms;
	struct control_terms terms;
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
	terms = m->terms;
	terms.writable = terms.writable && granted.writable;
	terms.block = terms.block && granted.block;
	err = attach(s, pfs, &terms, fuse_fd, dir);
	control_fill(m, CONTROL_REPLY, err ? EXIT_SYSTEM : EXIT_OK,
		     err ? why_not_served(err) : NULL);
	(void)reply(fd, m); /* a client that is gone has left a mount that works */
}

/*
 * End for a server that opens the volumes for writing. The client has the lock and starts it, and
 * must find no socket.
 */
static void make_way(struct server *s)
{
	s->stopping = true;
	control_remove_socket(s->place);
	close(s->listener);
	s->listener = -1;
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
	wait_for_ending(s);
	if (m->terms.writable && s->asked_read_only && !s->entries) {
		make_way(s);
		control_fill(m, CONTROL_REFUSE, EXIT_MOUNT, NULL);
		(void)reply(fd, m);
		return;
	}
	memcpy(label, m->label, sizeof(label));
	snprintf(fallback, sizeof(fallback), "%.255s", m->text);
	code = open_pfs(s, label, fallback, m->terms.writable, m, &pfs);
	if (reply(fd, m) != 0) {
		if (code == EXIT_OK)
			h2_pfs_put(pfs);
		return;
	}
	if (code == EXIT_OK)
		serve_attach(s, fd, pfs, m);
}

/* Remember the client if the mount is ours. Returns whether the connection stays open. */
static bool serve_wait(struct server *s, int fd, struct control_message *m)
{
	struct waiter *waiter = malloc(sizeof(*waiter));
	struct entry *e = s->entries;

	while (e && strcmp(session_device(e->session), m->text) != 0)
		e = e->next;
	control_fill(m, CONTROL_REPLY, e && waiter ? EXIT_OK : EXIT_MOUNT, NULL);
	if (reply(fd, m) == 0 && m->status == EXIT_OK) {
		waiter->fd = fd;
		waiter->next = e->waiters;
		e->waiters = waiter;
		return true;
	}
	free(waiter);
	return false;
}

void server_talk(struct server *s, int fd)
{
	struct control_message *m = malloc(sizeof(*m));
	bool keep = false;

	control_set_timeout(fd, CLIENT_SECONDS);
	if (m && control_receive(fd, m, NULL) == 0) {
		if (m->type == CONTROL_OPEN)
			serve_open(s, fd, m);
		else if (m->type == CONTROL_WAIT)
			keep = serve_wait(s, fd, m);
	}
	free(m);
	if (!keep)
		close(fd);
}

/* ---- the loop ---- */

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

	/* The first mounts are logged now: the log has become the system's. */
	s->running = true;
	for (const struct entry *e = s->entries; e; e = e->next)
		log_mounted(s, e);
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
		if (fds[2].revents && !s->stopping && s->listener >= 0) {
			int fd = control_accept(s->listener);

			if (fd >= 0)
				server_talk(s, fd);
		}
	}
	log_flush(true);
}
