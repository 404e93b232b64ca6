"""A candidate of a few words, for tests that are about none: what the registry asks of one, and its fingerprint."""

from __future__ import annotations

from typing import Any

from blocks.registry import RegistryClient
from blocks.registry.documents import digest


def told(model: str = "tiny", commit: str = "a" * 40, **more: object) -> dict[str, Any]:
    """The document; `more` tells candidates of a commit apart."""
    return {"model": model, "commit": commit, **more}


def fingerprint(model: str = "tiny", commit: str = "a" * 40, **more: object) -> str:
    """The fingerprint of that document."""
    return digest(told(model, commit, **more))


def register(registry: RegistryClient, model: str = "tiny", commit: str = "a" * 40, **more: object) -> str:
    """Register it, and return its fingerprint."""
    named = fingerprint(model, commit, **more)
    registry.candidates.register(named, told(model, commit, **more), model, commit)
    return named
