#!/usr/bin/env python3
"""
kill -9 of the server, again and again, on volumes that live on. Several processes work in a mount
and note what they did, when each call began and ended, and what was acknowledged; at a random moment
the server is killed: in the midst of the work, while it mounts, while it unmounts, or when much has
just been removed and storage comes back. Then fsck.hammer2 --strict must find nothing, and after the
next mount

  - names, link counts, and contents written past the kernel's cache (O_DIRECT) must be those of one
    moment of the processes' notes, the same for all of them, and no earlier than the last fsync that
    returned 0 had begun;
  - what was written through the kernel's cache must be what was there at the file's last fsync, or
    at a close before that moment, or something that was written later.

The work then goes on with what is there. Volumes: one with a single header copy and its backup, one
with several copies, one of two volumes, one on a block device, where sync(2) counts as well.

Needs root and /dev/fuse. Ends with "N passed, N failed, N skipped"; exits with 1 if any failed, and
with 77 (skipped, for meson) if nothing could be run.
"""

import argparse
import collections
import ctypes
import errno
import mmap
import os
import pickle
import random
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time

from h2mount import Failure, Skip, Volume, WAIT_SECONDS, begin, check

WORKERS = 4
UNIT = 512                # bytes of a file that carry one stamp
PAGE = 4096               # what O_DIRECT writes at a time
STAMP = struct.Struct("<QQ")
FILES_MAX = 40            # of a worker, about
UNITS_MAX = 512           # of an ordinary file
BIG_UNITS = 8192          # 4 MiB
NEVER = float("inf")
# EIO is what storing a page gives then.
SERVER_GONE = (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO)

libc = ctypes.CDLL(None, use_errno=True)


# ---- what files hold ----
#
# Each unit of 512 bytes says which write it is of and where it belongs. A write's version is never
# used again, so a unit tells of itself whether it is in its place.

