"""Test images and their manifests, for scripts that compare a filesystem with what is known of it.

A collection of images is a folder with NAME.img.zst (or NAME.vol0.img.zst, NAME.vol1.img.zst ...),
NAME.jsonl (or NAME.jsonl.zst) and damaged/ID.json; tests/fixtures is a small one that belongs to
the project. What is needed of an image is unpacked into a temporary folder and removed when it has
been used, so that one image at a time lies on the disk.

Paths and symlink targets are bytes here: names on the media need not be UTF-8.
"""

import argparse
import contextlib
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKOUT = os.path.dirname(os.path.dirname(HERE))
FIXTURES = os.path.join(CHECKOUT, "tests", "fixtures")
COLLECTION = os.path.join(os.path.dirname(CHECKOUT), "shared", "images")

# What the full collection holds, to be able to say what was left out.
ALL_IMAGES = (
    "mk-4hdr", "mk-bigdir", "mk-data", "mk-deep", "mk-grow", "mk-links", "mk-names", "mk-pfs",
    "mk-sizes-autozero", "mk-sizes-lz4", "mk-sizes-none", "mk-sizes-zlib", "mk-uid1000", "mk-v1",
    "new-10g-boot", "new-1g-root", "new-24m", "new-2vol", "new-3g-labels", "new-3vol",
    "new-bootaux", "new-v1-1g", "vfs-2hdr", "vfs-2vol", "vfs-bulkfree", "vfs-checks", "vfs-churn",
    "vfs-crash", "vfs-full", "vfs-hugesparse", "vfs-inodes", "vfs-manypfs", "vfs-meta",
    "vfs-snap")
ALL_DAMAGED = (
    "bref-bad-type", "data-flip", "data-flip-nocheck", "data-off-out-of-range",
    "hdr-byteswapped-magic", "hdr-newest-crc-sect0", "hdr-newest-crc-sect1", "hdr-newest-magic",
    "hdr-only-bad", "hdr-version-99", "hdr-whole-crc", "indirect-flip", "inode-flip",
    "lz4-garbage", "lz4-size-field", "multi-missing-volume", "multi-swapped",
    "multi-wrong-count", "topology-loop", "truncated-image")

# Fields that say which object a record is about; all others are compared.
ENTRY_NAMES = ("record", "pfs", "path", "path_hex")
DIFFERENCES_SHOWN = 20


class Failure(Exception):
    """Something that cannot be judged further: a command that failed, a file that is missing."""


class Tally:
    """One line for each image, and the totals."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def result(self, name, problems, remark=""):
        """Say how an image fared; problems is a list of texts, empty for a pass."""
        if not problems:
            self.passed += 1
            print(f"ok       {name}{': ' + remark if remark else ''}", flush=True)
            return
        self.failed += 1
        print(f"FAILED   {name}: {len(problems)} problem{'s' if len(problems) > 1 else ''}")
        for problem in problems[:DIFFERENCES_SHOWN]:
            print(f"    {problem}")
        if len(problems) > DIFFERENCES_SHOWN:
            print(f"    ... and {len(problems) - DIFFERENCES_SHOWN} more")
        sys.stdout.flush()

    def skip(self, name, why):
        self.skipped += 1
        print(f"SKIPPED: {name}: {why}", flush=True)

    def finish(self):
        """Print the last line; the exit status."""
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped", flush=True)
        return 1 if self.failed else 0


def arguments(description):
    """Parse the command line that all scripts share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--build", default=os.path.join(CHECKOUT, "build"), metavar="DIR",
                        help="build directory (default: build in the checkout)")
    parser.add_argument("--images", default=None, metavar="DIR",
                        help="collection of images (default: ../shared/images beside the checkout; "
                        "the fixtures of the project where that is missing)")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these")
    return parser.parse_args()


def program(build, name):
    """The path of a program of the build, or None."""
    for folder in ("bin", "cmd", "fuse", os.path.join("tests", "golden")):
        path = os.path.join(build, folder, name)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return None


