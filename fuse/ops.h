/*
 * The FUSE operations: what the kernel asks, answered from the library.
 *
 * FUSE's node id is the inode number, so finding an inode needs no table, and NFS file handles
 * outlive a remount. Whatever changes a mounted PFS goes through its one mount, so the kernel is
 * told to keep whatever it has learned, missing names included. With option snapdir there are nodes of
 * snapshots, too, and after the PFS was rolled back its nodes have other numbers (snapdir.h).
 */
#ifndef FUSE_OPS_H
#define FUSE_OPS_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <hammer2/fs.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/ioctl.h>

#include "nodes.h"
#include "snapdir.h"

/*
 * Bytes of one read. A read is the work of one thread, so read-ahead of OPS_READ_AHEAD comes in
 * several reads that are worked on at once; measured, this beats one read of that size.
 */
#define OPS_READ_MAX (256u << 10)
#define OPS_READ_AHEAD (1024u << 10)
#define OPS_WRITE_MAX (1024u << 10) /* bytes of one write: as much as FUSE can carry */

/*
 * An ioctl of any directory: whether the PFS is mounted for writing (1) or was mounted for reading
 * (0), which remounting cannot change.
 */
#define OPS_IOC_WRITABLE _IOR('H', 0xf0, uint32_t)

/* What a view shows. Constant; another one takes its place when the PFS is rolled back. */
struct ops_state {
	struct h2_pfs *pfs;
	uint64_t base; /* of its nodes: snapdir.h */
	struct ops_state *before; /* the one that it has replaced, which requests may still use */
};

struct ops_view { /* the userdata of a FUSE session */
	_Atomic(struct ops_state *) state;

	/* set at start, then constant */
	struct nodes *nodes;     /* NULL: mounted for reading */
	struct snapdir *snapdir; /* NULL: there is none */
	bool sync;           /* every change is durable before it is answered */
	bool dirsync;        /* every change but those of file contents is */
	bool destroy_syncs;  /* the kernel's unmount waits for the answer to its last request */
	int comp_algo, check_algo; /* of new objects: as in struct h2_new */

	/* set by the kernel's first request, then constant */
	bool no_open;
	bool no_opendir;
	bool writeback; /* the kernel keeps what is written, and the times of files */
};

static inline struct h2_pfs *view_pfs(const struct ops_view *view)
{
	return atomic_load(&view->state)->pfs;
}

extern const struct fuse_lowlevel_ops ops_table;

/*
 * Make what was changed durable. An error that nobody else is told of is logged. Returns 0, or what
 * users are to see, as a negative errno.
 */
int ops_sync(const struct ops_view *view);

/* Release what a thread that served requests keeps for the next one. */
void ops_thread_end(void);

#endif
