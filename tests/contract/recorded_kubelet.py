"""Scenes of a real kubelet and real controllers, and the same scenes on the sandbox's, in a time of their own."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.kubernetes.controllers import ControllerManager
from sandbox.kubernetes.meta.api import Client
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.node.addresses import Subnet
from sandbox.kubernetes.node.images import Image
from sandbox.kubernetes.node.kubelet import Kubelet
from sandbox.kubernetes.node.spec import AgentOptions, NodeSpec
from sandbox.kubernetes.server.bootstrap import populate
from sandbox.kubernetes.server.local import LocalApi
from tests.contract.played_programs import PlayedRuntime
from tests.contract.virtual_time import run_virtually

Object = dict[str, Any]

RECORDING = Path(__file__).resolve().parents[3] / "shared" / "kubernetes" / "kubelet.jsonl"

NODE = "rk-1"

#: Where a scene's kinds of objects are.
_PATHS = {
    "Pod": "/api/v1/namespaces/{}/pods",
    "Service": "/api/v1/namespaces/{}/services",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "ResourceQuota": "/api/v1/namespaces/{}/resourcequotas",
    "PersistentVolume": "/api/v1/persistentvolumes",
    "PersistentVolumeClaim": "/api/v1/namespaces/{}/persistentvolumeclaims",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
}
_WATCHED = ("Pod", "Job", "Deployment", "PodDisruptionBudget")


@dataclass(kw_only=True)
class Scene:
    """What was seen of the objects of a scene.

    Attributes:
        name: The scene's name.
        lines: As recorded: first the manifest, then events, actions and requests.
    """

    name: str
    lines: list[Object]

    @property
    def manifest(self) -> list[Object]:
        """What was created at its beginning."""
        objects: list[Object] = self.lines[0]["manifest"]
        return objects

    @property
    def seconds(self) -> float:
        """How long it was watched."""
        return max(float(line.get("t", 0)) for line in self.lines[1:])

    @property
    def namespace(self) -> str:
        """Where it took place."""
        return f"kl-{self.name}"


def scenes() -> dict[str, Scene]:
    """All scenes by name; commands in full."""
    found: dict[str, list[Object]] = defaultdict(list)
    with RECORDING.open(encoding="utf-8") as file:
        about = json.loads(next(file))
        for line in file:
            entry = json.loads(line)
            found[entry["scene"]].append(_filled(entry, {"$SERVER": about["SERVER"], "$ENGINE": about["ENGINE"]}))
    return {name: Scene(name=name, lines=lines) for name, lines in found.items()}


def _filled(value: Any, texts: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner, texts) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, texts) for inner in value]
    if isinstance(value, str):
        for short, text in texts.items():
            value = value.replace(short, text)
    return value


@dataclass(kw_only=True)
class Seen:
    """What a watch told of the objects, in order.

    Attributes:
        states: By kind and name (as `stable` writes it), each object's own: when, and what the watch said.
        events: By kind and name: what was told of it, reason and message, in the order of its first mention, with the last count.
    """

    states: dict[str, dict[str, list[tuple[float, str, Object]]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    events: dict[str, dict[tuple[str, str], int]] = field(default_factory=lambda: defaultdict(dict))

    def note(self, t: float, kind: str, what: str, item: Object) -> None:
        """Take down one event of a watch."""
        if kind == "Event":
            about = item.get("involvedObject") or item.get("regarding") or {}
            if about.get("kind") in (*_WATCHED, "ReplicaSet"):
                told = self.events[f"{about['kind']}/{stable(about['name'])}"]
                told[(item.get("reason", ""), item.get("message") or item.get("note") or "")] = item.get("count") or 1
        else:
            self.states[f"{kind}/{stable(item['metadata']['name'])}"][item["metadata"]["name"]].append((t, what, item))

    def sequences(self, key: str, until: float) -> list[list[tuple[float, str]]]:
        """The states of each object of that kind and name, one after another, up to a moment; the objects in the order of their states."""
        states = pod_states if key.startswith("Pod/") else job_states
        found = [[state for state in states(seen) if state[0] <= until] for seen in self.states.get(key, {}).values()]
        return sorted((states for states in found if states), key=lambda states: [text for _, text in states])


def stable(name: str) -> str:
    """A name without what was made up for it: `web-5d4f8c7b9-x2x4q` is `web-*`."""
    return re.sub(r"(-[a-f0-9bcdfghjklmnpqrstvwxz2456789]{6,10})?-[bcdfghjklmnpqrstvwxz2456789]{5}$", "-*", name)


def recorded(scene: Scene) -> Seen:
    """What the real ones did; statuses whole."""
    seen, statuses, metadata, messages = Seen(), {}, {}, {}
    for line in scene.lines[1:]:
        if "kind" not in line or line["kind"] not in (*_WATCHED, "Event"):
            continue
        item = dict(line["object"])
        name = item["metadata"]["name"]
        if line["kind"] == "Event":
            known = messages.setdefault(name, {})
            known |= {key: value for key, value in item.items() if key != "metadata"}
            seen.note(line["t"], "Event", line["type"], {**known, "metadata": item["metadata"]})
            continue
        key = f"{line['kind']}/{name}"
        if item.get("status") == "=":
            item["status"] = statuses.get(key, {})
        statuses[key] = item.get("status", {})
        metadata[key] = item["metadata"]
        seen.note(line["t"], line["kind"], line["type"], item)
    return seen


def replayed(scene: Scene, until: float) -> Seen:
    """What the sandbox does in the same time, with the same actions at the same times."""
    with tempfile.TemporaryDirectory() as folder:
        return run_virtually(_replay(scene, until, Path(folder)))


async def _replay(scene: Scene, until: float, folder: Path) -> Seen:
    api = LocalApi("")
    populate(api.store, 443)
    runtime, client = PlayedRuntime(), api.client("tester")
    controllers = ControllerManager(api.client())
    await controllers.start()
    kubelet = Kubelet(
        api.client(f"system:node:{NODE}"),
        NodeSpec(name=NODE, gpus=1, cpus=2, memory_bytes=4 * 2**30, labels={"kubernetes.io/hostname": NODE}),
        images={"docker.io/slipway-sandbox/vllm-openai": Image(command=("server",))},
        folder=folder,
        options=AgentOptions(memory_check_seconds=3600),
        variables={},
        runtime=runtime,
        http=runtime.http(),
    )
    await kubelet.start(Subnet("127.20.1.0/24"), 10250)
    await client.request(
        "POST", "/api/v1/namespaces", body={"metadata": {"name": scene.namespace, "labels": scene.lines[0].get("namespaceLabels") or {}}}
    )
    seen = Seen()
    loop = asyncio.get_running_loop()
    began = loop.time()
    watching = [asyncio.create_task(_watch(client, scene.namespace, kind, seen, began)) for kind in (*_WATCHED, "Event")]
    await asyncio.sleep(0)
    for item in scene.manifest:
        await _create(client, scene.namespace, item)
    for at, act in _acts(scene):
        if at > until:
            break
        await asyncio.sleep(max(0.0, began + at - loop.time()))
        await act.do(client, scene.namespace, kubelet, seen)
    await asyncio.sleep(max(0.0, began + until - loop.time()))
    for task in watching:
        task.cancel()
    await kubelet.stop()
    await controllers.close()
    return seen


async def _create(client: Client, namespace: str, item: Object) -> None:
    body = {"apiVersion": "v1", **item} if "apiVersion" not in item else item
    await client.request("POST", _PATHS[item["kind"]].format(namespace), body=body)


async def _watch(client: Client, namespace: str, kind: str, seen: Seen, began: float) -> None:
    path = "/api/v1/namespaces/{}/events" if kind == "Event" else _PATHS[kind]
    async for event in client.watch(path.format(namespace)):
        item = event["object"]
        seen.note(asyncio.get_running_loop().time() - began, kind, event["type"], item)


@dataclass(kw_only=True)
class _Act:
    """Something that was done in the middle of a scene.

    Attributes:
        method: Of a request; with its path, body and kind.
        create: Objects to make.
        frozen: Whether the kubelet stops or goes on.
        place: Which of the pods of that name, in the order in which they came, it was done to.
    """

    method: str = ""
    path: str = ""
    body: Any = None
    content_type: str = "application/json"
    create: list[Object] = field(default_factory=list)
    frozen: bool | None = None
    place: int = 0

    async def do(self, client: Client, namespace: str, kubelet: Kubelet, seen: Seen) -> None:
        """Do it to the sandbox's objects, whose made-up names are others."""
        if self.frozen is not None:
            kubelet.freeze() if self.frozen else kubelet.thaw()
        for item in self.create:
            await _create(client, namespace, item)
        if not self.path:
            return
        *above, name = self.path.removesuffix("/eviction").split("/")
        evicted = "/eviction" if self.path.endswith("/eviction") else ""
        if above[-1] == "pods" and stable(name) != name:
            # The one that came at the same place among those of its kind.
            name = list(seen.states[f"Pod/{stable(name)}"])[self.place]
        body = {**self.body, "metadata": {**self.body["metadata"], "name": name}} if evicted else self.body
        try:
            await client.request(self.method, "/".join([*above, name]) + evicted, body=body, content_type=self.content_type)
        except ApiError as exc:
            if exc.code not in (404, 429):
                raise


