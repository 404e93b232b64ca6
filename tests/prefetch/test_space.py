"""Room on the disk: a reserve that stays free, the least needed goes first, and nothing that is in use."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable

import pytest

from sandbox.hub.faults import Fault
from tests.prefetch.conftest import Node, Wanted, shards

#: A reserve that no disk keeps, so that everything goes that may.
ALL = {"reserve_percent": 99.999}


def used(wanted: Wanted, hours_ago: float) -> Wanted:
    """Fetch a snapshot, and let it have been asked for so long ago."""
    assert wanted.fetch().code == 0
    moment = time.time() - hours_ago * 3600
    os.utime(wanted.folder / ".manifest.json", (moment, moment))
    return wanted


def below(wanted: Wanted) -> str:
    return str(wanted.folder.relative_to(wanted.node.store))


def test_no_room_is_one_sentence_with_the_numbers(node: Node) -> None:
    wanted = node.want(shards(1))

    ended = wanted.fetch(**ALL)

    assert (ended.code, ended.error) == (1, "DoesNotFit")
    assert "free of" in ended.message
    assert "stay reserved" in ended.message
    assert node.gets() == []
    assert not wanted.folder.exists()


def test_the_least_recently_used_goes_and_what_is_kept_or_fresh_stays(node: Node) -> None:
    old = used(node.want(shards(1), repository="slipway-demo/old"), 50)
    kept = used(node.want(shards(2), repository="slipway-demo/kept"), 90)
    fresh = used(node.want(shards(3), repository="slipway-demo/fresh"), 0.1)
    new = node.want(shards(4), repository="slipway-demo/new")

    ended = new.fetch(below(kept), **ALL)

    assert ended.error == "DoesNotFit"
    assert [line["snapshot"] for line in ended.lines if line["event"] == "evicted"] == [below(old)]
    assert not old.folder.exists()
    assert kept.is_whole()
    assert fresh.is_whole()
    # and the room is there: its contents are gone too
    held = {file.digest for wanted in (kept, fresh) for file in wanted.candidate.files if file.algorithm == "sha256"}
    assert {path.name for path in (node.store / "blobs" / "sha256").iterdir() if path.stat().st_size > 10_000} == held


def test_the_oldest_goes_first_and_no_more_than_is_needed(node: Node, small_disk: Callable[..., list[str]]) -> None:
    size = 1_400_000  # of a disk of 4 MB: two of them fit, not three
    older, newer, new = (node.want(shards(seed, size=size), repository=f"slipway-demo/{seed}") for seed in (1, 2, 3))
    age = ["touch", "-d", "3 days ago", str(older.folder / ".manifest.json")]

    ended = node.run(*small_disk("4m", older.command(), newer.command(), age, new.command(fresh_seconds=0)))

    assert ended.code == 0
    assert [line["snapshot"] for line in ended.lines if line["event"] == "evicted"] == [below(older)]
    assert [line["event"] for line in ended.lines].count("complete") == 3


def test_a_content_that_another_snapshot_holds_survives(node: Node) -> None:
    old = used(node.want(shards(1, 2), repository="slipway-demo/old"), 50)
    kept = used(node.want(shards(1), repository="slipway-demo/kept"), 50)

    node.want(shards(3)).fetch(below(kept), **ALL)

    assert not old.folder.exists()
    assert kept.is_whole()


def test_what_nobody_finishes_goes_before_any_snapshot(node: Node) -> None:
    kept = used(node.want(shards(1), repository="slipway-demo/kept"), 50)
    (node.store / ".parts" / "sha256-abandoned").write_bytes(b"x" * 1000)
    (node.store / ".parts" / "sha256-abandoned.journal").write_text("{}\n")
    (node.store / ".trash" / "grave").mkdir()
    orphan = node.store / "blobs" / "sha256" / ("0" * 64)
    orphan.write_bytes(b"nobody's")
    staged = kept.folder.with_name("f" * 40 + ".staged")
    staged.mkdir()

    node.want(shards(3)).fetch(below(kept), **ALL)

    assert kept.is_whole()
    assert not orphan.exists()
    assert not staged.exists()
    assert list((node.store / ".trash").iterdir()) == []
    assert [path.name for path in (node.store / ".parts").iterdir() if "abandoned" in path.name] == []


def test_a_complete_snapshot_needs_no_room_and_counts_as_used(node: Node) -> None:
    wanted = used(node.want(shards(1)), 90)

    assert wanted.fetch(**ALL).code == 0

    assert time.time() - (wanted.folder / ".manifest.json").stat().st_mtime < 3600


def test_a_disk_that_is_full_is_one_sentence(node: Node, small_disk: Callable[..., list[str]]) -> None:
    wanted = node.want(shards(1, 2))

    ended = node.run(*small_disk("2m", wanted.command()))

    assert (ended.code, ended.error) == (1, "DoesNotFit")
    assert "of 0.00 GB" in ended.message
    assert node.gets() == []


def test_the_room_of_a_job_is_its_own(node: Node, small_disk: Callable[..., list[str]]) -> None:
    # given a Job that has preallocated two files and fetches the first, slowly
    first = node.want(shards(1, 2, size=1_400_000), repository="slipway-demo/first")
    second = node.want(shards(3, size=1_400_000), repository="slipway-demo/second")
    node.hub.faults.add(Fault(origin="cdn", path="*first*", times=None, bytes_per_second=700_000))
    in_background = ["sh", "-c", f'{shlex.join(first.command())} & echo \'{{"event": "begun"}}\'']
    both_parts = ["sh", "-c", f"until [ $(ls {node.store}/.parts/*.journal | wc -l) -ge 1 ]; do sleep 0.02; done 2>/dev/null"]
    # when another one looks for room meanwhile, then it gets none, and the first one gets on
    then = ["sh", "-c", f"{shlex.join(second.command())}; until [ -e {first.folder}/.manifest.json ]; do sleep 0.05; done"]

    ended = node.run(*small_disk("3500k", in_background, both_parts, then))

    assert [line["error"] for line in ended.lines if line["event"] == "failed"] == ["DoesNotFit"]
    assert [line["fetched"] for line in ended.lines if line["event"] == "complete"] == [True]


@pytest.fixture
def small_disk(node: Node) -> Callable[..., list[str]]:
    """Makes a command that runs others one after another with the store on a file system of its own, of a given size."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine allows no mount namespaces")
    node.store.mkdir()

    def within(size: str, *commands: list[str]) -> list[str]:
        script = " && ".join([f"mount -t tmpfs -o size={size} slipway {shlex.quote(str(node.store))}", *map(shlex.join, commands)])
        return ["unshare", "-rm", "sh", "-c", script]

    return within
