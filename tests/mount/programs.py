#!/usr/bin/env python3
"""
Real programs in a writable mount: benchmarks that verify what they wrote, version control, a build,
databases, a small Debian, copies of large trees. Their results are checked; then the volume is
unmounted, checked by fsck.hammer2 --strict and mounted again, and the results are checked again.

Needs root and /dev/fuse. Ends with "N passed, N failed, N skipped"; exits with 1 if any failed, and
with 77 (skipped, for meson) if nothing could be run. What is left out of a program that runs is
told in lines that begin with "LEFT OUT".
"""

import argparse
import errno
import filecmp
import glob
import hashlib
import json
import multiprocessing
import os
import pwd
import random
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time

PRIVATE = "HAMMER2_TEST_PRIVATE_MOUNTS"  # set in the process that has mounts of its own
MOUNT_SECONDS = 120                      # for a mount, an unmount with its last commit
CHECK_SECONDS = 900                      # for fsck.hammer2

# Stressors that are not run, here as on any other filesystem to compare with.
STRESSORS_LEFT_OUT = {
    "bind-mount": "stress-ng runs it only with --pathological; it does not use the directory",
    "binderfs": "mounts a filesystem of its own; it does not use the directory",
    "eventfd": "does not use the directory",
    "procfs": "reads /proc; it does not use the directory",
    "fiemap": "FUSE has no request for FS_IOC_FIEMAP",
    "verity": "FUSE has no request for FS_IOC_ENABLE_VERITY, nor has the format a place for it",
}


class Skip(Exception):
    pass


class Failure(Exception):
    pass


class Hang(Failure):
    """A program that does not end: what comes after it in the same mount would not either."""


def check(condition, text):
    if not condition:
        raise Failure(text)


def equal(found, expected, what):
    check(found == expected, f"{what}: found {found!r:.400}, expected {expected!r:.400}")


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Skip(f"no {program}")


def left_out(text):
    print(f"LEFT OUT {text}", flush=True)


def tail(text, lines=15):
    return "\n    ".join(text.strip().splitlines()[-lines:])


def run(*command, seconds=300, codes=(0,), **more):
    """
    Run a program in a session of its own; a Failure shows the end of its output. Returns what
    subprocess.run() does, with stdout and stderr in one text.
    """
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, errors="replace",
                               start_new_session=True, **more)
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        try:
            output, _ = process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            output = "(cannot be killed: it waits for the filesystem)"
        raise Hang(f"{command[0]}: not done within {seconds} s\n    {tail(output)}")
    text = " ".join(command)
    check(process.returncode in codes,
          f"{text:.300}: exit code {process.returncode}\n    {tail(output)}")
    return subprocess.CompletedProcess(command, process.returncode, output)


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3\n")


def digest(path):
    hasher = hashlib.sha256()
    with open(path, "rb") as f:
        while part := f.read(1 << 20):
            hasher.update(part)
    return hasher.hexdigest()


def unmount_below(folder):
    """Unmount whatever a program left mounted below a folder, the folder itself as well."""
    points = []
    with open("/proc/self/mountinfo") as f:
        for line in f:
            point = line.split(" ")[4].encode().decode("unicode_escape")
            if point == folder or point.startswith(folder + "/"):
                points.append(point)
    for point in reversed(points):
        subprocess.run(["umount", "-l", point], stderr=subprocess.DEVNULL)


# ---- where the programs run ----

class Directory:
    """A directory of any filesystem, to see whether a program's failure is ours."""

    def __init__(self, path):
        self.root = os.path.join(os.path.abspath(path), f"hammer2-programs-{os.getpid()}")
        os.mkdir(self.root, 0o755)
        self.ours = False

    def start(self):
        pass

    def cycle(self):
        """Make what follows read from the media, as far as that can be had."""
        drop_caches()

    def alive(self):
        pass

    def reset(self, _):
        pass

    def remove(self):
        unmount_below(self.root)
        subprocess.run(["rm", "-rf", self.root])


