"""`slipway serve`: the console's API and pages."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from flows.cli.output import say
from flows.cli.shared import open_registry
from flows.errors import SpecInvalid


def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 4300,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    new_key: Annotated[bool, typer.Option("--new-key", help="Print a new key for SLIPWAY_CONSOLE_KEYS_FILE, and end.")] = False,
) -> None:
    """Serve the console: what Slipway knows as an API and as pages. TLS is the proxy's before it."""
    if new_key:
        from cryptography.fernet import Fernet

        say(Fernet.generate_key().decode())
        return
    from flows.console.app import console_app
    from flows.console.services import open_services
    from flows.console.serving import listening, serve_until_ended
    from flows.console.settings import console_settings
    from flows.spec import Deployments

    settings = console_settings()
    Deployments.default().access()  # refuses a file that is wrong before anything listens
    with open_registry() as registry:
        if missing := registry.missing_migrations():
            raise SpecInvalid(f"The registry lacks {', '.join(missing)}: run slipway migrate first.")
        _log()
        with listening(host, port) as sockets:
            say(f"{settings.url} (listening on {host}:{sockets[0].getsockname()[1]})")
            serve_until_ended(console_app(settings, open_services(registry)), sockets)


def _log() -> None:
    """A line of JSON for each request on the standard error output."""
    from flows.runtime.json_logs import JsonLines

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("flows.console").setLevel(logging.INFO)
