/*
 * File contents: reading, the map of data and holes, symlink targets. MF 8.
 *
 * A read decodes each block straight into the caller's buffer where the whole of it is wanted.
 * Where only a part is wanted, the decoded block is kept in the cache: small reads tend to be
 * followed by their neighbours.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "compress.h"
#include "fs_impl.h"

struct data_block {
	struct h2_cached cached;
	size_t len; /* bytes that the block holds; the rest of the 64 KiB is zero */
	uint8_t *bytes;
};

static void free_data_block(struct h2_cached *cached)
{
	struct data_block *block = (struct data_block *)cached;

	free(block->bytes);
	free(block);
}

static bool has_content(const struct h2_inode *inode)
{
	return inode->meta.type == H2_OBJECT_FILE || inode->meta.type == H2_OBJECT_SYMLINK;
}

static int report_decode(const struct h2_blocks *blocks, const struct h2_where *where,
			 const struct h2_blockref *ref, int err)
{
	if (err != -EUCLEAN)
		return err;
	return h2_block_report(blocks, where, ref, "bad-compression",
			       &(struct h2_problem){
				       .member = "methods",
				       .expected = "the algorithm of a stream that yields at most "
						   "65536 bytes",
				       .found = ref->methods,
			       });
}

/*
 * Read and decode a block into out, which has room for 64 KiB, or for as many bytes as an
 * uncompressed block has. *len receives how many bytes it holds.
 */
int h2_data_load(struct h2_blocks *blocks, const struct h2_where *where,
		 const struct h2_blockref *ref, void *out, size_t *len)
{
	unsigned comp = h2_blockref_comp_algo(ref);
	size_t size = h2_block_size(ref);
	void *stored;
	int err;

	if (comp == H2_COMP_NONE || comp == H2_COMP_AUTOZERO) {
		*len = size;
		return h2_block_read(blocks, where, ref, out);
	}
	stored = aligned_alloc(H2_BUFFER_ALIGN, size < H2_BUFFER_ALIGN ? H2_BUFFER_ALIGN : size);
	if (!stored)
		return -ENOMEM;
	err = h2_block_read(blocks, where, ref, stored);
	if (!err)
		err = report_decode(blocks, where, ref,
				    h2_data_decode(comp, stored, size, out, H2_LOGICAL_BLOCK, len));
	free(stored);
	return err;
}

int h2_file_decode(struct h2_inode *inode, const struct h2_blockref *ref, void *out, size_t *len)
{
	struct h2_where where = h2_where_inode(inode->pfs, inode->meta.inum);

	return h2_data_load(h2_inode_blocks(inode), &where, ref, out, len);
}

static int get_data_block(struct h2_inode *inode, const struct h2_blockref *ref,
			  struct data_block **blockp)
{
	struct h2_cache *cache = h2_inode_blocks(inode)->cache;
	struct h2_cache_key key = h2_block_cache_key(ref, H2_CACHE_DATA);
	struct h2_cached *cached = h2_cache_get(cache, &key);
	struct data_block *block;
	int err = -ENOMEM;

	if (cached) {
		*blockp = (struct data_block *)cached;
		return 0;
	}
	block = calloc(1, sizeof(*block));
	if (!block)
		return -ENOMEM;
	block->bytes = aligned_alloc(H2_BUFFER_ALIGN, H2_LOGICAL_BLOCK);
	if (block->bytes)
		err = h2_file_decode(inode, ref, block->bytes, &block->len);
	if (err) {
		free_data_block(&block->cached);
		return err;
	}
	block->cached.key = key;
	block->cached.size_bytes = sizeof(*block) + H2_LOGICAL_BLOCK;
	block->cached.free = free_data_block;
	*blockp = (struct data_block *)h2_cache_insert(cache, &block->cached, false);
	return 0;
}

/* The bytes [from, from + len) of the logical block, through the cache. */
static int copy_part(struct h2_inode *inode, const struct h2_blockref *ref, size_t from, void *out,
		     size_t len)
{
	struct data_block *block;
	size_t held;
	int err = get_data_block(inode, ref, &block);

	if (err)
		return err;
	held = from < block->len ? block->len - from : 0;
	if (held > len)
		held = len;
	memcpy(out, block->bytes + from, held);
	memset((uint8_t *)out + held, 0, len - held);
	h2_cache_put(h2_inode_blocks(inode)->cache, &block->cached);
	return 0;
}

/* How many bytes h2_file_decode() may write. */
static size_t room_to_decode(const struct h2_blockref *ref)
{
	unsigned comp = h2_blockref_comp_algo(ref);

	return comp == H2_COMP_NONE || comp == H2_COMP_AUTOZERO ? h2_block_size(ref)
								: H2_LOGICAL_BLOCK;
}

/*
 * The bytes [from, from + len) of the logical block of ref. out has room bytes; those behind len
 * may be overwritten. whole: nothing of the file's bytes in the block is left out.
 */
