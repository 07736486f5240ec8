/*
 * mkfs.hammer2, also newfs_hammer2: make a HAMMER2 filesystem. The work is done by h2_mkfs_plan()
 * and h2_mkfs_write(), or with contents by h2_build_begin() and fill_pfs(); this is about
 * arguments, defaults, and not destroying what somebody needs.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <hammer2/build.h>
#include <hammer2/change.h>
#include <hammer2/mkfs.h>
#include <hammer2/volume.h>
#include <inttypes.h>
#include <libgen.h>
#include <linux/fs.h>
#include <nettle/sha2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "blkid.h"
#include "descriptors.h"
#include "fill.h"
#include "out.h"

enum { EXIT_MADE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/*
 * What an image is made with that is cut to its contents afterwards: it only has holes there. On
 * filesystems that have no such large files it is less.
 */
#define IMAGE_MAX (UINT64_C(8) << 40)
#define IMAGE_MIN (UINT64_C(64) << 20)
#define AREA_MIN (UINT64_C(8) << 20)

/* What is free must be as much for anything to be stored: a part is kept back for removing. */
#define ROOM_MIN (UINT64_C(8) << 20)

static volatile sig_atomic_t interrupted;

struct request {
	const char *program;
	struct h2_mkfs_options options;
	const char *labels[H2_MKFS_LABELS_MAX];
	bool no_labels; /* -L none */
	struct h2_uuid uuid;
	bool has_uuid;
	unsigned uuids_made;
	char *sizes; /* -s as given; NULL: none */
	bool force, dry_run, quiet, json;
	bool fixed_time;    /* SOURCE_DATE_EPOCH is set */
	const char *source; /* -d; NULL: an empty filesystem */
	bool smallest;      /* the size follows from the contents */
	unsigned count;
	struct h2_mkfs_target targets[H2_VOLUMES_MAX];
	uint64_t device_sizes[H2_VOLUMES_MAX]; /* bytes; 0: the file is to be made */
	bool missing[H2_VOLUMES_MAX];          /* there was no such file */
	struct fill_counts counts;             /* of what the filesystem was filled with */
	uint64_t left_bytes;                   /* free space after that */
};

static void complain(const struct request *r, const char *object, const char *problem)
{
	fprintf(stderr, "%s: %s%s%s\n", r->program, object, *object ? ": " : "", problem);
}

static void on_report(void *user, const struct h2_report *report)
{
	complain(user, "", report->message);
}

/* Random UUIDs; or, with -U, ones that follow from it, so that the result can be repeated. */
static void make_uuid(void *user, struct h2_uuid *uuid)
{
	struct request *r = user;
	unsigned number = r->uuids_made++;
	uint8_t digest[SHA256_DIGEST_SIZE];
	struct sha256_ctx ctx;

	if (r->has_uuid && number == 0) {
		*uuid = r->uuid;
		return;
	}
	if (r->has_uuid) {
		sha256_init(&ctx);
		sha256_update(&ctx, sizeof(r->uuid.bytes), r->uuid.bytes);
		sha256_update(&ctx, 1, &(uint8_t){(uint8_t)number});
		sha256_digest(&ctx, sizeof(digest), digest);
		memcpy(uuid->bytes, digest, sizeof(uuid->bytes));
	} else if (getrandom(uuid->bytes, sizeof(uuid->bytes), 0) != (ssize_t)sizeof(uuid->bytes)) {
		complain(r, "", "the system gives no random numbers");
		exit(EXIT_FAILED);
	}
	/* Version 4, variant 1; the third field is little-endian. */
	uuid->bytes[7] = (uint8_t)((uuid->bytes[7] & 0x0f) | 0x40);
	uuid->bytes[8] = (uint8_t)((uuid->bytes[8] & 0x3f) | 0x80);
}

/* ---- arguments ---- */

