"""A hub in memory: it says what a test has it say, and its repositories are made from a seed, whole ones and broken ones."""

from __future__ import annotations

import hashlib
import json
import random
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import unquote

from blocks.hub.client import HubClient
from blocks.hub.web import About, Answer, Web

COMMIT = "a" * 40


@dataclass
class ToldHub:
    """Answers as the hub does, without a network.

    Attributes:
        files: Path → content of the one repository's files.
        pages: The listing as it is sent, page by page; from `files` where there are none.
        info: What is said of the revision.
        refs: Branches and tags.
        asked: The addresses that were asked.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    pages: list[bytes] = field(default_factory=list)
    info: bytes = json.dumps({"id": "o/n", "sha": COMMIT, "gated": False, "cardData": {"license": "mit"}}).encode()
    refs: bytes = b"{}"
    asked: list[str] = field(default_factory=list)
    endpoint: str = "https://hub.test"
    seconds: float = 1.0

    def client(self) -> HubClient:
        """The block's client, which asks this hub."""
        self.pages = self.pages or [json.dumps([listed(path, content) for path, content in self.files.items()]).encode()]
        return HubClient(cast(Web, self))

    def get(self, url: str, about: About, most_bytes: int, *, stretch: tuple[int, int] | None = None) -> Answer:
        self.asked.append(url)
        if "/resolve/" in url:
            begin, end = stretch or (0, most_bytes)
            body = self.files[unquote(url.partition(f"/resolve/{COMMIT}/")[2])][begin:end]
        elif url.endswith("/refs"):
            body = self.refs
        elif "/revision/" in url:
            body = self.info
        else:
            body = self.pages.pop(0) if "/tree/" in url else b"{}"
        return Answer(url=url, headers={}, body=body, commits=frozenset())

    def next_page(self, answer: Answer, about: About) -> str | None:
        return answer.url if self.pages else None

    def close(self) -> None:
        return


def listed(path: str, content: bytes) -> dict[str, Any]:
    """The line of a listing for a file."""
    made: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": git_sha1(content)}
    if path.endswith(".safetensors"):
        made["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return made


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()


def safetensors(*tensors: str) -> bytes:
    """A small file of weights that holds these."""
    header = {name: {"dtype": "U8", "shape": [1], "data_offsets": [place, place + 1]} for place, name in enumerate(tensors)}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(len(tensors))


def index_file(places: Mapping[str, str]) -> bytes:
    return json.dumps({"metadata": {}, "weight_map": places}).encode()


def generated_repository(generator: random.Random) -> dict[str, bytes]:
    """The files of a repository as one of many layouts, with nothing or something wrong."""
    count = generator.randrange(1, 5)
    tensors = [f"layer.{number}.weight" for number in range(count * generator.randrange(1, 4))]
    prefix = generator.choice(["model", "model", "model", "consolidated", "pytorch_model", "weights"])
    first, digits = generator.choice([1, 1, 1, 0]), generator.choice([1, 5, 5, 6])
    parts = [tensors[number::count] for number in range(count)]
    names = [f"{prefix}-{first + number:0{digits}d}-of-{count:0{digits}d}.safetensors" for number in range(count)]
    if count == 1 and generator.random() < 0.7:
        names = [f"{prefix}.safetensors"]
    files = {name: safetensors(*part) for name, part in zip(names, parts, strict=True)}
    places = {tensor: name for name, part in zip(names, parts, strict=True) for tensor in part}
    if generator.random() < 0.6:
        files[f"{'consolidated' if prefix == 'consolidated' else 'model'}.safetensors.index.json"] = index_file(_wrong(generator, places))
    for name in generator.sample(_BESIDE, generator.randrange(len(_BESIDE))):
        files.setdefault(name, safetensors(generator.choice(tensors), "other") if name.endswith(".safetensors") else b"{}")
    files |= {name: b"{}" for name in ("config.json", "params.json", "tokenizer.json") if generator.random() < 0.95}
    for _ in range(generator.choice([0, 0, 1, 2])):
        _break(generator, files)
    folder = generator.choice(["", "", "", "variant/"])
    return {folder + name: content for name, content in files.items()}


_BESIDE = [
    "model.safetensors", "consolidated.safetensors", "adapter_model.safetensors", "mtp.safetensors", "model-00009-of-00009.safetensors",
    "pytorch_model.bin", "original/consolidated.00.pth", "sub/model.safetensors", "training_args.bin", "README.md", "x.npz",
]  # fmt: skip


def _wrong(generator: random.Random, places: dict[str, str]) -> dict[str, str]:
    tensor = generator.choice(list(places))
    return generator.choice(
        [
            places, places, places,
            {**places, tensor: "gone.safetensors"},
            {**places, tensor: f"sub/{places[tensor]}"},
            {**places, tensor: "../" + places[tensor]},
            {**places, tensor: "pytorch_model.bin"},
            {**places, tensor: generator.choice(list(places.values()))},
            {**places, "extra.weight": places[tensor]},
            {name: place for name, place in places.items() if name != tensor},
            {},
        ]
    )  # fmt: skip


def _break(generator: random.Random, files: dict[str, bytes]) -> None:
    name = generator.choice(list(files))
    content = files[name]
    kind = generator.randrange(5)
    if kind == 0:
        del files[name]
        files.setdefault("README.md", b"")
    elif kind == 1:
        files[name] = content[: generator.randrange(len(content) + 1)]
    elif kind == 2:
        files[name] = bytes(generator.randrange(256) for _ in range(generator.randrange(40)))
    elif kind == 3:
        files["".join(generator.choices(string.ascii_letters, k=5)) + ".safetensors"] = content
    else:
        files[name] = content + b"\0"
