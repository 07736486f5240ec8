#!/usr/bin/env python3
"""Read damaged variants of the images and see that the damage stays where it is.

For each damaged/ID.json: make the variant, read all of it with golden-dump, and judge the outcome
by the table CASES: volumes that must be refused are refused; elsewhere everything that the damage
does not touch equals the manifest, and what it does touch gives errors, never other data than the
undamaged image has. fsck.hammer2 must find the damage and name it. Nothing may crash or hang.

"random-flips" changes bytes at random in an image whose blocks all have check codes: whatever is
read without an error must be what the undamaged image has, and fsck.hammer2 must find faults where
a reader got errors. Its seed is printed; the variable HAMMER2_SEED repeats it.
"""

import errno
import os
import random
import re
import sys

import h2images
from h2images import Collection, Contents, Failure, Tally, field_bytes, show_path

SECONDS_MAX = 60
BLOCK = 65536
FSCK_FAULTS = 4
FSCK_REFUSED = 8
# What damage may be reported as; anything else is an answer about something else.
DAMAGE_ERRNOS = {errno.EIO, errno.EUCLEAN, errno.EBADMSG, errno.ERANGE, errno.ENXIO, errno.ELOOP}
RANDOM_NAME = "random-flips"
RANDOM_BASES = ("vfs-full", "vfs-meta")  # files with blocks; many inodes and names
RANDOM_ROUNDS = 60
RANDOM_FLIPS_MAX = 12
CONTENT_FIELDS = ("sha256", "block_sha256", "extents", "blocks", "good_blocks")


class Case:
    """How to judge a variant.

    outcome: "refused"; "same" (as the manifest); "confined" (see bad); "changed" (the data of the
    affected file is delivered, but is not what the manifest says); or "either" (refused or
    confined, without a bound on what is affected).
    bad: in each affected file, the byte range [first, last) that has to give errors; None: all of
    it. "inode": the file has a name and no attributes. "listing": entries below the path are
    missing, and the directory says so.
    naming: what fsck.hammer2 has to say; None: it has nothing to find.
    """

    def __init__(self, outcome, naming, bad=None):
        self.outcome = outcome
        self.naming = naming
        self.bad = bad


CASES = {
    "bref-bad-type": Case("confined", r"/r07\b.*type", (0, BLOCK)),
    "data-flip": Case("confined", r"/a\b.*data.*check code", (BLOCK, 2 * BLOCK)),
    "data-flip-nocheck": Case("changed", None),
    "data-off-out-of-range": Case("confined", r"/r01\b.*(offset|data_off)", (0, BLOCK)),
    "hdr-byteswapped-magic": Case("refused", r"byte order|endian"),
    "hdr-newest-crc-sect0": Case("same", r"header.*(check|crc)"),
    "hdr-newest-crc-sect1": Case("same", r"header.*(check|crc)"),
    "hdr-newest-magic": Case("same", r"header.*magic"),
    "hdr-only-bad": Case("refused", r"header.*(check|crc)"),
    "hdr-version-99": Case("refused", r"version"),
    "hdr-whole-crc": Case("either", r"header.*(check|crc)"),
    "indirect-flip": Case("confined", r"/d5\b.*indirect.*check code", "listing"),
    "inode-flip": Case("confined", r"/own/f3\b.*inode", "inode"),
    "lz4-garbage": Case("confined", r"/n10\b.*decompress", (0, BLOCK)),
    "lz4-size-field": Case("confined", r"/n11\b.*decompress", (0, BLOCK)),
    "multi-missing-volume": Case("refused", r"2 volumes.*1 "),
    "multi-swapped": Case("same", None),
    "multi-wrong-count": Case("refused", r"number of volumes|volumes.*given"),
    "topology-loop": Case("confined", r"/r03\b.*(loop|ancestor)", None),
    "truncated-image": Case("either", r"33554432|truncated"),
}


def apply_damage(description, volumes):
    """Change the unpacked volumes; the paths to hand to the programs."""
    for patch in description.get("patches", []):
        with open(volumes[patch["volume"]], "r+b") as file:
            file.seek(patch["offset"])
            file.write(bytes.fromhex(patch["bytes"]))
    for cut in description.get("truncate", []):
        os.truncate(volumes[cut["volume"]], cut["size"])
    given = description.get("volumes_given", range(len(volumes)))
    return [volumes[i] for i in given]


