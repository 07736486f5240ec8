/* Space: fallocate, holes, copy_file_range, statvfs. */
#include "posix.h"

#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/statvfs.h>

enum { SIZE = 3 * BLOCK + 5000 };

static unsigned char data[SIZE], found[2 * SIZE], expected[2 * SIZE];

static int full_file(const char *name)
{
	int fd = new_file(name);

	pattern(data, SIZE, 1);
	equal(write(fd, data, SIZE), SIZE);
	memset(expected, 0, sizeof(expected));
	memcpy(expected, data, SIZE);
	return fd;
}

static void expect_contents(int fd, off_t size)
{
	equal(stat_of_fd(fd).st_size, size);
	equal(pread(fd, found, sizeof(found), 0), size);
	same_bytes(found, expected, (size_t)size);
}

/* Whether a mode works here; skips it, loudly, where it does not. */
static bool supports(int fd, int mode, const char *name)
{
	if (fallocate(fd, mode, 0, 1) == 0)
		return true;
	if (errno == EOPNOTSUPP)
		skip(name, "fallocate() says %s", strerror(errno));
	else
		ok(-1);
	return false;
}

static const struct {
	off_t at, len;
} ranges[] = {
	{0, 1},
	{0, 512},
	{511, 2},
	{1000, 100},
	{0, 4096},
	{4096, 4096},
	{4095, 2},
	{1, BLOCK - 2},
	{0, BLOCK},
	{BLOCK, BLOCK},
	{BLOCK - 1, 2},
	{BLOCK - 1, BLOCK + 2},
	{1, 2 * BLOCK},
	{BLOCK, 2 * BLOCK},
	{100, SIZE - 200},
	{SIZE - 1, 1},
	{SIZE - 5000, 5000},
	{SIZE - 10, 1000},
	{0, SIZE},
	{SIZE - 10, BLOCK * 2},
};
enum { RANGES = sizeof(ranges) / sizeof(ranges[0]) };

/* ---- fallocate ---- */

static void allocate(void)
{
	int fd = full_file("f"), mode = 0;

	if (!supports(fd, mode, "fallocate"))
		return;
	ok(fallocate(fd, 0, 0, SIZE));
	expect_contents(fd, SIZE);
	struct watch file = watch("f");
	tick();
	ok(fallocate(fd, 0, SIZE - 10, 1010));
	changed(&file, "mc");
	expect_contents(fd, SIZE + 1000);
	ok(fallocate(fd, FALLOC_FL_KEEP_SIZE, SIZE, BLOCK));
	expect_contents(fd, SIZE + 1000);
	/* What was allocated behind the end and is written later is zero in between. */
	equal(pwrite(fd, "x", 1, SIZE + 3000), 1);
	expected[SIZE + 3000] = 'x';
	expect_contents(fd, SIZE + 3001);
	ok(fallocate(fd, 0, 0, 1));
	expect_contents(fd, SIZE + 3001);
	fd = new_file("g");
	ok(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 100000));
	equal(stat_of_fd(fd).st_size, 0);
	memset(expected, 0, sizeof(expected));
	ok(fallocate(fd, 0, 0, 100000));
	expect_contents(fd, 100000);
	equal(posix_fallocate(fd, 0, 120000), 0);
	expect_contents(fd, 120000);
}

static void punch(void)
{
	const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	int fd = full_file("probe");

	if (!supports(fd, mode, "PUNCH_HOLE"))
		return;
	for (size_t i = 0; i < RANGES; i++) {
		fd = full_file("f");
		if (i % 2)
			forget(fd);
		ok(fallocate(fd, mode, ranges[i].at, ranges[i].len));
		memset(expected + ranges[i].at, 0, (size_t)ranges[i].len);
		expect_contents(fd, SIZE);
		if (i % 5 == 0) {
			forget(fd);
			expect_contents(fd, SIZE);
		}
		/* Nothing lurks behind the end. */
		ok(ftruncate(fd, SIZE + BLOCK));
		expect_contents(fd, SIZE + BLOCK);
		ok(close(fd));
		ok(unlink("f"));
	}
	fd = full_file("f");
	forget(fd);
	ok(close(fd));
	blkcnt_t before = stat_of("f").st_blocks;
	fd = ok(open("f", O_RDWR));
	struct watch file = watch("f");
	tick();
	ok(fallocate(fd, mode, BLOCK, BLOCK));
	changed(&file, "mc");
	/* POSIX does not say when st_blocks is up to date; a FUSE mount asks at the close. */
	ok(fsync(fd));
	ok(close(fd));
	check(stat_of("f").st_blocks < before);
	fd = ok(open("f", O_RDWR));
	/* Wholly behind the end it is nothing. */
	ok(fallocate(fd, mode, SIZE + 1000, 1000));
	equal(stat_of_fd(fd).st_size, SIZE);
}

