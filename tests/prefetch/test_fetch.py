"""A snapshot appears whole and proven, or not at all."""

from __future__ import annotations

import hashlib
import json
import time

import pytest

from flows.weights.prefetch import snapshot_digest_of
from sandbox.hub.faults import Fault
from tests.prefetch.conftest import REPOSITORY, SEGMENT, Node, noise, shards
from tests.support.waiting import HANGS_SECONDS


def test_every_file_arrives_with_the_bytes_of_the_hub_and_a_manifest(node: Node) -> None:
    wanted = node.want({**shards(1, 2), "additional_chat_templates/tools.jinja": b"{{ tools }}"})

    ended = wanted.fetch()

    assert (ended.code, ended.event, ended.lines[-1]["fetched"]) == (0, "complete", True)
    assert wanted.is_whole()
    manifest = json.loads((wanted.folder / ".manifest.json").read_text())
    assert (manifest["repository"], manifest["commit"]) == (REPOSITORY, wanted.candidate.commit)
    for line in manifest["files"]:
        path = wanted.folder / line["path"]
        assert line["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert path.stat().st_mode & 0o777 == 0o444
        # the content lies once in the store, under its hash
        assert path.samefile(node.store / "blobs" / "sha256" / line["sha256"])
    # and nothing is left of the work
    assert [path.name for path in (node.store / ".parts").iterdir()] == []


def test_a_complete_snapshot_costs_no_request(node: Node) -> None:
    wanted = node.want(shards(1))
    wanted.fetch()
    node.hub.requests.clear()

    ended = wanted.fetch()

    assert (ended.code, ended.event, ended.lines[-1]["fetched"]) == (0, "complete", False)
    assert len(node.hub.requests) == 0


def test_a_complete_snapshot_and_a_check_load_nothing_heavy(node: Node) -> None:
    wanted = node.want(shards(1))
    wanted.fetch()
    check = node.command("check", str(wanted.folder), "--digest", snapshot_digest_of(wanted.candidate))
    for python, *arguments in (wanted.command(), check):
        process = node.start(python, "-X", "importtime", *arguments)
        _, imported = process.communicate(timeout=HANGS_SECONDS)
        assert process.returncode == 0
        loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in imported.splitlines()}
        assert "flows" in loaded
        assert not loaded & {"huggingface_hub", "httpx2", "prefect", "pydantic", "kubernetes", "ssl"}


def test_sizes_at_the_edges_of_a_segment(node: Node) -> None:
    sizes = (0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 3 * SEGMENT)
    wanted = node.want({"config.json": b"", **{f"model-{size}.safetensors": noise(size, size) for size in sizes}})

    assert wanted.fetch().code == 0
    assert wanted.is_whole()


def test_identical_contents_are_fetched_once(node: Node) -> None:
    # given two names for one content, and a second commit and another repository that share it
    first = node.want({**shards(1), "copy.safetensors": shards(1)["model-1.safetensors"]})
    assert first.fetch().code == 0
    assert len({request.path.split("/")[4] for request in node.gets()}) == 1
    for second in (node.want({**shards(1, 2), "config.json": b"{}"}), node.want(shards(1), repository="slipway-demo/fork")):
        assert second.fetch().code == 0
        assert second.is_whole()
        assert not [request for request in node.gets() if request.path.endswith("model-1.safetensors")]
        # small files too: they are known by git's hash
        assert not [request for request in node.hub.requests if request.path.endswith("tokenizer.json")]


@pytest.mark.parametrize("loss", ["manifest", "byte", "file", "stray"])
def test_a_snapshot_that_was_meddled_with_is_put_right(node: Node, loss: str) -> None:
    wanted = node.want(shards(1))
    wanted.fetch()
    victim = wanted.folder / "model-1.safetensors"
    if loss == "manifest":
        (wanted.folder / ".manifest.json").unlink()
    elif loss == "byte":
        victim.chmod(0o644)
        victim.write_bytes(victim.read_bytes()[:-1])
    elif loss == "file":
        victim.unlink()
    else:
        (wanted.folder / "pytorch_model.bin").write_bytes(b"pickle")

    ended = wanted.fetch()

    assert (ended.code, ended.lines[-1]["fetched"]) == (0, True)
    assert wanted.is_whole()


