/* The table of findings; see finding.h. */
#include "finding.h"

static const struct h2_finding_row rows[] = {
	[FIND_HEADER_DAMAGED] = {"header-damaged", H2_FAULT,
				 "this copy of the volume header is damaged; a mount uses another"},
	[FIND_HEADER_UNREADABLE] = {"header-unreadable", H2_FAULT,
				    "this copy of the volume header cannot be read"},
	[FIND_HEADER_MISSING] = {"header-missing", H2_WARNING,
				 "this copy of the volume header was never written; the next "
				 "commits write it"},
	[FIND_HEADER_STALE] = {"header-stale", H2_WARNING,
			       "behind the volume's end lies the header of an earlier, larger "
			       "filesystem, which DragonFly may take for this one's"},
	[FIND_HEADER_SAME_TID] = {"header-same-tid", H2_FAULT,
				  "two header copies differ but have the same mirror_tid, so it is "
				  "undecided which is newer"},
	[FIND_HEADER_FREEMAP_TID] = {"header-freemap-tid", H2_FAULT,
				     "freemap_tid is larger than mirror_tid"},
	[FIND_HEADER_GEOMETRY] = {"header-geometry", H2_FAULT,
				  "the header's boot, aux or allocator areas contradict each other "
				  "or the size"},
	[FIND_HEADER_FOREIGN] = {"header-foreign", H2_FAULT,
				 "this header copy is of another filesystem or format version than "
				 "the best one"},
	[FIND_HEADER_OLDER_USELESS] = {"header-older-useless", H2_WARNING,
				       "the filesystem cannot be opened from this older header "
				       "copy"},
	[FIND_NO_SUPER_ROOT] = {"no-super-root", H2_FAULT,
				"the header does not lead to a super-root; no PFS can be mounted"},
	[FIND_EMPTY_NOT_ZERO] = {"empty-not-zero", H2_FAULT,
				 "an empty blockref has a block; DragonFly's tools stop at it"},
	[FIND_ARRAY_ORDER] = {"array-order", H2_FAULT,
			      "blockrefs are not in ascending key order; DragonFly's kernel panics "
			      "when it changes such an array"},
	[FIND_ARRAY_OVERLAP] =
		{"array-overlap", H2_FAULT,
		 "the key ranges of two blockrefs overlap; what the second one holds "
		 "in the shared range is out of reach"},
	[FIND_KEY_OUTSIDE] = {"key-outside", H2_FAULT,
			      "the blockref's key lies outside the range of the block it is in; "
			      "lookups do not find it"},
	/* DragonFly widens the indirect blocks of directories so, MF 5.4. */
	[FIND_RANGE_WIDER] = {"range-wider", H2_NOTE,
			      "the indirect block claims more keys than the block it is in"},
	[FIND_TREE_LOOP] = {"tree-loop", H2_FAULT, "the block is its own ancestor"},
	[FIND_TREE_DEEP] = {"tree-deep", H2_FAULT,
			    "the tree is deeper than DragonFly's kernel can flush (60 levels)"},
	[FIND_INDIRECT_SIZE] =
		{"indirect-size", H2_FAULT,
		 "the indirect block is not 4, 16 or 64 KiB long; DragonFly's kernel "
		 "panics when it splits one of another size"},
	[FIND_INDIRECT_EMPTY] = {"indirect-empty", H2_NOTE, "the indirect block has no entries"},
	[FIND_CHECK_NONE] = {"check-none", H2_FAULT,
			     "only file data may be without a check code; this block has none"},
	[FIND_MIRROR_TID_ORDER] =
		{"mirror-tid-order", H2_FAULT,
		 "the block is newer than the block that refers to it, so recovery "
		 "after a crash would not find it"},
	[FIND_MIRROR_TID_HEADER] = {"mirror-tid-header", H2_FAULT,
				    "the block is newer than the volume header"},
	/* Volumes that DragonFly wrote have this now and then: in snapshots, behind indirect blocks. */
	[FIND_MODIFY_TID_ORDER] = {"modify-tid-order", H2_NOTE,
				   "modify_tid is larger than that of the blockref above it"},
	/* newfs leaves those of the super-root and the header at zero, and the drift stays. */
	[FIND_STATISTICS] = {"statistics", H2_NOTE,
			     "the statistics in the blockref are not the sums of what is below; "
			     "cosmetic"},
	[FIND_BLOCK_OVERLAP] = {"block-overlap", H2_FAULT,
				"the block shares bytes with another block"},
	[FIND_BLOCK_BELOW_ALLOCATOR] = {"block-below-allocator", H2_FAULT,
					"the block lies in space that belongs to newfs"},
	[FIND_PFS_FLAG] = {"pfs-flag", H2_FAULT, "the inode of a PFS lacks its PFSROOT flag"},
	[FIND_PFS_BLOCKREF_FLAG] =
		{"pfs-blockref-flag", H2_FAULT,
		 "the blockref of a PFS lacks its PFSROOT flag; DragonFly repairs "
		 "that when it mounts read-write"},
	[FIND_PFS_LABEL] =
		{"pfs-label", H2_FAULT,
		 "the label has a NUL byte in it, or something behind its end; it cannot "
		 "be named"},
	[FIND_PFS_KEY] = {"pfs-key", H2_FAULT,
			  "the PFS is not at the hash of its label; it cannot be found by label"},
	[FIND_PFS_NAME_KEY] = {"pfs-name-key", H2_FAULT,
			       "name_key of the PFS is not the key of its entry"},
	[FIND_PFS_LABEL_TWICE] = {"pfs-label-twice", H2_FAULT,
				  "two PFSs have this label; the second one cannot be mounted"},
	[FIND_PFS_CLID_TWICE] =
		{"pfs-clid-twice", H2_FAULT,
		 "two PFSs have this pfs_clid; DragonFly merges them into one mount"},
	[FIND_PFS_FSID_TWICE] = {"pfs-fsid-twice", H2_FAULT, "two PFSs have this pfs_fsid"},
	[FIND_INUM_COUNTER] =
		{"inum-counter", H2_FAULT,
		 "the inode number is beyond the PFS's counter (pfs_inum); it would be "
		 "given out again"},
	[FIND_SPECIAL_CONTENT] = {"special-content", H2_FAULT,
				  "a device, FIFO or socket has blocks"},
	[FIND_DATA_BEYOND_EOF] = {"data-beyond-eof", H2_FAULT,
				  "the data block lies behind the end of the file"},
	[FIND_DATA_TAIL] = {"data-tail", H2_FAULT,
			    "bytes behind the end of the file are not zero; they appear when the "
			    "file grows"},
	[FIND_DATA_DECODE] = {"data-decode", H2_FAULT,
			      "the block does not decompress; its part of the file is lost"},
	[FIND_INODE_NLINKS_ZERO] =
		{"nlinks-zero", H2_WARNING,
		 "the inode was deleted while it was open and never released; it "
		 "occupies space"},
	[FIND_NAME_HASH] = {"name-hash", H2_FAULT,
			    "the entry is not at the hash of its name; it is listed but cannot be "
			    "opened"},
	[FIND_NAME_TWICE] = {"name-twice", H2_FAULT,
			     "the directory has this name twice; the second one cannot be opened"},
	[FIND_NAME_INVALID] = {"name-invalid", H2_FAULT, "no path can have this name"},
	[FIND_NAME_DANGLING] = {"name-dangling", H2_FAULT,
				"the entry names an inode that does not exist or cannot be read"},
	[FIND_NAME_TYPE] = {"name-type", H2_FAULT,
			    "the entry's object type is not that of its inode"},
	[FIND_LINK_COUNT] = {"link-count", H2_FAULT, "the link count is not the number of names"},
	[FIND_ORPHAN] = {"orphan", H2_WARNING, "no name leads to the inode; it occupies space"},
	[FIND_DIR_NAMES] = {"dir-names", H2_FAULT, "the directory has more than one name"},
	[FIND_DIR_PARENT] = {"dir-parent", H2_FAULT,
			     "iparent is not the directory that holds the name; \"..\" is wrong"},
	[FIND_DIR_DETACHED] = {"dir-detached", H2_FAULT,
			       "the directory cannot be reached from the root"},
	[FIND_DIR_LINK_COUNT] = {"dir-link-count", H2_NOTE,
				 "DragonFly keeps 1 as the link count of directories; it leaves an "
				 "orphan behind when it removes this one"},
	[FIND_NAMES_UNCHECKED] =
		{"names-unchecked", H2_WARNING,
		 "damage hides a part of the names or inodes: link counts and orphans "
		 "of this PFS were not checked"},
	[FIND_FREEMAP_BLOCK] =
		{"freemap-block", H2_FAULT,
		 "a block of the freemap cannot be used; nothing can be allocated in "
		 "the space it describes"},
	[FIND_FREEMAP_TID] = {"freemap-tid", H2_FAULT,
			      "the freemap block is newer than the header's mirror_tid"},
	[FIND_FREEMAP_STATE] =
		{"freemap-state", H2_FAULT,
		 "blocks in use are not marked as allocated; new blocks may overwrite "
		 "them"},
	[FIND_FREEMAP_LAG] = {"freemap-lag", H2_WARNING,
			      "the freemap is behind the last commit; a read-write mount catches "
			      "up"},
	[FIND_FREEMAP_NO_LEAF] = {"freemap-no-leaf", H2_FAULT,
				  "blocks are in use in a zone that has no freemap leaf"},
	[FIND_FREEMAP_UNUSABLE] = {"freemap-unusable", H2_FAULT,
				   "space that must never be allocated is not marked as allocated"},
	[FIND_FREEMAP_AVAIL] = {"freemap-avail", H2_FAULT,
				"avail of the segment is not its number of free bytes"},
	[FIND_FREEMAP_LINEAR] =
		{"freemap-linear", H2_FAULT,
		 "linear of the segment points at bytes that are in use, or nowhere"},
	[FIND_FREEMAP_FREE_SUM] = {"freemap-free-sum", H2_WARNING,
				   "allocator_free is not what the freemap has free"},
};

const struct h2_finding_row *h2_finding_row(enum h2_finding finding)
{
	return &rows[finding];
}
