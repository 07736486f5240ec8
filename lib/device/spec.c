/* How a user names a filesystem: VOLUME[:VOLUME...][@LABEL]. */
#include <errno.h>
#include <hammer2/volume.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "partition.h"

static bool exists(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0;
}

/*
 * "disk.img:s1d" is one volume: a part that looks like a partition's name and is no file belongs
 * to the part before it.
 */
static bool is_partition(const char *part)
{
	return h2_partition_name_valid(part) && !exists(part);
}

static int add_volume(struct h2_spec *spec, const char *part)
{
	char *joined;

	if (!*part)
		return -EINVAL;
	if (spec->count > 0 && is_partition(part) && !strchr(spec->volumes[spec->count - 1], ':')) {
		char **last = &spec->volumes[spec->count - 1];
		size_t len = strlen(*last) + 1 + strlen(part) + 1;

		joined = malloc(len);
		if (!joined)
			return -ENOMEM;
		stpcpy(stpcpy(stpcpy(joined, *last), ":"), part);
		free(*last);
		*last = joined;
		return 0;
	}
	if (spec->count == H2_VOLUMES_MAX)
		return -E2BIG;
	spec->volumes[spec->count] = strdup(part);
	if (!spec->volumes[spec->count])
		return -ENOMEM;
	spec->count++;
	return 0;
}

static int split_volumes(struct h2_spec *spec, char *text)
{
	int err = 0;

	if (exists(text))
		return add_volume(spec, text);
	while (!err && text) {
		char *colon = strchr(text, ':');

		if (colon)
			*colon++ = '\0';
		err = add_volume(spec, text);
		text = colon;
	}
	return err;
}

int h2_spec_parse(const char *text, struct h2_spec *spec)
{
	char *copy = strdup(text), *at;
	int err;

	memset(spec, 0, sizeof(*spec));
	if (!copy)
		return -ENOMEM;
	at = exists(copy) ? NULL : strrchr(copy, '@');
	if (at) {
		*at++ = '\0';
		if (*at) {
			spec->label = strdup(at);
			if (!spec->label) {
				free(copy);
				return -ENOMEM;
			}
		}
	}
	err = split_volumes(spec, copy);
	if (err)
		h2_spec_fini(spec);
	free(copy);
	return err;
}

void h2_spec_fini(struct h2_spec *spec)
{
	for (unsigned i = 0; i < spec->count; i++)
		free(spec->volumes[i]);
	free(spec->label);
	memset(spec, 0, sizeof(*spec));
}

const char *h2_spec_default_label(const struct h2_spec *spec)
{
	size_t len = spec->count > 0 ? strlen(spec->volumes[0]) : 0;

	switch (len > 0 ? spec->volumes[0][len - 1] : '\0') {
	case 'a':
		return "BOOT";
	case 'd':
		return "ROOT";
	default:
		return "DATA";
	}
}
