/*
 * What the files of the verb edit share: verb_edit.c runs it, edit_script.c takes commands apart,
 * edit_names.c, edit_attr.c and edit_copy.c carry them out, with what edit.c and edit_path.c offer.
 *
 * A command returns whether it succeeded; when it did not, it has said why with edit_fail(). The
 * first one that fails ends the edit, and nothing is changed then.
 */
#ifndef CMD_EDIT_H
#define CMD_EDIT_H

#include <hammer2/change.h>

#include "hammer2.h"

struct edit_verb;

/* A command taken apart: its options, and its operands. */
struct edit_command {
	const struct edit_verb *verb;
	unsigned line;     /* where it begins in the script; 0: on the command line */
	uint32_t options;  /* EDIT_HAS() of each letter; those of capitals are the same */
	const char *value; /* of the option that takes one; NULL: not given */
	int argc;
	char **argv;  /* operands */
	char **words; /* all of it, with the name in front; ended by NULL */
	int word_count;
};

#define EDIT_HAS(letter) (1u << (((letter) | 0x20) - 'a'))

struct edit {
	/* set at the beginning, then constant */
	struct call *call;
	struct h2_pfs *pfs;
	const char *label;
	const char *script;   /* its name, for messages; NULL: the command line */
	bool script_is_stdin; /* so it is not free for put */
	bool dry_run;
	uint32_t umask;
	uint32_t uid, gid; /* of new objects */
	bool owner_given;  /* they are the user's wish: put -p takes them, too */

	const struct edit_command *command; /* that runs; NULL: none */
	uint64_t commands;                  /* that succeeded */
	uint64_t files, bytes;              /* that put copied */
};

struct edit_verb {
	const char *name;
	const char *options;    /* as getopt(3) has them */
	const char *arguments;  /* for messages */
	int args_min, args_max; /* operands; args_max -1: any number */
	bool (*run)(struct edit *e, const struct edit_command *c);
	/*
	 * Look at what can be judged without the volume, before anything is done: a mistake there is
	 * one of usage. Returns false after a message. NULL: there is nothing of that kind.
	 */
	bool (*check)(struct edit *e, const struct edit_command *c);
};

/* The commands, in the order of the manual; ended by a row without a name. */
extern const struct edit_verb edit_verbs[];

/* ---- taking apart (edit_script.c) ---- */

struct edit_commands {
	struct edit_command *items;
	size_t count, room;
};

/*
 * Take a command apart that is already divided into words, count of them. Returns false after a
 * message. The words are copied.
 */
bool edit_parse_words(struct edit *e, char **words, int count, unsigned line,
		      struct edit_commands *to);

/* Take a script apart. Tells all that is wrong with it, then returns false. */
bool edit_parse_script(struct edit *e, const char *text, size_t len, struct edit_commands *to);
void edit_commands_fini(struct edit_commands *commands);

/* ---- messages ---- */

/*
 * Say what went wrong with a path in the PFS; a file outside of it; or neither (NULL). Each returns
 * false.
 */
__attribute__((format(printf, 3, 4))) bool edit_fail(struct edit *e, const char *path,
						     const char *format, ...);
__attribute__((format(printf, 3, 4))) bool edit_fail_file(struct edit *e, const char *file,
							  const char *format, ...);

/* What an error of the library means here. */
const char *edit_error(int err);

/* ---- paths (edit_path.c) ---- */

/* Where a path leads. */
struct place {
	struct h2_inode *dir; /* that has the name; NULL: it is the root, "." or ".." */
	char name[H2_NAME_MAX + 1];
	struct h2_inode *inode; /* NULL: there is nothing of that name */
};

#define PLACE_FOLLOW 0x1u   /* a symlink at the end, too, as those on the way */
#define PLACE_EXISTS 0x2u   /* it is an error if there is nothing */
#define PLACE_NAMED 0x4u    /* it is an error if the path ends in no name */
#define PLACE_NEW_DIR 0x8u  /* "new/" is right: a directory will be made there */
#define PLACE_SYMLINK 0x10u /* for place_destination(): a symlink is no directory to go into */

