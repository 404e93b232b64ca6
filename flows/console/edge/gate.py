"""What turns a request away before anybody asks whose it is: another host, too many from one address, too large a body, an odd path."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING

from fastapi import Request

from flows.console.edge.limits import Limits, bounded
from flows.console.edge.problems import ProblemError, answer, unforeseen

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from flows.console.settings import ConsoleSettings

#: What a cluster's probes ask, by an address of their own.
PROBES = ("/healthz", "/readyz")


def address_of(scope: Scope, settings: ConsoleSettings) -> str:
    """The address that a request comes from, as rates are counted by it: the peer's, or the one that a configured proxy forwards for.

    Of `X-Forwarded-For` the last address counts that is no proxy of ours: what stands before it, anybody may have written. Of
    IPv6 it is the network of 64 bits, of which whoever has one address has all.
    """
    client = scope.get("client")
    address = str(client[0]) if client else ""
    if not settings.is_proxy(address):
        return _counted(address)
    told = ",".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for")
    for hop in reversed([each.strip() for each in told[-2000:].split(",")]):
        if hop and not settings.is_proxy(hop):
            return _counted(hop[:64])
    return _counted(address)


def _counted(address: str) -> str:
    try:
        known = ip_address(address)
    except ValueError:
        return address
    if isinstance(known, IPv4Address):
        return address
    return str(known.ipv4_mapped or f"{int(known) >> 64:x}::/64")


class Gate:
    """Turns away what needs no further look.

    Args:
        app: What answers the rest.
        settings: What the console is called, and its proxies.
        limits: The rates.
    """

    def __init__(self, app: ASGIApp, *, settings: ConsoleSettings, limits: Limits) -> None:
        self._app, self._settings, self._limits = app, settings, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            if scope["path"] not in PROBES:
                self._require_own_host(scope)
                self._limits.addresses.require(address_of(scope, self._settings), "requests from your address")
            if "\\" in scope["path"] or not scope["path"].isprintable():
                raise ProblemError(400, "bad-request", "The address has signs that no address of the console has.")
            receive = bounded(scope, receive)
        except ProblemError as exc:
            await answer(Request(scope), exc)(scope, receive, send)
            return
        await self._answered(scope, receive, send)

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have an error that nobody foresaw end here: further out, its answer would lack the headers, and its trace would go elsewhere."""
        begun = False

        async def seen(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, seen)
        except Exception as exc:  # noqa: BLE001  # whatever it is
            response = unforeseen(Request(scope), exc)
            if not begun:
                await response(scope, receive, send)

    def _require_own_host(self, scope: Scope) -> None:
        """A name that leads here but is not ours is somebody's who would have a browser take their page for ours (DNS rebinding)."""
        hosts = [value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"host"]
        if hosts != [self._settings.host]:
            raise ProblemError(421, "misdirected-request", "The console is reached by another name; SLIPWAY_CONSOLE_URL says it.")
