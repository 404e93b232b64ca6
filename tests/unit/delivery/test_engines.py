"""The values of two engines side by side: none loses its own, and a way back and forth ends where it began."""

from __future__ import annotations

from typing import Any

from flows.delivery.engines import (
    Engines,
    beside_alone,
    engines_of,
    in_slot,
    restarted,
    taken_over,
    with_beside,
    with_weight,
    without_beside,
)

DEFAULTS: dict[str, Any] = {
    "replicas": 1,
    "engine": {"dtype": "auto", "variables": {}},
    "autoscaling": {"kind": "none"},
    "route": {"kind": "none"},
    "slot": "a",
    "beside": {},
}


def values(fingerprint: str, **more: Any) -> dict[str, Any]:
    return {
        "fullname": "tiny",
        "environment": "production",
        "candidate": {"fingerprint": fingerprint},
        "engine": {"maxModelLen": 256},
    } | more


OLD, NEW = values("1" * 64, engine={"variables": {"A": "1"}}), values("2" * 64, replicas=3)


def test_a_candidate_comes_beside_what_serves_which_stays_as_it_is() -> None:
    both = with_beside(OLD, NEW, DEFAULTS)

    assert {key: value for key, value in both.items() if key != "beside"} == OLD
    assert engines_of(both) == Engines(serving="1" * 64, slot="a", beside="2" * 64)
    # whole: nothing of what serves, and nothing of the chart's defaults is needed
    assert both["beside"]["engine"] == {"dtype": "auto", "maxModelLen": 256, "variables": {}}
    assert both["beside"]["replicas"] == 3
    assert not {"route", "slot", "beside", "fullname", "environment"} & both["beside"].keys()


def test_both_change_places_and_what_served_stays_warm() -> None:
    both = taken_over(with_weight(25)(with_beside(OLD, NEW, DEFAULTS), NEW, DEFAULTS), NEW, DEFAULTS)

    assert engines_of(both) == Engines(serving="2" * 64, slot="b", beside="1" * 64, warm=True, weight=0)
    assert both["replicas"] == 3
    assert both["beside"]["engine"] == {"dtype": "auto", "variables": {"A": "1"}}
    assert both["beside"]["replicas"] == 1


def test_what_is_alone_again_has_kept_its_slot() -> None:
    new_alone = without_beside(taken_over(with_beside(OLD, NEW, DEFAULTS), NEW, DEFAULTS))
    assert engines_of(new_alone) == Engines(serving="2" * 64, slot="b")

    old_alone = beside_alone(taken_over(with_beside(OLD, NEW, DEFAULTS), NEW, DEFAULTS))
    assert engines_of(old_alone) == Engines(serving="1" * 64, slot="a")
    assert "slot" not in old_alone


def test_the_next_canary_comes_into_the_slot_that_is_free() -> None:
    third = values("3" * 64)
    both = with_beside(without_beside(taken_over(with_beside(OLD, NEW, DEFAULTS), NEW, DEFAULTS)), third, DEFAULTS)

    assert (engines_of(both).slot_of("3" * 64), engines_of(both).slot_of("2" * 64)) == ("a", "b")
    assert engines_of(taken_over(both, third, DEFAULTS)).slot == "a"


def test_an_autoscaler_goes_on_owning_the_number_of_pods() -> None:
    scaled = {"autoscaling": {"kind": "keda"}}
    # Helm keeps no null
    wanted = values("2" * 64, replicas=None, **scaled)
    both = with_beside(values("1" * 64, **scaled), wanted, DEFAULTS)

    assert both["replicas"] is None
    assert "replicas" not in both["beside"]
    assert taken_over(both, wanted, DEFAULTS)["replicas"] is None
    kept = {key: value for key, value in both.items() if value is not None}
    assert "replicas" not in taken_over(kept, wanted, DEFAULTS)["beside"]
    assert without_beside(both)["replicas"] is None


def test_slot_a_is_not_named_so_that_what_was_installed_before_is_the_same() -> None:
    assert in_slot({**OLD, "slot": "b", "beside": {"weight": 0}}, "a") == OLD
    assert in_slot(OLD, "b") == {**OLD, "slot": "b"}


def test_each_change_is_made_once_however_often_it_is_asked_for() -> None:
    both = with_beside(OLD, NEW, DEFAULTS)
    shifted = with_weight(25)(both, NEW, DEFAULTS)
    taken = taken_over(shifted, NEW, DEFAULTS)

    assert with_beside(shifted, NEW, DEFAULTS) == shifted
    for again in (with_beside, taken_over, with_weight(5)):
        assert again(taken, NEW, DEFAULTS) == taken
    assert without_beside(without_beside(taken)) == without_beside(taken)


def test_what_somebody_else_wrote_into_the_values_is_no_engine() -> None:
    assert engines_of({"beside": "x", "candidate": [], "slot": 3}) == Engines(serving=None)
    assert engines_of({}) == Engines(serving=None)


def test_pods_that_would_start_again_are_told() -> None:
    def deployment(name: str, image: str, fingerprint: str = "1") -> dict[str, Any]:
        metadata = {"name": name, "annotations": {"slipway.dev/fingerprint": fingerprint}}
        return {"kind": "Deployment", "metadata": metadata, "spec": {"template": {"image": image}, "replicas": 1}}

    before = [deployment("tiny", "x"), {"kind": "Service", "metadata": {"name": "tiny"}}]
    assert not restarted(before, [deployment("tiny", "x"), deployment("tiny-b", "y")])
    assert restarted(before, [deployment("tiny", "y")])
    # what goes, and what another candidate takes the place of, does not start again
    assert not restarted(before, [])
    assert not restarted(before, [deployment("tiny", "y", "2")])
