"""What must hold after every run, whatever was killed on the way: each a function that says what is broken, or None."""

from __future__ import annotations

from collections.abc import Callable

from tests.chaos.facts import Intended, Row, Seen

Invariant = Callable[[Seen, Intended], str | None]


def ends_as_intended(seen: Seen, intended: Intended) -> str | None:
    """The run ends in the state that it should, however often it was begun."""
    if seen.state != intended.state:
        return f"the run ended {seen.state}, not {intended.state}: {seen.message[:200]}"
    return None


def one_helm_release(seen: Seen, intended: Intended) -> str | None:
    """One Helm release; its newest revision, and no other one, is deployed and carries the intended candidate.

    The record of an operation that was killed stays in the history as pending; Helm looks at the newest one alone.
    """
    names = {record.release for record in seen.helm}
    if seen.argo is not None:
        return f"Argo CD delivers, and there are the Helm releases {sorted(names)}" if names else None
    if names != {seen.helm_release}:
        return f"the namespace holds the Helm releases {sorted(names)}, not {seen.helm_release} alone"
    newest = max(seen.helm, key=lambda record: record.number)
    if newest.status != "deployed":
        return f"the newest Helm revision {newest.number} is {newest.status}"
    deployed = [record.number for record in seen.helm if record.status == "deployed"]
    if len(deployed) > 1:
        return f"the Helm revisions {sorted(deployed)} are all marked as deployed"
    return _carries(seen.helm_fingerprint, seen, intended, "the Helm release")


def no_orphan_job(seen: Seen, intended: Intended) -> str | None:
    """No Job of the run still works when the run has ended."""
    unfinished = sorted(name for name, outcome in seen.jobs.items() if outcome == "unfinished")
    return f"Jobs without a run: {', '.join(unfinished)}" if unfinished else None


def no_orphan_process(seen: Seen, intended: Intended) -> str | None:
    """Nothing that a killed process had started (helm) works on."""
    return f"processes without a run: {'; '.join(seen.processes)}" if seen.processes else None


def no_lock(seen: Seen, intended: Intended) -> str | None:
    """Nobody holds the model in any environment."""
    held = [f"{environment} by {holder}" for environment, holder in sorted(seen.locks.items())]
    return f"locks are held: {', '.join(held)}" if held else None


def ready_serves(seen: Seen, intended: Intended) -> str | None:
    """One row is ready; its endpoint answers with that candidate, and so does every pod behind it. None is left deploying."""
    ready = [row for row in seen.rows if row.status == "ready"]
    if len(ready) != (0 if intended.nothing else 1):
        return f"{len(ready)} rows are ready"
    if ready and (lie := _lie(ready[0])) is not None:
        return lie
    deploying = [str(row.fingerprint)[:12] for row in seen.rows if row.status in ("deploying", "pending")]
    if deploying:
        return f"rows are left deploying: {', '.join(deploying)}"
    wrong = [row.commit[:12] for row in ready if row.commit != intended.commit]
    return f"hub revision {wrong[0]} is ready, not {intended.commit[:12]}" if wrong else None


def _lie(row: Row) -> str | None:
    shown = f"the ready row of {str(row.fingerprint)[:12]}"
    if not row.labels or not row.roots:
        return f"{shown}: nothing answers behind its endpoint (pods {list(row.labels)}, models {list(row.roots)})"
    others = [label for label in row.labels if not str(row.fingerprint).startswith(label)]
    if others:
        return f"{shown}: pods behind its endpoint serve {others}"
    strange = [root for root in row.roots if row.commit not in root]
    return f"{shown}: its endpoint answers with {strange}" if strange else None


def serves_meanwhile(seen: Seen, intended: Intended) -> str | None:
    """With a spare GPU no request is refused from the beginning to the end, and each is answered by the old or the new candidate."""
    if seen.wrong:
        return f"{len(seen.wrong)} of {seen.asked} answers were of neither candidate: {seen.wrong[0]}"
    if intended.spare_gpu and seen.refused:
        return f"{len(seen.refused)} of {seen.asked} requests were refused: {seen.refused[0]}"
    return None


