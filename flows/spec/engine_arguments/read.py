"""Reads arguments as vLLM's own parser does, but takes none that it would have to guess.

vLLM's `FlexibleArgumentParser` (`vllm/utils/argparse_utils.py`, 0.32.0) is argparse with more ways to write the same: underscores for
hyphens in names, `--argument.key value` for JSON, `--argument.key+ value` for lists in it, `-O3`. What argparse completes by itself
(`--load-f`) or glues together (`-qfp8`), what it takes twice and then forgets (the last one counts), and what it never sees (the file of
`--config`) is refused: a reader of the file would take it for something else.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from flows.errors import SpecInvalid
from flows.spec.engine_arguments.table import Option, table

#: What is read at the most: Linux takes no longer argument (MAX_ARG_STRLEN), and more of them, or of keys in each other, nobody reads.
_MOST_ARGUMENTS, _LONGEST_ARGUMENT, _MOST_KEYS = 256, 128 * 1024 - 1, 16

#: A value for all that it begins with a hyphen. One with a decimal point vLLM takes for a JSON key.
_NEGATIVE = re.compile(r"-\d+", re.ASCII)
_NEGATIVE_DECIMAL = re.compile(r"-\d*\.\d+", re.ASCII)

#: 1k is 1,000 and 1K is 1,024; only the decimal ones may have decimals.
_SUFFIXED = re.compile(r"(\d+(?:\.\d+)?)([kmgt]|[KMGT])", re.ASCII)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}


@dataclass(frozen=True, kw_only=True)
class Given:
    """An argument as it was given.

    Attributes:
        name: The argument's name, such as `--tensor-parallel-size`.
        written: The option string that it was given by, such as `-tp`.
        value: `True` or `False` for a switch, one text, several, or what keys with dots add up to.
    """

    name: str
    written: str
    value: bool | str | tuple[str, ...] | Mapping[str, Any]


def read_arguments(arguments: Sequence[str]) -> dict[str, Given]:
    """Read the arguments, by name.

    Raises:
        SpecInvalid: vLLM does not know one, or would have to guess; the sentence names it.
    """
    if len(arguments) > _MOST_ARGUMENTS:
        raise SpecInvalid(f"holds {len(arguments):,} arguments: more than {_MOST_ARGUMENTS} are never read.")
    for argument in arguments:
        _require_plain(argument)
    found: dict[str, Given] = {}
    left = list(arguments)
    while left:
        given = _next(left, found)
        found[given.name] = given
    return found


def whole_number(text: str) -> int:
    """The number that vLLM's `human_readable_int` reads: `8192`, `8k` (8,000), `8K` (8,192), `25.6k`.

    Raises:
        ValueError: It is none.
    """
    text = text.strip()
    suffixed = _SUFFIXED.fullmatch(text)
    if suffixed is None:
        return int(text)
    number, suffix = suffixed.groups()
    if suffix.islower():
        try:
            return int(float(number) * 10 ** (3 * _POWERS[suffix]))
        except OverflowError as exc:
            raise ValueError(f"{len(number)} digits are beyond every float") from exc
    return int(number) << 10 * _POWERS[suffix.lower()]


def _next(left: list[str], found: Mapping[str, Given]) -> Given:
    """Take the next argument with its values from what is left."""
    word = left.pop(0)
    if not word.startswith("-") or _NEGATIVE.fullmatch(word):
        raise SpecInvalid(f"{_shown(word)} stands alone: no argument before it takes it.")
    if word.startswith("-O"):
        return _once(found, Given(name="--optimization-level", written="-O", value=_level(word, left)))
    head, explicit, value = word.partition("=")
    name, *keys = head.split(".")
    if name.startswith("--"):
        name = name.replace("_", "-")
    option = table().by_name.get(name) or _unknown(name)
    if keys:
        return _dotted(option, name, keys, _json_value(name, left) if not explicit else value, found)
    if explicit and option.nargs == 0:
        raise SpecInvalid(f"{name} takes no value: write {name}, or leave it out.")
    if option.nargs == 0:
        return _once(found, Given(name=option.name, written=name, value=not name.startswith("--no-")))
    values = (value,) if explicit else _values(option, name, left)
    for one in values:
        if option.choices and one not in option.choices:
            raise SpecInvalid(f"{name} must be one of {', '.join(option.choices)} (given: {_shown(one)}).")
    several = option.nargs == "+"
    return _once(found, Given(name=option.name, written=name, value=values if several else values[0] if values else True))


def _values(option: Option, name: str, left: list[str]) -> tuple[str, ...]:
    most = len(left) if option.nargs == "+" else 1
    count = 0
    while count < min(most, len(left)) and _is_value(left[count]):
        count += 1
    if not count and option.nargs != "?":
        hint = f": write {name}={_shown(left[0])}" if left and not left[0].startswith("--") else ""
        raise SpecInvalid(f"{name} needs a value{hint}.")
    values = tuple(left[:count])
    del left[:count]
    return values


def _is_value(word: str) -> bool:
    return not word.startswith("-") or _NEGATIVE.fullmatch(word) is not None


def _json_value(name: str, left: list[str]) -> str:
    # vLLM takes whatever comes next, even another argument.
    if not left or not (_is_value(left[0]) or _NEGATIVE_DECIMAL.fullmatch(left[0])):
        raise SpecInvalid(f"{name} needs a value for each key.")
    return left.pop(0)


def _level(word: str, left: list[str]) -> str:
    """The level of `-O3`, `-O=3` or `-O 3`."""
    level = word[2:].removeprefix("=") if word != "-O" else left.pop(0) if left else ""
    if level not in ("0", "1", "2", "3"):
        raise SpecInvalid(f"-O takes a level from 0 to 3 (given: {_shown(level)}).")
    return level


def _dotted(option: Option, name: str, keys: list[str], text: str, found: Mapping[str, Given]) -> Given:
    """The argument with one more key: `--argument.key.inner value`, or `--argument.key+ a,b` for a list."""
    if option.nargs != 1 or option.choices:
        raise SpecInvalid(f"{name} takes no keys: {_shown('.'.join([name, *keys]))} is none of its forms.")
    if len(keys) > _MOST_KEYS:
        raise SpecInvalid(f"{name} is nested too deeply.")
    value: Any = _json(text)
    if keys[-1].endswith("+"):
        keys[-1], value = keys[-1][:-1], text.split(",")
    if "" in keys:
        raise SpecInvalid(f"{name}: one of the keys of {_shown('.'.join([name, *keys]))} is empty.")
    before = found.get(option.name)
    if before is not None and not isinstance(before.value, Mapping):
        # vLLM appends what the keys add up to, and of two the last counts.
        raise SpecInvalid(f"{name} is given as a whole and by keys: vLLM would forget the first; write one of them.")
    whole = dict(before.value) if before is not None and isinstance(before.value, Mapping) else {}
    _add(whole, keys, value, name)
    return Given(name=option.name, written=name, value=whole)


def _add(into: dict[str, Any], keys: Sequence[str], value: Any, name: str) -> None:
    first, *inner = keys
    there = into.get(first)
    if inner and (there is None or isinstance(there, dict)):
        into[first] = dict(there or {})
        _add(into[first], inner, value, name)
    elif isinstance(there, list) and isinstance(value, list):
        into[first] = there + value
    elif first in into:
        raise SpecInvalid(f"{name}: the key {_shown('.'.join(keys))} is given twice: vLLM would forget the first.")
    else:
        into[first] = value


def parse_json(text: str) -> Any:
    """The JSON value that a text holds.

    Raises:
        SpecInvalid: It is nested too deeply, or holds a number that is none.
        ValueError: It is no JSON.
    """
    try:
        value = json.loads(text, parse_constant=_no_number)
        if not _finite(value):
            raise ValueError("a number without end")
    except RecursionError as exc:
        raise SpecInvalid(f"{_shown(text)} is nested too deeply.") from exc
    except json.JSONDecodeError:
        raise
    except ValueError as exc:  # more digits than Python reads, here as in vLLM
        raise SpecInvalid(f"{_shown(text)} holds a number that is too large.") from exc
    return value


def _json(text: str) -> Any:
    """The value of a key as vLLM takes it: JSON, a number with a suffix, or a text."""
    for read in (parse_json, whole_number):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def _once(found: Mapping[str, Given], given: Given) -> Given:
    if given.name in found:
        raise SpecInvalid(f"{given.name} is given twice: vLLM would forget the first; write one of them.")
    return given


def _unknown(name: str) -> NoReturn:
    known = table()
    begins = [option for option in known.options if any(other.startswith(name) for other in option.names)] if len(name) > 2 else []
    if name.startswith("--") and len(begins) == 1:
        raise SpecInvalid(f"arguments must be written out: vLLM would take {_shown(name)} for {begins[0].name}.")
    glued = known.by_name.get(name[:2]) if not name.startswith("--") and len(name) > 2 else None
    if glued is not None:
        raise SpecInvalid(f"arguments must be written out: vLLM would take {_shown(name)} for {name[:2]} ({glued.name}) with its value.")
    like = difflib.get_close_matches(name, known.by_name, n=1, cutoff=0.8)
    raise SpecInvalid(f"{_shown(name)} is no argument of vLLM {known.version}{f': did you mean {like[0]}?' if like else '.'}")


def _require_plain(argument: str) -> None:
    if not argument:
        raise SpecInvalid("an argument is empty: leave it out.")
    if len(argument) > _LONGEST_ARGUMENT:
        raise SpecInvalid(f"{_shown(argument)} has {len(argument):,} characters: no argument is longer than {_LONGEST_ARGUMENT:,}.")
    if not argument.replace("\n", "").replace("\t", "").isprintable():
        raise SpecInvalid(f"{_shown(argument)} holds a character that cannot be printed: leave it out.")
    if "$(" in argument:
        raise SpecInvalid(f"{_shown(argument)} holds $(: Kubernetes would put a variable's value there.")


def _no_number(name: str) -> NoReturn:
    raise SpecInvalid(f"{name} is no number.")


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(_finite(inner) for inner in value.values())
    return all(_finite(inner) for inner in value) if isinstance(value, list) else True


def _shown(text: str) -> str:
    """What is shown of an argument: its beginning, without anything that a terminal would obey."""
    plain = "".join(character if character.isprintable() else "�" for character in text)
    return plain if len(plain) <= 60 else f"{plain[:60]}…"