static void usage(FILE *to)
{
	fputs("usage: mkfs.hammer2 [options] DEVICE...\n"
	      "Make a HAMMER2 filesystem on one or several block devices or image files.\n\n"
	      "  -d, --fill SOURCE    fill it from a directory or an archive (\"-\": from "
	      "standard\n"
	      "                       input). An image without a size becomes as small as "
	      "possible\n"
	      "  -L, --label LABEL    a PFS besides LOCAL; up to three; \"none\": LOCAL alone.\n"
	      "                       Default: BOOT, ROOT or DATA by the device's last letter\n"
	      "  -U, --uuid UUID      the filesystem's id; all other ids follow from it\n"
	      "  -V, --fs-version N   format version 1 or 2 (default)\n"
	      "  -s, --size SIZE[:SIZE...]  bytes to use: of each device, or of all together;\n"
	      "                       image files that do not exist are made\n"
	      "  -b, --boot SIZE      size of the boot area (default: by the size)\n"
	      "  -r, --aux SIZE       size of the aux area (default: by the size)\n"
	      "  -c, --compress ALGO[:LEVEL]  none, autozero, lz4 (default), zlib\n"
	      "  -k, --check ALGO     none, disabled, crc32, xxhash64 (default), sha192\n"
	      "  -f, --force          also over a filesystem or partition table\n"
	      "  -n, --dry-run        only say what would be made\n"
	      "  -q, --quiet          say nothing\n"
	      "      --json           say it as JSON\n"
	      "  -h, --help           print this\n"
	      "      --version        print the version\n\n"
	      "Sizes take the suffixes K, M, G and T. SOURCE_DATE_EPOCH sets the time of "
	      "creation.\n",
	      to);
}

static int bad_value(const struct request *r, const char *option, const char *value)
{
	fprintf(stderr, "%s: option %s: %s: not a value of this option\n", r->program, option,
		value);
	return EXIT_USAGE;
}

static bool set_comp(struct request *r, char *text)
{
	static const char *const names[] = {"none", "autozero", "lz4", "zlib"};
	char *colon = strchr(text, ':');
	uint64_t level = 0;

	if (colon) {
		*colon++ = '\0';
		if (strcmp(colon, "default") != 0 &&
		    (strcasecmp(text, "zlib") != 0 || parse_size(colon, &level) != 0 || level < 1 ||
		     level > 9))
			return false;
	}
	for (int i = 0; i < 4; i++) {
		if (strcasecmp(text, names[i]) == 0) {
			r->options.comp_algo = (int)level << 4 | i;
			return true;
		}
	}
	return false;
}

static bool set_check(struct request *r, const char *text)
{
	for (int i = 0; i <= H2_CHECK_SHA192; i++) {
		if (strcasecmp(text, h2_check_algo_name((unsigned)i)) == 0) {
			r->options.check_algo = i;
			return true;
		}
	}
	return false;
}

/* "-L a -L b" and "-L a,b" mean the same, as in other newfs programs for Linux. */
static bool add_labels(struct request *r, char *text)
{
	for (char *label = strtok(text, ","); label; label = strtok(NULL, ",")) {
		if (strcasecmp(label, "none") == 0) {
			r->no_labels = true;
			continue;
		}
		if (r->options.label_count == H2_MKFS_LABELS_MAX)
			return false;
		r->labels[r->options.label_count++] = label;
	}
	return true;
}

enum { OPT_JSON = 256, OPT_VERSION };

/* Returns -1 to go on, or the exit code. */
static int parse_option(struct request *r, int opt)
{
	uint64_t number;

	switch (opt) {
	case 'L':
		return add_labels(r, optarg) ? -1 : bad_value(r, "-L", "too many labels");
	case 'U':
		r->has_uuid = true;
		return h2_uuid_parse(optarg, &r->uuid) == 0 ? -1 : bad_value(r, "-U", optarg);
	case 'V':
		if (parse_size(optarg, &number) != 0 || number < 1 || number > 2)
			return bad_value(r, "-V", optarg);
		r->options.version = (unsigned)number;
		return -1;
	case 'd':
		r->source = optarg;
		return -1;
	case 's':
		r->sizes = optarg;
		return -1;
	case 'b':
		return parse_size(optarg, &r->options.boot_bytes) == 0 ? -1
								       : bad_value(r, "-b", optarg);
	case 'r':
		return parse_size(optarg, &r->options.aux_bytes) == 0 ? -1
								      : bad_value(r, "-r", optarg);
	case 'c':
		return set_comp(r, optarg) ? -1 : bad_value(r, "-c", optarg);
	case 'k':
		return set_check(r, optarg) ? -1 : bad_value(r, "-k", optarg);
	case 'f':
		r->force = true;
		return -1;
	case 'n':
		r->dry_run = true;
		return -1;
	case 'q':
		r->quiet = true;
		return -1;
	case OPT_JSON:
		r->json = true;
		return -1;
	case OPT_VERSION:
		printf("%s %s\n", r->program, HAMMER2_VERSION);
		return EXIT_MADE;
	case 'h':
		usage(stdout);
		return EXIT_MADE;
	default:
		usage(stderr);
		return EXIT_USAGE;
	}
}

