/* Writing the branches of a tree; see change.h. */
#include <stdlib.h>
#include <string.h>

#include "change.h"
#include "check.h"

#define LEAF_COUNT_MAX 65535u

static void add_sums(struct h2_tree_sums *sums, const struct h2d_blockref *d)
{
	uint64_t data_off = le64_get(d->data_off);
	uint64_t modify_tid = le64_get(d->modify_tid);

	if (data_off & 63)
		sums->data_count += UINT64_C(1) << (data_off & 63);
	if (d->type == H2_BLOCKREF_INODE || d->type == H2_BLOCKREF_INDIRECT) {
		sums->data_count += le64_get(d->embed.stats.data_count);
		sums->inode_count += le64_get(d->embed.stats.inode_count);
	}
	if (d->type == H2_BLOCKREF_INODE)
		sums->inode_count++;
	sums->leaf_count += d->type == H2_BLOCKREF_INDIRECT ? le16_get(d->leaf_count) : 1;
	if (sums->leaf_count > LEAF_COUNT_MAX)
		sums->leaf_count = LEAF_COUNT_MAX;
	if (modify_tid > sums->modify_tid)
		sums->modify_tid = modify_tid;
}

static int flush_children(const struct h2_tree_flush *flush, struct h2_array *array,
			  struct h2d_blockref *refs, struct h2_tree_sums *sums);

/* Write a branch, and make d, which leads to it, what it must be. */
static int flush_branch(const struct h2_tree_flush *flush, struct h2_branch *branch,
			struct h2d_blockref *d)
{
	struct h2_node *node = branch->node;
	size_t size = node->capacity * H2_BLOCKREF_SIZE;
	struct h2_tree_sums sums = {.modify_tid = flush->modify_tid};
	struct h2_blockref ref;
	unsigned radix = 0;
	int err = flush_children(flush, &node->array, node->block, &sums);

	if (err)
		return err;
	while ((size_t)1 << radix < size)
		radix++;
	h2_blockref_decode(d, &ref);
	if (branch->old_data_off && flush->blocks)
		h2_node_drop(flush->blocks, &ref);
	err = flush->alloc(flush->user, radix, &ref.data_off);
	if (err)
		return err;
	ref.methods = (uint8_t)(flush->check_algo << 4);
	ref.mirror_tid = flush->mirror_tid;
	ref.modify_tid = sums.modify_tid;
	ref.data_count = sums.data_count;
	ref.inode_count = sums.inode_count;
	ref.leaf_count = (uint16_t)sums.leaf_count;
	err = h2_check_set(&ref, node->block, size);
	if (!err)
		err = flush->write(flush->user, h2_blockref_offset(&ref), node->block, size);
	if (err)
		return err;
	h2_blockref_encode(&ref, d);
	if (branch->old_data_off)
		flush->drop(flush->user, &(struct h2_blockref){
						 .type = H2_BLOCKREF_INDIRECT,
						 .data_off = branch->old_data_off,
						 .mirror_tid = branch->old_mirror_tid,
					 });
	branch->old_data_off = ref.data_off;
	branch->old_mirror_tid = ref.mirror_tid;
	branch->written = true;
	return 0;
}

static int flush_children(const struct h2_tree_flush *flush, struct h2_array *array,
			  struct h2d_blockref *refs, struct h2_tree_sums *sums)
{
	for (unsigned i = 0; i < array->count; i++) {
		unsigned slot = array->entries[i].slot;
		int err = 0;

		if (array->children[slot])
			err = flush_branch(flush, array->children[slot], &refs[slot]);
		if (err)
			return err;
		add_sums(sums, &refs[slot]);
	}
	return 0;
}

int h2_tree_flush(const struct h2_tree_flush *flush, struct h2_root *root,
		  struct h2_tree_sums *sums)
{
	*sums = (struct h2_tree_sums){.modify_tid = flush->modify_tid};
	return flush_children(flush, &root->array, root->refs, sums);
}
