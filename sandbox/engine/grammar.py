"""Structured output: which bytes may come next so that the text becomes JSON of a schema. Decoding is constrained as vLLM constrains it.

Understood are objects (their required properties, in order), arrays, strings, integers, numbers, booleans, null, `enum` and `const`, nested
without recursion. Strings are printable ASCII without escapes, and separators are `", "` and `": "`. Not emulated, and refused: `$ref`,
combinators, patterns, formats, lengths and ranges, and JSON without a schema (`json_object`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# What says nothing about which bytes may come.
_ANNOTATIONS = {"$schema", "title", "description", "default", "examples", "additionalProperties", "properties", "required", "items", "type"}
_DEEPEST = 8


class SchemaUnsupported(ValueError):
    """The schema asks for what the grammar does not understand."""


@dataclass(frozen=True)
class Byte:
    """One byte out of several."""

    values: frozenset[int]


@dataclass(frozen=True)
class Sequence:
    """One after the other."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    """One of them."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    """Any number of them; the node takes a byte at least."""

    node: Node


Node = Byte | Sequence | Choice | Repeat

# Where decoding may stand: what is still to come, in as many ways as the bytes so far can be read.
Places = frozenset[tuple[Node, ...]]


@dataclass(frozen=True)
class Grammar:
    """What may still come. Immutable: `after` gives the grammar behind a byte."""

    places: Places

    @classmethod
    def of(cls, schema: object) -> Grammar:
        """Return the grammar of the JSON texts that satisfy the schema.

        Raises:
            SchemaUnsupported: It is not understood.
        """
        return cls(frozenset(_expand((_node(schema, 0),))))

    def next_bytes(self) -> frozenset[int]:
        """Return the bytes that may come next."""
        return frozenset().union(*(place[0].values for place in self.places if place and isinstance(place[0], Byte)))

    @property
    def complete(self) -> bool:
        """Whether the text may end here."""
        return () in self.places

    def after(self, byte: int) -> Grammar:
        """Return what may come after that byte."""
        rest = [place[1:] for place in self.places if place and isinstance(place[0], Byte) and byte in place[0].values]
        return Grammar(frozenset(following for place in rest for following in _expand(place)))


def tool_calls(tools: Mapping[str, object]) -> Grammar:
    """Return the grammar of a list of one call of any of the tools (name to parameters), as vLLM has it for `required`.

    Raises:
        SchemaUnsupported: A tool's parameters are not understood.
    """
    calls = tuple(
        Sequence((_text(f'{{"name": {json.dumps(name)}, "parameters": '), _node(parameters, 0), _text("}")))
        for name, parameters in tools.items()
    )
    return Grammar(frozenset(_expand((_text("["), Choice(calls), _text("]")))))


def _expand(place: tuple[Node, ...]) -> Iterator[tuple[Node, ...]]:
    """Yield the place as it may be read: each with a byte in front, or empty."""
    if not place or isinstance(place[0], Byte):
        yield place
        return
    head, rest = place[0], place[1:]
    if isinstance(head, Sequence):
        yield from _expand((*head.nodes, *rest))
    elif isinstance(head, Choice):
        for node in head.nodes:
            yield from _expand((node, *rest))
    else:
        yield from _expand(rest)
        yield from _expand((head.node, head, *rest))


def _node(schema: object, depth: int) -> Node:
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        raise SchemaUnsupported("the schema is nested too deeply" if depth > _DEEPEST else f"{schema!r} is not a schema")
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return Choice(tuple(_text(json.dumps(value)) for value in values))
    unknown = sorted(str(keyword) for keyword in schema.keys() - _ANNOTATIONS)
    if unknown:
        raise SchemaUnsupported(f"the keyword {unknown[0]!r} is not supported")
    make = _TYPES.get(str(schema.get("type")))
    if make is None:
        raise SchemaUnsupported(f"the type {schema.get('type')!r} is not supported")
    node: Node = make(schema, depth)
    return node


def _object(schema: Mapping[str, Any], depth: int) -> Node:
    properties, wanted = schema.get("properties", {}), schema.get("required", [])
    if not set(wanted) <= properties.keys():
        raise SchemaUnsupported("a property is required that has no schema")
    parts: list[Node] = []
    for name in [name for name in properties if name in wanted]:
        parts += [_text((", " if parts else "") + json.dumps(name) + ": "), _node(properties[name], depth + 1)]
    return Sequence((_text("{"), *parts, _text("}")))


def _array(schema: Mapping[str, Any], depth: int) -> Node:
    item = _node(schema.get("items"), depth + 1)
    return Sequence((_text("["), Choice((Sequence(()), Sequence((item, Repeat(Sequence((_text(", "), item))))))), _text("]")))


def _string(schema: Mapping[str, Any], depth: int) -> Node:
    plain = Byte(frozenset(range(0x20, 0x7F)) - frozenset(b'"\\'))
    return Sequence((_text('"'), Repeat(plain), _text('"')))


def _integer(schema: Mapping[str, Any], depth: int) -> Node:
    digits, first = Byte(frozenset(b"0123456789")), Byte(frozenset(b"123456789"))
    return Sequence((Choice((Sequence(()), _text("-"))), Choice((_text("0"), Sequence((first, Repeat(digits)))))))


def _number(schema: Mapping[str, Any], depth: int) -> Node:
    digits = Byte(frozenset(b"0123456789"))
    return Sequence((_integer(schema, depth), Choice((Sequence(()), Sequence((_text("."), digits, Repeat(digits)))))))


def _boolean(schema: Mapping[str, Any], depth: int) -> Node:
    return Choice((_text("true"), _text("false")))


def _null(schema: Mapping[str, Any], depth: int) -> Node:
    return _text("null")


def _text(text: str) -> Node:
    return Sequence(tuple(Byte(frozenset([byte])) for byte in text.encode()))


_TYPES = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "null": _null,
}
