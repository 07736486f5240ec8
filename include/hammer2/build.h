/*
 * Making a filesystem that has contents from the start: between begin and finish it can be opened
 * and changed like any other, but its volume headers are kept in memory. So the media hold no
 * filesystem before it is complete, whatever happens in between.
 */
#ifndef HAMMER2_BUILD_H
#define HAMMER2_BUILD_H

#include <hammer2/mkfs.h>
#include <hammer2/volume.h>

#ifdef __cplusplus
extern "C" {
#endif

struct h2_build;

/*
 * Make the planned filesystem as h2_mkfs_write() does, but for the headers of its root volume.
 * What the devices held is lost. The result is given back with h2_build_close(). Returns the
 * errors of h2_mkfs_write().
 */
int h2_build_begin(const struct h2_mkfs_plan *plan, const struct h2_mkfs_options *options,
		   const struct h2_mkfs_target *targets, struct h2_build **buildp);

/* The volumes, open for writing. Borrowed; they are closed with the build. */
struct h2_volumes *h2_build_volumes(struct h2_build *build);

/*
 * Complete it: the state that was committed last becomes the one that the media have, in all header
 * copies. What was opened on the volumes must be closed. shrink: cut a filesystem of one volume to
 * the smallest size, a multiple of 8 MiB, that holds what its freemap has in use; a larger file or
 * device is good for it and can be cut by the caller.
 *
 * Returns 0 and in *header, if that is not NULL, the root volume's header; or a damage error or
 * what reading, writing or flushing gave: then there is no filesystem, or a complete one.
 */
int h2_build_finish(struct h2_build *build, bool shrink, struct h2_volume_header *header);

/* Close all devices; without h2_build_finish() they hold no filesystem. NULL is allowed. */
void h2_build_close(struct h2_build *build);

#ifdef __cplusplus
}
#endif
#endif
