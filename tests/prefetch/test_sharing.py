"""Nodes share a snapshot: real processes, each with an address and a store of its own, over TLS."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.spec.load import ROOT
from flows.weights.secret import share_secret
from sandbox.forks import Forks
from sandbox.hub import Fault, Hub
from tests.prefetch.conftest import SEGMENT, Ended, Node, Wanted, shards
from tests.support.cache import CachingProxy
from tests.support.waiting import until

#: All of them listen on one port, each on an address of its own.
PORT = 8444


@dataclass
class Fleet:
    """Nodes that want the same snapshot."""

    wanted: list[Wanted]
    secret: Path

    def address(self, rank: int) -> str:
        """An address of this machine that nobody else listens on: not another run of these tests either."""
        host, process = divmod(os.getpid(), 250)
        return f"127.{100 + host % 150}.{process}.{rank + 1}:{PORT}"

    def start(self, rank: int, **options: Any) -> subprocess.Popen[str]:
        wanted = self.wanted[rank]
        chosen = {
            "share_secret": self.secret,
            "share_rank": rank,
            "share_nodes": len(self.wanted),
            "share_bind": self.address(rank),
            # On a busy machine a program begins seconds after another: none is done without because it is late.
            "share_meet_seconds": 40,
            "share_quiet_seconds": 40,
            "share_linger_seconds": 40,
            **options,
        }
        others = [word for number in range(len(self.wanted)) for word in ("--share-with", self.address(number))]
        # Programs of their own, and no forks: each listens, and lives on with threads of its own.
        return subprocess.Popen(
            [*wanted.command(**chosen), *others],
            env=wanted.node.environment(),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, ranks: Sequence[int], **options: Any) -> list[Ended]:
        return ended([self.start(rank, **options) for rank in ranks])


def came(results: Sequence[Ended]) -> tuple[int, int]:
    """Bytes that all of them say came from the hub, and from each other."""
    said = [result.lines[-1] for result in results]
    return sum(line["hub_bytes"] for line in said), sum(sum(line["peer_bytes"].values()) for line in said)


def ended(processes: Sequence[subprocess.Popen[str]]) -> list[Ended]:
    found = []
    for process in processes:
        said, complained = process.communicate(timeout=240)
        assert complained == "", complained
        found.append(Ended(process.returncode, [json.loads(line) for line in said.splitlines()]))
    return found


@pytest.fixture
def fleet(tmp_path: Path, hub: Hub, forks: Forks) -> Any:
    def make(count: int, files: dict[str, bytes]) -> Fleet:
        secret = tmp_path / "secret"
        secret.mkdir()
        for name, text in share_secret().items():
            (secret / name).write_text(text)
        wanted = []
        for number in range(count):
            (folder := tmp_path / f"node-{number}").mkdir()
            node = Node(folder, hub, forks)
            wanted.append(node.want(files) if not wanted else Wanted(node, wanted[0].candidate, files))
        return Fleet(wanted, secret)

    return make


def test_nodes_share_one_download(fleet: Any) -> None:
    files = shards(1, 2) | {"empty.txt": b""}
    made = fleet(3, files)
    hub = made.wanted[0].node.hub
    # and the hub is gone when it has sent each of its 42 pieces about once
    hub.faults.add(Fault(origin="cdn", skip=48, times=None, status=503))

    results = made.run([0, 1, 2])

    assert [result.event for result in results] == ["complete"] * 3
    assert all(wanted.is_whole() for wanted in made.wanted)
    # Who brings how much depends on who begins first: not that the hub sends all of it about once, and they each other the rest.
    size_bytes = made.wanted[0].size_bytes
    assert hub.requests.bytes_sent("cdn") <= 1.15 * size_bytes
    from_hub, from_peers = came(results)
    assert size_bytes <= from_hub <= 1.15 * size_bytes
    assert from_hub + from_peers >= 3 * size_bytes


def test_one_that_has_it_gives_it_and_the_hub_is_not_asked(fleet: Any) -> None:
    made = fleet(2, shards(3))
    assert made.wanted[0].fetch().event == "complete"
    hub = made.wanted[0].node.hub
    hub.requests.clear()

    # One of them knows the other's address alone: it is asked back.
    giving, taking = made.run([0, 1])

    assert [line["event"] for line in giving.lines] == ["complete"]
    assert not giving.lines[0]["fetched"]
    assert taking.lines[-1]["hub_bytes"] == 0
    assert made.wanted[1].is_whole()
    assert not [request for request in hub.requests if request.method == "GET"]


def test_one_that_is_killed_at_any_moment_is_done_without_and_comes_back(fleet: Any) -> None:
    made = fleet(3, shards(4, 5, size=60 * SEGMENT))
    hub = made.wanted[0].node.hub
    hub.faults.add(Fault(origin="cdn", times=None, bytes_per_second=500_000))  # it is still at it when it is killed
    processes = [made.start(rank, share_quiet_seconds=2) for rank in range(3)]
    _until_some_is_noted(made.wanted[1])
    hub.faults.clear()
    processes[1].kill()
    processes[1].communicate()

    (again,) = made.run([1], share_quiet_seconds=2)

    assert again.event == "complete"
    assert [result.event for result in ended([processes[0], processes[2]])] == ["complete"] * 2
    assert all(wanted.is_whole() for wanted in made.wanted)


def test_one_that_stands_still_in_the_middle_is_done_without_and_goes_on_when_it_can(fleet: Any) -> None:
    # given one that neither sends nor answers, as from behind a partition
    made = fleet(3, shards(12, size=60 * SEGMENT))
    hub = made.wanted[0].node.hub
    hub.faults.add(Fault(origin="cdn", times=None, bytes_per_second=400_000))
    processes = [made.start(rank, share_quiet_seconds=2) for rank in range(3)]
    _until_some_is_noted(made.wanted[1])
    processes[1].send_signal(signal.SIGSTOP)
    hub.faults.clear()

    # when the others are done, then it goes on with what they have
    until(lambda: all(made.wanted[rank].is_whole() for rank in (0, 2)), pause_seconds=0.1)
    processes[1].send_signal(signal.SIGCONT)

    assert [result.event for result in ended(processes)] == ["complete"] * 3
    assert all(wanted.is_whole() for wanted in made.wanted)


def test_two_releases_on_one_node_at_once_with_contents_in_common(fleet: Any) -> None:
    made = fleet(2, shards(13, 14))
    node = made.wanted[0].node
    other = node.want(shards(14, 13), repository="slipway-demo/fork")

    alone = subprocess.Popen(other.command(), env=node.environment(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    results = ended([made.start(0), made.start(1), alone])

    assert [result.event for result in results] == ["complete"] * 3
    assert other.is_whole()
    assert all(wanted.is_whole() for wanted in made.wanted)


def _until_some_is_noted(wanted: Wanted) -> None:
    journals = wanted.node.store / ".parts"
    until(lambda: any(len(path.read_text().splitlines()) > 4 for path in journals.glob("*.journal")), pause_seconds=0.01)


def test_a_stranger_gets_nothing_and_holds_nobody_up(fleet: Any, tmp_path: Path) -> None:
    made = fleet(2, shards(6))
    (foreign := tmp_path / "foreign").mkdir()
    for name, text in share_secret().items():
        (foreign / name).write_text(text)

    assert made.wanted[0].fetch().event == "complete"

    # Nobody is heard, and so nobody is waited for longer than for one that is late.
    results = ended(
        [
            made.start(0, share_linger_seconds=4),
            made.start(1, share_secret=foreign, share_meet_seconds=1, share_quiet_seconds=2, share_linger_seconds=1),
        ]
    )

    assert [result.event for result in results] == ["complete"] * 2
    # the other holds another key: it is told nothing, and comes to everything by the hub
    assert results[1].lines[-1]["peer_bytes"] == {}
    assert made.wanted[1].is_whole()


def test_one_that_sends_other_bytes_than_it_claims_is_named_and_not_asked_again(fleet: Any) -> None:
    made = fleet(2, shards(7))
    assert made.wanted[0].fetch().event == "complete"
    # given weights that were proven, and that the disk has changed since
    path = next(path for path in made.wanted[0].folder.glob("*.safetensors"))
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(5 * SEGMENT)
        file.write(b"another")

    giving, taking = made.run([0, 1])

    assert giving.event == taking.event == "complete"
    assert {"event": "wrong", "path": path.name, "piece": 5, "node": 0} in taking.lines
    assert made.wanted[1].is_whole()


def test_a_hub_that_refuses_one_of_them_does_not_matter(fleet: Any) -> None:
    made = fleet(2, shards(8))
    made.wanted[1].node.variables["HF_ENDPOINT"] = "http://127.0.0.1:9"

    results = made.run([0, 1])

    assert [result.event for result in results] == ["complete"] * 2
    assert results[1].lines[-1]["hub_bytes"] == 0
    assert made.wanted[1].is_whole()


def test_without_the_hub_all_end_with_its_error(fleet: Any) -> None:
    made = fleet(2, shards(9))
    for wanted in made.wanted:
        wanted.node.variables["HF_ENDPOINT"] = "http://127.0.0.1:9"

    for result in made.run([0, 1], share_quiet_seconds=2, share_linger_seconds=2):
        assert (result.event, result.error) == ("failed", "HubUnreachable")


def test_behind_a_caching_proxy_nodes_need_not_share(fleet: Any) -> None:
    made = fleet(2, shards(10))
    hub = made.wanted[0].node.hub
    with CachingProxy().served() as proxy:
        for wanted in made.wanted:
            wanted.node.variables.update({"http_proxy": proxy.url, "no_proxy": ""})
            assert wanted.fetch().event == "complete"
            assert wanted.is_whole()
        sent = hub.requests.bytes_sent("cdn")

        # and a cache that keeps wrong bytes is found
        place = next(place for place, kept in proxy.kept.items() if kept[0] == 206)
        status, headers, body = proxy.kept[place]
        proxy.kept[place] = (status, headers, bytes(len(body)))
        shutil.rmtree(made.wanted[1].node.store)
        corrupt = made.wanted[1].fetch()

    weights = sum(len(content) for name, content in made.wanted[0].files.items() if name.endswith(".safetensors"))
    assert sent == weights
    assert (corrupt.event, corrupt.error) == ("failed", "SnapshotCorrupt")


def test_a_hub_that_sends_no_parts_is_put_up_with(fleet: Any) -> None:
    made = fleet(2, shards(11))
    made.wanted[0].node.hub.faults.add(Fault(origin="cdn", path="*", ignore_range=True, times=None))

    results = made.run([0, 1])

    assert [result.event for result in results] == ["complete"] * 2
    assert all(wanted.is_whole() for wanted in made.wanted)
