/* The table of findings; see finding.h. */
#include "finding.h"

#include <stddef.h>
#include <string.h>

#define NEW_VOLUME                                                                                 \
	"there is no repair: copy the data out (hammer2 extract) and into a new filesystem"
#define NEW_FILE "copy the file, and remove the original"
#define RESTORE "restore what is lost from a backup"
#define NOTHING "nothing has to be done"

static const struct h2_finding_row rows[] = {
	[FIND_HEADER_DAMAGED] =
		{"header-damaged", H2_FAULT,
		 "this copy of the volume header is damaged; a mount uses another",
		 "the next commits write it anew; if it comes back, the device is failing"},
	[FIND_HEADER_UNREADABLE] = {"header-unreadable", H2_FAULT,
				    "this copy of the volume header cannot be read",
				    "the device is failing: copy all data to another one"},
	[FIND_HEADER_MISSING] =
		{"header-missing", H2_WARNING,
		 "this copy of the volume header was never written; the next commits write it",
		 NOTHING},
	[FIND_HEADER_STALE] = {"header-stale", H2_WARNING,
			       "behind the volume's end lies the header of an earlier, larger "
			       "filesystem, which DragonFly may take for this one's",
			       "overwrite the 64 KiB at its address with zeros"},
	[FIND_HEADER_SAME_TID] =
		{"header-same-tid", H2_FAULT,
		 "two header copies differ but have the same mirror_tid, so it is undecided which "
		 "is newer",
		 "compare what both show with --header; the next commits write both anew"},
	[FIND_HEADER_ROTATION] =
		{"header-rotation", H2_FAULT,
		 "this header copy is newer than the one that was written after it; copies must be "
		 "written in turn",
		 "the next commits write it anew; tell the authors of what wrote the volume"},
	[FIND_HEADER_FREEMAP_TID] = {"header-freemap-tid", H2_FAULT,
				     "freemap_tid is larger than mirror_tid", NEW_VOLUME},
	[FIND_HEADER_FREEMAP_BEHIND] = {"header-freemap-behind", H2_FAULT,
					"blocks are newer than freemap_tid, so that a mount must "
					"recover the freemap; DragonFly's kernel panics over that",
					"any change on Linux mends it: the freemap is recovered "
					"when the volume is opened for writing"},
	[FIND_HEADER_GEOMETRY] =
		{"header-geometry", H2_FAULT,
		 "the header's boot, aux or allocator areas contradict each other or the size",
		 NEW_VOLUME},
	[FIND_HEADER_ALLOCATOR_SIZE] =
		{"header-allocator-size", H2_WARNING,
		 "allocator_size is not what the volume's size leaves for allocation, as after "
		 "DragonFly's growfs; the free space shown is off by as much",
		 NOTHING},
	[FIND_HEADER_FOREIGN] =
		{"header-foreign", H2_FAULT,
		 "this header copy is of another filesystem or format version than the newest one",
		 "overwrite the 64 KiB at its address with zeros"},
	[FIND_HEADER_SIZE] = {"header-size", H2_FAULT,
			      "the sizes in this header copy are neither those of the newest one "
			      "nor of a time before it was grown",
			      "the next commits write it anew"},
	[FIND_HEADER_CONSTANTS] =
		{"header-constants", H2_FAULT,
		 "this header copy differs from the newest one in a byte that no commit may change",
		 "the next commits write it anew; tell the authors of what wrote the volume"},
	[FIND_HEADER_OLDER_USELESS] =
		{"header-older-useless", H2_WARNING,
		 "the filesystem cannot be opened from this older header copy",
		 "the next commits write it anew"},
	[FIND_NO_SUPER_ROOT] = {"no-super-root", H2_FAULT,
				"the header does not lead to a super-root; no PFS can be mounted",
				"try the other header copies with --header"},
	[FIND_SUPER_ROOT_KEY] = {"super-root-key", H2_FAULT,
				 "an inode in the header's blockset does not have key 0, where a "
				 "mount looks for the super-root",
				 NEW_VOLUME},
	[FIND_RESERVED] = {"reserved-not-zero", H2_NOTE, "reserved bytes are not zero", NOTHING},
	[FIND_EMPTY_NOT_ZERO] = {"empty-not-zero", H2_FAULT,
				 "an empty blockref is not all zero; DragonFly's tools stop at one "
				 "that has a block",
				 NEW_VOLUME},
	[FIND_ARRAY_ORDER] = {"array-order", H2_FAULT,
			      "blockrefs are not in ascending key order; DragonFly's kernel panics "
			      "when it changes such an array",
			      NEW_VOLUME},
	[FIND_ARRAY_OVERLAP] = {"array-overlap", H2_FAULT,
				"the key ranges of two blockrefs overlap; what the second one "
				"holds in the shared range is out of reach",
				NEW_VOLUME},
	[FIND_KEY_OUTSIDE] = {"key-outside", H2_FAULT,
			      "the blockref's key lies outside the range of the block it is in; "
			      "lookups do not find it",
			      NEW_VOLUME},
	/* DragonFly widens the indirect blocks of directories so, MF 5.4. */
	[FIND_RANGE_WIDER] = {"range-wider", H2_NOTE,
			      "the indirect block claims more keys than the block it is in",
			      NOTHING},
	[FIND_TREE_LOOP] = {"tree-loop", H2_FAULT, "the block is its own ancestor", NEW_VOLUME},
	[FIND_TREE_DEEP] = {"tree-deep", H2_FAULT,
			    "the tree is deeper than DragonFly's kernel can flush (60 levels)",
			    NEW_VOLUME},
	[FIND_INDIRECT_SIZE] = {"indirect-size", H2_FAULT,
				"the indirect block is not 4, 16 or 64 KiB long; DragonFly's "
				"kernel panics when it splits one of another size",
				NEW_VOLUME},
	[FIND_INDIRECT_EMPTY] = {"indirect-empty", H2_NOTE, "the indirect block has no entries",
				 NOTHING},
	[FIND_CHECK_NONE] = {"check-none", H2_FAULT,
			     "only file data may be without a check code; this block has none",
			     NEW_VOLUME},
	[FIND_CHECK_UNKNOWN] = {"check-unknown", H2_FAULT,
				"the check algorithm is none that the format knows", NEW_VOLUME},
	[FIND_REF_PFSROOT] = {"blockref-pfsroot", H2_FAULT,
			      "the blockref has the PFSROOT flag, which belongs to entries of the "
			      "super-root only",
			      NEW_VOLUME},
	[FIND_MIRROR_TID_ORDER] = {"mirror-tid-order", H2_FAULT,
				   "the block is newer than the block that refers to it, so "
				   "recovery after a crash would not find it",
				   NEW_VOLUME},
	[FIND_MIRROR_TID_HEADER] = {"mirror-tid-header", H2_FAULT,
				    "the block is newer than the volume header", NEW_VOLUME},
	/* Volumes that DragonFly wrote have this now and then: in snapshots, behind indirect blocks. */
	[FIND_MODIFY_TID_ORDER] = {"modify-tid-order", H2_NOTE,
				   "modify_tid is larger than that of the blockref above it",
				   NOTHING},
	/* newfs leaves those of the super-root and the header at zero, and the drift stays. */
	[FIND_STATISTICS] =
		{"statistics", H2_NOTE,
		 "the statistics in the blockref are not the sums of what is below; cosmetic",
		 NOTHING},
	/* MF 3.7, 7.1, 8.7: a reader ignores them, but who writes them breaks deduplication. */
	[FIND_PADDING] = {"padding", H2_WARNING,
			  "bytes behind a name or behind compressed data are not zero", NOTHING},
	[FIND_BLOCK_OVERLAP] = {"block-overlap", H2_FAULT,
				"the block shares bytes with another block", NEW_FILE},
	[FIND_BLOCK_BELOW_ALLOCATOR] = {"block-below-allocator", H2_FAULT,
					"the block lies in space that is never allocated: newfs's, "
					"or the rest of its last 4 MiB segment",
					NEW_FILE},
	[FIND_PFS_FLAG] = {"pfs-flag", H2_FAULT, "the inode of a PFS lacks its PFSROOT flag",
			   NEW_VOLUME},
	[FIND_PFS_BLOCKREF_FLAG] = {"pfs-blockref-flag", H2_FAULT,
				    "the blockref of a PFS lacks its PFSROOT flag; DragonFly "
				    "repairs that when it mounts read-write",
				    NOTHING},
	[FIND_PFS_LABEL] =
		{"pfs-label", H2_FAULT,
		 "the label has a NUL byte in it, or something behind its end; it cannot be named",
		 NEW_VOLUME},
	[FIND_PFS_KEY] = {"pfs-key", H2_FAULT,
			  "the PFS is not at the hash of its label; it cannot be found by label",
			  NEW_VOLUME},
	[FIND_PFS_NAME_KEY] = {"pfs-name-key", H2_FAULT,
			       "name_key of the PFS is not the key of its entry", NEW_VOLUME},
	[FIND_PFS_LABEL_TWICE] = {"pfs-label-twice", H2_FAULT,
				  "two PFSs have this label; the second one cannot be mounted",
				  NEW_VOLUME},
	[FIND_PFS_CLID_TWICE] =
		{"pfs-clid-twice", H2_FAULT,
		 "two PFSs have this pfs_clid; DragonFly merges them into one mount",
		 "mount one of them at a time, and copy its files to a new PFS"},
	[FIND_PFS_FSID_TWICE] = {"pfs-fsid-twice", H2_FAULT, "two PFSs have this pfs_fsid",
				 NEW_VOLUME},
	[FIND_PFS_ID_NIL] = {"pfs-id-nil", H2_FAULT,
			     "pfs_clid or pfs_fsid is nil; DragonFly merges PFSs whose pfs_clid is "
			     "the same, on whatever volumes",
			     NEW_VOLUME},
	[FIND_SNAPSHOT_TID] = {"snapshot-tid", H2_FAULT,
			       "file data without a check code is shared with a snapshot but newer "
			       "than pfs_lsnap_tid of a PFS that has it, so that DragonFly's "
			       "kernel may overwrite it in both",
			       "copy the file, and remove the original"},
	[FIND_INUM_COUNTER] = {"inum-counter", H2_FAULT,
			       "the inode number is beyond the PFS's counter (pfs_inum); it would "
			       "be given out again",
			       "do not mount this PFS read-write with DragonFly; then copy the "
			       "data out (hammer2 extract) and into a new filesystem"},
	[FIND_INUM_TWICE] = {"inum-twice", H2_FAULT, "two inodes of the PFS have this number",
			     NEW_VOLUME},
	[FIND_INODE_OWNER] = {"inode-owner", H2_FAULT,
			      "the uid or gid field has other bytes than the number's 4",
			      "set the owner anew"},
	[FIND_SPECIAL_CONTENT] = {"special-content", H2_FAULT,
				  "a device, FIFO or socket has blocks",
				  "remove it, and make it anew"},
	[FIND_DATA_BEYOND_EOF] = {"data-beyond-eof", H2_FAULT,
				  "the data block lies behind the end of the file", NEW_FILE},
	[FIND_DATA_TAIL] =
		{"data-tail", H2_FAULT,
		 "bytes behind the end of the file are not zero; they appear when the file grows",
		 NEW_FILE},
	[FIND_DATA_DECODE] = {"data-decode", H2_FAULT,
			      "the block does not decompress; its part of the file is lost",
			      RESTORE},
	[FIND_DATA_AUTOZERO] = {"data-autozero", H2_FAULT,
				"the data block says that it is compressed by autozero, which is "
				"no encoding; DragonFly's kernel fails",
				NEW_FILE},
	[FIND_INODE_NLINKS_ZERO] =
		{"nlinks-zero", H2_WARNING,
		 "the inode was deleted while it was open and never released; it occupies space",
		 NOTHING},
	[FIND_NAME_HASH] =
		{"name-hash", H2_FAULT,
		 "the entry is not at the hash of its name; it is listed but cannot be opened",
		 NEW_VOLUME},
	[FIND_NAME_TWICE] = {"name-twice", H2_FAULT,
			     "the directory has this name twice; the second one cannot be opened",
			     "rename what the name leads to; then the other one can be opened"},
	[FIND_NAME_INVALID] = {"name-invalid", H2_FAULT, "no path can have this name", NEW_VOLUME},
	[FIND_NAME_DANGLING] = {"name-dangling", H2_FAULT,
				"the entry names an inode that does not exist or cannot be read",
				RESTORE},
	[FIND_NAME_TYPE] = {"name-type", H2_FAULT,
			    "the entry's object type is not that of its inode", NEW_FILE},
	[FIND_LINK_COUNT] = {"link-count", H2_FAULT, "the link count is not the number of names",
			     NEW_FILE},
	[FIND_ORPHAN] = {"orphan", H2_WARNING, "no name leads to the inode; it occupies space",
			 NOTHING},
	[FIND_DIR_NAMES] = {"dir-names", H2_FAULT, "the directory has more than one name",
			    NEW_VOLUME},
	[FIND_DIR_PARENT] = {"dir-parent", H2_FAULT,
			     "iparent is not the directory that holds the name; \"..\" is wrong",
			     "rename the directory to another one and back"},
	[FIND_DIR_DETACHED] = {"dir-detached", H2_FAULT,
			       "the directory cannot be reached from the root", NEW_VOLUME},
	[FIND_DIR_LINK_COUNT] = {"dir-link-count", H2_WARNING,
				 "the link count of a directory must be 1; DragonFly leaves an "
				 "orphan behind when it removes this one",
				 NOTHING},
	[FIND_NAMES_UNCHECKED] = {"names-unchecked", H2_WARNING,
				  "damage hides a part of the names or inodes: link counts and "
				  "orphans of this PFS were not checked",
				  NOTHING},
	[FIND_FREEMAP_BLOCK] = {"freemap-block", H2_FAULT,
				"a block of the freemap cannot be used; nothing can be allocated "
				"in the space it describes",
				NEW_VOLUME},
	[FIND_FREEMAP_CHECK] = {"freemap-check", H2_FAULT,
				"the freemap block has another check algorithm than freemap",
				NEW_VOLUME},
	[FIND_FREEMAP_TID] = {"freemap-tid", H2_FAULT,
			      "the freemap block is newer than the header's mirror_tid",
			      NEW_VOLUME},
	[FIND_FREEMAP_ROTATION] = {"freemap-rotation", H2_FAULT,
				   "since the older header copy the freemap block did not move on "
				   "by one slot for each commit that changed it",
				   "tell the authors of what wrote the volume"},
	[FIND_FREEMAP_STATE] =
		{"freemap-state", H2_FAULT,
		 "blocks in use are not marked as allocated; new blocks may overwrite them",
		 "do not write to the volume; then copy the data out (hammer2 extract) and into a "
		 "new filesystem"},
	[FIND_FREEMAP_LAG] = {"freemap-lag", H2_WARNING,
			      "the freemap is behind the last commit: it does not have what "
			      "header-freemap-behind is about",
			      "any change on Linux mends it: the freemap is recovered when the "
			      "volume is opened for writing"},
	[FIND_FREEMAP_NO_LEAF] = {"freemap-no-leaf", H2_FAULT,
				  "blocks are in use in a zone that has no freemap leaf",
				  "do not write to the volume; then copy the data out (hammer2 "
				  "extract) and into a new filesystem"},
	[FIND_FREEMAP_UNUSABLE] = {"freemap-unusable", H2_FAULT,
				   "space that must never be allocated is not marked as allocated",
				   "do not write to the volume; then copy the data out (hammer2 "
				   "extract) and into a new filesystem"},
	[FIND_FREEMAP_RESERVED] =
		{"freemap-reserved", H2_WARNING,
		 "granules are in state 1 (reserved), which is never used; they are lost", NOTHING},
	[FIND_FREEMAP_AVAIL] = {"freemap-avail", H2_FAULT,
				"avail of the segment is not its number of free bytes", NEW_VOLUME},
	[FIND_FREEMAP_LINEAR] =
		{"freemap-linear", H2_FAULT,
		 "linear of the segment points at bytes that are in use, or nowhere",
		 "do not write to the volume; then copy the data out (hammer2 extract) and into a "
		 "new filesystem"},
	[FIND_FREEMAP_BIGMASK] =
		{"freemap-bigmask", H2_FAULT,
		 "bigmask says that there is no room for blocks of a size for which there is",
		 NOTHING},
	/* BS 2.6, 11: DragonFly's recovery leaves it too small, its growfs too large. */
	[FIND_FREEMAP_FREE_SUM] = {"freemap-free-sum", H2_WARNING,
				   "allocator_free is not what the freemap has free; the free "
				   "space shown is off by as much",
				   NOTHING},
};

/* Findings of the layers that read blocks. */
static const struct {
	const char *code, *advice;
} of_readers[] = {
	{"bad-blockref", NEW_VOLUME},
	{"bad-inode", NEW_VOLUME},
	{"check-mismatch", RESTORE "; if more appear, the device is failing"},
	{"read-error", "the device is failing: copy all data to another one"},
};

const struct h2_finding_row *h2_finding_row(enum h2_finding finding)
{
	return &rows[finding];
}

const char *h2_finding_advice(const char *code)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (strcmp(rows[i].code, code) == 0)
			return rows[i].advice;
	}
	for (size_t i = 0; i < sizeof(of_readers) / sizeof(of_readers[0]); i++) {
		if (strcmp(of_readers[i].code, code) == 0)
			return of_readers[i].advice;
	}
	return NULL;
}
