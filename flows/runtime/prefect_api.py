"""Prefect's API by plain HTTP, for commands that read: Prefect's own client takes more than a second to import.

It asks where Prefect's client would ask, as whom it would, over the same TLS, and is as patient; its errors are sentences.
"""

from __future__ import annotations

import base64
import http.client
import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from blocks.strict_json import finite
from flows.errors import SpecInvalid
from flows.runtime.prefect_settings import PrefectSettings, prefect_settings, require_address

if TYPE_CHECKING:
    import ssl

#: As many as Prefect gives in one answer (its `PREFECT_API_DEFAULT_LIMIT`).
PAGE = 200

#: The server turned the request away and has done nothing: so a busy one on SQLite does.
_TURNED_AWAY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE)

#: A pause that a server asks for is not longer, in seconds: a person waits for the command.
_LONGEST_PAUSE = 60.0

#: Headers that Prefect's client lets nobody set.
_PROTECTED = ("user-agent", "prefect-csrf-token", "prefect-csrf-client")


@dataclass(frozen=True, kw_only=True)
class _Answer:
    status: int
    content: bytes
    retry_after: str | None


class PrefectApi:
    """Reads from Prefect's API, one connection for each request.

    Args:
        settings: Where it is, and who asks; without it, what Prefect would find.

    Raises:
        SpecInvalid: No server is set. Every method raises it where the API cannot be reached or refuses.
    """

    def __init__(self, settings: PrefectSettings | None = None) -> None:
        self._settings = settings or prefect_settings()
        if not self._settings.api_url:
            raise SpecInvalid("No Prefect server is set: set PREFECT_API_URL, for example to http://127.0.0.1:4200/api.")
        require_address(self._settings.api_url)
        self.url = self._settings.api_url
        self._headers = _headers(self._settings)
        handlers: list[urllib.request.BaseHandler] = [_Redirects()]
        if self.url.lower().startswith("https:"):  # reading the authorities of all the world takes longer than the request
            handlers.append(urllib.request.HTTPSHandler(context=_tls(self._settings)))
        self._opener = urllib.request.build_opener(*handlers)

    def within(self, seconds: float) -> PrefectApi:
        """The same, as a page asks that somebody looks at: once, and for so many seconds at the most."""
        timeout = min(seconds, self._settings.api_request_timeout)
        return PrefectApi(replace(self._settings, client_max_retries=0, api_request_timeout=timeout))

    def get(self, path: str) -> Any:
        """What is there; none if there is nothing."""
        return self._ask(path)

    def filtered(self, kind: str, **filters: Any) -> list[dict[str, Any]]:
        """What there is of a kind, such as `flow_runs`, by Prefect's own filters; 200 at most unless another `limit` is given."""
        found = self._ask(f"/{kind}/filter", filters)
        return list(found or ())

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Have Prefect do something; what it answers, none if there is nothing at that path.

        A request that was turned away is sent again, one whose answer was lost is not.
        """
        return self._ask(path, body)

    def every(self, kind: str, *, page: int = PAGE, **filters: Any) -> list[dict[str, Any]]:
        """The same, however many there are: as many requests as it takes.

        Args:
            kind: Such as `flow_runs`.
            page: How many to ask for at a time.
            **filters: Prefect's own.
        """
        found: dict[str, dict[str, Any]] = {}  # what comes or goes between two answers may be in both
        offset = 0
        while True:
            some = self.filtered(kind, **filters, limit=page, offset=offset)
            found |= {str(each["id"]): each for each in some}
            offset += len(some)
            if len(some) < page:
                return list(found.values())

    def block(self, slug: str, name: str, *, secrets: bool = True) -> dict[str, Any] | None:
        """The fields of a saved block; none if there is no such block.

        Args:
            slug: The block's type.
            name: The name that it was saved under.
            secrets: Whether secret fields are wanted; else they are stars.
        """
        place = f"/block_types/slug/{quote(slug, safe='')}/block_documents/name/{quote(name, safe='')}"
        document = self._ask(f"{place}?include_secrets={str(secrets).lower()}")
        return None if document is None else dict(document["data"])

    def _ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        # 2, 4, 8, 16 and 32 s unless the server says otherwise: a minute in all, as Prefect's own client.
        for attempt in range(1, self._settings.client_max_retries + 2):
            answer = self._send(path, body)
            last = attempt > self._settings.client_max_retries
            if answer.status == HTTPStatus.FORBIDDEN and b"CSRF" in answer.content and not last:
                self._take_csrf_token()
            elif answer.status in _TURNED_AWAY and not last:
                time.sleep(_seconds(answer.retry_after, 2.0**attempt))
            else:
                break
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        if not 200 <= answer.status < 300:
            message = f"The Prefect API at {self.url} refused: HTTP {answer.status}: {detail(answer.content)}."
            raise SpecInvalid(message, prefect_status=answer.status)
        try:
            return json.loads(answer.content)
        except (ValueError, RecursionError) as exc:
            message = f"What answers at {self.url} is no Prefect API: PREFECT_API_URL usually ends in /api."
            raise SpecInvalid(message, prefect_status=0) from exc

    def _send(self, path: str, body: Mapping[str, Any] | None) -> _Answer:
        content = None if body is None else json.dumps(body).encode()
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        try:
            request = urllib.request.Request(f"{self.url.rstrip('/')}{path}", content, headers)  # noqa: S310  # whatever the operator set
            try:
                with self._opener.open(request, timeout=self._settings.api_request_timeout) as response:
                    return _Answer(status=response.status, content=response.read(), retry_after=None)
            except urllib.error.HTTPError as exc:
                with exc:  # its body may break off, too
                    return _Answer(status=exc.code, content=exc.read(), retry_after=exc.headers.get("Retry-After"))
        except (OSError, http.client.HTTPException, ValueError) as exc:  # ValueError: it is no URL
            message = f"The Prefect API at {self.url} cannot be reached: start the server, or set PREFECT_API_URL to it."
            raise SpecInvalid(message, prefect_status=0) from exc

    def _take_csrf_token(self) -> None:
        """Where the server protects itself so, filters are POST requests and need one."""
        client = str(uuid.uuid4())
        given = self._ask(f"/csrf-token?client={client}") or {}
        self._headers |= {"Prefect-Csrf-Client": client, "Prefect-Csrf-Token": str(given.get("token", ""))}


def required_block(api: PrefectApi, slug: str, name: str, shown: str) -> dict[str, Any]:
    """The fields of a saved block, secrets and all.

    Args:
        api: Where it is saved.
        slug: Its type.
        name: The name that it was saved under.
        shown: What the UI calls its type.

    Raises:
        SpecInvalid: Prefect has none.
    """
    return present(api.block(slug, name), slug, name, shown)


def present(fields: dict[str, Any] | None, slug: str, name: str, shown: str) -> dict[str, Any]:
    """The fields, if Prefect has the block; arguments and errors as of `required_block`."""
    if fields is None:
        raise SpecInvalid(f"Prefect has no block {slug}/{name} ({shown}): create it in the UI under Blocks, or in Python with save().")
    return fields


def detail(content: bytes | str) -> str:
    """What the server says in an answer that is an error."""
    text = content if isinstance(content, str) else content.decode(errors="replace")
    try:
        said = json.loads(text)
        found = said.get("detail") or said["exception_message"]
    except (ValueError, KeyError, TypeError, AttributeError):
        found = text[:300]
    return str(found).rstrip(".")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect as Prefect's client does: who asks is told to the same host only, and never in clear after TLS."""

    def redirect_request(self, req: urllib.request.Request, *arguments: Any) -> urllib.request.Request | None:
        new = super().redirect_request(req, *arguments)
        if new is not None:
            before, after = urlsplit(req.full_url), urlsplit(new.full_url)
            to_tls = (before.scheme, after.scheme) == ("http", "https") and before.hostname == after.hostname
            if not to_tls and (before.scheme, before.netloc) != (after.scheme, after.netloc):
                new.remove_header("Authorization")
        return new


