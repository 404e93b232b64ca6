"""The table of every value in `docs/chart.md`, from `values.schema.json` and the defaults of `values.yaml`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

PAGE = Path(__file__).parents[2] / "docs" / "chart.md"
BEGIN, END = "<!-- values: made by `make charts` -->", "<!-- end of values -->"


def with_table(page: str, chart: Path) -> str:
    """The page with the table as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{value_table(chart)}\n{END}{after}"


def value_table(chart: Path) -> str:
    """One line for each value that somebody can set."""
    schema = json.loads((chart / "values.schema.json").read_text(encoding="utf-8"))
    defaults = yaml.safe_load((chart / "values.yaml").read_text(encoding="utf-8"))
    lines = ["| value | is | may be | default |", "| --- | --- | --- | --- |"]
    for keys, node in values(schema):
        cells = (f"`{'.'.join(keys)}`", node["description"], _allowed(node), _default(keys, defaults))
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def values(schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Keys and schema of every value, those of lists after a key that ends in `[]`, in the order of the schema."""

    def below(keys: tuple[str, ...], node: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
        node = _resolved(node, schema)
        if "properties" in node:
            for key, inner in node["properties"].items():
                yield from below((*keys, key), inner)
            return
        yield keys, node
        if "properties" in (items := _resolved(node.get("items", {}), schema)):
            yield from below((*keys[:-1], f"{keys[-1]}[]"), items)

    yield from below((), schema)


def _resolved(node: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The node with what it refers to; its own words win. What is the same as another value is not told again."""
    if str(node.get("$ref", "")).startswith("#/properties/"):
        return dict(node)
    name = str(node.get("$ref", "")).rpartition("/")[2]
    return {**(schema["$defs"][name] if name else {}), **node}


def _allowed(node: Mapping[str, Any]) -> str:
    if "$ref" in node and "type" not in node:
        return f"as `{node['$ref'].rpartition('/')[2]}`"
    if "enum" in node:
        return ", ".join(f"`{choice}`" for choice in node["enum"])
    if "patternProperties" in node:
        return "names and texts"
    kinds = [node["type"]] if isinstance(node["type"], str) else node["type"]
    words = {
        "integer": "whole number",
        "number": "number",
        "string": "text",
        "boolean": "`true` or `false`",
        "array": "list",
        "null": "null",
    }
    said = " or ".join(words[kind] for kind in kinds)
    low, high = node.get("minimum", node.get("exclusiveMinimum")), node.get("maximum")
    if low is not None and high is not None:
        said += f", {'over ' if 'exclusiveMinimum' in node else ''}{low} to {high}"
    elif low is not None:
        said += f", {'over' if 'exclusiveMinimum' in node else 'at least'} {low}"
    if "maxLength" in node:
        said += f" of {node['maxLength']:,} characters at the most"
    # The others are for machines: Helm shows a pattern to whoever fails it.
    return f"{said}: `{node['pattern']}`" if "pattern" in node and "(" not in node["pattern"] else said


def _default(keys: tuple[str, ...], defaults: Mapping[str, Any]) -> str:
    """The default; `required` where there is none. What is in lists has no defaults."""
    found: Any = defaults
    for key in keys:
        if key.endswith("[]") or key == "ephemeral-storage":  # the one key that may be left out
            return ""
        if not isinstance(found, Mapping) or key not in found:
            return "required"
        found = found[key]
    text = found if isinstance(found, str) else json.dumps(found)
    return {"": "empty", "[]": "none", "{}": "none"}.get(text, f"`{text}`")
