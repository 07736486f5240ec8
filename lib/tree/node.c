/* Arrays of blockrefs and the nodes of trees; see node.h. */
#include "node.h"

#include <stdlib.h>
#include <string.h>

#define GUESS_MIN 16u /* entries from which on h2_array_find() guesses */

/* Last key of a range; hostile keybits and keys must not overflow. */
static uint64_t range_last(const struct h2d_blockref *d)
{
	uint64_t key = le64_get(d->key);
	uint64_t span = d->keybits < 64 ? (UINT64_C(1) << d->keybits) - 1 : 0;

	return span > UINT64_MAX - key ? UINT64_MAX : key + span;
}

/* Insertion sort: arrays are sorted already but for damage and hostility, and have 512 entries. */
static void sort_entries(struct h2_array *array)
{
	struct h2_array_entry *e = array->entries;

	for (unsigned i = 1; i < array->count; i++) {
		struct h2_array_entry moving = e[i];
		unsigned j = i;

		while (j > 0 && e[j - 1].lo > moving.lo) {
			e[j] = e[j - 1];
			j--;
		}
		e[j] = moving;
	}
}

void h2_array_init(struct h2_array *array, const struct h2d_blockref *refs, unsigned count,
		   struct h2_array_entry *entries)
{
	*array = (struct h2_array){
		.refs = refs,
		.entries = entries,
		.disjoint = true,
		.ascending = true,
	};
	for (unsigned i = 0; i < count; i++) {
		if (refs[i].type == H2_BLOCKREF_EMPTY)
			continue;
		if (array->count > 0 && le64_get(refs[i].key) < entries[array->count - 1].lo)
			array->ascending = false;
		entries[array->count++] = (struct h2_array_entry){
			.lo = le64_get(refs[i].key),
			.hi = range_last(&refs[i]),
			.slot = (uint16_t)i,
		};
	}
	sort_entries(array);
	for (unsigned i = 0; i < array->count; i++) {
		bool last = i + 1 == array->count;

		/*
		 * What an entry with impossible keybits covered is unknown. Let it claim all up to
		 * the next one: a reader then gets an error there instead of a hole.
		 */
		if (refs[entries[i].slot].keybits > 63)
			entries[i].hi = last                                ? UINT64_MAX
					: entries[i + 1].lo > entries[i].lo ? entries[i + 1].lo - 1
									    : entries[i].lo;
		if (!last && entries[i].hi >= entries[i + 1].lo)
			array->disjoint = false;
	}
}

/*
 * Narrow [*low, *high), all of a disjoint array, around where key would be if the entries' keys were
 * spread evenly: an entry that is looked at is likely to be a wait for memory.
 */
static void narrow(const struct h2_array *array, uint64_t key, unsigned *low, unsigned *high)
{
	const struct h2_array_entry *e = array->entries;
	uint64_t first = e[0].lo, step = (e[array->count - 1].lo - first) / array->count + 1;
	uint64_t guess = key > first ? (key - first) / step : 0;
	unsigned at = guess < array->count ? (unsigned)guess : array->count - 1;

	if (e[at].hi < key) {
		*low = at + 1;
		for (unsigned span = 4; span < *high - at; span *= 4) {
			if (e[at + span].hi >= key) {
				*high = at + span;
				break;
			}
			*low = at + span + 1;
		}
	} else {
		*high = at;
		for (unsigned span = 4; span <= at; span *= 4) {
			if (e[at - span].hi < key) {
				*low = at - span + 1;
				break;
			}
			*high = at - span;
		}
	}
}

