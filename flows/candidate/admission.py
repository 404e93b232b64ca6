"""Whether a model may be served at all, and in an environment: formats of its weights, code of its own, licence."""

from __future__ import annotations

from collections.abc import Sequence

from blocks.facts import HubFile
from blocks.facts.model import ModelFacts
from flows.candidate.files import unsafe_files
from flows.errors import Refusal
from flows.spec import Environment, Model
from flows.text import listed


def refuse_model(model: Model, files: Sequence[HubFile], about: ModelFacts) -> list[Refusal]:
    """Why the model may be served nowhere; empty if it may."""
    return [*_formats(model, files), *_code(model, about)]


def refuse_licence(name: str, about: ModelFacts, environment: Environment) -> list[Refusal]:
    """Why the model `name` must not be served in the environment by its licence; empty if it may be."""
    allowed = environment.licences
    if allowed is None:
        return []
    shown = ", ".join(allowed) or "none"
    where = f"licences of deployments/environments/{environment.name}.yaml (which allow {shown})"
    if not about.licences:
        return [Refusal(f"{name} names no licence on its model card, and {environment.name} takes only models of the {where}.")]
    # The hub's `other` is any licence without a name of its own: to allow it would be to allow all of these.
    denied = [licence for licence in about.licences if licence not in allowed or licence == "other"]
    if not denied:
        return []
    nameless = " without a name (license_name)" if "other" in denied else ""
    return [
        Refusal(
            f"{name} has the licence {', '.join(denied)}{nameless}, which is not among the {where}: "
            "have it looked at and add it, or choose another model.",
            licences=list(about.licences),
            allowed=list(allowed),
        )
    ]


def _formats(model: Model, files: Sequence[HubFile]) -> list[Refusal]:
    unsafe = unsafe_files(files, model.subfolder)
    if not unsafe:
        return []
    return [
        Refusal(
            f"{model.repository} holds pickled or otherwise unsafe weights ({listed(unsafe)}) where vLLM looks for weights: loading them "
            "can run "
            "code. Use a revision with safetensors only in that folder.",
            files=list(unsafe),
        )
    ]


def _code(model: Model, about: ModelFacts) -> list[Refusal]:
    if about.foreign_code:
        return [
            Refusal(
                f"{model.repository} asks for code of {listed(about.foreign_code)}, which no candidate pins: copy that code into a "
                "repository of your own, and name it without `--` in auto_map.",
                repositories=list(about.foreign_code),
            )
        ]
    if about.remote_code and not model.allow_remote_code:
        return [
            Refusal(
                f"{model.repository} asks for code of its own to be run ({listed(about.remote_code)}): read that code, then set "
                f"allow_remote_code: true in deployments/models/{model.name}.yaml, or use another model.",
                code=list(about.remote_code),
            )
        ]
    return []
