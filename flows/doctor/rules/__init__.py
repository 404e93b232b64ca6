"""What is inconsistent between registry, cluster, Helm, Git, nodes and Prefect: pure findings from facts that were gathered before."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from flows.doctor.rules.canaries import canary_symptoms
from flows.doctor.rules.drift import drift_symptoms
from flows.doctor.rules.facts import Facts
from flows.doctor.rules.places import place_symptoms
from flows.doctor.rules.prefect_site import prefect_symptoms
from flows.doctor.rules.registry import registry_symptoms
from flows.doctor.rules.runs import run_symptoms
from flows.doctor.rules.symptom import Symptom

#: Who looks at the facts, each for symptoms of its own kind, in the order in which they are shown. What is new is added here.
EXAMINERS: tuple[Callable[[Facts], Iterable[Symptom]], ...] = (
    prefect_symptoms,
    registry_symptoms,
    run_symptoms,
    canary_symptoms,
    place_symptoms,
    drift_symptoms,
)


def symptoms(facts: Facts) -> list[Symptom]:
    """Everything that is found."""
    return [symptom for examine in EXAMINERS for symptom in examine(facts)]
