"""A site whose runs are killed: everything that they talk to is behind proxies, and every leg is a process of its own."""

from __future__ import annotations

import asyncio
import os
import random
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import UUID

import psutil
import pytest
import trustme
import yaml
from kubernetes.config import new_client_from_config
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.settings import get_current_settings
from prefect.states import Crashed, Pending, Scheduled
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from blocks.argocd import Argo
from blocks.cluster import Cluster
from blocks.endpoint import Endpoint
from blocks.gitops import GitOps
from blocks.helm import Helm
from blocks.hub import Hub
from blocks.registry import Registry
from flows.spec.load import ROOT
from sandbox.forge import Forge
from sandbox.git import BareRepository
from sandbox.helm import helm_executable
from sandbox.kubernetes.meta.certificates import certificate_files
from sandbox.models import Knowledge
from sandbox.router import Router
from sandbox.serving import LoopThread
from sandbox.world import World
from tests.chaos.clock import Clock
from tests.chaos.facts import Seen
from tests.chaos.happenings import Machines
from tests.chaos.http_reader import HttpReader, cluster_request, git_request, hub_request, prefect_request
from tests.chaos.legs import Leg, Zygote
from tests.chaos.look import look
from tests.chaos.postgres_reader import PostgresReader
from tests.chaos.proxy import Proxy
from tests.chaos.traffic import Traffic
from tests.chaos.trap import Snare, Trap
from tests.flows.conftest import Site, open_site
from tests.gitops.layout import applied

#: How often a run is picked up before it is given up.
PICK_UPS = 4

#: When a Helm operation of a killed run counts as dead. One that lives on (an orphan) ends within a second here.
HELM_DEAD_SECONDS = 3.0

#: The environment variable with the file of authorities that git trusts, for Argo CD's stand-in; legs do not see it.
AUTHORITIES = "GIT_SSL_CAINFO"

#: Prefect registers a block's type with its first block, and stumbles where two do so at the same time.
_OPENING = threading.Lock()


