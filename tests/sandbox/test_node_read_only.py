"""What a container may not write to, and that everything else of it works as before."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox import confine
from sandbox.kubernetes.meta.client import CONFIG_MAPS, PODS
from tests.sandbox.bench import Bench, wait_for

Object = dict[str, Any]

pytestmark = pytest.mark.skipif(not confine.available(), reason="this kernel has no Landlock of version 3 or later")

#: Every way to change what lies in a folder, each told to have worked or not.
CHANGES = {
    "write": "echo x > {0}/file",
    "append": "echo x >> {0}/file",
    "empty": "truncate -s 0 {0}/file",
    "create": "touch {0}/new",
    "remove": "rm -f {0}/file",
    "rename": "mv {0}/file {0}/other",
    "move": "mv {0}/file {1}/file",
    "link": "ln {0}/file {1}/link",
    "folder": "mkdir {0}/sub",
    "symlink": "ln -s x {0}/symlink",
}


def run(bench: Bench, script: str, *, container: Object, **spec: Any) -> list[str]:
    bench.pod("once", script, container=container, restartPolicy="Never", automountServiceAccountToken=False, **spec)
    bench.wait(PODS, "once", lambda pod: pod["status"].get("phase") in ("Succeeded", "Failed"))
    return bench.logs("once").split()


def attempts(folder: str, elsewhere: str) -> str:
    """A script that prints the name of each change that worked."""
    return "; ".join(f"({change.format(folder, elsewhere)}) 2>/dev/null && echo {name}" for name, change in CHANGES.items())


def test_nothing_changes_what_is_mounted_read_only(bench: Bench) -> None:
    disk = bench.cluster.node("node-1").disk / bench.namespace
    disk.mkdir(parents=True)
    (disk / "file").write_text("weights")
    volumes = [{"name": "models", "hostPath": {"path": f"/{bench.namespace}"}}, {"name": "work", "emptyDir": {}}]
    mounts = [{"name": "models", "mountPath": "/models", "readOnly": True}, {"name": "work", "mountPath": "/scratch"}]

    script = f"cat /models/file; echo; {attempts('/models', '/scratch')}; echo y > /scratch/y; echo z > $HOME/z; cat /scratch/y $HOME/z"
    said = run(bench, script, container={"volumeMounts": mounts}, volumes=volumes)

    assert said == ["weights", "y", "z"]
    assert {path.name: path.read_text() for path in disk.iterdir()} == {"file": "weights"}


def test_the_same_folder_changes_when_it_is_mounted_for_writing(bench: Bench) -> None:
    disk = bench.cluster.node("node-1").disk / bench.namespace
    disk.mkdir(parents=True)
    volumes = [{"name": "models", "hostPath": {"path": f"/{bench.namespace}"}}, {"name": "work", "emptyDir": {}}]
    mounts = [{"name": "models", "mountPath": "/models"}, {"name": "work", "mountPath": "/scratch"}]

    said = run(bench, attempts("/models", "/scratch"), container={"volumeMounts": mounts}, volumes=volumes)

    assert {"write", "append", "empty", "create", "folder", "symlink"} <= set(said)


def test_configuration_is_read_only_whatever_the_pod_says_and_probes_are_held_to_it(bench: Bench) -> None:
    bench.create(CONFIG_MAPS, "c", data={"file": "as given"})
    check = {"exec": {"command": ["sh", "-c", "echo changed > /etc/app/file"]}, "periodSeconds": 1}
    volumes = [{"name": "config", "configMap": {"name": "c"}}]
    container = {"volumeMounts": [{"name": "config", "mountPath": "/etc/app"}], "readinessProbe": check}
    bench.pod("web", "sleep 1.5; cat /etc/app/file; echo; sleep 100", container=container, volumes=volumes)

    told = wait_for(lambda: bench.events("web", "Unhealthy"))

    assert "Permission denied" in told[0]
    assert wait_for(lambda: bench.container("web").get("started") and bench.logs("web")) == "as given\n"


def test_a_read_only_root_leaves_what_is_mounted_for_writing(bench: Bench) -> None:
    script = "(echo x > $HOME/x) 2>/dev/null && echo home; (echo x > x) 2>/dev/null && echo here; mktemp > /dev/null && echo temporary"
    container = {"securityContext": {"readOnlyRootFilesystem": True}, "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}

    assert run(bench, script, container=container, volumes=[{"name": "tmp", "emptyDir": {}}]) == ["temporary"]


def test_a_program_that_is_not_there_is_a_start_error_all_the_same(bench: Bench) -> None:
    container = {"command": ["no-such-program"], "securityContext": {"readOnlyRootFilesystem": True}}
    bench.pod("lost", container=container, restartPolicy="Never")

    ended = bench.wait_container("lost", lambda entry: "terminated" in entry["state"])["state"]["terminated"]

    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert ended["message"].endswith('exec: "no-such-program": executable file not found in $PATH: unknown')
