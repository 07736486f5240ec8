#!/usr/bin/env python3
"""The verb edit of the hammer2 program, called as users call it.

What is expected comes from the programs that the commands are named after: each command is done to
a directory of the system as well, by cp, mkdir, mv and so on, and both must fare the same and look
the same afterwards. Every volume that was edited is verified with fsck.hammer2 --strict.

    edit.py [--build DIR] [--images DIR] [--seed N] [TEST...]
"""

import contextlib
import fcntl
import grp
import hashlib
import json
import os
import pwd
import random
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time

import cli
from cli import Skip, spec
import h2images
from h2images import Failure

SECONDS = 120
ROOT = os.geteuid() == 0
TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo",
         stat.S_IFCHR: "chr", stat.S_IFBLK: "blk", stat.S_IFSOCK: "socket"}
RANDOM_STEPS = 400
RANDOM_MODES = 300
MIB = 1 << 20


class Bench(cli.Bench):
    """The programs, and scratch space."""

    def __init__(self, args, seed):
        super().__init__(args)
        self.mkfs = h2images.program(args.build, "mkfs.hammer2")
        self.fsck = h2images.program(args.build, "fsck.hammer2")
        if not self.mkfs or not self.fsck:
            raise SystemExit(f"{args.build}: has no mkfs.hammer2 or fsck.hammer2; build it first")
        self.seed = seed

    @contextlib.contextmanager
    def folder(self):
        with tempfile.TemporaryDirectory(prefix="hammer2-edit.") as folder:
            yield os.path.realpath(folder)

    @contextlib.contextmanager
    def image(self, name=None, size="256M"):
        """A new volume, verified when the context ends; or one of the collection."""
        if name:
            with super().image(name) as volumes:
                for volume in volumes:  # as packed they may be read-only
                    os.chmod(volume, 0o600)
                yield volumes
            return
        with self.folder() as folder:
            path = os.path.join(folder, "volume.img")
            done = h2images.run([self.mkfs, "-q", "-s", size, path], SECONDS)
            if done.returncode:
                raise Failure(f"mkfs.hammer2: {h2images.output_lines(done)}")
            yield path
            self.verify(path)

    def verify(self, *volumes):
        done = h2images.run([self.fsck, "--strict", *volumes], SECONDS)
        self.check("fsck.hammer2 --strict", done.returncode == 0, h2images.output_lines(done))

    def edit(self, image, *command, expect=0, data=b"", cwd=None, options=(), umask=0o022):
        """Run "hammer2 edit"; it must end with the status expect (None: any)."""
        done = subprocess.run([self.program, "edit", *options, image, *command], input=data,
                              capture_output=True, cwd=cwd, timeout=SECONDS, check=False,
                              env=dict(os.environ, TZ="UTC"), umask=umask)
        said = done.stderr.decode(errors="replace")
        if done.returncode < 0 or "Sanitizer" in said or "runtime error:" in said:
            raise Failure(f"hammer2 edit {command} crashed ({done.returncode}): {said[:2000]}")
        if expect is not None and done.returncode != expect:
            raise Failure(f"hammer2 edit {' '.join(map(os.fsdecode, command))} ended with "
                          f"{done.returncode}, expected {expect}: {said[:1000]}")
        return done

    def script(self, image, text, **how):
        data = text if isinstance(text, bytes) else text.encode()
        return self.edit(image, data=data, options=("-f", "-", *how.pop("options", ())), **how)

    def state(self, image):
        """Everything that is on a volume but for free space: its headers and all its blocks."""
        return (self.call("volhdr", "--all", image).stdout,
                self.call("show", "--verify", "--json", image).stdout)

    def unchanged(self, what, image, before):
        self.check(f"{what}: the volume is as it was", self.state(image) == before)


# ---- trees ----

@contextlib.contextmanager
def readable(path, st):
    """Make an object readable for its owner while the context lasts."""
    if ROOT or stat.S_ISLNK(st.st_mode) or os.access(path, os.R_OK | os.X_OK):
        yield
        return
    os.chmod(path, stat.S_IMODE(st.st_mode) | 0o700)
    try:
        yield
    finally:
        os.chmod(path, stat.S_IMODE(st.st_mode))


