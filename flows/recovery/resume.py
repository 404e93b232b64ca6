"""The part of the sweep that looks after runs whose process is gone."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from blocks.errors import PipelineError
from blocks.registry import Registry
from flows.recovery.stalled import Past, StallLimits, resume_step
from flows.recovery.tasks.resume import abandon, end_stalled, recall_pasts, resume_run, runs_to_look_at
from flows.runtime.client import own_work_pool
from flows.runtime.tasks import call, foreseen


async def resume_crashed(registry: Registry, models: Collection[str], patience: StallLimits) -> tuple[dict[str, int], list[PipelineError]]:
    """Notice the runs that died, and take each up again, twice at most; how many were, and what went wrong.

    A run that a person suspended has no process either, and is left alone. So is one that ended, whatever its end: what failed failed by
    our own no, and what was cancelled was cancelled by somebody.
    """
    done = {"crashed": 0, "cancelled": 0, "resumed": 0, "abandoned": 0}
    wrong: list[PipelineError] = []
    # Twice: what is found dead in the first look has crashed in the second.
    for _ in range(2):
        seen = await call(runs_to_look_at, registry, models, own_work_pool(), patience)
        pasts = await call(recall_pasts, registry, [each for each in seen if each.phase == "crashed"])
        found_dead = False
        for each in seen:
            past = pasts.get(each.run_id, Past())
            step = resume_step(each, past, patience, datetime.now(UTC))
            found_dead |= step in ("crashed", "cancelled")
            try:
                with foreseen(f"Taking up run {each.run_id}"):
                    if step == "crashed" or step == "cancelled":
                        done[step] += await call(end_stalled, each, step)
                    elif step == "resume":
                        done["resumed"] += await call(resume_run, registry, each, past)
                    elif step == "abandon":
                        await call(abandon, registry, each, past)
                        done["abandoned"] += 1
            except PipelineError as exc:
                wrong.append(exc)
        if not found_dead:
            break
    return done, wrong
