/*
 * What the user asked for: the command line of mount.hammer2, as typed or as mount(8) calls its
 * helpers, and the options behind -o.
 */
#ifndef FUSE_OPTIONS_H
#define FUSE_OPTIONS_H

#include <hammer2/change.h>
#include <hammer2/volume.h>
#include <stdbool.h>

/* Exit codes, those of mount(8). */
enum exit_code {
	EXIT_OK = 0,
	EXIT_USAGE = 1,  /* incorrect invocation or permissions */
	EXIT_SYSTEM = 2, /* out of memory, cannot fork, no FUSE */
	EXIT_MOUNT = 32, /* mount failure; changes that could not be written */
};

struct options {
	const char *spec_text; /* as given; borrowed from argv */
	const char *dir;       /* as given; borrowed from argv */
	struct h2_spec spec;
	char *label;             /* by @LABEL or pfs=; NULL: none was given */
	uint64_t offset;         /* bytes */
	size_t cache_bytes;      /* 0: the default */
	size_t dirty_bytes;      /* 0: the default */
	unsigned commit_seconds; /* 0: the default */
	bool discard;            /* tell devices what becomes free */
	int header_copy;         /* 1..4; 0: the best */
	bool foreground;
	bool debug;
	bool verbose;
	bool sloppy;     /* ignore unknown options */
	bool read_only;  /* asked for */
	bool read_write; /* asked for; the same as neither of the two, but when remounting */
	bool remount;
	bool allow_other;
	bool nosuid, nodev, noexec, noatime;
	bool sync;                 /* every change is durable before it is answered */
	bool dirsync;              /* every change of names is */
	int comp_algo, check_algo; /* of new objects, as in struct h2_new */
	const char *snapdir;       /* name of the virtual directory; NULL: none; in argv */
	char *security; /* SELinux contexts for the kernel, "context=...,..."; NULL: none */
};

/*
 * Take the arguments apart. Returns true; or false with the exit code in *code, after a message
 * (or, for --help and --version, their text). Release with options_fini() in either case.
 */
bool options_parse(struct options *options, int argc, char **argv, int *code);
void options_fini(struct options *options);

struct control_terms;

/* The terms of a mount: what the options ask for, as far as the server has granted it. */
void options_terms(const struct options *options, const struct control_terms *granted,
		   struct control_terms *terms);

/*
 * The options of one mount as libfuse's "-o" takes them, names escaped: writable or not, and with
 * the volume as the block device that the kernel's mount claims, or not. Returns a string to be
 * freed, or NULL without memory.
 */
char *options_for_fuse(const struct options *options, bool writable, bool block);

#endif
