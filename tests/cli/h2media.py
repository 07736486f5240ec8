"""The bytes of a HAMMER2 filesystem: each field can be read and changed, and afterwards all check
codes up to the header made right again, so that only the meaning is wrong.

Written from the format's description (MF) alone, in plain Python: nothing here is the project's own
code, which it is used to test.

    media = Media(paths)
    inode = media.lookup("DATA", b"/dir/file")
    inode["nlinks"] = 7
    media.seal()            # check codes of all that leads there, then the header's CRCs
    ...
    media.restore()         # as it was
"""

import hashlib
import heapq
import os
import struct

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SEGMENT, ZONE, GRANULE = 4 * MIB, GIB, 16 * KIB
HEADER_SIZE, HEADER_SPACING, HEADERS = 65536, 2 * GIB, 4
REF_SIZE, INODE_SIZE, FREEMAP_SIZE = 128, 1024, 32768
VISIBLE = 1 << 63
MASK64 = (1 << 64) - 1

EMPTY, INODE, INDIRECT, DATA, DIRENT, FREEMAP_NODE, FREEMAP_LEAF, INVALID = range(8)
DIRECTORY, FILE, FIFO, CHAR, BLOCK, SYMLINK, SOCKET = 1, 2, 4, 5, 6, 7, 9
CHECK_NONE, CHECK_DISABLED, CHECK_CRC, CHECK_XXHASH, CHECK_SHA192, CHECK_FREEMAP = range(6)
DIRECTDATA, PFSROOT = 1, 2

# ---- hashes ----

P1, P2, P3, P4, P5 = (11400714785074694791, 14029467366897019727, 1609587929392839161,
                      9650029242287828579, 2870177450012600261)
SEED = 0x4d617474446c6c6e


def _rotl(value, bits):
    value &= MASK64
    return (value << bits | value >> (64 - bits)) & MASK64


def _step(acc, word):
    return _rotl(acc + word * P2, 31) * P1 & MASK64


def _join(acc, lane):
    return ((acc ^ _step(0, lane)) * P1 + P4) & MASK64


def xxh64(data):
    """MF 4.3."""
    length = len(data)
    at = length // 32 * 32
    if length >= 32:
        a, b, c, d = (SEED + P1 + P2) & MASK64, (SEED + P2) & MASK64, SEED, (SEED - P1) & MASK64
        for w0, w1, w2, w3 in struct.iter_unpack("<4Q", data[:at]):
            # _step() four times; written out, as most of the time is spent here
            a = (a + w0 * P2) & MASK64
            a = (a << 31 | a >> 33) * P1 & MASK64
            b = (b + w1 * P2) & MASK64
            b = (b << 31 | b >> 33) * P1 & MASK64
            c = (c + w2 * P2) & MASK64
            c = (c << 31 | c >> 33) * P1 & MASK64
            d = (d + w3 * P2) & MASK64
            d = (d << 31 | d >> 33) * P1 & MASK64
        acc = (_rotl(a, 1) + _rotl(b, 7) + _rotl(c, 12) + _rotl(d, 18)) & MASK64
        for lane in (a, b, c, d):
            acc = _join(acc, lane)
    else:
        acc = SEED + P5
    acc = (acc + length) & MASK64
    while length - at >= 8:
        acc = (_rotl(acc ^ _step(0, struct.unpack_from("<Q", data, at)[0]), 27) * P1 + P4) & MASK64
        at += 8
    if length - at >= 4:
        acc ^= struct.unpack_from("<I", data, at)[0] * P1 & MASK64
        acc = (_rotl(acc, 23) * P2 + P3) & MASK64
        at += 4
    for byte in data[at:]:
        acc = _rotl(acc ^ byte * P5 & MASK64, 11) * P1 & MASK64
    acc = (acc ^ acc >> 33) * P2 & MASK64
    acc = (acc ^ acc >> 29) * P3 & MASK64
    return acc ^ acc >> 32


