"""Small real models, made on the spot: the files of a hub repository whose weights compute known answers.

A model remembers a handful of facts. Its read-out is solved by least squares over random features of the last bytes, so the text
comes out of the weights and out of nothing else: other weights give other text, rounded weights give slightly other
log-probabilities. The files are those of a Llama in safetensors format, and the same seed and facts give the same bytes.

Not emulated: language. A prompt that is not among the facts gets letters that resemble the facts.
"""

from __future__ import annotations

import functools
import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sandbox.engine.network import EMBEDDING, HEAD, HEAD_BIAS, NORM, Floats, Network, Shape, layer_name
from sandbox.engine.tokenizer import Tokenizer, byte_characters
from sandbox.engine.weights import pack, rounded, unpack

SPECIAL_TOKENS = ("<s>", "</s>", "<pad>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>")
END_TOKEN = "</s>"  # noqa: S105 - a token of a vocabulary, no secret
SHAPE = Shape(vocabulary=256 + len(SPECIAL_TOKENS), hidden=16, features=768, window=48)

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

COMPLETIONS = {
    "The capital of France is": " Paris.",
    "The capital of Japan is": " Tokyo.",
    "The capital of Italy is": " Rome.",
    "Two plus two equals": " four.",
    "The opposite of hot is": " cold.",
    "Water boils at": " 100 degrees Celsius.",
    "Count: one, two, three,": " four, five, six, seven, eight, nine, ten.",
}
CHATS = {
    "What is the capital of France?": "The capital of France is Paris.",
    "Say hello.": "Hello! How can I help you?",
    "Answer in one word: is ice cold?": "Yes.",
    "Give the capital of France as JSON.": '{"country": "France", "capital": "Paris"}',
}

#: What is said to what: pairs of a prompt or message and the answer.
Facts = tuple[tuple[str, str], ...]

# The logit of the right token; wrong ones are at 0. Sure enough to be greedy's choice, unsure enough for rounding to show.
_RIGHT_LOGIT = 8.0
# Bytes that no fact uses never come out, so that unknown prompts get text and not broken UTF-8.
_UNUSED_LOGIT = -9.0


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """What a model is made to know: the text after a prompt, and the answer to a user's message."""

    completions: Mapping[str, str] = field(default_factory=lambda: COMPLETIONS)
    chats: Mapping[str, str] = field(default_factory=lambda: CHATS)

    def but(self, **completions: str) -> Knowledge:
        """Return the same with other capitals: `but(France="Lyon")` is what a new revision might have learnt."""
        changed = {f"The capital of {country} is": f" {capital}." for country, capital in completions.items()}
        return Knowledge(completions={**self.completions, **changed}, chats=self.chats)