class Volume:
    """An image file with its server, which runs in the foreground so that its end is seen."""

    def __init__(self, build, folder, size, options, keep):
        self.bin = os.path.join(os.path.abspath(build), "bin")
        self.image = os.path.join(folder, "volume.img")
        self.log = os.path.join(folder, "server.log")
        self.root = os.path.join(folder, "m")
        self.folder = folder
        self.size = size
        self.options = options
        self.keep = keep
        self.server = None
        self.ours = True
        os.mkdir(self.root)

    def start(self):
        if os.path.exists(self.image):
            os.unlink(self.image)
        run(os.path.join(self.bin, "mkfs.hammer2"), "-q", "-L", "DATA", "-s", self.size, self.image)
        self.mount()

    def said(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def mount(self):
        options = ["-o", self.options] if self.options else []
        with open(self.log, "w") as log:
            self.server = subprocess.Popen(
                [os.path.join(self.bin, "mount.hammer2"), "-f", self.image + "@DATA", self.root,
                 *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)
        deadline = time.monotonic() + MOUNT_SECONDS
        while not os.path.ismount(self.root):
            check(self.server.poll() is None,
                  f"mount.hammer2: exit code {self.server.returncode}\n    {tail(self.said())}")
            check(time.monotonic() < deadline, f"mounting: not within {MOUNT_SECONDS} s")
            time.sleep(0.01)
        check(not os.statvfs(self.root).f_flag & os.ST_RDONLY,
              f"the volume is mounted read-only\n    {tail(self.said())}")

    def alive(self):
        check(self.server.poll() is None, f"the server has ended with {self.server.returncode}\n"
                                          f"    {tail(self.said(), 40)}")

    def unmount(self):
        run("umount", self.root, seconds=MOUNT_SECONDS)
        try:
            code = self.server.wait(MOUNT_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failure(f"the server has not ended {MOUNT_SECONDS} s after the unmount")
        equal(code, 0, f"the server's exit code ({tail(self.said(), 40)})")

    def fsck(self):
        run(os.path.join(self.bin, "fsck.hammer2"), "--strict", self.image, seconds=CHECK_SECONDS)

    def cycle(self):
        self.unmount()
        self.fsck()
        self.mount()

    def stop(self):
        """End the server without regard for what it still has to do."""
        unmount_below(self.root)
        if self.server and self.server.poll() is None:
            self.server.kill()
            self.server.wait(MOUNT_SECONDS)

    def reset(self, name):
        """After a failure: a new filesystem; the old one is kept if that was asked for."""
        self.stop()
        if self.keep:
            kept = os.path.join(self.keep, f"{name}.img")
            subprocess.run(["cp", "--sparse=always", self.image, kept])
            shutil.copy(self.log, os.path.join(self.keep, f"{name}.log"))
            print(f"     the image is kept: {kept}", flush=True)
        self.start()

    def remove(self):
        self.stop()


class Test:
    """What a program's function gets: where to work, and how much."""

    def __init__(self, place, build, scratch, args):
        self.place = place
        self.build = os.path.abspath(build)
        self.scratch = scratch  # outside of the filesystem under test
        self.quick = args.quick
        self.tree = args.tree
        self.seed = args.seed
        self.stressors = args.stressors
        self.work = None        # a new directory in the filesystem under test
        self.stop = []          # what must be called when the program is done or has failed


# ---- the programs ----
#
# Each function returns a function that checks the results once more after the remount, or None.

def program_fsx(t):
    """Random operations on one file, through system calls and mappings."""
    fsx = os.path.join(t.build, "tests", "mount", "fsx")
    if not os.path.exists(fsx):
        raise Skip(f"no {fsx}")
    seconds = 3 if t.quick else 20
    lengths = (4096, 150000, 1 << 20, 6 << 20) if t.quick else \
        (4096, 66000, 150000, 1 << 20, 6 << 20, 64 << 20)
    pairs = []
    for i, length in enumerate(lengths):
        file, good = os.path.join(t.work, f"f{length}"), os.path.join(t.scratch, f"good{length}")
        missing = ["--all"] if t.place.ours else []
        done = run(fsx, "--seed", str(t.seed + i), "--seconds", str(seconds), "--count", "0",
                   "--length", str(length), "--good", good, *missing, file)
        for line in done.stdout.splitlines():
            if line.startswith("LEFT OUT"):
                left_out(f"fsx {line[9:]}")
        pairs.append((file, good))

    def again():
        for file, good in pairs:
            check(filecmp.cmp(file, good, shallow=False), f"{file} is not what was written")
    return again


# Block sizes and engines; every job writes each block once and then reads and verifies all.
FIO_JOBS = {
    "random": ["--rw=randwrite", "--bs=4k", "--ioengine=psync"],
    "mmap": ["--rw=randwrite", "--bs=4k", "--ioengine=mmap"],
    "sequential": ["--rw=write", "--bs=1M", "--ioengine=psync", "--end_fsync=1"],
    "fsync": ["--rw=randwrite", "--bs=16k", "--ioengine=psync", "--fsync=16", "--numjobs=2"],
    "direct": ["--rw=randwrite", "--bs=64k", "--ioengine=libaio", "--iodepth=16", "--direct=1"],
    "odd": ["--rw=write", "--bs=5000", "--ioengine=psync", "--fdatasync=100"],
    "backlog": ["--rw=randwrite", "--bs=8k", "--ioengine=psync", "--verify_backlog=64"],
}
FIO_QUICK = ("random", "mmap", "sequential", "fsync")


def fio(t, name, options, size, *more):
    """One job; checks that as much was read for verification as was written."""
    done = run("fio", f"--name={name}", f"--directory={t.work}", f"--size={size}",
               "--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--verify_state_save=0",
               "--randrepeat=1", "--output-format=json", *options, *more, cwd=t.scratch,
               seconds=600)
    for job in json.loads(done.stdout[done.stdout.index("{"):])["jobs"]:
        equal(job["error"], 0, f"fio's error in job {name}")
        size_done = size // 5000 * 5000 if name == "odd" else size
        check(job["read"]["io_bytes"] >= size_done,
              f"fio {name}: {job['read']['io_bytes']} bytes verified of {size_done}")


def program_fio(t):
    """fio, every block verified by its CRC-32C."""
    need("fio")
    size = (16 if t.quick else 256) << 20
    jobs = {n: o for n, o in FIO_JOBS.items() if not t.quick or n in FIO_QUICK}
    for name, options in jobs.items():
        # A commit for each 16 blocks: what takes long is the number of them.
        fio(t, name, options, size // 8 if name == "fsync" else size)

    def again():
        for name, options in jobs.items():
            fio(t, name, options, size // 8 if name == "fsync" else size, "--verify_only")
    return again


def program_sqlite(t):
    """SQLite in its journal modes, against a dictionary; several processes counting."""
    path = os.path.join(t.work, "t.db")
    chance = random.Random(t.seed)
    model = {}
    for mode in ("delete", "truncate", "persist", "wal"):
        db = sqlite3.connect(path, isolation_level=None)
        equal(db.execute(f"PRAGMA journal_mode={mode}").fetchone()[0], mode, "journal mode")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA mmap_size=16777216")
        db.execute("CREATE TABLE IF NOT EXISTS t (k INTEGER PRIMARY KEY, v BLOB, n INTEGER)")
        db.execute("CREATE INDEX IF NOT EXISTS t_n ON t (n)")
        for _ in range(100 if t.quick else 400):
            sqlite_transaction(db, chance, model)
        sqlite_compare(db, model)
        db.close()
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("VACUUM")
    sqlite_compare(db, model)
    db.execute("CREATE TABLE c (n INTEGER)")
    db.execute("INSERT INTO c VALUES (0)")
    db.close()
    each = 20 if t.quick else 200
    workers = [multiprocessing.Process(target=sqlite_count, args=(path, each)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        if worker.is_alive():
            worker.kill()
            raise Failure("a process that counts is not done within 120 s")
        equal(worker.exitcode, 0, "exit code of a process that counts")

    def again():
        db = sqlite3.connect(path)
        sqlite_compare(db, model)
        equal(db.execute("SELECT n FROM c").fetchone()[0], 4 * each, "the count of 4 processes")
        db.close()
    again()
    return again


def sqlite_transaction(db, chance, model):
    changed = dict(model)
    db.execute("BEGIN IMMEDIATE")
    for _ in range(chance.randint(1, 60)):
        key = chance.randrange(3000)
        if chance.random() < 0.25 and changed:
            db.execute("DELETE FROM t WHERE k = ?", (key,))
            changed.pop(key, None)
        else:
            row = (chance.randbytes(chance.choice((0, 10, 300, 6000))), chance.randrange(50))
            db.execute("INSERT OR REPLACE INTO t VALUES (?, ?, ?)", (key, *row))
            changed[key] = row
    if chance.random() < 0.2:
        db.execute("ROLLBACK")
        return
    db.execute("COMMIT")
    model.clear()
    model.update(changed)


def sqlite_compare(db, model):
    equal(db.execute("PRAGMA integrity_check").fetchall(), [("ok",)], "integrity_check")
    rows = {k: (v, n) for k, v, n in db.execute("SELECT k, v, n FROM t")}
    equal(len(rows), len(model), "number of rows")
    check(rows == model, "the rows are not those that were written")


def sqlite_count(path, times):
    db = sqlite3.connect(path, timeout=60, isolation_level=None)
    for _ in range(times):
        db.execute("BEGIN IMMEDIATE")
        n = db.execute("SELECT n FROM c").fetchone()[0]
        db.execute("UPDATE c SET n = ?", (n + 1,))
        db.execute("COMMIT")
    db.close()


def git_environment(t):
    """No settings of the user's; repositories of other owners are allowed."""
    return {"PATH": os.environ["PATH"], "HOME": t.scratch, "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}


def git_clone(t, to):
    need("git")
    checkout = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if not os.path.exists(os.path.join(checkout, ".git")):
        raise Skip("this is no git checkout, there is nothing to clone")
    run("git", "clone", "-q", "--no-hardlinks", "file://" + checkout, to, env=git_environment(t))


def git_check(t, clone, commit):
    env = git_environment(t)
    run("git", "fsck", "--full", "--no-dangling", cwd=clone, env=env)
    equal(run("git", "status", "--porcelain", cwd=clone, env=env).stdout, "", "git status")
    equal(run("git", "rev-parse", "HEAD", cwd=clone, env=env).stdout, commit, "HEAD")


def program_git(t):
    """Clone this project; check out older commits and come back; repack."""
    clone, env = os.path.join(t.work, "clone"), git_environment(t)
    git_clone(t, clone)
    commit = run("git", "rev-parse", "HEAD", cwd=clone, env=env).stdout
    git_check(t, clone, commit)
    older = run("git", "rev-list", "HEAD", cwd=clone, env=env).stdout.split()
    steps = 4 if t.quick else 20
    for i in range(0, len(older), max(1, len(older) // steps)):
        run("git", "checkout", "-q", older[i], cwd=clone, env=env)
    run("git", "checkout", "-q", commit.strip(), cwd=clone, env=env)
    git_check(t, clone, commit)
    run("git", "gc", "-q", "--prune=now", cwd=clone, env=env)
    git_check(t, clone, commit)
    # The index has the files' times: a file that looks changed would be read again and not shown.
    run("git", "update-index", "-q", "--refresh", cwd=clone, env=env)
    return lambda: git_check(t, clone, commit)


def program_build(t):
    """Build this project and run its unit tests, sources and build directory in the mount."""
    need("meson", "ninja", "cc")
    source, build = os.path.join(t.work, "source"), os.path.join(t.work, "build")
    git_clone(t, source)
    run("meson", "setup", build, source)
    run("ninja", "-j2", "-C", build, seconds=900)
    run("meson", "test", "-C", build, "--suite", "unit", "--no-rebuild", seconds=900)

    def again():
        done = run("ninja", "-C", build, "-n", "-d", "explain")
        check("no work to do" in done.stdout,
              f"times have changed, ninja would build again:\n    {tail(done.stdout)}")
        run("meson", "test", "-C", build, "--suite", "unit", "--no-rebuild", seconds=900)
    return again


def program_dbench(t):
    """dbench's mix of a file server's requests."""
    need("dbench")
    loads = [p for p in ("/usr/share/dbench/client.txt",) if os.path.exists(p)]
    if not loads:
        raise Skip("no /usr/share/dbench/client.txt")
    for clients in ("1", "8"):
        done = run("dbench", "-D", t.work, "-c", loads[0], "-t", "10", clients)
        check("Throughput" in done.stdout, f"dbench gives no result\n    {tail(done.stdout)}")
        errors = [line for line in done.stdout.splitlines() if re.search("fail|error", line, re.I)]
        check(not errors, f"dbench {clients}: {tail(chr(10).join(errors))}")


def program_postgres(t):
    """PostgreSQL: load, transactions, a crash of the database, restarts, dumps compared."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/pgbench"))
    if not found:
        raise Skip("no /usr/lib/postgresql/*/bin/pgbench")
    need("runuser")
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        raise Skip("no user postgres")
    folder = os.path.join(t.work, "pg")
    os.mkdir(folder, 0o700)
    os.chown(folder, user.pw_uid, user.pw_gid)
    if run("runuser", "-u", "postgres", "--", "ls", folder, codes=(0, 1, 2), cwd="/").returncode:
        raise Skip(f"the user postgres cannot reach {folder}")
    data, log = os.path.join(folder, "data"), os.path.join(folder, "log")
    servers = []

    def pg(program, *args, seconds=300):
        path = os.path.join(os.path.dirname(found[-1]), program)
        return run("runuser", "-u", "postgres", "--", path, *args, seconds=seconds, cwd="/",
                   env={"PATH": os.environ["PATH"], "LC_ALL": "C", "PGHOST": folder}).stdout

    def control(*args):
        try:
            pg("pg_ctl", "-D", data, "-w", "-t", "120", "-l", log, *args)
        except Failure as e:
            text = open(log, errors="replace").read() if os.path.exists(log) else ""
            raise Failure(f"{e}\n    {tail(text)}")
        servers.clear()
        if args[-1] == "start":
            with open(os.path.join(data, "postmaster.pid")) as f:
                servers.append(int(f.readline()))

    def dump():
        """The digest of a dump without the key that newer versions draw anew each time."""
        lines = [line for line in pg("pg_dump", "bench").splitlines()
                 if not re.match(r"\\(un)?restrict ", line)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def consistent():
        """Every transaction of pgbench adds one amount in four places."""
        sums = pg("psql", "-Atc", "SELECT (SELECT sum(abalance) FROM pgbench_accounts), "
                  "(SELECT sum(bbalance) FROM pgbench_branches), (SELECT sum(tbalance) FROM "
                  "pgbench_tellers), (SELECT coalesce(sum(delta), 0) FROM pgbench_history)",
                  "bench").strip().split("|")
        equal(len(set(sums)), 1, f"different sums in pgbench's tables: {sums}")
        pg("pg_amcheck", "--heapallindexed", "--install-missing", "bench")

    def end():
        """End what was started without asking the filesystem, which may hang."""
        for server in servers:
            try:
                with open(f"/proc/{server}/comm") as f:
                    ours = f.read().strip() == "postgres"
                if ours:
                    os.kill(server, signal.SIGKILL)
            except (FileNotFoundError, ProcessLookupError):
                pass

    t.stop.append(end)
    pg("initdb", "-D", data, "-A", "trust", "--data-checksums", "--no-locale", "-E", "UTF8")
    with open(os.path.join(data, "postgresql.conf"), "a") as f:
        f.write(f"unix_socket_directories = '{folder}'\nlisten_addresses = ''\n"
                "shared_buffers = 16MB\nmax_wal_size = 64MB\nfull_page_writes = on\n")
    control("start")
    pg("createdb", "bench")
    pg("pgbench", "-q", "-i", "-s", "10", "bench")
    pg("pgbench", "-c", "4", "-j", "2", "-T", "10", "bench")
    consistent()
    pg("pgbench", "-n", "-c", "4", "-j", "2", "-t", "200", "bench")
    before = dump()
    control("-m", "immediate", "stop")  # as a crash: the log is replayed
    control("start")
    equal(dump(), before, "the dump after a crash of the database")
    consistent()
    pg("psql", "-c", "VACUUM FULL", "bench")
    before = dump()
    control("-m", "fast", "stop")
    pg("pg_checksums", "--check", "-D", data)

    def again():
        pg("pg_checksums", "--check", "-D", data)
        control("start")
        equal(dump(), before, "the dump after the remount")
        consistent()
        control("-m", "fast", "stop")
    return again


def debian_mirror(suite):
    """The mirror that apt has for a suite, from its old or its new kind of lists; or None."""
    for path in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*.list"))]:
        if not os.path.exists(path):
            continue
        for line in open(path):
            words = re.sub(r"\[[^]]*\]", "", line.split("#")[0]).split()
            if words[:1] == ["deb"] and words[2:3] == [suite] and "main" in words[3:]:
                return words[1]
    for path in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
        for part in open(path).read().split("\n\n"):
            fields = dict(re.findall(r"^(\w[\w-]*):[ \t]*(.*)$", part, re.M))
            if "deb" in fields.get("Types", "").split() and \
               suite in fields.get("Suites", "").split() and \
               "main" in fields.get("Components", "").split() and fields.get("URIs"):
                return fields["URIs"].split()[0]
    return None


def program_debootstrap(t):
    """A minimal Debian, with its packages' own checksums; as a device, chroot and hard link test."""
    need("debootstrap", "chroot")
    with open("/etc/os-release") as f:
        release = dict(line.rstrip("\n").split("=", 1) for line in f if "=" in line)
    suite = release.get("VERSION_CODENAME", "").strip('"')
    mirror = debian_mirror(suite) if release.get("ID") == "debian" else None
    if not mirror or not mirror.startswith("http"):
        raise Skip("no Debian mirror for this release in apt's lists of sources")
    chroot = os.path.join(t.work, "chroot")
    t.stop.append(lambda: unmount_below(chroot))
    try:
        run("debootstrap", "--variant=minbase", suite, chroot, mirror, seconds=1200)
    except Failure as e:
        log = os.path.join(chroot, "debootstrap", "debootstrap.log")
        text = open(log, errors="replace").read() if os.path.exists(log) else ""
        text = f"{e}\n    {tail(text)}".replace(mirror, "MIRROR")
        if re.search(r"(Failed|Couldn't) (getting|download|connect)|Couldn't retrieve", text, re.I):
            raise Skip(f"the mirror cannot be reached\n    {text}")
        raise Failure(text)
    unmount_below(chroot)

    def again():
        equal(run("chroot", chroot, "dpkg", "--verify").stdout, "", "dpkg --verify")
        equal(run("chroot", chroot, "dpkg", "--audit").stdout, "", "dpkg --audit")
        device = os.stat(os.path.join(chroot, "dev", "null"))
        equal((stat.S_ISCHR(device.st_mode), device.st_rdev), (True, os.makedev(1, 3)), "/dev/null")
        run("chroot", chroot, "perl", "-e", "exit 0")
    again()
    return again


def program_copy(t):
    """cp -a of a large tree; diff -r and rsync find nothing."""
    need("rsync", "diff")
    copy = os.path.join(t.work, "copy")

    def fingerprint():
        return run("find", t.tree, "-xdev", "-printf", r"%P %y %s %T@ %l\n").stdout

    def compare():
        try:
            run("diff", "-r", "--no-dereference", t.tree, copy, seconds=1200)
            done = run("rsync", "-aHSXAn", "--checksum", "--delete", "--itemize-changes",
                       t.tree + "/", copy + "/", seconds=1200)
            equal(done.stdout, "", "what rsync would change")
        except Failure:
            if fingerprint() != before:
                raise Skip(f"{t.tree} was changed by others meanwhile")
            raise
    before = fingerprint()
    run("cp", "-a", t.tree, copy, seconds=1200)
    compare()
    return compare


def program_rsync(t):
    """rsync a tree into the mount twice: the second time nothing is left to do. Then delete it."""
    need("rsync")
    copy = os.path.join(t.work, "copy")
    tree = os.path.join(t.tree, "doc") if os.path.isdir(os.path.join(t.tree, "doc")) else t.tree
    run("rsync", "-aH", tree + "/", copy + "/", seconds=1200)
    done = run("rsync", "-aHn", "--itemize-changes", "--delete", tree + "/", copy + "/")
    equal(done.stdout, "", "what a second rsync would do")
    half = sorted(os.listdir(copy))[::2]
    for name in half:
        run("rm", "-rf", os.path.join(copy, name))
    run("rsync", "-aH", tree + "/", copy + "/", seconds=1200)
    run("diff", "-r", "--no-dereference", tree, copy)
    return lambda: run("diff", "-r", "--no-dereference", tree, copy)


def program_stress(t):
    """Each stressor of stress-ng's filesystem class, with its own verification."""
    need("stress-ng")
    text = run("stress-ng", "--class", "filesystem?", codes=(0, 1)).stdout
    names = text.split("stressors:", 1)[-1].split()
    check(len(names) > 20, f"stress-ng lists its filesystem class as {text!r}")
    if t.stressors:
        names = t.stressors
    failures = []
    for name in names:
        if name in STRESSORS_LEFT_OUT and not t.stressors:
            left_out(f"stress-ng {name}: {STRESSORS_LEFT_OUT[name]}")
            continue
        folder = os.path.join(t.work, name)
        os.mkdir(folder)
        if name == "xattr" and not has_attributes(folder):
            left_out("stress-ng xattr: the filesystem has no extended attributes")
            continue
        try:
            stress(t, name, folder)
        except Hang as e:
            raise Hang(f"stress-ng {name}: {e}")
        except Failure as e:
            # The others are worth running, unless the server is gone.
            t.place.alive()
            failures.append(name)
            print(f"     stress-ng {name}: {e}", flush=True)
    check(not failures, f"stressors failed: {' '.join(failures)}")


def has_attributes(path):
    try:
        os.setxattr(path, "user.test", b"value")
        os.removexattr(path, "user.test")
    except OSError as e:
        if e.errno != errno.ENOTSUP:
            raise
        return False
    return True


def stress(t, name, folder):
    # Codes 3 and 4: a resource or feature is missing. Some stressors say so in their output only.
    done = run("stress-ng", "--temp-path", folder, f"--{name}", "2", "--timeout", "2s", "--verify",
               "--oomable", codes=(0, 3, 4), seconds=120, cwd=t.scratch)
    lines = [re.sub(r"^stress-ng: \w+: +\[\d+\] ", "", line) for line in done.stdout.splitlines()]
    missing = [line for line in lines if re.search(r"skipping|not supported|not implement", line)]
    if missing and not t.place.ours:
        left_out(f"stress-ng {missing[0]}")
    else:
        check(not missing and done.returncode == 0, f"left out by itself: {tail(done.stdout)}")
    check(not os.listdir(folder), f"files are left behind: {os.listdir(folder)}")


QUICK = ("fsx", "fio", "sqlite", "git")


# ---- the run ----

def one(t, name, function):
    """Run a program, remount, check again, and remove what it made."""
    t.work = os.path.join(t.place.root, name)
    os.mkdir(t.work, 0o755)
    t.stop = []
    try:
        again = function(t)
        t.place.alive()
        t.place.cycle()
        if again:
            again()
            t.place.alive()
    finally:
        for stop in t.stop:
            try:
                stop()
            except (Failure, OSError) as e:
                print(f"     {name}: while it was stopped: {e}", flush=True)
    run("rm", "-rf", t.work, seconds=600)
    check(not os.path.lexists(t.work), f"{t.work} is still there after rm -rf")


def all_programs():
    return {n[8:]: f for n, f in list(globals().items()) if n.startswith("program_")}


def run_all(place, args, scratch):
    t = Test(place, args.build, scratch, args)
    passed = failed = skipped = 0
    place.start()
    for name, function in all_programs().items():
        if args.programs and name not in args.programs or \
           args.quick and not args.programs and name not in QUICK:
            continue
        start = time.monotonic()
        try:
            one(t, name, function)
            passed += 1
            print(f"ok   {name} ({time.monotonic() - start:.1f} s)")
        except Skip as e:
            skipped += 1
            print(f"SKIPPED {name}: {e}")
            subprocess.run(["rm", "-rf", t.work])
        except (Failure, OSError, ValueError, KeyError, sqlite3.Error,
                subprocess.SubprocessError) as e:
            failed += 1
            print(f"FAIL {name} ({time.monotonic() - start:.1f} s): {type(e).__name__}: {e}")
            place.reset(name)
        sys.stdout.flush()
    try:
        place.cycle()  # for what the last one removed
    except Failure as e:
        failed += 1
        print(f"FAIL the check at the end: {e}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    if failed:
        return 1
    return 0 if passed else 77


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--build", default=os.path.join(os.path.dirname(os.path.dirname(here)),
                                                        "build"))
    parser.add_argument("--dir", help="run in this directory instead of a new HAMMER2 volume")
    parser.add_argument("--quick", action="store_true",
                        help=f"bounded in time; only {', '.join(QUICK)} unless named")
    parser.add_argument("--size", default="16G", help="of the volume, a sparse file")
    parser.add_argument("--temp", default=None, help="folder for the image and other files")
    parser.add_argument("--options", default="", help="mount options")
    parser.add_argument("--keep", help="folder that receives the image after a failure")
    parser.add_argument("--tree", default="/usr/share", help="the tree that is copied")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--stressor", dest="stressors", action="append",
                        help="of stress-ng: only this one; may be repeated")
    parser.add_argument("programs", nargs="*", metavar="PROGRAM",
                        help=f"of {', '.join(all_programs())}; all by default")
    args = parser.parse_intermixed_args()
    unknown = set(args.programs) - set(all_programs())
    if unknown:
        parser.error(f"no such program: {', '.join(sorted(unknown))}")
    reason = None
    if os.geteuid() != 0:
        reason = "not root"
    elif not args.dir and not os.path.exists("/dev/fuse"):
        reason = "no /dev/fuse"
    elif PRIVATE not in os.environ:
        probe = subprocess.run(["unshare", "-m", "--propagation", "private", "true"],
                               capture_output=True, text=True)
        if probe.returncode == 0:
            os.environ[PRIVATE] = "1"
            os.execvp("unshare", ["unshare", "-m", "--propagation", "private", sys.executable,
                                  *sys.argv])
        reason = "no private mount namespace here, as in a chroot: " + probe.stderr.strip()
    if reason:
        print(f"SKIPPED everything: {reason}\n0 passed, 0 failed, 1 skipped")
        return 77
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    print(f"seed {args.seed}", flush=True)
    os.umask(0o022)
    folder = tempfile.mkdtemp(prefix="hammer2-programs-", dir=args.temp)
    os.chmod(folder, 0o755)
    scratch = os.path.join(folder, "scratch")
    os.mkdir(scratch)
    place = Directory(args.dir) if args.dir else \
        Volume(args.build, folder, args.size, args.options, args.keep)
    try:
        return run_all(place, args, scratch)
    except Failure as e:
        print(f"FAIL everything: {e}\n0 passed, 1 failed, 0 skipped")
        return 1
    finally:
        place.remove()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
