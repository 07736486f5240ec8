/*
 * To be loaded in front of a server (LD_PRELOAD): its device becomes as slow as a test says, so that
 * requests are found in their middle and not by luck. The file that HAMMER2_TEST_SLOW names is four
 * numbers: microseconds for each read and for each flush, and how many of both there were.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct slowness {
	_Atomic uint64_t read_us, flush_us, reads, flushes;
};

static struct slowness *slowness;

__attribute__((constructor)) static void find(void)
{
	const char *path = getenv("HAMMER2_TEST_SLOW");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *map;

	if (fd < 0)
		return;
	map = mmap(NULL, sizeof(*slowness), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map != MAP_FAILED)
		slowness = map;
	close(fd);
}

static void take_time(uint64_t us)
{
	struct timespec pause = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = us % 1000000 * 1000};

	if (us > 0)
		nanosleep(&pause, NULL);
}

ssize_t pread64(int fd, void *buf, size_t len, off64_t offset)
{
	ssize_t (*next)(int, void *, size_t, off64_t) =
		(ssize_t(*)(int, void *, size_t, off64_t))dlsym(RTLD_NEXT, "pread64");

	if (slowness) {
		atomic_fetch_add(&slowness->reads, 1);
		take_time(atomic_load(&slowness->read_us));
	}
	return next(fd, buf, len, offset);
}

int fdatasync(int fd)
{
	int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");

	if (slowness) {
		atomic_fetch_add(&slowness->flushes, 1);
		take_time(atomic_load(&slowness->flush_us));
	}
	return next(fd);
}
