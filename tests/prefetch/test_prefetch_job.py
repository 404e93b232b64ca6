"""The program on the node: a snapshot appears whole and proven, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from blocks.hub import Hub as HubBlock
from flows.plan.files import select_files
from flows.plan.naming import snapshot_folder
from flows.plan.prefetch import prefetch_files
from flows.spec import Candidate
from sandbox import models
from sandbox.hub import Hub
from sandbox.hub.faults import Fault
from tests.examples import candidate

REPOSITORY = "slipway-demo/tiny-llama"


class Node:
    """A node's store, and the program that fills it."""

    def __init__(self, folder: Path, hub: Hub, files: dict[str, bytes], token: str | None = None) -> None:
        self.folder, self.hub, self.files, self.token = folder, hub, files, token
        sha = hub.add(REPOSITORY, files)
        with HubBlock(endpoint=hub.url).client() as client:
            listed = client.commit(REPOSITORY, sha)
        self.candidate: Candidate = candidate(repository=REPOSITORY, commit=sha, files=select_files(REPOSITORY, listed.files))
        self.snapshot = folder / "store" / snapshot_folder(REPOSITORY, sha)
        (folder / "manifest.json").write_text(prefetch_files(self.candidate)["manifest.json"])
        hub.requests.clear()

    def command(self) -> list[str]:
        return [sys.executable, "-m", "flows.prefetch_job", "--manifest", f"{self.folder}/manifest.json", "--store", f"{self.folder}/store"]

    def environment(self) -> dict[str, str]:
        own = {"HF_ENDPOINT": self.hub.url, "HF_HOME": f"{self.folder}/home", "HF_HUB_DISABLE_TELEMETRY": "1", "PATH": os.environ["PATH"]}
        if self.token is not None:
            (self.folder / "token").write_text(self.token)
            own["HF_TOKEN_PATH"] = f"{self.folder}/token"
        return own

    def prefetch(self) -> tuple[int, dict[str, Any]]:
        """The program's exit code, and its last words."""
        done = subprocess.run(self.command(), env=self.environment(), capture_output=True, text=True, timeout=60)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def node(tmp_path: Path, hub: Hub) -> Node:
    return Node(tmp_path, hub, models.make_model(shards=2))


def test_every_file_arrives_with_the_bytes_of_the_hub_and_a_manifest(node: Node) -> None:
    code, said = node.prefetch()

    assert (code, said["event"], said["fetched"]) == (0, "complete", True)
    wanted = {file.path for file in node.candidate.files}
    assert {path.name for path in node.snapshot.iterdir()} == {*wanted, ".manifest.json"}
    manifest = json.loads((node.snapshot / ".manifest.json").read_text())
    assert manifest["commit"] == node.candidate.commit
    for line in manifest["files"]:
        content = (node.snapshot / line["path"]).read_bytes()
        assert content == node.files[line["path"]]
        assert line["sha256"] == hashlib.sha256(content).hexdigest()
        assert (node.snapshot / line["path"]).stat().st_mode & 0o777 == 0o444


def test_a_complete_snapshot_costs_no_request(node: Node) -> None:
    node.prefetch()
    node.hub.requests.clear()

    code, said = node.prefetch()

    assert (code, said["event"], said["fetched"]) == (0, "complete", False)
    assert len(node.hub.requests) == 0


def test_a_flipped_byte_never_becomes_a_snapshot_and_the_next_try_mends_it(node: Node) -> None:
    node.hub.faults.add(Fault(origin="cdn", method="GET", path="*.safetensors", flip_byte_at=100))

    code, said = node.prefetch()

    assert (code, said["event"], said["error"]) == (1, "failed", "SnapshotCorrupt")
    assert "is not what the hub says it is" in said["message"]
    assert not node.snapshot.exists()
    assert node.prefetch()[0] == 0
    assert (node.snapshot / "model-00001-of-00002.safetensors").read_bytes() == node.files["model-00001-of-00002.safetensors"]


def test_a_snapshot_that_lost_bytes_is_brought_again(node: Node) -> None:
    node.prefetch()
    damaged = node.snapshot / "model-00002-of-00002.safetensors"
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes()[:-1])

    code, said = node.prefetch()

    assert (code, said["fetched"]) == (0, True)
    assert damaged.read_bytes() == node.files[damaged.name]


def test_a_folder_without_a_manifest_is_not_a_snapshot(node: Node) -> None:
    node.prefetch()
    (node.snapshot / ".manifest.json").unlink()

    assert node.prefetch() == (0, {"event": "complete", "fetched": True, "bytes": node.candidate.size_bytes})


def test_a_hub_in_trouble_and_a_commit_that_is_gone_are_told_apart(node: Node) -> None:
    node.hub.faults.add(Fault(path="/api/models/*", status=404, times=None, headers={"x-error-code": "RevisionNotFound"}))
    assert node.prefetch()[1]["error"] == "HubRejected"

    node.hub.faults.clear()
    node.hub.faults.add(Fault(origin="cdn", method="GET", status=503, times=None))
    code, said = node.prefetch()
    assert (code, said["error"]) == (1, "HubUnreachable")
    assert not node.snapshot.exists()


def test_two_jobs_on_one_node_fetch_once(node: Node) -> None:
    jobs = [subprocess.Popen(node.command(), env=node.environment(), stdout=subprocess.PIPE, text=True) for _ in range(2)]

    said = [json.loads(job.communicate(timeout=60)[0].splitlines()[-1]) for job in jobs]

    assert sorted(line["fetched"] for line in said) == [False, True]
    fetched = [request.path for request in node.hub.requests if request.origin == "cdn" and request.method == "GET"]
    assert len(fetched) == len(set(fetched))


def test_a_token_reads_a_gated_repository_and_never_reaches_the_cdn_or_the_log(tmp_path: Path, hub: Hub) -> None:
    hub.tokens["hf_secret"] = {REPOSITORY}
    node = Node(tmp_path, hub, models.make_model(), token="hf_secret")
    hub.add(REPOSITORY, models.make_model(), gated="manual")

    done = subprocess.run(node.command(), env=node.environment(), capture_output=True, text=True, timeout=60)

    assert done.returncode == 0
    assert any(request.authorized for request in hub.requests)
    assert not any(request.leaks_token for request in hub.requests)
    assert "hf_secret" not in done.stdout + done.stderr
