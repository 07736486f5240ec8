/*
 * The FUSE operation ioctl: file flags as Linux's filesystems have them, and the requests of
 * <hammer2/ioctl.h>.
 *
 * A request that takes long ends with EINTR when its caller is interrupted or dies; what it has not
 * committed until then has not happened.
 */
#include <assert.h>
#include <errno.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include <hammer2/ioctl.h>
#include <hammer2/pfs.h>

#include "log.h"
#include "ops_impl.h"
#include "results.h"
#include "session.h"

#define ENDING_TRIES 200u
#define PASSES_MAX 4 /* that run or wait; each keeps a thread, of which a mount has some more */

/* ---- flags of files ---- */

/* What Linux and the media call the same; a set flag is the system's, as on Linux only root sets it. */
static const struct flag_row {
	uint32_t uflags; /* any of these on the media is the flag */
	uint32_t set;    /* what is stored when it is set */
	uint32_t fs;     /* FS_IOC_GETFLAGS */
	uint32_t xflags; /* FS_IOC_FSGETXATTR */
} flag_rows[] = {
	{UFLAGS_IMMUTABLE, UFLAGS_SYSTEM_IMMUTABLE, FS_IMMUTABLE_FL, FS_XFLAG_IMMUTABLE},
	{UFLAGS_APPEND, UFLAGS_SYSTEM_APPEND, FS_APPEND_FL, FS_XFLAG_APPEND},
	{UFLAGS_NODUMP, UFLAGS_NODUMP, FS_NODUMP_FL, FS_XFLAG_NODUMP},
};

#define FLAG_ROWS (sizeof(flag_rows) / sizeof(flag_rows[0]))

static uint32_t flags_of(uint32_t uflags, bool x)
{
	uint32_t flags = 0;

	for (size_t i = 0; i < FLAG_ROWS; i++)
		if (uflags & flag_rows[i].uflags)
			flags |= x ? flag_rows[i].xflags : flag_rows[i].fs;
	return flags;
}

static int set_flags(struct h2_inode *inode, uint32_t flags, bool x)
{
	struct h2_set_attr set = {.valid = H2_SET_UFLAGS};
	struct h2_attr attr;

	h2_inode_attr(inode, &attr);
	set.uflags = attr.uflags;
	for (size_t i = 0; i < FLAG_ROWS; i++) {
		const struct flag_row *row = &flag_rows[i];
		uint32_t bit = x ? row->xflags : row->fs;

		if (!(flags & bit))
			set.uflags &= ~row->uflags;
		else if (!(set.uflags & row->uflags))
			set.uflags |= row->set;
		flags &= ~bit;
	}
	if (flags)
		return -EOPNOTSUPP;
	return set.uflags == attr.uflags ? 0 : h2_inode_set_attr(inode, &set);
}

static void reply_flags(fuse_req_t req, struct h2_inode *inode, bool x, size_t out_size)
{
	struct fsxattr fsx = {.fsx_xflags = 0};
	struct h2_attr attr;
	uint32_t flags;

	h2_inode_attr(inode, &attr);
	flags = flags_of(attr.uflags, x);
	fsx.fsx_xflags = flags;
	if (out_size < (x ? sizeof(fsx) : sizeof(flags)))
		fuse_reply_err(req, EINVAL);
	else if (x)
		fuse_reply_ioctl(req, 0, &fsx, sizeof(fsx));
	else
		fuse_reply_ioctl(req, 0, &flags, sizeof(flags));
}

static int take_flags(struct h2_inode *inode, bool x, const void *in, size_t in_size)
{
	struct fsxattr fsx;
	uint32_t flags;

	if (in_size < (x ? sizeof(fsx) : sizeof(flags)))
		return -EINVAL;
	if (!x) {
		memcpy(&flags, in, sizeof(flags));
		return set_flags(inode, flags, false);
	}
	memcpy(&fsx, in, sizeof(fsx));
	if (fsx.fsx_extsize || fsx.fsx_projid || fsx.fsx_cowextsize)
		return -EOPNOTSUPP;
	return set_flags(inode, fsx.fsx_xflags, true);
}

