"""The arguments of `vllm serve`: read as vLLM reads them, classed one by one, and what a plan needs of them."""

from __future__ import annotations

from flows.spec.engine_arguments.admission import admit, admit_variables
from flows.spec.engine_arguments.typed import EngineArguments

__all__ = ["EngineArguments", "admit", "admit_variables"]
