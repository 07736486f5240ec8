#!/usr/bin/env python3
"""
mount.hammer2 as users meet it: the command line, labels and options, exit codes, several PFSs from
one server, how servers end, what damaged volumes look like through the kernel, and mounts for
writing: what is durable when, and what is told of errors.

Needs root and /dev/fuse. Ends with "N passed, N failed, N skipped"; exits with 1 if any failed, and
with 77 (skipped, for meson) if nothing could be run.
"""

import argparse
import ctypes
import ctypes.util
import errno
import fcntl
import hashlib
import json
import mmap
import os
import pwd
import random
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time

USAGE, SYSTEM, MOUNT = 1, 2, 32
RUN_DIR = "/run/hammer2"


class Skip(Exception):
    pass


class Failure(Exception):
    pass


def check(condition, text):
    if not condition:
        raise Failure(text)


def equal(found, expected, what):
    check(found == expected, f"{what}: found {found!r}, expected {expected!r}")


def raises(number, what, function, *args):
    try:
        result = function(*args)
    except OSError as e:
        equal(e.errno, number, f"errno of {what}")
        return
    raise Failure(f"{what}: no error, but {result!r:.60}; expected {errno.errorcode[number]}")


def wait_for(condition, what, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < deadline, f"{what}: not within {seconds} s")
        time.sleep(0.01)


def unescape(text):
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text


