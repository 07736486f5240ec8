/* See result.h. */
#include "result.h"

#include <errno.h>
#include <hammer2/ioctl.h>
#include <stdlib.h>
#include <string.h>

/* Append a part. */
static int append(uint8_t **bytes, size_t *size, const struct hammer2_ioc_result *part)
{
	uint8_t *more = realloc(*bytes, *size + part->len + 1);

	if (!more)
		return -ENOMEM;
	memcpy(more + *size, part->bytes, part->len);
	*bytes = more;
	*size += part->len;
	return 0;
}

int result_fetch(int fd, uint64_t number, uint8_t **bytes, size_t *size)
{
	struct hammer2_ioc_result part = {.result = number};
	uint8_t *all = NULL;
	size_t done = 0;
	int err = 0;

	do {
		part.offset = done;
		part.len = 0;
		if (ioctl(fd, HAMMER2IOC_RESULT, &part) < 0)
			err = -errno;
		else if (part.len > sizeof(part.bytes))
			err = -EIO;
		if (!err)
			err = append(&all, &done, &part);
	} while (!err && part.len == sizeof(part.bytes));
	if (err) {
		free(all);
		return err;
	}
	*bytes = all;
	*size = done;
	return 0;
}