static int parse_arguments(struct request *r, int argc, char **argv)
{
	static const struct option longs[] = {
		{"aux", required_argument, NULL, 'r'},
		{"boot", required_argument, NULL, 'b'},
		{"check", required_argument, NULL, 'k'},
		{"compress", required_argument, NULL, 'c'},
		{"dry-run", no_argument, NULL, 'n'},
		{"fill", required_argument, NULL, 'd'},
		{"force", no_argument, NULL, 'f'},
		{"fs-version", required_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'},
		{"json", no_argument, NULL, OPT_JSON},
		{"label", required_argument, NULL, 'L'},
		{"quiet", no_argument, NULL, 'q'},
		{"size", required_argument, NULL, 's'},
		{"uuid", required_argument, NULL, 'U'},
		{"version", no_argument, NULL, OPT_VERSION},
		{0},
	};
	int opt, code;

	while ((opt = getopt_long(argc, argv, "L:U:V:d:s:b:r:c:k:fnqh", longs, NULL)) != -1) {
		code = parse_option(r, opt);
		if (code >= 0)
			return code;
	}
	if (optind == argc || argc - optind > (int)H2_VOLUMES_MAX) {
		complain(r, "",
			 optind == argc ? "name the devices to format; --help tells more"
					: "a filesystem has at most 64 volumes");
		return EXIT_USAGE;
	}
	for (; optind < argc; optind++)
		r->targets[r->count++].path = argv[optind];
	return -1;
}

/* ---- devices ---- */

/* The same file by whatever names; a device can have several nodes, too. */
static bool is_same(const struct stat *a, const struct stat *b)
{
	return (a->st_dev == b->st_dev && a->st_ino == b->st_ino) ||
	       (S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode) && a->st_rdev == b->st_rdev);
}

static bool is_same_file(const char *a, const char *b)
{
	struct stat st[2];

	return strcmp(a, b) == 0 ||
	       (stat(a, &st[0]) == 0 && stat(b, &st[1]) == 0 && is_same(&st[0], &st[1]));
}

/* Size of what exists; a missing file is to be made. */
static int look_at(struct request *r, unsigned i)
{
	const char *path = r->targets[i].path;
	struct stat st;
	int fd;

	for (unsigned k = 0; k < i; k++) {
		if (is_same_file(path, r->targets[k].path)) {
			complain(r, path, "is given twice");
			return EXIT_USAGE;
		}
	}
	if (stat(path, &st) < 0) {
		r->missing[i] = errno == ENOENT;
		if (errno == ENOENT && (r->sizes || (r->source && r->count == 1)))
			return EXIT_MADE;
		complain(r, path,
			 errno == ENOENT ? "no such file; give its size with -s to make it"
					 : strerror(errno));
		return EXIT_FAILED;
	}
	if (S_ISREG(st.st_mode)) {
		r->device_sizes[i] = (uint64_t)st.st_size;
		return EXIT_MADE;
	}
	fd = S_ISBLK(st.st_mode) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &r->device_sizes[i]) < 0) {
		complain(r, path,
			 S_ISBLK(st.st_mode) ? strerror(errno)
					     : "neither a regular file nor a block device");
		if (fd >= 0)
			close(fd);
		return EXIT_FAILED;
	}
	close(fd);
	return EXIT_MADE;
}

/* Refuse what seems to be in use. */
static int protect(struct request *r, unsigned i)
{
	const char *path = r->targets[i].path;
	struct h2_volumes_options look = {.no_lock = true};
	struct h2_volumes *volumes;
	char what[64], message[160];
	int found;

	if (r->force || r->device_sizes[i] == 0)
		return EXIT_MADE;
	found = h2_volumes_open(&path, 1, &look, &volumes);
	if (found == 0)
		h2_volumes_close(volumes);
	/* Every answer but "no header" means that there is, or was, such a filesystem. */
	if (found == 0 || found == -ENXIO || found == -H2_ECHECK || found == -H2_ECORRUPT) {
		complain(r, path, "there is a HAMMER2 filesystem on it; -f overwrites it");
		return EXIT_FAILED;
	}
	found = blkid_probe_path(path, what, sizeof(what));
	if (found == 1) {
		snprintf(message, sizeof(message), "it contains %s; -f overwrites it", what);
		complain(r, path, message);
		return EXIT_FAILED;
	}
	if (found < 0 && found != -ENOSYS) {
		complain(r, path, strerror(-found));
		return EXIT_FAILED;
	}
	return EXIT_MADE;
}

