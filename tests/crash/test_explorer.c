/* The parts of the crash explorer, and that it notices what it must notice. */
#include "unit.h"

#include <hammer2/types.h>

#include "explore.h"
#include "fate.h"
#include "generate.h"
#include "memo.h"
#include "must.h"
#include "session.h"
#include "tree.h"
#include "verify.h"

/* ---- layers ---- */

static void layer__shows_what_is_below_until_it_is_written(void **state)
{
	struct layer below, above;
	uint8_t bytes[10000], found[10000];

	(void)state;
	layer_init(&below, NULL);
	layer_init(&above, &below);
	unit_noise(bytes, sizeof(bytes), 1);
	layer_write(&below, 1, 4000, bytes, sizeof(bytes));
	layer_read(&above, 1, 4000, found, sizeof(found));
	assert_memory_equal(found, bytes, sizeof(bytes));
	layer_write(&above, 1, 5000, bytes, 10);
	layer_read(&above, 1, 5000, found, 10);
	assert_memory_equal(found, bytes, 10);
	layer_read(&above, 1, 5010, found, 100);
	assert_memory_equal(found, bytes + 1010, 100);
	layer_read(&below, 1, 5000, found, 100);
	assert_memory_equal(found, bytes + 1000, 100);
	layer_read(&above, 0, 4000, found, 100); /* another volume */
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(found[i], 0);
	layer_reset(&above, &below);
	layer_read(&above, 1, 5000, found, 100);
	assert_memory_equal(found, bytes + 1000, 100);
	layer_fini(&above);
	layer_fini(&below);
}

static void layer__hash_follows_the_bytes(void **state)
{
	struct layer layer;
	uint64_t zero, one;

	(void)state;
	layer_init(&layer, NULL);
	zero = layer_hash(&layer, page_key_of(0, 0));
	layer_write(&layer, 0, 100, (const uint8_t *)"x", 1);
	one = layer_hash(&layer, page_key_of(0, 0));
	assert_true(one != zero);
	layer_write(&layer, 0, 100, (const uint8_t *)"", 1);
	assert_true(layer_hash(&layer, page_key_of(0, 0)) == zero);
	for (unsigned i = 0; i < 1000; i++) /* so many that its table grows */
		layer_write(&layer, i % 4, i * UINT64_C(1000000), (const uint8_t *)"x", 1);
	for (unsigned i = 0; i < 1000; i++) {
		uint8_t byte;

		layer_read(&layer, i % 4, i * UINT64_C(1000000), &byte, 1);
		assert_int_equal(byte, 'x');
	}
	layer_fini(&layer);
}

static void disk__records_writes_flushes_and_reads(void **state)
{
	static const uint64_t sizes[] = {8 * MIB, 16 * MIB};
	struct h2_device *devices[DISK_VOLUMES_MAX];
	struct page_list reads = {0};
	struct disk_log log = {0};
	struct layer layer;
	struct disk disk;
	uint8_t bytes[5000];

	(void)state;
	layer_init(&layer, NULL);
	disk_init(&disk, sizes, 2, &layer);
	disk.log = &log;
	disk.reads = &reads;
	disk_open(&disk, devices);
	assert_int_equal(devices[1]->size, 16 * MIB);
	assert_int_equal(h2_device_write(devices[1], 8192, "abc", 3), 0);
	assert_int_equal(h2_device_flush(devices[0]), 0);
	assert_int_equal(h2_device_read(devices[1], 8190, bytes, 5000), 0);
	assert_int_equal(h2_device_read(devices[1], 8192, bytes, 3), 0);
	assert_memory_equal(bytes, "abc", 3);
	assert_int_equal(log.count, 2);
	assert_int_equal(log.events[0].kind, LOG_WRITE);
	assert_int_equal(log.events[0].volume, 1);
	assert_int_equal(log.events[0].offset, 8192);
	assert_memory_equal(log.events[0].bytes, "abc", 3);
	assert_int_equal(log.events[1].kind, LOG_FLUSH);
	assert_int_equal(log.events[1].volume, 0);
	assert_int_equal(reads.count, 3); /* each page once, in their order */
	for (unsigned i = 0; i < 3; i++)
		assert_true(reads.keys[i] == page_key_of(1, (i + 1) * (uint64_t)DISK_PAGE));
	h2_device_close(devices[0]);
	h2_device_close(devices[1]);
	page_list_fini(&reads);
	log_fini(&log);
	disk_fini(&disk);
	layer_fini(&layer);
}

