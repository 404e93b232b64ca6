"""The demo: one release on this machine, with the real Prefect, Helm, hub client and PostgreSQL, on stand-ins for the rest."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self
from uuid import UUID

import httpx
import yaml
from psycopg.conninfo import make_conninfo
from rich.table import Table

from blocks.errors import PipelineError
from blocks.registry import RegistryClient
from flows.cli.console import PlainConsole
from flows.cli.demo_console import PEOPLE, DemoConsole
from flows.errors import SpecInvalid
from flows.spec.folder import ENVIRONMENT_VARIABLE
from sandbox import models
from sandbox.children import Child
from sandbox.helm import helm_executable
from sandbox.postgres import PostgresUnavailable
from sandbox.prefect import ROOT, Prefect
from sandbox.router import Router
from sandbox.world import World

if TYPE_CHECKING:
    from blocks.endpoint import Endpoint
    from flows.runtime.client import Progress

MODEL = "tiny-llama"
REPOSITORY = "slipway-demo/tiny-llama"
POOL = "slipway"
#: The approver of deployments/approvers.yaml whose authenticator the demo plays.
APPROVER = "demo"
QUESTION = "The capital of France is"
#: Those of `deployments/environments`.
ENVIRONMENTS = ("development", "staging", "production")

#: Latency limits of the demo's environments, in seconds: twenty times those of `deployments/`, which a GPU of one's own keeps. Here the
#: engines share this machine with everything else, and whether it has time for them says nothing of the model.
LIMITS = {"p50_seconds": 2.0, "p95_seconds": 6.0}

#: The file that a demo holds in its folder.
LOCK = ".lock"

#: How often the demo answers the form by itself: a code may be of the step before the last by the time that it is looked at.
ANSWERS = 3

#: Everything that the demo writes, unless another folder is asked for.
STATE = ROOT / ".slipway" / "demo"


class DemoFailed(Exception):
    """A part of the demo failed.

    Args:
        part: Which.
        why: One line.
        log: Where more is to be read.
    """

    def __init__(self, part: str, why: str, log: Path) -> None:
        super().__init__(part, why, log)
        self.part = part
        self.why = why
        self.log = log


def run_demo(*, approve: bool, state: Path | None) -> int:
    """Run the demo; returns its exit code.

    Args:
        approve: Approve by itself, get a completion, and end; otherwise stay up until Ctrl-C.
        state: The folder for everything that it writes; what is there of an earlier demo is removed.

    Raises:
        SpecInvalid: Another demo runs in that folder.
    """
    folder = (state or STATE).resolve()
    console = PlainConsole(soft_wrap=True, width=None if sys.stdout.isatty() else 160)
    try:
        with ExitStack() as stack:
            stack.enter_context(_alone(folder))
            return _demo(console, folder, stack, approve)
    except KeyboardInterrupt:
        console.print("\nEnded; nothing is left running.")
        # 130 is what shells give for Ctrl-C; where the demo was to stay up, that is its good end.
        return 0 if not approve else 130
    except DemoFailed as exc:
        console.print(f"\nThe demo failed at {exc.part}: {exc.why}", style="red")
        console.print(f"The log: {exc.log}; everything else that was written: {folder}")
        return 1


def _demo(console: PlainConsole, folder: Path, stack: ExitStack, approve: bool) -> int:
    begin = time.monotonic()
    served = DemoConsole()
    stack.callback(served.close)
    people = ", ".join(person.name for person in PEOPLE)
    console.print(f"Console:     {served.url} (it answers in a moment; sign in as {people}; {APPROVER} is the approver)")
    # Helm keeps what it learns of a cluster under the home folder unless it is told where else.
    caches = {name: str(folder / "helm") for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "KUBECACHEDIR")}
    prefect = Prefect(folder / "prefect", {**caches, ENVIRONMENT_VARIABLE: str(_deployments(folder / "deployments"))})
    logs = folder / "prefect" / "logs"
    # Before Prefect is imported: it reads its settings then.
    os.environ.update(prefect.environment)
    with console.status("Starting Prefect, PostgreSQL, a hub and a cluster with two GPU nodes ..."), ThreadPoolExecutor(1) as beside:
        # Before it is started: whatever goes wrong from here on, nothing is left running.
        stack.callback(prefect.close)
        # Beside the rest: a server with a new SQLite took 20 s until it answered (Prefect 3.8.8, two cores).
        server = beside.submit(prefect.start)
        try:
            with _part("the sandbox (PostgreSQL, hub, cluster)", folder / "demo.log"):
                world = stack.enter_context(World(folder / "world"))
                world.hub.add(REPOSITORY, models.make_model())
            with _part("helm install of the environments", folder / "demo.log"):
                _install_environments(world, caches)
        except BaseException:
            prefect.close()  # or the start of a server that nobody needs any more would be waited for
            raise
        with _part("the start of the Prefect server", logs / "server.log"):
            server.result()
    console.print(f"Everything is up after {time.monotonic() - begin:.0f} s. State and logs: {folder}")
    console.print(f"Prefect UI:  {prefect.ui_url}")
    console.print(
        f"Latency limits: a laptop's (median {LIMITS['p50_seconds']:g} s, 95 % {LIMITS['p95_seconds']:g} s), since the engines share this "
        "machine with all of this. Those of deployments/environments are for GPUs."
    )
    with console.status("Creating the work pool, the blocks and the Prefect deployments ..."), ThreadPoolExecutor(1) as beside:
        with _part("the start of the worker", logs / "worker.log"):
            # Its log is what a collector would get.
            worker = prefect.start_worker(POOL, {"PREFECT_LOGGING_SETTINGS_PATH": str(ROOT / "deployments" / "logging.yaml")})
        # Beside the rest: `prefect deploy --all` took 7 s for six deployments (3.8.8), half of it the command's own start.
        deployed = beside.submit(prefect.run, "--no-prompt", "deploy", "--all")
        with _part("the blocks and the registry", logs / "server.log"):
            _save_blocks(world)
        with _part("prefect deploy", logs / "server.log"):
            deployed.result()
            _pause_schedules()
    with _part("the console", folder / "demo.log"):
        served.serve(stack.enter_context(RegistryClient(make_conninfo(world.postgres.dsn, options="-c role=slipway_operator"))))
    # A member of the registry's router role, as a gateway should be: it reads routes and nothing else.
    router = Router(make_conninfo(world.postgres.dsn, options="-c role=slipway_router"), _endpoint(world).target, world.loop)
    stack.callback(router.close)
    with _part("the router", folder / "demo.log"):
        router.start()
    with _part("the release", logs / "worker.log"):
        authenticator = stack.enter_context(_Authenticator(folder / "one-time-code"))
        try:
            _release(console, world, approve, authenticator, worker)
        except PipelineError as exc:
            if prefect.server.running:
                raise
            raise DemoFailed("the Prefect server", f"it ended: {prefect.server.last_words(1)}", prefect.server.log) from exc
    with _part("the completion", folder / "demo.log"):
        _complete(console, router)
    if not approve:
        console.print("\nThe demo stays up; Ctrl-C ends everything.")
        while True:
            time.sleep(3600)
    return 0


@contextmanager
def _part(name: str, log: Path) -> Iterator[None]:
    """Whatever goes wrong in a part of the demo is one line, with where its log is; the traceback goes to `demo.log`.

    Raises:
        DemoFailed: Something did.
    """
    try:
        yield
    except (DemoFailed, KeyboardInterrupt):
        raise
    except Exception as exc:
        folder = next(parent for parent in log.parents if (parent / LOCK).exists())
        with (folder / "demo.log").open("a", encoding="utf-8") as file:
            traceback.print_exception(exc, file=file)
        if isinstance(exc, PostgresUnavailable):
            name, log = "the start of PostgreSQL", folder / "world" / "postgres" / "postgres.log"
        raise DemoFailed(name, _why(exc), log) from exc


def _why(exc: Exception) -> str:
    """One line: ours is one; of a program's words, the first and the last."""
    if isinstance(exc, PipelineError):
        return exc.message
    text = str(exc)
    if isinstance(exc, subprocess.CalledProcessError):
        text = f"{Path(exc.cmd[0]).name} ended with {exc.returncode}:\n{exc.stderr.decode(errors='replace') if exc.stderr else ''}"
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(exc).__name__]
    return lines[0] if len(lines) == 1 else f"{lines[0].rstrip(':')}: {lines[-1]}"


