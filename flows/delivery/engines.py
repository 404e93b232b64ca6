"""The chart's values for two engines side by side (docs/chart.md): what one beside the other, a change of places, and one alone are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from blocks.facts.helm import merged
from flows.naming import Slot, other_slot

Values = Mapping[str, Any]

#: From the values of a release, those of a candidate alone, and the chart's own: the values with which the release is to go on.
Rearrange: TypeAlias = Callable[[Values, Values, Values], dict[str, Any]]

#: Keys of the chart's values that describe a release, and neither of its engines.
SHARED = ("fullname", "environment", "networkPolicy", "route", "slot", "beside")

#: Keys of `beside` that are no engine's.
_OF_BESIDE = ("weight", "warm")


@dataclass(frozen=True, kw_only=True)
class Engines:
    """What a release carries.

    Attributes:
        serving: Fingerprint of the candidate that its endpoint leads to; none if it carries none.
        slot: Where that lies.
        beside: Fingerprint of the candidate beside it; none without.
        warm: Whether that is what was replaced.
        weight: Share of requests that a route sends to it, in per cent.
    """

    serving: str | None
    slot: Slot = "a"
    beside: str | None = None
    warm: bool = False
    weight: int = 0

    def slot_of(self, fingerprint: str) -> Slot:
        """Where the candidate lies, or would be put: beside what serves, unless it serves."""
        return self.slot if fingerprint == self.serving else other_slot(self.slot)


def engines_of(values: Values) -> Engines:
    """What the values of a release say; they may be of any version of the chart."""
    beside = _mapping(values, "beside")
    return Engines(
        serving=_fingerprint(values),
        slot="b" if values.get("slot") == "b" else "a",
        beside=_fingerprint(beside),
        warm=beside.get("warm") is True,
        weight=beside["weight"] if isinstance(beside.get("weight"), int) else 0,
    )


def in_slot(values: Values, slot: Slot) -> dict[str, Any]:
    """Values of one engine alone, in that slot. Nothing is said of slot a, as before there were slots."""
    alone = {key: value for key, value in _complete(values).items() if key not in ("slot", "beside")}
    return alone if slot == "a" else {**alone, "slot": slot}


def with_beside(current: Values, wanted: Values, defaults: Values) -> dict[str, Any]:
    """What is there, and the engine of the wanted values beside it, without requests.

    Args:
        current: The values of the release.
        wanted: Those of the other candidate, as if it were alone.
        defaults: The chart's own: what is beside has none.
    """
    if engines_of(current).serving == engines_of(wanted).serving:
        return dict(current)  # it has taken over already
    weight = engines_of(current).weight if engines_of(current).beside == engines_of(wanted).serving else 0
    return {**_complete(current), "beside": {**_engine(merged(defaults, _complete(wanted))), "weight": weight, "warm": False}}


def with_weight(weight: int) -> Rearrange:
    """The same with another share for what is beside, in per cent."""

    def rearrange(current: Values, wanted: Values, _: Values) -> dict[str, Any]:
        if engines_of(current).beside != engines_of(wanted).serving:
            return dict(current)
        return {**_complete(current), "beside": {**_mapping(current, "beside"), "weight": weight}}

    return rearrange


def taken_over(current: Values, wanted: Values, defaults: Values) -> dict[str, Any]:
    """Both in each other's place: what was beside serves, and what served stays warm. Nothing that is rendered of either engine changes."""
    if engines_of(current).beside != engines_of(wanted).serving:
        return dict(current)  # done before
    served = {**_engine(merged(defaults, _complete(current))), "weight": 0, "warm": True}
    return {**_promoted(current), "beside": served}


def beside_alone(current: Values, *_: Values) -> dict[str, Any]:
    """What is beside serves, and what served goes."""
    return _promoted(current)


def without_beside(current: Values, *_: Values) -> dict[str, Any]:
    """What serves, alone, in its slot."""
    return {key: value for key, value in _complete(current).items() if key != "beside"}


def only(current: Values, fingerprint: str) -> dict[str, Any]:
    """The values of one of both candidates, alone where it is."""
    return without_beside(current) if engines_of(current).serving == fingerprint else beside_alone(current)


def without(current: Values, fingerprint: str) -> dict[str, Any] | None:
    """The values without the candidate, alone with the other one; none where there are not both."""
    engines = engines_of(current)
    if engines.beside is None or engines.serving is None or fingerprint not in (engines.serving, engines.beside):
        return None
    return only(current, engines.serving if fingerprint == engines.beside else engines.beside)


def restarted(before: Iterable[Values], after: Iterable[Values]) -> bool:
    """Whether pods of a candidate that stays where it is would start again by what is rendered now."""
    was, now = (
        {_carried(each): each["spec"]["template"] for each in documents if each["kind"] == "Deployment"} for documents in (before, after)
    )
    return any(engine in now and now[engine] != template for engine, template in was.items())


def _carried(deployment: Values) -> tuple[str, str]:
    metadata = deployment["metadata"]
    return metadata["name"], str((metadata.get("annotations") or {}).get("slipway.dev/fingerprint"))


def restarts_what_serves(carrier: str) -> str:
    """What is said where they would."""
    return (
        f"{carrier}: the pods that serve, beside which a candidate was to be tried, would start again by the present chart. Release once "
        "with another rollout.strategy; canaries go on from there."
    )


def _promoted(current: Values) -> dict[str, Any]:
    shared = {key: value for key, value in current.items() if key in SHARED and key not in ("slot", "beside")}
    engine = {key: value for key, value in _mapping(current, "beside").items() if key not in _OF_BESIDE}
    return in_slot({**shared, **engine}, other_slot(engines_of(current).slot))


def _engine(values: Values) -> dict[str, Any]:
    """What an engine is made of; nulls take a default away, and there are none beside."""
    return {key: value for key, value in values.items() if key not in SHARED and value is not None}


def _complete(values: Values) -> dict[str, Any]:
    """The values with the one null that the chart's defaults make necessary, and that Helm does not keep."""
    scaled = _mapping(values, "autoscaling").get("kind", "none") != "none"
    return {**values, "replicas": None} if scaled else dict(values)


def _fingerprint(values: Values) -> str | None:
    found = _mapping(values, "candidate").get("fingerprint")
    return found if isinstance(found, str) else None


def _mapping(values: Values, key: str) -> Values:
    found = values.get(key)
    return found if isinstance(found, Mapping) else {}
