/* See verbs.h. */
#include "verbs.h"

#include <assert.h>
#include <string.h>

#define HAS_VOLUME (HAS_HEADER | HAS_JSON | HAS_OFFSET | HAS_QUIET | HAS_VERBOSE)
#define HAS_PLACE (HAS_SELECT | HAS_JSON | HAS_OFFSET | HAS_QUIET | HAS_VERBOSE)
#define HAS_CHANGE (HAS_PLACE | HAS_DRY_RUN)
#define HAS_SETTING (HAS_CHANGE | HAS_LABEL | HAS_RECURSE)
#define HAS_FILES (HAS_VOLUME | HAS_CACHE | HAS_LABEL)

#define THEME(text)                                                                                \
	{                                                                                          \
		.help = (text)                                                                     \
	}

const struct verb verbs[] = {
	THEME("What there is"),
	{"info", "[PATH | VOLUME...]", "what a filesystem is: a summary", verb_info,
	 HAS_VOLUME | HAS_SELECT | HAS_USAGE, 0, -1},
	{"pfs-list", "[PATH... | VOLUME...]",
	 "the PFSs, sorted by label; of all mounted filesystems without an argument", verb_pfs_list,
	 HAS_VOLUME | HAS_CACHE | HAS_SELECT, 0, -1},
	{"volume-list", "[PATH... | SPEC...]", "the volumes of filesystems", verb_volume_list,
	 HAS_PLACE, 0, -1},
	{"stat", "[PATH... | SPEC [PATH...]]",
	 "space, compression and checks of files (all, with -v)", verb_stat, HAS_FILES, 0, -1},
	{"printinode", "[PATH... | SPEC [PATH...]]", "all fields of inodes", verb_printinode,
	 HAS_FILES, 0, -1},
	{"probe", "DEVICE", "whether it is a HAMMER2 volume; with --export, for udev", verb_probe,
	 HAS_EXPORT | HAS_JSON | HAS_OFFSET | HAS_QUIET, 1, 1},

	THEME("PFSs and snapshots"),
	{"pfs-create", "LABEL", "make a PFS", verb_pfs_create, HAS_CHANGE | HAS_TYPE | HAS_UUID, 1,
	 1},
	{"pfs-delete", "LABEL...", "remove PFSs with all that is in them", verb_pfs_delete,
	 HAS_CHANGE, 1, -1},
	{"pfs-rename", "LABEL NEW-LABEL", "give a PFS another label", verb_pfs_rename, HAS_CHANGE,
	 2, 2},
	{"pfs-clid", "LABEL", "print a PFS's pfs_clid", verb_pfs_clid, HAS_PLACE, 1, 1},
	{"pfs-fsid", "LABEL", "print a PFS's pfs_fsid", verb_pfs_fsid, HAS_PLACE, 1, 1},
	{"snapshot", "PATH | SPEC [LABEL]",
	 "make a snapshot of a PFS, or of a directory; without a label: its own with the date",
	 verb_snapshot, (HAS_CHANGE & ~HAS_SELECT) | HAS_PATH, 1, 2},
	{"snapshot-debug", "PATH | SPEC [LABEL]", "the same", verb_snapshot,
	 (HAS_CHANGE & ~HAS_SELECT) | HAS_PATH, 1, 2},
	{"snapshot-delete", "LABEL...", "remove snapshots", verb_snapshot_delete, HAS_CHANGE, 1,
	 -1},
	{"rollback", "LABEL SNAPSHOT",
	 "give a PFS the contents of a snapshot; its former ones become a snapshot", verb_rollback,
	 HAS_CHANGE | HAS_DISCARD, 2, 2},
	{"diff", "LABEL LABEL", "what has changed from one PFS or snapshot to another", verb_diff,
	 HAS_SELECT | HAS_JSON | HAS_OFFSET | HAS_VERBOSE, 2, 2},
	{"mountall", "", "mount what fstab(5) has of HAMMER2", verb_mountall,
	 HAS_DRY_RUN | HAS_FSTAB | HAS_VERBOSE | HAS_QUIET, 0, 0},

	THEME("Space"),
	{"bulkfree", "[PATH | SPEC]", "find storage that nothing refers to, and make it free",
	 verb_bulkfree, HAS_PLACE | HAS_MEMORY, 0, 1},
	{"cleanup", "[PATH... | SPEC...]", "bulkfree for each mounted filesystem", verb_cleanup,
	 HAS_PLACE | HAS_MEMORY, 0, -1},
	{"growfs", "[PATH... | SPEC...]", "make filesystems as large as their devices", verb_growfs,
	 HAS_PLACE | HAS_SIZE, 0, -1},
	{"emergency-mode-enable", "[PATH]", "does nothing: it is not needed", verb_emergency_enable,
	 HAS_SELECT | HAS_QUIET, 0, 1},
	{"emergency-mode-disable", "[PATH]", "does nothing", verb_emergency_disable,
	 HAS_SELECT | HAS_QUIET, 0, 1},

	THEME("How files are stored from now on"),
	{"setcomp", "ALGO[:LEVEL] PATH...", "how they are compressed", verb_setcomp, HAS_SETTING, 2,
	 -1},
	{"setcheck", "ALGO PATH...", "with which check codes", verb_setcheck, HAS_SETTING, 2, -1},
	{"clrcheck", "PATH...", "setcheck none", verb_clrcheck, HAS_SETTING, 1, -1},
	{"setcrc32", "PATH...", "setcheck crc32", verb_setcrc32, HAS_SETTING, 1, -1},
	{"setxxhash64", "PATH...", "setcheck xxhash64", verb_setxxhash64, HAS_SETTING, 1, -1},
	{"setsha192", "PATH...", "setcheck sha192", verb_setsha192, HAS_SETTING, 1, -1},

	THEME("Files, without mounting"),
	{"ls", "SPEC [PATH]", "list a directory", verb_ls, HAS_FILES | HAS_LONG | HAS_RECURSIVE, 1,
	 -1},
	{"cat", "SPEC PATH...", "write files to standard output", verb_cat, HAS_FILES & ~HAS_JSON,
	 2, -1},
	{"tree", "SPEC [PATH]", "draw a directory and all below it", verb_tree,
	 HAS_FILES | HAS_DEPTH, 1, -1},
	{"extract", "SPEC [--path PATH] DEST | --tar",
	 "copy a PFS or a path out, as files or as a tar stream on standard output", verb_extract,
	 HAS_FILES | HAS_FORCE | HAS_PATH | HAS_TAR | HAS_THREADS, 1, -1},
	{"edit", "SPEC COMMAND... | SPEC -f SCRIPT",
	 "change files and directories: all commands, or nothing", verb_edit,
	 (HAS_FILES & ~HAS_HEADER) | HAS_DRY_RUN | HAS_OWNER | HAS_SCRIPT, 1, -1, edit_usage},

	THEME("What is on the media"),
	{"volhdr", "VOLUME...", "every field of the volume headers, and their check codes",
	 verb_volhdr, HAS_VOLUME | HAS_ALL, 1, -1},
	{"show", "VOLUME...", "the whole topology: every block reference and inode", verb_show,
	 HAS_VOLUME | HAS_VERIFY | HAS_DEPTH | HAS_LABEL | HAS_EMPTY | HAS_MIN_MIRROR |
		 HAS_MIN_MODIFY,
	 1, -1},
	{"freemap", "VOLUME...", "the freemap: its leaves and totals", verb_freemap, HAS_VOLUME, 1,
	 -1},
	{"destroy", "PATH...", "remove names whose inodes are lost", verb_destroy,
	 HAS_QUIET, 1, -1},
	{"destroy-inum", "NUMBER...", "remove inodes that no name leads to",
	 verb_destroy_inum, HAS_SELECT | HAS_QUIET, 1, -1},
	{"hash", "NAME...", "the directory hash of names", verb_hash, HAS_JSON, 1, -1},
	{"dhash", "NAME...", "the check code of the blocks of long names", verb_dhash, HAS_JSON, 1,
	 -1},

	THEME("Developers"),
	{"dumpchain", "[PATH [FLAGS]]", "have a mount tell its state to the system's log",
	 verb_dumpchain, HAS_SELECT, 0, 2},
	{"cidprune", "[PATH]", "have a mount forget what it has cached", verb_cidprune, HAS_SELECT,
	 0, 1},
	{"crashtest", "", "try what power failures leave, on filesystems in memory", verb_crashtest,
	 HAS_JSON | HAS_OPS | HAS_SECONDS | HAS_SEED | HAS_SETUP | HAS_THREADS, 0, 0},
	{"completion", "bash | zsh", "print the completion of this program for a shell",
	 verb_completion, 0, 1, 1},
};

