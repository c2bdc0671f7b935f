"""Drives the library resticpy through a repository's life and prints what it gives, as one JSON object.

Arguments: the program to use in restic's place, and an empty folder to work in.
"""

import json
import pathlib
import sys

import restic

program, folder = sys.argv[1], pathlib.Path(sys.argv[2])
restic.binary_path = program
restic.repository = str(folder / "repository")
restic.password_file = str(folder / "password")
restic.use_cache = False

source = folder / "source"
source.mkdir()
(folder / "password").write_text("a secret\n")
(source / "note.txt").write_text("milk")
(source / "left-out.tmp").write_text("nothing")

said = {"version": restic.version()["restic_version"], "init": restic.init()}
first = restic.backup(paths=[str(source)], exclude_patterns=["*.tmp"], tags=["first"])
(source / "note.txt").write_text("milk and eggs")
second = restic.backup(paths=[str(source)], exclude_patterns=["*.tmp"], tags=["second"], host="elsewhere")
said["backups"] = [first["files_new"], second["message_type"], second["total_files_processed"]]
said["snapshots"] = sorted(len(snapshot["short_id"]) for snapshot in restic.snapshots(group_by=None))
said["groups"] = len(restic.snapshots(group_by=["host"]))
said["by_tag"] = len(restic.snapshots(tags=["second"]))
said["found"] = [found["hits"] for found in restic.find("note.txt")]
said["stats"] = restic.stats(mode="restore-size")["total_file_count"]
restic.restore(snapshot_id=second["snapshot_id"], target_dir=str(folder / "restored"))
restored = list((folder / "restored").rglob("note.txt"))
said["restored"] = [path.read_text() for path in restored]
forgotten = restic.forget(group_by=[], keep_last=1, prune=True)
said["forgotten"] = [len(group["remove"]) for group in forgotten]
said["left"] = [snapshot["tags"] for snapshot in restic.snapshots()]
said["check"] = restic.check(read_data=True) is not None
said["keys"] = len(restic.key.list())
said["cat"] = sorted(restic.cat.config())
restic.unlock()
try:
    restic.backup(paths=[str(folder / "nowhere")])
    said["missing"] = "no error"
except restic.errors.ResticFailedError as error:
    said["missing"] = "exit code 1" in str(error)
print(json.dumps(said, sort_keys=True))
