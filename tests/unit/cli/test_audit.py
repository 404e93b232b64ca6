"""`slipway audit verify --expect` takes what an earlier verification printed, and tells of anything else in one sentence."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows.cli.approvals import verify
from flows.cli.archive import archive
from flows.errors import SpecInvalid


@pytest.mark.parametrize("position", ["", "x", "-1", "\u0661", "1" * 5000])
def test_what_is_no_position_is_one_short_sentence(position: str) -> None:
    with pytest.raises(SpecInvalid, match="is not POSITION:HASH") as refused:
        verify(expect=f"{position}:{'a' * 64}")
    assert len(refused.value.message) < 250


def test_a_hash_is_64_digits() -> None:
    with pytest.raises(SpecInvalid, match="is not POSITION:HASH"):
        verify(expect=f"1:{'x' * 64}")


@pytest.mark.parametrize(
    ("day", "sentence"),
    [
        ("soon", "is no day such as 2026-01-31"),
        ("2026-02-30", "is no day"),
        (f"{datetime.now(UTC):%Y-%m-%d}", "younger than 30 days stays"),
    ],
)
def test_only_what_is_old_is_archived(day: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(SpecInvalid, match=sentence):
        archive(before=day, to=tmp_path / "archive.jsonl", actor="ada")