def _crc_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82f63b78 if value & 1 else 0)
        table.append(value)
    return table


CRC_TABLE = _crc_table()


def crc32c(data):
    """MF 4.2."""
    table, crc = CRC_TABLE, 0xffffffff
    for byte in data:
        crc = table[(crc ^ byte) & 0xff] ^ crc >> 8
    return crc ^ 0xffffffff


def sha192(data):
    """MF 4.4."""
    digest = hashlib.sha256(data).digest()
    return digest[:16] + bytes(a ^ b for a, b in zip(digest[16:24], digest[24:]))


def namehash(name):
    """MF 7.2."""
    pieces = name.translate(bytes.maketrans(b"-_~", b"...")).split(b".")
    total = sum(crc32c(piece) for piece in pieces if piece) & 0xffffffff
    whole = crc32c(name)
    return (total | 1 << 31) << 32 | ((whole >> 16 ^ whole) & 0xffff) << 16 | 0x8000


def self_test():
    """Vectors of MF A.1 and A.2."""
    ramp = bytes(i & 255 for i in range(65536))
    for data, crc, xxh in ((b"", 0, 0x84566ac0f5a0cb84), (b"a", 0xc1d04330, 0xd2a6081c8157197e),
                           (b"hammer2", 0x9f2f13b5, 0xa041be268b5674e5),
                           (ramp[:508], 0x52ffdae7, 0x03963e752882cffc),
                           (ramp, 0xa224af3d, 0x3a43103d3aaab2bd)):
        assert crc32c(data) == crc and xxh64(data) == xxh, len(data)
    assert sha192(b"123456789").hex() == "15e2b0d3c33891ebb0f1ef609ec41942b0acd0328a1a747a"
    for name, value in ((b"", 0x8000000000008000), (b".a.b.", 0x9450f3f4d6bc8000),
                        (b"file-name_with~all.seps", 0xdf45ff07a7388000),
                        (bytes(range(1, 256)), 0xb4ca97a282b18000)):
        assert namehash(name) == value, name


# ---- layouts: name of the field -> (offset, bytes) ----

HEADER = {
    "magic": (0x00, 8), "boot_beg": (0x08, 8), "boot_end": (0x10, 8), "aux_beg": (0x18, 8),
    "aux_end": (0x20, 8), "volu_size": (0x28, 8), "version": (0x30, 4), "flags": (0x34, 4),
    "copyid": (0x38, 1), "freemap_version": (0x39, 1), "peer_type": (0x3a, 1),
    "volu_id": (0x3b, 1), "nvolumes": (0x3c, 1), "fsid": (0x40, 16), "fstype": (0x50, 16),
    "allocator_size": (0x60, 8), "allocator_free": (0x68, 8), "allocator_beg": (0x70, 8),
    "mirror_tid": (0x78, 8), "freemap_tid": (0x90, 8), "bulkfree_tid": (0x98, 8),
    "total_size": (0xc0, 8), "volu_loff0": (0xe00, 8), "volu_loff1": (0xe08, 8),
    "volu_loff2": (0xe10, 8), "reserved": (0x1000, 1), "icrc1": (0x1f8, 4), "icrc0": (0x1fc, 4),
    "icrc": (0xfffc, 4)}
SROOT_BLOCKSET, FREEMAP_BLOCKSET = 0x200, 0x800
REF = {
    "type": (0, 1), "methods": (1, 1), "copyid": (2, 1), "keybits": (3, 1), "vradix": (4, 1),
    "flags": (5, 1), "leaf_count": (6, 2), "key": (8, 8), "mirror_tid": (0x10, 8),
    "modify_tid": (0x18, 8), "data_off": (0x20, 8), "update_tid": (0x28, 8),
    "data_count": (0x30, 8), "inode_count": (0x38, 8), "inum": (0x30, 8), "namlen": (0x38, 2),
    "dirent_type": (0x3a, 1), "dirent_rest": (0x3b, 5), "check": (0x40, 64),
    "bigmask": (0x44, 4), "avail": (0x48, 8)}
