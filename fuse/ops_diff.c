/* The request HAMMER2IOC_DIFF: what differs between two PFSs, as records. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include <hammer2/diff.h>
#include <hammer2/ioctl.h>

#include "ops_impl.h"
#include "results.h"

static_assert((int)H2_DIFF_REMOVED == HAMMER2_DIFF_REMOVED, "the numbers are the library's");
static_assert((int)H2_DIFF_RENAMED == HAMMER2_DIFF_RENAMED, "the numbers are the library's");
static_assert((int)H2_DIFF_ADDED == HAMMER2_DIFF_ADDED, "the numbers are the library's");
static_assert((int)H2_DIFF_CHANGED == HAMMER2_DIFF_CHANGED, "the numbers are the library's");
static_assert(sizeof(struct hammer2_ioc_diff_record) == 24, "without holes");

#define ALIGN 8u

static int add_entry(void *user, const struct h2_diff_entry *e)
{
	static const uint8_t zeros[ALIGN];
	size_t path_len = strlen(e->path), new_len = e->new_path ? strlen(e->new_path) : 0;
	size_t size = sizeof(struct hammer2_ioc_diff_record) + path_len + new_len;
	size_t padding = (ALIGN - size % ALIGN) % ALIGN;
	struct hammer2_ioc_diff_record record = {
		.size = (uint32_t)(size + padding),
		.kind = (uint8_t)e->kind,
		.type = e->type,
		.what = (uint16_t)e->what,
		.inum = e->inum,
		.path_len = (uint32_t)path_len,
		.new_path_len = (uint32_t)new_len,
	};
	struct result *result = user;
	int err;

	if (size + padding > UINT32_MAX)
		return -EFBIG;
	err = result_add(result, &record, sizeof(record));
	if (!err)
		err = result_add(result, e->path, path_len);
	if (!err && new_len > 0)
		err = result_add(result, e->new_path, new_len);
	if (!err && padding > 0)
		err = result_add(result, zeros, padding);
	return err;
}

int ops_diff(fuse_req_t req, const char *from, const char *to, uint64_t *number)
{
	struct h2_pass_options options = {.progress = ops_goes_on, .user = req};
	struct result result = {.size = 0};
	int err = h2_diff(h2_pfs_fs(view_pfs(view_of(req))), from, to, &options, add_entry, &result);

	if (!err && fuse_req_interrupted(req))
		err = -EINTR; /* nobody would read it */
	if (err) {
		result_fini(&result);
		return err;
	}
	*number = results_keep(&result, fuse_req_ctx(req)->uid);
	return *number ? 0 : -EIO;
}
