/*
 * The verb edit: paths, and the commands that change names and attributes. They mean what the
 * programs of the same names mean, as far as they go; see hammer2(8).
 */
#include "edit.h"

#include <ctype.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "walk.h"

#define SYMLINKS_MAX 40 /* followed in one path, as Linux has it */

/* ---- messages ---- */

static void print_where(struct edit *e, bool in_pfs, const char *path)
{
	const struct edit_command *c = e->command;

	if (e->script) {
		out_name(stderr, e->script, strlen(e->script));
		if (c)
			fprintf(stderr, ":%u", c->line);
		fputs(": ", stderr);
	}
	if (c) {
		out_name(stderr, c->words[0], strlen(c->words[0]));
		fputs(": ", stderr);
	}
	if (path) {
		if (in_pfs)
			fprintf(stderr, "%s:", e->label);
		out_name(stderr, path, strlen(path));
		fputs(": ", stderr);
	}
}

static void json_problem(struct edit *e, bool in_pfs, const char *path, const char *message)
{
	struct json *json = e->call->json;

	json_object_begin(json, NULL);
	json_string(json, "record", "problem");
	if (e->command && e->command->line)
		json_uint(json, "line", e->command->line);
	if (e->command)
		json_name(json, "command", e->command->words[0], strlen(e->command->words[0]));
	if (path)
		json_name(json, in_pfs ? "path" : "file", path, strlen(path));
	json_string(json, "message", message);
	json_object_end(json);
}

static bool fail(struct edit *e, bool in_pfs, const char *path, const char *format, va_list ap)
{
	char message[512];

	vsnprintf(message, sizeof(message), format, ap);
	fputs("hammer2: ", stderr);
	print_where(e, in_pfs, path);
	fprintf(stderr, "%s\n", message);
	if (e->call->json)
		json_problem(e, in_pfs, path, message);
	return false;
}

bool edit_fail(struct edit *e, const char *path, const char *format, ...)
{
	char *shown = path ? clean_path(path) : NULL;
	va_list ap;

	va_start(ap, format);
	fail(e, true, shown, format, ap);
	va_end(ap);
	free(shown);
	return false;
}

bool edit_fail_file(struct edit *e, const char *file, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fail(e, false, file, format, ap);
	va_end(ap);
	return false;
}

const char *edit_error(int err)
{
	switch (err) {
	case -EPERM:
		return "one of its flags forbids it: immutable, append-only or no-unlink";
	case -EOPNOTSUPP:
		return "it is of a kind that cannot be changed: an inode of an old format";
	default:
		return error_text(err);
	}
}

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

static int find(struct edit *e, const char *path, unsigned flags, struct place *p)
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
	int err = find(e, path, flags, p);

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
	bool inside = find(e, path, follow | PLACE_NEW_DIR, p) == 0 && place_is_dir(p), ok;
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
	bool dangling = find(e, path, 0, &p) == 0 && p.inode;

	place_fini(&p);
	return dangling;
}

/* ---- making ---- */

bool edit_create(struct edit *e, const char *path, struct place *p, unsigned type, uint32_t mode,
		 const char *target)
{
	const struct h2_new n = {
		.type = (uint8_t)type,
		.mode = mode,
		.uid = e->uid,
		.gid = e->gid,
		.target = target,
		.target_len = target ? strlen(target) : 0,
		.comp_algo = H2_INHERIT,
		.check_algo = H2_INHERIT,
	};
	int err = h2_create(p->dir, p->name, strlen(p->name), &n, &p->inode);

	return err ? edit_fail(e, path, "%s", edit_error(err)) : true;
}

bool edit_unlink(struct edit *e, const char *path, struct place *p)
{
	int err = h2_unlink(p->dir, p->name, strlen(p->name), NULL);

	if (err)
		return edit_fail(e, path, "%s", edit_error(err));
	h2_inode_put(p->inode);
	p->inode = NULL;
	return true;
}

bool edit_set_attr(struct edit *e, const char *path, struct h2_inode *inode,
		   const struct h2_set_attr *set)
{
	int err = h2_inode_set_attr(inode, set);

	return err ? edit_fail(e, path, "%s", edit_error(err)) : true;
}

/* ---- everything below a directory ---- */

