/*
 * What the verbs of the hammer2 program share: options, messages, and opening what the arguments
 * name.
 */
#ifndef CMD_HAMMER2_H
#define CMD_HAMMER2_H

#include <hammer2/fs.h>

#include "out.h"

enum { /* exit codes */
       EXIT_DONE = 0,
       EXIT_PROBLEM = 1, /* something could not be done, or is damaged */
       EXIT_USAGE = 2,
};

/* The options that were given; main.c has the table of which verb takes which. */
struct options {
	bool json;
	bool quiet;
	bool verbose;
	bool all;
	bool dry_run;
	bool empty;
	bool force;
	bool long_list;
	bool recursive;
	bool tar;
	bool usage;
	bool verify;
	bool write;         /* no option: the verb changes the filesystem */
	int header;         /* 1..4; 0: the best */
	int depth;          /* 0: no bound */
	int threads;        /* 0: one for each CPU */
	uint64_t offset;    /* bytes */
	size_t cache_bytes; /* 0: the library's default */
	uint64_t min_mirror_tid, min_modify_tid;
	bool discard;
	bool export;
	uint64_t size;      /* bytes; 0: none given */
	size_t memory;      /* bytes; not used */
	const char *fstab;  /* NULL: none */
	const char *label;  /* NULL: none */
	const char *ops;    /* NULL: none */
	const char *owner;  /* NULL: none */
	const char *path;   /* NULL: none */
	const char *script; /* NULL: none */
	const char *select; /* NULL: none */
	const char *setup;  /* NULL: none */
	const char *seed;   /* NULL: none */
	const char *type;   /* NULL: none */
	const char *uuid;   /* NULL: none */
	int seconds;        /* -1: none given */
};

/* One call of the program. */
struct call {
	struct options options;
	const char *verb;
	int argc; /* arguments behind the verb */
	char **argv;
	struct json *json; /* NULL without --json */
};

/* Print "hammer2: " and the message to standard error, with a line end. */
__attribute__((format(printf, 1, 2))) void complain(const char *format, ...);

/* The same for a path within a PFS: "hammer2: LABEL:/path: message". Any thread may call it. */
__attribute__((format(printf, 3, 4))) void complain_path(const char *label, const char *path,
							 const char *format, ...);

/* ---- opening what the arguments name (target.c) ---- */

enum target_kind {
	TARGET_HEADERS, /* the headers, also where no volume can be opened by them */
	TARGET_VOLUMES, /* the headers only */
	TARGET_FS,      /* and the super-root */
	TARGET_PFS,     /* and the PFS that the label names */
};

struct target {
	struct h2_spec spec; /* of all arguments together */
	struct h2_volumes *volumes;
	struct h2_fs *fs;
	struct h2_pfs *pfs;
	const char *label; /* of the PFS; borrowed */
};

/*
 * Open what count arguments name, each VOLUME[:VOLUME...][@LABEL]; "a b" means the same as "a:b".
 * What goes wrong is printed. Returns EXIT_DONE and the target, to be closed with target_close(),
 * or another exit code.
 */
int target_open(struct call *call, char **args, int count, enum target_kind kind,
		struct target *target);

/*
 * How many of the arguments of a verb that takes paths, too, name volumes: the first one, or, in
 * "a b@LABEL path", those up to the one with the label.
 */
int target_arguments(const struct call *call);
void target_close(struct target *target);

/* All PFSs, sorted by label; *count of them. What is damaged is printed and counted in *damaged. */
struct h2_pfs_info *target_list_pfs(struct target *target, size_t *count, unsigned *damaged);

/* "MASTER", or "SNAPSHOT" and the like for other subtypes (BS 10.1). */
const char *pfs_kind_name(const struct h2_inode_meta *meta);

/* The verb info where the arguments name volumes. */
int info_of_volumes(struct call *call, char **args, int arg_count);

/* What is on the media of a PFS, as members of a JSON object. */
void json_pfs_members(struct json *json, const struct h2_pfs_info *info);

/* What "hammer2 edit --help" adds: the commands. */
void edit_usage(FILE *to);

/* Memory or exit. */
void *must_alloc(void *memory);

/* ---- the verbs; each returns an exit code ---- */

int verb_bulkfree(struct call *call);
int verb_cat(struct call *call);
int verb_cidprune(struct call *call);
int verb_cleanup(struct call *call);
int verb_clrcheck(struct call *call);
int verb_completion(struct call *call);
int verb_crashtest(struct call *call);
int verb_destroy(struct call *call);
int verb_destroy_inum(struct call *call);
int verb_dhash(struct call *call);
int verb_diff(struct call *call);
int verb_dumpchain(struct call *call);
int verb_edit(struct call *call);
int verb_emergency_disable(struct call *call);
int verb_emergency_enable(struct call *call);
int verb_extract(struct call *call);
int verb_freemap(struct call *call);
int verb_growfs(struct call *call);
int verb_hash(struct call *call);
int verb_info(struct call *call);
int verb_ls(struct call *call);
int verb_mountall(struct call *call);
int verb_pfs_clid(struct call *call);
int verb_pfs_create(struct call *call);
int verb_pfs_delete(struct call *call);
int verb_pfs_fsid(struct call *call);
int verb_pfs_list(struct call *call);
int verb_pfs_rename(struct call *call);
int verb_printinode(struct call *call);
int verb_probe(struct call *call);
int verb_rollback(struct call *call);
int verb_setcheck(struct call *call);
int verb_setcomp(struct call *call);
int verb_setcrc32(struct call *call);
int verb_setsha192(struct call *call);
int verb_setxxhash64(struct call *call);
int verb_show(struct call *call);
int verb_snapshot(struct call *call);
int verb_snapshot_delete(struct call *call);
int verb_stat(struct call *call);
int verb_tree(struct call *call);
int verb_volhdr(struct call *call);
int verb_volume_list(struct call *call);

#endif
