/*
 * A filesystem in plain memory: what a filesystem that behaves as Linux's do must show after the
 * same operations. Nothing here knows of HAMMER2's media; what is particular to HAMMER2's
 * interface (flags of MF 6.6, algorithms of MF 6.8) is in it as attributes.
 *
 * An operation has two halves: model_can_...() says which errors it may fail with, and changes
 * nothing; where there are none, or the operation was seen to succeed, model_...() does it.
 *
 * Inodes are known by an id that the caller chooses and never uses twice. An inode whose last name
 * is gone stays while the caller says that it is held; model_drop() ends it.
 *
 * Not safe for several threads; there is a model for each. Without memory the program ends.
 */
#ifndef TESTS_MODEL_MODEL_H
#define TESTS_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hammer2/types.h>

#define MODEL_CHUNK 4096u
#define MODEL_SIZE_MAX INT64_MAX
#define MODEL_NAME_MAX 255u
#define MODEL_ROOT_ID UINT64_C(0)

/* The flags of MF 6.6 that forbid something: the user's bit or the system's. */
#define MODEL_IMMUTABLE 0x00020002u
#define MODEL_APPEND 0x00040004u
#define MODEL_NO_UNLINK 0x00100010u

/* A time, microseconds since 1970: somewhere from lo to hi until it was seen; then both are it. */
struct model_time {
	uint64_t lo, hi;
};

struct model_chunk { /* MODEL_CHUNK bytes of a file; what has none is zero */
	uint64_t index;
	uint8_t *bytes;
};

struct model_inode;

struct model_entry { /* a name */
	struct model_entry *hash_next;
	struct model_inode *dir, *inode;
	uint64_t born;      /* operation that made the name */
	uint32_t tag;       /* of the caller */
	uint32_t dir_slot;  /* in dir->entries */
	uint32_t link_slot; /* in inode->links */
	uint16_t name_len;
	char name[];
};

enum model_list { /* inodes to choose from; an inode may be in several */
		  MODEL_ALL,
		  MODEL_DIRS,
		  MODEL_FILES,
		  MODEL_OTHERS,
		  MODEL_HELD,
		  MODEL_FLAGGED, /* with a flag that forbids something */
		  MODEL_LISTS,
};

struct model_inode {
	struct model_inode *hash_next;
	uint64_t id;
	uint32_t slots[MODEL_LISTS]; /* in the model's lists; UINT32_MAX: not there */

	uint64_t inum; /* as the filesystem said */
	uint8_t type;  /* enum h2_object_type */
	uint32_t mode; /* 07777 */
	uint32_t uid, gid;
	uint32_t rmajor, rminor;
	uint32_t uflags;
	uint8_t comp_algo, check_algo;
	uint64_t size;
	struct model_time atime, mtime, ctime, btime;
	bool atime_unset;   /* it was never set: some filesystems show mtime then */
	bool btime_unset;   /* likewise, and ctime is shown */
	uint64_t dir_links; /* the link count that a directory shows where MF 6.7 rules */

	struct model_entry **links; /* its names */
	uint32_t link_count, link_room;
	bool nameless_yet; /* made without a name, and never had one */
	bool held;         /* stays without a name */
	bool removed;      /* a directory that was removed, or is without a name */

	struct model_inode *parent; /* directories; the root is its own */
	struct model_entry **entries;
	uint32_t entry_count, entry_room;

	struct model_chunk *chunks; /* files, by index */
	uint32_t chunk_count, chunk_room;
	char *target; /* symlinks; size is its length */

	void *ref;       /* of the caller: the filesystem's inode that is held */
	unsigned pins;   /* of the caller: it must stay held */
	uint64_t marked; /* of the caller */
};

struct model_watch { /* told of the names of a directory that come and go */
	struct model_watch *next;
	struct model_inode *dir;
	void (*added)(struct model_watch *watch, const struct model_entry *entry);
};

struct model {
	struct model_inode *root;
	struct model_inode **lists[MODEL_LISTS];
	uint32_t counts[MODEL_LISTS], rooms[MODEL_LISTS];
	uint64_t entry_count;
	uint64_t chunk_count;
	uint64_t type_counts[16]; /* inodes that have a name, by type; the root not counted */

	uint64_t now_lo, now_hi; /* of the operation that is being done, microseconds */
	uint64_t number;         /* of the operation */
	uint32_t tag;            /* for the name that it makes */
	struct model_watch *watches;

	struct model_inode **inode_hash;
	struct model_entry **entry_hash;
	uint32_t hash_size;
};

/* The errors (positive errno) that an operation may fail with; success is one of them if so said.
 * Which of several errors comes first is the filesystem's affair. */
struct model_errors {
	int errs[12];
	unsigned count;
	bool or_success; /* it may also succeed, without any effect */
	bool or_done;    /* it may also succeed, and do it */
};

bool model_allows(const struct model_errors *e, int err);

