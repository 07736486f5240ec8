/*
 * golden-dump: print everything that the library reads from a filesystem as JSON lines, in the form
 * of the manifests of the test images: the volume header, the PFSs, and every directory entry with
 * its attributes and a digest of its contents.
 *
 * Made to be run on damaged volumes too: whatever fails becomes a record "error" that says where,
 * and the walk goes on. A file that cannot be read completely gets "good_blocks": the digests of
 * the 64 KiB blocks that could be read, so that a wrong byte in any of them is noticed. Each
 * directory is entered once, so that directories that contain themselves do not hang it.
 *
 * Exit status: 0 all was read, 1 there are error records, 2 wrong use or out of memory.
 */
#include <hammer2/fs.h>
#include <hammer2/volume.h>

#include <inttypes.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK H2_LOGICAL_BLOCK
#define READ_SIZE ((size_t)16 * BLOCK)
#define WHOLE_FILE_MAX (UINT64_C(2) << 30)  /* files above are hashed block by block */
#define ALL_BLOCKS_MAX (UINT64_C(64) << 20) /* up to here good_blocks tells of holes, too */
#define BLOCKS_MAX ((size_t)1 << 24)
#define REPORTS_MAX 100u
#define DIGEST_TEXT_SIZE (2 * SHA256_DIGEST_SIZE + 1)

static bool all_good_blocks; /* --blocks: good_blocks for every file */
static bool failed;          /* an error record was printed */

/* ---- memory ---- */

static void *must(void *memory)
{
	if (memory == NULL) {
		fputs("golden-dump: out of memory\n", stderr);
		exit(2);
	}
	return memory;
}

/* A growing array. */
struct list {
	void *items;
	size_t count, room;
};

/* Room for one more item of size bytes at the end; its address. */
static void *list_add(struct list *list, size_t size)
{
	if (list->count == list->room) {
		list->room = list->room ? 2 * list->room : 64;
		list->items = must(reallocarray(list->items, list->room, size));
	}
	return (char *)list->items + size * list->count++;
}

static void list_fini(struct list *list)
{
	free(list->items);
	*list = (struct list){0};
}

/* ---- JSON ---- */

/* The length of the valid UTF-8 sequence at s (len bytes left); 0 where there is none. */
static size_t utf8_sequence(const unsigned char *s, size_t len)
{
	static const struct {
		unsigned char mask, lead;
		uint32_t min;
	} forms[] = {
		{0x80, 0x00, 0},
		{0xe0, 0xc0, 0x80},
		{0xf0, 0xe0, 0x800},
		{0xf8, 0xf0, 0x10000},
	};

	for (size_t n = 0; n < sizeof(forms) / sizeof(forms[0]); n++) {
		if ((s[0] & forms[n].mask) != forms[n].lead)
			continue;
		uint32_t code = s[0] & (unsigned char)~forms[n].mask;
		if (n >= len)
			return 0;
		for (size_t i = 1; i <= n; i++) {
			if ((s[i] & 0xc0) != 0x80)
				return 0;
			code = code << 6 | (s[i] & 0x3fu);
		}
		bool surrogate = code >= 0xd800 && code <= 0xdfff;
		return code < forms[n].min || code > 0x10ffff || surrogate ? 0 : n + 1;
	}
	return 0;
}

static bool is_utf8(const char *text, size_t len)
{
	const unsigned char *s = (const unsigned char *)text;

	for (size_t i = 0; i < len;) {
		size_t n = utf8_sequence(s + i, len - i);
		if (n == 0)
			return false;
		i += n;
	}
	return true;
}

