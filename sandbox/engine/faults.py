"""Faults that tests ask of running engines, through a file that the engines watch."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ENVIRONMENT_VARIABLE = "SANDBOX_ENGINE_FAULTS"


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What goes wrong in the engines of one model.

    Attributes:
        start_delay_seconds: Loading takes this much longer.
        crash_on_load: Loading ends with this line on stderr and exit code 1.
        hang: `/health` answers, completions never do.
        error_status: Completions answer with this status …
        error_share: … in this share of the requests, evenly spread.
        garbage: The text is random letters whatever the weights say.
        latency_seconds: Waits before the first token.
        token_latency_seconds: Waits before each token.
        exit_after_seconds: The process ends with exit code 1 this long after its port opened.
        raw: Texts that stand in the place of values: of an answer's JSON by the value's name, of a series of `/metrics` by the series'
            (`{"completion_tokens": "1e400", "vllm:kv_cache_usage_perc": "NaN"}`).
    """

    start_delay_seconds: float = 0.0
    crash_on_load: str | None = None
    hang: bool = False
    error_status: int | None = None
    error_share: float = 1.0
    garbage: bool = False
    latency_seconds: float = 0.0
    token_latency_seconds: float = 0.0
    exit_after_seconds: float | None = None
    raw: Mapping[str, str] = field(default_factory=dict)


class EngineFaults:
    """Writes the faults file that `SANDBOX_ENGINE_FAULTS` names; engines notice a change at their next request or tick.

    Args:
        path: The file; it does not exist until a fault is set.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def set(self, model: str, **faults: Any) -> None:
        """Set the faults of the engines that serve this name (`*`: all of them), replacing those it had.

        Raises:
            TypeError: There is no fault of that name.
        """
        Faults(**faults)
        self._write({**self._read(), model: faults})

    def clear(self) -> None:
        """Remove all faults."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        try:
            content: dict[str, Any] = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        return content

    def _write(self, document: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=".faults-")
        with os.fdopen(descriptor, "w") as file:
            json.dump(document, file)
            os.fchmod(descriptor, 0o644)
        # In one step: an engine may read at any moment.
        os.replace(temporary, self.path)


class FaultsView:
    """The faults of one engine as they are now; reads the file again only when it changed.

    Args:
        names: The names that the engine serves its model under.
        path: The faults file; None where the environment names none.
    """

    def __init__(self, names: tuple[str, ...], path: Path | None = None) -> None:
        variable = os.environ.get(ENVIRONMENT_VARIABLE)
        self._path = path or (Path(variable) if variable else None)
        self._names = names
        self._stamp: tuple[int, int] | None = None
        self._faults = Faults()

    def now(self) -> Faults:
        """Return the faults in force: those for `*`, overridden by those for the served names."""
        stamp = None
        if self._path is not None:
            with contextlib.suppress(OSError):
                status = self._path.stat()
                # Two writes may fall into one tick of the file system's clock; each makes a new inode.
                stamp = (status.st_mtime_ns, status.st_ino)
        if stamp != self._stamp:
            self._stamp = stamp
            self._faults = self._load() if stamp else Faults()
        return self._faults

    def _load(self) -> Faults:
        assert self._path is not None
        try:
            document = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return Faults()
        known = {entry.name for entry in dataclasses.fields(Faults)}
        merged: dict[str, Any] = {}
        for name in ("*", *self._names):
            merged.update(document.get(name, {}))
        return Faults(**{name: value for name, value in merged.items() if name in known})
