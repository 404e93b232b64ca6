"""Refuses what vLLM would not start with, or could not be asked, whatever the GPUs are."""

from __future__ import annotations

from flows.errors import DoesNotFit, Refusal
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
    """Why the sizes of parallelism do not go together (`ParallelConfig` in vLLM 0.32.0's `config/parallel.py`); empty if they do."""
    tensor, said = candidate.engine.tensor_parallel_size, candidate.engine.arguments
    prompts, decode = said.prefill_context_parallel_size, said.decode_context_parallel_size
    if prompts == 1 and tensor % decode:
        return [
            DoesNotFit(
                f"--decode-context-parallel-size of {candidate.model} is {decode}, but engine.tensor_parallel_size is {tensor}: "
                "the GPUs that share the KV cache's tokens are some of those that share the layers, so it must divide it."
            )
        ]
    if prompts > 1 and decode not in (1, prompts, tensor * prompts):
        return [
            DoesNotFit(
                f"--decode-context-parallel-size of {candidate.model} is {decode}: beside --prefill-context-parallel-size {prompts} "
                f"it must be one of {', '.join(map(str, sorted({1, prompts, tensor * prompts})))}."
            )
        ]
    return []
