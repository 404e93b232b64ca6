"""What a dashboard says, without how Grafana wants it written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["timeseries", "stat", "table"]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture.

    Attributes:
        title: What it shows.
        help: What to read from it, in one or two sentences.
        queries: PromQL by legend; a legend may name labels as `{{model}}`.
        unit: Grafana's name of the unit: `s`, `percentunit`, `bytes`, `reqps` and so on.
        kind: Lines over time, one number a query, or a table of what there is now.
        limit: What the value should stay under, in the same unit; drawn as a line, and coloured from there on.
        stacked: Whether lines are stacked on each other.
        width: Of 24 columns.
    """

    title: str
    help: str
    queries: Mapping[str, str]
    unit: str = "short"
    kind: Kind = "timeseries"
    limit: float | None = None
    stacked: bool = False
    width: int = 8


@dataclass(frozen=True, kw_only=True)
class Variable:
    """A choice at the top of the dashboard.

    Attributes:
        name: How queries call it: `$name`.
        query: Where its values come from, as Grafana's `label_values(…)`.
    """

    name: str
    query: str


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """A page of panels.

    Attributes:
        uid: Its address in Grafana; never changes.
        title: Its name.
        help: Who it is for.
        variables: Choices beside the data source.
        rows: Panels by the heading above them.
    """

    uid: str
    title: str
    help: str
    variables: Sequence[Variable]
    rows: Mapping[str, Sequence[Panel]]
