/*
 * A mounted PFS and its threads.
 *
 * Waking another thread costs more than answering most requests, so a pool that takes turns is
 * slow. Here one thread at a time, the leader, takes requests from the kernel and answers names,
 * attributes and pieces of files itself, changes of them included. Before it turns to something
 * longer (more of a file, listings, whatever waits for a commit) it lets another thread lead. When
 * short requests turn out slow, because they come from a disk or because changes have to wait for
 * space in memory, the leader lets go before those too, until they are fast again; so a cold cache
 * is read by all threads and a warm one is served by the thread whose CPU has it.
 *
 * Nothing that a request waits for is done by another request: commits have threads of their own in
 * the library. So threads that wait, even all of them, only make others wait as long.
 */
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "flusher.h"
#include "log.h"
#include "ops.h"
#include "refresh.h"

#define PROGRAM "mount.hammer2"
#define THREADS_MIN 8 /* some may be waiting for a commit */
#define THREADS_MAX 16
#define WAKE_SIGNAL SIGUSR1
#define DIRTY_PERCENT 10   /* of the kernel's limit for what is to be written */
#define SLOW_NS 300000     /* a request that takes longer has waited for a disk */
#define SHORT_BYTES 20480u /* reading or writing up to that much is as fast as the rest */
#define SLOW_MEMORY 64u    /* how many requests that is remembered for */

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static struct session *all; /* under all_lock: those with a FUSE session */

struct session {
	struct session *next; /* under all_lock */
	/* set at start, then constant */
	struct fuse_session *fuse;
	struct ops_view view;
	struct ops_state first_state;
	struct flusher *flusher; /* NULL: mounted for reading */
	struct control_terms terms;
	char *dir;
	char dev[CONTROL_DEVICE_SIZE]; /* "MAJOR:MINOR" of the mount; empty: not found */
	int event_fd;
	unsigned threads_count;
	pthread_t threads[THREADS_MAX];

	/* held by the leader */
	pthread_mutex_t leader;

	/* atomic */
	atomic_uint running; /* threads that have not ended */
	atomic_bool stopping;
	atomic_uint slow; /* requests for which the leader lets go first */
	atomic_bool tuned;
};

/* ---- the kernel's mounts ---- */

static struct fuse_session *new_fuse_session(const char *o, bool debug, void *userdata)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_session *fuse = NULL;
	char read_max[32];

	/* To be told when mounting, when starting, and in the answer to the kernel's first request. */
	snprintf(read_max, sizeof(read_max), "-omax_read=%u", OPS_READ_MAX);
	if (fuse_opt_add_arg(&args, PROGRAM) == 0 && fuse_opt_add_arg(&args, read_max) == 0 &&
	    (!o || (fuse_opt_add_arg(&args, "-o") == 0 && fuse_opt_add_arg(&args, o) == 0)) &&
	    (!debug || fuse_opt_add_arg(&args, "-d") == 0))
		fuse = fuse_session_new(&args, &ops_table, sizeof(ops_table), userdata);
	fuse_opt_free_args(&args);
	return fuse;
}

int session_mount(const struct options *options, const struct control_terms *terms, const char *dir,
		  int *fdp)
{
	struct ops_view unused = {.state = NULL};
	struct fuse_session *fuse;
	char *text = options_for_fuse(options, terms->writable, terms->block);
	int fd = -1;

	if (!text)
		return EXIT_SYSTEM;
	fuse = new_fuse_session(text, false, &unused);
	free(text);
	if (!fuse)
		return EXIT_SYSTEM;
	/* libfuse and fusermount3 say what went wrong. */
	if (fuse_session_mount(fuse, dir) == 0) {
		fd = fcntl(fuse_session_fd(fuse), F_DUPFD_CLOEXEC, 3);
		if (fd < 0)
			fuse_session_unmount(fuse);
	}
	/* Closes its own descriptor and leaves the mount alone. */
	fuse_session_destroy(fuse);
	*fdp = fd;
	return fd >= 0 ? EXIT_OK : EXIT_MOUNT;
}

static int run_fusermount(const char *path)
{
	char *argv[] = {"fusermount3", "-u", "-z", "-q", "--", (char *)(uintptr_t)path, NULL};
	extern char **environ;
	pid_t pid;
	int status, err = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);

	if (err)
		return -err;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return status == 0 ? 0 : -EPERM;
}

