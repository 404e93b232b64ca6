"""Programs as forks of one interpreter: tests/prefetch runs its program so, and the sandbox's nodes theirs; here, what neither shows."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from sandbox import confine
from sandbox.forks import Forks
from tests.support.forked import Forked

MISSING = "has no manifest: it is no snapshot, or a scrub found it damaged. Prefetch it again.\n"


def check(forks: Forks, folder: Path) -> Forked:
    """`flows.node check` of a folder that lies in the working directory."""
    return Forked(forks, "flows.node", ["check", "snapshot", "--digest", "0"], environment={}, folder=folder)


def test_each_has_arguments_a_folder_and_an_end_of_its_own(tmp_path: Path) -> None:
    with Forks(("flows.node",)) as forks:
        first, second = check(forks, tmp_path), check(forks, tmp_path)
        assert first.pid != second.pid
        assert [fork.communicate(60) for fork in (second, first)] == [(f"snapshot {MISSING}", "")] * 2
        assert (first.returncode, second.returncode) == (1, 1)
        wrong = Forked(forks, "flows.node", ["dance"], environment={}, folder=tmp_path)
        assert "invalid choice: 'dance'" in wrong.communicate(60)[1]
        assert wrong.returncode == 2


@pytest.mark.skipif(not confine.available(), reason="this kernel has no Landlock of version 3 or later")
def test_it_writes_where_it_may_and_nowhere_else(tmp_path: Path) -> None:
    (mine := tmp_path / "mine").mkdir()
    (other := tmp_path / "other").mkdir()
    ended = {}
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with Forks(("flows.node",)) as forks:
        for store in (mine, other):
            arguments = ["scrub", "--store", str(store)]
            fork = forks.start("flows.node", arguments, environment={}, folder=mine, stdout=nowhere, stderr=nowhere, writable=[mine])
            ended[store] = fork.join(60)
    os.close(nowhere)

    assert ended == {mine: 0, other: 1}
    assert list(mine.iterdir())
    assert list(other.iterdir()) == []


def test_an_interpreter_that_is_gone_starts_nothing_and_knows_of_no_end(tmp_path: Path) -> None:
    (read, write), nowhere = os.pipe(), os.open(os.devnull, os.O_WRONLY)
    with Forks(("flows.node",)) as forks:
        # given a fork that waits for its request to be written
        os.mkfifo(tmp_path / "request.json")
        arguments = ["fetch", "--request", "request.json", "--store", "store"]
        fork = forks.start("flows.node", arguments, environment={}, folder=tmp_path, stdout=nowhere, stderr=write)
        assert fork.returncode is None

        # when the interpreter is killed
        os.kill(os.getpgid(forks._process.pid), signal.SIGKILL)

        # then nobody can say how the fork ended, and there is no other
        assert fork.join(60) == -signal.SIGKILL
        with pytest.raises(OSError, match=r"."):
            forks.start("flows.node", arguments, environment={}, folder=tmp_path, stdout=nowhere, stderr=write)
        os.kill(fork.pid, signal.SIGKILL)
    for file in (read, write, nowhere):
        os.close(file)
