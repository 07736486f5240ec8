/*
 * How mount.hammer2 finds the server that already has a filesystem open, and what the two say to
 * each other.
 *
 * The server listens on a Unix socket in a directory that only its user can enter; the name comes
 * from the identity of the volumes (device and inode numbers, partitions, offset, header copy) and
 * of the mount namespace. A lock file next to the socket is held (flock)
 *   - by a client from before it looks for a server until its mount is made or has failed,
 *   - by a server that ends, from the decision until its process is gone.
 * So two clients never start two servers for one filesystem, and no client talks to a server that
 * is about to go: the server asks for the lock without waiting and stays while a client has it.
 *
 * A conversation: the client sends OPEN with a label and gets a reply with the label chosen and
 * whether it may be written to; it makes the kernel's mount itself, with its own rights and
 * messages, and sends ATTACH with the FUSE descriptor; the server replies once it serves it.
 */
#ifndef FUSE_CONTROL_H
#define FUSE_CONTROL_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

#include "options.h"

#define CONTROL_VERSION 3u
#define CONTROL_IDENTITY_SIZE 4096

enum control_type {
	CONTROL_OPEN = 1, /* identity, label (may be empty), terms.writable, text: default label */
	CONTROL_ATTACH,   /* text: the mount point, terms; a descriptor comes with it */
	CONTROL_REPLY,    /* status, text: in words; after OPEN label, terms, limits */
	CONTROL_REFUSE,   /* the server is not the one that the client looked for */
	CONTROL_WAIT,     /* text: the device of a mount */
};

#define CONTROL_DEVICE_SIZE 32 /* "MAJOR:MINOR" as mountinfo has it */

/* How a PFS is mounted. */
struct control_terms {
	bool writable;
	bool block; /* the kernel's mount claims the block device; in a reply: it may */
	bool sync, dirsync;
	int32_t comp_algo, check_algo; /* of new objects, as in struct h2_new */
	char snapdir[256];             /* name of the virtual directory; empty: none */
};

/* What the first mount of a filesystem sets for all. */
struct control_limits {
	uint64_t cache_bytes;
	uint64_t dirty_bytes;
	uint32_t commit_seconds;
	uint32_t discard; /* 0 or 1 */
};

struct control_message {
	uint32_t version;
	uint32_t type;
	int32_t status; /* enum exit_code */
	uint32_t reserved;
	struct control_terms terms;
	struct control_limits limits; /* of the server */
	char label[256];
	char text[PATH_MAX];
	char identity[CONTROL_IDENTITY_SIZE];
};

struct control_place {
	char identity[CONTROL_IDENTITY_SIZE];
	bool usable; /* false: there is no safe directory; every mount gets a server of its own */
	char socket[sizeof(((struct sockaddr_un *)0)->sun_path)];
	char lock[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

/*
 * Find out who the volumes are and where their server listens. Returns 0; -E2BIG; or, after a
 * message, the error of looking at a volume.
 */
int control_place_init(struct control_place *place, const struct options *options);

/*
 * Take the lock; wait for it, or not (-EWOULDBLOCK). Returns a descriptor, which releases it when
 * closed, or a negative errno.
 */
int control_lock(const struct control_place *place, bool wait);

/*
 * Connect to the running server. Returns a descriptor; -ENOENT where none runs (what a killed one
 * left is removed); -EPERM where it is someone else's. The caller holds the lock.
 */
int control_connect(const struct control_place *place);

/*
 * Connect to each running server of this user; fn owns the descriptor, and returns whether to go
 * on.
 */
void control_each_server(bool (*fn)(void *user, int fd), void *user);

/* Listen. The caller holds the lock and found no server. Returns a descriptor or -errno. */
int control_listen(const struct control_place *place);

/* Remove the socket, by the server that listens on it. */
void control_remove_socket(const struct control_place *place);

/* Remove socket and lock file. The caller holds the lock. */
void control_remove(const struct control_place *place);

/* Accept a connection of the same user. Returns a descriptor or -errno. */
int control_accept(int listener);

/* Limit how long a peer may keep us waiting; 0: no limit. */
void control_set_timeout(int fd, unsigned seconds);

/* Send a message, with a descriptor unless it is -1. Returns 0 or -errno. */
int control_send(int fd, const struct control_message *message, int passed);

/*
 * Receive a message. *passed receives the descriptor that came with it, or -1; NULL: none is
 * wanted. Returns 0; -EPIPE where the peer is gone; -EPROTO; or what the system says.
 */
int control_receive(int fd, struct control_message *message, int *passed);

/* A message with everything but these zero. */
void control_fill(struct control_message *message, enum control_type type, int status,
		  const char *text);

#endif
