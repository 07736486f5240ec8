/* Carrying out operations; see run.h. */
#include "run.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ULL(x) ((unsigned long long)(x))
#define CLOCK_SLACK_US 20000u /* a filesystem's clock may be as much behind */
#define TARGET_MAX 4095u
#define PATH_BUFFER 4096u
#define ROOM_LEAST 300u  /* parts of a thousand; with less the filesystem is made anew */
#define ROOM_NOTHING 20u /* with less, an image leaves not even what a removal needs */
#define ROOM_NONE 200u   /* with less, -ENOSPC is no surprise */
#define FULL_TRIES 3000u

/* ---- failing ---- */

static struct run *crash_run; /* for the report of a crash */
static _Thread_local struct worker *current_worker;

static void say_repeat(struct run *run, const struct worker *w)
{
	if (run->replayed) /* whoever replays has the operations */
		return;
	fprintf(stderr, "seed %" PRIu64 "; to repeat:\n  %s", run->options->seed,
		run->options->command);
	if (w && w->op && run->worker_count == 1)
		fprintf(stderr, " --ops %llu", ULL(w->op->number));
	fputc('\n', stderr);
}

void fail(struct worker *w, const char *format, ...)
{
	va_list args;

	flockfile(stderr);
	fflush(stdout);
	if (w->op)
		fprintf(stderr, "FAILED at operation %llu%s: %s\n", ULL(w->op->number),
			w->run->worker_count > 1 ? " of its thread" : "", w->text);
	else
		fprintf(stderr, "FAILED\n");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	say_repeat(w->run, w);
	fflush(stderr);
	_exit(1);
}

static void report_crash(void)
{
	struct worker *w = current_worker;

	if (!crash_run)
		return;
	if (w && w->op)
		fprintf(stderr, "CRASHED at operation %llu: %s\n", ULL(w->op->number), w->text);
	say_repeat(crash_run, w);
	crash_run = NULL;
}

static void on_crash(int sig)
{
	report_crash();
	signal(sig, SIG_DFL);
	raise(sig);
}

/* Where a sanitizer is built in it calls this before it ends the program. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

void install_crash_report(struct run *run)
{
	crash_run = run;
	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(report_crash);
	else
		signal(SIGSEGV, on_crash);
	signal(SIGABRT, on_crash);
}

/* ---- references ---- */

static void *look_up(struct worker *w, struct model_inode *inode, struct random *r)
{
	const struct run *run = w->run;
	const struct model_entry *ent = inode->links[random_below(r, inode->link_count)];
	struct backend_entry found;
	bool temporary;
	void *dir = acquire(w, ent->dir, r, &temporary), *node = NULL;
	int err = run->ops->lookup(run->backend, dir, ent->name, ent->name_len, &found, &node);

	release(w, dir, temporary);
	if (err)
		fail(w, "\"%.*s\" of directory #%llu (inode %llu) cannot be found: %s",
		     ent->name_len, ent->name, ULL(ent->dir->id), ULL(ent->dir->inum),
		     strerror(-err));
	if (found.inum != inode->inum || found.type != inode->type)
		fail(w,
		     "\"%.*s\" of directory #%llu (inode %llu) is inode %llu of type %u, expected "
		     "%llu of type %u",
		     ent->name_len, ent->name, ULL(ent->dir->id), ULL(ent->dir->inum),
		     ULL(found.inum), found.type, ULL(inode->inum), inode->type);
	return node;
}

/* Put the path of an inode in front of *at, down to buf. Returns false where it has no room. */
static bool make_path(const struct worker *w, const struct model_inode *inode, char *buf, char **at)
{
	while (inode != w->model->root) {
		const struct model_entry *ent = inode->links[0];

		if (*at - buf < ent->name_len + 1)
			return false;
		*at -= ent->name_len;
		memcpy(*at, ent->name, ent->name_len);
		*--*at = '/';
		inode = ent->dir;
	}
	return true;
}

static void *follow_path(struct worker *w, struct model_inode *inode)
{
	const struct run *run = w->run;
	char buf[PATH_BUFFER], *at = buf + sizeof(buf) - 1;
	void *node = NULL;
	int err;

	*at = '\0';
	if (run->worker_count > 1 || !make_path(w, inode, buf, &at) || !*at)
		return NULL;
	err = run->ops->path(run->backend, at, &node);
	if (err)
		fail(w, "#%llu (inode %llu): its path cannot be followed: %s", ULL(inode->id),
		     ULL(inode->inum), strerror(-err));
	return node;
}

void *acquire(struct worker *w, struct model_inode *inode, struct random *r, bool *temporary)
{
	const struct run *run = w->run;
	void *node = NULL;
	int err;

	*temporary = false;
	if (inode->ref &&
	    (model_is_orphan(w->model, inode) || inode == w->model->root || !random_one_in(r, 3)))
		return inode->ref;
	assert(inode->link_count > 0 || inode->ref);
	*temporary = true;
	if (run->ops->can & CAN_BY_PATH && random_one_in(r, 16))
		node = follow_path(w, inode);
	if (node)
		return node;
	if (!(run->ops->can & CAN_BY_NUMBER) || random_one_in(r, 4))
		return look_up(w, inode, r);
	err = run->ops->get(run->backend, inode->inum, &node);
	if (err)
		fail(w, "#%llu (inode %llu) cannot be had by its number: %s", ULL(inode->id),
		     ULL(inode->inum), strerror(-err));
	return node;
}

void release(struct worker *w, void *node, bool temporary)
{
	if (temporary)
		w->run->ops->put(w->run->backend, node);
}

/* Keep a reference that is the caller's, or give it back. */
static void keep(struct worker *w, struct model_inode *inode, void *node)
{
	if (inode->ref) {
		w->run->ops->put(w->run->backend, node);
		return;
	}
	inode->ref = node;
	model_hold(w->model, inode, true);
}