def stamped(unit, count, version):
    """The bytes of count units from a unit on; version 0 is zeros."""
    if version == 0:
        return bytes(count * UNIT)
    return b"".join(STAMP.pack(version, u) * (UNIT // STAMP.size)
                    for u in range(unit, unit + count))


def versions_of(path, data):
    """The version of each unit; a Failure where a unit is in parts or not in its place."""
    found = []
    check(len(data) % UNIT == 0, f"{path}: {len(data)} bytes, not a whole number of units")
    for unit in range(len(data) // UNIT):
        piece = data[unit * UNIT:(unit + 1) * UNIT]
        version, place = STAMP.unpack_from(piece)
        check(piece == STAMP.pack(version, place) * (UNIT // STAMP.size),
              f"{path}: unit {unit} is torn: {piece[:16].hex()} ... {piece[-16:].hex()}")
        check(version == 0 or place == unit, f"{path}: unit {unit} is that of {place}")
        found.append(version)
    return found


# ---- the state of a worker's files ----

class State:
    """
    What a worker's names lead to. Files whose names end in .d are written with O_DIRECT, so each
    write is a step like those of names; those ending in .b through the kernel's cache.
    """

    def __init__(self):
        self.names = {}   # path: (kind, inode number, target of a symlink)
        self.direct = {}  # inode number: [version of each unit]
        self.cached = {}  # likewise

    def copy(self):
        other = State()
        other.names = dict(self.names)
        other.direct = {k: list(v) for k, v in self.direct.items()}
        other.cached = {k: list(v) for k, v in self.cached.items()}
        return other

    def step(self, op, wanted=None):
        """Do an operation of the ordered ones; returns the paths and inodes that it touches."""
        kind = op[0]
        if kind == "make":
            _, path, what, ino, target = op
            if ino is None:  # the server was killed before it was told
                ino = wanted.names[path][1] if wanted and path in wanted.names else -1
            self.names[path] = (what, ino, target)
            if what == "f" and path.endswith(".d"):
                self.direct[ino] = []
            return {path, ino}
        if kind == "remove":
            del self.names[op[1]]
            return {op[1]}
        if kind == "link":
            self.names[op[2]] = self.names[op[1]]
            return {op[2]}
        if kind == "rename":
            _, old, new = op
            if self.names[old][:2] == self.names.get(new, (None, None))[:2]:
                return set()  # two names of one file: nothing happens
            moved = {old: new}
            if self.names[old][0] == "d":
                moved.update({p: new + p[len(old):] for p in self.names
                              if p.startswith(old + "/")})
            for before, after in moved.items():
                self.names[after] = self.names.pop(before)
            return set(moved) | set(moved.values())
        if kind == "exchange":
            _, a, b = op
            self.names[a], self.names[b] = self.names[b], self.names[a]
            return {a, b}
        if kind == "dwrite":
            _, ino, unit, count, version = op
            content = self.direct[ino]
            content.extend([0] * (unit + count - len(content)))
            content[unit:unit + count] = [version] * count
            return {ino}
        if kind == "dcut":
            _, ino, units = op
            content = self.direct[ino]
            content.extend([0] * (units - len(content)))
            del content[units:]
            return {ino}
        raise AssertionError(kind)


ORDERED = ("make", "remove", "link", "rename", "exchange", "dwrite", "dcut")


# ---- a worker ----

class Worker:
    """Runs in a process of its own until the server is gone, or it is told to stop."""

    def __init__(self, root, number, state, seed, cycle, big):
        self.root = root
        self.number = number
        self.state = state
        self.random = random.Random(seed)
        self.notes = []    # [begin, end, ok, operation]
        self.version = (cycle * WORKERS + number) << 24 | 1
        self.counter = 0
        self.cycle = cycle
        self.big = big
        self.stopping = False
        self.ended = None  # when it met the end of the server
        self.error = None

    def path(self, name):
        return os.path.join(self.root, name)

    def note(self, op, call):
        """Do a call; note when, and whether it succeeded. Returns what it does."""
        entry = [time.monotonic(), NEVER, False, op]
        self.notes.append(entry)
        try:
            result = call()
        except OSError as e:
            if e.errno in SERVER_GONE:
                raise
            entry[1] = time.monotonic()
            if e.errno in (errno.ENOSPC, errno.EDQUOT):
                return None
            raise
        entry[1] = time.monotonic()
        entry[2] = True
        if op[0] in ORDERED and op[0] != "make":
            self.state.step(op)
        return result

    def next_version(self):
        self.version += 1
        return self.version

    def pick(self, kinds, suffix=""):
        found = [p for p, v in self.state.names.items() if v[0] in kinds and p.endswith(suffix)]
        return self.random.choice(found) if found else None

    def new_name(self, suffix):
        self.counter += 1
        name = f"{self.cycle}-{self.counter}"
        if self.random.random() < 0.2:
            name += "-" + "n" * self.random.choice((40, 60, 100, 200))
        if self.random.random() < 0.2:
            return f"shared/w{self.number}-{name}{suffix}"
        directories = [p for p, v in self.state.names.items()
                       if v[0] == "d" and p.count("/") < 6]
        return f"{self.random.choice(directories)}/{name}{suffix}"

    def make(self, path, what, target=None):
        """A new object; an open descriptor for files."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        if path.endswith(".d"):
            flags |= os.O_DIRECT
        op = ["make", path, what, None, target]
        calls = {"f": lambda: os.open(self.path(path), flags, 0o644),
                 "d": lambda: (os.mkdir(self.path(path)), True)[1],
                 "l": lambda: (os.symlink(target, self.path(path)), True)[1]}
        fd = self.note(op, calls[what])
        if fd is None:
            return None
        op[3] = os.fstat(fd).st_ino if what == "f" else os.lstat(self.path(path)).st_ino
        self.state.step(op)
        if what == "f" and path.endswith(".b"):
            self.state.cached[op[3]] = []
        return fd

    # The operations. Each returns nothing; what is not possible now is left out.

    def do_create(self):
        if len(self.state.names) > FILES_MAX:
            return self.do_remove()
        path = self.new_name(self.random.choice((".b", ".d")))
        fd = self.make(path, "f")
        if fd is None:
            return None
        try:
            for _ in range(self.random.choice((0, 1, 1, 3))):
                self.write(fd, self.state.names[path][1], path)
        finally:
            self.close(fd, path)
        return None

    def close(self, fd, path):
        ino = self.state.names[path][1]
        if path.endswith(".b"):
            self.note(("close", ino), lambda: os.close(fd))
        else:
            os.close(fd)

    def do_mkdir(self):
        if sum(v[0] == "d" for v in self.state.names.values()) < 12:
            self.make(self.new_name(""), "d")

    def do_symlink(self):
        if len(self.state.names) < FILES_MAX:
            self.make(self.new_name(".l"), "l", "t" * self.random.choice((1, 50, 600)))

    def do_remove(self):
        path = self.pick("fld")
        if not path or path == f"w{self.number}":
            return
        if self.state.names[path][0] != "d":
            self.note(("remove", path), lambda: os.unlink(self.path(path)) or True)
        elif not any(p.startswith(path + "/") for p in self.state.names):
            self.note(("remove", path), lambda: os.rmdir(self.path(path)) or True)

    def do_rename(self):
        old = self.pick("ffffld")
        if not old or old == f"w{self.number}":
            return
        suffix = old[-2:] if self.state.names[old][0] != "d" else ""
        if suffix and self.random.random() < 0.4:
            new = self.pick(self.state.names[old][0], suffix)
        else:
            new = self.new_name(suffix)
        if new == old or new.startswith(old + "/") or len(new.split("/")[-1]) > 255:
            return
        self.note(("rename", old, new),
                  lambda: os.rename(self.path(old), self.path(new)) or True)

    def do_exchange(self):
        a = self.pick("f", self.random.choice((".b", ".d")))
        b = a and self.pick("f", a[-2:])
        if not a or a == b:
            return

        def call():
            if libc.renameat2(-100, self.path(a).encode(), -100, self.path(b).encode(), 2):
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code))
            return True
        self.note(("exchange", a, b), call)

    def do_link(self):
        old = self.pick("f")
        if old and len(self.state.names) < FILES_MAX:
            new = self.new_name(old[-2:])
            self.note(("link", old, new), lambda: os.link(self.path(old), self.path(new)) or True)

    def write(self, fd, ino, path):
        version = self.next_version()
        if path.endswith(".d"):
            page = self.random.randrange(16)
            count = self.random.choice((1, 1, 1, 4, 16)) * PAGE // UNIT
            unit = page * PAGE // UNIT
            buf = mmap.mmap(-1, count * UNIT)  # aligned, as O_DIRECT wants it
            buf.write(stamped(unit, count, version))
            self.note(("dwrite", ino, unit, count, version),
                      lambda: os.pwrite(fd, buf, unit * UNIT))
            return
        content = self.state.cached[ino]
        count = self.random.choice((1, 1, 3, 8, 16, 128, 200))
        unit = len(content) if self.random.random() < 0.4 else self.random.randrange(UNITS_MAX)
        if unit + count > UNITS_MAX:
            unit = 0
        done = self.note(("write", ino, unit, count, version),
                         lambda: os.pwrite(fd, stamped(unit, count, version), unit * UNIT))
        if done is not None:
            count = done // UNIT
            content.extend([0] * (unit + count - len(content)))
            content[unit:unit + count] = [version] * count

    def do_write(self):
        path = self.pick("f")
        if not path:
            return
        direct = os.O_DIRECT if path.endswith(".d") else 0
        fd = os.open(self.path(path), os.O_RDWR | direct)
        try:
            for _ in range(self.random.choice((1, 1, 2, 5))):
                self.write(fd, self.state.names[path][1], path)
            if self.random.random() < 0.3:
                self.fsync(fd, path)
        finally:
            self.close(fd, path)

    def do_cut(self):
        path = self.pick("f")
        if not path:
            return
        ino = self.state.names[path][1]
        units = self.random.choice((0, 1, 8, 64, 127, 128, 129, 300))
        direct = path.endswith(".d")
        if direct:
            units = units // 8 * 8
        done = self.note(("dcut" if direct else "cut", ino, units),
                         lambda: os.truncate(self.path(path), units * UNIT) or True)
        if done and not direct:
            content = self.state.cached[ino]
            content.extend([0] * (units - len(content)))
            del content[units:]

    def do_store(self):
        """Stores into a mapping, and msync."""
        path = self.pick("f", ".b")
        content = path and self.state.cached[self.state.names[path][1]]
        if not content:
            return
        ino = self.state.names[path][1]
        fd = os.open(self.path(path), os.O_RDWR)
        try:
            with mmap.mmap(fd, len(content) * UNIT) as mapping:
                version = self.next_version()
                count = min(self.random.choice((1, 8, 40)), len(content))
                unit = self.random.randrange(len(content) - count + 1)
                data = stamped(unit, count, version)
                self.note(("write", ino, unit, count, version),
                          lambda: self.store(mapping, unit * UNIT, data))
                content[unit:unit + count] = [version] * count
                if self.random.random() < 0.5:
                    self.note(("sync", ino), lambda: mapping.flush() or True)
        finally:
            self.close(fd, path)

    def store(self, mapping, at, data):
        """In a process of its own: without the server it can be a bus error."""
        pid = os.fork()
        if pid == 0:
            mapping[at:at + len(data)] = data
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if status:
            raise OSError(errno.EIO, f"wait status {status} after a store")
        return True

    def fsync(self, fd, path):
        call = self.random.choice((os.fsync, os.fdatasync))
        self.note(("sync", self.state.names[path][1]), lambda: call(fd) or True)

    def do_fsync(self):
        path = self.pick("fd")
        if not path:
            return
        fd = os.open(self.path(path), os.O_RDONLY)
        try:
            self.fsync(fd, path)
        finally:
            os.close(fd)

    def do_syncfs(self):
        fd = os.open(self.root, os.O_RDONLY)

        def call():
            if libc.syncfs(fd):
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code))
            return True
        try:
            self.note(("syncfs",), call)
        finally:
            os.close(fd)

    def do_big(self):
        """Much that is made and removed: what is dropped comes back by bulk free."""
        path = f"w{self.number}/{self.cycle}-big.b"
        if path in self.state.names:
            self.note(("remove", path), lambda: os.unlink(self.path(path)) or True)
            self.do_fsync()
            return
        fd = self.make(path, "f")
        if fd is None:
            return
        ino = self.state.names[path][1]
        try:
            for unit in range(0, BIG_UNITS, 1024):
                version = self.next_version()
                done = self.note(("write", ino, unit, 1024, version), lambda: os.pwrite(
                    fd, stamped(unit, 1024, version), unit * UNIT))
                if done is None:
                    break
                self.state.cached[ino] += [version] * (done // UNIT)
            self.fsync(fd, path)
        finally:
            self.close(fd, path)

    OPERATIONS = (["create"] * 6 + ["write"] * 8 + ["remove"] * 4 + ["rename"] * 4 + ["link"] * 3 +
                  ["cut"] * 2 + ["mkdir"] + ["symlink"] + ["exchange"] + ["store"] * 2 +
                  ["fsync"] * 2 + ["syncfs"])

    def work(self, result):
        def stop(*_):
            self.stopping = True
        signal.signal(signal.SIGTERM, stop)
        try:
            while not self.stopping:
                if self.big and self.random.random() < 0.1:
                    self.do_big()
                else:
                    getattr(self, "do_" + self.random.choice(self.OPERATIONS))()
        except OSError as e:
            self.ended = time.monotonic()
            if e.errno not in SERVER_GONE:
                self.error = f"worker {self.number}: {e!r} in {self.notes[-1]!r:.300}"
        with open(result, "wb") as f:
            pickle.dump((self.notes, self.error, self.ended), f)


# ---- volumes ----

class SoakVolume(Volume):
    """One that remembers what was done with it."""

    def __init__(self, name, folder, build, sizes, device):
        super().__init__(name, folder, build, sizes, device)
        self.states = None   # of the workers, as they began
        self.notes = None    # of the work since then
        self.syncfs_counts = device

    def prepare(self):
        """The workers' folders."""
        self.mount()
        os.mkdir(os.path.join(self.root, "shared"))
        for i in range(WORKERS):
            os.mkdir(os.path.join(self.root, f"w{i}"))
        self.states = self.look()
        self.unmount()
        self.fsck()

    def look(self):
        """The state of each worker, as it can be seen; link counts are compared on the way."""
        states = [State() for _ in range(WORKERS)]
        counts = collections.Counter()
        links = {}

        def see(path, state):
            full = os.path.join(self.root, path)
            st = os.lstat(full)
            if stat.S_ISDIR(st.st_mode):
                state.names[path] = ("d", st.st_ino, None)
                for name in os.listdir(full):
                    see(path + "/" + name, state)
                return
            counts[st.st_ino] += 1
            links[st.st_ino] = (st.st_nlink, path)
            if stat.S_ISLNK(st.st_mode):
                state.names[path] = ("l", st.st_ino, os.readlink(full))
                return
            state.names[path] = ("f", st.st_ino, None)
            contents = state.direct if path.endswith(".d") else state.cached
            if st.st_ino not in contents:
                with open(full, "rb") as f:
                    data = f.read()
                check(len(data) == st.st_size, f"{path}: {len(data)} bytes of {st.st_size} read")
                contents[st.st_ino] = versions_of(path, data)

        found = sorted(os.listdir(self.root))
        check(found == ["shared", *(f"w{i}" for i in range(WORKERS))], f"the root has {found}")
        for i in range(WORKERS):
            see(f"w{i}", states[i])
        for name in os.listdir(os.path.join(self.root, "shared")):
            see("shared/" + name, states[int(name.split("-")[0][1:])])
        for ino, (nlink, path) in links.items():
            check(nlink == counts[ino], f"{path}: {counts[ino]} names, link count {nlink}")
        return states


# ---- judging ----

def differences(a, b, keys):
    """Which of these paths and inodes differ between two states. Contents count where b has them."""
    found = set()
    for key in keys:
        if isinstance(key, str):
            if a.names.get(key) != b.names.get(key):
                found.add(key)
        elif key in b.direct and a.direct.get(key) != b.direct[key]:
            found.add(key)
    return found


def moments(state, notes, seen):
    """
    The intervals of time at which this worker's steps so far had made the state that is seen, and
    the one that came nearest.
    """
    state = state.copy()
    steps = [n for n in notes if n[3][0] in ORDERED and (n[2] or n[1] == NEVER)]
    differs = differences(state, seen, set(state.names) | set(seen.names) | set(seen.direct))
    found, began, nearest = [], -NEVER, (NEVER, None, None)
    for i, entry in enumerate([*steps, None]):
        if not differs:
            found.append((began, entry[1] if entry else NEVER))
        if len(differs) < nearest[0]:
            nearest = (len(differs), i, sorted(map(str, differs))[:5])
        if entry:
            touched = state.step(entry[3], seen)
            differs = differs - touched | differences(state, seen, touched)
            began = entry[0]
    return found, nearest


def common_moments(intervals):
    """The moments that lie in an interval of each worker, as intervals."""
    common = [(-NEVER, NEVER)]
    for own in intervals:
        common = [(max(a, c), min(b, d)) for a, b in common for c, d in own if max(a, c) < min(b, d)]
    return common


class Contents:
    """Of a file that is written through the kernel's cache: what each unit may be after a crash."""

    def __init__(self, versions):
        self.now = list(versions)
        self.acknowledge()

    def acknowledge(self):
        self.may = {}  # unit: versions, where there is more than one
        self.size_min = self.size_max = len(self.now)

    def write(self, unit, count, version, done):
        for u in range(min(unit, len(self.now)), unit + count):
            old = self.now[u] if u < len(self.now) else 0
            self.may.setdefault(u, {old}).update((version, old) if u >= unit else (0,))
        if done:
            self.now.extend([0] * (unit + count - len(self.now)))
            self.now[unit:unit + count] = [version] * count
        self.size_max = max(self.size_max, unit + count)

    def cut(self, units, done):
        for u in range(min(units, len(self.now)), max(units, len(self.now))):
            old = self.now[u] if u < len(self.now) else 0
            self.may.setdefault(u, {old}).add(0)
        self.size_min = min(self.size_min, units)
        self.size_max = max(self.size_max, units)
        if done:
            self.now.extend([0] * (units - len(self.now)))
            del self.now[units:]

    def judge(self, path, found):
        check(self.size_min <= len(found) <= self.size_max,
              f"{path}: {len(found)} units, expected {self.size_min} to {self.size_max}")
        for unit, version in enumerate(found):
            own = {self.now[unit] if unit < len(self.now) else 0}
            may = self.may.get(unit, own)
            check(version in may, f"{path}: unit {unit} has version {version:#x}, "
                                  f"expected one of {[hex(v) for v in sorted(may)]}")


def judge_contents(state, notes, seen, syncs, moment):
    """Files written through the kernel's cache. syncs: when those of everything began."""
    contents = {ino: Contents(v) for ino, v in state.cached.items()}
    syncs = sorted(syncs)
    for begin, end, ok, op in notes:
        while syncs and syncs[0] <= end:
            syncs.pop(0)
            # What ended before it began is on the volumes.
            for c in contents.values():
                c.acknowledge()
        unknown = end == NEVER
        if op[0] == "make" and op[2] == "f" and op[1].endswith(".b") and (ok or unknown):
            contents[op[3]] = Contents([])
        elif op[0] == "write":
            contents[op[1]].write(*op[2:], ok)
        elif op[0] == "cut" and (ok or unknown):
            contents[op[1]].cut(op[2], ok)
        elif op[0] == "sync" and ok and op[1] in contents:
            contents[op[1]].acknowledge()
        elif op[0] == "close" and ok and end <= moment:
            contents[op[1]].acknowledge()
    for path, (kind, ino, _) in seen.names.items():
        if kind == "f" and path.endswith(".b"):
            check(ino in contents or None in contents, f"{path}: inode {ino} is nobody's")
            contents.get(ino, contents.get(None)).judge(path, seen.cached[ino])


def judge(volume, seen):
    """Whether what is seen after a crash is what can be."""
    notes = volume.notes
    acknowledged = -NEVER
    syncs = []
    for own in notes:
        for begin, _, ok, op in own:
            if ok and (op[0] == "sync" or op[0] == "syncfs" and volume.syncfs_counts):
                acknowledged = max(acknowledged, begin)
            if ok and op[0] == "syncfs" and volume.syncfs_counts:
                syncs.append(begin)
    intervals = []
    for i in range(WORKERS):
        found, nearest = moments(volume.states[i], notes[i], seen[i])
        check(found, f"worker {i}: no moment explains its names and contents; after {nearest[1]} "
                     f"of its steps {nearest[0]} differ: {nearest[2]}")
        intervals.append(found)
    common = common_moments(intervals)
    check(common, f"no moment explains all workers' states: {intervals!r:.1000}")
    check(max(b for _, b in common) > acknowledged,
          f"what is there is of {max(b for _, b in common)} at the latest; "
          f"an fsync that began at {acknowledged} was acknowledged")
    # The latest state that was handed over by a close for sure.
    moment = max(acknowledged, min(a for a, b in common if b > acknowledged))
    for i in range(WORKERS):
        judge_contents(volume.states[i], notes[i], seen[i], syncs, moment)
    return sum(len(own) for own in notes)


# ---- the soak ----

MODES = ["load"] * 6 + ["remove"] * 2 + ["mount", "unmount"]


class Soak:
    def __init__(self, args, folder):
        self.args = args
        self.folder = folder
        self.random = random.Random(args.seed)
        self.cycle = 0
        self.operations = 0
        self.acknowledged = 0
        self.kills = collections.Counter()

    def spawn(self, volume, big):
        pids = []
        for i in range(WORKERS):
            result = os.path.join(volume.folder, f"notes{i}")
            if os.path.exists(result):
                os.unlink(result)
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    worker = Worker(volume.root, i, volume.states[i].copy(),
                                    f"{self.args.seed}-{self.cycle}-{i}", self.cycle, big)
                    worker.work(result)
                    code = 0
                finally:
                    os._exit(code)
            pids.append(pid)
        return pids

    def join(self, volume, pids, killed):
        """The notes of the workers. killed: when the server was; NEVER: they were told to stop."""
        notes = []
        deadline = time.monotonic() + WAIT_SECONDS
        for i, pid in enumerate(pids):
            while True:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    break
                if time.monotonic() > deadline:
                    for p in pids[i:]:
                        os.kill(p, signal.SIGKILL)
                    raise Failure(f"worker {i} has not ended")
                time.sleep(0.005)
            result = os.path.join(volume.folder, f"notes{i}")
            check(status == 0, f"worker {i}: wait status {status}")
            with open(result, "rb") as f:
                own, error, ended = pickle.load(f)
            check(not error, error)
            check(ended is None or ended >= killed, f"worker {i} has met an error: {own[-1:]}")
            notes.append(own)
        return notes

    def look(self, volume):
        """Mount, and see whether what is there is what can be."""
        volume.mount(*(["-o", "commit=1"] if self.random.random() < 0.5 else []))
        seen = volume.look()
        if volume.notes is not None:
            self.operations += judge(volume, seen)
            self.acknowledged += sum(ok and op[0] == "sync" for own in volume.notes
                                     for _, _, ok, op in own)
        volume.states, volume.notes = seen, None

    def one(self, volume):
        """Mount, work, kill, check."""
        self.cycle += 1
        mode = self.random.choice(MODES)
        if mode == "mount":
            volume.start()
            time.sleep(self.random.uniform(0, 0.06))
            check(volume.server.poll() is None, f"mounting has ended\n     {volume.said()}")
            volume.kill()
            # As it was.
            volume.notes = volume.notes or [[] for _ in range(WORKERS)]
        else:
            self.look(volume)
            pids = self.spawn(volume, mode == "remove")
            time.sleep(self.random.uniform(0.02, 2.5 if mode == "remove" else 1.0))
            volume.alive()
            if mode == "unmount":
                for pid in pids:
                    os.kill(pid, signal.SIGTERM)
                volume.notes = self.join(volume, pids, NEVER)
                umount = subprocess.Popen(["umount", volume.root], stderr=subprocess.DEVNULL)
                time.sleep(self.random.uniform(0, 0.06))
                volume.kill()
                umount.wait(WAIT_SECONDS)
            else:
                volume.notes = self.join(volume, pids, volume.kill())
        volume.detach()
        volume.fsck(killed=True)
        self.kills[mode] += 1

    def finish(self, volume):
        self.look(volume)
        for i in range(8):  # every copy of the header has its turn
            os.utime(volume.root, (i, i))
            fd = os.open(volume.root, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
        volume.unmount()
        volume.fsck()


SETUPS = {
    "single": ([256 << 20], False),
    "copies": ([9 << 30], False),
    "two": ([3 << 30, 2 << 30], False),
    "device": ([1 << 30], True),
}


def soak(args, folder):
    volumes, failed, skipped = [], 0, 0
    run_ = Soak(args, folder)
    try:
        for name in args.on or SETUPS:
            try:
                volumes.append(SoakVolume(name, folder, args.build, *SETUPS[name]))
            except Skip as e:
                skipped += 1
                print(f"SKIP {name}: {e}")
        for volume in volumes:
            volume.prepare()
        end = time.monotonic() + args.seconds if args.seconds else NEVER
        for i in range(args.kills):
            if time.monotonic() > end:
                print(f"LEFT OUT {args.kills - i} of {args.kills} kills: {args.seconds} s are over")
                break
            volume = volumes[i % len(volumes)]
            try:
                run_.one(volume)
            except (Failure, OSError, subprocess.SubprocessError):
                print(f"     kill {i + 1}, on {volume.name}, seed {args.seed}")
                if args.keep:
                    shutil.copytree(volume.folder, os.path.join(args.keep, f"{volume.name}-{i}"),
                                    ignore=shutil.ignore_patterns("mnt"))
                raise
            if args.verbose and (i + 1) % 20 == 0:
                print(f"     {i + 1} kills, {run_.operations} operations", flush=True)
        for volume in volumes:
            run_.finish(volume)
    except (Failure, OSError, subprocess.SubprocessError) as e:
        failed += 1
        print(f"FAIL {e}")
    finally:
        for volume in volumes:
            volume.clean()
    kinds = ", ".join(f"{n} in {mode}" for mode, n in sorted(run_.kills.items()))
    print(f"     {sum(run_.kills.values())} kills ({kinds}), {run_.operations} operations, "
          f"{run_.acknowledged} acknowledged syncs, {sum(v.torn for v in volumes)} headers cut off")
    return 0 if failed else len(volumes), failed, skipped


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--build", required=True, help="the build directory")
    parser.add_argument("--kills", type=int, default=16, help="how many")
    parser.add_argument("--seconds", type=float, default=0, help="stop after that time")
    parser.add_argument("--seed", type=int, default=None, help="of everything")
    parser.add_argument("--on", action="append", choices=SETUPS, help="volumes; all by default")
    parser.add_argument("--keep", help="a folder for the volumes of a failure")
    parser.add_argument("-v", "--verbose", action="store_true")
    args = parser.parse_args()
    if args.seed is None:
        args.seed = random.SystemRandom().randrange(1 << 32)
    if not begin():
        return 77
    print(f"seed {args.seed}", flush=True)
    folder = tempfile.mkdtemp(prefix="hammer2-soak-")
    try:
        passed, failed, skipped = soak(args, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0 if passed else 77


if __name__ == "__main__":
    sys.exit(main())
