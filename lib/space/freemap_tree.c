/* The freemap's tree; see freemap_tree.h. */
#include "freemap_tree.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define NODE_ENTRIES (H2_FREEMAP_BLOCK_SIZE / H2_BLOCKREF_SIZE)
#define ROOT_LEVEL 6u

static int fault(struct h2_freemap_tree *tree, const struct h2_blockref *ref, int err,
		 const char *what)
{
	char message[256];

	if (!tree->report)
		return err;
	snprintf(message, sizeof(message), "freemap block of zone %#" PRIx64 ": %s", ref->key,
		 what);
	tree->report(tree->report_user,
		     &(struct h2_report){
			     .severity = H2_FAULT,
			     .error = err,
			     .code = "freemap-damage",
			     .object = h2_blockref_type_name(ref->type <= H2_BLOCKREF_FREEMAP_LEAF
								     ? ref->type
								     : H2_BLOCKREF_EMPTY),
			     .message = message,
			     .flags = H2_REPORT_HAS_MEDIA,
			     .media = h2_blockref_offset(ref),
		     });
	return err;
}

static void free_node(struct h2_freemap_node *node)
{
	for (unsigned i = 0; i < node->count; i++) {
		if (node->entries[i].node) {
			free_node(node->entries[i].node);
			free(node->entries[i].node);
		}
	}
	free(node->entries);
}

static bool init_node(struct h2_freemap_node *node, unsigned level, unsigned capacity)
{
	*node = (struct h2_freemap_node){
		.level = level,
		.capacity = capacity,
		.entries = calloc(capacity, sizeof(*node->entries)),
	};
	return node->entries != NULL;
}

/*
 * Take the non-empty refs over in order of their keys. A freemap that cannot be told for sure must
 * not be allocated from.
 */
static int fill_node(struct h2_freemap_tree *tree, struct h2_freemap_node *node,
		     const struct h2_blockref *refs, unsigned count)
{
	uint64_t total = h2_volumes_total_size(tree->volumes);

	for (unsigned i = 0; i < count; i++) {
		struct h2_problem problem;

		if (refs[i].type == H2_BLOCKREF_EMPTY)
			continue;
		if (!h2_blockref_verify(&refs[i], H2_TREE_FREEMAP, total, &problem) ||
		    h2_freemap_level(refs[i].keybits) >= node->level)
			return fault(tree, &refs[i], -H2_ECORRUPT, "a blockref is not sound");
		if (node->count > 0 &&
		    refs[i].key <= h2_blockref_key_last(&node->entries[node->count - 1].ref))
			return fault(tree, &refs[i], -H2_ECORRUPT,
				     "blockrefs are not in ascending order");
		node->entries[node->count++].ref = refs[i];
	}
	return 0;
}

int h2_freemap_tree_init(struct h2_freemap_tree *tree, struct h2_volumes *volumes)
{
	tree->volumes = volumes;
	if (!init_node(&tree->root, ROOT_LEVEL, H2_BLOCKSET_COUNT))
		return -ENOMEM;
	return fill_node(tree, &tree->root, h2_volumes_header(volumes)->freemap_blockset,
			 H2_BLOCKSET_COUNT);
}

void h2_freemap_tree_fini(struct h2_freemap_tree *tree)
{
	free_node(&tree->root);
}

int h2_freemap_tree_read(struct h2_freemap_tree *tree, const struct h2_blockref *ref, void *buf)
{
	int err = h2_volumes_read(tree->volumes, h2_blockref_offset(ref), buf,
				  H2_FREEMAP_BLOCK_SIZE);

	if (err)
		return fault(tree, ref, err, strerror(-err));
	if (h2_check_verify(ref, buf, H2_FREEMAP_BLOCK_SIZE) != H2_CHECK_MATCH)
		return fault(tree, ref, -H2_ECHECK, "does not match its check code");
	return 0;
}

static int load_node(struct h2_freemap_tree *tree, struct h2_freemap_entry *entry)
{
	struct h2d_blockref *block = malloc(H2_FREEMAP_BLOCK_SIZE);
	struct h2_blockref *refs = malloc(NODE_ENTRIES * sizeof(*refs));
	struct h2_freemap_node *node = malloc(sizeof(*node));
	int err = -ENOMEM;

	if (!block || !refs || !node ||
	    !init_node(node, h2_freemap_level(entry->ref.keybits), NODE_ENTRIES)) {
		free(node);
		goto out;
	}
	err = h2_freemap_tree_read(tree, &entry->ref, block);
	if (!err) {
		for (unsigned i = 0; i < NODE_ENTRIES; i++)
			h2_blockref_decode(&block[i], &refs[i]);
		err = fill_node(tree, node, refs, NODE_ENTRIES);
	}
	if (err) {
		free_node(node);
		free(node);
	} else {
		entry->node = node;
	}
out:
	free(block);
	free(refs);
	return err;
}

/* The entry that covers key, or NULL. */
static struct h2_freemap_entry *covering(struct h2_freemap_node *node, uint64_t key)
{
	for (unsigned i = 0; i < node->count; i++) {
		struct h2_freemap_entry *e = &node->entries[i];

		if (key >= e->ref.key && key <= h2_blockref_key_last(&e->ref))
			return e;
	}
	return NULL;
}

/* The node in whose array key belongs, and the entry that covers it there if there is one. */
static int descend(struct h2_freemap_tree *tree, uint64_t key, struct h2_freemap_node **nodep,
		   struct h2_freemap_entry **entryp)
{
	struct h2_freemap_node *node = &tree->root;
	struct h2_freemap_entry *e;