def _acts(scene: Scene) -> Iterator[tuple[float, _Act]]:
    known = recorded(scene)
    for line in scene.lines[1:]:
        if line.get("action") == "create" and line.get("manifest"):
            manifest = line["manifest"]
            yield line["t"], _Act(create=manifest if isinstance(manifest, list) else [manifest])
        elif found := re.fullmatch(r"delete pod (\S+), grace (\d+)", line.get("action", "")):
            path = f"{_PATHS['Pod'].format(scene.namespace)}/{found[1]}"
            yield line["t"], _Act(method="DELETE", path=path, body={"gracePeriodSeconds": int(found[2])})
        elif line.get("action", "").startswith(("SIGSTOP", "SIGCONT")):
            yield line["t"], _Act(frozen=line["action"].startswith("SIGSTOP"))
        elif line.get("method") in ("DELETE", "PATCH") or line.get("path", "").endswith("/eviction"):
            name = line["path"].removesuffix("/eviction").rpartition("/")[2]
            like = list(known.states.get(f"Pod/{stable(name)}", {}))
            yield (
                line["t"],
                _Act(
                    method=line["method"],
                    path=line["path"],
                    body=line["request"],
                    content_type=line.get("content_type") or "application/json",
                    place=like.index(name) if name in like else 0,
                ),
            )


