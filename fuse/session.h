/*
 * One mounted PFS: the kernel's mount, the FUSE session, and the threads that serve it.
 */
#ifndef FUSE_SESSION_H
#define FUSE_SESSION_H

#include <hammer2/fs.h>
#include <stdbool.h>

#include "control.h"
#include "options.h"

struct session;

/*
 * Make the kernel's mount on the absolute path dir, writable and as the claim to a block device as
 * terms say. Returns EXIT_OK and the FUSE descriptor, or another exit code after a message.
 */
int session_mount(const struct options *options, const struct control_terms *terms, const char *dir,
		  int *fdp);

/* Take whatever is mounted on dir away from there, also while it is in use. */
void session_detach_path(const char *dir);

/*
 * Serve the PFS on the FUSE descriptor of a mount on dir. Owns pfs and fd from then on, also when
 * it fails. When the mount is gone and the last thread has ended, 1 is added to the eventfd
 * event_fd. Returns 0 or -errno.
 */
int session_start(struct h2_pfs *pfs, const struct control_terms *terms, int fd, const char *dir,
		  bool debug, int event_fd, struct session **sessionp);

/* Whether all threads have ended. */
bool session_ended(const struct session *session);

/* Whether the kernel has ended the mount: the threads will end by themselves. */
bool session_ending(const struct session *session);

/*
 * A PFS was rolled back: let all its mounts in this process show what it has now. Returns 0, or an error
 * with which some may show what it had. Any thread.
 */
int session_refresh(const char *label);

/* Whether a PFS is mounted from this process, by a mount that has not ended. Any thread. */
bool session_serves(const char *label);

/*
 * Take all mounts of the session away; threads end once nobody uses them any more. What the kernel
 * has cached is written before, by the threads.
 */
void session_unmount(struct session *session);

/* Make the threads end now. To be repeated until they have: one may have been about to wait. */
void session_stop(struct session *session);

/* Release an ended session. */
void session_free(struct session *session);

const char *session_dir(const struct session *session);
const char *session_device(const struct session *session); /* "MAJOR:MINOR"; empty: unknown */
const struct h2_pfs *session_pfs(const struct session *session);
const struct control_terms *session_terms(const struct session *session);

/* To be called once in a process that serves: session_stop() interrupts threads with a signal. */
void session_prepare_process(void);

#endif
