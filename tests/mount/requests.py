#!/usr/bin/env python3
"""
Requests to a mounted filesystem that take long: each of them is started, watched, cancelled, and
loses its client or its server in its middle; each waits for others, and others for it. What is
not told to be done has not happened, and everything else goes on.

The server's device is as slow as slow.c makes it, so that there is a middle. Needs root and
/dev/fuse. Ends with "N passed, N failed, N skipped"; exits with 1 if any failed, and with 77
(skipped, for meson) if nothing could be run.
"""

import fcntl
import mmap
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

import mount_cli
from admin import Tool, ioc
from mount_cli import Failure, check, equal, wait_for

DIRS, FILES = 5, 500  # below /top; in each
SIZE, STEP = 1 << 30, 16 << 20
READ_US, FLUSH_US = 5000, 500000  # of a slow device
SOON = 3  # seconds; what is not cancelled takes longer


class Status:
    """HAMMER2IOC_STATUS."""

    def __init__(self, point):
        buf = bytearray(256)
        fd = os.open(point, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, ioc(256, 0xf4, 0x48), buf)
        finally:
            os.close(fd)
        (self.total, self.free, self.waiting, self.lost, self.bytes,
         self.expected) = struct.unpack_from("<6Q", buf)


class Bed:
    """A filesystem, mounted from a device whose speed can be changed."""

    def __init__(self, t):
        self.t, self.h, self.count = t, Tool(t), 0
        self.image = os.path.join(t.dir, "bed.new")
        subprocess.run(["cp", "--sparse=always", master(t), self.image], check=True)
        self.size = SIZE
        path = os.path.join(t.dir, "slowness")
        with open(path, "w+b") as f:
            f.truncate(32)
            self.map = mmap.mmap(f.fileno(), 32)
        self.env = dict(os.environ, HAMMER2_TEST_SLOW=path, LD_PRELOAD=os.path.join(
            os.path.dirname(t.bin), "tests", "mount", "slow.so"))
        self.mount()
        # So that none begins by itself.
        self.h("bulkfree", self.point)
        check(struct.unpack_from("<Q", self.map, 16)[0] > FILES, "slow.so does not see the reads")

    def mount(self):
        self.point = self.t.point()
        done = self.t.run(self.image + "@DATA", self.point, "-o", "cache=4096", env=self.env)
        equal((done.returncode, done.stderr), (0, ""), "mounting")

    def slow(self, read_us=READ_US, flush_us=0):
        struct.pack_into("<2Q", self.map, 0, read_us, flush_us)

    def fast(self):
        self.slow(0, 0)

    def flushes(self):
        return struct.unpack_from("<Q", self.map, 24)[0]

    def new(self):
        self.count += 1
        return self.count

    def state(self):
        return self.h.labels(self.point), os.path.getsize(self.image), Status(self.point).total

    def idle(self):
        wait_for(lambda: Status(self.point).expected == 0, "the end of what was cancelled", SOON)


def master(t):
    """The image that all tests begin with."""
    path = os.path.join(t.dir, "master.img")
    if os.path.exists(path):
        return path
    source = os.path.join(t.dir, "source")
    for i in range(DIRS):
        os.makedirs(f"{source}/top/d{i}")
        for j in range(FILES):
            open(f"{source}/top/d{i}/f{j}", "w").close()
    subprocess.run([os.path.join(t.bin, "mkfs.hammer2"), "-q", "-L", "DATA", "-d", source, "-s",
                    str(SIZE), path], check=True, timeout=60)
    shutil.rmtree(source)
    return path


# ---- the requests ----

NAMES = DIRS * (FILES + 1) + 1  # below the root, or below /top with it


class Request:
    what = None      # on the line of progress
    cmd = None       # of its ioctl
    whole = False    # once it has begun it is done to the end
    expects = True   # it knows how much there is to do
    done = None      # a regular expression of what it says

    def __init__(self, bed):
        self.bed = bed
        self.args = self.arguments(bed)

    def slow(self):
        self.bed.slow()

    def begun(self, before):
        """Whether it has come to its middle; before: what flushes() was."""
        status = Status(self.bed.point)
        return status.bytes > 0 and status.expected > 0

    def check(self, out):
        """What it has said is true."""
        check(re.search(self.done, out), f"{self.name} says {out[:500]!r}")


class Bulkfree(Request):
    name = what = "bulkfree"
    cmd = ioc(64, 92)
    done = r": \S+ freed; \d+ blocks in use"
    cancelled = "bulkfree was interrupted; nothing has changed"

    def arguments(self, bed):
        return ["bulkfree", bed.point]


class Usage(Request):
    name = what = "usage"
    cmd = ioc(8, 0xf6, 0x48)
    done = r"MASTER +DATA"
    cancelled = "measuring was interrupted"

    def arguments(self, bed):
        return ["info", "--usage", bed.point]


class Diff(Request):
    name = what = "diff"
    expects = False
    cmd = ioc(520, 0xf5, 0x48)
    cancelled = "diff was interrupted"

    def arguments(self, bed):
        return ["-s", bed.point, "diff", "LOCAL", "DATA"]

    def check(self, out):
        equal(out.count("\n"), NAMES + 1, "how many differences")


