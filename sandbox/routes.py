"""The routes of the reference router, as docs/router.md says: all of them in memory, and changed by notices.

They are loaded again once a minute, and whenever the connection was lost. Where no notices arrive, that minute is what a change takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import class_row

Connection = psycopg.AsyncConnection[Any]

_ALL = b"""
SELECT DISTINCT ON (model)
    model, endpoint, http_status, message, candidate, canary_endpoint, canary_candidate, canary_weight, shadow
FROM slipway_routes
WHERE environment = %(environment)s AND organisation IS NOT DISTINCT FROM %(organisation)s
ORDER BY model, preference, verified_at DESC NULLS LAST, updated_at DESC NULLS LAST
"""
_ONE = b"""
SELECT
    %(model)s::text AS model, endpoint, http_status, message, candidate, canary_endpoint, canary_candidate, canary_weight, shadow
FROM route(%(model)s, NULL, %(environment)s, %(organisation)s)
"""
#: A peer that vanished without a word is given up after these seconds (TCP only); the connection string may say otherwise.
_DEFAULTS: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}

#: Seconds after which a notice of one's own would have been heard, and before what went wrong is tried again.
_HEARD_SECONDS, _AGAIN_SECONDS = 2.0, 0.5


class Engines(NamedTuple):
    """An endpoint, and the candidate that answers there: another candidate at the same endpoint is something else to connect to."""

    endpoint: str
    candidate: str


class Place(NamedTuple):
    """Where a model is, or why not; and how much of it a canary gets."""

    model: str
    endpoint: str | None
    http_status: int
    message: str | None
    candidate: str | None = None
    canary_endpoint: str | None = None
    canary_candidate: str | None = None
    canary_weight: int = 0
    shadow: int = 0

    @property
    def current(self) -> Engines | None:
        """What serves; None if nothing does."""
        return Engines(self.endpoint, self.candidate or "") if self.endpoint else None

    @property
    def canary(self) -> Engines | None:
        """What is tried beside it; None if nothing is."""
        return Engines(self.canary_endpoint, self.canary_candidate or "") if self.endpoint and self.canary_endpoint else None


class Routes:
    """The routes of an environment.

    Attributes:
        places: By model; none while they were never loaded.
        tried: Whether that was tried.
        unheard: Why no notices arrive, as a sentence; empty where they do.
        changed: Called whenever `places` may have changed.

    Args:
        dsn: The registry's database; a pooler may lie between.
        environment: Whose entries.
        organisation: Whose entries, where there are several organisations.
        resync_seconds: How often everything is loaded again.
        direct_dsn: The same database past the pooler, where notices are heard.
    """

    def __init__(
        self, dsn: str, environment: str, *, organisation: str | None = None, resync_seconds: float = 60.0, direct_dsn: str | None = None
    ) -> None:
        self._dsn = dsn
        self._direct_dsn = direct_dsn
        self._whose = {"environment": environment, "organisation": organisation}
        self._resync_seconds = resync_seconds
        self.places: dict[str, Place] | None = None
        self.tried = asyncio.Event()
        self.unheard = ""
        self.changed: Callable[[], None] = lambda: None

    async def follow(self) -> None:
        """Keep the routes as the registry has them, until it is cancelled."""
        while True:
            with contextlib.suppress(psycopg.Error):
                self._say(await self._unheard())
                # A connection for each look: a standby may be promoted meanwhile, and a pooler's is not held for nothing.
                async with await _connect(self._dsn) as connection:
                    await self._load(connection)
                await asyncio.sleep(self._resync_seconds)
                continue
            self.tried.set()
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _unheard(self) -> str:
        """Follow the notices for as long as the connection lasts; returns only to say why there are none."""
        try:
            connection = await _connect(self._direct_dsn or self._dsn)
        except psycopg.Error as error:
            if self._direct_dsn is None:
                raise
            return f"the direct address cannot be reached ({str(error).strip().splitlines()[0]})"
        async with connection:
            if why := await self._listen(connection):
                return why
            self._say("")
            while True:
                await self._load(connection)
                await self._hear(connection)

    async def _listen(self, connection: Connection) -> str:
        """Listen, which comes before loading: what changes between the two is then heard. Why nothing will be heard, if so."""
        if await _is_pooled(connection):
            if self._direct_dsn is None:
                return "a pooler lies between"
            if not await _hears(connection, self._direct_dsn):
                return "a pooler lies behind the direct address, too"
        else:
            connection.prepare_threshold = 5
        try:
            await connection.execute("LISTEN slipway_routes")
        except psycopg.errors.ReadOnlySqlTransaction:
            return "a standby tells none"
        return ""

    def _say(self, why: str) -> None:
        said = f"no notices of changes arrive: {why}; routes are asked for every {self._resync_seconds:g} s" if why else ""
        if said and said != self.unheard:
            print(f"router: {said}", file=sys.stderr, flush=True)
        self.unheard = said

    async def _load(self, connection: Connection) -> None:
        self.places = {place.model: place for place in await self._read(connection, _ALL)}
        self.changed()
        self.tried.set()

    async def _hear(self, connection: Connection) -> None:
        """Follow the notices until it is time to load everything again."""
        end = time.monotonic() + self._resync_seconds
        while (left := end - time.monotonic()) > 0:
            heard = {notice.payload async for notice in connection.notifies(timeout=left, stop_after=1)}
            for told in map(json_object, heard):
                if "model" not in told:  # a name that is too long for a notice, or somebody's joke
                    return
                # A notice names the place and not the news: the row is read, so that late and doubled notices do no harm.
                if {name: told.get(name) for name in self._whose} == self._whose and self.places is not None:
                    (place,) = await self._read(connection, _ONE, model=sendable(str(told["model"])))
                    self.places[place.model] = place
                    if place.http_status == 404:  # unknown, as is whatever is not there: whoever makes names up fills nothing
                        del self.places[place.model]
                    self.changed()

    async def _read(self, connection: Connection, statement: bytes, **more: str) -> list[Place]:
        async with connection.cursor(row_factory=class_row(Place)) as cursor:
            return await (await cursor.execute(statement, {**self._whose, **more})).fetchall()


async def _connect(dsn: str) -> Connection:
    # No named statements: behind a pooler they would be somebody else's.
    return await psycopg.AsyncConnection.connect(**{**_DEFAULTS, **conninfo_to_dict(dsn)}, autocommit=True, prepare_threshold=None)


async def _is_pooled(connection: Connection) -> bool:
    """A pooler makes up the process number that a server tells whoever connects."""
    ((process,),) = await (await connection.execute("SELECT pg_backend_pid()")).fetchall()
    return bool(process != connection.info.backend_pid)


async def _hears(connection: Connection, dsn: str) -> bool:
    """Whether this connection hears what another one notifies: the session is its own, as in a pooler's session mode."""
    token = uuid.uuid4().hex
    await connection.execute("LISTEN slipway_probe")
    async with await _connect(dsn) as other:
        await other.execute("SELECT pg_notify('slipway_probe', %s)", (token,))
    heard = [notice.payload async for notice in connection.notifies(timeout=_HEARD_SECONDS, stop_after=1)]
    await connection.execute("UNLISTEN slipway_probe")
    return token in heard


def json_object(text: str | bytes) -> dict[str, Any]:
    """The object that the text is; an empty one if it is none."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def sendable(text: str) -> str:
    """The text without what can neither be asked for nor answered: half a surrogate pair, and NUL."""
    return text.replace("\0", "?").encode("utf-8", "replace").decode("utf-8")