def _deployments(folder: Path) -> Path:
    """A copy of the checkout's `deployments/` whose environments have a laptop's latency limits."""
    shutil.copytree(ROOT / "deployments", folder)
    for name in ENVIRONMENTS:
        path = folder / "environments" / f"{name}.yaml"
        environment = yaml.safe_load(path.read_text(encoding="utf-8"))
        environment["latency"] = {**environment.get("latency", {}), **LIMITS}
        said = (
            f"# deployments/environments/{name}.yaml with the latency limits of a laptop: made by the demo, and overwritten by the next.\n"
        )
        path.write_text(said + yaml.safe_dump(environment, sort_keys=False), encoding="utf-8")
    return folder


class _Authenticator:
    """Plays the phone of the demo's approver: enrols it, and keeps its present code in a file.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        from flows.approval.totp import new_secret

        self.path = path
        self._secret = new_secret()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def code(self) -> str:
        """The code of this moment."""
        from flows.approval.totp import current_code

        return current_code(self._secret, datetime.now(UTC))

    def __enter__(self) -> Self:
        from blocks.authenticators import save_authenticator

        save_authenticator(APPROVER, self._secret)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _write(self) -> None:
        while not self._ended.wait(1.0):
            # By a rename, so that nobody reads half a code.
            fresh = self.path.with_suffix(".new")
            fresh.write_text(f"{self.code()}\n")
            fresh.rename(self.path)


def _release(console: PlainConsole, world: World, approve: bool, authenticator: _Authenticator, worker: Child) -> None:
    """Release the model to all environments, with the approval between.

    Raises:
        DemoFailed: The run did not complete.
    """
    from flows.cli import follow
    from flows.runtime import client

    def stopped(now: Progress) -> bool:
        return follow.stopped(now) or not worker.running

    run_id = client.start("release/release", {"model": MODEL, "revision": "main", "requester": "make demo"})
    console.print(f"Release run: {client.run_page(run_id)}\n")
    follower = follow.Follower(run_id, console)
    seen = follower.until(stopped)
    if seen.suspended:
        console.print(f"\nStaging is verified; production waits for an approval: {client.run_page(run_id)}")
        if not approve:
            console.print(
                f"Press Resume there and fill in the form: the approver is {APPROVER}, the one-time code (a new one every "
                f"30 seconds) is in {authenticator.path}, now {authenticator.code()}. Or in another terminal: "
                f"PREFECT_API_URL={client.api_url()} {Path(sys.executable).parent / 'slipway'} approve {run_id} --as {APPROVER} "
                f"--code $(cat {authenticator.path})\n"
            )
            seen = follower.until(lambda now: now.final or not worker.running)
    answered = 0
    while seen.suspended and approve and answered < ANSWERS:
        form = {"decision": "approve", "approver": APPROVER, "code": authenticator.code(), "reason": "make demo APPROVE=yes"}
        client.resume(run_id, form)
        answered += 1
        console.print("Approved through the same form.\n")
        seen = follower.until(stopped)
    console.print()
    console.print(_summary(world, run_id))
    if not seen.final:
        why = "the form took none of the answers" if worker.running else f"the worker ended: {worker.last_words(1)}"
        raise DemoFailed("the release", f"{why}.", worker.log)
    if not seen.succeeded:
        raise DemoFailed("the release", f"{seen.state}: {seen.message}", worker.log)


def _complete(console: PlainConsole, router: Router) -> None:
    """Get a completion from production, as a client would."""
    body = {"model": MODEL, "prompt": QUESTION, "max_tokens": 8, "temperature": 0}
    console.print("\nA completion from production, routed by the registry:")
    console.print(f"curl {router.url}/v1/completions -H 'Content-Type: application/json' -d '{json.dumps(body)}'")
    # It goes to this machine: a proxy of the user's environment has no part in it.
    answer = httpx.post(f"{router.url}/v1/completions", json=body, timeout=60, trust_env=False)
    answer.raise_for_status()
    console.print(f"{QUESTION}{answer.json()['choices'][0]['text']}", style="bold")


def _pause_schedules() -> None:
    """Health is not checked each minute here: on a laptop the start of each such run would slow the engines that are being measured."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        for deployment in client.read_deployments():
            if deployment.schedules:
                client.pause_deployment(deployment.id)


