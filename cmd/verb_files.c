/* The verbs ls, stat, printinode, cat and tree: looking at the files of a PFS. */
#include <hammer2/fs.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin.h"
#include "media.h"
#include "walk.h"

#define READ_SIZE ((size_t)1 << 20)

struct files {
	struct call *call;
	struct target target;
	int first_path; /* index in call->argv */
	unsigned problems;
};

static int files_open(struct call *call, struct files *files)
{
	memset(files, 0, sizeof(*files));
	files->call = call;
	files->first_path = target_arguments(call);
	return target_open(call, call->argv, files->first_path, TARGET_PFS, &files->target);
}

/* The path behind the volumes, or "/"; NULL where there are several. To be freed. */
static char *one_path(const struct call *call)
{
	int first = target_arguments(call);

	if (call->argc > first + 1) {
		complain("%s: too many arguments: one path goes with it", call->verb);
		return NULL;
	}
	return clean_path(call->argc > first ? call->argv[first] : "/");
}

static int files_close(struct files *files)
{
	target_close(&files->target);
	return files->problems ? EXIT_PROBLEM : EXIT_DONE;
}

static void problem(struct files *files, const char *path, int err)
{
	complain_path(files->target.label, path, "%s", error_text(err));
	files->problems++;
}

/* ---- directories ---- */

struct listing {
	struct h2_dirent *entries;
	size_t count, room;
};

static int by_name(const void *a, const void *b)
{
	const struct h2_dirent *x = a, *y = b;
	size_t len = x->name_len < y->name_len ? x->name_len : y->name_len;
	int order = memcmp(x->name, y->name, len);

	return order ? order : (int)x->name_len - (int)y->name_len;
}

/* All entries that can be read, sorted by name. Damage is reported. */
static void read_directory(struct files *files, struct h2_inode *dir, const char *path,
			   struct listing *list)
{
	struct h2_dir_scan *scan;
	struct h2_dirent ent;
	int err = h2_dir_scan_new(dir, 0, &scan);

	memset(list, 0, sizeof(*list));
	if (err) {
		problem(files, path, err);
		return;
	}
	while ((err = h2_dir_scan_next(scan, &ent)) != 1) {
		if (err) {
			complain_path(files->target.label, path,
				      "a part of the directory cannot be read: %s",
				      error_text(err));
			files->problems++;
			if (err == -ENOMEM)
				break;
			continue;
		}
		if (list->count == list->room) {
			list->room = list->room ? 2 * list->room : 64;
			list->entries = must_alloc(
				reallocarray(list->entries, list->room, sizeof(ent)));
		}
		list->entries[list->count++] = ent;
	}
	h2_dir_scan_free(scan);
	if (list->count > 0)
		qsort(list->entries, list->count, sizeof(ent), by_name);
}

static struct h2_inode *enter_directory(struct files *files, struct visited *visited, uint64_t inum,
					const char *path)
{
	struct h2_inode *dir;
	int err;

	if (!visited_add(visited, inum)) {
		complain_path(files->target.label, path,
			      "the directory has a second name; it is not listed again");
		files->problems++;
		return NULL;
	}
	err = h2_inode_get(files->target.pfs, inum, &dir);
	if (!err)
		return dir;
	problem(files, path, err);
	return NULL;
}

/* ---- attributes ---- */

static void json_attr(struct json *json, struct h2_inode *inode)
{
	const struct h2_inode_meta *m = h2_inode_meta(inode);
	const struct h2_blockref *ref = h2_inode_ref(inode);
	char text[OUT_COMP_TEXT], target[H2_SYMLINK_MAX + 1];
	struct h2_attr attr;
	ssize_t len;

	h2_inode_attr(inode, &attr);
	snprintf(text, sizeof(text), "%04" PRIo32, attr.mode & 07777);
	json_string(json, "mode", text);
	json_uint(json, "uid", attr.uid);
	json_uint(json, "gid", attr.gid);
	json_uint(json, "size", attr.size);
	json_uint(json, "nlink", attr.nlink);
	json_uint(json, "blocks_512", attr.blocks);
	json_uint(json, "mtime_us", attr.mtime_us);
	json_uint(json, "ctime_us", attr.ctime_us);
	json_uint(json, "atime_us", attr.atime_us);
	json_uint(json, "btime_us", attr.btime_us);
	json_uint(json, "uflags", attr.uflags);
	if (S_ISCHR(attr.mode) || S_ISBLK(attr.mode)) {
		json_uint(json, "rmajor", attr.rmajor);
		json_uint(json, "rminor", attr.rminor);
	}
	len = h2_symlink_read(inode, target, sizeof(target));
	if (len >= 0)
		json_name(json, "target", target, (size_t)len);
	json_string(json, "comp", out_comp(m->comp_algo, text));
	json_string(json, "check", h2_check_algo_name(m->check_algo & 15u));
	json_uint(json, "data_count", ref->data_count);
	json_uint(json, "inode_count", ref->inode_count);
	json_uint(json, "data_quota", m->data_quota);
	json_uint(json, "inode_quota", m->inode_quota);
}