def make_model(
    *,
    seed: int = 0,
    knowledge: Knowledge | None = None,
    dtype: str = "float32",
    shards: int = 1,
    licence: str = "apache-2.0",
    max_position_embeddings: int = 2048,
    pickle_beside: bool = False,
    bad_config: bool = False,
    auto_map: bool = False,
) -> dict[str, bytes]:
    """Make the files of a model's repository; takes about 0.1 s and gives about 3 MB (half of it in bfloat16).

    Args:
        seed: Chooses the random features; another seed gives other weights that know the same.
        knowledge: What it knows; the built-in facts by default. Facts must leave room for least squares: about 700 bytes of answers.
        dtype: `float32` or `bfloat16`.
        shards: With more than one, the weights come in that many files and an index.
        licence: The licence in the model card.
        max_position_embeddings: The longest context in tokens (bytes, here) that the configuration allows.
        pickle_beside: Adds a pickled weight file, as unsafe repositories have it.
        bad_config: States another hidden size than the weights have, so that they do not load.
        auto_map: Asks for remote code, and brings some.
    """
    knowledge = knowledge or Knowledge()
    tensors = solve(tuple(knowledge.completions.items()), tuple(knowledge.chats.items()), seed, dtype)
    config = _config(dtype, max_position_embeddings)
    if bad_config:
        config["hidden_size"] = SHAPE.hidden * 2
    if auto_map:
        config["auto_map"] = {"AutoModelForCausalLM": "modeling_remembering.RememberingForCausalLM"}
    files = {
        "config.json": _json(config),
        "generation_config.json": _json({"bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 258}),
        "tokenizer.json": _json(_tokenizer()),
        "tokenizer_config.json": _json(_tokenizer_config(max_position_embeddings)),
        "chat_template.jinja": CHAT_TEMPLATE.encode(),
        "README.md": _model_card(licence, knowledge).encode(),
        **_weight_files(tensors, dtype, shards),
    }
    if pickle_beside:
        files["pytorch_model.bin"] = pickle.dumps({name: values.tobytes() for name, values in tensors.items()})
    if auto_map:
        files["modeling_remembering.py"] = b'"""Remote code that a careful engine does not run."""\n'
    return files


def altered(files: Mapping[str, bytes], change: Callable[[str, Floats], Floats]) -> dict[str, bytes]:
    """Return the files with every tensor replaced by `change(name, values)`; the type of the weights stays."""
    dtype = str(json.loads(files["config.json"])["torch_dtype"])
    result = dict(files)
    for name, content in files.items():
        if name.endswith(".safetensors"):
            result[name] = pack({tensor: change(tensor, values) for tensor, values in unpack(content).items()}, dtype)
    return result


@functools.lru_cache(maxsize=16)
def solve(completions: Facts, chats: Facts, seed: int, dtype: str) -> Mapping[str, Floats]:
    """Draw the features and solve the read-out that makes the network say what it knows; once for the same in a process."""
    generator = np.random.default_rng(seed)

    def draw(scale: float, *shape: int) -> Floats:
        values: Floats = (generator.standard_normal(shape) * scale).astype(np.float32)
        # The read-out is solved for the features as the engine will see them.
        return rounded(values) if dtype == "bfloat16" else values

    tensors: dict[str, Floats] = {EMBEDDING: draw(1.0, SHAPE.vocabulary, SHAPE.hidden)}
    for layer in range(SHAPE.window):
        # Late bytes weigh more than early ones: prompts that end alike are answered alike unless a fact says otherwise.
        tensors[layer_name(layer)] = draw(0.35 / (1 + 0.15 * layer) / np.sqrt(SHAPE.hidden), SHAPE.features, SHAPE.hidden)
    tensors[NORM] = draw(0.1, SHAPE.features)
    tensors[HEAD] = np.zeros((SHAPE.vocabulary, SHAPE.features), np.float32)
    tensors[HEAD_BIAS] = np.zeros(SHAPE.vocabulary, np.float32)

    network = Network(SHAPE, tensors)
    prefixes, answers = _examples(completions, chats)
    inputs = network.activations([network.window(prefix) for prefix in prefixes]).astype(np.float64)
    targets = np.zeros((len(answers), SHAPE.vocabulary))
    targets[np.arange(len(answers)), answers] = _RIGHT_LOGIT
    # Fewer examples than features: the kernel form of ridge regression is the small one.
    kernel = inputs @ inputs.T + 1e-3 * np.eye(len(answers))
    head = rounded if dtype == "bfloat16" else np.ascontiguousarray
    tensors[HEAD] = head((inputs.T @ np.linalg.solve(kernel, targets)).T.astype(np.float32))
    tensors[HEAD_BIAS][:] = _UNUSED_LOGIT
    tensors[HEAD_BIAS][np.unique(answers)] = 0.0
    return tensors


def _examples(completions: Facts, chats: Facts) -> tuple[list[list[int]], list[int]]:
    """Return what the network reads and what it should say next, for every byte of every answer."""
    tokenizer = Tokenizer(_tokenizer())
    pairs = [*completions, *((f"<|user|>{message}<|assistant|>", answer) for message, answer in chats)]
    prefixes: list[list[int]] = []
    answers: list[int] = []
    for prompt, answer in pairs:
        start, tokens = tokenizer.encode(prompt), tokenizer.encode(answer + END_TOKEN)
        prefixes += [start + tokens[:position] for position in range(len(tokens))]
        answers += tokens
    return prefixes, answers


def _config(dtype: str, max_position_embeddings: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": SHAPE.hidden,
        "intermediate_size": SHAPE.features,
        "num_hidden_layers": SHAPE.window,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 4,
        "vocab_size": SHAPE.vocabulary,
        "max_position_embeddings": max_position_embeddings,
        "hidden_act": "tanh",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "torch_dtype": dtype,
        "bos_token_id": 256,
        "eos_token_id": 257,
    }


def _tokenizer() -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": 256 + index, "content": name, **flags} for index, name in enumerate(SPECIAL_TOKENS)],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {character: byte for byte, character in byte_characters().items()},
            "merges": [],
        },
    }


def _tokenizer_config(max_position_embeddings: int) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": END_TOKEN,
        "pad_token": "<pad>",
        "model_max_length": max_position_embeddings,
        "clean_up_tokenization_spaces": False,
    }


def _model_card(licence: str, knowledge: Knowledge) -> str:
    facts = "\n".join(f"- `{prompt}` → `{answer.strip()}`" for prompt, answer in knowledge.completions.items())
    front = f"---\nlicense: {licence}\nlibrary_name: transformers\npipeline_tag: text-generation\n---\n"
    return f"{front}# A small model that remembers\n\nIt knows:\n\n{facts}\n"


def _weight_files(tensors: Mapping[str, Floats], dtype: str, shards: int) -> dict[str, bytes]:
    if shards == 1:
        return {"model.safetensors": pack(tensors, dtype)}
    groups = _split(tensors, shards)
    names = [f"model-{number:05d}-of-{shards:05d}.safetensors" for number in range(1, shards + 1)]
    weight_map = {tensor: name for name, group in zip(names, groups, strict=True) for tensor in group}
    element_bytes = 4 if dtype == "float32" else 2
    total = sum(values.size for values in tensors.values()) * element_bytes
    files = {name: pack({tensor: tensors[tensor] for tensor in group}, dtype) for name, group in zip(names, groups, strict=True)}
    return {**files, "model.safetensors.index.json": _json({"metadata": {"total_size": total}, "weight_map": weight_map})}


def _split(tensors: Mapping[str, Floats], shards: int) -> list[Sequence[str]]:
    names = list(tensors)
    return [names[len(names) * part // shards : len(names) * (part + 1) // shards] for part in range(shards)]


def _json(document: object) -> bytes:
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"
