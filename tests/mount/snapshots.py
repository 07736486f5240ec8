#!/usr/bin/env python3
"""
Snapshots that are taken while several processes change files: through mappings, with and without
msync(2), by write(2), by renaming new files over old ones. Of each snapshot

  - what was acknowledged (msync, fsync) before the command began is in it, and it is a state that a
    crash could have left: a file's record never leads to contents that were not complete;
  - the digest, of names, attributes and contents, is the same in a copy of the volume that is made
    in the moment in which the command returns, with the server stopped: as after a power failure,
    but for what the server's machine has not written yet (tests/unit/test_snapshot_cut.c is for
    that). The copy mounts, and fsck.hammer2 --strict finds nothing;
  - the digest is still the same when everything in the origin was rewritten, deduplicated with
    what the snapshots hold, and removed in part, some of the snapshots were removed, bulk free has
    run, all that is free was written over, the server was killed, and that once more.

Needs root and /dev/fuse. Ends with "N passed, N failed, N skipped"; exits with 1 if any failed, and
with 77 (skipped, for meson) if nothing could be run.
"""

import argparse
import errno
import hashlib
import mmap
import os
import random
import signal
import stat
import struct
import subprocess
import sys
import time
import traceback

from h2mount import Failure, Volume, WAIT_SECONDS, begin, check, run, run_tests

WRITERS = 3
SNAPSHOTS = 200
ROUND = 40                # snapshots until the server is killed
PAGE = 4096
SLOT = 10 * PAGE          # of contents of a file with a record
SLOTS_AT = 16 * PAGE
LOOSE_WORDS = 8192       # of the file without order
FILES = ("mapped", "written", "renamed", "loose")
RECORD = struct.Struct("<Q")


# ---- what files hold ----

