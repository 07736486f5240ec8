/* Printing structures of the media; see media.h. */
#include "media.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

/* A stored integer of up to 8 bytes, which are little-endian (MF 0.4). */
static uint64_t little(const uint8_t *bytes, unsigned count)
{
	uint64_t value = 0;

	while (count-- > 0)
		value = value << 8 | bytes[count];
	return value;
}

const char *media_check(const struct h2_blockref *ref, char text[MEDIA_CHECK_TEXT])
{
	int at;

	text[0] = '\0';
	if (h2_blockref_radix(ref) == 0)
		return text;
	switch (h2_blockref_check_algo(ref)) {
	case H2_CHECK_ISCSI32:
		snprintf(text, MEDIA_CHECK_TEXT, "icrc=%08" PRIx64, little(ref->check, 4));
		break;
	case H2_CHECK_XXHASH64:
		snprintf(text, MEDIA_CHECK_TEXT, "xxh=%016" PRIx64, little(ref->check, 8));
		break;
	case H2_CHECK_SHA192:
		at = snprintf(text, MEDIA_CHECK_TEXT, "sha192=");
		for (unsigned i = 0; i < 24; i++)
			snprintf(text + at + 2 * i, MEDIA_CHECK_TEXT - (size_t)at - 2 * i, "%02x",
				 ref->check[i]);
		break;
	case H2_CHECK_FREEMAP:
		snprintf(text, MEDIA_CHECK_TEXT, "fcrc=%08" PRIx64, little(ref->check, 4));
		break;
	default:
		break;
	}
	return text;
}

const char *media_type(unsigned type)
{
	static const char *const names[] = {
		[H2_OBJECT_DIRECTORY] = "DIR",     [H2_OBJECT_FILE] = "FILE",
		[H2_OBJECT_FIFO] = "FIFO",         [H2_OBJECT_CHAR_DEVICE] = "CDEV",
		[H2_OBJECT_BLOCK_DEVICE] = "BDEV", [H2_OBJECT_SYMLINK] = "SOFTLINK",
		[H2_OBJECT_SOCKET] = "SOCKET",     [H2_OBJECT_WHITEOUT] = "WHITEOUT",
	};

	return type < sizeof(names) / sizeof(names[0]) && names[type] ? names[type] : "ILLEGAL";
}

static unsigned volume_of(const struct h2_volumes *volumes, uint64_t offset)
{
	struct h2_volume_info info;
	unsigned i = volumes ? h2_volumes_count(volumes) : 0;

	while (i-- > 1) {
		h2_volumes_info(volumes, i, &info);
		if (offset >= info.offset)
			return info.id;
	}
	return 0;
}

static bool is_freemap(const struct h2_blockref *ref)
{
	return ref->type == H2_BLOCKREF_FREEMAP_NODE || ref->type == H2_BLOCKREF_FREEMAP_LEAF;
}

void media_blockref(unsigned indent, unsigned slot, const struct h2_blockref *ref,
		    const struct h2_volumes *volumes, unsigned brefs)
{
	char title[32], comp[OUT_COMP_TEXT], check[MEDIA_CHECK_TEXT];
	int width, in = (int)indent;

	snprintf(title, sizeof(title), "%s.%-3u", h2_blockref_type_name(ref->type), slot);
	width = strlen(title) < 12 ? 12 : 16;
	printf("%*s%-*s %016" PRIx64 " %016" PRIx64 "/%-2u\n", in, "", width, title, ref->data_off,
	       ref->key, ref->keybits);
	in += width + 1;
	printf("%*svol=%u mir=%016" PRIx64 " mod=%016" PRIx64 " lfcnt=%u", in, "",
	       volume_of(volumes, h2_blockref_offset(ref)), ref->mirror_tid, ref->modify_tid,
	       ref->leaf_count);
	if (ref->type == H2_BLOCKREF_EMPTY)
		return;
	if (brefs || ref->flags) {
		printf("\n%*s", in, "");
		if (brefs)
			printf("bcnt=%u%s", brefs, ref->flags ? " " : "");
		if (ref->flags)
			printf("flags=%02x", ref->flags);
	}
	if (is_freemap(ref))
		printf("\n%*sbigmask=%08" PRIx64 " avail=%" PRIu64, in, "",
		       little(ref->check + 4, 4), little(ref->check + 8, 8));
	if (h2_blockref_radix(ref) == 0)
		return;
	media_check(ref, check);
	printf("\n%*smeth=%s|%s%s%s", in, "", h2_check_algo_name(h2_blockref_check_algo(ref)),
	       out_comp(h2_blockref_comp_algo(ref), comp), check[0] ? " " : "", check);
}