static void op_flags(fuse_req_t req, fuse_ino_t ino, unsigned cmd, const void *in, size_t in_size,
		     size_t out_size)
{
	bool get = cmd == (unsigned)FS_IOC_GETFLAGS || cmd == (unsigned)FS_IOC_FSGETXATTR;
	bool x = cmd == (unsigned)FS_IOC_FSGETXATTR || cmd == (unsigned)FS_IOC_FSSETXATTR;
	struct h2_inode *inode;
	int err = get ? get_node(req, ino, &inode) : get_for_change(req, ino, &inode);

	if (err) {
		reply_error(req, err);
		return;
	}
	if (get) {
		reply_flags(req, inode, x, out_size);
	} else {
		err = ops_finish(view_of(req), take_flags(inode, x, in, in_size));
		if (err)
			reply_error(req, err);
		else
			fuse_reply_ioctl(req, 0, NULL, 0);
	}
	h2_inode_put(inode);
}

/* ---- the requests ---- */

union argument {
	struct hammer2_ioc_version version;
	struct hammer2_ioc_pfs pfs;
	struct hammer2_ioc_inode inode;
	struct hammer2_ioc_bulkfree bulkfree;
	struct hammer2_ioc_destroy destroy;
	struct hammer2_ioc_growfs growfs;
	struct hammer2_ioc_volume_list2 volume_list2;
	struct hammer2_ioc_pfs_rename rename;
	struct hammer2_ioc_pfs_rollback rollback;
	struct hammer2_ioc_pfs_snapshot_of snapshot_of;
	struct hammer2_ioc_pfs_snapshot_dir snapshot_dir;
	struct hammer2_ioc_status status;
	struct hammer2_ioc_usage usage;
	struct hammer2_ioc_diff diff;
	struct hammer2_ioc_result result;
};

static_assert(sizeof(struct hammer2_ioc_version) == 256, "BS 13.1");
static_assert(sizeof(struct hammer2_ioc_pfs) == 320, "BS 13.1");
static_assert(sizeof(struct hammer2_ioc_inode) == 1056, "BS 13.1");
static_assert(sizeof(struct hammer2_ioc_bulkfree) == 64, "BS 13.1");
static_assert(sizeof(struct hammer2_ioc_destroy) == 272, "BS 13.1");
static_assert(sizeof(struct hammer2_ioc_growfs) == 72, "BS 13.1");
static_assert(sizeof(struct hammer2_ioc_volume_list2) == 5896, "BS 13.1");

static struct h2_fs *fs_of(fuse_req_t req)
{
	return h2_pfs_fs(view_pfs(view_of(req)));
}

static bool is_label(const char name[256])
{
	return memchr(name, '\0', 256) != NULL;
}

static int version_get(fuse_req_t req, fuse_ino_t ino, union argument *a)
{
	(void)ino;
	a->version.version = h2_volumes_header(h2_fs_volumes(fs_of(req)))->version;
	return 0;
}

static void fill_pfs(struct hammer2_ioc_pfs *p, const struct h2_pfs_info *info)
{
	p->name_key = info->key;
	p->pfs_type = info->meta.pfs_type;
	p->pfs_subtype = info->meta.pfs_subtype;
	memcpy(p->pfs_fsid, &info->meta.pfs_fsid, sizeof(p->pfs_fsid));
	memcpy(p->pfs_clid, &info->meta.pfs_clid, sizeof(p->pfs_clid));
	memcpy(p->name, info->label, sizeof(p->name));
}

/* The first PFS at or behind a key that can be read. */
static int next_pfs(struct h2_fs *fs, uint64_t key, struct h2_pfs_info *info)
{
	int err;

	while ((err = h2_pfs_next(fs, key, info)) < 0 && err != -ENOMEM) {
		key = info->key + 1;
		if (key == 0)
			return 1;
	}
	return err;
}

