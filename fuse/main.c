/*
 * mount.hammer2: mount a PFS of a HAMMER2 filesystem through FUSE.
 *
 * The process that the user starts makes the kernel's mount, so that errors, rights and the mount
 * namespace are the user's, and hands it to the server that has the filesystem open. It starts one
 * first where none runs. It returns when the PFS can be used, or with the reason why not. With -f
 * it is the server itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <syslog.h>
#include <unistd.h>

#include "control.h"
#include "descriptors.h"
#include "log.h"
#include "ops.h"
#include "options.h"
#include "server.h"
#include "session.h"
#include "unmount.h"

#define PROGRAM "mount.hammer2"
#define SERVER_SECONDS 120 /* how long a server may take to answer */

static int say(int code, const char *object, const char *problem)
{
	fprintf(stderr, PROGRAM ": %s: %s\n", object, problem);
	return code;
}

/* ---- the mount point ---- */

static int bad_directory(const char *dir, int error)
{
	switch (error) {
	case ENOTCONN:
	case ECONNABORTED:
		return say(EXIT_MOUNT, dir,
			   "is a mount whose server has died; run \"umount\" on it first");
	case EACCES:
	case EPERM:
		return say(EXIT_USAGE, dir, strerror(error));
	default:
		return say(EXIT_MOUNT, dir, strerror(error));
	}
}

static int find_directory(const char *dir, char path[PATH_MAX])
{
	struct statvfs fs;
	struct stat st;

	if (!realpath(dir, path) || stat(path, &st) != 0)
		return bad_directory(dir, errno);
	/* The attributes of a dead mount may still be cached, what statvfs asks for is not. */
	if (statvfs(path, &fs) != 0 && (errno == ENOTCONN || errno == ECONNABORTED))
		return bad_directory(dir, errno);
	return S_ISDIR(st.st_mode) ? EXIT_OK : bad_directory(dir, ENOTDIR);
}

/* ---- serving ---- */

__attribute__((format(printf, 2, 0))) static void fuse_log_line(enum fuse_log_level level,
								const char *format, va_list ap)
{
	char text[512];
	size_t len;

	vsnprintf(text, sizeof(text), format, ap);
	len = strlen(text);
	if (len > 0 && text[len - 1] == '\n')
		text[len - 1] = '\0';
	log_line((int)level, "%s", text); /* the levels are syslog's */
}

/* Let go of the terminal and of the directory that the user started us in. */
static void detach(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	log_to_syslog();
	fuse_set_log_func(fuse_log_line);
	if (null >= 0) {
		for (int fd = 0; fd <= 2; fd++)
			(void)dup2(null, fd);
		if (null > 2)
			close(null);
	}
	if (chdir("/") != 0)
		log_line(LOG_WARNING, "cannot leave the working directory: %s", strerror(errno));
}

/* Tell the client that waits why there is no server. */
static int refuse_client(int client, const struct control_message *reason, int code)
{
	struct control_message *m = malloc(sizeof(*m));

	if (m && control_receive(client, m, NULL) == 0)
		(void)control_send(client, reason, -1); /* nobody else to tell */
	free(m);
	close(client);
	return code;
}

/* The server that a client started. */
static int serve(const struct options *o, const struct control_place *place, int listener,
		 int client)
{
	struct control_message *m = malloc(sizeof(*m));
	struct server *server;
	int code;

	if (!m)
		return EXIT_SYSTEM;
	code = server_new(o, place, listener, m, &server);
	if (code != EXIT_OK) {
		if (listener >= 0)
			control_remove(place); /* the client holds the lock while it waits */
		code = refuse_client(client, m, code);
		free(m);
		return code;
	}
	free(m);
	server_talk(server, client);
	detach();
	server_run(server);
	return server_free(server);
}

/* The lock, and the listening socket of a server to be; either -1 where it cannot be had. */
struct seat {
	int lock;
	int listener;
};

static struct seat take_seat(const struct control_place *place, int *connection)
{
	struct seat seat = {.lock = -1, .listener = -1};

	*connection = -1;
	if (!place->usable)
		return seat;
	seat.lock = control_lock(place, true);
	if (seat.lock < 0)
		return seat;
	*connection = control_connect(place);
	if (*connection == -ENOENT)
		seat.listener = control_listen(place);
	return seat;
}

