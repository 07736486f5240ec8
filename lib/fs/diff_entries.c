/*
 * What there is to say of the objects and names that differ: names that both have after all are left
 * out, those of one object are paired to renames, and everything is sorted by paths.
 */
#include <stdlib.h>
#include <string.h>

#include "diff_impl.h"

/* A name in a directory; without one: the root. */
struct place {
	const struct diff_node *dir;
	const char *name;
	uint8_t len;
};

struct item {
	enum h2_diff_kind kind;
	uint8_t type;
	uint64_t inum;
	unsigned what;
	struct place at, to; /* to: where it was renamed to */
};

struct diff_entries {
	struct item *items;
	size_t count;
	char *path, *new_path; /* room for the longest one */
	size_t path_max;       /* bytes, without a terminator */
};

/* ---- places ---- */

static size_t depth_of(const struct place *p)
{
	return p->dir ? p->dir->depth + 1 : 0;
}

static struct place place_of_node(const struct diff_node *node)
{
	return (struct place){.dir = node->parent_node, .name = node->name, .len = node->len};
}

static struct place place_of_name(const struct diff_name *name)
{
	return (struct place){.dir = name->dir_node, .name = name->bytes, .len = name->len};
}

static int compare_bytes(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int order = memcmp(a, b, a_len < b_len ? a_len : b_len);

	return order ? order : (a_len > b_len) - (a_len < b_len);
}

/* Name by name from the root, without making paths of them: those of hostile media may be long. */
static int compare_places(struct place a, struct place b)
{
	int longer = (depth_of(&a) > depth_of(&b)) - (depth_of(&a) < depth_of(&b)), order = 0;

	while (depth_of(&a) > depth_of(&b))
		a = place_of_node(a.dir);
	while (depth_of(&b) > depth_of(&a))
		b = place_of_node(b.dir);
	while (a.dir) {
		int here = compare_bytes(a.name, a.len, b.name, b.len);

		/* The one nearest to the root counts. */
		order = here ? here : order;
		if (a.dir == b.dir)
			break;
		a = place_of_node(a.dir);
		b = place_of_node(b.dir);
	}
	return order ? order : longer;
}

static size_t path_size(const struct place *p)
{
	return p->dir ? p->dir->path_size + 1 + p->len : 1;
}

static void make_path(struct place p, char *path)
{
	char *end = path + path_size(&p);

	*end = '\0';
	if (!p.dir)
		path[0] = '/';
	while (p.dir) {
		end -= p.len;
		memcpy(end, p.name, p.len);
		*--end = '/';
		p = place_of_node(p.dir);
	}
}

/* ---- names that both have, in spite of all ---- */

static int by_name(const void *x, const void *y)
{
	const struct diff_name *a = *(struct diff_name *const *)x;
	const struct diff_name *b = *(struct diff_name *const *)y;
	int order;

	if (a->inum != b->inum)
		return a->inum > b->inum ? 1 : -1;
	if (a->dir != b->dir)
		return a->dir > b->dir ? 1 : -1;
	order = compare_bytes(a->bytes, a->len, b->bytes, b->len);
	return order ? order : (int)a->side - (int)b->side;
}

/* Made anew under another key, or met on two ways: of one object in one directory, it is one. */
static bool is_one(const struct diff *diff, const struct diff_name *a, const struct diff_name *b)
{
	return a->side == FROM && b->side == TO && a->inum == b->inum && a->dir == b->dir &&
	       compare_bytes(a->bytes, a->len, b->bytes, b->len) == 0 &&
	       diff_is_same(diff, a->inum) && diff_is_same(diff, a->dir);
}

static void pair_names(struct diff *diff)
{
	struct diff_name **names = diff->names;

	for (size_t i = 0; i + 1 < diff->name_count; i++)
		if (is_one(diff, names[i], names[i + 1]))
			names[i]->in_both = names[i + 1]->in_both = true;
}

static int enter_some(struct diff *diff, bool in_both)
{
	int err = 0;

	for (size_t i = 0; i < diff->name_count && !err; i++) {
		struct diff_name *name = diff->names[i];
		struct h2_map *map = &diff->sides[name->side].names;

		if (name->in_both == in_both && !h2_map_get(map, name->inum))
			err = h2_map_put(map, name->inum, name);
	}
	return err;
}

