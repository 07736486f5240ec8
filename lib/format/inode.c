/* Inodes: media order and host order, and what can be judged of one by itself. */
#include <string.h>

#include "format.h"

void h2_inode_decode(const struct h2d_inode *d, struct h2_inode_meta *m)
{
	*m = (struct h2_inode_meta){
		.version = le16_get(d->version),
		.pfs_subtype = d->pfs_subtype,
		.uflags = le32_get(d->uflags),
		.rmajor = le32_get(d->rmajor),
		.rminor = le32_get(d->rminor),
		.ctime = le64_get(d->ctime),
		.mtime = le64_get(d->mtime),
		.atime = le64_get(d->atime),
		.btime = le64_get(d->btime),
		.uid = h2_uuid_to_id(&d->uid),
		.gid = h2_uuid_to_id(&d->gid),
		.type = d->type,
		.op_flags = d->op_flags,
		.cap_flags = le16_get(d->cap_flags),
		.mode = le32_get(d->mode),
		.inum = le64_get(d->inum),
		.size = le64_get(d->size),
		.nlinks = le64_get(d->nlinks),
		.iparent = le64_get(d->iparent),
		.name_key = le64_get(d->name_key),
		.name_len = le16_get(d->name_len),
		.ncopies = d->ncopies,
		.comp_algo = d->comp_algo,
		.check_algo = d->check_algo,
		.pfs_nmasters = d->pfs_nmasters,
		.pfs_type = d->pfs_type,
		.pfs_inum = le64_get(d->pfs_inum),
		.pfs_clid = d->pfs_clid,
		.pfs_fsid = d->pfs_fsid,
		.data_quota = le64_get(d->data_quota),
		.inode_quota = le64_get(d->inode_quota),
		.pfs_lsnap_tid = le64_get(d->pfs_lsnap_tid),
		.reserved002 = d->reserved002,
		.reserved084 = d->reserved084,
		.reserved0b8 = le64_get(d->reserved0b8),
		.reserved0c8 = le64_get(d->reserved0c8),
		.reserved0d8 = le64_get(d->reserved0d8),
		.decrypt_check = le64_get(d->decrypt_check),
	};
	for (unsigned i = 0; i < 3; i++)
		m->reserved0e8[i] = le64_get(d->reserved0e8[i]);
	memcpy(m->filename, d->filename, sizeof(m->filename));
}

void h2_inode_meta_decode(const uint8_t block[1024], struct h2_inode_meta *meta)
{
	struct h2d_inode d;

	memcpy(&d, block, sizeof(d));
	h2_inode_decode(&d, meta);
}

void h2_inode_encode(const struct h2_inode_meta *m, struct h2d_inode *d)
{
	d->version = le16_make(m->version);
	d->pfs_subtype = m->pfs_subtype;
	d->uflags = le32_make(m->uflags);
	d->rmajor = le32_make(m->rmajor);
	d->rminor = le32_make(m->rminor);
	d->ctime = le64_make(m->ctime);
	d->mtime = le64_make(m->mtime);
	d->atime = le64_make(m->atime);
	d->btime = le64_make(m->btime);
	h2_uuid_from_id(m->uid, &d->uid);
	h2_uuid_from_id(m->gid, &d->gid);
	d->type = m->type;
	d->op_flags = m->op_flags;
	d->cap_flags = le16_make(m->cap_flags);
	d->mode = le32_make(m->mode);
	d->inum = le64_make(m->inum);
	d->size = le64_make(m->size);
	d->nlinks = le64_make(m->nlinks);
	d->iparent = le64_make(m->iparent);
	d->name_key = le64_make(m->name_key);
	d->name_len = le16_make(m->name_len);
	d->ncopies = m->ncopies;
	d->comp_algo = m->comp_algo;
	d->check_algo = m->check_algo;
	d->pfs_nmasters = m->pfs_nmasters;
	d->pfs_type = m->pfs_type;
	d->pfs_inum = le64_make(m->pfs_inum);
	d->pfs_clid = m->pfs_clid;
	d->pfs_fsid = m->pfs_fsid;
	d->data_quota = le64_make(m->data_quota);
	d->inode_quota = le64_make(m->inode_quota);
	d->pfs_lsnap_tid = le64_make(m->pfs_lsnap_tid);
	d->reserved002 = m->reserved002;
	d->reserved084 = m->reserved084;
	d->reserved0b8 = le64_make(m->reserved0b8);
	d->reserved0c8 = le64_make(m->reserved0c8);
	d->reserved0d8 = le64_make(m->reserved0d8);
	d->decrypt_check = le64_make(m->decrypt_check);
	for (unsigned i = 0; i < 3; i++)
		d->reserved0e8[i] = le64_make(m->reserved0e8[i]);
	memcpy(d->filename, m->filename, sizeof(d->filename));
}

static bool problem(struct h2_problem *p, const char *member, const char *expected, uint64_t found)
{
	*p = (struct h2_problem){.member = member, .expected = expected, .found = found};
	return false;
}

static bool type_usable(unsigned type)
{
	return type == H2_OBJECT_DIRECTORY || type == H2_OBJECT_FILE || type == H2_OBJECT_FIFO ||
	       type == H2_OBJECT_CHAR_DEVICE || type == H2_OBJECT_BLOCK_DEVICE ||
	       type == H2_OBJECT_SYMLINK || type == H2_OBJECT_SOCKET;
}

bool h2_inode_verify(const struct h2_inode_meta *m, enum h2_inode_place place, uint64_t key,
		     struct h2_problem *p)
{
	bool root = place == H2_PLACE_SUPER_ROOT || place == H2_PLACE_PFS_ROOT;
	bool has_content = m->type == H2_OBJECT_FILE || m->type == H2_OBJECT_SYMLINK;
	bool inline_data = m->op_flags & H2_INODE_DIRECTDATA;

	if (m->version != 1)
		return problem(p, "version", "1", m->version);
	if (!type_usable(m->type))
		return problem(p, "type", "a usable object type", m->type);
	if (root && m->type != H2_OBJECT_DIRECTORY)
		return problem(p, "type", "1 (directory)", m->type);
	if (place == H2_PLACE_SUPER_ROOT && m->inum != H2_INUM_SUPER_ROOT)
		return problem(p, "inum", "0 in the super-root", m->inum);
	if (place == H2_PLACE_PFS_ROOT && m->inum != H2_INUM_ROOT)
		return problem(p, "inum", "1 in a PFS root", m->inum);
	if (place == H2_PLACE_INDEX && m->inum != key)
		return problem(p, "inum", "the key it is indexed under", m->inum);
	if (m->inum & H2_KEY_VISIBLE || (!root && m->inum <= H2_INUM_ROOT))
		return problem(p, "inum", "2 to 2^63 - 1", m->inum);
	if (inline_data && !has_content)
		return problem(p, "op_flags", "DIRECTDATA on files and symlinks only", m->op_flags);
	if (inline_data && m->size > H2_INLINE_DATA_MAX)
		return problem(p, "size", "at most 512 with DIRECTDATA", m->size);
	if (has_content && m->size > INT64_MAX)
		return problem(p, "size", "at most 2^63 - 1", m->size);
	if (m->op_flags & H2_INODE_PFSROOT && place != H2_PLACE_PFS_ROOT)
		return problem(p, "op_flags", "PFSROOT below the super-root only", m->op_flags);
	if (place == H2_PLACE_PFS_ROOT || place == H2_PLACE_LEGACY) {
		if (m->name_len < 1 || m->name_len > H2_NAME_MAX)
			return problem(p, "name_len", "1 to 255", m->name_len);
	}
	return true;
}
