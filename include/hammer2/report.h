/*
 * What the library tells its user besides an error number: which byte, of which object, was not
 * what it should be.
 *
 * Error numbers everywhere in the library are negative errno values. Two of them have a fixed
 * meaning here, as on other Linux filesystems:
 */
#ifndef HAMMER2_REPORT_H
#define HAMMER2_REPORT_H

#include <errno.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define H2_ECORRUPT EUCLEAN /* a structure on the media contradicts the format */
#define H2_ECHECK EBADMSG   /* a block does not match its check code */

enum h2_severity {
	H2_NOTE,    /* worth knowing; nothing is wrong */
	H2_WARNING, /* unusual or wasteful; all data is intact and readable */
	H2_FAULT,   /* violates the format or loses data */
};

/*
 * One finding. Strings are borrowed and valid during the callback only; a NULL string and a
 * member that the matching H2_REPORT_HAS_ flag does not cover are unknown.
 */
struct h2_report {
	enum h2_severity severity;
	int error;           /* negative errno that a reader of the object gets; 0: none */
	const char *code;    /* stable name of the finding, such as "check-mismatch" */
	const char *pfs;     /* label of the PFS */
	const char *path;    /* path within the PFS, where it is known */
	const char *object;  /* kind of block or structure: "inode", "data", "volume header" */
	const char *member;  /* which member of it */
	const char *message; /* one sentence for a person */
	unsigned flags;      /* H2_REPORT_HAS_... */
	uint64_t inum;       /* inode number within the PFS */
	uint64_t key;        /* key in the tree; for file data the byte offset in the file */
	uint64_t media;      /* storage offset of the block, bytes */
	uint64_t found;
	uint64_t expected;
	const char *advice; /* what to do about it, in a few words; static */
};

#define H2_REPORT_HAS_INUM 0x01u
#define H2_REPORT_HAS_KEY 0x02u
#define H2_REPORT_HAS_MEDIA 0x04u
#define H2_REPORT_HAS_VALUES 0x08u /* found and expected */

/*
 * Receives findings. May be called from several threads at once and must not call back into the
 * handle it was given to.
 */
typedef void h2_report_fn(void *user, const struct h2_report *report);

#ifdef __cplusplus
}
#endif
#endif
