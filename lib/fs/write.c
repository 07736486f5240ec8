/*
 * Changing file contents: writing, truncating, holes, copying. BS 5.
 *
 * What is written goes to buffers (buffer.c). Bytes behind the end of a file are zero, in buffers
 * and on the media, so that a file that grows shows zeros: where another implementation left
 * something else there, the block is rewritten before the file grows over it (BS 5.4, D10).
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "compress.h"
#include "fs_impl.h"

#define PART_MAX ((size_t)1 << 20) /* of a write that is one operation */
#define UFLAGS_IMMUTABLE 0x00020002u
#define UFLAGS_APPEND 0x00040004u

/* What an operation on one file's blocks may need beside them: inode, branches. */
#define OVERHEAD_BYTES (UINT64_C(128) << 10)

static uint64_t block_of(uint64_t offset)
{
	return offset / H2_LOGICAL_BLOCK * H2_LOGICAL_BLOCK;
}

/*
 * Get a buffer of the logical block at key with room bytes that holds what the file has there.
 * Returns 0 and *bp; 1: the block is a hole and has no buffer (unless make); an error.
 */
static int load_buffer(struct h2_inode *inode, uint64_t key, size_t room, bool make,
		       struct h2_buffer **bp)
{
	struct h2_blockref ref;
	uint8_t *bytes;
	size_t len, valid;
	int err;

	*bp = h2_buffer_find(inode, key);
	if (!*bp) {
		err = h2_file_block_at(inode, key, &ref);
		if (err < 0)
			return err;
		if (err == 1 && !make)
			return 1;
		if (err == 0) {
			bytes = aligned_alloc(H2_BUFFER_ALIGN, H2_LOGICAL_BLOCK);
			if (!bytes)
				return -ENOMEM;
			err = h2_file_decode(inode, &ref, bytes, &len);
			if (!err) {
				valid = inode->meta.size > key
						? (size_t)(inode->meta.size - key < len
								   ? inode->meta.size - key
								   : len)
						: 0;
				*bp = h2_buffer_make(inode, key, valid > room ? valid : room);
				if (*bp)
					memcpy((*bp)->bytes, bytes, valid);
				else
					err = -ENOMEM;
			}
			free(bytes);
			return err;
		}
	}
	*bp = h2_buffer_make(inode, key, room);
	return *bp ? 0 : -ENOMEM;
}

/* From inline data to blocks, BS 5.2. */
static int leave_inline(struct h2_inode *inode)
{
	static const struct h2d_blockref empty[H2_BLOCKSET_COUNT];
	uint8_t data[H2_INLINE_DATA_MAX];
	size_t size = (size_t)inode->meta.size;

	memcpy(data, inode->u.data, sizeof(data));
	if (size > 0) {
		struct h2_buffer *b = h2_buffer_make(inode, 0, size);

		if (!b)
			return -ENOMEM;
		memcpy(b->bytes, data, size);
	}
	inode->meta.op_flags &= (uint8_t)~H2_INODE_DIRECTDATA;
	h2_root_init(&inode->u.root, empty);
	return 0;
}

/* Before the size grows: see to it that the last block has zeros behind the end. */
static int clean_tail(struct h2_inode *inode)
{
	uint64_t size = inode->meta.size, key = block_of(size);
	struct h2_tree_change change = h2_inode_change(inode);
	struct h2_blockref ref;
	uint8_t *bytes;
	size_t len = 0;
	int err;

	if (h2_inode_is_inline(inode))
		return 0;
	/* Nor may blocks that others left behind the end (MF 8.4). */
	err = h2_tree_first(h2_inode_blocks(inode), &change.where, H2_TREE_FILE, &inode->u.root,
			    size > key ? key + H2_LOGICAL_BLOCK : key, UINT64_MAX, &ref, NULL);
	if (err < 0)
		return err;
	if (err == 0) {
		err = h2_tree_remove_range(&change, &inode->u.root,
					   size > key ? key + H2_LOGICAL_BLOCK : key, UINT64_MAX);
		if (err)
			return err;
	}
	if (size == key || h2_buffer_find(inode, key))
		return 0;
	err = h2_file_block_at(inode, key, &ref);
	if (err)
		return err < 0 ? err : 0;
	/* What was stored since opening was stored clean. */
	if (ref.mirror_tid >= h2_txn_first_tid(h2_inode_fs(inode)->txn))
		return 0;
	bytes = aligned_alloc(H2_BUFFER_ALIGN, H2_LOGICAL_BLOCK);
	if (!bytes)
		return -ENOMEM;
	err = h2_file_decode(inode, &ref, bytes, &len);
	if (!err && len > size - key &&
	    !h2_is_zero(bytes + (size - key), len - (size_t)(size - key))) {
		struct h2_buffer *b;

		err = h2_tree_touch(&change, &inode->u.root, key);
		if (!err)
			err = load_buffer(inode, key, 1, true, &b);
	}
	free(bytes);
	return err;
}

