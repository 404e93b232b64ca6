"""The Job controller: runs pods until enough of them have succeeded, or too many have failed.

Not emulated: Indexed completion mode, pod failure and success policies, `backoffLimitPerIndex`, and the tracking finalizer on pods:
what a finished pod counted for is remembered in this process, so pods that vanish while no controller runs are not counted.

A pod of a Job that is being deleted counts as failed from that moment, and even if it then succeeds, unless `podReplacementPolicy: Failed`
waits for its end. What is decided and what is counted are told one after the other, and only then that the Job is over.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sandbox.kubernetes.admission.informer import key_of
from sandbox.kubernetes.controllers.objects import (
    age_seconds,
    condition,
    controller_of,
    find_condition,
    is_active,
    is_deleting,
    is_finished,
    is_ready,
)
from sandbox.kubernetes.controllers.replicaset import first_to_go, pod_from_template
from sandbox.kubernetes.controllers.view import Controller, View, owned
from sandbox.kubernetes.meta.client import JOBS, PODS, Object
from sandbox.kubernetes.meta.clock import utc_now
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.values import clone, dig, now, parse_time

MAX_BACKOFF_SECONDS = 600.0
"""Kubernetes' cap on the wait before a failed pod is replaced."""

BACKOFF_EXCEEDED = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
DEADLINE_EXCEEDED = ("DeadlineExceeded", "Job was active longer than specified deadline")
REACHED = ("CompletionsReached", "Reached expected number of succeeded pods")


