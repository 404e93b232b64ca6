"""PodDisruptionBudget status: how many pods may be disturbed now.

Not emulated: the expected count comes from the pods that match, not from the scale of what owns them.
"""

from __future__ import annotations

import math

from sandbox.kubernetes.controllers.objects import is_deleting, is_finished, is_ready, set_condition
from sandbox.kubernetes.controllers.view import Controller, View
from sandbox.kubernetes.meta.client import DISRUPTION_BUDGETS, PODS, Object
from sandbox.kubernetes.meta.selectors import matches_labels, selector_requirements
from sandbox.kubernetes.meta.values import dig


class DisruptionController(Controller):
    """Counts, for every budget, the healthy pods and how many of them could go."""

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self.watch(DISRUPTION_BUDGETS)
        view.informer(PODS).subscribe(self._pod_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        namespace = (new or old or {})["metadata"]["namespace"]
        for budget in self.view.informer(DISRUPTION_BUDGETS).list(namespace):
            self.queue.add(f"{namespace}/{budget['metadata']['name']}")

    async def reconcile(self, key: str) -> float | None:
        """Write the status of one budget."""
        budget = self.view.informer(DISRUPTION_BUDGETS).get(key)
        if budget is None:
            return None
        requirements = selector_requirements(budget["spec"].get("selector"))
        pods = [
            pod
            for pod in self.view.informer(PODS).list(budget["metadata"]["namespace"])
            if not is_finished(pod) and matches_labels(requirements, pod)
        ]
        expected, healthy = len(pods), sum(is_ready(pod) and not is_deleting(pod) for pod in pods)
        desired = _desired(budget["spec"], expected)
        allowed = max(0, healthy - desired) if expected else 0
        old = budget.get("status") or {}
        enough = allowed > 0
        condition = {
            "type": "DisruptionAllowed",
            "status": "True" if enough else "False",
            "reason": "SufficientPods" if enough else "InsufficientPods",
            "message": "",
            "observedGeneration": budget["metadata"].get("generation", 1),
        }
        status = {
            "observedGeneration": budget["metadata"].get("generation", 1),
            "expectedPods": expected,
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "disruptionsAllowed": allowed,
            "conditions": set_condition(dig(old, "conditions", default=[]), condition),
        }
        if status != old:
            await self.view.replace(DISRUPTION_BUDGETS, {**budget, "status": status}, "status")
        return None


def _desired(spec: Object, expected: int) -> int:
    if (most := spec.get("maxUnavailable")) is not None:
        return max(0, expected - _share(most, expected))
    return _share(spec.get("minAvailable", 1), expected)


def _share(value: int | str, of: int) -> int:
    """A number, or a percentage rounded up, as budgets do for both of their bounds."""
    return math.ceil(int(value[:-1]) * of / 100) if isinstance(value, str) and value.endswith("%") else int(value)
