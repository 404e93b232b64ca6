"""The commands of operators and of those who keep watch: disable, enable, monitor, exporter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import by_console
from flows.cli.console_client import console_client
from flows.cli.output import say, say_json
from flows.cli.shared import AsJson, open_registry, open_registry_of_file, require_prefect
from flows.errors import SpecInvalid

if TYPE_CHECKING:
    from blocks.registry import Entry


def add_commands(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (disable, enable, monitor, exporter):
        app.command()(command)


def disable(
    model: Annotated[str, typer.Argument(help="A model of the registry.")],
    reason: Annotated[str, typer.Option(help="Why; routers tell it to their callers.")],
    actor: Annotated[str | None, typer.Option("--as", help="Who takes it out; kept in the registry. A console knows it.")] = None,
    environment: Annotated[str, typer.Option(help="Where.")] = "production",
    as_json: AsJson = False,
) -> None:
    """Take a model out of routing until it is enabled again; routers answer 503 with the reason."""
    console = console_client()
    who = by_console.named(actor, console)
    if console is not None:
        by_console.switch(console, "disable", model, environment, reason, as_json)
        return
    with open_registry() as registry:
        entry = registry.switch.disable(model, environment, reason=reason, actor=who)
    _switched(model, environment, entry, f"{model} is out of {environment}: {entry.status_reason}", as_json)


def enable(
    model: Annotated[str, typer.Argument(help="A model that was disabled.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the registry.")],
    actor: Annotated[str | None, typer.Option("--as", help="Who puts it back; kept in the registry. A console knows it.")] = None,
    environment: Annotated[str, typer.Option(help="Where.")] = "production",
    as_json: AsJson = False,
) -> None:
    """Put a disabled model back into routing, if it answers."""
    import asyncio

    console = console_client()
    who = by_console.named(actor, console)
    if console is not None:
        by_console.switch(console, "enable", model, environment, reason, as_json)
        return
    require_prefect()

    from flows.health.enable import enable
    from flows.runtime.client import prefect_client

    with prefect_client():
        entry = asyncio.run(enable(model, environment, reason, who))
    if entry is None:
        said = f"{model} may serve in {environment} again, but a failed release took its endpoint: release it."
    else:
        said = f"{model} is {entry.status} in {environment}."
    _switched(model, environment, entry, said, as_json)


def monitor(
    interval: Annotated[float, typer.Option(min=1, help="Seconds from the beginning of a round to that of the next.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Check the health of everything that is routed, again and again; the same as the flow of that name, without its start-up."""
    import asyncio
    import signal
    import threading
    from dataclasses import asdict

    require_prefect()

    from flows.health.tasks import Round
    from flows.monitor import connections, keep_watch
    from flows.runtime.client import prefect_client

    with prefect_client():
        registry, ways, cache = asyncio.run(connections())
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())

    def tell(seen: Round) -> None:
        if as_json:
            say_json(asdict(seen))
        else:
            say(seen.message)

    keep_watch(registry, ways, cache, interval_seconds=interval, tell=tell, ended=ended)


def exporter(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 9108,
    address: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",  # noqa: S104  # Prometheus comes from elsewhere
    dsn_file: Annotated[
        Path | None, typer.Option(help="A file with the registry's connection string; without it, Prefect's block.")
    ] = None,
) -> None:
    """Serve metrics for Prometheus at /metrics until it is ended."""
    import signal
    import threading

    from flows.metrics.exporter import Exporter
    from flows.metrics.server import metrics_server

    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with open_registry_of_file(dsn_file) if dsn_file else open_registry() as registry:
        figures = Exporter(registry)
        figures.catch_up()
        try:
            server = metrics_server(address, port, figures.metrics)
        except (OSError, UnicodeError) as exc:
            why = getattr(exc, "strerror", None) or "it is no address"
            raise SpecInvalid(f"The exporter cannot listen on {address}:{port} ({why}): choose another with --port.") from exc
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
        say(f"http://{address}:{server.server_port}/metrics")
        ended.wait()
        server.shutdown()


def _switched(model: str, environment: str, entry: Entry | None, said: str, as_json: bool) -> None:
    line = {"model": model, "environment": environment, "status": entry.status if entry else None}
    if as_json:
        say_json({**line, "candidate": entry.fingerprint if entry else None})
    else:
        say(said)
