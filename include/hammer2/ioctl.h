/*
 * The ioctls of a mounted HAMMER2 filesystem, on any file or directory of it.
 *
 * What programs have written and not synced or closed may be in the kernel's cache: before a snapshot
 * is made, syncfs(2) lets it become part of it.
 *
 * Numbers and layouts are DragonFly's (BS 13), the same on all 64-bit systems; what this project
 * adds is below them. Structures are in the machine's order; UUIDs in that of the media.
 *
 * Who may: anyone who can open the file VERSION_GET, INODE_GET, DEBUG_DUMP, BULKFREE_SCAN, STATUS
 * and CIDPRUNE; the owner of a file INODE_SET of its compression and check algorithm; everything
 * else root, and the user who mounted it. Besides what is listed there are the errors EPERM, EROFS
 * (the mount, or the volumes, are for reading only), EINVAL, ENOSPC, EIO, ENOMEM.
 *
 * BULKFREE_SCAN, GROWFS, PFS_SNAPSHOT_DIR, USAGE and DIFF may take long, and wait for each other. They end
 * with EINTR when their caller gets a signal, and then nothing has changed; and with EAGAIN where too
 * many wait already: ask again.
 */
#ifndef HAMMER2_IOCTL_H
#define HAMMER2_IOCTL_H

#include <stdint.h>
#include <sys/ioctl.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hammer2_ioc_version {
	uint32_t version; /* of the volume header */
	uint8_t reserved[252];
};

struct hammer2_ioc_pfs {
	uint64_t name_key;  /* GET: the first key to look at, or HAMMER2_PFS_THIS */
	uint64_t name_next; /* GET: the key of the next one, or HAMMER2_PFS_END */
	uint8_t pfs_type, pfs_subtype;
	uint8_t reserved0[2];
	uint32_t flags; /* SNAPSHOT: ignored, since a snapshot needs a commit anyway */
	uint64_t reserved1;
	uint8_t pfs_fsid[16], pfs_clid[16]; /* CREATE: nil: random ones */
	char name[256];                     /* the label */
};

#define HAMMER2_PFS_THIS UINT64_MAX /* the one that the file is in */
#define HAMMER2_PFS_END UINT64_MAX

struct hammer2_ioc_inode {
	uint32_t flags; /* SET: HAMMER2_SET_... */
	uint32_t reserved0;
	uint64_t reserved1;
	uint64_t data_count;  /* bytes of all that is below it */
	uint64_t inode_count; /* inodes below it */
	uint8_t inode[1024];  /* as on the media (MF 6.1), up to its contents, which are zero */
};

#define HAMMER2_SET_INODE_QUOTA 0x01u
#define HAMMER2_SET_DATA_QUOTA 0x02u
#define HAMMER2_SET_COPIES 0x04u /* not supported: EOPNOTSUPP */
#define HAMMER2_SET_CHECK 0x08u
#define HAMMER2_SET_COMP 0x10u

struct hammer2_ioc_bulkfree {
	uint64_t sbase, sstop; /* where it began and ended */
	uint64_t size;         /* memory: ignored */
	uint64_t count_allocated, count_freed; /* blocks that were met; bytes that come back */
	uint64_t total_fragmented, total_allocated, total_scanned;
};

#define HAMMER2_DESTROY_NAME 1u
#define HAMMER2_DESTROY_INUM 2u

struct hammer2_ioc_destroy {
	uint32_t cmd; /* 0 nothing, or one of these */
	char path[260];
	uint64_t inum;
};

struct hammer2_ioc_growfs {
	uint64_t size;    /* in: bytes, or 0: all of the device; out: what it is now */
	int32_t modified; /* out: whether it has grown */
	int32_t reserved0;
	uint8_t reserved1[56];
};

struct hammer2_ioc_volume {
	char path[64]; /* cut where it is longer */
	int32_t id;
	int32_t reserved;
	uint64_t offset, size;
};

#define HAMMER2_IOC_VOLUMES_MAX 64

struct hammer2_ioc_volume_list2 {
	struct hammer2_ioc_volume volumes[HAMMER2_IOC_VOLUMES_MAX];
	int32_t nvolumes; /* in: how many are wanted; out: how many there are in volumes */
	int32_t version;
	char pfs_name[256];
};

#define HAMMER2IOC_VERSION_GET _IOWR('h', 64, struct hammer2_ioc_version)
#define HAMMER2IOC_PFS_GET _IOWR('h', 80, struct hammer2_ioc_pfs)      /* ENOENT */
#define HAMMER2IOC_PFS_CREATE _IOWR('h', 81, struct hammer2_ioc_pfs)   /* EEXIST, ENOTUNIQ */
#define HAMMER2IOC_PFS_DELETE _IOWR('h', 82, struct hammer2_ioc_pfs)   /* ENOENT, EBUSY */
#define HAMMER2IOC_PFS_LOOKUP _IOWR('h', 83, struct hammer2_ioc_pfs)   /* ENOENT */
#define HAMMER2IOC_PFS_SNAPSHOT _IOWR('h', 84, struct hammer2_ioc_pfs) /* EEXIST */
#define HAMMER2IOC_INODE_GET _IOWR('h', 86, struct hammer2_ioc_inode)
#define HAMMER2IOC_INODE_SET _IOWR('h', 87, struct hammer2_ioc_inode)
#define HAMMER2IOC_DEBUG_DUMP _IOWR('h', 91, uint32_t) /* to the log */
#define HAMMER2IOC_BULKFREE_SCAN _IOWR('h', 92, struct hammer2_ioc_bulkfree) /* EINTR */
#define HAMMER2IOC_DESTROY _IOWR('h', 94, struct hammer2_ioc_destroy) /* ENOENT; EEXIST: not lost */
#define HAMMER2IOC_EMERG_MODE _IOWR('h', 95, int32_t) /* does nothing: it is not needed */
#define HAMMER2IOC_GROWFS _IOWR('h', 96, struct hammer2_ioc_growfs) /* EINTR */
#define HAMMER2IOC_VOLUME_LIST2 _IOWR('h', 197, struct hammer2_ioc_volume_list2)
#define HAMMER2IOC_CIDPRUNE _IOWR('h', 240, uint8_t[128]) /* what is cached is read again */

