"""The console in the test's own process: people and machines ask it as a proxy, a browser or a program would."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx
import httpx2
from cryptography.fernet import Fernet
from fastapi import FastAPI
from starlette.testclient import TestClient

from blocks.registry import RegistryClient
from flows.console.access.proxy import GROUPS, SECRET, USER
from flows.console.access.tokens import new_token
from flows.console.app import console_app
from flows.console.services import Services
from flows.console.settings import ConsoleSettings
from flows.runtime.prefect_api import PrefectApi
from flows.runtime.prefect_settings import PrefectSettings
from flows.spec import Deployments
from flows.spec.load import ROOT

URL = "https://slipway.test"
PROXY = "10.0.0.1"
PROXY_SECRET = "the proxy's own secret, of 32 characters or more"

SETTINGS = ConsoleSettings(url=URL, keys=(Fernet.generate_key().decode(),), proxies=(ip_network(f"{PROXY}/32"),), proxy_secret=PROXY_SECRET)

ACCESS = """
grants:
  - {role: viewer, people: [vera], models: ["tiny-*"]}
  - {role: operator, people: [otto], models: ["*"], environments: [development, staging]}
  - {role: viewer, people: [otto]}
  - {role: admin, people: [ada]}
  - {role: operator, groups: [on-call]}
"""


def nowhere() -> PrefectApi:
    """A Prefect that does not answer."""
    return PrefectApi(PrefectSettings(api_url="http://127.0.0.1:9/api", client_max_retries=0))


def folder(tmp_path: Path, access: str = ACCESS, **files: str) -> Deployments:
    """The checkout's `deployments/` with these grants; `files` are others, by name without `.yaml`."""
    root = tmp_path / "deployments"
    root.mkdir(exist_ok=True)
    for name in ("models", "environments", "checks", "shared.yaml", "approvers.yaml"):
        if not (root / name).exists():
            (root / name).symlink_to(ROOT / "deployments" / name)
    for name, text in {"access": access, **files}.items():
        (root / f"{name}.yaml").unlink(missing_ok=True)
        (root / f"{name}.yaml").write_text(text)
    return Deployments(root=root)


def console(
    deployments: Deployments,
    registry: Any = None,
    prefect: PrefectApi | None = None,
    provider: httpx2.AsyncBaseTransport | None = None,
    **changes: Any,
) -> FastAPI:
    """The console with these settings changed; without a registry, whatever asks one fails."""
    services = Services(registry=registry, prefect=prefect or nowhere(), deployments=deployments, now=lambda: datetime.now(UTC))
    return console_app(replace(SETTINGS, **changes), services, provider=provider)


@dataclass
class Asking:
    """Somebody who asks the console.

    Attributes:
        app: The console.
        name: Who they are, by the proxy's word; nobody if empty.
        groups: Their groups.
        address: Where they ask from.
        headers: What they send along.
        token: What their page's forms bring along; taken from the console itself at the first write.
    """

    app: FastAPI
    name: str = ""
    groups: tuple[str, ...] = ()
    address: str = PROXY
    headers: Mapping[str, str] = field(default_factory=dict)
    token: str | None = None

    def __post_init__(self) -> None:
        self.client = TestClient(self.app, base_url=self.app.state.settings.url, client=(self.address, 50000), follow_redirects=False)

    def ask(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **request: Any) -> httpx.Response:
        """Ask; a write says that it comes from a page of the console, as a browser would."""
        known = {USER: self.name, GROUPS: ",".join(self.groups), SECRET: PROXY_SECRET} if self.name else {}
        own = {"Origin": self.app.state.settings.url, "Sec-Fetch-Site": "same-origin"} if method not in ("GET", "HEAD") else {}
        if own and self.name:
            self.token = self.token or str(self.ask("GET", "/api/v1/me").json()["csrf"])
            own["X-CSRF-Token"] = self.token
        return self.client.request(method, path, headers={**known, **own, **self.headers, **(headers or {})}, **request)  # type: ignore[return-value]

    def get(self, path: str, **request: Any) -> httpx.Response:
        """Read."""
        return self.ask("GET", path, **request)

    def post(self, path: str, **request: Any) -> httpx.Response:
        """Write."""
        return self.ask("POST", path, **request)


def cookie_of(response: httpx.Response, name: str) -> str:
    """The value of a cookie that the answer sets."""
    found = re.search(rf"(?:^|, ){re.escape(name)}=([^;]*)", response.headers.get("set-cookie", ""))
    return found[1] if found else ""


def token(registry: RegistryClient, **changes: Any) -> dict[str, str]:
    """The header of a new token."""
    made = new_token()
    given = {
        "label": "ci",
        "acts_as": "nightly",
        "role": "operator",
        "models": ["tiny-*"],
        "environments": ["staging"],
        "created_by": "ada",
    }
    until = {"expires_at": datetime.now(UTC) + timedelta(days=1)}
    registry.access.add_token(id=made.id, secret_sha256=made.sha256, **{**given, **until, **changes})  # type: ignore[arg-type]
    return {"Authorization": f"Bearer {made.secret}"}
