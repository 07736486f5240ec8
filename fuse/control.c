/*
 * Finding, locking and talking to the server of a filesystem.
 *
 * Nothing here trusts /tmp: the directory is used only if it is a directory of ours that no one
 * else can enter, and both sides check the other's user id. Where no such directory can be had,
 * mounts work all the same, each with a server of its own.
 */
#include "control.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <unistd.h>

#define PROGRAM "mount.hammer2"

#define PATH_IN_DIRECTORY 22 /* bytes of "/0123456789abcdef.sock" */
#define IDENTITY_MAX 60 /* bytes of one volume's identity; longer partition names do not exist */

/* A volume is "PATH" or "PATH:PARTITION"; *partition receives what stands behind the colon. */
static int stat_volume(const char *volume, struct stat *st, const char **partition)
{
	char path[PATH_MAX];
	const char *colon = strrchr(volume, ':');

	*partition = "";
	if (stat(volume, st) == 0)
		return 0;
	if (errno != ENOENT || !colon || (size_t)(colon - volume) >= sizeof(path))
		return -errno;
	memcpy(path, volume, (size_t)(colon - volume));
	path[colon - volume] = '\0';
	if (stat(path, st) != 0)
		return -errno;
	*partition = colon + 1;
	return 0;
}

static int identify_volume(const char *volume, char text[IDENTITY_MAX])
{
	const char *partition;
	struct stat st;
	int err = stat_volume(volume, &st, &partition);

	if (err) {
		fprintf(stderr, PROGRAM ": %s: %s\n", volume, strerror(-err));
		return err;
	}
	if (S_ISBLK(st.st_mode))
		snprintf(text, IDENTITY_MAX, "b%u:%u/%.8s", major(st.st_rdev), minor(st.st_rdev),
			 partition);
	else
		snprintf(text, IDENTITY_MAX, "f%" PRIx64 ":%" PRIx64 "/%.8s", (uint64_t)st.st_dev,
			 (uint64_t)st.st_ino, partition);
	return 0;
}

static int compare_identities(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* The server lives in one mount namespace; a mount from another one needs a server of its own. */
static uint64_t mount_namespace(void)
{
	struct stat st;

	return stat("/proc/self/ns/mnt", &st) == 0 ? st.st_ino : 0;
}

/* The volumes can be given in any order: the identity has them sorted. */
static int make_identity(struct control_place *place, const struct options *o)
{
	char texts[H2_VOLUMES_MAX][IDENTITY_MAX];
	size_t len;
	int err;

	for (unsigned i = 0; i < o->spec.count; i++) {
		err = identify_volume(o->spec.volumes[i], texts[i]);
		if (err)
			return err;
	}
	qsort(texts, o->spec.count, sizeof(texts[0]), compare_identities);
	len = (size_t)snprintf(place->identity, sizeof(place->identity),
			       "ns=%" PRIu64 " offset=%" PRIu64 " header=%d", mount_namespace(),
			       o->offset, o->header_copy);
	for (unsigned i = 0; i < o->spec.count; i++)
		len += (size_t)snprintf(place->identity + len, sizeof(place->identity) - len, " %s",
					texts[i]);
	return len < sizeof(place->identity) ? 0 : -E2BIG;
}

/* FNV-1a. Two filesystems of equal hash are told apart by the identity in the messages. */
static uint64_t hash_text(const char *text)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	return hash;
}

/* Make the directory, or see that it is ours alone. */
static bool directory_usable(const char *path)
{
	struct stat st;

	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return false;
	return lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
	       (st.st_mode & 077) == 0;
}

/* The directory of this user's sockets, made where it does not exist. */
static bool find_directory(char *path, size_t size)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	struct stat st;
	int n;

	if (geteuid() == 0) {
		n = snprintf(path, size, "/run/hammer2");
		return (size_t)n < size && directory_usable(path);
	}
	if (runtime && runtime[0] == '/' && stat(runtime, &st) == 0 && st.st_uid == geteuid()) {
		n = snprintf(path, size, "%s/hammer2", runtime);
		if (n > 0 && (size_t)n < size && directory_usable(path))
			return true;
	}
	n = snprintf(path, size, "/tmp/hammer2-%u", geteuid());
	return (size_t)n < size && directory_usable(path);
}

static bool choose_paths(struct control_place *place)
{
	char path[sizeof(place->socket) - PATH_IN_DIRECTORY];
	uint64_t hash = hash_text(place->identity);

	if (!find_directory(path, sizeof(path)))
		return false;
	snprintf(place->socket, sizeof(place->socket), "%s/%016" PRIx64 ".sock", path, hash);
	snprintf(place->lock, sizeof(place->lock), "%s/%016" PRIx64 ".lock", path, hash);
	return true;
}

int control_place_init(struct control_place *place, const struct options *options)
{
	int err;

	memset(place, 0, sizeof(*place));
	err = make_identity(place, options);
	if (!err)
		place->usable = choose_paths(place);
	return err;
}