/* For paths: where the objects of these names are. */
static int enter_names(struct diff *diff)
{
	int err = enter_some(diff, true);

	return err ? err : enter_some(diff, false);
}

bool diff_is_listed(const struct diff *diff, unsigned side, uint64_t dir,
		    const struct h2_dirent *ent)
{
	union {
		struct diff_name name;
		char room[sizeof(struct diff_name) + H2_NAME_MAX];
	} key = {.name = {.side = side, .dir = dir, .inum = ent->inum, .len = ent->name_len}};
	const struct diff_name *sought = &key.name;
	struct diff_name **found;

	memcpy(key.room + offsetof(struct diff_name, bytes), ent->name, ent->name_len);
	found = bsearch(&sought, diff->names, diff->name_count, sizeof(*found), by_name);
	return found && !(*found)->in_both;
}

/* What a directory contains are its names. */
static void note_changed_dirs(struct diff *diff)
{
	for (struct diff_name *name = diff->first_name; name; name = name->next) {
		struct diff_object *o = h2_map_get(&diff->objects, name->dir);

		if (!name->in_both && o && diff_is_same(diff, name->dir))
			o->what |= H2_DIFF_CONTENTS;
	}
}

static void note_touched(struct diff *diff)
{
	for (struct diff_object *o = diff->first_object; o; o = o->next)
		if (o->touched && !(o->what & H2_DIFF_CONTENTS))
			o->what |= H2_DIFF_ATTRIBUTES;
}

static int find_paths(struct diff *diff)
{
	struct diff_node *node;
	int err = 0;

	for (struct diff_name *name = diff->first_name; name && !err; name = name->next)
		if (!name->in_both)
			err = diff_want_path(diff, name->side, name->dir, &name->dir_node);
	for (struct diff_object *o = diff->first_object; o && !err; o = o->next)
		if (o->what)
			err = diff_want_path(diff, TO, o->inum, &node);
	for (unsigned side = 0; side < SIDES && !err; side++)
		err = diff_find_paths(diff, side);
	return err;
}

/* ---- the entries ---- */

static bool has_path(const struct diff_name *name)
{
	return !name->in_both && name->dir_node->state == REACHED;
}

/* Those with a path to the front, by objects, sides and paths. */
static int by_place(const void *x, const void *y)
{
	const struct diff_name *a = *(struct diff_name *const *)x;
	const struct diff_name *b = *(struct diff_name *const *)y;

	if (has_path(a) != has_path(b))
		return has_path(a) ? -1 : 1;
	if (!has_path(a))
		return 0;
	if (a->inum != b->inum)
		return a->inum > b->inum ? 1 : -1;
	if (a->side != b->side)
		return (int)a->side - (int)b->side;
	return compare_places(place_of_name(a), place_of_name(b));
}

static uint8_t type_of(const struct diff *diff, const struct diff_name *name)
{
	const struct diff_object *o = h2_map_get(&diff->objects, name->inum);

	return o && o->at[name->side].own_type ? o->at[name->side].type : name->type;
}

static struct item item_of(const struct diff *diff, const struct diff_name *name)
{
	return (struct item){
		.kind = name->side == FROM ? H2_DIFF_REMOVED : H2_DIFF_ADDED,
		.type = type_of(diff, name),
		.inum = name->inum,
		.at = place_of_name(name),
	};
}

/* The names of one object: count of them, of which the first removed ones are removed. */
static void add_names(const struct diff *diff, struct diff_entries *entries,
		      struct diff_name **names, size_t count, size_t removed)
{
	size_t added = count - removed;
	size_t pairs = removed < added ? removed : added;

	if (pairs > 0 && !diff_is_same(diff, names[0]->inum))
		pairs = 0;
	for (size_t i = 0; i < count; i++) {
		struct item *item = &entries->items[entries->count];

		if (i >= removed && i - removed < pairs)
			continue;
		*item = item_of(diff, names[i]);
		if (i < pairs) {
			item->kind = H2_DIFF_RENAMED;
			item->to = place_of_name(names[removed + i]);
		}
		entries->count++;
	}
}

