#!/usr/bin/env python3
"""
The administration of HAMMER2 filesystems by the hammer2 program and by ioctls: of mounted ones, as
root and as others, and of volumes. After each test fsck.hammer2 --strict has nothing to say.

Needs root and /dev/fuse. Ends with "N passed, N failed, N skipped"; exits with 1 if any failed, and
with 77 (skipped, for meson) if nothing could be run.
"""

import ctypes
import errno
import fcntl
import json
import os
import pwd
import re
import shutil
import signal
import stat
import struct
import subprocess
import sys
import threading
import time

import mount_cli
from mount_cli import Failure, Skip, check, digest, equal, raises, wait_for

PFS, END = 320, 2**64 - 1


def ioc(size, number, group=0x68):
    """BS 13.1: the numbers are the same on BSD and on Linux."""
    return 0xC0000000 | size << 16 | group << 8 | number


class Tool:
    """The hammer2 program."""

    def __init__(self, t):
        self.program = os.path.join(t.bin, "hammer2")

    def __call__(self, *args, expect=0, **how):
        done = subprocess.run([self.program, *args], capture_output=True, text=True, timeout=120,
                              **how)
        check("Sanitizer" not in done.stderr and "runtime error:" not in done.stderr, done.stderr)
        equal(done.returncode, expect, f"exit code of {args} ({done.stdout} {done.stderr})")
        return done.stderr if expect else done.stdout

    def labels(self, place):
        return self("-s", place, "pfs-list", "-q").split()

    def json(self, *args, **how):
        return json.loads(self(*args, "--json", **how))


class Mounted:
    """A filesystem that is mounted: where to ask, and what it holds."""
    name = "mounted"

    def __init__(self, t, image):
        self.t, self.image = t, image
        self.place = t.mount_on(t.point(), image + "@DATA")

    def path(self, label):
        """A place where that PFS can be used, until done()."""
        return self.place if label == "DATA" else self.t.mount_on(self.t.point(),
                                                                  f"{self.image}@{label}")

    def done(self, path):
        if path != self.place:
            self.t.umount(path)

    def end(self):
        self.t.umount(self.place)


class Volumes:
    """One that is not, but for moments."""
    name = "volumes"

    def __init__(self, t, image):
        self.t, self.image, self.place = t, image, image

    def path(self, label):
        return self.t.mount_on(self.t.point(), f"{self.image}@{label}")

    def done(self, path):
        self.t.umount(path)
        self.t.gone()

    def end(self):
        pass


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def read(path):
    with open(path) as f:
        return f.read()


def tree_digest(path):
    """Of names, types and contents below a directory."""
    found = []
    for base, dirs, files in os.walk(path):
        for name in dirs + files:
            full = os.path.join(base, name)
            kind = stat.S_IFMT(os.lstat(full).st_mode)
            found.append((os.path.relpath(full, path), kind,
                          digest(full) if kind == stat.S_IFREG else
                          os.readlink(full) if kind == stat.S_IFLNK else ""))
    return sorted(found)


def both(t, function, *args, size="1G"):
    """Run a test on a mounted filesystem, and on one that is not."""
    for kind in (Mounted, Volumes):
        image = t.volume(kind.name, "-L", "DATA", *args, size=size)
        on = kind(t, image)
        try:
            function(t, Tool(t), on)
        except Failure as e:
            raise Failure(f"{kind.name}: {e}")
        on.end()
        t.fsck(image)
        os.unlink(image)


# ---- PFSs ----

def test_pfs_create_list_delete(t):
    def run(t, h, on):
        equal(h.labels(on.place), ["DATA", "LOCAL"], "labels at first")
        equal(h("-s", on.place, "pfs-create", "home"), "hammer2: pfs_create(home): SUCCESS\n",
              "what pfs-create says")
        equal(h("-s", on.place, "pfs-create", "-q", "var"), "", "what it says with -q")
        equal(h.labels(on.place), ["DATA", "LOCAL", "home", "var"], "labels")
        path = on.path("home")
        write(path + "/file", "home")
        on.done(path)
        equal(h("-s", on.place, "pfs-delete", "var", "LOCAL"),
              "hammer2: pfs_delete(var): SUCCESS\nhammer2: pfs_delete(LOCAL): SUCCESS\n",
              "what pfs-delete says")
        equal(h.labels(on.place), ["DATA", "home"], "labels")
        path = on.path("home")
        equal(read(path + "/file"), "home", "contents")
        on.done(path)
        h("-s", on.place, "pfs-rename", "home", "house")
        path = on.path("house")
        equal(read(path + "/file"), "home", "contents after renaming")
        on.done(path)
    both(t, run)


def test_pfs_list_output(t):
    def run(t, h, on):
        lines = h("pfs-list", on.place).splitlines()
        equal(lines[0], f"Type        ClusterId (pfs_clid)                 Label on {on.place}",
              "header")
        uuid = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
        check(re.fullmatch(f"MASTER      {uuid} DATA", lines[1]), lines[1])
        h("-s", on.place, "pfs-create", "new", "-u", "11111111-2222-3333-4444-555555555555")
        equal(h("-s", on.place, "pfs-clid", "new"), "11111111-2222-3333-4444-555555555555\n",
              "pfs-clid")
        found = h.json("pfs-list", on.place)["pfs"]
        new = next(p for p in found if p["label"] == "new")
        equal(new["clid"], "11111111-2222-3333-4444-555555555555", "clid in JSON")
        equal(h("-s", on.place, "pfs-fsid", "new").strip(), new["fsid"], "pfs-fsid")
        h("snapshot", on.place, "snap")
        check("\nSNAPSHOT    " in h("pfs-list", on.place), "the type of a snapshot")
    both(t, run)


def test_pfs_errors(t):
    def run(t, h, on):
        for args, text in (
                (("pfs-create", "DATA"), "there is a PFS with that label"),
                (("pfs-create", "a@b"), "none of"),
                (("pfs-create", "x" * 256), "too long"),
                (("pfs-delete", "missing"), "there is no PFS with that label"),
                (("pfs-rename", "missing", "new"), "there is no PFS with that label"),
                (("pfs-rename", "LOCAL", "DATA"), "there is a PFS with that label"),
                (("rollback", "DATA", "missing"), "there is no PFS with that label"),
                (("pfs-fsid", "missing"), "there is no PFS with that label"),
                (("snapshot-delete", "DATA"), "is no snapshot")):
            said = h("-s", on.place, *args, expect=1)
            check(said.startswith("hammer2: ") and text in said, f"{args}: {said}")
        h("-s", on.place, "pfs-create", "new", "-t", "SLAVE", expect=2)
        h("-s", on.place, "pfs-create", "new", "-u", "nonsense", expect=2)
        h("-s", on.place, "pfs-create", expect=2)
        equal(h.labels(on.place), ["DATA", "LOCAL"], "labels afterwards")
        if on.name == "mounted":
            said = h("-s", on.place, "pfs-delete", "DATA", expect=1)
            check("it is mounted" in said, said)
        h("-s", on.place, "pfs-delete", "LOCAL")
    both(t, run)
    said = Tool(t)("-s", t.dir, "pfs-list", expect=2)
    check("is not in a mounted HAMMER2 filesystem" in said, said)


def test_dry_run(t):
    def run(t, h, on):
        h("snapshot", on.place, "snap")
        for args in (("pfs-create", "new"), ("pfs-delete", "LOCAL"), ("pfs-rename", "LOCAL", "new"),
                     ("rollback", "LOCAL", "snap"), ("snapshot-delete", "snap")):
            h("-s", on.place, *args, "--dry-run")
        h("snapshot", on.place, "other", "--dry-run")
        h("-s", on.place, "pfs-create", "DATA", "--dry-run", expect=1)
        equal(h.labels(on.place), ["DATA", "LOCAL", "snap"], "labels")
    both(t, run)


# ---- snapshots ----

