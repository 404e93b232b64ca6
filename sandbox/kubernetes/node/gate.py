"""A client whose owner can be stopped, as a process by SIGSTOP: what it asks and hears waits until it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from sandbox.kubernetes.meta.api import Client


class Gate:
    """The same client, while it is open.

    Args:
        client: The client.
    """

    def __init__(self, client: Client) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self._client = client

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None, content_type: str = "application/json"
    ) -> dict[str, Any]:
        """Send one request once the gate is open."""
        await self.open.wait()
        return await self._client.request(method, path, query=query, body=body, content_type=content_type)

    async def watch(self, path: str, *, query: Mapping[str, str] | None = None) -> AsyncIterator[dict[str, Any]]:
        """Yield the events of a watch while the gate is open, and those that came meanwhile afterwards."""
        async for event in self._client.watch(path, query=query):
            await self.open.wait()
            yield event