def _headers(settings: PrefectSettings) -> dict[str, str]:
    headers = {name: value for name, value in settings.client_custom_headers.items() if name.lower() not in _PROTECTED}
    if settings.api_auth_string:
        headers["Authorization"] = f"Basic {base64.b64encode(settings.api_auth_string.encode()).decode()}"
    elif settings.api_key:
        headers["Authorization"] = f"Bearer {settings.api_key}"
    return headers


def _tls(settings: PrefectSettings) -> ssl.SSLContext:
    import ssl

    if settings.api_tls_insecure_skip_verify:
        return ssl._create_unverified_context()  # noqa: S323  # the operator asked for it
    authorities = settings.api_ssl_cert_file
    if not authorities:
        import certifi

        authorities = certifi.where()
    try:
        return ssl.create_default_context(cafile=authorities)
    except OSError as exc:
        raise SpecInvalid(
            f"The certificate authorities cannot be read from {authorities}: set PREFECT_API_SSL_CERT_FILE to a PEM file."
        ) from exc


def _seconds(retry_after: str | None, otherwise: float) -> float:
    """What the server asks for; it may name a date as well, which is as good as nothing."""
    try:
        return min(max(0.0, finite(float(retry_after or otherwise))), _LONGEST_PAUSE)
    except ValueError:
        return otherwise