static int read_part(struct h2_inode *inode, const struct h2_blockref *ref, size_t from, void *out,
		     size_t len, size_t room, bool whole)
{
	size_t held;
	int err;

	if (!whole || room < room_to_decode(ref))
		return copy_part(inode, ref, from, out, len);
	err = h2_file_decode(inode, ref, out, &held);
	if (!err && held < len)
		memset((uint8_t *)out + held, 0, len - held);
	return err;
}

static void read_inline(const struct h2_inode *inode, uint64_t offset, uint8_t *out, size_t len)
{
	/* The size was checked to be at most 512 with DIRECTDATA, and the range against the size. */
	memcpy(out, inode->u.data + offset, len);
}

/*
 * Read [offset, end), which lies within the file and has no buffers, from the media. buf has room
 * bytes. Returns the bytes in front of damage, or the error if there are none.
 */
static ssize_t read_media(struct h2_inode *inode, uint64_t offset, uint64_t end, uint8_t *out,
			  size_t room)
{
	struct h2_where where = h2_where_inode(inode->pfs, inode->meta.inum);
	uint64_t at = offset;
	struct h2_cursor cursor;
	struct h2_blockref ref;
	int err;

	h2_cursor_init(&cursor, h2_inode_blocks(inode), &where, H2_TREE_FILE, &inode->u.root,
		       offset, end - 1);
	/* Invariant: [offset, at) is in out. */
	while ((err = h2_cursor_next(&cursor, &ref)) != 1) {
		uint64_t begin = ref.key > at ? ref.key : at;
		uint64_t stop = ref.key + H2_LOGICAL_BLOCK < end ? ref.key + H2_LOGICAL_BLOCK : end;

		if (begin > end)
			begin = end;
		memset(out + (at - offset), 0, (size_t)(begin - at));
		at = begin;
		if (err)
			break;
		err = read_part(inode, &ref, (size_t)(at - ref.key), out + (at - offset),
				(size_t)(stop - at), room - (size_t)(at - offset),
				at == ref.key && (stop < end || end == inode->meta.size ||
						  stop == ref.key + H2_LOGICAL_BLOCK));
		if (err)
			break;
		at = stop;
	}
	h2_cursor_fini(&cursor);
	if (err == 1) {
		memset(out + (at - offset), 0, (size_t)(end - at));
		at = end;
	} else if (at == offset) {
		return err;
	}
	return (ssize_t)(at - offset);
}

/* The bytes [offset, end) of a buffer's block. */
static void read_buffer(const struct h2_buffer *b, uint64_t offset, uint64_t end, uint8_t *out)
{
	size_t from = (size_t)(offset - b->key), len = (size_t)(end - offset);
	size_t held = from < b->room ? b->room - from : 0;

	held = held < len ? held : len;
	memcpy(out, b->bytes + from, held);
	memset(out + held, 0, len - held);
}

ssize_t h2_file_read_locked(struct h2_inode *inode, uint64_t offset, void *buf, size_t len)
{
	uint64_t at = offset, end;
	uint8_t *out = buf;

	if (len > SSIZE_MAX)
		len = SSIZE_MAX;
	if (offset >= inode->meta.size || len == 0)
		return 0;
	end = inode->meta.size - offset < len ? inode->meta.size : offset + len;
	if (h2_inode_is_inline(inode)) {
		read_inline(inode, offset, out, (size_t)(end - offset));
		return (ssize_t)(end - offset);
	}
	while (at < end) {
		const struct h2_buffer *b = h2_buffer_next(inode, at / H2_LOGICAL_BLOCK *
									  H2_LOGICAL_BLOCK);
		uint64_t stop = b && b->key < end ? b->key : end;

		if (stop > at) {
			ssize_t n = read_media(inode, at, stop, out + (at - offset),
					       len - (size_t)(at - offset));

			if (n < 0)
				return at > offset ? (ssize_t)(at - offset) : n;
			at += (uint64_t)n;
			if (at < stop)
				break;
		} else {
			stop = b->key + H2_LOGICAL_BLOCK < end ? b->key + H2_LOGICAL_BLOCK : end;
			read_buffer(b, at, stop, out + (at - offset));
			at = stop;
		}
	}
	return (ssize_t)(at - offset);
}

ssize_t h2_file_read(struct h2_inode *inode, uint64_t offset, void *buf, size_t len)
{
	ssize_t n;

	if (!has_content(inode))
		return inode->meta.type == H2_OBJECT_DIRECTORY ? -EISDIR : -EINVAL;
	h2_fs_enter(h2_inode_fs(inode));
	h2_inode_lock_read(inode);
	n = h2_file_read_locked(inode, offset, buf, len);
	h2_inode_unlock_read(inode);
	h2_fs_leave(h2_inode_fs(inode));
	return n;
}

int h2_file_block_at(struct h2_inode *inode, uint64_t key, struct h2_blockref *ref)
{
	struct h2_where where = h2_where_inode(inode->pfs, inode->meta.inum);

	return h2_tree_first(h2_inode_blocks(inode), &where, H2_TREE_FILE, &inode->u.root, key, key,
			     ref, NULL);
}

