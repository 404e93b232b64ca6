"""Arguments are read as vLLM reads them, every argument that it has is classed, and none that weakens an environment passes."""

from __future__ import annotations

import argparse
import contextlib
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.errors import SpecInvalid
from flows.spec import engine_arguments
from flows.spec.engine_arguments import EngineArguments, admit, admit_variables
from flows.spec.engine_arguments.admission import classes
from flows.spec.engine_arguments.read import read_arguments, whole_number
from flows.spec.engine_arguments.table import Option, table


def refusal(*arguments: str) -> str:
    with pytest.raises(SpecInvalid) as caught:
        admit(arguments)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400
    return caught.value.message


def test_every_argument_of_vllm_is_classed_once() -> None:
    said = tomllib.loads((Path(engine_arguments.__file__).parent / "classes.toml").read_text())
    classed = Counter([*said["set"], *(name for group in said["forbidden"] for name in group["arguments"]), *said["allowed"]["arguments"]])

    assert len(table().options) == 317
    assert {name: number for name, number in classed.items() if number > 1} == {}
    assert classed.keys() ^ {option.name for option in table().options} == set(), "class what vLLM has added, and drop what is gone"
    assert {*said["values"], *said["keys"]} - {"any"} <= set(said["allowed"]["arguments"])


def parser() -> argparse.ArgumentParser:
    """What vLLM's parser is beneath: argparse with the same options."""
    made = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    for option in table().options:
        settings: dict[str, Any] = {"nargs": option.nargs} if option.nargs in ("?", "+") else {}
        if option.nargs == 0:
            no = any(name.startswith("--no-") for name in option.names)
            positive = [name for name in option.names if not name.startswith("--no-")]
            made.add_argument(*positive, dest=option.name, action=argparse.BooleanOptionalAction if no else "store_true", default=None)
        else:
            if option.nargs == "?":
                settings["const"] = True
            made.add_argument(*option.names, dest=option.name, **settings)
    return made


PARSER = parser()


