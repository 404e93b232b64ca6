"""What a candidate changes against the one that serves now, for those who decide on it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from flows.spec import Candidate


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