static void zero_range(void)
{
	int fd = full_file("probe");

	if (!supports(fd, FALLOC_FL_ZERO_RANGE, "ZERO_RANGE"))
		return;
	for (size_t i = 0; i < RANGES; i++) {
		off_t end = ranges[i].at + ranges[i].len;

		for (int keep = 0; keep < 2; keep++) {
			off_t size = !keep && end > SIZE ? end : SIZE;

			fd = full_file("f");
			if (i % 2)
				forget(fd);
			ok(fallocate(fd, FALLOC_FL_ZERO_RANGE | (keep ? FALLOC_FL_KEEP_SIZE : 0),
				     ranges[i].at, ranges[i].len));
			memset(expected + ranges[i].at, 0, (size_t)ranges[i].len);
			expect_contents(fd, size);
			if (i % 5 == 0) {
				forget(fd);
				expect_contents(fd, size);
			}
			ok(close(fd));
			ok(unlink("f"));
		}
	}
	fd = full_file("f");
	struct watch file = watch("f");
	tick();
	ok(fallocate(fd, FALLOC_FL_ZERO_RANGE, 100, 100));
	changed(&file, "mc");
	/* Of a file that has nothing there. */
	fd = new_file("g");
	ok(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0, 1000));
	equal(stat_of_fd(fd).st_size, 0);
	ok(fallocate(fd, FALLOC_FL_ZERO_RANGE, 5000, 1000));
	equal(stat_of_fd(fd).st_size, 6000);
}

static void fallocate_modes(void)
{
	int fd = full_file("f");

	fails(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096), EOPNOTSUPP);
	fails(fallocate(fd, 0x4000, 0, 4096), EOPNOTSUPP);
	fails_either(fallocate(fd,
			       FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0,
			       4096),
		     EOPNOTSUPP, EINVAL);
	expect_contents(fd, SIZE);
	/* The modes that move what follows: all of it or nothing of it. */
	if (fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, BLOCK, BLOCK) == 0) {
		memmove(expected + BLOCK, expected + 2 * BLOCK, SIZE - 2 * BLOCK);
		memset(expected + SIZE - BLOCK, 0, BLOCK);
		expect_contents(fd, SIZE - BLOCK);
	} else {
		equal(errno, EOPNOTSUPP);
		expect_contents(fd, SIZE);
		skip("COLLAPSE_RANGE", "fallocate() says %s", strerror(EOPNOTSUPP));
	}
	ok(close(fd));
	fd = full_file("g");
	if (fallocate(fd, FALLOC_FL_INSERT_RANGE, BLOCK, BLOCK) == 0) {
		memmove(expected + 2 * BLOCK, expected + BLOCK, SIZE - BLOCK);
		memset(expected + BLOCK, 0, BLOCK);
		expect_contents(fd, SIZE + BLOCK);
	} else {
		equal(errno, EOPNOTSUPP);
		expect_contents(fd, SIZE);
		skip("INSERT_RANGE", "fallocate() says %s", strerror(EOPNOTSUPP));
	}
}

static void fallocate_errors(void)
{
	int fd = full_file("f"), reader = ok(open("f", O_RDONLY)), fifo;

	fails(fallocate(fd, 0, 0, 0), EINVAL);
	fails(fallocate(fd, 0, -1, 10), EINVAL);
	fails(fallocate(fd, 0, 10, -1), EINVAL);
	fails(fallocate(reader, 0, 0, 10), EBADF);
	fails(fallocate(-1, 0, 0, 10), EBADF);
	fails(fallocate(ok(open(".", O_RDONLY)), 0, 0, 10), EBADF);
	ok(mkfifo("p", 0644));
	fifo = ok(open("p", O_RDWR));
	fails(fallocate(fifo, 0, 0, 10), ESPIPE);
	expect_contents(fd, SIZE);
}