/* ---- fates ---- */

#define AT 3000u
#define LEN 20000u

/* What a write of 'n' over 'o' leaves, from AT - AT on. */
static void apply_fate(enum fate_kind kind, uint64_t seed, uint8_t found[AT + LEN + 5000])
{
	uint8_t old[AT + LEN + 5000], new_[LEN];
	struct log_event write = {.kind = LOG_WRITE, .offset = AT, .len = LEN, .bytes = new_};
	struct layer layer;

	memset(old, 'o', sizeof(old));
	memset(new_, 'n', sizeof(new_));
	layer_init(&layer, NULL);
	layer_write(&layer, 0, 0, old, sizeof(old));
	fate_apply(&layer, &write, &(struct fate){.kind = kind, .seed = seed});
	layer_read(&layer, 0, 0, found, sizeof(old));
	layer_fini(&layer);
}

static void fate__lost_and_kept_writes_are_whole(void **state)
{
	uint8_t found[AT + LEN + 5000];

	(void)state;
	apply_fate(FATE_LOST, 1, found);
	for (unsigned i = 0; i < sizeof(found); i++)
		assert_int_equal(found[i], 'o');
	apply_fate(FATE_KEPT, 1, found);
	for (unsigned i = 0; i < sizeof(found); i++)
		assert_int_equal(found[i], i >= AT && i < AT + LEN ? 'n' : 'o');
}

/* Whole sectors are there or not; some seeds keep more than others. */
static void check_torn(enum fate_kind kind, unsigned sector)
{
	uint8_t found[AT + LEN + 5000];
	unsigned kept = 0, lost = 0;

	for (uint64_t seed = 0; seed < 40; seed++) {
		apply_fate(kind, seed, found);
		for (unsigned i = 0; i < sizeof(found); i++) {
			unsigned first = i / sector * sector < AT ? AT : i / sector * sector;

			if (i < AT || i >= AT + LEN) {
				assert_int_equal(found[i], 'o');
				continue;
			}
			assert_int_equal(found[i], found[first]);
			kept += i == first && found[i] == 'n';
			lost += i == first && found[i] == 'o';
		}
	}
	assert_true(kept > 20 && lost > 20);
}

static void fate__torn_writes_are_there_by_sectors(void **state)
{
	(void)state;
	check_torn(FATE_TORN_512, 512);
	check_torn(FATE_TORN_4096, 4096);
}

static void fate__shredded_writes_damage_the_sectors_they_touch_only(void **state)
{
	uint8_t found[AT + LEN + 5000];
	bool neighbour = false;

	(void)state;
	for (uint64_t seed = 0; seed < 20; seed++) {
		apply_fate(FATE_SHREDDED, seed, found);
		for (unsigned i = 0; i < AT; i++)
			neighbour = neighbour || found[i] != 'o';
		for (unsigned i = (AT + LEN + 4095) / 4096 * 4096; i < sizeof(found); i++)
			assert_int_equal(found[i], 'o');
	}
	assert_true(neighbour);
}

/* ---- what was read ---- */

static void add_reads(struct page_list *list, unsigned count, const uint64_t *offsets)
{
	/* Pages are listed by reading them. */
	static const uint64_t size = 8 * MIB;
	struct h2_device *devices[DISK_VOLUMES_MAX];
	struct layer layer;
	struct disk disk;
	uint8_t byte;

	layer_init(&layer, NULL);
	disk_init(&disk, &size, 1, &layer);
	disk.reads = list;
	disk_open(&disk, devices);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(h2_device_read(devices[0], offsets[i], &byte, 1), 0);
	h2_device_close(devices[0]);
	disk_fini(&disk);
	layer_fini(&layer);
}

