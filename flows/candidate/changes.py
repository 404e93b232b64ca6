"""What a candidate changes against the one that serves now, for those who decide on it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from flows.spec import Candidate
from flows.text import gib


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing that differs: what it is, what serves now, what would."""

    what: str
    now: str
    new: str


def changes(current: Candidate | None, candidate: Candidate) -> tuple[Change, ...]:
    """What differs between the two, in the order in which people look; empty if nothing does or nothing serves now."""
    if current is None:
        return ()
    before, after = _facts(current), _facts(candidate)
    return tuple(
        Change(what=what, now=before.get(what, "none"), new=after.get(what, "none"))
        for what in dict.fromkeys([*after, *before])
        if before.get(what) != after.get(what)
    )


def differences(current: Candidate | None, candidate: Candidate) -> tuple[Change, ...]:
    """All that differs: `changes`, and behind them what was read of the model (licences, weights), which follows from the commit.

    `changes` itself stays as it is: what was approved names the hash of a document with these.
    """
    if current is None:
        return ()
    before, after = _about(current), _about(candidate)
    read = [
        Change(what=what, now=before.get(what, "not known"), new=after.get(what, "not known"))
        for what in dict.fromkeys([*after, *before])
        if before.get(what) != after.get(what)
    ]
    return (*changes(current, candidate), *read)


def _about(candidate: Candidate) -> dict[str, str]:
    about = candidate.about
    if about is None:  # a candidate from before models were looked into
        return {}
    return {
        "licence": ", ".join(about.licences) or "none named",
        "gated": "yes" if about.gated else "no",
        "architecture": about.config.architecture or "unnamed",
        "parameters": f"{about.parameters:,} in {about.dtype}",
        "quantisation": about.config.quantisation or "none",
        "memory of the weights": f"{gib(about.weights_bytes)} on {candidate.engine.gpus} GPU(s)",
    }


def _facts(candidate: Candidate) -> dict[str, str]:
    image, digest = candidate.image.split("@sha256:")
    engine = {f"engine.{name}": _shown(value) for name, value in asdict(candidate.engine).items()}
    files = {f"file {file.path}": f"{file.size_bytes:,} bytes, {file.digest[:12]}" for file in candidate.files}
    return {
        "hub revision": f"{candidate.repository} at {candidate.commit[:12]}",
        **({"folder": candidate.subfolder} if candidate.subfolder else {}),
        "image": f"{image} by digest {digest[:12]}",
        "chart": candidate.chart_digest[:12],
        **engine,
        **files,
    }


def _shown(value: object) -> str:
    if isinstance(value, dict):
        value = [f"{key}={inner}" for key, inner in value.items()]
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value)) or "none"
    text = "" if value is None else str(value)
    return (text if len(text) <= 60 else f"{text[:59]}…") or "none"