/* ,"field":"text", or ,"field_hex":"..." where it is not UTF-8. */
static void put_bytes(const char *field, const char *text, size_t len)
{
	if (!is_utf8(text, len)) {
		printf(",\"%s_hex\":\"", field);
		for (size_t i = 0; i < len; i++)
			printf("%02x", (unsigned char)text[i]);
		putchar('"');
		return;
	}
	printf(",\"%s\":\"", field);
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

static void put_string(const char *field, const char *text)
{
	put_bytes(field, text, strlen(text));
}

static void put_number(const char *field, uint64_t value)
{
	printf(",\"%s\":%" PRIu64, field, value);
}

static void put_uuid(const char *field, const struct h2_uuid *uuid)
{
	char text[H2_UUID_TEXT_SIZE];

	h2_uuid_format(uuid, text);
	put_string(field, text);
}

static void put_mode(uint32_t mode)
{
	printf(",\"mode\":\"%04o\"", mode & 07777u);
}

/* The manifests call a method by its name in the format, not by the one that users give. */
static const char *check_name(unsigned algo)
{
	return algo == H2_CHECK_ISCSI32 ? "iscsi32" : h2_check_algo_name(algo);
}

/* DragonFly's tools have a word for PFS types that have no name. */
static const char *pfs_type_name(unsigned type)
{
	const char *name = h2_pfs_type_name(type);

	return strcmp(name, "?") == 0 ? "ILLEGAL" : name;
}

static void put_algorithms(const struct h2_inode_meta *meta)
{
	printf(",\"comp\":\"%s:%u\"", h2_comp_algo_name(meta->comp_algo & 15u),
	       meta->comp_algo >> 4);
	put_string("check", check_name(meta->check_algo & 15u));
}

/*
 * Nanoseconds, left out where 63 bits do not hold them; the manifests leave out the last
 * microsecond of that range, too.
 */
static void put_ns(const char *field, uint64_t us)
{
	if (us < INT64_MAX / 1000)
		put_number(field, us * 1000);
}

/* Where something was found: a PFS and a path in it, each possibly NULL. */
struct place {
	const char *pfs;
	const char *path;
};

/* The error record; offset and length say which part of a file, length 0: none in particular. */
static void put_error(const struct place *place, const char *op, int error, uint64_t offset,
		      uint64_t length)
{
	failed = true;
	printf("{\"record\":\"error\"");
	if (place->pfs != NULL)
		put_string("pfs", place->pfs);
	if (place->path != NULL)
		put_string("path", place->path);
	put_string("op", op);
	printf(",\"errno\":%d", -error);
	if (length != 0) {
		put_number("offset", offset);
		put_number("length", length);
	}
	puts("}");
}

/* ---- digests ---- */

static void digest_text(struct sha256_ctx *context, char text[DIGEST_TEXT_SIZE])
{
	uint8_t digest[SHA256_DIGEST_SIZE];

	sha256_digest(context, sizeof(digest), digest);
	for (size_t i = 0; i < sizeof(digest); i++)
		snprintf(text + 2 * i, 3, "%02x", digest[i]);
}

static void digest_buffer(const void *buf, size_t len, char text[DIGEST_TEXT_SIZE])
{
	struct sha256_ctx context;

	sha256_init(&context);
	sha256_update(&context, len, buf);
	digest_text(&context, text);
}

/* ---- file contents ---- */

struct good_block {
	uint64_t offset;
	size_t len;
	char digest[DIGEST_TEXT_SIZE];
};

/* What is found out about a file before its record is printed. */
struct contents {
	struct list blocks; /* of struct h2_file_block, by offset */
	struct list good;   /* of struct good_block, by offset */
	struct sha256_ctx whole;
	uint64_t size;
	bool complete; /* all was read */
	bool embedded;
	bool bad_holes; /* what h2_file_next_data() tells contradicts the blocks */
	/* A run of blocks that failed with one error, not printed yet; length 0: none. */
	uint64_t bad_offset, bad_length;
	int bad_error;
};

static const struct h2_file_block *contents_block(const struct contents *c, size_t i)
{
	return (const struct h2_file_block *)c->blocks.items + i;
}

static uint64_t min64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Collect the DATA blocks. */
static void map_file(struct h2_inode *inode, const struct place *place, struct contents *c)
{
	struct h2_file_block block;
	uint64_t offset = 0;

	for (;;) {
		int error = h2_file_next_block(inode, offset, &block);
		if (error > 0)
			return;
		if (error == 0 && c->blocks.count >= BLOCKS_MAX)
			error = -E2BIG;
		if (error < 0) {
			uint64_t next = error == -E2BIG ? 0 : block.offset;
			put_error(place, "map", error, offset, next > offset ? next - offset : 1);
			c->complete = false;
			if (next <= offset)
				return;
			offset = next;
			continue;
		}
		if (block.offset < offset) { /* would go round in circles */
			put_error(place, "map", -H2_ECORRUPT, offset, 1);
			c->complete = false;
			return;
		}
		*(struct h2_file_block *)list_add(&c->blocks, sizeof(block)) = block;
		if (block.offset > UINT64_MAX - BLOCK)
			return;
		offset = block.offset + BLOCK;
	}
}

/* The end of the run of neighbouring blocks that begins with block *i; *i moves behind it. */
static uint64_t run_end(const struct contents *c, size_t *i)
{
	uint64_t end;

	do {
		end = contents_block(c, *i)->offset + BLOCK;
		++*i;
	} while (*i < c->blocks.count && contents_block(c, *i)->offset == end);
	return end;
}

/* Whether h2_file_next_data() tells of the same data as the blocks. */
static bool holes_agree(struct h2_inode *inode, const struct contents *c)
{
	uint64_t offset = 0;
	uint64_t start, end;

	if (c->embedded) {
		int error = h2_file_next_data(inode, 0, 0, &start, &end);
		return c->size == 0 ? error == 1 : error == 0 && start == 0 && end == c->size;
	}
	for (size_t i = 0; i < c->blocks.count;) {
		uint64_t run = contents_block(c, i)->offset;
		uint64_t stop = min64(run_end(c, &i), c->size);
		if (run >= c->size)
			break;
		if (h2_file_next_data(inode, offset, 0, &start, &end) != 0)
			return false;
		if (start != run || end != stop)
			return false;
		offset = end;
	}
	return h2_file_next_data(inode, offset, 0, &start, &end) == 1;
}

static void flush_bad(const struct place *place, struct contents *c)
{
	if (c->bad_length != 0)
		put_error(place, "read", c->bad_error, c->bad_offset, c->bad_length);
	c->bad_length = 0;
}

static void note_bad(const struct place *place, struct contents *c, uint64_t offset, uint64_t len,
		     int error)
{
	c->complete = false;
	if (c->bad_offset + c->bad_length != offset || c->bad_error != error)
		flush_bad(place, c);
	if (c->bad_length == 0)
		c->bad_offset = offset;
	c->bad_length += len;
	c->bad_error = error;
}

static bool has_block(const struct contents *c, uint64_t offset)
{
	size_t low = 0, high = c->blocks.count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (contents_block(c, middle)->offset < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low < c->blocks.count && contents_block(c, low)->offset == offset;
}

static bool all_zero(const char *buf, size_t len)
{
	return len == 0 || (buf[0] == 0 && memcmp(buf, buf + 1, len - 1) == 0);
}

/* Keep the digests of the whole blocks in buf, which begins at a block's offset. */
static void note_good(struct contents *c, uint64_t offset, const char *buf, size_t len)
{
	for (size_t at = 0; at < len; at += BLOCK) {
		size_t part = len - at < BLOCK ? len - at : BLOCK;
		if (c->size > ALL_BLOCKS_MAX && all_zero(buf + at, part) &&
		    !has_block(c, offset + at))
			continue;
		struct good_block *good = list_add(&c->good, sizeof(*good));
		good->offset = offset + at;
		good->len = part;
		digest_buffer(buf + at, part, good->digest);
	}
}

/*
 * Read [offset, end) of the file, which begins at a block's offset, and go on behind what cannot
 * be read.
 */
static void read_range(struct h2_inode *inode, const struct place *place, struct contents *c,
		       uint64_t offset, uint64_t end, char *buf)
{
	while (offset < end) {
		size_t want = (size_t)min64(READ_SIZE, end - offset);
		ssize_t got = h2_file_read(inode, offset, buf, want);
		uint64_t bad = min64(BLOCK, end - offset);

		if (got > 0 && (size_t)got <= want) {
			/* A part of a block in front of damage is damage as well: blocks fail
			 * whole. */
			size_t good = (size_t)got == want ? want : (size_t)got / BLOCK * BLOCK;
			sha256_update(&c->whole, good, (const uint8_t *)buf);
			note_good(c, offset, buf, good);
			offset += good;
			if (good > 0)
				continue;
		}
		/* Ending before the end of the file is a fault as good as any. */
		note_bad(place, c, offset, bad, got < 0 ? (int)got : -EIO);
		offset += bad;
	}
	flush_bad(place, c);
}

/* A hole that is not read as a whole: its first block, at least, has to be zeros. */
static void probe_hole(struct h2_inode *inode, const struct place *place, struct contents *c,
		       uint64_t offset, uint64_t end, char *buf)
{
	size_t want = (size_t)min64(BLOCK, end - offset);
	ssize_t got;

	if (offset >= end)
		return;
	got = h2_file_read(inode, offset, buf, want);
	if (got == (ssize_t)want && all_zero(buf, want))
		return;
	put_error(place, "hole", got < 0 ? (int)got : -EIO, offset, want);
	c->complete = false;
}

/* Only the blocks, for a file that is too long to be read as a whole. */
static void read_blocks(struct h2_inode *inode, const struct place *place, struct contents *c,
			char *buf)
{
	uint64_t done = 0;

	for (size_t i = 0; i < c->blocks.count;) {
		uint64_t start = contents_block(c, i)->offset;
		uint64_t end = run_end(c, &i);
		if (start >= c->size)
			break;
		probe_hole(inode, place, c, done, start, buf);
		read_range(inode, place, c, start, min64(end, c->size), buf);
		done = end;
	}
	probe_hole(inode, place, c, done, c->size, buf);
}

static void read_contents(struct h2_inode *inode, const struct place *place, struct contents *c)
{
	static char buf[16 * BLOCK];

	c->complete = true;
	c->size = h2_inode_meta(inode)->size;
	c->embedded = (h2_inode_meta(inode)->op_flags & H2_INODE_DIRECTDATA) != 0;
	sha256_init(&c->whole);
	map_file(inode, place, c);
	if (c->size > WHOLE_FILE_MAX)
		read_blocks(inode, place, c, buf);
	else
		read_range(inode, place, c, 0, c->size, buf);
	if (c->complete)
		c->bad_holes = !holes_agree(inode, c);
}

static void put_good_blocks(const char *field, const struct contents *c)
{
	const struct good_block *good = c->good.items;

	printf(",\"%s\":[", field);
	for (size_t i = 0; i < c->good.count; i++)
		printf("%s[%" PRIu64 ",%zu,\"%s\"]", i ? "," : "", good[i].offset, good[i].len,
		       good[i].digest);
	putchar(']');
}

static void put_extents(const struct contents *c)
{
	printf(",\"extents\":[");
	for (size_t i = 0; i < c->blocks.count;) {
		const char *comma = i ? "," : "";
		uint64_t start = contents_block(c, i)->offset;
		uint64_t end = run_end(c, &i);
		printf("%s[%" PRIu64 ",%" PRIu64 "]", comma, start, end - start);
	}
	putchar(']');
}

static void put_blocks(const struct contents *c)
{
	uint64_t phys_bytes = 0, none = 0, lz4 = 0, zlib = 0;

	if (c->blocks.count == 0)
		return;
	for (size_t i = 0; i < c->blocks.count; i++) {
		const struct h2_blockref *ref = &contents_block(c, i)->ref;
		unsigned comp = h2_blockref_comp_algo(ref);
		phys_bytes += UINT64_C(1) << h2_blockref_radix(ref);
		none += comp <= H2_COMP_AUTOZERO;
		lz4 += comp == H2_COMP_LZ4;
		zlib += comp == H2_COMP_ZLIB;
	}
	printf(",\"blocks\":{\"count\":%zu,\"phys_bytes\":%" PRIu64 ",\"none\":%" PRIu64
	       ",\"lz4\":%" PRIu64 ",\"zlib\":%" PRIu64 "}",
	       c->blocks.count, phys_bytes, none, lz4, zlib);
}

static void put_contents(struct contents *c)
{
	if (c->complete && c->size > WHOLE_FILE_MAX) {
		printf(",\"sha256\":null");
		if (c->good.count > 0)
			put_good_blocks("block_sha256", c);
	} else if (c->complete) {
		char text[DIGEST_TEXT_SIZE];
		digest_text(&c->whole, text);
		put_string("sha256", text);
	}
	if (!c->complete || all_good_blocks)
		put_good_blocks("good_blocks", c);
	printf(",\"embedded\":%s", c->embedded ? "true" : "false");
	if (!c->embedded) {
		put_extents(c);
		put_blocks(c);
	}
	if (c->bad_holes)
		printf(",\"holes_agree\":false");
}

static void contents_fini(struct contents *c)
{
	list_fini(&c->blocks);
	list_fini(&c->good);
}

/* ---- entries ---- */

/* Names of the manifests. */
static const char *const type_names[] = {
	[H2_OBJECT_DIRECTORY] = "dir",    [H2_OBJECT_FILE] = "file",
	[H2_OBJECT_FIFO] = "fifo",        [H2_OBJECT_CHAR_DEVICE] = "chr",
	[H2_OBJECT_BLOCK_DEVICE] = "blk", [H2_OBJECT_SYMLINK] = "symlink",
	[H2_OBJECT_SOCKET] = "socket",    [H2_OBJECT_WHITEOUT] = "whiteout",
};

static const char *type_name(unsigned type)
{
	if (type >= sizeof(type_names) / sizeof(type_names[0]) || type_names[type] == NULL)
		return "unknown";
	return type_names[type];
}

static void put_symlink(struct h2_inode *inode, const struct place *place)
{
	char target[H2_SYMLINK_MAX + 1];
	ssize_t len = h2_symlink_read(inode, target, sizeof(target));

	/* The record is open: the error follows on a line of its own. */
	printf(",\"embedded\":%s",
	       h2_inode_meta(inode)->op_flags & H2_INODE_DIRECTDATA ? "true" : "false");
	if (len >= 0)
		put_bytes("target", target, (size_t)len);
	puts("}");
	if (len < 0)
		put_error(place, "readlink", (int)len, 0, 0);
}

static void put_attributes(const struct place *place, const struct h2_inode_meta *meta)
{
	printf("{\"record\":\"entry\"");
	put_string("pfs", place->pfs);
	put_string("path", place->path);
	put_string("type", type_name(meta->type));
	put_mode(meta->mode);
	put_number("uid", meta->uid);
	put_number("gid", meta->gid);
	put_number("size", meta->size);
	put_number("nlink", meta->nlinks);
	put_number("ino", meta->inum);
	put_ns("mtime_ns", meta->mtime);
	put_number("mtime_us", meta->mtime);
	put_ns("ctime_ns", meta->ctime);
	if (meta->uflags != 0)
		put_number("uflags", meta->uflags);
	if (meta->type == H2_OBJECT_CHAR_DEVICE || meta->type == H2_OBJECT_BLOCK_DEVICE) {
		put_number("rmajor", meta->rmajor);
		put_number("rminor", meta->rminor);
	}
	put_algorithms(meta);
}

static void put_file(struct h2_inode *inode, const struct place *place)
{
	struct contents c = {0};

	read_contents(inode, place, &c);
	put_attributes(place, h2_inode_meta(inode));
	put_contents(&c);
	puts("}");
	contents_fini(&c);
}

static void put_entry(struct h2_inode *inode, const struct place *place)
{
	const struct h2_inode_meta *meta = h2_inode_meta(inode);

	if (meta->type == H2_OBJECT_FILE) {
		put_file(inode, place);
		return;
	}
	put_attributes(place, meta);
	if (meta->type == H2_OBJECT_SYMLINK)
		put_symlink(inode, place);
	else
		puts("}");
}

/* ---- the walk ---- */

struct folder {
	uint64_t inum;
	char *path;
};

/* The directories of a PFS: those to be listed yet, and all that were ever among them. */
struct walk {
	struct h2_pfs *pfs;
	const char *label;
	struct list todo;             /* of struct folder */
	uint64_t *seen;               /* hash table of inode numbers + 1; 0: free */
	size_t seen_count, seen_room; /* room is a power of two */
};

static bool seen_insert(uint64_t *table, size_t room, uint64_t value)
{
	size_t i = (size_t)(value * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (room - 1);

	while (table[i] != 0) {
		if (table[i] == value)
			return false;
		i = (i + 1) & (room - 1);
	}
	table[i] = value;
	return true;
}

/* Remember a directory; false where it was known. */
static bool walk_see(struct walk *walk, uint64_t inum)
{
	if (2 * walk->seen_count >= walk->seen_room) {
		size_t room = walk->seen_room ? 2 * walk->seen_room : 1024;
		uint64_t *table = must(calloc(room, sizeof(*table)));
		for (size_t i = 0; i < walk->seen_room; i++)
			if (walk->seen[i] != 0)
				seen_insert(table, room, walk->seen[i]);
		free(walk->seen);
		walk->seen = table;
		walk->seen_room = room;
	}
	if (!seen_insert(walk->seen, walk->seen_room, inum + 1))
		return false;
	walk->seen_count++;
	return true;
}

static void walk_add(struct walk *walk, uint64_t inum, const struct place *place)
{
	if (!walk_see(walk, inum)) {
		put_error(place, "walk", -ELOOP, 0, 0);
		return;
	}
	struct folder *folder = list_add(&walk->todo, sizeof(*folder));
	folder->inum = inum;
	folder->path = must(strdup(place->path));
}

/* One inode under one of its names. */
static void walk_visit(struct walk *walk, uint64_t inum, const struct place *place)
{
	struct h2_inode *inode;
	int error = h2_inode_get(walk->pfs, inum, &inode);

	if (error != 0) {
		put_error(place, "inode", error, 0, 0);
		return;
	}
	put_entry(inode, place);
	if (h2_inode_meta(inode)->type == H2_OBJECT_DIRECTORY)
		walk_add(walk, inum, place);
	h2_inode_put(inode);
}

/* An entry that a scan gave must be found by its name as well. */
static void check_lookup(struct h2_inode *dir, const struct place *place,
			 const struct h2_dirent *ent)
{
	struct h2_dirent found;
	int error = h2_dir_lookup(dir, ent->name, ent->name_len, &found);

	if (error != 0)
		put_error(place, "lookup", error, 0, 0);
	else if (found.inum != ent->inum || found.key != ent->key || found.type != ent->type)
		put_error(place, "lookup", -H2_ECORRUPT, 0, 0);
}

static void walk_name(struct walk *walk, struct h2_inode *dir, const char *parent,
		      const struct h2_dirent *ent)
{
	size_t parent_len = strcmp(parent, "/") == 0 ? 0 : strlen(parent);
	char *path = must(malloc(parent_len + 1 + ent->name_len + 1));
	struct place place = {walk->label, path};

	memcpy(path, parent, parent_len);
	path[parent_len] = '/';
	memcpy(path + parent_len + 1, ent->name, ent->name_len);
	path[parent_len + 1 + ent->name_len] = 0;
	check_lookup(dir, &place, ent);
	walk_visit(walk, ent->inum, &place);
	free(path);
}

/* All entries of a directory. Whoever reads on after errors must come to an end. */
static void walk_list(struct walk *walk, struct h2_inode *dir, const char *path)
{
	struct place place = {walk->label, path};
	struct h2_dir_scan *scan;
	struct h2_dirent ent;
	int error = h2_dir_scan_new(dir, 0, &scan);

	if (error != 0) {
		put_error(&place, "readdir", error, 0, 0);
		return;
	}
	while ((error = h2_dir_scan_next(scan, &ent)) <= 0) {
		if (error < 0)
			put_error(&place, "readdir", error, 0, 0);
		else
			walk_name(walk, dir, path, &ent);
	}
	h2_dir_scan_free(scan);
}

static void walk_folder(struct walk *walk, const struct folder *folder)
{
	struct place place = {walk->label, folder->path};
	struct h2_inode *dir;
	int error = h2_inode_get(walk->pfs, folder->inum, &dir);

	if (error != 0) {
		put_error(&place, "readdir", error, 0, 0);
		return;
	}
	walk_list(walk, dir, folder->path);
	h2_inode_put(dir);
}

static void walk_pfs(struct h2_fs *fs, const char *label)
{
	struct walk walk = {.label = label};
	struct place place = {label, NULL};
	struct place root = {label, "/"};
	int error = h2_pfs_open(fs, label, &walk.pfs);

	if (error != 0) {
		put_error(&place, "pfs", error, 0, 0);
		return;
	}
	walk_visit(&walk, H2_INUM_ROOT, &root);
	while (walk.todo.count > 0) {
		struct folder folder = ((struct folder *)walk.todo.items)[--walk.todo.count];
		walk_folder(&walk, &folder);
		free(folder.path);
	}
	list_fini(&walk.todo);
	free(walk.seen);
	h2_pfs_put(walk.pfs);
}

static void put_pfs(const struct h2_pfs_info *info)
{
	printf("{\"record\":\"pfs\"");
	put_string("label", info->label);
	printf(",\"name_key\":\"0x%016" PRIx64 "\"", info->key);
	put_string("pfs_type", pfs_type_name(info->meta.pfs_type));
	put_string("pfs_subtype", h2_pfs_subtype_name(info->meta.pfs_subtype));
	put_number("pfs_inum", info->meta.pfs_inum);
	put_number("pfs_lsnap_tid", info->meta.pfs_lsnap_tid);
	put_algorithms(&info->meta);
	put_mode(info->meta.mode);
	put_number("inode_count", info->ref.inode_count);
	put_number("data_count", info->ref.data_count);
	put_uuid("clid", &info->meta.pfs_clid);
	put_uuid("fsid", &info->meta.pfs_fsid);
	puts("}");
}

static void dump_fs(struct h2_fs *fs)
{
	struct h2_pfs_info info;
	uint64_t key = 0;
	int error;

	while ((error = h2_pfs_next(fs, key, &info)) <= 0) {
		if (error < 0) {
			put_error(&(struct place){0}, "list", error, 0, 0);
		} else {
			put_pfs(&info);
			walk_pfs(fs, info.label);
		}
		if (info.key < key || info.key == UINT64_MAX)
			break;
		key = info.key + 1;
	}
}

static void put_image(const struct h2_volumes *volumes)
{
	const struct h2_volume_header *header = h2_volumes_header(volumes);
	struct h2_volume_info info;

	h2_volumes_info(volumes, 0, &info);
	printf("{\"record\":\"image\",\"volume\":{\"version\":%u", header->version);
	put_number("nvolumes", header->nvolumes);
	put_number("volhdr_zone", info.header_slot);
	put_number("volu_size", header->volu_size);
	put_number("total_size", header->total_size);
	put_number("mirror_tid", header->mirror_tid);
	put_number("freemap_tid", header->freemap_tid);
	put_number("bulkfree_tid", header->bulkfree_tid);
	put_number("allocator_size", header->allocator_size);
	put_number("allocator_free", header->allocator_free);
	put_number("allocator_beg", header->allocator_beg);
	put_uuid("fsid", &header->fsid);
	puts("}}");
}

/* Findings go to stderr, for whoever looks at a failure; the records say what is compared. */
static void print_report(void *user, const struct h2_report *report)
{
	unsigned *count = user;

	if (__atomic_fetch_add(count, 1, __ATOMIC_RELAXED) < REPORTS_MAX)
		fprintf(stderr, "golden-dump: %s: %s%s%s\n", report->code,
			report->path ? report->path : "", report->path ? ": " : "",
			report->message ? report->message : "");
}

static int dump_volumes(const char *const *paths, unsigned count, size_t cache_bytes)
{
	static unsigned reports;
	struct h2_volumes_options volumes_options = {.report = print_report,
						     .report_user = &reports};
	struct h2_fs_options fs_options = {
		.cache_bytes = cache_bytes, .report = print_report, .report_user = &reports};
	struct h2_volumes *volumes;
	struct h2_fs *fs;
	int error = h2_volumes_open(paths, count, &volumes_options, &volumes);

	if (error != 0) {
		put_error(&(struct place){0}, "open", error, 0, 0);
		return 1;
	}
	put_image(volumes);
	error = h2_fs_open(volumes, &fs_options, &fs);
	if (error != 0) {
		put_error(&(struct place){0}, "super-root", error, 0, 0);
	} else {
		dump_fs(fs);
		h2_fs_close(fs);
	}
	h2_volumes_close(volumes);
	return failed ? 1 : 0;
}

static int usage(void)
{
	fputs("usage: golden-dump [--blocks] [--cache BYTES] VOLUME...\n", stderr);
	return 2;
}

int main(int argc, char **argv)
{
	size_t cache_bytes = 0;
	int i = 1;

	for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
		if (strcmp(argv[i], "--blocks") == 0)
			all_good_blocks = true;
		else if (strcmp(argv[i], "--cache") == 0 && i + 1 < argc)
			cache_bytes = (size_t)strtoull(argv[++i], NULL, 0);
		else
			return usage();
	}
	if (i == argc)
		return usage();

	int status = dump_volumes((const char *const *)argv + i, (unsigned)(argc - i), cache_bytes);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		perror("golden-dump: standard output");
		return 2;
	}
	return status;
}
