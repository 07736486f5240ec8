/* The volumes that the other tests build are themselves sound: the full check finds no fault. */
#include "fixture.h"

#include <hammer2/check.h>

static void print_report(void *user, const struct h2_report *report)
{
	(void)user;
	if (report->severity != H2_NOTE)
		print_error("%s: %s at %#llx: %s\n", report->code,
			    report->object ? report->object : "?",
			    (unsigned long long)report->media, report->message);
}

static void expect_clean(struct fixture *f, struct h2_check_summary *summary)
{
	struct h2_check_options options = {.threads = 2, .report = print_report};

	fixture_open(f);
	assert_int_equal(h2_check_run(f->volumes, &options, summary), 0);
	assert_int_equal(summary->faults, 0);
}

static void image__of_nothing_is_clean(void **state)
{
	struct h2_check_summary summary;

	expect_clean(*state, &summary);
	assert_int_equal(summary.pfs_count, 1);
}

static void image__with_all_kinds_of_objects_is_clean(void **state)
{
	struct fixture *f = *state;
	struct image_block *dir = image_add_inode(f->image, f->root, 1024, H2_OBJECT_DIRECTORY);
	struct h2_check_summary summary;
	uint8_t *data = unit_alloc(300000);
	char name[128];

	image_add_dirent(f->image, f->root, "dir", 1024, H2_OBJECT_DIRECTORY);
	for (unsigned i = 0; i < 500; i++) {
		unsigned type = i % 7 == 0 ? H2_OBJECT_SYMLINK : H2_OBJECT_FILE;

		memset(data, (int)i + 1, 300000);
		image_inode(image_add_file(f->image, f->root, 2000 + i, type, i % 4, data,
					   i % 7 == 0 ? i + 1 : i * 211))
			->iparent = le64_make(1024);
		snprintf(name, sizeof(name), "%*u", i % 100 + 1, i);
		image_add_dirent(f->image, dir, name, 2000 + i, type);
	}
	image_add_pfs(f->image, f->image->super_root, "EMPTY");
	expect_clean(f, &summary);
	assert_int_equal(summary.pfs_count, 2);
	assert_int_equal(summary.names, 501);
	free(data);
}

static void image__altered_in_any_place_is_not_clean(void **state)
{
	struct fixture *f = *state;
	struct image_block *file;
	struct h2_check_summary summary;
	struct h2_check_options options = {.threads = 1};

	file = image_add_file(f->image, f->root, 1024, H2_OBJECT_FILE, 0, "x", 1);
	image_add_dirent(f->image, f->root, "file", 1024, H2_OBJECT_FILE);
	expect_clean(f, &summary);
	file->flags = IMAGE_KEEP_CHECK;
	file->bytes[0x201] ^= 1;
	fixture_open(f);
	assert_int_equal(h2_check_run(f->volumes, &options, &summary), 0);
	assert_true(summary.faults > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FIXTURE_TEST(image__of_nothing_is_clean),
		FIXTURE_TEST(image__with_all_kinds_of_objects_is_clean),
		FIXTURE_TEST(image__altered_in_any_place_is_not_clean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