class Affected:
    """Which entries the damage may touch: "PFS:/path", or "PFS:/path/*" for all below it."""

    def __init__(self, description):
        self.files = set()
        self.folders = set()
        for text in description.get("affects", {}).get("paths", []):
            pfs, path = text.split(":", 1)
            path = path.encode()
            if path.endswith(b"/*"):
                self.folders.add((pfs, path[:-2]))
            else:
                self.files.add((pfs, path))

    def __call__(self, pfs, path):
        if (pfs, path) in self.files:
            return True
        return any(pfs == folder[0] and path.startswith(folder[1] + b"/")
                   for folder in self.folders)

    def may_fail(self, pfs, path):
        """Whether an error about the path is in order."""
        return self(pfs, path) or (pfs, path) in self.folders


def errors_at(found, key):
    return [error for error in found.errors
            if (error.get("pfs"), field_bytes(error, "path")) == key]


def check_good_blocks(what, base, entry, bad):
    """No wrong byte, and no more blocks lost than the damage hit."""
    problems = []
    right = {offset: (length, digest) for offset, length, digest in base["good_blocks"]}
    good = {}
    for offset, length, digest in entry.get("good_blocks", []):
        good[offset] = (length, digest)
        if right.get(offset) != (length, digest):
            problems.append(f"{what}: WRONG DATA was delivered at offset {offset}")
    for offset in right:
        hit = bad is None or bad[0] <= offset < bad[1]
        if hit and offset in good:
            problems.append(f"{what}: the block at offset {offset} is damaged, but was read "
                            f"without an error")
        if not hit and offset not in good:
            problems.append(f"{what}: the block at offset {offset} is intact, but was not read")
    return problems


def check_file(key, base, found, bad):
    """A file of which a part cannot be read."""
    what = show_path(*key)
    if not errors_at(found, key):
        return [f"{what}: is damaged, but there was no error"]
    if bad == "inode":
        return []
    entry = found.entries.get(key)
    if entry is None:
        return [f"{what}: its attributes are intact, but it is missing"]
    problems = h2images.compare_fields(what, base.entries[key], entry,
                                       h2images.ENTRY_NAMES + CONTENT_FIELDS)
    return problems + check_good_blocks(what, base.entries[key], entry, bad)


def check_listing(folder, affected, base, found):
    """A directory of which a part cannot be listed: what is listed is right, and it says so."""
    what = show_path(*folder)
    problems = []
    if not any(error["op"] == "readdir" for error in errors_at(found, folder)):
        problems.append(f"{what}: listing it gave no error, although entries are missing")
    for key, entry in found.entries.items():
        if not affected(*key):
            continue
        if key not in base.entries:
            problems.append(f"{show_path(*key)}: unexpected")
        else:
            problems += h2images.compare_fields(show_path(*key), base.entries[key], entry)
    return problems


def check_errors(found, affected):
    """Errors only where the damage is, and of a kind that tells of damage."""
    problems = []
    for error in found.errors:
        path = field_bytes(error, "path")
        if path is None or not affected.may_fail(error.get("pfs"), path):
            problems.append(f"not affected by the damage: {h2images.show_error(error)}")
        elif error["errno"] not in DAMAGE_ERRNOS:
            problems.append(f"not an error that tells of damage: {h2images.show_error(error)}")
    return problems


def check_confined(affected, base, found, bad):
    problems = h2images.compare_contents(base, found, affected)
    problems += check_errors(found, affected)
    for key in sorted(affected.files):
        problems += check_file(key, base, found, bad)
    for folder in sorted(affected.folders):
        problems += check_listing(folder, affected, base, found)
    return problems


def check_changed(affected, base, found):
    """Damage that nothing can notice: the file is read, with other contents."""
    problems = h2images.compare_contents(base, found, affected) + found.error_texts()
    for key in sorted(affected.files):
        what = show_path(*key)
        if key not in found.entries:
            problems.append(f"{what}: missing")
            continue
        problems += h2images.compare_fields(what, base.entries[key], found.entries[key],
                                            h2images.ENTRY_NAMES + ("sha256", "good_blocks"))
        if found.entries[key].get("sha256") == base.entries[key]["sha256"]:
            problems.append(f"{what}: the changed byte was not delivered")
    return problems