static int pfs_get(fuse_req_t req, fuse_ino_t ino, union argument *a)
{
	struct hammer2_ioc_pfs *p = &a->pfs;
	struct h2_pfs_info info;
	int err;

	(void)ino;
	if (p->name_key == HAMMER2_PFS_THIS)
		p->name_key = h2_pfs_get_info(view_pfs(view_of(req)))->key;
	err = next_pfs(fs_of(req), p->name_key, &info);
	p->name_next = HAMMER2_PFS_END;
	if (err)
		return err == 1 ? -ENOENT : err;
	fill_pfs(p, &info);
	if (info.key != UINT64_MAX && next_pfs(fs_of(req), info.key + 1, &info) == 0)
		p->name_next = info.key;
	return 0;
}

static int pfs_lookup(fuse_req_t req, fuse_ino_t ino, union argument *a)
{
	uint64_t key = 0;
	struct h2_pfs_info info;
	int err;

	(void)ino;
	if (!is_label(a->pfs.name))
		return -EINVAL;
	while ((err = next_pfs(fs_of(req), key, &info)) == 0) {
		if (strcmp(info.label, a->pfs.name) == 0) {
			fill_pfs(&a->pfs, &info);
			return 0;
		}
		key = info.key + 1;
		if (key == 0)
			break;
	}
	return err < 0 ? err : -ENOENT;
}

static bool is_nil(const uint8_t id[16])
{
	static const uint8_t nil[16];

	return memcmp(id, nil, sizeof(nil)) == 0;
}

/* The ids that are asked for, or NULL: random ones. */
static const struct h2_pfs_ids *ids_of(const struct hammer2_ioc_pfs *p, struct h2_pfs_ids *ids)
{
	if (is_nil(p->pfs_clid) || is_nil(p->pfs_fsid))
		return NULL;
	memcpy(&ids->clid, p->pfs_clid, sizeof(ids->clid));
	memcpy(&ids->fsid, p->pfs_fsid, sizeof(ids->fsid));
	return ids;
}

static int pfs_create(fuse_req_t req, fuse_ino_t ino, union argument *a)
{
	struct h2_pfs_ids ids;

	(void)ino;
	if (!is_label(a->pfs.name))
		return -EINVAL;
	/* BS 10.2: other types belong to clusters. */
	if (a->pfs.pfs_type != H2_PFS_MASTER && a->pfs.pfs_type != H2_PFS_NONE)
		return -EOPNOTSUPP;
	return h2_pfs_create(fs_of(req), a->pfs.name, ids_of(&a->pfs, &ids));
}

/*
 * Whether to try once more: a PFS that has just been unmounted is in use until the threads that
 * served it have ended; and a snapshot for moments, while somebody looks at it (snapdir.h).
 */
static bool may_be_ending(fuse_req_t req, int err, const char *label, unsigned *tries)
{
	const struct timespec pause = {.tv_nsec = 50000000};

	if (err != -EBUSY || session_serves(label) || ++*tries > ENDING_TRIES ||
	    fuse_req_interrupted(req))
		return false;
	nanosleep(&pause, NULL);
	return true;
}

static int pfs_delete(fuse_req_t req, fuse_ino_t ino, union argument *a)
{
	unsigned tries = 0;
	int err;

	(void)ino;
	if (!is_label(a->pfs.name))
		return -EINVAL;
	do
		err = h2_pfs_delete(fs_of(req), a->pfs.name);
	while (may_be_ending(req, err, a->pfs.name, &tries));
	return err;
}

static int pfs_snapshot(fuse_req_t req, fuse_ino_t ino, union argument *a)
{
	(void)ino;
	if (!is_label(a->pfs.name))
		return -EINVAL;
	return h2_pfs_snapshot(fs_of(req), h2_pfs_get_info(view_pfs(view_of(req)))->label, a->pfs.name,
			       NULL);
}

static int pfs_snapshot_of(fuse_req_t req, fuse_ino_t ino, union argument *a)
{
	(void)ino;
	if (!is_label(a->snapshot_of.name) || !is_label(a->snapshot_of.origin))
		return -EINVAL;
	return h2_pfs_snapshot(fs_of(req), a->snapshot_of.origin, a->snapshot_of.name, NULL);
}

