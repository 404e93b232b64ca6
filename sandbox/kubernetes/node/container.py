"""One container of a pod: its image, its process, its probes, its restarts."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from sandbox.kubernetes.meta.client import Object
from sandbox.kubernetes.meta.clock import utc_now
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.node import hooks, probes
from sandbox.kubernetes.node.backoff import BackOff
from sandbox.kubernetes.node.environment import command_of
from sandbox.kubernetes.node.host import Host
from sandbox.kubernetes.node.images import Image, image_id
from sandbox.kubernetes.node.logs import LogFile, tail
from sandbox.kubernetes.node.mounts import Rewriter
from sandbox.kubernetes.node.probing import Reactions, watch_probes
from sandbox.kubernetes.node.process import Command, Exit, Running, StartFailed
from sandbox.kubernetes.node.pulling import SYNC_SHARE, pull
from sandbox.kubernetes.node.references import MissingReference
from sandbox.kubernetes.node.volumes import Volume, mounts_of

#: A container that ran for less is seen to be waiting when the kubelet looks again, and otherwise only right before it runs again.
SHORT_RUN_SECONDS = 1.0

#: How long before that, as a share of the first wait: 0.1 to 0.4 s of 10.
LAST_LOOK_SHARE = 0.03

#: How much later than the wait the kubelet comes to it, as a share of the first wait: 0.6 to 4.1 s of 10 were seen.
LATE_SHARE = 0.3

#: Where a wait is longer, the kubelet looks in between.
RESYNC_SECONDS = 60.0

GPU = "nvidia.com/gpu"


class Container:
    """A container through all its restarts.

    Args:
        host: The node.
        pod: Returns the newest version of the pod.
        spec: The container's spec.
        is_init: Whether it is an init container: it is done once it has succeeded.
        changed: Called whenever the status has changed.
    """

    def __init__(self, host: Host, pod: Callable[[], Object], spec: Object, *, is_init: bool, changed: Callable[[], None]) -> None:
        self.spec = spec
        self.name: str = spec["name"]
        self.volumes: dict[str, Volume] = {}
        self.state: Object = {"waiting": {"reason": "PodInitializing" if is_init else "ContainerCreating"}}
        self.last_state: Object = {}
        self.restart_count = 0
        self.ready = False
        self.started = False
        self.done = False
        self.process: Running | None = None
        self.log: LogFile | None = None
        self.ended = asyncio.Event()
        self._host = host
        self._pod = pod
        self._is_init = is_init
        self._changed = changed
        self._container_id = ""
        self._backoff = BackOff(host.options.restart_backoff_seconds, host.most_backoff_seconds)
        self._last_end: datetime | None = None
        self._killed_by_probe = False
        self._ran = False
        self._ran_as: Object | None = None
        self.has_run = False
        self.lost = False
        self._probing: asyncio.Task[None] | None = None
        self._began = self._ended = utc_now()
        self._stopping = False
        self._out_of_memory = False
        self._target: probes.Target | None = None

    @property
    def succeeded(self) -> bool:
        """Whether it has ended with exit code 0 for good."""
        return self.done and self.exit_code == 0

    @property
    def ran(self) -> bool:
        """Whether it was ever started."""
        return self._ran

    @property
    def exit_code(self) -> int | None:
        """The exit code of the last run, if it has ended."""
        terminated = self.state.get("terminated")
        return None if terminated is None else int(terminated["exitCode"])

    @property
    def status(self) -> Object:
        """The container's entry in the pod's status."""
        status = {
            "name": self.name,
            "state": self.state,
            "lastState": self.last_state,
            "ready": self.succeeded if self._is_init else self.ready and "terminated" not in self.state,
            "restartCount": self.restart_count,
            "image": self.spec["image"],
            "imageID": image_id(self.spec["image"]) if self._container_id else "",
            "started": self.started and "terminated" not in self.state,
        }
        return status | ({"containerID": self._container_id} if self._container_id else {})

    def told(self, *, ending: bool) -> Object:
        """The entry as it is told: while a pod ends, what has ended is told with the last container's end."""
        if not ending or self._ran_as is None or "terminated" not in self.state:
            return self.status
        return {**self.status, "state": self._ran_as, "ready": self.ready, "started": self.started}

    @property
    def memory_limit(self) -> str | None:
        """The memory limit as a quantity, if there is one."""
        limit = ((self.spec.get("resources") or {}).get("limits") or {}).get("memory")
        return None if limit is None else str(limit)

    def log_path(self, run: int | None = None) -> Path:
        """Where the log of a run (by restart count; the current one by default) is."""
        number = self.restart_count if run is None else run
        return self._host.pod_folder(self._pod()["metadata"]["uid"]) / "logs" / self.name / f"{number}.log"

    def resume(self, status: Object) -> None:
        """Take over what an earlier agent reported: a container that ran then is lost now and counts as ended.

        Args:
            status: The container's entry in the pod's status.
        """
        self.restart_count = int(status.get("restartCount", 0))
        self.last_state = status.get("lastState") or {}
        self._container_id = status.get("containerID", "")
        state = status.get("state") or {}
        if (running := state.get("running")) is not None:
            self.state = _unknown(running.get("startedAt"), self._container_id)
        elif "terminated" in state:
            self.state = state
        else:
            return
        self.done = self._is_final(self.exit_code or 0)
        self._ran = True

    async def run(self) -> None:
        """Run, and run again as the restart policy says; returns when it has ended for good."""
        while not self.done:
            image = await pull(self._host, self.spec, self.tell, self._wait_for)
            command = await self._configure(image)
            await self._run_once(command)
            if self._stopping or self._is_final(self.exit_code or 0):
                self.done = True
                self._changed()
                return
            await self._back_off()

    async def stop(self, grace_seconds: float) -> None:
        """End it for good: the preStop hook, SIGTERM, and SIGKILL when the grace is over."""
        self._stopping = True
        await self._end_process(grace_seconds)

    def stop_waiting(self) -> None:
        """Its pod ends before it ever ran."""
        if not self._ran and "waiting" in self.state:
            self._wait_for("ContainerCreating")

    def give_up(self) -> None:
        """Its pod has ended, and nothing of it was ever there."""
        if not self._ran and "waiting" in self.state:
            self.state = _unknown(None, "")
            self.done = self.lost = True

    async def close(self) -> None:
        """Its pod has ended: nothing asks for it any more."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)

    def out_of_memory(self) -> None:
        """Kill it because it has passed its memory limit."""
        if self.process is not None:
            self._out_of_memory = True
            self.process.kill()

    def tell(self, kind: str, reason: str, message: str) -> None:
        """Record an event about this container."""
        part = "initContainers" if self._is_init else "containers"
        self._host.recorder.tell(self._pod(), kind, reason, message, field_path=f"spec.{part}{{{self.name}}}")

    def _is_final(self, exit_code: int) -> bool:
        policy = self._pod()["spec"].get("restartPolicy", "Always")
        if self._is_init:
            return exit_code == 0 or policy == "Never"
        return policy == "Never" or (policy == "OnFailure" and exit_code == 0)

    def _wait_for(self, reason: str, message: str = "") -> None:
        self.state = {"waiting": {"reason": reason} | ({"message": message} if message else {})}
        self._changed()

    async def _configure(self, image: Image) -> Command:
        pod = self._pod()
        home = self._host.pod_folder(pod["metadata"]["uid"]) / "homes" / self.name
        home.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                _check_user(pod, self.spec)
                rewriter = Rewriter(mounts_of(self.spec, self.volumes, {}))
                command = await command_of(
                    self._host.client,
                    pod,
                    self.spec,
                    image,
                    rewriter=rewriter,
                    home=home,
                    allocatable=self._host.allocatable,
                    extra={**self._host.variables, **self._gpu_variables(), "SANDBOX_POD_IP": pod["status"]["podIP"]},
                )
            except (MissingReference, ApiError) as exc:
                message = exc.message if isinstance(exc, ApiError) else str(exc)
                self._wait_for("CreateContainerConfigError", message)
                self.tell("Warning", "Failed", f"Error: {message}")
                await asyncio.sleep(self._host.options.restart_backoff_seconds * SYNC_SHARE)
                continue
            self._target = probes.Target(
                container=self.spec,
                ip=pod["status"]["podIP"],
                command=command,
                rewrite=rewriter.rewrite,
                http=self._host.http,
                execute=self._host.runtime.execute,
            )
            return command

    def _gpu_variables(self) -> dict[str, str]:
        resources = self.spec.get("resources") or {}
        count = int((resources.get("limits") or {}).get(GPU) or (resources.get("requests") or {}).get(GPU) or 0)
        given = self._host.gpus.take(f"{self._pod()['metadata']['uid']}/{self.name}", count) if count else None
        if not given:
            return {}
        devices = ",".join(str(number) for number in given)
        return {"NVIDIA_VISIBLE_DEVICES": devices, "CUDA_VISIBLE_DEVICES": devices}

    async def _run_once(self, command: Command) -> None:
        number = self.restart_count + 1 if self._ran else self.restart_count
        uid = self._pod()["metadata"]["uid"]
        self._container_id = f"containerd://{hashlib.sha256(f'{uid}/{self.name}/{number}'.encode()).hexdigest()}"
        self.log = LogFile(self.log_path(number))
        self._out_of_memory = False
        try:
            self.process = await self._host.runtime.start(command, self.log)
        except StartFailed as exc:
            self.tell("Normal", "Created", "Container created")
            self._count(number)
            self.tell("Warning", "Failed", f"Error: {exc}")
            moment = utc_now().strftime("%Y-%m-%dT%H:%M:%SZ")
            self._began = self._ended = utc_now()
            # It never began, which Kubernetes shows as the epoch.
            self.state = _terminated(128, "StartError", "1970-01-01T00:00:00Z", moment, self._container_id)
            self.state["terminated"]["message"] = str(exc)
            if not self._is_final(128):
                self.last_state = self.state
                self.state = {"waiting": {"reason": "RunContainerError", "message": str(exc)}}
            self._changed()
            return
        self._count(number)
        self.ended.clear()
        # Its end was asked for while its process was being started.
        if self._stopping:
            self.process.kill()
        self.tell("Normal", "Created", "Container created")
        self.tell("Normal", "Started", "Container started")
        self._began = self.process.started_at
        self.state = {"running": {"startedAt": self.process.started_at.strftime("%Y-%m-%dT%H:%M:%SZ")}}
        self._ran_as = self.state
        self.has_run = True
        if self._is_init or not self.spec.get("startupProbe"):
            self.started = True
            self.ready = not self.spec.get("readinessProbe")
        self._changed()
        self._probing = asyncio.create_task(self._probe())
        try:
            ended = await self.process.wait()
        finally:
            # While a pod ends, what has ended in it already is probed on.
            if not self._stopping:
                self._probing.cancel()
            # Whoever cancels this task ends the container with it: no process outlives its agent.
            self.process.kill()
        if not self._stopping:
            await asyncio.gather(self._probing, return_exceptions=True)
        self._note_end(self.process, ended)

    def _count(self, number: int) -> None:
        """A run has begun: what ended before is the last state from now on."""
        self._ran = True
        self.restart_count = number
        if "terminated" in self.state:
            self.last_state = self.state

    def _note_end(self, process: Running, ended: Exit) -> None:
        reason = "OOMKilled" if self._out_of_memory else "Completed" if ended.code == 0 else "Error"
        started_at, finished_at = (moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in (process.started_at, ended.finished_at))
        self.state = _terminated(ended.code, reason, started_at, finished_at, self._container_id)
        if self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError" and ended.code != 0:
            self.state["terminated"]["message"] = tail(self.log_path())
        self._ended = ended.finished_at
        self.process = None
        self.ended.set()
        if self._stopping:
            return
        self.ready = self.started = False
        self._ran_as = None
        # Of what a probe has killed nothing is told before it runs again, or waits to.
        if not self._killed_by_probe or self._is_final(ended.code):
            self._changed()

    async def _back_off(self) -> None:
        """Wait as the kubelet does: the first restart comes at once, the next after the base time, then twice that, and so on."""
        ended, unseen = self._ended, self._last_end if self._killed_by_probe else self._ended
        # What a probe has killed was running when the kubelet looked: it goes by the run before, if there was one.
        if unseen is not None:
            if self._backoff.left_seconds(unseen, utc_now()) > 0:
                await self._wait_out(ended)
            self._backoff.next(unseen if self._backoff.left_seconds(unseen, utc_now()) == 0 else ended, utc_now())
        self._last_end = ended
        self._killed_by_probe = False

    async def _wait_out(self, ended: datetime) -> None:
        """Wait until the back-off is over. The state is that of the run that ended; only now and then the kubelet shows that it waits."""
        metadata, wait = self._pod()["metadata"], self._backoff.seconds
        who = f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"
        scale, late = self._host.options.restart_backoff_seconds / 10.0, LATE_SHARE * self._host.options.restart_backoff_seconds
        shown = f"back-off {_go_duration(wait)} restarting failed container={self.name} pod={who}"
        self.tell("Warning", "BackOff", f"Back-off restarting failed container {self.name} in pod {who}")
        if self._killed_by_probe:
            looks = [0.0]
        elif (ended - self._began).total_seconds() <= SHORT_RUN_SECONDS * scale and self.restart_count == 1:
            looks = [SHORT_RUN_SECONDS * scale]
        elif wait > RESYNC_SECONDS * scale:
            looks = [RESYNC_SECONDS * scale]
        else:
            looks = [wait + late - LAST_LOOK_SHARE * self._host.options.restart_backoff_seconds]
        for look in looks:
            await asyncio.sleep(max(0.0, look - (utc_now() - ended).total_seconds()))
            self._show_waiting(shown)
            if look > 0:
                self.tell("Warning", "BackOff", f"Back-off restarting failed container {self.name} in pod {who}")
        await asyncio.sleep(max(0.0, wait + late - (utc_now() - ended).total_seconds()))

    def _show_waiting(self, message: str) -> None:
        if "terminated" in self.state:
            self.last_state = self.state
        self._wait_for("CrashLoopBackOff", message)

    async def _probe(self) -> None:
        if self._is_init or self._target is None:
            return
        reactions = Reactions(started=self._has_started, ready=self._is_ready, kill=self._kill_for, tell=self.tell)
        await watch_probes(self.spec, self._target, reactions)

    def _has_started(self) -> None:
        self.started = True
        self.ready = not self.spec.get("readinessProbe")
        self._changed()

    def _is_ready(self, ready: bool) -> None:
        if ready != self.ready:
            self.ready = ready
            self._changed()

    async def _kill_for(self, kind: str) -> None:
        self.tell("Normal", "Killing", f"Container {self.name} failed {kind} probe, will be restarted")
        self._killed_by_probe = True
        pod_grace = self._pod()["spec"].get("terminationGracePeriodSeconds", 30)
        await self._end_process(float(self.spec[f"{kind}Probe"].get("terminationGracePeriodSeconds", pod_grace)))

    async def _end_process(self, grace_seconds: float) -> None:
        process = self.process
        if process is None or self._target is None:
            return
        deadline = asyncio.get_running_loop().time() + grace_seconds
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await hooks.pre_stop(self.spec, self._target, self.tell)
        process.terminate()
        left_seconds = deadline - asyncio.get_running_loop().time()
        # However short the grace, the kubelet leaves a container two seconds between SIGTERM and SIGKILL.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(left_seconds, 2.0 if grace_seconds else 0.0)):
                await process.ended.wait()
        process.kill()


def _terminated(code: int, reason: str, started_at: str | None, finished_at: str, container_id: str) -> Object:
    entry: Object = {"exitCode": code, "reason": reason, "startedAt": started_at, "finishedAt": finished_at}
    return {"terminated": entry | ({"containerID": container_id} if container_id else {})}


def _check_user(pod: Object, spec: Object) -> None:
    """Images here run as root unless they are told otherwise.

    Raises:
        MissingReference: It must not run as root, and would.
    """
    asked = {**(pod["spec"].get("securityContext") or {}), **(spec.get("securityContext") or {})}
    if not asked.get("runAsNonRoot") or asked.get("runAsUser"):
        return
    metadata = pod["metadata"]
    where = f'(pod: "{metadata["name"]}_{metadata["namespace"]}({metadata["uid"]})", container: {spec["name"]})'
    if asked.get("runAsUser") == 0:
        raise MissingReference(f"container's runAsUser breaks non-root policy {where}")
    raise MissingReference(f"container has runAsNonRoot and image will run as root {where}")


def _unknown(started_at: str | None, container_id: str) -> Object:
    """The end of a container that nothing is known of."""
    state = _terminated(137, "ContainerStatusUnknown", started_at, utc_now().strftime("%Y-%m-%dT%H:%M:%SZ"), container_id)
    state["terminated"]["message"] = "The container could not be located when the pod was terminated"
    return state


def _go_duration(seconds: float) -> str:
    """Seconds as Go prints them: 10s, 1m20s, 5m0s, 200ms."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:g}s" if minutes else f"{rest:g}s"
