/*
 * Running a check: its phases in order, and how findings reach the user.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_impl.h"

#define PATHS_MAX 200u /* findings for which a path is looked up; that may scan directories */
#define PROGRESS_STEP (UINT64_C(1) << 20)
#define PROGRESS_CALLS 256u /* progress is told after so many steps, however few bytes they read */
#define CACHE_BYTES ((size_t)32 << 20)

static void count(struct h2_check *c, enum h2_severity severity)
{
	atomic_fetch_add(severity == H2_FAULT     ? &c->faults
			 : severity == H2_WARNING ? &c->warnings
						  : &c->notes,
			 1);
}

bool h2_check_may_look_up(struct h2_check *c)
{
	bool allowed;

	if (!c->path_fs || h2_check_stopped(c))
		return false;
	h2_mutex_lock(&c->lock);
	allowed = c->paths_looked_up++ < PATHS_MAX;
	h2_mutex_unlock(&c->lock);
	return allowed;
}

/* Find the path of an inode, for as many findings as that may cost. */
static bool look_up_path(struct h2_check *c, const struct h2_where *where, char *path, size_t size)
{
	struct h2_pfs *pfs;
	bool found;

	if (c->older_copy || !where || !where->pfs || !where->has_inum ||
	    !h2_check_may_look_up(c) || h2_pfs_open(c->path_fs, where->pfs, &pfs) != 0)
		return false;
	found = h2_inode_path(pfs, where->inum, path, size) == 0;
	h2_pfs_put(pfs);
	return found;
}

/* Everything that is found passes here: counted, completed with its path, passed on. */
static void deliver(struct h2_check *c, struct h2_report *r, const struct h2_where *where)
{
	char path[4096], message[512];

	/*
	 * An older header copy is a fallback: its faults do not concern the filesystem of today, but
	 * for how that was written.
	 */
	if (c->older_copy) {
		if (r->severity == H2_FAULT &&
		    strcmp(r->code, h2_finding_row(FIND_FREEMAP_ROTATION)->code) != 0)
			r->severity = H2_WARNING;
		snprintf(message, sizeof(message), "older header copy %u: %s", c->older_copy,
			 r->message);
		r->message = message;
	}
	count(c, r->severity);
	if (!c->options.report)
		return;
	r->advice = h2_finding_advice(r->code);
	if (!r->path && look_up_path(c, where, path, sizeof(path)))
		r->path = path;
	h2_mutex_lock(&c->lock);
	c->options.report(c->options.report_user, r);
	h2_mutex_unlock(&c->lock);
}

/* What is about the part of storage that the pass maps, or known in the last pass only. */
static bool of_each_pass(enum h2_finding finding)
{
	switch (finding) {
	case FIND_BLOCK_OVERLAP:
	case FIND_SNAPSHOT_TID:
	case FIND_FREEMAP_STATE:
	case FIND_FREEMAP_LAG:
	case FIND_FREEMAP_NO_LEAF:
	case FIND_FREEMAP_LINEAR:
	case FIND_FREEMAP_RESERVED:
	case FIND_FREEMAP_FREE_SUM:
		return true;
	default:
		return false;
	}
}

void h2_check_find(struct h2_check *c, enum h2_finding finding, const struct h2_about *about)
{
	const struct h2_finding_row *row = h2_finding_row(finding);
	const struct h2_blockref *ref = about->ref;
	struct h2_report r = {
		.severity = row->severity,
		.code = row->code,
		.path = about->path,
		.object = about->object,
		.member = about->member,
		.message = row->text,
		.found = about->found,
		.expected = about->expected,
	};
	char message[512];

	if (c->repeated && !of_each_pass(finding))
		return;
	if (about->detail) {
		snprintf(message, sizeof(message), "%s (%s)", row->text, about->detail);
		r.message = message;
	}
	if (about->where) {
		r.pfs = about->where->pfs;
		r.inum = about->where->inum;
		r.flags |= about->where->has_inum ? H2_REPORT_HAS_INUM : 0;
	}
	if (ref) {
		if (!r.object)
			r.object = ref->type <= H2_BLOCKREF_FREEMAP_LEAF
					   ? h2_blockref_type_name(ref->type)
					   : "blockref";
		r.key = ref->key;
		r.media = h2_blockref_offset(ref);
		r.flags |= H2_REPORT_HAS_KEY | H2_REPORT_HAS_MEDIA;
	}
	if (about->has_values)
		r.flags |= H2_REPORT_HAS_VALUES;
	deliver(c, &r, about->where);
}

