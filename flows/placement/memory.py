"""Refuses engine settings that the model or the GPUs' memory do not allow, with the numbers and what would do."""

from __future__ import annotations

from dataclasses import replace

from blocks.facts.model import ModelFacts
from flows.errors import DoesNotFit, Refusal
from flows.fit.errors import Unknown
from flows.fit.model import ConfiguredModel
from flows.fit.verdict import RESERVE_BYTES, STEP, Fit
from flows.placement.fit import can_share, configured, enough_parallel, shards_of, stated
from flows.placement.loading import cannot_load
from flows.placement.nodes import Target, gpus_for_one_pod
from flows.spec import EngineSettings, Model
from flows.text import gib


def refuse_memory(model: Model, about: ModelFacts, engine: EngineSettings, target: Target, fit: Fit | None) -> list[Refusal]:
    """Why the model cannot be served with these settings on the target's GPUs; empty if it can.

    Args:
        model: What its file says.
        about: What was read of it.
        engine: How it is to be served.
        target: The nodes.
        fit: How memory adds up there; none if it cannot be told.
    """
    known = configured(about, engine)
    found = [
        *_heads(model, known, engine),
        *_loading(model, known, engine),
        *_context(model, known, engine),
        *_unknown(model, about, known),
        *_guessing(model, known, engine),
    ]
    if fit is not None and not fit.fits:
        found.append(_too_large(model, about, engine, target, fit))
    return found


def _heads(model: Model, known: ConfiguredModel, engine: EngineSettings) -> list[Refusal]:
    parallel = engine.tensor_parallel_size
    if known.divides(parallel):
        return []
    shape = known.shape
    shared = sorted(number for number in (shape.kv_heads if shape is not None else ()) if number > 1)
    possible = [str(number) for number in range(1, 17) if can_share(known, engine, number)]
    return [
        DoesNotFit(
            f"engine.tensor_parallel_size of {model.name} is {parallel}, which does not divide its {known.attention_heads} attention heads"
            f"{f' and {shared[0]} KV heads' if shared else ''}: use one of {', '.join(possible)}.",
            tensor_parallel_size=parallel,
            attention_heads=known.attention_heads,
        )
    ]


def _loading(model: Model, known: ConfiguredModel, engine: EngineSettings) -> list[Refusal]:
    # Heads that cannot be shared are told of already.
    shares = engine.tensor_parallel_size if known.divides(engine.tensor_parallel_size) else 1
    why = cannot_load(known.document, replace(shards_of(engine), tensor_parallel=shares))
    if why is None:
        return []
    possible = [str(number) for number in range(1, 17) if can_share(known, engine, number)]
    instead = f"; engine.tensor_parallel_size may be {', '.join(possible)}" if possible else ""
    return [
        DoesNotFit(
            f"{model.name} cannot be loaded by vLLM 0.32 with engine.tensor_parallel_size {engine.tensor_parallel_size}: {why}{instead}.",
            tensor_parallel_size=engine.tensor_parallel_size,
        )
    ]


def _context(model: Model, known: ConfiguredModel, engine: EngineSettings) -> list[Refusal]:
    longest = known.longest_context()
    if longest is None or engine.max_model_len <= longest or engine.longer_than_made_for:
        return []
    return [
        DoesNotFit(
            f"engine.max_model_len of {model.name} is {engine.max_model_len:,}, but the model was made for {longest:,} tokens at the most: "
            f"set {longest} or less.",
            max_model_len=engine.max_model_len,
            max_context=longest,
        )
    ]


def _unknown(model: Model, about: ModelFacts, known: ConfiguredModel) -> list[Refusal]:
    if not about.config.configuration:
        return [DoesNotFit(f"This candidate of {model.name} was made before its configuration was kept: start a new release of it.")]
    problem = known.problem
    # What is nonsense is refused whatever is stated: vLLM could not read it either.
    if problem is None or (isinstance(problem, Unknown) and stated(model) is not None):
        return []
    kind = f" ({known.architecture})" if known.architecture else ""
    if not isinstance(problem, Unknown):
        return [DoesNotFit(f"The config.json of {model.repository}{kind} cannot be served: {problem.message}")]
    return [
        DoesNotFit(
            f"The config.json of {model.repository}{kind} does not tell what its KV cache takes: {problem.message}. State "
            "kv_bytes_per_token (bytes of one token on one GPU; vLLM logs the KV cache's size in tokens and in GiB) and, for states and "
            f"windows, kv_bytes_per_request (bytes of a request beside those) in deployments/models/{model.name}.yaml."
        )
    ]


def _guessing(model: Model, known: ConfiguredModel, engine: EngineSettings) -> list[Refusal]:
    shape = known.shape
    if engine.speculative is None or engine.speculative.method != "mtp" or shape is None or shape.guessing:
        return []
    return [
        DoesNotFit(
            f"engine.speculative of {model.name} is mtp, but the config.json of {model.repository} tells of no layers that guess tokens "
            "(num_nextn_predict_layers): use ngram, or leave it out."
        )
    ]


def _too_large(model: Model, about: ModelFacts, engine: EngineSettings, target: Target, fit: Fit) -> Refusal:
    gpus = engine.tensor_parallel_size
    ways = []
    # One block of vLLM's, and the least that `engine.max_model_len` may be.
    if fit.largest_context >= STEP:
        ways.append(f"the largest max_model_len that fits is {fit.largest_context}")
    else:
        ways.append("no context fits")
    wider = enough_parallel(about, engine, model, fit.gpu_bytes, target.gpu)
    # A replica's GPUs are all on one node.
    if wider is not None and wider * engine.arguments.gpus(1) <= max(gpus_for_one_pod(node) for node in target.nodes):
        ways.append(f"tensor_parallel_size {wider} would do for {fit.max_model_len:,}")
    share = f" (1/{gpus} of them)" if gpus > 1 else ""
    requests = f"{fit.concurrency:,} request(s) of {fit.max_model_len:,} tokens"
    return DoesNotFit(
        f"{model.name} does not fit one {target.gpu}: {gib(fit.weights_bytes)} of weights{share}, {gib(fit.kv_bytes)} of KV cache for "
        f"{requests} and {gib(RESERVE_BYTES)} of reserve make {gib(fit.needed_bytes)}, but vLLM may take {gib(fit.usable_bytes)} of "
        f"{gib(fit.gpu_bytes)} (gpu_memory_utilization {engine.gpu_memory_utilization:g}); {'; '.join(ways)}.",
        needed_bytes=fit.needed_bytes,
        usable_bytes=fit.usable_bytes,
        weights_bytes=fit.weights_bytes,
        kv_bytes=fit.kv_bytes,
        largest_context=fit.largest_context,
        tensor_parallel_size=wider,
    )
