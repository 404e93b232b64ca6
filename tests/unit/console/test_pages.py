"""Pages: whatever others wrote is text in them, they ask nobody else for anything, and they stay light."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from blocks.facts.registry import OpenRequest
from blocks.registry.chain import EventProof
from blocks.registry.overview import EventPlace, FleetPlace, RecordedEvent
from flows.candidate.changes import Change
from flows.console.access.caller import Caller
from flows.console.edge.problems import Problem
from flows.console.pages import render
from flows.console.pages.plots import plots_of
from flows.console.pages.render import templates
from flows.console.reads.fleet import fleet_of, page_of
from flows.console.reads.history import CandidateLine, Measured, ModelHistory, Stay
from flows.console.reads.known import Unknown, everything
from flows.console.reads.nodes import LastScrub, NodeRow, NodesView
from flows.console.reads.record import ProvenEvent, RecordPage
from flows.console.reads.release import ReleaseView, RunDiagnosis, RunPhases, RunVerdict
from flows.console.reads.requests import Waiting
from flows.console.reads.runs import Fetch, LogLine, RunPage, run_of
from flows.console.reads.stages import Lane, Step
from flows.spec.access import Grant
from tests.support.examples import candidate, environment, event, evidence, node, pod, verdict

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
#: In a model's name, an answer, a reason, an id: whatever is not ours.
EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}"
CALLER = Caller(name=EVIL, how="session", grants=(Grant(role="admin"),), csrf=EVIL)
PLACE = FleetPlace(
    organisation=EVIL,
    model=EVIL,
    environment="staging",
    hub_revision=EVIL,
    namespace=EVIL,
    endpoint=EVIL,
    status="degraded",
    status_reason=EVIL,
    disabled_from="ready",
    fingerprint=EVIL,
    helm_revision=None,
    git_commit=EVIL,
    verified_at=NOW,
    last_checked_at=NOW,
    health_window=EVIL,
    updated_at=NOW,
    passed_at=NOW,
    evidence_sha256=EVIL,
    held_by=EVIL,
    canary=EVIL,
    canary_phase=EVIL,
    canary_weight=5,
    canary_shadow=10,
)
EVENT = event("failed", model=EVIL, environment="staging", fingerprint=EVIL, run_id=EVIL, actor=EVIL, detail={"reason": EVIL, EVIL: EVIL})
RECORDED = RecordedEvent(**vars(EVENT), chain=1, chain_position=1, hash=EVIL)
RUN = replace(
    run_of({"id": EVIL, "name": EVIL, "state_type": "FAILED", "state_name": EVIL, "created": NOW.isoformat()}),
    model=EVIL,
    message=EVIL,
    asked_by=EVIL,
    revision=EVIL,
    environments=(EVIL,),
)
MEASURED = Measured(
    at=NOW,
    environment=EVIL,
    fingerprint=EVIL,
    run_id=EVIL,
    outcome=EVIL,
    sentence=EVIL,
    evidence_sha256=EVIL,
    p50_seconds=0.1,
    p95_seconds=0.2,
    p50_limit_seconds=0.3,
    p95_limit_seconds=None,
    tokens_per_second=1.0,
    exact_share=0.5,
    max_nats=0.0,
)
STAY = Stay(
    environment=EVIL,
    state="failed",
    at=NOW,
    run_id=EVIL,
    event_id=1,
    reason=EVIL,
    approved_by=(EVIL,),
    evidence_sha256=EVIL,
    outcome=EVIL,
)
CHANGES = (Change(what=EVIL, now=EVIL, new=EVIL),)
HISTORY = ModelHistory(
    model=EVIL,
    places=(PLACE,),
    lines=(
        CandidateLine(fingerprint=EVIL, begun_at=NOW, candidate=candidate(repository=EVIL), changes=CHANGES, stays=(STAY,)),
        CandidateLine(fingerprint="f" * 64, begun_at=NOW, candidate=None, changes=(), stays=()),
    ),
    measured=(MEASURED, replace(MEASURED, outcome="passed")),
    more=True,
)
WAITING = Waiting(
    event_id=1,
    run_id=EVIL,
    gate=EVIL,
    model=EVIL,
    environment="production",
    fingerprint=EVIL,
    requester=EVIL,
    since=NOW,
    expires_at=NOW,
    frozen_until=datetime(2027, 1, 1, tzinfo=UTC),
    needed=Unknown(why=EVIL),
    approvals=(EVENT,),
    lost={EVIL: EVIL},
    refused=EVIL,
    current=EVIL,
    changes=CHANGES,
    candidate=candidate(repository=EVIL),
    evidence_sha256=EVIL,
    step=EVIL,
    judged=EVIL,
    verdict_sha256=EVIL,
    verdict=evidence(verdict(text=EVIL), environment=environment(name="staging")),
)
VIEW = ReleaseView(
    run=RUN,
    fingerprint=EVIL,
    lanes=(
        Lane(environment="staging", steps=(Step(name="rollout", state="retrying", message=EVIL, started_at=NOW, attempts=2),)),
        Lane(environment="production", steps=(Step(name="gate", state="to come"),), back=True),
    ),
    fetches=(Fetch(key="prefetch-staging-x", percent=50.0, message=EVIL),),
    pods={"staging": (pod(EVIL, name=EVIL, problem=EVIL, node=EVIL),), "production": Unknown(why=EVIL)},
    verdicts=(RunVerdict(at=NOW, environment=EVIL, fingerprint=EVIL, outcome=EVIL, sentence=EVIL, evidence_sha256=EVIL),),
    diagnoses=(RunDiagnosis(environment=EVIL, category=EVIL, message=EVIL, remedy=EVIL, lines=(EVIL,), evidence_sha256=EVIL),),
    phases=(RunPhases(environment=EVIL, seconds={EVIL: 1.0}, total_seconds=1.0, prefetch_bytes=1e9, event_id=1),),
    request=EVIL,
    events=(EVENT,),
    log=(LogLine(at=NOW, level="error", message=EVIL),),
)
NODES = NodesView(
    nodes=(
        NodeRow(
            name=EVIL,
            environments=(EVIL,),
            node=node(EVIL, gpu_product=EVIL),
            mounted=(EVIL,),
            scrub=LastScrub(
                at=NOW,
                environment=EVIL,
                event_id=1,
                evidence_sha256=EVIL,
                contents=1,
                size_bytes=1,
                skipped=1,
                corrupt=1,
                snapshots=(EVIL,),
            ),
        ),
    ),
    unknown={EVIL: EVIL},
)
PROVEN = ProvenEvent(
    event=RECORDED,
    place=EventPlace(chain=1, position=1, sealed_position=1, sealed_hash=EVIL, seal_id=1, seal_position=1),
    proof=EventProof(holds=False, message=EVIL, links=1),
)
REQUEST = OpenRequest(**{**vars(EVENT), "environment": "production"}, frozen_until=None)
WANTED = dict.fromkeys(("model", "environment", "kind", "actor", "run", "fingerprint"), EVIL)

#: A page of everything that is shown, each part of it as bad as it may be.
PAGES: Mapping[str, Mapping[str, Any]] = {
    "fleet": {
        "fleet": replace(page_of(fleet_of([PLACE], [REQUEST], ["staging", "production"]), everything), after=EVIL),
        "search": EVIL,
        "status": EVIL,
        "after": EVIL,
        "operates": True,
    },
    "model": {"history": HISTORY, "plots": plots_of(HISTORY), "targets": lambda place: HISTORY.lines, "operates": True},
    "runs": {"page": RunPage(runs=(RUN,), next_offset=1), "flow": EVIL, "offset": 1, "operates": True},
    "run": {"view": VIEW, "cancels": True, "events": EVIL},
    "approvals": {"waiting": [WAITING]},
    "approval": {"w": WAITING, "may_not": EVIL, "decides": True},
    "nodes": {"view": NODES},
    "record": {"page": RecordPage(events=(RECORDED,), before=1), "wanted": WANTED, "query": render.query(**WANTED), "before": 1},
    "event": {"found": PROVEN, "e": RECORDED, "detail": render.shown_json(RECORDED.detail)[0]},
    "evidence": {"sha256": EVIL, "kind": EVIL, "model": EVIL, "body": "", "text": EVIL, "cut": True},
    "start": {"models": [EVIL], "environments": [EVIL], "model": EVIL, "revision": EVIL},
    "problem": {"problem": Problem(type=EVIL, title=EVIL, status=401, detail=EVIL, request=EVIL), "next": EVIL, "back": "/"},
}


class Read(HTMLParser):
    """What a browser would make of a page: its elements with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data