size_t media_name_len(const struct h2_inode_meta *meta)
{
	return meta->name_len < sizeof(meta->filename) ? meta->name_len : sizeof(meta->filename);
}

/* "23-Nov-2026 15:45:29", as DragonFly's tools write times. */
static void print_time(unsigned indent, const char *name, uint64_t time_us)
{
	time_t seconds = (time_t)(time_us / 1000000);
	char text[64];
	struct tm tm;

	if (!localtime_r(&seconds, &tm) || strftime(text, sizeof(text), "%d-%b-%Y %T", &tm) == 0)
		snprintf(text, sizeof(text), "%" PRIu64, time_us / 1000000);
	printf("%*s%-8s %s\n", (int)indent, "", name, text);
}

static void print_uuid(unsigned indent, const char *name, const struct h2_uuid *uuid)
{
	char text[H2_UUID_TEXT_SIZE];

	h2_uuid_format(uuid, text);
	printf("%*s%-8s %s\n", (int)indent, "", name, text);
}

static void print_id(unsigned indent, const char *name, uint32_t id)
{
	struct h2_uuid uuid;
	char text[H2_UUID_TEXT_SIZE];

	h2_uuid_from_id(id, &uuid);
	h2_uuid_format(&uuid, text);
	printf("%*s%-8s %s (%" PRIu32 ")\n", (int)indent, "", name, text, id);
}

void media_inode(unsigned indent, const struct h2_inode_meta *m, const struct h2_blockref *ref)
{
	bool pfs = m->op_flags & H2_INODE_PFSROOT || m->pfs_type == H2_PFS_SUPER_ROOT;
	int in = (int)indent;
	char comp[OUT_COMP_TEXT];

	printf("%*sfilename \"", in, "");
	out_name(stdout, (const char *)m->filename, media_name_len(m));
	printf("\"\n%*sversion  %u\n", in, "", m->version);
	if (pfs)
		printf("%*spfs_st   %u (%s)\n", in, "", m->pfs_subtype,
		       h2_pfs_subtype_name(m->pfs_subtype));
	printf("%*suflags   0x%08" PRIx32 "\n", in, "", m->uflags);
	if (m->rmajor || m->rminor)
		printf("%*srmajor   %" PRIu32 "\n%*srminor   %" PRIu32 "\n", in, "", m->rmajor, in,
		       "", m->rminor);
	print_time(indent, "ctime", m->ctime);
	print_time(indent, "mtime", m->mtime);
	print_time(indent, "atime", m->atime);
	print_time(indent, "btime", m->btime);
	print_id(indent, "uid", m->uid);
	print_id(indent, "gid", m->gid);
	printf("%*stype     %s\n", in, "", media_type(m->type));
	printf("%*sopflgs   0x%02x\n", in, "", m->op_flags);
	printf("%*scapflgs  0x%04x\n", in, "", m->cap_flags);
	printf("%*smode     %" PRIo32 "\n", in, "", m->mode);
	printf("%*sinum     0x%016" PRIx64 "\n", in, "", m->inum);
	printf("%*ssize     %" PRIu64 "%s\n", in, "", m->size,
	       m->op_flags & H2_INODE_DIRECTDATA ? " (embedded data)" : "");
	printf("%*snlinks   %" PRIu64 "\n", in, "", m->nlinks);
	printf("%*siparent  0x%016" PRIx64 "\n", in, "", m->iparent);
	printf("%*sname_key 0x%016" PRIx64 "\n", in, "", m->name_key);
	printf("%*sname_len %u\n", in, "", m->name_len);
	printf("%*sncopies  %u\n", in, "", m->ncopies);
	printf("%*scompalg  %s\n", in, "", out_comp(m->comp_algo, comp));
	printf("%*scheckalg %s\n", in, "", h2_check_algo_name(m->check_algo & 15u));
	if (pfs) {
		printf("%*spfs_nmas %u\n", in, "", m->pfs_nmasters);
		printf("%*spfs_type %u (%s)\n", in, "", m->pfs_type, out_pfs_type(m->pfs_type));
		printf("%*spfs_inum 0x%016" PRIx64 "\n", in, "", m->pfs_inum);
		print_uuid(indent, "pfs_clid", &m->pfs_clid);
		print_uuid(indent, "pfs_fsid", &m->pfs_fsid);
		printf("%*spfs_lsnap_tid 0x%016" PRIx64 "\n", in, "", m->pfs_lsnap_tid);
	}
	printf("%*sdata_quota  %" PRIu64 "\n", in, "", m->data_quota);
	printf("%*sdata_count  %" PRIu64 "\n", in, "", ref->data_count);
	printf("%*sinode_quota %" PRIu64 "\n", in, "", m->inode_quota);
	printf("%*sinode_count %" PRIu64 "\n", in, "", ref->inode_count);
}

