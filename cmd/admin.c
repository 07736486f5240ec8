/* See admin.h. */
#include "admin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static int request(const struct admin *admin, unsigned long cmd, void *argument)
{
	return ioctl(admin->fd, cmd, argument) < 0 ? -errno : 0;
}

/* Whether the path is in a mounted HAMMER2: its descriptor; -ENOTTY: no; or the error of opening. */
static int open_mounted(const char *path)
{
	struct hammer2_ioc_version version;
	struct stat st;
	int fd;

	if (stat(path, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		return -ENOTTY;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -errno;
	memset(&version, 0, sizeof(version));
	if (ioctl(fd, HAMMER2IOC_VERSION_GET, &version) == 0)
		return fd;
	close(fd);
	return S_ISDIR(st.st_mode) ? -ENOTDIR : -ENOTTY;
}

bool admin_is_path_of_mount(const char *name)
{
	int fd = open_mounted(name);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

int admin_open(struct call *call, const char *name, bool write, struct admin *admin)
{
	char *arg;

	*admin = (struct admin){.fd = -1};
	admin->name = name ? name : call->options.select ? call->options.select : ".";
	admin->fd = open_mounted(admin->name);
	if (admin->fd >= 0)
		return EXIT_DONE;
	if (admin->fd == -ENOTDIR) {
		complain("%s: is not in a mounted HAMMER2 filesystem, and is no volume; option -s "
			 "names one",
			 admin->name);
		admin->fd = -1;
		return EXIT_USAGE;
	}
	if (admin->fd == -EACCES) {
		complain("%s: %s", admin->name, strerror(EACCES));
		admin->fd = -1;
		return EXIT_PROBLEM;
	}
	admin->fd = -1;
	call->options.write = write;
	arg = (char *)(uintptr_t)admin->name;
	return target_open(call, &arg, 1, TARGET_FS, &admin->target);
}

void admin_close(struct admin *admin)
{
	if (admin->fd >= 0)
		close(admin->fd);
	else
		target_close(&admin->target);
	admin->fd = -1;
}

/* ---- PFSs ---- */

static void from_info(struct admin_pfs *pfs, const struct h2_pfs_info *info)
{
	*pfs = (struct admin_pfs){
		.key = info->key,
		.type = info->meta.pfs_type,
		.subtype = info->meta.pfs_subtype,
		.clid = info->meta.pfs_clid,
		.fsid = info->meta.pfs_fsid,
	};
	memcpy(pfs->label, info->label, sizeof(pfs->label));
}

static void from_ioctl(struct admin_pfs *pfs, const struct hammer2_ioc_pfs *p)
{
	*pfs = (struct admin_pfs){
		.key = p->name_key,
		.type = p->pfs_type,
		.subtype = p->pfs_subtype,
	};
	memcpy(&pfs->clid, p->pfs_clid, sizeof(pfs->clid));
	memcpy(&pfs->fsid, p->pfs_fsid, sizeof(pfs->fsid));
	memcpy(pfs->label, p->name, sizeof(pfs->label) - 1);
}

static int by_label(const void *a, const void *b)
{
	const struct admin_pfs *x = a, *y = b;

	return strcmp(x->label, y->label);
}

static struct admin_pfs *list_mounted(struct admin *admin, size_t *count, int *code)
{
	struct admin_pfs *list = NULL;
	struct hammer2_ioc_pfs p = {.name_key = 0};
	size_t room = 0;
	int err;

	while ((err = request(admin, HAMMER2IOC_PFS_GET, &p)) == 0) {
		if (*count == room) {
			room = room ? 2 * room : 16;
			list = must_alloc(reallocarray(list, room, sizeof(*list)));
		}
		from_ioctl(&list[(*count)++], &p);
		if (p.name_next == HAMMER2_PFS_END)
			break;
		p.name_key = p.name_next;
	}
	if (err && err != -ENOENT) {
		complain("%s: the PFSs cannot be listed: %s", admin->name, strerror(-err));
		*code = EXIT_PROBLEM;
	}
	return list;
}

struct admin_pfs *admin_list(struct admin *admin, size_t *count, unsigned *damaged, int *code)
{
	struct h2_pfs_info *infos;
	struct admin_pfs *list;

	*count = 0;
	*code = EXIT_DONE;
	if (admin_is_mounted(admin)) {
		list = list_mounted(admin, count, code);
	} else {
		infos = target_list_pfs(&admin->target, count, damaged);
		list = must_alloc(calloc(*count + 1, sizeof(*list)));
		for (size_t i = 0; i < *count; i++)
			from_info(&list[i], &infos[i]);
		free(infos);
	}
	if (*count > 0)
		qsort(list, *count, sizeof(*list), by_label);
	return list;
}

int admin_find(struct admin *admin, const char *label, struct admin_pfs *pfs)
{
	struct hammer2_ioc_pfs p = {.name_key = 0};
	struct h2_pfs *opened;
	int err;

	if (strlen(label) > H2_NAME_MAX)
		return -ENAMETOOLONG;
	if (admin_is_mounted(admin)) {
		strcpy(p.name, label);
		err = request(admin, HAMMER2IOC_PFS_LOOKUP, &p);
		if (!err)
			from_ioctl(pfs, &p);
		return err;
	}
	err = h2_pfs_open(admin->target.fs, label, &opened);
	if (err)
		return err;
	from_info(pfs, h2_pfs_get_info(opened));
	h2_pfs_put(opened);
	return 0;
}

void admin_label(struct admin *admin, char label[H2_NAME_MAX + 1])
{
	struct hammer2_ioc_volume_list2 list;
	const char *named = admin->target.spec.label;

	label[0] = '\0';
	if (!admin_is_mounted(admin)) {
		snprintf(label, H2_NAME_MAX + 1, "%s", named ? named : "");
		return;
	}
	memset(&list, 0, sizeof(list));
	if (request(admin, HAMMER2IOC_VOLUME_LIST2, &list) == 0)
		memcpy(label, list.pfs_name, H2_NAME_MAX);
	label[H2_NAME_MAX] = '\0';
}

static int fits(const char *label)
{
	return strlen(label) > H2_NAME_MAX ? -ENAMETOOLONG : 0;
}

int admin_create(struct admin *admin, const char *label, const struct h2_pfs_ids *ids)
{
	struct hammer2_ioc_pfs p = {.pfs_type = H2_PFS_MASTER};
	int err = fits(label);

	if (err || !admin_is_mounted(admin))
		return err ? err : h2_pfs_create(admin->target.fs, label, ids);
	strcpy(p.name, label);
	if (ids) {
		memcpy(p.pfs_clid, &ids->clid, sizeof(p.pfs_clid));
		memcpy(p.pfs_fsid, &ids->fsid, sizeof(p.pfs_fsid));
	}
	return request(admin, HAMMER2IOC_PFS_CREATE, &p);
}

int admin_delete(struct admin *admin, const char *label)
{
	struct hammer2_ioc_pfs p = {.name_key = 0};
	int err = fits(label);

	if (err || !admin_is_mounted(admin))
		return err ? err : h2_pfs_delete(admin->target.fs, label);
	strcpy(p.name, label);
	return request(admin, HAMMER2IOC_PFS_DELETE, &p);
}

int admin_rename(struct admin *admin, const char *label, const char *new_label)
{
	struct hammer2_ioc_pfs_rename r = {.name = ""};
	int err = fits(label);

	if (!err)
		err = fits(new_label);
	if (err || !admin_is_mounted(admin))
		return err ? err : h2_pfs_rename(admin->target.fs, label, new_label);
	strcpy(r.name, label);
	strcpy(r.new_name, new_label);
	return request(admin, HAMMER2IOC_PFS_RENAME, &r);
}

int admin_snapshot(struct admin *admin, const char *origin, const char *label)
{
	struct hammer2_ioc_pfs_snapshot_of s = {.name = ""};
	int err = fits(label);

	if (!err)
		err = fits(origin);
	if (err || !admin_is_mounted(admin))
		return err ? err : h2_pfs_snapshot(admin->target.fs, origin, label, NULL);
	strcpy(s.name, label);
	strcpy(s.origin, origin);
	return request(admin, HAMMER2IOC_PFS_SNAPSHOT_OF, &s);
}

int admin_rollback(struct admin *admin, const char *label, const char *snapshot, const char *keep)
{
	struct hammer2_ioc_pfs_rollback r = {.name = ""};
	int err = fits(label);

	if (!err)
		err = fits(snapshot);
	if (!err && keep)
		err = fits(keep);
	if (err || !admin_is_mounted(admin))
		return err ? err
			   : h2_pfs_rollback(admin->target.fs, label, snapshot, keep, NULL);
	strcpy(r.name, label);
	strcpy(r.snapshot, snapshot);
	strcpy(r.keep, keep ? keep : "");
	return request(admin, HAMMER2IOC_PFS_ROLLBACK, &r);
}

int admin_inode_get(const char *path, struct hammer2_ioc_inode *inode)
{
	struct admin admin = {.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
	int err;

	if (admin.fd < 0)
		return -errno;
	err = request(&admin, HAMMER2IOC_INODE_GET, inode);
	close(admin.fd);
	return err;
}

const char *admin_advice(int err)
{
	switch (-err) {
	case EEXIST:
		return "there is a PFS with that label";
	case ENOENT:
		return "there is no PFS with that label; \"hammer2 pfs-list\" shows them";
	case EBUSY:
		return "it is mounted; unmount it first";
	case EPERM:
		return "not permitted: needs root, or the user who mounted the filesystem; and the "
		       "only PFS cannot be removed";
	case EINVAL:
		return "a label has 1 to 255 bytes, and none of \"/@:\"";
	case EROFS:
		return "it is mounted for reading only, or its volumes cannot be changed";
	default:
		return NULL;
	}
}

/* ---- the filesystem ---- */

int admin_grow(struct admin *admin, uint64_t size, uint64_t *new_size, bool *modified)
{
	struct hammer2_ioc_growfs g = {.size = size};
	uint64_t before;
	int err;

	if (admin_is_mounted(admin)) {
		err = request(admin, HAMMER2IOC_GROWFS, &g);
		*new_size = g.size;
		*modified = g.modified;
		return err;
	}
	before = h2_volumes_total_size(admin->target.volumes);
	err = h2_fs_grow(admin->target.fs, size, new_size);
	*modified = !err && *new_size != before;
	return err;
}

int admin_volumes(struct admin *admin, struct hammer2_ioc_volume volumes[HAMMER2_IOC_VOLUMES_MAX],
		  unsigned *version)
{
	struct hammer2_ioc_volume_list2 list = {.nvolumes = HAMMER2_IOC_VOLUMES_MAX};
	unsigned count;
	int err;

	if (admin_is_mounted(admin)) {
		err = request(admin, HAMMER2IOC_VOLUME_LIST2, &list);
		if (err) {
			complain("%s: the volumes cannot be listed: %s", admin->name,
				 strerror(-err));
			return -1;
		}
		memcpy(volumes, list.volumes, sizeof(list.volumes));
		*version = (unsigned)list.version;
		return list.nvolumes;
	}
	count = h2_volumes_count(admin->target.volumes);
	for (unsigned i = 0; i < count; i++) {
		struct h2_volume_info info;

		h2_volumes_info(admin->target.volumes, i, &info);
		volumes[i] = (struct hammer2_ioc_volume){
			.id = (int32_t)info.id,
			.offset = info.offset,
			.size = info.size,
		};
		snprintf(volumes[i].path, sizeof(volumes[i].path), "%s", info.path);
	}
	*version = h2_volumes_header(admin->target.volumes)->version;
	return (int)count;
}

int admin_status(struct admin *admin, struct hammer2_ioc_status *status)
{
	struct h2_fs_stats stats;

	memset(status, 0, sizeof(*status));
	if (admin_is_mounted(admin))
		return request(admin, HAMMER2IOC_STATUS, status);
	h2_fs_get_stats(admin->target.fs, &stats);
	status->total_bytes = stats.total_bytes;
	status->free_bytes = stats.free_bytes;
	return 0;
}

/* ---- mounts ---- */

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

/* Take a line apart: the mount point and the source, if it is one of ours. */
static bool parse_mount(char *line, char **dir, char **source)
{
	char *behind = strstr(line, " - "), *type, *save = NULL;

	if (!behind)
		return false;
	*behind = '\0';
	type = strtok_r(behind + 3, " ", &save);
	*source = strtok_r(NULL, " \n", &save);
	if (!type || !*source ||
	    (strcmp(type, "fuse.hammer2") != 0 && strcmp(type, "fuseblk.hammer2") != 0))
		return false;
	strtok_r(line, " ", &save);
	for (int i = 0; i < 3; i++)
		strtok_r(NULL, " ", &save);
	*dir = strtok_r(NULL, " ", &save);
	if (!*dir)
		return false;
	unescape(*dir);
	unescape(*source);
	return true;
}

char **admin_mounts(bool each_pfs)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char **mounts = must_alloc(calloc(1, sizeof(*mounts))), **sources = NULL, *line = NULL;
	size_t count = 0, room = 0;

	if (!file) {
		complain("/proc/self/mountinfo: %s", strerror(errno));
		free(mounts);
		return NULL;
	}
	while (getline(&line, &room, file) > 0) {
		char *dir, *source, *at;
		bool seen = false;

		if (!parse_mount(line, &dir, &source))
			continue;
		at = each_pfs ? NULL : strrchr(source, '@');
		if (at)
			*at = '\0';
		for (size_t i = 0; i < count; i++)
			seen = seen || strcmp(sources[i], source) == 0;
		if (seen)
			continue;
		mounts = must_alloc(reallocarray(mounts, count + 2, sizeof(*mounts)));
		sources = must_alloc(reallocarray(sources, count + 1, sizeof(*sources)));
		mounts[count] = must_alloc(strdup(dir));
		sources[count++] = must_alloc(strdup(source));
		mounts[count] = NULL;
	}
	for (size_t i = 0; i < count; i++)
		free(sources[i]);
	free(sources);
	free(line);
	fclose(file);
	return mounts;
}

void admin_mounts_free(char **mounts)
{
	for (char **m = mounts; m && *m; m++)
		free(*m);
	free(mounts);
}