def pod_states(seen: list[tuple[float, str, Object]]) -> list[tuple[float, str]]:
    """The states of one pod that matter to whoever watches it, one after another: phase, containers, readiness, deletion."""
    found: list[tuple[float, str]] = []
    for t, what, pod in seen:
        status = pod.get("status") or {}
        parts = [status.get("phase", "")]
        ends = pod["metadata"].get("deletionTimestamp") and status.get("phase") in ("Pending", "Running")
        for entry in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
            parts.append(_container(entry) if not ends else _container({**entry, "ready": False}))
        ready = next((entry for entry in status.get("conditions") or [] if entry["type"] == "Ready"), None)
        if ready is not None and not ends:  # until it has ended: by which probe was under way
            parts.append(f"Ready={ready['status']}" + (f"({ready['reason']})" if ready.get("reason") else ""))
        for entry in status.get("conditions") or []:
            if entry["type"] == "DisruptionTarget":
                parts.append(f"{entry['type']}({entry['reason']})")
        if pod["metadata"].get("deletionTimestamp"):
            parts.append(f"deleting({pod['metadata'].get('deletionGracePeriodSeconds')})")
        text = "GONE" if what == "DELETED" else " ".join(parts)
        if not found or found[-1][1] != text:
            found.append((t, text))
    return found


def _container(entry: Object) -> str:
    (kind, state), *_ = list((entry.get("state") or {"none": {}}).items())
    text = f"{entry['name']}:{kind}"
    if state.get("reason"):
        text += f":{state['reason']}"
    if "exitCode" in state:
        text += f":{state['exitCode']}"
    return f"{text}/r{entry['restartCount']}" + ("+" if entry.get("ready") else "")


def job_states(seen: list[tuple[float, str, Object]]) -> list[tuple[float, str]]:
    """The states of one Job: counts and conditions."""
    found: list[tuple[float, str]] = []
    for t, what, job in seen:
        status = job.get("status") or {}
        counts = [f"{name}={status[name]}" for name in ("active", "ready", "succeeded", "failed", "terminating") if status.get(name)]
        conditions = [
            f"{entry['type']}({entry.get('reason', '')})" for entry in status.get("conditions") or [] if entry["status"] == "True"
        ]
        text = "GONE" if what == "DELETED" else " ".join([*counts, *conditions])
        if not found or found[-1][1] != text:
            found.append((t, text))
    return found
