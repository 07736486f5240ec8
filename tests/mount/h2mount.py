"""
What the tests of writable mounts share: volumes whose server can be killed, mounts of their own, and
how tests are run and counted.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

PRIVATE = "HAMMER2_TEST_PRIVATE_MOUNTS"  # set in the process that has mounts of its own
WAIT_SECONDS = 60
CHECK_SECONDS = 300


class Failure(Exception):
    pass


class Skip(Exception):
    pass


def check(condition, text):
    if not condition:
        raise Failure(text)


def run(*command, seconds=WAIT_SECONDS):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds,
                              errors="replace", check=False)
    except subprocess.TimeoutExpired:
        raise Failure(f"{' '.join(command)}: not done within {seconds} s")
    tail = "\n     ".join((done.stdout + done.stderr).strip().splitlines()[-15:])
    check(done.returncode == 0, f"{' '.join(command)}: exit code {done.returncode}\n     {tail}")
    return done


# ---- volumes ----

class Volume:
    """A volume with its server, which runs in the foreground so that its end is seen."""

    def __init__(self, name, folder, build, sizes, device=False):
        self.name = name
        self.bin = os.path.join(os.path.abspath(build), "bin")
        self.folder = os.path.join(folder, name)
        self.root = os.path.join(self.folder, "mnt")
        self.log = os.path.join(self.folder, "server.log")
        os.makedirs(self.root)
        self.files = [os.path.join(self.folder, f"volume{i}") for i in range(len(sizes))]
        self.device = None
        self.server = None
        self.damaged = set() # header copies, as the last check has found them
        self.torn = 0        # how many have been
        for path, size in zip(self.files, sizes):
            with open(path, "wb") as f:
                f.truncate(size)
        if device:
            done = subprocess.run(["losetup", "-f", "--show", self.files[0]], capture_output=True,
                                  text=True, check=False)
            if done.returncode:
                raise Skip(f"no loop device: {done.stderr.strip()}")
            self.device = done.stdout.strip()
        self.spec = self.device or ":".join(self.files)
        run(os.path.join(self.bin, "mkfs.hammer2"), "-q", "-L", "DATA",
            *([self.device] if self.device else self.files))

    def start(self, *options):
        """Begin to mount."""
        with open(self.log, "w") as log:
            self.server = subprocess.Popen(
                [os.path.join(self.bin, "mount.hammer2"), "-f", self.spec + "@DATA", self.root,
                 *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)

    def said(self):
        with open(self.log, errors="replace") as f:
            return "\n     ".join(f.read().strip().splitlines()[-15:])

    def alive(self):
        check(self.server.poll() is None,
              f"the server has ended by itself with {self.server.returncode}\n     {self.said()}")

    def mount(self, *options):
        self.start(*options)
        deadline = time.monotonic() + WAIT_SECONDS
        while not os.path.ismount(self.root):
            self.alive()
            check(time.monotonic() < deadline, f"mounting: not within {WAIT_SECONDS} s")
            time.sleep(0.005)

    def kill(self):
        """Returns the moment."""
        moment = time.monotonic()
        self.server.kill()
        self.server.wait(WAIT_SECONDS)
        self.server = None
        return moment

    def detach(self):
        """Unmount what a killed server has left."""
        deadline = time.monotonic() + WAIT_SECONDS
        while self.is_mounted():
            if subprocess.run(["umount", self.root], stderr=subprocess.DEVNULL,
                              check=False).returncode:
                check(time.monotonic() < deadline, "the dead mount stays busy")
                time.sleep(0.05)

    def is_mounted(self):
        with open("/proc/self/mounts") as f:
            return any(line.split(" ")[1] == self.root for line in f)

    def unmount(self):
        run("umount", self.root)
        check(self.server.wait(WAIT_SECONDS) == 0, f"the server's exit code\n     {self.said()}")
        self.server = None

    def fsck(self, killed=False):
        """
        Nothing may be wrong. But a kill can end the writing of a header in its midst, as a power
        failure does: one copy may be damaged then, until its turn comes again.
        """
        command = [os.path.join(self.bin, "fsck.hammer2"), "--strict", "--json", self.spec]
        done = subprocess.run(command, capture_output=True, text=True, timeout=CHECK_SECONDS,
                              check=False)
        findings = [f for f in map(json.loads, done.stdout.splitlines())
                    if f.get("severity") in ("fault", "warning")]
        damaged = {(f["code"], f.get("media")) for f in findings if f["code"] == "header-damaged"}
        others = [f for f in findings
                  if f["code"] not in ("header-damaged", "header-copy", "header-backup")]
        fine = not findings and done.returncode == 0 or killed and not others and \
            done.returncode == 4 and len(damaged - self.damaged) <= 1
        check(fine, f"fsck.hammer2: exit code {done.returncode} {done.stderr}\n     " +
              "\n     ".join(f"{f['code']}: {f.get('message')}" for f in findings[:20]))
        self.torn += len(damaged - self.damaged)
        self.damaged = damaged

    def clean(self):
        if self.server:
            self.server.kill()
        subprocess.run(["umount", "-l", self.root], stderr=subprocess.DEVNULL, check=False)
        if self.device:
            subprocess.run(["losetup", "-d", self.device], check=False)


# ---- running ----

def private_mounts():
    """
    Nobody else sees the mounts, and they go with the process: the program runs itself once more. A
    chroot may not allow it.
    """
    if PRIVATE in os.environ:
        return
    command = ["unshare", "-m", "--propagation", "private"]
    if shutil.which("unshare") and not subprocess.run([*command, "true"], check=False,
                                                      capture_output=True).returncode:
        os.environ[PRIVATE] = "1"
        os.execvp("unshare", [*command, sys.executable, *sys.argv])
    print("no private mount namespace here: the mounts can be seen by others")


def begin():
    """Whether there is what the tests need; then in mounts of its own."""
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        print("SKIP everything: not root, or no /dev/fuse\n0 passed, 0 failed, 1 skipped")
        return False
    private_mounts()
    return True


def run_tests(tests, prefix):
    """
    Call each of the pairs of a name and a function, with a folder. Returns the exit code: 0, 1 or
    77 (skipped, for meson).
    """
    passed = failed = skipped = 0
    for name, test in tests:
        folder = tempfile.mkdtemp(prefix=f"hammer2-{prefix}-")
        start = time.monotonic()
        try:
            test(folder)
            passed += 1
            print(f"ok   {name} ({time.monotonic() - start:.1f} s)")
        except Skip as e:
            skipped += 1
            print(f"SKIP {name}: {e}")
        except (Failure, OSError, subprocess.SubprocessError) as e:
            failed += 1
            print(f"FAIL {name}: {e}")
            if not isinstance(e, Failure):
                traceback.print_exc(file=sys.stdout)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        sys.stdout.flush()
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0 if passed else 77
