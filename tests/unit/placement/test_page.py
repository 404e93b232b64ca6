"""The plan's page and rows: what would happen, the numbers, and everything that speaks against it."""

from __future__ import annotations

from dataclasses import replace

from flows.candidate.files import LeftOut
from flows.errors import Refusal
from flows.placement.assess import Assessment, assess
from flows.placement.page import environment_row, model_row, preview_page
from flows.spec import ApprovalPolicy, EngineSettings
from flows.text.markdown import md
from tests.support.examples import about, candidate, cluster_state, digest, environment, model, node, pod

ENGINE = EngineSettings(max_model_len=131_072)
CANDIDATE = candidate(about=about(), engine=ENGINE)


def assessed(concurrency: int = 1, **changes: object) -> Assessment:
    where = environment(approval=ApprovalPolicy(required=True))
    return assess(model(engine=ENGINE, concurrency=concurrency), CANDIDATE, where, cluster_state(**changes), digest("chart"))  # type: ignore[arg-type]


def test_what_would_happen_is_told_step_by_step() -> None:
    page = str(preview_page(CANDIDATE, [], [assessed(pods=(pod("0123456789abcdef"),))]))

    for line in (
        "| staging | can be released | 33.0 GiB of 71.7 GiB | 131,072 | 2 of 2; 1 needed |",
        "- Only after it is verified in development.",
        "- Only after a person approves it.",
        "- 2.0 MB are brought to gpu-1, unless they are there.",
        "- Helm release `tiny-llama-staging` in namespace `llm-staging`: 1 pod(s) with 1 GPU(s) each, in place of candidate 0123456789ab.",
        "- The new pod first (strategy surge): no interruption.",
        "- On one NVIDIA-H100-80GB-HBM3 of gpu-1: 15.0 GiB of weights, 16.0 GiB of KV cache for 1 request(s) of 131,072 tokens and 2.0 GiB "
        "of reserve make 33.0 GiB; vLLM may take 71.7 GiB of 79.6 GiB.",
        "| parameters | 8.03 billion in BF16 |",
        "| licence | llama3.1 (gated) |",
        "| KV cache | 16.0 GiB for a request of 131,072 tokens, 131,072 bytes for each token more |",
    ):
        assert line in page.splitlines()


def test_a_candidate_that_is_there_already_is_said_to_be() -> None:
    assert "which is there already." in str(preview_page(CANDIDATE, [], [assessed(pods=(pod(CANDIDATE.label),))]))


def test_all_refusals_are_on_the_page_and_in_the_rows() -> None:
    refused = assessed(4, gpus_taken={"gpu-1": 2})
    nowhere = [Refusal("Its weights are pickled.")]

    page = str(preview_page(CANDIDATE, nowhere, [refused, assessed()]))

    assert "- Its weights are pickled." in page
    assert "| staging | **refused** | 81.0 GiB of 71.7 GiB | 112,000 | 0 of 2; 1 needed |" in page
    assert "- tiny-llama does not fit one NVIDIA" in page
    assert "- There are not enough free GPUs" in page
    assert "Nothing here speaks against it, but the model itself is refused." in page
    assert model_row(CANDIDATE, nowhere)["refusals"] == md("Its weights are pickled.")
    row = environment_row(refused)
    assert (row["ok"], row["largest_context"], row["gpus_free"], len(str(row["refusals"]).splitlines())) == (False, 112_000, 0, 2)


def test_what_cannot_be_told_is_not_shown_as_a_number() -> None:
    unknown = replace(CANDIDATE, about=about({}))
    assessment = assess(model(engine=ENGINE), unknown, environment(), cluster_state(node(ready=False)), digest("chart"))

    assert "| staging | **refused** | cannot be told | cannot be told | no node |" in str(preview_page(unknown, [], [assessment]))
    assert environment_row(assessment)["needed_bytes"] is None
    assert model_row(unknown, [])["kv_bytes_per_token"] is None


def test_what_stays_on_the_hub_and_what_else_is_to_be_known_is_told() -> None:
    stays = LeftOut(why="an adapter", files=1234, size_bytes=3 * 2**20, examples=("a|b.safetensors", "x" * 200))
    page = str(preview_page(CANDIDATE, [], [assessed()], [stays], ["o/n is called o/new on the hub now."]))

    assert f"| 1,234 | 3.0 MiB | a\\|b.safetensors, {'x' * 79}… and 1,232 more | an adapter |" in page.splitlines()
    assert "- o/n is called o/new on the hub now." in page.splitlines()
    assert "What stays on the hub" not in str(preview_page(CANDIDATE, [], [assessed()]))