/* An inode without a name that nobody refers to is no more. */
static void end_inode(struct worker *w, struct model_inode *inode)
{
	w->ended[w->ended_count++ % ENDED_MAX] = inode->inum;
	model_drop(w->model, inode);
}

/* Give back the held reference. An inode without a name ends with it. */
static void let_go(struct worker *w, struct model_inode *inode)
{
	const struct run *run = w->run;

	run->ops->put(run->backend, inode->ref);
	inode->ref = NULL;
	model_hold(w->model, inode, false);
	if (model_is_orphan(w->model, inode))
		end_inode(w, inode);
}

/* After closing nothing is left of the inodes that ended before. */
static void check_ended(struct worker *w)
{
	const struct run *run = w->run;
	void *node;

	for (unsigned i = 0; run->ops->can & CAN_BY_NUMBER && i < w->ended_count && i < ENDED_MAX;
	     i++) {
		int err = run->ops->get(run->backend, w->ended[i], &node);

		if (err != -ENOENT)
			fail(w, "inode %llu ended before closing, but asking for it gives: %s",
			     ULL(w->ended[i]), err ? strerror(-err) : "an inode");
	}
	w->ended_count = 0;
}

void drop_held(struct worker *w)
{
	struct model *m = w->model;

	end_scans(w);
	while (m->counts[MODEL_HELD] > 1 ||
	       (m->counts[MODEL_HELD] == 1 && m->lists[MODEL_HELD][0] != m->root)) {
		uint32_t last = m->counts[MODEL_HELD] - 1;
		struct model_inode *inode = m->lists[MODEL_HELD][last];

		if (inode == m->root)
			inode = m->lists[MODEL_HELD][last - 1];
		let_go(w, inode);
	}
}

/* ---- results ---- */

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void before(struct worker *w)
{
	w->model->now_lo = now_us() - CLOCK_SLACK_US;
	w->model->now_hi = UINT64_MAX;
}

static void list_errors(const struct model_errors *e, char *buf, size_t size)
{
	size_t at = 0;

	if (e->count == 0 || e->or_success)
		at += (size_t)snprintf(buf, size, "success");
	for (unsigned i = 0; i < e->count && at < size; i++)
		at += (size_t)snprintf(buf + at, size - at, "%s%s", at ? " or " : "",
				       strerrorname_np(e->errs[i]));
}

/*
 * Compare a result with what is expected. Returns true if the operation was done, to be done in
 * the model too; false if it failed as expected.
 */
static bool after(struct worker *w, const struct model_errors *e, ssize_t result, bool needs_space)
{
	struct run *run = w->run;
	int err = result < 0 ? (int)-result : 0;
	char expected[256];

	w->model->now_hi = now_us();
	/* The reserve for removals is ours: an image may have come without. */
	if (err == ENOSPC && run->options->backend.from &&
	    run->ops->room(run->backend) < ROOM_NOTHING)
		needs_space = true;
	if (err == ENOSPC && needs_space) {
		w->full++;
		if (!run->options->full && !run->options->backend.from &&
		    run->ops->room(run->backend) > ROOM_NONE)
			fail(w, "no space, with %u of 1000 parts free",
			     run->ops->room(run->backend));
		if ((!run->options->full && !run->options->backend.from) || w->full > FULL_TRIES)
			__atomic_store_n(&run->out_of_room, true, __ATOMIC_RELAXED);
		w->failed[w->op->kind]++;
		return false;
	}
	if (!model_allows(e, err)) {
		list_errors(e, expected, sizeof(expected));
		fail(w, "it gave %s, expected %s", err ? strerrorname_np(err) : "success",
		     expected);
	}
	if (err) {
		w->failed[w->op->kind]++;
		return false;
	}
	w->done[w->op->kind]++;
	w->full = 0;
	return e->count == 0 || e->or_done;
}

/* What an operation has at hand; given back at its end. */
struct hand {
	struct model_inode *inode;
	void *node;
	bool temporary;
};

static bool take(struct worker *w, uint64_t id, struct random *r, struct hand *h)
{
	*h = (struct hand){.inode = model_find(w->model, id)};
	if (!h->inode)
		return false;
	h->node = acquire(w, h->inode, r, &h->temporary);
	return true;
}

/* Look at it once more, now and then, and give it back or keep it. */
static void give_back(struct worker *w, struct hand *h, struct random *r, bool hold)
{
	if (!h->inode)
		return;
	if (random_one_in(r, 3))
		verify_attr(w, h->inode, h->node);
	if (hold && h->temporary && w->model->counts[MODEL_HELD] < 64)
		keep(w, h->inode, h->node);
	else
		release(w, h->node, h->temporary);
}

static void learn_inum(struct worker *w, struct model_inode *inode, uint64_t inum)
{
	if (w->run->ops->can & CAN_NOT_REUSE && inum <= w->inum_last)
		fail(w, "the new inode has the number %llu, but %llu was given before", ULL(inum),
		     ULL(w->inum_last));
	w->inum_last = inum;
	inode->inum = inum;
}

/* ---- making names ---- */

static void check_new(const struct op *op, struct model_errors *e)
{
	static const bool usable[16] = {
		[H2_OBJECT_DIRECTORY] = true,    [H2_OBJECT_FILE] = true,
		[H2_OBJECT_FIFO] = true,         [H2_OBJECT_CHAR_DEVICE] = true,
		[H2_OBJECT_BLOCK_DEVICE] = true, [H2_OBJECT_SYMLINK] = true,
		[H2_OBJECT_SOCKET] = true,
	};

	if (op->type >= 16 || !usable[op->type])
		e->errs[e->count++] = EINVAL;
	if (op->type == H2_OBJECT_SYMLINK && (op->len == 0 || op->len > TARGET_MAX)) {
		e->errs[e->count++] = EINVAL;
		e->errs[e->count++] = ENAMETOOLONG;
	}
}

