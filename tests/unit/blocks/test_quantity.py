"""Amounts as Kubernetes writes them, and what is none."""

from __future__ import annotations

import pytest
from kubernetes.utils.quantity import parse_quantity

from blocks.cluster.quantity import amount


@pytest.mark.parametrize(
    "written", ["0", "8", "1k", "1Ki", "40Gi", "3.5Gi", "100m", "1500m", "12n", "1e3", "1E3", "2E", "2Ei", "-1", ".5k"]
)
def test_an_amount_is_what_the_library_makes_of_it(written: str) -> None:
    assert amount({"it": written}, "it") == int(parse_quantity(written))


def test_what_is_not_said_is_nothing() -> None:
    assert amount(None, "it") == amount({}, "it") == 0


@pytest.mark.parametrize("written", ["", "plenty", "1KB", "1ki", "1..5", ".", "1e9999999", "Gi"])
def test_what_is_no_amount_is_said(written: str) -> None:
    with pytest.raises(ValueError, match="is no amount"):
        amount({"it": written}, "it")
