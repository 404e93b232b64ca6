"""The shell script that one would write without Slipway."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import psycopg

from tests.bench.before import ROOT
from tests.bench.runs import ENVIRONMENT

if TYPE_CHECKING:
    from tests.flows.conftest import Site

#: What is asked of what serves; the two candidates answer it differently.
PROMPT = "The capital of Japan is"


class Script:
    """What one does without Slipway, in a namespace of its own with the same volumes."""

    def __init__(self, site: Site) -> None:
        from sandbox.helm import helm_executable

        self._site, self._helm = site, str(helm_executable())
        with psycopg.connect(site.database) as database:
            database.execute("CREATE TABLE released (at timestamptz, answer text)")

    def values(self) -> str:
        """The values that the release of the site's own environment carries now, as JSON."""
        return subprocess.check_output([self._helm, "get", "values", self._release, "--output", "json", *self._in(0)], text=True)

    def run(self, values: str) -> float:
        """Release the values, ask once, and write the answer down: the seconds.

        Only helm is a process of its own: what curl and psql would take to start is not held against Slipway.
        """
        chart = str(ROOT / "charts" / "vllm-deployment")
        upgrade = [self._helm, "upgrade", "--install", "--wait", "--timeout", "5m", "--values", "-", *self._in(1), self._release, chart]
        began = time.perf_counter()
        subprocess.run(upgrade, input=values, text=True, check=True, capture_output=True)
        answer = self._ask()
        with psycopg.connect(self._site.database) as database:
            database.execute("INSERT INTO released VALUES (now(), %s)", [answer])
        return time.perf_counter() - began

    @property
    def _release(self) -> str:
        from flows.naming import release_name

        return release_name(self._site.model, ENVIRONMENT)

    def _in(self, namespace: int) -> list[str]:
        return ["--namespace", self._site.namespaces[namespace], "--kubeconfig", str(self._site.world.cluster.kubeconfig)]

    def _ask(self) -> str:
        from blocks.endpoint import Endpoint
        from flows.naming import endpoint

        address = endpoint(self._site.model, ENVIRONMENT, self._site.namespaces[1])
        with Endpoint(via="service-proxy", kubeconfig=self._site.world.cluster.kubeconfig).client(address) as client:
            return client.complete(self._site.model, PROMPT, 16).text