def test_snapdir(t):
    h = Tool(t)
    image = t.volume("snapdir", "-L", "DATA", size="1G")
    point = t.mount_on(t.point(), image + "@DATA", "-o", "snapdir=.snapshots")
    hidden = point + "/.snapshots"
    equal(os.listdir(hidden), [], "without snapshots")
    os.makedirs(point + "/dir/sub")
    for i in range(3000):
        write(f"{point}/dir/file-{i}", f"one {i}")
    write(point + "/dir/sub/f", "one")
    os.link(point + "/dir/sub/f", point + "/link")
    raises(errno.ENOENT, "os.stat", os.stat, hidden + "/first")
    h("snapshot", point, "first")
    before = tree_digest(point)
    # At once, with the same contents, in all its parts.
    equal(os.listdir(hidden), ["first"], "names")
    equal(tree_digest(hidden + "/first"), before, "contents")
    check(".snapshots" not in os.listdir(point), "the directory is listed")
    write(point + "/dir/file-7", "two")
    os.unlink(point + "/dir/file-8")
    h("snapshot", point, "second")
    equal(sorted(os.listdir(hidden)), ["first", "second"], "names")
    equal(read(hidden + "/first/dir/file-7"), "one 7", "contents of the first")
    equal(read(hidden + "/second/dir/file-7"), "two", "contents of the second")
    raises(errno.ENOENT, "os.stat", os.stat, hidden + "/second/dir/file-8")
    equal(read(hidden + "/first/dir/file-8"), "one 8", "a file that was removed")
    # Numbers differ, hard links within are kept.
    numbers = {os.stat(p + "/link").st_ino for p in (point, hidden + "/first", hidden + "/second")}
    equal(len(numbers), 3, "inode numbers")
    equal(os.stat(hidden + "/first/link").st_ino, os.stat(hidden + "/first/dir/sub/f").st_ino,
          "hard links")
    equal(os.stat(hidden + "/first/dir/sub/..").st_ino, os.stat(hidden + "/first/dir").st_ino, "..")
    equal(os.stat(hidden + "/first/..").st_ino, os.stat(hidden).st_ino, ".. of a snapshot")
    equal(os.stat(hidden + "/..").st_ino, 1, ".. of the directory")
    # Nothing can be changed there.
    for function, *args in (
            (os.open, hidden + "/first/dir/file-7", os.O_WRONLY),
            (os.open, hidden + "/first/dir/file-7", os.O_RDONLY | os.O_TRUNC),
            (os.truncate, hidden + "/first/dir/file-7", 0),
            (os.chmod, hidden + "/first/dir/file-7", 0),
            (os.unlink, hidden + "/first/dir/file-7"),
            (os.mkdir, hidden + "/first/new"),
            (os.mkdir, hidden + "/new"),
            (os.rmdir, hidden + "/first"),
            (os.rename, hidden + "/first", hidden + "/other"),
            (os.rename, point + "/link", hidden + "/first/link"),
            (os.rename, hidden + "/first/link", point + "/new"),
            (os.symlink, "x", hidden + "/first/symlink")):
        raises(errno.EROFS, f"{function.__name__} {args}", function, *args)
    raises(errno.EXDEV, "os.link", os.link, hidden + "/first/link", point + "/new")
    raises(errno.EEXIST, "os.mkdir", os.mkdir, hidden)
    raises(errno.EBUSY, "os.rmdir", os.rmdir, hidden)
    raises(errno.EBUSY, "os.rename", os.rename, hidden, point + "/new")
    raises(errno.EBUSY, "os.rename", os.rename, point + "/dir", hidden)
    subprocess.run(["cp", "-a", hidden + "/first/dir", point + "/restored"], check=True)
    equal(read(point + "/restored/file-8"), "one 8", "a restored file")
    with open(hidden + "/first/dir/file-9", "rb") as a, open(point + "/copied", "wb") as b:
        os.copy_file_range(a.fileno(), b.fileno(), 100)
    equal(read(point + "/copied"), "one 9", "copy_file_range")
    # A snapshot that is changed through a mount of its own.
    other = t.mount_on(t.point(), image + "@first")
    with open(other + "/dir/file-7", "w") as f:
        f.write("changed")
        f.flush()
        os.fsync(f.fileno())
    equal(read(hidden + "/first/dir/file-7"), "changed", "contents after a change")
    t.umount(other)
    # Another one under the same label; open files of the old one, and where somebody stands.
    held = os.open(hidden + "/second/dir/file-7", os.O_RDONLY)
    here = os.getcwd()
    os.chdir(hidden + "/second/dir")
    h("-s", point, "snapshot-delete", "second")
    equal(os.listdir(hidden), ["first"], "names after removal")
    raises(errno.ENOENT, "os.stat", os.stat, hidden + "/second/dir")
    raises(errno.ESTALE, "os.listdir", os.listdir, ".")
    os.chdir(here)
    os.close(held)
    write(point + "/dir/file-7", "three")
    h("snapshot", point, "second")
    equal(read(hidden + "/second/dir/file-7"), "three", "contents of the new one")
    h("snapshot", hidden + "/first", "third")
    equal(read(hidden + "/third/dir/file-7"), "changed", "a snapshot of a snapshot")
    # What was written and is not synced yet is in a snapshot.
    with open(point + "/open", "wb", buffering=0) as f:
        f.write(b"x" * 100000)
        h("snapshot", point, "unsynced")
        equal(read(hidden + "/unsynced/open"), "x" * 100000, "what was not synced")
    h("-s", point, "snapshot-delete", "unsynced")
    # A PFS that is no snapshot is not there.
    h("-s", point, "pfs-create", "work")
    raises(errno.ENOENT, "os.stat", os.stat, hidden + "/work")
    shutil.rmtree(point + "/dir")
    os.mkdir(point + "/dir")
    write(point + "/dir/file-9", "alone")
    for i in range(300):
        h("snapshot", point, f"many-{i}", "-q")
    equal(len(os.listdir(hidden)), 303, "names of many")
    subprocess.run(f"find {hidden} -maxdepth 3 -path '*/dir/file-9' | wc -l | grep -qx 303", shell=True,
                   check=True)
    t.umount(point)
    t.gone()
    # For reading only.
    point = t.mount_on(t.point(), image + "@DATA", "-o", "ro,snapdir=.zfs")
    equal(read(point + "/.zfs/second/dir/file-7"), "three", "read-only")
    equal(len(os.listdir(point + "/.zfs")), 303, "names, read-only")
    raises(errno.EROFS, "os.open", os.open, point + "/.zfs/second/dir/file-7", os.O_WRONLY)
    t.umount(point)
    t.gone()
    # The root has such a name.
    t.refused(2, "the root directory has an entry", image + "@DATA", t.point(), "-o", "snapdir=dir")
    for bad in ("", "a/b", ".", ".."):
        t.refused(1, "is not valid", image + "@DATA", t.point(), "-o", f"snapdir={bad}")
    t.fsck(image)



def test_handles_of_snapshots(t):
    """A file handle into a snapshot leads there, and after mounting again nowhere: not into another."""
    libc = ctypes.CDLL(None, use_errno=True)

    class Handle(ctypes.Structure):
        _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_char * 128)]

    def opened(point, handle):
        root = os.open(point, os.O_RDONLY)
        try:
            fd = libc.open_by_handle_at(root, ctypes.byref(handle), os.O_RDONLY)
            err = ctypes.get_errno()
        finally:
            os.close(root)
        if fd < 0 and err == errno.EPERM:
            raise Skip("open_by_handle_at is not permitted here")
        if fd < 0:
            raise OSError(err, os.strerror(err))
        with os.fdopen(fd) as f:
            return f.read()

    h = Tool(t)
    image = t.volume("handles", "-L", "DATA", size="256M")
    point = t.mount_on(t.point(), image + "@DATA", "-o", "snapdir=.snapshots")
    for label in ("first", "second"):
        write(point + "/file", label)
        h("snapshot", point, label)
    handle, mount_id = Handle(bytes=128), ctypes.c_int()
    if libc.name_to_handle_at(-100, (point + "/.snapshots/first/file").encode(), ctypes.byref(handle),
                              ctypes.byref(mount_id), 0):
        raise Skip("name_to_handle_at: " + os.strerror(ctypes.get_errno()))
    equal(opened(point, handle), "first", "by its handle")
    t.umount(point)
    t.gone()
    t.mount_on(point, image + "@DATA", "-o", "snapdir=.snapshots")
    equal(read(point + "/.snapshots/second/file"), "second", "the other one, which comes first now")
    raises(errno.ESTALE, "a handle of the mount before", opened, point, handle)
    t.umount(point)
    t.fsck(image)


