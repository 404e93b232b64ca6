"""Signing in by OpenID Connect: the code flow with PKCE. The protocol is Authlib's; here is what it must be told to check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx2
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.starlette_client import OAuth
from authlib.oidc.core import CodeIDToken
from fastapi import Request
from joserfc.errors import JoseError
from starlette.responses import RedirectResponse

from blocks.wording import one_line
from flows.console.edge.problems import ProblemError
from flows.console.settings import OidcSettings

#: How a provider may sign: with a key that only it has. (With a shared one, or none, whoever knows the client's secret could.)
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")

#: Seconds to wait for the provider, while somebody waits for the page.
_PATIENCE_SECONDS = 10.0

#: Seconds by which clocks may differ.
_LEEWAY = 60

#: Of groups, those that are longer or more are no use to anybody.
_LONGEST_NAME, _MOST_GROUPS = 200, 2_000


class SignIn:
    """The console as a client of the provider. It keeps nothing between two requests but the provider's configuration and keys.

    Args:
        settings: The provider, and who the console is there.
        transport: How to reach it, in tests.
    """

    def __init__(self, settings: OidcSettings, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        self._settings = settings
        more = {} if transport is None else {"transport": transport}
        self._client = OAuth().register(
            "slipway",
            client_id=settings.client_id,
            client_secret=settings.client_secret,
            server_metadata_url=f"{settings.issuer.rstrip('/')}/.well-known/openid-configuration",
            client_kwargs={"scope": settings.scope, "code_challenge_method": "S256", "timeout": _PATIENCE_SECONDS, **more},
        )

    async def begin(self, request: Request, callback: str) -> tuple[RedirectResponse, dict[str, Any]]:
        """Where to send the browser, and what it must bring back: state, nonce and the verifier of PKCE.

        Raises:
            ProblemError: The provider cannot be asked (502).
        """
        request.scope["session"] = kept = dict[str, Any]()
        with _explained():
            await self._load()
            response = await self._client.authorize_redirect(request, callback)
        return response, kept

    async def finish(self, request: Request, kept: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        """Who has signed in, and their groups.

        Args:
            request: With the provider's answer in its query.
            kept: What `begin` gave this very browser.

        Raises:
            ProblemError: It is another browser's answer, or too old (400), or the provider says no, or something else than it must (502).
        """
        if request.query_params.get("iss", self._settings.issuer) != self._settings.issuer:  # RFC 9207
            raise ProblemError(400, "sign-in-failed", "The answer is another provider's: sign in again.")
        request.scope["session"] = dict(kept)
        with _explained():
            metadata = await self._load()
            # By default the audience is looked at by way of `azp` alone, and the issuer is held to what the provider says of itself.
            ours = {"iss": self._settings.issuer, "aud": self._settings.client_id}
            must = {claim: {"essential": True, "value": value} for claim, value in ours.items()}
            known = metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
            # Of an empty list it would take all that it knows.
            metadata["id_token_signing_alg_values_supported"] = [each for each in known if each in ALGORITHMS] or ["RS256"]
            token = await self._client.authorize_access_token(request, claims_options=must, claims_cls=CodeIDToken, leeway=_LEEWAY)
            # What was not in a signed token, such as a `userinfo` beside it, says nothing.
            claims = token.get("userinfo") if "id_token" in token else None
        if not claims:
            raise ProblemError(502, "sign-in-failed", "The provider gave no ID token: it must do OpenID Connect.")
        return self._name(claims), self._groups(claims)

    async def _load(self) -> dict[str, Any]:
        metadata: dict[str, Any] = await self._client.load_server_metadata()
        if metadata.get("issuer") != self._settings.issuer:
            said = one_line(str(metadata.get("issuer")), 200)
            detail = f"The provider calls itself {said!r}: SLIPWAY_OIDC_ISSUER must be the same, to the letter."
            raise ProblemError(502, "sign-in-failed", detail)
        return metadata

    def _name(self, claims: Mapping[str, Any]) -> str:
        claim = self._settings.name_claim
        name = claims.get(claim)
        if not isinstance(name, str) or not 2 <= len(name.strip()) <= 100 or not name.isprintable():
            raise ProblemError(502, "sign-in-failed", f"The provider's token has no {claim} that could be a name (2 to 100 characters).")
        if claim == "email" and claims.get("email_verified") is not True:
            raise ProblemError(403, "sign-in-failed", "The provider did not verify this e-mail address, so it says nothing of who you are.")
        return name.strip()

    def _groups(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        found = claims.get(self._settings.groups_claim)
        listed = found if isinstance(found, list) else []
        return tuple(each for each in listed[:_MOST_GROUPS] if isinstance(each, str) and len(each) <= _LONGEST_NAME)


class _explained:  # a context manager
    """Makes a problem of whatever ends the exchange with the provider; none of it quotes a token or a code."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, exc: BaseException | None, _: object) -> None:
        if isinstance(exc, AuthlibBaseError) and exc.error == "mismatching_state":
            detail = "This sign-in was begun in another browser or too long ago: sign in again."
            raise ProblemError(400, "sign-in-failed", detail) from exc
        if isinstance(exc, AuthlibBaseError):
            raise ProblemError(403, "sign-in-failed", f"Nobody was signed in: {one_line(str(exc.error), 100)}. Try again.") from exc
        if isinstance(exc, httpx2.HTTPError):
            raise ProblemError(502, "sign-in-failed", f"The provider could not be asked ({type(exc).__name__}): try again.") from exc
        if isinstance(exc, JoseError):
            detail = f"The provider's token cannot be believed ({type(exc).__name__}); nobody was signed in."
            raise ProblemError(502, "sign-in-failed", detail) from exc
        # Whatever it is: what a provider answers is not ours, and the libraries take it apart without looking.
        if isinstance(exc, Exception) and not isinstance(exc, ProblemError):
            detail = f"The provider answered what it must not ({type(exc).__name__}); nobody was signed in."
            raise ProblemError(502, "sign-in-failed", detail) from exc
