"""Release managers approve in real Chromium, with a real server and worker, one in each of Prefect's UIs; both are restarted meanwhile.

Then people of three roles go through the console of the same installation.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
from pydantic import SecretStr
from rich.console import Console

from blocks.authenticators import save_authenticator
from blocks.cluster import Cluster
from blocks.endpoint import Endpoint
from blocks.facts.kinds import EventKind
from blocks.helm import Helm
from blocks.hub import Hub
from blocks.registry import Registry, RegistryClient
from flows.approval.totp import current_code, new_secret
from flows.cli import follow
from flows.cli.follow import Follower
from flows.runtime import client
from flows.spec.load import ROOT
from sandbox import models
from sandbox.helm import helm_executable
from sandbox.prefect import SAVED_BLOCKS_ALONE, Prefect
from sandbox.world import World
from tests.support.console_journey import Journey, console_at, go
from tests.support.environments import install_environments
from tests.support.waiting import HANGS_SECONDS

if TYPE_CHECKING:
    from playwright.sync_api import Locator

BUILD = ROOT / "build"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MODEL = "tiny-llama"


@dataclass
class Office:
    """An installation of its own: Prefect with a worker, a world, and two approvers."""

    prefect: Prefect
    world: World
    database: str
    secrets: dict[str, str]
    deployments: Path

    def start_worker(self) -> None:
        self.worker = self.prefect.start_worker("slipway")

    def restart(self) -> None:
        """Restart Prefect's server and the worker, as a night's maintenance does."""
        self.worker.close()
        self.prefect.server.close()
        self.prefect.start()
        self.start_worker()


@pytest.fixture
def office(world: World, new_prefect_database: Path, tmp_path: Path) -> Iterator[Office]:
    deployments = tmp_path / "deployments"
    shutil.copytree(ROOT / "deployments", deployments)
    path = deployments / "environments" / "production.yaml"
    production = yaml.safe_load(path.read_text())
    policy = {"after": None, "namespace": "browser", "values": {"replicas": 1}, "approval": {"required": True, "approvals": 2}}
    path.write_text(yaml.safe_dump({**production, **policy}))
    people = [{"name": name, "roles": ["release-manager"], "environments": ["production"]} for name in ("demo", "desk", "ann", "bob")]
    (deployments / "approvers.yaml").write_text(yaml.safe_dump({"approvers": people}))
    settings = {"SLIPWAY_DEPLOYMENTS": str(deployments), **SAVED_BLOCKS_ALONE}
    with ExitStack() as stack:
        prefect = Prefect(tmp_path / "prefect", settings)
        shutil.copy(new_prefect_database, prefect.database)
        stack.enter_context(prefect)
        stack.enter_context(temporary_settings({PREFECT_API_URL: prefect.api_url, PREFECT_HOME: tmp_path / "home"}))
        database = world.postgres.create_database("browser")
        with RegistryClient(database) as registry:
            registry.migrate()
        world.hub.add("slipway-demo/tiny-llama", models.make_model())
        kubeconfig = world.cluster.kubeconfig
        install_environments(world, ["browser"])
        chart = ROOT / "charts" / "vllm-deployment"
        for block in (
            Registry(dsn=SecretStr(database)),
            Hub(endpoint=world.hub.url),
            Cluster(kubeconfig=kubeconfig),
            Helm(kubeconfig=kubeconfig, chart=chart, executable=str(helm_executable())),
            Endpoint(via="service-proxy", kubeconfig=kubeconfig),
        ):
            block.save("default")
        secrets = {str(person["name"]): new_secret() for person in people}
        for name, secret in secrets.items():
            save_authenticator(name, secret)
        made = Office(prefect=prefect, world=world, database=database, secrets=secrets, deployments=deployments)
        made.start_worker()
        prefect.run("--no-prompt", "deploy", "--name", "release", "--name", "rollback")
        yield made


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; tests/flows/test_approval.py takes the same way over REST")
def test_release_managers_approve_in_the_browser(office: Office) -> None:
    from playwright.sync_api import expect, sync_playwright

    # given a release that waits for approval
    parameters = {"model": MODEL, "revision": "main", "environments": ["production"], "requester": "zoe"}
    run_id = client.start("release/release", parameters)
    follower = Follower(run_id, Console())
    assert follower.until(follow.stopped).suspended

    # and a server and a worker that were restarted since
    office.restart()

    # when the release manager finds the run in the UI, reads what it is about and fills in the form
    with sync_playwright() as driver:
        # Without the run's graph, which a processor would draw and draw again; what is looked at here is the form.
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-3d-apis"])
        page = browser.new_page(viewport={"width": 1400, "height": 1300})
        page.route("**/*", lambda route: route.continue_() if "127.0.0.1" in route.request.url else route.abort())
        page.set_default_timeout(HANGS_SECONDS * 1000)
        expect.set_options(timeout=HANGS_SECONDS * 1000)  # the form's text comes with a request of its own
        page.goto(f"{office.prefect.ui_url}/runs/flow-run/{run_id}")
        page.get_by_role("button", name="Resume").click()
        form = page.get_by_role("dialog")
        expect(form).to_contain_text("Release tiny-llama to production?")
        expect(form).to_contain_text("asked for by")
        field(form, "Decision").locator(".p-select-button__control").press("ArrowDown")
        page.get_by_role("option", name="approve", exact=True).click()
        field(form, "Approver").locator("textarea").fill("demo")
        field(form, "Code").locator("textarea").fill(current_code(office.secrets["demo"], datetime.now(UTC)))
        field(form, "Reason").locator("textarea").fill("verified in staging")
        BUILD.mkdir(exist_ok=True)
        page.screenshot(path=BUILD / "approval-form.png")
        hand_in(form, "Submit")

        # and another one in the UI that Prefect opens first, who forgets to decide at first
        assert follower.until(lambda now: now.suspended and opened(run_id) == 2).suspended
        page.goto(f"{office.prefect.ui_url}/v2/runs")
        page.get_by_text("release tiny-llama main").first.click()
        page.get_by_role("button", name="Open menu").click()
        page.get_by_role("menuitem", name="Resume").click()
        form = page.get_by_role("dialog")
        expect(form).to_contain_text("demo approved at")
        form.get_by_label("Approver").fill("desk")
        form.get_by_label("Code").fill("000000")
        form.get_by_role("button", name="Resume").click()
        expect(page.get_by_text("'decision' is a required property").first).to_be_visible()
        form.get_by_role("button", name="Select Decision").click()
        page.get_by_role("option", name="approve", exact=True).click()
        page.screenshot(path=BUILD / "approval-form-v2.png")
        form.get_by_label("Code").fill(current_code(office.secrets["desk"], datetime.now(UTC)))
        hand_in(form, "Resume")

        # then the worker that came up since takes the release to production
        ended = follower.until(lambda now: now.final or (now.suspended and opened(run_id) > 2))
        assert ended.succeeded, ended.message or "it asks again"
        page.goto(f"{office.prefect.ui_url}/runs/flow-run/{run_id}")
        expect(page.get_by_text("Completed").first).to_be_visible()
        page.screenshot(path=BUILD / "approval-done.png")
        page.close()

        # and another revision takes the same way through the console
        files = models.make_model()
        office.world.hub.add("slipway-demo/tiny-llama", {**files, "README.md": files["README.md"] + b"Another revision."})
        with console_at(office.deployments, office.database, office.prefect.api_url) as url:
            journey = Journey(browser=browser, url=url, secrets=office.secrets, pictures=BUILD)
            through_console = go(journey, MODEL)
        browser.close()
    assert journey.found == {}
    with RegistryClient(office.database) as registry:
        assert sorted(entry.status for entry in registry.entries(model=MODEL)) == ["disabled", "ready"]
        of_console = registry.events.latest(run_id=through_console)
        (rolled_back,) = registry.runs.events(
            {event.run_id for event in registry.events.latest(MODEL) if event.run_id}, [EventKind.ROLLED_BACK]
        )
        events = registry.events.latest(run_id=str(run_id))
        assert registry.audit.verify().broken is None
    assert [event.detail["requester"] for event in of_console if event.kind == "approval_requested"] == ["otto"]
    answered = [(event.kind, event.actor) for event in reversed(of_console) if event.kind in ("approval_refused", "approved")]
    assert answered == [("approval_refused", None), ("approved", "ann"), ("approved", "bob")]
    assert rolled_back.detail["reason"] == "answers are worse"
    approved = [(event.actor, event.detail.get("reason")) for event in reversed(events) if event.kind == "approved"]
    assert approved == [("demo", "verified in staging"), ("desk", "")]
    order = [event.kind for event in reversed(events) if event.kind in ("approved", "approval_granted", "ready")]
    assert order == ["approved", "approved", "approval_granted", "ready"]


def hand_in(form: Locator, button: str) -> None:
    """Press the button until the form is gone: a browser does not ask again where Prefect's SQLite is busy (HTTP 503), people do."""
    from playwright.sync_api import TimeoutError as StillThere

    for _ in range(30):
        form.get_by_role("button", name=button).click()
        with suppress(StillThere):
            return form.wait_for(state="hidden", timeout=8_000)
    raise AssertionError(f"the form is not taken: {form.inner_text()}")


def opened(run_id: UUID) -> int:
    """How many forms the run has suspended itself with."""
    with get_client(sync_client=True) as prefect:
        return len(prefect.read_flow_run(run_id).empirical_policy.pause_keys or ())


def field(form: Locator, name: str) -> Locator:
    """A field of Prefect's form; its labels are not tied to its inputs."""
    return form.locator(".p-label.schema-form-property").filter(has_text=re.compile(f"^{name}"))
