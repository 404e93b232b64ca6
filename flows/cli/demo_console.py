"""The console of the demo, and the stand-in where its people sign in; both are threads of the demo's own process."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import uvicorn
from cryptography.fernet import Fernet

from flows.console.app import console_app
from flows.console.services import open_services
from flows.console.serving import listening
from flows.console.settings import ConsoleSettings, OidcSettings
from sandbox.oidc import Person, Provider

if TYPE_CHECKING:
    import socket

    from starlette.types import ASGIApp

    from blocks.registry import RegistryClient

#: Who may sign in, with the groups of `deployments/access.yaml`; the last is the approver of `deployments/approvers.yaml`.
PEOPLE = (
    Person(name="ada", groups=("administrators",)),
    Person(name="otto", groups=("engineers",)),
    Person(name="vera"),
    Person(name="demo"),
)

_SECRET = "the demo's own"  # noqa: S105  # it opens nothing but the demo


class DemoConsole:
    """Listens from the beginning, so that its address can be told, and answers once it is served: until then, browsers wait."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._sockets = [self._open.enter_context(listening("127.0.0.1", 0)) for _ in range(2)]
        self.url, self._issuer = (f"http://127.0.0.1:{sockets[0].getsockname()[1]}" for sockets in self._sockets)

    def serve(self, registry: RegistryClient) -> None:
        """Answer, over this registry and the Prefect of the environment, until it is closed."""
        oidc = OidcSettings(issuer=self._issuer, client_id="slipway", client_secret=_SECRET)
        settings = ConsoleSettings(url=self.url, keys=(Fernet.generate_key().decode(),), oidc=oidc)
        provider = Provider(
            issuer=self._issuer, client_id="slipway", client_secret=_SECRET, redirect_uri=f"{self.url}/sign-in/callback", people=PEOPLE
        )
        console, people = self._sockets
        self._thread(provider.app, people)
        self._thread(console_app(settings, open_services(registry)), console)

    def close(self) -> None:
        """End both."""
        self._open.close()

    def _thread(self, app: ASGIApp, sockets: list[socket.socket]) -> None:
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=(sockets,), name="console", daemon=True)

        def end() -> None:
            server.should_exit = True
            thread.join(5)

        thread.start()
        self._open.callback(end)