/*
 * Follow a path from the root. Symlinks on the way are followed, absolute ones from the root of the
 * PFS. Returns false after a message, else *p, to be given back with place_fini().
 */
bool place_find(struct edit *e, const char *path, unsigned flags, struct place *p);

/* The same without a message: 0, with p->inode NULL where there is nothing, or an error. */
int place_look(struct edit *e, const char *path, unsigned flags, struct place *p);

/*
 * Where something named name goes that is copied or moved to path: into the directory that path
 * leads to, or there itself.
 */
bool place_destination(struct edit *e, const char *path, const char *name, unsigned flags,
		       struct place *p);
bool place_is_dir(const struct place *p);

/* Whether there is a symlink at the end of a path, which was followed to nothing. */
bool place_is_dangling(struct edit *e, const char *path);
void place_fini(struct place *p);

bool is_directory(const struct h2_inode *inode);

/* The last component of a path; "" where that is no name. To be freed. */
char *last_name(const char *path);

struct edit_walk {
	struct edit *e;
	void *user;
	/* Called for each object, for a directory before what is in it. */
	bool (*enter)(struct edit_walk *w, const char *path, struct place *p);
	/* Called for a directory after what is in it; NULL: not wanted. */
	bool (*leave)(struct edit_walk *w, const char *path, struct place *p);
};

/*
 * Walk over the object at a place and all that is below it, until a function returns false. Takes
 * the place over.
 */
bool edit_walk(struct edit_walk *w, const char *path, struct place *p);

/* ---- making ---- */

/*
 * Make an object at a place where there is nothing: p->inode. mode: its permission bits. target:
 * of a symlink, else NULL.
 */
bool edit_create(struct edit *e, const char *path, struct place *p, unsigned type, uint32_t mode,
		 const char *target);

/* Remove the name of something that is no directory: p->inode becomes NULL. */
bool edit_unlink(struct edit *e, const char *path, struct place *p);
bool edit_set_attr(struct edit *e, const char *path, struct h2_inode *inode,
		   const struct h2_set_attr *set);

/* ---- the arguments of commands ---- */

/* The mode that text makes of another one, as chmod(1) does. Returns false after a message. */
bool edit_parse_mode(struct edit *e, const char *text, uint32_t before, bool directory,
		     uint32_t *mode);

/* OWNER, OWNER:GROUP, OWNER: or :GROUP, names or numbers. *valid: H2_SET_UID, H2_SET_GID. */
bool edit_parse_owner(struct edit *e, const char *text, unsigned *valid, uint32_t *uid,
		      uint32_t *gid);

/* ---- the commands, and what looks at their arguments before ---- */

bool edit_check_chmod(struct edit *e, const struct edit_command *c);
bool edit_check_chown(struct edit *e, const struct edit_command *c);
bool edit_check_touch(struct edit *e, const struct edit_command *c);
bool edit_chmod(struct edit *e, const struct edit_command *c);
bool edit_chown(struct edit *e, const struct edit_command *c);
bool edit_get(struct edit *e, const struct edit_command *c);
bool edit_ln(struct edit *e, const struct edit_command *c);
bool edit_mkdir(struct edit *e, const struct edit_command *c);
bool edit_mknod(struct edit *e, const struct edit_command *c);
bool edit_mv(struct edit *e, const struct edit_command *c);
bool edit_put(struct edit *e, const struct edit_command *c);
bool edit_rm(struct edit *e, const struct edit_command *c);
bool edit_rmdir(struct edit *e, const struct edit_command *c);
bool edit_touch(struct edit *e, const struct edit_command *c);
bool edit_truncate(struct edit *e, const struct edit_command *c);

#endif
