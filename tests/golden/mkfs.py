#!/usr/bin/env python3
"""Make the filesystems that DragonFly's newfs_hammer2 made, and compare them with their manifests.

Everything must be the same but for times and random ids. Then the program's own behaviour: what it
refuses, what it says, and that its result can be repeated.
"""

import json
import os
import re
import sys
import tempfile

import h2images
from h2images import Collection, Contents, Failure, Tally

SECONDS_MAX = 60
RANDOM = ("fsid", "clid", "mtime_us", "mtime_ns", "ctime_ns")


def options_of(made_with):
    """The options of newfs_hammer2 in a manifest; a label may have spaces."""
    text = made_with.split("newfs_hammer2", 1)[1].rsplit("(sizes", 1)[0].strip()
    options = []
    for letter, value in re.findall(r"-(\w) (.*?)(?= -\w |$)", text):
        options += ["-" + letter, value.strip()]
    return options


def without_random(record):
    """A record without what no two runs have in common."""
    return {key: without_random(value) if isinstance(value, dict) else value
            for key, value in record.items() if key not in RANDOM}


def contents(records):
    return Contents([without_random(record) for record in records])


def check_image(collection, name, mkfs, dump, fsck, folder):
    manifest = list(collection.manifest(name))
    image = next(record for record in manifest if record["record"] == "image")
    paths = []
    for i, size in enumerate(image["raw_sizes"]):
        paths.append(os.path.join(folder, f"{name}.{i}.img"))
        with open(paths[-1], "wb") as file:
            file.truncate(size)
    done = h2images.run([mkfs, "-q", *options_of(image["made_with"][0]), *paths], SECONDS_MAX)
    if done.returncode or done.stdout:
        return [f"mkfs.hammer2: exit {done.returncode}: {h2images.output_lines(done)}"]
    found = h2images.records(h2images.run([dump, *paths], SECONDS_MAX).stdout)
    problems = h2images.compare_contents(contents(manifest), contents(found))
    done = h2images.run([fsck, "--strict", *paths], SECONDS_MAX)
    if done.returncode:
        problems.append(f"fsck.hammer2: {h2images.output_lines(done)}")
    return problems


def expect(problems, what, done, code, text=""):
    output = (done.stdout + done.stderr).decode("utf-8", "replace")
    if done.returncode != code or text not in output:
        problems.append(f"{what}: exit {done.returncode}, expected {code} with \"{text}\": {output}")


def check_program(mkfs, folder):
    """Creating, refusing, repeating."""
    problems = []
    path, other = os.path.join(folder, "a.img"), os.path.join(folder, "b.img")
    run = lambda *args: h2images.run([mkfs, *args], SECONDS_MAX)
    expect(problems, "missing file", run(path), 1, "give its size")
    expect(problems, "dry run", run("-n", "-s", "64M", path), 0, "free-size")
    if os.path.exists(path):
        problems.append("a dry run made the file")
    expect(problems, "creation", run("-s", "64M", path), 0, 'PFS "DATA"')
    expect(problems, "over HAMMER2", run(path), 1, "-f overwrites")
    with open(other, "wb") as file:
        file.truncate(64 << 20)
    expect(problems, "wrong option", run("-c", "lzma", path), 2, "lzma")
    expect(problems, "no device", run(), 2, "name the devices")
    expect(problems, "too small", run("-s", "8M", os.path.join(folder, "c.img")), 1, "MiB")
    if os.path.exists(os.path.join(folder, "c.img")):
        problems.append("a refused format left a file")
    again = []
    os.environ["SOURCE_DATE_EPOCH"] = "1700000000"
    for target in (path, other):
        uuid = "5cbb9ad1-862d-11dc-a94d-01301bb8a9f5"
        expect(problems, "repeat", run("-f", "-q", "-U", uuid, target), 0)
        with open(target, "rb") as file:
            again.append(file.read())
    del os.environ["SOURCE_DATE_EPOCH"]
    if again[0] != again[1]:
        problems.append("the same -U and SOURCE_DATE_EPOCH gave different images")
    plan = json.loads(run("-f", "--json", path).stdout)
    if plan["total_bytes"] != 64 << 20 or len(plan["pfs"]) != 2:
        problems.append(f"--json: {plan}")
    return problems


def check_known_filesystem(mkfs, folder):
    """A real ext4 is not overwritten without being asked."""
    path = os.path.join(folder, "ext4.img")
    problems = []
    made = h2images.run(["mke2fs", "-q", "-t", "ext4", path, "64M"], SECONDS_MAX)
    if made.returncode:
        return [f"mke2fs: {h2images.output_lines(made)}"]
    expect(problems, "over ext4", h2images.run([mkfs, path], SECONDS_MAX), 1, "ext4")
    expect(problems, "over ext4, forced", h2images.run([mkfs, "-f", path], SECONDS_MAX), 0)
    return problems


def main():
    args = h2images.arguments(__doc__.split("\n", maxsplit=1)[0])
    collection = Collection(args)
    tally = Tally()
    mkfs, fsck, dump = (h2images.program(args.build, name)
                        for name in ("mkfs.hammer2", "fsck.hammer2", "golden-dump"))
    with tempfile.TemporaryDirectory(prefix="hammer2-mkfs.") as folder:
        for name in collection.images(Tally()):
            if not name.startswith("new-"):
                continue
            try:
                problems = check_image(collection, name, mkfs, dump, fsck, folder)
            except Failure as failure:
                problems = [str(failure)]
            tally.result(name, problems)
        tally.result("program", check_program(mkfs, folder))
        tally.result("known filesystems", check_known_filesystem(mkfs, folder))
    return tally.finish()


sys.exit(main())
