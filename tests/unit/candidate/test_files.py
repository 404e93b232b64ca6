"""Which files of a repository are chosen, left out and refused: a row for each layout that people have (docs/weights.md)."""

from __future__ import annotations

import random
import time

import pytest

from blocks.facts import HubFile
from flows.candidate.files import index_path, left_out, select_files
from flows.errors import Refusal, SpecInvalid
from flows.spec import LoadFormat
from tests.support.examples import hub_file

BESIDE = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "README.md", "LICENSE"]
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
INDEX = "model.safetensors.index.json"
MISTRAL_INDEX = "consolidated.safetensors.index.json"


def files(*names: str) -> list[HubFile]:
    return [hub_file(name) for name in names]


def index_of(*names: str) -> dict[str, str]:
    return {f"layer.{number}.weight": name for number, name in enumerate(names)}


def chosen(
    *names: str,
    index: dict[str, str] | None = None,
    subfolder: str = "",
    load_format: LoadFormat = "safetensors",
    remote_code: bool = False,
) -> list[str]:
    found = select_files("o/n", files(*names), index=index, subfolder=subfolder, load_format=load_format, remote_code=remote_code)
    return [file.path for file in found]


def refused(*names: str, **options: object) -> str:
    with pytest.raises(Refusal) as caught:
        chosen(*names, **options)  # type: ignore[arg-type]
    assert "\n" not in caught.value.message
    return caught.value.message


