#!/usr/bin/env python3
"""Read images made by DragonFly's own tools and compare everything with their manifests.

For each image: golden-dump prints what the library sees, every record and every field is compared
with the manifest, and fsck.hammer2 must find nothing.
"""

import sys

import h2images
from h2images import Collection, Contents, Failure, Tally

SECONDS_MAX = 500
# Hardly a block stays in a cache like this: everything is read again and again.
CACHE_TINY_BYTES = 1


def check_tiny_cache(dump, volumes, output):
    """What is read must not depend on what is remembered."""
    done = h2images.run([dump, "--cache", str(CACHE_TINY_BYTES)] + volumes, SECONDS_MAX)
    if done.stdout == output:
        return []
    return [f"golden-dump prints something else with a cache of {CACHE_TINY_BYTES} bytes"]


def check_dump(dump, volumes, manifest):
    done = h2images.run([dump] + volumes, SECONDS_MAX)
    found = Contents(h2images.records(done.stdout))
    problems = found.error_texts()
    if done.returncode and not problems:
        problems.append(f"golden-dump: exit {done.returncode}: {h2images.output_lines(done)}")
    problems += h2images.compare_contents(manifest, found)
    return problems + check_tiny_cache(dump, volumes, done.stdout)


def check_fsck(fsck, volumes):
    done = h2images.run([fsck] + volumes, SECONDS_MAX)
    if done.returncode == 0:
        return []
    return [f"fsck.hammer2: exit {done.returncode}, expected 0: {h2images.output_lines(done)}"]


def check_image(collection, name, dump, fsck):
    """Problems, and a remark for the line of a pass."""
    manifest = Contents(collection.manifest(name))
    problems = []
    with collection.unpacked(name) as volumes:
        for check in (lambda: check_dump(dump, volumes, manifest),
                      lambda: check_fsck(fsck, volumes) if fsck else []):
            try:
                problems += check()
            except Failure as failure:
                problems.append(str(failure))
    return problems, f"{len(manifest.pfs)} PFSs, {len(manifest.entries)} entries"


def main():
    args = h2images.arguments(__doc__.split("\n", maxsplit=1)[0])
    collection = Collection(args)
    tally = Tally()
    dump = h2images.program(args.build, "golden-dump")
    fsck = h2images.program(args.build, "fsck.hammer2")
    if dump is None:
        raise SystemExit(f"{args.build}: golden-dump: not found; build the project first")
    if fsck is None:
        tally.skip("fsck.hammer2", "not in the build directory; images are only compared")
    for name in collection.images(tally):
        try:
            tally.result(name, *check_image(collection, name, dump, fsck))
        except Failure as failure:
            tally.result(name, [str(failure)])
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
