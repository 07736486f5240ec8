#!/usr/bin/env python3
"""fsck.hammer2 finds every violation of a "must" of the format, names it, and claims nothing else.

Volumes that this project's programs wrote, and volumes that DragonFly's tools wrote, are broken in
one way at a time: h2media changes a field and makes all check codes right again, up to the header,
so that nothing but the field's meaning is wrong. Each way is a row: the section that forbids it,
what is changed, the finding that must come of it, and what else must follow. A row is tried on
every volume that has what it needs. Rows under LEGAL are what the format allows: nothing may be
found.

The findings that rows expect and those that the manual page lists are compared: none may be
without the other.

    break.py [--build DIR] [--images DIR] [VOLUME | CODE...]
"""

import collections
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "golden"))

import h2images
import h2media
from h2images import Failure
from h2media import (BLOCK, CHAR, DATA, DIRECTDATA, DIRECTORY, DIRENT, EMPTY, FIFO, FILE,
                     FREEMAP_LEAF, GIB, GRANULE, INDIRECT, INODE, KIB, MIB, PFSROOT, REF_SIZE,
                     SEGMENT, SOCKET, SYMLINK, VISIBLE, ZONE, Media, make_ref)

SECONDS = 60
CLEAN, FAULTS, UNUSABLE = 0, 4, 8
# What no volume in a file can have: a device that cannot be read.
NOT_IN_IMAGES = {"header-unreadable", "read-error"}
# Findings of opening, and what explains other findings: no row of their own.
BESIDE = {"header-copy", "header-backup"}


class Missing(Exception):
    """The volume has nothing of the kind that a row breaks."""


# ---- what rows are about: each gives the structure to change, or raises Missing ----

def first(found, what):
    for one in found:
        return one
    raise Missing(what)


def header(m):
    return m.header


def other_header(m):
    """The only header copy of the second volume."""
    if len(m.starts) < 2:
        raise Missing("second volume")
    return m.headers(1)[0]


def super_ref(m):
    return first(m.find(INODE, tree="sroot"), "super-root")


def super_root(m):
    return super_ref(m).inode()


def pfs_ref(m):
    """The last PFS: none of its blocks are another one's, where that can be."""
    found = m.find(INODE, tree="super")
    if len(found) < 2:
        raise Missing("two PFSs")
    alone = [ref for ref in found if all(len(m.by_block[r.offset]) == 1 for r in m.refs
                                         if r.above is ref and r.radix)]
    return alone[-1] if alone else found[-1]


def pfs(m):
    return pfs_ref(m).inode()


def inode_refs(m, *types):
    for ref in m.find(INODE, tree="root"):
        if ref.key < VISIBLE and m.alone(ref) and ref.inode()["type"] in types:
            yield ref


def inline_ref(m):
    """A file that lies in its inode, with room behind it."""
    return first((ref for ref in inode_refs(m, FILE)
                  if ref.inode()["op_flags"] & DIRECTDATA and 16 < ref.inode()["size"] < 500
                  and ref.inode()["nlinks"] > 0), "inline file")


def inline(m):
    return inline_ref(m).inode()


def folder_ref(m):
    """A directory that is in another one than the root."""
    return first((ref for ref in inode_refs(m, DIRECTORY) if ref.inode()["iparent"] != 1),
                 "directory in a directory")


def folder(m):
    return folder_ref(m).inode()


def special(m):
    return first(inode_refs(m, FIFO, SOCKET, CHAR, BLOCK), "device, FIFO or socket").inode()


def data_refs(m, comp=0):
    for ref in m.find(DATA, tree="file"):
        if ref.methods & 15 == comp and ref.methods >> 4 > 1 and m.alone(ref):
            yield ref


def plain(m):
    """Stored as it is, not the first of its array; in an indirect block."""
    return first((ref for ref in data_refs(m) if ref.above.type == INDIRECT and ref.key
                  and ref.size == 65536), "plain data in an indirect block")


def last_plain(m):
    """The last one of its array, stored as it is."""
    ref = plain(m)
    return max(ref.above.children(), key=lambda one: one.key)


def packed(m, comp=2):
    return first((ref for ref in data_refs(m, comp) if ref.size < 65536
                  and not any(ref.content()[-4:])), f"data compressed by {comp}")


def packed_zlib(m):
    return packed(m, 3)


def last_data(m):
    """The last data of a file, plain, with the file's end in it and no zeros in front of that."""
    for ref in data_refs(m):
        inode = file_of(m, ref).inode()
        end = inode["size"] - ref.key
        if 16 < end <= ref.size and all(ref.content()[end - 16:end]):
            return ref
    raise Missing("data with the end of the file in it")


def last_packed(m):
    for comp in (2, 3):
        for ref in data_refs(m, comp):
            if 16 < file_of(m, ref).inode()["size"] - ref.key <= 65536:
                return ref
    raise Missing("compressed data with the end of the file in it")


def file_of(m, ref):
    """The blockref of the inode in whose tree a blockref is."""
    while ref.above.type != INODE:
        ref = ref.above
    return ref.above