class Lane:
    """One site with its proxies; legs run one at a time.

    Args:
        site: The site; its blocks are saved anew, to go through the proxies.
        zygote: Where legs come from.
        loop: Where the proxies serve.
        folder: For files.
        home: Prefect's home of all legs; what each keeps for itself is in a folder of its own.
        machines: What may happen to the world.

    Attributes:
        clock: The clock of the legs.
    """

    def __init__(self, site: Site, zygote: Zygote, loop: LoopThread, folder: Path, home: Path, machines: Machines) -> None:
        self.site = site
        self.machines = machines
        self.trap = Trap()
        self.leg: Leg | None = None
        self._zygote = zygote
        self._folder = folder
        self.clock = Clock(folder / "clock")
        self._home = home
        self._words = _words(site.name)
        self._open = ExitStack()
        self._pids: set[int] = set()
        self._loop = loop
        self.followed: BareRepository | None = None
        self._make_proxies(site.world, loop)
        self._save_blocks(site)
        self.said: dict[str, str] = {}

    def _make_proxies(self, world: World, loop: LoopThread) -> None:
        api = urlsplit(world.cluster.url)
        inner = ssl.create_default_context(cafile=str(world.cluster.ca_file))
        authority = trustme.CA(organization_name="chaos")
        outer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with certificate_files(authority.issue_cert("127.0.0.1")) as (chain, key):
            outer.load_cert_chain(chain, key)
        prefect = urlsplit(str(get_current_settings().api.url))
        hub = urlsplit(world.hub.url)
        socket = f"{conninfo_to_dict(self.site.database)['host']}/.s.PGSQL.5432"

        def proxy(reader: Callable[[], Any], connect: Callable[[], Any], tls: ssl.SSLContext | None = None) -> Proxy:
            made = Proxy(loop, self.trap, reader, connect, tls)
            self._open.callback(made.close)
            return made

        self.cluster = proxy(lambda: HttpReader(cluster_request), lambda: asyncio.open_connection(api.hostname, api.port, ssl=inner), outer)
        self.prefect = proxy(lambda: HttpReader(prefect_request), lambda: asyncio.open_connection(prefect.hostname, prefect.port))
        self.hub = proxy(lambda: HttpReader(hub_request), lambda: asyncio.open_connection(hub.hostname, hub.port))
        self.registry = proxy(PostgresReader, lambda: asyncio.open_unix_connection(socket))
        self.proxies = {"cluster": self.cluster, "prefect": self.prefect, "hub": self.hub, "registry": self.registry}
        document = yaml.safe_load(world.cluster.kubeconfig.read_text())
        self._outer, self._authority_file = outer, self._folder / "chaos-ca.pem"
        authority.cert_pem.write_to_path(str(self._authority_file))
        document["clusters"][0]["cluster"] = {
            "server": f"https://127.0.0.1:{self.cluster.port}",
            "certificate-authority": str(self._authority_file),
        }
        self._kubeconfig = self._folder / "kubeconfig"
        self._kubeconfig.touch(mode=0o600)
        self._kubeconfig.write_text(yaml.safe_dump(document))

    def _save_blocks(self, site: Site) -> None:
        dsn = make_conninfo(
            site.database,
            host="127.0.0.1",
            port=self.registry.port,
            sslmode="disable",
            gssencmode="disable",
            options="-c role=slipway_admin",
        )
        chart = ROOT / "charts" / "vllm-deployment"
        for block in (
            Registry(dsn=SecretStr(dsn)),
            Hub(endpoint=f"http://127.0.0.1:{self.hub.port}"),
            Cluster(kubeconfig=self._kubeconfig),
            Helm(kubeconfig=self._kubeconfig, chart=chart, executable=str(helm_executable()), dead_after_seconds=HELM_DEAD_SECONDS),
            Endpoint(via="service-proxy", kubeconfig=self._kubeconfig),
        ):
            block.save(site.blocks, overwrite=True)

    def follow(self, environment: str) -> None:
        """Have Argo CD deliver the environment from now on, from a repository of this lane, which only the pipeline reaches by a proxy."""
        if self.followed is not None:
            return
        world = self.site.world
        forge = Forge(self._folder / "forge", world.loop)
        self._open.callback(forge.close)
        with Path(os.environ[AUTHORITIES]).open("a") as known:  # Argo CD's stand-in reads past the proxy
            known.write(forge.ca_file.read_text())
        inner, address = ssl.create_default_context(cafile=str(forge.ca_file)), urlsplit(forge.url)
        git = Proxy(
            self._loop,
            self.trap,
            lambda: HttpReader(git_request),
            lambda: asyncio.open_connection(address.hostname, address.port, ssl=inner),
            self._outer,
        )
        self._open.callback(git.close)
        self.proxies["Git"] = git
        self.followed = forge.repository
        self.followed.commit({"README.md": "Models\n"}, "what it begins with")
        world.start_argo()
        with _OPENING:
            url = f"https://127.0.0.1:{git.port}{address.path}"
            GitOps(url=url, ca_file=self._authority_file, timeout_seconds=20).save(self.site.blocks)
            Argo(kubeconfig=self._kubeconfig).save(self.site.blocks)
        self.site.edit(f"environments/{environment}.yaml", delivery="argocd")
        api = self._open.enter_context(new_client_from_config(str(world.cluster.kubeconfig)))
        self._open.enter_context(applied(api, environment, self.site.model, forge.url, f"{environment}-{self.site.name}"))

    def router(self, environment: str) -> str:
        """The address of the reference router of an environment."""
        resolve = Endpoint(via="service-proxy", kubeconfig=self.site.world.cluster.kubeconfig).target
        router = Router(make_conninfo(self.site.database, options="-c role=slipway_router"), resolve, self.site.world.loop, environment)
        self._open.callback(router.close)
        router.start()
        return router.url

    def publish(self, **wrong: str) -> str:
        """Publish a revision that says of Japan's capital what no other one says, and wrong ones of other countries; its commit."""
        word = next(self._words)
        commit = self.site.publish(knowledge=Knowledge().but(Japan=word, **wrong))
        self.said[commit] = f" {word}."
        return commit

    def begin(self, flow: str, run: FlowRun, *, snare: Snare | None = None, die: str | None = None) -> Leg:
        """Begin to execute the run in a new process."""
        self.trap.arm(snare)
        self.site.client.set_flow_run_state(run.id, Pending(), force=True)
        self.leg = self._zygote.begin(
            flow,
            str(run.id),
            api=f"http://127.0.0.1:{self.prefect.port}/api",
            home=self._home,
            environment={"SLIPWAY_DEPLOYMENTS": str(self.site.deployments)},
            die=die,
            log=self._folder / "legs.log",
            clock=self.clock.file,
            heard=self.trap.heard,
        )
        return self.leg

    def execute(self, flow: str, run: FlowRun, *, snare: Snare | None = None, die: str | None = None) -> State[Any]:
        """Execute the run in a new process until that ends; the run's state then."""
        leg = self.begin(flow, run, snare=snare, die=die)
        leg.wait()
        if leg.pid is not None:
            self._pids.add(leg.pid)
        return self.state(run)

    def kill(self, *, group: bool = True) -> Callable[[], None]:
        """What kills the leg that runs."""

        def kill() -> None:
            assert self.leg is not None
            self.leg.kill(group=group)

        return kill

    def pick_up(self, flow: str, run: FlowRun) -> int:
        """What the sweep does for a run whose process is gone: crashed, and again, until it ends or waits for people; how often."""
        for times in range(PICK_UPS):
            state = self.state(run)
            if (state.is_final() and state.type is not StateType.CRASHED) or state.is_paused():
                return times
            if state.type in (StateType.RUNNING, StateType.PENDING):
                self.site.client.set_flow_run_state(run.id, Crashed(message="Its process is gone"), force=True)
            if state.type is not StateType.SCHEDULED:
                self.site.client.set_flow_run_state(run.id, Scheduled(name="AwaitingRetry"), force=True)
            self.execute(flow, run)
        return PICK_UPS

    def state(self, run: FlowRun) -> State[Any]:
        """The run's state now."""
        state = self.site.client.read_flow_run(run.id).state
        assert state is not None
        return state

    @contextmanager
    def traffic(self, router: str, *commits: str) -> Iterator[Traffic]:
        """Somebody uses the model while the block runs."""
        with Traffic(router, self.site.model, {self.said[commit] for commit in commits}) as traffic:
            yield traffic

    def look(self, environment: str, run: FlowRun, traffic: Traffic | None = None) -> Seen:
        """What is there now, once processes that end have ended."""
        deadline = time.monotonic() + 10
        while (left := self._left()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return look(self.site, environment, run, traffic, left, self.followed)

    def _left(self) -> list[str]:
        """What still runs of the process groups of this lane's legs."""
        found = []
        for process in psutil.process_iter():
            try:
                if os.getpgid(process.pid) in self._pids and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline())[:120])
            except (psutil.Error, ProcessLookupError):
                continue
        return found

    def close(self) -> None:
        """End the proxies and the routers."""
        if self.leg is not None and self.leg.running:
            self.leg.kill()
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


@contextmanager
def open_lane(
    machines: Machines, deployments: Mapping[str, UUID], zygote: Zygote, loop: LoopThread, home: Path, folder: Path | None = None
) -> Iterator[Lane]:
    """A lane on a new site of the world, which is gone after the block."""
    with ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slipway-chaos-")))
        patch = pytest.MonkeyPatch()
        stack.callback(patch.undo)
        with _OPENING:
            site = stack.enter_context(open_site(machines.world, dict(deployments), place, patch))
            lane = stack.enter_context(Lane(site, zygote, loop, place, home, machines))
        yield lane


def _words(seed: str) -> Iterator[str]:
    """City names that nobody has heard of, a new one each time."""
    draw = random.Random(seed)
    seen: set[str] = set()
    while True:
        word = "".join(draw.choice(letters) for letters in ("KLMNPRST", "aeiou", "klmnprst", "aeiou"))
        if word not in seen:
            seen.add(word)
            yield word