def check_refused(done, found):
    problems = []
    if found.pfs or found.entries:
        problems.append("the volumes were to be refused, but were read")
    if done.returncode == 0:
        problems.append("golden-dump: exit 0 for volumes that were to be refused")
    if not found.errors:
        problems.append("golden-dump: refused without saying why")
    return problems


def check_anywhere(base, found):
    """Damage that may be anywhere: what is read is right, what is missing gave errors."""
    problems = list(found.duplicates)
    for label, record in found.pfs.items():
        if label not in base.pfs:
            problems.append(f"PFS {label}: unexpected")
        else:
            problems += h2images.compare_fields(f"PFS {label}", base.pfs[label], record)
    for key, entry in found.entries.items():
        what = show_path(*key)
        if key not in base.entries:
            problems.append(f"{what}: unexpected")
        elif errors_at(found, key):
            problems += h2images.compare_fields(what, base.entries[key], entry,
                                                h2images.ENTRY_NAMES + CONTENT_FIELDS)
            good = {tuple(block) for block in entry.get("good_blocks", [])}
            right = {tuple(block) for block in base.entries[key].get("good_blocks", [])}
            if not good <= right:
                problems.append(f"{what}: WRONG DATA was delivered")
        else:
            problems += h2images.compare_fields(what, base.entries[key], entry)
    missing = sum(1 for key in base.entries if key not in found.entries)
    if missing and not found.errors:
        problems.append(f"{missing} entries are missing, but there was no error")
    return problems


def judge_dump(case, description, base, dump, volumes):
    done = h2images.run([dump, "--blocks"] + volumes, SECONDS_MAX)
    found = Contents(h2images.records(done.stdout))
    affected = Affected(description)
    if case.outcome == "refused" or (case.outcome == "either" and done.returncode
                                     and not found.pfs):
        return check_refused(done, found)
    if case.outcome == "same":
        return h2images.compare_contents(base, found, ignore=("good_blocks",)) + found.error_texts()
    if case.outcome == "changed":
        return check_changed(affected, base, found)
    if case.outcome == "either":
        return check_anywhere(base, found)
    return check_confined(affected, base, found, case.bad)


def judge_fsck(case, fsck, volumes):
    done = h2images.run([fsck] + volumes, SECONDS_MAX)
    said = (done.stdout + done.stderr).decode(errors="replace")
    if case.naming is None:
        if done.returncode:
            return [f"fsck.hammer2: exit {done.returncode}, but there is nothing to find: "
                    f"{h2images.output_lines(done)}"]
        return []
    # A volume that is refused may be damaged as well as wrong.
    allowed = (FSCK_FAULTS,)
    if case.outcome in ("refused", "either"):
        allowed = (FSCK_FAULTS, FSCK_REFUSED)
    if done.returncode not in allowed:
        return [f"fsck.hammer2: exit {done.returncode}, expected "
                f"{' or '.join(map(str, allowed))}: {h2images.output_lines(done)}"]
    if not re.search(case.naming, said, re.IGNORECASE):
        return [f"fsck.hammer2: does not name the fault (no match for \"{case.naming}\"): "
                f"{h2images.output_lines(done)}"]
    return []


def base_contents(collection, case, description, dump):
    """What the variant is compared with: the manifest, or the undamaged image with its blocks."""
    name = description["base"]
    if case.outcome in ("refused", "same"):
        return Contents(collection.manifest(description.get("see_manifest", name)))
    with collection.unpacked(name) as volumes:
        done = h2images.run([dump, "--blocks"] + volumes, SECONDS_MAX)
    base = Contents(h2images.records(done.stdout))
    problems = base.error_texts() + h2images.compare_contents(
        Contents(collection.manifest(name)), base, ignore=("good_blocks",))
    if problems:
        raise Failure(f"the undamaged image {name} does not read as in its manifest "
                      f"({len(problems)} differences, such as {problems[0]})")
    return base


