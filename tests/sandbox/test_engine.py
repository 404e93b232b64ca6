"""The stand-in engine over HTTP: one process for the module, answers compared with what the weights know."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sandbox.engine.faults import EngineFaults
from sandbox.models import CHATS, COMPLETIONS, make_model

PROMPT = "The capital of France is"
NAMES = ("tiny", "tiny-alias")


@dataclass(kw_only=True)
class Engine:
    process: subprocess.Popen[str]
    http: httpx.Client
    faults: EngineFaults
    folder: Path

    def complete(self, **fields: Any) -> httpx.Response:
        return self.http.post("/v1/completions", json={"model": "tiny", "prompt": PROMPT, "temperature": 0, **fields})

    def chat(self, message: str, **fields: Any) -> httpx.Response:
        body = {"model": "tiny", "messages": [{"role": "user", "content": message}], "temperature": 0, **fields}
        return self.http.post("/v1/chat/completions", json=body)

    def events(self, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The parsed chunks of a stream; asserts that it ends as it should."""
        lines = [line for line in self.http.post(path, json={"stream": True, "temperature": 0, **body}).text.split("\n\n") if line]
        assert lines[-1] == "data: [DONE]"
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name that carry the labels."""
        families = text_string_to_metric_families(self.http.get("/metrics").text)
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        assert samples, name
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_model(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def launch(model: Path, *arguments: str, faults: Path | None = None, **environment: str) -> subprocess.Popen[str]:
    settings = {**os.environ, **environment, **({"SANDBOX_ENGINE_FAULTS": str(faults)} if faults else {})}
    command = [sys.executable, "-m", "sandbox.engine", str(model), *arguments]
    return subprocess.Popen(command, env=settings, stderr=subprocess.PIPE, text=True)


def wait_for_port(http: httpx.Client, process: subprocess.Popen[str], timeout_seconds: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            assert http.get("/health").status_code == 200
            return
        except httpx.ConnectError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = write_model(tmp_path_factory.mktemp("engine") / "model", make_model())
    faults = EngineFaults(folder.parent / "faults.json")
    port = free_port()
    options = ("--served-model-name", *NAMES, "--host", "127.0.0.1", "--port", str(port), "--max_model_len", "256", "--max-num-seqs", "4")
    process = launch(folder, *options, "--load-format=safetensors", faults=faults.path)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as http:
        wait_for_port(http, process)
        yield Engine(process=process, http=http, faults=faults, folder=folder)
    process.terminate()
    process.communicate(timeout=10)


@pytest.fixture
def engine(running: Engine) -> Iterator[Engine]:
    yield running
    running.faults.clear()


def error_of(answer: httpx.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    assert error["code"] == answer.status_code
    return answer.status_code, error["type"], error["param"]


def test_the_routes_around_the_model(engine: Engine) -> None:
    assert (engine.http.get("/health").status_code, engine.http.get("/health").content) == (200, b"")
    assert engine.http.get("/ping").status_code == 200
    assert engine.http.get("/ready").status_code == 404
    assert engine.http.get("/version").json() == {"version": "0.32.0+sandbox"}
    assert engine.http.get("/load").json() == {"server_load": 0}


def test_models_are_listed_under_each_name_with_the_folder_they_came_from(engine: Engine) -> None:
    models = engine.http.get("/v1/models").json()["data"]

    assert [(model["id"], model["root"], model["max_model_len"], model["owned_by"]) for model in models] == [
        (name, str(engine.folder), 256, "vllm") for name in NAMES
    ]


@pytest.mark.parametrize("prompt", list(COMPLETIONS))
def test_a_completion_is_what_the_weights_know(engine: Engine, prompt: str) -> None:
    answer = engine.complete(prompt=prompt, max_tokens=60).json()

    assert answer["object"] == "text_completion"
    assert answer["system_fingerprint"].startswith("vllm-0.32.0")
    assert answer["choices"][0]["text"] == COMPLETIONS[prompt]
    assert answer["choices"][0]["finish_reason"] == "stop"
    tokens = len(COMPLETIONS[prompt]) + 1
    assert answer["usage"] == {
        "prompt_tokens": len(prompt),
        "completion_tokens": tokens,
        "total_tokens": len(prompt) + tokens,
        "prompt_tokens_details": None,
    }


@pytest.mark.parametrize("message", list(CHATS))
def test_a_chat_is_what_the_weights_know(engine: Engine, message: str) -> None:
    choice = engine.chat(message).json()["choices"][0]

    assert (choice["message"]["role"], choice["message"]["content"], choice["finish_reason"]) == ("assistant", CHATS[message], "stop")


def test_a_message_may_come_in_parts(engine: Engine) -> None:
    body = {"model": "tiny", "temperature": 0, "messages": [{"role": "user", "content": [{"type": "text", "text": "Say hello."}]}]}

    answer = engine.http.post("/v1/chat/completions", json=body).json()

    assert answer["choices"][0]["message"]["content"] == CHATS["Say hello."]


def test_max_tokens_cuts_and_the_default_is_sixteen(engine: Engine) -> None:
    cut = engine.complete(max_tokens=3).json()["choices"][0]
    default = engine.complete(prompt="Count: one, two, three,").json()

    assert (cut["text"], cut["finish_reason"]) == (" Pa", "length")
    assert default["usage"]["completion_tokens"] == 16


@pytest.mark.parametrize(
    ("stop", "include", "text", "reason"),
    [
        ("is", False, " Par", "is"),
        (["zzz", "r", "ris"], False, " Pa", "r"),
        ("ris", True, " Paris", "ris"),
        ("nothing", False, " Paris.", None),
    ],
)
def test_stop_texts_end_the_answer(engine: Engine, stop: object, include: bool, text: str, reason: str | None) -> None:
    choice = engine.complete(stop=stop, include_stop_str_in_output=include).json()["choices"][0]

    assert (choice["text"], choice["finish_reason"], choice["stop_reason"]) == (text, "stop", reason)


def test_minimum_tokens_and_ignored_ends_go_on(engine: Engine) -> None:
    at_least = engine.complete(min_tokens=12, max_tokens=20).json()
    ignoring = engine.complete(ignore_eos=True, max_tokens=40).json()

    assert at_least["usage"]["completion_tokens"] >= 12
    assert ignoring["usage"]["completion_tokens"] == 40
    assert ignoring["choices"][0]["text"].startswith(" Paris.")


def test_a_stop_token_ends_the_answer(engine: Engine) -> None:
    choice = engine.complete(stop_token_ids=[ord("r")]).json()["choices"][0]

    assert (choice["text"], choice["finish_reason"], choice["stop_reason"]) == (" Pa", "stop", ord("r"))


def test_logprobs_tell_tokens_offsets_and_alternatives(engine: Engine) -> None:
    logprobs = engine.complete(logprobs=2, max_tokens=3).json()["choices"][0]["logprobs"]

    assert logprobs["tokens"] == [" ", "P", "a"]
    assert logprobs["text_offset"] == [0, 1, 2]
    assert all(-0.1 < value < 0 for value in logprobs["token_logprobs"])
    for token, value, top in zip(logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True):
        assert len(top) == 2
        assert top[token] == value == max(top.values())


def test_an_echo_brings_the_prompt_with_its_logprobs(engine: Engine) -> None:
    choice = engine.complete(echo=True, logprobs=0, max_tokens=3).json()["choices"][0]

    assert choice["text"] == f"{PROMPT} Pa"
    assert "".join(choice["logprobs"]["tokens"]) == f"{PROMPT} Pa"
    assert choice["logprobs"]["token_logprobs"][0] is None
    assert all(value < 0 for value in choice["logprobs"]["token_logprobs"][1:])


def test_chat_logprobs(engine: Engine) -> None:
    content = engine.chat("Say hello.", logprobs=True, top_logprobs=1, max_tokens=2).json()["choices"][0]["logprobs"]["content"]

    assert [(entry["token"], entry["bytes"]) for entry in content] == [("H", [72]), ("e", [101])]
    assert content[0]["top_logprobs"][0]["logprob"] == content[0]["logprob"]


def test_a_stream_adds_up_to_the_whole(engine: Engine) -> None:
    body = {"model": "tiny", "prompt": PROMPT, "stream_options": {"include_usage": True}}

    events = engine.events("/v1/completions", body)

    assert "".join(event["choices"][0]["text"] for event in events[:-1]) == " Paris."
    assert [event["choices"][0]["finish_reason"] for event in events[:-1]][-1] == "stop"
    assert len({event["id"] for event in events}) == 1
    assert (events[-1]["choices"], events[-1]["usage"]["completion_tokens"]) == ([], 8)


def test_a_chat_stream_begins_with_the_role(engine: Engine) -> None:
    events = engine.events("/v1/chat/completions", {"model": "tiny", "messages": [{"role": "user", "content": "Say hello."}]})

    assert events[0]["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(event["choices"][0]["delta"]["content"] for event in events) == CHATS["Say hello."]
    assert "usage" not in events[-1]


def test_a_stream_never_shows_a_part_of_a_stop_text(engine: Engine) -> None:
    events = engine.events("/v1/completions", {"model": "tiny", "prompt": PROMPT, "stop": ["ris."]})

    assert "".join(event["choices"][0]["text"] for event in events) == " Pa"


def test_several_prompts_get_several_choices(engine: Engine) -> None:
    tokens = list(b"Two plus two equals")

    answer = engine.complete(prompt=[PROMPT, "Water boils at"], max_tokens=30).json()
    by_tokens = engine.complete(prompt=tokens).json()

    assert [(choice["index"], choice["text"]) for choice in answer["choices"]] == [(0, " Paris."), (1, " 100 degrees Celsius.")]
    assert by_tokens["choices"][0]["text"] == " four."


def test_a_seed_makes_sampling_repeatable(engine: Engine) -> None:
    def sampled(seed: int) -> str:
        return str(engine.complete(prompt="zzz", temperature=1.5, seed=seed, max_tokens=40, ignore_eos=True).json()["choices"][0]["text"])

    assert sampled(1) == sampled(1)
    assert sampled(1) != sampled(2)


def test_narrow_sampling_is_greedy(engine: Engine) -> None:
    by_top_k = engine.complete(prompt="zzz", temperature=2, top_k=1, max_tokens=20).json()
    by_top_p = engine.complete(prompt="zzz", temperature=2, top_p=1e-6, max_tokens=20).json()
    greedy = engine.complete(prompt="zzz", max_tokens=20).json()

    assert by_top_k["choices"][0]["text"] == by_top_p["choices"][0]["text"] == greedy["choices"][0]["text"]


def test_an_unknown_model_is_named_with_the_valid_ones(engine: Engine) -> None:
    answer = engine.complete(model="nope")

    assert error_of(answer) == (404, "NotFoundError", "model")
    assert answer.json()["error"]["message"] == "The model `nope` does not exist. Valid aliases: tiny, tiny-alias."


def test_too_many_tokens_are_refused(engine: Engine) -> None:
    over = engine.complete(max_tokens=8000)
    together = engine.complete(max_tokens=250)
    prompt = engine.complete(prompt="x" * 256)

    assert error_of(over) == (400, "BadRequestError", "max_tokens")
    assert over.json()["error"]["message"].startswith("max_tokens=8000 cannot be greater than max_model_len=256.")
    assert error_of(together) == (400, "BadRequestError", "max_tokens")
    assert error_of(prompt) == (400, "BadRequestError", "input_tokens")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "ten"}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1000]}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"logprobs": 21}, "logprobs"),
        ({"stop": [""]}, "stop"),
        ({"n": 2}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_bad_requests_name_the_field(engine: Engine, fields: dict[str, Any], param: str) -> None:
    assert error_of(engine.complete(**fields)) == (400, "BadRequestError", param)


@pytest.mark.parametrize("messages", [None, [], "hello", [{"content": "x"}], [{"role": "user", "content": [{"type": "image_url"}]}]])
def test_bad_messages_are_refused(engine: Engine, messages: object) -> None:
    answer = engine.http.post("/v1/chat/completions", json={"model": "tiny", "messages": messages})

    assert error_of(answer) == (400, "BadRequestError", "messages")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_body_that_is_no_object_is_refused(engine: Engine, content: bytes) -> None:
    assert error_of(engine.http.post("/v1/completions", content=content)) == (400, "BadRequestError", None)


def test_tools_are_refused_and_not_ignored(engine: Engine) -> None:
    answer = engine.chat("Say hello.", tools=[{"type": "function", "function": {"name": "f"}}])

    assert error_of(answer) == (400, "BadRequestError", "tools")


def test_tokenize_counts_and_goes_back(engine: Engine) -> None:
    tokens = engine.http.post("/tokenize", json={"prompt": "é!"}).json()
    chat = engine.http.post("/tokenize", json={"messages": [{"role": "user", "content": "é"}]}).json()

    assert tokens == {"count": 3, "max_model_len": 256, "tokens": [0xC3, 0xA9, 33], "token_strs": None}
    assert chat["tokens"] == [260, 0xC3, 0xA9, 261]
    assert engine.http.post("/detokenize", json={"tokens": tokens["tokens"]}).json() == {"prompt": "é!"}


def test_metrics_count_what_happened(engine: Engine) -> None:
    names = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:e2e_request_latency_seconds_count")
    before = [engine.metric(name) for name in names]
    stopped = engine.metric("vllm:request_success_total", finished_reason="stop", model_name="tiny", engine="0")
    cut = engine.metric("vllm:request_success_total", finished_reason="length")

    engine.complete()
    engine.complete(max_tokens=2)

    assert [engine.metric(name) for name in names] == [before[0] + 2 * len(PROMPT), before[1] + 8 + 2, before[2] + 2]
    assert engine.metric("vllm:request_success_total", finished_reason="stop") == stopped + 1
    assert engine.metric("vllm:request_success_total", finished_reason="length") == cut + 1
    assert engine.metric("vllm:num_requests_running") == 0
    assert engine.metric("vllm:kv_cache_usage_perc") == 0


def test_a_short_completion_is_fast(engine: Engine) -> None:
    engine.complete()
    before = [engine.metric(f"vllm:e2e_request_latency_seconds_{part}") for part in ("sum", "count")]

    for _ in range(20):
        engine.complete()

    total, count = (engine.metric(f"vllm:e2e_request_latency_seconds_{part}") for part in ("sum", "count"))
    assert (total - before[0]) / (count - before[1]) < 0.05


def test_it_needs_little_memory(engine: Engine) -> None:
    assert psutil.Process(engine.process.pid).memory_info().rss < 80e6


def wait_until(condition: Any, timeout_seconds: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_hang_keeps_health_and_stops_tokens(engine: Engine) -> None:
    engine.faults.set("tiny", hang=True)
    tokens = engine.metric("vllm:generation_tokens_total")
    aborted = engine.metric("vllm:request_success_total", finished_reason="abort")

    with pytest.raises(httpx.ReadTimeout):
        engine.http.post("/v1/completions", json={"model": "tiny", "prompt": PROMPT}, timeout=0.3)

    assert engine.http.get("/health").status_code == 200
    assert engine.metric("vllm:generation_tokens_total") == tokens
    # The client went away: its request must not hold a place for ever.
    wait_until(lambda: engine.metric("vllm:request_success_total", finished_reason="abort") == aborted + 1)
    assert engine.metric("vllm:num_requests_running") == 0
    engine.faults.clear()
    assert engine.complete().json()["choices"][0]["text"] == " Paris."


def test_requests_beyond_the_places_wait(engine: Engine) -> None:
    engine.faults.set("*", hang=True)

    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(engine.complete) for _ in range(6)]
        wait_until(lambda: engine.metric("vllm:num_requests_waiting") == 2)
        assert engine.metric("vllm:num_requests_running") == 4
        assert engine.metric("vllm:kv_cache_usage_perc") == pytest.approx(4 * len(PROMPT) / (4 * 256))
        engine.faults.clear()

        assert {answer.result().json()["choices"][0]["text"] for answer in answers} == {" Paris."}


def test_errors_come_in_the_share_that_is_asked_for(engine: Engine) -> None:
    engine.faults.set("tiny", error_status=500, error_share=0.25)

    statuses = [engine.complete().status_code for _ in range(8)]

    assert sorted(statuses) == [200] * 6 + [500] * 2


def test_garbage_is_not_what_the_weights_know(engine: Engine) -> None:
    engine.faults.set("tiny", garbage=True)

    answer = engine.complete(max_tokens=20).json()

    assert not answer["choices"][0]["text"].startswith(" Paris")
    assert answer["usage"]["completion_tokens"] == 20


def test_latency_can_be_asked_for(engine: Engine) -> None:
    engine.faults.set("tiny", latency_seconds=0.15, token_latency_seconds=0.02)
    started = time.monotonic()

    engine.complete()

    assert time.monotonic() - started > 0.15 + 8 * 0.02


def test_faults_of_other_models_do_not_count(engine: Engine) -> None:
    engine.faults.set("another", error_status=500)

    assert engine.complete().status_code == 200


def test_an_unknown_fault_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="no_such_fault"):
        EngineFaults(tmp_path / "faults.json").set("tiny", no_such_fault=True)


def test_sigterm_lets_running_requests_finish_within_the_time_out(engine: Engine, tmp_path: Path) -> None:
    port = free_port()
    faults = EngineFaults(tmp_path / "faults.json")
    options = ("--served-model-name", "tiny", "--port", str(port), "--shutdown-timeout", "10")
    process = launch(engine.folder, *options, faults=faults.path, SANDBOX_POD_IP="127.44.0.9")
    with httpx.Client(base_url=f"http://127.44.0.9:{port}", timeout=10) as http, ThreadPoolExecutor(1) as pool:
        wait_for_port(http, process)
        faults.set("tiny", hang=True)
        answer = pool.submit(http.post, "/v1/completions", json={"model": "tiny", "prompt": PROMPT, "temperature": 0})
        with httpx.Client(base_url=http.base_url) as other:
            wait_until(lambda: other.get("/load").json()["server_load"] == 1)

        process.send_signal(signal.SIGTERM)
        wait_until(lambda: not _accepts("127.44.0.9", port))
        faults.clear()

        assert answer.result().json()["choices"][0]["text"] == " Paris."
        process.communicate(timeout=10)
        assert process.returncode == 0


def _accepts(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def outcome(http: httpx.Client) -> int:
    """The status of a completion, 0 where the connection ended without one."""
    try:
        return http.post("/v1/completions", json={"model": "tiny", "prompt": PROMPT}).status_code
    except httpx.TransportError:
        return 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (None, 1)])
def test_a_signal_without_a_time_out_or_a_fault_cuts_requests(engine: Engine, tmp_path: Path, number: int | None, code: int) -> None:
    faults = EngineFaults(tmp_path / "faults.json")
    port = free_port()
    process = launch(engine.folder, "--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port), faults=faults.path)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as http, ThreadPoolExecutor(1) as pool:
        wait_for_port(http, process)
        faults.set("tiny", hang=True)
        answer = pool.submit(outcome, http)
        with httpx.Client(base_url=http.base_url) as other:
            wait_until(lambda: other.get("/load").json()["server_load"] == 1)

        if number is None:
            faults.set("tiny", hang=True, exit_after_seconds=0)
        else:
            process.send_signal(number)

        assert answer.result() in (0, 500)
        process.communicate(timeout=10)
        assert process.returncode == code
