/* Devices that are files, and windows: device/device.c and file.c. */
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"

#define SIZE (1u << 20)

static char dir[] = "/tmp/h2-test-device-XXXXXX";
static char path[64];

static int make_dir(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/image", dir);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(dir);
}

static int make_file(void **state)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_RDWR, 0600);

	(void)state;
	if (fd < 0 || ftruncate(fd, SIZE) < 0)
		return -1;
	return close(fd);
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

static struct h2_device *must_open(enum h2_device_mode mode)
{
	struct h2_device *dev = NULL;

	assert_int_equal(h2_device_open(path, mode, &dev), 0);
	return dev;
}

static void file__has_the_size_and_name_of_its_file(void **state)
{
	struct h2_device *dev = must_open(H2_DEVICE_READ);

	(void)state;
	assert_int_equal(dev->size, SIZE);
	assert_string_equal(dev->name, path);
	assert_false(dev->writable);
	h2_device_close(dev);
	h2_device_close(NULL);
}

static void file__gives_back_what_was_written(void **state)
{
	struct h2_device *dev = must_open(H2_DEVICE_WRITE);
	uint8_t out[5000], in[5000] = {0};

	(void)state;
	assert_true(dev->writable);
	unit_noise(out, sizeof(out), 1);
	assert_int_equal(h2_device_write(dev, 12345, out, sizeof(out)), 0);
	assert_int_equal(h2_device_flush(dev), 0);
	assert_int_equal(h2_device_read(dev, 12345, in, sizeof(in)), 0);
	assert_memory_equal(in, out, sizeof(in));
	h2_device_close(dev);
	dev = must_open(H2_DEVICE_READ);
	memset(in, 0, sizeof(in));
	assert_int_equal(h2_device_read(dev, 12345, in, sizeof(in)), 0);
	assert_memory_equal(in, out, sizeof(in));
	h2_device_close(dev);
}

static void file__refuses_ranges_outside(void **state)
{
	static const struct {
		uint64_t offset;
		size_t len;
		int expected;
	} rows[] = {
		{0, SIZE, 0},           {SIZE - 1, 1, 0},         {SIZE, 0, 0},
		{0, SIZE + 1, -ERANGE}, {SIZE - 1, 2, -ERANGE},   {SIZE, 1, -ERANGE},
		{SIZE + 1, 0, -ERANGE}, {UINT64_MAX, 1, -ERANGE}, {UINT64_MAX - 1, 4, -ERANGE},
		{1, SIZE_MAX, -ERANGE},
	};
	struct h2_device *dev = must_open(H2_DEVICE_WRITE);
	uint8_t *buf = unit_alloc(SIZE + 1);

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		assert_int_equal(h2_device_read(dev, rows[i].offset, buf, rows[i].len),
				 rows[i].expected);
		assert_int_equal(h2_device_write(dev, rows[i].offset, buf, rows[i].len),
				 rows[i].expected);
	}
	free(buf);
	h2_device_close(dev);
	assert_int_equal(h2_device_open(path, H2_DEVICE_READ, &dev), 0);
	assert_int_equal(dev->size, SIZE); /* no write made it longer */
	h2_device_close(dev);
}

static void file__opened_for_reading_is_not_written(void **state)
{
	static const enum h2_device_mode modes[] = {H2_DEVICE_READ, H2_DEVICE_UNLOCKED};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(modes); i++) {
		struct h2_device *dev = must_open(modes[i]);

		assert_int_equal(h2_device_write(dev, 0, "x", 1), -EROFS);
		assert_int_equal(h2_device_flush(dev), 0);
		h2_device_close(dev);
	}
}

static void file__that_was_cut_gives_an_error_and_no_zeros(void **state)
{
	struct h2_device *dev = must_open(H2_DEVICE_READ);
	uint8_t buf[4096];

	(void)state;
	assert_int_equal(truncate(path, SIZE / 2), 0);
	assert_int_equal(h2_device_read(dev, 0, buf, sizeof(buf)), 0);
	assert_int_equal(h2_device_read(dev, SIZE / 2 - 100, buf, sizeof(buf)), -EIO);
	assert_int_equal(h2_device_read(dev, SIZE - 4096, buf, sizeof(buf)), -EIO);
	h2_device_close(dev);
}

static void open__refuses_what_is_no_volume(void **state)
{
	struct h2_device *dev;
	char other[80];

	(void)state;
	snprintf(other, sizeof(other), "%s/missing", dir);
	assert_int_equal(h2_device_open(other, H2_DEVICE_READ, &dev), -ENOENT);
	assert_int_equal(h2_device_open(other, H2_DEVICE_WRITE, &dev), -ENOENT);
	assert_int_equal(h2_device_open("", H2_DEVICE_READ, &dev), -ENOENT);
	assert_int_equal(h2_device_open(dir, H2_DEVICE_READ, &dev), -EINVAL);
	assert_int_equal(h2_device_open("/dev/null", H2_DEVICE_READ, &dev), -EINVAL);
	snprintf(other, sizeof(other), "%s/fifo", dir);
	assert_int_equal(mkfifo(other, 0600), 0);
	assert_int_equal(h2_device_open(other, H2_DEVICE_READ, &dev), -EINVAL); /* and no waiting */
	assert_int_equal(unlink(other), 0);
}

/* What opening gives in a process of its own, as a positive errno or 0. */
static int open_elsewhere(enum h2_device_mode mode)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		struct h2_device *dev;
		int err = h2_device_open(path, mode, &dev);

		if (!err)
			h2_device_close(dev);
		_exit(-err);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void lock__readers_share(void **state)
{
	struct h2_device *dev = must_open(H2_DEVICE_READ);

	(void)state;
	assert_int_equal(open_elsewhere(H2_DEVICE_READ), 0);
	h2_device_close(dev);
}