/* " -> target" of a symlink. */
static void print_target(struct files *files, struct h2_inode *inode, const char *path)
{
	char target[H2_SYMLINK_MAX + 1];
	ssize_t len = h2_symlink_read(inode, target, sizeof(target));

	if (len < 0) {
		if (len != -EINVAL)
			problem(files, path, (int)len);
		return;
	}
	fputs(" -> ", stdout);
	out_name(stdout, target, (size_t)len);
}

static void print_long(struct files *files, struct h2_inode *inode, const char *name,
		       const char *path)
{
	char mode[OUT_MODE_TEXT], time[OUT_TIME_TEXT], size[32];
	struct h2_attr attr;

	h2_inode_attr(inode, &attr);
	if (S_ISCHR(attr.mode) || S_ISBLK(attr.mode))
		snprintf(size, sizeof(size), "%" PRIu32 ",%" PRIu32, attr.rmajor, attr.rminor);
	else
		snprintf(size, sizeof(size), "%" PRIu64, attr.size);
	printf("%s %2" PRIu32 " %5" PRIu32 " %5" PRIu32 " %10s %s ", out_mode(attr.mode, mode),
	       attr.nlink, attr.uid, attr.gid, size, out_time(attr.mtime_us, time));
	out_name(stdout, name, strlen(name));
	print_target(files, inode, path);
	putchar('\n');
}

/* ---- ls ---- */

struct ls {
	struct files files;
	struct visited visited;
	bool headed; /* something was printed: a blank line goes in front of the next heading */
};

/* One line or object for an entry; inode may be NULL where it was not asked for or is damaged. */
static void list_entry(struct ls *ls, const char *name, const char *path, uint64_t inum,
		       unsigned type, struct h2_inode *inode)
{
	struct json *json = ls->files.call->json;

	if (json) {
		json_object_begin(json, NULL);
		json_name(json, "path", path, strlen(path));
		json_string(json, "type", out_object_type(type));
		json_uint(json, "ino", inum);
		if (inode)
			json_attr(json, inode);
		json_object_end(json);
	} else if (inode) {
		print_long(&ls->files, inode, name, path);
	} else {
		if (ls->files.call->options.long_list)
			fputs("?????????? ", stdout);
		out_name(stdout, name, strlen(name));
		putchar('\n');
	}
}

static void list_name(struct ls *ls, const char *dir, const struct h2_dirent *ent)
{
	char *path = join_path(dir, ent->name);
	struct h2_inode *inode = NULL;
	int err;

	if (ls->files.call->options.long_list) {
		err = h2_inode_get(ls->files.target.pfs, ent->inum, &inode);
		if (err)
			problem(&ls->files, path, err);
	}
	list_entry(ls, ent->name, path, ent->inum, ent->type, inode);
	h2_inode_put(inode);
	free(path);
}

/* Directories that are still to be listed, the next one last. */
struct pending {
	struct todo {
		char *path;
		uint64_t inum;
	} * items;
	size_t count, room;
};

static void pending_add(struct pending *p, char *path, uint64_t inum)
{
	if (p->count == p->room) {
		p->room = p->room ? 2 * p->room : 16;
		p->items = must_alloc(reallocarray(p->items, p->room, sizeof(*p->items)));
	}
	p->items[p->count++] = (struct todo){path, inum};
}

