/* See held.h. */
#include "held.h"

#include <string.h>

#define STEPS_PER_CALL 16u /* of the caller's progress; each may be a read from a slow device */

static const struct h2_where nowhere = {.pfs = NULL};

int h2_held_begin(struct h2_held *held, struct h2_fs *fs, const struct h2_pass_options *options)
{
	int err = 0;

	*held = (struct h2_held){.fs = fs, .options = options};
	if (fs->txn) {
		err = h2_bulkfree_pause(fs, options);
		if (err)
			return err;
		h2_space_scan_begin(fs->space);
		err = h2_txn_settle(fs->txn);
		h2_txn_get_header(fs->txn, &held->header);
	} else {
		held->header = *h2_volumes_header(fs->volumes);
	}
	for (unsigned i = 0; i < H2_BLOCKSET_COUNT; i++)
		held->expected += held->header.sroot_blockset[i].data_count;
	if (err)
		h2_held_end(held);
	return err;
}

void h2_held_end(struct h2_held *held)
{
	struct h2_fs *fs = held->fs;
	uint64_t freed;

	if (!fs->txn)
		return;
	(void)h2_space_scan_end(fs->space, 0, NULL, NULL, &freed);
	h2_bulkfree_resume(fs);
}

int h2_held_step(struct h2_held *held, uint64_t bytes)
{
	const struct h2_pass_options *options = held->options;
	struct h2_fs *fs = held->fs;

	held->bytes += bytes;
	if (fs->txn && !h2_bulkfree_set_progress(fs, held->bytes, held->expected + 1))
		return -EINTR;
	if (++held->steps % STEPS_PER_CALL == 1 && options && options->progress &&
	    !options->progress(options->user, held->bytes, held->expected))
		return -EINTR;
	return 0;
}

/* The super-root inode, and its blockset as the root of a tree. */
static int load_super_root(struct h2_held *held, struct h2_root *root)
{
	struct h2_blocks *blocks = &held->fs->blocks;
	struct h2d_blockref set[H2_BLOCKSET_COUNT];
	struct h2_inode_meta meta;
	struct h2_blockref ref;
	struct h2d_inode d;
	int err;

	for (unsigned i = 0; i < H2_BLOCKSET_COUNT; i++)
		h2_blockref_encode(&held->header.sroot_blockset[i], &set[i]);
	h2_root_init(root, set);
	err = h2_tree_first(blocks, &nowhere, H2_TREE_SUPER_ROOT_SET, root, 0, 0, &ref, NULL);
	if (err)
		return err < 0 ? err : -H2_ECORRUPT;
	err = h2_inode_load(blocks, &nowhere, &ref, H2_PLACE_SUPER_ROOT, &d, &meta);
	if (!err)
		h2_root_init(root, d.u.blockset);
	return err;
}

int h2_held_find_pfs(struct h2_held *held, const char *label, struct h2_blockref *ref,
		     struct h2d_inode *d, struct h2_inode_meta *meta)
{
	struct h2_blocks *blocks = &held->fs->blocks;
	size_t len = strlen(label);
	uint64_t hash = h2_name_hash(label, len);
	struct h2_inode_meta m;
	struct h2_cursor cursor;
	struct h2_blockref r;
	struct h2_root root;
	int err = load_super_root(held, &root), damage = 0;

	if (err)
		return err;
	h2_cursor_init(&cursor, blocks, &nowhere, H2_TREE_SUPER_ROOT, &root, hash,
		       hash | H2_KEY_COLLISION);
	while ((err = h2_cursor_next(&cursor, &r)) != 1) {
		if (!err)
			err = h2_inode_load(blocks, &nowhere, &r, H2_PLACE_PFS_ROOT, d, &m);
		if (!err && m.name_len == len && memcmp(m.filename, label, len) == 0)
			break;
		if (err && !damage)
			damage = err;
	}
	h2_cursor_fini(&cursor);
	if (err)
		return damage ? damage : -ENOENT;
	if (ref)
		*ref = r;
	if (meta)
		*meta = m;
	return 0;
}
