/*
 * File data without a check code that two blockrefs lead to (BS 5.8, 10.5).
 *
 * DragonFly's kernel overwrites such a block in place where its modify_tid is above the
 * pfs_lsnap_tid of the PFS, taking it for the PFS's own. So each PFS that shares one with a
 * snapshot must have a pfs_lsnap_tid that is not below it.
 *
 * The map remembers for each block whether a PFS takes it for its own. Where a second reference
 * leads to such a block, of data or of what is above data, topology remembers that reference here.
 * When all is walked, and there is data without a check code at all, what is below these references
 * is looked at again. DragonFly leaves such ones above sound data, too: so they alone are no fault.
 */
#include <stdlib.h>

#include "check.h"
#include "check_impl.h"
#include "fs_impl.h"

#define LIST_BYTES_MAX ((size_t)8 << 20) /* what does not fit is not judged */

struct h2_check_shared_ref {
	struct h2_blockref ref;
	enum h2_tree_kind kind; /* of the tree that it is in */
	size_t pfs;             /* index in check->pfs */
	uint64_t inum;
};

static bool is_unchecked(const struct h2_blockref *ref)
{
	return ref->type == H2_BLOCKREF_DATA && h2_blockref_check_algo(ref) == H2_CHECK_NONE;
}

bool h2_check_is_own(struct h2_check *c, size_t pfs, const struct h2_blockref *ref)
{
	if (is_unchecked(ref))
		atomic_store(&c->unchecked_data, true);
	/* Data with a check code is never changed in place, and shared by deduplication, too. */
	else if (ref->type != H2_BLOCKREF_INODE && ref->type != H2_BLOCKREF_INDIRECT)
		return false;
	return pfs != SIZE_MAX && ref->modify_tid > c->pfs[pfs].lsnap_tid;
}

void h2_check_shared_add(struct h2_check *c, size_t pfs, const struct h2_where *where,
			 enum h2_tree_kind kind, const struct h2_blockref *ref)
{
	struct h2_check_shared_ref *list;

	h2_mutex_lock(&c->lock);
	if (c->shared_count == c->shared_room) {
		size_t room = c->shared_room ? 2 * c->shared_room : 64;

		list = room * sizeof(*list) > LIST_BYTES_MAX
			       ? NULL
			       : realloc(c->shared, room * sizeof(*list));
		if (!list) {
			h2_mutex_unlock(&c->lock);
			return;
		}
		c->shared = list;
		c->shared_room = room;
	}
	c->shared[c->shared_count++] = (struct h2_check_shared_ref){
		.ref = *ref,
		.kind = kind,
		.pfs = pfs,
		.inum = where->inum,
	};
	h2_mutex_unlock(&c->lock);
}

static struct h2_where where_of(const struct h2_check *c, const struct h2_check_shared_ref *s)
{
	return (struct h2_where){
		.pfs = s->pfs == SIZE_MAX ? NULL : c->pfs[s->pfs].label,
		.inum = s->inum,
		.has_inum = true,
	};
}

static void judge(struct h2_check *c, const struct h2_check_shared_ref *s, unsigned depth);

/* Each entry that a sound array has; what is wrong with the others was found by the topology. */
static void judge_array(struct h2_check *c, const struct h2_check_shared_ref *above,
			const struct h2d_blockref *refs, unsigned count, unsigned depth)
{
	struct h2_check_shared_ref s = *above;

	for (unsigned i = 0; i < count && !h2_check_stopped(c); i++) {
		struct h2_problem problem;

		if (refs[i].type == H2_BLOCKREF_EMPTY)
			continue;
		h2_blockref_decode(&refs[i], &s.ref);
		if (h2_blockref_verify(&s.ref, s.kind, c->blocks.total_size, &problem))
			judge(c, &s, depth + 1);
	}
}

static void judge_inode(struct h2_check *c, const struct h2_check_shared_ref *s, unsigned depth)
{
	struct h2_check_shared_ref below = *s;
	struct h2_inode_meta m;
	struct h2d_inode d;

	if (h2_volumes_read(c->volumes, h2_blockref_offset(&s->ref), &d, sizeof(d)) != 0 ||
	    h2_check_verify(&s->ref, &d, sizeof(d)) == H2_CHECK_MISMATCH)
		return;
	h2_inode_decode(&d, &m);
	if (m.type != H2_OBJECT_FILE || m.op_flags & H2_INODE_DIRECTDATA)
		return;
	below.kind = H2_TREE_FILE;
	below.inum = m.inum;
	judge_array(c, &below, d.u.blockset, H2_BLOCKSET_COUNT, depth);
}

static void judge_indirect(struct h2_check *c, const struct h2_check_shared_ref *s, unsigned depth)
{
	size_t size = h2_block_size(&s->ref);
	struct h2d_blockref *block = malloc(size);

	if (!block)
		h2_check_fail(c, -ENOMEM);
	else if (h2_volumes_read(c->volumes, h2_blockref_offset(&s->ref), block, size) == 0 &&
		 h2_check_verify(&s->ref, block, size) != H2_CHECK_MISMATCH)
		judge_array(c, s, block, (unsigned)(size / H2_BLOCKREF_SIZE), depth);
	free(block);
}

static void judge_data(struct h2_check *c, const struct h2_check_shared_ref *s)
{
	struct h2_where where = where_of(c, s);
	uint64_t lsnap = s->pfs == SIZE_MAX ? UINT64_MAX : c->pfs[s->pfs].lsnap_tid;

	if (is_unchecked(&s->ref) &&
	    (s->ref.modify_tid > lsnap || h2_reach_is_own(&c->reach, h2_blockref_offset(&s->ref))))
		h2_check_find(c, FIND_SNAPSHOT_TID,
			      &(struct h2_about){
				      .where = &where,
				      .ref = &s->ref,
				      .member = "modify_tid",
				      .has_values = true,
				      .found = s->ref.modify_tid,
				      .expected = lsnap,
			      });
}

/* The set holds what was looked at, so that hostile trees end. */
static void judge(struct h2_check *c, const struct h2_check_shared_ref *s, unsigned depth)
{
	int fresh;

	if (h2_blockref_radix(&s->ref) == 0 || depth > H2_DEPTH_MAX ||
	    c->visited.count >= c->visited_max)
		return;
	fresh = h2_set_add(&c->visited, s->ref.data_off);
	if (fresh < 0)
		h2_check_fail(c, fresh);
	if (fresh <= 0)
		return;
	h2_check_advance(c, 0);
	switch (s->ref.type) {
	case H2_BLOCKREF_DATA:
		judge_data(c, s);
		break;
	case H2_BLOCKREF_INODE:
		judge_inode(c, s, depth);
		break;
	case H2_BLOCKREF_INDIRECT:
		judge_indirect(c, s, depth);
		break;
	default:
		break;
	}
}

void h2_check_shared(struct h2_check *c)
{
	h2_set_clear(&c->visited);
	for (size_t i = 0; i < c->shared_count && atomic_load(&c->unchecked_data); i++)
		judge(c, &c->shared[i], 0);
	h2_set_clear(&c->visited);
	free(c->shared);
	c->shared = NULL;
	c->shared_count = c->shared_room = 0;
}