def scan(top, short, tree, inodes):
    """Add what is in a directory to a tree."""
    for name in os.listdir(top):
        path, key = os.path.join(top, name), short + b"/" + name
        st = os.lstat(path)
        kind = TYPES[stat.S_IFMT(st.st_mode)]
        entry = {"type": kind, "mode": stat.S_IMODE(st.st_mode), "uid": st.st_uid,
                 "gid": st.st_gid, "mtime_us": st.st_mtime_ns // 1000}
        with readable(path, st):
            if kind == "file":
                entry["size"] = st.st_size
                with open(path, "rb") as file:
                    entry["sha256"] = hashlib.sha256(file.read()).hexdigest()
            elif kind == "dir":
                scan(path, key, tree, inodes)
        if kind == "symlink":
            entry["target"] = os.readlink(path)
        if kind in ("chr", "blk"):
            entry["device"] = (os.major(st.st_rdev), os.minor(st.st_rdev))
        if kind != "dir":
            entry["nlink"] = st.st_nlink
        inodes.setdefault(st.st_ino, []).append(key)
        tree[key] = entry


def tree_of_directory(top):
    """What is in a directory, in the terms of the image's tree; and which names share a file."""
    tree, inodes = {}, {}
    scan(os.fsencode(top), b"", tree, inodes)
    return tree, sorted(sorted(names) for names in inodes.values())


def tree_of_image(bench, image):
    """The same of a PFS."""
    tree, inodes = {}, {}
    for item in bench.lines("ls", "-l", "-R", image):
        path = h2images.field_bytes(item, "path")
        entry = {"type": item["type"], "mode": int(item["mode"], 8), "uid": item["uid"],
                 "gid": item["gid"], "mtime_us": item["mtime_us"]}
        if item["type"] == "file":
            entry["size"] = item["size"]
        if item["type"] == "symlink":
            entry["target"] = h2images.field_bytes(item, "target")
        if item["type"] in ("chr", "blk"):
            entry["device"] = (item["rmajor"], item["rminor"])
        if item["type"] != "dir":
            entry["nlink"] = item["nlink"]
        inodes.setdefault(item["ino"], []).append(path)
        tree[path] = entry
    files = [path for path, entry in tree.items() if entry["type"] == "file"]
    if files:
        data, at = bench.call("cat", image, *files).stdout, 0
        for path in files:
            tree[path]["sha256"] = hashlib.sha256(data[at:at + tree[path]["size"]]).hexdigest()
            at += tree[path]["size"]
        bench.equal("bytes that cat wrote", len(data), at)
    return tree, sorted(sorted(names) for names in inodes.values())


def compare_trees(bench, what, image, directory, times=False):
    """An image and a directory must look the same."""
    found, found_links = tree_of_image(bench, image)
    expected, expected_links = tree_of_directory(directory)
    bench.equal(f"{what}: names", sorted(found), sorted(expected))
    for path in sorted(set(found) & set(expected)):
        for field in expected[path]:
            if field == "mtime_us" and not times:
                continue
            bench.equal(f"{what}: {os.fsdecode(path)}: {field}", found[path].get(field),
                        expected[path][field])
    bench.equal(f"{what}: names of the same files", found_links, expected_links)


class Twin:
    """An image and a directory to which the same is done."""

    def __init__(self, bench, image, directory, source):
        self.bench = bench
        self.image = image
        self.directory = directory
        self.source = source  # where commands find files to put

    def run(self, *command, umask=0o022, data=b""):
        """Do a command to both. Paths must be relative; sources of put are told by "@/"."""
        words = [os.path.join(self.source, word[2:]) if word.startswith("@/") else word
                 for word in command]
        mine = self.bench.edit(self.image, *words, expect=None, umask=umask, data=data)
        if command[:2] == ("put", "-"):
            words = ["sh", "-c", 'cat >"$1"', "sh", *words[2:]]
        elif words[0] == "put":
            # A tree is copied as cp -a does, or without -p as cp -r but for links.
            words[:2] = {"-r": ["cp", "-r", "--preserve=links"],
                         "-rp": ["cp", "-a"]}.get(words[1], ["cp", words[1]])
        theirs = subprocess.run(words, cwd=self.directory, input=data, capture_output=True,
                                umask=umask, check=False)
        self.bench.check(f"{shlex.join(command)}: fails here and there, or in neither",
                         (mine.returncode == 0) == (theirs.returncode == 0),
                         f"{mine.returncode} {mine.stderr.decode()} and {theirs.returncode} "
                         f"{theirs.stderr.decode()}")
        self.bench.check(f"{shlex.join(command)}: a failure is told",
                         mine.returncode == 0 or mine.stderr.endswith(b"nothing was changed\n")
                         or mine.returncode == 2 and mine.stderr,
                         mine.stderr.decode())
        return mine.returncode

    def compare(self, what, times=False):
        compare_trees(self.bench, what, self.image, self.directory, times)


def make_source(folder):
    """A tree that has everything."""
    def write(path, data, mode=0o644):
        with open(os.path.join(folder, path), "wb") as file:
            file.write(data)
        os.chmod(os.path.join(folder, path), mode)

    os.makedirs(os.path.join(folder, "dir/sub/empty"))
    os.mkdir(os.path.join(folder, "dir/closed"), 0o700)
    write("empty", b"")
    write("small", b"small\n", 0o640)
    write("inline", bytes(range(256)) * 2)
    write("blocks", random.Random(1).randbytes(300000))
    write("zeros", bytes(200000))
    write("program", b"#!/bin/sh\n", 0o6755)
    write("dir/a", b"a" * 1000)
    write("dir/sub/long" + "n" * 240, b"a long name")
    write("dir/sub/b\xc3\xa4\xe2\x82\xac", b"no ASCII")
    os.link(os.path.join(folder, "dir/a"), os.path.join(folder, "dir/sub/a2"))
    os.symlink("../small", os.path.join(folder, "dir/link"))
    os.symlink("x" * 2000, os.path.join(folder, "dir/dangling"))
    os.mkfifo(os.path.join(folder, "dir/fifo"), 0o600)
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(os.path.join(folder, "dir"), os.O_RDONLY)
        server.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
    with open(os.path.join(folder, "holes"), "wb") as file:
        file.truncate(5 * MIB)
        file.seek(2 * MIB + 100)
        file.write(b"between holes")
        file.truncate(9 * MIB + 1)
    for number, (base, folders, files) in enumerate(os.walk(folder, topdown=False)):
        for name in files + folders:
            when = 1000000000 * 10**9 + number * 10**9 + 123456000
            os.utime(os.path.join(base, name), ns=(when, when), follow_symlinks=False)


@contextlib.contextmanager
def twin(bench, size="256M"):
    with bench.image(size=size) as image, bench.folder() as folder:
        os.mkdir(os.path.join(folder, "twin"))
        os.mkdir(os.path.join(folder, "source"))
        make_source(os.path.join(folder, "source"))
        yield Twin(bench, image, os.path.join(folder, "twin"), os.path.join(folder, "source"))


# ---- wrong use ----

def test_usage(bench):
    """Wrong use ends with 2 and a message, and before anything is done."""
    with bench.image() as image:
        before = bench.state(image)
        for args in (("edit",), ("edit", image), ("edit", image, "nonsense"),
                     ("edit", image, "-f", "x", "rm", "y"), ("edit", "--header", "1", image, "rm"),
                     ("edit", image, "rm"), ("edit", image, "rm", "-x", "y"),
                     ("edit", image, "mkdir", "-m"), ("edit", image, "mkdir", "--parents", "x"),
                     ("edit", image, "get", "x"), ("edit", image, "get", "a", "b", "c"),
                     ("edit", "--owner", "no such user", image, "mkdir", "x"),
                     ("edit", "--no-such-option", image, "mkdir", "x"),
                     ("edit", image, "chmod", "999", "/"), ("edit", image, "chmod", "u+q", "/"),
                     ("edit", image, "chown", "no such user", "/"),
                     ("edit", image, "chown", "0:no such group", "/"),
                     ("edit", image, "chown", "", "/"), ("edit", image, "touch", "-d", "", "/"),
                     ("edit", image, "touch", "-d", "yesterday", "/new")):
            done = bench.call(*args, expect=2)
            bench.check(f"{args}: a message", done.stderr)
            bench.equal(f"{args}: standard output", done.stdout, b"")
        bench.unchanged("wrong use", image, before)
        help_text = bench.call("edit", "--help").stdout
        for command in (b"put", b"get", b"mkdir", b"rmdir", b"rm", b"mv", b"ln", b"chmod", b"chown",
                        b"touch", b"truncate", b"mknod"):
            bench.check(f"--help has {command}", b"\n  " + command + b" " in help_text)


def test_options_of_commands(bench):
    """Options of commands are theirs, those in front are the program's."""
    with bench.image() as image:
        bench.edit(image, "mkdir", "-p", "/a/b")
        bench.edit(image, "rm", "-r", "-f", "a", "b")
        bench.call("edit", "--label", "LOCAL", image, "mkdir", "-m", "700", "/in-local")
        bench.call("edit", image + "@LOCAL", "--verbose", "mkdir", "/second")
        bench.call("edit", "-q", image, "--", "mkdir", "--", "-dash")
        names = [item["path"] for item in bench.lines("ls", image + "@LOCAL")]
        bench.equal("names in LOCAL", names, ["/in-local", "/second"])
        bench.equal("names in DATA", [i["path"] for i in bench.lines("ls", image)], ["/-dash"])


def test_missing(bench):
    """Volumes and labels that are not there, volumes that cannot be written."""
    done = bench.call("edit", "/nonexistent/volume", "mkdir", "/x", expect=1)
    bench.check("the message names the volume", b"/nonexistent/volume" in done.stderr)
    with bench.image() as image:
        done = bench.call("edit", image + "@NOPE", "mkdir", "/x", expect=1)
        bench.check("the message names the labels", b"NOPE" in done.stderr and b"DATA" in
                    done.stderr, done.stderr.decode())
        done = bench.call("edit", image, "-f", "/nonexistent/script", expect=1)
        bench.check("the message names the script", b"/nonexistent/script" in done.stderr)
        with open(image, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            done = bench.call("edit", image, "mkdir", "/x", expect=1)
            bench.check("in use", b"in use" in done.stderr, done.stderr.decode())
        bench.equal("names", bench.lines("ls", image), [])


def test_read_only_volume(bench):
    if ROOT:
        raise Skip("root may write any file; run it as another user")
    with bench.image() as image:
        os.chmod(image, 0o444)
        bench.check("a message", bench.edit(image, "mkdir", "/x", expect=1).stderr)


def closed(redirections, *command):
    """Run a program without some of the descriptors 0 to 2."""
    return subprocess.run(["sh", "-c", f'"$@" {redirections}', "sh", *command],
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS,
                          check=False)


def test_closed_descriptors(bench):
    """A volume never takes the place of a standard stream: what is said there would go over it."""
    everything = "<&- >&- 2>&-"
    with bench.image() as image, bench.folder() as folder:
        bench.edit(image, "put", "-", "/x", data=b"x" * 5000)
        bench.edit(image, "mkdir", "/a")
        before = bench.state(image)
        for how in ("<&-", ">&-", "2>&-", "<&- 2>&-", ">&- 2>&-", everything):
            for args in (("mkdir", "/a"), ("rm", "/nothing"), ("put", "/nonexistent", "/y")):
                done = closed(how, bench.program, "edit", image, *args)
                bench.equal(f"{args} {how}: status", done.returncode, 1)
                bench.check(f"{args} {how}: the header", b"MAH" in pread(image, 8))
            closed(how, bench.fsck, image)
            bench.unchanged(how, image, before)
        for how in (">&-", "<&- >&-", everything):
            done = closed(how, bench.program, "edit", image, "get", "/x", "-")
            bench.equal(f"get {how}: status", done.returncode, 1)
            bench.check(f"get {how}: the message", "2>" in how or b"standard output" in
                        done.stderr, done.stderr.decode())
            bench.unchanged(f"get {how}", image, before)
        done = closed("<&-", bench.program, "edit", image, "put", "-", "/y")
        bench.equal("put without standard input: status", done.returncode, 1)
        bench.check("put without standard input: the message", b"standard input" in done.stderr,
                    done.stderr.decode())
        bench.unchanged("put without standard input", image, before)
        # What does not need a stream that is closed works.
        done = closed(everything, bench.program, "edit", image, "mkdir", "/b")
        bench.equal("mkdir without any: status", done.returncode, 0)
        new = os.path.join(folder, "new.img")
        done = closed("<&-", bench.mkfs, "-s", "64M", "-d", "-", new)
        bench.equal("mkfs.hammer2 -d - without standard input: status", done.returncode, 1)
        bench.check("mkfs.hammer2 -d - without standard input: the message", b"Bad file" in
                    done.stderr, done.stderr.decode())
        bench.check("mkfs.hammer2 -d - without standard input: no file", not os.path.exists(new))
        closed(everything, bench.mkfs, "-s", "64M", new)
        bench.verify(new)


def pread(path, count):
    with open(path, "rb") as file:
        return file.read(count)


# ---- the commands, each against its program ----

def test_mkdir(bench):
    with twin(bench) as t:
        for command in (("mkdir", "a"), ("mkdir", "a"), ("mkdir", "a/b/c"),
                        ("mkdir", "-p", "a/b/c"),
                        ("mkdir", "-p", "a/b/c"), ("mkdir", "b", "c", "d/"), ("mkdir", "-m", "1777",
                        "tmp"), ("mkdir", "-m", "u=rwx,go=", "e"), ("mkdir", "-p", "-m", "700",
                        "f/g/h"), ("touch", "file"), ("mkdir", "-p", "file"),
                        ("mkdir", "-p", "file/x"), ("mkdir", "file/x"), ("mkdir", "-m", "99", "x"),
                        ("mkdir", ""), ("mkdir", "."), ("mkdir", "-p", "."), ("mkdir", "a/.."),
                        ("mkdir", "-p", "f//g/./x/../y"), ("mkdir", "n" * 255),
                        ("mkdir", "n" * 256), ("ln", "-s", "b", "to-b"), ("mkdir", "to-b/in"),
                        ("mkdir", "-p", "to-b"), ("ln", "-s", "nowhere", "dangling"),
                        ("mkdir", "dangling"), ("mkdir", "-m", "2755", "setgid"),
                        ("mkdir", "setgid/below")):
            t.run(*command)
        t.run("mkdir", "-p", "p/q", umask=0o777)
        t.run("mkdir", "-m", "u+s", "r", umask=0o027)
        t.compare("mkdir")


def test_remove(bench):
    with twin(bench) as t:
        for command in (("mkdir", "-p", "a/b/c", "d", "e"), ("touch", "a/b/f", "f", "g", "h"),
                        ("ln", "-s", "a", "to-a"), ("ln", "g", "g2"), ("rm", "d"), ("rm", "g"),
                        ("rmdir", "a"), ("rmdir", "f"), ("rmdir", "d"), ("rmdir", "to-a"),
                        ("rm", "nothing"), ("rm", "-f", "nothing"), ("rm", "-f", "f/x"),
                        ("rm", "f/"), ("rm", "f"), ("rm", "to-a"), ("ln", "-s", "a", "to-a"),
                        ("rm", "-r", "to-a"), ("rm", "-r", "a/b"), ("rm", "-r", "h"),
                        ("rm", "-rf", "nothing", "e"), ("rm", "-R", "a"), ("rmdir", "nothing"),
                        ("rm", "-r", "."), ("rm", "-rf", "..")):
            t.run(*command)
        t.compare("rm")
        for path in ("/", "/.", "/..", "/a/.."):
            done = bench.edit(t.image, "rm", "-r", path, expect=1)
            bench.check(f"rm -r {path} is refused", b"nothing was changed" in done.stderr)
        t.compare("rm of the root")


def test_remove_deep(bench):
    """Thousands of levels, and a directory with many names."""
    with bench.image() as image:
        path = "/d" * 3000
        bench.script(image, "mkdir -p /top" + path + "\n" + "".join(
            f"touch /top/f{i}\n" for i in range(3000)))
        bench.edit(image, "chmod", "-R", "700", "/top")
        bench.edit(image, "rm", "-r", "/top")
        bench.equal("names", bench.lines("ls", image), [])


def test_move(bench):
    with twin(bench) as t:
        for command in (("mkdir", "-p", "a/b", "c", "d/b", "e"), ("touch", "f", "g", "d/b/x"),
                        ("mv", "f", "f2"), ("mv", "f2", "c"), ("mv", "c/f2", "c/f2"),
                        ("mv", "c", "c/x"), ("mv", "c", "c"), ("mv", "a/b", "d"), ("mv", "g", "e"),
                        ("mv", "a", "new"), ("mv", "nothing", "x"), ("mv", "e/g", "new/b/g"),
                        ("touch", "f", "h"), ("mv", "f", "h"), ("mv", "h", "e", "new"),
                        ("mv", "h", "c", "nothing"), ("mv", "new/h", "new/e", "c"),
                        ("mv", "c/e", "d/b"), ("mv", "d", "c/f2"), ("mkdir", "full", "y"),
                        ("touch", "full/x"), ("mkdir", "y/full"), ("mv", "full", "y"),
                        ("ln", "-s", "c", "to-c"), ("mv", "d", "to-c"), ("mv", "to-c", "moved"),
                        ("touch", "one"), ("ln", "one", "two"), ("mv", "one", "two"),
                        ("mv", "two", "three/"), ("mv", "full/", "fuller"), ("mv", ".", "x"),
                        ("touch", "dots"), ("mv", "dots", "y/../y/./dots2"), ("mv", "y", "")):
            t.run(*command)
        t.compare("mv")
        bench.edit(t.image, "mv", "/", "/x", expect=1)


def test_link(bench):
    with twin(bench) as t:
        for command in (("touch", "a", "b"), ("mkdir", "d"), ("ln", "a", "a2"), ("ln", "a", "d"),
                        ("ln", "a", "a2"), ("ln", "-f", "b", "a2"), ("ln", "-f", "b", "b"),
                        ("ln", "d", "d2"), ("ln", "nothing", "x"), ("ln", "-s", "a", "s"),
                        ("ln", "-s", "a", "s"), ("ln", "-s", "-f", "b", "s"),
                        ("ln", "-s", "x", "d"),
                        ("ln", "-s", "d", "to-d"), ("ln", "-s", "inside", "to-d"),
                        ("ln", "-sfn", "elsewhere", "to-d"), ("ln", "-sn", "y", "to-d"),
                        ("ln", "-sf", "y", "d/x"), ("ln", "s", "s2"), ("ln", "-s", "", "empty"),
                        ("ln", "-s", "t" * 4095, "longest"), ("ln", "-s", "t" * 4096, "longer"),
                        ("ln", "-s", "p/q", "e/b", "d"), ("ln", "a2", "s", "d"),
                        ("ln", "-s", "loop2", "loop1"), ("ln", "-s", "loop1", "loop2"),
                        ("touch", "loop1"), ("mkdir", "loop1/x"), ("ln", "-sfn", "z", "d")):
            t.run(*command)
        t.compare("ln")


def test_symlinks_on_the_way(bench):
    """Absolute symlinks, and ".." behind symlinks, stay within the PFS."""
    with bench.image() as image:
        bench.script(image, """
            mkdir -p /usr/lib /deep/er
            ln -s usr/lib /lib
            ln -s /usr /absolute
            ln -s /deep/er /er
            ln -s ../../../../../usr/lib /deep/up
            touch /lib/a /absolute/lib/b /er/../c /deep/up/d //usr//lib/./e /../../../f
            ln -s /usr/lib/new /to-new
            touch /to-new
            ln -s /lib/g h
            ln -s /lib/nothing dangling
            touch /lib/g
        """)
        bench.edit(image, "put", "-", "/dangling", expect=1)  # as cp(1) has it
        bench.edit(image, "put", "-", "/h", data=b"through a symlink")
        names = [i["path"] for i in bench.lines("ls", "-R", image) if i["type"] == "file"]
        bench.equal("files", sorted(names), ["/deep/c", "/f", "/usr/lib/a", "/usr/lib/b",
                                             "/usr/lib/d", "/usr/lib/e", "/usr/lib/g",
                                             "/usr/lib/new"])
        bench.equal("contents", bench.call("cat", image, "/usr/lib/g").stdout, b"through a symlink")


def test_mode(bench):
    """chmod against chmod(1): random modes of all forms, on files and directories."""
    chance = random.Random(bench.seed)

    def clause():
        who = "".join(chance.choice("ugoa") for _ in range(chance.randrange(3)))
        text = who
        for _ in range(chance.randrange(1, 3)):
            text += chance.choice("+-=")
            text += chance.choice((chance.choice("ugo"), "".join(
                chance.choice("rwxXst") for _ in range(chance.randrange(4)))))
        return text

    with twin(bench) as t:
        script, modes = [], []
        for number in range(RANDOM_MODES):
            name = f"o{number}"
            start = f"{chance.randrange(0o10000):o}"
            if chance.random() < 0.2:
                mode = f"{chance.randrange(0o10000):0{chance.randrange(1, 6)}o}"
            else:
                mode = ",".join(clause() for _ in range(chance.randrange(1, 4)))
            make = chance.choice(("mkdir", "touch"))
            modes.append((make, name, start, mode))
            script.append(f"{make} {name}\nchmod {start} {name}\nchmod -- {mode} {name}\n")
        umask = chance.choice((0, 0o022, 0o027, 0o077))
        bench.script(t.image, "".join(script), umask=umask)
        for make, name, start, mode in modes:
            subprocess.run([make, name], cwd=t.directory, check=True)
            subprocess.run(["chmod", start, name], cwd=t.directory, check=True)
            # It complains where the umask kept it from doing what the text seems to say.
            subprocess.run(["chmod", "--", mode, name], cwd=t.directory, umask=umask, check=False,
                           capture_output=True)
        found, _ = tree_of_image(bench, t.image)
        expected, _ = tree_of_directory(t.directory)
        for make, name, start, mode in modes:
            path = b"/" + name.encode()
            bench.equal(f"{make}, chmod {start}, then chmod {mode} with umask {umask:o}",
                        f"{found[path]['mode']:o}", f"{expected[path]['mode']:o}")


def test_chmod(bench):
    with twin(bench) as t:
        for command in (("mkdir", "-p", "a/b"), ("touch", "a/x", "a/b/y", "f"),
                        ("ln", "-s", "../f", "a/to-f"), ("ln", "-s", "f", "to-f"),
                        ("ln", "-s", "nothing", "dangling"), ("chmod", "600", "to-f"),
                        ("chmod", "-R", "u=rwX,go=", "a"), ("chmod", "644", "nothing"),
                        ("chmod", "644", "dangling"), ("chmod", "8", "f"), ("chmod", "", "f"),
                        ("chmod", "u", "f"), ("chmod", "u+", "f"), ("chmod", "u+q", "f"),
                        ("chmod", "u+r,", "f"), ("chmod", "17777", "f"), ("chmod", "+x", "a", "f"),
                        ("chmod", "a+t,g+s", "a/b"), ("chmod", "755", "a/b"),
                        ("chmod", "00755", "a/b"), ("chmod", "-R", "7000", "a/x")):
            t.run(*command)
        t.compare("chmod")
        bench.edit(t.image, "chmod", "711", "/")
        bench.equal("mode of the root", bench.json("stat", t.image)[0]["mode"], "0711")


def test_chown(bench):
    if not ROOT:
        raise Skip("only root can give files away to compare with")
    user = next(u for u in pwd.getpwall() if u.pw_uid and u.pw_gid != u.pw_uid)
    group = next(g for g in grp.getgrall() if g.gr_gid)
    with twin(bench) as t:
        for command in (("mkdir", "-p", "a/b"), ("touch", "a/x", "f", "g", "h", "i", "j", "set"),
                        ("ln", "-s", "../f", "a/to-f"), ("ln", "-s", "g", "to-g"),
                        ("chmod", "6755", "set"), ("chown", "12345", "f"), ("chown", "1:2", "g"),
                        ("chown", ":77", "h"), ("chown", user.pw_name, "i"),
                        ("chown", f"{user.pw_name}:{group.gr_name}", "j"),
                        ("chown", f"{user.pw_name}:", "a/b"), ("chown", "5:6", "to-g"),
                        ("chown", "-h", "7:8", "to-g"), ("chown", "-R", "9:10", "a"),
                        ("chown", "11", "set"), ("chown", "12345:", "f"), ("chown", "1:x y", "f"),
                        ("chown", "no-such-user", "f"), ("chown", "1", "nothing"),
                        ("chown", "4294967294:4294967294", "i"), ("chown", "4294967296", "i"),
                        ("chown", "-1", "i")):
            t.run(*command)
        t.compare("chown")


def test_owner_option(bench):
    """Whose new objects are."""
    with bench.image() as image, bench.folder() as folder:
        with open(os.path.join(folder, "f"), "wb") as file:
            file.write(b"x")
        bench.edit(image, "mkdir", "/mine")
        bench.script(image, "mkdir /theirs\nmkdir -p /theirs/a/b\ntouch /theirs/t\n"
                     "put f /theirs/put\nput -p f /theirs/kept\nput -rp . /theirs/tree\n"
                     "ln -s x /theirs/s\nmknod /theirs/p p\nchown 3:4 /mine\n", cwd=folder,
                     options=("--owner", "1234:5678"))
        for item in bench.lines("ls", "-l", "-R", image):
            expected = (3, 4) if item["path"] == "/mine" else (1234, 5678)
            bench.equal(item["path"], (item["uid"], item["gid"]), expected)
        bench.edit(image, "touch", "/plain")
        item = bench.json("stat", image, "/plain")[0]
        bench.equal("without the option", (item["uid"], item["gid"]), (os.geteuid(), os.getegid()))


def test_touch(bench):
    with twin(bench) as t:
        os.environ["TZ"] = "UTC"
        for command in (("touch", "-d", "@1234567890", "a"), ("touch", "-d", "2001-02-03", "b"),
                        ("touch", "-d", "2001-02-03 04:05", "c"), ("mkdir", "d"),
                        ("touch", "-d", "2001-02-03T04:05:06Z", "d"),
                        ("touch", "-d", "@1234567890.123456", "e"), ("touch", "-c", "nothing"),
                        ("touch", "-d", "@0", "a"), ("ln", "-s", "b", "to-b"),
                        ("touch", "-d", "@5", "to-b"), ("ln", "-s", "made", "to-made"),
                        ("touch", "-d", "@6", "to-made"), ("touch", "-d", "@7", "no/where"),
                        ("touch", "-d", "yesterweek", "x"), ("touch", "-d", "2001-02-31", "x"),
                        ("touch", "-d", "@8", "to-made"), ("touch", "-c", "-d", "@9", "b", "no")):
            t.run(*command)
        found, _ = tree_of_image(bench, t.image)
        expected, _ = tree_of_directory(t.directory)
        bench.equal("names", sorted(found), sorted(expected))
        for path, entry in expected.items():
            if entry["type"] != "symlink":
                bench.equal(f"{path}: mtime", found[path]["mtime_us"], entry["mtime_us"])
        bench.edit(t.image, "touch", "-d", "1969-12-31", "/early", expect=2)
        before = time.time()
        bench.edit(t.image, "touch", "/a")
        item = bench.json("stat", t.image, "/a")[0]
        for field in ("mtime_us", "atime_us"):
            bench.check(f"{field} is now", before - 1 <= item[field] / 1e6 <= time.time() + 1)


def test_truncate(bench):
    with twin(bench) as t:
        for command in (("put", "@/blocks", "a"), ("put", "@/small", "b"), ("put", "@/inline", "c"),
                        ("truncate", "-s", "100000", "a"), ("truncate", "-s", "1M", "b"),
                        ("truncate", "-s", "100", "c"), ("truncate", "-s", "3", "new"),
                        ("truncate", "-s", "0100", "zeros"), ("truncate", "-s", "010K", "more"),
                        ("truncate", "-s", "08", "eight"), ("truncate", "-s", "00", "none"),
                        ("truncate", "-c", "-s", "3", "nothing"), ("truncate", "-s", "0", "b"),
                        ("truncate", "-s", "200000", "a"), ("mkdir", "d"),
                        ("truncate", "-s", "0", "d"), ("truncate", "-s", "x", "a"),
                        ("truncate", "a"), ("truncate", "-s", "8T", "large")):
            if command[-1] == "large":
                bench.edit(t.image, *command)
                bench.equal("size", bench.json("stat", t.image, "/large")[0]["size"], 8 << 40)
                bench.edit(t.image, "rm", "/large")
                bench.edit(t.image, "truncate", "-s", "0x10K", "/large")
                bench.equal("hexadecimal", bench.json("stat", t.image, "/large")[0]["size"], 16384)
                bench.edit(t.image, "rm", "/large")
            else:
                t.run(*command)
        t.compare("truncate")


def test_mknod(bench):
    with twin(bench) as t:
        commands = [("mknod", "p", "p"), ("mknod", "p", "p"), ("mknod", "-m", "600", "q", "p"),
                    ("mknod", "-m", "u+x", "r", "p"), ("mknod", "x", "p", "1", "2"),
                    ("mknod", "x", "b"), ("mknod", "x", "z", "1", "2"),
                    ("mknod", "x", "c", "a", "2"),
                    ("mknod", "no/where", "p")]
        if ROOT:
            commands += [("mknod", "c", "c", "1", "3"), ("mknod", "b", "b", "8", "17"),
                         ("mknod", "-m", "666", "d", "c", "240", "70000")]
        else:
            print("LEFT OUT: mknod of devices: only root can make some to compare with")
        for command in commands:
            t.run(*command)
        t.compare("mknod")


# ---- put and get ----

def test_put(bench):
    """put against cp."""
    with twin(bench) as t:
        for command in (("put", "@/small", "a"), ("put", "@/small", "@/blocks", "."),
                        ("mkdir", "d"), ("put", "@/small", "@/holes", "@/zeros", "d"),
                        ("put", "@/empty", "e"), ("put", "@/inline", "i"),
                        ("put", "@/blocks", "i"), ("put", "@/inline", "blocks"),
                        ("put", "@/program", "program"), ("put", "@/dir", "x"),
                        ("put", "@/nothing", "x"), ("put", "@/small", "no/where"),
                        ("put", "@/small", "a/x"), ("put", "@/small", "nothing/"),
                        ("put", "@/small", "@/empty", "nothing"), ("mkdir", "d/inline"),
                        ("put", "@/inline", "d"), ("put", "@/dir/link", "followed"),
                        ("put", "@/dir/dangling", "y"), ("ln", "-s", "a", "to-a"),
                        ("put", "@/inline", "to-a"), ("ln", "-s", "d", "to-d"),
                        ("put", "@/empty", "to-d"), ("ln", "a", "a2"), ("put", "@/zeros", "a2"),
                        ("mknod", "fifo", "p")):
            t.run(*command)
        t.run("put", "@/small", "masked", umask=0o077)
        t.run("put", "-", "from-stdin", data=random.Random(2).randbytes(1500000))
        t.run("put", "-", "d", data=b"x")
        t.run("put", "-", "empty-stdin", umask=0o002)
        t.run("put", "-", "a2", data=b"overwritten")
        t.compare("put")
        bench.edit(t.image, "put", os.path.join(t.source, "small"), "/fifo", expect=1)
        bench.edit(t.image, "put", "/dev/null", "/null")
        bench.edit(t.image, "put", "/proc/version", "/version")
        with open("/proc/version", "rb") as file:
            bench.equal("a file without a size", bench.call("cat", t.image, "/version").stdout,
                        file.read())


def test_put_kept(bench):
    """put -p against cp -p, with times."""
    with twin(bench) as t:
        for command in (("put", "-p", "@/small", "@/program", "@/holes", "@/blocks", "."),
                        ("put", "-p", "@/inline", "blocks")):
            t.run(*command)
        if ROOT:
            os.chown(os.path.join(t.source, "zeros"), 12, 34)
        t.run("put", "-p", "@/zeros", "zeros")
        t.compare("put -p", times=True)
        os.utime(os.path.join(t.source, "empty"), ns=(10**18 + 5000, 10**18))
        bench.edit(t.image, "put", "-p", os.path.join(t.source, "empty"), "/empty")
        bench.equal("atime", bench.json("stat", t.image, "/empty")[0]["atime_us"], 10**15 + 5)


def test_put_tree(bench):
    """put -r against cp -r and cp -a."""
    with twin(bench) as t:
        if ROOT:
            for name in ("dir/a", "dir/sub", "dir/link", "dir/fifo"):
                os.chown(os.path.join(t.source, name), 12, 34, follow_symlinks=False)
            os.mknod(os.path.join(t.source, "dir/device"), 0o640 | stat.S_IFCHR,
                     os.makedev(240, 70000))
        t.run("put", "-r", "@/.", "copy")
        t.run("put", "-rp", "@/dir", "kept")
        t.compare("new trees")
        for what in ("dir", "dir/", "dir/.", "dir/sub", "dir/a", "dir/link", "dir/dangling"):
            t.run("put", "-rp", "@/" + what, "kept")
            t.run("put", "-r", "@/" + what, "copy")
            t.compare(f"{what} into a directory that is there")
        t.run("put", "-r", "@/dir", "slash/")
        t.run("put", "-r", "@/small", "no-slash/")
        # Times of all but those directories that something came into.
        found, _ = tree_of_image(bench, t.image)
        expected, _ = tree_of_directory(t.directory)
        for path, entry in expected.items():
            if path.startswith(b"/kept/dir/"):
                bench.equal(f"{path}: mtime", found[path]["mtime_us"], entry["mtime_us"])


def test_put_over(bench):
    """put -r over a tree that is there: what differs in type."""
    with bench.image() as image, bench.folder() as folder:
        os.makedirs(os.path.join(folder, "src/d"))
        for name in ("f", "l-was-file"):
            with open(os.path.join(folder, "src", name), "wb") as file:
                file.write(name.encode())
        bench.script(image, "mkdir -p /dst/d /elsewhere\ntouch /dst/f /dst/s\nmkdir /dst/x\n"
                     "touch /elsewhere/through\nln -s /elsewhere/through /dst/l-was-file\n")
        os.symlink("target", os.path.join(folder, "src/s"))
        bench.edit(image, "put", "-r", "src/.", "/dst", cwd=folder)
        items = {i["path"]: i for i in bench.lines("ls", "-lR", image)}
        bench.equal("a file became a symlink", items["/dst/s"].get("target"), "target")
        bench.equal("a symlink was followed", items["/elsewhere/through"]["size"], 10)
        before = bench.state(image)
        os.unlink(os.path.join(folder, "src/s"))
        for make in (lambda: os.symlink("t", os.path.join(folder, "src/d2")),
                     lambda: os.mkdir(os.path.join(folder, "src/f2"))):
            make()
        bench.script(image, "mkdir /dst/d2\ntouch /dst/f2\n")
        before = bench.state(image)
        done = bench.edit(image, "put", "-r", "src/.", "/dst", cwd=folder, expect=1)
        bench.check("a symlink over a directory", b"/dst/d2: it is a directory" in done.stderr,
                    done.stderr.decode())
        os.unlink(os.path.join(folder, "src/d2"))
        done = bench.edit(image, "put", "-r", "src/.", "/dst", cwd=folder, expect=1)
        bench.check("a directory over a file", b"/dst/f2: it is there and no directory" in
                    done.stderr, done.stderr.decode())
        bench.unchanged("conflicts", image, before)


def test_put_links_over(bench):
    """With -p names of one file that is there part, where their sources are different files."""
    with twin(bench) as t:
        for command in (("touch", "a"), ("ln", "a", "b")):
            t.run(*command)
        os.mkdir(os.path.join(t.source, "two"))
        for name in "ab":
            with open(os.path.join(t.source, "two", name), "wb") as file:
                file.write(name.encode())
        t.run("put", "-rp", "@/two/.", ".")
        t.compare("two files over one with two names", times=False)


def test_put_holes(bench):
    """Holes take no space."""
    with bench.image(size="64M") as image, bench.folder() as folder:
        with open(os.path.join(folder, "f"), "wb") as file:
            file.truncate(1 << 40)
            file.seek(1 << 39)
            file.write(b"x" * 100)
        bench.edit(image, "put", os.path.join(folder, "f"), "/f")
        item = bench.json("stat", image, "/f")[0]
        bench.equal("size", item["size"], 1 << 40)
        bench.check("space", item["blocks_512"] * 512 < MIB, item["blocks_512"])
        bench.edit(image, "get", "/f", os.path.join(folder, "g"))
        st = os.stat(os.path.join(folder, "g"))
        bench.equal("size of the copy", st.st_size, 1 << 40)
        bench.check("space of the copy", st.st_blocks * 512 < MIB)
        with open(os.path.join(folder, "g"), "rb") as file:
            file.seek((1 << 39) - 10)
            bench.equal("data", file.read(120), bytes(10) + b"x" * 100 + bytes(10))


def test_put_the_volume(bench):
    """A volume is not copied into itself."""
    with bench.image() as image:
        before = bench.state(image)
        for source in (image, os.path.dirname(image)):
            done = bench.edit(image, "put", "-r", source, "/x", expect=1)
            bench.check("the message", b"the volume that is being changed" in done.stderr,
                        done.stderr.decode())
        bench.unchanged("the volume", image, before)


def test_get_the_volume(bench):
    """Nothing is written over the volume, however it is named."""
    with bench.image() as image, bench.folder() as folder:
        bench.edit(image, "put", "-", "/volume.img", data=b"x" * 5000)
        before, bytes_before = bench.state(image), pread(image, 1 << 26)
        others = [os.path.join(os.path.dirname(image), name) for name in ("link", "symlink")]
        os.link(image, others[0])
        os.symlink("volume.img", others[1])
        for to in (image, os.path.dirname(image), *others):
            for options in ((), ("-p",)):
                done = bench.edit(image, "get", *options, "/volume.img", to, expect=1)
                bench.check(f"{to}: the message", b"the volume that is being changed" in
                            done.stderr, done.stderr.decode())
        with open(image, "r+b") as file:
            done = subprocess.run([bench.program, "edit", image, "get", "/volume.img", "-"],
                                  stdout=file, stderr=subprocess.PIPE, timeout=SECONDS,
                                  check=False)
        bench.check("standard output", done.returncode == 1 and b"the volume that is being" in
                    done.stderr, done.stderr.decode())
        bench.check("the bytes", pread(image, 1 << 26) == bytes_before)
        bench.unchanged("the volume", image, before)
        # Other files are written over, and shortened.
        other = os.path.join(folder, "other")
        for size in (0, 100000):
            with open(other, "wb") as file:
                file.write(b"y" * size)
            bench.edit(image, "get", "/volume.img", other)
            bench.check(f"over {size} bytes", pread(other, 1 << 20) == b"x" * 5000)


def test_put_unreadable(bench):
    if ROOT:
        raise Skip("root may read everything; run it as another user")
    with twin(bench) as t:
        os.chmod(os.path.join(t.source, "dir/closed"), 0)
        os.chmod(os.path.join(t.source, "small"), 0)
        before = bench.state(t.image)
        for source in ("small", "dir"):
            done = bench.edit(t.image, "put", "-r", os.path.join(t.source, source), "/x", expect=1)
            bench.check("the message", b"Permission denied" in done.stderr, done.stderr.decode())
        bench.unchanged("files that cannot be read", t.image, before)
        os.chmod(os.path.join(t.source, "dir/closed"), 0o700)


def test_get(bench):
    """Files come out as they went in."""
    with twin(bench) as t, bench.folder() as out:
        names = ("empty", "small", "inline", "blocks", "zeros", "holes")
        for name in names:
            t.run("put", "-p", "@/" + name, name)
        for name in names:
            bench.edit(t.image, "get", "-p", name, out)
            to_stdout = bench.edit(t.image, "get", "/" + name, "-").stdout
            source, copy = os.path.join(t.source, name), os.path.join(out, name)
            with open(source, "rb") as one, open(copy, "rb") as two:
                data = one.read()
                bench.check(f"{name}: contents", data == two.read() and data == to_stdout)
            one, two = os.stat(source), os.stat(copy)
            bench.equal(f"{name}: mode and time", (two.st_mode & 0o777, two.st_mtime_ns // 1000),
                        (one.st_mode & 0o777, one.st_mtime_ns // 1000))
        for args in (("nothing", out), (".", out), ("small", "/nonexistent/x"),
                     ("small", "/dev/full")):
            bench.check(f"get {args}: a message", bench.edit(t.image, "get", *args,
                                                             expect=1).stderr)
        # A script sees what it has done so far.
        done = bench.script(t.image, f"put {shlex.quote(t.source)}/small /new\nget /new -\n"
                            "rm /new\n")
        bench.equal("get within a script", done.stdout, b"small\n")


# ---- scripts ----

def test_script_words(bench):
    """Words are divided as a shell does it."""
    lines = r"""
touch plain two
    touch indented	tabs
touch 'single quoted' "double quoted" back\ slash mi'x'"ed"
touch 'it'\''s' "a\"b" 'a"b' "a'b" "a\\b" 'c\d' "e\f" g\h
touch joined \
  lines
touch 'new
line' "an
other" "joined \
quoted"
# touch comment
touch not#comment # touch comment
touch "#quoted" \#escaped '' 2>/dev/null
touch umläut €uro
touch last"""
    with bench.image() as image, bench.folder() as folder:
        lines = lines.replace("'' 2>/dev/null", "")
        bench.script(image, lines)
        subprocess.run(["sh", "-c", lines], cwd=folder, check=True)
        compare_trees(bench, "words", image, folder)
        bench.script(image, b"\r\nmkdir /dos\r\n\r\n")
        bench.script(image, b"touch \xff\xfe\n")
        found = {h2images.field_bytes(i, "path") for i in bench.lines("ls", image)}
        bench.check("CR LF, bytes", {b"/dos", b"/\xff\xfe"} <= found, found)


def test_script_mistakes(bench):
    """All mistakes are told, with their lines, before anything is done."""
    with bench.image() as image:
        before = bench.state(image)
        done = bench.script(image, "mkdir /ok\n\nfrobnicate x\nrm -Z /ok\n# fine\nmv /only\n"
                            "mkdir -m\n", expect=2)
        said = done.stderr.decode()
        for line, word in ((3, "frobnicate"), (4, "-Z"), (6, "missing"), (7, "-m")):
            bench.check(f"line {line}", any(f"standard input:{line}: " in text and word in text
                                            for text in said.split("\n")), said)
        bench.equal("messages", said.count("\n"), 4)
        for text, line in (("mkdir /a\nmkdir 'b\n\nmkdir c\n", 2), ('mkdir "\\"', 1),
                           ("mkdir a\\", 1), ("\n\nmkdir a\0b\n", 3)):
            done = bench.script(image, text, expect=2)
            bench.check(f"{text!r}: line {line}", f"standard input:{line}: ".encode() in
                        done.stderr, done.stderr.decode())
        bench.unchanged("mistakes", image, before)
        with tempfile.NamedTemporaryFile("w", suffix=" script") as file:
            file.write("mkdir /a\nmkdir /b/c\n")
            file.flush()
            done = bench.edit(image, options=("-f", file.name), expect=1)
            bench.check("the script's name and line", f"{file.name}:2: mkdir: DATA:/b/c: ".encode()
                        in done.stderr, done.stderr.decode())
            done = bench.call("edit", image, "-f", file.name, expect=1)
        done = bench.script(image, "put - /x\n", expect=1)
        bench.check("standard input twice", b"standard input already" in done.stderr)
        bench.script(image, "")
        bench.script(image, "# nothing\n\n")
        bench.unchanged("empty scripts", image, before)


def test_all_or_nothing(bench):
    """After a failure nothing is left of what went before."""
    with twin(bench) as t:
        bench.edit(t.image, "put", "-rp", t.source, "/tree")
        before = bench.state(t.image)
        script = (f"put -r {shlex.quote(t.source)} /second\nrm -r /tree/dir\nmv /tree /moved\n"
                  "truncate -s 10 /moved/blocks\nchmod -R 700 /moved\nchown -R 5:6 /second\n"
                  "ln -s x /y\nln /moved/small /z\ntouch -d @5 /moved\nmknod /p p\n")
        done = bench.script(t.image, script + "rm /nothing\n", expect=1)
        bench.check("it is told", b"nothing was changed" in done.stderr, done.stderr.decode())
        bench.unchanged("a failure", t.image, before)
        done = bench.script(t.image, script, options=("--dry-run",))
        bench.unchanged("a dry run", t.image, before)
        bench.script(t.image, script + "rm /nothing\n", options=("-n",), expect=1)
        bench.unchanged("a dry run that fails", t.image, before)
        bench.verify(t.image)
        bench.script(t.image, script)
        bench.check("then it works", bench.state(t.image) != before)


def test_killed(bench):
    """A program that is killed has changed nothing."""
    with bench.image() as image:
        bench.edit(image, "mkdir", "/before")
        before = bench.state(image)
        for sig in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
            with subprocess.Popen([bench.program, "edit", image, "put", "-", "/big"],
                                  stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
                process.stdin.write(random.Random(3).randbytes(100 * MIB))
                process.stdin.flush()
                process.send_signal(sig)
                process.wait()
                bench.equal("ended by the signal", process.returncode, -sig)
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
            bench.unchanged(f"signal {sig}", image, before)


def test_dry_run_get(bench):
    """A dry run writes no files of the system either."""
    with bench.image() as image, bench.folder() as folder:
        bench.edit(image, "put", "-", "/f", data=b"x" * 100)
        done = bench.edit(image, "get", "/f", os.path.join(folder, "out"), options=("-n",))
        bench.equal("files", os.listdir(folder), [])
        done = bench.edit(image, "get", "/f", "-", options=("-n",))
        bench.equal("standard output", done.stdout, b"")


def test_little_room(bench):
    """mkfs.hammer2 warns of a size in which nothing can be stored, and of no other."""
    with bench.folder() as folder:
        image = os.path.join(folder, "volume.img")
        for options, needed in ((("-s", "24M"), b"32 MiB"), (("-s", "32M"), None),
                                (("-s", "64M", "-b", "48M"), b"72 MiB"),
                                (("-s", "64M", "-b", "40M"), None), (("-s", "40M"), None)):
            for more in (("-n",), ("-q",), ("-f", "--json")):
                done = h2images.run([bench.mkfs, *more, *options, image], SECONDS)
                bench.equal(f"{options} {more}: status", done.returncode, 0)
                if needed:
                    bench.check(f"{options} {more}: the warning", done.stderr.count(b"\n") == 1 and
                                needed in done.stderr, done.stderr.decode())
                else:
                    bench.equal(f"{options} {more}: standard error", done.stderr, b"")
            bench.edit(image, "mkdir", "/a", expect=1 if needed else 0)
            bench.verify(image)
            os.unlink(image)


def test_no_room(bench):
    """What does not fit: told, the volume is sound, and what is said about it is true."""
    with bench.image(size="64M") as image:
        before = bench.state(image)
        done = bench.edit(image, "put", "-", "/big", data=random.Random(4).randbytes(60 * MIB),
                          options=("--json",), expect=1)
        bench.check("the message", b"No space left on device" in done.stderr, done.stderr.decode())
        bench.equal("the outcome", h2images.records(done.stdout)[-1]["outcome"], "unchanged")
        bench.unchanged("no room", image, before)
        # What is there goes, however full it is.
        size = 36
        while size:
            data = random.Random(size).randbytes(size * MIB)
            done = bench.edit(image, "put", "-", f"/f{size}", expect=None, data=data)
            if done.returncode or size == 1:
                size //= 2
        for item in bench.lines("ls", image):
            bench.edit(image, "rm", item["path"])
        bench.equal("names", bench.lines("ls", image), [])


def test_many_files(bench):
    """As many files as would fit easily, in one step."""
    with bench.image(size="64M") as image, bench.folder() as folder:
        for number in range(4000):
            with open(os.path.join(folder, str(number)), "wb") as file:
                file.write(b"%d" % number)
        bench.edit(image, "put", "-r", folder + "/.", "/")
        bench.equal("names", len(bench.lines("ls", image)), 4000)


def test_json(bench):
    with bench.image() as image:
        done = bench.script(image, "mkdir /a\nrm '/no thing'\n", options=("--json",), expect=1)
        records = h2images.records(done.stdout)
        bench.equal("records", [r["record"] for r in records], ["problem", "summary"])
        bench.equal("where", [records[0][k] for k in ("line", "command", "path")],
                    [2, "rm", "/no thing"])
        bench.check("message", "No such file" in records[0]["message"])
        bench.equal("summary", records[1], {"record": "summary", "outcome": "unchanged",
                                            "commands": 1, "files_copied": 0, "bytes_copied": 0})
        done = bench.edit(image, "put", "-", "/x", data=b"12345", options=("-j",))
        bench.equal("summary", json.loads(done.stdout), {
            "record": "summary", "outcome": "changed", "commands": 1, "files_copied": 1,
            "bytes_copied": 5})
        done = bench.edit(image, "put", "/nonexistent", "/x", options=("-j",), expect=1)
        bench.equal("file", h2images.records(done.stdout)[0]["file"], "/nonexistent")
        bench.edit(image, "get", "/x", "-", options=("-j",), expect=1)
        done = bench.edit(image, "mkdir", "/y", options=("-nj",))
        bench.equal("dry run", json.loads(done.stdout)["outcome"], "unchanged")


def test_verbose(bench):
    with bench.image() as image:
        done = bench.script(image, "mkdir /a\ntouch '/a/b c'\n", options=("-v",))
        bench.equal("commands", done.stderr, b"+ mkdir /a\n+ touch /a/b c\n")
        done = bench.script(image, "mkdir /b\n")
        bench.equal("otherwise nothing is said", done.stderr + done.stdout, b"")


# ---- volumes of all kinds ----

def test_offset(bench):
    """A volume inside of a larger file."""
    with bench.image() as image, bench.folder() as folder:
        disk = os.path.join(folder, "disk")
        with open(disk, "wb") as to, open(image, "rb") as file:
            to.seek(MIB)
            shutil.copyfileobj(file, to)
        bench.call("edit", "--offset", "1M", disk, "mkdir", "/x")
        bench.equal("names", [i["path"] for i in bench.lines("ls", "--offset", "1M", disk)],
                    ["/x"])


def test_several_volumes(bench):
    with bench.folder() as folder:
        volumes = [os.path.join(folder, f"v{i}") for i in range(3)]
        for volume in volumes:
            with open(volume, "wb") as file:
                file.truncate(1024 * MIB)
        done = h2images.run([bench.mkfs, "-q", *volumes], SECONDS)
        if done.returncode:
            raise Failure(f"mkfs.hammer2: {h2images.output_lines(done)}")
        data = random.Random(5).randbytes(80 * MIB)
        bench.edit(spec(volumes, "DATA"), "put", "-", "/f", data=data)
        bench.verify(*volumes)
        bench.check("contents", bench.call("cat", spec(volumes), "/f").stdout == data)
        bench.edit(volumes[0] + "@DATA", "mkdir", "/x", expect=1)


def test_images(bench):
    """Filesystems that DragonFly made: what is added is there, the rest is as it was."""
    done = 0
    for name in ("new-24m", "vfs-meta", "vfs-full", "mk-v1", "mk-links", "mk-names", "mk-bigdir",
                 "mk-deep", "vfs-checks", "mk-data", "vfs-2vol"):
        if not bench.has(name):
            continue
        with bench.image(name) as volumes:
            volume = spec(volumes)
            strict = h2images.run([bench.fsck, "--strict", *volumes], SECONDS).returncode
            label = bench.json("pfs-list", volume)["pfs"][0]["label"]
            if label == "LOCAL":
                label = bench.json("pfs-list", volume)["pfs"][-1]["label"]
            image = spec(volumes, label)
            before = {h2images.field_bytes(i, "path"): i
                      for i in bench.lines("ls", "-lR", image)}
            attempt = bench.edit(image, "mkdir", "-p", "/added/below", expect=None)
            if attempt.returncode:
                full = name in ("new-24m", "vfs-full") and b"No space left" in attempt.stderr
                bench.check(f"{name}: mkdir", full, attempt.stderr.decode())
                if full:
                    print(f"LEFT OUT: {name}: there is no room to make a directory")
                continue
            bench.edit(image, "put", "-", "/added/file", data=b"data" * 100)
            after = {h2images.field_bytes(i, "path"): i for i in bench.lines("ls", "-lR", image)}
            added = [b"/added", b"/added/below", b"/added/file"]
            bench.equal(f"{name}: names", sorted(after), sorted(list(before) + added))
            for path, item in before.items():
                bench.equal(f"{name}: {path}", after[path], item)
            bench.equal(f"{name}: contents", bench.call("cat", image, "/added/file").stdout,
                        b"data" * 100)
            code = h2images.run([bench.fsck, "--strict", *volumes], SECONDS)
            bench.check(f"{name}: fsck", code.returncode == strict, h2images.output_lines(code))
            bench.edit(image, "rm", "-r", "/added")
            again = {h2images.field_bytes(i, "path"): i for i in bench.lines("ls", "-lR", image)}
            bench.equal(f"{name}: names after removing them", sorted(again), sorted(before))
            done += 1
    bench.check("there are images", done)


def test_snapshot(bench):
    """A snapshot is a PFS of its own: changing it leaves the others alone."""
    with bench.image("vfs-snap") as volumes:
        others = [(label, tree_of_image(bench, f"{volumes[0]}@{label}"))
                  for label in ("DATA", "s1", "s3")]
        bench.edit(f"{volumes[0]}@s2", "mkdir", "/in-s2")
        bench.check("the snapshot", "/in-s2" in [
            i["path"] for i in bench.lines("ls", f"{volumes[0]}@s2")])
        for label, tree in others:
            bench.equal(f"PFS {label}", tree_of_image(bench, f"{volumes[0]}@{label}"), tree)


def test_damage(bench):
    """What needs a damaged block fails, and changes nothing."""
    with bench.folder() as folder:
        _, volumes = cli.damaged_image(bench, "indirect-flip", folder)
        before = bench.call("volhdr", "--all", volumes[0]).stdout
        done = bench.edit(volumes[0], "rm", "-r", "/d5", expect=1)
        bench.check("the message", b"/d5" in done.stderr and b"check code" in done.stderr,
                    done.stderr.decode())
        bench.equal("headers", bench.call("volhdr", "--all", volumes[0]).stdout, before)
    with bench.folder() as folder:
        base, volumes = cli.damaged_image(bench, "data-flip", folder)
        done = bench.edit(volumes[0] + "@s1", "get", "/a", os.path.join(folder, "out"), expect=1)
        bench.check("get stops", b"stopped at byte 65536" in done.stderr, done.stderr.decode())
        bench.edit(volumes[0] + "@s1", "mv", "/a", "/b")
        bench.equal("the rest can be used", [
            i["path"] for i in bench.lines("ls", volumes[0] + "@s1", "/b")], ["/b"])


# ---- random commands ----

def random_command(chance, sources):
    def path():
        return "/".join(chance.choice("abcd") for _ in range(chance.choice((1, 1, 2, 2, 3))))

    kind = chance.randrange(13)
    if kind == 0:
        return ("mkdir", path())
    if kind == 1:
        return ("mkdir", "-p", path())
    if kind == 2:
        return ("touch", path())
    if kind in (3, 4):
        return ("put", "@/" + chance.choice(sources), path())
    if kind == 5:
        return ("rm", *chance.choice(((), ("-r",), ("-f",), ("-rf",))), path())
    if kind == 6:
        return ("rmdir", path())
    if kind in (7, 8):
        return ("mv", path(), path())
    if kind == 9:
        return ("ln", *chance.choice(((), ("-f",))), path(), path())
    if kind == 10:
        # Nothing with "..": that could lead out of the directory.
        return ("ln", chance.choice(("-s", "-sfn", "-sn")), path(), path())
    if kind == 11:
        return ("chmod", f"{chance.randrange(0o1000) | 0o700:o}", path())
    return ("truncate", *chance.choice(((), ("-c",))), "-s", str(chance.randrange(200000)), path())


def test_random(bench):
    """Commands at random, to an image and to a directory."""
    chance = random.Random(bench.seed)
    with twin(bench) as t:
        for step in range(RANDOM_STEPS):
            command = random_command(chance, ("small", "inline", "blocks", "empty"))
            # mv(1) does not let a symlink replace what it leads to; rename(2) does.
            if command[0] == "mv" and os.path.islink(os.path.join(t.directory, command[1])):
                continue
            t.run(*command)
            if bench.problems or step % 100 == 99:
                t.compare(f"step {step}, {shlex.join(command)}")
            if bench.problems:
                bench.problems.append(f"repeat it with --seed {bench.seed}")
                return
        t.compare("at the end")


TESTS = [function for name, function in list(globals().items()) if name.startswith("test_")]


def main(doc=__doc__, tests=TESTS, make_bench=Bench):
    seed = random.SystemRandom().randrange(1 << 32)
    if "--seed" in sys.argv:
        at = sys.argv.index("--seed")
        seed = int(sys.argv[at + 1])
        del sys.argv[at:at + 2]
    args = h2images.arguments(doc.split("\n", 1)[0])
    args.build = os.path.abspath(args.build)
    print(f"seed {seed}", flush=True)
    bench = make_bench(args, seed)
    tally = h2images.Tally()
    for function in tests:
        name = function.__name__[len("test_"):]
        if args.names and name not in args.names:
            continue
        bench.problems = []
        try:
            function(bench)
        except Skip as why:
            tally.skip(name, str(why))
            continue
        except Failure as error:
            bench.problems.append(str(error))
        tally.result(name, bench.problems)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