class Snapshot(Request):
    name = what = "snapshot"
    cmd = ioc(256, 0xf8, 0x48)
    cancelled = "Interrupted system call: it was interrupted; nothing has changed"

    def arguments(self, bed):
        self.label = f"snap{bed.new()}"
        return ["snapshot", bed.point + "/top", self.label]

    def check(self, out):
        bed = self.bed
        equal(out, f"created snapshot {self.label} of directory {bed.point}/top\n", "what it says")
        equal(bed.h("-s", bed.point, "diff", "LOCAL", self.label).count("\n"), NAMES,
              "names in the snapshot")


class Growfs(Request):
    name, what = "growfs", "waiting"
    cmd = ioc(72, 96)
    whole = True
    cancelled = "growfs was interrupted; nothing has changed"

    def arguments(self, bed):
        bed.size += STEP
        self.size = bed.size
        return ["growfs", "--size", str(bed.size), bed.point]

    def slow(self):
        self.bed.slow(0, FLUSH_US)

    def begun(self, before):
        return self.bed.flushes() > before

    def check(self, out):
        equal(out, f"{self.bed.point} grown to {self.size:016x}\n", "what it says")


REQUESTS = (Bulkfree, Usage, Diff, Snapshot, Growfs)


class Client:
    """A process that asks for it; in its ioctl, when this returns, unless it is one of many."""

    def __init__(self, request, stderr=None, many=False):
        bed = request.bed
        self.request, self.out = request, tempfile.TemporaryFile("w+")
        self.err = None if stderr else tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([bed.h.program, *request.args], stdout=self.out,
                                        stderr=stderr or self.err)
        wait_for(lambda: many or self.is_asking() or not self.runs(), f"the ioctl of {request.args}")

    def is_asking(self):
        with open(f"/proc/{self.process.pid}/syscall") as f:
            words = f.read().split()
        return len(words) > 2 and int(words[2], 16) & 0xffffffff == self.request.cmd

    def runs(self):
        return self.process.poll() is None

    def end(self, code, seconds=30):
        """What it has written, when it has ended."""
        try:
            found = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failure(f"{self.request.args}: has not ended within {seconds} s")
        for file in filter(None, (self.out, self.err)):
            file.seek(0)
        out, err = self.out.read(), self.err and self.err.read()
        equal(found, code, f"exit code of {self.request.args} ({err})")
        return out, err


def run(request):
    client = Client(request)
    out, err = client.end(0)
    equal(err, "", f"what {request.args} says on stderr")
    request.check(out)


def start_slowly(request):
    """A client whose request is in its middle."""
    before = request.bed.flushes()
    request.slow()
    client = Client(request)
    wait_for(lambda: request.begun(before) or not client.runs(), f"the middle of {request.args}")
    check(client.runs(), f"{request.args} has ended before its middle")
    return client


# ---- what befalls them ----

def success(bed, kind):
    run(kind(bed))


def progress(bed, kind):
    """On a terminal, and by HAMMER2IOC_STATUS."""
    holder = start_slowly(Bulkfree(bed)) if kind.whole else None
    terminal, side = pty.openpty()
    try:
        bed.slow()
        with os.fdopen(side, "wb", buffering=0) as err:
            client = Client(kind(bed), err)
        wait_for(lambda: Status(bed.point).bytes > 0, "progress by ioctl")
        first = Status(bed.point).bytes
        wait_for(lambda: Status(bed.point).bytes > first, "more of it")
        check(not kind.expects or Status(bed.point).expected > first, "what is expected")
        line = rb"\r%s: \S+%s, \S+/s\x1b\[K" % (kind.what.encode(),
                                                rb" of \S+ \(\d+ %\)" if kind.expects else b"")
        text, deadline = b"", time.monotonic() + 10
        while not re.search(line, text):
            check(time.monotonic() < deadline and client.runs(), f"on the terminal: {text}")
            if select.select([terminal], [], [], 0.1)[0]:
                text += os.read(terminal, 4096)
        bed.fast()
        if holder:
            holder.end(0)
        client.request.check(client.end(0)[0])
        while select.select([terminal], [], [], 0)[0]:
            try:
                text += os.read(terminal, 4096)
            except OSError:
                break
        check(text.endswith(b"\r\x1b[K"), f"the line stays: {text[-100:]}")
    finally:
        bed.fast()
        os.close(terminal)


def cancel(bed, kind):
    """The command ends soon, and says so; then everything is as before, and it works."""
    bed.h("bulkfree", bed.point)
    before, free = bed.state(), Status(bed.point).free
    for number in (signal.SIGINT, signal.SIGTERM):
        client = start_slowly(kind(bed))
        client.process.send_signal(number)
        if kind.whole:
            client.request.check(client.end(0)[0])
            continue
        out, said = client.end(1, SOON)
        equal(out, "", f"what {client.request.args} says")
        check(kind.cancelled in said, f"{client.request.args}: {said}")
        bed.fast()
        bed.idle()
        equal(bed.state(), before, "PFSs and sizes")
    bed.fast()
    bed.h("bulkfree", bed.point)
    lost = free - Status(bed.point).free
    check(lost < 1 << 20, f"{lost} bytes have not come back")
    run(kind(bed))