def test_rollback_of_a_mounted_pfs(t):
    h = Tool(t)
    image = t.volume("rollback", "-L", "DATA", size="1G")
    point = t.mount_on(t.point(), image + "@DATA", "-o", "snapdir=.snapshots")
    os.makedirs(point + "/dir/sub")
    for i in range(1000):
        write(f"{point}/dir/file-{i}", f"one {i}")
    write(point + "/stays", "stays")
    write(point + "/root", "one")
    before = tree_digest(point)
    numbers = os.stat(point + "/stays").st_ino, os.stat(point + "/dir/file-7").st_ino
    h("snapshot", point, "snap")
    # Everything that the kernel may remember is changed, and looked at.
    for i in range(1000):
        write(f"{point}/dir/file-{i}", f"two and more {i}")
    os.unlink(point + "/dir/file-3")
    os.rename(point + "/dir/sub", point + "/moved")
    os.rename(point + "/root", point + "/dir/root")
    write(point + "/new", "new")
    raises(errno.ENOENT, "what was renamed", os.stat, point + "/root")
    after = tree_digest(point)
    held = open(point + "/dir/file-7", "r+")
    held.write("cached, and not written")
    gone = open(point + "/new", "r+")
    os.unlink(point + "/new")
    here = os.getcwd()
    os.chdir(point + "/dir")
    said = h("-s", point, "rollback", "DATA", "snap")
    kept = re.search(r"its former state is snapshot (\S+)", said).group(1)
    equal(tree_digest(point), before, "all of it")
    equal((os.stat(point + "/stays").st_ino, os.stat(point + "/dir/file-7").st_ino), numbers,
          "inode numbers")
    raises(errno.ENOENT, "a name that came later", os.stat, point + "/moved")
    # What was open is no more.
    raises(errno.ESTALE, "a directory of before", os.listdir, ".")
    os.chdir(here)
    for f in (held, gone):
        raises(errno.ESTALE, "a file of before", os.fstat, f.fileno())
        try:
            f.close()
        except OSError as e:
            check(e.errno in (errno.ESTALE, errno.EIO), f"closing it: {e}")
    # It can be changed, and rolled back again.
    write(point + "/dir/file-7", "three")
    os.link(point + "/dir/file-7", point + "/link")
    os.rename(point + "/stays", point + "/dir/sub/stays")
    with open(point + "/open", "w+") as f:
        os.unlink(point + "/open")
        f.write("without a name")
        f.flush()
        os.fsync(f.fileno())
        equal(os.fstat(f.fileno()).st_nlink, 0, "links of a removed file")
        f.seek(0)
        equal(f.read(), "without a name", "its contents")
    equal(read(point + "/.snapshots/snap/dir/file-7"), "one 7", "the snapshot")
    equal(sorted(os.listdir(point + "/.snapshots")), sorted(["snap", kept]), "snapshots")
    check("three" not in str(tree_digest(point + "/.snapshots/" + kept)), "the former state")
    h("-s", point, "rollback", "--discard", "DATA", kept)
    equal(read(point + "/dir/file-8"), "two and more 8", "the former state")
    equal([e for e in tree_digest(point) if e[0] not in ("new", "dir/file-7")],
          [e for e in after if e[0] not in ("new", "dir/file-7")], "all of the former state")
    h("bulkfree", point)
    for _ in range(3):
        h("-s", point, "rollback", "--discard", "DATA", "snap")
        equal(tree_digest(point), before, "all of it once more")
        shutil.rmtree(point + "/dir")
    t.umount(point)
    t.gone()
    point = t.mount_on(t.point(), image + "@DATA", "-o", "ro")
    equal(os.listdir(point), ["stays", "root"] if os.listdir(point)[0] == "stays" else
          ["root", "stays"], "names after mounting again")
    t.umount(point)
    t.fsck(image)


def test_snapshot_of_a_directory(t):
    def run(t, h, on):
        path = on.path("DATA")
        os.makedirs(path + "/home/ann/docs")
        os.makedirs(path + "/home/bob")
        for name in ("home/ann/one", "home/ann/docs/two", "home/bob/his"):
            write(f"{path}/{name}", name)
        os.link(path + "/home/ann/one", path + "/home/ann/docs/linked")
        os.link(path + "/home/ann/docs/two", path + "/home/bob/linked")
        os.symlink("docs/two", path + "/home/ann/symlink")
        for i in range(2000):
            write(f"{path}/home/ann/docs/{i}", str(i))
        before = tree_digest(path + "/home/ann")
        on.done(path)

        def snapshot(*args, **how):
            if on.name == "mounted":
                return h("snapshot", on.place + "/home/ann", *args, **how)
            return h("snapshot", "-p", "home/ann", on.place + "@DATA", *args, **how)
        dir = on.place + "/home/ann" if on.name == "mounted" else "home/ann"
        equal(snapshot("ann", "-n"), f"would create snapshot ann of directory {dir}\n", "with -n")
        equal(h.labels(on.place), ["DATA", "LOCAL"], "labels")
        equal(snapshot("ann"), f"created snapshot ann of directory {dir}\n", "what it says")
        said = snapshot("ann", expect=1)
        check("there is a PFS with that label" in said, said)
        told = json.loads(snapshot("second", "--json"))
        equal((told["label"], told["directory"], told["done"]), ("second", dir, True), "JSON")
        path = on.path("DATA")
        write(path + "/home/ann/one", "changed")
        os.unlink(path + "/home/ann/docs/two")
        on.done(path)
        path = on.path("ann")
        equal(tree_digest(path), before, "contents")
        equal(os.stat(path).st_ino, 1, "the root's number")
        equal([os.stat(path + name).st_nlink for name in ("/one", "/docs/linked", "/docs/two")],
              [2, 2, 1], "link counts")
        equal(os.stat(path + "/one").st_ino, os.stat(path + "/docs/linked").st_ino, "hard links")
        write(path + "/one", "of its own")
        os.rename(path + "/docs", path + "/papers")
        equal(read(path + "/papers/linked"), "of its own", "the other link")
        on.done(path)
        path = on.path("DATA")
        equal(read(path + "/home/ann/one"), "changed", "the origin's")
        on.done(path)
        if on.name == "mounted":
            check(h("snapshot", on.place + "/home/bob").startswith("created snapshot bob.2"),
                  "a label of its own")
            check(h("snapshot", on.place + "/home/bob/his", "all") == "created snapshot all\n",
                  "of a file: its PFS")
        else:
            said = h("snapshot", "-p", "home/missing", on.place + "@DATA", "new", expect=1)
            check("is that of no directory" in said, said)
    both(t, run)



def test_snapshot_and_rollback(t):
    def run(t, h, on):
        path = on.path("DATA")
        write(path + "/file", "one")
        os.mkdir(path + "/dir", 0o711)
        os.chmod(path, 0o750)
        os.chown(path, 12, 34)
        on.done(path)
        equal(h("snapshot", on.place + ("@DATA" if on.name == "volumes" else ""), "snap"),
              "created snapshot snap\n", "what snapshot says")
        path = on.path("DATA")
        write(path + "/file", "two")
        write(path + "/new", "new")
        os.rmdir(path + "/dir")
        os.chmod(path, 0o700)
        on.done(path)
        path = on.path("snap")
        st = os.stat(path)
        equal((oct(st.st_mode), st.st_uid, st.st_gid), ("0o40750", 12, 34), "the snapshot's root")
        equal(sorted(os.listdir(path)), ["dir", "file"], "names in the snapshot")
        equal(read(path + "/file"), "one", "contents in the snapshot")
        write(path + "/file", "three")
        on.done(path)
        path = on.path("DATA")
        equal(read(path + "/file"), "two", "contents of the origin")
        on.done(path)
        # Another one that can be rolled back, since the first may be mounted.
        h("-s", on.place, "pfs-create", "work")
        said = h("-s", on.place, "rollback", "work", "snap")
        kept = re.fullmatch(r"rolled work back to snap; its former state is snapshot (work\.\S+)\n",
                            said)
        check(kept, said)
        path = on.path("work")
        equal(read(path + "/file"), "three", "contents after rollback")
        write(path + "/file", "four")
        on.done(path)
        equal(h("-s", on.place, "rollback", "--discard", "work", kept.group(1)),
              f"rolled work back to {kept.group(1)}\n", "what rollback --discard says")
        path = on.path("work")
        equal(os.listdir(path), [], "names after the second rollback")
        on.done(path)
        path = on.path("snap")
        equal(read(path + "/file"), "three", "contents of the snapshot afterwards")
        on.done(path)
        h("-s", on.place, "snapshot-delete", "snap", kept.group(1))
        equal(h.labels(on.place), ["DATA", "LOCAL", "work"], "labels at the end")
    both(t, run)