static int run_foreground(const struct options *o, const struct control_place *place,
			  const char *dir)
{
	struct control_message *m = malloc(sizeof(*m));
	struct server *server;
	struct seat seat;
	int code, connection;

	if (!m)
		return say(EXIT_SYSTEM, o->spec_text, strerror(ENOMEM));
	seat = take_seat(place, &connection);
	if (connection >= 0)
		close(connection); /* another server runs; this one serves its mount alone */
	code = server_new(o, place, seat.listener, m, &server);
	if (code != EXIT_OK) {
		fprintf(stderr, PROGRAM ": %s\n", m->text);
		if (seat.listener >= 0)
			control_remove(place);
	}
	free(m);
	if (code == EXIT_OK)
		code = server_mount_here(server, o, dir);
	else
		server = NULL;
	if (seat.lock >= 0)
		close(seat.lock);
	if (server) {
		int closed;

		server_run(server);
		closed = server_free(server);
		if (code == EXIT_OK)
			code = closed;
	}
	return code;
}

/* ---- being a client ---- */

static int start_server(const struct options *o, const struct control_place *place,
			struct seat *seat)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		/* The lock is the client's alone: it has to end with it. */
		if (seat->lock >= 0)
			close(seat->lock);
		close(pair[0]);
		(void)setsid(); /* cannot fail in a new process */
		exit(serve(o, place, seat->listener, pair[1]));
	}
	close(pair[1]);
	if (seat->listener >= 0)
		close(seat->listener);
	seat->listener = -1;
	if (pid < 0) {
		int err = -errno;

		close(pair[0]);
		return err;
	}
	return pair[0];
}

static int lost_server(const struct options *o, int err)
{
	fprintf(stderr, PROGRAM ": %s: the server of the filesystem %s\n", o->spec_text,
		err == -EAGAIN ? "does not answer"
			       : "has ended unexpectedly; see the system's log");
	return EXIT_SYSTEM;
}

/* Hand the kernel's mount over. */
static int hand_over(const struct options *o, const struct control_terms *terms, const char *dir,
		     int server, int fuse_fd, struct control_message *m)
{
	int err;

	control_fill(m, CONTROL_ATTACH, 0, dir);
	m->terms = *terms;
	err = control_send(server, m, fuse_fd);
	if (!err)
		err = control_receive(server, m, NULL);
	if (err)
		return lost_server(o, err);
	if (m->status != EXIT_OK)
		return say(m->status, dir, m->text);
	return EXIT_OK;
}

static void note_ignored(const struct options *o, const char *option)
{
	fprintf(stderr,
		PROGRAM ": %s: option %s is ignored: the first mount of the filesystem set it\n",
		o->spec_text, option);
}

/* What the server has decided differently. */
static void print_notices(const struct options *o, struct control_message *m)
{
	if (o->cache_bytes && m->limits.cache_bytes != o->cache_bytes)
		note_ignored(o, "cache");
	if (m->terms.writable && o->dirty_bytes && m->limits.dirty_bytes != o->dirty_bytes)
		note_ignored(o, "dirty");
	if (m->terms.writable && o->commit_seconds && m->limits.commit_seconds != o->commit_seconds)
		note_ignored(o, "commit");
	if (m->terms.writable && o->discard && !m->limits.discard)
		note_ignored(o, "discard");
	log_make_printable(m->text);
	if (m->text[0])
		(void)say(EXIT_OK, o->spec_text, m->text);
}

/* Mount the PFS that the server has agreed to. */
static int mount_agreed(const struct options *o, const char *dir, int server,
			struct control_message *m)
{
	struct control_terms terms;
	struct statvfs st;
	int fuse_fd, code;

	print_notices(o, m);
	options_terms(o, &m->terms, &terms);
	code = session_mount(o, &terms, dir, &fuse_fd);
	if (code != EXIT_OK)
		return code;
	code = hand_over(o, &terms, dir, server, fuse_fd, m);
	close(fuse_fd);
	if (code != EXIT_OK) {
		session_detach_path(dir);
		return code;
	}
	/* One request all the way: from here on the mount is known to work. */
	if (statvfs(dir, &st) != 0 && errno != EACCES && errno != EPERM) {
		code = say(EXIT_MOUNT, dir, strerror(errno));
		session_detach_path(dir);
	}
	return code;
}

/* Pass the server's reason on; returns the exit code that goes with it. */
static int refused(struct control_message *m)
{
	log_make_printable(m->text);
	fprintf(stderr, PROGRAM ": %s\n", m->text);
	return m->status;
}