const size_t verb_count = sizeof(verbs) / sizeof(verbs[0]);

const struct opt opts[] = {
#define TO(member) offsetof(struct options, member)
	{HAS_ALL, 'a', "all", NULL, "all header copies, not only the best of each volume", OPT_FLAG,
	 TO(all), 0, 0},
	{HAS_CACHE, 0, "cache", "SIZE", "memory for blocks that may be needed again (64M)",
	 OPT_SIZE, TO(cache_bytes), 1, SIZE_MAX / 2},
	{HAS_DEPTH, 0, "depth", "N", "at most N levels", OPT_INT, TO(depth), 1, INT32_MAX},
	{HAS_DRY_RUN, 'n', "dry-run", NULL, "see whether it can be done, but change nothing", OPT_FLAG,
	 TO(dry_run), 0, 0},
	{HAS_DISCARD, 0, "discard", NULL, "do not keep the former contents", OPT_FLAG, TO(discard),
	 0, 0},
	{HAS_EMPTY, 0, "empty", NULL, "show empty block references, too", OPT_FLAG, TO(empty), 0,
	 0},
	{HAS_EXPORT, 0, "export", NULL, "as variables for udev", OPT_FLAG, TO(export), 0, 0},
	{HAS_FORCE, 'f', "force", NULL, "allow a destination that is not empty", OPT_FLAG,
	 TO(force), 0, 0},
	{HAS_SCRIPT, 'f', "file", "SCRIPT", "the commands are in a file; -: standard input",
	 OPT_TEXT, TO(script), 0, 0},
	{HAS_FSTAB, 0, "fstab", "FILE", "instead of /etc/fstab", OPT_TEXT, TO(fstab), 0, 0},
	{HAS_HEADER, 0, "header", "N", "use header copy N (1 to 4) instead of the best", OPT_INT,
	 TO(header), 1, H2_HEADER_COPIES_MAX},
	{HAS_JSON, 'j', "json", NULL, "JSON output", OPT_FLAG, TO(json), 0, 0},
	{HAS_LABEL, 0, "label", "LABEL", "the PFS of that label", OPT_TEXT, TO(label), 0, 0},
	{HAS_LONG, 'l', "long", NULL, "with attributes", OPT_FLAG, TO(long_list), 0, 0},
	{HAS_MEMORY, 'm', "memory", "SIZE", "does nothing: little is needed", OPT_SIZE, TO(memory),
	 1, SIZE_MAX / 2},
	{HAS_MIN_MIRROR, 0, "min-mirror-tid", "TID", "leave out what has a lower mirror_tid",
	 OPT_U64, TO(min_mirror_tid), 0, UINT64_MAX},
	{HAS_MIN_MODIFY, 0, "min-modify-tid", "TID", "leave out what has a lower modify_tid",
	 OPT_U64, TO(min_modify_tid), 0, UINT64_MAX},
	{HAS_OFFSET, 0, "offset", "BYTES", "where the volume begins in its file", OPT_U64,
	 TO(offset), 0, INT64_MAX},
	{HAS_OPS, 0, "ops", "TEXT", "only these operations, as a violation shows them", OPT_TEXT,
	 TO(ops), 0, 0},
	{HAS_OWNER, 0, "owner", "USER[:GROUP]", "whose new files are (the user who runs this)",
	 OPT_TEXT, TO(owner), 0, 0},
	{HAS_PATH, 'p', "path", "PATH", "only that file or directory", OPT_TEXT, TO(path), 0, 0},
	{HAS_QUIET, 'q', "quiet", NULL, "print less", OPT_FLAG, TO(quiet), 0, 0},
	{HAS_RECURSE, 'r', "recurse", NULL, "for all that is below, too", OPT_FLAG, TO(recursive),
	 0, 0},
	{HAS_RECURSIVE, 'R', "recursive", NULL, "subdirectories, too", OPT_FLAG, TO(recursive), 0,
	 0},
	{HAS_SELECT, 's', "select", "PATH", "a path in a mounted filesystem, or volumes (.)",
	 OPT_TEXT, TO(select), 0, 0},
	{HAS_SECONDS, 0, "seconds", "N", "for how long (60); 0: until nothing is left to try",
	 OPT_INT, TO(seconds), 0, INT32_MAX},
	{HAS_SEED, 0, "seed", "N", "what all choices follow from (the time)", OPT_TEXT, TO(seed), 0,
	 0},
	{HAS_SETUP, 0, "setup", "TEXT", "on this kind of filesystem; with --ops", OPT_TEXT,
	 TO(setup), 0, 0},
	{HAS_SIZE, 0, "size", "SIZE", "to this size; an image file grows with it", OPT_U64, TO(size),
	 1, INT64_MAX},
	{HAS_TAR, 0, "tar", NULL, "write a tar stream (pax format) to standard output", OPT_FLAG,
	 TO(tar), 0, 0},
	{HAS_THREADS, 0, "threads", "N", "how many threads (one for each CPU, 2 to 16)", OPT_INT,
	 TO(threads), 1, 256},
	{HAS_TYPE, 't', "type", "TYPE", "MASTER; others belong to clusters", OPT_TEXT, TO(type), 0,
	 0},
	{HAS_USAGE, 0, "usage", NULL,
	 "who uses how much, and what deleting each PFS would give back: takes a scan", OPT_FLAG,
	 TO(usage), 0, 0},
	{HAS_UUID, 'u', "uuid", "UUID", "its pfs_clid (a random one)", OPT_TEXT, TO(uuid), 0, 0},
	{HAS_VERBOSE, 'v', "verbose", NULL, "print more; name damaged blocks", OPT_FLAG,
	 TO(verbose), 0, 0},
	{HAS_VERIFY, 0, "verify", NULL, "read file data, too, and compare its check codes",
	 OPT_FLAG, TO(verify), 0, 0},
	{HAS_HELP, 'h', "help", NULL, "print this", OPT_NONE, 0, 0, 0},
	{HAS_VERSION, 'V', "version", NULL, "print the version", OPT_NONE, 0, 0, 0},
#undef TO
};
const size_t opt_count = sizeof(opts) / sizeof(opts[0]);

static_assert(sizeof(opts) / sizeof(opts[0]) <= OPTS_MAX, "one bit for each");

/* ---- what DragonFly's program has, and this one has not ---- */

static const struct {
	const char *names; /* between blanks */
	const char *why;
} absent[] = {
	{" connect disconnect status service leaf shell debugspan rsainit rsaenc rsadec ",
	 "is for clusters of machines, which HAMMER2 does not have on Linux; every PFS is a MASTER"},
	{" recover recover-relaxed recover-file ",
	 "is not there; \"extract\" copies what can be reached, and fsck.hammer2(8) tells the rest"},
};

const char *verb_absence(const char *name)
{
	for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++) {
		const char *at = strstr(absent[i].names, name);

		if (*name && at && at[-1] == ' ' && at[strlen(name)] == ' ')
			return absent[i].why;
	}
	return NULL;
}