void h2_check_block_report(void *user, const struct h2_report *report)
{
	struct h2_check *c = user;
	struct h2_report r = *report;
	struct h2_where where = {
		.pfs = r.pfs,
		.inum = r.inum,
		.has_inum = r.flags & H2_REPORT_HAS_INUM,
	};

	if (!c->repeated)
		deliver(c, &r, &where);
}

void h2_check_fail(struct h2_check *c, int error)
{
	int none = 0;

	atomic_compare_exchange_strong(&c->error, &none, error);
}

void h2_check_advance(struct h2_check *c, uint64_t bytes)
{
	uint64_t done = atomic_fetch_add(&c->done_bytes, bytes) + bytes;
	const struct h2_volume_header *h = c->header;
	struct h2_check_progress progress;

	atomic_fetch_add(&c->read_bytes, bytes);
	if (!c->options.progress)
		return;
	h2_mutex_lock(&c->lock);
	if (done >= c->progress_next || ++c->progress_calls >= PROGRESS_CALLS) {
		c->progress_next = done + PROGRESS_STEP;
		c->progress_calls = 0;
		progress = (struct h2_check_progress){
			.phase = c->phase,
			.done_bytes = done,
			.total_bytes = h->allocator_size > h->allocator_free
					       ? h->allocator_size - h->allocator_free
					       : 0,
			.faults = atomic_load(&c->faults),
		};
		if (c->options.progress(c->options.progress_user, &progress) != 0)
			atomic_store(&c->stop, true);
	}
	h2_mutex_unlock(&c->lock);
}

void h2_check_begin_phase(struct h2_check *c, const char *phase)
{
	c->phase = phase;
	atomic_store(&c->done_bytes, 0);
	c->progress_next = 0;
}

/* ---- PFSs ---- */

static int add_pfs(struct h2_check *c, const struct h2_pfs_info *info)
{
	struct h2_check_pfs *list = c->pfs;

	if ((c->pfs_count & (c->pfs_count - 1)) == 0) { /* full: 0, 1, 2, 4, ... */
		size_t room = c->pfs_count ? c->pfs_count * 2 : 1;

		list = realloc(c->pfs, room * sizeof(*list));
		if (!list)
			return -ENOMEM;
		c->pfs = list;
	}
	list += c->pfs_count++;
	memcpy(list->label, info->label, sizeof(list->label));
	list->label_len = info->meta.name_len;
	list->inum_counter = info->meta.pfs_inum;
	list->lsnap_tid = info->meta.pfs_lsnap_tid;
	list->clid = info->meta.pfs_clid;
	list->fsid = info->meta.pfs_fsid;
	list->key = info->key;
	return 0;
}

static int by_label(const void *a, const void *b)
{
	const struct h2_check_pfs *x = *(struct h2_check_pfs *const *)a;
	const struct h2_check_pfs *y = *(struct h2_check_pfs *const *)b;

	if (x->label_len != y->label_len)
		return x->label_len < y->label_len ? -1 : 1;
	return memcmp(x->label, y->label, x->label_len);
}

static int by_clid(const void *a, const void *b)
{
	return memcmp(&(*(struct h2_check_pfs *const *)a)->clid,
		      &(*(struct h2_check_pfs *const *)b)->clid, sizeof(struct h2_uuid));
}

static int by_fsid(const void *a, const void *b)
{
	return memcmp(&(*(struct h2_check_pfs *const *)a)->fsid,
		      &(*(struct h2_check_pfs *const *)b)->fsid, sizeof(struct h2_uuid));
}

