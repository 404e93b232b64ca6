"""What the benchmarks that measure flows share: a whole sandbox with a site in it, or several, and the report."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.whole_sandbox import whole_sandbox

if TYPE_CHECKING:
    from tests.flows.conftest import Site


@contextmanager
def bench_site() -> Iterator[Site]:
    """A site of its own in a sandbox of its own."""
    with bench_sites(1) as (site,):
        yield site


@contextmanager
def bench_sites(number: int) -> Iterator[list[Site]]:
    """Sites that share a sandbox; runs in this process take the deployments of the last one."""
    print("Starting Prefect, PostgreSQL, a hub and a cluster ...", file=sys.stderr, flush=True)
    quiet = {"PREFECT_LOGGING_LEVEL": "WARNING"}
    with (
        tempfile.TemporaryDirectory(prefix="slipway-bench-", ignore_cleanup_errors=True) as name,
        whole_sandbox(Path(name), quiet) as (_, world),
        ExitStack() as stack,
    ):
        import pytest

        from tests.flows.conftest import deploy_flows, open_site

        patch, deployments = stack.enter_context(pytest.MonkeyPatch.context()), deploy_flows()
        sites = []
        for index in range(number):
            folder = Path(name) / f"site-{index}"
            folder.mkdir()
            sites.append(stack.enter_context(open_site(world, deployments, folder, patch)))
        yield sites


def report(figures: Iterator[Mapping[str, object]], path: Path) -> int:
    """Print the figures and write them as JSON lines; 1 if one says that a promise is not kept."""
    path.parent.mkdir(exist_ok=True)
    kept = True
    with path.open("w") as results:
        for figure in figures:
            print(json.dumps(figure), file=results, flush=True)
            print(json.dumps(figure), flush=True)
            kept = kept and figure.get("met") is not False
    return 0 if kept else 1