struct walk {
	struct edit *e;
	void *user;
	/* Called for each object, for a directory before what is in it. */
	bool (*enter)(struct walk *w, const char *path, struct place *p);
	/* Called for a directory after what is in it; NULL: not wanted. */
	bool (*leave)(struct walk *w, const char *path, struct place *p);
};

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
static bool walk_step(struct walk *w, struct visited *visited, struct level **levelp)
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

/* Walk over the object at a place and all below it. Takes the place over. */
static bool walk_all(struct walk *w, const char *path, struct place *p)
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

static bool run_mkdir(struct edit *e, const struct edit_command *c)
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

static bool remove_enter(struct walk *w, const char *path, struct place *p)
{
	return place_is_dir(p) || edit_unlink(w->e, path, p);
}

static bool remove_leave(struct walk *w, const char *path, struct place *p)
{
	int err = h2_rmdir(p->dir, p->name, strlen(p->name), NULL);

	return err ? edit_fail(w->e, path, "%s", edit_error(err)) : true;
}

static bool remove_path(struct edit *e, const char *path, bool recursive, bool force)
{
	struct walk w = {.e = e, .enter = remove_enter, .leave = remove_leave};
	struct place p;
	int err = force ? find(e, path, 0, &p) : 0;

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
	return walk_all(&w, path, &p);
}

static bool run_rm(struct edit *e, const struct edit_command *c)
{
	bool ok = true;

	for (int i = 0; i < c->argc && ok; i++)
		ok = remove_path(e, c->argv[i], c->options & EDIT_HAS('r'),
				 c->options & EDIT_HAS('f'));
	return ok;
}

static bool run_rmdir(struct edit *e, const struct edit_command *c)
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

static bool run_mv(struct edit *e, const struct edit_command *c)
{
	bool ok = check_many(e, c);

	for (int i = 0; i < c->argc - 1 && ok; i++)
		ok = move(e, c->argv[i], c->argv[c->argc - 1]);
	return ok;
}

/* ---- ln ---- */

/* See to it that there is nothing where a link goes. target: what it leads to; NULL for symlinks. */
static bool clear_place(struct edit *e, const char *path, struct place *p, bool force,
			const struct h2_inode *target)
{
	if (!p->inode)
		return true;
	if (!force || place_is_dir(p))
		return edit_fail(e, path, "%s", edit_error(-EEXIST));
	if (p->inode == target)
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
	ok = ok && clear_place(e, path, to, force, from.inode);
	if (ok) {
		int err = h2_link(to->dir, to->name, strlen(to->name), from.inode);

		ok = err ? edit_fail(e, path, "%s", edit_error(err)) : true;
	}
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
	if (!(c->options & EDIT_HAS('s')))
		ok = link_hard(e, source, path, &to, force);
	else
		ok = clear_place(e, path, &to, force, NULL) &&
		     edit_create(e, path, &to, H2_OBJECT_SYMLINK, 0777, source);
	place_fini(&to);
	return ok;
}

static bool run_ln(struct edit *e, const struct edit_command *c)
{
	bool ok = check_many(e, c);

	for (int i = 0; i < c->argc - 1 && ok; i++)
		ok = make_link(e, c, c->argv[i], c->argv[c->argc - 1]);
	return ok;
}

/* ---- modes ---- */

#define BITS_SET_ID 06000u

/* The bits that the letters of "ugoa" stand for. */
static uint32_t who_bits(char letter)
{
	switch (letter) {
	case 'u':
		return 04700;
	case 'g':
		return 02070;
	case 'o':
		return 01007;
	default:
		return 07777;
	}
}

/* The bits that one of "rwxXst" stands for, or "ugo": what they have now. */
static uint32_t permission_bits(char letter, uint32_t mode, bool directory)
{
	switch (letter) {
	case 'r':
		return 0444;
	case 'w':
		return 0222;
	case 'x':
		return 0111;
	case 'X':
		return directory || mode & 0111 ? 0111 : 0;
	case 's':
		return BITS_SET_ID;
	case 't':
		return 01000;
	case 'u':
		return (mode >> 6 & 7) * 0111;
	case 'g':
		return (mode >> 3 & 7) * 0111;
	default:
		return (mode & 7) * 0111;
	}
}