def test_diff(t):
    """What has changed, of what is mounted as of what is not; for users as for programs."""
    def run(t, h, on):
        path = on.path("DATA")
        os.makedirs(path + "/dir/sub")
        os.makedirs(path + "/gone/sub")
        for name in ("dir/file", "dir/sub/deep", "gone/sub/file", "changed", "mode", "old", "same",
                     "touched"):
            write(f"{path}/{name}", name)
        os.utime(path + "/touched", (1, 1))
        os.utime(path + "/mode", (1, 1))
        on.done(path)
        h("-s", on.place, "pfs-list", "-q")
        h("snapshot", on.place if on.name == "mounted" else on.place + "@DATA", "snap")
        equal(h("-s", on.place, "diff", "snap", "DATA"), "", "nothing")
        path = on.path("DATA")
        os.rename(path + "/dir", path + "/moved")
        shutil.rmtree(path + "/gone")
        os.mkdir(path + "/new")
        os.link(path + "/mode", path + "/new/link")
        os.rename(path + "/old", path + "/new/old")
        os.chmod(path + "/mode", 0o600)
        os.utime(path + "/touched", (1, 2))
        with open(path + "/same", "rb") as f:
            f.read()
        write(path + "/changed", "other")
        write(path + "/new/a\nb", "")
        on.done(path)
        # What was not yet committed counts.
        expected = ["M /", "M /changed", "R /dir -> /moved", "- /gone", "- /gone/sub",
                    "- /gone/sub/file", "M /mode", "+ /new", "+ /new/a\\nb", "+ /new/link",
                    "R /old -> /new/old", "M /touched"]
        equal(h("-s", on.place, "diff", "snap", "DATA").splitlines(), expected, "differences")
        found = h.json("-s", on.place, "diff", "snap", "DATA")
        equal([e["path"] for e in found["entries"]],
              ["/new/a\nb" if "\\n" in line else line[2:].split(" ->")[0] for line in expected], "JSON")
        equal([e["new_path"] for e in found["entries"] if e["change"] == "renamed"],
              ["/moved", "/new/old"], "new paths")
        equal(h("-s", on.place, "diff", "DATA", "snap").count("\nR "), 2, "renames, the other way")
        for labels in (("snap", "missing"), ("missing", "snap")):
            said = h("-s", on.place, "diff", *labels, expect=1)
            check("diff(missing): No such file or directory" in said, said)
        h("-s", on.place, "diff", "x" * 300, "DATA", expect=1)
    both(t, run)


def test_long_diff(t):
    """A result that is read in many parts; with a small cache, while others write."""
    h = Tool(t)
    image = t.volume("long", "-L", "DATA", size="1G")
    point = t.mount_on(t.point(), image + "@DATA", "-o", "cache=4096")
    h("snapshot", point, "snap")
    name = "n" * 200
    for i in range(20):
        os.mkdir(f"{point}/d{i}")
        for j in range(200):
            write(f"{point}/d{i}/{name}{j}", "text")
    h("snapshot", point, "later")
    stop = threading.Event()

    def change():
        while not stop.is_set():
            write(point + "/other", "x" * 100000)
            os.unlink(point + "/other")
    writer = threading.Thread(target=change)
    writer.start()
    try:
        lines = h("-s", point, "diff", "snap", "later").splitlines()
    finally:
        stop.set()
        writer.join()
    expected = ["M /"] + [f"+ /d{i}" for i in range(20)] + [f"+ /d{i}/{name}{j}" for i in range(20)
                                                          for j in range(200)]
    equal(sorted(lines), sorted(expected), "all names")
    t.umount(point)
    t.fsck(image)


def test_default_label(t):
    def run(t, h, on):
        said = h("snapshot", on.place) + h("snapshot", on.place)
        labels = re.findall(r"created snapshot (DATA\.\d{8}\.\d{6}\S*)\n", said)
        equal(len(set(labels)), 2, f"labels in {said}")
        equal(sorted(h.labels(on.place)), sorted(["DATA", "LOCAL", *labels]), "labels")
    both(t, run)


def test_snapshot_is_durable(t):
    h = Tool(t)
    image = t.volume("durable", "-L", "DATA", size="1G")
    point = t.mount_on(t.point(), image + "@DATA", "-o", "commit=3600")
    write(point + "/file", "kept")
    h("snapshot", point, "snap")
    write(point + "/file", "lost")
    os.kill(t.server(), signal.SIGKILL)
    subprocess.run(["umount", "-l", point], check=True)
    t.fsck(image)
    point = t.mount_on(t.point(), image + "@snap")
    equal(read(point + "/file"), "kept", "contents of the snapshot after a crash")
    t.umount(point)
    t.fsck(image)


def test_snapshots_under_load(t):
    """Each shows one moment: two files that change one after the other never differ by more."""
    h = Tool(t)
    image = t.volume("load", "-L", "DATA", size="2G")
    point = t.mount_on(t.point(), image + "@DATA")
    stop = threading.Event()

    def change():
        number = 0
        while not stop.is_set():
            number += 1
            for name in ("a", "b"):
                write(f"{point}/{name}.new", str(number))
                os.rename(f"{point}/{name}.new", f"{point}/{name}")
            write(f"{point}/data{number % 50}", "x" * 200000)
    thread = threading.Thread(target=change)
    thread.start()
    time.sleep(0.3)
    for i in range(12):
        h("snapshot", point, f"snap{i}")
    stop.set()
    thread.join()
    for i in range(12):
        snap = t.mount_on(t.point(), f"{image}@snap{i}")
        a, b = int(read(snap + "/a") or 0), int(read(snap + "/b") or 0)
        check(a - 1 <= b <= a, f"snapshot {i} has a = {a}, b = {b}")
        t.umount(snap)
    t.umount(point)
    t.fsck(image)


# ---- settings ----

def test_setcomp_and_setcheck(t):
    h = Tool(t)
    image = t.volume("settings", "-L", "DATA", size="1G")
    point = t.mount_on(t.point(), image + "@DATA")
    os.makedirs(point + "/dir/below")
    write(point + "/dir/file", "text")
    os.symlink("nowhere", point + "/dir/link")
    equal(h("setcomp", "zlib:9", point + "/dir/file"), f"{point}/dir/file\tcomp_algo=0x93\n",
          "what setcomp says")
    said = h("setcheck", "-r", "sha192", point + "/dir").splitlines()
    equal(sorted(said), sorted(f"{point}/dir{p}\tcheck_algo=0x04" for p in ("", "/file", "/below")),
          "what setcheck -r says")
    h("setcrc32", point + "/dir/below")
    h("clrcheck", point)
    write(point + "/dir/inherits", "text")
    for args in (("setcomp", "lzma", point), ("setcomp", "lz4:3", point), ("setcheck", "md5", point),
                 ("setcomp", "lz4", point + "/missing"), ("setcomp", "lz4", t.dir)):
        h(*args, expect=3)
    rows = {r["path"]: (r["comp"], r["check"]) for r in
            h.json("stat", point, point + "/dir", point + "/dir/file", point + "/dir/below",
                   point + "/dir/inherits")}
    equal(rows[point + "/dir/file"], ("zlib:9", "sha192"), "of the file")
    equal(rows[point + "/dir/below"][1], "crc32", "of the directory below")
    equal(rows[point][1], "none", "of the root")
    equal(rows[point + "/dir/inherits"][1], "sha192", "of a new file")
    check(h("stat", point).startswith("PATH ncp  data-use inode-use comp"), "header of stat")
    t.umount(point)
    t.fsck(image)
    equal(t.settings(image, "/dir/file"), ("zlib:9", "sha192"), "on the media")
    h("-s", image, "setcomp", "-r", "none", "/dir")
    equal(t.settings(image, "/dir/file"), ("none:default", "sha192"),
          "after setcomp on the volume")
    h("-s", image, "setcomp", "none", "/missing", expect=3)
    t.fsck(image)


# ---- space ----

def free_bytes(path):
    st = os.statvfs(path)
    return st.f_bfree * st.f_frsize


def fill(path, megabytes):
    with open(path, "wb") as f:
        for _ in range(megabytes):
            f.write(os.urandom(1 << 20))


def test_bulkfree_and_cleanup(t):
    def run(t, h, on):
        path = on.path("DATA")
        fill(path + "/big", 100)
        on.done(path)
        h("snapshot", on.place, "snap")
        path = on.path("DATA")
        os.unlink(path + "/big")
        on.done(path)
        before = h.json("bulkfree", on.place)
        check(before["used_bytes"] > 100 << 20, f"in use with the snapshot: {before}")
        h("-s", on.place, "snapshot-delete", "snap")
        after = h.json("bulkfree", on.place)
        # What was seen to be lost may have come back by itself in a mounted filesystem.
        check(after["used_bytes"] < 1 << 20, f"in use without it: {after}")
        if on.name == "volumes":
            check(after["freed_bytes"] >= 100 << 20, f"freed: {after}")
        check("freed" in h("bulkfree", on.place), "what bulkfree says")
        check(f'hammer2 cleanup "{on.place}"' in h("cleanup", on.place), "what cleanup says")
        path = on.path("DATA")
        check(free_bytes(path) > 800 << 20, "free afterwards")
        on.done(path)
    both(t, run)