static int pfs_rename(fuse_req_t req, fuse_ino_t ino, union argument *a)
{
	unsigned tries = 0;
	int err;

	(void)ino;
	if (!is_label(a->rename.name) || !is_label(a->rename.new_name))
		return -EINVAL;
	do
		err = h2_pfs_rename(fs_of(req), a->rename.name, a->rename.new_name);
	while (may_be_ending(req, err, a->rename.name, &tries));
	return err;
}

static int pfs_rollback(fuse_req_t req, fuse_ino_t ino, union argument *a)
{
	const struct hammer2_ioc_pfs_rollback *r = &a->rollback;
	int err;

	(void)ino;
	if (!is_label(r->name) || !is_label(r->snapshot) || !is_label(r->keep))
		return -EINVAL;
	err = h2_pfs_rollback_open(fs_of(req), r->name, r->snapshot, r->keep[0] ? r->keep : NULL,
				   NULL);
	return err ? err : session_refresh(r->name);
}

static int inode_get(fuse_req_t req, fuse_ino_t ino, union argument *a)
{
	struct h2_inode *inode;
	int err = get_node(req, ino, &inode);

	if (err)
		return err;
	h2_inode_get_block(inode, a->inode.inode, &a->inode.data_count, &a->inode.inode_count);
	h2_inode_put(inode);
	return 0;
}

static bool is_privileged(fuse_req_t req)
{
	uid_t uid = fuse_req_ctx(req)->uid;

	return uid == 0 || uid == geteuid();
}

#define SET_METHODS (HAMMER2_SET_CHECK | HAMMER2_SET_COMP)
#define SET_QUOTAS (HAMMER2_SET_INODE_QUOTA | HAMMER2_SET_DATA_QUOTA)

/* Where members of the inode's block lie, MF 6.1. */
#define AT_COMP 0x83
#define AT_CHECK 0x85
#define AT_DATA_QUOTA 0xb0
#define AT_INODE_QUOTA 0xc0

static uint64_t get_u64(const uint8_t *bytes)
{
	uint64_t value = 0;

	for (unsigned i = 8; i-- > 0;)
		value = value << 8 | bytes[i];
	return value;
}

static int set_inode(fuse_req_t req, struct h2_inode *inode, const struct hammer2_ioc_inode *i)
{
	struct h2_set_attr set = {.valid = 0};
	struct h2_inode_meta meta;

	h2_inode_get_meta(inode, &meta);
	if (!is_privileged(req) &&
	    (i->flags & ~SET_METHODS || fuse_req_ctx(req)->uid != meta.uid))
		return -EPERM;
	set.comp_algo = i->inode[AT_COMP];
	set.check_algo = i->inode[AT_CHECK];
	set.data_quota = meta.data_quota;
	set.inode_quota = meta.inode_quota;
	if (i->flags & HAMMER2_SET_COMP)
		set.valid |= H2_SET_COMP;
	if (i->flags & HAMMER2_SET_CHECK)
		set.valid |= H2_SET_CHECK;
	if (i->flags & SET_QUOTAS)
		set.valid |= H2_SET_QUOTA;
	if (i->flags & HAMMER2_SET_DATA_QUOTA)
		set.data_quota = get_u64(i->inode + AT_DATA_QUOTA);
	if (i->flags & HAMMER2_SET_INODE_QUOTA)
		set.inode_quota = get_u64(i->inode + AT_INODE_QUOTA);
	return set.valid ? h2_inode_set_attr(inode, &set) : 0;
}

static int inode_set(fuse_req_t req, fuse_ino_t ino, union argument *a)
{
	struct h2_inode *inode;
	int err;

	if (a->inode.flags & ~(SET_METHODS | SET_QUOTAS))
		return a->inode.flags & HAMMER2_SET_COPIES ? -EOPNOTSUPP : -EINVAL;
	err = get_for_change(req, ino, &inode);
	if (err)
		return err;
	err = set_inode(req, inode, &a->inode);
	h2_inode_put(inode);
	return err;
}

