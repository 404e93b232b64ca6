"""A node with its store, the program that fills it, and a hub of its own with files that are quick to make and long enough to divide."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from blocks.hub import Hub as HubBlock
from flows.node.layout import snapshot_folder
from flows.spec import Candidate, SnapshotFile
from flows.spec.load import ROOT
from flows.weights.prefetch import prefetch_files
from sandbox.forks import Forks
from sandbox.hub import Hub
from sandbox.hub.log import LoggedRequest
from tests.support.examples import candidate
from tests.support.forked import Forked
from tests.support.waiting import HANGS_SECONDS

REPOSITORY = "slipway-demo/tiny-llama"

#: Small enough for quick tests, large enough for many segments.
SEGMENT = 1 << 16
CONNECTIONS = 4

#: Quick to give up, so that tests need not wait. What is silent for a second may only be busy: a test of silence says how long it lasts.
IMPATIENT = {"--segment-bytes": SEGMENT, "--connections": CONNECTIONS, "--back-off-seconds": 0.01, "--attempts": 4}


def noise(seed: int, size: int) -> bytes:
    """Bytes that are the same for the same seed, and compress to nothing less."""
    return random.Random(seed).randbytes(size)


def shards(*seeds: int, size: int = 20 * SEGMENT + 777) -> dict[str, bytes]:
    """A repository of one file of weights for each seed."""
    weights = {f"model-{number}.safetensors": noise(seed, size) for number, seed in enumerate(seeds, 1)}
    return {"config.json": b'{"model_type": "llama"}', "tokenizer.json": noise(99, 5000), **weights}


@dataclass
class Ended:
    """How the program ended: exit code, all that it said, and its last word."""

    code: int
    lines: list[dict[str, Any]]

    @property
    def event(self) -> str:
        return str(self.lines[-1]["event"])

    @property
    def error(self) -> str:
        return str(self.lines[-1]["error"])

    @property
    def message(self) -> str:
        return str(self.lines[-1]["message"])


@dataclass
class Node:
    """A node's store, and the program that fills it."""

    folder: Path
    hub: Hub
    forks: Forks
    options: dict[str, Any] = field(default_factory=lambda: dict(IMPATIENT))
    token: str | None = None
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def want(self, files: Mapping[str, bytes], *, repository: str = REPOSITORY, **options: Any) -> Wanted:
        """Put the files on the hub, as a commit that is wanted on the node."""
        sha = self.hub.add(repository, files, **options)
        with HubBlock(endpoint=self.hub.url).client() as client:
            listed = client.commit(repository, sha)
        made = candidate(repository=repository, commit=sha, files=tuple(SnapshotFile(**asdict(file)) for file in listed.files))
        self.hub.requests.clear()
        return Wanted(self, made, dict(files))

    def command(self, verb: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "flows.node", verb, *arguments]

    def environment(self) -> dict[str, str]:
        own = {
            "HF_ENDPOINT": self.hub.url,
            "HF_HOME": f"{self.folder}/home",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "PATH": os.environ["PATH"],
            **self.variables,
        }
        if self.token is not None:
            (self.folder / "token").write_text(self.token)
            own["HF_TOKEN_PATH"] = f"{self.folder}/token"
        return own

    def start(self, *command: str) -> Forked | subprocess.Popen[str]:
        """Start a command; the program itself as a fork of one interpreter: imports were half of what most of these tests took."""
        if command[:3] == (sys.executable, "-m", "flows.node"):
            return Forked(self.forks, "flows.node", command[3:], environment=self.environment(), folder=ROOT)
        return subprocess.Popen(
            command, env=self.environment(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def run(self, *command: str) -> Ended:
        process = self.start(*command)
        said, complained = process.communicate(timeout=HANGS_SECONDS)
        assert complained == "", complained
        assert process.returncode is not None
        return Ended(process.returncode, [json.loads(line) for line in said.splitlines()])

    def scrub(self, **options: Any) -> Ended:
        return self.run(*self.command("scrub", "--store", str(self.store), *_flags(options)))

    def gets(self) -> list[LoggedRequest]:
        """The requests for contents."""
        return [request for request in self.hub.requests if request.origin == "cdn" and request.method == "GET"]


@dataclass
class Wanted:
    """A snapshot that is wanted on a node."""

    node: Node
    candidate: Candidate
    files: dict[str, bytes]

    @property
    def folder(self) -> Path:
        return self.node.store / snapshot_folder(self.candidate.repository, self.candidate.commit)

    @property
    def size_bytes(self) -> int:
        return sum(len(content) for content in self.files.values())

    def command(self, *keep: str, **options: Any) -> list[str]:
        request = self.node.folder / f"{self.candidate.repository.replace('/', '--')}-{self.candidate.commit}.json"
        request.write_text(prefetch_files(self.candidate, keep)["request.json"])
        chosen = {**self.node.options, "--reserve-percent": 0, **{f"--{key.replace('_', '-')}": value for key, value in options.items()}}
        return self.node.command("fetch", "--request", str(request), "--store", str(self.node.store), *_flags(chosen))

    def fetch(self, *keep: str, **options: Any) -> Ended:
        return self.node.run(*self.command(*keep, **options))

    def is_whole(self) -> bool:
        """Whether the folder holds the hub's bytes, and nothing but them and the manifest."""
        if not (self.folder / ".manifest.json").exists():
            return False
        names = {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()}
        return names == {*self.files, ".manifest.json"} and all(
            hashlib.sha256((self.folder / path).read_bytes()).digest() == hashlib.sha256(content).digest()
            for path, content in self.files.items()
        )


def _flags(options: Mapping[str, Any]) -> list[str]:
    return [word for key, value in options.items() for word in (key if key.startswith("--") else f"--{key.replace('_', '-')}", str(value))]


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    with Forks(("flows.node",), ("flows.node.fetch", "flows.node.scrub")) as forks:
        yield forks


@pytest.fixture
def node(tmp_path: Path, hub: Hub, forks: Forks) -> Node:
    return Node(tmp_path, hub, forks)
