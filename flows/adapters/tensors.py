"""What an adapter's tensors change: modules of the base with the two matrices of each, by names and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

Shape = tuple[int, ...]

#: As PEFT names them; vLLM takes both beginnings (`parse_fine_tuned_lora_name`).
_BEGINNING = "base_model.model."
_MATRIX = re.compile(r"^(?P<module>.+)\.lora_(?P<matrix>[AB])\.weight$")
_EMBEDDING = re.compile(r"^(?P<module>.+)\.lora_embedding_(?P<matrix>[AB])$")


@dataclass(kw_only=True)
class Pair:
    """The two matrices that change a module.

    Attributes:
        a: Shape of A: rank and inputs; of an embedding, rank and vocabulary. None if it is not there.
        b: Shape of B: outputs and rank. None if it is not there.
        embedding: Whether they change an embedding.
    """

    a: Shape | None = None
    b: Shape | None = None
    embedding: bool = False


@dataclass(frozen=True, kw_only=True)
class AdapterTensors:
    """What a file of an adapter holds.

    Attributes:
        pairs: Module of the base, as its checkpoint names it → the matrices that change it.
        others: Tensors that are neither.
    """

    pairs: Mapping[str, Pair] = field(default_factory=dict)
    others: tuple[str, ...] = ()


def read_tensors(shapes: Mapping[str, Shape]) -> AdapterTensors:
    """Which modules the tensors change.

    Args:
        shapes: Tensor → shape, as the file's header has them.
    """
    pairs: dict[str, Pair] = {}
    others = []
    for name, shape in shapes.items():
        found = _MATRIX.match(name) or _EMBEDDING.match(name)
        if found is None:
            others.append(name)
            continue
        pair = pairs.setdefault(found["module"].removeprefix(_BEGINNING), Pair())
        pair.embedding = pair.embedding or found.re is _EMBEDDING
        if found["matrix"] == "A":
            pair.a = shape
        else:
            pair.b = shape
    return AdapterTensors(pairs=pairs, others=tuple(others))
