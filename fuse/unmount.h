/*
 * The helper of umount(8): mount.hammer2 under the name umount.hammer2 or umount.fuse.hammer2.
 */
#ifndef FUSE_UNMOUNT_H
#define FUSE_UNMOUNT_H

/*
 * umount.hammer2 DIRECTORY [-fnlrv]: unmount, and wait until what was changed is on the volumes and
 * the server has ended, if this was its last mount. Returns an exit code, after a message if it is
 * not EXIT_OK.
 */
int unmount_main(int argc, char **argv);

#endif
