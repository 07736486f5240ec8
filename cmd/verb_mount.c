/*
 * The verb mountall: mount the HAMMER2 entries of fstab(5) that are not mounted, as "mount -a -t
 * hammer2" does, which a path that differs only in how it is written does not confuse.
 */
#include <errno.h>
#include <mntent.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hammer2.h"
#include "mounts.h"

/* Where mount(8) looks for the program of a filesystem. */
#define INSTALLED "/usr/sbin/mount.hammer2"
#define INSTALLED_TOO "/sbin/mount.hammer2"

static bool is_ours(const struct mntent *entry)
{
	return strcmp(entry->mnt_type, "hammer2") == 0 ||
	       strcmp(entry->mnt_type, "fuse.hammer2") == 0;
}

static bool is_mounted(const struct mount_point *list, size_t count, const char *dir)
{
	char *path = realpath(dir, NULL);
	bool found = false;

	for (size_t i = 0; path && i < count; i++)
		found = found || strcmp(list[i].dir, path) == 0;
	free(path);
	return found;
}

/* Run a program and wait for it. Returns its exit code, or -1 after a message. */
static int run(const char *const *argv)
{
	pid_t pid;
	int err = posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)(uintptr_t)argv, environ);
	int status;

	if (err) {
		complain("%s: %s", argv[0], strerror(err));
		return -1;
	}
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -1;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The mount.hammer2 beside this program, for where none is installed; to be freed, or NULL. */
static char *program_beside(void)
{
	char path[4096], *slash, *beside;
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (len < 0)
		return NULL;
	path[len] = '\0';
	slash = strrchr(path, '/');
	if (asprintf(&beside, "%.*s/mount.hammer2", (int)(slash - path), path) < 0)
		return NULL;
	if (access(beside, X_OK) == 0)
		return beside;
	free(beside);
	return NULL;
}

static int mount_entry(const struct call *call, const struct mntent *entry)
{
	const char *fstab = call->options.fstab;
	const char *by_mount[] = {"mount", entry->mnt_dir, fstab ? "-T" : NULL, fstab, NULL};
	char *program = NULL;
	int code;

	if (access(INSTALLED, X_OK) != 0 && access(INSTALLED_TOO, X_OK) != 0)
		program = program_beside();
	if (program) {
		const char *by_helper[] = {program, entry->mnt_fsname, entry->mnt_dir, "-o",
					   entry->mnt_opts, NULL};

		code = run(by_helper);
	} else {
		code = run(by_mount);
	}
	free(program);
	return code;
}

/* Whatever kept one from being mounted has been said. */
static int handle_entry(const struct call *call, const struct mntent *entry)
{
	if (call->options.dry_run) {
		printf("would mount %s on %s\n", entry->mnt_fsname, entry->mnt_dir);
		return EXIT_DONE;
	}
	if (mount_entry(call, entry) != 0)
		return hasmntopt(entry, "nofail") ? EXIT_DONE : EXIT_PROBLEM;
	if (call->options.verbose)
		printf("%s is mounted on %s\n", entry->mnt_fsname, entry->mnt_dir);
	return EXIT_DONE;
}

int verb_mountall(struct call *call)
{
	const char *fstab = call->options.fstab ? call->options.fstab : "/etc/fstab";
	FILE *file = setmntent(fstab, "re");
	int code = EXIT_DONE;
	struct mntent *entry;

	if (!file) {
		complain("%s: %s", fstab, strerror(errno));
		return EXIT_PROBLEM;
	}
	while ((entry = getmntent(file)) != NULL) {
		struct mount_point *list;
		size_t count;
		int c;

		if (!is_ours(entry) || hasmntopt(entry, "noauto"))
			continue;
		if (mounts_read(&list, &count) != 0)
			count = 0;
		c = is_mounted(list, count, entry->mnt_dir) ? EXIT_DONE : handle_entry(call, entry);
		code = c > code ? c : code;
		mounts_free(list, count);
	}
	endmntent(file);
	return code;
}