def _install_environments(world: World, caches: Mapping[str, str]) -> None:
    """Make the three environments on the cluster, as anywhere: one `helm install` each."""
    for name in ENVIRONMENTS:
        command = [str(helm_executable()), "install", name, str(ROOT / "charts" / "environment"), "--namespace", f"slipway-{name}"]
        subprocess.run(
            [*command, "--create-namespace", "--kubeconfig", str(world.cluster.kubeconfig)],
            env={**os.environ, **caches},
            capture_output=True,
            check=True,
            timeout=180,
        )


def _save_blocks(world: World) -> None:
    """Save the blocks that `deployments/` names, for the sandbox."""
    from pydantic import SecretStr

    from blocks.cluster import Cluster
    from blocks.helm import Helm
    from blocks.hub import Hub
    from blocks.registry import Registry

    kubeconfig = world.cluster.kubeconfig
    with RegistryClient(world.postgres.dsn) as client:
        client.migrate()
    # As anywhere: whoever migrates owns the tables, and the pipeline has the rights of its role and no more.
    registry = Registry(dsn=SecretStr(make_conninfo(world.postgres.dsn, options="-c role=slipway_admin")))
    chart = ROOT / "charts" / "vllm-deployment"
    for block in (
        registry,
        Hub(endpoint=world.hub.url),
        Cluster(kubeconfig=kubeconfig),
        Helm(kubeconfig=kubeconfig, chart=chart, executable=str(helm_executable())),
        _endpoint(world),
    ):
        block.save("default", overwrite=True)


