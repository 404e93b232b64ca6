"""Getting an image: looking it up in the table, with a kubelet's words and waits when it is not there."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from sandbox.kubernetes.meta.client import Object
from sandbox.kubernetes.node.host import Host
from sandbox.kubernetes.node.images import Image, invalid_name, not_found_message, repository

Tell = Callable[[str, str, str], None]
"""Records an event: kind, reason, message."""

Show = Callable[[str, str], None]
"""Makes the container wait: reason, message."""

SYNC_SHARE = 1.3
"""How often the kubelet comes back to a pod that waits for an image, as a share of the first wait: 11 to 15 s of 10."""


async def pull(host: Host, spec: Object, tell: Tell, show: Show) -> Image:
    """Return what stands in for a container's image; waits until the node's table has it.

    Args:
        host: The node.
        spec: The container's spec.
        tell: Records events about the container.
        show: Shows why the container waits.
    """
    reference, policy = spec["image"], spec.get("imagePullPolicy", "IfNotPresent")
    if (wrong := invalid_name(reference)) is not None:
        show("InvalidImageName", wrong)
        tell("Warning", "InspectFailed", wrong)
        tell("Warning", "Failed", "Error: InvalidImageName")
        await asyncio.Event().wait()  # it stays what it is
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
            await _fail(reference, host, attempt, tell, show)
    if policy == "Always" or reference not in host.pulled:
        tell("Normal", "Pulling", f'Pulling image "{reference}"')
        took = "1ms (1ms including waiting). Image size: 0 bytes."
        tell("Normal", "Pulled", f'Successfully pulled image "{reference}" in {took}')
    else:
        tell("Normal", "Pulled", f'Container image "{reference}" already present on machine and can be accessed by the pod')
    host.pulled.add(reference)
    return image


async def _fail(reference: str, host: Host, attempt: int, tell: Tell, show: Show) -> None:
    """Fail once, and wait until it is tried again. What shows is what the kubelet knew when it last came by."""
    message, wait = not_found_message(reference), host.backoff_seconds(attempt)
    every = host.options.restart_backoff_seconds * SYNC_SHARE
    tell("Normal", "Pulling", f'Pulling image "{reference}"')
    tell("Warning", "Failed", f'Failed to pull image "{reference}": {message}')
    tell("Warning", "Failed", "Error: ErrImagePull")
    if attempt == 1:
        show("ErrImagePull", message)
    for look in range(looks := max(1, math.ceil(wait / every))):
        tell("Normal", "BackOff", f'Back-off pulling image "{reference}"')
        tell("Warning", "Failed", "Error: ImagePullBackOff")
        await asyncio.sleep(every)
        if attempt > 1 and not look:
            show("ErrImagePull", message)
        if look or looks == 1:
            show("ImagePullBackOff", f'Back-off pulling image "{reference}": ErrImagePull: {message}')
