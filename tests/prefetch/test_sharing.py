"""Nodes share a snapshot: real processes, each with an address and a store of its own, over TLS."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.weights.secret import share_secret
from sandbox.hub import Hub
from tests.prefetch.conftest import Ended, Node, Wanted, shards

#: Addresses of this machine that nobody else listens on, all with one port.
PORT = 8444


@dataclass
class Fleet:
    """Nodes that want the same snapshot."""

    wanted: list[Wanted]
    secret: Path
    host: int

    def start(self, rank: int, **options: Any) -> subprocess.Popen[str]:
        wanted = self.wanted[rank]
        chosen = {
            "share_secret": self.secret,
            "share_rank": rank,
            "share_nodes": len(self.wanted),
            "share_bind": f"127.8.{self.host}.{rank + 1}:{PORT}",
            "share_quiet_seconds": 2,
            "share_linger_seconds": 5,
            "share_meet_seconds": 5,
            **options,
        }
        others = [word for number in range(len(self.wanted)) for word in ("--share-with", f"127.8.{self.host}.{number + 1}:{PORT}")]
        return wanted.node.start(*wanted.command(**chosen), *others)

    def run(self, ranks: Sequence[int], **options: Any) -> list[Ended]:
        return ended([self.start(rank, **options) for rank in ranks])


def ended(processes: Sequence[subprocess.Popen[str]]) -> list[Ended]:
    found = []
    for process in processes:
        said, complained = process.communicate(timeout=90)
        assert complained == "", complained
        found.append(Ended(process.returncode, [json.loads(line) for line in said.splitlines()]))
    return found


@pytest.fixture
def fleet(tmp_path: Path, hub: Hub, worker_id: str) -> Any:
    def make(count: int, files: dict[str, bytes]) -> Fleet:
        secret = tmp_path / "secret"
        secret.mkdir()
        for name, text in share_secret().items():
            (secret / name).write_text(text)
        wanted = []
        for number in range(count):
            (folder := tmp_path / f"node-{number}").mkdir()
            node = Node(folder, hub)
            wanted.append(node.want(files) if not wanted else Wanted(node, wanted[0].candidate, files))
        return Fleet(wanted, secret, int("0" + "".join(c for c in worker_id if c.isdigit())))

    return make


def test_nodes_share_one_download(fleet: Any) -> None:
    files = shards(1, 2) | {"empty.txt": b""}
    made = fleet(3, files)
    hub = made.wanted[0].node.hub
    results = made.run([0, 1, 2])
    assert [result.event for result in results] == ["complete"] * 3
    assert all(wanted.is_whole() for wanted in made.wanted)
    said = [result.lines[-1] for result in results]
    assert hub.requests.bytes_sent("cdn") <= 1.15 * made.wanted[0].size_bytes
    assert all(line["peer_bytes"] for line in said)
