/*
 * The server of one filesystem: the volumes it has open, the PFSs it has mounted, and the socket
 * on which more can be asked for.
 */
#ifndef FUSE_SERVER_H
#define FUSE_SERVER_H

#include "control.h"
#include "options.h"

struct server;

/*
 * Open the filesystem. listener: where clients come, or -1; owned from then on. Returns EXIT_OK, or
 * another exit code with the reason in message->text (findings were logged before).
 */
int server_new(const struct options *options, const struct control_place *place, int listener,
	       struct control_message *message, struct server **serverp);

/* Hold one conversation with a client, and close fd. */
void server_talk(struct server *server, int fd);

/* Serve what comes until the last PFS is unmounted, or a signal asks to end. */
void server_run(struct server *server);

/*
 * Write what was changed and close everything. Returns EXIT_OK; or EXIT_MOUNT, after a message,
 * where changes are lost.
 */
int server_free(struct server *server);

/*
 * Mount the PFS that the options name on dir from within the server's own process. Returns an
 * exit code, after a message if it is not EXIT_OK.
 */
int server_mount_here(struct server *server, const struct options *options, const char *dir);

#endif
