#!/usr/bin/env python3
"""The verbs of administration of the hammer2 program on volumes that are not mounted.

What is expected comes from the behaviour specification (BS 10 to 14), and for contents from the
manifests of images that DragonFly's own code made. Every volume that was changed is verified with
fsck.hammer2 --strict. tests/mount/admin.py has the same on mounted filesystems.

    admin.py [--build DIR] [--images DIR] [--seed N] [TEST...]
"""

import fcntl
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid

import cli
import edit
import h2media
from cli import Skip

MIB = 1 << 20
NIL = "00000000-0000-0000-0000-000000000000"
CLUSTER_VERBS = ("connect", "disconnect", "status", "service", "leaf", "shell", "debugspan", "rsainit",
                 "rsaenc", "rsadec")
DATE = r"\d{8}\.\d{6}"


def labels(bench, place):
    return bench.call("-s", place, "pfs-list", "-q").stdout.decode().split()


def pfss(bench, place):
    """All PFSs with all that their roots have; what is refused may cost a commit, which is empty."""
    return bench.json("pfs-list", place), [root_of(bench, place, p) for p in labels(bench, place)]


def root_of(bench, place, label):
    """The fields of a PFS's root inode."""
    return bench.json("printinode", f"{place}@{label}")[0]["inode"]


def entry_key(bench, name):
    """The key of a name that collides with none (MF 7.2, BS 3.3); cli.py has vectors for hashes."""
    return bench.json("hash", name)[0]["hash"]


def free_bytes(bench, image):
    return bench.json("info", image)["allocator_free"]


def names(bench, place, path="/"):
    return sorted(item["path"] for item in bench.lines("ls", place, path))


# ---- PFSs ----

def test_pfs_create(bench):
    """BS 10.2: what a new PFS is."""
    with bench.image() as image:
        before = int(time.time() * 1e6)
        done = bench.call("-s", image, "pfs-create", "home")
        bench.equal("what it says", done.stdout, b"hammer2: pfs_create(home): SUCCESS\n")
        bench.call("-s", image, "pfs-create", "-q", "boot", "--type", "master")
        item = bench.json("pfs-create", "-s", image, "third", "-u",
                          "6ba7b810-9dad-11d1-80b4-00c04fd430c8")
        bench.equal("JSON", (item["verb"], item["label"], item["done"]),
                    ("pfs-create", "third", True))
        bench.equal("labels", labels(bench, image), ["DATA", "LOCAL", "boot", "home", "third"])
        listed = {p["label"]: p for p in bench.json("pfs-list", image)["pfs"]}
        for label, comp in (("home", "lz4:default"), ("boot", "autozero:default")):
            root = root_of(bench, image, label)
            for field, value in (("filename", label), ("inum", 1), ("iparent", 1), ("nlinks", 1),
                                 ("mode", "0755"), ("uid", 0), ("gid", 0), ("type", "dir"),
                                 ("check", "xxhash64"), ("comp", comp), ("pfs_type", "MASTER"),
                                 ("pfs_subtype", "NONE"), ("size", 0), ("op_flags", 1 << 1)):
                if field == "op_flags":
                    bench.check(f"{label}: PFSROOT", root[field] != 0)
                    continue
                bench.equal(f"{label}: {field}", root[field], value)
            for field in ("ctime_us", "mtime_us", "atime_us", "btime_us"):
                bench.check(f"{label}: {field} is now",
                            before - 1000000 <= root[field] <= time.time() * 1e6 + 1000000)
            bench.equal(f"{label}: key", root["name_key"], entry_key(bench, label))
            bench.equal(f"{label}: key in the list", listed[label]["name_key"], root["name_key"])
            bench.equal(f"{label}: names", names(bench, f"{image}@{label}"), [])
        ids = [listed[p][k] for p in listed for k in ("clid", "fsid")]
        bench.check("ids differ", len(set(ids)) == len(ids) and NIL not in ids, ids)
        bench.check("ids are random ones", all(uuid.UUID(listed["home"][k]).variant == uuid.RFC_4122
                                               and uuid.UUID(listed["home"][k]).version == 4
                                               for k in ("clid", "fsid")))
        bench.equal("--uuid", listed["third"]["clid"], "6ba7b810-9dad-11d1-80b4-00c04fd430c8")
        bench.equal("pfs-clid", bench.call("-s", image, "pfs-clid", "third").stdout,
                    b"6ba7b810-9dad-11d1-80b4-00c04fd430c8\n")
        bench.equal("pfs-fsid", bench.call("-s", image, "pfs-fsid", "home").stdout.decode().strip(),
                    listed["home"]["fsid"])
        bench.equal("pfs-fsid in JSON", bench.json("pfs-fsid", "-s", image, "home")["fsid"],
                    listed["home"]["fsid"])
        bench.edit(image + "@home", "put", "-", "/file", data=b"home")
        bench.equal("a file in it", bench.call("cat", image + "@home", "/file").stdout, b"home")
        bench.equal("and not in others", names(bench, image + "@DATA"), [])


def test_pfs_delete_and_rename(bench):
    with bench.image() as image:
        for label in ("a", "b", "c"):
            bench.call("-s", image, "pfs-create", label)
            bench.edit(f"{image}@{label}", "put", "-", "/name", data=label.encode())
        done = bench.call("-s", image, "pfs-delete", "a", "missing", "LOCAL", expect=1)
        bench.equal("what it says", done.stdout, b"hammer2: pfs_delete(a): SUCCESS\n"
                                                 b"hammer2: pfs_delete(LOCAL): SUCCESS\n")
        bench.check("what is missing", b"pfs_delete(missing)" in done.stderr, done.stderr.decode())
        bench.equal("labels", labels(bench, image), ["DATA", "b", "c"])
        ids = bench.json("pfs-list", image)["pfs"]
        bench.call("-s", image, "pfs-rename", "b", "new name")
        root = root_of(bench, image, "new name")
        bench.equal("the key of the new name", root["name_key"], entry_key(bench, "new name"))
        bench.equal("the ids stay", (root["pfs_clid"], root["pfs_fsid"]),
                    next((p["clid"], p["fsid"]) for p in ids if p["label"] == "b"))
        bench.equal("contents", bench.call("cat", image + "@new name", "/name").stdout, b"b")
        bench.call("ls", image + "@b", expect=1)
        # BS 10.3: without a PFS it could not be mounted.
        bench.call("-s", image, "pfs-delete", "c", "new name")
        said = bench.call("-s", image, "pfs-delete", "DATA", expect=1).stderr.decode()
        bench.check("the last one stays", "last PFS" in said, said)
        bench.equal("labels at the end", labels(bench, image), ["DATA"])


