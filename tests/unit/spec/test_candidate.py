"""A candidate's fingerprint is its identity: the same everywhere, another one for any change."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from flows.spec import Candidate, EngineSettings, SnapshotFile, Speculative
from tests.support.examples import about, candidate, digest


def test_the_fingerprint_survives_the_registry_and_another_process() -> None:
    made = candidate()
    document = json.dumps(made.document())

    again = Candidate.from_document(json.loads(document))
    code = "import json, sys; from flows.spec import Candidate; print(Candidate.from_document(json.load(sys.stdin)).fingerprint)"
    elsewhere = subprocess.run([sys.executable, "-c", code], input=document, capture_output=True, text=True, check=True)

    assert again == made
    assert again.fingerprint == made.fingerprint == elsewhere.stdout.strip()
    assert len(made.fingerprint) == 64
    assert made.fingerprint.startswith(made.label)
    assert len(made.label) <= 63


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"commit": "f" * 40},
        {"image": f"slipway-sandbox/vllm-openai@sha256:{digest('another image')}"},
        {"chart_digest": digest("another chart")},
        {"engine": EngineSettings(max_model_len=512)},
        {"engine": EngineSettings(max_model_len=256, chat_template="{{ messages }}")},
        {"engine": EngineSettings(max_model_len=256, extra_args=("--enforce-eager",))},
        {"engine": EngineSettings(max_model_len=256, quantization="fp8")},
        {"engine": EngineSettings(max_model_len=256, variables={"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"})},
        {"engine": EngineSettings(max_model_len=256, speculative=Speculative(method="ngram"))},
        {"files": (SnapshotFile(path="model.safetensors", size_bytes=2_000_000, digest=digest("others"), algorithm="sha256"),)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_any_change_is_another_candidate(change: dict[str, object]) -> None:
    assert replace(candidate(), **change).fingerprint != candidate().fingerprint  # type: ignore[arg-type]


def test_leave_to_run_code_is_part_of_it_and_what_was_read_of_the_model_is_not() -> None:
    assert replace(candidate(), remote_code=True).fingerprint != candidate().fingerprint
    assert replace(candidate(), about=about()).fingerprint == candidate().fingerprint


def test_what_was_read_of_the_model_survives_the_registry() -> None:
    made = candidate(about=about({"model_type": "\x00", "eps": float("inf")}), remote_code=True)

    assert Candidate.from_document(json.loads(json.dumps(made.document()))) == made


def test_a_document_from_before_models_were_looked_into_is_the_same_candidate() -> None:
    document = {key: value for key, value in candidate().document().items() if key not in ("about", "remote_code")}

    again = Candidate.from_document(document)

    assert again == candidate()
    assert again.fingerprint == candidate().fingerprint


def test_settings_that_came_later_survive_the_registry_and_change_nothing_where_they_say_nothing() -> None:
    guessing = candidate(engine=EngineSettings(max_model_len=256, speculative=Speculative(method="ngram", tokens=2)))
    document = candidate().document()
    del document["engine"]["quantization"], document["engine"]["speculative"]

    assert Candidate.from_document(json.loads(json.dumps(guessing.document()))) == guessing
    assert Candidate.from_document(document) == candidate()


def test_the_canonical_form_is_fixed() -> None:
    # A change here makes every entry of every registry a stranger: it needs a migration.
    assert candidate().fingerprint == "c6ec02a47a1bb292789cbd74e68f1a66902dc66cdff3cceb55258d908e0c1386"