unsigned h2_array_find(const struct h2_array *array, uint64_t key)
{
	unsigned low = 0, high = array->count;

	if (!array->disjoint) {
		while (low < array->count && array->entries[low].hi < key)
			low++;
		return low;
	}
	/* Keys are spread evenly, as a rule: hashes are, and numbers that follow each other. */
	if (high >= GUESS_MIN)
		narrow(array, key, &low, &high);
	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (array->entries[mid].hi < key)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

void h2_root_init(struct h2_root *root, const struct h2d_blockref refs[H2_BLOCKSET_COUNT])
{
	memcpy(root->refs, refs, sizeof(root->refs));
	memset(root->children, 0, sizeof(root->children));
	h2_array_init(&root->array, root->refs, H2_BLOCKSET_COUNT, root->entries);
	root->array.children = root->children;
}

static void free_node(struct h2_cached *cached)
{
	free(cached); /* entries and bytes lie behind the node in one piece of memory */
}

/* One piece of memory: the node, its entries, the block, which is not set. */
static struct h2_node *alloc_node(unsigned capacity)
{
	size_t entries_bytes = capacity * sizeof(struct h2_array_entry);
	size_t bytes = sizeof(struct h2_node) + entries_bytes + capacity * sizeof(struct h2d_blockref);
	struct h2_node *node = malloc(bytes);

	if (!node)
		return NULL;
	memset(node, 0, sizeof(*node));
	node->array.entries = (struct h2_array_entry *)(node + 1);
	node->array.refs = node->block = (struct h2d_blockref *)(node->array.entries + capacity);
	node->array.disjoint = node->array.ascending = true;
	node->capacity = capacity;
	node->cached.size_bytes = bytes;
	node->cached.free = free_node;
	return node;
}

int h2_node_get(struct h2_blocks *blocks, const struct h2_where *where,
		const struct h2_blockref *ref, struct h2_node **nodep)
{
	struct h2_cache_key key = h2_block_cache_key(ref, H2_CACHE_NODE);
	struct h2_cached *cached = h2_cache_get(blocks->cache, &key);
	struct h2_node *node;
	int err;

	assert(h2_is_interior(ref));
	if (cached) {
		*nodep = (struct h2_node *)cached;
		return 0;
	}
	node = alloc_node((unsigned)(h2_block_size(ref) / H2_BLOCKREF_SIZE));
	if (!node)
		return -ENOMEM;
	err = h2_block_read(blocks, where, ref, node->block);
	if (err) {
		free(node);
		return err;
	}
	h2_array_init(&node->array, node->block, node->capacity, node->array.entries);
	node->cached.key = key;
	*nodep = (struct h2_node *)h2_cache_insert(blocks->cache, &node->cached, false);
	return 0;
}

struct h2_node *h2_node_new(unsigned capacity)
{
	struct h2_node *node = alloc_node(capacity);

	if (node)
		memset(node->block, 0, capacity * sizeof(*node->block));
	return node;
}

/* Entries in the order of their keys, without gaps. */
static void copy_entries(struct h2_node *to, const struct h2_node *from)
{
	unsigned count = from->array.count;

	for (unsigned i = 0; i < count; i++) {
		unsigned slot = from->array.entries[i].slot;

		if (to != from || slot != i)
			to->block[i] = from->block[slot];
		to->array.entries[i] = from->array.entries[i];
		to->array.entries[i].slot = (uint16_t)i;
	}
	memset(to->block + count, 0, (to->capacity - count) * sizeof(*to->block));
	to->array.count = count;
}

struct h2_node *h2_node_take(struct h2_blocks *blocks, struct h2_node *node, unsigned capacity)
{
	struct h2_node *own;

	assert(node->array.ascending && node->array.count <= capacity);
	if (node->capacity == capacity && h2_cache_take(blocks->cache, &node->cached)) {
		copy_entries(node, node);
		return node;
	}
	own = alloc_node(capacity);
	if (own)
		copy_entries(own, node);
	h2_node_put(blocks, node);
	return own;
}

void h2_node_free(struct h2_node *node)
{
	free(node);
}

void h2_node_enter(struct h2_blocks *blocks, const struct h2_blockref *ref, struct h2_node *node)
{
	node->cached.key = h2_block_cache_key(ref, H2_CACHE_NODE);
	h2_cache_put(blocks->cache, h2_cache_insert(blocks->cache, &node->cached, false));
}

void h2_node_drop(struct h2_blocks *blocks, const struct h2_blockref *ref)
{
	struct h2_cache_key key = h2_block_cache_key(ref, H2_CACHE_NODE);

	h2_cache_drop(blocks->cache, &key);
}

void h2_node_put(struct h2_blocks *blocks, struct h2_node *node)
{
	if (node)
		h2_cache_put(blocks->cache, &node->cached);
}