/* Whether the locked file is still the one that others find under its name. */
static bool is_current(const char *path, int fd)
{
	struct stat here, there;

	return fstat(fd, &here) == 0 && stat(path, &there) == 0 && here.st_ino == there.st_ino &&
	       here.st_dev == there.st_dev;
}

int control_lock(const struct control_place *place, bool wait)
{
	for (;;) {
		int fd = open(place->lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		int err;

		if (fd < 0)
			return -errno;
		if (flock(fd, wait ? LOCK_EX : LOCK_EX | LOCK_NB) != 0) {
			err = -errno;
			close(fd);
			if (err == -EINTR)
				continue;
			return err;
		}
		if (is_current(place->lock, fd))
			return fd;
		/* A server that ended removed it while we waited. */
		close(fd);
	}
}

static bool same_user(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && cred.uid == geteuid();
}

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	return address;
}

/* Connect to a server of the same user. Returns a descriptor or -errno. */
static int connect_to(const char *path)
{
	struct sockaddr_un address = address_of(path);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		err = -errno;
	else if (!same_user(fd))
		err = -EPERM;
	if (!err)
		return fd;
	close(fd);
	return err;
}

int control_connect(const struct control_place *place)
{
	int fd = connect_to(place->socket);

	if (fd != -ECONNREFUSED && fd != -ENOENT)
		return fd;
	unlink(place->socket);
	return -ENOENT;
}

void control_each_server(bool (*fn)(void *user, int fd), void *user)
{
	char path[sizeof(((struct control_place *)0)->socket)];
	size_t len;
	struct dirent *ent;
	bool more = true;
	DIR *dir;

	if (!find_directory(path, sizeof(path) - PATH_IN_DIRECTORY))
		return;
	dir = opendir(path);
	if (!dir)
		return;
	len = strlen(path);
	while (more && (ent = readdir(dir))) {
		size_t name_len = strlen(ent->d_name);
		int fd;

		if (name_len != PATH_IN_DIRECTORY - 1 || !strstr(ent->d_name, ".sock"))
			continue;
		snprintf(path + len, sizeof(path) - len, "/%.*s", PATH_IN_DIRECTORY - 1,
			 ent->d_name);
		fd = connect_to(path);
		if (fd >= 0)
			more = fn(user, fd);
	}
	closedir(dir);
}

int control_listen(const struct control_place *place)
{
	struct sockaddr_un address = address_of(place->socket);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 ||
	    listen(fd, 16) != 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

void control_remove_socket(const struct control_place *place)
{
	unlink(place->socket);
}

void control_remove(const struct control_place *place)
{
	unlink(place->socket);
	unlink(place->lock);
}

int control_accept(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (!same_user(fd)) {
		close(fd);
		return -EPERM;
	}
	return fd;
}

void control_set_timeout(int fd, unsigned seconds)
{
	struct timeval tv = {.tv_sec = (time_t)seconds};

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

int control_send(int fd, const struct control_message *message, int passed)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {(void *)(uintptr_t)message, sizeof(*message)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (passed >= 0) {
		struct cmsghdr *cmsg;

		memset(&control, 0, sizeof(control));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &passed, sizeof(int));
	}
	for (;;) {
		ssize_t n = sendmsg(fd, &msg, MSG_NOSIGNAL);

		if (n == (ssize_t)sizeof(*message))
			return 0;
		if (n >= 0)
			return -EPROTO;
		if (errno != EINTR)
			return -errno;
	}
}

/* Take the descriptor out of what was received; at most one fits. */
static int passed_descriptor(struct msghdr *msg)
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);
	int fd = -1;

	if (cmsg && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS &&
	    cmsg->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(cmsg), sizeof(int));
	return fd;
}

static ssize_t receive_packet(int fd, struct msghdr *msg)
{
	ssize_t n;

	do
		n = recvmsg(fd, msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int control_receive(int fd, struct control_message *message, int *passed)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {message, sizeof(*message)};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = receive_packet(fd, &msg);
	int got;

	if (passed)
		*passed = -1;
	if (n < 0)
		return (int)n;
	got = passed_descriptor(&msg);
	if (n == 0 || n != (ssize_t)sizeof(*message) || message->version != CONTROL_VERSION) {
		if (got >= 0)
			close(got);
		return n == 0 ? -EPIPE : -EPROTO;
	}
	message->label[sizeof(message->label) - 1] = '\0';
	message->text[sizeof(message->text) - 1] = '\0';
	message->identity[sizeof(message->identity) - 1] = '\0';
	if (passed)
		*passed = got;
	else if (got >= 0)
		close(got);
	return 0;
}

void control_fill(struct control_message *message, enum control_type type, int status,
		  const char *text)
{
	memset(message, 0, sizeof(*message));
	message->version = CONTROL_VERSION;
	message->type = type;
	message->status = status;
	if (text)
		snprintf(message->text, sizeof(message->text), "%s", text);
}
