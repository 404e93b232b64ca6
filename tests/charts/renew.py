"""`make charts`: writes anew what is generated from the chart (golden renders, the table of its values) or for it (the
arguments that it takes), for its diff to be read."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.charts.argument_table import FILE, arguments
from tests.charts.conftest import ENVIRONMENTS, SCENARIOS, Chart, find_helm
from tests.charts.value_table import PAGE, with_table

GOLDEN = Path(__file__).parent / "golden"

#: One release for each environment, and one for each scenario; the others differ in what these show already.
RENDERS = [
    *((environment, "minimal") for environment in ENVIRONMENTS),
    *(("production", name) for name in (*SCENARIOS, "canary") if name != "minimal"),
]


def golden(environment: str, scenario: str) -> Path:
    """The file that holds what helm prints for it."""
    return GOLDEN / f"{environment}-{scenario}.yaml"


def main() -> None:
    """Write all of it."""
    with tempfile.TemporaryDirectory() as home:
        chart = Chart(helm=find_helm(), scratch=Path(home))
        (chart.folder / FILE).write_text(arguments(), encoding="utf-8")
        GOLDEN.mkdir(exist_ok=True)
        for left in GOLDEN.glob("*.yaml"):
            left.unlink()
        for environment, scenario in RENDERS:
            golden(environment, scenario).write_text(chart.text(environment, scenario), encoding="utf-8")
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), chart.folder), encoding="utf-8")


if __name__ == "__main__":
    main()
