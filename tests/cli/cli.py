#!/usr/bin/env python3
"""The hammer2 program, called as users call it, on images made by DragonFly's own tools.

What is expected comes from the manifests of the images, from the outputs of DragonFly's tools that
are kept beside them, and from the test vectors of the format specification (MF A.1).

    cli.py [--build DIR] [--images DIR] [TEST...]
"""

import decimal
import hashlib
import io
import json
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
import uuid
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "golden"))
import h2images  # noqa: E402
from h2images import Failure  # noqa: E402

SECONDS = 120
# What ext4 can store; later times are cut there.
MTIME_MAX_US = (2**34 - 2**31) * 1000000
TYPES = {"file": stat.S_IFREG, "dir": stat.S_IFDIR, "symlink": stat.S_IFLNK,
         "fifo": stat.S_IFIFO, "chr": stat.S_IFCHR, "blk": stat.S_IFBLK,
         "socket": stat.S_IFSOCK}
TAR_TYPES = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE,
             "fifo": tarfile.FIFOTYPE, "chr": tarfile.CHRTYPE, "blk": tarfile.BLKTYPE}
EXTRACT_IMAGES = ("new-24m", "vfs-full", "vfs-meta", "vfs-snap", "mk-links", "mk-data", "mk-names",
                  "mk-deep", "vfs-2vol", "vfs-checks", "vfs-hugesparse", "vfs-churn",
                  "mk-sizes-zlib")
TAR_IMAGES = ("vfs-meta", "vfs-snap", "vfs-full", "mk-links", "mk-data", "mk-names")
SHOW_IMAGES = ("new-24m", "vfs-snap", "vfs-meta", "vfs-full", "vfs-2vol", "mk-links", "mk-names",
               "vfs-2hdr", "vfs-manypfs")
HASHES = (("", 0x8000000000008000), ("a", 0xc1d0433082e08000), ("A", 0xe16dcdee2c838000),
          ("hammer2", 0x9f2f13b58c9a8000), ("DATA", 0xc78fff92381d8000),
          ("LOCAL", 0xde25e1c43fe18000), ("a.b", 0x9450f3f4307d8000),
          (".a.b.", 0x9450f3f4d6bc8000), ("archive.tar.gz", 0x90cc0e130fcf8000),
          ("a name with spaces", 0xeb1956d13dc88000), ("x" * 65, 0xdb71f8ea239b8000),
          ("x" * 255, 0xd3996824bbbd8000), (b"\xff\xfe\x80", 0xc3d60f5ecc888000))


class Skip(Exception):
    """Why a test cannot be made here."""


class Bench:
    """The program and the images, for all tests."""

    def __init__(self, args):
        self.program = h2images.program(args.build, "hammer2")
        if not self.program:
            raise SystemExit(f"{args.build}: has no program hammer2; build it first")
        self.collection = h2images.Collection(args)
        self.problems = []

    def check(self, what, condition, detail=""):
        if not condition:
            self.problems.append(f"{what}{': ' if detail else ''}{detail}")

    def equal(self, what, found, expected):
        self.check(what, found == expected,
                   f"found {str(found)[:300]!r}, expected {str(expected)[:300]!r}")

    def has(self, name):
        try:
            self.collection.volume_files(name)
        except Failure:
            return False
        return True

    def image(self, name):
        if not self.has(name):
            raise Skip(f"the collection has no image {name}")
        return self.collection.unpacked(name)

    def contents(self, name):
        return h2images.Contents(self.collection.manifest(name))

    def call(self, *args, expect=0, environment=None):
        """Run the program; it must end with the status expect (None: any)."""
        env = {**os.environ, "TZ": "UTC", **(environment or {})}
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                status = subprocess.run([self.program, *args], stdin=subprocess.DEVNULL, stdout=out,
                                        stderr=err, env=env, timeout=SECONDS,
                                        check=False).returncode
            except subprocess.TimeoutExpired as error:
                raise Failure(f"hammer2 {args[0]} did not end within {SECONDS} s") from error
            out.seek(0)
            err.seek(0)
            done = h2images.Done(status, out.read(), err.read())
        said = done.stderr.decode(errors="replace").strip()
        if done.returncode < 0 or "Sanitizer" in said or "runtime error:" in said:
            raise Failure(f"hammer2 {args} crashed ({done.returncode}): {said[:2000]}")
        if expect is not None and done.returncode != expect:
            raise Failure(f"hammer2 {' '.join(map(str, args))} ended with {done.returncode}, "
                          f"expected {expect}: {said[:1000]}")
        return done

    def json(self, *args, expect=0):
        done = self.call(args[0], "--json", *args[1:], expect=expect)
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            raise Failure(f"{args}: the output is not JSON: {error}") from error

    def lines(self, *args, expect=0):
        done = self.call(args[0], "--json", *args[1:], expect=expect)
        return h2images.records(done.stdout)


def spec(volumes, label=None):
    return ":".join(volumes) + (f"@{label}" if label else "")


def info_section(bench, name, title):
    """The output of one of DragonFly's tools, as it is kept beside an image."""
    path = os.path.join(bench.collection.folder, name + ".info.txt.zst")
    if not os.path.exists(path):
        return None
    text = subprocess.run(["zstd", "-dcq", path], capture_output=True,
                          check=True).stdout.decode(errors="surrogateescape")
    for section in re.split(r"^== hammer2 ", text, flags=re.M):
        if section.startswith(title + " =="):
            return section.split("\n", 1)[1]
    return None


# ---- arguments ----