/* Ask for the PFS. Returns an exit code; or -EPIPE where this server will not do it. */
static int talk(const struct options *o, const struct control_place *place, const char *dir,
		int server)
{
	struct control_message *m = malloc(sizeof(*m));
	int err, code;

	if (!m)
		return say(EXIT_SYSTEM, o->spec_text, strerror(ENOMEM));
	control_set_timeout(server, SERVER_SECONDS);
	control_fill(m, CONTROL_OPEN, 0, h2_spec_default_label(&o->spec));
	if (o->label)
		snprintf(m->label, sizeof(m->label), "%s", o->label);
	m->terms.writable = !o->read_only;
	memcpy(m->identity, place->identity, sizeof(m->identity));
	err = control_send(server, m, -1);
	if (!err)
		err = control_receive(server, m, NULL);
	if (err == -EAGAIN)
		code = lost_server(o, err);
	else if (err || m->type == CONTROL_REFUSE)
		code = -EPIPE;
	else if (m->status != EXIT_OK)
		code = refused(m);
	else
		code = mount_agreed(o, dir, server, m);
	free(m);
	close(server);
	return code;
}

static int run_client(const struct options *o, const struct control_place *place, const char *dir)
{
	int server, code = -EPIPE;
	struct seat seat = take_seat(place, &server);

	if (server >= 0)
		code = talk(o, place, dir, server);
	if (code == -EPIPE) {
		/* One that ran may just have ended, on a signal. */
		if (server >= 0 && seat.lock >= 0) {
			server = control_connect(place);
			if (server == -ENOENT)
				seat.listener = control_listen(place);
			else if (server >= 0)
				close(server);
		}
		server = start_server(o, place, &seat);
		code = server < 0 ? say(EXIT_SYSTEM, "cannot start a server", strerror(-server))
				  : talk(o, place, dir, server);
	}
	if (seat.lock >= 0)
		close(seat.lock);
	return code == -EPIPE ? lost_server(o, code) : code;
}

/* ---- the rest ---- */

/*
 * mount -o remount: the kernel's own flags can change, nothing else. A PFS that was mounted for
 * writing can become read-only and writable again; the kernel sees to it that nobody writes.
 */
static int remount(const struct options *o, const char *dir)
{
	unsigned long flags = MS_REMOUNT | (o->nosuid ? MS_NOSUID : 0) | (o->nodev ? MS_NODEV : 0) |
			      (o->noexec ? MS_NOEXEC : 0) | (o->noatime ? MS_NOATIME : 0);
	int root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), code = EXIT_OK;
	uint32_t writable = 0;
	struct statvfs st;

	if (root < 0 || fstatvfs(root, &st) != 0 || ioctl(root, OPS_IOC_WRITABLE, &writable) != 0)
		code = say(errno == EACCES ? EXIT_USAGE : EXIT_MOUNT, dir,
			   errno == ENOTTY ? "is no mount of " PROGRAM : strerror(errno));
	else if (o->read_write && !writable)
		code = say(
			EXIT_MOUNT, dir,
			"cannot be remounted for writing, as it was mounted for reading: unmount "
			"it and mount it again");
	if (code == EXIT_OK) {
		if (o->read_only || (!o->read_write && st.f_flag & ST_RDONLY))
			flags |= MS_RDONLY;
		flags |= st.f_flag & ST_SYNCHRONOUS ? MS_SYNCHRONOUS : 0;
		if (mount(o->spec_text, dir, NULL, flags, NULL) != 0)
			code = say(errno == EPERM ? EXIT_USAGE : EXIT_MOUNT, dir,
				   errno == EBUSY ? "files are open for writing" : strerror(errno));
		else if (flags & MS_RDONLY && writable && fsync(root) != 0)
			code = say(EXIT_MOUNT, dir, strerror(errno));
	}
	if (root >= 0)
		close(root);
	return code;
}

static int run(const struct options *o)
{
	struct control_place place;
	char dir[PATH_MAX];
	int code = find_directory(o->dir, dir), err;

	if (code != EXIT_OK)
		return code;
	if (o->remount)
		return remount(o, dir);
	err = control_place_init(&place, o);
	if (err)
		return err == -EACCES || err == -EPERM ? EXIT_USAGE : EXIT_MOUNT;
	if (o->label && strlen(o->label) > H2_NAME_MAX)
		return say(EXIT_MOUNT, o->spec_text, "the label is longer than 255 bytes");
	if (o->foreground)
		return run_foreground(o, &place, dir);
	return run_client(o, &place, dir);
}

int main(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/');
	struct options options;
	int code;

	if (!descriptors_init())
		return EXIT_SYSTEM;
	if (strncmp(slash ? slash + 1 : argv[0], "umount.", 7) == 0)
		return unmount_main(argc, argv);
	/*
	 * What one thread allocates others free, and caches and changed inodes come and go by the
	 * hundred megabytes: with an arena for each thread they would leave several times as much
	 * behind as is in use.
	 */
	mallopt(M_ARENA_MAX, 1);
	if (options_parse(&options, argc, argv, &code)) {
		log_init(options.verbose || options.debug);
		code = run(&options);
	}
	options_fini(&options);
	return code;
}
