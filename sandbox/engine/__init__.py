"""A stand-in for vLLM: `python -m sandbox.engine MODEL_DIR …` speaks its HTTP and answers from the weights in the folder.

The answers are computed from the safetensors it read, so that wrong weights give wrong answers. It does not emulate: GPUs and their
memory, attention (see `network.py`), prefix caching, beam search, several choices (`n`), embeddings and the Responses API, and pipeline
or tensor parallelism beyond checking that the numbers divide. Structured output and tool calls constrain decoding by a small part of JSON
Schema (see `grammar.py`), and adapters change one kind of layer and the embedding (see `adapters.py`); tool calls that the model itself
decides on (`auto`) and streamed ones are refused with 400, as is every other way of structured output (`regex`, `choice`, `json_object`,
…).
"""
