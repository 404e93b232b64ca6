"""Nodes share a snapshot: by the rules of the product, on a reckoned network."""

from __future__ import annotations

import pytest

from flows.node.sharing.claims import Pieces
from flows.node.sharing.policy import SwarmPolicy
from flows.node.sharing.swarm import Swarm
from tests.support.swarm import World, truth

SEEDS = range(3)


def proven(world: World, *, but: tuple[int, ...] = ()) -> bool:
    """Whether every node (but these) has everything, as the hub has it."""
    return all(
        node.done_at is not None and all(node.disk.get(piece) == truth(piece) for piece in range(world.pieces.count))
        for node in world.nodes
        if node.rank not in but
    )


@pytest.mark.parametrize("nodes", [2, 4, 8])
def test_the_hub_sends_each_byte_about_once(nodes: int) -> None:
    world = World(nodes)
    world.run()
    assert proven(world)
    assert world.hub_share <= 1.05
    alone = World(1)
    alone.run()
    assert max(node.done_at or 0 for node in world.nodes) <= 1.25 * (alone.nodes[0].done_at or 0) + 2  # two seconds to meet


def test_uplinks_are_used_evenly() -> None:
    world = World(8)
    world.run()
    assert max(world.sent.values()) <= 1.6 * min(world.sent.values())


def test_a_node_that_comes_afterwards_asks_the_hub_for_nothing() -> None:
    world = World(9, holders=range(8))
    world.run()
    assert proven(world)
    assert world.hub_share == 0
    assert len(world.sent) == 8


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("moment", [0.5, 5, 15, 25, 31])
def test_killed_at_any_moment_it_costs_only_what_it_alone_had(seed: int, moment: float) -> None:
    world = World(4, seed=seed)
    rank = seed % 4
    world.at(moment, lambda: world.kill(rank, back_after=6))
    world.run()
    assert proven(world)
    # Two streams in its hands, and what came between two questions of the others.
    assert world.hub_share <= 1 + (2 * 2 + 4) / world.pieces.count + 0.05


@pytest.mark.parametrize("seed", SEEDS)
def test_one_that_never_comes_back_is_done_without(seed: int) -> None:
    world = World(4, seed=seed)
    world.at(3 + 4 * seed, lambda: world.kill(1))
    world.run()
    assert proven(world, but=(1,))


@pytest.mark.parametrize("lie", ["sends", "claims", "misquotes"])
@pytest.mark.parametrize("seed", SEEDS)
def test_one_that_lies_is_found_and_not_asked_again(lie: str, seed: int) -> None:
    world = World(5, seed=seed)
    world.nodes[2].lies = lie
    world.run()
    assert proven(world, but=(2,))
    for node in world.nodes:
        # Whoever took nothing from it has nothing to say; nobody else is ever blamed.
        assert not any(other.barred for other in node.swarm.others if other.rank != 2)
    assert any(node.swarm.others[2].barred for node in world.nodes if node.rank != 2)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_that_sends_nothing_holds_nobody_up(seed: int) -> None:
    world = World(4, seed=seed)
    world.nodes[3].stalls = True
    world.run()
    assert proven(world)
    assert max(node.done_at or 0 for node in world.nodes) < 200


@pytest.mark.parametrize("seed", SEEDS)
def test_both_sides_of_a_partition_end(seed: int) -> None:
    world = World(6, seed=seed)
    world.at(4 + seed, lambda: setattr(world, "cut", lambda one, other: (one < 3) != (other < 3)))
    world.run()
    assert proven(world)
    assert world.hub_share <= 2.1  # what they had in hand when they met again, or never did


@pytest.mark.parametrize("seed", SEEDS)
def test_the_hub_may_go_when_each_byte_was_sent_once(seed: int) -> None:
    world = World(5, seed=seed)
    world.hub_is_up = lambda piece: world.hub_reads[piece] <= 1
    world.run()
    assert proven(world)


def test_without_the_hub_all_end_with_one_error() -> None:
    world = World(3)
    world.hub_is_up = lambda piece: piece < 40
    world.run()
    assert all(node.failed == "HubUnreachable" for node in world.nodes)


def test_one_that_is_late_finds_those_that_have_it() -> None:
    world = World(3)
    world.kill(2, back_after=60)
    world.run()
    assert proven(world)
    assert world.hub_share <= 1.05


@pytest.mark.parametrize("nodes", [2, 3, 8])
@pytest.mark.parametrize("moment", [5, 12, 20])
def test_all_of_them_restart_at_once(nodes: int, moment: float) -> None:
    world = World(nodes)
    world.at(moment, lambda: [world.kill(rank, back_after=3) for rank in range(nodes)])
    world.run()
    assert proven(world)
    assert world.hub_share <= 1 + 2 * nodes / world.pieces.count  # what each of them had in its hands


