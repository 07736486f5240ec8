/*
 * The volumes of one filesystem: opened, identified, checked against each other, and seen as one
 * 64-bit storage address space (MF 1.1, 2.7).
 */
#ifndef HAMMER2_VOLUME_H
#define HAMMER2_VOLUME_H

#include <hammer2/report.h>
#include <hammer2/types.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

struct h2_volumes;

/*
 * What a user writes to name a filesystem, taken apart: VOLUME[:VOLUME...][@LABEL], where VOLUME is
 * a file or block device, optionally followed by :PARTITION for a volume inside a partition table
 * (README, "Naming volumes"). A string that as a whole is the name of an existing file is that
 * file.
 */
struct h2_spec {
	unsigned count;
	char *volumes[H2_VOLUMES_MAX]; /* each "PATH" or "PATH:PARTITION" */
	char *label;                   /* NULL: none was given */
};

/*
 * Take text apart. Returns 0, or -EINVAL (empty volume name), -E2BIG (more than 64 volumes),
 * -ENOMEM. The result is released with h2_spec_fini().
 */
int h2_spec_parse(const char *text, struct h2_spec *spec);
void h2_spec_fini(struct h2_spec *spec);

/*
 * The label that DragonFly's mount takes when none is given: by the last character of the first
 * volume's name, 'a' BOOT, 'd' ROOT, otherwise DATA (MF 11.6). Static string.
 */
const char *h2_spec_default_label(const struct h2_spec *spec);

struct h2_volumes_options {
	bool write;      /* open for writing, exclusively; else for reading, shared */
	bool mounted;    /* with write: the caller's mount claims the block device itself */
	bool no_lock;    /* look only, whoever else has it open; not together with write */
	uint64_t offset; /* bytes: where the volume begins in its file; one volume only */
	uint64_t size;   /* bytes of it from there; 0: up to the end of the file */
	/* 1..4: use this copy of the root volume's header, for reading only; 0: the best */
	int header_copy;
	/* Look at headers only, however wrong they are; see h2_volumes_open(). */
	bool headers_only;
	h2_report_fn *report; /* receives findings; may be NULL */
	void *report_user;
};

/*
 * Open the count volumes named by paths ("PATH" or "PATH:PARTITION"), in any order, and check
 * every rule of MF 2.7. Any number of processes can have a volume open for reading, or one for
 * writing.
 *
 * Returns 0 and the set, to be closed with h2_volumes_close(); -EBUSY (open elsewhere), -ENXIO
 * (volumes missing, too many, or of different filesystems), -EINVAL (no HAMMER2 volume, or one of
 * the other byte order or an unknown version), -H2_ECHECK (no header copy with correct check
 * codes), -H2_ECORRUPT (a header contradicts itself), -ENOMEM, or what opening and reading the
 * files gave. A finding says which and why.
 *
 * With headers_only a set is given also where the headers are of no use. It is good for
 * h2_volumes_count(), h2_volumes_info() and h2_volumes_read_header(), and for closing it.
 */
int h2_volumes_open(const char *const *paths, unsigned count,
		    const struct h2_volumes_options *options, struct h2_volumes **volumesp);

/* Close all files. NULL is allowed. */
void h2_volumes_close(struct h2_volumes *volumes);

/* The chosen header of the root volume. Borrowed until the set is closed. */
const struct h2_volume_header *h2_volumes_header(const struct h2_volumes *volumes);

/* Bytes of the whole address space. */
uint64_t h2_volumes_total_size(const struct h2_volumes *volumes);

unsigned h2_volumes_count(const struct h2_volumes *volumes);

struct h2_volume_info {
	const char *path;     /* as given; borrowed until the set is closed */
	unsigned id;          /* volu_id */
	uint64_t offset;      /* where it begins in the address space, bytes */
	uint64_t size;        /* volu_size, bytes */
	uint64_t device_size; /* bytes of the file, device or partition */
	unsigned header_slot; /* which of its header copies was chosen, 0..3; 4: none is usable */
};

/* The volume of index i, in the order of their ids. */
void h2_volumes_info(const struct h2_volumes *volumes, unsigned i, struct h2_volume_info *info);

/*
 * The 65536 bytes of header copy slot (0..3) of the volume of index i, and what they are worth.
 * Returns 0; -ENOENT where the device ends before it; or the error of reading.
 */
int h2_volumes_read_header(struct h2_volumes *volumes, unsigned i, unsigned slot, void *buf);

/*
 * Read len bytes at the storage offset into buf. The range must not cross a volume's end. Nothing
 * is checked but that. Returns 0, -ERANGE (outside every volume), or the device's error.
 */
int h2_volumes_read(struct h2_volumes *volumes, uint64_t offset, void *buf, size_t len);

#ifdef __cplusplus
}
#endif
#endif