def test_errors(bench):
    """What is wrong is told in words, with the exit code; nothing has changed then."""
    with bench.image() as image:
        bench.call("snapshot", image + "@DATA", "snap")
        before = pfss(bench, image)
        clid = before[0]["pfs"][0]["clid"]
        for args, expect, text in (
                (("pfs-create", "DATA"), 1, "there is a PFS with that label"),
                (("pfs-create", "a/b"), 1, "none of"),
                (("pfs-create", "a@b"), 1, "none of"),
                (("pfs-create", "a:b"), 1, "none of"),
                (("pfs-create", ""), 1, "1 to 255 bytes"),
                (("pfs-create", "x" * 256), 1, "too long"),
                (("pfs-create", "y", "-t", "SLAVE"), 2, "only PFSs of type MASTER"),
                (("pfs-create", "y", "-u", "no uuid"), 2, "is no UUID"),
                (("pfs-create", "y", "-u", clid), 1, "another PFS has that UUID"),
                (("pfs-create",), 2, "missing arguments"),
                (("pfs-delete", "missing"), 1, "there is no PFS with that label"),
                (("pfs-rename", "missing", "y"), 1, "pfs_rename(missing)"),
                (("pfs-rename", "LOCAL", "DATA"), 1, "pfs_rename(DATA)"),
                (("pfs-rename", "LOCAL", "a@b"), 1, "none of"),
                (("pfs-clid", "missing"), 1, "there is no PFS with that label"),
                (("pfs-fsid", "missing"), 1, "there is no PFS with that label"),
                (("snapshot-delete", "DATA"), 1, "is no snapshot"),
                (("rollback", "missing", "snap"), 1, "rollback(missing)"),
                (("rollback", "DATA", "missing"), 1, "rollback(missing)"),
                (("growfs", "--size", "128M"), 1, "it can only grow"),
                (("growfs", "--size", "7Q"), 2, "not a value"),
                (("setcomp", "lzma", "/"), 3, "lzma"),
                (("setcomp", "lz4:9", "/"), 3, "lz4:9"),
                (("setcomp", "zlib:0", "/"), 3, "zlib:0"),
                (("setcomp", "zlib:10", "/"), 3, "zlib:10"),
                (("setcheck", "md5", "/"), 3, "md5"),
                (("setcheck", "crc32", "/missing"), 3, "/missing"),
                (("clrcheck", "/missing"), 3, "/missing"),
                (("destroy-inum", "17"), 2, "is for mounted filesystems"),
                (("destroy-inum", "seventeen"), 2, "is no inode number"),
                (("cidprune",), 2, "is for mounted filesystems"),
                (("dumpchain",), 2, "is for mounted filesystems"),
                (("pfs-list", "--depth", "1"), 2, "does not take --depth")):
            said = bench.call("-s", image, *args, expect=expect).stderr.decode()
            bench.check(f"{args}: the message", "hammer2: " in said and text in said, said)
        for args, expect, text in (
                (("snapshot", image + "@DATA", "DATA"), 1, "there is a PFS with that label"),
                (("snapshot", image + "@missing", "y"), 1, "snapshot(missing)"),
                (("snapshot", image + ".missing"), 1, "No such file"),
                (("snapshot",), 2, "missing arguments"),
                (("-s", os.path.dirname(image), "pfs-list"), 2, "is not in a mounted HAMMER2"),
                (("pfs-delete", "no such label anywhere"), 1, "option -s names one"),
                (("bulkfree", os.path.dirname(image)), 2, "is not in a mounted HAMMER2"),
                (("setcomp", "lz4", image), 3, "is no file or directory of a HAMMER2"),
                (("destroy", image), 1, "is not in a mounted HAMMER2"),
                (("completion", "fish"), 2, "none of bash, zsh")):
            said = bench.call(*args, expect=expect).stderr.decode()
            bench.check(f"{args}: the message", "hammer2: " in said and text in said, said)
        bench.equal("PFSs", pfss(bench, image), before)


def test_absent_verbs(bench):
    """BS 14.1 has verbs that make no sense here: they say so."""
    for verb in CLUSTER_VERBS:
        said = bench.call(verb, expect=2).stderr.decode()
        bench.check(f"{verb}: the message", f"{verb}: is for clusters" in said, said)
    for verb in ("recover", "recover-relaxed", "recover-file"):
        said = bench.call(verb, "/dev/null", "a", "b", expect=2).stderr.decode()
        bench.check(f"{verb}: the message", "extract" in said, said)
    for verb in ("rsa", "conn", "recover-", " ", ""):
        said = bench.call(verb, expect=2).stderr.decode()
        bench.check(f"{verb!r}: the message", "no such verb" in said, said)


