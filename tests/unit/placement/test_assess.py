"""Plans refuse what cannot work, with the numbers, before anything is touched."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from blocks.facts import Node
from blocks.facts.helm import merged
from blocks.facts.registry import Entry
from flows.delivery.values import chart_values
from flows.errors import DoesNotFit, NothingToRollBackTo, PromotionRefused, Refusal, SpecInvalid
from flows.placement.assess import ReleasePlan, assess, chosen_environments, plan_release, plan_rollback
from flows.placement.budget import load_budget
from flows.placement.replicas import Replicas, wanted_replicas
from flows.promotion.gates import require_verified
from flows.recovery.target import choose_target
from flows.spec import Candidate, EngineSettings, Environment, LatencyPolicy, Speculative
from tests.support.examples import about, candidate, cluster_state, digest, entry, environment, model, node

QWEN3_30B_FP8 = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"},
}


def plan(made: Candidate, where: Environment, *nodes: Node, chart: str = "chart", **seen: Any) -> ReleasePlan:
    return plan_release(assess(model(), made, where, cluster_state(*nodes, **seen), digest(chart)))


class TestRelease:
    def test_it_names_everything_that_follows(self) -> None:
        made = plan(candidate(), environment(), node("gpu-2"), node("gpu-1"))

        assert made.helm_release == "tiny-llama-staging"
        assert made.endpoint == "tiny-llama-staging.llm-staging.svc.cluster.local:8000"
        assert made.nodes == ("gpu-1", "gpu-2")

    def test_a_chart_that_changed_since_is_refused(self) -> None:
        with pytest.raises(PromotionRefused, match="staging: The chart changed"):
            plan(candidate(), environment(), chart="another chart")

    @pytest.mark.parametrize(
        ("claims", "missing"), [((), "slipway-store and slipway-weights"), (("other", "slipway-store"), "slipway-weights")]
    )
    def test_an_environment_that_is_not_installed_is_refused_with_the_command(self, claims: tuple[str, ...], missing: str) -> None:
        with pytest.raises(SpecInvalid, match=rf"llm-staging has no volume for {missing}: .* helm install staging charts/environment"):
            plan(candidate(), environment(), claims=claims)

    def test_everything_that_speaks_against_it_is_found_and_the_first_is_raised(self) -> None:
        large = candidate(about=about(), engine=EngineSettings(max_model_len=200_000))
        where = environment(licences=("mit",))

        assessment = assess(model(), large, where, cluster_state(node(gpus=1, disk_bytes=1000), gpus_taken={"gpu-1": 1}), digest("chart"))

        kinds = ["licence", "disk", "max_model_len of tiny-llama is 200,000", "not enough free GPUs"]
        assert len(assessment.refusals) == len(kinds)
        for kind, refusal in zip(kinds, assessment.refusals, strict=True):
            assert kind in refusal.message
        with pytest.raises(
            Refusal, match=r"^staging: tiny-llama has the licence llama3.1.* \(3 more refusal\(s\): slipway plan tiny-llama"
        ):
            plan_release(assessment)

    @pytest.mark.parametrize(("parallel", "loads"), [(1, True), (2, True), (4, False), (8, False)])
    def test_blocks_that_do_not_divide_are_refused_with_what_would_load(self, parallel: int, loads: bool) -> None:
        made = candidate(about=about(QWEN3_30B_FP8), engine=EngineSettings(max_model_len=256, tensor_parallel_size=parallel))

        said = [refusal.message for refusal in assess(model(), made, environment(), cluster_state(node(gpus=8)), digest("chart")).refusals]

        if loads:
            assert said == []
        else:
            assert len(said) == 1
            assert f"tiny-llama cannot be loaded by vLLM 0.32 with engine.tensor_parallel_size {parallel}: the 768 rows" in said[0]
            assert said[0].endswith("; engine.tensor_parallel_size may be 1, 2.")

    def test_more_gpus_are_advised_only_where_the_weights_load(self) -> None:
        made = candidate(about=about(QWEN3_30B_FP8), engine=EngineSettings(max_model_len=40_960))
        small = node(gpus=8, gpu_memory_bytes=12 * 2**30)

        said = [refusal.message for refusal in assess(model(), made, environment(), cluster_state(small), digest("chart")).refusals]

        assert len(said) == 1
        assert "does not fit one" in said[0]
        assert "tensor_parallel_size" not in said[0]  # 4 would do for its memory

    def test_whole_experts_need_no_whole_blocks(self) -> None:
        settings = EngineSettings(max_model_len=256, tensor_parallel_size=4, extra_args=("--enable-expert-parallel",))

        assert plan(candidate(about=about(QWEN3_30B_FP8), engine=settings), environment(), node(gpus=4)).nodes == ("gpu-1",)

    def test_more_groups_than_layers_are_refused(self) -> None:
        made = candidate(about=about(), engine=EngineSettings(max_model_len=256, extra_args=("-pp", "64")))

        with pytest.raises(DoesNotFit, match="its 32 layers cannot be shared between 64 groups of GPUs"):
            plan(made, environment(), node(gpus=64))

    def test_overrides_of_the_configuration_are_judged(self) -> None:
        arguments = ("--hf-overrides", '{"max_position_embeddings": 262144}')
        long = EngineSettings(max_model_len=262_144)

        with pytest.raises(DoesNotFit, match="the model was made for 131,072 tokens at the most"):
            plan(candidate(about=about(), engine=long), environment(), node())
        assert plan(candidate(about=about(), engine=replace(long, extra_args=arguments)), environment(), node()).nodes
        allowed = replace(long, variables={"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"})
        assert plan(candidate(about=about(), engine=allowed), environment(), node()).nodes

    def test_a_load_that_is_longer_than_the_context_is_refused(self) -> None:
        where = environment(latency=LatencyPolicy(prompt_tokens=250, max_tokens=8))

        with pytest.raises(
            DoesNotFit, match=r"latency.prompt_tokens of staging is 250 and latency.max_tokens 8, together more than the 256"
        ):
            plan(candidate(), where)

    @pytest.mark.parametrize(
        ("tensor", "arguments", "says"),
        [
            (
                2,
                ("-dcp", "4"),
                "is 4: for this model, with engine.tensor_parallel_size 2 and --prefill-context-parallel-size 1, it must be one of 1.",
            ),
            (2, ("-pcp", "2", "-dcp", "8"), "it must be one of 1."),
            (8, ("-dcp", "2"), "it must be one of 1."),  # 8 KV heads: no GPU would hold a copy of another's
            (16, ("-dcp", "4"), "it must be one of 1, 2."),
        ],
    )
    def test_sizes_of_parallelism_must_go_together(self, tensor: int, arguments: tuple[str, ...], says: str) -> None:
        made = candidate(about=about(), engine=EngineSettings(max_model_len=256, tensor_parallel_size=tensor, extra_args=arguments))

        with pytest.raises(DoesNotFit) as caught:
            plan(made, environment(), node(gpus=16))

        assert says in caught.value.message

    def test_the_way_back_asks_neither_for_memory_nor_for_free_gpus(self) -> None:
        large = candidate(about=about(), engine=EngineSettings(max_model_len=200_000))

        assert plan_rollback(large, environment(licences=("mit",)), cluster_state(node(gpu_memory_bytes=None)), None).nodes == ("gpu-1",)
        with pytest.raises(DoesNotFit, match="No ready node"):
            plan_rollback(large, environment(), replace(cluster_state(), nodes=()), None)


class TestEnvironments:
    known = (environment(name="development", after=None), environment(), environment(name="production", after="staging"))

    def test_they_keep_the_order_of_promotion(self) -> None:
        assert [e.name for e in chosen_environments(self.known, ["production", "development"])] == ["development", "production"]
        assert chosen_environments(self.known, None) == self.known

    def test_an_unknown_one_is_named_with_those_that_are_known(self) -> None:
        with pytest.raises(SpecInvalid, match="no environment 'prod': deployments/environments knows development, staging, production"):
            chosen_environments(self.known, ["prod"])


class TestPromotion:
    def test_the_verified_candidate_may_go_on(self) -> None:
        require_verified(candidate(), environment(), entry(fingerprint=candidate().fingerprint))

    @pytest.mark.parametrize(
        ("before", "says"),
        [
            (None, "nothing is verified in development"),
            (entry(fingerprint="f" * 64), "development serves candidate ffffffffffff"),
            (entry(fingerprint=candidate().fingerprint, status="degraded"), "is degraded in development"),
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


class TestBudget:
    def test_it_grows_with_the_weights(self) -> None:
        assert load_budget(0).load_seconds == 180
        assert load_budget(140_000_000_000).load_seconds == 650
        assert load_budget(0, replicas=3).rollout_seconds == 3 * 180 + 300

    def test_the_rollout_may_take_longer_than_the_engine(self) -> None:
        budget = load_budget(16_000_000_000)

        assert budget.rollout_seconds > budget.load_seconds


class TestWantedPods:
    def wanted(self, environment_values: dict[str, Any] | None = None, **values: Any) -> Replicas:
        return wanted_replicas({"terminationGracePeriodSeconds": 60, **values}, environment(values=environment_values or {}))

    def test_the_values_say_it(self) -> None:
        assert self.wanted(replicas=3) == Replicas(least=3, autoscaled=False, grace_seconds=60.0)
        assert self.wanted(replicas=1, autoscaling={"kind": "none", "minReplicas": 4}).least == 1

    def test_an_autoscaler_owns_the_number_from_its_least_on(self) -> None:
        scaled = self.wanted(replicas=None, autoscaling={"kind": "keda", "minReplicas": 2})

        assert scaled == Replicas(least=2, autoscaled=True, grace_seconds=60.0)

    @pytest.mark.parametrize(
        ("values", "says"),
        [
            ({"replicas": 0}, "values.replicas: must be a number of pods"),
            ({"replicas": True}, "values.replicas: must be a number of pods"),
            ({}, "values.replicas: must be a number of pods"),
            (
                {"replicas": 2, "autoscaling": {"kind": "hpa", "minReplicas": 2}},
                "values.replicas: is 2, but values.autoscaling.kind is hpa",
            ),
            ({"autoscaling": {"kind": "hpa"}}, "values.autoscaling.minReplicas: must be a number of pods"),
            ({"replicas": 1, "terminationGracePeriodSeconds": "60"}, "values.terminationGracePeriodSeconds: must be a number of seconds"),
            ({"replicas": 1, "environment_values": {"rollout": {"strategy": "surge"}}}, "values.rollout.strategy: is chosen by the plan"),
        ],
    )
    def test_what_says_nothing_or_too_much_is_refused(self, values: dict[str, Any], says: str) -> None:
        with pytest.raises(SpecInvalid, match=rf"^deployments/environments/staging\.yaml: {says}"):
            self.wanted(**values)


class TestValues:
    def test_they_carry_the_candidate_and_nothing_floating(self) -> None:
        made, where = candidate(), environment(values={"resources": {"requests": {"memory": "1Gi"}}, "replicas": 2})
        way = plan(made, where)

        values = chart_values(made, where, way)

        assert values["candidate"] == {"fingerprint": made.fingerprint}
        assert values["image"] == {"repository": "slipway-sandbox/vllm-openai", "digest": f"sha256:{digest('image')}"}
        assert values["weights"]["folder"] == f"models/slipway-demo--tiny-llama/{made.commit}"
        assert values["weights"]["mountPath"].endswith(made.commit)
        assert values["resources"]["requests"] == {"memory": "1Gi", "nvidia.com/gpu": 1}
        assert values["replicas"] == 2
        assert values["loadBudgetSeconds"] == way.budget.load_seconds
        assert values["tolerations"] == [{"key": "gpu-workload", "operator": "Equal", "value": "true", "effect": "NoSchedule"}]

    def test_how_the_engine_guesses_and_calculates_is_the_candidates(self) -> None:
        fast = EngineSettings(max_model_len=256, quantization="fp8", speculative=Speculative(method="ngram", tokens=3))
        where = environment(
            values={"engine": {"quantization": "awq", "speculative": {"tokens": 9}}, "compileCache": {"hostPath": "/cache"}}
        )

        engine = chart_values(candidate(engine=fast), where, plan(candidate(), where))["engine"]
        plain = chart_values(candidate(), where, plan(candidate(), where))["engine"]

        assert engine["quantization"] == "fp8"
        assert engine["speculative"] == {"method": "ngram", "tokens": 3, "lookupMin": 2, "lookupMax": 4}
        assert (plain["quantization"], plain["speculative"]["method"]) == ("", "none")

    def test_compiled_code_is_kept_by_gpu_where_all_nodes_have_the_same(self) -> None:
        where = environment(values={"compileCache": {"hostPath": "/cache"}})
        same = plan(candidate(), where, node("gpu-1", gpu_product="H100"), node("gpu-2", gpu_product="H100"))
        mixed = plan(candidate(), where, node("gpu-1", gpu_product="H100"), node("gpu-2", gpu_product="L4"))

        assert chart_values(candidate(), where, same)["compileCache"] == {"hostPath": "/cache", "gpu": "H100"}
        assert chart_values(candidate(), where, mixed)["compileCache"]["gpu"] == ""

    def test_the_environment_cannot_override_the_candidate(self) -> None:
        where = environment(values={"image": {"digest": "sha256:other"}, "candidate": {"fingerprint": "x"}})
        values = chart_values(candidate(), where, plan(candidate(), where))

        assert values["image"]["digest"] == f"sha256:{digest('image')}"
        assert values["candidate"]["fingerprint"] == candidate().fingerprint

    def test_merging_is_deep_and_replaces_lists(self) -> None:
        assert merged({"a": {"b": 1, "c": [1, 2]}, "d": 4}, {"a": {"c": [3]}, "e": 5}) == {"a": {"b": 1, "c": [3]}, "d": 4, "e": 5}