def indirect(m, tree="file"):
    """Not the only one of its array, or not full: there is room for more."""
    return first((ref for ref in m.find(INDIRECT, tree=tree)
                  if m.alone(ref) and 1 < len(ref.children()) < len(ref.slots()) // 2),
                 f"indirect block in a {tree} tree")


def names(m, long_name=False):
    for ref in m.find(DIRENT):
        if bool(ref.radix) == long_name and (not ref.radix or m.alone(ref)) \
                and m.alone(ref.above) and ref["dirent_type"] == FILE:
            yield ref


def name(m):
    return first(names(m), "name")


def only_name(m):
    """Of a file that has no other."""
    for ref in names(m):
        inode = m.inum_ref(ref.pfs, ref["inum"])
        if m.alone(inode) and inode.inode()["nlinks"] == 1:
            return ref
    raise Missing("file of one name")


def long_name(m):
    return first(names(m, True), "long name")


def leaf(m):
    return first(m.find(FREEMAP_LEAF), "freemap leaf")


def used_granule(m):
    """A granule that a block with check code is in: (record, number in it)."""
    ref = first((ref for ref in data_refs(m) if ref.size >= GRANULE), "plain data of 16 KiB")
    return m.record(ref.offset)


def used_record(m):
    return used_granule(m)[0]


def free_granule(m):
    """A granule that is free: (record, number in it)."""
    for ref in m.find(FREEMAP_LEAF):
        for i in range(256):
            record = h2media.Record(m, ref.offset + 128 * i, ref.offset)
            if record["avail"]:
                return record, next(g for g in range(255, -1, -1) if record.state(g) == 0)
    raise Missing("free granule")


def unusable_record(m):
    """The segment of the first header."""
    return m.record(0)[0]


# ---- rows ----

class Row:
    """One way to break a volume.

    section: where the format forbids it. where, field, value: the change, value being a number or
    bytes, or a function of what was there; or where alone: a function that makes all changes.
    also: codes of what must be found besides. refused: the volume must not be opened.
    unsealed: check codes are left as they are.
    """

    def __init__(self, section, code, where, field=None, value=None, also=(), refused=False,
                 unsealed=False, what=None):
        self.section = section
        self.code = code
        self.where = where
        self.field = field
        self.value = value
        self.also = set(also)
        self.refused = refused
        self.unsealed = unsealed
        self.what = what or self.describe()

    def describe(self):
        if self.field:
            return f"{self.where.__name__} {self.field}"
        return self.where.__doc__.split("\n")[0]

    def apply(self, m):
        others = None
        if self.field:
            at = self.where(m)
            at[self.field] = self.value(at[self.field]) if callable(self.value) else self.value
            others = [at] if isinstance(at, h2media.Header) and at is not m.header else []
        else:
            others = self.where(m) or []
        if not self.unsealed:
            m.seal(*others)


def plus(amount):
    return lambda value: value + amount


HEADER_ROWS = [
    Row("MF 2.4, BS 2.1", "volume-set", header, "magic", 0x11201705324d4148, refused=True),
    Row("MF 2.5, BS 2.2", "volume-set", header, "version", 3, refused=True),
    Row("MF 2.5", "volume-set", header, "version", 0, refused=True),
    Row("MF 2.7 rule 2", "volume-set", header, "fstype", bytes(16), refused=True),
    Row("MF 2.7 rule 3", "volume-set", header, "volu_id", 64, refused=True),
    Row("MF 2.7 rule 3", "volume-set", header, "volu_id", 1, refused=True,
        what="there is no volume 0"),
    Row("MF 2.7 rule 4", "volume-set", header, "nvolumes", plus(1), refused=True),
    Row("MF 2.7 rule 5", "volume-set", header, "total_size", plus(8 * MIB), refused=True),
    Row("MF 2.7 rule 6", "volume-set", header, "volu_loff2", 3 * GIB, refused=True),
    Row("MF 2.7 rule 7", "volume-set", header, "volu_loff0", GIB, refused=True),
    Row("MF 2.7 rule 8", "volume-set", header, "volu_size", plus(-4 * MIB), refused=True),
    Row("MF 2.7 rule 9", "volume-set", header, "volu_size", 0, refused=True,
        what="header volu_size 0"),
    Row("MF 2.7 rule 9", "volume-set", header, "volu_size", 1 << 50, refused=True,
        what="header volu_size larger than the device"),
    Row("MF 2.7 rule 1", "volume-set", other_header, "fsid", bytes(16), refused=True),
    Row("MF 2.7 rule 1", "volume-set", other_header, "version", 1, refused=True),
    Row("MF 2.7 rule 1", "volume-set", other_header, "nvolumes", 3, refused=True),
    Row("MF 2.7 rule 3", "volume-set", other_header, "volu_id", 0, refused=True),
    Row("MF 2.7 rule 3", "volume-set", other_header, "volu_id", 2, refused=True,
        what="no volume 1"),
    Row("MF 2.7 rule 7", "volume-set", other_header, "volu_loff1", plus(GIB), refused=True),
    Row("MF 2.8, 13.1", "header-geometry", header, "allocator_beg", 0,
        also={"freemap-free-sum"}),
    Row("MF 11.6", "header-geometry", header, "boot_beg", 0),
    Row("MF 11.6", "header-geometry", header, "boot_end", plus(8 * MIB)),
    Row("BS 1.2", "header-geometry", header, "aux_end", plus(-16 * KIB)),
    Row("BS 8.7", "header-geometry", header, "allocator_free", (1 << 64) - GRANULE,
        also={"freemap-free-sum"}),
    Row("MF 2.8", "header-allocator-size", header, "allocator_size", plus(GRANULE)),
    Row("BS 8.5, 16.4 point 10", "freemap-free-sum", header, "allocator_free", plus(-GRANULE),
        what="allocator_free too small"),
    Row("BS 8.5, 16.4 point 10", "freemap-free-sum", header, "allocator_free", plus(GRANULE)),
    Row("BS 16.4 point 2", "header-freemap-tid", header, "freemap_tid", plus(1)),
    Row("MF 2.2", "reserved-not-zero", header, "flags", 1),
    Row("MF 2.2", "reserved-not-zero", header, "bulkfree_tid", 1),
]

REF_ROWS = [
    Row("MF 3.2, BS 16.1", "bad-blockref", plain, "type", 9),
    Row("MF 3.2, BS 16.1", "bad-blockref", plain, "type", 7, what="plain type INVALID"),
    Row("MF 3.2, BS 6.2", "bad-blockref", plain, "type", DIRENT, what="name in a file"),
    Row("MF 3.2, BS 6.2", "bad-blockref", plain, "type", INODE, what="inode in a file"),
    Row("MF 3.2", "bad-blockref", plain, "type", FREEMAP_LEAF, what="freemap leaf in a file"),
    Row("BS 6.2", "bad-blockref", name, "type", DATA, also={"names-unchecked"},
        what="data in a directory"),
    Row("MF 3.2", "freemap-block", leaf, "type", DATA, what="data in the freemap",
        also={"freemap-no-leaf"}),
    Row("MF 5.2, BS 5.1", "bad-blockref", plain, "keybits", 15),
    Row("MF 5.2", "bad-blockref", last_plain, "key", plus(4096)),
    Row("MF 5.2", "bad-blockref", name, "keybits", 1, also={"names-unchecked"}),
    Row("MF 5.2, BS 3.1", "bad-blockref", indirect, "keybits", 64),
    Row("MF 5.2", "bad-blockref", indirect, "keybits", 0, what="indirect keybits 0"),
    Row("MF 5.2", "bad-blockref", indirect, "key", plus(1)),
    Row("MF 3.4", "bad-blockref", plain, "data_off", lambda off: off & ~63 | 9,
        what="block of 512 bytes"),
    Row("MF 3.4", "bad-blockref", plain, "data_off", lambda off: off & ~63 | 17,
        what="block of 128 KiB"),
    Row("MF 3.4", "bad-blockref", plain, "data_off", 0, what="data without a block"),
    Row("MF 3.4", "bad-blockref", plain, "data_off", 10, what="block in the header"),
    Row("MF 3.4", "bad-blockref", plain, "data_off", ZONE * 999 | 16, what="block behind the end"),
    Row("MF 3.4, 10.2", "bad-blockref", plain, "data_off", 41 * 65536 | 16,
        what="block in a reserved segment"),
    Row("MF 3.4", "bad-blockref", plain, "data_off", plus(GRANULE), what="block across 64 KiB"),
    Row("MF 3.4", "bad-blockref", plain, "data_off", lambda off: off & ~63 | 14 + (8 * KIB),
        what="block of 16 KiB that is not aligned"),
    Row("MF 3.4, BS 16.1", "bad-blockref", plain, "data_off",
        lambda off: off & ~63 | 13 + (12 * KIB), what="block of 8 KiB across 16 KiB"),
    Row("MF 3.4", "bad-blockref", inline_ref, "data_off", plus(512), what="inode not aligned",
        also={"name-dangling", "names-unchecked"}),
    Row("MF 3.4", "bad-blockref", inline_ref, "data_off", lambda off: off & ~63 | 11,
        what="inode of 2 KiB", also={"name-dangling", "names-unchecked"}),
    Row("MF 3.4", "bad-blockref", name, "data_off", 64, what="name at an offset without a size",
        also={"names-unchecked"}),
    Row("MF 4.6", "bad-blockref", plain, "methods", 0x60, what="unknown check algorithm"),
    Row("MF 3.5", "bad-blockref", plain, "methods", lambda value: value & 0xf0 | 4,
        what="unknown compression"),
    Row("MF 8.8, BS 5.6", "data-autozero", plain, "methods", lambda value: value & 0xf0 | 1),
    Row("MF 3.5", "check-none", indirect, "methods", 0),
    Row("MF 3.5, BS 5.7", "check-none", inline_ref, "methods", 0),
    Row("MF 3.5, BS 3.2", "check-none", name, "methods", 0),
    Row("MF 3.5", "check-none", long_name, "methods", 0),
    Row("MF 3.5", "check-none", super_ref, "methods", 0),
    Row("MF 4.6", "check-unknown", name, "methods", 0x60),
    Row("MF 3.3", "blockref-pfsroot", inline_ref, "flags", 1),
    Row("MF 3.3", "blockref-pfsroot", plain, "flags", 1),
    Row("MF 3.3", "reserved-not-zero", plain, "flags", 2),
    Row("MF 3.1", "reserved-not-zero", plain, "update_tid", 1),
    Row("MF 3.6", "reserved-not-zero", name, "dirent_rest", 1),
    Row("MF 12.2 rule 2", "mirror-tid-order", plain, "mirror_tid",
        plus(100), also={"mirror-tid-header"}),
    Row("MF 12.2 rule 2", "mirror-tid-order", indirect, "mirror_tid", lambda tid: tid - 1),
    Row("MF 12.2 rule 5", "mirror-tid-header", super_ref, "mirror_tid", plus(100)),
    Row("MF 12.2 rule 5", "freemap-tid", leaf, "mirror_tid", plus(100)),
    Row("MF 12.3", "modify-tid-order", plain, "modify_tid", 1 << 40),
    Row("MF 3.6, BS 6.5", "statistics", indirect, "data_count", plus(1)),
    Row("MF 3.6, BS 6.5", "statistics", indirect, "leaf_count", plus(1)),
    Row("MF 11.1", "super-root-key", super_ref, "key", 1, also={"names-unchecked"}),
]

INODE_ROWS = [
    Row("MF 6.1, BS 3.4", "bad-inode", inline, "version", 2,
        also={"name-dangling", "names-unchecked"}),
    Row("MF 6.4, BS 3.4", "bad-inode", inline, "type", 3,
        also={"name-dangling", "names-unchecked"}),
    Row("MF 7.5, BS 3.4", "bad-inode", inline, "inum", plus(1000),
        also={"name-dangling", "names-unchecked"}),
    Row("MF 6.2, BS 5.2", "bad-inode", inline, "size", 513,
        also={"name-dangling", "names-unchecked"}),
    Row("MF 6.2", "bad-inode", folder, "op_flags", DIRECTDATA,
        also={"name-dangling", "names-unchecked"}),
    Row("MF 6.2", "bad-inode", special, "op_flags", DIRECTDATA,
        also={"name-dangling", "names-unchecked"}),
    Row("MF 6.2", "bad-inode", inline, "op_flags", DIRECTDATA | PFSROOT,
        also={"name-dangling", "names-unchecked"}),
    Row("MF 13.4", "bad-inode", inline, "size", 1 << 63, what="size of 2^63",
        also={"name-dangling", "names-unchecked"}),
    Row("MF 6.2", "reserved-not-zero", inline, "op_flags", DIRECTDATA | 0x80),
    Row("MF 6.1", "reserved-not-zero", inline, "cap_flags", 1),
    Row("MF 6.1", "reserved-not-zero", inline, "reserved084", 1),
    Row("MF 6.3", "inode-owner", inline, "uid_rest", bytes(11) + b"\1"),
    Row("MF 6.3", "inode-owner", inline, "gid_rest", b"\1" + bytes(11)),
    Row("MF 6.7, 7.7, BS 16.4 point 6", "link-count", inline, "nlinks", plus(1)),
    Row("MF 6.7", "link-count", inline, "nlinks", 0, what="link count 0 of what has a name",
        also={"nlinks-zero"}),
    Row("BS 3.6", "link-count", folder, "nlinks", 0, what="link count 0 of a directory",
        also={"nlinks-zero"}),
    Row("MF 6.7", "dir-link-count", folder, "nlinks", 2),
    Row("MF 6.7", "dir-link-count", pfs, "nlinks", 2),
    Row("BS 3.4, 16.4 point 6", "dir-parent", folder, "iparent", 1),
    Row("MF 8.4, BS 5.4", "data-tail", inline, "size", plus(-1)),
    Row("MF 6.1", "padding", inline, "name_len", plus(-1)),
    Row("MF 11.1", "bad-inode", super_root, "inum", 1, also={"no-super-root", "names-unchecked"}),
    Row("MF 13.4", "bad-inode", super_root, "type", FILE,
        also={"no-super-root", "names-unchecked"}),
    Row("MF 13.4", "bad-inode", super_root, "op_flags", DIRECTDATA,
        also={"no-super-root", "names-unchecked"}),
    Row("MF 11.1, BS 16.4 point 4", "bad-inode", pfs, "inum", 2, also={"names-unchecked"}),
    Row("BS 2.4", "bad-inode", pfs, "type", FILE, also={"names-unchecked"}),
    Row("BS 2.4", "pfs-flag", pfs, "op_flags", 0),
    Row("BS 2.4", "pfs-blockref-flag", pfs_ref, "flags", 0),
    Row("BS 16.4 point 4", "pfs-name-key", pfs, "name_key", plus(1)),
    Row("BS 16.4 point 4", "bad-inode", pfs, "name_len", 256, also={"names-unchecked"}),
    Row("BS 2.4", "bad-inode", pfs, "name_len", 0, what="PFS without a label",
        also={"names-unchecked"}),
    Row("MF 11.4", "pfs-id-nil", pfs, "pfs_clid", bytes(16)),
    Row("MF 11.4", "pfs-id-nil", pfs, "pfs_fsid", bytes(16)),
]

NAME_ROWS = [
    Row("MF 13.5", "bad-blockref", name, "namlen", 0, also={"names-unchecked"}),
    Row("MF 7.1", "bad-blockref", name, "namlen", 65, also={"names-unchecked"},
        what="name of 65 bytes without a block"),
    Row("MF 7.1", "bad-blockref", long_name, "namlen", 64, also={"names-unchecked"},
        what="name of 64 bytes in a block"),
    Row("MF 13.5", "bad-blockref", name, "inum", 0, also={"names-unchecked"}),
    Row("MF 13.5", "bad-blockref", name, "inum", VISIBLE | 5, also={"names-unchecked"},
        what="name of an inode above 2^63"),
    Row("BS 3.2", "name-type", name, "dirent_type", SYMLINK),
    Row("BS 3.4, 16.4 point 6", "name-dangling", only_name, "inum", 987654321,
        also={"orphan"}),
]

FREEMAP_ROWS = [
    Row("MF 10.3", "freemap-block", leaf, "keybits", 31),
    Row("MF 10.3", "freemap-block", leaf, "key", ZONE * 4096, what="leaf behind the end",
        also={"freemap-no-leaf"}),
    Row("MF 10.4, BS 7.6", "freemap-block", leaf, "data_off", plus(65536)),
    Row("MF 10.4", "freemap-block", leaf, "data_off", lambda off: off & ~63 | 14,
        what="leaf of 16 KiB"),
    Row("BS 5.7", "freemap-check", leaf, "methods", 0x20),
    Row("BS 5.7", "check-none", leaf, "methods", 0x10, what="leaf without a check code"),
    Row("BS 8.4", "freemap-bigmask", leaf, "bigmask", (1 << 32) - 1 ^ 1 << 16),
    Row("BS 8.4", "freemap-bigmask", leaf, "bigmask", (1 << 32) - 1 ^ 1 << 10,
        what="bigmask for small blocks"),
    Row("BS 8.3", "freemap-avail", used_record, "avail", plus(-GRANULE)),
    Row("BS 8.3", "freemap-avail", used_record, "avail", plus(GRANULE), what="avail too high"),
    Row("BS 8.6", "freemap-avail", unusable_record, "avail", GRANULE,
        what="avail of a reserved segment"),
    Row("BS 8.6", "freemap-linear", unusable_record, "linear", KIB,
        what="linear of a reserved segment"),
    Row("MF 10.2, 10.7", "freemap-unusable", unusable_record, "bitmap0", (1 << 64) - 4,
        what="granule of a reserved segment free"),
    Row("MF 13.7", "freemap-linear", used_record, "linear", 512),
    Row("MF 13.7", "freemap-linear", used_record, "linear", SEGMENT + GRANULE,
        what="linear behind the segment"),
    Row("MF 10.5", "reserved-not-zero", used_record, "reserved", 1),
]


# About several header copies; all others are tried where there is one.
COPY_ROWS = []


def row(section, code, rows, **how):
    """The function makes a volume break that rule."""
    def add(function):
        rows.append(Row(section, code, function, **how))
        return function
    return add


# ---- headers ----

# Where this project's writer keeps a copy of a single header.
BACKUP = 0x290000


@row("MF 2.3", "volume-set", HEADER_ROWS, refused=True, unsealed=True)
def wrong_crc(m):
    """wrong CRC of the only header"""
    m.header["reserved"] = 1
    m.write(BACKUP, bytes(65536))


@row("MF 2.3", "header-damaged", HEADER_ROWS, also={"header-backup"}, unsealed=True)
def wrong_crc_with_backup(m):
    """wrong CRC of the only header, of which there is a backup"""
    if m.read(BACKUP, 8) != m.read(0, 8):
        raise Missing("backup of the header")
    m.header["reserved"] = 1


def copies(m, count=2):
    """The header copies from the newest one backwards, as the rotation has written them."""
    found = m.headers()
    if len(found) < count:
        raise Missing(f"{count} header copies")
    return [found[(m.header.slot - i) % len(found)] for i in range(len(found))]


@row("MF 2.3", "header-damaged", COPY_ROWS, unsealed=True, also={"header-copy"})
def wrong_crc_of_older_copy(m):
    """wrong CRC of the whole header in an older copy"""
    copies(m)[1]["reserved"] = 1


@row("MF 2.3", "header-damaged", COPY_ROWS, unsealed=True, also={"header-copy"})
def wrong_crc_of_sector_1(m):
    """wrong CRC of sector 1 in an older copy"""
    m.write(copies(m)[1].at + 0x3ff, b"\1")


@row("BS 16.4 point 2", "header-missing", COPY_ROWS, unsealed=True)
def no_older_copy(m):
    """an older copy is zero"""
    m.write(copies(m)[1].at, bytes(65536))


@row("BS 1.2", "header-stale", COPY_ROWS, unsealed=True)
def stale_copy(m):
    """a header behind the volume's end"""
    if len(m.headers()) > 3 or len(m.starts) > 1:
        raise Missing("room for another header")
    for file in m.files:
        os.truncate(file.fileno(), len(m.headers()) * 2 * GIB + 65536)
    m.sizes = [os.fstat(file.fileno()).st_size for file in m.files]
    m.write(len(m.headers()) * 2 * GIB, m.header.bytes())


@row("BS 2.1, MF 12.2 rule 5", "header-same-tid", COPY_ROWS)
def same_tid(m):
    """two copies with one tid"""
    older = copies(m)[1]
    older["mirror_tid"] = m.header["mirror_tid"]
    older["freemap_tid"] = m.header["freemap_tid"]
    return [older]


@row("MF 12.5, BS 7.3", "header-rotation", COPY_ROWS)
def out_of_turn(m):
    """the copy before the newest is older than the one before it"""
    found = copies(m, 4)
    swapped = found[1].bytes(), found[2].bytes()
    m.write(found[1].at, swapped[1])
    m.write(found[2].at, swapped[0])


@row("BS 2.2", "header-foreign", COPY_ROWS)
def other_fsid(m):
    """an older copy of another filesystem"""
    older = copies(m)[1]
    older["fsid"] = bytes(16)
    return [older]


@row("BS 2.2", "header-size", COPY_ROWS, also={"header-allocator-size"})
def other_size(m):
    """an older copy with another total size"""
    older = copies(m)[1]
    older["total_size"] -= 8 * MIB
    return [older]


@row("MF 2.2", "header-constants", COPY_ROWS)
def reserved_not_carried_over(m):
    """reserved bytes of an older copy that the newest one does not have"""
    older = copies(m)[1]
    older["reserved"] = 1
    return [older]


@row("MF 2.8", "header-constants", COPY_ROWS)
def allocator_beg_changed(m):
    """another allocator_beg in an older copy"""
    older = copies(m)[1]
    older["allocator_beg"] -= KIB
    return [older]


@row("MF 12.6", "header-older-useless", COPY_ROWS, also={"check-mismatch"}, unsealed=True)
def older_super_root_overwritten(m):
    """the super-root of an older copy was overwritten"""
    older = copies(m)[1]
    offset = int.from_bytes(m.read(older.at + 0x220, 8), "little") & ~63
    m.write(offset + 0x100, b"?")


@row("MF 10.4", "freemap-rotation", COPY_ROWS)
def freemap_jumped(m):
    """a freemap leaf moved by three sets in one commit"""
    older = copies(m)[1]
    if m.header["mirror_tid"] - older["mirror_tid"] != 1:
        raise Missing("consecutive headers")
    ref = leaf(m)
    slot = (ref.offset >> 16 & 63) - 1
    target = ref.key + 65536 * (1 + (slot // 5 + 2) % 8 * 5)
    m.write(target, ref.content())
    ref["data_off"] = target | 15


# ---- the trees ----

@row("MF 11.1", "no-super-root", REF_ROWS, also={"names-unchecked"})
def no_super_root(m):
    """the header's blockset is empty"""
    m.remove(super_ref(m))


@row("MF 12.4, BS 2.6", "header-freemap-behind", REF_ROWS)
def freemap_tid_behind(m):
    """a freemap_tid below the topology's newest"""
    m.header["freemap_tid"] = super_ref(m).mirror_tid - 1


@row("BS 6.1, 16.1", "empty-not-zero", REF_ROWS)
def empty_with_block(m):
    """an empty entry with a block"""
    ref = indirect(m)
    at = first((at for at in ref.slots() if m.read(at, 1)[0] == EMPTY), "empty entry")
    m.put_raw(ref.offset, at, make_ref(EMPTY, data_off=plain(m).data_off))


@row("BS 6.1", "empty-not-zero", REF_ROWS)
def empty_with_rest(m):
    """an empty entry with what is left of a removed one"""
    ref = indirect(m)
    at = first((at for at in ref.slots() if m.read(at, 1)[0] == EMPTY), "empty entry")
    m.put_raw(ref.offset, at + 127, b"\1")


@row("BS 6.1", "empty-not-zero", REF_ROWS)
def empty_with_rest_in_header(m):
    """an empty entry of the header with what is left of a removed one"""
    m.write(m.header.at + 0x200 + 3 * REF_SIZE + 0x30, b"\1")


@row("BS 6.1", "empty-not-zero", FREEMAP_ROWS)
def empty_with_rest_in_freemap(m):
    """an empty entry of the freemap with what is left of a removed one"""
    m.write(m.header.at + 0x800 + 3 * REF_SIZE + 0x70, b"\1")


@row("MF 5.3 rule 4, BS 6.1", "array-order", REF_ROWS)
def swapped(m):
    """two entries in each other's place"""
    ref = plain(m)
    before = first((r for r in m.find(DATA, above=ref.above) if r.at < ref.at), "two entries")
    raw = ref.raw(), before.raw()
    m.put_raw(ref.block, ref.at, raw[1])
    m.put_raw(ref.block, before.at, raw[0])


@row("MF 5.3 rule 1, BS 6.1", "array-overlap", REF_ROWS)
def one_key_twice(m):
    """two entries of one key"""
    ref = plain(m)
    m.insert(ref.above, ref.raw())


@row("MF 5.3 rule 3, BS 6.3", "array-overlap", REF_ROWS)
def entry_left_in_parent(m):
    """an entry beside an indirect block that covers its key"""
    ref = plain(m)
    array = first((r for r in (ref.above.above,) if len(r.children()) < len(r.slots())),
                  "free entry")
    fields = make_ref(DATA, key=ref.key + 65536 * 64, keybits=16, methods=0x30,
                      mirror_tid=ref.mirror_tid, data_off=ref.data_off)
    if ref.above.key + (1 << ref.above.keybits) <= ref.key + 65536 * 64:
        raise Missing("larger range")
    file_of(m, ref).inode()["size"] = max(file_of(m, ref).inode()["size"], ref.key + 65536 * 65)
    m.insert(array, fields)


@row("MF 5.3 rule 2, BS 6.3", "key-outside", REF_ROWS)
def key_outside(m):
    """a key outside the range of its indirect block"""
    ref = plain(m)
    file_of(m, ref).inode()["size"] = 1 << 45
    m.move(ref, key=1 << 44)


@row("MF 13.3", "tree-loop", REF_ROWS)
def loop(m):
    """an indirect block within itself"""
    ref = indirect(m)
    used = max(r.key + (1 << r.keybits) for r in ref.children())
    if used + (1 << 16) > ref.key + (1 << ref.keybits):
        raise Missing("room behind the entries")
    m.insert(ref, make_ref(INDIRECT, key=used, keybits=16, methods=0x10, data_off=ref.data_off,
                           mirror_tid=ref.mirror_tid))


@row("MF 5.7, BS 6.3", "tree-deep", REF_ROWS, also={"indirect-empty"})
def deep(m):
    """61 levels of indirect blocks"""
    ref = pfs_ref(m)
    if len(ref.children()) == 4:
        raise Missing("free entry in a PFS root")
    blocks = [m.allocate(65536) + 4096 * i for _ in range(4) for i in range(16)]
    used = ref.mirror_tid
    for i, block in enumerate(blocks[:60]):
        raw = make_ref(INDIRECT, key=1 << 62, keybits=62 - i, methods=0x30, mirror_tid=used,
                       data_off=block | 12)
        if i == 0:
            m.insert(ref, raw)
        else:
            m.put_raw(blocks[i - 1], blocks[i - 1], raw + bytes(4096 - REF_SIZE))
    m.put_raw(blocks[59], blocks[59], bytes(4096))


@row("MF 5.6, BS 6.3", "indirect-size", REF_ROWS)
def size_of_indirect(m):
    """an indirect block of 8 KiB"""
    ref = first((r for r in m.find(INDIRECT) if m.alone(r) and r.radix > 13
                 and max(c.at for c in r.children()) < r.offset + 8192), "half-empty indirect")
    ref["data_off"] = ref.offset | 13


@row("BS 6.3", "indirect-empty", REF_ROWS, also={"orphan"})
def no_entries(m):
    """an indirect block without entries"""
    ref = first((r for r in m.find(INDIRECT, tree="dir") if m.alone(r)
                 and all(c.type == DIRENT and c["dirent_type"] == FILE for c in r.children())),
                "indirect block with names")
    m.put_raw(ref.offset, ref.offset, bytes(ref.size))


@row("MF 5.4", "range-wider", REF_ROWS)
def wider_than_parent(m):
    """an indirect block that claims more than the one it is in"""
    ref = pfs_ref(m)
    if len(ref.children()) == 4:
        raise Missing("free entry in a PFS root")
    block = m.allocate(GRANULE)
    fields = {"key": 1 << 62, "methods": 0x30, "mirror_tid": ref.mirror_tid}
    inner = make_ref(INDIRECT, keybits=30, data_off=block + 4096 | 12, **fields)
    m.write(block, inner + bytes(2 * 4096 - REF_SIZE))
    m.insert(ref, make_ref(INDIRECT, keybits=20, data_off=block | 12, **fields))
    m.dirty |= {block, block + 4096}


@row("MF 4.1", "check-mismatch", REF_ROWS, unsealed=True)
def wrong_data(m):
    """another byte in file data"""
    ref = plain(m)
    m.write(ref.offset + 77, bytes([ref.content()[77] ^ 1]))


@row("MF 4.1", "check-mismatch", REF_ROWS, unsealed=True,
     also={"name-dangling", "names-unchecked"})
def wrong_inode(m):
    """another byte in an inode"""
    m.write(inline_ref(m).offset + 0x3ff, b"\1")


@row("MF 3.7", "reserved-not-zero", REF_ROWS)
def behind_check_code(m):
    """a byte behind a check code"""
    plain(m).put(0x7f, b"\1")


@row("MF 4.1", "names-unchecked", REF_ROWS, unsealed=True, also={"check-mismatch"})
def wrong_names(m):
    """another byte in an indirect block of a directory"""
    ref = first((r for r in m.find(INDIRECT) if m.alone(r) and r.key & VISIBLE
                 and r.children()[0].type == DIRENT), "indirect block of a directory")
    m.write(ref.offset + ref.size - 1, b"\1")


# ---- placement ----

def add_data(m, data_off, methods=0):
    """One more block of file data."""
    ref = plain(m)
    key = max(r.key for r in ref.above.children()) + 65536
    file_of(m, ref).inode()["size"] = key + 65536
    return m.insert(ref.above, make_ref(DATA, key=key, keybits=16, methods=methods,
                                        data_off=data_off, mirror_tid=ref.mirror_tid))


@row("BS 2.4", "bad-blockref", REF_ROWS, also={"names-unchecked"})
def name_in_super_root(m):
    """a name among the PFSs"""
    above = pfs_ref(m).above
    if len(above.children()) == len(above.slots()):
        raise Missing("free entry in the super-root")
    m.insert(above, make_ref(DIRENT, key=h2media.namehash(b"x") + 1, methods=0x30, inum=2,
                             namlen=1, dirent_type=FILE, check=b"x"))


@row("BS 16.4 point 9", "block-overlap", REF_ROWS)
def overlap_inside(m):
    """a block within another one"""
    add_data(m, plain(m).offset + GRANULE | 14)


@row("BS 16.4 point 9", "block-overlap", REF_ROWS)
def overlap_at_start(m):
    """a shorter block at the place of another one"""
    add_data(m, plain(m).offset | 14)


@row("MF 3.4, BS 8.1", "block-below-allocator", REF_ROWS)
def below_allocator(m):
    """a block in the boot area"""
    add_data(m, m.header["boot_beg"] | 16)


@row("BS 8.1, 8.6", "block-below-allocator", REF_ROWS)
def in_lost_segment(m):
    """a block in the segment where newfs ended"""
    end = -(-m.header["allocator_beg"] // SEGMENT) * SEGMENT
    if end - m.header["allocator_beg"] < 65536:
        raise Missing("rest of a segment")
    add_data(m, end - 65536 | 16)


@row("MF 3.4", "block-below-allocator", REF_ROWS)
def inode_below_allocator(m):
    """an inode in the aux area"""
    ref = inline_ref(m)
    m.write(m.header["aux_beg"], ref.content())
    ref["data_off"] = m.header["aux_beg"] | 10


# ---- PFSs ----

@row("MF 11.2, BS 16.4 point 4", "pfs-key", INODE_ROWS, also={"names-unchecked"})
def pfs_elsewhere(m):
    """a PFS that is not at the hash of its label"""
    ref = pfs_ref(m)
    ref.inode()["name_key"] = ref.key ^ 1 << 16
    m.move(ref, key=ref.key ^ 1 << 16)


@row("BS 2.4, 16.4 point 4", "pfs-label", INODE_ROWS, also={"names-unchecked", "pfs-key"})
def label_with_nul(m):
    """a label with a NUL byte in it"""
    pfs_ref(m).put_content(0x101, b"\0")


@row("BS 2.4", "padding", INODE_ROWS)
def behind_label(m):
    """bytes behind a label"""
    pfs_ref(m).put_content(0x1ff, b"\1")


@row("BS 2.4, 10.5", "pfs-label-twice", INODE_ROWS)
def label_twice(m):
    """two PFSs of one label"""
    ref = pfs_ref(m)
    if len(ref.above.slots()) == len(ref.above.children()):
        raise Missing("free entry in the super-root")
    block = m.allocate(GRANULE)
    m.put_raw(block, block, ref.content())
    raw = bytearray(ref.raw())
    raw[0x08:0x10] = (ref.key + 1).to_bytes(8, "little")
    raw[0x20:0x28] = (block | 10).to_bytes(8, "little")
    copy = m.insert(ref.above, bytes(raw)).inode()
    copy["name_key"] += 1
    copy["pfs_clid"] = b"\1" * 16
    copy["pfs_fsid"] = b"\2" * 16
    copy["data"] = bytes(512)


def two_pfs(m):
    found = m.find(INODE, tree="super")
    if len(found) < 2:
        raise Missing("two PFSs")
    return found[0].inode(), pfs(m) if found[0].offset != pfs_ref(m).offset else found[1].inode()


@row("MF 11.4, BS 2.4", "pfs-clid-twice", INODE_ROWS)
def clid_twice(m):
    """two PFSs of one clid"""
    one, other = two_pfs(m)
    other["pfs_clid"] = one["pfs_clid"]


@row("MF 11.4", "pfs-fsid-twice", INODE_ROWS)
def fsid_twice(m):
    """two PFSs of one fsid"""
    one, other = two_pfs(m)
    other["pfs_fsid"] = one["pfs_fsid"]


@row("MF 11.5, BS 2.5", "inum-counter", INODE_ROWS)
def counter_too_low(m):
    """pfs_inum below a number in use"""
    ref = first(inode_refs(m, FILE, DIRECTORY, SYMLINK), "inode")
    top = max(r.key for r in m.find(INODE, tree="root") if r.pfs == ref.pfs and r.key < VISIBLE)
    m.pfs(ref.pfs).inode()["pfs_inum"] = top - 1


def unchecked_shared(m):
    """Two PFSs that share file data without check code, one of them a snapshot."""
    for ref in m.find(DATA, tree="file"):
        if ref.methods >> 4 == 0 and not m.alone(ref):
            sharing = ref
            while len(m.by_block[sharing.offset]) < 2:
                sharing = sharing.above
            labels = sorted({r.pfs for r in m.by_block[sharing.offset]})
            if len(labels) > 1:
                return ref, labels
    raise Missing("data without check code in a snapshot")


@row("BS 5.8, 10.5", "snapshot-tid", INODE_ROWS)
def snapshot_tid(m):
    """pfs_lsnap_tid below the modify_tid of what a snapshot shares"""
    ref, labels = unchecked_shared(m)
    shared = [r for r in m.refs if r.radix and len(m.by_block[r.offset]) > 1
              and r.pfs in labels and r.type in (INODE, INDIRECT, DATA)]
    for r in shared:
        r["modify_tid"] = max(r.modify_tid, ref.modify_tid)
    m.pfs(labels[0]).inode()["pfs_lsnap_tid"] = ref.modify_tid - 1


# ---- files ----

@row("BS 6.2, MF 9", "special-content", INODE_ROWS)
def fifo_with_data(m):
    """a FIFO with data"""
    ref = file_of(m, plain(m))
    ref.inode()["type"] = FIFO
    for entry in m.find(DIRENT, pfs=ref.pfs):
        if entry["inum"] == ref.key:
            entry["dirent_type"] = FIFO


@row("MF 8.4, BS 5.4", "data-beyond-eof", INODE_ROWS)
def data_beyond_end(m):
    """a block behind the end of the file"""
    ref = max(m.find(DATA, above=plain(m).above), key=lambda r: r.key)
    file_of(m, ref).inode()["size"] = ref.key


@row("MF 8.4, BS 5.4", "data-tail", INODE_ROWS)
def tail_of_plain_data(m):
    """bytes behind the end of the file in its last block"""
    ref = last_data(m)
    file_of(m, ref).inode()["size"] -= 1


@row("MF 8.4", "data-tail", INODE_ROWS)
def tail_of_packed_data(m):
    """bytes behind the end of the file in its last block, compressed"""
    file_of(m, last_packed(m)).inode()["size"] -= 16


@row("MF 8.5", "data-decode", INODE_ROWS)
def lz4_length(m):
    """a length of an LZ4 stream that is larger than its block"""
    packed(m).put_content(0, b"\xff\xff\xff\x7f")


@row("MF 8.6", "data-decode", INODE_ROWS)
def zlib_stream(m):
    """a zlib stream with another byte"""
    ref = packed_zlib(m)
    ref.put_content(10, bytes([ref.content()[10] ^ 0xff]))


@row("BS 5.6", "padding", INODE_ROWS)
def behind_lz4(m):
    """a byte behind an LZ4 stream"""
    ref = packed(m)
    ref.put_content(ref.size - 1, b"\1")


@row("BS 5.6", "padding", INODE_ROWS)
def behind_zlib(m):
    """a byte behind a zlib stream"""
    ref = packed_zlib(m)
    ref.put_content(ref.size - 1, b"\1")


# ---- names ----

@row("MF 7.4, BS 3.3", "name-hash", NAME_ROWS)
def wrong_hash(m):
    """a name at another key than its hash"""
    ref = name(m)
    m.move(ref, key=ref.key ^ 1 << 16)


@row("MF 7.5", "bad-blockref", NAME_ROWS, also={"orphan"})
def invisible_name(m):
    """a name at a key without bit 63"""
    ref = first((r for r in names(m) if r.above.type == INODE
                 and r.tree == "dir" and not any(c.type == INDIRECT for c in r.above.children())
                 and m.inum_ref(r.pfs, r["inum"]).inode()["nlinks"] == 1), "short directory")
    m.move(ref, key=ref.key & ~VISIBLE)


@row("BS 3.3", "name-twice", NAME_ROWS)
def name_twice(m):
    """one name twice in a directory"""
    ref = first((r for r in names(m) if len(r.above.children()) < len(r.above.slots())
                 and m.alone(m.inum_ref(r.pfs, r["inum"]))), "free entry")
    raw = bytearray(ref.raw())
    raw[8:16] = (ref.key + 7).to_bytes(8, "little")
    m.inum_ref(ref.pfs, ref["inum"]).inode()["nlinks"] += 1
    m.insert(ref.above, bytes(raw))


def rename(m, ref, text):
    return m.move(ref, namlen=len(text), key=h2media.namehash(text) + 1,
                  check=int.from_bytes(text, "little"))


def renamable(m):
    """A name in a directory without indirect blocks, where any hash fits."""
    return first((r for r in names(m) if r.above.type == INODE
                  and not any(c.type == INDIRECT and c.key & VISIBLE
                              for c in r.above.children())), "short directory")


@row("MF 7.1, 13.5", "name-invalid", NAME_ROWS, also={"names-unchecked"})
def slash(m):
    """a name with a slash"""
    rename(m, renamable(m), b"sl/sh")


@row("MF 7.1, 13.5", "name-invalid", NAME_ROWS, also={"names-unchecked"})
def nul(m):
    """a name with a NUL byte"""
    rename(m, renamable(m), b"n\0l")


@row("MF 7.1", "name-invalid", NAME_ROWS, also={"names-unchecked"})
def dots(m):
    """the name \"..\""""
    rename(m, renamable(m), b"..")


@row("MF 3.7, BS 3.2", "padding", NAME_ROWS)
def behind_name(m):
    """a byte behind a name"""
    name(m).put(0x7f, b"\1")


@row("MF 7.1", "padding", NAME_ROWS)
def behind_long_name(m):
    """a byte behind a long name"""
    long_name(m).put_content(1023, b"\1")


def nameless(m):
    """Take the only name of a file away; the file's blockref."""
    ref = only_name(m)
    inum = ref["inum"]
    m.remove(ref)
    return m.inum_ref(ref.pfs, inum)


def add_entry(m, label, inum, key, raw):
    """Put an entry into a directory's tree, where its key belongs and a slot is free."""
    array = m.inum_ref(label, inum)
    while True:
        below = [c for c in array.children() if c.type == INDIRECT
                 and c.key <= key < c.key + (1 << c.keybits)]
        if not below:
            break
        array = below[0]
    if len(array.children()) == len(array.slots()) or not m.alone(array):
        raise Missing("free entry in a directory")
    return m.insert(array, raw)


def add_name(m, label, directory, text, inum, kind):
    key = h2media.namehash(text) + 1
    raw = make_ref(DIRENT, key=key, methods=0x30, inum=inum, namlen=len(text), dirent_type=kind,
                   check=text, mirror_tid=m.inum_ref(label, directory).mirror_tid)
    return add_entry(m, label, directory, key, raw)


@row("BS 3.4", "orphan", NAME_ROWS)
def orphan(m):
    """an inode without a name"""
    nameless(m)


@row("MF 6.7, BS 3.7", "nlinks-zero", NAME_ROWS)
def unlinked(m):
    """an inode that was removed while it was open"""
    nameless(m).inode()["nlinks"] = 0


@row("MF 7.7, BS 16.4 point 6", "dir-names", NAME_ROWS)
def directory_twice(m):
    """a directory with two names"""
    ref = folder_ref(m)
    add_name(m, ref.pfs, ref.inode()["iparent"], b"again", ref.key, DIRECTORY)


@row("MF 1.5", "dir-names", NAME_ROWS)
def root_named(m):
    """a name for the root of the PFS"""
    ref = name(m)
    add_name(m, ref.pfs, ref.inum, b"root", 1, DIRECTORY)


@row("BS 16.4 point 6", "dir-detached", NAME_ROWS)
def circle(m):
    """a directory in itself"""
    ref = folder_ref(m)
    entry = first((r for r in m.find(DIRENT, pfs=ref.pfs) if r["inum"] == ref.key
                   and m.alone(r.above)), "name of a directory")
    raw = entry.raw()
    m.remove(entry)
    m.inum_ref(ref.pfs, ref.key).inode()["iparent"] = ref.key
    add_entry(m, ref.pfs, ref.key, entry.key, raw)


def place_in_directory(m, inum, kind=FILE):
    """An inode that is its own directory entry, MF 7.6."""
    ref = name(m)
    block = m.allocate(GRANULE)
    key = h2media.namehash(b"legacy") + 1
    m.write(block, inline_ref(m).content())
    entry = add_entry(m, ref.pfs, ref.inum, key,
                      make_ref(INODE, key=key, methods=0x30, data_off=block | 10,
                               mirror_tid=ref.mirror_tid))
    inode = entry.inode()
    inode["inum"] = inum(ref.pfs)
    inode["type"] = kind
    inode["op_flags"] = 0 if kind == DIRECTORY else DIRECTDATA
    inode["data"] = bytes(512)
    inode["size"] = 0
    inode["nlinks"] = 1
    inode["iparent"] = ref.inum
    inode["name_key"] = key
    inode["name_len"] = 6
    inode["filename"] = b"legacy" + bytes(250)
    return entry


@row("BS 3.4", "inum-twice", NAME_ROWS)
def number_twice(m):
    """two inodes of one number"""
    place_in_directory(m, lambda label: first((r.key for r in inode_refs(m, FILE)
                                               if r.pfs == label), "file"))


# ---- the freemap ----

@row("MF 12.4, BS 16.4 point 8", "freemap-state", FREEMAP_ROWS)
def in_use_marked_free(m):
    """a granule in use that is marked as free"""
    record, granule = used_granule(m)
    record.set_state(granule, 0)
    record["avail"] += GRANULE
    m.header["allocator_free"] += GRANULE


@row("BS 16.4 point 8", "freemap-state", FREEMAP_ROWS)
def in_use_staged(m):
    """a granule in use that is staged"""
    record, granule = used_granule(m)
    record.set_state(granule, 2)


@row("BS 16.4 point 8", "freemap-state", FREEMAP_ROWS)
def in_use_reserved(m):
    """a granule in use in state 1"""
    record, granule = used_granule(m)
    record.set_state(granule, 1)


@row("MF 10.5, BS 16.3", "freemap-reserved", FREEMAP_ROWS)
def free_reserved(m):
    """a granule in state 1 that nothing is in"""
    record, granule = free_granule(m)
    record.set_state(granule, 1)
    record["avail"] -= GRANULE
    m.header["allocator_free"] -= GRANULE


@row("MF 10.8, BS 8.3", "freemap-linear", FREEMAP_ROWS)
def linear_in_use(m):
    """linear points into a block"""
    record, granule = used_granule(m)
    record["linear"] = granule * GRANULE + KIB


@row("BS 8.3", "freemap-linear", FREEMAP_ROWS)
def linear_in_free(m):
    """linear points into a free granule"""
    record, granule = free_granule(m)
    record["linear"] = granule * GRANULE + KIB


@row("MF 12.4, BS 2.6", "freemap-no-leaf", FREEMAP_ROWS)
def no_leaf(m):
    """no leaf for a zone in use"""
    m.remove(leaf(m))


@row("MF 12.4", "freemap-lag", FREEMAP_ROWS, also={"header-freemap-behind"})
def freemap_behind(m):
    """a commit that the freemap does not know"""
    ref = plain(m)
    record, granule = m.record(ref.offset)
    record.set_state(granule, 0)
    record["avail"] += GRANULE
    m.header["allocator_free"] += GRANULE
    m.header["mirror_tid"] += 1
    while ref:
        ref["mirror_tid"] = m.header["mirror_tid"]
        ref = ref.above


@row("MF 4.1", "freemap-block", FREEMAP_ROWS, unsealed=True)
def wrong_leaf(m):
    """another byte in a leaf"""
    m.write(leaf(m).offset + 0x20, b"\1")


# ---- what is allowed: nothing may be found ----

LEGAL = [
    Row("MF 3.1", None, plain, "copyid", 0xff),
    Row("MF 3.1", None, plain, "vradix", 16),
    Row("MF 3.3, BS 12.1", None, inline_ref, "flags", 4, what="emergency flag"),
    Row("MF 3.5", None, inline_ref, "methods", lambda value: value & 0xf0 | 3,
        what="compression of an inode"),
    Row("MF 6.1", None, inline, "atime", 1 << 60),
    Row("MF 6.1", None, inline, "data_quota", 1 << 60),
    Row("MF 6.6", None, inline, "uflags", 0xffffffff),
    Row("MF 6.8", None, inline, "comp_algo", 0x73),
    Row("MF 6.1", None, inline, "iparent", 1, what="iparent of a file"),
    Row("MF 11.5", None, pfs, "pfs_inum", plus(100000)),
    Row("MF 11.3", None, pfs, "pfs_type", 3),
    Row("MF 2.2", None, header, "peer_type", 0),
    Row("MF 10.5", None, used_record, "class", 0),
]


@row("MF 5.3 rule 4", None, LEGAL)
def empty_in_front(m):
    """an empty entry in front of others"""
    ref = indirect(m)
    slots = ref.slots()
    used = [m.read(at, REF_SIZE) for at in slots if m.read(at, 1)[0] != EMPTY]
    raw = bytes(REF_SIZE).join([b""] + used) + bytes(REF_SIZE) * len(slots)
    m.put_raw(ref.offset, ref.offset, raw[:ref.size])


@row("MF 8.3, BS 5.3", None, LEGAL)
def grown(m):
    """a file that was made longer: a short block stays in the middle"""
    file_of(m, last_data(m)).inode()["size"] += 10 * MIB


@row("MF 7.6", None, LEGAL)
def inode_in_directory(m):
    """an inode that is its own directory entry"""
    def unused(label):
        root = m.pfs(label).inode()
        root["pfs_inum"] += 1
        return root["pfs_inum"]
    place_in_directory(m, unused)


@row("MF 7.4", None, LEGAL)
def last_collision_number(m):
    """the last key that a name's hash allows"""
    ref = name(m)
    m.move(ref, key=ref.key | 0x7fff)


@row("MF 10.9", None, LEGAL)
def staged_and_unused(m):
    """a granule that bulk free has staged"""
    record, granule = free_granule(m)
    record.set_state(granule, 2)
    record["avail"] -= GRANULE
    m.header["allocator_free"] -= GRANULE


ROWS = HEADER_ROWS + COPY_ROWS + REF_ROWS + INODE_ROWS + NAME_ROWS + FREEMAP_ROWS + LEGAL


# ---- volumes ----

def make_tree(top):
    """Something of everything that a writer can make."""
    def write(path, data):
        with open(os.path.join(top, path), "wb") as file:
            file.write(data)

    for path in ("dir", "dir/sub", "dir/few", "many"):
        os.mkdir(os.path.join(top, path))
    for i in range(300):  # more than one indirect block
        write(f"many/file{i}", b"%d" % i)
    write("dir/plain", os.urandom(5 * 65536 - 1000) + b"the end of the file\n")
    write("dir/packed", b"text and more of it\n" * 15000)
    write("dir/small", b"a few bytes, in the inode itself\n")
    for path in ("dir/few/hard", "dir/few/hard2", "hard3"):
        os.link(os.path.join(top, "dir/small"), os.path.join(top, path))
    with open(os.path.join(top, "dir/holes"), "wb") as file:
        file.write(os.urandom(70000))
        file.seek(MIB)
        file.write(b"behind a hole")
    os.symlink("small", os.path.join(top, "dir/link"))
    os.symlink("/".join(["long" * 25] * 7), os.path.join(top, "dir/longlink"))
    os.mkfifo(os.path.join(top, "dir/fifo"))
    write("dir/" + "n" * 64, b"the longest name that lies in the entry")
    write("dir/" + "n" * 65, b"the shortest one that has a block")
    write("dir/" + "n" * 255, b"the longest one of all")


class Bench:
    """The programs, and the volumes that they and DragonFly's make."""

    def __init__(self, args):
        self.programs = {name: h2images.program(args.build, name)
                         for name in ("mkfs.hammer2", "hammer2", "fsck.hammer2")}
        if None in self.programs.values():
            raise SystemExit(f"{args.build}: not all programs are there; build the project first")
        self.collection = h2images.Collection(args)

    def run(self, program, *args, data=b""):
        done = subprocess.run([self.programs[program], *args], input=data, capture_output=True,
                              timeout=SECONDS, check=False)
        if done.returncode:
            raise Failure(f"{program} {' '.join(args)}: exit {done.returncode}: "
                          f"{h2images.output_lines(done)}")

    def edit(self, image, *command, data=b""):
        self.run("hammer2", "edit", image, *command, data=data)

    def own(self, folder, size, *options):
        """Two PFSs with contents, in one volume."""
        tree = os.path.join(folder, "tree")
        image = os.path.join(folder, "volume.img")
        os.mkdir(tree)
        make_tree(tree)
        self.run("mkfs.hammer2", "-q", "-s", size, "-L", "DATA", *options, "-d", tree, image)
        shutil.rmtree(tree)
        self.edit(image + "@LOCAL", "mkdir", "/other", data=b"")
        self.edit(image + "@LOCAL", "put", "-", "/other/file", data=b"in the other PFS\n")
        return [image]

    @contextlib.contextmanager
    def volumes(self, name):
        """The paths of the volumes of that name, for as long as the context lasts."""
        if name not in OWN:
            with self.collection.unpacked(name) as paths:
                for path in paths:
                    os.chmod(path, 0o600)
                yield paths
            return
        with tempfile.TemporaryDirectory(prefix="hammer2-break.") as folder:
            yield OWN[name](self, folder)

    def fsck(self, paths):
        """Exit status, and all findings."""
        done = h2images.run([self.programs["fsck.hammer2"], "--json", "-v", "--threads", "1",
                             *paths], SECONDS)
        return done.returncode, [record for record in h2images.records(done.stdout)
                                 if record["record"] == "finding"]


def make_two_volumes(bench, folder):
    paths = [os.path.join(folder, f"volume{i}.img") for i in range(2)]
    bench.run("mkfs.hammer2", "-q", "-s", "1G:64M", "-L", "DATA", *paths)
    bench.edit(":".join(paths), "put", "-", "/file", data=b"x" * 100)
    return paths


def make_version_1(bench, folder):
    path = os.path.join(folder, "volume.img")
    bench.run("mkfs.hammer2", "-q", "-s", "64M", "-V", "1", "-L", "DATA", path)
    bench.edit(path, "put", "-", "/file", data=b"x" * 100)
    return [path]


def make_four_headers(bench, folder):
    """With so many commits that each header copy is of another one."""
    paths = bench.own(folder, "7G")
    for i in range(4):
        bench.edit(paths[0], "put", "-", f"/commit{i}", data=b"%d" % i)
    return paths


OWN = {
    "own": lambda bench, folder: bench.own(folder, "96M"),
    "own-zlib": lambda bench, folder: bench.own(folder, "96M", "-c", "zlib"),
    "own-4-headers": make_four_headers,
    "own-2-volumes": make_two_volumes,
    "own-version-1": make_version_1,
}
# Of DragonFly: snapshots with data without check codes, all kinds of inodes, staged storage,
# several header copies.
FOREIGN = ("vfs-snap", "vfs-meta", "vfs-bulkfree", "mk-4hdr")


# ---- judging ----

def key_of(finding):
    return tuple(finding.get(field) for field in ("severity", "code", "pfs", "inum", "object",
                                                  "key", "media", "member"))


def severities():
    """Of each finding, as the manual page has it."""
    path = os.path.join(h2images.CHECKOUT, "man", "fsck.hammer2.8")
    with open(path, encoding="utf-8") as file:
        text = file.read().replace("\\-", "-")
    return dict(re.findall(r"^\.BR? ([a-z0-9-]+) \" \((fault|warning|note)\)\"$", text, re.M))


def judge(row, code, new, known):
    """What is wrong with the findings that came of a row."""
    problems = []
    codes = {finding["code"] for finding in new}
    serious = {f["code"] for f in new if f["severity"] != "note"}
    expected = {row.code} | row.also if row.code else set()
    for missing in sorted(expected - codes):
        problems.append(f"{missing} was not found")
    for surplus in sorted(serious - expected):
        problems.append(f"{surplus} was found, too: "
                        f"{next(f for f in new if f['code'] == surplus)}")
    for finding in new:
        if finding["code"] in known and row.code == finding["code"] \
                and finding["severity"] != known[row.code] and "older" not in finding["message"]:
            problems.append(f"{row.code} is a {finding['severity']}, but the manual page says "
                            f"{known[row.code]}")
        if not finding.get("message") or not (finding.get("advice") or finding["code"] in
                                              BESIDE | {"volume-set"}):
            problems.append(f"{finding['code']} has no message or no advice")
    faults = any(f["severity"] == "fault" for f in new)
    wanted = {FAULTS, UNUSABLE} if row.refused else {FAULTS} if faults else {CLEAN}
    if code not in wanted:
        problems.append(f"exit {code}, expected {' or '.join(map(str, sorted(wanted)))}")
    return [f"{row.section}: {row.what}: {problem}" for problem in problems]


def try_row(bench, row, m, paths, before, known):
    """Problems; Missing where the volume has nothing of the kind."""
    try:
        row.apply(m)
        code, findings = bench.fsck(paths)
    finally:
        m.restore()
    new = []
    left = collections.Counter(before)
    for finding in findings:
        if left[key_of(finding)] > 0:
            left[key_of(finding)] -= 1
        else:
            new.append(finding)
    return judge(row, code, new, known)


# What others have tried is not tried again there.
UNTRIED_ONLY = {"own-zlib"}


def try_volume(bench, name, rows, known, tried):
    """Break a volume in all ways that are possible with it."""
    problems = []
    count = 0
    with bench.volumes(name) as paths, Media(paths) as m:
        code, findings = bench.fsck(paths)
        if code != CLEAN:
            return [f"the volume is not sound to begin with: {findings}"], ""
        before = [key_of(finding) for finding in findings]
        for row in rows:
            if name in UNTRIED_ONLY and row in tried:
                continue
            if (row in COPY_ROWS) != (len(m.headers()) > 1) and row.code != "header-stale":
                continue
            try:
                problems += try_row(bench, row, m, paths, before, known)
            except Missing:
                continue
            count += 1
            tried.add(row)
        code, after = bench.fsck(paths)
        if [key_of(finding) for finding in after] != before:
            problems.append("the volume is not as it was")
    return problems, f"broken in {count} ways"


def check_manual(known, rows):
    """The manual page lists the findings that rows expect, and no others."""
    path = os.path.join(h2images.CHECKOUT, "lib", "scan", "finding.c")
    with open(path, encoding="utf-8") as file:
        table = dict(re.findall(r"\{\"([a-z0-9-]+)\",\s+H2_(FAULT|WARNING|NOTE)", file.read()))
    table = {code: severity.lower() for code, severity in table.items()}
    problems = []
    for code in sorted(set(table) | set(known)):
        if code not in known:
            problems.append(f"{code} is not in the manual page")
        elif code in table and table[code] != known[code]:
            problems.append(f"{code} is a {table[code]}, but the manual page says {known[code]}")
    for code in sorted(set(known) - NOT_IN_IMAGES - BESIDE - {row.code for row in rows}):
        problems.append(f"{code}: no row provokes it")
    return problems


def main():
    args = h2images.arguments(__doc__.split("\n", 1)[0])
    names = [name for name in args.names if name in OWN or name in h2images.ALL_IMAGES]
    codes = [name for name in args.names if name not in names]
    args.names = []
    h2media.self_test()
    bench = Bench(args)
    tally = h2images.Tally()
    known = severities()
    rows = [row for row in ROWS if not codes or row.code in codes]
    tried = set()
    for name in names or [*OWN, *FOREIGN]:
        try:
            if name not in OWN:
                bench.collection.volume_files(name)
        except Failure as failure:
            tally.skip(name, str(failure))
            continue
        try:
            tally.result(name, *try_volume(bench, name, rows, known, tried))
        except Failure as failure:
            tally.result(name, [str(failure)])
    if not names:
        tally.result("rows", [f"{row.section}: {row.what}: no volume has what it breaks"
                              for row in rows if row not in tried])
    if not args.names and not codes:
        tally.result("manual page", check_manual(known, ROWS))
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
