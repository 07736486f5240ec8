/* Reading verified blocks; see blocks.h. */
#include "blocks.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

int h2_blocks_init(struct h2_blocks *blocks, struct h2_volumes *volumes, size_t cache_bytes,
		   h2_report_fn *report, void *report_user)
{
	*blocks = (struct h2_blocks){
		.volumes = volumes,
		.total_size = h2_volumes_total_size(volumes),
		.cache = h2_cache_new(cache_bytes),
		.report = report,
		.report_user = report_user,
	};
	return blocks->cache ? 0 : -ENOMEM;
}

void h2_blocks_fini(struct h2_blocks *blocks)
{
	h2_cache_free(blocks->cache);
}

static void report(const struct h2_blocks *blocks, const struct h2_where *where,
		   const struct h2_blockref *ref, struct h2_report *r)
{
	r->severity = H2_FAULT;
	r->pfs = where->pfs;
	r->object = ref->type <= H2_BLOCKREF_FREEMAP_LEAF ? h2_blockref_type_name(ref->type)
							  : "blockref";
	r->inum = where->inum;
	r->key = ref->key;
	r->media = h2_blockref_offset(ref);
	r->flags |= H2_REPORT_HAS_KEY | H2_REPORT_HAS_MEDIA;
	if (where->has_inum)
		r->flags |= H2_REPORT_HAS_INUM;
	blocks->report(blocks->report_user, r);
}

int h2_block_report(const struct h2_blocks *blocks, const struct h2_where *where,
		    const struct h2_blockref *ref, const char *code,
		    const struct h2_problem *problem)
{
	char message[256];

	if (blocks->report) {
		snprintf(message, sizeof(message), "%s is %#" PRIx64 "; expected %s",
			 problem->member, problem->found, problem->expected);
		report(blocks, where, ref,
		       &(struct h2_report){
			       .error = -H2_ECORRUPT,
			       .code = code,
			       .member = problem->member,
			       .message = message,
		       });
	}
	return -H2_ECORRUPT;
}

int h2_block_check_ref(const struct h2_blocks *blocks, const struct h2_where *where,
		       const struct h2_blockref *ref, enum h2_tree_kind kind)
{
	struct h2_problem problem;

	if (h2_blockref_verify(ref, kind, blocks->total_size, &problem))
		return 0;
	return h2_block_report(blocks, where, ref, "bad-blockref", &problem);
}

static int report_read_error(const struct h2_blocks *blocks, const struct h2_where *where,
			     const struct h2_blockref *ref, int err)
{
	char message[256];

	if (blocks->report) {
		snprintf(message, sizeof(message), "cannot read %zu bytes: %s", h2_block_size(ref),
			 strerror(-err));
		report(blocks, where, ref,
		       &(struct h2_report){
			       .error = err,
			       .code = "read-error",
			       .message = message,
		       });
	}
	return err;
}

static int report_mismatch(const struct h2_blocks *blocks, const struct h2_where *where,
			   const struct h2_blockref *ref, const void *buf)
{
	char message[256];

	if (blocks->report) {
		snprintf(message, sizeof(message), "the %zu bytes do not match their %s check code",
			 h2_block_size(ref), h2_check_algo_name(h2_blockref_check_algo(ref)));
		report(blocks, where, ref,
		       &(struct h2_report){
			       .error = -H2_ECHECK,
			       .code = "check-mismatch",
			       .member = "check",
			       .message = message,
			       .flags = H2_REPORT_HAS_VALUES,
			       .found = h2_check_computed(ref, buf, h2_block_size(ref)),
			       .expected = h2_check_stored(ref),
		       });
	}
	return -H2_ECHECK;
}

int h2_block_read(const struct h2_blocks *blocks, const struct h2_where *where,
		  const struct h2_blockref *ref, void *buf)
{
	size_t size = h2_block_size(ref);
	int err = h2_volumes_read(blocks->volumes, h2_blockref_offset(ref), buf, size);

	if (err)
		return report_read_error(blocks, where, ref, err == -ERANGE ? -EIO : err);
	switch (h2_check_verify(ref, buf, size)) {
	case H2_CHECK_MATCH:
	case H2_CHECK_ABSENT:
		return 0;
	case H2_CHECK_MISMATCH:
		return report_mismatch(blocks, where, ref, buf);
	case H2_CHECK_UNKNOWN:
		break;
	}
	return h2_block_report(blocks, where, ref, "bad-blockref",
			       &(struct h2_problem){
				       .member = "methods",
				       .expected = "a known check algorithm",
				       .found = ref->methods,
			       });
}

struct h2_cache_key h2_block_cache_key(const struct h2_blockref *ref, enum h2_cache_kind kind)
{
	unsigned algo = h2_blockref_check_algo(ref);
	struct h2_cache_key key = {.a = ref->data_off, .kind = (unsigned)kind << 8 | ref->methods};
	le64 word;

	/*
	 * 64 bits of the code tell blocks apart. The whole of a longer code needs no comparison: an
	 * object is entered under this key only after the bytes at this very address matched a code
	 * that begins with these bits.
	 */
	if (algo <= H2_CHECK_DISABLED) {
		/* Nothing but the time of writing tells what was written at an address. */
		key.b = ref->mirror_tid;
	} else {
		memcpy(word.b, ref->check, sizeof(word.b));
		key.b = le64_get(word);
		if (algo == H2_CHECK_ISCSI32 || algo == H2_CHECK_FREEMAP)
			key.b &= UINT32_MAX;
	}
	return key;
}