class Collection:
    """The images of a folder."""

    def __init__(self, args):
        self.names = args.names
        folder = args.images or COLLECTION
        self.full = os.path.isdir(folder)
        if not self.full and args.images:
            raise SystemExit(f"{args.images}: no such folder; give the folder of the images")
        self.folder = folder if self.full else FIXTURES
        if not self.full:
            print(f"NOTE: there is no collection of images in {os.path.relpath(folder, CHECKOUT)}; "
                  f"only the fixtures of the project are used", flush=True)

    def select(self, tally, found, known):
        """The names to work on: those asked for, or all that were found; the rest is named."""
        if self.names:
            for name in self.names:
                if name not in found and name in known:
                    tally.skip(name, f"not in {os.path.relpath(self.folder, CHECKOUT)}")
                elif name not in found:
                    tally.result(name, ["there is no such image"])
            return [name for name in found if name in self.names]
        for name in known:
            if name not in found:
                tally.skip(name, "not in the collection" if self.full else
                           "not among the fixtures")
        return found

    def images(self, tally):
        found = set()
        for path in glob.glob(os.path.join(self.folder, "*.img.zst")):
            found.add(os.path.basename(path).split(".")[0])
        return self.select(tally, sorted(found), ALL_IMAGES)

    def damaged(self, tally):
        """Descriptions of the damaged variants, by id."""
        cases = {}
        for path in sorted(glob.glob(os.path.join(self.folder, "damaged", "*.json"))):
            with open(path, encoding="utf-8") as file:
                case = json.load(file)
            cases[case["id"]] = case
        return [cases[name] for name in self.select(tally, list(cases), ALL_DAMAGED)]

    def volume_files(self, name):
        single = os.path.join(self.folder, name + ".img.zst")
        if os.path.exists(single):
            return [single]
        paths = []
        while os.path.exists(os.path.join(self.folder, f"{name}.vol{len(paths)}.img.zst")):
            paths.append(os.path.join(self.folder, f"{name}.vol{len(paths)}.img.zst"))
        if not paths:
            raise Failure(f"{name}: there is no such image")
        return paths

    @contextlib.contextmanager
    def unpacked(self, name):
        """The paths of the volumes of an image, for as long as the context lasts."""
        folder = os.path.realpath(tempfile.mkdtemp(prefix="hammer2-golden-"))
        try:
            volumes = []
            for packed in self.volume_files(name):
                volume = os.path.join(folder, os.path.basename(packed)[:-len(".zst")])
                done = subprocess.run(["zstd", "-d", "-q", "--sparse", packed, "-o", volume],
                                      capture_output=True, text=True, check=False)
                if done.returncode:
                    raise Failure(f"unpacking failed: {done.stderr.strip()}")
                volumes.append(volume)
            yield volumes
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def manifest(self, name):
        """The records of a manifest."""
        path = os.path.join(self.folder, name + ".jsonl")
        if os.path.exists(path):
            with open(path, "rb") as file:
                text = file.read()
        else:
            done = subprocess.run(["zstd", "-d", "-q", "-c", path + ".zst"], capture_output=True,
                                  check=False)
            if done.returncode:
                raise Failure(f"no manifest: {done.stderr.decode(errors='replace').strip()}")
            text = done.stdout
        return records(text)


def records(text):
    """Records from JSON lines."""
    result = []
    for number, line in enumerate(text.split(b"\n"), 1):
        if not line:
            continue
        try:
            result.append(json.loads(line))
        except ValueError as error:
            raise Failure(f"line {number} is not JSON ({error}): {line[:200]!r}") from error
    return result


def field_bytes(record, field):
    """A path or target as bytes; None where the record has none."""
    if field + "_hex" in record:
        return bytes.fromhex(record[field + "_hex"])
    if field in record:
        return record[field].encode()
    return None


def show_path(pfs, path):
    return f"{pfs}:{path.decode(errors='backslashreplace')}"