def test_in_use(bench):
    """A volume that a program has open is not touched."""
    with bench.image() as image:
        before = bench.state(image)
        with open(image, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            said = bench.call("-s", image, "pfs-create", "x", expect=1).stderr.decode()
            bench.check("the message", "in use" in said, said)
            bench.equal("reading beside a reader", labels(bench, image), ["DATA", "LOCAL"])
            fcntl.flock(file, fcntl.LOCK_EX)
            bench.call("pfs-list", image, expect=1)
        bench.unchanged("in use", image, before)


def test_write_protected(bench):
    with bench.image() as image:
        bench.call("snapshot", image + "@DATA", "snap")
        before = bench.state(image)
        if edit.ROOT:
            done = subprocess.run(["losetup", "-f", "--show", "-r", image], capture_output=True,
                                  text=True, check=False)
            if done.returncode:
                raise Skip("root writes to everything, and there are no loop devices")
            place = done.stdout.strip()
        else:
            os.chmod(image, 0o400)
            place = image
        try:
            for args in (("pfs-create", "x"), ("pfs-delete", "LOCAL"), ("snapshot-delete", "snap")):
                said = bench.call("-s", place, *args, expect=1).stderr.decode()
                bench.check(f"{args}: the message", place in said, said)
            bench.equal("labels", labels(bench, place), ["DATA", "LOCAL", "snap"])
        finally:
            if edit.ROOT:
                subprocess.run(["losetup", "-d", place], check=False)
        bench.unchanged("write-protected", image, before)


def test_dry_run(bench):
    """Says what would happen or why not; not a byte changes."""
    with bench.image() as image:
        bench.call("snapshot", image + "@DATA", "snap")
        bench.edit(image + "@DATA", "put", "-", "/file", data=b"x")
        with open(image, "rb") as file:
            before = file.read()
        for args, text in ((("pfs-create", "x"), "would be done"),
                           (("pfs-delete", "LOCAL"), "would be done"),
                           (("pfs-rename", "LOCAL", "x"), "would be done"),
                           (("snapshot-delete", "snap"), "would be done"),
                           (("rollback", "DATA", "snap"), "would roll DATA back to snap"),
                           (("setcomp", "zlib", "/file"), "would set /file\tcomp_algo=0x03"),
                           (("setcheck", "-r", "none", "/"), "would set /\tcheck_algo=0x00")):
            said = bench.call("-s", image, *args, "--dry-run").stdout.decode()
            bench.check(f"{args}: what it says", text in said, said)
        said = bench.call("snapshot", "-n", image + "@DATA").stdout.decode()
        bench.check("snapshot", re.fullmatch(f"would create snapshot DATA.{DATE}\n", said), said)
        bench.equal("in JSON", bench.json("snapshot", "-n", image + "@DATA", "s")["done"], False)
        for args in (("pfs-create", "DATA"), ("pfs-delete", "x"), ("pfs-rename", "x", "y"),
                     ("pfs-rename", "LOCAL", "DATA"), ("snapshot-delete", "DATA"),
                     ("rollback", "DATA", "x")):
            bench.call("-s", image, *args, "--dry-run", expect=1)
        with open(image, "rb") as file:
            bench.check("not a byte changed", file.read() == before)


# ---- snapshots ----

def tar_of(bench, place, label):
    return bench.call("extract", "--tar", f"{place}@{label}").stdout


def test_snapshot(bench):
    """BS 10.5, on what DragonFly made: the contents are the origin's, as its manifest has them."""
    contents = bench.contents("vfs-snap")
    with bench.image("vfs-snap") as volumes:
        image = volumes[0]
        origin = root_of(bench, image, "DATA")
        done = bench.call("snapshot", image + "@DATA", "new")
        bench.equal("what it says", done.stdout, b"created snapshot new\n")
        snap, after = root_of(bench, image, "new"), root_of(bench, image, "DATA")
        for field, value in (("pfs_type", "MASTER"), ("pfs_subtype", "SNAPSHOT"), ("inum", 1),
                             ("filename", "new")):
            bench.equal(f"snapshot: {field}", snap[field], value)
        bench.check("snapshot: pfs_inum", snap["pfs_inum"] >= origin["pfs_inum"])
        # SHOULD of BS 10.5: what the root is, is copied.
        for field in ("mode", "uid", "gid", "comp", "check", "mtime_us", "uflags"):
            bench.equal(f"snapshot: {field}", snap[field], origin[field])
        bench.check("pfs_lsnap_tid in both", snap["pfs_lsnap_tid"] == after["pfs_lsnap_tid"] >
                    origin["pfs_lsnap_tid"], f"{snap['pfs_lsnap_tid']}, {after['pfs_lsnap_tid']}")
        old = {p[k] for p in contents.pfs.values() for k in ("clid", "fsid")}
        bench.check("new ids", not {snap["pfs_clid"], snap["pfs_fsid"]} & old)
        bench.equal("ids of the origin", (after["pfs_clid"], after["pfs_fsid"]),
                    (origin["pfs_clid"], origin["pfs_fsid"]))
        # The contents, before and after the origin changes.
        cli.compare_tar(bench, "the snapshot", tar_of(bench, image, "new"), contents, "DATA")
        bench.edit(image + "@DATA", "rm", "-rf", *names(bench, image + "@DATA"))
        bench.equal("names in the origin", names(bench, image + "@DATA"), [])
        for label in ("s1", "s2", "s3"):
            cli.compare_tar(bench, label, tar_of(bench, image, label), contents, label)
        cli.compare_tar(bench, "the snapshot later", tar_of(bench, image, "new"), contents, "DATA")
        # Of a snapshot: the same rules.
        bench.call("snapshot", image + "@s1", "of s1")
        cli.compare_tar(bench, "a snapshot's", tar_of(bench, image, "of s1"), contents, "s1")
        bench.verify(image)


def test_rollback(bench):
    """A PFS gets what the snapshot has, as the manifest of DragonFly's image tells."""
    contents = bench.contents("vfs-snap")
    with bench.image("vfs-snap") as volumes:
        image = volumes[0]
        ids = root_of(bench, image, "DATA")
        said = bench.call("-s", image, "rollback", "DATA", "s1").stdout.decode()
        kept = re.fullmatch(f"rolled DATA back to s1; its former state is snapshot (DATA.{DATE})\n",
                            said)
        bench.check("what it says", kept, said)
        cli.compare_tar(bench, "rolled back", tar_of(bench, image, "DATA"), contents, "s1")
        cli.compare_tar(bench, "kept", tar_of(bench, image, kept[1]), contents, "DATA")
        after = root_of(bench, image, "DATA")
        for field in ("pfs_clid", "pfs_fsid", "filename", "name_key", "pfs_subtype"):
            bench.equal(f"DATA: {field}", after[field], ids[field])
        # BS 10.5: numbers that were given out are not given out again.
        bench.check("pfs_inum", after["pfs_inum"] >= ids["pfs_inum"])
        bench.equal("kind of what is kept", root_of(bench, image, kept[1])["pfs_subtype"],
                    "SNAPSHOT")
        # Forth again, from what was kept; changes in the PFS do not reach the snapshot.
        item = bench.json("rollback", "-s", image, "--discard", "DATA", kept[1])
        bench.equal("JSON", ("kept" in item, item["snapshot"], item["done"]), (False, kept[1], True))
        cli.compare_tar(bench, "back again", tar_of(bench, image, "DATA"), contents, "DATA")
        bench.edit(image + "@DATA", "rm", "-rf", *names(bench, image + "@DATA"))
        cli.compare_tar(bench, "kept, later", tar_of(bench, image, kept[1]), contents, "DATA")
        bench.equal("labels", labels(bench, image), sorted([*contents.pfs, kept[1]]))
        bench.call("-s", image, "snapshot-delete", "s1", "s2", "s3", kept[1])
        bench.equal("labels at the end", labels(bench, image), ["DATA", "LOCAL"])
        bench.verify(image)


def diff(bench, place, *labels):
    """The differences as lines, which are the same in JSON."""
    lines = bench.call("-s", place, "diff", *labels).stdout.decode().splitlines()
    found = bench.json("diff", "-s", place, *labels)
    bench.equal("labels in JSON", (found["from"], found["to"]), labels)
    signs = {"added": "+", "removed": "-", "renamed": "R", "changed": "M"}
    for line, entry in zip(lines, found["entries"], strict=True):
        if "path" in entry and "\\" not in line:
            bench.equal("in JSON", f"{signs[entry['change']]} {entry['path']}"
                        + (f" -> {entry['new_path']}" if "new_path" in entry else ""), line)
        bench.equal("what has changed is told", entry["change"] == "changed",
                    entry.get("contents", False) or entry.get("attributes", False))
    return lines


def test_diff(bench):
    """What has changed from a PFS to another, in the order of the paths."""
    with bench.image() as image:
        place = image + "@DATA"
        bench.script(place, "mkdir dir\nmkdir dir/sub\nmkdir gone\nmkdir gone/below\n")
        for name in ("dir/file", "dir/sub/deep", "gone/below/file", "changed", "mode", "old", "same"):
            bench.edit(place, "put", "-", "/" + name, data=name.encode())
        bench.edit(place, "put", "-", "/large", data=noise(5 << 20))
        bench.call("snapshot", place, "snap")
        bench.equal("nothing", (diff(bench, image, "snap", "DATA"), diff(bench, image, "DATA", "DATA")),
                    ([], []))
        bench.script(place, "mv dir moved\nrm -r gone\nmkdir new\nln mode new/link\nmv old new/old\n"
                            "chmod 600 mode\n")
        bench.edit(place, "put", "-", "/changed", data=b"other")
        bench.edit(place, "put", "-", "/large", data=noise(5 << 20)[:-1] + b"x")
        bench.edit(place, "put", "-", "/new/a\nb", data=b"")
        bench.edit(place, "put", "-", b"/new/\xff", data=b"")
        expected = ["M /", "M /changed", "R /dir -> /moved", "- /gone", "- /gone/below",
                    "- /gone/below/file", "M /large", "M /mode", "+ /new", "+ /new/a\\nb",
                    "+ /new/link", "+ /new/\\xff", "R /old -> /new/old"]
        found = diff(bench, image, "snap", "DATA")
        bench.equal("differences", found, expected)
        back = {"+": "-", "-": "+", "M": "M"}
        turned = sorted(line for line in diff(bench, image, "DATA", "snap") if line[0] != "R")
        bench.equal("the other way", turned, sorted(back[line[0]] + line[1:]
                                                    for line in found if line[0] != "R"))
        said = bench.call("-v", "-s", image, "diff", "snap", "DATA").stdout.decode()
        bench.check("-v", "M /mode (attributes)\n" in said and "M / (contents)\n" in said, said)
        entries = bench.json("diff", "-s", image, "snap", "DATA")["entries"]
        bench.check("a name that is no text", any(e.get("path_hex") == b"/new/\xff".hex() for e in entries))
        bench.call("-s", image, "rollback", "DATA", "snap")
        bench.equal("after a rollback", diff(bench, image, "snap", "DATA"), [])


def test_diff_errors(bench):
    with bench.image() as image:
        for args in (("DATA", "missing"), ("missing", "DATA"), ("missing", "x" * 300)):
            for option in ((), ("--json",)):
                done = bench.call("-s", image, *option, "diff", *args, expect=1)
                culprit = next(label for label in args if label != "DATA")
                bench.check("the message", f"diff({culprit}): No such file or directory"
                            in done.stderr.decode(), done.stderr.decode())
                bench.equal("nothing else", done.stdout, b"")
        bench.call("-s", image, "diff", "DATA", expect=2)
        bench.call("-s", image, "diff", "DATA", "DATA", "DATA", expect=2)
        # It changes nothing.
        os.chmod(image, 0o444)
        before = bench.state(image)
        bench.call("-s", image, "diff", "LOCAL", "DATA")
        bench.unchanged("diff", image, before)
        os.chmod(image, 0o644)


def test_diff_interrupted(bench):
    """A signal ends it at once, with a message."""
    with bench.image(size="512M") as image:
        bench.call("snapshot", image + "@DATA", "snap")
        bench.script(image, "".join(f"mkdir d{i}\n" + "".join(f"mkdir d{i}/e{j}\n" for j in range(300))
                                    for i in range(50)))
        expected = bench.call("-s", image, "diff", "snap", "DATA").stdout
        bench.equal("how many", expected.count(b"\n"), 50 * 301 + 1)
        ended = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            for delay in (0.005, 0.02, 0.05):
                with subprocess.Popen([bench.program, "-s", image, "diff", "snap", "DATA"],
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
                    time.sleep(delay)
                    process.send_signal(number)
                    said = process.communicate(timeout=60)
                if process.returncode == 1:
                    ended += 1
                    bench.equal("what it says", said, (b"", f"hammer2: {image}: diff was interrupted\n"
                                                       .encode()))
                elif process.returncode == 0:
                    bench.check("what it says", said[0] == expected)
                else:
                    bench.check(f"exit code {process.returncode}", process.returncode == -number)
        if not ended:
            raise Skip("no signal came while it ran")


def test_default_labels(bench):
    """BS 10.5: <pfs>.YYYYMMDD.HHMMSS in local time."""
    with bench.image() as image:
        start = time.time()
        done = bench.call("snapshot", image, environment={"TZ": "UTC-5:30"})
        bench.call("snapshot", image + "@DATA")
        bench.call("snapshot", image + "@DATA")
        found = re.fullmatch(f"created snapshot DATA.({DATE})\n", done.stdout.decode())
        bench.check("what it says", found, done.stdout.decode())
        moments = [time.strftime("%Y%m%d.%H%M%S", time.gmtime(start + 19800 + i)) for i in range(-1, 9)]
        bench.check("local time", found and found[1] in moments, f"{found[1]} in {moments}")
        bench.equal("three snapshots", len(labels(bench, image)), 5)
        bench.call("-s", image, "pfs-create", "x" * 255)
        made = bench.json("snapshot", f"{image}@{'x' * 255}")["label"]
        bench.check("of a long label", re.fullmatch(rf"x+\.{DATE}", made) and len(made) <= 255, made)


def test_several_volumes(bench):
    """Volumes in any order; as several arguments where a verb has taken them so."""
    with bench.image("vfs-2vol") as volumes:
        place = ":".join(reversed(volumes))
        bench.call("-s", place, "pfs-create", "new")
        bench.equal("labels", labels(bench, place), sorted([*bench.contents("vfs-2vol").pfs, "new"]))
        bench.equal("apart", bench.call("pfs-list", *volumes, "-q").stdout.decode().split(),
                    labels(bench, place))
        found = bench.json("volume-list", place)
        bench.equal("ids", [v["volu_id"] for v in found["volumes"]], [0, 1])
        bench.equal("paths", [v["path"] for v in found["volumes"]], volumes)
        lines = bench.call("volume-list", place).stdout.decode().splitlines()
        bench.equal("version", lines[0], "version 2")
        for line, volume in zip(lines[1:], found["volumes"]):
            bench.check("rows", re.fullmatch(rf"volume{volume['volu_id']:<2} {volume['path']} \S+",
                                             line), line)
        long = bench.call("volume-list", "-v", place).stdout.decode().splitlines()[1:]
        bench.equal("-v", [line.split()[-2:] for line in long],
                    [[f"0x{v['offset']:016x}", f"0x{v['size']:016x}"] for v in found["volumes"]])
        bench.equal("-q", bench.call("volume-list", "-q", place).stdout.decode().split(), volumes)
        said = bench.call("-s", place, "growfs", expect=1).stderr.decode()
        bench.check("growing", "several volumes" in said, said)
        bench.verify(*volumes)


def test_offset(bench):
    """A volume inside of a larger file."""
    with bench.image() as image, bench.folder() as folder:
        larger = os.path.join(folder, "larger")
        subprocess.run(["dd", f"if={image}", f"of={larger}", "bs=1M", "seek=3", "conv=sparse",
                        "status=none"], check=True)
        bench.call("-s", larger, "pfs-create", "--offset", "3M", "new")
        bench.call("snapshot", "--offset", "3M", larger + "@new", "snap")
        bench.equal("labels", bench.call("pfs-list", "-q", "--offset", "3M", larger).stdout.split(),
                    [b"DATA", b"LOCAL", b"new", b"snap"])


# ---- space and settings ----

def noise(size, seed=0):
    return random.Random(seed).randbytes(size)


def test_bulkfree(bench):
    """What nothing refers to comes back; what a snapshot holds does not."""
    with bench.image() as image:
        empty = free_bytes(bench, image)
        bench.edit(image, "put", "-", "/file", data=noise(20 * MIB))
        full = free_bytes(bench, image)
        bench.check("the file takes space", empty - full >= 20 * MIB)
        bench.call("snapshot", image + "@DATA", "snap")
        bench.edit(image, "rm", "/file")
        bench.json("bulkfree", image)
        bench.check("a snapshot holds it", free_bytes(bench, image) <= full + MIB)
        bench.call("-s", image, "snapshot-delete", "snap")
        found = bench.json("bulkfree", "-s", image, "-m", "8m")
        bench.check("JSON", found["filesystem"] == image and found["blocks"] > 0, found)
        # BS 9.6: two passes at most.
        bench.call("cleanup", image)
        bench.check("the space is back", free_bytes(bench, image) >= empty - MIB,
                    f"{free_bytes(bench, image)} of {empty}")
        said = bench.call("cleanup", image).stdout.decode()
        bench.check("what cleanup says", said.startswith(f'hammer2 cleanup "{image}"\n'), said)
        bench.equal("-q", bench.call("bulkfree", "-q", image).stdout, b"")


def test_bulkfree_interrupted(bench):
    """SIGINT ends it at once; nothing has changed. Not at all, or as a whole, for SIGKILL."""
    with bench.image(size="512M") as image:
        bench.script(image, "".join(f"mkdir d{i}\n" + "".join(f"mkdir d{i}/e{j}\n" for j in range(300))
                                    for i in range(50)))
        before = bench.state(image)
        ended = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            for delay in (0.005, 0.02, 0.05):
                with subprocess.Popen([bench.program, "bulkfree", "--json", image],
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
                    time.sleep(delay)
                    process.send_signal(number)
                    said = process.communicate(timeout=60)[1].decode()
                if process.returncode == 1:
                    ended += 1
                    bench.check("the message", "was interrupted; nothing has changed" in said, said)
                    bench.unchanged("interrupted", image, before)
                elif process.returncode == 0:
                    before = bench.state(image)
                else:
                    bench.check(f"exit code {process.returncode}", process.returncode == -number)
                    before = bench.state(image)
        if not ended:
            raise Skip("no signal came while it ran")


def usage_of(bench, image):
    """What info --usage tells of an image, and of its PFSs by label."""
    usage = bench.json("info", "--usage", image)["usage"]
    by_label = {p["label"]: p for p in usage["pfs"]}
    bench.equal("the sum", usage["used_bytes"], usage["shared_bytes"] + usage["overhead_bytes"] +
                sum(p["exclusive_bytes"] for p in usage["pfs"]))
    return usage, by_label


def test_usage(bench):
    """What deleting a PFS would give back is what comes back."""
    with bench.image() as image:
        bench.edit(image, "put", "-", "/file", data=noise(20 * MIB))
        bench.edit(image, "put", "-", "/text", data=b"the same words again and again\n" * 70000)
        bench.call("snapshot", image + "@DATA", "fresh")
        bench.call("snapshot", image + "@DATA", "old")
        bench.edit(image, "rm", "/file")
        bench.edit(image + "@fresh", "rm", "/file")
        bench.edit(image, "put", "-", "/new", data=noise(5 * MIB, 1))
        before, pfs = usage_of(bench, image)
        bench.equal("labels", [p["label"] for p in before["pfs"]], ["DATA", "LOCAL", "fresh", "old"])
        bench.equal("kinds", [p["kind"] for p in before["pfs"]],
                    ["MASTER", "MASTER", "SNAPSHOT", "SNAPSHOT"])
        for label, low, high in (("old", 20, 21), ("DATA", 5, 6), ("fresh", 0, 1), ("LOCAL", 0, 1)):
            bench.check(f"{label} alone", low * MIB <= pfs[label]["exclusive_bytes"] < high * MIB,
                        pfs[label])
        root = root_of(bench, image, "old")
        bench.equal("inodes", pfs["old"]["inodes"], 2)
        listed = {p["label"]: p for p in bench.json("info", image)["pfs"]}
        for label, item in pfs.items():
            bench.equal(f"{label}: as its root counts", (item["referenced_bytes"], item["inodes"]),
                        (listed[label]["data_count"], listed[label]["inode_count"]))
        bench.check("a PFS's root", root["pfs_type"] == "MASTER")
        bench.check("compressed", before["data_logical_bytes"] > before["data_referenced_bytes"])
        bench.equal("what data there is", before["data_logical_bytes"] // MIB, 27)
        bench.check("deduplicated", before["data_referenced_bytes"] > before["data_distinct_bytes"])
        bench.json("bulkfree", image)
        free = free_bytes(bench, image)
        before, pfs = usage_of(bench, image)
        bench.call("-s", image, "snapshot-delete", "old")
        for _ in range(2):
            bench.json("bulkfree", image)
        after, _ = usage_of(bench, image)
        # The super-root's own blocks are others after each commit.
        for what, found in (("free", free_bytes(bench, image) - free),
                            ("used", before["used_bytes"] - after["used_bytes"])):
            bench.check(f"{what} afterwards", abs(found - pfs["old"]["exclusive_bytes"]) <= 4 << 14,
                        f"{found}, told {pfs['old']}")
        text = bench.call("info", "--usage", image).stdout.decode()
        bench.check("the table", re.search(r"would give back.*label\n.* MASTER +DATA\n.* MASTER +"
                                           r"LOCAL\n.* SNAPSHOT +fresh\n$", text), text)
        bench.check("ratios", re.search(r"^compression +1\.\d\dx", text, re.M) and
                    re.search(r"^dedup +\d\.\d\dx", text, re.M), text)
        bench.check("not unasked", "would give back" not in bench.call("info", image).stdout.decode())
        bench.check("not unasked in JSON", "usage" not in bench.json("info", image))


def test_usage_of_an_empty_one(bench):
    with bench.image() as image:
        usage, pfs = usage_of(bench, image)
        bench.equal("no data", (usage["data_logical_bytes"], usage["data_distinct_bytes"]), (0, 0))
        bench.equal("PFSs", sorted(pfs), ["DATA", "LOCAL"])
        text = bench.call("info", "--usage", image).stdout.decode()
        bench.check("no ratios", "compression" not in text and "dedup" not in text, text)


def test_usage_of_damage(bench):
    """What damage makes wrong is not told; the rest is."""
    with bench.image() as image:
        bench.script(image, "".join(f"mkdir d{i}\n" for i in range(500)))
        with h2media.Media([image]) as media:
            at = next(ref for ref in media.find(h2media.INDIRECT) if ref.pfs == "DATA").offset
        with open(image, "r+b") as file:
            file.seek(at + 100)
            was = file.read(1)
            file.seek(at + 100)
            file.write(bytes([was[0] ^ 1]))
        done = bench.call("info", "--usage", image, expect=1)
        bench.check("the message", b"the use of space cannot be told" in done.stderr and
                    b"fsck.hammer2(8)" in done.stderr, done.stderr.decode())
        bench.check("the rest", b"\nPFSs " in done.stdout and b"give back" not in done.stdout,
                    done.stdout.decode())
        with open(image, "r+b") as file:
            file.seek(at + 100)
            file.write(was)


def test_usage_interrupted(bench):
    """A signal ends it; it only reads."""
    with bench.image(size="512M") as image:
        bench.script(image, "".join(f"mkdir d{i}\n" + "".join(f"mkdir d{i}/e{j}\n" for j in range(300))
                                    for i in range(30)))
        before = bench.state(image)
        for number in (signal.SIGINT, signal.SIGKILL):
            for delay in (0.005, 0.02):
                with subprocess.Popen([bench.program, "info", "--usage", image],
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
                    time.sleep(delay)
                    process.send_signal(number)
                    process.communicate(timeout=60)
                bench.check("exit code", process.returncode in (0, -number), process.returncode)
        bench.unchanged("interrupted", image, before)
        usage_of(bench, image)


def test_growfs(bench):
    """BS 11: sizes in steps of 8 MiB, up to the device's; an image file grows with it."""
    with bench.image(size="64M") as image:
        bench.edit(image, "put", "-", "/file", data=noise(MIB))
        bench.equal("to what it is", bench.call("growfs", image).stdout.decode(),
                    f"{image} no size change - {64 * MIB:016x}\n")
        bench.equal("to a size", bench.call("growfs", "--size", "101M", image).stdout.decode(),
                    f"{image} grown to {96 * MIB:016x}\n")
        os.truncate(image, 200 * MIB + 4096)
        bench.equal("to the file's size", bench.json("growfs", image),
                    {"filesystem": image, "size": 200 * MIB, "modified": True})
        bench.equal("size", bench.json("info", image)["total_size"], 200 * MIB)
        bench.equal("contents", bench.call("cat", image, "/file").stdout, noise(MIB))
        bench.edit(image, "put", "-", "/more", data=noise(120 * MIB, 1))


def test_settings(bench):
    """BS 12.2, 14.1: the bytes that are printed and stored, and what new files inherit."""
    values = {"none": 0, "autozero": 1, "disabled": 1, "lz4": 2, "default": 2, "zlib": 3,
              "zlib:1": 0x13, "zlib:6": 0x63, "zlib:9": 0x93, "lz4:default": 2, "zlib:default": 3}
    checks = {"none": ("none", 0), "disabled": ("disabled", 1), "crc32": ("crc32", 2),
              "xxhash64": ("xxhash64", 3), "sha192": ("sha192", 4), "default": ("xxhash64", 3)}
    shown = {0: "none:default", 1: "autozero:default", 2: "lz4:default", 3: "zlib:default",
             0x13: "zlib:1", 0x63: "zlib:6", 0x93: "zlib:9"}

    def settings(path):
        fields = bench.call("stat", image, path).stdout.decode().splitlines()[1].split()
        return tuple(fields[-2:])

    with bench.image() as image:
        bench.script(image, "mkdir -p d/e\nln -s nowhere d/link\nmknod d/fifo p\n")
        bench.edit(image, "put", "-", "/d/file", data=b"x")
        for algo, value in values.items():
            bench.equal(f"setcomp {algo}: output",
                        bench.call("-s", image, "setcomp", algo, "/d/file").stdout.decode(),
                        f"/d/file\tcomp_algo=0x{value:02x}\n")
            bench.equal(f"setcomp {algo}", settings("/d/file")[0], shown[value])
        for algo, (name, value) in checks.items():
            bench.equal(f"setcheck {algo}: output",
                        bench.call("-s", image, "setcheck", algo, "/d/file").stdout.decode(),
                        f"/d/file\tcheck_algo=0x{value:02x}\n")
            bench.equal(f"setcheck {algo}", settings("/d/file")[1], name)
        for verb, name in (("clrcheck", "none"), ("setcrc32", "crc32"), ("setsha192", "sha192"),
                           ("setxxhash64", "xxhash64")):
            bench.call("-s", image, verb, "/d/file")
            bench.equal(verb, settings("/d/file")[1], name)
        rows = bench.call("-s", image, "setcomp", "-r", "zlib:9", "/d").stdout.decode().splitlines()
        bench.equal("-r", sorted(rows), [f"/d{p}\tcomp_algo=0x93" for p in ("", "/e", "/file")])
        items = bench.lines("setcheck", "-s", image, "-r", "sha192", "/d")
        bench.equal("-r in JSON", sorted((i["path"], i["check_algo"], i["done"]) for i in items),
                    [(f"/d{p}", 4, True) for p in ("", "/e", "/file")])
        bench.edit(image, "put", "-", "/d/e/new", data=b"x" * 100000)
        bench.equal("of a new file", settings("/d/e/new"), ("zlib:9", "sha192"))
        bench.equal("beside it", settings("/"), ("lz4:default", "xxhash64"))
        # One that fails does not keep the others from being set.
        bench.call("-s", image, "setcomp", "none", "/missing", "/d/e", expect=3)
        bench.equal("the others", settings("/d/e")[0], "none:default")
        bench.call("-s", image + "@LOCAL", "setcomp", "none", "/")
        bench.equal("of another PFS", bench.json("stat", image + "@LOCAL", "/")[0]["comp"],
                    "none:default")


def test_settings_on_media(bench):
    """Blocks are stored by the setting that is in force when they are written."""
    with bench.image() as image:
        bench.edit(image, "put", "-", "/a", data=b"")
        bench.call("-s", image, "setcheck", "sha192", "/a")
        bench.call("-s", image, "setcomp", "none", "/a")
        bench.edit(image, "put", "-", "/a", data=b"abc" * 100000)
        text = bench.call("show", "--label", "DATA", "-v", image).stdout.decode()
        bench.check("blocks with the setting", re.search(r"meth=sha192\|none", text))


def test_printinode(bench):
    """The fields of inodes are those that the manifest of DragonFly's image has."""
    contents = bench.contents("vfs-snap")
    seen = 0
    with bench.image("vfs-snap") as volumes:
        for (label, path), entry in contents.entries.items():
            if label != "DATA" or path is None:
                continue
            found = bench.json("printinode", volumes[0] + "@DATA", os.fsdecode(path))[0]["inode"]
            for field, expected in (("inum", entry["ino"]), ("mode", entry["mode"]),
                                    ("type", entry["type"])):
                value = found[field]
                if field == "mode":
                    value, expected = int(value, 8) & 0o7777, int(expected, 8)
                bench.equal(f"{path}: {field}", value, expected)
            seen += 1
        bench.check("entries", seen > 3)
        text = bench.call("printinode", volumes[0] + "@DATA", "/").stdout.decode()
        for field in ("filename", "inum", "pfs_clid", "pfs_lsnap_tid", "data_quota", "inode_count"):
            bench.check(f"field {field}", re.search(rf"^ +{field} ", text, re.M), text)


# ---- the surroundings ----

def test_mountall(bench):
    """Which entries of fstab are mounted; tests/mount/admin.py mounts them."""
    with bench.folder() as folder:
        fstab = os.path.join(folder, "fstab")
        with open(fstab, "w", encoding="utf-8") as file:
            file.write("# comment\n/dev/one /one ext4 defaults 0 1\n/dev/two /two hammer2 rw 0 0\n"
                       "/dev/three@HOME /th\\040ree fuse.hammer2 defaults 0 0\n"
                       "/dev/four /four hammer2 ro,noauto 0 0\n")
        bench.equal("dry run", bench.call("mountall", "--dry-run", "--fstab", fstab).stdout,
                    b"would mount /dev/two on /two\nwould mount /dev/three@HOME on /th ree\n")
        bench.call("mountall", "--fstab", fstab + ".missing", expect=1)
        bench.call("mountall", "/two", expect=2)


def table_of_verbs(bench):
    """Verbs by the lines of the help that begin with them."""
    text = bench.call("--help").stdout.decode()
    return re.findall(r"^  ([a-z][a-z0-9-]+)(?: |$)", text, re.M)


def test_help(bench):
    """Each verb has its help, a place in the manual, and the options that it is told to have."""
    with open(os.path.join(cli.HERE, "..", "..", "man", "hammer2.8"), encoding="utf-8") as file:
        manual = file.read()
    verbs = table_of_verbs(bench)
    bench.check("number of verbs", len(verbs) > 40, str(len(verbs)))
    for verb in verbs:
        text = bench.call(verb, "--help").stdout.decode()
        bench.check(f"{verb}: help", text.startswith(f"usage: hammer2 {verb} "), text)
        bench.check(f"{verb}: in the manual", re.search(rf"^\.It Cm {verb}\b(?!-)", manual, re.M))
        for option in re.findall(r"^ +(?:-\w, )?--([a-z-]+)", text, re.M):
            bench.check(f"{verb}: --{option} is in the manual",
                        re.search(rf"Fl -{option}\b", manual))


COMPLETE = r"""
source "$1"
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_hammer2
printf '%s\n' "${COMPREPLY[@]}"
"""


def test_completion_bash(bench):
    with bench.image() as image, bench.folder() as folder:
        script = os.path.join(folder, "hammer2")
        with open(script, "wb") as file:
            file.write(bench.call("completion", "bash").stdout)
        trap = "$(touch trapped)"
        bench.call("-s", image, "pfs-create", trap)
        environment = dict(os.environ, PATH=os.path.dirname(bench.program) + ":" + os.environ["PATH"])

        def complete(*line):
            done = subprocess.run(["bash", "-c", COMPLETE, "bash", script, "hammer2", *line],
                                  capture_output=True, text=True, check=False, cwd=folder,
                                  env=environment, timeout=60)
            bench.equal(f"{line}: messages", done.stderr, "")
            return done.stdout.splitlines()

        verbs = table_of_verbs(bench)
        bench.equal("verbs", sorted(complete("")), sorted(verbs))
        bench.equal("verbs behind an option", sorted(complete("-s", image, "pfs-")),
                    sorted(v for v in verbs if v.startswith("pfs-")))
        for verb in verbs:
            told = re.findall(r"--([a-z-]+)", bench.call(verb, "--help").stdout.decode().split(
                "\n\n", 1)[1].split("\n\n")[0])
            found = [o[2:] for o in complete(verb, "--")]
            bench.equal(f"options of {verb}", sorted(found),
                        sorted(set(re.findall(r"^ +(?:-\w, )?--([a-z-]+)", bench.call(
                            verb, "--help").stdout.decode(), re.M))))
            bench.check(f"help of {verb}", "help" in told)
        bench.equal("options before the verb", sorted(complete("--")), ["--help", "--version"])
        bench.equal("labels", sorted(complete("-s", image, "pfs-delete", "")),
                    sorted(["DATA", "LOCAL", trap]))
        bench.equal("a label", complete("pfs-delete", "-s", image, "DATA", "LO"), ["LOCAL"])
        bench.check("labels are not run", not os.path.exists(os.path.join(folder, "trapped")))
        bench.equal("algorithms", complete("setcomp", "zlib:1"), ["zlib:1"])
        bench.equal("check codes", sorted(complete("setcheck", "s")), ["sha192"])
        os.mkdir(os.path.join(folder, "a dir"))
        bench.equal("files", complete("setcheck", "sha192", "a"), ["a dir"])
        bench.equal("files of an option", complete("pfs-delete", "-s", "a"), ["a dir"])
        bench.equal("shells", complete("completion", ""), ["bash", "zsh"])


def test_completion_zsh(bench):
    """The functions of zsh's completion are stood in for."""
    if not shutil.which("zsh"):
        raise Skip("there is no zsh")
    with bench.image() as image, bench.folder() as folder:
        script = os.path.join(folder, "_hammer2")
        with open(script, "wb") as file:
            file.write(bench.call("completion", "zsh").stdout)
        trap = "$(touch trapped)"
        bench.call("-s", image, "pfs-create", trap)
        environment = dict(os.environ, PATH=os.path.dirname(bench.program) + ":" + os.environ["PATH"])

        def complete(*line):
            text = ('compadd() { shift; print -rl -- "$@" }; _files() { print FILES }; s=$1; shift;'
                    'words=("$@"); CURRENT=$#; source $s')
            done = subprocess.run(["zsh", "-f", "-c", text, "zsh", script, "hammer2", *line],
                                  capture_output=True, text=True, check=False, cwd=folder,
                                  env=environment, timeout=60)
            bench.equal(f"{line}: messages", done.stderr, "")
            return done.stdout.splitlines()

        bench.equal("verbs", sorted(complete("")), sorted(table_of_verbs(bench)))
        bench.check("options", "--discard" in complete("rollback", "-"))
        bench.equal("labels", sorted(complete("-s", image, "pfs-delete", "")),
                    sorted(["DATA", "LOCAL", trap]))
        bench.check("labels are not run", not os.path.exists(os.path.join(folder, "trapped")))
        bench.check("algorithms", "zlib:9" in complete("setcomp", ""))
        bench.equal("files", complete("setcomp", "lz4", ""), ["FILES"])
        bench.equal("files of an option", complete("pfs-delete", "-s", ""), ["FILES"])


def test_completion_is_current(bench):
    """What is installed is what the program writes."""
    build = os.path.dirname(os.path.dirname(bench.program))
    for shell, name in (("bash", "hammer2"), ("zsh", "_hammer2")):
        path = os.path.join(build, "contrib", "completion", name)
        if not os.path.exists(path):
            raise Skip("not built: the programs of this build do not run here")
        with open(path, "rb") as file:
            bench.check(shell, file.read() == bench.call("completion", shell).stdout)


# ---- a working day ----

def test_working_day(bench):
    """The day of tests/mount/admin.py, without mounting anything."""
    with bench.image(size="128M") as image:
        for label in ("home", "work"):
            bench.call("-s", image, "pfs-create", label)
        with bench.folder() as folder:
            source = os.path.join(folder, "tree")
            os.makedirs(source + "/a/b")
            for i in range(20):
                with open(f"{source}/a/b/{i}", "wb") as file:
                    file.write(noise(20000 * i, i))
            for label in ("home", "work"):
                bench.edit(f"{image}@{label}", "put", "-rp", source + "/.", "/")
        days = []
        for day in range(3):
            bench.edit(image + "@home", "put", "-", "/day", data=b"%d" % day)
            days.append(tar_of(bench, image, "home"))
            bench.call("snapshot", image + "@home", f"home.{day}")
        # One is written to; the others stay.
        bench.edit(image + "@home.1", "put", "-", "/day", data=b"changed")
        for day in (0, 2):
            bench.check(f"day {day}", tar_of(bench, image, f"home.{day}") == days[day])
        bench.check("home", tar_of(bench, image, "home") == days[2])
        said = bench.json("rollback", "-s", image, "home", "home.0")
        bench.check("rolled back", tar_of(bench, image, "home") == days[0])
        bench.check("kept", tar_of(bench, image, said["kept"]) == days[2])
        # Fill it up, and make room.
        size = 64
        while size:
            done = bench.edit(image + "@work", "put", "-", f"/fill{size}.{os.urandom(4).hex()}",
                              data=os.urandom(size * MIB), expect=None)
            if done.returncode:
                bench.check("full", b"No space left" in done.stderr, done.stderr.decode())
                size //= 2
        full = free_bytes(bench, image)
        bench.call("-s", image, "snapshot-delete", "home.0", "home.1", "home.2", said["kept"])
        bench.call("-s", image, "pfs-delete", "work")
        for _ in range(2):
            bench.call("bulkfree", image)
        bench.check("room", free_bytes(bench, image) > full + 60 * MIB)
        bench.edit(image + "@home", "put", "-", "/more", data=noise(50 * MIB))
        bench.edit(image + "@home", "rm", "/more")
        listed = bench.json("pfs-list", image)
        bench.equal("labels", [p["label"] for p in listed["pfs"]], ["DATA", "LOCAL", "home"])
        bench.equal("of volumes", (listed["filesystem"], listed["mounted"]), (image, False))
        bench.equal("home at the end", bench.call("cat", image + "@home", "/day").stdout, b"0")


TESTS = [function for name, function in list(globals().items()) if name.startswith("test_")]


if __name__ == "__main__":
    sys.exit(edit.main(__doc__, TESTS))
