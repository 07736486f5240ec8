/* Opening a filesystem: from the volume header to the super-root. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fs_impl.h"

static const struct h2_where no_pfs = {.pfs = NULL};

static int load_super_root(struct h2_fs *fs)
{
	const struct h2_volume_header *header = h2_volumes_header(fs->volumes);
	struct h2d_blockref set[H2_BLOCKSET_COUNT];
	struct h2_inode_meta meta;
	int err;

	for (unsigned i = 0; i < H2_BLOCKSET_COUNT; i++)
		h2_blockref_encode(&header->sroot_blockset[i], &set[i]);
	h2_root_init(&fs->super_set, set);
	err = h2_tree_first(&fs->blocks, &no_pfs, H2_TREE_SUPER_ROOT_SET, &fs->super_set, 0, 0,
			    &fs->super_ref, NULL);
	if (err == 1) {
		fs->super_ref = header->sroot_blockset[0];
		return h2_block_report(&fs->blocks, &no_pfs, &fs->super_ref, "no-super-root",
				       &(struct h2_problem){
					       .member = "sroot_blockset",
					       .expected = "an inode with key 0: the super-root",
					       .found = fs->super_ref.type,
				       });
	}
	if (err)
		return err;
	err = h2_inode_load(&fs->blocks, &no_pfs, &fs->super_ref, H2_PLACE_SUPER_ROOT,
			    &fs->super_inode, &meta);
	if (err)
		return err;
	h2_root_init(&fs->super_root, fs->super_inode.u.blockset);
	fs->super_modify_tid = fs->super_ref.modify_tid + 1; /* BS 2.5 */
	return 0;
}

/*
 * Every commit puts the PFSs' blockrefs into the super-root: see to it that it can. No entry of the
 * super-root is newer than what it is in from here on.
 */
static int prepare_super_root(struct h2_fs *fs)
{
	struct h2_tree_change change = {
		.blocks = &fs->blocks,
		.where = no_pfs,
		.kind = H2_TREE_SUPER_ROOT,
		.branch_bytes = &fs->branch_bytes,
	};
	struct h2_pfs_info info = {.key = 0};
	uint64_t key = 0;
	int err;

	if (fs->super_ref.mirror_tid > h2_volumes_header(fs->volumes)->mirror_tid)
		fs->super_ref.mirror_tid = h2_volumes_header(fs->volumes)->mirror_tid;
	h2_root_limit_tids(&fs->super_set, fs->super_ref.mirror_tid);
	h2_root_limit_tids(&fs->super_root, fs->super_ref.mirror_tid);
	do {
		err = h2_pfs_next(fs, key, &info);
		if (err == 0)
			err = h2_tree_touch(&change, &fs->super_root, info.key);
		else if (err < 0 && err != -ENOMEM)
			err = 0; /* cannot be opened, so it will not change */
		key = info.key + 1;
	} while (err == 0 && key != 0);
	return err == 1 ? 0 : err;
}

/* A device that takes none, or fails once, is not asked again: nothing depends on it. */
static void discard(void *user, uint64_t offset, uint64_t bytes)
{
	struct h2_fs *fs = user;
	char message[128];
	int err = atomic_load(&fs->no_discard) ? 0 : h2_volumes_discard(fs->volumes, offset, bytes);

	if (!err || atomic_exchange(&fs->no_discard, true) || !fs->blocks.report)
		return;
	snprintf(message, sizeof(message), "a discard was refused (%s); there will be no more",
		 strerror(-err));
	fs->blocks.report(fs->blocks.report_user, &(struct h2_report){
							  .severity = H2_WARNING,
							  .code = "no-discard",
							  .object = "volume",
							  .media = offset,
							  .flags = H2_REPORT_HAS_MEDIA,
							  .message = message,
						  });
}

/* What a filesystem needs to be changed. */
static int open_for_writing(struct h2_fs *fs, const struct h2_fs_options *options)
{
	struct h2_txn_owner owner = h2_fs_txn_owner;
	struct h2_txn_options to = {
		.commit_seconds = options->commit_seconds,
		.hold = options->hold_commits,
		.report = options->report,
		.report_user = options->report_user,
	};
	int err;

	if (!h2_volumes_writable(fs->volumes))
		return -EROFS;
	fs->hold_commits = options->hold_commits;
	fs->now_us = options->now_us;
	fs->now_user = options->now_user;
	fs->dirty_limit = options->dirty_bytes ? options->dirty_bytes : H2_DIRTY_DEFAULT;
	/* Contents gain nothing from waiting, and whoever calls fsync waits for all of them. */
	fs->buffer_limit = fs->dirty_limit < H2_DIRTY_DEFAULT ? fs->dirty_limit : H2_DIRTY_DEFAULT;
	fs->store_limit = options->store_bytes                   ? options->store_bytes
			  : fs->dirty_limit / 2 < H2_STORE_DEFAULT ? fs->dirty_limit / 2
								   : H2_STORE_DEFAULT;
	err = prepare_super_root(fs);
	if (err)
		return err;
	err = h2_space_open(fs->volumes, options->report, options->report_user, &fs->space);
	if (!err && options->pack)
		h2_space_pack(fs->space);
	if (!err && options->discard)
		h2_space_set_discard(fs->space, discard, fs);
	if (!err)
		err = h2_fs_recover(fs);
	if (!err)
		err = h2_buffers_start(fs, options->no_threads);
	if (!err && !options->no_dedup) {
		fs->dedup = h2_dedup_new();
		err = fs->dedup ? 0 : -ENOMEM;
	}
	owner.user = fs;
	if (!err)
		err = h2_txn_open(fs->volumes, fs->space, &owner, &to, &fs->txn);
	if (!err)
		h2_fs_judge_room(fs);
	if (!err)
		err = h2_bulkfree_start(fs, options->commit_seconds > 0);
	/* The next commit mends the header. */
	if (!err && h2_volumes_header_is_backup(fs->volumes))
		h2_txn_changed(fs->txn);
	return err;
}

