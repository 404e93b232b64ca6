"""A folder that this very user may write to: made by an init container, so that the engine's own container may mount nothing above it."""

from __future__ import annotations

import os
from pathlib import Path

from blocks.errors import NodeRejected


def prepare(folder: Path) -> None:
    """Have the folder, and be able to write to it; what lies in it stays.

    Raises:
        NodeRejected: It cannot be made, or not be written to.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise _refused(folder, exc.strerror or str(exc)) from exc
    # A folder that was there already may be somebody else's, of which mkdir says nothing.
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise _refused(folder, "it is there already, and this user may not write to it")


def _refused(folder: Path, reason: str) -> NodeRejected:
    return NodeRejected(
        f"{folder} cannot be had ({reason}): let the folder that is mounted above it belong to user {os.getuid()}, or do without it."
    )
