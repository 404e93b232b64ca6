"""What is generated from the chart is what the chart is now: golden renders, for diffs to be read, and the table of its values."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.charts.argument_table import FILE, arguments
from tests.charts.renew import GOLDEN, RENDERS, golden
from tests.charts.value_table import PAGE, value_table, values, with_table


@pytest.mark.parametrize(("environment", "scenario"), RENDERS)
def test_a_golden_render_is_what_helm_prints(chart: Any, environment: str, scenario: str) -> None:
    path = golden(environment, scenario)
    assert chart.text(environment, scenario) == path.read_text(encoding="utf-8"), f"run `make charts` and read the diff of {path.name}"


def test_there_are_no_other_golden_renders() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {golden(*render).name for render in RENDERS}


def test_the_table_of_values_is_current(chart: Any) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page, chart.folder) == page, "run `make charts`"


def test_the_table_has_every_value_of_the_schema_and_its_default(chart: Any) -> None:
    lines = value_table(chart.folder).splitlines()[2:]
    schema = json.loads((chart.folder / "values.schema.json").read_text(encoding="utf-8"))
    assert len(lines) == len(list(values(schema))) > 70
    cells = {line.split("`")[1]: line for line in lines}
    assert cells["image.digest"].endswith("| required |")
    assert cells["engine.gpuMemoryUtilization"].endswith("number, over 0 to 1 | `0.9` |")
    assert cells["rollout.strategy"].endswith("| `surge`, `inPlace`, `recreate` | `inPlace` |")
    assert cells["resources.limits.nvidia.com/gpu"].endswith("| `1` |")
    assert cells["networkPolicy.routers[].podLabels"]
    assert cells["compileCache.claim"].endswith("| empty |")


def test_the_arguments_that_it_takes_are_those_of_slipways_classes(chart: Any) -> None:
    assert (chart.folder / FILE).read_text(encoding="utf-8") == arguments(), "run `make charts`"
