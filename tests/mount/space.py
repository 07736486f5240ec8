#!/usr/bin/env python3
"""
Space that comes back through the kernel, without any command.

Writing: several times as much as is free goes into one file, in a loop of rewriting it and of ways
to give back what it holds; a file that nobody can name, or one with a name; beside nothing, or beside
a file that takes most of the volume. Nothing may meet ENOSPC. What is written is random, so that
neither compression nor deduplication help.

Removal: after the removal of a big file that no snapshot holds, or of a directory of many small
files, written in this mount or before it, statfs tells the space within 10 seconds. The seconds
are printed.

Needs root and /dev/fuse. Ends with "N passed, N failed, N skipped"; exits with 1 if any failed, and
with 77 (skipped, for meson) if nothing could be run.
"""

import argparse
import ctypes
import os
import random
import shutil
import sys
import time

from h2mount import Failure, Skip, Volume, begin, check, run_tests

MIB = 1 << 20
VOLUME_MIB = 256
TIMES = 10               # of what is free
LEFT_MIB = 40            # what a file that takes most of it leaves of it
FILES = 20000
WITHIN = 10              # seconds
PUNCH_HOLE, KEEP_SIZE = 2, 1

libc = ctypes.CDLL(None, use_errno=True)


def free_bytes(volume):
    st = os.statvfs(volume.root)
    return st.f_bavail * st.f_frsize


