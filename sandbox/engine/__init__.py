"""A stand-in for vLLM: `python -m sandbox.engine MODEL_DIR …` speaks its HTTP and answers from the weights in the folder.

The answers are computed from the safetensors it read, so that wrong weights give wrong answers. It does not emulate: GPUs and their
memory, attention (see `network.py`), prefix caching, LoRA, beam search, several choices (`n`), structured output and tool calls
(both refused with 400), embeddings and the Responses API, and pipeline or tensor parallelism beyond checking that the numbers divide.
"""