static void no_space(void)
{
	struct statvfs vfs;
	int fd = new_file("f");
	unsigned long long all;

	ok(statvfs(".", &vfs));
	all = (unsigned long long)vfs.f_blocks * vfs.f_frsize;
	if (all == 0 || all > 1ull << 40) {
		skip("no-space", "the filesystem has %llu bytes: too many, or unknown", all);
		return;
	}
	if (!supports(fd, FALLOC_FL_KEEP_SIZE, "fallocate"))
		return;
	/* More than there can be: it must not be promised. */
	fails_either(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)(2 * all)), ENOSPC, EFBIG);
	equal(stat_of_fd(fd).st_size, 0);
	ok(ftruncate(fd, 0));
	ok(close(fd));
	ok(unlink("f"));
	put_text("g", "there is room again");
	has_text("g", "there is room again");
}

/* ---- holes ---- */

/*
 * The file as SEEK_DATA and SEEK_HOLE see it. They may call holes data, in any granularity; but
 * what they call a hole must read as zeros, so that programs may leave it out.
 */
static void check_segments(int fd, off_t size)
{
	static unsigned char buf[1 << 16];
	off_t at = 0;
	unsigned rounds = 0;

	while (at < size) {
		off_t start = lseek(fd, at, SEEK_DATA), end, again;

		if (start < 0) {
			equal(errno, ENXIO);
			start = size;
		}
		if (start < at || start > size) {
			failed("SEEK_DATA from %lld: expected up to %lld, got %lld", (long long)at,
			       (long long)size, (long long)start);
			return;
		}
		/* Large holes: both ends. */
		for (off_t hole = at; hole < start;) {
			off_t len = start - hole < (off_t)sizeof(buf) ? start - hole
								      : (off_t)sizeof(buf);

			equal(pread(fd, buf, (size_t)len, hole), len);
			if (!all_zero(buf, (size_t)len, hole))
				return;
			if (start - hole > 64 * (off_t)sizeof(buf))
				hole = start - 2 * (off_t)sizeof(buf);
			else
				hole += len;
		}
		if (start == size)
			return;
		end = lseek(fd, start, SEEK_HOLE);
		if (end <= start || end > size) {
			failed("SEEK_HOLE from %lld, which is data: expected more, up to %lld, "
			       "got %lld",
			       (long long)start, (long long)size, (long long)end);
			return;
		}
		/* From within data, that is where it is. */
		again = start + (end - start) / 2;
		equal(lseek(fd, again, SEEK_DATA), again);
		equal(lseek(fd, again, SEEK_HOLE), end);
		if (end < size) {
			equal(lseek(fd, end, SEEK_HOLE), end);
		}
		at = end;
		if (++rounds > 100) {
			failed("expected the file to end, got 100 segments up to %lld",
			       (long long)at);
			return;
		}
	}
}

