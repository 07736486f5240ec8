/*
 * Unmounting so that it is over when it seems to be.
 *
 * The kernel does not wait for the server of a FUSE mount unless that stands for a block device. So
 * the helper tells the server before that it is interested in the end, and waits for the connection
 * to be closed. Where no server is found (another user's, or one without a socket), it unmounts
 * without waiting.
 */
#include "unmount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "control.h"

#define PROGRAM "umount.hammer2"
#define SERVER_SECONDS 10 /* how long a server may take to say whether the mount is its own */

struct request {
	const char *dir;
	int flags; /* of umount2(2) */
	bool or_read_only;
};

/* The device of a mount as mountinfo has it. */
static bool find_device(const char *dir, char dev[CONTROL_DEVICE_SIZE])
{
	int fd = open(dir, O_PATH | O_CLOEXEC);
	struct stat st;
	bool ok = fd >= 0 && fstat(fd, &st) == 0;

	if (fd >= 0)
		close(fd);
	if (ok)
		snprintf(dev, CONTROL_DEVICE_SIZE, "%u:%u", major(st.st_dev), minor(st.st_dev));
	return ok;
}

struct search {
	const char *dev;
	int server; /* -1: not found */
};

/* Whether to ask another server, too. */
static bool ask(void *user, int fd)
{
	struct control_message *m = malloc(sizeof(*m));
	struct search *search = user;
	bool found = false;

	if (m) {
		control_set_timeout(fd, SERVER_SECONDS);
		control_fill(m, CONTROL_WAIT, 0, search->dev);
		found = control_send(fd, m, -1) == 0 && control_receive(fd, m, NULL) == 0 &&
			m->type == CONTROL_REPLY && m->status == EXIT_OK;
	}
	free(m);
	if (found)
		search->server = fd;
	else
		close(fd);
	return !found;
}

static void wait_for_end(int server)
{
	char byte;

	control_set_timeout(server, 0);
	while (recv(server, &byte, 1, 0) < 0 && errno == EINTR)
		continue;
}

static int unmount(const struct request *r)
{
	char dev[CONTROL_DEVICE_SIZE];
	struct search search = {.dev = dev, .server = -1};
	int err = 0;

	if (!(r->flags & MNT_DETACH) && find_device(r->dir, dev))
		control_each_server(ask, &search);
	if (umount2(r->dir, r->flags) != 0) {
		err = errno;
		if (err == EBUSY && r->or_read_only &&
		    mount(NULL, r->dir, NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0) {
			fprintf(stderr, PROGRAM ": %s: busy; remounted read-only\n", r->dir);
			err = 0;
		}
	} else if (search.server >= 0) {
		wait_for_end(search.server);
	}
	if (search.server >= 0)
		close(search.server);
	if (!err)
		return EXIT_OK;
	fprintf(stderr, PROGRAM ": %s: %s\n", r->dir, strerror(err));
	return err == EPERM ? EXIT_USAGE : EXIT_MOUNT;
}

int unmount_main(int argc, char **argv)
{
	struct request r = {.flags = UMOUNT_NOFOLLOW};
	int c;

	while ((c = getopt(argc, argv, "fnlrvN:t:")) != -1) {
		switch (c) {
		case 'f':
			r.flags |= MNT_FORCE;
			break;
		case 'l':
			r.flags |= MNT_DETACH;
			break;
		case 'r':
			r.or_read_only = true;
			break;
		case 'n':
		case 'v':
		case 'N':
		case 't':
			break;
		default:
			return EXIT_USAGE;
		}
	}
	if (argc - optind != 1) {
		fprintf(stderr, "Usage: " PROGRAM " DIRECTORY [-fnlrv]\n");
		return EXIT_USAGE;
	}
	r.dir = argv[optind];
	return unmount(&r);
}