void session_detach_path(const char *dir)
{
	if (umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW) != 0 && errno == EPERM)
		(void)run_fusermount(dir); /* where it fails the mount is left dead, for the user */
}

/* Undo the octal escapes of mountinfo in place. */
static void unescape(char *text)
{
	char *out = text;

	while (*text) {
		if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] && text[3]) {
			*out++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 |
					(text[3] - '0'));
			text += 4;
		} else {
			*out++ = *text++;
		}
	}
	*out = '\0';
}

/* Call fn for each mount until it returns false. */
static void each_mount(bool (*fn)(void *user, const char *dev, const char *dir), void *user)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, dev[CONTROL_DEVICE_SIZE];
	size_t size = 0;
	bool more = true;

	if (!f)
		return;
	while (more && getline(&line, &size, f) > 0) {
		char *dir = NULL;

		if (sscanf(line, "%*d %*d %31s %*s %ms", dev, &dir) == 2) {
			unescape(dir);
			more = fn(user, dev, dir);
		}
		free(dir);
	}
	free(line);
	fclose(f);
}

/* The last mount on a path is the one that is seen. */
static bool remember_dev(void *user, const char *dev, const char *dir)
{
	struct session *s = user;

	if (strcmp(dir, s->dir) == 0)
		snprintf(s->dev, sizeof(s->dev), "%s", dev);
	return true;
}

static bool detach_if_ours(void *user, const char *dev, const char *dir)
{
	const struct session *s = user;

	if (strcmp(dev, s->dev) == 0)
		session_detach_path(dir);
	return true;
}

/* Open the root of what is mounted on the session's directory if that is still the session's. */
static int open_root(const struct session *s)
{
	int fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char dev[sizeof(s->dev)];
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0) {
		snprintf(dev, sizeof(dev), "%u:%u", major(st.st_dev), minor(st.st_dev));
		if (strcmp(dev, s->dev) == 0)
			return fd;
	}
	close(fd);
	return -1;
}

/*
 * A process that makes the kernel write what it has cached of the mount, tells so, and does it again
 * when told to. It is not this one that waits for the kernel here: if it were killed meanwhile, its
 * own wait would keep the connection open that it waits for. So the child must not have it open.
 * Returns a socket to it, or -1.
 */
static int start_writer(const struct session *s)
{
	int pair[2], root;
	char byte = 0;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		(void)dup2(pair[1], STDIN_FILENO);
		(void)close_range(STDERR_FILENO + 1, ~0u, 0);
		root = open_root(s);
		if (root >= 0) {
			(void)syncfs(root); /* errors come with the requests, too */
			if (send(STDIN_FILENO, &byte, 1, MSG_NOSIGNAL) == 1 &&
			    recv(STDIN_FILENO, &byte, 1, 0) == 1)
				(void)syncfs(root);
		}
		_exit(0);
	}
	close(pair[1]);
	if (pid > 0)
		return pair[0];
	close(pair[0]);
	return -1;
}

/*
 * Programs may have files open, and the kernel then has changes of them that nobody will write once
 * the threads have ended: before and after new opens become impossible it is told to write them.
 */
void session_unmount(struct session *s)
{
	int writer = s->terms.writable ? start_writer(s) : -1;
	char byte = 0;

	if (writer >= 0)
		(void)recv(writer, &byte, 1, 0); /* or the end of the child */
	if (s->dev[0])
		each_mount(detach_if_ours, s);
	if (writer >= 0) {
		if (send(writer, &byte, 1, MSG_NOSIGNAL) == 1)
			(void)recv(writer, &byte, 1, 0);
		close(writer);
	}
}

