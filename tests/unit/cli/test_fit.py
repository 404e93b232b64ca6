"""`slipway fit`: from a folder, a file or the hub to the numbers; what is wrong is one sentence; and nothing slow is imported."""

from __future__ import annotations

import json
import resource
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from flows.cli.fit import fit
from flows.errors import SpecInvalid
from tests.support.examples import LLAMA_31_8B
from tests.support.vllm_rows import rows

NUMBERS = 8_030_261_248


def written(folder: Path, document: Any = LLAMA_31_8B) -> Path:
    (folder / "config.json").write_text(json.dumps(document))
    return folder


def with_weights(folder: Path, name: str = "model.safetensors", numbers: int = NUMBERS) -> Path:
    """A file of weights that is nearly all a hole: only its header is ever read."""
    header = json.dumps({"w": {"dtype": "BF16", "shape": [numbers], "data_offsets": [0, 2 * numbers]}}).encode()
    with (folder / name).open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + 2 * numbers)
    return folder


def told(capsys: pytest.CaptureFixture[str], what: Path, code: int = 0, **options: Any) -> dict[str, Any]:
    try:
        fit(str(what), as_json=True, **options)
        ended = 0
    except SystemExit as exc:
        ended = int(exc.code or 0)
    assert ended == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], []),
        (["--data-parallel-size=4"], ["vLLM cannot load it: the 768 rows of its experts' down projection make 192 for each of 4 GPU(s)"]),
        (["--data-parallel-size=4", "--enable-expert-parallel"], []),
        (["-q=bitsandbytes"], ["vLLM cannot load it: vLLM 0.32 cannot load weights that are quantised by 'bitsandbytes'"]),
    ],
)
def test_what_cannot_load_is_told_by_all_arguments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: list[str]
) -> None:
    sizes = {"intermediate_size": 6144, "moe_intermediate_size": 768, "num_experts": 128, "hidden_size": 2048, "head_dim": 128}
    quantised = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
    document = {**LLAMA_31_8B, "model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"], **sizes, **quantised}

    refusals = told(capsys, written(tmp_path, document), code=1 if says else 0, engine_arg=arguments, max_model_len=4096)["refusals"]

    assert len(refusals) == len(says)
    assert all(refusal.startswith(said) for refusal, said in zip(refusals, says, strict=True))


def test_a_configuration_tells_what_requests_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, written(tmp_path) / "config.json", gpu_memory_gib=79.6, max_model_len=32768)

    assert found == {
        "kv_bytes_per_request": 32768 * 131_072,
        "null_block_bytes": 16 * 131_072,
        "weights_bytes": None,
        "max_model_len": 32768,
        "largest_context": None,
        "fits": None,
        "refusals": [],
    }


def test_a_folder_with_weights_tells_whether_it_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = with_weights(written(tmp_path))

    fitting = told(capsys, folder, gpu_memory_gib=79.6, max_model_len=8192, concurrency=4)
    beyond = told(capsys, folder, 1, gpu_memory_gib=79.6, max_model_len=131_072, concurrency=4)
    halved = told(capsys, folder, gpu_memory_gib=79.6, max_model_len=131_072, concurrency=4, tensor_parallel_size=2)

    assert (fitting["fits"], fitting["largest_context"], fitting["weights_bytes"]) == (True, 111_920, 2 * NUMBERS + 2**25)
    assert (beyond["fits"], len(beyond["refusals"])) == (False, 1)
    assert "It does not fit: weights, reserve and KV cache take 81.0 GiB, and vLLM may take 71.6 GiB." in beyond["refusals"][0]
    assert halved["fits"] is True


def test_only_the_files_of_the_index_are_its_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = with_weights(with_weights(written(tmp_path), "a.safetensors", 100), "stray.safetensors", 100)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": "a.safetensors"}}))

    assert told(capsys, folder, max_model_len=16)["weights_bytes"] == 200 + 2**25
    (folder / "a.safetensors").unlink()
    (refusal,) = told(capsys, folder, 1, max_model_len=16)["refusals"]
    assert "cannot be read: No such file or directory." in refusal


def test_the_engines_arguments_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path)

    narrow = told(capsys, path, max_model_len=32768, engine_arg=["--kv-cache-dtype", "fp8"])
    longer = told(capsys, path, engine_arg=['--hf-overrides={"max_position_embeddings": 262144}'])

    assert narrow["kv_bytes_per_request"] == 32768 * 65_536
    assert longer["max_model_len"] == 262_144
    with pytest.raises(SpecInvalid, match=r"^--engine-arg: .*--load-f"):
        fit(str(path), engine_arg=["--load-f", "pt"])


