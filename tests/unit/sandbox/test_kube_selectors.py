"""Label and field selectors."""

from __future__ import annotations

import pytest

from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.selectors import format_selector, matches_labels, parse_fields, parse_labels, selector_requirements

LABELS = {"app": "web", "tier": "front", "example.com/size": "3"}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,tier=front", True),
        ("app=api", False),
        ("app!=api", True),
        ("absent!=x", True),
        ("app in (api, web)", True),
        ("app notin (api,web)", False),
        ("absent notin (a)", True),
        ("app in (api),tier=front", False),
        ("app", True),
        ("absent", False),
        ("!absent", True),
        ("!app", False),
        ("example.com/size>2", True),
        ("example.com/size<2", False),
        ("absent=", False),
    ],
)
def test_label_selector(selector: str, matches: bool) -> None:
    assert matches_labels(parse_labels(selector), {"metadata": {"labels": LABELS}}) is matches


@pytest.mark.parametrize("selector", ["a b", "=x", "-a=b", "a in b"])
def test_label_selector_that_cannot_be_parsed(selector: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_labels(selector)
    assert caught.value.code == 400


def test_selector_object_selects_and_reads_as_text() -> None:
    selector = {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "In", "values": ["front", "back"]}]}
    assert matches_labels(selector_requirements(selector), {"metadata": {"labels": LABELS}})
    assert not matches_labels(selector_requirements(selector), {"metadata": {"labels": {"app": "web"}}})
    assert format_selector(selector) == "app=web,tier in (back,front)"


def test_field_selector_compares_texts_and_counts_absent_as_empty() -> None:
    fields = ("metadata.name", "status.phase", "spec.unschedulable")
    obj = {"metadata": {"name": "a"}, "spec": {}}
    assert all(term.matches(obj) for term in parse_fields("metadata.name=a,status.phase!=Running,spec.unschedulable=false", fields))
    assert not all(term.matches(obj) for term in parse_fields("metadata.name!=a", fields))


def test_field_selector_of_an_unknown_field_is_refused() -> None:
    with pytest.raises(ApiError, match=r'"data\.k" is not a known field selector: only "metadata\.name", "metadata\.namespace"'):
        parse_fields("data.k=a", ("metadata.name", "metadata.namespace"))