/* Sort by each thing that must be unique and look for equal neighbours (point 4). */
static int compare_pfss(struct h2_check *c)
{
	static const struct {
		int (*compare)(const void *, const void *);
		enum h2_finding finding;
	} rules[] = {
		{by_label, FIND_PFS_LABEL_TWICE},
		{by_clid, FIND_PFS_CLID_TWICE},
		{by_fsid, FIND_PFS_FSID_TWICE},
	};
	struct h2_check_pfs **sorted = calloc(c->pfs_count + 1, sizeof(*sorted));

	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < c->pfs_count; i++)
		sorted[i] = &c->pfs[i];
	for (size_t r = 0; r < sizeof(rules) / sizeof(rules[0]); r++) {
		qsort(sorted, c->pfs_count, sizeof(*sorted), rules[r].compare);
		for (size_t i = 1; i < c->pfs_count && !h2_check_stopped(c); i++) {
			struct h2_where where = {
				.pfs = sorted[i]->label,
				.inum = H2_INUM_ROOT,
				.has_inum = true,
			};

			if (rules[r].compare(&sorted[i - 1], &sorted[i]) == 0)
				h2_check_find(c, rules[r].finding,
					      &(struct h2_about){
						      .where = &where,
						      .object = "PFS",
						      .path = "/",
					      });
		}
	}
	free(sorted);
	return 0;
}

/*
 * List the PFSs and compare them with each other (point 4). What is wrong with those that cannot be
 * listed is the topology's to report.
 */
static int list_pfs(struct h2_check *c, struct h2_fs *fs, bool *complete)
{
	struct h2_pfs_info info;
	uint64_t key = 0;
	int err;

	free(c->pfs);
	c->pfs = NULL;
	c->pfs_count = 0;
	while (!h2_check_stopped(c) && (err = h2_pfs_next(fs, key, &info)) != 1) {
		h2_check_advance(c, 0);
		if (err == -ENOMEM)
			return err;
		if (!err)
			err = add_pfs(c, &info);
		if (err == -ENOMEM)
			return err;
		*complete = *complete && !err;
		key = info.key + 1;
		if (key == 0)
			break;
	}
	return compare_pfss(c);
}

/* ---- the trees of one header ---- */

/* The header whose trees are checked from now on; slot: its copy's. */
static void use_header(struct h2_check *c, const struct h2_volume_header *header, unsigned slot)
{
	const struct h2_check_copy *copy = &c->copies[slot];

	c->header = header;
	if (copy->good) {
		memcpy(c->sroot_set, copy->sroot_set, sizeof(c->sroot_set));
		memcpy(c->freemap_set, copy->freemap_set, sizeof(c->freemap_set));
		return;
	}
	/* It could be read when the volumes were opened, but not a second time. */
	for (unsigned i = 0; i < H2_BLOCKSET_COUNT; i++) {
		h2_blockref_encode(&header->sroot_blockset[i], &c->sroot_set[i]);
		h2_blockref_encode(&header->freemap_blockset[i], &c->freemap_set[i]);
	}
}

/* Topology and freemap, as often as the map of reached storage needs. */
static int check_trees(struct h2_check *c)
{
	size_t map_bytes = c->options.memory_bytes / 5 * 3;
	uint64_t begin = 0, total = c->blocks.total_size;
	int err = 0;

	c->repeated = false;
	c->leafless_zone = UINT64_MAX;
	while (!err && begin < total && !h2_check_stopped(c)) {
		err = h2_reach_init(&c->reach, begin, total, map_bytes);
		if (err)
			return err;
		h2_check_begin_phase(c, c->older_copy ? "older header copies" : "topology");
		c->visited_max = c->options.memory_bytes / 5 / 32;
		err = h2_check_topology(c);
		if (!err && c->older_copy && !h2_check_stopped(c))
			err = h2_check_freemap_blocks(c);
		if (!err && !c->older_copy && !h2_check_stopped(c)) {
			h2_check_begin_phase(c, "freemap");
			err = h2_check_freemap(c);
		}
		begin = h2_reach_end(&c->reach);
		if (!c->older_copy)
			h2_reach_add_counts(&c->reach, c->counts);
		h2_reach_fini(&c->reach);
		if (c->older_copy)
			break; /* overlaps within an older copy are looked for in one part only */
		c->repeated = true;
	}
	c->repeated = false;
	return err;
}

static int open_fs(struct h2_check *c, h2_report_fn *report, struct h2_fs **fsp)
{
	struct h2_fs_options options = {
		.cache_bytes = CACHE_BYTES / 2,
		.report = report,
		.report_user = c,
	};

	return h2_fs_open(c->volumes, &options, fsp);
}

