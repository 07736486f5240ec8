#!/usr/bin/env python3
"""
Defects put into the code on purpose, one at a time, and the test that has to catch each: what shows
that the crash explorer and its neighbours would notice. By hand; needs some minutes.

Works on a copy of the source tree in a temporary folder. Prints a table; exits with 1 if a defect is
not caught, or if the place that it goes to is not found any more.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CRASHTEST = ["bin/hammer2", "crashtest", "--seconds", "40", "--seed", "1"]


def unit(name):
    return [f"tests/unit/test_{name}"]


TXN, SPACE, COMMIT = "lib/txn/txn.c", "lib/space/space.c", "lib/fs/commit.c"
SNAPSHOT_DIR = "lib/fs/snapshot_dir.c"
VOLUMES, NAMES, BUFFER = "lib/device/volumes.c", "lib/fs/names.c", "lib/fs/buffer.c"

# What, the file, the text that is replaced, by what, and the test that catches it.
DEFECTS = [
    ("the flush before the header is left out", TXN,
     "\tif (!err)\n\t\terr = h2_volumes_flush(txn->volumes);\n\tif (!err)\n\t\terr = h2_volumes_write_header",
     "\tif (!err)\n\t\terr = h2_volumes_write_header", CRASHTEST),
    ("the flush after the header is left out", TXN,
     "err = h2_volumes_write_header(txn->volumes, &header);\n\tif (!err)\n\t\terr = h2_volumes_flush(txn->volumes);",
     "err = h2_volumes_write_header(txn->volumes, &header);", CRASHTEST),
    ("only the root volume is flushed", VOLUMES,
     "\tfor (unsigned i = 0; i < set->count; i++) {\n\t\tint e = h2_device_flush",
     "\tfor (unsigned i = 0; i < 1; i++) {\n\t\tint e = h2_device_flush", CRASHTEST),
    ("the header always goes to the same copy", VOLUMES,
     "slot = (set->written_slot + 1) % h2_volumes_header_copies(set);",
     "slot = set->written_slot;", CRASHTEST),
    ("the backup of a single header is not written", VOLUMES,
     "\t\terr = write_backup(set);\n", "\t\terr = 0; (void)write_backup;\n", CRASHTEST),
    ("the backup is not flushed before the header is written", VOLUMES,
     "\tif (!err)\n\t\terr = h2_device_flush(root->dev);\n\tif (err)\n\t\treturn fault(set, root, err, \"the backup",
     "\tif (err)\n\t\treturn fault(set, root, err, \"the backup", CRASHTEST),
    ("a header is written although the flush before it failed", TXN,
     "\tif (!err)\n\t\terr = h2_volumes_write_header(txn->volumes, &header);",
     "\t(void)h2_volumes_write_header(txn->volumes, &header);", ["tests/fault/fault", "names"]),
    ("a sync returns before its commit", TXN,
     "want = txn->begun + (force || atomic_load(&txn->changed) ? 1 : 0);",
     "want = 0; (void)force;", CRASHTEST),
    ("buffers are not written with the gate closed", COMMIT,
     "int err = h2_buffers_drain(fs, true);", "int err = 0;",
     ["tests/model/hammer2-model", "--seed", "1", "--threads", "4", "--commit", "1", "--seconds", "60"]),
    ("a freed block is used again one commit too early", SPACE,
     "tid - space->runs[i].tid + 1 >= space->copies",
     "tid - space->runs[i].tid + 2 >= space->copies", unit("reuse")),
    ("a freed block is used again at once", SPACE,
     "tid - space->runs[i].tid + 1 >= space->copies",
     "tid - space->runs[i].tid + 9 >= space->copies", CRASHTEST),
    ("a sector with committed bytes is written again", SPACE,
     "c->used = (c->used + SECTOR - 1) / SECTOR * SECTOR;", ";", CRASHTEST),
    ("a freemap leaf is not written", SPACE,
     "\t\t\terr = write(user, h2_blockref_offset(ref), z->records,\n\t\t\t\t    H2_FREEMAP_BLOCK_SIZE);\n",
     "", CRASHTEST),
    ("the header keeps the freemap's old root", SPACE,
     "\t\terr = h2_freemap_tree_flush(&space->tree, tid, header->freemap_blockset, write,\n\t\t\t\t\t    user);",
     "\t\terr = h2_freemap_tree_flush(&space->tree, tid, (struct h2_blockref[4]){{0}}, write,\n\t\t\t\t\t    user);",
     CRASHTEST),
    ("the check code of an inode is computed before its last change", COMMIT,
     "\terr = h2_check_set(&new_ref, d, sizeof(*d));\n",
     "\tstruct h2d_inode before = *d;\n\tbefore.mtime = before.btime;\n\terr = h2_check_set(&new_ref, &before, sizeof(*d));\n",
     CRASHTEST),
    ("an inode's mirror_tid is not raised", COMMIT,
     "\tnew_ref.mirror_tid = e->commit->tid;\n", "", CRASHTEST),
    ("a removed inode stays in the index", COMMIT,
     "\tif (!inode->indexed)\n\t\treturn 0;\n", "\treturn 0;\n", CRASHTEST),
    ("a rename is split: the old name goes in a later commit", NAMES,
     "\ttouch_dir(r->from_dir);\n\ttouch_dir(r->to_dir);", "\ttouch_dir(r->to_dir);", CRASHTEST),
    ("a link count changes in a later commit than the name", NAMES,
     "\t\tinode->meta.nlinks--;\n\t}\n\tinode->meta.ctime = h2_now_us(h2_inode_fs(inode));\n\th2_inode_dirty(inode);",
     "\t\tinode->meta.nlinks--;\n\t}\n\tinode->meta.ctime = h2_now_us(h2_inode_fs(inode));\n\tif (inode->gone)\n\t\th2_inode_dirty(inode);",
     CRASHTEST),
    ("what a snapshot shares comes back by counting", "lib/fs/pfs_change.c",
     "\th2_space_share_all(e->fs->space);\n\treturn err;\n}\n\n/* The target gets",
     "\treturn err;\n}\n\n/* The target gets", unit("pfs")),
    ("what a snapshot of a directory shares comes back by counting", "lib/fs/pfs_change.c",
     "\th2_space_share_all(e->fs->space);\n\treturn err;\n}\n\n/* A PFS whose tree",
     "\treturn err;\n}\n\n/* A PFS whose tree", unit("snapshot_dir")),
    ("a snapshot of a directory is entered before its tree is written", SNAPSHOT_DIR,
     "\tflush_err = h2_commit_writer_flush(&commit.writer);", "\tflush_err = 0;", CRASHTEST),
    ("a file counts names outside of the snapshot of a directory", SNAPSHOT_DIR,
     "\t} else if (meta.nlinks != count) {", "\t} else if (meta.nlinks < count) {", CRASHTEST),
    ("the blocks of an interrupted snapshot of a directory stay lost", SNAPSHOT_DIR,
     "\t\th2_space_lose(fs->space, c->written);\n", "",
     unit("snapshot_dir")),
    ("a deduplicated block comes back by counting", "lib/fs/dedup.c",
     "\tif (same)\n\t\th2_space_share(fs->space, data_off);\n", "", CRASHTEST),
    ("a block of the open group that is dropped is used again, though it is committed",
     "lib/fs/inode.c", "ref->mirror_tid == tid &&", "ref->mirror_tid + 1 >= tid &&", CRASHTEST),
    ("a lagging freemap is not caught up with", "lib/fs/fs.c",
     "\tif (!err)\n\t\terr = h2_fs_recover(fs);\n", "", unit("recover")),
    ("bulk free does not wait for older header copies", "lib/fs/bulkfree.c",
     "end_err = h2_space_scan_end(fs->space, tid,", "end_err = h2_space_scan_end(fs->space, tid - 9,",
     unit("reuse")),
    ("bulk free takes what removed files hold that are open", "lib/fs/bulkfree.c",
     "\tif (!err)\n\t\terr = walk_gone(s, &walk);\n", "\t(void)walk_gone;\n", unit("bulkfree")),
    ("what is left of a half-written header can become whole", VOLUMES,
     "\terr = spoil_copy(set, slot);\n", "\terr = 0; (void)spoil_copy;\n", unit("recover")),
    ("a growing filesystem leaves what lay where headers will be", VOLUMES,
     "return size == set->total_size ? 0 : wipe_new_copies(set, set->total_size, size);",
     "(void)wipe_new_copies;\n\treturn 0;", unit("grow")),
]

def build(tree, build_dir, target):
    done = subprocess.run(["ninja", "-C", build_dir, target], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"it does not build:\n{done.stdout[-2000:]}")


def run_test(build_dir, command, seconds_max):
    """What is wrong (None: the defect is caught), and the seconds until it was told."""
    start = time.monotonic()
    test = subprocess.Popen([os.path.join(build_dir, command[0]), *command[1:]], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    timer = threading.Timer(seconds_max, test.kill)
    timer.start()
    try:
        for line in test.stdout:
            if line.startswith("violation"):
                return None, time.monotonic() - start
        code = test.wait()
        return (None if code else "not caught"), time.monotonic() - start
    finally:
        timer.cancel()
        test.kill()
        test.wait()


def try_defect(tree, build_dir, defect, seconds_max):
    what, path, old, new, command = defect
    path = os.path.join(tree, path)
    with open(path) as f:
        text = f.read()
    if text.count(old) != 1:
        return f"its place is there {text.count(old)} times", 0
    with open(path, "w") as f:
        f.write(text.replace(old, new))
    try:
        build(tree, build_dir, command[0])
        return run_test(build_dir, command, seconds_max)
    finally:
        with open(path, "w") as f:
            f.write(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=180, help="for one test (default 180)")
    parser.add_argument("text", nargs="*", help="only defects whose description has this text")
    args = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="hammer2-defects-") as work:
        tree = os.path.join(work, "tree")
        shutil.copytree(TOP, tree, symlinks=True, ignore=lambda folder, names: {
            n for n in names if folder == TOP and (n.startswith("build") or n in (".git", "mnt"))})
        build_dir = os.path.join(tree, "build")
        subprocess.run([os.path.join(tree, "tools", "build"), build_dir, "-Dwerror=false"],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tree)
        for defect in DEFECTS:
            if args.text and not any(t in defect[0] for t in args.text):
                continue
            problem, seconds = try_defect(tree, build_dir, defect, args.seconds)
            failed += problem is not None
            name = " ".join([os.path.basename(defect[4][0]), *defect[4][1:]])
            print(f"{'ok  ' if problem is None else 'FAIL'} {defect[0]}: "
                  f"{problem or f'caught by {name} in {seconds:.1f} s'}", flush=True)
    print(f"{failed} defects not caught" if failed else "all caught")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
