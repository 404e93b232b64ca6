"""What lies on a node is hashed again; what is damaged is of no use to an engine until it was brought anew."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from flows.spec.load import ROOT
from flows.weights.prefetch import snapshot_digest_of
from tests.prefetch.conftest import Node, Wanted, shards
from tests.support.waiting import HANGS_SECONDS


def rot(path: Path) -> None:
    """Flip a bit, as a disk may; the file's times stay."""
    times = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)[0]
        file.seek(1000)
        file.write(bytes([byte ^ 1]))
    path.chmod(0o444)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def check(wanted: Wanted) -> tuple[int, str]:
    """What the init container does: its exit code, and what it prints."""
    command = wanted.node.command("check", str(wanted.folder), "--digest", snapshot_digest_of(wanted.candidate))
    done = subprocess.run(
        command, env=wanted.node.environment(), cwd=ROOT, capture_output=True, text=True, timeout=HANGS_SECONDS, check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_scrub_finds_what_is_sound(node: Node) -> None:
    wanted = node.want(shards(1, 2))
    wanted.fetch()

    ended = node.scrub()

    assert (ended.code, ended.event) == (0, "complete")
    said = ended.lines[-1]
    assert (said["contents"], said["size_bytes"], said["corrupt"], said["snapshots"]) == (4, wanted.size_bytes, {}, [])
    assert check(wanted) == (0, "")


def test_a_damaged_content_makes_its_snapshots_unusable_until_they_are_fetched_again(node: Node) -> None:
    # given two snapshots that share a content, and one that does not
    hit = [node.want(shards(1, 2)), node.want(shards(1), repository="slipway-demo/fork")]
    sound = node.want(shards(3), repository="slipway-demo/sound")
    for wanted in (*hit, sound):
        wanted.fetch()
    rot(hit[0].folder / "model-1.safetensors")

    # when the node is scrubbed
    said = node.scrub().lines[-1]

    # then it says what is damaged, and no engine starts from it
    digest = {file.path: file.digest for file in hit[0].candidate.files}["model-1.safetensors"]
    assert list(said["corrupt"]) == [digest]
    assert said["snapshots"] == sorted(str(wanted.folder.relative_to(node.store)) for wanted in hit)
    assert [check(wanted)[0] for wanted in (*hit, sound)] == [1, 1, 0]
    # and the next prefetch brings that content alone
    node.hub.requests.clear()
    assert all(wanted.fetch().code == 0 for wanted in hit)
    assert all(wanted.is_whole() for wanted in hit)
    assert {request.path.rpartition("/")[2] for request in node.gets()} == {"model-1.safetensors"}
    assert node.scrub().lines[-1]["corrupt"] == {}


def test_a_scrub_that_runs_out_of_time_goes_on_with_the_rest_next_time(node: Node) -> None:
    node.want(shards(1, 2)).fetch()
    blobs = sorted((node.store / "blobs" / "sha256").iterdir())
    for age, blob in enumerate(blobs):
        os.utime(blob, (1e9 + age, 1e9 + age))

    said = node.scrub(limit_seconds=0).lines[-1]

    assert (said["contents"], said["skipped"]) == (0, len(blobs))
    node.scrub()
    assert all(blob.stat().st_mtime > 2e9 - 5e8 for blob in blobs)


def test_an_empty_node_has_nothing_to_scrub(node: Node) -> None:
    assert node.scrub().lines[-1]["contents"] == 0


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        ("manifest", "has no manifest"),
        ("shorter", "model-1.safetensors has 1 bytes instead of"),
        ("missing", "tokenizer.json is missing"),
        ("stray", "pytorch_model.bin should not be there"),
        ("other files", "with other files than the candidate's"),
        ("other commit", "with other files than the candidate's"),
        ("folder", "has no manifest"),
    ],
)
def test_an_engine_is_kept_from_what_is_not_its_snapshot(node: Node, loss: str, says: str) -> None:
    wanted = node.want(shards(1))
    wanted.fetch()
    assert check(wanted) == (0, "")
    manifest = wanted.folder / ".manifest.json"
    document = json.loads(manifest.read_text())
    if loss == "manifest":
        manifest.unlink()
    elif loss == "shorter":
        (wanted.folder / "model-1.safetensors").chmod(0o644)
        (wanted.folder / "model-1.safetensors").write_bytes(b"x")
    elif loss == "missing":
        (wanted.folder / "tokenizer.json").unlink()
    elif loss == "stray":
        (wanted.folder / "pytorch_model.bin").write_bytes(b"pickle")
    elif loss == "folder":
        wanted.folder.rename(wanted.folder.with_name("elsewhere"))
    else:
        changed = {**document, "commit": "f" * 40} if loss == "other commit" else {**document, "files": document["files"][1:]}
        manifest.chmod(0o644)
        manifest.write_text(json.dumps(changed))

    code, said = check(wanted)

    assert code == 1
    assert says in said
    assert said.count("\n") == 1