META = {
    "version": (0, 2), "reserved002": (2, 1), "pfs_subtype": (3, 1), "uflags": (4, 4),
    "rmajor": (8, 4), "rminor": (0xc, 4), "ctime": (0x10, 8), "mtime": (0x18, 8),
    "atime": (0x20, 8), "btime": (0x28, 8), "uid_rest": (0x30, 12), "uid": (0x3c, 4),
    "gid_rest": (0x40, 12), "gid": (0x4c, 4), "type": (0x50, 1), "op_flags": (0x51, 1),
    "cap_flags": (0x52, 2), "mode": (0x54, 4), "inum": (0x58, 8), "size": (0x60, 8),
    "nlinks": (0x68, 8), "iparent": (0x70, 8), "name_key": (0x78, 8), "name_len": (0x80, 2),
    "ncopies": (0x82, 1), "comp_algo": (0x83, 1), "reserved084": (0x84, 1),
    "check_algo": (0x85, 1), "pfs_nmasters": (0x86, 1), "pfs_type": (0x87, 1),
    "pfs_inum": (0x88, 8), "pfs_clid": (0x90, 16), "pfs_fsid": (0xa0, 16),
    "data_quota": (0xb0, 8), "inode_quota": (0xc0, 8), "pfs_lsnap_tid": (0xd0, 8),
    "filename": (0x100, 256), "data": (0x200, 512)}
RECORD = {"linear": (0, 4), "class": (4, 2), "avail": (0x1c, 4), "reserved": (0x3f, 1),
          **{f"bitmap{i}": (0x40 + 8 * i, 8) for i in range(8)}}


class Struct:
    """A structure on the media. Fields of up to 8 bytes are numbers, others bytes."""

    layout = {}

    def __init__(self, media, at, block):
        self.media = media
        self.at = at  # storage offset of the structure
        self.block = block  # storage offset of the block that it is in; None: a header

    def __getitem__(self, field):
        offset, size = self.layout[field]
        data = self.media.read(self.at + offset, size)
        return int.from_bytes(data, "little") if size <= 8 else data

    def __setitem__(self, field, value):
        offset, size = self.layout[field]
        if isinstance(value, int):
            value = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
        assert len(value) == size, (field, value)
        self.put(offset, value)

    def put(self, offset, data):
        """Write bytes at an offset within the structure."""
        self.media.write(self.at + offset, data)
        if self.block is not None:
            self.media.dirty.add(self.block)


class Header(Struct):
    layout = HEADER

    def __init__(self, media, start, slot):
        super().__init__(media, start + slot * HEADER_SPACING, None)
        self.slot = slot

    def bytes(self):
        return self.media.read(self.at, HEADER_SIZE)

    def crcs(self):
        data = self.bytes()
        return crc32c(data[0x200:0x400]), crc32c(data[:0x1fc]), crc32c(data[:0xfffc])

    def good(self):
        return (self["magic"] == 0x48414d3205172011 and
                self.crcs() == (self["icrc1"], self["icrc0"], self["icrc"]))

    def seal(self):
        """MF 2.3: in this order."""
        self["icrc1"] = crc32c(self.media.read(self.at + 0x200, 0x200))
        self["icrc0"] = crc32c(self.media.read(self.at, 0x1fc))
        self["icrc"] = crc32c(self.media.read(self.at, 0xfffc))


class Record(Struct):
    """A freemap record, MF 10.5."""

    layout = RECORD

    def state(self, granule):
        return self[f"bitmap{granule // 32}"] >> 2 * (granule % 32) & 3

    def set_state(self, granule, state):
        """The state alone; avail and allocator_free stay."""
        word = f"bitmap{granule // 32}"
        shift = 2 * (granule % 32)
        self[word] = self[word] & ~(3 << shift) | state << shift


class Inode(Struct):
    layout = META