static void memo__finds_states_that_are_equal_in_what_was_read(void **state)
{
	static const uint64_t first[] = {0, 8192}, second[] = {0, 16384, 4096}, other[] = {4096};
	struct page_list a = {0}, b = {0}, c = {0};
	struct layer x, y, z;
	struct memo memo = {0};

	(void)state;
	add_reads(&a, 2, first);
	add_reads(&b, 3, second);
	add_reads(&c, 1, other);
	layer_init(&x, NULL);
	layer_init(&y, &x);
	layer_init(&z, &x);
	assert_true(memo_find(&memo, &x) == MEMO_NONE);
	assert_true(memo_add(&memo, &x, &a, 7));
	assert_int_equal(memo_find(&memo, &x), 7);
	layer_write(&y, 0, 4096, (const uint8_t *)"x", 1); /* was not read */
	assert_int_equal(memo_find(&memo, &y), 7);
	layer_write(&y, 0, 0, (const uint8_t *)"x", 1);
	assert_true(memo_find(&memo, &y) == MEMO_NONE);
	assert_true(memo_add(&memo, &y, &b, 8));
	assert_int_equal(memo_find(&memo, &y), 8);
	assert_int_equal(memo_find(&memo, &x), 7);
	layer_write(&z, 0, 8192, (const uint8_t *)"x", 1);
	assert_true(memo_find(&memo, &z) == MEMO_NONE);
	/* The same beginning cannot lead to reading another page. */
	assert_false(memo_add(&memo, &z, &b, 9));
	assert_false(memo_add(&memo, &z, &c, 9));
	memo_fini(&memo);
	page_list_fini(&a);
	page_list_fini(&b);
	page_list_fini(&c);
	layer_fini(&z);
	layer_fini(&y);
	layer_fini(&x);
}

/* ---- texts ---- */

static void op__every_operation_is_read_as_it_is_written(void **state)
{
	struct op_list list = {0}, again = {0};
	struct generator generator;
	struct model *model = model_new(2, 0);
	char *text;

	(void)state;
	for (unsigned i = 0; i < vocabulary_count; i++)
		assert_null(op_list_parse(vocabulary[i], &list));
	assert_int_equal(list.count, vocabulary_count);
	generator_init(&generator, 1, MIB);
	for (unsigned i = 0; i < 1000; i++) {
		struct op op;

		generate(&generator, model, &op);
		(void)model_do(model, &op, i, UINT64_MAX);
		op_list_add(&list, &op);
	}
	text = op_list_format(&list);
	assert_null(op_list_parse(text, &again));
	assert_int_equal(again.count, list.count);
	for (size_t i = 0; i < list.count; i++) {
		char x[OP_TEXT_MAX], y[OP_TEXT_MAX];

		op_format(&list.ops[i], x);
		op_format(&again.ops[i], y);
		assert_string_equal(x, y);
	}
	free(text);
	model_free(model);
	op_list_fini(&list);
	op_list_fini(&again);
}

static void op__nonsense_is_refused_with_a_reason(void **state)
{
	static const char *const texts[] = {
		"dance",
		"create",
		"create foo",
		"create /a /b",
		"write /a 1",
		"write /a 1 x noise",
		"write /a 1 1 music",
		"rename /a",
		"truncate /a -1",
		"create /a; ; sync sync",
		"create /0123456789012345678901234567890123456789012345678",
	};

	(void)state;
	for (size_t i = 0; i < LENGTH_OF(texts); i++) {
		struct op_list list = {0};
		char *wrong = op_list_parse(texts[i], &list);

		assert_non_null(wrong);
		free(wrong);
		op_list_fini(&list);
	}
}

static void op__components_stand_for_names(void **state)
{
	const char *rest;
	char name[OP_NAME_MAX];

	(void)state;
	assert_int_equal(op_path_pfs("@/a/L1", &rest), 1);
	assert_int_equal(op_path_next(&rest, name), 1);
	assert_string_equal(name, "a");
	assert_int_equal(op_path_next(&rest, name), 100);
	assert_memory_equal(name, "L1~", 3);
	assert_int_equal(op_path_next(&rest, name), 0);
	assert_int_equal(op_path_pfs("/X", &rest), 0);
	assert_int_equal(op_path_next(&rest, name), 255);
}

static void setup__is_read_from_its_text(void **state)
{
	static const char *const wrong[] = {"",        "big",    "32M,",           "32M pfs=3",
					    "32M dup", "32M  a", "1G,1G,1G,1G,1G", "32M prelude x"};
	struct setup setup;

	(void)state;
	assert_true(setup_parse("2056M,1G,32M pfs=2 left=4M dirty=256K cache=1M nodedup overlap "
				"discard prelude",
				&setup));
	assert_int_equal(setup.volume_count, 3);
	assert_int_equal(setup.sizes[0], 2056 * MIB);
	assert_int_equal(setup.sizes[2], 32 * MIB);
	assert_int_equal(setup.pfs_count, 2);
	assert_int_equal(setup.left_bytes, 4 * MIB);
	assert_int_equal(setup.dirty_bytes, 256 << 10);
	assert_int_equal(setup.cache_bytes, MIB);
	assert_true(setup.no_dedup && setup.overlap && setup.prelude && setup.discard);
	/* MF 2.1 */
	assert_int_equal(setup_header_copies(&setup), 2);
	assert_true(setup_parse("2G", &setup));
	assert_int_equal(setup_header_copies(&setup), 1);
	assert_true(setup_parse("8G", &setup));
	assert_int_equal(setup_header_copies(&setup), 4);
	for (size_t i = 0; i < LENGTH_OF(wrong); i++)
		assert_false(setup_parse(wrong[i], &setup));
}

