"""Label and field selectors: parsing, matching, and Kubernetes' words for what cannot be parsed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.kubernetes.meta.errors import bad_request
from sandbox.kubernetes.meta.values import dig

_SET_BASED = re.compile(r"^(?P<key>\S+)\s+(?P<operator>in|notin)\s*\((?P<values>[^)]*)\)$")
_EQUALITY = re.compile(r"^(?P<key>[^\s=!<>]+)\s*(?P<operator>==|=|!=|<|>)\s*(?P<value>[^\s=!]*)$")
_KEY = re.compile(r"^(?:[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?$")


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One term of a label selector: the key's value stands in the given relation to the values."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels satisfy the term. An absent key satisfies the negative operators, as in Kubernetes."""
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value is not None and value in self.values
            case "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "absent":
                return value is None
            case _:
                return _compare(value, self.operator, next(iter(self.values)))


def _compare(value: str | None, operator: str, bound: str) -> bool:
    try:
        return value is not None and (int(value) > int(bound) if operator == ">" else int(value) < int(bound))
    except ValueError:
        return False


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """The terms of a label selector as it stands in a query: `a=b,c in (d,e),!f`.

    Raises:
        ApiError: 400; it cannot be parsed.
    """
    requirements = []
    for term in _split(text):
        if (match := _SET_BASED.match(term)) is not None:
            values = frozenset(value.strip() for value in match["values"].split(","))
            requirements.append(Requirement(key=match["key"], operator=match["operator"], values=values))
        elif (match := _EQUALITY.match(term)) is not None:
            operator = {"=": "in", "==": "in", "!=": "notin"}.get(match["operator"], match["operator"])
            requirements.append(Requirement(key=match["key"], operator=operator, values=frozenset({match["value"]})))
        else:
            absent = term.startswith("!")
            requirements.append(Requirement(key=term.lstrip("! "), operator="absent" if absent else "exists"))
        if not _KEY.match(requirements[-1].key):
            raise bad_request(f"unable to parse requirement: found '{term}', expected: identifier")
    return tuple(requirements)


def _split(text: str) -> Iterable[str]:
    return (term.strip() for term in re.split(r",(?![^(]*\))", text) if term.strip())


def matches_labels(requirements: Iterable[Requirement], obj: Mapping[str, Any]) -> bool:
    """Whether an object's labels satisfy all terms."""
    labels = dig(obj, "metadata", "labels", default={})
    return all(requirement.matches(labels) for requirement in requirements)


def selector_requirements(selector: Mapping[str, Any] | None) -> tuple[Requirement, ...]:
    """The terms of a `LabelSelector` object (`matchLabels` and `matchExpressions`)."""
    selector = selector or {}
    operators = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "absent"}
    terms = [
        Requirement(key=key, operator="in", values=frozenset({value})) for key, value in dig(selector, "matchLabels", default={}).items()
    ]
    terms += [
        Requirement(key=item["key"], operator=operators[item["operator"]], values=frozenset(item.get("values") or ()))
        for item in dig(selector, "matchExpressions", default=[])
    ]
    return tuple(terms)


def format_selector(selector: Mapping[str, Any] | None) -> str:
    """A `LabelSelector` object as the text that a query takes."""
    parts = []
    for term in selector_requirements(selector):
        values = sorted(term.values)
        if term.operator == "in" and len(values) == 1:
            parts.append(f"{term.key}={values[0]}")
        elif term.operator in ("in", "notin"):
            parts.append(f"{term.key} {term.operator} ({','.join(values)})")
        else:
            parts.append(term.key if term.operator == "exists" else f"!{term.key}")
    return ",".join(sorted(parts))


@dataclass(frozen=True, kw_only=True)
class FieldTerm:
    """One term of a field selector: the field equals the value, or does not."""

    path: str
    equal: bool
    value: str

    def matches(self, obj: Mapping[str, Any]) -> bool:
        """Whether the object's field satisfies the term; an absent field counts as the empty text, or as false or 0."""
        found = dig(obj, *self.path.split("."), default="")
        text = str(found).lower() if isinstance(found, bool) else str(found)
        text = text or {"spec.unschedulable": "false", "spec.hostNetwork": "false", "status.successful": "0"}.get(self.path, "")
        return (text == self.value) is self.equal


def parse_fields(text: str, supported: tuple[str, ...]) -> tuple[FieldTerm, ...]:
    """The terms of a field selector: `metadata.name=a,status.phase!=Running`.

    Args:
        text: The selector as it stands in a query.
        supported: The paths that the resource can be selected by.

    Raises:
        ApiError: 400; it cannot be parsed, or names a field that is not indexed.
    """
    terms = []
    for term in _split(text):
        match = re.match(r"^([^=!]+)(==|=|!=)(.*)$", term)
        if match is None:
            raise bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
        path, operator, value = match.groups()
        if path not in supported:
            raise bad_request(_unknown_field(path, supported))
        terms.append(FieldTerm(path=path, equal=operator != "!=", value=value))
    return tuple(terms)


def _unknown_field(path: str, supported: tuple[str, ...]) -> str:
    if supported == ("metadata.name", "metadata.namespace"):
        return f'"{path}" is not a known field selector: only "metadata.name", "metadata.namespace"'
    return f"field label not supported: {path}"
