/*
 * The verb edit: the commands that change names. They mean what the programs of the same names
 * mean, as far as they go; see hammer2(8).
 */
#include <stdlib.h>
#include <string.h>

#include "edit.h"

/* ---- mkdir ---- */

static bool make_directory(struct edit *e, const char *path, uint32_t mode, bool parents)
{
	struct place p;
	bool ok = place_find(e, path, PLACE_NEW_DIR | (parents ? PLACE_FOLLOW : 0), &p);

	if (!ok)
		return false;
	if (p.inode ? !parents || !place_is_dir(&p) : parents && place_is_dangling(e, path))
		ok = edit_fail(e, path, "%s", edit_error(-EEXIST));
	else if (!p.inode)
		ok = edit_create(e, path, &p, H2_OBJECT_DIRECTORY, mode, NULL);
	place_fini(&p);
	return ok;
}

/* Make the directories that lead to a path. */
static bool make_parents(struct edit *e, const char *path)
{
	char *text = must_alloc(strdup(path));
	char *at = text + strspn(text, "/");
	bool ok = true;

	for (; ok; at += strspn(at, "/")) {
		char *slash = at + strcspn(at, "/");

		if (slash[strspn(slash, "/")] == '\0')
			break;
		*slash = '\0';
		/* mkdir(1): whatever the umask says, the next ones can be made in it. */
		ok = make_directory(e, text, (0777 & ~e->umask) | 0300, true);
		*slash = '/';
		at = slash;
	}
	free(text);
	return ok;
}

bool edit_mkdir(struct edit *e, const struct edit_command *c)
{
	bool parents = c->options & EDIT_HAS('p'), ok = true;
	uint32_t mode = 0777 & ~e->umask;

	if (c->value)
		ok = edit_parse_mode(e, c->value, 0777, true, &mode);
	for (int i = 0; i < c->argc && ok; i++) {
		if (parents)
			ok = make_parents(e, c->argv[i]);
		ok = ok && make_directory(e, c->argv[i], mode, parents);
	}
	return ok;
}

/* ---- rm, rmdir ---- */

static bool remove_enter(struct edit_walk *w, const char *path, struct place *p)
{
	return place_is_dir(p) || edit_unlink(w->e, path, p);
}

static bool remove_leave(struct edit_walk *w, const char *path, struct place *p)
{
	int err = h2_rmdir(p->dir, p->name, strlen(p->name), NULL);

	return err ? edit_fail(w->e, path, "%s", edit_error(err)) : true;
}

static bool remove_path(struct edit *e, const char *path, bool recursive, bool force)
{
	struct edit_walk w = {.e = e, .enter = remove_enter, .leave = remove_leave};
	struct place p;
	int err = force ? place_look(e, path, 0, &p) : 0;

	if (force) {
		bool missing = err == -ENOENT || err == -ENOTDIR || (!err && !p.inode);

		place_fini(&p);
		if (missing && *path)
			return true;
	}
	if (!place_find(e, path, PLACE_EXISTS | PLACE_NAMED, &p))
		return false;
	if (place_is_dir(&p) && !recursive) {
		place_fini(&p);
		return edit_fail(e, path, "it is a directory; use rm -r or rmdir");
	}
	return edit_walk(&w, path, &p);
}

bool edit_rm(struct edit *e, const struct edit_command *c)
{
	bool ok = true;

	for (int i = 0; i < c->argc && ok; i++)
		ok = remove_path(e, c->argv[i], c->options & EDIT_HAS('r'),
				 c->options & EDIT_HAS('f'));
	return ok;
}

bool edit_rmdir(struct edit *e, const struct edit_command *c)
{
	bool ok = true;

	for (int i = 0; i < c->argc && ok; i++) {
		struct place p;
		int err;

		ok = place_find(e, c->argv[i], PLACE_EXISTS | PLACE_NAMED, &p);
		if (!ok)
			break;
		err = h2_rmdir(p.dir, p.name, strlen(p.name), NULL);
		place_fini(&p);
		if (err)
			ok = edit_fail(e, c->argv[i], "%s", edit_error(err));
	}
	return ok;
}

/* ---- mv ---- */

static bool move_place(struct edit *e, const char *source, struct place *from, const char *target,
		       struct place *to)
{
	int err;