/* What there is to know of the server, in its log. */
static int debug_dump(fuse_req_t req, fuse_ino_t ino, union argument *a)
{
	struct h2_fs_stats stats;

	(void)ino;
	(void)a;
	h2_fs_get_stats(fs_of(req), &stats);
	log_line(LOG_INFO,
		 "PFS %s: %llu bytes, %llu free, %llu of these wait for commits, about %llu for "
		 "bulk free; cache %zu bytes, %llu hits, %llu misses",
		 h2_pfs_get_info(view_pfs(view_of(req)))->label, (unsigned long long)stats.total_bytes,
		 (unsigned long long)stats.free_bytes, (unsigned long long)stats.waiting_bytes,
		 (unsigned long long)stats.lost_bytes, stats.cache_bytes,
		 (unsigned long long)stats.cache_hits, (unsigned long long)stats.cache_misses);
	return 0;
}

bool ops_goes_on(void *user, uint64_t bytes, uint64_t expected)
{
	(void)bytes;
	(void)expected;
	return !fuse_req_interrupted(user);
}

static int pfs_snapshot_dir(fuse_req_t req, fuse_ino_t ino, union argument *a)
{
	struct h2_pass_options options = {.progress = ops_goes_on, .user = req};
	struct h2_inode *dir;
	int err;

	if (!is_label(a->snapshot_dir.name))
		return -EINVAL;
	err = get_node(req, ino, &dir);
	if (err)
		return err;
	err = h2_pfs_snapshot_directory(dir, a->snapshot_dir.name, NULL, &options);
	h2_inode_put(dir);
	return err;
}

static int bulkfree_scan(fuse_req_t req, fuse_ino_t ino, union argument *a)
{
	struct h2_pass_options options = {.progress = ops_goes_on, .user = req};
	struct h2_bulkfree_result result;
	int err = h2_fs_bulkfree(fs_of(req), &options, &result);

	(void)ino;
	if (err)
		return err;
	a->bulkfree = (struct hammer2_ioc_bulkfree){
		.sstop = h2_volumes_total_size(h2_fs_volumes(fs_of(req))),
		.size = a->bulkfree.size,
		.count_allocated = result.blocks,
		.count_freed = result.freed_bytes,
		.total_allocated = result.used_bytes,
		.total_scanned = result.blocks,
	};
	return 0;
}

static int emerg_mode(fuse_req_t req, fuse_ino_t ino, union argument *a)
{
	(void)req;
	(void)ino;
	(void)a;
	return 0; /* removing works on a full volume without it, BS 12.1 */
}

static int growfs(fuse_req_t req, fuse_ino_t ino, union argument *a)
{
	const struct h2_pass_options options = {.progress = ops_goes_on, .user = req};
	const struct h2_volumes *volumes = h2_fs_volumes(fs_of(req));
	uint64_t before = h2_volumes_total_size(volumes);
	int err = h2_fs_grow(fs_of(req), a->growfs.size, &options, &a->growfs.size);

	(void)ino;
	a->growfs.modified = h2_volumes_total_size(volumes) != before;
	return err;
}

static int volume_list2(fuse_req_t req, fuse_ino_t ino, union argument *a)
{
	struct hammer2_ioc_volume_list2 *list = &a->volume_list2;
	const struct h2_volumes *volumes = h2_fs_volumes(fs_of(req));
	int wanted = list->nvolumes, count = (int)h2_volumes_count(volumes);

	(void)ino;
	if (wanted < 0)
		return -EINVAL;
	*list = (struct hammer2_ioc_volume_list2){
		.nvolumes = wanted < count ? wanted : count,
		.version = (int32_t)h2_volumes_header(volumes)->version,
	};
	for (int i = 0; i < list->nvolumes && i < HAMMER2_IOC_VOLUMES_MAX; i++) {
		struct hammer2_ioc_volume *v = &list->volumes[i];
		struct h2_volume_info info;

		h2_volumes_info(volumes, (unsigned)i, &info);
		snprintf(v->path, sizeof(v->path), "%s", info.path);
		v->id = (int32_t)info.id;
		v->offset = info.offset;
		v->size = info.size;
	}
	memcpy(list->pfs_name, h2_pfs_get_info(view_pfs(view_of(req)))->label, sizeof(list->pfs_name));
	return 0;
}

