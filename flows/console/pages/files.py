"""The console's own files: a style, a script, a mark. Their addresses hold their hash: browsers keep what they have."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Response

from flows.console.edge.problems import not_found

#: What there is, with its type.
_TYPES = {"console.css": "text/css", "console.js": "text/javascript", "icon.svg": "image/svg+xml"}

router = APIRouter(include_in_schema=False)


@cache
def _contents() -> Mapping[str, bytes]:
    folder = Path(__file__).with_name("static")
    return {name: (folder / name).read_bytes() for name in _TYPES}


@cache
def addresses() -> Mapping[str, str]:
    """The address of each file, by its name."""
    return {name: f"/static/{hashlib.sha256(content).hexdigest()[:16]}/{name}" for name, content in _contents().items()}


@router.get("/static/{digest}/{name}")
def file(digest: str, name: str) -> Response:
    """One of the files; the address of before an upgrade is none."""
    if name not in _TYPES or addresses()[name] != f"/static/{digest}/{name}":
        raise not_found("file")
    return Response(_contents()[name], media_type=_TYPES[name], headers={"Cache-Control": "public, max-age=31536000, immutable"})
