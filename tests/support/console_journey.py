"""Three people go through the console in real Chromium: one may only look, one releases and rolls back, two decide."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet

from blocks.registry import RegistryClient
from flows.approval.totp import current_code
from flows.console.app import console_app
from flows.console.services import Services
from flows.console.settings import ConsoleSettings, OidcSettings
from flows.runtime.prefect_api import PrefectApi
from flows.runtime.prefect_settings import PrefectSettings
from flows.spec import Deployments
from sandbox.oidc import Person, Provider
from sandbox.serving import HttpServer, LoopThread
from tests.support.axe import barriers

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

#: Who may what: `vera` looks, `otto` operates, `ann` and `bob` are approvers, who may look as well.
GRANTS = """
grants:
  - {role: viewer, people: [vera, ann, bob]}
  - {role: operator, people: [otto]}
"""
LARGEST_PAGE = 100_000
#: A worker takes a run up within ten seconds, and a release takes seconds; on cores that others use, more.
PATIENCE_MS = 90_000


@contextmanager
def console_at(deployments: Path, database: str, prefect_api: str) -> Iterator[str]:
    """The console with a provider to sign in at, both on addresses of their own; yields the console's."""
    (deployments / "access.yaml").write_text(GRANTS)
    url, issuer = _free_address(), _free_address()
    secret = Fernet.generate_key().decode()
    oidc = OidcSettings(issuer=issuer, client_id="slipway", client_secret=secret)
    people = [Person(name=name) for name in ("vera", "otto", "ann", "bob")]
    provider = Provider(issuer=issuer, client_id="slipway", client_secret=secret, redirect_uri=f"{url}/sign-in/callback", people=people)
    with ExitStack() as stack:
        registry = stack.enter_context(RegistryClient(database))
        prefect = PrefectApi(PrefectSettings(api_url=prefect_api))
        services = Services(registry=registry, prefect=prefect, deployments=Deployments(root=deployments))
        app = console_app(ConsoleSettings(url=url, keys=(Fernet.generate_key().decode(),), oidc=oidc), services)
        loop = stack.enter_context(LoopThread())
        for each, address in ((provider.app, issuer), (app, url)):
            server = HttpServer(each, loop, port=int(address.rsplit(":", 1)[1]))
            server.start()
            stack.callback(server.close)
        yield url


def _free_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@dataclass
class Journey:
    """What somebody sees on the way; every page is tried for barriers and for its weight, and kept as pictures.

    Attributes:
        browser: Chromium.
        url: The console.
        secrets: Those of the approvers' authenticators.
        pictures: Where pictures go.
        found: Barriers and heavy pages, by page.
    """

    browser: Browser
    url: str
    secrets: dict[str, str]
    pictures: Path
    found: dict[str, Any] = field(default_factory=dict)

    def signed_in(self, name: str) -> Page:
        """A browser of theirs: it is led to the provider from the page that it asked for, and back."""
        page = self.browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"{self.url}/runs")
        page.get_by_role("link", name="Sign in").click()
        page.get_by_role("link", name=name).click()
        page.get_by_role("heading", name="Runs").wait_for()
        return page

    def look(self, page: Page, name: str) -> None:
        """Try the page that is shown in light, in dark and at a phone's width."""
        size = len(page.content().encode())
        if size >= LARGEST_PAGE:
            self.found[name] = size
        for scheme, width in (("light", 1280), ("dark", 1280), ("light", 390)):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            page.set_viewport_size({"width": width, "height": 900})
            if lines := barriers(page):
                self.found[f"{name}, {scheme}, {width} px"] = lines
                print(name, lines)  # also where the way ends early
            if page.evaluate("document.documentElement.scrollWidth") > width:
                self.found[f"{name} at {width} px"] = "is wider than its window"
            page.screenshot(path=self.pictures / f"console-{name}-{scheme}-{width}.png", full_page=True)
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": 1280, "height": 900})

    def decide(self, page: Page, run: str, decision: str, code: str, reason: str) -> None:
        """Fill in the form of the run that waits, once it does, and hand it in."""
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while True:
            page.goto(f"{self.url}/approvals/{run}")
            page.locator(f"input[name=decision][value={decision}]").check()
            page.get_by_role("textbox", name="Why").fill(reason)
            page.get_by_label("One-time code").fill(code)
            page.get_by_role("button", name="Hand in").click()
            if page.url.endswith(f"/runs/{run}"):
                return
            # The run is just being suspended or woken.
            assert "try again" in page.inner_text("main"), page.inner_text("main")
            assert time.monotonic() < deadline
            time.sleep(0.5)

    def code_of(self, name: str) -> str:
        """What their authenticator shows now."""
        return current_code(self.secrets[name], datetime.now(UTC))