/* One "[ugoa...][-+=][rwxXst...|ugo]...". Returns where it ends, or NULL. */
static const char *apply_clause(const char *at, uint32_t umask, bool directory, uint32_t *mode)
{
	size_t who_len = strspn(at, "ugoa");
	uint32_t who = 0;

	for (size_t i = 0; i < who_len; i++)
		who |= who_bits(at[i]);
	at += who_len;
	if (!*at || !strchr("-+=", *at))
		return NULL;
	while (*at && strchr("-+=", *at)) {
		char op = *at++;
		size_t len = *at && strchr("ugo", *at) ? 1 : strspn(at, "rwxXst");
		uint32_t bits = 0, keep;

		for (size_t i = 0; i < len; i++)
			bits |= permission_bits(at[i], *mode, directory);
		at += len;
		bits &= who ? who : ~umask;
		/* A directory's setuid and setgid go only where they are named. */
		keep = who ? ~who : 0;
		if (directory)
			keep |= BITS_SET_ID & ~bits;
		if (op == '+')
			*mode |= bits;
		else if (op == '-')
			*mode &= ~bits;
		else
			*mode = (*mode & keep) | bits;
	}
	return at;
}

static bool parse_octal(const char *text, uint32_t before, bool directory, uint32_t *mode)
{
	size_t len = strspn(text, "01234567");
	unsigned long number = strtoul(text, NULL, 8);

	if (text[len] || number > 07777)
		return false;
	*mode = (uint32_t)number;
	if (directory && len < 5)
		*mode |= before & BITS_SET_ID;
	return true;
}

bool edit_parse_mode(struct edit *e, const char *text, uint32_t before, bool directory,
		     uint32_t *mode)
{
	const char *at = text;
	bool ok = true;

	*mode = before;
	if (isdigit((unsigned char)*text)) {
		ok = parse_octal(text, before, directory, mode);
	} else {
		for (;; at++) {
			at = apply_clause(at, e->umask, directory, mode);
			if (!at || *at != ',')
				break;
		}
		ok = at && !*at;
	}
	return ok ||
	       edit_fail(e, NULL, "\"%s\" is no mode: give one such as 644 or u+x,go-w", text);
}

/* ---- chmod, chown ---- */

/* Do something to each operand, and with -r to all that is below. */
static bool change_each(struct edit *e, const struct edit_command *c, unsigned flags,
			bool (*change)(struct walk *w, const char *path, struct place *p),
			void *user)
{
	struct walk w = {.e = e, .user = user, .enter = change};
	bool ok = true;

	for (int i = 1; i < c->argc && ok; i++) {
		struct place p;

		ok = place_find(e, c->argv[i], flags | PLACE_EXISTS, &p);
		if (!ok)
			break;
		if (c->options & EDIT_HAS('r')) {
			ok = walk_all(&w, c->argv[i], &p);
		} else {
			ok = change(&w, c->argv[i], &p);
			place_fini(&p);
		}
	}
	return ok;
}

static bool change_mode(struct walk *w, const char *path, struct place *p)
{
	struct h2_set_attr set = {.valid = H2_SET_MODE};
	struct h2_attr attr;

	/* What a symlink leads to may be elsewhere: chmod -R leaves it alone, too. */
	if (h2_inode_meta(p->inode)->type == H2_OBJECT_SYMLINK)
		return true;
	h2_inode_attr(p->inode, &attr);
	return edit_parse_mode(w->e, w->user, attr.mode & 07777, place_is_dir(p), &set.mode) &&
	       edit_set_attr(w->e, path, p->inode, &set);
}

static bool run_chmod(struct edit *e, const struct edit_command *c)
{
	return change_each(e, c, PLACE_FOLLOW, change_mode, c->argv[0]);
}

static bool parse_id(const char *text, uint32_t *id)
{
	unsigned long number;
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	number = strtoul(text, &end, 10);
	if (errno || *end || number > UINT32_MAX)
		return false;
	*id = (uint32_t)number;
	return true;
}

/* A user, with its login group where that is asked for. */
static bool parse_user(struct edit *e, const char *text, unsigned *valid, uint32_t *uid,
		       uint32_t *gid, bool login_group)
{
	const struct passwd *user = getpwnam(text);

	if (user) {
		*uid = user->pw_uid;
		*gid = login_group ? user->pw_gid : *gid;
	} else if (!parse_id(text, uid)) {
		return edit_fail(e, NULL, "\"%s\" is no user of this system, and no number", text);
	} else if (login_group) {
		return edit_fail(e, NULL, "\"%s:\": the login group of a number is not known",
				 text);
	}
	*valid |= H2_SET_UID | (login_group ? H2_SET_GID : 0);
	return true;
}

