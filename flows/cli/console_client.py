"""The console's API from a command line: where `SLIPWAY_URL` is set, commands ask it, and need neither a Prefect nor a database.

Nothing slow is imported here: people wait for what this is used for.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from flows.errors import SpecInvalid

URL, TOKEN, TOKEN_FILE = "SLIPWAY_URL", "SLIPWAY_TOKEN", "SLIPWAY_TOKEN_FILE"

#: Seconds for one request, and between two looks at a run.
_PATIENCE_SECONDS, _PAUSE_SECONDS = 20.0, 1.0

#: Attempts at a request that the console turned away, or whose answer was lost: its key makes it one.
_ATTEMPTS = 3

#: Longest answer that is read, in bytes.
_LONGEST = 32 << 20


def console_client() -> ConsoleClient | None:
    """The console that the environment names; none if it names none.

    Raises:
        SpecInvalid: What it names cannot be used.
    """
    url = os.environ.get(URL)
    return ConsoleClient(_address(url), _token()) if url else None


class ConsoleClient:
    """Asks the console. Every method raises `SpecInvalid` where it cannot be reached, or says no; the message is its own.

    Args:
        url: Its address.
        token: By which it knows who asks.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        # A redirect would take the token elsewhere, as would a proxy what is sent in clear on this very machine.
        handlers: list[Any] = [_NoRedirects] if url.startswith("https:") else [_NoRedirects, urllib.request.ProxyHandler({})]
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, path: str, **query: str) -> Any:
        """What is at the address below `/api/v1/`."""
        given = urlencode({name: value for name, value in query.items() if value})
        return self._answer("GET", f"{path}?{given}" if given else path, None, {})

    def every(self, path: str, **query: str) -> list[dict[str, Any]]:
        """All items of a list that comes in pages."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = self.get(path, **query, cursor=cursor, limit="200")
            found += page["items"]
            cursor = page.get("next") or ""
            if not cursor:
                return found

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Have something done, once; what is answered."""
        return dict(self._answer("POST", path, body, {"Idempotency-Key": uuid.uuid4().hex}))

    def follow(self, run: str, tell: Callable[[str], None]) -> dict[str, Any]:
        """The run when it has ended or waits for a person; each step is told when it is over.

        Args:
            run: Its id.
            tell: Says one line.
        """
        told: set[tuple[str, str, bool]] = set()
        while True:
            view = dict(self.get(f"releases/{quote(run)}"))
            for lane in view["lanes"]:
                for step in lane["steps"]:
                    key = (str(lane["environment"]), str(step["name"]), bool(lane["back"]))
                    if step["state"] in ("done", "failed", "cancelled", "skipped") and key not in told:
                        told.add(key)
                        tell(f"{step['state']:<10} {step['name']} {lane['environment']}{' (back)' if lane['back'] else ''}")
            if view["run"]["final"] or view["run"]["suspended"]:
                return view
            time.sleep(_PAUSE_SECONDS)

    def no_console(self, how: str = "") -> SpecInvalid:
        """That it answers what no console of Slipway does."""
        return SpecInvalid(f"What answers at {self.url} is no console of Slipway{how}: {URL} names it.")

    def _answer(self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]) -> Any:
        for attempt in range(1, _ATTEMPTS + 1):
            status, content, wait = self._send(method, path, body, headers)
            if attempt == _ATTEMPTS or status not in (0, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
                break
            time.sleep(min(wait, 5.0))
        if status == 0:
            raise SpecInvalid(f"The console at {self.url} cannot be reached ({content.decode()}): {URL} names it.")
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            raise self.no_console(f" (HTTP {status})") from None
        if status in (HTTPStatus.OK, HTTPStatus.ACCEPTED):
            return found
        said = str(found.get("detail") or f"HTTP {status}") if isinstance(found, dict) else f"HTTP {status}"
        more = f" {TOKEN} or {TOKEN_FILE} says who you are." if status == HTTPStatus.UNAUTHORIZED else ""
        raise SpecInvalid(f"{said}{more}")

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]) -> tuple[int, bytes, float]:
        content = None if body is None else json.dumps(body).encode()
        sent = {**self._headers, **headers, **({} if content is None else {"Content-Type": "application/json"})}
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", content, sent, method=method)  # noqa: S310  # held to be http or https
        try:
            try:
                with self._opener.open(request, timeout=_PATIENCE_SECONDS) as response:
                    return response.status, response.read(_LONGEST), 0.0
            except urllib.error.HTTPError as exc:
                with exc:  # its body may break off, too
                    wait = exc.headers.get("Retry-After", "1")
                    return exc.code, exc.read(_LONGEST), float(wait) if wait.isdecimal() else 1.0
        except (OSError, http.client.HTTPException) as exc:
            reason = getattr(exc, "reason", exc)
            return 0, str(getattr(reason, "strerror", None) or type(reason).__name__).encode(), 1.0


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow none: the answer is what it is."""


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        here = parts.hostname in ("localhost", "127.0.0.1", "::1")
        usable = parts.hostname and parts.port != 0 and parts.path in ("", "/") and not parts.query and "@" not in parts.netloc
    except ValueError:
        usable = here = False
    if not usable or not url.isascii() or not url.isprintable() or parts.scheme not in ("http", "https"):
        raise SpecInvalid(f"{URL} is {url[:200]!r}: it must be the console's address without a path, such as https://slipway.example.com.")
    if parts.scheme == "http" and not here:
        raise SpecInvalid(f"{URL} must be an https address: over http, the token could be read on the way.")
    return f"{parts.scheme}://{parts.netloc}"


def _token() -> str:
    token, path = os.environ.get(TOKEN, ""), os.environ.get(TOKEN_FILE)
    if not token and path:
        try:
            token = Path(path).read_text(encoding="utf-8")
        except (OSError, ValueError) as exc:
            raise SpecInvalid(f"{TOKEN_FILE}: {path} cannot be read: {getattr(exc, 'strerror', None) or 'it is no text'}.") from exc
    token = token.strip()
    if not token:
        raise SpecInvalid(f"{URL} is set, and no token: set {TOKEN_FILE} to a file with one from `slipway token create`, or {TOKEN}.")
    # It would end in a header, where a line end is another one.
    if not token.isascii() or not token.isprintable() or " " in token:
        raise SpecInvalid(f"{TOKEN if os.environ.get(TOKEN) else TOKEN_FILE} holds no token: it must be the one line that was printed.")
    return token