static int cidprune(fuse_req_t req, fuse_ino_t ino, union argument *a)
{
	(void)ino;
	(void)a;
	h2_fs_forget_cached(fs_of(req));
	return 0;
}

static uint64_t server_id;

static void choose_server_id(void)
{
	if (getrandom(&server_id, sizeof(server_id), 0) != (ssize_t)sizeof(server_id))
		server_id = (uint64_t)getpid();
}

static int status(fuse_req_t req, fuse_ino_t ino, union argument *a)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct h2_fs_stats stats;

	(void)ino;
	pthread_once(&once, choose_server_id);
	h2_fs_get_stats(fs_of(req), &stats);
	a->status = (struct hammer2_ioc_status){
		.total_bytes = stats.total_bytes,
		.free_bytes = stats.free_bytes,
		.waiting_bytes = stats.waiting_bytes,
		.lost_bytes = stats.lost_bytes,
		.scan_bytes = stats.scan_bytes,
		.scan_expected_bytes = stats.scan_expected_bytes,
		.writable = view_of(req)->nodes != NULL,
		.server = server_id,
	};
	return 0;
}

static int usage(fuse_req_t req, fuse_ino_t ino, union argument *a)
{
	(void)ino;
	return ops_usage(req, &a->usage);
}

static int diff(fuse_req_t req, fuse_ino_t ino, union argument *a)
{
	(void)ino;
	if (!is_label(a->diff.from) || !is_label(a->diff.to))
		return -EINVAL;
	return ops_diff(req, a->diff.from, a->diff.to, &a->diff.result);
}

static int result_read(fuse_req_t req, fuse_ino_t ino, union argument *a)
{
	struct hammer2_ioc_result *r = &a->result;
	ssize_t len = results_read(r->result, fuse_req_ctx(req)->uid, r->offset, r->bytes,
				   sizeof(r->bytes));

	(void)ino;
	r->len = len < 0 ? 0 : (uint32_t)len;
	return len < 0 ? (int)len : 0;
}

static int destroy(fuse_req_t req, fuse_ino_t ino, union argument *a)
{
	const struct hammer2_ioc_destroy *d = &a->destroy;
	struct h2_inode *dir;
	int err;

	if (d->cmd == HAMMER2_DESTROY_INUM)
		return h2_destroy_inode(view_pfs(view_of(req)), d->inum);
	if (d->cmd != HAMMER2_DESTROY_NAME || !memchr(d->path, '\0', sizeof(d->path)))
		return d->cmd ? -EINVAL : 0;
	err = get_dir_for_change(req, ino, d->path, &dir);
	if (err)
		return err;
	err = h2_destroy_name(dir, d->path, strlen(d->path));
	h2_inode_put(dir);
	return err;
}

#define ANYONE 0x1u  /* may ask, BS 13.1 */
#define CHANGES 0x2u /* needs a mount for writing */
#define TELLS 0x4u   /* the argument goes back */
#define LONG 0x8u    /* a pass over all of the filesystem, or waits for one */