static struct model_new to_new(const struct op *op, const char *target)
{
	return (struct model_new){
		.id = op->number,
		.type = op->type,
		.mode = op->set.mode,
		.uid = op->set.uid,
		.gid = op->set.gid,
		.rmajor = op->rmajor,
		.rminor = op->rminor,
		.target = op->type == H2_OBJECT_SYMLINK ? target : NULL,
		.target_len = op->type == H2_OBJECT_SYMLINK ? op->len : 0,
		.comp_algo = op->comp_algo,
		.check_algo = op->check_algo,
	};
}

static void do_create(struct worker *w, const struct op *op, struct random *r)
{
	const struct run *run = w->run;
	char name[NAME_BUFFER], target[TARGET_MAX + 2] = {0};
	size_t len = name_make(op->name, name);
	struct model_new new_ = to_new(op, target);
	struct model_errors e = {0};
	struct hand dir, made = {0};
	int err;

	if (!take(w, op->dir, r, &dir))
		return;
	if (op->type == H2_OBJECT_SYMLINK)
		target_make(target, op->len, op->seed);
	model_can_create(w->model, dir.inode, name, len, &e);
	check_new(op, &e);
	before(w);
	err = run->ops->create(run->backend, dir.node, name, len, &new_,
			       op->want ? &made.node : NULL);
	if (after(w, &e, err, true)) {
		struct backend_entry ent;

		made.inode = model_create(w->model, dir.inode, name, len, &new_);
		made.temporary = true;
		err = run->ops->lookup(run->backend, dir.node, name, len, &ent,
				       op->want ? NULL : &made.node);
		if (err)
			fail(w, "what was created cannot be found: %s", strerror(-err));
		learn_inum(w, made.inode, ent.inum);
		give_back(w, &made, r, op->hold);
	}
	give_back(w, &dir, r, false);
}

static void do_create_unnamed(struct worker *w, const struct op *op, struct random *r)
{
	const struct run *run = w->run;
	struct model_new new_ = to_new(op, NULL);
	struct model_errors e = {0};
	struct hand dir;
	struct backend_attr attr;
	struct model_inode *inode;
	void *node;
	int err;

	if (!take(w, op->dir, r, &dir))
		return;
	model_can_create_unnamed(dir.inode, &e);
	if (e.or_success) { /* nobody says which */
		give_back(w, &dir, r, false);
		return;
	}
	before(w);
	err = run->ops->create_unnamed(run->backend, dir.node, &new_, &node);
	if (after(w, &e, err, true)) {
		inode = model_create_unnamed(w->model, dir.inode, &new_);
		inode->ref = node;
		run->ops->attr(run->backend, node, &attr);
		learn_inum(w, inode, attr.inum);
		verify_attr(w, inode, node);
		if (!op->hold && random_one_in(r, 2))
			let_go(w, inode);
	}
	give_back(w, &dir, r, false);
}

static void do_link(struct worker *w, const struct op *op, struct random *r)
{
	const struct run *run = w->run;
	char name[NAME_BUFFER];
	size_t len = name_make(op->name, name);
	struct model_errors e = {0};
	struct hand dir, object;
	int err;

	if (!model_find(w->model, op->object) || !take(w, op->dir, r, &dir))
		return;
	take(w, op->object, r, &object);
	model_can_link(w->model, dir.inode, name, len, object.inode, &e);
	before(w);
	err = run->ops->link(run->backend, dir.node, name, len, object.node);
	if (after(w, &e, err, true))
		model_link(w->model, dir.inode, name, len, object.inode);
	give_back(w, &object, r, op->hold);
	give_back(w, &dir, r, false);
}

/* ---- taking names away ---- */

/* What becomes of an inode that lost its last name, or NULL; gone is what the backend gave. */
static void settle(struct worker *w, const struct op *op, struct model_inode *lost, void *gone)
{
	const struct run *run = w->run;
	struct backend_attr attr;

	if (run->ops->can & CAN_ORPHANS && op->want && !gone != !lost)
		fail(w, "it gave %s inode that lost its last name, expected %s", gone ? "an" : "no",
		     lost ? "one" : "none");
	if (!lost) {
		if (gone)
			run->ops->put(run->backend, gone);
		return;
	}
	if (gone) {
		run->ops->attr(run->backend, gone, &attr);
		if (attr.inum != lost->inum)
			fail(w, "inode %llu is said to have lost its last name, expected %llu",
			     ULL(attr.inum), ULL(lost->inum));
		verify_attr(w, lost, gone);
		keep(w, lost, gone);
		if (!op->hold && !lost->pins)
			let_go(w, lost);
		return;
	}
	if (!lost->held)
		end_inode(w, lost);
}

static void do_remove(struct worker *w, const struct op *op, struct random *r)
{
	const struct run *run = w->run;
	bool directory = op->kind == OP_RMDIR;
	char name[NAME_BUFFER];
	size_t len = name_make(op->name, name);
	struct model_errors e = {0};
	struct hand dir;
	void *gone = NULL, **want = op->want ? &gone : NULL;
	int err;

	if (!take(w, op->dir, r, &dir))
		return;
	model_can_remove(w->model, dir.inode, name, len, directory, &e);
	before(w);
	err = directory ? run->ops->rmdir(run->backend, dir.node, name, len, want)
			: run->ops->unlink(run->backend, dir.node, name, len, want);
	if (after(w, &e, err, false))
		settle(w, op, model_remove(w->model, dir.inode, name, len), gone);
	else if (gone)
		fail(w, "it failed, but gave an inode");
	give_back(w, &dir, r, op->hold);
}

