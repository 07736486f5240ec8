/* The verbs about single inodes and caches of mounts: destroy, destroy-inum, dumpchain, cidprune. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "admin.h"

/* ---- destroy, destroy-inum ---- */

static void complain_destroy(const char *what, int err)
{
	complain("%s: %s%s", what, error_text(err),
		 err == -EEXIST ? ": it is not lost; rm(1) removes names with their inodes"
		 : err == -ENOTEMPTY ? ": it is a directory with names in it"
		 : err == -EROFS ? ": it is mounted for reading only"
		 : err == -EPERM ? ": this needs root, or the user who mounted it"
		 : err == -ENOTTY ? ": is not in a mounted HAMMER2 filesystem"
				  : "");
}

/* The directory that a path's last name is in is asked to drop the name. */
static int destroy_name(const char *path)
{
	struct hammer2_ioc_destroy d = {.cmd = HAMMER2_DESTROY_NAME};
	char *for_dir = must_alloc(strdup(path)), *for_name = must_alloc(strdup(path));
	const char *name = basename(for_name);
	int fd = -1, err = 0;

	if (strlen(name) >= sizeof(d.path))
		err = -ENAMETOOLONG;
	if (!err) {
		strcpy(d.path, name);
		fd = open(dirname(for_dir), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 || ioctl(fd, HAMMER2IOC_DESTROY, &d) < 0)
			err = -errno;
	}
	if (fd >= 0)
		close(fd);
	free(for_name);
	free(for_dir);
	return err;
}

int verb_destroy(struct call *call)
{
	int code = EXIT_DONE;

	for (int i = 0; i < call->argc; i++) {
		int err = destroy_name(call->argv[i]);

		if (err) {
			complain_destroy(call->argv[i], err);
			code = EXIT_PROBLEM;
		} else if (!call->options.quiet) {
			out_name(stdout, call->argv[i], strlen(call->argv[i]));
			puts("\tok");
		}
	}
	return code;
}

static bool parse_inum(const char *text, uint64_t *inum)
{
	char *end;

	errno = 0;
	*inum = strtoull(text, &end, 0);
	return !errno && *end == '\0' && text[0] >= '0' && text[0] <= '9';
}

/* Open a path that must be in a mounted filesystem. */
static int open_mount(struct call *call, const char *name, struct admin *admin)
{
	int code = admin_open(call, name, false, admin);

	if (code == EXIT_DONE && !admin_is_mounted(admin)) {
		complain("%s: %s is for mounted filesystems", admin->name, call->verb);
		admin_close(admin);
		code = EXIT_USAGE;
	}
	return code;
}

int verb_destroy_inum(struct call *call)
{
	struct hammer2_ioc_destroy d = {.cmd = HAMMER2_DESTROY_INUM};
	struct admin admin;
	int code;

	for (int i = 0; i < call->argc; i++) {
		if (!parse_inum(call->argv[i], &d.inum)) {
			complain("destroy-inum: %s: is no inode number", call->argv[i]);
			return EXIT_USAGE;
		}
	}
	code = open_mount(call, NULL, &admin);
	if (code != EXIT_DONE)
		return code;
	if (!call->options.quiet)
		printf("deleting inodes on %s\n", admin.name);
	for (int i = 0; i < call->argc; i++) {
		parse_inum(call->argv[i], &d.inum);
		if (ioctl(admin.fd, HAMMER2IOC_DESTROY, &d) < 0) {
			complain_destroy(call->argv[i], -errno);
			code = EXIT_PROBLEM;
		} else if (!call->options.quiet) {
			printf("%s ok\n", call->argv[i]);
		}
	}
	admin_close(&admin);
	return code;
}

/* ---- dumpchain, cidprune ---- */

/* A request of a mount that anyone may make, and that says nothing. */
static int ask(struct call *call, unsigned long cmd, void *argument)
{
	struct admin admin;
	int code = open_mount(call, call->argc > 0 ? call->argv[0] : NULL, &admin);

	if (code != EXIT_DONE)
		return code;
	if (ioctl(admin.fd, cmd, argument) < 0) {
		complain("%s: %s: %s", admin.name, call->verb, error_text(-errno));
		code = EXIT_PROBLEM;
	}
	admin_close(&admin);
	return code;
}

int verb_dumpchain(struct call *call)
{
	uint64_t number = 0;
	uint32_t flags;

	if (call->argc > 1 && (!parse_inum(call->argv[1], &number) || number > UINT32_MAX)) {
		complain("dumpchain: %s: is no set of flags, which is a number", call->argv[1]);
		return EXIT_USAGE;
	}
	flags = (uint32_t)number;
	return ask(call, HAMMER2IOC_DEBUG_DUMP, &flags);
}

int verb_cidprune(struct call *call)
{
	uint8_t nothing[128] = {0};

	return ask(call, HAMMER2IOC_CIDPRUNE, nothing);
}
