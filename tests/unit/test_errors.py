"""Errors cross processes, keep their facts, and form one tree."""

from __future__ import annotations

import ast
import inspect
import pickle

import pytest

import blocks.errors
import flows.errors
from blocks.errors import PipelineError, Rejected, Transient
from flows.errors import ERRORS, Drifted, Refusal, VerificationFailed, worst_of
from flows.runtime.states import ended
from flows.spec.load import ROOT

KINDS = sorted(
    {
        kind
        for module in (blocks.errors, flows.errors)
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, PipelineError)
    },
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_survives_pickling(kind: type[PipelineError]) -> None:
    error = kind("The node has no room.", free_bytes=1, wanted_bytes=2)

    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes

    assert type(again) is kind
    assert str(again) == "The node has no room."
    assert again.facts == {"free_bytes": 1, "wanted_bytes": 2}


def test_every_error_is_found_by_its_name_and_declared_where_all_are() -> None:
    assert set(ERRORS.values()) == set(KINDS)
    assert all(name == kind.__name__ for name, kind in ERRORS.items())
    elsewhere = {
        (path.name, node.name)
        for path in [*(ROOT / "flows").rglob("*.py"), *(ROOT / "blocks").rglob("*.py")]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and node.name not in ERRORS
        and any(ast.unparse(base).split(".")[-1] in ERRORS for base in node.bases)
    }
    assert elsewhere == set()


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind not in (PipelineError, Transient, Rejected, Refusal)], ids=lambda k: k.__name__
)
def test_every_error_is_of_exactly_one_family_and_is_drawn_in_the_tree(kind: type[PipelineError]) -> None:
    assert sum(issubclass(kind, family) for family in (Transient, Rejected, Refusal)) == 1
    assert kind.__name__ in f"{blocks.errors.__doc__}{flows.errors.__doc__}"


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (flows.errors.SpecInvalid("no"), "Failed"),
        (blocks.errors.HelmRejected("no"), "Errored"),
        (blocks.errors.HubUnreachable("no"), "Errored"),
    ],
)
def test_our_no_fails_a_run_and_a_technical_fault_makes_it_errored(error: PipelineError, name: str) -> None:
    state = ended(error)

    assert state.is_failed()
    assert (state.name, state.message) == (name, "no")


def test_several_errors_are_one_with_the_worst_first_and_all_named() -> None:
    worst, others = VerificationFailed("It fails.", evidence_sha256="a"), [Drifted("It drifted."), Drifted("It drifted.")]

    told = worst_of([worst, *others])

    assert worst_of([]) is None
    assert worst_of([worst]) is worst
    assert isinstance(told, VerificationFailed)
    assert told.message == "It fails. Also: It drifted."
    assert told.facts == worst.facts
