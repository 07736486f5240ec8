/*
 * Taking over what a filesystem has at the beginning into the model: the root's attributes of an
 * empty one, everything of an image. What is read is taken for true; the tests of reading are
 * elsewhere.
 */
#include <stdlib.h>
#include <string.h>

#include "run.h"

#define LEARNED_ID (UINT64_C(1) << 62) /* and up: ids that no operation has */

struct learner {
	struct worker *w;
	struct model_inode **by_inum; /* files with several names; a table by their numbers */
	uint32_t room;
	uint64_t count; /* inodes */
};

static void must(struct worker *w, int err, const char *what)
{
	if (err)
		fail(w, "%s: %s", what, strerror(-err));
}

static struct model_time known(uint64_t us)
{
	return (struct model_time){us, us};
}

static void learn_attr(struct worker *w, struct model_inode *inode, const struct backend_attr *a)
{
	struct model_set flags = {.valid = MODEL_SET_UFLAGS, .uflags = a->uflags};

	model_set(w->model, inode, &flags);
	inode->inum = a->inum;
	inode->mode = a->mode;
	inode->uid = a->uid;
	inode->gid = a->gid;
	inode->rmajor = a->rmajor;
	inode->rminor = a->rminor;
	inode->comp_algo = a->comp_algo;
	inode->check_algo = a->check_algo;
	inode->dir_links = a->nlink;
	inode->atime = known(a->atime);
	inode->mtime = known(a->mtime);
	inode->ctime = known(a->ctime);
	inode->btime = known(a->btime);
	inode->atime_unset = a->atime == a->mtime;
	inode->btime_unset = a->btime == a->ctime;
	if (a->inum > w->inum_last)
		w->inum_last = a->inum;
}

static void learn_contents(struct worker *w, struct model_inode *inode, void *node, uint64_t size)
{
	const struct run *run = w->run;
	uint64_t at = 0, start, end;
	int err;

	inode->size = size;
	while ((err = run->ops->next_data(run->backend, node, at, &start, &end)) == 0) {
		for (at = start; at < end;) {
			size_t part = end - at < WORK_BUFFER ? (size_t)(end - at) : WORK_BUFFER;
			ssize_t n = run->ops->read(run->backend, node, at, w->buf, part);

			if (n != (ssize_t)part)
				fail(w, "inode %llu cannot be read",
				     (unsigned long long)inode->inum);
			model_write(w->model, inode, at, w->buf, part, true);
			at += part;
		}
	}
	if (err < 0)
		must(w, err, "data");
}

/* The place of a file with several names in the table. */
static struct model_inode **find_inum(struct learner *l, uint64_t inum)
{
	uint32_t at = (uint32_t)(inum * UINT64_C(0x9e3779b97f4a7c15) >> 32);

	while (l->by_inum[at & (l->room - 1)] && l->by_inum[at & (l->room - 1)]->inum != inum)
		at++;
	return &l->by_inum[at & (l->room - 1)];
}

static struct model_inode *learn_inode(struct learner *l, struct model_inode *dir,
				       const struct backend_entry *ent, void *node,
				       const struct backend_attr *a)
{
	struct worker *w = l->w;
	struct model_new new_ = {
		.id = LEARNED_ID + l->count++,
		.type = a->type,
		.comp_algo = a->comp_algo,
		.check_algo = a->check_algo,
	};
	struct model_inode *inode;

	if (a->type == H2_OBJECT_SYMLINK) {
		ssize_t n = w->run->ops->readlink(w->run->backend, node, (char *)w->buf,
						  WORK_BUFFER);

		must(w, n < 0 ? (int)n : 0, "a symlink");
		new_.target = (const char *)w->buf;
		new_.target_len = (size_t)n;
	}
	inode = model_create(w->model, dir, ent->name, ent->name_len, &new_);
	if (a->type == H2_OBJECT_FILE)
		learn_contents(w, inode, node, a->size);
	learn_attr(w, inode, a);
	return inode;
}

static void learn_directory(struct learner *l, struct model_inode *dir, void *dir_node,
			    const struct backend_attr *dir_attr)
{
	struct worker *w = l->w;
	const struct run *run = w->run;
	struct backend_entry ent, found;
	void *scan;
	int err;

	must(w, run->ops->scan_new(run->backend, dir_node, 0, &scan), "a directory");
	while ((err = run->ops->scan_next(run->backend, scan, &ent)) == 0) {
		struct model_inode **known_inode, *inode;
		struct backend_attr a;
		void *node;

		must(w,
		     run->ops->lookup(run->backend, dir_node, ent.name, ent.name_len, &found,
				      &node),
		     "a name");
		must(w, run->ops->attr(run->backend, node, &a), "attributes");
		w->model->tag = name_learn(ent.name, ent.name_len);
		known_inode = find_inum(l, a.inum);
		if (a.type != H2_OBJECT_DIRECTORY && a.nlink > 1 && *known_inode) {
			model_link(w->model, dir, ent.name, ent.name_len, *known_inode);
			learn_attr(w, *known_inode, &a);
		} else {
			inode = learn_inode(l, dir, &ent, node, &a);
			if (a.type == H2_OBJECT_DIRECTORY)
				learn_directory(l, inode, node, &a);
			else if (a.nlink > 1)
				*known_inode = inode;
		}
		run->ops->put(run->backend, node);
	}
	if (err < 0)
		must(w, err, "a directory");
	run->ops->scan_free(run->backend, scan);
	/* Entering the names has changed its times. */
	learn_attr(w, dir, dir_attr);
}

void learn_tree(struct worker *w)
{
	struct model_inode *root = w->model->root;
	struct learner l = {.w = w, .room = 1u << 20};
	struct backend_attr a;

	l.by_inum = calloc(l.room, sizeof(struct model_inode *));
	if (!l.by_inum)
		abort();
	w->model->now_lo = w->model->now_hi = 0;
	must(w, w->run->ops->attr(w->run->backend, root->ref, &a), "the root's attributes");
	learn_directory(&l, root, root->ref, &a);
	model_hold(w->model, root, true);
	if (w->model->counts[MODEL_ALL] > w->generator.inodes_max && w->run->options->seed % 2)
		w->generator.inodes_max = w->model->counts[MODEL_ALL] + 500;
	if (w->model->chunk_count > w->generator.chunks_max)
		w->generator.chunks_max = w->model->chunk_count + 100;
	free(l.by_inum);
}
