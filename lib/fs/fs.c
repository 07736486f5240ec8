/* Opening a filesystem: from the volume header to the super-root. */
#include <stdlib.h>

#include "fs_impl.h"

static const struct h2_where no_pfs = {.pfs = NULL};

static int load_super_root(struct h2_fs *fs)
{
	const struct h2_volume_header *header = h2_volumes_header(fs->volumes);
	struct h2d_blockref set[H2_BLOCKSET_COUNT];
	struct h2_inode_meta meta;
	struct h2d_inode inode;
	struct h2_root root;
	int err;

	for (unsigned i = 0; i < H2_BLOCKSET_COUNT; i++)
		h2_blockref_encode(&header->sroot_blockset[i], &set[i]);
	h2_root_init(&root, set);
	err = h2_tree_first(&fs->blocks, &no_pfs, H2_TREE_SUPER_ROOT_SET, &root, 0, 0,
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
	err = h2_inode_load(&fs->blocks, &no_pfs, &fs->super_ref, H2_PLACE_SUPER_ROOT, &inode,
			    &meta);
	if (err)
		return err;
	h2_root_init(&fs->super_root, inode.u.blockset);
	return 0;
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
	err = h2_blocks_init(&fs->blocks, volumes, cache_bytes, options ? options->report : NULL,
			     options ? options->report_user : NULL);
	if (err) {
		free(fs);
		return err;
	}
	h2_mutex_init(&fs->pfs_lock, H2_RANK_PFS_TABLE);
	err = load_super_root(fs);
	if (err) {
		h2_fs_close(fs);
		return err;
	}
	*fsp = fs;
	return 0;
}

void h2_fs_close(struct h2_fs *fs)
{
	if (!fs)
		return;
	assert(!fs->pfs_list);
	h2_blocks_fini(&fs->blocks);
	h2_mutex_fini(&fs->pfs_lock);
	free(fs);
}

void h2_fs_get_stats(struct h2_fs *fs, struct h2_fs_stats *stats)
{
	const struct h2_volume_header *header = h2_volumes_header(fs->volumes);
	struct h2_cache_stats cache;

	h2_cache_get_stats(fs->blocks.cache, &cache);
	*stats = (struct h2_fs_stats){
		.total_bytes = header->allocator_size,
		.free_bytes = header->allocator_free < header->allocator_size
				      ? header->allocator_free
				      : header->allocator_size,
		.inodes = fs->super_ref.inode_count,
		.cache_bytes = cache.bytes,
		.cache_hits = cache.hits,
		.cache_misses = cache.misses,
	};
}

struct h2_volumes *h2_fs_volumes(struct h2_fs *fs)
{
	return fs->volumes;
}
