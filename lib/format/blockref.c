/* Block references: media order and host order, and what can be judged of one by itself. */
#include <string.h>

#include "format.h"

static bool has_stats(unsigned type)
{
	return type == H2_BLOCKREF_INODE || type == H2_BLOCKREF_INDIRECT;
}

void h2_blockref_decode(const struct h2d_blockref *d, struct h2_blockref *ref)
{
	*ref = (struct h2_blockref){
		.type = d->type,
		.methods = d->methods,
		.copyid = d->copyid,
		.keybits = d->keybits,
		.vradix = d->vradix,
		.flags = d->flags,
		.leaf_count = le16_get(d->leaf_count),
		.key = le64_get(d->key),
		.mirror_tid = le64_get(d->mirror_tid),
		.modify_tid = le64_get(d->modify_tid),
		.data_off = le64_get(d->data_off),
		.update_tid = le64_get(d->update_tid),
	};
	if (has_stats(d->type)) {
		ref->data_count = le64_get(d->embed.stats.data_count);
		ref->inode_count = le64_get(d->embed.stats.inode_count);
	} else if (d->type == H2_BLOCKREF_DIRENT) {
		ref->dirent_inum = le64_get(d->embed.dirent.inum);
		ref->dirent_namlen = le16_get(d->embed.dirent.namlen);
		ref->dirent_type = d->embed.dirent.type;
	}
	memcpy(ref->check, d->check.bytes, sizeof(ref->check));
}

void h2_blockref_encode(const struct h2_blockref *ref, struct h2d_blockref *d)
{
	*d = (struct h2d_blockref){
		.type = ref->type,
		.methods = ref->methods,
		.copyid = ref->copyid,
		.keybits = ref->keybits,
		.vradix = ref->vradix,
		.flags = ref->flags,
		.leaf_count = le16_make(ref->leaf_count),
		.key = le64_make(ref->key),
		.mirror_tid = le64_make(ref->mirror_tid),
		.modify_tid = le64_make(ref->modify_tid),
		.data_off = le64_make(ref->data_off),
		.update_tid = le64_make(ref->update_tid),
	};
	if (has_stats(ref->type)) {
		d->embed.stats.data_count = le64_make(ref->data_count);
		d->embed.stats.inode_count = le64_make(ref->inode_count);
	} else if (ref->type == H2_BLOCKREF_DIRENT) {
		d->embed.dirent.inum = le64_make(ref->dirent_inum);
		d->embed.dirent.namlen = le16_make(ref->dirent_namlen);
		d->embed.dirent.type = ref->dirent_type;
	}
	memcpy(d->check.bytes, ref->check, sizeof(ref->check));
}

static bool problem(struct h2_problem *p, const char *member, const char *expected, uint64_t found)
{
	*p = (struct h2_problem){.member = member, .expected = expected, .found = found};
	return false;
}

/* MF 3.2 and BS 6.2; a directory may hold legacy inodes at visible keys (MF 7.6). */
static bool verify_type(const struct h2_blockref *ref, enum h2_tree_kind kind, struct h2_problem *p)
{
	bool indirect = ref->type == H2_BLOCKREF_INDIRECT;
	bool visible = ref->key & H2_KEY_VISIBLE;

	switch (kind) {
	case H2_TREE_SUPER_ROOT_SET:
	case H2_TREE_SUPER_ROOT:
		if (!indirect && ref->type != H2_BLOCKREF_INODE)
			return problem(p, "type", "inode or indirect in the super-root", ref->type);
		break;
	case H2_TREE_PFS_ROOT:
		if (indirect || ref->type == H2_BLOCKREF_INODE)
			break;
		if (ref->type != H2_BLOCKREF_DIRENT || !visible)
			return problem(p, "type", "inode, visible dirent or indirect in a PFS root",
				       ref->type);
		break;
	case H2_TREE_DIRECTORY:
		if (!indirect && ref->type != H2_BLOCKREF_DIRENT && ref->type != H2_BLOCKREF_INODE)
			return problem(p, "type", "dirent or indirect in a directory", ref->type);
		if (!indirect && !visible)
			return problem(p, "key", "bit 63 set in a directory", ref->key);
		break;
	case H2_TREE_FILE:
		if (!indirect && ref->type != H2_BLOCKREF_DATA)
			return problem(p, "type", "data or indirect in a file", ref->type);
		break;
	case H2_TREE_FREEMAP:
		if (ref->type != H2_BLOCKREF_FREEMAP_NODE && ref->type != H2_BLOCKREF_FREEMAP_LEAF)
			return problem(p, "type", "freemap node or leaf in the freemap", ref->type);
		break;
	}
	return true;
}

