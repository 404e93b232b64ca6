"""What the stand-in engine refuses to load, and how its process ends."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.engine.arguments import EngineArguments, parse
from sandbox.engine.faults import EngineFaults, Faults, FaultsView
from sandbox.engine.loading import ModelUnusable, load
from sandbox.engine.network import HEAD
from sandbox.engine.weights import pack, unpack
from sandbox.models import make_model

Files = dict[str, bytes]


def arguments(folder: Path, *more: str) -> EngineArguments:
    return parse([str(folder), *more])


def write(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def without_tensor(files: Files) -> Files:
    tensors = unpack(files["model.safetensors"])
    del tensors[HEAD]
    return {**files, "model.safetensors": pack(tensors, "float32")}


def with_foreign_tensor(files: Files) -> Files:
    tensors = unpack(files["model.safetensors"])
    return {**files, "model.safetensors": pack({**tensors, "score.weight": tensors[HEAD]}, "float32")}


def without(*names: str) -> Callable[[Files], Files]:
    return lambda files: {name: content for name, content in files.items() if name not in names}


def having(name: str, content: bytes) -> Callable[[Files], Files]:
    return lambda files: {**files, name: content}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_tensor, r"not initialized from checkpoint: \{'lm_head.weight'\}"),
        (with_foreign_tensor, "no module or parameter named 'score.weight'"),
        (lambda files: make_model(bad_config=True), r"Attempted to load weight .*264, 16.* into parameter .*264, 32"),
        (lambda files: make_model(auto_map=True), "trust_remote_code=True"),
        (without("model.safetensors"), "Cannot find any model weights"),
        (lambda files: without("model.safetensors")(make_model(pickle_beside=True)), "Cannot find any model weights"),
        (
            lambda files: without("model-00002-of-00002.safetensors", "model.safetensors")(make_model(shards=2)),
            "cannot read the weight file",
        ),
        (lambda files: having("model.safetensors", files["model.safetensors"][:-1])(files), "SafetensorError"),
        (having("model.safetensors", b""), "SafetensorError"),
        (without("config.json"), "cannot read .*config.json"),
        (having("config.json", b"{"), "config.json is not valid JSON"),
        (having("config.json", b"[]"), "does not hold a JSON object"),
        (having("config.json", b"{}"), "config.json is unusable: KeyError"),
        (without("tokenizer.json"), "cannot read .*tokenizer.json"),
        (having("tokenizer.json", b'{"model": {"type": "BPE", "vocab": {}}}'), "no token for the byte"),
    ],
)
def test_a_folder_that_does_not_load_is_refused(tmp_path: Path, change: Callable[[Files], Files], message: str) -> None:
    folder = write(tmp_path, change(make_model()))

    with pytest.raises(ModelUnusable, match=message):
        load(arguments(folder, "--load-format", "safetensors"))


def test_arguments_that_the_model_cannot_bear_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, make_model(max_position_embeddings=512))

    with pytest.raises(ModelUnusable, match=r"max_model_len \(1024\) is greater than"):
        load(arguments(folder, "--max-model-len", "1K"))
    with pytest.raises(ModelUnusable, match=r"attention heads \(4\) must be divisible by tensor parallel size \(3\)"):
        load(arguments(folder, "--tensor-parallel-size", "3"))
    assert load(arguments(folder)).max_model_len == 512


def test_the_chat_template_comes_from_the_argument_the_file_or_the_tokenizer(tmp_path: Path) -> None:
    files = make_model()
    folder = write(tmp_path, files)
    other = tmp_path / "other.jinja"
    other.write_text("from a file")

    assert load(arguments(folder)).chat_template == files["chat_template.jinja"].decode()
    assert load(arguments(folder, "--chat-template", str(other))).chat_template == "from a file"
    assert load(arguments(folder, "--chat-template", "{{ messages }}")).chat_template == "{{ messages }}"
    with pytest.raises(ModelUnusable, match="neither a template nor a readable file"):
        load(arguments(folder, "--chat-template", str(tmp_path / "nothing")))
    (folder / "chat_template.jinja").unlink()
    assert load(arguments(folder)).chat_template is None
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "from the tokenizer"}))
    assert load(arguments(folder)).chat_template == "from the tokenizer"


def test_sampling_defaults_and_ends_come_from_the_generation_config(tmp_path: Path) -> None:
    folder = write(tmp_path, make_model())
    (folder / "generation_config.json").write_text(json.dumps({"temperature": 0.6, "top_p": 0.9, "eos_token_id": [257, 263]}))

    model = load(arguments(folder))

    assert model.sampling_defaults == {"temperature": 0.6, "top_p": 0.9}
    assert model.end_tokens == {257, 263}


def test_options_may_be_written_with_underscores_and_the_folder_as_an_option(tmp_path: Path) -> None:
    parsed = parse(["--model", str(tmp_path), "--max_model_len=8k", "--tensor_parallel_size", "2", "--served-model-name", "a", "b"])

    assert (parsed.model, parsed.max_model_len, parsed.tensor_parallel_size, parsed.served_names) == (tmp_path, 8000, 2, ("a", "b"))
    assert parse([str(tmp_path)]).served_names == (str(tmp_path),)


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["model", "--no-such-option"],
        ["model", "--load-format", "pt"],
        ["model", "--max-model-len", "long"],
        ["model", "--max-model-len", "0"],
        ["model", "--tensor-parallel-size", "0"],
        ["model", "--gpu-memory-utilization", "1.5"],
    ],
)
def test_a_wrong_command_line_ends_with_code_two(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(wrong)

    assert ended.value.code == 2


def run(folder: Path, *more: str, faults: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sandbox.engine", str(folder), "--served-model-name", "tiny", "--host", "127.0.0.1", *more]
    return subprocess.run(command, env={**os.environ, "SANDBOX_ENGINE_FAULTS": str(faults)}, capture_output=True, text=True, check=False)


def test_the_process_ends_with_code_one_and_says_why(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.mkdir()
    bad.mkdir()
    write(good, make_model())
    write(bad, without_tensor(make_model()))
    faults = EngineFaults(tmp_path / "faults.json")

    refused = run(bad, faults=faults.path)
    faults.set("tiny", crash_on_load="torch.OutOfMemoryError: CUDA out of memory.", start_delay_seconds=0.3)
    started = time.monotonic()
    crashed = run(good, faults=faults.path)

    assert refused.returncode == crashed.returncode == 1
    assert "ValueError: Following weights were not initialized from checkpoint: {'lm_head.weight'}" in refused.stderr
    assert "torch.OutOfMemoryError: CUDA out of memory." in crashed.stderr
    assert crashed.stderr.splitlines()[-1].startswith("RuntimeError: Engine core initialization failed.")
    assert time.monotonic() - started > 0.3


def test_a_port_in_use_ends_the_process(tmp_path: Path) -> None:
    folder = write(tmp_path, make_model())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        result = run(folder, "--port", str(taken.getsockname()[1]), faults=tmp_path / "faults.json")

    assert result.returncode == 1
    assert "Address already in use" in result.stderr


def test_faults_for_all_are_overridden_by_those_for_one(tmp_path: Path) -> None:
    faults = EngineFaults(tmp_path / "deeper" / "faults.json")
    view = FaultsView(("tiny",), faults.path)
    assert view.now() == Faults()

    faults.set("*", latency_seconds=1.0, garbage=True)
    faults.set("tiny", latency_seconds=2.0)
    assert view.now() == Faults(latency_seconds=2.0, garbage=True)

    faults.set("tiny")
    assert view.now() == Faults(latency_seconds=1.0, garbage=True)

    faults.clear()
    assert view.now() == Faults()


def test_mistrals_own_layout_is_loaded_where_that_is_asked_for(tmp_path: Path) -> None:
    other, own = make_model(seed=1), make_model(seed=2)
    folder = write(tmp_path, {**other, "consolidated.safetensors": own["model.safetensors"]})

    mistral = load(arguments(folder, "--load-format", "mistral", "--config-format", "mistral", "--tokenizer-mode", "mistral"))

    assert mistral.fingerprint == hashlib.sha256(own["model.safetensors"]).hexdigest()[:8]
