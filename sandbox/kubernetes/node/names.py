"""Names of Services in a container's URLs as addresses, since a local process asks the machine's name servers, which know none of them.

In arguments, `http://NAME:PORT` with a Service of the pod's own namespace (also as `NAME.NAMESPACE` and `NAME.NAMESPACE.svc…`) becomes the
address and port of one of its ready pods. Not emulated: environment variables, other namespaces, a choice for each connection (it is
made when the container starts), and names in anything but URLs.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from sandbox.kubernetes.controllers.endpoints import SERVICE_LABEL
from sandbox.kubernetes.meta.api import Client
from sandbox.kubernetes.meta.client import ENDPOINT_SLICES, Object
from sandbox.kubernetes.meta.values import dig

_URL = re.compile(r"^(?P<scheme>https?://)(?P<name>[a-z]([-a-z0-9]*[a-z0-9])?)(?P<domain>(\.[-a-z0-9]+)*):(?P<port>\d+)(?=/|$)")


async def resolved(client: Client, namespace: str, arguments: Sequence[str]) -> tuple[str, ...]:
    """The arguments with addresses for the names of the namespace's Services; what is none of these stays."""
    return tuple([await _resolved(client, namespace, argument) if _URL.match(argument) else argument for argument in arguments])


async def _resolved(client: Client, namespace: str, url: str) -> str:
    match = _URL.match(url)
    if match is None or match["domain"].split(".")[1:3] not in ([], [namespace], [namespace, "svc"]):
        return url
    selector = f"{SERVICE_LABEL}={match['name']}"
    slices = await client.request("GET", ENDPOINT_SLICES.within(namespace), query={"labelSelector": selector})
    places = [place for found in slices["items"] for place in _places(found)]
    return f"{match['scheme']}{random.choice(places)}{url[match.end() :]}" if places else url  # noqa: S311


def _places(found: Object) -> list[str]:
    ready = [endpoint["addresses"][0] for endpoint in found.get("endpoints") or [] if dig(endpoint, "conditions", "ready") is True]
    ports = [port["port"] for port in found.get("ports") or []][:1]
    return [f"{address}:{port}" for address in ready for port in ports]
