"""What the benchmarks that measure flows share: a whole sandbox with one site in it, and the report."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.whole_sandbox import whole_sandbox

if TYPE_CHECKING:
    from tests.flows.conftest import Site


@contextmanager
def bench_site() -> Iterator[Site]:
    """A site of its own in a sandbox of its own."""
    print("Starting Prefect, PostgreSQL, a hub and a cluster ...", file=sys.stderr, flush=True)
    quiet = {"PREFECT_LOGGING_LEVEL": "WARNING"}
    with (
        tempfile.TemporaryDirectory(prefix="slipway-bench-", ignore_cleanup_errors=True) as name,
        whole_sandbox(Path(name), quiet) as (_, world),
    ):
        import pytest

        from tests.flows.conftest import deploy_flows, open_site

        folder = Path(name) / "site"
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch, open_site(world, deploy_flows(), folder, patch) as site:
            yield site


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
