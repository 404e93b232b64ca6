"""`slipway audit verify --expect` takes what an earlier verification printed, and tells of anything else in one sentence."""

from __future__ import annotations

import pytest

from flows.cli.approvals import verify
from flows.errors import SpecInvalid


@pytest.mark.parametrize("position", ["", "x", "-1", "\u0661", "1" * 5000])
def test_what_is_no_position_is_one_short_sentence(position: str) -> None:
    with pytest.raises(SpecInvalid, match="is not POSITION:HASH") as refused:
        verify(expect=f"{position}:{'a' * 64}")
    assert len(refused.value.message) < 250


def test_a_hash_is_64_digits() -> None:
    with pytest.raises(SpecInvalid, match="is not POSITION:HASH"):
        verify(expect=f"1:{'x' * 64}")