static void do_rename(struct worker *w, const struct op *op, struct random *r)
{
	const struct run *run = w->run;
	char from[NAME_BUFFER], to[NAME_BUFFER];
	size_t from_len = name_make(op->name, from), to_len = name_make(op->name2, to);
	struct model_errors e = {0};
	struct hand from_dir, to_dir;
	void *gone = NULL;
	int err;

	if (!model_find(w->model, op->dir2) || !take(w, op->dir, r, &from_dir))
		return;
	take(w, op->dir2, r, &to_dir);
	model_can_rename(w->model, from_dir.inode, from, from_len, to_dir.inode, to, to_len,
			 op->flags, &e);
	before(w);
	err = run->ops->rename(run->backend, from_dir.node, from, from_len, to_dir.node, to, to_len,
			       op->flags, op->want ? &gone : NULL);
	if (after(w, &e, err, true))
		settle(w, op,
		       model_rename(w->model, from_dir.inode, from, from_len, to_dir.inode, to,
				    to_len, op->flags),
		       gone);
	else if (gone)
		fail(w, "it changed nothing, but gave an inode");
	give_back(w, &to_dir, r, op->hold);
	give_back(w, &from_dir, r, false);
}

/* ---- inodes ---- */

static void do_set(struct worker *w, const struct op *op, struct random *r)
{
	const struct run *run = w->run;
	struct model_errors e = {0};
	struct hand object;
	bool grows;
	int err;

	if (!take(w, op->object, r, &object))
		return;
	model_can_set(object.inode, &op->set, &e);
	grows = !(op->set.valid & MODEL_SET_SIZE) || op->set.size > object.inode->size;
	before(w);
	err = run->ops->set(run->backend, object.node, &op->set);
	if (after(w, &e, err, grows)) {
		model_set(w->model, object.inode, &op->set);
		if (op->set.valid & MODEL_SET_SIZE && object.inode->type == H2_OBJECT_FILE &&
		    random_one_in(r, 4)) {
			uint64_t size = object.inode->size;

			verify_range(w, object.inode, object.node, size > 70000 ? size - 70000 : 0,
				     70001);
		}
	}
	give_back(w, &object, r, op->hold);
}

/* Read again what was changed, with what lies around it. */
static void verify_around(struct worker *w, const struct hand *h, uint64_t offset, uint64_t len,
			  struct random *r)
{
	uint64_t more = random_below(r, 2000);
	uint64_t from = offset > more ? offset - more : 0;

	if (h->inode->type == H2_OBJECT_FILE && random_one_in(r, 4) && len <= WORK_BUFFER / 2 &&
	    offset <= MODEL_SIZE_MAX)
		verify_range(w, h->inode, h->node, from, len + 2 * more);
}

/* Whether space may have run out part of the way. */
static bool may_be_short(const struct run *run)
{
	return run->options->full || run->options->backend.from ||
	       run->ops->room(run->backend) < ROOM_NONE;
}

static void do_write(struct worker *w, const struct op *op, struct random *r)
{
	const struct run *run = w->run;
	bool append = op->flags & OP_WRITE_APPEND;
	struct model_errors e = {0};
	struct hand object;
	uint64_t offset;
	ssize_t n;

	if (!take(w, op->object, r, &object))
		return;
	assert(op->len <= WORK_BUFFER);
	data_make(w->buf, op->len, (enum op_data)op->data, op->seed);
	model_can_write(object.inode, op->offset, op->len, append, &e);
	offset = append ? object.inode->size : op->offset;
	before(w);
	n = run->ops->write(run->backend, object.node, op->offset, w->buf, op->len, op->flags);
	if (after(w, &e, n, true)) {
		if ((uint64_t)n > op->len ||
		    ((uint64_t)n < op->len && !(n > 0 && may_be_short(run))))
			fail(w, "%zd bytes of %llu were written", n, ULL(op->len));
		model_write(w->model, object.inode, offset, w->buf, (uint64_t)n,
			    op->flags & OP_WRITE_KEEP_TIMES);
		verify_around(w, &object, offset, op->len, r);
	}
	give_back(w, &object, r, op->hold);
}

static void do_allocate(struct worker *w, const struct op *op, struct random *r)
{
	const struct run *run = w->run;
	struct model_errors e = {0};
	struct hand object;
	int err;

	if (!take(w, op->object, r, &object))
		return;
	model_can_allocate(object.inode, op->flags, op->offset, op->len, &e);
	before(w);
	err = run->ops->allocate(run->backend, object.node, op->flags, op->offset, op->len);
	if (after(w, &e, err, true)) {
		model_allocate(w->model, object.inode, op->flags, op->offset, op->len);
		verify_around(w, &object, op->offset, op->len, r);
	}
	give_back(w, &object, r, op->hold);
}

static void do_copy(struct worker *w, const struct op *op, struct random *r)
{
	const struct run *run = w->run;
	struct model_errors e = {0};
	struct hand from, to;
	uint64_t count;
	ssize_t n;

	if (!model_find(w->model, op->dir) || !take(w, op->object, r, &from))
		return;
	take(w, op->dir, r, &to);
	model_can_copy(from.inode, op->offset, to.inode, op->offset2, op->len, &count, &e);
	before(w);
	n = run->ops->copy(run->backend, from.node, op->offset, to.node, op->offset2, op->len);
	if (after(w, &e, n, true)) {
		if ((uint64_t)n > count || ((uint64_t)n < count && !(n > 0 && may_be_short(run))))
			fail(w, "%zd bytes of %llu were copied", n, ULL(count));
		model_copy(w->model, from.inode, op->offset, to.inode, op->offset2, (uint64_t)n);
		verify_around(w, &to, op->offset2, count, r);
	}
	give_back(w, &to, r, op->hold);
	give_back(w, &from, r, false);
}

static void do_read(struct worker *w, const struct op *op, struct random *r)
{
	const struct run *run = w->run;
	struct model_errors e = {0};
	struct hand object;
	ssize_t n;

	if (!take(w, op->object, r, &object))
		return;
	if (object.inode->type == H2_OBJECT_FILE || (object.inode->type == H2_OBJECT_SYMLINK)) {
		verify_range(w, object.inode, object.node, op->offset, op->len);
		w->done[op->kind]++;
	} else {
		e.errs[e.count++] = object.inode->type == H2_OBJECT_DIRECTORY ? EISDIR : EINVAL;
		n = run->ops->read(run->backend, object.node, op->offset, w->buf,
				   op->len ? op->len : 1);
		(void)after(w, &e, n, false);
	}
	give_back(w, &object, r, op->hold);
}