/* One block's part of a write. */
static int write_block(struct h2_inode *inode, uint64_t key, size_t from, const uint8_t *data,
		       size_t len)
{
	uint64_t used = inode->meta.size > key ? inode->meta.size - key : 0;
	struct h2_tree_change change = h2_inode_change(inode);
	struct h2_buffer *b;
	int err;

	/* Damage on the way to the block must show now: when it is stored nobody can be told. */
	if (!h2_buffer_find(inode, key)) {
		err = h2_tree_touch(&change, &inode->u.root, key);
		if (err)
			return err;
	}
	if (from == 0 && len >= used) {
		/* Nothing of the old contents stays. */
		b = h2_buffer_make(inode, key, len);
		if (!b)
			return -ENOMEM;
	} else {
		err = load_buffer(inode, key, from + len, true, &b);
		if (err)
			return err;
	}
	memcpy(b->bytes + from, data, len);
	return 0;
}

ssize_t h2_file_write_locked(struct h2_inode *inode, uint64_t offset, const void *buf, size_t len)
{
	const uint8_t *data = buf;
	uint64_t end = offset + len, at = offset;
	int err = 0;

	if (offset > inode->meta.size) {
		err = clean_tail(inode);
		if (err)
			return err;
	}
	if (h2_inode_is_inline(inode)) {
		if (end <= H2_INLINE_DATA_MAX) {
			memcpy(inode->u.data + offset, data, len);
			if (end > inode->meta.size)
				inode->meta.size = end;
			return (ssize_t)len;
		}
		err = leave_inline(inode);
		if (err)
			return err;
	}
	while (at < end) {
		uint64_t key = block_of(at);
		size_t from = (size_t)(at - key);
		size_t part = H2_LOGICAL_BLOCK - from;

		part = part < end - at ? part : (size_t)(end - at);
		err = write_block(inode, key, from, data + (at - offset), part);
		if (err)
			break;
		at += part;
		if (at > inode->meta.size)
			inode->meta.size = at;
	}
	return at > offset ? (ssize_t)(at - offset) : err;
}

/* ---- checks and times ---- */

static int check_file(const struct h2_inode *inode)
{
	if (inode->meta.type == H2_OBJECT_DIRECTORY)
		return -EISDIR;
	if (inode->meta.type != H2_OBJECT_FILE)
		return -EINVAL;
	return h2_inode_check_change(inode);
}

static void touch_times(struct h2_inode *inode)
{
	inode->meta.mtime = inode->meta.ctime = h2_now_us(h2_inode_fs(inode));
}

/* Whether the PFS's quota has room, BS 6.1 offsets 0B0 and 0C0 of the inode. */
static int check_quota(struct h2_inode *inode, uint64_t more)
{
	const struct h2_inode *root = inode->pfs->root;
	struct h2_fs *fs = h2_inode_fs(inode);
	uint64_t used;

	if (root->meta.data_quota == 0)
		return 0;
	used = root->ref.data_count + atomic_load(&fs->buffer_bytes) + more;
	return used > root->meta.data_quota ? -EDQUOT : 0;
}

/* ---- writing ---- */

static int check_write(struct h2_inode *inode, uint64_t offset, size_t len, unsigned flags)
{
	uint32_t uflags = inode->meta.uflags;
	int err = h2_inode_prepare(inode);

	if (err)
		return err;
	if (!(flags & H2_WRITE_ALLOWED) &&
	    (uflags & UFLAGS_IMMUTABLE || (uflags & UFLAGS_APPEND && offset < inode->meta.size)))
		return -EPERM;
	if (offset > H2_FILE_SIZE_MAX || len > H2_FILE_SIZE_MAX - offset)
		return -EFBIG;
	return check_quota(inode, len);
}

