"""A candidate's memory, by `flows/fit`: what was read of it, and how its engine is started."""

from __future__ import annotations

from dataclasses import replace

from blocks.facts.model import ModelFacts
from flows.fit.errors import Unreadable
from flows.fit.model import ConfiguredModel, overridden, read_model
from flows.fit.settings import Settings
from flows.fit.verdict import Fit, Stated, judge
from flows.fit.weights import Stored
from flows.placement.loading import Shards, loads
from flows.placement.settings import memory_settings, shards_by
from flows.spec import EngineSettings, Model


def configured(about: ModelFacts, engine: EngineSettings) -> ConfiguredModel:
    """The model as the engine is told to read it: `--hf-overrides` change its configuration."""
    return overridden(read_model(about.config.configuration), engine.arguments.hf_overrides)


def stored(about: ModelFacts) -> Stored:
    """The weights as they lie in their files."""
    return Stored(numbers=about.stored, size_bytes=about.weights_bytes)


def settings_of(engine: EngineSettings) -> Settings:
    """How the engine is started, as memory is reckoned by."""
    ahead = engine.speculative
    return memory_settings(
        engine.arguments,
        Settings(
            max_model_len=engine.max_model_len,
            tensor_parallel=engine.tensor_parallel_size,
            dtype=engine.dtype,
            gpu_memory_utilization=engine.gpu_memory_utilization,
            guessing=ahead.method if ahead is not None else "",
            guessed_tokens=ahead.tokens if ahead is not None else 0,
            allow_long=engine.longer_than_made_for,
        ),
    )


def shards_of(engine: EngineSettings) -> Shards:
    """How the engine shares the weights out."""
    return shards_by(engine.arguments, engine.tensor_parallel_size, engine.quantization)


def can_share(known: ConfiguredModel, engine: EngineSettings, parallel: int) -> bool:
    """Whether so many GPUs can share the model: its heads, and its weights as they are quantised."""
    return known.divides(parallel) and loads(known.document, replace(shards_of(engine), tensor_parallel=parallel))


def stated(model: Model) -> Stated | None:
    """What the model's file states of its KV cache; none if it states nothing."""
    if model.kv_bytes_per_token is None and model.kv_bytes_per_request is None:
        return None
    return Stated(per_token=model.kv_bytes_per_token or 0, per_request=model.kv_bytes_per_request or 0)


def judge_fit(about: ModelFacts, engine: EngineSettings, model: Model, gpu_bytes: int, gpu: str = "") -> Fit | None:
    """Add up the memory of one GPU; none if it cannot be told.

    Args:
        about: What was read of the model.
        engine: How it is to be served.
        model: What its file says: the requests of full length that must fit at once, and what is stated of its KV cache.
        gpu_bytes: Memory of one GPU.
        gpu: Its name.
    """
    known, settings = configured(about, engine), settings_of(engine)
    try:
        return judge(
            known,
            settings,
            max_model_len=engine.max_model_len,
            concurrency=model.concurrency,
            gpu_bytes=gpu_bytes,
            weights_bytes=known.weights_bytes(stored(about), settings),
            stated=stated(model),
            gpu=gpu,
        )
    except Unreadable:  # `refuse_memory` says what to state
        return None


def enough_parallel(about: ModelFacts, engine: EngineSettings, model: Model, gpu_bytes: int, gpu: str = "") -> int | None:
    """The smallest tensor parallelism (a power of two up to 16) with which it would fit; none if there is none."""
    known = configured(about, engine)
    for parallel in (1, 2, 4, 8, 16):
        if parallel > engine.tensor_parallel_size and can_share(known, engine, parallel):
            fit = judge_fit(about, replace(engine, tensor_parallel_size=parallel), model, gpu_bytes, gpu)
            if fit is not None and fit.fits:
                return parallel
    return None