def test_usage(t):
    """What deleting a snapshot would give back is what it gives back."""
    def run(t, h, on):
        path = on.path("DATA")
        fill(path + "/big", 50)
        fill(path + "/stays", 10)
        write(path + "/text", "the same words again and again\n" * 70000)
        on.done(path)
        h("snapshot", on.place, "snap")
        path = on.path("DATA")
        os.unlink(path + "/big")
        on.done(path)
        h("bulkfree", on.place)
        before = h.json("info", "--usage", on.place)["usage"]
        pfs = {p["label"]: p for p in before["pfs"]}
        equal([p["label"] for p in before["pfs"]], ["DATA", "LOCAL", "snap"], "labels")
        equal(before["used_bytes"], before["shared_bytes"] + before["overhead_bytes"] +
              sum(p["exclusive_bytes"] for p in before["pfs"]), "the sum")
        check(50 << 20 <= pfs["snap"]["exclusive_bytes"] < 51 << 20, f"the snapshot: {pfs}")
        check(pfs["DATA"]["exclusive_bytes"] < 1 << 20, f"its origin: {pfs}")
        check(before["shared_bytes"] >= 10 << 20, f"shared: {before}")
        check(before["data_logical_bytes"] > before["data_referenced_bytes"], f"ratio: {before}")
        told = h("info", "--usage", on.place)
        check(re.search(r"^ +60\.\dM +50\.\dM +3  SNAPSHOT +snap$", told, re.M), told)
        check(re.search(r"^compression +1\.\d\dx", told, re.M), told)
        h("-s", on.place, "snapshot-delete", "snap")
        h("bulkfree", on.place)
        after = h.json("info", "--usage", on.place)["usage"]
        # The super-root's own blocks are others after each commit.
        gone = before["used_bytes"] - after["used_bytes"]
        check(abs(gone - pfs["snap"]["exclusive_bytes"]) <= 4 << 14, f"{gone}: {before} {after}")
        equal([p["label"] for p in after["pfs"]], ["DATA", "LOCAL"], "labels afterwards")
    both(t, run)


def test_usage_of_many_pfs(t):
    """More than fit into one answer."""
    h = Tool(t)
    image = t.volume("pfss", "-L", "DATA", size="1G")
    point = t.mount_on(t.point(), image + "@DATA")
    for i in range(100):
        h("snapshot", point, f"snap-{i:02}")
    found = h.json("info", "--usage", point)["usage"]
    equal([p["label"] for p in found["pfs"]],
          ["DATA", "LOCAL"] + [f"snap-{i:02}" for i in range(100)], "labels")
    t.umount(point)
    t.gone()
    equal(h.json("info", "--usage", image)["usage"], found, "the same from the volume")
    # A mount for reading tells it, too.
    point = t.mount_on(t.point(), image + "@DATA", "-o", "ro")
    equal(h.json("info", "--usage", point)["usage"], found, "the same from a mount for reading")
    t.umount(point)
    t.fsck(image)


def test_removed_space_comes_back_by_itself(t):
    image = t.volume("returns", "-L", "DATA", size="2G")
    for again in (False, True):
        point = t.mount_on(t.point(), image + "@DATA")
        if not again:
            before = free_bytes(point)
            fill(point + "/big", 300)
            os.sync()
            fill(point + "/stays", 1)
            t.umount(point)
            t.gone()
            continue
        # The file is from an earlier mount: only a scan can tell that it is free.
        os.unlink(point + "/big")
        wait_for(lambda: free_bytes(point) > before - (10 << 20), "space of a removed file")
        t.umount(point)
    t.fsck(image)


def test_growing(t):
    def run(t, h, on):
        path = on.path("DATA")
        fill(path + "/file", 5)
        sum_before = digest(path + "/file")
        on.done(path)
        check("no size change" in h("growfs", on.place), "growing to what it is")
        equal(h("growfs", "--size", "3G", on.place), f"{on.place} grown to 00000000c0000000\n",
              "what growfs says")
        equal(os.path.getsize(on.image), 3 << 30, "size of the image")
        os.truncate(on.image, (4 << 30) + 12345)
        equal(h.json("growfs", on.place), {"filesystem": on.place, "size": 4 << 30,
                                           "modified": True}, "growing to the device's size")
        h("growfs", "--size", "1G", on.place, expect=1)
        path = on.path("DATA")
        check(free_bytes(path) > 3900 << 20, "free afterwards")
        equal(digest(path + "/file"), sum_before, "contents")
        on.done(path)
        check("4.0G" in h("volume-list", on.place), h("volume-list", on.place))
    both(t, run)


def test_growing_a_block_device(t):
    h = Tool(t)
    image = t.volume("device", "-L", "DATA", size="1G")
    loop = subprocess.run(["losetup", "-f", "--show", image], capture_output=True, text=True)
    if loop.returncode:
        raise Skip("no loop devices")
    device = loop.stdout.strip()
    try:
        point = t.mount_on(t.point(), device + "@DATA")
        write(point + "/file", "text")
        said = h("growfs", "--size", "2G", point, expect=1)
        check("not beyond its device" in said, said)
        os.truncate(image, 2 << 30)
        subprocess.run(["losetup", "-c", device], check=True)
        h("growfs", point)
        check(free_bytes(point) > 1900 << 20, "free afterwards")
        t.umount(point)
        t.gone()
    finally:
        subprocess.run(["losetup", "-d", device])
    t.fsck(image)


def test_volumes_and_info(t):
    h = Tool(t)
    paths = [os.path.join(t.dir, f"set{i}.new") for i in range(3)]
    subprocess.run([os.path.join(t.bin, "mkfs.hammer2"), "-q", "-L", "DATA", "-s", "1G:1G:64M",
                    *paths], check=True, timeout=60)
    # In any order of the devices.
    point = t.mount_on(t.point(), ":".join(reversed(paths)) + "@DATA")
    found = h.json("volume-list", point)
    equal([(v["volu_id"], v["offset"], v["size"]) for v in found["volumes"]],
          [(0, 0, 1 << 30), (1, 1 << 30, 1 << 30), (2, 2 << 30, 64 << 20)], "volumes")
    check("@DATA\n" in h("volume-list", point), "label of volume-list")
    equal(len(h("volume-list", "-q", point).split()), 3, "paths of volume-list -q")
    info = h.json("info", point)
    check(info["writable"] and info["allocator_free"] > 1 << 30, info)
    check("mounted on" in h("info", cwd=point), "info in the current directory")
    h("growfs", point, expect=1)
    t.umount(point)
    t.fsck(paths[0] + ":" + paths[1] + ":" + paths[2])
    for path in paths:
        os.unlink(path)


def test_probe(t):
    h = Tool(t)
    image = t.volume("probe", "-L", "My Disk", size="1G")
    found = dict(line.split("=", 1) for line in h("probe", "--export", image).splitlines())
    equal(found["ID_FS_TYPE"], "hammer2", "type")
    equal(found["ID_FS_UUID"], h.json("info", image)["fsid"], "UUID")
    equal((found["ID_FS_LABEL"], found["ID_FS_LABEL_ENC"]), ("My_Disk", "My\\x20Disk"), "label")
    # Two PFSs: neither is the name of the volume. Snapshots do not count.
    h("snapshot", image + "@My Disk", "snap")
    check("ID_FS_LABEL=My_Disk" in h("probe", "--export", image), "label with a snapshot")
    h("-s", image, "pfs-create", "other")
    check("ID_FS_LABEL" not in h("probe", "--export", image), "no label with two PFSs")
    paths = [os.path.join(t.dir, f"probe{i}.new") for i in range(2)]
    subprocess.run([os.path.join(t.bin, "mkfs.hammer2"), "-q", "-s", "1G:1G", *paths], check=True,
                   timeout=60)
    for i, path in enumerate(paths):
        said = h("probe", "--export", path)
        check(f"HAMMER2_VOLUME={i}\nHAMMER2_VOLUMES=2\n" in said, said)
    with open(paths[0], "r+b") as f:
        f.write(bytes(1 << 16))
    equal(h("probe", "-q", paths[0], expect=1), "", "probe -q of what is none")
    h("probe", os.path.join(t.dir, "missing"), expect=1)


# ---- ioctls ----

def pfs_request(number, path, key=0, name=b"", pfs_type=6):
    buf = bytearray(PFS)
    struct.pack_into("<QQB", buf, 0, key, 0, pfs_type)
    buf[64:64 + len(name)] = name
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, ioc(PFS, number), buf)
    finally:
        os.close(fd)
    return buf


