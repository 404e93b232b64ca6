"""The Job on a node, and what its program's words mean."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from blocks.errors import ClusterUnreachable, HubUnreachable
from flows.spec import Environment
from flows.weights.prefetch import prefetch_files, prefetch_job, snapshot_digest_of
from flows.weights.progress import fetched_bytes, progress, said
from flows.weights.scrub import Scrubbed, ScrubReport, mended, scrub_job, unmended
from sandbox.kubernetes.admission.pod_security import violation
from tests.support.examples import candidate, environment


def test_the_token_is_a_file_of_a_secret_and_stands_nowhere() -> None:
    policy = replace(environment().prefetch, token_secret="hub-token")
    job = prefetch_job(candidate(), environment(prefetch=policy), "gpu-1", "run", "https://hub.example")

    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (volume,) = [volume for volume in pod["volumes"] if "secret" in volume]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == volume["name"]]
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    assert volume["secret"] == {"secretName": "hub-token", "defaultMode": 0o400}
    assert mount["readOnly"] is True
    assert variables["HF_TOKEN_PATH"] == f"{mount['mountPath']}/token"
    assert "HF_TOKEN" not in variables


@pytest.mark.parametrize(
    "make", [lambda where: prefetch_job(candidate(), where, "gpu-1", "run", "hub"), lambda where: scrub_job(where, "gpu-1", "run")]
)
def test_its_image_is_pulled_with_the_secrets_of_the_environments_engines(make: Callable[[Environment], dict[str, Any]]) -> None:
    private = environment(values={"image": {"pullSecrets": ["registry", "mirror"]}})

    assert make(private)["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "registry"}, {"name": "mirror"}]
    assert "imagePullSecrets" not in make(environment())["spec"]["template"]["spec"]


def test_the_job_runs_on_its_node_once_and_confined() -> None:
    job = prefetch_job(candidate(), environment(), "gpu-1", "run", "https://hub.example")

    pod = job["spec"]["template"]["spec"]
    (term,) = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term == {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["gpu-1"]}]}
    assert job["spec"]["backoffLimit"] == 0
    security = pod["containers"][0]["securityContext"]
    assert security["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize("job", [prefetch_job(candidate(), environment(), "gpu-1", "run", "hub"), scrub_job(environment(), "gpu-1", "run")])
def test_jobs_on_nodes_meet_the_restricted_profile(job: dict[str, Any]) -> None:
    namespace = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}

    assert violation(namespace, "enforce", "/pods", job["spec"]["template"]) is None
    # what they write is theirs on every node, whoever the kubelet is
    security = job["spec"]["template"]["spec"]["securityContext"]
    assert security["fsGroup"] == security["runAsGroup"] == security["runAsUser"] > 0


def test_the_request_names_the_files_and_what_stays() -> None:
    request = json.loads(prefetch_files(candidate(), ["models/b", "models/a"])["request.json"])

    assert request["commit"] == candidate().commit
    assert [file["path"] for file in request["files"]] == ["config.json", "model.safetensors"]
    assert request["keep"] == ["models/a", "models/b"]


def test_the_digest_of_a_snapshot_changes_with_everything_in_it() -> None:
    first = candidate()
    changed = [
        replace(first, repository="slipway-demo/other"),
        replace(first, commit="f" * 40),
        replace(first, files=first.files[1:]),
        *(replace(first, files=(replace(first.files[0], **change), first.files[1])) for change in ({"path": "c"}, {"size_bytes": 1})),
        replace(first, files=(replace(first.files[0], digest="b" * 40), first.files[1])),
    ]

    digests = {snapshot_digest_of(each) for each in [first, *changed]}

    assert len(digests) == 1 + len(changed)
    assert snapshot_digest_of(replace(first, files=first.files[::-1])) in digests


@pytest.mark.parametrize(
    ("line", "percent", "sentence"),
    [
        (
            {"event": "progress", "done_bytes": 3e9, "total_bytes": 12e9, "bytes_per_second": 310e6, "seconds_left": 90},
            25.0,
            "**gpu-1**: 3.00 GB of 12.00 GB, 310.0 MB/s, 1 min 30 s left",
        ),
        (
            {"event": "progress", "done_bytes": 0, "total_bytes": 0, "bytes_per_second": 0, "seconds_left": None},
            0.0,
            "**gpu-1**: 0.0 MB of 0.0 MB, 0.0 MB/s",
        ),
        ({"event": "waiting", "lock": "x"}, 0.0, "**gpu-1**: waits for another Job that fetches the same"),
        ({"event": "complete", "fetched": True, "bytes": 2e6}, 100.0, "**gpu-1**: 2.0 MB fetched and proven"),
        ({"event": "complete", "fetched": False, "bytes": 2e6}, 100.0, "**gpu-1**: 2.0 MB was there already"),
    ],
)
def test_a_line_of_the_log_as_people_read_it(line: dict[str, object], percent: float, sentence: str) -> None:
    seen = progress(said(json.dumps(line)), "gpu-1")

    assert seen is not None
    assert (seen.percent, str(seen.message)) == (percent, sentence)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Traceback",
        "[]",
        "{}",
        '{"event": "failed"}',
        '{"event": "progress"}',
        "7",
        # what another image may say
        "[" * 4096,
        '{"event": ' + "[" * 4096,
        '{"event": "progress", "done_bytes": "x", "total_bytes": 1, "bytes_per_second": 1, "seconds_left": null}',
        '{"event": "progress", "done_bytes": NaN, "total_bytes": 1, "bytes_per_second": 1, "seconds_left": Infinity}',
        '{"event": "complete", "fetched": true, "bytes": "all"}',
        '{"event": "held", "message": {}}',
    ],
)
def test_other_lines_say_nothing_about_progress(line: str) -> None:
    assert progress(said(line), "gpu-1") is None


def report(node: str, *, corrupt: dict[str, str] | None = None, snapshots: tuple[str, ...] = (), skipped: int = 0) -> ScrubReport:
    line = {
        "event": "complete",
        "contents": 7,
        "size_bytes": 3e9,
        "skipped": skipped,
        "corrupt": corrupt or {},
        "snapshots": list(snapshots),
    }
    return ScrubReport.of(node, "scrub-1", line)


def test_a_scrub_whose_log_cannot_be_read_is_asked_again() -> None:
    with pytest.raises(ClusterUnreachable, match="node gpu-1 cannot be read: the log of its Job scrub-1"):
        ScrubReport.of("gpu-1", "scrub-1", {})


def test_only_a_snapshot_that_was_fetched_counts_its_bytes() -> None:
    assert fetched_bytes({"event": "complete", "fetched": True, "bytes": 10}) == 10
    assert fetched_bytes({"event": "complete", "fetched": False, "bytes": 10}) == 0
    assert fetched_bytes({"event": "progress", "done_bytes": 5}) == 0


def test_a_scrub_says_what_is_sound_what_is_left_and_what_is_damaged() -> None:
    sound, late = report("gpu-1"), report("gpu-2", skipped=4)
    rotten = report("gpu-3", corrupt={"a" * 64: "b" * 64}, snapshots=("models/o--m/1",))

    assert sound.message == "7 contents, 3.00 GB, all sound"
    assert late.message == "7 contents, 3.00 GB, all sound; 4 are left for next time"
    assert rotten.message == "1 of 7 contents are damaged, in models/o--m/1"
    assert mended([Scrubbed(report=sound), Scrubbed(report=late)]) == ""
    whole_again = [Scrubbed(report=sound), Scrubbed(report=rotten)]
    assert "gpu-3: models/o--m/1" in mended(whole_again)
    assert unmended(whole_again) == ""
    gone = [Scrubbed(report=rotten, error=HubUnreachable("The hub did not answer.")), Scrubbed(error=HubUnreachable("No."))]
    assert "gpu-3: models/o--m/1: The hub did not answer." in unmended(gone)
    assert mended(gone) == ""
    assert gone[0].message == f"{rotten.message}; The hub did not answer."
    assert json.loads(json.dumps(rotten.document()))["corrupt"] == ["a" * 64]


def test_a_scrub_ends_before_its_job_must_and_takes_little() -> None:
    job = scrub_job(environment(), "gpu-1", "run")

    (container,) = job["spec"]["template"]["spec"]["containers"]
    limit = float(container["args"][container["args"].index("--limit-seconds") + 1])
    assert limit < job["spec"]["activeDeadlineSeconds"]
    assert container["resources"]["requests"]["cpu"] == "100m"
    assert "env" not in container
    assert job["metadata"]["name"] == scrub_job(environment(), "gpu-1", "run")["metadata"]["name"]
    assert job["metadata"]["name"] != scrub_job(environment(), "gpu-2", "run")["metadata"]["name"]