static int check_current(struct h2_check *c)
{
	struct h2_volume_info info;
	struct h2_fs *fs = NULL;
	bool complete = false;
	int err = open_fs(c, NULL, &fs);

	h2_volumes_info(c->volumes, 0, &info);
	use_header(c, h2_volumes_header(c->volumes), info.header_slot);

	if (err == -ENOMEM)
		return err;
	if (!err) {
		c->path_fs = fs;
		complete = true;
		err = list_pfs(c, fs, &complete);
	}
	/* Without a super-root there are no PFSs, but the topology phase tells why. */
	if (!err || !fs)
		err = check_trees(c);
	c->summary->pfs_count = c->pfs_count;
	if (!err && fs && !h2_check_stopped(c)) {
		h2_check_begin_phase(c, "names");
		err = h2_check_names(c, fs);
	}
	if (!err && !complete && !h2_check_stopped(c))
		h2_check_find(c, FIND_NAMES_UNCHECKED,
			      &(struct h2_about){
				      .object = "super-root",
				      .detail = "a PFS could not be listed",
			      });
	c->path_fs = NULL;
	h2_fs_close(fs);
	return err;
}

/* The trees that a mount would show if the newer header copies were lost. */
static int check_older(struct h2_check *c)
{
	struct h2_volume_info info;
	const struct h2_volume_header *current = h2_volumes_header(c->volumes);
	int err = 0;

	h2_volumes_info(c->volumes, 0, &info);
	for (unsigned slot = 0; slot < H2_HEADER_COPIES_MAX && !err && !h2_check_stopped(c);
	     slot++) {
		if (slot == info.header_slot || !c->copies[slot].good)
			continue;
		if (c->copies[slot].header.mirror_tid >= current->mirror_tid)
			continue; /* a copy of the same state, as newfs leaves them */
		use_header(c, &c->copies[slot].header, slot);
		c->older_copy = slot + 1;
		free(c->pfs);
		c->pfs = NULL;
		c->pfs_count = 0;
		err = check_trees(c);
	}
	c->older_copy = 0;
	use_header(c, current, info.header_slot);
	return err;
}

static void sum_up(struct h2_check *c)
{
	struct h2_check_summary *s = c->summary;

	s->faults = atomic_load(&c->faults);
	s->warnings = atomic_load(&c->warnings);
	s->notes = atomic_load(&c->notes);
	s->inodes = c->counts[COUNT_INODES];
	s->directories = c->counts[COUNT_DIRECTORIES];
	s->files = c->counts[COUNT_FILES];
	s->symlinks = c->counts[COUNT_SYMLINKS];
	s->others = c->counts[COUNT_OTHERS];
	s->indirect_blocks = c->counts[COUNT_INDIRECT];
	s->data_blocks = c->counts[COUNT_DATA];
	s->name_blocks = c->counts[COUNT_NAMES];
	s->read_bytes = atomic_load(&c->read_bytes);
}

int h2_check_run(struct h2_volumes *volumes, const struct h2_check_options *options,
		 struct h2_check_summary *summary)
{
	struct h2_check *c = calloc(1, sizeof(*c));
	int err;

	memset(summary, 0, sizeof(*summary));
	if (!c)
		return -ENOMEM;
	if (options)
		c->options = *options;
	if (c->options.memory_bytes == 0)
		c->options.memory_bytes = H2_CHECK_MEMORY_DEFAULT;
	c->volumes = volumes;
	c->summary = summary;
	c->header = h2_volumes_header(volumes);
	h2_mutex_init(&c->lock, H2_RANK_SCAN);
	err = h2_blocks_init(&c->blocks, volumes, CACHE_BYTES, h2_check_block_report, c);
	if (!err) {
		err = h2_check_headers(c);
		if (!err)
			err = check_current(c);
		if (!err && !c->options.best_header_only && !h2_check_stopped(c))
			err = check_older(c);
		h2_blocks_fini(&c->blocks);
	}
	sum_up(c);
	if (!err && atomic_load(&c->stop))
		err = -EINTR;
	free(c->pfs);
	free(c->freemap_refs);
	h2_mutex_fini(&c->lock);
	free(c);
	return err;
}