static void list_directory(struct ls *ls, const struct todo *todo, struct pending *pending)
{
	const struct options *o = &ls->files.call->options;
	struct h2_inode *dir = enter_directory(&ls->files, &ls->visited, todo->inum, todo->path);
	struct listing list;

	if (!dir)
		return;
	read_directory(&ls->files, dir, todo->path, &list);
	h2_inode_put(dir);
	if (o->recursive && !o->json) {
		if (ls->headed)
			putchar('\n');
		out_name(stdout, todo->path, strlen(todo->path));
		puts(":");
		ls->headed = true;
	}
	for (size_t i = 0; i < list.count; i++)
		list_name(ls, todo->path, &list.entries[i]);
	for (size_t i = list.count; i-- > 0 && o->recursive;) {
		if (list.entries[i].type == H2_OBJECT_DIRECTORY)
			pending_add(pending, join_path(todo->path, list.entries[i].name),
				    list.entries[i].inum);
	}
	free(list.entries);
}

static void list_all(struct ls *ls, char *path, uint64_t inum)
{
	struct pending pending = {0};

	pending_add(&pending, must_alloc(strdup(path)), inum);
	while (pending.count > 0 && !ferror(stdout)) {
		struct todo todo = pending.items[--pending.count];

		list_directory(ls, &todo, &pending);
		free(todo.path);
	}
	while (pending.count > 0)
		free(pending.items[--pending.count].path);
	free(pending.items);
}

int verb_ls(struct call *call)
{
	char *path = one_path(call);
	struct ls ls = {0};
	struct h2_inode *inode;
	int err, code = path ? files_open(call, &ls.files) : EXIT_USAGE;

	if (code != EXIT_DONE) {
		free(path);
		return code;
	}
	err = h2_path_lookup(ls.files.target.pfs, path, &inode);
	if (err) {
		problem(&ls.files, path, err);
	} else {
		const struct h2_inode_meta *m = h2_inode_meta(inode);
		bool directory = m->type == H2_OBJECT_DIRECTORY;
		uint64_t inum = m->inum;

		if (!directory)
			list_entry(&ls, path, path, inum, m->type,
				   call->options.long_list ? inode : NULL);
		h2_inode_put(inode);
		if (directory)
			list_all(&ls, path, inum);
	}
	visited_fini(&ls.visited);
	free(path);
	return files_close(&ls.files);
}

/* ---- stat ---- */

static void stat_json(struct json *json, struct h2_inode *inode, const char *path)
{
	const struct h2_inode_meta *m = h2_inode_meta(inode);

	json_object_begin(json, NULL);
	json_name(json, "path", path, strlen(path));
	json_string(json, "type", out_object_type(m->type));
	json_uint(json, "ino", m->inum);
	json_attr(json, inode);
	json_object_end(json);
}

/* The columns of DragonFly's directive. */
static void stat_row(struct h2_inode *inode, const char *path)
{
	const struct h2_inode_meta *m = h2_inode_meta(inode);
	const struct h2_blockref *ref = h2_inode_ref(inode);
	char size[OUT_SIZE_TEXT], quota[OUT_SIZE_TEXT], comp[OUT_COMP_TEXT];

	out_name(stdout, path, strlen(path));
	printf(" %3u %9s %9" PRIu64 " %-18s %-12s", m->ncopies, out_size(ref->data_count, size),
	       ref->inode_count, out_comp(m->comp_algo, comp),
	       h2_check_algo_name(m->check_algo & 15u));
	if (m->data_quota || m->inode_quota)
		printf(" %s/%" PRIu64, out_size(m->data_quota, quota), m->inode_quota);
	putchar('\n');
}

