"""Text that looks like a secret, in what is about to be written where many can read it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

#: What tokens look like, by whose they are; each from its issuer's documentation. The names are for people.
_SHAPES = {
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{20,}",
    "a GitHub token": r"\b(gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})",
    "a GitLab token": r"\bgl(pat|dt|rt|ptt|cbt|agent)-[A-Za-z0-9_.-]{20,}",
    "an AWS access key": r"\b(AKIA|ASIA)[A-Z0-9]{16}\b",
    "a Google API key": r"\bAIza[A-Za-z0-9_-]{35}",
    "a Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    "an API key": r"\bsk-[A-Za-z0-9_-]{20,}",
    "a JSON Web Token": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a password in an address": r"\b[a-z][a-z0-9+.-]*://[^\s:/@]+:[^\s:/@]+@",
    # vLLM takes it as an argument, so it would stand in the pod's spec, whatever its shape.
    "a key of vLLM's server": r"--api-key\b",
}
_ANY = {name: re.compile(shape) for name, shape in _SHAPES.items()}


def looks_secret(text: str) -> str | None:
    """What the first thing in the text that looks like a secret is; none if nothing does. It is never quoted."""
    return next((name for name, shape in _ANY.items() if shape.search(text)), None)


def secret_in(values: Any, place: str = "") -> tuple[str, str] | None:
    """Where in the values something looks like a secret, and what it is; none if nothing does."""
    if isinstance(values, str):
        what = looks_secret(values)
        return (place, what) if what else None
    if isinstance(values, Mapping):
        parts = [(f"{place}.{key}".lstrip("."), below) for key, below in values.items()]
    elif isinstance(values, Sequence):
        parts = [(f"{place}[{number}]", below) for number, below in enumerate(values)]
    else:
        return None
    return next((found for where, below in parts if (found := secret_in(below, where)) is not None), None)
