#!/usr/bin/env python3
"""
The rules of POSIX and Linux on a writable mount. The program built from posix*.c runs on ext4 and on
tmpfs first, which shows that what it expects is what Linux does, then on a mount of mount.hammer2,
whose volume fsck.hammer2 --strict checks afterwards. Before that, a tree with everything that a
file can be is left there, which must be the same after the next mount.

Needs root; ext4 needs mkfs.ext4 and a loop device, HAMMER2 needs /dev/fuse. Ends with "N passed, N
failed, N skipped"; exits with 1 if any failed, and with 77 (skipped, for meson) if nothing could be
run.
"""

import argparse
import hashlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time

PRIVATE = "HAMMER2_TEST_PRIVATE_MOUNTS"  # set in the process that has mounts of its own
PROGRAM_SECONDS = 300                    # on a loaded machine; otherwise it takes a few
MOUNT_SECONDS = 60
CHECK_SECONDS = 300
EXT4_BYTES = 1 << 30
HAMMER2_BYTES = 4 << 30

# What the program may leave out, and why. Anything else that it skips is a failure: a feature that
# was lost must not look like one that never was.
SKIPS = {
    "ext4": {
        "FICLONE": "ext4 shares no blocks between files",
    },
    "tmpfs": {
        "FICLONE": "tmpfs shares no blocks between files",
        "ZERO_RANGE": "tmpfs only punches holes and allocates",
        "COLLAPSE_RANGE": "tmpfs only punches holes and allocates",
        "INSERT_RANGE": "tmpfs only punches holes and allocates",
        # Not before Linux 6.6.
        "O_DIRECT": "older tmpfs has only the page cache",
        "xattr": "older tmpfs has no attributes of users",
        "immutable": "older tmpfs has no inode flags",
        "append-only": "older tmpfs has no inode flags",
        "nodump": "older tmpfs has no inode flags",
    },
    "hammer2": {
        "O_TMPFILE": "libfuse 3.14 has no request for it",
        "COLLAPSE_RANGE": "FUSE has no such mode",
        "INSERT_RANGE": "FUSE has no such mode",
        "FICLONE": "FUSE has no request for it",
        "xattr": "the format has no extended attributes",
        "trusted-xattr": "the format has no extended attributes",
    },
}


class Skip(Exception):
    pass


class Failure(Exception):
    pass


def check(condition, text):
    if not condition:
        raise Failure(text)


