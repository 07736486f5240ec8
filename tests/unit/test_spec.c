/* How a user names a filesystem: h2_spec_parse(). */
#include "unit.h"

#include <fcntl.h>
#include <hammer2/volume.h>
#include <unistd.h>

struct row {
	const char *text;
	int err;
	const char *label; /* NULL: none */
	unsigned count;
	const char *volumes[3];
};

static void expect(const struct row *row)
{
	struct h2_spec spec;
	int err = h2_spec_parse(row->text, &spec);

	if (err != row->err || (!err && spec.count != row->count))
		print_error("\"%s\": %d, %u volumes\n", row->text, err, err ? 0 : spec.count);
	assert_int_equal(err, row->err);
	if (err)
		return;
	assert_int_equal(spec.count, row->count);
	for (unsigned i = 0; i < row->count; i++)
		assert_string_equal(spec.volumes[i], row->volumes[i]);
	if (row->label)
		assert_string_equal(spec.label, row->label);
	else
		assert_null(spec.label);
	h2_spec_fini(&spec);
}

static void spec__is_volumes_and_a_label(void **state)
{
	static const struct row rows[] = {
		{"disk", 0, NULL, 1, {"disk"}},
		{"/dev/sdx1@DATA", 0, "DATA", 1, {"/dev/sdx1"}},
		{"one:two@ROOT", 0, "ROOT", 2, {"one", "two"}},
		{"one:two:three", 0, NULL, 3, {"one", "two", "three"}},
		{"disk@", 0, NULL, 1, {"disk"}}, /* BS 2.3: an empty label counts as none */
		{"disk@beta two", 0, "beta two", 1, {"disk"}},
		{"disk@a:b", 0, "a:b", 1, {"disk"}}, /* a label may hold a colon */
		{"di@sk@L", 0, "L", 1, {"di@sk"}},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(rows); i++)
		expect(&rows[i]);
}

static void spec__partitions_belong_to_the_volume_before_them(void **state)
{
	static const struct row rows[] = {
		{"disk.img:s1d", 0, NULL, 1, {"disk.img:s1d"}},
		{"disk.img:p2@DATA", 0, "DATA", 1, {"disk.img:p2"}},
		{"a.img:p1:b.img:p2", 0, NULL, 2, {"a.img:p1", "b.img:p2"}},
		{"x.img:y.img:s1a", 0, NULL, 2, {"x.img", "y.img:s1a"}},
		{"disk.img:p0", 0, NULL, 2, {"disk.img", "p0"}}, /* no partition's name */
		{"p1", 0, NULL, 1, {"p1"}},                      /* nothing before it */
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(rows); i++)
		expect(&rows[i]);
}

static void spec__empty_names_are_refused(void **state)
{
	static const struct row rows[] = {
		{"", -EINVAL},   {"@DATA", -EINVAL}, {":", -EINVAL},    {"a:", -EINVAL},
		{":a", -EINVAL}, {"x::y", -EINVAL},  {"x:@L", -EINVAL}, {"@", -EINVAL},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(rows); i++)
		expect(&rows[i]);
}

static void spec__takes_64_volumes_and_not_65(void **state)
{
	char text[1024] = "";
	struct h2_spec spec;

	(void)state;
	for (unsigned i = 0; i < 64; i++)
		sprintf(text + strlen(text), "%sv%02u", i ? ":" : "", i);
	assert_int_equal(h2_spec_parse(text, &spec), 0);
	assert_int_equal(spec.count, 64);
	assert_string_equal(spec.volumes[63], "v63");
	h2_spec_fini(&spec);
	strcat(text, ":v64");
	assert_int_equal(h2_spec_parse(text, &spec), -E2BIG);
}

static void touch(const char *name)
{
	int fd = open(name, O_CREAT | O_WRONLY, 0600);

	assert_true(fd >= 0);
	close(fd);
}

static void spec__existing_files_are_meant_first(void **state)
{
	static const struct row rows[] = {
		{"odd@name", 0, NULL, 1, {"odd@name"}},
		{"odd:name", 0, NULL, 1, {"odd:name"}},
		{"odd:name@L", 0, "L", 1, {"odd:name"}},
		{"disk:p7", 0, NULL, 2, {"disk", "p7"}}, /* a file of that name */
		{"disk:p8", 0, NULL, 1, {"disk:p8"}},
	};
	static const char *const files[] = {"odd@name", "odd:name", "p7"};
	char dir[] = "/tmp/h2-test-spec-XXXXXX", before[4096];

	(void)state;
	assert_non_null(getcwd(before, sizeof(before)));
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	for (size_t i = 0; i < LENGTH_OF(files); i++)
		touch(files[i]);
	for (size_t i = 0; i < LENGTH_OF(rows); i++)
		expect(&rows[i]);
	for (size_t i = 0; i < LENGTH_OF(files); i++)
		assert_int_equal(unlink(files[i]), 0);
	assert_int_equal(chdir(before), 0);
	assert_int_equal(rmdir(dir), 0);
}

/* MF 11.6. */
static void default_label__goes_by_the_last_character(void **state)
{
	static const struct {
		const char *text, *label;
	} rows[] = {
		{"/dev/da0s1a", "BOOT"},  {"/dev/da0s1d", "ROOT"},
		{"/dev/da0s1e", "DATA"},  {"disk.img", "DATA"},
		{"disk.img:s1a", "BOOT"}, {"disk.img:s1d", "ROOT"},
		{"x1d:y1a", "ROOT"},      {"A", "DATA"},
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(rows); i++) {
		struct h2_spec spec;

		assert_int_equal(h2_spec_parse(rows[i].text, &spec), 0);
		assert_string_equal(h2_spec_default_label(&spec), rows[i].label);
		h2_spec_fini(&spec);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spec__is_volumes_and_a_label),
		cmocka_unit_test(spec__partitions_belong_to_the_volume_before_them),
		cmocka_unit_test(spec__empty_names_are_refused),
		cmocka_unit_test(spec__takes_64_volumes_and_not_65),
		cmocka_unit_test(spec__existing_files_are_meant_first),
		cmocka_unit_test(default_label__goes_by_the_last_character),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
