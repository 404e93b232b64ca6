"""People are told about approvals: Prefect's own automations, made from files, send to a webhook of the test's."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from uuid import uuid4

import pytest
import yaml
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.events.schemas.automations import AutomationCore

from flows.errors import SpecInvalid
from flows.release import release
from flows.runtime.automations import apply_automations
from flows.spec.load import ROOT
from tests.flows.conftest import Site
from tests.support.waiting import HANGS_SECONDS


@pytest.fixture
def sink() -> Iterator[tuple[str, Queue[str]]]:
    """A webhook's address, and what was sent to it."""
    received: Queue[str] = Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.put(self.rfile.read(int(self.headers["content-length"])).decode())
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()


def test_a_request_and_what_became_of_it_are_sent(site: Site, sink: tuple[str, Queue[str]], tmp_path: Path) -> None:
    url, received = sink
    # given the automations of this checkout, under names and with a block of this test's own
    folder = tmp_path / "automations"
    folder.mkdir()
    (shipped,) = yaml.safe_load((site.deployments / "automations" / "approvals.yaml").read_text())
    shipped["name"] = f"approvals {site.name}"
    shipped["trigger"]["match"]["prefect.resource.name"] = f"{site.model} in *"
    shipped["actions"][0]["block"] = f"custom-webhook/sink-{site.name}"
    (folder / "approvals.yaml").write_text(yaml.safe_dump([shipped]))
    with pytest.raises(SpecInvalid, match="Prefect has no block custom-webhook/sink"):
        apply_automations(folder)
    block = CustomWebhookNotificationBlock(name="sink", url=url, json_data={"subject": "{{subject}}", "body": "{{body}}"})
    block.save(f"sink-{site.name}")
    assert apply_automations(folder) == [f"created approvals {site.name}"]
    # applying again makes no second one, which would send everything twice
    assert apply_automations(folder) == [f"updated approvals {site.name}"]
    assert len(site.client.read_automations_by_name(shipped["name"])) == 1

    site.only_production()
    run = site.start(release, model=site.model, environments=["production"])
    assert site.leg(release, run).name == "Suspended"
    requested = received.get(timeout=HANGS_SECONDS)
    assert "slipway.approval.requested" in requested
    assert site.model in requested
    assert "zoe" in requested
    assert str(run.id) in requested

    assert site.sign(run, decision="reject", reason="not on a Friday") == "ACCEPT"
    assert site.leg(release, run).name == "Failed"
    rejected = received.get(timeout=HANGS_SECONDS)
    assert "slipway.approval.rejected" in rejected
    assert site.approver("ada") in rejected
    assert "not on a Friday" in rejected
    assert site.code("ada", -1) not in rejected
    assert received.empty()


@pytest.mark.parametrize("path", sorted((ROOT / "deployments" / "automations").glob("*.yaml")), ids=lambda path: path.stem)
def test_what_is_shipped_is_what_prefect_takes(path: Path) -> None:
    for wanted in yaml.safe_load(path.read_text()):
        actions = [{**{k: v for k, v in each.items() if k != "block"}, "block_document_id": uuid4()} for each in wanted["actions"]]

        assert AutomationCore.model_validate({**wanted, "actions": actions}).name.startswith("slipway ")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1", "must be a list of automations"),
        ("- {name: x, actions: [], trigger: {type: nonsense}}", "bad.yaml: x: "),
        ("[", "is not YAML"),
    ],
)
def test_a_file_that_is_wrong_is_named(prefect_settings: None, tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)

    with pytest.raises(SpecInvalid, match=says):
        apply_automations(tmp_path)


def test_the_release_is_never_cancelled_for_another_one() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]

    (of_release,) = [deployment for deployment in deployments if deployment["name"] == "release"]
    assert of_release.get("concurrency_limit", {}).get("collision_strategy", "ENQUEUE") == "ENQUEUE"
