"""All pages, and the files that they need."""

from __future__ import annotations

from fastapi import APIRouter

from flows.console.pages import deeds, files, looks


def pages_router() -> APIRouter:
    """All of it."""
    router = APIRouter()
    for each in (files, looks, deeds):
        router.include_router(each.router)
    return router