def check_case(collection, description, dump, fsck):
    case = CASES.get(description["id"])
    if case is None:
        return ["the table of this script has no such case"]
    problems = []
    base = base_contents(collection, case, description, dump)
    with collection.unpacked(description["base"]) as volumes:
        given = apply_damage(description, volumes)
        for judge in (lambda: judge_dump(case, description, base, dump, given),
                      lambda: judge_fsck(case, fsck, given) if fsck else []):
            try:
                problems += judge()
            except Failure as failure:
                problems.append(str(failure))
    return problems


def flip_bytes(path, chosen):
    """Change the bytes at the chosen offsets by the chosen masks; doing it twice undoes it."""
    with open(path, "r+b") as file:
        for offset, mask in chosen:
            file.seek(offset)
            value = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([value ^ mask]))


def used_offsets(path):
    """Where the volume has bytes other than zero, of its blocks a sample each."""
    offsets = []
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        for start in range(0, size, 1024):
            part = file.read(1024)
            offsets += [start + at for at in range(0, len(part), 7) if part[at]]
    return offsets


def check_random_round(command, fsck, volumes, base):
    """One set of flips: no wrong data, and fsck.hammer2 finds what a reader runs into."""
    done = h2images.run(command, SECONDS_MAX)
    found = Contents(h2images.records(done.stdout))
    problems = check_anywhere(base, found)
    if fsck is None:
        return problems
    done = h2images.run([fsck] + volumes, SECONDS_MAX)
    if done.returncode not in (0, FSCK_FAULTS, FSCK_REFUSED):
        problems.append(f"fsck.hammer2: exit {done.returncode}: {h2images.output_lines(done)}")
    if found.errors and done.returncode == 0:
        problems.append(f"fsck.hammer2: exit 0, but a reader finds {found.error_texts()[0]}")
    return problems


def check_random(collection, dump, fsck, name, seed):
    """Problems of the first round that has any."""
    rng = random.Random(seed)
    with collection.unpacked(name) as volumes:
        command = [dump, "--blocks"] + volumes
        base = Contents(h2images.records(h2images.run(command, SECONDS_MAX).stdout))
        offsets = used_offsets(volumes[0])
        for number in range(RANDOM_ROUNDS):
            chosen = {rng.choice(offsets): rng.randrange(1, 256)
                      for _ in range(rng.randrange(1, RANDOM_FLIPS_MAX + 1))}
            flip_bytes(volumes[0], chosen.items())
            try:
                problems = check_random_round(command, fsck, volumes, base)
            except Failure as failure:
                problems = [str(failure)]
            if problems:
                return [f"{name}: round {number} of seed {seed}, offsets and masks "
                        f"{chosen}:"] + problems
            flip_bytes(volumes[0], chosen.items())
    return []


def run_random(collection, dump, fsck, tally):
    seed = int(os.environ.get("HAMMER2_SEED", "0")) or random.randrange(1, 1 << 32)
    problems = []
    for name in RANDOM_BASES:
        try:
            problems += check_random(collection, dump, fsck, name, seed)
        except Failure as failure:
            problems.append(f"{name}: {failure}")
    tally.result(RANDOM_NAME, problems, f"{RANDOM_ROUNDS} rounds on each of "
                 f"{', '.join(RANDOM_BASES)}, seed {seed}")


def main():
    args = h2images.arguments(__doc__.split("\n", maxsplit=1)[0])
    collection = Collection(args)
    tally = Tally()
    dump = h2images.program(args.build, "golden-dump")
    fsck = h2images.program(args.build, "fsck.hammer2")
    if dump is None:
        raise SystemExit(f"{args.build}: golden-dump: not found; build the project first")
    if fsck is None:
        tally.skip("fsck.hammer2", "not in the build directory; variants are only read")
    if not args.names or RANDOM_NAME in args.names:
        run_random(collection, dump, fsck, tally)
    collection.names = [name for name in args.names if name != RANDOM_NAME]
    if args.names and not collection.names:
        return tally.finish()
    for description in collection.damaged(tally):
        try:
            problems = check_case(collection, description, dump, fsck)
        except Failure as failure:
            problems = [str(failure)]
        tally.result(description["id"], problems, description["description"])
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
