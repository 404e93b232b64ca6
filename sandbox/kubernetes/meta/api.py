"""What controllers, node agents and tests need of an API server, whether it is called over HTTP or in the same process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol


class Client(Protocol):
    """A client of a Kubernetes API server.

    Objects that it returns belong to the caller: changing them changes nothing on the server.
    """

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        """Send one request and return the decoded answer.

        Args:
            method: GET, POST, PUT, PATCH or DELETE.
            path: The URL's path, such as `/api/v1/namespaces/x/pods`.
            query: The URL's query parameters.
            body: The JSON value to send.
            content_type: The kind of patch for PATCH.

        Raises:
            ApiError: The server refused; carries its code and `Status`.
        """
        ...

    def watch(self, path: str, *, query: Mapping[str, str] | None = None) -> AsyncIterator[dict[str, Any]]:
        """Yield the decoded watch events of a collection, `{"type": …, "object": …}`, until the server ends the watch.

        `watch=true` is added to the query. An `ERROR` event (a resource version that is too old) is yielded like the others.

        Raises:
            ApiError: The server refused to start the watch.
        """
        ...
