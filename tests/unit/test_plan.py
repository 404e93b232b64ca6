"""Plans refuse what cannot work, with the numbers, before anything is touched."""

from __future__ import annotations

import pytest

from blocks.facts import Node
from flows.errors import DoesNotFit, NothingToRollBackTo, PromotionRefused, Refusal, SpecInvalid
from flows.plan.budget import load_budget
from flows.plan.files import select_files
from flows.plan.promotion import require_verified
from flows.plan.release import chosen_environments, plan_release
from flows.plan.rollback import choose_target
from flows.plan.values import chart_values, merged
from flows.spec import EngineSettings
from tests.examples import candidate, digest, environment, hub_file, node

CHART = digest("chart")


class TestRelease:
    def test_it_names_everything_that_follows(self) -> None:
        plan = plan_release(candidate(), environment(), [node("gpu-2"), node("gpu-1")], CHART)

        assert plan.helm_release == "tiny-llama-staging"
        assert plan.endpoint == "tiny-llama-staging.llm-staging.svc.cluster.local:8000"
        assert plan.nodes == ("gpu-1", "gpu-2")

    @pytest.mark.parametrize("nodes", [[], [node(ready=False)], [node(schedulable=False)]], ids=["none", "not ready", "cordoned"])
    def test_no_usable_node_is_said_with_the_selector(self, nodes: list[Node]) -> None:
        with pytest.raises(DoesNotFit, match=f"No ready node carries node-type=gpu.*{len(nodes)} carry it in all"):
            plan_release(candidate(), environment(), nodes, CHART)

    def test_a_model_larger_than_every_node_is_refused_with_the_numbers(self) -> None:
        wide = candidate(engine=EngineSettings(max_model_len=256, tensor_parallel_size=8))

        with pytest.raises(DoesNotFit, match=r"needs 8 GPU\(s\) on one node.*has 2") as caught:
            plan_release(wide, environment(), [node(), node("gpu-2", gpus=1)], CHART)

        assert caught.value.facts == {"gpus_wanted": 8, "gpus_most": 2}

    def test_only_nodes_that_could_run_it_get_the_weights(self) -> None:
        two = candidate(engine=EngineSettings(max_model_len=256, tensor_parallel_size=2))

        assert plan_release(two, environment(), [node("small", gpus=1), node("large", gpus=2)], CHART).nodes == ("large",)

    def test_a_chart_that_changed_since_is_refused(self) -> None:
        with pytest.raises(PromotionRefused, match="The chart changed"):
            plan_release(candidate(), environment(), [node()], digest("another chart"))


class TestEnvironments:
    known = (environment(name="development", after=None), environment(), environment(name="production", after="staging"))

    def test_they_keep_the_order_of_promotion(self) -> None:
        assert [e.name for e in chosen_environments(self.known, ["production", "development"])] == ["development", "production"]
        assert chosen_environments(self.known, None) == self.known

    def test_an_unknown_one_is_named_with_those_that_are_known(self) -> None:
        with pytest.raises(SpecInvalid, match="no environment 'prod': deployments/environments knows development, staging, production"):
            chosen_environments(self.known, ["prod"])


class Entry:
    def __init__(self, fingerprint: str | None, status: str) -> None:
        self.fingerprint = fingerprint
        self.status = status


class TestPromotion:
    def test_the_verified_candidate_may_go_on(self) -> None:
        require_verified(candidate(), environment(), Entry(candidate().fingerprint, "ready"))

    @pytest.mark.parametrize(
        ("before", "says"),
        [
            (None, "nothing is verified in development"),
            (Entry("f" * 64, "ready"), "development serves candidate ffffffffffff"),
            (Entry(candidate().fingerprint, "degraded"), "is degraded in development"),
        ],
    )
    def test_anything_else_is_refused(self, before: Entry | None, says: str) -> None:
        with pytest.raises(PromotionRefused, match=says):
            require_verified(candidate(), environment(), before)


class TestRollback:
    verified = frozenset({"a" * 64, "b" * 64, "b" * 20 + "c" * 44})

    def choose(self, previous: str | None, to: str | None) -> str:
        return choose_target("tiny", "production", verified=self.verified, previous=previous, to=to)

    def test_the_previous_one_unless_another_is_named(self) -> None:
        assert self.choose("a" * 64, None) == "a" * 64
        assert self.choose("a" * 64, "b" * 21) == "b" * 64

    @pytest.mark.parametrize(("previous", "to"), [(None, None), ("a" * 64, "a" * 11), ("a" * 64, "f" * 12), ("a" * 64, "b" * 20)])
    def test_none_too_short_unknown_and_ambiguous_are_refused(self, previous: str | None, to: str | None) -> None:
        with pytest.raises(NothingToRollBackTo, match="tiny in production cannot be rolled back"):
            self.choose(previous, to)