def run(*command, seconds=MOUNT_SECONDS):
    """Run a program that must succeed; a Failure shows the end of its output."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds,
                              errors="replace", check=False)
    except subprocess.TimeoutExpired:
        raise Failure(f"{' '.join(command)}: not done within {seconds} s")
    tail = "\n     ".join((done.stdout + done.stderr).strip().splitlines()[-15:])
    check(done.returncode == 0, f"{' '.join(command)}: exit code {done.returncode}\n     {tail}")
    return done


def is_mounted(point):
    with open("/proc/self/mounts") as f:
        return any(line.split(" ")[1] == point for line in f)


def sparse_file(path, size):
    with open(path, "wb") as f:
        f.truncate(size)


# ---- what must last ----

def make_tree(root):
    """One of everything, with modes, owners and times that no default gives."""
    os.mkdir(root)
    content = hashlib.shake_128(b"content").digest(300000)
    for size in (0, 1, 511, 512, 513, 1024, 1025, 4096, 65535, 65536, 65537, 131072, 300000):
        with open(f"{root}/size-{size}", "wb") as f:
            f.write(content[:size])
    with open(f"{root}/sparse", "wb") as f:
        for at in (0, 1 << 20, 1 << 33):
            f.seek(at)
            f.write(b"data")
        f.truncate((1 << 40) + 1)
    with open(f"{root}/shrunk", "wb") as f:
        f.write(content)
        f.truncate(70000)
        f.truncate(140000)
    with open(f"{root}/changed", "wb") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())
        os.pwrite(f.fileno(), b"changed", 65533)
    for target in ("x", "y" * 600, "z" * 4095):
        os.symlink(target, f"{root}/symlink-{len(target)}")
    os.mkfifo(f"{root}/fifo")
    # A socket's address is short: the path has to be.
    before = os.getcwd()
    os.chdir(root)
    server = socket.socket(socket.AF_UNIX)
    server.bind("socket")
    server.close()
    os.chdir(before)
    os.mknod(f"{root}/char", stat.S_IFCHR | 0o640, os.makedev(1, 3))
    os.mknod(f"{root}/block", stat.S_IFBLK | 0o640, os.makedev(259, 70000))
    os.mkdir(f"{root}/directory")
    for i in range(500):
        with open(f"{root}/directory/{'n' * (i % 250)}{i}", "w") as f:
            f.write(str(i))
    for i in range(0, 500, 3):
        os.unlink(f"{root}/directory/{'n' * (i % 250)}{i}")
    os.rename(f"{root}/directory/n1", f"{root}/moved")
    os.link(f"{root}/moved", f"{root}/directory/linked")
    os.mkdir(f"{root}/directory/empty")
    with open(f"{root}/gone", "w") as f:
        f.write("gone")
    os.unlink(f"{root}/gone")
    with open(f"{root}/odd \n\x01 name", "w") as f:
        f.write("odd")
    for i, name in enumerate(sorted(os.listdir(root))):
        path = f"{root}/{name}"
        os.lchown(path, 1000 + i, 70000 + i)
        if not os.path.islink(path):
            os.chmod(path, 0o7777 & (i * 0o1357 + 0o4121))
        os.utime(path, ns=(10**18 + i * 1001000, 10**18 - i * 999000), follow_symlinks=False)


def data_digest(path, size):
    """Of the contents; only of what is data where a file is too long to read all of it."""
    hasher = hashlib.sha256()
    fd = os.open(path, os.O_RDONLY | os.O_NOATIME)
    try:
        if size < 1 << 30:
            while part := os.read(fd, 1 << 20):
                hasher.update(part)
        else:
            for at in (0, 1 << 20, 1 << 33, size - 10):
                hasher.update(os.pread(fd, 100, at))
    finally:
        os.close(fd)
    return hasher.hexdigest()


def read_tree(root):
    """All that can be seen of a tree: a dictionary for each path."""
    found = {}
    for base, directories, files in os.walk(root):
        for name in [*directories, *files, "."]:
            path = os.path.join(base, name)
            st = os.lstat(path)
            entry = {key: getattr(st, key) for key in (
                "st_ino", "st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_rdev",
                "st_mtime_ns", "st_ctime_ns")}
            if stat.S_ISDIR(st.st_mode):
                entry["names"] = sorted(os.listdir(path))
                # What a directory's size is depends on how it is stored.
                del entry["st_size"]
            elif stat.S_ISLNK(st.st_mode):
                entry["target"] = os.readlink(path)
            else:
                # Of the others, looking changes it.
                entry["st_atime_ns"] = st.st_atime_ns
            if stat.S_ISREG(st.st_mode):
                entry["data"] = data_digest(path, st.st_size)
            found[os.path.relpath(path, root)] = entry
    return found


def compare_trees(found, expected, name):
    different = []
    for path in sorted(set(found) | set(expected)):
        if path not in found or path not in expected:
            different.append(f"{path!r} is {'lost' if path in expected else 'new'}")
            continue
        for key, value in expected[path].items():
            if found[path].get(key) != value:
                different.append(f"{key} of {path!r}: expected {value!r:.60}, "
                                 f"found {found[path].get(key)!r:.60}")
    for line in different[:20]:
        print(f"     {name}: {line}")
    check(not different, f"{len(different)} differences after the next mount")


# ---- filesystems ----

class Filesystem:
    """A filesystem to test: made, mounted, unmounted and checked in a folder of its own."""

    def __init__(self, folder, build):
        self.folder = os.path.join(folder, self.name)
        self.build = build
        self.point = os.path.join(self.folder, "mnt")
        self.image = os.path.join(self.folder, "image")
        os.makedirs(self.point)

    def program(self, name):
        path = os.path.join(self.build, name)
        if not os.path.exists(path):
            raise Skip(f"{path} is not built")
        return path

    def remount(self):
        """Unmount, and mount what is there; False where nothing lasts that long."""
        self.unmount()
        self.check()
        self.attach()
        return True

    def unmount(self):
        # Whatever looks at fresh mounts may hold it for a moment.
        deadline = time.monotonic() + 20
        while subprocess.run(["umount", self.point], stderr=subprocess.DEVNULL,
                             timeout=MOUNT_SECONDS, check=False).returncode:
            check(time.monotonic() < deadline, f"{self.name}: still busy after 20 s")
            time.sleep(0.2)

    def check(self):
        """After unmounting."""

    def clean(self):
        """Leave nothing mounted, whatever happened."""
        if is_mounted(self.point):
            subprocess.run(["umount", "-l", self.point], stderr=subprocess.DEVNULL, check=False)


class Ext4(Filesystem):
    name = "ext4"

    def mount(self):
        for program in "mkfs.ext4", "e2fsck":
            if not shutil.which(program):
                raise Skip(f"no {program}")
        sparse_file(self.image, EXT4_BYTES)
        run("mkfs.ext4", "-q", "-F", "-b", "4096", self.image)
        self.attach()

    def attach(self):
        done = subprocess.run(["mount", "-t", "ext4", "-o", "loop", self.image, self.point],
                              capture_output=True, text=True, timeout=MOUNT_SECONDS, check=False)
        if done.returncode:
            raise Skip(f"ext4 on a loop device cannot be mounted here: {done.stderr.strip()}")

    def check(self):
        run("e2fsck", "-fn", self.image, seconds=CHECK_SECONDS)


class Tmpfs(Filesystem):
    name = "tmpfs"

    def mount(self):
        run("mount", "-t", "tmpfs", "-o", "size=512m", "none", self.point)

    def remount(self):
        return False


class Hammer2(Filesystem):
    name = "hammer2"

    def mount(self):
        if not os.path.exists("/dev/fuse"):
            raise Skip("no /dev/fuse")
        sparse_file(self.image, HAMMER2_BYTES)
        run(self.program("bin/mkfs.hammer2"), "-q", "-L", "DATA", self.image)
        self.attach()

    def attach(self):
        run(self.program("bin/mount.hammer2"), self.image + "@DATA", self.point, "-o", "rw")
        check(is_mounted(self.point), "mount.hammer2: exit code 0, but nothing is mounted")

    def servers(self):
        """Processes that serve the image: told by their arguments, zombies have none."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    args = f.read().split(b"\0")
            except OSError:
                continue
            if os.path.basename(args[0]) == b"mount.hammer2" and \
                    any(self.image.encode() in a for a in args[1:]):
                found.append(int(pid))
        return found

    def unmount(self):
        check(self.servers(), "the server has ended before the filesystem was unmounted")
        super().unmount()
        deadline = time.monotonic() + MOUNT_SECONDS
        while self.servers():
            check(time.monotonic() < deadline,
                  f"the server has not ended within {MOUNT_SECONDS} s after unmounting")
            time.sleep(0.05)

    def check(self):
        run(self.program("bin/fsck.hammer2"), "--strict", self.image, seconds=CHECK_SECONDS)

    def clean(self):
        super().clean()
        for pid in self.servers():
            os.kill(pid, signal.SIGKILL)