def test_usage(bench):
    """Wrong use ends with 2 and a message, help with 0."""
    for args in ((), ("nonsense",), ("ls",), ("cat", "x"), ("hash", "--depth", "1", "x"),
                 ("info", "--no-such-option", "x"), ("info", "--header", "5", "x"),
                 ("info", "--header", "zero", "x"), ("show", "--depth", "0", "x"),
                 ("ls", "a", "b", "c"), ("extract", "x"),
                 ("info", ":"), ("info", "--offset", "12Q", "x"),
                 ("crashtest", "x"), ("crashtest", "--seed", "x"), ("crashtest", "--ops", "sync"),
                 ("crashtest", "--setup", "32M", "--ops", "dance"),
                 ("crashtest", "--setup", "1K1", "--ops", "sync")):
        done = bench.call(*args, expect=2)
        bench.check(f"{args}: a message", done.stderr)
        bench.equal(f"{args}: standard output", done.stdout, b"")
    bench.check("--help lists verbs", b"pfs-list" in bench.call("--help").stdout)
    bench.check("--version", re.match(rb"hammer2 \d+\.\d+", bench.call("--version").stdout))
    for verb in ("info", "volhdr", "show", "freemap", "pfs-list", "ls", "stat", "cat", "tree",
                 "extract", "crashtest", "hash", "dhash"):
        done = bench.call(verb, "--help")
        bench.check(f"{verb} --help", done.stdout.startswith(b"usage: hammer2 " + verb.encode()))


def test_missing(bench):
    """Files that are not there, or no HAMMER2 volumes: status 1 and the name in the message."""
    done = bench.call("info", "/nonexistent/volume", expect=1)
    bench.check("the message names the file", b"/nonexistent/volume" in done.stderr)
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(64 << 20)
        done = bench.call("ls", file.name, expect=1)
        bench.check("the message says what it is not", b"not a HAMMER2 volume" in done.stderr,
                    done.stderr.decode())


def test_output_full(bench):
    """Output that cannot be written is an error."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run([bench.program, "hash", "a"], stdout=full, stderr=subprocess.PIPE,
                              check=False)
    bench.equal("status", done.returncode, 1)
    bench.check("message", b"standard output" in done.stderr)


def test_crashtest(bench):
    """A seed or a list of operations is tried; the last line sums up."""
    ops = ("--setup", "2056M prelude", "--ops", "create /A/x; sync; rename /A/x /B/x")
    text = bench.call("crashtest", "--seed", "7", *ops).stdout.decode()
    last = re.match(r"(\d+) states, 0 violations$", text.splitlines()[-1])
    bench.check("last line", last)
    found = bench.json("crashtest", "--seed", "7", *ops)
    bench.equal("states in JSON", found["states"]["sum"], int(last[1]))
    bench.equal("seed in JSON", found["seed"], 7)
    for kind in ("kept", "lost", "subsets", "torn-512", "torn-4096", "shredded", "mixed", "distinct"):
        bench.check(f"states: {kind}", found["states"][kind] > 0)
    bench.equal("violations in JSON", (found["violations"], found["violation_texts"]), (0, []))
    found = bench.json("crashtest", "--seed", "7", "--seconds", "1", "--threads", "2")
    bench.check("sequences and filesystems", found["sequences"][0] > 0 and found["formats"] > 0)
    bench.equal("violations", found["violations"], 0)


def test_hash(bench):
    """MF A.1."""
    names = [name for name, _ in HASHES]
    found = bench.json("hash", "--", *names)
    for (name, value), item in zip(HASHES, found):
        bench.equal(f"hash of {name!r}", int(item["hash"], 16), value)
        given = name if isinstance(name, bytes) else name.encode()
        bench.equal("its name", h2images.field_bytes(item, "name"), given)
    text = bench.call("hash", "hammer2", "DATA").stdout.decode()
    bench.equal("text", text, "0x9f2f13b58c9a8000 hammer2\n0xc78fff92381d8000 DATA\n")


def test_dhash(bench):
    """The check codes of blocks of long names that DragonFly's tools printed (mk-names)."""
    section = info_section(bench, "mk-names", "-v show")
    if not section:
        raise Skip("there is no output of DragonFly's tools for mk-names")
    found = re.findall(r"dirent\.\d+ [^{]*?xxh=([0-9a-f]{16}) \{\n\s*filename \"([^\"\n]*)\"",
                       section)
    names = [(name, code) for code, name in found if name.isascii() and "\\" not in name]
    bench.check("there are such blocks", len(names) > 5)
    for (name, code), item in zip(names, bench.json("dhash", "--", *[n for n, _ in names])):
        bench.equal(f"dhash of {name[:20]}...", item["hash"], "0x" + code)


# ---- volumes ----

def test_info(bench):
    """info against the manifests."""
    for name in ("new-24m", "vfs-snap", "vfs-meta", "vfs-2vol", "new-3g-labels", "mk-4hdr"):
        if not bench.has(name):
            continue
        contents = bench.contents(name)
        volume = contents.image["volume"]
        with bench.image(name) as volumes:
            for arguments in ([spec(volumes)], list(reversed(volumes))):
                found = bench.json("info", *arguments)
                for field in ("version", "fsid", "total_size", "mirror_tid", "freemap_tid",
                              "bulkfree_tid", "allocator_size", "allocator_free"):
                    bench.equal(f"{name}: {field}", found[field], volume[field])
                bench.equal(f"{name}: labels", [p["label"] for p in found["pfs"]],
                            sorted(contents.pfs))
                bench.equal(f"{name}: header copies", len(found["volumes"][0]["header_copies"]),
                            contents.image["volhdr_copies"])
            text = bench.call("info", spec(volumes)).stdout.decode()
            bench.check(f"{name}: text has the fsid", volume["fsid"] in text)


def test_header_option(bench):
    """--header N and --all: copies that differ (vfs-2hdr, its older manifest)."""
    with bench.image("vfs-2hdr") as volumes:
        prev = h2images.Contents(bench.collection.manifest("vfs-2hdr.prev"))
        both = bench.json("volhdr", "--all", volumes[0])
        bench.equal("copies", [h["copy"] for h in both], [1, 2])
        bench.equal("in use", [h["in_use"] for h in both], [True, False])
        found = {h2images.field_bytes(e, "path"): e
                 for e in bench.lines("ls", "-R", "-l", "--header", "2", volumes[0])}
        expected = {path: e for (pfs, path), e in prev.entries.items()
                    if pfs == "DATA" and path != b"/"}
        bench.equal("names in the older tree", sorted(found), sorted(expected))
        bench.call("ls", "--header", "3", volumes[0], expect=1)


