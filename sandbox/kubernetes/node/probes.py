"""Probes by the kubelet's rules: what they ask, and when enough answers are enough.

Not emulated: gRPC probes (they fail and say so).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import httpx

from sandbox.kubernetes.meta.client import Object
from sandbox.kubernetes.node.process import Command

MESSAGE_BYTES = 10 * 1024


def probe_http_client() -> httpx.AsyncClient:
    """A client as the kubelet's: a new connection for each probe, no check of certificates, no redirects."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    return httpx.AsyncClient(verify=tls, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One probe's answer; the message is the kubelet's when it failed."""

    ok: bool
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is probed: the container's spec, its address, and its surroundings for commands."""

    container: Object
    ip: str
    command: Command
    rewrite: Callable[[str], str]
    http: httpx.AsyncClient
    execute: Callable[[Command, float], Awaitable[tuple[int | None, str]]]


async def ask(probe: Object, target: Target) -> Answer:
    """Probe once."""
    timeout_seconds = float(probe.get("timeoutSeconds", 1))
    if (action := probe.get("httpGet")) is not None:
        return await http_get(action, target, timeout_seconds)
    if (action := probe.get("tcpSocket")) is not None:
        return await _connect(action, target, timeout_seconds)
    if (action := probe.get("exec")) is not None:
        return await _execute(action, target, timeout_seconds)
    return Answer(ok=False, message="probes of this kind are not emulated")


async def http_get(action: Object, target: Target, timeout_seconds: float) -> Answer:
    """Send the request of an `httpGet` action; any status from 200 to 399 is good."""
    host = action.get("host") or target.ip
    scheme = action.get("scheme", "HTTP").lower()
    port = port_number(action["port"], target.container)
    path = action.get("path") or "/"
    url = f"{scheme}://{host}:{port}{path if path.startswith('/') else '/' + path}"
    headers = {"User-Agent": "kube-probe/1.36", "Accept": "*/*"}
    headers |= {header["name"]: header["value"] for header in action.get("httpHeaders") or []}
    try:
        async with asyncio.timeout(timeout_seconds):
            # Without httpx's own limit, which is one for each silence; a kubelet's is for all of it.
            response = await target.http.get(url, headers=headers, timeout=None)
    except (TimeoutError, httpx.TimeoutException):
        return Answer(ok=False, message=f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)')
    except httpx.ConnectError:
        return Answer(ok=False, message=f'Get "{url}": dial tcp {host}:{port}: connect: connection refused')
    except httpx.ReadError:
        return Answer(ok=False, message=f'Get "{url}": read tcp {target.ip}:0->{host}:{port}: read: connection reset by peer')
    except httpx.HTTPError:
        return Answer(ok=False, message=f'Get "{url}": EOF')
    if 200 <= response.status_code < 400:
        return Answer(ok=True)
    return Answer(ok=False, message=f"HTTP probe failed with statuscode: {response.status_code}")


async def _connect(action: Object, target: Target, timeout_seconds: float) -> Answer:
    host = action.get("host") or target.ip
    port = port_number(action["port"], target.container)
    try:
        async with asyncio.timeout(timeout_seconds):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Answer(ok=False, message=f"dial tcp {host}:{port}: i/o timeout")
    except OSError:
        return Answer(ok=False, message=f"dial tcp {host}:{port}: connect: connection refused")
    writer.close()
    return Answer(ok=True)


async def _execute(action: Object, target: Target, timeout_seconds: float) -> Answer:
    argv = tuple(target.rewrite(text) for text in action.get("command") or [])
    command = replace(target.command, argv=argv)
    code, output = await target.execute(command, timeout_seconds)
    if code is None:
        return Answer(ok=False, message=f'command "{" ".join(argv)}" timed out')
    return Answer(ok=code == 0, message=output[:MESSAGE_BYTES])


def port_number(port: int | str, container: Object) -> int:
    """The number of a port that may be given by its name in the container.

    Raises:
        ValueError: The container has no port of that name.
    """
    if isinstance(port, int):
        return port
    for offered in container.get("ports") or []:
        if offered.get("name") == port:
            return int(offered["containerPort"])
    return int(port)


async def repeat(probe: Object, target: Target, *, age_seconds: float, decide: Callable[[bool | None, Answer], Awaitable[bool]]) -> None:
    """Probe by its period until `decide` returns False. The first probe comes at once after the initial delay.

    Args:
        probe: The probe's spec.
        target: What to probe.
        age_seconds: How long the container has run already; counts towards the initial delay.
        decide: Called after each probe with the verdict (None while the threshold is not reached) and the answer; returns
            whether to go on.
    """
    await asyncio.sleep(max(0.0, probe.get("initialDelaySeconds", 0) - age_seconds))
    needed = {True: probe.get("successThreshold", 1), False: probe.get("failureThreshold", 3)}
    period_seconds = float(probe.get("periodSeconds", 10))
    last: bool | None = None
    run = 0
    clock = asyncio.get_running_loop().time
    while True:
        began = clock()
        answer = await ask(probe, target)
        run = run + 1 if answer.ok == last else 1
        last = answer.ok
        if not await decide(last if run >= needed[last] else None, answer):
            return
        await asyncio.sleep(max(0.0, period_seconds - (clock() - began)))