def rendered(name: str) -> str:
    common = {"caller": CALLER, "here": "", "now": NOW, "asked": 1, "keys": lambda: "key"}
    return templates().get_template(f"{name}.html.jinja").render({**common, **PAGES[name]})


def test_every_template_is_tried() -> None:
    folder = Path(render.__file__).with_name("templates")

    assert {path.name.removesuffix(".html.jinja") for path in folder.iterdir()} == {*PAGES, "base", "parts", "run_live"}


@pytest.mark.parametrize("name", PAGES)
def test_what_others_wrote_is_text(name: str) -> None:
    read = Read(rendered(name))

    assert "alert(1)" in read.text or name == "start"
    assert [element for element in read.elements if element[0] in ("img", "iframe", "object", "base")] == []
    for tag, attributes in read.elements:
        assert not [key for key in attributes if key.startswith("on") or key in ("style", "srcdoc", '"')], (tag, attributes)
        assert tag not in ("script", "style") or attributes.get("src", "").startswith("/static/")
        for key in ("href", "src", "action"):
            # Of ours, from the root, with nothing in it that would end the attribute or begin another scheme.
            assert key not in attributes or re.fullmatch(r"#content|/(?!/)[A-Za-z0-9/_.~%?&=#+:-]*", attributes[key]), attributes[key]
    assert "49" not in re.findall(r"alert\(2\)&gt;(\w*)", rendered(name))