def normal_volhdr(text):
    """The fields of volhdr by name, those that both programs print."""
    fields = {}
    for volume in re.split(r"^Volume \d+ header \d+ \{$", text, flags=re.M)[1:]:
        for match in re.finditer(r"^    ([a-z_]+(?:\[\d\])?) +(\S.*?)\s*$", volume, flags=re.M):
            if not match[1].startswith(("reserved", "copyexists", "sroot_bl", "freemap_bl")):
                value = match[2].split(" (")[0] if "size" in match[1] else match[2]
                fields.setdefault(match[1], []).append(value)
    return fields


def test_volhdr(bench):
    """volhdr against what DragonFly's tool printed."""
    done = 0
    for name in SHOW_IMAGES:
        section = info_section(bench, name, "volhdr") if bench.has(name) else None
        if not section:
            continue
        with bench.image(name) as volumes:
            found = normal_volhdr(bench.call("volhdr", *volumes).stdout.decode())
            bench.json("volhdr", *volumes)
        expected = normal_volhdr(section)
        bench.check(f"{name}: DragonFly's fields are understood", len(expected) > 20)
        for field, values in expected.items():
            bench.equal(f"{name}: {field}", found.get(field), values)
        done += 1
    if not done:
        raise Skip("there are no outputs of DragonFly's tools in the collection")


def normal_show(text):
    """The lines of show that both programs print, without their layout and remarks."""
    result = []
    for line in text.split("\n"):
        line = line.strip()
        if not line or line.startswith(("checkvolu", "Volume ", "volume.0", "} (volume.0")) or \
                line.endswith(".img") or line.startswith("meth=none|none:default mirror_tid"):
            continue
        line = re.sub(r"^((?:u|g)id +[0-9a-f-]{36}) \(\d+\)", r"\1", line)
        # DragonFly prints these two as if they had a sign.
        line = re.sub(r"^(rm(?:aj|in)or +)(-\d+)$",
                      lambda m: m[1] + str(int(m[2]) % (1 << 32)), line)
        result.append(re.sub(r"\s+", " ", line))
    # The top line of DragonFly's tool, which we write in another way.
    while result and not result[0].startswith("inode.0"):
        result.pop(0)
    return result


def test_show(bench):
    """show line by line against what DragonFly's tool printed."""
    done = 0
    for name in SHOW_IMAGES:
        section = info_section(bench, name, "-v show") if bench.has(name) else None
        if not section or name == "mk-names":  # control bytes stand there as they are
            continue
        with bench.image(name) as volumes:
            found = normal_show(bench.call("show", "--verify", *volumes).stdout.decode())
        expected = normal_show(section)
        for number, (mine, theirs) in enumerate(zip(found, expected)):
            if mine != theirs:
                bench.check(f"{name}: line {number}", False, f"found {mine!r}, expected {theirs!r}")
                break
        bench.equal(f"{name}: number of lines", len(found), len(expected))
        done += 1
    if not done:
        raise Skip("there are no outputs of DragonFly's tools in the collection")


def test_show_counts(bench):
    """How many blockrefs of each type show visits, by the manifests; options that leave some out."""
    for name in SHOW_IMAGES:
        if not bench.has(name):
            continue
        counts = bench.contents(name).image.get("show_bref_counts")
        with bench.image(name) as volumes:
            items = bench.lines("show", "--verify", spec(volumes))
            quiet = bench.call("show", "--quiet", spec(volumes)).stdout.decode()
            depth = bench.lines("show", "--depth", "1", spec(volumes))
            newer = bench.lines("show", "--min-mirror-tid", "0x7fffffffffffffff", spec(volumes))
        found = {}
        for item in items[:-1]:
            found[item["type"]] = found.get(item["type"], 0) + 1
        if counts:
            bench.equal(f"{name}: blockrefs", found,
                        {kind: count for kind, count in counts.items()
                         if count and not kind.startswith("freemap")})
        bench.equal(f"{name}: summary", items[-1],
                    {"record": "summary", "blockrefs": len(items) - 1, "failed": 0})
        bench.equal(f"{name}: --quiet lines", len(quiet.strip().split("\n")) - 2, len(items) - 1)
        bench.equal(f"{name}: --depth 1", len(depth), 2)
        bench.equal(f"{name}: --min-mirror-tid", len(newer), 1)


def test_show_label(bench):
    with bench.image("vfs-snap") as volumes:
        labels = {item["inode"]["filename"]
                  for item in bench.lines("show", "--label", "s2", volumes[0])
                  if "inode" in item and "pfs_type" in item["inode"]}
    bench.equal("PFSs shown", labels, {"SUPROOT", "s2"})


def test_freemap(bench):
    """The freemap's totals against the manifests, which have them in GiB with three digits."""
    for name in SHOW_IMAGES:
        if not bench.has(name):
            continue
        expected = bench.contents(name).image.get("freemap_totals_gb")
        with bench.image(name) as volumes:
            items = bench.lines("freemap", spec(volumes))
            text = bench.call("freemap", spec(volumes)).stdout.decode()
        bench.check(f"{name}: five totals", len(re.findall(r"^Total .*GB$", text, re.M)) >= 5)
        if not expected:
            continue
        totals = {key: value / 2**30 for key, value in items[-1].items() if key.endswith("bytes")}
        for field, key in (("unallocated storage", "unallocated_bytes"),
                           ("possibly free storage", "possibly_free_bytes"),
                           ("freemap storage", "freemap_bytes")):
            bench.check(f"{name}: {field}", abs(totals[key] - expected[field]) < 0.0011,
                        f"found {totals[key]}, expected {expected[field]}")
        # DragonFly counts up to one segment of 4 MiB in each leaf that we call unavailable.
        leaves = round(totals["freemap_bytes"])
        bench.check(f"{name}: allocated storage", -0.0011 < expected["allocated storage"] -
                    totals["allocated_bytes"] < 0.0011 + leaves / 256,
                    f"found {totals['allocated_bytes']}, "
                    f"expected {expected['allocated storage']}")