static bool verify_key(const struct h2_blockref *ref, struct h2_problem *p)
{
	unsigned bits = ref->keybits;

	switch (ref->type) {
	case H2_BLOCKREF_INODE:
	case H2_BLOCKREF_DIRENT:
		if (bits != 0)
			return problem(p, "keybits", "0", bits);
		break;
	case H2_BLOCKREF_DATA:
		if (bits != 16)
			return problem(p, "keybits", "16", bits);
		break;
	case H2_BLOCKREF_FREEMAP_LEAF:
		if (bits != 30)
			return problem(p, "keybits", "30", bits);
		break;
	case H2_BLOCKREF_FREEMAP_NODE:
		if (h2_freemap_level(bits) < 2)
			return problem(p, "keybits", "38, 46, 54 or 62", bits);
		break;
	default:
		if (bits < 1 || bits > 63)
			return problem(p, "keybits", "1 to 63", bits);
		break;
	}
	if (ref->key & ((UINT64_C(1) << bits) - 1))
		return problem(p, "key", "a multiple of 2^keybits", ref->key);
	return true;
}

static bool verify_radix(const struct h2_blockref *ref, struct h2_problem *p)
{
	unsigned radix = h2_blockref_radix(ref);

	switch (ref->type) {
	case H2_BLOCKREF_INODE:
		if (radix != 10)
			return problem(p, "data_off size code", "10", radix);
		break;
	case H2_BLOCKREF_DIRENT:
		if (radix != 0 && radix != 10)
			return problem(p, "data_off size code", "0 or 10", radix);
		break;
	case H2_BLOCKREF_FREEMAP_NODE:
	case H2_BLOCKREF_FREEMAP_LEAF:
		if (radix != 15)
			return problem(p, "data_off size code", "15", radix);
		break;
	default:
		if (radix < 10 || radix > 16)
			return problem(p, "data_off size code", "10 to 16", radix);
		break;
	}
	return true;
}

/* MF 3.4, 10.4: alignment and the places where a block may lie. */
static bool verify_offset(const struct h2_blockref *ref, uint64_t total_size, struct h2_problem *p)
{
	uint64_t off = h2_blockref_offset(ref);
	unsigned radix = h2_blockref_radix(ref);
	uint64_t size = UINT64_C(1) << radix;

	if (radix == 0)
		return off == 0 ||
		       problem(p, "data_off", "0 where there is no block", ref->data_off);
	if (off < H2_HEADER_SIZE || off > total_size || size > total_size - off)
		return problem(p, "data_off", "an offset within the filesystem", ref->data_off);
	if (ref->type == H2_BLOCKREF_FREEMAP_NODE || ref->type == H2_BLOCKREF_FREEMAP_LEAF) {
		unsigned level = h2_freemap_level(ref->keybits);

		for (unsigned set = 0; set < H2_FREEMAP_SETS; set++) {
			if (ref->data_off == h2_freemap_data_off(level, ref->key, set))
				return true;
		}
		return problem(p, "data_off", "a freemap slot of its level and key", ref->data_off);
	}
	if (off % H2_ZONE < H2_SEGMENT)
		return problem(p, "data_off", "an offset outside the reserved segments",
			       ref->data_off);
	if (off % H2_BLOCK_MIN != 0)
		return problem(p, "data_off", "a multiple of 1 KiB", ref->data_off);
	if (size >= H2_GRANULE ? off % size != 0 : off % H2_GRANULE + size > H2_GRANULE)
		return problem(p, "data_off", "a block aligned to its size, or within 16 KiB",
			       ref->data_off);
	return true;
}

bool h2_blockref_verify(const struct h2_blockref *ref, enum h2_tree_kind kind, uint64_t total_size,
			struct h2_problem *p)
{
	if (!verify_type(ref, kind, p) || !verify_key(ref, p) || !verify_radix(ref, p) ||
	    !verify_offset(ref, total_size, p))
		return false;
	if (h2_blockref_check_algo(ref) > H2_CHECK_FREEMAP && h2_blockref_radix(ref) != 0)
		return problem(p, "methods", "a known check algorithm", ref->methods);
	if (ref->type == H2_BLOCKREF_DATA && h2_blockref_comp_algo(ref) > H2_COMP_ZLIB)
		return problem(p, "methods", "a known compression algorithm", ref->methods);
	if (ref->type == H2_BLOCKREF_DIRENT) {
		unsigned len = ref->dirent_namlen;
		bool inline_name = h2_blockref_radix(ref) == 0;

		if (len < 1 || len > H2_NAME_MAX || inline_name != (len <= H2_NAME_INLINE_MAX))
			return problem(p, "namlen",
				       inline_name ? "1 to 64" : "65 to 255, with a name block",
				       len);
		if (ref->dirent_inum == 0 || ref->dirent_inum & H2_KEY_VISIBLE)
			return problem(p, "inum", "1 to 2^63 - 1", ref->dirent_inum);
	}
	return true;
}
