"""Puts the console together: what every request passes, who may ask, the API, the pages."""

from __future__ import annotations

import httpx2
from fastapi import FastAPI

from flows.console.access.oidc import SignIn
from flows.console.access.signing_in import router as signing_in
from flows.console.api.router import api_router
from flows.console.edge.gate import Gate
from flows.console.edge.headers import SecurityHeaders
from flows.console.edge.limits import Limits, Streams
from flows.console.edge.problems import handle_problems
from flows.console.edge.requests import RequestIds
from flows.console.pages.render import problem_page
from flows.console.pages.router import pages_router
from flows.console.probes import router as probes
from flows.console.reads.site import Reads
from flows.console.services import Services
from flows.console.settings import ConsoleSettings


def console_app(
    settings: ConsoleSettings, services: Services, limits: Limits | None = None, provider: httpx2.AsyncBaseTransport | None = None
) -> FastAPI:
    """The console as an ASGI application.

    Args:
        settings: How it is reached, and whom it believes.
        services: What it asks; open for as long as it serves.
        limits: The rates; those of this process if left out.
        provider: How to reach where people sign in, in tests.
    """
    # Its own pages for OpenAPI load their script from elsewhere.
    app = FastAPI(title="Slipway", version="1", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.settings, app.state.services = settings, services
    app.state.limits, app.state.streams = limits or Limits(), Streams()
    app.state.reads = Reads(registry=services.registry, prefect=services.prefect, deployments=services.deployments, now=services.now)
    app.state.sign_in = SignIn(settings.oidc, provider) if settings.oidc is not None else None
    handle_problems(app)
    app.include_router(probes)
    app.include_router(signing_in)
    app.include_router(api_router())
    app.include_router(pages_router())
    app.state.problem_page = problem_page
    # The last is met first.
    app.add_middleware(Gate, settings=settings, limits=app.state.limits)
    app.add_middleware(SecurityHeaders, secure=settings.secure)
    app.add_middleware(RequestIds)
    return app