def client_dies(bed, kind):
    before = bed.state()
    client = start_slowly(kind(bed))
    client.process.kill()
    if kind.whole:
        client.end(-signal.SIGKILL)
        bed.fast()
        bed.idle()
    else:
        client.end(-signal.SIGKILL, SOON)
        bed.fast()
        bed.idle()
        equal(bed.state(), before, "PFSs and sizes")
    start = time.monotonic()
    for other in REQUESTS:
        run(other(bed))
    check(time.monotonic() - start < 10, "other requests have to wait")


def waiting(bed, kind):
    """Who waits for another one can be cancelled and killed, and the other goes on."""
    before = bed.state()
    holder = start_slowly(Usage(bed))
    for number, code in ((signal.SIGINT, 1), (signal.SIGKILL, -signal.SIGKILL)):
        client = Client(kind(bed))
        time.sleep(0.1)
        client.process.send_signal(number)
        said = client.end(code, SOON)[1]
        check(code < 0 or kind.cancelled in said, f"{client.request.args}: {said}")
    check(holder.runs(), "the one that it waited for was too fast")
    bed.fast()
    holder.request.check(holder.end(0)[0])
    equal(bed.state(), before, "PFSs and sizes")


def two_at_once(bed, kind):
    first = start_slowly(kind(bed))
    second = Client(kind(bed))
    check(first.runs() and second.runs(), "one has ended before the device was fast")
    bed.fast()
    for client in first, second:
        client.request.check(client.end(0)[0])


def server_dies(bed, kind):
    """The client ends at once with an error; what it was about to do has not been done by halves."""
    before = bed.state()
    client = start_slowly(kind(bed))
    os.kill(bed.t.server(), signal.SIGKILL)
    out, said = client.end(1, SOON)
    equal(out, "", f"what {client.request.args} says")
    check("the server of the mount has ended" in said, f"{client.request.args}: {said}")
    check("unmount it" in bed.h("-s", bed.point, "pfs-list", expect=1), "a mount without a server")
    subprocess.run(["umount", "-l", bed.point], check=True)
    bed.t.gone()
    bed.fast()
    done = subprocess.run([os.path.join(bed.t.bin, "fsck.hammer2"), bed.image], text=True,
                          capture_output=True, timeout=60)
    # It may have been writing a copy of the header; the next commits write others.
    check(done.returncode == 0 or "header" in done.stdout, f"fsck.hammer2: {done.stdout[-2000:]}")
    bed.mount()
    labels, _, total = bed.state()
    equal(labels, before[0], "PFSs")
    if not kind.whole:
        equal(total, before[2], "size")
    run(kind(bed))


SCENARIOS = (success, progress, cancel, client_dies, waiting, two_at_once, server_dies)


def all_of(kind):
    def test(t):
        bed = Bed(t)
        for scenario in SCENARIOS:
            try:
                scenario(bed, kind)
            except (Failure, OSError, subprocess.SubprocessError) as e:
                bed.fast()
                raise Failure(f"{scenario.__name__}: {e}")
        t.umount(bed.point)
        t.fsck(bed.image)
    return test


def test_many_at_once(t):
    """More than the server has threads: others are answered nevertheless, and all come to their turn."""
    bed = Bed(t)
    holder = start_slowly(Usage(bed))
    clients = [Client(kind(bed), many=True) for _ in range(5) for kind in (Bulkfree, Diff, Usage)]
    time.sleep(0.5)
    for name in "d0", "missing":
        subprocess.run(["ls", f"{bed.point}/top/{name}"], timeout=SOON, capture_output=True)
    for number, code in ((signal.SIGINT, 1), (signal.SIGKILL, -signal.SIGKILL)):
        client = clients.pop()
        client.process.send_signal(number)
        client.end(code, SOON)
    check(holder.runs(), "the one that they wait for was too fast")
    bed.fast()
    for client in holder, *clients:
        client.request.check(client.end(0)[0])
    t.umount(bed.point)
    t.fsck(bed.image)


def test_results_that_nobody_reads(t):
    """More of them than are kept: who reads the result, gets it nevertheless."""
    bed = Bed(t)
    for _ in range(12):
        fd = os.open(bed.point, os.O_RDONLY)
        try:
            request = bytearray(520)
            request[:5], request[256:260] = b"LOCAL", b"DATA"
            fcntl.ioctl(fd, Diff.cmd, request)
        finally:
            os.close(fd)
    run(Diff(bed))
    t.umount(bed.point)
    t.fsck(bed.image)


if __name__ == "__main__":
    sys.exit(mount_cli.main({**{"test_" + kind.name: all_of(kind) for kind in REQUESTS},
                             "test_many_at_once": test_many_at_once,
                             "test_results_that_nobody_reads": test_results_that_nobody_reads}))