class Mounts:
    """The images, the program, and what is mounted by the test that runs."""

    def __init__(self, images, build):
        self.images = images
        self.bin = os.path.join(os.path.abspath(build), "bin")
        self.program = os.path.join(self.bin, "mount.hammer2")
        self.dir = tempfile.mkdtemp(prefix="hammer2-mount-")
        os.chmod(self.dir, 0o755)
        self.used = 0

    # -- files

    def image(self, name):
        """The path of a decompressed image."""
        path = os.path.join(self.dir, name + ".img")
        packed = os.path.join(self.images, name + ".img.zst")
        if not os.path.exists(path):
            if not os.path.exists(packed):
                raise Skip(f"no image {name} in the folder")
            subprocess.run(["zstd", "-q", "-d", "--sparse", packed, "-o", path], check=True)
        return path

    def damaged(self, name):
        """The path of a damaged image, and its description."""
        description = os.path.join(self.images, "damaged", name + ".json")
        if not os.path.exists(description):
            raise Skip(f"no damaged image {name} in the folder")
        with open(description) as f:
            case = json.load(f)
        path = os.path.join(self.dir, name + ".img")
        if not os.path.exists(path):
            subprocess.run(["cp", "--sparse=always", self.image(case["base"]), path], check=True)
            with open(path, "r+b") as f:
                for patch in case["patches"]:
                    f.seek(patch["offset"])
                    f.write(bytes.fromhex(patch["bytes"]))
        return path, case

    def volume(self, name, *args, size="8G"):
        """The path of a new, empty filesystem of this test."""
        path = os.path.join(self.dir, name + ".new")
        if os.path.exists(path):
            os.unlink(path)
        subprocess.run([os.path.join(self.bin, "mkfs.hammer2"), "-q", "-s", size, *args, path],
                       check=True, timeout=60)
        return path

    def fsck(self, image):
        """Check a filesystem that is not mounted any more; every finding is a failure."""
        self.gone()
        done = subprocess.run([os.path.join(self.bin, "fsck.hammer2"), "--strict", image],
                              capture_output=True, text=True, timeout=300)
        equal(done.returncode, 0, f"exit code of fsck.hammer2 ({done.stdout[-2000:]})")

    def settings(self, image, path):
        """Compression and check code that a file asks for, from hammer2 stat."""
        done = subprocess.run([os.path.join(self.bin, "hammer2"), "stat", image, path], check=True,
                              capture_output=True, text=True, timeout=60)
        fields = done.stdout.splitlines()[1].split()
        return fields[-2], fields[-1]

    def manifest(self, name, kind="entry"):
        path = os.path.join(self.images, name + ".jsonl")
        if os.path.exists(path):
            text = open(path).read()
        else:
            text = subprocess.run(["zstd", "-q", "-d", "-c", path + ".zst"], check=True,
                                  capture_output=True, text=True).stdout
        return [r for r in map(json.loads, text.splitlines()) if r["record"] == kind]

    def point(self):
        """A new mount point."""
        self.used += 1
        path = os.path.join(self.dir, f"m{self.used}")
        os.mkdir(path)
        return path

    # -- mounting

    def run(self, *args, **kwargs):
        return subprocess.run([self.program, *args], capture_output=True, text=True, timeout=60,
                              **kwargs)

    def mount(self, spec, *args):
        """Mount for reading; must succeed silently. Returns the mount point."""
        return self.mount_on(self.point(), spec, "-r", *args)

    def mount_on(self, point, spec, *args):
        done = self.run(spec, point, *args)
        equal((done.returncode, done.stdout, done.stderr), (0, "", ""), f"mounting {spec}")
        check(os.path.ismount(point), f"{point} is no mount point after success")
        return point

    def refused(self, code, text, *args):
        done = self.run(*args)
        equal(done.returncode, code, f"exit code of {args} ({done.stderr.strip()})")
        check(text in done.stderr, f"{args}: {text!r} is not in {done.stderr!r}")
        check(done.stderr.startswith("mount.hammer2: "), f"{args}: message {done.stderr!r}")

    def umount(self, point):
        subprocess.run(["umount", point], check=True, timeout=60)

    def infos(self):
        """(point, options, type, source, superblock's options) of all mounts in our directory"""
        with open("/proc/self/mountinfo") as f:
            for line in f:
                left, right = line.rstrip("\n").split(" - ")
                left, right = left.split(" "), right.split(" ")
                if unescape(left[4]).startswith(self.dir + "/"):
                    yield (unescape(left[4]), left[5].split(","), right[0], unescape(right[1]),
                           right[2].split(","))

    def info(self, point):
        found = [i for i in self.infos() if i[0] == point]
        check(found, f"{point} is not in mountinfo")
        return found[-1]

    def servers(self):
        """Processes that serve one of our images: told by their arguments, zombies have none."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    args = f.read().split(b"\0")
            except OSError:
                continue
            if args[0] == self.program.encode() and any(self.dir.encode() in a for a in args[1:]):
                found.append(int(pid))
        return found

    def server(self):
        pids = self.servers()
        equal(len(pids), 1, "number of servers")
        return pids[0]

    def gone(self):
        # It ends when everything is on the media, which may be slow.
        wait_for(lambda: not self.servers(), "the server's end", 90)

    def clean_mounts(self):
        for point, *_ in reversed(list(self.infos())):
            subprocess.run(["umount", "-l", point], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 5
        while self.servers() and time.monotonic() < deadline:
            time.sleep(0.01)
        for pid in self.servers():
            os.kill(pid, signal.SIGKILL)

    def clean(self):
        """Leave nothing behind for the next test."""
        self.clean_mounts()
        for name in os.listdir(self.dir):
            path = os.path.join(self.dir, name)
            if name.endswith(".new"):
                os.unlink(path)
            elif os.path.isdir(path) and not os.path.islink(path):
                os.rmdir(path) if not os.listdir(path) else shutil.rmtree(path)

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def compare(t, point, name, pfs, prefix="/"):
    """Compare some of what stat and read give with the manifest."""
    seen = 0
    for e in t.manifest(name):
        if e["pfs"] != pfs or "path" not in e or not e["path"].startswith(prefix):
            continue
        path = point + e["path"]
        st = os.lstat(path)
        equal(st.st_ino, e["ino"], f"inode number of {path}")
        equal(oct(st.st_mode & 0o7777), oct(int(e["mode"], 8)), f"mode of {path}")
        if e["type"] == "file" and e.get("sha256"):
            equal(digest(path), e["sha256"], f"contents of {path}")
        seen += 1
    check(seen > 0, "the manifest has no such entries")


# ---- the tests ----

def test_mount_and_unmount(t):
    point = t.mount(t.image("vfs-snap") + "@s1")
    compare(t, point, "vfs-snap", "s1")
    raises(errno.EROFS, "creating a file", lambda: open(point + "/new", "w"))
    raises(errno.EROFS, "removing a file", os.unlink, point + "/a")
    raises(errno.ENOENT, "a missing name", os.stat, point + "/missing")
    raises(errno.ENOENT, "a missing name, again", os.stat, point + "/missing")
    raises(errno.ENAMETOOLONG, "a long name", os.stat, point + "/" + "x" * 256)
    t.umount(point)
    equal(os.listdir(point), [], "the mount point after unmounting")
    t.gone()


def test_type_source_and_flags(t):
    point = t.mount(t.image("vfs-snap"))
    _, flags, kind, source, options = t.info(point)
    equal((kind, source), ("fuse.hammer2", t.image("vfs-snap")), "type and source")
    check("ro" in flags and "ro" in options, f"the mount is not read-only: {flags} {options}")
    check("default_permissions" in options and "allow_other" in options, f"options {options}")
    check("nosuid" not in flags and "nodev" not in flags, f"flags of root's mount: {flags}")
    point = t.mount(t.image("vfs-snap"), "-o", "nosuid,nodev,noexec,noallow_other")
    _, flags, _, _, options = t.info(point)
    check({"nosuid", "nodev", "noexec"} <= set(flags), f"flags {flags}")
    check("allow_other" not in options, f"options {options}")


def test_source_with_odd_characters(t):
    odd = os.path.join(t.dir, "odd,name\\ x.img")
    os.symlink(t.image("vfs-snap"), odd)
    point = t.mount(odd)
    equal(t.info(point)[3], odd, "source")


def test_mount_point_with_odd_characters(t):
    point = os.path.join(t.dir, "a b\\c\td")
    os.mkdir(point)
    equal(t.run("-r", t.image("vfs-snap"), point).returncode, 0, "exit code")
    check(os.path.ismount(point), "not mounted")
    os.kill(t.server(), signal.SIGTERM)
    t.gone()
    check(not os.path.ismount(point), "still mounted after SIGTERM")


def test_relative_names(t):
    t.image("vfs-snap")
    os.mkdir(os.path.join(t.dir, "rel"))
    done = t.run("-r", "vfs-snap.img@s2", "rel", cwd=t.dir)
    equal((done.returncode, done.stderr), (0, ""), "mounting by relative names")
    compare(t, t.dir + "/rel", "vfs-snap", "s2")


def test_labels(t):
    image = t.image("vfs-snap")
    labels = [r["label"] for r in t.manifest("vfs-snap", "pfs")]
    sets = {}
    for label in labels:
        point = t.mount(f"{image}@{label}")
        sets[label] = sorted(os.listdir(point))
        equal(sorted(os.listdir(t.mount(image, "-o", f"pfs={label}"))), sets[label], label)
    equal(sorted(os.listdir(t.mount(image))), sets["DATA"], "the default label")
    t.mount(image + "@s1", "-o", "pfs=s1")
    t.refused(USAGE, "names another PFS", image + "@s1", t.point(), "-o", "pfs=s2")
    done = t.run("-r", image + "@nope", t.point())
    equal(done.returncode, MOUNT, "exit code for an unknown label")
    for label in labels:
        check(label in done.stderr, f"label {label} is not listed in {done.stderr!r}")


def test_label_with_space(t):
    t.mount(t.image("new-3g-labels") + "@beta two")
    t.mount(t.image("new-3g-labels"), "-o", "pfs=beta two,ro")


def test_default_labels(t):
    for link, image, there in (("vol-d", "new-1g-root", True), ("vol-x", "new-1g-root", False),
                               ("vol-a", "new-10g-boot", True), ("data-a", "vfs-snap", True),
                               ("none", "new-bootaux", False)):
        path = os.path.join(t.dir, link)
        os.symlink(t.image(image), path)
        if there:
            t.mount(path)
        else:
            t.refused(MOUNT, 'no PFS "DATA"; there are', "-r", path, t.point())


def test_several_volumes(t):
    a, b = t.image("vfs-2vol.vol0"), t.image("vfs-2vol.vol1")
    compare(t, t.mount(f"{a}:{b}"), "vfs-2vol", "DATA")
    point = t.mount(f"{b}:{a}@DATA")
    compare(t, point, "vfs-2vol", "DATA")
    t.server()
    t.refused(MOUNT, "cannot be opened", a, t.point())
    t.refused(USAGE, "for a single volume", f"{a}:{b}", t.point(), "-o", "offset=1M")


def test_options_accepted(t):
    image = t.image("vfs-snap")
    for options in ("ro", "defaults,ro", "noauto,user,ro", "users,nofail,_netdev,ro", "ro,noatime",
                    "ro,x-systemd.automount,X-foo=bar,comment=a b", "allow_other", "cache=4M",
                    "relatime,nodiratime,ro,default_permissions", "header=1", "offset=0", "ro,,"):
        t.umount(t.mount(image, "-o", options))
        t.gone()
    for args in (("-r",), ("-n",), ("-v",), ("-s", "-o", "ro,foo"), ("-N", "1"),
                 ("-t", "hammer2"), ("-o", "ro", "-o", "noatime"), ("-o", "ro", "-s", "-v", "-n")):
        t.umount(t.mount(image, *args))
        t.gone()


def test_options_refused(t):
    image = t.image("vfs-snap")
    for options, text in (("foo", "unknown"), ("ro,nodiratim", "unknown"), ("pfs", "needs a value"),
                          ("pfs=", "not valid"), ("offset=x", "not valid"),
                          ("offset=-1", "not valid"), ("cache=1Q", "not valid"),
                          ("cache=99999999999G", "not valid"), ("header=5", "not valid"),
                          ("header=0", "not valid"), ("ro=1", "takes no value"),
                          ("commit=x", "not valid"), ("commit=-1", "not valid"),
                          ("dirty=0", "not valid"), ("dirty=1Q", "not valid"),
                          ("compress=lzma", "not valid"), ("compress=zlib:0", "not valid"),
                          ("compress=zlib:10", "not valid"), ("compress=lz4:1", "not valid"),
                          ("check=md5", "not valid"), ("sync=1", "takes no value")):
        t.refused(USAGE, text, "-r", image, t.point(), "-o", options)
    equal(t.run("--help").returncode, 0, "exit code of --help")
    equal(t.run("--version").returncode, 0, "exit code of --version")
    for args in ((), (image,), (image, t.point(), "more"), ("-q", image, t.point())):
        equal(t.run(*args).returncode, USAGE, f"exit code of {args}")


def test_bad_volumes_and_directories(t):
    image, point = t.image("vfs-snap"), t.point()
    t.refused(MOUNT, "No such file", image + ".missing", point)
    t.refused(MOUNT, "No such file", image, t.dir + "/missing")
    t.refused(MOUNT, "Not a directory", image, image)
    t.refused(USAGE, "names no volume", "@DATA", point)
    t.refused(MOUNT, "cannot be opened", "/dev/zero", point)
    t.refused(MOUNT, "cannot be opened", image, point, "-o", "offset=4096")
    t.refused(MOUNT, "cannot be opened", image, point, "-o", "header=4")
    for name in ("hdr-only-bad", "hdr-byteswapped-magic", "hdr-version-99"):
        t.refused(MOUNT, "cannot be opened", t.damaged(name)[0], point)
    equal(list(t.infos()), [], "mounts after errors")
    t.gone()


def test_offset(t):
    shifted = os.path.join(t.dir, "shifted.img")
    subprocess.run(["dd", "if=" + t.image("vfs-snap"), "of=" + shifted, "bs=1M", "seek=3",
                    "conv=sparse", "status=none"], check=True)
    compare(t, t.mount(shifted + "@s1", "-o", "offset=3M"), "vfs-snap", "s1")
    compare(t, t.mount(shifted + "@s2", "-o", "offset=3145728"), "vfs-snap", "s2")
    t.server()


def test_older_header(t):
    point = t.mount(t.image("vfs-2hdr"), "-o", "header=2")
    names = {e["path"] for e in map(json.loads, open(t.images + "/vfs-2hdr.prev.jsonl"))
             if e["record"] == "entry" and e["pfs"] == "DATA" and e["path"].count("/") == 1}
    equal({"/" + n for n in os.listdir(point)} | {"/"}, names, "root directory")
    newest = t.mount(t.image("vfs-2hdr"))
    equal(len(t.servers()), 2, "servers for two headers")
    compare(t, newest, "vfs-2hdr", "DATA")


def in_foreground(t, point, *args):
    process = subprocess.Popen([t.program, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)
    wait_for(lambda: os.path.ismount(point) or process.poll() is not None, "the mount")
    check(process.poll() is None, "the program ended in the foreground")
    return process


def test_foreground(t):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        point = t.point()
        process = in_foreground(t, point, "-rf", t.image("vfs-snap") + "@s1", point)
        compare(t, point, "vfs-snap", "s1")
        process.send_signal(number)
        equal(process.communicate(timeout=10), ("", ""), "output")
        equal(process.returncode, 0, f"exit code after {number}")
        check(not os.path.ismount(point), "still mounted")
    process = in_foreground(t, point, "-rf", t.image("vfs-snap") + "@s1", point)
    t.umount(point)
    equal(process.wait(10), 0, "exit code after umount")


def test_foreground_shares(t):
    point, image = t.point(), t.image("vfs-snap")
    process = in_foreground(t, point, "-rf", image, point)
    other = t.mount(image + "@s1")
    equal(t.servers(), [process.pid], "servers")
    alone = t.point()
    second = in_foreground(t, alone, "-rf", image, alone)
    t.umount(alone)
    equal(second.wait(10), 0, "exit code of the second")
    t.umount(point)
    compare(t, other, "vfs-snap", "s1")
    t.umount(other)
    equal(process.wait(10), 0, "exit code of the first")


def test_debug(t):
    point = t.point()
    process = in_foreground(t, point, "-rd", t.image("vfs-snap"), point)
    os.listdir(point)
    process.send_signal(signal.SIGINT)
    check("READDIR" in process.communicate(timeout=10)[1], "no requests in the output")


def test_foreground_errors(t):
    t.refused(MOUNT, 'no PFS "x"', "-rf", t.image("vfs-snap") + "@x", t.point())
    t.refused(MOUNT, "cannot be opened", "-rf", t.image("vfs-snap"), t.point(), "-o", "offset=4096")
    t.umount(t.mount(t.image("vfs-snap")))


def sockets(image):
    """The files in RUN_DIR that belong to an image; other servers may come and go meanwhile."""
    st = os.stat(image)
    identity = (f"ns={os.stat('/proc/self/ns/mnt').st_ino} offset=0 header=0 "
                f"f{st.st_dev:x}:{st.st_ino:x}/")
    name = 0xcbf29ce484222325
    for byte in identity.encode():
        name = (name ^ byte) * 0x100000001b3 % 2**64
    files = os.listdir(RUN_DIR) if os.path.isdir(RUN_DIR) else []
    return {f for f in files if f.startswith(f"{name:016x}.")}


def test_several_pfss_from_one_server(t):
    image = t.image("vfs-snap")
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        points = [t.mount(f"{image}@{label}") for label in ("DATA", "s1", "s2")]
        pid = t.server()
        equal(len(sockets(image)), 2, f"socket and lock file in {RUN_DIR}")
        equal(len({os.stat(p).st_dev for p in points}), 3, "device numbers")
        equal({os.stat(p).st_ino for p in points}, {1}, "inode numbers of the roots")
        for i in order[:-1]:
            t.umount(points[i])
        equal(t.server(), pid, "the server after the first unmounts")
        last = order[-1]
        compare(t, points[last], "vfs-snap", ("DATA", "s1", "s2")[last])
        t.umount(points[last])
        t.gone()
        equal(sockets(image), set(), f"files in {RUN_DIR}")


def test_same_pfs_twice(t):
    image = t.image("vfs-snap")
    one, two = t.mount(image + "@s1"), t.mount(image + "@s1")
    t.server()
    t.umount(one)
    compare(t, two, "vfs-snap", "s1")


def test_error_leaves_server_alone(t):
    image = t.image("vfs-snap")
    point = t.mount(image)
    pid = t.server()
    t.refused(MOUNT, 'no PFS "x"', "-r", image + "@x", t.point())
    done = t.run("-r", image, t.mount(image), "-o", "cache=1M")
    equal(done.returncode, 0, "exit code")
    check("cache is ignored" in done.stderr, done.stderr)
    equal(t.server(), pid, "the server")
    os.listdir(point)


def test_simultaneous_mounts(t):
    image = t.image("vfs-snap")
    for _ in range(5):
        points = [t.point() for _ in range(8)]
        clients = [subprocess.Popen([t.program, "-r", image + "@s1", p], stderr=subprocess.PIPE)
                   for p in points]
        for client in clients:
            equal((client.communicate(timeout=60)[1], client.returncode), (b"", 0), "a client")
        t.server()
        for p in points:
            equal(sorted(os.listdir(p)), sorted(os.listdir(points[0])), p)
        threads = [threading.Thread(target=t.umount, args=(p,)) for p in points]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        t.gone()
        equal(sockets(image), set(), f"files in {RUN_DIR}")


def test_mounting_while_a_server_ends(t):
    image, point = t.image("vfs-snap"), t.point()
    for i in range(60):
        done = t.run("-r", image + "@s1", point)
        equal((done.returncode, done.stderr), (0, ""), f"mount {i}")
        equal(os.stat(point + "/small").st_size, 9, "size of a file")
        if i % 3 == 2:
            for pid in t.servers():
                os.kill(pid, signal.SIGTERM)
            wait_for(lambda: not os.path.ismount(point), "SIGTERM's unmount")
        else:
            t.umount(point)


def test_sigterm(t):
    image = t.image("vfs-snap")
    points = [t.mount(f"{image}@{label}") for label in ("DATA", "s1")]
    fd = os.open(points[1] + "/a", os.O_RDONLY)
    os.kill(t.server(), signal.SIGTERM)
    t.gone()
    raises(errno.ENOTCONN, "reading a file that was open", os.pread, fd, 10, 0)
    try:
        os.close(fd)
    except OSError as e:
        equal(e.errno, errno.ENOTCONN, "errno of closing it")
    equal(list(t.infos()), [], "mounts")
    equal([os.listdir(p) for p in points], [[], []], "mount points")


def test_kill_and_remount(t):
    image = t.image("vfs-snap")
    point = t.mount(image + "@s1")
    os.kill(t.server(), signal.SIGKILL)
    t.gone()
    try:
        raise Failure(f"a dead mount can be listed: {os.listdir(point)}")
    except OSError as e:
        # The second for a request that was under way when the connection went.
        check(e.errno in (errno.ENOTCONN, errno.ECONNABORTED), f"listing a dead mount: {e}")
    t.refused(MOUNT, "server has died", "-r", image + "@s1", point)
    other = t.mount(image + "@s2")
    compare(t, other, "vfs-snap", "s2")
    t.umount(point)
    equal(t.run("-r", image + "@s1", point).returncode, 0, "mounting again")
    compare(t, point, "vfs-snap", "s1")
    t.server()


def test_nfs_handles_survive(t):
    libc = ctypes.CDLL(None, use_errno=True)

    class Handle(ctypes.Structure):
        _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_char * 128)]

    image = t.image("vfs-snap")
    entries = [e for e in t.manifest("vfs-snap") if e["pfs"] == "s1"]
    point = t.mount(image + "@s1")
    handles = {}
    for e in entries:
        h, mount_id = Handle(bytes=128), ctypes.c_int()
        if libc.name_to_handle_at(-100, (point + e["path"]).encode(), ctypes.byref(h),
                                  ctypes.byref(mount_id), 0):
            raise Skip("name_to_handle_at: " + os.strerror(ctypes.get_errno()))
        handles[e["path"]] = h
    t.umount(point)
    t.gone()
    equal(t.run("-r", image + "@s1", point).returncode, 0, "mounting again")
    root = os.open(point, os.O_RDONLY)
    try:
        for e in entries:
            fd = libc.open_by_handle_at(root, ctypes.byref(handles[e["path"]]), os.O_RDONLY)
            if fd < 0 and ctypes.get_errno() == errno.EPERM:
                raise Skip("open_by_handle_at is not permitted here")
            check(fd >= 0, f"{e['path']}: {os.strerror(ctypes.get_errno())}")
            equal(os.fstat(fd).st_ino, e["ino"], e["path"])
            if e["type"] == "file":
                equal(hashlib.sha256(os.read(fd, 1 << 24)).hexdigest(), e["sha256"], e["path"])
            os.close(fd)
    finally:
        os.close(root)


def test_resuming_a_listing(t):
    libc = ctypes.CDLL(None, use_errno=True)

    class Dirent(ctypes.Structure):
        _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("len", ctypes.c_uint16),
                    ("type", ctypes.c_uint8), ("name", ctypes.c_char * 256)]

    libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
    libc.opendir.argtypes = [ctypes.c_char_p]
    libc.telldir.restype = ctypes.c_long
    for f in (libc.readdir, libc.telldir, libc.closedir, libc.rewinddir):
        f.argtypes = [ctypes.c_void_p]
    libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]

    def read(d):
        p = libc.readdir(d)
        return ctypes.cast(p, ctypes.POINTER(Dirent)).contents.name if p else None

    big = t.mount(t.image("mk-bigdir")) + "/big"
    expected = {e["path"].split("/")[-1].encode() for e in t.manifest("mk-bigdir")
                if e["path"].startswith("/big/")}
    d = libc.opendir(big.encode())
    check(d, "opendir failed")
    try:
        order, places = [], []
        while True:
            places.append(libc.telldir(d))
            name = read(d)
            if name is None:
                break
            order.append(name)
        equal(order[:2], [b".", b".."], "the first two entries")
        equal(len(order), len(expected) + 2, "number of entries")
        equal(set(order[2:]), expected, "names")
        equal(places[:3], [0, 1, 2], "the first offsets")
        check(all(a < b for a, b in zip(places, places[1:])), "offsets do not grow")
        dice = random.Random(1)
        for i in [dice.randrange(len(order)) for _ in range(2000)] + [0, 1, 2, len(order) - 1]:
            libc.seekdir(d, places[i])
            equal([read(d), read(d)], (order[i:i + 2] + [None])[:2], f"entries at {places[i]}")
        libc.seekdir(d, places[-1])
        equal(read(d), None, "the entry behind the last")
    finally:
        libc.closedir(d)
    # Offsets have no state: they hold in another open of the directory, past a remount.
    d = libc.opendir(big.encode())
    libc.seekdir(d, places[12345])
    equal(read(d), order[12345], "the entry found in a second open")
    libc.closedir(d)


def test_seek_data_and_hole(t):
    point = t.mount(t.image("mk-data"))
    seen = 0
    for e in t.manifest("mk-data"):
        if e["type"] != "file" or "extents" not in e or e.get("embedded"):
            continue
        size, expected = e["size"], []
        for offset, length in e["extents"]:
            end = min(offset + length, size)
            if expected and expected[-1][1] == offset:
                expected[-1][1] = end
            elif offset < end:
                expected.append([offset, end])
        with open(point + e["path"], "rb") as f:
            found, at = [], 0
            while True:
                try:
                    at = os.lseek(f.fileno(), at, os.SEEK_DATA)
                except OSError as error:
                    equal(error.errno, errno.ENXIO, f"SEEK_DATA in {e['path']}")
                    break
                end = os.lseek(f.fileno(), at, os.SEEK_HOLE)
                found.append([at, end])
                at = end
        equal(found, expected, f"data of {e['path']}")
        seen += 1
    check(seen > 5, "too few files with extents")


def test_statfs(t):
    point = t.mount(t.image("mk-bigdir"))
    st = os.statvfs(point)
    equal((st.f_bsize, st.f_frsize, st.f_namemax), (65536, 16384, 255), "sizes")
    inodes = {e["ino"] for e in t.manifest("mk-bigdir") if e["pfs"] == "DATA"}
    equal(st.f_files, len(inodes), "number of files")
    check(0 < st.f_bavail <= st.f_bfree < st.f_blocks, f"blocks {st}")


def test_special_files(t):
    point = t.mount(t.image("vfs-meta"))
    seen = set()
    for e in t.manifest("vfs-meta"):
        if e["pfs"] != "DATA" or "path" not in e:
            continue
        st = os.lstat(point + e["path"])
        equal((st.st_uid, st.st_gid), (e["uid"], e["gid"]), f"owner of {e['path']}")
        equal(stat.S_IFMT(st.st_mode),
              {"file": stat.S_IFREG, "dir": stat.S_IFDIR, "symlink": stat.S_IFLNK,
               "fifo": stat.S_IFIFO, "chr": stat.S_IFCHR, "blk": stat.S_IFBLK,
               "socket": stat.S_IFSOCK}[e["type"]], f"type of {e['path']}")
        if e["type"] in ("chr", "blk"):
            major, minor = e.get("rmajor", 0), e.get("rminor", 0)
            fits = major <= 0xfff and minor <= 0xfffff
            equal(st.st_rdev, os.makedev(major, minor) if fits else 0, f"device of {e['path']}")
        seen.add(e["type"])
    check({"chr", "blk", "socket", "fifo"} <= seen, f"types in the manifest: {seen}")
    try:
        equal(os.listxattr(point), [], "extended attributes")
    except OSError as e:
        equal(e.errno, errno.ENOTSUP, "errno of listxattr")


def test_permissions_are_checked(t):
    image = t.image("vfs-meta")
    point = t.mount(image)
    closed = [e["path"] for e in t.manifest("vfs-meta") if e["pfs"] == "DATA" and "path" in e
              and e["type"] == "file" and e["uid"] == 0 and e["gid"] == 0
              and not int(e["mode"], 8) & 0o004]
    check(closed, "no closed file in the manifest")
    if os.system("setpriv --reuid=65534 --regid=65534 --clear-groups true 2>/dev/null"):
        raise Skip("setpriv does not work here")

    def cat(path):
        return subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat",
                               path], capture_output=True).returncode

    equal(cat(point + closed[0]), 1, "exit code of reading a closed file as nobody")
    equal(subprocess.run(["cat", point + closed[0]], capture_output=True).returncode, 0, "as root")


# -- damage

def good_and_bad_pages(path):
    """What each page of a file gives, read one by one: bytes or None for EIO."""
    pages = []
    fd = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        for offset in range(0, size, 4096):
            try:
                pages.append(os.pread(fd, 4096, offset))
                equal(len(pages[-1]), min(4096, size - offset), f"bytes at {offset}")
            except OSError as e:
                equal(e.errno, errno.EIO, f"errno at {offset}")
                pages.append(None)
    finally:
        os.close(fd)
    return pages


def forget_pages(path):
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def file_damage(t, name, spec, good_base, path, bad_range):
    """A file with one damaged range: everything else of it must be read, whichever way."""
    image, _ = t.damaged(name)
    point, good = t.mount(image + spec), t.mount(t.image(good_base) + spec)
    with open(good + path, "rb") as f:
        expected = f.read()
    os.listdir(point)
    equal(os.stat(point + path).st_size, len(expected), "size")
    for attempt in ("whole first", "pages first"):
        forget_pages(point + path)
        if attempt == "whole first":
            fd = os.open(point + path, os.O_RDONLY)
            got = b""
            try:
                while True:
                    part = os.read(fd, 1 << 20)
                    check(part, "the file ends before its damaged part")
                    got += part
            except OSError as e:
                equal(e.errno, errno.EIO, "errno of reading")
            os.close(fd)
            equal(got, expected[:bad_range[0]], "what precedes the damage")
        for i, page in enumerate(good_and_bad_pages(point + path)):
            at = i * 4096
            if bad_range[0] <= at < bad_range[1]:
                equal(page, None, f"{attempt}: the page at {at}")
            else:
                check(page == expected[at:at + 4096], f"{attempt}: the page at {at} is wrong")
    # The rest of the tree is as it was.
    for base, dirs, files in os.walk(good):
        for file in files:
            inner = os.path.join(base, file)[len(good):]
            if os.path.isfile(good + inner) and not os.path.islink(good + inner) \
                    and os.stat(good + inner).st_ino != os.stat(good + path).st_ino:
                equal(digest(point + inner), digest(good + inner), inner)


def test_damaged_data(t):
    file_damage(t, "data-flip", "@s1", "vfs-snap", "/a", (65536, 131072))


def test_damaged_compression(t):
    file_damage(t, "lz4-garbage", "", "vfs-bulkfree", "/n10", (0, 65536))


def test_damaged_size_field(t):
    file_damage(t, "lz4-size-field", "", "vfs-bulkfree", "/n11", (0, 65536))


def test_damaged_address(t):
    file_damage(t, "data-off-out-of-range", "", "vfs-bulkfree", "/r01", (0, 65536))


def test_loop(t):
    point = t.mount(t.damaged("topology-loop")[0])
    raises(errno.EIO, "reading /r03", digest, point + "/r03")
    compare(t, point, "vfs-bulkfree", "DATA", "/n1")


def list_until_error(path, plain):
    """The names listed, and the errno at the end. plain: without attributes."""
    names, number = [], 0
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                names.append(entry.name)
                if not plain:
                    try:
                        entry.stat(follow_symlinks=False)
                    except OSError as e:
                        equal(e.errno, errno.EIO, entry.name)
    except OSError as e:
        number = e.errno
    return names, number


def test_damaged_directory(t):
    image, _ = t.damaged("indirect-flip")
    point, good = t.mount(image), t.mount(t.image("vfs-inodes"))
    expected = set(os.listdir(good + "/d5"))
    for plain in (True, False, True):
        names, number = list_until_error(point + "/d5", plain)
        equal(number, errno.EIO, "how the listing ends")
        equal(len(names), len(set(names)), "names listed twice")
        check(set(names) < expected, "names that do not exist are listed")
        check(len(names) > 0, "nothing is listed")
        readable = set(names)
    raises(errno.EIO, "listing it again", os.listdir, point + "/d5")
    for name in sorted(expected):
        if name in readable:
            equal(os.stat(f"{point}/d5/{name}").st_ino, os.stat(f"{good}/d5/{name}").st_ino, name)
        else:
            raises(errno.EIO, name, os.stat, f"{point}/d5/{name}")
    for name in os.listdir(good):
        if name != "d5" and os.path.isdir(f"{good}/{name}"):
            equal(sorted(os.listdir(f"{point}/{name}")), sorted(os.listdir(f"{good}/{name}")), name)


def test_damaged_inode(t):
    point = t.mount(t.damaged("inode-flip")[0])
    good = t.mount(t.image("vfs-meta"))
    for _ in range(3):
        equal(sorted(os.listdir(point + "/own")), sorted(os.listdir(good + "/own")), "names")
        names, number = list_until_error(point + "/own", False)
        equal((sorted(names), number), (sorted(os.listdir(good + "/own")), 0), "listing with stat")
        raises(errno.EIO, "stat of the damaged inode", os.stat, point + "/own/f3")
    for name in os.listdir(good + "/own"):
        if name != "f3":
            a, b = os.lstat(f"{point}/own/{name}"), os.lstat(f"{good}/own/{name}")
            equal((a.st_ino, a.st_mode, a.st_uid), (b.st_ino, b.st_mode, b.st_uid), name)


def test_findings_are_logged(t):
    point = t.point()
    image, _ = t.damaged("data-flip")
    process = in_foreground(t, point, "-rf", image + "@s1", point)
    for _ in range(10):
        good_and_bad_pages(point + "/a")
    time.sleep(1.2)
    t.umount(point)
    lines = process.communicate(timeout=10)[1].splitlines()
    check(lines, "nothing was logged")
    for part in ("PFS s1", "inode 1024", "offset 65536", "0x1c10000", "found 0x", "expected 0x"):
        check(part in lines[0], f"{part!r} is not in {lines[0]!r}")
    check(len(lines) < 70, f"{len(lines)} lines")
    check(any("more findings were not logged" in l for l in lines), "no count of what is left out")


# -- mounts for writing

def writing(t, image, *args):
    return t.mount_on(t.point(), image, *args)


def put(path, data, sync=False):
    with open(path, "wb") as f:
        f.write(data)
        if sync:
            f.flush()
            os.fsync(f.fileno())


def get(path):
    with open(path, "rb") as f:
        return f.read()


def noise(seed, size):
    return random.Random(seed).randbytes(size)


def seen(top):
    """What a tree looks like: for each path what stat tells, and the contents."""
    result = {}
    for base, dirs, files in os.walk(top):
        for name in dirs + files + [""]:
            path = os.path.join(base, name) if name else base
            st = os.lstat(path)
            facts = [st.st_ino, oct(st.st_mode), st.st_uid, st.st_gid, st.st_rdev, st.st_nlink,
                     st.st_size, st.st_mtime_ns, st.st_ctime_ns]
            if stat.S_ISREG(st.st_mode):
                facts.append(digest(path))
            elif stat.S_ISLNK(st.st_mode):
                facts.append(os.readlink(path))
            result[os.path.relpath(path, top)] = facts
    return result


def make_tree(top):
    for name in ("d", "d/e", "d/e/f", "x" * 255):
        os.mkdir(f"{top}/{name}")
    for size in (0, 1, 512, 513, 4096, 65535, 65536, 65537, 1 << 20, 3000001):
        put(f"{top}/d/f{size}", noise(size, size))
    put(f"{top}/d/zeros", bytes(1 << 20))
    os.symlink("d/f1", f"{top}/link")
    os.symlink("y" * 4095, f"{top}/long link")
    os.link(f"{top}/d/f513", f"{top}/d/e/hard")
    os.mkfifo(f"{top}/fifo", 0o640)
    os.mknod(f"{top}/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(f"{top}/disk", stat.S_IFBLK | 0o600, os.makedev(259, 70000))
    os.chmod(f"{top}/d/f1", 0o4711)
    os.chown(f"{top}/d/f512", 1000, 2000)
    os.utime(f"{top}/d/f4096", ns=(10**18, 987654321012345000))
    for i in range(300):
        put(f"{top}/d/e/f/{i}", b"%d" % i)
    for i in range(0, 300, 3):
        os.unlink(f"{top}/d/e/f/{i}")
        os.rename(f"{top}/d/e/f/{i + 1}", f"{top}/d/e/f/renamed {i}")


def test_write_and_mount_again(t):
    image = t.volume("w")
    point = writing(t, image)
    check("rw" in t.info(point)[1] and "rw" in t.info(point)[4], "the mount is not writable")
    make_tree(point)
    before = seen(point)
    equal(os.readlink(point + "/long link"), "y" * 4095, "a long link")
    equal(os.stat(point + "/d/f513").st_nlink, 2, "links")
    equal(os.stat(point + "/d/f4096").st_mtime_ns, 987654321012345000, "time of modification")
    t.umount(point)
    t.fsck(image)
    for args in (("-r",), ()):
        point = t.mount_on(t.point(), image, *args)
        after = seen(point)
        for path in before:
            equal(after.get(path), before[path], path)
        equal(len(after), len(before), "number of paths")
        t.umount(point)
        t.gone()
    # Nothing was changed by the second mount for writing; now everything is removed.
    point = writing(t, image)
    for name in os.listdir(point):
        path = f"{point}/{name}"
        shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
    t.umount(point)
    t.fsck(image)
    equal(os.listdir(t.mount(image)), [], "names after everything was removed")


def test_writing_to_what_dragonfly_made(t):
    image = os.path.join(t.dir, "copy.new")
    subprocess.run(["cp", "--sparse=always", t.image("vfs-snap"), image], check=True)
    point = writing(t, image + "@s1")
    compare(t, point, "vfs-snap", "s1")
    os.mkdir(point + "/new")
    put(point + "/new/file", noise(1, 100000))
    with open(point + "/a", "r+b") as f:
        f.seek(70000)
        f.write(b"changed")
    changed = get(point + "/a")
    t.umount(point)
    t.fsck(image)
    point = t.mount(image + "@s1")
    equal(get(point + "/new/file"), noise(1, 100000), "contents of a new file")
    check(get(point + "/a") == changed, "contents of a changed file")
    compare(t, t.mount(image + "@s2"), "vfs-snap", "s2")


def test_options_for_writing(t):
    image = t.volume("w")
    for options in ("rw", "defaults", "rw,noatime,commit=30", "dirty=4M", "compress=none,check=none",
                    "compress=zlib,check=sha192", "async", "sync", "dirsync", "users,rw,nofail"):
        point = writing(t, image, "-o", options)
        check("rw" in t.info(point)[4], f"{options}: not writable")
        for name in ("sync", "dirsync"):
            equal(name in t.info(point)[4], name == options, f"{name} with {options}")
        check("noatime" not in options or "noatime" in t.info(point)[1], "noatime is not shown")
        put(point + "/file", b"x" * 100)
        t.umount(point)
        t.gone()
    t.umount(writing(t, image, "-w"))
    t.fsck(image)


def test_compress_and_check(t):
    image = t.volume("w")
    rows = (("compress=none", "none", None), ("compress=zero", "autozero", None),
            ("compress=lz4", "lz4", None), ("compress=zlib", "zlib", None),
            ("compress=zlib:9", "zlib:9", None), ("check=crc32", None, "crc32"),
            ("check=sha192", None, "sha192"), ("check=xxhash64", None, "xxhash64"),
            ("check=none", None, "none"), ("check=disabled", None, "disabled"))
    for options, *_ in rows:
        point = writing(t, image, "-o", options)
        put(f"{point}/{options}", b"text " * 50000)
        t.umount(point)
        t.gone()
    for options, comp, algorithm in rows:
        found = t.settings(image, "/" + options)
        if comp:
            equal(found[0].replace(":default", ""), comp, f"compression with {options}")
        if algorithm:
            equal(found[1], algorithm, f"check code with {options}")
    point = t.mount(image)
    for options, *_ in rows:
        equal(get(f"{point}/{options}"), b"text " * 50000, options)
    t.umount(point)
    t.fsck(image)


def test_read_only_refuses(t):
    image = t.volume("w")
    point = writing(t, image)
    put(point + "/file", b"x")
    t.umount(point)
    t.gone()
    point = t.mount(image)
    for what, function, *args in (
            ("making a file", os.mknod, point + "/new"), ("mkdir", os.mkdir, point + "/new"),
            ("unlink", os.unlink, point + "/file"), ("chmod", os.chmod, point + "/file", 0o600),
            ("utime", os.utime, point + "/file"), ("truncate", os.truncate, point + "/file", 0),
            ("rename", os.rename, point + "/file", point + "/other"),
            ("open", os.open, point + "/file", os.O_WRONLY)):
        raises(errno.EROFS, what, function, *args)


def test_write_protected(t):
    image = t.volume("w")
    if subprocess.run(["chattr", "+i", image], capture_output=True).returncode:
        raise Skip("files cannot be made immutable in the temporary folder")
    try:
        for args in ((), ("-o", "rw"), ("-w",)):
            point = t.point()
            done = t.run(image, point, *args)
            equal(done.returncode, 0, f"exit code ({done.stderr})")
            check("mounted read-only" in done.stderr, f"notice {done.stderr!r}")
            equal(len(done.stderr.splitlines()), 1, "lines of the notice")
            check("ro" in t.info(point)[4], "flags")
            t.umount(point)
            t.gone()
        t.umount(t.mount(image))
    finally:
        subprocess.run(["chattr", "-i", image], check=True)


def test_older_header_is_read_only(t):
    image, point = t.image("vfs-2hdr"), t.point()
    before = digest(image)
    done = t.run(image, point, "-o", "header=2")
    equal(done.returncode, 0, f"exit code ({done.stderr})")
    check("mounted read-only" in done.stderr, f"notice {done.stderr!r}")
    check("ro" in t.info(point)[4], "flags")
    t.umount(point)
    t.gone()
    equal(digest(image), before, "the volume")


def test_remount(t):
    image = t.volume("w")
    point = writing(t, image)
    put(point + "/file", b"x")
    fd = os.open(point + "/file", os.O_WRONLY)
    t.refused(MOUNT, "open for writing", "-o", "remount,ro", image, point)
    os.write(fd, b"yes")
    os.close(fd)
    equal(t.run("-o", "remount,ro", image, point).returncode, 0, "remounting for reading")
    raises(errno.EROFS, "mkdir", os.mkdir, point + "/d")
    # All is on the media now, whatever happens to the server.
    os.kill(t.server(), signal.SIGKILL)
    t.gone()
    t.umount(point)
    t.fsck(image)
    equal(t.run(image, point).returncode, 0, "mounting again")
    equal(get(point + "/file"), b"yes", "contents")
    for options in ("remount,ro", "remount,rw", "remount,ro,nosuid", "remount,rw,nodev"):
        equal(t.run("-o", options, image, point).returncode, 0, options)
    put(point + "/other", b"y")
    check("nodev" in t.info(point)[1] and "nosuid" not in t.info(point)[1], "flags")
    t.umount(point)
    t.gone()
    point = t.mount(image)
    t.refused(MOUNT, "cannot be remounted for writing", "-o", "remount,rw", image, point)
    raises(errno.EROFS, "mkdir", os.mkdir, point + "/d")
    t.umount(point)
    t.fsck(image)


def test_who_may_write(t):
    image = t.volume("w", "-L", "A,B")
    one = writing(t, image + "@A")
    for args in ((), ("-r",)):
        t.refused(MOUNT, "already mounted on " + one, image + "@A", t.point(), *args)
    two = writing(t, image + "@B")
    three = t.mount(image + "@LOCAL")
    t.server()
    put(one + "/file", b"one", sync=True)
    put(two + "/file", b"two")
    equal((get(one + "/file"), get(two + "/file"), os.listdir(three)), (b"one", b"two", []), "files")
    raises(errno.EXDEV, "a link to another PFS", os.link, one + "/file", two + "/linked")
    for point in (three, one):
        t.umount(point)
    # A mount can be made anew at once, while the server stays.
    one = writing(t, image + "@A")
    put(one + "/again", b"three")
    t.umount(one)
    t.umount(t.mount(image + "@A"))
    t.umount(two)
    t.gone()
    # Who reads keeps writers out, and the other way round.
    reader = t.mount(image + "@A")
    t.refused(MOUNT, "mounted for reading only", image + "@B", t.point())
    done = subprocess.run([os.path.join(t.bin, "fsck.hammer2"), image], capture_output=True)
    equal(done.returncode, 0, "fsck.hammer2 beside a mount for reading")
    t.umount(reader)
    writer = writing(t, image + "@B")
    equal(get(writer + "/file"), b"two", "contents")
    done = subprocess.run([os.path.join(t.bin, "fsck.hammer2"), image], capture_output=True)
    check(done.returncode != 0, "fsck.hammer2 checks what is mounted for writing")
    t.umount(writer)
    t.fsck(image)


def test_reading_and_writing_in_turns(t):
    image, point = t.volume("w"), t.point()
    for i in range(20):
        t.mount_on(point, image)
        equal(sorted(os.listdir(point), key=int), [str(n) for n in range(i)], "names")
        put(f"{point}/{i}", b"%d" % i)
        t.umount(point)
        t.mount_on(point, image, "-r")
        equal(get(f"{point}/{i}"), b"%d" % i, "contents")
        t.umount(point)
    t.fsck(image)


def test_sigterm_keeps_what_was_written(t):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        image = t.volume("w")
        point = writing(t, image)
        data = noise(number, 3000000)
        put(point + "/closed", data)
        with open(point + "/open", "w+b") as f:
            f.write(data)
            f.flush()
            with mmap.mmap(f.fileno(), 0) as m:
                m[12345:12350] = b"hello"
                os.kill(t.server(), number)
                t.gone()
            raises(errno.ENOTCONN, "stat of a file that was open", os.fstat, f.fileno())
            try:
                f.close()
            except OSError:
                pass
        check(not os.path.ismount(point), "still mounted")
        t.fsck(image)
        point = t.mount(image)
        equal(get(point + "/closed"), data, "contents of a closed file")
        check(get(point + "/open") == data[:12345] + b"hello" + data[12350:],
              "contents of an open file")
        t.umount(point)
        t.gone()


def killed(t, image, point):
    """Kill the server; returns a mount of what it left, for reading."""
    os.kill(t.server(), signal.SIGKILL)
    t.gone()
    t.umount(point)
    t.fsck(image)
    return t.mount(image)


def test_fsync_is_durable(t):
    image = t.volume("w")
    point = writing(t, image, "-o", "commit=3600")
    os.makedirs(point + "/a/b")
    fds = []
    for i in range(10):
        fds.append(os.open(f"{point}/a/b/{i}", os.O_RDWR | os.O_CREAT))
        os.write(fds[-1], noise(i, 200000))
    os.fsync(fds[-1])
    os.close(fds.pop())
    for fd in fds:
        os.fdatasync(fd)
        os.close(fd)
    os.rename(point + "/a/b/3", point + "/a/three")
    fd = os.open(point + "/a", os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    put(point + "/not durable", b"x")
    point = killed(t, image, point)
    for i in range(10):
        path = point + ("/a/three" if i == 3 else f"/a/b/{i}")
        check(get(path) == noise(i, 200000), f"contents of {path}")


def test_sync_option(t):
    image = t.volume("w")
    point = writing(t, image, "-o", "sync,commit=3600")
    check("sync" in t.info(point)[4], "the option is not shown")
    os.mkdir(point + "/d")
    put(point + "/d/file", noise(1, 100000))
    put(point + "/d/gone", b"x")
    os.unlink(point + "/d/gone")
    os.rename(point + "/d/file", point + "/d/renamed")
    os.chmod(point + "/d/renamed", 0o640)
    os.symlink("renamed", point + "/d/link")
    os.link(point + "/d/renamed", point + "/d/hard")
    point = killed(t, image, point)
    equal(sorted(os.listdir(point + "/d")), ["hard", "link", "renamed"], "names")
    equal(get(point + "/d/link"), noise(1, 100000), "contents")
    st = os.stat(point + "/d/renamed")
    equal((stat.S_IMODE(st.st_mode), st.st_nlink), (0o640, 2), "mode and links")
    t.umount(point)
    t.gone()
    point = writing(t, image, "-o", "dirsync,commit=3600")
    os.mkdir(point + "/e")
    point = killed(t, image, point)
    check(os.path.isdir(point + "/e"), "a directory made with dirsync is not there")


def test_commit_option(t):
    image = t.volume("w")
    point = writing(t, image, "-o", "commit=1")
    os.mkdir(point + "/d")
    put(point + "/d/file", noise(1, 100000))
    time.sleep(3)
    point = killed(t, image, point)
    check(get(point + "/d/file") == noise(1, 100000), "what is older than commit=1 is not durable")


def test_killed_while_writing(t):
    image = t.volume("w")
    dice = random.Random(7)
    for i in range(5):
        point = writing(t, image, "-o", "commit=1")
        stop = threading.Event()

        def write():
            n = 0
            try:
                while not stop.is_set():
                    n += 1
                    os.makedirs(f"{point}/{i}/{n % 50}", exist_ok=True)
                    put(f"{point}/{i}/{n % 50}/{n}", noise(n, n * 1000 % 300000), sync=n % 20 == 0)
            except OSError:
                pass # the server is gone

        thread = threading.Thread(target=write)
        thread.start()
        time.sleep(dice.uniform(0.2, 2.0))
        os.kill(t.server(), signal.SIGKILL)
        stop.set()
        thread.join()
        t.gone()
        t.umount(point)
        t.fsck(image)
        point = t.mount(image)
        for base, _, files in os.walk(point):
            for name in files:
                data, n = get(f"{base}/{name}"), int(name)
                expected = noise(n, n * 1000 % 300000)
                # Not synced: as much as was written by the last commit, in whatever pieces.
                if n % 20:
                    check(len(data) <= len(expected), f"{base}/{name} is too long")
                    for at in range(0, len(data), 4096):
                        page = data[at:at + 4096]
                        check(page == expected[at:at + len(page)] or not any(page),
                              f"{base}/{name}: the page at {at} is wrong")
        t.umount(point)
        t.gone()


def test_unlinked_files_live_on(t):
    image = t.volume("w")
    point = writing(t, image)
    fd = os.open(point + "/file", os.O_RDWR | os.O_CREAT, 0o640)
    os.write(fd, noise(1, 300000))
    os.unlink(point + "/file")
    st = os.fstat(fd)
    equal((st.st_nlink, st.st_size), (0, 300000), "links and size")
    os.pwrite(fd, b"more", 300000)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    equal(os.pread(fd, 400000, 0), noise(1, 300000) + b"more", "contents")
    equal(os.fstat(fd).st_nlink, 0, "links")
    os.ftruncate(fd, 100)
    os.fchmod(fd, 0o600)
    equal(stat.S_IMODE(os.fstat(fd).st_mode), 0o600, "mode")
    put(point + "/file", b"another")
    check(os.stat(point + "/file").st_ino != st.st_ino, "the inode's number is used again")
    # Replaced by rename, and a removed directory.
    other = os.open(point + "/file", os.O_RDONLY)
    put(point + "/new", b"third")
    os.rename(point + "/new", point + "/file")
    equal((os.read(other, 100), os.fstat(other).st_nlink), (b"another", 0), "a replaced file")
    os.mkdir(point + "/d")
    folder = os.open(point + "/d", os.O_RDONLY)
    os.rmdir(point + "/d")
    raises(errno.ENOENT, "a file in a removed directory", lambda: os.open("x", os.O_CREAT,
                                                                          dir_fd=folder))
    try:
        equal(os.listdir(folder), [], "a removed directory")
    except OSError as e:
        equal(e.errno, errno.ENOENT, "errno of listing a removed directory")
    os.close(folder)
    os.close(other)
    equal(os.pread(fd, 400000, 0), noise(1, 100), "contents in the end")
    os.close(fd)
    equal(os.listdir(point), ["file"], "names")
    t.umount(point)
    t.fsck(image)


def test_errors_of_names(t):
    point = writing(t, t.volume("w"))
    os.makedirs(point + "/full/inner")
    put(point + "/file", b"x")
    for number, what, function, *args in (
            (errno.EEXIST, "mkdir", os.mkdir, point + "/full"),
            (errno.EEXIST, "link", os.link, point + "/file", point + "/full"),
            (errno.EEXIST, "symlink", os.symlink, "x", point + "/file"),
            (errno.ENOTEMPTY, "rmdir", os.rmdir, point + "/full"),
            (errno.ENOTEMPTY, "rename", os.rename, point + "/full/inner", point + "/full"),
            (errno.EISDIR, "unlink", os.unlink, point + "/full"),
            (errno.EISDIR, "rename", os.rename, point + "/file", point + "/full/inner"),
            (errno.ENOTDIR, "rmdir", os.rmdir, point + "/file"),
            (errno.ENOTDIR, "rename", os.rename, point + "/full", point + "/file"),
            (errno.EINVAL, "rename", os.rename, point + "/full", point + "/full/inner/x"),
            (errno.EPERM, "link", os.link, point + "/full", point + "/other"),
            (errno.ENOENT, "unlink", os.unlink, point + "/missing"),
            (errno.ENOENT, "rename", os.rename, point + "/missing", point + "/other"),
            (errno.ENAMETOOLONG, "mkdir", os.mkdir, point + "/" + "x" * 256),
            (errno.ENAMETOOLONG, "rename", os.rename, point + "/file", point + "/" + "x" * 256),
            (errno.EXDEV, "rename", os.rename, point + "/file", t.dir + "/file")):
        raises(number, what, function, *args)
    equal(sorted(os.listdir(point)), ["file", "full"], "names")


def test_full(t):
    image = t.volume("w", size="192M")
    point = writing(t, image)
    put(point + "/small", b"small", sync=True)
    put(point + "/big", b"", sync=True)
    kept = []
    try:
        for i in range(10000):
            put(f"{point}/{i}", noise(i, 300000))
            kept.append(i) # close said yes
    except OSError as e:
        equal(e.errno, errno.ENOSPC, "errno of a full filesystem")
    check(kept and len(kept) < 600, f"{len(kept)} files of 300000 bytes fit into 192 MiB")
    # Reported by fsync, once to each descriptor.
    one = os.open(point + "/big", os.O_WRONLY)
    two = os.open(point + "/big", os.O_RDONLY)
    os.write(one, noise(1, 30 << 20))
    for fd in (one, two):
        raises(errno.ENOSPC, "fsync", os.fsync, fd)
        os.fsync(fd)
    for fd in (one, two):
        os.close(fd)
    for i in kept:
        check(get(f"{point}/{i}") == noise(i, 300000), f"contents of {i}")
    t.umount(point)
    t.fsck(image)
    point = writing(t, image)
    for i in kept:
        check(get(f"{point}/{i}") == noise(i, 300000), f"contents of {i} after mounting again")
    for name in os.listdir(point):
        if name != "small":
            os.unlink(f"{point}/{name}")
    equal(get(point + "/small"), b"small", "contents of a small file")
    t.umount(point)
    t.fsck(image)
    equal(os.listdir(t.mount(image)), ["small"], "names")


def set_flags(path, flags):
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, 0x40086602, struct.pack("=I", flags)) # FS_IOC_SETFLAGS
    finally:
        os.close(fd)


def get_flags(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        return struct.unpack("=I", fcntl.ioctl(fd, 0x80086601, bytes(4)))[0] # FS_IOC_GETFLAGS
    finally:
        os.close(fd)


def test_flags(t):
    immutable, append, nodump = 0x10, 0x20, 0x40
    image = t.volume("w")
    point = writing(t, image)
    put(point + "/file", b"x")
    os.mkdir(point + "/d")
    equal(get_flags(point + "/file"), 0, "flags of a new file")
    for name in ("/file", "/d"):
        set_flags(point + name, nodump)
        equal(get_flags(point + name), nodump, "flags")
        set_flags(point + name, immutable)
        equal(get_flags(point + name), immutable, "flags")
    raises(errno.EPERM, "unlink", os.unlink, point + "/file")
    raises(errno.EPERM, "rename", os.rename, point + "/file", point + "/other")
    raises(errno.EPERM, "chmod", os.chmod, point + "/file", 0o600)
    raises(errno.EPERM, "truncate", os.truncate, point + "/file", 0)
    raises(errno.EPERM, "mkdir", os.mkdir, point + "/d/e")
    raises(errno.EOPNOTSUPP, "a flag that is not known", set_flags, point + "/file", 0x1000)
    t.umount(point)
    t.fsck(image)
    point = writing(t, image)
    equal(get_flags(point + "/file"), immutable, "flags after mounting again")
    set_flags(point + "/file", append)
    for i in range(3):
        with open(point + "/file", "ab") as f:
            f.write(b"line\n")
    equal(get(point + "/file"), b"xline\nline\nline\n", "an append-only file")
    raises(errno.EPERM, "truncate", os.truncate, point + "/file", 0)
    for name in ("/file", "/d"):
        set_flags(point + name, 0)
    os.unlink(point + "/file")
    os.mkdir(point + "/d/e")
    t.umount(point)
    t.fsck(image)


def test_space_in_statfs(t):
    point = writing(t, t.volume("w"))
    before = os.statvfs(point)
    check(before.f_ffree > 0 and before.f_favail > 0, "no inodes are free")
    put(point + "/file", noise(1, 32 << 20), sync=True)
    after = os.statvfs(point)
    used = (before.f_bfree - after.f_bfree) * after.f_frsize
    check(32 << 20 <= used < 40 << 20, f"32 MiB take {used} bytes")
    check(os.stat(point + "/file").st_blocks * 512 >= 32 << 20, "blocks of a file")


def test_files_in_statfs(t):
    point = writing(t, t.volume("w"))
    os.mkdir(point + "/d")
    before = os.statvfs(point)
    for i in range(1000):
        put(f"{point}/d/{i}", b"")
    after = os.statvfs(point)
    equal(after.f_files - after.f_ffree - (before.f_files - before.f_ffree), 1000, "files in use")


def loop_device(image):
    done = subprocess.run(["losetup", "-f", "--show", image], capture_output=True, text=True)
    if done.returncode:
        raise Skip("no loop device: " + done.stderr.strip())
    return done.stdout.strip()


def test_loop_device_and_its_file_exclude_each_other(t):
    image = t.volume("w", "-L", "A,B")
    device = loop_device(image)
    try:
        for first, second in ((image, device), (device, image)):
            point = writing(t, first + "@A")
            for program in (("mount.hammer2", second + "@B", t.point()),
                            ("mkfs.hammer2", "-f", second), ("fsck.hammer2", second)):
                said = subprocess.run([os.path.join(t.bin, program[0]), *program[1:]],
                                      capture_output=True, text=True)
                check(said.returncode != 0, f"{program[0]} of {second} beside a mount of {first}")
            t.umount(point)
            t.fsck(second)
    finally:
        subprocess.run(["losetup", "-d", device])


def test_block_device(t):
    image = t.volume("w", "-L", "A,B")
    device = loop_device(image)
    try:
        one = writing(t, device + "@A")
        equal(t.info(one)[2:4], ("fuseblk.hammer2", device), "type and source")
        two = writing(t, device + "@B")
        equal(t.info(two)[2:4], ("fuse.hammer2", device + "@B"), "type and source of another PFS")
        put(one + "/file", noise(1, 20 << 20))
        put(two + "/file", noise(2, 1 << 20))
        # Unmounting ends when everything is on the media.
        t.umount(one)
        os.kill(t.server(), signal.SIGKILL)
        t.gone()
        t.umount(two)
        t.fsck(device)
        one = writing(t, device + "@A", "-o", "commit=3600")
        check(get(one + "/file") == noise(1, 20 << 20), "contents after unmounting")
        # So does sync(2).
        put(one + "/other", noise(3, 1 << 20))
        os.sync()
        os.kill(t.server(), signal.SIGKILL)
        t.gone()
        t.umount(one)
        t.fsck(device)
        one = t.mount(device + "@A")
        equal(t.info(one)[2], "fuse.hammer2", "type of a mount for reading")
        check(get(one + "/other") == noise(3, 1 << 20), "contents after sync")
        t.umount(one)
        t.gone()
        subprocess.run(["blockdev", "--setro", device], check=True)
        point = t.point()
        done = t.run(device + "@A", point)
        equal(done.returncode, 0, f"exit code ({done.stderr})")
        check("mounted read-only: it is write-protected" in done.stderr, f"{done.stderr!r}")
        t.umount(point)
        t.gone()
    finally:
        t.clean_mounts()
        subprocess.run(["blockdev", "--setrw", device], check=False)
        subprocess.run(["losetup", "-d", device], check=True)


def test_unmounting_waits(t):
    image = t.volume("w", "-L", "A,B")
    one, two = writing(t, image + "@A", "-o", "commit=3600"), writing(t, image + "@B")
    put(one + "/file", noise(1, 20 << 20))
    os.mkdir(one + "/d")
    t.umount(one)
    os.kill(t.server(), signal.SIGKILL)
    t.gone()
    t.umount(two)
    t.fsck(image)
    one = t.mount(image + "@A")
    check(get(one + "/file") == noise(1, 20 << 20), "contents after unmounting")
    check(os.path.isdir(one + "/d"), "a directory is missing after unmounting")


def test_unmount_helper(t):
    helper = os.path.join(t.dir, "umount.fuse.hammer2")
    if not os.path.lexists(helper):
        os.symlink(t.program, helper)

    def unmount(*args):
        return subprocess.run([helper, *args], capture_output=True, text=True, timeout=60)

    image = t.volume("w", "-L", "A,B")
    one, two = writing(t, image + "@A", "-o", "commit=3600"), writing(t, image + "@B")
    for point in (one, two):
        put(point + "/file", noise(1, 20 << 20))
    fd = os.open(one, os.O_RDONLY)
    done = unmount(one)
    equal(done.returncode, MOUNT, "exit code for a busy mount")
    check("busy" in done.stderr, f"message {done.stderr!r}")
    os.close(fd)
    equal(unmount(one, "-v").returncode, 0, "exit code")
    check(not os.path.ismount(one), "still mounted")
    os.kill(t.server(), signal.SIGKILL)
    t.gone()
    t.umount(two)
    t.fsck(image)
    one = writing(t, image + "@A")
    check(get(one + "/file") == noise(1, 20 << 20), "contents after unmounting")
    put(one + "/other", noise(2, 20 << 20))
    equal(unmount(one).returncode, 0, "exit code")
    # The volumes are closed: another program may have them at once.
    done = subprocess.run([os.path.join(t.bin, "fsck.hammer2"), "--strict", image],
                          capture_output=True)
    equal(done.returncode, 0, "exit code of fsck.hammer2")
    check(get(t.mount(image + "@A") + "/other") == noise(2, 20 << 20), "contents")
    equal(unmount(t.point()).returncode, MOUNT, "exit code where nothing is mounted")
    equal(unmount().returncode, USAGE, "exit code without arguments")


def test_log_of_writing(t):
    image, point = t.volume("w"), t.point()
    process = in_foreground(t, point, "-fv", image, point)
    put(point + "/file", b"x")
    t.umount(point)
    lines = process.communicate(timeout=10)[1]
    equal(process.returncode, 0, "exit code")
    for text in (f"PFS DATA is mounted on {point} for writing", f"is unmounted from {point}",
                 "closed; all changes are on the media"):
        check(text in lines, f"{text!r} is not in {lines!r}")


def test_parallel_writers(t):
    image = t.volume("w")
    point = writing(t, image)
    failures = []

    def work(n):
        try:
            for i in range(100):
                os.makedirs(f"{point}/{n}/{i}")
                put(f"{point}/{n}/{i}/file", noise(i, i * 1000), sync=i % 10 == 0)
                os.rename(f"{point}/{n}/{i}/file", f"{point}/common {n} {i}")
                os.listdir(point)
        except OSError as e:
            failures.append(str(e))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(failures, [], "errors")
    t.umount(point)
    t.fsck(image)
    point = t.mount(image)
    for n in range(6):
        for i in range(100):
            check(get(f"{point}/common {n} {i}") == noise(i, i * 1000), f"contents of {n} {i}")


def test_listing_beside_changes(t):
    point = writing(t, t.volume("w"))
    fixed = {f"fixed {i}" for i in range(500)}
    for name in fixed:
        put(f"{point}/{name}", b"")
    stop, failures = threading.Event(), []

    def change(n):
        i = 0
        while not stop.is_set():
            i += 1
            put(f"{point}/moving {n} {i}", b"")
            if i > 20:
                os.unlink(f"{point}/moving {n} {i - 20}")

    def look():
        for _ in range(30):
            names = os.listdir(point)
            if len(names) != len(set(names)):
                failures.append("a name is listed twice")
            if not fixed <= set(names):
                failures.append(f"{len(fixed - set(names))} names are missing")

    changers = [threading.Thread(target=change, args=(n,)) for n in range(2)]
    lookers = [threading.Thread(target=look) for _ in range(3)]
    for thread in changers + lookers:
        thread.start()
    for thread in lookers:
        thread.join()
    stop.set()
    for thread in changers:
        thread.join()
    equal(failures[:5], [], "listings")


# -- surroundings

def test_unprivileged_user(t):
    try:
        user = pwd.getpwnam("nobody")
    except KeyError:
        raise Skip("there is no user nobody")
    if not shutil.which("setpriv") or not shutil.which("fusermount3"):
        raise Skip("setpriv or fusermount3 is missing")
    image, points = t.image("vfs-snap"), [t.point(), t.point()]
    for path in points:
        os.chown(path, user.pw_uid, user.pw_gid)
    os.chmod(image, 0o644)
    command = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups",
               "env", "-u", "XDG_RUNTIME_DIR"]
    if subprocess.run([*command, t.program, "--version"], capture_output=True).returncode:
        raise Skip("nobody may not run the program in the build directory")
    mode = stat.S_IMODE(os.stat("/dev/fuse").st_mode)
    base = f"/tmp/hammer2-{user.pw_uid}"
    try:
        if mode != 0o666:
            os.chmod("/dev/fuse", 0o666)

        def run(*args):
            return subprocess.run([*command, *args], capture_output=True, text=True, timeout=60)

        done = run(t.program, "-r", image + "@s1", points[0])
        if "fusermount3" in done.stderr and "not permitted" in done.stderr:
            raise Skip(done.stderr.strip())
        equal((done.returncode, done.stderr), (0, ""), "mounting as nobody")
        equal(run(t.program, "-r", image + "@s2", points[1]).returncode, 0, "a second PFS")
        equal(t.info(points[0])[2:4], ("fuse.hammer2", image + "@s1"), "type and source")
        check({"nosuid", "nodev"} <= set(t.info(points[0])[1]), "flags")
        t.server()
        st = os.lstat(base)
        equal((st.st_uid, stat.S_IMODE(st.st_mode)), (user.pw_uid, 0o700), f"owner, mode of {base}")
        equal(run("cat", points[0] + "/small").returncode, 0, "reading as nobody")
        raises(errno.EACCES, "root in a mount of nobody", os.listdir, points[0])
        # Root's own mount of the same volume has a server of its own.
        t.mount(image)
        equal(len(t.servers()), 2, "servers of two users")
        done = run(t.program, "-r", image, points[0] + "x")
        equal(done.returncode, MOUNT, "a missing mount point")
        done = run(t.program, "-r", image, t.point())
        check(done.returncode != 0 and "fusermount3" in done.stderr,
              f"a mount point of root's: {done.returncode} {done.stderr!r}")
        os.chmod(image, 0o600)
        done = run(t.program, "-r", image + "@s1", points[1], "-o", "header=1")
        equal(done.returncode, USAGE, f"an image that nobody may not read ({done.stderr})")
        os.chmod(image, 0o644)
        for point in points:
            equal(run("fusermount3", "-u", point).returncode, 0, "unmounting as nobody")
        wait_for(lambda: len(t.servers()) == 1, "the end of nobody's server")
        equal(os.listdir(base), [], f"files in {base}")
        # SIGTERM unmounts as well.
        equal(run(t.program, "-r", image + "@s1", points[0]).returncode, 0, "mounting again")
        for pid in t.servers():
            if os.stat(f"/proc/{pid}").st_uid == user.pw_uid:
                os.kill(pid, signal.SIGTERM)
        wait_for(lambda: len(t.servers()) == 1, "the end on SIGTERM")
        check(not os.path.ismount(points[0]), "still mounted after SIGTERM")
        # A directory that is not nobody's is not trusted; mounts work, each with its own server.
        os.rmdir(base)
        os.mkdir(base, 0o777)
        for point in points:
            equal(run(t.program, "-r", image + "@s1", point).returncode, 0, "mounting without the socket")
        equal(len(t.servers()), 3, "servers")
        equal(os.listdir(base), [], f"files in a directory of root's")
    finally:
        if mode != 0o666:
            os.chmod("/dev/fuse", mode)
        os.chmod(image, 0o644)
        t.clean()
        shutil.rmtree(base, ignore_errors=True)


MOUNT_SCRIPT = r"""
mount -t tmpfs none "$scratch" && mkdir "$scratch/up" "$scratch/work" &&
layers="lowerdir=/usr/sbin,upperdir=$scratch/up,workdir=$scratch/work" &&
mount -t overlay none -o "$layers" /usr/sbin &&
cp "$program" /usr/sbin/mount.hammer2 && ln -s mount.hammer2 /usr/sbin/mount.fuse.hammer2 &&
ln -s mount.hammer2 /usr/sbin/umount.fuse.hammer2 || exit 77
set -e
mount -t hammer2 "$image@s1" "$point" -o ro,noatime,nofail,x-test=1
test "$(stat -c %s "$point/small")" = 9
mount -o remount,ro,nosuid "$point"
umount "$point"
mount -t fuse.hammer2 "$image" "$point" -o pfs=s2,ro
grep -q " $point .* fuse.hammer2 $image" /proc/self/mountinfo
umount "$point"
mount -t hammer2 "$image" "$point" -o ro
! mount -o remount,rw -t hammer2 "$image" "$point" 2>/dev/null
umount "$point"
mount -t hammer2 "$new" "$point"
echo data > "$point/file"
mount -o remount,ro "$point"
! touch "$point/file" 2>/dev/null
mount -o remount,rw "$point"
test "$(cat "$point/file")" = data
rm "$point/file"
cd "${point%/*}"
umount "${point##*/}"
flock -n -x "$new" true
set +e
mount -t hammer2 "$image@nope" "$point" 2>/dev/null
test $? = 32 || exit 1
"""


def test_through_mount_command(t):
    if os.path.exists("/usr/sbin/mount.hammer2"):
        raise Skip("mount.hammer2 is installed; it would be hidden")
    if not os.path.samefile("/sbin", "/usr/sbin"):
        raise Skip("/sbin is not /usr/sbin")
    scratch = t.point()
    done = subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c", MOUNT_SCRIPT],
                          capture_output=True, text=True, timeout=60,
                          env={**os.environ, "scratch": scratch, "program": t.program,
                               "image": t.image("vfs-snap"), "new": t.volume("w"),
                               "point": t.point()})
    if "propagation" in done.stderr:
        raise Skip("no private mount namespace here, as in a chroot: " + done.stderr.strip())
    if done.returncode == 77:
        raise Skip("no overlay in a private namespace: " + done.stderr.strip())
    equal((done.returncode, done.stderr), (0, ""), "mounting with mount(8)")


def main(tests=None):
    """Run the tests of a module: a dictionary; this one's without it."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    here = os.path.dirname(os.path.abspath(__file__))
    checkout = os.path.dirname(os.path.dirname(here))
    folders = [os.path.join(os.path.dirname(checkout), "shared", "images"),
               os.path.join(checkout, "tests", "fixtures")]
    parser.add_argument("--images", default=next(filter(os.path.isdir, folders), folders[-1]),
                        help="folder of the test images (default: ../shared/images beside the "
                             "checkout, or the few in tests/fixtures)")
    parser.add_argument("--build", default=os.path.join(checkout, "build"))
    parser.add_argument("tests", nargs="*", help="names of tests; all by default")
    args = parser.parse_args()
    reason = None
    if os.geteuid() != 0:
        reason = "not root"
    elif not os.path.exists("/dev/fuse"):
        reason = "no /dev/fuse"
    elif not os.path.isdir(args.images):
        reason = "no folder of images; give --images"
    elif not shutil.which("zstd"):
        reason = "no zstd"
    if reason:
        print(f"SKIP everything: {reason}\n0 passed, 0 failed, 1 skipped")
        return 77
    passed = failed = skipped = 0
    t = Mounts(args.images, args.build)
    try:
        for name, function in list((tests or globals()).items()):
            if not name.startswith("test_") or (args.tests and name[5:] not in args.tests):
                continue
            try:
                function(t)
                passed += 1
                print(f"ok   {name[5:]}")
            except Skip as e:
                skipped += 1
                print(f"SKIP {name[5:]}: {e}")
            except (Failure, OSError, ValueError, KeyError, subprocess.SubprocessError) as e:
                failed += 1
                print(f"FAIL {name[5:]}: {e}")
            finally:
                t.clean()
            sys.stdout.flush()
    finally:
        t.clean()
        t.remove()
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
