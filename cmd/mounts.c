/* See mounts.h. The kernel tells of mounts in /proc/self/mountinfo; the rest is asked of them. */
#include "mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <hammer2/ioctl.h>
#include <hammer2/volume.h>

#include "hammer2.h"

/* mountinfo has blanks and the like as \ooo. */
static void unescape(char *text)
{
	char *to = text;

	for (; *text; text++) {
		if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] && text[3]) {
			*to++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 |
				       (text[3] - '0'));
			text += 3;
		} else {
			*to++ = *text;
		}
	}
	*to = '\0';
}

/* Take a line apart, if it is one of ours. */
static bool parse(char *line, char **dir, char **source, dev_t *device)
{
	char *behind = strstr(line, " - "), *type, *numbers, *save = NULL;
	unsigned major_number, minor_number;

	if (!behind)
		return false;
	*behind = '\0';
	type = strtok_r(behind + 3, " ", &save);
	*source = strtok_r(NULL, " \n", &save);
	if (!type || !*source ||
	    (strcmp(type, "fuse.hammer2") != 0 && strcmp(type, "fuseblk.hammer2") != 0))
		return false;
	strtok_r(line, " ", &save);
	strtok_r(NULL, " ", &save);
	numbers = strtok_r(NULL, " ", &save);
	strtok_r(NULL, " ", &save);
	*dir = strtok_r(NULL, " ", &save);
	if (!*dir || sscanf(numbers, "%u:%u", &major_number, &minor_number) != 2)
		return false;
	*device = makedev(major_number, minor_number);
	unescape(*dir);
	unescape(*source);
	return true;
}

/* Look at the mount itself. Returns whether it is what the directory shows. */
static bool look(struct mount_point *m, dev_t device)
{
	struct hammer2_ioc_status status = {.server = 0};
	int fd = open(m->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (fd < 0) {
		m->error = -errno;
		return true;
	}
	if (fstat(fd, &st) != 0)
		m->error = -errno;
	else if (st.st_dev == device && ioctl(fd, HAMMER2IOC_STATUS, &status) == 0)
		m->server = status.server;
	close(fd);
	return m->error || st.st_dev == device;
}

int mounts_read(struct mount_point **list, size_t *count)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, *dir, *source;
	size_t room = 0;
	dev_t device;

	*list = NULL;
	*count = 0;
	if (!file)
		return -errno;
	while (getline(&line, &room, file) > 0) {
		struct mount_point m = {.error = 0};

		if (!parse(line, &dir, &source, &device))
			continue;
		m.dir = must_alloc(strdup(dir));
		m.source = must_alloc(strdup(source));
		if (!look(&m, device)) {
			free(m.dir);
			free(m.source);
			continue;
		}
		*list = must_alloc(reallocarray(*list, *count + 1, sizeof(**list)));
		(*list)[(*count)++] = m;
	}
	free(line);
	fclose(file);
	return 0;
}

void mounts_free(struct mount_point *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(list[i].dir);
		free(list[i].source);
	}
	free(list);
}

static size_t volumes_length(const char *source)
{
	const char *at = strrchr(source, '@');

	return at ? (size_t)(at - source) : strlen(source);
}

bool mounts_same_filesystem(const struct mount_point *a, const struct mount_point *b)
{
	size_t length = volumes_length(a->source);

	if (a->server && b->server)
		return a->server == b->server;
	return length == volumes_length(b->source) && strncmp(a->source, b->source, length) == 0;
}

static bool is_mount_of(const struct mount_point *m, const char *label)
{
	struct hammer2_ioc_pfs p = {.name_key = HAMMER2_PFS_THIS};
	int fd = open(m->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool is = fd >= 0 && ioctl(fd, HAMMER2IOC_PFS_GET, &p) == 0 &&
		  strncmp(p.name, label, sizeof(p.name)) == 0;

	if (fd >= 0)
		close(fd);
	return is;
}

char *mounts_find_pfs(uint64_t server, const char *label)
{
	struct mount_point *list;
	char *found = NULL;
	size_t count;

	if (mounts_read(&list, &count) != 0)
		return NULL;
	for (size_t i = 0; i < count && !found; i++) {
		if (server && list[i].server == server && is_mount_of(&list[i], label))
			found = must_alloc(strdup(list[i].dir));
	}
	mounts_free(list, count);
	return found;
}

/* Whether a source names the file; a relative name could be any. */
static bool source_has(const char *source, const struct stat *file)
{
	struct h2_spec spec;
	struct stat st;
	bool has = false;

	if (h2_spec_parse(source, &spec) != 0)
		return false;
	for (unsigned i = 0; i < spec.count && !has; i++)
		has = spec.volumes[i][0] == '/' && stat(spec.volumes[i], &st) == 0 &&
		      (S_ISBLK(st.st_mode) ? S_ISBLK(file->st_mode) && st.st_rdev == file->st_rdev
					   : st.st_dev == file->st_dev && st.st_ino == file->st_ino);
	h2_spec_fini(&spec);
	return has;
}

char *mounts_find_volume(const char *volume)
{
	struct mount_point *list;
	char *found = NULL;
	struct stat st;
	size_t count;

	if (stat(volume, &st) != 0 || mounts_read(&list, &count) != 0)
		return NULL;
	for (size_t i = 0; i < count && !found; i++) {
		if (source_has(list[i].source, &st))
			found = must_alloc(strdup(list[i].dir));
	}
	mounts_free(list, count);
	return found;
}
