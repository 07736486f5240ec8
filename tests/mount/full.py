#!/usr/bin/env python3
"""
Filesystems that are full: with data, with names, with what is overwritten, appended and stored
through mappings, by one process or many. What an fsync, msync or close has acknowledged is there
after the next mount; what was not possible was said, and never lost silently. Files can be removed
and cut, and directories removed, when nothing is free; the space comes back; and statfs never tells
more than can be written, within a tolerance. The same is done on ext4 first, which shows that what
is expected is what Linux does, with its own tolerance for statfs.

Needs root; ext4 needs mkfs.ext4 and a loop device, HAMMER2 needs /dev/fuse. Ends with "N passed, N
failed, N skipped"; exits with 1 if any failed, and with 77 (skipped, for meson) if nothing could be
run.
"""

import argparse
import errno
import hashlib
import mmap
import os
import random
import shutil
import signal
import subprocess
import sys
import time

from h2mount import Skip, Volume, WAIT_SECONDS, begin, check, run, run_tests

MIB = 1 << 20
SPACE_SECONDS = 30  # for space to come back
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class Hammer2:
    """How much of what statfs tells can be written: 1/32 and 2 MiB less, for what names them."""
    name = "hammer2"
    slack = 2 * MIB
    share = 32

    def __init__(self, folder, build, size):
        self.volume = Volume("v", folder, build, [size])
        self.volume.mount()
        self.root = self.volume.root

    def remount(self):
        self.volume.unmount()
        self.volume.fsck()
        self.volume.mount()

    def crash(self):
        self.volume.kill()
        self.volume.detach()
        self.volume.fsck(killed=True)
        self.volume.mount()

    def finish(self):
        self.volume.unmount()
        self.volume.fsck()

    def clean(self):
        self.volume.clean()


