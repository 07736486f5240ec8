/*
 * The rules of POSIX and Linux for a mounted, writable filesystem: what the tests share.
 *
 * A test is a function without arguments. It runs in a process of its own whose working directory
 * is a new empty directory of the filesystem (mode 0755), with umask 022; what it leaves there is
 * removed. A check that fails is printed with file and line, what was expected and what was got.
 * The test goes on after it, except for ok(): what cannot even be prepared ends the test.
 *
 * Expectations are those that ext4 and tmpfs meet on Linux. Where POSIX leaves a choice, the test
 * accepts all of it and says why; where a filesystem may lack a feature, the test probes for it and
 * calls skip(), which is listed at the end.
 */
#ifndef POSIX_H
#define POSIX_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

struct posix_test {
	const char *group, *name;
	void (*run)(void);
};

/* The tables of the files, each ended by a row without a name. */
extern const struct posix_test posix_open_tests[], posix_name_tests[], posix_rename_tests[],
	posix_dir_tests[], posix_write_tests[], posix_space_tests[], posix_map_tests[],
	posix_attr_tests[], posix_perm_tests[], posix_unlinked_tests[], posix_parallel_tests[];

/* ---- checks ---- */

/* The call must not return -1; otherwise the test ends. Gives what it returned. */
#define ok(call) posix_ok(__FILE__, __LINE__, #call, (long long)(call))
/* The call must return -1 with this errno. */
#define fails(call, err) posix_fails(__FILE__, __LINE__, #call, (long long)(call), err, err)
/* The call must return -1 with one of two errnos: a comment says why both are right. */
#define fails_either(call, err, other)                                                             \
	posix_fails(__FILE__, __LINE__, #call, (long long)(call), err, other)
#define equal(found, expected)                                                                     \
	posix_equal(__FILE__, __LINE__, #found, (long long)(found), (long long)(expected))
#define check(condition) posix_check(__FILE__, __LINE__, #condition, condition)
/* The bytes must be the same; tells where they differ first. */
#define same_bytes(found, expected, size)                                                          \
	posix_same_bytes(__FILE__, __LINE__, #found, found, expected, size)
/* All bytes must be zero; at tells where the buffer lies in the file, for the message. */
#define all_zero(buf, size, at) posix_all_zero(__FILE__, __LINE__, #buf, buf, size, at)
#define failed(...) posix_failed(__FILE__, __LINE__, __VA_ARGS__)

int posix_ok(const char *file, int line, const char *text, long long result);
bool posix_fails(const char *file, int line, const char *text, long long result, int err,
		 int other);
bool posix_equal(const char *file, int line, const char *text, long long found, long long expected);
bool posix_check(const char *file, int line, const char *text, bool condition);
bool posix_same_bytes(const char *file, int line, const char *text, const void *found,
		      const void *expected, size_t size);
bool posix_all_zero(const char *file, int line, const char *text, const void *buf, size_t size,
		    long long at);
void posix_failed(const char *file, int line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Something was not tested. what is a short fixed name: who runs the tests may know it. */
void skip(const char *what, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What the filesystem does where it has the choice; told at the end, never an error. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- processes ---- */

#define USER_A 30001u
#define USER_B 30002u
#define GROUP_OF(uid) ((uid) + 10000u) /* the users' own groups */
#define GROUP_SHARED 45000u

/*
 * Run the block that follows in a child process, and wait for its end; the block ends with done().
 * as_user() is that as another user, without further groups, as_member() with one. They skip the
 * block where that is impossible.
 */
bool in_child(void);
bool as_user(uid_t uid);
bool as_member(uid_t uid, gid_t group);
/* As in_child(), without waiting: gives 0 in the child. join() waits and checks its exit code. */
pid_t spawn(void);
void join(pid_t pid);
_Noreturn void done(void);

/* Counters that the processes of a test share; wait_for_count() gives up after some seconds. */
unsigned *shared_counters(size_t count);
unsigned load(unsigned *counter);
void add(unsigned *counter);
void wait_for_count(unsigned *counter, unsigned at_least);

/* ---- files ---- */

#define BLOCK 65536 /* bytes; the largest block of HAMMER2 */

/* Make a new file, open for reading and writing, mode 0644. */
int new_file(const char *name);
/* The same with contents, closed. */
void put(const char *name, const void *bytes, size_t size);
void put_text(const char *name, const char *text);
/* All of a file; gives its size, at most max. */
size_t get(const char *name, void *buf, size_t max);
/* The file must have exactly this text. */
#define has_text(name, text) posix_has_text(__FILE__, __LINE__, name, text)
bool posix_has_text(const char *file, int line, const char *name, const char *text);
struct stat stat_of(const char *name); /* of the name itself, not of a symlink's target */
struct stat stat_of_fd(int fd);
bool exists(const char *name);
/* Make the next read of a file come from the filesystem itself, as far as that is possible. */
void forget(int fd);
/* fallocate(); false where this mode is not supported, the test ends at any other error. */
bool can_allocate(int fd, int mode, off_t offset, off_t len);
/* Bytes that are hard to mistake for others: from a seed, never 0. */
void pattern(void *buf, size_t size, unsigned seed);
/* Random numbers; the program prints the seed. */
uint32_t random_below(uint32_t bound);

/* ---- times ---- */

struct watch {
	const char *what;
	int fd; /* AT_FDCWD: found by name */
	struct stat before;
};

/* Remember the times of a name, or of an open file. */
struct watch watch(const char *name);
struct watch watch_fd(int fd);
/* Let the clock advance far enough for any time that is set from now on to be a later one. */
void tick(void);
/*
 * Which times have changed: "a", "m", "c" for those that must have; those in may are left to the
 * filesystem; the others must not. What changed must have become now.
 */
#define changed(w, must) changed_or(w, must, "")
#define changed_or(w, must, may) posix_changed(__FILE__, __LINE__, w, must, may)
void posix_changed(const char *file, int line, const struct watch *w, const char *must,
		   const char *may);

/* Whether the directory under test is in a FUSE mount. */
bool is_fuse(void);

#endif
