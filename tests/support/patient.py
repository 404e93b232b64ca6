"""A Prefect client that asks a busy server on SQLite again soon and often.

There Prefect begins most transactions as readers. Once such a one wants to write (a new run, an answer to a form), SQLite turns it away at
once if anybody else wrote meanwhile, however long others would have waited: Prefect answers 503, and has done nothing. Its client comes
back after 2, 4, 8, 16 and 32 s, six times in all, which several tests at a time use up once in many hundred requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx
    from prefect.client.orchestration import SyncPrefectClient

#: How often it asks again: for `PREFECT_CLIENT_MAX_RETRIES`, which holds for a process or a block and cannot be given to a client.
RETRIES = 20

PAUSE_SECONDS = 0.5


@contextmanager
def patient_client() -> Iterator[SyncPrefectClient]:
    """A client of the Prefect server that the settings name."""
    from prefect.client.orchestration import get_client  # reads the settings when it is imported, and chaos makes them first

    with get_client(httpx_settings={"event_hooks": {"response": [_again_soon]}}, sync_client=True) as client:
        yield client


def _again_soon(response: httpx.Response) -> None:
    if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(PAUSE_SECONDS)