/* How large the empty file can be, at most IMAGE_MAX. Returns 0 or an error. */
static int find_image_max(int fd, uint64_t *size)
{
	struct stat st;

	/* Somebody else may be making something of it. */
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size > 0)
		return -EBUSY;
	for (*size = IMAGE_MAX; *size > IMAGE_MIN; *size /= 2) {
		if (ftruncate(fd, (off_t)*size) == 0)
			break;
	}
	return ftruncate(fd, 0) == 0 ? 0 : -errno;
}

/*
 * An image that is to be as small as its contents allow begins with all the room that its
 * filesystem gives it.
 */
static int choose_smallest(struct request *r, uint64_t *size)
{
	const char *path = r->targets[0].path;
	int err, fd;

	if (r->dry_run) {
		complain(r, "", "option -n: the size follows from the contents; give one with -s");
		return EXIT_USAGE;
	}
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	err = fd < 0 ? -errno : find_image_max(fd, size);
	if (fd >= 0)
		close(fd);
	/* It is made again when everything else is found to be right. */
	if (r->missing[0])
		unlink(path);
	if (err) {
		complain(r, path, strerror(-err));
		return EXIT_FAILED;
	}
	r->smallest = true;
	r->targets[0].create = true;
	if (r->options.boot_bytes == 0)
		r->options.boot_bytes = AREA_MIN;
	if (r->options.aux_bytes == 0)
		r->options.aux_bytes = AREA_MIN;
	return EXIT_MADE;
}

/* How much of each device is used: -s with one size for all together, or one for each. */
static int choose_sizes(struct request *r, uint64_t sizes[])
{
	uint64_t given[H2_VOLUMES_MAX], left;
	unsigned count = 0;

	for (unsigned i = 0; i < r->count; i++)
		sizes[i] = r->device_sizes[i];
	if (!r->sizes && r->source && r->count == 1 && sizes[0] == 0)
		return choose_smallest(r, &sizes[0]);
	if (!r->sizes)
		return EXIT_MADE;
	for (char *part = strtok(r->sizes, ":"); part; part = strtok(NULL, ":")) {
		if (count == r->count || parse_size(part, &given[count++]) != 0) {
			complain(r, part, "not a size, or more sizes than devices");
			return EXIT_USAGE;
		}
	}
	if (count != 1 && count != r->count) {
		complain(r, "", "option -s: give one size, or one for each device");
		return EXIT_USAGE;
	}
	left = given[0];
	for (unsigned i = 0; i < r->count; i++) {
		uint64_t want = count == 1 ? left : given[i];

		if (r->device_sizes[i] == 0) {
			r->targets[i].create = true;
			r->targets[i].size = sizes[i] = want;
		} else if (want < sizes[i]) {
			sizes[i] = want;
		} else if (want > sizes[i] && count > 1) {
			complain(r, r->targets[i].path, "is smaller than the size given for it");
			return EXIT_FAILED;
		}
		left -= sizes[i] < left ? sizes[i] : left;
	}
	if (count == 1 && left > 0) {
		complain(r, "", "the devices are smaller than the size given with -s");
		return EXIT_FAILED;
	}
	return EXIT_MADE;
}

/* ---- what is told ---- */

static void print_size(const char *name, uint64_t bytes)
{
	char text[OUT_SIZE_TEXT];

	printf("%-18s %8s (%" PRIu64 " bytes)\n", name, out_size(bytes, text), bytes);
}

static void print_uuid(const char *name, const struct h2_uuid *uuid)
{
	char text[H2_UUID_TEXT_SIZE];

	h2_uuid_format(uuid, text);
	printf("%-18s %s\n", name, text);
}

