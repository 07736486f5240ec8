/* Operations: those of which sequences are made, and random ones. */
#ifndef EXPLORE_GENERATE_H
#define EXPLORE_GENERATE_H

#include "model.h"
#include "random.h"

/* What a setup with the word "prelude" begins with. */
extern const char *const prelude_text;

/* The operations that sequences are made of, for what the prelude leaves. */
extern const char *const vocabulary[];
extern const unsigned vocabulary_count;

struct generator {
	struct random random;
	uint64_t bytes_max; /* of contents in the model, beyond which more is removed than made */
	uint64_t write_max;
	unsigned names;      /* how many a directory chooses from */
	unsigned sync_every; /* about */
	bool greedy;         /* writes much, so that the filesystem is full again and again */
};

/* bytes_max 0: greedy. */
void generator_init(struct generator *g, uint64_t seed, uint64_t bytes_max);

/* Choose an operation that makes sense in the model's state. */
void generate(struct generator *g, struct model *m, struct op *op);

#endif