def approvals_count_once(seen: Seen, intended: Intended) -> str | None:
    """Every approval that was given is on record once, and granted one passage."""
    approved, granted, refused = (seen.kinds.get(kind, 0) for kind in ("approved", "approval_granted", "approval_refused"))
    if approved != intended.approvals:
        return f"{approved} approvals are on record, {intended.approvals} were given"
    if granted != min(1, intended.approvals):
        return f"the gate was passed {granted} times"
    if refused:
        return f"{refused} answers were refused: a code was asked for twice"
    twice = [who for who, times in seen.codes_used.items() if times > 1]
    return f"{', '.join(twice)} approved more than once" if twice else None


def answerable(seen: Seen, intended: Intended) -> str | None:
    """A run that waits for people has the form that they fill in."""
    return "the run waits for people, and there is no form" if seen.formless else None


def chain_intact(seen: Seen, intended: Intended) -> str | None:
    """Every event follows the one before it, with its hash."""
    return seen.broken_chain


def recorded_once(seen: Seen, intended: Intended) -> str | None:
    """What the run did is on record once, and nothing that it did not. A run that is picked up may verify again: that is another fact."""
    for kind in ("deploying", "ready", "failed", "timed", "rolled_back", "rehearsed", "cleaning_up", "cleaned_up"):
        if kind in seen.twice:
            return f"{kind} of one candidate is on record twice"
    if seen.kinds.get("rolled_back", 0) > 1:
        return f"the run went back {seen.kinds['rolled_back']} times"
    if seen.kinds.get("picked_up", 0) != intended.taken_up:
        return f"the sweep has taken the run up {seen.kinds.get('picked_up', 0)} times, not {intended.taken_up}"
    if intended.state == "Completed":
        if seen.kinds.get("ready", 0) != intended.ready:
            return f"the run completed, and `ready` of it is on record {seen.kinds.get('ready', 0)} times, not {intended.ready}"
        if seen.kinds.get("failed", 0):
            return "the run completed, and a failure of it is on record"
    return None


def git_agrees(seen: Seen, intended: Intended) -> str | None:
    """Git says what the registry says, at the commit that it has recorded, and Argo CD has just that on the cluster."""
    if seen.argo is None:
        return None
    argo = seen.argo
    serving = next((row.fingerprint for row in seen.rows if row.status == "ready"), None)
    if argo.promoted != serving:
        return f"Git says candidate {str(argo.promoted)[:12]}, and the registry {str(serving)[:12]}"
    if serving is not None and argo.recorded != argo.delivered:
        return f"the registry has commit {str(argo.recorded)[:12]} on record, and {argo.delivered[:12]} was the last one"
    if (argo.sync, argo.revision) != ("Synced", argo.head):
        return f"Argo CD is {argo.sync} at {argo.revision[:12]}, and Git at {argo.head[:12]}"
    if serving is None and argo.resources:
        return f"nothing is released, and {', '.join(argo.resources)} is there"
    return None


def committed_once(seen: Seen, intended: Intended) -> str | None:
    """Each promotion, return and removal of the run is one commit, whatever it was killed at."""
    if seen.argo is None:
        return None
    made = tuple(verb for verb, _ in seen.argo.commits)
    return f"the run made the commits {list(made)}, not {list(intended.commits)}" if made != intended.commits else None


def no_operation_left(seen: Seen, intended: Intended) -> str | None:
    """No operation of Argo CD runs, or waits to."""
    return f"an operation of Argo CD is {seen.argo.operation}" if seen.argo is not None and seen.argo.operation else None


INVARIANTS: tuple[Invariant, ...] = (
    ends_as_intended,
    one_helm_release,
    no_orphan_job,
    no_orphan_process,
    no_lock,
    ready_serves,
    serves_meanwhile,
    approvals_count_once,
    answerable,
    chain_intact,
    recorded_once,
    git_agrees,
    committed_once,
    no_operation_left,
)


def broken(seen: Seen, intended: Intended) -> dict[str, str]:
    """The invariants that do not hold, by name, each with what was seen."""
    judged = ((invariant.__name__, invariant(seen, intended)) for invariant in INVARIANTS)
    return {name: why for name, why in judged if why is not None}


def _carries(fingerprint: str | None, seen: Seen, intended: Intended, what: str) -> str | None:
    wanted = intended.fingerprint or next((row.fingerprint for row in seen.rows if row.status == "ready"), None)
    if wanted is not None and fingerprint != wanted:
        return f"{what} carries candidate {str(fingerprint)[:12]}, not {str(wanted)[:12]}"
    return None
