"""Layers are grouped as vLLM groups them, whatever their pages; requests take whole blocks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.fit.groups import pool, stages
from flows.fit.specs import Spec

FULL = Spec("full", 16, 1600, ("a",), bare=1600)
NEAR = Spec("window", 16, 1600, ("a",), keeps=128, bare=1600)


def layers(*counted: tuple[int, Spec]) -> list[list[Spec]]:
    return [[spec] for count, spec in counted for _ in range(count)]


@pytest.mark.parametrize(
    ("full", "near", "groups", "size"),
    [(10, 52, 7, 10), (12, 12, 2, 12), (13, 12, 2, 13), (12, 17, 2, 17), (12, 18, 3, 12), (1, 3, 4, 1)],
)
def test_groups_have_one_size_by_the_rule_of_one_and_a_half(full: int, near: int, groups: int, size: int) -> None:
    found = pool(layers((full, FULL), (near, NEAR)))

    assert len(found.groups) == groups
    assert found.block_bytes() == size * 1600


def test_a_window_keeps_itself_and_what_is_in_flight_and_a_block_more() -> None:
    assert NEAR.blocks(10_000, 2048, 0) == -(-(127 + 2048) // 16) + 1
    assert NEAR.blocks(100, 2048, 0) == 7 + 1
    assert replace(NEAR, kind="chunk").blocks(10_000, 2048, 0) == (128 + 2048) // 16
    assert FULL.blocks(17, 2048, 0) == 2


def test_without_the_hybrid_manager_windows_count_in_full() -> None:
    found = pool(layers((10, FULL), (52, NEAR)), hybrid_manager=False)

    assert (found.block_bytes(), found.blocks(1600, 64)) == (62 * 1600, 100)
    # but where no layer has full attention, there is nothing to count it as
    assert pool(layers((4, NEAR)), hybrid_manager=False).blocks(16_000, 64) == -(-(127 + 64) // 16) + 1


def test_smaller_pages_have_longer_blocks_and_what_does_not_divide_is_padded() -> None:
    double = pool(layers((2, FULL), (2, replace(NEAR, page=3200, bare=3200))))
    padded = pool(layers((2, FULL), (2, replace(NEAR, page=2000, bare=2000))))

    assert (double.block_bytes(), double.groups[0].blocks(320, 0, 0)) == (6400, 10)
    assert (padded.block_bytes(), padded.groups[0].blocks(320, 0, 0)) == (4000, 20)


def test_layers_of_one_type_share_a_group_though_their_pages_differ() -> None:
    found = pool(layers((3, FULL), (2, replace(FULL, page=800, bare=800, layout=("b",)))))

    assert (len(found.groups), found.block_bytes(), found.blocks(160, 0)) == (1, 3 * 1600 + 2 * 800, 10)


def test_layers_of_a_stage_are_what_a_gpu_has() -> None:
    assert stages(10, 4) == [range(2), range(2, 5), range(5, 8), range(8, 10)]
    found = pool(layers((10, FULL)))
    assert [found.block_bytes(part) for part in stages(10, 4)] == [3200, 4800, 4800, 3200]


def test_windows_of_several_pages_are_not_torn_apart() -> None:
    near = replace(NEAR, block=64)
    found = pool(layers((1, FULL), (2, replace(near, page=3200, bare=3200)), (3, near)), packed=True)

    assert [len(group.specs) for group in found.groups] == [1, 5]


def test_a_model_that_keeps_nothing_takes_nothing() -> None:
    assert (pool([]).block_bytes(), pool([[], []]).blocks(1000, 10)) == (0, 0)


SPECS = st.builds(
    lambda kind, block, page, keeps: Spec(kind, block, page * 64, (page,), keeps=keeps, states=3 if kind == "state" else 0, bare=page * 64),
    kind=st.sampled_from(["full", "window", "chunk", "state"]),
    block=st.sampled_from([16, 64]),
    page=st.integers(1, 40),
    keeps=st.integers(1, 4096),
)


@given(
    counted=st.lists(st.tuples(st.integers(1, 40), SPECS), min_size=1, max_size=4),
    tokens=st.integers(1, 10**6),
    more=st.integers(0, 10**6),
    packed=st.booleans(),
)
def test_more_tokens_never_take_less_and_no_layer_is_forgotten(
    counted: list[tuple[int, Spec]], tokens: int, more: int, packed: bool
) -> None:
    found = pool(layers(*counted), packed=packed)

    assert found.blocks(tokens, 2048) <= found.blocks(tokens + more, 2048)
    assert sum(len(group.specs) for group in found.groups) == sum(count for count, _ in counted)
    for group in found.groups:
        assert group.page(None) <= found.block_bytes()