#: Layout → the files that are chosen, those that stay on the hub, and the index.
LAYOUTS: dict[str, tuple[list[str], list[str], dict[str, str] | None]] = {
    "one file": ([*BESIDE, "model.safetensors"], [".gitattributes", "figure.png"], None),
    "one file of another name": ([*BESIDE, "gptq_model-4bit-128g.safetensors"], [], None),
    "shards with an index": ([*BESIDE, *SHARDS, INDEX], [], index_of(*SHARDS)),
    "shards without an index": ([*BESIDE, *SHARDS], [], None),
    "shards with few digits": ([*BESIDE, "model-1-of-3.safetensors", "model-2-of-3.safetensors", "model-3-of-3.safetensors"], [], None),
    "shards from zero": ([*BESIDE, "model-00000-of-00002.safetensors", "model-00001-of-00002.safetensors"], [], None),
    "a stray file beside shards": ([*BESIDE, *SHARDS, INDEX], ["model.safetensors", "model-00001-of-00004.safetensors"], index_of(*SHARDS)),
    "one shard only in the index": ([*BESIDE, SHARDS[0], INDEX], [SHARDS[1]], index_of(SHARDS[0])),
    "an index with names of its own": ([*BESIDE, "a.safetensors", "b.safetensors", INDEX], ["c.safetensors"],
        index_of("a.safetensors", "b.safetensors")),
    "Mistral's copy beside shards": ([*BESIDE, *SHARDS, INDEX, "params.json", "tekken.json"], ["consolidated.safetensors"],
        index_of(*SHARDS)),
    "Mistral's copy beside one file": ([*BESIDE, "model.safetensors"], ["consolidated.safetensors"], None),
    "an adapter": ([*BESIDE, "model.safetensors", "adapter_config.json"], ["adapter_model.safetensors"], None),
    "official Llama": ([*BESIDE, *SHARDS, INDEX], ["original/consolidated.00.pth", "original/params.json",
        "original/tokenizer.model"], index_of(*SHARDS)),
    "gpt-oss": ([*BESIDE, *SHARDS, INDEX, "chat_template.jinja"], ["metal/model.bin", "original/model.safetensors",
        "original/dtypes.json"], index_of(*SHARDS)),
    "other engines' folders": (
        [*BESIDE, "model.safetensors"],
        ["onnx/model.onnx", "onnx/model.onnx_data", "openvino/openvino_model.bin", "coreml/model.mlpackage/Data/weights/weight.bin"],
        None,
    ),
    "other formats beside": ([*BESIDE, "model.safetensors"], ["model.gguf", "tf_model.h5", "flax_model.msgpack", "rust_model.ot"], None),
    "a trainer's leftovers": (
        [*BESIDE, "model.safetensors", "trainer_state.json"],
        ["training_args.bin", "optimizer.pt", "global_step10/mp_rank_00_model_states.pt", "loss.npz", "checkpoint-10/model.safetensors"],
        None,
    ),
    "chat templates": (
        [*BESIDE, "model.safetensors", "chat_template.jinja", "additional_chat_templates/tools.jinja", "chat_templates/rag.jinja"],
        ["additional_chat_templates/notes.txt", "templates/other.jinja"],
        None,
    ),
    "a tekken tokenizer": (["config.json", "model.safetensors", "tekken.json", "tokenizer.model.v3"], [], None),
    "code that does not run": ([*BESIDE, "model.safetensors"], ["modeling_tiny.py", "inference/run.py"], None),
    "hidden files": ([*BESIDE, "model.safetensors"], [".manifest.json", ".config.json"], None),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_chosen_as_vllm_loads_it(layout: str) -> None:
    wanted, others, index = LAYOUTS[layout]
    listing = wanted + others
    random.Random(layout).shuffle(listing)

    assert chosen(*listing, index=index) == sorted(wanted)
    told = left_out(files(*listing), select_files("o/n", files(*listing), index=index))
    assert sum(group.files for group in told) == len(others)


#: Layout → its files, its index, and what the one sentence says.
REFUSED: dict[str, tuple[list[str], dict[str, str] | None, str]] = {
    "no weights": ([*BESIDE], None, "o/n holds no safetensors weights in its top folder"),
    "pickles alone": ([*BESIDE, "pytorch_model.bin"], None, "no other format (pytorch_model.bin can run code when loaded)"),
    "weights in a folder": ([*BESIDE, "sub/model.safetensors"], None, "its top folder, but in sub: set `subfolder` in the model's file"),
    "an adapter alone": ([*BESIDE, "adapter_model.safetensors"], None, "but an adapter (adapter_model.safetensors): name the"),
    "another format": ([*BESIDE, "a-q4.gguf", "tf_model.h5"], None, "serves no other format (a-q4.gguf, tf_model.h5)."),
    "a pipeline of many models": (["model_index.json", "unet/x.safetensors", "vae/x.safetensors"], None, "but in unet, vae: set"),
    "no configuration": (["model.safetensors"], None, "holds no config.json; vLLM cannot tell what model it is"),
    "an upload that was not finished": ([*BESIDE, SHARDS[1]], None, "lacks model-00001-of-00002.safetensors of its weights: the upload"),
    "one of many": ([*BESIDE, *[f"model-{n}-of-61.safetensors" for n in range(1, 62) if n != 7]], None,
        "lacks model-7-of-61.safetensors of its"),
    "six digits": (
        [*BESIDE, *[f"model-0000{n}-of-000004.safetensors" for n in (1, 2, 4)]], None,
            "lacks model-00003-of-000004.safetensors of its weights",
    ),
    "many missing": ([*BESIDE, "model-1-of-99999.safetensors"], None, "lacks model-2-of-99999.safetensors, model-3-of-99999.safetensors, "
                                                                     "model-4-of-99999.safetensors and 99,995 more of its weights"),
    "more than numbered": ([*BESIDE, *SHARDS, "model-00003-of-00002.safetensors"], None, "3 files of weights that are numbered as 2"),
    "a number twice": ([*BESIDE, *SHARDS, "model-1-of-00002.safetensors"], None, "3 files of weights that are numbered as 2"),
    "two sets": ([*BESIDE, *SHARDS, "model-00001-of-00001.safetensors"], None,
        f"several files of weights (model-00001-of-00001.safetensors, "
                 f"{SHARDS[0]}, {SHARDS[1]}) and no {INDEX}"),
    "a stray without an index": ([*BESIDE, *SHARDS, "model.safetensors"], None, f"and no {INDEX} that says which of them make the model"),
    "an index that names what is not there": ([*BESIDE, SHARDS[0], INDEX], index_of(*SHARDS),
        f"lacks {SHARDS[1]} of its weights, which its index names"),
    "an index into a folder": ([*BESIDE, "sub/a.safetensors", INDEX], index_of("sub/a.safetensors"),
        f"The {INDEX} of o/n names sub/a.safetensors"),
    "an index out of the folder": ([*BESIDE, INDEX], index_of("../a.safetensors"),
        "names ../a.safetensors: vLLM loads *.safetensors of the folder"),
    "an index of pickles": ([*BESIDE, "pytorch_model.bin", INDEX], index_of("pytorch_model.bin"), "names pytorch_model.bin: vLLM loads"),
    "Mistral's layout alone": ([*BESIDE, "consolidated.safetensors"], None, "set engine.load_format: mistral in the model's file"),
}  # fmt: skip


@pytest.mark.parametrize("layout", REFUSED)
def test_what_vllm_would_not_load_is_refused_with_one_sentence(layout: str) -> None:
    names, index, says = REFUSED[layout]

    assert says in refused(*names, index=index)


class TestMistral:
    def test_its_layout_is_served_where_that_is_asked_for(self) -> None:
        names = [*BESIDE, *SHARDS, INDEX, "consolidated.safetensors", "params.json", "tekken.json"]

        found = chosen(*names, load_format="mistral")

        assert [name for name in found if name.endswith(".safetensors")] == ["consolidated.safetensors"]
        assert {"params.json", "tekken.json"} <= set(found)

    def test_its_own_index_decides(self) -> None:
        parts = ["consolidated-00001-of-00002.safetensors", "consolidated-00002-of-00002.safetensors"]
        names = [*parts, MISTRAL_INDEX, "consolidated.safetensors", "params.json", "model.safetensors", INDEX]

        assert index_path(files(*names), load_format="mistral") == MISTRAL_INDEX
        assert index_path(files(*names)) == INDEX
        found = chosen(*names, load_format="mistral", index=index_of(*parts))
        assert [name for name in found if name.endswith(".safetensors")] == parts
        assert "names model.safetensors: vLLM loads consolidated*.safetensors" in refused(
            *names, load_format="mistral", index=index_of("model.safetensors")
        )

    def test_what_it_lacks_is_said(self) -> None:
        assert "holds no params.json" in refused("consolidated.safetensors", load_format="mistral")
        assert "set engine.load_format: safetensors" in refused("model.safetensors", load_format="mistral")


class TestSubfolder:
    def test_the_model_of_a_folder_is_that_folder_alone(self) -> None:
        inside = [f"fp8/{name}" for name in (*BESIDE, *SHARDS, INDEX, "chat_templates/a.jinja")]
        outside = [*BESIDE, "model.safetensors", "fp4/model.safetensors", "fp8/original/model.safetensors", "fp80/config.json"]

        assert index_path(files(*inside), subfolder="fp8") == f"fp8/{INDEX}"
        assert chosen(*inside, *outside, subfolder="fp8", index=index_of(*SHARDS)) == sorted(inside)

    def test_what_is_not_there_is_said_with_the_folder(self) -> None:
        assert "o/n has no folder fp8, which `subfolder`" in refused(*BESIDE, "model.safetensors", subfolder="fp8")
        assert "o/n's folder fp8 holds no config.json" in refused(*BESIDE, "fp8/model.safetensors", subfolder="fp8")


def test_code_of_the_repository_comes_only_where_it_may_run() -> None:
    names = ("config.json", "model.safetensors", "modeling_tiny.py", "inference/run.py")

    assert chosen(*names, remote_code=True) == ["config.json", "model.safetensors", "modeling_tiny.py"]


@pytest.mark.parametrize("name", ["../evil.json", "/etc/passwd", "a/../../b", "a\\..\\b.json"])
def test_a_path_that_leaves_the_folder_is_refused(name: str) -> None:
    with pytest.raises(SpecInvalid, match="path leaves its folder"):
        chosen("config.json", "model.safetensors", name)


def test_a_hundred_thousand_files_are_chosen_in_a_moment() -> None:
    many = files("config.json", "model.safetensors", *(f"data/{number // 1000}/{number}.json" for number in range(100_000)))

    begin = time.process_time()
    found = select_files("o/n", many)
    told = left_out(many, found)

    assert time.process_time() - begin < 1.0
    assert [file.path for file in found] == ["config.json", "model.safetensors"]
    assert [(group.files, group.examples[0]) for group in told] == [(100_000, "data/0/0.json")]


def test_five_thousand_shards_are_chosen_in_a_moment() -> None:
    many = files("config.json", *(f"model-{number:05d}-of-05000.safetensors" for number in range(1, 5001)))

    begin = time.process_time()
    found = select_files("o/n", many)

    assert time.process_time() - begin < 0.5
    assert len(found) == 5001


def test_three_thousand_files_are_a_candidate_and_more_than_a_job_can_be_told_of_are_not() -> None:
    assert (
        len(chosen("config.json", "model.safetensors", *(f"vocab/{n}.json" for n in range(10)), *(f"tok{n}.json" for n in range(3000))))
        == 3002
    )
    assert "7,002 files beside each other" in refused("config.json", "model.safetensors", *(f"tok{n}.json" for n in range(7000)))


def test_why_files_stay_on_the_hub_is_said_in_groups() -> None:
    listing = files(
        "config.json", *SHARDS, INDEX, "model.safetensors", "consolidated.safetensors", "adapter_model.safetensors",
            "original/consolidated.00.pth",
        "original/params.json", "run.py", "figure.png",
    )  # fmt: skip

    told = left_out(listing, select_files("o/n", listing, index=index_of(*SHARDS)))

    assert {group.examples: group.why.partition(":")[0].partition(",")[0] for group in told} == {
        ("model.safetensors",): "weights that the index does not name",
        ("consolidated.safetensors",): "the weights again",
        ("adapter_model.safetensors",): "an adapter",
        ("original/consolidated.00.pth",): "weights or data of another format",
        ("original/params.json",): "in a folder that vLLM does not look into",
        ("run.py",): "code of the repository",
        ("figure.png",): "nothing that vLLM reads",
    }
