/* Cutting filesystems to their contents: what is left is sound, and whole. */
#include "unit.h"

#include <hammer2/change.h>
#include <hammer2/check.h>

#include "format.h"
#include "mkfs.h"
#include "shrink.h"
#include "sim.h"
#include "volumes.h"

#define BLOCK ((size_t)64 << 10)
#define CONTENTS_BEGIN (1000 * MIB) /* with the areas below */

struct fixture {
	struct h2_sim *sim;
	struct h2_volumes *volumes;
	struct h2_fs *fs;
	struct h2_pfs *pfs;
	struct h2_inode *root;
};

static unsigned reports;

static void on_report(void *user, const struct h2_report *report)
{
	(void)user;
	assert_non_null(report->message);
	reports++;
}

static void make_uuid(void *user, struct h2_uuid *uuid)
{
	uint8_t *next = user;

	for (unsigned i = 0; i < sizeof(uuid->bytes); i++)
		uuid->bytes[i] = (*next)++;
}

/* A new filesystem of which the boot and aux areas take most of the first zone. */
static void begin(struct fixture *f, uint64_t size)
{
	uint8_t next_uuid_byte = 0;
	struct h2_mkfs_options options = {
		.comp_algo = -1,
		.check_algo = -1,
		.boot_bytes = 256 * MIB,
		.aux_bytes = 736 * MIB,
		.uuid = make_uuid,
		.uuid_user = &next_uuid_byte,
	};
	struct h2_mkfs_plan plan;
	struct h2_device *dev;

	reports = 0;
	f->sim = h2_sim_new(size);
	assert_non_null(f->sim);
	assert_int_equal(h2_mkfs_plan(&size, 1, &options, &plan), 0);
	assert_int_equal(h2_sim_open(f->sim, true, &dev), 0);
	assert_int_equal(h2_mkfs_devices(&plan, &options, &dev), 0);
	assert_int_equal(h2_volumes_assemble(&dev, 1, &(struct h2_volumes_options){.write = true},
					     &f->volumes),
			 0);
	assert_int_equal(h2_fs_open(f->volumes,
				    &(struct h2_fs_options){.write = true, .pack = true}, &f->fs),
			 0);
	assert_int_equal(h2_pfs_open(f->fs, "LOCAL", &f->pfs), 0);
	assert_int_equal(h2_inode_get(f->pfs, H2_INUM_ROOT, &f->root), 0);
}

static void end(struct fixture *f)
{
	h2_inode_put(f->root);
	h2_pfs_put(f->pfs);
	assert_int_equal(h2_fs_close(f->fs), 0);
	h2_volumes_close(f->volumes);
}

/* The next bytes that nothing compresses or shares. */
static void next_block(uint32_t *x, uint8_t *block)
{
	for (size_t i = 0; i < BLOCK; i++) {
		*x = *x * 1664525 + 1013904223;
		block[i] = (uint8_t)(*x >> 24);
	}
}

static void make_file(struct fixture *f, const char *name, uint64_t size)
{
	const struct h2_new new_ = {
		.type = H2_OBJECT_FILE,
		.mode = 0644,
		.comp_algo = H2_INHERIT,
		.check_algo = H2_INHERIT,
	};
	static uint8_t block[BLOCK];
	struct h2_inode *file;
	uint32_t x = (uint8_t)name[0];

	assert_int_equal(h2_create(f->root, name, strlen(name), &new_, &file), 0);
	for (uint64_t at = 0; at < size; at += BLOCK) {
		next_block(&x, block);
		assert_int_equal(h2_file_write(file, at, block, BLOCK, 0), BLOCK);
	}
	h2_inode_put(file);
	assert_int_equal(h2_fs_sync(f->fs), 0);
}

