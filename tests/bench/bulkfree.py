#!/usr/bin/env python3
"""
What bulk free costs on a filesystem of a million small files:

  - the time and the server's peak memory of "hammer2 bulkfree", beside the time in which
    "find MOUNT | wc -l" walks the same filesystem; both after a mount, with nothing of the image
    in the machine's cache (--warm: with all of it);
  - what a writer (1 MiB at a time, one after the other, that neither compresses nor deduplicates,
    fsync at the end) achieves while bulk free runs again and again, and without, in turn: the
    ratio is what says something, and where it is much different from round to round, nothing does.

Needs root and /dev/fuse, and about 4 GiB of disk; --image keeps the filesystem for the next time.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "mount"))
from h2mount import Volume, check, private_mounts, run  # pylint: disable=wrong-import-position

MIB = 1 << 20
FILES = 1000000
PER_DIRECTORY = 500
SIZE_MAX = 2000          # bytes of a file, evenly; those up to 512 are in their inodes
VOLUME_BYTES = 64 << 30
POOL_MIB = 64
BLOCK = 65536


# ---- the filesystem ----

def tar_header(name, size, kind):
    """A ustar header, as quickly as this can be had."""
    head = name.encode().ljust(100, b"\0") + b"0000755\0" + b"0000000\0" * 2 + \
        b"%011o\0" % size + b"14530264000\0"
    tail = kind + bytes(100) + b"ustar\0" + b"00" + bytes(247)
    return head + b"%06o\0 " % (sum(head) + sum(tail) + 8 * 32) + tail


def write_tree(out, count):
    source = random.Random(1)
    pool = source.randbytes(MIB)
    for i in range(count):
        if i % PER_DIRECTORY == 0:
            folder = f"d{i // PER_DIRECTORY // 100}/e{i // PER_DIRECTORY}"
            if i % (PER_DIRECTORY * 100) == 0:
                out.write(tar_header(folder.split("/", maxsplit=1)[0], 0, b"5"))
            out.write(tar_header(folder, 0, b"5"))
        size = source.randrange(SIZE_MAX + 1)
        at = source.randrange(MIB - SIZE_MAX)
        out.write(tar_header(f"{folder}/file-{i}", size, b"0"))
        out.write(pool[at:at + size] + bytes(-size % 512))
    out.write(bytes(1024))


class Image(Volume):
    def __init__(self, folder, build, image, count):
        self.name = "image"
        self.bin = os.path.join(os.path.abspath(build), "bin")
        self.folder = folder
        self.root = os.path.join(folder, "mnt")
        self.log = os.path.join(folder, "server.log")
        os.makedirs(self.root)
        self.files = [image]
        self.spec = image
        self.device = self.server = None
        self.damaged = set()
        self.torn = 0
        if not os.path.exists(image):
            self.make(count)

    def make(self, count):
        start = time.monotonic()
        command = [os.path.join(self.bin, "mkfs.hammer2"), "-q", "-L", "DATA", "-s",
                   str(VOLUME_BYTES), "-d", "-", self.spec]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as made:
            with made.stdin as out:
                write_tree(out, count)
            check(made.wait() == 0, "mkfs.hammer2")
        print(f"{count} files made in {time.monotonic() - start:.0f} s: "
              f"{os.stat(self.spec).st_blocks // 2048} MiB")

    def forget(self):
        """The machine's cache of the image."""
        fd = os.open(self.spec, os.O_RDWR)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)

    def memory(self, what):
        with open(f"/proc/{self.server.pid}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith(what + ":")) / 1024

    def reset_peak(self):
        with open(f"/proc/{self.server.pid}/clear_refs", "w") as f:
            f.write("5")

    def bulkfree(self):
        run(os.path.join(self.bin, "hammer2"), "bulkfree", "-q", self.root, seconds=3600)


# ---- measuring ----

def timed(function, *args, **options):
    start = time.monotonic()
    result = function(*args, **options)
    return time.monotonic() - start, result


def fresh_mount(image, warm):
    if not warm:
        image.forget()
    image.mount()


def compare_with_find(image, count, warm, rounds):
    for _ in range(rounds):
        fresh_mount(image, warm)
        find, found = timed(run, "sh", "-c", f"find '{image.root}' | wc -l", seconds=3600)
        check(int(found.stdout) > count, f"{found.stdout} names")
        image.unmount()
        fresh_mount(image, warm)
        image.reset_peak()
        before = image.memory("VmHWM")
        scan, _ = timed(image.bulkfree)
        peak = image.memory("VmHWM")
        again, _ = timed(image.bulkfree)
        image.unmount()
        print(f"{'warm' if warm else 'cold'}: find {find:.1f} s; bulkfree {scan:.1f} s "
              f"({scan / find:.2f} of it), again {again:.1f} s; peak {peak:.0f} MiB "
              f"({before:.0f} before)", flush=True)


class Source:
    """Blocks of random bytes that are never the same."""

    def __init__(self):
        self.pool = bytearray(os.urandom(POOL_MIB * MIB))
        self.counter = 0

    def next(self):
        at = self.counter % POOL_MIB * MIB
        for block in range(at, at + MIB, BLOCK):
            self.counter_at(block)
        self.counter += 1
        return memoryview(self.pool)[at:at + MIB]

    def counter_at(self, block):
        self.pool[block:block + 16] = b"%016d" % (self.counter * 16 + block // BLOCK % 16)


def write(image, source, count):
    """MiB/s."""
    path = f"{image.root}/written"
    start = time.monotonic()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    for _ in range(count):
        os.write(fd, source.next())
    os.fsync(fd)
    seconds = time.monotonic() - start
    os.close(fd)
    os.unlink(path)
    fd = os.open(image.root, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    return count / seconds


def write_beside(image, source, count):
    """While bulk free runs again and again. Returns also how often it was begun."""
    command = f"while echo; do '{image.bin}/hammer2' bulkfree -q '{image.root}' || exit; done"
    with subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE,
                          start_new_session=True) as scans:
        scans.stdout.readline()
        time.sleep(0.2)
        speed = write(image, source, count)
        scans.terminate()
        begun = 1 + len(scans.stdout.read().split(b"\n")) - 1
        scans.wait()
    image.bulkfree() # the last one has ended then
    return speed, begun


def compare_writers(image, count, rounds):
    source = Source()
    ratios = []
    image.mount()
    image.bulkfree()
    write(image, source, count)
    for _ in range(rounds):
        alone = write(image, source, count)
        beside, begun = write_beside(image, source, count)
        after = write(image, source, count)
        ratios.append(beside / ((alone + after) / 2))
        print(f"writing {count} MiB: {alone:.0f} and {after:.0f} MiB/s alone, {beside:.0f} MiB/s "
              f"beside {begun} bulk frees: {100 * ratios[-1]:.0f} %", flush=True)
    image.unmount()
    print(f"median {100 * statistics.median(ratios):.0f} %, from {100 * min(ratios):.0f} to "
          f"{100 * max(ratios):.0f} %")


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--build", required=True, help="the build directory")
    parser.add_argument("--image", help="made if there is none, and kept")
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--mib", type=int, default=512, help="that a writer writes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warm", action="store_true", help="leave the machine's cache as it is")
    parser.add_argument("what", nargs="*", metavar="find|writers")
    args = parser.parse_args()
    private_mounts()
    folder = tempfile.mkdtemp(prefix="hammer2-bulkfree-")
    image = Image(folder, args.build, args.image or f"{folder}/image", args.files)
    try:
        # What mkfs leaves to the first mount is done then, and what may be lost is known.
        image.mount()
        image.bulkfree()
        image.unmount()
        if not args.what or "find" in args.what:
            compare_with_find(image, args.files, args.warm, args.rounds)
        if not args.what or "writers" in args.what:
            compare_writers(image, args.mib, args.rounds)
    finally:
        image.clean()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
