"""What the answers of probes lead to: the startup probe holds the others back, readiness shows, startup and liveness kill."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sandbox.kubernetes.meta.client import Object
from sandbox.kubernetes.node.probes import Answer, Target, repeat


@dataclass(frozen=True, kw_only=True)
class Reactions:
    """What a container does about its probes.

    Attributes:
        started: The startup probe has succeeded.
        ready: The readiness probe says whether the container is ready.
        kill: The `startup` or `liveness` probe has failed for good.
        tell: Records an event: kind, reason, message.
    """

    started: Callable[[], None]
    ready: Callable[[bool], None]
    kill: Callable[[str], Awaitable[None]]
    tell: Callable[[str, str, str], None]


async def watch_probes(spec: Object, target: Target, reactions: Reactions) -> None:
    """Run the probes of one run of a container, until cancelled or until one of them has it killed."""

    def unhealthy(kind: str, answer: Answer) -> None:
        if not answer.ok:
            reactions.tell("Warning", "Unhealthy", f"{kind} probe failed: {answer.message}")

    async def startup(verdict: bool | None, answer: Answer) -> bool:
        unhealthy("Startup", answer)
        if verdict is False:
            await reactions.kill("startup")
        elif verdict:
            reactions.started()
        return verdict is None

    async def readiness(verdict: bool | None, answer: Answer) -> bool:
        unhealthy("Readiness", answer)
        if verdict is not None:
            reactions.ready(verdict)
        return True

    async def liveness(verdict: bool | None, answer: Answer) -> bool:
        unhealthy("Liveness", answer)
        if verdict is False:
            await reactions.kill("liveness")
        return verdict is not False

    began = asyncio.get_running_loop().time()
    if (probe := spec.get("startupProbe")) is not None:
        # When it fails for good the container is killed, and this task is cancelled with it.
        await repeat(probe, target, age_seconds=0.0, decide=startup)
    age_seconds = asyncio.get_running_loop().time() - began
    kinds = {"readinessProbe": readiness, "livenessProbe": liveness}
    await asyncio.gather(
        *(repeat(spec[kind], target, age_seconds=age_seconds, decide=decide) for kind, decide in kinds.items() if spec.get(kind))
    )
