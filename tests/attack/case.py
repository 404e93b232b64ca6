"""What a case of `make attack` is: a function that attacks, the promise that it attacks, and the area that its file names."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).with_name("cases")

#: What can be attacked, in the order of the report; each is a file of `tests/attack/cases/`.
AREAS = ("registry", "gate", "engine", "hub", "models", "environments", "secrets", "text", "numbers", "cli", "console")

_CASES: dict[str, Case] = {}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One attack.

    Attributes:
        name: `area/function`.
        area: One of `AREAS`.
        promise: What must hold, as one sentence without its full stop.
        attack: Raises an AssertionError that says what was seen if the promise does not hold.
        shares: Whether it needs servers of the sandbox; without, it takes milliseconds and is a test of the suite, too.
    """

    name: str
    area: str
    promise: str
    attack: Callable[..., None]
    shares: bool


def attacks(promise: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make the function a case that attacks this promise. It takes nothing, or a `Shared` if it needs servers."""

    def register(attack: Callable[..., None]) -> Callable[..., None]:
        area = attack.__module__.rpartition(".")[2]
        made = Case(
            name=f"{area}/{attack.__name__}", area=area, promise=promise, attack=attack, shares=bool(inspect.signature(attack).parameters)
        )
        if area not in AREAS or made.name in _CASES:
            raise ValueError(f"{made.name}: no area of its own, or there are two of that name")
        _CASES[made.name] = made
        return attack

    return register


def all_cases() -> list[Case]:
    """Every case, by area and in the order of the files."""
    for path in sorted(_FOLDER.glob("[a-z]*.py")):
        importlib.import_module(f"tests.attack.cases.{path.stem}")
    return sorted(_CASES.values(), key=lambda case: AREAS.index(case.area))


def refused(kind: type[Exception], attack: Callable[..., Any], *given: Any, **named: Any) -> str:
    """Assert that this is refused in our own words, and return them: one sentence, short, for people.

    Args:
        kind: The error that it must end in.
        attack: What is called.
        given: With what.
        named: With what, by name.
    """
    try:
        got = attack(*given, **named)
    except kind as exc:
        said = str(exc)
        assert said, f"{kind.__name__} says nothing"
        assert len(said) < 2000, f"the sentence has {len(said)} characters"
        return said
    raise AssertionError(f"it was taken: {str(got)[:200]}")
