"""What a model's file may set: arguments and variables of the engine are vLLM's to read, and ours to refuse."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from flows.errors import SpecInvalid
from flows.placement.loading import Shards, loads
from flows.spec import Deployments
from flows.spec.engine_arguments import admit, admit_variables
from flows.spec.engine_arguments.admission import classes
from flows.spec.engine_arguments.table import table
from tests.attack.case import attacks, refused

#: One of each kind that weakens an environment, in the forms that vLLM's parser takes.
_WEAKEN = (
    ["--load-format", "pt"],
    ["--load_format=pickle"],
    ["--tokenizer", "/tmp"],
    ["--hf-config-path=/tmp"],
    ["--trust_remote_code"],
    ["--model=other/model"],
    ["--allowed-local-media-path", "/"],
    ["--middleware", "evil.Middleware"],
    ["--worker-cls=evil.Worker"],
    ["--logits-processors", "evil:Processor"],
    ["--tool-parser-plugin", "/tmp/evil.py"],
    ["--lora-modules", "sql=/tmp"],
    ["--enable-lora"],
    ["--api-key", "hunter2"],
    ["--hf-token=hunter2"],
    ["--host", "127.0.0.1"],
    ["--uds=/tmp/x"],
    ["--enable-log-requests"],
    ["--logging-config.handlers.x.()", "os.system"],
    ["--kv-transfer-config.kv_connector_module_path", "evil"],
    ["--speculative-config.model", "other/model"],
    ["-sc.model=other/model"],
    ["-q", "fp8"],
    ["-tp", "8"],
    ["--otlp-traces-endpoint=http://elsewhere"],
    ["--profiler-config.torch_profiler_dir", "/tmp"],
    ["--config", "/tmp/x.yaml"],
    ["--config=/tmp/x.yaml"],
    ["--generation-config", "/tmp"],
    ["--tokenizer-mode", "evil"],
    ["--distributed-executor-backend=evil.Executor"],
    ["--compilation-config.backend", "evil.backend"],
    ["-cc", '{"inductor_passes": {"a": "evil.run"}}'],
    ["--hf-overrides", '{"auto_map": {"AutoModel": "evil/repository--x.Y"}}'],
    ["--hf-overrides.vision_config.auto_map.AutoModel", "evil/repository--x.Y"],
    ["--structured-outputs-config.reasoning_parser_plugin=/tmp/evil.py"],
    ["--nnodes", "2"],
    ["--data-parallel-address=10.0.0.1"],
)


@attacks(
    "An argument that reads other files, runs other code, opens the engine or leaves its node is refused in every form of vLLM's parser"
)
def arguments_that_weaken() -> None:
    for arguments in _WEAKEN:
        for beside in ([], ["--enforce-eager"]):
            said = refused(SpecInvalid, admit, [*beside, *arguments])
            assert "hunter2" not in said, said


@attacks("A beginning that vLLM would complete to a refused argument is refused, too")
def beginnings() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    for option in table().options:
        parser.add_argument(*option.names, dest=option.name, nargs="*")
    known = set(table().by_name)
    for name in sorted(known):
        if not name.startswith("--") or table().by_name[name].name in classes().allowed:
            continue
        for length in range(3, len(name)):
            if name[:length] not in known:
                refused(SpecInvalid, admit, [name[:length], "x"])
                refused(SpecInvalid, admit, [f"{name[:length]}=x"])


@attacks("A second positional argument, a bare -- or a value too many never becomes the engine's model")
def stray_words() -> None:
    for arguments in (
        ["other/model"],
        ["--", "other/model"],
        ["--max-num-seqs", "8", "other/model"],
        ["-"],
        ["--enforce-eager", "other/model"],
    ):
        refused(SpecInvalid, admit, arguments)


@attacks("Kubernetes puts no variable's value into an argument")
def expanded_variables() -> None:
    for text in ("$(HF_TOKEN)", "x$(HOME)y", "$$(HOME)"):
        refused(SpecInvalid, admit, [f"--fingerprint-value={text}"])


@attacks("Numbers without end, endless nesting, control characters and megabytes in arguments are one sentence")
def nonsense() -> None:
    for value in ("1e400", "NaN", "[" * 100_000, '{"a":' * 50_000, "9" * 100_000, "\x1b[2J", "\x00", "\ud800", "x" * 10_000_000):
        for arguments in ([f"--hf-overrides={value}"], ["--hf-overrides.a", value], [f"--max-num-seqs={value}"], [f"--{value}"]):
            if arguments[0] == "--hf-overrides.a" and value in ("1e400", "NaN"):
                continue  # as texts they are harmless, as numbers refused below
            refused(SpecInvalid, admit, arguments)
    refused(SpecInvalid, admit, ["--hf-overrides.a", "NaN"])
    refused(SpecInvalid, admit, ["--enforce-eager"] * 100_000)


@attacks("Every argument that vLLM has is classed, and one that nobody has classed is refused")
def unclassed() -> None:
    for option in table().options:
        known = option.name in classes().allowed or option.name in classes().refused
        assert known, f"{option.name} is not classed"
    refused(SpecInvalid, admit, ["--an-argument-of-tomorrow", "x"])


@attacks("A model's file sets no variable that changes what the engine's process loads, trusts or talks to")
def variables_that_weaken() -> None:
    names = (
        *("LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONSTARTUP", "PATH", "HOME", "HTTPS_PROXY", "SSL_CERT_FILE", "CUDA_HOME"),
        *("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "NCCL_NET_PLUGIN", "NVIDIA_VISIBLE_DEVICES"),
        *("VLLM_PLUGINS", "VLLM_API_KEY", "VLLM_SERVER_DEV_MODE", "VLLM_ALLOW_INSECURE_SERIALIZATION", "VLLM_ALLOW_RUNTIME_LORA_UPDATING"),
        *("VLLM_CACHE_ROOT", "VLLM_HOST_IP", "VLLM_LOGGING_CONFIG_PATH", "VLLM_MODEL_REDIRECT_PATH", "VLLM_TEST_FORCE_LOAD_FORMAT"),
        *("VLLM_USE_MODELSCOPE", "VLLM_NCCL_SO_PATH", "VLLM_ALLOW_LONG_MAX_MODEL_LEN\n", "vllm_allow_long_max_model_len"),
    )
    for name in names:
        refused(SpecInvalid, admit_variables, {name: "1"})
    for value in ("2", "1\n", "$(HOME)", "", "１"):
        refused(SpecInvalid, admit_variables, {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": value})


@attacks("A chat template is read from the models' folder alone, whatever leads out of it")
def templates_from_elsewhere() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "deployments"
        (root / "models").mkdir(parents=True)
        (Path(folder) / "secret.jinja").write_text("hunter2")
        (root / "models" / "link.jinja").symlink_to("../../secret.jinja")
        for template in ("../../secret.jinja", "link.jinja", "/etc/passwd.jinja", "a/../../../secret.jinja", "x\x00.jinja"):
            engine = f"engine: {{max_model_len: 256, chat_template: {template!a}}}".replace("'", '"')
            text = f"name: tiny\nrepository: o/tiny\nimage: v/v@sha256:{'0' * 64}\n{engine}\n"
            (root / "models" / "tiny.yaml").write_text(text)
            said = refused(SpecInvalid, Deployments(root=root).model, "tiny")
            assert "hunter2" not in said, said


@attacks("Weights that vLLM cannot load, or that GPUs cannot share in whole blocks, are found before a GPU is touched")
def what_cannot_load() -> None:
    moe = {"hidden_size": 2048, "moe_intermediate_size": 768, "num_experts": 128, "num_attention_heads": 32, "head_dim": 128}
    fp8 = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
    for parallel, wanted in ((1, True), (2, True), (4, False), (8, False)):
        assert loads({**moe, **fp8}, Shards(tensor_parallel=parallel)) is wanted, f"tensor parallelism {parallel}"
    for quantised in (
        {"quant_method": "bitsandbytes"},
        {"quant_method": "gptq", "desc_act": True, "group_size": 128},
        {"quant_method": "?"},
    ):
        assert not loads({"quantization_config": quantised}, Shards(tensor_parallel=1)), quantised
