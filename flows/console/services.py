"""What the console asks: opened once, shared by all requests, safe between threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fastapi import Request

from flows.runtime.prefect_api import PrefectApi
from flows.runtime.prefect_settings import prefect_settings
from flows.spec import Deployments

if TYPE_CHECKING:
    from blocks.registry import RegistryClient


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Services:
    """What reads and actions work with.

    Attributes:
        registry: Open; its pool gives each thread a connection.
        prefect: Prefect's API by plain HTTP.
        deployments: The folder that says what runs where; read anew at each call.
        now: The clock.
    """

    registry: RegistryClient
    prefect: PrefectApi
    deployments: Deployments = field(default_factory=Deployments.default)
    now: Callable[[], datetime] = _now


def open_services(registry: RegistryClient) -> Services:
    """Services over this registry, the Prefect that the settings of this process name, and its `deployments/`."""
    # A page waits for it: what does not answer at once is said not to.
    prefect = PrefectApi(replace(prefect_settings(), client_max_retries=1, api_request_timeout=10.0))
    return Services(registry=registry, prefect=prefect)


def services(request: Request) -> Services:
    """The services of the app that the request came to: a FastAPI dependency."""
    found: Services = request.app.state.services
    return found