class Contents:
    """Records, by what they are about."""

    def __init__(self, items):
        self.image = {}
        self.pfs = {}
        self.entries = {}
        self.errors = []
        self.duplicates = []
        for item in items:
            self._add(item)

    def _add(self, item):
        kind = item["record"]
        if kind == "pfs":
            table, key = self.pfs, item.get("label", item.get("label_hex"))
        elif kind == "entry":
            table, key = self.entries, (item["pfs"], field_bytes(item, "path"))
        elif kind == "error":
            self.errors.append(item)
            return
        elif kind == "image":
            self.image = item
            return
        else:
            raise Failure(f"record of unknown kind {kind}")
        if key in table:
            self.duplicates.append(f"{kind} {key} appears twice")
        table[key] = item

    def error_texts(self):
        return [show_error(error) for error in self.errors]


def show_error(error):
    where = error.get("pfs", "")
    path = field_bytes(error, "path")
    if path is not None:
        where = show_path(where, path)
    number = error.get("errno", 0)
    at = f" at {error['offset']}" if "offset" in error else ""
    return f"{where}: {error.get('op')}{at} failed: {os.strerror(number)} ({number})"


def shorten(value):
    text = json.dumps(value)
    return text if len(text) <= 160 else text[:150] + "... (" + str(len(text)) + " characters)"


def compare_fields(what, expected, found, ignore=()):
    """Each field that is not in both with one value."""
    problems = []
    for field in sorted(set(expected) | set(found)):
        if field in ignore:
            continue
        if field not in expected:
            problems.append(f"{what}: {field}: unexpected, {shorten(found[field])}")
        elif field not in found:
            problems.append(f"{what}: {field}: missing, expected {shorten(expected[field])}")
        elif expected[field] != found[field]:
            problems.append(f"{what}: {field}: found {shorten(found[field])}, "
                            f"expected {shorten(expected[field])}")
    return problems


def compare_contents(expected, found, affected=lambda pfs, path: False, ignore=()):
    """Differences of two Contents, without the entries that affected() selects.

    Errors are not looked at here. ignore names fields of entries that are not compared.
    """
    problems = list(found.duplicates)
    if "volume" in expected.image and "volume" in found.image:
        # Version 1 has no such members; what stands there may be made up from others.
        ignore_volume = ("nvolumes", "total_size") if expected.image["volume"]["version"] == 1 \
            else ()
        problems += compare_fields("volume header", expected.image["volume"],
                                   found.image["volume"], ignore_volume)
    for label in sorted(set(expected.pfs) | set(found.pfs)):
        if label not in found.pfs:
            problems.append(f"PFS {label}: missing")
        elif label not in expected.pfs:
            problems.append(f"PFS {label}: unexpected")
        else:
            problems += compare_fields(f"PFS {label}", expected.pfs[label], found.pfs[label])
    for key in sorted(set(expected.entries) | set(found.entries)):
        if affected(*key):
            continue
        if key not in found.entries:
            problems.append(f"{show_path(*key)}: missing")
        elif key not in expected.entries:
            problems.append(f"{show_path(*key)}: unexpected")
        else:
            problems += compare_fields(show_path(*key), expected.entries[key],
                                       found.entries[key], ENTRY_NAMES + tuple(ignore))
    return problems


class Done:
    """How a command ended."""

    def __init__(self, returncode, stdout, stderr):
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr


def run(command, seconds):
    """Run a command; a Failure where a signal or the time limit ended it.

    Its output goes to files, not to pipes: a daemon that it leaves behind may keep them open.
    """
    name = os.path.basename(command[0])
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        try:
            status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=stdout,
                                    stderr=stderr, timeout=seconds, check=False).returncode
        except subprocess.TimeoutExpired as error:
            raise Failure(f"{name} did not end within {seconds} seconds") from error
        stdout.seek(0)
        stderr.seek(0)
        done = Done(status, stdout.read(), stderr.read())
    said = done.stderr.decode(errors="replace").strip()[:2000]
    if done.returncode < 0:
        raise Failure(f"{name} was ended by signal {-done.returncode}: {said}")
    # A sanitizer ends a program with a status, not with a signal.
    if "Sanitizer" in said or "runtime error:" in said:
        raise Failure(f"{name} was ended by a sanitizer: {said}")
    return done


def output_lines(done, count=5):
    """The first lines that a command printed, to show with a failure."""
    text = (done.stderr + done.stdout).decode(errors="replace").strip()
    return " | ".join(text.split("\n")[:count])
