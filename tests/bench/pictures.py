"""Makes the docs' pictures of a run: a whole release in a sandbox of its own, approved, and its graph as both of Prefect's UIs draw it.

`make pictures` writes `docs/run-graph.png`, as the newer of the UIs draws it, and `build/run-graph-v1.png` beside it.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flows.spec.load import ROOT
from tests.bench.sited import bench_site

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.flows.conftest import Site

#: Pixels of the window: the graph takes all of its width beside the menu.
WINDOW = {"width": 1500, "height": 1000}

#: Both UIs draw the graph on a canvas, and move it into place; nothing in the page says when they have.
SETTLE_SECONDS = 4


def released(site: Site) -> str:
    """The id of a run that went through all environments, with an approval before production."""
    from flows.release import release

    run = site.start(release, model=site.model)
    for expected in ("Suspended", "Completed"):
        if expected == "Completed":
            site.sign(run)
        ended = site.leg(release, run)
        assert ended.name == expected, ended.message
    return str(run.id)


def picture(browser: Browser, address: str, path: Path) -> None:
    """A picture of the run's page, when its graph is drawn."""
    page = browser.new_page(viewport=WINDOW, device_scale_factor=2, color_scheme="light")
    page.route("**/*", lambda route: route.continue_() if "127.0.0.1" in route.request.url else route.abort())
    page.goto(address)
    graph = page.locator("canvas").first
    graph.wait_for(timeout=60_000)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(SETTLE_SECONDS * 1000)
    graph.screenshot(path=path)
    page.close()


def main() -> int:
    """Release, look, and write the pictures."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("There is no Chromium on this machine: install Debian's package chromium.")
    (ROOT / "build").mkdir(exist_ok=True)
    with bench_site() as site:
        run_id, ui = released(site), str(site.client.api_url).rstrip("/").removesuffix("/api")
        with sync_playwright() as driver:  # it has an event loop of its own
            browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            picture(browser, f"{ui}/runs/flow-run/{run_id}", ROOT / "build" / "run-graph-v1.png")
            picture(browser, f"{ui}/v2/runs/flow-run/{run_id}", ROOT / "docs" / "run-graph.png")
            browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
