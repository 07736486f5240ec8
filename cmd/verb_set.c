/* The verbs that set how files are stored: setcomp, setcheck and its short forms. BS 12.2. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin.h"

#define EXIT_SET 3 /* what DragonFly's tool ends with when one of these fails */

#define AT_COMP 0x83 /* in an inode's block, MF 6.1 */
#define AT_CHECK 0x85

struct setting {
	struct call *call;
	bool check; /* the check code; else the compression */
	uint8_t value;
	bool failed;
	struct target target; /* its pfs is NULL: paths are those of the system */
};

/* Whether text is a method's name; a level only for zlib. */
static bool take_comp(const char *text, uint8_t *value)
{
	static const struct {
		const char *name;
		uint8_t value;
	} names[] = {
		{"none", H2_COMP_NONE},        {"autozero", H2_COMP_AUTOZERO},
		{"disabled", H2_COMP_AUTOZERO}, {"lz4", H2_COMP_LZ4},
		{"default", H2_COMP_LZ4},      {"zlib", H2_COMP_ZLIB},
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text, names[i].name) == 0) {
			*value = names[i].value;
			return true;
		}
	}
	/* As "stat" prints them. */
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		size_t len = strlen(names[i].name);

		if (strncmp(text, names[i].name, len) == 0 && strcmp(text + len, ":default") == 0) {
			*value = names[i].value;
			return true;
		}
	}
	if (strncmp(text, "zlib:", 5) != 0 || text[5] < '1' || text[5] > '9' || text[6])
		return false;
	*value = (uint8_t)((text[5] - '0') << 4 | H2_COMP_ZLIB);
	return true;
}

static bool take_check(const char *text, uint8_t *value)
{
	static const struct {
		const char *name;
		uint8_t value;
	} names[] = {
		{"none", H2_CHECK_NONE},         {"disabled", H2_CHECK_DISABLED},
		{"crc32", H2_CHECK_ISCSI32},     {"xxhash64", H2_CHECK_XXHASH64},
		{"default", H2_CHECK_XXHASH64}, {"sha192", H2_CHECK_SHA192},
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text, names[i].name) == 0) {
			*value = names[i].value;
			return true;
		}
	}
	return false;
}

static void tell(struct setting *s, const char *path, int err)
{
	const char *member = s->check ? "check_algo" : "comp_algo";
	struct json *json = s->call->json;

	if (err) {
		complain("%s: %s%s", path, error_text(err),
			 err == -ENOTTY  ? ": is no file or directory of a HAMMER2 filesystem"
			 : err == -EPERM ? ": only its owner and root may set that"
			 : err == -EROFS ? ": it is mounted for reading only"
					 : "");
		s->failed = true;
	} else if (json) {
		json_object_begin(json, NULL);
		json_name(json, "path", path, strlen(path));
		json_uint(json, member, s->value);
		json_bool(json, "done", !s->call->options.dry_run);
		json_object_end(json);
	} else if (!s->call->options.quiet) {
		fputs(s->call->options.dry_run ? "would set " : "", stdout);
		out_name(stdout, path, strlen(path));
		printf("\t%s=0x%02x\n", member, s->value);
	}
}

/* ---- mounted ---- */

/* What a walk finds is not followed where it has become a symlink since. */
static int set_mounted(const struct setting *s, const char *path, bool follow)
{
	struct hammer2_ioc_inode inode = {
		.flags = s->check ? HAMMER2_SET_CHECK : HAMMER2_SET_COMP,
	};
	struct hammer2_ioc_version version = {.version = 0};
	int flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW);
	int fd = open(path, flags), err = 0;

	if (fd < 0)
		return -errno;
	inode.inode[s->check ? AT_CHECK : AT_COMP] = s->value;
	if (s->call->options.dry_run ? ioctl(fd, HAMMER2IOC_VERSION_GET, &version) < 0
				     : ioctl(fd, HAMMER2IOC_INODE_SET, &inode) < 0)
		err = -errno;
	close(fd);
	return err;
}

static struct setting *walked; /* nftw() passes nothing on */

static int walk_step(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)ftw;
	if (type == FTW_DNR || type == FTW_NS)
		tell(walked, path, -EACCES);
	else if (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode))
		tell(walked, path, set_mounted(walked, path, false));
	return 0;
}

/* ---- volumes ---- */

static int set_inode(struct setting *s, struct h2_inode *inode)
{
	struct h2_set_attr set = {
		.valid = s->check ? H2_SET_CHECK : H2_SET_COMP,
		.comp_algo = s->value,
		.check_algo = s->value,
	};

	return s->call->options.dry_run ? 0 : h2_inode_set_attr(inode, &set);
}