/* Set one of the figures of how the kernel caches the mount's files. */
static void tune_figure(const struct session *s, const char *name, unsigned value)
{
	char path[96], text[16];
	int fd, len;

	len = snprintf(text, sizeof(text), "%u", value);
	snprintf(path, sizeof(path), "/sys/class/bdi/%s%s/%s", s->dev,
		 s->terms.block ? "-fuseblk" : "", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	/* The system's default does no harm but for speed. */
	if (fd < 0 || write(fd, text, (size_t)len) < 0)
		log_line(LOG_INFO, "%s: %s stays at the system's default", s->dir, name);
	if (fd >= 0)
		close(fd);
}

/*
 * Let the kernel read ahead OPS_READ_AHEAD, where it grants 128 KiB to whom merely asks, and keep
 * more that is to be written than its 1 % of all such memory. Only possible once it has got the
 * answer to its first request, and only for root.
 */
static void tune_cache(const struct session *s)
{
	if (geteuid() != 0 || !s->dev[0])
		return;
	tune_figure(s, "read_ahead_kb", OPS_READ_AHEAD >> 10);
	if (s->terms.writable)
		tune_figure(s, "max_ratio", DIRTY_PERCENT);
}

/* ---- threads ---- */

static void do_nothing(int signal_number)
{
	(void)signal_number;
}

void session_prepare_process(void)
{
	struct sigaction act = {.sa_handler = do_nothing}; /* no SA_RESTART: reads shall end */

	sigaction(WAKE_SIGNAL, &act, NULL);
	signal(SIGPIPE, SIG_IGN);
	/*
	 * Memory that we need while the kernel is short of it must not be had by writing to ourselves,
	 * and our own writes must not wait until the kernel has less to write to us. Only root may
	 * have that; others can do without, as most FUSE servers do.
	 */
	(void)prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
}

static uint32_t opcode_of(const struct fuse_buf *buf)
{
	struct fuse_in_header header;

	if (buf->flags & FUSE_BUF_IS_FD || buf->size < sizeof(header))
		return 0;
	memcpy(&header, buf->mem, sizeof(header));
	return header.opcode;
}

/* How many bytes a request to read asks for. */
static uint32_t read_size(const struct fuse_buf *buf)
{
	struct fuse_read_in in;

	if (buf->size < sizeof(struct fuse_in_header) + sizeof(in))
		return 0;
	memcpy(&in, (const char *)buf->mem + sizeof(struct fuse_in_header), sizeof(in));
	return in.size;
}

/* Whether another thread shall lead before the request is looked at. */
static bool is_long(const struct session *s, const struct fuse_buf *buf)
{
	switch (opcode_of(buf)) {
	case 0:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
	case FUSE_LSEEK:
	case FUSE_FSYNC:
	case FUSE_FSYNCDIR:
	case FUSE_SYNCFS:
	case FUSE_FALLOCATE:
	case FUSE_IOCTL:
	case FUSE_COPY_FILE_RANGE:
	case FUSE_DESTROY:
		return true;
	case FUSE_READ:
		return read_size(buf) > SHORT_BYTES;
	case FUSE_WRITE:
		return buf->size > SHORT_BYTES;
	case FUSE_STATFS:
		return s->terms.writable; /* it comes with a commit */
	case FUSE_SETATTR:
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_SYMLINK:
	case FUSE_LINK:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_RENAME:
	case FUSE_RENAME2:
		return s->view.sync || s->view.dirsync; /* each waits for a commit */
	default:
		return false;
	}
}

/* Answer a request that libfuse does not get to see. */
static void reply_to(const struct session *s, const struct fuse_buf *buf, int err)
{
	struct fuse_in_header in;
	struct fuse_out_header out;

	memcpy(&in, buf->mem, sizeof(in));
	out = (struct fuse_out_header){.len = sizeof(out), .error = err, .unique = in.unique};
	/* A reply that is not wanted any more is refused. */
	(void)!write(fuse_session_fd(s->fuse), &out, sizeof(out));
}

/*
 * Answer a request. syncfs(2) is one that libfuse does not know; kernels send it only for some
 * mounts, and for the others just write what they have cached.
 */
static void process(struct session *s, const struct fuse_buf *buf)
{
	int err;

	if (opcode_of(buf) == FUSE_SYNCFS) {
		reply_to(s, buf, ops_sync(&s->view));
	} else if (s->flusher && flusher_wants(buf)) {
		err = flusher_add(s->flusher, buf);
		if (err)
			reply_to(s, buf, err);
	} else {
		fuse_session_process_buf(s->fuse, buf);
	}
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Answer a short request and learn from how long it took. */
static void process_short(struct session *s, const struct fuse_buf *buf)
{
	uint64_t begin = now_ns();
	unsigned slow;

	process(s, buf);
	slow = atomic_load_explicit(&s->slow, memory_order_relaxed);
	if (now_ns() - begin > SLOW_NS)
		slow = SLOW_MEMORY;
	else if (slow > 0)
		slow--;
	/* A lost update between two threads moves the guess by one; it stays a guess. */
	atomic_store_explicit(&s->slow, slow, memory_order_relaxed);
}

/* Take the next request. Returns false when there will be none. */
static bool receive(struct session *s, struct fuse_buf *buf)
{
	while (!atomic_load(&s->stopping)) {
		int n = fuse_session_receive_buf(s->fuse, buf);

		if (n > 0)
			return true;
		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n < 0)
			log_line(LOG_ERR, "%s: reading requests failed: %s", s->dir, strerror(-n));
		atomic_store(&s->stopping, true);
	}
	return false;
}

static void lead(struct session *s, struct fuse_buf *buf)
{
	pthread_mutex_lock(&s->leader);
	while (receive(s, buf)) {
		uint32_t opcode = opcode_of(buf);

		if (opcode != FUSE_INIT && !atomic_load(&s->tuned) &&
		    !atomic_exchange(&s->tuned, true))
			tune_cache(s);
		if (is_long(s, buf)) {
			pthread_mutex_unlock(&s->leader);
			process(s, buf);
			pthread_mutex_lock(&s->leader);
		} else if (opcode != FUSE_INIT && atomic_load(&s->slow) > 0) {
			pthread_mutex_unlock(&s->leader);
			process_short(s, buf);
			pthread_mutex_lock(&s->leader);
		} else {
			process_short(s, buf);
		}
	}
	pthread_mutex_unlock(&s->leader);
}

static void *serve(void *arg)
{
	struct session *s = arg;
	struct fuse_buf buf = {.mem = NULL};

	lead(s, &buf);
	free(buf.mem);
	ops_thread_end();
	if (atomic_fetch_sub(&s->running, 1) == 1)
		(void)eventfd_write(s->event_fd,
				    1); /* fails only when it is already very readable */
	return NULL;
}

static unsigned threads_wanted(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (cpus * 2 < THREADS_MIN)
		return THREADS_MIN;
	return cpus * 2 > THREADS_MAX ? THREADS_MAX : (unsigned)cpus * 2;
}

/* Returns 0 if at least one thread runs. */
static int start_threads(struct session *s)
{
	unsigned wanted = threads_wanted();
	int err = 0;

	atomic_store(&s->running, wanted);
	while (!err && s->threads_count < wanted) {
		err = pthread_create(&s->threads[s->threads_count], NULL, serve, s);
		if (!err)
			s->threads_count++;
	}
	if (s->threads_count == 0)
		return -err;
	if (s->threads_count < wanted &&
	    atomic_fetch_sub(&s->running, wanted - s->threads_count) == wanted - s->threads_count)
		(void)eventfd_write(s->event_fd, 1);
	return 0;
}

/* Returns also -EEXIST: the root has an entry of that name, which would be hidden. */
static int init_snapdir(struct session *s, struct h2_pfs *pfs)
{
	const char *name = s->terms.snapdir;
	struct h2_inode *root;
	int err = h2_inode_get(pfs, H2_INUM_ROOT, &root);

	if (err)
		return err;
	err = h2_dir_lookup(root, name, strlen(name), NULL);
	h2_inode_put(root);
	if (err != -ENOENT)
		return err ? err : -EEXIST;
	s->view.snapdir = snapdir_new(h2_pfs_fs(pfs), name);
	return s->view.snapdir ? 0 : -ENOMEM;
}

static int init_view(struct session *s, struct h2_pfs *pfs, const struct control_terms *terms)
{
	s->terms = *terms;
	s->first_state = (struct ops_state){.pfs = pfs};
	s->view = (struct ops_view){
		.state = &s->first_state,
		.sync = terms->sync,
		.dirsync = terms->dirsync,
		.destroy_syncs = terms->writable && terms->block,
		.comp_algo = terms->comp_algo,
		.check_algo = terms->check_algo,
	};
	if (terms->writable) {
		s->view.nodes = nodes_new();
		if (!s->view.nodes)
			return -ENOMEM;
	}
	return terms->snapdir[0] ? init_snapdir(s, pfs) : 0;
}

static bool has_label(const struct session *s, const char *label)
{
	return strcmp(h2_pfs_get_info(view_pfs(&s->view))->label, label) == 0;
}

int session_refresh(const char *label)
{
	int err = 0;

	pthread_mutex_lock(&all_lock);
	for (struct session *s = all; s; s = s->next) {
		struct h2_pfs *now;
		int e = has_label(s, label)
				? h2_pfs_open(h2_pfs_fs(view_pfs(&s->view)), label, &now)
				: 1;

		if (e == 0)
			e = refresh(s->fuse, &s->view, now);
		if (e < 0)
			err = e;
	}
	pthread_mutex_unlock(&all_lock);
	return err;
}

static void enlist(struct session *s)
{
	pthread_mutex_lock(&all_lock);
	s->next = all;
	all = s;
	pthread_mutex_unlock(&all_lock);
}

static void unlist(const struct session *s)
{
	pthread_mutex_lock(&all_lock);
	for (struct session **link = &all; *link; link = &(*link)->next) {
		if (*link == s) {
			*link = s->next;
			break;
		}
	}
	pthread_mutex_unlock(&all_lock);
}

bool session_serves(const char *label)
{
	bool serves = false;

	pthread_mutex_lock(&all_lock);
	for (const struct session *s = all; s && !serves; s = s->next)
		serves = has_label(s, label) && !session_ended(s) && !session_ending(s);
	pthread_mutex_unlock(&all_lock);
	return serves;
}

int session_start(struct h2_pfs *pfs, const struct control_terms *terms, int fd, const char *dir,
		  bool debug, int event_fd, struct session **sessionp)
{
	struct session *s = calloc(1, sizeof(*s));
	char path[32];
	int view_err, err = -ENOMEM;

	if (!s) {
		h2_pfs_put(pfs);
		close(fd);
		return -ENOMEM;
	}
	s->event_fd = event_fd;
	pthread_mutex_init(&s->leader, NULL);
	s->dir = strdup(dir);
	view_err = init_view(s, pfs, terms);
	if (!view_err)
		s->fuse = new_fuse_session(NULL, debug, &s->view);
	snprintf(path, sizeof(path), "/dev/fd/%d", fd);
	if (s->fuse && terms->writable)
		s->flusher = flusher_new(s->fuse);
	if (!s->fuse || fuse_session_mount(s->fuse, path) != 0)
		close(fd);
	else if (s->dir && (s->flusher || !terms->writable)) {
		each_mount(remember_dev, s);
		err = start_threads(s);
	}
	if (err) {
		session_free(s);
		return view_err ? view_err : err;
	}
	enlist(s);
	*sessionp = s;
	return 0;
}

bool session_ended(const struct session *s)
{
	return atomic_load(&s->running) == 0;
}

bool session_ending(const struct session *s)
{
	struct pollfd p = {.fd = fuse_session_fd(s->fuse)};

	return poll(&p, 1, 0) > 0 && p.revents & (POLLERR | POLLHUP);
}

void session_stop(struct session *s)
{
	if (flusher_busy(s->flusher))
		return; /* it waits for the threads: next time */
	atomic_store(&s->stopping, true);
	for (unsigned i = 0; i < s->threads_count; i++)
		pthread_kill(s->threads[i], WAKE_SIGNAL);
}

static void free_states(struct session *s)
{
	struct ops_state *state = atomic_load(&s->view.state);

	while (state) {
		struct ops_state *before = state->before;

		h2_pfs_put(state->pfs);
		if (state != &s->first_state)
			free(state);
		state = before;
	}
}

void session_free(struct session *s)
{
	unlist(s);
	for (unsigned i = 0; i < s->threads_count; i++)
		pthread_join(s->threads[i], NULL);
	flusher_free(s->flusher);
	if (s->fuse)
		fuse_session_destroy(s->fuse);
	pthread_mutex_destroy(&s->leader);
	nodes_free(s->view.nodes);
	snapdir_free(s->view.snapdir);
	free_states(s);
	free(s->dir);
	free(s);
}

const char *session_dir(const struct session *s)
{
	return s->dir;
}

const char *session_device(const struct session *s)
{
	return s->dev;
}

const struct h2_pfs *session_pfs(const struct session *s)
{
	return view_pfs(&s->view);
}

const struct control_terms *session_terms(const struct session *s)
{
	return &s->terms;
}