/* ---- the model ---- */

/* Do the operations of a text; *failed: the number of those that must fail. */
static struct model *model_of(const char *text, unsigned *failed)
{
	struct model *model = model_new(1, 5);
	struct op_list ops = {0};

	*failed = 0;
	assert_null(op_list_parse(text, &ops));
	for (size_t i = 0; i < ops.count; i++)
		*failed += model_do(model, &ops.ops[i], i, UINT64_MAX) < 0;
	op_list_fini(&ops);
	return model;
}

static const struct tree_attr *attr_of(const struct tree *tree, const char *path)
{
	for (size_t i = 0; i < tree->count; i++) {
		if (strcmp(tree->entries[i].path, path) == 0)
			return &tree->entries[i].attr;
	}
	return NULL;
}

static void model__shows_what_the_operations_did(void **state)
{
	unsigned failed;
	struct tree tree;
	struct model *model = model_of("mkdir /d; create /d/f; write /d/f 10 100 text;"
				       "link /d/f /g; chmod /g 0600; times /d 7 8",
				       &failed);

	(void)state;
	assert_int_equal(failed, 0);
	model_tree(model, &tree);
	assert_int_equal(tree.count, 4);
	assert_int_equal(attr_of(&tree, "/d/f")->size, 110);
	assert_int_equal(attr_of(&tree, "/d/f")->nlink, 2);
	assert_int_equal(attr_of(&tree, "/d/f")->mode, 0600);
	assert_int_equal(attr_of(&tree, "/g")->content, attr_of(&tree, "/d/f")->content);
	assert_true(attr_of(&tree, "/g")->mtime == (TREE_TIME_OP | 2));
	assert_true(attr_of(&tree, "/g")->ctime == (TREE_TIME_OP | 4));
	assert_true(attr_of(&tree, "/g")->btime == (TREE_TIME_OP | 1));
	assert_true(attr_of(&tree, "/d")->mtime == 8);
	assert_true(attr_of(&tree, "/d")->nlink == 1); /* MF 6.7 */
	assert_true(attr_of(&tree, "/")->mtime == (TREE_TIME_OP | 3));
	assert_true(attr_of(&tree, "/")->btime == 5);
	tree_fini(&tree);
	model_free(model);
}

static void model__a_snapshot_of_a_directory_has_what_is_below_it(void **state)
{
	unsigned failed;
	struct tree tree;
	struct model *model = model_of("mkdir /d; mkdir /d/e; create /d/f; write /d/f 0 10 text;"
				       "link /d/f /d/e/g; link /d/f /h; chmod /d 0700;"
				       "snapshot-dir /d #/; write /d/f 0 20 text; unlink /d/e/g",
				       &failed);

	(void)state;
	assert_int_equal(failed, 0);
	model_tree(model, &tree);
	assert_int_equal(tree.count, 9);
	assert_int_equal(attr_of(&tree, "#/")->mode, 0700);
	assert_true(attr_of(&tree, "#/")->btime == TREE_TIME_OP);
	assert_true(attr_of(&tree, "#/")->ctime == (TREE_TIME_OP | 6));
	assert_int_equal(attr_of(&tree, "#/")->nlink, 1);
	assert_int_equal(attr_of(&tree, "#/f")->nlink, 2); /* not the one outside */
	assert_int_equal(attr_of(&tree, "#/f")->size, 10);
	assert_int_equal(attr_of(&tree, "#/e/g")->size, 10);
	assert_int_equal(attr_of(&tree, "/d/f")->nlink, 2);
	assert_int_equal(attr_of(&tree, "/d/f")->size, 20);
	tree_fini(&tree);
	model_free(model);
	/* Of what is none, of none, and where there is one. */
	model = model_of("create /f; snapshot-dir /f #/; snapshot-dir /none #/; snapshot-dir %/ #/;"
			 "mkdir /d; snapshot-dir /d #/; snapshot-dir /d #/; snapshot-dir / %/;"
			 "snapshot / %/",
			 &failed);
	assert_int_equal(failed, 5);
	model_free(model);
}

