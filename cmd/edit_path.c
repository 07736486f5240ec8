/*
 * The verb edit: paths in a PFS, and walking over all that is below a directory.
 *
 * Symlinks are followed within the PFS: absolute ones from its root, which ".." does not leave.
 */
#include <stdlib.h>
#include <string.h>

#include "edit.h"
#include "walk.h"

#define SYMLINKS_MAX 40 /* followed in one path, as Linux has it */

/* ---- paths ---- */

bool is_directory(const struct h2_inode *inode)
{
	return h2_inode_meta(inode)->type == H2_OBJECT_DIRECTORY;
}

bool place_is_dir(const struct place *p)
{
	return p->inode && is_directory(p->inode);
}

void place_fini(struct place *p)
{
	h2_inode_put(p->dir);
	h2_inode_put(p->inode);
	*p = (struct place){0};
}

char *last_name(const char *path)
{
	size_t len = strlen(path), from;

	while (len > 0 && path[len - 1] == '/')
		len--;
	for (from = len; from > 0 && path[from - 1] != '/';)
		from--;
	path += from;
	len -= from;
	if ((len == 1 && path[0] == '.') || (len == 2 && path[0] == '.' && path[1] == '.'))
		len = 0;
	return must_alloc(strndup(path, len));
}

/* A path that is being followed. */
struct way {
	struct edit *e;
	unsigned flags;
	struct h2_inode *at; /* where we are */
	char *rest;          /* what is left of the path */
	int symlinks;
};

/* Let the target of a symlink stand in front of what is left. */
static int follow_symlink(struct way *w, struct h2_inode *symlink, const char *rest)
{
	char target[H2_SYMLINK_MAX + 1], *text;
	ssize_t len = h2_symlink_read(symlink, target, sizeof(target));
	struct h2_inode *root;
	size_t size;
	int err;

	if (len < 0)
		return (int)len;
	if (++w->symlinks > SYMLINKS_MAX)
		return -ELOOP;
	if (target[0] == '/') {
		err = h2_inode_get(w->e->pfs, H2_INUM_ROOT, &root);
		if (err)
			return err;
		h2_inode_put(w->at);
		w->at = root;
	}
	size = strlen(target) + strlen(rest) + 1;
	text = must_alloc(malloc(size));
	snprintf(text, size, "%s%s", target, rest);
	free(w->rest);
	w->rest = text;
	return 0;
}

static int go_up(struct way *w)
{
	struct h2_inode *up;
	int err = h2_inode_get(w->e->pfs, h2_dir_parent(w->at), &up);

	if (err)
		return err;
	h2_inode_put(w->at);
	w->at = up;
	return 0;
}

/*
 * Take one component off. Returns 0; 1 when the end is reached, with *p filled in; or an error.
 */
