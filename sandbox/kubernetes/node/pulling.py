"""Getting an image: looking it up in the table, with a kubelet's words and waits when it is not there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sandbox.kubernetes.meta.client import Object
from sandbox.kubernetes.node.host import Host
from sandbox.kubernetes.node.images import Image, not_found_message, repository

Tell = Callable[[str, str, str], None]
"""Records an event: kind, reason, message."""

Show = Callable[[str, str], None]
"""Makes the container wait: reason, message."""

FIRST_SHARE = 0.1
"""The part of each wait in which `ErrImagePull` shows; for the rest it is `ImagePullBackOff`, as after a kubelet's next sync."""


async def pull(host: Host, spec: Object, tell: Tell, show: Show) -> Image:
    """Return what stands in for a container's image; waits until the node's table has it.

    Args:
        host: The node.
        spec: The container's spec.
        tell: Records events about the container.
        show: Shows why the container waits.
    """
    reference, policy = spec["image"], spec.get("imagePullPolicy", "IfNotPresent")
    attempt = 0
    while (image := host.images.get(repository(reference))) is None:
        attempt += 1
        if policy == "Never":
            message = f'Container image "{reference}" is not present with pull policy of Never'
            show("ErrImageNeverPull", message)
            tell("Warning", "ErrImageNeverPull", message)
            tell("Warning", "Failed", "Error: ErrImageNeverPull")
            await asyncio.sleep(host.backoff_seconds(attempt))
        else:
            await _fail(reference, host.backoff_seconds(attempt), tell, show)
    if policy == "Always" or reference not in host.pulled:
        tell("Normal", "Pulling", f'Pulling image "{reference}"')
        took = "1ms (1ms including waiting). Image size: 0 bytes."
        tell("Normal", "Pulled", f'Successfully pulled image "{reference}" in {took}')
    else:
        tell("Normal", "Pulled", f'Container image "{reference}" already present on machine')
    host.pulled.add(reference)
    return image


async def _fail(reference: str, wait_seconds: float, tell: Tell, show: Show) -> None:
    message = not_found_message(reference)
    tell("Normal", "Pulling", f'Pulling image "{reference}"')
    tell("Warning", "Failed", f'Failed to pull image "{reference}": {message}')
    tell("Warning", "Failed", "Error: ErrImagePull")
    show("ErrImagePull", message)
    await asyncio.sleep(wait_seconds * FIRST_SHARE)
    tell("Normal", "BackOff", f'Back-off pulling image "{reference}"')
    tell("Warning", "Failed", "Error: ImagePullBackOff")
    show("ImagePullBackOff", f'Back-off pulling image "{reference}": ErrImagePull: {message}')
    await asyncio.sleep(wait_seconds * (1 - FIRST_SHARE))