static void model__refuses_what_linux_does(void **state)
{
	unsigned failed;
	struct model *model = model_of(
		"mkdir /d; mkdir /d/e; create /f; create /f; unlink /d; rmdir /f; rmdir /d;"
		"rename /d /d/e/x; rename /f /d; rename /d /f; link /d /x; write /d 0 1 noise;"
		"unlink /none; truncate /d 0; create /f/x; exchange /f /none; rename / /x",
		&failed);

	(void)state;
	assert_int_equal(failed, 14);
	model_free(model);
}

static void tree__differences_are_told(void **state)
{
	static const char *const parts[] = {"/a: size is 10, expected 9", "/b is missing",
					    "/c is there, but should not"};
	unsigned failed;
	struct model *x = model_of("create /a; append /a 10 text; create /c; create /d;"
				   "create /e; create /f; link /f /g",
				   &failed);
	struct model *y = model_of("create /a; append /a 9 text; create /b; create /d;"
				   "create /f; chmod /d 0; link /f /e; create /g",
				   &failed);
	struct tree found, expected;
	char *text;

	(void)state;
	model_tree(x, &found);
	model_tree(y, &expected);
	assert_true(found.hash != expected.hash);
	text = tree_difference(&found, &expected);
	for (size_t i = 0; i < LENGTH_OF(parts); i++)
		assert_non_null(strstr(text, parts[i]));
	assert_non_null(strstr(text, "more"));
	free(text);
	tree_fini(&found);
	tree_fini(&expected);
	model_free(x);
	model_free(y);
}

/* ---- sessions ---- */

/* Make a filesystem, do the operations, and close it; what was written is in the log. */
static void record(const char *setup_text, const char *text, struct disk_log *log)
{
	struct op_list ops = {0};
	struct setup setup;
	struct history history;
	struct session session;
	struct layer layer;
	struct disk disk;

	assert_true(setup_parse(setup_text, &setup));
	assert_null(op_list_parse(text, &ops));
	layer_init(&layer, NULL);
	disk_init(&disk, setup.sizes, setup.volume_count, &layer);
	disk.log = log;
	assert_int_equal(setup_format(&setup, &disk, 1), 0);
	history_init(&history, &setup);
	session_open(&session, &setup, &disk, &history, NULL);
	session_do(&session, &ops);
	session_close(&session, false);
	assert_null(session.problem);
	history_fini(&history);
	disk_fini(&disk);
	layer_fini(&layer);
	op_list_fini(&ops);
}

static void session__same_operations_give_the_same_writes(void **state)
{
	static const char *const ops =
		"mkdir /d; create /d/a; write /d/a 0 1000000 noise; write /d/a 3000000 400000 text;"
		"sync; create /d/Lb; write /d/Lb 0 200000 same; unlink /d/a; write /d/Lb 7 9 noise;"
		"rename /d/Lb /c; remount; symlink /s 600; append /c 70000 text";
	struct disk_log x = {0}, y = {0};

	(void)state;
	record("1G,40M left=4M dirty=256K overlap", ops, &x);
	record("1G,40M left=4M dirty=256K overlap", ops, &y);
	assert_true(x.count > 20);
	assert_int_equal(x.count, y.count);
	for (size_t i = 0; i < x.count; i++) {
		assert_int_equal(x.events[i].kind, y.events[i].kind);
		assert_int_equal(x.events[i].volume, y.events[i].volume);
		assert_int_equal(x.events[i].offset, y.events[i].offset);
		assert_int_equal(x.events[i].len, y.events[i].len);
		if (x.events[i].len > 0)
			assert_memory_equal(x.events[i].bytes, y.events[i].bytes, x.events[i].len);
	}
	log_fini(&x);
	log_fini(&y);
}

/* With "left" both volumes are written; without, the first one only. */
static void session__left_space_sends_writes_to_the_second_volume(void **state)
{
	static const char *const setups[] = {"1G,32M", "1G,32M left=4M"};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct disk_log log = {0};
		size_t from = 0;
		bool second = false;

		record(setups[i], "create /a; append /a 100000 noise", &log);
		while (log.events[from].kind != LOG_BEGIN)
			from++;
		for (size_t k = from; k < log.count; k++)
			second = second ||
				 (log.events[k].kind == LOG_WRITE && log.events[k].volume == 1);
		assert_int_equal(second, i == 1);
		log_fini(&log);
	}
}