bool edit_parse_owner(struct edit *e, const char *text, unsigned *valid, uint32_t *uid,
		      uint32_t *gid)
{
	char *name = must_alloc(strdup(text)), *colon = strchr(name, ':');
	const struct group *group;
	bool ok = true;

	*valid = 0;
	if (colon)
		*colon++ = '\0';
	if (!*name && (!colon || !*colon))
		ok = edit_fail(e, NULL, "\"%s\" names neither a user nor a group", text);
	if (ok && *name)
		ok = parse_user(e, name, valid, uid, gid, colon && !*colon);
	if (ok && colon && *colon) {
		group = getgrnam(colon);
		if (group)
			*gid = group->gr_gid;
		else if (!parse_id(colon, gid))
			ok = edit_fail(e, NULL, "\"%s\" is no group of this system, and no number",
				       colon);
		*valid |= H2_SET_GID;
	}
	free(name);
	return ok;
}

static bool change_owner(struct walk *w, const char *path, struct place *p)
{
	return edit_set_attr(w->e, path, p->inode, w->user);
}

static bool run_chown(struct edit *e, const struct edit_command *c)
{
	struct h2_set_attr set = {0};
	/* As chown -R: what a symlink leads to is not touched. */
	bool physical = c->options & (EDIT_HAS('h') | EDIT_HAS('r'));

	return edit_parse_owner(e, c->argv[0], &set.valid, &set.uid, &set.gid) &&
	       change_each(e, c, physical ? 0 : PLACE_FOLLOW, change_owner, &set);
}

/* ---- touch, truncate, mknod ---- */

/* "@SECONDS[.FRACTION]", or a date with or without a time, local or with "Z" behind it UTC. */
static bool parse_time(struct edit *e, const char *text, uint64_t *time_us)
{
	static const char *const formats[] = {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S",
					      "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d"};
	uint64_t seconds = 0, micro = 0;
	char *end;

	if (text[0] == '@' && isdigit((unsigned char)text[1])) {
		errno = 0;
		seconds = strtoull(text + 1, &end, 10);
		if (*end == '.') {
			uint64_t unit = 100000;

			for (end++; isdigit((unsigned char)*end); end++, unit /= 10)
				micro += (uint64_t)(*end - '0') * unit;
		}
		if (!errno && !*end && seconds <= INT64_MAX / 1000000) {
			*time_us = seconds * 1000000 + micro;
			return true;
		}
	}
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		struct tm tm = {.tm_isdst = -1};
		time_t when;
		int day;

		end = strptime(text, formats[i], &tm);
		if (!end || (*end && strcmp(end, "Z") != 0))
			continue;
		day = tm.tm_mday;
		when = *end ? timegm(&tm) : mktime(&tm);
		if (when < 0 || tm.tm_mday != day) /* the 31st of February */
			break;
		*time_us = (uint64_t)when * 1000000;
		return true;
	}
	return edit_fail(
		e, NULL,
		"\"%s\" is no time from 1970 on: give @SECONDS or YYYY-MM-DD[Thh:mm[:ss]][Z]",
		text);
}

/* Find a file, or make it unless -c says not to: then p->inode is NULL. */
static bool find_or_make(struct edit *e, const struct edit_command *c, const char *path,
			 struct place *p)
{
	bool ok;

	if (c->options & EDIT_HAS('c') && find(e, path, PLACE_FOLLOW, p) == -ENOENT)
		return true;
	place_fini(p);
	ok = place_find(e, path, PLACE_FOLLOW, p);
	if (!ok || p->inode || c->options & EDIT_HAS('c'))
		return ok;
	ok = edit_create(e, path, p, H2_OBJECT_FILE, 0666 & ~e->umask, NULL);
	if (!ok)
		place_fini(p);
	return ok;
}

static bool run_touch(struct edit *e, const struct edit_command *c)
{
	struct h2_set_attr set = {.valid = H2_SET_ATIME | H2_SET_MTIME};
	struct timespec now;
	bool ok = true;

	clock_gettime(CLOCK_REALTIME, &now);
	set.mtime_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
	if (c->value)
		ok = parse_time(e, c->value, &set.mtime_us);
	set.atime_us = set.mtime_us;
	for (int i = 0; i < c->argc && ok; i++) {
		struct place p = {0};

		ok = find_or_make(e, c, c->argv[i], &p);
		if (ok && p.inode)
			ok = edit_set_attr(e, c->argv[i], p.inode, &set);
		place_fini(&p);
	}
	return ok;
}

