/* Memory mappings, and what is asked to be durable. */
#include "posix.h"

#include <linux/magic.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/statfs.h>

enum { PAGE = 4096 };

static sigjmp_buf after_signal;

static void on_signal(int number)
{
	siglongjmp(after_signal, number);
}

/* Which signal reading the byte raises, 0: none. */
static int signal_of_reading(const volatile char *at)
{
	const struct sigaction action = {.sa_handler = on_signal};
	int number;

	ok(sigaction(SIGBUS, &action, NULL));
	ok(sigaction(SIGSEGV, &action, NULL));
	number = sigsetjmp(after_signal, 1);
	if (number == 0)
		(void)*at;
	return number;
}

static char *map_of(int fd, size_t size, int protection, int flags)
{
	char *map = mmap(NULL, size, protection, flags, fd, 0);

	if (map == MAP_FAILED)
		ok(-1);
	return map;
}

static char *shared_map(int fd, size_t size)
{
	return map_of(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED);
}

/* ---- mappings ---- */

static void coherent(void)
{
	enum { SIZE = 3 * BLOCK };
	static char buf[SIZE];
	int fd = new_file("f");
	char *map;

	pattern(buf, SIZE, 1);
	equal(write(fd, buf, SIZE), SIZE);
	map = shared_map(fd, SIZE);
	same_bytes(map, buf, SIZE);
	/* There is one file, whichever way one looks at it. */
	for (int i = 0; i < 40; i++) {
		size_t at = random_below(SIZE - 100);

		if (i % 2) {
			memset(map + at, 'a' + i % 26, 100);
			memset(buf + at, 'a' + i % 26, 100);
			equal(pread(fd, buf, 100, (off_t)at), 100);
			same_bytes(buf + at, map + at, 100);
		} else {
			memset(buf + at, 'A' + i % 26, 100);
			equal(pwrite(fd, buf + at, 100, (off_t)at), 100);
			same_bytes(map + at, buf + at, 100);
		}
		if (i == 20)
			ok(msync(map, SIZE, MS_SYNC));
	}
	memcpy(buf, map, SIZE);
	/* The mapping outlives the descriptor, what was stored outlives the mapping. */
	ok(close(fd));
	map[5] = buf[5] = '!';
	ok(munmap(map, SIZE));
	fd = ok(open("f", O_RDWR));
	forget(fd);
	static char found[SIZE];
	equal(read(fd, found, SIZE), SIZE);
	same_bytes(found, buf, SIZE);
	/* Mapped after it was forgotten: from the filesystem. */
	forget(fd);
	map = map_of(fd, SIZE, PROT_READ, MAP_SHARED);
	same_bytes(map, buf, SIZE);
}