class Ext4:
    name = "ext4"
    slack = 4 * MIB
    share = 32

    def __init__(self, folder, _, size):
        if not shutil.which("mkfs.ext4"):
            raise Skip("no mkfs.ext4")
        self.image = os.path.join(folder, "image")
        self.root = os.path.join(folder, "mnt")
        os.mkdir(self.root)
        with open(self.image, "wb") as f:
            f.truncate(size)
        run("mkfs.ext4", "-q", "-F", "-m", "0", self.image)
        self.mount()

    def mount(self):
        done = subprocess.run(["mount", "-t", "ext4", "-o", "loop", self.image, self.root],
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise Skip(f"ext4 on a loop device cannot be mounted here: {done.stderr.strip()}")

    def remount(self):
        run("umount", self.root)
        run("e2fsck", "-fn", self.image)
        self.mount()

    crash = remount

    def finish(self):
        run("umount", self.root)
        run("e2fsck", "-fn", self.image)

    def clean(self):
        subprocess.run(["umount", "-l", self.root], stderr=subprocess.DEVNULL, check=False)


# ---- tools ----

def content(seed, size):
    """Bytes that cannot be compressed, and can be had again."""
    return hashlib.shake_128(str(seed).encode()).digest(size)


def free_bytes(fs):
    st = os.statvfs(fs.root)
    check(st.f_bavail <= st.f_bfree <= st.f_blocks, f"{fs.name}: statfs is inconsistent: {st}")
    return st.f_bavail * st.f_frsize


def has_room(call):
    """Do what may find no space; whether it did not."""
    try:
        call()
    except OSError as e:
        if e.errno not in NO_SPACE:
            raise
        return False
    return True


def write_file(path, data, at=0, flags=os.O_CREAT):
    """Write and fsync. Whether both were acknowledged."""
    fd = None

    def call():
        nonlocal fd
        fd = os.open(path, os.O_WRONLY | flags, 0o644)
        done = 0
        while done < len(data):
            done += os.pwrite(fd, data[done:], at + done)
        os.fsync(fd)
    try:
        return has_room(call)
    finally:
        if fd is not None:
            has_room(lambda: os.close(fd))


def fill_with_data(fs, folder, seed=0):
    """Files until nothing fits any more: a dictionary of what was acknowledged."""
    files = {}
    if not has_room(lambda: os.mkdir(f"{fs.root}/{folder}")):
        return files
    for size in (MIB, 128 << 10, 16 << 10, 4096):
        for i in range(100000):
            path = f"{folder}/{size}-{i}"
            if not write_file(f"{fs.root}/{path}", content(f"{seed}{path}", size)):
                break
            files[path] = size
    return files


def expect_files(fs, files, seed=0):
    for path, size in files.items():
        with open(f"{fs.root}/{path}", "rb") as f:
            check(f.read() == content(f"{seed}{path}", size),
                  f"{fs.name}: {path} is not what was acknowledged")


def expect_space(fs, before, what):
    deadline = time.monotonic() + SPACE_SECONDS
    while free_bytes(fs) < before * 0.97:
        check(time.monotonic() < deadline, f"{fs.name}: {what}: {free_bytes(fs)} of {before} bytes "
                                           f"are free after {SPACE_SECONDS} s")
        time.sleep(0.05)


def number_of(name):
    """Names that were made one after the other, in that order."""
    return int(name.split("-")[0]) if name[:1].isdigit() else -1


def as_listed(_):
    return 0


def remove_all(fs, order=number_of):
    """At 0 bytes free; nothing may fail."""
    for base, directories, files in os.walk(fs.root, topdown=False):
        for name in sorted(files, key=order):
            os.unlink(os.path.join(base, name))
        for name in sorted(directories, key=order):
            path = os.path.join(base, name)
            if os.path.islink(path):
                os.unlink(path)
            elif name != "lost+found":
                os.rmdir(path)


def sync(fs):
    fd = os.open(fs.root, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


# ---- tests ----

def data(fs):
    free = free_bytes(fs)
    os.mkdir(fs.root + "/half")
    half = {}
    while free_bytes(fs) > free / 2:
        path = f"half/{len(half)}"
        check(write_file(f"{fs.root}/{path}", content(f"0{path}", MIB)), "no space at half")
        half[path] = MIB
    told = free_bytes(fs)
    files = fill_with_data(fs, "rest")
    written = sum(files.values())
    print(f"     {fs.name}: of {told >> 10} KiB that statfs told {written >> 10} KiB could be "
          f"written; then it told {free_bytes(fs) >> 10} KiB")
    check(written >= told - told // fs.share - fs.slack, "statfs told more than could be written")
    check(free_bytes(fs) <= fs.slack, "statfs tells space, but nothing can be written")
    fs.crash()
    expect_files(fs, {**half, **files})
    check(free_bytes(fs) <= fs.slack + free // 64, f"statfs tells {free_bytes(fs)} after the mount")
    remove_all(fs)
    sync(fs)
    expect_space(fs, free, "after removal")
    # It can be used again, as often as one likes.
    again = fill_with_data(fs, "again")
    check(sum(again.values()) >= 0.95 * (written + MIB * len(half)),
          f"the second time {sum(again.values())} bytes fit, before {written + MIB * len(half)}")
    fs.remount()
    expect_files(fs, again)


MAKERS = {
    "empty": lambda path, i: os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600)),
    "directory": lambda path, i: os.mkdir(path),
    "longname": lambda path, i: os.close(os.open(path + "n" * (240 - len(str(i))),
                                                 os.O_CREAT | os.O_EXCL, 0o600)),
    "symlink": lambda path, i: os.symlink("t" * (600 + i % 400), path),
    "link": lambda path, i: os.link(os.path.dirname(path) + "/../one", path),
}


def names(fs, kind, order=number_of):
    free = free_bytes(fs)
    # Little is left, so that this ends; what can be removed is in the way.
    ballast = 0
    while free_bytes(fs) > 6 * MIB and \
            write_file(f"{fs.root}/ballast{ballast}", content(ballast, MIB)):
        ballast += 1
    os.mkdir(fs.root + "/names")
    os.close(os.open(fs.root + "/one", os.O_CREAT, 0o600))
    count = 0
    while count < 60000 and has_room(lambda: MAKERS[kind](f"{fs.root}/names/{count}-", count)):
        count += 1
    # What was accepted has its room.
    sync(fs)
    expected = sorted(os.listdir(fs.root + "/names"))
    check(len(expected) == count, f"{len(expected)} names are listed, {count} were made")
    fs.crash()
    check(sorted(os.listdir(fs.root + "/names")) == expected, "names are not those acknowledged")
    if kind == "link":
        check(os.lstat(fs.root + "/one").st_nlink == count + 1, "link count")
    print(f"     {fs.name}, {kind}: {count} names")
    remove_all(fs, order)
    sync(fs)
    expect_space(fs, free, kind)


def removal(fs):
    """What gives space back works when there is none."""
    free = free_bytes(fs)
    files = fill_with_data(fs, "data")
    while has_room(lambda: os.mkdir(f"{fs.root}/data/d{len(files)}")):
        files[f"data/d{len(files)}"] = None
        if len(files) > 50000:
            break
    has_room(lambda: sync(fs))
    paths = [p for p, size in files.items() if size == MIB]
    os.truncate(f"{fs.root}/{paths[0]}", 0)
    os.truncate(f"{fs.root}/{paths[1]}", 65536)
    os.unlink(f"{fs.root}/{paths[2]}")
    os.rename(f"{fs.root}/{paths[3]}", f"{fs.root}/{paths[4]}")
    directory = next(p for p, size in files.items() if size is None)
    os.rmdir(f"{fs.root}/{directory}")
    sync(fs)
    fs.crash()
    check(os.stat(f"{fs.root}/{paths[0]}").st_size == 0, "a file was not cut")
    check(os.stat(f"{fs.root}/{paths[1]}").st_size == 65536, "a file was not cut")
    with open(f"{fs.root}/{paths[1]}", "rb") as f:
        check(f.read() == content(f"0{paths[1]}", MIB)[:65536], "a file that was cut")
    for path in (paths[2], paths[3], directory):
        check(not os.path.lexists(f"{fs.root}/{path}"), f"{path} is there again")
    with open(f"{fs.root}/{paths[4]}", "rb") as f:
        check(f.read() == content(f"0{paths[3]}", MIB), "a file that was renamed")
    # Three files are gone: there is room for two.
    for i in range(2):
        deadline = time.monotonic() + SPACE_SECONDS
        while not write_file(f"{fs.root}/new{i}", content(i, MIB)):
            check(time.monotonic() < deadline, "the space of what was removed does not come back")
            time.sleep(0.1)
    remove_all(fs)
    sync(fs)
    expect_space(fs, free, "after removal")


def overwriting(fs):
    """Each block is what it was, or what it should become; the latter where that was acknowledged."""
    block, count = 65536, 64
    path = fs.root + "/old"
    check(write_file(path, b"".join(content(i, block) for i in range(count))), "no space")
    fill_with_data(fs, "fill")
    expected = [{content(i, block)} for i in range(count)]
    chance = random.Random(1)
    refused = 0
    for n in range(60):
        i = chance.randrange(count)
        new = content(f"new{n}", block)
        if write_file(path, new, i * block, 0):
            expected[i] = {new}
        else:
            expected[i].add(new)
            refused += 1
    print(f"     {fs.name}: {refused} of 60 blocks could not be written over")
    fs.crash()
    with open(path, "rb") as f:
        for i in range(count):
            check(f.read(block) in expected[i], f"block {i} is neither old nor new")
    remove_all(fs)


def append_until_full(root, number):
    """In a process of its own; how many records were acknowledged, in its exit's file."""
    record, acknowledged, written = 5000, 0, 0
    fd = os.open(f"{root}/log{number}", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    failed = 0
    while failed < 3:
        def call():
            nonlocal written, acknowledged
            data_ = content(f"{number}-{written}", record)
            n = os.write(fd, data_)
            if n < record:
                os.ftruncate(fd, written * record)
                raise OSError(errno.ENOSPC, "in part")
            written += 1
            if written % 50 == 0:
                os.fsync(fd)
                acknowledged = written
        if not has_room(call):
            failed += 1
            time.sleep(0.02)
    return acknowledged


def many_writers(fs):
    free = free_bytes(fs)
    ballast = 0
    while free_bytes(fs) > 16 * MIB:
        check(write_file(f"{fs.root}/ballast{ballast}", content(ballast, MIB)), "no space")
        ballast += 1
    readers = []
    for number in range(8):
        reader, writer = os.pipe()
        if os.fork() == 0:
            try:
                os.write(writer, str(append_until_full(fs.root, number)).encode())
            except OSError as e:
                os.write(writer, repr(e).encode())
            finally:
                os._exit(0)
        os.close(writer)
        readers.append(reader)
    said = [os.read(reader, 100).decode() for reader in readers]
    for reader in readers:
        os.close(reader)
        os.wait()
    check(all(s.isdigit() for s in said), f"writers: {said}")
    fs.crash()
    for number, acknowledged in enumerate(map(int, said)):
        with open(f"{fs.root}/log{number}", "rb") as f:
            for i in range(acknowledged):
                check(f.read(5000) == content(f"{number}-{i}", 5000),
                      f"record {i} of {acknowledged} of writer {number} is lost")
    print(f"     {fs.name}: {sum(map(int, said))} records of 8 writers")
    remove_all(fs)
    sync(fs)
    expect_space(fs, free, "after removal")


STEP = 65536


def store(path, size, first, seed, close_only):
    """
    In a process of its own: store into a mapping step by step, and have each acknowledged. Writes
    the number of steps that were to its stdout, and how it ended.
    """
    fd = os.open(path, os.O_RDWR)
    acknowledged, how = first, "end"
    with mmap.mmap(fd, size) as mapping:
        os.write(1, b"%08d" % acknowledged)
        for i in range(first, size // STEP):
            mapping[i * STEP:(i + 1) * STEP] = content(f"{seed}{i}", STEP)
            try:
                if close_only:
                    os.close(os.dup(fd))
                else:
                    mapping.flush(i * STEP, STEP)
            except OSError as e:
                how = errno.errorcode[e.errno]
                break
            acknowledged = i + 1
            os.write(1, b"%08d" % acknowledged)
    return how


def store_in_child(fs, path, size, seed, close_only=False):
    """How many steps were acknowledged, and how it ended: SIGBUS, an error, or at the end."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(writer, 1)
        code = 9
        try:
            how = store(path, size, 0, seed, close_only)
            code = {"end": 0, "ENOSPC": 1}.get(how, 2)
        finally:
            os._exit(code)
    os.close(writer)
    said = b""
    while part := os.read(reader, 65536):
        said += part
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        check(os.WTERMSIG(status) == signal.SIGBUS, f"signal {os.WTERMSIG(status)}")
        how = "SIGBUS"
    else:
        how = {0: "end", 1: "ENOSPC"}.get(os.WEXITSTATUS(status))
        check(how, f"storing: exit status {status}")
    return int(said[-8:] or 0), how


def expect_steps(path, count, seed, what):
    with open(path, "rb") as f:
        for i in range(count):
            check(f.read(STEP) == content(f"{seed}{i}", STEP),
                  f"{what}: step {i} of {count} that were acknowledged is lost")


def mapped(fs):
    free = free_bytes(fs)
    ballast = 0
    # Into what exists: every store needs a new place on a filesystem that never writes over.
    old = fs.root + "/old"
    check(write_file(old, b"".join(content(f"old{i}", STEP) for i in range(128))), "no space")
    while free_bytes(fs) > 12 * MIB:
        check(write_file(f"{fs.root}/ballast{ballast}", content(ballast, MIB)), "no space")
        ballast += 1
    # Into a hole that is larger than what is free.
    hole = fs.root + "/hole"
    with open(hole, "wb") as f:
        f.truncate(32 * MIB)
    count, how = store_in_child(fs, hole, 32 * MIB, "hole")
    check(how in ("SIGBUS", "ENOSPC"), f"storing 32 MiB where 12 are free: {how}")
    print(f"     {fs.name}: {count} of 512 steps into a hole, then {how}")
    fill_with_data(fs, "fill")
    over, how = store_in_child(fs, old, 128 * STEP, "over")
    print(f"     {fs.name}: {over} of 128 steps into existing data, then {how}")
    fs.crash()
    expect_steps(hole, count, "hole", "a hole")
    expect_steps(old, over, "over", "existing data")
    with open(old, "rb") as f:
        for i in range(128):
            may = {content(f"old{i}", STEP), content(f"over{i}", STEP)}
            # The step that failed may be there in part: pages are written one by one.
            check(f.read(STEP) in may or i == over, f"step {i} is neither old nor new")
    remove_all(fs)
    sync(fs)
    expect_space(fs, free, "after removal")


def allocation(fs):
    free = free_bytes(fs)
    fd = os.open(fs.root + "/f", os.O_CREAT | os.O_RDWR, 0o600)
    check(not has_room(lambda: os.posix_fallocate(fd, 0, free * 4)), "fallocate beyond all space")
    os.ftruncate(fd, 0)
    check(has_room(lambda: os.posix_fallocate(fd, 0, free // 4)), "fallocate within what is free")
    check(os.fstat(fd).st_size == free // 4, "size after fallocate")
    os.ftruncate(fd, 0)
    fill_with_data(fs, "data")
    check(not has_room(lambda: os.posix_fallocate(fd, 0, 16 * MIB)), "fallocate on a full one")
    os.close(fd)
    remove_all(fs)
    sync(fs)
    expect_space(fs, free, "after removal")


TESTS = {
    "data": data,
    "removal": removal,
    "overwriting": overwriting,
    "many_writers": many_writers,
    "mapped": mapped,
    "allocation": allocation,
    **{f"names_{kind}": (lambda fs, kind=kind: names(fs, kind)) for kind in MAKERS
       if kind != "link"},
    "names_link": lambda fs: names(fs, "link", as_listed),
    # For their inodes the order in which they are listed is no order at all; nor is for a directory
    # the one in which they were made.
    "anyorder_empty": lambda fs: names(fs, "empty", as_listed),
    "anyorder_link": lambda fs: names(fs, "link", number_of),
}

def one(kind, test, folder, args):
    fs = kind.__new__(kind)
    try:
        fs.__init__(folder, args.build, args.size * MIB)
        test(fs)
        fs.finish()
    finally:
        fs.clean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--build", required=True, help="the build directory")
    parser.add_argument("--size", type=int, default=128, help="of the volumes, MiB")
    parser.add_argument("--on", choices=("ext4", "hammer2"), help="one kind only")
    parser.add_argument("tests", nargs="*", help="parts of names of tests; all by default")
    args = parser.parse_args()
    if not begin():
        return 77
    chosen = [(f"{kind.name} {name}", lambda f, k=kind, t=test: one(k, t, f, args))
              for name, test in TESTS.items() for kind in (Ext4, Hammer2)
              if args.on in (None, kind.name) and
              (not args.tests or any(t in name for t in args.tests))]
    return run_tests(chosen, "full")


if __name__ == "__main__":
    sys.exit(main())
