"""Publishes what people read of a run as Prefect artifacts: the only file that makes any. They take Markdown, and no plain text."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate

from blocks.wording import one_line
from flows.text.markdown import Cell, Markdown
from flows.text.progress import Progress

_LOG = logging.getLogger(__name__)

#: Said to Prefect, as it would else make a coroutine of it where an async flow calls this in a thread, and nobody would await it.
_AT_ONCE: dict[str, Any] = {"_sync": True}


@contextmanager
def _as_a_copy(key: str) -> Iterator[None]:
    try:
        yield
    except Exception as exc:  # noqa: BLE001  # whatever it is: Prefect's API may be gone, and only the picture is missing
        _LOG.warning("%s cannot be published: %s", key, one_line(str(exc)))


def show_page(key: str, page: Markdown, description: Markdown) -> None:
    """Show a page, with the box of the task that shows it; a later one with the same key is a newer version.

    It never fails the run: what it says is in the registry, too.
    """
    with _as_a_copy(key):
        create_markdown_artifact(key=key, markdown=str(page), description=str(description), **_AT_ONCE)


def show_page_of(run_id: str, key: str, page: Markdown) -> None:
    """Show a page on another run than the one that shows it."""
    # By the client, since `create_markdown_artifact` would hang it on the run that it is called in.
    with get_client(sync_client=True) as prefect:
        prefect.create_artifact(ArtifactCreate(key=key, type="markdown", data=str(page), flow_run_id=UUID(run_id)))


def show_table(key: str, rows: Sequence[Mapping[str, Cell]], description: Markdown) -> None:
    """Show a table, as `show_page` does a page."""
    with _as_a_copy(key):
        create_table_artifact(key=key, table=_table(rows), description=str(description), **_AT_ONCE)


@task(task_run_name="publish {key}", cache_policy=NO_CACHE)
def publish_plan(key: str, page: Markdown, model: Mapping[str, Cell], environments: Sequence[Mapping[str, Cell]]) -> None:
    """Publish a plan: the page for people, and its numbers as two tables (`KEY-model`, `KEY-environments`) for scripts."""
    # No copies: `slipway plan` reads its answer from these, so that a failure here fails the run.
    create_markdown_artifact(key=key, markdown=str(page), description="What a release would do, and what speaks against it")
    create_table_artifact(key=f"{key}-model", table=_table([model]), description="What was found of the model")
    create_table_artifact(key=f"{key}-environments", table=_table(environments), description="How it fits each environment")


def _table(rows: Sequence[Mapping[str, Cell]]) -> list[dict[str, Any]]:
    return [{name: str(cell) if isinstance(cell, Markdown) else cell for name, cell in row.items()} for row in rows]


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

    def show(self, progress: Progress | None, *, begin: bool = True) -> None:
        """Show this, unless it is what is shown already.

        Args:
            progress: How far it is; none changes nothing.
            begin: Whether it is worth an artifact; without, only one that is there already is brought up to date.
        """
        if progress is None or progress == self._shown or (self._id is None and not begin):
            return
        self._shown = progress
        try:
            if self._id is None:
                made = create_progress_artifact(progress.percent, key=self._key, description=str(progress.message), **_AT_ONCE)
                self._id = cast(UUID, made)
            else:
                update_progress_artifact(self._id, progress.percent, description=str(progress.message), **_AT_ONCE)
        except Exception as exc:  # noqa: BLE001  # whatever it is: weights do not wait for a picture of themselves
            _LOG.warning("The progress of %s cannot be shown: %s", self._key, one_line(str(exc)))