def _endpoint(world: World) -> Endpoint:
    """How the sandbox's endpoints are reached from outside its cluster."""
    from blocks.endpoint import Endpoint

    return Endpoint(via="service-proxy", kubeconfig=world.cluster.kubeconfig)


def _summary(world: World, run_id: UUID) -> Table:
    from blocks.facts.kinds import EventKind

    table = Table("environment", "candidate", show_edge=False)
    table.add_column("endpoint", overflow="fold")
    table.add_column("status")
    table.add_column("verdict")
    table.add_column("seconds", justify="right")
    table.add_column("evidence")
    with RegistryClient(world.postgres.dsn) as registry:
        recorded = registry.runs.events([str(run_id)], [EventKind.VERIFIED, EventKind.TIMED])
        events = {(event.kind, event.environment): event for event in recorded}
        for name in ENVIRONMENTS:
            entry = registry.current(MODEL, name)
            verified, timed = events.get((EventKind.VERIFIED, name)), events.get((EventKind.TIMED, name))
            if entry is None or verified is None or timed is None:
                table.add_row(name, "", "", "not released", "", "", "")
                continue
            table.add_row(
                name,
                (entry.fingerprint or "")[:12],
                entry.endpoint or "",
                entry.status,
                str(verified.detail["outcome"]),
                f"{timed.detail['total_seconds']:.1f}",
                str(verified.detail["evidence_sha256"])[:12],
            )
    return table


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder for one demo, and empty it of an earlier one."""
    held = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = held.open("w")
    except OSError as exc:
        raise SpecInvalid(f"The demo cannot write to {folder}: {exc.strerror}; name another folder with --state.") from exc
    with opened as lock:
        try:
            # The kernel's lock ends with the process, however that ends.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise SpecInvalid(f"Another demo runs in {folder}: end it, or choose another folder with --state.") from exc
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path != held:
                path.unlink()
        yield
