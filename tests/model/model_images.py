#!/usr/bin/env python3
"""Random operations on filesystems that DragonFly's tools have made, with hammer2-model.

What an image holds is loaded into memory and taken over into the model; then the run goes on as it
does on a filesystem of our own. Each image gets the same seeds every time: both in its first PFS, one
in each of the others.
"""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden"))
import h2images
from h2images import Collection, Failure, Tally

OPERATIONS = 1200
SEEDS = (1, 2)  # an odd one lets a filesystem grow, with an even one a large one shrinks
PFS_MAX = 3     # of one image
SECONDS_MAX = 300
LINES_SHOWN = 8


def labels(records):
    """The PFSs of an image to work in."""
    found = [r["label"] for r in records if r["record"] == "pfs" and "label" in r]
    return [label for label in found if label != "LOCAL"][:PFS_MAX]


def run(program, volume, label, seed):
    """The problems of one run."""
    command = [program, "--from", volume, "--label", label, "--seed", str(seed),
               "--ops", str(OPERATIONS)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired:
        return [f"PFS {label}, seed {seed}: not finished after {SECONDS_MAX} seconds"]
    if done.returncode == 0:
        return []
    said = done.stderr.decode(errors="replace").strip().split("\n")
    return [f"PFS {label}, seed {seed}: exit code {done.returncode}"] + said[-LINES_SHOWN:]


def main():
    args = h2images.arguments(__doc__)
    program = os.path.join(args.build, "tests", "model", "hammer2-model")
    if not os.access(program, os.X_OK):
        print(f"{program}: no such program; build it first", file=sys.stderr)
        return 2
    tally = Tally()
    collection = Collection(args)
    for name in collection.images(tally):
        try:
            if len(collection.volume_files(name)) > 1:
                tally.skip(name, "it has several volumes, which hammer2-model does not load")
                continue
            problems = []
            with collection.unpacked(name) as volumes:
                for i, label in enumerate(labels(collection.manifest(name))):
                    for seed in SEEDS if i == 0 else SEEDS[i % 2:i % 2 + 1]:
                        problems += run(program, volumes[0], label, seed)
            tally.result(name, problems)
        except Failure as failure:
            tally.result(name, [str(failure)])
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