class Ref(Struct):
    """A blockref that is not empty."""

    layout = REF

    def __init__(self, media, at, block, above, tree, pfs, inum):
        super().__init__(media, at, block)
        self.above = above  # the Ref of the block it is in; None: a header
        self.tree = tree  # "sroot", "super", "root", "dir", "file", "special", "freemap"
        self.pfs = pfs  # label
        self.inum = inum  # of the inode whose tree it is in
        self.depth = above.depth + 1 if above else 0
        (self.type, self.methods, self.copyid, self.keybits, self.vradix, self.flags,
         self.leaf_count, self.key, self.mirror_tid, self.modify_tid, self.data_off,
         self.update_tid) = struct.unpack("<6BH5Q", media.read(at, 48))

    def put(self, offset, data):
        super().put(offset, data)
        self.media.aim(self.at)

    @property
    def radix(self):
        return self.data_off & 63

    @property
    def offset(self):
        return self.data_off & ~63

    @property
    def size(self):
        return 1 << self.radix if self.radix else 0

    def content(self):
        return self.media.read(self.offset, self.size)

    def put_content(self, offset, data):
        self.media.write(self.offset + offset, data)
        self.media.dirty.add(self.offset)

    def inode(self):
        return Inode(self.media, self.offset, self.offset)

    def name(self):
        """Of a DIRENT."""
        data = self.content() if self.radix else self["check"]
        return data[:self["namlen"]]

    def slots(self):
        """Storage offsets of all entries of the array that it leads to."""
        if self.type == INODE:
            return [self.offset + 0x200 + i * REF_SIZE for i in range(4)]
        return [self.offset + i * REF_SIZE for i in range(self.size // REF_SIZE)]

    def children(self):
        return [ref for ref in self.media.refs if ref.above is self]

    def raw(self):
        return self.media.read(self.at, REF_SIZE)


def check_code(methods, data):
    """What begins the check union, for this block; None: nothing is stored."""
    algo = methods >> 4
    if algo in (CHECK_CRC, CHECK_FREEMAP):
        return struct.pack("<I", crc32c(data))
    if algo == CHECK_XXHASH:
        return struct.pack("<Q", xxh64(data))
    return sha192(data) if algo == CHECK_SHA192 else None


class Media:
    """The volumes of a filesystem, in the order of their ids, open for changes."""

    def __init__(self, paths):
        self.files = [open(path, "r+b", buffering=0) for path in paths]
        self.starts = []
        self.sizes = []
        self.log = []  # what was there before, to restore
        self.dirty = set()  # blocks whose check codes are to be computed again
        start = 0
        for file in self.files:
            self.starts.append(start)
            self.sizes.append(os.fstat(file.fileno()).st_size)
            head = os.pread(file.fileno(), 0x30, 0)
            start += struct.unpack_from("<Q", head, 0x28)[0]
        self.total = start
        self.load()

    def close(self):
        for file in self.files:
            file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _place(self, offset):
        volume = max(i for i, start in enumerate(self.starts) if start <= offset)
        return self.files[volume].fileno(), offset - self.starts[volume]

    def read(self, offset, size):
        fd, at = self._place(offset)
        data = os.pread(fd, size, at)
        assert len(data) == size, f"{size} bytes at {offset:#x}"
        return data

    def write(self, offset, data):
        self.log.append((offset, self.read(offset, len(data))))
        fd, at = self._place(offset)
        os.pwrite(fd, data, at)

    def restore(self):
        """Undo all changes since the last restore."""
        for offset, data in reversed(self.log):
            fd, at = self._place(offset)
            os.pwrite(fd, data, at)
        self.log = []
        self.dirty = set()
        self.load()

    # ---- headers ----

    def headers(self, volume=0):
        """The copies that exist, MF 2.1."""
        start = self.starts[volume]
        size = struct.unpack("<Q", self.read(start + 0x28, 8))[0]
        size = min(size, self.sizes[volume])
        return [Header(self, start, i) for i in range(HEADERS) if i * HEADER_SPACING < size]

    def _best(self):
        good = [header for header in self.headers() if header.good()]
        return max(good, key=lambda header: (header["mirror_tid"], -header.slot))

    # ---- walking ----

    def load(self, header=None):
        """Read all blockrefs that the newest header, or the given one, leads to."""
        self.header = header or self._best()
        self.refs = []
        self.by_block = {}  # storage offset of a block -> the Refs to it
        for i in range(4):
            self._walk(self.header.at + SROOT_BLOCKSET + i * REF_SIZE, None, None, "sroot", None,
                       None)
            self._walk(self.header.at + FREEMAP_BLOCKSET + i * REF_SIZE, None, None, "freemap",
                       None, None)

    def _walk(self, at, block, above, tree, pfs, inum):
        if self.read(at, 1)[0] == EMPTY:
            return
        ref = Ref(self, at, block, above, tree, pfs, inum)
        self.refs.append(ref)
        if not ref.radix or ref.depth > 200 or ref.offset + ref.size > self.total:
            return
        seen = ref.offset in self.by_block
        self.by_block.setdefault(ref.offset, []).append(ref)
        if seen or ref.type not in (INODE, INDIRECT, FREEMAP_NODE):
            return
        if ref.type == INODE:
            inode = ref.inode()
            if inode["op_flags"] & DIRECTDATA:
                return
            tree, pfs, inum = self._below(ref, inode)
        data = ref.content()
        for slot in ref.slots():
            if data[slot - ref.offset] != EMPTY:
                self._walk(slot, ref.offset, ref, tree, pfs, inum)

    def _below(self, ref, inode):
        if ref.tree == "sroot":
            return "super", None, 0
        if ref.tree == "super":
            return "root", inode["filename"][:inode["name_len"]].decode(), 1
        tree = {DIRECTORY: "dir", FILE: "file", SYMLINK: "file"}.get(inode["type"], "special")
        return tree, ref.pfs, ref["key"] if ref["key"] < VISIBLE else inode["inum"]

    def find(self, *types, **fields):
        """The Refs of these types whose attributes and fields are as given."""
        found = []
        for ref in self.refs:
            if types and ref.type not in types:
                continue
            if all((getattr(ref, name) if hasattr(ref, name) else ref[name]) == value
                   for name, value in fields.items()):
                found.append(ref)
        return found

    def pfs(self, label):
        """The blockref of a PFS's root inode."""
        for ref in self.find(INODE, tree="super"):
            inode = ref.inode()
            if inode["filename"][:inode["name_len"]] == label.encode():
                return ref
        raise KeyError(label)

    def inum_ref(self, label, inum):
        """The blockref of an inode; the first one, where snapshots share it."""
        if inum == 1:
            return self.pfs(label)
        return next(ref for ref in self.find(INODE, tree="root", key=inum)
                    if ref.pfs == label)

    def dirent(self, label, path):
        """The blockref of a name."""
        inum = 1
        for name in path.strip(b"/").split(b"/"):
            entry = next(ref for ref in self.find(DIRENT, pfs=label, inum=inum)
                         if ref.name() == name)
            inum = entry["inum"]
        return entry

    def lookup(self, label, path):
        """The blockref of the inode of a path."""
        if path == b"/":
            return self.pfs(label)
        return self.inum_ref(label, self.dirent(label, path)["inum"])

    def leaf(self, offset):
        """The blockref of the freemap leaf for a storage offset; None where there is none."""
        found = self.find(FREEMAP_LEAF, key=offset // ZONE * ZONE)
        return found[0] if found else None

    def record(self, offset):
        """The freemap record for a storage offset, and the granule's number in it."""
        leaf = self.leaf(offset)
        at = leaf.offset + offset % ZONE // SEGMENT * 128
        return Record(self, at, leaf.offset), offset % SEGMENT // GRANULE

    # ---- changing ----

    def put_raw(self, block, at, data):
        """Write into a block, whose check codes seal() then makes right."""
        self.write(at, data)
        if block is not None:
            self.dirty.add(block)

    def aim(self, at):
        """A blockref that was changed may lead elsewhere: its check code is to be made right."""
        data_off = int.from_bytes(self.read(at + 0x20, 8), "little")
        if data_off & 63 and self.read(at, 1)[0] != DIRENT:
            self.dirty.add(data_off & ~63)

    def insert(self, ref, raw):
        """Put an entry into the array behind ref, in the order of keys; a slot must be free."""
        slots = ref.slots()
        entries = [self.read(at, REF_SIZE) for at in slots]
        used = [entry for entry in entries if entry[0] != EMPTY] + [raw]
        assert len(used) <= len(slots), "no slot is free"
        used.sort(key=lambda entry: entry[8:16][::-1])
        used += [bytes(REF_SIZE)] * (len(slots) - len(used))
        self.put_raw(ref.offset, slots[0], b"".join(used))
        self.load(self.header)
        new = next(new for new in self.find(above=self._same(ref)) if new.raw() == raw)
        self.aim(new.at)
        return new

    def _same(self, ref):
        return next(new for new in self.refs if new.at == ref.at)

    def remove(self, ref):
        """Empty an entry."""
        self.put_raw(ref.block, ref.at, bytes(REF_SIZE))
        self.load(self.header)

    def move(self, ref, **fields):
        """Change an entry and put it where its key belongs in the array."""
        raw, above = bytearray(ref.raw()), ref.above
        for name, value in fields.items():
            offset, size = REF[name]
            raw[offset:offset + size] = value.to_bytes(size, "little")
        self.remove(ref)
        return self.insert(self._same(above), bytes(raw))

    def alone(self, ref):
        """Whether nothing is shared on the way to a block."""
        while ref:
            if ref.radix and len(self.by_block[ref.offset]) > 1:
                return False
            ref = ref.above
        return True

    def allocate(self, size):
        """Storage that was free, marked as allocated, all sums with it."""
        granules = max(size // GRANULE, 1)
        for leaf in self.find(FREEMAP_LEAF):
            for i in range(256):
                record = Record(self, leaf.offset + i * 128, leaf.offset)
                if record["avail"] < granules * GRANULE:
                    continue
                bits = self.read(record.at + 0x40, 64)
                states = [bits[g // 4] >> 2 * (g % 4) & 3 for g in range(256)]
                for first in range(0, 256, granules):
                    if any(states[first:first + granules]):
                        continue
                    for granule in range(first, first + granules):
                        record.set_state(granule, 3)
                    record["avail"] -= granules * GRANULE
                    self.header["allocator_free"] -= granules * GRANULE
                    return leaf.key + i * SEGMENT + first * GRANULE
        raise LookupError("no space")

    def seal(self, *others):
        """Compute all check codes that changes made wrong, then the CRCs of the header copies."""
        self.load(self.header)
        queue = []
        queued = set()

        def add(block):
            if block is not None and block in self.by_block and block not in queued:
                queued.add(block)
                depth = max(ref.depth for ref in self.by_block[block])
                heapq.heappush(queue, (-depth, block))

        for block in self.dirty:
            add(block)
        while queue:
            block = heapq.heappop(queue)[1]
            codes = {}
            for ref in self.by_block[block]:
                kind = ref["methods"] >> 4, ref.size
                if kind not in codes:
                    codes[kind] = check_code(ref["methods"], self.read(block, ref.size))
                if codes[kind] is not None:
                    self.write(ref.at + 0x40, codes[kind])
                    add(ref.block)
        self.dirty = set()
        for header in (self.header, *others):
            header.seal()


def make_ref(kind, **fields):
    """The bytes of a blockref; the check code of its block is computed by seal()."""
    data = bytearray(REF_SIZE)
    data[0] = kind
    for name, value in fields.items():
        offset, size = REF[name]
        if isinstance(value, int):
            value = value.to_bytes(size, "little")
        data[offset:offset + len(value)] = value
    return bytes(data)