static void print_counts(const struct request *r)
{
	const struct fill_counts *c = &r->counts;

	printf("%-18s %" PRIu64 " directories, %" PRIu64 " files, %" PRIu64 " symlinks, %" PRIu64
	       " others, %" PRIu64 " further links\n",
	       "contents:", c->directories, c->files, c->symlinks, c->others, c->links);
	print_size("contents-size:", c->bytes);
	print_size("left-size:", r->left_bytes);
}

/* As newfs_hammer2 has it, BS 1.6. */
static void print_plan(const struct request *r, const struct h2_mkfs_plan *p)
{
	char text[OUT_SIZE_TEXT];

	for (unsigned i = 0; i < p->volume_count; i++)
		printf("Volume %-15s size %s\n", r->targets[i].path,
		       out_size(p->volume_sizes[i], text));
	puts("---------------------------------------------");
	printf("%-18s %u\n", "version:", p->version);
	print_size("total-size:", p->total_bytes);
	print_size("boot-area-size:", p->boot_bytes);
	print_size("aux-area-size:", p->aux_bytes);
	print_size("topo-reserved:", p->reserved_bytes);
	print_size("free-size:", p->free_bytes);
	print_uuid("vol-fsid:", &p->fsid);
	print_uuid("sup-clid:", &p->super_clid);
	print_uuid("sup-fsid:", &p->super_fsid);
	for (unsigned i = 0; i < p->label_count; i++) {
		printf("PFS \"%s\"\n", p->labels[i]);
		print_uuid("    clid", &p->clids[i]);
		print_uuid("    fsid", &p->fsids[i]);
	}
	if (r->source && !r->dry_run)
		print_counts(r);
}

static void json_counts(const struct request *r, struct json *out)
{
	const struct fill_counts *c = &r->counts;

	json_object_begin(out, "contents");
	json_uint(out, "directories", c->directories);
	json_uint(out, "files", c->files);
	json_uint(out, "symlinks", c->symlinks);
	json_uint(out, "others", c->others);
	json_uint(out, "links", c->links);
	json_uint(out, "bytes", c->bytes);
	json_uint(out, "left_bytes", r->left_bytes);
	json_object_end(out);
}

static void json_plan(const struct request *r, const struct h2_mkfs_plan *p)
{
	struct json *out = json_new(stdout);

	json_object_begin(out, NULL);
	json_uint(out, "version", p->version);
	json_uuid(out, "fsid", &p->fsid);
	json_uint(out, "total_bytes", p->total_bytes);
	json_uint(out, "boot_bytes", p->boot_bytes);
	json_uint(out, "aux_bytes", p->aux_bytes);
	json_uint(out, "reserved_bytes", p->reserved_bytes);
	json_uint(out, "free_bytes", p->free_bytes);
	json_hex(out, "allocator_beg", p->allocator_beg);
	json_array_begin(out, "volumes");
	for (unsigned i = 0; i < p->volume_count; i++) {
		json_object_begin(out, NULL);
		json_name(out, "path", r->targets[i].path, strlen(r->targets[i].path));
		json_uint(out, "size_bytes", p->volume_sizes[i]);
		json_object_end(out);
	}
	json_array_end(out);
	json_array_begin(out, "pfs");
	for (unsigned i = 0; i < p->label_count; i++) {
		json_object_begin(out, NULL);
		json_name(out, "label", p->labels[i], strlen(p->labels[i]));
		json_uuid(out, "clid", &p->clids[i]);
		json_uuid(out, "fsid", &p->fsids[i]);
		json_object_end(out);
	}
	json_array_end(out);
	if (r->source && !r->dry_run)
		json_counts(r, out);
	json_object_end(out);
	json_free(out);
}

/* ---- putting it together ---- */

/* When the filesystem is made; false: that is not a number. */
static bool choose_time(struct request *r)
{
	const char *epoch = getenv("SOURCE_DATE_EPOCH");
	struct timespec now;
	uint64_t seconds;
	char *end;

	r->fixed_time = epoch && *epoch;
	if (!r->fixed_time) {
		clock_gettime(CLOCK_REALTIME, &now);
		r->options.time_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
		return true;
	}
	errno = 0;
	seconds = strtoull(epoch, &end, 10);
	if (*epoch < '0' || *epoch > '9' || *end || errno || seconds > UINT64_MAX / 1000000) {
		complain(r, "SOURCE_DATE_EPOCH", "not a number of seconds since 1970");
		return false;
	}
	r->options.time_us = seconds * 1000000;
	return true;
}