def test_pfs_list(bench):
    for name in ("vfs-snap", "vfs-manypfs", "new-3g-labels", "vfs-meta"):
        if not bench.has(name):
            continue
        contents = bench.contents(name)
        with bench.image(name) as volumes:
            text = bench.call("pfs-list", spec(volumes)).stdout.decode()
            items = bench.json("pfs-list", spec(volumes))["pfs"]
        bench.check(f"{name}: heading",
                    text.startswith("Type        ClusterId (pfs_clid)                 Label on "))
        rows = []
        for label, record in sorted(contents.pfs.items()):
            kind = record["pfs_type"]
            if kind == "MASTER" and record["pfs_subtype"] != "NONE":
                kind = record["pfs_subtype"]
            rows.append(f"{kind:<11} {record['clid']} {label}")
        bench.equal(f"{name}: rows", text.split("\n")[1:-1], rows)
        for item in items:
            record = contents.pfs[item["label"]]
            for field in ("pfs_type", "pfs_subtype", "clid", "fsid", "name_key", "pfs_inum",
                          "pfs_lsnap_tid", "inode_count", "data_count", "check"):
                bench.equal(f"{name}: {item['label']}: {field}", item[field], record[field])


def test_labels(bench):
    """How the PFS is chosen."""
    with bench.image("vfs-snap") as volumes:
        volume = volumes[0]
        done = bench.call("ls", volume + "@NOPE", expect=1)
        for label in ("NOPE", "DATA", "LOCAL", "s1", "s2", "s3"):
            bench.check(f"the message names {label}", label.encode() in done.stderr,
                        done.stderr.decode())
        bench.equal("--label", bench.call("ls", "--label", "s1", volume).stdout,
                    bench.call("ls", volume + "@s1").stdout)
        # A name that ends in "a" stands for BOOT (MF 11.6), which is not there: then DATA.
        copy = os.path.join(os.path.dirname(volume), "ada")
        os.rename(volume, copy)
        bench.equal("fallback", bench.call("ls", copy).stdout,
                    bench.call("ls", copy + "@DATA").stdout)
        os.rename(copy, volume)
    with bench.image("vfs-2vol") as volumes:
        joined = bench.call("ls", ":".join(volumes) + "@DATA", "/dir1").stdout
        bench.check("volumes joined", joined)
        bench.equal("volumes apart, in another order",
                    bench.call("ls", volumes[1], volumes[0] + "@DATA", "/dir1").stdout, joined)


def test_offset(bench):
    """A volume inside of a larger file."""
    with bench.image("vfs-snap") as volumes:
        larger = volumes[0] + ".larger"
        with open(larger, "wb") as out, open(volumes[0], "rb") as source:
            out.seek(1 << 20)
            shutil.copyfileobj(source, out, 1 << 20)
        bench.call("ls", larger, expect=1)
        bench.equal("ls", bench.call("ls", "--offset", "1M", larger + "@s1").stdout,
                    bench.call("ls", volumes[0] + "@s1").stdout)


def make_gpt(path, first, count, total):
    """A GPT with one partition: sectors [first, first + count) of a disk of total sectors."""
    entries = bytearray(128 * 128)
    entries[0:56] = (uuid.UUID("5cbb9ad1-862d-11dc-a94d-01301bb8a9f5").bytes_le + bytes(range(16)) +
                     struct.pack("<QQQ", first, first + count - 1, 0))
    header = struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, 1, total - 1, 34,
                         total - 34, bytes(range(16)), 2, 128, 128, zlib.crc32(entries))
    header = header[:16] + struct.pack("<I", zlib.crc32(header)) + header[20:]
    with open(path, "r+b") as disk:
        disk.seek(446)
        disk.write(struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, total - 1))
        disk.seek(510)
        disk.write(b"\x55\xaa" + header)
        disk.seek(1024)
        disk.write(entries)


