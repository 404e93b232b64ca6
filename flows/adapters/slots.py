"""What the slots take in which an engine keeps adapters on its GPUs: they are made when it starts, for the largest rank, in every module.

As vLLM 0.32.0 makes them (`vllm/lora/layers/`: `base_linear.py`, `column_parallel_linear.py`, `vocab_parallel_embedding.py`,
`logits_processor.py`), without `--fully-sharded-loras`: of a layer that is divided by its outputs each GPU has all of A and its part of B;
of one that is divided by its inputs its part of A and all of B.
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.adapters.tensors import Shape

#: Layers that tensor parallelism divides by their outputs, and by their inputs, as the checkpoints of dense models call them.
_BY_OUTPUTS = frozenset({"q_proj", "k_proj", "v_proj", "qkv_proj", "gate_proj", "up_proj", "gate_up_proj"})
_BY_INPUTS = frozenset({"o_proj", "down_proj"})
_EMBEDDING, _HEAD = "embed_tokens", "lm_head"
#: What has no linear layer.
_PLAIN = ("norm", "layernorm")

#: `LogitsProcessorWithLoRA.create_lora_weights` ends the start above it.
MOST_VOCABULARY = 258_048


def slot_bytes(shapes: Mapping[str, Shape], *, rank: int, number_bytes: int, gpus: int = 1) -> int | None:
    """Bytes that one slot takes on each GPU; none where the base has layers that this does not know (experts, packed weights, others).

    Args:
        shapes: Tensor → shape, of the base's checkpoint.
        rank: `--max-lora-rank`.
        number_bytes: Bytes of a number: those of the engine's dtype.
        gpus: GPUs that share each layer.
    """
    numbers, tied = 0, f"{_HEAD}.weight" not in shapes
    for name, shape in shapes.items():
        module, _, kind = name.rpartition(".")
        last = module.rpartition(".")[2]
        if kind == "bias" or (len(shape) == 1 and last.endswith(_PLAIN)):
            continue
        if kind != "weight" or len(shape) != 2:
            return None
        outputs, inputs = shape
        if last in _BY_OUTPUTS:
            numbers += rank * inputs + -(-outputs // gpus) * rank
        elif last in _BY_INPUTS:
            numbers += rank * -(-inputs // gpus) + outputs * rank
        elif last == _EMBEDDING:
            # Both for the whole vocabulary, on each GPU; the head's B, too.
            numbers += rank * (outputs + inputs) + (rank * (inputs + outputs) if tied else 0)
        elif last == _HEAD:
            numbers += rank * (inputs + outputs)
        else:
            return None
    return numbers * number_bytes