/* DragonFly's rule for a filesystem without labels, MF 11.6. */
static void default_label(struct request *r)
{
	struct h2_spec spec = {.count = 1, .volumes = {(char *)r->targets[0].path}};

	if (r->options.label_count == 0 && !r->no_labels)
		r->labels[r->options.label_count++] = h2_spec_default_label(&spec);
}

static void on_signal(int signal)
{
	(void)signal;
	interrupted = 1;
}

static void catch_signals(void)
{
	const struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
}

static uint64_t fixed_time(void *user)
{
	const struct request *r = user;

	return r->options.time_us;
}

static bool fill(struct request *r, struct h2_build *build, const char *label)
{
	struct h2_fs_options to = {
		.write = true,
		.store_bytes = FILL_STORE_BYTES,
		.pack = r->smallest,
		/* Where the result is to be the same each time: how far threads have got must not show. */
		.no_threads = r->fixed_time,
		.now_us = r->fixed_time ? fixed_time : NULL,
		.now_user = r,
		.report = on_report,
		.report_user = r,
	};
	struct fill_options how = {
		.program = r->program,
		.source = r->source,
		.now_us = r->options.time_us,
		.quiet = r->quiet,
		.fixed_time = r->fixed_time,
		.interrupted = &interrupted,
	};
	struct h2_fs *fs;
	bool good;

	for (unsigned i = 0; i < r->count; i++) {
		struct stat st;

		if (stat(r->targets[i].path, &st) == 0 && S_ISREG(st.st_mode))
			how.outputs[how.output_count++] = (struct fill_file){.dev = st.st_dev,
									     .ino = st.st_ino};
	}
	if (h2_fs_open(h2_build_volumes(build), &to, &fs) != 0)
		return false;
	good = fill_pfs(fs, label, &how, &r->counts);
	if (good)
		return h2_fs_close(fs) == 0;
	h2_fs_abandon(fs);
	return false;
}

/* What is told about a volume that was cut to its contents. */
static void update_plan(struct h2_mkfs_plan *plan, const struct h2_volume_header *header)
{
	plan->volume_sizes[0] = plan->total_bytes = header->volu_size;
	plan->free_bytes = header->allocator_size;
	plan->reserved_bytes = plan->total_bytes - plan->free_bytes - plan->boot_bytes -
			       plan->aux_bytes;
}

/* Cut a file to its filesystem, durably. */
static bool cut_file(const struct request *r, const char *path, uint64_t size)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	bool good = fd >= 0 && ftruncate(fd, (off_t)size) == 0 && fsync(fd) == 0;

	if (!good)
		complain(r, path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return good;
}

/* The names of the files that were made are durable as well. */
static bool sync_names(const struct request *r)
{
	bool good = true;

	for (unsigned i = 0; i < r->count; i++) {
		char *copy = r->missing[i] ? fill_alloc(strdup(r->targets[i].path)) : NULL;
		int fd;

		if (!copy)
			continue;
		fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		/* Not all filesystems know how, and not everybody may read the directory. */
		if (fd >= 0 && fsync(fd) < 0 && errno != EINVAL) {
			complain(r, r->targets[i].path, strerror(errno));
			good = false;
		}
		if (fd >= 0)
			close(fd);
		free(copy);
	}
	return good;
}

/* Files that were made for nothing go away again; of those in use somebody else makes something. */
static void remove_files(const struct request *r, int err)
{
	for (unsigned i = 0; i < r->count && err != -EBUSY; i++) {
		const char *path = r->targets[i].path;

		if (r->missing[i])
			unlink(path);
		else if (r->targets[i].create && truncate(path, 0) < 0)
			complain(r, path, strerror(errno));
	}
}

/*
 * A source that cannot be had is no reason to overwrite anything; and the source itself is not
 * overwritten. In a directory that is the source, what is written is left out.
 */
static int look_at_source(const struct request *r)
{
	bool is_stdin = r->source && strcmp(r->source, "-") == 0;
	struct stat source, target;

	if (!r->source)
		return EXIT_MADE;
	if (!is_stdin && access(r->source, R_OK) < 0) {
		complain(r, r->source, strerror(errno));
		return EXIT_FAILED;
	}
	/* What cannot be looked at is told where it is opened. */
	if ((is_stdin ? fstat(STDIN_FILENO, &source) : stat(r->source, &source)) < 0)
		return EXIT_MADE;
	for (unsigned i = 0; i < r->count; i++) {
		const char *path = r->targets[i].path;

		if (S_ISDIR(source.st_mode) || stat(path, &target) < 0 ||
		    !is_same(&source, &target))
			continue;
		complain(r, path, "is the source of the contents as well; nothing was written");
		return EXIT_FAILED;
	}
	return EXIT_MADE;
}