def contents(number, generation):
    """Of a file, in a generation. Every third one can be compressed."""
    if generation % 3 == 0:
        return RECORD.pack(number << 48 | generation) * (SLOT // RECORD.size)
    return hashlib.shake_128(b"%d %d" % (number, generation)).digest(SLOT)


def loose_word(number, generation, place):
    return (number + 1) << 56 | place << 36 | generation


class Shared:
    """Of each file the generation that was begun last and the one acknowledged last."""

    def __init__(self):
        self.words = memoryview(mmap.mmap(-1, PAGE)).cast("Q")

    def begun(self, number):
        return self.words[2 * number]

    def acknowledged(self, number):
        return self.words[2 * number + 1]

    def begin(self, number, generation):
        self.words[2 * number] = max(generation, self.words[2 * number])

    def acknowledge(self, number, generation):
        self.words[2 * number + 1] = generation


def record_of(data):
    return RECORD.unpack_from(data)[0] if data else 0


def slot_at(generation):
    return SLOTS_AT + generation % 2 * SLOT


def verify_ordered(name, number, data, least, most):
    """A record, and the contents that it leads to: both slots were never written at once."""
    generation = record_of(data)
    check(least <= generation <= most,
          f"{name}: generation {generation}, acknowledged {least}, begun {most}")
    at = slot_at(generation)
    check(generation == 0 or data[at:at + SLOT] == contents(number, generation),
          f"{name}: the contents of generation {generation} are not complete")


def verify_renamed(name, number, data, least, most):
    generation = record_of(data)
    check(least <= generation <= most,
          f"{name}: generation {generation}, acknowledged {least}, begun {most}")
    check(generation == 0 or data == RECORD.pack(generation) + contents(number, generation),
          f"{name}: generation {generation} is not whole")


def verify_loose(name, number, data, _, most):
    for place, word in enumerate(memoryview(data).cast("Q")):
        check(word == 0 or word >> 36 == loose_word(number, 0, place) >> 36 and
              word & (1 << 36) - 1 <= most, f"{name}: word {place} is {word:#x}")


VERIFY = {"mapped": verify_ordered, "written": verify_ordered, "renamed": verify_renamed,
          "loose": verify_loose}


# ---- writers ----

class Writer:
    """A process of its own. It ends when the server is gone, mappings let it, or it is killed."""

    def __init__(self, root, number, shared, seed):
        self.folder = f"{root}/w{number}"
        self.first = number * len(FILES)
        self.shared = shared
        self.random = random.Random(seed)

    def __call__(self):
        fd = os.open(f"{self.folder}/mapped", os.O_RDWR)
        self.mapped = mmap.mmap(fd, SLOTS_AT + 2 * SLOT)
        os.close(fd)
        fd = os.open(f"{self.folder}/loose", os.O_RDWR)
        self.loose = memoryview(mmap.mmap(fd, LOOSE_WORDS * 8)).cast("Q")
        os.close(fd)
        self.written = os.open(f"{self.folder}/written", os.O_RDWR)
        while True:
            self.random.choice((self.map, self.write, self.rename, self.scatter, self.churn))()
            time.sleep(self.random.random() * 0.01)

    def map(self):
        number = self.first
        generation = record_of(self.mapped[:RECORD.size]) + 1
        at = slot_at(generation)
        self.shared.begin(number, generation)
        self.mapped[at:at + SLOT] = contents(number, generation)
        self.mapped.flush()
        memoryview(self.mapped).cast("Q")[0] = generation
        if self.random.random() < 0.5:
            self.mapped.flush(0, PAGE)
            self.shared.acknowledge(number, generation)
        else:  # what comes next must not be in front of it
            self.mapped.flush()

    def write(self):
        number = self.first + 1
        generation = record_of(os.pread(self.written, RECORD.size, 0)) + 1
        self.shared.begin(number, generation)
        os.pwrite(self.written, contents(number, generation), slot_at(generation))
        os.fsync(self.written)
        os.pwrite(self.written, RECORD.pack(generation), 0)
        os.fsync(self.written)
        self.shared.acknowledge(number, generation)

    def rename(self):
        number = self.first + 2
        path = f"{self.folder}/renamed"
        with open(path, "rb") as f:
            generation = record_of(f.read(RECORD.size)) + 1
        self.shared.begin(number, generation)
        with open(f"{path}.new", "wb", buffering=0) as f:
            f.write(RECORD.pack(generation) + contents(number, generation))
            os.fsync(f.fileno())
        os.rename(f"{path}.new", path)
        if self.random.random() < 0.5:
            fd = os.open(self.folder, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
            self.shared.acknowledge(number, generation)

    def scatter(self):
        number = self.first + 3
        generation = self.shared.begun(number) + 1
        self.shared.begin(number, generation)
        for _ in range(200):
            place = self.random.randrange(LOOSE_WORDS)
            self.loose[place] = loose_word(number, generation, place)

    def churn(self):
        name = f"{self.folder}/churn{self.random.randrange(30)}"
        if self.random.random() < 0.3 and os.path.exists(name):
            os.unlink(name)
            return
        with open(name, "ab") as f:
            f.write(os.urandom(self.random.randrange(1, 9000)))
        os.rename(name, f"{self.folder}/churn{self.random.randrange(30)}")


def make_files(volume):
    for w in range(WRITERS):
        os.mkdir(f"{volume.root}/w{w}")
        for name, size in (("mapped", SLOTS_AT + 2 * SLOT), ("written", SLOTS_AT + 2 * SLOT),
                           ("renamed", 0), ("loose", LOOSE_WORDS * 8)):
            with open(f"{volume.root}/w{w}/{name}", "xb") as f:
                f.truncate(size)
    sync(volume)


def start_writers(volume, shared, seed):
    pids = []
    for w in range(WRITERS):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                Writer(volume.root, w, shared, seed + w)()
            except OSError as e:
                code = 0 if e.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO) else 1
                if code:
                    print(f"     writer {w}: {e}", flush=True)
            finally:
                os._exit(code)
        pids.append(pid)
    return pids


def stop_writers(pids):
    for pid in pids:
        check(os.waitpid(pid, os.WNOHANG)[0] == 0, "a writer has ended")
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    reap(pids)


def reap(pids):
    """Of a server that was killed: accesses to its mappings kill, too."""
    deadline = time.monotonic() + WAIT_SECONDS
    for pid in pids:
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)


# ---- looking at a tree ----

def look(root):
    """{path: (attributes, contents)}"""
    found = {}
    for folder, names, files in os.walk(root):
        names.sort()
        for name in ["."] * (folder == root) + names + files:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            data = b""
            if stat.S_ISREG(st.st_mode):
                with open(path, "rb") as f:
                    data = f.read()
                check(len(data) == st.st_size, f"{path}: {len(data)} of {st.st_size} bytes")
            found[os.path.relpath(path, root)] = (
                (st.st_mode, st.st_nlink, st.st_uid, st.st_gid, st.st_size, st.st_mtime_ns,
                 st.st_ctime_ns, st.st_ino), data)
    return found


def digest(tree):
    h = hashlib.sha256()
    for path in sorted(tree):
        attributes, data = tree[path]
        h.update(repr((path, attributes)).encode() + hashlib.sha256(data).digest())
    return h.hexdigest()


