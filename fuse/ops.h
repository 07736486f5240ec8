/*
 * The FUSE operations: what the kernel asks, answered from the library.
 *
 * FUSE's node id is the inode number, so there is no table of nodes, forgetting means nothing, and
 * NFS file handles outlive a remount. The volume does not change while it is open, so the kernel is
 * told to keep whatever it has learned, missing names included.
 */
#ifndef FUSE_OPS_H
#define FUSE_OPS_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <hammer2/fs.h>
#include <stdbool.h>

/*
 * Bytes of one read. A read is the work of one thread, so read-ahead of OPS_READ_AHEAD comes in
 * several reads that are worked on at once; measured, this beats one read of that size.
 */
#define OPS_READ_MAX (256u << 10)
#define OPS_READ_AHEAD (1024u << 10)

struct ops_view {           /* the userdata of a FUSE session */
	struct h2_pfs *pfs; /* constant */
	bool no_open;       /* set by the kernel's first request, then constant */
	bool no_opendir;
};

extern const struct fuse_lowlevel_ops ops_table;

/* Release what a thread that served requests keeps for the next one. */
void ops_thread_end(void);

#endif
