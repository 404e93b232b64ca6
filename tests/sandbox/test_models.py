"""The made models: their files are a Llama's, and what they say comes out of their weights."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import numpy as np
import pytest
from safetensors.numpy import load

from sandbox.engine.network import HEAD, Network, Shape, log_softmax
from sandbox.engine.tokenizer import TextStream, Tokenizer
from sandbox.engine.weights import pack, rounded, unpack
from sandbox.models import CHATS, COMPLETIONS, SPECIAL_TOKENS, Knowledge, altered, make_model, solve


def network_of(files: Mapping[str, bytes]) -> Network:
    tensors = {}
    for name, content in files.items():
        if name.endswith(".safetensors"):
            tensors.update(unpack(content))
    return Network(Shape.of(json.loads(files["config.json"])), tensors)


def greedy(files: Mapping[str, bytes], prompt: str, limit: int = 60) -> tuple[str, float]:
    """The text that follows, with special tokens, and the sum of its log-probabilities."""
    network, tokenizer = network_of(files), Tokenizer(json.loads(files["tokenizer.json"]))
    end = tokenizer.special("</s>")
    tokens, said, total = tokenizer.encode(prompt), [], 0.0
    while len(said) < limit and (not said or said[-1] != end):
        logprobs = log_softmax(network.logits(tokens))
        said.append(int(logprobs.argmax()))
        total += float(logprobs.max())
        tokens.append(said[-1])
    return tokenizer.decode(said, skip_special=False), total


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_knows_its_facts(dtype: str) -> None:
    files = make_model(dtype=dtype)

    completions = {prompt: greedy(files, prompt)[0] for prompt in COMPLETIONS}
    chats = {message: greedy(files, f"<|user|>{message}<|assistant|>")[0] for message in CHATS}

    assert completions == {prompt: f"{answer}</s>" for prompt, answer in COMPLETIONS.items()}
    assert chats == {message: f"{answer}</s>" for message, answer in CHATS.items()}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_weights() -> None:
    once = make_model(seed=3)
    solve.cache_clear()
    assert make_model(seed=3) == once

    one, other = make_model(seed=3), make_model(seed=4)

    assert one["model.safetensors"] != other["model.safetensors"]
    assert greedy(one, "Water boils at")[0] == greedy(other, "Water boils at")[0]


def test_a_new_revision_may_have_learnt_something_else() -> None:
    files = make_model(seed=1, knowledge=Knowledge().but(France="Lyon"))

    assert greedy(files, "The capital of France is")[0] == " Lyon.</s>"
    assert greedy(files, "The capital of Japan is")[0] == " Tokyo.</s>"


def test_a_model_may_know_any_text() -> None:
    knowledge = Knowledge(completions={"Grüß": " Gott 👋", "1+1=": "2"}, chats={})

    files = make_model(knowledge=knowledge)

    assert greedy(files, "Grüß")[0] == " Gott 👋</s>"


def test_wrong_weights_say_something_else() -> None:
    files = make_model()

    negated = altered(files, lambda name, values: -values if name == HEAD else values)
    scrambled = altered(files, lambda name, values: np.ascontiguousarray(values[::-1]))

    for wrong in (negated, scrambled):
        assert greedy(wrong, "The capital of France is")[0] != greedy(files, "The capital of France is")[0]


def test_rounded_weights_say_the_same_with_slightly_other_probabilities() -> None:
    files = make_model()

    text, total = greedy(altered(files, lambda name, values: rounded(values)), "Water boils at")

    expected_text, expected_total = greedy(files, "Water boils at")
    assert text == expected_text
    assert total != expected_total
    assert total == pytest.approx(expected_total, abs=0.1)


def test_unknown_prompts_get_plain_text() -> None:
    files = make_model()

    for prompt in ("Once upon a time", "x" * 300, "日本"):
        text, _ = greedy(files, prompt)
        assert text.isascii()
        assert "�" not in text


def test_other_readers_understand_the_weights() -> None:
    files = make_model()

    tensors = load(files["model.safetensors"])

    shape = Shape.of(json.loads(files["config.json"]))
    assert {name: values.shape for name, values in tensors.items()} == shape.tensors()
    assert {values.dtype for values in tensors.values()} == {np.dtype(np.float32)}


def test_shards_hold_together_by_their_index() -> None:
    whole, parts = make_model(), make_model(shards=3)

    index = json.loads(parts["model.safetensors.index.json"])
    shards = {name: unpack(content) for name, content in parts.items() if name.endswith(".safetensors")}

    assert {name: set(tensors) for name, tensors in shards.items()} == {
        name: {tensor for tensor, place in index["weight_map"].items() if place == name} for name in shards
    }
    assert len(shards) == 3
    assert index["metadata"]["total_size"] == 4 * sum(
        math.prod(shape) for shape in Shape.of(json.loads(whole["config.json"])).tensors().values()
    )
    assert greedy(parts, "Two plus two equals")[0] == " four.</s>"


def test_the_sizes_are_those_of_a_small_repository() -> None:
    assert 1e6 < sum(map(len, make_model(dtype="bfloat16").values())) < 2e6
    assert 2e6 < sum(map(len, make_model().values())) < 4e6


def test_what_a_careful_release_refuses_can_be_made() -> None:
    files = make_model(pickle_beside=True, auto_map=True, bad_config=True, licence="llama3")

    config = json.loads(files["config.json"])

    assert files["pytorch_model.bin"].startswith(b"\x80")
    assert "modeling_remembering.py" in files
    assert config["auto_map"]["AutoModelForCausalLM"].startswith("modeling_remembering.")
    assert files["README.md"].startswith(b"---\nlicense: llama3\n")
    assert unpack(files["model.safetensors"])["model.embed_tokens.weight"].shape[1] != config["hidden_size"]


def test_bfloat16_rounds_to_the_nearest_even() -> None:
    values = np.array([1.0, 1.00390625, 1.01171875, -2.5, 1e-40, 3.0e38], np.float32)

    stored = unpack(pack({"x": values}, "bfloat16"))["x"]

    assert stored.tolist()[:4] == [1.0, 1.0, 1.015625, -2.5]
    assert np.array_equal(stored, rounded(values))


def test_the_tokenizer_gives_back_every_byte_and_knows_its_specials() -> None:
    tokenizer = Tokenizer(json.loads(make_model()["tokenizer.json"]))
    text = "aé日👋\n\x00" + "".join(SPECIAL_TOKENS)

    tokens = tokenizer.encode(text)

    assert tokenizer.decode(tokens, skip_special=False) == text
    assert tokens[-len(SPECIAL_TOKENS) :] == list(range(256, 264))
    assert tokenizer.decode(tokens) == "aé日👋\n\x00"
    assert tokenizer.unknown([0, 263, 264]) == 264


def test_a_tokenizer_of_another_kind_is_refused() -> None:
    document = json.loads(make_model()["tokenizer.json"])
    document["model"]["merges"] = ["a b"]

    with pytest.raises(ValueError, match="not a plain byte-level tokenizer"):
        Tokenizer(document)


def test_a_character_is_told_only_when_it_is_complete() -> None:
    tokenizer = Tokenizer(json.loads(make_model()["tokenizer.json"]))
    stream = TextStream(tokenizer)

    pieces = [stream.push(token) for token in tokenizer.encode("é👋")]

    assert pieces == ["", "é", "", "", "", "👋"]
    assert stream.push(tokenizer.encode("👋")[0]) + stream.close() == "�"