def test_every_row_of_vllms_is_told_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, row in enumerate(rows()[::8]):
        path, said = tmp_path / f"{number}.json", row["vllm_0_32"]
        path.write_text(json.dumps(row["config"]))
        with suppress(SystemExit):  # more than the GPU has
            fit(
                str(path),
                gpu_memory_gib=80,
                max_model_len=said["max_model_len"],
                tensor_parallel_size=row["settings"].get("tp", 1),
                dtype=row["settings"].get("dtype", "auto"),
                engine_arg=list(row["settings"].get("args", ())),
                as_json=True,
            )
        found = json.loads(capsys.readouterr().out)
        share = (found["kv_bytes_per_request"] + found["null_block_bytes"]) / (said["request_bytes"] + said["null_block_bytes"])
        assert 1.0 <= share <= 1.03, row["model"]


@pytest.mark.parametrize(
    ("document", "options", "said"),
    [
        ({**LLAMA_31_8B, "num_hidden_layers": -1}, {}, "num_hidden_layers is -1; it must be a whole number of at least 1 and below 2^40."),
        (
            {**LLAMA_31_8B, "novel_window": 4},
            {},
            "What novel_window may change of what layers keep is not known here.",
        ),
        (LLAMA_31_8B, {"max_model_len": 200_000}, "It was made for 131,072 tokens at the most, not for 200,000."),
        (LLAMA_31_8B, {"tensor_parallel_size": 3}, "3 GPUs cannot share its heads evenly: use one of 1, 2, 4, 8, 16."),
        (LLAMA_31_8B, {"gpu_memory_gib": 8, "max_model_len": 131_072}, "It does not fit: reserve and KV cache alone take 18.0 GiB"),
    ],
)
def test_what_speaks_against_it_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], document: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    (refusal,) = told(capsys, written(tmp_path, document), 1, **options)["refusals"]
    assert said in refusal


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gpu_memory_gib": float("nan")}, "--gpu-memory-gib must be a number above 0"),
        ({"gpu_memory_gib": -1.0}, "--gpu-memory-gib must be a number above 0"),
        ({"max_model_len": 0}, "--max-model-len must be a number from 1"),
        ({"concurrency": 10**9}, "--concurrency must be a number from 1"),
        ({"dtype": "int3"}, "--dtype must be one of auto"),
        ({"gpu_memory_utilization": 2.0}, "--gpu-memory-utilization must be a number above 0, up to 1"),
    ],
)
def test_options_that_nobody_means_are_refused_by_name(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecInvalid, match=said):
        fit(str(written(tmp_path)), **options)


def test_what_is_no_model_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "long.json").write_bytes(b" " * 30_000_000)
    (tmp_path / "deep.json").write_bytes(b"[" * 10_000)
    for what, said in (
        (tmp_path / "long.json", "has 30,000,000 bytes; a configuration has 8,388,608 at most."),
        (tmp_path / "deep.json", "is not JSON."),
        (tmp_path, "holds no config.json; nobody can tell what model it is."),
        ("nowhere", "is neither a folder nor a file here, nor ORGANISATION/NAME on the hub."),
        ("x\0y", "is neither a folder nor a file here"),
        ("x" * 5000, "is neither a folder nor a file here"),
    ):
        with pytest.raises(SpecInvalid) as caught:
            fit(str(what))
        assert said in caught.value.message
        assert len(caught.value.message) < 500


def test_the_plot_shows_both_and_is_one_svg(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = with_weights(written(tmp_path, {**LLAMA_31_8B, "_name": "<script>"}))

    fit(str(folder), gpu_memory_gib=79.6, max_model_len=32768, concurrency=2, plot=tmp_path / "fit.svg")

    texts = [element.text for element in ElementTree.fromstring((tmp_path / "fit.svg").read_text()).iter() if element.text]  # noqa: S314
    assert "weights 15.0 GiB" in texts
    assert "context in tokens, 2 request(s) at once" in texts
    assert "requests at once, of 32,768 tokens" in texts
    assert "Asked for (dotted): 2 request(s) of 32,768 tokens take 25.0 GiB, 46.6 GiB less than there is." in texts
    assert "It fits." in capsys.readouterr().out
    with pytest.raises(SpecInvalid, match="cannot be written: No such file or directory"):
        fit(str(folder), plot=tmp_path / "no" / "fit.svg")


def test_it_answers_at_once_and_without_prefect(tmp_path: Path) -> None:
    program = (
        "import sys; sys.argv = ['slipway', 'fit', sys.argv[1], '--gpu-memory-gib', '79.6', '--json']\n"
        "from flows.cli.app import main\n"
        "try:\n    main()\nfinally:\n"
        "    slow = {'prefect', 'kubernetes', 'psycopg', 'httpx', 'huggingface_hub', 'rich.markdown'} & set(sys.modules)\n"
        "    assert not slow, slow"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)

    ended = subprocess.run([sys.executable, "-c", program, str(written(tmp_path))], capture_output=True, text=True, check=False)

    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (ended.returncode, json.loads(ended.stdout)["kv_bytes_per_request"]) == (0, 131_072 * 131_072), ended.stderr
    # Half a second on a machine that has nothing else to do, so of the processor's time.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0