# ---- running ----

def check_remount(filesystem):
    """What is there after a remount is what was there before."""
    root = os.path.join(filesystem.point, "tree")
    make_tree(root)
    expected = read_tree(root)
    if filesystem.remount():
        compare_trees(read_tree(root), expected, filesystem.name)


def run_program(filesystem, args):
    """Run posix on a mounted filesystem and show what it says. Raises a Failure where it fails."""
    command = [filesystem.program("tests/mount/posix")]
    command += ["--seed", args.seed] if args.seed else []
    command += ["--verbose"] if args.verbose else []
    process = subprocess.Popen([*command, filesystem.point, *args.tests], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               errors="replace", start_new_session=True)
    try:
        output, _ = process.communicate(timeout=PROGRAM_SECONDS)
    except subprocess.TimeoutExpired:
        # What waits for the filesystem cannot be killed before that is gone.
        filesystem.clean()
        os.killpg(process.pid, signal.SIGKILL)
        raise Failure(f"posix: not done within {PROGRAM_SECONDS} s")
    for line in output.splitlines():
        print("  " + line)
    skipped = re.findall(r"^SKIP ([^:]+):", output, re.MULTILINE)
    unknown = [s for s in skipped if s not in SKIPS[filesystem.name]]
    for name in dict.fromkeys(s for s in skipped if s not in unknown):
        print(f"SKIP {filesystem.name}: {name}: {SKIPS[filesystem.name][name]}")
    check(process.returncode == 0, f"posix: exit code {process.returncode}")
    check(not unknown, f"posix has skipped {', '.join(unknown)}, which should work here")
    return len(set(skipped))