static void do_seek(struct worker *w, const struct op *op, struct random *r)
{
	struct hand object;

	if (!take(w, op->object, r, &object))
		return;
	if (object.inode->type == H2_OBJECT_FILE) {
		verify_stretches(w, object.inode, object.node, op->offset);
		w->done[op->kind]++;
	}
	give_back(w, &object, r, op->hold);
}

static void do_lookup(struct worker *w, const struct op *op, struct random *r)
{
	const struct run *run = w->run;
	char name[NAME_BUFFER];
	size_t len = name_make(op->name, name);
	const struct model_entry *ent = NULL;
	struct model_errors e = {0};
	struct backend_entry found;
	struct hand dir, object = {0};
	int err;

	if (!take(w, op->dir, r, &dir))
		return;
	if (dir.inode->type == H2_OBJECT_DIRECTORY)
		ent = model_lookup(dir.inode, w->model, name, len);
	else
		e.errs[e.count++] = ENOTDIR;
	if (len > MODEL_NAME_MAX)
		e.errs[e.count++] = ENAMETOOLONG;
	if (!ent && (dir.inode->removed || e.count == 0))
		e.errs[e.count++] = ENOENT;
	err = run->ops->lookup(run->backend, dir.node, name, len, &found,
			       ent && op->want ? &object.node : NULL);
	if (op->name >= NAME_EMPTY && op->name < NAME_TOO_LONG && err == -EINVAL)
		err = -ENOENT; /* it is no name at all */
	if (after(w, &e, err, false)) {
		if (found.inum != ent->inode->inum || found.type != ent->inode->type)
			fail(w, "it found inode %llu of type %u, expected inode %llu of type %u",
			     ULL(found.inum), found.type, ULL(ent->inode->inum), ent->inode->type);
		if (object.node) {
			object.inode = ent->inode;
			object.temporary = true;
			give_back(w, &object, r, op->hold);
		}
	}
	give_back(w, &dir, r, false);
}

static void do_readdir(struct worker *w, const struct op *op, struct random *r)
{
	struct model_errors e = {0};
	struct hand dir;
	void *scan = NULL;
	int err;

	if (!take(w, op->object, r, &dir))
		return;
	if (dir.inode->type == H2_OBJECT_DIRECTORY) {
		verify_directory(w, dir.inode, dir.node, true, r);
		w->done[op->kind]++;
	} else {
		e.errs[e.count++] = ENOTDIR;
		err = w->run->ops->scan_new(w->run->backend, dir.node, 0, &scan);
		(void)after(w, &e, err, false);
	}
	give_back(w, &dir, r, op->hold);
}

static void do_readlink(struct worker *w, const struct op *op, struct random *r)
{
	const struct run *run = w->run;
	struct model_errors e = {0};
	struct hand object;

	if (!take(w, op->object, r, &object))
		return;
	if (object.inode->type == H2_OBJECT_SYMLINK) {
		verify_symlink(w, object.inode, object.node);
		w->done[op->kind]++;
	} else {
		e.errs[e.count++] = EINVAL;
		(void)after(w, &e,
			    run->ops->readlink(run->backend, object.node, (char *)w->buf,
					       TARGET_MAX + 1),
			    false);
	}
	give_back(w, &object, r, op->hold);
}

static void do_stat(struct worker *w, const struct op *op, struct random *r, bool hold)
{
	struct hand object;

	if (!take(w, op->object, r, &object))
		return;
	verify_attr(w, object.inode, object.node);
	w->done[op->kind]++;
	give_back(w, &object, r, hold);
}

static void do_release(struct worker *w, const struct op *op)
{
	struct model_inode *inode = model_find(w->model, op->object);

	if (!inode || !inode->ref || inode->pins || inode == w->model->root)
		return;
	let_go(w, inode);
	w->done[op->kind]++;
}

/* ---- scans beside other operations ---- */

static uint64_t hash_of(const char *name, size_t len)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < len; i++)
		h = (h ^ (uint8_t)name[i]) * UINT64_C(0x100000001b3);
	return h ? h : 1;
}

static bool names_have(const struct names *n, uint64_t hash)
{
	for (uint32_t at = (uint32_t)hash; n->room > 0; at++) {
		uint64_t found = n->hashes[at & (n->room - 1)];

		if (found == 0 || found == hash)
			return found == hash;
	}
	return false;
}

static void names_add(struct names *n, uint64_t hash)
{
	uint32_t at = (uint32_t)hash;

	if (names_have(n, hash))
		return;
	if (2 * n->count >= n->room) {
		struct names bigger = {.room = n->room ? 2 * n->room : 64};

		bigger.hashes = calloc(bigger.room, sizeof(uint64_t));
		if (!bigger.hashes)
			abort();
		for (uint32_t i = 0; i < n->room; i++) {
			if (n->hashes[i])
				names_add(&bigger, n->hashes[i]);
		}
		free(n->hashes);
		*n = bigger;
	}
	while (n->hashes[at & (n->room - 1)])
		at++;
	n->hashes[at & (n->room - 1)] = hash;
	n->count++;
}

static void names_clear(struct names *n)
{
	free(n->hashes);
	*n = (struct names){0};
}

static void on_added(struct model_watch *watch, const struct model_entry *ent)
{
	struct scan *s = (struct scan *)watch;

	names_add(&s->added, hash_of(ent->name, ent->name_len));
}

static void scan_begin(struct worker *w, struct scan *s, const struct op *op, struct random *r)
{
	const struct run *run = w->run;
	struct hand dir;
	int err;

	if (!take(w, op->object, r, &dir))
		return;
	if (dir.inode->type != H2_OBJECT_DIRECTORY) {
		give_back(w, &dir, r, false);
		return;
	}
	err = run->ops->scan_new(run->backend, dir.node, 0, &s->scan);
	if (err)
		fail(w, "the scan cannot begin: %s", strerror(-err));
	if (dir.temporary)
		keep(w, dir.inode, dir.node);
	dir.inode->pins++;
	s->dir = dir.inode;
	s->begun = op->number;
	for (uint32_t i = 0; i < dir.inode->entry_count; i++)
		names_add(&s->there,
			  hash_of(dir.inode->entries[i]->name, dir.inode->entries[i]->name_len));
	s->watch.dir = dir.inode;
	s->watch.added = on_added;
	s->watch.next = w->model->watches;
	w->model->watches = &s->watch;
}