def sync(volume):
    fd = os.open(volume.root, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def write_at(fd, offset, count):
    """count bytes in pieces of 1 MiB."""
    end = offset + count
    while offset < end:
        offset += os.pwrite(fd, os.urandom(min(MIB, end - offset)), offset)


def make_file(path, count):
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    write_at(fd, 0, count)
    os.fsync(fd)
    os.close(fd)


# ---- writing more than there is room for ----

class Loop:
    """A file of at most so many bytes, and how many have been written into it."""

    def __init__(self, fd, size, seed):
        self.fd = fd
        self.size = size
        self.random = random.Random(seed)
        self.written = 0

    def write(self, offset, count):
        write_at(self.fd, offset, count)
        self.written += count

    def in_place(self):
        self.write(0, self.size)

    def pages(self):
        """Rewriting in place in random order."""
        for _ in range(self.size // (4 * MIB)):
            self.write(self.random.randrange(self.size // 4096 - 256) * 4096, MIB)

    def to_zero(self):
        os.ftruncate(self.fd, 0)
        self.write(0, self.size)

    def in_part(self):
        """Cut it somewhere, not at a block's boundary as a rule, and write the rest again."""
        at = self.random.randrange(self.size // 2)
        os.ftruncate(self.fd, at)
        self.write(at, self.size - at)

    def punch(self):
        at = self.random.randrange(self.size // 2)
        count = self.random.randrange(MIB, self.size // 2)
        if libc.fallocate(self.fd, PUNCH_HOLE | KEEP_SIZE, ctypes.c_int64(at),
                          ctypes.c_int64(count)):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        self.write(at, count)

    def mixed(self):
        self.random.choice((self.in_place, self.pages, self.to_zero, self.in_part, self.punch))()


# How much of the free space the file takes: what is replaced stays until a commit.
WAYS = {
    "in_place": 0.4, "pages": 0.4, "to_zero": 0.8, "in_part": 0.6, "punch": 0.4, "mixed": 0.4,
}


def open_file(volume, name):
    """name: of the kind."""
    if name == "tmpfile":
        try:
            return os.open(volume.root, os.O_RDWR | os.O_TMPFILE, 0o600)
        except OSError as e:
            raise Skip(f"O_TMPFILE: {e.strerror}") from e
    path = f"{volume.root}/file"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    if name == "unlinked":
        os.unlink(path)
    return fd


def write_often(volume, kind, way, times, seed):
    """With the kernel's cache ENOSPC shows in fsync() and close(), or not before the next one."""
    free = free_bytes(volume)
    fd = open_file(volume, kind)
    loop = Loop(fd, int(free * WAYS[way]) // MIB * MIB, seed)
    start = time.monotonic()
    rounds = 0
    try:
        while loop.written < times * free:
            getattr(loop, way)()
            rounds += 1
            if rounds % 3 == 0:
                os.fsync(fd)
        os.fsync(fd)
    except OSError as e:
        raise Failure(f"{kind}, {way}, seed {seed}: {e} after {loop.written >> 20} MiB in {rounds} "
                      f"rounds; {free >> 20} MiB were free, the file has {loop.size >> 20} MiB, "
                      f"{free_bytes(volume) >> 20} MiB are free") from e
    finally:
        os.close(fd)
    if kind == "linked":
        os.unlink(f"{volume.root}/file")
    seconds = time.monotonic() - start
    print(f"     {kind}, {way}: {loop.written >> 20} MiB, {free >> 20} MiB were free; "
          f"{loop.written / MIB / seconds:.0f} MiB/s")
    sync(volume)


def expect_free(volume, wanted, what, within=WITHIN):
    start = time.monotonic()
    while free_bytes(volume) < wanted:
        check(time.monotonic() < start + within,
              f"{what}: {free_bytes(volume) >> 20} of {wanted >> 20} MiB are free after {within} s")
        time.sleep(0.02)
    return time.monotonic() - start


def writing(folder, args, kinds, beside):
    volume = Volume("v", folder, args.build, [args.size * MIB])
    print(f"     --seed {args.seed}")
    try:
        volume.mount()
        if beside:
            make_file(f"{volume.root}/beside", free_bytes(volume) - args.left * MIB)
        free = free_bytes(volume)
        for kind in kinds:
            for way in WAYS:
                write_often(volume, kind, way, args.times, args.seed)
                expect_free(volume, free - 2 * MIB, f"{kind}, {way}: afterwards", 30)
        volume.unmount()
        volume.fsck()
    finally:
        volume.clean()


# ---- removal ----

def remove_file(volume):
    os.unlink(f"{volume.root}/big")


def make_directory(volume, count):
    os.mkdir(f"{volume.root}/many")
    for i in range(count):
        fd = os.open(f"{volume.root}/many/file-{i}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(fd, os.urandom(2048))
        os.close(fd)
    sync(volume)


def remove_directory(volume):
    shutil.rmtree(f"{volume.root}/many")


def removal(folder, args, make, remove):
    """Of what this mount has written, and of what an earlier one has."""
    volume = Volume("v", folder, args.build, [args.size * MIB])
    try:
        for remount in (False, True):
            volume.mount()
            free = free_bytes(volume)
            make(volume)
            taken = free - free_bytes(volume)
            if remount:
                volume.unmount()
                volume.mount()
            start = time.monotonic()
            remove(volume)
            took = time.monotonic() - start
            # The commits of removing take some; a hundredth is not missed.
            seconds = expect_free(volume, free - max(taken // 100, MIB // 2),
                                  "removal, written before" if remount else "removal")
            print(f"     {taken / MIB:.0f} MiB written {'before' if remount else 'in'} this mount: "
                  f"removed in {took:.1f} s, free after {seconds:.1f} s more")
            # It is what it says.
            make_file(f"{volume.root}/again", taken * 9 // 10)
            os.unlink(f"{volume.root}/again")
            volume.unmount()
            volume.fsck()
    finally:
        volume.clean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--build", required=True, help="the build directory")
    parser.add_argument("--size", type=int, default=VOLUME_MIB, help="of the volume, MiB")
    parser.add_argument("--left", type=int, default=LEFT_MIB, help="beside another file, MiB")
    parser.add_argument("--times", type=float, default=TIMES, help="of the free space are written")
    parser.add_argument("--files", type=int, default=FILES, help="in the directory")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("tests", nargs="*")
    args = parser.parse_args()
    if not begin():
        return 77
    big = args.size * MIB * 5 // 8
    tests = {
        "unlinked_beside": lambda f: writing(f, args, ("unlinked",), True),
        "tmpfile_beside": lambda f: writing(f, args, ("tmpfile",), True),
        "linked_beside": lambda f: writing(f, args, ("linked",), True),
        "unlinked_alone": lambda f: writing(f, args, ("unlinked",), False),
        "tmpfile_alone": lambda f: writing(f, args, ("tmpfile",), False),
        "linked_alone": lambda f: writing(f, args, ("linked",), False),
        "file": lambda f: removal(f, args, lambda v: make_file(f"{v.root}/big", big), remove_file),
        "directory": lambda f: removal(f, args, lambda v: make_directory(v, args.files),
                                       remove_directory),
    }
    unknown = set(args.tests) - set(tests)
    if unknown:
        parser.error(f"no test {', '.join(sorted(unknown))}")
    return run_tests([(name, test) for name, test in tests.items()
                      if not args.tests or name in args.tests], "space")


if __name__ == "__main__":
    sys.exit(main())