/* With "overlap" an operation begins before the sync in front of it is over. */
static void session__overlap_puts_operations_into_a_sync(void **state)
{
	static const char *const setups[] = {"32M", "32M overlap"};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct disk_log log = {0};
		size_t synced = 0;
		uint64_t begun = 0;

		record(setups[i], "create /a; sync; create /b; create /c; create /d", &log);
		while (log.events[synced].kind != LOG_SYNCED) {
			if (log.events[synced].kind == LOG_BEGIN)
				begun = log.events[synced].number;
			synced++;
		}
		assert_int_equal(log.events[synced].number, 2);
		assert_int_equal(begun, i == 0 ? 2 : 5); /* one for each of the three flushes */
		log_fini(&log);
	}
}

/* ---- the explorer ---- */

struct told {
	unsigned count;
	char text[8192]; /* the first one */
};

static void take_violation(void *user, const char *text)
{
	struct told *told = user;

	if (told->count++ == 0)
		snprintf(told->text, sizeof(told->text), "%s", text);
}

#define SOME_OPS                                                                                   \
	"create /A/x; append /A/x 5000 noise; rename /A/foo /B/bar; truncate /A/bar 10; sync;"     \
	"mkdir /A/y; link /A/x /B/z; unlink /A/x; exchange /A /B"

static void explorer__finds_nothing_wrong_with_a_sound_disk(void **state)
{
	struct explore_stats stats = {0};
	struct told told = {0};
	struct explore_options options = {
		.seed = 5, /* with a second failure */
		.violation = take_violation,
		.user = &told,
	};

	(void)state;
	assert_null(explore_operations(&options, "2056M prelude", SOME_OPS, &stats));
	assert_string_equal(told.text, "");
	assert_int_equal(stats.violations, 0);
	assert_int_equal(stats.operations > 9, true); /* some after a first failure */
	for (unsigned i = 0; i < EXPLORE_KINDS; i++)
		assert_true(stats.states[i] > 0);
	assert_true(stats.second > 0 && stats.distinct > 5);
}

/* Which operations a violation's command has. */
static void ops_of(const char *text, char ops[4096])
{
	const char *begin = strstr(text, "--ops \"");

	assert_non_null(begin);
	begin += strlen("--ops \"");
	snprintf(ops, 4096, "%.*s", (int)strcspn(begin, "\""), begin);
}

static void explorer__notices_a_disk_that_does_not_flush(void **state)
{
	struct explore_stats stats = {0}, again = {0};
	struct told told = {0};
	struct explore_options options = {
		.seed = 1,
		.violation = take_violation,
		.user = &told,
		.ignore_flushes = true,
	};
	struct op_list list = {0};
	char ops[4096];

	(void)state;
	assert_null(explore_operations(&options, "32M prelude", SOME_OPS, &stats));
	assert_int_equal(stats.violations, 1);
	assert_int_equal(told.count, 1);
	assert_non_null(strstr(told.text, "the power fails after"));
	assert_non_null(strstr(told.text, ": lost"));
	/* One operation and closing are enough for that, and do it again. */
	ops_of(told.text, ops);
	assert_null(op_list_parse(ops, &list));
	assert_int_equal(list.count, 1);
	op_list_fini(&list);
	assert_null(explore_operations(&options, "32M prelude", ops, &again));
	assert_int_equal(again.violations, 1);
}

static void explorer__asks_for_what_was_promised_and_no_more(void **state)
{
	struct explore_stats stats = {0};
	struct told told = {0};
	struct explore_options options = {
		.seed = 1,
		.violation = take_violation,
		.user = &told,
		.promise_too_much = true,
	};

	(void)state;
	assert_null(explore_operations(&options, "32M prelude", SOME_OPS, &stats));
	assert_int_equal(stats.violations, 1);
	assert_non_null(strstr(told.text, "none of the states that may be there"));
	assert_non_null(strstr(told.text, "(no difference)")); /* to the one before */
}

