/*
 * Printing the structures of the media, in the layout of DragonFly's tools and as JSON: what the
 * verbs volhdr, show and freemap share.
 */
#ifndef CMD_MEDIA_H
#define CMD_MEDIA_H

#include <hammer2/dump.h>

#include "out.h"

#define MEDIA_CHECK_TEXT 64
/* "xxh=0c9165d0dbb486e7": the check code that a blockref has; "" where it has none. */
const char *media_check(const struct h2_blockref *ref, char text[MEDIA_CHECK_TEXT]);

/* "FILE", "DIR", "SOFTLINK" ...: the type of an object as DragonFly's tools print it. */
const char *media_type(unsigned type);

/*
 * Print a blockref, each line indented by indent columns. The last line has no end. volumes may be
 * NULL. brefs: how many blockrefs its block holds; 0: unknown, or none.
 */
void media_blockref(unsigned indent, unsigned slot, const struct h2_blockref *ref,
		    const struct h2_volumes *volumes, unsigned brefs);
void media_inode(unsigned indent, const struct h2_inode_meta *meta, const struct h2_blockref *ref);

/* Members of the object that is open in json. */
void media_json_blockref(struct json *json, const struct h2_blockref *ref);
void media_json_inode(struct json *json, const struct h2_inode_meta *meta);

/* The name of an inode's own; it has at most 256 bytes, whatever name_len says. */
size_t media_name_len(const struct h2_inode_meta *meta);

#endif