/* ---- what this project adds ---- */

struct hammer2_ioc_pfs_rename {
	char name[256], new_name[256];
};

struct hammer2_ioc_pfs_rollback {
	char name[256];     /* of the PFS; mounts of it show what it has then */
	char snapshot[256]; /* whose contents it gets */
	char keep[256];     /* the snapshot that gets what it had; empty: none */
};

struct hammer2_ioc_pfs_snapshot_of {
	char name[256]; /* of the new one */
	char origin[256];
};

struct hammer2_ioc_pfs_snapshot_dir { /* of the directory that it is asked of */
	char name[256];
};

struct hammer2_ioc_status {
	uint64_t total_bytes, free_bytes;
	uint64_t waiting_bytes; /* of free_bytes: free after some more commits */
	uint64_t lost_bytes;    /* about so much a bulk free would find */
	uint64_t scan_bytes, scan_expected_bytes; /* of the running pass; both 0: none runs */
	uint32_t writable;                        /* this mount is for writing */
	uint32_t reserved0;
	uint64_t server; /* tells servers, and so filesystems, apart; the same for all its mounts */
	uint64_t reserved[24];
};

/*
 * Requests whose result is longer than an answer can be: it is then read in parts, by the same user
 * and within a minute after each.
 */
struct hammer2_ioc_diff {
	char from[256], to[256]; /* labels */
	uint64_t result;         /* out */
};

/*
 * The result of DIFF: one record after the other, in the order of <hammer2/diff.h>, which says what
 * they mean. Behind each there are path and new path without terminators, and zeros up to size.
 */
struct hammer2_ioc_diff_record {
	uint32_t size; /* bytes of the record with all that belongs to it, a multiple of 8 */
	uint8_t kind;  /* HAMMER2_DIFF_... */
	uint8_t type;  /* of the object, MF 6.4 */
	uint16_t what; /* CHANGED: 1 contents, 2 attributes, or both */
	uint64_t inum;
	uint32_t path_len, new_path_len; /* bytes; new_path_len is 0 unless RENAMED */
};

#define HAMMER2_DIFF_REMOVED 0
#define HAMMER2_DIFF_RENAMED 1
#define HAMMER2_DIFF_ADDED 2
#define HAMMER2_DIFF_CHANGED 3

struct hammer2_ioc_usage {
	uint64_t result; /* out: of one hammer2_usage and as many hammer2_usage_pfs as it says */
};

/* The members are those of <hammer2/usage.h>; all are bytes but for the counts. */
struct hammer2_usage {
	uint64_t used_bytes, shared_bytes, overhead_bytes;
	uint64_t data_logical_bytes, data_referenced_bytes, data_distinct_bytes;
	uint64_t pfs_count;
	uint64_t reserved[9];
};

struct hammer2_usage_pfs {
	uint64_t key;
	uint64_t referenced_bytes, exclusive_bytes;
	uint64_t inodes;
	uint8_t pfs_type, pfs_subtype;
	uint8_t reserved0[6];
	uint64_t reserved1[3];
	char label[256];
};

#define HAMMER2_RESULT_BYTES 12288u

struct hammer2_ioc_result {
	uint64_t result;
	uint64_t offset;
	uint32_t len; /* out: how many bytes are there; less than fit: the end */
	uint32_t reserved;
	uint8_t bytes[HAMMER2_RESULT_BYTES];
};

#define HAMMER2IOC_PFS_RENAME _IOWR('H', 0xf1, struct hammer2_ioc_pfs_rename) /* EBUSY, EEXIST */
#define HAMMER2IOC_PFS_ROLLBACK _IOWR('H', 0xf2, struct hammer2_ioc_pfs_rollback)
#define HAMMER2IOC_PFS_SNAPSHOT_OF _IOWR('H', 0xf3, struct hammer2_ioc_pfs_snapshot_of)
#define HAMMER2IOC_STATUS _IOWR('H', 0xf4, struct hammer2_ioc_status)
#define HAMMER2IOC_DIFF _IOWR('H', 0xf5, struct hammer2_ioc_diff)   /* ENOENT, EINTR */
#define HAMMER2IOC_USAGE _IOWR('H', 0xf6, struct hammer2_ioc_usage) /* EINTR */
#define HAMMER2IOC_PFS_SNAPSHOT_DIR                                                                \
	_IOWR('H', 0xf8, struct hammer2_ioc_pfs_snapshot_dir) /* EEXIST, EINTR */
#define HAMMER2IOC_RESULT _IOWR('H', 0xf7, struct hammer2_ioc_result) /* ENOENT */

#ifdef __cplusplus
}
#endif
#endif