static int step(struct way *w, struct place *p)
{
	char *name = w->rest + strspn(w->rest, "/");
	size_t len = strcspn(name, "/");
	const char *rest = name + len;
	bool last = rest[strspn(rest, "/")] == '\0';
	struct h2_inode *inode;
	struct h2_dirent ent;
	int err;

	if (len == 0) {
		p->inode = w->at;
		w->at = NULL;
		return 1;
	}
	if (!is_directory(w->at))
		return -ENOTDIR;
	if ((len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.')) {
		memmove(w->rest, rest, strlen(rest) + 1);
		return len == 2 ? go_up(w) : 0;
	}
	err = h2_dir_lookup(w->at, name, len, &ent);
	if (err && (err != -ENOENT || !last))
		return err;
	inode = NULL;
	if (!err)
		err = h2_dirent_get(w->at, &ent, &inode);
	if (inode && h2_inode_meta(inode)->type == H2_OBJECT_SYMLINK &&
	    (!last || *rest || w->flags & PLACE_FOLLOW)) {
		err = follow_symlink(w, inode, rest);
		h2_inode_put(inode);
		return err;
	}
	if (err && err != -ENOENT)
		return err;
	if (last) {
		if (*rest && (inode ? !is_directory(inode) : !(w->flags & PLACE_NEW_DIR))) {
			h2_inode_put(inode);
			return -ENOTDIR;
		}
		memcpy(p->name, name, len);
		p->dir = w->at;
		p->inode = inode;
		w->at = NULL;
		return 1;
	}
	memmove(w->rest, rest, strlen(rest) + 1);
	h2_inode_put(w->at);
	w->at = inode;
	return 0;
}

int place_look(struct edit *e, const char *path, unsigned flags, struct place *p)
{
	struct way w = {.e = e, .flags = flags};
	int err = *path ? 0 : -ENOENT;

	*p = (struct place){0};
	if (!err)
		err = h2_inode_get(e->pfs, H2_INUM_ROOT, &w.at);
	if (err)
		return err;
	w.rest = must_alloc(strdup(path));
	while (!err)
		err = step(&w, p);
	free(w.rest);
	h2_inode_put(w.at);
	return err < 0 ? err : 0;
}

bool place_find(struct edit *e, const char *path, unsigned flags, struct place *p)
{
	int err = place_look(e, path, flags, p);

	if (!err && flags & PLACE_EXISTS && !p->inode)
		err = -ENOENT;
	if (err) {
		place_fini(p);
		return edit_fail(e, path, "%s", edit_error(err));
	}
	if (flags & PLACE_NAMED && !p->dir) {
		bool root = h2_inode_meta(p->inode)->inum == H2_INUM_ROOT;

		place_fini(p);
		return edit_fail(e, path, "%s",
				 root ? "the root directory cannot be removed or replaced"
				      : "the path must end in a name, not in \".\" or \"..\"");
	}
	return true;
}

bool place_destination(struct edit *e, const char *path, const char *name, unsigned flags,
		       struct place *p)
{
	unsigned follow = flags & PLACE_SYMLINK ? 0 : PLACE_FOLLOW;
	/* A symlink that leads nowhere is told below, if it matters. */
	bool inside = place_look(e, path, follow | PLACE_NEW_DIR, p) == 0 && place_is_dir(p), ok;
	char *text;

	place_fini(p);
	if (!inside)
		return place_find(e, path, flags, p);
	text = join_path(path, name);
	ok = place_find(e, text, flags, p);
	free(text);
	return ok;
}

bool place_is_dangling(struct edit *e, const char *path)
{
	struct place p;
	bool dangling = place_look(e, path, 0, &p) == 0 && p.inode;

	place_fini(&p);
	return dangling;
}

/* ---- everything below a directory ---- */

/* A directory on the way down. On the heap: paths can be thousands of directories deep. */
struct level {
	struct level *above;
	struct place place;
	struct h2_dir_scan *scan;
	char *path;
};

/* Takes the place over. NULL after a message. */
static struct level *level_new(struct edit *e, struct level *above, struct place *p, char *path)
{
	struct level *level = must_alloc(calloc(1, sizeof(*level)));
	int err = h2_dir_scan_new(p->inode, 0, &level->scan);

	level->above = above;
	level->place = *p;
	level->path = path;
	*p = (struct place){0};
	if (!err)
		return level;
	edit_fail(e, path, "%s", edit_error(err));
	place_fini(&level->place);
	free(level->path);
	free(level);
	return NULL;
}

static struct level *level_free(struct level *level)
{
	struct level *above = level->above;

	h2_dir_scan_free(level->scan);
	place_fini(&level->place);
	free(level->path);
	free(level);
	return above;
}

/* The next object of a directory as a place. Returns 0, 1 at the end, or an error. */
static int next_place(struct level *level, struct place *p)
{
	struct h2_dirent ent;
	int err = h2_dir_scan_next(level->scan, &ent);

	*p = (struct place){0};
	if (err)
		return err;
	err = h2_dirent_get(level->place.inode, &ent, &p->inode);
	if (err)
		return err;
	/* The reference that each place has of its own. */
	err = h2_inode_get(h2_inode_pfs(level->place.inode),
			   h2_inode_meta(level->place.inode)->inum, &p->dir);
	if (err) {
		place_fini(p);
		return err;
	}
	memcpy(p->name, ent.name, ent.name_len + 1u);
	return 0;
}

/* One object: call enter() and go down, or go up at the end of a directory. */
static bool walk_step(struct edit_walk *w, struct visited *visited, struct level **levelp)
{
	struct level *level = *levelp, *below;
	struct place p;
	char *path;
	int err = next_place(level, &p);
	bool ok;

	if (err < 0)
		return edit_fail(w->e, level->path, "a part of the directory cannot be read: %s",
				 edit_error(err));
	if (err == 1) {
		ok = !w->leave || w->leave(w, level->path, &level->place);
		*levelp = level_free(level);
		return ok;
	}
	path = join_path(level->path, p.name);
	ok = !place_is_dir(&p) || visited_add(visited, h2_inode_meta(p.inode)->inum) ||
	     edit_fail(w->e, path, "the directory has a second name: check the volumes");
	ok = ok && w->enter(w, path, &p);
	if (ok && place_is_dir(&p)) {
		below = level_new(w->e, level, &p, path);
		if (below)
			*levelp = below;
		return below != NULL;
	}
	place_fini(&p);
	free(path);
	return ok;
}

bool edit_walk(struct edit_walk *w, const char *path, struct place *p)
{
	struct visited visited = {0};
	struct level *level = NULL;
	bool ok = w->enter(w, path, p);

	if (ok && place_is_dir(p)) {
		level = level_new(w->e, NULL, p, must_alloc(strdup(path)));
		ok = level != NULL;
	}
	while (ok && level)
		ok = walk_step(w, &visited, &level);
	while (level)
		level = level_free(level);
	visited_fini(&visited);
	place_fini(p);
	return ok;
}