@pytest.mark.parametrize("name", PAGES)
def test_every_field_has_a_name_that_is_read_and_every_form_its_token(name: str) -> None:
    html = rendered(name)

    for form in re.findall(r'<form [^>]*method="post".*?</form>', html, re.DOTALL):
        assert 'name="csrf"' in form
        for field in re.findall(r"<(?:input|select|textarea)[^>]*>", form):
            assert 'type="hidden"' in field or re.search(rf"<label[^>]*>(?:(?!</label>).)*{re.escape(field)}", form, re.DOTALL), field


def test_the_code_is_a_one_time_code_and_not_shown() -> None:
    field = re.search(r'<input[^>]*name="code"[^>]*>', rendered("approval"))

    assert field is not None
    assert 'type="password"' in field[0]
    assert 'autocomplete="one-time-code"' in field[0]


def sources() -> Iterator[Path]:
    yield from Path(render.__file__).parent.rglob("*.jinja")


def test_no_template_believes_a_text() -> None:
    """`|safe` and its like would put what others wrote into the page as it is; inline styles and scripts the policy refuses."""
    found = {
        path.name: re.findall(r"\|\s*safe|autoescape|Markup|style=|<style|javascript:|//cdn|https?://", path.read_text())
        for path in sources()
    }

    assert len(found) > 10
    assert {name: words for name, words in found.items() if words} == {}


def test_a_page_of_the_fleet_is_light() -> None:
    longest = replace(
        PLACE, model="m" * 96, status="ready", status_reason=None, organisation=None, fingerprint="f" * 64, evidence_sha256="e" * 64
    )
    places = [
        replace(
            longest, model=f"{number:04}{'m' * 60}", environment=name, held_by=None, canary=None, health_window="+++++", disabled_from=None
        )
        for number in range(200)
        for name in ("development", "staging", "production")
    ]
    page = page_of(fleet_of(places, [], ["development", "staging", "production"]), everything)
    values = {"fleet": page, "search": "", "status": "", "after": "", "operates": True}
    common = {"caller": CALLER, "here": "Fleet", "now": NOW, "asked": 0, "keys": lambda: "key"}

    html = templates().get_template("fleet.html.jinja").render({**common, **values})

    assert html.count('role="rowheader"') == 50
    assert len(html.encode()) < 100_000
