"""Whether an adapter can be served on a base: its rank, its modules and their sizes against what the base has and its engine allows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flows.adapters.configuration import AdapterConfig
from flows.adapters.tensors import AdapterTensors, Pair, Shape
from flows.errors import DoesNotFit, Refusal
from flows.text import listed

#: Ranks that `--max-lora-rank` of vLLM 0.32.0 takes (`vllm/config/lora.py`).
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)

#: Of these a checkpoint with tied embeddings holds one alone; the other has its shape.
_HEAD, _EMBEDDING = "lm_head", "embed_tokens"
_NAME = re.compile(r"[\w.]+")
#: What is shown of a stranger's name.
_MOST_SHOWN = 120


@dataclass(frozen=True, kw_only=True)
class Base:
    """The base that an adapter shall be served on.

    Attributes:
        model: Its name.
        repository: Where it comes from.
        shapes: Tensor → shape, of all its files. Packed by quantisation, they tell nothing of sizes.
        packed: Whether they are.
        max_rank: What its engine is started with (`--max-lora-rank`); none if it serves no adapters.
    """

    model: str
    repository: str
    shapes: Mapping[str, Shape]
    max_rank: int | None
    packed: bool = False


def refuse_adapter(repository: str, config: AdapterConfig, tensors: AdapterTensors, base: Base) -> list[Refusal]:
    """Why the adapter cannot be served on the base; empty if it can.

    Args:
        repository: The adapter's, for messages.
        config: What its configuration says.
        tensors: What its file holds.
        base: The base.
    """
    refusals = [*_rank(repository, config, base), *_others(repository, tensors)]
    if not tensors.pairs:
        return [
            *refusals,
            Refusal(f"{repository} changes no module: its file holds no tensors that end in lora_A.weight and lora_B.weight."),
        ]
    halves = [module for module, pair in tensors.pairs.items() if pair.a is None or pair.b is None]
    if halves:
        refusals.append(Refusal(f"{repository} holds one of the two matrices alone for {_some(halves)}: it is not the whole adapter."))
    modules = {module: shape for module in tensors.pairs if (shape := _shape_of(module, base.shapes)) is not None}
    foreign = [module for module in tensors.pairs if module not in modules]
    if foreign:
        # vLLM looks at the last part of a name alone, and applies those of layers that are not there to nothing.
        refusals.append(
            Refusal(
                f"{repository} was made for another base than {base.repository}, which has no {_some(foreign)}"
                f"{_made_for(config, base)}: name its own base in the model's file, or another revision."
            )
        )
    refusals += _sizes(repository, config, tensors, base, modules)
    refusals += _gaps(repository, tensors, modules)
    return refusals


def _rank(repository: str, config: AdapterConfig, base: Base) -> list[Refusal]:
    if base.max_rank is None:
        return [
            Refusal(f"{base.model} serves no adapters: state engine.lora in deployments/models/{base.model}.yaml and release it first.")
        ]
    if config.largest_rank <= base.max_rank:
        return []
    enough = next((rank for rank in RANKS if rank >= config.largest_rank), None)
    advice = (
        f"release {base.model} with engine.lora.max_rank: {enough} first"
        if enough
        else f"vLLM serves none above {RANKS[-1]}: train a smaller one"
    )
    return [
        DoesNotFit(
            f"{repository} has rank {config.largest_rank}, and {base.model} serves up to {base.max_rank}: {advice}.",
            rank=config.largest_rank,
            max_rank=base.max_rank,
        )
    ]


def _others(repository: str, tensors: AdapterTensors) -> list[Refusal]:
    if not tensors.others:
        return []
    # vLLM refuses most of these, and leaves the base's embeddings out without a word: a vocabulary that was trained is lost.
    return [
        Refusal(
            f"{repository} holds tensors that are no LoRA matrices ({_some(list(tensors.others))}): whole weights, as of a vocabulary that "
            "grew, cannot be served as an adapter. Merge it into its base and release that, or use another revision."
        )
    ]


def _sizes(repository: str, config: AdapterConfig, tensors: AdapterTensors, base: Base, modules: Mapping[str, Shape]) -> list[Refusal]:
    wrong, ranks = [], []
    for module, shape in modules.items():
        pair = tensors.pairs[module]
        if pair.a is None or pair.b is None:
            continue
        if len(pair.a) != 2 or len(pair.b) != 2 or pair.a[0] != pair.b[1]:
            wrong.append(f"{module} (its matrices {_by(pair.a)} and {_by(pair.b)} do not belong together)")
            continue
        if pair.a[0] not in _ranks_of(module, config):
            ranks.append(f"{module} ({pair.a[0]})")
        outputs, inputs = (pair.b[0], pair.a[1])
        expected = _expected(pair, shape)
        if not base.packed and expected is not None and expected != (outputs, inputs):
            wrong.append(f"{module} ({outputs:,} by {inputs:,}, where the base has {expected[0]:,} by {expected[1]:,})")
    found: list[Refusal] = []
    if wrong:
        found.append(
            DoesNotFit(
                f"{repository} does not fit {base.repository}: {_some(wrong)}{_made_for(config, base)}. Name its own base in the "
                "model's file, or another revision."
            )
        )
    if ranks:
        # vLLM takes the scale from the configuration's rank and the matrices from the file, and says nothing.
        found.append(
            Refusal(
                f"{repository} states rank {config.rank} in adapter_config.json, and its matrices have another one: {_some(ranks)}. Its "
                "effect would be scaled wrongly; use another revision."
            )
        )
    return found


def _gaps(repository: str, tensors: AdapterTensors, modules: Mapping[str, Shape]) -> list[Refusal]:
    """Layers between others that lack what those have: a file that was cut. What only the first or last layers have is meant."""
    layers: dict[str, set[int]] = {}
    for module in modules:
        parts = module.split(".")
        numbers = [place for place, part in enumerate(parts) if part.isdigit()]
        if numbers:
            at = numbers[0]
            layers.setdefault(".".join((*parts[:at], "*", *parts[at + 1 :])), set()).add(int(parts[at]))
    every = {number for found in layers.values() for number in found}
    lacking = sorted(
        f"{kind.replace('*', str(number))}"
        for kind, found in layers.items()
        if len(found) > 1
        for number in every - found
        if min(found) < number < max(found)
    )
    holes = sorted(number for number in range(min(every), max(every)) if number not in every) if every else []
    if holes:
        return [Refusal(f"{repository} lacks layer {listed(list(map(str, holes)))} between others: it is not the whole adapter.")]
    if lacking:
        return [Refusal(f"{repository} lacks {_some(lacking)}, which its other layers have: it is not the whole adapter.")]
    return []


def _shape_of(module: str, shapes: Mapping[str, Shape]) -> Shape | None:
    found = shapes.get(f"{module}.weight") or _packed(module, shapes)
    if found is None and module.rpartition(".")[2] == _HEAD:
        return next((shape for name, shape in shapes.items() if name.endswith(f"{_EMBEDDING}.weight")), None)
    return found


def _packed(module: str, shapes: Mapping[str, Shape]) -> Shape | None:
    """Of a quantised base: `qweight` of AWQ and GPTQ, `weight_packed` of compressed-tensors."""
    return shapes.get(f"{module}.qweight") or shapes.get(f"{module}.weight_packed")


def _expected(pair: Pair, shape: Shape) -> tuple[int, int] | None:
    """Outputs and inputs of the module: a linear layer's weight is stored so, an embedding's the other way round."""
    if len(shape) != 2:
        return None
    return (shape[1], shape[0]) if pair.embedding else (shape[0], shape[1])


def _ranks_of(module: str, config: AdapterConfig) -> frozenset[int]:
    """As PEFT has it: a pattern matches the end of a name, from a dot on, and the first one counts.

    A stranger's expressions are not evaluated: where there are any, each rank that is stated may be the module's.
    """
    if not all(_NAME.fullmatch(end) for end in config.ranks):
        return frozenset({config.rank, *config.ranks.values()})
    return frozenset({next((rank for end, rank in config.ranks.items() if module == end or module.endswith(f".{end}")), config.rank)})


def _made_for(config: AdapterConfig, base: Base) -> str:
    return f" (it says that it was made for {config.base})" if config.base and config.base != base.repository else ""


def _by(shape: Sequence[int]) -> str:
    return " by ".join(f"{size:,}" for size in shape)


def _some(names: Sequence[str]) -> str:
    return listed([name[:_MOST_SHOWN] for name in names])
