"""Publishes what people read of a run as Prefect artifacts."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE

from flows.text import Progress

_LOG = logging.getLogger(__name__)


@contextmanager
def _as_a_copy(key: str) -> Iterator[None]:
    try:
        yield
    except Exception as exc:  # noqa: BLE001  # whatever it is: Prefect's API may be gone, and only the picture is missing
        _LOG.warning("%s cannot be published: %s", key, exc)


def show_page(key: str, page: str, description: str) -> None:
    """Show a page of markdown, with the box of the task that shows it; a later one with the same key is a newer version.

    It never fails the run: what it says is in the registry, too.
    """
    with _as_a_copy(key):
        # Said, as Prefect would else make a coroutine of it where an async flow calls this in a thread, and nobody would await it.
        create_markdown_artifact(key=key, markdown=page, description=description, _sync=True)  # type: ignore[call-arg]


def show_table(key: str, rows: list[dict[str, Any]], description: str) -> None:
    """Show a table, as `show_page` does a page."""
    with _as_a_copy(key):
        create_table_artifact(key=key, table=rows, description=description, _sync=True)  # type: ignore[call-arg]


@task(task_run_name="publish {key}", cache_policy=NO_CACHE)
def publish_plan(key: str, page: str, model: dict[str, Any], environments: list[dict[str, Any]]) -> None:
    """Publish a plan: the page for people, and its numbers as two tables (`KEY-model`, `KEY-environments`) for scripts."""
    # No copies: `slipway plan` reads its answer from these, so that a failure here fails the run.
    create_markdown_artifact(key=key, markdown=page, description="What a release would do, and what speaks against it")
    create_table_artifact(key=f"{key}-model", table=[model], description="What was found of the model")
    create_table_artifact(key=f"{key}-environments", table=environments, description="How it fits each environment")


class ProgressArtifact:
    """A progress artifact that is made when there is something to show. It never fails the step that it speaks of.

    Args:
        key: Its key; what a key may not hold becomes a hyphen.
    """

    def __init__(self, key: str) -> None:
        # Prefect refuses any other key; names of nodes have dots.
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
                made = create_progress_artifact(progress.percent, key=self._key, description=progress.message)
                self._id = made if isinstance(made, UUID) else None  # a coroutine only where an event loop runs
            else:
                update_progress_artifact(self._id, progress.percent, description=progress.message)
        except Exception as exc:  # noqa: BLE001  # whatever it is: weights do not wait for a picture of themselves
            _LOG.warning("The progress of %s cannot be shown: %s", self._key, exc)
