/* UUIDs in the byte order of the media, MF 0.4, and the ids kept in them, MF 6.3. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "format.h"

/* Media index of each byte in the order of the text. */
static const uint8_t text_order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

static bool dash_before(unsigned i)
{
	return i == 4 || i == 6 || i == 8 || i == 10;
}

void h2_uuid_format(const struct h2_uuid *uuid, char text[H2_UUID_TEXT_SIZE])
{
	static const char digits[] = "0123456789abcdef";

	for (unsigned i = 0; i < 16; i++) {
		uint8_t byte = uuid->bytes[text_order[i]];

		if (dash_before(i))
			*text++ = '-';
		*text++ = digits[byte >> 4];
		*text++ = digits[byte & 15];
	}
	*text = '\0';
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int h2_uuid_parse(const char *text, struct h2_uuid *uuid)
{
	struct h2_uuid result;

	for (unsigned i = 0; i < 16; i++) {
		int high, low;

		if (dash_before(i) && *text++ != '-')
			return -EINVAL;
		high = hex_value(text[0]);
		low = high < 0 ? -1 : hex_value(text[1]);
		if (low < 0)
			return -EINVAL;
		result.bytes[text_order[i]] = (uint8_t)(high << 4 | low);
		text += 2;
	}
	if (*text)
		return -EINVAL;
	*uuid = result;
	return 0;
}

uint32_t h2_uuid_to_id(const struct h2_uuid *uuid)
{
	le32 id;

	memcpy(id.b, uuid->bytes + 12, sizeof(id.b));
	return le32_get(id);
}

void h2_uuid_from_id(uint32_t id, struct h2_uuid *uuid)
{
	le32 v = le32_make(id);

	memset(uuid->bytes, 0, sizeof(uuid->bytes));
	memcpy(uuid->bytes + 12, v.b, sizeof(v.b));
}