static void add_all_names(const struct diff *diff, struct diff_entries *entries)
{
	struct diff_name **names = diff->names;
	size_t end, removed;

	for (size_t i = 0; i < diff->name_count && has_path(names[i]); i = end) {
		removed = 0;
		for (end = i; end < diff->name_count && has_path(names[end]) &&
			      names[end]->inum == names[i]->inum;
		     end++)
			removed += names[end]->side == FROM;
		add_names(diff, entries, names + i, end - i, removed);
	}
}

static void add_changes(const struct diff *diff, struct diff_entries *entries)
{
	for (const struct diff_object *o = diff->first_object; o; o = o->next) {
		const struct diff_node *node = h2_map_get(&diff->sides[TO].nodes, o->inum);

		if (o->what && node->state == REACHED)
			entries->items[entries->count++] = (struct item){
				.kind = H2_DIFF_CHANGED,
				.type = o->at[TO].type,
				.inum = o->inum,
				.what = o->what,
				.at = place_of_node(node),
			};
	}
}

static int by_path(const void *x, const void *y)
{
	const struct item *a = x, *b = y;
	int order = compare_places(a->at, b->at);

	return order ? order : (int)a->kind - (int)b->kind;
}

static int make_items(struct diff *diff, struct diff_entries *entries)
{
	size_t room = diff->name_count + 1;

	for (const struct diff_object *o = diff->first_object; o; o = o->next)
		room += o->what != 0;
	entries->items = calloc(room, sizeof(*entries->items));
	if (!entries->items)
		return -ENOMEM;
	qsort(diff->names, diff->name_count, sizeof(struct diff_name *), by_place);
	add_all_names(diff, entries);
	add_changes(diff, entries);
	qsort(entries->items, entries->count, sizeof(*entries->items), by_path);
	return 0;
}

static int make_room_for_paths(struct diff_entries *entries)
{
	for (size_t i = 0; i < entries->count; i++) {
		const struct item *item = &entries->items[i];
		size_t size = path_size(&item->at), to = path_size(&item->to);

		size = size > to ? size : to;
		if (size > entries->path_max)
			entries->path_max = size;
	}
	entries->path = malloc(entries->path_max + 1);
	entries->new_path = malloc(entries->path_max + 1);
	return entries->path && entries->new_path ? 0 : -ENOMEM;
}

static int make_entries(struct diff *diff, struct diff_entries *entries)
{
	int err;

	qsort(diff->names, diff->name_count, sizeof(struct diff_name *), by_name);
	pair_names(diff);
	note_changed_dirs(diff);
	note_touched(diff);
	err = enter_names(diff);
	if (!err)
		err = find_paths(diff);
	if (!err)
		err = make_items(diff, entries);
	return err ? err : make_room_for_paths(entries);
}

int diff_entries_new(struct diff *diff, struct diff_entries **entriesp)
{
	struct diff_entries *entries = calloc(1, sizeof(*entries));
	size_t count = 0;
	int err = -ENOMEM;

	*entriesp = entries;
	diff->names = calloc(diff->name_count + 1, sizeof(struct diff_name *));
	if (entries && diff->names) {
		for (struct diff_name *name = diff->first_name; name; name = name->next)
			diff->names[count++] = name;
		err = make_entries(diff, entries);
	}
	free(diff->names);
	diff->names = NULL;
	return err;
}

void diff_entries_free(struct diff_entries *entries)
{
	if (!entries)
		return;
	free(entries->items);
	free(entries->path);
	free(entries->new_path);
	free(entries);
}

int diff_entries_tell(const struct diff_entries *entries,
		      int (*entry)(void *user, const struct h2_diff_entry *entry), void *user)
{
	int err = 0;

	for (size_t i = 0; i < entries->count && !err; i++) {
		const struct item *item = &entries->items[i];
		bool renamed = item->kind == H2_DIFF_RENAMED;

		make_path(item->at, entries->path);
		if (renamed)
			make_path(item->to, entries->new_path);
		err = entry(user, &(struct h2_diff_entry){
					  .kind = item->kind,
					  .type = item->type,
					  .inum = item->inum,
					  .path = entries->path,
					  .new_path = renamed ? entries->new_path : NULL,
					  .what = item->what,
				  });
	}
	return err;
}
