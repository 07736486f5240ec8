/*
 * After a PFS was rolled back while it is mounted: its mount shows what the PFS has now.
 *
 * What the kernel knows of the state before is found no more: all nodes but the root have other numbers
 * from then on, and the kernel forgets the names in the root, with everything below them. Who has a file
 * or directory of the state before open, or stands in one, gets ESTALE; what is mounted on one is
 * unmounted.
 */
#ifndef FUSE_REFRESH_H
#define FUSE_REFRESH_H

#include "ops.h"

/*
 * Let the view show a PFS, whose reference is taken over, instead of the one that it shows. Returns 0;
 * -ENOMEM, -EMFILE (it was rolled back millions of times): then it shows what it did. Not by two threads
 * at once for one view.
 */
int refresh(struct fuse_session *fuse, struct ops_view *view, struct h2_pfs *now);

#endif
