/* Whether the contents of two files are the same bytes; see diff_impl.h. */
#include "diff_impl.h"

#include <stdlib.h>
#include <string.h>

struct contents {
	struct diff *diff;
	const struct diff_inode *inodes; /* of both; of equal size */
	uint8_t *bytes[SIDES];           /* a logical block each */
};

static bool is_inline(const struct diff_inode *inode)
{
	return inode->meta.op_flags & H2_INODE_DIRECTDATA;
}

/* The bytes of a block, NULL for a hole, as a whole logical block. */
static int load_block(struct contents *c, unsigned side, const struct h2_blockref *ref)
{
	const struct diff_inode *inode = &c->inodes[side];
	struct h2_where where = diff_where(c->diff, side, inode->meta.inum);
	size_t len = 0;
	int err = 0;

	if (ref) {
		err = diff_step(c->diff, h2_block_size(ref));
		if (!err)
			err = h2_data_load(c->diff->blocks, &where, ref, c->bytes[side], &len);
	} else if (is_inline(inode)) {
		/* The size was checked to be at most 512. */
		len = (size_t)inode->meta.size;
		memcpy(c->bytes[side], inode->d.u.data, len);
	}
	if (!err)
		memset(c->bytes[side] + len, 0, H2_LOGICAL_BLOCK - len);
	return err;
}

static int compare_block(struct contents *c, uint64_t offset,
			 const struct h2_blockref *const refs[SIDES], bool *differ)
{
	uint64_t left = c->inodes[FROM].meta.size - offset;
	int err = load_block(c, FROM, refs[FROM]);

	if (!err)
		err = load_block(c, TO, refs[TO]);
	if (!err)
		*differ = memcmp(c->bytes[FROM], c->bytes[TO],
				 left < H2_LOGICAL_BLOCK ? (size_t)left : H2_LOGICAL_BLOCK) != 0;
	return err;
}

static int enter_block(void *user, const struct h2_blockref *ref)
{
	return diff_step(user, h2_block_size(ref));
}

static int compare_trees(struct contents *c, bool *differ)
{
	struct h2_where wheres[SIDES];
	struct h2_root roots[SIDES];
	const struct h2_blockref *refs[SIDES];
	struct h2_compare compare;
	int err = 0;

	for (unsigned side = 0; side < SIDES; side++) {
		wheres[side] = diff_where(c->diff, side, c->inodes[side].meta.inum);
		h2_root_init(&roots[side], c->inodes[side].d.u.blockset);
	}
	h2_compare_init(&compare, c->diff->blocks,
			(const struct h2_where *[SIDES]){&wheres[FROM], &wheres[TO]}, H2_TREE_FILE,
			(const struct h2_root *[SIDES]){&roots[FROM], &roots[TO]}, 0,
			c->inodes[FROM].meta.size - 1);
	compare.enter = enter_block;
	compare.user = c->diff;
	while (!*differ && (err = h2_compare_next(&compare, refs)) == 0) {
		err = diff_step(c->diff, 0);
		if (!err && !(refs[FROM] && refs[TO] && h2_blockref_same(refs[FROM], refs[TO])))
			err = compare_block(c, (refs[FROM] ? refs[FROM] : refs[TO])->key, refs,
					    differ);
		if (err)
			break;
	}
	h2_compare_fini(&compare);
	return *differ || err == 1 ? 0 : err;
}

/* One of them has its contents in the inode, so both have one block at most. */
static int compare_with_inline(struct contents *c, bool *differ)
{
	const struct h2_blockref *refs[SIDES] = {NULL, NULL};
	struct h2_blockref found[SIDES];

	for (unsigned side = 0; side < SIDES; side++) {
		struct h2_where where = diff_where(c->diff, side, c->inodes[side].meta.inum);
		struct h2_root root;
		int err;

		if (is_inline(&c->inodes[side]))
			continue;
		h2_root_init(&root, c->inodes[side].d.u.blockset);
		err = h2_tree_first(c->diff->blocks, &where, H2_TREE_FILE, &root, 0, 0,
				    &found[side], NULL);
		if (err < 0)
			return err;
		refs[side] = err ? NULL : &found[side];
	}
	return compare_block(c, 0, refs, differ);
}

static int compare_bytes(struct contents *c, bool *differ)
{
	bool inline_[SIDES] = {is_inline(&c->inodes[FROM]), is_inline(&c->inodes[TO])};
	int err = 0;

	for (unsigned side = 0; side < SIDES && !err; side++) {
		c->bytes[side] = aligned_alloc(H2_BUFFER_ALIGN, H2_LOGICAL_BLOCK);
		err = c->bytes[side] ? 0 : -ENOMEM;
	}
	if (!err)
		err = inline_[FROM] || inline_[TO] ? compare_with_inline(c, differ)
						   : compare_trees(c, differ);
	free(c->bytes[FROM]);
	free(c->bytes[TO]);
	return err;
}

/* As most are whose names or attributes have changed. */
static bool is_unchanged(const struct diff_inode inodes[SIDES])
{
	return is_inline(&inodes[FROM]) == is_inline(&inodes[TO]) &&
	       memcmp(&inodes[FROM].d.u, &inodes[TO].d.u, sizeof(inodes[FROM].d.u)) == 0;
}

int diff_contents(struct diff *diff, const struct diff_inode inodes[SIDES], bool *differ)
{
	const struct h2_inode_meta *a = &inodes[FROM].meta, *b = &inodes[TO].meta;
	struct contents c = {.diff = diff, .inodes = inodes};
	int err = 0;

	*differ = false;
	if (a->type != H2_OBJECT_FILE && a->type != H2_OBJECT_SYMLINK)
		return 0;
	if (a->size != b->size)
		*differ = true;
	else if (a->size > 0 && !is_unchanged(inodes))
		err = compare_bytes(&c, differ);
	/* They were written, and what was written cannot be shown to be what was there. */
	if (err == -H2_ECHECK || err == -H2_ECORRUPT) {
		*differ = true;
		err = 0;
	}
	return err;
}