static void expect_file(struct h2_fs *fs, const char *name, uint64_t size)
{
	static uint8_t block[BLOCK], found[BLOCK];
	struct h2_pfs *pfs;
	struct h2_inode *file;
	uint32_t x = (uint8_t)name[0];

	assert_int_equal(h2_pfs_open(fs, "LOCAL", &pfs), 0);
	assert_int_equal(h2_path_lookup(pfs, name, &file), 0);
	for (uint64_t at = 0; at < size; at += BLOCK) {
		next_block(&x, block);
		assert_int_equal(h2_file_read(file, at, found, BLOCK), BLOCK);
		assert_memory_equal(found, block, BLOCK);
	}
	h2_inode_put(file);
	h2_pfs_put(pfs);
}

/*
 * Remove a file, and commit until its storage is free, and that of what the first of these commits
 * still had to put behind it.
 */
static void remove_file(struct fixture *f, const char *name)
{
	const struct h2_set_attr touch = {.valid = H2_SET_ATIME};

	assert_int_equal(h2_unlink(f->root, name, strlen(name), NULL), 0);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(h2_inode_set_attr(f->root, &touch), 0);
		assert_int_equal(h2_fs_sync(f->fs), 0);
	}
}

/* Check what is in the first size bytes. Returns the header. */
static struct h2_volume_header check(struct h2_sim *sim, uint64_t size,
				     struct h2_check_summary *summary)
{
	struct h2_volume_header header;
	struct h2_volumes *volumes;
	struct h2_device *dev, *window;

	assert_int_equal(h2_sim_open(sim, false, &dev), 0);
	assert_int_equal(h2_device_window(dev, 0, size, "cut", &window), 0);
	assert_int_equal(h2_volumes_assemble(&window, 1, NULL, &volumes), 0);
	header = *h2_volumes_header(volumes);
	assert_int_equal(h2_check_run(volumes, NULL, summary), 0);
	assert_int_equal(summary->faults, 0);
	assert_int_equal(summary->warnings, 0);
	h2_volumes_close(volumes);
	return header;
}

/* Cut it. Returns the size. */
static uint64_t shrink(struct h2_sim *sim, uint64_t size)
{
	struct h2_check_summary before, after;
	struct h2_volume_header old = check(sim, size, &before), header = old;
	static struct h2d_volume_header d;
	struct h2_device *dev;

	assert_int_equal(h2_sim_open(sim, true, &dev), 0);
	assert_int_equal(h2_shrink(dev, &header, on_report, NULL), 0);
	assert_int_equal(h2_device_flush(dev), 0);
	/* Until the header comes, what it was is as it was. */
	(void)check(sim, size, &before);
	h2_volume_header_encode(&header, &d);
	h2_volume_header_seal(&d);
	for (uint64_t at = 0; at < header.volu_size; at += H2_HEADER_SPACING)
		assert_int_equal(h2_device_write(dev, at, &d, sizeof(d)), 0);
	assert_int_equal(h2_device_flush(dev), 0);
	h2_device_close(dev);
	/* The count of free bytes in the header follows the freemap. */
	(void)check(sim, header.volu_size, &after);
	assert_int_equal(old.allocator_free - header.allocator_free,
			 before.free_bytes - after.free_bytes);
	assert_int_equal(after.reachable_bytes, before.reachable_bytes);
	return header.volu_size;
}

/* The volume is sound and can be changed. */
static void expect_sound(struct h2_sim *sim, uint64_t size, const char *name, uint64_t file_size)
{
	struct h2_check_summary summary;
	struct h2_volumes *volumes;
	struct h2_device *dev, *window;
	struct fixture f = {.sim = sim};

	for (unsigned round = 0; round < 2; round++) {
		/* Only that much of the device. */
		assert_int_equal(h2_sim_open(sim, true, &dev), 0);
		assert_int_equal(h2_device_window(dev, 0, size, "cut", &window), 0);
		assert_int_equal(h2_volumes_assemble(&window, 1,
						     &(struct h2_volumes_options){.write = true},
						     &volumes),
				 0);
		assert_int_equal(h2_check_run(volumes, NULL, &summary), 0);
		assert_int_equal(summary.faults, 0);
		assert_int_equal(summary.warnings, 0);
		assert_int_equal(h2_fs_open(volumes, &(struct h2_fs_options){.write = true}, &f.fs),
				 0);
		if (name)
			expect_file(f.fs, name, file_size);
		f.volumes = volumes;
		assert_int_equal(h2_pfs_open(f.fs, "LOCAL", &f.pfs), 0);
		assert_int_equal(h2_inode_get(f.pfs, H2_INUM_ROOT, &f.root), 0);
		make_file(&f, round == 0 ? "0 new" : "1 new", BLOCK);
		end(&f);
	}
}

