"""Shows how far a long step is, as a progress artifact of its run."""

from __future__ import annotations

import logging
import re
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from flows.weights.progress import Progress

_LOG = logging.getLogger(__name__)


class ProgressArtifact:
    """A progress artifact that is made when there is something to show. It never fails the step that it speaks of.

    Args:
        key: Its key; what a key may not hold becomes a hyphen.
    """

    def __init__(self, key: str) -> None:
        self._key = re.sub(r"[^a-z0-9-]+", "-", key.lower())
        self._id: UUID | None = None
        self._shown: Progress | None = None

    def show(self, progress: Progress | None) -> None:
        """Show this, unless it is what is shown already."""
        if progress is None or progress == self._shown:
            return
        self._shown = progress
        try:
            if self._id is None:
                made = create_progress_artifact(progress.percent, key=self._key, description=progress.sentence)
                self._id = made if isinstance(made, UUID) else None  # a coroutine only where an event loop runs
            else:
                update_progress_artifact(self._id, progress.percent, description=progress.sentence)
        except Exception as exc:  # noqa: BLE001  # whatever it is: weights do not wait for a picture of themselves
            _LOG.warning("The progress of %s cannot be shown: %s", self._key, exc)