static bool run_truncate(struct edit *e, const struct edit_command *c)
{
	struct h2_set_attr set = {.valid = H2_SET_SIZE};
	bool ok = true;

	if (!c->value)
		return edit_fail(e, NULL, "-s SIZE is missing; usage: truncate %s",
				 c->verb->arguments);
	if (parse_size(c->value, &set.size) != 0)
		return edit_fail(e, NULL,
				 "\"%s\" is no size: give bytes, or a number with K, M, G or T",
				 c->value);
	for (int i = 0; i < c->argc && ok; i++) {
		struct place p = {0};

		ok = find_or_make(e, c, c->argv[i], &p);
		if (ok && p.inode && h2_inode_meta(p.inode)->type != H2_OBJECT_FILE)
			ok = edit_fail(e, c->argv[i], "only a regular file has a size to set");
		else if (ok && p.inode)
			ok = edit_set_attr(e, c->argv[i], p.inode, &set);
		place_fini(&p);
	}
	return ok;
}

static bool run_mknod(struct edit *e, const struct edit_command *c)
{
	struct h2_new n = {.uid = e->uid,
			   .gid = e->gid,
			   .mode = 0666 & ~e->umask,
			   .comp_algo = H2_INHERIT,
			   .check_algo = H2_INHERIT};
	const char *path = c->argv[0], *type = c->argv[1];
	struct place p;
	bool ok = true;
	int err;

	if (strlen(type) != 1 || !strchr("pbc", *type))
		return edit_fail(e, path, "\"%s\" is no type: b, c and p are", type);
	n.type = *type == 'p'   ? H2_OBJECT_FIFO
		 : *type == 'b' ? H2_OBJECT_BLOCK_DEVICE
				: H2_OBJECT_CHAR_DEVICE;
	if (c->argc != (*type == 'p' ? 2 : 4))
		return edit_fail(e, path,
				 *type == 'p' ? "a FIFO has no device numbers"
					      : "MAJOR and MINOR go with a device");
	if (c->argc == 4 && (!parse_id(c->argv[2], &n.rmajor) || !parse_id(c->argv[3], &n.rminor)))
		return edit_fail(e, path, "\"%s %s\" are no device numbers", c->argv[2],
				 c->argv[3]);
	if (c->value)
		ok = edit_parse_mode(e, c->value, 0666, false, &n.mode);
	ok = ok && place_find(e, path, 0, &p);
	if (!ok)
		return false;
	err = p.inode ? -EEXIST : h2_create(p.dir, p.name, strlen(p.name), &n, NULL);
	place_fini(&p);
	return err ? edit_fail(e, path, "%s", edit_error(err)) : true;
}

/* ---- the table ---- */

const struct edit_verb edit_verbs[] = {
	{"put", "rRp", "[-rp] FILE... PATH (FILE may be -, standard input)", 2, -1, edit_put},
	{"get", "p", "[-p] PATH FILE (FILE may be -, standard output)", 2, 2, edit_get},
	{"mkdir", "pm:", "[-p] [-m MODE] PATH...", 1, -1, run_mkdir},
	{"rmdir", "", "PATH...", 1, -1, run_rmdir},
	{"rm", "rRf", "[-rf] PATH...", 1, -1, run_rm},
	{"mv", "", "PATH... TO", 2, -1, run_mv},
	{"ln", "sfn", "[-sfn] TARGET... PATH", 2, -1, run_ln},
	{"chmod", "R", "[-R] MODE PATH...", 2, -1, run_chmod},
	{"chown", "Rh", "[-Rh] [USER][:[GROUP]] PATH...", 2, -1, run_chown},
	{"touch", "cd:", "[-c] [-d TIME] PATH...", 1, -1, run_touch},
	{"truncate", "cs:", "[-c] -s SIZE PATH...", 1, -1, run_truncate},
	{"mknod", "m:", "[-m MODE] PATH b|c MAJOR MINOR | PATH p", 2, 4, run_mknod},
	{0},
};
