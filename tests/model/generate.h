/*
 * Random operations that make sense for the state that the model is in, the same ones for the same
 * seed, model and abilities of the backend.
 *
 * A run is a row of phases. Each phase draws how often each kind of operation comes, so that one
 * fills a directory, another removes nearly everything, and a third only renames.
 */
#ifndef TESTS_MODEL_GENERATE_H
#define TESTS_MODEL_GENERATE_H

#include "op.h"
#include "random.h"

struct generator {
	struct random random;
	unsigned can;        /* CAN_... of the backend */
	bool alone;          /* also operations on the whole filesystem */
	uint64_t inodes_max; /* more than these are not made */
	uint64_t chunks_max; /* likewise for chunks of content */
	uint64_t number;     /* of the last operation */
	unsigned weights[OP_KINDS];
	unsigned weight_sum;
	uint64_t phase_left; /* operations */
	uint32_t names;      /* how many names a directory chooses from */
	unsigned spread;     /* writes go to anywhere below 1 << spread; 0: near the rest */
	uint64_t write_max;  /* bytes */
	uint64_t favourite;  /* the object of the last operation */
};

void generator_init(struct generator *g, uint64_t seed, unsigned can, bool alone);

/* Make the next operation for that state of the model. */
void generate(struct generator *g, const struct model *m, struct op *op);

#endif
