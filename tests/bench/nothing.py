"""A flow that does nothing: what it costs is Prefect's own, and no build of Slipway can save it."""

from __future__ import annotations

from prefect import flow


@flow(persist_result=True)
async def nothing() -> None:
    """Do nothing."""