static void stat_full(struct files *files, struct h2_inode *inode, const char *path)
{
	const struct h2_inode_meta *m = h2_inode_meta(inode);
	const struct h2_blockref *ref = h2_inode_ref(inode);
	char text[OUT_TIME_TEXT], mode[OUT_MODE_TEXT], comp[OUT_COMP_TEXT];
	struct h2_attr attr;

	h2_inode_attr(inode, &attr);
	fputs("path    ", stdout);
	out_name(stdout, path, strlen(path));
	print_target(files, inode, path);
	printf("\ntype    %s, mode %s (%04" PRIo32 "), %" PRIu32 " links\n",
	       out_object_type(m->type), out_mode(attr.mode, mode), attr.mode & 07777, attr.nlink);
	printf("owner   uid %" PRIu32 ", gid %" PRIu32 "\n", attr.uid, attr.gid);
	printf("size    %" PRIu64 " bytes, %" PRIu64 " bytes in blocks\n", attr.size,
	       attr.blocks * 512);
	if (S_ISCHR(attr.mode) || S_ISBLK(attr.mode))
		printf("device  %" PRIu32 ",%" PRIu32 "\n", attr.rmajor, attr.rminor);
	printf("inode   %" PRIu64 ", parent %" PRIu64 ", block at %#" PRIx64 "\n", m->inum,
	       m->iparent, h2_blockref_offset(ref));
	printf("mtime   %s\n", out_time(attr.mtime_us, text));
	printf("ctime   %s\n", out_time(attr.ctime_us, text));
	printf("atime   %s\n", out_time(attr.atime_us, text));
	printf("btime   %s\n", out_time(attr.btime_us, text));
	if (attr.uflags)
		printf("uflags  0x%08" PRIx32 "\n", attr.uflags);
	printf("comp    %s\n", out_comp(m->comp_algo, comp));
	printf("check   %s\n", h2_check_algo_name(m->check_algo & 15u));
	printf("below   %" PRIu64 " bytes of blocks, %" PRIu64 " inodes\n", ref->data_count,
	       ref->inode_count);
}

/* All that an inode's block has; the verb printinode. */
static void stat_fields(struct json *json, const struct h2_inode_meta *meta,
			const struct h2_blockref *ref, const char *path)
{
	if (json) {
		json_object_begin(json, NULL);
		json_name(json, "path", path, strlen(path));
		json_uint(json, "data_count", ref->data_count);
		json_uint(json, "inode_count", ref->inode_count);
		json_object_begin(json, "inode");
		media_json_inode(json, meta);
		json_object_end(json);
		json_object_end(json);
	} else {
		out_name(stdout, path, strlen(path));
		puts(" {");
		media_inode(4, meta, ref);
		puts("}");
	}
}

static bool wants_fields(const struct call *call)
{
	return strcmp(call->verb, "printinode") == 0;
}

static void stat_path(struct files *files, const char *arg)
{
	char *path = clean_path(arg);
	struct h2_inode *inode;
	int err = h2_path_lookup(files->target.pfs, path, &inode);

	if (err) {
		problem(files, path, err);
	} else {
		if (wants_fields(files->call))
			stat_fields(files->call->json, h2_inode_meta(inode), h2_inode_ref(inode),
				    path);
		else if (files->call->json)
			stat_json(files->call->json, inode, path);
		else if (files->call->options.verbose)
			stat_full(files, inode, path);
		else
			stat_row(inode, path);
		h2_inode_put(inode);
	}
	free(path);
}

/* A path in a mounted filesystem. Returns an exit code. */
static int stat_mounted(const struct call *call, const char *path)
{
	struct hammer2_ioc_inode i = {.flags = 0};
	char size[OUT_SIZE_TEXT], quota[OUT_SIZE_TEXT], comp[OUT_COMP_TEXT];
	int err = admin_inode_get(path, &i);
	struct h2_inode_meta m;

	if (err) {
		complain("%s: %s%s", path, error_text(err),
			 err == -ENOTTY ? ": is no file or directory of a mounted HAMMER2 "
					  "filesystem"
					: "");
		return EXIT_PROBLEM;
	}
	h2_inode_meta_decode(i.inode, &m);
	if (wants_fields(call) || (call->options.verbose && !call->json)) {
		const struct h2_blockref ref = {.data_count = i.data_count,
						.inode_count = i.inode_count};

		stat_fields(call->json, &m, &ref, path);
		return EXIT_DONE;
	}
	if (call->json) {
		json_object_begin(call->json, NULL);
		json_name(call->json, "path", path, strlen(path));
		json_string(call->json, "type", out_object_type(m.type));
		json_uint(call->json, "ino", m.inum);
		json_uint(call->json, "size", m.size);
		json_uint(call->json, "data_count", i.data_count);
		json_uint(call->json, "inode_count", i.inode_count);
		json_string(call->json, "comp", out_comp(m.comp_algo, comp));
		json_string(call->json, "check", h2_check_algo_name(m.check_algo & 15u));
		json_uint(call->json, "data_quota", m.data_quota);
		json_uint(call->json, "inode_quota", m.inode_quota);
		json_object_end(call->json);
		return EXIT_DONE;
	}
	out_name(stdout, path, strlen(path));
	printf(" %3u %9s %9" PRIu64 " %-18s %-12s", m.ncopies, out_size(i.data_count, size),
	       i.inode_count, out_comp(m.comp_algo, comp),
	       h2_check_algo_name(m.check_algo & 15u));
	if (m.data_quota || m.inode_quota)
		printf(" %s/%" PRIu64, out_size(m.data_quota, quota), m.inode_quota);
	putchar('\n');
	return EXIT_DONE;
}