def test_ioctls(t):
    image = t.volume("ioctls", "-L", "DATA", size="1G")
    point = t.mount_on(t.point(), image + "@DATA")
    write(point + "/file", "text")
    # BS 13.4: VERSION_GET works on directories and files.
    for path in (point, point + "/file"):
        buf = bytearray(256)
        fd = os.open(path, os.O_RDONLY)
        fcntl.ioctl(fd, ioc(256, 64), buf)
        os.close(fd)
        equal(struct.unpack_from("<I", buf)[0], 2, "version")
    # BS 13.3: the PFSs by key, and this one.
    keys, names, key = [], [], 0
    while key != END:
        buf = pfs_request(80, point, key)
        keys.append(struct.unpack_from("<Q", buf)[0])
        names.append(bytes(buf[64:]).split(b"\0")[0])
        key = struct.unpack_from("<Q", buf, 8)[0]
    equal((sorted(keys), sorted(names)), (keys, [b"DATA", b"LOCAL"]), "PFSs by PFS_GET")
    this = pfs_request(80, point, END)
    equal(bytes(this[64:68]), b"DATA", "PFS_GET of this PFS")
    raises(errno.ENOENT, "PFS_GET behind the last", pfs_request, 80, point, max(keys) + 1)
    raises(errno.ENOENT, "PFS_LOOKUP", pfs_request, 83, point, 0, b"missing")
    equal(pfs_request(83, point, 0, b"LOCAL")[16], 6, "type by PFS_LOOKUP")
    raises(errno.EOPNOTSUPP, "PFS_CREATE of a slave", pfs_request, 81, point, 0, b"new", 3)
    raises(errno.EEXIST, "PFS_CREATE", pfs_request, 81, point, 0, b"LOCAL")
    raises(errno.EEXIST, "PFS_SNAPSHOT", pfs_request, 84, point, 0, b"LOCAL")
    raises(errno.EINVAL, "PFS_CREATE without a name", pfs_request, 81, point)
    raises(errno.EINVAL, "PFS_CREATE of an endless name", pfs_request, 81, point, 0, b"x" * 256)
    raises(errno.EBUSY, "PFS_DELETE", pfs_request, 82, point, 0, b"DATA")
    pfs_request(84, point + "/file", 0, b"snap")
    equal(pfs_request(83, point, 0, b"snap")[17], 1, "subtype of a snapshot")
    fd = os.open(point, os.O_RDONLY)
    for number, size in ((65, 256), (93, 64), (97, 272), (68, 304)):
        raises(errno.EOPNOTSUPP, f"ioctl {number}", fcntl.ioctl, fd, ioc(size, number),
               bytearray(size))
    raises(errno.ENOTTY, "an unknown ioctl", fcntl.ioctl, fd, ioc(8, 1, 0x77), bytearray(8))
    for number, size in ((91, 4), (95, 4), (240, 128)):
        fcntl.ioctl(fd, ioc(size, number), bytearray(size))
    buf = bytearray(5896)
    struct.pack_into("<i", buf, 5632, 64)
    fcntl.ioctl(fd, ioc(5896, 197), buf)
    equal(struct.unpack_from("<ii", buf, 5632), (1, 2), "VOLUME_LIST2")
    equal(struct.unpack_from("<iiQQ", buf, 64)[2:], (0, 1 << 30), "the volume")
    inode = bytearray(1056)
    fcntl.ioctl(fd, ioc(1056, 86), inode)
    equal(struct.unpack_from("<Q", inode, 32 + 0x58)[0], 1, "number of the root, INODE_GET")
    struct.pack_into("<I", inode, 0, 2 | 1)
    struct.pack_into("<Q", inode, 32 + 0xb0, 500 << 20)
    struct.pack_into("<Q", inode, 32 + 0xc0, 1000)
    fcntl.ioctl(fd, ioc(1056, 87), inode)
    check(free_bytes(point) <= 500 << 20, "a quota shows in statfs")
    struct.pack_into("<Q", inode, 32 + 0xb0, 8 << 20)
    fcntl.ioctl(fd, ioc(1056, 87), inode)
    with open(point + "/too-much", "wb", buffering=0) as f:
        f.write(os.urandom(16 << 20))
        raises(errno.EDQUOT, "fsync of more than the quota allows", os.fsync, f.fileno())
    os.close(fd)
    t.umount(point)
    t.fsck(image)


def test_read_only(t):
    h = Tool(t)
    image = t.volume("ro", "-L", "DATA", size="1G")
    point = t.mount(image + "@DATA")
    for args in (("pfs-create", "new"), ("pfs-delete", "LOCAL"), ("pfs-rename", "LOCAL", "x")):
        check("reading only" in h("-s", point, *args, expect=1), args)
    h("snapshot", point, "new", expect=1)
    h("growfs", point, expect=1)
    h("bulkfree", point, expect=1)
    h("setcomp", "lz4", point, expect=3)
    equal(h.labels(point), ["DATA", "LOCAL"], "labels")
    check("for reading" in h("info", point), "info")
    t.umount(point)
    t.fsck(image)


def test_rights(t):
    """BS 13.1: who is not root may only ask; the owner of a file may say how it is stored."""
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise Skip("no user nobody")
    image = t.volume("rights", "-L", "DATA", size="1G")
    point = t.mount_on(t.point(), image + "@DATA")
    os.chmod(point, 0o777)
    write(point + "/own", "text")
    os.chown(point + "/own", nobody.pw_uid, nobody.pw_gid)
    write(point + "/other", "text")
    h = Tool(t)

    def user(*args, expect=0):
        return h(*args, expect=expect, user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[])
    shutil.copy(h.program, os.path.join(t.dir, "hammer2"))
    os.chmod(os.path.join(t.dir, "hammer2"), 0o755)
    h.program = os.path.join(t.dir, "hammer2")
    check("not permitted" in user("-s", point, "pfs-create", "new", expect=1), "pfs-create")
    for args in (("pfs-delete", "LOCAL"), ("pfs-rename", "LOCAL", "new"), ("pfs-clid", "LOCAL")):
        user("-s", point, *args, expect=1)
    user("snapshot", point, "snap", expect=1)
    user("growfs", point, expect=1)
    check("this needs root" in user("-s", point, "diff", "LOCAL", "DATA", expect=1), "diff")
    user("setcomp", "none", point + "/other", expect=3)
    user("setcomp", "none", point + "/own")
    user("stat", point)
    user("bulkfree", point)
    check("not permitted" in user("info", "--usage", point, expect=1), "info --usage")
    h.program = os.path.join(t.bin, "hammer2")
    equal(h.labels(point), ["DATA", "LOCAL"], "labels")
    t.umount(point)
    t.fsck(image)


# ---- which filesystem ----

def table(h, *args, **how):
    """The places that pfs-list lists, with their labels."""
    places = {}
    for line in h("pfs-list", *args, **how).splitlines():
        if line.startswith("Type "):
            place = line.split(" Label on ", 1)[1]
            places[place] = []
        else:
            places[place].append(line.split()[-1])
    return places


def test_mounts_are_found(t):
    """Without an argument: each mounted filesystem once, however it was named."""
    h = Tool(t)
    one, two = t.volume("one", "-L", "DATA", size="256M"), t.volume("two", "-L", "DATA", size="256M")
    link = os.path.join(t.dir, "a link")
    os.symlink(one, link)
    point = t.mount_on(t.point(), one + "@DATA")
    h("-s", point, "pfs-create", "home")
    t.mount_on(t.point(), link + "@home")
    other = os.path.join(t.dir, "a b\\c")
    os.mkdir(other)
    t.mount_on(other, two + "@DATA")
    shown = other.replace("\\", "\\\\")
    equal(len(t.servers()), 2, "servers")
    found = {k: v for k, v in table(h).items() if k.startswith(t.dir)}
    equal(found, {point: ["DATA", "LOCAL", "home"], shown: ["DATA", "LOCAL"]}, "pfs-list")
    listed = [m["filesystem"] for m in h.json("pfs-list") if m["filesystem"].startswith(t.dir)]
    equal(listed, [point, other], "in JSON")
    said = h("cleanup")
    equal(said.count("hammer2 cleanup \"" + t.dir), 2, f"filesystems in {said}")
    equal(h("volume-list", "-q").split("\n").count(one), 1, "volume-list")
    # A copy is a filesystem of its own, whatever ids it has.
    copy = os.path.join(t.dir, "copy.new")
    t.umount(other)
    wait_for(lambda: len(t.servers()) == 1, "the end of the server", 90)
    subprocess.run(["cp", "--sparse=always", two, copy], check=True)
    third = t.point()
    for path, image in ((other, two), (third, copy)):
        t.mount_on(path, image + "@DATA")
    check({shown, third} <= set(table(h)), f"a copy: {table(h)}")
    said = h("pfs-delete", "LOCAL", expect=1)
    check("option -s names the one" in said and t.dir in said, said)
    equal(table(h)[point], ["DATA", "LOCAL", "home"], "nothing was deleted")
    said = h("pfs-delete", "home", expect=1)
    check("it is mounted on " + t.dir in said, said)
    h("-s", third, "pfs-create", "only here")
    equal(h("pfs-delete", "only here"), "hammer2: pfs_delete(only here): SUCCESS\n", "deleting")
    # What something else hides is not shown.
    if subprocess.run(["mount", "-t", "tmpfs", "none", third], check=False).returncode == 0:
        check(third not in table(h), "a hidden mount is listed")
        t.umount(third)
    for path in (third, other):
        t.umount(path)
    os.unlink(copy)


