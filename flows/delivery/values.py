"""The chart's values for a candidate in an environment."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from blocks.facts.helm import merged
from flows.naming import WEIGHTS_CLAIM
from flows.node.layout import snapshot_folder
from flows.placement.assess import ReleasePlan
from flows.spec import Candidate, Environment, Speculative
from flows.weights.prefetch import mount_path, snapshot_digest_of


def chart_values(candidate: Candidate, environment: Environment, plan: ReleasePlan) -> dict[str, Any]:
    """Values for `charts/vllm-deployment`: the environment's own below, what the pipeline decides on top."""
    image, digest = candidate.image.split("@")
    checker, checker_digest = environment.prefetch.image.split("@")
    engine = candidate.engine
    decided = {
        "fullname": plan.helm_release,
        "environment": environment.name,
        "model": {"name": candidate.model, "repository": candidate.repository, "commit": candidate.commit},
        "candidate": {"fingerprint": candidate.fingerprint},
        "image": {"repository": image, "digest": digest},
        "weights": {
            "claim": WEIGHTS_CLAIM,
            "folder": snapshot_folder(candidate.repository, candidate.commit),
            "mountPath": mount_path(candidate),
            "subfolder": candidate.subfolder,
            "check": {"image": {"repository": checker, "digest": checker_digest}, "digest": snapshot_digest_of(candidate)},
        },
        "engine": {
            "maxModelLen": engine.max_model_len,
            "tensorParallelSize": engine.tensor_parallel_size,
            "gpus": engine.gpus,
            "dtype": engine.dtype,
            "gpuMemoryUtilization": engine.gpu_memory_utilization,
            "extraArgs": list(engine.extra_args),
            "trustRemoteCode": candidate.remote_code,
            "chatTemplate": engine.chat_template,
            "quantization": engine.quantization,
            "loadFormat": engine.load_format,
            "speculative": _speculative(engine.speculative),
            "variables": dict(engine.variables),
            # Its name alone: values are kept in the cluster's releases, and where Argo CD delivers, in Git.
            "apiKeySecret": environment.api_key_secret or "",
        },
        "rollout": {"strategy": plan.strategy},
        "loadBudgetSeconds": plan.budget.load_seconds,
        "resources": {
            # Both, and the same: Kubernetes does not overcommit extended resources.
            "requests": {"nvidia.com/gpu": engine.gpus},
            "limits": {"nvidia.com/gpu": engine.gpus},
        },
        "nodeSelector": dict(environment.node_selector),
        "compileCache": {"gpu": plan.gpu},
        "tolerations": [{key: value for key, value in asdict(toleration).items() if value != ""} for toleration in environment.tolerations],
    }
    return merged(environment.values, decided)


def _speculative(wanted: Speculative | None) -> dict[str, Any]:
    if wanted is None:
        return {"method": "none"}
    return {"method": wanted.method, "tokens": wanted.tokens, "lookupMin": wanted.lookup_min, "lookupMax": wanted.lookup_max}
