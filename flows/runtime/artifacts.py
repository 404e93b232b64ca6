"""Publishes what people read of a run as Prefect artifacts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

_LOG = logging.getLogger(__name__)


@contextmanager
def _as_a_copy(key: str) -> Iterator[None]:
    try:
        yield
    except Exception as exc:  # noqa: BLE001  # whatever it is: Prefect's API may be gone, and only the picture is missing
        _LOG.warning("%s cannot be published: %s", key, exc)


@task(task_run_name="publish {key}", cache_policy=NO_CACHE)
def publish_diagnosis(key: str, page: str) -> None:
    """Publish why a rollout did not go on. It never fails the run: the registry has it, too."""
    with _as_a_copy(key):
        create_markdown_artifact(key=key, markdown=page, description="Why the rollout stalled, and what to do")


@task(task_run_name="publish {key}", cache_policy=NO_CACHE)
def publish(key: str, page: str, measurements: list[dict[str, Any]]) -> None:
    """Publish the page (unless it is empty) and the table of measurements; a later call with the same key is a newer version.

    It never fails the run: the registry has the evidence, and a candidate that was verified is not left unrecorded for want of a page.
    """
    with _as_a_copy(key):
        if page:
            create_markdown_artifact(key=key, markdown=page, description="What is released, and what was found")
        create_table_artifact(key=f"{key}-measurements", table=measurements, description="Every measurement of the verification")


@task(task_run_name="publish {key}", cache_policy=NO_CACHE)
def publish_plan_of_return(key: str, page: str) -> None:
    """Publish what a rollback will do. It never fails the run: going back does not wait for a page."""
    with _as_a_copy(key):
        create_markdown_artifact(key=key, markdown=page, description="What the rollback does")


@task(task_run_name="publish {key}", cache_policy=NO_CACHE)
def publish_plan(key: str, page: str, model: dict[str, Any], environments: list[dict[str, Any]]) -> None:
    """Publish a plan: the page for people, and its numbers as two tables (`KEY-model`, `KEY-environments`) for scripts."""
    create_markdown_artifact(key=key, markdown=page, description="What a release would do, and what speaks against it")
    create_table_artifact(key=f"{key}-model", table=[model], description="What was found of the model")
    create_table_artifact(key=f"{key}-environments", table=environments, description="How it fits each environment")
