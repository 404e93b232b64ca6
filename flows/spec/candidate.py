"""The candidate: one immutable set of hub commit, files, image, chart and engine settings, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints

from blocks.facts.model import ModelFacts
from flows.errors import SpecInvalid
from flows.spec.adapter import adapter
from flows.spec.engine_arguments import EngineArguments
from flows.spec.types import STRICT, CommitSha, ImageByDigest, ModelName, RepositoryName, Sha256, Subfolder

#: Kubernetes label values hold 63 characters, a SHA-256 has 64: labels carry the first 40 (160 bits).
LABEL_LENGTH = 40

#: How vLLM finds the weights: as most repositories have them, or in Mistral's own layout (`consolidated*.safetensors`, `params.json`).
LoadFormat = Literal["safetensors", "mistral"]

#: What came later to candidates and to their engine settings, as it is where it says nothing. The database takes the fingerprint over the
#: same (`slipway_fingerprint`, migration 0012): what is added here comes to it by a migration.
_SAYS_NOTHING = (("remote_code", False), ("subfolder", ""))
_ENGINE_SAYS_NOTHING: tuple[tuple[str, object], ...] = (
    ("quantization", ""),
    ("speculative", None),
    ("load_format", "safetensors"),
    ("variables", {}),
)


@dataclass(frozen=True, kw_only=True)
class SnapshotFile:
    """One file of a hub commit.

    Attributes:
        path: Its path in the repository, `/`-separated.
        size_bytes: Its size.
        digest: What the hub says its content hashes to: the SHA-256 for large files, git's blob SHA-1 for the others.
        algorithm: Which of the two `digest` is.
    """

    __pydantic_config__ = STRICT

    path: str
    size_bytes: Annotated[int, Field(ge=0)]
    digest: str
    algorithm: Literal["sha256", "git-sha1"]


@dataclass(frozen=True, kw_only=True)
class Speculative:
    """Guessing tokens ahead without a second model.

    Attributes:
        method: vLLM's name of it: `ngram` guesses what followed the same tokens before, in the prompt or in the answer; `mtp` lets layers
            guess that the checkpoint has for it. Methods that read a second model's weights are not offered: nothing would prove these.
        tokens: Tokens guessed at a time.
        lookup_min: The fewest tokens that must be the same; for `ngram`.
        lookup_max: The most tokens that are compared; for `ngram`.
    """

    __pydantic_config__ = STRICT

    method: Literal["ngram", "mtp"]
    tokens: Annotated[int, Field(ge=1, le=64)] = 4
    lookup_min: Annotated[int, Field(ge=1, le=64)] = 2
    lookup_max: Annotated[int, Field(ge=1, le=64)] = 4


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """How vLLM is started; part of the candidate's identity.

    Attributes:
        max_model_len: Context window in tokens.
        tensor_parallel_size: GPUs that share one replica.
        dtype: vLLM's `--dtype`.
        gpu_memory_utilization: Share of GPU memory that vLLM may take, 0 to 1.
        extra_args: Further arguments of `vllm serve`, in order.
        chat_template: A Jinja template that replaces the model's own; empty keeps the model's.
        quantization: vLLM's `--quantization`; empty takes what the model's configuration says.
        speculative: How tokens are guessed ahead; none for not at all.
        load_format: In which layout the weights are served, where a repository has both: never both.
        variables: Variables of the engine's process.
    """

    __pydantic_config__ = STRICT

    max_model_len: Annotated[int, Field(ge=16)]
    tensor_parallel_size: Annotated[int, Field(ge=1, le=64)] = 1
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    extra_args: tuple[str, ...] = ()
    chat_template: str = ""
    quantization: Annotated[str, StringConstraints(pattern=r"^([a-z0-9][a-z0-9_-]{0,39})?$")] = ""
    speculative: Speculative | None = None
    load_format: LoadFormat = "safetensors"
    variables: Mapping[str, Annotated[str, Field(coerce_numbers_to_str=True)]] = field(default_factory=dict)

    @cached_property
    def arguments(self) -> EngineArguments:
        """What `extra_args` say.

        Raises:
            SpecInvalid: vLLM would not start with them.
        """
        return EngineArguments.read(self.extra_args)

    @property
    def longer_than_made_for(self) -> bool:
        """Whether the context may be longer than what the model was made for."""
        return self.variables.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN") == "1"

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        try:
            return self.arguments.gpus(self.tensor_parallel_size)
        except SpecInvalid:  # a candidate from before arguments were read: its pods had these
            return self.tensor_parallel_size


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What is released: the same in every environment.

    Attributes:
        model: The name that clients send.
        repository: Where it comes from on the hub, by the name that it had when it was resolved.
        commit: The hub revision, resolved once.
        files: The files of that commit that the engine needs, by path.
        image: vLLM's container image, by digest.
        chart_digest: SHA-256 of the chart's packaged content.
        engine: How vLLM is started.
        subfolder: The folder of the repository that holds the model; empty for the top.
        remote_code: Whether vLLM may run the repository's own code; its files are then among `files`.
        about: What was read of the model. It follows from the commit, and is no part of the identity.
    """

    __pydantic_config__ = STRICT

    model: ModelName
    repository: RepositoryName
    commit: CommitSha
    files: tuple[SnapshotFile, ...]
    image: ImageByDigest
    chart_digest: Sha256
    engine: EngineSettings
    subfolder: Subfolder = ""
    remote_code: bool = False
    about: ModelFacts | None = None

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the candidate's canonical JSON: keys sorted, no white space, UTF-8.

        What came to candidates later is left out where it says nothing, so that those that are known keep their fingerprints.
        """
        identity = {key: value for key, value in self.document().items() if key != "about" and (key, value) not in _SAYS_NOTHING}
        identity["engine"] = {key: value for key, value in identity["engine"].items() if (key, value) not in _ENGINE_SAYS_NOTHING}
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def label(self) -> str:
        """The fingerprint's first 40 characters: what fits a Kubernetes label."""
        return self.fingerprint[:LABEL_LENGTH]

    @property
    def short(self) -> str:
        """The fingerprint's first 12 characters: what people read."""
        return self.fingerprint[:12]

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(file.size_bytes for file in self.files)

    def document(self) -> dict[str, Any]:
        """The candidate as JSON-able data, as the registry keeps it."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The candidate that `document` was made of."""
        return adapter(cls).validate_python(document)
