"""The rule files are what Prometheus reads, and every alert is seen to fire and not to fire."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.spec.load import ROOT
from tests.support.waiting import HANGS_SECONDS

FOLDER = ROOT / "charts" / "monitoring" / "rules"
RULES = sorted(FOLDER.glob("*.yaml"))
TESTS = sorted((Path(__file__).parent / "rules").glob("*.test.yaml"))


def rules() -> list[dict[str, Any]]:
    return [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}


def run(program: Path, *arguments: str | Path) -> None:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=HANGS_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_what_prometheus_reads(promtool: Path) -> None:
    run(promtool, "check", "rules", *RULES)


def test_each_alert_fires_when_it_should_and_only_then(promtool: Path) -> None:
    run(promtool, "test", "rules", *TESTS)


def test_a_rule_that_says_too_much_would_be_noticed(promtool: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text((FOLDER / "gpus.yaml").read_text().replace("free <= 0", "free <= 1"))
    test = next(path for path in TESTS if path.name == "gpus.test.yaml").read_text()
    changed = tmp_path / "rules.test.yaml"
    changed.write_text(re.sub(r"rule_files: .*", "rule_files: [rules.yaml]", test))

    with pytest.raises(AssertionError, match="SlipwayGpusExhausted"):
        run(promtool, "test", "rules", changed)


def test_no_alert_is_without_a_test_that_it_fires_and_one_that_it_does_not() -> None:
    seen: dict[str, set[bool]] = {}
    for path in TESTS:
        for case in yaml.safe_load(path.read_text())["tests"]:
            for check in case.get("alert_rule_test", []):
                seen.setdefault(check["alertname"], set()).add(bool(check["exp_alerts"]))

    assert seen == {name: {True, False} for name in ALERTS}


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_an_alert_says_what_is_wrong_and_leads_to_a_page_about_it(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert {"summary", "description", "runbook_url"} == set(alert["annotations"])
    page = ROOT / alert["annotations"]["runbook_url"]
    text = page.read_text()
    assert text.startswith("# "), page
    assert f"`{name}`" in text, f"{page} does not name {name}"
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["What it means", "How to look", "What to do"], page


def test_every_runbook_is_of_an_alert() -> None:
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "runbooks").glob("*.md")}

    assert pages == {alert["annotations"]["runbook_url"] for alert in ALERTS.values()}


def test_the_overview_lists_every_alert_with_its_severity_and_its_page() -> None:
    page = (ROOT / "docs" / "observability.md").read_text()
    for name, alert in ALERTS.items():
        runbook = alert["annotations"]["runbook_url"].removeprefix("docs/")
        assert f"| [`{name}`]({runbook}) | {alert['labels']['severity']} | " in page, name
