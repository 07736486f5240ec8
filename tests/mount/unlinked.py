#!/usr/bin/env python3
"""
Thousands of files that are open but have no name any more, and a server that is killed. After the
next mount the names are as they were acknowledged, fsck.hammer2 --strict finds nothing, and the
storage of those files can be used again, at the latest when there is no other: that much can be
written as could before there was any of them. Whether statfs tells that before is printed.

Needs root and /dev/fuse. Ends with "N passed, N failed, N skipped"; exits with 1 if any failed, and
with 77 (skipped, for meson) if nothing could be run.
"""

import argparse
import errno
import json
import os
import resource
import subprocess
import sys
import time

from h2mount import CHECK_SECONDS, Skip, Volume, begin, check, run_tests

VOLUME_BYTES = 512 << 20
FILE_BYTES = 16 << 10
FILES = 10000
WAIT_FOR_SPACE = 10  # seconds: twice the time after which changes are committed


def allow_descriptors(count):
    want = count + 100
    hard = max(want, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (want, hard))
    except (ValueError, OSError) as e:
        raise Skip(f"not {want} open files: {e}")


def free_bytes(volume):
    st = os.statvfs(volume.root)
    return st.f_bavail * st.f_frsize


def waiting_bytes(volume):
    """What the freemap has as in use, but nothing refers to; of an unmounted volume."""
    done = subprocess.run([os.path.join(volume.bin, "fsck.hammer2"), "--json", volume.spec],
                          capture_output=True, text=True, timeout=CHECK_SECONDS, check=False)
    return json.loads(done.stdout.splitlines()[-1])["unreachable_bytes"]


def sync(volume):
    fd = os.open(volume.root, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def make_files(volume, count):
    fds = []
    for i in range(count):
        path = f"{volume.root}/f{i}"
        # Closing hands over what the kernel has.
        with open(path, "xb") as f:
            f.write(os.urandom(FILE_BYTES))
        fds.append(os.open(path, os.O_RDWR))
    sync(volume)
    return fds


def fill(volume):
    """How many bytes can be written."""
    fd = os.open(f"{volume.root}/fill", os.O_RDWR | os.O_CREAT, 0o600)
    done, step = 0, 1 << 20
    try:
        while step >= 4096:
            try:
                done += os.pwrite(fd, os.urandom(step), done)
                os.fdatasync(fd)
            except OSError as e:
                check(e.errno == errno.ENOSPC, f"filling: {e}")
                step //= 4
    finally:
        os.close(fd)
    return done


def close_all(fds):
    for fd in fds:
        try:
            os.close(fd)
        except OSError:
            pass  # the server is gone


def expect_space(volume, free, what):
    """
    After a crash: as much can be written as was free before, less what the removal of names costs.
    """
    start = time.monotonic()
    told = free_bytes(volume)
    while told < free * 0.98 and time.monotonic() < start + WAIT_FOR_SPACE:
        time.sleep(0.1)
        told = free_bytes(volume)
    if told < free * 0.98:
        print(f"     {what}: statfs tells {told >> 20} of {free >> 20} MiB "
              f"{WAIT_FOR_SPACE} s after the mount")
    written = fill(volume)
    print(f"     {what}: {written >> 20} of {free >> 20} MiB can be written")
    check(written >= free * 0.95, f"{what}: {written} bytes can be written, {free} were free")
    os.unlink(f"{volume.root}/fill")
    sync(volume)


def crash_with_open_files(folder, build, count, acknowledged):
    volume = Volume("v", folder, build, [VOLUME_BYTES])
    fds = []
    try:
        allow_descriptors(count)
        volume.mount()
        free = free_bytes(volume)
        fds = make_files(volume, count)
        for i in range(count):
            os.unlink(f"{volume.root}/f{i}")
        check(os.listdir(volume.root) == [], "names are left")
        check(free_bytes(volume) < free - count * FILE_BYTES * 0.9,
              "statfs tells the storage of open files as free")
        if acknowledged:
            sync(volume)
        # They go on.
        for fd in fds[::100]:
            check(os.fstat(fd).st_nlink == 0, "link count of a file without a name")
            check(len(os.pread(fd, FILE_BYTES, 0)) == FILE_BYTES, "a file without a name is cut")
        volume.kill()
        close_all(fds)
        fds = []
        volume.detach()
        volume.fsck(killed=True)
        volume.mount()
        names = os.listdir(volume.root)
        if acknowledged:
            check(names == [], f"{len(names)} removed names are there again")
        for name in names:
            os.unlink(f"{volume.root}/{name}")
        expect_space(volume, free, f"{count} files, {'' if acknowledged else 'not '}acknowledged")
        volume.unmount()
        volume.fsck()
        left = waiting_bytes(volume)
        check(left < free / 50, f"{left} bytes of storage are nobody's in the end")
    finally:
        close_all(fds)
        volume.clean()


def close_gives_back(folder, build, count):
    """Without a crash: the last close."""
    volume = Volume("v", folder, build, [VOLUME_BYTES])
    fds = []
    try:
        allow_descriptors(count)
        volume.mount()
        free = free_bytes(volume)
        fds = make_files(volume, count)
        for i in range(count):
            os.unlink(f"{volume.root}/f{i}")
        sync(volume)
        close_all(fds)
        fds = []
        deadline = time.monotonic() + 30
        while free_bytes(volume) < free * 0.98:
            check(time.monotonic() < deadline,
                  f"{free_bytes(volume)} of {free} bytes are free 30 s after the last close")
            time.sleep(0.1)
        volume.unmount()
        volume.fsck()
    finally:
        close_all(fds)
        volume.clean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--build", required=True, help="the build directory")
    parser.add_argument("--files", type=int, default=FILES, help="how many")
    args = parser.parse_args()
    if not begin():
        return 77
    return run_tests([
        ("close_gives_back", lambda f: close_gives_back(f, args.build, args.files)),
        ("crash_after_sync", lambda f: crash_with_open_files(f, args.build, args.files, True)),
        ("crash_before_sync", lambda f: crash_with_open_files(f, args.build, args.files, False)),
    ], "unlinked")


if __name__ == "__main__":
    sys.exit(main())
