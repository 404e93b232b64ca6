"""A content whose pieces come from anybody: what is wrong is found, what a killed process left is proven, the right file is given."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import SnapshotCorrupt
from flows.node.bodies import NoRanges
from flows.node.hub import Location
from flows.node.incoming import TransferContext
from flows.node.missing import Missing
from flows.node.part import Part
from flows.node.patience import Trouble
from flows.node.policy import Patience, TransferPolicy
from flows.node.report import Progress
from flows.node.sharing.claims import Claim, Told
from flows.node.sharing.content import Links, SharedContent
from flows.node.sharing.policy import SharePolicy, SwarmPolicy
from flows.node.sharing.sharing import Sharing
from flows.node.sharing.transfer import SharedTransfer
from flows.node.snapshot import Wanted, WantedFile
from flows.node.store import Store, content_lock
from flows.weights.secret import share_secret
from tests.support.waiting import HANGS_SECONDS

PIECE = 4096
DATA = bytes(range(256)) * 16 * 3 + b"one more"
PATIENCE = Patience(attempts=3, back_off_seconds=0.001, budget_seconds=5, until=float("inf"))
POLICY = TransferPolicy(connections=1, segment_bytes=PIECE, plain_limit_bytes=1 << 40, timeout_seconds=1, patience=PATIENCE)
BUFFER = memoryview(bytearray(PIECE))


class Hub:
    """Sends what it has; first the troubles."""

    def __init__(self, data: bytes, troubles: int = 0, *, parts: bool = True) -> None:
        self.data, self.troubles, self.parts = data, troubles, parts

    def connections(self) -> Any:
        return self

    def locate(self, path: str, _: Any) -> Location:
        return Location(url=path, size_bytes=len(self.data), xet=None)

    def forget(self, *_: Any) -> None: ...

    def close(self) -> None: ...

    def read(self, _: str, start: int, view: memoryview, __: int) -> Iterator[int]:
        if not self.parts:
            raise NoRanges
        if self.troubles:
            self.troubles -= 1
            raise Trouble("HTTP 503")
        view[:] = self.data[start : start + len(view)]
        yield len(view)

    def read_whole(self, _: str, __: memoryview, ___: int) -> Iterator[memoryview]:
        yield memoryview(self.data)


def file_of(data: bytes, path: str = "model.safetensors") -> WantedFile:
    return WantedFile(path=path, size_bytes=len(data), digest=hashlib.sha256(data).hexdigest(), algorithm="sha256")


def sha256(index: int, data: bytes = DATA) -> str:
    return hashlib.sha256(data[index * PIECE : (index + 1) * PIECE]).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    store.prepare()
    return store


def content(store: Store, hub: Hub, links: Links, finished: Callable[..., None] = lambda *_: None) -> SharedContent:
    file = file_of(DATA)
    staged = store.models / "staged"
    staged.mkdir(parents=True, exist_ok=True)
    context = TransferContext(
        store=store,
        hub=hub,  # type: ignore[arg-type]
        staged=staged,
        policy=POLICY,
        progress=Progress(len(DATA)),
        stop=threading.Event(),
        again=lambda _: None,
        finished=finished,
    )
    lock = os.open(os.devnull, os.O_RDONLY)  # of no process: a killed one holds none
    made = SharedContent(context, Missing(file=file, paths=(file.path,), lock=lock), links)
    made.open_shared(BUFFER)
    return made


def keep(made: SharedContent, index: int, data: bytes, sender: int | None) -> None:
    view = BUFFER[: made.part.span(index)[1]]
    view[:] = data[index * PIECE : index * PIECE + len(view)]
    made.keep(index, view, Claim(sha256=hashlib.sha256(view).hexdigest(), origin=1 if sender is not None else 0), sender)
    made.go_on(BUFFER, fresh=index)


@pytest.mark.parametrize("hub", [Hub(DATA, troubles=2), Hub(DATA)])
def test_what_is_contested_is_asked_of_the_hub_though_others_have_it_and_though_it_fails_now_and_then(store: Store, hub: Hub) -> None:
    blamed: list[int] = []
    brought: list[int] = []
    finished: list[str] = []
    links = Links(has_come=lambda _: True, wrong=lambda _piece, _claim, sender: blamed.append(sender) or sender, brought=brought.append)
    made = content(store, hub, links, lambda _, digest: finished.append(digest))
    lie = DATA[:PIECE] + b"x" * PIECE + DATA[2 * PIECE :]

    for index in range(4):
        keep(made, index, lie, 1)

    assert finished == [hashlib.sha256(DATA).hexdigest()]
    assert blamed == [1]
    assert sum(brought) == len(DATA)  # the hub sent it, and that is told


def test_what_a_killed_process_read_from_the_hub_is_given_on_at_once_and_what_was_torn_is_read_again(store: Store) -> None:
    first = content(store, Hub(DATA), Links())
    for index, sender in ((0, None), (1, 2), (3, None)):
        keep(first, index, DATA, sender)
    first.part.close()
    with (store.parts / file_of(DATA).key).open("r+b") as part:  # a power loss
        part.seek(3 * PIECE)
        part.write(b"torn")

    kept: list[int] = []
    claimed: list[tuple[int, Claim]] = []
    lost: list[int] = []
    finished: list[str] = []
    links = Links(kept=kept.append, claimed=lambda *said: claimed.append(said), lost=lost.append, rank=5)
    second = content(store, Hub(DATA), links, lambda _, digest: finished.append(digest))
    second.begin(BUFFER)

    assert sorted(kept) == [0, 1, 3]
    assert claimed == [(0, Claim(sha256=sha256(0), origin=5))]  # of what came from a third nobody knows whose word it is
    assert lost == [3]
    keep(second, 2, DATA, None)
    keep(second, 3, DATA, 1)
    assert finished == [hashlib.sha256(DATA).hexdigest()]


def test_what_a_part_notes_of_a_segment_is_found_by_the_next_process(tmp_path: Path) -> None:
    for note in ("a" * 64, ""):
        part = Part(tmp_path / f"part-{note}", 3 * PIECE, PIECE)
        part.open()
        part.write(2, memoryview(bytes(PIECE)), note)
        part.close()
        later = Part(part.path, 3 * PIECE, PIECE)
        later.open()
        assert (later.kept, later.noted) == ({2}, {2: note})
        later.close()


def sharing_of(store: Store, wanted: Wanted, tmp_path: Path, nodes: int = 1, linger_seconds: float = 600) -> Sharing:
    for name, text in share_secret().items():
        (tmp_path / name).write_text(text)
    policy = SharePolicy(
        rank=0,
        nodes=nodes,
        names=(),
        secret=tmp_path,
        bind=("127.0.0.1", 0),
        bytes_per_second=None,
        swarm=SwarmPolicy(meet_seconds=0, linger_seconds=linger_seconds),
    )
    return Sharing(store, wanted, policy, PIECE)


def wanted_of(*files: WantedFile) -> Wanted:
    return Wanted(repository="some/model", commit="0" * 40, files=files)


@pytest.mark.parametrize("parts", [True, False])
@pytest.mark.parametrize(
    "sizes", [[0], [0, 0], [PIECE], [PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 1, 0], [1] * 40], ids=lambda sizes: f"{len(sizes)}x{sizes[0]}"
)
def test_files_of_any_size_come_whole(store: Store, tmp_path: Path, sizes: list[int], parts: bool) -> None:
    data = {f"{number}.bin": number.to_bytes(2, "big")[-1:] * size for number, size in enumerate(sizes)}
    files = [file_of(content, path) for path, content in data.items()]
    by_key = {file.key: file for file in files}
    wanted = wanted_of(*files)
    sharing = sharing_of(store, wanted, tmp_path)

    class Many(Hub):
        def locate(self, path: str, _: Any) -> Location:
            self.data = data[path]
            return Location(url=path, size_bytes=len(data[path]), xet=None)

        def read(self, url: str, start: int, view: memoryview, size: int) -> Iterator[int]:
            if not self.parts:
                raise NoRanges
            view[:] = data[url][start : start + len(view)]
            yield len(view)

        def read_whole(self, url: str, *_: Any) -> Iterator[memoryview]:
            yield memoryview(data[url])

    missing = [
        Missing(file=file, paths=tuple(each.path for each in files if each.key == key), lock=store.acquire(content_lock(key), wait=False))
        for key, file in by_key.items()
    ]
    sharing.begin(missing=set(by_key), whole=())
    try:
        staged = store.staged(wanted)
        transfer = SharedTransfer(store, Many(b"", parts=parts), staged, missing, POLICY, Progress(1), sharing)  # type: ignore[arg-type]
        transfer.open()
        assert transfer.run() == {key: file.digest for key, file in by_key.items()}
    finally:
        sharing.close()
    assert all((staged / path).read_bytes() == content for path, content in data.items())
    assert sharing.hub_bytes == sum(file.size_bytes for file in by_key.values())


def test_an_empty_file_that_hashes_to_something_else_is_corrupt(store: Store, tmp_path: Path) -> None:
    file = WantedFile(path="empty", size_bytes=0, digest="1" * 64, algorithm="sha256")
    wanted = wanted_of(file)
    sharing = sharing_of(store, wanted, tmp_path)
    missing = [Missing(file=file, paths=("empty",), lock=store.acquire(content_lock(file.key), wait=False))]
    sharing.begin(missing={file.key}, whole=())
    transfer = SharedTransfer(store, Hub(b""), store.staged(wanted), missing, POLICY, Progress(0), sharing)  # type: ignore[arg-type]
    try:
        transfer.open()
        with pytest.raises(SnapshotCorrupt, match="empty is not what the hub says"):
            transfer.run()
    finally:
        sharing.close()


def test_what_a_scrub_condemned_is_not_given_in_place_of_what_is_fetched_anew(store: Store, tmp_path: Path) -> None:
    file = file_of(DATA)
    wanted = wanted_of(file)
    (condemned := store.folder(wanted)).mkdir(parents=True)
    (condemned / file.path).write_bytes(b"damaged".ljust(len(DATA)))  # its manifest is gone, and its files are still open in engines
    (store.parts / file.key).write_bytes(DATA)
    sharing = sharing_of(store, wanted, tmp_path)
    sharing.begin(missing={file.key}, whole=())
    try:
        with sharing.changed:
            sharing.swarm.got(1, Claim(sha256=sha256(1), origin=0), 1)
        held = sharing.held(1)
        assert held is not None
        assert Path(f"/proc/self/fd/{held.file}").resolve() == (store.parts / file.key).resolve()
    finally:
        sharing.close()


def test_what_another_snapshot_had_already_is_given_before_this_one_is_whole(store: Store, tmp_path: Path) -> None:
    text = b"{}"
    digest = hashlib.sha1(b"blob 2\0" + text, usedforsecurity=False).hexdigest()
    file = WantedFile(path="config.json", size_bytes=2, digest=digest, algorithm="git-sha1")  # its SHA-256 is in another manifest alone
    wanted = wanted_of(file)
    sharing = sharing_of(store, wanted, tmp_path)
    (store.staged(wanted) / file.path).write_bytes(text)
    sharing.begin(missing=(), whole={file.key})
    try:
        held = sharing.held(0)
        assert held is not None
        assert held.claim.sha256 == hashlib.sha256(text).hexdigest()
    finally:
        sharing.close()


def done_beside_another(store: Store, tmp_path: Path, linger_seconds: float) -> Sharing:
    """A node that is done, and heard another a moment ago that was not."""
    file = file_of(DATA)
    sharing = sharing_of(store, wanted_of(file), tmp_path, nodes=2, linger_seconds=linger_seconds)
    sharing.begin(missing=(), whole={file.key})
    sharing.complete()
    nothing: frozenset[int] = frozenset()
    other = Told(rank=1, life="b", begin=0, claims=(), reading=nothing, whole=nothing, complete=False)
    with sharing.changed:
        sharing.swarm.heard(other, time.monotonic())
    return sharing


def test_one_that_is_gone_without_a_word_is_waited_for_no_longer_than_one_that_is_late(store: Store, tmp_path: Path) -> None:
    sharing = done_beside_another(store, tmp_path, linger_seconds=0.2)
    begun = time.monotonic()
    sharing.linger(begun + 10 * HANGS_SECONDS)
    sharing.close()
    assert time.monotonic() - begun < HANGS_SECONDS


def test_another_knows_that_a_node_is_done_when_it_was_sent_that(store: Store, tmp_path: Path) -> None:
    # given one whose answer is written, and still on its way
    sharing = done_beside_another(store, tmp_path, linger_seconds=600)
    assert sharing.told(1, "", 0, complete=True, host="127.0.0.1").complete

    sharing.linger(time.monotonic() + 0.3)
    assert not sharing._may_leave(time.monotonic())  # the answer would go with its process
    sharing.knows(1)
    assert sharing._may_leave(time.monotonic())
    sharing.close()