static ssize_t try_write_part(struct h2_inode *inode, uint64_t offset, const void *buf, size_t len,
			      unsigned flags)
{
	struct h2_fs *fs = h2_inode_fs(inode);
	struct h2_txn_need need = {
		.quads = len / H2_LOGICAL_BLOCK + 2,
		.bytes = OVERHEAD_BYTES + len / H2_LOGICAL_BLOCK * H2_GRANULE,
	};
	bool append = flags & H2_WRITE_APPEND;
	ssize_t n = h2_txn_begin(fs->txn, &need, false);

	if (n < 0)
		return n;
	h2_rwlock_write(&inode->lock);
	if (append)
		offset = inode->meta.size;
	n = check_write(inode, offset, len, flags);
	if (n == 0) {
		n = h2_file_write_locked(inode, offset, buf, len);
		/* Also after an error: a part may be in buffers. */
		h2_inode_dirty(inode);
	}
	if (n > 0 && !(flags & H2_WRITE_KEEP_TIMES))
		touch_times(inode);
	h2_rwlock_unlock(&inode->lock);
	h2_txn_end(fs->txn, &need);
	h2_buffers_throttle(fs);
	return n;
}

static ssize_t write_part(struct h2_inode *inode, uint64_t offset, const void *buf, size_t len,
			  unsigned flags)
{
	ssize_t n = try_write_part(inode, offset, buf, len, flags);

	if (n == -EDQUOT && h2_fs_count_again(h2_inode_fs(inode)))
		n = try_write_part(inode, offset, buf, len, flags);
	return n;
}

ssize_t h2_file_write(struct h2_inode *inode, uint64_t offset, const void *buf, size_t len,
		      unsigned flags)
{
	const uint8_t *data = buf;
	size_t done = 0;
	int err = check_file(inode);

	if (err)
		return err;
	if (len > SSIZE_MAX)
		len = SSIZE_MAX;
	while (done < len) {
		size_t part = len - done < PART_MAX ? len - done : PART_MAX;
		ssize_t n = write_part(inode, offset + done, data + done, part, flags);

		if (n < 0)
			return done > 0 ? (ssize_t)done : n;
		done += (size_t)n;
		if ((size_t)n < part)
			break;
	}
	return (ssize_t)done;
}

/* ---- sizes ---- */

/* Make the block at key zero in [from, to), where it holds anything. */
static int zero_in_block(struct h2_inode *inode, uint64_t key, size_t from, size_t to)
{
	struct h2_tree_change change = h2_inode_change(inode);
	struct h2_buffer *b;
	int err = h2_tree_touch(&change, &inode->u.root, key);

	if (!err)
		err = load_buffer(inode, key, 1, false, &b);
	if (err)
		return err < 0 ? err : 0;
	if (from < b->room)
		memset(b->bytes + from, 0, (to < b->room ? to : b->room) - from);
	return 0;
}

/* Take all blocks with keys in [lo, hi] away. */
static int remove_blocks(struct h2_inode *inode, uint64_t lo, uint64_t hi)
{
	struct h2_tree_change change = h2_inode_change(inode);
	int err = h2_tree_remove_range(&change, &inode->u.root, lo, hi);

	if (err)
		return err;
	h2_buffer_discard_range(inode, lo, hi);
	return 0;
}

int h2_file_truncate_locked(struct h2_inode *inode, uint64_t size)
{
	uint64_t key = block_of(size), keep = size > key ? key + H2_LOGICAL_BLOCK : key;
	int err = 0;

	if (size == inode->meta.size)
		return 0;
	if (h2_inode_is_inline(inode)) {
		if (size > H2_INLINE_DATA_MAX)
			err = leave_inline(inode);
		else if (size < inode->meta.size)
			memset(inode->u.data + size, 0, H2_INLINE_DATA_MAX - (size_t)size);
	} else if (size > inode->meta.size) {
		err = clean_tail(inode);
	} else {
		if (size > key)
			err = zero_in_block(inode, key, (size_t)(size - key), H2_LOGICAL_BLOCK);
		if (!err)
			err = remove_blocks(inode, keep, UINT64_MAX);
	}
	if (!err)
		inode->meta.size = size;
	return err;
}

/* Zeros in [offset, end), cut to the size; blocks that are all zero become holes. */
static int zero_range(struct h2_inode *inode, uint64_t offset, uint64_t end)
{
	uint64_t first, last;
	int err = 0;

	end = end < inode->meta.size ? end : inode->meta.size;
	if (offset >= end)
		return 0;
	if (h2_inode_is_inline(inode)) {
		memset(inode->u.data + offset, 0, (size_t)(end - offset));
		return 0;
	}
	/* Whole blocks: those between, and the last one where the file ends in it. */
	first = block_of(offset + H2_LOGICAL_BLOCK - 1);
	last = end == inode->meta.size ? block_of(end + H2_LOGICAL_BLOCK - 1) : block_of(end);
	if (first >= last) {
		uint64_t key = block_of(offset), next = block_of(end - 1);

		if (key == next)
			return zero_in_block(inode, key, (size_t)(offset - key),
					     (size_t)(end - key));
		err = zero_in_block(inode, key, (size_t)(offset - key), H2_LOGICAL_BLOCK);
		return err ? err : zero_in_block(inode, next, 0, (size_t)(end - next));
	}
	if (offset < first)
		err = zero_in_block(inode, block_of(offset), (size_t)(offset - block_of(offset)),
				    H2_LOGICAL_BLOCK);
	if (!err && end > last)
		err = zero_in_block(inode, last, 0, (size_t)(end - last));
	return err ? err : remove_blocks(inode, first, last - 1);
}

