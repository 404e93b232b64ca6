"""Tokens, for administrators of everything: which there are, and taking one out of use. Made they are at the command line."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from blocks.facts.kinds import EventKind
from blocks.facts.registry import Token
from flows.console.access.who import SignedIn, require_admin
from flows.console.api.tagged import UNCHANGED, Tagged
from flows.console.edge.problems import not_found
from flows.console.services import Services, services

router = APIRouter(route_class=Tagged, responses=UNCHANGED, tags=["tokens"])

Asked = Annotated[Services, Depends(services)]


@router.get("/tokens", summary="All tokens, never their secrets.")
def tokens(caller: SignedIn, at: Asked) -> list[Token]:
    """The newest first, those that ended, too."""
    require_admin(caller)
    return at.registry.access.tokens()


@router.delete("/tokens/{token}", status_code=204, summary="Take a token out of use.")
def revoke(token: Annotated[str, Path(pattern=r"^[0-9a-f]{1,32}$")], caller: SignedIn, at: Asked) -> Response:
    """From the next request on, for ever."""
    require_admin(caller)
    if not at.registry.access.revoke_token(token, caller.name):
        raise not_found("token in use")
    at.registry.events.add(EventKind.TOKEN_REVOKED, actor=caller.name, detail={"token": token}, key=f"token-{token}-revoked")
    return Response(status_code=204)
