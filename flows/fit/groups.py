"""Groups of layers that share their blocks, and what a request takes of them.

The rules are those of `vllm/v1/core/kv_cache_utils.py` (vLLM 0.32.0): `get_kv_cache_groups` makes groups, and
`_max_memory_usage_bytes_from_groups` counts what one request takes of the pool, from which one block is held back (the null block).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from flows.fit.specs import Spec, with_page


@dataclass(frozen=True, slots=True)
class Group:
    """Layers that share a table of blocks.

    Attributes:
        specs: The layers' specs, each with the number of the layer that it belongs to.
        like: The spec that its blocks are counted by; none where each of them counts, and the largest is taken.
    """

    specs: tuple[tuple[int, Spec], ...]
    like: Spec | None

    def page(self, layers: range | None) -> int:
        """Bytes of a block, over the layers of a pipeline stage; over all without one."""
        return sum(spec.page for layer, spec in self.specs if layers is None or layer in layers)

    @property
    def token_blocks(self) -> int:
        """Tokens after which a request takes one block more however long it is; 0 if it does not grow for ever."""
        first = self.like if self.like is not None else self.specs[0][1]
        return first.block if first.full else 0

    def blocks(self, tokens: int, in_flight: int, encoder_tokens: int) -> int:
        """Blocks that a request of so many tokens takes."""
        if self.like is not None:
            return self.like.blocks(tokens, in_flight, encoder_tokens)
        return max(spec.blocks(tokens, in_flight, encoder_tokens) for _, spec in self.specs)


@dataclass(frozen=True, slots=True)
class Pool:
    """The groups of a model.

    Attributes:
        groups: They.
    """

    groups: tuple[Group, ...]

    def block_bytes(self, layers: range | None = None) -> int:
        """Bytes of one block of the pool: the null block's, and of each that a request takes (`_get_kv_cache_bytes_per_block`)."""
        return max((group.page(layers) for group in self.groups), default=0)

    def blocks(self, tokens: int, in_flight: int, encoder_tokens: int = 0) -> int:
        """Blocks that a request of so many tokens takes of the pool."""
        return sum(group.blocks(tokens, in_flight, encoder_tokens) for group in self.groups)


def pool(layers: Sequence[Sequence[Spec]], *, hybrid_manager: bool = True, packed: bool = False) -> Pool:
    """The groups of layers with these specs, as `get_kv_cache_groups` makes them.

    Args:
        layers: The specs of each layer, in order.
        hybrid_manager: Without it, windows and chunks beside full attention count in full.
        packed: Whether one block holds all layers of a group behind each other, whatever their pages' sizes.
    """
    specs = [(index, spec) for index, found in enumerate(layers) for spec in found]
    if not specs:
        return Pool(())
    if not hybrid_manager:
        specs = _promoted(specs)
    if len({spec for _, spec in specs}) == 1:
        return Pool((Group(tuple(specs), specs[0][1]),))
    if _one_type([spec for _, spec in specs]):
        return Pool((Group(tuple(specs), None),))
    if packed and len({spec.page for _, spec in specs}) > 1:
        return Pool(tuple(_packed(specs)))
    return Pool(tuple(_of_one_size(_unified(specs))))


def _one_type(specs: Sequence[Spec]) -> bool:
    """Whether all need the same number of blocks (`UniformTypeKVCacheSpecs.is_uniform_type`)."""
    first = specs[0]
    if len({spec.block for spec in specs}) > 1:
        return False
    if first.full:
        return all(spec.full for spec in specs)
    if first.kind == "state":
        return all(spec.kind == "state" and (spec.page, spec.states) == (first.page, first.states) for spec in specs)
    return all((spec.kind, spec.keeps) == (first.kind, first.keeps) for spec in specs)


def _promoted(specs: list[tuple[int, Spec]]) -> list[tuple[int, Spec]]:
    """Windows and chunks as full attention, where some layer has that (`unify_hybrid_kv_cache_specs`)."""
    flat = [spec for _, spec in specs]
    if len(set(flat)) == 1 or _one_type(flat):
        return specs
    blocks = {spec.block for spec in flat if spec.full}
    if not blocks:
        return specs

    def promoted(spec: Spec) -> Spec:
        kind = {"window": "full", "chunk": "full", "latent window": "latent"}.get(spec.kind)
        if kind is None:
            return spec
        block = min(blocks) if len(blocks) == 1 else spec.block
        bare = spec.bare * block // spec.block
        return replace(spec, kind=kind, block=block, page=max(bare, spec.page if spec.page != spec.bare else 0), bare=bare, keeps=0)

    return [(layer, promoted(spec)) for layer, spec in specs]


