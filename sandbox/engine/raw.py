"""Answers as no JSON library writes them: a number of any size, NaN, or whatever else a fault puts in the place of a value."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any


def written(document: Any, raw: Mapping[str, str]) -> bytes:
    """The document as JSON, with the raw text of each name in the place of every value that has that name."""
    marks: dict[str, str] = {}
    text = json.dumps(_marked(document, raw, marks), ensure_ascii=False)
    for mark, value in marks.items():
        text = text.replace(f'"{mark}"', value)
    return text.encode()


def exposition(text: bytes, raw: Mapping[str, str]) -> bytes:
    """The metrics, with the raw text of each name as the value of every series of that name."""
    for name, value in raw.items():
        text = re.sub(rb"(?m)^(%s(?:\{.*\})?) \S+$" % re.escape(name.encode()), rb"\g<1> " + value.encode(), text)
    return text


def _marked(value: Any, raw: Mapping[str, str], marks: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _mark(key, raw, marks) if key in raw else _marked(inner, raw, marks) for key, inner in value.items()}
    return [_marked(inner, raw, marks) for inner in value] if isinstance(value, list) else value


def _mark(name: str, raw: Mapping[str, str], marks: dict[str, str]) -> str:
    mark = f"raw value of {name}"
    marks[mark] = raw[name]
    return mark