static void lock__a_reader_excludes_writers(void **state)
{
	struct h2_device *dev = must_open(H2_DEVICE_READ);

	(void)state;
	assert_int_equal(open_elsewhere(H2_DEVICE_WRITE), EBUSY);
	h2_device_close(dev);
	assert_int_equal(open_elsewhere(H2_DEVICE_WRITE), 0);
}

static void lock__a_writer_excludes_readers_and_writers(void **state)
{
	struct h2_device *dev = must_open(H2_DEVICE_WRITE);

	(void)state;
	assert_int_equal(open_elsewhere(H2_DEVICE_READ), EBUSY);
	assert_int_equal(open_elsewhere(H2_DEVICE_WRITE), EBUSY);
	h2_device_close(dev);
	assert_int_equal(open_elsewhere(H2_DEVICE_READ), 0);
}

static void lock__holds_within_a_process_too(void **state)
{
	struct h2_device *dev = must_open(H2_DEVICE_WRITE), *other;

	(void)state;
	assert_int_equal(h2_device_open(path, H2_DEVICE_READ, &other), -EBUSY);
	h2_device_close(dev);
}

static void lock__who_only_looks_disturbs_nobody(void **state)
{
	struct h2_device *dev = must_open(H2_DEVICE_WRITE), *looker;

	(void)state;
	assert_int_equal(open_elsewhere(H2_DEVICE_UNLOCKED), 0);
	h2_device_close(dev);
	looker = must_open(H2_DEVICE_UNLOCKED);
	assert_int_equal(open_elsewhere(H2_DEVICE_WRITE), 0);
	h2_device_close(looker);
}

static void lock__goes_away_with_its_process(void **state)
{
	int ready[2];
	pid_t pid;
	char c;

	(void)state;
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct h2_device *dev;

		if (h2_device_open(path, H2_DEVICE_WRITE, &dev) || write(ready[1], "x", 1) != 1)
			_exit(1);
		pause();
		_exit(1);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	h2_device_close(must_open(H2_DEVICE_WRITE));
	close(ready[0]);
	close(ready[1]);
}

/* ---- windows ---- */

static void window__shows_a_part_of_the_device_below(void **state)
{
	struct h2_device *dev = must_open(H2_DEVICE_WRITE), *w;
	uint8_t buf[3];

	(void)state;
	assert_int_equal(h2_device_write(dev, 65536, "abc", 3), 0);
	assert_int_equal(h2_device_window(dev, 65536, 4096, "part", &w), 0);
	assert_int_equal(w->size, 4096);
	assert_string_equal(w->name, "part");
	assert_true(w->writable);
	assert_int_equal(h2_device_read(w, 0, buf, 3), 0);
	assert_memory_equal(buf, "abc", 3);
	assert_int_equal(h2_device_write(w, 4093, "xyz", 3), 0);
	assert_int_equal(h2_device_flush(w), 0);
	assert_int_equal(h2_device_read(dev, 65536 + 4093, buf, 3), 0);
	assert_memory_equal(buf, "xyz", 3);
	h2_device_close(w); /* and what is below */
	assert_int_equal(open_elsewhere(H2_DEVICE_WRITE), 0);
}

static void window__ends_where_it_was_told_to(void **state)
{
	struct h2_device *w;
	uint8_t buf[2];

	(void)state;
	assert_int_equal(h2_device_window(must_open(H2_DEVICE_WRITE), 1000, 100, "w", &w), 0);
	assert_int_equal(h2_device_read(w, 99, buf, 1), 0);
	assert_int_equal(h2_device_read(w, 99, buf, 2), -ERANGE);
	assert_int_equal(h2_device_read(w, 100, buf, 1), -ERANGE);
	assert_int_equal(h2_device_write(w, UINT64_MAX - 900, buf, 1), -ERANGE);
	h2_device_close(w);
	assert_int_equal(h2_device_window(must_open(H2_DEVICE_READ), 1000, 100, "w", &w), 0);
	assert_int_equal(h2_device_write(w, 0, buf, 1), -EROFS);
	h2_device_close(w);
}

static void window__outside_the_device_is_refused_and_closes_it(void **state)
{
	static const struct {
		uint64_t offset, size;
		int expected;
	} rows[] = {
		{0, SIZE, 0},
		{SIZE, 0, 0},
		{SIZE + 1, 0, -ERANGE},
		{0, SIZE + 1, -ERANGE},
		{1, SIZE, -ERANGE},
		{UINT64_MAX, 1, -ERANGE},
		{1, UINT64_MAX, -ERANGE},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		struct h2_device *w;

		assert_int_equal(h2_device_window(must_open(H2_DEVICE_WRITE), rows[i].offset,
						  rows[i].size, "w", &w),
				 rows[i].expected);
		if (!rows[i].expected)
			h2_device_close(w);
		assert_int_equal(open_elsewhere(H2_DEVICE_WRITE), 0);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_file, remove_file)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(file__has_the_size_and_name_of_its_file),
		TEST(file__gives_back_what_was_written),
		TEST(file__refuses_ranges_outside),
		TEST(file__opened_for_reading_is_not_written),
		TEST(file__that_was_cut_gives_an_error_and_no_zeros),
		TEST(open__refuses_what_is_no_volume),
		TEST(lock__readers_share),
		TEST(lock__a_reader_excludes_writers),
		TEST(lock__a_writer_excludes_readers_and_writers),
		TEST(lock__holds_within_a_process_too),
		TEST(lock__who_only_looks_disturbs_nobody),
		TEST(lock__goes_away_with_its_process),
		TEST(window__shows_a_part_of_the_device_below),
		TEST(window__ends_where_it_was_told_to),
		TEST(window__outside_the_device_is_refused_and_closes_it),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
