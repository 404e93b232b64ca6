"""A process that is killed at any byte loses one segment of each connection at most."""

from __future__ import annotations

import os
import signal
import time

import pytest

from sandbox.hub.faults import Fault
from tests.prefetch.conftest import CONNECTIONS, SEGMENT, Node, Wanted, shards
from tests.support.waiting import HANGS_SECONDS


def kill_when(wanted: Wanted, sent_bytes: int, how: int = signal.SIGKILL) -> None:
    """Start the program, and kill it when so many bytes of the CDN are on their way."""
    node = wanted.node
    before = node.hub.requests.bytes_sent("cdn")
    process = node.start(*wanted.command())
    deadline = time.monotonic() + HANGS_SECONDS
    while node.hub.requests.bytes_sent("cdn") - before < sent_bytes:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(process.pid, how)
    process.communicate(timeout=HANGS_SECONDS)
    assert process.returncode == (143 if how == signal.SIGTERM else -how)


def test_killed_again_and_again_it_loses_a_segment_of_each_connection_at_most(node: Node) -> None:
    wanted = node.want(shards(1, 2))
    size = 2 * len(wanted.files["model-1.safetensors"])
    node.hub.faults.add(Fault(origin="cdn", times=None, bytes_per_second=200_000))
    kills = [1, SEGMENT - 1, 5 * SEGMENT + 1, 9 * SEGMENT]
    for sent_bytes in kills:
        kill_when(wanted, sent_bytes)
        assert not wanted.folder.exists()
    node.hub.faults.clear()

    ended = wanted.fetch()

    assert ended.code == 0
    assert wanted.is_whole()
    assert node.hub.requests.bytes_sent("cdn") <= size + len(kills) * CONNECTIONS * SEGMENT
    # what the last process but one had noted was kept, and not asked for again
    resumed = [line for line in ended.lines if line["event"] == "resuming"]
    assert sum(line["kept_bytes"] for line in resumed) > 0


def test_it_ends_at_once_on_sigterm_and_goes_on_later(node: Node) -> None:
    wanted = node.want(shards(1))
    node.hub.faults.add(Fault(origin="cdn", times=None, bytes_per_second=200_000))

    kill_when(wanted, 5 * SEGMENT, signal.SIGTERM)

    node.hub.faults.clear()
    assert wanted.fetch().code == 0
    assert wanted.is_whole()


@pytest.mark.parametrize("damage", ["segment", "journal", "half a line", "other segments"])
def test_what_a_lost_node_left_behind_is_not_believed(node: Node, damage: str) -> None:
    wanted = node.want(shards(1))
    node.hub.faults.add(Fault(origin="cdn", times=None, bytes_per_second=200_000))
    kill_when(wanted, 9 * SEGMENT)
    node.hub.faults.clear()
    (journal,) = (node.store / ".parts").glob("*.journal")
    part = journal.with_suffix("")
    assert len(journal.read_text().splitlines()) > 1
    if damage == "segment":  # as after a power loss: noted, but torn
        with part.open("r+b") as file:
            file.write(bytes(SEGMENT * 9))
    elif damage == "journal":
        journal.write_text("{}\n0\n1\n2\n")
    elif damage == "half a line":
        journal.write_text(journal.read_text() + "1")  # of "12\n"
    else:
        node.options["--segment-bytes"] = 2 * SEGMENT

    assert wanted.fetch().code == 0

    assert wanted.is_whole()