struct model *model_new(void); /* with a root directory of mode 0755 */
void model_free(struct model *m);

struct model_inode *model_find(const struct model *m, uint64_t id); /* or NULL */
struct model_entry *model_lookup(const struct model_inode *dir, const struct model *m,
				 const char *name, size_t len); /* or NULL */

/* ---- names ---- */

struct model_new {
	uint64_t id;
	uint8_t type;
	uint32_t mode, uid, gid;
	uint32_t rmajor, rminor;
	const char *target;
	size_t target_len;
	int comp_algo, check_algo; /* -1: the directory's */
};

void model_can_create(const struct model *m, const struct model_inode *dir, const char *name,
		      size_t len, struct model_errors *e);
struct model_inode *model_create(struct model *m, struct model_inode *dir, const char *name,
				 size_t len, const struct model_new *new_);

void model_can_create_unnamed(const struct model_inode *dir, struct model_errors *e);
struct model_inode *model_create_unnamed(struct model *m, struct model_inode *dir,
					 const struct model_new *new_); /* held */

void model_can_link(const struct model *m, const struct model_inode *dir, const char *name,
		    size_t len, const struct model_inode *inode, struct model_errors *e);
void model_link(struct model *m, struct model_inode *dir, const char *name, size_t len,
		struct model_inode *inode);

/* Both return the inode that has lost its last name, or NULL; the caller holds or drops it. */
void model_can_remove(const struct model *m, const struct model_inode *dir, const char *name,
		      size_t len, bool directory, struct model_errors *e);
struct model_inode *model_remove(struct model *m, struct model_inode *dir, const char *name,
				 size_t len);

#define MODEL_NOREPLACE 1u
#define MODEL_EXCHANGE 2u

void model_can_rename(const struct model *m, const struct model_inode *from_dir, const char *from,
		      size_t from_len, const struct model_inode *to_dir, const char *to,
		      size_t to_len, unsigned flags, struct model_errors *e);
struct model_inode *model_rename(struct model *m, struct model_inode *from_dir, const char *from,
				 size_t from_len, struct model_inode *to_dir, const char *to,
				 size_t to_len, unsigned flags);

/* Say whether an inode is held. */
void model_hold(struct model *m, struct model_inode *inode, bool held);

/* End an inode without a name that nobody holds. */
void model_drop(struct model *m, struct model_inode *inode);

static inline bool model_is_orphan(const struct model *m, const struct model_inode *inode)
{
	return inode->link_count == 0 && inode != m->root;
}

/* ---- attributes ---- */

#define MODEL_SET_MODE 0x001u
#define MODEL_SET_UID 0x002u
#define MODEL_SET_GID 0x004u
#define MODEL_SET_SIZE 0x008u
#define MODEL_SET_ATIME 0x010u
#define MODEL_SET_MTIME 0x020u
#define MODEL_SET_CTIME 0x040u
#define MODEL_SET_UFLAGS 0x080u
#define MODEL_SET_COMP 0x100u
#define MODEL_SET_CHECK 0x200u
#define MODEL_SET_BTIME 0x800u

struct model_set {
	unsigned valid; /* MODEL_SET_... */
	uint32_t mode, uid, gid;
	uint64_t size;
	uint64_t atime, mtime, ctime, btime;
	uint32_t uflags;
	uint8_t comp_algo, check_algo;
};

void model_can_set(const struct model_inode *inode, const struct model_set *set,
		   struct model_errors *e);
void model_set(struct model *m, struct model_inode *inode, const struct model_set *set);

/* ---- file contents ---- */

void model_can_write(const struct model_inode *inode, uint64_t offset, uint64_t len, bool append,
		     struct model_errors *e);
void model_write(struct model *m, struct model_inode *inode, uint64_t offset, const void *buf,
		 uint64_t len, bool keep_times);

#define MODEL_KEEP_SIZE 0x01u
#define MODEL_PUNCH_HOLE 0x02u
#define MODEL_ZERO_RANGE 0x10u

void model_can_allocate(const struct model_inode *inode, unsigned mode, uint64_t offset,
			uint64_t len, struct model_errors *e);
void model_allocate(struct model *m, struct model_inode *inode, unsigned mode, uint64_t offset,
		    uint64_t len);

/* *count receives how many bytes there are to copy. */
void model_can_copy(const struct model_inode *from, uint64_t from_offset,
		    const struct model_inode *to, uint64_t to_offset, uint64_t len, uint64_t *count,
		    struct model_errors *e);
void model_copy(struct model *m, struct model_inode *from, uint64_t from_offset,
		struct model_inode *to, uint64_t to_offset, uint64_t count);

/* The bytes of [offset, offset + len), which must lie in the file. */
void model_read(const struct model_inode *inode, uint64_t offset, void *buf, uint64_t len);

/* Whether [offset, offset + len) is zero. */
bool model_is_zero(const struct model_inode *inode, uint64_t offset, uint64_t len);

#endif