static void scan_end(struct worker *w, struct scan *s)
{
	struct model_watch **link = &w->model->watches;

	while (*link != &s->watch)
		link = &(*link)->next;
	*link = s->watch.next;
	w->run->ops->scan_free(w->run->backend, s->scan);
	s->dir->pins--;
	s->dir = NULL;
	names_clear(&s->there);
	names_clear(&s->added);
	names_clear(&s->seen);
}

void end_scans(struct worker *w)
{
	for (unsigned i = 0; i < SCANS_MAX; i++) {
		if (w->scans[i].dir)
			scan_end(w, &w->scans[i]);
	}
}

/* All names that were there the whole time must have come. */
static void scan_finish(struct worker *w, struct scan *s)
{
	for (uint32_t i = 0; i < s->dir->entry_count; i++) {
		const struct model_entry *ent = s->dir->entries[i];

		if (ent->born < s->begun &&
		    !names_have(&s->seen, hash_of(ent->name, ent->name_len)))
			fail(w,
			     "directory #%llu (inode %llu): \"%.*s\" was there during the whole "
			     "scan "
			     "but did not come",
			     ULL(s->dir->id), ULL(s->dir->inum), ent->name_len, ent->name);
	}
	scan_end(w, s);
}

static void scan_step(struct worker *w, struct scan *s, struct random *r)
{
	const struct run *run = w->run;
	struct backend_entry ent;

	for (uint64_t left = 1 + random_skewed(r, 500); left > 0; left--) {
		int err = run->ops->scan_next(run->backend, s->scan, &ent);
		uint64_t hash;

		if (err < 0)
			fail(w, "directory #%llu (inode %llu): the scan: %s", ULL(s->dir->id),
			     ULL(s->dir->inum), strerror(-err));
		if (err == 1) {
			scan_finish(w, s);
			return;
		}
		hash = hash_of(ent.name, ent.name_len);
		if (!names_have(&s->there, hash) && !names_have(&s->added, hash))
			fail(w,
			     "directory #%llu (inode %llu): \"%.*s\" comes in the scan, but never "
			     "was there",
			     ULL(s->dir->id), ULL(s->dir->inum), ent.name_len, ent.name);
		if (names_have(&s->seen, hash) && !names_have(&s->added, hash))
			fail(w, "directory #%llu (inode %llu): \"%.*s\" comes twice in the scan",
			     ULL(s->dir->id), ULL(s->dir->inum), ent.name_len, ent.name);
		names_add(&s->seen, hash);
	}
}

static void do_scan(struct worker *w, const struct op *op, struct random *r)
{
	struct scan *s = &w->scans[random_below(r, SCANS_MAX)];

	if (s->dir)
		scan_step(w, s, r);
	else
		scan_begin(w, s, op, r);
	w->done[op->kind]++;
}

/* ---- the whole filesystem ---- */

/* A failure that concerns all: told by the first worker. */
static void must(struct run *run, int err, const char *what)
{
	if (err)
		fail(&run->workers[0], "%s: %s", what,
		     err == -EBADMSG ? "the check found something" : strerror(-err));
}

static void same_count(struct run *run, const char *what, uint64_t found, uint64_t expected)
{
	if (found != expected)
		fail(&run->workers[0], "the filesystem has %llu %s, expected %llu", ULL(found),
		     what, ULL(expected));
}

/* Add the numbers of inodes in the models sign times. */
static void add_counts(const struct run *run, struct backend_counts *counts, uint64_t sign)
{
	for (unsigned i = 0; i < run->worker_count; i++) {
		const uint64_t *n = run->workers[i].model->type_counts;

		counts->directories += sign * n[H2_OBJECT_DIRECTORY];
		counts->files += sign * n[H2_OBJECT_FILE];
		counts->symlinks += sign * n[H2_OBJECT_SYMLINK];
		counts->others += sign * (n[H2_OBJECT_FIFO] + n[H2_OBJECT_CHAR_DEVICE] +
					  n[H2_OBJECT_BLOCK_DEVICE] + n[H2_OBJECT_SOCKET]);
	}
}

/* What was there at the beginning is in the models as well: it must not count twice. */
static void leave_out_learned(struct run *run)
{
	add_counts(run, &run->base, UINT64_MAX); /* -1 */
}

/* The check, and the numbers of inodes that it counted. */
void run_check(struct run *run)
{
	struct backend_counts counts = {0}, expected = run->base;

	must(run, run->ops->check(run->backend, &counts), "check");
	run->checks++;
	if (!(run->ops->can & CAN_COUNT) || !run->base.exact)
		return;
	add_counts(run, &expected, 1);
	same_count(run, "directories", counts.directories, expected.directories);
	same_count(run, "files", counts.files, expected.files);
	same_count(run, "symlinks", counts.symlinks, expected.symlinks);
	same_count(run, "other objects", counts.others, expected.others);
}

/* Get the root of each worker's subtree: the root of all, or a directory in it. */
static void get_roots(struct run *run, bool make)
{
	void *root;

	must(run, run->ops->root(run->backend, &root), "the root");
	for (unsigned i = 0; i < run->worker_count; i++) {
		struct worker *w = &run->workers[i];
		struct model_new new_ = {.type = H2_OBJECT_DIRECTORY,
					 .mode = 0755,
					 .comp_algo = -1,
					 .check_algo = -1};
		struct backend_entry ent;
		char name[32];
		int n = snprintf(name, sizeof(name), "thread-%u", i);
		int err = 0;

		if (run->worker_count == 1) {
			w->model->root->ref = root;
			continue;
		}
		if (make)
			err = run->ops->create(run->backend, root, name, (size_t)n, &new_,
					       &w->model->root->ref);
		else
			err = run->ops->lookup(run->backend, root, name, (size_t)n, &ent,
					       &w->model->root->ref);
		must(run, err, "the directory of a thread");
	}
	if (run->worker_count > 1)
		run->ops->put(run->backend, root);
}