static int make_filled(struct request *r, struct h2_mkfs_plan *plan)
{
	const char *label = plan->labels[plan->label_count > 1 ? 1 : 0];
	struct h2_volume_header header;
	struct h2_build *build;
	bool good;
	int err;

	catch_signals();
	err = h2_build_begin(plan, &r->options, r->targets, &build);
	if (err) {
		remove_files(r, err);
		return EXIT_FAILED;
	}
	good = fill(r, build, label) && h2_build_finish(build, r->smallest, &header) == 0;
	if (good && r->smallest) {
		good = cut_file(r, r->targets[0].path, header.volu_size);
		update_plan(plan, &header);
	}
	if (good)
		r->left_bytes = header.allocator_free;
	else
		remove_files(r, 0);
	h2_build_close(build);
	if (!good)
		complain(r, "",
			 interrupted ? "interrupted; no filesystem was made"
				     : "no filesystem was made");
	return good ? EXIT_MADE : EXIT_FAILED;
}

static int make_empty(struct request *r, const struct h2_mkfs_plan *plan)
{
	int err = h2_mkfs_write(plan, &r->options, r->targets);

	if (err)
		remove_files(r, err);
	return err ? EXIT_FAILED : EXIT_MADE;
}

/* DragonFly makes such ones as well, so it is not refused. */
static void warn_of_little_room(const struct request *r, const struct h2_mkfs_plan *plan)
{
	char message[160];

	if (plan->free_bytes >= ROOM_MIN || r->smallest)
		return;
	snprintf(message, sizeof(message),
		 "warning: nothing can be stored in a filesystem with %" PRIu64
		 " MiB of free space; make it %" PRIu64 " MiB or larger",
		 plan->free_bytes >> 20, (plan->total_bytes + ROOM_MIN) >> 20);
	complain(r, r->targets[0].path, message);
}

static int make(struct request *r)
{
	uint64_t sizes[H2_VOLUMES_MAX];
	struct h2_mkfs_plan plan;
	int code = look_at_source(r), err;

	for (unsigned i = 0; i < r->count && code == EXIT_MADE; i++)
		code = look_at(r, i);
	if (code == EXIT_MADE)
		code = choose_sizes(r, sizes);
	for (unsigned i = 0; i < r->count && code == EXIT_MADE; i++)
		code = protect(r, i);
	if (code != EXIT_MADE)
		return code;
	default_label(r);
	err = h2_mkfs_plan(sizes, r->count, &r->options, &plan);
	if (err)
		return err == -EINVAL ? EXIT_USAGE : EXIT_FAILED;
	for (unsigned i = 0; i < r->count; i++) {
		if (r->targets[i].create)
			r->targets[i].size = plan.volume_sizes[i];
	}
	if (!r->dry_run)
		code = r->source ? make_filled(r, &plan) : make_empty(r, &plan);
	if (code == EXIT_MADE && !r->dry_run && !sync_names(r))
		code = EXIT_FAILED;
	if (code != EXIT_MADE)
		return code;
	warn_of_little_room(r, &plan);
	if (r->json)
		json_plan(r, &plan);
	else if (!r->quiet)
		print_plan(r, &plan);
	return fflush(stdout) == 0 ? EXIT_MADE : EXIT_FAILED;
}

int main(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/');
	struct request r = {
		.program = slash ? slash + 1 : argv[0],
		.options = {.comp_algo = -1, .check_algo = -1},
	};
	int code;

	if (!descriptors_init())
		return EXIT_FAILED;
	code = parse_arguments(&r, argc, argv);
	if (code >= 0)
		return code;
	r.options.labels = r.labels;
	/* A bound on the size of files is an error like others. */
	signal(SIGXFSZ, SIG_IGN);
	if (!choose_time(&r))
		return EXIT_USAGE;
	r.options.uuid = make_uuid;
	r.options.uuid_user = &r;
	r.options.report = on_report;
	r.options.report_user = &r;
	return make(&r);
}