static int allocate_locked(struct h2_inode *inode, unsigned mode, uint64_t offset, uint64_t end)
{
	int err = 0;

	if (inode->meta.uflags & UFLAGS_IMMUTABLE)
		return -EPERM;
	if (inode->meta.uflags & UFLAGS_APPEND &&
	    mode & (H2_FALLOC_PUNCH_HOLE | H2_FALLOC_ZERO_RANGE))
		return -EPERM;
	if (mode & (H2_FALLOC_PUNCH_HOLE | H2_FALLOC_ZERO_RANGE))
		err = zero_range(inode, offset, end);
	if (!err && !(mode & H2_FALLOC_KEEP_SIZE) && end > inode->meta.size)
		err = h2_file_truncate_locked(inode, end);
	return err;
}

int h2_file_allocate(struct h2_inode *inode, unsigned mode, uint64_t offset, uint64_t len)
{
	static const unsigned known = H2_FALLOC_KEEP_SIZE | H2_FALLOC_PUNCH_HOLE |
				      H2_FALLOC_ZERO_RANGE;
	bool frees = mode & (H2_FALLOC_PUNCH_HOLE | H2_FALLOC_ZERO_RANGE);
	struct h2_fs *fs = h2_inode_fs(inode);
	struct h2_txn_need need = {.quads = 2, .bytes = OVERHEAD_BYTES};
	int err = check_file(inode);

	if (err == -EINVAL)
		return -ENODEV;
	if (err)
		return err;
	if (mode & ~known || (mode & H2_FALLOC_PUNCH_HOLE && !(mode & H2_FALLOC_KEEP_SIZE)) ||
	    (mode & H2_FALLOC_PUNCH_HOLE && mode & H2_FALLOC_ZERO_RANGE))
		return -EOPNOTSUPP;
	if (len == 0)
		return -EINVAL;
	if (offset > H2_FILE_SIZE_MAX || len > H2_FILE_SIZE_MAX - offset)
		return -EFBIG;
	if (!frees)
		need.quads += len / H2_LOGICAL_BLOCK;
	err = h2_txn_begin(fs->txn, &need, frees);
	if (err)
		return err;
	h2_rwlock_write(&inode->lock);
	err = h2_inode_prepare(inode);
	if (!err && !frees)
		err = check_quota(inode, len);
	if (!err) {
		err = allocate_locked(inode, mode, offset, offset + len);
		if (!err)
			touch_times(inode);
		h2_inode_dirty(inode);
	}
	h2_rwlock_unlock(&inode->lock);
	h2_txn_end(fs->txn, &need);
	return err;
}

/* ---- copying ---- */

ssize_t h2_file_copy(struct h2_inode *from, uint64_t from_offset, struct h2_inode *to,
		     uint64_t to_offset, size_t len)
{
	struct h2_inode_meta meta;
	size_t done = 0;
	ssize_t n = 0;
	uint8_t *buf;

	if (len > SSIZE_MAX)
		len = SSIZE_MAX;
	if (from->meta.type == H2_OBJECT_DIRECTORY || to->meta.type == H2_OBJECT_DIRECTORY)
		return -EISDIR;
	if (from->meta.type != H2_OBJECT_FILE || to->meta.type != H2_OBJECT_FILE)
		return -EINVAL;
	h2_inode_get_meta(from, &meta);
	if (from_offset >= meta.size)
		return 0;
	/* What the copy itself appends is no source. */
	len = meta.size - from_offset < len ? (size_t)(meta.size - from_offset) : len;
	if (from == to && from_offset < to_offset + len && to_offset < from_offset + len)
		return -EINVAL;
	buf = aligned_alloc(H2_BUFFER_ALIGN, PART_MAX);
	if (!buf)
		return -ENOMEM;
	while (done < len) {
		size_t part = len - done < PART_MAX ? len - done : PART_MAX;

		n = h2_file_read(from, from_offset + done, buf, part);
		if (n > 0)
			n = h2_file_write(to, to_offset + done, buf, (size_t)n, 0);
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	free(buf);
	return done > 0 ? (ssize_t)done : n;
}