static void holes(void)
{
	static const struct {
		off_t size;
		off_t at[4]; /* where there is one page of data, -1 ends */
	} rows[] = {
		{4096, {0, -1}},
		{100, {-1}},
		{10 * BLOCK, {-1}},
		{10 * BLOCK, {0, -1}},
		{10 * BLOCK, {3 * BLOCK, 5 * BLOCK + 4096, -1}},
		{10 * BLOCK, {0, 9 * BLOCK + 15 * 4096, -1}},
		{((off_t)1 << 30) + 5, {0, 1 << 29, -1}},
		{((off_t)1 << 40) + 5, {1 << 20, (off_t)1 << 33, (off_t)1 << 40, -1}},
	};
	static char page[4096];
	bool found_hole = false;

	memset(page, 'p', sizeof(page));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int fd = new_file("f");

		ok(ftruncate(fd, rows[i].size));
		for (const off_t *at = rows[i].at; *at >= 0; at++)
			equal(pwrite(fd, page, sizeof(page), *at), sizeof(page));
		off_t size = stat_of_fd(fd).st_size;
		/*
		 * Once before anything is on the media: data that is only in a cache is data, and
		 * cp relies on that.
		 */
		for (int round = 0; round < 2; round++) {
			check_segments(fd, size);
			for (const off_t *at = rows[i].at; *at >= 0; at++)
				equal(lseek(fd, *at, SEEK_DATA), *at);
			forget(fd);
		}
		if (rows[i].at[0] == -1 || rows[i].at[0] > 0)
			found_hole |= lseek(fd, 0, SEEK_HOLE) == 0;
		fails(lseek(fd, size, SEEK_DATA), ENXIO);
		fails(lseek(fd, size, SEEK_HOLE), ENXIO);
		fails(lseek(fd, size + 1, SEEK_DATA), ENXIO);
		fails(lseek(fd, size + 1, SEEK_HOLE), ENXIO);
		ok(close(fd));
		ok(unlink("f"));
	}
	if (!found_hole)
		note("SEEK_HOLE finds no holes");
}

static void holes_everywhere(void)
{
	int fd = full_file("f");

	/* No hole but the end. */
	equal(lseek(fd, 0, SEEK_DATA), 0);
	equal(lseek(fd, 0, SEEK_HOLE), SIZE);
	equal(lseek(fd, 12345, SEEK_DATA), 12345);
	equal(lseek(fd, 12345, SEEK_CUR), 24690);
	forget(fd);
	equal(lseek(fd, 0, SEEK_HOLE), SIZE);
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, BLOCK, BLOCK) == 0)
		check_segments(fd, SIZE);
	ok(ftruncate(fd, 20 * BLOCK));
	check_segments(fd, 20 * BLOCK);
	forget(fd);
	check_segments(fd, 20 * BLOCK);
	/* Overwritten with zeros it may become a hole, and must be zero. */
	memset(expected, 0, sizeof(expected));
	equal(pwrite(fd, expected, 2 * BLOCK, 0), 2 * BLOCK);
	forget(fd);
	check_segments(fd, 20 * BLOCK);
	fd = new_file("g");
	fails(lseek(fd, 0, SEEK_DATA), ENXIO);
	fails(lseek(fd, 0, SEEK_HOLE), ENXIO);
}

/* ---- copy_file_range ---- */

static void copy_ranges(void)
{
	static const struct {
		off_t from, to;
		size_t len;
	} rows[] = {
		{0, 0, SIZE},
		{0, 0, 1},
		{1, 0, 5000},
		{0, 1, BLOCK},
		{BLOCK, 0, BLOCK},
		{BLOCK, BLOCK, 2 * BLOCK},
		{511, 513, 1000},
		{100, BLOCK - 50, 100},
		{BLOCK - 1, 2 * BLOCK, BLOCK + 2},
		{SIZE - 100, 0, 100},
		{0, 2 * BLOCK + 77, 300},
	};
	int from = full_file("from");

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int to = new_file("to");
		off_t in = rows[i].from, out = rows[i].to;
		size_t left = rows[i].len;

		/* It may copy less than all, and says how much. */
		while (left) {
			ssize_t n = copy_file_range(from, &in, to, &out, left, 0);

			ok(n);
			if (n == 0)
				break;
			left -= (size_t)n;
		}
		equal(left, 0);
		equal(in, rows[i].from + (off_t)rows[i].len);
		equal(out, rows[i].to + (off_t)rows[i].len);
		memset(expected, 0, sizeof(expected));
		memcpy(expected + rows[i].to, data + rows[i].from, rows[i].len);
		expect_contents(to, out);
		ok(close(to));
		ok(unlink("to"));
	}
}

