/*
 * One operation of a run: plain data, complete in itself. Which objects it concerns is said by
 * their model ids, so that any part of a list of operations is a list of operations: one whose
 * object does not exist is left out. That is what makes a failing run small (shrink.c).
 */
#ifndef TESTS_MODEL_OP_H
#define TESTS_MODEL_OP_H

#include "model.h"

enum op_kind {
	OP_CREATE,
	OP_CREATE_UNNAMED,
	OP_LINK,
	OP_UNLINK,
	OP_RMDIR,
	OP_RENAME,
	OP_SET,
	OP_WRITE,
	OP_ALLOCATE,
	OP_COPY,
	OP_READ,
	OP_SEEK,    /* walk over the stretches of data of a file */
	OP_LOOKUP,  /* of a name, often of one that does not exist */
	OP_READDIR, /* a whole directory, then again from a place in it */
	OP_SCAN,    /* begin a scan that goes on beside other operations, or continue it */
	OP_READLINK,
	OP_STAT,
	OP_HOLD,
	OP_RELEASE,
	OP_SYNC,
	OP_SNAPSHOT, /* sync, and look at what would be left by a power failure then */
	OP_CRASH,    /* look at what would be left by a power failure without sync */
	OP_VERIFY,   /* compare everything */
	OP_REMOUNT,  /* close, check, open, compare everything */
	OP_KINDS,
};

enum op_data {
	DATA_ZERO,
	DATA_NOISE,
	DATA_TEXT,   /* compresses well */
	DATA_REPEAT, /* the same few blocks again and again */
	DATA_MIXED,  /* noise with stretches of zeros */
	DATA_KINDS,
};

struct op {
	uint64_t number;            /* also the id of what it creates */
	uint64_t seed;              /* for how it is carried out, and for data */
	uint64_t object, dir, dir2; /* model ids */
	uint64_t offset, offset2, len;
	uint32_t name, name2;      /* as name_make() has them */
	uint8_t kind;              /* enum op_kind */
	uint8_t data;              /* enum op_data */
	bool hold;                 /* keep a reference to what it concerned */
	bool want;                 /* ask for the new inode, or the one that lost its last name */
	unsigned flags;            /* of the operation */
	uint8_t type;              /* enum h2_object_type, of what is created */
	struct model_set set;      /* OP_SET; for OP_CREATE... mode, owner, algorithms */
	int comp_algo, check_algo; /* OP_CREATE...: -1: inherit */
	uint32_t rmajor, rminor;
};

#define OP_WRITE_APPEND 0x1u
#define OP_WRITE_KEEP_TIMES 0x2u

/* ---- names: a number stands for a name ---- */

#define NAME_BUFFER 1024u
#define NAMES_MAX 4096u         /* numbers below this are good names */
#define NAMES_LEARNED 0x100000u /* and up: names that were found, not made */
enum name_bad {
	NAME_EMPTY = 0xfffff000,
	NAME_DOT,
	NAME_DOT_DOT,
	NAME_SLASH,
	NAME_NUL,
	NAME_TOO_LONG,
	NAME_FAR_TOO_LONG,
};

/* Write the name to buf (not terminated); returns its length. */
size_t name_make(uint32_t number, char buf[NAME_BUFFER]);

/* Give a number to a name that was found. For the beginning of a run: threads must wait. */
uint32_t name_learn(const char *name, size_t len);

/* Fill buf with the data of a write. */
void data_make(uint8_t *buf, size_t len, enum op_data kind, uint64_t seed);

/* A symlink's target of len bytes. */
void target_make(char *buf, size_t len, uint64_t seed);

/* The operation in words; buf is always terminated. */
void op_describe(const struct op *op, char *buf, size_t size);
const char *op_kind_name(enum op_kind kind);

#endif
