/*
 * Random operations on one file, compared with a copy of it in memory: reads, writes, mappings,
 * truncations, holes, copies, reopening and syncing, in any order.
 *
 *   fsx [options] FILE
 *
 * FILE is made anew. The same seed, number of operations, sizes and set of operations give the same
 * run. The first difference ends it: what was expected and found is printed with the operations
 * that touched the place, and the expected contents are left in FILE.good. Operations that the
 * filesystem does not have are left out, and named; with --all they are failures.
 *
 * Three views of the file have to agree all the time: read and write, mappings made for one
 * operation, and one mapping of the whole file that is held over many operations.
 *
 * Exit codes: 0 all agree, 1 a difference or an error, 2 usage.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LENGTH_DEFAULT ((size_t)1 << 20)
#define LENGTH_MAX ((size_t)1 << 30)
#define OPERATIONS_DEFAULT 5000u
#define SPAN_MAX ((size_t)192 << 10) /* bytes that one operation touches: up to four blocks */
#define BLOCK ((size_t)64 << 10)     /* sizes and offsets near multiples of it are likely */
#define DIRECT_ALIGN ((size_t)4096)
#define HISTORY_MAX 4096u
#define SHOWN_MAX 24u /* operations shown for a difference */

enum op {
	OP_READ,
	OP_MAPREAD,
	OP_HELDREAD,
	OP_DIRECTREAD,
	OP_WRITE,
	OP_APPEND,
	OP_MAPWRITE,
	OP_HELDWRITE,
	OP_DIRECTWRITE,
	OP_TRUNCATE,
	OP_PUNCH,
	OP_ZERO,
	OP_ALLOCATE,
	OP_COPY,
	OP_SEEK,
	OP_FSYNC,
	OP_MSYNC,
	OP_REOPEN,
	OP_DROP,
	OP_COUNT
};

struct operation {
	uint64_t number;
	enum op op;
	uint64_t offset, len; /* for a truncation: the old and the new size */
	uint64_t from;        /* of a copy: where from */
	uint32_t variant;
};

struct run {
	/* set at the start, then constant */
	const char *path;
	uint64_t seed;
	uint64_t count; /* 0: no limit */
	double seconds; /* 0: no limit */
	size_t length;  /* the file's largest size */
	size_t page;    /* bytes */
	bool verbose;
	bool need_all; /* a missing operation is a failure */
	bool unwanted[OP_COUNT];

	/* the file */
	int fd;
	uint8_t *held;           /* a shared mapping of length bytes, or NULL */
	bool left_out[OP_COUNT]; /* unwanted or missing */

	/* what it must be */
	uint8_t *good;
	size_t size;

	/* the rest */
	uint8_t *buffer; /* length bytes, aligned for direct I/O */
	uint64_t random;
	uint64_t done[OP_COUNT];
	struct operation history[HISTORY_MAX]; /* a ring, by number */
	struct operation now;
};

static struct run run;

static void do_read(void), do_mapread(void), do_heldread(void), do_directread(void);
static void do_write(void), do_append(void), do_mapwrite(void), do_heldwrite(void);
static void do_directwrite(void), do_truncate(void), do_punch(void), do_zero(void);
static void do_allocate(void), do_copy(void), do_seek(void), do_fsync(void), do_msync(void);
static void do_reopen(void), do_drop(void);

