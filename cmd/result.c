/* See result.h. */
#include "result.h"

#include <errno.h>
#include <hammer2/ioctl.h>
#include <stdlib.h>
#include <string.h>

/* What is being read. */
struct parts {
	uint8_t *bytes;
	size_t size, room;
};

static int append(struct parts *parts, const struct hammer2_ioc_result *part)
{
	if (part->len > HAMMER2_RESULT_BYTES)
		return -EIO;
	while (parts->room < parts->size + part->len) {
		size_t room = parts->room ? parts->room * 2 : 2 * (size_t)HAMMER2_RESULT_BYTES;
		uint8_t *more = realloc(parts->bytes, room);

		if (!more)
			return -ENOMEM;
		parts->bytes = more;
		parts->room = room;
	}
	if (part->len > 0)
		memcpy(parts->bytes + parts->size, part->bytes, part->len);
	parts->size += part->len;
	return 0;
}

int result_fetch(int fd, uint64_t number, uint8_t **bytes, size_t *size)
{
	struct hammer2_ioc_result *part = malloc(sizeof(*part));
	struct parts parts = {.bytes = NULL};
	int err = part ? 0 : -ENOMEM;

	while (!err) {
		memset(part, 0, sizeof(*part));
		part->result = number;
		part->offset = parts.size;
		err = ioctl(fd, HAMMER2IOC_RESULT, part) < 0 ? -errno : append(&parts, part);
		if (!err && part->len < HAMMER2_RESULT_BYTES)
			break;
	}
	free(part);
	if (err) {
		free(parts.bytes);
		return err;
	}
	*bytes = parts.bytes;
	*size = parts.size;
	return 0;
}