def test_two_jobs_at_once_for_one_snapshot_fetch_it_once(node: Node) -> None:
    wanted = node.want(shards(1, 2))
    jobs = [node.start(*wanted.command()) for _ in range(2)]

    said = [json.loads(job.communicate(timeout=HANGS_SECONDS)[0].splitlines()[-1]) for job in jobs]

    assert sorted(line["fetched"] for line in said) == [False, True]
    assert node.hub.requests.bytes_sent("cdn") == sum(len(content) for path, content in wanted.files.items() if "model" in path)
    assert wanted.is_whole()


def test_two_jobs_at_once_for_snapshots_that_share_a_content_fetch_that_once(node: Node) -> None:
    wanted = [node.want(shards(1, 2)), node.want(shards(2, 1), repository="slipway-demo/fork")]  # in opposite orders
    node.hub.faults.add(Fault(origin="cdn", times=None, bytes_per_second=4e6))
    jobs = [node.start(*one.command()) for one in wanted]

    said = [job.communicate(timeout=HANGS_SECONDS)[0].splitlines()[-1] for job in jobs]

    assert [job.returncode for job in jobs] == [0, 0], said
    assert all(one.is_whole() for one in wanted)
    assert node.hub.requests.bytes_sent("cdn") == 2 * len(wanted[0].files["model-1.safetensors"])


def test_a_token_goes_to_the_hub_and_nowhere_else(node: Node) -> None:
    node.token = "hf_secret"
    node.hub.tokens["hf_secret"] = {REPOSITORY}
    wanted = node.want(shards(1))
    # the same files, but now only for those who are let in
    assert node.hub.add(REPOSITORY, wanted.files, gated="manual")

    process = node.start(*wanted.command())
    said = "".join(process.communicate(timeout=HANGS_SECONDS))

    assert process.returncode == 0
    assert all(request.authorized for request in node.hub.requests if request.origin == "hub")
    assert node.gets()
    assert node.hub.requests.leaks() == []
    assert "hf_secret" not in said


def test_progress_is_said_at_most_once_a_second(node: Node) -> None:
    wanted = node.want(shards(1))
    size = len(wanted.files["model-1.safetensors"])
    node.hub.faults.add(Fault(origin="cdn", times=None, bytes_per_second=size / 10))

    begin = time.monotonic()
    lines = [line for line in wanted.fetch().lines if line["event"] == "progress"]

    assert 1 <= len(lines) <= time.monotonic() - begin
    assert [line["done_bytes"] for line in lines] == sorted(line["done_bytes"] for line in lines)
    assert all(0 <= line["done_bytes"] < line["total_bytes"] == wanted.size_bytes for line in lines)
    # on a busy machine nothing may have come in the first second
    assert all((line["bytes_per_second"] > 0) == (line["seconds_left"] is not None) for line in lines)


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a/../../b", ".manifest.json", "a\\b"])
def test_a_path_that_leaves_the_folder_is_refused_on_the_node_too(node: Node, path: str) -> None:
    wanted = node.want(shards(1))
    command = wanted.command()
    request = node.folder / f"slipway-demo--tiny-llama-{wanted.candidate.commit}.json"
    document = json.loads(request.read_text())
    document["files"][0]["path"] = path
    request.write_text(json.dumps(document))

    ended = node.run(*command)

    assert (ended.code, ended.error) == (1, "SpecInvalid")
    assert repr(path) in ended.message or path in ended.message
    assert len(node.hub.requests) == 0


def test_a_store_that_cannot_be_written_is_one_sentence(node: Node) -> None:
    wanted = node.want(shards(1))
    node.store.write_text("a file where the store should be")

    ended = wanted.fetch()

    assert (ended.code, ended.error) == (1, "NodeRejected")
    assert str(node.store) in ended.message