static const struct {
	const char *name;
	void (*function)(void);
	unsigned weight;
	bool changes;
} ops[OP_COUNT] = {
	[OP_READ] = {"read", do_read, 10, false},
	[OP_MAPREAD] = {"mapread", do_mapread, 8, false},
	[OP_HELDREAD] = {"heldread", do_heldread, 6, false},
	[OP_DIRECTREAD] = {"directread", do_directread, 3, false},
	[OP_WRITE] = {"write", do_write, 14, true},
	[OP_APPEND] = {"append", do_append, 3, true},
	[OP_MAPWRITE] = {"mapwrite", do_mapwrite, 9, true},
	[OP_HELDWRITE] = {"heldwrite", do_heldwrite, 7, true},
	[OP_DIRECTWRITE] = {"directwrite", do_directwrite, 3, true},
	[OP_TRUNCATE] = {"truncate", do_truncate, 7, true},
	[OP_PUNCH] = {"punch", do_punch, 5, true},
	[OP_ZERO] = {"zero", do_zero, 5, true},
	[OP_ALLOCATE] = {"allocate", do_allocate, 4, true},
	[OP_COPY] = {"copy", do_copy, 5, true},
	[OP_SEEK] = {"seek", do_seek, 4, false},
	[OP_FSYNC] = {"fsync", do_fsync, 3, false},
	[OP_MSYNC] = {"msync", do_msync, 2, false},
	[OP_REOPEN] = {"reopen", do_reopen, 2, false},
	[OP_DROP] = {"drop", do_drop, 2, false},
};

/* ---- random numbers ---- */

