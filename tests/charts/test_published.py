"""The chart as it is published: the commands of `docs/chart.md` push it, and what is installed by digest is that very chart."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from blocks.helm import Helm
from flows.spec.load import ROOT
from tests.charts.oci_registry import oci_registry

PAGE = ROOT / "docs" / "chart.md"


def documented(start: str) -> list[str]:
    """The arguments of the page's only command that begins so."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (line,) = [line[2:] for block in blocks for line in block.splitlines() if line.startswith(f"$ helm {start} ")]
    return shlex.split(line)[1:]


def test_the_documented_commands_publish_the_chart_and_install_it_by_digest(chart: Any, tmp_path: Path) -> None:
    def run(arguments: list[str], **places: str) -> str:
        for shown, real in places.items():
            arguments = [argument.replace(shown, real) for argument in arguments]
        done = chart.run(*arguments)
        assert done.returncode == 0, done.stderr
        return str(done.stdout + done.stderr)

    run([*documented("package"), "--destination", str(tmp_path)], **{"charts/vllm-deployment": str(chart.folder)})
    (package,) = tmp_path.glob("*.tgz")
    push = documented("push")
    assert push[1] == package.name  # the version that the page names is the chart's

    with oci_registry() as address:
        places = {"registry.example.com": address}
        said = run([*push, "--plain-http"], **{package.name: str(package)}, **places)
        places["DIGEST"] = re.search(r"sha256:([0-9a-f]{64})", said)[1]  # type: ignore[index]
        # as `helm upgrade` would send it to a cluster
        upgrade = documented("upgrade")
        assert upgrade[1] == "--install"
        candidate = str(chart.folder / "ci" / "minimal.yaml")
        rendered = run(["template", *upgrade[2:], "--plain-http"], **{"candidate.yaml": candidate}, **places)
        run([*documented("pull"), "--plain-http", "--destination", str(tmp_path)], **places)

    names = {document["kind"] for document in yaml.safe_load_all(rendered) if document}
    assert "Deployment" in names
    # and the candidate's chart digest is the same for the checkout and for what was pulled
    digests = [
        Helm(executable=str(chart.helm), chart=folder).client().chart_digest()
        for folder in (chart.folder, tmp_path / package.name.rpartition("-")[0])
    ]
    assert digests[0] == digests[1]


def test_the_documented_test_command_is_one_of_helms(chart: Any) -> None:
    said = chart.run(*documented("test"), "--kubeconfig", "/nowhere")
    assert said.returncode != 0
    assert "unknown" not in said.stderr
