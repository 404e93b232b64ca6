"""Which arguments and variables a model's file may hold.

`classes.toml` classes every argument that vLLM has, and `variables.toml` lists the variables.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from flows.errors import SpecInvalid
from flows.spec.engine_arguments.read import Given, read_arguments
from flows.spec.engine_arguments.typed import EngineArguments, json_of, object_of

#: Why arguments that hold secrets are refused, as `classes.toml` has it.
_NO_SECRETS = "a secret must not stand in a pod's arguments"


@dataclass(frozen=True, kw_only=True)
class Classes:
    """What becomes of each argument, by its name.

    Attributes:
        refused: Why it must not be there, or what to do instead.
        allowed: Those that may.
        values: The only values that some of these may have.
        keys: Keys that the JSON of some of these must not have at its top.
        keys_anywhere: Keys that no JSON of any of them may have, however deep.
    """

    refused: Mapping[str, str]
    allowed: frozenset[str]
    values: Mapping[str, tuple[str, ...]]
    keys: Mapping[str, tuple[str, ...]]
    keys_anywhere: frozenset[str]


@cache
def classes() -> Classes:
    """The classes, as `classes.toml` has them."""
    said: dict[str, Any] = tomllib.loads(Path(__file__).with_name("classes.toml").read_text(encoding="utf-8"))
    refused = dict(said["set"])
    for group in said["forbidden"]:
        refused |= dict.fromkeys(group["arguments"], group["because"])
    keys = {name: tuple(found) for name, found in said["keys"].items()}
    return Classes(
        refused=refused,
        allowed=frozenset(said["allowed"]["arguments"]),
        values={name: tuple(found) for name, found in said["values"].items()},
        keys=keys,
        keys_anywhere=frozenset(keys.pop("any")),
    )


def admit(arguments: Sequence[str]) -> EngineArguments:
    """What the arguments of a model's file say.

    Raises:
        SpecInvalid: vLLM would not start with them, or one must not be there; the sentence names it.
    """
    given = read_arguments(arguments)
    for one in given.values():
        _require_allowed(one)
        _require_value(given, one)
    return EngineArguments.of(given)


@cache
def variables() -> Mapping[str, str]:
    """The variables that may be set, each with what it may be: a regular expression for all of it."""
    found: dict[str, str] = tomllib.loads(Path(__file__).with_name("variables.toml").read_text(encoding="utf-8"))
    return found


def admit_variables(wanted: Mapping[str, str]) -> None:
    """Make sure that a model's file may set these variables of the engine's process.

    Raises:
        SpecInvalid: One must not be set, or not to that; the sentence names it.
    """
    for name, value in wanted.items():
        if name not in variables():
            plain = name[:60] if name.isprintable() else "a name that cannot be printed"
            raise SpecInvalid(f"{plain} is not among the variables that may be set (docs/deployments.md).")
        if not re.fullmatch(variables()[name], value):
            raise SpecInvalid(f"{name} must be {variables()[name]}.")


def _require_allowed(given: Given) -> None:
    known = classes()
    # An argument that nobody has classed is none that may be there.
    if given.name in known.refused or given.name not in known.allowed:
        why = known.refused.get(given.name, "nobody has looked at what it does")
        # What follows a secret's name and a colon is taken out of every message.
        sign = ";" if why == _NO_SECRETS else ":"
        raise SpecInvalid(f"must not hold {given.written}{sign} {why}.")


def _require_value(given: Mapping[str, Given], one: Given) -> None:
    known = classes()
    allowed = known.values.get(one.name)
    if allowed is not None and one.value not in allowed:
        raise SpecInvalid(f"{one.name} must be one of {', '.join(allowed)}: others read files or run code that nothing checks.")
    if one.name in known.keys:
        value = object_of(given, one.name) or {}
    elif isinstance(one.value, Mapping) or (isinstance(one.value, str) and one.value.lstrip().startswith(("{", "["))):
        value = json_of(one)
    else:
        return
    bad = [key for key in known.keys.get(one.name, ()) if key in value] or [key for key in _keys(value) if key in known.keys_anywhere]
    if bad:
        raise SpecInvalid(f"{one.name} must not hold the key {bad[0]}: it reads files or runs code that nothing checks.")


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield key
            yield from _keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner)
