/*
 * After a crash under an implementation whose freemap may lag behind its trees: blocks that are
 * newer than the freemap are marked in it before anything is allocated. BS 2.6.
 *
 * The walk goes only into what has changed since the freemap was complete: a parent's mirror_tid
 * is at least that of all that is below it (MF 12.2).
 */
#include <inttypes.h>
#include <stdio.h>

#include "block_walk.h"
#include "used_map.h"

struct recovery {
	struct h2_fs *fs;
	struct h2_used_map *met; /* so that what snapshots share is walked once */
	uint64_t unknown;        /* blocks that the freemap did not know */
};

static int meet_block(void *user, const struct h2_met *met)
{
	struct recovery *r = user;
	bool unknown;
	int seen = h2_used_map_add(r->met, met->data_off, met->leads);
	int err = seen < 0 ? seen : h2_space_recover(r->fs->space, met->data_off, &unknown);

	if (err)
		return err;
	r->unknown += unknown;
	return seen;
}

static void report(struct h2_fs *fs, uint64_t unknown)
{
	char message[256];

	if (!fs->blocks.report)
		return;
	snprintf(message, sizeof(message),
		 "the freemap was behind the last commit: %" PRIu64
		 " blocks that it had as free are in use",
		 unknown);
	fs->blocks.report(fs->blocks.report_user, &(struct h2_report){
							  .severity = H2_NOTE,
							  .code = "freemap-recovered",
							  .object = "freemap",
							  .message = message,
						  });
}

int h2_fs_recover(struct h2_fs *fs)
{
	const struct h2_volume_header *header = h2_volumes_header(fs->volumes);
	struct recovery r = {.fs = fs};
	struct h2_block_walk walk = {
		.blocks = &fs->blocks,
		.above_tid = header->freemap_tid,
		.block = meet_block,
		.user = &r,
	};
	int err;

	if (header->freemap_tid >= header->mirror_tid)
		return 0;
	r.met = h2_used_map_new(fs->blocks.total_size);
	if (!r.met)
		return -ENOMEM;
	err = h2_block_walk_set(&walk, header->sroot_blockset);
	h2_used_map_free(r.met);
	if (!err)
		report(fs, r.unknown);
	return err;
}