static const struct request {
	unsigned long cmd;
	unsigned flags;
	int (*run)(fuse_req_t req, fuse_ino_t ino, union argument *argument);
} requests[] = {
	{HAMMER2IOC_VERSION_GET, ANYONE | TELLS, version_get},
	{HAMMER2IOC_PFS_GET, TELLS, pfs_get},
	{HAMMER2IOC_PFS_CREATE, CHANGES, pfs_create},
	{HAMMER2IOC_PFS_DELETE, CHANGES, pfs_delete},
	{HAMMER2IOC_PFS_LOOKUP, TELLS, pfs_lookup},
	{HAMMER2IOC_PFS_SNAPSHOT, CHANGES, pfs_snapshot},
	{HAMMER2IOC_INODE_GET, ANYONE | TELLS, inode_get},
	{HAMMER2IOC_INODE_SET, ANYONE | CHANGES, inode_set}, /* it looks at the owner */
	{HAMMER2IOC_DEBUG_DUMP, ANYONE, debug_dump},
	{HAMMER2IOC_BULKFREE_SCAN, ANYONE | CHANGES | TELLS | LONG, bulkfree_scan},
	{HAMMER2IOC_DESTROY, CHANGES, destroy},
	{HAMMER2IOC_EMERG_MODE, 0, emerg_mode},
	{HAMMER2IOC_GROWFS, CHANGES | TELLS | LONG, growfs},
	{HAMMER2IOC_VOLUME_LIST2, TELLS, volume_list2},
	{HAMMER2IOC_CIDPRUNE, ANYONE, cidprune},
	{HAMMER2IOC_PFS_RENAME, CHANGES, pfs_rename},
	{HAMMER2IOC_PFS_ROLLBACK, CHANGES, pfs_rollback},
	{HAMMER2IOC_PFS_SNAPSHOT_OF, CHANGES, pfs_snapshot_of},
	{HAMMER2IOC_PFS_SNAPSHOT_DIR, CHANGES | LONG, pfs_snapshot_dir},
	{HAMMER2IOC_STATUS, ANYONE | TELLS, status},
	{HAMMER2IOC_USAGE, TELLS | LONG, usage},
	{HAMMER2IOC_DIFF, TELLS | LONG, diff},
	{HAMMER2IOC_RESULT, ANYONE | TELLS, result_read},
};

#define REQUEST_COUNT (sizeof(requests) / sizeof(requests[0]))

/* Of DragonFly's group there is nothing else that makes sense here; of others we know nothing. */
static int unknown(unsigned cmd)
{
	return _IOC_TYPE(cmd) == 'h' ? EOPNOTSUPP : ENOTTY;
}

static void run(fuse_req_t req, fuse_ino_t ino, const struct request *r, const void *in,
		size_t in_size)
{
	const struct ops_view *view = view_of(req);
	size_t size = _IOC_SIZE(r->cmd);
	union argument argument;
	int err = 0;

	memset(&argument, 0, sizeof(argument));
	if (in_size < size)
		err = -EINVAL;
	else if (!(r->flags & ANYONE) && !is_privileged(req))
		err = -EPERM;
	else if (r->flags & CHANGES && !view->nodes)
		err = -EROFS;
	if (!err) {
		memcpy(&argument, in, size < sizeof(argument) ? size : sizeof(argument));
		err = r->run(req, ino, &argument);
	}
	if (!err && r->flags & CHANGES)
		err = ops_finish(view, 0);
	if (err)
		reply_error(req, err);
	else
		fuse_reply_ioctl(req, 0, &argument, r->flags & TELLS ? size : 0);
}

/* Where all threads waited for a pass, nobody would be left to read that it is interrupted. */
static void run_long(fuse_req_t req, fuse_ino_t ino, const struct request *r, const void *in,
		     size_t in_size)
{
	static atomic_uint passes;

	if (atomic_fetch_add(&passes, 1) < PASSES_MAX)
		run(req, ino, r, in, in_size);
	else
		fuse_reply_err(req, EAGAIN);
	atomic_fetch_sub(&passes, 1);
}

void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg, struct fuse_file_info *fi,
	      unsigned flags, const void *in, size_t in_size, size_t out_size)
{
	const uint32_t writable = view_of(req)->nodes != NULL;

	(void)arg;
	(void)fi;
	(void)flags;
	if (cmd == (unsigned)OPS_IOC_WRITABLE && out_size >= sizeof(writable)) {
		fuse_reply_ioctl(req, 0, &writable, sizeof(writable));
		return;
	}
	if (cmd == (unsigned)FS_IOC_GETFLAGS || cmd == (unsigned)FS_IOC_FSGETXATTR ||
	    cmd == (unsigned)FS_IOC_SETFLAGS || cmd == (unsigned)FS_IOC_FSSETXATTR) {
		op_flags(req, ino, cmd, in, in_size, out_size);
		return;
	}
	for (size_t i = 0; i < REQUEST_COUNT; i++) {
		const struct request *r = &requests[i];

		if ((unsigned)r->cmd == cmd) {
			(r->flags & LONG ? run_long : run)(req, ino, r, in, in_size);
			return;
		}
	}
	fuse_reply_err(req, unknown(cmd));
}