def _unified(specs: list[tuple[int, Spec]]) -> list[tuple[int, Spec]]:
    """All pages of the largest one's size: blocks grow where that divides, else pages are padded (`unify_kv_cache_spec_page_size`)."""
    largest = max(spec.page for _, spec in specs)
    if any(spec.kind == "latent" and largest % spec.page for _, spec in specs):
        # Latents cannot be padded: windows beside them count in full (`_try_get_full_allocation_fallback_groups`).
        return _promoted(specs)
    return [(layer, spec if spec.page == largest else with_page(spec, largest)) for layer, spec in specs]


def _of_one_size(specs: list[tuple[int, Spec]]) -> list[Group]:
    """Groups of the same number of layers.

    By `_get_kv_cache_groups_uniform_page_size`: the kind with the fewest layers gives the number, the others are split into as many
    groups as
    that takes, and padded; but if the largest kind has less than 1.5 times as many, the largest gives it.
    """
    if len({spec.page for _, spec in specs}) > 1 and _one_type([spec for _, spec in specs]):
        return [Group(tuple(specs), None)]
    kinds: dict[Spec, list[tuple[int, Spec]]] = defaultdict(list)
    for layer, spec in specs:
        kinds[spec].append((layer, spec))
    fewest, most = min(map(len, kinds.values())), max(map(len, kinds.values()))
    size = most if most < fewest * 1.5 else fewest
    groups = []
    for like, members in kinds.items():
        count = -(-len(members) // size)
        groups += [Group(tuple(members[index::count]), like) for index in range(count)]
    return groups


def _packed(specs: list[tuple[int, Spec]]) -> list[Group]:
    """Groups whose layers lie behind each other in a block, pages of several sizes together (`_get_packed_kv_cache_groups`)."""
    buckets: list[list[tuple[int, Spec]]] = []
    for member in specs:
        for bucket in buckets:
            if _one_type([bucket[0][1], member[1]]):
                bucket.append(member)
                break
        else:
            buckets.append([member])
    counts = [Counter(spec.page for _, spec in bucket) for bucket in buckets]
    balanced = [len(set(count.values())) == 1 for count in counts]
    repeats = [max(count.values()) for count in counts]
    floor = max((times for times, count, even in zip(repeats, counts, balanced, strict=True) if even and len(count) > 1), default=0)
    per_group = _least_padding([times for times, even in zip(repeats, balanced, strict=True) if even], floor) if floor else None

    def splits(index: int) -> int:
        return -(-repeats[index] // per_group) if balanced[index] and per_group is not None else 1

    def small(index: int) -> bool:
        kind = buckets[index][0][1].kind
        return kind == "state" or (per_group is None and kind in ("window", "latent window"))

    def widest(index: int, parts: int) -> int:
        return sum(-(-number // parts) * page for page, number in counts[index].items())

    anchor = max(widest(index, len(buckets[index]) if small(index) else splits(index)) for index in range(len(buckets)))
    groups = []
    for index, bucket in enumerate(buckets):
        parts = splits(index)
        if small(index) and len(counts[index]) == 1:  # vLLM would lose layers whose pages have several sizes
            parts = max(parts, -(-len(bucket) // max(1, anchor // bucket[0][1].page)))
        if parts == 1:
            groups.append(Group(tuple(bucket), None))
            continue
        by_page: dict[int, list[tuple[int, Spec]]] = defaultdict(list)
        for member in bucket:
            by_page[member[1].page].append(member)
        patterns = list(zip(*by_page.values(), strict=False))
        groups += [Group(tuple(member for pattern in patterns[part::parts] for member in pattern), None) for part in range(parts)]
    return groups


def _least_padding(values: Sequence[int], floor: int) -> int:
    """The number of at least `floor` whose multiples the values are rounded up to with the least waste; the largest of equals."""
    candidates = range(max(1, floor), max(values) + 1)
    return max(candidates, key=lambda size: (-sum(-value % size for value in values), size), default=floor)


def stages(layers: int, parallel: int) -> list[range]:
    """The layers of each pipeline stage.

    By `get_pp_indices` (`vllm/distributed/utils.py`, 0.32.0): evenly, and what is left goes to the stages before the last.
    """
    sizes = [layers // parallel] * parallel
    for place in range(2, layers % parallel + 2):
        sizes[-place] += 1
    starts = [sum(sizes[:index]) for index in range(parallel)]
    return [range(start, start + size) for start, size in zip(starts, sizes, strict=True)]
