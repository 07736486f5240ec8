/*
 * Making a filesystem larger, BS 11.
 *
 * What the media need for it is in one commit; before it there are only zeros in places that were
 * not part of the volume. Some more commits put a header into each of the copies that it has now.
 */
#include "fs_impl.h"

struct growth {
	struct h2_fs *fs;
	uint64_t size; /* wanted; then what it has */
	bool grown;
};

/* Nobody else uses the filesystem. */
static int grow_alone(void *user, struct h2_volume_header *header)
{
	struct growth *g = user;
	struct h2_fs *fs = g->fs;
	uint64_t bytes;
	int err = h2_volumes_prepare_growth(fs->volumes, g->size, &g->size);

	if (err || g->size == h2_volumes_total_size(fs->volumes))
		return err;
	err = h2_space_grow(fs->space, g->size, &bytes);
	if (err)
		return err;
	h2_volumes_set_size(fs->volumes, g->size);
	fs->blocks.total_size = g->size;
	header->volu_size = g->size;
	if (header->version > 1) /* MF 2.5 */
		header->total_size = g->size;
	header->allocator_size += bytes;
	atomic_store(&fs->allocator_size, header->allocator_size);
	g->grown = true;
	return 0;
}

int h2_fs_grow(struct h2_fs *fs, uint64_t size, const struct h2_pass_options *options,
	       uint64_t *new_size)
{
	struct growth g = {.fs = fs, .size = size};
	int err;

	if (!fs->txn)
		return -EROFS;
	err = h2_bulkfree_pause(fs, options);
	if (err)
		return err;
	err = h2_txn_alone(fs->txn, grow_alone, &g);
	h2_bulkfree_resume(fs);
	for (unsigned i = 0; !err && g.grown && i < h2_volumes_header_copies(fs->volumes); i++)
		err = h2_txn_commit(fs->txn);
	*new_size = g.size;
	return err;
}