int h2_file_next_block(struct h2_inode *inode, uint64_t offset, struct h2_file_block *block)
{
	struct h2_where where = h2_where_inode(inode->pfs, inode->meta.inum);
	uint64_t last;
	int err = 1;

	if (!has_content(inode))
		return inode->meta.type == H2_OBJECT_DIRECTORY ? -EISDIR : -EINVAL;
	/* A block that begins in front of offset is not meant. */
	if (offset > UINT64_MAX - (H2_LOGICAL_BLOCK - 1))
		return 1;
	offset = (offset + H2_LOGICAL_BLOCK - 1) / H2_LOGICAL_BLOCK * H2_LOGICAL_BLOCK;
	h2_fs_enter(h2_inode_fs(inode));
	h2_inode_lock_read(inode);
	if (!h2_inode_is_inline(inode))
		err = h2_tree_first(h2_inode_blocks(inode), &where, H2_TREE_FILE, &inode->u.root,
				    offset, UINT64_MAX, &block->ref, &last);
	h2_inode_unlock_read(inode);
	h2_fs_leave(h2_inode_fs(inode));
	if (err == 1)
		return 1;
	/* Behind the damage; at the end of the keys this is 0. */
	block->offset = err ? last + 1 : block->ref.key;
	return err;
}

/* The same among the blocks that are stored: the first run, joined with its neighbours. */
static int next_stored(struct h2_inode *inode, uint64_t offset, uint64_t max_bytes, uint64_t *start,
		       uint64_t *end)
{
	struct h2_where where = h2_where_inode(inode->pfs, inode->meta.inum);
	struct h2_cursor cursor;
	struct h2_blockref ref;
	bool found = false;
	int err;

	h2_cursor_init(&cursor, h2_inode_blocks(inode), &where, H2_TREE_FILE, &inode->u.root,
		       offset, inode->meta.size - 1);
	while ((err = h2_cursor_next(&cursor, &ref)) == 0) {
		if (found && ref.key != *end)
			break;
		if (!found)
			*start = ref.key > offset ? ref.key : offset;
		found = true;
		*end = ref.key + H2_LOGICAL_BLOCK;
		if (max_bytes && *end - *start >= max_bytes)
			break;
	}
	h2_cursor_fini(&cursor);
	return found ? 0 : err;
}

static int next_data_locked(struct h2_inode *inode, uint64_t offset, uint64_t max_bytes,
			    uint64_t *start, uint64_t *end)
{
	uint64_t size = inode->meta.size;
	const struct h2_buffer *b;
	int err;

	if (offset >= size)
		return 1;
	if (h2_inode_is_inline(inode)) {
		*start = offset;
		*end = size;
		return 0;
	}
	err = next_stored(inode, offset, max_bytes, start, end);
	if (err < 0)
		return err;
	b = h2_buffer_next(inode, offset / H2_LOGICAL_BLOCK * H2_LOGICAL_BLOCK);
	if (b && b->key < size && (err == 1 || b->key < *start)) {
		*start = b->key > offset ? b->key : offset;
		*end = b->key + H2_LOGICAL_BLOCK;
		err = 0;
	}
	if (err)
		return err;
	/* Go on as long as either has what follows. */
	while (*end < size && !(max_bytes && *end - *start >= max_bytes)) {
		uint64_t s, e;

		b = h2_buffer_find(inode, *end);
		if (b) {
			*end += H2_LOGICAL_BLOCK;
			continue;
		}
		if (next_stored(inode, *end, max_bytes, &s, &e) != 0 || s != *end)
			break;
		*end = e;
	}
	if (*end > size)
		*end = size;
	return 0;
}

int h2_file_next_data(struct h2_inode *inode, uint64_t offset, uint64_t max_bytes, uint64_t *start,
		      uint64_t *end)
{
	int err;

	if (!has_content(inode))
		return inode->meta.type == H2_OBJECT_DIRECTORY ? -EISDIR : -EINVAL;
	h2_fs_enter(h2_inode_fs(inode));
	h2_inode_lock_read(inode);
	err = next_data_locked(inode, offset, max_bytes, start, end);
	h2_inode_unlock_read(inode);
	h2_fs_leave(h2_inode_fs(inode));
	return err;
}

ssize_t h2_symlink_read(struct h2_inode *inode, char *buf, size_t size)
{
	uint64_t len = inode->meta.size; /* of a symlink it never changes */
	ssize_t got;

	if (inode->meta.type != H2_OBJECT_SYMLINK)
		return -EINVAL;
	if (len > H2_SYMLINK_MAX || len >= size)
		return -ENAMETOOLONG;
	got = h2_file_read(inode, 0, buf, (size_t)len);
	if (got < 0)
		return got;
	if ((uint64_t)got != len)
		return -H2_ECORRUPT;
	/* One other implementation stores the terminator (BS 3.5). */
	while (got > 0 && buf[got - 1] == '\0')
		got--;
	buf[got] = '\0';
	return got;
}