static void copy_positions(void)
{
	int from = full_file("from"), to = new_file("to");
	off_t in = SIZE - 10;

	ok(lseek(from, SIZE - 300, SEEK_SET));
	equal(copy_file_range(from, NULL, to, NULL, 100, 0), 100);
	equal(lseek(from, 0, SEEK_CUR), SIZE - 200);
	equal(lseek(to, 0, SEEK_CUR), 100);
	/* At the end of the source it is short, then 0. */
	equal(copy_file_range(from, &in, to, NULL, 1000, 0), 10);
	equal(copy_file_range(from, &in, to, NULL, 1000, 0), 0);
	equal(copy_file_range(from, NULL, to, NULL, 0, 0), 0);
	equal(stat_of_fd(to).st_size, 110);
	memcpy(expected, data + SIZE - 300, 100);
	memcpy(expected + 100, data + SIZE - 10, 10);
	expect_contents(to, 110);
	struct watch target = watch("to"), source = watch("from");
	tick();
	in = 0;
	equal(copy_file_range(from, &in, to, NULL, 5, 0), 5);
	changed(&target, "mc");
	changed_or(&source, "", "a");
}

static void copy_within(void)
{
	int fd = full_file("f");
	off_t in = 100, out = 1000;

	equal(copy_file_range(fd, &in, fd, &out, 900, 0), 900);
	memcpy(expected + 1000, data + 100, 900);
	expect_contents(fd, SIZE);
	in = 100;
	out = 1000;
	fails(copy_file_range(fd, &in, fd, &out, 901, 0), EINVAL);
	in = 1000;
	out = 100;
	fails(copy_file_range(fd, &in, fd, &out, 901, 0), EINVAL);
	in = 0;
	out = 0;
	fails(copy_file_range(fd, &in, fd, &out, 1, 0), EINVAL);
	expect_contents(fd, SIZE);
	/* Behind its own end. */
	in = 0;
	out = SIZE + 10;
	equal(copy_file_range(fd, &in, fd, &out, 1000, 0), 1000);
	memcpy(expected + SIZE + 10, expected, 1000);
	expect_contents(fd, SIZE + 1010);
}

static void copy_holes(void)
{
	int from = new_file("from"), to = new_file("to");
	off_t in = 0, out = 0;

	memset(expected, 0, sizeof(expected));
	memset(expected + 2 * BLOCK, 'x', 100);
	equal(pwrite(from, "abc", 3, 0), 3);
	memcpy(expected, "abc", 3);
	equal(pwrite(from, expected + 2 * BLOCK, 100, 2 * BLOCK), 100);
	ok(ftruncate(from, 3 * BLOCK));
	/* What is there before is overwritten by holes as well. */
	pattern(data, SIZE, 2);
	equal(write(to, data, SIZE), SIZE);
	while (in < 3 * BLOCK) {
		ssize_t n = copy_file_range(from, &in, to, &out, (size_t)(3 * BLOCK - in), 0);

		ok(n);
		if (!check(n > 0))
			return;
	}
	memcpy(expected + 3 * BLOCK, data + 3 * BLOCK, SIZE - 3 * BLOCK);
	expect_contents(to, SIZE);
}

static void copy_errors(void)
{
	int from = full_file("from"), to = new_file("to"), reader, appender;
	off_t in = 0, out = 0;

	reader = ok(open("to", O_RDONLY));
	appender = ok(open("to", O_WRONLY | O_APPEND));
	fails(copy_file_range(from, &in, reader, &out, 10, 0), EBADF);
	fails(copy_file_range(ok(open("from", O_WRONLY)), &in, to, &out, 10, 0), EBADF);
	fails(copy_file_range(from, &in, appender, NULL, 10, 0), EBADF);
	fails(copy_file_range(from, &in, to, &out, 10, 1), EINVAL);
	fails(copy_file_range(ok(open(".", O_RDONLY)), &in, to, &out, 10, 0), EISDIR);
	ok(mkfifo("p", 0644));
	fails(copy_file_range(ok(open("p", O_RDWR)), NULL, to, &out, 10, 0), EINVAL);
	equal(stat_of_fd(to).st_size, 0);
	equal(in, 0);
	/* From another filesystem: Linux has done it, refused it, and done it for some. */
	int other = ok(memfd_create("other", 0));
	equal(write(other, "other", 5), 5);
	ssize_t n = copy_file_range(other, &in, to, &out, 5, 0);
	if (n == -1)
		equal(errno, EXDEV);
	else
		has_text("to", "other");
}