static void explorer__does_the_same_for_the_same_seed(void **state)
{
	struct explore_stats x = {0}, y = {0}, z = {0};
	struct explore_options options = {.seed = 3};

	(void)state;
	explore_random(&options, 3, &x);
	explore_random(&options, 3, &y);
	assert_memory_equal(&x, &y, sizeof(x));
	options.seed = 4;
	explore_random(&options, 3, &z);
	assert_memory_not_equal(&x, &z, sizeof(x));
	assert_int_equal(x.violations + z.violations, 0);
}

static void explorer__refuses_nonsense(void **state)
{
	struct explore_options options = {.seed = 1};
	struct explore_stats stats = {0};
	char *wrong;

	(void)state;
	wrong = explore_operations(&options, "32X", "sync", &stats);
	assert_non_null(wrong);
	free(wrong);
	wrong = explore_operations(&options, "32M", "sink", &stats);
	assert_non_null(wrong);
	free(wrong);
	assert_int_equal(explore_states(&stats), 0);
}

/* ---- verifying ---- */

/* A filesystem on a layer of its own. */
static void make_filesystem(struct setup *setup, struct layer *layer)
{
	struct disk disk;

	assert_true(setup_parse("4104M", setup));
	layer_init(layer, NULL);
	disk_init(&disk, setup->sizes, setup->volume_count, layer);
	assert_int_equal(setup_format(setup, &disk, 1), 0);
	disk_fini(&disk);
}

static void verify__tells_damage(void **state)
{
	struct layer layer, scratch;
	struct outcome outcome;
	struct setup setup;
	bool wrote;

	(void)state;
	make_filesystem(&setup, &layer);
	layer_init(&scratch, &layer);
	verify(&setup, &scratch, NULL, &wrote, NULL, &outcome);
	assert_null(outcome.problem);
	assert_true(outcome.opened && outcome.damaged == 0 && !wrote);
	outcome_fini(&outcome);
	/* A header copy is damaged: that may be excused. */
	layer_write(&layer, 0, H2_HEADER_SPACING + 5000, (const uint8_t *)"x", 1);
	layer_reset(&scratch, &layer);
	verify(&setup, &scratch, NULL, &wrote, NULL, &outcome);
	assert_null(outcome.problem);
	assert_int_equal(outcome.damaged, 2);
	outcome_fini(&outcome);
	/* The super-root's inode is: that may not. MF 11.6 says where it lies. */
	layer_write(&layer, 0, H2_SEGMENT + 16 * MIB + 100, (const uint8_t *)"x", 1);
	layer_reset(&scratch, &layer);
	verify(&setup, &scratch, NULL, &wrote, NULL, &outcome);
	assert_non_null(outcome.problem);
	assert_non_null(strstr(outcome.problem, "check-mismatch"));
	outcome_fini(&outcome);
	layer_fini(&scratch);
	layer_fini(&layer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layer__shows_what_is_below_until_it_is_written),
		cmocka_unit_test(layer__hash_follows_the_bytes),
		cmocka_unit_test(disk__records_writes_flushes_and_reads),
		cmocka_unit_test(fate__lost_and_kept_writes_are_whole),
		cmocka_unit_test(fate__torn_writes_are_there_by_sectors),
		cmocka_unit_test(fate__shredded_writes_damage_the_sectors_they_touch_only),
		cmocka_unit_test(memo__finds_states_that_are_equal_in_what_was_read),
		cmocka_unit_test(op__every_operation_is_read_as_it_is_written),
		cmocka_unit_test(op__nonsense_is_refused_with_a_reason),
		cmocka_unit_test(op__components_stand_for_names),
		cmocka_unit_test(setup__is_read_from_its_text),
		cmocka_unit_test(model__shows_what_the_operations_did),
		cmocka_unit_test(model__a_snapshot_of_a_directory_has_what_is_below_it),
		cmocka_unit_test(model__refuses_what_linux_does),
		cmocka_unit_test(tree__differences_are_told),
		cmocka_unit_test(session__same_operations_give_the_same_writes),
		cmocka_unit_test(session__left_space_sends_writes_to_the_second_volume),
		cmocka_unit_test(session__overlap_puts_operations_into_a_sync),
		cmocka_unit_test(explorer__finds_nothing_wrong_with_a_sound_disk),
		cmocka_unit_test(explorer__notices_a_disk_that_does_not_flush),
		cmocka_unit_test(explorer__asks_for_what_was_promised_and_no_more),
		cmocka_unit_test(explorer__does_the_same_for_the_same_seed),
		cmocka_unit_test(explorer__refuses_nonsense),
		cmocka_unit_test(verify__tells_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
