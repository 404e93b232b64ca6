"""Which files of a folder are the model's weights: those that its index names, or without one a single file or a complete numbered set.

Held to what vLLM 0.32 loads (`model_executor/model_loader/default_loader.py`, `weight_utils.py`): all `*.safetensors` of the folder that is
served, less those that `model.safetensors.index.json` does not name; with `--load-format mistral` all `consolidated*.safetensors`, less
those that `consolidated.safetensors.index.json` does not name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from flows.errors import Refusal
from flows.spec import LoadFormat
from flows.text import listed

#: The index of each way to load weights; no other name is looked at by vLLM.
INDEX_NAMES: Mapping[LoadFormat, str] = {
    "safetensors": "model.safetensors.index.json",
    "mistral": "consolidated.safetensors.index.json",
}

#: A file of a numbered set, with as many digits as its author likes: `model-00001-of-00004.safetensors`, `model-7-of-61.safetensors`.
_NUMBERED = re.compile(r"(?P<stem>.*?)(?P<number>\d{1,6})-of-(?P<total>\d{1,6})\.safetensors")


def choose_weights(where: str, names: Collection[str], index: Mapping[str, str] | None, load_format: LoadFormat) -> tuple[str, ...]:
    """The files of weights, sorted; none if the folder has none.

    Args:
        where: The repository, or its folder, for messages.
        names: All files of the folder that is served, without their folder.
        index: What its index says (tensor → file), if it has one.
        load_format: How vLLM is told to load them.

    Raises:
        Refusal: Some are missing, or it cannot be told which they are.
    """
    if index is not None:
        return _indexed(where, frozenset(names), index, load_format)
    weights = sorted(name for name in names if is_weights(name, load_format))
    numbered = [match for name in weights if (match := _NUMBERED.fullmatch(name))]
    if numbered and len(numbered) == len(weights) and len({(match["stem"], match["total"]) for match in numbered}) == 1:
        _require_complete(where, numbered)
    elif len(weights) > 1:
        raise Refusal(
            f"{where} holds several files of weights ({listed(weights)}) and no {INDEX_NAMES[load_format]} that says which of them make "
            "the "
            "model: vLLM would load all of them. Use a revision with an index, with one file, or with one complete numbered set.",
            files=weights[:100],
        )
    return tuple(weights)


def is_weights(name: str, load_format: LoadFormat) -> bool:
    """Whether a file may be of the model's weights, by its name alone."""
    if not name.endswith(".safetensors"):
        return False
    if load_format == "mistral":
        return name.startswith("consolidated")
    # `consolidated*` is how Mistral lays the same weights out, and `adapter_*` is PEFT's.
    return not name.startswith(("consolidated", "adapter_"))


def _indexed(where: str, names: Collection[str], index: Mapping[str, str], load_format: LoadFormat) -> tuple[str, ...]:
    named = sorted(set(index.values()))
    # What vLLM finds in the folder by its pattern is all that the index can choose from.
    prefix = "consolidated" if load_format == "mistral" else ""
    if odd := [name for name in named if "/" in name or not name.startswith(prefix) or not name.endswith(".safetensors")]:
        raise Refusal(
            f"The {INDEX_NAMES[load_format]} of {where} names {listed([name[:100] for name in odd])}: vLLM loads {prefix}*.safetensors of "
            "the "
            "folder that it serves, and nothing else. Use another revision.",
            files=odd[:100],
        )
    if missing := [name for name in named if name not in names]:
        raise Refusal(
            f"{where} lacks {listed(missing)} of its weights, which its index names: the upload was not finished; use another revision.",
            files=missing[:100],
        )
    return tuple(named)


def _require_complete(where: str, numbered: Sequence[re.Match[str]]) -> None:
    example, total = numbered[0], int(numbered[0]["total"])
    numbers = Counter(int(match["number"]) for match in numbered)
    first = 0 if 0 in numbers else 1  # some count from 0
    if missing := [number for number in range(first, first + total) if number not in numbers]:
        width = len(example["number"])
        names = [f"{example['stem']}{number:0{width}d}-of-{example['total']}.safetensors" for number in missing[:100]]
        more = f" and {len(missing) - 3:,} more" if len(missing) > 3 else ""
        raise Refusal(
            f"{where} lacks {', '.join(names[:3])}{more} of its weights: the upload was not finished; use another revision.", files=names
        )
    if numbers.total() != total:
        raise Refusal(
            f"{where} holds {numbers.total():,} files of weights that are numbered as {total:,} ({example[0]} is one): vLLM would load "
            "all of "
            "them. Use another revision."
        )
