"""The index of a model says where each tensor is, and the headers of its files must agree; nothing of the weights is read for it."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from blocks.errors import HubRejected
from blocks.facts.model import ModelFacts
from tests.support.told_hub import ToldHub, index_file, safetensors

INDEX = "model.safetensors.index.json"
A, B = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
FILES = {A: safetensors("a", "b"), B: safetensors("c"), INDEX: index_file({"a": A, "b": A, "c": B}), "config.json": b"{}"}


def described(files: Mapping[str, bytes], folder: str = "") -> ModelFacts:
    client = ToldHub(files={folder + name: content for name, content in files.items()}).client()
    commit = client.commit("o/n", "main")
    index = client.index(commit, folder + INDEX)
    return client.describe(commit, [folder + name for name in sorted(set(index.values()))], folder=folder, index=index)


def refusal(files: Mapping[str, bytes]) -> str:
    with pytest.raises(HubRejected) as caught:
        described(files)
    assert caught.value.message.isprintable()
    return caught.value.message


@pytest.mark.parametrize("folder", ["", "fp8/"])
def test_every_tensor_is_where_the_index_has_it(folder: str) -> None:
    assert described(FILES, folder).stored == {"U8": 3}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({B: safetensors("d")}, f"o/n lacks tensor 'c', which its index has in {B}: it is not the whole model"),
        ({A: safetensors("a"), B: safetensors("d")}, f"lacks tensor 'b', which its index has in {A}, and 1 more"),
        ({A: safetensors("a", "c"), B: safetensors("b")}, f"lacks tensor 'b', which its index has in {A}, and 1 more"),
        ({B: safetensors("c", "a")}, f"o/n holds tensor 'a' twice, in {A} and in {B}"),
    ],
    ids=["lost", "two lost", "in another file", "twice"],
)
def test_a_tensor_that_is_not_where_it_should_be_is_named(changes: Mapping[str, bytes], says: str) -> None:
    assert says in refusal({**FILES, **changes})


@pytest.mark.parametrize(
    ("index", "says"),
    [
        (b"", "is not JSON"),
        (b"<html>", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "holds no JSON object"),
        (b"{}", "has no weight_map, or an empty one"),
        (b'{"weight_map": []}', "has no weight_map, or an empty one"),
        (b'{"weight_map": {}}', "has no weight_map, or an empty one"),
        (b'{"weight_map": {"a": null}}', "names no file for tensor 'a'"),
        (b'{"weight_map": {"a": ["x"]}}', "names no file for tensor 'a'"),
        (b'{"weight_map": {"a": ""}}', "names no file for tensor 'a'"),
        (json.dumps({"weight_map": {"a\x1b[31m": "x\n.safetensors"}}).encode(), "names no file for tensor"),
        (f'{{"weight_map": {{"a": "{A}", "a": "{B}"}}}}'.encode(), "has the key 'a' twice in one object"),
    ],
)
def test_an_index_that_is_none_is_one_sentence(index: bytes, says: str) -> None:
    message = refusal({**FILES, INDEX: index})

    assert message.startswith(f"{INDEX} of o/n ")
    assert says in message


def test_an_index_without_end_is_not_read() -> None:
    files = {**FILES, INDEX: b" " * (64 * 2**20 + 1)}
    hub = ToldHub(files=files)
    client = hub.client()

    with pytest.raises(HubRejected, match=r"has 67,108,865 bytes; an index has 67,108,864 at most"):
        client.index(client.commit("o/n", "main"), INDEX)
    assert not [url for url in hub.asked if "/resolve/" in url]


def test_an_index_other_than_the_listed_one_is_refused() -> None:
    hub = ToldHub(files=dict(FILES))
    client = hub.client()
    commit = client.commit("o/n", "main")
    hub.files = {**FILES, INDEX: FILES[INDEX].replace(b'"a"', b'"e"')}

    with pytest.raises(HubRejected, match=r"sent another model\.safetensors\.index\.json of o/n than its own list"):
        client.index(commit, INDEX)