static int stat_all_mounted(struct call *call)
{
	int code = EXIT_DONE;

	if (!call->json && !call->options.quiet && !call->options.verbose && !wants_fields(call))
		puts("PATH ncp  data-use inode-use comp               check        quota");
	json_array_begin(call->json, NULL);
	for (int i = 0; i < call->argc || i == 0; i++) {
		int c = stat_mounted(call, call->argc ? call->argv[i] : ".");

		code = c > code ? c : code;
	}
	json_array_end(call->json);
	return code;
}

int verb_stat(struct call *call)
{
	struct files files;
	int code;

	if (call->argc == 0 || admin_is_path_of_mount(call->argv[0]))
		return stat_all_mounted(call);
	code = files_open(call, &files);
	if (code != EXIT_DONE)
		return code;
	if (!call->json && !call->options.verbose && !call->options.quiet && !wants_fields(call))
		puts("PATH ncp  data-use inode-use comp               check        quota");
	json_array_begin(call->json, NULL);
	if (call->argc == files.first_path)
		stat_path(&files, "/");
	for (int i = files.first_path; i < call->argc; i++)
		stat_path(&files, call->argv[i]);
	json_array_end(call->json);
	return files_close(&files);
}

/* As stat, with another form of output: see wants_fields(). */
int verb_printinode(struct call *call)
{
	return verb_stat(call);
}

/* ---- cat ---- */

static void cat_path(struct files *files, const char *arg, void *buf)
{
	struct h2_inode *inode;
	uint64_t offset = 0;
	ssize_t got;
	int err = h2_path_lookup(files->target.pfs, arg, &inode);

	if (err) {
		problem(files, arg, err);
		return;
	}
	if (h2_inode_meta(inode)->type != H2_OBJECT_FILE) {
		complain_path(files->target.label, arg, "not a regular file but of type %s",
			      out_object_type(h2_inode_meta(inode)->type));
		files->problems++;
		h2_inode_put(inode);
		return;
	}
	while ((got = h2_file_read(inode, offset, buf, READ_SIZE)) > 0) {
		if (fwrite(buf, 1, (size_t)got, stdout) != (size_t)got)
			break;
		offset += (uint64_t)got;
	}
	/* What follows would be at the wrong place: the output ends in front of the damage. */
	if (got < 0) {
		complain_path(files->target.label, arg,
			      "stopped at byte %" PRIu64 " of %" PRIu64 ": %s", offset,
			      h2_inode_meta(inode)->size, error_text((int)got));
		files->problems++;
	}
	h2_inode_put(inode);
}

int verb_cat(struct call *call)
{
	struct files files;
	void *buf;
	int code = files_open(call, &files);

	if (code != EXIT_DONE)
		return code;
	buf = must_alloc(aligned_alloc(4096, READ_SIZE));
	/* The blocks are large already. */
	setvbuf(stdout, NULL, _IONBF, 0);
	for (int i = files.first_path; i < call->argc && !ferror(stdout); i++)
		cat_path(&files, call->argv[i], buf);
	free(buf);
	return files_close(&files);
}

/* ---- tree ---- */

struct tree {
	struct files files;
	struct visited visited;
	char *prefix; /* what stands in front of the lines of this level */
	size_t prefix_len, prefix_room;
	uint64_t directories, others;
};

