"""Evidence is one document that comes back as it was, and one page that needs nothing but itself."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.registry.documents import canonical, digest
from flows.cli.schemas import SCHEMAS, schema_text
from flows.verification.evidence import Evidence
from flows.verification.measurement import Measurement, Outcome
from flows.verification.page import evidence_page
from flows.verification.plots import time
from flows.verification.verdict import Verdict
from tests.support.examples import evidence, verdict


class Page(HTMLParser):
    """What a browser would make of a page: its texts, its elements, and whatever leads elsewhere."""

    VOID = ("meta", "br", "line", "rect", "path")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.elements: list[str] = []
        self.elsewhere: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.elsewhere += [f"{name}={value}" for name, value in attrs if name in ("src", "href", "srcset", "action", "xlink:href", "data")]
        self.elsewhere += [f"{name}={value}" for name, value in attrs if name.startswith("on") or "url(" in (value or "")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page(made: Evidence) -> Page:
    return Page(evidence_page(made, digest(made.document())))


NOTHING: dict[str, Any] = {
    "latency": (),
    "golden": None,
    "behaviour": None,
    "power": None,
    "pods": (),
    "warmup_seconds": None,
    "engine_version": "",
}
VERDICTS = {
    "passed": verdict(),
    "failed": verdict(Measurement(name="capital", kind="completion", outcome="failed", expected="text with 'Paris'", seen="' Lyon.'")),
    "inconclusive": verdict(
        Measurement(name="latency-p95", kind="latency", outcome="inconclusive", expected="under 300 ms", seen="299 ms")
    ),
    "errored": verdict(Measurement(name="protocol", outcome="errored", expected="vLLM's HTTP", seen="<html>"), **NOTHING),
}


@pytest.mark.parametrize("outcome", VERDICTS)
def test_it_comes_back_as_it_was_and_is_of_the_published_form(outcome: str) -> None:
    made = evidence(VERDICTS[outcome])
    document = json.loads(canonical(made.document()))

    jsonschema.validate(document, json.loads(schema_text(SCHEMAS["docs/evidence.schema.json"])), jsonschema.Draft202012Validator)
    assert Evidence.from_document(document) == made
    assert digest(document) == digest(made.document())


@pytest.mark.parametrize("outcome", VERDICTS)
def test_the_page_says_what_was_found_and_asks_nobody_for_anything(outcome: str) -> None:
    made = evidence(VERDICTS[outcome])
    shown = page(made)

    assert shown.elsewhere == []
    assert not {"script", "link", "img", "iframe", "object"} & set(shown.elements)
    assert outcome in shown.text
    assert digest(made.document()) in shown.text
    assert made.candidate.fingerprint in shown.text
    for measurement in made.verdict.measurements:
        assert measurement.seen in shown.text
    if outcome != "passed":
        assert made.verdict.message in shown.text


def test_the_page_has_its_plots_where_there_is_something_to_plot() -> None:
    assert page(evidence(VERDICTS["passed"])).elements.count("svg") == 4
    assert page(evidence(VERDICTS["errored"], phases={})).elements.count("svg") == 0


def test_what_differs_from_before_is_shown_side_by_side() -> None:
    text = page(evidence(VERDICTS["passed"])).text

    assert "capital-of-france differs at token 1" in text
    assert "before Lyon. now Paris." in text


def texts() -> st.SearchStrategy[str]:
    hostile = st.sampled_from(["<script>alert(1)</script>", "</svg>", "\0", "\ud800", "'\"><img src=x>", "{{ 7 * 7 }}", "&lt;", "\u2028"])
    return st.lists(hostile | st.text(st.characters(exclude_categories=[]), max_size=10), max_size=4).map("".join)


@settings(max_examples=40)
@given(text=texts(), name=texts(), outcome=st.sampled_from(["passed", "failed", "inconclusive", "errored"]))
def test_no_answer_breaks_the_document_or_the_page(text: str, name: str, outcome: Outcome) -> None:
    measurement = Measurement(name=name, kind=name, outcome=outcome, expected=text, seen=text, seconds=1 / 3)
    made = evidence(verdict(measurement, text=text))

    kept = canonical(made.document())
    assert "\\u0000" not in kept
    assert canonical(Evidence.from_document(json.loads(kept)).document()) == kept
    shown = page(made)
    assert shown.elsewhere == []
    assert "script" not in shown.elements


def test_the_page_of_much_stays_small() -> None:
    many = [
        Measurement(name=f"check-{index}", kind="completion", outcome="passed", expected="x" * 80, seen="y" * 80) for index in range(200)
    ]
    level = replace(VERDICTS["passed"].latency[0], samples_seconds=tuple(0.001 * value for value in range(1, 10_001)))

    assert len(evidence_page(evidence(verdict(*many, latency=(level,))), "0" * 64)) < 300_000


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (0.0000006, "1 µs"),
        (0.0005, "500 µs"),
        (0.0123, "12.3 ms"),
        (0.9999, "1 s"),
        (2.5, "2.5 s"),
        (90, "90 s"),
        (600, "10 min"),
    ],
)
def test_times_are_told_as_people_read_them(seconds: float, shown: str) -> None:
    assert time(seconds) == shown


@pytest.mark.parametrize("change", [{"schema": "slipway.dev/evidence/v2"}, {"verdict": {}}, {"surprise": 1}], ids=str)
def test_another_form_is_refused(change: dict[str, object]) -> None:
    document = evidence(VERDICTS["passed"]).document()

    with pytest.raises(ValueError, match="validation error"):
        Evidence.from_document({**document, **change})


def test_a_verdict_says_its_percentiles_only_where_they_were_measured() -> None:
    nothing: Verdict = VERDICTS["errored"]

    assert (nothing.p50_seconds, nothing.p95_seconds) == (None, None)
    assert VERDICTS["passed"].p50_seconds is not None


def test_a_page_is_made_of_extremes_too() -> None:
    made = evidence(verdict())
    nothing = replace(made, phases=dict.fromkeys(made.phases, 0.0), limits=replace(made.limits, budget_seconds=0.0))
    endless = replace(made, phases={"verify": 1e308, "record": 1e308})
    behaviour = made.verdict.behaviour
    assert behaviour is not None
    assert behaviour.tolerance_shift is not None
    tolerance = replace(behaviour.tolerance_shift, max_nats=0.0)
    same = replace(behaviour, tolerance_nats=0.0, tolerance_shift=tolerance, differences=(), probes=())
    level = made.verdict.latency[0]
    slow = replace(level, samples_seconds=(0.0, 1e308, *level.samples_seconds[2:]))

    for one in (
        nothing,
        endless,
        replace(made, verdict=replace(made.verdict, behaviour=same)),
        replace(made, verdict=replace(made.verdict, latency=(slow,))),
    ):
        assert "<html" in evidence_page(one, "0" * 64)