static void put_roots(struct run *run)
{
	for (unsigned i = 0; i < run->worker_count; i++) {
		struct model_inode *root = run->workers[i].model->root;

		run->ops->put(run->backend, root->ref);
		root->ref = NULL;
	}
}

/* Make an empty filesystem and open it, with models that are empty too. */
static void make_filesystem(struct run *run)
{
	must(run, run->ops->format(run->backend, run->options->seed + run->formats), "format");
	run->formats++;
	run->out_of_room = false;
	must(run, run->ops->check(run->backend, &run->base), "check of an empty filesystem");
	if (run->worker_count > 1)
		run->base.directories += run->worker_count;
	must(run, run->ops->open(run->backend), "open");
	for (unsigned i = 0; i < run->worker_count; i++) {
		struct worker *w = &run->workers[i];

		model_free(w->model);
		w->model = model_new();
		w->inum_last = 0;
		w->full = 0;
		w->ended_count = 0;
	}
	get_roots(run, true);
	for (unsigned i = 0; i < run->worker_count; i++)
		learn_tree(&run->workers[i]);
	if (run->ops->can & CAN_COUNT)
		leave_out_learned(run);
}

static void close_all(struct run *run)
{
	for (unsigned i = 0; i < run->worker_count; i++)
		drop_held(&run->workers[i]);
	put_roots(run);
	must(run, run->ops->close(run->backend), "close");
}

void run_remount(struct run *run)
{
	close_all(run);
	run_check(run);
	must(run, run->ops->open(run->backend), "open");
	get_roots(run, false);
	for (unsigned i = 0; i < run->worker_count; i++)
		check_ended(&run->workers[i]);
	for (unsigned i = 0; i < run->worker_count; i++)
		verify_all(&run->workers[i], run->options->seed + run->checks);
}

void run_reset(struct run *run)
{
	run_remount(run);
	close_all(run);
	make_filesystem(run);
	if (run->recording)
		run->recording->count = 0;
}

/* References to the filesystem that are put aside while another one is looked at. */
struct aside {
	struct model_inode *inode;
	void *ref;
};

static struct aside *put_aside(struct run *run, size_t *countp)
{
	size_t count = 0;
	struct aside *all;

	for (unsigned i = 0; i < run->worker_count; i++)
		count += run->workers[i].model->counts[MODEL_HELD];
	all = calloc(count + 1, sizeof(*all));
	if (!all)
		abort();
	*countp = 0;
	for (unsigned i = 0; i < run->worker_count; i++) {
		const struct model *m = run->workers[i].model;

		for (uint32_t j = 0; j < m->counts[MODEL_HELD]; j++) {
			struct model_inode *inode = m->lists[MODEL_HELD][j];

			all[(*countp)++] = (struct aside){inode, inode->ref};
			inode->ref = NULL;
		}
	}
	return all;
}

/* Sync; then see whether all of it would be there after a power failure. */
static void run_snapshot(struct run *run)
{
	struct backend *backend = run->backend;
	struct aside *all;
	size_t count;
	int err;

	must(run, run->ops->sync(backend), "sync");
	err = run->ops->crash_copy(backend, 0, &run->backend);
	if (err == -EOPNOTSUPP)
		return;
	must(run, err, "a copy of the disks");
	run_check(run);
	all = put_aside(run, &count);
	must(run, run->ops->open(run->backend), "open after a power failure");
	get_roots(run, false);
	for (unsigned i = 0; i < run->worker_count; i++)
		verify_all(&run->workers[i], run->options->seed + run->checks);
	put_roots(run);
	must(run, run->ops->close(run->backend), "close");
	run_check(run);
	run->ops->free(run->backend);
	run->backend = backend;
	for (size_t i = 0; i < count; i++)
		all[i].inode->ref = all[i].ref;
	free(all);
}

/*
 * A power failure in the middle of things: some state since the last sync must be left, whole. Not
 * where a commit may be going on by itself: a small volume has one header only, which may be torn.
 */
static void run_crash(struct run *run, uint64_t seed)
{
	struct backend *backend = run->backend;
	struct backend_counts counts;
	int err;

	if (run->options->backend.commit)
		return;
	err = run->ops->crash_copy(backend, seed | 1, &run->backend);
	if (err == -EOPNOTSUPP)
		return;
	must(run, err, "a copy of the disks");
	must(run, run->ops->check(run->backend, &counts), "check after a power failure");
	must(run, run->ops->open(run->backend), "open after a power failure");
	must(run, run->ops->close(run->backend), "close after a power failure");
	must(run, run->ops->check(run->backend, &counts), "check after recovery");
	run->ops->free(run->backend);
	run->backend = backend;
}

/* ---- one operation, and all of them ---- */