class JobController(Controller):
    """Runs Jobs.

    Args:
        view: The cluster.
        backoff_seconds: The wait before the first failed pod is replaced; doubles with each failure. Kubernetes takes 10.
        sync_seconds: How long after a change of its pods a Job is looked at; Kubernetes gathers them for a second.
    """

    retry_seconds = (1.0, 60.0)

    def __init__(self, view: View, *, backoff_seconds: float = 10.0, sync_seconds: float = 1.0) -> None:
        super().__init__(view)
        self._backoff_seconds = backoff_seconds
        self._sync_seconds = sync_seconds
        self._events = view.recorder("job-controller")
        self._counted: dict[str, dict[str, str]] = {}
        #: When pods were asked to go, by Job and pod.
        self._asked: dict[str, dict[str, datetime]] = {}
        self.watch(JOBS)
        view.informer(PODS).subscribe(self._pod_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        """Remember how each pod ended, because it may be gone before the Job is looked at."""
        pod = new or old
        reference = controller_of(pod) if pod is not None else None
        if pod is None or reference is None or reference["kind"] != "Job":
            return
        key = f"{pod['metadata']['namespace']}/{reference['name']}"
        self.queue.add_after(key, self._sync_seconds)
        job = self.view.informer(JOBS).get(key)
        waits = dig(job, "spec", "podReplacementPolicy") == "Failed"
        if is_finished(pod) or new is None or (is_deleting(pod) and not waits):
            outcome = "succeeded" if dig(pod, "status", "phase") == "Succeeded" else "failed"
            self._counted.setdefault(reference["uid"], {}).setdefault(pod["metadata"]["uid"], outcome)
        if is_deleting(pod):
            self._asked.setdefault(reference["uid"], {}).setdefault(pod["metadata"]["uid"], utc_now())

    async def reconcile(self, key: str) -> float | None:
        """Bring one Job forward and write its status."""
        stored = self.view.informer(JOBS).get(key)
        if stored is None:
            return None
        job = clone(stored)
        job["status"] = job.get("status") or {}
        if is_deleting(stored):
            pods = await owned(self.view, job, PODS)
            if not _is_over(job) and not all(is_finished(pod) for pod in pods):
                # Its pods go first, and are none of its failures.
                before = [int(job["status"].get(kind, 0)) for kind in ("succeeded", "failed")]
                self._count(job, pods, *before)
                await self._told(stored, job)
            return None
        if _is_over(job):
            return await self._expire(job)
        pods = await owned(self.view, job, PODS)
        active = [pod for pod in pods if is_active(pod)]
        outcomes = list(self._counted.get(job["metadata"]["uid"], {}).values())
        succeeded, failed = outcomes.count("succeeded"), outcomes.count("failed")
        again_seconds = self._start(job)
        verdict = self._verdict(job, pods, succeeded, failed, len(active))
        refused: ApiError | None = None
        taken = active if verdict is not None else []
        if verdict is not None:
            _decide(job, verdict)
            await self._delete_pods(job, active, counts_as="failed" if verdict[0] == "FailureTarget" else "withdrawn")
        # Neither succeeded nor failed: the Job did not want them any longer.
        elif job["spec"].get("suspend"):
            await self._delete_pods(job, active, counts_as="withdrawn")
        else:
            wait_seconds, refused = await self._top_up(job, active, succeeded, failed, pods)
            again_seconds = min((wait for wait in (again_seconds, wait_seconds) if wait is not None), default=None)
        job = await self._write(stored, job, len(taken))
        if _is_over(job):
            self._counted.pop(job["metadata"]["uid"], None)
            return await self._expire(job)
        if refused is not None:
            raise refused
        return again_seconds

    def _start(self, job: Object) -> float | None:
        """Start or suspend the clock; return the seconds left until the deadline."""
        status, suspended = job["status"], bool(job["spec"].get("suspend"))
        conditions: list[Object] = status.setdefault("conditions", [])
        entry = find_condition(conditions, "Suspended")
        if suspended:
            status.pop("startTime", None)
            if entry is None or entry["status"] != "True":
                _set(conditions, "Suspended", "True", "JobSuspended", "Job suspended")
                self._events.tell(job, "Normal", "Suspended", "Job suspended")
            return None
        if entry is not None and entry["status"] == "True":
            _set(conditions, "Suspended", "False", "JobResumed", "Job resumed")
            self._events.tell(job, "Normal", "Resumed", "Job resumed")
        status.setdefault("startTime", now())
        deadline_seconds = job["spec"].get("activeDeadlineSeconds")
        return None if deadline_seconds is None else max(0.05, deadline_seconds - age_seconds(status["startTime"]) + 0.05)

    def _verdict(self, job: Object, pods: list[Object], succeeded: int, failed: int, active: int) -> tuple[str, str, str] | None:
        """How the Job ends, if it is decided: (condition type, reason, message)."""
        for kind in ("FailureTarget", "SuccessCriteriaMet"):
            if (entry := condition(job, kind)) is not None:
                return kind, entry["reason"], entry["message"]
        limit = job["spec"].get("backoffLimit", 6)
        restarts = sum(
            int(entry.get("restartCount", 0))
            for pod in pods
            if pod["spec"].get("restartPolicy") == "OnFailure"
            for entry in dig(pod, "status", "containerStatuses", default=[])
        )
        # Restarts in place end the Job at the limit, failed pods only beyond it (backoffLimit 2 ended at restartCount 2).
        if failed > limit or restarts > limit or (limit and restarts == limit):
            return "FailureTarget", *BACKOFF_EXCEEDED
        deadline_seconds = job["spec"].get("activeDeadlineSeconds")
        started = job["status"].get("startTime")
        if deadline_seconds is not None and started is not None and age_seconds(started) >= deadline_seconds:
            return "FailureTarget", *DEADLINE_EXCEEDED
        completions = job["spec"].get("completions")
        enough = succeeded >= completions if completions is not None else succeeded > 0 and active == 0
        return ("SuccessCriteriaMet", *REACHED) if enough else None

    async def _delete_pods(self, job: Object, pods: list[Object], *, counts_as: str = "failed") -> None:
        for pod in pods:
            self._counted.setdefault(job["metadata"]["uid"], {}).setdefault(pod["metadata"]["uid"], counts_as)
            await self.view.delete(PODS, pod)
            self._events.tell(job, "Normal", "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")

    async def _top_up(
        self, job: Object, active: list[Object], succeeded: int, failed: int, pods: list[Object]
    ) -> tuple[float | None, ApiError | None]:
        """Create the pods that are missing, or delete those too many; return how long to wait for the back-off, and a refusal."""
        completions = job["spec"].get("completions")
        parallelism = job["spec"].get("parallelism", 1)
        if completions is not None:
            wanted = min(parallelism, completions - succeeded)
        else:
            # A work queue: once one pod has succeeded, no new ones are started.
            wanted = min(len(active), parallelism) if succeeded else parallelism
        # A pod that is on its way out still holds its place until it is gone, unless the Job says to replace it at once.
        leaving = 0
        if job["spec"].get("podReplacementPolicy") == "Failed":
            leaving = sum(is_deleting(pod) and not is_finished(pod) for pod in pods)
        await self._delete_pods(job, first_to_go(active)[: max(0, len(active) - wanted)], counts_as="withdrawn")
        missing = wanted - len(active) - leaving
        wait_seconds = self._backoff(job, pods, failed)
        if missing <= 0 or wait_seconds:
            return (wait_seconds if missing > 0 else None), None
        for _ in range(missing):
            try:
                pod = await self.view.create(PODS, job["metadata"]["namespace"], pod_from_template(job))
            except ApiError as exc:
                self._events.tell(job, "Warning", "FailedCreate", f"Error creating: {exc.message}")
                return None, exc
            self._events.tell(job, "Normal", "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}")
        return None, None

    def _backoff(self, job: Object, pods: list[Object], failed: int) -> float | None:
        """Seconds until a failed pod may be replaced; None when it may be now."""
        if not failed:
            return None
        ends = [parse_time(_finished_at(pod)) for pod in pods if dig(pod, "status", "phase") == "Failed"]
        ends += self._asked.get(job["metadata"]["uid"], {}).values()
        if not ends:
            return None
        wait = timedelta(seconds=min(self._backoff_seconds * 2 ** (failed - 1), MAX_BACKOFF_SECONDS))
        left = (max(ends) + wait - utc_now()).total_seconds()
        return left if left > 0 else None

    async def _write(self, stored: Object, job: Object, taken: int) -> Object:
        """Tell first what is decided and which pods have ended, then how many that makes, and whether it is over."""
        outcomes = self._counted.get(job["metadata"]["uid"], {})
        pods = await owned(self.view, job, PODS)
        before = {kind: int(dig(stored, "status", kind, default=0)) for kind in ("succeeded", "failed")}
        counts = {kind: list(outcomes.values()).count(kind) for kind in before}
        self._count(job, pods, before["succeeded"], before["failed"], taken)
        new = {kind: [uid for uid, outcome in outcomes.items() if outcome == kind][before[kind] :] for kind in before}
        job["status"]["uncountedTerminatedPods"] = {kind: uids for kind, uids in new.items() if uids}
        if any(new.values()) or _is_decided(job):
            job = await self._told(stored, job)
            self._count(job, pods, counts["succeeded"], counts["failed"], taken)
            if taken:
                self.queue.add_after(key_of(job), self._sync_seconds)
        self._conclude(job)
        return await self._told(self.view.informer(JOBS).get(key_of(job)) or stored, job)

    async def _told(self, known: Object, job: Object) -> Object:
        """The Job with this status, as it is stored by now."""
        if job["status"] == (known.get("status") or {}):
            return job
        return clone(await self.view.replace(JOBS, clone(job), "status"))

    @staticmethod
    def _count(job: Object, pods: list[Object], succeeded: int, failed: int, taken: int = 0) -> None:
        status = job["status"]
        active = [pod for pod in pods if is_active(pod)]
        counts = {"active": len(active), "succeeded": succeeded, "failed": failed}
        for name, count in counts.items():
            if count:
                status[name] = count
            else:
                status.pop(name, None)
        status["ready"] = sum(is_ready(pod) for pod in active)
        # What it has just told to go is on its way, even if it ran nowhere and is gone.
        status["terminating"] = max(taken, sum(is_deleting(pod) and not is_finished(pod) for pod in pods))
        status["uncountedTerminatedPods"] = {}
        if not status.get("conditions"):
            status.pop("conditions", None)

    def _conclude(self, job: Object) -> None:
        """Write the final condition once every pod has stopped."""
        status = job["status"]
        if status.get("active") or status["terminating"]:
            return
        for decided, final in (("FailureTarget", "Failed"), ("SuccessCriteriaMet", "Complete")):
            entry = condition(job, decided)
            if entry is None:
                continue
            _set(status["conditions"], final, "True", entry["reason"], entry["message"])
            if final == "Complete":
                status["completionTime"] = now()
                self._events.tell(job, "Normal", "Completed", "Job completed")
            else:
                self._events.tell(job, "Warning", entry["reason"], entry["message"])

    async def _expire(self, job: Object) -> float | None:
        """Delete a finished Job when its time to live is over; return the seconds left."""
        ttl_seconds = job["spec"].get("ttlSecondsAfterFinished")
        final = condition(job, "Complete") or condition(job, "Failed")
        if ttl_seconds is None or final is None:
            return None
        left_seconds = ttl_seconds - age_seconds(final["lastTransitionTime"])
        if left_seconds > 0:
            return float(left_seconds)
        await self.view.delete(JOBS, job, propagation="Foreground")
        self._asked.pop(job["metadata"]["uid"], None)
        self._counted.pop(job["metadata"]["uid"], None)
        return None


def _is_over(job: Object) -> bool:
    return any((condition(job, kind) or {}).get("status") == "True" for kind in ("Complete", "Failed"))


def _is_decided(job: Object) -> bool:
    return any(condition(job, kind) is not None for kind in ("FailureTarget", "SuccessCriteriaMet"))


def _decide(job: Object, verdict: tuple[str, str, str]) -> None:
    kind, reason, message = verdict
    if condition(job, kind) is None:
        _set(job["status"].setdefault("conditions", []), kind, "True", reason, message)


def _set(conditions: list[Object], kind: str, status: str, reason: str, message: str) -> None:
    moment = now()
    entry = {
        "type": kind,
        "status": status,
        "lastProbeTime": moment,
        "lastTransitionTime": moment,
        "reason": reason,
        "message": message,
    }
    conditions[:] = [*(existing for existing in conditions if existing["type"] != kind), entry]


def _finished_at(pod: Object) -> str:
    ends = [dig(entry, "state", "terminated", "finishedAt") for entry in dig(pod, "status", "containerStatuses", default=[])]
    return max((end for end in ends if end), default=str(pod["metadata"]["creationTimestamp"]))