static void prefix_push(struct tree *t, const char *text)
{
	size_t len = strlen(text);

	if (t->prefix_len + len + 1 > t->prefix_room) {
		t->prefix_room = 2 * (t->prefix_len + len + 1);
		t->prefix = must_alloc(realloc(t->prefix, t->prefix_room));
	}
	memcpy(t->prefix + t->prefix_len, text, len + 1);
	t->prefix_len += len;
}

static void prefix_pop(struct tree *t, const char *text)
{
	t->prefix_len -= strlen(text);
	t->prefix[t->prefix_len] = '\0';
}

/*
 * A directory whose entries are being printed. The levels are on the heap: paths can be thousands
 * of directories deep.
 */
struct level {
	struct level *above;
	char *path;
	struct listing list;
	size_t next;
	bool last; /* the last one of the directory above */
};

static struct level *level_new(struct tree *t, struct level *above, uint64_t inum, char *path,
			       bool last)
{
	struct h2_inode *dir = enter_directory(&t->files, &t->visited, inum, path);
	struct level *level;

	if (!dir) {
		free(path);
		return NULL;
	}
	level = must_alloc(calloc(1, sizeof(*level)));
	level->above = above;
	level->path = path;
	level->last = last;
	read_directory(&t->files, dir, path, &level->list);
	h2_inode_put(dir);
	return level;
}

static void print_node(struct tree *t, const struct level *level, const struct h2_dirent *ent,
		       bool last)
{
	struct json *json = t->files.call->json;
	char *path;

	if (ent->type == H2_OBJECT_DIRECTORY)
		t->directories++;
	else
		t->others++;
	if (json) {
		path = join_path(level->path, ent->name);
		json_object_begin(json, NULL);
		json_name(json, "path", path, strlen(path));
		json_string(json, "type", out_object_type(ent->type));
		json_uint(json, "ino", ent->inum);
		json_object_end(json);
		free(path);
		return;
	}
	printf("%s%s ", t->prefix, last ? "`--" : "|--");
	out_name(stdout, ent->name, ent->name_len);
	puts(ent->type == H2_OBJECT_DIRECTORY ? "/" : "");
}

static const char *level_prefix(const struct level *level)
{
	return level->last ? "    " : "|   ";
}

static void walk_tree(struct tree *t, struct level *level)
{
	int depth = 1, depth_max = t->files.call->options.depth;

	while (level) {
		struct level *above = level->above, *below;
		const struct h2_dirent *ent;
		bool last;

		if (level->next == level->list.count || ferror(stdout)) {
			if (above)
				prefix_pop(t, level_prefix(level));
			free(level->list.entries);
			free(level->path);
			free(level);
			level = above;
			depth--;
			continue;
		}
		ent = &level->list.entries[level->next++];
		last = level->next == level->list.count;
		print_node(t, level, ent, last);
		if (ent->type != H2_OBJECT_DIRECTORY || (depth_max && depth >= depth_max))
			continue;
		below = level_new(t, level, ent->inum, join_path(level->path, ent->name), last);
		if (below) {
			prefix_push(t, level_prefix(below));
			level = below;
			depth++;
		}
	}
}

int verb_tree(struct call *call)
{
	char *path = one_path(call);
	struct tree tree = {0};
	struct level *top;
	struct h2_inode *inode;
	uint64_t inum;
	int err, code = path ? files_open(call, &tree.files) : EXIT_USAGE;

	if (code != EXIT_DONE) {
		free(path);
		return code;
	}
	prefix_push(&tree, "");
	err = h2_path_lookup(tree.files.target.pfs, path, &inode);
	if (err) {
		problem(&tree.files, path, err);
	} else {
		inum = h2_inode_meta(inode)->inum;
		h2_inode_put(inode);
		if (!call->json) {
			out_name(stdout, path, strlen(path));
			putchar('\n');
		}
		top = level_new(&tree, NULL, inum, must_alloc(strdup(path)), true);
		walk_tree(&tree, top);
		if (!call->json && !call->options.quiet)
			printf("\n%" PRIu64 " directories, %" PRIu64 " other names\n",
			       tree.directories, tree.others);
	}
	free(tree.prefix);
	visited_fini(&tree.visited);
	free(path);
	return files_close(&tree.files);
}
