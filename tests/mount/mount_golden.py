#!/usr/bin/env python3
"""Mount the PFSs of the test images and compare everything that is seen with the manifests.

Each PFS is mounted with mount.hammer2, walked with scandir, lstat and readlink, and every file is
read; long sparse ones through SEEK_DATA and SEEK_HOLE. Names, types, modes, owners, sizes, links,
inode numbers, times, device numbers, targets, contents and allocated blocks are compared.
"""

import errno
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden"))
import h2images
from h2images import Collection, Contents, Failure, Tally, field_bytes, show_path

SECONDS_MAX = 60
UNMOUNT_SECONDS_MAX = 20
BLOCK = 65536
READ_SIZE = 1 << 20
# Files up to here are read from end to end, longer ones only where they have data.
READ_WHOLE_MAX = 256 << 20
BLOCKS_WITHOUT_INDIRECT = 4
DIRECTORY_BLOCKS = 2
# What a device number of the kernel and the FUSE protocol hold.
MAJOR_MAX = (1 << 12) - 1
MINOR_MAX = (1 << 20) - 1
# -1 is no user for the kernel, which shows another number for it.
ID_NONE = 0xffffffff

TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo",
         stat.S_IFCHR: "chr", stat.S_IFBLK: "blk", stat.S_IFSOCK: "socket"}


def is_mounted(folder):
    """Whether something is mounted there. The folder itself cannot tell once a daemon has died."""
    with open("/proc/self/mounts", "rb") as file:
        return any(os.fsencode(folder) == line.split(b" ")[1].replace(b"\\040", b" ")
                   for line in file)


def unmount(folder):
    """Unmount, waiting for whoever may look at a fresh mount; True where that worked."""
    end = time.monotonic() + UNMOUNT_SECONDS_MAX
    while is_mounted(folder):
        for command in (["umount", folder], ["fusermount3", "-u", folder]):
            try:
                done = subprocess.run(command, capture_output=True, timeout=SECONDS_MAX,
                                      check=False)
            except (OSError, subprocess.TimeoutExpired):
                continue
            if done.returncode == 0:
                break
        else:
            time.sleep(0.1)
        if time.monotonic() > end:
            subprocess.run(["umount", "-l", folder], capture_output=True, check=False)
            return False
    return True


class Mount:
    """A PFS, mounted for as long as the context lasts."""

    def __init__(self, program, volumes, label, folder):
        self.command = [program, ":".join(volumes) + "@" + label, folder]
        self.folder = folder

    def __enter__(self):
        os.makedirs(self.folder, exist_ok=True)
        try:
            self.mount()
        except Failure:
            unmount(self.folder)
            raise
        return os.fsencode(self.folder)

    def mount(self):
        done = h2images.run(self.command, SECONDS_MAX)
        if done.returncode:
            raise Failure(f"mount.hammer2: exit {done.returncode}: {h2images.output_lines(done)}")
        if not is_mounted(self.folder):
            raise Failure("mount.hammer2: exit 0, but nothing is mounted")

    def __exit__(self, kind, value, trace):
        if not unmount(self.folder) and kind is None:
            raise Failure("unmounting failed")


def read_range(fd, offset, end):
    """The bytes of a range, in parts."""
    while offset < end:
        part = os.pread(fd, min(READ_SIZE, end - offset), offset)
        if not part:
            raise Failure(f"the file ends at {offset}, before its size")
        offset += len(part)
        yield part