static void private_mapping(void)
{
	static char buf[PAGE];
	int fd = new_file("f");
	char *map;

	memset(buf, 'x', PAGE);
	equal(write(fd, buf, PAGE), PAGE);
	map = map_of(fd, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	map[10] = 'y';
	equal(pread(fd, buf, PAGE, 0), PAGE);
	equal(buf[10], 'x');
	ok(msync(map, PAGE, MS_SYNC));
	ok(munmap(map, PAGE));
	equal(pread(fd, buf, PAGE, 0), PAGE);
	equal(buf[10], 'x');
	/* A file that cannot be written can be mapped so. */
	fd = ok(open("f", O_RDONLY));
	map = map_of(fd, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	map[0] = 'z';
	equal(pread(fd, buf, 1, 0), 1);
	equal(buf[0], 'x');
}

static void mapped_holes(void)
{
	enum { SIZE = 4 * BLOCK };
	static char buf[SIZE];
	int fd = new_file("f");
	char *map;

	ok(ftruncate(fd, SIZE));
	map = shared_map(fd, SIZE);
	all_zero(map, SIZE, 0);
	map[0] = 'a';
	map[BLOCK + 17] = 'b';
	map[SIZE - 1] = 'c';
	ok(msync(map, SIZE, MS_SYNC));
	ok(munmap(map, SIZE));
	forget(fd);
	equal(pread(fd, buf, SIZE, 0), SIZE);
	equal(buf[0], 'a');
	equal(buf[BLOCK + 17], 'b');
	equal(buf[SIZE - 1], 'c');
	buf[0] = buf[BLOCK + 17] = buf[SIZE - 1] = 0;
	all_zero(buf, SIZE, 0);
}

static void between_processes(void)
{
	int fd = new_file("f");
	char *map;

	ok(ftruncate(fd, PAGE));
	map = shared_map(fd, PAGE);
	if (in_child()) {
		int own = ok(open("f", O_RDWR));
		char *other = shared_map(own, PAGE);

		other[7] = 'p';
		equal(pwrite(own, "q", 1, 8), 1);
		done();
	}
	equal(map[7], 'p');
	equal(map[8], 'q');
}

static void behind_the_end(void)
{
	int fd = new_file("f");
	char *map;

	ok(ftruncate(fd, 100));
	map = shared_map(fd, 4 * PAGE);
	/* The rest of the last page is zero, the pages behind it are not there. */
	all_zero(map, PAGE, 0);
	equal(signal_of_reading(map + PAGE), SIGBUS);
	ok(ftruncate(fd, 3 * PAGE));
	equal(signal_of_reading(map + PAGE), 0);
	map[2 * PAGE] = 'x';
	ok(ftruncate(fd, PAGE));
	equal(signal_of_reading(map + 2 * PAGE), SIGBUS);
	equal(signal_of_reading(map), 0);
	/* What was cut off is gone for the mapping too. */
	ok(ftruncate(fd, 3 * PAGE));
	equal(signal_of_reading(map + 2 * PAGE), 0);
	equal(map[2 * PAGE], 0);
	memset(map, 'y', 3 * PAGE);
	ok(ftruncate(fd, 1000));
	equal(map[999], 'y');
	all_zero(map + 1000, PAGE - 1000, 1000);
	ok(ftruncate(fd, 3 * PAGE));
	all_zero(map + 1000, 3 * PAGE - 1000, 1000);
}

static void stored_behind_the_end(void)
{
	struct statfs fs;
	char buf[PAGE];
	int fd = new_file("f");
	char *map;

	/* What is stored behind the end in the last page is not part of the file. */
	equal(write(fd, "0123456789", 10), 10);
	map = shared_map(fd, PAGE);
	memset(map + 10, 'z', 100);
	ok(msync(map, PAGE, MS_SYNC));
	equal(stat_of_fd(fd).st_size, 10);
	ok(munmap(map, PAGE));
	forget(fd);
	equal(pread(fd, buf, sizeof(buf), 0), 10);
	ok(ftruncate(fd, PAGE));
	equal(pread(fd, buf, sizeof(buf), 0), PAGE);
	same_bytes(buf, "0123456789", 10);
	/* POSIX wants zeros; tmpfs, which never writes a page back, never clears the rest of it. */
	ok(statfs(".", &fs));
	if (fs.f_type != TMPFS_MAGIC)
		all_zero(buf + 10, PAGE - 10, 10);
}

static void mapping_times(void)
{
	int fd = new_file("f");
	char *map;

	ok(ftruncate(fd, PAGE));
	map = shared_map(fd, PAGE);
	struct watch file = watch("f");
	tick();
	map[0] = 'x';
	/* POSIX: at some time between the store and the end of msync(). */
	ok(msync(map, PAGE, MS_SYNC));
	/* The page was read before it was changed. */
	changed_or(&file, "mc", "a");
}

static void mapping_errors(void)
{
	char c;
	int fd = new_file("f"), reader, dir;
	char *map;

	equal(write(fd, "x", 1), 1);
	reader = ok(open("f", O_RDONLY));
	dir = ok(open(".", O_RDONLY));
	fails((long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED, dir, 0), ENODEV);
	fails((long)mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, reader, 0), EACCES);
	fails((long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED, -1, 0), EBADF);
	fails((long)mmap(NULL, 0, PROT_READ, MAP_SHARED, fd, 0), EINVAL);
	fails((long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 17), EINVAL);
	map = map_of(reader, PAGE, PROT_READ, MAP_SHARED);
	fails(mprotect(map, PAGE, PROT_READ | PROT_WRITE), EACCES);
	ok(munmap(map, PAGE));
	fails(msync(map, PAGE, MS_SYNC), ENOMEM);
	(void)c;
}

static void mapped_unlinked(void)
{
	int fd = new_file("f");
	char buf[3], *map;

	ok(ftruncate(fd, BLOCK));
	map = shared_map(fd, BLOCK);
	ok(unlink("f"));
	ok(close(fd));
	memset(map, 'u', BLOCK);
	ok(msync(map, BLOCK, MS_SYNC));
	equal(map[BLOCK - 1], 'u');
	/* A new file of that name is another one. */
	put_text("f", "new");
	equal(get("f", buf, 3), 3);
	same_bytes(buf, "new", 3);
	equal(map[0], 'u');
}

/* ---- durability ---- */

static void synchronising(void)
{
	int fd = new_file("f"), reader, dir = ok(open(".", O_RDONLY));

	equal(write(fd, "x", 1), 1);
	ok(fsync(fd));
	ok(fdatasync(fd));
	ok(fsync(fd));
	reader = ok(open("f", O_RDONLY));
	ok(fsync(reader));
	ok(fdatasync(reader));
	ok(fsync(dir));
	ok(fdatasync(dir));
	ok(syncfs(fd));
	ok(syncfs(dir));
	equal(pwrite(fd, "y", 1, 100000), 1);
	ok(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
	ok(sync_file_range(fd, 0, 200000,
			   SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
				   SYNC_FILE_RANGE_WAIT_AFTER));
	fails(sync_file_range(fd, -1, 10, SYNC_FILE_RANGE_WRITE), EINVAL);
	fails(fsync(-1), EBADF);
	fails(fdatasync(-1), EBADF);
	fails(syncfs(-1), EBADF);
	sync();
	/* After the name is gone there is still a file to sync. */
	ok(unlink("f"));
	ok(fsync(fd));
	equal(write(fd, "z", 1), 1);
	ok(fsync(fd));
}

static void synchronous_writes(void)
{
	static const int flags[] = {O_SYNC, O_DSYNC};
	char buf[8];

	for (size_t i = 0; i < 2; i++) {
		int fd = ok(open("f", O_RDWR | O_CREAT | O_TRUNC | flags[i], 0644));

		equal(write(fd, "hello", 5), 5);
		equal(pwrite(fd, "H", 1, 0), 1);
		equal(pread(fd, buf, 5, 0), 5);
		same_bytes(buf, "Hello", 5);
		ok(close(fd));
	}
}

static void advice(void)
{
	char buf[8];
	int fd = new_file("f");

	equal(write(fd, "hello", 5), 5);
	for (int i = POSIX_FADV_NORMAL; i <= POSIX_FADV_NOREUSE; i++)
		equal(posix_fadvise(fd, 0, 0, i), 0);
	equal(posix_fadvise(fd, 0, 0, 99), EINVAL);
	ok(readahead(fd, 0, 100));
	equal(pread(fd, buf, sizeof(buf), 0), 5);
	same_bytes(buf, "hello", 5);
}

const struct posix_test posix_map_tests[] = {
	{"mmap", "coherent", coherent},
	{"mmap", "private", private_mapping},
	{"mmap", "holes", mapped_holes},
	{"mmap", "between-processes", between_processes},
	{"mmap", "behind-the-end", behind_the_end},
	{"mmap", "stored-behind-the-end", stored_behind_the_end},
	{"mmap", "times", mapping_times},
	{"mmap", "errors", mapping_errors},
	{"mmap", "unlinked", mapped_unlinked},
	{"sync", "calls", synchronising},
	{"sync", "flags", synchronous_writes},
	{"sync", "advice", advice},
	{0},
};