def main():
    kinds = {kind.name: kind for kind in (Ext4, Tmpfs, Hammer2)}
    here = os.path.dirname(os.path.abspath(__file__))
    checkout = os.path.dirname(os.path.dirname(here))
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--build", default=os.path.join(checkout, "build"))
    parser.add_argument("--on", action="append", choices=kinds,
                        help="a filesystem to test; all by default")
    parser.add_argument("--seed", help="of the random operations, as the program has told it")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell each test")
    parser.add_argument("tests", nargs="*", help="parts of names of tests; all by default")
    args = parser.parse_args()
    if os.geteuid() != 0:
        print("SKIP everything: not root\n0 passed, 0 failed, 1 skipped")
        return 77
    if PRIVATE not in os.environ:
        # Nobody else sees the mounts, and they go with the process. A chroot may not allow it.
        command = ["unshare", "-m", "--propagation", "private"]
        if shutil.which("unshare") and not subprocess.run([*command, "true"], check=False,
                                                          capture_output=True).returncode:
            os.environ[PRIVATE] = "1"
            os.execvp("unshare", [*command, sys.executable, *sys.argv])
        print("no private mount namespace here: the mounts can be seen by others")
    folder = tempfile.mkdtemp(prefix="hammer2-posix-")
    # Other users have to get in.
    os.chmod(folder, 0o755)
    passed = failed = skipped = 0
    try:
        for name in args.on or kinds:
            filesystem = kinds[name](folder, os.path.abspath(args.build))
            failures = []
            try:
                filesystem.mount()
                # Each in any case: what fails later may tell why something failed before.
                for step in (lambda: run_program(filesystem, args),
                             lambda: check_remount(filesystem),
                             filesystem.unmount, filesystem.check):
                    try:
                        skipped += step() or 0
                    except (Failure, OSError, subprocess.SubprocessError) as e:
                        failures.append(e)
            except Skip as e:
                skipped += 1
                print(f"SKIP {name}: {e}")
                continue
            except (Failure, OSError, subprocess.SubprocessError) as e:
                failures.append(e)
            finally:
                filesystem.clean()
            if failures:
                failed += 1
                for e in failures:
                    print(f"FAIL {name}: {e}")
            else:
                passed += 1
                print(f"ok   {name}")
            sys.stdout.flush()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0 if passed else 77


if __name__ == "__main__":
    sys.exit(main())