def verify(tree, least, most):
    for w in range(WRITERS):
        for i, kind in enumerate(FILES):
            number = w * len(FILES) + i
            name = f"w{w}/{kind}"
            check(name in tree, f"{name} is not there")
            VERIFY[kind](name, number, tree[name][1], least[number], most[number])


# ---- volumes ----

class Copy(Volume):
    """What a power failure would leave: a copy of the volume while its server stands still."""

    def __init__(self, volume, label):
        self.name = "copy"
        self.bin = volume.bin
        self.folder = os.path.join(os.path.dirname(volume.folder), "copy")
        self.root = os.path.join(self.folder, "mnt")
        self.log = os.path.join(self.folder, "server.log")
        os.makedirs(self.root, exist_ok=True)
        self.files = [os.path.join(self.folder, "volume")]
        self.spec = self.files[0]
        self.label = label
        self.device = self.server = None
        self.damaged = set()
        self.torn = 0
        run("cp", "--sparse=always", "--reflink=auto", volume.files[0], self.spec)

    def start(self, *options):
        with open(self.log, "w") as log:
            self.server = subprocess.Popen(
                [os.path.join(self.bin, "mount.hammer2"), "-f", f"{self.spec}@{self.label}",
                 self.root, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)


def hammer2(volume, *args):
    return run(os.path.join(volume.bin, "hammer2"), *args, seconds=300).stdout


def sync(volume):
    fd = os.open(volume.root, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def look_at_snapshot(volume, label):
    """Mounted beside the origin, by the same server."""
    place = os.path.join(volume.folder, "snap")
    os.makedirs(place, exist_ok=True)
    run(os.path.join(volume.bin, "mount.hammer2"), f"{volume.spec}@{label}", place, "-o", "ro")
    try:
        return look(place)
    finally:
        run("umount", place)


def fill(volume, seed):
    """
    Write over all that is free. Returns how many bytes there were. With its cache the kernel tells
    that there is no room when it writes back, not before.
    """
    source = random.Random(seed)
    done = 0
    fd = os.open(f"{volume.root}/fill", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        while True:
            done += os.pwrite(fd, source.randbytes(1 << 20), done)
            if done % (8 << 20) == 0:
                os.fdatasync(fd)
    except OSError as e:
        check(e.errno == errno.ENOSPC, f"filling: {e}")
    finally:
        try:
            os.close(fd)
        except OSError as e:
            check(e.errno == errno.ENOSPC, f"filling: {e}")
    return done


# ---- the test ----

class Test:
    def __init__(self, volume, count, seed):
        self.volume = volume
        self.count = count
        self.random = random.Random(seed)
        self.shared = Shared()
        self.digests = {}   # of the snapshots that there are
        self.taken = 0
        self.states = set() # digests that there have been
        self.seconds = 0    # of the commands
        self.removed = self.kills = self.compared = self.torn = 0

    def state(self):
        numbers = range(WRITERS * len(FILES))
        return ([self.shared.acknowledged(n) for n in numbers],
                [self.shared.begun(n) for n in numbers])

    def snapshot(self):
        """Take one, and look at what would be there after a power failure."""
        label = f"snap{self.taken}"
        least, _ = self.state()
        start = time.monotonic()
        hammer2(self.volume, "snapshot", self.volume.root, label)
        os.kill(self.volume.server.pid, signal.SIGSTOP)
        self.seconds += time.monotonic() - start
        try:
            _, most = self.state()
            copy = Copy(self.volume, label)
        finally:
            os.kill(self.volume.server.pid, signal.SIGCONT)
        try:
            tree = look_at_snapshot(self.volume, label)
            verify(tree, least, most)
            self.digests[label] = digest(tree)
            self.states.add(self.digests[label])
            copy.mount()
            check(digest(look(copy.root)) == self.digests[label],
                  f"{label}: differs after a power failure in the moment it was there")
            copy.unmount()
            copy.fsck(killed=True)
            self.torn += copy.torn
        finally:
            copy.clean()
        self.taken += 1
        if self.taken % 20 == 0:
            print(f"     {self.taken} taken", flush=True)

    def compare(self, when):
        for label, wanted in self.digests.items():
            check(digest(look_at_snapshot(self.volume, label)) == wanted,
                  f"{label} has changed {when}")
            self.compared += 1

    def rewrite(self):
        """Everything in the origin: other contents, at the same places."""
        for folder, _, names in os.walk(self.volume.root):
            for name in names:
                path = os.path.join(folder, name)
                fd = os.open(path, os.O_RDWR)
                os.pwrite(fd, os.urandom(os.fstat(fd).st_size), 0)
                os.close(fd)
        sync(self.volume)

    def duplicate(self):
        """Files with what the snapshots hold, so that blocks are shared; removed again in part."""
        folder = f"{self.volume.root}/duplicates"
        os.makedirs(folder, exist_ok=True)
        for label in self.random.sample(sorted(self.digests), min(4, len(self.digests))):
            for path, (_, data) in look_at_snapshot(self.volume, label).items():
                for i in range(2 if data else 0):
                    with open(f"{folder}/{label}-{path.replace('/', '-')}-{i}", "wb") as f:
                        f.write(data)
        sync(self.volume)
        for name in sorted(os.listdir(folder))[::2]:
            os.unlink(f"{folder}/{name}")

    def remove(self):
        """Half of the files, and some of the snapshots."""
        for folder, _, names in os.walk(self.volume.root):
            for name in sorted(names)[::2]:
                if name not in FILES:
                    os.unlink(os.path.join(folder, name))
        for w in range(WRITERS):
            for kind in FILES[::2]:
                os.unlink(f"{self.volume.root}/w{w}/{kind}")
        for label in sorted(self.digests)[::5]:
            hammer2(self.volume, "-s", self.volume.root, "snapshot-delete", label)
            del self.digests[label]
            self.removed += 1

    def restore(self):
        """What the writers begin with in the next round."""
        for w in range(WRITERS):
            run("rm", "-rf", f"{self.volume.root}/w{w}")
        run("rm", "-rf", f"{self.volume.root}/duplicates")
        make_files(self.volume)
        self.shared = Shared()

    def kill(self, pids=()):
        self.volume.kill()
        self.kills += 1
        reap(pids)
        self.volume.detach()
        self.volume.fsck(killed=True)
        self.volume.mount()

    def overwrite_free(self):
        for _ in range(2):
            hammer2(self.volume, "bulkfree", self.volume.root)
        filled = fill(self.volume, self.taken)
        check(filled > 8 << 20, f"only {filled} bytes are free: the volume is too small")

    def round(self, count):
        pids = start_writers(self.volume, self.shared, self.random.randrange(1 << 30))
        try:
            for _ in range(count):
                time.sleep(self.random.random() * 0.2)
                self.snapshot()
            if self.random.random() < 0.5:
                stop_writers(pids)
            else:
                # The origin, too, is what a crash may leave.
                least, _ = self.state()
                self.kill(pids)
                verify(look(self.volume.root), least, self.state()[1])
            pids = []
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            reap(pids)
        self.rewrite()
        self.compare("when the origin was rewritten")
        self.duplicate()
        self.remove()
        self.overwrite_free()
        self.kill()
        self.compare("when all that was free was written over and the server killed")
        os.unlink(f"{self.volume.root}/fill")
        self.overwrite_free()
        self.compare("after bulk free and writing over what was free once more")
        os.unlink(f"{self.volume.root}/fill")
        self.restore()

    def run(self):
        self.volume.mount()
        make_files(self.volume)
        while self.taken < self.count:
            self.round(min(ROUND, self.count - self.taken, max(4, self.count // 2)))
        self.volume.unmount()
        self.volume.fsck()
        self.volume.mount()
        self.compare("after unmounting")
        self.volume.unmount()


def snapshots(folder, build, count, seed):
    print(f"     --seed {seed}")
    volume = Volume("v", folder, build, [max(64, 2 * count) << 20])
    try:
        test = Test(volume, count, seed)
        test.run()
        print(f"     {test.taken} snapshots, {len(test.states)} different ones, "
              f"{test.seconds / test.taken * 1000:.0f} ms each; {test.removed} removed again; "
              f"{test.kills} kills; {test.compared} comparisons; "
              f"{test.torn} copies with a torn header copy")
        check(len(test.states) == test.taken, "the writers were too slow: snapshots are alike")
    except OSError as e:
        traceback.print_exc(file=sys.stdout)
        raise Failure(f"{e}\n     {volume.said()}") from e
    finally:
        volume.clean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--build", required=True, help="the build directory")
    parser.add_argument("--snapshots", type=int, default=SNAPSHOTS, help="how many")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    args = parser.parse_args()
    if not begin():
        return 77
    return run_tests([
        ("snapshots", lambda f: snapshots(f, args.build, args.snapshots, args.seed)),
    ], "snapshots")


if __name__ == "__main__":
    sys.exit(main())