static uint64_t random64(void)
{
	uint64_t z = run.random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* A number below limit, which is not 0. */
static size_t below(size_t limit)
{
	return (size_t)(random64() % limit);
}

/* A number up to limit that is often 0, limit, or near a multiple of a block or a page. */
static size_t edgy(size_t limit)
{
	size_t unit = below(2) ? BLOCK : run.page;
	size_t value;

	switch (below(8)) {
	case 0:
		return limit;
	case 1:
	case 2:
	case 3:
		value = below(limit / unit + 1) * unit;
		break;
	case 4:
		value = below(limit / unit + 1) * unit + below(5);
		value = value >= 2 ? value - 2 : 0;
		break;
	default:
		value = below(limit + 1);
	}
	return value < limit ? value : limit;
}

/* A length of 1..limit: many small ones, some of whole blocks. */
static size_t span(size_t limit)
{
	size_t most = limit < SPAN_MAX ? limit : SPAN_MAX;
	size_t len;

	switch (below(4)) {
	case 0:
		len = 1 + below(most < 512 ? most : 512);
		break;
	case 1:
		len = 1 + below(most < 2 * run.page ? most : 2 * run.page);
		break;
	default:
		len = edgy(most);
	}
	return len ? len : 1;
}

/* New contents: zeros, one byte repeated, text-like or noise, so that every compression is met. */
static void make_data(uint8_t *bytes, size_t len)
{
	uint8_t tag = (uint8_t)run.now.number;
	uint64_t noise = 0;

	run.now.variant = (uint32_t)below(8);
	switch (run.now.variant) {
	case 0:
		memset(bytes, 0, len);
		break;
	case 1:
		memset(bytes, tag | 1, len);
		break;
	case 2:
	case 3:
		for (size_t i = 0; i < len; i++)
			bytes[i] = (uint8_t)(tag + i % 61);
		break;
	default:
		for (size_t i = 0; i < len; i++) {
			if (i % 8 == 0)
				noise = random64();
			bytes[i] = (uint8_t)(noise >> i % 8 * 8);
		}
	}
}

/* ---- failures ---- */

static void print_operation(const struct operation *o)
{
	printf("  %8" PRIu64 " %-11s ", o->number, ops[o->op].name);
	if (o->op == OP_TRUNCATE)
		printf("from %#" PRIx64 " to %#" PRIx64, o->offset, o->len);
	else
		printf("%#" PRIx64 "..%#" PRIx64 " (%#" PRIx64 " bytes)", o->offset,
		       o->offset + o->len, o->len);
	if (o->op == OP_COPY)
		printf(" from %#" PRIx64, o->from);
	if (o->variant)
		printf(" variant %u", o->variant);
	printf("\n");
}

static bool touches(const struct operation *o, uint64_t from, uint64_t to)
{
	if (o->op == OP_FSYNC || o->op == OP_MSYNC || o->op == OP_REOPEN || o->op == OP_DROP)
		return true;
	if (o->op == OP_TRUNCATE)
		return (o->offset < o->len ? o->offset : o->len) < to;
	return o->offset < to && o->offset + o->len > from;
}

/* Leave the expected contents beside the file, say how to repeat, and end. */
static _Noreturn void fail_at(uint64_t from, uint64_t to)
{
	uint64_t first = run.now.number >= HISTORY_MAX ? run.now.number - HISTORY_MAX + 1 : 1;
	uint64_t start = run.now.number;
	unsigned shown = 0;
	char name[4096];
	FILE *file;

	while (start > first && shown < SHOWN_MAX)
		shown += touches(&run.history[--start % HISTORY_MAX], from, to);
	printf("operations near, the last one is the one that failed:\n");
	for (uint64_t i = start; i < run.now.number; i++)
		if (i && touches(&run.history[i % HISTORY_MAX], from, to))
			print_operation(&run.history[i % HISTORY_MAX]);
	print_operation(&run.now);
	snprintf(name, sizeof(name), "%s.good", run.path);
	file = fopen(name, "w");
	if (file) {
		(void)fwrite(run.good, 1, run.size, file); /* only a help: nothing depends on it */
		(void)fclose(file);
	}
	printf("FAILED seed %" PRIu64 " operation %" PRIu64 "; repeat with: fsx --seed %" PRIu64
	       " --count %" PRIu64 " --length %zu",
	       run.seed, run.now.number, run.seed, run.now.number, run.length);
	for (int i = 0; i < OP_COUNT; i++)
		if (run.unwanted[i])
			printf(" --without %s", ops[i].name);
	printf(" FILE\n");
	fflush(stdout);
	_exit(1);
}

static _Noreturn void fail_errno(const char *what)
{
	printf("%s: %s: %s\n", run.path, what, strerror(errno));
	fail_at(run.now.offset, run.now.offset + run.now.len);
}

/* Compare len bytes that were found at offset with what they must be. */
static void compare(const uint8_t *found, size_t offset, size_t len, const char *how)
{
	size_t bad = 0, first = 0, last = 0;

	if (memcmp(found, run.good + offset, len) == 0)
		return;
	for (size_t i = 0; i < len; i++) {
		if (found[i] == run.good[offset + i])
			continue;
		if (!bad++)
			first = i;
		last = i;
	}
	printf("%s by %s: %zu of %zu bytes differ, from %#zx to %#zx; at %#zx: expected", run.path,
	       how, bad, len, offset + first, offset + last, offset + first);
	for (size_t i = first; i < len && i < first + 16; i++)
		printf(" %02x", run.good[offset + i]);
	printf(", found");
	for (size_t i = first; i < len && i < first + 16; i++)
		printf(" %02x", found[i]);
	printf("; size %#zx\n", run.size);
	fail_at(offset + first, offset + last + 1);
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	/* Not async-signal-safe, but the program ends here, and was in no library call. */
	printf("%s: SIGBUS in a mapping at %p (held at %p), size %#zx\n", run.path, info->si_addr,
	       (void *)run.held, run.size);
	fail_at(run.now.offset, run.now.offset + run.now.len);
}

/* ---- what the operations share ---- */

/* Choose a range of what the file has; its size must not be 0. */
static void choose_inside(void)
{
	run.now.offset = edgy(run.size - 1);
	run.now.len = span(run.size - run.now.offset);
}

/* Choose a range that may lie beyond the end. */
static void choose_anywhere(void)
{
	size_t most = below(3) ? run.size : run.length - 1;

	if (most >= run.length)
		most = run.length - 1;
	run.now.offset = edgy(most);
	run.now.len = span(run.length - run.now.offset);
}

/* The model's side of bytes that come to be at a place; the file may grow, over a hole. */
static void good_write(size_t offset, const uint8_t *bytes, size_t len)
{
	if (offset > run.size)
		memset(run.good + run.size, 0, offset - run.size);
	memcpy(run.good + offset, bytes, len);
	if (offset + len > run.size)
		run.size = offset + len;
}

static void good_size(size_t size)
{
	if (size > run.size)
		memset(run.good + run.size, 0, size - run.size);
	run.size = size;
}

/* Open the file and, if wanted, map it for long. */
static void open_file(int flags)
{
	run.fd = open(run.path, O_RDWR | O_CLOEXEC | flags, 0644);
	if (run.fd < 0)
		fail_errno("open");
}

static void hold(void)
{
	if (run.held)
		return;
	run.held = mmap(NULL, run.length, PROT_READ | PROT_WRITE, MAP_SHARED, run.fd, 0);
	if (run.held == MAP_FAILED) {
		run.held = NULL;
		fail_errno("mmap of the whole file");
	}
}

static void let_go(void)
{
	if (run.held && munmap(run.held, run.length) != 0)
		fail_errno("munmap");
	run.held = NULL;
}

static void check_size(void)
{
	struct stat st;

	if (fstat(run.fd, &st) != 0)
		fail_errno("fstat");
	if ((uint64_t)st.st_size == run.size)
		return;
	printf("%s: size is %#" PRIx64 ", expected %#zx\n", run.path, (uint64_t)st.st_size,
	       run.size);
	fail_at(0, UINT64_MAX);
}

/* Leave an operation out for good when the filesystem does not have it. */
static bool missing(int error)
{
	if (error != EOPNOTSUPP && error != ENOSYS)
		return false;
	if (run.need_all)
		return false;
	run.left_out[run.now.op] = true;
	printf("LEFT OUT %s: %s\n", ops[run.now.op].name, strerror(error));
	return true;
}

static void write_all(int fd, const uint8_t *bytes, size_t len, size_t offset)
{
	while (len) {
		ssize_t n = pwrite(fd, bytes, len, (off_t)offset);

		if (n <= 0) {
			errno = n ? errno : EIO;
			fail_errno("pwrite");
		}
		bytes += n;
		len -= (size_t)n;
		offset += (size_t)n;
	}
}

/* Read and compare; what lies beyond the end must not be given. */
static void read_and_compare(int fd, size_t offset, size_t len, const char *how)
{
	size_t there = offset < run.size ? run.size - offset : 0;
	ssize_t n;

	memset(run.buffer, 0xa5, len);
	n = pread(fd, run.buffer, len, (off_t)offset);
	if (n < 0)
		fail_errno("pread");
	if ((size_t)n != (len < there ? len : there)) {
		printf("%s by %s: %zd bytes at %#zx, expected %zu; size %#zx\n", run.path, how, n,
		       offset, len < there ? len : there, run.size);
		fail_at(offset, offset + len);
	}
	compare(run.buffer, offset, (size_t)n, how);
}

/* ---- the operations ---- */

static void do_read(void)
{
	choose_anywhere();
	read_and_compare(run.fd, run.now.offset, run.now.len, "read");
}

static void do_mapread(void)
{
	size_t start, end, tail;
	uint8_t *map;

	if (!run.size)
		return;
	choose_inside();
	start = run.now.offset / run.page * run.page;
	end = run.now.offset + run.now.len;
	run.now.variant = (uint32_t)below(2);
	map = mmap(NULL, end - start, PROT_READ, run.now.variant ? MAP_PRIVATE : MAP_SHARED, run.fd,
		   (off_t)start);
	if (map == MAP_FAILED)
		fail_errno("mmap for reading");
	compare(map + (run.now.offset - start), run.now.offset, run.now.len, "mapping");
	/* The last page goes on behind the end of the file, with zeros. */
	tail = (end + run.page - 1) / run.page * run.page;
	for (size_t i = run.size; end == run.size && i < tail; i++) {
		if (map[i - start]) {
			printf("%s by mapping: %02x behind the end at %#zx, expected 00; size "
			       "%#zx\n",
			       run.path, map[i - start], i, run.size);
			fail_at(run.size, tail);
		}
	}
	if (munmap(map, end - start) != 0)
		fail_errno("munmap");
}

static void do_heldread(void)
{
	if (!run.size)
		return;
	choose_inside();
	hold();
	compare(run.held + run.now.offset, run.now.offset, run.now.len, "held mapping");
}

/* Align the chosen range for direct I/O. Returns false if nothing is left of it. */
static bool choose_direct(void)
{
	choose_anywhere();
	run.now.offset = run.now.offset / DIRECT_ALIGN * DIRECT_ALIGN;
	run.now.len = (run.now.len + DIRECT_ALIGN - 1) / DIRECT_ALIGN * DIRECT_ALIGN;
	if (run.now.offset + run.now.len > run.length)
		run.now.len = (run.length - run.now.offset) / DIRECT_ALIGN * DIRECT_ALIGN;
	return run.now.len > 0;
}

static int open_direct(void)
{
	int fd = open(run.path, O_RDWR | O_CLOEXEC | O_DIRECT);

	if (fd < 0 && errno == EINVAL) /* how open says that there is no direct I/O */
		errno = EOPNOTSUPP;
	if (fd < 0 && !missing(errno))
		fail_errno("open for direct I/O");
	return fd;
}

static void do_directread(void)
{
	int fd;

	if (!choose_direct())
		return;
	fd = open_direct();
	if (fd < 0)
		return;
	read_and_compare(fd, run.now.offset, run.now.len, "direct read");
	close(fd);
}

static void do_directwrite(void)
{
	int fd;

	if (!choose_direct())
		return;
	fd = open_direct();
	if (fd < 0)
		return;
	make_data(run.buffer, run.now.len);
	write_all(fd, run.buffer, run.now.len, run.now.offset);
	good_write(run.now.offset, run.buffer, run.now.len);
	if (close(fd) != 0)
		fail_errno("close");
}

static void do_write(void)
{
	choose_anywhere();
	make_data(run.buffer, run.now.len);
	write_all(run.fd, run.buffer, run.now.len, run.now.offset);
	good_write(run.now.offset, run.buffer, run.now.len);
}

static void do_append(void)
{
	ssize_t n;
	int fd;

	if (run.size >= run.length)
		return;
	run.now.offset = run.size;
	run.now.len = span(run.length - run.size);
	make_data(run.buffer, run.now.len);
	fd = open(run.path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (fd < 0)
		fail_errno("open for appending");
	n = write(fd, run.buffer, run.now.len);
	if (n != (ssize_t)run.now.len) {
		errno = n < 0 ? errno : EIO;
		fail_errno("write at the end");
	}
	if (close(fd) != 0)
		fail_errno("close");
	good_write(run.now.offset, run.buffer, run.now.len);
}

/* Writing through a mapping cannot make the file longer, so that comes first. */
static void grow_for_mapping(void)
{
	size_t end = run.now.offset + run.now.len;

	if (end <= run.size)
		return;
	if (ftruncate(run.fd, (off_t)end) != 0)
		fail_errno("ftruncate before writing to a mapping");
	good_size(end);
}

static void do_mapwrite(void)
{
	size_t start, end;
	uint8_t *map;

	choose_anywhere();
	grow_for_mapping();
	start = run.now.offset / run.page * run.page;
	end = run.now.offset + run.now.len;
	map = mmap(NULL, end - start, PROT_READ | PROT_WRITE, MAP_SHARED, run.fd, (off_t)start);
	if (map == MAP_FAILED)
		fail_errno("mmap for writing");
	make_data(run.buffer, run.now.len);
	memcpy(map + (run.now.offset - start), run.buffer, run.now.len);
	good_write(run.now.offset, run.buffer, run.now.len);
	if (below(3) == 0 && msync(map, end - start, below(2) ? MS_SYNC : MS_ASYNC) != 0)
		fail_errno("msync");
	if (munmap(map, end - start) != 0)
		fail_errno("munmap");
}

static void do_heldwrite(void)
{
	choose_anywhere();
	grow_for_mapping();
	hold();
	make_data(run.buffer, run.now.len);
	memcpy(run.held + run.now.offset, run.buffer, run.now.len);
	good_write(run.now.offset, run.buffer, run.now.len);
}

static void do_truncate(void)
{
	size_t size = edgy(run.length);

	/* Growing is as likely as shrinking, so that the file does not stay small. */
	if (below(2) && run.size < run.length)
		size = run.size + below(run.length - run.size + 1);
	run.now.offset = run.size;
	run.now.len = size;
	if (below(4) == 0) {
		run.now.variant = 1; /* by name */
		if (truncate(run.path, (off_t)size) != 0)
			fail_errno("truncate");
	} else if (ftruncate(run.fd, (off_t)size) != 0) {
		fail_errno("ftruncate");
	}
	good_size(size);
	check_size();
}

/* fallocate with this mode; true if it was done. */
static bool allocate(int mode)
{
	run.now.variant = (uint32_t)mode;
	if (fallocate(run.fd, mode, (off_t)run.now.offset, (off_t)run.now.len) == 0)
		return true;
	if (!missing(errno))
		fail_errno("fallocate");
	return false;
}

static void good_zero(bool keep_size)
{
	size_t end = run.now.offset + run.now.len;

	if (!keep_size && end > run.size)
		good_size(end);
	if (end > run.size)
		end = run.size;
	if (end > run.now.offset)
		memset(run.good + run.now.offset, 0, end - run.now.offset);
}

static void do_punch(void)
{
	choose_anywhere();
	if (allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
		good_zero(true);
	check_size();
}

static void do_zero(void)
{
	bool keep = below(2);

	choose_anywhere();
	if (allocate(FALLOC_FL_ZERO_RANGE | (keep ? FALLOC_FL_KEEP_SIZE : 0)))
		good_zero(keep);
	check_size();
}

static void do_allocate(void)
{
	bool keep = below(2);
	size_t end;

	choose_anywhere();
	end = run.now.offset + run.now.len;
	if (allocate(keep ? FALLOC_FL_KEEP_SIZE : 0) && !keep && end > run.size)
		good_size(end);
	check_size();
}

static void do_copy(void)
{
	off_t from, to;
	size_t left;

	if (run.size < 2)
		return;
	choose_inside();
	run.now.from = run.now.offset;
	run.now.offset = edgy(run.length - 1);
	if (run.now.len > run.length - run.now.offset)
		run.now.len = run.length - run.now.offset;
	/* Ranges that overlap are refused by the system call. */
	left = run.now.from < run.now.offset ? run.now.offset - run.now.from
					     : run.now.from - run.now.offset;
	if (run.now.len > left)
		run.now.len = left;
	if (!run.now.len)
		return;
	from = (off_t)run.now.from;
	to = (off_t)run.now.offset;
	left = run.now.len;
	while (left) {
		ssize_t n = copy_file_range(run.fd, &from, run.fd, &to, left, 0);

		if (n < 0 && left == run.now.len && missing(errno))
			return;
		if (n <= 0) {
			errno = n ? errno : EIO;
			fail_errno("copy_file_range");
		}
		left -= (size_t)n;
	}
	memcpy(run.buffer, run.good + run.now.from, run.now.len);
	good_write(run.now.offset, run.buffer, run.now.len);
	check_size();
}

/*
 * A hole must read as zeros; the end counts as a hole. Whether zeros are data is the filesystem's
 * affair, and may change from one call to the next: it may find out late that it need not store them.
 */
static void do_seek(void)
{
	off_t data, hole;
	size_t end;

	if (!run.size)
		return;
	run.now.offset = edgy(run.size - 1);
	run.now.len = run.size - run.now.offset;
	data = lseek(run.fd, (off_t)run.now.offset, SEEK_DATA);
	if (data < 0 && errno != ENXIO) {
		if (errno == EINVAL)
			errno = EOPNOTSUPP;
		if (missing(errno))
			return;
		fail_errno("lseek for data");
	}
	end = data < 0 ? run.size : (size_t)data;
	if (end < run.now.offset || end > run.size) {
		printf("%s: SEEK_DATA from %#" PRIx64 " gives %#zx; size %#zx\n", run.path,
		       run.now.offset, end, run.size);
		fail_at(run.now.offset, run.size);
	}
	memset(run.buffer, 0, end - run.now.offset);
	compare(run.buffer, run.now.offset, end - run.now.offset, "SEEK_DATA, which says hole");
	hole = lseek(run.fd, (off_t)run.now.offset, SEEK_HOLE);
	if (hole < (off_t)run.now.offset || hole > (off_t)run.size) {
		printf("%s: SEEK_HOLE from %#" PRIx64 " gives %lld; size %#zx\n", run.path,
		       run.now.offset, (long long)hole, run.size);
		fail_at(run.now.offset, run.size);
	}
	if ((size_t)hole < run.size) {
		run.buffer[0] = 0;
		compare(run.buffer, (size_t)hole, 1, "SEEK_HOLE, which says hole");
	}
}

static void do_fsync(void)
{
	run.now.variant = (uint32_t)below(2);
	if ((run.now.variant ? fdatasync(run.fd) : fsync(run.fd)) != 0)
		fail_errno("fsync");
}

static void do_msync(void)
{
	hold();
	if (msync(run.held, run.length, MS_SYNC | (below(2) ? MS_INVALIDATE : 0)) != 0)
		fail_errno("msync");
}

static void do_reopen(void)
{
	run.now.variant = (uint32_t)below(2);
	if (run.now.variant)
		let_go(); /* else the mapping outlives the descriptor that it was made with */
	if (close(run.fd) != 0)
		fail_errno("close");
	open_file(0);
	check_size();
}

/* Have the pages forgotten, so that the filesystem is asked again; and compare everything. */
static void do_drop(void)
{
	let_go(); /* mapped pages are not forgotten */
	if (fdatasync(run.fd) != 0)
		fail_errno("fdatasync");
	errno = posix_fadvise(run.fd, 0, 0, POSIX_FADV_DONTNEED);
	if (errno)
		fail_errno("posix_fadvise");
	run.now.len = run.length;
	read_and_compare(run.fd, 0, run.length, "read of what was dropped");
}

/* ---- the run ---- */

static enum op choose(void)
{
	unsigned total = 0, pick;

	for (int i = 0; i < OP_COUNT; i++)
		total += ops[i].weight;
	for (;;) {
		pick = (unsigned)below(total);
		for (int i = 0; i < OP_COUNT; i++) {
			if (pick < ops[i].weight && !run.left_out[i])
				return (enum op)i;
			if (pick < ops[i].weight)
				break;
			pick -= ops[i].weight;
		}
	}
}

static double seconds_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void run_all(void)
{
	double end = seconds_now() + run.seconds;

	open_file(O_CREAT | O_TRUNC);
	for (uint64_t n = 1; !run.count || n <= run.count; n++) {
		if (run.seconds > 0 && n % 16 == 0 && seconds_now() >= end)
			break;
		run.now = (struct operation){.number = n, .op = choose()};
		ops[run.now.op].function();
		run.done[run.now.op]++;
		run.history[n % HISTORY_MAX] = run.now;
		if (run.verbose)
			print_operation(&run.now);
	}
	run.now = (struct operation){.number = run.now.number + 1, .op = OP_DROP};
	let_go();
	check_size();
	do_drop();
	if (close(run.fd) != 0)
		fail_errno("close");
}

/* Write the expected contents where they can be compared with the file after a remount. */
static void save_good(const char *path)
{
	FILE *file = fopen(path, "w");

	if (!file || fwrite(run.good, 1, run.size, file) != run.size || fclose(file) != 0) {
		fprintf(stderr, "fsx: %s: %s\n", path, strerror(errno));
		exit(1);
	}
}

static void leave_out(const char *name)
{
	for (int i = 0; i < OP_COUNT; i++) {
		if (strcmp(name, ops[i].name) == 0) {
			run.left_out[i] = run.unwanted[i] = true;
			return;
		}
	}
	fprintf(stderr, "fsx: there is no operation \"%s\"\n", name);
	exit(2);
}

static uint64_t number(const char *text, const char *option, uint64_t most)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno || end == text || *end || value > most) {
		fprintf(stderr, "fsx: --%s \"%s\" is not a number up to %" PRIu64 "\n", option,
			text, most);
		exit(2);
	}
	return value;
}

static const char usage[] = "usage: fsx [options] FILE\n"
			    "Random operations on a new file, compared with a copy in memory.\n"
			    "  --seed N       repeat a run (default: by the clock; it is printed)\n"
			    "  --count N      how many operations (default 5000; 0: no limit)\n"
			    "  --seconds N    end after this time (default: no limit)\n"
			    "  --length N     largest size of the file in bytes (default 1 MiB)\n"
			    "  --without OP   leave an operation out; may be repeated\n"
			    "  --all          an operation that is missing is a failure\n"
			    "  --good PATH    write the expected contents there at the end\n"
			    "  --verbose      print each operation\n";

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"seed", required_argument, NULL, 's'},    {"count", required_argument, NULL, 'n'},
		{"seconds", required_argument, NULL, 't'}, {"length", required_argument, NULL, 'l'},
		{"without", required_argument, NULL, 'w'}, {"good", required_argument, NULL, 'g'},
		{"all", no_argument, NULL, 'a'},           {"verbose", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0},
	};
	struct sigaction bus = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
	const char *good = NULL;
	bool changes = false;
	int c;

	run.seed = (uint64_t)time(NULL) * 1000 + (uint64_t)getpid() % 1000;
	run.count = OPERATIONS_DEFAULT;
	run.length = LENGTH_DEFAULT;
	run.page = (size_t)sysconf(_SC_PAGESIZE);
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 's':
			run.seed = number(optarg, "seed", UINT64_MAX);
			break;
		case 'n':
			run.count = number(optarg, "count", UINT64_MAX);
			break;
		case 't':
			run.seconds = (double)number(optarg, "seconds", 1000000);
			break;
		case 'l':
			run.length = (size_t)number(optarg, "length", LENGTH_MAX);
			break;
		case 'w':
			leave_out(optarg);
			break;
		case 'g':
			good = optarg;
			break;
		case 'a':
			run.need_all = true;
			break;
		case 'v':
			run.verbose = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind + 1 != argc || run.length < DIRECT_ALIGN) {
		fputs(usage, stderr);
		return 2;
	}
	for (int i = 0; i < OP_COUNT; i++)
		changes |= ops[i].changes && !run.left_out[i];
	if (!changes) {
		fputs("fsx: no operation is left that changes the file\n", stderr);
		return 2;
	}
	run.path = argv[optind];
	run.random = run.seed;
	run.good = calloc(1, run.length);
	run.buffer = aligned_alloc(DIRECT_ALIGN,
				   (run.length + DIRECT_ALIGN - 1) / DIRECT_ALIGN * DIRECT_ALIGN);
	if (!run.good || !run.buffer) {
		fprintf(stderr, "fsx: no memory for two times %zu bytes\n", run.length);
		return 1;
	}
	sigaction(SIGBUS, &bus, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("fsx: seed %" PRIu64 ", length %zu\n", run.seed, run.length);
	run_all();
	if (good)
		save_good(good);
	for (int i = 0; i < OP_COUNT; i++)
		printf("%s%" PRIu64 " %s", i ? ", " : "", run.done[i], ops[i].name);
	printf("\nfsx: ok, size %zu, seed %" PRIu64 "\n", run.size, run.seed);
	return 0;
}
