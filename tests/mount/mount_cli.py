#!/usr/bin/env python3
"""
mount.hammer2 as users meet it: the command line, labels and options, exit codes, several PFSs from
one server, how servers end, and what damaged volumes look like through the kernel.

Needs root and /dev/fuse. Ends with "N passed, N failed, N skipped"; exits with 1 if any failed, and
with 77 (skipped, for meson) if nothing could be run.
"""

import argparse
import ctypes
import ctypes.util
import errno
import hashlib
import json
import os
import pwd
import random
import shutil
import signal
import stat
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
        self.program = os.path.join(os.path.abspath(build), "bin", "mount.hammer2")
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
        """Mount; must succeed silently. Returns the mount point."""
        point = self.point()
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
        wait_for(lambda: not self.servers(), "the server's end")

    def clean(self):
        """Leave nothing behind for the next test."""
        for point, *_ in reversed(list(self.infos())):
            subprocess.run(["umount", "-l", point], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 5
        while self.servers() and time.monotonic() < deadline:
            time.sleep(0.01)
        for pid in self.servers():
            os.kill(pid, signal.SIGKILL)
        for name in os.listdir(self.dir):
            path = os.path.join(self.dir, name)
            if os.path.isdir(path) and not os.path.islink(path):
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
    equal(t.run(t.image("vfs-snap"), point).returncode, 0, "exit code")
    check(os.path.ismount(point), "not mounted")
    os.kill(t.server(), signal.SIGTERM)
    t.gone()
    check(not os.path.ismount(point), "still mounted after SIGTERM")


def test_relative_names(t):
    t.image("vfs-snap")
    os.mkdir(os.path.join(t.dir, "rel"))
    done = t.run("vfs-snap.img@s2", "rel", cwd=t.dir)
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
    done = t.run(image + "@nope", t.point())
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
            t.refused(MOUNT, 'no PFS "DATA"; there are', path, t.point())


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


def test_rw_is_mounted_for_reading(t):
    point = t.point()
    done = t.run(t.image("vfs-snap"), point, "-o", "rw")
    equal(done.returncode, 0, "exit code")
    check("mounted read-only" in done.stderr, f"notice {done.stderr!r}")
    check("ro" in t.info(point)[1], "flags")


def test_options_refused(t):
    image = t.image("vfs-snap")
    for options, text in (("foo", "unknown"), ("ro,nodiratim", "unknown"), ("pfs", "needs a value"),
                          ("pfs=", "not valid"), ("offset=x", "not valid"),
                          ("offset=-1", "not valid"), ("cache=1Q", "not valid"),
                          ("cache=99999999999G", "not valid"), ("header=5", "not valid"),
                          ("header=0", "not valid"), ("ro=1", "takes no value")):
        t.refused(USAGE, text, image, t.point(), "-o", options)
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
        process = in_foreground(t, point, "-f", t.image("vfs-snap") + "@s1", point)
        compare(t, point, "vfs-snap", "s1")
        process.send_signal(number)
        equal(process.communicate(timeout=10), ("", ""), "output")
        equal(process.returncode, 0, f"exit code after {number}")
        check(not os.path.ismount(point), "still mounted")
    process = in_foreground(t, point, "-f", t.image("vfs-snap") + "@s1", point)
    t.umount(point)
    equal(process.wait(10), 0, "exit code after umount")


def test_foreground_shares(t):
    point, image = t.point(), t.image("vfs-snap")
    process = in_foreground(t, point, "-f", image, point)
    other = t.mount(image + "@s1")
    equal(t.servers(), [process.pid], "servers")
    alone = t.point()
    second = in_foreground(t, alone, "-f", image, alone)
    t.umount(alone)
    equal(second.wait(10), 0, "exit code of the second")
    t.umount(point)
    compare(t, other, "vfs-snap", "s1")
    t.umount(other)
    equal(process.wait(10), 0, "exit code of the first")


def test_debug(t):
    point = t.point()
    process = in_foreground(t, point, "-d", t.image("vfs-snap"), point)
    os.listdir(point)
    process.send_signal(signal.SIGINT)
    check("READDIR" in process.communicate(timeout=10)[1], "no requests in the output")


def test_foreground_errors(t):
    t.refused(MOUNT, 'no PFS "x"', "-f", t.image("vfs-snap") + "@x", t.point())
    t.refused(MOUNT, "cannot be opened", "-f", t.image("vfs-snap"), t.point(), "-o", "offset=4096")
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
    t.refused(MOUNT, 'no PFS "x"', image + "@x", t.point())
    done = t.run(image, t.mount(image), "-o", "cache=1M")
    equal(done.returncode, 0, "exit code")
    check("cache is ignored" in done.stderr, done.stderr)
    equal(t.server(), pid, "the server")
    os.listdir(point)


def test_simultaneous_mounts(t):
    image = t.image("vfs-snap")
    for _ in range(5):
        points = [t.point() for _ in range(8)]
        clients = [subprocess.Popen([t.program, image + "@s1", p], stderr=subprocess.PIPE)
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
        done = t.run(image + "@s1", point)
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
    t.refused(MOUNT, "server has died", image + "@s1", point)
    other = t.mount(image + "@s2")
    compare(t, other, "vfs-snap", "s2")
    t.umount(point)
    equal(t.run(image + "@s1", point).returncode, 0, "mounting again")
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
    equal(t.run(image + "@s1", point).returncode, 0, "mounting again")
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
    process = in_foreground(t, point, "-f", image + "@s1", point)
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

        done = run(t.program, image + "@s1", points[0])
        if "fusermount3" in done.stderr and "not permitted" in done.stderr:
            raise Skip(done.stderr.strip())
        equal((done.returncode, done.stderr), (0, ""), "mounting as nobody")
        equal(run(t.program, image + "@s2", points[1]).returncode, 0, "a second PFS")
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
        done = run(t.program, image, points[0] + "x")
        equal(done.returncode, MOUNT, "a missing mount point")
        done = run(t.program, image, t.point())
        check(done.returncode != 0 and "fusermount3" in done.stderr,
              f"a mount point of root's: {done.returncode} {done.stderr!r}")
        os.chmod(image, 0o600)
        done = run(t.program, image + "@s1", points[1], "-o", "header=1")
        equal(done.returncode, USAGE, f"an image that nobody may not read ({done.stderr})")
        os.chmod(image, 0o644)
        for point in points:
            equal(run("fusermount3", "-u", point).returncode, 0, "unmounting as nobody")
        wait_for(lambda: len(t.servers()) == 1, "the end of nobody's server")
        equal(os.listdir(base), [], f"files in {base}")
        # SIGTERM unmounts as well.
        equal(run(t.program, image + "@s1", points[0]).returncode, 0, "mounting again")
        for pid in t.servers():
            if os.stat(f"/proc/{pid}").st_uid == user.pw_uid:
                os.kill(pid, signal.SIGTERM)
        wait_for(lambda: len(t.servers()) == 1, "the end on SIGTERM")
        check(not os.path.ismount(points[0]), "still mounted after SIGTERM")
        # A directory that is not nobody's is not trusted; mounts work, each with its own server.
        os.rmdir(base)
        os.mkdir(base, 0o777)
        for point in points:
            equal(run(t.program, image + "@s1", point).returncode, 0, "mounting without the socket")
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
cp "$program" /usr/sbin/mount.hammer2 && ln -s mount.hammer2 /usr/sbin/mount.fuse.hammer2 || exit 77
set -e
mount -t hammer2 "$image@s1" "$point" -o ro,noatime,nofail,x-test=1
test "$(stat -c %s "$point/small")" = 9
mount -o remount,ro,nosuid "$point"
umount "$point"
mount -t fuse.hammer2 "$image" "$point" -o pfs=s2,ro
grep -q " $point .* fuse.hammer2 $image" /proc/self/mountinfo
umount "$point"
mount -t hammer2 "$image" "$point" 2>&1 | grep -q "mounted read-only"
! mount -o remount,rw -t hammer2 "$image" "$point" 2>/dev/null
umount "$point"
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
                               "image": t.image("vfs-snap"), "point": t.point()})
    if "propagation" in done.stderr:
        raise Skip("no private mount namespace here, as in a chroot: " + done.stderr.strip())
    if done.returncode == 77:
        raise Skip("no overlay in a private namespace: " + done.stderr.strip())
    equal((done.returncode, done.stderr), (0, ""), "mounting with mount(8)")


def main():
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
        for name, function in list(globals().items()):
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
