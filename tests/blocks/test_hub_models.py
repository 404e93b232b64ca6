"""What the hub block reads of a model: by range requests, bounded, and never with the token at the CDN; what lies is one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pytest
from pydantic import SecretStr

from blocks.errors import HubRejected, HubUnreachable, PipelineError
from blocks.facts.model import ModelFacts
from blocks.hub import Hub
from flows.candidate.files import weight_files
from sandbox import hub as stand_in
from sandbox import models
from sandbox.hub.faults import Fault
from tests.support.waiting import HANGS_SECONDS

REPOSITORY = "slipway-demo/tiny"


PLAIN = models.make_model()


def describe(
    hub: stand_in.Hub, files: Mapping[str, bytes], *, token: str | None = None, timeout_seconds: float = HANGS_SECONDS, **options: object
) -> ModelFacts:
    sha = hub.add(REPOSITORY, files, **options)  # type: ignore[arg-type]
    block = Hub(endpoint=hub.url, token=SecretStr(token) if token else None, timeout_seconds=timeout_seconds)
    with block.client() as client:
        commit = client.commit(REPOSITORY, sha)
        hub.requests.clear()
        return client.describe(commit, weight_files([file.path for file in commit.files]))


def refusal(hub: stand_in.Hub, files: Mapping[str, bytes], kind: type[PipelineError] = HubRejected, **options: float) -> str:
    with pytest.raises(kind) as caught:
        describe(hub, files, **options)  # type: ignore[arg-type]
    assert "\n" not in caught.value.message
    return caught.value.message


def safetensors(header: bytes, data_bytes: int = 0) -> dict[str, bytes]:
    return {"config.json": b"{}", "model.safetensors": len(header).to_bytes(8, "little") + header + b"\0" * data_bytes}


def test_a_model_is_described_without_fetching_it(hub: stand_in.Hub) -> None:
    files = models.make_model(dtype="bfloat16", shards=3)

    about = describe(hub, {**files, "model.gguf": b"GGUF", "training_args.bin": b""})

    assert about.stored == {"BF16": about.parameters}
    assert about.weights_bytes == 2 * about.parameters
    assert (about.dtype, about.config.architecture) == ("BF16", "LlamaForCausalLM")
    assert json.loads(about.config.configuration)["max_position_embeddings"] == 2048
    assert (about.licences, about.gated, about.remote_code) == (("apache-2.0",), False, ())
    assert about.formats == ("bin", "gguf", "safetensors")
    # two requests a file, and 64 KiB of each file of weights at the most
    assert len(hub.requests) == 2 * (3 + 2)
    assert hub.requests.bytes_sent("cdn") == 3 * 65536
    assert all(request.range for request in hub.requests)


def test_a_long_header_takes_a_second_range(hub: stand_in.Hub) -> None:
    tensors = {f"layer.{index}": {"dtype": "U8", "shape": [1], "data_offsets": [index, index + 1]} for index in range(2000)}

    assert describe(hub, safetensors(json.dumps(tensors).encode(), 2000)).stored == {"U8": 2000}
    assert len([request for request in hub.requests if request.origin == "cdn"]) == 2


def test_code_and_who_else_has_it_is_seen(hub: stand_in.Hub) -> None:
    files = models.make_model(auto_map=True)
    tokenizer = json.loads(files["tokenizer_config.json"]) | {"auto_map": {"AutoTokenizer": ["other/code--tokenization.Slow", None]}}

    about = describe(hub, {**files, "tokenizer_config.json": json.dumps(tokenizer).encode(), "inference/run.py": b""})

    assert about.remote_code == ("config.json (auto_map)", "tokenizer_config.json (auto_map)", "modeling_remembering.py")
    assert about.foreign_code == ("other/code",)


@pytest.mark.parametrize(
    ("card", "licences"),
    [
        ("license: MIT", ("mit",)),
        ("license: [apache-2.0, mit]", ("apache-2.0", "mit")),
        ("license: other\nlicense_name: Qwen-Research", ("qwen-research",)),
        ("license: other", ("other",)),
        ("language: en", ()),
    ],
)
def test_licences_are_those_of_the_model_card(hub: stand_in.Hub, card: str, licences: tuple[str, ...]) -> None:
    sha = hub.add(REPOSITORY, {"README.md": f"---\n{card}\n---\n".encode()})

    with Hub(endpoint=hub.url).client() as client:
        assert client.commit(REPOSITORY, sha).licences == licences


def test_the_token_opens_a_gated_repository_and_never_reaches_the_cdn(hub: stand_in.Hub) -> None:
    hub.tokens["a-token"] = {REPOSITORY}

    about = describe(hub, PLAIN, token="a-token", gated="manual")

    assert about.gated
    assert hub.requests.leaks() == []
    assert all(request.authorized for request in hub.requests if request.origin == "hub")


def test_access_that_ended_meanwhile_is_explained(hub: stand_in.Hub) -> None:
    hub.faults.add(Fault(path="*/resolve/*/config.json", status=401, headers={"x-error-code": "GatedRepo"}))

    assert "is gated and no token is set" in refusal(hub, PLAIN)


@pytest.mark.parametrize("header", [b"not JSON", b"[]", b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}'])
def test_a_header_that_lies_is_refused_by_the_files_name(hub: stand_in.Hub, header: bytes) -> None:
    assert re.match(r"model\.safetensors of slipway-demo/tiny .*whole safetensors file", refusal(hub, safetensors(header, 4)))


def test_a_header_without_end_is_not_read(hub: stand_in.Hub) -> None:
    content = (2**63).to_bytes(8, "little") + b" " * 200_000

    assert "states a header of 9,223,372,036,854,775,808 bytes" in refusal(hub, {"config.json": b"{}", "model.safetensors": content})
    assert hub.requests.bytes_sent("cdn") <= 65536


@pytest.mark.parametrize("config", [b"[]", b"not JSON", b"", b"[" * 50_000])
def test_a_configuration_that_is_no_object_is_refused_by_its_name(hub: stand_in.Hub, config: bytes) -> None:
    assert refusal(hub, {**PLAIN, "config.json": config}).startswith("config.json of slipway-demo/tiny ")


def test_an_endless_configuration_is_not_read(hub: stand_in.Hub) -> None:
    assert "a configuration has 8,388,608 at most" in refusal(hub, {**PLAIN, "config.json": b" " * (8 * 2**20 + 1)})
    assert hub.requests.bytes_sent("hub") < 2**20


def test_a_configuration_other_than_the_listed_one_is_refused(hub: stand_in.Hub) -> None:
    hub.faults.add(Fault(path="*/config.json", flip_byte_at=3, skip=1))

    assert "sent another config.json of slipway-demo/tiny than its own list" in refusal(hub, PLAIN)


def test_a_server_without_ranges_costs_no_more(hub: stand_in.Hub) -> None:
    # Nothing comes behind the bytes that a range would have had: whoever waits for more meets the time limit.
    hub.faults.add(Fault(origin="cdn", ignore_range=True, stall_after_bytes=65536, times=None))

    about = describe(hub, PLAIN)

    assert about.stored == {"F32": about.parameters}
    assert about.weights_bytes > 65536


def test_another_commit_than_the_one_asked_for_is_refused(hub: stand_in.Hub) -> None:
    hub.faults.add(Fault(path="*/resolve/*/config.json", headers={"x-repo-commit": "f" * 40}))

    assert f"of commit {'f' * 40}" in refusal(hub, PLAIN)


def test_redirects_in_circles_end(hub: stand_in.Hub) -> None:
    hub.faults.add(Fault(path="*/config.json", status=302, headers={"location": "config.json"}, times=None))

    assert "redirects config.json of slipway-demo/tiny in circles" in refusal(hub, PLAIN)


@pytest.mark.parametrize("location", ["ftp://example/config.json", "file:///etc/passwd", "http://[bad/"])
def test_a_redirect_to_nowhere_is_refused(hub: stand_in.Hub, location: str) -> None:
    hub.faults.add(Fault(path="*/config.json", status=302, headers={"location": location}, times=None))

    with pytest.raises((HubRejected, HubUnreachable)) as caught:
        describe(hub, PLAIN)
    assert hub.url in caught.value.message


@pytest.mark.parametrize(
    "fault",
    [
        Fault(origin="cdn", status=503),
        Fault(origin="cdn", status=429),
        Fault(origin="cdn", reset_after_bytes=0),
        Fault(origin="cdn", reset_after_bytes=100),
        Fault(origin="cdn", truncate_after_bytes=100),
        Fault(origin="cdn", stall_after_bytes=100),
        Fault(origin="cdn", bytes_per_second=20_000),
    ],
    ids=["503", "429", "reset", "reset in the middle", "truncated", "stalled", "trickles"],
)
def test_a_hub_in_trouble_is_worth_another_try(hub: stand_in.Hub, fault: Fault) -> None:
    hub.faults.add(fault)

    assert hub.url in refusal(hub, PLAIN, HubUnreachable, timeout_seconds=0.4)
    hub.faults.clear()
    assert describe(hub, PLAIN).parameters


def test_more_files_of_weights_than_any_model_has_are_not_read(hub: stand_in.Hub) -> None:
    files = {f"part-{index}.safetensors": b"x" for index in range(1001)}

    assert "has 1001 files of weights" in refusal(hub, {"config.json": b"{}", **files})
    assert len(hub.requests) == 0
