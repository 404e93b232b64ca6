"""Whether what answers is the candidate: the engine's own word, and what its pods were told to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from blocks.facts import Container, Pod, ServedModel
from blocks.wording import one_line
from flows.rollout.containers import is_foreign
from flows.spec import Candidate, InjectionPolicy
from flows.verification.measurement import Measurement, judged
from flows.weights.prefetch import served_path, snapshot_digest_of

LABEL = "slipway.dev/candidate"
FINGERPRINT = "slipway.dev/fingerprint"

#: So many of the names that are served instead are told.
SHOWN = 8


def serving(pods: Sequence[Pod]) -> list[Pod]:
    """The pods that take traffic."""
    return [pod for pod in pods if pod.ready and not pod.terminating]


def check_health(status: int | None) -> Measurement:
    """`/health` must answer 200."""
    return judged("health", "identity", status == 200, expected="HTTP 200", seen=f"HTTP {status}" if status else "no answer in time")


def check_models(listed: Mapping[str, Sequence[ServedModel]], candidate: Candidate) -> Measurement:
    """`/v1/models` of the endpoint, and of each pod behind it, must list the model under its name, loaded from the candidate's own commit.

    Args:
        listed: By who says so, the endpoint first.
        candidate: What should be served.
    """
    # Less one: the endpoint itself is among those that list.
    expected = f"{candidate.model} from {served_path(candidate)} with {candidate.engine.max_model_len} tokens, on {len(listed) - 1} pod(s)"
    # The endpoint alone would not do: a Service answers for any of its pods.
    for who, models in listed.items():
        found = [model for model in models if model.name == candidate.model]
        if not found:
            names = ", ".join([*(model.name for model in models[:SHOWN]), *(["…"] if len(models) > SHOWN else [])]) or "no model"
            return judged("identity", "identity", False, expected=expected, seen=f"{names} ({who})")
        right = (served_path(candidate), candidate.engine.max_model_len)
        # All of that name: an adapter may be listed by it, too.
        other = next((model for model in found if (model.root, model.max_model_len) != right), None)
        if other is not None:
            seen = f"{other.name} from {other.root} with {other.max_model_len} tokens ({who})"
            return judged("identity", "identity", False, expected=expected, seen=seen)
    return judged("identity", "identity", True, expected=expected, seen="the same everywhere")


def check_version(versions: Sequence[str], known: str | None) -> Measurement:
    """All pods must run one version of the engine, and the one that this image showed before.

    A version cannot be read off an image's digest; but one image is one version. What differs from what the same image showed in the
    environment before is therefore another program.

    Args:
        versions: What the pods state.
        known: What evidence has of the same image; none where it was not verified before.
    """
    different = sorted(set(versions))
    right = len(different) == 1 and (known is None or different[0] == known)
    expected = f"version {known}, as this image showed before" if known else "one version on all pods"
    return judged("engine-version", "identity", right, expected=expected, seen=", ".join(different) or "none")


def check_pods(pods: Sequence[Pod], candidate: Candidate) -> list[Measurement]:
    """Every pod that takes traffic must carry the candidate's label and fingerprint, and run its image.

    The fingerprint covers every file's hash: a pod that carries it was told to mount that snapshot and no other.
    """
    checks = [
        _all_have(pods, "pods", f"the label {candidate.short}", candidate.label, [pod.labels.get(LABEL) for pod in pods]),
        _all_have(
            pods,
            "pod-fingerprint",
            f"the fingerprint {candidate.short}",
            candidate.fingerprint,
            [pod.annotations.get(FINGERPRINT) for pod in pods],
        ),
        _all_have(pods, "pod-image", f"the image {_short(candidate.image)}", candidate.image, [pod.image for pod in pods]),
    ]
    demanded = [pod.weights_digest or None for pod in pods]
    if any(demanded):  # a candidate whose chart does not check the weights yet is told by its fingerprint alone
        digest = snapshot_digest_of(candidate)
        checks.append(_all_have(pods, "pod-weights", f"weights that hash to {digest[:12]}", digest, demanded))
    return checks


def check_containers(pods: Sequence[Pod], policy: InjectionPolicy) -> Measurement:
    """Nothing may be in the pods but what the chart renders and what the environment knows; what else there is is named.

    A container that was put in before the engine's, or stays beside it, changes nothing of which one is the engine: that is its name.
    """
    known = (
        "and what the environment knows to be injected" if policy.known else "(injected.known of the environment's file names what may be)"
    )
    others = sorted({_described(each) for pod in pods for each in pod.containers if is_foreign(each) and not _is_known(each, policy)})
    passed = not others or policy.others == "report"
    seen = f"{'; '.join(others)}{' (reported)' if passed else ''}" if others else "no other"
    return judged("pod-containers", "identity", passed, expected=f"no container but the chart's {known}", seen=seen)


def _is_known(container: Container, policy: InjectionPolicy) -> bool:
    return any(each.covers(container.name, container.image) for each in policy.known)


_KINDS = {"main": "container", "init": "init container", "sidecar": "sidecar (init container)", "debug": "debug container"}


def _described(container: Container) -> str:
    return one_line(f"{_KINDS[container.kind]} {container.name} of {container.image}", 200)


def _all_have(pods: Sequence[Pod], name: str, what: str, right: str, values: Sequence[str | None]) -> Measurement:
    wrong = [value or "none" for value in values if value != right]
    seen = f"{len(values) - len(wrong)} of {len(values)} pod(s)" + (f"; another has {_short(wrong[0])}" if wrong else "")
    expected = f"all {len(pods)} pod(s) with {what}" if pods else "a pod that takes traffic"
    return judged(name, "identity", bool(pods) and not wrong, expected=expected, seen=seen)


def _short(value: str) -> str:
    # Of an image its digest; of any other value its beginning.
    return value.rpartition("@sha256:")[2][:12]