def value(option: Option, draw: st.DrawFn) -> str:
    return draw(st.sampled_from(option.choices)) if option.choices else draw(st.sampled_from(["a", "-1", "1.5", "x=y", "a.b", "8k", "{}"]))


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Some arguments in any of their forms, each once."""
    words: list[str] = []
    for option in draw(st.lists(st.sampled_from(table().options), max_size=5, unique_by=lambda option: option.name)):
        name = draw(st.sampled_from(option.names))
        if option.nargs == 0:
            words.append(name)
        elif option.nargs in (1, "?") and draw(st.booleans()):
            words.append(f"{name}={value(option, draw)}")
        else:
            several = draw(st.integers(1, 3)) if option.nargs == "+" else 1
            words += [name, *(value(option, draw) for _ in range(several))]
    return words


@given(words=command_lines(), underscores=st.booleans())
def test_what_is_read_is_what_argparse_reads(words: list[str], underscores: bool) -> None:
    written = [
        f"--{word[2:].replace('-', '_')}" if underscores and word in table().by_name and word.startswith("--") else word for word in words
    ]

    read = {name: argument.value for name, argument in read_arguments(written).items()}

    expected = {name: found for name, found in vars(PARSER.parse_args(words)).items() if found is not None}
    assert read == {name: tuple(found) if isinstance(found, list) else found for name, found in expected.items()}


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--max_num_seqs", "8"], "--max-num-seqs", "8"),
        (["-pp=2"], "--pipeline-parallel-size", "2"),
        (["-O3"], "--optimization-level", "3"),
        (["-O=3"], "--optimization-level", "3"),
        (["-O", "3"], "--optimization-level", "3"),
        (["--no-enable-prefix-caching"], "--enable-prefix-caching", False),
        (["--cudagraph-capture-sizes", "1", "2", "--enforce-eager"], "--cudagraph-capture-sizes", ("1", "2")),
        (["--hf-overrides.rope_parameters.factor", "4.0"], "--hf-overrides", {"rope_parameters": {"factor": 4.0}}),
        (["--hf_overrides.a_b=1k", "--hf-overrides.c", "x"], "--hf-overrides", {"a_b": 1000, "c": "x"}),
        (
            ["-cc.cudagraph_capture_sizes+", "1,2", "-cc.cudagraph_capture_sizes+=4"],
            "--compilation-config",
            {"cudagraph_capture_sizes": ["1", "2", "4"]},
        ),
        (["-cc.mode", "-1"], "--compilation-config", {"mode": -1}),
    ],
)
def test_forms_that_vllm_adds_to_argparse_are_read(arguments: list[str], name: str, value: object) -> None:
    assert read_arguments(arguments)[name].value == value


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--load-f", "pt"], "arguments must be written out: vLLM would take --load-f for --load-format."),
        (["--tru"], "--tru is no argument of vLLM 0.32.0."),  # ambiguous in vLLM, too
        (["--trust-rem"], "vLLM would take --trust-rem for --trust-remote-code."),
        (["--api-ke=hunter2"], "vLLM would take --api-ke for --api-key."),
        (["--lora-module", "sql=/a"], "vLLM would take --lora-module for --lora-modules."),
        (["--speculative-c.model", "x"], "vLLM would take --speculative-c for --speculative-config."),
        (["-qfp8"], "vLLM would take -qfp8 for -q (--quantization) with its value."),
        (["-tp2"], "-tp2 is no argument of vLLM 0.32.0"),
        (["--swap-space", "4"], "--swap-space is no argument of vLLM 0.32.0"),
        (["--max-num-seq-s", "4"], "did you mean --max-num-seqs?"),
        (["--max-num-seqs"], "--max-num-seqs needs a value."),
        (["--max-num-seqs", "--enforce-eager"], "--max-num-seqs needs a value."),
        (["--watermark", "-0.5"], "--watermark needs a value: write --watermark=-0.5."),
        (["--enforce-eager=true"], "--enforce-eager takes no value: write --enforce-eager, or leave it out."),
        (["--enforce-eager", "true"], "true stands alone: no argument before it takes it."),
        (["other/model"], "other/model stands alone"),
        (["--max-num-seqs", "4", "8"], "8 stands alone"),
        (["--"], "-- is no argument"),
        (["-"], "- is no argument"),
        (["-O"], "-O takes a level from 0 to 3"),
        (["-O9"], "-O takes a level from 0 to 3 (given: 9)."),
        (["--max-num-seqs", "4", "--max_num_seqs=8"], "--max-num-seqs is given twice: vLLM would forget the first"),
        (["-pp", "2", "--pipeline-parallel-size", "1"], "--pipeline-parallel-size is given twice"),
        (["--enable-prefix-caching", "--no-enable-prefix-caching"], "--enable-prefix-caching is given twice"),
        (["--hf-overrides.a", "1", "--hf-overrides.a", "2"], "--hf-overrides: the key a is given twice"),
        (["--hf-overrides", "{}", "--hf-overrides.a", "2"], "--hf-overrides is given as a whole and by keys"),
        (["--hf-overrides.a", "1", "--hf-overrides", "{}"], "--hf-overrides is given twice"),
        (["--hf-overrides.a.b", "1", "--hf-overrides.a", "2"], "--hf-overrides: the key a is given twice"),
        (["--hf-overrides."], "--hf-overrides needs a value for each key."),
        (["--hf-overrides.=1"], "--hf-overrides: one of the keys of --hf-overrides. is empty."),
        (["--hf-overrides.a", "--load-format"], "--hf-overrides needs a value for each key."),
        (["--enforce-eager.a", "1"], "--enforce-eager takes no keys"),
        (["--kv-cache-dtype", "fp9"], "--kv-cache-dtype must be one of auto, bfloat16, "),
        (["--pipeline-parallel-size", "two"], "--pipeline-parallel-size must be a whole number, 1 or more."),
        (["--pipeline-parallel-size", "0"], "--pipeline-parallel-size must be a whole number, 1 or more."),
        (["--data-parallel-size", "-2"], "--data-parallel-size must be a whole number, 1 or more."),
        (["--block-size", "9" * 5000], "--block-size must be a whole number, 1 or more."),
        (["--block-size", "1" + "0" * 400], "--block-size must be a whole number, 1 or more."),
        (["--cpu-offload-gb", "nan"], "--cpu-offload-gb must be a number of GiB, 0 or more."),
        (["--hf-overrides", "[1]"], "--hf-overrides must be a JSON object."),
        (["--hf-overrides", "{'a': 1}"], "--hf-overrides must be JSON."),
        (["--hf-overrides", '{"a": NaN}'], "NaN is no number."),
        (["--hf-overrides", '{"a": 1e400}'], "holds a number that is too large."),
        (["--hf-overrides", "[" * 100_000], "is nested too deeply."),
        (["--hf-overrides.a", '{"b":' * 20_000], "is nested too deeply."),
        (["--hf-overrides" + ".a" * 10_000, "1"], "--hf-overrides is nested too deeply."),
        (["--max-num-seqs", ""], "an argument is empty: leave it out."),
        (["--seed", "\x00"], "holds a character that cannot be printed"),
        (["--seed", "\ud800"], "holds a character that cannot be printed"),
        (["--seed", "$(HOME)"], "Kubernetes would put a variable's value there."),
        (["--seed", "1" * 200_000], "no argument is longer than 131,071."),
        (["--enforce-eager"] * 300, "holds 300 arguments: more than 256 are never read."),
    ],
)
def test_what_vllm_would_not_take_or_would_have_to_guess_is_named(arguments: list[str], says: str) -> None:
    assert says in refusal(*arguments)


@pytest.mark.parametrize(
    "option", [option for option in table().options if option.name not in classes().allowed], ids=lambda option: option.name
)
def test_what_must_not_be_there_is_refused_in_every_form(option: Option) -> None:
    worth = option.choices[0] if option.choices else "x"
    for name in option.names:
        long = name.replace("-", "_").replace("__", "--", 1) if name.startswith("--") else name
        forms = [[name], [long]] if option.nargs == 0 else [[name, worth], [f"{name}={worth}"], [f"{long}={worth}"]]
        forms += [[f"{name}.key", "x"], [f"{name}.key+=x"]] if option.nargs == 1 and not option.choices else []
        for form in forms:
            assert refusal("--enforce-eager", *form).startswith((f"must not hold {name}: ", f"must not hold {name}; ")), form


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--tokenizer-mode", "my_plugin"], "--tokenizer-mode must be one of auto, "),
        (["--generation-config", "/models/other"], "--generation-config must be one of auto, vllm"),
        (["--distributed-executor-backend", "my.module.Executor"], "--distributed-executor-backend must be one of mp, uni"),
        (["--distributed-executor-backend.a", "ray"], "--distributed-executor-backend must be one of mp, uni"),
        (["-cc", '{"backend": "my.module.compile"}'], "--compilation-config must not hold the key backend"),
        (["-cc.inductor_passes.post", "my.module.run"], "--compilation-config must not hold the key inductor_passes"),
        (["--structured-outputs-config.reasoning_parser_plugin=/tmp/x.py"], "must not hold the key reasoning_parser_plugin"),
        (["--hf-overrides", '{"auto_map": {"AutoModel": "o/r--m.C"}}'], "--hf-overrides must not hold the key auto_map"),
        (["--hf-overrides.text_config.auto_map.AutoModel", "o/r--m.C"], "--hf-overrides must not hold the key auto_map"),
        (["--hf-overrides.quantization_config_file", "/tmp/x"], "--hf-overrides must not hold the key quantization_config_file"),
        (["--mm-processor-kwargs", ' {"trust_remote_code": true}'], "--mm-processor-kwargs must not hold the key trust_remote_code"),
    ],
)
def test_values_that_read_files_or_import_code_are_refused(arguments: list[str], says: str) -> None:
    assert says in refusal(*arguments)


def test_what_is_usual_passes() -> None:
    said = admit(
        [
            "--enable-auto-tool-choice",
            "--tool-call-parser=hermes",
            "--max-num-batched-tokens",
            "8K",
            "-pp",
            "2",
            "-dp=4",
            "--no-async-scheduling",
            "--disable-hybrid-kv-cache-manager",
            "--allowed-origins",
            '["*"]',
            "--hf-overrides",
            '{"max_position_embeddings": 131072, "rope_parameters": {"rope_type": "yarn", "factor": 4}}',
            "--limit-mm-per-prompt.image",
            "2",
        ]
    )

    assert (said.max_num_batched_tokens, said.pipeline_parallel_size, said.data_parallel_size) == (8192, 2, 4)
    assert (said.async_scheduling, said.hybrid_kv_cache_manager, said.prefix_caching) == (False, False, None)
    assert said.hf_overrides["rope_parameters"] == {"rope_type": "yarn", "factor": 4}
    assert said.gpus(tensor_parallel_size=2) == 16


def test_the_plan_can_read_what_a_model_file_must_not_hold() -> None:
    said = EngineArguments.read(["-tp", "4", "--max-model-len=32k", "--spec-tokens", "3", "-sc.x", "1", "--dtype", "half"])

    assert (said.tensor_parallel_size, said.max_model_len, said.dtype) == (4, 32_000, "half")
    assert said.speculative == {"x": 1, "num_speculative_tokens": 3}
    assert EngineArguments.read(["--max-model-len", "auto"]).max_model_len is None


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("LD_PRELOAD", "/tmp/x.so", "LD_PRELOAD is not among the variables that may be set (docs/deployments.md)."),
        ("PYTHONPATH", "/tmp", "PYTHONPATH is not among"),
        ("VLLM_PLUGINS", "mine", "VLLM_PLUGINS is not among"),
        ("VLLM_ALLOW_INSECURE_SERIALIZATION", "1", "VLLM_ALLOW_INSECURE_SERIALIZATION is not among"),
        ("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING is not among"),
        ("VLLM_API_KEY", "hunter2", "VLLM_API_KEY is not among"),
        ("HF_ENDPOINT", "http://elsewhere", "HF_ENDPOINT is not among"),
        ("HF_HUB_OFFLINE", "0", "HF_HUB_OFFLINE is not among"),
        ("vllm_logging_level", "INFO", "vllm_logging_level is not among"),
        ("A\x1b[2J", "1", "a name that cannot be printed is not among"),
        ("VLLM_LOGGING_LEVEL", "DEBUG", "VLLM_LOGGING_LEVEL must be INFO|WARNING|ERROR."),
        ("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "1\n", "VLLM_ALLOW_LONG_MAX_MODEL_LEN must be 0|1."),
        ("NCCL_DEBUG", "$(HOME)", "NCCL_DEBUG must be"),
    ],
)
def test_variables_that_are_not_known_to_be_harmless_are_refused(name: str, value: str, says: str) -> None:
    with pytest.raises(SpecInvalid) as caught:
        admit_variables({name: value})

    assert caught.value.message.startswith(says)
    assert "hunter2" not in caught.value.message


def test_variables_that_change_how_the_engine_calculates_may_be_set() -> None:
    admit_variables({"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1", "PYTORCH_ALLOC_CONF": "expandable_segments:True", "OMP_NUM_THREADS": "8"})


@pytest.mark.parametrize(("text", "number"), [("8", 8), ("8k", 8000), ("8K", 8192), ("25.6k", 25_600), (" 2M ", 2 * 2**20), ("1t", 10**12)])
def test_numbers_with_a_suffix(text: str, number: int) -> None:
    assert whole_number(text) == number


@pytest.mark.parametrize("text", ["", "x", "1.5", "1.5K", "8kb", "٨k", "1e3", f"{'9' * 400}k", "9" * 5000])
def test_no_numbers(text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid literal|beyond every float|Exceeds the limit"):
        whole_number(text)


@given(
    words=st.lists(
        st.text(max_size=12) | st.sampled_from([f"{name}{end}" for name in table().by_name for end in ("", "=", ".", ".a", "+")]),
        max_size=6,
    )
)
def test_no_arguments_make_a_traceback(words: list[str]) -> None:
    with contextlib.suppress(SpecInvalid):
        admit(words)
