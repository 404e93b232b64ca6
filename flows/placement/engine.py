"""Refuses what vLLM would not start with, or could not be asked, whatever the GPUs are."""

from __future__ import annotations

from flows.errors import DoesNotFit, Refusal
from flows.placement.fit import configured
from flows.spec import Candidate, Environment


def refuse_latency_window(candidate: Candidate, environment: Environment) -> list[Refusal]:
    """Why latency cannot be measured as the environment asks; empty if it can."""
    policy, window = environment.latency, candidate.engine.max_model_len
    if policy.prompt_tokens + policy.max_tokens <= window:
        return []
    return [
        DoesNotFit(
            f"latency.prompt_tokens of {environment.name} is {policy.prompt_tokens:,} and latency.max_tokens {policy.max_tokens:,}, "
            f"together more than the {window:,} tokens of {candidate.model} (engine.max_model_len): ask for less, or serve a longer "
            "context.",
            max_model_len=window,
        )
    ]


def refuse_parallelism(candidate: Candidate) -> list[Refusal]:
    """Why the sizes of parallelism do not go together; empty if they do.

    By `ParallelConfig` in vLLM 0.32.0's `config/parallel.py`, and `ModelConfig.verify_with_parallel_config` in `config/model.py`.
    """
    tensor, said = candidate.engine.tensor_parallel_size, candidate.engine.arguments
    prompts, decode = said.prefill_context_parallel_size, said.decode_context_parallel_size
    if prompts > 1:
        possible = sorted({1, prompts, tensor * prompts})
    else:
        possible = [number for number in range(1, tensor + 1) if tensor % number == 0]
    possible = [number for number in possible if number == 1 or _shares_tokens(candidate, number)]
    if decode in possible:
        return []
    return [
        DoesNotFit(
            f"--decode-context-parallel-size of {candidate.model} is {decode}: for this model, with engine.tensor_parallel_size {tensor} "
            f"and --prefill-context-parallel-size {prompts}, it must be one of {', '.join(map(str, possible))}."
        )
    ]


def _shares_tokens(candidate: Candidate, decode: int) -> bool:
    """Whether so many GPUs can share the tokens of each KV head: those that would hold copies of it, and whose query heads divide."""
    shape = configured(candidate.about, candidate.engine).shape if candidate.about is not None else None
    if shape is None or shape.latent or not shape.heads or not shape.attention_heads:
        return True
    copies = candidate.engine.tensor_parallel_size // shape.heads
    return decode <= copies and candidate.engine.tensor_parallel_size > shape.heads and shape.attention_heads // shape.heads % decode == 0
