#!/usr/bin/env python3
"""
Directories that are read while names in them are made, removed and renamed: each name that nobody
touches must come exactly once. Also where the hashes of all names are equal but for the bits that
tell collisions apart (MF 7.2), and with positions that are kept over a remount. What does not need
a remount is tried on tmpfs as well.

Needs root and /dev/fuse. Ends with "N passed, N failed, N skipped"; exits with 1 if any failed, and
with 77 (skipped, for meson) if nothing could be run.
"""

import argparse
import collections
import ctypes
import os
import random
import signal
import struct
import subprocess
import sys
import time

from h2mount import Volume, begin, check, run, run_tests

VOLUME_BYTES = 256 << 20
QUIET_SECONDS = 32  # somewhat more than after which the mount lets the kernel keep names
libc = ctypes.CDLL(None, use_errno=True)


# ---- names with one hash ----

def crc32c_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82f63b78 if n & 1 else 0)
        table.append(n)
    return table


TABLE = crc32c_table()


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc = TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xffffffff


def namehash(name):
    """MF 7.2."""
    pieces = name.translate(bytes.maketrans(b"-_~", b"...")).split(b".")
    total = sum(crc32c(piece) for piece in pieces if piece) & 0xffffffff
    whole = crc32c(name)
    return (total | 1 << 31) << 32 | ((whole >> 16 ^ whole) & 0xffff) << 16 | 0x8000


def colliding_names(count):
    """
    Names with one hash. The upper half does not depend on which separators there are; the lower
    half is linear in the bits of the name, so its kernel can be computed.
    """
    places = 40
    base = bytearray(b"".join(bytes((97 + i % 26, 46)) for i in range(places)) + b"z")
    fold = lambda name: namehash(bytes(name)) >> 16 & 0xffff
    rows = []  # (change of the fold, which separators are changed)
    for i in range(places):
        name = bytearray(base)
        name[2 * i + 1] = 45
        rows.append((fold(name) ^ fold(base), 1 << i))
    kernel, pivots = [], {}
    for value, places_ in rows:
        for bit in range(15, -1, -1):
            if value >> bit & 1 and bit in pivots:
                value, places_ = value ^ pivots[bit][0], places_ ^ pivots[bit][1]
            elif value >> bit & 1:
                pivots[bit] = (value, places_)
                break
        if value == 0:
            kernel.append(places_)
    names = []
    for i in range(count):
        change = 0
        for k, vector in enumerate(kernel):
            change ^= vector if i >> k & 1 else 0
        name = bytearray(base)
        for k in range(places):
            if change >> k & 1:
                name[2 * k + 1] = 45
        names.append(bytes(name))
    assert len({namehash(n) for n in names}) == 1 and len(set(names)) == count
    return names


# ---- reading directories ----

def getdents(fd, size):
    """The next entries: pairs of a name and the position behind it; [] at the end."""
    buf = ctypes.create_string_buffer(size)
    n = libc.syscall(217, fd, buf, size)  # getdents64
    if n < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    found, at = [], 0
    while at < n:
        _, position, length, _ = struct.unpack_from("<QqHB", buf, at)
        found.append((ctypes.string_at(ctypes.addressof(buf) + at + 19), position))
        at += length
    return found


