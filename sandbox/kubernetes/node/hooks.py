"""The preStop hook: what a container may do before it is told to end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from sandbox.kubernetes.meta.client import Object
from sandbox.kubernetes.node.probes import Target, http_get

NO_LIMIT_SECONDS = 86_400.0
"""Hooks have no time limit of their own; the grace period, which the caller applies, ends them."""


async def pre_stop(spec: Object, target: Target, tell: Callable[[str, str, str], None]) -> None:
    """Run the container's preStop hook, if it has one; a failure is told and changes nothing."""
    hook = (spec.get("lifecycle") or {}).get("preStop")
    if hook is None:
        return
    if "sleep" in hook:
        await asyncio.sleep(hook["sleep"]["seconds"])
    elif "exec" in hook:
        argv = tuple(target.rewrite(text) for text in hook["exec"]["command"])
        command = replace(target.command, argv=argv)
        code, _ = await target.execute(command, NO_LIMIT_SECONDS)
        if code:
            tell("Warning", "FailedPreStopHook", "PreStopHook failed")
    elif "httpGet" in hook:
        answer = await http_get(hook["httpGet"], target, NO_LIMIT_SECONDS)
        if not answer.ok:
            tell("Warning", "FailedPreStopHook", "PreStopHook failed")
