"""What a release answers is compared with what the one before answered: weights, template and precision all show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from blocks.endpoint import Endpoint
from flows.spec import BehaviourPolicy
from flows.verification.behaviour import Behaviour, Golden, Reference, check_behaviour, compare
from flows.verification.tasks.questions import Questions
from sandbox.engine.arguments import parse
from sandbox.engine.core import EngineCore
from sandbox.engine.faults import FaultsView
from sandbox.engine.loading import load
from sandbox.engine.metrics import Metrics
from sandbox.engine.server import EngineServer
from sandbox.models import Knowledge, altered, make_model
from sandbox.serving import HttpServer, LoopThread
from tests.support.examples import candidate
from tests.verification.conftest import DEPLOYMENTS

SUITE = DEPLOYMENTS.suite("full")
OTHER_TEMPLATE = "{% for message in messages %}<|{{ message.role }}|> {{ message.content }}{% endfor %}<|assistant|>"

Ask = Callable[..., Golden]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Serves files with the stand-in engine and asks the golden prompts, three times."""
    with LoopThread() as loop:

        def asked(files: dict[str, bytes], *arguments: str) -> Golden:
            folder: Path = tmp_path_factory.mktemp("model")
            for name, content in files.items():
                (folder / name).write_bytes(content)
            options = parse([str(folder), "--served-model-name", "tiny-llama", "--max-model-len", "256", *arguments])
            core = EngineCore(load(options), Metrics("tiny-llama"), FaultsView(("tiny-llama",)), max_num_seqs=8, seed=0)
            server = HttpServer(EngineServer(core, options).app(), loop)
            server.start()
            try:
                with Endpoint(via="dns").client(f"{server.host}:{server.port}") as client:
                    golden = Questions(client, candidate()).golden(SUITE, runs=3)
            finally:
                server.close()
            assert golden is not None
            assert golden.problems == ()
            return golden

        yield asked


@pytest.fixture(scope="module")
def before(ask: Ask) -> Golden:
    return ask(make_model())


def behaviour(now: Golden, before: Golden, commit: str = "new") -> Behaviour:
    compared = compare(now, Reference(fingerprint="f" * 64, commit="old", golden=before), commit)
    assert compared is not None
    return compared


def differing(compared: Behaviour) -> set[str]:
    return {difference.name for difference in compared.differences if difference.first_token is not None}


def test_the_same_weights_answer_the_same(ask: Ask, before: Golden) -> None:
    compared = behaviour(ask(make_model()), before, commit="old")

    assert differing(compared) == set()
    assert compared.max_nats <= compared.tolerance_nats
    assert check_behaviour(compared, BehaviourPolicy()).outcome == "passed"
    # of the prompts with an expectation, JSON among them, all held; the log-probabilities are those of the answers
    assert compared.valid_now == compared.valid_before
    assert all(len(answer.logprobs) == len(answer.tokens) for answer in before.answers)


def test_another_chat_template_changes_chats_and_nothing_else(ask: Ask, before: Golden) -> None:
    compared = behaviour(ask(make_model(), "--chat-template", OTHER_TEMPLATE), before, commit="old")

    chats = {golden.name for golden in SUITE.golden if golden.kind != "completion"}
    changed = differing(compared) | {
        difference.name for difference in compared.differences if difference.max_nats > compared.tolerance_nats
    }
    assert changed
    assert changed <= chats
    assert check_behaviour(compared, BehaviourPolicy()).outcome == "failed"
    assert check_behaviour(compared, BehaviourPolicy(same_commit="report")).outcome == "passed"


def test_weights_of_less_precision_show_in_log_probabilities(ask: Ask, before: Golden) -> None:
    def quantised(name: str, values: np.ndarray) -> np.ndarray:
        step = np.abs(values).max() / 127
        return (np.round(values / step) * step).astype(np.float32) if step else values

    compared = behaviour(ask(altered(make_model(), quantised)), before, commit="old")

    assert compared.max_nats > compared.tolerance_nats
    assert check_behaviour(compared, BehaviourPolicy()).outcome == "failed"


def test_what_a_new_revision_learnt_is_shown_word_by_word(ask: Ask, before: Golden) -> None:
    compared = behaviour(ask(make_model(knowledge=Knowledge().but(Italy="Milan"))), before)

    italy = next(difference for difference in compared.differences if difference.name == "capital-of-italy")
    assert (italy.before, italy.now, italy.first_token) == (" Rome.", " Milan.", 1)
    assert check_behaviour(compared, BehaviourPolicy()).outcome == "passed", "a new revision may differ: it is reported"
    assert check_behaviour(compared, BehaviourPolicy(mode="gate", min_exact_share=1)).outcome == "failed"