class TestFiles:
    def test_weights_and_what_the_engine_reads_are_chosen(self) -> None:
        names = [
            "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json", "config.json",
            "tokenizer.json", "chat_template.jinja", "README.md", "LICENSE",
        ]  # fmt: skip
        others = ["original/params.json", "onnx/model.safetensors", "figure.png", "model.gguf", "modeling_tiny.py", ".gitattributes"]

        chosen = select_files("o/n", [hub_file(name) for name in names + others])

        assert [file.path for file in chosen] == sorted(names)

    @pytest.mark.parametrize("name", ["pytorch_model.bin", "model.PT", "sub/weights.ckpt", "x.pkl"])
    def test_pickles_are_refused_wherever_they_lie(self, name: str) -> None:
        with pytest.raises(Refusal, match=f"o/n holds pickled or otherwise unsafe weights \\({name}\\)"):
            select_files("o/n", [hub_file("config.json"), hub_file("model.safetensors"), hub_file(name)])

    @pytest.mark.parametrize("name", ["../evil.json", "/etc/passwd", "a/../../b", "a\\..\\b.json"])
    def test_a_path_that_leaves_the_folder_is_refused(self, name: str) -> None:
        with pytest.raises(SpecInvalid, match="path leaves its folder"):
            select_files("o/n", [hub_file("config.json"), hub_file("model.safetensors"), hub_file(name)])

    @pytest.mark.parametrize(("missing", "says"), [("model.safetensors", "no safetensors"), ("config.json", "no config.json")])
    def test_what_cannot_be_served_is_refused(self, missing: str, says: str) -> None:
        with pytest.raises(Refusal, match=says):
            select_files("o/n", [hub_file(name) for name in ("model.safetensors", "config.json") if name != missing])


class TestBudget:
    def test_it_grows_with_the_weights(self) -> None:
        assert load_budget(0).load_seconds == 180
        assert load_budget(140_000_000_000).load_seconds == 650
        assert load_budget(0, replicas=3).rollout_seconds == 3 * 180 + 300

    def test_the_rollout_may_take_longer_than_the_engine(self) -> None:
        budget = load_budget(16_000_000_000)

        assert budget.rollout_seconds > budget.load_seconds


class TestValues:
    def test_they_carry_the_candidate_and_nothing_floating(self) -> None:
        made, where = candidate(), environment(values={"resources": {"requests": {"memory": "1Gi"}}, "replicas": 2})
        plan = plan_release(made, where, [node()], CHART)

        values = chart_values(made, where, plan)

        assert values["candidate"] == {"fingerprint": made.fingerprint}
        assert values["image"] == {"repository": "slipway-sandbox/vllm-openai", "digest": f"sha256:{digest('image')}"}
        assert values["weights"]["hostPath"].endswith(f"/models/slipway-demo--tiny-llama/{made.commit}")
        assert values["weights"]["mountPath"].endswith(made.commit)
        assert values["resources"]["requests"] == {"memory": "1Gi", "nvidia.com/gpu": 1}
        assert values["replicas"] == 2
        assert values["loadBudgetSeconds"] == plan.budget.load_seconds
        assert values["tolerations"] == [{"key": "gpu-workload", "operator": "Equal", "value": "true", "effect": "NoSchedule"}]

    def test_the_environment_cannot_override_the_candidate(self) -> None:
        where = environment(values={"image": {"digest": "sha256:other"}, "candidate": {"fingerprint": "x"}})
        plan = plan_release(candidate(), where, [node()], CHART)

        values = chart_values(candidate(), where, plan)

        assert values["image"]["digest"] == f"sha256:{digest('image')}"
        assert values["candidate"]["fingerprint"] == candidate().fingerprint

    def test_merging_is_deep_and_replaces_lists(self) -> None:
        assert merged({"a": {"b": 1, "c": [1, 2]}, "d": 4}, {"a": {"c": [3]}, "e": 5}) == {"a": {"b": 1, "c": [3]}, "d": 4, "e": 5}
