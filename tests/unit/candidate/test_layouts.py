"""Repositories from a seed, whole and broken: what is accepted is what vLLM loads, and whole; all else is one sentence."""

from __future__ import annotations

from collections import Counter

from tests.support.vllm_loader import chosen_from


def test_what_is_accepted_is_what_vllm_loads() -> None:
    """300 of them; `make attack` has 10,000."""
    outcomes = Counter(chosen_from(seed) for seed in range(300))

    assert outcomes["chosen"] > 50
    assert outcomes["refused"] > 100