def data_ranges(fd, size):
    """Where the kernel says that there is data."""
    offset = 0
    while offset < size:
        try:
            start = os.lseek(fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        offset = os.lseek(fd, start, os.SEEK_HOLE)
        if offset <= start:
            raise Failure(f"SEEK_HOLE from {start} gives {offset}")
        yield start, offset


def digest_zeros(digest, count):
    zeros = bytes(READ_SIZE)
    while count > 0:
        digest.update(zeros[:min(count, READ_SIZE)])
        count -= READ_SIZE


def digest_file(fd, size):
    """SHA-256 of a file; holes of a long one are not read."""
    digest = hashlib.sha256()
    ranges = [(0, size)] if size <= READ_WHOLE_MAX else data_ranges(fd, size)
    done = 0
    for start, end in ranges:
        digest_zeros(digest, start - done)
        for part in read_range(fd, start, end):
            digest.update(part)
        done = end
    digest_zeros(digest, size - done)
    return digest.hexdigest()


def digest_blocks(fd, size):
    """[offset, length, SHA-256] of each 64 KiB block that has data."""
    blocks = []
    for start, end in data_ranges(fd, size):
        for offset in range(start, end, BLOCK):
            length = min(BLOCK, end - offset)
            data = b"".join(read_range(fd, offset, offset + length))
            blocks.append([offset, length, hashlib.sha256(data).hexdigest()])
    return blocks


def expected_ranges(record):
    """What SEEK_DATA and SEEK_HOLE must show."""
    if record["embedded"]:
        return [(0, record["size"])] if record["size"] else []
    return [(start, min(start + length, record["size"])) for start, length in record["extents"]
            if start < record["size"]]


def check_content(what, path, record):
    """Problems of what is in a file."""
    problems = []
    size = record["size"]
    fd = os.open(path, os.O_RDONLY)
    try:
        if record["sha256"] is None:
            found = digest_blocks(fd, size)
            expected = record.get("block_sha256", [])
            if found != expected:
                problems.append(f"{what}: block_sha256: found {h2images.shorten(found)}, "
                                f"expected {h2images.shorten(expected)}")
        else:
            found = digest_file(fd, size)
            if found != record["sha256"]:
                problems.append(f"{what}: sha256: found {found}, expected {record['sha256']}")
        ranges = list(data_ranges(fd, size))
        if ranges != expected_ranges(record):
            problems.append(f"{what}: SEEK_DATA and SEEK_HOLE: found {h2images.shorten(ranges)}, "
                            f"expected {h2images.shorten(expected_ranges(record))}")
        if size < (1 << 63) - BLOCK and os.pread(fd, 10, size):
            problems.append(f"{what}: there is data behind the end")
    finally:
        os.close(fd)
    return problems


def device_number(record):
    """What st_rdev shows of rmajor and rminor; None where the kernel cannot express them."""
    if record["rmajor"] > MAJOR_MAX or record["rminor"] > MINOR_MAX:
        return None
    return os.makedev(record["rmajor"], record["rminor"])


def blocks_wrong(record, blocks):
    """Whether st_blocks contradicts the manifest, which does not count indirect blocks."""
    if record["type"] == "dir":
        return blocks != DIRECTORY_BLOCKS
    if record["type"] != "file" or record["embedded"]:
        return blocks != 0 and record.get("embedded", True)
    stored = record.get("blocks", {"count": 0, "phys_bytes": 0})
    if stored["count"] <= BLOCKS_WITHOUT_INDIRECT and record["size"] <= 4 * BLOCK:
        return blocks != stored["phys_bytes"] // 512
    return blocks < stored["phys_bytes"] // 512


def check_attributes(what, status, record):
    """Problems of what lstat says."""
    expected = {"type": record["type"], "mode": record["mode"], "size": record["size"],
                "nlink": record["nlink"], "ino": record["ino"],
                "mtime_ns": record["mtime_us"] * 1000, "rdev": 0}
    found = {"type": TYPES.get(stat.S_IFMT(status.st_mode)),
             "mode": f"{stat.S_IMODE(status.st_mode):04o}", "size": status.st_size,
             "nlink": status.st_nlink, "ino": status.st_ino, "mtime_ns": status.st_mtime_ns,
             "rdev": status.st_rdev}
    if "ctime_ns" in record:
        expected["ctime_ns"], found["ctime_ns"] = record["ctime_ns"], status.st_ctime_ns
    if "rmajor" in record:
        expected["rdev"] = device_number(record)
        if expected["rdev"] is None:
            expected["rdev"] = found["rdev"]
    for field, value in (("uid", status.st_uid), ("gid", status.st_gid)):
        if record[field] != ID_NONE:
            expected[field], found[field] = record[field], value
    problems = h2images.compare_fields(what, expected, found)
    if blocks_wrong(record, status.st_blocks):
        problems.append(f"{what}: st_blocks {status.st_blocks} does not fit "
                        f"{h2images.shorten(record.get('blocks', {}))}")
    return problems


def check_entry(what, path, status, record):
    problems = check_attributes(what, status, record)
    if problems:
        return problems
    if record["type"] == "symlink":
        target = os.readlink(path)
        if target != field_bytes(record, "target"):
            problems.append(f"{what}: target: found {target!r}, "
                            f"expected {field_bytes(record, 'target')!r}")
    elif record["type"] == "file":
        problems += check_content(what, path, record)
    return problems


class Walk:
    """A mounted PFS, compared with the entries of the manifest."""

    def __init__(self, pfs, root, expected):
        self.pfs = pfs
        self.root = root
        self.expected = expected
        self.seen = set()
        self.problems = []

    def visit(self, path, ino=None):
        """One entry; True for a directory to go into."""
        what = show_path(self.pfs, path)
        record = self.expected.get(path)
        if path in self.seen:
            self.problems.append(f"{what}: listed twice")
            return False
        self.seen.add(path)
        if record is None:
            self.problems.append(f"{what}: unexpected")
            return False
        try:
            status = os.lstat(self.root + path)
            if ino is not None and ino != status.st_ino:
                self.problems.append(f"{what}: inode {ino} in the directory, {status.st_ino} "
                                     f"by lstat")
            self.problems += check_entry(what, self.root + path, status, record)
            return stat.S_ISDIR(status.st_mode)
        except OSError as error:
            self.problems.append(f"{what}: {error.strerror} ({error.errno})")
        except Failure as failure:
            self.problems.append(f"{what}: {failure}")
        return False

    def listing(self, path):
        try:
            with os.scandir(self.root + path) as entries:
                return [(entry.name, entry.inode()) for entry in entries]
        except OSError as error:
            self.problems.append(f"{show_path(self.pfs, path)}: listing: {error.strerror}")
            return []

    def run(self):
        todo = [b"/"] if self.visit(b"/") else []
        while todo:
            folder = todo.pop()
            for name, ino in self.listing(folder):
                path = folder.rstrip(b"/") + b"/" + name
                if self.visit(path, ino):
                    todo.append(path)
        for path in sorted(set(self.expected) - self.seen):
            self.problems.append(f"{show_path(self.pfs, path)}: missing")
        return self.problems


def check_image(collection, name, program):
    manifest = Contents(collection.manifest(name))
    problems = []
    with collection.unpacked(name) as volumes:
        folder = os.path.join(os.path.dirname(volumes[0]), "mnt")
        for label in manifest.pfs:
            expected = {path: record for (pfs, path), record in manifest.entries.items()
                        if pfs == label}
            try:
                with Mount(program, volumes, label, folder) as root:
                    problems += Walk(label, root, expected).run()
            except Failure as failure:
                problems.append(f"PFS {label}: {failure}")
    return problems, f"{len(manifest.pfs)} PFSs, {len(manifest.entries)} entries"


def why_not(program):
    """Why nothing can be mounted here; None where it can."""
    if not os.path.exists("/dev/fuse"):
        return "there is no /dev/fuse"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse cannot be opened"
    if os.geteuid() != 0 and shutil.which("fusermount3") is None:
        return "there is no fusermount3, and only root mounts without it"
    if program is None:
        return "mount.hammer2 is not in the build directory"
    return None


def main():
    args = h2images.arguments(__doc__.split("\n", maxsplit=1)[0])
    collection = Collection(args)
    tally = Tally()
    program = h2images.program(args.build, "mount.hammer2")
    obstacle = why_not(program)
    for name in collection.images(tally):
        if obstacle:
            tally.skip(name, obstacle)
            continue
        try:
            tally.result(name, *check_image(collection, name, program))
        except Failure as failure:
            tally.result(name, [str(failure)])
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
