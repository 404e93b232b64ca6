"""Models and nodes that must not be used are refused with what is wrong and what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from blocks.facts import Node, Taint
from flows.candidate.admission import refuse_licence, refuse_model
from flows.placement.nodes import find_target
from flows.spec import EngineSettings, PrefetchPolicy, Toleration
from tests.support.examples import about, candidate, digest, environment, hub_file, model, node

SAFE = [hub_file("config.json"), hub_file("model.safetensors")]


class TestLicence:
    @pytest.mark.parametrize(
        ("licences", "allowed"),
        [
            (("mit",), None),
            ((), None),
            (("mit",), ("apache-2.0", "mit")),
            (("qwen-research",), ("qwen-research",)),
            (("mit", "apache-2.0"), ("apache-2.0", "mit")),
        ],
    )
    def test_allowed(self, licences: tuple[str, ...], allowed: tuple[str, ...] | None) -> None:
        assert refuse_licence("tiny", about(licences=licences), environment(licences=allowed)) == []

    @pytest.mark.parametrize(
        ("licences", "says"),
        [
            (("llama3.1",), "which is not among the licences of deployments/environments/staging.yaml (which allow mit)"),
            (("mit", "cc-by-nc-4.0"), "has the licence cc-by-nc-4.0,"),
            (("other",), "has the licence other without a name (license_name)"),
            ((), "names no licence on its model card"),
        ],
    )  # fmt: skip
    def test_refused(self, licences: tuple[str, ...], says: str) -> None:
        (refusal,) = refuse_licence("tiny", about(licences=licences), environment(licences=("mit",)))

        assert says in refusal.message

    def test_an_unnamed_licence_is_never_allowed(self) -> None:
        assert refuse_licence("tiny", about(licences=("other",)), environment(licences=("other",)))


class TestFormats:
    @pytest.mark.parametrize("name", ["pytorch_model.bin", "model.PT", "my_optimizer.pt"])
    def test_pickles_are_refused_where_vllm_would_load_them(self, name: str) -> None:
        (refusal,) = refuse_model(model(), [*SAFE, hub_file(name)], about())

        assert f"slipway-demo/tiny-llama holds pickled or otherwise unsafe weights ({name})" in refusal.message

    @pytest.mark.parametrize(
        "name",
        [
            "training_args.bin", "checkpoint-10/optimizer.pt", "rng_state_0.pth", "model.gguf", "onnx/model.onnx", "x.pkl", "tf_model.h5",
            "original/consolidated.00.pth", "metal/model.bin", "coreml/model.mlpackage/weight.bin", "openvino/openvino_model.bin",
            "global_step10/mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt", "figures/loss.npz",
            "flax_model.msgpack",
        ],
    )  # fmt: skip
    def test_what_never_reaches_a_node_is_no_reason(self, name: str) -> None:
        assert refuse_model(model(), [*SAFE, hub_file(name)], about()) == []

    def test_a_folder_of_its_own_is_looked_at_and_no_other(self) -> None:
        files = [hub_file("fp8/config.json"), hub_file("fp8/model.safetensors"), hub_file("pytorch_model.bin")]

        assert refuse_model(model(subfolder="fp8"), files, about()) == []
        (refusal,) = refuse_model(model(subfolder="fp8"), [*files, hub_file("fp8/pytorch_model.bin")], about())
        assert "(fp8/pytorch_model.bin)" in refusal.message


class TestCode:
    def test_code_of_the_repository_is_refused_unless_the_model_may_run_it(self) -> None:
        facts = about(remote_code=("config.json (auto_map)", "modeling_tiny.py"))

        (refusal,) = refuse_model(model(), SAFE, facts)

        assert "asks for code of its own to be run (config.json (auto_map), modeling_tiny.py)" in refusal.message
        assert "allow_remote_code: true in deployments/models/tiny-llama.yaml" in refusal.message
        assert refuse_model(model(allow_remote_code=True), SAFE, facts) == []

    def test_code_of_another_repository_is_refused_always(self) -> None:
        facts = about(remote_code=("config.json (auto_map)",), foreign_code=("other/code",))

        (refusal,) = refuse_model(model(allow_remote_code=True), SAFE, facts)

        assert "asks for code of other/code, which no candidate pins" in refusal.message


class TestNodes:
    @pytest.mark.parametrize(
        "nodes",
        [[], [node(ready=False)], [node(schedulable=False)], [node(taints=(Taint(key="reserved", value="", effect="NoExecute"),))]],
        ids=["none", "not ready", "cordoned", "tainted"],
    )
    def test_no_usable_node_is_said_with_the_selector(self, nodes: list[Node]) -> None:
        target = find_target(candidate(), environment(), nodes)

        assert target.nodes == ()
        assert (
            f"No ready node carries node-type=gpu, which environment staging asks for; {len(nodes)} carry it" in target.refusals[0].message
        )

    @pytest.mark.parametrize(
        ("toleration", "taint", "usable"),
        [
            (Toleration(key="a", value="b"), Taint(key="a", value="b", effect="NoSchedule"), True),
            (Toleration(key="a", value="c"), Taint(key="a", value="b", effect="NoSchedule"), False),
            (Toleration(key="a", value="b", effect="NoExecute"), Taint(key="a", value="b", effect="NoSchedule"), False),
            (Toleration(key="a", operator="Exists"), Taint(key="a", value="b", effect="NoExecute"), True),
            (Toleration(key="", operator="Exists"), Taint(key="x", value="", effect="NoSchedule"), True),
            (Toleration(key="a", value="b"), Taint(key="x", value="", effect="PreferNoSchedule"), True),
        ],
    )
    def test_taints_are_tolerated_as_kubernetes_does(self, toleration: Toleration, taint: Taint, usable: bool) -> None:
        assert bool(find_target(candidate(), environment(tolerations=(toleration,)), [node(taints=(taint,))]).nodes) is usable

    def test_taints_in_the_way_are_named(self) -> None:
        target = find_target(candidate(), environment(), [node(taints=(Taint(key="reserved", value="team-a", effect="NoSchedule"),))])

        assert "with taints that it does not tolerate (reserved=team-a:NoSchedule)" in target.refusals[0].message

    def test_a_model_wider_than_every_node_is_refused_with_the_numbers(self) -> None:
        wide = candidate(engine=EngineSettings(max_model_len=256, tensor_parallel_size=8))

        target = find_target(wide, environment(), [node(), node("gpu-2", gpus=1)])

        assert "needs 8 GPU(s) on one node" in target.refusals[0].message
        assert target.refusals[0].facts == {"gpus_wanted": 8, "gpus_most": 2}

    def test_only_nodes_with_gpus_enough_get_the_weights(self) -> None:
        two = candidate(engine=EngineSettings(max_model_len=256, tensor_parallel_size=2))

        assert [found.name for found in find_target(two, environment(), [node("small", gpus=1), node("large")]).nodes] == ["large"]

    def test_the_smallest_gpu_counts_for_a_pod_may_come_to_any_node(self) -> None:
        target = find_target(candidate(), environment(), [node(), node("gpu-2", gpu_memory_bytes=24 * 2**30, gpu_product="NVIDIA-L4")])

        assert (target.gpu_bytes, target.gpu) == (24 * 2**30, "NVIDIA-L4 of gpu-2")

    def test_memory_that_nobody_states_is_refused_with_how_to_state_it(self) -> None:
        unlabelled = node(gpu_memory_bytes=None, gpu_product="")

        target = find_target(candidate(), environment(), [unlabelled, node("gpu-2")])

        assert target.gpu_bytes is None
        assert "how much memory the GPUs of gpu-1 have" in target.refusals[0].message
        assert "state gpu_memory_gib in deployments/environments/staging.yaml" in target.refusals[0].message
        stated = find_target(candidate(), environment(gpu_memory_gib=40), [unlabelled])
        assert (stated.gpu_bytes, stated.refusals) == (40 * 2**30, ())

    def test_a_label_that_cannot_be_right_is_named_and_what_is_stated_counts(self) -> None:
        strange = node(gpu_memory_bytes=None, gpu_memory_said="80")

        target = find_target(candidate(), environment(), [strange])

        assert target.refusals[0].message == (
            "The label nvidia.com/gpu.memory of gpu-1 says 80, which is not the memory of one NVIDIA-H100-80GB-HBM3 in MiB: mend the "
            "label, or state gpu_memory_gib in deployments/environments/staging.yaml."
        )
        assert find_target(candidate(), environment(gpu_memory_gib=80), [strange]).refusals == ()

    def test_in_time_slices_an_engine_sees_all_memory_and_must_take_no_more_than_its_share(self) -> None:
        sliced = node(gpus=8, gpu_memory_bytes=10 * 2**30, gpu_shared_by=4, gpu_sharing="time-slicing")
        modest = candidate(engine=EngineSettings(max_model_len=256, gpu_memory_utilization=0.25))

        greedy = find_target(candidate(), environment(), [sliced])

        assert "is 0.9, but 4 pods share each GPU of gpu-1 in time slices, and each sees all of its memory: set 0.25 or less" in (
            greedy.refusals[0].message
        )
        assert (find_target(modest, environment(), [sliced]).gpu_bytes, find_target(modest, environment(), [sliced]).refusals) == (
            40 * 2**30,
            (),
        )
        assert find_target(candidate(), environment(), [replace(sliced, gpu_sharing="mps")]).gpu_bytes == 10 * 2**30

    def test_a_pod_gets_one_gpu_at_the_most_of_those_that_are_shared(self) -> None:
        two = candidate(engine=EngineSettings(max_model_len=256, tensor_parallel_size=2))

        target = find_target(two, environment(), [node(gpus=8, gpu_shared_by=4, gpu_sharing="time-slicing")])

        assert "has 1; a pod gets one at the most of GPUs that pods share." in target.refusals[0].message

    def test_every_rank_of_the_arguments_needs_a_gpu(self) -> None:
        eight = candidate(engine=EngineSettings(max_model_len=256, tensor_parallel_size=2, extra_args=("-pp", "2", "-dp=2")))

        target = find_target(eight, environment(), [node(gpus=4)])

        assert target.refusals[0].message.startswith(
            "tiny-llama needs 8 GPU(s) on one node (tensor_parallel_size × extra_args); the largest of 1 node(s)"
        )

    def test_a_disk_that_could_never_hold_the_files_is_refused_with_the_sizes(self) -> None:
        target = find_target(candidate(), environment(), [node(disk_bytes=2**20), node("gpu-2")])

        assert "take 1.9 MiB, and the disk of gpu-1 holds 1.0 MiB in all" in target.refusals[0].message

    def test_a_store_on_a_disk_of_its_own_is_stated(self) -> None:
        apart = environment(prefetch=PrefetchPolicy(image=f"a/b@sha256:{digest('image')}", disk_gib=100))

        assert find_target(candidate(), apart, [node(disk_bytes=0)]).refusals == ()

    def test_a_disk_that_is_nearly_full_is_refused(self) -> None:
        assert "The disk of gpu-1 is nearly full" in find_target(candidate(), environment(), [node(disk_pressure=True)]).refusals[0].message