def scan(path, size=1024, position=0, pause=None):
    """All names from a position on, in the order they come, with theirs."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.lseek(fd, position, os.SEEK_SET)
        found = []
        while part := getdents(fd, size):
            found += part
            if pause:
                pause()
        return [(n, p) for n, p in found if n not in (b".", b"..")]
    finally:
        os.close(fd)


def expect_each_once(found, stable, what):
    counts = collections.Counter(name for name, _ in found)
    lost = [n for n in stable if counts[n] == 0]
    more = [n for n in stable if counts[n] > 1]
    check(not lost, f"{what}: {len(lost)} names are missing, such as {lost[:1]}")
    check(not more, f"{what}: {len(more)} names come more than once, such as {more[:1]}")


def make(folder, names):
    for name in names:
        os.close(os.open(os.path.join(folder, name), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


class Churn:
    """A process that makes, removes and renames names, at any time one of a list of them."""

    def __init__(self, folder, names, seed):
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.work(folder, names, random.Random(seed))
            finally:
                os._exit(1)

    @staticmethod
    def work(folder, names, chance):
        existing = set()
        while True:
            name = chance.choice(names)
            path = os.path.join(folder, name)
            if name not in existing:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
                existing.add(name)
            elif chance.random() < 0.5:
                os.unlink(path)
                existing.remove(name)
            else:
                new = chance.choice(names)
                os.rename(path, os.path.join(folder, new))
                existing = existing - {name} | {new}

    def stop(self):
        ended, status = os.waitpid(self.pid, os.WNOHANG)
        check(not ended, f"the process that changes names has ended: {status}")
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def scan_during_changes(root, stable, moving, seconds, seed, what):
    folder = os.path.join(root.encode(), b"d")
    os.mkdir(folder)
    make(folder, stable)
    churns = [Churn(folder, moving[i::2], f"{seed}-{i}") for i in range(2)]
    scans = 0
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for size in (280, 1024, 32768):
                expect_each_once(scan(folder, size), stable, f"{what}, {size} bytes at a time")
                scans += 1
            expect_each_once([(n, 0) for n in os.listdir(folder)], stable, f"{what}, listdir")
    finally:
        for churn in churns:
            churn.stop()
    for name in stable:
        os.lstat(os.path.join(folder, name))
    run("rm", "-r", folder.decode())
    print(f"     {what}: {scans} scans of {len(stable)} names")


def positions_over_remount(volume, stable, moving, chance, what):
    """A position names a place: what is behind it comes, whatever has happened since."""
    folder = os.path.join(volume.root.encode(), b"d")
    os.mkdir(folder)
    make(folder, stable + moving)
    before = scan(folder)
    expect_each_once(before, stable, what)
    order = [n for n, _ in before]
    check(len({p for _, p in before}) == len(before), f"{what}: positions are not unique")
    places = sorted(chance.sample(range(len(before)), 12))
    for again in ("in the same mount", "after changes", "after a remount", "after a crash"):
        if again == "after changes":
            for name in moving[::2]:
                os.unlink(os.path.join(folder, name))
            for name in moving[1::4]:
                os.rename(os.path.join(folder, name), os.path.join(folder, name + b"+"))
        elif again == "after a remount":
            volume.unmount()
            volume.fsck()
            volume.mount()
        elif again == "after a crash":
            fd = os.open(folder, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
            volume.kill()
            volume.detach()
            volume.fsck(killed=True)
            volume.mount()
        for place in places:
            found = scan(folder, 1024, before[place][1])
            behind = set(order[place + 1:])
            expect_each_once(found, [n for n in stable if n in behind],
                             f"{what}, from position {place} on, {again}")
            early = [n for n, _ in found if n in stable and n not in behind]
            check(not early, f"{what}, {again}: {len(early)} names in front of position {place}")
    run("rm", "-r", folder.decode())


def changes_after_quiet(volume, stable, moving, chance, what):
    """
    A directory that was quiet: the kernel may have kept its names. Scans that have begun before it
    changes, or while another one goes on, see each name once all the same.
    """
    folder = os.path.join(volume.root.encode(), b"d")
    os.mkdir(folder)
    make(folder, stable + moving)
    for turn in range(2):
        time.sleep(QUIET_SECONDS)
        os.listdir(folder)
        fds = [os.open(folder, os.O_RDONLY | os.O_DIRECTORY) for _ in range(4)]
        found = [[] for _ in fds]
        for i in range(1000000):
            running = [k for k, fd in enumerate(fds) if fd is not None]
            if not running:
                break
            k = chance.choice(running)
            part = getdents(fds[k], chance.choice((300, 1000, 20000)))
            found[k] += part
            if not part:
                os.close(fds[k])
                fds[k] = None
            if i > 5 and i % 3 == 0:
                name = os.path.join(folder, chance.choice(moving))
                if os.path.lexists(name):
                    os.unlink(name)
                else:
                    make(folder, [name])
            if i % 20 == 0:
                expect_each_once(scan(folder, 32768), stable, f"{what}, a scan in between")
        for k, names in enumerate(found):
            expect_each_once(names, stable, f"{what}, turn {turn}, scan {k}")
    run("rm", "-r", folder.decode())


# ---- tests ----

def stable_and_moving(kind, count):
    if kind == "colliding":
        names = colliding_names(2 * count)
    else:
        names = [b"%s-%d%s" % (kind.encode(), i, b"n" * (i * 7 % 200)) for i in range(2 * count)]
    return names[::2], names[1::2]


def changes_on_tmpfs(folder, args):
    run("mount", "-t", "tmpfs", "none", folder)
    try:
        for kind in "plain", "colliding":
            scan_during_changes(folder, *stable_and_moving(kind, 500), args.seconds / 2, args.seed,
                                f"tmpfs, {kind}")
    finally:
        subprocess.run(["umount", "-l", folder], check=False)


def with_volume(folder, args, test):
    volume = Volume("v", folder, args.build, [VOLUME_BYTES])
    try:
        volume.mount("-o", "commit=1")
        test(volume)
        volume.alive()
        volume.unmount()
        volume.fsck()
    finally:
        volume.clean()


def changes(folder, args, kind, count):
    names = stable_and_moving(kind, count)
    check(kind != "colliding" or len({namehash(n) for part in names for n in part}) == 1, "hashes")
    with_volume(folder, args, lambda v: scan_during_changes(
        v.root, *names, args.seconds, args.seed, kind))


def positions(folder, args, kind, count):
    names = stable_and_moving(kind, count)
    with_volume(folder, args, lambda v: positions_over_remount(
        v, *names, random.Random(args.seed), kind))


def quiet(folder, args, kind, count):
    names = stable_and_moving(kind, count)
    with_volume(folder, args, lambda v: changes_after_quiet(
        v, *names, random.Random(args.seed), kind))


def hashes(_, args):
    """What is computed here is what the program says."""
    for name in (b"", b"a", b"file-name_with~all.seps", *colliding_names(4)):
        if name:
            said = run(os.path.join(args.build, "bin", "hammer2"), "hash", name.decode()).stdout
            check(f"{namehash(name):016x}" in said.lower(), f"hash of {name}: {said}")
    check(namehash(b".a.b.") == 0x9450f3f4d6bc8000, "the vector of MF A.2")


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--build", required=True, help="the build directory")
    parser.add_argument("--seconds", type=float, default=20, help="for each scan during changes")
    parser.add_argument("--count", type=int, default=2000, help="of names that nobody touches")
    parser.add_argument("--quick", action="store_true", help="without waiting for quiet")
    parser.add_argument("--seed", type=int, default=None)
    args = parser.parse_args()
    if args.seed is None:
        args.seed = random.SystemRandom().randrange(1 << 32)
    args.build = os.path.abspath(args.build)
    if not begin():
        return 77
    print(f"seed {args.seed}")
    tests = [
        ("hashes", lambda f: hashes(f, args)),
        ("changes_on_tmpfs", lambda f: changes_on_tmpfs(f, args)),
        ("changes", lambda f: changes(f, args, "plain", args.count)),
        ("changes_colliding", lambda f: changes(f, args, "colliding", args.count)),
        ("positions", lambda f: positions(f, args, "plain", args.count)),
        ("positions_colliding", lambda f: positions(f, args, "colliding", args.count)),
    ]
    if args.quick:
        print(f"LEFT OUT changes_after_quiet: it waits {QUIET_SECONDS} s, twice")
    else:
        tests.append(("changes_after_quiet", lambda f: quiet(f, args, "plain", args.count)))
    return run_tests(tests, "scan")


if __name__ == "__main__":
    sys.exit(main())