def test_busy(t):
    """Who is told that something is mounted is told where."""
    h = Tool(t)
    image = t.volume("busy", "-L", "DATA", size="256M")
    point = t.mount_on(t.point(), image + "@DATA")
    h("-s", point, "pfs-create", "home")
    h("snapshot", point, "snap")
    home = t.mount_on(t.point(), image + "@home")
    for args in (("pfs-delete", "home"), ("pfs-rename", "home", "x")):
        said = h("-s", point, *args, expect=1)
        check(f"({args[1]}): it is mounted on {home}; unmount it first" in said, said)
    for args in (("-s", image, "pfs-create", "x"), ("snapshot", image + "@DATA"), ("bulkfree", image),
                 ("pfs-list", image)):
        said = h(*args, expect=1)
        check(f"is mounted on {point}; name that directory" in said, said)
    t.umount(home)
    h("-s", point, "pfs-rename", "home", "x")
    t.umount(point)
    t.fsck(image)


def test_image_in_a_mount(t):
    """A file in a mounted filesystem that is a volume stands for that volume; others for the mount."""
    h = Tool(t)
    outer = t.volume("outer", "-L", "OUTER", size="1G")
    point = t.mount_on(t.point(), outer + "@OUTER")
    inner = point + "/inner.img"
    subprocess.run([os.path.join(t.bin, "mkfs.hammer2"), "-q", "-L", "INNER", "-s", "64M", inner],
                   check=True, timeout=60)
    write(point + "/file", "text")
    check("INNER" in h("pfs-list", "-q", inner), "pfs-list of an image")
    h("-s", inner, "pfs-create", "new")
    check("new" in h.labels(inner) and "new" not in h.labels(point), "pfs-create in an image")
    equal(h("info", inner).splitlines()[0][:4], "fsid", "info of an image")
    check("OUTER" in h("pfs-list", "-q", point + "/file"), "pfs-list of a file")
    h("setcomp", "none", inner)
    equal(h.json("stat", point)[0]["comp"], "lz4:default", "of the directory")
    t.umount(point)
    t.fsck(outer)


# ---- the rest ----