void execute(struct worker *w, const struct op *op)
{
	struct run *run = w->run;
	struct random r = {op->seed};
	int err;

	current_worker = w;
	w->op = op;
	op_describe(op, w->text, sizeof(w->text));
	if (run->options->verbose)
		fprintf(stderr, "%s%llu: %s\n", run->worker_count > 1 ? "thread operation " : "",
			ULL(op->number), w->text);
	w->model->number = op->number;
	w->model->tag = op->kind == OP_RENAME ? op->name2 : op->name;
	switch ((enum op_kind)op->kind) {
	case OP_CREATE:
		do_create(w, op, &r);
		break;
	case OP_CREATE_UNNAMED:
		do_create_unnamed(w, op, &r);
		break;
	case OP_LINK:
		do_link(w, op, &r);
		break;
	case OP_UNLINK:
	case OP_RMDIR:
		do_remove(w, op, &r);
		break;
	case OP_RENAME:
		do_rename(w, op, &r);
		break;
	case OP_SET:
		do_set(w, op, &r);
		break;
	case OP_WRITE:
		do_write(w, op, &r);
		break;
	case OP_ALLOCATE:
		do_allocate(w, op, &r);
		break;
	case OP_COPY:
		do_copy(w, op, &r);
		break;
	case OP_READ:
		do_read(w, op, &r);
		break;
	case OP_SEEK:
		do_seek(w, op, &r);
		break;
	case OP_LOOKUP:
		do_lookup(w, op, &r);
		break;
	case OP_READDIR:
		do_readdir(w, op, &r);
		break;
	case OP_SCAN:
		do_scan(w, op, &r);
		break;
	case OP_READLINK:
		do_readlink(w, op, &r);
		break;
	case OP_STAT:
		do_stat(w, op, &r, op->hold);
		break;
	case OP_HOLD:
		do_stat(w, op, &r, true);
		break;
	case OP_RELEASE:
		do_release(w, op);
		break;
	case OP_SYNC:
		err = run->ops->sync(run->backend);
		if (err)
			fail(w, "it gave %s", strerror(-err));
		w->done[op->kind]++;
		break;
	case OP_SNAPSHOT:
		run_snapshot(run);
		w->done[op->kind]++;
		break;
	case OP_CRASH:
		run_crash(run, op->seed);
		w->done[op->kind]++;
		break;
	case OP_VERIFY:
		verify_all(w, op->seed);
		w->done[op->kind]++;
		break;
	case OP_REMOUNT:
		run_remount(run);
		w->done[op->kind]++;
		break;
	case OP_KINDS:
		break;
	}
}

int run_init(struct run *run, const struct run_options *options, const struct backend_ops *ops)
{
	int err;

	*run = (struct run){
		.options = options,
		.ops = ops,
		.worker_count = options->threads,
	};
	err = ops->new (&options->backend, &run->backend);
	if (err)
		return err;
	for (unsigned i = 0; i < run->worker_count; i++) {
		struct worker *w = &run->workers[i];

		w->run = run;
		w->index = i;
		w->buf = malloc(WORK_BUFFER);
		w->buf2 = malloc(WORK_BUFFER);
		if (!w->buf || !w->buf2)
			return -ENOMEM;
		generator_init(&w->generator, options->seed * THREADS_MAX + i, ops->can,
			       run->worker_count == 1);
		/* In the worst case a chunk of content fills a block of 64 KiB. */
		w->generator.chunks_max = options->backend.size / H2_LOGICAL_BLOCK /
					  (options->full ? 1 : 4) / run->worker_count;
		w->generator.inodes_max /= run->worker_count;
	}
	make_filesystem(run);
	return 0;
}

void run_fini(struct run *run)
{
	close_all(run);
	crash_run = NULL;
	for (unsigned i = 0; i < run->worker_count; i++) {
		struct worker *w = &run->workers[i];

		model_free(w->model);
		free(w->buf);
		free(w->buf2);
	}
	run->ops->free(run->backend);
}

void run_replay(struct run *run, const struct op *ops, uint64_t count, const bool *skip)
{
	run->replayed = true;
	for (uint64_t i = 0; i < count; i++) {
		if (!skip || !skip[i])
			execute(&run->workers[0], &ops[i]);
	}
}

static double seconds_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* An image that is given may be as full as it likes. */
static bool wants_reset(const struct run *run)
{
	return !run->options->full && !run->options->backend.from &&
	       run->ops->room(run->backend) < ROOM_LEAST;
}

static void run_alone(struct run *run, double stop)
{
	struct worker *w = &run->workers[0];
	uint64_t max = run->options->ops ? run->options->ops : UINT64_MAX;
	struct op op;

	while (w->generator.number < max) {
		generate(&w->generator, w->model, &op);
		if (run->recording && run->recording->count < RECORDING_MAX)
			run->recording->ops[run->recording->count++] = op;
		execute(w, &op);
		if (op.number % 64 != 0)
			continue;
		if (stop > 0 && seconds_now() > stop)
			break;
		if (wants_reset(run))
			run->out_of_room = true;
		if (run->out_of_room)
			run_reset(run);
	}
	if (w->op == &op)
		w->op = NULL;
}

struct round {
	struct worker *worker;
	uint64_t count;
	pthread_t thread;
};

static void *run_round(void *arg)
{
	struct round *round = arg;
	struct worker *w = round->worker;
	struct op op;

	for (uint64_t i = 0; i < round->count; i++) {
		generate(&w->generator, w->model, &op);
		execute(w, &op);
	}
	w->op = NULL;
	return NULL;
}

static void run_threads(struct run *run, double stop)
{
	struct random r = {run->options->seed};
	uint64_t left = run->options->ops ? run->options->ops / run->worker_count : UINT64_MAX;
	struct round rounds[THREADS_MAX];

	while (left > 0 && (stop == 0 || seconds_now() < stop)) {
		uint64_t count = 100 + random_skewed(&r, 4000);

		if (count > left)
			count = left;
		left -= count;
		for (unsigned i = 0; i < run->worker_count; i++) {
			rounds[i] = (struct round){&run->workers[i], count, 0};
			must(run, -pthread_create(&rounds[i].thread, NULL, run_round, &rounds[i]),
			     "a thread");
		}
		for (unsigned i = 0; i < run->worker_count; i++)
			pthread_join(rounds[i].thread, NULL);
		run->rounds++;
		if (random_one_in(&r, 3))
			run_snapshot(run);
		else
			run_remount(run);
		if (run->out_of_room || wants_reset(run))
			run_reset(run);
	}
}

void run_random(struct run *run)
{
	double stop = run->options->seconds ? seconds_now() + (double)run->options->seconds : 0;

	if (run->worker_count == 1)
		run_alone(run, stop);
	else
		run_threads(run, stop);
	run_remount(run);
}
