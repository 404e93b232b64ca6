"""LoRA adapters: whether one can be served on a base, and what its slots take.

By its configuration and the shapes of its tensors; no weights are read. As vLLM 0.32.0 does, and stricter where that takes in silence
what cannot be meant: each rule says which.
"""
