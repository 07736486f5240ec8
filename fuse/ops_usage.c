/* The request HAMMER2IOC_USAGE: a measurement of who uses how much storage, kept as a result. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include <hammer2/usage.h>

#include "ops_impl.h"
#include "results.h"

static_assert(sizeof(struct hammer2_usage) == 128, "the same on all systems");
static_assert(sizeof(struct hammer2_usage_pfs) == 320, "the same on all systems");

static int add_pfs(struct result *result, const struct h2_pfs_space *pfs)
{
	struct hammer2_usage_pfs p = {
		.key = pfs->key,
		.referenced_bytes = pfs->referenced_bytes,
		.exclusive_bytes = pfs->exclusive_bytes,
		.inodes = pfs->inodes,
		.pfs_type = pfs->pfs_type,
		.pfs_subtype = pfs->pfs_subtype,
	};

	memcpy(p.label, pfs->label, sizeof(p.label));
	return result_add(result, &p, sizeof(p));
}

static int encode(struct result *result, const struct h2_usage *usage)
{
	const struct hammer2_usage u = {
		.used_bytes = usage->used_bytes,
		.shared_bytes = usage->shared_bytes,
		.overhead_bytes = usage->overhead_bytes,
		.data_logical_bytes = usage->data_logical_bytes,
		.data_referenced_bytes = usage->data_referenced_bytes,
		.data_distinct_bytes = usage->data_distinct_bytes,
		.pfs_count = usage->pfs_count,
	};
	int err = result_add(result, &u, sizeof(u));

	for (size_t i = 0; i < usage->pfs_count && !err; i++)
		err = add_pfs(result, &usage->pfss[i]);
	return err;
}

int ops_usage(fuse_req_t req, struct hammer2_ioc_usage *answer)
{
	const struct h2_pass_options options = {.progress = ops_goes_on, .user = req};
	struct result result = {0};
	struct h2_usage *usage;
	int err = h2_usage_measure(h2_pfs_fs(view_pfs(view_of(req))), &options, &usage);

	if (err)
		return err;
	err = encode(&result, usage);
	h2_usage_free(usage);
	if (!err && fuse_req_interrupted(req))
		err = -EINTR; /* nobody would read it */
	if (err) {
		result_fini(&result);
		return err;
	}
	answer->result = results_keep(&result, fuse_req_ctx(req)->uid);
	return answer->result ? 0 : -EIO;
}