static int close_fs(struct h2_fs *fs, bool abandon)
{
	int err;

	h2_bulkfree_stop(fs);
	if (fs->pool)
		h2_pool_wait(fs->pool);
	if (fs->txn && !abandon && h2_txn_sync(fs->txn) == 0 && h2_txn_rotate(fs->txn) == 0)
		h2_bulkfree_note_lost(fs);
	err = h2_txn_close(fs->txn, abandon);
	/* From here on nothing is shared any more. */
	fs->txn = NULL;
	h2_pool_free(fs->pool);
	h2_bulkfree_free(fs);
	h2_fs_forget_changes(fs);
	h2_cache_shrink(fs->blocks.cache);
	h2_pfs_free_all(fs);
	assert(!fs->pfs_list);
	h2_dedup_free(fs->dedup);
	h2_space_close(fs->space);
	h2_blocks_fini(&fs->blocks);
	pthread_cond_destroy(&fs->turn_passed);
	h2_mutex_fini(&fs->dirty_lock);
	h2_mutex_fini(&fs->pfs_change_lock);
	h2_mutex_fini(&fs->pfs_lock);
	free(fs);
	return err;
}

int h2_fs_open(struct h2_volumes *volumes, const struct h2_fs_options *options, struct h2_fs **fsp)
{
	struct h2_fs *fs = calloc(1, sizeof(*fs));
	size_t cache_bytes = options && options->cache_bytes ? options->cache_bytes
							     : H2_CACHE_DEFAULT;
	int err;

	if (!fs)
		return -ENOMEM;
	fs->volumes = volumes;
	fs->listed_max = (unsigned)(cache_bytes / 8 / sizeof(struct h2_inode));
	fs->allocator_size = h2_volumes_header(volumes)->allocator_size;
	err = h2_blocks_init(&fs->blocks, volumes, cache_bytes, options ? options->report : NULL,
			     options ? options->report_user : NULL);
	if (err) {
		free(fs);
		return err;
	}
	h2_mutex_init(&fs->pfs_lock, H2_RANK_PFS_TABLE);
	h2_mutex_init(&fs->pfs_change_lock, H2_RANK_PFS_CHANGE);
	h2_mutex_init(&fs->dirty_lock, H2_RANK_DIRTY);
	pthread_cond_init(&fs->turn_passed, NULL);
	err = load_super_root(fs);
	if (!err && options && options->write)
		err = open_for_writing(fs, options);
	if (err) {
		(void)close_fs(fs, true);
		return err;
	}
	*fsp = fs;
	return 0;
}

int h2_fs_close(struct h2_fs *fs)
{
	return fs ? close_fs(fs, false) : 0;
}

void h2_fs_abandon(struct h2_fs *fs)
{
	(void)close_fs(fs, true);
}

int h2_fs_sync(struct h2_fs *fs)
{
	return fs->txn ? h2_txn_sync(fs->txn) : 0;
}

int h2_fs_write_state(struct h2_fs *fs)
{
	return fs->txn ? h2_txn_error(fs->txn) : -EROFS;
}

/* Free bytes as a writer sees them: what waits is coming back, what is buffered is going. */
static uint64_t free_bytes(struct h2_fs *fs)
{
	struct h2_space_stats space;
	uint64_t pending = atomic_load(&fs->buffer_bytes) + atomic_load(&fs->branch_bytes) +
			   atomic_load(&fs->dirty_inodes) * H2_INODE_SIZE;
	uint64_t bytes;

	h2_space_get_stats(fs->space, &space);
	bytes = space.free_bytes + space.waiting_bytes;
	/* What newfs counts as free in front of the first whole segment never is (BS 8.7). */
	pending += (H2_SEGMENT - h2_volumes_header(fs->volumes)->allocator_beg % H2_SEGMENT) %
		   H2_SEGMENT;
	return bytes > pending ? bytes - pending : 0;
}

void h2_fs_get_stats(struct h2_fs *fs, struct h2_fs_stats *stats)
{
	const struct h2_volume_header *header = h2_volumes_header(fs->volumes);
	struct h2_cache_stats cache;
	uint64_t available, total;
	struct h2_space_stats space = {0};
	uint64_t scan_bytes = 0, scan_expected = 0;

	if (fs->txn) {
		h2_space_get_stats(fs->space, &space);
		h2_bulkfree_get_progress(fs, &scan_bytes, &scan_expected);
	}
	h2_cache_get_stats(fs->blocks.cache, &cache);
	available = fs->txn ? free_bytes(fs) : header->allocator_free;
	total = atomic_load(&fs->allocator_size);
	h2_fs_enter(fs);
	*stats = (struct h2_fs_stats){
		.total_bytes = total,
		.free_bytes = available < total ? available : total,
		.waiting_bytes = space.waiting_bytes,
		.lost_bytes = space.lost_bytes,
		.scan_bytes = scan_bytes,
		.scan_expected_bytes = scan_expected,
		.inodes = fs->super_ref.inode_count,
		.cache_bytes = cache.bytes,
		.cache_hits = cache.hits,
		.cache_misses = cache.misses,
	};
	h2_fs_leave(fs);
}

void h2_fs_forget_cached(struct h2_fs *fs)
{
	h2_cache_shrink(fs->blocks.cache);
}

struct h2_volumes *h2_fs_volumes(struct h2_fs *fs)
{
	return fs->volumes;
}
