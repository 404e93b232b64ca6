"""What another node says is held to its form before anything of it is believed."""

from __future__ import annotations

from typing import Any

import pytest

from flows.node.sharing.claims import MOST_CLAIMS, Claim, Pieces, Told
from flows.node.sharing.policy import SwarmPolicy
from flows.node.sharing.swarm import Swarm

PIECES = Pieces([3, 1, 4])
HASH = "a" * 64
GOOD: dict[str, Any] = {
    "rank": 1,
    "life": "x",
    "begin": 0,
    "claims": [[0, HASH, 1], [7, "", -1]],
    "reading": [2],
    "whole": [1],
    "complete": False,
}


def test_pieces_are_numbered_through_all_contents() -> None:
    assert [PIECES.place(piece) for piece in range(PIECES.count)] == [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1), (2, 2), (2, 3)]
    assert all(PIECES.number(*PIECES.place(piece)) == piece for piece in range(PIECES.count))
    assert [list(PIECES.of(content)) for content in range(3)] == [[0, 1, 2], [3], [4, 5, 6, 7]]


def test_what_is_told_is_what_is_heard() -> None:
    told = Told.of(GOOD, 2, PIECES)

    assert told.claims == [(0, Claim(sha256=HASH, origin=1)), (7, None)]
    assert told.document() == GOOD


@pytest.mark.parametrize(
    "change",
    [
        {"rank": 2},
        {"rank": -1},
        {"rank": True},
        {"rank": "1"},
        {"begin": -1},
        {"begin": 10**30},
        {"claims": [[8, HASH, 1]]},
        {"claims": [[0, HASH, 9]]},
        {"claims": [[0, "A" * 64, 1]]},
        {"claims": [[0, 5, 1]]},
        {"claims": [[0, HASH]]},
        {"claims": [[0, HASH, 1]] * (MOST_CLAIMS + 1)},
        {"claims": None},
        {"reading": [8]},
        {"whole": [3]},
        {"whole": 3},
    ],
)
def test_anything_else_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Told.of({**GOOD, **change}, 2, PIECES)


@pytest.mark.parametrize("missing", sorted(GOOD))
def test_nothing_may_be_missing(missing: str) -> None:
    with pytest.raises(ValueError, match=missing):
        Told.of({key: value for key, value in GOOD.items() if key != missing}, 2, PIECES)


@pytest.mark.parametrize(
    ("sha256", "origin"), [("", "0"), (HASH, "2"), (HASH, "-1"), (HASH, "1e3"), (HASH, "9" * 500), ("g" * 64, "0"), (HASH, "²")]
)
def test_headers_that_claim_nothing_are_refused(sha256: str, origin: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Claim.of(sha256, origin, 2)


def test_who_asks_from_a_place_that_is_none_is_told_from_the_beginning() -> None:
    swarm = Swarm(0, 2, PIECES, life="mine", wanted=range(3), whole=(), policy=SwarmPolicy(), now=0)
    swarm.got(0, Claim(sha256=HASH, origin=0), 1)

    for since, life in ((-5, "mine"), (9, "mine"), (1, "another")):
        assert swarm.told(since, life).begin == 0
    assert swarm.told(1, "mine").claims == []
