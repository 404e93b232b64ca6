"""What is wrong in `deployments/` is said in one sentence that names the file and the field."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.errors import SpecInvalid
from flows.spec import Deployments
from flows.spec.load import ROOT

MODEL = """
name: tiny
repository: slipway-demo/tiny
image: vllm/vllm-openai@sha256:{digest}
engine: {{max_model_len: 256}}
""".format(digest="0" * 64)

ENVIRONMENT = """
name: {name}
{after}
namespace: llm-{name}
prefetch: {{image: "slipway/prefetch@sha256:{digest}"}}
"""


@pytest.fixture
def deployments(tmp_path: Path) -> Deployments:
    root = tmp_path / "deployments"
    for kind in ("models", "environments", "checks"):
        (root / kind).mkdir(parents=True)
    return Deployments(root=root)


def write(deployments: Deployments, name: str, text: str) -> None:
    (deployments.root / name).write_text(text)


def write_environment(deployments: Deployments, name: str, after: str = "") -> None:
    text = ENVIRONMENT.format(name=name, after=f"after: {after}" if after else "", digest="0" * 64)
    write(deployments, f"environments/{name}.yaml", text)


def test_the_deployments_of_this_checkout_are_right() -> None:
    shipped = Deployments(root=ROOT / "deployments")

    assert [environment.name for environment in shipped.environments()] == ["development", "staging", "production"]
    assert [environment.approval.required for environment in shipped.environments()] == [False, False, True]
    for name in shipped.names("models"):
        assert shipped.suite(shipped.model(name).checks).checks


@pytest.mark.parametrize(
    ("line", "replacement", "says"),
    [
        ("name: tiny", "name: other", "deployments/models/tiny.yaml, line 2: name: is 'other', but the file is called tiny.yaml"),
        ("repository: slipway-demo/tiny", "repository: tiny", "repository: must be a hub repository as organisation/name (given: 'tiny')"),
        ("repository: slipway-demo/tiny", "", "deployments/models/tiny.yaml, line 2: repository: is missing."),
        ("engine: {max_model_len: 256}", "engine: {max_model_len: 1}", "engine.max_model_len: "),
        ("engine: {max_model_len: 256}", "engine: {max_model_len: 256, gpus: 2}", "engine.gpus: is not a known key"),
        ("engine: {max_model_len: 256}", "engine: [", "deployments/models/tiny.yaml, line"),
        (
            "engine: {max_model_len: 256}",
            "engine: {max_model_len: 256, chat_template: chat.jinja}",
            "engine.chat_template: deployments/models/chat.jinja cannot be read",
        ),
        (
            "engine: {max_model_len: 256}",
            "engine: {max_model_len: 256, extra_args: [--trust_remote_code]}",
            "engine.extra_args: must not hold --trust-remote-code: set allow_remote_code instead",
        ),
        (
            "engine: {max_model_len: 256}",
            "engine: {max_model_len: 256, extra_args: [--enforce-eager, -q, fp8]}",
            "engine.extra_args: must not hold -q: set engine.quantization instead",
        ),
        (
            "engine: {max_model_len: 256}",
            "engine: {max_model_len: 256, variables: {LD_PRELOAD: /tmp/x.so}}",
            "deployments/models/tiny.yaml, line 5: engine.variables: LD_PRELOAD is not among",
        ),
        (
            "engine: {max_model_len: 256}",
            "engine: {max_model_len: 256, extra_args: [--load-f, pt]}",
            "deployments/models/tiny.yaml, line 5: engine.extra_args: arguments must be written out: vLLM would take --load-f for",
        ),
        (
            "engine: {max_model_len: 256}",
            "engine: {max_model_len: 256, extra_args: ['--speculative_config={}']}",
            "engine.extra_args: must not hold --speculative-config: set engine.speculative instead",
        ),
        (
            "engine: {max_model_len: 256}",
            "engine: {max_model_len: 256, extra_args: [--enable-lora, --lora-modules, sql=/adapters/sql]}",
            "engine.extra_args: must not hold --enable-lora: merge the adapter into the weights",
        ),
        ("engine: {max_model_len: 256}", "engine: {max_model_len: 256, speculative: {method: eagle}}", "engine.speculative.method: "),
        (
            "engine: {max_model_len: 256}",
            "engine: {max_model_len: 256, speculative: {method: ngram, lookup_min: 5}}",
            "engine.speculative.lookup_min: is 5, but lookup_max is 4: the least must not be more than the most.",
        ),
        ("engine: {max_model_len: 256}", "engine: {max_model_len: 256}\nconcurrency: 0", "concurrency: "),
        (f"@sha256:{'0' * 64}", ":latest", "image: must name the image by digest (repository@sha256:…), not by tag"),
    ],
)
def test_a_wrong_model_file_is_explained(deployments: Deployments, line: str, replacement: str, says: str) -> None:
    assert line in MODEL
    write(deployments, "models/tiny.yaml", MODEL.replace(line, replacement))

    with pytest.raises(SpecInvalid) as caught:
        deployments.model("tiny")

    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nope", "../models/tiny", "", ".", "/etc/passwd", "tiny.yaml"])
def test_a_model_that_is_not_there_is_named_with_those_that_are(deployments: Deployments, name: str) -> None:
    write(deployments, "models/tiny.yaml", MODEL)

    with pytest.raises(SpecInvalid, match=r"Known models: tiny\.$"):
        deployments.model(name)


@pytest.mark.parametrize("template", ["../../secret.jinja", "/etc/secret.jinja", "link.jinja"])
def test_a_chat_template_is_read_from_the_models_folder_alone(deployments: Deployments, template: str) -> None:
    write(deployments, "models/tiny.yaml", MODEL.replace("256}", f"256, chat_template: {template}}}"))
    outside = deployments.root.parent / "secret.jinja"
    outside.write_text("hunter2")
    (deployments.root / "models" / "link.jinja").symlink_to(outside)

    with pytest.raises(SpecInvalid, match=r"line 5: engine.chat_template: must be the name of a file beside the model's"):
        deployments.model("tiny")


def test_a_chat_template_that_no_configmap_would_hold_is_refused(deployments: Deployments) -> None:
    write(deployments, "models/tiny.yaml", MODEL.replace("256}", "256, chat_template: long.jinja}"))
    write(deployments, "models/long.jinja", "x" * 262_145)

    with pytest.raises(SpecInvalid, match=r"engine.chat_template: deployments/models/long.jinja holds more than 262,144 characters"):
        deployments.model("tiny")


def test_numbers_of_variables_need_no_quotes(deployments: Deployments) -> None:
    write(deployments, "models/tiny.yaml", MODEL.replace("256}", "256, variables: {VLLM_ALLOW_LONG_MAX_MODEL_LEN: 1}}"))

    engine = deployments.model("tiny").engine

    assert (dict(engine.variables), engine.longer_than_made_for) == ({"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}, True)


def test_a_chat_template_file_is_read_into_the_settings(deployments: Deployments) -> None:
    write(deployments, "models/tiny.yaml", MODEL.replace("256}", "256, chat_template: chat.jinja}"))
    write(deployments, "models/chat.jinja", "{{ messages[0].content }}")

    assert deployments.model("tiny").engine.chat_template == "{{ messages[0].content }}"


def test_a_spec_is_not_read_through_a_link_that_leads_out_of_its_folder(deployments: Deployments, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(MODEL.replace("tiny", "other"))
    (deployments.root / "models" / "other.yaml").symlink_to(tmp_path / "other.yaml")
    with pytest.raises(SpecInvalid, match=r"models/other\.yaml: is a link that leads out"):
        deployments.model("other")

    # one that stays inside, as a mounted ConfigMap has them, is followed
    (deployments.root / "models" / "..data").mkdir()
    write(deployments, "models/..data/tiny.yaml", MODEL)
    (deployments.root / "models" / "tiny.yaml").symlink_to("..data/tiny.yaml")
    assert deployments.model("tiny").name == "tiny"


def test_environments_come_in_the_order_of_promotion(deployments: Deployments) -> None:
    write_environment(deployments, "alpha", after="zeta")
    write_environment(deployments, "beta", after="alpha")
    write_environment(deployments, "zeta")

    assert [environment.name for environment in deployments.environments()] == ["zeta", "alpha", "beta"]


@pytest.mark.parametrize(
    ("first_after", "says"), [("beta", "after: 'beta' leads back to it"), ("gone", "after: 'gone' is not an environment")]
)
def test_an_order_that_cannot_be_is_explained(deployments: Deployments, first_after: str, says: str) -> None:
    write_environment(deployments, "alpha", after=first_after)
    write_environment(deployments, "beta", after="alpha")

    with pytest.raises(SpecInvalid, match=r"environments/alpha\.yaml") as caught:
        deployments.environments()

    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("licences: [MIT]", "licences[0]: must be a licence as the hub names it, in lower case (given: 'MIT')"),
        ("gpu_memory_gib: 0", "gpu_memory_gib: "),
        ("licences: mit", "licences: "),
        ("latency: {p50_seconds: 0}", "latency.p50_seconds: Input should be greater than 0 (given: 0)."),
        ("latency: {p95_seconds: -1}", "latency.p95_seconds: Input should be greater than 0"),
        ("latency: {concurrency: []}", "latency.concurrency: "),
        ("latency: {concurrency: [0]}", "latency.concurrency[0]: "),
        ("stability: {max_kv_cache_usage: 0}", "stability.max_kv_cache_usage: "),
        ("behaviour: {mode: maybe}", "behaviour.mode: "),
        ("behaviour: {runs: 1}", "behaviour.runs: "),
    ],
)
def test_a_wrong_environment_file_is_explained(deployments: Deployments, line: str, says: str) -> None:
    text = ENVIRONMENT.format(name="staging", after="", digest="0" * 64)
    write(deployments, "environments/staging.yaml", f"{text}{line}\n")

    with pytest.raises(SpecInvalid) as caught:
        deployments.environment("staging")

    assert f"deployments/environments/staging.yaml, line 6: {says}" in str(caught.value)


@pytest.mark.parametrize(
    ("rollout", "says"),
    [
        ("strategy: canary", "steps: must have a step with a share and the last one: such as [{weight: 5, minutes: 10}, {weight: 100}]."),
        ("strategy: canary, steps: [{weight: 100}]", "steps: must have a step with a share and the last one"),
        (
            "strategy: canary, steps: [{weight: 25, minutes: 1}, {weight: 5, minutes: 1}, {weight: 100}]",
            "steps[1].weight: is 5 after 25: weights rise from step to step",
        ),
        ("strategy: canary, steps: [{weight: 5, minutes: 1}, {weight: 5, minutes: 1}, {weight: 100}]", "steps[1].weight: is 5 after 5"),
        (
            "strategy: canary, steps: [{weight: 5, minutes: 1}, {weight: 25, minutes: 1}]",
            "steps[1].weight: is 25 in the last step: there it must be 100",
        ),
        ("strategy: canary, steps: [{weight: 5}, {weight: 100}]", "steps[0].minutes: is missing: say for how many minutes"),
        (
            "strategy: canary, steps: [{weight: 5, minutes: 1}, {weight: 100, minutes: 5}]",
            "steps[1].minutes: must not be there in the last",
        ),
        ("strategy: canary, steps: [{weight: 0, minutes: 1}, {weight: 100}]", "steps[0].weight: is 0 and rollout.shadow is, too"),
        ("strategy: canary, steps: [{weight: 5, minutes: 0}, {weight: 100}]", "steps[0].minutes: Input should be greater than 0"),
        (
            "strategy: canary, steps: [{weight: 500, minutes: 1}, {weight: 100}]",
            "steps[0].weight: Input should be less than or equal to 100",
        ),
        (
            "strategy: canary, steps: [{weight: 5, minutes: 1, approval: ada}, {weight: 100}]",
            "steps[0].approval: Input should be a valid boolean",
        ),
        ("strategy: canary, steps: [{weight: 2.5, minutes: 1}, {weight: 100}]", "steps[0].weight: "),
        (
            "strategy: canary, shadow: 101, steps: [{weight: 5, minutes: 1}, {weight: 100}]",
            "shadow: Input should be less than or equal to 100",
        ),
        ("routers: ['http://router:99999/metrics']", "routers[0]: must be where a router tells its metrics: http://HOST:PORT/PATH"),
        ("routers: ['http://:80/metrics']", "routers[0]: must be where a router"),
        ("routers: ['http://[::1/metrics']", "routers[0]: must be where a router"),
        ("steps: [{weight: 5, minutes: 1}, {weight: 100}]", "steps: is for a canary, but rollout.strategy is auto: set strategy: canary"),
        ("strategy: surge, shadow: 5", "shadow: is for a canary, but rollout.strategy is surge"),
        ("keep_minutes: 5", "keep_minutes: is for a canary, but rollout.strategy is auto"),
    ],
)
def test_a_canary_that_makes_no_sense_is_explained(deployments: Deployments, rollout: str, says: str) -> None:
    text = ENVIRONMENT.format(name="staging", after="", digest="0" * 64)
    write(deployments, "environments/staging.yaml", f"{text}rollout: {{{rollout}}}\n")

    with pytest.raises(SpecInvalid) as caught:
        deployments.environment("staging")

    assert f"deployments/environments/staging.yaml, line 6: rollout.{says}" in str(caught.value)


def test_a_canary_is_written_as_people_write_it(deployments: Deployments) -> None:
    text = ENVIRONMENT.format(name="staging", after="", digest="0" * 64)
    steps = "[{weight: 0, minutes: 5}, {weight: 5, minutes: 10}, {weight: 25, minutes: 0.5, approval: true}, {weight: 100}]"
    write(deployments, "environments/staging.yaml", f"{text}rollout: {{strategy: canary, steps: {steps}, shadow: 10, keep_minutes: 30}}\n")

    rollout = deployments.environment("staging").rollout

    assert [(step.weight, step.minutes) for step in rollout.steps] == [(0, 5), (5, 10), (25, 0.5), (100, None)]
    assert [step.approval for step in rollout.steps] == [False, False, True, False]
    assert (rollout.shadow, rollout.keep_minutes, rollout.without_room) == (10, 30, "refuse")


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf", "1" + "0" * 400])
@pytest.mark.parametrize(
    "line", ["latency: {{p50_seconds: {}}}", "approval: {{approval_hours: {}}}", "stability: {{max_preemptions_per_request: {}}}"]
)
def test_a_limit_that_is_no_number_is_refused(deployments: Deployments, line: str, number: str) -> None:
    write(deployments, "environments/staging.yaml", ENVIRONMENT.format(name="staging", after=line.format(number), digest="0" * 64))

    with pytest.raises(SpecInvalid, match=r"environments/staging\.yaml, line"):
        deployments.environment("staging")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("tolerations: [{key: '', operator: Exists}]", "tolerations[0].key: must name a taint"),
        ("node_selector: {}", "node_selector: must name a label of the nodes"),
        ("gpu_memory_gib: .inf", "gpu_memory_gib: "),
        ("values: {hostNetwork: true}", "values.hostNetwork: must not be set here: no value of the chart that an environment may set"),
        ("values: {networkPolicy: {enabled: false}}", "values.networkPolicy.enabled: must be true"),
        (
            "ignore_differences: [{kind: Deployment, group: apps, json_pointers: [/spec/x, /spec/template/spec]}]",
            "ignore_differences[0].json_pointers[1]: is /spec/template/spec, in which the engine's image lies: name the field that differs",
        ),
        ("injected: {known: [{name: Istio}]}", "injected.known[0].name: "),
        ("injected: {known: [{name: proxy, image: 'a@sha256:0'}]}", "injected.known[0].image: "),
        ("ignore_differences: [{kind: Deployment, json_pointers: [spec]}]", "ignore_differences[0].json_pointers[0]: "),
        ("ignore_differences: [{kind: Deployment, json_pointers: []}]", "ignore_differences[0].json_pointers: "),
    ],
)
def test_what_would_weaken_an_environment_is_refused_with_its_line(deployments: Deployments, line: str, says: str) -> None:
    text = ENVIRONMENT.format(name="staging", after="", digest="0" * 64)
    write(deployments, "environments/staging.yaml", f"{text}{line}\n")

    with pytest.raises(SpecInvalid) as caught:
        deployments.environment("staging")

    assert f"deployments/environments/staging.yaml, line 6: {says}" in str(caught.value)


@pytest.mark.parametrize("namespace", ["default", "kube-system"])
def test_a_namespace_of_the_clusters_own_is_refused(deployments: Deployments, namespace: str) -> None:
    text = ENVIRONMENT.format(name="staging", after="", digest="0" * 64)
    write(deployments, "environments/staging.yaml", text.replace("llm-staging", namespace))

    with pytest.raises(SpecInvalid, match="line 4: namespace: is the cluster's own: name one that is for models alone"):
        deployments.environment("staging")


@pytest.mark.parametrize("name", ["Prod_EU", "prod-eu", "1st"])
def test_an_environment_whose_name_cannot_be_part_of_a_dns_label_is_refused(deployments: Deployments, name: str) -> None:
    write(deployments, f"environments/{name}.yaml", ENVIRONMENT.format(name=name, after="", digest="0" * 64))

    with pytest.raises(SpecInvalid, match="name: must be lower-case letters and digits"):
        deployments.environment(name)


def suite(check: str) -> str:
    return f"name: smoke\nchecks:\n  - name: first\n    kind: unknown-model\n  - name: a\n    {check}\n"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("name: smoke\nchecks: []", 2, "checks: "),
        ("name: smoke\n", 1, "checks: is missing."),
        (suite("prompt: x"), 5, "checks[1].kind: is missing."),
        (suite("kind: poem"), 6, "checks[1].kind: must be one of 'completion', 'chat', "),
        (suite("kind: chat"), 5, "checks[1].prompt: is missing."),
        (suite("kind: chat\n    prompt: x\n    expect: {rhymes: true}"), 8, "checks[1].expect.rhymes: is not a known key."),
        (suite("kind: chat\n    prompt: x\n    expect:\n      regex: '('"), 9, "checks[1].expect.regex: not a regular expression"),
        (suite("kind: chat\n    prompt: x\n    max_tokens: 0"), 8, "checks[1].max_tokens: Input should be greater than or equal to 1"),
        (suite("kind: chat\n    prompt: x\n    share: 0.5"), 8, "checks[1].share: is not a known key."),
        (suite("kind: json\n    prompt: x\n    schema:\n      type: thing"), 9, "checks[1].schema.type: not a JSON Schema"),
        (suite("kind: json\n    prompt: x\n    schema:\n      const: 2026-01-01"), 8, "checks[1].schema: is not JSON"),
        (suite("kind: json\n    prompt: x\n    schema: {$ref: 'http://x/y'}"), 8, "checks[1].schema: refers to another document"),
        (suite("kind: json\n    prompt: x\n    schema: &s {not: *s}"), 8, "checks[1].schema: is not JSON"),
        (
            suite("kind: tool-call\n    prompt: x\n    tool:\n      name: f\n      parameters: {type: 3}"),
            10,
            "checks[1].tool.parameters.type: not a JSON Schema",
        ),
        (suite("kind: stop\n    prompt: x\n    stop: []"), 8, "checks[1].stop: "),
        (suite("kind: long-context\n    prompt: x\n    share: 1.5"), 8, "checks[1].share: "),
        ("name: smoke\nchecks: [&a {name: a, kind: unknown-model}, *a]", 2, "checks[1].name: 'a' is there twice"),
        ("name: smoke\nchecks: [{name: a, kind: unknown-model}]\ngolden:\n  - {name: b, kind: over-long}", 4, "golden[0].kind: must be "),
    ],
)
def test_a_wrong_suite_is_explained(deployments: Deployments, text: str, line: int, says: str) -> None:
    write(deployments, "checks/smoke.yaml", text)

    with pytest.raises(SpecInvalid) as caught:
        deployments.suite("smoke")

    assert f"deployments/checks/smoke.yaml, line {line}: {says}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("check", "line", "says"),
    [
        (
            "kind: completion\n    prompt: a b c\n    max_tokens: 254",
            8,
            "is 254, and the prompt has 3 token(s) at the least: together more than the 256",
        ),
        (f"kind: chat\n    prompt: {'word ' * 300}", 5, "is 32, and the prompt has 300 token(s) at the least"),
        (
            "kind: long-context\n    prompt: a\n    max_tokens: 130\n    share: 0.5",
            8,
            "is 130, and the prompt has 1 token(s) at the least: together more than the 128",
        ),
    ],
)
def test_a_suite_must_fit_the_context_of_its_model(deployments: Deployments, check: str, line: int, says: str) -> None:
    write(deployments, "models/tiny.yaml", MODEL)
    write(deployments, "checks/smoke.yaml", suite(check))

    with pytest.raises(SpecInvalid) as caught:
        deployments.suite_of(deployments.model("tiny"))

    assert f"deployments/checks/smoke.yaml, line {line}: checks[1].max_tokens: {says}" in str(caught.value)
    assert deployments.suite("smoke").checks  # for another model it may do


def test_a_suite_that_just_fits_is_taken(deployments: Deployments) -> None:
    write(deployments, "models/tiny.yaml", MODEL)
    write(deployments, "checks/smoke.yaml", suite("kind: completion\n    prompt: a b c\n    max_tokens: 253"))

    assert len(deployments.suite_of(deployments.model("tiny")).checks) == 2


def values() -> st.SearchStrategy[object]:
    """Anything that YAML can hold, often with the words of a suite."""
    words = st.sampled_from(
        ["name", "kind", "prompt", "expect", "regex", "json_schema", "schema", "tool", "chat", "json", "stop", "golden"]
    )
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | words
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4), max_leaves=8)


@settings(max_examples=60)
@given(check=st.dictionaries(st.sampled_from(["prompt", "expect", "schema", "tool", "stop", "max_tokens", "over"]), values(), max_size=4))
def test_no_suite_makes_a_traceback(tmp_path_factory: pytest.TempPathFactory, check: dict[str, object]) -> None:
    root = tmp_path_factory.mktemp("fuzz") / "deployments"
    (root / "checks").mkdir(parents=True)
    for kind in ("chat", "json", "tool-call"):
        document = {"name": "smoke", "checks": [{"prompt": "x", **check, "name": "a", "kind": kind}]}
        (root / "checks" / "smoke.yaml").write_text(yaml.safe_dump(document), encoding="utf-8", errors="surrogatepass")
        with contextlib.suppress(SpecInvalid):
            assert Deployments(root=root).suite("smoke").checks[0].name == "a"


@given(text=st.text(max_size=200) | st.binary(max_size=200).map(lambda data: data.decode("latin-1")))
def test_no_file_makes_a_traceback(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    root = tmp_path_factory.mktemp("fuzz") / "deployments"
    (root / "models").mkdir(parents=True)
    (root / "models" / "tiny.yaml").write_text(text, encoding="utf-8", errors="surrogatepass")

    with pytest.raises(SpecInvalid, match=r"deployments/models/tiny\.yaml"):
        Deployments(root=root).model("tiny")