/* ---- JSON ---- */

void media_json_blockref(struct json *json, const struct h2_blockref *ref)
{
	char check[MEDIA_CHECK_TEXT];
	const char *equals;

	json_string(json, "type", h2_blockref_type_name(ref->type));
	json_hex(json, "key", ref->key);
	json_uint(json, "keybits", ref->keybits);
	json_hex(json, "data_off", ref->data_off);
	json_uint(json, "mirror_tid", ref->mirror_tid);
	json_uint(json, "modify_tid", ref->modify_tid);
	json_uint(json, "update_tid", ref->update_tid);
	json_uint(json, "leaf_count", ref->leaf_count);
	json_uint(json, "flags", ref->flags);
	if (h2_blockref_radix(ref) != 0) {
		json_string(json, "check_algo", h2_check_algo_name(h2_blockref_check_algo(ref)));
		json_string(json, "comp_algo", h2_comp_algo_name(h2_blockref_comp_algo(ref)));
		equals = strchr(media_check(ref, check), '=');
		if (equals)
			json_string(json, "check", equals + 1);
	}
	if (ref->type == H2_BLOCKREF_INODE || ref->type == H2_BLOCKREF_INDIRECT) {
		json_uint(json, "data_count", ref->data_count);
		json_uint(json, "inode_count", ref->inode_count);
	}
	if (is_freemap(ref)) {
		json_hex(json, "bigmask", little(ref->check + 4, 4));
		json_uint(json, "avail", little(ref->check + 8, 8));
	}
	if (ref->type == H2_BLOCKREF_DIRENT) {
		json_uint(json, "inum", ref->dirent_inum);
		json_string(json, "object_type", out_object_type(ref->dirent_type));
	}
}

void media_json_inode(struct json *json, const struct h2_inode_meta *m)
{
	char comp[OUT_COMP_TEXT], mode[16];

	snprintf(mode, sizeof(mode), "%04" PRIo32, m->mode);
	json_name(json, "filename", (const char *)m->filename, media_name_len(m));
	json_uint(json, "version", m->version);
	json_uint(json, "inum", m->inum);
	json_string(json, "type", out_object_type(m->type));
	json_string(json, "mode", mode);
	json_uint(json, "uid", m->uid);
	json_uint(json, "gid", m->gid);
	json_uint(json, "size", m->size);
	json_uint(json, "nlinks", m->nlinks);
	json_uint(json, "ctime_us", m->ctime);
	json_uint(json, "mtime_us", m->mtime);
	json_uint(json, "atime_us", m->atime);
	json_uint(json, "btime_us", m->btime);
	json_uint(json, "uflags", m->uflags);
	json_uint(json, "rmajor", m->rmajor);
	json_uint(json, "rminor", m->rminor);
	json_uint(json, "op_flags", m->op_flags);
	json_uint(json, "cap_flags", m->cap_flags);
	json_uint(json, "iparent", m->iparent);
	json_hex(json, "name_key", m->name_key);
	json_uint(json, "ncopies", m->ncopies);
	json_string(json, "comp", out_comp(m->comp_algo, comp));
	json_string(json, "check", h2_check_algo_name(m->check_algo & 15u));
	json_uint(json, "data_quota", m->data_quota);
	json_uint(json, "inode_quota", m->inode_quota);
	if (!(m->op_flags & H2_INODE_PFSROOT) && m->pfs_type != H2_PFS_SUPER_ROOT)
		return;
	json_string(json, "pfs_type", out_pfs_type(m->pfs_type));
	json_string(json, "pfs_subtype", h2_pfs_subtype_name(m->pfs_subtype));
	json_uint(json, "pfs_nmasters", m->pfs_nmasters);
	json_uint(json, "pfs_inum", m->pfs_inum);
	json_uuid(json, "pfs_clid", &m->pfs_clid);
	json_uuid(json, "pfs_fsid", &m->pfs_fsid);
	json_uint(json, "pfs_lsnap_tid", m->pfs_lsnap_tid);
}
