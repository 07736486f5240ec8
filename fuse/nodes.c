/*
 * A hash table with open addressing: an entry lies in its own place or in the next free one behind
 * it. Removing moves those behind it up, so there are no marks of removed entries to clean away.
 */
#include "nodes.h"

#include <pthread.h>
#include <stdlib.h>

#define SIZE_MIN 1024u /* entries; a power of two */

struct node {
	uint64_t inum;
	uint64_t count;        /* 0: no entry */
	struct h2_inode *gone; /* NULL: it has a name */
};

struct nodes {
	pthread_mutex_t lock; /* held for moments; nothing is called under it */

	/* under lock */
	struct node *table;
	size_t size; /* a power of two */
	size_t used;
	size_t gone_count;
};

struct nodes *nodes_new(void)
{
	struct nodes *nodes = calloc(1, sizeof(*nodes));

	if (!nodes)
		return NULL;
	nodes->size = SIZE_MIN;
	nodes->table = calloc(nodes->size, sizeof(*nodes->table));
	if (!nodes->table) {
		free(nodes);
		return NULL;
	}
	pthread_mutex_init(&nodes->lock, NULL);
	return nodes;
}

void nodes_free(struct nodes *nodes)
{
	if (!nodes)
		return;
	for (size_t i = 0; i < nodes->size; i++)
		h2_inode_put(nodes->table[i].gone);
	pthread_mutex_destroy(&nodes->lock);
	free(nodes->table);
	free(nodes);
}

/* Inode numbers are consecutive: neighbours shall not make one long run of entries. */
static size_t home_of(const struct nodes *nodes, uint64_t inum)
{
	return (size_t)(inum * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (nodes->size - 1);
}

/* The entry of inum, or the free one where it would be. */
static struct node *find(const struct nodes *nodes, uint64_t inum)
{
	size_t i = home_of(nodes, inum);

	while (nodes->table[i].count > 0 && nodes->table[i].inum != inum)
		i = (i + 1) & (nodes->size - 1);
	return &nodes->table[i];
}

/* Change the number of entries that there is room for. */
static bool resize(struct nodes *nodes, size_t size)
{
	struct node *old = nodes->table, *table = calloc(size, sizeof(*table));
	size_t old_size = nodes->size;

	if (!table)
		return false;
	nodes->table = table;
	nodes->size = size;
	for (size_t i = 0; i < old_size; i++)
		if (old[i].count > 0)
			*find(nodes, old[i].inum) = old[i];
	free(old);
	return true;
}

/* Close the gap that a removed entry leaves, so that every entry can be reached from its home. */
static void remove_entry(struct nodes *nodes, struct node *node)
{
	size_t mask = nodes->size - 1, hole = (size_t)(node - nodes->table);

	for (size_t i = (hole + 1) & mask; nodes->table[i].count > 0; i = (i + 1) & mask) {
		size_t home = home_of(nodes, nodes->table[i].inum);

		if (((i - home) & mask) < ((i - hole) & mask))
			continue; /* its home lies behind the hole */
		nodes->table[hole] = nodes->table[i];
		hole = i;
	}
	nodes->table[hole] = (struct node){.count = 0};
	nodes->used--;
}

bool nodes_add(struct nodes *nodes, uint64_t inum)
{
	struct node *node;
	bool ok = true;

	pthread_mutex_lock(&nodes->lock);
	if (nodes->used >= nodes->size / 4 * 3)
		ok = resize(nodes, nodes->size * 2);
	if (ok) {
		node = find(nodes, inum);
		if (node->count == 0) {
			nodes->used++;
			node->inum = inum;
		}
		node->count++;
	}
	pthread_mutex_unlock(&nodes->lock);
	return ok;
}

void nodes_forget(struct nodes *nodes, uint64_t inum, uint64_t count)
{
	struct h2_inode *gone = NULL;
	struct node *node;

	pthread_mutex_lock(&nodes->lock);
	node = find(nodes, inum);
	if (node->count > count) {
		node->count -= count;
	} else if (node->count > 0) {
		gone = node->gone;
		if (gone)
			nodes->gone_count--;
		remove_entry(nodes, node);
		/* Memory is given back when little of it is used; without memory it stays. */
		if (nodes->size > SIZE_MIN && nodes->used < nodes->size / 8)
			(void)resize(nodes, nodes->size / 2);
	}
	pthread_mutex_unlock(&nodes->lock);
	h2_inode_put(gone);
}

void nodes_keep(struct nodes *nodes, uint64_t base, struct h2_inode *gone)
{
	struct h2_attr attr;
	struct node *node;

	if (!gone)
		return;
	h2_inode_attr(gone, &attr);
	pthread_mutex_lock(&nodes->lock);
	node = find(nodes, base | attr.inum);
	if (node->count > 0 && !node->gone) {
		node->gone = gone;
		nodes->gone_count++;
		gone = NULL;
	}
	pthread_mutex_unlock(&nodes->lock);
	h2_inode_put(gone);
}

bool nodes_is_gone(struct nodes *nodes, uint64_t inum)
{
	bool gone;

	pthread_mutex_lock(&nodes->lock);
	gone = nodes->gone_count > 0 && find(nodes, inum)->gone;
	pthread_mutex_unlock(&nodes->lock);
	return gone;
}