	while ((e = covering(node, key)) && e->ref.type == H2_BLOCKREF_FREEMAP_NODE) {
		int err = e->node ? 0 : load_node(tree, e);

		if (err)
			return err;
		node = e->node;
	}
	*nodep = node;
	*entryp = e;
	return 0;
}

int h2_freemap_tree_find(struct h2_freemap_tree *tree, uint64_t key, struct h2_blockref **refp)
{
	struct h2_freemap_node *node;
	struct h2_freemap_entry *e;
	int err = descend(tree, key, &node, &e);

	if (err)
		return err;
	if (!e)
		return 1;
	*refp = &e->ref;
	return 0;
}

static void insert_entry(struct h2_freemap_node *node, const struct h2_freemap_entry *entry)
{
	unsigned at = node->count;

	assert(node->count < node->capacity);
	while (at > 0 && node->entries[at - 1].ref.key > entry->ref.key) {
		node->entries[at] = node->entries[at - 1];
		at--;
	}
	node->entries[at] = *entry;
	node->count++;
}

static unsigned keybits_of_level(unsigned level)
{
	return 30 + 8 * (level - 1);
}

/*
 * Make room in a full array as MF 10.3 tells: a node of the next level over the lowest entry that
 * is not yet of the highest level below this one.
 */
static int make_room(struct h2_freemap_node *node)
{
	struct h2_freemap_node *child = malloc(sizeof(*child));
	struct h2_freemap_entry entry = {.node = child};
	unsigned first = 0, kept = 0, level;

	while (first < node->count &&
	       h2_freemap_level(node->entries[first].ref.keybits) + 1 >= node->level)
		first++;
	if (!child || first == node->count) {
		free(child);
		return child ? -H2_ECORRUPT : -ENOMEM;
	}
	level = h2_freemap_level(node->entries[first].ref.keybits) + 1;
	if (!init_node(child, level, NODE_ENTRIES)) {
		free(child);
		return -ENOMEM;
	}
	entry.ref = (struct h2_blockref){
		.type = H2_BLOCKREF_FREEMAP_NODE,
		.methods = H2_CHECK_FREEMAP << 4,
		.keybits = (uint8_t)keybits_of_level(level),
		.key = node->entries[first].ref.key >> keybits_of_level(level)
							       << keybits_of_level(level),
	};
	for (unsigned i = 0; i < node->count; i++) {
		struct h2_freemap_entry *e = &node->entries[i];

		if (e->ref.key >= entry.ref.key && e->ref.key <= h2_blockref_key_last(&entry.ref))
			child->entries[child->count++] = *e;
		else
			node->entries[kept++] = *e;
	}
	node->count = kept;
	child->dirty = true;
	insert_entry(node, &entry);
	return 0;
}

int h2_freemap_tree_insert(struct h2_freemap_tree *tree, const struct h2_blockref *ref)
{
	struct h2_freemap_entry entry = {.ref = *ref}, *found;
	struct h2_freemap_node *node;

	for (;;) {
		int err = descend(tree, ref->key, &node, &found);

		if (err)
			return err;
		assert(!found);
		if (node->count < node->capacity)
			break;
		err = make_room(node);
		if (err)
			return err;
		node->dirty = true;
	}
	insert_entry(node, &entry);
	h2_freemap_tree_touch(tree, ref->key);
	return 0;
}

void h2_freemap_tree_touch(struct h2_freemap_tree *tree, uint64_t key)
{
	struct h2_freemap_node *node = &tree->root;

	while (node) {
		struct h2_freemap_entry *e = covering(node, key);

		node->dirty = true;
		node = e ? e->node : NULL;
	}
}

void h2_freemap_move(struct h2_blockref *ref, uint64_t tid, const void *block)
{
	unsigned set = 0;

	if (ref->data_off)
		set = ((unsigned)(ref->data_off >> 16 & 63) - 1) / 5 + 1;
	ref->data_off = h2_freemap_data_off(h2_freemap_level(ref->keybits), ref->key,
					    set % H2_FREEMAP_SETS);
	ref->mirror_tid = tid;
	ref->modify_tid = tid;
	(void)h2_check_set(ref, block, H2_FREEMAP_BLOCK_SIZE);
}

static int flush_node(struct h2_freemap_tree *tree, struct h2_freemap_node *node, uint64_t tid,
		      h2_space_write_fn *write, void *user)
{
	int err = 0;

	for (unsigned i = 0; i < node->count && !err; i++) {
		struct h2_freemap_entry *e = &node->entries[i];
		struct h2d_blockref *block;

		if (!e->node || !e->node->dirty)
			continue;
		err = flush_node(tree, e->node, tid, write, user);
		if (err)
			break;
		block = calloc(1, H2_FREEMAP_BLOCK_SIZE);
		if (!block)
			return -ENOMEM;
		for (unsigned j = 0; j < e->node->count; j++)
			h2_blockref_encode(&e->node->entries[j].ref, &block[j]);
		h2_freemap_move(&e->ref, tid, block);
		err = write(user, h2_blockref_offset(&e->ref), block, H2_FREEMAP_BLOCK_SIZE);
		free(block);
	}
	node->dirty = err != 0;
	return err;
}

int h2_freemap_tree_flush(struct h2_freemap_tree *tree, uint64_t tid,
			  struct h2_blockref set[H2_BLOCKSET_COUNT], h2_space_write_fn *write,
			  void *user)
{
	int err = flush_node(tree, &tree->root, tid, write, user);

	memset(set, 0, H2_BLOCKSET_COUNT * sizeof(*set));
	for (unsigned i = 0; i < tree->root.count; i++)
		set[i] = tree->root.entries[i].ref;
	return err;
}
