/* See admin.h. */
#include "admin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mounts.h"
#include "watch.h"

static int request(const struct admin *admin, unsigned long cmd, void *argument)
{
	return ioctl(admin->fd, cmd, argument) < 0 ? -errno : 0;
}

/* An image of a filesystem, which may well lie in a mounted one. */
static bool is_volume(int fd)
{
	uint64_t magic;

	return pread(fd, &magic, sizeof(magic), 0) == (ssize_t)sizeof(magic) &&
	       (magic == H2_MAGIC || magic == H2_MAGIC_SWAPPED);
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
	if (ioctl(fd, HAMMER2IOC_VERSION_GET, &version) == 0 &&
	    !(S_ISREG(st.st_mode) && is_volume(fd)))
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

/* Volumes that are in use are so by a mount, as a rule: say by which. */
static void tell_of_mount(char **args, int count)
{
	for (int i = 0; i < count; i++) {
		struct h2_spec spec;
		char *dir = NULL;

		if (h2_spec_parse(args[i], &spec) != 0)
			continue;
		for (unsigned v = 0; v < spec.count && !dir; v++)
			dir = mounts_find_volume(spec.volumes[v]);
		if (dir)
			complain("%s: is mounted on %s; name that directory in its place", args[i],
				 dir);
		free(dir);
		h2_spec_fini(&spec);
	}
}

int admin_open_volumes(struct call *call, char **args, int count, bool write, struct admin *admin)
{
	int code;

	*admin = (struct admin){.fd = -1, .name = args[0]};
	call->options.write = write;
	code = target_open(call, args, count, TARGET_FS, &admin->target);
	if (code == EXIT_PROBLEM)
		tell_of_mount(args, count);
	return code;
}

int admin_open(struct call *call, const char *name, bool write, struct admin *admin)
{
	const char *place = name ? name : call->options.select ? call->options.select : ".";
	char *arg = (char *)(uintptr_t)place;
	int fd = call->options.offset ? -ENOTTY : open_mounted(place);

	*admin = (struct admin){.fd = fd, .name = place};
	if (fd >= 0)
		return EXIT_DONE;
	admin->fd = -1;
	switch (-fd) {
	case ENOTDIR:
		complain("%s: is not in a mounted HAMMER2 filesystem, and is no volume; option -s "
			 "names one",
			 place);
		return EXIT_USAGE;
	case ENOTCONN:
		complain("%s: the server of this mount has ended; unmount it", place);
		return EXIT_PROBLEM;
	case EACCES:
		complain("%s: %s", place, strerror(EACCES));
		return EXIT_PROBLEM;
	default:
		return admin_open_volumes(call, &arg, 1, write, admin);
	}
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
		.has_info = true,
		.info = *info,
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
		complain("%s: the PFSs cannot be listed: %s%s", admin->name, strerror(-err),
			 err == -EPERM ? "; this needs root, or the user who mounted it" : "");
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

void admin_write_cached(const struct admin *admin)
{
	(void)syncfs(admin->fd);
}

int admin_snapshot(struct admin *admin, const char *origin, const char *label)
{
	struct hammer2_ioc_pfs_snapshot_of s = {.name = ""};
	int err = fits(label);

	if (!err)
		err = fits(origin);
	if (err || !admin_is_mounted(admin))
		return err ? err : h2_pfs_snapshot(admin->target.fs, origin, label, NULL);
	admin_write_cached(admin);
	strcpy(s.name, label);
	strcpy(s.origin, origin);
	return request(admin, HAMMER2IOC_PFS_SNAPSHOT_OF, &s);
}

static int snapshot_path(struct admin *admin, const char *origin, const char *path,
			 const char *label, const struct h2_pass_options *options)
{
	struct h2_inode *dir = NULL;
	struct h2_pfs *pfs;
	int err = h2_pfs_open(admin->target.fs, origin, &pfs);

	if (err)
		return err;
	err = h2_path_lookup(pfs, path, &dir);
	if (err == -ENOENT)
		err = -ENOTDIR; /* not to be taken for the PFS */
	if (!err)
		err = h2_pfs_snapshot_directory(dir, label, NULL, options);
	h2_inode_put(dir);
	h2_pfs_put(pfs);
	return err;
}

static int snapshot_opened(struct admin *admin, const char *label)
{
	struct hammer2_ioc_pfs_snapshot_dir s = {.name = ""};

	admin_write_cached(admin);
	strcpy(s.name, label);
	return long_request(admin->fd, HAMMER2IOC_PFS_SNAPSHOT_DIR, &s);
}

int admin_snapshot_directory(struct admin *admin, const char *origin, const char *dir,
			     const char *label)
{
	struct watch watch;
	int err = fits(label);

	if (!err)
		err = watch_start(&watch, admin, "snapshot");
	if (err)
		return err;
	catch_signals();
	err = admin_is_mounted(admin) ? snapshot_opened(admin, label)
				      : snapshot_path(admin, origin, dir, label, &watch.options);
	watch_stop(&watch);
	release_signals();
	return err;
}

bool admin_is_directory(const struct admin *admin)
{
	struct stat st;

	return admin_is_mounted(admin) && fstat(admin->fd, &st) == 0 && S_ISDIR(st.st_mode) &&
	       st.st_ino != H2_INUM_ROOT;
}

static char *where_mounted(const struct admin *admin, const char *label)
{
	struct hammer2_ioc_status status = {.server = 0};

	if (!admin_is_mounted(admin) || request(admin, HAMMER2IOC_STATUS, &status) != 0)
		return NULL;
	return mounts_find_pfs(status.server, label);
}

/* The same for the mount of a PFS, if it has one: what is written later belongs to what it has then. */
static void write_cached_of(const struct admin *admin, const char *label)
{
	char *dir = where_mounted(admin, label);
	int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (fd >= 0) {
		(void)syncfs(fd);
		close(fd);
	}
	free(dir);
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
	write_cached_of(admin, label);
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

bool admin_may_change(const struct admin *admin)
{
	struct hammer2_ioc_pfs p = {.name_key = HAMMER2_PFS_THIS};

	return !admin_is_mounted(admin) || request(admin, HAMMER2IOC_PFS_GET, &p) == 0;
}

static const char *advice(const struct admin *admin, int err)
{
	switch (-err) {
	case EEXIST:
		return "there is a PFS with that label";
	case ENOTUNIQ:
		return "another PFS has that UUID";
	case ENOENT:
		return "there is no PFS with that label; \"hammer2 pfs-list\" shows them";
	case EBUSY:
		return "it is mounted; unmount it first";
	case EPERM:
		return admin_may_change(admin) ? "a filesystem keeps its last PFS; mkfs.hammer2 makes it anew"
					 : "this needs root, or the user who mounted it";
	case EINVAL:
		return "a label has 1 to 255 bytes, and none of \"/@:\"";
	case EROFS:
		return admin_is_mounted(admin) ? "it is mounted for reading only"
					       : "the volumes cannot be written to";
	case ENOSPC:
		return "\"hammer2 bulkfree\", or removing snapshots, makes room";
	case ENOTCONN:
	case ECONNABORTED:
		return "the server of the mount has ended; unmount it, and mount it again";
	case EOPNOTSUPP:
		return "only PFSs of type MASTER can be made, and no snapshots of directories whose "
		       "inodes are stored in them, as old filesystems have it";
	case ENOTDIR:
		return "the path is that of no directory";
	case EINTR:
		return "it was interrupted; nothing has changed";
	default:
		return NULL;
	}
}

void admin_complain(const struct admin *admin, const char *what, const char *label, int err)
{
	char *dir = err == -EBUSY ? where_mounted(admin, label) : NULL;
	const char *text = advice(admin, err);

	if (dir)
		complain("%s: %s(%s): it is mounted on %s; unmount it first", admin->name, what,
			 label, dir);
	else
		complain("%s: %s(%s): %s%s%s", admin->name, what, label, error_text(err),
			 text ? ": " : "", text ? text : "");
	free(dir);
}

/* ---- the filesystem ---- */

/* Growing itself is done in moments; what there is to watch is a pass that it waits for. */
static int grow_mounted(struct admin *admin, struct hammer2_ioc_growfs *g)
{
	struct watch watch;
	int err = watch_start(&watch, admin, "waiting");

	if (err)
		return err;
	catch_signals();
	err = long_request(admin->fd, HAMMER2IOC_GROWFS, g);
	watch_stop(&watch);
	release_signals();
	return err;
}

int admin_grow(struct admin *admin, uint64_t size, uint64_t *new_size, bool *modified)
{
	struct hammer2_ioc_growfs g = {.size = size};
	uint64_t before;
	int err;

	if (admin_is_mounted(admin)) {
		err = grow_mounted(admin, &g);
		*new_size = g.size;
		*modified = g.modified;
		return err;
	}
	before = h2_volumes_total_size(admin->target.volumes);
	err = h2_fs_grow(admin->target.fs, size, NULL, new_size);
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

char **admin_mounts(const struct call *call)
{
	char **dirs = must_alloc(calloc(1, sizeof(*dirs)));
	struct mount_point *list;
	size_t count, found = 0;
	int err = mounts_read(&list, &count);

	if (err) {
		complain("/proc/self/mountinfo: %s", strerror(-err));
		free(dirs);
		return NULL;
	}
	for (size_t i = 0; i < count; i++) {
		bool seen = false;

		if (list[i].error) {
			/* Another user's, as a rule, which even root cannot enter. */
			if (call->options.verbose)
				complain("%s: is left out: %s", list[i].dir,
					 strerror(-list[i].error));
			continue;
		}
		for (size_t j = 0; j < i; j++)
			seen = seen || (!list[j].error &&
					mounts_same_filesystem(&list[i], &list[j]));
		if (seen)
			continue;
		dirs = must_alloc(reallocarray(dirs, found + 2, sizeof(*dirs)));
		dirs[found++] = must_alloc(strdup(list[i].dir));
		dirs[found] = NULL;
	}
	mounts_free(list, count);
	return dirs;
}

void admin_mounts_free(char **mounts)
{
	for (char **m = mounts; m && *m; m++)
		free(*m);
	free(mounts);
}