static void set_below(struct setting *s, const char *path, struct h2_inode *dir)
{
	struct h2_dir_scan *scan;
	struct h2_dirent ent;
	int err = h2_dir_scan_new(dir, 0, &scan);

	if (err) {
		tell(s, path, err);
		return;
	}
	while ((err = h2_dir_scan_next(scan, &ent)) != 1) {
		struct h2_inode *inode = NULL;
		char *below;

		if (err) {
			tell(s, path, err);
			continue;
		}
		if (ent.type != H2_OBJECT_DIRECTORY && ent.type != H2_OBJECT_FILE)
			continue;
		if (asprintf(&below, "%s%s%s", path, path[strlen(path) - 1] == '/' ? "" : "/",
			     ent.name) < 0)
			below = must_alloc(NULL);
		err = h2_dirent_get(dir, &ent, &inode);
		if (!err)
			err = set_inode(s, inode);
		tell(s, below, err);
		if (!err && ent.type == H2_OBJECT_DIRECTORY)
			set_below(s, below, inode);
		h2_inode_put(inode);
		free(below);
	}
	h2_dir_scan_free(scan);
}

static void set_in_volumes(struct setting *s, const char *path)
{
	struct h2_inode *inode;
	int err = h2_path_lookup(s->target.pfs, path, &inode);

	if (err) {
		tell(s, path, err);
		return;
	}
	err = set_inode(s, inode);
	tell(s, path, err);
	if (!err && s->call->options.recursive &&
	    h2_inode_meta(inode)->type == H2_OBJECT_DIRECTORY)
		set_below(s, path, inode);
	h2_inode_put(inode);
}

/* ---- both ---- */

static void set_path(struct setting *s, const char *path)
{
	if (s->target.pfs) {
		set_in_volumes(s, path);
	} else if (s->call->options.recursive) {
		char *top = realpath(path, NULL);

		walked = s;
		if (nftw(top ? top : path, walk_step, 64, FTW_PHYS | FTW_MOUNT) != 0)
			tell(s, path, -errno);
		free(top);
	} else {
		tell(s, path, set_mounted(s, path, true));
	}
}

static int set_paths(struct setting *s, char **paths, int count)
{
	struct call *call = s->call;
	char *arg = (char *)(uintptr_t)call->options.select;

	/* A mounted filesystem that -s names makes no difference: the paths lead there. */
	if (arg && admin_is_path_of_mount(arg))
		arg = NULL;
	call->options.write = !call->options.dry_run;
	if (arg && target_open(call, &arg, 1, TARGET_PFS, &s->target) != EXIT_DONE)
		return EXIT_SET;
	for (int i = 0; i < count; i++)
		set_path(s, paths[i]);
	if (arg && !call->options.dry_run && h2_fs_sync(s->target.fs) != 0) {
		complain("%s: the changes cannot be written", arg);
		s->failed = true;
	}
	if (arg)
		target_close(&s->target);
	return s->failed ? EXIT_SET : EXIT_DONE;
}

int verb_setcomp(struct call *call)
{
	struct setting s = {.call = call};

	if (!take_comp(call->argv[0], &s.value)) {
		complain("setcomp: %s: is none of none, autozero, lz4, zlib, zlib:1 to zlib:9, "
			 "default, disabled",
			 call->argv[0]);
		return EXIT_SET;
	}
	return set_paths(&s, call->argv + 1, call->argc - 1);
}

int verb_setcheck(struct call *call)
{
	struct setting s = {.call = call, .check = true};

	if (!take_check(call->argv[0], &s.value)) {
		complain("setcheck: %s: is none of none, disabled, crc32, xxhash64, sha192, default",
			 call->argv[0]);
		return EXIT_SET;
	}
	return set_paths(&s, call->argv + 1, call->argc - 1);
}

static int set_check(struct call *call, uint8_t value)
{
	struct setting s = {.call = call, .check = true, .value = value};

	return set_paths(&s, call->argv, call->argc);
}

int verb_clrcheck(struct call *call)
{
	return set_check(call, H2_CHECK_NONE);
}

int verb_setcrc32(struct call *call)
{
	return set_check(call, H2_CHECK_ISCSI32);
}

int verb_setxxhash64(struct call *call)
{
	return set_check(call, H2_CHECK_XXHASH64);
}

int verb_setsha192(struct call *call)
{
	return set_check(call, H2_CHECK_SHA192);
}