static void shrink__keeps_what_is_there(void **state)
{
	static const uint64_t sizes[] = {2 * GIB, 7 * GIB + 8 * MIB, 600 * GIB, UINT64_C(5) << 40};
	static const uint64_t files[] = {BLOCK, 10 * MIB, 22 * MIB, 40 * MIB};

	(void)state;
	for (unsigned i = 0; i < LENGTH_OF(sizes); i++) {
		uint64_t least = CONTENTS_BEGIN + files[i] + (files[i] > 24 * MIB ? 4 * MIB : 0),
			 size;
		struct fixture f;

		begin(&f, sizes[i]);
		make_file(&f, "a file", files[i]);
		end(&f);
		size = shrink(f.sim, sizes[i]);
		assert_in_range(size, least, least + 16 * MIB);
		expect_sound(f.sim, size, "a file", files[i]);
		h2_sim_free(f.sim);
	}
	assert_int_equal(reports, 0);
}

/* Leaves of zones behind the new end go away with them. */
static void shrink__forgets_what_was_there(void **state)
{
	struct fixture f;
	uint64_t size;

	(void)state;
	begin(&f, 9 * GIB);
	make_file(&f, "a file", 10 * MIB);
	make_file(&f, "large", 30 * MIB);
	remove_file(&f, "large");
	end(&f);
	size = shrink(f.sim, 9 * GIB);
	assert_in_range(size, CONTENTS_BEGIN + 10 * MIB, CONTENTS_BEGIN + 24 * MIB);
	expect_sound(f.sim, size, "a file", 10 * MIB);
	h2_sim_free(f.sim);
}

static void shrink__leaves_what_has_no_room_to_spare(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, 1024 * MIB);
	make_file(&f, "a file", 20 * MIB);
	end(&f);
	assert_int_equal(shrink(f.sim, 1024 * MIB), 1024 * MIB);
	expect_sound(f.sim, 1024 * MIB, "a file", 20 * MIB);
	h2_sim_free(f.sim);
}

static void shrink__refuses_damage(void **state)
{
	struct h2_volume_header header, before;
	struct h2_check_summary summary;
	uint8_t byte = 0x5a;
	struct h2_device *dev;
	struct fixture f;

	(void)state;
	begin(&f, 2 * GIB);
	make_file(&f, "a file", BLOCK);
	end(&f);
	header = before = check(f.sim, 2 * GIB, &summary);
	assert_int_equal(
		h2_sim_poke(f.sim, h2_blockref_offset(&header.freemap_blockset[0]) + 100, &byte, 1),
		0);
	assert_int_equal(h2_sim_open(f.sim, true, &dev), 0);
	assert_int_equal(h2_shrink(dev, &header, on_report, NULL), -H2_ECHECK);
	assert_memory_equal(&header, &before, sizeof(header));
	assert_int_equal(reports, 1);
	header.nvolumes = 2;
	assert_int_equal(h2_shrink(dev, &header, on_report, NULL), -EINVAL);
	h2_device_close(dev);
	h2_sim_free(f.sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shrink__keeps_what_is_there),
		cmocka_unit_test(shrink__forgets_what_was_there),
		cmocka_unit_test(shrink__leaves_what_has_no_room_to_spare),
		cmocka_unit_test(shrink__refuses_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
