/* See refresh.h. */
#include "refresh.h"

#include <errno.h>
#include <stdlib.h>

/* Names that the kernel knows, and those that it knows not to be there. */
static void forget_names(struct fuse_session *fuse, struct h2_pfs *pfs)
{
	struct h2_dir_scan *scan;
	struct h2_inode *root;
	struct h2_dirent ent;
	int err;

	if (h2_inode_get(pfs, H2_INUM_ROOT, &root) != 0)
		return;
	err = h2_dir_scan_new(root, 0, &scan);
	h2_inode_put(root);
	if (err)
		return;
	while ((err = h2_dir_scan_next(scan, &ent)) != 1) {
		if (!err)
			(void)fuse_lowlevel_notify_inval_entry(fuse, FUSE_ROOT_ID, ent.name,
							       ent.name_len);
	}
	h2_dir_scan_free(scan);
}

int refresh(struct fuse_session *fuse, struct ops_view *view, struct h2_pfs *now)
{
	struct ops_state *before = atomic_load(&view->state), *state = malloc(sizeof(*state));
	uint64_t base = snapdir_next_base(before->base);

	if (!state || !base) {
		free(state);
		h2_pfs_put(now);
		return state ? -EMFILE : -ENOMEM;
	}
	*state = (struct ops_state){.pfs = now, .base = base, .before = before};
	atomic_store(&view->state, state);
	forget_names(fuse, before->pfs);
	forget_names(fuse, now);
	(void)fuse_lowlevel_notify_inval_inode(fuse, FUSE_ROOT_ID, 0, 0);
	return 0;
}