def go(journey: Journey, model: str) -> str:
    """The whole way; returns the id of the release's run."""
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE_MS)
    # one who may look sees all of it, and nothing that does anything
    vera = journey.signed_in("vera")
    vera.goto(f"{journey.url}/models/{model}")
    expect(vera.get_by_text("Roll back")).to_have_count(0)
    journey.look(vera, "model")
    for name, path in (("fleet", "/"), ("runs", "/runs"), ("nodes", "/nodes"), ("record", "/record")):
        vera.goto(f"{journey.url}{path}")
        journey.look(vera, name)
    vera.locator("main a[href^='/record/']").first.click()
    expect(vera.get_by_text("It holds.")).to_be_visible()
    journey.look(vera, "event")

    # an operator starts a release with the keyboard alone, and watches it, without loading the page anew, until people are asked
    otto = journey.signed_in("otto")
    otto.goto(f"{journey.url}/release?model={model}")
    journey.look(otto, "release-form")
    otto.get_by_label("production").focus()
    otto.keyboard.press("Space")
    otto.get_by_role("button", name="Release", exact=True).focus()
    otto.keyboard.press("Enter")
    otto.wait_for_url(re.compile(r"/runs/[0-9a-f-]{36}$"))
    run = otto.url.rsplit("/", 1)[1]
    expect(otto.get_by_text("It waits for people")).to_be_visible()
    expect(otto.locator(".steps .s-waiting")).to_contain_text("people are asked")
    journey.look(otto, "run-waits")
    otto.get_by_role("link", name="See what it changes").click()
    expect(otto.get_by_text("You may not approve it")).to_be_visible()

    # an approver reads what it changes, mistypes the code, and is told that the answer was refused
    ann = journey.signed_in("ann")
    ann.goto(f"{journey.url}/approvals")
    journey.look(ann, "approvals")
    ann.goto(f"{journey.url}/approvals/{run}")
    expect(ann.get_by_role("region", name="What it changes")).to_contain_text("hub revision")
    journey.look(ann, "approval")
    journey.decide(ann, run, "approve", "000000", "verified in staging")
    told = ann.get_by_text("The last answer was not accepted: the one-time code is wrong")
    _until_there(ann, f"{journey.url}/approvals/{run}", lambda: told.count() > 0)
    journey.look(ann, "approval-refused")
    journey.decide(ann, run, "approve", journey.code_of("ann"), "verified in staging")
    bob = journey.signed_in("bob")
    _until_there(bob, f"{journey.url}/approvals/{run}", lambda: "1 of 2 approvals" in bob.inner_text("main"))
    journey.decide(bob, run, "approve", journey.code_of("bob"), "")

    # then it goes to production, which the run's page shows as it happens
    expect(bob.locator(".badge").first).to_have_text("completed")
    expect(bob.locator(".steps .s-done")).to_have_count(7)
    journey.look(bob, "run-done")
    bob.get_by_role("region", name="Verifications").get_by_role("link").last.click()
    expect(bob.get_by_role("heading", name="How to check this page")).to_be_visible()
    journey.look(bob, "evidence")

    # and the operator takes it back
    otto.goto(f"{journey.url}/models/{model}")
    otto.get_by_text("Roll back", exact=True).click()
    otto.get_by_role("textbox", name="Why").fill("answers are worse")
    journey.look(otto, "model-operated")
    otto.get_by_role("button", name="Roll back production").click()
    expect(otto.locator(".badge").first).to_have_text("completed")
    journey.look(otto, "run-rolled-back")
    otto.get_by_role("button", name="Sign out").click()
    otto.goto(f"{journey.url}/")
    expect(otto.get_by_role("link", name="Sign in")).to_be_visible()
    journey.look(otto, "signed-out")
    return run


def _until_there(page: Page, address: str, there: Any) -> None:
    """Load the page until it shows what a run that wakes up has recorded."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while True:
        page.goto(address)
        if there():
            return
        assert time.monotonic() < deadline, page.inner_text("main")
        time.sleep(1)