@pytest.mark.parametrize("seed", SEEDS)
def test_all_restart_and_one_does_not_come_back(seed: int) -> None:
    world = World(4, seed=seed)
    world.at(12, lambda: [world.kill(rank, back_after=3 if rank else None) for rank in range(4)])
    world.run()
    assert proven(world, but=(0,))
    assert world.hub_share <= 1.6


def test_what_its_keeper_never_reads_is_read_by_others() -> None:
    world = World(3)
    world.nodes[1].swarm.from_hub = lambda _: None  # type: ignore[method-assign]  # alive, and idle
    world.nodes[1].swarm.leave = lambda *_: None  # type: ignore[method-assign]
    world.run()
    assert proven(world)
    assert world.hub_share <= 1.05


def test_a_piece_that_is_not_what_was_noted_is_read_again() -> None:
    world = World(2)
    world.kill(0, back_after=0)
    world.run(until=0.1)
    swarm = world.nodes[0].swarm
    swarm.kept(7)
    swarm.lost(7)
    world.run()
    assert proven(world)


def test_one_that_is_busy_is_not_blamed_unless_it_stays_so() -> None:
    world = World(2, holders=[1])
    swarm, other = world.nodes[0].swarm, world.nodes[0].swarm.others[1]
    swarm.heard(world.nodes[1].swarm.told(0, ""), 0)
    now = 0.0
    while now < 59:
        found = swarm.from_peer(now)
        if found is not None:
            swarm.stalled(found[0], now, busy=True)
        now += 1
    assert (other.stalls, other.asked) == (0, 0)
    while now < 75:
        swarm.heard(world.nodes[1].swarm.told(0, ""), now)
        found = swarm.from_peer(now)
        if found is not None:
            swarm.stalled(found[0], now, busy=True)
        now += 1
    assert other.stalls > 1


def test_the_hub_is_not_asked_before_one_that_has_everything_has_said_what_that_is() -> None:
    world = World(2, holders=[1])
    swarm = world.nodes[0].swarm
    swarm.others[1].complete = True  # it has asked, and said so
    assert swarm.from_hub(0.1) is None
    swarm.heard(world.nodes[1].swarm.told(0, ""), 0.2)
    assert swarm.from_hub(0.3) is None


def test_a_piece_is_left_by_one_that_was_reading_it_until_now() -> None:
    # given one that was heard to read a piece, which the hub then refused it
    world = World(2)
    keeper, helper = (node.swarm for node in world.nodes)
    helper.heard(keeper.told(0, ""), 0)
    keeper.heard(helper.told(0, ""), 0)
    piece = keeper.from_hub(0)
    assert piece is not None
    helper.heard(keeper.told(0, ""), 1)
    keeper.hub_failed(piece, 1)

    # when it leaves that very piece to the other, then it is read
    left = [keeper.leave(1, 1) for _ in range(world.pieces.count // 2)]
    assert piece in left
    assert helper.helps(piece, 0, 1)


def test_a_piece_that_was_left_to_one_that_says_nothing_of_it_is_read_after_all() -> None:
    world = World(2)
    keeper, helper = (node.swarm for node in world.nodes)
    keeper.heard(helper.told(0, ""), 0)
    left = {keeper.leave(1, 0) for _ in range(world.pieces.count // 2)}
    assert keeper.from_hub(1) is None  # all of its share

    keeper.heard(helper.told(0, ""), 6)  # the answer was lost

    assert keeper.from_hub(6) in left


def test_what_another_job_of_a_node_brings_is_read_by_those_that_share() -> None:
    # given two releases on one node: the other one's Job fetches what this one's shares
    pieces = Pieces([4])
    busy = Swarm(0, 2, pieces, life="a", wanted=(), whole=(), policy=SwarmPolicy(), now=0)
    alone = Swarm(1, 2, pieces, life="b", wanted=[0], whole=(), policy=SwarmPolicy(), now=0)
    alone.heard(busy.told(0, ""), 0)
    busy.heard(alone.told(0, ""), 0)

    read = {alone.from_hub(0) for _ in range(2)}
    assert alone.from_hub(0) is None
    for _ in range(2):
        assert alone.to_help(0) == 0
        left = busy.leave(1, 0)
        assert left is not None
        assert alone.helps(left, 0, 0)
        read.add(left)

    assert read == {0, 1, 2, 3}
    assert busy.leave(1, 0) is None
