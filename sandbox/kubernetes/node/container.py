"""One container of a pod: its image, its process, its probes, its restarts."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path

from sandbox.kubernetes.controllers.objects import utc_now
from sandbox.kubernetes.meta.client import Object
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.values import parse_time
from sandbox.kubernetes.node import hooks, probes
from sandbox.kubernetes.node.environment import command_of
from sandbox.kubernetes.node.host import Host
from sandbox.kubernetes.node.images import Image, image_id
from sandbox.kubernetes.node.logs import LogFile, tail
from sandbox.kubernetes.node.mounts import Rewriter
from sandbox.kubernetes.node.probing import Reactions, watch_probes
from sandbox.kubernetes.node.process import Command, Exit, Process, StartFailed
from sandbox.kubernetes.node.pulling import pull
from sandbox.kubernetes.node.references import MissingReference
from sandbox.kubernetes.node.volumes import Volume, mounts_of

FORGIVEN_AFTER_SECONDS = 600.0
"""A container that ran this long starts its back-off from the beginning again: twice the longest wait, as in the kubelet."""

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
        self.state: Object = {"waiting": {"reason": "ContainerCreating"}}
        self.last_state: Object = {}
        self.restart_count = 0
        self.ready = False
        self.started = False
        self.done = False
        self.process: Process | None = None
        self.log: LogFile | None = None
        self.ended = asyncio.Event()
        self._host = host
        self._pod = pod
        self._is_init = is_init
        self._changed = changed
        self._container_id = ""
        self._crashes = 0
        self._stopping = False
        self._out_of_memory = False
        self._target: probes.Target | None = None

    @property
    def succeeded(self) -> bool:
        """Whether it has ended with exit code 0 for good."""
        return self.done and self.exit_code == 0

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
            "ready": self.succeeded if self._is_init else self.ready,
            "restartCount": self.restart_count,
            "image": self.spec["image"],
            "imageID": image_id(self.spec["image"]) if self._container_id else "",
            "started": self.started,
        }
        return status | ({"containerID": self._container_id} if self._container_id else {})

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
            moment = utc_now().strftime("%Y-%m-%dT%H:%M:%SZ")
            self.state = _terminated(137, "ContainerStatusUnknown", running.get("startedAt"), moment, self._container_id)
            self.state["terminated"]["message"] = "The container could not be located when the pod was terminated"
        elif "terminated" in state:
            self.state = state
        else:
            return
        self.done = self._is_final(self.exit_code or 0)
        if not self.done:
            self._next_run()

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
                await asyncio.sleep(self._host.options.retry_seconds)
                continue
            self._target = probes.Target(
                container=self.spec, ip=pod["status"]["podIP"], command=command, rewrite=rewriter.rewrite, http=self._host.http
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
        uid = self._pod()["metadata"]["uid"]
        self._container_id = f"containerd://{hashlib.sha256(f'{uid}/{self.name}/{self.restart_count}'.encode()).hexdigest()}"
        self.log = LogFile(self.log_path())
        self._out_of_memory = False
        try:
            self.process = await Process.start(command, self.log, self._host.watchdog)
        except StartFailed as exc:
            self.tell("Warning", "Failed", f"Error: {exc}")
            moment = utc_now().strftime("%Y-%m-%dT%H:%M:%SZ")
            # It never began, which Kubernetes shows as the epoch.
            self.state = _terminated(128, "StartError", "1970-01-01T00:00:00Z", moment, self._container_id)
            self.state["terminated"]["message"] = str(exc)
            self._changed()
            return
        self.ended.clear()
        # Its end was asked for while its process was being started.
        if self._stopping:
            self.process.kill()
        self.tell("Normal", "Created", f"Container created: {self.name}")
        self.tell("Normal", "Started", f"Container started: {self.name}")
        self.state = {"running": {"startedAt": self.process.started_at.strftime("%Y-%m-%dT%H:%M:%SZ")}}
        if self._is_init or not self.spec.get("startupProbe"):
            self.started = True
            self.ready = not self.spec.get("readinessProbe")
        self._changed()
        probing = asyncio.create_task(self._probe())
        try:
            ended = await self.process.wait()
        finally:
            probing.cancel()
            # Whoever cancels this task ends the container with it: no process outlives its agent.
            self.process.kill()
        await asyncio.gather(probing, return_exceptions=True)
        self._note_end(self.process, ended)

    def _note_end(self, process: Process, ended: Exit) -> None:
        reason = "OOMKilled" if self._out_of_memory else "Completed" if ended.code == 0 else "Error"
        started_at, finished_at = (moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in (process.started_at, ended.finished_at))
        self.state = _terminated(ended.code, reason, started_at, finished_at, self._container_id)
        if self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError" and ended.code != 0:
            self.state["terminated"]["message"] = tail(self.log_path())
        if (ended.finished_at - process.started_at).total_seconds() >= FORGIVEN_AFTER_SECONDS:
            self._crashes = 0
        self.process = None
        self.ready = False
        self.started = False
        self.ended.set()
        self._changed()

    async def _back_off(self) -> None:
        """Wait as the kubelet does: the first restart comes at once, the next after the base time, then twice that, and so on."""
        self._crashes += 1
        ended = self.state
        if self._crashes > 1:
            wait_seconds = self._host.backoff_seconds(self._crashes - 1)
            metadata = self._pod()["metadata"]
            who = f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"
            self.last_state = ended
            self._wait_for("CrashLoopBackOff", f"back-off {_go_duration(wait_seconds)} restarting failed container={self.name} pod={who}")
            self.tell("Warning", "BackOff", f"Back-off restarting failed container {self.name} in pod {who}")
            finished_at = parse_time(ended["terminated"]["finishedAt"])
            # Times in a status are whole seconds; a wait counted from one must not end early for that.
            elapsed_seconds = max(0.0, (utc_now() - finished_at).total_seconds() - 1.0)
            await asyncio.sleep(max(0.0, wait_seconds - elapsed_seconds))
        self.last_state = ended
        self.restart_count += 1

    def _next_run(self) -> None:
        self.last_state = self.state
        self.state = {"waiting": {"reason": "ContainerCreating"}}
        self.restart_count += 1

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


def _go_duration(seconds: float) -> str:
    """Seconds as Go prints them: 10s, 1m20s, 5m0s, 200ms."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:g}s" if minutes else f"{rest:g}s"
