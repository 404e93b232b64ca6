"""A YAML file with its lines: every error names the file, the line and the field."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from flows.errors import SpecInvalid
from flows.spec.adapter import adapter

T = TypeVar("T")

#: A field: keys and indices from the top of the file.
Place = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file that was read.

    Attributes:
        shown: How errors name the file.
        data: What it holds.
        root: The same as YAML nodes, which know their lines.
    """

    shown: str
    data: dict[str, Any]
    root: yaml.Node

    def validated(self, of: type[T]) -> T:
        """The file as a spec.

        Raises:
            SpecInvalid: It is not one; the message names the first field that is wrong.
        """
        try:
            return adapter(of).validate_python(self.data)
        except ValidationError as exc:
            place, problem = explain(exc, self.data)
            raise self.invalid(place, problem) from exc
        except RecursionError as exc:
            raise self.invalid((), "holds itself: an alias leads back to where it stands.") from exc

    def invalid(self, place: Place, problem: str) -> SpecInvalid:
        """The error for a field, as `file, line N: field: problem`."""
        field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
        where = f"{self.shown}, line {self._line(place)}"
        return SpecInvalid(f"{where}: {field}: {problem}" if field else f"{where}: {problem}")

    def _line(self, place: Place) -> int:
        """The line of the field, or of the nearest one above it that is in the file."""
        node, line = self.root, self.root.start_mark.line
        for part in place:
            if isinstance(node, yaml.MappingNode):
                found = next(((key, value) for key, value in node.value if key.value == part), None)
                if found is None:
                    break
                line, node = found[0].start_mark.line, found[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line = node.start_mark.line
            else:
                break
        return line + 1


def read(path: Path, shown: str) -> Source:
    """Read the file; `shown` is its name in errors.

    Raises:
        SpecInvalid: It is no YAML mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
        # Values know no lines, and nodes do: both are kept.
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        data = loader.construct_document(root) if root is not None else None
    except UnicodeDecodeError as exc:
        raise SpecInvalid(f"{shown}: is not UTF-8 text.") from exc
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(exc, "problem", None) or "not YAML"
        raise SpecInvalid(f"{shown}{where}: not valid YAML: {problem}.") from exc
    except (ValueError, RecursionError) as exc:  # a date that is none, brackets without end
        raise SpecInvalid(f"{shown}: not valid YAML: {exc}.") from exc
    if not isinstance(data, dict) or root is None:
        raise SpecInvalid(f"{shown}: must be a mapping of keys to values.")
    return Source(shown=shown, data=data, root=root)


def explain(error: ValidationError, data: Any) -> tuple[Place, str]:
    """The first thing that is wrong: where it is in `data`, and what is expected there."""
    first = error.errors(include_url=False)[0]
    place, kind, given = _in_data(first["loc"], data), first["type"], first.get("input")
    context = first.get("ctx", {})
    if kind in ("missing", "missing_keyword_only_argument"):
        return place, "is missing."
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        return place, "is not a known key."
    if kind == "union_tag_not_found":
        return (*place, "kind"), "is missing."
    if kind == "union_tag_invalid":
        return (*place, "kind"), f"must be one of {context['expected_tags']} (given: {context['tag']!r})."
    shown = f" (given: {given!r})" if isinstance(given, (str, int, float, bool)) and len(str(given)) < 120 else ""
    return place, f"{_PATTERNS.get(str(context.get('pattern')), first['msg'].removeprefix('Value error, '))}{shown}."


def _in_data(location: Place, data: Any) -> Place:
    """The location without the names of kinds that pydantic puts into it: `checks.0.chat.prompt` is `checks.0.prompt`."""
    place: list[str | int] = []
    for index, part in enumerate(location):
        if isinstance(data, dict) and data.get("kind") == part and index and isinstance(location[index - 1], int):
            continue
        place.append(part)
        known = (isinstance(data, dict) and part in data) or (isinstance(data, list) and isinstance(part, int) and part < len(data))
        data = data[part] if known else None
    return tuple(place)


# By pattern, which is all that pydantic's own message would say.
_PATTERNS = {
    r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$": "must be a DNS label: lower-case letters, digits and hyphens, 63 at most",
    r"^[a-z][a-z0-9]{0,19}$": "must be lower-case letters and digits, 20 at most, and begin with a letter",
    r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,94}[A-Za-z0-9])?$": "must be letters, digits, '.', '_' and '-', 96 at most, ending in neither sign",
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}$": "must be a hub repository as organisation/name",
    r"^([A-Za-z0-9][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9][A-Za-z0-9._-]{0,99}){0,4})?$": "must be a folder of the repository (NAME, NAME/NAME)",
    r"^[a-z0-9][a-z0-9._/:-]*@sha256:[0-9a-f]{64}$": "must name the image by digest (repository@sha256:…), not by tag",
    r"^/[A-Za-z0-9._/-]+$": "must be an absolute path",
    r"^[a-z0-9][a-z0-9 ._+-]{0,79}$": "must be a licence as the hub names it, in lower case",
}
