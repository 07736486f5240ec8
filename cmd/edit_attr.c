/*
 * The verb edit: the commands that change attributes, and those that make an object with given
 * ones. They mean what the programs of the same names mean, as far as they go; see hammer2(8).
 */
#include <ctype.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "edit.h"

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
			bool (*change)(struct edit_walk *w, const char *path, struct place *p),
			void *user)
{
	struct edit_walk w = {.e = e, .user = user, .enter = change};
	bool ok = true;

	for (int i = 1; i < c->argc && ok; i++) {
		struct place p;

		ok = place_find(e, c->argv[i], flags | PLACE_EXISTS, &p);
		if (!ok)
			break;
		if (c->options & EDIT_HAS('r')) {
			ok = edit_walk(&w, c->argv[i], &p);
		} else {
			ok = change(&w, c->argv[i], &p);
			place_fini(&p);
		}
	}
	return ok;
}

static bool change_mode(struct edit_walk *w, const char *path, struct place *p)
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

bool edit_check_chmod(struct edit *e, const struct edit_command *c)
{
	uint32_t mode;

	return edit_parse_mode(e, c->argv[0], 0, false, &mode);
}

bool edit_chmod(struct edit *e, const struct edit_command *c)
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

static bool change_owner(struct edit_walk *w, const char *path, struct place *p)
{
	return edit_set_attr(w->e, path, p->inode, w->user);
}

bool edit_check_chown(struct edit *e, const struct edit_command *c)
{
	unsigned valid;
	uint32_t uid, gid;

	return edit_parse_owner(e, c->argv[0], &valid, &uid, &gid);
}

bool edit_chown(struct edit *e, const struct edit_command *c)
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

	if (c->options & EDIT_HAS('c') && place_look(e, path, PLACE_FOLLOW, p) == -ENOENT)
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

bool edit_check_touch(struct edit *e, const struct edit_command *c)
{
	uint64_t time_us;

	return !c->value || parse_time(e, c->value, &time_us);
}

bool edit_touch(struct edit *e, const struct edit_command *c)
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

bool edit_truncate(struct edit *e, const struct edit_command *c)
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

bool edit_mknod(struct edit *e, const struct edit_command *c)
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
