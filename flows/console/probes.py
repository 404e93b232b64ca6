"""What a cluster asks of the console itself: whether it runs, and whether it can answer."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from flows.console.services import Services, services

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
def healthz() -> Response:
    """It runs."""
    return Response("ok\n", media_type="text/plain")


@router.get("/readyz")
def readyz(asked: Annotated[Services, Depends(services)]) -> Response:
    """It reaches its registry, whose schema is as new as the program; else 503, and traffic goes to another replica."""
    if missing := asked.registry.missing_migrations():
        return Response(f"slipway migrate has not applied {', '.join(missing)}\n", 503, media_type="text/plain")
    return Response("ok\n", media_type="text/plain")