	/* Also where these are two names of one file: rename(2) would leave both. */
	if (to->inode == from->inode)
		return edit_fail(e, target, "it is the same file already");
	err = h2_rename(from->dir, from->name, strlen(from->name), to->dir, to->name,
			strlen(to->name), 0, NULL);
	if (err == -EINVAL)
		return edit_fail(e, source, "a directory cannot be moved into itself");
	return err ? edit_fail(e, target, "%s", edit_error(err)) : true;
}

static bool move(struct edit *e, const char *source, const char *target)
{
	struct place from, to;
	bool ok = place_find(e, source, PLACE_EXISTS | PLACE_NAMED, &from);

	if (!ok)
		return false;
	ok = place_destination(e, target, from.name,
			       PLACE_NAMED | (place_is_dir(&from) ? PLACE_NEW_DIR : 0), &to);
	if (ok) {
		ok = move_place(e, source, &from, target, &to);
		place_fini(&to);
	}
	place_fini(&from);
	return ok;
}

/* Where several things go must be a directory. */
static bool check_many(struct edit *e, const struct edit_command *c)
{
	const char *target = c->argv[c->argc - 1];
	struct place p;
	bool ok;

	if (c->argc == 2)
		return true;
	if (!place_find(e, target, PLACE_FOLLOW | PLACE_EXISTS, &p))
		return false;
	ok = place_is_dir(&p) || edit_fail(e, target, "several things can only go to a directory");
	place_fini(&p);
	return ok;
}

bool edit_mv(struct edit *e, const struct edit_command *c)
{
	bool ok = check_many(e, c);

	for (int i = 0; i < c->argc - 1 && ok; i++)
		ok = move(e, c->argv[i], c->argv[c->argc - 1]);
	return ok;
}

/* ---- ln ---- */

/* Whether two places are one: the same name, or a file that has no other. */
static bool same_place(const struct place *a, const struct place *b)
{
	struct h2_attr attr;

	if (a->inode != b->inode)
		return false;
	h2_inode_attr(a->inode, &attr);
	return attr.nlink == 1 || (a->dir && b->dir && strcmp(a->name, b->name) == 0 &&
				   h2_inode_meta(a->dir)->inum == h2_inode_meta(b->dir)->inum);
}

/*
 * See to it that there is nothing where a link goes. from: what it is to lead to; there may be
 * nothing.
 */
static bool clear_place(struct edit *e, const char *path, struct place *p, bool force,
			const struct place *from)
{
	if (!p->inode)
		return true;
	if (!force || place_is_dir(p))
		return edit_fail(e, path, "%s", edit_error(-EEXIST));
	if (same_place(from, p))
		return edit_fail(e, path, "it is the same file already");
	return edit_unlink(e, path, p);
}

static bool link_hard(struct edit *e, const char *source, const char *path, struct place *to,
		      bool force)
{
	struct place from;
	bool ok = place_find(e, source, PLACE_EXISTS, &from);

	if (!ok)
		return false;
	if (place_is_dir(&from))
		ok = edit_fail(e, source, "a directory cannot have a second name");
	ok = ok && clear_place(e, path, to, force, &from);
	if (ok) {
		int err = h2_link(to->dir, to->name, strlen(to->name), from.inode);

		ok = err ? edit_fail(e, path, "%s", edit_error(err)) : true;
	}
	place_fini(&from);
	return ok;
}

static bool link_symbolic(struct edit *e, const char *target, const char *path, struct place *to,
			  bool force)
{
	struct place from;
	bool ok;

	/* To what is not there, as often as not. */
	(void)place_look(e, target, PLACE_FOLLOW, &from);
	ok = clear_place(e, path, to, force, &from) &&
	     edit_create(e, path, to, H2_OBJECT_SYMLINK, 0777, target);
	place_fini(&from);
	return ok;
}

static bool make_link(struct edit *e, const struct edit_command *c, const char *source,
		      const char *path)
{
	bool force = c->options & EDIT_HAS('f'), ok;
	char *name = last_name(source);
	struct place to;

	ok = place_destination(e, path, name,
			       PLACE_NAMED | (c->options & EDIT_HAS('n') ? PLACE_SYMLINK : 0), &to);
	free(name);
	if (!ok)
		return false;
	ok = (c->options & EDIT_HAS('s') ? link_symbolic : link_hard)(e, source, path, &to, force);
	place_fini(&to);
	return ok;
}

bool edit_ln(struct edit *e, const struct edit_command *c)
{
	bool ok = check_many(e, c);

	for (int i = 0; i < c->argc - 1 && ok; i++)
		ok = make_link(e, c, c->argv[i], c->argv[c->argc - 1]);
	return ok;
}