static void cloning(void)
{
	int from = full_file("from"), to = new_file("to");

	forget(from);
	if (ioctl(to, FICLONE, from) == -1) {
		/* What a filesystem without it, and one without ioctls say. */
		fails_either(ioctl(to, FICLONE, from), EOPNOTSUPP, ENOTTY);
		skip("FICLONE", "%s", strerror(errno));
		return;
	}
	expect_contents(to, SIZE);
	equal(pwrite(from, "changed", 7, 5), 7);
	expect_contents(to, SIZE);
}

/* ---- statvfs ---- */

static void statistics(void)
{
	struct statvfs vfs, same;
	int fd = ok(open(".", O_RDONLY));

	ok(statvfs(".", &vfs));
	ok(fstatvfs(fd, &same));
	equal(vfs.f_namemax, 255);
	equal(same.f_blocks, vfs.f_blocks);
	equal(same.f_bsize, vfs.f_bsize);
	check(vfs.f_bsize >= 512 && (vfs.f_bsize & (vfs.f_bsize - 1)) == 0);
	check(vfs.f_frsize >= 512 && (vfs.f_frsize & (vfs.f_frsize - 1)) == 0);
	check(vfs.f_bavail <= vfs.f_bfree);
	check(vfs.f_bfree <= vfs.f_blocks);
	check(vfs.f_blocks > 0);
	/* 0: the filesystem does not know how many inodes there can be. */
	check(vfs.f_ffree <= vfs.f_files);
	check(!(vfs.f_flag & ST_RDONLY));
	fails(statvfs("no", &vfs), ENOENT);
}

static void space_in_use(void)
{
	enum { PIECE = 1 << 20, PIECES = 8 };
	static unsigned char buf[PIECE];
	struct statvfs before, with, after;
	int fd = new_file("f");
	unsigned long long used;

	ok(syncfs(fd));
	ok(statvfs(".", &before));
	for (unsigned i = 0; i < PIECES; i++) {
		/* Neither compressible nor twice the same. */
		for (size_t k = 0; k + 4 <= PIECE; k += 4) {
			uint32_t x = random_below(UINT32_MAX);

			memcpy(buf + k, &x, 4);
		}
		equal(write(fd, buf, PIECE), PIECE);
	}
	ok(fsync(fd));
	ok(syncfs(fd));
	ok(statvfs(".", &with));
	used = (unsigned long long)(before.f_bfree - with.f_bfree) * before.f_frsize;
	if (before.f_bfree < with.f_bfree || used < PIECES * PIECE / 2 ||
	    used > 4ull * PIECES * PIECE)
		failed("after writing %d bytes: expected so much less free space, got %lld",
		       PIECES * PIECE, (long long)used);
	ok(close(fd)); /* for st_blocks, as above */
	check(stat_of("f").st_blocks * 512ll >= PIECES * PIECE);
	check(stat_of("f").st_blocks * 512ll < 2 * PIECES * PIECE);
	ok(unlink("f"));
	fd = ok(open(".", O_RDONLY));
	ok(syncfs(fd));
	ok(statvfs(".", &after));
	check(after.f_bfree >= with.f_bfree - with.f_bfree / 100);
	if ((after.f_bfree - with.f_bfree) * before.f_frsize < PIECES * PIECE / 2)
		note("space of a removed file is not free again at once");
}

const struct posix_test posix_space_tests[] = {
	{"fallocate", "allocate", allocate},
	{"fallocate", "punch", punch},
	{"fallocate", "zero-range", zero_range},
	{"fallocate", "modes", fallocate_modes},
	{"fallocate", "errors", fallocate_errors},
	{"fallocate", "no-space", no_space},
	{"seek", "holes", holes},
	{"seek", "everywhere", holes_everywhere},
	{"copy", "ranges", copy_ranges},
	{"copy", "positions", copy_positions},
	{"copy", "within", copy_within},
	{"copy", "holes", copy_holes},
	{"copy", "errors", copy_errors},
	{"copy", "cloning", cloning},
	{"statvfs", "plausible", statistics},
	{"statvfs", "in-use", space_in_use},
	{0},
};