def test_partition(bench):
    """A volume inside of a partitioned disk image, by its Linux and its DragonFly name."""
    with bench.image("vfs-snap") as volumes:
        disk = volumes[0] + ".disk"
        size = os.path.getsize(volumes[0])
        with open(disk, "wb") as out, open(volumes[0], "rb") as source:
            out.seek(1 << 20)
            shutil.copyfileobj(source, out, 1 << 20)
            out.truncate(size + (2 << 20))
        make_gpt(disk, (1 << 20) // 512, size // 512, (size + (2 << 20)) // 512)
        listing = bench.call("ls", volumes[0] + "@s1").stdout
        for name in ("p1", "s0"):
            bench.equal(name, bench.call("ls", f"{disk}:{name}@s1").stdout, listing)
        done = bench.call("ls", disk + ":p2@s1", expect=1)
        bench.check("the message names the partition", b"p2" in done.stderr)


# ---- files ----

def test_ls(bench):
    """ls -R -l of each PFS against the manifest."""
    for name in ("vfs-meta", "vfs-snap", "mk-links", "mk-names", "vfs-2vol", "mk-deep"):
        if not bench.has(name):
            continue
        contents = bench.contents(name)
        with bench.image(name) as volumes:
            for label in contents.pfs:
                found = {h2images.field_bytes(e, "path"): e
                         for e in bench.lines("ls", "-lR", spec(volumes, label))}
                expected = {path: e for (pfs, path), e in contents.entries.items()
                            if pfs == label and path != b"/"}
                bench.equal(f"{name}@{label}: names", sorted(found), sorted(expected))
                for path in set(found) & set(expected):
                    compare_attributes(bench, f"{name}@{label}:{path!r}", found[path],
                                       expected[path])
                tree = bench.lines("tree", spec(volumes, label))
                bench.equal(f"{name}@{label}: tree",
                            sorted(h2images.field_bytes(e, "path") for e in tree),
                            sorted(expected))


def compare_attributes(bench, what, found, expected):
    for field in ("type", "ino", "uid", "gid", "size", "nlink", "mtime_us", "rmajor", "rminor"):
        if field in expected:
            bench.equal(f"{what}: {field}", found.get(field), expected[field])
    bench.equal(f"{what}: mode", int(found["mode"], 8), int(expected["mode"], 8))
    bench.equal(f"{what}: target", h2images.field_bytes(found, "target"),
                h2images.field_bytes(expected, "target"))


def test_ls_text(bench):
    with bench.image("vfs-meta") as volumes:
        contents = bench.contents("vfs-meta")
        text = bench.call("ls", volumes[0]).stdout.decode().split("\n")[:-1]
        top = sorted(path[1:].decode() for pfs, path in contents.entries
                     if pfs == "DATA" and path.count(b"/") == 1 and path != b"/")
        bench.equal("names", text, top)
        bench.check("-l", bench.call("ls", "-l", volumes[0]).stdout.startswith(b"drwx"))
        bench.call("ls", volumes[0], "/nothing", expect=1)
        tree = bench.call("tree", volumes[0]).stdout.decode()
        bench.check("tree", "|-- " in tree and "`-- " in tree)


def test_stat(bench):
    for name in ("vfs-meta", "vfs-snap"):
        contents = bench.contents(name)
        paths = [path for pfs, path in contents.entries if pfs == "DATA"]
        with bench.image(name) as volumes:
            found = bench.json("stat", volumes[0], *paths)
            for item in found:
                path = h2images.field_bytes(item, "path")
                compare_attributes(bench, f"{name}: {path!r}", item, contents.entries["DATA", path])
            text = bench.call("stat", volumes[0]).stdout.decode()
            bench.check("heading", text.startswith(
                "PATH ncp  data-use inode-use comp               check        quota\n/ "))
            bench.check("-v", b"mtime" in bench.call("stat", "-v", volumes[0], "/").stdout)
            bench.call("stat", volumes[0], "/not/there", expect=1)


def test_cat(bench):
    """The digests of the manifest."""
    for name in ("vfs-snap", "vfs-full", "mk-data", "mk-sizes-zlib"):
        if not bench.has(name):
            continue
        contents = bench.contents(name)
        with bench.image(name) as volumes:
            for (pfs, path), entry in contents.entries.items():
                if entry["type"] != "file" or not entry.get("sha256"):
                    continue
                data = bench.call("cat", spec(volumes, pfs), path).stdout
                bench.equal(f"{name}@{pfs}: {path!r}", hashlib.sha256(data).hexdigest(),
                            entry["sha256"])
            bench.call("cat", spec(volumes), "/", expect=1)
            bench.call("cat", spec(volumes), "/not there", expect=1)


# ---- extract ----

def data_map(path):
    """The stretches of a file that are no holes."""
    result = []
    with open(path, "rb") as file:
        end = 0
        while True:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:
                return result
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            result.append((start, end))


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while True:
            piece = file.read(1 << 20)
            if not piece:
                return digest.hexdigest()
            digest.update(piece)


def compare_file(bench, what, path, entry):
    if entry.get("sha256") and entry["size"] <= 1 << 31:
        bench.equal(f"{what}: contents", sha256_of(path), entry["sha256"])
    for offset, length, digest in entry.get("block_sha256", ()):
        if offset >= entry["size"]:
            continue
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read(length)
        # The digest is of the whole block, the file may end within it.
        data += bytes(length - len(data))
        bench.equal(f"{what}: block at {offset}", hashlib.sha256(data).hexdigest(), digest)
    extents = entry.get("extents", [])
    if entry.get("embedded"):
        return
    for start, end in data_map(path):
        inside = any(start >= o and end <= o + n + 4096 for o, n in join_extents(extents))
        bench.check(f"{what}: data where the original has a hole", inside, f"[{start}, {end})")


def join_extents(extents):
    result = []
    for offset, length in sorted(extents):
        if result and result[-1][0] + result[-1][1] == offset:
            result[-1] = (result[-1][0], result[-1][1] + length)
        else:
            result.append((offset, length))
    return result


def compare_object(bench, what, path, entry):
    st = os.lstat(path)
    bench.equal(f"{what}: type", stat.S_IFMT(st.st_mode), TYPES[entry["type"]])
    root = os.geteuid() == 0
    if entry["type"] != "symlink":
        mode = int(entry["mode"], 8)
        bench.equal(f"{what}: mode", stat.S_IMODE(st.st_mode), mode if root else
                    mode & 0o777 & ~current_umask())
    if root:
        bench.equal(f"{what}: owner", (st.st_uid, st.st_gid), (entry["uid"], entry["gid"]))
    if entry["mtime_us"] <= MTIME_MAX_US:
        bench.equal(f"{what}: mtime", st.st_mtime_ns, entry["mtime_us"] * 1000)
    if entry["type"] != "dir":
        bench.equal(f"{what}: links", st.st_nlink, max(entry["nlink"], 1))
    if entry["type"] == "symlink":
        bench.equal(f"{what}: target", os.readlink(path), h2images.field_bytes(entry, "target"))
    if entry["type"] in ("chr", "blk"):
        bench.equal(f"{what}: device", (os.major(st.st_rdev), os.minor(st.st_rdev)),
                    (entry["rmajor"], entry["rminor"]))
    if entry["type"] == "file":
        bench.equal(f"{what}: size", st.st_size, entry["size"])
        compare_file(bench, what, path, entry)


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def walk_names(top):
    """Everything below top, as paths from it, also what only root may enter."""
    for folder, folders, files in os.walk(top, followlinks=False):
        for name in folders + files:
            yield os.path.join(folder, name)[len(top):]


def cannot_hold(entry):
    """What Linux or the filesystem of the test has no place for; the program must say so."""
    if entry["type"] in ("chr", "blk"):
        return entry["rmajor"] >= 1 << 12 or entry["rminor"] >= 1 << 20 or os.geteuid() != 0
    return entry["size"] > 1 << 43


def compare_extracted(bench, what, dest, contents, label, done):
    inodes = {}
    expected = {path: e for (pfs, path), e in contents.entries.items() if pfs == label}
    left_out = {path for path, e in expected.items() if cannot_hold(e)}
    found = set(walk_names(dest.encode())) | {b"/"}
    bench.check(f"{what}: names", not (found - set(expected)),
                f"unexpected {sorted(found - set(expected))[:5]}")
    missing = set(expected) - found
    bench.check(f"{what}: names", missing <= left_out, f"missing {sorted(missing - left_out)[:5]}")
    for path in missing:
        bench.check(f"{what}: a message about {path!r}", path in done.stderr)
    bench.equal(f"{what}: status", done.returncode, 1 if missing else 0)
    for path in sorted(found & set(expected)):
        real = dest.encode() + path
        compare_object(bench, f"{what}{path!r}", real, expected[path])
        if expected[path]["type"] != "dir":
            inodes.setdefault(expected[path]["ino"], set()).add(os.lstat(real).st_ino)
    for number, reals in inodes.items():
        bench.equal(f"{what}: inode {number} is one file", len(reals), 1)


def test_extract(bench):
    """Extracted trees against the manifests."""
    for name in EXTRACT_IMAGES:
        if not bench.has(name):
            continue
        contents = bench.contents(name)
        with bench.image(name) as volumes, tempfile.TemporaryDirectory() as folder:
            for label in contents.pfs:
                dest = os.path.join(folder, label)
                done = bench.call("extract", spec(volumes, label), dest, expect=None)
                compare_extracted(bench, f"{name}@{label}:", dest, contents, label, done)
                shutil.rmtree(dest)


def test_extract_destination(bench):
    """DEST must be empty or not there; --force adds and never overwrites."""
    with bench.image("vfs-snap") as volumes, tempfile.TemporaryDirectory() as folder:
        source = volumes[0] + "@s1"
        dest = os.path.join(folder, "new")
        bench.call("extract", source, dest)
        done = bench.call("extract", source, dest, expect=1)
        bench.check("not empty", b"not empty" in done.stderr and b"--force" in done.stderr)
        with open(os.path.join(dest, "nocheck"), "wb") as file:
            file.write(b"mine")
        done = bench.call("extract", "--force", source, dest, expect=1)
        bench.check("--force tells what exists", b"/nocheck" in done.stderr)
        with open(os.path.join(dest, "nocheck"), "rb") as file:
            bench.equal("nothing is overwritten", file.read(), b"mine")
        bench.call("extract", source, os.path.join(folder, "no", "parent"), expect=1)
        # A symlink in the destination is not followed.
        trap, outside = os.path.join(folder, "trap"), os.path.join(folder, "outside")
        os.mkdir(trap)
        os.mkdir(outside)
        os.symlink(outside, os.path.join(trap, "d"))
        os.symlink(os.path.join(outside, "x"), os.path.join(trap, "nocheck"))
        bench.call("extract", "--force", source, trap, expect=1)
        bench.equal("nothing was written through symlinks", os.listdir(outside), [])


def test_extract_path(bench):
    contents = bench.contents("vfs-meta")
    with bench.image("vfs-meta") as volumes, tempfile.TemporaryDirectory() as folder:
        part = h2images.Contents([])
        for (pfs, path), entry in contents.entries.items():
            if pfs == "DATA" and (path == b"/own" or path.startswith(b"/own/")):
                part.entries[pfs, path[len(b"/own"):] or b"/"] = entry
        dest = os.path.join(folder, "own")
        done = bench.call("extract", "--path", "/own", volumes[0], dest, expect=None)
        for entry in part.entries.values():
            # Names outside of the part are not there.
            entry["nlink"] = 1 if entry["nlink"] == 1 else entry["nlink"]
        compare_extracted(bench, "vfs-meta:/own:", dest, part, "DATA", done)
        single = [path for (pfs, path), e in contents.entries.items()
                  if pfs == "DATA" and e["type"] == "file" and e["nlink"] == 1][0]
        dest = os.path.join(folder, "single")
        bench.call("extract", volumes[0], "--path", single, dest)
        bench.equal("a single file", os.listdir(dest.encode()), [os.path.basename(single)])
        bench.call("extract", volumes[0], "--path", "/nothing", os.path.join(folder, "x"), expect=1)


def test_extract_json(bench):
    with bench.image("vfs-snap") as volumes, tempfile.TemporaryDirectory() as folder:
        lines = bench.lines("extract", volumes[0] + "@s1", os.path.join(folder, "x"))
    bench.equal("records", [line["record"] for line in lines], ["summary"])
    bench.equal("files", lines[0]["files"],
                sum(1 for (pfs, _), e in bench.contents("vfs-snap").entries.items()
                    if pfs == "s1" and e["type"] == "file"))


def compare_tar(bench, what, data, contents, label):
    seen, inodes = {}, {}
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as tar:
        for member in tar:
            path = os.fsencode(member.name)[1:] or b"/"
            entry = contents.entries.get((label, path))
            bench.check(f"{what}: {path!r} is expected", entry)
            if not entry:
                continue
            seen[path] = member
            if member.islnk():
                first = os.fsencode(member.linkname)[1:]
                bench.equal(f"{what}: {path!r} is a link to its inode", entry["ino"],
                            contents.entries[label, first]["ino"])
            else:
                bench.equal(f"{what}: {path!r} type", member.type, TAR_TYPES[entry["type"]])
                bench.check(f"{what}: {path!r} comes once",
                            entry["type"] == "dir" or entry["ino"] not in inodes)
            inodes[entry["ino"]] = path
            bench.equal(f"{what}: {path!r} mode", member.mode, int(entry["mode"], 8))
            bench.equal(f"{what}: {path!r} owner", (member.uid, member.gid),
                        (entry["uid"], entry["gid"]))
            mtime = decimal.Decimal(member.pax_headers.get("mtime", str(int(member.mtime))))
            bench.equal(f"{what}: {path!r} mtime", mtime * 1000000, entry["mtime_us"])
            if entry["type"] == "symlink" and not member.islnk():
                bench.equal(f"{what}: {path!r} target", os.fsencode(member.linkname),
                            h2images.field_bytes(entry, "target"))
            if member.isreg() and entry.get("sha256"):
                bench.equal(f"{what}: {path!r} size", member.size, entry["size"])
                bench.equal(f"{what}: {path!r} contents",
                            hashlib.sha256(tar.extractfile(member).read()).hexdigest(),
                            entry["sha256"])
    expected = {path for (pfs, path), e in contents.entries.items()
                if pfs == label and e["type"] != "socket"}
    bench.equal(f"{what}: names", sorted(seen), sorted(expected))


def test_tar(bench):
    """Tar streams, read by Python, against the manifests; GNU tar must list and compare them."""
    for name in TAR_IMAGES:
        if not bench.has(name):
            continue
        contents = bench.contents(name)
        with bench.image(name) as volumes:
            for label in contents.pfs:
                done = bench.call("extract", "--tar", spec(volumes, label), expect=None)
                if b"cannot be loaded" in done.stderr:
                    raise Skip("there is no libarchive here")
                bench.equal(f"{name}@{label}: status", (done.returncode, done.stderr), (0, b""))
                try:
                    compare_tar(bench, f"{name}@{label}", done.stdout, contents, label)
                except (tarfile.TarError, ValueError) as error:
                    raise Failure(f"{name}@{label}: no tar stream: {error}") from error
                gnu = subprocess.run(["tar", "-tvf", "-"], input=done.stdout, capture_output=True,
                                     check=False)
                # Device numbers that Linux does not have are none for its tar either.
                large = any(e["type"] in ("chr", "blk") and cannot_hold(e)
                            for (pfs, _), e in contents.entries.items() if pfs == label)
                bench.check(f"{name}@{label}: tar -t", gnu.returncode == 0 or large,
                            gnu.stderr.decode(errors="replace"))


def test_tar_sparse(bench):
    """Holes are not in the stream, and GNU tar makes holes of them again."""
    with bench.image("mk-data") as volumes, tempfile.TemporaryDirectory() as folder:
        contents = bench.contents("mk-data")
        done = bench.call("extract", "--tar", volumes[0], expect=None)
        stored = sum(len(e.get("extents", ())) and sum(n for _, n in e["extents"])
                     for e in contents.entries.values())
        bench.check("the stream is not longer than the data", len(done.stdout) < stored + (2 << 20),
                    f"{len(done.stdout)} bytes for {stored} bytes of data")
        subprocess.run(["tar", "-xf", "-", "-C", folder], input=done.stdout, check=True)
        for (pfs, path), entry in contents.entries.items():
            if pfs == "DATA" and entry["type"] == "file":
                compare_file(bench, f"{path!r}", folder.encode() + path, entry)


def test_tar_huge(bench):
    """Files that are nearly all hole: few bytes in the stream, the whole size in its headers."""
    with bench.image("vfs-hugesparse") as volumes:
        contents = bench.contents("vfs-hugesparse")
        for path in (b"/m512", b"/k4g", b"/sixteen-gig-hole", b"/t1"):
            done = bench.call("extract", "--tar", "--path", path, volumes[0], expect=None)
            if b"cannot be loaded" in done.stderr:
                raise Skip("there is no libarchive here")
            bench.check(f"{path!r}: length of the stream", len(done.stdout) < 1 << 20)
            with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
                members = tar.getmembers()
                bench.equal(f"{path!r}", [(m.name, m.size) for m in members],
                            [("." + path.decode(), contents.entries["DATA", path]["size"])])


# ---- damage ----

def damaged_image(bench, case_id, folder):
    path = os.path.join(bench.collection.folder, "damaged", case_id + ".json")
    if not os.path.exists(path):
        raise Skip(f"the collection has no damaged image {case_id}")
    with open(path, encoding="utf-8") as file:
        case = json.load(file)
    if not bench.has(case["base"]):
        raise Skip(f"the collection has no image {case['base']}")
    volumes = []
    with bench.image(case["base"]) as originals:
        for original in originals:
            volumes.append(os.path.join(folder, os.path.basename(original)))
            os.rename(original, volumes[-1])
    for patch in case.get("patches", ()):
        with open(volumes[patch["volume"]], "r+b") as file:
            file.seek(patch["offset"])
            file.write(bytes.fromhex(patch["bytes"]))
    return case["base"], volumes


def test_damaged_data(bench):
    """A damaged block becomes a hole, is told with its range, and the rest is right."""
    with tempfile.TemporaryDirectory() as folder:
        base, volumes = damaged_image(bench, "data-flip", folder)
        contents = bench.contents(base)
        entry = contents.entries["s1", b"/a"]
        done = bench.call("extract", volumes[0] + "@s1", os.path.join(folder, "out"), expect=1)
        bench.check("the message", b"s1:/a: bytes 65536 to " in done.stderr
                    and b"missing" in done.stderr, done.stderr.decode())
        with bench.image(base) as good:
            whole = bench.call("cat", good[0] + "@s1", "/a").stdout
        with open(os.path.join(folder, "out", "a"), "rb") as file:
            found = file.read()
        end = min(131072, entry["size"])
        bench.equal("contents", hashlib.sha256(found).hexdigest(),
                    hashlib.sha256(whole[:65536] + bytes(end - 65536) + whole[end:]).hexdigest())
        bench.check("the bytes are a hole", all(b <= 65536 or a >= (end + 4095) // 4096 * 4096
                    for a, b in data_map(os.path.join(folder, "out", "a"))))
        lines = bench.lines("extract", volumes[0] + "@s1", os.path.join(folder, "out2"), expect=1)
        problem = [line for line in lines if line["record"] == "problem"]
        bench.equal("JSON range", [(p["path"], p["missing_from"], p["missing_to"])
                                   for p in problem], [("/a", 65536, end)])
        done = bench.call("cat", volumes[0] + "@s1", "/a", expect=1)
        bench.equal("cat ends in front of the damage", done.stdout, whole[:65536])
        done = bench.call("extract", "--tar", volumes[0] + "@s1", expect=1)
        if b"cannot be loaded" not in done.stderr:
            with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
                bench.equal("tar", tar.extractfile("./a").read(), found)
        bench.call("show", volumes[0], expect=0)
        done = bench.call("show", "--verify", volumes[0], expect=1)
        bench.check("show --verify marks it", b"failed: its block does not match its check code"
                    in done.stdout)
        bench.check("-v names the block", b"check code" in bench.call(
            "cat", "-v", volumes[0] + "@s1", "/a", expect=1).stderr)


def test_damaged_inode(bench):
    with tempfile.TemporaryDirectory() as folder:
        base, volumes = damaged_image(bench, "inode-flip", folder)
        contents = bench.contents(base)
        done = bench.call("extract", volumes[0], os.path.join(folder, "out"), expect=1)
        bench.check("the message", b"DATA:/own/f3: cannot be read" in done.stderr,
                    done.stderr.decode())
        found = set(walk_names(os.path.join(folder, "out").encode()))
        missing = {path for (pfs, path), e in contents.entries.items()
                   if pfs == "DATA" and path != b"/" and not cannot_hold(e)} - found
        bench.equal("only that is missing", missing, {b"/own/f3"})
        bench.call("show", volumes[0], expect=1)
        bench.call("ls", "-l", volumes[0], "/own", expect=1)


def test_damaged_directory(bench):
    with tempfile.TemporaryDirectory() as folder:
        _, volumes = damaged_image(bench, "indirect-flip", folder)
        for verb in (("ls", volumes[0], "/d5"), ("tree", volumes[0]),
                     ("extract", volumes[0], os.path.join(folder, "out"))):
            done = bench.call(*verb, expect=1)
            bench.check(f"{verb[0]}: the message", b"/d5: a part of the directory" in done.stderr,
                        done.stderr.decode()[:500])


def test_damaged_loop(bench):
    """Blocks that contain themselves end no walk in a hang."""
    with tempfile.TemporaryDirectory() as folder:
        _, volumes = damaged_image(bench, "topology-loop", folder)
        done = bench.call("show", volumes[0], expect=1)
        bench.check("show", b"failed: the block is its own ancestor" in done.stdout)
        done = bench.call("extract", volumes[0], os.path.join(folder, "out"), expect=1)
        bench.check("extract", b"/r03: bytes " in done.stderr, done.stderr.decode())


def test_damaged_header(bench):
    with tempfile.TemporaryDirectory() as folder:
        _, volumes = damaged_image(bench, "hdr-newest-crc-sect1", folder)
        copies = bench.json("volhdr", "--all", volumes[0], expect=1)
        bench.equal("good", [c["good"] for c in copies], [False, True])
        bench.equal("in use", [c["in_use"] for c in copies], [False, True])
        done = bench.call("volhdr", "--all", volumes[0], expect=1)
        bench.check("marked", b"(failed)" in done.stdout)


def test_unusable_headers(bench):
    """volhdr shows headers by which no volume can be opened, and still says that."""
    for name, state in (("hdr-only-bad", b"wrong CRC of sector 0"),
                        ("hdr-byteswapped-magic", b"byte order"),
                        ("hdr-version-99", None), ("multi-wrong-count", None)):
        with tempfile.TemporaryDirectory() as folder:
            _, volumes = damaged_image(bench, name, folder)
            done = bench.call("volhdr", *volumes, expect=1)
            bench.check(f"{name}: why", done.stderr)
            bench.check(f"{name}: shown", b"Volume 0 header 0 {" in done.stdout)
            if state:
                bench.check(f"{name}: state", b"failed: " in done.stdout and state in done.stdout)
            copies = bench.json("volhdr", *volumes, expect=1)
            bench.equal(f"{name}: copies", len(copies), len(volumes))
            bench.equal(f"{name}: good", copies[0]["good"], state is None)
            bench.equal(f"{name}: in use", copies[0]["in_use"], state is None)
    with tempfile.TemporaryDirectory() as folder:
        other = os.path.join(folder, "other")
        with open(other, "wb") as file:
            file.truncate(1 << 20)
        done = bench.call("volhdr", other, expect=1)
        bench.check("no volume at all", b"not a HAMMER2 volume" in done.stderr)
        bench.check("nothing to show", b"{" not in done.stdout)


TESTS = [function for name, function in list(globals().items()) if name.startswith("test_")]


def main():
    args = h2images.arguments(__doc__.split("\n", 1)[0])
    bench = Bench(args)
    tally = h2images.Tally()
    for function in TESTS:
        name = function.__name__[len("test_"):]
        if args.names and name not in args.names:
            continue
        bench.problems = []
        try:
            function(bench)
        except Skip as why:
            tally.skip(name, str(why))
            continue
        except Failure as error:
            bench.problems.append(str(error))
        tally.result(name, bench.problems)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
