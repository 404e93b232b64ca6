"""What a model takes on a GPU, as vLLM 0.32.0 counts it: from `config.json` to layers, pages, groups and bytes.

Pure: no I/O but its own data, no hub, no cluster, and no pydantic, so that `slipway fit` answers at once.
"""
