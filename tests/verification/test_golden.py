"""What a release answers is compared with what the one before answered: weights, template and precision all show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blocks.endpoint import Endpoint
from flows.spec import BehaviourPolicy, CheckSuite
from flows.verification.behaviour import Behaviour, compare
from flows.verification.golden import Golden, Reference
from flows.verification.regression import check_behaviour
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
from tests.verification.conftest import FULL

SUITE = FULL
PROBES_ALONE = replace(SUITE, golden=())
OTHER_TEMPLATE = "{% for message in messages %}<|{{ message.role }}|> {{ message.content }}{% endfor %}<|assistant|>"

Ask = Callable[..., Golden]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Serves files with the stand-in engine and asks the golden prompts and the probes, twice."""
    with LoopThread() as loop:

        def asked(files: dict[str, bytes], *arguments: str, before: Golden | None = None, suite: CheckSuite = SUITE) -> Golden:
            folder: Path = tmp_path_factory.mktemp("model")
            for name, content in files.items():
                (folder / name).write_bytes(content)
            options = parse([str(folder), "--served-model-name", "tiny-llama", "--max-model-len", "256", *arguments])
            core = EngineCore(load(options), Metrics("tiny-llama"), FaultsView(("tiny-llama",)), max_num_seqs=8, seed=0)
            server = HttpServer(EngineServer(core, options).app(), loop)
            server.start()
            try:
                with Endpoint(via="dns").client(f"{server.host}:{server.port}") as client:
                    questions = Questions(client, candidate())
                    questions.warm_up_detail()
                    golden = questions.golden(suite, runs=2, before=[answer.probe for answer in before.probes] if before else [])
            finally:
                server.close()
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
    compared = behaviour(ask(make_model(), before=before), before, commit="old")

    assert differing(compared) == set()
    assert compared.max_nats <= compared.tolerance_nats
    assert check_behaviour(compared, BehaviourPolicy()).outcome == "passed"
    # the pipeline's own prompts are asked again, and read and answered the same at every position
    assert compared.shift is not None
    assert compared.shift.positions > 300
    assert compared.shift.max_nats <= 1e-4
    assert len(compared.probes) == len(before.probes) == 8
    # of the prompts with an expectation, JSON among them, all held; the log-probabilities are those of the answers
    assert compared.valid_now == compared.valid_before
    assert all(len(answer.logprobs) == len(answer.tokens) for answer in before.answers)


def test_another_chat_template_changes_chats_and_nothing_else(ask: Ask, before: Golden) -> None:
    now = ask(make_model(), "--chat-template", OTHER_TEMPLATE, before=before)
    compared = behaviour(now, before, commit="old")

    chats = {golden.name for golden in SUITE.golden if golden.kind != "completion"}
    tolerated = compared.tolerance_shift
    assert tolerated is not None
    changed = differing(compared) | {one.name for one in compared.differences if one.shift and one.shift.max_nats > tolerated.max_nats}
    assert changed
    assert changed <= chats
    assert {probe.name for probe in compared.probes if probe.reread} == {answer.probe.name for answer in before.probes if answer.probe.chat}
    assert check_behaviour(compared, BehaviourPolicy()).outcome == "failed"
    assert check_behaviour(compared, BehaviourPolicy(same_commit="report")).outcome == "passed"
    # and without any chat among the suite's golden prompts, too
    texts = [index for index, golden in enumerate(SUITE.golden) if golden.kind == "completion"]
    completions_alone = [replace(one, answers=tuple(one.answers[index] for index in texts)) for one in (now, before)]

    alone = behaviour(*completions_alone, commit="old")
    assert differing(alone) == set()
    assert check_behaviour(alone, BehaviourPolicy()).outcome == "failed"


def test_noise_on_all_weights_is_noticed(ask: Ask, before: Golden) -> None:
    draw = np.random.default_rng(1)

    def noisy(name: str, values: np.ndarray) -> np.ndarray:
        return (values * (1 + 0.01 * draw.standard_normal(values.shape))).astype(np.float32)

    compared = behaviour(ask(altered(make_model(), noisy), before=before, suite=PROBES_ALONE), before, commit="old")

    assert check_behaviour(compared, BehaviourPolicy()).outcome == "failed"


def test_a_model_without_a_chat_template_is_asked_texts_alone(ask: Ask) -> None:
    files = {name: content for name, content in make_model().items() if name != "chat_template.jinja"}

    probes = [answer.probe for answer in ask(files, suite=PROBES_ALONE).probes]

    assert probes
    assert not any(probe.chat for probe in probes)


def test_weights_of_less_precision_show_in_log_probabilities(ask: Ask, before: Golden) -> None:
    def quantised(name: str, values: np.ndarray) -> np.ndarray:
        step = np.abs(values).max() / 127
        return (np.round(values / step) * step).astype(np.float32) if step else values

    compared = behaviour(ask(altered(make_model(), quantised), before=before), before, commit="old")

    assert compared.max_nats > compared.tolerance_nats
    assert check_behaviour(compared, BehaviourPolicy()).outcome == "failed"


def test_what_a_new_revision_learnt_is_shown_word_by_word(ask: Ask, before: Golden) -> None:
    compared = behaviour(ask(make_model(knowledge=Knowledge().but(Italy="Milan")), before=before), before)

    italy = next(difference for difference in compared.differences if difference.name == "capital-of-italy")
    assert (italy.before, italy.now, italy.first_token) == (" Rome.", " Milan.", 1)
    assert check_behaviour(compared, BehaviourPolicy()).outcome == "passed", "a new revision may differ: it is reported"
    assert check_behaviour(compared, BehaviourPolicy(mode="gate", min_exact_share=1)).outcome == "failed"