def test_stat_and_printinode(t):
    """What a mount tells of an inode is what the volume has."""
    h = Tool(t)
    image = t.volume("inode", "-L", "DATA", size="256M")
    point = t.mount_on(t.point(), image + "@DATA")
    os.mkdir(point + "/dir", 0o750)
    write(point + "/dir/file", "x" * 5000)
    os.chown(point + "/dir/file", 12, 34)
    st = os.stat(point + "/dir/file")
    os.symlink("file", point + "/dir/link")
    os.mkfifo(point + "/fifo")
    found = h.json("printinode", point + "/dir/file", point + "/dir/link")
    inode = found[0]["inode"]
    equal((inode["inum"], inode["uid"], inode["gid"], inode["size"], int(inode["mode"], 8) & 0o7777,
           inode["nlinks"], inode["mtime_us"]),
          (st.st_ino, 12, 34, 5000, stat.S_IMODE(st.st_mode), 1, st.st_mtime_ns // 1000), "the inode")
    equal(found[1]["inode"], inode, "through a symlink")
    root = h.json("printinode", cwd=point)[0]["inode"]
    equal((root["inum"], root["pfs_type"], root["pfs_clid"]),
          (1, "MASTER", h("-s", point, "pfs-clid", "DATA").strip()), "the root")
    check(" inum     0x" in h("stat", "-v", point + "/dir"), "stat -v")
    said = h("stat", point, point + "/fifo", point + "/missing", expect=1)
    check("fifo: Inappropriate ioctl" in said and "missing: No such file" in said, said)
    t.umount(point)
    t.gone()
    equal(h.json("printinode", image, "/dir/file")[0]["inode"], inode, "on the volume")
    t.fsck(image)


def test_other_requests(t):
    h = Tool(t)
    image = t.volume("requests", "-L", "DATA", size="256M")
    point = t.mount_on(t.point(), image + "@DATA")
    write(point + "/file", "text")
    for state in ("enable", "disable"):
        said = h(f"emergency-mode-{state}", point)
        check(said.startswith(f'Emergency mode on "{point}" {state}d') and "does nothing" in said, said)
    equal(h("cidprune", point) + h("dumpchain", point + "/file") + h("dumpchain", point, "0x10"), "",
          "what cidprune and dumpchain say")
    equal(read(point + "/file"), "text", "the file")
    for verb in ("cidprune", "dumpchain"):
        said = h(verb, t.dir, expect=2)
        check("is not in a mounted HAMMER2 filesystem" in said, said)
    info = h("info", point)
    check("PFSs         DATA (MASTER)" in info and "LOCAL (MASTER)" in info, info)
    equal([p["label"] for p in h.json("info", point)["pfs"]], ["DATA", "LOCAL"], "PFSs in JSON")
    item = h.json("snapshot", point, "snap")
    equal((item["origin"], item["label"], item["done"]), ("DATA", "snap", True), "snapshot in JSON")
    t.umount(point)
    t.fsck(image)


def test_discard(t):
    """What is removed leaves holes in the image; without the option it does not."""
    size = 96 << 20
    for option, frees in (("discard", True), ("nodiscard", False)):
        image = t.volume(option, "-L", "DATA", size="1G")
        point = t.mount_on(t.point(), image + "@DATA", "-o", f"{option},commit=1")
        write(point + "/stays", "stays")
        with open(point + "/big", "wb") as f:
            f.write(os.urandom(size))
            os.fsync(f.fileno())
        used = os.stat(image).st_blocks * 512
        check(used >= size, f"the image has {used} bytes")
        os.unlink(point + "/big")

        def freed():
            write(point + "/changes", str(time.monotonic()))
            return os.stat(image).st_blocks * 512 < used - size // 10 * 9
        if frees:
            wait_for(freed, "holes in the image", 20)
        else:
            time.sleep(7)
            check(not freed(), "holes without the option")
        other = t.point()
        done = t.run(image + "@LOCAL", other, "-o", "discard")
        equal(done.returncode, 0, "mounting another PFS")
        equal("option discard is ignored" in done.stderr, not frees, done.stderr)
        t.umount(other)
        equal(read(point + "/stays"), "stays", "another file")
        t.umount(point)
        t.fsck(image)


def test_destroy(t):
    """Inodes that are overwritten on the volume, in all their copies: names and numbers of them go."""
    h = Tool(t)
    image = t.volume("destroy", "-L", "DATA", size="256M")
    point = t.mount_on(t.point(), image + "@DATA")
    os.mkdir(point + "/dir")
    for name in ("lost", "name", "fine"):
        write(f"{point}/dir/{name}", f"contents of the file: {name}")
    os.mkdir(point + "/dir/sub")
    inum = {name: os.stat(f"{point}/dir/{name}").st_ino for name in ("lost", "name", "fine", "sub")}
    for args, text in ((("destroy", point + "/dir/fine"), "it is not lost"),
                       (("destroy", point + "/dir"), "it is not lost"),
                       (("destroy", point + "/dir/missing"), "No such file"),
                       (("-s", point, "destroy-inum", str(inum["fine"])), "it is not lost"),
                       (("-s", point, "destroy-inum", str(inum["sub"])), "it is not lost"),
                       (("-s", point, "destroy-inum", "1"), "not permitted"),
                       (("-s", point, "destroy-inum", "99999"), "No such file")):
        said = h(*args, expect=1)
        check(text in said, said)
    t.umount(point)
    t.gone()
    with open(image, "r+b") as f:
        data = f.read()
        for name in ("lost", "name"):
            at = data.find(f"contents of the file: {name}".encode())
            check(at > 0, "the inode is not on the volume")
            while at > 0:
                f.seek(at)
                f.write(b"damage")
                at = data.find(f"contents of the file: {name}".encode(), at + 1)
    point = t.mount_on(t.point(), image + "@DATA")
    raises(errno.EIO, "a damaged file", os.stat, point + "/dir/lost")
    raises(errno.EIO, "removing it", os.unlink, point + "/dir/lost")
    check("may hide what is in use" in h("bulkfree", point, expect=1), "bulkfree beside damage")
    # The name, then the number; and the other way round.
    equal(h("destroy", point + "/dir/lost"), point + "/dir/lost\tok\n", "what destroy says")
    for name in ("lost", "name"):
        equal(h("-s", point, "destroy-inum", str(inum[name])),
              f"deleting inodes on {point}\n{inum[name]} ok\n", "what destroy-inum says")
        said = h("-s", point, "destroy-inum", str(inum[name]), expect=1)
        check("No such file" in said, said)
    raises(errno.EIO, "a name without an inode", os.stat, point + "/dir/name")
    h("destroy", "-q", point + "/dir/name")
    equal(sorted(os.listdir(point + "/dir")), ["fine", "sub"], "names that are left")
    equal(read(point + "/dir/fine"), "contents of the file: fine", "the other file")
    h("bulkfree", point)
    t.umount(point)
    t.fsck(image)


def test_settings_of_links(t):
    """Paths are followed where they are named, and not where they are found."""
    h = Tool(t)
    image = t.volume("links", "-L", "DATA", size="256M")
    point = t.mount_on(t.point(), image + "@DATA")
    os.makedirs(point + "/real/below")
    write(point + "/outside", "x")
    os.symlink("../outside", point + "/real/out")
    os.symlink("real", point + "/link")
    h("setcomp", "zlib:3", point + "/link")
    equal(h.json("stat", point + "/real")[0]["comp"], "zlib:3", "of a named symlink's target")
    h("-s", point, "setcheck", "-r", "crc32", point + "/link")
    equal([r["check"] for r in h.json("stat", point + "/real", point + "/real/below",
                                      point + "/outside")], ["crc32", "crc32", "xxhash64"], "-r")
    t.umount(point)
    t.fsck(image)


def test_mountall(t):
    h = Tool(t)
    images = [t.volume(f"fstab{i}", "-L", "DATA", size="64M") for i in range(3)]
    points = [t.point() for _ in range(5)]
    fstab = os.path.join(t.dir, "fstab")
    write(fstab, f"""# HAMMER2 and others
none {points[4]} tmpfs defaults 0 0
{images[0]}@DATA {points[0]} hammer2 rw,noatime,x-test 0 0
{images[1]} {points[1]} fuse.hammer2 ro,nofail 0 0
{images[2]} {points[2]} hammer2 noauto 0 0
{images[2]}.missing {points[3]} hammer2 ro,nofail 0 0
""")
    equal(h("mountall", "--fstab", fstab, "--dry-run").count("would mount "), 3, "dry run")
    equal(list(t.infos()), [], "mounts after a dry run")
    equal(h("mountall", "--fstab", fstab), "", "what mountall says")
    equal([os.path.ismount(p) for p in points], [True, True, False, False, False], "mounts")
    check("ro" in t.info(points[1])[1], "an option")
    h("mountall", "--fstab", fstab)
    equal(len(list(t.infos())), 2, "mounts after the second time")
    with open(fstab, "a") as f:
        f.write(f"{images[2]}.missing {points[3]} hammer2 ro 0 0\n")
    check("missing" in h("mountall", "--fstab", fstab, expect=1), "a message")
    for point in points[:2]:
        t.umount(point)
    t.gone()
    os.unlink(fstab)


def test_users_own_mount(t):
    """The user who has mounted it may do everything; root, who cannot enter it, is not bothered."""
    try:
        user = pwd.getpwnam("nobody")
    except KeyError:
        raise Skip("there is no user nobody")
    if not shutil.which("setpriv") or not shutil.which("fusermount3"):
        raise Skip("setpriv or fusermount3 is missing")
    h = Tool(t)
    image, points = t.volume("own", "-L", "DATA", size="256M"), [t.point(), t.point()]
    h("edit", image + "@DATA", "chown", "nobody", "/")
    for path in (image, *points):
        os.chown(path, user.pw_uid, user.pw_gid)
    command = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups",
               "env", "-u", "XDG_RUNTIME_DIR"]
    if subprocess.run([*command, t.program, "--version"], capture_output=True).returncode:
        raise Skip("nobody may not run the program in the build directory")
    mode = stat.S_IMODE(os.stat("/dev/fuse").st_mode)
    base = f"/tmp/hammer2-{user.pw_uid}"

    def run(*args, expect=0):
        done = subprocess.run([*command, *args], capture_output=True, text=True, timeout=60)
        if "fusermount3" in done.stderr and "not permitted" in done.stderr:
            raise Skip(done.stderr.strip())
        equal(done.returncode, expect, f"exit code of {args} ({done.stderr})")
        return done.stderr if expect else done.stdout
    try:
        os.chmod("/dev/fuse", 0o666)
        run(t.program, image + "@DATA", points[0])
        run(h.program, "-s", points[0], "pfs-create", "home")
        run(t.program, image + "@home", points[1])
        run("touch", points[0] + "/file")
        run(h.program, "snapshot", points[0], "snap")
        run(h.program, "setcomp", "none", points[0] + "/file", points[1])
        said = run(h.program, "-s", points[0], "pfs-delete", "home", expect=1)
        check(f"it is mounted on {points[1]}" in said, said)
        said = run(h.program, "-s", points[0], "pfs-delete", "DATA", expect=1)
        check("it is mounted on" in said, said)
        check(points[0] in run(h.program, "pfs-list"), "the user's pfs-list")
        run(h.program, "cleanup")
        run(h.program, "growfs", "--size", "320M", points[0])
        # Root.
        check(points[0] not in h("pfs-list"), "root's pfs-list")
        said = subprocess.run([h.program, "pfs-list", "-v"], capture_output=True, text=True)
        equal(said.returncode, 0, "root's pfs-list -v")
        check(f"{points[0]}: is left out: Permission denied" in said.stderr, said.stderr)
        h("cleanup")
        check("Permission denied" in h("-s", points[0], "pfs-create", "x", expect=1), "root")
        run("fusermount3", "-u", points[1])
        run(h.program, "-s", points[0], "rollback", "home", "snap")
        run(h.program, "-s", points[0], "snapshot-delete", "snap")
        run("fusermount3", "-u", points[0])
        t.fsck(image)
    finally:
        os.chmod("/dev/fuse", mode)
        t.clean_mounts()
        shutil.rmtree(base, ignore_errors=True)


# ---- a working day ----

def test_working_day(t):
    h = Tool(t)
    image = t.volume("day", "-L", "DATA", size="1G")
    data = t.mount_on(t.point(), image + "@DATA")
    h("-s", data, "pfs-create", "home")
    home = t.mount_on(t.point(), image + "@home")
    check(os.stat(data).st_dev != os.stat(home).st_dev, "each mount has its own st_dev")
    equal(len(t.servers()), 1, "servers")
    fill(data + "/a", 40)
    fill(home + "/b", 40)
    sums = digest(data + "/a"), digest(home + "/b")
    labels = []
    for i in range(3):
        write(home + "/day", str(i))
        h("snapshot", home, f"home.{i}")
        labels.append(f"home.{i}")
    snaps = [t.mount_on(t.point(), f"{image}@{label}") for label in labels]
    equal([read(s + "/day") for s in snaps], ["0", "1", "2"], "three snapshots mounted at once")
    write(snaps[1] + "/day", "changed")
    equal([read(s + "/day") for s in snaps] + [read(home + "/day")], ["0", "changed", "2", "2"],
          "one of them written to")
    equal(digest(snaps[2] + "/b"), sums[1], "data in a snapshot")
    for s in snaps:
        t.umount(s)
    t.umount(home)
    h("-s", data, "rollback", "home", "home.0")
    home = t.mount_on(t.point(), image + "@home")
    equal(read(home + "/day"), "0", "after rolling back")
    kept = [p["label"] for p in h.json("pfs-list", data)["pfs"] if p["label"].startswith("home.2")]
    # Fill it up, and make room.
    try:
        while True:
            fill(f"{data}/fill{len(os.listdir(data))}", 64)
    except OSError as e:
        equal(e.errno, errno.ENOSPC, "errno of a full filesystem")
    for label in labels:
        h("-s", data, "snapshot-delete", label)
    for name in os.listdir(data):
        if name.startswith("fill"):
            os.unlink(f"{data}/{name}")
    wait_for(lambda: free_bytes(data) > 700 << 20, "space after deleting", 20)
    h("growfs", "--size", "2G", data)
    fill(data + "/more", 900)
    equal((digest(data + "/a"), digest(home + "/b")), sums, "data at the end")
    found = h.json("pfs-list", data)
    equal(found["mounted"], True, "in JSON")
    equal(sorted(p["label"] for p in found["pfs"]),
          sorted(["DATA", "LOCAL", "home"] + [k for k in kept if k not in labels]), "labels")
    t.umount(home)
    check(t.servers(), "the server stays for the other mount")
    t.umount(data)
    t.fsck(image)


if __name__ == "__main__":
    sys.exit(mount_cli.main({n: f for n, f in globals().items() if n.startswith("test_")}))
