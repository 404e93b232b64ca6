"""The arguments that `vllm serve` knows, as its own parser has them: `vllm.jsonl`, renewed with vLLM (CONTRIBUTING.md says how)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

#: How many values an argument takes, in argparse's words: none, one, one or none, one or more.
Nargs = Literal[0, 1, "?", "+"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """One argument.

    Attributes:
        names: All its option strings, as `--tensor-parallel-size` and `-tp`; the first is its name.
        nargs: How many values it takes.
        choices: The only values that it takes; empty for any.
    """

    names: tuple[str, ...]
    nargs: Nargs
    choices: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The option string that it is called by: the first long one."""
        return next((name for name in self.names if name.startswith("--")), self.names[0])


@dataclass(frozen=True, kw_only=True)
class Table:
    """All arguments of one version.

    Attributes:
        version: vLLM's version.
        options: Its arguments.
        by_name: The same by each of their option strings.
    """

    version: str
    options: tuple[Option, ...]
    by_name: Mapping[str, Option]


@cache
def table() -> Table:
    """The arguments of the version that this project reads arguments by."""
    lines = Path(__file__).with_name("vllm.jsonl").read_text(encoding="utf-8").splitlines()
    about, *rows = (json.loads(line) for line in lines)
    options = tuple(_option(row) for row in rows)
    return Table(version=about["vllm"], options=options, by_name={name: option for option in options for name in option.names})


def _option(row: Mapping[str, Any]) -> Option:
    return Option(names=tuple(row["options"]), nargs=row["nargs"], choices=tuple(row.get("choices", ())))
